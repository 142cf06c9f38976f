/* Beam search of one level, and the greedy descent through the levels above: the loops that a
 * search lives in.
 *
 * A step expands the nearest node not yet expanded: its neighbours that were not seen before are
 * measured eight at a time, whole rows prefetched eight ahead, and what is near enough is put into
 * the sorted beam. Links may be changed by linking workers meanwhile, word by word: a list read
 * during a change holds links of before and after, all of them to nodes that stay readable inside
 * the caller's epoch. A link may lead past the end of this view (the node is younger than it):
 * skipped.
 *
 * With `hide`, a record that the search must not see is walked through but takes nobody's place:
 * the beam's capacity is ef plus the hidden ones in it. */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_int.h"

#define AHEAD           8  /* rows prefetched before they are measured, */
#define BLOCK           8  /* and measured at a time */
#define STEPS_PER_CHECK 64 /* expansions between looks at clock and cancellation */

static inline void prefetch_row(const uint8_t *row, size_t bytes)
{
    const uint8_t *end = row + bytes;
    for (const uint8_t *p = (const uint8_t *)((uintptr_t)row & ~(uintptr_t)63); p < end; p += 64)
        __builtin_prefetch(p, 0, 3);
}

static inline size_t beam_place(const struct graph_view *v, const struct searcher *s, uint64_t key)
{
    const uint64_t *beam = s->beam;
    uint64_t probe = key & ~(uint64_t)0xFFFFFFFF;
    size_t at = 0, n = s->nbeam;
    while (n > 0) {
        size_t half = n / 2;
        bool right = beam[at + half] < probe;
        at = right ? at + half + 1 : at;
        n = right ? n - half - 1 : half;
    }
    if (__builtin_expect(at < s->nbeam && beam[at] >> 32 == key >> 32, 0)) {
        uint64_t born = born_of(view_born(v, key_slot(key)));
        for (; at < s->nbeam && beam[at] >> 32 == key >> 32; at++) {
            uint64_t other = born_of(view_born(v, key_slot(beam[at])));
            if (other == born)
                return SIZE_MAX; /* the same record in its other slot of a compaction */
            if (other > born)
                break;
        }
    }
    return at;
}

static inline size_t insert(const struct graph_view *v, struct searcher *s, uint64_t key,
                            size_t cap)
{
    uint64_t *beam = s->beam;
    size_t n = s->nbeam;
    if (n >= cap && key >> 32 > beam[n - 1] >> 32)
        return SIZE_MAX;
    size_t at = beam_place(v, s, key);
    if (at >= cap)
        return SIZE_MAX;
    size_t keep = n < cap ? n : cap - 1;
    memmove(beam + at + 1, beam + at, (keep - at) * sizeof(*beam));
    beam[at] = key;
    s->nbeam = keep + 1;
    return at;
}

size_t beam_insert(const struct graph_view *v, struct searcher *s, uint64_t key, size_t cap)
{
    return insert(v, s, key, cap);
}

/* The neighbours of `slot` not seen before, into s->slots and s->rows; the first rows are
 * prefetched. */
static inline size_t gather(const struct graph *g, const struct graph_view *v, struct searcher *s,
                            uint32_t slot, int level)
{
    uint32_t m = g->shape.m, max = links_max(m, level);
    size_t row_bytes = g->shape.codec.row_bytes, n = 0;
    const _Atomic uint32_t *links = view_links_at(v, slot, level, m);
    for (uint32_t i = 0; i < max; i++) {
        uint32_t to = link_load(links, i);
        if (to == SLOT_NONE)
            break;
        if (to >= v->slots || !searcher_visit(s, to))
            continue;
        const uint8_t *row = view_row(v, to, row_bytes);
        if (n < AHEAD)
            prefetch_row(row, row_bytes);
        s->slots[n] = to;
        s->rows[n++] = row;
    }
    return n;
}

/* Counts the hidden entries that the beam may exceed ef by, and cuts it to that. */
static inline size_t cut_hidden(struct searcher *s, size_t ef, size_t hidden)
{
    while (s->nbeam > ef + hidden) {
        if (s->beam[s->nbeam - 1] & KEY_HIDDEN)
            hidden--;
        s->nbeam--;
    }
    return hidden;
}

static size_t insert_hiding(const struct graph_view *v, struct searcher *s, uint64_t key, size_t ef,
                            size_t *hidden, uint64_t as_of)
{
    size_t cap = ef + *hidden;
    if (s->nbeam >= cap && key >> 32 > s->beam[s->nbeam - 1] >> 32)
        return SIZE_MAX;
    if (!born_visible(view_born(v, key_slot(key)), as_of)) {
        key |= KEY_HIDDEN;
        cap++;
    }
    if (cap + 1 > s->beam_cap) { /* many hidden ones: rare */
        uint64_t *beam = mem_try_realloc(s->beam, 2 * s->beam_cap * sizeof(*beam));
        if (!beam)
            return SIZE_MAX;
        s->beam = beam;
        s->beam_cap *= 2;
    }
    size_t at = insert(v, s, key, s->nbeam + 1);
    if (at == SIZE_MAX)
        return at;
    if (key & KEY_HIDDEN)
        (*hidden)++;
    *hidden = cut_hidden(s, ef, *hidden);
    return at < s->nbeam ? at : SIZE_MAX;
}

