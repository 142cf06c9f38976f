/* Power cuts: a journal is written through a log of file operations, and from every kind of disk that
 * a cut may leave the data are recovered. Under `always` every acknowledged record must be there,
 * under `everysec` all but those of the last second of acknowledgements. What is there must be the
 * data as they were after some record. No state may refuse to start. Under `no` nothing is promised
 * but that, also where syncs fail and what was written before is lost in the middle.
 *
 * A scenario has several lives: a process that closes properly, or is killed, or whose disk fails
 * now and then; the next one loads what it left and goes on. Rotations and bases come in between.
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
#include "lib/journal_rig.h"
#include "lib/power.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_record.h"

#define LIVES   4
#define SECOND  1000000000ull
/* Between the clock that decides what may be acknowledged and the recorder's. */
#define SLACK   100000000ull

struct scenario {
    enum journal_fsync fsync;
    struct rng rng;
    char dir[200], journal_dir[240], rebuilt[200], rebuilt_journal[240];
    struct vfs system;
    struct vfs_fault *disk;      /* below the log: what fails is known to it */
    struct vfs_record *record;
    struct vfs_fault *process;   /* above: what is stopped has not happened */
    struct vfs v;
    struct rig rig;
    struct power_life life[LIVES];
    unsigned lives;
    uint64_t acknowledged;
    struct buf why;              /* of the last start */
};

static void must(enum vs_status status, const char *what, const char *text)
{
    if (status == VS_OK)
        return;
    printf("%s: %s, %s\n", what, vs_status_text(status), text);
    exit(1);
}

/* What may be acknowledged is. */
static void acknowledge(struct scenario *s)
{
    uint64_t lsn = journal_releasable(s->rig.journal, clock_mono_ns());
    if (lsn > s->acknowledged) {
        s->acknowledged = lsn;
        vfs_record_mark(s->record, lsn);
    }
}

static void turn(struct scenario *s, unsigned pause_us)
{
    journal_turn(s->rig.journal);
    if (pause_us)
        usleep((unsigned)rng_below(&s->rng, pause_us));
    acknowledge(s);
}

/* ---- a life ---- */

/* Loads what is there, as a start does. */
static void begin_life(struct scenario *s)
{
    struct power_life *life = &s->life[s->lives];
    struct vfs_error err;
    struct buf why = {0};
    struct journal_loaded loaded = {0};
    struct vs_store *store = NULL;
    journal_manifest_release(&s->rig.manifest);
    memset(life, 0, sizeof(*life));
    life->from = vfs_record_count(s->record);
    enum vs_status status = rig_load(&s->v, s->journal_dir, true, &store, &s->rig.manifest, &loaded,
                                     &why);
    if (status != VS_NOTFOUND)
        must(status, "load", why.data ? why.data : "");
    struct journal_options o = {.vfs = &s->v, .dir = s->journal_dir, .name = RIG_NAME,
                                .fsync = s->fsync};
    if (!store) {
        struct vs_options empty = {.databases = 4};
        must(vs_open(&empty, &store), "store", "");
    }
    life->base = loaded.lsn;
    s->rig.store = store;
    s->rig.hlc.last = loaded.hlc;
    s->rig.journal = journal_new(&o, &s->rig.hlc, loaded.lsn + 1);
    s->rig.digest = NULL;
    s->rig.digest_cap = 0;
    rig_note(&s->rig);
    rig_histories(&s->rig, loaded.track.known ? &loaded.track : NULL);
    vs_set_journal(store, journal_hook(s->rig.journal));
    must(journal_open(s->rig.journal, &s->rig.manifest, &err), "open", err.text);
    buf_release(&why);
}

static void end_life(struct scenario *s)
{
    struct power_life *life = &s->life[s->lives++];
    life->known = s->rig.known;
    life->digest = s->rig.digest;
    rig_close(&s->rig);
    s->rig.digest = NULL;
}

static void live(struct scenario *s, unsigned steps, unsigned pause_us, bool failures)
{
    uint64_t lsn;
    for (unsigned i = 0; i < steps; i++) {
        enum vs_status status = rig_step(&s->rig);
        if (status != VS_OK && status != VS_IO)
            must(status, "step", "");
        if (rng_below(&s->rng, 3) == 0 || status)
            turn(s, status ? 20000 : pause_us);
        if (rng_below(&s->rng, 60) == 0)
            must(journal_rotate(s->rig.journal, &lsn), "rotate", "");
        if (failures && rng_below(&s->rng, 25) == 0) {
            static const enum vfs_op ops[] = {VFS_OP_WRITE, VFS_OP_FDATASYNC, VFS_OP_SYNCDIR,
                                              VFS_OP_RENAME, VFS_OP_OPEN};
            static const enum vfs_fault_kind kinds[] = {VFS_FAULT_EIO, VFS_FAULT_ENOSPC,
                                                        VFS_FAULT_TORN, VFS_FAULT_SHORT};
            vfs_fault_set(s->disk, ops[rng_below(&s->rng, 5)], 1 + rng_below(&s->rng, 4),
                          kinds[rng_below(&s->rng, 4)], false);
        }
    }
    vfs_fault_clear(s->disk);
}

