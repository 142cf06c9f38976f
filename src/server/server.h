/* The server: what its files share. Everything here is the loop thread's.
 *
 *   main.c -> boot.c (options, process) -> server.c (parts, life) -> turn.c (the loop)
 *                                                                      |
 *   exec.c (run a command) <- client.c (connections) <-----------------+
 *     |                          |
 *     cmd_*.c (handlers)         reply.c (order of replies) <- gate.c (until the journal has it)
 *     multi.c (MULTI, EXEC)      pubsub.c (messages) <- notify.c (what happens to keys)
 *
 * Parts with state of their own (statistics, slow log, latency, monitors, clients) are opaque here
 * and have their own headers; a file includes those it uses. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/command.h"
#include "config/config.h"
#include "net/net.h"
#include "persist/journal.h"
#include "server/census.h"
#include "server/lone.h"

#define REDIS_VERSION "7.2.4" /* what clients are told that look for features by it */

struct clients;
struct stats;
struct slowlog;
struct latency;
struct persist;
struct pubsub;
struct watches;
struct repl;
struct server_repl;
struct slot;
struct vfs_fault;

enum server_shutdown { SHUTDOWN_NO, SHUTDOWN_SAVING, SHUTDOWN_ASKED, SHUTDOWN_NOW };

enum server_reload { RELOAD_NONE, RELOAD_SAVES, RELOAD_DRAINS, RELOAD_LOADS };

struct shutdown_options {
    bool save, nosave, now, force;
};

/* Replies that wait for the journal, oldest first (gate.h). */
struct gates {
    struct slot *first, **tail;
    size_t n;
};

/* Snapshots and rewrites (saving.c). */
struct saving {
    bool runs, rewrite, aborted;
    bool ok;                    /* the last snapshot */
    bool save_scheduled, rewrite_scheduled;
    struct cmd_pending *reply;  /* SAVE waits; NULL */
    uint64_t saved_s, tried_s;  /* wall clock: the last good one, the last one */
    uint64_t dirty_saved, dirty_at_cut;
    uint64_t began_ms, pause_until_ms; /* no snapshot before for the sake of unloading */
};

struct server {
    struct config *config;
    struct net *net;
    struct vs_store *store;
    struct cmd_table *commands;
    struct cmd_host host;
    struct clients *clients;
    struct stats *stats;
    struct slowlog *slowlog;
    struct latency *latency;
    struct pubsub *pubsub;
    struct watches *watches;
    bool in_exec; /* a transaction is being run */
    /* replication (replication.h) */
    const struct server_repl *repl_hooks; /* NULL: none */
    struct repl *repl;        /* theirs */
    uint64_t repl_offset;     /* of the last record in the replication stream */
    bool follows;             /* a replica: what changes comes from its primary */
    bool repl_refuses;        /* `refuses` is to be asked */
    bool repl_pause;          /* writes wait: this node hands over to another */
    bool fenced;              /* a primary that may have been replaced (repl/fence.h): it takes no writes */
    bool swapping;            /* commands wait for another store */
    /* maxmemory (memory_limit.h) */
    enum vs_memory_state memory_state; /* as last looked at */
    size_t memory_apart;               /* bytes that do not count, as of this turn */
    /* durability (persistence.h) */
    struct vfs vfs;
    struct vfs_fault *faults;  /* what DEBUG VFS-FAULT sets; NULL */
    struct persist *persist;
    struct journal *journal;   /* NULL until the data are loaded */
    struct gates gates;
    struct saving saving;
    bool loading;
    bool journal_was_full;     /* clients wait for it */
    uint64_t load_began_ns;
    enum server_reload reload;
    struct cmd_pending *reload_reply; /* of the client that asked for it */
    void (*on_ready)(struct server *s); /* called once, when the data are loaded; may be NULL */

    const char *program; /* absolute path of the program, "" when unknown */
    char run_id[41], replication_id[41];
    uint64_t started_ms; /* wall clock */
    unsigned workers;
    bool supervised; /* systemd is told about our state */
    char *pidfile;   /* written by us, to be removed; NULL */

    /* of this turn */
    uint64_t now_ms, now_ns, turn_end_ns;
    enum server_shutdown shutdown;
    struct shutdown_options shutdown_how;
    struct cmd_pending *shutdown_reply; /* of the client that asked; NULL */
    bool shutdown_waits;                /* its snapshot has not begun */
    bool failed;                        /* the exit status shall say so */
    atomic_bool engine_woke; /* a worker has something for vs_poll: it may make room in a backlog */
    bool poll_again;         /* vs_poll stopped for its budget */
    bool more;               /* so did something else */
    uint64_t cpu_ns;         /* the thread's CPU clock at the end of the last turn */
    const struct cmd_spec *last_command;
    size_t pending;                 /* replies that workers owe .. */
    size_t pending_idle;            /* .. or others, who do not use the store */
    struct lone lone;
    const struct cmd_spec *running; /* the command under way, for a crash report */
    struct census census;
    size_t startup_memory;
    unsigned ticks;
    uint64_t dirty; /* changes of the data set */
};

struct server *server_new(struct config *config, struct cmd_table *commands);
/* Opens store, network and listeners. False: `error` says why (NUL-terminated). */
bool server_open(struct server *s, struct buf *error);
/* The store alone, empty. */
bool server_open_store(struct server *s, struct buf *error);
/* As it is opened by that. */
struct vs_options server_store_options(struct server *s);
/* Turns the loop until somebody asks for shutdown. */
void server_run(struct server *s);
/* Writes and syncs what is left, and ends. False: not all of it could be, or the data could not be
 * loaded; the log says which. NULL is fine. */
bool server_free(struct server *s);

/* One turn of the loop. */
void server_turn(struct server *s);

/* Does this node decide what is not decided by a client: what has expired, what has to go for want of memory? A
 * replica does not: its primary says so in the stream. */
static inline bool server_decides(const struct server *s)
{
    return !s->follows && !s->repl_pause && !s->fenced;
}

static inline struct server *server_of(const struct cmd_call *call)
{
    return call->host->server;
}

/* The server layer's own commands. */
extern const struct cmd_spec server_connection_specs[]; /* PING, HELLO, CLIENT, ... */
extern const struct cmd_spec server_admin_specs[];      /* INFO, CONFIG, COMMAND, ... */
extern const struct cmd_spec server_persist_specs[];    /* SAVE, BGSAVE, SHUTDOWN, ... */
extern const struct cmd_spec server_pubsub_specs[];     /* SUBSCRIBE, PUBLISH, ... */
extern const struct cmd_spec server_multi_specs[];      /* MULTI, EXEC, WATCH, ... */

#endif
