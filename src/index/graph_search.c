/* Searching a partition: which plan, the beam or the scan, then the exact order of the best.
 *
 *   scan         every visible record, in chunks: a partition without a graph, EXACT, or an ef so large that the graph
 *                would measure as many
 *   graph        beam search from the entry point, then an exact scan of the batches not linked yet, but for
 *                what the beam has visited
 *
 * Both run on codes; the best `rerank` are then measured on the originals, so recall is that of
 * full precision. What the search must not see (born later, died before) is dropped at the end;
 * only if that leaves too few is the beam run again with hidden records taking no place.
 *
 * In a view with columns that have not been checked (graph_touch.h) each chunk is, before it is read.
 * What a damaged one holds does no harm, since links past the end are skipped anyway, and nothing that
 * was found leaves: the last thing a search asks is whether all was sound. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/prefetch.h"
#include "index/graph_int.h"
#include "index/graph_touch.h"

#define SCAN_BLOCK        256
#define SCAN_AHEAD        8    /* records whose attributes are fetched before they are asked about */
#define RERANK_BLOCK      4    /* originals measured at a time, while the next are fetched */
#define RERANK_FIRST      10   /* candidates that are measured whatever their distance, */
#define RERANK_ERROR      2.0f /* and times the largest error of a code among these that one behind them is given */
#define USERS_AHEAD       16   /* results whose users are fetched ahead */
#define SORT_BY_INSERTION 64
#define RANGE_EF   64 /* first beam of a search without a limit on results */
/* A graph search measures about 25 rows at random for each entry of its beam, a scan all of them in
 * order, each in a third of the time; a long sorted beam costs besides (its memmove grows with it). */
#define COST_PER_EF    75
#define COST_LONG_BEAM 200
/* With a filter, in the same unit: what a node expanded takes, and what a record scanned does. */
#define COST_FILTERED_STEP 175
#define COST_FILTERED_SCAN 4
#define ASKS_PER_CHECK 64 /* records that a filter is asked about between looks at clock and cancellation */

struct search {
    const struct graph *g;
    const struct graph_view *v;
    struct searcher *s;
    const struct graph_query *q;
    struct graph_result *result;
    struct collector top;
    bool spent;                      /* the filter's effort */
};

/* Before columns of a slot's chunk are read. */
static inline void ready(const struct search *x, uint32_t slot, uint8_t columns)
{
    if (__builtin_expect(x->v->unchecked, 0))
        touch(x->g, view_chunk(x->v, slot), columns);
}

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
    return chunk_originals(view_chunk(v, slot)) +
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
        vec_original_distances(shape->originals, shape->codec.metric, shape->codec.dim, x->q->vector,
                               x->q->norm, s->rows, norms, n, s->distances);
    else
        vec_distances(&shape->codec, &s->query, s->rows, n, s->distances);
    s->measured += n;
}

static inline bool top_before(const struct candidate *a, const struct candidate *b)
{
    return a->distance != b->distance ? a->distance < b->distance : a->born < b->born;
}

static int compare_top(const void *x, const void *y)
{
    return top_before(x, y) ? -1 : top_before(y, x);
}

/* Sorts what is nearly sorted: by insertion, unless it is long. */
static void sort_top(struct candidate *top, size_t n)
{
    if (n > SORT_BY_INSERTION) {
        qsort(top, n, sizeof(*top), compare_top);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct candidate c = top[i];
        size_t j = i;
        for (; j > 0 && top_before(&c, &top[j - 1]); j--)
            top[j] = top[j - 1];
        top[j] = c;
    }
}

static void prefetch_originals(const struct search *x, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        prefetch_bytes(original_at(x->g, x->v, x->s->top[i].slot), x->g->shape.original_bytes);
}

