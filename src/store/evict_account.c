/* A limit of memory: what is on its way back, which indexes are large, and whether a partition may grow. See evict.c. */
#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/evict_int.h"

#define LARGE_SHARE 16
#define RETRY_FIRST 4096
#define RETRY_SHARE 8 /* it is not doubled any more from such a part of the limit on */
#define MAP_CELL    8 /* bytes an id takes in the map, about */

size_t evict_goal(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    size_t max = e->limit.max, play = max / GOAL_SHARE, mend = e->mend > play ? e->mend - play : 0;
    return max - play - (mend < max / 4 ? mend : max / 4) - e->beside;
}

size_t evict_bound(const struct vs_store *store)
{
    return evict_goal(store) + store->evict.limit.max / BOUND_SHARE;
}

size_t evict_room_goal(const struct vs_store *store)
{
    return evict_goal(store) + (store->evict.full ? store->evict.beside : 0);
}

size_t evict_room_bound(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    bool up_to_limit = e->full || e->limit.policy == VS_EVICT_NOTHING;
    return up_to_limit ? e->limit.max : evict_bound(store) + e->limit.max / TIGHT_SHARE;
}

/* ---- what is on its way ---- */

/* Of a living one. */
static size_t heap_per_record(const struct partition *p, size_t alive, size_t dead)
{
    size_t attributes = p->attributes_bytes > p->dead_attributes ? p->attributes_bytes - p->dead_attributes : 0;
    return attributes / (alive + 1) + p->ids_bytes / (alive + dead + 1);
}

static size_t coming_of(const struct partition *p, const struct graph_slack *s)
{
    size_t gone = s->slots - s->free - (s->alive < s->slots - s->free ? s->alive : s->slots - s->free);
    size_t each = p->ids_bytes / (s->alive + gone + 1) + sizeof(struct tomb), slack = s->slots - s->alive;
    size_t back = gone * each + p->dead_attributes;
    size_t share = s->slots / 20 > CHUNK_SLOTS ? s->slots / 20 : CHUNK_SLOTS;
    /* What compaction leaves behind: free slots of the last chunk, and the dead of a graph too few to mend. */
    size_t stays = s->repair_min + BATCH_SIZE + CHUNK_SLOTS;
    if (slack > share + stays && s->alive < s->slots)
        back += (slack - stays) * s->slot_bytes;
    return back;
}

static void account(struct partition *p, size_t coming, bool returning)
{
    struct evict *e = &p->store->evict;
    e->coming += coming - p->coming;
    e->returning += (size_t)returning - (size_t)p->returning;
    p->coming = coming;
    p->returning = returning;
}

void evict_account(struct partition *p)
{
    if (!p->store->evict.limit.max || p->stub || !p->index)
        return;
    if (graph_damaged(p->graph)) { /* nothing comes from there */
        account(p, 0, false);
        return;
    }
    struct graph_slack s = graph_slack(p->graph);
    account(p, coming_of(p, &s), s.returning);
}

void evict_ending(struct partition *p)
{
    struct evict *e = &p->store->evict;
    if (e->pressing == p) {
        e->pressing = NULL;
        e->starved = false;
    }
    account(p, 0, false);
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

size_t evict_on_its_way(const struct evict *e)
{
    return e->coming + (e->ending - e->ended_then) + e->leaving;
}

bool evict_under_way(const struct vs_store *store)
{
    const struct evict *e = &store->evict;
    return e->returning || e->leaving || e->ending != e->ended_then;
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

void evict_review_large(struct vs_store *store)
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

void evict_scan_some(struct vs_store *store, uint64_t until_ns)
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

size_t evict_reserve(const struct graph_slack *s)
{
    return s->repair_min == 1 ? CHUNK_FIRST : s->repair_min + s->repair_min / 2 + 2 * BATCH_SIZE;
}

/* What mending it takes for a while, where so many are dead as may be when a writer waits for it. */
static size_t mend_of(const struct partition *p, const struct graph_slack *s)
{
    size_t some = index_table(p->index)->n > 1 ? 2 : 1; /* several at a time, about */
    return some * graph_mend_bytes(p->graph, evict_reserve(s));
}

void evict_added(struct partition *p)
{
    struct vs_store *store = p->store;
    struct evict *e = &store->evict;
    if (!e->limit.max)
        return;
    struct graph_slack s = graph_slack(p->graph);
    size_t mend = mend_of(p, &s);
    e->mend = mend > e->mend ? mend : e->mend;
    if (!p->index->large && p->sequence % NOTE_EVERY == 0)
        note_large(p->index);
    evict_account(p);
    bool tight = s.chunk_bytes > store->env.headroom && s.slots >= CHUNK_SLOTS;
    if (tight) {
        e->pressing = p;
        graph_keep_free(p->graph, evict_reserve(&s));
    } else if (e->pressing == p) {
        e->pressing = NULL;
        graph_keep_free(p->graph, 0);
    }
    if (e->starved && e->pressing == p)
        e->starved = false;
}

/* A writer is to try again, and does all the time: one that does not is gone. */
static enum vs_status try_again(struct vs_store *store)
{
    store->evict.asked_ns = store->use.now_ns;
    store->evict.wanted = true;
    return VS_BACKLOG;
}

/* Somebody waits for so many bytes and tries again when they are there. While its command runs, buffers count that do not
 * between two tries: refused for their sake, it would be refused for ever. So whoever comes back and is refused once more
 * has to find more, twice as much each time, and half of it once a partition has grown. */
static enum vs_status wait_for(struct vs_store *store, size_t bytes)
{
    struct evict *e = &store->evict;
    if (!e->need && e->retry_room < e->limit.max / RETRY_SHARE)
        e->retry_room = e->retry_room ? 2 * e->retry_room : RETRY_FIRST;
    e->need = bytes > e->need ? bytes : e->need;
    return try_again(store);
}

/* Nothing will make room; then nobody waits for it either. */
static bool cannot_wait(struct evict *e)
{
    if (e->limit.policy != VS_EVICT_NOTHING && !e->full)
        return false;
    e->need = 0;
    return true;
}

/* Has a record so large still a place? What counts is used now, whatever came since the last look. */
static enum vs_status heap_room(struct vs_store *store, size_t bytes)
{
    struct evict *e = &store->evict;
    size_t used = mem_used_now(false), apart = e->apart + e->working;
    if (used + bytes <= evict_room_bound(store) + apart)
        return VS_OK;
    return cannot_wait(e) || bytes > e->limit.max ? VS_FULL : wait_for(store, bytes);
}

enum vs_status evict_room(struct partition *p, size_t bytes)
{
    struct vs_store *store = p->store;
    struct evict *e = &store->evict;
    size_t growth;
    if (!e->limit.max)
        return VS_OK;
    enum vs_status status = heap_room(store, bytes);
    if (status != VS_OK || !(growth = graph_growth(p->graph)))
        return status;
    size_t room = store->env.headroom;
    struct graph_slack s = graph_slack(p->graph);
    growth += growth / s.slot_bytes * (heap_per_record(p, s.alive, s.slots - s.free - s.alive) + MAP_CELL);
    if (s.held)
        room += e->limit.max / CUT_SHARE;
    if (growth <= room || !s.slots) { /* a new partition begins, whatever */
        store->env.headroom -= growth < store->env.headroom ? growth : store->env.headroom;
        e->retry_room /= 2;
        return VS_OK;
    }
    if (cannot_wait(e))
        return VS_FULL;
    if (s.slots < CHUNK_SLOTS) /* no death in it would help */
        return wait_for(store, growth);
    e->pressing = p;
    e->starved = true;
    return try_again(store);
}
