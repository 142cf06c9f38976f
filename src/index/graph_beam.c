/* Beam search of one level, and the greedy descent through the levels above: the loops that a
 * search lives in.
 *
 * A step expands the nearest node not yet expanded: its neighbours that were not seen before are
 * to be measured, and what is near enough is put into the sorted beam. Steps overlap: a node is
 * chosen and its neighbours gathered before those of the node before it are measured, so that rows
 * are on their way a few hundred nanoseconds before they are read, and no step waits for its first
 * row. Its links, too, must be on their way for a while: they are fetched when it enters the front of
 * the beam, and a node that only the last step put there is passed over, once, for the next best (once
 * the beam is full). The order differs from best-first by a step or two, which costs 1 to 3 % more
 * distances for the same recall. Links may be changed by linking workers meanwhile, word by word: a list read
 * during a change holds links of before and after, all of them to nodes that stay readable inside
 * the caller's epoch. A link may lead past the end of this view (the node is younger than it):
 * skipped.
 *
 * Linking expands the nearer half of its beam only (at least 2m): the farther half are candidates
 * for links all the same, but their neighbours hardly ever become links, and building takes two
 * thirds of the time.
 *
 * With `hide`, a record that the search must not see is walked through but takes nobody's place:
 * the beam's capacity is ef plus the hidden ones in it.
 *
 * With a filter that would not do, since those that do not match may be a hundred times as many: they go
 * into a heap of what is still to be expanded, and the beam holds matching records alone. */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/prefetch.h"
#include "index/graph_int.h"
#include "index/graph_touch.h"

#define LINES_AHEAD     128 /* cache lines of rows that are on their way, about, */
#define ROWS_AHEAD_MIN  10  /* but so many rows in any case, */
#define ROWS_AHEAD_MAX  24  /* and no more than these */
#define WINDOW          3   /* entries of the beam among which the next node is chosen, */
#define FRESH_MAX       16  /* and so many of the last step's are told apart */
#define BLOCK           8   /* rows measured at a time */
#define STEPS_PER_CHECK 64  /* expansions between looks at clock and cancellation */

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

/* Neighbours to be measured. */
struct frontier {
    size_t n;
    uint32_t *slots;
    const void **rows;
};

/* In a view with columns that have not been checked: before a node's links are followed. Whether all
 * was well the search asks at its end. */
static __attribute__((noinline, cold)) void touch_node(const struct graph *g,
                                                       const struct graph_view *v, uint32_t slot,
                                                       int level)
{
    uint32_t max = links_max(g->shape.m, level), to;
    const _Atomic uint32_t *links = view_links_at(v, slot, level, g->shape.m);
    if (!level)
        touch(g, view_chunk(v, slot), COLUMN_LINKS);
    for (uint32_t i = 0; i < max && (to = link_load(links, i)) != SLOT_NONE; i++)
        if (to < v->slots)
            touch(g, view_chunk(v, to), COLUMN_ROWS);
}

