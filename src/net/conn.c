/* A connection as the loop sees it. */
#include "net/net.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/net_int.h"

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net_conn *c = arg;
    c->readable = true;
    net_conn_ready(c);
}

static void want_flush(struct net_conn *c)
{
    if (c->in_flush || c->closed)
        return;
    c->in_flush = true;
    TAILQ_INSERT_TAIL(&c->net->flush, c, flush_link);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net_conn *c = arg;
    c->writing = false;
    want_flush(c);
}

static void close_now(struct net_conn *c);

static void apply_limits(struct net_conn *c)
{
    if (!c->limits_wait)
        return;
    c->limits_wait = false;
    c->in.limits = c->limits;
    c->in.query_max = c->query_max;
    c->in.authenticated = c->authenticated;
}

/* What the io-thread has to say. */
static void on_post(struct net_post *post)
{
    struct net_conn *c = (struct net_conn *)((char *)post - offsetof(struct net_conn, post));
    unsigned bits = atomic_exchange_explicit(&c->to_loop, 0, memory_order_acq_rel);
    if (bits & LOOP_CLOSED) {
        /* The last thing an io-thread says about a connection. */
        TAILQ_INSERT_TAIL(&c->net->dying, c, link);
        return;
    }
    if (c->closed)
        return;
    if (bits & LOOP_BROKEN)
        c->broken = true;
    if (c->closing) {
        if (bits & (LOOP_BROKEN | LOOP_FLUSHED))
            close_now(c);
        return;
    }
    if (bits & LOOP_INPUT) {
        c->input_away = false;
        apply_limits(c);
    }
    net_conn_ready(c);
}

struct net_conn *net_conn_new(struct net *n, int fd)
{
    struct net_conn *c = mem_zalloc(sizeof(*c));
    c->magic = NET_CONN_MAGIC;
    c->fd = fd;
    c->net = n;
    c->post.run = on_post;
    c->in.read_size = NET_READ_MIN;
    c->in.end = NET_NONE;
    c->in.query_max = SIZE_MAX;
    c->in.limits = (struct resp_limits){.bulk_max = 512u << 20,
                                        .inline_max = 64 * 1024,
                                        .args_max = 1024 * 1024,
                                        .unauth_bulk_max = 16 * 1024};
    if (n->io_n)
        c->io = n->io[n->io_next++ % n->io_n];
    TAILQ_INSERT_TAIL(&n->open, c, link);
    n->connections++;
    if (!c->io) {
        c->read_ev = event_new(n->base, fd, EV_READ | EV_PERSIST, on_readable, c);
        c->write_ev = event_new(n->base, fd, EV_WRITE, on_writable, c);
        if (c->read_ev)
            c->reading = event_add(c->read_ev, NULL) == 0;
        if (!c->reading || !c->write_ev)
            c->broken = true;
    }
    return c;
}

void net_conn_free(struct net_conn *c)
{
    net_input_release(c, true);
    net_chain_drop(c, true);
    buf_release(&c->out);
    c->magic = 0;
    mem_free(c);
}

void net_reap(struct net *n)
{
    struct net_conn *c;
    while ((c = TAILQ_FIRST(&n->dying))) {
        TAILQ_REMOVE(&n->dying, c, link);
        n->options.gone(n->options.arg, c);
        net_conn_free(c);
    }
}

/* ---- plain questions ---- */

void net_conn_set_user(struct net_conn *c, void *user)
{
    c->user = user;
}

void *net_conn_user(const struct net_conn *c)
{
    return c->user;
}

int net_conn_fd(const struct net_conn *c)
{
    return c->fd;
}

const char *net_conn_peer(const struct net_conn *c)
{
    return c->peer;
}

const char *net_conn_local(const struct net_conn *c)
{
    return c->local;
}

bool net_conn_is_unix(const struct net_conn *c)
{
    return c->is_unix;
}

bool net_conn_is_local(const struct net_conn *c)
{
    return c->is_local;
}

bool net_conn_has_input(const struct net_conn *c)
{
    return c->in.start < c->in.len || c->in.ahead_next < c->in.ahead_n;
}

bool net_conn_broken(const struct net_conn *c)
{
    return c->broken;
}

bool net_conn_closing(const struct net_conn *c)
{
    return c->closing || c->closed;
}

const char *net_conn_error(const struct net_conn *c)
{
    return c->in.reader.error;
}

/* ---- input ---- */

void net_conn_set_limits(struct net_conn *c, const struct resp_limits *limits, size_t query_max,
                         bool authenticated)
{
    c->limits = *limits;
    c->query_max = query_max;
    c->authenticated = authenticated;
    c->limits_wait = true;
    if (!c->input_away)
        apply_limits(c);
}

