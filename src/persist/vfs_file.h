/* A file through a vfs: whole reads and writes, retries, and errors that name the file.
 *
 * EINTR is tried again, at most VFS_EINTR_MAX times in a row; short counts are gone on with. A
 * write that returns 0 counts as EIO. All functions return
 *
 *   VS_NOTFOUND  the file (or a directory on its way) is not there
 *   VS_EXISTS    it is there already (VFS_EXCL), or its lock is another's
 *   VS_CORRUPT   it ends before what was to be read
 *   VS_NOMEM     ENOMEM
 *   VS_IO        anything else the system said
 *
 * and fill in `err`, which may be NULL, for these and nothing else.
 *
 * Threads: one at a time, but vfs_file_read, vfs_file_map and vfs_file_sync may run beside any
 * other call but vfs_file_close. */
#ifndef PERSIST_VFS_FILE_H
#define PERSIST_VFS_FILE_H

#include "base/status.h"
#include "persist/vfs.h"

#define VFS_EINTR_MAX 1000
#define VFS_ERROR_TEXT 384

struct vfs_error {
    enum vfs_op op;
    int number;                 /* errno; 0 for VS_CORRUPT */
    uint64_t at;                /* of a read or write: where it could not go on */
    char text[VFS_ERROR_TEXT];  /* "write of data/x.aof at offset 4096: No space left on device" */
};

struct vfs_file {
    const struct vfs *vfs;  /* borrowed until vfs_file_close */
    char *path;             /* own copy; NULL: closed, as a zeroed struct is */
    int fd;
    uint64_t end;           /* the file's size, as far as this handle knows: where an append goes */
};

/* Sets `err` (may be NULL) from errno. VFS_NO_OFFSET: the text names none. Paths longer than the
 * text has room for lose their beginning. */
#define VFS_NO_OFFSET UINT64_MAX
enum vs_status vfs_error_set(struct vfs_error *err, enum vfs_op op, const char *path, uint64_t at);
/* True when errno is EINTR and this is not one try too many. `*tries` begins at 0. */
bool vfs_again(unsigned *tries);

/* `f` is untouched on failure. `flags` of enum vfs_open_flags. A file made here has a durable name
 * only after vfs_path_sync_parent. */
enum vs_status vfs_file_open(struct vfs_file *f, const struct vfs *v, const char *path,
                             unsigned flags, struct vfs_error *err);
/* Closed files are fine. What was not synced may be lost without a word: sync first. */
void vfs_file_close(struct vfs_file *f);

/* All of `len` bytes. On failure a beginning of them may be in the file (err->at says up to where);
 * after a failed append `end` has not moved, so that the next append goes over it. */
enum vs_status vfs_file_write(struct vfs_file *f, uint64_t at, const void *data, size_t len,
                              struct vfs_error *err);
enum vs_status vfs_file_append(struct vfs_file *f, const void *data, size_t len,
                               struct vfs_error *err);
/* The same; their sum goes along where the vfs takes it. */
enum vs_status vfs_file_append_summed(struct vfs_file *f, const void *data, size_t len, uint64_t seed,
                                      uint64_t sum, struct vfs_error *err);
/* All of `len` bytes, or VS_CORRUPT. */
enum vs_status vfs_file_read(const struct vfs_file *f, uint64_t at, void *data, size_t len,
                             struct vfs_error *err);
/* fdatasync when `data_only`. After VS_IO the file is not to be trusted again, see vfs_fsync. */
enum vs_status vfs_file_sync(const struct vfs_file *f, bool data_only, struct vfs_error *err);
enum vs_status vfs_file_truncate(struct vfs_file *f, uint64_t size, struct vfs_error *err);
/* A file system that cannot reserve is no error. */
enum vs_status vfs_file_allocate(struct vfs_file *f, uint64_t at, uint64_t len, bool keep_size,
                                 struct vfs_error *err);
/* `at` a multiple of the page size. Unmap with vfs_unmap; outlives the file's closing. */
enum vs_status vfs_file_map(const struct vfs_file *f, uint64_t at, size_t len,
                            enum vfs_map_kind kind, void **out, struct vfs_error *err);
/* Held until the file is closed; VS_EXISTS when another process (or handle) holds it. */
enum vs_status vfs_file_lock(const struct vfs_file *f, struct vfs_error *err);

#endif
