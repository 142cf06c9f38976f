/* Searches through the embedded engine: exact ones against distances computed here, queries that cannot be, deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "lib/store_bed.h"
#include "lib/wait.h"

struct want {
    float distance;
    uint32_t id;
};

static int compare_want(const void *x, const void *y)
{
    const struct want *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Vectors of few values, so that many distances are equal; every twentieth is zero. */
static void coarse(uint32_t i, float *out)
{
    struct rng rng = {i * 31 + 7};
    for (int k = 0; k < DIM; k++)
        out[k] = i % 20 == 0 ? 0 : (float)((int)rng_below(&rng, 5) - 2);
}

static void exact_of(enum vec_metric metric, enum vec_type type, enum vec_originals originals, enum vs_structure structure)
{
    enum { N = 3000 };
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .metric = metric, .type = type,
                                                                           .originals = originals, .structure = structure,
                                                                           .m = 8, .ef_construction = 40});
    static float vectors[N][DIM];
    static struct want want[N];
    static struct vs_hit hits[N];
    for (uint32_t i = 0; i < N; i++) {
        coarse(i, vectors[i]);
        assert_int_equal(put(index, &i, sizeof(i), vectors[i]), VS_OK);
    }
    struct vs_reader *reader = vs_reader_new(store);
    uint32_t rounds = run_quick() ? 4 : 12;
    for (uint32_t round = 0; round < rounds; round++) {
        float query[DIM];
        size_t n;
        struct rng rng = {round};
        numbered(&rng, query, DIM);
        if (round % 4 == 0)
            coarse(round, query);
        if (round == rounds / 2) {
            vs_reader_idle(reader);  /* what it found would be waited for */
            settle(store);
        }
        for (uint32_t i = 0; i < N; i++) {
            const void *one = vectors[i];
            float norm = vec_norm(vectors[i], DIM);
            vec_original_distances(VEC_ORIG_F32, metric, DIM, query, vec_norm(query, DIM), &one, &norm, 1, &want[i].distance);
            want[i].id = i;
        }
        qsort(want, N, sizeof(want[0]), compare_want);
        struct vs_query q = {.vector = query, .k = 100, .offset = round * 3, .exact = true};
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &n), VS_OK);
        assert_int_equal(n, 100);
        assert_string_equal(vs_reader_stats(reader)->plan, "scan");
        for (size_t i = 0; i < n && originals == VEC_ORIG_F32 && type != VEC_F32; i++) {
            assert_true(hits[i].distance == want[i + q.offset].distance);
            assert_int_equal(number_of(&hits[i]), want[i + q.offset].id);
            assert_true(hits[i].score == vec_score(metric, hits[i].distance));
        }
        for (size_t i = 1; i < n; i++)
            assert_true(hits[i].distance >= hits[i - 1].distance);
        /* a radius at a hit's own score keeps that hit and all before it */
        double score = hits[50].score;
        struct vs_query within = {.vector = query, .exact = round % 2 == 0, .has_radius = true,
                                  .radius = metric == VEC_COSINE ? 1 - score : score};
        float last = hits[50].distance;
        size_t count;
        assert_int_equal(vs_search_now(reader, index, &within, hits, N, &count), VS_OK);
        for (size_t i = 0; i < count; i++)
            assert_true(hits[i].distance <= last * (last > 0 ? 1.00001f : 0.99999f) + 1e-6f);
        if (within.exact)
            assert_true(count >= 51);
        /* offset beyond all */
        q.k = 10;
        q.offset = N + 5;
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &count), VS_OK);
        assert_int_equal(count, 0);
        /* all of them, by the graph's way of asking */
        q = (struct vs_query){.vector = query, .k = N, .ef = N};
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &count), VS_OK);
        assert_int_equal(count, N);
    }
    vs_reader_free(reader);
    settle(store);
    vs_close(store);
}

static void test_exact(void **state)
{
    (void)state;
    for (int metric = 0; metric < (RUN_RACES ? 1 : VEC_METRICS); metric++) {
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_F32, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F16, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_NONE, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F32, VS_FLAT);
        exact_of((enum vec_metric)metric, VEC_F16, VEC_ORIG_DEFAULT, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q4, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q4, VEC_ORIG_NONE, VS_FLAT);
        exact_of((enum vec_metric)metric, VEC_BIN, VEC_ORIG_F32, VS_HNSW);
    }
}

