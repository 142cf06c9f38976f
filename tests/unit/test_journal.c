/* The journal: what is written is what is loaded, in groups, over rotations, with calls that fail. What its files may look
 * like is test_journal_read.c's matter. run: beside */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "lib/journal_bed.h"
#include "lib/wait.h"
#include "persist/effect.h"
#include "persist/journal_int.h"
#include "persist/journal_read.h"
#include "persist/le.h"
#include "persist/vfs_fault.h"

/* ---- writing and loading ---- */

static void write_and_load(enum journal_fsync fsync)
{
    struct rig r;
    begin(&r, &vfs_posix, fsync);
    steps(&r, 300);
    assert_true(rig_settle(&r, 5000));
    /* As a crash of the process would leave it. */
    struct journal_loaded loaded = check_load(&r);
    assert_int_equal(loaded.lsn, r.known);
    assert_false(loaded.sealed);
    assert_false(loaded.cut);
    steps(&r, 100);
    assert_int_equal(rig_close(&r), VS_OK);
    loaded = check_load(&r);
    assert_int_equal(loaded.lsn, r.known);
    assert_int_equal(loaded.lsn, 400);
    assert_int_equal(loaded.records, 400);
    assert_true(loaded.commands >= 400);
    assert_true(loaded.sealed);
    assert_int_equal(loaded.bytes, loaded.total);
    rig_release(&r);
}

static void test_write_no(void **state)
{
    (void)state;
    write_and_load(JOURNAL_NO);
}

static void test_write_everysec(void **state)
{
    (void)state;
    write_and_load(JOURNAL_EVERYSEC);
}

static void test_write_always(void **state)
{
    (void)state;
    write_and_load(JOURNAL_ALWAYS);
}

/* A second life goes on behind the first. */
static void test_go_on(void **state)
{
    (void)state;
    struct rig r, second;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    struct vfs_error err;
    begin(&r, &vfs_posix, JOURNAL_ALWAYS);
    steps(&r, 50);
    assert_int_equal(rig_close(&r), VS_OK);
    for (int life = 0; life < 3; life++) {
        rig_init(&second, &vfs_posix, journal_dir, JOURNAL_ALWAYS, 5);
        vs_close(second.store);
        journal_free(second.journal);
        assert_int_equal(rig_load(&vfs_posix, journal_dir, true, &second.store, &m, &loaded, &why),
                         VS_OK);
        second.hlc.last = loaded.hlc;
        struct journal_options o = {.vfs = &vfs_posix, .dir = journal_dir, .name = RIG_NAME,
                                    .fsync = JOURNAL_ALWAYS};
        second.journal = journal_new(&o, &second.hlc, loaded.lsn + 1);
        vs_set_journal(second.store, journal_hook(second.journal));
        assert_int_equal(journal_open(second.journal, &m, &err), VS_OK);
        /* A life without a record leaves no trace but an empty segment, which goes with the next. */
        if (life != 1)
            steps(&second, 20);
        uint64_t digest = rig_digest(second.store), lsn = journal_lsn(second.journal);
        assert_int_equal(rig_close(&second), VS_OK);
        journal_manifest_release(&m);
        struct vs_store *store;
        assert_int_equal(rig_load(&vfs_posix, journal_dir, true, &store, &m, &loaded, &why), VS_OK);
        assert_int_equal(loaded.lsn, lsn);
        assert_int_equal(rig_digest(store), digest);
        vs_close(store);
        journal_manifest_release(&m);
        rig_release(&second);
    }
    struct vfs_names names = {0};
    assert_int_equal(vfs_path_list(&vfs_posix, journal_dir, &names, &err), VS_OK);
    assert_int_equal(names.count, 4);  /* the manifest, three segments with records */
    vfs_names_release(&names);
    rig_release(&r);
}

/* ---- groups ---- */

