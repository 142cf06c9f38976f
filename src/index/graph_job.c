/* Jobs: the phases of linking, repairing and compacting, spread over the pool's workers. See struct
 * link_job.
 *
 *   batch:  [repair: gather > write > reverse > again: search > write > reverse] > link: search > reverse > end > next batch
 *
 * Each phase reads what the phases before it left and writes what no other unit of it reads:
 * gathering and searching write private lists only, writing goes over distinct nodes, reverse over
 * distinct targets. So the order in which workers take units does not matter, and the graph is the
 * same with any number of them.
 *
 * A helper task leaves when searches wait and comes back through the pool's queue. Nobody waits for
 * anybody: the worker that ends the last unit goes on with the next phase. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "index/graph_int.h"

#define UNIT_BITS  24
#define UNIT_MASK  (((uint64_t)1 << UNIT_BITS) - 1)
#define DEAD_SHARE 32 /* repair when one node in so many is dead ... */

/* ---- what workers gather ---- */

/* A batch that has begun must end: for what grows with the data a worker waits until there is memory. */
static void wait_a_little(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

void *job_memory(void *ptr, size_t size)
{
    void *p;
    while (!(p = mem_try_realloc(ptr, size)))
        wait_a_little();
    return p;
}

static void count(struct job_worker *w, size_t more, size_t less)
{
    w->bytes += more - less;
    atomic_fetch_add_explicit(&w->env->working, more - less, memory_order_relaxed);
}

/* While it is copied both blocks are there. */
void *job_block(struct job_worker *w, void *ptr, size_t size)
{
    size_t before = mem_size(ptr);
    void *p;
    count(w, size, 0);
    while (!(p = mem_try_realloc_now(ptr, size)))
        wait_a_little();
    count(w, mem_size(p), size + before);
    return p;
}

void job_block_free(struct job_worker *w, void *ptr)
{
    count(w, 0, mem_size(ptr));
    mem_free_now(ptr);
}

static void grow_list(struct job_worker *w, void **array, size_t *cap, size_t want, size_t size)
{
    if (want <= *cap)
        return;
    size_t n = *cap + *cap / 4 > want ? *cap + *cap / 4 : want + 15;
    *array = job_block(w, *array, n * size);
    *cap = n;
}

void job_reserve(const struct link_job *job, struct searcher *s, size_t beam, size_t top)
{
    while (!searcher_reserve(s, &job->g->shape, job->view->slots, beam) ||
           !searcher_reserve_top(s, top))
        wait_a_little();
}

void job_edge(struct job_worker *w, const struct edge *e)
{
    struct edges *list = &w->parts[hash_mix(e->target) % EDGE_PARTS];
    grow_list(w, (void **)&list->e, &list->cap, list->n + 1, sizeof(*list->e));
    list->e[list->n++] = *e;
}

void job_flag(struct job_worker *w, uint32_t slot)
{
    grow_list(w, (void **)&w->flagged, &w->flagged_cap, w->nflagged + 1, sizeof(*w->flagged));
    w->flagged[w->nflagged++] = slot;
}

void job_list(struct job_worker *w, uint32_t slot, int level, const uint32_t *links, uint32_t n)
{
    grow_list(w, (void **)&w->lists, &w->lists_cap, w->nlists + 3 + n, sizeof(*w->lists));
    w->lists[w->nlists++] = slot;
    w->lists[w->nlists++] = (uint32_t)level;
    w->lists[w->nlists++] = n;
    memcpy(w->lists + w->nlists, links, n * sizeof(*links));
    w->nlists += n;
}

static void worker_release(struct job_worker *w)
{
    for (unsigned p = 0; p < EDGE_PARTS; p++)
        mem_free_now(w->parts[p].e);
    mem_free_now(w->merged.e);
    mem_free_now(w->lists);
    mem_free_now(w->flagged);
    atomic_fetch_sub_explicit(&w->env->working, w->bytes, memory_order_relaxed);
    *w = (struct job_worker){.env = w->env};
}

static void clear_edges(struct link_job *job)
{
    for (unsigned i = 0; i < job->nworkers; i++) {
        for (unsigned p = 0; p < EDGE_PARTS; p++)
            job->workers[i].parts[p].n = 0;
        job->workers[i].nlists = 0;
    }
}

/* ---- units ---- */

static void run_unit(struct link_job *job, unsigned worker, uint32_t unit)
{
    struct graph *g = job->g;
    struct job_worker *w = &job->workers[worker];
    struct searcher *s = &g->env->searchers[worker];
    switch (job->phase) {
    case PHASE_REPAIR_GATHER: repair_gather(job, w, s, unit); break;
    case PHASE_AGAIN_SEARCH: repair_again(job, w, s, unit); break;
    case PHASE_REPAIR_WRITE:
    case PHASE_AGAIN_WRITE: link_write(job, &job->workers[unit]); break;
    case PHASE_REPAIR_REVERSE:
    case PHASE_AGAIN_REVERSE: link_reverse(job, w, s, unit, true); break;
    case PHASE_LINK_SEARCH:
        link_member(job, w, s, job->nmembers - 1 - unit);
        break; /* the longest first */
    case PHASE_LINK_REVERSE: link_reverse(job, w, s, unit, false); break;
    case PHASE_COPY: compact_copy(g, unit); break;
    case PHASE_RELINK: compact_relink(g, job->view, unit); break;
    case PHASE_END: break;
    }
}

static void submit_helpers(struct link_job *job, uint32_t units)
{
    unsigned want = units < job->ntasks ? units : job->ntasks;
    for (unsigned i = 0; i < job->ntasks && want > 0; i++, want--) {
        if (atomic_exchange(&job->tasks[i].queued, true))
            continue;
        atomic_fetch_add(&job->tasks_active, 1);
        pool_submit(job->g->env->pool, POOL_LINK, &job->tasks[i].task);
    }
}

/* Makes a phase's units takeable, and returns their number: from there on helpers may be phases
 * ahead already, so that the caller looks at nothing of the job any more unless there are none. */
static uint32_t set_phase(struct link_job *job, enum job_phase phase, uint32_t units)
{
    uint64_t generation =
        (atomic_load_explicit(&job->state, memory_order_relaxed) >> (2 * UNIT_BITS)) + 1;
    job->phase = phase;
    atomic_store_explicit(&job->done, 0, memory_order_relaxed);
    atomic_store_explicit(&job->state, generation << (2 * UNIT_BITS) | (uint64_t)units << UNIT_BITS,
                          memory_order_release);
    if (units > 1)
        submit_helpers(job, units);
    return units;
}

/* ---- the order of phases ---- */

/* Is there a batch that may be begun? Under the lock. */
static bool may_begin(struct graph *g)
{
    return g->queue && !g->scrub && !atomic_load_explicit(&g->stop, memory_order_relaxed) &&
           !atomic_load_explicit(&g->bad, memory_order_relaxed) &&
           cut_lets_link(g, g->queue->sequence);
}

static struct batch *next_batch(struct graph *g)
{
    pthread_mutex_lock(&g->lock);
    struct batch *b = may_begin(g) ? g->queue : NULL;
    if (b) {
        g->queue = b->next;
        if (!g->queue)
            g->queue_tail = &g->queue;
        b->next = NULL;
    }
    pthread_mutex_unlock(&g->lock);
    return b;
}

static void mark_dead(struct link_job *job)
{
    struct graph *g = job->g;
    size_t words = (size_t)job->view->slots / 64 + 1;
    job->dead = job_memory(NULL, words * sizeof(*job->dead));
    memset(job->dead, 0, words * sizeof(*job->dead));
    for (size_t i = 0; i < g->ndead_nodes; i++)
        job->dead[g->dead_nodes[i] / 64] |= (uint64_t)1 << (g->dead_nodes[i] & 63);
    for (unsigned i = 0; i < job->nworkers; i++) {
        job->workers[i].nflagged = 0;
        job->workers[i].entry = SLOT_NONE;
        job->workers[i].entry_level = -1;
    }
}

size_t job_repair_min(size_t nodes, uint32_t mended)
{
    /* ... while a generation ends a larger share, after so many repairs: few for most of it, smaller ones for the rest, since
     * what is dead at its end stays. */
    static const uint8_t parts[MENDED_MAX + 1] = {DEAD_SHARE, DEAD_SHARE / 2, 8, 4, 4, 8};
    size_t part = parts[mended], share = (nodes + part - 1) / part;
    return share < BATCH_SIZE ? BATCH_SIZE : share;
}

/* Takes the batch's records and deaths in: who is to be linked, who is dead in the graph. */
static void read_batch(struct link_job *job)
{
    struct graph *g = job->g;
    struct batch *b = job->batch;
    uint32_t count = atomic_load_explicit(&b->count, memory_order_acquire);
    b->repaired = mem_alloc(BATCH_SIZE * sizeof(*b->repaired));
    job->nmembers = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = atomic_load_explicit(&b->slots[i], memory_order_relaxed);
        uint64_t word = view_born(job->view, slot);
        if (born_visible(word, b->sequence))
            job->members[job->nmembers++] = slot;
        else
            b->repaired[b->nrepaired++] = slot;
    }
    if (g->ndead_nodes + b->ndeaths > g->dead_cap) {
        g->dead_cap = g->ndead_nodes + b->ndeaths + g->dead_cap / 4;
        g->dead_nodes = job_memory(g->dead_nodes, g->dead_cap * sizeof(*g->dead_nodes));
    }
    for (uint32_t i = 0; i < b->ndeaths; i++)
        if (born_of(view_born(job->view, b->deaths[i])) <= g->closed_sequence)
            g->dead_nodes[g->ndead_nodes++] = b->deaths[i];
}

