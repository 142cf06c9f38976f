/* The Nth allocation whose size a client, a file or the data choose fails, for N = 1, 2, 3 .. until a
 * run has no such allocation: over commands, a snapshot, a rewrite, a load of either. A clean error,
 * what was there stays there, nothing acknowledged is lost; a sanitizer build sees leaks.
 *
 * The same over every command of a running server is drill_alloc_server. Here a few N of each, with
 * VECSTORE_DRILL=full all.
 * tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/snapshot_rig.h"
#include "persist/journal_check.h"
#include "store/store_int.h"

#define STEPS   60
#define SETTLE  5000
#define DIGESTS 4096 /* more than there are records: the rig asks for no memory */

struct alloc {
    struct vfs v;
    struct persist_options o;
    struct rng rng;
    char dir[160];
    const char *what;
    unsigned long cases;
    uint64_t digest;     /* of the data on the disk, for loads */
};

#define FAILED(d, nth, fmt, ...) \
    drill_failed("%s, allocation %ld: " fmt, (d)->what, nth, __VA_ARGS__)

static void open_rig(struct alloc *d, struct snapshot_rig *s)
{
    struct buf why = {0};
    if (srig_open(s, &d->o, &why) != VS_OK) {
        printf("%s: a start without faults: %.*s\n", d->what, (int)why.len, why.data);
        exit(1);
    }
    buf_release(&why);
}

static bool clear_fault(void)
{
    bool hit = mem_fault_hit();
    mem_fault_after(0);
    return hit;
}

static void check(struct alloc *d, long nth, struct vs_store *store)
{
    vs_settle(store, SETTLE);
    const char *wrong = store_check(store);
    if (wrong)
        FAILED(d, nth, "%s", wrong);
}

/* ---- commands ---- */

/* Whatever is answered, the store is as after the effects that the journal has. */
static bool commands(struct alloc *d, long nth)
{
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}}, again = {0};
    rig_clear(d->dir);
    open_rig(d, &s);
    if (!mem_try_grow(&s.rig.digest, &s.rig.digest_cap, DIGESTS, sizeof(*s.rig.digest)))
        exit(1);
    rig_note(&s.rig);
    mem_fault_after(nth);
    for (int i = 0; i < STEPS; i++) {
        enum vs_status status = rig_step(&s.rig);
        if (status != VS_OK && status != VS_NOMEM)
            FAILED(d, nth, "%s", vs_status_text(status));
        srig_turn(&s);
    }
    bool hit = clear_fault();
    rig_note(&s.rig);
    check(d, nth, s.rig.store);
    uint64_t digest = rig_digest(s.rig.store), lsn = journal_lsn(s.rig.journal);
    if (srig_close(&s) != VS_OK)
        FAILED(d, nth, "%s", "the journal cannot be closed");
    open_rig(d, &again);
    if (journal_lsn(again.rig.journal) != lsn || rig_digest(again.rig.store) != digest)
        FAILED(d, nth, "%s", "the replay has other data");
    srig_close(&again);
    rig_release(&s.rig);
    return hit;
}

/* Many inserts and deaths, so that batches are linked and repaired, and what is dead is compacted. */
static bool linking(struct alloc *d, long nth)
{
    struct snapshot_rig s = {0}, again = {0};
    struct vs_index *index;
    char name[16];
    rig_clear(d->dir);
    open_rig(d, &s);
    srig_fill(s.rig.store, run_seed());
    index = vs_find(s.rig.store, 0, "graph", 5);
    vs_settle(s.rig.store, SETTLE);
    mem_fault_after(nth);
    for (unsigned i = 0; i < 1180; i++) {
        size_t len = (size_t)snprintf(name, sizeof(name), "e%u", i);
        enum vs_status status = i % 4 ? vs_delete(index, name, len) : VS_OK;
        if (status != VS_OK && status != VS_NOMEM && status != VS_NOTFOUND)
            FAILED(d, nth, "%s", vs_status_text(status));
        if (i % 64 == 0)
            srig_turn(&s);
    }
    vs_settle(s.rig.store, SETTLE);
    bool hit = clear_fault();
    check(d, nth, s.rig.store);
    uint64_t digest = rig_digest(s.rig.store);
    srig_close(&s);
    open_rig(d, &again);
    if (rig_digest(again.rig.store) != digest)
        FAILED(d, nth, "%s", "the replay has other data");
    srig_close(&again);
    return hit;
}