/* Measures s->top[from..to) on originals; the largest error of a code's distance among them. */
static float measure_top(struct search *x, size_t from, size_t to)
{
    struct searcher *s = x->s;
    float error = 0;
    prefetch_originals(x, from, to - from < RERANK_BLOCK ? to : from + RERANK_BLOCK);
    for (size_t at = from; at < to; at += RERANK_BLOCK) {
        size_t end = to - at < RERANK_BLOCK ? to : at + RERANK_BLOCK;
        prefetch_originals(x, end, to - end < RERANK_BLOCK ? to : end + RERANK_BLOCK);
        for (size_t i = at; i < end; i++) {
            s->slots[i - at] = s->top[i].slot;
            ready(x, s->top[i].slot, COLUMN_ORIGINALS);
        }
        measure_exactly(x, end - at);
        for (size_t i = at; i < end; i++) {
            float exact = distance_sane(s->distances[i - at]);
            float off = fabsf(exact - s->top[i].distance);
            error = off > error ? off : error;
            s->top[i].distance = exact;
        }
    }
    return error;
}

/* How many of s->top[measured..), sorted by their codes' distances, may yet be among the best `keep`: those that would be if
 * their code erred RERANK_ERROR times as much as the worst seen. */
static size_t within_error(const struct search *x, size_t measured, size_t keep, float error)
{
    const struct searcher *s = x->s;
    float bound = s->top[keep - 1].distance + RERANK_ERROR * error;
    size_t end = measured;
    while (end < s->ntop && !(s->top[end].distance > bound))
        end++;
    return end;
}

/* Measures the candidates s->top[0..ntop), sorted by their codes' distances, on originals, and sorts them again; cuts to what
 * is asked for. The best come first: behind them only those near the border are measured. */