/* Does a generation end: is the batch one of deaths alone, of records that had a deadline? */
static bool is_generation(const struct link_job *job)
{
    const struct batch *b = job->batch;
    bool all = b->ndeaths && !atomic_load_explicit(&b->count, memory_order_relaxed);
    for (uint32_t i = 0; i < b->ndeaths && all; i++)
        all = chunk_deadline(view_chunk(job->view, b->deaths[i]), slot_place(b->deaths[i])) != 0;
    return all;
}

static uint32_t begin_linking(struct link_job *job)
{
    clear_edges(job);
    return set_phase(job, PHASE_LINK_SEARCH, job->nmembers);
}

static uint32_t begin_batch(struct link_job *job)
{
    struct graph *g = job->g;
    epoch_enter(g->env->epoch, job->reader);
    job->view = graph_view(g);
    job->cut = atomic_load_explicit(&g->cut, memory_order_acquire);
    read_batch(job);
    size_t nodes = job->linked;
    bool generation = is_generation(job);
    uint32_t mended = generation ? atomic_load_explicit(&g->mended, memory_order_relaxed) : 0;
    bool repair = g->ndead_nodes >= job_repair_min(nodes, mended);
    mended += repair && generation && mended < MENDED_MAX;
    atomic_store_explicit(&g->mended, mended, memory_order_relaxed);
    if (repair) {
        mark_dead(job);
        clear_edges(job);
        return set_phase(job, PHASE_REPAIR_GATHER, job->view->nchunks);
    }
    return begin_linking(job);
}

