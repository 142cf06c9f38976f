/* tsan: skip (one thread) */
/* Kernel sets: every set that this processor runs gives the scalar set's bits, and the scalar set gives the right values. */
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
#include "vec/kernels.h"

#define ROWS 7
#define DIM_MAX 65536

enum flavour { ORDINARY, DENORMAL, ZEROS, EXTREME, FLAVOURS };

static struct rng rng;

/* Heap blocks of exactly the size that a kernel may touch, so that the sanitizer sees one byte too far. */
struct data {
    size_t dim;
    float *q, *rows[ROWS];
    uint16_t *halves[ROWS], *bfloats[ROWS];
    uint8_t *codes[ROWS], *nibbles[ROWS], *bits[ROWS];
    int8_t *centred, *paired;
};

static float component(enum flavour f)
{
    static const float edges[] = {0.0f, -0.0f, 1.0f, -1.0f, 0x1p-149f, -0x1p-149f, 0x1p-126f, 65504.0f, -65504.0f,
                                  3.4e38f, -3.4e38f, 0x1p-24f, 0x1.8p-25f, 2049.0f, 2051.0f};
    float u = (float)(rng_unit(&rng) * 2 - 1);
    switch (f) {
    case DENORMAL: return u * 0x1p-130f;
    case ZEROS: return rng_next(&rng) & 1 ? 0.0f : -0.0f;
    case EXTREME: return edges[rng_below(&rng, sizeof(edges) / sizeof(*edges))];
    default: return u * 8;
    }
}

static const struct vec_kernels *scalar_set(void)
{
    size_t i = 0;
    while (vec_kernels_at(i + 1))
        i++;
    return vec_kernels_at(i);
}

static void fill(struct data *d, size_t dim, enum flavour f)
{
    size_t padded = (dim + 63) / 64 * 64, readable = (dim + 15) / 16 * 16;
    d->dim = dim;
    d->q = mem_alloc(dim * sizeof(float));
    d->centred = mem_aligned(64, padded);
    d->paired = mem_aligned(64, vec_u4_query_bytes(dim));
    for (size_t j = 0; j < vec_u4_query_bytes(dim); j++)
        d->paired[j] = f == EXTREME ? -128 : (int8_t)rng_next(&rng);
    memset(d->centred + dim, 0, padded - dim);
    for (size_t j = 0; j < dim; j++) {
        d->q[j] = component(f);
        d->centred[j] = f == EXTREME ? -128 : (int8_t)rng_next(&rng);
    }
    for (size_t r = 0; r < ROWS; r++) {
        d->rows[r] = mem_alloc(dim * sizeof(float));
        d->halves[r] = mem_alloc(dim * sizeof(uint16_t));
        d->bfloats[r] = mem_alloc(dim * sizeof(uint16_t));
        d->codes[r] = mem_alloc(readable);
        d->nibbles[r] = mem_alloc(vec_u4_bytes(dim));
        d->bits[r] = mem_alloc((dim + 127) / 128 * 16);
        for (size_t j = 0; j < vec_u4_bytes(dim); j++)
            d->nibbles[r][j] = f == EXTREME ? 255 : (uint8_t)rng_next(&rng);
        for (size_t j = 0; j < (dim + 127) / 128 * 16; j++)
            d->bits[r][j] = f == EXTREME ? 255 : (uint8_t)rng_next(&rng);
        for (size_t j = 0; j < dim; j++)
            d->rows[r][j] = component(f);
        for (size_t j = 0; j < readable; j++)
            d->codes[r][j] = f == EXTREME ? 255 : (uint8_t)rng_next(&rng);
        scalar_set()->f32_to_f16(d->rows[r], dim, d->halves[r]);
        scalar_set()->f32_to_bf16(d->rows[r], dim, d->bfloats[r]);
    }
}

static void drop(struct data *d)
{
    mem_free(d->q);
    mem_free(d->centred);
    mem_free(d->paired);
    for (size_t r = 0; r < ROWS; r++) {
        mem_free(d->rows[r]);
        mem_free(d->halves[r]);
        mem_free(d->bfloats[r]);
        mem_free(d->codes[r]);
        mem_free(d->nibbles[r]);
        mem_free(d->bits[r]);
    }
}

/* Equal bits; two NaNs count as equal, their signs depend on the order of operands. */
static void same_floats(const float *a, const float *b, size_t n, const char *what, size_t dim)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s, dim %zu: %a and %a", what, dim, (double)a[i], (double)b[i]);
}

