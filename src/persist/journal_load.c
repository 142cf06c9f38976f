/* Loading a journal: its segments in order, each record verified, then applied.
 *
 * A record's commands are all understood before the first is applied. Records that the base holds
 * already are verified and skipped; closed segments of nothing else are not even opened.
 *
 * Where the last segment has a torn tail, the bytes behind its last record are copied to a file
 * beside it, "<segment>.cut-<offset>", and the manifest that journal_open stores says that the
 * segment ends there. The segment itself is not touched: until then, a load that dies may be
 * repeated. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal.h"
#include "persist/journal_read.h"

#define POLL_EVERY     64    /* records between two calls of vs_poll */
#define POLL_BUDGET_US 100
#define CLOCK_EVERY    16
#define COPY_BLOCK     65536
#define OPENING_NS     50000 /* between two looks at what is being opened */
#define MARK_EVERY     65536 /* bytes between two marks */

struct journal_loader {
    const struct vfs *vfs;
    char *dir, *name;
    struct journal_manifest *m;
    uint64_t after_lsn;
    bool truncated_ok;
    size_t segment;              /* the one being read */
    bool reading;
    bool waiting;                /* the record that the reader stands at has not been applied */
    struct journal_reader reader;
    struct journal_commands commands;
    struct effect_scratch scratch;
    uint64_t before;             /* bytes of the segments before this one */
    /* Of the open segment: how far it is known to have been synced. Records say that of records before
     * them, so some places are remembered until one does. */
    uint64_t durable_end, durable_last;
    struct mark {
        uint64_t lsn, end;
    } *mark;
    size_t mark_first, marks, mark_cap;
    uint64_t marked;             /* where the last mark is */
    struct journal_manifest left;/* segments that are not applied */
    struct journal_loaded result;
};

/* Appends "<file> at offset N: <what>. <advice>". */
static void say(const struct journal_loader *l, struct buf *why, const char *file, uint64_t at,
                const char *what, const char *advice)
{
    char *manifest = journal_manifest_path(l->dir, l->name);
    buf_printf(why, "%s at offset %" PRIu64 ": %s. %s 'vecstore-check-aof --fix %s'", file, at, what,
               advice, manifest);
    mem_free(manifest);
}

static enum vs_status missing(struct journal_loader *l, struct buf *why, uint64_t first)
{
    buf_printf(why,
               "%s/%s" JOURNAL_MANIFEST_SUFFIX ": the journal begins with record %" PRIu64
               ", but the data loaded before it end with record %" PRIu64 ": those between are "
               "missing",
               l->dir, l->name, first, l->after_lsn);
    return VS_CORRUPT;
}

/* Segments from `n` on are not part of the journal any more. */
static enum vs_status leave_out(struct journal_loader *l, size_t n, struct buf *why)
{
    for (size_t i = n; i < l->m->count; i++)
        if (journal_manifest_add(&l->left, &l->m->segment[i])) {
            buf_puts(why, "memory is exhausted");
            return VS_NOMEM;
        }
    l->result.left_out = l->m->count - n;
    l->result.left_first = l->m->segment[n].first;
    l->m->count = n;
    return VS_OK;
}

const struct journal_manifest *journal_loader_left(const struct journal_loader *l)
{
    return &l->left;
}

void journal_put_aside(const struct vfs *v, const char *dir, const char *name,
                       const struct journal_manifest *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct vfs_error err;
        struct buf aside = {0};
        char *path = journal_segment_path(dir, name, m->segment[i].seq);
        buf_printf(&aside, "%s.cut-0", path);
        buf_append(&aside, "", 1);
        if (vfs_path_rename(v, path, aside.data, &err) == VS_OK)
            log_warning("%s, which cannot be applied to the data, is kept as %s", path, aside.data);
        else if (err.number != ENOENT)
            log_warning("A segment that cannot be applied to the data stays: %s", err.text);
        buf_release(&aside);
        mem_free(path);
    }
}

static enum vs_status sum_sizes(struct journal_loader *l, struct buf *why)
{
    for (size_t i = 0; i < l->m->count; i++) {
        struct vfs_stat st;
        struct vfs_error err;
        if (l->m->segment[i].closed && l->m->segment[i].last <= l->after_lsn)
            continue;
        char *path = journal_segment_path(l->dir, l->name, l->m->segment[i].seq);
        enum vs_status status = vfs_path_stat(l->vfs, path, &st, &err);
        if (status == VS_NOTFOUND)
            say(l, why, path, 0, "there is no such file",
                "Bring it back from a backup. What it would cost to go on without it is told by");
        else if (status)
            buf_puts(why, err.text);
        mem_free(path);
        if (status)
            return status == VS_NOTFOUND ? VS_CORRUPT : status;
        l->result.total += l->m->segment[i].closed ? l->m->segment[i].end : st.size;
    }
    return VS_OK;
}

