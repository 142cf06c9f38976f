/* The Nth call of each file operation fails with EIO or ENOSPC, does half, is torn or interrupted,
 * once or from then on, for N = 1, 2, 3 .. until a run has no such call:
 *
 *     save    a snapshot over an older one. When it says it failed the older one is loaded by the
 *             next start (or the new one: when the last sync of a directory failed), never a mixture
 *             or nothing; when it says it succeeded, the new one. A second try succeeds.
 *     load    a start over such data. It is refused with a reason, or all is there; nothing on the
 *             disk has been harmed.
 *     run     a store with a journal that is written to, saved, rewritten. Commands may be refused
 *             meanwhile; after the fault all goes on, and the next start finds at least what was
 *             acknowledged, and exactly what was there after some record.
 *
 * Here a few N of each, with VECSTORE_DRILL=full all.
 * run: beside tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/snapshot_rig.h"
#include "persist/vfs_fault.h"

#define STEPS     12
#define RESUME_MS 2000

static const struct {
    enum vfs_fault_kind kind;
    const char *name;
    bool sticky;
} kinds[] = {{VFS_FAULT_EIO, "EIO", false},     {VFS_FAULT_ENOSPC, "ENOSPC", false},
             {VFS_FAULT_SHORT, "short", false}, {VFS_FAULT_TORN, "torn", false},
             {VFS_FAULT_EINTR, "EINTR", false}, {VFS_FAULT_ENOSPC, "ENOSPC on", true},
             {VFS_FAULT_EIO, "EIO on", true}};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct faults {
    struct vfs plain, faulty;
    struct vfs_fault *fault;
    struct persist_options o;
    struct rng rng;
    char dir[160], where[96];
    enum vfs_op op;
    size_t kind;
    unsigned long cases;
    bool large;          /* with partitions that have files of their own */
};

#define FAILED(d, fmt, ...) drill_failed("%s: " fmt, (d)->where, __VA_ARGS__)

static void open_plain(struct faults *d, struct snapshot_rig *s)
{
    struct buf why = {0};
    struct persist_options o = d->o;
    o.vfs = &d->plain;
    if (srig_open(s, &o, &why) != VS_OK) {
        printf("%s: the next start is refused: %.*s\n", d->where, (int)why.len, why.data);
        exit(1);
    }
    buf_release(&why);
}

static void set_fault(struct faults *d, unsigned long nth)
{
    vfs_fault_clear(d->fault);
    vfs_fault_set(d->fault, d->op, nth, kinds[d->kind].kind, kinds[d->kind].sticky);
}

static void steps(struct faults *d, struct snapshot_rig *s, int n)
{
    for (int i = 0; i < n; i++) {
        enum vs_status status = rig_step(&s->rig);
        if (status != VS_OK && status != VS_IO)
            FAILED(d, "a command: %s", vs_status_text(status));
        srig_turn(s);
    }
}

/* ---- a snapshot over an older one ---- */

static bool save_one(struct faults *d, unsigned long nth)
{
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}}, again = {0};
    struct buf why = {0};
    rig_clear(d->dir);
    vfs_fault_clear(d->fault);
    if (srig_open(&s, &d->o, &why) != VS_OK)
        exit(1);
    rig_note(&s.rig);
    if (d->large)
        srig_fill(s.rig.store, run_seed());
    steps(d, &s, STEPS);
    if (srig_save(&s, false, NULL, NULL) != VS_OK)
        FAILED(d, "%s", "the first snapshot fails");
    uint64_t older = rig_digest(s.rig.store);
    if (d->large) /* so that none of its files are kept */
        srig_fill(s.rig.store, run_seed() + 1);
    steps(d, &s, STEPS);
    uint64_t newer = rig_digest(s.rig.store), hits = vfs_fault_hits(d->fault);
    set_fault(d, nth);
    bool saved = srig_save(&s, false, NULL, NULL) == VS_OK;
    vfs_fault_clear(d->fault);
    bool hit = vfs_fault_hits(d->fault) != hits;
    if (!saved && !hit)
        FAILED(d, "%s", "a snapshot fails without a fault");

    /* A copy of what is on the disk now, loaded beside. */
    struct persist_options aside = d->o;
    struct buf copy = {0};
    char copied[200];
    snprintf(copied, sizeof(copied), "%s.copy", d->dir);
    buf_printf(&copy, "rm -rf '%s' && cp -r '%s' '%s'", copied, d->dir, copied);
    buf_append(&copy, "", 1);
    if (system(copy.data))
        exit(1);
    aside.dir = copied;
    aside.vfs = &d->plain;
    if (srig_open(&again, &aside, &why) != VS_OK) {
        FAILED(d, "after it a start is refused: %.*s", (int)why.len, why.data);
    } else {
        uint64_t found = rig_digest(again.rig.store);
        if (found != newer && (saved || found != older))
            FAILED(d, "%s, and %s is loaded", saved ? "it succeeds" : "it fails",
                   found == older ? "the older one" : "neither");
        srig_close(&again);
    }
    if (srig_save(&s, false, NULL, NULL) != VS_OK)
        FAILED(d, "%s", "the next one fails although the disk is well");
    srig_close(&s);
    open_plain(d, &again);
    if (rig_digest(again.rig.store) != newer)
        FAILED(d, "%s", "other data after the next one");
    srig_close(&again);
    rig_release(&s.rig);
    buf_release(&why);
    buf_release(&copy);
    return hit;
}

/* ---- loading ---- */

static void make_data(struct faults *d)
{
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}};
    rig_clear(d->dir);
    open_plain(d, &s);
    rig_note(&s.rig);
    srig_fill(s.rig.store, run_seed());
    steps(d, &s, STEPS);
    if (srig_save(&s, d->o.appendonly, NULL, NULL) != VS_OK)
        exit(1);
    if (d->o.appendonly)
        steps(d, &s, STEPS);
    srig_close(&s);
    rig_release(&s.rig);
}

