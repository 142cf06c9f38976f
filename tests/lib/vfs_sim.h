/* Power cuts: from a log of file operations (persist/vfs_record.h), what a disk may hold after the
 * power went at some point.
 *
 *     log:   open write write sync write rename mark | write ...
 *                                                    ^ the cut: after this many events
 *
 * What a sync covered is there. Everything else is up to chance, which a seed decides:
 *
 *   data     Each 512-byte sector of a file holds what it held after the last sync, or after any of
 *            the later writes, each sector for itself. So a write may be torn, have holes, or come
 *            before an earlier one.
 *   size     That of any moment since the last sync: a file may have grown (zeros) without its
 *            data, or have data that its size cuts off. When a truncation is lost, so is all
 *            that followed it in that file.
 *   names    A creation, rename, link or removal that no sync of its directory covered is there or
 *            not, as a whole. Ordered: in each directory the first so many are. Strict: any are.
 *            Syncing a file does not make its name last. A name in a directory whose own name is
 *            lost is lost.
 *   failure  What a failed sync should have covered may be lost for ever, whatever later syncs say;
 *            so may a failed write.
 *
 * States are rebuilt quickly when cuts come in ascending order: the log is gone through once.
 * Test code, one thread. Memory exhaustion ends the program. */
#ifndef LIB_VFS_SIM_H
#define LIB_VFS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "persist/vfs_record.h"

#define VFS_SIM_SECTOR 512

/* How data and names that are not synced fare. */
enum vfs_sim_style {
    VFS_SIM_ANY,      /* by the seed, each file for itself one of those below, names at random */
    VFS_SIM_LOSE,     /* all is lost */
    VFS_SIM_KEEP,     /* all is there: what kill -9 leaves */
    VFS_SIM_PREFIX,   /* the first so many operations are there, the next one in parts */
    VFS_SIM_SCATTER,  /* each sector at random */
    VFS_SIM_HOLES     /* names and sizes are there, data is not: zeros */
};

struct vfs_sim_choice {
    uint64_t seed;
    bool strict;  /* names: any subset, not the first so many */
    enum vfs_sim_style style;
};

struct vfs_sim;

/* `log` is borrowed until vfs_sim_free. An incomplete event at the end is left out. VS_CORRUPT, and
 * a sentence in `why`: it is no log, or not one that hangs together. */
enum vs_status vfs_sim_new(const void *log, size_t len, struct vfs_sim **out, char *why,
                           size_t why_len);
/* The same of a file. */
enum vs_status vfs_sim_open(const char *path, struct vfs_sim **out, char *why, size_t why_len);
void vfs_sim_free(struct vfs_sim *s);

/* Cuts are vfs_sim_first .. vfs_sim_last: behind START, behind the last event. */
size_t vfs_sim_first(const struct vfs_sim *s);
size_t vfs_sim_last(const struct vfs_sim *s);
/* Event `i`, below vfs_sim_last. */
const struct vfs_record_head *vfs_sim_event(const struct vfs_sim *s, size_t i);
/* The latest time at which the power may have gone: that of the event after the cut. */
uint64_t vfs_sim_time(const struct vfs_sim *s, size_t cut);
/* Marks before the cut, not later than `until_ns`: how many, and the greatest value (0: none). */
size_t vfs_sim_marks(const struct vfs_sim *s, size_t cut, uint64_t until_ns, uint64_t *greatest);

/* Makes the directory `dir` (made when missing, EMPTIED first, with all below) hold what the root
 * may hold when the power goes after `cut` events. VS_IO: errno says why. */
enum vs_status vfs_sim_build(struct vfs_sim *s, size_t cut, const struct vfs_sim_choice *choice,
                             const char *dir);

#endif
