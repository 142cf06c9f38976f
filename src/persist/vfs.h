/* The file operations: a table of functions, and the real one.
 *
 *     journal, snapshots, manifest            what must be durable
 *     vfs_file.h, vfs_path.h                  whole reads and writes, retries, error texts
 *     struct vfs  --------------------------- this header
 *     vfs_record   a log of what was done     optional, one around the other
 *     vfs_fault    calls that go wrong
 *     vfs_posix    the system
 *
 * All that persistence does to files goes through a `struct vfs`, which is passed around: two
 * pointers, copied freely. So a test can make any call fail, and knows every byte and every sync a
 * disk has seen. Short counts and EINTR go up through the table as they come; the loops that deal
 * with them lie above it, where faults exercise them.
 *
 * Reads and writes name their position; there is no file position and no append mode. That leaves
 * nothing to chance after a write that failed half-way, and the log knows where each write went.
 *
 * Results are those of the system calls: -1 (NULL) and errno on failure. Any thread, as with the
 * calls themselves. Nothing here writes through a mapping.
 *
 * Rejected: linking wrappers in (LD_PRELOAD, --wrap): they cannot tell the persistence's files from
 * others, and a static call escapes them. */
#ifndef PERSIST_VFS_H
#define PERSIST_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The operations, as faults and error texts name them. */
enum vfs_op {
    VFS_OP_OPEN,
    VFS_OP_CLOSE,
    VFS_OP_READ,
    VFS_OP_WRITE,
    VFS_OP_FSYNC,
    VFS_OP_FDATASYNC,
    VFS_OP_TRUNCATE,
    VFS_OP_ALLOCATE,
    VFS_OP_RENAME,
    VFS_OP_UNLINK,
    VFS_OP_LINK,
    VFS_OP_MKDIR,
    VFS_OP_LIST,
    VFS_OP_STAT,
    VFS_OP_SYNCDIR,
    VFS_OP_MAP,
    VFS_OP_LOCK,
    VFS_OPS
};

/* How to open: for reading unless VFS_RDWR is set. Files are made with mode 0640 less the umask. */
enum vfs_open_flags {
    VFS_RDONLY = 0,
    VFS_RDWR = 1,
    VFS_CREATE = 2,  /* make it when it is not there */
    VFS_EXCL = 4,    /* with VFS_CREATE: it must not be there */
    VFS_TRUNC = 8    /* empty it */
};

enum vfs_map_kind {
    VFS_MAP_READ,  /* shared, for reading: sees what is written to the file */
    VFS_MAP_COPY   /* private: may be written to, pages copied on the first write, the file stays */
};

struct vfs_stat {
    uint64_t size;
    uint64_t allocated;  /* bytes of disk */
    uint64_t device;
    uint64_t inode;
    uint64_t mtime_ms;
    bool is_dir;
};

typedef void (*vfs_each)(void *arg, const char *name);

struct vfs_ops {
    int (*open)(void *ctx, const char *path, unsigned flags);
    int (*close)(void *ctx, int fd);
    ssize_t (*read)(void *ctx, int fd, void *data, size_t len, uint64_t at);
    ssize_t (*write)(void *ctx, int fd, const void *data, size_t len, uint64_t at);
    int (*fsync)(void *ctx, int fd);
    int (*fdatasync)(void *ctx, int fd);
    int (*truncate)(void *ctx, int fd, uint64_t size);
    int (*allocate)(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*link)(void *ctx, const char *from, const char *to);
    int (*mkdir)(void *ctx, const char *path);
    int (*list)(void *ctx, const char *path, vfs_each each, void *arg);
    int (*stat)(void *ctx, const char *path, struct vfs_stat *out);
    int (*fstat)(void *ctx, int fd, struct vfs_stat *out);
    int (*sync_dir)(void *ctx, const char *path);
    void *(*map)(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind);
    int (*unmap)(void *ctx, void *addr, size_t len);
    int (*lock)(void *ctx, int fd);
    /* Two that files of a disk do not have (NULL): a sum (hash_bytes) that goes along with the bytes it is of. */
    ssize_t (*write_summed)(void *ctx, int fd, const void *data, size_t len, uint64_t at, uint64_t seed,
                            uint64_t sum);
    bool (*came_with)(void *ctx, int fd, uint64_t at, size_t len, uint64_t seed, uint64_t sum);
    bool memory; /* what is mapped is memory of this process alone */
};

struct vfs {
    const struct vfs_ops *ops;
    void *ctx;  /* the implementation's */
};

/* The system's files. */
extern const struct vfs vfs_posix;

