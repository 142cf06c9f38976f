/* Rows and distances, see codec.h.
 *
 * The arithmetic of q8. With x_j = lo_x + step_x * c_j and the query's y_j = lo_q + step_q * (k_j + 128), k_j its centred code:
 *
 *   sum x_j y_j = step_x step_q * sum c_j k_j  +  step_x sum c_j * (lo_q + 128 step_q)  +  lo_x * sum y_j
 *                 ~~~~~~~ scale   ~ kernel ~      row header       sum_scale               lo_scale
 *
 * so a distance is one integer dot product and three multiply-adds on the four floats before the codes. Distances
 * are float arithmetic in the order written here, never fused; where components are so extreme that it overflows
 * into a NaN, the distance is +infinity, so that an order always exists. */
#include "vec/codec.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "vec/kernels.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define HEADER 16       /* bytes before a row's components */
#define BLOCK 64        /* rows a kernel call measures */
#define STEP_MIN 0x1p-120f   /* below it 1 / step nears overflow: such a vector counts as constant */

struct q8_header {
    float lo, step, step_sum, norm;
};

struct f32_header {
    float norm, inverse, unused[2];
};

_Static_assert(sizeof(struct q8_header) == HEADER && sizeof(struct f32_header) == HEADER, "headers are 16 bytes");

const char *vec_type_name(enum vec_type t)
{
    return t == VEC_Q8 ? "q8" : "f32";
}

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

void vec_codec_init(struct vec_codec *c, enum vec_type type, enum vec_metric metric, uint32_t dim)
{
    assert(dim >= 1 && dim <= VEC_DIM_MAX);
    uint32_t payload = type == VEC_Q8 ? dim : dim * (uint32_t)sizeof(float);
    *c = (struct vec_codec){
        .type = type,
        .metric = metric,
        .dim = dim,
        .row_bytes = HEADER + round_up(payload, 16),
        .query_bytes = round_up(payload, 64),
        .kernels = vec_kernels(),
    };
}

/* ---- lengths ---- */

static float dot_self(const float *x, uint32_t dim)
{
    float sum;
    vec_kernels()->dot_f32_many(x, &x, 1, dim, &sum);
    return sum;
}

float vec_norm(const float *x, uint32_t dim)
{
    float sum = dot_self(x, dim);
    if (sum > 0x1p-90f && sum < 0x1p126f)
        return sqrtf(sum);
    /* Squares of such components leave the range of a float, or lose their bits: once more in double. */
    double wide = 0;
    for (uint32_t j = 0; j < dim; j++)
        wide += (double)x[j] * x[j];
    wide = sqrt(wide);
    return wide < (double)FLT_MAX ? (float)wide : FLT_MAX;
}

/* 1 / norm, 0 for 0, never infinite. */
static float inverse_of(float norm)
{
    if (norm == 0)
        return 0;
    float inverse = 1.0f / norm;
    return inverse < FLT_MAX ? inverse : FLT_MAX;
}

float vec_row_norm(const void *row, enum vec_type t)
{
    float header[4];
    memcpy(header, row, sizeof(header));
    return header[t == VEC_Q8 ? 3 : 0];
}

/* `x` at unit length, or `x` itself when it is all zero. */
static const float *to_unit(const float *x, uint32_t dim, float norm, float *tmp)
{
    if (norm == 0)
        return x;
    if (norm > 0x1p-100f && norm < 0x1p100f) {
        float inverse = 1.0f / norm;
        for (uint32_t j = 0; j < dim; j++)
            tmp[j] = x[j] * inverse;
    } else {
        for (uint32_t j = 0; j < dim; j++)
            tmp[j] = (float)((double)x[j] / norm);
    }
    return tmp;
}

/* ---- q8: rows and queries ---- */

