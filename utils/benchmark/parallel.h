/* A loop over items, dealt in blocks to threads that live as long as the loop. */
#ifndef BENCHMARK_PARALLEL_H
#define BENCHMARK_PARALLEL_H

#include <stddef.h>

/* Calls run(arg, first, count) for disjoint blocks of at most `block` items that cover 0..n-1, on
 * up to `threads` threads, the caller's among them. Threads the system does not give are done
 * without. */
void parallel_for(size_t n, size_t block, unsigned threads,
                  void (*run)(void *arg, size_t first, size_t count), void *arg);
/* Processors this process may run on, at least 1. */
unsigned parallel_processors(void);

#endif
