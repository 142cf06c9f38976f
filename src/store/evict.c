/* A limit of memory: what is evicted when it is passed, and who must wait.
 *
 * WHAT GOES. An index that takes less than 1/16 of the limit goes as a whole, like a key of Redis: a few elements
 * fewer would give nothing back, since its columns lie in one or a few chunks. Of a larger one (there can be no
 * more than 16) single elements go. Both compete by the same measure: idle time, frequency, or time to live. As
 * in Redis the choice is by sampling: a few elements and a few keys at random, the best of which stand in a pool of
 * 16 from which the first is taken. Whatever has been used since it was put there is dropped when its turn comes.
 *
 * WHEN MEMORY COMES BACK. An evicted element is dead at once, but its slot is free only when the graph has been
 * mended, which waits for 1/32 of the graph to be dead (index/graph.h), and chunks are given back only by compaction.
 * So what counts is not only what is in use, but also what is on its way:
 *
 *   coming    of a partition: columns that compaction will give back, ids and attributes of the dead
 *   ending    all of a removed partition, until a worker has freed it
 *
 * and elements are evicted while   used - coming - ending > goal,   a little below the limit.
 *
 * A STREAM OF INSERTS. A partition that would have to grow beyond the goal (it is `pressing`) lives on slots that come
 * back. Elements are evicted before it stands still: so that dead, freed and free slots together are a reserve of what
 * one mending needs and what is added while it runs. Then every insert evicts one element, and dead ones become free slots,
 * 1/32 of the graph at a time. Only a writer that finds no slot at all waits (VS_BACKLOG). While a cut keeps slots
 * from becoming free a partition may grow past the goal by 1/64 of the limit.
 *
 * In which index an element goes is decided among all of them; in an index of several partitions it goes from the
 * pressing one, whose slots are wanted.
 *
 * REJECTED: exact lists in order of use (16 bytes an element, and a search would write to them); evicting by memory in
 * use alone (a graph would lose a good part of its elements before the first page comes back). */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

#define GOAL_SHARE     128 /* the goal lies below the limit by one part in so many */
#define GROW_SHARE     64  /* by such a part it may be passed while a cut is taken, and by others than the pressing */
#define LARGE_SHARE    16
#define MAP_CELL       8   /* bytes an id takes in the map, about */
#define MEASURE_AGE_NS 2000000
#define STALL_NS       300000000ull
#define STALL_BATCH    BATCH_SIZE
#define LOOK_EVERY     8   /* evictions between looks at the clock */
#define TRIES          8   /* random slots for one sample */
#define NOTE_EVERY     64 /* entries between looks at an index's size */
#define ROUNDS         16  /* of samples without a candidate before giving up */

/* Up to where partitions grow: what mending the largest graph takes for a while has its place, too. */
static size_t goal(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    size_t max = e->limit.max, play = max / GOAL_SHARE, apart = e->mend > play ? e->mend - play : 0;
    return max - max / GOAL_SHARE - (apart < max / 4 ? apart : max / 4);
}

/* Beyond, for longer than a moment, something must go. */
static size_t bound(const struct vs_store *store)
{
    return goal(store) + store->evict.limit.max / GROW_SHARE;
}

static bool volatile_only(const struct vs_store *store)
{
    return store->evict.limit.policy >= VS_EVICT_TTL_LRU;
}

/* ---- what is on its way ---- */

static size_t heap_per_record(const struct partition *p, size_t alive)
{
    return alive ? (p->ids_bytes + p->attributes_bytes) / (alive + 1) : 0;
}

static size_t coming_of(const struct partition *p)
{
    struct graph_slack s = graph_slack(p->graph);
    size_t gone = s.slots - s.free - (s.alive < s.slots - s.free ? s.alive : s.slots - s.free);
    size_t back = gone * (heap_per_record(p, s.alive) + sizeof(struct tomb)), slack = s.slots - s.alive;
    size_t share = s.slots / 20 > CHUNK_SLOTS ? s.slots / 20 : CHUNK_SLOTS;
    /* What compaction leaves behind: free slots of the last chunk, and the dead of a graph too few to mend. */
    size_t stays = s.repair_min + BATCH_SIZE + CHUNK_SLOTS;
    if (slack > share + stays && s.alive < s.slots)
        back += (slack - stays) * s.slot_bytes;
    return back;
}

