/* Files by name: directories, renames that last, small files as a whole.
 *
 * Statuses and `err` as in vfs_file.h. EINTR is tried again. Any thread; two that change the same
 * names must agree between themselves. */
#ifndef PERSIST_VFS_PATH_H
#define PERSIST_VFS_PATH_H

#include "base/buf.h"
#include "persist/vfs_file.h"

/* What vfs_path_store puts behind a file's name while it is being written. A file that bears it at
 * start is a leftover. */
#define VFS_ASIDE ".tmp"

enum vs_status vfs_path_stat(const struct vfs *v, const char *path, struct vfs_stat *out,
                             struct vfs_error *err);
/* VS_NOTFOUND when it is gone already. Not durable before vfs_path_sync_parent. */
enum vs_status vfs_path_unlink(const struct vfs *v, const char *path, struct vfs_error *err);
/* A second name for the file. Not durable before vfs_path_sync_parent(to). */
enum vs_status vfs_path_link(const struct vfs *v, const char *from, const char *to,
                             struct vfs_error *err);
/* Syncs the directory that `path` lies in. */
enum vs_status vfs_path_sync_parent(const struct vfs *v, const char *path, struct vfs_error *err);
/* `to` is `from` from now on, and after a power cut: the directories of both are synced. What lies
 * in the file must have been synced before. When a directory's sync fails the rename stands but
 * may not survive: either name may be there after a power cut. */
enum vs_status vfs_path_rename(const struct vfs *v, const char *from, const char *to,
                               struct vfs_error *err);
/* One directory, with a durable name; one that is there is fine. */
enum vs_status vfs_path_mkdir(const struct vfs *v, const char *path, struct vfs_error *err);

struct vfs_names {
    char **name;  /* sorted bytewise */
    size_t count;
};
/* Into a zeroed `out`, which the caller releases. */
enum vs_status vfs_path_list(const struct vfs *v, const char *path, struct vfs_names *out,
                             struct vfs_error *err);
void vfs_names_release(struct vfs_names *names);

/* Appends the whole file to `out`. VS_LIMIT, with a text, when it is larger than `max`. */
enum vs_status vfs_path_load(const struct vfs *v, const char *path, size_t max, struct buf *out,
                             struct vfs_error *err);
/* Makes `path` hold these bytes, or leaves it as it was: written aside, synced, read back and
 * compared when `verify`, renamed, directory synced. On failure the file aside is removed and the
 * old one stands; but when the last sync fails, see vfs_path_rename. One that was read back as
 * something else is VS_CORRUPT. */
enum vs_status vfs_path_store(const struct vfs *v, const char *path, const void *data, size_t len,
                              bool verify, struct vfs_error *err);

#endif
