/* Ids of an index: ranges in byte order, and samples.
 *
 * There is no ordered structure of ids: whoever asks for a range has a worker look at all of them, as of the moment it was
 * asked, and sort what is within. A range of the first few keeps a heap of as many. One that would be kept in
 * order all the time would cost every write some memory and time, for a command that is asked seldom.
 *
 * A few ids at random come from the maps of ids at once, on the owner's thread (htable_random); many from a worker, which
 * gathers all records and draws from them.
 *
 * Ids are not copied: they stay readable within the epoch that is entered at the begin and left by vs_ids_free. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/store_int.h"

struct found {
    uint64_t prefix;                 /* of a range: the id's first 8 bytes as a number, so that most comparisons need no id */
    const void *user;
};

struct ids_part {
    const struct graph *graph;
    const struct graph_view *view;
    uint64_t as_of, now_ms;
};

struct vs_ids {
    struct pool_task task;
    struct vs_store *store;
    struct epoch_reader *reader;
    struct vs_ids_query query;       /* its bounds behind the parts */
    struct rng rng;
    struct found *found;
    size_t n, cap, part_from;        /* found; of earlier partitions */
    size_t keep;                     /* of a range: the bound of a partition's heap, SIZE_MAX: none */
    bool doubled, no_memory;
    const _Atomic bool *cancelled;
    enum vs_status status;
    void (*done)(struct vs_ids *ids, void *arg);
    void *arg;
    size_t nparts;
    struct ids_part parts[];
};

/* ---- a few at random, at once ---- */

/* So many that have ended are drawn one after another, at most, before there are taken to be no others. */
#define RANDOM_TRIES 1000

static uint64_t random_word(void *arg)
{
    return rng_next(arg);
}

enum vs_status vs_random_ids(struct vs_index *index, size_t n, void (*each)(void *arg, const void *id, size_t len),
                             void *arg)
{
    const struct partition_table *t = index_table(index);
    struct vs_store *store = index->store;
    struct vs_query all = {0};
    size_t below[VS_PARTITIONS_MAX]; /* elements of the partitions up to each */
    size_t count = 0, asked = n;
    bool any = false;
    for (uint32_t i = 0; i < t->n; i++)
        below[i] = count += partition_alive(t->part[i]);
    if (!count)
        return VS_NOTFOUND;
    enum vs_status status = open_for_query(index, &all);
    if (status != VS_OK)
        return status;
    t = index_table(index);
    for (unsigned tries = 0; n && tries < RANDOM_TRIES;) {
        size_t place = rng_below(&store->rng, count), low = 0, high = t->n - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (below[middle] > place)
                high = middle;
            else
                low = middle + 1;
        }
        const struct partition *p = t->part[low];
        if (p->stub)
            return VS_BACKLOG;
        uint64_t cell = htable_random(p->ids, random_word, &store->rng);
        size_t len;
        if (partition_ended(p, (uint32_t)cell - 1)) {
            tries++;
            continue;
        }
        tries = 0;
        n--;
        any = true;
        const void *id = record_id(graph_user(p->graph, (uint32_t)cell - 1), &len);
        each(arg, id, len);
    }
    return any || !asked ? VS_OK : VS_NOTFOUND;
}

/* ---- order ---- */

static uint64_t prefix_of(const unsigned char *id, size_t len)
{
    uint64_t prefix = 0;
    for (size_t i = 0; i < 8; i++)
        prefix = prefix << 8 | (i < len ? id[i] : 0);
    return prefix;
}

static int compare_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : a_len < b_len ? -1 : a_len > b_len;
}

static int compare_found(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    size_t a_len, b_len;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    const void *a_id = record_id(a->user, &a_len), *b_id = record_id(b->user, &b_len);
    return compare_bytes(a_id, a_len, b_id, b_len);
}

static int compare_user(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    return a->user < b->user ? -1 : a->user > b->user;
}

