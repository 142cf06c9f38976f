/* Restoring: a partition's records and graph from mapped files, used in place.
 *
 *   file G | LINKS   chunk 0, chunk 1 ..   UPPER   BORN   LEVELS ..|     chunk->links, born, level, upper
 *   file V | ROWS    chunk 0, chunk 1 ..   ORIGINALS ..            |     chunk->rows, originals
 *
 * Every chunk's part of a column begins at a multiple of 4096 bytes from the region's base and is
 * padded to one. A restored graph goes on from its state as the one that was cut would have: linked to
 * the same sequence number its digest is the same. What is local (free slots, free upper blocks) is
 * rebuilt.
 *
 * What a file says is not trusted: born, levels, upper links, batches and lists are checked against
 * each other before anything is used, in one pass; rows, originals and links of level 0 chunk by chunk,
 * when they are first touched or by the scrub. A chunk that does not match makes the partition bad:
 * from then on searches and changes answer VS_CORRUPT. */
#ifndef INDEX_GRAPH_RESTORE_H
#define INDEX_GRAPH_RESTORE_H

#include "base/buf.h"
#include "index/graph.h"
#include "index/graph_cut.h"
#include "index/region.h"

struct graph_image_group {
    struct region *v;
    size_t rows, originals;          /* offsets of the group's first chunk's parts */
    uint64_t filled;                 /* number of the snapshot that wrote the file */
};
struct graph_image {
    const struct graph_state *state; /* slots a multiple of CHUNK_SLOTS; sequences and lists are copied */
    struct region *g;
    size_t links, upper, born, levels; /* offsets; links and upper unused unless graphed */
    /* chunk parts of `levels`: a byte a slot, padded to 4096; behind all of them those of `upper`, a word a slot */
    uint32_t group_chunks;           /* chunks in a group, the last may have fewer */
    const struct graph_image_group *groups;
    /* The owner's pointers for a record of the image. False, with the reason in `why`: the file does
     * not give them. Called once for every slot with a record, dead ones too, in rising order. */
    bool (*record)(void *arg, uint32_t slot, void **user, void **extra, struct buf *why);
    void *arg;
};

/* Any thread, while nobody else uses g, which is new. Blocks under born, levels and upper have been
 * checked. Takes references of the regions. VS_CORRUPT, with the reason appended to `why`, or VS_NOMEM:
 * then graph_free is all that may follow, and it gives no record back to the owner. */
enum vs_status graph_restore(struct graph *g, const struct graph_image *image, struct buf *why);

/* The same for a small partition, from copies: every record alive in any order, then the state
 * (not graphed, without batches). On failure as above, except that records added are given back. */
enum vs_status graph_restore_add(struct graph *g, uint64_t born, int level, const void *row, const void *original,
                                 void *user, void *extra, uint32_t *slot);
enum vs_status graph_restore_end(struct graph *g, const struct graph_state *state, struct buf *why);

/* [owner] These columns (bits: rows, originals, links) of a restored graph are to come into memory: the
 * scrub copies them, and at its end the copies take the place of what is mapped. Without memory for it,
 * or where a cut runs at that moment, they stay mapped. What stays is read without reading ahead from
 * then on. Call it before graph_scrub. */
void graph_bring(struct graph *g, uint8_t columns);
/* [owner] Checks all that has not been touched, on the workers, behind searches; then links what waits.
 * Call it once after a restore. */
void graph_scrub(struct graph *g);
/* Is there anything not checked yet? [owner] */
bool graph_unchecked(const struct graph *g);
/* Bytes of mapped columns: checked so far, and all. [owner] */
void graph_scrubbed(const struct graph *g, size_t *checked, size_t *all);
/* Is the partition damaged? Any thread, cheap. */
bool graph_damaged(const struct graph *g);
/* The same, appending the reason. Any thread. */
bool graph_is_bad(const struct graph *g, struct buf *why);

/* [owner] Puts the file's copy of a chunk's originals (and rows) in place of those in memory, whose
 * pages are given back when no reader has them: `cut_number` is the snapshot's that the file belongs to.
 * SIZE_MAX: leave that column. False: not this one (it has records that the file has not, has free
 * slots, is gone, or the graph is being moved or cut). After some calls graph_map_end publishes them. */
bool graph_map_chunk(struct graph *g, uint32_t chunk, uint64_t cut_number, struct region *v, size_t rows,
                     size_t originals);
void graph_map_end(struct graph *g);
/* [owner] The same of a chunk's links, when they are what the file says: linking may have changed them since. Published at once.
 * What linking changes later is copied, page by page, by the system. */
bool graph_map_links(struct graph *g, uint32_t chunk, struct region *r, size_t links);
/* Bytes of rows, originals and the rest that are mapped now. [owner] */
struct graph_mapped { size_t rows, originals, graph; };
void graph_mapped(const struct graph *g, struct graph_mapped *out);

#endif
