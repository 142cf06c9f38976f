/* New segments: after a failure, at a rotation, at the beginning.
 *
 * The order that makes every moment safe:
 *
 *     1. the old file is synced, unless a sync of it has failed: what was written to it is trusted
 *     2. the new file: header, all records that are not in the trusted part of the old one
 *     3. fdatasync of it, sync of the directory
 *     4. the manifest: old segment closed where its trusted part ends, new one behind it
 *     5. the new segment becomes the current one, the old file is closed
 *
 * What fails before 4 leaves nothing behind but a file to be removed. When 4 fails, it may be that
 * the manifest on disk names the new segment all the same. Then the file stays: the next attempt
 * goes on with it, and if it cannot be written to any more, it is removed when a manifest has been
 * stored that surely does not name it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/journal_int.h"
#include "persist/le.h"

#define NUMBERS_TRIED 1000  /* in a row that files have already */

/* ---- one segment ---- */

enum vs_status journal_segment_new(struct journal *j, uint64_t first,
                                   struct journal_segment **out, struct vfs_error *err)
{
    struct journal_segment *s = mem_zalloc(sizeof(*s));
    uint8_t bytes[JOURNAL_HEADER];
    enum vs_status status = VS_EXISTS;
    for (int i = 0; i < NUMBERS_TRIED && status == VS_EXISTS; i++) {
        s->f = (struct journal_file){.seq = journal_next_seq(j), .first = first};
        char *path = journal_segment_path(j->dir, j->name, s->f.seq);
        status = vfs_file_open(&s->file, j->vfs, path, VFS_RDWR | VFS_CREATE | VFS_EXCL, err);
        mem_free(path);
    }
    if (status) {
        mem_free(s);
        return status == VS_EXISTS ? VS_IO : status;
    }
    rng_system(&s->nonce, sizeof(s->nonce));
    journal_header_put(&(struct journal_header){s->f.seq, first, j->epoch, clock_wall_ms() << 16,
                                                s->nonce},
                       bytes);
    status = vfs_file_append(&s->file, bytes, sizeof(bytes), err);
    if (status) {
        vfs_file_close(&s->file);
        journal_discard(j, s->f.seq, false);
        mem_free(s);
        return status;
    }
    s->last = first - 1;
    s->refs = 1;
    *out = s;
    return VS_OK;
}

void journal_segment_unref(struct journal *j, struct journal_segment *s)
{
    (void)j;
    if (!s || --s->refs)
        return;
    vfs_file_close(&s->file);
    mem_free(s);
}

enum vs_status journal_segment_append(struct journal *j, struct journal_segment *s,
                                      struct journal_chunk *c, struct vfs_error *err)
{
    pthread_mutex_lock(&j->lock);
    uint64_t durable = j->synced;
    pthread_mutex_unlock(&j->lock);
    for (size_t at = 0; at < c->bytes.len;) {
        uint8_t *frame = (uint8_t *)c->bytes.data + at;
        journal_frame_seal(frame, s->nonce, durable);
        at += JOURNAL_FRAME + (size_t)le32(frame + 4);
    }
    enum vs_status status = vfs_file_append(&s->file, c->bytes.data, c->bytes.len, err);
    if (status == VS_OK) {
        c->end = s->file.end;
        s->last = c->last;
    }
    return status;
}

enum vs_status journal_seal(struct journal *j, struct vfs_error *err)
{
    struct journal_segment *s = j->segment;
    uint8_t frame[JOURNAL_FRAME];
    journal_frame_put(&(struct journal_frame){.type = JOURNAL_SEAL, .epoch = j->epoch,
                                              .lsn = s->last, .hlc = clock_wall_ms() << 16},
                      frame);
    journal_frame_seal(frame, s->nonce, s->last);
    enum vs_status status = vfs_file_append(&s->file, frame, sizeof(frame), err);
    if (status != VS_OK)
        return status;
    status = vfs_file_sync(&s->file, true, err);
    pthread_mutex_lock(&j->lock);
    if (status == VS_OK)
        j->trusted_bytes = j->written_bytes = j->synced_bytes = s->file.end;
    else
        s->distrusted = true;
    pthread_mutex_unlock(&j->lock);
    return status;
}

