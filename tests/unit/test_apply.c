/* Effects: whatever is done to a store, its effects applied to another leave the same keys, options, sequence numbers and
 * digests; what the journal refuses changes nothing; and an effect that cannot be is refused.
 *
 * VECSTORE_TEST_QUICK=1 shortens, VECSTORE_SEED=n repeats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/driver.h"
#include "lib/effects.h"
#include "lib/run.h"
#include "lib/stores.h"
#include "store/store_int.h"

static uint64_t seed;
static bool quick;
static size_t graphs;                /* seen at all */

static size_t linked(struct vs_store *store)
{
    struct vs_index *index = vs_find(store, 0, "key-1", 5);
    struct vs_partition_info info = {.linked = 0};
    if (index)
        vs_partition_info(index, 0, &info);
    return info.linked;
}

static void apply(const struct effects *log, size_t from, struct vs_store *store)
{
    size_t at = 0;
    enum vs_status status = effects_apply(log, from, log->n, store, &at);
    if (status != VS_OK) {
        const struct vs_effect *e = effects_at(log, at);
        print_error("seed %llu: effect %zu of %zu, of kind %d, key '%.*s', id '%.*s': %s\n", (unsigned long long)seed, at,
                    log->n, e->kind, (int)e->key_len, e->key ? e->key : "", (int)e->id_len, e->id ? (const char *)e->id : "",
                    vs_status_text(status));
    }
    assert_int_equal(status, VS_OK);
}

/* ---- the tests ---- */

static void replay(unsigned threads, unsigned replay_threads, bool faults)
{
    struct effects log, again;
    struct driver d = {.store = stores_open(threads), .rng = {seed + threads}, .faults = faults};
    effects_init(&log);
    effects_init(&again);
    vs_set_journal(d.store, &log.journal);
    for (int round = 0; round < (RUN_RACES ? 2 : quick ? 4 : 10); round++) {
        driver_run(&d, 8000);
        graphs += linked(d.store) > 0;
    }
    struct vs_store *copy = stores_open(replay_threads);
    vs_set_journal(copy, &again.journal);
    apply(&log, 0, copy);
    stores_assert_same(d.store, copy, "the store and its replay");
    assert_int_equal(again.n, log.n); /* an effect applied is one effect */
    for (size_t i = 0; i < log.n; i++)
        assert_int_equal(effects_at(&again, i)->kind, effects_at(&log, i)->kind);
    print_message("%zu effects, %zu changes refused\n", log.n, d.refused);
    assert_true(log.n > d.done / 2);
    if (faults)
        assert_true(d.refused > 100);
    /* and both go on alike */
    driver_run(&d, 4000);
    apply(&log, again.n, copy);
    stores_assert_same(d.store, copy, "the store and its replay");
    vs_close(d.store);
    vs_close(copy);
    effects_release(&log);
    effects_release(&again);
}

static void test_replay(void **state)
{
    (void)state;
    replay(0, 2, false);
    replay(2, 0, false);
    replay(2, 3, false);
    if (!quick)
        assert_true(graphs > 0);
}

static void test_replay_after_failed_allocations(void **state)
{
    (void)state;
    replay(0, 2, true);
}

/* Each change refused in turn: then nothing has changed, whatever it was. */
static void test_refusal(void **state)
{
    (void)state;
    struct effects log;
    struct driver d = {.store = stores_open(0), .rng = {seed}};
    struct vs_store *copy = stores_open(0);
    effects_init(&log);
    vs_set_journal(d.store, &log.journal);
    size_t refused[VS_EFFECT_LAST + 1] = {0}, applied = 0;
    size_t kinds = 0; /* refused at least once */
    for (size_t i = 0; i < (quick ? 6000u : 20000u) || (kinds <= VS_EFFECT_LAST && i < 1000000); i++) {
        bool refuse = rng_below(&d.rng, 2);
        size_t before = log.n;
        log.refuse_after = refuse;
        d.still = refuse; /* one change a step */
        log.refusal = rng_below(&d.rng, 2) ? VS_IO : VS_NOMEM;
        if (rng_below(&d.rng, 8) == 0 && vs_find(d.store, 0, "key-1", 5))
            driver_rare(&d, vs_find(d.store, 0, "key-1", 5), (unsigned)rng_below(&d.rng, DRIVER_RARE));
        else
            driver_step(&d);
        if (refuse && !log.refuse_after) {
            assert_int_equal(log.n, before);
            kinds += !refused[log.prepared.kind]++;
        }
        log.refuse_after = 0;
        if (i % 500 == 499) {
            assert_int_equal(effects_apply(&log, applied, log.n, copy, NULL), VS_OK);
            applied = log.n;
            stores_assert_same(d.store, copy, "the store and its replay");
        }
    }
    assert_int_equal(kinds, VS_EFFECT_LAST + 1);
    vs_close(d.store);
    vs_close(copy);
    effects_release(&log);
}

static void assert_refused(struct vs_store *store, const struct vs_effect *e)
{
    assert_int_equal(vs_apply(store, e), VS_CORRUPT);
}

