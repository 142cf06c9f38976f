/* Slots, chunks and blocks of upper links: the owner's bookkeeping.
 *
 * A slot is taken lowest first, so that after deletions the records gather at the front and
 * compaction finds the back nearly empty. It is given back in three steps: out of everything
 * published, a grace period (base/epoch.h), then, in slices, the owner's pointers are returned and
 * the bit is cleared. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_int.h"

#define SLICE 64 /* slots freed between looks at the clock */

/* ---- chunks ---- */

bool graph_reserve_slots(struct graph *g, uint32_t slots)
{
    size_t words = ((size_t)slots + 63) / 64, have = ((size_t)g->slots + 63) / 64;
    if (words > have) {
        uint64_t *used = mem_try_realloc(g->used, words * sizeof(*used));
        if (!used)
            return false;
        memset(used + have, 0, (words - have) * sizeof(*used));
        g->used = used;
    }
    return true;
}

static size_t slot_bytes(const struct graph *g)
{
    size_t links = g->options.flat ? 0 : 2 * (size_t)g->shape.m * sizeof(uint32_t);
    return g->shape.codec.row_bytes + g->shape.original_bytes + links + sizeof(uint64_t) + 1 +
           sizeof(uint32_t) + sizeof(void *);
}

static void free_chunk_task(struct pool_task *task, unsigned worker)
{
    struct chunk *c = (struct chunk *)((char *)task - offsetof(struct chunk, task));
    struct graph_env *env = c->env;
    size_t leaving = c->leaving;
    (void)worker;
    chunk_free(c);
    atomic_fetch_sub_explicit(&env->leaving, leaving, memory_order_relaxed);
}

/* From now on it is only to be freed. */
static void chunk_leaves(struct graph *g, struct chunk *c)
{
    struct columns_bytes b = {0};
    chunk_bytes(&g->shape, c, &b);
    c->env = g->env;
    c->leaving = b.rows + b.originals + b.links + b.records + b.extra;
    atomic_fetch_add_explicit(&g->env->leaving, c->leaving, memory_order_relaxed);
    c->task.run = free_chunk_task;
}

static void reclaim_chunk(struct epoch_item *item, void *arg)
{
    struct graph *g = arg;
    struct chunk *c = (struct chunk *)((char *)item - offsetof(struct chunk, item));
    pool_submit(g->env->pool, POOL_LINK, &c->task);
}

void graph_retire_chunk(struct graph *g, struct chunk *c)
{
    if (g->building) {
        chunk_free(c);
        return;
    }
    chunk_leaves(g, c);
    epoch_retire(g->env->epoch, &c->item, reclaim_chunk, g);
}

static void prepare_task(struct pool_task *task, unsigned worker)
{
    struct graph *g = (struct graph *)((char *)task - offsetof(struct graph, spare_task));
    struct chunk *c = chunk_new(&g->shape, CHUNK_SLOTS, !g->options.flat);
    (void)worker;
    if (c)
        chunk_touch(c);
    struct graph_env *env = g->env;
    g->spare = c;
    atomic_store_explicit(&g->spare_state, c ? SPARE_READY : SPARE_NONE,
                          memory_order_release); /* the last touch of g */
    env->wake(env);
}

static void prepare_chunk(struct graph *g)
{
    if (atomic_load_explicit(&g->spare_state, memory_order_relaxed) != SPARE_NONE)
        return;
    atomic_store_explicit(&g->spare_state, SPARE_RUNNING, memory_order_relaxed);
    g->spare_task.run = prepare_task;
    pool_submit(g->env->pool, POOL_SEARCH,
                &g->spare_task); /* before the linking that fills the pool while vectors come in */
}

/* Mending writes the list of every living node that had a link to a dead one anew, and asks for as many links back as there were:
 * where a share s is dead min(1, 2 M s) of the living, and 2 M s links of each. The links of a batch come on top, for each of two workers
 * at least; lists have half as much room again as they need, as measured. */
size_t graph_mend_bytes(const struct graph *g, size_t dead)
{
    if (!g->graphed || dead >= g->slots)
        return 0;
    size_t living = g->slots - dead, max = 2 * (size_t)g->shape.m, lost = (size_t)((double)dead * (double)max * (double)living / g->slots);
    size_t lists = (lost < living ? lost : living) * (3 + max) * sizeof(uint32_t);
    return (lists + (lost + 2 * BATCH_SIZE * max) * sizeof(struct edge)) * 3 / 2;
}

