#include "persist/stream.h"

#include <errno.h>
#include <string.h>

#define STREAM_FD 1 /* there is one file at a time; it is no descriptor of the system */

static int fail(struct stream *s, int number)
{
    s->failed = true;
    errno = number;
    return -1;
}

static int open_file(void *ctx, const char *path, unsigned flags)
{
    struct stream *s = ctx;
    const char *name = strrchr(path, '/');
    if (!(flags & VFS_CREATE) || s->open) {
        errno = flags & VFS_CREATE ? EBUSY : ENOENT;
        return -1;
    }
    if (s->failed || !s->sink.begin(s->sink.arg, name ? name + 1 : path))
        return fail(s, EPIPE);
    s->open = true;
    s->at = 0;
    return STREAM_FD;
}

static int close_file(void *ctx, int fd)
{
    struct stream *s = ctx;
    (void)fd;
    s->open = false;
    if (s->failed || !s->sink.end(s->sink.arg, s->at))
        return fail(s, EPIPE);
    return 0;
}

static ssize_t read_file(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    (void)ctx, (void)fd, (void)data, (void)len, (void)at;
    errno = EBADF;
    return -1;
}

static ssize_t put(struct stream *s, const void *data, size_t len, uint64_t at, const struct stream_sum *sum)
{
    if (at != s->at)
        return fail(s, ESPIPE);
    if (s->failed || !s->sink.data(s->sink.arg, data, len, sum))
        return fail(s, EPIPE);
    s->at += len;
    return (ssize_t)len;
}

static ssize_t write_file(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    (void)fd;
    return put(ctx, data, len, at, NULL);
}

static ssize_t write_summed(void *ctx, int fd, const void *data, size_t len, uint64_t at, uint64_t seed,
                            uint64_t sum)
{
    struct stream_sum s = {seed, sum};
    (void)fd;
    return put(ctx, data, len, at, &s);
}

/* What is asked for to make things durable has nothing to do. */
static int sync_file(void *ctx, int fd)
{
    (void)fd;
    errno = EPIPE;
    return ((struct stream *)ctx)->failed ? -1 : 0;
}

static int refuse_truncate(void *ctx, int fd, uint64_t size)
{
    (void)ctx, (void)fd, (void)size;
    errno = EINVAL;
    return -1;
}

static int allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    (void)ctx, (void)fd, (void)at, (void)len, (void)keep_size;
    errno = EOPNOTSUPP;
    return -1;
}

static int two_names(void *ctx, const char *from, const char *to)
{
    (void)ctx, (void)from, (void)to;
    return 0;
}

static int one_name(void *ctx, const char *path)
{
    (void)ctx, (void)path;
    return 0;
}

static int list(void *ctx, const char *path, vfs_each each, void *arg)
{
    (void)ctx, (void)path, (void)each, (void)arg;
    return 0;
}

static int stat_path(void *ctx, const char *path, struct vfs_stat *out)
{
    (void)ctx, (void)path, (void)out;
    errno = ENOENT;
    return -1;
}

static int stat_file(void *ctx, int fd, struct vfs_stat *out)
{
    (void)fd;
    *out = (struct vfs_stat){.size = ((struct stream *)ctx)->at};
    return 0;
}

static void *map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    (void)ctx, (void)fd, (void)at, (void)len, (void)kind;
    errno = ENODEV;
    return NULL;
}

static int unmap(void *ctx, void *addr, size_t len)
{
    (void)ctx, (void)addr, (void)len;
    return 0;
}

static int lock(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return 0;
}

static const struct vfs_ops ops = {
    .open = open_file,
    .close = close_file,
    .read = read_file,
    .write = write_file,
    .fsync = sync_file,
    .fdatasync = sync_file,
    .truncate = refuse_truncate,
    .allocate = allocate,
    .rename = two_names,
    .unlink = one_name,
    .link = two_names,
    .mkdir = one_name,
    .list = list,
    .stat = stat_path,
    .fstat = stat_file,
    .sync_dir = one_name,
    .map = map,
    .unmap = unmap,
    .lock = lock,
    .write_summed = write_summed,
};

void stream_init(struct stream *s, const struct stream_sink *sink)
{
    *s = (struct stream){.sink = *sink};
}

struct vfs stream_vfs(struct stream *s)
{
    return (struct vfs){&ops, s};
}
