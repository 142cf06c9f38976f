/* Searching a partition: which plan, the beam or the scan, then the exact order of the best.
 *
 *   scan         every visible record, in chunks: a partition without a graph, EXACT, or an ef so large that the graph
 *                would measure as many
 *   graph        beam search from the entry point, beside an exact scan of the batches not linked yet; the
 *                scanned ones enter the beam first and are marked visited, so nothing is found
 * twice
 *
 * Both run on codes; the best `rerank` are then measured on the originals, so recall is that of
 * full precision. What the search must not see (born later, died before) is dropped at the end;
 * only if that leaves too few is the beam run again with hidden records taking no place. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "index/graph_int.h"

#define SCAN_BLOCK 256
#define RANGE_EF   64 /* first beam of a search without a limit on results */
/* A graph search measures about 25 rows at random for each entry of its beam, a scan all of them in
 * order, each in a third of the time; a long sorted beam costs besides (its memmove grows with it). */
#define COST_PER_EF    75
#define COST_LONG_BEAM 200

struct search {
    const struct graph *g;
    const struct graph_view *v;
    struct searcher *s;
    const struct graph_query *q;
    struct graph_result *result;
    struct collector top;
};

static bool stopped(struct search *x)
{
    const struct graph_query *q = x->q;
    if ((q->cancelled && atomic_load_explicit(q->cancelled, memory_order_relaxed)) ||
        (q->deadline_ns && clock_mono_ns() > q->deadline_ns)) {
        x->result->partial = true;
        return true;
    }
    return false;
}

/* ---- exact distances ---- */

static const void *original_at(const struct graph *g, const struct graph_view *v, uint32_t slot)
{
    return view_chunk(v, slot)->originals +
           (size_t)(slot & (CHUNK_SLOTS - 1)) * g->shape.original_bytes;
}

/* s->slots[0..n) measured on their originals (or rows, where there are none) into s->distances. */
static void measure_exactly(struct search *x, size_t n)
{
    const struct columns_shape *shape = &x->g->shape;
    struct searcher *s = x->s;
    float norms[SCAN_BLOCK];
    for (size_t i = 0; i < n; i++) {
        const void *row = view_row(x->v, s->slots[i], shape->codec.row_bytes);
        if (shape->original_bytes) {
            s->rows[i] = original_at(x->g, x->v, s->slots[i]);
            norms[i] = shape->codec.metric == VEC_COSINE ? vec_row_norm(row, shape->codec.type) : 0;
        } else {
            s->rows[i] = row;
        }
    }
    if (shape->original_bytes)
        vec_original_distances(shape->originals, shape->codec.metric, shape->codec.dim, s->vector,
                               x->q->norm, s->rows, norms, n, s->distances);
    else
        vec_distances(&shape->codec, &s->query, s->rows, n, s->distances);
    s->measured += n;
}

static int compare_top(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->born < b->born ? -1 : a->born > b->born;
}

/* Measures s->top[0..ntop) on originals and sorts it again; cuts to what is asked for. */
static void rerank(struct search *x)
{
    struct searcher *s = x->s;
    const struct columns_shape *shape = &x->g->shape;
    if (shape->original_bytes) {
        for (size_t at = 0; at < s->ntop; at += SCAN_BLOCK) {
            size_t n = s->ntop - at < SCAN_BLOCK ? s->ntop - at : SCAN_BLOCK;
            for (size_t i = 0; i < n; i++) {
                s->slots[i] = s->top[at + i].slot;
                const char *p = original_at(x->g, x->v, s->slots[i]);
                for (size_t line = 0; line < shape->original_bytes && line < 512; line += 64)
                    __builtin_prefetch(p + line, 0, 3);
            }
            measure_exactly(x, n);
            for (size_t i = 0; i < n; i++)
                s->top[at + i].distance = distance_sane(s->distances[i]);
        }
        qsort(s->top, s->ntop, sizeof(*s->top), compare_top);
    }
    if (x->q->bounded)
        while (s->ntop && s->top[s->ntop - 1].distance > x->q->radius)
            s->ntop--;
    if (x->q->keep && s->ntop > x->q->keep)
        s->ntop = x->q->keep;
}

