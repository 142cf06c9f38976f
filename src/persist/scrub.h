/* The scrub: a thread that reads all files that snapshots consist of, again and again, so that a disk that forgets
 * is noticed while there are other copies.
 *
 *   cycle    the manifests of dbfilename and of the journal's base; then every block of every file that they name, each at
 *            its time, so that a cycle takes `period` seconds (or longer: never more than 64 MiB a second are read)
 *
 * It reads by read(), not through mappings: pages of those may have been changed, privately. A block that does not match its
 * sum is logged and counted, and where the file is mapped the region is bad from then on: its partition stops. Small partitions
 * in memory have their own copies; the next snapshot writes them anew (scrub_is_bad). */
#ifndef PERSIST_SCRUB_H
#define PERSIST_SCRUB_H

#include "persist/segment.h"
#include "persist/vfs.h"

struct scrub;

struct scrub_options {              /* texts are borrowed until scrub_stop */
    const struct vfs *vfs;
    struct segment_set *set;        /* what is mapped; gets no reference */
    const char *dump, *segments;    /* the manifest, the directory of files */
    const char *journal_dir, *appendfilename;
};
/* NULL: no thread could be made. */
struct scrub *scrub_start(const struct scrub_options *o, uint64_t period_s);
/* Waits for the thread; NULL is fine. */
void scrub_stop(struct scrub *s);
/* Any time; the cycle that runs goes on at the new pace. 0: it stands still. */
void scrub_set_period(struct scrub *s, uint64_t period_s);
/* Has a block of the segment file of this name been found bad? Any thread; NULL is fine. */
bool scrub_is_bad(struct scrub *s, const char *name);

struct scrub_status {
    uint64_t period;                /* seconds */
    uint64_t checked, total;        /* bytes of the cycle that runs */
    uint64_t cycles;                /* ended */
    uint64_t last_s;                /* wall clock, when the last ended; 0: none */
    uint64_t last_took_s, last_bad; /* of it: seconds, bad blocks and files */
    uint64_t bad;                   /* so far */
    char error[256];                /* the last one found, or "" */
};
void scrub_read_status(struct scrub *s, struct scrub_status *out);

#endif