static void compare_many(const struct vec_kernels *k, const struct vec_kernels *s, const struct data *d, size_t n)
{
    int32_t ia[ROWS], ib[ROWS];
    float a[ROWS], b[ROWS];
    const uint8_t *const *codes = (const uint8_t *const *)d->codes;
    const float *const *rows = (const float *const *)d->rows;
    const uint16_t *const *halves = (const uint16_t *const *)d->halves, *const *bfloats = (const uint16_t *const *)d->bfloats;
    const uint8_t *const *nibbles = (const uint8_t *const *)d->nibbles, *const *bits = (const uint8_t *const *)d->bits;
    k->dot_u8s8_many(d->centred, codes, n, d->dim, ia);
    s->dot_u8s8_many(d->centred, codes, n, d->dim, ib);
    assert_memory_equal(ia, ib, n * sizeof(*ia));
    k->dot_u4s8_many(d->paired, nibbles, n, vec_u4_bytes(d->dim), ia);
    s->dot_u4s8_many(d->paired, nibbles, n, vec_u4_bytes(d->dim), ib);
    assert_memory_equal(ia, ib, n * sizeof(*ia));
    k->dot_u1s8_many(d->centred, bits, n, d->dim, ia);
    s->dot_u1s8_many(d->centred, bits, n, d->dim, ib);
    assert_memory_equal(ia, ib, n * sizeof(*ia));
    k->dot_f32_many(d->q, rows, n, d->dim, a);
    s->dot_f32_many(d->q, rows, n, d->dim, b);
    same_floats(a, b, n, "dot_f32", d->dim);
    k->l2_f32_many(d->q, rows, n, d->dim, a);
    s->l2_f32_many(d->q, rows, n, d->dim, b);
    same_floats(a, b, n, "l2_f32", d->dim);
    k->dot_f16_many(d->q, halves, n, d->dim, a);
    s->dot_f16_many(d->q, halves, n, d->dim, b);
    same_floats(a, b, n, "dot_f16", d->dim);
    k->l2_f16_many(d->q, halves, n, d->dim, a);
    s->l2_f16_many(d->q, halves, n, d->dim, b);
    same_floats(a, b, n, "l2_f16", d->dim);
    k->dot_bf16_many(d->q, bfloats, n, d->dim, a);
    s->dot_bf16_many(d->q, bfloats, n, d->dim, b);
    same_floats(a, b, n, "dot_bf16", d->dim);
    k->l2_bf16_many(d->q, bfloats, n, d->dim, a);
    s->l2_bf16_many(d->q, bfloats, n, d->dim, b);
    same_floats(a, b, n, "l2_bf16", d->dim);
}

/* What q4 and bin rows are made with. */
static void compare_rotated(const struct vec_kernels *k, const struct vec_kernels *s, const struct data *d)
{
    size_t dim = d->dim, u4 = vec_u4_bytes(dim), u1 = (dim + 127) / 128 * 16, long_query = vec_u4_query_bytes(dim);
    float *x = mem_alloc(dim * 4), *y = mem_alloc(dim * 4), dots[2], squares[2];
    uint8_t *ca = mem_alloc(u4), *cb = mem_alloc(u4);
    int8_t *qa = mem_alloc(long_query), *qb = mem_alloc(long_query);
    for (size_t j = 0; j < dim; j++)
        x[j] = y[j] = component(ORDINARY);
    k->rotate(x, dim);
    s->rotate(y, dim);
    same_floats(x, y, dim, "rotate", dim);
    const float steps[] = {0, 0.5f, 1, 3.7f, 1e9f};
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        k->fit_u4(x, dim, steps[i], &dots[0], &squares[0]);
        s->fit_u4(x, dim, steps[i], &dots[1], &squares[1]);
        same_floats(&dots[0], &dots[1], 1, "fit_u4", dim);
        same_floats(&squares[0], &squares[1], 1, "fit_u4", dim);
        k->quantize_u4(x, dim, steps[i], ca);
        s->quantize_u4(x, dim, steps[i], cb);
        assert_memory_equal(ca, cb, u4);
        assert_int_equal(k->expand_u4(ca, dim, qa), s->expand_u4(ca, dim, qb));
        assert_memory_equal(qa, qb, long_query);
        assert_int_equal(k->quantize_s8(x, dim, steps[i], qa), s->quantize_s8(x, dim, steps[i], qb));
        assert_memory_equal(qa, qb, dim);
    }
    ca = mem_realloc(ca, u1 + dim + 64);
    cb = mem_realloc(cb, u1 + dim + 64);
    k->quantize_u1(x, dim, ca);
    s->quantize_u1(x, dim, cb);
    assert_memory_equal(ca, cb, u1);
    assert_int_equal(k->expand_u1(ca, dim, (int8_t *)ca + u1), s->expand_u1(cb, dim, (int8_t *)cb + u1));
    assert_memory_equal(ca, cb, u1 + (dim + 63) / 64 * 64);
    k->unrotate(x, dim);
    s->unrotate(y, dim);
    same_floats(x, y, dim, "unrotate", dim);
    mem_free(x);
    mem_free(y);
    mem_free(ca);
    mem_free(cb);
    mem_free(qa);
    mem_free(qb);
}

