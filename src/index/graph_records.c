/* Looking at a graph: its records, by slot or as a view shows them, and what it takes and has to do. */
#include <string.h>

#include "index/graph_int.h"
#include "index/graph_touch.h"

size_t graph_backlog(const struct graph *g)
{
    return g->unlinked;
}

bool graph_compacting(const struct graph *g)
{
    return g->compact.step != COMPACT_OFF;
}

size_t graph_alive(const struct graph *g)
{
    return g->alive;
}

const struct columns_shape *graph_shape(const struct graph *g)
{
    return &g->shape;
}

const void *graph_row(const struct graph *g, uint32_t slot)
{
    struct chunk *c = graph_chunk(g, slot);
    touch(g, c, COLUMN_ROWS);
    return chunk_rows(c) + (size_t)slot_place(slot) * g->shape.codec.row_bytes;
}

const void *graph_original(const struct graph *g, uint32_t slot)
{
    struct chunk *c = graph_chunk(g, slot);
    touch(g, c, COLUMN_ORIGINALS);
    uint8_t *originals = chunk_originals(c);
    return originals ? originals + (size_t)slot_place(slot) * g->shape.original_bytes : NULL;
}

void *graph_user(const struct graph *g, uint32_t slot)
{
    return atomic_load_explicit(&graph_chunk(g, slot)->user[slot_place(slot)],
                                memory_order_relaxed);
}

static void *chunk_extra(const struct chunk *c, uint32_t i)
{
    _Atomic(void *) *extra = atomic_load_explicit(&c->extra, memory_order_acquire);
    return extra ? atomic_load_explicit(&extra[i], memory_order_acquire) : NULL;
}

void *graph_extra(const struct graph *g, uint32_t slot)
{
    return chunk_extra(graph_chunk(g, slot), slot_place(slot));
}

static void set_extra(struct graph *g, uint32_t slot, void *extra)
{
    _Atomic(void *) *array = atomic_load_explicit(&graph_chunk(g, slot)->extra, memory_order_relaxed);
    atomic_store_explicit(&array[slot_place(slot)], extra, memory_order_release);
}

bool graph_extra_room(struct graph *g, uint32_t slot)
{
    uint32_t alias = compact_alias(g, slot);
    return (alias == SLOT_NONE || chunk_add_extra(graph_chunk(g, alias))) &&
           chunk_add_extra(graph_chunk(g, slot));
}

void graph_set_extra(struct graph *g, uint32_t slot, void *extra)
{
    uint32_t alias = compact_alias(g, slot);
    if (alias != SLOT_NONE)
        set_extra(g, alias, extra);
    set_extra(g, slot, extra);
}

uint64_t graph_deadline(const struct graph *g, uint32_t slot)
{
    return chunk_deadline(graph_chunk(g, slot), slot_place(slot));
}

bool graph_deadline_room(struct graph *g, uint32_t slot)
{
    uint32_t alias = compact_alias(g, slot);
    return (alias == SLOT_NONE || chunk_add_deadlines(graph_chunk(g, alias))) &&
           chunk_add_deadlines(graph_chunk(g, slot));
}

static void set_deadline(struct graph *g, uint32_t slot, uint64_t deadline)
{
    _Atomic uint64_t *array = atomic_load_explicit(&graph_chunk(g, slot)->deadline, memory_order_relaxed);
    atomic_store_explicit(&array[slot_place(slot)], deadline, memory_order_release);
}

void graph_set_deadline(struct graph *g, uint32_t slot, uint64_t deadline)
{
    uint32_t alias = compact_alias(g, slot);
    if (alias != SLOT_NONE)
        set_deadline(g, alias, deadline);
    set_deadline(g, slot, deadline);
}

uint32_t *graph_deadline_place(const struct graph *g, uint32_t slot)
{
    return chunk_deadline_place(graph_chunk(g, slot), slot_place(slot));
}

uint64_t graph_born(const struct graph *g, uint32_t slot)
{
    return born_of(
        atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)], memory_order_relaxed));
}

static void load_vector(const struct graph *g, struct chunk *c, uint32_t i, float *out)
{
    touch(g, c, g->shape.original_bytes ? COLUMN_ORIGINALS : COLUMN_ROWS);
    if (chunk_originals(c))
        vec_original_load(g->shape.originals,
                          chunk_originals(c) + (size_t)i * g->shape.original_bytes,
                          g->shape.codec.dim, out);
    else
        vec_decode(&g->shape.codec, chunk_rows(c) + (size_t)i * g->shape.codec.row_bytes, out);
}

void graph_vector(const struct graph *g, uint32_t slot, float *out)
{
    load_vector(g, graph_chunk(g, slot), slot_place(slot), out);
}

void *graph_view_user(const struct graph_view *v, uint32_t slot)
{
    return atomic_load_explicit(&view_chunk(v, slot)->user[slot_place(slot)], memory_order_acquire);
}

uint64_t graph_view_born(const struct graph_view *v, uint32_t slot)
{
    return born_of(view_born(v, slot));
}

void *graph_view_extra(const struct graph_view *v, uint32_t slot)
{
    return chunk_extra(view_chunk(v, slot), slot_place(slot));
}

void graph_view_vector(const struct graph *g, const struct graph_view *v, uint32_t slot, float *out)
{
    load_vector(g, view_chunk(v, slot), slot_place(slot), out);
}

void graph_info(const struct graph *g, struct graph_info *out)
{
    memset(out, 0, sizeof(*out));
    out->alive = g->alive;
    out->linked = g->linked;
    out->unlinked = g->unlinked;
    out->dead = g->dead;
    out->free_slots = g->slots - g->nused;
    out->max_level = g->entry_level;
    out->batches = g->nwaiting;
    out->linked_sequence = g->linked_sequence;
    out->digest = g->digest;
    for (uint32_t i = 0; i < g->nchunks; i++)
        chunk_bytes(&g->shape, g->chunks[i], &out->bytes);
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_READY)
        chunk_bytes(&g->shape, g->spare, &out->bytes);
    out->upper_bytes =
        (size_t)(g->nupper - (g->upper_in && g->upper_in->memory ? 0 : g->upper_mapped)) * UPPER_BLOCKS * g->shape.m * sizeof(uint32_t);
    out->other_bytes = sizeof(*g) + g->slots / 8 + g->chunks_cap * sizeof(void *) +
                       (g->nwaiting + 1) * (g->open || g->nwaiting ? sizeof(struct batch) : 0) +
                       sizeof(struct graph_view) + 4 * g->nchunks * sizeof(void *);
}

bool graph_busy(const struct graph *g)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&g->lock;
    pthread_mutex_lock(lock);
    bool queued = g->queue != NULL || g->finished != NULL || g->unpublished != NULL;
    pthread_mutex_unlock(lock);
    int scrub = atomic_load_explicit(&g->scrub_state, memory_order_relaxed);
    if (atomic_load_explicit(&g->bad, memory_order_relaxed)) /* what it has to do stays undone */
        return g->job || scrub != SCRUB_NONE;
    return queued || g->job || scrub != SCRUB_NONE || g->stamp.step == CUT_WANTED ||
           g->compact.step != COMPACT_OFF || g->nreleasing || compact_due(g);
}

void *graph_owner_arg(const struct graph *g)
{
    return g->owner.arg;
}
