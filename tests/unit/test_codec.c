/* tsan: skip (one thread) */
/* Codecs: rows decode within their error bounds, and distances are near those of a naive computation in double. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "vec/codec.h"
#include "vec/kernels.h"

#define ROWS 131   /* two blocks and a rest */

static struct rng rng;

static const uint32_t dims[] = {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 100, 128, 300, 784, 1537};
#define DIMS (sizeof(dims) / sizeof(*dims))

/* Fewer of them with VECSTORE_TEST_QUICK=1. */
static size_t scaled(size_t n)
{
    return run_quick() ? n / 4 : n;
}

static void random_vector(float *x, uint32_t dim, float size, float offset)
{
    for (uint32_t j = 0; j < dim; j++)
        x[j] = (float)(rng_unit(&rng) * 2 - 1) * size + offset;
}

static double naive_distance(enum vec_metric m, const float *a, const float *b, uint32_t dim)
{
    double dot = 0, aa = 0, bb = 0, l2 = 0;
    for (uint32_t j = 0; j < dim; j++) {
        dot += (double)a[j] * b[j];
        aa += (double)a[j] * a[j];
        bb += (double)b[j] * b[j];
        l2 += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
    }
    if (m == VEC_L2)
        return l2;
    if (m == VEC_IP)
        return -dot;
    return aa == 0 || bb == 0 ? 1 : 1 - dot / sqrt(aa) / sqrt(bb);
}

static double length(const float *x, uint32_t dim)
{
    double sum = 0;
    for (uint32_t j = 0; j < dim; j++)
        sum += (double)x[j] * x[j];
    return sqrt(sum);
}

static void rows_decode_within_half_a_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMS * VEC_METRICS; i++) {
        struct vec_codec c;
        uint32_t dim = dims[i / VEC_METRICS];
        vec_codec_init(&c, VEC_Q8, (enum vec_metric)(i % VEC_METRICS), dim);
        assert_int_equal(c.row_bytes % 16, 0);
        assert_int_equal(c.query_bytes % 64, 0);
        float *x = mem_alloc(dim * 4), *tmp = mem_alloc(dim * 4), *back = mem_alloc(dim * 4);
        void *row = mem_alloc(c.row_bytes);
        random_vector(x, dim, 3, 1);
        vec_encode(&c, x, tmp, row);
        vec_decode(&c, row, back);
        float min = x[0], max = x[0];
        for (uint32_t j = 0; j < dim; j++) {
            min = x[j] < min ? x[j] : min;
            max = x[j] > max ? x[j] : max;
        }
        double bound = ((double)max - min) / 255 / 2 * 1.001 + 8e-6;
        for (uint32_t j = 0; j < dim; j++)
            assert_true(fabs((double)x[j] - back[j]) <= bound);
        for (uint32_t j = 16 + dim; j < c.row_bytes; j++)
            assert_int_equal(((uint8_t *)row)[j], 0);
        if (c.metric == VEC_COSINE)
            assert_true(fabs(vec_row_norm(row, VEC_Q8) - length(x, dim)) <= 1e-5 * length(x, dim));
        if (c.metric == VEC_L2)
            assert_true(fabs(vec_row_norm(row, VEC_Q8) - pow(length(back, dim), 2)) <=
                        1e-6 * (1 + pow(length(back, dim), 2)));
        vec_codec_init(&c, VEC_F32, c.metric, dim);
        row = mem_realloc(row, c.row_bytes);
        vec_encode(&c, x, tmp, row);
        vec_decode(&c, row, back);
        assert_memory_equal(x, back, dim * 4);
        mem_free(x);
        mem_free(tmp);
        mem_free(back);
        mem_free(row);
    }
}

/* Rotated codes keep the length of the vector, not of what it decodes to, and a query made from a vector is finer than the row that it
 * is compared as here: how far from the naive distance between decoded vectors that may lie. */
static double slack_of(enum vec_type type, enum vec_metric metric, const float *x, const float *z, uint32_t dim)
{
    static const double shares[VEC_TYPES] = {[VEC_F16] = 0x1p-9, [VEC_BF16] = 0x1p-6, [VEC_Q4] = 0.6, [VEC_BIN] = 4};
    double share = shares[type];
    if (share == 0)
        return 0;
    return share * (metric == VEC_COSINE ? 1 : pow(length(x, dim), 2) + pow(length(z, dim), 2)) + 1e-6;
}

