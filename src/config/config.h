/* Settings: one table of them (config_table.c), and everything that reads or changes a setting goes
 * by its row.
 *
 *   vecstore.conf --+
 *   --port 7000   --+--> parse by row --> a field of struct config <--> CONFIG SET, with listeners
 *   defaults      --+                            |
 *                                                +--> CONFIG GET, CONFIG REWRITE, default file
 *
 * Users read plain fields. A setting that takes effect through an action, not by being read, is
 * marked so in the table: CONFIG SET of it is refused until somebody has registered a listener for
 * it, so that no answer "OK" is a lie.
 *
 * Values of settings marked sensitive never appear in a message.
 *
 * One thread: the owner of the event loop. Other threads get copies of what they need. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "resp/resp.h"

struct config_list {
    char **items;          /* NUL-terminated */
    size_t n;
};

enum config_client_class { CONFIG_NORMAL, CONFIG_REPLICA, CONFIG_PUBSUB, CONFIG_CLIENT_CLASSES };

struct config_output_limits {
    struct config_output_limit {
        long long hard;    /* bytes; 0: none */
        long long soft;    /* bytes; 0: none */
        long long seconds; /* for so long `soft` may be passed */
    } of[CONFIG_CLIENT_CLASSES];
};

#define CONFIG_PERCENTILES_MAX 16
struct config_percentiles {
    double at[CONFIG_PERCENTILES_MAX];
    size_t n;
};

/* Save points: a snapshot when so many seconds have passed with so many changes. */
#define CONFIG_SAVES_MAX 16
struct config_saves {
    struct config_save {
        long long seconds, changes;
    } at[CONFIG_SAVES_MAX];
    size_t n;
    bool given; /* by a line: the next one adds to it. Else it is replaced */
};

enum config_supervised {
    CONFIG_SUPERVISED_NO,
    CONFIG_SUPERVISED_AUTO,
    CONFIG_SUPERVISED_SYSTEMD,
    CONFIG_SUPERVISED_UPSTART
};
enum config_debug { CONFIG_DEBUG_NO, CONFIG_DEBUG_LOCAL, CONFIG_DEBUG_YES };

/* Strings are never NULL: "" is unset. They and lists belong to the configuration and stand until
 * the setting changes. */
struct config {
    /* network */
    struct config_list bind;      /* addresses; "*" all of IPv4; "-" first: may be absent */
    long long port;               /* 0: no TCP */
    long long tcp_backlog;
    char *unixsocket;
    long long unixsocketperm;     /* 0: as the umask has it */
    bool protected_mode;
    long long timeout;            /* seconds; 0: never */
    long long tcp_keepalive;      /* seconds; 0: off */
    /* clients */
    long long maxclients;
    long long client_query_buffer_limit;
    long long proto_max_bulk_len;
    struct config_output_limits client_output_buffer_limit;
    char *requirepass;
    int enable_debug_command;     /* enum config_debug */
    /* process */
    bool daemonize;
    char *pidfile;
    int supervised;               /* enum config_supervised */
    char *dir;
    bool crash_log_enabled;
    /* log */
    int loglevel;                 /* enum log_level */
    char *logfile;                /* "": standard output */
    bool syslog_enabled;
    char *syslog_ident;
    int syslog_facility;          /* LOG_USER, LOG_LOCAL0 .. of <syslog.h> */
    /* threads and time */
    long long io_threads;         /* 1: the loop alone */
    long long search_threads;     /* 0: the cores */
    long long loop_budget_us;
    /* data */
    long long databases;
    bool index_autocreate;
    long long link_backlog_max;   /* vectors; 0: by the cost of a search */
    long long max_open_partitions; /* 0: no limit */
    /* memory */
    long long maxmemory;          /* bytes; 0: no limit */
    int maxmemory_policy;         /* enum vs_evict */
    long long maxmemory_samples;
    long long lfu_log_factor, lfu_decay_time;
    /* persistence */
    struct config_saves save;
    char *dbfilename;
    bool stop_writes_on_bgsave_error;
    long long scrub_period;       /* seconds; 0: never */
    bool appendonly;
    char *appendfilename, *appenddirname;
    int appendfsync;              /* enum journal_fsync */
    long long auto_aof_rewrite_percentage; /* 0: never */
    long long auto_aof_rewrite_min_size;
    bool aof_load_truncated;
    bool verify_on_load;
    /* replication */
    struct config_list replicaof; /* host, port; empty: a primary */
    char *masteruser, *masterauth;
    bool replica_serve_stale_data, replica_read_only;
    long long replica_priority;
    bool replica_announced;
    char *replica_announce_ip;
    long long replica_announce_port;  /* 0: port */
    long long repl_timeout, repl_ping_replica_period; /* seconds */
    long long repl_diskless_sync_delay;               /* seconds */
    bool repl_compression;
    long long repl_backlog_size;
    long long repl_backlog_seconds;   /* 0: as long as there is room */
    long long repl_backlog_ttl;       /* seconds without replicas; 0: for ever */
    long long min_replicas_to_write, min_replicas_max_lag; /* seconds */
    long long fence_quorum, fence_stall_ms, fence_hello_ms; /* 0: a majority; off; off */
    long long min_replicas_max_lag_ms; /* 0: min_replicas_max_lag */
    struct config_list shutdown_on_sigterm, shutdown_on_sigint; /* default, save, nosave, now, force */
    /* observing */
    long long slowlog_log_slower_than; /* microseconds; -1: off */
    long long slowlog_max_len;
    char *notify_keyspace_events;      /* letters (server/notify.h) */
    long long latency_monitor_threshold; /* milliseconds; 0: off */
    bool latency_tracking;
    struct config_percentiles latency_tracking_info_percentiles;