static void compare_single(const struct vec_kernels *k, const struct vec_kernels *s, const struct data *d)
{
    size_t dim = d->dim;
    float mins[2], maxs[2];
    k->minmax_f32(d->q, dim, &mins[0], &maxs[0]);
    s->minmax_f32(d->q, dim, &mins[1], &maxs[1]);
    assert_memory_equal(&mins[0], &mins[1], sizeof(float));
    assert_memory_equal(&maxs[0], &maxs[1], sizeof(float));

    uint8_t *ca = mem_alloc(dim), *cb = mem_alloc(dim);
    uint16_t *ha = mem_alloc(dim * 2), *hb = mem_alloc(dim * 2);
    float *fa = mem_alloc(dim * 4), *fb = mem_alloc(dim * 4);
    /* Steps that put components on the half between two codes, and ones that need clamping. */
    const float steps[] = {0, 0.5f, 16, 31.875f, 0x1p126f};
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        uint32_t sa = k->quantize_u8(d->q, dim, mins[0] / 2, steps[i], ca);
        uint32_t sb = s->quantize_u8(d->q, dim, mins[0] / 2, steps[i], cb);
        assert_int_equal(sa, sb);
        assert_memory_equal(ca, cb, dim);
        assert_int_equal(k->squares_u8(ca, dim), s->squares_u8(cb, dim));
    }
    uint64_t squares = 0;
    for (size_t j = 0; j < dim; j++)
        squares += (uint64_t)ca[j] * ca[j];
    assert_int_equal(k->squares_u8(ca, dim), squares);
    k->center_u8(d->codes[0], dim, (int8_t *)ca);
    s->center_u8(d->codes[0], dim, (int8_t *)cb);
    assert_memory_equal(ca, cb, dim);
    k->f32_to_f16(d->q, dim, ha);
    s->f32_to_f16(d->q, dim, hb);
    assert_memory_equal(ha, hb, dim * 2);
    k->f32_to_bf16(d->q, dim, (uint16_t *)fa);
    s->f32_to_bf16(d->q, dim, (uint16_t *)fb);
    assert_memory_equal(fa, fb, dim * 2);
    k->bf16_to_f32(d->bfloats[0], dim, fa);
    s->bf16_to_f32(d->bfloats[0], dim, fb);
    assert_memory_equal(fa, fb, dim * 4);
    k->f16_to_f32(ha, dim, fa);
    s->f16_to_f32(hb, dim, fb);
    assert_memory_equal(fa, fb, dim * 4);

    memcpy(fa, d->q, dim * 4);
    assert_int_equal(k->first_nonfinite(fa, dim), dim);
    assert_int_equal(s->first_nonfinite(fa, dim), dim);
    size_t at = rng_below(&rng, dim);
    fa[at] = at & 1 ? NAN : -INFINITY;
    if (at + 1 < dim)
        fa[dim - 1] = INFINITY;
    assert_int_equal(k->first_nonfinite(fa, dim), at);
    assert_int_equal(s->first_nonfinite(fa, dim), at);
    mem_free(ca);
    mem_free(cb);
    mem_free(ha);
    mem_free(hb);
    mem_free(fa);
    mem_free(fb);
}

static void compare_dim(size_t dim)
{
    const struct vec_kernels *s = scalar_set();
    /* Of the flavours one a dimension, in turn, with VECSTORE_TEST_QUICK=1. */
    bool quick = run_quick();
    for (int f = quick ? (int)(dim % FLAVOURS) : 0; f < FLAVOURS; f += quick ? FLAVOURS : 1) {
        struct data d;
        fill(&d, dim, (enum flavour)f);
        for (size_t i = 0; vec_kernels_at(i) != s; i++) {
            if (!vec_kernels_usable(vec_kernels_at(i)))
                continue;
            for (size_t n = 0; n <= ROWS; n++)
                compare_many(vec_kernels_at(i), s, &d, n);
            compare_single(vec_kernels_at(i), s, &d);
            compare_rotated(vec_kernels_at(i), s, &d);
        }
        drop(&d);
    }
}