static bool out_of_time(const struct beam_limits *limits)
{
    if (limits->cancelled && atomic_load_explicit(limits->cancelled, memory_order_relaxed))
        return true;
    return limits->deadline_ns && clock_mono_ns() > limits->deadline_ns;
}

static inline __attribute__((always_inline)) void run(const struct graph *g,
                                                      const struct graph_view *v,
                                                      struct searcher *s, int level, size_t ef,
                                                      const struct beam_limits *limits,
                                                      const bool hide)
{
    const struct vec_codec *codec = &g->shape.codec;
    size_t row_bytes = codec->row_bytes, hidden = 0, next = 0, steps = 0;
    uint32_t m = g->shape.m;
    float bound = INFINITY; /* nothing farther can enter any more */
    if (hide) {
        for (size_t i = 0; i < s->nbeam; i++)
            if (!born_visible(view_born(v, key_slot(s->beam[i])), limits->as_of)) {
                s->beam[i] |= KEY_HIDDEN;
                hidden++;
            }
    }
    for (;;) {
        while (next < s->nbeam && (s->beam[next] & KEY_EXPANDED))
            next++;
        if (next >= s->nbeam)
            break;
        uint32_t slot = key_slot(s->beam[next]);
        s->beam[next++] |= KEY_EXPANDED;
        size_t n = gather(g, v, s, slot, level);
        if (next < s->nbeam && !level) {
            const void *links = view_links(v, key_slot(s->beam[next]), m);
            prefetch_row(links, 2 * m * sizeof(uint32_t));
        }
        s->expanded++;
        s->measured += n;
        for (size_t k = 0; k < n; k += BLOCK) {
            size_t block = n - k < BLOCK ? n - k : BLOCK;
            for (size_t i = k + AHEAD; i < k + AHEAD + BLOCK && i < n; i++)
                prefetch_row(s->rows[i], row_bytes);
            vec_distances(codec, &s->query, s->rows + k, block, s->distances);
            for (size_t i = 0; i < block; i++) {
                if (s->distances[i] > bound)
                    continue;
                uint64_t key = key_make(s->distances[i], s->slots[k + i]);
                size_t at = hide ? insert_hiding(v, s, key, ef, &hidden, limits->as_of)
                                 : insert(v, s, key, ef);
                if (s->nbeam >= ef + hidden)
                    bound = distance_of_key(s->beam[s->nbeam - 1]);
                if (at < next) {
                    next = at;
                    if (!level)
                        prefetch_row((const void *)view_links(v, s->slots[k + i], m),
                                     2 * m * sizeof(uint32_t));
                }
            }
        }
        if (limits && ++steps % STEPS_PER_CHECK == 0 && out_of_time(limits)) {
            *limits->stopped = true;
            break;
        }
    }
}

void beam_search(const struct graph *g, const struct graph_view *v, struct searcher *s, int level,
                 size_t ef, const struct beam_limits *limits, bool hide)
{
    if (hide)
        run(g, v, s, level, ef, limits, true);
    else
        run(g, v, s, level, ef, limits, false);
}

uint32_t beam_descend(const struct graph *g, const struct graph_view *v, struct searcher *s,
                      uint32_t entry, int from_level, int to_level, float *d)
{
    const struct vec_codec *codec = &g->shape.codec;
    uint32_t m = g->shape.m;
    uint64_t best = 0;
    const void *row = view_row(v, entry, codec->row_bytes);
    vec_distances(codec, &s->query, &row, 1, s->distances);
    best = key_make(s->distances[0], entry);
    s->measured++;
    for (int level = from_level; level > to_level; level--) {
        for (;;) {
            uint64_t old = best;
            uint32_t slot = key_slot(best);
            uint32_t block = view_chunk(v, slot)->upper[slot & (CHUNK_SLOTS - 1)];
            if (block == SLOT_NONE || (block + (uint32_t)level - 1) / UPPER_BLOCKS >= v->nupper)
                break;
            const _Atomic uint32_t *links = view_upper(v, slot, level, m);
            size_t n = 0;
            for (uint32_t i = 0; i < m; i++) {
                uint32_t to = link_load(links, i);
                if (to == SLOT_NONE)
                    break;
                if (to >= v->slots)
                    continue;
                s->rows[n] = view_row(v, to, codec->row_bytes);
                prefetch_row(s->rows[n], codec->row_bytes);
                s->slots[n++] = to;
            }
            if (!n)
                break;
            vec_distances(codec, &s->query, s->rows, n, s->distances);
            s->measured += n;
            s->expanded++;
            for (size_t i = 0; i < n; i++) {
                uint64_t key = key_make(s->distances[i], s->slots[i]);
                if (key >> 32 < best >> 32 ||
                    (key >> 32 == best >> 32 &&
                     born_of(view_born(v, key_slot(key))) < born_of(view_born(v, key_slot(best)))))
                    best = key;
            }
            if (best == old)
                break;
        }
    }
    *d = distance_of_key(best);
    return key_slot(best);
}
