/* The Nth call of each file operation fails with EIO or ENOSPC, does half, or is interrupted, for N = 1,
 * 2, 3 .. until a run has no such call: in a journal that is opened, written to, rotated, given a base
 * and closed, and in one that is loaded.
 *
 * A failure may refuse a command; the same command must be taken within two seconds. What was
 * acknowledged survives a power cut at any moment of the run, and after it all data are there.
 * run: beside tsan: skip (files are what it is about; the threads are those of test_journal and test_partial) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/drill.h"
#include "lib/journal_rig.h"
#include "lib/run.h"
#include "lib/vfs_sim.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_record.h"

#define STEPS     8
#define RESUME_MS 2000
#define CUTS      3

static const struct {
    enum vfs_fault_kind kind;
    const char *name;
} kinds[] = {{VFS_FAULT_EIO, "EIO"}, {VFS_FAULT_ENOSPC, "ENOSPC"}, {VFS_FAULT_SHORT, "short"},
             {VFS_FAULT_EINTR, "EINTR"}, {VFS_FAULT_TORN, "torn"}};

struct fault_run {
    enum journal_fsync fsync;
    char where[96];
    char dir[200], journal_dir[240], rebuilt[200], rebuilt_journal[240];
    struct vfs_fault *fault;
    struct vfs_record *record;
    struct vfs v;
    struct rig rig;
    struct rng rng;
    bool failed;
    bool may_refuse;  /* after a power cut */
};

#define FAILED(run, ...) ((run)->failed = true, drill_failed(__VA_ARGS__))

/* Takes until it is acknowledged. */
static void step(struct fault_run *run)
{
    struct rig *r = &run->rig;
    uint64_t until = clock_mono_ns() + RESUME_MS * 1000000ull;
    enum vs_status status;
    while ((status = rig_step(r)) == VS_IO && clock_mono_ns() < until)
        usleep(200);
    if (status)
        FAILED(run, "%s: a command is refused for long: %s", run->where, vs_status_text(status));
    else if (!rig_settle(r, RESUME_MS))
        FAILED(run, "%s: record %" PRIu64 " is not acknowledged", run->where, journal_lsn(r->journal));
    else
        vfs_record_mark(run->record, journal_lsn(r->journal));
}

/* A base that holds all, as far as the manifest is concerned: this drill never loads it. */
static void set_base(struct fault_run *run)
{
    struct vfs_error err = {0};
    struct buf name = {0};
    uint64_t lsn;
    enum vs_status status = VS_IO;
    if (journal_rotate(run->rig.journal, &lsn)) {
        FAILED(run, "%s: no rotation", run->where);
        return;
    }
    step(run);
    for (int i = 0; i < 3 && status; i++) {
        uint64_t seq = journal_next_seq(run->rig.journal);
        name.len = 0;
        journal_base_name(RIG_NAME, seq, &name);
        buf_append(&name, "", 1);
        char *path = journal_path(run->journal_dir, name.data);
        status = vfs_path_store(&run->v, path, &lsn, sizeof(lsn), true, &err);
        if (!status)
            status = journal_set_base(run->rig.journal, seq, 0, &err);
        mem_free(path);
    }
    buf_release(&name);
    if (status)
        FAILED(run, "%s: no base: %s", run->where, err.text);
}

static void check(struct fault_run *run, const char *dir, const char *when, uint64_t least, uint64_t most)
{
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct buf why = {0};
    struct vfs plain = rig_vfs_unsynced();
    enum vs_status status = rig_load(&plain, dir, true, &store, &m, &loaded, &why);
    if (status == VS_NOTFOUND && !least)
        goto done;
    if (status == VS_CORRUPT && run->may_refuse && why.len)
        goto done;
    if (status)
        FAILED(run, "%s, %s: does not start: %.*s", run->where, when, (int)why.len, why.data);
    else if (loaded.lsn < least || loaded.lsn > most)
        FAILED(run, "%s, %s: loaded to record %" PRIu64 ", not %" PRIu64 " to %" PRIu64, run->where,
               when, loaded.lsn, least, most);
    else if (rig_digest(store) != run->rig.digest[loaded.lsn])
        FAILED(run, "%s, %s: other data than after record %" PRIu64, run->where, when, loaded.lsn);
done:
    if (store)
        vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
}