/* ---- files that no manifest names ---- */

void journal_discard(struct journal *j, uint64_t seq, bool base)
{
    struct vfs_error err;
    struct buf file = {0};
    if (base)
        journal_base_name(j->name, seq, &file);
    else
        journal_segment_name(j->name, seq, &file);
    buf_append(&file, "", 1);
    char *path = journal_path(j->dir, file.data);
    enum vs_status status = vfs_path_unlink(j->vfs, path, &err);
    if (status && status != VS_NOTFOUND)
        log_warning("A file of the journal that is not needed stays: %s", err.text);
    mem_free(path);
    buf_release(&file);
}

void journal_remember(struct journal *j, uint64_t seq, bool base)
{
    if (j->ngarbage == j->garbage_cap &&
        !mem_try_grow(&j->garbage, &j->garbage_cap, j->ngarbage * 2 + 4, sizeof(*j->garbage)))
        return;  /* it lies there until the directory is looked through again */
    j->garbage[j->ngarbage++] = (struct journal_leftover){seq, base};
}

void journal_stored(struct journal *j)
{
    uint64_t closed = 0;
    const struct journal_file *unsure = NULL;
    for (size_t i = 0; i < j->manifest.count; i++) {
        const struct journal_file *f = &j->manifest.segment[i];
        closed += f->closed ? f->end : 0;
        if (f->unsure && !unsure)
            unsure = f;
    }
    for (size_t i = 0; i < j->ngarbage; i++)
        journal_discard(j, j->garbage[i].seq, j->garbage[i].base);
    j->ngarbage = 0;
    pthread_mutex_lock(&j->lock);
    j->closed_bytes = closed;
    j->complete = !j->manifest.partial;
    j->unsure = unsure != NULL;
    j->unsure_lsn = unsure ? unsure->sure_last + 1 : 0;
    pthread_mutex_unlock(&j->lock);
}

/* `next` cannot be written to any more. */
static void give_up(struct journal *j, struct journal_segment *s)
{
    uint64_t seq = s->f.seq;
    bool named = s->named;
    j->next = NULL;
    pthread_mutex_lock(&j->lock);
    journal_segment_unref(j, s);
    pthread_mutex_unlock(&j->lock);
    if (!named) {
        journal_discard(j, seq, false);
        return;
    }
    pthread_mutex_lock(&j->manifest_lock);
    journal_remember(j, seq, false);
    pthread_mutex_unlock(&j->manifest_lock);
}

/* ---- renewal ---- */

/* What is in the queue comes behind what is retained; only the first record's place matters now. */
static struct journal_chunk *take_all(struct journal *j, uint64_t *trusted)
{
    pthread_mutex_lock(&j->lock);
    while (j->queue.head) {
        struct journal_chunk *c = j->queue.head;
        j->queue.head = c->next;
        if (c->bytes.len)
            journal_chunks_push(&j->retained, c);
        else
            journal_chunk_let_go(j, c);
    }
    j->queue.tail = NULL;
    *trusted = j->trusted_lsn;
    struct journal_chunk *c = j->retained.head;
    pthread_mutex_unlock(&j->lock);
    return c;
}

/* Makes j->next hold all records behind the trusted ones, durably. */
static enum vs_status make_ready(struct journal *j, struct vfs_error *err)
{
    uint64_t trusted;
    struct journal_chunk *c = take_all(j, &trusted);
    enum vs_status status = VS_OK;
    bool fresh = !j->next;
    if (fresh)
        status = journal_segment_new(j, trusted + 1, &j->next, err);
    if (status)
        return status;
    struct journal_segment *s = j->next;
    bool more = fresh;
    for (; c && !status; c = c->next)
        if (c->last > s->last || (!c->first && c->last == s->last)) {
            status = journal_segment_append(j, s, c, err);
            more = true;
        }
    if (!status && more)
        status = vfs_file_sync(&s->file, true, err);
    if (!status && fresh)
        status = vfs_path_sync_parent(j->vfs, s->file.path, err);
    if (status)
        give_up(j, s);
    return status;
}

