#include "server/histogram.h"

#include <stddef.h>

static size_t cell_of(uint64_t v)
{
    if (v < HISTOGRAM_STEPS)
        return v;
    unsigned range = 59 - (unsigned)__builtin_clzll(v); /* 0 for 16..31 */
    if (range >= HISTOGRAM_RANGES)
        return HISTOGRAM_CELLS - 1;
    return (size_t)HISTOGRAM_STEPS * (range + 1) + (v >> range) - HISTOGRAM_STEPS;
}

/* The highest value of a cell. */
static uint64_t cell_end(size_t cell)
{
    if (cell < HISTOGRAM_STEPS)
        return cell;
    unsigned range = (unsigned)(cell / HISTOGRAM_STEPS) - 1;
    return ((uint64_t)(cell % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << range) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->cells[cell_of(value)]++;
    h->count++;
}

double histogram_percentile(const struct histogram *h, double percent)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = (uint64_t)(percent / 100 * (double)h->count + 0.5), seen = 0;
    if (rank < 1)
        rank = 1;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += h->cells[i];
        if (seen >= rank)
            return (double)cell_end(i);
    }
    return (double)cell_end(HISTOGRAM_CELLS - 1);
}

uint64_t histogram_up_to(const struct histogram *h, uint64_t value)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS && cell_end(i) <= value; i++)
        seen += h->cells[i];
    return seen;
}