    struct config_state *state;   /* private */
};

/* All defaults. Owned by the caller. */
struct config *config_new(void);
void config_free(struct config *c);

/* Reads a file ("-": standard input), on top of what is set. Its absolute path is remembered for
 * CONFIG REWRITE. False: `error` (text, NUL-terminated) names file, line and reason; settings of
 * earlier lines stand, so do not go on with it. */
bool config_load_file(struct config *c, const char *path, struct buf *error);
/* The same for text that came from `name`. */
bool config_load_text(struct config *c, const char *name, const char *text, size_t len,
                      struct buf *error);
/* The arguments behind the program's name: [file | -] [--setting value ..].. */
bool config_load_args(struct config *c, int argc, char *const *argv, struct buf *error);

/* The file that was read, absolute, or NULL. */
const char *config_file(const struct config *c);

/* CONFIG GET: calls `each` for every setting that one of the patterns matches, once each, in the
 * table's order; the number of them. `each` may be NULL (to count). Name and value are good during
 * the call. */
size_t config_get(const struct config *c, const struct resp_arg *patterns, size_t n,
                  void (*each)(void *arg, const char *name, const char *value, size_t len),
                  void *arg);

/* CONFIG SET name value ..: `pairs` pairs of arguments. All are checked, then all are set, then
 * listeners are asked; when one refuses, all is as before. False: `error` is the line to send ("ERR
 * ...", NUL-terminated). */
bool config_set(struct config *c, const struct resp_arg *args, size_t pairs, struct buf *error);

/* A listener of one setting, called after CONFIG SET has put the new value into its field and
 * before the client hears of it. It makes the value effective, or returns false with a reason in
 * *why (static text, or good until the next call): the old value is put back, and listeners that
 * had accepted are called again to return to it. A function registered for several settings with
 * the same `arg` is called once for a CONFIG SET of them, with the first one's name. Not called
 * while files and arguments are read. */
typedef bool (*config_listener)(void *arg, const char *name, const char **why);
void config_on_change(struct config *c, const char *name, config_listener fn, void *arg);

/* CONFIG REWRITE: the file again with what is in force: lines that say it already stay to the byte,
 * with comments and order; others are replaced; what no line says is appended under a marker.
 * Written aside, synced, renamed. False: `error` says why, the file is as before. */
bool config_rewrite(struct config *c, struct buf *error);

/* vecstore.conf: every setting with its documentation and default. */
void config_default_file(struct buf *out);

#endif
