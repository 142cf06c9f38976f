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
#include "vec/codec.h"
#include "vec/kernels.h"

#define ROWS 131   /* two blocks and a rest */

static struct rng rng;

static const uint32_t dims[] = {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 100, 128, 300, 784, 1537};
#define DIMS (sizeof(dims) / sizeof(*dims))

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
        double bound = scale * 4e-6 + (metric == VEC_COSINE && type == VEC_Q8 ? 8e-3 : 0);
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
                for (int variant = 0; variant < 4; variant++)
                    compare_distances((enum vec_type)type, (enum vec_metric)metric, dims[d], variant & 1 ? 3 : 0,
                                      variant & 2);
}

static void zero_and_extreme_vectors_have_an_order(void **state)
{
    enum { DIM = 40 };
    static const float sizes[] = {0, 0x1p-149f, 1e-38f, 1e-25f, 1, 1e20f, 3e38f};
    enum { SIZES = sizeof(sizes) / sizeof(*sizes) };
    (void)state;
    for (int type = 0; type < VEC_TYPES; type++)
        for (int metric = 0; metric < VEC_METRICS; metric++) {
            struct vec_codec c;
            float x[SIZES][DIM], tmp[DIM], back[DIM], out[SIZES];
            void *rows[SIZES];
            vec_codec_init(&c, (enum vec_type)type, (enum vec_metric)metric, DIM);
            struct vec_query q = {.data = mem_aligned(64, c.query_bytes)};
            for (size_t i = 0; i < SIZES; i++) {
                rows[i] = mem_alloc(c.row_bytes);
                for (size_t j = 0; j < DIM; j++)
                    x[i][j] = (j % 3 == 1 ? -1.0f : 1.0f) * ((float)(j % 7) / 6) * sizes[i];
                vec_encode(&c, x[i], tmp, rows[i]);
                vec_decode(&c, rows[i], back);
                for (size_t j = 0; j < DIM; j++)
                    if (!(fabs((double)back[j] - x[i][j]) <= (double)sizes[i] * 0.005 + 1e-36))
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

/* The bits of rows and distances are part of graphs: they may not change between kernel sets nor between versions. */
static void bits_are_those_of_all_versions(void **state)
{
    enum { DIM = 97 };
    (void)state;
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
        }
    if (digest != 0xf83aaff27ea929eaull)
        fail_msg("digest 0x%016llx", (unsigned long long)digest);
}

static void originals_are_exact(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIMS; d++)
        for (int o = 0; o < VEC_ORIG_NONE; o++)
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
    assert_int_equal(vec_original_unfit(VEC_ORIG_F32, x, 40), 40);
    assert_int_equal(vec_original_unfit(VEC_ORIG_F16, x, 40), 40);
    x[33] = 65505;
    assert_int_equal(vec_original_unfit(VEC_ORIG_F32, x, 40), 40);
    assert_int_equal(vec_original_unfit(VEC_ORIG_F16, x, 40), 33);
    x[7] = NAN;
    assert_int_equal(vec_original_unfit(VEC_ORIG_F32, x, 40), 7);
    assert_int_equal(vec_original_unfit(VEC_ORIG_F16, x, 40), 7);
    x[7] = -65504;
    x[3] = -INFINITY;
    assert_int_equal(vec_original_unfit(VEC_ORIG_NONE, x, 40), 3);
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
    const char *given = getenv("SEED");
    if (given)
        rng.state = strtoull(given, NULL, 0);
    else
        rng_system(&rng.state, sizeof(rng.state));
    printf("SEED=%llu kernels=%s\n", (unsigned long long)rng.state, vec_kernels()->name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_decode_within_half_a_step),
        cmocka_unit_test(distances_are_near_the_naive_ones),
        cmocka_unit_test(zero_and_extreme_vectors_have_an_order),
        cmocka_unit_test(bits_are_those_of_all_versions),
        cmocka_unit_test(originals_are_exact),
        cmocka_unit_test(unfit_components_are_found),
        cmocka_unit_test(norms_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
