/* Searchers and collectors, see searcher.h. A collector gathers up to twice what it keeps, then
 * throws the worse half away by quickselect (Hoare, 1961): linear whatever the number kept, where a
 * sorted array would be quadratic. */
#include "index/searcher.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

#define TOUCHED       8192  /* words remembered for clearing, at least; beyond that and */
#define TOUCHED_SHARE 1024  /* one in so many slots all are cleared */
#define BEAM_KEPT     16384 /* entries that a searcher keeps between searches */

void searcher_init(struct searcher *s)
{
    memset(s, 0, sizeof(*s));
}

void searcher_release(struct searcher *s)
{
    mem_free(s->visited);
    mem_free(s->touched);
    mem_free(s->beam);
    mem_free(s->sorted);
    mem_free(s->rows);
    mem_free(s->slots);
    mem_free(s->distances);
    mem_free(s->query.data);
    mem_free(s->other.data);
    mem_free(s->tmp);
    mem_free(s->top);
    searcher_init(s);
}

static bool reserve_visited(struct searcher *s, uint32_t slots)
{
    if (slots <= s->visited_slots)
        return true;
    size_t want = (size_t)slots + slots / 4, words = want / 64 + 1;
    size_t cap = want / TOUCHED_SHARE > TOUCHED ? want / TOUCHED_SHARE : TOUCHED;
    uint64_t *visited = mem_try_zalloc(words * sizeof(*visited));
    uint32_t *touched = mem_try_alloc((cap + 1) * sizeof(*touched));
    if (!visited || !touched) {
        mem_free(visited);
        mem_free(touched);
        return false;
    }
    mem_free(s->visited);
    mem_free(s->touched);
    s->visited = visited;
    s->touched = touched;
    s->touched_cap = cap;
    s->visited_slots = want;
    s->ntouched = 0;
    return true;
}

static bool reserve_queries(struct searcher *s, const struct columns_shape *shape)
{
    if (shape->codec.query_bytes > s->query_bytes) {
        mem_free(s->query.data);
        mem_free(s->other.data);
        s->query.data = mem_aligned(64, shape->codec.query_bytes);
        s->other.data = mem_aligned(64, shape->codec.query_bytes);
        s->query_bytes = shape->codec.query_bytes;
    }
    if (shape->codec.dim > s->dim) {
        mem_free(s->tmp);
        s->tmp = mem_aligned(64, shape->codec.dim * sizeof(float));
        s->dim = shape->codec.dim;
    }
    return true;
}

bool searcher_reserve(struct searcher *s, const struct columns_shape *shape, uint32_t slots,
                      size_t beam)
{
    size_t rows = 4 * (size_t)shape->m + 16, cap = s->rows_cap;
    if (rows < 264)
        rows = 264;
    if (rows > cap) {
        size_t c1 = cap, c2 = cap, c3 = cap;
        if (!mem_try_grow(&s->rows, &c1, rows, sizeof(*s->rows)) ||
            !mem_try_grow(&s->slots, &c2, rows, sizeof(*s->slots)) ||
            !mem_try_grow(&s->distances, &c3, rows, sizeof(*s->distances)))
            return false;
        s->rows_cap = rows;
    }
    return reserve_visited(s, slots) && reserve_queries(s, shape) &&
           mem_try_grow(&s->beam, &s->beam_cap, beam + 1, sizeof(*s->beam));
}

bool searcher_reserve_top(struct searcher *s, size_t n)
{
    return mem_try_grow(&s->top, &s->top_cap, n, sizeof(*s->top));
}

void searcher_trim(struct searcher *s)
{
    if (s->beam_cap > BEAM_KEPT) {
        mem_free(s->beam);
        s->beam = NULL;
        s->beam_cap = 0;
    }
    if (s->sorted_cap > 4 * BEAM_KEPT) {
        mem_free(s->sorted);
        s->sorted = NULL;
        s->sorted_cap = 0;
    }
    if (s->top_cap > 2 * BEAM_KEPT) {
        mem_free(s->top);
        s->top = NULL;
        s->top_cap = s->ntop = 0;
    }
}

static int compare_candidates(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->born < b->born ? -1 : a->born > b->born;
}

/* Rearranges so that the first `keep` are the best ones. */
static void select_best(struct candidate *a, size_t n, size_t keep)
{
    while (n > keep && n > 1) {
        struct candidate pivot = a[n / 2];
        size_t i = 0, j = n - 1;
        for (;;) {
            while (compare_candidates(&a[i], &pivot) < 0)
                i++;
            while (compare_candidates(&a[j], &pivot) > 0)
                j--;
            if (i >= j)
                break;
            struct candidate t = a[i];
            a[i++] = a[j];
            a[j--] = t;
        }
        size_t left = j + 1; /* a[0..left) <= pivot <= a[left..n) */
        if (left >= n)
            left = n - 1;
        if (left == 0)
            left = 1;
        if (keep < left) {
            n = left;
        } else {
            a += left;
            n -= left;
            keep -= left;
        }
        if (keep == 0)
            break;
    }
}

bool collector_init(struct collector *c, struct searcher *s, size_t keep)
{
    size_t room = keep < BEAM_KEPT / 2 ? 2 * keep + 64 : BEAM_KEPT + 64;
    if (!searcher_reserve_top(s, room))
        return false;
    c->s = s;
    c->keep = keep;
    c->bound = INFINITY;
    s->ntop = 0;
    return true;
}

bool collector_add(struct collector *c, float distance, uint32_t slot, uint64_t born)
{
    struct searcher *s = c->s;
    distance = distance_sane(distance);
    if (distance > c->bound)
        return true;
    if (s->ntop == s->top_cap || s->ntop >= 2 * c->keep + 64) {
        if (s->ntop > c->keep + c->keep / 2 && s->ntop > c->keep + 16) {
            select_best(s->top, s->ntop, c->keep);
            s->ntop = c->keep;
            float worst = s->top[0].distance;
            for (size_t i = 1; i < s->ntop; i++)
                worst = s->top[i].distance > worst ? s->top[i].distance : worst;
            c->bound = worst;
            if (distance > worst)
                return true;
        } else if (!searcher_reserve_top(s, 2 * s->top_cap)) {
            return false;
        }
    }
    s->top[s->ntop++] = (struct candidate){distance, slot, born};
    return true;
}

void collector_finish(struct collector *c)
{
    struct searcher *s = c->s;
    if (s->ntop > c->keep + 1) {
        /* one spare in case a record stands twice, in its old and its new slot of a compaction */
        size_t keep = c->keep + c->keep / 8 + 16;
        if (s->ntop > keep) {
            select_best(s->top, s->ntop, keep);
            s->ntop = keep;
        }
    }
    if (s->ntop > 1)
        qsort(s->top, s->ntop, sizeof(*s->top), compare_candidates);
    size_t n = 0;
    for (size_t i = 0; i < s->ntop; i++) {
        if (n && s->top[n - 1].born == s->top[i].born &&
            s->top[n - 1].distance == s->top[i].distance)
            continue;
        s->top[n++] = s->top[i];
    }
    s->ntop = n < c->keep ? n : c->keep;
}
