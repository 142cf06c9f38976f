/* Power cuts, for the drills: several lives of a process go through a log of file operations; then the
 * disk is rebuilt as cuts of the power at many moments may leave it, and what a start makes of each is
 * compared with what the lives had made and acknowledged. One thread. */
#ifndef LIB_POWER_H
#define LIB_POWER_H

#include "base/rng.h"
#include "lib/vfs_sim.h"

struct power_life {
    uint64_t base;      /* the last record it loaded */
    uint64_t known;     /* the last it made */
    uint64_t *digest;   /* by LSN */
    uint64_t from;      /* event from which on it may have changed something */
};

/* What a start found: `status` not VS_OK and `why`, or the last record and the digest of the data. */
struct power_found {
    enum vs_status status;
    const char *why;
    size_t why_len;
    uint64_t lsn, digest;
};

struct power {
    struct rng *rng;
    struct vfs_record *record;
    const char *rebuilt;            /* directory for the disks */
    const char *what;               /* for the texts */
    const struct power_life *life;
    unsigned lives;
    /* What must have survived a cut there. */
    uint64_t (*required)(void *arg, struct vfs_sim *sim, size_t cut);
    /* A start on what is in `rebuilt`. */
    void (*start)(void *arg, struct power_found *out);
    void *arg;
};

/* `states` disks; what is wrong is a failure of the drill (drill.h). VS_NOTFOUND from a start is as
 * good as an empty store when nothing is required. */
void power_cuts(const struct power *p, unsigned long states);

#endif