static void cut_power(struct fault_run *run)
{
    static const enum vfs_sim_style styles[] = {VFS_SIM_LOSE, VFS_SIM_ANY, VFS_SIM_SCATTER};
    size_t len;
    char why[256], when[64];
    struct vfs_sim *sim;
    const void *log = vfs_record_log(run->record, &len);
    if (vfs_sim_new(log, len, &sim, why, sizeof(why))) {
        printf("simulator: %s\n", why);
        exit(1);
    }
    size_t first = vfs_sim_first(sim), last = vfs_sim_last(sim);
    for (int i = 0; i < CUTS; i++) {
        size_t cut = first + (last - first) * (size_t)i / CUTS +
                     rng_below(&run->rng, (last - first) / CUTS + 1);
        struct vfs_sim_choice choice = {rng_next(&run->rng), rng_below(&run->rng, 2), styles[i]};
        uint64_t need = 0;
        vfs_sim_marks(sim, cut, UINT64_MAX, &need);
        if (run->fsync != JOURNAL_ALWAYS)
            need = 0;  /* a run is shorter than the second that everysec may lose */
        if (vfs_sim_build(sim, cut, &choice, run->rebuilt)) {
            perror(run->rebuilt);
            exit(1);
        }
        snprintf(when, sizeof(when), "power cut after event %zu", cut);
        check(run, run->rebuilt_journal, when, need, run->rig.known);
    }
    vfs_sim_free(sim);
}

/* Without syncs nothing is kept in memory once it is written. When the one sync at the end of a segment
 * fails, and the power goes before a rewrite, records are missing in the middle: that is told. */
static bool may_lose_the_middle(const struct fault_run *run, enum vfs_op op)
{
    return run->fsync == JOURNAL_NO && op == VFS_OP_FDATASYNC;
}

/* False: no call was changed, the run was clean. */
static bool one(struct fault_run *run, enum vfs_op op, size_t kind, unsigned long nth)
{
    struct vfs_error err;
    struct vfs plain = rig_vfs_unsynced();
    static const char *const levels[] = {"no", "everysec", "always"};
    snprintf(run->where, sizeof(run->where), "%s %s %s %lu", levels[run->fsync], vfs_op_name(op),
             kinds[kind].name, nth);
    rig_clear(run->dir);
    /* Below the log, so that it knows which syncs failed. */
    run->fault = vfs_fault_new(&plain);
    struct vfs faulty = vfs_fault_vfs(run->fault);
    if (vfs_record_new(&faulty, run->dir, NULL, &run->record, &err)) {
        printf("%s\n", err.text);
        exit(1);
    }
    run->v = vfs_record_vfs(run->record);
    rig_init(&run->rig, &run->v, run->journal_dir, run->fsync, nth);
    rig_histories(&run->rig, NULL);
    run->failed = false;
    vfs_fault_set(run->fault, op, nth, kinds[kind].kind, false);

    enum vs_status status = VS_IO;
    for (int i = 0; i < 3 && status; i++)
        status = journal_open(run->rig.journal, &run->rig.manifest, &err);
    if (status)
        FAILED(run, "%s: cannot be opened: %s", run->where, err.text);
    for (int i = 0; i < STEPS && !run->failed; i++)
        step(run);
    if (!run->failed)
        set_base(run);
    for (int i = 0; i < STEPS && !run->failed; i++)
        step(run);
    bool opened = status == VS_OK, whole = false;
    uint64_t acknowledged = run->rig.known;
    if (!run->failed) {
        whole = rig_step(&run->rig) == VS_OK;
        status = rig_close(&run->rig);
    }
    bool hit = vfs_fault_hits(run->fault) > 0;
    if (!run->failed && opened)
        check(run, run->journal_dir, "after all", whole && !status ? run->rig.known : acknowledged,
              run->rig.known);
    run->may_refuse = may_lose_the_middle(run, op);
    if (!run->failed)
        cut_power(run);
    run->may_refuse = false;
    rig_release(&run->rig);
    vfs_record_free(run->record);
    vfs_fault_free(run->fault);
    return hit;
}

/* ---- loading ---- */

