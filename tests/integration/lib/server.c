#include "integration/lib/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/run.h"
#include "lib/wait.h"

#define START_MS 20000
#define LOAD_MS 900000  /* for one that says it is loading its data */
#define STOP_MS 30000
#define COMMAND_S 60
#define START_TRIES 5
#define ARGS_MAX 64
#define OUTPUT_SHOWN 4000

struct test_server {
    struct test_server *next;  /* in the list of those alive */
    pid_t pid;                 /* 0: not running */
    int wait_status;           /* of the last process, when pid is 0 */
    int port;                  /* 0: unix socket alone */
    bool port_chosen;          /* by us: another may be tried */
    char dir[PATH_MAX / 2];
    char socket_path[PATH_MAX];
    char output_path[PATH_MAX];
    char *args[ARGS_MAX];      /* as given by the test; owned */
    size_t arg_count;
    bool loading;              /* as it last said */
    bool has_conf;
    bool has_bind;
    bool has_save, has_appendonly; /* the test says itself what is kept on disk */
};

/* So that exit can clean up after a failed test. */
static struct test_server *alive;

/* ---- small parts ------------------------------------------------------------------------------------------------- */

static void server_free(struct test_server *s)
{
    for (struct test_server **p = &alive; *p; p = &(*p)->next) {
        if (*p == s) {
            *p = s->next;
            break;
        }
    }
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
    }
    run_remove_directory(s->dir);
    for (size_t i = 0; i < s->arg_count; i++)
        free(s->args[i]);
    free(s);
}

static void free_all(void)
{
    while (alive)
        server_free(alive);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return strdup("");
    char *text = NULL;
    size_t len = 0;
    FILE *copy = open_memstream(&text, &len);
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        fwrite(block, 1, n, copy);
    fclose(copy);
    fclose(f);
    return text;
}

/* Fails the test with a reason and the end of the server's output. */
static _Noreturn void server_fail(const struct test_server *s, const char *fmt, ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    char *text = read_file(s->output_path);
    size_t len = strlen(text);
    print_error("server: %s; its output ends:\n%s\n", reason, text + (len > OUTPUT_SHOWN ? len - OUTPUT_SHOWN : 0));
    free(text);
    _fail(__FILE__, __LINE__);
    abort();
}

static void check_sanitizers(const struct test_server *s)
{
    static const char *const marks[] = {"AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "UndefinedBehaviorSanitizer",
                                        "runtime error: "};
    char *text = read_file(s->output_path);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        char *at = strstr(text, marks[i]);
        if (!at)
            continue;
        char *from = at - text > 200 ? at - 200 : text;
        print_error("server: a sanitizer reports:\n%.8000s\n", from);
        free(text);
        _fail(__FILE__, __LINE__);
    }
    free(text);
}

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        fail_msg("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(addr.sin_port);
}

static const char *program(void)
{
    static char path[PATH_MAX];
    const char *name = getenv("VECSTORE_SERVER");
    if (!name || !*name)
        name = "build/vecstore-server";
    if (!realpath(name, path))
        fail_msg("%s: %s (VECSTORE_SERVER names the server program)", name, strerror(errno));
    return path;
}

