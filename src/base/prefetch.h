/* Fetching memory ahead of its use. */
#ifndef BASE_PREFETCH_H
#define BASE_PREFETCH_H

#include <stddef.h>
#include <stdint.h>

/* Asks for the cache lines that hold p[0..bytes). Any address: a fetch never faults.
 *
 * The empty asm keeps the fetches: gcc takes a function that only prefetches for one without effect, and drops the calls
 * of it. */
static inline __attribute__((always_inline)) void prefetch_bytes(const void *p, size_t bytes)
{
    uintptr_t line = (uintptr_t)p & ~(uintptr_t)63, end = (uintptr_t)p + bytes;
    for (; line < end; line += 64) {
        __builtin_prefetch((const void *)line, 0, 3);
        __asm__ volatile("");
    }
}

#endif
