/* A limit of memory: which element or key goes, by samples. See evict.c. */
#include <string.h>

#include "index/graph_restore.h"
#include "store/evict_int.h"

#define TRIES  8  /* random slots for one sample */
#define ROUNDS 16 /* of samples without a candidate before giving up */

static bool volatile_only(const struct vs_store *store)
{
    return store->evict.limit.policy >= VS_EVICT_TTL_LRU;
}

/* ---- candidates ---- */

static void offer(struct evict *e, const struct victim *v)
{
    for (unsigned i = 0; i < e->nvictims; i++)
        if (e->victims[i].uid == v->uid && e->victims[i].number == v->number &&
            e->victims[i].slot == v->slot)
            return;
    if (e->nvictims == VICTIMS) {
        if (v->score <= e->victims[0].score)
            return;
        memmove(e->victims, e->victims + 1, (VICTIMS - 1) * sizeof(*v));
        e->nvictims--;
    }
    unsigned at = e->nvictims++;
    for (; at > 0 && e->victims[at - 1].score > v->score; at--)
        e->victims[at] = e->victims[at - 1];
    e->victims[at] = *v;
}

/* 0: never. */
static uint64_t element_deadline(const struct partition *p, uint32_t slot)
{
    return p->deadlines.n ? graph_deadline(p->graph, slot) : 0;
}

/* The score of what may go; false: it may not. */
static bool score_of(const struct vs_store *store, const struct vs_index *index,
                     const struct partition *p, uint32_t slot, uint64_t *score)
{
    enum vs_evict policy = store->evict.limit.policy;
    uint64_t deadline = p ? element_deadline(p, slot) : 0, key = index->deadline_ms;
    if (key && (!deadline || key < deadline))
        deadline = key;
    if (volatile_only(store) && !deadline)
        return false;
    switch (policy) {
    case VS_EVICT_TTL: *score = UINT64_MAX - deadline; break;
    case VS_EVICT_ALL_RANDOM:
    case VS_EVICT_TTL_RANDOM: *score = 0; break;
    default:
        *score = p ? use_score(p, slot) : use_key_score(index, store->use.kind);
        break;
    }
    return true;
}

static struct partition *random_partition(struct vs_store *store, const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    struct partition *pressing = store->evict.pressing;
    bool slots = store->evict.over < 2; /* and not memory is what is wanted */
    if (slots && pressing && pressing->index == index &&
        graph_alive(pressing->graph) > index->count / (2 * t->n))
        return pressing;
    return t->part[rng_below(&store->rng, t->n)];
}

static void offer_element(struct vs_store *store, const struct vs_index *index,
                          const struct partition *p, uint32_t slot)
{
    struct victim v = {.uid = index->uid, .number = p->number, .slot = slot};
    v.born = graph_alive_at(p->graph, slot);
    if (v.born && score_of(store, index, p, slot, &v.score))
        offer(&store->evict, &v);
}

/* Where only elements with a deadline may go: any of them, under volatile-ttl the `i`th. */
static void sample_ending_element(struct vs_store *store, const struct vs_index *index, const struct partition *p, unsigned i)
{
    size_t n = p->stub ? 0 : p->deadlines.n;
    size_t at = store->evict.limit.policy == VS_EVICT_TTL ? i : n ? rng_below(&store->rng, n) : 0;
    if (at < n && !graph_damaged(p->graph))
        offer_element(store, index, p, (uint32_t)heap_cell_at(&p->deadlines, at)->what);
}

/* The `i`th of a round. */
static void sample_element(struct vs_store *store, const struct vs_index *index, unsigned i)
{
    struct partition *p = random_partition(store, index);
    struct graph_slack s;
    if (volatile_only(store) && !index->deadline_ms) {
        sample_ending_element(store, index, p, i);
        return;
    }
    if (p->stub || graph_damaged(p->graph) || !(s = graph_slack(p->graph)).slots)
        return;
    for (int tries = 0; tries < TRIES; tries++) {
        uint32_t slot = (uint32_t)rng_below(&store->rng, s.slots);
        if (!graph_alive_at(p->graph, slot))
            continue;
        offer_element(store, index, p, slot);
        return;
    }
}

/* One of the large indexes, by how many elements they have. */
static const struct vs_index *random_large(struct vs_store *store)
{
    struct evict *e = &store->evict;
    size_t total = 0;
    for (unsigned i = 0; i < e->nlarge; i++) {
        const struct vs_index *index = keyspace_by_uid(store, e->large[i]);
        total += index ? index->count : 0;
    }
    size_t at = total ? rng_below(&store->rng, total) : 0;
    for (unsigned i = 0; i < e->nlarge && total; i++) {
        const struct vs_index *index = keyspace_by_uid(store, e->large[i]);
        size_t n = index ? index->count : 0;
        if (at < n)
            return index;
        at -= n;
    }
    return NULL;
}

