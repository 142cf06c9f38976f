/* A limit of memory: what is evicted when it is passed, and who must wait.
 *
 * WHAT GOES. An index that takes less than 1/16 of the limit goes as a whole, like a key of Redis: a few elements
 * fewer would give nothing back, since its columns lie in one or a few chunks. Of a larger one (there can be no
 * more than 16) single elements go. Both compete by the same measure: idle time, frequency, or time to live. As
 * in Redis the choice is by sampling: a few elements and a few keys at random, the best of which stand in a pool of
 * 16 from which the first is taken. Whatever has been used since it was put there is dropped when its turn comes.
 *
 * WHEN MEMORY COMES BACK. An evicted element is dead at once, and its attributes are free as soon as no search can see them. Its
 * slot is free only when the graph has been mended, which waits for 1/32 of the graph to be dead (index/graph.h), and chunks
 * are given back only by compaction.
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
 * WHAT DOES NOT COUNT, buffers above all, has its place below the limit all the same: the most there was of late, up to a
 * quarter of the limit. It does not make anything go when it comes and goes, then, and what is in use in all stays below the
 * limit, too. Where nothing may be evicted, or nothing that may is left, it has no such place: writers would be refused for
 * what others send.
 *
 * In which index an element goes is decided among all of them; in an index of several partitions it goes from the
 * pressing one, whose slots are wanted.
 *
 * REJECTED: exact lists in order of use (16 bytes an element, and a search would write to them); evicting by memory in
 * use alone (a graph would lose a good part of its elements before the first page comes back). */
#include "base/clock.h"
#include "base/mem.h"
#include "store/evict_int.h"

#define MEASURE_AGE_NS 2000000
#define CACHES         32768
#define BESIDE_SHARE   4
#define BESIDE_FADES   2048         /* looks, each the age apart at least */
#define STALL_NS       300000000ull /* nothing has come back for so long, and nothing is being fetched */
#define PATIENCE_NS    30000000000ull /* or for so long, whatever is */
#define STALL_BATCH    BATCH_SIZE
#define ASKED_NS       500000000ull  /* who has not tried again for so long does not wait any more */
#define LOOK_EVERY     8 /* evictions between looks at the clock */

/* ---- how much has to go ---- */

/* It fades over some seconds in which memory is looked at. */
static void note_beside(struct evict *e)
{
    size_t most = e->limit.policy == VS_EVICT_NOTHING ? 0 : e->limit.max / BESIDE_SHARE;
    size_t now = e->apart < most ? e->apart : most;
    if (now < e->beside)
        now = e->beside - (e->beside - now) / BESIDE_FADES;
    e->beside = now < most ? now : most;
}

static void measure(struct vs_store *store)
{
    struct evict *e = &store->evict;
    bool fresh = store->use.now_ns - e->measured_ns > MEASURE_AGE_NS;
    size_t ended = atomic_load_explicit(&e->ended, memory_order_relaxed);
    size_t leaving = atomic_load_explicit(&store->env.leaving, memory_order_relaxed);
    size_t used = mem_used_now(fresh), apart = e->apart, max = evict_room_goal(store);
    if (fresh) { /* of the same moment, as near as can be */
        e->measured_ns = store->use.now_ns;
        e->working = atomic_load_explicit(&store->env.working, memory_order_relaxed);
        e->ended_then = ended;
        e->leaving = leaving;
    }
    apart += e->working;
    e->used = used > apart ? used - apart : 0;
    store->env.headroom = max > e->used ? max - e->used : 0;
    if (fresh) {
        note_beside(e);
        e->over = e->used > evict_bound(store) + evict_on_its_way(e) ? e->over + 1 : 0;
        store->env.shrink = e->used > evict_bound(store);
    }
}

/* What will come without more evictions. Where somebody waits and nothing of it is being fetched, since too few are dead to be
 * taken out of a graph, that is nothing: more deaths help. */
static size_t on_its_way(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    bool awaited = e->need || e->used > evict_bound(store) + e->limit.max / TIGHT_SHARE;
    return awaited && !evict_under_way(store) ? 0 : evict_on_its_way(e);
}