/* Not one allocation but all of them from the nth on, until twenty commands are refused: nobody waits for
 * memory on the owner's thread (workers do, who have begun what must end). */
static bool exhausted(struct alloc *d, long nth)
{
    struct snapshot_rig s = {.rig = {.threads = 2}}, again = {0};
    char name[16];
    unsigned refused = 0;
    bool hit = false;
    rig_clear(d->dir);
    open_rig(d, &s);
    srig_fill(s.rig.store, run_seed());
    vs_settle(s.rig.store, SETTLE);
    struct vs_index *index = vs_find(s.rig.store, 0, "graph", 5);
    for (unsigned i = 0; i < 1180; i++) {
        size_t len = (size_t)snprintf(name, sizeof(name), "e%u", i);
        if (refused == 20) { /* memory again, for a command */
            hit |= clear_fault();
            refused = 0;
        }
        enum vs_status status = i % 4 ? vs_delete(index, name, len) : VS_OK;
        if (status != VS_OK && status != VS_NOMEM && status != VS_NOTFOUND)
            FAILED(d, nth, "%s", vs_status_text(status));
        if (i % 16 == 0)
            srig_turn(&s);
        if (status == VS_NOMEM)
            refused++;
        else if (i % 4 && !refused)
            mem_fault_from(nth);
    }
    hit |= clear_fault();
    check(d, nth, s.rig.store);
    uint64_t digest = rig_digest(s.rig.store);
    if (srig_close(&s) != VS_OK)
        FAILED(d, nth, "%s", "the journal cannot be closed");
    open_rig(d, &again);
    if (rig_digest(again.rig.store) != digest)
        FAILED(d, nth, "%s", "the replay has other data");
    srig_close(&again);
    return hit;
}

/* ---- snapshots ---- */

/* Fails and leaves the one before, or is whole. */
static bool save_kind(struct alloc *d, long nth, bool rewrite)
{
    struct snapshot_rig s = {0}, again = {0};
    rig_clear(d->dir);
    open_rig(d, &s);
    srig_fill(s.rig.store, run_seed());
    uint64_t digest = rig_digest(s.rig.store);
    mem_fault_after(nth);
    enum vs_status status = srig_save(&s, rewrite, NULL, NULL);
    bool hit = clear_fault();
    if (status != VS_OK && !hit)
        FAILED(d, nth, "%s", "it fails without a fault");
    if (status != VS_OK && srig_save(&s, rewrite, NULL, NULL) != VS_OK)
        FAILED(d, nth, "%s", "a second one fails, too");
    check(d, nth, s.rig.store);
    srig_close(&s);
    open_rig(d, &again);
    if (rig_digest(again.rig.store) != digest)
        FAILED(d, nth, "%s", "other data");
    check(d, nth, again.rig.store);
    srig_close(&again);
    return hit;
}

static bool save(struct alloc *d, long nth)
{
    return save_kind(d, nth, false);
}

static bool rewrite(struct alloc *d, long nth)
{
    return save_kind(d, nth, true);
}

/* ---- loads ---- */