static void test_effects_that_cannot_be(void **state)
{
    (void)state;
    struct vs_store *store = stores_open(0);
    struct vs_index_options o = {.dim = 3, .seed = 5, .partitions = 2}, bad;
    struct vs_effect e = {.kind = VS_CREATE, .key = "k", .key_len = 1, .options = &o};
    float vector[3] = {1, 2, 3}, odd[3] = {1, NAN, 2};
    assert_int_equal(vs_apply(store, &e), VS_OK);
    assert_refused(store, &e);                                   /* it is there */
    e.db = DRIVER_DATABASES;
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_CREATE, .key = "l", .key_len = 1, .options = &bad};
    bad = o, bad.seed = 0;
    assert_refused(store, &e);
    bad = o, bad.dim = VEC_DIM_MAX + 1;
    assert_refused(store, &e);
    bad = o, bad.m = VS_M_MAX + 1;
    assert_refused(store, &e);
    bad = o, bad.metric = (enum vec_metric)77;
    assert_refused(store, &e);
    bad = o, bad.map = (enum vs_map)77;
    assert_refused(store, &e);
    e.options = NULL;
    assert_refused(store, &e);
    struct vs_effect add = {.kind = VS_ADD, .key = "k", .key_len = 1, .id = "a", .id_len = 1, .vector = vector, .dim = 3};
    assert_int_equal(vs_apply(store, &add), VS_OK);
    e = add, e.key = "l";
    assert_refused(store, &e);
    e = add, e.dim = 2;
    assert_refused(store, &e);
    e = add, e.vector = odd;
    assert_refused(store, &e);
    e = add, e.id_len = VS_ID_MAX + 1;
    assert_refused(store, &e);
    e = add, e.attributes = "x", e.attributes_len = VS_ATTRIBUTES_MAX + 1;
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_DELETE, .key = "k", .key_len = 1, .id = "b", .id_len = 1};
    assert_refused(store, &e);
    e.kind = VS_ATTRIBUTES;
    assert_refused(store, &e);
    e.kind = VS_DEADLINE;
    e.deadline_ms = 5;
    assert_refused(store, &e);                                   /* no such element */
    e.id = "a";
    e.deadline_ms = (uint64_t)VS_DEADLINE_MAX + 1;
    assert_refused(store, &e);
    e.deadline_ms = 0;
    assert_refused(store, &e);                                   /* it has none */
    e.id = "b";
    e.kind = VS_DROP;
    assert_refused(store, &e);
    e.id = "0";
    assert_refused(store, &e);                                   /* the first partition stays */
    e.kind = VS_PIN;
    assert_refused(store, &e);                                   /* it is not pinned */
    e.on = true;
    assert_int_equal(vs_apply(store, &e), VS_OK);
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_KEY_DEADLINE, .key = "k", .key_len = 1};
    assert_refused(store, &e);                                   /* it has none */
    e.deadline_ms = (uint64_t)VS_DEADLINE_MAX + 1;
    assert_refused(store, &e);
    e.deadline_ms = VS_DEADLINE_MAX;
    assert_int_equal(vs_apply(store, &e), VS_OK);
    assert_refused(store, &e);
    e.key = "l";
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_RENAME, .key = "k", .key_len = 1, .id = "k", .id_len = 1};
    assert_refused(store, &e);
    e.key = "l";
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_REMOVE, .key = "l", .key_len = 1};
    assert_refused(store, &e);
    e = (struct vs_effect){.kind = VS_FLUSH, .db = 1};
    assert_refused(store, &e);
    e.kind = (enum vs_effect_kind)99;
    assert_refused(store, &e);
    assert_int_equal(vs_count(store, 0), 1);
    assert_int_equal(vs_index_count(vs_find(store, 0, "k", 1)), 1);
    stores_settle(store);
    vs_close(store);
}

/* The record that an ADD makes is one more even where the vector stands there already. */
static void test_add_is_a_record(void **state)
{
    (void)state;
    struct vs_store *store = stores_open(0);
    struct vs_index_options o = {.dim = 2, .seed = 5};
    float vector[2] = {1, 2};
    struct vs_effect create_effect = {.kind = VS_CREATE, .key = "k", .key_len = 1, .options = &o};
    struct vs_effect add_effect = {.kind = VS_ADD, .key = "k", .key_len = 1, .id = "a", .id_len = 1, .vector = vector, .dim = 2};
    struct vs_partition_info info;
    assert_int_equal(vs_apply(store, &create_effect), VS_OK);
    for (uint64_t i = 1; i < 5; i++) {
        assert_int_equal(vs_apply(store, &add_effect), VS_OK);
        vs_partition_info(vs_find(store, 0, "k", 1), 0, &info);
        assert_int_equal(info.sequence, i);
        assert_int_equal(info.elements, 1);
    }
    stores_settle(store);
    vs_close(store);
}

int main(void)
{
    quick = run_quick();
    seed = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_replay_after_failed_allocations),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_effects_that_cannot_be),
        cmocka_unit_test(test_add_is_a_record),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_replay_after_failed_allocations),
    };
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
