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
 *   deadline   u64, when the record ends, 0: never; with it u32 `place`, a number of the owner's; likewise
 *
 * A record's row, original, born-while-alive and user never change once `born` has been stored
 * (release); links change by single atomic words. A first chunk smaller than 1024 slots grows by
 * being replaced with a copy; views hold whichever they were made with. Chunks are made and freed
 * by the owner thread.
 *
 * MAPPED. Columns of a whole chunk, all but user and extra, may lie in regions: mapped files
 * (region.h), private and writable, so that they are used as any others. Of those, rows, originals
 * and links are checked late: a bit in `unchecked` says that nobody may read or write the column
 * before it has been checked (graph_touch.h). Rows and originals can also change over to a file's
 * copy of them while they are in use (graph_map.c), which is why their pointers are atomic.
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
#include "index/region.h"
#include "vec/codec.h"

#define SLOT_NONE 0xFFFFFFFFu
#define SLOT_MAX (1u << 30)          /* slots of one partition; the two bits above carry marks in a beam */
#define CHUNK_BITS 10
#define CHUNK_SLOTS (1u << CHUNK_BITS)
#define CHUNK_FIRST 16               /* slots of a new partition's only chunk */
#define TOMB ((uint64_t)1 << 63)

struct tomb {
    struct epoch_item item, drop;    /* its own; its record's extra, which goes before */
    uint64_t born, died;
    void *extra;                     /* while that is on its way */
    bool dropped;                    /* it is, or has gone: nobody follows the column's pointer any more */
};

struct columns_shape {
    struct vec_codec codec;
    enum vec_originals originals;    /* VEC_ORIG_NONE where rows hold them */
    uint32_t original_bytes;
    uint32_t m;                      /* links on upper levels; 2m on level 0 */
};

enum column {                        /* bits */
    COLUMN_ROWS = 1, COLUMN_ORIGINALS = 2, COLUMN_LINKS = 4, COLUMN_BORN = 8, COLUMN_LEVEL = 16, COLUMN_UPPER = 32
};

struct chunk {
    struct epoch_item item;
    struct pool_task task;           /* frees it: giving pages back takes too long for the owner */
    size_t leaving;                  /* its bytes, while that is to come */
    struct graph_env *env;           /* whose sum they are in */
    uint32_t row_bytes, original_bytes, m; /* the shape's */
    uint32_t slots;                  /* CHUNK_SLOTS, or fewer in a small partition's only chunk */
    uint8_t mapped;                  /* columns that lie in a region; the owner's */
    _Atomic uint8_t unchecked;       /* of them, those not checked yet */
    _Atomic uint8_t checking;        /* those that a thread is checking */
    _Atomic uint64_t filled;         /* number of the first cut that has all its records */
    struct region *rows_in, *originals_in, *graph_in; /* references, or NULL */
    _Atomic(uint8_t *) rows;
    _Atomic(uint8_t *) originals;
    _Atomic uint32_t *links;
    _Atomic uint64_t *born;
    uint8_t *level;
    uint32_t *upper;
    _Atomic(void *) *user;
    _Atomic(_Atomic(void *) *) extra;
    _Atomic(_Atomic uint64_t *) deadline; /* `slots` of them, then as many places */
};

/* NULL when memory is exhausted. `with_links`: allocate the level-0 links, all SLOT_NONE. */
struct chunk *chunk_new(const struct columns_shape *s, uint32_t slots, bool with_links);
/* Copies a small chunk's records (it stays as it was, for its readers) into a larger new one. The
 * pointers in its extra array are shared. False when memory is exhausted. */
bool chunk_copy(struct chunk *to, const struct chunk *from);
/* A whole chunk over mapped columns: where its parts begin in the regions, SIZE_MAX for those it does
 * not have. Takes references. Nothing is unchecked. NULL when memory is exhausted. */
struct chunk_map {
    struct region *v, *g;
    size_t rows, originals, links, born, level, upper;
};
struct chunk *chunk_over(const struct columns_shape *s, const struct chunk_map *m);
/* Touches every page, so that whoever fills the chunk meets no page fault. */
void chunk_touch(struct chunk *c);
bool chunk_add_links(struct chunk *c);
/* Makes the extra array when it is missing; false when memory is exhausted. */
bool chunk_add_extra(struct chunk *c);
/* The same of deadlines and places. */
bool chunk_add_deadlines(struct chunk *c);
/* Any thread. NULL is fine. */
void chunk_free(struct chunk *c);

struct columns_bytes {
    size_t rows, originals, links, records, extra;
};
/* Those of the mapped columns that a file stands behind. */
static inline uint8_t chunk_in_files(const struct chunk *c)
{
    unsigned files = c->mapped;
    if (c->rows_in && c->rows_in->memory)
        files &= ~(unsigned)COLUMN_ROWS;
    if (c->originals_in && c->originals_in->memory)
        files &= ~(unsigned)COLUMN_ORIGINALS;
    if (c->graph_in && c->graph_in->memory)
        files &= COLUMN_ROWS | COLUMN_ORIGINALS;
    return (uint8_t)files;
}
/* Adds what one chunk takes of memory to `sum`; what lies in files takes none. */
void chunk_bytes(const struct columns_shape *s, const struct chunk *c, struct columns_bytes *sum);

static inline uint8_t *chunk_rows(const struct chunk *c)
{
    return atomic_load_explicit(&c->rows, memory_order_acquire);
}
/* NULL where rows are the originals, or none are kept. */
static inline uint8_t *chunk_originals(const struct chunk *c)
{
    return atomic_load_explicit(&c->originals, memory_order_acquire);
}

/* 0: none. */
static inline uint64_t chunk_deadline(const struct chunk *c, uint32_t i)
{
    const _Atomic uint64_t *deadline = atomic_load_explicit(&c->deadline, memory_order_acquire);
    return deadline ? atomic_load_explicit(&deadline[i], memory_order_acquire) : 0;
}
/* The owner's, where there are deadlines. */
static inline uint32_t *chunk_deadline_place(const struct chunk *c, uint32_t i)
{
    return (uint32_t *)(atomic_load_explicit(&c->deadline, memory_order_relaxed) + c->slots) + i;
}
static inline bool chunk_ended(const struct chunk *c, uint32_t i, uint64_t now_ms)
{
    uint64_t at = chunk_deadline(c, i);
    return at && at <= now_ms;
}

static inline size_t chunk_links_bytes(const struct chunk *c)
{
    return (size_t)c->slots * 2 * c->m * sizeof(uint32_t);
}

/* Does the extra of a dead record go before it? */
static inline bool tomb_dropped(uint64_t word)
{
    return word & TOMB && ((const struct tomb *)(uintptr_t)(word & ~TOMB))->dropped;
}

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
