/* Durability as a whole: snapshots and rewrites while it runs, and the files they leave behind.
 *
 * A snapshot replaces `dbfilename`. A rewrite is a snapshot under a new name in the journal's
 * directory, with a cut between two segments; when it is durable the journal's manifest names it as
 * the base, in place of the older one and of the segments before the cut.
 *
 * A segment file is removed when no manifest names it any more: not that of the last snapshot, not
 * of the one before (so that who copies a snapshot while the next ends finds its files), nor those
 * of the journal's bases. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/persist_int.h"

#define RETRY_NS 5000000000ull   /* between automatic rewrites that fail */

/* ---- files ---- */

static void collect(struct persist *p)
{
    const struct snapshot_manifest *keep[] = {&p->dumps[0], &p->dumps[1], &p->bases[0],
                                              &p->bases[1]};
    struct vs_open_status open;
    vs_open_status(p->store, &open);
    p->collect_due = open.opening != 0; /* what it reads may be named by an older manifest alone */
    if (!p->collect_due && !p->no_collect && !p->uncertain[0] && !p->uncertain[1])
        snapshot_collect(&p->vfs, p->segments, keep, 4);
}

static bool read_manifest(struct persist *p, const char *path, struct snapshot_manifest *out)
{
    struct buf why = {0};
    enum vs_status status = snapshot_manifest_load(&p->vfs, path, out, &why);
    if (status != VS_OK && status != VS_NOTFOUND) {
        buf_append(&why, "", 1);
        log_warning("Old files of snapshots are not removed: %s", why.data);
    }
    buf_release(&why);
    return status == VS_OK || status == VS_NOTFOUND;
}

/* Unfinished files of one that died. */
static void remove_aside(struct persist *p, const char *path)
{
    struct buf aside = {0};
    buf_printf(&aside, "%s" VFS_ASIDE, path);
    buf_append(&aside, "", 1);
    vfs_path_unlink(&p->vfs, aside.data, NULL);
    buf_release(&aside);
}

static void seen_epoch(struct persist *p, uint64_t epoch)
{
    if (epoch > p->epoch)
        p->epoch = epoch;
}

/* What was found beside that which was loaded. */
static void say_what_else(struct persist *p, const struct journal_manifest *m)
{
    if (!p->appendonly && (m->has_base || m->count))
        log_notice("There is a journal in %s; it is not loaded, and not written, because appendonly is "
                   "no", p->journal_dir);
    else if (p->appendonly && !m->partial && p->dumps[0].epoch > m->epoch)
        log_warning("%s was written after the journal in %s, by a server that kept none; the journal "
                    "is what is loaded. For the snapshot instead, start with appendonly no and switch "
                    "it on then", p->dump, p->journal_dir);
}

void persist_collect_at_start(struct persist *p)
{
    struct journal_manifest m = {0};
    struct buf why = {0};
    remove_aside(p, p->dump);
    bool ok = read_manifest(p, p->dump, &p->dumps[0]);
    enum vs_status status = journal_manifest_load(&p->vfs, p->journal_dir, p->appendfilename, &m,
                                                  &why);
    if (status == VS_OK && m.has_base) {
        char *path = persist_base_path(p, m.base_seq);
        ok = read_manifest(p, path, &p->bases[0]) && ok;
        mem_free(path);
    }
    if (status == VS_OK)
        say_what_else(p, &m);
    seen_epoch(p, p->dumps[0].epoch);
    seen_epoch(p, p->bases[0].epoch);
    seen_epoch(p, m.epoch);
    p->epoch++;
    p->no_collect = !ok || (status != VS_OK && status != VS_NOTFOUND);
    journal_manifest_release(&m);
    buf_release(&why);
    collect(p);
}

void persist_save_release(struct persist *p)
{
    for (int i = 0; i < 2; i++) {
        snapshot_manifest_release(&p->dumps[i]);
        snapshot_manifest_release(&p->bases[i]);
    }
}

/* ---- begin and end ---- */

