#include "base/hash.h"

#include "base/hash_int.h"

/* Inlined: most keys are short, and a call through the shared library would cost as much as the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#define LONG_BYTES 1024 /* from here on the choice pays */

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
#ifdef __x86_64__
    if (len >= LONG_BYTES && __builtin_cpu_supports("avx2"))
        return hash_long_avx2(data, len, seed);
#endif
    return XXH3_64bits_withSeed(data, len, seed);
}
