/* Cuts: the owner's side and the linker's, see graph_cut.h. What the reader does is in
 * graph_cut_read.c.
 *
 * A cut costs the owner the copying of pointers: to chunks, to blocks of upper links, to batches. What
 * it points to stays because nothing is given back while a cut is taken, with two exceptions that are
 * kept by it: batches that are linked meanwhile (`held`), and a small chunk that is outgrown. Links
 * are the one thing that changes in place: they are read first, and the linker either waits for that
 * or copies a part aside before it changes it.
 *
 * Rejected: copying all links at the cut (an eighth of a partition's memory at once, by the owner or
 * with the linker stopped), and versions of single lists (a word more for every list, always). */
#include "index/graph_cut.h"

#include <sched.h>
#include <string.h>

#include "base/mem.h"
#include "base/pages.h"
#include "index/graph_cut_int.h"
#include "index/graph_restore.h"
#include "index/graph_touch.h"

/* ---- the stamp ---- */

static void set_step(struct graph *g, enum cut_step step)
{
    pthread_mutex_lock(&g->lock);
    g->stamp.step = step;
    pthread_mutex_unlock(&g->lock);
}

void graph_stamp(struct graph *g, uint64_t at)
{
    struct cut_stamp *s = &g->stamp;
    if (s->step != CUT_NONE)
        return;
    pthread_mutex_lock(&g->lock);
    s->graphed = g->graphed;
    s->at = at;
    s->alive = g->alive;
    s->flat_inserts = g->flat_inserts;
    s->flat_deaths = g->flat_deaths;
    s->step = CUT_STAMPED;
    pthread_mutex_unlock(&g->lock);
}

/* Slots that were held become free after all; what waited goes on. */
static void end_stamp(struct graph *g)
{
    set_step(g, CUT_NONE);
    struct released **end = &g->released;
    while (*end)
        end = &(*end)->next;
    *end = g->held;
    g->held = NULL;
    if (!g->retired)
        graph_notify(g);
}

void graph_cut_cancel(struct graph *g)
{
    if (g->stamp.step == CUT_STAMPED || g->stamp.step == CUT_WANTED)
        end_stamp(g);
}

bool cut_lets_link(struct graph *g, uint64_t sequence)
{
    struct graph_cut *c;
    switch (g->stamp.step) {
    case CUT_NONE: return true;
    case CUT_STAMPED: return g->stamp.graphed && sequence <= g->stamp.at;
    case CUT_WANTED: return false;
    case CUT_TAKEN:
        c = atomic_load_explicit(&g->cut, memory_order_relaxed);
        if (cut_room_aside(c))
            return true;
        atomic_store(&c->paused, true); /* the reader looks at it after each part */
        if (!cut_room_aside(c))
            return false;
        atomic_store(&c->paused, false);
        return true;
    }
    return true;
}

/* ---- taking it ---- */

static void cut_free(struct graph_cut *c)
{
    size_t parts = (size_t)c->nchunks + c->state.nupper;
    for (size_t i = 0; c->parts && c->saved && i < parts; i++)
        if (atomic_load_explicit(&c->parts[i], memory_order_acquire) == PART_SAVED)
            cut_free_saved(c, (uint32_t)i);
    mem_free(c->chunks);
    mem_free((void *)c->upper);
    mem_free(c->batches);
    mem_free(c->lists);
    mem_free(c->dead_nodes);
    mem_free((void *)c->parts);
    mem_free(c->saved);
    mem_free(c->tombs);
    mem_free(c->used);
    mem_free(c->nodes);
    mem_free(c);
}

static void *copy_of(const void *from, size_t n, size_t size)
{
    void *copy = mem_try_alloc(n * size + 1);
    if (copy && n)
        memcpy(copy, from, n * size);
    return copy;
}

/* The batch that was open at T has been closed since, or is open still: its entries up to T. */
static void copy_open(struct graph_cut *c, const struct batch *b)
{
    const struct graph *g = c->g;
    struct graph_batch *open = &c->state.open;
    uint32_t n = atomic_load_explicit(&b->count, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = atomic_load_explicit(&b->slots[i], memory_order_relaxed);
        if (graph_born(g, slot) <= c->state.sequence)
            c->open_slots[open->count++] = slot;
    }
    for (uint32_t i = 0; i < b->ndeaths; i++) {
        uint64_t word = atomic_load_explicit(
            &graph_chunk(g, b->deaths[i])->born[slot_place(b->deaths[i])], memory_order_relaxed);
        if (!born_visible(word, c->state.sequence) && born_of(word) <= c->state.sequence)
            c->open_deaths[open->ndeaths++] = b->deaths[i];
    }
    open->slots = c->open_slots;
    open->deaths = c->open_deaths;
}