void evict_account(struct partition *p)
{
    struct evict *e = &p->store->evict;
    if (!e->limit.max || p->stub || !p->index)
        return;
    size_t now = coming_of(p);
    e->coming += now - p->coming;
    p->coming = now;
}

void evict_ending(struct partition *p)
{
    struct evict *e = &p->store->evict;
    if (e->pressing == p) {
        e->pressing = NULL;
        e->starved = false;
    }
    e->coming -= p->coming;
    p->coming = 0;
    if (!e->limit.max || p->stub)
        return;
    struct graph_slack s = graph_slack(p->graph);
    p->ending = s.slots * s.slot_bytes + p->ids_bytes + p->attributes_bytes;
    e->ending += p->ending;
}

void evict_ended(struct vs_store *store, size_t bytes)
{
    if (!bytes)
        return;
    mem_flush(); /* or the allocator counts it as in use for a while */
    atomic_fetch_add_explicit(&store->evict.ended, bytes, memory_order_relaxed);
    if (store->options.wake && atomic_load_explicit(&store->evict.awaited, memory_order_relaxed) &&
        !atomic_load_explicit(&store->closing, memory_order_relaxed))
        store->options.wake(store->options.wake_arg);
}

/* ---- large indexes ---- */

static size_t partition_bytes(const struct partition *p)
{
    if (p->stub)
        return 0;
    struct graph_slack s = graph_slack(p->graph);
    return s.slots * s.slot_bytes + p->ids_bytes + p->attributes_bytes;
}

/* Of many partitions, as many as the first 64 let expect. */
static size_t index_bytes(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    uint32_t n = t->n < 64 ? t->n : 64;
    size_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += partition_bytes(t->part[i]);
    return n ? sum / n * t->n : 0;
}

static void note_large(struct vs_index *index)
{
    struct evict *e = &index->store->evict;
    if (index->large || e->nlarge == LARGE_MAX ||
        index_bytes(index) < e->limit.max / LARGE_SHARE)
        return;
    index->large = true;
    e->large[e->nlarge++] = index->uid;
}

static void drop_large(struct evict *e, unsigned i)
{
    e->large[i] = e->large[--e->nlarge];
}

void evict_forget(struct vs_index *index)
{
    struct evict *e = &index->store->evict;
    for (unsigned i = 0; index->large && i < e->nlarge; i++)
        if (e->large[i] == index->uid) {
            drop_large(e, i);
            break;
        }
    if (index->large)
        e->mend = 0; /* others say theirs when they are added to */
    index->large = false;
}

/* One that has shrunk is small again, with some play. */
static void review_large(struct vs_store *store)
{
    struct evict *e = &store->evict;
    for (unsigned i = e->nlarge; i-- > 0;) {
        struct vs_index *index = keyspace_by_uid(store, e->large[i]);
        if (index && index_bytes(index) >= e->limit.max / (2 * LARGE_SHARE))
            continue;
        if (index)
            index->large = false;
        drop_large(e, i);
    }
}

static void scan_one(void *arg, struct vs_index *index)
{
    (void)arg;
    const struct partition_table *t = index_table(index);
    note_large(index);
    for (uint32_t i = 0; i < t->n && i < 64; i++)
        evict_account(t->part[i]);
}

/* All keys are looked at once when a limit is set. */
static void scan_some(struct vs_store *store, uint64_t until_ns)
{
    struct evict *e = &store->evict;
    while (e->scanning) {
        e->scan_cursor = vs_scan(store, e->scan_db, e->scan_cursor, scan_one, NULL);
        if (!e->scan_cursor && ++e->scan_db == store->options.databases)
            e->scanning = false;
        if (clock_mono_ns() > until_ns)
            return;
    }
}

/* ---- room for a record ---- */

/* Slots that have to be dead, on their way, or free, for a partition that may not grow not to stand still. */
static size_t reserve_of(const struct graph_slack *s)
{
    return s->repair_min == 1 ? CHUNK_FIRST : s->repair_min + s->repair_min / 2 + 2 * BATCH_SIZE;
}

void evict_added(struct partition *p)
{
    struct vs_store *store = p->store;
    struct evict *e = &store->evict;
    if (!e->limit.max)
        return;
    struct graph_slack s = graph_slack(p->graph);
    size_t mend = s.mend_bytes * (index_table(p->index)->n > 1 ? 2 : 1); /* several at a time, about */
    e->mend = mend > e->mend ? mend : e->mend;
    if (!p->index->large && p->sequence % NOTE_EVERY == 0)
        note_large(p->index);
    evict_account(p);
    bool tight = s.chunk_bytes > store->env.headroom && s.slots >= CHUNK_SLOTS;
    if (tight) {
        e->pressing = p;
        graph_keep_free(p->graph, reserve_of(&s));
    } else if (e->pressing == p) {
        e->pressing = NULL;
        graph_keep_free(p->graph, 0);
    }
    if (e->starved && e->pressing == p)
        e->starved = false;
}

