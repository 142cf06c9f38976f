/* Cuts: what the thread that writes a snapshot does, see graph_cut.h.
 *
 * Nothing here takes a lock or enters an epoch: while a cut is taken the partition frees no slot, no
 * tomb, no chunk that the cut shows. What changes under its eyes is looked at through `born`, which is
 * stored last: a slot is read only if its record belongs to the cut, and then all of it but links and
 * attributes is as it was. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph_cut_int.h"
#include "index/graph_restore.h"
#include "index/graph_touch.h"

/* ---- what belongs to it ---- */

static uint64_t word_at(const struct graph_cut *c, uint32_t slot)
{
    return atomic_load_explicit(&c->chunks[slot >> CHUNK_BITS]->born[slot_place(slot)],
                                memory_order_acquire);
}

static int compare_tombs(const void *x, const void *y)
{
    const struct graph_tomb *a = x, *b = y;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static void add_tombs(struct graph_cut *c, const uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = word_at(c, slots[i]);
        const struct tomb *t = (const struct tomb *)(uintptr_t)(word & ~TOMB);
        c->tombs[c->state.ntombs++] = (struct graph_tomb){slots[i], t->died};
    }
}

/* A dead record that is still named stands in exactly one list of deaths. */
static bool list_tombs(struct graph_cut *c)
{
    struct graph_state *s = &c->state;
    size_t n = (size_t)s->ndead + s->open.ndeaths;
    for (uint32_t i = 0; i < s->nbatches; i++)
        n += s->batches[i].ndeaths;
    c->tombs = mem_try_alloc(n * sizeof(*c->tombs) + 1);
    if (!c->tombs)
        return false;
    for (uint32_t i = 0; i < s->nbatches; i++)
        add_tombs(c, s->batches[i].deaths, s->batches[i].ndeaths);
    add_tombs(c, s->open.deaths, s->open.ndeaths);
    add_tombs(c, s->dead_nodes, s->ndead);
    qsort(c->tombs, s->ntombs, sizeof(*c->tombs), compare_tombs);
    s->tombs = c->tombs;
    return true;
}

static bool is_used(const struct graph_cut *c, uint32_t slot)
{
    return c->used[slot / 64] >> (slot & 63) & 1;
}

/* Was it a node of the graph when the cut was taken? */
static bool is_node(const struct graph_cut *c, uint32_t slot)
{
    return is_used(c, slot) && born_of(word_at(c, slot)) <= c->state.closed_sequence;
}

static void mark_blocks(struct graph_cut *c, uint32_t slot)
{
    const struct chunk *chunk = c->chunks[slot >> CHUNK_BITS];
    uint32_t block = chunk->upper[slot_place(slot)];
    for (uint32_t end = block + chunk->level[slot_place(slot)]; block < end; block++)
        c->nodes[block / 64] |= (uint64_t)1 << (block & 63);
}

static void mark_used(struct graph_cut *c)
{
    for (uint32_t slot = 0; slot < c->state.slots; slot++)
        if (born_visible(word_at(c, slot), c->state.sequence))
            c->used[slot / 64] |= (uint64_t)1 << (slot & 63);
    for (uint32_t i = 0; i < c->state.ntombs; i++)
        c->used[c->tombs[i].slot / 64] |= (uint64_t)1 << (c->tombs[i].slot & 63);
    for (uint32_t slot = 0; c->state.graphed && slot < c->state.slots; slot++)
        if (is_node(c, slot))
            mark_blocks(c, slot);
}

const struct graph_state *graph_cut_state(struct graph_cut *c)
{
    if (c->prepared)
        return &c->state;
    if (!c->used)
        c->used = mem_try_zalloc(((size_t)c->nchunks * USED_WORDS + 1) * sizeof(*c->used));
    if (!c->nodes)
        c->nodes =
            mem_try_zalloc(((size_t)c->state.nupper * UPPER_BLOCKS / 64 + 1) * sizeof(*c->nodes));
    if (!c->used || !c->nodes || !list_tombs(c))
        return NULL;
    mark_used(c);
    c->prepared = true;
    return &c->state;
}

uint32_t graph_cut_chunks(const struct graph_cut *c)
{
    return c->nchunks;
}

bool graph_cut_damaged(const struct graph_cut *c)
{
    return graph_damaged(c->g);
}

const struct columns_shape *graph_cut_shape(const struct graph_cut *c)
{
    return &c->g->shape;
}

const uint64_t *graph_cut_used(const struct graph_cut *c, uint32_t chunk)
{
    return c->used + (size_t)chunk * USED_WORDS;
}

uint64_t graph_cut_filled(const struct graph_cut *c, uint32_t chunk)
{
    return atomic_load_explicit(&c->chunks[chunk]->filled, memory_order_relaxed);
}

/* ---- records ---- */

void graph_cut_records(const struct graph_cut *c, uint32_t chunk, uint64_t *born, uint8_t *level,
                       uint32_t *upper, void **user, void **extra)
{
    const struct chunk *from = c->chunks[chunk];
    _Atomic(void *) *extras = atomic_load_explicit(&from->extra, memory_order_acquire);
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
        uint32_t slot = chunk << CHUNK_BITS | i;
        bool used = is_used(c, slot);
        if (born)
            born[i] = used ? born_of(word_at(c, slot)) : 0;
        if (level)
            level[i] = used ? from->level[i] : 0;
        if (upper)
            upper[i] = used && c->state.graphed ? from->upper[i] : SLOT_NONE;
        if (user)
            user[i] = used ? atomic_load_explicit(&from->user[i], memory_order_acquire) : NULL;
        if (extra)
            extra[i] = used && extras && !tomb_dropped(word_at(c, slot))
                           ? atomic_load_explicit(&extras[i], memory_order_acquire)
                           : NULL;
    }
}