/* The neighbours of `slot` not seen before. */
static inline void gather(const struct graph *g, const struct graph_view *v, struct searcher *s,
                          uint32_t slot, int level, struct frontier *f)
{
    uint32_t m = g->shape.m, max = links_max(m, level);
    size_t row_bytes = g->shape.codec.row_bytes, n = 0;
    const _Atomic uint32_t *links = view_links_at(v, slot, level, m);
    if (__builtin_expect(v->unchecked, 0))
        touch_node(g, v, slot, level);
    for (uint32_t i = 0; i < max; i++) {
        uint32_t to = link_load(links, i);
        if (to == SLOT_NONE)
            break;
        if (to >= v->slots)
            continue;
        f->slots[n] = to;
        f->rows[n] = view_row(v, to, row_bytes);
        n += searcher_visit(s, to);
    }
    f->n = n;
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
                            size_t *hidden, uint64_t as_of, uint64_t now_ms)
{
    size_t cap = ef + *hidden;
    if (s->nbeam >= cap && key >> 32 > s->beam[s->nbeam - 1] >> 32)
        return SIZE_MAX;
    if (!view_visible(v, key_slot(key), as_of, now_ms)) {
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

/* A beam search under way. */
struct walk {
    const struct graph *g;
    const struct graph_view *v;
    struct searcher *s;
    int level;
    size_t ef, hidden;      /* entries that the beam may exceed ef by */
    size_t next;            /* all before it are expanded */
    size_t reach;           /* entries from here on are not */
    float bound;            /* nothing farther can enter any more */
    uint64_t as_of, now_ms; /* with hide */
    uint32_t nfresh, fresh[FRESH_MAX]; /* admitted by the last step: their links are on their way */
};

static inline void prefetch_links(const struct walk *w, uint32_t slot)
{
    uint32_t m = w->g->shape.m;
    if (!w->level)
        prefetch_bytes((const uint32_t *)view_links(w->v, slot, m), 2 * m * sizeof(uint32_t));
}

static inline bool done(const struct walk *w)
{
    return w->next >= w->s->nbeam || w->next >= w->reach;
}

static inline bool is_fresh(const struct walk *w, uint32_t slot)
{
    for (uint32_t i = 0; i < w->nfresh; i++)
        if (w->fresh[i] == slot)
            return true;
    return false;
}

/* The neighbours of the nearest node not yet expanded; none left: empty. */
static inline void expand(struct walk *w, struct frontier *f)
{
    struct searcher *s = w->s;
    uint64_t *beam = s->beam;
    size_t at = w->next;
    while (at < s->nbeam && (beam[at] & KEY_EXPANDED))
        at++;
    w->next = at;
    f->n = 0;
    if (done(w))
        return;
    if (w->nfresh && s->nbeam >= w->ef && is_fresh(w, key_slot(beam[at]))) {
        size_t end = at + WINDOW < s->nbeam ? at + WINDOW : s->nbeam;
        end = end < w->reach ? end : w->reach;
        for (size_t j = at + 1; j < end; j++)
            if (!(beam[j] & KEY_EXPANDED) && !is_fresh(w, key_slot(beam[j]))) {
                at = j;
                break;
            }
    }
    w->nfresh = 0;
    uint64_t key = beam[at];
    beam[at] |= KEY_EXPANDED;
    w->next += at == w->next;
    gather(w->g, w->v, s, key_slot(key), w->level, f);
    s->expanded++;
    for (size_t j = w->next, n = 0; j < s->nbeam && n < 2; j++)
        if (!(beam[j] & KEY_EXPANDED)) {
            prefetch_links(w, key_slot(beam[j]));
            n++;
        }
}

static inline __attribute__((always_inline)) void admit(struct walk *w, float distance,
                                                        uint32_t slot, const bool hide)
{
    struct searcher *s = w->s;
    if (distance > w->bound)
        return;
    uint64_t key = key_make(distance, slot);
    size_t at = hide ? insert_hiding(w->v, s, key, w->ef, &w->hidden, w->as_of, w->now_ms)
                     : insert(w->v, s, key, w->ef);
    if (s->nbeam >= w->ef + w->hidden)
        w->bound = distance_of_key(s->beam[s->nbeam - 1]);
    if (at < w->next + WINDOW) {
        prefetch_links(w, slot);
        if (w->nfresh < FRESH_MAX)
            w->fresh[w->nfresh++] = slot;
    }
    if (at < w->next)
        w->next = at;
}

/* Measures `now`, fetching rows `ahead` of it, in `now` and then in `coming`. */
static inline __attribute__((always_inline)) void measure(struct walk *w, const struct frontier *now,
                                                          const struct frontier *coming,
                                                          size_t ahead, const bool hide)
{
    struct searcher *s = w->s;
    const struct vec_codec *codec = &w->g->shape.codec;
    s->measured += now->n;
    for (size_t i = now->n; i < ahead && i - now->n < coming->n; i++)
        prefetch_bytes(coming->rows[i - now->n], codec->row_bytes);
    for (size_t k = 0; k < now->n; k += BLOCK) {
        size_t block = now->n - k < BLOCK ? now->n - k : BLOCK;
        vec_distances(codec, &s->query, now->rows + k, block, s->distances);
        for (size_t i = 0; i < block; i++) {
            size_t to = k + i + ahead;
            if (to < now->n)
                prefetch_bytes(now->rows[to], codec->row_bytes);
            else if (to - now->n < coming->n)
                prefetch_bytes(coming->rows[to - now->n], codec->row_bytes);
            admit(w, s->distances[i], now->slots[k + i], hide);
        }
    }
}

static inline __attribute__((always_inline)) void run(struct walk *w,
                                                      const struct beam_limits *limits,
                                                      const bool hide)
{
    struct searcher *s = w->s;
    size_t half = s->rows_cap / 2, steps = 0;
    size_t ahead = LINES_AHEAD / (w->g->shape.codec.row_bytes / 64 + 1);
    struct frontier first = {0, s->slots, s->rows}, second = {0, s->slots + half, s->rows + half};
    struct frontier *now = &first, *coming = &second;
    ahead = ahead < ROWS_AHEAD_MIN ? ROWS_AHEAD_MIN : ahead > ROWS_AHEAD_MAX ? ROWS_AHEAD_MAX : ahead;
    for (;;) {
        expand(w, coming);
        if (!coming->n && !now->n && done(w))
            break;
        measure(w, now, coming, ahead, hide);
        struct frontier *measured = now;
        now = coming;
        coming = measured;
        if (limits && ++steps % STEPS_PER_CHECK == 0 && out_of_time(limits)) {
            *limits->stopped = true;
            break;
        }
    }
}

void beam_search(const struct graph *g, const struct graph_view *v, struct searcher *s, int level,
                 size_t ef, const struct beam_limits *limits, bool hide)
{
    struct walk w = {.g = g, .v = v, .s = s, .level = level, .ef = ef, .bound = INFINITY};
    w.reach = limits ? SIZE_MAX : ef / 2 > 2 * g->shape.m ? ef / 2 : 2 * g->shape.m;
    if (!hide) {
        run(&w, limits, false);
        return;
    }
    w.as_of = limits->as_of;
    w.now_ms = limits->now_ms;
    for (size_t i = 0; i < s->nbeam; i++)
        if (!view_visible(v, key_slot(s->beam[i]), w.as_of, w.now_ms)) {
            s->beam[i] |= KEY_HIDDEN;
            w.hidden++;
        }
    run(&w, limits, true);
}

/* ---- with a filter ---- */

struct hunt {
    const struct graph *g;
    const struct graph_view *v;
    struct searcher *s;
    size_t ef, nheap;       /* s->sorted: a heap of what is to be expanded, the nearest on top */
    uint64_t as_of, now_ms;
    const struct graph_filter *filter;
    bool spent, no_memory;
};

static inline bool key_before(const struct graph_view *v, uint64_t a, uint64_t b)
{
    if (__builtin_expect(a >> 32 != b >> 32, 1))
        return a < b;
    return born_of(view_born(v, key_slot(a))) < born_of(view_born(v, key_slot(b)));
}

static bool heap_push(struct hunt *h, uint64_t key)
{
    struct searcher *s = h->s;
    size_t i = h->nheap;
    if (i >= s->sorted_cap && !mem_try_grow(&s->sorted, &s->sorted_cap, 2 * i + 1024, sizeof(*s->sorted)))
        return false;
    for (h->nheap++; i && key_before(h->v, key, s->sorted[(i - 1) / 2]); i = (i - 1) / 2)
        s->sorted[i] = s->sorted[(i - 1) / 2];
    s->sorted[i] = key;
    return true;
}

static uint64_t heap_pop(struct hunt *h)
{
    uint64_t *a = h->s->sorted, top = a[0], last = a[--h->nheap];
    size_t i = 0, n = h->nheap;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && key_before(h->v, a[child + 1], a[child]))
            child++;
        if (!key_before(h->v, a[child], last))
            break;
        a[i] = a[child];
    }
    a[i] = last;
    return top;
}

