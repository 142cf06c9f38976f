#include "persist/vfs_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Room in an error's text for what is not the path. */
#define TEXT_BESIDE 128

bool vfs_again(unsigned *tries)
{
    return errno == EINTR && ++*tries < VFS_EINTR_MAX;
}

static const char *path_end(const char *path)
{
    size_t len = strlen(path);
    return len > VFS_ERROR_TEXT - TEXT_BESIDE ? path + len - (VFS_ERROR_TEXT - TEXT_BESIDE) : path;
}

static enum vs_status status_of(enum vfs_op op, int number)
{
    switch (number) {
    case ENOENT: return VS_NOTFOUND;
    case EEXIST: return VS_EXISTS;
    case ENOMEM: return VS_NOMEM;
    case EWOULDBLOCK: return op == VFS_OP_LOCK ? VS_EXISTS : VS_IO;
    default: return VS_IO;
    }
}

enum vs_status vfs_error_set(struct vfs_error *err, enum vfs_op op, const char *path, uint64_t at)
{
    int number = errno;
    if (err) {
        char why[96], where[48] = "";
        err->op = op;
        err->number = number;
        err->at = at;
        if (at != VFS_NO_OFFSET)
            snprintf(where, sizeof where, " at offset %llu", (unsigned long long)at);
        snprintf(err->text, sizeof err->text, "%s of %s%s: %s", vfs_op_name(op), path_end(path),
                 where, strerror_r(number, why, sizeof why));
    }
    return status_of(op, number);
}

enum vs_status vfs_file_open(struct vfs_file *f, const struct vfs *v, const char *path,
                             unsigned flags, struct vfs_error *err)
{
    unsigned tries = 0;
    int fd;
    do
        fd = vfs_open(v, path, flags);
    while (fd < 0 && vfs_again(&tries));
    if (fd < 0)
        return vfs_error_set(err, VFS_OP_OPEN, path, VFS_NO_OFFSET);
    struct vfs_stat st;
    int rc;
    tries = 0;
    do
        rc = vfs_fstat(v, fd, &st);
    while (rc && vfs_again(&tries));
    if (rc) {
        enum vs_status s = vfs_error_set(err, VFS_OP_STAT, path, VFS_NO_OFFSET);
        vfs_close(v, fd);
        return s;
    }
    *f = (struct vfs_file){v, mem_strndup(path, strlen(path)), fd, st.size};
    return VS_OK;
}

void vfs_file_close(struct vfs_file *f)
{
    if (!f->path)
        return;
    vfs_close(f->vfs, f->fd);
    mem_free(f->path);
    *f = (struct vfs_file){0};
}

enum vs_status vfs_file_write(struct vfs_file *f, uint64_t at, const void *data, size_t len,
                              struct vfs_error *err)
{
    const char *from = data;
    unsigned tries = 0;
    while (len) {
        ssize_t n = vfs_write(f->vfs, f->fd, from, len, at);
        if (n < 0 && vfs_again(&tries))
            continue;
        if (!n)
            errno = EIO;
        if (n <= 0)
            return vfs_error_set(err, VFS_OP_WRITE, f->path, at);
        tries = 0;
        from += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    if (at > f->end)
        f->end = at;
    return VS_OK;
}

enum vs_status vfs_file_append_summed(struct vfs_file *f, const void *data, size_t len, uint64_t seed,
                                      uint64_t sum, struct vfs_error *err)
{
    if (!f->vfs->ops->write_summed)
        return vfs_file_append(f, data, len, err);
    if (f->vfs->ops->write_summed(f->vfs->ctx, f->fd, data, len, f->end, seed, sum) != (ssize_t)len)
        return vfs_error_set(err, VFS_OP_WRITE, f->path, f->end);
    f->end += len;
    return VS_OK;
}

enum vs_status vfs_file_append(struct vfs_file *f, const void *data, size_t len,
                               struct vfs_error *err)
{
    return vfs_file_write(f, f->end, data, len, err);
}

static enum vs_status ends_early(struct vfs_error *err, const char *path, uint64_t at, size_t len)
{
    if (err) {
        err->op = VFS_OP_READ;
        err->number = 0;
        err->at = at;
        snprintf(err->text, sizeof err->text,
                 "%s ends at offset %llu, %zu more bytes should follow", path_end(path),
                 (unsigned long long)at, len);
    }
    return VS_CORRUPT;
}

enum vs_status vfs_file_read(const struct vfs_file *f, uint64_t at, void *data, size_t len,
                             struct vfs_error *err)
{
    char *to = data;
    unsigned tries = 0;
    while (len) {
        ssize_t n = vfs_read(f->vfs, f->fd, to, len, at);
        if (n < 0 && vfs_again(&tries))
            continue;
        if (n < 0)
            return vfs_error_set(err, VFS_OP_READ, f->path, at);
        if (!n)
            return ends_early(err, f->path, at, len);
        tries = 0;
        to += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return VS_OK;
}

/* An interrupted sync has told of no failure, so it may be repeated; any other result stands. */
enum vs_status vfs_file_sync(const struct vfs_file *f, bool data_only, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = data_only ? vfs_fdatasync(f->vfs, f->fd) : vfs_fsync(f->vfs, f->fd);
    while (rc && vfs_again(&tries));
    if (rc)
        return vfs_error_set(err, data_only ? VFS_OP_FDATASYNC : VFS_OP_FSYNC, f->path,
                             VFS_NO_OFFSET);
    return VS_OK;
}

enum vs_status vfs_file_truncate(struct vfs_file *f, uint64_t size, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_truncate(f->vfs, f->fd, size);
    while (rc && vfs_again(&tries));
    if (rc)
        return vfs_error_set(err, VFS_OP_TRUNCATE, f->path, size);
    f->end = size;
    return VS_OK;
}

enum vs_status vfs_file_allocate(struct vfs_file *f, uint64_t at, uint64_t len, bool keep_size,
                                 struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    if (!len)
        return VS_OK;
    do
        rc = vfs_allocate(f->vfs, f->fd, at, len, keep_size);
    while (rc && vfs_again(&tries));
    if (rc && errno == EOPNOTSUPP)
        return VS_OK;
    if (rc)
        return vfs_error_set(err, VFS_OP_ALLOCATE, f->path, at);
    if (!keep_size && at + len > f->end)
        f->end = at + len;
    return VS_OK;
}

enum vs_status vfs_file_map(const struct vfs_file *f, uint64_t at, size_t len,
                            enum vfs_map_kind kind, void **out, struct vfs_error *err)
{
    unsigned tries = 0;
    void *addr;
    do
        addr = vfs_map(f->vfs, f->fd, at, len, kind);
    while (!addr && vfs_again(&tries));
    if (!addr)
        return vfs_error_set(err, VFS_OP_MAP, f->path, at);
    *out = addr;
    return VS_OK;
}

enum vs_status vfs_file_lock(const struct vfs_file *f, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_lock(f->vfs, f->fd);
    while (rc && vfs_again(&tries));
    return rc ? vfs_error_set(err, VFS_OP_LOCK, f->path, VFS_NO_OFFSET) : VS_OK;
}
