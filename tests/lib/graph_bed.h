/* A graph without a store above it, for tests of cuts and restoring: streams of entries that can be
 * applied to more than one graph, a cut read into memory as files would hold it, and regions of memory
 * that behave as mapped files do.
 *
 * A record is a number; its vector follows from it, its id is the number itself and every third has an
 * attribute. */
#ifndef LIB_GRAPH_BED_H
#define LIB_GRAPH_BED_H

#include "base/rng.h"
#include "index/graph.h"
#include "index/graph_cut.h"
#include "index/graph_restore.h"

#define BED_DIM 6

/* ---- streams ---- */

struct entry {
    uint32_t insert, kill;           /* record numbers + 1; 0: none. Both: a replacement */
};
struct stream {
    struct entry *entries;
    size_t n;
    uint32_t records;
};
/* `n` entries that grow to about `size` records alive, then replace, delete and add around it, with a
 * time of dying now and then. */
struct stream stream_make(uint64_t seed, size_t n, size_t size);
void stream_free(struct stream *s);

/* ---- a graph and what its owner knows ---- */

struct bed_record {
    uint32_t slot;
    bool alive, freed;
};
struct bed {
    struct graph_env env;
    struct searcher scratch, searcher[4];
    struct graph *graph;
    struct bed_record *records;
    uint32_t nrecords;
    uint64_t sequence;
    size_t nfreed, moved;
    struct rng rng;                  /* of the timing */
    unsigned patience;               /* entries between polls, about */
    unsigned slice_ns;               /* of a poll */
};
struct bed_options {
    unsigned threads;                /* at most 4 */
    bool flat;
    enum vec_type type;
    enum vec_originals originals;
    uint8_t bring;                   /* columns that come into memory behind a restore */
    uint64_t seed;                   /* of the timing */
};
struct bed *bed_new(const struct bed_options *o, uint32_t records);
void bed_free(struct bed *b);
/* Entries sequence + 1 .. until, polling between them now and then. */
void bed_run(struct bed *b, const struct stream *s, uint64_t until);
void bed_poll(struct bed *b);
/* Until nothing is left to do and graph_check is content; not while a cut is taken. */
void bed_settle(struct bed *b);
/* The same numbers, digests and answers? Both settled at the same entry. */
void bed_same(struct bed *a, struct bed *b);
/* An exact search finds just the records that are alive after `at` entries. */
void bed_holds(struct bed *b, const struct stream *s, uint64_t at);
void bed_vector(uint32_t record, float *out);
void *bed_extra(uint32_t record);

/* ---- cuts ---- */


/* A cut as files hold it, in memory. */
struct image {
    struct graph_state state;
    struct columns_shape shape;
    uint8_t *g;
    size_t g_size, links, upper, born, levels;
    uint32_t group_chunks, ngroups;
    uint32_t nbatches, slots, nupper; /* as read: a test may change the state */
    struct image_group { uint8_t *v; size_t size, rows, originals; uint64_t filled; } *groups;
    void **user, **extra;            /* a place a slot */
};
/* [reader] Reads all of a cut, links first, and tells it when they are read. `pause`: called between
 * parts, may be NULL. */
struct image *image_read(struct graph_cut *c, void (*pause)(void *arg), void *arg);
void image_free(struct image *im);

/* A region over a copy of bytes. `damaged`: offset of a byte that its sum would not fit; SIZE_MAX: none. */
struct region *memory_region(const uint8_t *bytes, size_t size, size_t damaged);
/* Regions that have not been released. */
extern _Atomic int memory_regions;

/* Restores the image into a new bed; `damage` as above, in file `file` (0: G; 1..: groups). Columns
 * that a loader checks have been. */
struct bed *image_restore(const struct image *im, const struct bed_options *o, uint32_t records, unsigned file,
                          size_t damage, enum vs_status *status, struct buf *why);
/* The file's copy of the group as a region, for graph_map_chunk. */
struct region *image_group_region(const struct image *im, uint32_t group);

#endif