/* Distances between decoded vectors are what vec_distances must give, up to float rounding. */
static void compare_distances(enum vec_type type, enum vec_metric metric, uint32_t dim, float offset, bool from_row)
{
    struct vec_codec c;
    vec_codec_init(&c, type, metric, dim);
    float *x = mem_alloc(dim * 4), *tmp = mem_alloc(dim * 4), *y = mem_alloc(dim * 4), *z = mem_alloc(dim * 4);
    void *rows[ROWS];
    float got[ROWS], again[ROWS];
    struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
    random_vector(x, dim, 2, offset);
    void *query_row = mem_alloc(c.row_bytes);
    vec_encode(&c, x, tmp, query_row);
    if (from_row)
        vec_query_from_row(&c, query_row, &q);
    else
        vec_query_from_vector(&c, x, tmp, &q);
    vec_decode(&c, query_row, x);
    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = mem_alloc(c.row_bytes);
        random_vector(y, dim, i % 5 == 0 ? 0 : 2, i % 10 == 0 ? 0 : offset);
        vec_encode(&c, y, tmp, rows[i]);
    }
    memcpy(rows[ROWS - 1], query_row, c.row_bytes);
    vec_distances(&c, &q, (const void *const *)rows, ROWS, got);
    for (size_t i = 0; i < ROWS; i++) {
        vec_decode(&c, rows[i], z);
        double want = naive_distance(metric, x, z, dim);
        double scale = metric == VEC_COSINE ? 1 : length(x, dim) * length(z, dim) + pow(length(x, dim), 2) +
                                                      pow(length(z, dim), 2);
        /* COSINE q8 rows decode to almost unit length, not to it. */
        double bound = scale * 4e-6 + (metric == VEC_COSINE && type == VEC_Q8 ? 8e-3 : 0) + slack_of(type, metric, x, z, dim);
        if (!(fabs(got[i] - want) <= bound))
            fail_msg("%s %s dim %u row %zu: %g, not %g", vec_type_name(type), vec_metric_name(metric), dim, i,
                     (double)got[i], want);
    }
    /* How many rows are measured at once changes nothing. */
    for (size_t i = 0; i < ROWS; i++)
        vec_distances(&c, &q, (const void *const *)rows + i, 1, &again[i]);
    assert_memory_equal(got, again, sizeof(got));
    for (size_t i = 0; i < ROWS; i++)
        mem_free(rows[i]);
    mem_free(query_row);
    mem_free(q.data);
    mem_free(x);
    mem_free(y);
    mem_free(z);
    mem_free(tmp);
}

static void distances_are_near_the_naive_ones(void **state)
{
    (void)state;
    for (int type = 0; type < VEC_TYPES; type++)
        for (int metric = 0; metric < VEC_METRICS; metric++)
            for (size_t d = 0; d < DIMS; d++)
                for (int variant = 0; variant < 4; variant += scaled(4) < 4 ? 3 : 1)
                    compare_distances((enum vec_type)type, (enum vec_metric)metric, dims[d], variant & 1 ? 3 : 0,
                                      variant & 2);
}

/* How far components of at most 1 may decode from what they were. */
static double error_of(enum vec_type type)
{
    return type == VEC_Q4 ? 0.4 : type == VEC_BIN ? 3 : 0.005;
}

static void zero_and_extreme_vectors_have_an_order(void **state)
{
    enum { DIM = 40 };
    static const float all_sizes[] = {0, 0x1p-149f, 1e-38f, 1e-25f, 1, 1e20f, 3e38f};
    static const float half_sizes[] = {0, 0x1p-24f, 1e-7f, 1e-4f, 1, 100, 65504};
    enum { SIZES = sizeof(all_sizes) / sizeof(*all_sizes) };
    (void)state;
    for (int type = 0; type < VEC_TYPES; type++)
        for (int metric = 0; metric < VEC_METRICS; metric++) {
            struct vec_codec c;
            float x[SIZES][DIM], tmp[DIM], back[DIM], out[SIZES];
            void *rows[SIZES];
            const float *sizes = type == VEC_F16 ? half_sizes : all_sizes;
            vec_codec_init(&c, (enum vec_type)type, (enum vec_metric)metric, DIM);
            struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
            for (size_t i = 0; i < SIZES; i++) {
                rows[i] = mem_alloc(c.row_bytes);
                for (size_t j = 0; j < DIM; j++)
                    x[i][j] = (j % 3 == 1 ? -1.0f : 1.0f) * ((float)(j % 7) / 6) * sizes[i];
                vec_encode(&c, x[i], tmp, rows[i]);
                vec_decode(&c, rows[i], back);
                for (size_t j = 0; j < DIM; j++)
                    if (!(fabs((double)back[j] - x[i][j]) <= (double)sizes[i] * error_of(c.type) + (type == VEC_F16 ? 0x1p-24 : 1e-36)))
                        fail_msg("%s %s: %g decodes to %g", vec_type_name(c.type), vec_metric_name(c.metric),
                                 (double)x[i][j], (double)back[j]);
            }
            for (size_t i = 0; i < SIZES; i++) {
                vec_query_from_vector(&c, x[i], tmp, &q);
                vec_distances(&c, &q, (const void *const *)rows, SIZES, out);
                for (size_t k = 0; k < SIZES; k++)
                    assert_false(isnan(out[k]));
                if (metric == VEC_COSINE)
                    assert_true(out[0] == 1.0f);
                if (metric == VEC_COSINE && i == 0)
                    for (size_t k = 0; k < SIZES; k++)
                        assert_true(out[k] == 1.0f);
            }
            for (size_t i = 0; i < SIZES; i++)
                mem_free(rows[i]);
            mem_free(q.data);
        }
}