/* After gathering: a new entry point when the old one is dead. */
static void choose_entry(struct link_job *job)
{
    if (job->entry == SLOT_NONE || !(job->dead[job->entry / 64] >> (job->entry & 63) & 1))
        return;
    struct job_worker *best = &job->workers[0];
    for (unsigned i = 1; i < job->nworkers; i++) {
        struct job_worker *w = &job->workers[i];
        if (w->entry_level > best->entry_level ||
            (w->entry_level == best->entry_level && w->entry != SLOT_NONE &&
             w->entry_born < best->entry_born))
            best = w;
    }
    job->entry = best->entry;
    job->entry_level = best->entry_level;
}

struct flagged {
    uint64_t born;
    uint32_t slot;
};

static int compare_flagged(const void *x, const void *y)
{
    const struct flagged *a = x, *b = y;
    return a->born < b->born ? -1 : a->born > b->born;
}

/* After mending: the nodes that lost most of their links, in stream order. */
static void collect_flagged(struct link_job *job)
{
    size_t n = 0;
    for (unsigned i = 0; i < job->nworkers; i++)
        n += job->workers[i].nflagged;
    struct job_worker *first = &job->workers[0];
    struct flagged *all = job_block(first, NULL, (n + 1) * sizeof(*all));
    n = 0;
    for (unsigned i = 0; i < job->nworkers; i++)
        for (size_t k = 0; k < job->workers[i].nflagged; k++, n++)
            all[n] = (struct flagged){born_of(view_born(job->view, job->workers[i].flagged[k])),
                                      job->workers[i].flagged[k]};
    qsort(all, n, sizeof(*all), compare_flagged);
    job->again = job_block(first, job->again, (n + 1) * sizeof(*job->again));
    for (size_t i = 0; i < n; i++)
        job->again[i] = all[i].slot;
    job->nagain = n < UNIT_MASK ? n : UNIT_MASK;
    job_block_free(first, all);
}