static enum vs_status commit_base(void *arg, struct vfs_error *err)
{
    struct persist *p = arg;
    return journal_set_base(p->journal, p->save_seq, p->save_lsn, err);
}

/* The cut is now. VS_EXISTS: the cut before has not been taken down yet. */
static enum vs_status begin(struct persist *p)
{
    bool rewrite = p->saving_rewrite;
    char *path = NULL;
    if (rewrite) {
        p->save_seq = journal_next_seq(p->journal);
        path = persist_base_path(p, p->save_seq);
    }
    p->save_lsn = journal_lsn(p->journal);
    struct snapshot_save_options o = {.vfs = &p->vfs,
                                      .segments = p->segments,
                                      .manifest = rewrite ? path : p->dump,
                                      .id = p->life | (++p->count & UINT64_MAX >> JOURNAL_LIFE_BITS),
                                      .lsn = p->save_lsn,
                                      .epoch = p->epoch,
                                      .hlc = journal_hlc(p->journal),
                                      .track = journal_known(p->journal),
                                      .commit = rewrite ? commit_base : NULL,
                                      .commit_arg = p,
                                      .wake = p->wake,
                                      .wake_arg = p->wake_arg,
                                      .set = p->set,
                                      .scrub = p->scrub};
    enum vs_status status = snapshot_save_start(&o, p->store, &p->save);
    mem_free(path);
    if (status != VS_OK)
        return status;
    p->waiting = false;
    log_notice("%s begins at record %" PRIu64, rewrite ? "A rewrite of the journal" : "A snapshot",
               p->save_lsn);
    uint64_t lsn;
    if (rewrite && journal_rotate(p->journal, &lsn) != VS_OK)
        snapshot_save_abort(p->save); /* it is not open any more */
    return VS_OK;
}

static void tell(struct persist *p, bool ok)
{
    void (*done)(void *arg, bool ok) = p->done;
    p->done = NULL;
    if (done)
        done(p->done_arg, ok);
}

enum vs_status persist_save(struct persist *p, bool rewrite, void (*done)(void *arg, bool ok),
                            void *arg)
{
    if (p->state != PERSIST_RUNNING || (rewrite && !journal_is_open(p->journal)))
        return VS_INVALID;
    if (p->save || p->waiting)
        return VS_EXISTS;
    p->sending = false;
    p->saving_rewrite = rewrite;
    p->save_ns = clock_mono_ns();
    enum vs_status status = begin(p);
    if (status != VS_OK && status != VS_EXISTS)
        return status;
    p->waiting = status == VS_EXISTS;
    p->done = done;
    p->done_arg = arg;
    p->counts.cow_bytes = p->counts.cow_peak = 0;
    if (rewrite)
        p->wants_rewrite = false;
    return VS_OK;
}

enum vs_status persist_send(struct persist *p, const struct vfs *out, const struct snapshot_only *only,
                            void (*done)(void *arg, bool ok), void *arg)
{
    if (p->state != PERSIST_RUNNING)
        return VS_INVALID;
    if (p->save || p->waiting)
        return VS_EXISTS;
    p->out = *out;
    p->save_lsn = journal_lsn(p->journal);
    struct snapshot_save_options o = {.vfs = &p->out,
                                      .segments = "sent",
                                      .manifest = "manifest",
                                      .lsn = p->save_lsn,
                                      .epoch = p->epoch,
                                      .hlc = journal_hlc(p->journal),
                                      .wake = p->wake,
                                      .wake_arg = p->wake_arg,
                                      .copy_from = &p->vfs,
                                      .copy_segments = p->segments,
                                      .only = only};
    enum vs_status status = snapshot_save_start(&o, p->store, &p->save);
    if (status != VS_OK)
        return status;
    p->sending = true;
    p->saving_rewrite = false;
    p->save_ns = clock_mono_ns();
    p->counts.cow_bytes = p->counts.cow_peak = 0;
    p->done = done;
    p->done_arg = arg;
    return VS_OK;
}