enum vs_status journal_loader_open(const struct vfs *v, const char *dir, const char *name,
                                   struct journal_manifest *m, uint64_t after_lsn,
                                   const struct journal_track *track, bool truncated_ok,
                                   struct journal_loader **out, struct buf *why)
{
    struct journal_loader *l = mem_zalloc(sizeof(*l));
    l->vfs = v;
    l->dir = mem_strndup(dir, strlen(dir));
    l->name = mem_strndup(name, strlen(name));
    l->m = m;
    l->after_lsn = after_lsn;
    l->truncated_ok = truncated_ok;
    l->result.lsn = after_lsn;
    l->result.track = *track;
    enum vs_status status = VS_OK;
    size_t joined = journal_manifest_joined(m, after_lsn);
    if (joined < m->count)
        status = m->partial ? leave_out(l, joined, why) : missing(l, why, m->segment[joined].first);
    if (!status)
        status = sum_sizes(l, why);
    if (status) {
        journal_loader_free(l);
        return status;
    }
    *out = l;
    return VS_OK;
}

void journal_loader_free(struct journal_loader *l)
{
    if (!l)
        return;
    journal_reader_close(&l->reader);
    journal_commands_end(&l->commands);
    effect_scratch_release(&l->scratch);
    journal_manifest_release(&l->left);
    mem_free(l->mark);
    mem_free(l->dir);
    mem_free(l->name);
    mem_free(l);
}

const struct journal_loaded *journal_loader_result(const struct journal_loader *l)
{
    return &l->result;
}

uint64_t journal_loader_bytes(const struct journal_loader *l, uint64_t *total)
{
    *total = l->result.total;
    return l->before + (l->reading ? l->reader.at : 0);
}

/* ---- the end of the journal ---- */

/* Copies what follows the last record of the torn segment. */
static enum vs_status keep_aside(struct journal_loader *l, const char *path, struct vfs_error *err)
{
    struct journal_reader *r = &l->reader;
    struct buf aside = {0};
    buf_printf(&aside, "%s.cut-%" PRIu64, path, r->at);
    buf_append(&aside, "", 1);
    struct vfs_file f = {0};
    char *block = mem_alloc(COPY_BLOCK);
    enum vs_status status =
        vfs_file_open(&f, l->vfs, aside.data, VFS_RDWR | VFS_CREATE | VFS_TRUNC, err);
    for (uint64_t at = r->at; !status && at < r->file.end;) {
        uint64_t left = r->file.end - at;
        size_t n = left < COPY_BLOCK ? (size_t)left : COPY_BLOCK;
        status = vfs_file_read(&r->file, at, block, n, err);
        if (!status)
            status = vfs_file_append(&f, block, n, err);
        at += n;
    }
    if (!status)
        status = vfs_file_sync(&f, false, err);
    vfs_file_close(&f);
    if (status) /* half of it is of no use, and this is tried again */
        vfs_path_unlink(l->vfs, aside.data, NULL);
    mem_free(block);
    snprintf(l->result.cut_file, sizeof(l->result.cut_file), "%s", aside.data);
    buf_release(&aside);
    return status;
}

static enum vs_status cut(struct journal_loader *l, const char *path, struct buf *why)
{
    struct journal_reader *r = &l->reader;
    struct journal_loaded *result = &l->result;
    struct vfs_error err;
    size_t behind = l->m->count - l->segment - 1;
    if (!l->truncated_ok) {
        say(l, why, path, r->at, r->reason,
            r->segment.unsure
                ? "Records were written, a sync failed, and they did not reach the disk. To go on "
                  "without them and all after them set aof-load-truncated to yes, or run"
                : "The last records were being written when the system stopped. To go on without "
                  "them set aof-load-truncated to yes, or run");
        return VS_CORRUPT;
    }
    result->cut = true;
    result->cut_at = r->at;
    result->cut_bytes = r->file.end - r->at;
    snprintf(result->cut_why, sizeof(result->cut_why), "%s", r->reason);
    enum vs_status status = keep_aside(l, path, &err);
    if (status) {
        buf_printf(why, "the torn end of %s cannot be kept aside: %s", path, err.text);
        return status;
    }
    log_warning("The journal has a torn end: %s at offset %" PRIu64 ": %s. Its last %" PRIu64
                " bytes are left out; they are kept in %s",
                path, r->at, r->reason, result->cut_bytes, result->cut_file);
    if (behind)
        log_warning("Records from %" PRIu64 " on were written with appendfsync no, a sync failed, "
                    "and they are lost; %zu segments behind them cannot be applied",
                    r->next, behind);
    return behind ? leave_out(l, l->segment + 1, why) : VS_OK;
}

