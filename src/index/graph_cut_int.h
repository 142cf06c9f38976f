/* Insides of a cut (graph_cut.h), shared by graph_cut.c, graph_cut_read.c and the linker.
 *
 * Links of level 0 are read in parts of one chunk, upper links in parts of one chunk of blocks. Each
 * part has a state:
 *
 *   PENDING --reader--> COPYING --> READ                    the reader copies it where it wants it
 *      +----linker--> COPYING --> SAVED --reader--> READ    the linker, about to change it, copies it aside
 *
 * Whoever finds COPYING waits: it is the time of one memcpy. */
#ifndef INDEX_GRAPH_CUT_INT_H
#define INDEX_GRAPH_CUT_INT_H

#include "index/graph_cut.h"
#include "index/graph_int.h"

#define USED_WORDS (CHUNK_SLOTS / 64)

enum part_state { PART_PENDING, PART_COPYING, PART_SAVED, PART_READ };

struct graph_cut {
    struct epoch_item item;
    struct graph *g;
    struct graph_state state;
    uint32_t nchunks;
    struct chunk **chunks;
    _Atomic uint32_t **upper;
    struct batch **batches;          /* state.batches shows their lists: they stay until the release */
    struct graph_batch *lists;
    uint32_t *dead_nodes;
    uint32_t open_slots[BATCH_SIZE], open_deaths[BATCH_SIZE];
    struct chunk *outgrown;          /* small chunks that were replaced meanwhile; the owner's */
    /* links, between reader and linker */
    _Atomic uint8_t *parts;          /* enum part_state: of the chunks, then of the upper links */
    uint32_t **saved;                /* valid when PART_SAVED */
    _Atomic size_t pending;          /* bytes of parts that are neither read nor saved */
    _Atomic size_t aside;            /* bytes saved and not read */
    _Atomic bool links_done, failed;
    _Atomic bool paused;             /* linking waits for room aside */
    /* the reader's */
    bool prepared;
    struct graph_tomb *tombs;
    uint64_t *used;                  /* USED_WORDS a chunk */
    uint64_t *nodes;                 /* a bit an upper block: it belongs to a node of the cut */
};

static inline size_t cut_part_bytes(const struct graph_cut *c, uint32_t part)
{
    uint32_t m = c->g->shape.m;
    return part < c->nchunks ? chunk_links_bytes(c->chunks[part])
                             : (size_t)UPPER_BLOCKS * m * sizeof(uint32_t);
}
static inline const _Atomic uint32_t *cut_part_words(const struct graph_cut *c, uint32_t part)
{
    return part < c->nchunks ? c->chunks[part]->links : c->upper[part - c->nchunks];
}

/* May linking go on: can all parts that are left be copied aside? */
bool cut_room_aside(const struct graph_cut *c);
/* Gives a part's copy back. */
void cut_free_saved(struct graph_cut *c, uint32_t part);

#endif
