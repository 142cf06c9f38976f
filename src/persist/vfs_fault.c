#include "persist/vfs_fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

struct rule {
    bool set;
    bool sticky;
    enum vfs_fault_kind kind;
    uint64_t left;  /* calls until it strikes; 0: it has */
};

struct vfs_fault {
    struct vfs inner;
    pthread_mutex_t lock;            /* for all below */
    struct rule rules[VFS_OPS + 1];  /* the last: for any operation */
    uint64_t calls[VFS_OPS + 1];
    uint64_t hits;
};

/* What becomes of a call. */
enum outcome {
    DO,
    FAIL,   /* errno is set */
    SHORT,  /* half of it */
    TEAR,   /* half of it, then EIO */
    FORGET
};

static const char *const kind_names[VFS_FAULT_KINDS] = {
    [VFS_FAULT_EIO] = "eio",     [VFS_FAULT_ENOSPC] = "enospc", [VFS_FAULT_EINTR] = "eintr",
    [VFS_FAULT_SHORT] = "short", [VFS_FAULT_TORN] = "torn",     [VFS_FAULT_FORGET] = "forget",
    [VFS_FAULT_SLOW] = "slow",
};

struct vfs_fault *vfs_fault_new(const struct vfs *inner)
{
    struct vfs_fault *f = mem_zalloc(sizeof *f);
    f->inner = *inner;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void vfs_fault_free(struct vfs_fault *f)
{
    if (!f)
        return;
    pthread_mutex_destroy(&f->lock);
    mem_free(f);
}

void vfs_fault_set(struct vfs_fault *f, enum vfs_op op, uint64_t nth, enum vfs_fault_kind kind,
                   bool sticky)
{
    pthread_mutex_lock(&f->lock);
    f->rules[op] = (struct rule){nth > 0, sticky, kind, nth};
    pthread_mutex_unlock(&f->lock);
}

void vfs_fault_clear(struct vfs_fault *f)
{
    pthread_mutex_lock(&f->lock);
    memset(f->rules, 0, sizeof f->rules);
    pthread_mutex_unlock(&f->lock);
}

uint64_t vfs_fault_calls(struct vfs_fault *f, enum vfs_op op)
{
    pthread_mutex_lock(&f->lock);
    uint64_t n = f->calls[op];
    pthread_mutex_unlock(&f->lock);
    return n;
}

uint64_t vfs_fault_hits(struct vfs_fault *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t n = f->hits;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* Where this part of a rule ends. */
static const char *part_end(const char *text)
{
    return text + strcspn(text, ":,");
}

/* One rule. Where the text goes on, or NULL when it makes no sense. */
static const char *parse_rule(const char *text, enum vfs_op *op, struct rule *out)
{
    const char *end = part_end(text);
    bool any = end - text == 3 && !memcmp(text, "any", 3);
    *op = any ? VFS_FAULT_ANY : vfs_op_find(text, (size_t)(end - text));
    if ((*op == VFS_OPS && !any) || *end != ':')
        return NULL;
    text = end + 1;
    end = part_end(text);
    char *digits_end;
    errno = 0;
    uint64_t nth = strtoull(text, &digits_end, 10);
    if (*text < '0' || *text > '9' || digits_end != end || errno || !nth || *end != ':')
        return NULL;
    text = end + 1;
    end = part_end(text);
    unsigned kind = 0;
    while (kind < VFS_FAULT_KINDS && (strlen(kind_names[kind]) != (size_t)(end - text) ||
                                      memcmp(kind_names[kind], text, (size_t)(end - text)) != 0))
        kind++;
    if (kind == VFS_FAULT_KINDS)
        return NULL;
    bool sticky = *end == ':';
    if (sticky) {
        text = end + 1;
        end = part_end(text);
        if (end - text != 6 || memcmp(text, "sticky", 6) != 0 || *end == ':')
            return NULL;
    }
    *out = (struct rule){true, sticky, (enum vfs_fault_kind)kind, nth};
    return *end == ',' ? end + 1 : end;
}

bool vfs_fault_parse(struct vfs_fault *f, const char *text, char *why, size_t why_len)
{
    struct rule rules[VFS_OPS + 1] = {0};
    bool off = !strcmp(text, "off");
    const char *at = text;
    while (!off) {
        enum vfs_op op;
        struct rule rule;
        const char *next = parse_rule(at, &op, &rule);
        if (!next) {
            snprintf(why, why_len, "'%.80s' is not op:nth:kind[:sticky]", at);
            return false;
        }
        rules[op] = rule;
        at = next;
        if (!*at && at[-1] != ',')
            break;
    }
    if (off)
        vfs_fault_clear(f);
    for (unsigned op = 0; op <= VFS_OPS; op++)
        if (rules[op].set)
            vfs_fault_set(f, (enum vfs_op)op, rules[op].left, rules[op].kind, rules[op].sticky);
    return true;
}

/* Counts one call; does the rule strike it? */
static bool strikes(struct rule *rule)
{
    if (!rule->set)
        return false;
    if (rule->left && --rule->left)
        return false;
    rule->set = rule->sticky;
    return true;
}

static bool can_forget(enum vfs_op op)
{
    switch (op) {
    case VFS_OP_WRITE:
    case VFS_OP_FSYNC:
    case VFS_OP_FDATASYNC:
    case VFS_OP_TRUNCATE:
    case VFS_OP_ALLOCATE:
    case VFS_OP_RENAME:
    case VFS_OP_UNLINK:
    case VFS_OP_LINK:
    case VFS_OP_MKDIR:
    case VFS_OP_SYNCDIR: return true;
    default: return false;
    }
}

static enum outcome outcome_of(enum vfs_op op, enum vfs_fault_kind kind, size_t len)
{
    bool data = op == VFS_OP_READ || op == VFS_OP_WRITE;
    errno = EIO;
    switch (kind) {
    case VFS_FAULT_ENOSPC: errno = ENOSPC; return FAIL;
    case VFS_FAULT_EINTR: errno = EINTR; return FAIL;
    case VFS_FAULT_SHORT: return data && len > 1 ? SHORT : DO;
    case VFS_FAULT_TORN: return op == VFS_OP_WRITE ? TEAR : FAIL;
    case VFS_FAULT_FORGET: return can_forget(op) ? FORGET : FAIL;
    case VFS_FAULT_SLOW: return DO;
    default: return FAIL;
    }
}

/* Counts a call of `len` bytes and says what becomes of it. */
static enum outcome judge_len(struct vfs_fault *f, enum vfs_op op, size_t len)
{
    enum outcome outcome = DO;
    pthread_mutex_lock(&f->lock);
    f->calls[op]++;
    f->calls[VFS_FAULT_ANY]++;
    bool own = strikes(&f->rules[op]);
    bool any = strikes(&f->rules[VFS_FAULT_ANY]);
    enum vfs_fault_kind kind = f->rules[own ? op : VFS_FAULT_ANY].kind;
    bool slow = (own || any) && kind == VFS_FAULT_SLOW;
    if (own || any) {
        outcome = outcome_of(op, kind, len);
        f->hits += outcome != DO || slow;
    }
    pthread_mutex_unlock(&f->lock);
    if (slow) {
        struct timespec rest = {VFS_FAULT_SLOW_MS / 1000, VFS_FAULT_SLOW_MS % 1000 * 1000000L};
        while (nanosleep(&rest, &rest) && errno == EINTR)
            ;
    }
    return outcome;
}

static enum outcome judge(struct vfs_fault *f, enum vfs_op op)
{
    return judge_len(f, op, 0);
}

static int fault_open(void *ctx, const char *path, unsigned flags)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_OPEN) == DO ? vfs_open(&f->inner, path, flags) : -1;
}

