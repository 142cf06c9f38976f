/* Compaction: records of the last chunks move into free slots further to the front, and the chunks
 * are given back.
 *
 *   plan    (owner, in slices)  pairs: every used slot behind `end` -> the lowest free slot
 *   copy    (workers)           rows, originals, links, levels: into slots that nobody sees
 *   switch  (owner, in slices)  the record's mutable part moves; from now on the new slot is the record, and both can be found
 *   relink  (workers)           every link into the old slots is changed to the new one, a word at a time
 *   leave   (owner)             a grace period: nobody comes to an old slot by a link, a batch or the entry point any more, but scans do
 *   hide    (owner, in slices)  old slots look free to scans
 *   grace   (owner)             after it nobody can hold an old slot: they are freed, the empty chunks dropped
 *
 * Between switch and hide a record stands in two slots with the same sequence number: a beam and a
 * collector know that a repeated (distance, sequence number) is one record. A death marks both.
 * Linking waits meanwhile; inserting, deleting and searching do not. Slots are local: no digest, no
 * order, no answer depends on them. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_int.h"

#define SLICE      64 /* steps between looks at the clock */
#define COPY_UNIT  64
#define FREE_SHARE 20          /* compact when one slot in so many is free, */
#define FREE_MIN   CHUNK_SLOTS /* and at least so many */
#define ROUND_SLOTS \
    (64 *           \
     CHUNK_SLOTS) /* of the back that one compaction empties: its lists stay short, others follow */

bool compact_due(const struct graph *g)
{
    size_t free_slots = g->slots - g->nused, keep = g->env->shrink ? 0 : g->keep_free;
    uint32_t need = (g->nused + CHUNK_SLOTS - 1) / CHUNK_SLOTS;
    if (g->retired || g->nreleasing || g->stamp.step != CUT_NONE || g->scrub ||
        atomic_load_explicit(&g->bad, memory_order_relaxed) ||
        free_slots < FREE_MIN + keep ||
        free_slots < g->slots / FREE_SHARE + keep || need >= g->nchunks)
        return false;
    return g->graphed ? !g->nwaiting : g->options.flat;
}

bool compact_begin(struct graph *g)
{
    struct compaction *c = &g->compact;
    memset(c, 0, sizeof(*c));
    c->end = (g->nused + CHUNK_SLOTS - 1) / CHUNK_SLOTS * CHUNK_SLOTS;
    if (g->slots - c->end > ROUND_SLOTS)
        c->end = g->slots - ROUND_SLOTS;
    c->from_cursor = c->end;
    c->ntarget = g->slots - c->end;
    c->target = mem_try_alloc(c->ntarget * sizeof(*c->target));
    if (!c->target) {
        graph_notify(g); /* to try again */
        return false;
    }
    memset(c->target, 0xFF, c->ntarget * sizeof(*c->target));
    g->free_hint = 0;
    c->step = COMPACT_PLAN;
    return true;
}

void compact_release(struct graph *g)
{
    struct compaction *c = &g->compact;
    mem_free(c->from);
    mem_free(c->to);
    mem_free(c->target);
    mem_free(c->late);
    memset(c, 0, sizeof(*c));
}

/* Has the pair's old slot been hidden? From then on it may be freed, and another record take it. */
static bool pair_hidden(const struct compaction *c, uint32_t from)
{
    return c->hidden == c->n || from < c->from[c->hidden];
}

static bool holds_record(const struct graph *g, uint32_t slot)
{
    return atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)],
                                memory_order_relaxed) != 0;
}

uint32_t compact_alias(const struct graph *g, uint32_t slot)
{
    const struct compaction *c = &g->compact;
    if (!c->switched)
        return SLOT_NONE;
    if (slot >= c->end)
        return slot - c->end < c->ntarget && c->target[slot - c->end] != SLOT_NONE &&
                       holds_record(g, c->target[slot - c->end]) && !pair_hidden(c, slot)
                   ? c->target[slot - c->end]
                   : SLOT_NONE;
    size_t lo = 0, hi = c->switched;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->to[mid] < slot)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->switched && c->to[lo] == slot && holds_record(g, slot) &&
                   !pair_hidden(c, c->from[lo])
               ? c->from[lo]
               : SLOT_NONE;
}