/* ---- how good the estimates are ---- */

/* Vectors of three kinds: even, in clusters of `spread`, and with few large components and a mean far from zero. */
static void shaped_vector(float *x, uint32_t dim, int shape, const float *centres, uint32_t clusters)
{
    const float *centre = centres + rng_below(&rng, clusters) * dim;
    for (uint32_t j = 0; j < dim; j++) {
        float u = (float)(rng_unit(&rng) + rng_unit(&rng) + rng_unit(&rng) + rng_unit(&rng) - 2);
        x[j] = shape == 1 ? centre[j] + 0.7f * u : shape == 2 ? (j % 37 == 5 ? 30 * u : 0.05f * fabsf(u)) + 0.3f : u;
    }
}

/* Pearson's correlation of estimated with true distances, and the estimate's mean error in units of the spread of the true ones. */
static double correlation(enum vec_type type, enum vec_metric metric, uint32_t dim, int shape, double *bias)
{
    struct vec_codec c;
    vec_codec_init(&c, type, metric, dim);
    float *x = mem_alloc(dim * 4), *y = mem_alloc(dim * 4), *tmp = mem_alloc(dim * 4), *centres = mem_alloc(16 * dim * 4), got;
    void *row = mem_alloc(c.row_bytes);
    const void *rows = row;
    struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
    double a = 0, b = 0, aa = 0, bb = 0, ab = 0;
    random_vector(centres, 16 * dim, 1, 0);
    shaped_vector(x, dim, shape, centres, 16);
    vec_query_from_vector(&c, x, tmp, &q);
    /* Never fewer: the error of a correlation of 0.8 over 250 is 0.023, and a run in many thousands is then 0.1 off. */
    const size_t scanned = 1000;
    for (size_t i = 0; i < scanned; i++) {
        shaped_vector(y, dim, shape, centres, 16);
        vec_encode(&c, y, tmp, row);
        vec_distances(&c, &q, &rows, 1, &got);
        double want = naive_distance(metric, x, y, dim), e = got;
        a += want;
        b += e;
        aa += want * want;
        bb += e * e;
        ab += want * e;
    }
    double n = (double)scanned, va = aa / n - a / n * a / n, vb = bb / n - b / n * b / n;
    *bias = (b - a) / n / sqrt(va);
    mem_free(x);
    mem_free(y);
    mem_free(tmp);
    mem_free(centres);
    mem_free(row);
    mem_free(q.data);
    return (ab / n - a / n * b / n) / sqrt(va * vb);
}

static void estimates_follow_the_true_distances(void **state)
{
    static const double floors[VEC_TYPES] = {
        [VEC_Q8] = 0.99, [VEC_F32] = 0.9999, [VEC_F16] = 0.999, [VEC_BF16] = 0.999, [VEC_Q4] = 0.98, [VEC_BIN] = 0.7};
    static const char *const shapes[] = {"even", "clustered", "skewed"};
    (void)state;
    for (int type = 0; type < VEC_TYPES; type++)
        for (int metric = 0; metric < VEC_METRICS; metric++)
            for (int shape = 0; shape < 3; shape++) {
                double bias, r = correlation((enum vec_type)type, (enum vec_metric)metric, 300, shape, &bias);
                print_message("%s %s %s: correlation %.4f, bias %.3f\n", vec_type_name((enum vec_type)type),
                              vec_metric_name((enum vec_metric)metric), shapes[shape], r, bias);
                assert_true(r >= floors[type]);
                assert_true(fabs(bias) <= (type == VEC_BIN ? 0.3 : 0.1));
            }
}