static void sets_agree_to_the_bit(void **state)
{
    static const size_t large[] = {255, 256, 257, 384, 511, 784, 1000, 1536, 4096, 4099, DIM_MAX - 1, DIM_MAX};
    (void)state;
    for (size_t i = 0; vec_kernels_at(i); i++)
        print_message("%s: %s\n", vec_kernels_at(i)->name,
                      vec_kernels_usable(vec_kernels_at(i)) ? "tested" : "not on this processor");
    for (size_t dim = 1; dim <= 200; dim++)
        compare_dim(dim);
    for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++)
        compare_dim(large[i]);
}

static void values_are_right(void **state)
{
    const struct vec_kernels *s = scalar_set();
    (void)state;
    for (size_t dim = 1; dim < 300; dim += 7) {
        struct data d;
        fill(&d, dim, ORDINARY);
        float dot, l2;
        int32_t sum;
        const float *row = d.rows[0];
        const uint8_t *codes = d.codes[0];
        s->dot_f32_many(d.q, &row, 1, dim, &dot);
        s->l2_f32_many(d.q, &row, 1, dim, &l2);
        s->dot_u8s8_many(d.centred, &codes, 1, dim, &sum);
        double want_dot = 0, want_l2 = 0, size = 0;
        int64_t want_sum = 0;
        for (size_t j = 0; j < dim; j++) {
            want_dot += (double)d.q[j] * row[j];
            size += fabs((double)d.q[j] * row[j]);
            want_l2 += ((double)d.q[j] - row[j]) * ((double)d.q[j] - row[j]);
            want_sum += (int64_t)codes[j] * d.centred[j];
        }
        assert_true(fabs(dot - want_dot) <= size * 0x1p-20);
        assert_true(fabs(l2 - want_l2) <= want_l2 * 0x1p-20);
        assert_int_equal(sum, want_sum);
        drop(&d);
    }
}

static double length(const float *x, size_t dim)
{
    double sum = 0;
    for (size_t j = 0; j < dim; j++)
        sum += (double)x[j] * x[j];
    return sqrt(sum);
}

/* Lengths stay, the inverse leads back, and one component alone is spread over all others. */
static void rotations_rotate(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 7, 15, 16, 31, 48, 96, 97, 128, 300, 384, 512, 784, 1023, 1025, 1536, 4099, DIM_MAX};
    const struct vec_kernels *s = scalar_set();
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t dim = sizes[i];
        float *x = mem_alloc(dim * 4), *y = mem_alloc(dim * 4);
        for (size_t j = 0; j < dim; j++)
            x[j] = y[j] = component(ORDINARY);
        double before = length(x, dim);
        s->rotate(y, dim);
        assert_true(fabs(length(y, dim) - before) <= before * 1e-5);
        s->unrotate(y, dim);
        for (size_t j = 0; j < dim; j++)
            assert_true(fabs((double)x[j] - y[j]) <= 8e-5);
        memset(x, 0, dim * 4);
        x[rng_below(&rng, dim)] = 1;
        s->rotate(x, dim);
        double max = 0;
        for (size_t j = 0; j < dim; j++)
            max = fabs((double)x[j]) > max ? fabs((double)x[j]) : max;
        if (dim >= 64 && max > 8 / sqrt((double)dim))
            fail_msg("dim %zu: a component of %g is left", dim, max);
        mem_free(x);
        mem_free(y);
    }
}