static void note_durable(struct journal_loader *l)
{
    const struct journal_reader *r = &l->reader;
    if (r->frame.durable + 1 >= r->frame.lsn && r->frame.lsn > l->durable_last) {
        l->durable_last = r->frame.lsn - 1;
        l->durable_end = r->group_at;
    }
    for (; l->mark_first < l->marks && l->mark[l->mark_first].lsn <= r->frame.durable;
         l->mark_first++) {
        const struct mark *m = &l->mark[l->mark_first];
        if (m->lsn > l->durable_last) {
            l->durable_last = m->lsn;
            l->durable_end = m->end;
        }
    }
    if (l->mark_first == l->marks)
        l->mark_first = l->marks = 0;
    if (r->at - l->marked < MARK_EVERY ||
        (l->marks == l->mark_cap &&
         !mem_try_grow(&l->mark, &l->mark_cap, l->marks * 2 + 16, sizeof(*l->mark))))
        return;
    l->mark[l->marks++] = (struct mark){r->frame.lsn, r->at};
    l->marked = r->at;
}

/* The segment has been read; a last one is now closed where its records end. */
static void segment_done(struct journal_loader *l)
{
    struct journal_reader *r = &l->reader;
    struct journal_file *f = &l->m->segment[l->segment];
    l->before += f->closed ? f->end : r->file.end;
    l->result.sealed = r->sealed;
    if (!f->closed && !r->headed) {
        l->m->count--;  /* without a header it is none */
    } else {
        if (!f->closed || r->next <= f->last) {
            f->closed = f->unsynced = true;
            f->unsure = false;
            f->end = r->at;
            f->last = r->next - 1;
            f->durable_end = r->sealed ? r->at - JOURNAL_FRAME : l->durable_end;
            f->durable_last = r->sealed ? f->last : l->durable_last;
        }
        if (f->last > l->result.lsn)
            l->result.lsn = f->last;
        l->segment++;
    }
    l->result.track = r->track;
    journal_reader_close(r);
    l->reading = false;
}

/* ---- segments and records ---- */

static enum vs_status open_segment(struct journal_loader *l, struct buf *why)
{
    const struct journal_file *f = &l->m->segment[l->segment];
    struct buf reason = {0};
    char *path = journal_segment_path(l->dir, l->name, f->seq);
    enum vs_status status = journal_reader_open(&l->reader, l->vfs, path, f, &reason);
    l->reading = true;
    l->reader.epoch = l->result.epoch;
    l->reader.track = l->result.track;
    l->reader.after = l->after_lsn;
    l->durable_end = l->marked = JOURNAL_HEADER;
    l->durable_last = f->first - 1;
    if (f->unsure) {
        l->durable_end = f->sure_end;
        l->durable_last = f->sure_last;
    }
    l->mark_first = l->marks = 0; /* those of the segment before are places in another file */
    if (status == VS_CORRUPT) {
        buf_append(&reason, "", 1);
        say(l, why, path, 0, reason.data, "What it would cost to go on without it is told by");
    } else if (status) {
        buf_append(why, reason.data, reason.len);
    }
    buf_release(&reason);
    mem_free(path);
    return status;
}

/* Are the partitions that the record changes open? Those that are not begin to open, all at once. What
 * cannot be read is left to whoever applies it. */
static bool ready(struct journal_loader *l, struct vs_store *s)
{
    struct journal_reader *r = &l->reader;
    struct vs_open_status now;
    struct buf reason = {0};
    struct vs_effect e;
    bool all = true;
    vs_open_status(s, &now);
    if (!now.unloaded || r->frame.lsn <= l->after_lsn)
        return true;
    journal_commands_begin(&l->commands, &r->frame, r->payload);
    while (journal_commands_next(&l->commands, vs_databases(s), &l->scratch, &e, &reason) == VS_OK)
        all &= vs_apply_ready(s, &e);
    buf_release(&reason);
    return all;
}

