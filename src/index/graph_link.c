/* Linking: how a batch of records enters the graph.
 *
 * A record descends from the entry point to its own level, searches each level from there down with
 * a beam of ef_construction on the graph as it stood before the batch, adds the earlier members of
 * the batch as candidates (compared exactly: that is what makes the size of a batch cost no
 * recall), and chooses m of them by HNSW's heuristic: a candidate nearer to one chosen before than
 * to the record itself is passed over (Algorithm 4 of arXiv 1603.09320), here: clearly nearer, by
 * 5 % (the alpha of DiskANN; squared, or one less the cosine). Filling the room left with
 * those passed over was tried: the recall for the same number of distances is the same, and
 * building takes a fifth longer. Its own list is written at once: nothing leads to it yet.
 *
 * Each choice leaves an edge "target should link back". Edges are then grouped by target and
 * applied in stream order: appended while there is room, else the target chooses anew among its
 * links and all that came.
 *
 * While a snapshot reads the links of a cut, what it has not read yet is copied aside before it changes
 * (graph_cut.h); the lists of new records need no copy, since the cut knows them without links. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/prefetch.h"
#include "index/graph_int.h"

#define PREFETCHED 512 /* bytes of a row; the rest follows by itself */
#define CLEARLY 1.05f /* times; inner products have no ratio to speak of */

/* ---- choosing ---- */

static inline bool key_before(const struct graph_view *v, uint64_t a, uint64_t b)
{
    if (a >> 32 != b >> 32)
        return a >> 32 < b >> 32;
    return born_of(view_born(v, key_slot(a))) < born_of(view_born(v, key_slot(b)));
}

void link_sort(const struct graph_view *v, uint64_t *keys, size_t n)
{
    for (size_t gap = n / 2 > 40 ? 40 : 1; gap > 0; gap = gap > 13  ? 13
                                                          : gap > 4 ? 4
                                                          : gap > 1 ? 1
                                                                    : 0)
        for (size_t i = gap; i < n; i++) {
            uint64_t key = keys[i];
            size_t j = i;
            for (; j >= gap && key_before(v, key, keys[j - gap]); j -= gap)
                keys[j] = keys[j - gap];
            keys[j] = key;
        }
}

/* Is some chosen slot clearly nearer to the candidate than `d`, its distance from the record? */
static bool occluded(const struct graph *g, const struct graph_view *v, struct searcher *s,
                     uint32_t candidate, float d, const void **chosen, uint32_t n)
{
    float distance[4], clear = g->shape.codec.metric == VEC_IP ? 1 : CLEARLY;
    vec_query_from_row(&g->shape.codec, view_row(v, candidate, g->shape.codec.row_bytes),
                       &s->other);
    for (uint32_t k = 0; k < n; k += 4) {
        uint32_t block = n - k < 4 ? n - k : 4;
        vec_distances(&g->shape.codec, &s->other, chosen + k, block, distance);
        for (uint32_t i = 0; i < block; i++)
            if (distance[i] * clear < d)
                return true;
    }
    return false;
}

uint32_t link_choose(const struct graph *g, const struct graph_view *v, struct searcher *s,
                     const uint64_t *candidates, size_t n, size_t forced, uint32_t max,
                     uint32_t *out, float *outd)
{
    size_t row_bytes = g->shape.codec.row_bytes;
    const void **chosen = s->rows;
    uint32_t nout = 0;
    for (size_t i = 0; i < n && nout < max; i++) {
        uint32_t slot = key_slot(candidates[i]);
        float d = distance_of_key(candidates[i]);
        if (i + 1 < n)
            prefetch_bytes(view_row(v, key_slot(candidates[i + 1]), row_bytes),
                           row_bytes < PREFETCHED ? row_bytes : PREFETCHED);
        if (i >= forced && nout && occluded(g, v, s, slot, d, chosen, nout))
            continue;
        chosen[nout] = view_row(v, slot, row_bytes);
        out[nout] = slot;
        outd[nout++] = d;
    }
    return nout;
}

/* ---- a member of the batch ---- */

static void write_new_list(struct link_job *job, struct job_worker *w, uint32_t slot, int level,
                           const uint32_t *out, uint32_t n)
{
    const struct graph_view *v = job->view;
    _Atomic uint32_t *links = view_links_at(v, slot, level, job->g->shape.m);
    uint64_t born = born_of(view_born(v, slot));
    for (uint32_t i = 0; i < n; i++) {
        atomic_store_explicit(&links[i], out[i], memory_order_release);
        w->digest += digest_link(born, level, born_of(view_born(v, out[i])));
    }
    if (n < links_max(job->g->shape.m, level))
        atomic_store_explicit(&links[n], SLOT_NONE, memory_order_release);
}