void graph_cut_deadlines(const struct graph_cut *c, uint32_t chunk, uint64_t *out)
{
    const struct chunk *from = c->chunks[chunk];
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++)
        out[i] = is_used(c, chunk << CHUNK_BITS | i) ? chunk_deadline(from, i) : 0;
}

static void copy_column(const struct graph_cut *c, uint32_t chunk, uint8_t *out,
                        const uint8_t *from, size_t bytes)
{
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
        if (is_used(c, chunk << CHUNK_BITS | i))
            memcpy(out + i * bytes, from + i * bytes, bytes);
        else
            memset(out + i * bytes, 0, bytes);
    }
}

bool graph_cut_rows(const struct graph_cut *c, uint32_t chunk, void *rows, void *originals)
{
    struct chunk *from = c->chunks[chunk];
    uint8_t columns = (uint8_t)((rows ? COLUMN_ROWS : 0) | (originals ? COLUMN_ORIGINALS : 0));
    if (!touch(c->g, from, columns))
        return false;
    if (rows)
        copy_column(c, chunk, rows, chunk_rows(from), from->row_bytes);
    if (originals && from->original_bytes)
        copy_column(c, chunk, originals, chunk_originals(from), from->original_bytes);
    return touch_sound(c->g);
}

bool graph_cut_whole(const struct graph_cut *c, uint32_t chunk, bool originals, const void **rows)
{
    struct chunk *from = c->chunks[chunk];
    const uint64_t *used = graph_cut_used(c, chunk);
    *rows = NULL;
    for (unsigned w = 0; w < USED_WORDS; w++)
        if (~used[w])
            return true;
    if (!touch(c->g, from, originals ? COLUMN_ORIGINALS : COLUMN_ROWS))
        return false;
    *rows = originals ? chunk_originals(from) : chunk_rows(from);
    return true;
}

/* ---- links ---- */

static void wake_linker(struct graph_cut *c)
{
    if (atomic_load(&c->paused) && cut_room_aside(c) && atomic_exchange(&c->paused, false))
        graph_notify(c->g);
}

/* Copies `n` words at `at` of a part, from where they lie or from the copy aside. */
static void copy_words(const struct graph_cut *c, uint32_t part, enum part_state found, size_t at,
                       size_t n, uint32_t *out)
{
    const _Atomic uint32_t *words = cut_part_words(c, part);
    if (found == PART_SAVED) {
        memcpy(out, c->saved[part] + at, n * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = atomic_load_explicit(&words[at + i], memory_order_relaxed);
}

/* Takes a part for reading; the state it was found in: it is to be read where it lies, or its copy
 * is, or, when that could not be made, nothing. */
static enum part_state begin_part(struct graph_cut *c, uint32_t part)
{
    for (;;) {
        uint8_t state = atomic_load_explicit(&c->parts[part], memory_order_acquire);
        if (state == PART_SAVED || state == PART_READ)
            return state;
        if (state == PART_PENDING &&
            atomic_compare_exchange_strong(&c->parts[part], &state, PART_COPYING))
            return PART_PENDING;
        sched_yield();
    }
}

static void end_part(struct graph_cut *c, uint32_t part, enum part_state found)
{
    if (found == PART_SAVED)
        cut_free_saved(c, part);
    else if (found == PART_PENDING)
        atomic_fetch_sub(&c->pending, cut_part_bytes(c, part));
    atomic_store_explicit(&c->parts[part], PART_READ, memory_order_release);
    wake_linker(c);
}

bool graph_cut_links(struct graph_cut *c, uint32_t chunk, uint32_t *out)
{
    size_t list = 2 * (size_t)c->g->shape.m;
    memset(out, 0xFF, CHUNK_SLOTS * list * sizeof(*out));
    if (!c->state.graphed)
        return true;
    if (!touch(c->g, c->chunks[chunk], COLUMN_LINKS) || atomic_load(&c->failed))
        return false;
    enum part_state found = begin_part(c, chunk);
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++)
        if (is_node(c, chunk << CHUNK_BITS | i))
            copy_words(c, chunk, found, i * list, list, out + i * list);
    end_part(c, chunk, found);
    return touch_sound(c->g) && !atomic_load(&c->failed);
}

bool graph_cut_upper(struct graph_cut *c, uint32_t k, uint32_t *out)
{
    size_t list = c->g->shape.m;
    uint32_t part = c->nchunks + k;
    memset(out, 0xFF, UPPER_BLOCKS * list * sizeof(*out));
    enum part_state found = begin_part(c, part);
    for (uint32_t i = 0; i < UPPER_BLOCKS; i++) {
        uint32_t block = k * UPPER_BLOCKS + i;
        if (c->nodes[block / 64] >> (block & 63) & 1)
            copy_words(c, part, found, i * list, list, out + i * list);
    }
    end_part(c, part, found);
    return touch_sound(c->g) && !atomic_load(&c->failed);
}

void graph_cut_links_done(struct graph_cut *c)
{
    atomic_store(&c->links_done, true);
    graph_notify(c->g);
}

size_t graph_cut_aside(const struct graph_cut *c)
{
    return atomic_load(&c->aside);
}
