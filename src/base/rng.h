/* A small pseudo-random generator: splitmix64's stream. Not for secrets. One owner. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/hash.h"

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t out = hash_mix(r->state);
    r->state += 0x9E3779B97F4A7C15ull;
    return out;
}
/* Uniform in [0, n), n > 0 (multiply-shift; the bias is below 2^-32 for n below 2^32). */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)(((__uint128_t)rng_next(r) * n) >> 64);
}
/* Uniform in [0, 1). */
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}
/* `len` bytes from the operating system's generator: seeds, run ids. Aborts when it cannot be read. */
void rng_system(void *out, size_t len);

#endif