/* Is it too much? Once something goes, a little more does: the next look at the allocator may find what its caches have taken. */
static bool is_over(struct vs_store *store, size_t way)
{
    struct evict *e = &store->evict;
    e->going = e->over > 1 && e->used + (e->going ? CACHES : 0) > evict_bound(store) + way;
    return e->going;
}

/* Must something go? */
static bool must_evict(struct vs_store *store)
{
    struct evict *e = &store->evict;
    const struct partition *p = e->pressing;
    size_t way = on_its_way(store);
    if (store->flushed)
        return false;
    if (is_over(store, way))
        return true;
    if (e->need && e->used + e->need + e->retry_room > evict_goal(store) + way)
        return true;
    if (!p)
        return false;
    struct graph_slack s = graph_slack(p->graph);
    size_t others = way - (p->coming < way ? p->coming : way);
    return e->used + s.chunk_bytes > evict_goal(store) + others &&
           s.slots - s.alive < evict_reserve(&s);
}

/* Memory that was to come has not: whatever holds it up (too few dead to close a batch), more deaths help. While it is
 * being fetched they would not, however long that takes where processors are busy. */
static bool stalled(struct vs_store *store)
{
    struct evict *e = &store->evict;
    bool waiting = e->starved || e->need || e->used > evict_bound(store);
    if (!waiting || e->used + e->limit.max / 256 < e->stalled_at || !e->stalled_ns) {
        e->stalled_ns = waiting ? store->use.now_ns : 0;
        e->stalled_at = e->used;
        return false;
    }
    uint64_t since = store->use.now_ns - e->stalled_ns;
    if (store->cut.active || since < (evict_under_way(store) ? PATIENCE_NS : STALL_NS))
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

/* Nothing is left to evict. Does nothing come back either? What the last dead leave behind does not, if too few to be mended:
 * when that has been waited for once, in vain, it is not waited for again until something is being fetched. */
static bool nothing_comes(const struct vs_store *store, bool waited)
{
    const struct evict *e = &store->evict;
    return !evict_on_its_way(e) || ((waited || e->full) && !evict_under_way(store));
}

/* Up to the limit itself where nothing is left to be evicted: what is below it has nobody to wait for. */
static enum vs_memory_state state_of(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    if (e->used <= evict_room_bound(store))
        return VS_MEMORY_OK;
    return e->full ? VS_MEMORY_FULL : VS_MEMORY_TIGHT;
}

/* Those who wait try again all the time. Who does not is gone, and nothing must go for its sake any more. */
static void forget_waiters(struct evict *e, const struct vs_store *store)
{
    bool gone = store->use.now_ns - e->asked_ns > ASKED_NS;
    if (gone || (e->need && e->used + e->need + e->retry_room <= evict_goal(store)))
        e->need = 0;
    if (gone)
        e->starved = false;
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
        evict_scan_some(store, until_ns);
    if (e->limit.policy == VS_EVICT_NOTHING) {
        e->full = e->used > e->limit.max;
        return e->full ? VS_MEMORY_FULL : VS_MEMORY_OK;
    }
    forget_waiters(e, store);
    bool force = stalled(store);
    if (!force && !must_evict(store)) {
        e->full = false;
        e->wanted = e->starved || e->need || e->used > evict_bound(store);
        return state_of(store);
    }
    if (e->reviewed++ % NOTE_EVERY == 0) {
        evict_review_large(store);
        e->mend -= e->mend / 8; /* who is added to says what it is now */
    }
    enum vs_status status = evict_some(store, force ? STALL_BATCH : 0, until_ns);
    e->full = status == VS_NOTFOUND && nothing_comes(store, force);
    e->wanted = status != VS_NOTFOUND && (must_evict(store) || e->starved || e->need);
    e->wanted |= e->used > evict_bound(store);
    return state_of(store);
}

bool vs_memory_wanted(struct vs_store *store)
{
    atomic_store_explicit(&store->evict.awaited, store->evict.wanted, memory_order_relaxed);
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
    e->need = e->retry_room = 0;
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