size_t graph_growth(const struct graph *g)
{
    if (g->nused < g->slots ||
        atomic_load_explicit(&g->spare_state, memory_order_relaxed) != SPARE_NONE)
        return 0;
    uint32_t slots = g->nchunks == 1 && g->slots < CHUNK_SLOTS ? g->slots * 3
                     : g->nchunks || g->graphed                ? CHUNK_SLOTS
                                                               : CHUNK_FIRST;
    return slots * slot_bytes(g);
}

struct graph_slack graph_slack(const struct graph *g)
{
    size_t bytes = slot_bytes(g);
    return (struct graph_slack){.slots = g->slots,
                                .alive = g->alive,
                                .free = g->slots - g->nused,
                                .slot_bytes = bytes,
                                .chunk_bytes = bytes * CHUNK_SLOTS,
                                .repair_min = g->graphed ? job_repair_min(g->linked, atomic_load_explicit(&g->mended,
                                                                                            memory_order_relaxed))
                                                         : 1,
                                .held = g->stamp.step != CUT_NONE,
                                .returning = g->nreleasing || g->ndropping || g->compact.step != COMPACT_OFF ||
                                             (g->dead && g->nwaiting) || compact_due(g)};
}

void graph_keep_free(struct graph *g, size_t slots)
{
    g->keep_free = slots;
}

uint64_t graph_alive_at(const struct graph *g, uint32_t slot)
{
    if (slot >= g->slots || compact_has_moved(g, slot))
        return 0;
    uint64_t born =
        atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)], memory_order_relaxed);
    return born & TOMB ? 0 : born;
}

/* The next chunk is made when the one in use is nearly full, where memory allows. */
static void prepare_ahead(struct graph *g)
{
    if (g->slots < CHUNK_SLOTS || g->slots - g->nused > CHUNK_SLOTS / 4 ||
        !pool_threads(g->env->pool) ||
        atomic_load_explicit(&g->spare_state, memory_order_relaxed) != SPARE_NONE)
        return;
    size_t bytes = CHUNK_SLOTS * slot_bytes(g);
    if (bytes > g->env->headroom)
        return;
    if (g->env->headroom != SIZE_MAX)
        g->env->headroom -= bytes;
    prepare_chunk(g);
}

bool graph_room(struct graph *g, uint32_t records)
{
    bool large = g->slots * 4 >= CHUNK_SLOTS || g->graphed; /* what comes next is a whole chunk */
    if (g->slots - g->nused >= records || !large || !pool_threads(g->env->pool))
        return true;
    prepare_chunk(g);
    return atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_READY;
}

static struct chunk *take_spare(struct graph *g)
{
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) != SPARE_READY)
        return NULL;
    atomic_store_explicit(&g->spare_state, SPARE_NONE, memory_order_relaxed);
    return g->spare;
}

static struct chunk *new_chunk(struct graph *g, uint32_t slots)
{
    struct chunk *c = slots == CHUNK_SLOTS ? take_spare(g) : NULL;
    if (!c)
        return chunk_new(&g->shape, slots, g->graphed);
    if (g->graphed && !chunk_add_links(c)) {
        chunk_free(c);
        return NULL;
    }
    return c;
}

void graph_drop_spare(struct graph *g)
{
    struct chunk *c = take_spare(g);
    if (!c)
        return;
    chunk_leaves(g, c);
    pool_submit(g->env->pool, POOL_LINK, &c->task);
}

static enum vs_status grow_first(struct graph *g)
{
    struct chunk *old = g->chunks[0];
    uint32_t slots = old->slots * 4 > CHUNK_SLOTS ? CHUNK_SLOTS : old->slots * 4;
    struct chunk *c = new_chunk(g, slots);
    if (!c || !chunk_copy(c, old) || !graph_reserve_slots(g, slots)) {
        chunk_free(c);
        return VS_NOMEM;
    }
    g->chunks[0] = c;
    uint32_t before = g->slots;
    g->slots = slots;
    if (graph_publish(g) != VS_OK) {
        g->chunks[0] = old;
        g->slots = before;
        chunk_free(c);
        return VS_NOMEM;
    }
    if (!cut_keep_chunk(g, old))
        graph_retire_chunk(g, old);
    return VS_OK;
}

