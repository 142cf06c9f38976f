/* Repair: taking dead nodes out of the graph.
 *
 * [gather] Every living node with dead links keeps its living ones and gets, as candidates for the
 * free places, the living neighbours of its dead
 *          neighbours; HNSW's heuristic chooses among them. Its new neighbours are asked to link
 * back.
 * [again]  A node that lost more than half of its links on level 0 searches the mended graph anew, from the entry point with
 *          the beam of an insertion: where a whole region died, local mending finds too little.
 *
 * Keeping all living links, linking back and searching again were each found to be worth it:
 * without them recall falls with every round of deletions. Nodes are gathered from the graph as it
 * stood, so their order does not matter. */
#include <string.h>

#include "base/mem.h"
#include "base/prefetch.h"
#include "index/graph_int.h"

static bool is_dead(const struct link_job *job, uint32_t slot)
{
    return job->dead[slot / 64] >> (slot & 63) & 1;
}

static void measure(const struct link_job *job, struct searcher *s, const uint32_t *slots, size_t n,
                    uint64_t *keys)
{
    const struct vec_codec *codec = &job->g->shape.codec;
    for (size_t at = 0; at < n; at += 64) {
        size_t block = n - at < 64 ? n - at : 64;
        for (size_t i = 0; i < block; i++) {
            s->rows[i] = view_row(job->view, slots[at + i], codec->row_bytes);
            prefetch_bytes(s->rows[i], 64);
        }
        vec_distances(codec, &s->query, s->rows, block, s->distances);
        for (size_t i = 0; i < block; i++)
            keys[at + i] = key_make(s->distances[i], slots[at + i]);
    }
}

/* A node's new list on one level, from `keep` kept candidates (sorted) and others (sorted) in
 * s->sorted[0..n). */
static void settle_list(struct link_job *job, struct job_worker *w, struct searcher *s,
                        uint32_t slot, int level, size_t n, size_t keep, const uint32_t *old,
                        uint32_t nold)
{
    uint32_t max = links_max(job->g->shape.m, level);
    uint32_t *out = mem_alloc(max * (sizeof(*out) + sizeof(float)));
    float *outd = (float *)(out + max);
    uint32_t chosen = link_choose(job->g, job->view, s, s->sorted, n, keep, max, out, outd);
    job_list(w, slot, level, out, chosen);
    uint64_t born = born_of(view_born(job->view, slot));
    for (uint32_t i = 0; i < chosen; i++) {
        bool known = false;
        for (uint32_t k = 0; k < nold && !known; k++)
            known = old[k] == out[i];
        if (!known)
            job_edge(w, &(struct edge){out[i], slot, outd[i], (uint32_t)level, born});
    }
    mem_free(out);
}

static void ensure_room(const struct link_job *job, struct searcher *s, size_t n)
{
    if (n > s->sorted_cap) {
        s->sorted = job_memory(s->sorted, n * sizeof(*s->sorted));
        s->sorted_cap = n;
    }
    job_reserve(job, s, 0, n);
}

static uint32_t read_links(const struct link_job *job, uint32_t slot, int level, uint32_t *out)
{
    uint32_t max = links_max(job->g->shape.m, level), n = 0;
    const _Atomic uint32_t *links = view_links_at(job->view, slot, level, job->g->shape.m);
    while (n < max && (out[n] = link_load(links, n)) != SLOT_NONE)
        n++;
    return n;
}

