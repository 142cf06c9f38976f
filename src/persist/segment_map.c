/* Segment files: mapped, and checked block by block as they are needed.
 *
 *     state of a block   UNCHECKED --CAS--> CHECKING --> GOOD or BAD
 *
 * Who wants a block that another checks waits for it: were it to check as well, the other's caller
 * might have begun to write to the (private) pages meanwhile, and the sum would be wrong. A block is
 * summed in some 20 microseconds, so waiting means giving up the processor once or twice.
 *
 * The table of sums is a copy on the heap: it stays right whatever happens to the file. A page that
 * cannot be read is SIGBUS, which becomes zeros and region->bad (region_fault.h); the block under
 * check is then bad, too, and so is the file. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/region_fault.h"
#include "persist/segment_int.h"

enum block_state { UNCHECKED, CHECKING, GOOD, BAD };

#define NOWHERE UINT64_MAX

struct segment_set {
    pthread_mutex_t lock;
    unsigned refs;
    struct segment *first;
};

struct segment {
    struct region region;            /* first */
    struct vfs vfs;
    struct segment_layout layout;
    struct segment_set *set;
    struct segment *next, *prev;     /* under set->lock */
    char *path;
    uint64_t *table;
    _Atomic uint64_t checked;        /* bytes */
    _Atomic uint64_t bad_at;         /* offset of the bad block found first, or NOWHERE */
    _Atomic uint8_t state[];
};

/* ---- the set ---- */

struct segment_set *segment_set_new(void)
{
    struct segment_set *set = mem_zalloc(sizeof(*set));
    pthread_mutex_init(&set->lock, NULL);
    set->refs = 1;
    return set;
}

void segment_set_unref(struct segment_set *set)
{
    if (!set)
        return;
    pthread_mutex_lock(&set->lock);
    bool last = --set->refs == 0;
    pthread_mutex_unlock(&set->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&set->lock);
    mem_free(set);
}

static void set_add(struct segment_set *set, struct segment *s)
{
    pthread_mutex_lock(&set->lock);
    set->refs++;
    s->set = set;
    s->next = set->first;
    if (s->next)
        s->next->prev = s;
    set->first = s;
    pthread_mutex_unlock(&set->lock);
}

static void set_remove(struct segment *s)
{
    pthread_mutex_lock(&s->set->lock);
    if (s->prev)
        s->prev->next = s->next;
    else
        s->set->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    pthread_mutex_unlock(&s->set->lock);
    segment_set_unref(s->set);
}

void segment_set_count(struct segment_set *set, struct segment_set_bytes *out)
{
    *out = (struct segment_set_bytes){0};
    pthread_mutex_lock(&set->lock);
    for (struct segment *s = set->first; s; s = s->next) {
        out->files++;
        out->mapped += s->layout.end;
        out->checked += atomic_load_explicit(&s->checked, memory_order_relaxed);
        out->bad += atomic_load_explicit(&s->region.bad, memory_order_relaxed);
    }
    pthread_mutex_unlock(&set->lock);
}

/* ---- checking ---- */

static void found_bad(struct segment *s, uint64_t at)
{
    uint64_t none = NOWHERE;
    if (atomic_compare_exchange_strong_explicit(&s->bad_at, &none, at, memory_order_relaxed,
                                                memory_order_relaxed))
        log_warning("%s, offset %" PRIu64 ": a block's checksum is wrong", s->path, at);
    atomic_store_explicit(&s->region.bad, true, memory_order_release);
}

void segment_set_spoil(struct segment_set *set, const char *path, uint64_t at)
{
    bool any = false;
    pthread_mutex_lock(&set->lock);
    for (struct segment *s = set->first; s; s = s->next) {
        uint64_t none = NOWHERE;
        if (strcmp(s->path, path) != 0)
            continue;
        atomic_compare_exchange_strong_explicit(&s->bad_at, &none, at, memory_order_relaxed,
                                                memory_order_relaxed);
        atomic_store_explicit(&s->region.bad, true, memory_order_release);
        any = true;
    }
    pthread_mutex_unlock(&set->lock);
    if (any) /* whoever uses them looks again */
        atomic_fetch_add_explicit(&region_faults, 1, memory_order_release);
}

static bool check_block(struct segment *s, uint64_t i)
{
    const struct segment_layout *l = &s->layout;
    uint8_t now = atomic_load_explicit(&s->state[i], memory_order_acquire);
    while (now == CHECKING || now == UNCHECKED) {
        if (now == UNCHECKED &&
            atomic_compare_exchange_strong_explicit(&s->state[i], &now, CHECKING,
                                                    memory_order_acquire, memory_order_acquire)) {
            size_t n = (size_t)segment_block_bytes(l, i);
            uint64_t sum = hash_bytes(s->region.base + i * l->block, n, l->file_id ^ i);
            now = sum == s->table[i] ? GOOD : BAD;
            if (now == BAD)
                found_bad(s, i * l->block);
            atomic_fetch_add_explicit(&s->checked, n, memory_order_relaxed);
            atomic_store_explicit(&s->state[i], now, memory_order_release);
        } else if (now == CHECKING) {
            sched_yield();
            now = atomic_load_explicit(&s->state[i], memory_order_acquire);
        }
    }
    return now == GOOD;
}