/* The journal in run->journal_dir, of `records`, loaded while calls fail. */
static bool load_one(struct fault_run *run, enum vfs_op op, size_t kind, unsigned long nth)
{
    struct vfs plain = rig_vfs_unsynced();
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct buf why = {0};
    run->fault = vfs_fault_new(&plain);
    struct vfs faulty = vfs_fault_vfs(run->fault);
    vfs_fault_set(run->fault, op, nth, kinds[kind].kind, false);
    enum vs_status status = rig_load(&faulty, run->journal_dir, true, &store, &m, &loaded, &why);
    bool hit = vfs_fault_hits(run->fault) > 0;
    bool mended = !hit || kinds[kind].kind == VFS_FAULT_SHORT || kinds[kind].kind == VFS_FAULT_EINTR;
    if (status == VS_OK && (loaded.lsn != run->rig.known ||
                            rig_digest(store) != run->rig.digest[loaded.lsn]))
        drill_failed("load, %s %s %lu: loaded to record %" PRIu64 " of %" PRIu64, vfs_op_name(op),
                     kinds[kind].name, nth, loaded.lsn, run->rig.known);
    else if (status && (mended || status != VS_IO || !why.len))
        drill_failed("load, %s %s %lu: %s: %.*s", vfs_op_name(op), kinds[kind].name, nth,
                     vs_status_text(status), (int)why.len, why.data);
    if (store)
        vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
    vfs_fault_free(run->fault);
    return hit;
}

static void make_torn_journal(struct fault_run *run)
{
    struct vfs_error err;
    struct vfs_stat st;
    struct vfs plain = rig_vfs_unsynced();
    uint64_t lsn;
    rig_clear(run->dir);
    rig_init(&run->rig, &plain, run->journal_dir, JOURNAL_NO, 7);
    if (journal_open(run->rig.journal, &run->rig.manifest, &err))
        exit(1);
    for (int i = 0; i < 200; i++)
        if (rig_step(&run->rig) || (i % 50 == 49 && journal_rotate(run->rig.journal, &lsn)))
            exit(1);
    if (rig_step(&run->rig) || rig_close(&run->rig))
        exit(1);
    /* The seal of the last segment in half. */
    const struct journal_file *f = &run->rig.manifest.segment[run->rig.manifest.count - 1];
    char *path = journal_segment_path(run->journal_dir, RIG_NAME, f->seq);
    if (vfs_path_stat(&plain, path, &st, &err) || truncate(path, (off_t)st.size - 20))
        exit(1);
    mem_free(path);
}

int main(void)
{
    static const enum vfs_op ops[] = {VFS_OP_OPEN,   VFS_OP_CLOSE,  VFS_OP_READ,  VFS_OP_WRITE,
                                      VFS_OP_FSYNC,  VFS_OP_FDATASYNC, VFS_OP_RENAME, VFS_OP_UNLINK,
                                      VFS_OP_MKDIR,  VFS_OP_LIST,   VFS_OP_STAT,  VFS_OP_SYNCDIR};
    unsigned long cases = 0, most = drill_count(100000, run_quick() ? 12 : 40);
    struct fault_run run = {.rng = {run_seed()}};
    log_set_level(LOG_NOTHING);
    snprintf(run.dir, sizeof(run.dir), "%s/log", drill_dir());
    snprintf(run.journal_dir, sizeof(run.journal_dir), "%s/j", run.dir);
    snprintf(run.rebuilt, sizeof(run.rebuilt), "%s/rebuilt", drill_dir());
    snprintf(run.rebuilt_journal, sizeof(run.rebuilt_journal), "%s/j", run.rebuilt);
    for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            unsigned long nth = 1;
            for (int level = JOURNAL_NO; level <= JOURNAL_ALWAYS; level++) {
                run.fsync = (enum journal_fsync)level;
                for (nth = 1; nth <= most && one(&run, ops[o], k, nth); nth++)
                    cases++;
            }
        }
    make_torn_journal(&run);
    for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
            for (unsigned long nth = 1; nth <= most && load_one(&run, ops[o], k, nth); nth++)
                cases++;
    rig_release(&run.rig);
    return drill_end("journal, failing calls", cases);
}