enum vs_status evict_room(struct partition *p)
{
    struct vs_store *store = p->store;
    struct evict *e = &store->evict;
    size_t growth;
    if (!e->limit.max || !(growth = graph_growth(p->graph)))
        return VS_OK;
    size_t room = store->env.headroom;
    struct graph_slack s = graph_slack(p->graph);
    growth += growth / s.slot_bytes * (heap_per_record(p, s.alive) + MAP_CELL);
    if (s.held)
        room += e->limit.max / GROW_SHARE;
    if (growth <= room || !s.slots) { /* a new partition begins, whatever */
        store->env.headroom -= growth < store->env.headroom ? growth : store->env.headroom;
        return VS_OK;
    }
    if (e->limit.policy == VS_EVICT_NOTHING || e->full)
        return VS_FULL;
    e->wanted = true;
    if (s.slots < CHUNK_SLOTS) { /* no death in it would help */
        e->need = growth > e->need ? growth : e->need;
    } else {
        e->pressing = p;
        e->starved = true;
    }
    return VS_BACKLOG;
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

/* The `i`th of a round. Of elements with a deadline, where only those may go, under volatile-ttl the first. */
static void sample_element(struct vs_store *store, const struct vs_index *index, unsigned i)
{
    struct partition *p = random_partition(store, index);
    struct graph_slack s;
    if (volatile_only(store) && !index->deadline_ms) {
        size_t n = p->stub ? 0 : p->deadlines.n;
        size_t at = store->evict.limit.policy == VS_EVICT_TTL ? i : n ? rng_below(&store->rng, n) : 0;
        if (at < n && !graph_damaged(p->graph))
            offer_element(store, index, p, (uint32_t)heap_cell_at(&p->deadlines, at)->what);
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

/* VS_NOTFOUND: there is nothing to be evicted. */
static enum vs_status evict_one(struct vs_store *store)
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

/* ---- how much has to go ---- */

static size_t on_its_way(const struct evict *e)
{
    return e->coming + (e->ending - e->ended_then);
}

static void measure(struct vs_store *store)
{
    struct evict *e = &store->evict;
    bool fresh = store->use.now_ns - e->measured_ns > MEASURE_AGE_NS;
    size_t ended = atomic_load_explicit(&e->ended, memory_order_relaxed);
    size_t used = mem_used_now(fresh), apart = e->apart, max = goal(store);
    if (fresh) { /* of the same moment, as near as can be */
        e->measured_ns = store->use.now_ns;
        e->working = atomic_load_explicit(&store->env.working, memory_order_relaxed);
        e->ended_then = ended;
    }
    apart += e->working;
    e->used = used > apart ? used - apart : 0;
    store->env.headroom = max > e->used ? max - e->used : 0;
    if (fresh) {
        e->over = e->used > bound(store) + on_its_way(e) ? e->over + 1 : 0;
        store->env.shrink = e->used > bound(store);
    }
}

/* Must something go? */
static bool must_evict(struct vs_store *store)
{
    struct evict *e = &store->evict;
    const struct partition *p = e->pressing;
    size_t way = on_its_way(e);
    if (store->flushed)
        return false;
    if (e->over > 1 && e->used > bound(store) + way)
        return true;
    if (e->need && e->used + e->need > goal(store) + way)
        return true;
    if (!p)
        return false;
    struct graph_slack s = graph_slack(p->graph);
    size_t others = way - (p->coming < way ? p->coming : way);
    return e->used + s.chunk_bytes > goal(store) + others && s.slots - s.alive < reserve_of(&s);
}

/* Memory that was to come has not: whatever holds it up (too few dead to close a batch), more deaths help. */
static bool stalled(struct vs_store *store)
{
    struct evict *e = &store->evict;
    bool waiting = e->starved || e->need || e->used > bound(store);
    if (!waiting || e->used + e->limit.max / 256 < e->stalled_at || !e->stalled_ns) {
        e->stalled_ns = waiting ? store->use.now_ns : 0;
        e->stalled_at = e->used;
        return false;
    }
    if (store->cut.active || (e->pressing && graph_busy(e->pressing->graph)) ||
        store->use.now_ns - e->stalled_ns < STALL_NS)
        return false;
    e->stalled_ns = store->use.now_ns;
    e->stalled_at = e->used;
    return true;
}

static enum vs_status evict_some(struct vs_store *store, size_t at_least, uint64_t until_ns)
{
    for (size_t n = 0; n < at_least || must_evict(store); n++) {
        enum vs_status status = evict_one(store);
        if (status != VS_OK)
            return status;
        if (n % LOOK_EVERY == LOOK_EVERY - 1) {
            store->use.now_ns = clock_mono_ns();
            if (store->use.now_ns > until_ns)
                return VS_OK;
        }
        measure(store);
    }
    return VS_OK;
}

static enum vs_memory_state state_of(const struct vs_store *store)
{
    size_t limit = bound(store) + store->evict.limit.max / GOAL_SHARE;
    return store->evict.used > limit ? VS_MEMORY_TIGHT : VS_MEMORY_OK;
}

enum vs_memory_state vs_memory_check(struct vs_store *store, size_t apart, uint64_t until_ns)
{
    struct evict *e = &store->evict;
    e->apart = apart;
    e->wanted = false;
    store->use.now_ns = clock_mono_ns();
    if (!e->limit.max)
        return VS_MEMORY_OK;
    measure(store);
    if (e->scanning)
        scan_some(store, until_ns);
    if (e->limit.policy == VS_EVICT_NOTHING) {
        e->full = e->used > e->limit.max;
        return e->full ? VS_MEMORY_FULL : VS_MEMORY_OK;
    }
    if (e->need && e->used + e->need <= goal(store))
        e->need = 0; /* who waits for it tries again */
    bool force = stalled(store);
    if (!force && !must_evict(store)) {
        e->full = false;
        e->wanted = e->starved || e->need || e->used > bound(store);
        return state_of(store);
    }
    if (e->reviewed++ % NOTE_EVERY == 0)
        review_large(store);
    enum vs_status status = evict_some(store, force ? STALL_BATCH : 0, until_ns);
    e->full = status == VS_NOTFOUND && !on_its_way(e);
    e->wanted = status != VS_NOTFOUND && (must_evict(store) || e->starved || e->need);
    if (e->full && e->used > e->limit.max)
        return VS_MEMORY_FULL;
    e->wanted |= e->used > bound(store);
    return state_of(store);
}

bool vs_memory_wanted(struct vs_store *store)
{
    atomic_store_explicit(&store->evict.awaited, store->evict.wanted,
                          memory_order_relaxed);
    return store->evict.wanted || store->evict.scanning;
}

/* ---- setting it ---- */

bool vs_counts_uses(const struct vs_store *store)
{
    enum vs_evict policy = store->evict.limit.policy;
    return policy == VS_EVICT_ALL_LFU || policy == VS_EVICT_TTL_LFU;
}

static enum use_kind kind_of(const struct vs_memory_limit *l)
{
    if (!l->max)
        return USE_NONE;
    if (l->policy == VS_EVICT_ALL_LRU || l->policy == VS_EVICT_TTL_LRU)
        return USE_CLOCK;
    return l->policy == VS_EVICT_ALL_LFU || l->policy == VS_EVICT_TTL_LFU ? USE_COUNT : USE_NONE;
}

void vs_set_memory_limit(struct vs_store *store, const struct vs_memory_limit *limit)
{
    struct evict *e = &store->evict;
    e->limit = *limit;
    store->use.kind = kind_of(limit);
    e->nvictims = 0;
    e->full = e->starved = false;
    e->need = 0;
    e->wanted = limit->max != 0;
    e->stalled_ns = 0;
    e->mend = 0;
    e->scanning = limit->max != 0;
    e->scan_db = 0;
    e->scan_cursor = 0;
    store->env.headroom = SIZE_MAX;
    if (limit->max)
        measure(store);
    else if (e->pressing)
        graph_keep_free(e->pressing->graph, 0);
    if (!limit->max)
        e->pressing = NULL;
}

void vs_memory_status(const struct vs_store *store, struct vs_memory_status *out)
{
    const struct evict *e = &store->evict;
    *out = (struct vs_memory_status){e->used, e->limit.max, e->keys, e->elements};
}

void vs_memory_status_reset(struct vs_store *store)
{
    store->evict.keys = store->evict.elements = 0;
}