static void end_repair(struct link_job *job)
{
    struct graph *g = job->g;
    struct batch *b = job->batch;
    b->repaired = job_memory(b->repaired, (b->nrepaired + g->ndead_nodes) * sizeof(*b->repaired));
    memcpy(b->repaired + b->nrepaired, g->dead_nodes, g->ndead_nodes * sizeof(*g->dead_nodes));
    b->nrepaired += g->ndead_nodes;
    job->linked -= g->ndead_nodes;
    g->ndead_nodes = 0;
    mem_free(job->dead);
    job->dead = NULL;
}

static void end_batch(struct link_job *job)
{
    struct graph *g = job->g;
    struct batch *b = job->batch;
    for (uint32_t i = 0; i < job->nmembers; i++) {
        int level = view_level(job->view, job->members[i]);
        if (level > job->entry_level) {
            job->entry = job->members[i];
            job->entry_level = level;
        }
    }
    for (unsigned i = 0; i < job->nworkers; i++) {
        job->digest += job->workers[i].digest;
        job->workers[i].digest = 0;
    }
    job->linked += job->nmembers;
    b->entry = job->entry;
    b->entry_level = job->entry_level;
    b->linked = job->linked;
    b->digest = job->digest;
    g->closed_sequence = b->sequence;
    job->batch = NULL;
    epoch_exit(job->reader);
    pthread_mutex_lock(&g->lock);
    *g->finished_tail = b;
    g->finished_tail = &b->next;
    pthread_mutex_unlock(&g->lock);
    graph_notify(g);
}

/* The phase's units are all done: sets up what comes next. Phases without units are passed over. */
static void advance(struct link_job *job)
{
    for (uint32_t units = 0; !units;) {
        switch (job->phase) {
        case PHASE_REPAIR_GATHER:
            choose_entry(job);
            units = set_phase(job, PHASE_REPAIR_WRITE, job->nworkers);
            break;
        case PHASE_REPAIR_WRITE: units = set_phase(job, PHASE_REPAIR_REVERSE, EDGE_PARTS); break;
        case PHASE_REPAIR_REVERSE:
            collect_flagged(job);
            clear_edges(job);
            end_repair(job);
            units = set_phase(job, PHASE_AGAIN_SEARCH, (uint32_t)job->nagain);
            break;
        case PHASE_AGAIN_SEARCH:
            units = set_phase(job, PHASE_AGAIN_WRITE, job->nagain ? job->nworkers : 0);
            break;
        case PHASE_AGAIN_WRITE:
            units = set_phase(job, PHASE_AGAIN_REVERSE, job->nagain ? EDGE_PARTS : 0);
            break;
        case PHASE_AGAIN_REVERSE: units = begin_linking(job); break;
        case PHASE_LINK_SEARCH:
            units = set_phase(job, PHASE_LINK_REVERSE, job->nmembers ? EDGE_PARTS : 0);
            break;
        case PHASE_LINK_REVERSE:
            end_batch(job);
            job->phase = PHASE_END;
            break;
        case PHASE_COPY:
        case PHASE_RELINK: epoch_exit(job->reader); return;
        case PHASE_END:
            job->batch = next_batch(job->g);
            if (!job->batch)
                return;
            units = begin_batch(job);
            break;
        }
    }
}

/* Units for as long as there are any and no search waits. False: it should come back later. */
static bool work(struct link_job *job, unsigned worker)
{
    for (;;) {
        uint64_t state = atomic_load_explicit(&job->state, memory_order_acquire);
        if ((state & UNIT_MASK) >= (state >> UNIT_BITS & UNIT_MASK))
            return true;
        state = atomic_fetch_add_explicit(&job->state, 1, memory_order_acq_rel);
        uint32_t unit = (uint32_t)(state & UNIT_MASK),
                 units = (uint32_t)(state >> UNIT_BITS & UNIT_MASK);
        if (unit >= units)
            return true;
        run_unit(job, worker, unit);
        if (atomic_fetch_add_explicit(&job->done, 1, memory_order_acq_rel) + 1 == units)
            advance(job);
        if (pool_should_yield(job->g->env->pool, worker))
            return false;
    }
}

