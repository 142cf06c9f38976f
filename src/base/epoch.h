/* Epoch-based reclamation: when may memory that readers might still hold be freed?
 *
 *   owner:    unlink object  ->  epoch_retire(object)                 ... epoch_reclaim(): frees what no reader can hold
 *   reader:   epoch_enter() -> load published pointers, read -> epoch_exit()
 *
 * A reader announces the global epoch in a cache line of its own and clears it when done; an object
 * retired at epoch e is freed when every announced epoch is later than e. Fraser, "Practical
 * lock-freedom", 2004, ch. 5.2.3. Chosen over liburcu's QSBR because ThreadSanitizer understands
 * C11 atomics and because a reader here is a job, not a thread.
 *
 * Retiring and reclaiming: the owner thread only. Entering and leaving: any thread, each with its
 * own reader. */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct epoch;
struct epoch_reader;

struct epoch *epoch_new(void);
/* Frees everything still retired; no reader may be left. */
void epoch_free(struct epoch *e);

/* A reader's announcement cell: one a thread that reads. Any thread (takes a mutex). */
struct epoch_reader *epoch_reader_new(struct epoch *e);
void epoch_reader_free(struct epoch *e, struct epoch_reader *r);

/* Between enter and exit, what was published when entering (or later) stays readable. Not nested.
 * Wait-free. */
void epoch_enter(struct epoch *e, struct epoch_reader *r);
void epoch_exit(struct epoch_reader *r);

/* What a retired object carries: embed it as you like, it is never moved. */
struct epoch_item {
    struct epoch_item *next;
    uint64_t epoch;
    void (*reclaim)(struct epoch_item *item, void *arg);   /* called on the owner thread; frees the object */
    void *arg;
};
/* Frees `item` by item->reclaim once no reader can see it. Takes the item. */
void epoch_retire(struct epoch *e, struct epoch_item *item, void (*reclaim)(struct epoch_item *, void *), void *arg);
/* The same for a plain block, freed by mem_free. Allocates a small item. */
void epoch_retire_free(struct epoch *e, void *block);
/* Or by another function. */
void epoch_retire_with(struct epoch *e, void *block, void (*give)(void *block));
/* Reclaims what may be reclaimed, at most `max` items; the number still waiting. */
size_t epoch_reclaim(struct epoch *e, size_t max);

#endif