/* Distances from the query to the members before `unit`, into s->top as candidates. */
static void compare_members(struct link_job *job, struct searcher *s, uint32_t unit)
{
    size_t row_bytes = job->g->shape.codec.row_bytes;
    for (uint32_t j = 0; j < unit; j++)
        s->rows[j] = view_row(job->view, job->members[j], row_bytes);
    if (unit)
        vec_distances(&job->g->shape.codec, &s->query, s->rows, unit, s->distances);
    for (uint32_t j = 0; j < unit; j++)
        s->top[j].distance = s->distances[j];
}

void link_member(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t unit)
{
    const struct graph *g = job->g;
    const struct graph_view *v = job->view;
    uint32_t slot = job->members[unit], m = g->shape.m, efc = g->options.ef_construction;
    int level = view_level(v, slot);
    uint32_t *out = w->lists;
    float outd_fixed[64], *outd = outd_fixed;
    job_reserve(job, s, efc + BATCH_SIZE + 2 * (size_t)m, BATCH_SIZE);
    if (w->lists_cap < m) {
        w->lists = out = mem_realloc(w->lists, m * sizeof(*out));
        w->lists_cap = m;
    }
    if (m > 64)
        outd = mem_alloc(m * sizeof(*outd));
    vec_query_from_row(&g->shape.codec, view_row(v, slot, g->shape.codec.row_bytes), &s->query);
    compare_members(job, s, unit);
    uint64_t nearest = 0; /* of the level above */
    bool descended = false;
    for (int l = level; l >= 0; l--) {
        s->nbeam = 0;
        if (l <= job->entry_level) {
            if (descended) {
                searcher_visit(s, key_slot(nearest));
                beam_insert(v, s, nearest, efc);
            } else {
                beam_descend(g, v, s, job->entry, job->entry_level, l);
                descended = true;
            }
            beam_search(g, v, s, l, efc, NULL, false);
            searcher_forget(s);
            nearest = s->beam[0] & ~KEY_EXPANDED;
        }
        for (uint32_t j = 0; j < unit; j++)
            if (view_level(v, job->members[j]) >= l)
                beam_insert(v, s, key_make(s->top[j].distance, job->members[j]), efc);
        uint32_t n = link_choose(g, v, s, s->beam, s->nbeam, 0, m, out, outd);
        write_new_list(job, w, slot, l, out, n);
        for (uint32_t i = 0; i < n; i++)
            job_edge(w, &(struct edge){out[i], slot, outd[i], (uint32_t)l, unit});
    }
    w->digest += digest_node(born_of(view_born(v, slot)), level);
    if (outd != outd_fixed)
        mem_free(outd);
}

/* ---- reverse links ---- */

