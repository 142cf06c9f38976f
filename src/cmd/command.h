/* Commands: one table that says everything about each, and the contract between a command and the server that runs it.
 *
 * A command is a row (struct cmd_spec): arity, flags, key positions, ACL categories, argument grammar, texts, handler.
 * COMMAND, COMMAND DOCS, redis-cli's hints, the pages in docs/commands/ and the checks of arity and authentication all come from the
 * row. A layer registers its own rows (cmd_register); main.c wires them.
 *
 * A handler is thin: parse the arguments, call the store, write the reply. It runs on the loop and ends in one of:
 *
 *   CMD_DONE      the reply is written
 *   CMD_AGAIN     its slice of time is used up: call it again next turn with the same arguments; what it keeps is in call->state.
 *                 The connection runs nothing else meanwhile; the reply written so far stays.
 *   CMD_BACKLOG   the index takes no more vectors now: call it again when vs_poll has made room. Else as CMD_AGAIN.
 *   CMD_PENDING   the reply will come from a worker: cmd_defer() gave the place that keeps its turn among the connection's
 *                 replies. The connection goes on with its next command at once: pipelined searches run in parallel.
 *
 * Handlers run on the loop thread only. cmd_pending_finish may be called from any thread. */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resp/resp.h"
#include "vecstore.h"

enum cmd_result { CMD_DONE, CMD_AGAIN, CMD_BACKLOG, CMD_PENDING };

/* Flags: those of COMMAND INFO that clients know, by the same meaning. */
enum {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_FAST = 1 << 4,
    CMD_NO_AUTH = 1 << 5,       /* may be called before authentication */
    CMD_LOADING = 1 << 6,
    CMD_STALE = 1 << 7,
    CMD_NOSCRIPT = 1 << 8,
    CMD_SKIP_MONITOR = 1 << 9,
    CMD_SKIP_SLOWLOG = 1 << 10,
    CMD_PUBSUB = 1 << 11,
    CMD_BLOCKING = 1 << 12,
    CMD_MOVABLE_KEYS = 1 << 13,
    CMD_NO_MULTI = 1 << 14,
    CMD_ALLOW_BUSY = 1 << 15,
    CMD_PROTECTED = 1 << 16     /* needs enable-debug-command */
};

/* ACL categories, as in ACL CAT. */
enum {
    ACL_KEYSPACE = 1 << 0, ACL_READ = 1 << 1, ACL_WRITE = 1 << 2, ACL_VECTORSET = 1 << 3, ACL_ADMIN = 1 << 4, ACL_FAST = 1 << 5,
    ACL_SLOW = 1 << 6, ACL_DANGEROUS = 1 << 7, ACL_CONNECTION = 1 << 8, ACL_PUBSUB = 1 << 9, ACL_TRANSACTION = 1 << 10,
    ACL_BLOCKING = 1 << 11
};

/* Argument grammar, as COMMAND DOCS prints it. A tree in a static table; ends with .name NULL. */
enum cmd_arg_type { ARG_STRING, ARG_INTEGER, ARG_DOUBLE, ARG_KEY, ARG_PATTERN, ARG_UNIX_TIME, ARG_TOKEN, ARG_ONEOF, ARG_BLOCK };
enum { ARG_OPTIONAL = 1, ARG_MULTIPLE = 2, ARG_MULTIPLE_TOKEN = 4 };
struct cmd_arg {
    const char *name;
    enum cmd_arg_type type;
    const char *token;          /* the word before it, or the word itself for ARG_TOKEN */
    unsigned flags;
    const struct cmd_arg *children; /* ONEOF, BLOCK */
};

struct cmd_call;
typedef enum cmd_result (*cmd_handler)(struct cmd_call *call);

struct cmd_error_doc {          /* one row of the errors table of the command's page */
    const char *message;
    const char *when;
};

struct cmd_spec {
    const char *name;           /* lower case; for a subcommand the word after its parent */
    const char *summary;
    const char *group;          /* "vector_set", "generic", "connection", "server" */
    const char *since;          /* Redis' version for its commands, ours for ours */
    const char *complexity;
    int arity;                  /* with the command's name; negative: at least */
    unsigned flags;
    unsigned acl;
    int first_key, last_key, key_step;   /* 0, 0, 0: none */
    const struct cmd_arg *args;
    cmd_handler handler;        /* NULL with subcommands */
    const struct cmd_spec *subcommands;  /* ends with .name NULL */
    const char *reply;          /* docs: what it answers, RESP2 and RESP3 */
    const char *notes;          /* docs: Markdown, may be NULL */
    const char *example;        /* docs: a redis-cli transcript, may be NULL */
    const struct cmd_error_doc *errors;  /* ends with .message NULL; may be NULL */
};

/* A place in the connection's order of replies, for a reply that a worker writes. */
struct cmd_pending {
    struct buf reply;           /* the worker's until cmd_pending_finish */
    int resp_version;
    atomic_bool cancelled;      /* the client has gone: the work may stop early, but must still finish */
    void (*on_cancel)(struct cmd_pending *p); /* optional; called on the loop when the client goes; cleared by the handler's side when done */
    void *arg;                  /* the handler's */
    const struct pool *pool;    /* whose worker finishes it, while the store that it belongs to is in use; NULL: somebody else does */
    struct cmd_used *used;      /* by the time it is finished: what it found, marked as used when it leaves; mem_free'd */
};

struct cmd_used {               /* elements of one index */
    uint64_t index_uid;
    size_t n;
    struct vs_mark marks[];
};

