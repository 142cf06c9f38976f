/* Columns that a restart mapped: those that are wanted in memory, and those that stay, see
 * graph_restore.h.
 *
 * A restart maps all columns, because nothing is faster. Workers that check a chunk behind it (the
 * scrub) copy what is wanted into pages of memory, huge ones for rows and links, and at the scrub's end
 * the owner exchanges the pointers. What happens meanwhile is little: until then no slot is given
 * back, nothing is linked or compacted, so that of the slots that were in use when it began no row and
 * no link changes; of those taken since the owner copies the rows. A chunk for which there is no
 * memory stays mapped.
 *
 * The check reads from one end to the other, searches do not: from then on the system is asked not to
 * read ahead of them (by megabytes, on some disks, in place of what is in use). Rows of a partition that
 * is scanned are left as they are. What came over the network is in memory as it is, and stays where it is. */
#include <string.h>

#include "base/mem.h"
#include "base/pages.h"
#include "index/graph_restore.h"
#include "index/graph_touch.h"

struct brought {                     /* copies, NULL where there are none; after the exchange what they replaced */
    uint8_t *rows, *originals;
    _Atomic uint32_t *links;
};

struct bring {
    uint8_t columns;                 /* wanted in memory */
    uint8_t random;                  /* else read at random */
    uint32_t nchunks;
    uint64_t *used;                  /* slots in use when it began */
    struct brought of[];
};

void graph_bring(struct graph *g, uint8_t columns)
{
    size_t words = (size_t)g->nchunks * (CHUNK_SLOTS / 64);
    if (!g->scrub || g->bring ||
        atomic_load_explicit(&g->scrub_state, memory_order_relaxed) != SCRUB_NONE)
        return;
    struct bring *b = mem_try_zalloc(sizeof(*b) + g->nchunks * sizeof(b->of[0]));
    uint64_t *used = mem_try_alloc(words * sizeof(*used) + 1);
    if (!b || !used) {
        mem_free(b);
        mem_free(used);
        return;
    }
    memcpy(used, g->used, words * sizeof(*used));
    b->columns = columns;
    b->random = map_random(g);
    b->nchunks = g->nchunks;
    b->used = used;
    g->bring = b;
}

/* The rows of the slots whose bits are set in `used`. */
static void copy_slots(uint8_t *to, const uint8_t *from, size_t bytes, const uint64_t *used)
{
    for (uint32_t w = 0; w < CHUNK_SLOTS / 64; w++)
        for (uint64_t left = used[w]; left; left &= left - 1) {
            size_t at = (w * 64 + (size_t)__builtin_ctzll(left)) * bytes;
            memcpy(to + at, from + at, bytes);
        }
}

void bring_chunk(struct graph *g, const struct chunk *c, uint32_t chunk)
{
    struct bring *b = g->bring;
    if (!b || chunk >= b->nchunks)
        return;
    struct brought *x = &b->of[chunk];
    const uint64_t *used = b->used + (size_t)chunk * (CHUNK_SLOTS / 64);
    uint8_t mapped = chunk_in_files(c), want = b->columns & mapped;
    if ((want & COLUMN_ROWS) &&
        (x->rows = pages_alloc(PAGES_HUGE, (size_t)CHUNK_SLOTS * c->row_bytes)) != NULL)
        copy_slots(x->rows, chunk_rows(c), c->row_bytes, used);
    if ((want & COLUMN_ORIGINALS) &&
        (x->originals = pages_alloc(PAGES_PLAIN, (size_t)CHUNK_SLOTS * c->original_bytes)) != NULL)
        copy_slots(x->originals, chunk_originals(c), c->original_bytes, used);
    if ((want & COLUMN_LINKS) && (x->links = pages_alloc(PAGES_HUGE, chunk_links_bytes(c))) != NULL)
        memcpy((void *)x->links, (const void *)c->links, chunk_links_bytes(c));
    uint8_t stays = b->random & mapped;
    if ((stays & COLUMN_ROWS) && !x->rows)
        map_advise(chunk_rows(c), (size_t)CHUNK_SLOTS * c->row_bytes);
    if ((stays & COLUMN_ORIGINALS) && !x->originals)
        map_advise(chunk_originals(c), (size_t)CHUNK_SLOTS * c->original_bytes);
    if ((stays & COLUMN_LINKS) && !x->links)
        map_advise((const void *)c->links, chunk_links_bytes(c));
}

/* The copies change places with what is mapped; once more, and all is as it was. */
static void exchange(struct graph *g, struct bring *b)
{
    for (uint32_t i = 0; i < b->nchunks; i++) {
        struct chunk *c = g->chunks[i];
        struct brought *x = &b->of[i];
        if (x->rows) {
            x->rows = atomic_exchange_explicit(&c->rows, x->rows, memory_order_acq_rel);
            c->mapped ^= COLUMN_ROWS;
        }
        if (x->originals) {
            x->originals = atomic_exchange_explicit(&c->originals, x->originals, memory_order_acq_rel);
            c->mapped ^= COLUMN_ORIGINALS;
        }
        if (x->links) {
            _Atomic uint32_t *links = c->links;
            c->links = x->links;
            x->links = links;
            c->mapped ^= COLUMN_LINKS;
        }
    }
}

/* What has been written into slots taken since. */
static void copy_new(struct graph *g, struct bring *b)
{
    for (uint32_t i = 0; i < b->nchunks; i++) {
        const struct chunk *c = g->chunks[i];
        const struct brought *x = &b->of[i];
        uint64_t since[CHUNK_SLOTS / 64];
        for (uint32_t w = 0; w < CHUNK_SLOTS / 64; w++) {
            size_t at = (size_t)i * (CHUNK_SLOTS / 64) + w;
            since[w] = g->used[at] & ~b->used[at];
        }
        if (x->rows)
            copy_slots(x->rows, chunk_rows(c), c->row_bytes, since);
        if (x->originals)
            copy_slots(x->originals, chunk_originals(c), c->original_bytes, since);
    }
}

/* Readers of older views still have what was mapped: the file goes when they have gone. */
static void let_go(struct graph *g, struct region **in)
{
    map_outmoded(g, *in);
    *in = NULL;
}

void bring_end(struct graph *g)
{
    struct bring *b = g->bring;
    if (!b || g->stamp.step != CUT_NONE || g->nchunks < b->nchunks || g->retired || !touch_sound(g)) {
        bring_free(g);
        return;
    }
    copy_new(g, b);
    exchange(g, b);
    if (graph_publish(g) != VS_OK) { /* nobody may write where the old view does not look */
        exchange(g, b);
        bring_free(g);
        return;
    }
    for (uint32_t i = 0; i < b->nchunks; i++) {
        if (b->of[i].rows)
            let_go(g, &g->chunks[i]->rows_in);
        if (b->of[i].originals)
            let_go(g, &g->chunks[i]->originals_in);
    }
    mem_free(b->used);
    mem_free(b);
    g->bring = NULL;
}

void bring_free(struct graph *g)
{
    struct bring *b = g->bring;
    for (uint32_t i = 0; b && i < b->nchunks; i++) {
        struct brought *x = &b->of[i];
        pages_free(PAGES_HUGE, x->rows, (size_t)CHUNK_SLOTS * g->shape.codec.row_bytes);
        pages_free(PAGES_PLAIN, x->originals, (size_t)CHUNK_SLOTS * g->shape.original_bytes);
        pages_free(PAGES_HUGE, (void *)x->links, (size_t)CHUNK_SLOTS * 2 * g->shape.m * sizeof(uint32_t));
    }
    if (b)
        mem_free(b->used);
    mem_free(b);
    g->bring = NULL;
}
