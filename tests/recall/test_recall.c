/* Recall and memory of the engine on real data (mnist-784 in $VECSTORE_DATASETS; skipped without it) and on generated data
 * of unequal norms: the floors that must hold, fresh, after deleting a half, and after replacing every element three times.
 *
 * 20,000 rows; all 60,000 with VECSTORE_TEST_FULL=1, a few thousand with VECSTORE_TEST_QUICK=1. */
#include <setjmp.h>
#include <stdarg.h>
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
#include "benchmark/generate.h"
#include "benchmark/truth.h"
#include "benchmark/vecfile.h"
#include "lib/run.h"
#include "lib/wait.h"
#include "store/store_int.h"

#define K 10
#define QUERIES 500
#define THREADS 2

static struct vecfile_floats base, query;
static size_t base_rows;

struct measured {
    double recall[2];                /* at EF 64, at EF 128 */
    size_t memory, rss;
    size_t used;                     /* heap and pages */
};

/* ---- a store with one index ---- */

struct bed {
    struct vs_store *store;
    struct vs_index *index;
    size_t rss, used;                /* before there was a store */
};

static void bed_open_type(struct bed *b, uint32_t dim, enum vec_metric metric, enum vec_type type)
{
    struct mem_stats stats;
    mem_purge();
    mem_stats_read(&stats);
    b->rss = stats.rss;
    b->used = stats.used;
    assert_int_equal(vs_open(&(struct vs_options){.threads = THREADS, .link_backlog_max = 1000000}, &b->store), VS_OK);
    assert_int_equal(vs_create(b->store, 0, "r", 1, &(struct vs_index_options){.dim = dim, .metric = metric, .type = type, .seed = 1},
                               &b->index),
                     VS_OK);
}

static void bed_open(struct bed *b, uint32_t dim, enum vec_metric metric)
{
    bed_open_type(b, dim, metric, VEC_Q8);
}

static void bed_put(struct bed *b, uint32_t id, const float *vector)
{
    char name[16];
    int len = snprintf(name, sizeof(name), "element-%04x", id % 65536);
    assert_int_equal(vs_add(b->index, &(struct vs_element){.id = name, .id_len = (size_t)len, .vector = vector, .past_backlog = true}, VS_ADD_ANY, NULL),
                     VS_OK);
}

static void bed_delete(struct bed *b, uint32_t id)
{
    char name[16];
    int len = snprintf(name, sizeof(name), "element-%04x", id % 65536);
    assert_int_equal(vs_delete(b->index, name, (size_t)len), VS_OK);
}

static double recall_at(struct bed *b, const struct vecfile_floats *queries, const struct vecfile_ints *truth, uint32_t ef)
{
    struct vs_reader *reader = vs_reader_new(b->store);
    size_t hits = 0;
    for (size_t q = 0; q < queries->rows; q++) {
        struct vs_hit found[K];
        int32_t ids[K];
        size_t n;
        struct vs_query vq = {.vector = queries->data + q * queries->cols, .k = K, .ef = ef};
        assert_int_equal(vs_search_now(reader, b->index, &vq, found, K, &n), VS_OK);
        for (size_t i = 0; i < n; i++) {
            size_t len;
            const char *id = vs_hit_id(&found[i], &len);
            char text[16] = {0};
            memcpy(text, id + 8, len - 8);
            ids[i] = (int32_t)strtol(text, NULL, 16);
        }
        hits += truth_hits(truth, q, K, ids, n);
    }
    vs_reader_free(reader);
    return (double)hits / (double)(queries->rows * K);
}

static struct vecfile_ints truth_of(const struct vecfile_floats *rows, const struct vecfile_floats *queries,
                                    enum vec_metric metric)
{
    struct vecfile_ints truth;
    assert_int_equal(truth_compute(rows, queries, metric, K, THREADS, &truth), VS_OK);
    return truth;
}