static inline bool too_far(const struct hunt *h, uint64_t key)
{
    const struct searcher *s = h->s;
    return s->nbeam >= h->ef && key >> 32 > s->beam[s->nbeam - 1] >> 32;
}

static void hunt_admit(struct hunt *h, float distance, uint32_t slot)
{
    uint64_t key = key_make(distance, slot);
    if (too_far(h, key))
        return;
    if (!heap_push(h, key)) {
        h->no_memory = true;
        return;
    }
    if (!view_visible(h->v, slot, h->as_of, h->now_ms))
        return;
    if (h->filter->effort && h->s->examined >= h->filter->effort)
        h->spent = true;
    else if (filter_asks(h->filter, h->v, h->s, slot))
        insert(h->v, h->s, key, h->ef);
}

static void hunt_expand(struct hunt *h, uint32_t slot)
{
    struct searcher *s = h->s;
    const struct vec_codec *codec = &h->g->shape.codec;
    struct frontier f = {0, s->slots, s->rows};
    gather(h->g, h->v, s, slot, 0, &f);
    s->expanded++;
    s->measured += f.n;
    for (size_t i = 0; i < f.n; i++)
        prefetch_bytes(f.rows[i], codec->row_bytes);
    if (h->nheap) {
        uint32_t m = h->g->shape.m;
        prefetch_bytes((const uint32_t *)view_links(h->v, key_slot(s->sorted[0]), m), 2 * m * sizeof(uint32_t));
    }
    for (size_t k = 0; k < f.n; k += BLOCK) {
        size_t block = f.n - k < BLOCK ? f.n - k : BLOCK;
        vec_distances(codec, &s->query, f.rows + k, block, s->distances);
        for (size_t i = 0; i < block; i++)
            if (!too_far(h, key_make(s->distances[i], 0))) {
                const char *extra = graph_view_extra(h->v, f.slots[k + i]);
                prefetch_bytes(extra, 128);
            }
        for (size_t i = 0; i < block; i++)
            hunt_admit(h, s->distances[i], f.slots[k + i]);
    }
}

