/* A region: bytes of a file that columns lie in, mapped by whoever knows files (persist) and read here
 * in place.
 *
 * The mapping is private and writable: what a partition writes into its columns (a new record in a
 * free slot, a death, a link) stays in this process, a page at a time, and never reaches the file.
 *
 * THREADS. Everything here may be called by any thread. References keep the mapping; the last one
 * given back ends it (`release`).
 *
 * CHECKING. `check` verifies every block that overlaps [at, at + len) against the file's table of
 * sums, each block once in the region's life, and remembers which are good. Whoever writes into a
 * column has checked its part before, so a block is never verified after it was changed, with one
 * exception that the implementation takes care of: two threads may verify the same block at the same
 * time, and the one that is quicker may then write. So a block that does not match is looked up once
 * more: if somebody else has found it good meanwhile, it is.
 *
 * FAULTS. Reading a page that the file no longer has (it was truncated, the disk fails) raises SIGBUS.
 * The handler puts a page of zeros there, sets `bad` of the region and then counts it in region_faults.
 * Nothing read since the count was last looked at may be used when a region is bad. */
#ifndef INDEX_REGION_H
#define INDEX_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct region {
    uint8_t *base;                   /* aligned to 4 KiB */
    size_t size;
    _Atomic uint32_t refs;           /* begins with 1: the maker's */
    _Atomic bool bad;
    bool memory;                     /* no file stands behind it: it takes memory, and is counted as that */
    /* False: a block under it does not match its sum, or the region is bad already. */
    bool (*check)(struct region *r, size_t at, size_t len);
    /* Appends "FILE, offset N: REASON" of what is bad; "FILE" when nothing is. */
    void (*describe)(struct region *r, struct buf *out);
    /* Unmaps and frees it. */
    void (*release)(struct region *r);
};

/* Faults met so far, in any region: whoever sees another number than before looks at its regions. */
extern _Atomic uint32_t region_faults;

static inline struct region *region_ref(struct region *r)
{
    if (r)
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

static inline void region_unref(struct region *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        r->release(r);
}

static inline bool region_is_bad(const struct region *r)
{
    return r && atomic_load_explicit(&r->bad, memory_order_acquire);
}

#endif