bool compact_has_moved(const struct graph *g, uint32_t slot)
{
    const struct compaction *c = &g->compact;
    return c->switched && slot >= c->end && slot - c->end < c->ntarget &&
           c->target[slot - c->end] != SLOT_NONE &&
           (c->switched == c->n || slot < c->from[c->switched]) && !pair_hidden(c, slot);
}

bool compact_late_room(struct graph *g)
{
    struct compaction *c = &g->compact;
    return c->nlate < c->late_cap ||
           mem_try_grow(&c->late, &c->late_cap, c->late_cap ? 2 * c->late_cap : 64, sizeof(*c->late));
}

void compact_late(struct graph *g, uint32_t slot)
{
    struct compaction *c = &g->compact;
    c->late[c->nlate++] = slot;
}

/* ---- plan ---- */

static bool add_pair(struct compaction *c, uint32_t from, uint32_t to)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 1024;
        uint32_t *f = mem_try_realloc(c->from, cap * sizeof(*f));
        if (f)
            c->from = f;
        uint32_t *t = mem_try_realloc(c->to, cap * sizeof(*t));
        if (t)
            c->to = t;
        if (!f || !t)
            return false;
        c->cap = cap;
    }
    c->from[c->n] = from;
    c->to[c->n++] = to;
    c->target[from - c->end] = to;
    return true;
}

static bool movable(const struct graph *g, uint32_t slot)
{
    uint64_t word =
        atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)], memory_order_relaxed);
    return word && (!(word & TOMB) || g->graphed);
}

static bool plan(struct graph *g, uint64_t until_ns)
{
    struct compaction *c = &g->compact;
    uint32_t stop = c->end + (uint32_t)c->ntarget;
    for (uint32_t k = 1; c->from_cursor < stop; c->from_cursor++, k++) {
        uint32_t from = c->from_cursor, to;
        if (k % SLICE == 0 && clock_mono_ns() > until_ns)
            return true;
        if (!(g->used[from / 64] >> (from & 63) & 1) || !movable(g, from))
            continue;
        if (graph_alloc_slot(g, c->end, &to) != VS_OK)
            break;
        if ((c->n && to < c->to[c->n - 1]) ||
            !add_pair(c, from, to)) { /* a slot came free behind: the next compaction's */
            graph_unalloc_slot(g, to);
            break;
        }
    }
    c->step = COMPACT_COPY;
    return true;
}

/* ---- copy ---- */

uint32_t compact_copy_units(const struct graph *g)
{
    return (uint32_t)((g->compact.n + COPY_UNIT - 1) / COPY_UNIT);
}

void compact_copy(struct graph *g, uint32_t unit)
{
    const struct compaction *c = &g->compact;
    const struct graph_view *v = graph_view(g);
    size_t row_bytes = g->shape.codec.row_bytes, original_bytes = g->shape.original_bytes;
    for (size_t k = (size_t)unit * COPY_UNIT; k < c->n && k < (size_t)(unit + 1) * COPY_UNIT; k++) {
        struct chunk *from = view_chunk(v, c->from[k]), *to = view_chunk(v, c->to[k]);
        uint32_t i = slot_place(c->from[k]), j = slot_place(c->to[k]);
        memcpy(chunk_rows(to) + j * row_bytes, chunk_rows(from) + i * row_bytes, row_bytes);
        if (original_bytes)
            memcpy(chunk_originals(to) + j * original_bytes,
                   chunk_originals(from) + i * original_bytes, original_bytes);
        to->level[j] = from->level[i];
        to->upper[j] = from->upper[i];
        if (!from->links)
            continue;
        uint32_t max = 2 * g->shape.m;
        for (uint32_t l = 0; l < max; l++)
            atomic_store_explicit(
                &to->links[(size_t)j * max + l],
                atomic_load_explicit(&from->links[(size_t)i * max + l], memory_order_relaxed),
                memory_order_relaxed);
    }
}

