#include "persist/memory_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"

struct memory_file {
    char *path;
    int fd;
};

struct memory_files {
    struct memory_file *file;
    size_t n, cap;
};

static struct memory_file *find(const struct memory_files *m, const char *path)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->file[i].path, path))
            return &m->file[i];
    return NULL;
}

static void forget(struct memory_files *m, struct memory_file *f)
{
    close(f->fd);
    mem_free(f->path);
    *f = m->file[--m->n];
}

static struct memory_file *make(struct memory_files *m, const char *path)
{
    char *copy = NULL;
    int fd = -1;
    if (mem_try_grow(&m->file, &m->cap, m->n + 1, sizeof(*m->file)))
        copy = mem_try_strndup(path, strlen(path));
    errno = ENOMEM;
    if (copy)
        fd = memfd_create("vecstore", MFD_CLOEXEC);
    if (fd < 0) {
        mem_free(copy);
        return NULL;
    }
    m->file[m->n] = (struct memory_file){copy, fd};
    return &m->file[m->n++];
}

static int open_file(void *ctx, const char *path, unsigned flags)
{
    struct memory_files *m = ctx;
    struct memory_file *f = find(m, path);
    if (f && (flags & VFS_CREATE) && (flags & VFS_EXCL)) {
        errno = EEXIST;
        return -1;
    }
    if (!f && !(flags & VFS_CREATE)) {
        errno = ENOENT;
        return -1;
    }
    if (!f)
        f = make(m, path);
    if (!f || ((flags & VFS_TRUNC) && ftruncate(f->fd, 0) != 0))
        return -1;
    return fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
}

static int rename_file(void *ctx, const char *from, const char *to)
{
    struct memory_files *m = ctx;
    struct memory_file *f = find(m, from), *old = find(m, to);
    char *copy = f ? mem_try_strndup(to, strlen(to)) : NULL;
    if (!copy) {
        errno = f ? ENOMEM : ENOENT;
        return -1;
    }
    mem_free(f->path);
    f->path = copy;
    if (old && old != f)
        forget(m, old);
    return 0;
}

static int unlink_file(void *ctx, const char *path)
{
    struct memory_file *f = find(ctx, path);
    if (!f) {
        errno = ENOENT;
        return -1;
    }
    forget(ctx, f);
    return 0;
}

static int link_file(void *ctx, const char *from, const char *to)
{
    (void)ctx, (void)from, (void)to;
    errno = EPERM;
    return -1;
}

static int list(void *ctx, const char *path, vfs_each each, void *arg)
{
    struct memory_files *m = ctx;
    size_t len = strlen(path);
    for (size_t i = 0; i < m->n; i++)
        if (!strncmp(m->file[i].path, path, len) && m->file[i].path[len] == '/')
            each(arg, m->file[i].path + len + 1);
    return 0;
}

static int stat_path(void *ctx, const char *path, struct vfs_stat *out)
{
    struct memory_file *f = find(ctx, path);
    if (f)
        return vfs_posix.ops->fstat(NULL, f->fd, out);
    errno = ENOENT;
    return -1;
}

static int sync_file(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return 0;
}

static int name_only(void *ctx, const char *path)
{
    (void)ctx, (void)path;
    return 0;
}

struct memory_files *memory_files_new(void)
{
    return mem_zalloc(sizeof(struct memory_files));
}

void memory_files_free(struct memory_files *m)
{
    if (!m)
        return;
    while (m->n)
        forget(m, &m->file[m->n - 1]);
    mem_free(m->file);
    mem_free(m);
}

uint64_t memory_files_bytes(const struct memory_files *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct vfs_stat st;
        if (vfs_posix.ops->fstat(NULL, m->file[i].fd, &st) == 0)
            sum += st.size;
    }
    return sum;
}

/* On descriptors all is as with files of a disk; none of those looks at the context. */
static int close_file(void *ctx, int fd)
{
    return vfs_posix.ops->close(ctx, fd);
}
static ssize_t read_file(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    return vfs_posix.ops->read(ctx, fd, data, len, at);
}
static ssize_t write_file(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    return vfs_posix.ops->write(ctx, fd, data, len, at);
}
static int truncate_file(void *ctx, int fd, uint64_t size)
{
    return vfs_posix.ops->truncate(ctx, fd, size);
}
static int allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    return vfs_posix.ops->allocate(ctx, fd, at, len, keep_size);
}
static int stat_file(void *ctx, int fd, struct vfs_stat *out)
{
    return vfs_posix.ops->fstat(ctx, fd, out);
}
static void *map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    return vfs_posix.ops->map(ctx, fd, at, len, kind);
}
static int unmap(void *ctx, void *addr, size_t len)
{
    (void)ctx; /* it may be gone */
    return vfs_posix.ops->unmap(NULL, addr, len);
}

static const struct vfs_ops ops = {
    .open = open_file,
    .close = close_file,
    .read = read_file,
    .write = write_file,
    .fsync = sync_file,
    .fdatasync = sync_file,
    .truncate = truncate_file,
    .allocate = allocate,
    .rename = rename_file,
    .unlink = unlink_file,
    .link = link_file,
    .mkdir = name_only,
    .list = list,
    .stat = stat_path,
    .fstat = stat_file,
    .sync_dir = name_only,
    .map = map,
    .unmap = unmap,
    .lock = sync_file,
};

struct vfs memory_files_vfs(struct memory_files *m)
{
    return (struct vfs){&ops, m};
}
