/* Columns that change over from memory to a file's copy of them (graph_restore.h), and the list of
 * regions that a graph's columns lie in.
 *
 * A chunk's pointer is swapped, the run of pages that it led to is `outmoded`: the next view shows the
 * file's copy, and when no reader has an older one a worker gives the pages back. */
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/pages.h"
#include "index/graph_restore.h"
#include "index/graph_touch.h"

#define FULL_SHARE 8 /* a chunk is worth mapping when less than one slot in so many is free */

struct outmoded {
    struct epoch_item item;
    struct pool_task task;
    struct outmoded *next;
    struct graph *g;
    enum pages_kind kind;
    void *run; /* pages, or NULL */
    size_t size;
    struct region *in; /* or a region */
};

/* ---- regions ---- */

bool map_region(struct graph *g, struct region *r)
{
    bool known = false, room = true;
    pthread_mutex_lock(&g->lock);
    for (size_t i = g->nregions; i-- > 0 && !known;) /* the last ones are asked for mostly */
        known = g->regions[i] == r;
    if (!known) {
        size_t want = g->nregions == g->regions_cap ? 2 * g->nregions + 2 : g->regions_cap;
        room = mem_try_grow(&g->regions, &g->regions_cap, want, sizeof(*g->regions));
        if (room)
            g->regions[g->nregions++] = region_ref(r);
    }
    pthread_mutex_unlock(&g->lock);
    return room;
}

/* Marks the region's place in the list; `last` is the one marked before. */
static void mark(const struct graph *g, const struct region *r, const struct region **last,
                 bool *used)
{
    if (r == *last)
        return;
    *last = r;
    for (size_t i = 0; i < g->nregions; i++)
        used[i] |= g->regions[i] == r;
}

/* Files that no column lies in any more are let go of, but for those that it was restored from: what
 * else lies there (ids, attributes) is not known here, and damage of it must be seen. Only the owner
 * changes the list. */
static void drop_regions(struct graph *g)
{
    const struct region *last[3] = {NULL, NULL, NULL};
    bool *used = mem_try_zalloc(g->nregions + 1);
    struct region **old = mem_try_alloc(g->nregions * sizeof(*old) + 1);
    size_t n = 0, nold = 0;
    for (uint32_t i = 0; used && old && i < g->nchunks; i++) {
        mark(g, g->chunks[i]->rows_in, &last[0], used);
        mark(g, g->chunks[i]->originals_in, &last[1], used);
        mark(g, g->chunks[i]->graph_in, &last[2], used);
    }
    if (used && old) {
        mark(g, g->upper_in, &last[2], used);
        pthread_mutex_lock(&g->lock);
        for (size_t i = 0; i < g->nregions; i++) {
            if (used[i] || i < g->restored_regions)
                g->regions[n++] = g->regions[i];
            else
                old[nold++] = g->regions[i];
        }
        g->nregions = n;
        pthread_mutex_unlock(&g->lock);
    }
    while (nold)
        region_unref(old[--nold]);
    mem_free(used);
    mem_free(old);
}

/* ---- the end of what was replaced ---- */

static void outmoded_free(struct outmoded *o)
{
    if (o->run)
        pages_free(o->kind, o->run, o->size);
    region_unref(o->in);
    mem_free(o);
}

static void free_task(struct pool_task *task, unsigned worker)
{
    (void)worker;
    outmoded_free((struct outmoded *)((char *)task - offsetof(struct outmoded, task)));
}

static void reclaim_outmoded(struct epoch_item *item, void *arg)
{
    struct outmoded *o = (struct outmoded *)((char *)item - offsetof(struct outmoded, item));
    struct graph_env *env = arg;
    o->task.run = free_task;
    pool_submit(env->pool, POOL_LINK, &o->task);
}

void map_retire(struct graph *g)
{
    while (g->outmoded) {
        struct outmoded *o = g->outmoded;
        g->outmoded = o->next;
        epoch_retire(g->env->epoch, &o->item, reclaim_outmoded, g->env);
    }
}

void map_free(struct graph *g)
{
    while (g->outmoded) {
        struct outmoded *o = g->outmoded;
        g->outmoded = o->next;
        outmoded_free(o);
    }
    for (size_t i = 0; i < g->nregions; i++)
        region_unref(g->regions[i]);
    mem_free(g->regions);
    region_unref(g->upper_in);
}

void map_outmoded(struct graph *g, struct region *in)
{
    struct outmoded *o = mem_zalloc(sizeof(*o));
    o->in = in;
    o->next = g->outmoded;
    g->outmoded = o;
}

uint8_t map_random(const struct graph *g)
{
    return g->graphed ? COLUMN_ROWS | COLUMN_ORIGINALS | COLUMN_LINKS : COLUMN_ORIGINALS;
}

void map_advise(const void *column, size_t size)
{
    madvise((void *)(uintptr_t)column, size, MADV_RANDOM); /* an advice: all is right without it */
}

/* ---- changing over ---- */

/* Puts the column at `to` in place of what *column leads to. */
static void swap_column(struct graph *g, struct chunk *c, enum column bit,
                        _Atomic(uint8_t *) *column, struct region **in, struct region *v, size_t at,
                        size_t size)
{
    struct outmoded *o = mem_zalloc(sizeof(*o));
    o->kind = bit == COLUMN_ROWS ? PAGES_HUGE : PAGES_PLAIN;
    o->size = size;
    if (c->mapped & bit)
        o->in = *in;
    else
        o->run = atomic_load_explicit(column, memory_order_relaxed);
    *in = region_ref(v);
    c->mapped |= (uint8_t)bit;
    atomic_store_explicit(column, v->base + at, memory_order_release);
    if (map_random(g) & bit)
        map_advise(v->base + at, size);
    o->next = g->outmoded;
    g->outmoded = o;
}

