/* Restoring a partition from mapped files, see graph_restore.h. Built aside: until the last check has
 * passed nobody can see it, and a failure leaves a graph without records.
 *
 * Of the columns only born, levels and upper links are read here, in one pass in the order of the
 * slots; of the others only their addresses are taken. */
#include "index/graph_restore.h"

#include <string.h>

#include "base/mem.h"
#include "index/graph_restore_int.h"
#include "index/graph_touch.h"

/* ---- chunks ---- */

static bool make_chunk(struct restore *r, uint32_t k)
{
    struct graph *g = r->g;
    const struct graph_image *im = r->image;
    const struct graph_image_group *group = &im->groups[k / im->group_chunks];
    const struct columns_shape *shape = &g->shape;
    size_t in_group = k % im->group_chunks, S = CHUNK_SLOTS;
    size_t n = r->state->slots / CHUNK_SLOTS;
    struct chunk_map m = {
        .v = group->v,
        .g = im->g,
        .rows = group->rows + in_group * padded(S * shape->codec.row_bytes),
        .originals = shape->original_bytes
                         ? group->originals + in_group * padded(S * shape->original_bytes)
                         : SIZE_MAX,
        .links = r->state->graphed ? im->links + k * padded(S * 2 * shape->m * sizeof(uint32_t))
                                   : SIZE_MAX,
        .born = im->born + k * S * sizeof(uint64_t),
        .level = im->levels + k * padded(S),
        .upper = im->levels + n * padded(S) + k * S * sizeof(uint32_t),
    };
    if (!map_region(g, m.v) || !map_region(g, m.g))
        return false;
    struct chunk *c = chunk_over(shape, &m);
    if (!c)
        return false;
    atomic_store_explicit(&c->unchecked,
                          c->mapped & (COLUMN_ROWS | COLUMN_ORIGINALS | COLUMN_LINKS),
                          memory_order_relaxed);
    atomic_store_explicit(&c->filled, group->filled, memory_order_relaxed);
    g->chunks[g->nchunks++] = c;
    return true;
}

static bool make_chunks(struct restore *r)
{
    struct graph *g = r->g;
    const struct graph_state *s = r->state;
    uint32_t n = s->slots / CHUNK_SLOTS;
    size_t upper_bytes = padded((size_t)UPPER_BLOCKS * g->shape.m * sizeof(uint32_t));
    g->chunks = mem_try_alloc(n * sizeof(struct chunk *) + 1);
    g->upper = mem_try_alloc(s->nupper * sizeof(*g->upper) + 1);
    if (!g->chunks || !g->upper || !graph_reserve_slots(g, s->slots))
        return false;
    g->chunks_cap = n;
    g->upper_cap = s->nupper;
    for (uint32_t k = 0; k < n; k++)
        if (!make_chunk(r, k))
            return false;
    g->restored_regions = g->nregions;
    g->slots = s->slots;
    g->upper_in = region_ref(s->nupper ? r->image->g : NULL);
    for (uint32_t k = 0; k < s->nupper; k++)
        g->upper[k] = (_Atomic uint32_t *)(r->image->g->base + r->image->upper + k * upper_bytes);
    g->nupper = g->upper_mapped = s->nupper;
    return true;
}

/* ---- records ---- */

static bool take_blocks(struct restore *r, uint32_t slot, int level, uint32_t block)
{
    if (!r->state->graphed || !level)
        return block == SLOT_NONE || restore_wrong(r, "slot %u has upper links", slot);
    if (block >= r->state->nupper * UPPER_BLOCKS ||
        block % UPPER_BLOCKS + (uint32_t)level > UPPER_BLOCKS)
        return restore_wrong(r, "slot %u has its upper links at %u", slot, block);
    for (uint32_t b = block; b < block + (uint32_t)level; b++) {
        if (r->blocks[b / 64] >> (b & 63) & 1)
            return restore_wrong(r, "slot %u shares its upper links", slot);
        r->blocks[b / 64] |= (uint64_t)1 << (b & 63);
    }
    return true;
}

static bool take_record(struct restore *r, uint32_t slot)
{
    struct graph *g = r->g;
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot);
    uint64_t born = atomic_load_explicit(&c->born[i], memory_order_relaxed);
    int level = c->level[i];
    if (!born)
        return (!level && c->upper[i] == SLOT_NONE) ||
               restore_wrong(r, "the free slot %u has a level", slot);
    if (born > r->state->sequence || level > GRAPH_LEVEL_MAX)
        return restore_wrong(r, "slot %u of level %d was born at %llu", slot, level,
                             (unsigned long long)born);
    void *user = NULL, *extra = NULL;
    if (!take_blocks(r, slot, level, c->upper[i]) ||
        !r->image->record(r->image->arg, slot, &user, &extra, r->why))
        return false;
    if (extra && !chunk_add_extra(c)) {
        g->owner.freed(g->owner.arg, user, extra);
        return false; /* without a reason: out of memory */
    }
    atomic_store_explicit(&c->user[i], user, memory_order_relaxed);
    if (extra)
        atomic_store_explicit(&atomic_load_explicit(&c->extra, memory_order_relaxed)[i], extra,
                              memory_order_relaxed);
    g->used[slot / 64] |= (uint64_t)1 << (slot & 63);
    r->used++;
    if (r->state->graphed && born <= r->state->closed_sequence) {
        r->nodes++;
        r->top = level > r->top ? level : r->top;
    }
    return true;
}

