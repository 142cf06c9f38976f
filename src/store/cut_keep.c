/* What changes of a record while a cut is read, its attributes and its deadline, as of the cut: the first old ones
 * after T are kept in a map of the partition, by the address of the record's id, until the part is given back.
 *
 *   owner    before a change: cut_keep_room, then cut_keep or cut_keep_deadline     (first ones alone)
 *   thread   vs_cut_attributes, vs_cut_deadline: what is kept, else what is there
 *   owner    the part comes back: cut_keep_let_go; the map is emptied in slices
 *
 * LOCK  cut.lock ("kept"): the maps, between the owner, who alone changes them, and the thread that reads parts.
 * Nothing is called under it. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

#define KEPT_FIRST 16

enum { KEPT_EXTRA = 1, KEPT_HEAP = 2, KEPT_DEADLINE = 4 };
struct kept { /* what a record's attributes were, its deadline was */
    void *user, *extra;
    uint64_t deadline_ms;
    unsigned what; /* is kept; HEAP: the attributes do not lie in a file */
};
struct kept_map {
    struct kept_map *next; /* among those being emptied */
    struct kept *cell;     /* a power of two of them, half full at most */
    size_t n, cap, at, bytes;
};

static struct kept *kept_find(const struct kept_map *m, const void *user)
{
    size_t at = (size_t)hash_mix((uint64_t)(uintptr_t)user) & (m->cap - 1);
    while (m->cell[at].user && m->cell[at].user != user)
        at = (at + 1) & (m->cap - 1);
    return &m->cell[at];
}

static bool kept_grow(struct cut *cut, struct kept_map *m)
{
    struct kept_map old = *m, new = {.cap = m->cap ? 2 * m->cap : KEPT_FIRST};
    new.cell = mem_try_zalloc(new.cap * sizeof(*new.cell));
    if (!new.cell)
        return false;
    for (size_t i = 0; i < old.cap; i++)
        if (old.cell[i].user)
            *kept_find(&new, old.cell[i].user) = old.cell[i];
    pthread_mutex_lock(&cut->lock);
    m->cell = new.cell;
    m->cap = new.cap;
    pthread_mutex_unlock(&cut->lock);
    mem_free(old.cell);
    return true;
}

bool cut_keep_room(struct partition *p)
{
    struct cut *cut = &p->store->cut;
    if (!p->kept) {
        struct kept_map *m = mem_try_zalloc(sizeof(*m));
        if (!m)
            return false;
        pthread_mutex_lock(&cut->lock);
        p->kept = m;
        pthread_mutex_unlock(&cut->lock);
    }
    return 2 * p->kept->n < p->kept->cap || kept_grow(cut, p->kept);
}

bool cut_keep(struct partition *p, uint32_t slot, void *extra, bool heap)
{
    struct cut *cut = &p->store->cut;
    void *user = graph_user(p->graph, slot);
    if (graph_born(p->graph, slot) > p->at.sequence)
        return false;
    struct kept *k = kept_find(p->kept, user);
    if (k->what & KEPT_EXTRA)
        return false;
    pthread_mutex_lock(&cut->lock);
    p->kept->n += !k->user;
    k->user = user;
    k->extra = extra;
    k->what |= heap ? KEPT_EXTRA | KEPT_HEAP : KEPT_EXTRA;
    pthread_mutex_unlock(&cut->lock);
    size_t bytes = extra && heap ? mem_size(extra) : 0;
    p->kept->bytes += bytes;
    cut->kept_bytes += bytes;
    return true;
}

void cut_keep_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms)
{
    struct cut *cut = &p->store->cut;
    void *user = graph_user(p->graph, slot);
    if (graph_born(p->graph, slot) > p->at.sequence)
        return;
    struct kept *k = kept_find(p->kept, user);
    if (k->what & KEPT_DEADLINE)
        return;
    pthread_mutex_lock(&cut->lock);
    p->kept->n += !k->user;
    k->user = user;
    k->deadline_ms = deadline_ms;
    k->what |= KEPT_DEADLINE;
    pthread_mutex_unlock(&cut->lock);
}

uint64_t vs_cut_deadline(struct vs_cut_part *part, void *user, uint64_t now)
{
    struct partition *p = part->p;
    struct cut *cut = &p->store->cut;
    pthread_mutex_lock(&cut->lock);
    if (p->kept && p->kept->cap) {
        const struct kept *k = kept_find(p->kept, user);
        if (k->what & KEPT_DEADLINE)
            now = k->deadline_ms;
    }
    pthread_mutex_unlock(&cut->lock);
    return now;
}

static const void *extra_then(struct vs_cut_part *part, void *user, void *extra)
{
    struct partition *p = part->p;
    struct cut *cut = &p->store->cut;
    pthread_mutex_lock(&cut->lock);
    if (p->kept && p->kept->cap) {
        const struct kept *k = kept_find(p->kept, user);
        if (k->what & KEPT_EXTRA)
            extra = k->extra;
    }
    pthread_mutex_unlock(&cut->lock);
    return extra;
}

const void *vs_cut_attributes(struct vs_cut_part *part, void *user, void *extra, size_t *len)
{
    return attr_text(extra_then(part, user, extra), len);
}

const void *vs_cut_stored_attributes(struct vs_cut_part *part, void *user, void *extra, size_t *bytes)
{
    const void *stored = extra_then(part, user, extra);
    *bytes = stored ? attr_bytes(stored) : 0;
    return stored;
}

void cut_keep_let_go(struct partition *p)
{
    struct cut *cut = &p->store->cut;
    pthread_mutex_lock(&cut->lock);
    struct kept_map *m = p->kept;
    p->kept = NULL;
    pthread_mutex_unlock(&cut->lock);
    if (!m)
        return;
    m->next = cut->emptying;
    cut->emptying = m;
}

bool cut_keep_empty_some(struct vs_store *store, uint64_t until_ns)
{
    struct cut *cut = &store->cut;
    while (cut->emptying) {
        struct kept_map *m = cut->emptying;
        for (size_t k = 1; m->at < m->cap; m->at++, k++) {
            const struct kept *one = &m->cell[m->at];
            if (k % 64 == 0 && clock_mono_ns() > until_ns)
                return true;
            if ((one->what & KEPT_HEAP) && one->extra)
                epoch_retire_with(store->epoch, one->extra, attr_free);
        }
        cut->emptying = m->next;
        cut->kept_bytes -= m->bytes;
        mem_free(m->cell);
        mem_free(m);
    }
    return false;
}
