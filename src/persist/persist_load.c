/* Durability as a whole: start. Which data are to be loaded, and in what order:
 *
 *   appendonly, and the journal has a manifest      its base, then its segments
 *   .. but it is partial                            the journal up to its gap, or dbfilename, whichever
 *                                                   goes further; then the segments that join on
 *   appendonly, no journal                          dbfilename, then a rewrite
 *   no appendonly                                   dbfilename
 *
 * A partial journal was switched off at run time, and perhaps on again, and the process died before
 * the first rewrite had ended. What was written while it was off is in no file but a snapshot:
 *
 *     base, segments ..100 | off: 101..200 | segments 201..300
 *                                 dbfilename, as of 250: load it, apply 251..300: nothing is missing
 *                          dbfilename, as of 150: load it; 201..300 cannot be applied and are put aside
 *                dbfilename, as of 80, or none: ..100 is more than that
 *
 * Record numbers compare within one history only. A snapshot is of the journal's when the process that
 * stored the journal's manifest has written it, or had loaded it: the manifest says so by ids. Another
 * one of a later epoch was written by a process that kept no journal: it is newer, and nothing joins on
 * to it. Any other is not of this history, or older than the journal.
 *
 * The journal's clock and numbers go on from the highest that were seen; the epoch is one above all
 * that any file has. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/persist_int.h"

void persist_load_release(struct persist *p)
{
    snapshot_load_free(p->load);
    journal_loader_free(p->loader);
    journal_manifest_release(&p->manifest);
    journal_manifest_release(&p->left);
    p->load = NULL;
    p->loader = NULL;
}

static void observe(struct persist *p, uint64_t hlc)
{
    if (!hlc_observe(&p->hlc, hlc, clock_wall_ms()))
        log_warning("The data were written at a time over a day ahead of this machine's clock; the times of "
                    "records go on from there until the clock has caught up");
}

/* ---- the snapshot ---- */

static enum vs_status begin_snapshot(struct persist *p, const char *path, bool required,
                                     struct buf *why)
{
    struct vs_open_status open;
    vs_open_status(p->store, &open);
    struct snapshot_load_options o = {.vfs = &p->vfs,
                                      .segments = p->segments,
                                      .manifest = path,
                                      .set = p->set,
                                      .verify = p->verify,
                                      .open_max = open.max};
    struct buf text = {0};
    enum vs_status status = snapshot_load_start(&o, p->store, &p->load, &text);
    if (status == VS_OK) {
        p->state = PERSIST_SNAPSHOT;
        p->from_dump = path == p->dump;
    } else if (status == VS_NOTFOUND && !required) {
        p->state = p->replays ? PERSIST_REPLAY : PERSIST_START;
        status = VS_OK;
    } else {
        buf_append(why, text.data, text.len);
        if (status == VS_CORRUPT)
            buf_printf(why, "; 'vecstore-check-rdb %s' says more", path);
        if (status == VS_NOTFOUND)
            buf_printf(why, ". Bring it back from a backup; where %s is moved away, a start takes the "
                            "snapshot %s", p->journal_dir, p->dump);
        if (status == VS_NOTFOUND)
            status = VS_CORRUPT;
    }
    buf_release(&text);
    return status;
}

static enum vs_status snapshot_step(struct persist *p, uint64_t until_ns, struct buf *why)
{
    bool done = false;
    struct buf text = {0};
    enum vs_status status = snapshot_load_step(p->load, until_ns, &done, &text);
    if (status != VS_OK) {
        char *path = p->from_dump ? persist_path(p->dir, p->dbfilename)
                                  : persist_base_path(p, p->manifest.base_seq);
        buf_append(why, text.data, text.len);
        if (status == VS_CORRUPT)
            buf_printf(why, "; 'vecstore-check-rdb --fix %s' writes one without what is damaged", path);
        mem_free(path);
    }
    buf_release(&text);
    if (status != VS_OK || !done)
        return status;
    const struct snapshot_manifest *m = snapshot_load_manifest(p->load);
    log_notice("Snapshot loaded: %" PRIu64 " elements in %" PRIu32 " indexes, %" PRIu32
               " files, as of record %" PRIu64, m->elements, m->nindexes, m->nfiles, m->lsn);
    p->lsn = m->lsn;
    p->track = m->track;
    if (p->from_dump)
        p->dump_id = m->id;
    observe(p, m->hlc);
    snapshot_load_free(p->load);
    p->load = NULL;
    p->state = p->replays ? PERSIST_REPLAY : PERSIST_START;
    return VS_OK;
}

