#include "persist/memory_files.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/pages.h"

#define PLAIN_BYTES ((size_t)4 << 20)   /* in plain pages: a small file does not take a huge one */
#define HUGE_BYTES ((size_t)2 << 20)
#define FIRST_BYTES ((size_t)256 << 20) /* of address space, not of memory */

struct sum {
    uint64_t at, len, seed, sum;
};

struct memory_file {
    char *path;
    int fd;
    uint8_t *base;         /* NULL: none yet, or given away */
    size_t size, cap;
    bool given;            /* it is mapped: the memory is the mapping's */
    struct sum *sum;       /* in order of `at` */
    size_t sums, sums_cap;
};

struct memory_files {
    struct memory_file **file;
    size_t n, cap;
    int last_fd;
    struct memory_file *filling;
};

static struct memory_file *find(const struct memory_files *m, const char *path)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->file[i]->path, path))
            return m->file[i];
    return NULL;
}

static struct memory_file *of(const struct memory_files *m, int fd)
{
    for (size_t i = m->n; i-- > 0;)
        if (m->file[i]->fd == fd)
            return m->file[i];
    errno = EBADF;
    return NULL;
}

/* ---- memory of a file ---- */

static void drop_memory(struct memory_file *f)
{
    if (f->base)
        munmap(f->base, f->cap);
    f->base = NULL;
    f->size = f->cap = f->sums = 0;
}

/* Aligned for huge pages; NULL: none. */
static uint8_t *reserve(size_t bytes)
{
    uint8_t *at = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    size_t skip = (HUGE_BYTES - (uintptr_t)at % HUGE_BYTES) % HUGE_BYTES;
    if (skip)
        munmap(at, skip);
    munmap(at + skip + bytes, HUGE_BYTES - skip);
    if (bytes > PLAIN_BYTES)
        madvise(at + skip + PLAIN_BYTES, bytes - PLAIN_BYTES, MADV_HUGEPAGE);
    return at + skip;
}

