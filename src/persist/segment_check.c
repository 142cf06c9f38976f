/* Segment files: header, footer and table, and a whole file checked by reading it. */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "persist/le.h"
#include "persist/segment_int.h"

static enum vs_status bad(const struct vfs_file *f, uint64_t at, const char *reason,
                          struct buf *why)
{
    buf_printf(why, "%s, offset %" PRIu64 ": %s", f->path, at, reason);
    return VS_CORRUPT;
}

static enum vs_status take(const struct vfs_file *f, uint64_t at, void *data, size_t len,
                           struct buf *why)
{
    struct vfs_error err;
    enum vs_status status = vfs_file_read(f, at, data, len, &err);
    if (status != VS_OK)
        buf_puts(why, err.text);
    return status;
}

static enum vs_status read_footer(const struct vfs_file *f, struct segment_layout *l,
                                  struct buf *why)
{
    uint8_t b[SEGMENT_FOOTER];
    uint64_t at = l->size - sizeof(b);
    enum vs_status status = take(f, at, b, sizeof(b), why);
    if (status != VS_OK)
        return status;
    l->end = le64(b + 16);
    l->blocks = le64(b + 24);
    l->file_id = le64(b + 32);
    l->block = le32(b + 12);
    l->footer_sum = le64(b + 56);
    if (memcmp(b, SEGMENT_END_MAGIC, 8) != 0)
        return bad(f, at, "no footer of a segment file (cut short?)", why);
    if (l->footer_sum != hash_bytes(b, 56, l->file_id))
        return bad(f, at, "the footer's checksum is wrong", why);
    if (le32(b + 8) != SEGMENT_VERSION)
        return bad(f, at + 8, "a version this program does not know", why);
    if (l->block != SEGMENT_BLOCK && l->block != SEGMENT_BLOCK_SMALL)
        return bad(f, at + 12, "a block size that is not in use", why);
    if (l->end < SEGMENT_ALIGN || l->end > SEGMENT_SIZE_MAX ||
        l->blocks != (l->end + l->block - 1) / l->block ||
        l->size != l->end + l->blocks * 8 + SEGMENT_FOOTER)
        return bad(f, at + 16, "the footer does not fit the file's size", why);
    return VS_OK;
}

static enum vs_status read_header(const struct vfs_file *f, struct segment_layout *l,
                                  struct buf *why)
{
    uint8_t b[SEGMENT_HEADER];
    enum vs_status status = take(f, 0, b, sizeof(b), why);
    if (status != VS_OK)
        return status;
    if (memcmp(b, SEGMENT_MAGIC, 8) != 0)
        return bad(f, 0, "not a segment file", why);
    if (le64(b + 40) != hash_bytes(b, 40, 0))
        return bad(f, 0, "the header's checksum is wrong", why);
    if (le32(b + 8) != SEGMENT_VERSION || le32(b + 12) != l->block ||
        le64(b + 16) != l->file_id)
        return bad(f, 8, "header and footer belong to different files", why);
    l->snapshot_id = le64(b + 24);
    l->cut = le64(b + 32);
    return VS_OK;
}

static enum vs_status read_table(const struct vfs_file *f, const struct segment_layout *l,
                                 uint64_t **out, struct buf *why)
{
    uint8_t want[8];
    size_t bytes = (size_t)l->blocks * 8;
    uint64_t *table = mem_try_alloc(bytes);
    if (!table) {
        buf_printf(why, "%s: out of memory", f->path);
        return VS_NOMEM;
    }
    enum vs_status status = take(f, l->end, table, bytes, why);
    if (status == VS_OK)
        status = take(f, l->size - SEGMENT_FOOTER + 40, want, 8, why);
    if (status == VS_OK && le64(want) != hash_bytes(table, bytes, l->file_id))
        status = bad(f, l->end, "the table of checksums is damaged", why);
    if (status != VS_OK) {
        mem_free(table);
        return status;
    }
    for (uint64_t i = 0; i < l->blocks; i++)
        table[i] = le64(&table[i]);
    *out = table;
    return VS_OK;
}

enum vs_status segment_read_layout(const struct vfs_file *f, const struct segment_sums *expect,
                                   struct segment_layout *out, uint64_t **table, struct buf *why)
{
    struct segment_layout l = {.size = f->end};
    if (expect && l.size != expect->size) {
        buf_printf(why, "%s, offset %" PRIu64 ": the file has %" PRIu64 " bytes and should have "
                   "%" PRIu64, f->path, l.size < expect->size ? l.size : expect->size, l.size,
                   expect->size);
        return VS_CORRUPT;
    }
    if (l.size < SEGMENT_ALIGN + 8 + SEGMENT_FOOTER || l.size > SEGMENT_SIZE_MAX)
        return bad(f, 0, "too small or too large for a segment file", why);
    enum vs_status status = read_footer(f, &l, why);
    if (status == VS_OK && expect && l.footer_sum != expect->footer_sum)
        status = bad(f, l.size - SEGMENT_FOOTER, "not the file that the snapshot was made with",
                     why);
    if (status == VS_OK)
        status = read_header(f, &l, why);
    if (status == VS_OK)
        status = read_table(f, &l, table, why);
    if (status == VS_OK)
        *out = l;
    return status;
}

static enum vs_status verify_blocks(const struct vfs_file *f, const struct segment_layout *l,
                                    const uint64_t *table, struct buf *why)
{
    enum vs_status status = VS_OK;
    uint8_t *data = mem_try_alloc(l->block);
    if (!data) {
        buf_printf(why, "%s: out of memory", f->path);
        return VS_NOMEM;
    }
    for (uint64_t i = 0; i < l->blocks && status == VS_OK; i++) {
        size_t n = (size_t)segment_block_bytes(l, i);
        status = take(f, i * l->block, data, n, why);
        if (status == VS_OK && hash_bytes(data, n, l->file_id ^ i) != table[i])
            status = bad(f, i * l->block, "a block's checksum is wrong", why);
    }
    mem_free(data);
    return status;
}

enum vs_status segment_verify(const struct vfs *v, const char *path,
                              const struct segment_sums *expect, struct buf *why)
{
    struct vfs_file f;
    struct vfs_error err;
    struct segment_layout l;
    uint64_t *table;
    enum vs_status status = vfs_file_open(&f, v, path, VFS_RDONLY, &err);
    if (status != VS_OK) {
        buf_puts(why, err.text);
        return status;
    }
    status = segment_read_layout(&f, expect, &l, &table, why);
    if (status == VS_OK) {
        status = verify_blocks(&f, &l, table, why);
        mem_free(table);
    }
    vfs_file_close(&f);
    return status;
}