/* It is nothing to any file of ours. */
static void end_sending(struct persist *p)
{
    struct snapshot_manifest m = {0};
    struct buf why = {0};
    bool ok = snapshot_save_end(p->save, &m, &why) == VS_OK;
    p->save = NULL;
    p->sending = false;
    if (!ok)
        log_warning("Sending the data failed: %.*s", (int)why.len, why.len ? why.data : "");
    snapshot_manifest_release(&m);
    buf_release(&why);
    tell(p, ok);
}

static void succeeded(struct persist *p, struct snapshot_manifest *m)
{
    struct snapshot_manifest *list = p->saving_rewrite ? p->bases : p->dumps;
    snapshot_manifest_release(&list[1]);
    list[1] = list[0];
    list[0] = *m;
    p->uncertain[p->saving_rewrite] = false;
    if (p->saving_rewrite) {
        p->counts.rewrites++;
        p->counts.rewrite_failures = 0;
    } else {
        p->counts.saves++;
        p->counts.last_save = m->wall_ms / 1000;
        p->dump_id = m->id;
        p->saved_lsn = p->save_lsn;
    }
    p->save_error[0] = 0;
    collect(p);
}

/* A journal that is not complete, or that may have holes after a power cut, wants a base. */
static bool wants_base(struct persist *p)
{
    struct journal_status now;
    if (!journal_is_open(p->journal))
        return false;
    journal_read_status(p->journal, &now);
    return !now.complete || now.unsure;
}

static void failed(struct persist *p, bool uncertain, const char *why)
{
    log_warning("%s failed: %s", p->saving_rewrite ? "The rewrite of the journal" : "The snapshot",
                why);
    snprintf(p->save_error, sizeof(p->save_error), "%s", why);
    p->uncertain[p->saving_rewrite] |= uncertain;
    if (p->saving_rewrite) {
        p->counts.rewrite_failures++;
        p->wants_rewrite = wants_base(p);
        p->rewrite_not_before_ns = clock_mono_ns() + RETRY_NS;
    }
}

static void end(struct persist *p)
{
    if (p->sending) {
        end_sending(p);
        return;
    }
    struct snapshot_manifest m = {0};
    struct buf why = {0};
    bool uncertain = snapshot_save_uncertain(p->save);
    int64_t seconds = (int64_t)((clock_mono_ns() - p->save_ns) / 1000000000);
    bool ok = snapshot_save_end(p->save, &m, &why) == VS_OK;
    p->save = NULL;
    buf_append(&why, "", 1);
    *(p->saving_rewrite ? &p->counts.rewrite_seconds : &p->counts.save_seconds) = seconds;
    *(p->saving_rewrite ? &p->counts.rewrite_ok : &p->counts.save_ok) = ok;
    p->counts.last_cow = p->counts.cow_peak;
    if (ok) {
        log_notice("%s is done: %" PRIu64 " elements, %" PRIu32 " files, %" PRId64 " s",
                   p->saving_rewrite ? "The rewrite of the journal" : "The snapshot", m.elements,
                   m.nfiles, seconds);
        succeeded(p, &m);
    } else {
        failed(p, uncertain, why.data);
    }
    buf_release(&why);
    tell(p, ok);
}

/* It never began. */
static void end_waiting(struct persist *p, const char *why)
{
    p->waiting = false;
    *(p->saving_rewrite ? &p->counts.rewrite_ok : &p->counts.save_ok) = false;
    failed(p, false, why);
    tell(p, false);
}

void persist_save_abort(struct persist *p)
{
    if (p->waiting)
        end_waiting(p, "given up");
    if (p->save)
        snapshot_save_abort(p->save);
}

void persist_save_stop(struct persist *p)
{
    persist_save_abort(p);
    if (p->save)
        end(p);
}

void persist_schedule_rewrite(struct persist *p)
{
    p->wants_rewrite = true;
    p->rewrite_not_before_ns = 0;
}

/* ---- every turn ---- */