static bool take_records(struct restore *r)
{
    for (uint32_t slot = 0; slot < r->state->slots; slot++)
        if (!take_record(r, slot))
            return false;
    return true;
}

/* Dead records: their words change over to tombs, in this process's pages alone. */
static bool make_tombs(struct restore *r)
{
    const struct graph_state *s = r->state;
    for (; r->tombs < s->ntombs; r->tombs++) {
        const struct graph_tomb *from = &s->tombs[r->tombs];
        uint64_t born = from->slot < s->slots ? restore_word(r, from->slot) : 0;
        if (!born || born > from->died || from->died > s->sequence ||
            (r->tombs && from->slot <= s->tombs[r->tombs - 1].slot))
            return restore_wrong(r, "slot %u died at %llu", from->slot,
                                 (unsigned long long)from->died);
        struct tomb *t = mem_try_zalloc(sizeof(*t));
        if (!t)
            return false;
        t->born = born;
        t->died = from->died;
        atomic_store_explicit(&graph_chunk(r->g, from->slot)->born[slot_place(from->slot)],
                              (uint64_t)(uintptr_t)t | TOMB, memory_order_relaxed);
    }
    return true;
}

static void drop_tombs(struct restore *r)
{
    for (uint32_t i = 0; i < r->tombs; i++)
        mem_free((void *)(uintptr_t)(restore_word(r, r->state->tombs[i].slot) & ~TOMB));
}

/* ---- what is rebuilt ---- */

/* Behind the last block in use the next ones come; gaps before it are free blocks. */
static void free_blocks(struct restore *r)
{
    struct graph *g = r->g;
    uint32_t end = g->nupper * UPPER_BLOCKS, last = end ? end - UPPER_BLOCKS : 0;
    g->upper_next = last;
    for (uint32_t b = last; b < end; b++)
        if (r->blocks[b / 64] >> (b & 63) & 1)
            g->upper_next = b + 1;
    for (uint32_t b = 0; b < g->upper_next; b++)
        if (!(r->blocks[b / 64] >> (b & 63) & 1))
            graph_free_upper(g, b, 1);
}

static struct batch *make_batch(const struct graph_batch *from)
{
    struct batch *b = graph_batch_new();
    if (!b)
        return NULL;
    for (uint32_t i = 0; i < from->count; i++)
        atomic_store_explicit(&b->slots[i], from->slots[i], memory_order_relaxed);
    atomic_store_explicit(&b->count, from->count, memory_order_release);
    b->ninserts = from->count;
    b->ndeaths = from->ndeaths;
    if (from->ndeaths)
        memcpy(b->deaths, from->deaths, from->ndeaths * sizeof(*b->deaths));
    b->sequence = from->sequence;
    return b;
}

static bool make_batches(struct restore *r)
{
    struct graph *g = r->g;
    const struct graph_state *s = r->state;
    g->waiting_cap = s->nbatches + 8;
    g->waiting = mem_try_alloc(g->waiting_cap * sizeof(struct batch *));
    if (!g->waiting)
        return false;
    for (uint32_t i = 0; i < s->nbatches; i++) {
        struct batch *b = make_batch(&s->batches[i]);
        if (!b)
            return false;
        graph_enqueue(g, b);
        g->waiting[g->nwaiting++] = b;
        g->unlinked += s->batches[i].count;
    }
    if (s->open.count || s->open.ndeaths) {
        g->open = make_batch(&s->open);
        g->unlinked += s->open.count;
        if (!g->open)
            return false;
    }
    g->dead_nodes = mem_try_alloc(s->ndead * sizeof(*g->dead_nodes) + 1);
    if (!g->dead_nodes)
        return false;
    g->dead_cap = g->ndead_nodes = s->ndead;
    if (s->ndead)
        memcpy(g->dead_nodes, s->dead_nodes, s->ndead * sizeof(*g->dead_nodes));
    return true;
}