/* `truth` is that of the rows the index should hold now, by id. */
static void bed_measure(struct bed *b, const struct vecfile_floats *queries, const struct vecfile_ints *truth, const char *what,
                        struct measured *out)
{
    struct vs_memory memory;
    struct mem_stats stats;
    assert_int_equal(vs_settle(b->store, 300000), VS_OK);
    assert_null(store_check(b->store));
    out->recall[0] = recall_at(b, queries, truth, 64);
    out->recall[1] = recall_at(b, queries, truth, 128);
    vs_index_memory(b->index, &memory);
    out->memory = memory.total;
    mem_purge();
    mem_stats_read(&stats);
    out->rss = stats.rss - b->rss;
    out->used = stats.used - b->used;
    print_message("%-28s recall@10 %.4f at EF 64, %.4f at EF 128; index %.1f MB, heap and pages %.1f MB, resident %.1f MB\n", what,
                  out->recall[0], out->recall[1], (double)out->memory / 1e6, (double)out->used / 1e6, (double)out->rss / 1e6);
}

/* ---- mnist-784 ---- */

static bool have_data(void)
{
    const char *folder = getenv("VECSTORE_DATASETS");
    char path[4096], message[VECFILE_MESSAGE_MAX];
    if (!folder)
        return false;
    snprintf(path, sizeof(path), "%s/mnist-784.base.bvecs.zst", folder);
    if (vecfile_read_floats(path, &(struct vecfile_limits){.max_rows = base_rows}, &base, message) != VS_OK)
        return false;
    snprintf(path, sizeof(path), "%s/mnist-784.query.bvecs", folder);
    return vecfile_read_floats(path, &(struct vecfile_limits){.max_rows = QUERIES}, &query, message) == VS_OK;
}

static const float *row(size_t i)
{
    return base.data + i % base.rows * base.cols;
}

/* Memory is given back in chunks of 1024 records: few rows do not show a tenth. */
static void near(const struct measured *got, const struct measured *fresh)
{
    for (int i = 0; i < 2; i++)
        assert_true(got->recall[i] >= fresh->recall[i] - 0.01);
    if (base.rows < 20000)
        return;
    assert_true((double)got->memory <= 1.1 * (double)fresh->memory);
    assert_true((double)got->used <= 1.1 * (double)fresh->used);
    assert_true((double)got->rss <= 1.1 * (double)fresh->rss);
}

static void test_real(void **state)
{
    (void)state;
    if (!base.rows) {
        print_message("VECSTORE_DATASETS does not name a folder with mnist-784: skipped\n");
        skip();
    }
    struct bed b;
    struct measured whole, half, halved, replaced;
    size_t n = base.rows;
    struct vecfile_floats rows = {n / 2, base.cols, base.data};
    struct vecfile_ints truth_half = truth_of(&rows, &query, VEC_L2), truth = truth_of(&base, &query, VEC_L2);
    bed_open(&b, (uint32_t)base.cols, VEC_L2);
    for (uint32_t i = 0; i < n / 2; i++)
        bed_put(&b, i, row(i));
    bed_measure(&b, &query, &truth_half, "a half, fresh", &half);
    vs_close(b.store);

    bed_open(&b, (uint32_t)base.cols, VEC_L2);
    for (uint32_t i = 0; i < n; i++)
        bed_put(&b, i, row(i));
    bed_measure(&b, &query, &truth, "whole, fresh", &whole);
    assert_true(whole.recall[0] >= 0.99);

    /* replaced three times, at last by itself */
    for (uint32_t round = 1; round <= 3; round++)
        for (uint32_t i = 0; i < n; i++)
            bed_put(&b, i, row(i + (3 - round) * 1237));
    bed_measure(&b, &query, &truth, "replaced three times", &replaced);
    near(&replaced, &whole);
    vs_close(b.store);

    /* a random half of the ids is the first half of the rows, dealt out at random */
    bed_open(&b, (uint32_t)base.cols, VEC_L2);
    uint32_t *order = malloc(n * sizeof(*order));
    struct rng rng = {11};
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = (uint32_t)n; i-- > 1;) {
        uint32_t j = (uint32_t)rng_below(&rng, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < n; i++)
        bed_put(&b, order[i], row(order[i]));
    for (uint32_t i = 0; i < n; i++)
        if (order[i] >= n / 2)
            bed_delete(&b, order[i]);
    free(order);
    bed_measure(&b, &query, &truth_half, "a half deleted", &halved);
    near(&halved, &half);
    vs_close(b.store);
    vecfile_ints_release(&truth_half);
    vecfile_ints_release(&truth);
}

