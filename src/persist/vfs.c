#include "persist/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VFS_MODE 0640
#define VFS_DIR_MODE 0750

static const char *const op_names[VFS_OPS] = {
    [VFS_OP_OPEN] = "open",
    [VFS_OP_CLOSE] = "close",
    [VFS_OP_READ] = "read",
    [VFS_OP_WRITE] = "write",
    [VFS_OP_FSYNC] = "fsync",
    [VFS_OP_FDATASYNC] = "fdatasync",
    [VFS_OP_TRUNCATE] = "truncate",
    [VFS_OP_ALLOCATE] = "allocate",
    [VFS_OP_RENAME] = "rename",
    [VFS_OP_UNLINK] = "unlink",
    [VFS_OP_LINK] = "link",
    [VFS_OP_MKDIR] = "mkdir",
    [VFS_OP_LIST] = "list",
    [VFS_OP_STAT] = "stat",
    [VFS_OP_SYNCDIR] = "syncdir",
    [VFS_OP_MAP] = "map",
    [VFS_OP_LOCK] = "lock",
};

const char *vfs_op_name(enum vfs_op op)
{
    return (unsigned)op < VFS_OPS ? op_names[op] : "?";
}

enum vfs_op vfs_op_find(const char *name, size_t len)
{
    for (unsigned op = 0; op < VFS_OPS; op++)
        if (strlen(op_names[op]) == len && !memcmp(op_names[op], name, len))
            return (enum vfs_op)op;
    return VFS_OPS;
}

/* Files alone: a directory or a fifo in the place of one is refused, and nobody waits for a fifo's other end. */
static int posix_open(void *ctx, const char *path, unsigned flags)
{
    (void)ctx;
    struct stat st;
    int how = O_CLOEXEC | O_NONBLOCK | (flags & VFS_RDWR ? O_RDWR : O_RDONLY);
    how |= (flags & VFS_CREATE ? O_CREAT : 0) | (flags & VFS_EXCL ? O_EXCL : 0);
    how |= flags & VFS_TRUNC ? O_TRUNC : 0;
    int fd = open(path, how, VFS_MODE);
    if (fd < 0)
        return -1;
    int number = fstat(fd, &st) ? errno : 0;
    if (!number && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    errno = number ? number : S_ISDIR(st.st_mode) ? EISDIR : ESPIPE;
    return -1;
}

static int posix_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd);
}

static ssize_t posix_read(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    (void)ctx;
    return pread(fd, data, len, (off_t)at);
}

static ssize_t posix_write(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    (void)ctx;
    return pwrite(fd, data, len, (off_t)at);
}

static int posix_fsync(void *ctx, int fd)
{
    (void)ctx;
    return fsync(fd);
}

static int posix_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd);
}

static int posix_truncate(void *ctx, int fd, uint64_t size)
{
    (void)ctx;
    return ftruncate(fd, (off_t)size);
}

static int posix_allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    (void)ctx;
    return fallocate(fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0, (off_t)at, (off_t)len);
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to);
}

static int posix_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path);
}

static int posix_link(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return link(from, to);
}

static int posix_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    return mkdir(path, VFS_DIR_MODE);
}

static int posix_list(void *ctx, const char *path, vfs_each each, void *arg)
{
    (void)ctx;
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            each(arg, entry->d_name);
    int why = errno;
    closedir(dir);
    errno = why;
    return why ? -1 : 0;
}

static void stat_fill(const struct stat *st, struct vfs_stat *out)
{
    *out = (struct vfs_stat){
        .size = (uint64_t)st->st_size,
        .allocated = (uint64_t)st->st_blocks * 512,
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .mtime_ms = (uint64_t)st->st_mtim.tv_sec * 1000 + (uint64_t)st->st_mtim.tv_nsec / 1000000,
        .is_dir = S_ISDIR(st->st_mode),
    };
}

static int posix_stat(void *ctx, const char *path, struct vfs_stat *out)
{
    (void)ctx;
    struct stat st;
    if (stat(path, &st))
        return -1;
    stat_fill(&st, out);
    return 0;
}

static int posix_fstat(void *ctx, int fd, struct vfs_stat *out)
{
    (void)ctx;
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    stat_fill(&st, out);
    return 0;
}

static int posix_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    int why = errno;
    close(fd);
    errno = why;
    return rc;
}

static void *posix_map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    (void)ctx;
    bool copy = kind == VFS_MAP_COPY;
    void *addr = mmap(NULL, len, copy ? PROT_READ | PROT_WRITE : PROT_READ,
                      copy ? MAP_PRIVATE : MAP_SHARED, fd, (off_t)at);
    return addr == MAP_FAILED ? NULL : addr;
}

static int posix_unmap(void *ctx, void *addr, size_t len)
{
    (void)ctx;
    return munmap(addr, len);
}

static int posix_lock(void *ctx, int fd)
{
    (void)ctx;
    return flock(fd, LOCK_EX | LOCK_NB);
}

static const struct vfs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .fsync = posix_fsync,
    .fdatasync = posix_fdatasync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .link = posix_link,
    .mkdir = posix_mkdir,
    .list = posix_list,
    .stat = posix_stat,
    .fstat = posix_fstat,
    .sync_dir = posix_sync_dir,
    .map = posix_map,
    .unmap = posix_unmap,
    .lock = posix_lock,
};

const struct vfs vfs_posix = {&posix_ops, NULL};
