/* Clients: what the server knows of a connection.
 *
 * ORDER OF REPLIES. A command whose reply comes from a worker takes a slot. While a client has
 * slots, replies of later commands are kept behind the last one:
 *
 *   connection's output <- [slot: search 1 | after: +PONG] <- [slot: search 2 | after: ...]
 *
 * A slot whose reply has come moves to the output, with what follows it, once it is the first.
 * Without slots a reply is written straight into the connection's output. Replies to writes take
 * slots, too, while there is a journal (gate.h).
 *
 * Loop thread only. */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include <sys/queue.h>

#include "server/server.h"
#include "server/slowlog.h"

#define CLIENT_SLOTS_MAX   1024               /* replies of one client that are not ready */
#define CLIENT_OUTPUT_STOP ((size_t)64 << 20) /* unsent bytes at which its commands wait */

enum {
    CLIENT_REPLY_OFF = 1 << 0,
    CLIENT_REPLY_SKIP = 1 << 1, /* of the command under way */
    CLIENT_REPLY_SKIP_NEXT = 1 << 2,
    CLIENT_NO_EVICT = 1 << 3,
    CLIENT_NO_TOUCH = 1 << 4,
    CLIENT_MONITOR = 1 << 5,
    CLIENT_CLOSE_AFTER = 1 << 6 /* close when the replies have left */
};

/* Why a command under way does not go on at once. */
enum client_wait {
    CLIENT_RUNS,
    CLIENT_WAITS_AGAIN,   /* its slice was used up */
    CLIENT_WAITS_BACKLOG, /* for vs_poll */
    CLIENT_WAITS_SLOTS,   /* for replies before it */
    CLIENT_WAITS_PAUSE,   /* CLIENT PAUSE: not begun */
    CLIENT_WAITS_JOURNAL, /* for the disk to catch up: not begun */
    CLIENT_WAITS_OUTPUT   /* for its socket: nothing is under way */
};

struct slot {
    struct cmd_pending pending; /* first: finish() is given this */
    struct net_post post;
    struct server *server;
    bool follows;              /* behind other replies of its client */
    struct cmd_client *client; /* NULL: gone */
    struct slot *next;
    bool done, mute;
    struct buf after;
    const struct cmd_spec *spec;
    uint64_t began_ns;
    struct slowlog_args *args; /* kept when the slow log may want them */
    /* of a gate */
    bool is_gate, queued;   /* queued: the gates own it, too */
    uint64_t lsn;           /* the record that its reply waits for; 0: none */
    struct slot *next_gate;
};

struct pubsub_client;
struct replica;
struct repl_wait;
struct multi;
struct watch_list;

struct cmd_client {
    struct server *server;
    struct net_conn *conn;
    uint64_t id;
    char *name, *lib_name, *lib_version; /* NULL: none */
    bool authenticated, closing;
    unsigned flags;
    unsigned db;
    int resp;
    uint64_t created_ms, active_ms;
    uint64_t soft_since_ms; /* since when the soft output limit is passed; 0 */
    uint64_t closing_ms;
    uint64_t commands, bytes_in_command;

    struct cmd_call call; /* the command under way */
    struct resp_writer writer;
    struct buf muted; /* replies that nobody wants */
    enum client_wait wait;
    struct slot *gate;           /* of the command under way, when it takes one */
    bool called;                 /* the handler has been called at least once */
    bool inside;                 /* it is being called now, of a write */
    bool wrote;                  /* part of its reply is written */
    bool failed;                 /* its reply is an error */
    uint64_t call_ns;            /* time spent in it so far */
    const struct cmd_spec *last; /* for CLIENT LIST */

    struct pubsub_client *pubsub; /* what it listens to (pubsub.h); NULL: nothing */
    struct multi *multi;          /* commands queued since MULTI; NULL: not in MULTI */
    struct watch_list *watched;   /* NULL: nothing */

    struct replica *replica;      /* of repl: it takes the stream; NULL: it does not */
    struct repl_wait *waits_for;  /* of repl: an answer of replicas; NULL */
    uint64_t repl_offset, write_lsn; /* behind its last write: of the stream, of the journal */

