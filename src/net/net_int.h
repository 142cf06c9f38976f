/* The network's own files only. See net.h for the model. */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include <event2/event.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "net/net.h"

#define NET_CONN_MAGIC 0x4e434f4eu
#define NET_READ_MIN   ((size_t)16 * 1024)  /* first size of an input buffer, and of a read */
#define NET_READ_MAX   ((size_t)256 * 1024) /* a read takes no more: about 50 us */
#define NET_WRITE_MAX  ((size_t)256 * 1024) /* nor a write */
#define NET_BLOCK      ((size_t)64 * 1024)  /* output is cut into blocks of about this size */
#define NET_IOV        64
#define NET_AHEAD_MAX  128 /* commands an io-thread parses before it hands over */
/* Larger input buffers are mapped, so that growing them copies nothing. */
#define NET_MAP_MIN ((size_t)1 << 20)
#define NET_ACCEPT_MAX 64 /* connections accepted in a turn, */
#define NET_ACCEPT_NS  200000 /* and the time spent on it */

/* What arrived and how far it is understood.
 *
 *   data | commands given out | start: command under way ... | len: free ... | cap          */
struct net_input {
    char *data;
    size_t start, len, cap;
    bool mapped;
    size_t read_size; /* of the next read: grows while reads fill it */
    struct resp_reader reader;
    struct resp_limits limits;
    size_t query_max;
    bool authenticated;
    enum net_got
        end; /* NET_NONE while open; else what net_conn_next says when the commands are used up */
    /* commands parsed ahead by an io-thread: argc of each, arguments of all */
    size_t ahead_n, ahead_next, ahead_arg, args_n, args_cap;
    size_t ahead[NET_AHEAD_MAX];
    struct resp_arg *args;
};

struct net_block {
    struct net_block *next;
    struct buf data;
    size_t sent;
};

/* A chain of blocks being written; owned by the loop or by the connection's io-thread. */
struct net_chain {
    struct net_block *head, **tail;
};

/* Bits of the two mailboxes of a connection. */
enum {
    IO_INPUT = 1,
    IO_WRITE = 2,
    IO_CLOSE = 4,
    IO_CLOSE_FLUSHED = 8,
    IO_TRIM = 16,
    IO_DISCARD = 32,
    IO_OPEN = 64
};
enum { LOOP_INPUT = 1, LOOP_BROKEN = 2, LOOP_FLUSHED = 4, LOOP_CLOSED = 8 };

struct net_conn {
    uint32_t magic;
    int fd;
    bool is_unix, is_local;
    struct net *net;
    struct net_io *io; /* NULL: the loop does the reading and writing */
    void *user;
    char peer[NET_ADDRESS_MAX], local[NET_ADDRESS_MAX];

    /* the loop's */
    TAILQ_ENTRY(net_conn) link; /* of all open, then of the dying */
    TAILQ_ENTRY(net_conn) ready_link;
    TAILQ_ENTRY(net_conn) flush_link;
    bool in_ready, in_flush, readable, paused, reading, writing, broken, closing, closed,
        input_away;
    bool untold; /* the io-thread has blocks that it has not been told to write */
    bool limits_wait; /* `limits` go into the input when the loop has it again */
    struct resp_limits limits;
    size_t query_max;
    bool authenticated;
    struct buf out;                   /* appended to by the server */
    size_t out_sent;                  /* of it, when the chain is empty */
    struct event *read_ev, *write_ev; /* on the loop's or the io-thread's base */

    struct net_input in;    /* the owner's: see input_away */
    struct net_chain chain; /* the loop's without io, else the io-thread's */
    atomic_size_t unsent;   /* bytes handed over and not yet written */
    atomic_size_t chain_bytes, chain_blocks, in_bytes;

    /* between the loop and the io-thread */
    _Atomic(struct net_block *) outbox;
    atomic_uint to_io, to_loop;
    struct net_conn *io_next;         /* in the io-thread's mailbox */
    struct net_post post;             /* in the loop's */
    bool io_close_flushed, io_closed; /* the io-thread's */
};

TAILQ_HEAD(net_conn_list, net_conn);

/* Counters that the loop and io-threads both write; relaxed. */
struct net_counters {
    atomic_uint_fast64_t bytes_in, bytes_out, reads, writes, io_reads, io_writes, wakes;
    atomic_size_t input_bytes, input_mapped, output_bytes;
};

struct net_timer {
    struct net_timer *next;
    struct event *ev;
    void (*fn)(void *arg);
    void (*on_signal)(void *arg, int signum);
    void *arg;
};

struct net_listener {
    struct net_listener *next;
    struct net *net;
    int fd;
    struct event *ev;
    char address[NET_ADDRESS_MAX];
    char *unix_path;
};

/* A mapping to give back in pieces. */
struct net_trash {
    struct net_trash *next;
    char *data;
    size_t len;
    struct net_block *blocks;
};

struct net {
    struct net_options options;
    struct event_base *base;
    struct event *wake_ev, *sleep_ev;
    int wake_fd;
    atomic_bool sleeping, woken;
    atomic_bool dozing; /* where it sleeps, it is for a short while */
    atomic_uint_fast64_t turned_ns; /* when the last turn began, or the loop was last roused, */
    atomic_uint_fast64_t posted;    /* and posts since, about */
    _Atomic(struct net_post *) posts;      /* newest first */
    struct net_post *run_head, **run_tail; /* taken, in order */
    struct net_conn_list open, dying, ready, flush;
    size_t connections, ready_n;
    struct net_timer *timers;
    struct net_listener *listeners;
    unsigned keepalive_s;
    unsigned accepted_now; /* in this turn */
    uint64_t accepted;
    bool accept_paused;
    struct event *accept_ev; /* resumes accepting after the process ran out of descriptors */
    struct net_trash *trash;
    struct net_io **io;
    unsigned io_n, io_next;
    struct net_counters count;
};

/* conn.c */
struct net_conn *net_conn_new(struct net *n, int fd);
void net_conn_free(struct net_conn *c);
void net_reap(struct net *n); /* `gone` for the dying, and frees them */
/* input.c: the owner of the input */
bool net_input_fill(struct net_conn *c); /* one read(); false: nothing to read now */
enum net_got net_input_next(struct net_conn *c, const struct resp_arg **argv, size_t *argc);
void net_input_ahead(struct net_conn *c); /* parses whole commands, at most NET_AHEAD_MAX */
void net_input_trim(struct net_conn *c, bool in_loop);
void net_input_release(struct net_conn *c, bool in_loop);
/* output.c: the owner of the chain */
void net_chain_append(struct net_conn *c, struct net_block *b);
/* One writev(); false: the socket failed. Check chain.head for more. */
bool net_chain_write(struct net_conn *c);
void net_chain_drop(struct net_conn *c, bool in_loop);
struct net_block *net_block_new(struct buf *take);
void net_trash_map(struct net *n, char *data, size_t len);
void net_trash_blocks(struct net *n, struct net_block *blocks);
/* io_threads.c */
bool net_io_start(struct net *n, unsigned threads);
void net_io_stop(struct net *n);
void net_io_tell(struct net_conn *c, unsigned bits);
struct event_base *net_io_base(struct net_io *io);

#endif