static void test_originals_of_types(void **state)
{
    (void)state;
    static const struct {
        enum vec_type type;
        enum vec_originals asked, kept;
        size_t bytes;                /* of one, beside the row */
    } cases[] = {
        {VEC_Q8, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},    {VEC_Q8, VEC_ORIG_NONE, VEC_ORIG_NONE, 0},
        {VEC_F32, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 0},         {VEC_F32, VEC_ORIG_NONE, VEC_ORIG_F32, 0},
        {VEC_F16, VEC_ORIG_DEFAULT, VEC_ORIG_NONE, 0},        {VEC_F16, VEC_ORIG_F16, VEC_ORIG_F16, 0},
        {VEC_F16, VEC_ORIG_F32, VEC_ORIG_F32, 4 * DIM},       {VEC_BF16, VEC_ORIG_DEFAULT, VEC_ORIG_NONE, 0},
        {VEC_BF16, VEC_ORIG_F16, VEC_ORIG_F16, 2 * DIM},      {VEC_Q4, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},
        {VEC_BIN, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},   {VEC_BIN, VEC_ORIG_F16, VEC_ORIG_F16, 2 * DIM},
    };
    struct vs_store *store = open_store(0);
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char key[] = {'k', (char)('a' + i), 0};
        struct vs_index *index = create(store, key, &(struct vs_index_options){.dim = DIM, .metric = VEC_L2, .type = cases[i].type,
                                                                               .originals = cases[i].asked});
        float x[DIM] = {1, -2, 0.5f}, back[DIM];
        struct vs_memory memory;
        assert_int_equal(vs_index_options(index)->originals, cases[i].kept);
        assert_int_equal(put(index, &i, sizeof(i), x), VS_OK);
        vs_index_memory(index, &memory);
        assert_true((memory.originals > 0) == (cases[i].bytes > 0));
        assert_true(memory.originals % (cases[i].bytes ? cases[i].bytes : 1) == 0);
        assert_int_equal(vs_get_vector(index, &i, sizeof(i), back), VS_OK);
        for (int j = 0; j < DIM && cases[i].kept != VEC_ORIG_NONE; j++)
            assert_true(back[j] == x[j]);
        x[3] = 1e5f;
        assert_int_equal(put(index, &i, sizeof(i), x),
                         cases[i].type == VEC_F16 || cases[i].kept == VEC_ORIG_F16 ? VS_NONFINITE : VS_OK);
    }
    vs_close(store);
}

static void test_bad_queries(void **state)
{
    (void)state;
    struct vs_store *store = open_store(0);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .metric = VEC_L2});
    struct vs_reader *reader = vs_reader_new(store);
    struct vs_hit hits[10];
    float vector[DIM] = {0};
    size_t n = 42;
    const struct vs_query wrong[] = {
        {.vector = vector}, {.vector = vector, .k = VS_K_MAX + 1}, {.vector = vector, .k = 1, .ef = VS_EF_MAX + 1},
        {.vector = vector, .k = 1, .offset = VS_K_MAX + 1}, {.vector = vector, .k = 1, .has_radius = true, .radius = NAN},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vs_search *search = NULL;
        assert_int_equal(vs_search_now(reader, index, &wrong[i], hits, 10, &n), VS_INVALID);
        assert_int_equal(vs_search_begin(index, &wrong[i], &search), VS_INVALID);
        assert_null(search);
        assert_int_equal(n, 42);
    }
    assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 5}, hits, 10, &n), VS_OK);
    assert_int_equal(n, 0);          /* an empty index */
    fill(index, 0, 10);
    assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .has_radius = true, .radius = -1}, hits, 10, &n),
                     VS_OK);
    assert_int_equal(n, 0);
    vs_reader_free(reader);
    vs_close(store);
}

static void set_flag(struct vs_search *search, void *arg)
{
    (void)search;
    atomic_store((_Atomic bool *)arg, true);
}

static bool get_flag(void *arg)
{
    return atomic_load((_Atomic bool *)arg);
}

static void test_deadline_and_cancel(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 6, .ef_construction = 30});
    struct vs_reader *reader = vs_reader_new(store);
    struct vs_hit hits[10];
    float vector[DIM] = {1};
    size_t n = 0;
    fill(index, 0, 6000);
    struct vs_query q = {.vector = vector, .k = 10, .exact = true, .deadline_ns = 1};
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_TIMEOUT);
    assert_true(vs_reader_stats(reader)->partial);
    vs_reader_idle(reader);
    settle(store);
    q.exact = false;
    q.ef = 70;                       /* more steps than lie between two looks at the clock */
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_TIMEOUT);
    assert_int_equal(n, 10);         /* the best so far */
    q.deadline_ns = clock_mono_ns() + 60000000000ull;
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_OK);
    assert_false(vs_reader_stats(reader)->partial);
    vs_reader_free(reader);
    struct vs_search *search;
    _Atomic bool done = false;
    q = (struct vs_query){.vector = vector, .k = 10, .exact = true};
    assert_int_equal(vs_search_begin(index, &q, &search), VS_OK);
    vs_search_cancel(search);
    vs_search_submit(search, set_flag, &done);
    assert_true(wait_until(get_flag, &done, 10000));
    assert_true(vs_search_stats(search)->partial);
    vs_search_free(search);
    vs_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_originals_of_types),
        cmocka_unit_test(test_bad_queries),
        cmocka_unit_test(test_deadline_and_cancel),
    };
    const struct CMUnitTest threaded[] = {cmocka_unit_test(test_deadline_and_cancel)};
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