static enum vs_status add_chunk(struct graph *g)
{
    if (g->nchunks >= SLOT_MAX / CHUNK_SLOTS)
        return VS_LIMIT;
    if (g->nchunks == g->chunks_cap) {
        uint32_t cap = g->chunks_cap ? 2 * g->chunks_cap : 1;
        struct chunk **chunks = mem_try_realloc(g->chunks, cap * sizeof(struct chunk *));
        if (!chunks)
            return VS_NOMEM;
        g->chunks = chunks;
        g->chunks_cap = cap;
    }
    uint32_t slots = g->nchunks || g->graphed
                         ? CHUNK_SLOTS
                         : CHUNK_FIRST; /* a chunk with links never grows: workers write into it */
    struct chunk *c = new_chunk(g, slots);
    if (!c || !graph_reserve_slots(g, g->slots + slots)) {
        chunk_free(c);
        return VS_NOMEM;
    }
    g->chunks[g->nchunks++] = c;
    g->slots += slots;
    if (graph_publish(g) != VS_OK) {
        g->nchunks--;
        g->slots -= slots;
        chunk_free(c);
        return VS_NOMEM;
    }
    return VS_OK;
}

void graph_drop_chunks(struct graph *g, uint32_t nchunks)
{
    if (nchunks >= g->nchunks || g->stamp.step == CUT_TAKEN || g->scrub)
        return; /* a cut or the scrub goes over them */
    uint32_t n = g->nchunks, slots = g->slots;
    g->nchunks = nchunks;
    g->slots = nchunks * CHUNK_SLOTS;
    if (graph_publish(g) != VS_OK) {
        g->nchunks = n;
        g->slots = slots;
        return;
    }
    for (uint32_t i = nchunks; i < n; i++)
        graph_retire_chunk(g, g->chunks[i]);
    size_t words = ((size_t)g->slots + 63) / 64;
    uint64_t *used = words ? mem_try_realloc(g->used, words * sizeof(*used)) : NULL;
    if (used)
        g->used = used;
    if (g->free_hint > g->slots)
        g->free_hint = g->slots;
}

void graph_drop_tail(struct graph *g)
{
    uint32_t keep = g->nchunks;
    while (keep > 0) {
        uint32_t from = (keep - 1) * CHUNK_SLOTS,
                 end = keep < g->nchunks ? keep * CHUNK_SLOTS : g->slots;
        bool any = false;
        for (uint32_t w = from / 64; (size_t)w * 64 < end && !any; w++)
            any = g->used[w] != 0;
        if (any)
            break;
        keep--;
    }
    graph_drop_chunks(g, keep);
}

/* ---- slots ---- */

enum vs_status graph_alloc_slot(struct graph *g, uint32_t below, uint32_t *slot)
{
    uint32_t limit = below < g->slots ? below : g->slots;
    for (uint32_t w = g->free_hint / 64; (size_t)w * 64 < limit; w++) {
        if (g->used[w] == UINT64_MAX)
            continue;
        uint32_t s = w * 64 + (uint32_t)__builtin_ctzll(~g->used[w]);
        if (s >= limit)
            break;
        g->used[w] |= (uint64_t)1 << (s & 63);
        g->free_hint = s + 1;
        g->nused++;
        *slot = s;
        prepare_ahead(g);
        return VS_OK;
    }
    g->free_hint = limit;
    if (below != SLOT_NONE)
        return VS_NOTFOUND;
    enum vs_status status =
        g->nchunks == 1 && g->slots < CHUNK_SLOTS ? grow_first(g) : add_chunk(g);
    return status == VS_OK ? graph_alloc_slot(g, below, slot) : status;
}

void graph_unalloc_slot(struct graph *g, uint32_t slot)
{
    g->used[slot / 64] &= ~((uint64_t)1 << (slot & 63));
    g->nused--;
    if (slot < g->free_hint)
        g->free_hint = slot;
}

void graph_free_upper(struct graph *g, uint32_t block, int level)
{
    if (g->nupper_free[level] == g->upper_free_cap[level]) {
        uint32_t cap = g->upper_free_cap[level] ? 2 * g->upper_free_cap[level] : 16;
        uint32_t *list = mem_try_realloc(g->upper_free[level], cap * sizeof(*list));
        if (!list)
            return; /* the block stays unused */
        g->upper_free[level] = list;
        g->upper_free_cap[level] = cap;
    }
    g->upper_free[level][g->nupper_free[level]++] = block;
}

static void reclaim_tomb(struct epoch_item *item, void *arg)
{
    (void)arg;
    mem_free((char *)item - offsetof(struct tomb, item));
}

/* A scan walks over all slots, free ones, too, and may have met the tomb a moment ago: it stays for
 * a grace period of its own. */