static void mend(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t slot,
                 int level)
{
    uint32_t max = links_max(job->g->shape.m, level), dead = 0;
    uint32_t *old = mem_alloc(2 * max * sizeof(*old)), *theirs = old + max;
    uint32_t nold = read_links(job, slot, level, old);
    for (uint32_t i = 0; i < nold; i++)
        dead += is_dead(job, old[i]);
    if (!dead) {
        mem_free(old);
        return;
    }
    size_t most = (size_t)max * (max + 1);
    ensure_room(job, s,
                most < job->view->slots ? most : job->view->slots); /* none is found twice */
    uint32_t *found = (uint32_t *)s->top; /* slots of candidates, kept ones first */
    size_t n = 0, keep;
    searcher_visit(s, slot);
    for (uint32_t i = 0; i < nold; i++)
        if (!is_dead(job, old[i]) && searcher_visit(s, old[i]))
            found[n++] = old[i];
    keep = n;
    for (uint32_t i = 0; i < nold; i++) {
        if (!is_dead(job, old[i]))
            continue;
        uint32_t ntheirs = read_links(job, old[i], level, theirs);
        for (uint32_t k = 0; k < ntheirs; k++)
            if (!is_dead(job, theirs[k]) && searcher_visit(s, theirs[k]))
                found[n++] = theirs[k];
    }
    searcher_forget(s);
    vec_query_from_row(&job->g->shape.codec,
                       view_row(job->view, slot, job->g->shape.codec.row_bytes), &s->query);
    measure(job, s, found, n, s->sorted);
    link_sort(job->view, s->sorted, keep);
    link_sort(job->view, s->sorted + keep, n - keep);
    settle_list(job, w, s, slot, level, n, keep, old, nold);
    if (level == 0 && 2 * dead > nold)
        job_flag(w, slot);
    mem_free(old);
}

/* A dead node leaves: its part of the digest goes. */
static void forget_node(struct link_job *job, struct job_worker *w, uint32_t slot)
{
    const struct graph_view *v = job->view;
    uint64_t born = born_of(view_born(v, slot));
    int level = view_level(v, slot);
    w->digest -= digest_node(born, level);
    for (int l = 0; l <= level; l++) {
        const _Atomic uint32_t *links = view_links_at(v, slot, l, job->g->shape.m);
        uint32_t max = links_max(job->g->shape.m, l), to;
        for (uint32_t i = 0; i < max && (to = link_load(links, i)) != SLOT_NONE; i++)
            w->digest -= digest_link(born, l, born_of(view_born(v, to)));
    }
}

static void consider_entry(const struct link_job *job, struct job_worker *w, uint32_t slot,
                           uint64_t born)
{
    int level = view_level(job->view, slot);
    if (level > w->entry_level || (level == w->entry_level && born < w->entry_born)) {
        w->entry = slot;
        w->entry_level = level;
        w->entry_born = born;
    }
}

void repair_gather(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t chunk)
{
    const struct graph *g = job->g;
    const struct graph_view *v = job->view;
    job_reserve(job, s, 64, 0);
    for (uint32_t i = 0; i < v->chunks[chunk]->slots; i++) {
        uint32_t slot = chunk << CHUNK_BITS | i;
        uint64_t word = view_born(v, slot), born;
        if (!word)
            continue;
        if (is_dead(job, slot)) {
            forget_node(job, w, slot);
            continue;
        }
        born = born_of(word);
        if (born > g->closed_sequence || !born_visible(word, job->batch->sequence))
            continue; /* not linked yet, or gone before */
        consider_entry(job, w, slot, born);
        int level = view_level(v, slot);
        for (int l = 0; l <= level; l++)
            mend(job, w, s, slot, l);
    }
}

void repair_again(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t unit)
{
    const struct graph *g = job->g;
    const struct graph_view *v = job->view;
    uint32_t slot = job->again[unit], max = links_max(g->shape.m, 0),
             efc = g->options.ef_construction;
    job_reserve(job, s, efc + 64, 0);
    ensure_room(job, s, efc + max);
    vec_query_from_row(&g->shape.codec, view_row(v, slot, g->shape.codec.row_bytes), &s->query);
    beam_descend(g, v, s, job->entry, job->entry_level, 0);
    beam_search(g, v, s, 0, efc, NULL, false);
    searcher_forget(s);
    uint32_t *old = mem_alloc(max * sizeof(*old));
    uint32_t nold = read_links(job, slot, 0, old);
    size_t n = 0;
    searcher_visit(s, slot);
    for (size_t i = 0; i < s->nbeam; i++)
        if (searcher_visit(s, key_slot(s->beam[i])))
            s->sorted[n++] = s->beam[i] & ~(KEY_EXPANDED | KEY_HIDDEN);
    uint32_t *found = (uint32_t *)s->top;
    size_t more = 0;
    for (uint32_t i = 0; i < nold; i++)
        if (searcher_visit(s, old[i]))
            found[more++] = old[i];
    searcher_forget(s);
    measure(job, s, found, more, s->sorted + n);
    link_sort(v, s->sorted, n + more);
    settle_list(job, w, s, slot, 0, n + more, 0, old, nold);
    mem_free(old);
}