static int fault_close(void *ctx, int fd)
{
    struct vfs_fault *f = ctx;
    enum outcome outcome = judge(f, VFS_OP_CLOSE);
    int why = errno;
    int rc = vfs_close(&f->inner, fd);
    if (outcome == DO)
        return rc;
    errno = why;
    return -1;
}

static ssize_t fault_read(void *ctx, int fd, void *data, size_t len, uint64_t at)
{
    struct vfs_fault *f = ctx;
    switch (judge_len(f, VFS_OP_READ, len)) {
    case DO: return vfs_read(&f->inner, fd, data, len, at);
    case SHORT: return vfs_read(&f->inner, fd, data, len / 2, at);
    default: return -1;
    }
}

static ssize_t fault_write(void *ctx, int fd, const void *data, size_t len, uint64_t at)
{
    struct vfs_fault *f = ctx;
    switch (judge_len(f, VFS_OP_WRITE, len)) {
    case DO: return vfs_write(&f->inner, fd, data, len, at);
    case SHORT: return vfs_write(&f->inner, fd, data, len / 2, at);
    case FORGET: return (ssize_t)len;
    case TEAR:
        if (vfs_write(&f->inner, fd, data, len / 2, at) >= 0)
            errno = EIO;
        return -1;
    default: return -1;
    }
}