static bool copy_batches(struct graph_cut *c)
{
    struct graph *g = c->g;
    uint32_t n = 0;
    while (n < g->nwaiting && g->waiting[n]->sequence <= c->state.sequence)
        n++;
    c->batches = copy_of(g->waiting, n, sizeof(*c->batches));
    c->lists = mem_try_alloc(n * sizeof(*c->lists) + 1);
    c->dead_nodes = copy_of(g->dead_nodes, g->ndead_nodes, sizeof(*c->dead_nodes));
    if (!c->batches || !c->lists || !c->dead_nodes)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct batch *b = c->batches[i];
        b->held = true;
        /* closed: nothing of it changes any more but by a compaction, and there is none */
        c->lists[i] = (struct graph_batch){
            .sequence = b->sequence,
            .count = atomic_load_explicit(&b->count, memory_order_relaxed),
            .ndeaths = b->ndeaths,
            .slots = (const uint32_t *)b->slots,
            .deaths = b->deaths,
        };
    }
    c->state.nbatches = n;
    c->state.batches = c->lists;
    c->state.dead_nodes = c->dead_nodes;
    c->state.ndead = (uint32_t)g->ndead_nodes;
    const struct batch *open = n < g->nwaiting ? g->waiting[n] : g->open;
    if (open)
        copy_open(c, open);
    return true;
}

static bool copy_graph(struct graph_cut *c)
{
    struct graph *g = c->g;
    struct graph_state *s = &c->state;
    s->linked = g->linked;
    s->linked_sequence = g->linked_sequence;
    s->closed_sequence = g->closed_sequence;
    s->mended = atomic_load_explicit(&g->mended, memory_order_relaxed);
    s->digest = g->digest;
    s->entry = g->entry;
    s->entry_level = g->entry_level;
    s->nupper = g->nupper;
    size_t parts = (size_t)c->nchunks + s->nupper;
    c->upper = copy_of(g->upper, g->nupper, sizeof(*c->upper));
    c->parts = mem_try_zalloc(parts + 1);
    c->saved = mem_try_alloc(parts * sizeof(*c->saved) + 1);
    if (!c->upper || !c->parts || !c->saved || !copy_batches(c))
        return false;
    size_t pending = 0;
    if (c->nchunks)
        pending += c->nchunks * cut_part_bytes(c, 0);
    if (s->nupper)
        pending += s->nupper * cut_part_bytes(c, c->nchunks);
    atomic_init(&c->pending, pending);
    return true;
}

static struct graph_cut *cut_new(struct graph *g)
{
    struct graph_cut *c = mem_try_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->g = g;
    c->nchunks = g->nchunks;
    c->state = (struct graph_state){.sequence = g->stamp.at,
                                    .slots = g->slots,
                                    .alive = g->stamp.alive,
                                    .entry = SLOT_NONE,
                                    .entry_level = -1,
                                    .graphed = g->stamp.graphed,
                                    .flat_inserts = g->stamp.flat_inserts,
                                    .flat_deaths = g->stamp.flat_deaths};
    atomic_init(&c->links_done, !g->stamp.graphed); /* without a graph there are none */
    c->chunks = copy_of(g->chunks, g->nchunks, sizeof(*c->chunks));
    if (!c->chunks || (g->stamp.graphed && !copy_graph(c))) {
        for (uint32_t i = 0; i < c->state.nbatches; i++)
            c->batches[i]->held = false;
        cut_free(c);
        return NULL;
    }
    return c;
}

void cut_take(struct graph *g)
{
    struct cut_stamp *s = &g->stamp;
    bool bad = graph_damaged(g);
    struct graph_cut *c = bad ? NULL : cut_new(g);
    if (!c) {
        end_stamp(g);
        s->taken(s->arg, NULL, bad ? VS_CORRUPT : VS_NOMEM);
        return;
    }
    pthread_mutex_lock(&g->lock);
    atomic_store_explicit(&g->cut, c, memory_order_release);
    s->step = CUT_TAKEN;
    pthread_mutex_unlock(&g->lock);
    graph_notify(g); /* linking goes on, if there is room aside */
    s->taken(s->arg, c, VS_OK);
}

