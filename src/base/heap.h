/* A heap of what is to happen when: the least time on top, in a structure that never pauses.
 *
 *     segments of 1024 cells          children of i: 4i+1 .. 4i+4, half as deep as with two
 *     [ 0 | 1 2 3 4 | 5 6 7 8 | ...]  [ 1024 ... ]
 *
 * A cell is a time and a word of its owner's. The owner is told where each cell lies, and so can take it
 * out or give it another time. It grows by segments that never move (the first one doubles up to its
 * size). One thread.
 *
 * Rejected: a timing wheel, which is cheaper for timers that are mostly cancelled, but moves thousands of
 * them at once when a coarse slot comes due. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_cell {
    uint64_t at;
    uint64_t what;
};

/* A cell has come to this place: 1 for the top, and so on; 0: it is not in the heap any more. */
typedef void (*heap_placed)(void *arg, uint64_t what, uint32_t place);

/* Zero-initialised is valid and empty. */
struct heap {
    struct heap_cell **segment;
    size_t nsegments, segments_cap;
    size_t first_cap;            /* cells of the first segment */
    size_t n;
};

void heap_release(struct heap *h);
/* Room for `n` more. False: out of memory. */
bool heap_reserve(struct heap *h, size_t n);
/* There must be room. */
void heap_insert(struct heap *h, uint64_t at, uint64_t what, heap_placed placed, void *arg);
/* `place` as it was told last. What room there is stays, until heap_trim. */
void heap_remove(struct heap *h, uint32_t place, heap_placed placed, void *arg);
void heap_trim(struct heap *h);
void heap_change(struct heap *h, uint32_t place, uint64_t at, heap_placed placed, void *arg);
/* The word of a cell, changed in place. */
void heap_rename(struct heap *h, uint32_t place, uint64_t what);
/* The one with the least time, or NULL. */
const struct heap_cell *heap_top(const struct heap *h);
/* Does this cell lie at this place? For checks. */
bool heap_has(const struct heap *h, uint32_t place, uint64_t at, uint64_t what);
/* Any cell; `i` in 0..n-1. The lower, the earlier, about. */
const struct heap_cell *heap_cell_at(const struct heap *h, size_t i);
size_t heap_bytes(const struct heap *h);

#endif