static void set_state(struct graph *g, const struct graph_state *s)
{
    atomic_store_explicit(&g->sequence, s->sequence, memory_order_release);
    g->alive = s->alive;
    g->linked = s->linked;
    g->dead = s->ntombs;
    g->linked_sequence = s->linked_sequence;
    g->closed_sequence = s->closed_sequence;
    atomic_store_explicit(&g->mended, s->mended, memory_order_relaxed);
    g->digest = s->digest;
    g->entry = s->linked ? s->entry : SLOT_NONE;
    g->entry_level = s->linked ? s->entry_level : -1;
    g->graphed = s->graphed;
    g->flat_inserts = s->flat_inserts;
    g->flat_deaths = s->flat_deaths;
}

static bool run(struct restore *r)
{
    const struct graph_state *s = r->state;
    if (!restore_check_state(r) || !restore_check_places(r))
        return false;
    r->blocks = mem_try_zalloc(((size_t)s->nupper * UPPER_BLOCKS / 64 + 1) * sizeof(*r->blocks));
    r->named = mem_try_zalloc(((size_t)s->slots / 64 + 1) * sizeof(*r->named));
    if (!r->blocks || !r->named || !make_chunks(r) || !take_records(r) || !make_tombs(r) ||
        !restore_check_lists(r) || !restore_check_upper(r) || !restore_check_counts(r) ||
        !make_batches(r))
        return false;
    set_state(r->g, s);
    r->g->nused = (uint32_t)r->used;
    r->g->restored_slots = s->slots;
    free_blocks(r);
    return scrub_make(r->g) && graph_publish(r->g) == VS_OK;
}

enum vs_status graph_restore(struct graph *g, const struct graph_image *image, struct buf *why)
{
    struct restore r = {.g = g, .image = image, .state = image->state, .why = why, .top = -1};
    size_t before = why->len;
    g->building = true;
    atomic_store_explicit(&g->faults_seen,
                          atomic_load_explicit(&region_faults, memory_order_acquire),
                          memory_order_relaxed);
    bool done = run(&r);
    if (done && !touch_faults(g)) { /* read as zeros: they may even have looked well */
        graph_is_bad(g, why);
        done = false;
    }
    if (!done) {
        drop_tombs(&r);
        g->slots = 0; /* nothing here is the owner's */
    }
    mem_free(r.blocks);
    mem_free(r.named);
    g->building = false;
    return done ? VS_OK : why->len > before ? VS_CORRUPT : VS_NOMEM;
}

/* ---- small partitions ---- */

enum vs_status graph_restore_add(struct graph *g, uint64_t born, int level, const void *row,
                                 const void *original, void *user, void *extra, uint32_t *slot)
{
    const struct columns_shape *shape = &g->shape;
    uint32_t s;
    if (!born || born >= TOMB || level < 0 || level > GRAPH_LEVEL_MAX || g->nused >= CHUNK_SLOTS)
        return VS_CORRUPT;
    g->building = true;
    enum vs_status status = graph_alloc_slot(g, SLOT_NONE, &s);
    if (status != VS_OK)
        return status;
    struct chunk *c = graph_chunk(g, s);
    uint32_t i = slot_place(s);
    if (extra && !chunk_add_extra(c)) {
        graph_unalloc_slot(g, s);
        return VS_NOMEM;
    }
    c->level[i] = (uint8_t)level;
    memcpy(chunk_rows(c) + (size_t)i * shape->codec.row_bytes, row, shape->codec.row_bytes);
    if (shape->original_bytes)
        memcpy(chunk_originals(c) + (size_t)i * shape->original_bytes, original,
               shape->original_bytes);
    atomic_store_explicit(&c->user[i], user, memory_order_relaxed);
    if (extra)
        atomic_store_explicit(&atomic_load_explicit(&c->extra, memory_order_relaxed)[i], extra,
                              memory_order_relaxed);
    atomic_store_explicit(&c->born[i], born, memory_order_release);
    g->alive++;
    *slot = s;
    return VS_OK;
}

enum vs_status graph_restore_end(struct graph *g, const struct graph_state *state, struct buf *why)
{
    struct restore r = {.g = g, .state = state, .why = why, .used = g->alive};
    struct graph_state plain = *state;
    plain.slots = 0; /* here they are as many as the records need */
    r.state = &plain;
    plain.alive = 0;
    bool good = !state->graphed && restore_check_state(&r);
    for (uint32_t slot = 0; good && slot < g->slots; slot++)
        if (restore_word(&r, slot) > state->sequence)
            good = restore_wrong(&r, "slot %u was born after %llu", slot,
                                 (unsigned long long)state->sequence);
    if (good && g->alive != state->alive)
        good = restore_wrong(&r, "%zu records alive, %zu expected", g->alive, state->alive);
    g->building = false;
    if (!good)
        return VS_CORRUPT;
    set_state(g, state);
    return VS_OK;
}
