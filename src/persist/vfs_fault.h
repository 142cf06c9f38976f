/* Calls that go wrong: a vfs around another that counts calls and makes chosen ones fail.
 *
 *     vfs_fault_set(f, VFS_OP_WRITE, 3, VFS_FAULT_ENOSPC, true);
 *
 *     write 1  write 2  write 3  write 4 ..  vfs_fault_clear  write ..
 *       done     done   ENOSPC   ENOSPC ..                      done
 *
 * One rule for each operation and one for "any", whose calls are counted over all operations. A
 * rule that is not sticky strikes once. stat and fstat are one operation; unmapping never fails and
 * is not counted.
 *
 * Beside or around a log of writes (vfs_record.h)? Around it, fault(record(posix)), a call that is
 * forgotten is not in the log either, so that the simulator loses it. Inside, record(fault(posix)),
 * the log knows which syncs failed, and the simulator never again relies on what they covered.
 *
 * Any thread. A call made while a rule is being set sees it or does not. */
#ifndef PERSIST_VFS_FAULT_H
#define PERSIST_VFS_FAULT_H

#include "persist/vfs.h"

enum vfs_fault_kind {
    VFS_FAULT_EIO,     /* nothing is done, EIO. A close closes, though */
    VFS_FAULT_ENOSPC,  /* nothing is done, ENOSPC */
    VFS_FAULT_EINTR,   /* nothing is done, EINTR */
    VFS_FAULT_SHORT,   /* a read or write of over one byte does half of it; no other call */
    VFS_FAULT_TORN,    /* a write does half of it and says EIO; others as with VFS_FAULT_EIO */
    VFS_FAULT_FORGET,  /* a write, sync or change of names says it is done and is not; others EIO */
    VFS_FAULT_SLOW,    /* done, VFS_FAULT_SLOW_MS later */
    VFS_FAULT_KINDS
};

#define VFS_FAULT_SLOW_MS 1500
#define VFS_FAULT_ANY VFS_OPS  /* for vfs_fault_set: the rule for all operations */

struct vfs_fault;

/* Without rules. `inner` is copied; its context must outlive this. */
struct vfs_fault *vfs_fault_new(const struct vfs *inner);
/* No call may be under way. */
void vfs_fault_free(struct vfs_fault *f);
/* The vfs to hand out, valid until vfs_fault_free. */
struct vfs vfs_fault_vfs(struct vfs_fault *f);

/* The `nth` call of `op` from now (1: the next) and, when `sticky`, all that follow. In place of
 * the operation's rule until now. */
void vfs_fault_set(struct vfs_fault *f, enum vfs_op op, uint64_t nth, enum vfs_fault_kind kind,
                   bool sticky);
/* No rules from here; counters stay. */
void vfs_fault_clear(struct vfs_fault *f);
/* Sets rules as text says: "op:nth:kind[:sticky]", several separated by commas, "off" to clear.
 * `op` is a name of vfs_op_name or "any", `kind` one of eio enospc eintr short torn forget slow.
 * False, a sentence in `why` and no rule changed when the text is not understood. */
bool vfs_fault_parse(struct vfs_fault *f, const char *text, char *why, size_t why_len);

/* Calls of `op` (VFS_FAULT_ANY: of all) so far, and how many of all calls a rule has changed. */
uint64_t vfs_fault_calls(struct vfs_fault *f, enum vfs_op op);
uint64_t vfs_fault_hits(struct vfs_fault *f);

#endif