struct ranked {
    float distance;
    uint32_t at;
};

static int compare_ranked(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;
    return a->distance < b->distance ? -1 : a->distance > b->distance;
}

/* A scan of codes whose best are ranked again on the originals finds the true ten. */
static double scan_recall(enum vec_type type, enum vec_metric metric, uint32_t dim, size_t rerank)
{
    enum { QUERIES = 40, K = 10 };
    const size_t n = scaled(3000);
    struct vec_codec c;
    vec_codec_init(&c, type, metric, dim);
    float *base = mem_alloc(n * dim * 4), *x = mem_alloc(dim * 4), *tmp = mem_alloc(dim * 4);
    float *centres = mem_alloc(16 * dim * 4);
    char *codes = mem_alloc(n * c.row_bytes);
    struct ranked *truth = mem_alloc(n * sizeof(*truth)), *found = mem_alloc(n * sizeof(*found));
    struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
    size_t hits = 0;
    random_vector(centres, 16 * dim, 1, 0);
    for (size_t i = 0; i < n; i++) {
        shaped_vector(base + i * dim, dim, 1, centres, 16);
        vec_encode(&c, base + i * dim, tmp, codes + i * c.row_bytes);
    }
    for (size_t k = 0; k < QUERIES; k++) {
        shaped_vector(x, dim, 1, centres, 16);
        vec_query_from_vector(&c, x, tmp, &q);
        for (uint32_t i = 0; i < n; i++) {
            const void *row = codes + i * c.row_bytes;
            vec_distances(&c, &q, &row, 1, &found[i].distance);
            truth[i] = (struct ranked){(float)naive_distance(metric, x, base + i * dim, dim), i};
            found[i].at = i;
        }
        qsort(found, n, sizeof(*found), compare_ranked);
        for (size_t i = 0; i < rerank; i++)
            found[i].distance = truth[found[i].at].distance;
        qsort(found, rerank, sizeof(*found), compare_ranked);
        qsort(truth, n, sizeof(*truth), compare_ranked);
        for (size_t i = 0; i < K; i++)
            hits += found[i].distance <= truth[K - 1].distance;
    }
    mem_free(base);
    mem_free(x);
    mem_free(tmp);
    mem_free(centres);
    mem_free(codes);
    mem_free(truth);
    mem_free(found);
    mem_free(q.data);
    return (double)hits / (QUERIES * K);
}

static void short_codes_rank_well(void **state)
{
    (void)state;
    double plain = scan_recall(VEC_Q4, VEC_COSINE, 512, 10), again = scan_recall(VEC_Q4, VEC_COSINE, 512, 40);
    double l2 = scan_recall(VEC_Q4, VEC_L2, 300, 40), bin = scan_recall(VEC_BIN, VEC_COSINE, 512, 100);
    print_message("q4 512-d: %.4f, of 40 ranked again %.4f; 300-d L2 of 40: %.4f; bin 512-d, of 100: %.4f\n", plain, again, l2, bin);
    assert_true(again >= 0.99);
    assert_true(l2 >= 0.99);
    assert_true(bin >= 0.5);
}

/* The bits of rows and distances are part of graphs: they may not change between kernel sets nor between versions. */
static void bits_are_those_of_all_versions(void **state)
{
    enum { DIM = 97 };
    (void)state;
    static const uint64_t want[VEC_TYPES] = {0x72afe5d12b4eda03ull, 0xf83aaff27ea929eaull, 0xff3010e5d810e0c7ull, 0xb25af115cf906e04ull, 0xa0e0ca087e374188ull, 0x42097845c048a913ull};
    uint64_t digest = 0;
    struct rng fixed = {.state = 42};
    for (int type = 0; type < VEC_TYPES; type++)
        for (int metric = 0; metric < VEC_METRICS; metric++) {
            struct vec_codec c;
            float x[DIM], tmp[DIM], out;
            vec_codec_init(&c, (enum vec_type)type, (enum vec_metric)metric, DIM);
            struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
            void *row = mem_alloc(c.row_bytes);
            for (size_t j = 0; j < DIM; j++)
                x[j] = (float)(rng_unit(&fixed) - 0.3);
            vec_encode(&c, x, tmp, row);
            digest = hash_bytes(row, c.row_bytes, digest);
            for (size_t j = 0; j < DIM; j++)
                x[j] = (float)(rng_unit(&fixed) - 0.4);
            vec_query_from_vector(&c, x, tmp, &q);
            vec_distances(&c, &q, (const void *const *)&row, 1, &out);
            digest = hash_bytes(&out, sizeof(out), digest);
            mem_free(row);
            mem_free(q.data);
            if (metric == VEC_METRICS - 1 && digest != want[type])
                fail_msg("%s: digest 0x%016llx", vec_type_name(c.type), (unsigned long long)digest);
        }
}

