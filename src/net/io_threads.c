/* io-threads: each has an event loop of its own over its share of the connections, reads, parses
 * batches of commands, and writes what the loop appended. It never runs a command.
 *
 * Loop to io-thread: bits in conn->to_io; whoever sets the first bit puts the connection on the
 * thread's stack. The thread takes the whole stack, then each connection's bits, so a connection
 * is on it at most once. Io-thread to loop:
 * the same with conn->to_loop and net_post.
 * After LOOP_CLOSED the thread never touches the connection again. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/net_int.h"

struct net_io {
    pthread_t thread;
    struct event_base *base;
    struct event *wake_ev;
    int wake_fd;
    _Atomic(struct net_conn *) inbox;
    atomic_bool sleeping, stop;
};

void net_io_tell(struct net_conn *c, unsigned bits)
{
    struct net_io *io = c->io;
    if (atomic_fetch_or_explicit(&c->to_io, bits, memory_order_acq_rel) != 0)
        return;
    c->io_next = atomic_load_explicit(&io->inbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&io->inbox, &c->io_next, c, memory_order_seq_cst,
                                                  memory_order_relaxed))
        ;
    if (atomic_load(&io->sleeping) && atomic_exchange(&io->sleeping, false)) {
        uint64_t one = 1;
        (void)!write(io->wake_fd, &one, sizeof(one));
    }
}

static void tell_loop(struct net_conn *c, unsigned bits)
{
    if (atomic_fetch_or_explicit(&c->to_loop, bits, memory_order_acq_rel) == 0)
        net_post(c->net, &c->post);
}

static void io_write(struct net_conn *c)
{
    if (c->io_closed)
        return;
    bool ok = net_chain_write(c);
    if (ok && c->chain.head) {
        event_add(c->write_ev, NULL);
        c->writing = true;
    } else if (!ok) {
        net_chain_drop(c, false);
        tell_loop(c, LOOP_BROKEN);
    }
}

static void io_close(struct net_conn *c)
{
    if (c->io_closed)
        return;
    c->io_closed = true;
    if (c->read_ev)
        event_free(c->read_ev);
    if (c->write_ev)
        event_free(c->write_ev);
    c->read_ev = c->write_ev = NULL;
    close(c->fd);
    net_chain_drop(c, false);
    net_input_release(c, false);
    tell_loop(c, LOOP_CLOSED);
}

static void take_outbox(struct net_conn *c)
{
    struct net_block *b = atomic_exchange_explicit(&c->outbox, NULL, memory_order_acquire),
                     *in_order = NULL;
    while (b) {
        struct net_block *next = b->next;
        b->next = in_order;
        in_order = b;
        b = next;
    }
    while (in_order) {
        b = in_order;
        in_order = b->next;
        net_chain_append(c, b);
    }
}

static void on_io_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net_conn *c = arg;
    c->writing = false;
    take_outbox(c);
    io_write(c);
    if (c->io_close_flushed && !c->chain.head)
        tell_loop(c, LOOP_FLUSHED);
}

static void io_work(struct net_conn *c)
{
    net_input_ahead(c);
    if (c->in.ahead_n > 0 || c->in.end != NET_NONE)
        tell_loop(c, LOOP_INPUT);
    else if (event_add(c->read_ev, NULL) != 0)
        tell_loop(c, LOOP_BROKEN);
}

static void on_io_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net_conn *c = arg;
    net_input_fill(c);
    io_work(c);
}

static void io_open(struct net_conn *c)
{
    c->read_ev = event_new(c->io->base, c->fd, EV_READ, on_io_readable, c);
    c->write_ev = event_new(c->io->base, c->fd, EV_WRITE, on_io_writable, c);
    if (!c->read_ev || !c->write_ev || event_add(c->read_ev, NULL) != 0)
        tell_loop(c, LOOP_BROKEN);
}

static void obey(struct net_conn *c, unsigned bits)
{
    if (bits & IO_OPEN)
        io_open(c);
    take_outbox(c);
    if (bits & IO_DISCARD)
        net_chain_drop(c, false);
    if (bits & IO_CLOSE) {
        io_close(c);
        return;
    }
    if ((bits & (IO_WRITE | IO_CLOSE_FLUSHED)) && !c->writing && c->chain.head)
        io_write(c);
    if (bits & IO_CLOSE_FLUSHED) {
        c->io_close_flushed = true;
        if (c->read_ev)
            event_del(c->read_ev);
        if (!c->chain.head)
            tell_loop(c, LOOP_FLUSHED);
        return;
    }
    if (bits & IO_INPUT)
        io_work(c);
    else if ((bits & IO_TRIM) && c->read_ev && event_pending(c->read_ev, EV_READ, NULL))
        net_input_trim(c, false);
}

static bool empty_inbox(struct net_io *io)
{
    struct net_conn *c = atomic_exchange(&io->inbox, NULL), *in_order = NULL;
    if (!c)
        return false;
    while (c) {
        struct net_conn *next = c->io_next;
        c->io_next = in_order;
        in_order = c;
        c = next;
    }
    while ((c = in_order)) {
        in_order = c->io_next;
        obey(c, atomic_exchange_explicit(&c->to_io, 0, memory_order_acq_rel));
    }
    return true;
}

static void on_io_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    uint64_t count;
    (void)!read(fd, &count, sizeof(count));
}

static void *io_main(void *arg)
{
    struct net_io *io = arg;
    while (!atomic_load(&io->stop)) {
        atomic_store(&io->sleeping, true);
        bool idle = atomic_load(&io->inbox) == NULL && !atomic_load(&io->stop);
        event_base_loop(io->base, idle ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
        atomic_store(&io->sleeping, false);
        while (empty_inbox(io))
            ;
    }
    while (empty_inbox(io))
        ;
    return NULL;
}

static void io_free(struct net_io *io)
{
    if (io->wake_ev)
        event_free(io->wake_ev);
    if (io->base)
        event_base_free(io->base);
    if (io->wake_fd >= 0)
        close(io->wake_fd);
    mem_free(io);
}

static struct net_io *io_new(unsigned number)
{
    struct net_io *io = mem_zalloc(sizeof(*io));
    io->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    io->base = event_base_new();
    if (io->base && io->wake_fd >= 0)
        io->wake_ev = event_new(io->base, io->wake_fd, EV_READ | EV_PERSIST, on_io_wake, io);
    sigset_t all, old;
    sigfillset(&all);
    /* Signals of the process are the loop's; those of a fault stay open for the crash report. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    bool ok = io->wake_ev && event_add(io->wake_ev, NULL) == 0 &&
              pthread_create(&io->thread, NULL, io_main, io) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!ok) {
        io_free(io);
        return NULL;
    }
    char name[16];
    snprintf(name, sizeof(name), "vs-io-%u", number);
    pthread_setname_np(io->thread, name);
    return io;
}

bool net_io_start(struct net *n, unsigned threads)
{
    n->io = mem_zalloc(threads * sizeof(*n->io));
    for (unsigned i = 0; i < threads; i++) {
        struct net_io *io = io_new(i);
        if (!io)
            return false;
        n->io[n->io_n++] = io;
    }
    return true;
}

void net_io_stop(struct net *n)
{
    for (unsigned i = 0; i < n->io_n; i++) {
        struct net_io *io = n->io[i];
        uint64_t one = 1;
        atomic_store(&io->stop, true);
        (void)!write(io->wake_fd, &one, sizeof(one));
        pthread_join(io->thread, NULL);
        io_free(io);
    }
    mem_free(n->io);
    n->io = NULL;
    n->io_n = 0;
}

struct event_base *net_io_base(struct net_io *io)
{
    return io->base;
}
