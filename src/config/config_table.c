/* The table of settings. A row says everything about its setting; vecstore.conf is printed from
 * here. Names, meanings and defaults are those of redis.conf where redis.conf has the setting. A
 * setting stands here only when it does something. */
#include "config/config_int.h"

#include <limits.h>
#include <stddef.h>
#include <syslog.h>

/* <syslog.h> has macros of the same names, which must not leak into the levels below. */
enum {
    SYSLOG_USER = LOG_USER,
    SYSLOG_LOCAL0 = LOG_LOCAL0,
    SYSLOG_LOCAL1 = LOG_LOCAL1,
    SYSLOG_LOCAL2 = LOG_LOCAL2,
    SYSLOG_LOCAL3 = LOG_LOCAL3,
    SYSLOG_LOCAL4 = LOG_LOCAL4,
    SYSLOG_LOCAL5 = LOG_LOCAL5,
    SYSLOG_LOCAL6 = LOG_LOCAL6,
    SYSLOG_LOCAL7 = LOG_LOCAL7
};
#undef LOG_DEBUG
#undef LOG_NOTICE
#undef LOG_WARNING
#include "base/log.h"

#define AT(field) offsetof(struct config, field)
#define TEXT_MAX 4096
#define SOCKET_PATH_MAX 107 /* what fits into sockaddr_un */
#define KB 1024LL
#define MB (1024LL * KB)

static const struct config_word loglevels[] = {
    { "debug", LOG_DEBUG },     { "verbose", LOG_VERBOSE }, { "notice", LOG_NOTICE },
    { "warning", LOG_WARNING }, { "nothing", LOG_NOTHING }, { 0 }
};
static const struct config_word facilities[] = {
    { "user", SYSLOG_USER },     { "local0", SYSLOG_LOCAL0 },
    { "local1", SYSLOG_LOCAL1 }, { "local2", SYSLOG_LOCAL2 },
    { "local3", SYSLOG_LOCAL3 }, { "local4", SYSLOG_LOCAL4 },
    { "local5", SYSLOG_LOCAL5 }, { "local6", SYSLOG_LOCAL6 },
    { "local7", SYSLOG_LOCAL7 }, { 0 }
};
static const struct config_word supervisors[] = { { "no", CONFIG_SUPERVISED_NO },
                                                  { "auto", CONFIG_SUPERVISED_AUTO },
                                                  { "systemd", CONFIG_SUPERVISED_SYSTEMD },
                                                  { "upstart", CONFIG_SUPERVISED_UPSTART },
                                                  { 0 } };
static const struct config_word debug_access[] = {
    { "no", CONFIG_DEBUG_NO }, { "local", CONFIG_DEBUG_LOCAL }, { "yes", CONFIG_DEBUG_YES }, { 0 }
};