enum net_got net_conn_next(struct net_conn *c, const struct resp_arg **argv, size_t *argc)
{
    if (c->closing || c->closed || c->input_away)
        return NET_NONE;
    enum net_got got = net_input_next(c, argv, argc);
    if (got != NET_NONE || c->paused)
        return got;
    if (c->io) {
        c->input_away = true;
        net_io_tell(c, IO_INPUT);
        return NET_NONE;
    }
    if (!c->readable)
        return NET_NONE;
    c->readable = false;
    if (!net_input_fill(c))
        return c->in.end;
    return net_input_next(c, argv, argc);
}

void net_conn_ready(struct net_conn *c)
{
    if (c->in_ready || c->closed)
        return;
    c->in_ready = true;
    c->net->ready_n++;
    TAILQ_INSERT_TAIL(&c->net->ready, c, ready_link);
}

static void unready(struct net_conn *c)
{
    if (!c->in_ready)
        return;
    c->in_ready = false;
    c->net->ready_n--;
    TAILQ_REMOVE(&c->net->ready, c, ready_link);
}

struct net_conn *net_take_ready(struct net *n)
{
    struct net_conn *c = TAILQ_FIRST(&n->ready);
    if (c)
        unready(c);
    return c;
}

void net_conn_pause(struct net_conn *c, bool paused)
{
    if (c->paused == paused || c->closing || c->closed)
        return;
    c->paused = paused;
    if (!paused)
        net_conn_ready(c);
    if (c->io || !c->read_ev)
        return;
    if (paused && c->reading) {
        event_del(c->read_ev);
        c->reading = false;
    } else if (!paused && !c->reading) {
        c->reading = event_add(c->read_ev, NULL) == 0;
    }
}

/* ---- output ---- */

struct buf *net_conn_out(struct net_conn *c)
{
    return &c->out;
}

void net_conn_send(struct net_conn *c)
{
    want_flush(c);
}

void net_conn_send_first(struct net_conn *c)
{
    if (c->closed)
        return;
    if (c->in_flush)
        TAILQ_REMOVE(&c->net->flush, c, flush_link);
    c->in_flush = true;
    TAILQ_INSERT_HEAD(&c->net->flush, c, flush_link);
}

