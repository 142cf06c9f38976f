/* Searches: what one sees is fixed when it begins (an epoch entered; the view and the sequence
 * number of each partition), then its partitions are searched, by as many workers as are free, and
 * the worker that ends last merges.
 *
 * Results are merged by (distance, partition, place in it): each partition's are in their own order
 * already. */
#include <stdlib.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/prefetch.h"
#include "index/graph_restore.h"
#include "store/attr_doc.h"
#include "store/filter.h"
#include "store/store_int.h"

#define SPARE_MAX    1024 /* searches kept for reuse */
#define RECORD_AHEAD 32   /* bytes of a record that its id begins with */

struct part_search {
    struct pool_task task;
    struct vs_search *search;
    const struct graph *graph;
    const struct graph_view *view;
    uint64_t as_of, now_ms;
    struct candidate *found; /* NULL while they stand in the searcher */
    size_t nfound;
    struct graph_result result;
    uint64_t measured, expanded, examined;
    enum vs_status status;
};

struct vs_search {
    struct vs_search *next; /* spare ones */
    struct vs_store *store;
    struct epoch_reader *reader;
    struct vs_index_options shape; /* of the index searched */
    struct graph_query query;
    struct vs_filter *filter; /* a reference, or NULL */
    size_t filter_effort;
    float *vector;
    size_t vector_cap;
    uint32_t offset;
    struct part_search *parts;
    size_t nparts, parts_cap;
    _Atomic size_t left;
    _Atomic bool cancelled;
    struct vs_hit *hits;
    size_t nhits, hits_cap;
    struct vs_search_stats stats;
    uint64_t began_ns;
    void (*done)(struct vs_search *search, void *arg);
    void *arg;
};

/* ---- making and fixing ---- */

static struct vs_search *search_new(struct vs_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct vs_search *s = store->spare;
    if (s) {
        store->spare = s->next;
        store->nspare--;
    }
    pthread_mutex_unlock(&store->lock);
    if (s)
        return s;
    s = mem_zalloc(sizeof(*s));
    s->store = store;
    s->reader = epoch_reader_new(store->epoch);
    return s;
}

static void search_delete(struct vs_search *s)
{
    epoch_reader_free(s->store->epoch, s->reader);
    mem_free(s->vector);
    mem_free(s->parts);
    mem_free(s->hits);
    mem_free(s);
}

static void forget_results(struct vs_search *s)
{
    for (size_t i = 0; i < s->nparts; i++) {
        mem_free(s->parts[i].found);
        s->parts[i].found = NULL;
    }
    s->nparts = s->nhits = 0;
    vs_filter_unref(s->filter);
    s->filter = NULL;
}

void vs_search_free(struct vs_search *s)
{
    if (!s)
        return;
    struct vs_store *store = s->store;
    forget_results(s);
    epoch_exit(s->reader);
    if (s->hits_cap > 4096) {
        mem_free(s->hits);
        s->hits = NULL;
        s->hits_cap = 0;
    }
    pthread_mutex_lock(&store->lock);
    bool keep = store->nspare < SPARE_MAX;
    if (keep) {
        s->next = store->spare;
        store->spare = s;
        store->nspare++;
    }
    pthread_mutex_unlock(&store->lock);
    if (!keep)
        search_delete(s);
}

void search_release_spare(struct vs_store *store)
{
    while (store->spare) {
        struct vs_search *s = store->spare;
        store->spare = s->next;
        search_delete(s);
    }
    store->nspare = 0;
}

/* A distance that bounds what the caller's radius allows. Of cosines 1 allows everything and 0 what has the score 1 (vec_score),
 * whatever the rounding. */
static float radius_distance(enum vec_metric metric, double radius)
{
    switch (metric) {
    case VEC_COSINE:
        if (radius >= 1)
            return INFINITY;
        return radius < 0 || 2 * radius > VEC_COSINE_NOISE ? (float)(2 * radius) : VEC_COSINE_NOISE;
    case VEC_L2: return radius < 0 ? -1 : (float)(radius * radius);
    default: return (float)-radius;
    }
}

static enum vs_status check_query(const struct vs_query *q)
{
    if (q->k > VS_K_MAX || q->ef > VS_EF_MAX || q->offset > VS_K_MAX || (!q->k && !q->has_radius))
        return VS_INVALID;
    return q->has_radius && !(q->radius == q->radius) ? VS_INVALID : VS_OK;
}