static void test_groups(void **state)
{
    (void)state;
    struct rig r;
    struct vs_index *index;
    struct vs_index_options o = {.dim = 2};
    float v[] = {1, 2};
    begin(&r, &vfs_posix, JOURNAL_ALWAYS);
    journal_group_begin(r.journal);
    journal_group_end(r.journal);
    assert_int_equal(journal_lsn(r.journal), 0);
    journal_group_begin(r.journal);
    journal_group_begin(r.journal);
    assert_int_equal(vs_create(r.store, 0, "a", 1, &o, &index), VS_OK);
    journal_group_end(r.journal);
    struct vs_element e = {.id = "x", .id_len = 1, .vector = v};
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    assert_int_equal(vs_create(r.store, 3, "b", 1, &o, &index), VS_OK);
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    assert_int_equal(vs_remove(r.store, 0, "a", 1), VS_OK);
    assert_int_equal(journal_lsn(r.journal), 0);
    journal_group_end(r.journal);
    assert_int_equal(journal_lsn(r.journal), 1);
    /* Without a group an effect is a record. What changes nothing is none. */
    assert_int_equal(vs_delete(index, "x", 1), VS_OK);
    assert_int_equal(vs_delete(index, "x", 1), VS_NOTFOUND);
    assert_int_equal(vs_remove(r.store, 0, "a", 1), VS_NOTFOUND);
    assert_int_equal(journal_lsn(r.journal), 2);
    assert_true(rig_settle(&r, 5000));
    r.digest[2] = rig_digest(r.store);
    r.known = 2;
    assert_int_equal(rig_close(&r), VS_OK);

    char *path = journal_segment_path(journal_dir, RIG_NAME, 1);
    struct journal_file f = {.seq = 1, .first = 1};
    struct journal_reader reader = {0};
    struct journal_commands commands = {0};
    struct effect_scratch x = {0};
    struct vs_effect effect;
    struct buf why = {0};
    assert_int_equal(journal_reader_open(&reader, &vfs_posix, path, &f, &why), VS_OK);
    assert_int_equal(journal_reader_next(&reader), JOURNAL_FOUND_RECORD);
    assert_int_equal(reader.frame.type, JOURNAL_BATCH);
    assert_int_equal(reader.frame.commands, 7);  /* five effects, two changes of the database */
    static const unsigned dbs[] = {0, 0, 3, 3, 0};
    journal_commands_begin(&commands, &reader.frame, reader.payload);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(journal_commands_next(&commands, 16, &x, &effect, &why), VS_OK);
        assert_int_equal(effect.db, dbs[i]);
    }
    assert_int_equal(journal_commands_next(&commands, 16, &x, &effect, &why), VS_NOTFOUND);
    assert_int_equal(journal_reader_next(&reader), JOURNAL_FOUND_RECORD);
    assert_int_equal(reader.frame.type, JOURNAL_DATA);
    assert_int_equal(reader.frame.db, 3);
    assert_int_equal(journal_reader_next(&reader), JOURNAL_FOUND_END);
    assert_true(reader.sealed);
    journal_commands_end(&commands);
    effect_scratch_release(&x);
    journal_reader_close(&reader);
    mem_free(path);
    buf_release(&why);
    rig_release(&r);
}

/* ---- little memory ---- */

#define EARLY_MS 250 /* half of the age at which records are synced otherwise */
#define TRIES    10  /* a busy machine may be late, but not every time */

static bool all_synced(void *arg)
{
    struct journal_status s;
    journal_read_status(arg, &s);
    return s.synced == s.lsn && !s.held;
}

/* All is written, and the syncer sleeps until the oldest record has its age. */
static bool syncer_waits(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    bool so = j->written == j->lsn && !j->sync_idle && !j->syncing;
    pthread_mutex_unlock(&j->lock);
    return so;
}

/* How long records take to be synced. */
static int64_t synced_after_ms(struct rig *r)
{
    int64_t began = wait_now_ms();
    steps(r, 5);
    journal_turn(r->journal);
    assert_true(wait_until(all_synced, r->journal, 10000));
    return wait_now_ms() - began;
}