/* ---- switch ---- */

static bool switch_pair(struct graph *g, uint32_t from, uint32_t to)
{
    struct chunk *a = graph_chunk(g, from), *b = graph_chunk(g, to);
    uint32_t i = slot_place(from), j = slot_place(to);
    uint64_t word = atomic_load_explicit(&a->born[i], memory_order_relaxed);
    _Atomic(void *) *extra = atomic_load_explicit(&a->extra, memory_order_relaxed);
    void *user = atomic_load_explicit(&a->user[i], memory_order_relaxed);
    void *x = extra ? atomic_load_explicit(&extra[i], memory_order_relaxed) : NULL;
    if (!word || ((word & TOMB) && !g->graphed))
        return false; /* died since the plan, in a partition that frees at once */
    if (x) {
        if (!chunk_add_extra(b))
            return false;
        atomic_store_explicit(&atomic_load_explicit(&b->extra, memory_order_relaxed)[j], x,
                              memory_order_relaxed);
    }
    uint64_t deadline = chunk_deadline(a, i);
    if (deadline) {
        if (!chunk_add_deadlines(b))
            return false;
        atomic_store_explicit(&atomic_load_explicit(&b->deadline, memory_order_relaxed)[j], deadline,
                              memory_order_relaxed);
        *chunk_deadline_place(b, j) = *chunk_deadline_place(a, i);
    }
    atomic_store_explicit(&b->user[j], user, memory_order_relaxed);
    atomic_store_explicit(&b->filled, g->env->cuts + 1, memory_order_relaxed);
    atomic_store_explicit(&b->born[j], word, memory_order_release);
    if (!(word & TOMB))
        g->owner.moved(g->owner.arg, user, from, to);
    return true;
}

static uint32_t moved_to(const struct compaction *c, uint32_t slot)
{
    if (slot < c->end || slot - c->end >= c->ntarget || c->target[slot - c->end] == SLOT_NONE)
        return slot;
    return c->target[slot - c->end];
}

static void move_batch(const struct compaction *c, struct batch *b)
{
    uint32_t n = atomic_load_explicit(&b->count, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = atomic_load_explicit(&b->slots[i], memory_order_relaxed);
        atomic_store_explicit(&b->slots[i], moved_to(c, slot), memory_order_release);
    }
    for (uint32_t i = 0; i < b->ndeaths; i++)
        b->deaths[i] = moved_to(c, b->deaths[i]);
}

static bool switch_over(struct graph *g, uint64_t until_ns)
{
    struct compaction *c = &g->compact;
    atomic_store_explicit(&g->doubled, true, memory_order_release);
    for (uint32_t k = 1; c->switched < c->n; k++) {
        if (k % SLICE == 0 && clock_mono_ns() > until_ns)
            return true;
        uint32_t from = c->from[c->switched], to = c->to[c->switched];
        if (!switch_pair(g, from, to)) {
            c->target[from - c->end] = SLOT_NONE;
            graph_chunk(g, to)->upper[slot_place(to)] = SLOT_NONE;
        }
        c->switched++;
    }
    for (uint32_t i = 0; i < g->nwaiting; i++)
        move_batch(c, g->waiting[i]);
    if (g->open)
        move_batch(c, g->open);
    for (size_t i = 0; i < g->ndead_nodes; i++)
        g->dead_nodes[i] = moved_to(c, g->dead_nodes[i]);
    c->step = COMPACT_RELINK;
    return true;
}

/* ---- relink ---- */

static void relink_words(const struct compaction *c, _Atomic uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t to = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (to < c->end || to == SLOT_NONE)
            continue;
        uint32_t now = moved_to(c, to);
        if (now != to)
            atomic_store_explicit(&words[i], now, memory_order_release);
    }
}

