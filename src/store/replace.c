/* A partition is replaced by another state of it: what a replica does when it finds that one of its partitions is not
 * what its primary's is. The new one is built aside by a worker, as an opened one is (open.c), and exchanged for the
 * old one by the owner; a running cut, which is of the moment before, gets the old one. */
#include <stdatomic.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/store_int.h"

#define WAIT_NS 50000

struct vs_replacing {
    struct pool_task task;
    struct vs_store *store;
    uint64_t uid;
    uint32_t number;
    struct partition *p;             /* what is being built */
    enum vs_status (*source)(void *arg,
                             enum vs_status (*build)(void *build_arg, const struct vs_part_image *image, struct buf *why),
                             void *build_arg, struct buf *why);
    void *arg;
    size_t alive;
    enum vs_status status;
    struct buf why;
    atomic_bool ended;
};

static enum vs_status build(void *arg, const struct vs_part_image *image, struct buf *why)
{
    struct vs_replacing *r = arg;
    r->alive = image->alive;
    return partition_restore(r->p, image, why);
}

static void replace_task(struct pool_task *task, unsigned worker)
{
    struct vs_replacing *r = (struct vs_replacing *)((char *)task - offsetof(struct vs_replacing, task));
    struct vs_store *store = r->store;
    void (*wake)(void *) = store->options.wake;
    void *arg = store->options.wake_arg;
    (void)worker;
    r->status = r->source(r->arg, build, r, &r->why);
    atomic_store_explicit(&r->ended, true, memory_order_release); /* it may be freed from here on */
    if (wake && !atomic_load_explicit(&store->closing, memory_order_relaxed))
        wake(arg);
}

enum vs_status vs_replace_begin(struct vs_index *index, size_t i,
                                enum vs_status (*source)(void *arg,
                                                         enum vs_status (*build)(void *build_arg,
                                                                                 const struct vs_part_image *image,
                                                                                 struct buf *why),
                                                         void *build_arg, struct buf *why),
                                void *arg, struct vs_replacing **out)
{
    struct partition_table *t = index_table(index);
    if (i >= t->n)
        return VS_INVALID;
    struct vs_replacing *r = mem_try_zalloc(sizeof(*r));
    struct partition *p = r ? partition_new(index, t->part[i]->number) : NULL;
    if (!p) {
        mem_free(r);
        return VS_NOMEM;
    }
    r->store = index->store;
    r->uid = index->uid;
    r->number = p->number;
    r->p = p;
    r->source = source;
    r->arg = arg;
    r->task.run = replace_task;
    *out = r;
    pool_submit(r->store->pool, POOL_SEARCH, &r->task);
    pool_drain(r->store->pool);
    return VS_OK;
}

bool vs_replace_ended(const struct vs_replacing *r)
{
    return atomic_load_explicit(&r->ended, memory_order_acquire);
}

/* False: out of memory. */
static bool put(struct vs_replacing *r, struct vs_index *index, struct partition *old)
{
    struct partition *p = r->p;
    size_t before = partition_alive(old);
    if (!heap_reserve(&r->store->expiry.parts, 1))
        return false;
    cut_touch_all(index);
    p->pinned = old->pinned;
    p->cut = r->store->env.cuts;
    if (!partition_exchange(old, p))
        return false;
    index->count += r->alive - before;
    expiry_touch(p);
    evict_account(p);
    partition_settle_in(p);
    return true;
}

enum vs_status vs_replace_end(struct vs_replacing *r, bool place, struct buf *why)
{
    while (!vs_replace_ended(r))
        nanosleep(&(struct timespec){0, WAIT_NS}, NULL);
    struct vs_index *index = keyspace_by_uid(r->store, r->uid);
    struct partition *old = index ? index_numbered(index, r->number) : NULL;
    enum vs_status status = r->status;
    if (status != VS_OK)
        buf_append(why, r->why.data, r->why.len);
    else if (!place)
        status = VS_CANCELLED;
    else if (!old)
        status = VS_NOTFOUND;
    else if (!put(r, index, old))
        status = VS_NOMEM;
    if (status != VS_OK)
        partition_kill(r->p); /* nobody has seen it */
    buf_release(&r->why);
    mem_free(r);
    return status;
}
