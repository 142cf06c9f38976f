/* Mending a journal: the manifest that says where its good part ends, and a copy of what is cut.
 *
 * Nothing is changed in place: the manifest is stored as one, and only then are files put aside that it
 * does not name any more. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "persist/journal_check.h"
#include "persist/snapshot_manifest.h"

struct fix {
    const struct vfs *vfs;
    const char *dir, *name;
    struct buf *report;
    struct journal_manifest m;
    size_t kept;               /* segments that stay */
    bool damaged;              /* what is lost was good once */
    bool changed;
    struct journal_census cut; /* of the segment that is cut off */
};

static enum vs_status told(struct fix *f, enum vs_status status, const struct vfs_error *err)
{
    if (status)
        buf_printf(f->report, "%s\n", err->text);
    return status;
}

/* ---- a manifest from the files that are there ---- */

static int by_seq(const void *a, const void *b)
{
    const struct journal_file *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static enum vs_status take_base(struct fix *f, const char *path, uint64_t seq)
{
    struct snapshot_manifest base = {0};
    struct buf why = {0};
    enum vs_status status = snapshot_manifest_load(f->vfs, path, &base, &why);
    if (status == VS_OK && (!f->m.has_base || base.lsn >= f->m.base_lsn)) {
        f->m.has_base = true;
        f->m.base_seq = seq;
        f->m.base_lsn = base.lsn;
        if (base.epoch > f->m.epoch)
            f->m.epoch = base.epoch;
    } else if (status == VS_CORRUPT) {
        buf_printf(f->report, "%s is not used: %.*s\n", path, (int)why.len, why.data);
        status = VS_OK;
    }
    snapshot_manifest_release(&base);
    buf_release(&why);
    return status;
}

static enum vs_status take_segment(struct fix *f, const char *path, uint64_t seq)
{
    struct journal_census c;
    int db = -1;
    enum vs_status status = journal_check_segment(f->vfs, path, NULL, NULL, NULL, &db, &c);
    if (status || c.found == JOURNAL_FOUND_FAILED)
        return status ? status : c.status;
    if (!c.headed || !c.records)
        return VS_OK;
    if (c.epoch > f->m.epoch)
        f->m.epoch = c.epoch;
    struct journal_file file = {.seq = seq, .first = c.first, .last = c.last,
                                .end = c.found == JOURNAL_FOUND_END ? c.bytes : c.at,
                                .closed = true};
    return journal_manifest_add(&f->m, &file);
}

/* Where record `lsn` ends in a segment. */
static uint64_t end_of(struct fix *f, const struct journal_file *file, uint64_t lsn)
{
    struct journal_file open = {.seq = file->seq, .first = file->first};
    struct journal_reader r = {0};
    struct buf why = {0};
    uint64_t end = JOURNAL_HEADER;
    char *path = journal_segment_path(f->dir, f->name, file->seq);
    if (journal_reader_open(&r, f->vfs, path, &open, &why) == VS_OK)
        while (r.next <= lsn && journal_reader_next(&r) == JOURNAL_FOUND_RECORD)
            end = r.at;
    journal_reader_close(&r);
    buf_release(&why);
    mem_free(path);
    return end;
}

/* Segments that follow each other, from the newest back to the base or the first record. One that goes
 * on beyond where the next begins was given up there after a failure. */
static enum vs_status chain(struct fix *f)
{
    struct journal_manifest *m = &f->m;
    size_t from = m->count;
    qsort(m->segment, m->count, sizeof(*m->segment), by_seq);
    for (; from > 0; from--) {
        struct journal_file *s = &m->segment[from - 1];
        const struct journal_file *next = from < m->count ? s + 1 : NULL;
        if (!next)
            continue;
        if (s->first > next->first || s->last + 1 < next->first)
            break;
        if (s->last + 1 > next->first) {
            s->last = next->first - 1;
            s->end = end_of(f, s, s->last);
        }
    }
    m->count -= from;
    memmove(m->segment, m->segment + from, m->count * sizeof(*m->segment));
    while (m->count && (m->segment[0].last < m->segment[0].first ||
                        (m->has_base && m->segment[0].last <= m->base_lsn))) {
        m->count--;
        memmove(m->segment, m->segment + 1, m->count * sizeof(*m->segment));
    }
    uint64_t first = m->count ? m->segment[0].first : 0, base = m->has_base ? m->base_lsn : 0;
    if (!m->count && !m->has_base) {
        buf_puts(f->report, "There is no file of which a journal could be made.\n");
        return VS_CORRUPT;
    }
    if (m->count && first > base + 1) {
        buf_printf(f->report, "Records %" PRIu64 " to %" PRIu64 " are in no file that is there. "
                   "Without this directory a server begins with its snapshot.\n",
                   base + 1, first - 1);
        return VS_CORRUPT;
    }
    buf_printf(f->report, "A manifest is made from the files that are there: ");
    if (m->has_base)
        buf_printf(f->report, "a base up to record %" PRIu64 ", ", m->base_lsn);
    buf_printf(f->report, "%zu segments, up to record %" PRIu64 ".\n", m->count,
               m->count ? m->segment[m->count - 1].last : m->base_lsn);
    return VS_OK;
}

static enum vs_status rebuild(struct fix *f)
{
    struct vfs_names names = {0};
    struct vfs_error err;
    enum vs_status status = told(f, vfs_path_list(f->vfs, f->dir, &names, &err), &err);
    for (size_t i = 0; !status && i < names.count; i++) {
        uint64_t seq = journal_name_seq(f->name, names.name[i], JOURNAL_SEGMENT_SUFFIX);
        uint64_t base = journal_name_seq(f->name, names.name[i], JOURNAL_BASE_SUFFIX);
        char *path = journal_path(f->dir, names.name[i]);
        if (seq)
            status = take_segment(f, path, seq);
        else if (base)
            status = take_base(f, path, base);
        if (status)
            buf_printf(f->report, "%s: %s\n", path, vs_status_text(status));
        mem_free(path);
    }
    vfs_names_release(&names);
    f->changed = true;
    return status ? status : chain(f);
}

/* ---- where the good part ends ---- */

static enum vs_status find_end(struct fix *f)
{
    for (f->kept = 0; f->kept < f->m.count; f->kept++) {
        struct journal_file *s = &f->m.segment[f->kept];
        int db = -1;
        char *path = journal_segment_path(f->dir, f->name, s->seq);
        enum vs_status status =
            journal_check_segment(f->vfs, path, s, NULL, NULL, &db, &f->cut);
        if (status == VS_NOTFOUND)
            status = VS_OK;  /* what it held is lost: damage */
        if (!status && f->cut.found == JOURNAL_FOUND_FAILED)
            status = f->cut.status;
        if (!status && f->cut.found != JOURNAL_FOUND_END)
            buf_printf(f->report, "%s at offset %" PRIu64 ": %s\n", path, f->cut.at, f->cut.reason);
        else if (status)
            buf_printf(f->report, "%s: %s\n", path, f->cut.reason);
        mem_free(path);
        if (status)
            return status;
        if (f->cut.found != JOURNAL_FOUND_END) {
            f->damaged = f->cut.found == JOURNAL_FOUND_DAMAGED;
            f->changed = true;
            return VS_OK;
        }
    }
    return VS_OK;
}

static void say_losses(struct fix *f)
{
    uint64_t records = f->cut.lost_records, bytes = f->cut.lost_bytes;
    for (size_t i = f->kept + 1; i < f->m.count; i++) {
        const struct journal_file *s = &f->m.segment[i];
        struct vfs_stat st = {0};
        char *path = journal_segment_path(f->dir, f->name, s->seq);
        vfs_path_stat(f->vfs, path, &st, NULL);
        bytes += s->closed ? s->end : st.size;
        records += s->closed ? s->last - s->first + 1 : 0;
        mem_free(path);
    }
    const char *more = f->m.count && !f->m.segment[f->m.count - 1].closed && f->damaged ? " or more" : "";
    buf_printf(f->report,
               "Cut off behind record %" PRIu64 ": %" PRIu64 " bytes with %" PRIu64
               "%s records that can be read.\n",
               f->cut.last, bytes, records, more);
}

/* ---- doing it ---- */

static enum vs_status copy_cut(struct fix *f, const struct journal_file *s)
{
    struct buf bytes = {0}, aside = {0};
    struct vfs_error err;
    char *path = journal_segment_path(f->dir, f->name, s->seq);
    enum vs_status status = vfs_path_load(f->vfs, path, SIZE_MAX, &bytes, &err);
    buf_printf(&aside, "%s.cut-%" PRIu64, path, f->cut.at);
    buf_append(&aside, "", 1);
    if (status == VS_NOTFOUND) {
        status = VS_OK;
    } else if (!status) {
        status = vfs_path_store(f->vfs, aside.data, bytes.data + f->cut.at, bytes.len - f->cut.at,
                                true, &err);
        if (!status)
            buf_printf(f->report, "The bytes are kept in %s\n", aside.data);
    }
    buf_release(&bytes);
    buf_release(&aside);
    mem_free(path);
    return told(f, status, &err);
}

/* Segments behind the cut get other names, so that nothing takes them for a part of it. */
static void put_aside(struct fix *f, const struct journal_file *s)
{
    struct buf aside = {0};
    struct vfs_error err;
    char *path = journal_segment_path(f->dir, f->name, s->seq);
    buf_printf(&aside, "%s.cut-0", path);
    buf_append(&aside, "", 1);
    enum vs_status status = vfs_path_rename(f->vfs, path, aside.data, &err);
    if (!status)
        buf_printf(f->report, "%s is kept as %s\n", path, aside.data);
    else if (status != VS_NOTFOUND)
        told(f, status, &err);
    buf_release(&aside);
    mem_free(path);
}

static enum vs_status sync_segments(struct fix *f)
{
    enum vs_status status = VS_OK;
    struct vfs_error err;
    for (size_t i = 0; !status && i < f->m.count && i <= f->kept; i++) {
        struct vfs_file file = {0};
        char *path = journal_segment_path(f->dir, f->name, f->m.segment[i].seq);
        status = vfs_file_open(&file, f->vfs, path, VFS_RDWR, &err);
        if (status == VS_OK)
            status = vfs_file_sync(&file, false, &err);
        else if (status == VS_NOTFOUND)
            status = VS_OK;
        vfs_file_close(&file);
        mem_free(path);
    }
    return told(f, status, &err);
}

static enum vs_status carry_out(struct fix *f)
{
    struct journal_manifest m = {0};
    struct vfs_error err;
    bool cut = f->kept < f->m.count;
    enum vs_status status = cut ? copy_cut(f, &f->m.segment[f->kept]) : VS_OK;
    if (!status)
        status = sync_segments(f);
    if (!status)
        status = journal_manifest_copy(&f->m, &m);
    if (status)
        return status;
    if (cut) {
        struct journal_file *s = &m.segment[f->kept];
        s->closed = true;
        s->end = f->cut.at;
        s->last = f->cut.last;
        m.count = f->kept + (f->cut.headed && s->last >= s->first);
    }
    status = told(f, journal_manifest_store(f->vfs, f->dir, f->name, &m, &err), &err);
    for (size_t i = m.count; !status && i < f->m.count; i++)
        put_aside(f, &f->m.segment[i]);
    journal_manifest_release(&m);
    return status;
}

enum vs_status journal_fix(const struct vfs *v, const char *dir, const char *name, bool drop_damaged,
                           struct buf *report)
{
    struct fix f = {.vfs = v, .dir = dir, .name = name, .report = report};
    struct buf why = {0};
    enum vs_status status = journal_manifest_load(v, dir, name, &f.m, &why);
    if (status == VS_CORRUPT || status == VS_NOTFOUND) {
        if (status == VS_CORRUPT)
            buf_printf(report, "%.*s\n", (int)why.len, why.data);
        status = rebuild(&f);
    } else if (status) {
        buf_printf(report, "%.*s\n", (int)why.len, why.data);
    }
    if (!status)
        status = find_end(&f);
    if (!status && f.kept < f.m.count)
        say_losses(&f);
    if (!status && f.damaged && !drop_damaged)
        status = VS_INVALID;
    if (!status && f.changed)
        status = carry_out(&f);
    if (!status)
        buf_puts(report, f.changed ? "The journal can be loaded now.\n" : "There is nothing to mend.\n");
    journal_manifest_release(&f.m);
    buf_release(&why);
    return status;
}