static bool load_one(struct faults *d, unsigned long nth)
{
    struct snapshot_rig plain = {0}, s = {0};
    struct buf why = {0};
    open_plain(d, &plain);
    uint64_t digest = rig_digest(plain.rig.store), hits = vfs_fault_hits(d->fault);
    srig_close(&plain);
    set_fault(d, nth);
    enum vs_status status = srig_open(&s, &d->o, &why);
    if (status == VS_OK) {
        if (rig_digest(s.rig.store) != digest)
            FAILED(d, "%s", "it starts with other data");
        vfs_fault_clear(d->fault);
        srig_close(&s);
    } else if (!why.len) {
        FAILED(d, "refused without a word: %s", vs_status_text(status));
    }
    vfs_fault_clear(d->fault);
    bool hit = vfs_fault_hits(d->fault) != hits;
    if (status != VS_OK && !hit)
        FAILED(d, "refused without a fault: %.*s", (int)why.len, why.data);
    open_plain(d, &plain);
    if (rig_digest(plain.rig.store) != digest)
        FAILED(d, "%s", "after it a start has other data");
    srig_close(&plain);
    buf_release(&why);
    return hit;
}

/* ---- with a journal ---- */

static uint64_t acknowledged(struct snapshot_rig *s, uint64_t before)
{
    uint64_t lsn = journal_releasable(s->rig.journal, clock_mono_ns());
    return lsn > before && lsn != UINT64_MAX ? lsn : before;
}

static bool run_one(struct faults *d, unsigned long nth)
{
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}}, again = {0};
    struct buf why = {0};
    uint64_t known = 0, hits = vfs_fault_hits(d->fault);
    rig_clear(d->dir);
    vfs_fault_clear(d->fault);
    if (srig_open(&s, &d->o, &why) != VS_OK)
        exit(1);
    rig_note(&s.rig);
    set_fault(d, nth);
    for (int i = 0; i < 3; i++) {
        steps(d, &s, STEPS);
        known = acknowledged(&s, known);
        if (i < 2)
            srig_save(&s, i, NULL, NULL);
    }
    vfs_fault_clear(d->fault);
    bool hit = vfs_fault_hits(d->fault) != hits;
    if (!rig_settle(&s.rig, RESUME_MS))
        FAILED(d, "%s", "the journal is not well within 2 s");
    known = acknowledged(&s, known);
    if (srig_save(&s, true, NULL, NULL) != VS_OK || srig_save(&s, false, NULL, NULL) != VS_OK)
        FAILED(d, "%s", "no snapshot although the disk is well");
    steps(d, &s, STEPS);
    if (!rig_settle(&s.rig, RESUME_MS))
        FAILED(d, "%s", "the last commands are not acknowledged");
    known = acknowledged(&s, known);
    srig_close(&s);
    open_plain(d, &again);
    uint64_t lsn = journal_lsn(again.rig.journal);
    if (lsn < known)
        FAILED(d, "record %" PRIu64 " was acknowledged, %" PRIu64 " is the last", known, lsn);
    else if (lsn > s.rig.known || rig_digest(again.rig.store) != s.rig.digest[lsn])
        FAILED(d, "other data than after record %" PRIu64, lsn);
    srig_close(&again);
    rig_release(&s.rig);
    buf_release(&why);
    return hit;
}

/* ---- all of them ---- */

/* `few`: so many of each when not all are asked for, at random distances of up to `apart`; asked to be quick, of one kind,
 * drawn anew for each call. */
static void sweep(struct faults *d, const char *what, bool (*one)(struct faults *d, unsigned long nth),
                  unsigned few, unsigned apart)
{
    unsigned long before = d->cases;
    for (int op = 0; op < VFS_OPS; op++) {
        size_t drawn = rng_below(&d->rng, KINDS);
        for (d->kind = 0; d->kind < KINDS; d->kind++) {
            if (run_quick() && d->kind != drawn)
                continue;
            unsigned long nth = 1;
            bool hit = true;
            d->op = (enum vfs_op)op;
            for (unsigned n = 0; hit && (drill_full() || n < few); n++) {
                snprintf(d->where, sizeof(d->where), "%s, %s %s %lu", what, vfs_op_name(d->op),
                         kinds[d->kind].name, nth);
                hit = one(d, nth);
                d->cases += hit;
                nth += drill_full() ? 1 : 1 + rng_below(&d->rng, apart);
            }
        }
    }
    printf("%s: %lu\n", what, d->cases - before);
    fflush(stdout);
}

int main(void)
{
    struct faults d = {.plain = rig_vfs_unsynced(), .rng = {run_seed()}};
    log_set_level(LOG_NOTHING);
    snprintf(d.dir, sizeof(d.dir), "%s/data", drill_dir());
    d.fault = vfs_fault_new(&d.plain);
    d.faulty = vfs_fault_vfs(d.fault);
    d.o = (struct persist_options){.vfs = &d.faulty, .dir = d.dir, .load_truncated = true,
                                   .fsync = JOURNAL_ALWAYS};
    sweep(&d, "save", save_one, 1, 8);
    d.large = true;
    sweep(&d, "save large ones", save_one, 2, 8);
    make_data(&d);
    sweep(&d, "load", load_one, 2, 8);
    d.o.appendonly = true;
    make_data(&d);
    sweep(&d, "load with a journal", load_one, 1, 8);
    sweep(&d, "run", run_one, 1, 8);
    vfs_fault_free(d.fault);
    return drill_end("snapshot, failing calls", d.cases);
}