static bool check(struct region *r, size_t at, size_t len)
{
    struct segment *s = (struct segment *)r;
    bool good = !region_is_bad(r);
    if (at > s->layout.end || len > s->layout.end - at)
        return false;
    for (uint64_t i = at / s->layout.block; len && good && i * s->layout.block < at + len; i++)
        good = check_block(s, i);
    return good && !region_is_bad(r); /* a page that could not be read may lie in it */
}

static void describe(struct region *r, struct buf *out)
{
    struct segment *s = (struct segment *)r;
    uint64_t at = atomic_load_explicit(&s->bad_at, memory_order_relaxed);
    if (at == NOWHERE && !atomic_load_explicit(&r->bad, memory_order_relaxed))
        buf_puts(out, s->path);
    else if (at == NOWHERE)
        buf_printf(out, "%s: a page could not be read (was the file cut short?)", s->path);
    else
        buf_printf(out, "%s, offset %" PRIu64 ": a block's checksum is wrong", s->path, at);
}

/* ---- life ---- */

static void release(struct region *r)
{
    struct segment *s = (struct segment *)r;
    region_fault_remove(r->base);
    vfs_unmap(&s->vfs, r->base, r->size);
    set_remove(s);
    mem_free(s->path);
    mem_free(s->table);
    mem_free(s);
}

static enum vs_status out_of_memory(const char *path, struct buf *why)
{
    buf_printf(why, "%s: out of memory", path);
    return VS_NOMEM;
}

/* Blocks that were compared with their sums on the way into memory. */
static void note_sums(struct segment *s, const struct vfs_file *f)
{
    const struct segment_layout *l = &s->layout;
    for (uint64_t i = 0; f->vfs->ops->came_with && i < l->blocks; i++) {
        size_t n = (size_t)segment_block_bytes(l, i);
        if (!vfs_came_with(f->vfs, f->fd, i * l->block, n, l->file_id ^ i, s->table[i]))
            continue;
        atomic_store_explicit(&s->state[i], GOOD, memory_order_relaxed); /* nobody else has it yet */
        atomic_fetch_add_explicit(&s->checked, n, memory_order_relaxed);
    }
}

static enum vs_status map_file(const struct vfs_file *f, struct segment_layout *l,
                               uint64_t *table, struct segment **out, struct buf *why)
{
    struct vfs_error err;
    void *base;
    struct segment *s = mem_try_zalloc(sizeof(*s) + (size_t)l->blocks);
    if (!s)
        return out_of_memory(f->path, why);
    enum vs_status status = vfs_file_map(f, 0, (size_t)l->end, VFS_MAP_COPY, &base, &err);
    if (status != VS_OK) {
        buf_puts(why, err.text);
        mem_free(s);
        return status;
    }
    if (!region_fault_add(base, (size_t)l->end, &s->region.bad)) {
        vfs_unmap(f->vfs, base, (size_t)l->end);
        mem_free(s);
        return out_of_memory(f->path, why);
    }
    s->region.base = base;
    s->region.size = (size_t)l->end;
    s->region.memory = f->vfs->ops->memory;
    s->region.check = check;
    s->region.describe = describe;
    s->region.release = release;
    atomic_init(&s->region.refs, 1);
    atomic_init(&s->bad_at, NOWHERE);
    s->vfs = *f->vfs;
    s->layout = *l;
    s->path = mem_strndup(f->path, strlen(f->path));
    s->table = table;
    note_sums(s, f);
    *out = s;
    return VS_OK;
}

enum vs_status segment_map(const struct vfs *v, const char *path, const struct segment_sums *expect,
                           struct segment_set *set, struct region **out, struct buf *why)
{
    struct vfs_file f;
    struct vfs_error err;
    struct segment_layout l;
    struct segment *s;
    uint64_t *table;
    enum vs_status status = vfs_file_open(&f, v, path, VFS_RDONLY, &err);
    if (status != VS_OK) {
        buf_puts(why, err.text);
        return status;
    }
    status = segment_read_layout(&f, expect, &l, &table, why);
    if (status == VS_OK) {
        status = map_file(&f, &l, table, &s, why);
        if (status != VS_OK)
            mem_free(table);
    }
    vfs_file_close(&f);
    if (status != VS_OK)
        return status;
    set_add(set, s);
    *out = &s->region;
    return VS_OK;
}

uint64_t segment_end(const struct region *r)
{
    return ((const struct segment *)r)->layout.end;
}

uint32_t segment_block(const struct region *r)
{
    return ((const struct segment *)r)->layout.block;
}