/* Codes of `x` and what they mean; the sum of the codes. `tmp` may be `x`. */
static uint32_t quantize(const struct vec_codec *c, const float *x, float *tmp, struct q8_header *h, uint8_t *codes)
{
    float min, max, back = 1;
    c->kernels->minmax_f32(x, c->dim, &min, &max);
    if (max - min > FLT_MAX) {
        for (uint32_t j = 0; j < c->dim; j++)
            tmp[j] = x[j] * 0.25f;
        x = tmp;
        min *= 0.25f;
        max *= 0.25f;
        back = 4;
    }
    float step = (max - min) / 255.0f;
    float inverse = 0;
    if (step < STEP_MIN)
        step = 0;
    else
        inverse = 1.0f / step;
    uint32_t sum = c->kernels->quantize_u8(x, c->dim, min, inverse, codes);
    h->lo = min * back;
    h->step = step * back;
    h->step_sum = h->step * (float)sum;
    h->norm = 0;
    return sum;
}

/* Squared length of the decoded vector: in double, where the terms' cancelling does not matter. */
static float decoded_square(const struct q8_header *h, const uint8_t *codes, uint32_t dim, uint32_t sum)
{
    uint64_t squares = 0;
    for (uint32_t at = 0; at < dim;) {
        uint32_t end = dim - at > 4096 ? at + 4096 : dim, part = 0;   /* 4096 * 255^2 fits 32 bits */
        for (; at < end; at++)
            part += (uint32_t)codes[at] * codes[at];
        squares += part;
    }
    double lo = h->lo, step = h->step;
    double square = (lo * lo * dim + 2 * lo * step * sum) + step * step * (double)squares;
    return square > 0 ? (float)square : 0;
}

static void encode_q8(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    struct q8_header h;
    uint8_t *codes = (uint8_t *)row + HEADER;
    float norm = 0;
    if (c->metric == VEC_COSINE) {
        norm = vec_norm(x, c->dim);
        x = to_unit(x, c->dim, norm, tmp);
    }
    uint32_t sum = quantize(c, x, tmp, &h, codes);
    if (c->metric == VEC_L2)
        norm = decoded_square(&h, codes, c->dim, sum);
    h.norm = norm;
    memcpy(row, &h, sizeof(h));
    memset(codes + c->dim, 0, c->row_bytes - HEADER - c->dim);
}

static void query_factors(const struct vec_codec *c, const struct q8_header *h, struct vec_query *q)
{
    q->scale = h->step;
    q->sum_scale = h->lo + 128.0f * h->step;
    q->lo_scale = (float)((double)h->lo * c->dim + (double)h->step_sum);
    q->norm = c->metric == VEC_L2 ? h->norm : 0;
}

static void query_q8(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    struct q8_header h;
    uint8_t *codes = q->data;
    if (c->metric == VEC_COSINE)
        x = to_unit(x, c->dim, vec_norm(x, c->dim), tmp);
    uint32_t sum = quantize(c, x, tmp, &h, codes);
    if (c->metric == VEC_L2)
        h.norm = decoded_square(&h, codes, c->dim, sum);
    query_factors(c, &h, q);
    c->kernels->center_u8(codes, c->dim, q->data);   /* in place: byte for byte */
    memset(codes + c->dim, 0, c->query_bytes - c->dim);
}

/* ---- encoding, decoding, queries ---- */

void vec_encode(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    if (c->type == VEC_Q8) {
        encode_q8(c, x, tmp, row);
        return;
    }
    struct f32_header h = {0};
    size_t bytes = c->dim * sizeof(float);
    if (c->metric == VEC_COSINE) {
        h.norm = vec_norm(x, c->dim);
        h.inverse = inverse_of(h.norm);
    }
    memcpy(row, &h, sizeof(h));
    memcpy((char *)row + HEADER, x, bytes);
    memset((char *)row + HEADER + bytes, 0, c->row_bytes - HEADER - bytes);
}

