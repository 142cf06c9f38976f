/* Vectors that a snapshot has written stand in for memory: chunk by chunk a partition's originals (and codes, and links, where
 * the index wants that) are exchanged for the file's, in slices of the owner's time. What has changed since is left
 * as it is. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "index/region.h"
#include "store/store_int.h"

#define CHUNKS_AT_ONCE 16            /* between two publications */
#define LINKS_AT_ONCE  2             /* they are compared */

struct map_work {
    struct map_work *next;
    uint64_t uid, cut;
    uint32_t number, group_chunks, ngroups;
    struct region *links_in;         /* NULL: links stay */
    size_t links;
    uint32_t at;                     /* chunk */
    struct vs_part_group groups[];
};

void partition_settle_in(struct partition *p)
{
    static const uint8_t wanted[] = {[VS_MAP_ORIGINALS] = COLUMN_ROWS | COLUMN_LINKS,
                                     [VS_MAP_CODES] = COLUMN_LINKS,
                                     [VS_MAP_ALL] = 0};
    if (!p->store->open.max || p->pinned)
        graph_bring(p->graph, wanted[p->index->options.map]);
    graph_scrub(p->graph);
}

static size_t padded(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

static void map_chunk(struct vs_index *index, struct partition *p, const struct map_work *w, uint32_t chunk)
{
    const struct vs_part_group *g = &w->groups[chunk / w->group_chunks];
    const struct columns_shape *shape = graph_shape(p->graph);
    size_t in_group = chunk % w->group_chunks, rows = SIZE_MAX, originals = SIZE_MAX;
    if (index->options.map != VS_MAP_ORIGINALS)
        rows = g->rows + in_group * padded((size_t)CHUNK_SLOTS * shape->codec.row_bytes);
    if (shape->original_bytes)
        originals = g->originals + in_group * padded((size_t)CHUNK_SLOTS * shape->original_bytes);
    if (g->v && (rows != SIZE_MAX || originals != SIZE_MAX))
        graph_map_chunk(p->graph, chunk, w->cut, g->v, rows, originals);
    if (w->links_in && index->options.map == VS_MAP_ALL)
        graph_map_links(p->graph, chunk, w->links_in,
                        w->links + chunk * padded((size_t)CHUNK_SLOTS * 2 * shape->m * sizeof(uint32_t)));
}

static void map_done(struct vs_store *store)
{
    struct map_work *w = store->mapping;
    store->mapping = w->next;
    for (uint32_t i = 0; i < w->ngroups; i++)
        region_unref(w->groups[i].v);
    region_unref(w->links_in);
    mem_free(w);
}

bool map_some(struct vs_store *store, uint64_t until_ns)
{
    while (store->mapping) {
        struct map_work *w = store->mapping;
        struct vs_index *index = keyspace_by_uid(store, w->uid);
        struct partition *p = index ? index_numbered(index, w->number) : NULL;
        if (p && p->stub)
            p = NULL;
        uint32_t end = w->ngroups * w->group_chunks;
        uint32_t some = w->links_in ? LINKS_AT_ONCE : CHUNKS_AT_ONCE;
        for (uint32_t n = 0; p && w->at < end && n < some; n++)
            map_chunk(index, p, w, w->at++);
        if (p)
            graph_map_end(p->graph);
        if (!p || w->at >= end)
            map_done(store);
        if (clock_mono_ns() > until_ns)
            return store->mapping != NULL;
    }
    return false;
}

void map_release(struct vs_store *store)
{
    while (store->mapping)
        map_done(store);
}

void vs_map_part(struct vs_store *store, uint64_t uid, uint32_t number, uint64_t cut, uint32_t group_chunks,
                 const struct vs_part_group *groups, uint32_t ngroups, struct region *g, size_t links)
{
    struct map_work *w = mem_try_zalloc(sizeof(*w) + ngroups * sizeof(*groups));
    if (!w)
        return; /* memory stays as it is */
    w->uid = uid;
    w->cut = cut;
    w->number = number;
    w->group_chunks = group_chunks;
    w->ngroups = ngroups;
    for (uint32_t i = 0; i < ngroups; i++) {
        w->groups[i] = groups[i];
        region_ref(groups[i].v);
    }
    w->links_in = region_ref(g);
    w->links = links;
    w->next = store->mapping;
    store->mapping = w;
    if (store->options.wake)
        store->options.wake(store->options.wake_arg);
}
