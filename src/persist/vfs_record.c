#include "persist/vfs_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/vfs_path.h"

#define COPY_BLOCK ((size_t)1 << 20)
#define DEPTH_MAX 8  /* of directories that are there at the start */

struct vfs_record {
    struct vfs inner;
    char root[2][PATH_MAX];  /* as it was named, and without symbolic links */
    pthread_mutex_t lock;    /* for all below, and around changes */
    int log_fd;              /* -1: into memory */
    struct buf log;
    uint64_t events;
    uint64_t last_ns;
    uint32_t files;          /* open calls recorded so far */
    uint32_t *file_of;       /* by descriptor: the open call's number, 0 for files not recorded */
    size_t file_cap;
};

/* ---- paths ----------------------------------------------------------------------------------- */

/* `path` from the file system's root, without "." and ".." and doubled slashes; "" stands for "/".
 * Symbolic links are not followed. */
static bool absolute(const char *path, char out[PATH_MAX])
{
    char whole[2 * PATH_MAX];
    char here[PATH_MAX] = "";
    if (*path != '/' && !getcwd(here, sizeof here))
        return false;
    if (snprintf(whole, sizeof whole, "%s/%s", here, path) >= (int)sizeof whole)
        return false;
    size_t len = 0;
    for (const char *part = whole; *part;) {
        part += strspn(part, "/");
        size_t n = strcspn(part, "/");
        if (n == 2 && part[0] == '.' && part[1] == '.') {
            while (len && out[--len] != '/')
                ;
        } else if (n && !(n == 1 && *part == '.')) {
            if (len + n + 2 > PATH_MAX)
                return false;
            out[len++] = '/';
            memcpy(out + len, part, n);
            len += n;
        }
        part += n;
    }
    out[len] = '\0';
    return true;
}

/* The part of `path` below the root; false when it lies elsewhere. */
static bool below_root(const struct vfs_record *r, const char *path, char out[PATH_MAX])
{
    char whole[PATH_MAX];
    if (!absolute(path, whole))
        return false;
    for (int i = 0; i < 2; i++) {
        size_t len = strlen(r->root[i]);
        if (strncmp(whole, r->root[i], len) || (whole[len] && whole[len] != '/'))
            continue;
        const char *rest = whole + len + (whole[len] == '/');
        memmove(out, rest, strlen(rest) + 1);
        return true;
    }
    return false;
}

/* ---- the log --------------------------------------------------------------------------------- */

static void log_put(struct vfs_record *r, struct iovec *part, int parts)
{
    if (r->log_fd < 0) {
        for (int i = 0; i < parts; i++)
            buf_append(&r->log, part[i].iov_base, part[i].iov_len);
        return;
    }
    while (parts) {
        ssize_t n = writev(r->log_fd, part, parts);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            log_warning("The log of file operations cannot be written: %s", strerror(errno));
            abort();
        }
        while (parts && (size_t)n >= part->iov_len) {
            n -= (ssize_t)part->iov_len;
            part++;
            parts--;
        }
        if (parts) {
            part->iov_base = (char *)part->iov_base + n;
            part->iov_len -= (size_t)n;
        }
    }
}

/* One event; the lock is held. */
static void put(struct vfs_record *r, struct vfs_record_head head, const void *data, size_t len)
{
    head.time_ns = clock_mono_ns();
    if (head.time_ns < r->last_ns)
        head.time_ns = r->last_ns;
    r->last_ns = head.time_ns;
    struct buf body = {0};
    buf_append(&body, &head, sizeof head);
    buf_append(&body, data, len);
    uint32_t frame[4] = {(uint32_t)body.len, 0, 0, 0};
    uint64_t sum = hash_bytes(body.data, body.len, r->events);
    memcpy(frame + 2, &sum, sizeof sum);
    struct iovec part[2] = {{frame, sizeof frame}, {body.data, body.len}};
    log_put(r, part, 2);
    buf_release(&body);
    r->events++;
}

static void put_path(struct vfs_record *r, struct vfs_record_head head, const char *path)
{
    put(r, head, path, strlen(path) + 1);
}

static void put_paths(struct vfs_record *r, uint16_t type, const char *from, const char *to)
{
    struct buf both = {0};
    buf_append(&both, from, strlen(from) + 1);
    buf_append(&both, to, strlen(to) + 1);
    put(r, (struct vfs_record_head){.type = type}, both.data, both.len);
    buf_release(&both);
}