/* Pages move without being copied. */
static bool grow(struct memory_file *f, size_t need)
{
    size_t cap = f->cap ? f->cap : FIRST_BYTES;
    while (cap < need && cap <= SIZE_MAX / 4)
        cap *= 2;
    uint8_t *to = cap >= need ? reserve(cap) : NULL;
    if (to && f->base && mremap(f->base, f->cap, f->cap, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
        munmap(to, cap);
        to = NULL;
    }
    if (!to) {
        errno = ENOMEM;
        return false;
    }
    f->base = to;
    f->cap = cap;
    return true;
}

static bool make_room(struct memory_file *f, uint64_t end)
{
    if (f->given) {
        errno = EBUSY;
        return false;
    }
    if (end > SIZE_MAX / 4) {
        errno = EFBIG;
        return false;
    }
    return end <= f->cap || grow(f, (size_t)end);
}

uint8_t *memory_files_room(struct memory_files *m, int fd, size_t len)
{
    struct memory_file *f = m->filling && m->filling->fd == fd ? m->filling : of(m, fd);
    m->filling = f;
    return f && make_room(f, f->size + (uint64_t)len) ? f->base + f->size : NULL;
}

bool memory_files_filled(struct memory_files *m, int fd, size_t len, uint64_t seed, uint64_t sum)
{
    struct memory_file *f = m->filling && m->filling->fd == fd ? m->filling : of(m, fd);
    if (!f || !mem_try_grow(&f->sum, &f->sums_cap, f->sums + 1, sizeof(*f->sum)))
        return false;
    f->sum[f->sums++] = (struct sum){f->size, len, seed, sum};
    f->size += len;
    return true;
}

static bool came_with(void *ctx, int fd, uint64_t at, size_t len, uint64_t seed, uint64_t sum)
{
    struct memory_file *f = of(ctx, fd);
    size_t lo = 0, hi = f ? f->sums : 0;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (f->sum[mid].at < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct sum *s = f && lo < f->sums ? &f->sum[lo] : NULL;
    return s && s->at == at && s->len == len && s->seed == seed && s->sum == sum;
}

/* ---- names ---- */

static void forget(struct memory_files *m, struct memory_file *f)
{
    size_t i = 0;
    while (m->file[i] != f)
        i++;
    m->file[i] = m->file[--m->n];
    if (m->filling == f)
        m->filling = NULL;
    drop_memory(f);
    mem_free(f->sum);
    mem_free(f->path);
    mem_free(f);
}

static struct memory_file *make(struct memory_files *m, const char *path)
{
    struct memory_file *f = NULL;
    char *copy = NULL;
    if (mem_try_grow(&m->file, &m->cap, m->n + 1, sizeof(struct memory_file *)))
        copy = mem_try_strndup(path, strlen(path));
    if (copy)
        f = mem_try_zalloc(sizeof(*f));
    if (!f) {
        mem_free(copy);
        errno = ENOMEM;
        return NULL;
    }
    f->path = copy;
    f->fd = ++m->last_fd;
    return m->file[m->n++] = f;
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
    if (f && (flags & VFS_TRUNC))
        drop_memory(f);
    return f ? f->fd : -1;
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
        if (!strncmp(m->file[i]->path, path, len) && m->file[i]->path[len] == '/')
            each(arg, m->file[i]->path + len + 1);
    return 0;
}

static int tell(const struct memory_file *f, struct vfs_stat *out)
{
    if (f)
        *out = (struct vfs_stat){.size = f->size, .allocated = f->size, .inode = (uint64_t)f->fd};
    return f ? 0 : -1;
}

static int stat_path(void *ctx, const char *path, struct vfs_stat *out)
{
    errno = ENOENT;
    return tell(find(ctx, path), out);
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
        forget(m, m->file[m->n - 1]);
    mem_free(m->file);
    mem_free(m);
}

uint64_t memory_files_bytes(const struct memory_files *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n; i++)
        sum += m->file[i]->size;
    return sum;
}

/* ---- bytes ---- */

static int close_file(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return 0;
}

static ssize_t read_file(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    struct memory_file *f = of(ctx, fd);
    if (!f || f->given) {
        errno = f ? EBUSY : errno;
        return -1;
    }
    if (at >= f->size)
        return 0;
    if (len > f->size - at)
        len = f->size - (size_t)at;
    memcpy(data, f->base + at, len);
    return (ssize_t)len;
}

/* Behind its end it grows by zeros; over what has a sum nothing is written. */
static ssize_t write_file(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    struct memory_file *f = of(ctx, fd);
    if (f && at < f->size && f->sums) {
        errno = EINVAL;
        return -1;
    }
    if (!f || at > SIZE_MAX / 4 || !make_room(f, at + len))
        return -1;
    memcpy(f->base + at, data, len);
    if (at + len > f->size)
        f->size = (size_t)at + len;
    return (ssize_t)len;
}

static int truncate_file(void *ctx, int fd, uint64_t size)
{
    struct memory_file *f = of(ctx, fd);
    if (f && size == 0 && !f->given) {
        drop_memory(f);
        return 0;
    }
    errno = f ? EINVAL : errno;
    return -1;
}

static int allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    (void)ctx, (void)fd, (void)at, (void)len, (void)keep_size;
    errno = EOPNOTSUPP;
    return -1;
}

static int stat_file(void *ctx, int fd, struct vfs_stat *out)
{
    return tell(of(ctx, fd), out);
}

/* The memory itself, whatever is to be done with it: nobody else has it. */
static void *map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    struct memory_file *f = of(ctx, fd);
    (void)kind;
    if (!f || at || !len || len > f->size || f->given) {
        errno = f && f->given ? EBUSY : f ? EINVAL : errno;
        return NULL;
    }
    size_t end = (len + 4095) & ~(size_t)4095;
    void *base = f->base;
    munmap(f->base + end, f->cap - end);
    f->base = NULL;
    f->cap = 0;
    f->given = true;
    pages_note((long long)end);
    return base;
}

static int unmap(void *ctx, void *addr, size_t len)
{
    (void)ctx; /* it may be gone */
    len = (len + 4095) & ~(size_t)4095;
    pages_note(-(long long)len);
    return munmap(addr, len);
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
    .came_with = came_with,
    .memory = true,
};

struct vfs memory_files_vfs(struct memory_files *m)
{
    return (struct vfs){&ops, m};
}
