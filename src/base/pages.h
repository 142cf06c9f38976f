/* Page runs: the memory of vectors, codes and links.
 *
 * Chunks of a partition are hundreds of kilobytes of an odd size; a general allocator rounds such a
 * size up by as much as a quarter. This allocator cuts them from 32 MiB arenas in whole 4 KiB
 * pages, so nothing is rounded, and asks for transparent huge pages on arenas of the PAGES_HUGE
 * kind (rows that a search reads at random), not on PAGES_PLAIN ones (originals, touched rarely).
 *
 *   arena:  | run | run | free ... | run | free |     one bit a page; first fit from a moving hint
 *
 * A freed run's pages go back to the system at once (MADV_DONTNEED); an arena without runs is
 * unmapped, one kept spare per kind. A run larger than an arena gets an arena of its own. Runs are
 * zeroed. Any thread; one mutex, rarely taken. */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include <stddef.h>

enum pages_kind { PAGES_HUGE, PAGES_PLAIN, PAGES_KINDS };

/* A zeroed run of at least `size` bytes, aligned to 4 KiB; NULL when memory or address space is
 * exhausted. */
void *pages_alloc(enum pages_kind kind, size_t size);
/* `size` as it was asked for. NULL is fine. */
void pages_free(enum pages_kind kind, void *ptr, size_t size);
/* Pages that somebody mapped himself, and that are to be counted as if they were runs; less than 0: not any more. */
void pages_note(long long bytes);
/* Bytes in live runs, rounded to pages, and those noted. */
size_t pages_used(void);
/* What pages_alloc really takes for `size`. */
static inline size_t pages_round(size_t size)
{
    return (size + 4095) & ~(size_t)4095;
}

#endif
