/* The store: what everything in it shares, and the owner's turn of background work. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/store_int.h"

#define RECLAIM_SLICE 16
#define PIECE_BYTES   16384 /* whoever follows reads the elements in as many in less than a millisecond */

/* ---- news from workers ---- */

static void push_ready(struct vs_store *store, struct partition *p)
{
    pthread_mutex_lock(&store->lock);
    bool first = !p->is_ready;
    if (first) {
        p->is_ready = true;
        p->next_ready = store->ready;
        store->ready = p;
    }
    pthread_cond_signal(&store->news);
    pthread_mutex_unlock(&store->lock);
}

static void graph_wake(struct graph_env *env)
{
    struct vs_store *store = env->arg;
    pthread_mutex_lock(&store->lock);
    pthread_cond_signal(&store->news);
    pthread_mutex_unlock(&store->lock);
    if (store->options.wake && !atomic_load_explicit(&store->closing, memory_order_relaxed))
        store->options.wake(store->options.wake_arg);
}

static void graph_ready(struct graph_env *env, struct graph *g)
{
    struct vs_store *store = env->arg;
    push_ready(store, graph_owner_arg(g));
    if (store->options.wake && !atomic_load_explicit(&store->closing, memory_order_relaxed))
        store->options.wake(store->options.wake_arg);
}

static struct partition *take_ready(struct vs_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct partition *list = store->ready;
    store->ready = NULL;
    for (struct partition *p = list; p; p = p->next_ready)
        p->is_ready = false;
    pthread_mutex_unlock(&store->lock);
    return list;
}

/* ---- the end of partitions ---- */

static void free_task(struct pool_task *task, unsigned worker)
{
    struct partition *p = (struct partition *)((char *)task - offsetof(struct partition, task));
    struct vs_store *store = p->store;
    (void)worker;
    partition_free(p);
    atomic_fetch_sub_explicit(&store->freeing, 1, memory_order_release);
}

static void reclaim_partition(struct epoch_item *item, void *arg)
{
    struct partition *p = arg;
    (void)item;
    p->task.run = free_task;
    pool_submit(p->store->pool, POOL_LINK, &p->task);
}

/* A job that ends makes its partition ready first and is idle after, so they are looked at in the
 * other order. */
static bool can_end(struct partition *p)
{
    if (p->graph && !graph_idle(p->graph))
        return false;
    pthread_mutex_lock(&p->store->lock);
    bool ready = p->is_ready;
    pthread_mutex_unlock(&p->store->lock);
    return !ready;
}

/* Dying partitions whose jobs are over go on to their grace period. True: time is up. */
static bool end_some(struct vs_store *store, uint64_t until_ns)
{
    struct partition **link = &store->dying;
    while (*link) {
        struct partition *p = *link;
        if (can_end(p)) {
            *link = p->next_dying;
            atomic_fetch_add_explicit(&store->freeing, 1, memory_order_relaxed);
            epoch_retire(store->epoch, &p->item, reclaim_partition, p);
        } else {
            link = &p->next_dying;
        }
        if (clock_mono_ns() > until_ns)
            return true;
    }
    return false;
}

/* ---- the owner's turn ---- */

static bool poll_ready(struct vs_store *store, uint64_t until_ns)
{
    bool more = false;
    for (struct partition *p = take_ready(store); p;) {
        struct partition *next = p->next_ready;
        if (clock_mono_ns() > until_ns || graph_poll(p->graph, until_ns)) {
            push_ready(store, p);
            more = true;
        }
        evict_account(p);
        p = next;
    }
    return more;
}

bool vs_poll(struct vs_store *store, unsigned budget_us)
{
    store->use.now_ns = clock_mono_ns();
    uint64_t until_ns = store->use.now_ns + (uint64_t)budget_us * 1000;
    bool more = cut_some(store, until_ns);
    more |= poll_ready(store, until_ns);
    more |= keyspace_flush_some(store, until_ns);
    more |= map_some(store, until_ns);
    more |= open_some(store, until_ns);
    more |= end_some(store, until_ns) && store->dying;
    size_t before = SIZE_MAX;
    for (;;) {
        size_t waiting = epoch_reclaim(store->epoch, RECLAIM_SLICE);
        if (!waiting || waiting >= before)
            break;
        if (clock_mono_ns() > until_ns)
            return true;
        before = waiting;
    }
    pool_drain(store->pool);
    return more;
}

static void busy_cell(void *arg, struct vs_index *index)
{
    bool *busy = arg;
    const struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n && !*busy; i++)
        *busy = !t->part[i]->stub && graph_busy(t->part[i]->graph);
}