/* Has the journal grown beyond its share of what its base takes? */
static bool has_grown(struct persist *p)
{
    struct journal_status s;
    uint64_t base = 0;
    if (!p->rewrite_percentage || !journal_is_open(p->journal))
        return false;
    journal_read_status(p->journal, &s);
    if (s.size < p->rewrite_min_size)
        return false;
    for (uint32_t i = 0; i < p->bases[0].nfiles; i++)
        base += p->bases[0].file[i].sums.size;
    return s.size >= base / 100 * p->rewrite_percentage;
}

/* ---- damaged partitions, counted a few keys at a time ---- */

static void count_damage(void *arg, struct vs_index *index)
{
    struct persist *p = arg;
    for (size_t i = 0; i < vs_partition_count(index); i++)
        p->damage.found += vs_partition_damage(index, i, NULL);
}

static void look_for_damage(struct persist *p)
{
    unsigned databases = vs_databases(p->store);
    while (p->damage.db < databases && !vs_count(p->store, p->damage.db))
        p->damage.db++;
    if (p->damage.db < databases) {
        p->damage.cursor = vs_scan(p->store, p->damage.db, p->damage.cursor, count_damage, p);
        p->damage.db += p->damage.cursor == 0;
    }
    if (p->damage.db >= databases) {
        p->counts.damaged = p->damage.found;
        p->damage.found = p->damage.db = 0;
    }
}

void persist_poll(struct persist *p)
{
    if (p->state != PERSIST_RUNNING)
        return;
    look_for_damage(p);
    if (p->collect_due)
        collect(p);
    if (p->waiting) {
        enum vs_status status = begin(p);
        if (status != VS_OK && status != VS_EXISTS)
            end_waiting(p, vs_status_text(status));
    } else if (p->save) {
        p->counts.cow_bytes = vs_cut_aside(p->store);
        if (p->counts.cow_bytes > p->counts.cow_peak)
            p->counts.cow_peak = p->counts.cow_bytes;
        if (snapshot_save_poll(p->save))
            end(p);
    }
    if (!p->appendonly || p->save || p->waiting || clock_mono_ns() < p->rewrite_not_before_ns)
        return;
    if (p->wants_rewrite || wants_base(p) || has_grown(p)) {
        enum vs_status status = persist_save(p, true, NULL, NULL);
        if (status != VS_OK && status != VS_EXISTS)
            p->rewrite_not_before_ns = clock_mono_ns() + RETRY_NS;
    }
}

/* ---- on and off ---- */

static bool switch_on(struct persist *p, struct buf *why)
{
    struct vfs_error err;
    if (p->state != PERSIST_RUNNING) {
        buf_puts(why, "the data are not loaded");
        return false;
    }
    /* Where this process has switched it off, it goes on. */
    p->off.life = p->life;
    p->off.snapshot = p->dump_id;
    if (journal_open(p->journal, &p->off, &err) != VS_OK) {
        buf_puts(why, err.text);
        return false;
    }
    journal_manifest_release(&p->off);
    p->appendonly = true;
    p->wants_rewrite = wants_base(p);
    p->rewrite_not_before_ns = 0;
    return true;
}

/* From now on the store outruns the journal: a start must know. */
static void switch_off(struct persist *p)
{
    struct vfs_error err;
    if (p->saving_rewrite)
        persist_save_abort(p);
    p->appendonly = false;
    p->wants_rewrite = false;
    if (!p->journal || !journal_is_open(p->journal))
        return;
    if (journal_close(p->journal, &p->off) != VS_OK)
        log_warning("The journal's last records could not be written");
    p->off.epoch = p->epoch;
    p->off.partial = true;
    p->off.life = p->life;
    p->off.snapshot = p->dump_id;
    if (journal_manifest_store(&p->vfs, p->journal_dir, p->appendfilename, &p->off, &err) != VS_OK)
        log_warning("The journal is switched off, but cannot be marked so: %s. A start with appendonly "
                    "yes would load it, not a later snapshot", err.text);
}

bool persist_set_appendonly(struct persist *p, bool on, struct buf *why)
{
    if (on == p->appendonly)
        return true;
    if (on)
        return switch_on(p, why);
    switch_off(p);
    return true;
}