/* For a call without data: is it to be done? When not, *rc is its result. */
static bool may(struct vfs_fault *f, enum vfs_op op, int *rc)
{
    enum outcome outcome = judge(f, op);
    *rc = outcome == FORGET ? 0 : -1;
    return outcome == DO;
}

static int fault_fsync(void *ctx, int fd)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_FSYNC, &rc) ? vfs_fsync(&f->inner, fd) : rc;
}

static int fault_fdatasync(void *ctx, int fd)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_FDATASYNC, &rc) ? vfs_fdatasync(&f->inner, fd) : rc;
}

static int fault_truncate(void *ctx, int fd, uint64_t size)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_TRUNCATE, &rc) ? vfs_truncate(&f->inner, fd, size) : rc;
}

static int fault_allocate(void *ctx, int fd, uint64_t at, uint64_t len, bool keep_size)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_ALLOCATE, &rc) ? vfs_allocate(&f->inner, fd, at, len, keep_size) : rc;
}

static int fault_rename(void *ctx, const char *from, const char *to)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_RENAME, &rc) ? vfs_rename(&f->inner, from, to) : rc;
}

static int fault_unlink(void *ctx, const char *path)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_UNLINK, &rc) ? vfs_unlink(&f->inner, path) : rc;
}

static int fault_link(void *ctx, const char *from, const char *to)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_LINK, &rc) ? vfs_link(&f->inner, from, to) : rc;
}

static int fault_mkdir(void *ctx, const char *path)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_MKDIR, &rc) ? vfs_mkdir(&f->inner, path) : rc;
}

static int fault_list(void *ctx, const char *path, vfs_each each, void *arg)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_LIST) == DO ? vfs_list(&f->inner, path, each, arg) : -1;
}

static int fault_stat(void *ctx, const char *path, struct vfs_stat *out)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_STAT) == DO ? vfs_stat(&f->inner, path, out) : -1;
}

static int fault_fstat(void *ctx, int fd, struct vfs_stat *out)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_STAT) == DO ? vfs_fstat(&f->inner, fd, out) : -1;
}

static int fault_sync_dir(void *ctx, const char *path)
{
    struct vfs_fault *f = ctx;
    int rc;
    return may(f, VFS_OP_SYNCDIR, &rc) ? vfs_sync_dir(&f->inner, path) : rc;
}

static void *fault_map(void *ctx, int fd, uint64_t at, size_t len, enum vfs_map_kind kind)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_MAP) == DO ? vfs_map(&f->inner, fd, at, len, kind) : NULL;
}

static int fault_unmap(void *ctx, void *addr, size_t len)
{
    struct vfs_fault *f = ctx;
    return vfs_unmap(&f->inner, addr, len);
}

static int fault_lock(void *ctx, int fd)
{
    struct vfs_fault *f = ctx;
    return judge(f, VFS_OP_LOCK) == DO ? vfs_lock(&f->inner, fd) : -1;
}

static const struct vfs_ops fault_ops = {
    .open = fault_open,
    .close = fault_close,
    .read = fault_read,
    .write = fault_write,
    .fsync = fault_fsync,
    .fdatasync = fault_fdatasync,
    .truncate = fault_truncate,
    .allocate = fault_allocate,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .link = fault_link,
    .mkdir = fault_mkdir,
    .list = fault_list,
    .stat = fault_stat,
    .fstat = fault_fstat,
    .sync_dir = fault_sync_dir,
    .map = fault_map,
    .unmap = fault_unmap,
    .lock = fault_lock,
};

struct vfs vfs_fault_vfs(struct vfs_fault *f)
{
    return (struct vfs){&fault_ops, f};
}