const struct config_row config_table[] = {
    { .section = "Network",
      .name = "bind",
      .type = CONFIG_LIST,
      .flags = CONFIG_APPLIED,
      .offset = AT(bind),
      .preset = "* -::*",
      .max = 16,
      .doc = "The addresses to listen on, at most 16. * is every IPv4 address, ::* every IPv6 "
             "address. One with a - before it is skipped "
             "when this machine does not have it. Without protection by a firewall, a server that "
             "is reached from other machines needs "
             "requirepass." },
    { .name = "port",
      .type = CONFIG_INT,
      .flags = CONFIG_APPLIED,
      .offset = AT(port),
      .preset = "6379",
      .min = 0,
      .max = 65535,
      .doc = "The TCP port. 0: do not listen on TCP." },
    { .name = "tcp-backlog",
      .type = CONFIG_INT,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(tcp_backlog),
      .preset = "511",
      .min = 1,
      .max = INT_MAX,
      .doc = "How many connections may wait to be accepted. The kernel caps it at "
             "net.core.somaxconn." },
    { .name = "unixsocket",
      .type = CONFIG_STRING,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(unixsocket),
      .preset = "",
      .max = SOCKET_PATH_MAX,
      .example = "/run/vecstore.sock",
      .doc = "The path of a unix socket to listen on as well. Not set: none." },
    { .name = "unixsocketperm",
      .type = CONFIG_OCTAL,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(unixsocketperm),
      .preset = "0",
      .min = 0,
      .max = 0777,
      .doc = "The unix socket's mode, in octal. 0: as the umask leaves it." },
    { .name = "protected-mode",
      .type = CONFIG_BOOL,
      .offset = AT(protected_mode),
      .preset = "yes",
      .doc = "Without a password, answer clients of this machine only: loopback addresses and the "
             "unix socket." },
    { .name = "timeout",
      .type = CONFIG_INT,
      .offset = AT(timeout),
      .preset = "0",
      .min = 0,
      .max = INT_MAX,
      .doc = "Close a connection that was idle for so many seconds. 0: never." },
    { .name = "tcp-keepalive",
      .type = CONFIG_INT,
      .offset = AT(tcp_keepalive),
      .preset = "300",
      .min = 0,
      .max = INT_MAX,
      .doc = "Ask a silent peer for a sign of life after so many seconds, so that dead ones are "
             "found. 0: never. New connections only." },

    { .section = "Clients",
      .name = "maxclients",
      .type = CONFIG_INT,
      .offset = AT(maxclients),
      .preset = "10000",
      .min = 1,
      .max = 1000000,
      .doc = "Connections at the same time; one more is told so and closed. Lowered at the start "
             "when the limit of open files is lower." },
    { .name = "client-query-buffer-limit",
      .type = CONFIG_MEMORY,
      .offset = AT(client_query_buffer_limit),
      .preset = "1gb",
      .min = MB,
      .max = LLONG_MAX,
      .doc = "Input of one client that may wait to be understood; a client that passes it is "
             "closed." },
    { .name = "proto-max-bulk-len",
      .type = CONFIG_MEMORY,
      .offset = AT(proto_max_bulk_len),
      .preset = "512mb",
      .min = MB,
      .max = LLONG_MAX,
      .doc = "The longest single argument of a command." },
    { .name = "client-output-buffer-limit",
      .type = CONFIG_LIMITS,
      .offset = AT(client_output_buffer_limit),
      .preset = "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
      .doc = "<class> <hard limit> <soft limit> <soft seconds>: close a client that does not read "
             "its replies once they fill the hard limit, or the "
             "soft limit for so many seconds. 0: no limit." },
    { .name = "requirepass",
      .type = CONFIG_STRING,
      .flags = CONFIG_SENSITIVE,
      .offset = AT(requirepass),
      .preset = "",
      .max = 512,
      .example = "a-long-random-secret",
      .doc = "The password that AUTH and HELLO must give before any other command. Make it long: "
             "guesses are fast. Not set: none is asked for." },
    { .name = "enable-debug-command",
      .type = CONFIG_ENUM,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(enable_debug_command),
      .preset = "no",
      .words = debug_access,
      .doc = "Who may use DEBUG, which can stop the server: no (nobody), local (clients of this "
             "machine), yes (all)." },

    { .section = "Process",
      .name = "daemonize",
      .type = CONFIG_BOOL,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(daemonize),
      .preset = "no",
      .doc = "Go to the background. Leave it no under systemd." },
    { .name = "pidfile",
      .type = CONFIG_STRING,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(pidfile),
      .preset = "",
      .max = TEXT_MAX,
      .example = "/run/vecstore.pid",
      .doc = "Write the process id there, and remove the file at the end. Not set: only a daemon "
             "does, to /var/run/vecstore.pid." },
    { .name = "supervised",
      .type = CONFIG_ENUM,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(supervised),
      .preset = "no",
      .words = supervisors,
      .doc = "Tell the supervisor when the server is ready: no, systemd (Type=notify), upstart "
             "(stops itself once), auto (as the "
             "environment says)." },
    { .name = "dir",
      .type = CONFIG_DIRECTORY,
      .flags = CONFIG_APPLIED,
      .offset = AT(dir),
      .preset = "./",
      .max = TEXT_MAX,
      .doc = "The working directory. Relative paths of files count from here." },
    { .name = "crash-log-enabled",
      .type = CONFIG_BOOL,
      .flags = CONFIG_APPLIED,
      .offset = AT(crash_log_enabled),
      .preset = "yes",
      .doc = "Write a report to the log when the server crashes." },

    { .section = "Log",
      .name = "loglevel",
      .type = CONFIG_ENUM,
      .flags = CONFIG_APPLIED,
      .offset = AT(loglevel),
      .preset = "notice",
      .words = loglevels,
      .doc = "From much to little: debug, verbose, notice, warning, nothing." },
    { .name = "logfile",
      .type = CONFIG_STRING,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(logfile),
      .preset = "",
      .max = TEXT_MAX,
      .example = "/var/log/vecstore.log",
      .doc = "The file to log to. Not set: standard output, which a daemon does not have." },
    { .name = "syslog-enabled",
      .type = CONFIG_BOOL,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(syslog_enabled),
      .preset = "no",
      .doc = "Log to the system's log as well." },
    { .name = "syslog-ident",
      .type = CONFIG_STRING,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(syslog_ident),
      .preset = "vecstore",
      .max = 128,
      .doc = "The name in the system's log." },
    { .name = "syslog-facility",
      .type = CONFIG_ENUM,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(syslog_facility),
      .preset = "local0",
      .words = facilities,
      .doc = "The facility in the system's log: user, or local0 to local7." },

    { .section = "Threads",
      .name = "io-threads",
      .type = CONFIG_INT,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(io_threads),
      .preset = "1",
      .min = 1,
      .max = 128,
      .doc =
          "Threads that read, parse and write for connections. 1: the event loop does it alone." },
    { .name = "search-threads",
      .type = CONFIG_INT,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(search_threads),
      .preset = "0",
      .min = 0,
      .max = 1024,
      .doc = "Worker threads for searches and for linking new vectors into graphs. 0: as many as "
             "this machine has cores." },
    { .name = "loop-budget-us",
      .type = CONFIG_INT,
      .offset = AT(loop_budget_us),
      .preset = "500",
      .min = 50,
      .max = 1000000,
      .doc = "Microseconds of CPU time after which the event loop interrupts long work to look "
             "after other connections." },

    { .section = "Indexes",
      .name = "databases",
      .type = CONFIG_INT,
      .flags = CONFIG_IMMUTABLE,
      .offset = AT(databases),
      .preset = "16",
      .min = 1,
      .max = 16384,
      .doc = "The number of databases SELECT chooses from." },
    { .name = "index-autocreate",
      .type = CONFIG_BOOL,
      .offset = AT(index_autocreate),
      .preset = "yes",
      .doc = "Let the first VADD to a key create its index. no: only VPARTITION CREATE does." },
    { .name = "link-backlog-max",
      .type = CONFIG_INT,
      .flags = CONFIG_APPLIED,
      .offset = AT(link_backlog_max),
      .preset = "0",
      .min = 0,
      .max = UINT_MAX,
      .doc = "New vectors are acknowledged at once and linked into the graph behind; until then "
             "every search scans them. This bounds how many "
             "may wait in a partition before a client that adds more waits. 0: as many as a search "
             "scans in about the time of its graph search. Raise it "
             "for bulk loads. Less than one batch, 256, counts as 256." },

    { .section = "Observing",
      .name = "slowlog-log-slower-than",
      .type = CONFIG_INT,
      .offset = AT(slowlog_log_slower_than),
      .preset = "10000",
      .min = -1,
      .max = LLONG_MAX,
      .doc = "Keep commands that took longer than so many microseconds in SLOWLOG. 0: every "
             "command. -1: none." },
    { .name = "slowlog-max-len",
      .type = CONFIG_INT,
      .offset = AT(slowlog_max_len),
      .preset = "128",
      .min = 0,
      .max = 1000000,
      .doc = "Entries that SLOWLOG keeps." },
    { .name = "latency-monitor-threshold",
      .type = CONFIG_INT,
      .offset = AT(latency_monitor_threshold),
      .preset = "0",
      .min = 0,
      .max = LLONG_MAX,
      .doc = "Keep events that took so many milliseconds or more for LATENCY. 0: do not watch." },
    { .name = "latency-tracking",
      .type = CONFIG_BOOL,
      .offset = AT(latency_tracking),
      .preset = "yes",
      .doc = "Keep a histogram of the time each command takes, for INFO latencystats and LATENCY "
             "HISTOGRAM." },
    { .name = "latency-tracking-info-percentiles",
      .type = CONFIG_PERCENTILES,
      .offset = AT(latency_tracking_info_percentiles),
      .preset = "50 99 99.9",
      .doc = "The percentiles that INFO latencystats shows, at most 16." },
};

const size_t config_table_size = sizeof config_table / sizeof *config_table;
