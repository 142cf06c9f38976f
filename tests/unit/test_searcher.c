/* tsan: skip (one thread) */
/* A searcher's parts: keys in the order of their distances, visited sets, and the collector against sorting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "index/searcher.h"
#include "lib/run.h"

static struct rng rng;

static void test_keys(void **state)
{
    (void)state;
    const float d[] = {-INFINITY, -1e30f, -2.5f, -1e-40f, 0.0f, 1e-40f, 1.0f, 3.4e38f, INFINITY};
    for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
        uint64_t key = key_make(d[i], 123456);
        assert_true(distance_of_key(key) == d[i]);
        assert_true(distance_of_key(key | KEY_EXPANDED | KEY_HIDDEN) == d[i]);
        assert_int_equal(key_slot(key), 123456);
        assert_int_equal(key_slot(key | KEY_EXPANDED | KEY_HIDDEN), 123456);
        assert_true(!i || key_make(d[i - 1], SLOT_MAX - 1) < key_make(d[i], 0));
    }
    assert_true(key_make(-0.0f, 3) == key_make(0.0f, 3));
    assert_true(key_make(NAN, 3) == key_make(INFINITY, 3));
    assert_int_equal(key_slot(key_make(1, SLOT_MAX - 1)), SLOT_MAX - 1);
}

static struct columns_shape shape_of(uint32_t dim, uint32_t m)
{
    struct columns_shape shape = {.m = m};
    vec_codec_init(&shape.codec, VEC_Q8, VEC_L2, dim);
    return shape;
}

static void test_visited(void **state)
{
    (void)state;
    struct searcher s;
    struct columns_shape shape = shape_of(8, 16);
    searcher_init(&s);
    uint32_t n = 0;
    for (int round = 0; round < 40; round++) {
        n = round % 7 == 0 ? n + 1 + (uint32_t)rng_below(&rng, 200000) : n;
        assert_true(searcher_reserve(&s, &shape, n, 10));
        uint8_t *twin = calloc(1, n);
        size_t visits = rng_below(&rng, 2) ? rng_below(&rng, 3000) : rng_below(&rng, 3 * n);
        for (size_t i = 0; i < visits; i++) {
            uint32_t slot = (uint32_t)rng_below(&rng, n);
            assert_int_equal(searcher_visit(&s, slot), !twin[slot]);
            twin[slot] = 1;
        }
        searcher_forget(&s);
        for (uint32_t slot = 0; slot < n; slot += 1 + n / 1000)
            assert_true(searcher_visit(&s, slot));
        searcher_forget(&s);
        free(twin);
    }
    searcher_release(&s);
}

static int compare(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->born < b->born ? -1 : a->born > b->born;
}

/* Random candidates, many at equal distances, some standing twice as during a compaction. */
static void collect(size_t n, size_t keep, unsigned values, bool doubled)
{
    struct searcher s;
    struct collector c;
    struct candidate *all = malloc((n + 1) * sizeof(*all));
    searcher_init(&s);
    assert_true(collector_init(&c, &s, doubled ? 2 * keep : keep));
    for (size_t i = 0; i < n; i++)
        all[i] = (struct candidate){(float)rng_below(&rng, values), (uint32_t)i, i + 1};
    for (size_t i = 0; i < n; i++) {
        assert_true(collector_add(&c, all[i].distance, all[i].slot, all[i].born));
        if (doubled && rng_below(&rng, 2))
            assert_true(collector_add(&c, all[i].distance, all[i].slot + 1000000, all[i].born));
    }
    collector_finish(&c);
    qsort(all, n, sizeof(*all), compare);
    assert_int_equal(s.ntop < keep ? s.ntop : keep, n < keep ? n : keep);
    for (size_t i = 0; i < s.ntop && i < keep; i++) {
        assert_true(s.top[i].distance == all[i].distance);
        assert_int_equal(s.top[i].born, all[i].born);
    }
    searcher_trim(&s);
    searcher_release(&s);
    free(all);
}

static void test_collector(void **state)
{
    (void)state;
    static const size_t keeps[] = {1, 2, 3, 10, 100, 1000, 9000, 20000};
    for (size_t k = 0; k < sizeof(keeps) / sizeof(keeps[0]); k++)
        for (int round = 0; round < 8; round++) {
            size_t n = round == 0 ? 0 : rng_below(&rng, 30000);
            static const unsigned values[] = {1, 3, 1000, 1000000};
            collect(n, keeps[k], values[round % 4], round >= 4);
        }
}

/* Memory that cannot be had is reported, and leaves what was there usable. */
static void test_faults(void **state)
{
    (void)state;
    struct columns_shape small = shape_of(4, 4), large = shape_of(4, 1000);
    for (long n = 1; n < 12; n++) {
        struct searcher s;
        searcher_init(&s);
        assert_true(searcher_reserve(&s, &small, 100, 10));
        mem_fault_after(n);
        bool ok = searcher_reserve(&s, &large, 100000, 5000);
        bool hit = mem_fault_hit();
        mem_fault_after(0);
        assert_int_equal(ok, !hit);
        assert_true(searcher_reserve(&s, &large, 100000, 5000));
        assert_true(searcher_visit(&s, 99999));
        searcher_forget(&s);
        mem_fault_after(1);
        assert_false(searcher_reserve_top(&s, 100000));
        mem_fault_after(0);
        searcher_release(&s);
    }
}

int main(void)
{
    rng.state = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_visited),
        cmocka_unit_test(test_collector),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
