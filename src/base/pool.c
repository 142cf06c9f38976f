/* The worker pool, see pool.h. All queueing is under one mutex; what a worker measures about itself is its own, written
 * by it alone and read by others only as statistics.
 *
 * The share of linking: at every choice between two waiting queues the worker compares what it has spent on either since
 * both began to wait, and takes linking while that is below half of the sum. A choice that finds one queue empty
 * begins the account anew, so that nobody saves up a claim while the other had nothing to do.
 *
 * A submitter signals only when a worker sleeps for whom no signal is under way yet (`sleeping` > `waking`). */
#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define CACHE_LINE 64
#define SHARE_OF_REST 1   /* linking gets 1 part to so many of searching: half */

struct queue {
    struct pool_task *head;
    struct pool_task **tail;
    _Alignas(CACHE_LINE) atomic_size_t waiting;   /* read without the lock by pool_should_yield */
};

struct worker {
    _Alignas(CACHE_LINE) struct pool *pool;
    pthread_t thread;
    unsigned index;
    uint64_t share_ns[POOL_KINDS];   /* spent since both queues were waiting */
    uint64_t began_ns;               /* when the running task began */
    _Atomic uint64_t tasks[POOL_KINDS];
    _Atomic uint64_t busy_ns[POOL_KINDS];
};

struct pool {
    unsigned threads;
    struct worker *workers;          /* at least one: worker 0 stands for the caller of pool_drain */
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned sleeping, waking;
    bool stop;
    struct queue queues[POOL_KINDS];
};

static void push(struct queue *q, struct pool_task *task)
{
    task->next = NULL;
    *q->tail = task;
    q->tail = &task->next;
    atomic_fetch_add_explicit(&q->waiting, 1, memory_order_relaxed);
}

static struct pool_task *pop(struct queue *q)
{
    struct pool_task *task = q->head;
    q->head = task->next;
    if (!q->head)
        q->tail = &q->head;
    atomic_fetch_sub_explicit(&q->waiting, 1, memory_order_relaxed);
    return task;
}

/* Is linking's share of this worker's time used up, counting `running_ns` more? */
static bool link_has_share(const struct worker *w, uint64_t running_ns)
{
    return (w->share_ns[POOL_LINK] + running_ns) * SHARE_OF_REST >= w->share_ns[POOL_SEARCH];
}

/* The next task for `w` and its kind, or NULL. Called under the lock. */
static struct pool_task *choose(struct pool *p, struct worker *w, enum pool_kind *kind)
{
    bool search = p->queues[POOL_SEARCH].head, link = p->queues[POOL_LINK].head;
    if (!search && !link)
        return NULL;
    if (search && link)
        *kind = link_has_share(w, 0) ? POOL_SEARCH : POOL_LINK;
    else
        *kind = search ? POOL_SEARCH : POOL_LINK;
    if (!search || !link)
        memset(w->share_ns, 0, sizeof(w->share_ns));
    return pop(&p->queues[*kind]);
}

static void run_task(struct worker *w, enum pool_kind kind, struct pool_task *task)
{
    w->began_ns = clock_mono_ns();
    task->run(task, w->index);
    uint64_t spent = clock_mono_ns() - w->began_ns;
    w->share_ns[kind] += spent;
    atomic_fetch_add_explicit(&w->tasks[kind], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->busy_ns[kind], spent, memory_order_relaxed);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    enum pool_kind kind;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct pool_task *task = choose(p, w, &kind);
        if (task) {
            pthread_mutex_unlock(&p->lock);
            run_task(w, kind, task);
            pthread_mutex_lock(&p->lock);
            continue;
        }
        if (p->stop)
            break;
        p->sleeping++;
        pthread_cond_wait(&p->wake, &p->lock);
        p->sleeping--;
        if (p->waking > 0)
            p->waking--;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Workers take no signals of the process; those that a fault raises stay open, for the crash report. */
static void block_signals(sigset_t *old)
{
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGABRT);
    sigdelset(&set, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &set, old);
}

struct pool *pool_new(unsigned threads, const char *name)
{
    struct pool *p = mem_aligned(CACHE_LINE, sizeof(*p));
    unsigned workers = threads ? threads : 1;
    p->workers = mem_aligned(CACHE_LINE, workers * sizeof(*p->workers));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (unsigned k = 0; k < POOL_KINDS; k++)
        p->queues[k].tail = &p->queues[k].head;
    for (unsigned i = 0; i < workers; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
    }
    sigset_t old;
    block_signals(&old);
    while (p->threads < threads) {
        struct worker *w = &p->workers[p->threads];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            break;
        char label[16];   /* the kernel's limit */
        snprintf(label, sizeof(label), "%.10s-%u", name, p->threads % 10000);
        pthread_setname_np(w->thread, label);
        p->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (p->threads < threads) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pool_drain(p);
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}

unsigned pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_submit(struct pool *p, enum pool_kind kind, struct pool_task *task)
{
    pthread_mutex_lock(&p->lock);
    push(&p->queues[kind], task);
    bool signal = p->sleeping > p->waking;
    if (signal)
        p->waking++;
    pthread_mutex_unlock(&p->lock);
    if (signal)
        pthread_cond_signal(&p->wake);
}

bool pool_has_waiting(const struct pool *p, enum pool_kind kind)
{
    return atomic_load_explicit(&p->queues[kind].waiting, memory_order_relaxed) > 0;
}

bool pool_should_yield(const struct pool *p, unsigned worker)
{
    if (!pool_has_waiting(p, POOL_SEARCH))
        return false;
    const struct worker *w = &p->workers[worker];
    return link_has_share(w, clock_mono_ns() - w->began_ns);
}

void pool_drain(struct pool *p)
{
    if (p->threads > 0)
        return;
    struct worker *w = &p->workers[0];
    for (;;) {
        enum pool_kind kind;
        pthread_mutex_lock(&p->lock);
        struct pool_task *task = choose(p, w, &kind);
        pthread_mutex_unlock(&p->lock);
        if (!task)
            return;
        run_task(w, kind, task);
    }
}

void pool_stats_read(const struct pool *p, struct pool_stats *out)
{
    memset(out, 0, sizeof(*out));
    unsigned workers = p->threads ? p->threads : 1;
    for (unsigned k = 0; k < POOL_KINDS; k++) {
        for (unsigned i = 0; i < workers; i++) {
            out->tasks[k] += atomic_load_explicit(&p->workers[i].tasks[k], memory_order_relaxed);
            out->busy_ns[k] += atomic_load_explicit(&p->workers[i].busy_ns[k], memory_order_relaxed);
        }
        out->waiting[k] = atomic_load_explicit(&p->queues[k].waiting, memory_order_relaxed);
    }
}