/* ---- inner products, norms over a decade ---- */

static void test_inner_product(void **state)
{
    (void)state;
    bool quick = run_quick();
    size_t n = quick ? 4000 : 20000;
    uint32_t dim = 128;
    struct generate_options o;
    generate_defaults(dim, true, &o);
    struct generate_model *model = generate_model_new(&o);
    struct vecfile_floats rows = {n, dim, malloc(n * dim * sizeof(float))};
    struct vecfile_floats queries = {QUERIES, dim, malloc((size_t)QUERIES * dim * sizeof(float))};
    generate_rows_parallel(model, GENERATE_BASE, 0, n, THREADS, rows.data);
    generate_rows_parallel(model, GENERATE_QUERY, 0, QUERIES, THREADS, queries.data);
    generate_model_free(model);
    struct rng rng = {5};
    for (size_t i = 0; i < n; i++) {
        float norm = (float)pow(10, rng_unit(&rng));
        for (uint32_t j = 0; j < dim; j++)
            rows.data[i * dim + j] *= norm;
    }
    struct vecfile_ints truth = truth_of(&rows, &queries, VEC_IP);
    struct bed b;
    struct measured m;
    bed_open(&b, dim, VEC_IP);
    for (uint32_t i = 0; i < n; i++)
        bed_put(&b, i, rows.data + (size_t)i * dim);
    bed_measure(&b, &queries, &truth, "inner product, norms 1..10", &m);
    vs_close(b.store);
    vecfile_ints_release(&truth);
    free(rows.data);
    free(queries.data);
    assert_true(m.recall[1] >= 0.95);
}

/* ---- every element type ---- */

static void test_types(void **state)
{
    (void)state;
    static const struct {
        enum vec_type type;
        double floor;                /* of recall at EF 128 */
    } types[] = {{VEC_F32, 0.97}, {VEC_F16, 0.97}, {VEC_BF16, 0.93}, {VEC_Q8, 0.97}, {VEC_Q4, 0.96}, {VEC_BIN, 0.95}};
    size_t n = run_quick() ? 6000 : 12000;
    for (int metric = 0; metric <= VEC_L2; metric++) {
        uint32_t dim = metric == VEC_L2 ? 300 : 512;
        struct generate_options o;
        generate_defaults(dim, metric == VEC_COSINE, &o);
        struct generate_model *model = generate_model_new(&o);
        struct vecfile_floats rows = {n, dim, malloc(n * dim * sizeof(float))};
        struct vecfile_floats queries = {QUERIES, dim, malloc((size_t)QUERIES * dim * sizeof(float))};
        generate_rows_parallel(model, GENERATE_BASE, 0, n, THREADS, rows.data);
        generate_rows_parallel(model, GENERATE_QUERY, 0, QUERIES, THREADS, queries.data);
        generate_model_free(model);
        struct vecfile_ints truth = truth_of(&rows, &queries, (enum vec_metric)metric);
        for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
            struct bed b;
            struct measured m;
            char what[64];
            bed_open_type(&b, dim, (enum vec_metric)metric, types[t].type);
            for (uint32_t i = 0; i < n; i++)
                bed_put(&b, i, rows.data + (size_t)i * dim);
            snprintf(what, sizeof(what), "%u-d %s %s", dim, vec_metric_name((enum vec_metric)metric), vec_type_name(types[t].type));
            bed_measure(&b, &queries, &truth, what, &m);
            vs_close(b.store);
            assert_true(m.recall[1] >= types[t].floor);
        }
        vecfile_ints_release(&truth);
        free(rows.data);
        free(queries.data);
    }
}

int main(void)
{
    base_rows = getenv("VECSTORE_TEST_FULL") ? 60000 : run_quick() ? 4000 : 20000;
    if (!have_data())
        base.rows = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inner_product),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_real),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vecfile_floats_release(&base);
    vecfile_floats_release(&query);
    return failed;
}
