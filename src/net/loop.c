/* The loop: events, timers, signals, and work posted by other threads.
 *
 * SLEEPING. Before it sleeps the loop says so in `sleeping`, then looks once more for posts and
 * wakes; a poster publishes, then looks whether the loop sleeps. Both orders are sequentially
 * consistent, so one of them sees the other, and the eventfd is written only for a loop that
 * really sleeps: under load a hand-over costs one compare-and-swap.
 *
 * DOZING. While replies of a pipeline are held back (reply.c) the loop sleeps for a millisecond at most. A post of another such
 * reply does not wake it then: it would be held back, too, and a wake costs the loop two switches of its processor and a handful
 * of system calls, as much as half of a short search.
 *
 * BEHIND. Where workers and clients keep all processors busy, the loop sometimes waits for a whole
 * time slice of the kernel's, some milliseconds, with commands and replies piling up. Each turn
 * notes when it began; a thread that posts and finds the last turn long ago gives up its processor
 * (reply.c), so the loop waits for the end of one search instead. How long: where searches are short and posts
 * come thick, many of them are to share a turn and its system calls; where they are long, few would. */
#include "net/net.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/net_int.h"

#define BEHIND_NS      1000000 /* ago is long, */
#define BEHIND_MIN_NS  100000  /* and so is this, */
#define SPARSE_NS      25000   /* when posts are so far apart */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    uint64_t count;
    (void)!read(fd, &count, sizeof(count));
}

static void on_sleep_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

struct net *net_new(const struct net_options *options)
{
    struct net *n = mem_zalloc(sizeof(*n));
    n->options = *options;
    n->run_tail = &n->run_head;
    n->keepalive_s = 300;
    TAILQ_INIT(&n->open);
    TAILQ_INIT(&n->dying);
    TAILQ_INIT(&n->ready);
    TAILQ_INIT(&n->flush);
    n->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Holding replies back takes timers finer than a millisecond. */
    struct event_config *config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_NOLOCK);
        n->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (n->wake_fd < 0 || !n->base)
        goto fail;
    n->wake_ev = event_new(n->base, n->wake_fd, EV_READ | EV_PERSIST, on_wake, n);
    n->sleep_ev = event_new(n->base, -1, 0, on_sleep_end, n);
    if (!n->wake_ev || !n->sleep_ev || event_add(n->wake_ev, NULL) != 0)
        goto fail;
    if (options->io_threads > 1 && !net_io_start(n, options->io_threads))
        goto fail;
    return n;
fail:
    net_free(n);
    return NULL;
}

void net_free(struct net *n)
{
    if (!n)
        return;
    net_unlisten(n);
    struct net_conn *c, *next;
    for (c = TAILQ_FIRST(&n->open); c; c = next) {
        next = TAILQ_NEXT(c, link);
        net_conn_close(c);
    }
    net_io_stop(n);
    net_run_posts(n, UINT64_MAX);
    net_reap(n);
    while (net_sweep(n))
        ;
    while (n->timers) {
        struct net_timer *t = n->timers;
        n->timers = t->next;
        event_free(t->ev);
        mem_free(t);
    }
    if (n->accept_ev)
        event_free(n->accept_ev);
    if (n->wake_ev)
        event_free(n->wake_ev);
    if (n->sleep_ev)
        event_free(n->sleep_ev);
    if (n->base)
        event_base_free(n->base);
    if (n->wake_fd >= 0)
        close(n->wake_fd);
    mem_free(n);
}

static void note_turn(struct net *n)
{
    atomic_store_explicit(&n->turned_ns, clock_mono_ns(), memory_order_relaxed);
    atomic_store_explicit(&n->posted, 0, memory_order_relaxed);
}

void net_poll(struct net *n, int64_t timeout_us)
{
    n->accepted_now = 0;
    /* ONCE, too: without it libevent polls again until nothing is ready, and what is ready here
     * stays so until the server has read it. */
    int flags = EVLOOP_ONCE | EVLOOP_NONBLOCK;
    if (timeout_us != 0) {
        atomic_store(&n->dozing, timeout_us > 0 && timeout_us <= NET_DOZE_US);
        atomic_store(&n->sleeping, true);
        if (!atomic_load(&n->posts) && !n->run_head && !atomic_load(&n->woken) &&
            TAILQ_EMPTY(&n->dying))
            flags = EVLOOP_ONCE;
    }
    if (flags == EVLOOP_ONCE && timeout_us > 0) {
        struct timeval tv = {timeout_us / 1000000, timeout_us % 1000000};
        event_add(n->sleep_ev, &tv);
    }
    event_base_loop(n->base, flags);
    atomic_store(&n->sleeping, false);
    note_turn(n);
    atomic_store(&n->woken, false);
    net_reap(n);
}

const char *net_backend(const struct net *n)
{
    return event_base_get_method(n->base);
}

size_t net_ready_count(const struct net *n)
{
    return n->ready_n;
}

static void rouse(struct net *n)
{
    if (atomic_load(&n->sleeping) && atomic_exchange(&n->sleeping, false)) {
        uint64_t one = 1;
        note_turn(n);
        atomic_fetch_add_explicit(&n->count.wakes, 1, memory_order_relaxed);
        (void)!write(n->wake_fd, &one, sizeof(one));
    }
}