/* Nothing more reaches the disk; threads find out by errors. */
static void kill_process(struct scenario *s)
{
    /* Who knows what is still in the queue. */
    turn(s, 1000);
    vfs_fault_set(s->process, VFS_FAULT_ANY, 1, VFS_FAULT_EIO, true);
    end_life(s);
    vfs_fault_clear(s->process);
}

static void run(struct scenario *s, enum journal_fsync fsync, uint64_t seed, unsigned steps,
                unsigned pause_us)
{
    struct vfs_error err;
    memset(s, 0, sizeof(*s));
    s->fsync = fsync;
    s->rng.state = seed;
    snprintf(s->dir, sizeof(s->dir), "%s/log", drill_dir());
    snprintf(s->journal_dir, sizeof(s->journal_dir), "%s/j", s->dir);
    snprintf(s->rebuilt, sizeof(s->rebuilt), "%s/rebuilt", drill_dir());
    snprintf(s->rebuilt_journal, sizeof(s->rebuilt_journal), "%s/j", s->rebuilt);
    rig_clear(s->dir);
    s->system = rig_vfs_unsynced();
    s->disk = vfs_fault_new(&s->system);
    struct vfs below = vfs_fault_vfs(s->disk);
    must(vfs_record_new(&below, s->dir, NULL, &s->record, &err), "record", err.text);
    struct vfs logged = vfs_record_vfs(s->record);
    s->process = vfs_fault_new(&logged);
    s->v = vfs_fault_vfs(s->process);
    s->rig.rng.state = seed ^ 1;
    s->rig.vector_dim = 4;
    for (unsigned i = 0; i < LIVES; i++) {
        begin_life(s);
        live(s, steps, pause_us, i % 2 == 1);
        if (i % 2)
            kill_process(s);
        else
            end_life(s);
    }
}

static void release(struct scenario *s)
{
    for (unsigned i = 0; i < s->lives; i++)
        mem_free(s->life[i].digest);
    journal_manifest_release(&s->rig.manifest);
    buf_release(&s->why);
    vfs_fault_free(s->process);
    vfs_record_free(s->record);
    vfs_fault_free(s->disk);
}

/* ---- recovering ---- */

static uint64_t required(void *arg, struct vfs_sim *sim, size_t cut)
{
    const struct scenario *s = arg;
    uint64_t greatest = 0, until = UINT64_MAX;
    if (s->fsync == JOURNAL_NO)
        return 0;
    if (s->fsync == JOURNAL_EVERYSEC) {
        size_t i = cut;
        while (i > 0 && vfs_sim_event(sim, i - 1)->type != VFS_RECORD_MARK)
            i--;
        if (!i)
            return 0;
        uint64_t last = vfs_sim_event(sim, i - 1)->time_ns;
        until = last > SECOND + SLACK ? last - SECOND - SLACK : 0;
    }
    vfs_sim_marks(sim, cut, until, &greatest);
    return greatest;
}

static void start(void *arg, struct power_found *out)
{
    struct scenario *s = arg;
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct vfs plain = rig_vfs_unsynced();
    s->why.len = 0;
    out->status = rig_load(&plain, s->rebuilt_journal, true, &store, &m, &loaded, &s->why);
    out->why = s->why.data;
    out->why_len = s->why.len;
    out->lsn = loaded.lsn;
    if (store) {
        out->digest = rig_digest(store);
        vs_close(store);
    }
    journal_manifest_release(&m);
}

static void cuts(struct scenario *s, unsigned long states)
{
    static const char *const names[] = {"no", "everysec", "always"};
    struct power p = {.rng = &s->rng,
                      .record = s->record,
                      .rebuilt = s->rebuilt,
                      .what = names[s->fsync],
                      .life = s->life,
                      .lives = s->lives,
                      .required = required,
                      .start = start,
                      .arg = s};
    power_cuts(&p, states);
}

int main(void)
{
    unsigned long cases = 0, scenarios = drill_count(20, 4), states = drill_count(500, 125);
    unsigned long without = drill_count(5, 1); /* promises: beside the others */
    log_set_level(LOG_NOTHING);
    for (unsigned long i = 0; i < scenarios + without; i++) {
        struct scenario s;
        enum journal_fsync fsync = i >= scenarios ? JOURNAL_NO
                                   : i % 2        ? JOURNAL_EVERYSEC
                                                  : JOURNAL_ALWAYS;
        bool everysec = fsync == JOURNAL_EVERYSEC;
        /* Under everysec a life must last seconds to mean anything. */
        run(&s, fsync, run_seed() + i, everysec ? 500 : 150,
            everysec ? (unsigned)drill_count(12000, 6000) : 0);
        cuts(&s, states);
        cases += states;
        release(&s);
    }
    return drill_end("journal, power cuts", cases);
}
