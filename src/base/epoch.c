/* Epochs, see epoch.h. Why it is right:
 *
 * A reader announces by an exchange on its cell, the owner looks at a cell by a read-modify-write of it. So the two are
 * ordered in the cell's modification order: either the owner sees the announcement, or the reader's exchange comes later
 * and acquires from the owner's, and with it every unlinking that the owner did before. In the second case the reader
 * cannot meet the object that is about to be freed. A late announcement of an old epoch only delays reclaiming.
 * Leaving is a release store, so what a reader read happens before the free that follows the owner's look.
 *
 * Retired items form a queue in order of their epochs; the global epoch moves on at every reclaiming that finds some. */
#include "base/epoch.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

#define CACHE_LINE 64
#define NO_READER UINT64_MAX

struct epoch_reader {
    _Alignas(CACHE_LINE) _Atomic uint64_t announced;   /* 0: not reading */
    struct epoch_reader *next;
    struct epoch_reader **link;                        /* what points here */
};

struct epoch {
    _Alignas(CACHE_LINE) _Atomic uint64_t now;
    _Alignas(CACHE_LINE) struct epoch_item *head;
    struct epoch_item **tail;
    size_t waiting;
    pthread_mutex_t lock;                              /* of the list of readers */
    struct epoch_reader *readers;
};

struct block_item {
    struct epoch_item item;
    void *block;
    void (*give)(void *block);
};

struct epoch *epoch_new(void)
{
    struct epoch *e = mem_aligned(CACHE_LINE, sizeof(*e));
    atomic_init(&e->now, 1);
    e->tail = &e->head;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

static size_t run_until(struct epoch *e, uint64_t limit, size_t max)
{
    size_t done = 0;
    while (e->head && e->head->epoch < limit && done < max) {
        struct epoch_item *item = e->head;
        e->head = item->next;
        if (!e->head)
            e->tail = &e->head;
        e->waiting--;
        done++;
        item->reclaim(item, item->arg);   /* may retire more */
    }
    return done;
}

void epoch_free(struct epoch *e)
{
    if (!e)
        return;
    assert(!e->readers);
    run_until(e, NO_READER, SIZE_MAX);
    pthread_mutex_destroy(&e->lock);
    mem_free(e);
}

struct epoch_reader *epoch_reader_new(struct epoch *e)
{
    struct epoch_reader *r = mem_aligned(CACHE_LINE, sizeof(*r));
    atomic_init(&r->announced, 0);
    pthread_mutex_lock(&e->lock);
    r->next = e->readers;
    r->link = &e->readers;
    if (r->next)
        r->next->link = &r->next;
    e->readers = r;
    pthread_mutex_unlock(&e->lock);
    return r;
}

void epoch_reader_free(struct epoch *e, struct epoch_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&e->lock);
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    pthread_mutex_unlock(&e->lock);
    mem_free(r);
}

void epoch_enter(struct epoch *e, struct epoch_reader *r)
{
    uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire);
    atomic_exchange_explicit(&r->announced, now, memory_order_acq_rel);
}

void epoch_exit(struct epoch_reader *r)
{
    atomic_store_explicit(&r->announced, 0, memory_order_release);
}

void epoch_retire(struct epoch *e, struct epoch_item *item,
                  void (*reclaim)(struct epoch_item *, void *), void *arg)
{
    item->next = NULL;
    item->epoch = atomic_load_explicit(&e->now, memory_order_relaxed);
    item->reclaim = reclaim;
    item->arg = arg;
    *e->tail = item;
    e->tail = &item->next;
    e->waiting++;
}

static void free_block(struct epoch_item *item, void *arg)
{
    (void)arg;
    struct block_item *b = (struct block_item *)item;
    b->give(b->block);
    mem_free(b);
}

void epoch_retire_with(struct epoch *e, void *block, void (*give)(void *block))
{
    if (!block)
        return;
    struct block_item *b = mem_alloc(sizeof(*b));
    b->block = block;
    b->give = give;
    epoch_retire(e, &b->item, free_block, NULL);
}

void epoch_retire_free(struct epoch *e, void *block)
{
    epoch_retire_with(e, block, mem_free);
}

static uint64_t oldest_announced(struct epoch *e)
{
    uint64_t oldest = NO_READER;
    pthread_mutex_lock(&e->lock);
    for (struct epoch_reader *r = e->readers; r; r = r->next) {
        uint64_t at = atomic_fetch_or_explicit(&r->announced, 0, memory_order_acq_rel);
        if (at != 0 && at < oldest)
            oldest = at;
    }
    pthread_mutex_unlock(&e->lock);
    return oldest;
}

size_t epoch_reclaim(struct epoch *e, size_t max)
{
    if (!e->head)
        return 0;
    uint64_t now = atomic_load_explicit(&e->now, memory_order_relaxed);
    uint64_t youngest = now;   /* items of this call's callbacks carry now + 1 and stay */
    atomic_store_explicit(&e->now, now + 1, memory_order_release);
    uint64_t oldest = oldest_announced(e);
    run_until(e, oldest <= youngest ? oldest : youngest + 1, max);
    return e->waiting;
}

_Static_assert(offsetof(struct block_item, item) == 0, "a block's item is its beginning");
