/* Hashes. XXH3 of bytes, and a mixer of integers. Both are part of file formats and graph digests:
 * never change them. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64 of `len` bytes with a seed. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

/* A bijection of 64-bit words with full avalanche: splitmix64's finaliser (Steele, Lea, Flood,
 * OOPSLA 2014). */
static inline uint64_t hash_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

#endif