static uint32_t file_of(const struct vfs_record *r, int fd)
{
    return fd >= 0 && (size_t)fd < r->file_cap ? r->file_of[fd] : 0;
}

static void set_file(struct vfs_record *r, int fd, uint32_t file)
{
    size_t had = r->file_cap;
    if ((size_t)fd >= had) {
        r->file_cap = (size_t)fd * 2 + 16;
        r->file_of = mem_realloc(r->file_of, r->file_cap * sizeof *r->file_of);
        memset(r->file_of + had, 0, (r->file_cap - had) * sizeof *r->file_of);
    }
    r->file_of[fd] = file;
}

/* ---- operations ------------------------------------------------------------------------------ */

static int record_open(void *ctx, const char *path, unsigned flags)
{
    struct vfs_record *r = ctx;
    char rel[PATH_MAX];
    if (!below_root(r, path, rel))
        return vfs_open(&r->inner, path, flags);
    pthread_mutex_lock(&r->lock);
    int fd = vfs_open(&r->inner, path, flags);
    if (fd >= 0) {
        set_file(r, fd, ++r->files);
        put_path(r, (struct vfs_record_head){.type = VFS_RECORD_OPEN, .file = r->files, .b = flags},
                 rel);
    }
    int why = errno;
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return fd;
}