/* Under everysec what takes more memory than may be held is synced at once, and where it takes too much writers wait. */
static void test_hold(void **state)
{
    (void)state;
    struct rig r;
    struct vfs v = rig_vfs_unsynced();
    int64_t soonest = INT64_MAX;
    bool full = false;
    begin(&r, &v, JOURNAL_EVERYSEC);
    for (int i = 0; i < TRIES && soonest >= EARLY_MS; i++) {
        journal_set_hold(r.journal, SIZE_MAX, SIZE_MAX);
        steps(&r, 1);
        assert_true(wait_until(syncer_waits, r.journal, 10000));
        journal_set_hold(r.journal, 1, SIZE_MAX);
        int64_t ms = synced_after_ms(&r);
        soonest = ms < soonest ? ms : soonest;
    }
    assert_true(soonest < EARLY_MS);
    journal_set_hold(r.journal, SIZE_MAX, SIZE_MAX);
    assert_true(synced_after_ms(&r) >= EARLY_MS);
    journal_set_hold(r.journal, SIZE_MAX, 1);
    for (int i = 0; i < TRIES && !full; i++) {
        steps(&r, 5);
        journal_turn(r.journal);
        full = journal_full(r.journal);
        assert_true(wait_until(all_synced, r.journal, 10000));
        assert_false(journal_full(r.journal));
    }
    assert_true(full);
    assert_int_equal(rig_close(&r), VS_OK);
    rig_release(&r);
}

/* Without a file it counts all the same. */
static void test_not_open(void **state)
{
    (void)state;
    struct rig r;
    struct vfs_error err;
    uint64_t lsn;
    rig_init(&r, &vfs_posix, journal_dir, JOURNAL_ALWAYS, 1);
    steps(&r, 30);
    assert_int_equal(journal_lsn(r.journal), 30);
    assert_true(journal_releasable(r.journal, clock_mono_ns()) == UINT64_MAX);
    assert_false(journal_full(r.journal));
    assert_int_equal(journal_rotate(r.journal, &lsn), VS_INVALID);
    assert_int_equal(journal_set_base(r.journal, 1, 30, &err), VS_CANCELLED);
    assert_int_equal(journal_open(r.journal, &r.manifest, &err), VS_OK);
    steps(&r, 10);
    assert_true(rig_settle(&r, 5000));
    /* Begun in the middle, without a base: alone it cannot be loaded. */
    struct vs_store *store;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    struct journal_status s;
    journal_read_status(r.journal, &s);
    assert_false(s.complete);
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_OK);
    assert_true(m.partial && journal_manifest_gap(&m, 0) && !journal_manifest_complete(&m));
    journal_manifest_release(&m);
    assert_int_equal(rig_load(&vfs_posix, journal_dir, true, &store, &m, &loaded, &why), VS_OK);
    assert_int_equal(loaded.lsn, 0);
    assert_int_equal(loaded.left_out, 1);
    assert_int_equal(loaded.left_first, 31);
    assert_int_equal(m.count, 0);
    vs_close(store);
    journal_manifest_release(&m);
    buf_release(&why);
    assert_int_equal(rig_close(&r), VS_OK);
    rig_release(&r);
}

/* ---- rotation and bases ---- */

static bool wait_segments(struct rig *r, size_t n)
{
    struct journal_manifest m = {0};
    struct buf why = {0};
    size_t got = 0;
    for (int i = 0; i < 1000 && got != n; i++) {
        journal_manifest_release(&m);
        assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_OK);
        got = m.count;
        if (got != n)
            usleep(2000);
    }
    (void)r;
    journal_manifest_release(&m);
    return got == n;
}

static void test_rotate(void **state)
{
    (void)state;
    struct rig r;
    struct vfs_error err;
    uint64_t lsn, first;
    begin(&r, &vfs_posix, JOURNAL_EVERYSEC);
    steps(&r, 40);
    assert_int_equal(journal_rotate(r.journal, &first), VS_OK);
    assert_int_equal(first, 40);
    steps(&r, 40);
    assert_true(wait_segments(&r, 2));
    assert_int_equal(journal_rotate(r.journal, &lsn), VS_OK);
    steps(&r, 5);
    assert_true(rig_settle(&r, 5000));
    assert_true(wait_segments(&r, 3));
    assert_int_equal(check_load(&r).lsn, 85);

    /* A base of the first two. */
    uint64_t seq = journal_next_seq(r.journal);
    struct buf name = {0};
    journal_base_name(RIG_NAME, seq, &name);
    buf_append(&name, "", 1);
    char *path = journal_path(journal_dir, name.data);
    write_file(path, "base", 4);
    assert_int_equal(journal_set_base(r.journal, seq, lsn, &err), VS_OK);
    assert_true(wait_segments(&r, 1));
    steps(&r, 5);
    assert_int_equal(rig_close(&r), VS_OK);
    struct journal_manifest m = {0};
    struct buf why = {0};
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_OK);
    assert_true(m.has_base && m.base_seq == seq && m.base_lsn == 80);
    assert_int_equal(m.count, 1);
    assert_int_equal(m.segment[0].first, 81);
    journal_manifest_release(&m);
    struct vfs_names names = {0};
    assert_int_equal(vfs_path_list(&vfs_posix, journal_dir, &names, &err), VS_OK);
    assert_int_equal(names.count, 3);
    vfs_names_release(&names);
    buf_release(&name);
    buf_release(&why);
    mem_free(path);
    rig_release(&r);
}