static int compare_edges(const void *x, const void *y)
{
    const struct edge *a = x, *b = y;
    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    if (a->target != b->target)
        return a->target < b->target ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static void merge_part(struct link_job *job, struct job_worker *w, uint32_t part)
{
    struct edges *all = &w->merged;
    size_t n = 0;
    for (unsigned i = 0; i < job->nworkers; i++)
        n += job->workers[i].parts[part].n;
    if (n > all->cap) {
        job_block_free(w, all->e); /* nothing of it is needed */
        all->cap = n + n / 4;
        all->e = job_block(w, NULL, all->cap * sizeof(*all->e));
    }
    all->n = 0;
    for (unsigned i = 0; i < job->nworkers; i++) {
        const struct edges *list = &job->workers[i].parts[part];
        if (list->n)
            memcpy(all->e + all->n, list->e, list->n * sizeof(*all->e));
        all->n += list->n;
    }
    if (all->n > 1)
        qsort(all->e, all->n, sizeof(*all->e), compare_edges);
}

/* Puts `n` chosen links in place of the list's `old` ones, following the digest. */
static void replace_list(struct link_job *job, struct job_worker *w, uint32_t slot, int level,
                         uint32_t old, const uint32_t *out, uint32_t n)
{
    const struct graph_view *v = job->view;
    uint32_t max = links_max(job->g->shape.m, level);
    _Atomic uint32_t *links = view_links_at(v, slot, level, job->g->shape.m);
    uint64_t born = born_of(view_born(v, slot));
    if (job->cut)
        cut_guard(job->cut, v, slot, level);
    for (uint32_t i = 0; i < old; i++)
        w->digest -= digest_link(born, level, born_of(view_born(v, link_load(links, i))));
    for (uint32_t i = 0; i < n; i++) {
        atomic_store_explicit(&links[i], out[i], memory_order_release);
        w->digest += digest_link(born, level, born_of(view_born(v, out[i])));
    }
    for (uint32_t i = n; i < max && (i < old || i == n); i++)
        atomic_store_explicit(&links[i], SLOT_NONE, memory_order_release);
}

static uint32_t count_links(const _Atomic uint32_t *links, uint32_t max)
{
    uint32_t n = 0;
    while (n < max && link_load(links, n) != SLOT_NONE)
        n++;
    return n;
}

static void ensure_sorted(struct searcher *s, size_t n)
{
    if (n > s->sorted_cap) {
        s->sorted = job_memory(s->sorted, 2 * n * sizeof(*s->sorted));
        s->sorted_cap = 2 * n;
    }
}

/* The target's list is full: it chooses among its links and the sources. */
static void choose_anew(struct link_job *job, struct job_worker *w, struct searcher *s,
                        const struct edge *e, size_t n, uint32_t have)
{
    const struct graph *g = job->g;
    const struct graph_view *v = job->view;
    uint32_t slot = e->target, max = links_max(g->shape.m, (int)e->level);
    size_t row_bytes = g->shape.codec.row_bytes;
    const _Atomic uint32_t *links = view_links_at(v, slot, (int)e->level, g->shape.m);
    ensure_sorted(s, have + n);
    for (uint32_t i = 0; i < have; i++) {
        s->slots[i] = link_load(links, i);
        s->rows[i] = view_row(v, s->slots[i], row_bytes);
        prefetch_bytes(s->rows[i], row_bytes < PREFETCHED ? row_bytes : PREFETCHED);
    }
    vec_query_from_row(&g->shape.codec, view_row(v, slot, row_bytes), &s->query);
    vec_distances(&g->shape.codec, &s->query, s->rows, have, s->distances);
    for (uint32_t i = 0; i < have; i++)
        s->sorted[i] = key_make(s->distances[i], s->slots[i]);
    for (size_t i = 0; i < n; i++)
        s->sorted[have + i] = key_make(e[i].distance, e[i].source);
    link_sort(v, s->sorted, have + n);
    uint32_t out_fixed[64], *out = out_fixed;
    float outd_fixed[64], *outd = outd_fixed;
    if (max > 64) {
        out = mem_alloc(max * sizeof(*out));
        outd = mem_alloc(max * sizeof(*outd));
    }
    uint32_t chosen = link_choose(g, v, s, s->sorted, have + n, 0, max, out, outd);
    replace_list(job, w, slot, (int)e->level, have, out, chosen);
    if (out != out_fixed) {
        mem_free(out);
        mem_free(outd);
    }
}

/* Drops edges that the target's list has already (mending: a link may go both ways before). */
static size_t drop_known(struct edge *e, size_t n, const _Atomic uint32_t *links, uint32_t have)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool known = i > 0 && kept > 0 && e[kept - 1].source == e[i].source;
        for (uint32_t k = 0; k < have && !known; k++)
            known = link_load(links, k) == e[i].source;
        if (!known)
            e[kept++] = e[i];
    }
    return kept;
}

void link_reverse(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t part,
                  bool mending)
{
    const struct graph *g = job->g;
    const struct graph_view *v = job->view;
    job_reserve(job, s, 64, 0);
    merge_part(job, w, part);
    struct edge *e = w->merged.e;
    size_t total = w->merged.n;
    for (size_t at = 0, end; at < total; at = end) {
        for (end = at + 1;
             end < total && e[end].target == e[at].target && e[end].level == e[at].level; end++)
            ;
        if (end < total)
            prefetch_bytes((const uint32_t *)view_links(v, e[end].target, g->shape.m),
                           2 * g->shape.m * sizeof(uint32_t));
        int level = (int)e[at].level;
        uint32_t max = links_max(g->shape.m, level), target = e[at].target;
        _Atomic uint32_t *links = view_links_at(v, target, level, g->shape.m);
        uint32_t have = count_links(links, max);
        size_t n = end - at;
        if (mending)
            n = drop_known(e + at, n, links, have);
        if (have + n > max) {
            choose_anew(job, w, s, e + at, n, have);
            continue;
        }
        uint64_t born = born_of(view_born(v, target));
        if (job->cut)
            cut_guard(job->cut, v, target, level);
        if (have + n < max) /* the new end first: a reader sees a whole list at any time */
            atomic_store_explicit(&links[have + n], SLOT_NONE, memory_order_release);
        for (size_t i = n; i-- > 0;) {
            atomic_store_explicit(&links[have + i], e[at + i].source, memory_order_release);
            w->digest += digest_link(born, level, born_of(view_born(v, e[at + i].source)));
        }
    }
}

void link_write(struct link_job *job, struct job_worker *w)
{
    for (size_t at = 0; at < w->nlists;) {
        uint32_t slot = w->lists[at], n = w->lists[at + 2];
        int level = (int)w->lists[at + 1];
        const _Atomic uint32_t *links = view_links_at(job->view, slot, level, job->g->shape.m);
        replace_list(job, w, slot, level, count_links(links, links_max(job->g->shape.m, level)),
                     w->lists + at + 3, n);
        at += 3 + n;
    }
}