/* Under the lock, so that the descriptor is not another's before its number is gone. */
static int record_close(void *ctx, int fd)
{
    struct vfs_record *r = ctx;
    pthread_mutex_lock(&r->lock);
    if (file_of(r, fd))
        set_file(r, fd, 0);
    int rc = vfs_close(&r->inner, fd);
    int why = errno;
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static ssize_t record_read(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    struct vfs_record *r = ctx;
    return vfs_read(&r->inner, fd, data, len, at);
}

static ssize_t record_write(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    struct vfs_record *r = ctx;
    pthread_mutex_lock(&r->lock);
    ssize_t n = vfs_write(&r->inner, fd, data, len, at);
    int why = errno;
    uint32_t file = file_of(r, fd);
    struct vfs_record_head head = {.type = VFS_RECORD_WRITE, .file = file, .a = at};
    if (file && n > 0)
        put(r, head, data, (size_t)n);
    head.failed = n < 0;
    if (file && n < 0 && why != EINTR)
        put(r, head, data, len);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return n;
}

static int record_sync(struct vfs_record *r, int fd, bool data_only)
{
    pthread_mutex_lock(&r->lock);
    struct vfs_record_head head = {.type = VFS_RECORD_SYNC, .file = file_of(r, fd), .a = r->events};
    pthread_mutex_unlock(&r->lock);
    int rc = data_only ? vfs_fdatasync(&r->inner, fd) : vfs_fsync(&r->inner, fd);
    int why = errno;
    head.failed = rc != 0;
    pthread_mutex_lock(&r->lock);
    if (head.file && (!rc || why != EINTR))
        put(r, head, NULL, 0);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static int record_fsync(void *ctx, int fd)
{
    return record_sync(ctx, fd, false);
}

static int record_fdatasync(void *ctx, int fd)
{
    return record_sync(ctx, fd, true);
}

static int record_truncate(void *ctx, int fd, uint64_t size)
{
    struct vfs_record *r = ctx;
    pthread_mutex_lock(&r->lock);
    int rc = vfs_truncate(&r->inner, fd, size);
    int why = errno;
    struct vfs_record_head head = {.type = VFS_RECORD_TRUNCATE, .file = file_of(r, fd), .a = size};
    if (!rc && head.file)
        put(r, head, NULL, 0);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static int record_allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    struct vfs_record *r = ctx;
    pthread_mutex_lock(&r->lock);
    int rc = vfs_allocate(&r->inner, fd, at, len, keep_size);
    int why = errno;
    struct vfs_record_head head = {
        .type = VFS_RECORD_ALLOCATE, .file = file_of(r, fd), .a = at, .b = len};
    if (!rc && head.file && !keep_size)
        put(r, head, NULL, 0);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

/* A file that comes from outside the root or leaves it has no place in the log. */
static bool both_below(const struct vfs_record *r, const char *from, const char *to,
                       char rel[2][PATH_MAX], bool *refused)
{
    bool a = below_root(r, from, rel[0]), b = below_root(r, to, rel[1]);
    *refused = a != b;
    return a && b;
}

static int record_rename(void *ctx, const char *from, const char *to)
{
    struct vfs_record *r = ctx;
    char rel[2][PATH_MAX];
    struct vfs_stat st;
    bool refused, below = both_below(r, from, to, rel, &refused);
    if (refused || (below && !vfs_stat(&r->inner, from, &st) && st.is_dir)) {
        errno = EXDEV;
        return -1;
    }
    pthread_mutex_lock(&r->lock);
    int rc = vfs_rename(&r->inner, from, to);
    int why = errno;
    if (!rc && below)
        put_paths(r, VFS_RECORD_RENAME, rel[0], rel[1]);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static int record_link(void *ctx, const char *from, const char *to)
{
    struct vfs_record *r = ctx;
    char rel[2][PATH_MAX];
    bool refused, below = both_below(r, from, to, rel, &refused);
    if (refused) {
        errno = EXDEV;
        return -1;
    }
    pthread_mutex_lock(&r->lock);
    int rc = vfs_link(&r->inner, from, to);
    int why = errno;
    if (!rc && below)
        put_paths(r, VFS_RECORD_LINK, rel[0], rel[1]);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static int record_name(struct vfs_record *r, const char *path, uint16_t type)
{
    char rel[PATH_MAX];
    bool below = below_root(r, path, rel);
    pthread_mutex_lock(&r->lock);
    int rc = type == VFS_RECORD_MKDIR ? vfs_mkdir(&r->inner, path) : vfs_unlink(&r->inner, path);
    int why = errno;
    if (!rc && below)
        put_path(r, (struct vfs_record_head){.type = type}, rel);
    pthread_mutex_unlock(&r->lock);
    errno = why;
    return rc;
}

static int record_unlink(void *ctx, const char *path)
{
    return record_name(ctx, path, VFS_RECORD_UNLINK);
}

static int record_mkdir(void *ctx, const char *path)
{
    return record_name(ctx, path, VFS_RECORD_MKDIR);
}

static int record_list(void *ctx, const char *path, vfs_each each, void *arg)
{
    struct vfs_record *r = ctx;
    return vfs_list(&r->inner, path, each, arg);
}

static int record_stat(void *ctx, const char *path, struct vfs_stat *out)
{
    struct vfs_record *r = ctx;
    return vfs_stat(&r->inner, path, out);
}

static int record_fstat(void *ctx, int fd, struct vfs_stat *out)
{
    struct vfs_record *r = ctx;
    return vfs_fstat(&r->inner, fd, out);
}

/* A failed one leaves no trace: unlike data, names stay in the file system's journal. */
static int record_sync_dir(void *ctx, const char *path)
{
    struct vfs_record *r = ctx;
    char rel[PATH_MAX];
    bool below = below_root(r, path, rel);
    struct vfs_record_head head = {.type = VFS_RECORD_SYNCDIR, .a = vfs_record_count(r)};
    int rc = vfs_sync_dir(&r->inner, path);
    int why = errno;
    if (!rc && below) {
        pthread_mutex_lock(&r->lock);
        put_path(r, head, rel);
        pthread_mutex_unlock(&r->lock);
    }
    errno = why;
    return rc;
}

static void *record_map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    struct vfs_record *r = ctx;
    return vfs_map(&r->inner, fd, at, len, kind);
}

static int record_unmap(void *ctx, void *addr, size_t len)
{
    struct vfs_record *r = ctx;
    return vfs_unmap(&r->inner, addr, len);
}

static int record_lock(void *ctx, int fd)
{
    struct vfs_record *r = ctx;
    return vfs_lock(&r->inner, fd);
}

static const struct vfs_ops record_ops = {
    .open = record_open,
    .close = record_close,
    .read = record_read,
    .write = record_write,
    .fsync = record_fsync,
    .fdatasync = record_fdatasync,
    .truncate = record_truncate,
    .allocate = record_allocate,
    .rename = record_rename,
    .unlink = record_unlink,
    .link = record_link,
    .mkdir = record_mkdir,
    .list = record_list,
    .stat = record_stat,
    .fstat = record_fstat,
    .sync_dir = record_sync_dir,
    .map = record_map,
    .unmap = record_unmap,
    .lock = record_lock,
};

struct vfs vfs_record_vfs(struct vfs_record *r)
{
    return (struct vfs){&record_ops, r};
}

/* ---- beginning and end ----------------------------------------------------------------------- */

/* A file that is there at the start, as if it had just been written and synced. */
static enum vs_status put_file(struct vfs_record *r, const char *path, const char *rel,
                               struct vfs_error *err)
{
    struct vfs_file f = {0};
    enum vs_status s = vfs_file_open(&f, &r->inner, path, VFS_RDONLY, err);
    if (s)
        return s;
    uint32_t file = ++r->files;
    char *block = mem_alloc(COPY_BLOCK);
    put_path(r, (struct vfs_record_head){.type = VFS_RECORD_OPEN, .file = file,
                                         .b = VFS_RDWR | VFS_CREATE}, rel);
    for (uint64_t at = 0; s == VS_OK && at < f.end; at += COPY_BLOCK) {
        size_t n = f.end - at < COPY_BLOCK ? (size_t)(f.end - at) : COPY_BLOCK;
        s = vfs_file_read(&f, at, block, n, err);
        if (s == VS_OK)
            put(r, (struct vfs_record_head){.type = VFS_RECORD_WRITE, .file = file, .a = at},
                block, n);
    }
    put(r, (struct vfs_record_head){.type = VFS_RECORD_SYNC, .file = file, .a = r->events},
        NULL, 0);
    mem_free(block);
    vfs_file_close(&f);
    return s;
}

/* What lies in the directory `path`, `rel` below the root. */
static enum vs_status put_dir(struct vfs_record *r, const char *path, const char *rel,
                              unsigned depth, struct vfs_error *err)
{
    struct vfs_names names = {0};
    enum vs_status s = vfs_path_list(&r->inner, path, &names, err);
    for (size_t i = 0; s == VS_OK && i < names.count; i++) {
        struct buf below = {0}, below_rel = {0};
        struct vfs_stat st;
        buf_printf(&below, "%s/%s", path, names.name[i]);
        buf_append(&below, "", 1);
        buf_printf(&below_rel, "%s%s%s", rel, *rel ? "/" : "", names.name[i]);
        buf_append(&below_rel, "", 1);
        s = vfs_path_stat(&r->inner, below.data, &st, err);
        if (s == VS_OK && !st.is_dir) {
            s = put_file(r, below.data, below_rel.data, err);
        } else if (s == VS_OK && depth < DEPTH_MAX) {
            put_path(r, (struct vfs_record_head){.type = VFS_RECORD_MKDIR}, below_rel.data);
            s = put_dir(r, below.data, below_rel.data, depth + 1, err);
        }
        buf_release(&below);
        buf_release(&below_rel);
    }
    vfs_names_release(&names);
    if (s == VS_OK)
        put_path(r, (struct vfs_record_head){.type = VFS_RECORD_SYNCDIR, .a = r->events}, rel);
    return s;
}

enum vs_status vfs_record_new(const struct vfs *inner, const char *root, const char *log_path,
                              struct vfs_record **out, struct vfs_error *err)
{
    struct vfs_record *r = mem_zalloc(sizeof *r);
    enum vs_status s;
    r->inner = *inner;
    r->log_fd = -1;
    pthread_mutex_init(&r->lock, NULL);
    if (!absolute(root, r->root[0]) || !realpath(root, r->root[1])) {
        s = vfs_error_set(err, VFS_OP_STAT, root, VFS_NO_OFFSET);
        goto failed;
    }
    if (log_path) {
        r->log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (r->log_fd < 0) {
            s = vfs_error_set(err, VFS_OP_OPEN, log_path, VFS_NO_OFFSET);
            goto failed;
        }
    }
    struct iovec magic = {(void *)(uintptr_t)VFS_RECORD_MAGIC, strlen(VFS_RECORD_MAGIC)};
    log_put(r, &magic, 1);
    s = put_dir(r, root, "", 0, err);
    if (s)
        goto failed;
    put(r, (struct vfs_record_head){.type = VFS_RECORD_START}, NULL, 0);
    *out = r;
    return VS_OK;
failed:
    vfs_record_free(r);
    return s;
}

void vfs_record_free(struct vfs_record *r)
{
    if (!r)
        return;
    if (r->log_fd >= 0)
        close(r->log_fd);
    buf_release(&r->log);
    mem_free(r->file_of);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

void vfs_record_mark(struct vfs_record *r, uint64_t value)
{
    pthread_mutex_lock(&r->lock);
    put(r, (struct vfs_record_head){.type = VFS_RECORD_MARK, .a = value}, NULL, 0);
    pthread_mutex_unlock(&r->lock);
}

uint64_t vfs_record_count(struct vfs_record *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t n = r->events;
    pthread_mutex_unlock(&r->lock);
    return n;
}

const void *vfs_record_log(struct vfs_record *r, size_t *len)
{
    if (r->log_fd >= 0)
        return NULL;
    *len = r->log.len;
    return r->log.data;
}
