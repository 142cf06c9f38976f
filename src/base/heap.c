#include "base/heap.h"

#include "base/mem.h"

#define SEGMENT_BITS  10
#define SEGMENT_CELLS ((size_t)1 << SEGMENT_BITS)
#define FIRST_CELLS   4

static struct heap_cell *cell(const struct heap *h, size_t i)
{
    return &h->segment[i >> SEGMENT_BITS][i & (SEGMENT_CELLS - 1)];
}

void heap_release(struct heap *h)
{
    for (size_t i = 0; i < h->nsegments; i++)
        mem_free(h->segment[i]);
    mem_free(h->segment);
    *h = (struct heap){0};
}

static bool grow_first(struct heap *h)
{
    size_t cap = h->first_cap ? 2 * h->first_cap : FIRST_CELLS;
    struct heap_cell *first =
        mem_try_realloc(h->nsegments ? h->segment[0] : NULL, cap * sizeof(*first));
    if (!first)
        return false;
    h->segment[0] = first;
    h->first_cap = cap;
    h->nsegments = 1;
    return true;
}

static bool grow(struct heap *h)
{
    if (!mem_try_grow(&h->segment, &h->segments_cap, h->nsegments + 1, sizeof(*h->segment)))
        return false;
    if (h->first_cap < SEGMENT_CELLS)
        return grow_first(h);
    struct heap_cell *segment = mem_try_alloc(SEGMENT_CELLS * sizeof(*segment));
    if (segment)
        h->segment[h->nsegments++] = segment;
    return segment != NULL;
}

static size_t capacity(const struct heap *h)
{
    return h->nsegments ? h->first_cap + (h->nsegments - 1) * SEGMENT_CELLS : 0;
}

bool heap_reserve(struct heap *h, size_t n)
{
    while (capacity(h) < h->n + n)
        if (!grow(h))
            return false;
    return true;
}

/* A segment more than is needed stays, so that a heap of changing size does not allocate all the time. */
void heap_trim(struct heap *h)
{
    if (h->n == 0) {
        if (h->segment)
            heap_release(h);
        return;
    }
    size_t needed = (h->n + SEGMENT_CELLS - 1) / SEGMENT_CELLS;
    while (h->nsegments > needed + 1)
        mem_free(h->segment[--h->nsegments]);
}

static void put(struct heap *h, size_t i, struct heap_cell c, heap_placed placed, void *arg)
{
    *cell(h, i) = c;
    placed(arg, c.what, (uint32_t)i + 1);
}

/* Puts `c` where the hole at `i` is, or above. */
static void sift_up(struct heap *h, size_t i, struct heap_cell c, heap_placed placed, void *arg)
{
    while (i) {
        size_t parent = (i - 1) / 4;
        struct heap_cell above = *cell(h, parent);
        if (above.at <= c.at)
            break;
        put(h, i, above, placed, arg);
        i = parent;
    }
    put(h, i, c, placed, arg);
}

/* The same, or below. */
static void sift_down(struct heap *h, size_t i, struct heap_cell c, heap_placed placed, void *arg)
{
    for (;;) {
        size_t first = 4 * i + 1, end = first + 4 < h->n ? first + 4 : h->n, least = first;
        if (first >= h->n)
            break;
        for (size_t k = first + 1; k < end; k++)
            if (cell(h, k)->at < cell(h, least)->at)
                least = k;
        struct heap_cell below = *cell(h, least);
        if (below.at >= c.at)
            break;
        put(h, i, below, placed, arg);
        i = least;
    }
    put(h, i, c, placed, arg);
}

static void sift(struct heap *h, size_t i, struct heap_cell c, heap_placed placed, void *arg)
{
    if (i && cell(h, (i - 1) / 4)->at > c.at)
        sift_up(h, i, c, placed, arg);
    else
        sift_down(h, i, c, placed, arg);
}

void heap_insert(struct heap *h, uint64_t at, uint64_t what, heap_placed placed, void *arg)
{
    size_t i = h->n++;
    sift_up(h, i, (struct heap_cell){at, what}, placed, arg);
}

void heap_remove(struct heap *h, uint32_t place, heap_placed placed, void *arg)
{
    size_t i = place - 1;
    uint64_t what = cell(h, i)->what;
    struct heap_cell last = *cell(h, --h->n);
    if (i < h->n)
        sift(h, i, last, placed, arg);
    placed(arg, what, 0);
}

void heap_change(struct heap *h, uint32_t place, uint64_t at, heap_placed placed, void *arg)
{
    size_t i = place - 1;
    sift(h, i, (struct heap_cell){at, cell(h, i)->what}, placed, arg);
}

void heap_rename(struct heap *h, uint32_t place, uint64_t what)
{
    cell(h, place - 1)->what = what;
}

const struct heap_cell *heap_top(const struct heap *h)
{
    return h->n ? cell(h, 0) : NULL;
}

bool heap_has(const struct heap *h, uint32_t place, uint64_t at, uint64_t what)
{
    return place && place <= h->n && cell(h, place - 1)->at == at && cell(h, place - 1)->what == what;
}

const struct heap_cell *heap_cell_at(const struct heap *h, size_t i)
{
    return cell(h, i);
}

size_t heap_bytes(const struct heap *h)
{
    return capacity(h) * sizeof(struct heap_cell) + h->segments_cap * sizeof(*h->segment);
}