static void free_slot(struct graph *g, uint32_t slot, bool vacated)
{
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot);
    uint64_t word = atomic_load_explicit(&c->born[i], memory_order_relaxed);
    _Atomic(void *) *extra = atomic_load_explicit(&c->extra, memory_order_relaxed);
    void *u = atomic_load_explicit(&c->user[i], memory_order_relaxed);
    void *x = extra && !tomb_dropped(word) ? atomic_load_explicit(&extra[i], memory_order_relaxed) : NULL;
    atomic_store_explicit(&c->born[i], 0, memory_order_relaxed);
    atomic_store_explicit(&c->user[i], NULL, memory_order_relaxed);
    if (extra)
        atomic_store_explicit(&extra[i], NULL, memory_order_relaxed);
    if (chunk_deadline(c, i))
        atomic_store_explicit(&atomic_load_explicit(&c->deadline, memory_order_relaxed)[i], 0, memory_order_relaxed);
    if (c->links) {
        _Atomic uint32_t *links = c->links + (size_t)i * 2 * g->shape.m;
        for (uint32_t k = 0; k < 2 * g->shape.m; k++)
            atomic_store_explicit(&links[k], SLOT_NONE, memory_order_relaxed);
    }
    if (!vacated) {
        if (c->upper[i] != SLOT_NONE)
            graph_free_upper(g, c->upper[i], c->level[i]);
        if (word & TOMB)
            epoch_retire(g->env->epoch, &((struct tomb *)(uintptr_t)(word & ~TOMB))->item,
                         reclaim_tomb, NULL);
        g->owner.freed(g->owner.arg, u, x);
    }
    c->upper[i] = SLOT_NONE;
    c->level[i] = 0;
    graph_unalloc_slot(g, slot);
}

static void reclaim_slots(struct epoch_item *item, void *arg)
{
    struct graph *g = arg;
    struct released *r = (struct released *)((char *)item - offsetof(struct released, item));
    struct released **list = r->held && g->stamp.step != CUT_NONE ? &g->held : &g->released;
    r->next = *list;
    *list = r;
    if (!g->retired)
        graph_notify(g);
}

void graph_release_later(struct graph *g, uint32_t *slots, size_t n, bool vacated)
{
    struct released *r = mem_zalloc(sizeof(*r));
    r->g = g;
    r->slots = slots;
    r->n = n;
    r->vacated = vacated;
    r->held = !vacated && g->stamp.step != CUT_NONE && !g->stamp.graphed;
    g->nreleasing += n;
    epoch_retire(g->env->epoch, &r->item, reclaim_slots, g);
}

bool graph_release_some(struct graph *g, uint64_t until_ns)
{
    if (g->stamp.step == CUT_TAKEN || g->scrub)
        return false; /* a cut shows them; links not checked must not be written */
    while (g->released) {
        struct released *r = g->released;
        for (size_t k = 0; r->done < r->n; k++) {
            if (k % SLICE == SLICE - 1 && clock_mono_ns() > until_ns)
                return true;
            free_slot(g, r->slots[r->done++], r->vacated);
            g->nreleasing--;
        }
        g->released = r->next;
        mem_free(r->slots);
        mem_free(r);
    }
    return false;
}

/* ---- upper links ---- */

static bool add_upper_chunk(struct graph *g)
{
    if (g->nupper == g->upper_cap) {
        uint32_t cap = g->upper_cap ? 2 * g->upper_cap : 1;
        _Atomic uint32_t **upper = mem_try_realloc(g->upper, cap * sizeof(*upper));
        if (!upper)
            return false;
        g->upper = upper;
        g->upper_cap = cap;
    }
    _Atomic uint32_t *blocks = mem_try_alloc((size_t)UPPER_BLOCKS * g->shape.m * sizeof(*blocks));
    if (!blocks)
        return false;
    g->upper[g->nupper++] = blocks;
    if (graph_publish(g) != VS_OK) {
        mem_free((void *)g->upper[--g->nupper]);
        return false;
    }
    g->upper_next = (g->nupper - 1) * UPPER_BLOCKS;
    return true;
}

bool graph_alloc_upper(struct graph *g, int level, uint32_t *block)
{
    uint32_t b;
    if (g->nupper_free[level]) {
        b = g->upper_free[level][--g->nupper_free[level]];
    } else {
        if (g->upper_next + (uint32_t)level > g->nupper * UPPER_BLOCKS && !add_upper_chunk(g))
            return false;
        b = g->upper_next;
        g->upper_next += (uint32_t)level;
    }
    _Atomic uint32_t *links = g->upper[b / UPPER_BLOCKS] + (size_t)(b % UPPER_BLOCKS) * g->shape.m;
    for (uint32_t i = 0; i < (uint32_t)level * g->shape.m; i++)
        atomic_store_explicit(&links[i], SLOT_NONE, memory_order_relaxed);
    *block = b;
    return true;
}
