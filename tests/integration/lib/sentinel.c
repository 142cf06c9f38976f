#include "integration/lib/sentinel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/run.h"
#include "lib/wait.h"

#define MAX      5
#define START_MS 20000

struct test_sentinels {
    struct test_sentinels *next;
    int n;
    int port[MAX];
    pid_t pid[MAX];
    char dir[256];
};

static struct test_sentinels *alive;

static void end(struct test_sentinels *t)
{
    for (struct test_sentinels **p = &alive; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }
    for (int i = 0; i < t->n; i++) {
        if (t->pid[i] <= 0)
            continue;
        kill(t->pid[i], SIGKILL);
        waitpid(t->pid[i], NULL, 0);
    }
    run_remove_directory(t->dir);
    free(t);
}

static void end_all(void)
{
    while (alive)
        end(alive);
}

void sentinels_stop(struct test_sentinels *t)
{
    end(t);
}

bool sentinels_available(void)
{
    return system("command -v redis-sentinel >/dev/null 2>&1") == 0;
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

static redisContext *connect_to(int port)
{
    struct timeval patience = {.tv_sec = 1};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", port, patience);
    if (c && c->err) {
        redisFree(c);
        return NULL;
    }
    if (c)
        redisSetTimeout(c, patience);
    return c;
}

redisContext *sentinels_connect(const struct test_sentinels *t, int i)
{
    redisContext *c = connect_to(t->port[i]);
    if (!c)
        fail_msg("sentinel %d does not answer", i);
    return c;
}

static void spawn(struct test_sentinels *t, int i, const char *host, int port, int down_after_ms)
{
    char path[300], log[300];
    snprintf(path, sizeof path, "%s/sentinel-%d.conf", t->dir, i);
    snprintf(log, sizeof log, "%s/sentinel-%d.log", t->dir, i);
    FILE *f = fopen(path, "w");
    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    t->port[i] = free_port();
    fprintf(f,
            "port %d\nbind 127.0.0.1\nprotected-mode no\ndir %s\n"
            "sentinel monitor mymaster %s %d %d\nsentinel down-after-milliseconds mymaster %d\n"
            "sentinel failover-timeout mymaster 10000\nsentinel parallel-syncs mymaster 2\n",
            t->port[i], t->dir, host, port, t->n / 2 + 1, down_after_ms);
    fclose(f);
    t->pid[i] = fork();
    if (t->pid[i] < 0)
        fail_msg("fork: %s", strerror(errno));
    if (t->pid[i] > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(out, 1);
    dup2(out, 2);
    execlp("redis-sentinel", "redis-sentinel", path, (char *)NULL);
    _exit(127);
}

static bool all_answer(void *arg)
{
    struct test_sentinels *t = arg;
    for (int i = 0; i < t->n; i++) {
        redisContext *c = connect_to(t->port[i]);
        if (!c)
            return false;
        redisReply *r = redisCommand(c, "PING");
        bool ok = r && r->type == REDIS_REPLY_STATUS;
        if (r)
            freeReplyObject(r);
        redisFree(c);
        if (!ok)
            return false;
    }
    return true;
}

struct test_sentinels *sentinels_start(int n, const char *host, int port, int down_after_ms)
{
    static bool registered;
    if (!registered)
        registered = atexit(end_all) == 0;
    struct test_sentinels *t = calloc(1, sizeof *t);
    const char *tmp = getenv("TMPDIR");
    assert_true(n <= MAX);
    t->n = n;
    snprintf(t->dir, sizeof t->dir, "%.200s/vecstore-sentinel-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(t->dir))
        fail_msg("%s: %s", t->dir, strerror(errno));
    t->next = alive;
    alive = t;
    for (int i = 0; i < n; i++)
        spawn(t, i, host, port, down_after_ms);
    if (!wait_until(all_answer, t, START_MS))
        fail_msg("the sentinels do not answer; is redis-sentinel installed? Logs in %s", t->dir);
    return t;
}

int sentinels_count(const struct test_sentinels *t)
{
    return t->n;
}

int sentinels_port(const struct test_sentinels *t, int i)
{
    return t->port[i];
}

/* ---- what they know ---- */

/* A field of SENTINEL MASTER; "" when there is none. */
static void field_of(int port, const char *name, char out[128])
{
    redisContext *c = connect_to(port);
    redisReply *r = c ? redisCommand(c, "SENTINEL MASTER mymaster") : NULL;
    out[0] = 0;
    for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
        if (strcmp(r->element[i]->str, name) == 0)
            snprintf(out, 128, "%s", r->element[i + 1]->str);
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
}

struct expected {
    const struct test_sentinels *t;
    int replicas;
};

static bool know_all(void *arg)
{
    const struct expected *e = arg;
    for (int i = 0; i < e->t->n; i++) {
        char replicas[128], others[128], flags[128];
        field_of(e->t->port[i], "num-slaves", replicas);
        field_of(e->t->port[i], "num-other-sentinels", others);
        field_of(e->t->port[i], "flags", flags);
        if (atoi(replicas) < e->replicas || atoi(others) != e->t->n - 1 || strcmp(flags, "master") != 0)
            return false;
    }
    return true;
}

void sentinels_wait(const struct test_sentinels *t, int replicas, int deadline_ms)
{
    struct expected e = {t, replicas};
    if (!wait_until(know_all, &e, deadline_ms))
        fail_msg("the sentinels do not know each other and %d replicas after %d ms", replicas, deadline_ms);
}

int sentinels_primary_of(int sentinel_port)
{
    redisContext *c = connect_to(sentinel_port);
    redisReply *r = c ? redisCommand(c, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster") : NULL;
    int port = r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? atoi(r->element[1]->str) : 0;
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return port;
}

int sentinels_primary(const struct test_sentinels *t)
{
    int said[MAX];
    for (int i = 0; i < t->n; i++)
        said[i] = sentinels_primary_of(t->port[i]);
    for (int i = 0; i < t->n; i++) {
        int same = 0;
        for (int k = 0; k < t->n; k++)
            same += said[k] == said[i];
        if (said[i] && same > t->n / 2)
            return said[i];
    }
    return 0;
}

char *sentinels_log(const struct test_sentinels *t, int i)
{
    char path[300], block[4096], *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s/sentinel-%d.log", t->dir, i);
    FILE *f = fopen(path, "r"), *copy = open_memstream(&text, &len);
    for (size_t n; f && (n = fread(block, 1, sizeof block, f)) > 0;)
        fwrite(block, 1, n, copy);
    fclose(copy);
    if (f)
        fclose(f);
    return text;
}