static void sample_key(struct vs_store *store, const struct vs_index *index)
{
    struct victim v = {.slot = SLOT_NONE};
    if (!index || index->large || !score_of(store, index, NULL, 0, &v.score))
        return;
    v.uid = index->uid;
    offer(&store->evict, &v);
}

/* Of the keys that have a deadline: under volatile-ttl those that come first, else any. */
static void sample_ending_keys(struct vs_store *store)
{
    const struct heap *keys = &store->expiry.keys;
    unsigned n = store->evict.limit.samples;
    for (size_t i = 0; i < n && i < keys->n; i++) {
        size_t at = store->evict.limit.policy == VS_EVICT_TTL ? i : rng_below(&store->rng, keys->n);
        sample_key(store, (const struct vs_index *)(uintptr_t)heap_cell_at(keys, at)->what);
    }
}

/* The same from the other end, for where few of many elements have a deadline. */
static void sample_ending_parts(struct vs_store *store)
{
    const struct heap *parts = &store->expiry.parts;
    for (unsigned i = 0; i < store->evict.limit.samples && parts->n; i++) {
        size_t at = rng_below(&store->rng, parts->n);
        const struct partition *p = (const struct partition *)(uintptr_t)heap_cell_at(parts, at)->what;
        if (p->index && p->index->large)
            sample_ending_element(store, p->index, p, i);
    }
}

/* A round of samples: so many elements, and so many keys of each database. */
static void sample(struct vs_store *store)
{
    unsigned n = store->evict.limit.samples;
    for (unsigned i = 0; i < n && store->evict.nlarge; i++) {
        const struct vs_index *index = random_large(store);
        if (index)
            sample_element(store, index, i);
    }
    if (volatile_only(store)) {
        sample_ending_keys(store);
        if (!store->evict.nvictims)
            sample_ending_parts(store);
        return;
    }
    for (unsigned db = 0; db < store->options.databases; db++) {
        size_t keys = vs_count(store, db);
        for (unsigned i = 0; i < n && i < keys; i++)
            sample_key(store, vs_random(store, db));
    }
}

/* ---- evicting ---- */

static void told(const struct vs_store *store, enum vs_evicted what, const struct vs_index *index)
{
    const struct vs_memory_limit *l = &store->evict.limit;
    if (l->evicted)
        l->evicted(l->arg, what, index->db, index->key, index->key_len);
}

static enum vs_status evict_key(struct vs_store *store, struct vs_index *index,
                                enum vs_evicted what)
{
    enum vs_status status = keyspace_raw_remove(index);
    if (status == VS_OK)
        told(store, what, index); /* it is freed behind */
    return status;
}

static enum vs_status evict_element(struct vs_store *store, struct vs_index *index,
                                    struct partition *p, uint32_t slot)
{
    enum vs_status status = partition_delete(p, slot);
    if (status != VS_OK)
        return status;
    index->count--;
    store->evict.elements++;
    told(store, VS_EVICTED_ELEMENT, index);
    return index->count || index->options.keep_empty ? VS_OK
                                                     : evict_key(store, index, VS_EVICTED_LAST);
}

/* VS_NOTFOUND: it is no candidate any more. */
static enum vs_status evict_victim(struct vs_store *store, const struct victim *v)
{
    struct vs_index *index = keyspace_by_uid(store, v->uid);
    struct partition *p = NULL;
    uint64_t score;
    if (!index)
        return VS_NOTFOUND;
    if (v->slot != SLOT_NONE) {
        p = index_numbered(index, v->number);
        if (!p || p->stub || graph_alive_at(p->graph, v->slot) != v->born)
            return VS_NOTFOUND;
    } else if (index->large) {
        return VS_NOTFOUND;
    }
    if (!score_of(store, index, p, v->slot, &score) || score < v->score)
        return VS_NOTFOUND; /* used since */
    if (p)
        return evict_element(store, index, p, v->slot);
    enum vs_status status = evict_key(store, index, VS_EVICTED_KEY);
    store->evict.keys += status == VS_OK;
    return status;
}

enum vs_status evict_one(struct vs_store *store)
{
    struct evict *e = &store->evict;
    for (int round = 0; round < ROUNDS; round++) {
        sample(store);
        while (e->nvictims) {
            struct victim v = e->victims[--e->nvictims];
            enum vs_status status = evict_victim(store, &v);
            if (status != VS_NOTFOUND)
                return status;
        }
    }
    return VS_NOTFOUND;
}
