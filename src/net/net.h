/* The network: a libevent loop, listeners, connections and io-threads. Nothing above this layer
 * knows libevent.
 *
 * A TURN of the loop, as the server drives it:
 *
 *   net_poll         sleep if there is nothing to do; mark connections ready, collect posts
 *   net_take_ready   the server works through them: net_conn_next, execute, write to net_conn_out
 *   net_run_posts    what other threads have finished
 *   net_flush        one write() a connection
 *
 * A CONNECTION has two halves. Its input (buffer, RESP reader, commands parsed ahead) has one
 * owner at a time; its output is a chain of blocks that the loop appends to. With io-threads off
 * the loop owns both, and reads, parses and writes when the server asks. With io-threads the input
 * travels:
 *
 *   io-thread: wait, read, parse a batch --post--> loop: net_conn_next until it is empty
 *              ^                                                        |
 *              +------------------------- mailbox ----------------------+
 *   loop: sealed blocks --outbox, mailbox--> io-thread: writev until empty
 *
 * so that no lock is taken and no argument is copied: arguments are slices of the input buffer,
 * which nobody moves while the loop owns it. Rejected: the barrier of Redis 6 (all threads wait
 * for the slowest), and a socket read by several threads in turn without ownership (nothing could
 * be checked by ThreadSanitizer).
 *
 * Everything here is called by the loop's thread, except net_post and net_wake (any thread). */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "resp/resp.h"

struct net;
struct net_conn;

struct net_options {
    unsigned io_threads; /* 1 (or 0): none, the loop does it all */
    /* A connection came in. False: it is refused, and what was written to it is sent. */
    bool (*open)(void *arg, struct net_conn *conn);
    /* After net_conn_close: nothing refers to it any more; it is freed on return. */
    void (*gone)(void *arg, struct net_conn *conn);
    void *arg;
};

#define NET_DOZE_US 1100 /* a sleep of at most this is dozing, see net_post_more */

/* NULL when the system gives no event loop or no threads. */
struct net *net_new(const struct net_options *options);
/* "epoll". */
const char *net_backend(const struct net *n);
/* Closes everything, ends the threads; `gone` is called for what was open. */
void net_free(struct net *n);

/* ---- the loop ---- */

/* Collects events. `timeout_us` 0: without sleeping; negative: until something happens; else at
 * most so long. */
void net_poll(struct net *n, int64_t timeout_us);
/* The next ready connection, or NULL. It leaves the queue. */
struct net_conn *net_take_ready(struct net *n);
size_t net_ready_count(const struct net *n);
/* Writes what was appended; connections whose socket is full go on when it has room. True when it
 * stopped at `deadline_ns` (of clock_mono_ns, at least one was written to) with some left. */
bool net_flush(struct net *n, uint64_t deadline_ns);

/* Work for the loop from any thread: `run` is called by net_run_posts, in order of posting. Wakes
 * the loop when it sleeps. */
struct net_post {
    struct net_post *next;
    void (*run)(struct net_post *post);
};
void net_post(struct net *n, struct net_post *post);
/* The same for what can wait so long: a loop that sleeps for no more than NET_DOZE_US is left to it. */
void net_post_more(struct net *n, struct net_post *post);
/* True when it stopped at `deadline_ns` (of clock_mono_ns) with posts left. */
bool net_run_posts(struct net *n, uint64_t deadline_ns);
/* Has the loop, though it has something to do, not begun a turn for a while? It then waits for a
 * processor that others keep busy. Any thread. */
bool net_is_behind(const struct net *n);
/* Makes the next (or present) net_poll return. */
void net_wake(struct net *n);
/* Gives back memory of closed connections, a bounded amount a call. True: there is more. */
bool net_sweep(struct net *n);

/* Calls `fn` every `ms`, from net_poll. For the life of `n`. False: no memory. */
bool net_every(struct net *n, unsigned ms, void (*fn)(void *arg), void *arg);
/* Calls `fn` from net_poll after the signal came. False: no memory. */
bool net_on_signal(struct net *n, int signum, void (*fn)(void *arg, int signum), void *arg);

/* ---- listeners (listen.c) ---- */

struct net_listen_options {
    char *const *
        /* addresses: "127.0.0.1", "::1", "*" (all of IPv4), "::*" (all of IPv6); a leading "-":
         * skipped when not there */
        bind;
    size_t bind_n; /* 0: all of IPv4 and IPv6 */
    unsigned port; /* 0: no TCP */
    int backlog;
    const char *unix_path; /* NULL or "": none. An old socket file of this name is replaced */
    unsigned unix_mode;    /* 0: as the umask has it */
    unsigned keepalive_s;  /* 0: off */
};
/* Opens them all, then closes those that were open before; on failure these stay, and `error` says
 * why. */
