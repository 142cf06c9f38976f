/* A log of what was done to files: a vfs around another that writes down every change, sync and
 * acknowledgement, from which a simulator rebuilds what a disk may hold after a power cut
 * (tests/lib/vfs_sim.h).
 *
 * Recorded are the changes below one directory, the root; other files pass through. At the start
 * the root's files go into the log as if just written and synced, followed by START.
 *
 * The log, in the machine's byte order: "VSVFSLOG", then events:
 *
 *      0  u32  length of the body
 *      4  u32  0
 *      8  u64  XXH3 of the body, seeded with the event's number (0, 1, ..)
 *     16       body: struct vfs_record_head, then data or paths
 *
 * Paths are relative to the root ("" is the root itself) and end with a NUL. A log that was cut off
 * (by kill -9) is good up to its last whole event.
 *
 * Order: a change is made and logged under one lock, so the log's order is that of the changes. A
 * sync runs outside the lock; its event comes when it has returned and carries the number of events
 * there were when it began: it covers changes before that. An acknowledgement is marked before it
 * leaves. Times never go back.
 *
 * What failed: a failed sync is logged as such (but not EINTR), for what it should have covered is
 * never safe in that file; a failed write may have left anything of its data. Other failed calls
 * did nothing.
 *
 * Limits: directories are not renamed (EXDEV); nothing else may change files below the root.
 *
 * Any thread. The log is written through the system, not through the inner vfs. When it cannot be
 * written the process ends with a message: a log with a hole proves nothing. */
#ifndef PERSIST_VFS_RECORD_H
#define PERSIST_VFS_RECORD_H

#include "persist/vfs_file.h"

#define VFS_RECORD_MAGIC "VSVFSLOG"
#define VFS_RECORD_FRAME 16  /* bytes before a body */

enum vfs_record_type {
    VFS_RECORD_START = 1,  /* what comes before was there at the start */
    VFS_RECORD_OPEN,       /* file; b: enum vfs_open_flags; path */
    VFS_RECORD_WRITE,      /* file; a: offset; data */
    VFS_RECORD_TRUNCATE,   /* file; a: size */
    VFS_RECORD_ALLOCATE,   /* file; a: offset; b: length. Only where the size may grow */
    VFS_RECORD_SYNC,       /* file; a: events when it began */
    VFS_RECORD_SYNCDIR,    /* a: events when it began; path */
    VFS_RECORD_RENAME,     /* path, path */
    VFS_RECORD_UNLINK,     /* path */
    VFS_RECORD_LINK,       /* path, path */
    VFS_RECORD_MKDIR,      /* path */
    VFS_RECORD_MARK,       /* a: the caller's value */
    VFS_RECORD_TYPES
};

struct vfs_record_head {
    uint16_t type;
    uint16_t failed;   /* WRITE, SYNC: the call failed */
    uint32_t file;     /* the open call's number, from 1 */
    uint64_t time_ns;  /* monotonic clock */
    uint64_t a;
    uint64_t b;
};

struct vfs_record;

/* Records changes below `root`, a directory that is there, into the file `log_path` (made or
 * emptied; it must lie outside the root), or into memory when that is NULL. `inner` is copied; its
 * context must outlive the recorder. On failure `*out` is untouched. */
enum vs_status vfs_record_new(const struct vfs *inner, const char *root, const char *log_path,
                              struct vfs_record **out, struct vfs_error *err);
/* No call may be under way. Files that are open stay open in the inner vfs. */
void vfs_record_free(struct vfs_record *r);
/* The vfs to hand out, valid until vfs_record_free. */
struct vfs vfs_record_vfs(struct vfs_record *r);

/* From here on `value` counts as acknowledged. To be called before the acknowledgement leaves. */
void vfs_record_mark(struct vfs_record *r, uint64_t value);
/* Events so far. */
uint64_t vfs_record_count(struct vfs_record *r);
/* A log in memory: its bytes so far, borrowed until the next call of anything. NULL when it goes to
 * a file. */
const void *vfs_record_log(struct vfs_record *r, size_t *len);

#endif
