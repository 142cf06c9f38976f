/* What a journal takes for synced. After every life of a process the power may go: what no sync has covered is lost
 * then, and what is left must load.
 *
 *     life 1    | header | history | record 1 | synced | history | record 2 | killed: in the system's memory alone
 *     life 2    believes the segment up to "synced", and copies what follows: also what is said of the history right
 *               before record 2, which record 2 says nothing about
 *
 * A process's own file system stands above the log (vfs_fault.h): what fails there has not happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/journal_bed.h"
#include "lib/vfs_sim.h"
#include "lib/wait.h"
#include "persist/vfs_fault.h"

struct bed {
    struct vfs system, disk_vfs, logged, v;
    struct vfs_fault *disk, *process;
    struct vfs_record *record;
    struct rig rig;
};

/* Every record is one of the history. */
static bool counts(void *arg, const struct journal_frame *f, const uint8_t *bytes)
{
    (void)arg;
    (void)f;
    (void)bytes;
    return true;
}

static void bed_begin(struct bed *b, enum journal_fsync fsync)
{
    struct vfs_error err;
    *b = (struct bed){.system = rig_vfs_unsynced()};
    b->disk = vfs_fault_new(&b->system);
    b->disk_vfs = vfs_fault_vfs(b->disk);
    rig_clear(dir);
    assert_int_equal(vfs_record_new(&b->disk_vfs, dir, NULL, &b->record, &err), VS_OK);
    b->logged = vfs_record_vfs(b->record);
    b->process = vfs_fault_new(&b->logged);
    b->v = vfs_fault_vfs(b->process);
    begin(&b->rig, &b->v, fsync);
    journal_set_tap(b->rig.journal, counts, NULL);
}

static void bed_end(struct bed *b)
{
    rig_release(&b->rig);
    vfs_fault_free(b->process);
    vfs_record_free(b->record);
    vfs_fault_free(b->disk);
}

static bool is_written(void *arg)
{
    struct journal_status s;
    journal_read_status(((struct rig *)arg)->journal, &s);
    return s.written == journal_lsn(((struct rig *)arg)->journal);
}

static void say_history(struct rig *r, uint8_t name)
{
    journal_set_history(r->journal, &(struct journal_history){.id = {name}, .second = UINT64_MAX, .nonce = name});
}

/* What loads after a cut that loses all that no sync has covered. */
static void check_lost(struct bed *b, uint64_t lsn, uint8_t history)
{
    static const struct vfs_sim_choice lose = {.seed = 1, .style = VFS_SIM_LOSE};
    char at[160], journal_at[200], text[128] = "";
    struct vfs_sim *sim;
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    size_t len;
    const void *log = vfs_record_log(b->record, &len);
    snprintf(at, sizeof(at), "%s-lost", dir);
    snprintf(journal_at, sizeof(journal_at), "%s/appendonlydir", at);
    assert_int_equal(vfs_sim_new(log, len, &sim, text, sizeof(text)), VS_OK);
    assert_int_equal(vfs_sim_build(sim, vfs_sim_last(sim), &lose, at), VS_OK);
    vfs_sim_free(sim);
    enum vs_status status = rig_load(&vfs_posix, journal_at, true, &store, &m, &loaded, &why);
    if (status)
        print_error("%.*s\n", (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    assert_int_equal(loaded.lsn, lsn);
    assert_int_equal(rig_digest(store), b->rig.digest[lsn]);
    assert_int_equal(loaded.track.known, history != 0);
    if (history)
        assert_int_equal(loaded.track.at.id[0], history);
    vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
    assert_int_equal(run_remove_directory(at), 0);
}

/* Another process finds what the system has, killed with the one before. */
static void next_life(struct bed *b, enum journal_fsync fsync)
{
    struct rig *r = &b->rig;
    struct journal_loaded loaded;
    struct buf why = {0};
    struct vfs_error err;
    journal_manifest_release(&r->manifest);
    assert_int_equal(rig_load(&b->v, journal_dir, true, &r->store, &r->manifest, &loaded, &why), VS_OK);
    struct journal_options o = {.vfs = &b->v, .dir = journal_dir, .name = RIG_NAME, .fsync = fsync};
    r->hlc.last = loaded.hlc;
    r->journal = journal_new(&o, &r->hlc, loaded.lsn + 1);
    journal_set_history(r->journal, loaded.track.known ? &loaded.track.at : NULL);
    vs_set_journal(r->store, journal_hook(r->journal));
    assert_int_equal(journal_open(r->journal, &r->manifest, &err), VS_OK);
    buf_release(&why);
}

static void taken_over(enum journal_fsync fsync, int synced, int written)
{
    struct bed b;
    bed_begin(&b, fsync);
    say_history(&b.rig, 1);
    for (int i = 0; i < synced; i++)
        assert_int_equal(rig_step(&b.rig), VS_OK);
    assert_true(rig_settle(&b.rig, 5000));
    /* From here on it is written, and nothing of it synced; nor is another file begun. */
    vfs_fault_set(b.process, VFS_OP_FDATASYNC, 1, VFS_FAULT_EIO, true);
    vfs_fault_set(b.process, VFS_OP_OPEN, 1, VFS_FAULT_EIO, true);
    say_history(&b.rig, 2);
    for (int i = 0; i < written; i++)
        assert_int_equal(rig_step(&b.rig), VS_OK);
    journal_turn(b.rig.journal);
    assert_true(wait_until(is_written, &b.rig, 5000));
    uint64_t lsn = journal_lsn(b.rig.journal);
    rig_close(&b.rig);
    vfs_fault_clear(b.process);
    next_life(&b, fsync);
    assert_int_equal(journal_lsn(b.rig.journal), lsn);
    assert_int_equal(rig_close(&b.rig), VS_OK);
    check_lost(&b, lsn, 2);
    bed_end(&b);
}

static void test_taken_over(void **state)
{
    (void)state;
    taken_over(JOURNAL_ALWAYS, 1, 1);
    taken_over(JOURNAL_ALWAYS, 3, 2);
    taken_over(JOURNAL_NO, 0, 1);
    taken_over(JOURNAL_NO, 0, 3);
}

static bool has_struck(void *arg)
{
    return vfs_fault_hits(((struct bed *)arg)->disk) == 1;
}

/* What is said of the history with no record behind it is written after the last sync, and a sync of it fails: all
 * records are on disk, and nothing is unsure. */
static void test_history_alone(void **state)
{
    (void)state;
    struct bed b;
    struct journal_status s;
    bed_begin(&b, JOURNAL_ALWAYS);
    say_history(&b.rig, 1);
    assert_int_equal(rig_step(&b.rig), VS_OK);
    assert_true(rig_settle(&b.rig, 5000));
    say_history(&b.rig, 2);
    journal_turn(b.rig.journal);
    assert_int_equal(rig_step(&b.rig), VS_OK);
    vfs_fault_set(b.disk, VFS_OP_FDATASYNC, 1, VFS_FAULT_EIO, false);
    journal_turn(b.rig.journal);
    assert_true(wait_until(has_struck, &b, 5000));
    assert_true(rig_settle(&b.rig, 5000));
    journal_read_status(b.rig.journal, &s);
    assert_false(s.unsure);
    check_lost(&b, 2, 2);
    assert_int_equal(rig_close(&b.rig), VS_OK);
    check_lost(&b, 2, 2);
    bed_end(&b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_taken_over),
        TEST(test_history_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