void graph_cut_want(struct graph *g,
                    void (*taken)(void *arg, struct graph_cut *cut, enum vs_status s), void *arg)
{
    graph_stamp(g, graph_sequence(g));
    g->stamp.taken = taken;
    g->stamp.arg = arg;
    set_step(g, CUT_WANTED);
    if (!g->job && g->compact.step == COMPACT_OFF)
        cut_take(g); /* else graph_poll does, when they end */
}

/* ---- meanwhile ---- */

bool cut_room_aside(const struct graph_cut *c)
{
    struct graph_env *env = c->g->env;
    if (atomic_load(&c->links_done))
        return true;
    return atomic_load(&c->pending) + atomic_load(&env->aside) <= atomic_load(&env->aside_max);
}

void cut_free_saved(struct graph_cut *c, uint32_t part)
{
    size_t bytes = cut_part_bytes(c, part);
    pages_free(PAGES_PLAIN, c->saved[part], bytes);
    atomic_fetch_sub(&c->aside, bytes);
    atomic_fetch_sub(&c->g->env->aside, bytes);
}

static void save_part(struct graph_cut *c, uint32_t part)
{
    size_t bytes = cut_part_bytes(c, part);
    const _Atomic uint32_t *words = cut_part_words(c, part);
    uint32_t *copy = pages_alloc(PAGES_PLAIN, bytes);
    if (copy) {
        for (size_t i = 0; i < bytes / sizeof(*copy); i++)
            copy[i] = atomic_load_explicit(&words[i], memory_order_relaxed);
        atomic_fetch_add(&c->g->env->aside, bytes);
        atomic_fetch_add(&c->aside, bytes);
        c->saved[part] = copy;
    } else {
        atomic_store(&c->failed, true); /* the snapshot fails, not the linking */
    }
    atomic_fetch_sub(&c->pending, bytes);
    atomic_store_explicit(&c->parts[part], copy ? PART_SAVED : PART_READ, memory_order_release);
}

void cut_guard(struct graph_cut *c, const struct graph_view *v, uint32_t slot, int level)
{
    uint32_t part = slot >> CHUNK_BITS;
    if (level)
        part = c->nchunks +
               (view_chunk(v, slot)->upper[slot_place(slot)] + (uint32_t)level - 1) / UPPER_BLOCKS;
    else if (part >= c->nchunks)
        return; /* newer than the cut */
    if (part >= c->nchunks + c->state.nupper || atomic_load(&c->links_done))
        return;
    for (;;) {
        uint8_t state = atomic_load_explicit(&c->parts[part], memory_order_acquire);
        if (state == PART_SAVED || state == PART_READ)
            return;
        if (state == PART_PENDING &&
            atomic_compare_exchange_strong(&c->parts[part], &state, PART_COPYING)) {
            save_part(c, part);
            return;
        }
        sched_yield();
    }
}

bool cut_keep_chunk(struct graph *g, struct chunk *chunk)
{
    struct graph_cut *c = atomic_load_explicit(&g->cut, memory_order_relaxed);
    if (!c)
        return false;
    chunk->item.next = c->outgrown ? &c->outgrown->item : NULL;
    c->outgrown = chunk;
    return true;
}

/* ---- its end ---- */

static void reclaim_cut(struct epoch_item *item, void *arg)
{
    (void)arg;
    cut_free((struct graph_cut *)((char *)item - offsetof(struct graph_cut, item)));
}

void graph_cut_release(struct graph *g, struct graph_cut *c)
{
    atomic_store(&c->links_done, true);
    pthread_mutex_lock(&g->lock);
    atomic_store_explicit(&g->cut, NULL, memory_order_release);
    g->stamp.step = CUT_NONE; /* with it: a worker asks cut_lets_link at any time */
    pthread_mutex_unlock(&g->lock);
    for (uint32_t i = 0; i < c->state.nbatches; i++) {
        struct batch *b = c->batches[i];
        b->held = false;
        if (b->reclaimed)
            mem_free(b);
    }
    while (c->outgrown) {
        struct chunk *chunk = c->outgrown;
        struct epoch_item *next = chunk->item.next;
        c->outgrown = next ? (struct chunk *)((char *)next - offsetof(struct chunk, item)) : NULL;
        graph_retire_chunk(g, chunk);
    }
    epoch_retire(g->env->epoch, &c->item, reclaim_cut, NULL);
    end_stamp(g);
}