static bool within(const struct vs_ids_query *q, const void *id, size_t len)
{
    if (q->from) {
        int order = compare_bytes(id, len, q->from, q->from_len);
        if (order < 0 || (order == 0 && q->from_open))
            return false;
    }
    if (q->to) {
        int order = compare_bytes(id, len, q->to, q->to_len);
        if (order > 0 || (order == 0 && q->to_open))
            return false;
    }
    return true;
}

/* ---- gathering ---- */

/* Puts `f` where the hole at `i` of a heap of `n` is, the greatest on top. */
static void sift_down(struct found *heap, size_t n, size_t i, struct found f)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && compare_found(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (compare_found(&heap[child], &f) <= 0)
            break;
        heap[i] = heap[child];
    }
    heap[i] = f;
}

static bool gather(void *arg, void *user)
{
    struct vs_ids *ids = arg;
    struct found f = {.user = user};
    struct found *heap = ids->found ? ids->found + ids->part_from : NULL;
    size_t n = ids->n - ids->part_from;
    if (ids->query.kind == VS_IDS_RANGE) {
        size_t len;
        const void *id = record_id(user, &len);
        if (!within(&ids->query, id, len))
            return true;
        f.prefix = prefix_of(id, len);
        if (n == ids->keep) {
            if (compare_found(&f, &heap[0]) < 0)
                sift_down(heap, n, 0, f);
            return true;
        }
    }
    if (ids->n == ids->cap) {
        if (!mem_try_grow(&ids->found, &ids->cap, 2 * ids->n + 256, sizeof(*ids->found))) {
            ids->no_memory = true;
            return false;
        }
        heap = ids->found + ids->part_from;
    }
    heap[n++] = f;
    ids->n++;
    if (n == ids->keep)
        for (size_t i = n / 2; i-- > 0;)
            sift_down(heap, n, i, heap[i]);
    return true;
}

/* Of one partition, maybe not for the first time. Where records may come twice, twice as many are kept. */
static void gather_begin(void *arg, bool doubled)
{
    struct vs_ids *ids = arg;
    size_t max = ids->query.max;
    ids->doubled = doubled;
    ids->n = ids->part_from;
    ids->keep = ids->query.kind != VS_IDS_RANGE || max == SIZE_MAX ? SIZE_MAX : doubled ? 2 * max : max;
}

static void drop_doubles(struct vs_ids *ids)
{
    size_t n = ids->n - ids->part_from, kept = 0;
    if (!ids->doubled || !n)
        return;
    struct found *f = ids->found + ids->part_from;
    qsort(f, n, sizeof(*f), compare_user);
    for (size_t i = 0; i < n; i++)
        if (!kept || f[kept - 1].user != f[i].user)
            f[kept++] = f[i];
    ids->n = ids->part_from + kept;
}

static enum vs_status gather_all(struct vs_ids *ids)
{
    for (size_t i = 0; i < ids->nparts; i++) {
        const struct ids_part *p = &ids->parts[i];
        ids->part_from = ids->n;
        if (!graph_each(p->graph, p->view, p->as_of, p->now_ms, ids->cancelled, gather_begin, gather, ids))
            return ids->no_memory ? VS_NOMEM : VS_CANCELLED;
        drop_doubles(ids);
    }
    return VS_OK;
}

/* ---- choosing ---- */

static void choose_sample(struct vs_ids *ids)
{
    if (ids->n > ids->query.max) {
        for (size_t i = 0; i < ids->query.max; i++) {
            size_t j = i + rng_below(&ids->rng, ids->n - i);
            struct found f = ids->found[i];
            ids->found[i] = ids->found[j];
            ids->found[j] = f;
        }
        ids->n = ids->query.max;
    }
}

static enum vs_status choose_draws(struct vs_ids *ids)
{
    size_t bytes, max = ids->query.max;
    struct found *drawn;
    if (!ids->n)
        return VS_OK;
    if (!mem_mul(max, sizeof(*drawn), &bytes) || !(drawn = mem_try_alloc(bytes + 1)))
        return VS_NOMEM;
    for (size_t i = 0; i < max; i++)
        drawn[i] = ids->found[rng_below(&ids->rng, ids->n)];
    mem_free(ids->found);
    ids->found = drawn;
    ids->n = max;
    return VS_OK;
}