/* One task less that touches the job; the last one ends it. */
static void let_go(struct link_job *job)
{
    struct graph *g = job->g;
    if (atomic_fetch_sub(&job->tasks_active, 1) != 1)
        return;
    /* After a repair megabytes, which take the owner longer to free than it has. */
    mem_free_now(job->again);
    job->again = NULL;
    for (unsigned i = 0; i < job->nworkers; i++)
        worker_release(&job->workers[i]);
    mem_flush(); /* not into this thread's cache, which counts as in use */
    atomic_store_explicit(&g->job_state, JOB_ENDING, memory_order_release);
    graph_notify(g);
    atomic_store_explicit(&g->job_state, JOB_ENDED, memory_order_release); /* the last touch of g */
}

static void run_task(struct pool_task *task, unsigned worker)
{
    struct job_task *t = (struct job_task *)((char *)task - offsetof(struct job_task, task));
    struct link_job *job = t->job;
    struct graph *g = job->g;
    while (work(job, worker)) {
        atomic_store(&t->queued, false);
        uint64_t state = atomic_load(&job->state);
        bool more = (state & UNIT_MASK) < (state >> UNIT_BITS & UNIT_MASK);
        if (!more || atomic_exchange(&t->queued, true)) {
            let_go(job);
            return;
        }
    }
    pool_submit(g->env->pool, POOL_LINK, &t->task);
}

/* ---- owner ---- */

static struct link_job *job_new(struct graph *g)
{
    unsigned threads = pool_threads(g->env->pool);
    unsigned n = threads ? threads : 1;
    struct link_job *job = mem_try_zalloc(sizeof(*job) + n * sizeof(job->tasks[0]));
    struct job_worker *workers = mem_try_zalloc(n * sizeof(*workers));
    if (!job || !workers) {
        mem_free(job);
        mem_free(workers);
        graph_notify(g); /* to try again */
        return NULL;
    }
    job->g = g;
    job->workers = workers;
    for (unsigned i = 0; i < n; i++)
        workers[i].env = g->env;
    job->nworkers = job->ntasks = n;
    job->reader = epoch_reader_new(g->env->epoch);
    job->entry = g->entry;
    job->entry_level = g->entry_level;
    job->linked = g->linked;
    job->digest = g->digest;
    for (unsigned i = 0; i < n; i++) {
        job->tasks[i].task.run = run_task;
        job->tasks[i].job = job;
    }
    atomic_store_explicit(&g->job_state, JOB_RUNNING, memory_order_relaxed);
    atomic_store_explicit(&job->tasks_active, 1,
                          memory_order_relaxed); /* the owner's, until all helpers are submitted */
    g->job = job;
    return job;
}

bool job_start_link(struct graph *g)
{
    struct link_job *job = job_new(g);
    if (!job)
        return false;
    job->phase = PHASE_END;
    /* one unit that leads to the first batch: its end sets the first phase */
    set_phase(job, PHASE_END, 1);
    submit_helpers(job, 1);
    let_go(job);
    return true;
}

void job_link_if_due(struct graph *g)
{
    if (g->job || g->compact.step != COMPACT_OFF)
        return;
    pthread_mutex_lock(&g->lock);
    bool due = may_begin(g);
    pthread_mutex_unlock(&g->lock);
    if (due)
        job_start_link(g);
}

bool job_start_phase(struct graph *g, enum job_phase phase)
{
    struct link_job *job = job_new(g);
    if (!job)
        return false;
    epoch_enter(g->env->epoch, job->reader);
    job->view = graph_view(g);
    uint32_t units =
        phase == PHASE_COPY ? compact_copy_units(g) : job->view->nchunks + job->view->nupper;
    set_phase(job, phase, units);
    if (units <= 1)
        submit_helpers(job, 1);
    let_go(job);
    return true;
}

void job_free(struct graph *g)
{
    struct link_job *job = g->job;
    if (!job)
        return;
    epoch_reader_free(g->env->epoch, job->reader);
    for (unsigned i = 0; i < job->nworkers; i++)
        worker_release(&job->workers[i]);
    mem_free(job->workers);
    mem_free(job->dead);
    mem_free_now(job->again);
    mem_free(job);
    g->job = NULL;
}
