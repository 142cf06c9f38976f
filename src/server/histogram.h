/* A log-linear histogram of microseconds: 16 steps to every power of two, so values are kept to
 * 6 %.
 *
 *   value   0 1 .. 15 | 16 .. 31 | 32 34 .. 62 | 64 68 ..
 *           each range of 2^k holds 16 steps of 2^(k-4)
 *
 * One thread. */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS  16
#define HISTOGRAM_RANGES 32 /* up to 2^36 us: a day; larger counts as that */
#define HISTOGRAM_CELLS  (HISTOGRAM_STEPS * (HISTOGRAM_RANGES + 1))

struct histogram {
    uint64_t count;
    uint32_t cells[HISTOGRAM_CELLS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that `percent` of the entries do not exceed: the upper end of its cell. 0 when empty.
 * */
double histogram_percentile(const struct histogram *h, double percent);
/* Entries whose cell lies at or below `value`. */
uint64_t histogram_up_to(const struct histogram *h, uint64_t value);

#endif