void vec_decode(const struct vec_codec *c, const void *row, float *out)
{
    if (c->type == VEC_F32) {
        memcpy(out, (const char *)row + HEADER, c->dim * sizeof(float));
        return;
    }
    struct q8_header h;
    memcpy(&h, row, sizeof(h));
    const uint8_t *codes = (const uint8_t *)row + HEADER;
    double length = c->metric == VEC_COSINE ? h.norm : 1;
    /* In double: 255 steps of a wide vector may pass what a float holds. */
    for (uint32_t j = 0; j < c->dim; j++)
        out[j] = (float)(((double)h.lo + (double)h.step * codes[j]) * length);
}

static void query_f32(const struct vec_codec *c, const float *x, struct vec_query *q)
{
    size_t bytes = c->dim * sizeof(float);
    memcpy(q->data, x, bytes);
    memset((char *)q->data + bytes, 0, c->query_bytes - bytes);
    q->scale = q->sum_scale = q->lo_scale = q->norm = 0;
    if (c->metric == VEC_L2)
        q->norm = dot_self(q->data, c->dim);
}

void vec_query_from_vector(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    if (c->type == VEC_Q8) {
        query_q8(c, x, tmp, q);
        return;
    }
    query_f32(c, x, q);
    if (c->metric == VEC_COSINE)
        q->norm = inverse_of(vec_norm(x, c->dim));
}

void vec_query_from_row(const struct vec_codec *c, const void *row, struct vec_query *q)
{
    const void *payload = (const char *)row + HEADER;
    if (c->type == VEC_Q8) {
        struct q8_header h;
        memcpy(&h, row, sizeof(h));
        query_factors(c, &h, q);
        c->kernels->center_u8(payload, c->dim, q->data);
        memset((char *)q->data + c->dim, 0, c->query_bytes - c->dim);
        return;
    }
    query_f32(c, payload, q);
    if (c->metric == VEC_COSINE) {
        struct f32_header h;
        memcpy(&h, row, sizeof(h));
        q->norm = h.inverse;
    }
}

/* ---- distances ---- */

static float ordered(float distance)
{
    return distance == distance ? distance : INFINITY;
}

static float cosine_distance(float dot, float inverse_q, float inverse_x)
{
    return ordered(1.0f - (dot * inverse_q) * inverse_x);
}

/* Four rows side by side in the compiler's own vectors: lane by lane what a scalar would do. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) f32x4 combine_q8(enum vec_metric metric, const struct vec_query *q,
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
    if (metric == VEC_L2)
        bits &= (f32x4)bits > 0.0f;
    return (f32x4)bits;
}

static inline __attribute__((always_inline)) void combine_block(enum vec_metric metric, const struct vec_query *q,
                                                                const void *const *rows, size_t n,
                                                                const int32_t *dots, float *out)
{
    f32x4 header[4];
    i32x4 dot;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t r = 0; r < 4; r++)
            memcpy(&header[r], rows[i + r], HEADER);
        memcpy(&dot, dots + i, sizeof(dot));
        f32x4 d = combine_q8(metric, q, header, dot);
        memcpy(out + i, &d, sizeof(d));
    }
    if (i < n) {
        size_t left = n - i;
        memset(header, 0, sizeof(header));
        dot = (i32x4){0};
        for (size_t r = 0; r < left; r++)
            memcpy(&header[r], rows[i + r], HEADER);
        memcpy(&dot, dots + i, left * sizeof(*dots));
        f32x4 d = combine_q8(metric, q, header, dot);
        memcpy(out + i, &d, left * sizeof(*out));
    }
}

static void distances_q8(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n,
                         float *out)
{
    const uint8_t *codes[BLOCK];
    int32_t dots[BLOCK];
    while (n > 0) {
        size_t m = n < BLOCK ? n : BLOCK;
        for (size_t i = 0; i < m; i++)
            codes[i] = (const uint8_t *)rows[i] + HEADER;
        c->kernels->dot_u8s8_many(q->data, codes, m, c->dim, dots);
        switch (c->metric) {
        case VEC_COSINE: combine_block(VEC_COSINE, q, rows, m, dots, out); break;
        case VEC_L2: combine_block(VEC_L2, q, rows, m, dots, out); break;
        default: combine_block(VEC_IP, q, rows, m, dots, out); break;
        }
        rows += m;
        out += m;
        n -= m;
    }
}

static void distances_f32(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n,
                          float *out)
{
    const float *vectors[BLOCK];
    while (n > 0) {
        size_t m = n < BLOCK ? n : BLOCK;
        for (size_t i = 0; i < m; i++)
            vectors[i] = (const float *)((const char *)rows[i] + HEADER);
        if (c->metric == VEC_L2)
            c->kernels->l2_f32_many(q->data, vectors, m, c->dim, out);
        else
            c->kernels->dot_f32_many(q->data, vectors, m, c->dim, out);
        for (size_t i = 0; c->metric == VEC_COSINE && i < m; i++)
            out[i] = cosine_distance(out[i], q->norm, ((const struct f32_header *)rows[i])->inverse);
        for (size_t i = 0; c->metric == VEC_IP && i < m; i++)
            out[i] = ordered(-out[i]);
        rows += m;
        out += m;
        n -= m;
    }
}

void vec_distances(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n, float *out)
{
    if (c->type == VEC_Q8)
        distances_q8(c, q, rows, n, out);
    else
        distances_f32(c, q, rows, n, out);
}

/* ---- originals ---- */

