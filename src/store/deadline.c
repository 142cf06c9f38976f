/* Deadlines of a partition's elements.
 *
 *   column   a record's deadline stands in a column beside it (columns.h), where the partition has any: that is
 *            what searches on workers compare with the time at which they began
 *   heap     of the slots, the next to end on top; a record's place in it stands beside its deadline
 *   expiring whether there is one at all: searches of a partition without do not ask
 *
 * A dead record leaves the heap at once and keeps its deadline until its slot is free: searches that began before
 * its death, and a cut, may look at it.
 *
 * ORDER. A record with a deadline is published after `expiring` is set, and `expiring` is cleared after the death of the last one
 * is published. Who reads it first, and the partition's sequence number then, sees no record with a deadline that has come
 * unless it has seen that there are some: a deadline lies behind the moment at which it is set. */
#include "base/hash.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

#define DIGEST_SALT 0x454E4453ull

static void placed(void *arg, uint64_t what, uint32_t place)
{
    const struct partition *p = arg;
    *graph_deadline_place(p->graph, (uint32_t)what) = place;
}

size_t deadline_count(const struct partition *p)
{
    return p->stub ? p->stub->deadlines : p->deadlines.n;
}

uint64_t deadline_first(const struct partition *p)
{
    if (p->stub)
        return p->stub->first_deadline_ms;
    const struct heap_cell *top = heap_top(&p->deadlines);
    return top ? top->at : 0;
}

bool deadline_room(struct partition *p)
{
    return heap_reserve(&p->deadlines, 1) && (p->expiry_place || heap_reserve(&p->store->expiry.parts, 1));
}

void deadline_enter(struct partition *p, uint32_t slot)
{
    uint64_t at = graph_deadline(p->graph, slot);
    if (!at)
        return;
    heap_insert(&p->deadlines, at, slot, placed, p);
    if (!atomic_load_explicit(&p->expiring, memory_order_relaxed))
        atomic_store_explicit(&p->expiring, true, memory_order_release);
}

void deadline_leave(struct partition *p, uint32_t slot)
{
    if (p->deadlines.n && graph_deadline(p->graph, slot))
        heap_remove(&p->deadlines, *graph_deadline_place(p->graph, slot), placed, p);
}

void deadline_moved(struct partition *p, uint32_t to)
{
    if (p->deadlines.n && graph_deadline(p->graph, to))
        heap_rename(&p->deadlines, *graph_deadline_place(p->graph, to), to);
}

uint64_t deadline_digest(uint64_t hash, uint64_t deadline_ms)
{
    return deadline_ms ? hash_bytes(&deadline_ms, sizeof(deadline_ms), hash ^ DIGEST_SALT) : 0;
}

bool partition_restore_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms)
{
    if (!graph_deadline_room(p->graph, slot) || !heap_reserve(&p->deadlines, 1))
        return false;
    graph_set_deadline(p->graph, slot, deadline_ms);
    deadline_enter(p, slot);
    return true;
}

static enum vs_status may_set(struct partition *p, uint32_t slot, const struct vs_effect *effect)
{
    if (graph_damaged(p->graph))
        return VS_CORRUPT;
    if ((p->in_cut && !cut_keep_room(p)) || !deadline_room(p) || !graph_deadline_room(p->graph, slot))
        return VS_NOMEM;
    return journal_prepare(p->store, effect);
}

enum vs_status partition_set_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms)
{
    struct vs_effect effect = index_effect(p->index, VS_DEADLINE);
    uint64_t old = graph_deadline(p->graph, slot);
    effect.id = record_id(graph_user(p->graph, slot), &effect.id_len);
    effect.deadline_ms = deadline_ms;
    cut_mutating(p);
    enum vs_status status = may_set(p, slot, &effect);
    if (status != VS_OK)
        return status;
    if (p->in_cut)
        cut_keep_deadline(p, slot, old); /* first: a reader of the cut that meets the new one finds the old one kept */
    deadline_leave(p, slot);
    graph_set_deadline(p->graph, slot, deadline_ms);
    deadline_enter(p, slot);
    uint64_t hash = partition_hash(p, effect.id, effect.id_len);
    p->digest += deadline_digest(hash, deadline_ms) - deadline_digest(hash, old);
    p->sequence++;
    journal_append(p->store, &effect);
    partition_entry_done(p);
    return VS_OK;
}
