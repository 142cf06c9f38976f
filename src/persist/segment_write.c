/* Segment files: writing, and checking a whole one by reading it. The format is in segment.h.
 *
 * Bytes gather in a block; a full one is summed and written at once. Every SYNC_EVERY bytes the file
 * is synced, so that the system never holds more of it than that: the sync at the end would else
 * stall every other writer of the disk. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/le.h"
#include "persist/segment.h"
#include "persist/segment_int.h"
#include "persist/vfs_path.h"

#define SYNC_EVERY (32u << 20)

struct segment_writer {
    struct vfs_file file;
    uint64_t file_id;
    uint32_t block;
    uint8_t *data;                 /* the block being filled */
    size_t fill;
    uint64_t at;                   /* of the file, block included */
    uint64_t synced;
    uint64_t *sums;
    size_t nsums, sums_cap;
    enum vs_status status;         /* of the first failure */
    struct vfs_error err;
};

static void fail(struct segment_writer *w, enum vs_status status)
{
    if (w->status == VS_OK)
        w->status = status;
}

static void out_of_memory(struct segment_writer *w)
{
    if (w->status == VS_OK)
        snprintf(w->err.text, sizeof(w->err.text), "%s: out of memory", w->file.path);
    fail(w, VS_NOMEM);
}

static bool write_block(struct segment_writer *w)
{
    if (!mem_try_grow(&w->sums, &w->sums_cap, w->nsums + 1, sizeof(*w->sums))) {
        out_of_memory(w);
        return false;
    }
    uint64_t seed = w->file_id ^ w->nsums, sum = hash_bytes(w->data, w->fill, seed);
    w->sums[w->nsums++] = sum;
    enum vs_status status = vfs_file_append_summed(&w->file, w->data, w->fill, seed, sum, &w->err);
    if (status == VS_OK && w->at - w->synced >= SYNC_EVERY) {
        status = vfs_file_sync(&w->file, true, &w->err);
        w->synced = w->at;
    }
    w->fill = 0;
    if (status != VS_OK)
        fail(w, status);
    return status == VS_OK;
}

/* `data` NULL: zeros. */
static bool put(struct segment_writer *w, const void *data, uint64_t len)
{
    if (w->status != VS_OK)
        return false;
    const uint8_t *from = data;
    while (len) {
        size_t n = w->block - w->fill < len ? w->block - w->fill : (size_t)len;
        if (from) {
            memcpy(w->data + w->fill, from, n);
            from += n;
        } else {
            memset(w->data + w->fill, 0, n);
        }
        w->fill += n;
        w->at += n;
        len -= n;
        if (w->fill == w->block && !write_block(w))
            return false;
    }
    return true;
}

bool segment_put(struct segment_writer *w, const void *data, size_t len)
{
    return !len || put(w, data, len);
}

bool segment_pad(struct segment_writer *w, size_t align)
{
    return put(w, NULL, (align - w->at % align) % align);
}

uint64_t segment_begin(struct segment_writer *w)
{
    segment_pad(w, SEGMENT_ALIGN);
    return w->at;
}

uint64_t segment_at(const struct segment_writer *w)
{
    return w->at;
}

static void put_header(struct segment_writer *w, uint64_t snapshot_id, uint64_t cut)
{
    uint8_t h[SEGMENT_HEADER] = {0};
    memcpy(h, SEGMENT_MAGIC, 8);
    le32_put(h + 8, SEGMENT_VERSION);
    le32_put(h + 12, w->block);
    le64_put(h + 16, w->file_id);
    le64_put(h + 24, snapshot_id);
    le64_put(h + 32, cut);
    le64_put(h + 40, hash_bytes(h, 40, 0));
    segment_put(w, h, sizeof(h));
    segment_pad(w, SEGMENT_ALIGN);
}

enum vs_status segment_create(const struct vfs *v, const char *path, uint64_t snapshot_id,
                              uint64_t cut, uint64_t expect, struct segment_writer **out,
                              struct vfs_error *err)
{
    struct segment_writer *w = mem_zalloc(sizeof(*w));
    w->block = expect < (1u << 20) ? SEGMENT_BLOCK_SMALL : SEGMENT_BLOCK;
    rng_system(&w->file_id, sizeof(w->file_id));
    enum vs_status status =
        vfs_file_open(&w->file, v, path, VFS_RDWR | VFS_CREATE | VFS_EXCL, err);
    if (status != VS_OK) {
        if (status != VS_EXISTS)
            vfs_path_unlink(v, path, NULL); /* it may have been made and then not been looked at */
        mem_free(w);
        return status;
    }
    w->data = mem_try_alloc(w->block);
    if (!w->data) {
        out_of_memory(w);
        if (err)
            *err = w->err;
        segment_abort(w);
        return VS_NOMEM;
    }
    put_header(w, snapshot_id, cut);
    *out = w;
    return VS_OK;
}

static void free_writer(struct segment_writer *w)
{
    vfs_file_close(&w->file);
    mem_free(w->data);
    mem_free(w->sums);
    mem_free(w);
}

void segment_abort(struct segment_writer *w)
{
    if (!w)
        return;
    vfs_path_unlink(w->file.vfs, w->file.path, NULL);
    free_writer(w);
}

enum vs_status segment_status(const struct segment_writer *w, struct vfs_error *err)
{
    if (w->status != VS_OK)
        *err = w->err;
    return w->status;
}

static enum vs_status put_end(struct segment_writer *w, struct segment_sums *sums)
{
    uint64_t end = w->at, table = w->nsums * sizeof(uint64_t);
    uint8_t f[SEGMENT_FOOTER] = {0};
    for (size_t i = 0; i < w->nsums; i++)
        le64_put(&w->sums[i], w->sums[i]);
    memcpy(f, SEGMENT_END_MAGIC, 8);
    le32_put(f + 8, SEGMENT_VERSION);
    le32_put(f + 12, w->block);
    le64_put(f + 16, end);
    le64_put(f + 24, w->nsums);
    le64_put(f + 32, w->file_id);
    le64_put(f + 40, hash_bytes(w->sums, table, w->file_id));
    le64_put(f + 56, hash_bytes(f, 56, w->file_id));
    enum vs_status status = vfs_file_append(&w->file, w->sums, table, &w->err);
    if (status == VS_OK)
        status = vfs_file_append(&w->file, f, sizeof(f), &w->err);
    if (status == VS_OK)
        status = vfs_file_sync(&w->file, false, &w->err);
    *sums = (struct segment_sums){end + table + sizeof(f), le64(f + 56)};
    return status;
}

enum vs_status segment_finish(struct segment_writer *w, struct segment_sums *sums,
                              struct vfs_error *err)
{
    struct segment_sums made;
    if (w->status == VS_OK && w->fill)
        write_block(w);
    if (w->status == VS_OK)
        fail(w, put_end(w, &made));
    enum vs_status status = w->status;
    if (status != VS_OK) {
        if (err)
            *err = w->err;
        segment_abort(w);
        return status;
    }
    free_writer(w);
    *sums = made;
    return VS_OK;
}
