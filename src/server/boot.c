/* Boot: command line, configuration, the process (user mask, session, files, signals), then the
 * server.
 *
 * The order matters: configuration before anything it decides; becoming a daemon before any thread
 * or event loop exists, which a fork would not carry over; the pid file after the sockets listen;
 * systemd's READY when the data are loaded. */
#include "server/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "server/crash.h"
#include "server/settings.h"

static void usage(FILE *out)
{
    fputs("Usage: vecstore-server [/path/to/vecstore.conf | -] [--setting value ...]\n"
          "       vecstore-server --version\n"
          "       vecstore-server --help\n"
          "       vecstore-server --dump-default-config > vecstore.conf\n"
          "\n"
          "A configuration file of \"-\" is read from standard input. Settings on the command line "
          "go after it.\n"
          "\n"
          "Examples:\n"
          "       vecstore-server                           (settings' defaults, port 6379)\n"
          "       vecstore-server vecstore.conf\n"
          "       vecstore-server --port 7000 --search-threads 8\n"
          "       vecstore-server vecstore.conf --loglevel verbose\n",
          out);
}

/* Options that print something and end; the exit status, or -1. */
static int informational(int argc, char **argv)
{
    if (argc != 2)
        return -1;
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
        printf("VecStore server v=%s commit=%s malloc=%s bits=%zu redis=%s\n", version_text(),
               version_commit(), mem_allocator_name(), sizeof(void *) * 8, REDIS_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--dump-default-config") == 0) {
        struct buf text = {0};
        config_default_file(&text);
        bool ok = fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
        buf_release(&text);
        return ok ? 0 : 1;
    }
    return -1;
}

static void start_log(const struct config *c)
{
    if (c->syslog_enabled)
        log_set_syslog(true, c->syslog_ident, c->syslog_facility);
    log_set_level((enum log_level)c->loglevel);
}

static bool open_log(const struct config *c)
{
    if (!*c->logfile || log_open(c->logfile))
        return true;
    fprintf(stderr, "vecstore-server: cannot open the log file %s: %s\n", c->logfile,
            strerror(errno));
    return false;
}

static bool become_daemon(void)
{
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid > 0)
        _exit(0);
    setsid();
    int fd = open("/dev/null", O_RDWR);
    if (fd >= 0) {
        dup2(fd, STDIN_FILENO);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        if (fd > STDERR_FILENO)
            close(fd);
    }
    return true;
}

static void write_pidfile(struct server *s)
{
    const char *path = *s->config->pidfile    ? s->config->pidfile
                       : s->config->daemonize ? "/var/run/vecstore.pid"
                                              : "";
    if (!*path)
        return;
    FILE *f = fopen(path, "we");
    if (!f) {
        log_warning("Cannot write the pid file %s: %s", path, strerror(errno));
        return;
    }
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
    s->pidfile = mem_strndup(path, strlen(path));
}

static bool under_systemd(const struct config *c)
{
    if (c->supervised == CONFIG_SUPERVISED_NO || c->supervised == CONFIG_SUPERVISED_UPSTART)
        return false;
    if (getenv("NOTIFY_SOCKET"))
        return true;
    if (c->supervised == CONFIG_SUPERVISED_SYSTEMD)
        log_warning("systemd supervision requested, but NOTIFY_SOCKET is not set");
    return false;
}

/* One line of a file of /proc or /sys; "" when it is not there. */
static void read_line(const char *path, char *out, size_t size)
{
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (!fgets(out, (int)size, f))
        out[0] = 0;
    fclose(f);
}

static void warn_about_system(const struct config *c)
{
    char text[128];
    read_line("/proc/sys/net/core/somaxconn", text, sizeof(text));
    long somaxconn = strtol(text, NULL, 10);
    if (*text && c->port && somaxconn < c->tcp_backlog)
        log_warning("WARNING: The TCP backlog setting of %lld cannot be enforced because "
                    "/proc/sys/net/core/somaxconn is set to the "
                    "lower value of %ld.",
                    c->tcp_backlog, somaxconn);
    read_line("/proc/sys/vm/overcommit_memory", text, sizeof(text));
    if (*text && strtol(text, NULL, 10) == 2)
        log_warning("WARNING: vm.overcommit_memory is 2: large reservations may fail although "
                    "there is free memory.");
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
    if (strstr(text, "[never]"))
        log_warning(
            "WARNING: transparent huge pages are off: searches are slower. 'echo madvise > "
            "/sys/kernel/mm/transparent_hugepage/enabled' lets VecStore use them where they help.");
}

