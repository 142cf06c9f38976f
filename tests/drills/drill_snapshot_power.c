/* Power cuts while snapshots and rewrites run: every disk that a cut may leave starts, and holds all
 * that had been acknowledged under `always`. Without a journal, it holds the last snapshot that had
 * been reported as done, or a later one.
 *
 * Several lives: each loads what the one before has left, closes properly or is killed.
 * tsan: skip (files are what it is about; the threads are those of test_journal and test_snapshot) */
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
#include "lib/power.h"
#include "lib/snapshot_rig.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_record.h"

#define LIVES 4

struct scenario {
    bool journal;
    struct rng rng;
    char dir[200], rebuilt[200];
    struct vfs system;
    struct vfs_record *record;
    struct vfs_fault *process;   /* above the log: what is stopped has not happened */
    struct vfs v;
    struct persist_options o;
    struct snapshot_rig s;
    struct power_life life[LIVES];
    unsigned lives;
    uint64_t acknowledged;
    struct buf why;              /* of the last start */
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    printf("%s\n", what);
    exit(1);
}

static void acknowledge(struct scenario *x, uint64_t lsn)
{
    if (lsn == UINT64_MAX || lsn <= x->acknowledged)
        return;
    x->acknowledged = lsn;
    vfs_record_mark(x->record, lsn);
}

/* Under `always` records are acknowledged as the journal says; without one, snapshots are. */
static void step(void *arg)
{
    struct scenario *x = arg;
    if (rng_below(&x->rng, 4) == 0)
        must(rig_step(&x->s.rig) == VS_OK, "a command");
    srig_turn(&x->s);
    if (x->journal)
        acknowledge(x, journal_releasable(x->s.rig.journal, clock_mono_ns()));
}

static void begin_life(struct scenario *x)
{
    struct power_life *life = &x->life[x->lives];
    struct buf why = {0};
    memset(life, 0, sizeof(*life));
    life->from = vfs_record_count(x->record);
    if (srig_open(&x->s, &x->o, &why) != VS_OK) {
        printf("a start: %.*s\n", (int)why.len, why.data);
        exit(1);
    }
    life->base = journal_lsn(x->s.rig.journal);
    x->s.rig.digest = NULL;
    x->s.rig.digest_cap = 0;
    rig_note(&x->s.rig);
    buf_release(&why);
}

static void live(struct scenario *x, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        for (int k = 0; k < 12; k++)
            step(x);
        bool rewrite = x->journal && rng_below(&x->rng, 2);
        uint64_t lsn = journal_lsn(x->s.rig.journal);
        /* A database that is emptied meanwhile ends it: then nothing is promised. */
        if (srig_save(&x->s, rewrite, step, x) == VS_OK && !x->journal)
            acknowledge(x, lsn);
    }
}

static void end_life(struct scenario *x, bool kill)
{
    struct power_life *life = &x->life[x->lives++];
    if (kill) {
        if (rng_below(&x->rng, 2)) /* in the middle of one */
            persist_save(x->s.persist, x->journal && rng_below(&x->rng, 2), NULL, NULL);
        for (int k = 0; k < 5; k++)
            step(x);
        vfs_fault_set(x->process, VFS_FAULT_ANY, 1, VFS_FAULT_EIO, true);
    }
    life->known = x->s.rig.known;
    life->digest = x->s.rig.digest;
    srig_close(&x->s);
    x->s.rig.digest = NULL;
    vfs_fault_clear(x->process);
}

static void run(struct scenario *x, bool journal, uint64_t seed)
{
    struct vfs_error err;
    memset(x, 0, sizeof(*x));
    x->journal = journal;
    x->rng.state = seed;
    snprintf(x->dir, sizeof(x->dir), "%s/log", drill_dir());
    snprintf(x->rebuilt, sizeof(x->rebuilt), "%s/rebuilt", drill_dir());
    rig_clear(x->dir);
    x->system = rig_vfs_unsynced();
    must(vfs_record_new(&x->system, x->dir, NULL, &x->record, &err) == VS_OK, "the log");
    struct vfs logged = vfs_record_vfs(x->record);
    x->process = vfs_fault_new(&logged);
    x->v = vfs_fault_vfs(x->process);
    x->o = (struct persist_options){.vfs = &x->v, .dir = x->dir, .appendonly = journal,
                                    .load_truncated = true, .fsync = JOURNAL_ALWAYS};
    x->s.rig.rng.state = seed ^ 1;
    x->s.rig.vector_dim = 4;
    for (unsigned i = 0; i < LIVES; i++) {
        begin_life(x);
        live(x, 3);
        end_life(x, i % 2);
    }
}

static void release(struct scenario *x)
{
    for (unsigned i = 0; i < x->lives; i++)
        mem_free(x->life[i].digest);
    buf_release(&x->why);
    vfs_fault_free(x->process);
    vfs_record_free(x->record);
}

/* ---- recovering ---- */

static uint64_t required(void *arg, struct vfs_sim *sim, size_t cut)
{
    uint64_t need = 0;
    (void)arg;
    vfs_sim_marks(sim, cut, UINT64_MAX, &need);
    return need;
}

static void start(void *arg, struct power_found *out)
{
    struct scenario *x = arg;
    struct snapshot_rig s = {0};
    struct vfs plain = rig_vfs_unsynced();
    struct persist_options o = x->o;
    o.vfs = &plain;
    o.dir = x->rebuilt;
    x->why.len = 0;
    out->status = srig_open(&s, &o, &x->why);
    out->why = x->why.data;
    out->why_len = x->why.len;
    if (out->status != VS_OK)
        return;
    out->lsn = journal_lsn(s.rig.journal);
    out->digest = rig_digest(s.rig.store);
    srig_close(&s);
}

static void cuts(struct scenario *x, unsigned long states)
{
    struct power p = {.rng = &x->rng,
                      .record = x->record,
                      .rebuilt = x->rebuilt,
                      .what = x->journal ? "journal" : "snapshots",
                      .life = x->life,
                      .lives = x->lives,
                      .required = required,
                      .start = start,
                      .arg = x};
    power_cuts(&p, states);
}

int main(void)
{
    unsigned long cases = 0, scenarios = drill_count(20, 4), states = drill_count(500, 125);
    log_set_level(LOG_NOTHING);
    for (unsigned long i = 0; i < scenarios; i++) {
        struct scenario x;
        run(&x, i % 4 != 3, run_seed() + i);
        cuts(&x, states);
        cases += states;
        release(&x);
    }
    return drill_end("snapshot, power cuts", cases);
}
