#include "base/hash.h"

/* Inlined: most keys are short, and a call through the shared library would cost as much as the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}
