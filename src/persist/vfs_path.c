#include "persist/vfs_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define VERIFY_BLOCK 65536

enum vs_status vfs_path_stat(const struct vfs *v, const char *path, struct vfs_stat *out,
                             struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_stat(v, path, out);
    while (rc && vfs_again(&tries));
    return rc ? vfs_error_set(err, VFS_OP_STAT, path, VFS_NO_OFFSET) : VS_OK;
}

enum vs_status vfs_path_unlink(const struct vfs *v, const char *path, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_unlink(v, path);
    while (rc && vfs_again(&tries));
    return rc ? vfs_error_set(err, VFS_OP_UNLINK, path, VFS_NO_OFFSET) : VS_OK;
}

enum vs_status vfs_path_link(const struct vfs *v, const char *from, const char *to,
                             struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_link(v, from, to);
    while (rc && vfs_again(&tries));
    return rc ? vfs_error_set(err, VFS_OP_LINK, to, VFS_NO_OFFSET) : VS_OK;
}

/* The directory that `path` lies in; the caller frees it. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return mem_strndup(".", 1);
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static enum vs_status sync_dir(const struct vfs *v, const char *dir, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_sync_dir(v, dir);
    while (rc && vfs_again(&tries));
    return rc ? vfs_error_set(err, VFS_OP_SYNCDIR, dir, VFS_NO_OFFSET) : VS_OK;
}

enum vs_status vfs_path_sync_parent(const struct vfs *v, const char *path, struct vfs_error *err)
{
    char *dir = parent_of(path);
    enum vs_status s = sync_dir(v, dir, err);
    mem_free(dir);
    return s;
}

enum vs_status vfs_path_rename(const struct vfs *v, const char *from, const char *to,
                               struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_rename(v, from, to);
    while (rc && vfs_again(&tries));
    if (rc)
        return vfs_error_set(err, VFS_OP_RENAME, to, VFS_NO_OFFSET);
    char *dir = parent_of(from), *to_dir = parent_of(to);
    enum vs_status s = sync_dir(v, to_dir, err);
    if (s == VS_OK && strcmp(dir, to_dir))
        s = sync_dir(v, dir, err);
    mem_free(dir);
    mem_free(to_dir);
    return s;
}

enum vs_status vfs_path_mkdir(const struct vfs *v, const char *path, struct vfs_error *err)
{
    unsigned tries = 0;
    int rc;
    do
        rc = vfs_mkdir(v, path);
    while (rc && vfs_again(&tries));
    if (rc) {
        enum vs_status s = vfs_error_set(err, VFS_OP_MKDIR, path, VFS_NO_OFFSET);
        struct vfs_stat st;
        if (s != VS_EXISTS || vfs_path_stat(v, path, &st, NULL) || !st.is_dir)
            return s;
    }
    /* One that was there may have been made by a process that died before its sync. */
    return vfs_path_sync_parent(v, path, err);
}

struct gather {
    struct vfs_names *out;
    size_t cap;
    bool failed;
};

static void gather_name(void *arg, const char *name)
{
    struct gather *g = arg;
    struct vfs_names *out = g->out;
    if (out->count == g->cap &&
        !mem_try_grow(&out->name, &g->cap, out->count * 2 + 16, sizeof *out->name))
        g->failed = true;
    if (g->failed)
        return;
    out->name[out->count++] = mem_strndup(name, strlen(name));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum vs_status vfs_path_list(const struct vfs *v, const char *path, struct vfs_names *out,
                             struct vfs_error *err)
{
    unsigned tries = 0;
    for (;;) {
        struct gather g = {.out = out};
        int rc = vfs_list(v, path, gather_name, &g);
        if (!rc && !g.failed)
            break;
        if (g.failed)
            errno = ENOMEM;
        int why = errno;
        vfs_names_release(out);
        errno = why;
        if (!vfs_again(&tries))
            return vfs_error_set(err, VFS_OP_LIST, path, VFS_NO_OFFSET);
    }
    if (out->count)
        qsort(out->name, out->count, sizeof *out->name, by_name);
    return VS_OK;
}

void vfs_names_release(struct vfs_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        mem_free(names->name[i]);
    mem_free(names->name);
    *names = (struct vfs_names){0};
}

enum vs_status vfs_path_load(const struct vfs *v, const char *path, size_t max, struct buf *out,
                             struct vfs_error *err)
{
    struct vfs_file f = {0};
    enum vs_status s = vfs_file_open(&f, v, path, VFS_RDONLY, err);
    if (s)
        return s;
    if (f.end > max) {
        errno = EFBIG;
        vfs_error_set(err, VFS_OP_READ, path, f.end);
        s = VS_LIMIT;
        goto done;
    }
    size_t size = (size_t)f.end;
    char *to = buf_try_reserve(out, size);
    if (!to) {
        errno = ENOMEM;
        s = vfs_error_set(err, VFS_OP_READ, path, 0);
        goto done;
    }
    s = vfs_file_read(&f, 0, to, size, err);
    if (s == VS_OK)
        out->len += size;
done:
    vfs_file_close(&f);
    return s;
}

/* Does `path` hold these bytes and no others? */
static enum vs_status read_back(const struct vfs *v, const char *path, const char *data, size_t len,
                                struct vfs_error *err)
{
    struct vfs_file f = {0};
    enum vs_status s = vfs_file_open(&f, v, path, VFS_RDONLY, err);
    if (s)
        return s;
    char *block = mem_alloc(VERIFY_BLOCK);
    uint64_t at = 0;
    bool same = f.end == len;
    while (s == VS_OK && same && at < len) {
        size_t n = len - at < VERIFY_BLOCK ? len - at : VERIFY_BLOCK;
        s = vfs_file_read(&f, at, block, n, err);
        same = s == VS_OK && !memcmp(block, data + at, n);
        at += same ? n : 0;
    }
    if (s == VS_OK && !same) {
        errno = EIO;
        vfs_error_set(err, VFS_OP_READ, path, at);
        if (err)
            snprintf(err->text, sizeof err->text,
                     "%.200s: read back other bytes than were written, at offset %llu or later",
                     path, (unsigned long long)at);
        s = VS_CORRUPT;
    }
    mem_free(block);
    vfs_file_close(&f);
    return s;
}

enum vs_status vfs_path_store(const struct vfs *v, const char *path, const void *data, size_t len,
                              bool verify, struct vfs_error *err)
{
    size_t path_len = strlen(path);
    char *aside = mem_alloc(path_len + sizeof VFS_ASIDE);
    memcpy(aside, path, path_len);
    memcpy(aside + path_len, VFS_ASIDE, sizeof VFS_ASIDE);

    struct vfs_file f = {0};
    enum vs_status s = vfs_file_open(&f, v, aside, VFS_RDWR | VFS_CREATE | VFS_TRUNC, err);
    if (s == VS_OK)
        s = vfs_file_write(&f, 0, data, len, err);
    if (s == VS_OK)
        s = vfs_file_sync(&f, false, err);
    vfs_file_close(&f);
    if (s == VS_OK && verify)
        s = read_back(v, aside, data, len, err);
    if (s == VS_OK)
        s = vfs_path_rename(v, aside, path, err);
    if (s)
        vfs_path_unlink(v, aside, NULL);
    mem_free(aside);
    return s;
}