/* ---- failures ---- */

struct fault_case {
    enum vfs_op op;
    enum vfs_fault_kind kind;
    enum journal_fsync fsync;
};

static void run_fault(const struct fault_case *c)
{
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    struct rig r;
    assert_int_equal(run_remove_directory(journal_dir), 0);
    begin(&r, &v, c->fsync);
    steps(&r, 20);
    assert_true(rig_settle(&r, 5000));
    uint64_t safe = journal_lsn(r.journal);
    vfs_fault_set(f, c->op, 1, c->kind, true);
    /* Until it is noticed records are taken, but under `always` not acknowledged. */
    int64_t until = wait_now_ms() + 3000;
    enum vs_status status = VS_OK;
    while (status == VS_OK && wait_now_ms() < until) {
        status = rig_step(&r);
        journal_turn(r.journal);
        usleep(1000);
        if (c->fsync == JOURNAL_ALWAYS)
            assert_int_equal(journal_releasable(r.journal, clock_mono_ns()), safe);
    }
    assert_int_equal(status, VS_IO);
    assert_true(journal_failed(r.journal));
    struct journal_status s;
    journal_read_status(r.journal, &s);
    assert_true(s.failed && s.error[0]);
    usleep(300000);  /* attempts fail as well */
    assert_int_equal(rig_step(&r), VS_IO);
    vfs_fault_clear(f);
    assert_true(rig_settle(&r, 2000));
    steps(&r, 20);
    assert_true(rig_settle(&r, 2000));
    assert_int_equal(check_load(&r).lsn, r.known);
    assert_int_equal(rig_close(&r), VS_OK);
    struct journal_loaded loaded = check_load(&r);
    assert_int_equal(loaded.lsn, r.known);
    assert_true(loaded.sealed);
    rig_release(&r);
    vfs_fault_free(f);
}

static void test_failures(void **state)
{
    (void)state;
    static const struct fault_case cases[] = {
        {VFS_OP_WRITE, VFS_FAULT_ENOSPC, JOURNAL_ALWAYS}, {VFS_OP_WRITE, VFS_FAULT_TORN, JOURNAL_ALWAYS},
        {VFS_OP_WRITE, VFS_FAULT_EIO, JOURNAL_EVERYSEC},  {VFS_OP_WRITE, VFS_FAULT_TORN, JOURNAL_NO},
        {VFS_OP_FDATASYNC, VFS_FAULT_EIO, JOURNAL_ALWAYS},
        {VFS_OP_FDATASYNC, VFS_FAULT_EIO, JOURNAL_EVERYSEC},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_fault(&cases[i]);
}

static bool has_failed(void *arg)
{
    return journal_failed(((struct rig *)arg)->journal);
}

/* Where a write fails what was written before is synced, and not written again: there may be no room for it. */
static void test_keeps_written(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    struct journal_manifest m = {0};
    struct buf why = {0};
    struct rig r;
    begin(&r, &v, JOURNAL_EVERYSEC);
    steps(&r, 50);
    assert_true(rig_settle(&r, 5000));
    uint64_t written = journal_lsn(r.journal);
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_ENOSPC, true);
    assert_int_equal(rig_step(&r), VS_OK);
    journal_turn(r.journal);
    assert_true(wait_until(has_failed, &r, 5000));
    vfs_fault_clear(f);
    assert_true(rig_settle(&r, 2000));
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_OK);
    assert_int_equal(m.count, 2);
    assert_true(m.segment[0].closed);
    assert_int_equal(m.segment[0].last, written);
    assert_int_equal(check_load(&r).lsn, r.known);
    assert_int_equal(rig_close(&r), VS_OK);
    journal_manifest_release(&m);
    buf_release(&why);
    rig_release(&r);
    vfs_fault_free(f);
}

