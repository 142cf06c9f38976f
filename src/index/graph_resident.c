/* See graph_resident.h. Columns' parts begin at whole pages. */
#include "index/graph_resident.h"

#include <sys/mman.h>

#include "index/graph_int.h"
#include "index/graph_restore.h"

#define LOOK_AT_MOST ((size_t)1 << 30)
#define PAGE 4096
#define PAGES_AT_ONCE 1024

static size_t resident(const void *column, size_t size)
{
    unsigned char in[PAGES_AT_ONCE];
    size_t pages = (size + PAGE - 1) / PAGE, n = 0;
    for (size_t at = 0; at < pages; at += PAGES_AT_ONCE) {
        size_t some = pages - at < PAGES_AT_ONCE ? pages - at : PAGES_AT_ONCE;
        if (mincore((char *)(uintptr_t)column + at * PAGE, some * PAGE, in) != 0)
            return n * PAGE; /* not mapped any more: nothing of it is there */
        for (size_t i = 0; i < some; i++)
            n += in[i] & 1;
    }
    return n * PAGE < size ? n * PAGE : size;
}

static size_t chunk_resident(const struct chunk *c)
{
    size_t n = c->slots, sum = 0;
    if (c->mapped & COLUMN_ROWS)
        sum += resident(chunk_rows(c), n * c->row_bytes);
    if (c->mapped & COLUMN_ORIGINALS)
        sum += resident(chunk_originals(c), n * c->original_bytes);
    if (c->mapped & COLUMN_LINKS)
        sum += resident((const void *)c->links, n * 2 * c->m * sizeof(uint32_t));
    if (c->mapped & COLUMN_BORN) {
        sum += resident((const void *)c->born, n * sizeof(*c->born));
        sum += resident(c->level, n);
        sum += resident(c->upper, n * sizeof(*c->upper));
    }
    return sum;
}

size_t graph_resident(const struct graph *g)
{
    struct graph_mapped mapped;
    graph_mapped(g, &mapped);
    size_t all = mapped.rows + mapped.originals + mapped.graph, sum = 0;
    size_t step = all / LOOK_AT_MOST + 1, block = (size_t)UPPER_BLOCKS * g->shape.m * sizeof(uint32_t);
    for (size_t i = 0; i < g->nchunks; i += step)
        sum += chunk_resident(g->chunks[i]) * step;
    for (size_t i = 0; i < g->upper_mapped; i += step)
        sum += resident((const void *)g->upper[i], block) * step;
    return sum < all ? sum : all;
}