/* ---- what there is ---- */

enum source { SOURCE_JOURNAL, SOURCE_SNAPSHOT, SOURCE_SNAPSHOT_ALONE };

/* What a partial journal is to be completed with; `d` NULL: there is no snapshot. */
static enum source choose(const struct journal_manifest *m, const struct snapshot_manifest *d)
{
    uint64_t reach;
    bool begins = journal_manifest_reach(m, &reach);
    if (!d)
        return SOURCE_JOURNAL;
    if (journal_manifest_knows(m, d->id))
        return begins && reach > d->lsn ? SOURCE_JOURNAL : SOURCE_SNAPSHOT;
    return begins && d->epoch <= m->epoch ? SOURCE_JOURNAL : SOURCE_SNAPSHOT_ALONE;
}

/* Takes the journal's base out of what is loaded, or even all of it. */
static enum vs_status find_partial(struct persist *p, bool *base, struct buf *why)
{
    struct snapshot_manifest d = {0};
    struct buf text = {0};
    enum vs_status status = snapshot_manifest_load(&p->vfs, p->dump, &d, &text);
    *base = p->manifest.has_base;
    if (status == VS_OK || status == VS_NOTFOUND) {
        enum source source = choose(&p->manifest, status == VS_OK ? &d : NULL);
        if (source == SOURCE_JOURNAL) {
            log_notice("The journal was switched off or on at run time and has had no rewrite since; "
                       "there is no snapshot that goes further");
            status = VS_OK;
        } else {
            log_notice("The journal was switched off or on at run time and has had no rewrite since; "
                       "the snapshot %s goes further", p->dump);
            *base = false;
            if (source == SOURCE_SNAPSHOT_ALONE) {
                log_warning("Nothing of the journal joins on to the snapshot, which another server has "
                            "written");
                p->left = p->manifest;
                p->manifest = (struct journal_manifest){0};
            }
            status = begin_snapshot(p, p->dump, true, why);
        }
    } else {
        buf_append(why, text.data, text.len);
    }
    snapshot_manifest_release(&d);
    buf_release(&text);
    return status;
}

static enum vs_status find(struct persist *p, struct buf *why)
{
    bool base;
    enum vs_status status = VS_NOTFOUND;
    if (p->appendonly)
        status = journal_manifest_load(&p->vfs, p->journal_dir, p->appendfilename, &p->manifest,
                                       why);
    if (status != VS_OK && status != VS_NOTFOUND)
        return status;
    if (status == VS_NOTFOUND)
        return begin_snapshot(p, p->dump, false, why);
    p->replays = true;
    base = p->manifest.has_base;
    if (p->manifest.partial) {
        status = find_partial(p, &base, why);
        if (status != VS_OK || p->state != PERSIST_FIND)
            return status;
    }
    if (base) {
        char *path = persist_base_path(p, p->manifest.base_seq);
        status = begin_snapshot(p, path, true, why);
        mem_free(path);
        return status;
    }
    p->state = PERSIST_REPLAY;
    return VS_OK;
}

/* ---- the journal ---- */