/* Under `no`, records that were written and then could not be synced: the manifest says so. Should they
 * be gone after a power cut, what comes before them is loaded, and what comes after is put aside. */
static void test_unsure(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    struct rig r;
    struct vs_store *store;
    struct journal_status s;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    begin(&r, &v, JOURNAL_NO);
    steps(&r, 20);
    assert_true(rig_settle(&r, 5000));
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_EIO, false);
    vfs_fault_set(f, VFS_OP_FDATASYNC, 1, VFS_FAULT_EIO, false); /* of what was written before */
    steps(&r, 1);
    assert_true(rig_settle(&r, 5000));
    steps(&r, 4);
    assert_true(rig_settle(&r, 5000));
    journal_read_status(r.journal, &s);
    assert_true(s.unsure && s.complete);
    assert_int_equal(check_load(&r).lsn, 25);
    journal_set_fsync(r.journal, JOURNAL_ALWAYS);
    assert_int_equal(journal_releasable(r.journal, clock_mono_ns()), 0);
    journal_set_fsync(r.journal, JOURNAL_NO);
    assert_int_equal(rig_close(&r), VS_OK);

    char *path = journal_segment_path(journal_dir, RIG_NAME, 1), byte = 0;
    struct journal_reader reader = {0};
    struct journal_file first = {.seq = 1, .first = 1};
    struct vfs_file file = {0};
    assert_int_equal(journal_reader_open(&reader, &vfs_posix, path, &first, &why), VS_OK);
    while (reader.next <= 12)
        assert_int_equal(journal_reader_next(&reader), JOURNAL_FOUND_RECORD);
    assert_int_equal(vfs_file_open(&file, &vfs_posix, path, VFS_RDWR, NULL), VS_OK);
    assert_int_equal(vfs_file_write(&file, reader.record_at + 50, &byte, 1, NULL), VS_OK);
    byte = 1;
    assert_int_equal(vfs_file_write(&file, reader.record_at + 51, &byte, 1, NULL), VS_OK);
    vfs_file_close(&file);
    journal_reader_close(&reader);
    assert_int_equal(rig_load(&vfs_posix, journal_dir, false, &store, &m, &loaded, &why), VS_CORRUPT);
    assert_non_null(memmem(why.data, why.len, "aof-load-truncated", 18));
    journal_manifest_release(&m);
    assert_int_equal(rig_load(&vfs_posix, journal_dir, true, &store, &m, &loaded, &why), VS_OK);
    assert_int_equal(loaded.lsn, 11);
    assert_true(loaded.cut);
    assert_int_equal(loaded.left_out, 1);
    assert_int_equal(loaded.left_first, 21);
    assert_int_equal(rig_digest(store), r.digest[11]);
    assert_int_equal(m.count, 1);
    vs_close(store);
    journal_manifest_release(&m);
    mem_free(path);
    buf_release(&why);
    rig_release(&r);
    vfs_fault_free(f);
}

/* A sync that takes long holds replies back, once the oldest record is over a second old. */
static bool is_late(void *arg)
{
    struct rig *r = arg;
    return journal_releasable(r->journal, clock_mono_ns()) < journal_lsn(r->journal);
}

static void test_slow_sync(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    struct rig r;
    begin(&r, &v, JOURNAL_EVERYSEC);
    vfs_fault_set(f, VFS_OP_FDATASYNC, 1, VFS_FAULT_SLOW, true);
    assert_int_equal(rig_step(&r), VS_OK);
    uint64_t began = clock_mono_ns();
    assert_true(rig_settle(&r, 900));
    assert_true(wait_until(is_late, &r, 5000));
    assert_true(clock_mono_ns() - began >= 900000000u);
    assert_true(rig_settle(&r, 5000));
    assert_true(clock_mono_ns() - began >= 1500000000u);
    vfs_fault_clear(f);
    assert_int_equal(rig_close(&r), VS_OK);
    rig_release(&r);
    vfs_fault_free(f);
}

