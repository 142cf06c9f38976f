/* The worker pool: threads that search and link.
 *
 *   submit(POOL_SEARCH) --> [ queue of searches ] --+
 *                                                   +--> worker 0 .. n-1
 *   submit(POOL_LINK)   --> [ queue of linking  ] --+
 *
 * Searches first; but while linking work waits, it gets at least half of each worker's time: a
 * worker keeps the time it spent on either since both were waiting, and takes linking when its
 * share has fallen below (`link_share`). Tasks are intrusive and owned by the submitter until they
 * run; a task may submit itself again from its own run function. Queues are unbounded linked lists
 * under one mutex per pool: a hand-over costs well under a microsecond and a bounded ring would
 * have to refuse. Workers sleep on a condition variable when both queues are empty.
 *
 * Any thread may submit. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pool_kind { POOL_SEARCH, POOL_LINK, POOL_KINDS };

struct pool;

struct pool_task {
    struct pool_task *next;
    void (*run)(struct pool_task *task, unsigned worker);  /* worker: 0..threads-1 */
};

/* `threads` 0 is legal: submitted tasks then run inside pool_drain() on the caller's thread, as
 * worker 0. NULL when the system gives no thread. */
struct pool *pool_new(unsigned threads, const char *name);
/* Waits for queued tasks to end, then for the threads. */
void pool_free(struct pool *p);
unsigned pool_threads(const struct pool *p);
void pool_submit(struct pool *p, enum pool_kind kind, struct pool_task *task);
/* Is anything waiting in the queue? Cheap, for decisions that may be wrong. */
bool pool_has_waiting(const struct pool *p, enum pool_kind kind);
/* Is a search waiting that a linking task should make room for? Cheap (one relaxed load); for tasks
 * that run in slices. */
bool pool_should_yield(const struct pool *p, unsigned worker);
/* With no threads: runs queued tasks until none is left. With threads: returns at once. */
void pool_drain(struct pool *p);

struct pool_stats {
    uint64_t tasks[POOL_KINDS];      /* run so far */
    uint64_t busy_ns[POOL_KINDS];    /* time spent in them, all workers */
    size_t waiting[POOL_KINDS];
};
void pool_stats_read(const struct pool *p, struct pool_stats *out);

#endif