enum filtered_end beam_filtered(const struct graph *g, const struct graph_view *v, struct searcher *s, size_t ef,
                                const struct beam_limits *limits, const struct graph_filter *filter, size_t patience)
{
    struct hunt h = {.g = g, .v = v, .s = s, .ef = ef, .as_of = limits->as_of, .now_ms = limits->now_ms, .filter = filter};
    uint64_t first = s->beam[0];
    s->nbeam = 0;
    hunt_admit(&h, distance_of_key(first), key_slot(first));
    for (size_t steps = 1; h.nheap; steps++) {
        uint64_t key = heap_pop(&h);
        if (too_far(&h, key))
            break;
        hunt_expand(&h, key_slot(key));
        if (h.no_memory)
            return FILTERED_NOMEM;
        if (h.spent)
            return FILTERED_EFFORT;
        if (steps % STEPS_PER_CHECK)
            continue;
        if (out_of_time(limits))
            return FILTERED_STOPPED;
        size_t expected = s->nbeam < ef ? steps * ef / (s->nbeam + 1) : steps;
        if (patience && expected > patience)
            return FILTERED_GAVE_UP;
    }
    return FILTERED_ALL;
}

/* The links that a descent at `slot` would follow next: those of this level, or of level 0 where it would end there. */
static void prefetch_way(const struct graph *g, const struct graph_view *v, uint32_t slot, int level)
{
    uint32_t m = g->shape.m, block = view_chunk(v, slot)->upper[slot & (CHUNK_SLOTS - 1)] + (uint32_t)level - 1;
    if (block / UPPER_BLOCKS < v->nupper)
        prefetch_bytes((const uint32_t *)v->upper[block / UPPER_BLOCKS] + (size_t)(block % UPPER_BLOCKS) * m,
                       m * sizeof(uint32_t));
    if (level == 1)
        prefetch_bytes((const uint32_t *)view_links(v, slot, m), 2 * m * sizeof(uint32_t));
}

/* Measures the unseen ones among *best's links at an upper level; the nearest known stays in *best. False: it is the same. */
static bool hop(const struct graph *g, const struct graph_view *v, struct searcher *s, int level,
                uint64_t *best)
{
    uint32_t slot = key_slot(*best), first = view_chunk(v, slot)->upper[slot & (CHUNK_SLOTS - 1)];
    if (first == SLOT_NONE || (first + (uint32_t)level - 1) / UPPER_BLOCKS >= v->nupper)
        return false; /* younger than this view */
    struct frontier f = {0, s->slots, s->rows};
    gather(g, v, s, slot, level, &f);
    if (!f.n)
        return false;
    for (size_t i = 0; i < f.n; i++)
        prefetch_bytes(f.rows[i], g->shape.codec.row_bytes);
    s->measured += f.n;
    s->expanded++;
    uint64_t old = *best;
    for (size_t k = 0; k < f.n; k += BLOCK) {
        size_t block = f.n - k < BLOCK ? f.n - k : BLOCK;
        uint64_t before = *best;
        vec_distances(&g->shape.codec, &s->query, f.rows + k, block, s->distances);
        for (size_t i = 0; i < block; i++) {
            uint64_t key = key_make(s->distances[i], f.slots[k + i]);
            if (key >> 32 < *best >> 32 ||
                (key >> 32 == *best >> 32 &&
                 born_of(view_born(v, key_slot(key))) < born_of(view_born(v, key_slot(*best)))))
                *best = key;
        }
        if (*best != before)
            prefetch_way(g, v, key_slot(*best), level);
    }
    return *best != old;
}

void beam_descend(const struct graph *g, const struct graph_view *v, struct searcher *s,
                  uint32_t entry, int from_level, int to_level)
{
    const void *row = view_row(v, entry, g->shape.codec.row_bytes);
    if (v->unchecked)
        touch(g, view_chunk(v, entry), COLUMN_ROWS);
    vec_distances(&g->shape.codec, &s->query, &row, 1, s->distances);
    s->measured++;
    searcher_visit(s, entry);
    uint64_t best = key_make(s->distances[0], entry);
    for (int level = from_level; level > to_level; level--)
        while (hop(g, v, s, level, &best))
            ;
    searcher_forget(s);
    searcher_visit(s, key_slot(best));
    s->beam[0] = best;
    s->nbeam = 1;
}