bool net_is_behind(const struct net *n)
{
    /* One that dozes may have been woken by a socket, and wait all the same. */
    if (atomic_load_explicit(&n->sleeping, memory_order_relaxed) &&
        !atomic_load_explicit(&n->dozing, memory_order_relaxed))
        return false;
    uint64_t ago = clock_mono_ns() - atomic_load_explicit(&n->turned_ns, memory_order_relaxed);
    uint64_t posted = atomic_load_explicit(&n->posted, memory_order_relaxed);
    return ago > BEHIND_NS || (ago > BEHIND_MIN_NS && posted * SPARSE_NS < ago);
}

void net_wake(struct net *n)
{
    atomic_store(&n->woken, true);
    rouse(n);
}

static void push(struct net *n, struct net_post *post)
{
    post->next = atomic_load_explicit(&n->posts, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&n->posts, &post->next, post,
                                                  memory_order_seq_cst, memory_order_relaxed))
        ;
    atomic_fetch_add_explicit(&n->posted, 1, memory_order_relaxed);
}

void net_post(struct net *n, struct net_post *post)
{
    push(n, post);
    rouse(n);
}

void net_post_more(struct net *n, struct net_post *post)
{
    push(n, post);
    if (!atomic_load(&n->dozing))
        rouse(n);
}

bool net_run_posts(struct net *n, uint64_t deadline_ns)
{
    struct net_post *p = atomic_exchange(&n->posts, NULL), *in_order = NULL;
    struct net_post *last = p;
    while (p) {
        struct net_post *next = p->next;
        p->next = in_order;
        in_order = p;
        p = next;
    }
    if (in_order) {
        *n->run_tail = in_order;
        n->run_tail = &last->next;
    }
    for (unsigned i = 1; (p = n->run_head); i++) {
        n->run_head = p->next;
        if (!n->run_head)
            n->run_tail = &n->run_head;
        p->run(p);
        if (i % 16 == 0 && n->run_head && clock_mono_ns() >= deadline_ns)
            return true;
    }
    return false;
}

/* ---- timers and signals ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct net_timer *t = arg;
    t->fn(t->arg);
}

static void on_signal(evutil_socket_t signum, short what, void *arg)
{
    (void)what;
    struct net_timer *t = arg;
    t->on_signal(t->arg, (int)signum);
}

static bool keep(struct net *n, struct net_timer *t, const struct timeval *every)
{
    if (!t->ev || event_add(t->ev, every) != 0) {
        if (t->ev)
            event_free(t->ev);
        mem_free(t);
        return false;
    }
    t->next = n->timers;
    n->timers = t;
    return true;
}

bool net_every(struct net *n, unsigned ms, void (*fn)(void *arg), void *arg)
{
    struct net_timer *t = mem_zalloc(sizeof(*t));
    struct timeval every = {ms / 1000, ms % 1000 * 1000};
    t->fn = fn;
    t->arg = arg;
    t->ev = event_new(n->base, -1, EV_PERSIST, on_timer, t);
    return keep(n, t, &every);
}

bool net_on_signal(struct net *n, int signum, void (*fn)(void *arg, int signum), void *arg)
{
    struct net_timer *t = mem_zalloc(sizeof(*t));
    t->on_signal = fn;
    t->arg = arg;
    t->ev = evsignal_new(n->base, signum, on_signal, t);
    return keep(n, t, NULL);
}

void net_stats_read(const struct net *n, struct net_stats *out)
{
    const struct net_counters *k = &n->count;
    *out = (struct net_stats){
        .accepted = n->accepted,
        .bytes_in = atomic_load_explicit(&k->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&k->bytes_out, memory_order_relaxed),
        .io_reads = atomic_load_explicit(&k->io_reads, memory_order_relaxed),
        .io_writes = atomic_load_explicit(&k->io_writes, memory_order_relaxed),
        .wakes = atomic_load_explicit(&k->wakes, memory_order_relaxed),
        .connections = n->connections,
        .io_threads = n->io_n ? n->io_n : 1,
        .input_bytes = atomic_load_explicit(&k->input_bytes, memory_order_relaxed),
        .input_mapped = atomic_load_explicit(&k->input_mapped, memory_order_relaxed),
        .output_bytes = atomic_load_explicit(&k->output_bytes, memory_order_relaxed),
    };
    out->reads = atomic_load_explicit(&k->reads, memory_order_relaxed) + out->io_reads;
    out->writes = atomic_load_explicit(&k->writes, memory_order_relaxed) + out->io_writes;
}

void net_stats_reset(struct net *n)
{
    n->accepted = 0;
    atomic_store(&n->count.bytes_in, 0);
    atomic_store(&n->count.bytes_out, 0);
    atomic_store(&n->count.reads, 0);
    atomic_store(&n->count.writes, 0);
    atomic_store(&n->count.io_reads, 0);
    atomic_store(&n->count.io_writes, 0);
    atomic_store(&n->count.wakes, 0);
}
