/* Insides of hash*.c alone. */
#ifndef BASE_HASH_INT_H
#define BASE_HASH_INT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
/* hash_bytes, where the processor has AVX2. */
uint64_t hash_long_avx2(const void *data, size_t len, uint64_t seed);
#endif

#endif
