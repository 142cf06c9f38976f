/* Columns: what a partition knows of each record, in chunks that grow without moving under a
 * reader.
 *
 *            chunk 0        chunk 1              a column is an array of the chunk; a slot is
 *   rows     [ 1024 rows ]  [ 1024 rows ] ...    (chunk = slot >> 10, place = slot & 1023)
 *   links    [ 1024 * 2m ]  [ 1024 * 2m ] ...
 *   born     ...
 *
 *   rows       the code that searches run on (vec/codec.h)
 *   originals  what results are re-ranked on; NULL when the rows are the originals, or none are kept
 *   links      level 0 of the graph: 2m slots, ended by SLOT_NONE; NULL until the partition has a graph
 *   born       the record's sequence number; 0: slot free; with TOMB set: the address of a struct tomb
 *   level      highest level of the record in the graph
 *   upper      where its links above level 0 begin in the pool of upper blocks; SLOT_NONE at level 0
 *   user       the owner's pointer for the record (its id)
 *   extra      the same, for what few records have (attributes); the array is allocated on first use
 *
 * A record's row, original, born-while-alive and user never change once `born` has been stored
 * (release); links change by single atomic words. A first chunk smaller than 1024 slots grows by
 * being replaced with a copy; views hold whichever they were made with. Chunks are made and freed
 * by the owner thread.
 *
 * Visibility: a reader as of sequence T sees a record when born <= T and it had not died by T. A
 * death replaces `born` by a tomb that holds both numbers, so that living records pay nothing for
 * it. */
#ifndef INDEX_COLUMNS_H
#define INDEX_COLUMNS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/pool.h"
#include "vec/codec.h"

#define SLOT_NONE 0xFFFFFFFFu
#define SLOT_MAX (1u << 30)          /* slots of one partition; the two bits above carry marks in a beam */
#define CHUNK_BITS 10
#define CHUNK_SLOTS (1u << CHUNK_BITS)
#define CHUNK_FIRST 16               /* slots of a new partition's only chunk */
#define TOMB ((uint64_t)1 << 63)

struct tomb {
    struct epoch_item item;
    uint64_t born, died;
};

struct columns_shape {
    struct vec_codec codec;
    enum vec_originals originals;    /* VEC_ORIG_NONE where rows hold them */
    uint32_t original_bytes;
    uint32_t m;                      /* links on upper levels; 2m on level 0 */
};

struct chunk {
    struct epoch_item item;
    struct pool_task task;           /* frees it: giving pages back takes too long for the owner */
    uint32_t row_bytes, original_bytes, m; /* the shape's */
    uint32_t slots;                  /* CHUNK_SLOTS, or fewer in a small partition's only chunk */
    uint8_t *rows;
    uint8_t *originals;
    _Atomic uint32_t *links;
    _Atomic uint64_t *born;
    uint8_t *level;
    uint32_t *upper;
    _Atomic(void *) *user;
    _Atomic(_Atomic(void *) *) extra;
};

/* NULL when memory is exhausted. `with_links`: allocate the level-0 links, all SLOT_NONE. */
struct chunk *chunk_new(const struct columns_shape *s, uint32_t slots, bool with_links);
/* Copies a small chunk's records (it stays as it was, for its readers) into a larger new one. The
 * pointers in its extra array are shared. False when memory is exhausted. */
bool chunk_copy(struct chunk *to, const struct chunk *from);
/* Touches every page, so that whoever fills the chunk meets no page fault. */
void chunk_touch(struct chunk *c);
bool chunk_add_links(struct chunk *c);
/* Makes the extra array when it is missing; false when memory is exhausted. */
bool chunk_add_extra(struct chunk *c);
/* Any thread. NULL is fine. */
void chunk_free(struct chunk *c);

struct columns_bytes {
    size_t rows, originals, links, records, extra;
};
/* Adds what one chunk takes to `sum`. */
void chunk_bytes(const struct columns_shape *s, const struct chunk *c, struct columns_bytes *sum);

static inline uint64_t born_of(uint64_t word)
{
    return word & TOMB ? ((const struct tomb *)(uintptr_t)(word & ~TOMB))->born : word;
}

/* Does a reader as of `at` see the record whose `born` word this is? */
static inline bool born_visible(uint64_t word, uint64_t at)
{
    if (word & TOMB) {
        const struct tomb *t = (const struct tomb *)(uintptr_t)(word & ~TOMB);
        return t->born <= at && t->died > at;
    }
    return word != 0 && word <= at;
}

#endif