/* "write"; "?" for what is no operation. */
const char *vfs_op_name(enum vfs_op op);
/* The operation of this name (`len` bytes), VFS_OPS when there is none. */
enum vfs_op vfs_op_find(const char *name, size_t len);

/* A descriptor, closed on exec. */
static inline int vfs_open(const struct vfs *v, const char *path, unsigned flags)
{
    return v->ops->open(v->ctx, path, flags);
}
/* The descriptor is gone whatever the result is: never to be repeated. */
static inline int vfs_close(const struct vfs *v, int fd)
{
    return v->ops->close(v->ctx, fd);
}
/* Bytes read, fewer than asked for at the end of the file or whenever it pleases; 0: the end. */
static inline ssize_t vfs_read(const struct vfs *v, int fd, void *data, size_t len, uint64_t at)
{
    return v->ops->read(v->ctx, fd, data, len, at);
}
/* Bytes written, perhaps fewer than asked for. A write beyond the end leaves zeros between. */
static inline ssize_t vfs_write(const struct vfs *v, int fd, const void *data, size_t len,
                                uint64_t at)
{
    return v->ops->write(v->ctx, fd, data, len, at);
}
/* Have these bytes been compared with this sum since they came into memory? */
static inline bool vfs_came_with(const struct vfs *v, int fd, uint64_t at, size_t len, uint64_t seed,
                                 uint64_t sum)
{
    return v->ops->came_with && v->ops->came_with(v->ctx, fd, at, len, seed, sum);
}
/* Data and metadata reach the disk. After a failure (but EINTR) what was written since the last
 * success may be lost although a later call succeeds: write it to another file. */
static inline int vfs_fsync(const struct vfs *v, int fd)
{
    return v->ops->fsync(v->ctx, fd);
}
/* The same for data and the file's size. */
static inline int vfs_fdatasync(const struct vfs *v, int fd)
{
    return v->ops->fdatasync(v->ctx, fd);
}
static inline int vfs_truncate(const struct vfs *v, int fd, uint64_t size)
{
    return v->ops->truncate(v->ctx, fd, size);
}
/* Reserves disk space; the size grows with it unless `keep_size`. EOPNOTSUPP where the file system
 * cannot. */
static inline int vfs_allocate(const struct vfs *v, int fd, uint64_t at, uint64_t len,
                               bool keep_size)
{
    return v->ops->allocate(v->ctx, fd, at, len, keep_size);
}
/* Replaces `to` at once. Durable when the directory is synced, as are the next three. */
static inline int vfs_rename(const struct vfs *v, const char *from, const char *to)
{
    return v->ops->rename(v->ctx, from, to);
}
static inline int vfs_unlink(const struct vfs *v, const char *path)
{
    return v->ops->unlink(v->ctx, path);
}
/* A second name for the file; `to` must not be there. */
static inline int vfs_link(const struct vfs *v, const char *from, const char *to)
{
    return v->ops->link(v->ctx, from, to);
}
static inline int vfs_mkdir(const struct vfs *v, const char *path)
{
    return v->ops->mkdir(v->ctx, path);
}
/* Calls `each` for every name but . and .., in any order. */
static inline int vfs_list(const struct vfs *v, const char *path, vfs_each each, void *arg)
{
    return v->ops->list(v->ctx, path, each, arg);
}
static inline int vfs_stat(const struct vfs *v, const char *path, struct vfs_stat *out)
{
    return v->ops->stat(v->ctx, path, out);
}
static inline int vfs_fstat(const struct vfs *v, int fd, struct vfs_stat *out)
{
    return v->ops->fstat(v->ctx, fd, out);
}
/* The names in this directory reach the disk: files made, renamed and removed in it. Not what lies
 * in the files, and not the directory's own name. */
static inline int vfs_sync_dir(const struct vfs *v, const char *path)
{
    return v->ops->sync_dir(v->ctx, path);
}
/* `at` a multiple of the page size, `len` not 0. Touching a page beyond the file's end is
 * SIGBUS. */
static inline void *vfs_map(const struct vfs *v, int fd, uint64_t at, size_t len,
                            enum vfs_map_kind kind)
{
    return v->ops->map(v->ctx, fd, at, len, kind);
}
static inline int vfs_unmap(const struct vfs *v, void *addr, size_t len)
{
    return v->ops->unmap(v->ctx, addr, len);
}
/* An exclusive flock, held until the descriptor is closed; EWOULDBLOCK at once when another holds
 * it. */
static inline int vfs_lock(const struct vfs *v, int fd)
{
    return v->ops->lock(v->ctx, fd);
}

#endif