static enum vs_status replay(struct persist *p, uint64_t until_ns, struct buf *why)
{
    bool done = false;
    enum vs_status status = VS_OK;
    if (!p->loader)
        status = journal_loader_open(&p->vfs, p->journal_dir, p->appendfilename, &p->manifest,
                                     p->lsn, &p->track, p->load_truncated, &p->loader, why);
    if (status == VS_OK)
        status = journal_loader_step(p->loader, p->store, until_ns, &done, why);
    if (status != VS_OK || !done)
        return status;
    const struct journal_loaded *l = journal_loader_result(p->loader);
    const struct journal_manifest *left = journal_loader_left(p->loader);
    if (l->left_out)
        log_warning("Records from %" PRIu64 " on, in %zu segments of the journal, cannot be applied: "
                    "the data end with record %" PRIu64 ", and those between are in no file",
                    l->left_first, l->left_out, l->lsn);
    for (size_t i = 0; i < left->count && status == VS_OK; i++)
        status = journal_manifest_add(&p->left, &left->segment[i]);
    if (status != VS_OK)
        return status;
    log_notice("Journal loaded: %" PRIu64 " records, %" PRIu64 " commands, %" PRIu64
               " bytes, last record %" PRIu64, l->records, l->commands, l->total, l->lsn);
    if (l->lsn > p->lsn)
        p->lsn = l->lsn;
    p->track = l->track;
    observe(p, l->hlc);
    if (l->epoch > p->epoch)
        p->epoch = l->epoch;
    journal_loader_free(p->loader);
    p->loader = NULL;
    p->state = PERSIST_START;
    return VS_OK;
}

/* ---- the end ---- */

static enum vs_status start(struct persist *p, struct buf *why)
{
    struct vfs_error err;
    persist_collect_at_start(p);
    struct journal_options o = {.vfs = &p->vfs,
                                .dir = p->journal_dir,
                                .name = p->appendfilename,
                                .fsync = p->fsync,
                                .epoch = p->epoch,
                                .progress = p->wake,
                                .arg = p->wake_arg};
    p->journal = journal_new(&o, &p->hlc, p->lsn + 1);
    journal_set_history(p->journal, p->track.known ? &p->track.at : NULL);
    if (p->appendonly) {
        struct journal_status now;
        p->manifest.life = p->life;
        p->manifest.snapshot = p->dump_id;
        enum vs_status status = journal_open(p->journal, &p->manifest, &err);
        if (status != VS_OK) {
            buf_puts(why, err.text);
            return status;
        }
        journal_put_aside(&p->vfs, p->journal_dir, p->appendfilename, &p->left);
        /* Records are in the store that the journal does not have: it wants a base. */
        journal_read_status(p->journal, &now);
        p->wants_rewrite = !now.complete;
    }
    for (unsigned db = 0; db < vs_databases(p->store) && !p->adopted; db++)
        p->keys_loaded += vs_count(p->store, db);
    p->saved_lsn = p->lsn;
    vs_apply_end(p->store);
    vs_set_journal(p->store, journal_hook(p->journal));
    persist_load_release(p);
    p->state = PERSIST_RUNNING;
    persist_start_scrub(p);
    return VS_OK;
}

enum vs_status persist_load_step(struct persist *p, uint64_t until_ns, bool *done, struct buf *why)
{
    enum vs_status status = VS_OK;
    *done = false;
    while (status == VS_OK && p->state != PERSIST_RUNNING) {
        switch (p->state) {
        case PERSIST_FIND: status = find(p, why); break;
        case PERSIST_SNAPSHOT: status = snapshot_step(p, until_ns, why); break;
        case PERSIST_REPLAY: status = replay(p, until_ns, why); break;
        case PERSIST_START: status = start(p, why); break;
        default: status = VS_INVALID;
        }
        if (clock_mono_ns() > until_ns)
            break;
    }
    if (status != VS_OK)
        p->state = PERSIST_FAILED;
    if (status != VS_OK && !why->len)
        buf_printf(why, "the data in %s cannot be loaded: %s", p->dir, vs_status_text(status));
    *done = p->state == PERSIST_RUNNING;
    return status;
}
