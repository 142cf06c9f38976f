/* Looking at all records of a view, and at the links of one. */
#include "index/graph_int.h"
#include "index/graph_touch.h"

#define CHUNKS_PER_CHECK 4 /* chunks between looks at the cancellation */

static bool each_once(const struct graph_view *v, uint64_t as_of, uint64_t now_ms, const _Atomic bool *cancelled,
                      bool (*each)(void *arg, void *user), void *arg)
{
    for (uint32_t c = 0; c < v->nchunks; c++) {
        const struct chunk *chunk = v->chunks[c];
        if (c % CHUNKS_PER_CHECK == 0 && cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
            return false;
        for (uint32_t i = 0; i < chunk->slots; i++) {
            if (!born_visible(atomic_load_explicit(&chunk->born[i], memory_order_acquire), as_of) ||
                (now_ms && chunk_ended(chunk, i, now_ms)))
                continue;
            if (!each(arg, atomic_load_explicit(&chunk->user[i], memory_order_acquire)))
                return false;
        }
    }
    return true;
}

/* As scans in graph_search.c: whoever began before records were doubled, and ends after, may have met one twice and
 * another not at all. */
bool graph_each(const struct graph *g, const struct graph_view *v, uint64_t as_of, uint64_t now_ms,
                const _Atomic bool *cancelled, void (*begin)(void *arg, bool doubled), bool (*each)(void *arg, void *user), void *arg)
{
    bool doubled;
    do {
        doubled = atomic_load_explicit(&g->doubled, memory_order_acquire);
        begin(arg, doubled);
        if (!each_once(v, as_of, now_ms, cancelled, each, arg))
            return false;
    } while (!doubled && atomic_load_explicit(&g->doubled, memory_order_acquire));
    return true;
}

static bool covers(const struct graph_view *v, uint32_t slot, int level)
{
    if (v->scanned || slot >= v->slots)
        return false;
    if (!level)
        return v->links[slot >> CHUNK_BITS] != NULL;
    uint32_t first = view_chunk(v, slot)->upper[slot_place(slot)];
    return first != SLOT_NONE && (first + (uint32_t)level - 1) / UPPER_BLOCKS < v->nupper;
}

int graph_view_level(const struct graph *g, const struct graph_view *v, uint32_t slot)
{
    if (!covers(v, slot, 0))
        return -1;
    touch(g, view_chunk(v, slot), COLUMN_LINKS);
    /* A node that has been linked has links on level 0: a graph has more than one. */
    return link_load(view_links(v, slot, g->shape.m), 0) == SLOT_NONE ? -1 : view_level(v, slot);
}

size_t graph_view_links(const struct graph *g, const struct graph_view *v, uint32_t slot, int level,
                        uint64_t as_of, uint64_t now_ms, uint32_t *out)
{
    uint32_t m = g->shape.m, max = links_max(m, level);
    size_t n = 0;
    if (!covers(v, slot, level))
        return 0;
    const _Atomic uint32_t *links = view_links_at(v, slot, level, m);
    for (uint32_t i = 0; i < max; i++) {
        uint32_t to = link_load(links, i);
        if (to == SLOT_NONE)
            break;
        if (to < v->slots && to != slot && view_visible(v, to, as_of, now_ms))
            out[n++] = to;
    }
    return n;
}