/* What a load knows of the history is what the journal knew; a base that goes further decides up to its record. */
static void test_histories(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct rig r;
        struct vfs vfs = rig_vfs_unsynced();
        rig_clear(dir);
        begin(&r, &vfs, (enum journal_fsync)(i % 3));
        rig_histories(&r, NULL);
        for (int k = 0; k < 12; k++) {
            uint64_t lsn;
            steps(&r, 1 + (int)rng_below(&r.rng, 30));
            if (k % 3 == 0)
                journal_rotate(r.journal, &lsn);
        }
        struct journal_track live = journal_known(r.journal);
        uint64_t last = journal_lsn(r.journal);
        assert_int_equal(rig_close(&r), VS_OK);
        struct journal_loaded loaded = check_load(&r);
        assert_int_equal(loaded.lsn, last);
        assert_int_equal(loaded.track.known, live.known);
        if (live.known)
            assert_memory_equal(&loaded.track.at, &live.at, sizeof(live.at));
        /* Whatever is left of it: rig_load looks whether what is claimed was so. */
        struct journal_manifest m = {0};
        struct buf why = {0};
        struct vfs_stat st;
        assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_OK);
        char *path = journal_segment_path(journal_dir, RIG_NAME, journal_manifest_last_seq(&m));
        assert_int_equal(vfs_path_stat(&vfs_posix, path, &st, NULL), VS_OK);
        uint64_t step = run_quick() ? 1500 : 150;
        for (uint64_t size = st.size; i < 3 && size > JOURNAL_HEADER + step; size -= step) {
            assert_int_equal(truncate(path, (off_t)size), 0);
            check_load(&r);
        }
        mem_free(path);
        journal_manifest_release(&m);
        rig_release(&r);
    }
}

/* Records that follow another node's count as many bytes as there; what counts in none, or only in part, ends it. */
static void test_follow(void **state)
{
    (void)state;
    struct rig r;
    struct vs_index *index;
    struct journal_history h = {.id = {1}, .second = UINT64_MAX, .nonce = 7, .offset = 100};
    begin(&r, &vfs_posix, JOURNAL_ALWAYS);
    struct vs_index_options o = {.dim = 2};
    assert_int_equal(vs_create(r.store, 0, "k", 1, &o, &index), VS_OK);
    assert_false(journal_known(r.journal).known);
    journal_set_history(r.journal, &h);
    static const uint64_t bytes[] = {0, 1, 1000};
    for (int i = 0; i < 3; i++) {
        float x[2] = {1, (float)i};
        journal_set_history(r.journal, &h);
        journal_follow(r.journal, 5, bytes[i]);
        journal_group_begin(r.journal);
        assert_int_equal(vs_add(index, &(struct vs_element){.id = "a", .id_len = 1, .vector = x}, VS_ADD_ANY, NULL), VS_OK);
        journal_group_end(r.journal);
        struct journal_track now = journal_known(r.journal);
        assert_int_equal(now.known, bytes[i] != 0);
        if (now.known)
            assert_int_equal(now.at.offset, h.offset + bytes[i]);
    }
    /* Whoever writes by itself, with nobody to count it, is of no history. */
    assert_int_equal(vs_delete(index, "a", 1), VS_OK);
    assert_false(journal_known(r.journal).known);
    rig_close(&r);
    rig_release(&r);
}

static void test_versions(void **state)
{
    (void)state;
    struct journal_header h = {3, 4, 5, 6, 7}, out;
    uint8_t bytes[JOURNAL_HEADER];
    for (uint32_t version = 0; version < 4; version++) {
        journal_header_put(&h, bytes);
        le32_put(bytes + 8, version);
        le64_put(bytes + 56, hash_bytes(bytes, 56, 0));
        const char *wrong = journal_header_get(bytes, &out);
        assert_true((wrong == NULL) == (version == 1 || version == 2));
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_no),
        TEST(test_write_everysec),
        TEST(test_write_always),
        TEST(test_go_on),
        TEST(test_groups),
        TEST(test_hold),
        TEST(test_not_open),
        TEST(test_rotate),
        TEST(test_failures),
        TEST(test_keeps_written),
        TEST(test_unsure),
        TEST(test_slow_sync),
        TEST(test_histories),
        TEST(test_follow),
        TEST(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