/* Does the file of that snapshot hold every record of the chunk? */
static bool same_records(const struct graph *g, uint32_t chunk, uint64_t cut_number)
{
    const struct chunk *c = g->chunks[chunk];
    unsigned used = 0;
    if (c->slots != CHUNK_SLOTS ||
        atomic_load_explicit(&c->filled, memory_order_relaxed) > cut_number ||
        atomic_load_explicit(&c->unchecked, memory_order_relaxed))
        return false;
    for (uint32_t w = 0; w < CHUNK_SLOTS / 64; w++)
        used += (unsigned)__builtin_popcountll(g->used[chunk * (CHUNK_SLOTS / 64) + w]);
    return used > CHUNK_SLOTS - CHUNK_SLOTS / FULL_SHARE;
}

bool graph_map_chunk(struct graph *g, uint32_t chunk, uint64_t cut_number, struct region *v,
                     size_t rows, size_t originals)
{
    /* A slot on its way to being free may be read still, and the file need not have its record. */
    if (g->retired || g->stamp.step != CUT_NONE || g->compact.step != COMPACT_OFF ||
        g->nreleasing || g->scrub || !touch_sound(g) || chunk >= g->nchunks ||
        !same_records(g, chunk, cut_number))
        return false;
    struct chunk *c = g->chunks[chunk];
    size_t row_size = (size_t)CHUNK_SLOTS * c->row_bytes,
           original_size = (size_t)CHUNK_SLOTS * c->original_bytes;
    if (!c->original_bytes)
        originals = SIZE_MAX;
    if ((rows != SIZE_MAX && (rows > v->size || row_size > v->size - rows)) ||
        (originals != SIZE_MAX && (originals > v->size || original_size > v->size - originals)) ||
        !map_region(g, v))
        return false;
    if (originals != SIZE_MAX)
        swap_column(g, c, COLUMN_ORIGINALS, &c->originals, &c->originals_in, v, originals,
                    original_size);
    if (rows != SIZE_MAX)
        swap_column(g, c, COLUMN_ROWS, &c->rows, &c->rows_in, v, rows, row_size);
    return true;
}

/* Not those of a restored chunk: its other columns lie in the same file, of which it has one. */
static bool links_may_go(const struct graph *g, uint32_t chunk)
{
    if (g->retired || g->stamp.step != CUT_NONE || g->compact.step != COMPACT_OFF || g->scrub ||
        g->job || !touch_sound(g) || chunk >= g->nchunks)
        return false;
    const struct chunk *c = g->chunks[chunk];
    return c->links && c->slots == CHUNK_SLOTS &&
           !(c->mapped & (COLUMN_BORN | COLUMN_LEVEL | COLUMN_UPPER)) &&
           !atomic_load_explicit(&c->unchecked, memory_order_relaxed);
}

bool graph_map_links(struct graph *g, uint32_t chunk, struct region *r, size_t links)
{
    if (!links_may_go(g, chunk))
        return false;
    struct chunk *c = g->chunks[chunk];
    _Atomic uint32_t *old = c->links;
    struct region *in = c->graph_in;
    uint8_t mapped = c->mapped;
    size_t size = chunk_links_bytes(c);
    if (links > r->size || size > r->size - links ||
        memcmp((const void *)c->links, r->base + links, size) != 0 || !map_region(g, r))
        return false;
    struct outmoded *o = mem_try_zalloc(sizeof(*o));
    if (!o)
        return false;
    o->kind = PAGES_HUGE;
    o->size = size;
    if (mapped & COLUMN_LINKS)
        o->in = in;
    else
        o->run = (void *)old;
    c->links = (_Atomic uint32_t *)(r->base + links);
    c->graph_in = region_ref(r);
    c->mapped |= COLUMN_LINKS;
    o->next = g->outmoded;
    g->outmoded = o;
    if (graph_publish(g) == VS_OK)
        return true;
    /* A linker of the old view would write where nobody looks: as it was. */
    g->outmoded = o->next;
    c->links = old;
    c->graph_in = in;
    c->mapped = mapped;
    region_unref(r);
    mem_free(o);
    return false;
}

void graph_map_end(struct graph *g)
{
    if (g->outmoded)
        graph_publish(g); /* without memory for a view they wait for the next */
    drop_regions(g);
}

void graph_mapped(const struct graph *g, struct graph_mapped *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < g->nchunks; i++) {
        const struct chunk *c = g->chunks[i];
        size_t n = c->slots;
        uint8_t mapped = chunk_in_files(c);
        out->rows += mapped & COLUMN_ROWS ? n * c->row_bytes : 0;
        out->originals += mapped & COLUMN_ORIGINALS ? n * c->original_bytes : 0;
        out->graph += mapped & COLUMN_LINKS ? chunk_links_bytes(c) : 0;
        out->graph += mapped & COLUMN_BORN
                          ? n * (sizeof(*c->born) + sizeof(*c->level) + sizeof(*c->upper))
                          : 0;
    }
    if (!g->upper_in || !g->upper_in->memory)
        out->graph += (size_t)g->upper_mapped * UPPER_BLOCKS * g->shape.m * sizeof(uint32_t);
}