static enum vs_status fix_parts(struct vs_search *s, const struct vs_index *index,
                                const struct vs_query *q)
{
    const struct partition_table *t = index_table(index);
    size_t n = q->partitions ? q->npartitions : t->n, nparts = 0;
    uint64_t asked[VS_PARTITIONS_MAX / 64] = {0};
    if (!mem_try_grow(&s->parts, &s->parts_cap, n < t->n ? n : t->n, sizeof(*s->parts)))
        return VS_NOMEM;
    for (size_t i = 0; i < n; i++) {
        size_t at = q->partitions ? q->partitions[i] : i;
        if (at >= t->n)
            return VS_INVALID;
        if (asked[at / 64] >> (at & 63) & 1)
            continue; /* named twice */
        asked[at / 64] |= (uint64_t)1 << (at & 63);
        struct part_search *p = &s->parts[nparts++];
        memset(p, 0, sizeof(*p));
        p->search = s;
        if (t->part[at]->stub)
            return VS_BACKLOG;
        p->now_ms = partition_now(t->part[at]);
        p->graph = t->part[at]->graph;
        p->as_of = graph_sequence(p->graph);
        p->view = graph_view(p->graph);
        s->stats.sequence = p->as_of > s->stats.sequence ? p->as_of : s->stats.sequence;
    }
    s->nparts = nparts;
    return VS_OK;
}

/* Inside the epoch: takes the query, but for its vector, and what it sees. */
static enum vs_status search_fix(struct vs_search *s, const struct vs_index *index,
                                 const struct vs_query *q)
{
    const struct vs_index_options *o = &index->options;
    enum vs_status status = check_query(q);
    if (status != VS_OK)
        return status;
    memset(&s->stats, 0, sizeof(s->stats));
    s->began_ns = clock_mono_ns();
    s->shape = *o;
    s->offset = q->offset;
    s->filter = vs_filter_ref(q->filter);
    s->filter_effort = q->filter_effort;
    atomic_store_explicit(&s->cancelled, false, memory_order_relaxed);
    s->query = (struct graph_query){
        .vector = q->vector,
        .norm = o->metric == VEC_COSINE ? vec_norm(q->vector, o->dim) : 0,
        .keep = q->k ? (size_t)q->k + q->offset : 0,
        .ef = q->ef ? q->ef : VS_EF_DEFAULT,
        .exact = q->exact,
        .bounded = q->has_radius,
        .radius = q->has_radius ? radius_distance(o->metric, q->radius) : 0,
        .deadline_ns = q->deadline_ns,
        .cancelled = &s->cancelled,
    };
    return fix_parts(s, index, q);
}

/* ---- running ---- */

struct asked {
    const struct vs_filter *filter;
    struct filter_scratch scratch;
};

static bool matches(void *arg, const void *extra)
{
    struct asked *a = arg;
    return filter_match(a->filter, extra, &a->scratch);
}

static void run_part(struct part_search *p, struct searcher *searcher)
{
    struct graph_query q = p->search->query;
    struct asked asked = {.filter = p->search->filter};
    struct graph_filter filter = {matches, &asked, p->search->filter_effort};
    q.as_of = p->as_of;
    q.now_ms = p->now_ms;
    q.filter = asked.filter ? &filter : NULL;
    p->status = graph_search(p->graph, p->view, searcher, &q, &p->result);
    p->measured = searcher->measured;
    p->expanded = searcher->expanded;
    p->examined = searcher->examined;
    filter_scratch_release(&asked.scratch);
    p->nfound = p->status == VS_OK ? searcher->ntop : 0;
}

static bool keep_found(struct part_search *p, const struct searcher *searcher)
{
    if (!p->nfound)
        return true;
    p->found = mem_try_alloc(p->nfound * sizeof(*p->found));
    if (!p->found) {
        p->status = VS_NOMEM;
        p->nfound = 0;
        return false;
    }
    memcpy(p->found, searcher->top, p->nfound * sizeof(*p->found));
    return true;
}

struct merged {
    float distance;
    uint32_t part;
    uint32_t place;
};

