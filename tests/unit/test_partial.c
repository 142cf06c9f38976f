/* A journal that is switched off and on while the process runs, and a kill before it has its next base:
 * the start takes what goes furthest, joins on what can be joined, and puts the rest aside. */
#include <inttypes.h>
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
#include "base/log.h"
#include "base/mem.h"
#include "lib/run.h"
#include "lib/snapshot_rig.h"
#include "persist/vfs_fault.h"

#define DEADLINE_NS 30000000000ull

/* A directory and the process that uses it. */
struct world {
    char dir[128];
    struct vfs_fault *fault;
    struct vfs v;
    struct persist_options o;
    struct snapshot_rig s;
};

static struct world w;

static int set_up(void **state)
{
    (void)state;
    memset(&w, 0, sizeof(w));
    if (run_make_directory("test_partial", w.dir, sizeof(w.dir)) != 0)
        return -1;
    log_set_level(LOG_NOTHING);
    w.fault = vfs_fault_new(&vfs_posix);
    w.v = vfs_fault_vfs(w.fault);
    w.o = (struct persist_options){.vfs = &w.v, .dir = w.dir, .load_truncated = true,
                                   .fsync = JOURNAL_ALWAYS};
    w.s.rig.rng.state = run_seed();
    w.s.rig.vector_dim = 4;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (w.s.persist)
        srig_close(&w.s);
    rig_release(&w.s.rig);
    vfs_fault_free(w.fault);
    return run_remove_directory(w.dir);
}

static uint64_t lsn(void)
{
    return journal_lsn(w.s.rig.journal);
}