static void rerank(struct search *x)
{
    struct searcher *s = x->s;
    size_t keep = x->q->keep;
    if (x->g->shape.original_bytes && s->ntop) {
        size_t first = keep > RERANK_FIRST ? keep : RERANK_FIRST;
        first = keep && first < s->ntop ? first : s->ntop;
        float error = measure_top(x, 0, first);
        sort_top(s->top, first);
        if (first < s->ntop) {
            s->ntop = within_error(x, first, keep, error);
            if (first < s->ntop)
                measure_top(x, first, s->ntop);
            sort_top(s->top, s->ntop);
        }
    }
    if (x->q->bounded)
        while (s->ntop && s->top[s->ntop - 1].distance > x->q->radius)
            s->ntop--;
    if (keep && s->ntop > keep)
        s->ntop = keep;
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

/* Does the filter let a scanned record pass? Those that come after it are fetched. */
static inline bool passes(struct search *x, const struct chunk *chunk, uint32_t c, uint32_t i)
{
    uint32_t slot = c << CHUNK_BITS | i;
    if (i + SCAN_AHEAD < chunk->slots) {
        const char *extra = graph_view_extra(x->v, slot + SCAN_AHEAD);
        prefetch_bytes(extra, 128);
    }
    return filter_asks(x->q->filter, x->v, x->s, slot);
}

static inline __attribute__((always_inline)) enum vs_status
scan_chunks(struct search *x, bool exact, size_t keep, const bool filtered)
{
    struct searcher *s = x->s;
    uint64_t born[SCAN_BLOCK];
    size_t n = 0;
    enum vs_status status = VS_OK;
    if (!collector_init(&x->top, s, keep))
        return VS_NOMEM;
    for (uint32_t c = 0; c < x->v->nchunks && !stopped(x); c++) {
        const struct chunk *chunk = x->v->chunks[c];
        ready(x, c << CHUNK_BITS, exact ? COLUMN_ROWS | COLUMN_ORIGINALS : COLUMN_ROWS);
        for (uint32_t i = 0; i < chunk->slots; i++) {
            uint64_t word = atomic_load_explicit(&chunk->born[i], memory_order_acquire);
            if (!born_visible(word, x->q->as_of))
                continue;
            if (filtered && x->q->now_ms && chunk_ended(chunk, i, x->q->now_ms))
                continue;
            if (filtered && x->q->filter && s->examined % ASKS_PER_CHECK == 0 && stopped(x))
                break;
            if (filtered && x->q->filter && !passes(x, chunk, c, i))
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

static enum vs_status scan_once(struct search *x, bool exact, size_t keep)
{
    return x->q->filter || x->q->now_ms ? scan_chunks(x, exact, keep, true) : scan_chunks(x, exact, keep, false);
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

/* Nothing farther enters a beam of at most `cap` entries. */
static float beam_bound(const struct searcher *s, size_t cap)
{
    return s->nbeam < cap ? INFINITY : distance_of_key(s->beam[s->nbeam - 1]);
}

/* The n measured records s->slots into the beam. Linking may have led it to some of them meanwhile. */
static void admit_scanned(struct search *x, size_t n, size_t cap)
{
    struct searcher *s = x->s;
    float bound = beam_bound(s, cap);
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = s->slots[i];
        if (s->distances[i] > bound || !view_visible(x->v, slot, x->q->as_of, x->q->now_ms) ||
            !searcher_visit(s, slot) || (x->q->filter && !filter_asks(x->q->filter, x->v, s, slot)))
            continue;
        beam_insert(x->v, s, key_make(s->distances[i], slot) | KEY_EXPANDED, cap);
        bound = beam_bound(s, cap);
    }
}

/* The batches not linked yet, measured one and all, after the graph's own: so few of them enter the beam, and the others cost
 * no more than their distance. */
static bool scan_batches(struct search *x, size_t ef)
{
    const struct graph_view *v = x->v;
    struct searcher *s = x->s;
    size_t row_bytes = x->g->shape.codec.row_bytes, cap = s->nbeam > ef ? s->nbeam : ef;
    bool any = false;
    for (uint32_t b = 0; b < v->nbatches; b++) {
        const struct batch *batch = v->batches[b];
        uint32_t count = atomic_load_explicit(&batch->count, memory_order_acquire), n = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t slot = atomic_load_explicit(
                &batch->slots[i], memory_order_acquire); /* a compaction may just have moved it */
            if (slot >= v->slots)
                continue;
            ready(x, slot, COLUMN_ROWS);
            s->slots[n] = slot;
            s->rows[n++] = view_row(v, slot, row_bytes);
        }
        if (!n)
            continue;
        any = true;
        vec_distances(&x->g->shape.codec, &s->query, s->rows, n, s->distances);
        s->measured += n;
        admit_scanned(x, n, cap);
    }
    return any;
}

/* The originals that will be read first: on their way while the batches are scanned. */
static void prefetch_front(const struct search *x)
{
    const struct searcher *s = x->s;
    for (size_t i = 0; i < s->nbeam && i < RERANK_BLOCK && x->g->shape.original_bytes; i++)
        prefetch_bytes(original_at(x->g, x->v, key_slot(s->beam[i])), x->g->shape.original_bytes);
}

static void graph_beam(struct search *x, size_t ef, bool hide)
{
    const struct graph_view *v = x->v;
    struct searcher *s = x->s;
    bool stop = false;
    struct beam_limits limits = {x->q->deadline_ns, x->q->cancelled, x->q->as_of, x->q->now_ms, &stop};
    beam_descend(x->g, v, s, v->entry, v->entry_level, 0);
    beam_search(x->g, v, s, 0, ef, &limits, hide);
    prefetch_front(x);
    x->result->plan = scan_batches(x, ef) ? "graph+scan" : "graph";
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
        if (!born_visible(word, x->q->as_of) ||
            (x->q->now_ms && chunk_ended(view_chunk(x->v, slot), slot_place(slot), x->q->now_ms))) {
            hidden++;
            continue;
        }
        s->top[s->ntop++] = (struct candidate){distance_of_key(s->beam[i]), slot, born_of(word)};
    }
    return hide || x->result->partial || hidden == 0 || s->ntop >= want || s->nbeam < ef;
}

/* What the caller asks for next: the pointers that name the best. */
static void prefetch_users(const struct search *x)
{
    const struct searcher *s = x->s;
    for (size_t i = 0; i < s->ntop && i < x->q->keep && i < USERS_AHEAD; i++) {
        uint32_t slot = s->top[i].slot;
        prefetch_bytes((const void *)&view_chunk(x->v, slot)->user[slot_place(slot)], sizeof(void *));
    }
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
    prefetch_users(x);
    rerank(x);
    return VS_OK;
}

/* Expansions of a filtered search that cost as much as a scan. */
static size_t scan_steps(const struct graph_view *v)
{
    return v->records * COST_FILTERED_SCAN / COST_FILTERED_STEP;
}

/* With a filter; *scan: what it lets pass is to be looked for by a scan of all: the graph does not lead to enough of it, or
 * not for less. Unless the effort is bounded by more than there is: then what was found is all. */
static enum vs_status filtered_once(struct search *x, size_t ef, size_t want, bool *scan)
{
    struct searcher *s = x->s;
    const struct graph_view *v = x->v;
    const struct graph_filter *filter = x->q->filter;
    bool bounded = filter->effort && filter->effort < v->records;
    *scan = !bounded && (filter->effort || ef > scan_steps(v));
    if (*scan)
        return VS_OK;
    if (!searcher_reserve(s, &x->g->shape, v->slots, ef + 64) || !searcher_reserve_top(s, ef + 64))
        return VS_NOMEM;
    struct beam_limits limits = {x->q->deadline_ns, x->q->cancelled, x->q->as_of, x->q->now_ms, NULL};
    beam_descend(x->g, v, s, v->entry, v->entry_level, 0);
    enum filtered_end end = beam_filtered(x->g, v, s, ef, &limits, filter, bounded ? 0 : scan_steps(v));
    if (end != FILTERED_GAVE_UP)
        x->result->plan = scan_batches(x, ef) ? "graph+scan" : "graph";
    searcher_forget(s);
    x->result->partial |= end == FILTERED_STOPPED;
    x->spent = end == FILTERED_EFFORT;
    *scan = !bounded && (end == FILTERED_GAVE_UP || (end == FILTERED_ALL && s->nbeam < x->q->keep));
    if (*scan || end == FILTERED_NOMEM)
        return *scan ? VS_OK : VS_NOMEM;
    take_beam(x, want < ef ? want : ef, ef, true);
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
        bool scan = !x->q->filter && scan_is_cheaper(x->v, ef);
        enum vs_status status = VS_OK;
        if (x->q->filter)
            status = filtered_once(x, ef, ef, &scan);
        else if (!scan)
            status = graph_once(x, ef, ef);
        if (status == VS_OK && scan)
            return scan_all(x, true);
        if (status != VS_OK || x->result->partial || x->spent)
            return status;
        if (x->s->ntop <= ef / 2)
            return VS_OK;
    }
}

static enum vs_status graph_filtered(struct search *x, size_t ef)
{
    bool scan;
    enum vs_status status = filtered_once(x, ef, rerank_count(x), &scan);
    return status == VS_OK && scan ? scan_all(x, false) : status;
}

static const char *plan_with_filter(const char *plan)
{
    if (!strcmp(plan, "scan"))
        return "filter+scan";
    return strcmp(plan, "graph") ? "filter+graph+scan" : "filter+graph";
}

enum vs_status graph_search(const struct graph *g, const struct graph_view *v, struct searcher *s,
                            const struct graph_query *query, struct graph_result *result)
{
    struct search x = {.g = g, .v = v, .s = s, .q = query, .result = result};
    s->measured = s->expanded = s->examined = 0;
    s->ntop = 0;
    result->partial = false;
    result->plan = "scan";
    if (!touch_sound(g))
        return VS_CORRUPT;
    if (!searcher_reserve(s, &g->shape, v->slots, 64))
        return VS_NOMEM;
    if (!v->nchunks)
        return VS_OK;
    vec_query_from_vector(&g->shape.codec, query->vector, s->tmp, &s->query);
    size_t ef = query->ef > query->keep ? query->ef : query->keep;
    enum vs_status status;
    if (query->exact)
        status = scan_all(&x, true);
    else if (v->scanned || v->entry == SLOT_NONE)
        status = scan_all(&x, query->keep == 0);
    else if (query->keep == 0)
        status = graph_range(&x);
    else if (query->filter)
        status = graph_filtered(&x, ef);
    else if (scan_is_cheaper(v, ef))
        status = scan_all(&x, false);
    else
        status = graph_once(&x, ef, rerank_count(&x));
    if (query->filter)
        result->plan = plan_with_filter(result->plan);
    if (!touch_sound(g)) {
        s->ntop = 0;
        return VS_CORRUPT;
    }
    return status;
}