struct cmd_client;              /* the server's */
struct cmd_host;                /* the server's; below */

struct cmd_call {
    struct cmd_host *host;
    struct cmd_client *client;
    const struct cmd_spec *spec;
    const struct resp_arg *argv; /* argv[0] is the command; subcommands: argv[1] */
    size_t argc;
    struct resp_writer *reply;
    struct vs_store *store;
    unsigned db;
    uint64_t now_ms;            /* wall clock at the start of this turn */
    uint64_t slice_end_ns;      /* clock_mono_ns() when a long command should answer CMD_AGAIN */
    bool transaction;           /* inside EXEC: CMD_AGAIN and CMD_BACKLOG stop everybody; vectors are taken past the backlog */
    void *state;                /* NULL at first; kept between CMD_AGAIN / CMD_BACKLOG calls */
    void (*state_free)(void *state); /* set with state: called when the command is done or its client gone */
};

/* Classes of keyspace events, by the letters of notify-keyspace-events. */
enum {
    EVENT_BY_KEY = 1 << 0,      /* K: published under the key's name */
    EVENT_BY_NAME = 1 << 1,     /* E: published under the event's */
    EVENT_GENERIC = 1 << 2,     /* g: del, rename_from, rename_to, ... */
    EVENT_VECTOR = 1 << 3,      /* d: vadd, vdel, vsetattr, ... */
    EVENT_EXPIRED = 1 << 4,     /* x */
    EVENT_EVICTED = 1 << 5,     /* e */
    EVENT_NEW = 1 << 6,         /* n: a key that was not there, not part of A */
    EVENT_ALL = EVENT_GENERIC | EVENT_VECTOR | EVENT_EXPIRED | EVENT_EVICTED
};

/* What a plain search asks for: no later one of the same index costs more with at most the same. */
struct cmd_effort {
    uint64_t index_uid;
    uint32_t ef, keep;
};

/* What commands ask of the server beyond the store. Filled by the server. */
struct cmd_host {
    struct cmd_pending *(*defer)(struct cmd_call *call);      /* the place; the handler then answers CMD_PENDING */
    bool (*at_once)(struct cmd_call *call, const struct cmd_effort *effort); /* shall the search run on the loop? May be NULL: never */
    void (*finish)(struct cmd_pending *p);                    /* any thread; gives the place back to the loop */
    void (*key_changed)(struct cmd_host *host, unsigned db, const char *key, size_t len); /* after a write: WATCH, tracking, dirty */
    bool (*autocreate)(struct cmd_host *host);                /* setting index-autocreate */
    void *server;
    unsigned events;            /* classes of events that are published; 0: none */
    void (*event)(struct cmd_host *host, unsigned db, const char *event, const char *key, size_t len);
};

/* Something has happened to a key: published where its class is asked for. `event` is a C string. */
static inline void cmd_event(struct cmd_host *host, unsigned class, unsigned db, const char *event, const char *key,
                             size_t len)
{
    if (host->events & class)
        host->event(host, db, event, key, len);
}

static inline struct cmd_pending *cmd_defer(struct cmd_call *call)
{
    return call->host->defer(call);
}

/* ---- the table ---- */
struct cmd_table;
struct cmd_table *cmd_table_new(void);
void cmd_table_free(struct cmd_table *t);
/* Adds rows up to one whose name is NULL; borrowed for ever. */
void cmd_register(struct cmd_table *t, const struct cmd_spec *specs);
/* Case-insensitive; NULL when unknown. */
const struct cmd_spec *cmd_find(const struct cmd_table *t, const char *name, size_t len);
const struct cmd_spec *cmd_find_sub(const struct cmd_spec *parent, const char *name, size_t len);
size_t cmd_count(const struct cmd_table *t);
const struct cmd_spec *cmd_at(const struct cmd_table *t, size_t i); /* in order of names */

/* Every row, subcommands included, has a number in 0..cmd_rows-1, for arrays of what is kept by command. */
size_t cmd_rows(const struct cmd_table *t);
size_t cmd_id(const struct cmd_table *t, const struct cmd_spec *spec);
const struct cmd_spec *cmd_row(const struct cmd_table *t, size_t id, const struct cmd_spec **parent); /* *parent: NULL of a command */
/* "client|kill" or "ping", NUL-terminated; its length. */
size_t cmd_full_name(const struct cmd_table *t, const struct cmd_spec *spec, char *out, size_t size);

/* The row that these arguments run (a subcommand's where there is one), after checking arity. On an unknown command, subcommand or a
 * wrong number of arguments: NULL, and Redis' error is written to `w`. */
const struct cmd_spec *cmd_resolve(const struct cmd_table *t, const struct resp_arg *argv, size_t argc,
                                   struct resp_writer *w);

/* The families (each in its own file or files). */
extern const struct cmd_spec cmd_vector_specs[];    /* VADD, VSEARCH, ... : cmd_vector_*.c */
extern const struct cmd_spec cmd_partition_specs[]; /* VPARTITION */
extern const struct cmd_spec cmd_keyspace_specs[];  /* DEL, SCAN, ... */
extern const struct cmd_spec cmd_dump_specs[];      /* OBJECT, DUMP, RESTORE, COPY */
extern const struct cmd_spec cmd_expire_specs[];    /* EXPIRE, TTL, ... */
extern const struct cmd_spec cmd_vexpire_specs[];   /* VEXPIRE, VTTL, ... */

#endif
