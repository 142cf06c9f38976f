/* What an element is linked to, with scores, for whoever wants to see the graph.
 *
 * Fixed on the owner's thread, as a search is; read and measured by a worker, on vectors as they were given. Linking may go on
 * meanwhile: a list read while it changes has links of before and after. An element that has no links yet is
 * shown with what a search finds near it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

struct link {
    uint32_t slot;
    float distance;
};
struct link_level {
    size_t first, n;                 /* in `links` */
};

struct vs_links {
    struct pool_task task;
    struct vs_store *store;
    struct epoch_reader *reader;
    struct vs_index_options shape;
    const struct graph *graph;
    const struct graph_view *view;
    uint64_t as_of, now_ms;
    uint32_t slot;
    float *vector, *other;           /* the element's, and room for one more */
    struct link *links;
    size_t nlinks, cap;
    int nlevels;
    struct link_level levels[GRAPH_LEVEL_MAX + 1];
    enum vs_status status;
    void (*done)(struct vs_links *links, void *arg);
    void *arg;
};

static int compare_links(const void *x, const void *y)
{
    const struct link *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static float measure(struct vs_links *l, float norm, uint32_t slot)
{
    graph_view_vector(l->graph, l->view, slot, l->other);
    bool cosine = l->shape.metric == VEC_COSINE;
    float other_norm = cosine ? vec_norm(l->other, l->shape.dim) : 0, distance;
    const void *row = l->other;
    vec_original_distances(VEC_ORIG_F32, l->shape.metric, l->shape.dim, l->vector, norm, &row, &other_norm, 1, &distance);
    return distance;
}

static enum vs_status take_levels(struct vs_links *l, int level)
{
    float norm = l->shape.metric == VEC_COSINE ? vec_norm(l->vector, l->shape.dim) : 0;
    size_t max = (size_t)l->shape.m * (size_t)(level + 2);
    uint32_t *slots = mem_try_alloc(2 * (size_t)l->shape.m * sizeof(*slots));
    if (!slots || !mem_try_grow(&l->links, &l->cap, max, sizeof(*l->links))) {
        mem_free(slots);
        return VS_NOMEM;
    }
    for (l->nlevels = 0; l->nlevels <= level; l->nlevels++) {
        struct link_level *at = &l->levels[l->nlevels];
        at->first = l->nlinks;
        at->n = graph_view_links(l->graph, l->view, l->slot, l->nlevels, l->as_of, l->now_ms, slots);
        for (size_t i = 0; i < at->n; i++)
            l->links[l->nlinks++] = (struct link){slots[i], measure(l, norm, slots[i])};
        if (at->n)
            qsort(l->links + at->first, at->n, sizeof(*l->links), compare_links);
    }
    mem_free(slots);
    return VS_OK;
}

/* The nearest, without the element itself. */
static enum vs_status take_nearest(struct vs_links *l, struct searcher *searcher)
{
    size_t want = 2 * (size_t)l->shape.m;
    struct graph_query q = {
        .vector = l->vector,
        .norm = l->shape.metric == VEC_COSINE ? vec_norm(l->vector, l->shape.dim) : 0,
        .keep = want + 1,
        .ef = want + 1 > VS_EF_DEFAULT ? want + 1 : VS_EF_DEFAULT,
        .as_of = l->as_of,
        .now_ms = l->now_ms,
    };
    struct graph_result result;
    enum vs_status status = graph_search(l->graph, l->view, searcher, &q, &result);
    if (status != VS_OK)
        return status;
    if (!mem_try_grow(&l->links, &l->cap, searcher->ntop + 1, sizeof(*l->links)))
        return VS_NOMEM;
    const void *self = graph_view_user(l->view, l->slot);
    for (size_t i = 0; i < searcher->ntop && l->nlinks < want; i++) {
        const struct candidate *c = &searcher->top[i];
        if (graph_view_user(l->view, c->slot) != self)
            l->links[l->nlinks++] = (struct link){c->slot, c->distance};
    }
    l->nlevels = 1;
    l->levels[0] = (struct link_level){0, l->nlinks};
    searcher_trim(searcher);
    return VS_OK;
}

static void run_links(struct pool_task *task, unsigned worker)
{
    struct vs_links *l = (struct vs_links *)((char *)task - offsetof(struct vs_links, task));
    graph_view_vector(l->graph, l->view, l->slot, l->vector);
    int level = graph_view_level(l->graph, l->view, l->slot);
    l->status = level >= 0 ? take_levels(l, level) : take_nearest(l, &l->store->searchers[worker]);
    if (graph_damaged(l->graph))
        l->status = VS_CORRUPT;
    l->done(l, l->arg);
}

enum vs_status vs_links_begin(struct vs_index *index, const void *id, size_t id_len, struct vs_links **out)
{
    struct vs_store *store = index->store;
    uint32_t slot, dim = index->options.dim;
    if (!vs_ready(index, id, id_len))
        return VS_BACKLOG;
    struct partition *p = index_partition(index, id, id_len);
    if (p->stub)
        return stub_status(p);
    if (!partition_find(p, partition_hash(p, id, id_len), id, id_len, &slot) || partition_ended(p, slot))
        return partition_missing(p);
    struct vs_links *l = mem_try_zalloc(sizeof(*l) + 2 * (size_t)dim * sizeof(float));
    if (!l)
        return VS_NOMEM;
    l->store = store;
    l->shape = index->options;
    l->vector = (float *)(void *)(l + 1);
    l->other = l->vector + dim;
    l->slot = slot;
    l->graph = p->graph;
    l->reader = epoch_reader_new(store->epoch);
    epoch_enter(store->epoch, l->reader);
    l->now_ms = partition_now(p);
    l->as_of = graph_sequence(p->graph);
    l->view = graph_view(p->graph);
    *out = l;
    return VS_OK;
}

void vs_links_submit(struct vs_links *l, void (*done)(struct vs_links *links, void *arg), void *arg)
{
    struct pool *pool = l->store->pool;
    l->done = done;
    l->arg = arg;
    l->task.run = run_links;
    pool_submit(pool, POOL_SEARCH, &l->task);
    pool_drain(pool);
}

enum vs_status vs_links_status(const struct vs_links *l)
{
    return l->status;
}

int vs_links_levels(const struct vs_links *l)
{
    return l->nlevels;
}

size_t vs_links_count(const struct vs_links *l, int level)
{
    return l->levels[level].n;
}

const void *vs_links_at(const struct vs_links *l, int level, size_t i, size_t *len, double *score)
{
    const struct link *link = &l->links[l->levels[level].first + i];
    *score = vec_score(l->shape.metric, link->distance);
    return record_id(graph_view_user(l->view, link->slot), len);
}

void vs_links_free(struct vs_links *l)
{
    if (!l)
        return;
    epoch_exit(l->reader);
    epoch_reader_free(l->store->epoch, l->reader);
    mem_free(l->links);
    mem_free(l);
}
