/* What the codecs share among themselves; private to vec/codec*.c and vec/originals.c.
 *
 * Each element type is a struct of functions in a file of its own; codec.c looks them up. The types of integer codes (q8, q4, bin)
 * have one header and one formula for what a row stands for, so they share how integer dot products become distances. */
#ifndef VEC_CODEC_INT_H
#define VEC_CODEC_INT_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "vec/codec.h"
#include "vec/kernels.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define VEC_HEADER 16    /* bytes before a row's components */
#define VEC_BLOCK 64     /* rows a kernel call measures */

/* Of a row of integer codes: component (or, rotated, coordinate) j is about lo + step * code[j], see codec.h. */
struct code_header {
    float lo, step, step_sum, norm;
};

_Static_assert(sizeof(struct code_header) == VEC_HEADER, "headers are 16 bytes");

/* One element type: as the functions of codec.h. */
struct codec_type {
    const char *name;
    uint32_t rerank_min, rerank_times;    /* results measured on originals: at least min, times what is asked for */
    uint32_t (*row_payload)(uint32_t dim);      /* bytes after the header, before rounding up */
    uint32_t (*query_payload)(uint32_t dim);
    void (*encode)(const struct vec_codec *c, const float *x, float *tmp, void *row);
    void (*decode)(const struct vec_codec *c, const void *row, float *out);
    void (*query_from_vector)(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q);
    void (*query_from_row)(const struct vec_codec *c, const void *row, struct vec_query *q);
    void (*distances)(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n, float *out);
};

extern const struct codec_type codec_q8, codec_f32, codec_f16, codec_bf16, codec_q4, codec_bin;

/* x . x in the kernels' order. */
float codec_dot_self(const float *x, uint32_t dim);
/* 1 / norm, 0 for 0, never infinite. */
float codec_inverse(float norm);
/* `x` at unit length in tmp, or `x` itself when it is all zero. */
const float *codec_to_unit(const float *x, uint32_t dim, float norm, float *tmp);

static inline uint32_t codec_round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

/* Overflow may leave a NaN: as far away as can be, so that an order always exists. */
static inline float codec_ordered(float distance)
{
    return distance == distance ? distance : INFINITY;
}

static inline float codec_cosine_distance(float dot, float inverse_q, float inverse_x)
{
    return codec_ordered(1.0f - (dot * inverse_q) * inverse_x);
}

/* ---- from integer dot products to distances ---- */

/* `clamp`: L2 distances are at least 0. Four rows side by side in the compiler's own vectors: lane by lane what a scalar would do. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) f32x4 combine_four(enum vec_metric metric, bool clamp, const struct vec_query *q,
                                                                const f32x4 *header, i32x4 dots)
{
    f32x4 ab0 = __builtin_shufflevector(header[0], header[1], 0, 4, 1, 5);
    f32x4 ab1 = __builtin_shufflevector(header[2], header[3], 0, 4, 1, 5);
    f32x4 cd0 = __builtin_shufflevector(header[0], header[1], 2, 6, 3, 7);
    f32x4 cd1 = __builtin_shufflevector(header[2], header[3], 2, 6, 3, 7);
    f32x4 lo = __builtin_shufflevector(ab0, ab1, 0, 1, 4, 5);
    f32x4 step = __builtin_shufflevector(ab0, ab1, 2, 3, 6, 7);
    f32x4 step_sum = __builtin_shufflevector(cd0, cd1, 0, 1, 4, 5);
    f32x4 norm = __builtin_shufflevector(cd0, cd1, 2, 3, 6, 7);

    f32x4 d = ((step * q->scale) * __builtin_convertvector(dots, f32x4) + step_sum * q->sum_scale) + lo * q->lo_scale;
    if (metric == VEC_COSINE)
        d = 1.0f - d;
    else if (metric == VEC_IP)
        d = -d;
    else
        d = (norm + q->norm) - 2.0f * d;
    const f32x4 infinity = {INFINITY, INFINITY, INFINITY, INFINITY};
    i32x4 fine = d == d;
    i32x4 bits = ((i32x4)d & fine) | ((i32x4)infinity & ~fine);
    if (metric == VEC_L2 && clamp)
        bits &= (f32x4)bits > 0.0f;
    return (f32x4)bits;
}

static inline __attribute__((always_inline)) void combine_block(enum vec_metric metric, bool clamp, const struct vec_query *q,
                                                                const void *const *rows, size_t n, const int32_t *dots,
                                                                float *out)
{
    f32x4 header[4];
    i32x4 dot;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t r = 0; r < 4; r++)
            memcpy(&header[r], rows[i + r], VEC_HEADER);
        memcpy(&dot, dots + i, sizeof(dot));
        f32x4 d = combine_four(metric, clamp, q, header, dot);
        memcpy(out + i, &d, sizeof(d));
    }
    if (i < n) {
        size_t left = n - i;
        memset(header, 0, sizeof(header));
        dot = (i32x4){0};
        for (size_t r = 0; r < left; r++)
            memcpy(&header[r], rows[i + r], VEC_HEADER);
        memcpy(&dot, dots + i, left * sizeof(*dots));
        f32x4 d = combine_four(metric, clamp, q, header, dot);
        memcpy(out + i, &d, left * sizeof(*out));
    }
}

#endif