static void make_data(struct alloc *d)
{
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}};
    rig_clear(d->dir);
    open_rig(d, &s);
    rig_note(&s.rig);
    srig_fill(s.rig.store, run_seed());
    if (srig_save(&s, d->o.appendonly, NULL, NULL) != VS_OK)
        exit(1);
    for (int i = 0; d->o.appendonly && i < STEPS; i++)
        if (rig_step(&s.rig) != VS_OK)
            exit(1);
    d->digest = rig_digest(s.rig.store);
    srig_close(&s);
    rig_release(&s.rig);
}

/* Refused for memory, or whole. */
static bool load(struct alloc *d, long nth)
{
    struct snapshot_rig s = {0};
    struct buf why = {0};
    mem_fault_after(nth);
    enum vs_status status = srig_open(&s, &d->o, &why);
    if (status == VS_OK)
        vs_settle(s.rig.store, SETTLE); /* the scrub, and the tail is linked */
    bool hit = clear_fault();
    if (status == VS_OK) {
        if (rig_digest(s.rig.store) != d->digest)
            FAILED(d, nth, "%s", "other data");
        check(d, nth, s.rig.store);
        srig_close(&s);
    } else if (status != VS_NOMEM || !why.len) {
        FAILED(d, nth, "%s, %.*s", vs_status_text(status), (int)why.len, why.data);
    }
    buf_release(&why);
    return hit;
}

/* What is checked is never called damaged for want of memory: it might be cut off. */
static bool check_journal(struct alloc *d, long nth)
{
    struct journal_manifest m = {0};
    struct journal_census found;
    struct buf why = {0};
    bool hit = false;
    char *dir = journal_path(d->dir, "appendonlydir");
    if (journal_manifest_load(&d->v, dir, RIG_NAME, &m, &why) != VS_OK)
        exit(1);
    for (size_t i = 0; i < m.count; i++) {
        char *path = journal_segment_path(dir, RIG_NAME, m.segment[i].seq);
        mem_fault_after(nth);
        enum vs_status status =
            journal_check_segment(&d->v, path, &m.segment[i], NULL, NULL, NULL, &found);
        bool failed = clear_fault();
        hit |= failed;
        if (status == VS_OK && found.found == JOURNAL_FOUND_FAILED)
            status = found.status;
        if (failed ? status != VS_NOMEM : status != VS_OK || found.found != JOURNAL_FOUND_END)
            FAILED(d, nth, "%s, %s", vs_status_text(status), found.reason);
        mem_free(path);
    }
    mem_free(dir);
    journal_manifest_release(&m);
    buf_release(&why);
    return hit;
}

/* ---- all of them ---- */

static void sweep(struct alloc *d, const char *what, bool (*one)(struct alloc *d, long nth),
                  unsigned few)
{
    unsigned long before = d->cases;
    long nth = 1;
    d->what = what;
    for (unsigned n = 0; drill_full() || n < few; n++) {
        if (!one(d, nth))
            break;
        d->cases++;
        nth += drill_full() ? 1 : 1 + (long)rng_below(&d->rng, 12);
    }
    printf("%s: %lu, the last one %ld\n", what, d->cases - before, nth);
    fflush(stdout);
}

int main(void)
{
    struct alloc d = {.v = rig_vfs_unsynced(), .rng = {run_seed()}};
    log_set_level(LOG_NOTHING);
    snprintf(d.dir, sizeof(d.dir), "%s/data", drill_dir());
    d.o = (struct persist_options){.vfs = &d.v, .dir = d.dir, .load_truncated = true};
    sweep(&d, "a snapshot", save, 25);
    d.what = "a snapshot";
    make_data(&d);
    sweep(&d, "loading a snapshot", load, 25);
    d.o.appendonly = true;
    sweep(&d, "commands", commands, 40);
    sweep(&d, "linking", linking, 15);
    sweep(&d, "no memory for long", exhausted, 10);
    sweep(&d, "a rewrite", rewrite, 15);
    make_data(&d);
    sweep(&d, "loading a journal", load, 25);
    sweep(&d, "checking a journal", check_journal, 5);
    return drill_end("allocations that fail", d.cases);
}