/* In the child: becomes the server. */
static _Noreturn void become(const char *path, const char *dir, const char *output_path, const char *const *argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    int out = open(output_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (chdir(dir) < 0 || null < 0 || out < 0)
        _exit(126);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    execv(path, (char *const *)(uintptr_t)argv);
    dprintf(2, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static void spawn(struct test_server *s)
{
    char port[16];
    const char *argv[ARGS_MAX + 16];
    size_t n = 0, i = 0;
    const char *path = program();
    snprintf(port, sizeof port, "%d", s->port);
    argv[n++] = path;
    if (s->has_conf)
        argv[n++] = "vecstore.conf";
    else if (s->arg_count && strncmp(s->args[0], "--", 2) != 0)
        argv[n++] = s->args[i++];
    if (s->port_chosen) {
        argv[n++] = "--port";
        argv[n++] = port;
    }
    if (!s->has_bind) {
        argv[n++] = "--bind";
        argv[n++] = "127.0.0.1";
    }
    if (!s->has_save) {
        argv[n++] = "--save";
        argv[n++] = "";
    }
    const char *journal = getenv("VECSTORE_TEST_JOURNAL");
    if (!s->has_appendonly) {
        argv[n++] = "--appendonly";
        argv[n++] = journal ? "yes" : "no";
    }
    if (!s->has_appendonly && journal) {
        argv[n++] = "--appendfsync";
        argv[n++] = journal;
    }
    while (i < s->arg_count)
        argv[n++] = s->args[i++];
    argv[n] = NULL;

    s->pid = fork();
    if (s->pid < 0)
        fail_msg("fork: %s", strerror(errno));
    if (s->pid == 0)
        become(path, s->dir, s->output_path, argv);
}

static bool has_ended(void *arg)
{
    struct test_server *s = arg;
    if (s->pid == 0)
        return true;
    if (waitpid(s->pid, &s->wait_status, WNOHANG) != s->pid)
        return false;
    s->pid = 0;
    return true;
}

static redisContext *try_connect(const struct test_server *s)
{
    struct timeval connect_time = {.tv_sec = 2};
    redisContext *c = s->port ? redisConnectWithTimeout("127.0.0.1", s->port, connect_time)
                              : redisConnectUnixWithTimeout(s->socket_path, connect_time);
    if (c && c->err) {
        redisFree(c);
        return NULL;
    }
    return c;
}

/* Is it up: does it answer PING, if only to say that a password is needed? */
static bool answers(struct test_server *s)
{
    redisContext *c = try_connect(s);
    if (!c)
        return false;
    struct timeval patience = {.tv_sec = 2};
    redisSetTimeout(c, patience);
    redisReply *r = redisCommand(c, "PING");
    bool up = r && ((r->type == REDIS_REPLY_STATUS && strcmp(r->str, "PONG") == 0) ||
                    (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOAUTH", 6) == 0));
    s->loading = r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "LOADING", 7) == 0;
    if (r)
        freeReplyObject(r);
    redisFree(c);
    return up;
}

static bool up_or_ended(void *arg)
{
    return has_ended(arg) || answers(arg);
}

static void start(struct test_server *s)
{
    for (int attempt = 1;; attempt++) {
        if (s->port_chosen && s->port == 0)
            s->port = free_port();
        spawn(s);
        s->loading = false;
        if (!wait_until(up_or_ended, s, START_MS) && !(s->loading && wait_until(up_or_ended, s, LOAD_MS)))
            server_fail(s, "does not answer PING after %d ms", s->loading ? LOAD_MS : START_MS);
        /* Another program may have taken the port meanwhile, and may even be what answered. */
        if (s->pid && !has_ended(s))
            return;
        char *text = read_file(s->output_path);
        bool in_use = strcasestr(text, "in use") != NULL;
        free(text);
        if (!in_use || !s->port_chosen || attempt == START_TRIES)
            server_fail(s, "ended at start with wait status 0x%x", s->wait_status);
        s->port = 0;
    }
}

static void take_args(struct test_server *s, const char *const *args)
{
    s->port_chosen = true;
    for (size_t i = 0; args && args[i]; i++) {
        if (i == ARGS_MAX)
            fail_msg("more than %d arguments for a server", ARGS_MAX);
        s->args[s->arg_count++] = strdup(args[i]);
        if (strcmp(args[i], "--bind") == 0)
            s->has_bind = true;
        s->has_save |= strcmp(args[i], "--save") == 0;
        s->has_appendonly |= strcmp(args[i], "--appendonly") == 0;
        if (strcmp(args[i], "--port") == 0 && args[i + 1]) {
            s->port_chosen = false;
            s->port = atoi(args[i + 1]);
        }
        if (strcmp(args[i], "--unixsocket") == 0 && args[i + 1])
            snprintf(s->socket_path, sizeof s->socket_path, "%s%s%s", args[i + 1][0] == '/' ? "" : s->dir,
                     args[i + 1][0] == '/' ? "" : "/", args[i + 1]);
    }
}

struct test_server *server_start_conf(const char *text, const char *const *args)
{
    static bool registered;
    if (!registered)
        registered = atexit(free_all) == 0;

    struct test_server *s = calloc(1, sizeof *s);
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/vecstore-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(s->dir))
        fail_msg("%s: %s", s->dir, strerror(errno));
    snprintf(s->output_path, sizeof s->output_path, "%s/output", s->dir);
    s->next = alive;
    alive = s;
    take_args(s, args);
    if (text) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/vecstore.conf", s->dir);
        FILE *f = fopen(path, "w");
        if (!f || fputs(text, f) < 0 || fclose(f) != 0)
            fail_msg("%s: %s", path, strerror(errno));
        s->has_conf = true;
        s->has_save |= strncmp(text, "save ", 5) == 0 || strstr(text, "\nsave ") != NULL;
        s->has_appendonly |= strstr(text, "appendonly ") != NULL;
    }
    start(s);
    return s;
}

struct test_server *server_start(const char *const *args)
{
    return server_start_conf(NULL, args);
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static void end_by(struct test_server *s, int signal)
{
    if (!has_ended(s))
        kill(s->pid, signal);
    if (!wait_until(has_ended, s, STOP_MS))
        server_fail(s, "still runs %d ms after signal %d", STOP_MS, signal);
    check_sanitizers(s);
}

static void check_clean_exit(const struct test_server *s)
{
    if (WIFSIGNALED(s->wait_status))
        server_fail(s, "was ended by signal %d (%s)", WTERMSIG(s->wait_status), strsignal(WTERMSIG(s->wait_status)));
    if (WEXITSTATUS(s->wait_status) != 0)
        server_fail(s, "exit status %d", WEXITSTATUS(s->wait_status));
}

void server_stop(struct test_server *s)
{
    end_by(s, SIGTERM);
    check_clean_exit(s);
    server_free(s);
}

void server_kill(struct test_server *s)
{
    end_by(s, SIGKILL);
    server_free(s);
}

void server_restart(struct test_server *s, int signal)
{
    end_by(s, signal);
    if (signal == SIGTERM)
        check_clean_exit(s);
    start(s);
}

void server_end(struct test_server *s, int signal)
{
    end_by(s, signal);
}

void server_again(struct test_server *s, const char *const *more)
{
    size_t before = s->arg_count;
    for (size_t i = 0; more && more[i]; i++) {
        if (s->arg_count == ARGS_MAX)
            fail_msg("more than %d arguments for a server", ARGS_MAX);
        s->args[s->arg_count++] = strdup(more[i]);
    }
    start(s);
    while (s->arg_count > before)
        free(s->args[--s->arg_count]);
}

int server_wait_exit(struct test_server *s, int deadline_ms)
{
    if (!wait_until(has_ended, s, deadline_ms))
        server_fail(s, "has not ended after %d ms", deadline_ms);
    return WIFEXITED(s->wait_status) ? WEXITSTATUS(s->wait_status) : -1;
}

int server_run(const char *const *args, int deadline_ms, char **output)
{
    struct test_server s = {0};
    const char *path = program();
    const char *tmp = getenv("TMPDIR");
    const char *argv[ARGS_MAX + 2];
    size_t n = 0;
    argv[n++] = path;
    for (size_t i = 0; args && args[i] && n <= ARGS_MAX; i++)
        argv[n++] = args[i];
    argv[n] = NULL;

    snprintf(s.dir, sizeof s.dir, "%s/vecstore-run-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(s.dir))
        fail_msg("%s: %s", s.dir, strerror(errno));
    snprintf(s.output_path, sizeof s.output_path, "%s/output", s.dir);
    s.pid = fork();
    if (s.pid < 0)
        fail_msg("fork: %s", strerror(errno));
    if (s.pid == 0)
        become(path, s.dir, s.output_path, argv);
    bool ended = wait_until(has_ended, &s, deadline_ms);
    if (!ended) {
        kill(s.pid, SIGKILL);
        waitpid(s.pid, &s.wait_status, 0);
    }
    *output = read_file(s.output_path);
    run_remove_directory(s.dir);
    return ended && WIFEXITED(s.wait_status) ? WEXITSTATUS(s.wait_status) : -1;
}

/* ---- connecting and asking --------------------------------------------------------------------------------------- */

redisContext *server_connect(const struct test_server *s)
{
    redisContext *c = try_connect(s);
    if (!c)
        server_fail(s, "cannot connect: %s", strerror(errno));
    struct timeval patience = {.tv_sec = COMMAND_S};
    redisSetTimeout(c, patience);
    return c;
}

int server_socket(const struct test_server *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!s->port && snprintf(un.sun_path, sizeof un.sun_path, "%s", s->socket_path) >= (int)sizeof un.sun_path)
        fail_msg("the path of a unix socket is too long: %s", s->socket_path);
    int fd = socket(s->port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = s->port ? connect(fd, (struct sockaddr *)&in, sizeof in) : connect(fd, (struct sockaddr *)&un, sizeof un);
    if (fd < 0 || rc < 0)
        server_fail(s, "cannot connect: %s", strerror(errno));
    return fd;
}

int server_port(const struct test_server *s)
{
    return s->port;
}

pid_t server_pid(const struct test_server *s)
{
    return s->pid;
}

const char *server_dir(const struct test_server *s)
{
    return s->dir;
}

char *server_output(const struct test_server *s)
{
    return read_file(s->output_path);
}

struct output_wait {
    const char *path;
    const char *text;
};

static bool output_has(void *arg)
{
    const struct output_wait *w = arg;
    char *text = read_file(w->path);
    bool found = strstr(text, w->text) != NULL;
    free(text);
    return found;
}

void server_wait_output(const struct test_server *s, const char *text, int deadline_ms)
{
    struct output_wait w = {s->output_path, text};
    if (!wait_until(output_has, &w, deadline_ms))
        server_fail(s, "has not written \"%s\" after %d ms", text, deadline_ms);
}