static void log_address(void *arg, const char *address)
{
    (void)arg;
    log_notice("Ready to accept connections on %s", address);
}

/* The data are loaded. */
static void on_ready(struct server *s)
{
    net_listeners(s->net, log_address, NULL);
    if (s->config->supervised == CONFIG_SUPERVISED_UPSTART && getenv("UPSTART_JOB"))
        raise(SIGSTOP); /* upstart waits for it and sends SIGCONT */
    if (s->supervised)
        sd_notify(0, "STATUS=Ready to accept connections\nREADY=1\n");
}

static void log_start(const struct server *s)
{
    const struct config *c = s->config;
    log_notice("VecStore is starting: version %s, commit %s, %zu bits, pid %d", version_text(),
               version_commit(), sizeof(void *) * 8, (int)getpid());
    if (config_file(c))
        log_notice("Configuration: %s", config_file(c));
    else
        log_notice("No configuration file: using the defaults and the command line. To use one: "
                   "vecstore-server /path/to/vecstore.conf");
    log_notice("Running standalone, port %lld, %u search threads, %s, %s", c->port, s->workers,
               c->io_threads > 1 ? "io-threads on" : "io-threads off", mem_allocator_name());
}

static void ignore_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static int fail(struct server *s, const char *what)
{
    log_warning("Cannot start: %s", what);
    if (*s->config->logfile || s->config->daemonize)
        fprintf(stderr, "vecstore-server: cannot start: %s\n", what);
    server_free(s);
    return 1;
}

static int serve(struct server *s)
{
    struct buf error = {0};
    settings_open_files(s->config);
    if (!server_open(s, &error)) {
        int status = fail(s, error.len ? error.data : "unknown reason");
        buf_release(&error);
        return status;
    }
    buf_release(&error);
    crash_install(s->config->crash_log_enabled, s);
    write_pidfile(s);
    s->supervised = under_systemd(s->config);
    log_start(s);
    warn_about_system(s->config);
    s->on_ready = on_ready;
    if (s->supervised)
        sd_notify(0, "STATUS=Loading the data\n");

    server_run(s);

    if (s->supervised)
        sd_notify(0, "STOPPING=1\n");
    char *pidfile = s->pidfile;
    s->pidfile = NULL;
    bool on = s->config->crash_log_enabled;
    crash_install(on, NULL);
    bool ok = server_free(s);
    if (pidfile) {
        log_notice("Removing the pid file.");
        unlink(pidfile);
        mem_free(pidfile);
    }
    log_notice("VecStore is now ready to exit, bye bye...");
    return ok ? 0 : 1;
}

int boot_run(int argc, char **argv, struct cmd_table *commands, const struct server_repl *repl)
{
    int status = informational(argc, argv);
    if (status >= 0)
        return status;
    struct config *config = config_new();
    struct buf error = {0};
    if (!config_load_args(config, argc - 1, argv + 1, &error)) {
        fprintf(stderr, "vecstore-server: %s\n", error.data);
        status = 1;
        goto out;
    }
    char program[4096];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[len > 0 ? len : 0] = 0;
    ignore_signals();
    if (*config->dir && chdir(config->dir) != 0) {
        fprintf(stderr, "vecstore-server: cannot change to dir %s: %s\n", config->dir,
                strerror(errno));
        status = 1;
        goto out;
    }
    start_log(config);
    if (!open_log(config)) {
        status = 1;
        goto out;
    }
    if (config->daemonize && !under_systemd(config) && !become_daemon()) {
        fprintf(stderr, "vecstore-server: cannot become a daemon: %s\n", strerror(errno));
        status = 1;
        goto out;
    }
    crash_install(config->crash_log_enabled, NULL);
    struct server *s = server_new(config, commands);
    s->program = program;
    s->repl_hooks = repl;
    status = serve(s);
out:
    buf_release(&error);
    config_free(config);
    return status;
}