    struct slot *slots, **slots_tail, *last_slot;
    size_t slots_n;
    uint64_t held_since_ns; /* replies wait in the output for more to come; 0 */
    bool held_listed;
    TAILQ_ENTRY(cmd_client) held_link, wait_link, monitor_link;
    bool wait_listed;
};

TAILQ_HEAD(client_list, cmd_client);

struct clients {
    struct cmd_client **at; /* in order of ids */
    size_t n, cap;
    uint64_t next_id;
    size_t cron_at;
    struct client_list held, waiting, monitors;
    uint64_t pause_until_ms; /* CLIENT PAUSE */
    bool pause_all;
};

struct clients *clients_new(void);
void clients_free(struct clients *cs);
/* net's callbacks */
bool client_open(void *server, struct net_conn *conn);
void client_gone(void *server, struct net_conn *conn);

/* Works on what a ready connection has sent, for at most a few commands. */
void client_work(struct cmd_client *c);
/* Closes now, dropping what was not sent; its pending work is cancelled. */
void client_close(struct cmd_client *c);
/* Closes when its replies have left. */
void client_close_after(struct cmd_client *c);
struct cmd_client *client_by_id(const struct clients *cs, uint64_t id);
/* Position of the first client whose id is at least `id`. */
size_t client_position(const struct clients *cs, uint64_t id);
/* "id=7 addr=... " without newline, for logs and CLIENT LIST (client_list.c). */
void client_describe(const struct cmd_client *c, struct buf *out);
size_t client_memory(const struct cmd_client *c);
/* Limits of its input after AUTH or a change of the settings. */
void client_apply_limits(struct cmd_client *c);
/* RESET: as after connecting. */
void client_reset(struct cmd_client *c);
/* Sets its name or another of its texts; false: out of memory, it stays as it was. */
bool client_set_text(char **field, const struct resp_arg *text);
/* A bounded number of clients per call: idle ones, limits, unused memory. */
void clients_cron(struct server *s);
/* Closes the client when it is past its output limits; true when it did. */
bool client_check_output(struct cmd_client *c);
/* Lets clients go on that waited for `why`; false when none did. */
bool clients_resume(struct server *s, enum client_wait why);
void client_wait(struct cmd_client *c, enum client_wait why);
void client_unwait(struct cmd_client *c);

/* exec.c: one command, from its beginning or going on. */
void exec_command(struct cmd_client *c, const struct resp_arg *argv, size_t argc);
void exec_resume(struct cmd_client *c);
/* Inside EXEC: runs it to its end, its reply behind what stands there. */
void exec_queued(struct cmd_client *c, const struct cmd_spec *spec, const struct resp_arg *argv,
                 size_t argc);
/* Write commands that are under way, in slices or waiting, end with this error. */
void exec_end_writes(struct server *s, const char *why);
/* Gives up a command that waits for the backlog, with an error or null. */
void exec_unblock(struct cmd_client *c, bool error);
/* Drops a command under way. */
void exec_abandon(struct cmd_client *c);

/* reply.c */
struct cmd_pending *reply_defer(struct cmd_call *call);
/* A place behind all replies so far; its reply is the caller's until reply_slot_done. */
struct slot *reply_slot_take(struct cmd_client *c);
/* Its reply is complete: it leaves when those before it have. The slot is gone, or the client's. */
void reply_slot_done(struct slot *slot);
void reply_slot_free(struct slot *slot);
void reply_finish(struct cmd_pending *p);
/* Nothing of it will be sent. Loop thread. */
void reply_mute(struct cmd_pending *p);
/* Where the client's next reply goes. */
struct buf *reply_target(struct cmd_client *c);
/* Sends what stands in the output, or holds it back while more is about to come. */
void reply_send(struct cmd_client *c);
/* Sends what was held long enough; nanoseconds until the next is due, 0: none. */
uint64_t reply_release_held(struct server *s);
void reply_cancel_all(struct cmd_client *c);
/* Out-of-band text (MONITOR): behind all replies so far. */
void reply_push(struct cmd_client *c, const char *text, size_t len);

#endif