/* Applies the record that the reader stands at, or nothing of it. */
static enum vs_status apply(struct journal_loader *l, struct vs_store *s, struct buf *reason)
{
    struct journal_reader *r = &l->reader;
    struct vs_effect e;
    enum vs_status status;
    /* All but single commands are gone through twice. */
    for (int pass = r->frame.type == JOURNAL_BATCH ? 0 : 1; pass < 2; pass++) {
        journal_commands_begin(&l->commands, &r->frame, r->payload);
        while ((status = journal_commands_next(&l->commands, vs_databases(s), &l->scratch, &e,
                                               reason)) == VS_OK) {
            if (!pass)
                continue;
            status = vs_apply(s, &e);
            if (status) {
                buf_printf(reason, "a command that does not fit the data before it: %s",
                           vs_status_text(status));
                return status;
            }
            l->result.commands++;
        }
        if (status != VS_NOTFOUND)
            return status;
    }
    l->result.records++;
    return VS_OK;
}

static enum vs_status take_record(struct journal_loader *l, struct vs_store *s, struct buf *why)
{
    const struct journal_frame *f = &l->reader.frame;
    struct buf reason = {0};
    l->result.hlc = f->hlc;
    l->result.epoch = f->epoch;
    if (f->lsn <= l->after_lsn)
        return VS_OK;
    enum vs_status status = apply(l, s, &reason);
    if (status) {
        char *path = journal_segment_path(l->dir, l->name, l->reader.segment.seq);
        buf_append(&reason, "", 1);
        say(l, why, path, l->reader.record_at, reason.data,
            status == VS_NOMEM ? "Give it more memory; the file can be checked by"
                               : "To go on without this record and all after it run");
        mem_free(path);
    }
    buf_release(&reason);
    return status;
}

/* One record, or the end of a segment. VS_BACKLOG: what it changes is being opened. */
static enum vs_status advance(struct journal_loader *l, struct vs_store *s, struct buf *why)
{
    struct journal_reader *r = &l->reader;
    enum vs_status status = VS_CORRUPT;
    enum journal_found found = l->waiting ? JOURNAL_FOUND_RECORD : journal_reader_next(r);
    if (found == JOURNAL_FOUND_RECORD) {
        if (!l->waiting)
            note_durable(l);
        l->waiting = !ready(l, s);
        return l->waiting ? VS_BACKLOG : take_record(l, s, why);
    }
    if (found == JOURNAL_FOUND_END) {
        segment_done(l);
        return VS_OK;
    }
    if (found == JOURNAL_FOUND_FAILED) {
        buf_puts(why, r->err.text);
        return r->status;
    }
    char *path = journal_segment_path(l->dir, l->name, r->segment.seq);
    if (found == JOURNAL_FOUND_DAMAGED)
        say(l, why, path, r->at, r->reason, "To go on without this record and all after it run");
    else
        status = cut(l, path, why);
    mem_free(path);
    if (!status)
        segment_done(l);
    return status;
}

enum vs_status journal_loader_step(struct journal_loader *l, struct vs_store *s, uint64_t until_ns,
                                   bool *done, struct buf *why)
{
    for (unsigned n = 1; l->segment < l->m->count; n++) {
        const struct journal_file *f = &l->m->segment[l->segment];
        enum vs_status status = VS_OK;
        if (l->reading) {
            status = advance(l, s, why);
        } else if (f->closed && f->last <= l->after_lsn) {
            l->segment++;
        } else {
            status = open_segment(l, why);
        }
        if (status && status != VS_BACKLOG)
            return status;
        if (status == VS_BACKLOG)
            nanosleep(&(struct timespec){0, OPENING_NS}, NULL);
        if (status == VS_BACKLOG || n % POLL_EVERY == 0)
            vs_poll(s, POLL_BUDGET_US);
        if ((status == VS_BACKLOG || n % CLOCK_EVERY == 0) && clock_mono_ns() >= until_ns) {
            *done = false;
            return VS_OK;
        }
    }
    /* A base may hold more than what is left of the journal, after a power cut: then it holds all. */
    if (!l->m->partial && l->m->count && l->m->segment[l->m->count - 1].last < l->after_lsn)
        l->m->count = 0;
    l->result.bytes = l->before;
    *done = true;
    return VS_OK;
}
