/* The first segment of a process, and what it takes over from the last one of the process before.
 *
 * What a load has read of that segment may be in the system's memory alone, even after a sync: when a
 * sync had failed in the process that wrote it, the system has called those pages clean, and they are
 * read and "synced" happily until the power goes. So the segment is believed as far as its own records
 * say that it was synced. The records behind that are copied, and it ends before them. */
#include <errno.h>

#include "base/mem.h"
#include "persist/journal_int.h"
#include "persist/le.h"

/* Of a segment that was never synced (JOURNAL_NO), so much is copied; a longer one is synced, which is
 * all that was ever promised of it. */
#define COPY_MAX ((uint64_t)64 << 20)

/* Moves the records from..end of `old` to `s`. They have been verified by the load. */
static enum vs_status copy_records(struct journal *j, const struct vfs_file *old, uint64_t from,
                                   uint64_t end, struct journal_segment *s, struct vfs_error *err)
{
    struct journal_chunk c = {0};
    enum vs_status status = VS_OK;
    uint8_t head[JOURNAL_FRAME];
    while (status == VS_OK && from < end) {
        status = vfs_file_read(old, from, head, sizeof(head), err);
        if (status)
            break;
        size_t size = JOURNAL_FRAME + (size_t)le32(head + 4);
        if (head[8] == JOURNAL_SEAL || size > end - from)
            break;
        c.bytes.len = 0;
        char *to = buf_try_reserve(&c.bytes, size);
        if (!to) {
            errno = ENOMEM;
            status = vfs_error_set(err, VFS_OP_READ, old->path, from);
            break;
        }
        status = vfs_file_read(old, from, to, size, err);
        c.bytes.len = size;
        c.last = le64(head + 24);
        if (status == VS_OK)
            status = journal_segment_append(j, s, &c, err);
        from += size;
    }
    buf_release(&c.bytes);
    return status;
}

static enum vs_status sync_old(struct journal *j, struct journal_file *f, struct vfs_error *err)
{
    struct vfs_file old = {0};
    char *path = journal_segment_path(j->dir, j->name, f->seq);
    enum vs_status status = vfs_file_open(&old, j->vfs, path, VFS_RDWR, err);
    if (status == VS_OK)
        status = vfs_file_sync(&old, false, err);
    vfs_file_close(&old);
    mem_free(path);
    f->unsynced = status != VS_OK;
    return status;
}

enum vs_status journal_take_over(struct journal *j, struct journal_manifest *m,
                                 struct journal_segment **out, struct vfs_error *err)
{
    struct journal_file *f = m->count ? &m->segment[m->count - 1] : NULL;
    struct journal_segment *s;
    struct vfs_file old = {0};
    if (!f || !f->unsynced)
        return journal_segment_new(j, j->lsn + 1, out, err);
    if (f->last < j->lsn) {
        /* A snapshot that was loaded goes further: it holds those records, too. */
        f->end = f->durable_end;
        f->last = f->durable_last;
        f->unsynced = false;
        return journal_segment_new(j, j->lsn + 1, out, err);
    }
    if (f->durable_last < f->first && f->end > COPY_MAX) {
        enum vs_status status = sync_old(j, f, err);
        return status ? status : journal_segment_new(j, j->lsn + 1, out, err);
    }
    char *path = journal_segment_path(j->dir, j->name, f->seq);
    enum vs_status status = vfs_file_open(&old, j->vfs, path, VFS_RDONLY, err);
    mem_free(path);
    if (status)
        return status;
    status = journal_segment_new(j, f->durable_last + 1, &s, err);
    if (status == VS_OK) {
        status = copy_records(j, &old, f->durable_end, f->end, s, err);
        if (status == VS_OK && s->last != f->last) {
            errno = EIO;  /* it has changed since it was loaded */
            status = vfs_error_set(err, VFS_OP_READ, old.path, f->durable_end);
        }
        if (status) {
            vfs_file_close(&s->file);
            journal_discard(j, s->f.seq, false);
            mem_free(s);
        }
    }
    vfs_file_close(&old);
    if (status)
        return status;
    f->end = f->durable_end;
    f->last = f->durable_last;
    f->unsynced = false;
    *out = s;
    return VS_OK;
}