static void originals_are_exact(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIMS; d++)
        for (int o = VEC_ORIG_F32; o < VEC_ORIG_NONE; o++)
            for (int metric = 0; metric < VEC_METRICS; metric++) {
                uint32_t dim = dims[d];
                enum { N = 5 };
                float *x = mem_alloc(dim * 4), *y = mem_alloc(dim * 4), *z = mem_alloc(dim * 4), norms[N], out[N];
                double want[N];
                void *originals[N];
                random_vector(x, dim, 2, 1);
                assert_int_equal(vec_original_bytes((enum vec_originals)o, dim) % 4, 0);
                for (size_t i = 0; i < N; i++) {
                    originals[i] = mem_alloc(vec_original_bytes((enum vec_originals)o, dim));
                    random_vector(y, dim, 2, 0);
                    vec_original_store((enum vec_originals)o, y, dim, originals[i]);
                    vec_original_load((enum vec_originals)o, originals[i], dim, z);
                    for (uint32_t j = 0; j < dim; j++)
                        assert_true(fabsf(y[j] - z[j]) <= (o == VEC_ORIG_F32 ? 0 : fabsf(y[j]) * 0x1p-11f + 0x1p-25f));
                    norms[i] = vec_norm(z, dim);
                    want[i] = naive_distance((enum vec_metric)metric, x, z, dim);
                }
                vec_original_distances((enum vec_originals)o, (enum vec_metric)metric, dim, x, vec_norm(x, dim),
                                       (const void *const *)originals, norms, N, out);
                for (size_t i = 0; i < N; i++) {
                    assert_true(fabs(out[i] - want[i]) <= 1e-5 * (1 + 10.0 * dim));
                    mem_free(originals[i]);
                }
                mem_free(x);
                mem_free(y);
                mem_free(z);
            }
}

static void unfit_components_are_found(void **state)
{
    float x[40] = {0};
    (void)state;
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F32, x, 40), 40);
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F16, x, 40), 40);
    x[33] = 65505;
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F32, x, 40), 40);
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F16, x, 40), 33);
    x[7] = NAN;
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F32, x, 40), 7);
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_F16, x, 40), 7);
    assert_int_equal(vec_unfit(VEC_F16, VEC_ORIG_NONE, x, 40), 7);
    assert_int_equal(vec_unfit(VEC_BF16, VEC_ORIG_NONE, x, 40), 7);
    x[7] = FLT_MAX;
    assert_int_equal(vec_unfit(VEC_BF16, VEC_ORIG_NONE, x, 40), 7);
    assert_int_equal(vec_unfit(VEC_F32, VEC_ORIG_F32, x, 40), 40);
    x[7] = 0x1.fep127f;
    assert_int_equal(vec_unfit(VEC_BF16, VEC_ORIG_NONE, x, 40), 40);
    x[7] = -65504;
    x[3] = -INFINITY;
    assert_int_equal(vec_unfit(VEC_Q8, VEC_ORIG_NONE, x, 40), 3);
}

static void norms_of_any_size(void **state)
{
    static const float sizes[] = {0, 0x1p-149f, 1e-30f, 1e-15f, 1, 1e15f, 1e30f};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        float x[100];
        for (size_t j = 0; j < 100; j++)
            x[j] = sizes[i];
        assert_true(fabs(vec_norm(x, 100) - 10.0 * sizes[i]) <= 1e-5 * sizes[i]);
    }
}

int main(void)
{
    rng.state = run_seed();
    printf("kernels=%s\n", vec_kernels()->name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_decode_within_half_a_step),
        cmocka_unit_test(distances_are_near_the_naive_ones),
        cmocka_unit_test(zero_and_extreme_vectors_have_an_order),
        cmocka_unit_test(estimates_follow_the_true_distances),
        cmocka_unit_test(short_codes_rank_well),
        cmocka_unit_test(bits_are_those_of_all_versions),
        cmocka_unit_test(originals_are_exact),
        cmocka_unit_test(unfit_components_are_found),
        cmocka_unit_test(norms_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
