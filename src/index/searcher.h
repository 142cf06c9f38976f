/* A searcher: the scratch memory of one thread that searches or links. It belongs to the thread,
 * never to the graph, so that a search writes nothing shared: the set of visited slots, the beam, a
 * few prepared queries, room for rows.
 *
 * The beam is an array of keys kept sorted by (distance, sequence number):
 *
 *   bits 63..32  the distance as an integer of the same order
 *   bits 31..2   the slot
 *   bit  1       HIDDEN: not visible as of the search; walked through, never returned, and it takes nobody's place
 *   bit  0       EXPANDED: its neighbours have been seen
 *
 * A sorted array beats two heaps up to thousands of entries: one memmove of a cache line or two an
 * insertion. */
#ifndef INDEX_SEARCHER_H
#define INDEX_SEARCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "index/columns.h"

#define KEY_EXPANDED ((uint64_t)1)
#define KEY_HIDDEN ((uint64_t)2)

/* Vectors near the limits of float can overflow into "not a number": as far away as can be. */
static inline float distance_sane(float d)
{
    return d == d ? d : __builtin_inff();
}
/* An integer that orders as the float does. */
static inline uint32_t key_of_distance(float d)
{
    uint32_t u;
    d = distance_sane(d) + 0.0f;     /* minus zero becomes zero */
    memcpy(&u, &d, sizeof(u));
    return u ^ ((uint32_t)((int32_t)u >> 31) | 0x80000000u);
}
static inline float distance_of_key(uint64_t key)
{
    uint32_t u = (uint32_t)(key >> 32);
    float d;
    u ^= (u & 0x80000000u) ? 0x80000000u : 0xFFFFFFFFu;
    memcpy(&d, &u, sizeof(d));
    return d;
}
static inline uint64_t key_make(float d, uint32_t slot)
{
    return (uint64_t)key_of_distance(d) << 32 | (uint64_t)slot << 2;
}
static inline uint32_t key_slot(uint64_t key)
{
    return (uint32_t)key >> 2;
}

struct candidate {                   /* of a scan or a re-ranking */
    float distance;
    uint32_t slot;
    uint64_t born;                   /* breaks ties */
};

struct searcher {
    uint64_t *visited;               /* a bit a slot */
    size_t visited_slots;
    uint32_t *touched;               /* words of `visited` to clear again; all, when they are more than fit */
    size_t ntouched, touched_cap;
    uint64_t *beam;
    size_t nbeam, beam_cap;
    uint64_t *sorted;                /* candidates as keys: of the choice of links; a heap, of a filtered search */
    size_t sorted_cap;
    const void **rows;               /* up to rows_cap neighbours under measurement */
    uint32_t *slots;
    float *distances;
    size_t rows_cap;
    struct vec_query query, other;   /* the search's own; one for comparing candidates with each other */
    size_t query_bytes;
    float *tmp;                      /* dim floats: scratch */
    size_t dim;
    struct candidate *top;           /* collector of scans and re-rankings */
    size_t ntop, top_cap;
    uint64_t measured, expanded;     /* counters since searcher_begin */
    uint64_t examined;               /* the same: records that a filter was asked about */
};

void searcher_init(struct searcher *s);
void searcher_release(struct searcher *s);
/* Makes room: `slots` in the partition, `beam` entries, a partition's shape. False: out of memory. */
bool searcher_reserve(struct searcher *s, const struct columns_shape *shape, uint32_t slots, size_t beam);
bool searcher_reserve_top(struct searcher *s, size_t n);
/* Gives back what a rare, huge search took. */
void searcher_trim(struct searcher *s);

/* Marks a slot; true when it was not marked before. */
static inline bool searcher_visit(struct searcher *s, uint32_t slot)
{
    uint32_t word = slot >> 6;
    uint64_t bit = (uint64_t)1 << (slot & 63), old = s->visited[word];
    s->visited[word] = old | bit;
    bool fresh = !(old & bit);
    s->touched[s->ntouched] = word;
    s->ntouched += fresh & (s->ntouched < s->touched_cap);
    return fresh;
}
/* Clears all marks. */
static inline void searcher_forget(struct searcher *s)
{
    if (s->ntouched < s->touched_cap)
        for (size_t i = 0; i < s->ntouched; i++)
            s->visited[s->touched[i]] = 0;
    else
        memset(s->visited, 0, (s->visited_slots / 64 + 1) * sizeof(*s->visited));
    s->ntouched = 0;
}

/* ---- the collector: the best `keep` of any number of candidates, in linear time ---- */
struct collector {
    struct searcher *s;
    size_t keep;
    float bound;                     /* nothing farther can be among the best */
};
/* keep >= 1. False: out of memory. */
bool collector_init(struct collector *c, struct searcher *s, size_t keep);
/* False: out of memory (only for keep so large that the array still grows). */
bool collector_add(struct collector *c, float distance, uint32_t slot, uint64_t born);
/* Sorts by (distance, born), drops repeated records, cuts to `keep`; the result is
 * s->top[0..s->ntop). */
void collector_finish(struct collector *c);

#endif