static bool store_busy(struct vs_store *store)
{
    bool busy = store->flushed || store->dying || open_busy(store) ||
                atomic_load_explicit(&store->freeing, memory_order_acquire) != 0 ||
                epoch_reclaim(store->epoch, RECLAIM_SLICE) != 0;
    for (unsigned db = 0; db < store->options.databases && !busy; db++) {
        uint64_t cursor = 0;
        do {
            cursor = keyspace_raw_scan(store, db, cursor, busy_cell, &busy);
        } while (cursor && !busy);
    }
    return busy;
}

void vs_set_saved(struct vs_store *store, uint64_t uid, uint32_t number, struct vs_saved *saved)
{
    const struct vs_index *index = keyspace_by_uid(store, uid);
    struct partition *p = index ? index_numbered(index, number) : NULL;
    struct vs_saved *old = p ? p->saved : saved;
    if (p)
        p->saved = saved;
    if (old)
        old->free(old);
}

static void backlog_cell(void *arg, struct vs_index *index)
{
    size_t *worst = arg;
    const struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n; i++) {
        size_t n = t->part[i]->stub ? 0 : graph_backlog(t->part[i]->graph);
        *worst = n > *worst ? n : *worst;
    }
}

size_t vs_backlog_over(struct vs_store *store)
{
    size_t worst = 0, max = backlog_max(store);
    for (unsigned db = 0; db < store->options.databases; db++) {
        uint64_t cursor = 0;
        do {
            cursor = keyspace_raw_scan(store, db, cursor, backlog_cell, &worst);
        } while (cursor);
    }
    return worst > max ? worst - max : 0;
}

enum vs_status vs_settle(struct vs_store *store, unsigned timeout_ms)
{
    uint64_t until_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
    for (;;) {
        while (vs_poll(store, 1000) && clock_mono_ns() <= until_ns)
            ;
        if (!store_busy(store))
            return VS_OK;
        if (clock_mono_ns() > until_ns)
            return VS_TIMEOUT;
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 1000000;
        if (t.tv_nsec >= 1000000000) {
            t.tv_sec++;
            t.tv_nsec -= 1000000000;
        }
        pthread_mutex_lock(&store->lock);
        if (!store->ready)
            pthread_cond_timedwait(&store->news, &store->lock, &t);
        pthread_mutex_unlock(&store->lock);
    }
}

/* ---- life ---- */

enum vs_status vs_open(const struct vs_options *options, struct vs_store **out)
{
    struct vs_store *store = mem_zalloc(sizeof(*store));
    store->options = *options;
    if (!store->options.databases)
        store->options.databases = 16;
    unsigned n = options->threads ? options->threads : 1;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->news, NULL);
    pthread_mutex_init(&store->cut.lock, NULL);
    TAILQ_INIT(&store->open.used);
    store->open.max = options->open_max;
    store->piece_bytes = PIECE_BYTES;
    rng_system(&store->rng, sizeof(store->rng));
    store->epoch = epoch_new();
    store->searchers = mem_zalloc(n * sizeof(*store->searchers));
    for (unsigned i = 0; i < n; i++)
        searcher_init(&store->searchers[i]);
    searcher_init(&store->scratch);
    store->pool = pool_new(options->threads, "search");
    if (!store->pool || !keyspace_init(store) || !expiry_init(store)) {
        vs_close(store);
        return VS_NOMEM;
    }
    store->env = (struct graph_env){.epoch = store->epoch,
                                    .pool = store->pool,
                                    .searchers = store->searchers,
                                    .scratch = &store->scratch,
                                    .ready = graph_ready,
                                    .wake = graph_wake,
                                    .headroom = SIZE_MAX,
                                    .arg = store};
    *out = store;
    return VS_OK;
}

void vs_close(struct vs_store *store)
{
    if (!store)
        return;
    vs_cut_abort(store);
    vs_apply_end(store);
    map_release(store);
    if (store->databases)
        keyspace_release(store);
    atomic_store_explicit(&store->closing, true, memory_order_relaxed);
    while (store->dying || open_busy(store) || store->cut.active || store->cut.emptying ||
           atomic_load_explicit(&store->freeing, memory_order_acquire)) {
        vs_poll(store, 1000);
        struct timespec t = {0, 100000};
        nanosleep(&t, NULL);
    }
    while (epoch_reclaim(store->epoch, SIZE_MAX))
        ;
    if (store->pool)
        pool_free(store->pool);
    search_release_spare(store);
    epoch_free(store->epoch);
    for (unsigned i = 0; i < (store->options.threads ? store->options.threads : 1); i++)
        searcher_release(&store->searchers[i]);
    searcher_release(&store->scratch);
    mem_free(store->searchers);
    expiry_release(store);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->news);
    pthread_mutex_destroy(&store->cut.lock);
    dump_release(store);
    mem_free(store);
}

void vs_set_link_backlog_max(struct vs_store *store, size_t max)
{
    store->options.link_backlog_max = max;
}

struct pool *vs_pool(struct vs_store *store)
{
    return store->pool;
}
