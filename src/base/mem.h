/* Memory: one door to the heap, with the two kinds of failure kept apart.
 *
 * mem_alloc and friends are for what is small and bounded by the program: exhaustion aborts with a
 * message. mem_try_* are for sizes that a client, a file or the data set chooses: they return NULL.
 * Both come from jemalloc (from the C library when built with VS_NO_JEMALLOC, as the sanitizer
 * builds are). Any thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);                 /* uninitialised */
void *mem_zalloc(size_t size);                /* zeroed */
void *mem_realloc(void *ptr, size_t size);
char *mem_strndup(const char *text, size_t len); /* NUL-terminated copy */
void *mem_try_alloc(size_t size);
char *mem_try_strndup(const char *text, size_t len);
void *mem_try_zalloc(size_t size);
void *mem_try_realloc(void *ptr, size_t size);
/* Makes room for `want` entries of `size` bytes in a heap array that has room for *cap; what it holds
 * stays. False, and nothing changed, when memory is exhausted. `array` is the address of the
 * pointer. */
bool mem_try_grow(void *array, size_t *cap, size_t want, size_t size);
void *mem_aligned(size_t alignment, size_t size); /* zeroed, aborts on exhaustion; freed by mem_free */
void mem_free(void *ptr);                     /* NULL is fine */
/* The same past the thread's cache, for blocks of kilobytes that grow on and on: what is given back counts as free at once. Both
 * of a block or neither. */
void *mem_try_realloc_now(void *ptr, size_t size);
void mem_free_now(void *ptr);
size_t mem_size(const void *ptr);             /* usable bytes of a block; an estimate without jemalloc */

/* a * b and a + b, or false (and *out untouched) when it does not fit. */
static inline int mem_mul(size_t a, size_t b, size_t *out)
{
    size_t fit;
    if (__builtin_mul_overflow(a, b, &fit))
        return 0;
    *out = fit;
    return 1;
}
static inline int mem_add(size_t a, size_t b, size_t *out)
{
    size_t fit;
    if (__builtin_add_overflow(a, b, &fit))
        return 0;
    *out = fit;
    return 1;
}

/* Counters for INFO and MEMORY. `used` is what the program holds: the heap plus pages.h. */
struct mem_stats {
    size_t used;        /* bytes allocated by the program: heap + pages */
    size_t heap;        /* of it: through mem_* */
    size_t pages;       /* of it: through pages.h */
    size_t peak;        /* highest `used` seen by a call of mem_stats_read */
    size_t active;      /* the allocator's active pages, 0 when unknown */
    size_t resident;    /* the allocator's resident pages, 0 when unknown */
    size_t retained;    /* address space kept by the allocator, 0 when unknown */
    size_t rss;         /* resident set of the process */
};
void mem_stats_read(struct mem_stats *out);
/* `used` of mem_stats, for one thread that asks often: with `fresh` the allocator is asked, which takes some microseconds; else what
 * the calling thread has allocated and freed since then is added to its last answer. */
size_t mem_used_now(bool fresh);
/* What the calling thread has freed and its cache still holds goes back, and counts as free. */
void mem_flush(void);
/* A fault point, for tests: the `n`th allocation from now that may fail (mem_try_*, pages_alloc)
 * does; 0: none. Any thread. */
void mem_fault_after(long n);
/* The same, and so do all behind it, until mem_fault_after. */
void mem_fault_from(long n);
/* Has it come? */
bool mem_fault_hit(void);
/* Must this allocation fail? For allocators beside this one. */
bool mem_fault_now(void);
/* Hands free pages back to the system (MEMORY PURGE). */
void mem_purge(void);
/* "jemalloc-5.3.0" or "libc". */
const char *mem_allocator_name(void);

#endif