/* Stores a manifest in which the current segment is closed and `next` follows. */
static enum vs_status store(struct journal *j, bool unsure, struct vfs_error *err)
{
    struct journal_manifest m = {0};
    uint64_t empty = 0;
    pthread_mutex_lock(&j->manifest_lock);
    enum vs_status status = journal_manifest_copy(&j->manifest, &m);
    if (status == VS_OK) {
        struct journal_file *old = &m.segment[m.count - 1];
        pthread_mutex_lock(&j->lock);
        old->closed = true;
        old->end = j->trusted_bytes;
        old->last = j->trusted_lsn;
        old->unsure = unsure;
        old->sure_end = j->synced_bytes;
        old->sure_last = j->synced;
        pthread_mutex_unlock(&j->lock);
        if (old->last < old->first) {
            empty = old->seq;  /* nothing in it is needed */
            m.count--;
        }
        m.epoch = j->epoch;
        status = journal_manifest_add(&m, &j->next->f);
    }
    if (status) {
        errno = ENOMEM;
        vfs_error_set(err, VFS_OP_WRITE, j->name, VFS_NO_OFFSET);
    } else {
        status = journal_manifest_store(j->vfs, j->dir, j->name, &m, err);
        j->next->named |= status && err->op == VFS_OP_SYNCDIR;
    }
    if (status) {
        journal_manifest_release(&m);
    } else {
        journal_manifest_release(&j->manifest);
        j->manifest = m;
        if (empty)
            journal_remember(j, empty, false);
        journal_stored(j);
    }
    pthread_mutex_unlock(&j->manifest_lock);
    return status;
}

/* What has been written of the current segment is synced, unless it is already: then it need not be written again, for
 * which there may be no room. After a sync of it has failed, another says nothing, and what is not known to be on disk is
 * taken from memory. Under JOURNAL_NO memory has it no more: the answer is false, the manifest says so, and whoever keeps
 * the journal makes a new base. */
static bool settle_old(struct journal *j)
{
    struct vfs_error err;
    struct journal_segment *s = j->segment;
    snprintf(err.text, sizeof(err.text), "a sync failed");
    pthread_mutex_lock(&j->lock);
    while (j->syncing)
        pthread_cond_wait(&j->work, &j->lock);
    bool needed = j->written_bytes > j->synced_bytes && !s->distrusted;
    pthread_mutex_unlock(&j->lock);
    bool synced = needed && vfs_file_sync(&s->file, true, &err) == VS_OK;
    pthread_mutex_lock(&j->lock);
    if (synced) {
        j->synced = j->written;
        j->synced_bytes = j->written_bytes;
        journal_drop_safe(j);
    }
    s->distrusted |= needed && !synced;
    uint64_t from = j->synced + 1, to = j->trusted_lsn;
    bool sure = j->trusted_bytes <= j->synced_bytes;
    pthread_mutex_unlock(&j->lock);
    if (to >= from && !s->told)
        log_warning("Records %llu to %llu of the journal were written but may not be on disk: %s. "
                    "A rewrite makes the data safe again",
                    (unsigned long long)from, (unsigned long long)to, err.text);
    s->told |= to >= from;
    return sure;
}

enum vs_status journal_renew(struct journal *j, struct vfs_error *err)
{
    bool sure = settle_old(j);
    enum vs_status status = make_ready(j, err);
    if (status)
        return status;
    status = store(j, !sure, err);
    if (status)
        return status;
    pthread_mutex_lock(&j->lock);
    struct journal_segment *old = j->segment;
    j->segment = j->next;
    j->next = NULL;
    j->failed = false;
    j->trusted_lsn = j->segment->f.first - 1;
    j->trusted_bytes = JOURNAL_HEADER;
    j->written = j->synced = j->segment->last;
    j->written_bytes = j->synced_bytes = j->segment->file.end;
    journal_drop(j);
    journal_segment_unref(j, old);
    pthread_cond_signal(&j->sync);
    pthread_mutex_unlock(&j->lock);
    journal_progress(j);
    return VS_OK;
}