void compact_relink(struct graph *g, const struct graph_view *v, uint32_t unit)
{
    if (unit < v->nchunks) {
        struct chunk *chunk = v->chunks[unit];
        if (chunk->links)
            relink_words(&g->compact, chunk->links, (size_t)chunk->slots * 2 * g->shape.m);
    } else {
        relink_words(&g->compact, v->upper[unit - v->nchunks], (size_t)UPPER_BLOCKS * g->shape.m);
    }
}

/* ---- leaving the old slots ---- */

struct leave {
    struct epoch_item item;
    struct graph *g;
};

static void reclaim_leave(struct epoch_item *item, void *arg)
{
    struct leave *leave = (struct leave *)((char *)item - offsetof(struct leave, item));
    struct graph *g = leave->g;
    (void)arg;
    mem_free(leave);
    if (g->retired)
        return;
    g->compact.step = COMPACT_HIDE;
    graph_notify(g);
}

static bool leave_old(struct graph *g)
{
    struct compaction *c = &g->compact;
    if (g->entry != SLOT_NONE)
        g->entry = moved_to(c, g->entry);
    if (graph_publish(g) != VS_OK) {
        graph_notify(g); /* to try again */
        return false;
    }
    struct leave *leave = mem_zalloc(sizeof(*leave));
    leave->g = g;
    c->step = COMPACT_LEAVE;
    epoch_retire(g->env->epoch, &leave->item, reclaim_leave, NULL);
    return true;
}

static bool hide(struct graph *g, uint64_t until_ns)
{
    struct compaction *c = &g->compact;
    for (uint32_t k = 1; c->hidden < c->n; c->hidden++, k++) {
        uint32_t from = c->from[c->hidden];
        if (k % SLICE == 0 && clock_mono_ns() > until_ns)
            return true;
        if (c->target[from - c->end] != SLOT_NONE)
            atomic_store_explicit(&graph_chunk(g, from)->born[slot_place(from)], 0,
                                  memory_order_release);
    }
    uint32_t *slots = mem_try_alloc((c->n + 1) * sizeof(*slots));
    size_t n = 0;
    if (!slots) {
        graph_notify(g); /* to try again */
        return false;
    }
    for (size_t k = 0; k < c->n; k++)
        if (c->target[c->from[k] - c->end] != SLOT_NONE)
            slots[n++] = c->from[k];
        else
            graph_unalloc_slot(g, c->to[k]);
    c->step = COMPACT_GRACE;
    graph_release_later(g, slots, n, true);
    return true;
}

static void finish(struct graph *g)
{
    struct compaction *c = &g->compact;
    uint32_t *late = c->late;
    size_t nlate = c->nlate;
    c->late = NULL;
    atomic_store_explicit(&g->doubled, false, memory_order_release);
    compact_release(g);
    if (nlate)
        graph_release_later(g, late, nlate, false);
    else
        mem_free(late);
    graph_drop_tail(g);
}

bool compact_step(struct graph *g, uint64_t until_ns)
{
    struct compaction *c = &g->compact;
    switch (c->step) {
    case COMPACT_OFF: return false;
    case COMPACT_PLAN: return plan(g, until_ns);
    case COMPACT_COPY:
        if (c->n && !job_start_phase(g, PHASE_COPY))
            return false;
        c->step = COMPACT_SWITCH;
        return c->n == 0;
    case COMPACT_SWITCH: return switch_over(g, until_ns);
    case COMPACT_RELINK:
        if (c->n && g->entry != SLOT_NONE && !c->relinked) {
            c->relinked = job_start_phase(g, PHASE_RELINK);
            return false;
        }
        return leave_old(g);
    case COMPACT_LEAVE: return false;
    case COMPACT_HIDE: return hide(g, until_ns);
    case COMPACT_GRACE:
        if (g->nreleasing)
            return false;
        finish(g);
        return true;
    }
    return false;
}