/* The products of nibbles and bits are those of the components that they stand for. */
static void packed_codes_mean_what_they_should(void **state)
{
    const struct vec_kernels *s = scalar_set();
    (void)state;
    for (size_t dim = 1; dim < 400; dim++) {
        float *x = mem_alloc(dim * 4), *y = mem_alloc(dim * 4);
        uint8_t *codes = mem_alloc(vec_u4_bytes(dim)), *other = mem_alloc(vec_u4_bytes(dim));
        int8_t *q = mem_aligned(64, vec_u4_query_bytes(dim));
        const uint8_t *row = other;
        int32_t dot, sum = 0, want = 0, want_bits = 0, want_sum = 0;
        for (size_t j = 0; j < dim; j++) {
            x[j] = (float)rng_below(&rng, 16) - 7.5f;
            y[j] = (float)rng_below(&rng, 16) - 7.5f;
            want += (int32_t)((2 * x[j]) * (y[j] + 7.5f));
            want_sum += (int32_t)(2 * x[j]);
            want_bits += y[j] >= 0 ? (x[j] >= 0 ? 1 : -1) : 0;
        }
        s->quantize_u4(x, dim, 1, codes);
        s->quantize_u4(y, dim, 1, other);
        sum = s->expand_u4(codes, dim, q);
        s->dot_u4s8_many(q, &row, 1, vec_u4_bytes(dim), &dot);
        assert_int_equal(sum, want_sum);
        assert_int_equal(dot, want);
        codes = mem_realloc(codes, (dim + 127) / 128 * 16);
        other = mem_realloc(other, (dim + 127) / 128 * 16);
        row = other;
        s->quantize_u1(x, dim, codes);
        s->quantize_u1(y, dim, other);
        s->expand_u1(codes, dim, q);
        s->dot_u1s8_many(q, &row, 1, dim, &dot);
        assert_int_equal(dot, want_bits);
        mem_free(x);
        mem_free(y);
        mem_free(codes);
        mem_free(other);
        mem_free(q);
    }
}

static void the_largest_integer_sum_fits(void **state)
{
    (void)state;
    uint8_t *row = mem_alloc(DIM_MAX);
    int8_t *q = mem_aligned(64, DIM_MAX);
    memset(row, 255, DIM_MAX);
    memset(q, 0x80, DIM_MAX);
    for (size_t i = 0; vec_kernels_at(i); i++) {
        int32_t sum = 0;
        const uint8_t *codes = row;
        if (!vec_kernels_usable(vec_kernels_at(i)))
            continue;
        vec_kernels_at(i)->dot_u8s8_many(q, &codes, 1, DIM_MAX, &sum);
        assert_int_equal(sum, -65536 * 255 * 128);
    }
    mem_free(row);
    mem_free(q);
}

static void every_half_goes_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; vec_kernels_at(i); i++) {
        const struct vec_kernels *k = vec_kernels_at(i);
        if (!vec_kernels_usable(k))
            continue;
        for (uint32_t h = 0; h < 65536; h += 16) {
            uint16_t in[16], out[16];
            float wide[16];
            for (uint32_t j = 0; j < 16; j++)
                in[j] = (uint16_t)(h + j);
            if ((h & 0x7c00) == 0x7c00)
                continue;
            k->f16_to_f32(in, 16, wide);
            k->f32_to_f16(wide, 16, out);
            assert_memory_equal(in, out, sizeof(in));
            for (uint32_t j = 0; j < 16; j++) {
                int e = in[j] >> 10 & 31, m = in[j] & 1023;
                double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
                assert_true((double)wide[j] == (in[j] & 0x8000 ? -want : want));
            }
        }
    }
}

static void random_words_round_alike(void **state)
{
    const struct vec_kernels *s = scalar_set();
    (void)state;
    for (int round = 0; round < 2000; round++) {
        float x[64];
        uint16_t a[64], b[64];
        for (size_t j = 0; j < 64; j++) {
            uint32_t u = (uint32_t)rng_next(&rng);
            memcpy(&x[j], &u, sizeof(u));   /* NaN and infinity among them */
        }
        s->f32_to_bf16(x, 64, b);
        for (size_t j = 0; j < 64; j++) {
            float back;
            s->bf16_to_f32(&b[j], 1, &back);
            assert_true(isnan(x[j]) ? isnan(back) : isinf(back) || fabs((double)back - x[j]) <= fabs((double)x[j]) * 0x1p-8 + 0x1p-133);
        }
        s->f32_to_f16(x, 64, b);
        for (size_t i = 0; vec_kernels_at(i) != s; i++) {
            if (!vec_kernels_usable(vec_kernels_at(i)))
                continue;
            vec_kernels_at(i)->f32_to_f16(x, 64, a);
            assert_memory_equal(a, b, sizeof(a));
        }
    }
}

int main(void)
{
    rng.state = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_agree_to_the_bit),
        cmocka_unit_test(values_are_right),
        cmocka_unit_test(rotations_rotate),
        cmocka_unit_test(packed_codes_mean_what_they_should),
        cmocka_unit_test(the_largest_integer_sum_fits),
        cmocka_unit_test(every_half_goes_there_and_back),
        cmocka_unit_test(random_words_round_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