static size_t rerank_count(const struct search *x)
{
    size_t keep = x->q->keep;
    if (!x->g->shape.original_bytes)
        return keep;
    return vec_rerank_count(x->g->shape.codec.type, keep);
}

/* ---- scans ---- */

static enum vs_status scan_block(struct search *x, size_t n, const uint64_t *born, bool exact)
{
    struct searcher *s = x->s;
    if (exact) {
        measure_exactly(x, n);
    } else {
        size_t row_bytes = x->g->shape.codec.row_bytes;
        for (size_t i = 0; i < n; i++)
            s->rows[i] = view_row(x->v, s->slots[i], row_bytes);
        vec_distances(&x->g->shape.codec, &s->query, s->rows, n, s->distances);
        s->measured += n;
    }
    for (size_t i = 0; i < n; i++) {
        if (exact && x->q->bounded && s->distances[i] > x->q->radius)
            continue;
        if (!collector_add(&x->top, s->distances[i], s->slots[i], born[i]))
            return VS_NOMEM;
    }
    return VS_OK;
}

static enum vs_status scan_once(struct search *x, bool exact, size_t keep)
{
    struct searcher *s = x->s;
    uint64_t born[SCAN_BLOCK];
    size_t n = 0;
    enum vs_status status = VS_OK;
    if (!collector_init(&x->top, s, keep))
        return VS_NOMEM;
    for (uint32_t c = 0; c < x->v->nchunks && !stopped(x); c++) {
        const struct chunk *chunk = x->v->chunks[c];
        for (uint32_t i = 0; i < chunk->slots; i++) {
            uint64_t word = atomic_load_explicit(&chunk->born[i], memory_order_acquire);
            if (!born_visible(word, x->q->as_of))
                continue;
            born[n] = born_of(word);
            s->slots[n++] = c << CHUNK_BITS | i;
            if (n == SCAN_BLOCK) {
                if ((status = scan_block(x, n, born, exact)) != VS_OK)
                    return status;
                n = 0;
            }
        }
    }
    if (n && (status = scan_block(x, n, born, exact)) != VS_OK)
        return status;
    collector_finish(&x->top);
    return VS_OK;
}

/* While a compaction moves records, a scan meets some of them twice: it then keeps twice as many,
 * and begins again when that began under its feet. */
static enum vs_status scan_all(struct search *x, bool exact)
{
    size_t keep = exact ? x->q->keep : rerank_count(x);
    enum vs_status status;
    bool doubled;
    x->result->plan = "scan";
    do {
        doubled = atomic_load_explicit(&x->g->doubled, memory_order_acquire);
        status = scan_once(x, exact, keep ? (doubled ? 2 * keep : keep) : SLOT_MAX);
        if (status != VS_OK)
            return status;
    } while (!doubled && atomic_load_explicit(&x->g->doubled, memory_order_acquire));
    if (exact) {
        if (keep && x->s->ntop > keep)
            x->s->ntop = keep;
    } else {
        rerank(x);
    }
    return VS_OK;
}

/* ---- the graph ---- */

/* The batches not linked yet, measured one and all, enter the beam. Marked expanded: their links
 * are being written. */
static bool scan_batches(struct search *x, size_t ef)
{
    const struct graph_view *v = x->v;
    struct searcher *s = x->s;
    size_t row_bytes = x->g->shape.codec.row_bytes;
    bool any = false;
    for (uint32_t b = 0; b < v->nbatches; b++) {
        const struct batch *batch = v->batches[b];
        uint32_t count = atomic_load_explicit(&batch->count, memory_order_acquire), n = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t slot = atomic_load_explicit(
                &batch->slots[i], memory_order_acquire); /* a compaction may just have moved it */
            if (slot >= v->slots || !born_visible(view_born(v, slot), x->q->as_of) ||
                !searcher_visit(s, slot))
                continue;
            s->slots[n] = slot;
            s->rows[n++] = view_row(v, slot, row_bytes);
        }
        if (!n)
            continue;
        any = true;
        vec_distances(&x->g->shape.codec, &s->query, s->rows, n, s->distances);
        s->measured += n;
        for (uint32_t i = 0; i < n; i++)
            beam_insert(v, s, key_make(s->distances[i], s->slots[i]) | KEY_EXPANDED, ef);
    }
    return any;
}