static int compare_merged(const void *x, const void *y)
{
    const struct merged *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    if (a->part != b->part)
        return a->part < b->part ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static struct vs_hit hit_of(const struct vs_search *s, struct part_search *p,
                            const struct candidate *c)
{
    return (struct vs_hit){vec_score(s->shape.metric, c->distance), c->distance, c->slot, p};
}

/* Merges what the partitions found into at most `max` hits after the offset. */
static enum vs_status merge(struct vs_search *s, struct vs_hit *hits, size_t max, size_t *n)
{
    size_t total = 0, keep = s->query.keep;
    for (size_t i = 0; i < s->nparts; i++)
        total += s->parts[i].nfound;
    struct merged *all = mem_try_alloc((total + 1) * sizeof(*all));
    if (!all)
        return VS_NOMEM;
    total = 0;
    for (size_t i = 0; i < s->nparts; i++)
        for (size_t k = 0; k < s->parts[i].nfound; k++)
            all[total++] = (struct merged){s->parts[i].found[k].distance, (uint32_t)i, (uint32_t)k};
    qsort(all, total, sizeof(*all), compare_merged);
    if (keep && total > keep)
        total = keep;
    *n = 0;
    for (size_t i = s->offset; i < total && *n < max; i++)
        hits[(*n)++] =
            hit_of(s, &s->parts[all[i].part], &s->parts[all[i].part].found[all[i].place]);
    mem_free(all);
    return VS_OK;
}

static void sum_stats(struct vs_search *s)
{
    s->stats.plan = s->nparts ? s->parts[0].result.plan : "scan";
    for (size_t i = 0; i < s->nparts; i++) {
        const struct part_search *p = &s->parts[i];
        s->stats.distances += p->measured;
        s->stats.nodes += p->expanded;
        s->stats.examined += p->examined;
        s->stats.partitions_asked++;
        s->stats.partitions_answered += p->status == VS_OK && !p->result.partial;
        s->stats.partial |= p->status != VS_OK || p->result.partial;
        if (strcmp(s->stats.plan, p->result.plan) != 0)
            s->stats.plan = s->filter ? "filter+graph+scan" : "graph+scan";
    }
    s->stats.search_ns = clock_mono_ns() - s->began_ns;
}

/* One partition needs no merging: its candidates are the hits. */
static size_t take_only(struct vs_search *s, const struct searcher *searcher, struct vs_hit *hits,
                        size_t max)
{
    struct part_search *p = &s->parts[0];
    size_t n = 0;
    for (size_t i = s->offset; i < p->nfound && n < max; i++) {
        hits[n++] = hit_of(s, p, &searcher->top[i]);
        prefetch_bytes(graph_view_user(p->view, searcher->top[i].slot), RECORD_AHEAD);
    }
    return n;
}

static void finish(struct vs_search *s)
{
    size_t total = 0;
    for (size_t i = 0; i < s->nparts; i++)
        total += s->parts[i].nfound;
    if (!mem_try_grow(&s->hits, &s->hits_cap, total + 1, sizeof(*s->hits)) ||
        merge(s, s->hits, total, &s->nhits) != VS_OK) {
        s->nhits = 0;
        s->stats.partial = true;
    }
}

/* Searches one partition; whoever ends the last merges and calls `done`, and then the search may be gone. */
static void search_part(struct part_search *p, struct searcher *searcher)
{
    struct vs_search *s = p->search;
    run_part(p, searcher);
    bool only = s->nparts == 1;
    if (only && mem_try_grow(&s->hits, &s->hits_cap, p->nfound + 1, sizeof(*s->hits)))
        s->nhits = take_only(s, searcher, s->hits, p->nfound);
    else
        keep_found(p, searcher);
    searcher_trim(searcher);
    if (atomic_fetch_sub_explicit(&s->left, 1, memory_order_acq_rel) != 1)
        return;
    if (!only)
        finish(s);
    sum_stats(s);
    s->done(s, s->arg);
}

static void run_task(struct pool_task *task, unsigned worker)
{
    struct part_search *p =
        (struct part_search *)((char *)task - offsetof(struct part_search, task));
    search_part(p, &p->search->store->searchers[worker]);
}

/* The caller's vector is gone when a worker takes the search. */
static enum vs_status keep_vector(struct vs_search *s)
{
    size_t dim = s->shape.dim;
    if (!mem_try_grow(&s->vector, &s->vector_cap, dim, sizeof(float)))
        return VS_NOMEM;
    memcpy(s->vector, s->query.vector, dim * sizeof(float));
    s->query.vector = s->vector;
    return VS_OK;
}

enum vs_status vs_search_begin(struct vs_index *index, const struct vs_query *query,
                               struct vs_search **out)
{
    enum vs_status status = open_for_query(index, query);
    if (status != VS_OK)
        return status;
    struct vs_search *s = search_new(index->store);
    epoch_enter(s->store->epoch, s->reader);
    status = search_fix(s, index, query);
    if (status == VS_OK)
        status = keep_vector(s);
    if (status != VS_OK) {
        vs_search_free(s);
        return status;
    }
    *out = s;
    return VS_OK;
}

/* The number of its parts, which may run from now on; 0: it has none, and is done. */
static size_t start(struct vs_search *s, void (*done)(struct vs_search *search, void *arg), void *arg)
{
    size_t n = s->nparts;
    s->done = done;
    s->arg = arg;
    atomic_store_explicit(&s->left, n, memory_order_relaxed);
    if (!n) {
        sum_stats(s);
        done(s, arg);
    }
    return n;
}

void vs_search_run(struct vs_search *s, void (*done)(struct vs_search *search, void *arg), void *arg)
{
    struct searcher *searcher = &s->store->scratch;
    for (size_t i = 0, n = start(s, done, arg); i < n; i++)
        search_part(&s->parts[i], searcher);
}

void vs_search_submit(struct vs_search *s, void (*done)(struct vs_search *search, void *arg),
                      void *arg)
{
    struct vs_store *store = s->store;
    size_t n = start(s, done, arg);
    if (!n)
        return;
    for (size_t i = 0; i < n;
         i++) { /* the search may be over, and gone, when the last one is submitted */
        struct pool_task *task = &s->parts[i].task;
        task->run = run_task;
        pool_submit(store->pool, POOL_SEARCH, task);
    }
    pool_drain(store->pool);
}

enum vs_status vs_search_status(const struct vs_search *s, struct buf *why)
{
    for (size_t i = 0; i < s->nparts; i++) {
        if (s->parts[i].status != VS_CORRUPT)
            continue;
        const struct partition *p = graph_owner_arg(s->parts[i].graph);
        buf_printf(why, "partition %u: ", p->number);
        graph_is_bad(s->parts[i].graph, why);
        return VS_CORRUPT;
    }
    return VS_OK;
}

const struct vs_hit *vs_search_hits(const struct vs_search *s, size_t *n)
{
    *n = s->nhits;
    return s->hits;
}

const struct vs_search_stats *vs_search_stats(const struct vs_search *s)
{
    return &s->stats;
}

void vs_search_cancel(struct vs_search *s)
{
    atomic_store_explicit(&s->cancelled, true, memory_order_relaxed);
}

/* ---- searching on the caller's thread ---- */

struct vs_reader {
    struct vs_search *search;
    struct searcher searcher;
    bool inside;
};

struct vs_reader *vs_reader_new(struct vs_store *store)
{
    struct vs_reader *r = mem_zalloc(sizeof(*r));
    r->search = search_new(store);
    searcher_init(&r->searcher);
    return r;
}

void vs_reader_idle(struct vs_reader *r)
{
    if (!r->inside)
        return;
    forget_results(r->search);
    epoch_exit(r->search->reader);
    r->inside = false;
}

void vs_reader_free(struct vs_reader *r)
{
    if (!r)
        return;
    vs_reader_idle(r);
    vs_search_free(r->search);
    searcher_release(&r->searcher);
    mem_free(r);
}

const struct vs_search_stats *vs_reader_stats(const struct vs_reader *r)
{
    return &r->search->stats;
}

enum vs_status vs_search_now(struct vs_reader *r, struct vs_index *index,
                             const struct vs_query *query, struct vs_hit *hits, size_t max,
                             size_t *n)
{
    struct vs_search *s = r->search;
    vs_reader_idle(r);
    epoch_enter(s->store->epoch, s->reader);
    r->inside = true;
    enum vs_status status = search_fix(s, index, query);
    for (size_t i = 0; status == VS_OK && i < s->nparts; i++) {
        run_part(&s->parts[i], &r->searcher);
        if (s->nparts > 1)
            keep_found(&s->parts[i], &r->searcher);
        status = s->parts[i].status;
    }
    if (status != VS_OK)
        return status;
    if (s->nparts == 1)
        *n = take_only(s, &r->searcher, hits, max);
    else if ((status = merge(s, hits, max, n)) != VS_OK)
        return status;
    sum_stats(s);
    return s->stats.partial ? VS_TIMEOUT : VS_OK;
}

/* ---- hits ---- */

const void *vs_hit_id(const struct vs_hit *hit, size_t *len)
{
    const struct part_search *p = hit->part;
    return record_id(graph_view_user(p->view, hit->slot), len);
}

const void *vs_hit_attributes(const struct vs_hit *hit, size_t *len)
{
    const struct part_search *p = hit->part;
    return attr_text(graph_view_extra(p->view, hit->slot), len);
}

size_t vs_search_marks(const struct vs_search *s, struct vs_mark *out, size_t max)
{
    size_t n = s->nhits < max ? s->nhits : max;
    for (size_t i = 0; i < n; i++) {
        const struct part_search *p = s->hits[i].part;
        const struct partition *of = graph_owner_arg(p->graph);
        out[i] = (struct vs_mark){of->number, s->hits[i].slot,
                                  graph_view_born(p->view, s->hits[i].slot)};
    }
    return n;
}

void vs_hit_vector(const struct vs_hit *hit, float *out)
{
    const struct part_search *p = hit->part;
    graph_view_vector(p->graph, p->view, hit->slot, out);
}