uint32_t vec_original_bytes(enum vec_originals o, uint32_t dim)
{
    switch (o) {
    case VEC_ORIG_F32: return dim * 4;
    case VEC_ORIG_F16: return round_up(dim * 2, 4);
    default: return 0;
    }
}

size_t vec_original_unfit(enum vec_originals o, const float *x, uint32_t dim)
{
    if (o != VEC_ORIG_F16)
        return vec_kernels()->first_nonfinite(x, dim);
    size_t j = 0;
    while (j < dim && fabsf(x[j]) <= 65504.0f)   /* false for NaN */
        j++;
    return j;
}

void vec_original_store(enum vec_originals o, const float *x, uint32_t dim, void *out)
{
    if (o == VEC_ORIG_F32) {
        memcpy(out, x, dim * sizeof(*x));
    } else if (o == VEC_ORIG_F16) {
        vec_kernels()->f32_to_f16(x, dim, out);
        if (dim % 2)
            ((uint16_t *)out)[dim] = 0;
    }
}

void vec_original_load(enum vec_originals o, const void *original, uint32_t dim, float *out)
{
    if (o == VEC_ORIG_F32)
        memcpy(out, original, dim * sizeof(*out));
    else if (o == VEC_ORIG_F16)
        vec_kernels()->f16_to_f32(original, dim, out);
}

void vec_original_distances(enum vec_originals o, enum vec_metric metric, uint32_t dim, const float *x, float x_norm,
                            const void *const *originals, const float *norms, size_t n, float *out)
{
    const struct vec_kernels *k = vec_kernels();
    assert(o != VEC_ORIG_NONE);
    if (o == VEC_ORIG_F16 && metric == VEC_L2)
        k->l2_f16_many(x, (const uint16_t *const *)originals, n, dim, out);
    else if (o == VEC_ORIG_F16)
        k->dot_f16_many(x, (const uint16_t *const *)originals, n, dim, out);
    else if (metric == VEC_L2)
        k->l2_f32_many(x, (const float *const *)originals, n, dim, out);
    else
        k->dot_f32_many(x, (const float *const *)originals, n, dim, out);
    float inverse = metric == VEC_COSINE ? inverse_of(x_norm) : 0;
    for (size_t i = 0; metric == VEC_COSINE && i < n; i++)
        out[i] = cosine_distance(out[i], inverse, inverse_of(norms[i]));
    for (size_t i = 0; metric == VEC_IP && i < n; i++)
        out[i] = ordered(-out[i]);
}
