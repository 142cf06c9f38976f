/* Times of records: they rise over clocks that jump, nodes that take over from each other, and restarts from whatever is on
 * disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hlc.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "lib/snapshot_rig.h"

#define DAY_MS (24ull * 3600 * 1000)

static void test_clock(void **state)
{
    (void)state;
    struct hlc h = {0};
    uint64_t first = hlc_next(&h, 1000);
    assert_int_equal(hlc_ms(first), 1000);
    assert_int_equal(hlc_next(&h, 1000), first + 1);
    /* The wall clock goes back: time does not. */
    assert_int_equal(hlc_next(&h, 10), first + 2);
    assert_int_equal(hlc_ms(hlc_next(&h, 1001)), 1001);
    assert_true(hlc_observe(&h, 5000ull << 16 | 7, 1001));
    assert_int_equal(hlc_next(&h, 1002), (5000ull << 16 | 7) + 1);
    assert_true(hlc_observe(&h, 5, 1002));
    assert_int_equal(hlc_next(&h, 1002), (5000ull << 16 | 7) + 2);
    /* A clock that was far ahead once: said, and followed all the same. */
    uint64_t ahead = (1002 + HLC_AHEAD_MAX_MS + 1) << 16;
    assert_false(hlc_observe(&h, ahead, 1002));
    assert_int_equal(hlc_next(&h, 1002), ahead + 1);
    /* A full counter runs over into the milliseconds. */
    h.last = 9ull << 16 | 0xFFFF;
    assert_int_equal(hlc_ms(hlc_next(&h, 9)), 10);
}

/* Nodes whose clocks jump by days, that restart with what their last record says, and that take over from each
 * other with what they were sent: the times of the records of one history rise. */
static void test_clock_of_a_history(void **state)
{
    (void)state;
    enum { NODES = 3 };
    struct rng rng = {run_seed()};
    struct hlc node[NODES] = {{0}};
    uint64_t wall_ms[NODES], last = 0;
    unsigned primary = 0;
    for (unsigned i = 0; i < NODES; i++)
        wall_ms[i] = 1700000000000ull + rng_below(&rng, DAY_MS);
    for (int i = 0; i < 200000; i++) {
        uint64_t what = rng_below(&rng, 1000);
        unsigned n = (unsigned)rng_below(&rng, NODES);
        if (what == 0) {
            wall_ms[n] += rng_below(&rng, 10 * DAY_MS);
        } else if (what == 1) {
            wall_ms[n] -= rng_below(&rng, 10 * DAY_MS);
        } else if (what == 2) {
            primary = n; /* it has all records */
        } else if (what == 3) {
            node[n] = (struct hlc){0}; /* it starts, and reads the last record */
            hlc_observe(&node[n], last, wall_ms[n]);
        }
        wall_ms[n] += rng_below(&rng, 3);
        uint64_t time = hlc_next(&node[primary], wall_ms[primary]);
        assert_true(time > last);
        last = time;
        for (unsigned k = 0; k < NODES; k++)
            if (k != primary)
                hlc_observe(&node[k], time, wall_ms[k]);
    }
}

/* ---- restarts ---- */

static char dir[128];

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_NOTHING);
    return run_make_directory("test_hlc", dir, sizeof(dir));
}

static int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

static void open_rig(struct snapshot_rig *s, const struct persist_options *o)
{
    struct buf why = {0};
    mem_free(s->rig.digest);
    s->rig.digest = NULL;
    s->rig.digest_cap = 0;
    enum vs_status status = srig_open(s, o, &why);
    if (status)
        print_error("%.*s\n", (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    buf_release(&why);
}

static uint64_t steps(struct snapshot_rig *s, uint64_t last)
{
    for (int i = 0; i < 20; i++) {
        assert_int_equal(rig_step(&s->rig), VS_OK);
        assert_true(journal_hlc(s->rig.journal) > last);
        last = journal_hlc(s->rig.journal);
        srig_turn(s);
    }
    return last;
}

enum { SNAPSHOT = 1, JOURNAL = 2 };

/* The clock of the first life was wrong by `days`; those of the others are right. */
static void restarts(int files, int days)
{
    struct vfs vfs = rig_vfs_unsynced();
    struct snapshot_rig s = {.rig = {.rng = {run_seed()}, .vector_dim = 4}};
    uint64_t was = clock_wall_ms() + (uint64_t)days * DAY_MS, last = was << 16;
    struct persist_options o = {.vfs = &vfs, .dir = dir, .appendonly = files & JOURNAL, .fsync = JOURNAL_ALWAYS,
                                .adopt = true, .hlc = last};
    rig_clear(dir);
    for (int life = 0; life < 4; life++) {
        uint64_t wall = clock_wall_ms();
        open_rig(&s, &o);
        assert_true(journal_hlc(s.rig.journal) >= last);
        last = steps(&s, last);
        assert_true(hlc_ms(last) >= (days > 0 ? was : wall));
        if (files & SNAPSHOT)
            assert_int_equal(srig_save(&s, files & JOURNAL, NULL, NULL), VS_OK);
        if (files & JOURNAL && life % 2)
            last = steps(&s, last);
        assert_int_equal(srig_close(&s), VS_OK);
        o.adopt = false;
    }
    rig_release(&s.rig);
}

static void test_restarts(void **state)
{
    (void)state;
    for (int files = SNAPSHOT; files <= (SNAPSHOT | JOURNAL); files++) {
        restarts(files, 5);
        restarts(files, -5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_clock_of_a_history),
        cmocka_unit_test_setup_teardown(test_restarts, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