/* Starts; the data must be those after record `expected`. */
static void start(bool appendonly, uint64_t expected)
{
    struct buf why = {0};
    w.o.appendonly = appendonly;
    enum vs_status status = srig_open(&w.s, &w.o, &why);
    if (status)
        print_error("%.*s\n", (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    assert_int_equal(lsn(), expected);
    if (expected || w.s.rig.digest)
        assert_int_equal(rig_digest(w.s.rig.store), w.s.rig.digest[expected]);
    else
        rig_note(&w.s.rig);
    buf_release(&why);
}

/* As kill -9 does: nothing more reaches a file. */
static void die(void)
{
    vfs_fault_set(w.fault, VFS_FAULT_ANY, 1, VFS_FAULT_EIO, true);
    srig_close(&w.s);
    w.s.persist = NULL;
    vfs_fault_clear(w.fault);
}

static void steps(int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(rig_step(&w.s.rig), VS_OK);
        srig_turn(&w.s);
    }
    assert_true(rig_settle(&w.s.rig, 10000));
}

static struct persist_status status(void)
{
    struct persist_status s;
    persist_status(w.s.persist, &s);
    return s;
}

static void save(void)
{
    while (status().rewriting) {
        srig_turn(&w.s);
        usleep(200);
    }
    assert_int_equal(srig_save(&w.s, false, NULL, NULL), VS_OK);
}

static void turn_off(void)
{
    struct buf why = {0};
    assert_true(persist_set_appendonly(w.s.persist, false, &why));
    vfs_fault_clear(w.fault);
}

/* Switches it on; no rewrite will succeed: its directory cannot be made. */
static void turn_on_without_base(void)
{
    struct buf why = {0};
    vfs_fault_set(w.fault, VFS_OP_MKDIR, 2, VFS_FAULT_EIO, true);
    assert_true(persist_set_appendonly(w.s.persist, true, &why));
    assert_false(status().journal.complete);
}

static void wait_complete(void)
{
    uint64_t until = clock_mono_ns() + DEADLINE_NS;
    while (!status().journal.complete) {
        srig_turn(&w.s);
        usleep(200);
        assert_true(clock_mono_ns() < until);
    }
}

static void turn_on(void)
{
    struct buf why = {0};
    assert_true(persist_set_appendonly(w.s.persist, true, &why));
    wait_complete();
}

/* Files of the journal that end so. */
static int files(const char *end)
{
    char command[512];
    snprintf(command, sizeof(command), "ls '%s/appendonlydir' | grep -c '%s$'", w.dir, end);
    FILE *f = popen(command, "r");
    int n = -1;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

/* ---- one kill ---- */

/* No journal, a snapshot, writes, the journal: writes before it are in no file. */
static void test_gap(void **state)
{
    (void)state;
    start(false, 0);
    steps(40);
    save();
    steps(10);
    turn_on_without_base();
    steps(20);
    assert_int_equal(lsn(), 70);
    die();
    start(true, 40);
    assert_true(files("cut-0") > 0);
    /* It goes on, and is whole with its base. */
    steps(5);
    wait_complete();
    steps(5);
    die();
    start(true, 50);
}

/* The snapshot is as of the switching on: nothing is missing. */
static void test_joined(void **state)
{
    (void)state;
    start(false, 0);
    steps(40);
    save();
    turn_on_without_base();
    steps(20);
    die();
    for (int i = 0; i < 3; i++) {
        vfs_fault_set(w.fault, VFS_OP_MKDIR, 2, VFS_FAULT_EIO, true);
        start(true, 60 + 10 * (uint64_t)i);
        assert_false(status().journal.complete);
        steps(10);
        die();
    }
    start(true, 90);
    wait_complete();
    die();
    start(true, 90);
    assert_true(status().journal.complete);
}

/* A snapshot made while the journal waits for its base closes the gap. */
static void test_saved_meanwhile(void **state)
{
    (void)state;
    start(false, 0);
    steps(40);
    turn_on_without_base();
    steps(10);
    vfs_fault_clear(w.fault);
    save();
    vfs_fault_set(w.fault, VFS_OP_MKDIR, 1, VFS_FAULT_EIO, true);
    steps(15);
    assert_false(status().journal.complete);
    die();
    start(true, 65);
}

/* Without a snapshot what the journal held before it was switched off is what there is. */
static void test_older_journal(void **state)
{
    (void)state;
    start(true, 0);
    steps(30);
    turn_off();
    steps(20);
    turn_on_without_base();
    steps(20);
    die();
    start(true, 30);
    assert_true(status().journal.complete);
    assert_true(files("cut-0") > 0);
    steps(5);
    die();
    start(true, 35);
}

/* A snapshot that goes further than the journal that was switched off is what is loaded. */
static void test_newer_snapshot(void **state)
{
    (void)state;
    start(true, 0);
    steps(30);
    turn_off();
    steps(20);
    save();
    die();
    vfs_fault_set(w.fault, VFS_OP_MKDIR, 2, VFS_FAULT_EIO, true);
    start(true, 50);
    steps(10);
    die();
    start(true, 60);
    wait_complete();
    turn_off();
    die();
    start(true, 60);
    assert_true(status().journal.complete);
}

/* Nothing was written between: no rewrite is needed, and nothing is lost. */
static void test_off_and_on(void **state)
{
    (void)state;
    start(true, 0);
    steps(30);
    turn_off();
    turn_on();
    assert_int_equal(status().rewrites, 0);
    assert_false(status().rewrite_scheduled);
    steps(10);
    die();
    start(true, 40);
    assert_int_equal(status().rewrites, 0);
}

/* Twice: what follows a second gap cannot be used, what follows the first can. */
static void test_two_gaps(void **state)
{
    (void)state;
    start(true, 0);
    steps(10);
    turn_off();
    steps(10);
    save(); /* 20 */
    turn_on_without_base();
    steps(10);
    turn_off();
    steps(10); /* 31..40 are in no file */
    turn_on_without_base();
    steps(10);
    die();
    start(true, 30);
    assert_true(files("cut-0") > 0);
    wait_complete();
    die();
    start(true, 30);
}

/* A server that keeps no journal has gone on with the snapshot: that is newer. */
static void test_later_snapshot(void **state)
{
    (void)state;
    start(true, 0);
    steps(30);
    save();
    turn_off();
    steps(10);
    die();
    start(false, 30);
    steps(5);
    save();
    die();
    start(true, 35);
    wait_complete();
    die();
    start(true, 35);
}

/* The journal goes further than a snapshot of its own history: numbers alone do not say so. */
static void test_foreign_snapshot(void **state)
{
    (void)state;
    start(false, 0);
    steps(60);
    save();
    die();
    char command[512];
    snprintf(command, sizeof(command), "mv '%s/dump.rdb' '%s/dump.other'", w.dir, w.dir);
    assert_int_equal(system(command), 0);
    rig_release(&w.s.rig);
    w.s.rig.digest_cap = 0;
    start(true, 0);
    steps(30);
    turn_off();
    die();
    /* Not named, and of no later epoch: not of this history. */
    snprintf(command, sizeof(command), "mv '%s/dump.other' '%s/dump.rdb'", w.dir, w.dir);
    assert_int_equal(system(command), 0);
    start(true, 30);
}

/* ---- epochs ---- */

static void test_epochs(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (int i = 0; i < 4; i++) {
        start(i != 2, (uint64_t)(i == 3 ? 20 : i * 10));
        assert_true(status().epoch > before);
        before = status().epoch;
        if (i == 1)
            save();
        if (i == 2)
            save();
        else
            steps(10);
        if (i == 1)
            save();
        die();
    }
}

/* ---- at random, against a model ---- */

struct model {
    bool on, complete;
    uint64_t dump, off; /* how far the snapshot, and the journal before its gap, go */
    uint64_t from;      /* record before the first one behind the gap; UINT64_MAX: nothing is there */
    uint64_t to;        /* the last one behind it */
};

static uint64_t after_restart(const struct model *m, uint64_t now)
{
    if (m->on && m->complete)
        return now;
    uint64_t best = m->dump >= m->off ? m->dump : m->off;
    if (m->on && m->from <= best)
        return now > best ? now : best;
    return best;
}

static void run_random(int rounds)
{
    struct model m = {.on = true, .complete = true, .from = UINT64_MAX};
    start(true, 0);
    for (int i = 0; i < rounds; i++) {
        uint64_t what = rng_below(&w.s.rig.rng, 8);
        bool restart = what == 0, base = rng_below(&w.s.rig.rng, 2);
        if (what == 1 && (!m.on || m.complete)) {
            save();
            m.dump = lsn();
        } else if (what == 2 && m.on && m.complete) {
            turn_off();
            m.on = m.complete = false;
            m.off = lsn();
            m.from = UINT64_MAX;
        } else if (what == 3 && !m.on) {
            m.on = true;
            if (m.off == lsn() || base) {
                turn_on();
                m.complete = true;
            } else {
                turn_on_without_base();
                m.from = lsn();
            }
        } else if (what == 4 && m.on && !m.complete) {
            restart = true;
        } else {
            steps(1 + (int)rng_below(&w.s.rig.rng, 8));
        }
        if (restart) {
            uint64_t expected = after_restart(&m, lsn());
            die();
            start(true, expected);
            wait_complete();
            m.on = m.complete = true;
        }
    }
}

static void test_random(void **state)
{
    (void)state;
    run_random(run_quick() ? 60 : 250);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_gap),           TEST(test_joined),     TEST(test_saved_meanwhile),
        TEST(test_older_journal), TEST(test_newer_snapshot), TEST(test_off_and_on),
        TEST(test_two_gaps),      TEST(test_later_snapshot), TEST(test_foreign_snapshot),
        TEST(test_epochs),        TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
