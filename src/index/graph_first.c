/* A partition's first graph: from scanned to linked. All records alive become batches, in order of their
 * sequence numbers, and wait to be linked like any others. When memory is short the partition stays
 * scanned, and the next closing tries again. */
#include <stdlib.h>

#include "base/mem.h"
#include "index/graph_int.h"

struct by_born {
    uint64_t born;
    uint32_t slot;
};

static int compare_born(const void *x, const void *y)
{
    const struct by_born *a = x, *b = y;
    return a->born < b->born ? -1 : a->born > b->born;
}

static bool prepare_links(struct graph *g, const struct by_born *all, size_t n)
{
    for (uint32_t i = 0; i < g->nchunks; i++)
        if (!chunk_add_links(g->chunks[i]))
            return false;
    for (size_t i = 0; i < n; i++) {
        struct chunk *c = graph_chunk(g, all[i].slot);
        uint32_t at = slot_place(all[i].slot);
        if (c->level[at] && c->upper[at] == SLOT_NONE &&
            !graph_alloc_upper(g, c->level[at], &c->upper[at]))
            return false;
    }
    return true;
}

/* `n` records, by age, in as many batches as they need. NULL: out of memory. */
static struct batch **make_batches(const struct graph *g, const struct by_born *all, size_t n,
                                   size_t nbatches)
{
    struct batch **list = mem_try_alloc((nbatches + 8) * sizeof(struct batch *));
    if (!list)
        return NULL;
    for (size_t i = 0; i < nbatches; i++) {
        struct batch *b = list[i] = graph_batch_new();
        if (!b) {
            while (i--)
                mem_free(list[i]);
            mem_free(list);
            return NULL;
        }
        for (size_t k = i * BATCH_SIZE; k < n && k < (i + 1) * BATCH_SIZE; k++)
            batch_append(b, all[k].slot);
        b->sequence = i + 1 < nbatches ? all[(i + 1) * BATCH_SIZE - 1].born : graph_sequence(g);
    }
    return list;
}

void graph_first(struct graph *g)
{
    struct by_born *all = mem_try_alloc(g->alive * sizeof(*all));
    size_t n = 0, nbatches = (g->alive + BATCH_SIZE - 1) / BATCH_SIZE;
    if (!all)
        return;
    for (uint32_t slot = 0; slot < g->slots && n < g->alive; slot++) {
        uint64_t word = atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)],
                                             memory_order_relaxed);
        if (word && !(word & TOMB))
            all[n++] = (struct by_born){word, slot};
    }
    qsort(all, n, sizeof(*all), compare_born);
    struct batch **list = prepare_links(g, all, n) ? make_batches(g, all, n, nbatches) : NULL;
    mem_free(all);
    if (!list)
        return;
    struct batch **before = g->waiting;
    uint32_t cap = g->waiting_cap;
    g->waiting = list;
    g->waiting_cap = (uint32_t)nbatches + 8;
    g->nwaiting = (uint32_t)nbatches;
    g->graphed = true;
    if (graph_publish(g) != VS_OK) { /* workers need the links that the new view shows */
        g->graphed = false;
        g->nwaiting = 0;
        g->waiting = before;
        g->waiting_cap = cap;
        for (size_t i = 0; i < nbatches; i++)
            mem_free(list[i]);
        mem_free(list);
        return;
    }
    mem_free(before);
    g->unlinked = n;
    for (size_t i = 0; i < nbatches; i++)
        graph_enqueue(g, list[i]);
}