static void run_ids(struct pool_task *task, unsigned worker)
{
    struct vs_ids *ids = (struct vs_ids *)((char *)task - offsetof(struct vs_ids, task));
    (void)worker;
    enum vs_status status = ids->query.max ? gather_all(ids) : VS_OK;
    if (status == VS_OK && ids->query.kind == VS_IDS_RANGE) {
        if (ids->n)
            qsort(ids->found, ids->n, sizeof(*ids->found), compare_found);
        ids->n = ids->n < ids->query.max ? ids->n : ids->query.max;
    } else if (status == VS_OK && ids->query.kind == VS_IDS_SAMPLE) {
        choose_sample(ids);
    } else if (status == VS_OK) {
        status = choose_draws(ids);
    }
    ids->status = status;
    if (status != VS_OK)
        ids->n = 0;
    ids->done(ids, ids->arg);
}

/* ---- the life of one ---- */

/* `from` and `to` into the block at `at`. */
static void copy_bounds(struct vs_ids_query *q, char *at)
{
    if (q->from) {
        memcpy(at, q->from, q->from_len);
        q->from = at;
        at += q->from_len;
    }
    if (q->to) {
        memcpy(at, q->to, q->to_len);
        q->to = at;
    }
}

enum vs_status vs_ids_begin(struct vs_index *index, const struct vs_ids_query *query, struct vs_ids **out)
{
    struct vs_store *store = index->store;
    struct vs_query all = {0};
    enum vs_status status = open_for_query(index, &all);
    if (status != VS_OK)
        return status;
    const struct partition_table *t = index_table(index);
    size_t bounds = (query->from ? query->from_len : 0) + (query->to ? query->to_len : 0);
    struct vs_ids *ids = mem_try_zalloc(sizeof(*ids) + t->n * sizeof(ids->parts[0]) + bounds);
    if (!ids)
        return VS_NOMEM;
    ids->store = store;
    ids->query = *query;
    ids->rng.state = rng_next(&store->rng);
    copy_bounds(&ids->query, (char *)&ids->parts[t->n]);
    ids->reader = epoch_reader_new(store->epoch);
    epoch_enter(store->epoch, ids->reader);
    for (size_t i = 0; i < t->n; i++) {
        struct ids_part *p = &ids->parts[ids->nparts++];
        if (t->part[i]->stub) {
            vs_ids_free(ids);
            return VS_BACKLOG;
        }
        p->now_ms = partition_now(t->part[i]);
        p->graph = t->part[i]->graph;
        p->as_of = graph_sequence(p->graph);
        p->view = graph_view(p->graph);
    }
    *out = ids;
    return VS_OK;
}

void vs_ids_submit(struct vs_ids *ids, const _Atomic bool *cancelled, void (*done)(struct vs_ids *ids, void *arg),
                   void *arg)
{
    struct pool *pool = ids->store->pool;
    ids->cancelled = cancelled;
    ids->done = done;
    ids->arg = arg;
    ids->task.run = run_ids;
    pool_submit(pool, POOL_SEARCH, &ids->task);
    pool_drain(pool);
}

enum vs_status vs_ids_status(const struct vs_ids *ids)
{
    return ids->status;
}

size_t vs_ids_count(const struct vs_ids *ids)
{
    return ids->n;
}

const void *vs_ids_at(const struct vs_ids *ids, size_t i, size_t *len)
{
    return record_id(ids->found[i].user, len);
}

void vs_ids_free(struct vs_ids *ids)
{
    if (!ids)
        return;
    epoch_exit(ids->reader);
    epoch_reader_free(ids->store->epoch, ids->reader);
    mem_free(ids->found);
    mem_free(ids);
}