bool net_listen(struct net *n, const struct net_listen_options *options, struct buf *error);
void net_unlisten(struct net *n); /* stops accepting; removes the unix socket's file */
void net_set_keepalive(struct net *n,
                       unsigned keepalive_s); /* of connections accepted from now on */
/* The bound addresses for a log, one call a listener. */
void net_listeners(const struct net *n, void (*each)(void *arg, const char *address), void *arg);

/* ---- connections (conn.c) ---- */

#define NET_ADDRESS_MAX 160

void net_conn_set_user(struct net_conn *c, void *user);
void *net_conn_user(const struct net_conn *c);
int net_conn_fd(const struct net_conn *c);
/* "127.0.0.1:50000", "[::1]:50000", "/path:0". */
const char *net_conn_peer(const struct net_conn *c);
const char *net_conn_local(const struct net_conn *c);
bool net_conn_is_unix(const struct net_conn *c);
bool net_conn_is_local(const struct net_conn *c); /* a unix socket or a loopback peer */

/* Limits for the input from its next command on. */
void net_conn_set_limits(struct net_conn *c, const struct resp_limits *limits, size_t query_max,
                         bool authenticated);

enum net_got {
    NET_COMMAND,  /* argv, argc stand until the next net_conn_next */
    NET_NONE,     /* nothing now; the connection becomes ready by itself when there is */
    NET_EOF,      /* the peer has gone, or the socket failed: close it */
    NET_PROTOCOL, /* net_conn_error is the line to send; then close */
    NET_TOO_BIG   /* more than query_max unparsed bytes: close */
};
enum net_got net_conn_next(struct net_conn *c, const struct resp_arg **argv, size_t *argc);
const char *net_conn_error(const struct net_conn *c);
/* Puts it at the end of the ready queue (unless it is there). */
void net_conn_ready(struct net_conn *c);
/* A paused connection is not read from; what it has sent already can still be taken. */
void net_conn_pause(struct net_conn *c, bool paused);
/* Writing failed: everything sent to it is dropped; it should be closed. The connection is made
 * ready when that happens. */
bool net_conn_has_input(const struct net_conn *c); /* read, and not given out yet */
bool net_conn_broken(const struct net_conn *c);

/* The buffer that replies are appended to. What stands there leaves at the next net_flush after
 * net_conn_send. */
struct buf *net_conn_out(struct net_conn *c);
void net_conn_send(struct net_conn *c);
/* The same, and before those that wait already. With io-threads each thread has an order of its own. */
void net_conn_send_first(struct net_conn *c);
/* Moves a long output aside, so that the buffer's growth never copies much: call it between slices
 * of a reply. */
void net_conn_seal(struct net_conn *c);
/* Appends a whole buffer, taking its memory where it is large. `b` is empty afterwards. */
void net_conn_append(struct net_conn *c, struct buf *b);
size_t net_conn_unsent(const struct net_conn *c);
/* Drops output that has not been sent. */
void net_conn_discard_output(struct net_conn *c);
/* Closes: now, or when the output has left. Nothing is read any more. `gone` is called later, from
 * net_poll or net_free. */
void net_conn_close(struct net_conn *c);
void net_conn_close_flushed(struct net_conn *c);
bool net_conn_closing(const struct net_conn *c);

struct net_conn_memory {
    size_t query;         /* bytes of input waiting */
    size_t query_free;    /* room in the input buffer */
    size_t args;          /* of the command under way */
    size_t input_bytes;   /* memory of the input */
    size_t output_bytes;  /* memory of the output chain */
    size_t output_blocks; /* blocks in it */
    size_t output_len;    /* bytes in the last buffer */
};
/* An io-thread that owns the input makes this a rough figure. */
void net_conn_memory(const struct net_conn *c, struct net_conn_memory *out);
/* Gives back input memory that an idle connection does not use. */
void net_conn_trim(struct net_conn *c);

struct net_stats {
    uint64_t accepted, bytes_in, bytes_out, reads, writes;
    uint64_t io_reads, io_writes; /* of them, by io-threads */
    uint64_t wakes;               /* of a loop that slept, by other threads */
    size_t connections;           /* open now */
    size_t io_threads;
    size_t input_bytes;  /* memory of all inputs */
    size_t input_mapped; /* of it: mappings, which the heap knows nothing of */
    size_t output_bytes; /* memory of all output chains */
};
void net_stats_read(const struct net *n, struct net_stats *out);
void net_stats_reset(struct net *n);

#endif
