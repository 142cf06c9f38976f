/* Blocks are taken from one atomic counter: whoever is free takes the next. */
#include "benchmark/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS_MAX 256

struct loop {
    size_t n, block;
    void (*run)(void *arg, size_t first, size_t count);
    void *arg;
    atomic_size_t next;
};

static void *loop_work(void *arg)
{
    struct loop *loop = arg;

    for (;;) {
        size_t first = atomic_fetch_add_explicit(&loop->next, loop->block, memory_order_relaxed);

        if (first >= loop->n)
            return NULL;
        loop->run(loop->arg, first, loop->n - first < loop->block ? loop->n - first : loop->block);
    }
}

void parallel_for(size_t n, size_t block, unsigned threads,
                  void (*run)(void *arg, size_t first, size_t count), void *arg)
{
    struct loop loop = {.n = n, .block = block ? block : 1, .run = run, .arg = arg};
    pthread_t started[THREADS_MAX];
    unsigned count = 0;

    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    while (count + 1 < threads && (size_t)count * loop.block < n) {
        if (pthread_create(&started[count], NULL, loop_work, &loop) != 0)
            break;
        count++;
    }
    loop_work(&loop);
    for (unsigned i = 0; i < count; i++)
        pthread_join(started[i], NULL);
}

unsigned parallel_processors(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return CPU_COUNT(&set) > 0 ? (unsigned)CPU_COUNT(&set) : 1;
}