static void graph_beam(struct search *x, size_t ef, bool hide)
{
    const struct graph_view *v = x->v;
    struct searcher *s = x->s;
    bool stop = false;
    struct beam_limits limits = {x->q->deadline_ns, x->q->cancelled, x->q->as_of, &stop};
    s->nbeam = 0;
    x->result->plan = scan_batches(x, ef) ? "graph+scan" : "graph";
    float d;
    uint32_t start = beam_descend(x->g, v, s, v->entry, v->entry_level, 0, &d);
    if (searcher_visit(s, start))
        beam_insert(v, s, key_make(d, start), ef);
    beam_search(x->g, v, s, 0, ef, &limits, hide);
    searcher_forget(s);
    x->result->partial |= stop;
}

/* Takes the best `want` visible of the beam into s->top; false when hidden ones have left too few. */
static bool take_beam(struct search *x, size_t want, size_t ef, bool hide)
{
    struct searcher *s = x->s;
    size_t hidden = 0;
    s->ntop = 0;
    for (size_t i = 0; i < s->nbeam && s->ntop < want; i++) {
        uint32_t slot = key_slot(s->beam[i]);
        uint64_t word = view_born(x->v, slot);
        if (!born_visible(word, x->q->as_of)) {
            hidden++;
            continue;
        }
        s->top[s->ntop++] = (struct candidate){distance_of_key(s->beam[i]), slot, born_of(word)};
    }
    return hide || x->result->partial || hidden == 0 || s->ntop >= want || s->nbeam < ef;
}

static enum vs_status graph_once(struct search *x, size_t ef, size_t want)
{
    struct searcher *s = x->s;
    if (!searcher_reserve(s, &x->g->shape, x->v->slots, ef + 64) ||
        !searcher_reserve_top(s, ef + 64))
        return VS_NOMEM;
    if (want > ef)
        want = ef;
    graph_beam(x, ef, false);
    if (!take_beam(x, want, ef, false)) {
        graph_beam(x, ef, true);
        take_beam(x, want, ef, true);
    }
    rerank(x);
    return VS_OK;
}

static bool scan_is_cheaper(const struct graph_view *v, size_t ef)
{
    double cost = (double)ef * (COST_PER_EF + (double)ef / COST_LONG_BEAM * 4);
    return cost > (double)v->records;
}

/* All within the radius: beams of twice the size until half of one lies outside. */
static enum vs_status graph_range(struct search *x)
{
    size_t ef = x->q->ef > RANGE_EF ? x->q->ef : RANGE_EF;
    for (;; ef *= 2) {
        if (scan_is_cheaper(x->v, ef))
            return scan_all(x, true);
        enum vs_status status = graph_once(x, ef, ef);
        if (status != VS_OK || x->result->partial)
            return status;
        if (x->s->ntop <= ef / 2)
            return VS_OK;
    }
}

enum vs_status graph_search(const struct graph *g, const struct graph_view *v, struct searcher *s,
                            const struct graph_query *query, struct graph_result *result)
{
    struct search x = {.g = g, .v = v, .s = s, .q = query, .result = result};
    s->measured = s->expanded = 0;
    s->ntop = 0;
    result->partial = false;
    result->plan = "scan";
    if (!searcher_reserve(s, &g->shape, v->slots, 64))
        return VS_NOMEM;
    if (!v->nchunks)
        return VS_OK;
    memcpy(s->vector, query->vector, g->shape.codec.dim * sizeof(float));
    vec_query_from_vector(&g->shape.codec, s->vector, s->tmp, &s->query);
    size_t ef = query->ef > query->keep ? query->ef : query->keep;
    enum vs_status status;
    if (query->exact)
        status = scan_all(&x, true);
    else if (v->scanned || v->entry == SLOT_NONE)
        status = scan_all(&x, query->keep == 0);
    else if (query->keep == 0)
        status = graph_range(&x);
    else if (scan_is_cheaper(v, ef))
        status = scan_all(&x, false);
    else
        status = graph_once(&x, ef, rerank_count(&x));
    return status;
}