/* Hands the open buffer over to the chain, or to the io-thread that owns it. */
static void seal(struct net_conn *c)
{
    if (c->out.len == c->out_sent)
        return;
    size_t len = c->out.len - c->out_sent;
    /* A buffer that grew by doubling may be half empty; what waits for a slow client should be
     * what it is owed. */
    if (c->out.cap - c->out.len > NET_BLOCK) {
        char *data = mem_try_realloc(c->out.data, c->out.len);
        if (data) {
            c->out.data = data;
            c->out.cap = c->out.len;
        }
    }
    struct net_block *b = net_block_new(&c->out);
    b->sent = c->out_sent;
    c->out_sent = 0;
    size_t bytes = b->data.cap + sizeof(*b);
    atomic_fetch_add_explicit(&c->unsent, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->chain_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->chain_blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->net->count.output_bytes, bytes, memory_order_relaxed);
    if (!c->io) {
        net_chain_append(c, b);
        return;
    }
    c->untold = true;
    b->next = atomic_load_explicit(&c->outbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&c->outbox, &b->next, b, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

void net_conn_seal(struct net_conn *c)
{
    if (c->out.len - c->out_sent >= NET_BLOCK)
        seal(c);
}

void net_conn_append(struct net_conn *c, struct buf *b)
{
    if (b->len <= NET_BLOCK / 8) {
        buf_append(&c->out, b->data, b->len);
        buf_release(b);
        return;
    }
    seal(c);
    buf_release(&c->out);
    c->out = *b;
    *b = (struct buf){0};
    seal(c);
}

size_t net_conn_unsent(const struct net_conn *c)
{
    return c->out.len - c->out_sent + atomic_load_explicit(&c->unsent, memory_order_relaxed);
}

void net_conn_discard_output(struct net_conn *c)
{
    buf_release(&c->out);
    c->out_sent = 0;
    if (c->io)
        net_io_tell(c, IO_DISCARD);
    else
        net_chain_drop(c, true);
}

/* Writes the open buffer where it stands, without making a block of it; false when the socket
 * failed. */
static bool write_open(struct net_conn *c)
{
    struct net_block one = {.data = c->out, .sent = c->out_sent};
    size_t len = c->out.len - c->out_sent;
    if (len > NET_WRITE_MAX) {
        seal(c);
        return net_chain_write(c);
    }
    ssize_t n = send(c->fd, one.data.data + one.sent, len, MSG_NOSIGNAL);
    atomic_fetch_add_explicit(&c->net->count.writes, 1, memory_order_relaxed);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
    atomic_fetch_add_explicit(&c->net->count.bytes_out, (uint64_t)n, memory_order_relaxed);
    c->out_sent += (size_t)n;
    if (c->out_sent < c->out.len)
        return true;
    c->out_sent = 0;
    buf_reset(&c->out);
    return true;
}

static void flush_one(struct net_conn *c)
{
    if (c->closed)
        return;
    if (c->io) {
        seal(c);
        if (c->untold)
            net_io_tell(c, IO_WRITE);
        c->untold = false;
        return;
    }
    if (c->writing || c->broken)
        return;
    bool ok = true;
    if (c->chain.head) {
        seal(c);
        ok = net_chain_write(c);
    } else if (c->out.len > c->out_sent) {
        ok = write_open(c);
    }
    if (!ok) {
        c->broken = true;
        net_chain_drop(c, true);
        buf_release(&c->out);
        c->out_sent = 0;
        if (c->closing)
            close_now(c);
        else
            net_conn_ready(c);
        return;
    }
    if (c->chain.head || c->out.len > c->out_sent)
        c->writing = event_add(c->write_ev, NULL) == 0;
    else if (c->closing)
        close_now(c);
}

bool net_flush(struct net *n, uint64_t deadline_ns)
{
    struct net_conn *c;
    /* A connection that cannot write all of it leaves the list and waits for its socket: the loop
     * ends. */
    while ((c = TAILQ_FIRST(&n->flush))) {
        TAILQ_REMOVE(&n->flush, c, flush_link);
        c->in_flush = false;
        flush_one(c);
        if (clock_mono_ns() >= deadline_ns)
            break;
    }
    return !TAILQ_EMPTY(&n->flush);
}

/* ---- closing ---- */

static void unlist(struct net_conn *c)
{
    unready(c);
    if (c->in_flush) {
        TAILQ_REMOVE(&c->net->flush, c, flush_link);
        c->in_flush = false;
    }
}

static void close_now(struct net_conn *c)
{
    if (c->closed)
        return;
    unlist(c);
    c->closed = true;
    TAILQ_REMOVE(&c->net->open, c, link);
    c->net->connections--;
    if (c->io) {
        net_io_tell(c, IO_CLOSE);
        return;
    }
    if (c->read_ev)
        event_free(c->read_ev);
    if (c->write_ev)
        event_free(c->write_ev);
    c->read_ev = c->write_ev = NULL;
    close(c->fd);
    TAILQ_INSERT_TAIL(&c->net->dying, c, link);
    net_wake(c->net);
}

void net_conn_close(struct net_conn *c)
{
    close_now(c);
}

void net_conn_close_flushed(struct net_conn *c)
{
    if (c->closed || c->closing)
        return;
    net_conn_pause(c, true);
    c->closing = true;
    if (c->io) {
        unlist(c);
        seal(c);
        net_io_tell(c, IO_WRITE | IO_CLOSE_FLUSHED);
        return;
    }
    if (net_conn_unsent(c) == 0 || c->broken)
        close_now(c);
    else
        want_flush(c);
}

/* ---- memory ---- */

void net_conn_memory(const struct net_conn *c, struct net_conn_memory *out)
{
    *out = (struct net_conn_memory){0};
    out->input_bytes = atomic_load_explicit(&c->in_bytes, memory_order_relaxed);
    if (!c->input_away) {
        const struct net_input *in = &c->in;
        out->query = in->len - in->start;
        out->query_free = in->cap - in->len + in->start;
        out->input_bytes +=
            in->args_cap * sizeof(*in->args) + in->reader.argv_cap * sizeof(struct resp_arg);
    } else {
        out->query_free = out->input_bytes;
    }
    out->output_blocks = atomic_load_explicit(&c->chain_blocks, memory_order_relaxed);
    out->output_bytes = atomic_load_explicit(&c->chain_bytes, memory_order_relaxed) + c->out.cap;
    out->output_len = c->out.len;
}

void net_conn_trim(struct net_conn *c)
{
    if (c->closed)
        return;
    if (c->out.len == 0)
        buf_release(&c->out);
    if (c->input_away)
        net_io_tell(c, IO_TRIM);
    else
        net_input_trim(c, true);
}
