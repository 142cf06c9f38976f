/* q4 and bin: few bits a component, taken after a rotation (kernels_shared.h) that makes all vectors look alike.
 *
 * A vector x is split into its mean m and the rest r = x - m, and r is rotated: Rr. Code j is the level of coordinate j of Rr: one
 * of 16 equally spaced ones, l_j = c_j - 7.5, for q4; its sign, l_j = b_j - 0.5, for bin. What a row stands for is m + step * l,
 * in rotated coordinates, where step makes inner products right:
 *
 *     step = <r, r> / <l, Rr>        so that <step * l, Rr> = <r, r>
 *
 * which is RaBitQ's unbiased estimator (Gao and Long, arXiv 2405.12497; for more bits Gao et al., arXiv 2409.09913): the error
 * of l beside r's own direction is as good as random, and cancels. For q4 the spacing of levels is the best of a dozen that are
 * tried, the one with the largest cosine between l and Rr.
 *
 * The query is rotated likewise and quantised to signed bytes k, so a distance is q8's: one integer dot product and three
 * multiply-adds, in the same header:   x . y = step_x step_q * sum c_j k_j  -  centre step_x * step_q sum k_j  +  m_x * dim m_q.
 * A row as a query has 2 l as bytes, exactly.
 *
 * Rows hold a vector of unit length (COSINE) or the length is in lo and step. The norm of L2 is the vector's own, not the decoded
 * one's: with it the estimate stays unbiased. So a distance may come out a little below zero. */
#include <float.h>

#include "vec/codec_int.h"

#define FITS 12              /* spacings tried: from the largest coordinate at the outmost level */
#define FIT_STEP 0.05f       /* down in steps of a twentieth */
#define TINY 0x1p-40f        /* of unit length: what is smaller is rounding */

static bool is_q4(const struct vec_codec *c)
{
    return c->type == VEC_Q4;
}

static float centre(const struct vec_codec *c)
{
    return is_q4(c) ? 7.5f : 0.5f;
}

static float within_float(float x)
{
    return x < FLT_MAX ? x : FLT_MAX;
}

/* Sums in 32 lanes, as the kernels'. */
static float sum(const float *x, uint32_t dim, bool absolute)
{
    float lane[32] = {0};
    for (uint32_t at = 0; at < dim; at += 32) {
        uint32_t n = dim - at < 32 ? dim - at : 32;
        for (uint32_t j = 0; j < n; j++)
            lane[j] += absolute ? fabsf(x[at + j]) : x[at + j];
    }
    for (uint32_t half = 16; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

struct split {
    float norm, mean;
    float max;      /* largest |coordinate|; 0: nothing is left beside the mean */
};

/* tmp = R(x / |x| - mean). */
static struct split split(const struct vec_codec *c, const float *x, float *tmp)
{
    struct split s = {.norm = vec_norm(x, c->dim)};
    float min, max;
    const float *unit = codec_to_unit(x, c->dim, s.norm, tmp);
    s.mean = sum(unit, c->dim, false) / (float)c->dim;
    for (uint32_t j = 0; j < c->dim; j++)
        tmp[j] = unit[j] - s.mean;
    c->kernels->rotate(tmp, c->dim);
    c->kernels->minmax_f32(tmp, c->dim, &min, &max);
    s.max = max > -min ? max : -min;
    if (!(s.max > TINY))
        s.max = 0;
    return s;
}

/* ---- rows ---- */

/* 1 / the best spacing of q4's levels; *dot is <l, Rr>. */
static float fit(const struct vec_codec *c, const float *rotated, float max, float *dot)
{
    float best = -1, inverse = 0;
    for (int i = 0; i < FITS; i++) {
        float inv_step = 7.5f / (max * (1.0f - FIT_STEP * (float)i)), d, squares;
        c->kernels->fit_u4(rotated, c->dim, inv_step, &d, &squares);
        float quality = d * d / squares;
        if (quality > best) {
            best = quality;
            inverse = inv_step;
            *dot = d;
        }
    }
    return inverse;
}

static void encode_rotated(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    uint8_t *codes = (uint8_t *)row + VEC_HEADER;
    struct split s = split(c, x, tmp);
    float inverse = 0, dot = 0, step = 0, length = c->metric == VEC_COSINE ? 1 : s.norm;
    if (s.max > 0 && is_q4(c))
        inverse = fit(c, tmp, s.max, &dot);
    else if (s.max > 0)
        dot = 0.5f * sum(tmp, c->dim, true);
    if (dot > 0)
        step = within_float(codec_dot_self(tmp, c->dim) / dot * length);
    if (is_q4(c))
        c->kernels->quantize_u4(tmp, c->dim, inverse, codes);
    else
        c->kernels->quantize_u1(tmp, c->dim, codes);
    struct code_header h = {
        .lo = s.mean * length,
        .step = step,
        .step_sum = -centre(c) * step,
        .norm = c->metric == VEC_COSINE ? s.norm : c->metric == VEC_L2 ? s.norm * s.norm : 0,
    };
    memcpy(row, &h, sizeof(h));
}

static void decode_rotated(const struct vec_codec *c, const void *row, float *out)
{
    struct code_header h;
    memcpy(&h, row, sizeof(h));
    const uint8_t *codes = (const uint8_t *)row + VEC_HEADER;
    size_t bytes = vec_u4_bytes(c->dim);
    for (size_t j = 0; j < c->dim; j++) {
        size_t at = j / 128 * 64, width = vec_u4_piece(bytes, at), i = j % 128;
        if (!is_q4(c))
            out[j] = (float)(codes[j / 8] >> j % 8 & 1) - 0.5f;
        else if (i < width)
            out[j] = (float)(codes[at + i] & 15) - 7.5f;
        else
            out[j] = (float)(codes[at + i - width] >> 4) - 7.5f;
    }
    c->kernels->unrotate(out, c->dim);
    double length = c->metric == VEC_COSINE ? h.norm : 1;
    for (size_t j = 0; j < c->dim; j++) {
        double x = ((double)h.lo + (double)h.step * out[j]) * length;
        out[j] = fabs(x) < (double)FLT_MAX ? (float)x : copysignf(FLT_MAX, (float)x);
    }
}

/* ---- queries ---- */

/* Bytes in the order of components, to the order of nibbles: only a last, shorter piece differs. */
static void order_as_nibbles(const struct vec_codec *c, int8_t *k)
{
    size_t bytes = vec_u4_bytes(c->dim), at = c->dim / 128 * 64, left = c->dim - 2 * at;
    if (left == 0)
        return;
    size_t width = vec_u4_piece(bytes, at), high = left > width ? left - width : 0;
    int8_t *piece = k + 2 * at;
    memmove(piece + 64, piece + width, high);
    memset(piece + 64 + high, 0, 64 - high);
    size_t low = left < width ? left : width;
    memset(piece + low, 0, 64 - low);
}

static void query_rotated(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    struct split s = split(c, x, tmp);
    float length = c->metric == VEC_COSINE ? 1 : s.norm, step = s.max / 127.0f;
    int32_t total = c->kernels->quantize_s8(tmp, c->dim, s.max > 0 ? 127.0f / s.max : 0, q->data);
    if (is_q4(c))
        order_as_nibbles(c, q->data);
    else
        memset((char *)q->data + c->dim, 0, c->query_bytes - c->dim);
    q->scale = step * length;
    q->sum_scale = q->scale * (float)total;
    q->lo_scale = (s.mean * length) * (float)c->dim;
    q->norm = c->metric == VEC_L2 ? s.norm * s.norm : 0;
}

static void query_from_row_rotated(const struct vec_codec *c, const void *row, struct vec_query *q)
{
    struct code_header h;
    memcpy(&h, row, sizeof(h));
    const uint8_t *codes = (const uint8_t *)row + VEC_HEADER;
    int32_t total = (is_q4(c) ? c->kernels->expand_u4 : c->kernels->expand_u1)(codes, c->dim, q->data);
    q->scale = 0.5f * h.step;
    q->sum_scale = q->scale * (float)total;
    q->lo_scale = h.lo * (float)c->dim;
    q->norm = c->metric == VEC_L2 ? h.norm : 0;
}

/* ---- distances ---- */

static void distances_rotated(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n,
                              float *out)
{
    const uint8_t *codes[VEC_BLOCK];
    int32_t dots[VEC_BLOCK];
    while (n > 0) {
        size_t m = n < VEC_BLOCK ? n : VEC_BLOCK;
        for (size_t i = 0; i < m; i++)
            codes[i] = (const uint8_t *)rows[i] + VEC_HEADER;
        if (is_q4(c))
            c->kernels->dot_u4s8_many(q->data, codes, m, c->row_bytes - VEC_HEADER, dots);
        else
            c->kernels->dot_u1s8_many(q->data, codes, m, c->dim, dots);
        switch (c->metric) {
        case VEC_COSINE: combine_block(VEC_COSINE, false, q, rows, m, dots, out); break;
        case VEC_L2: combine_block(VEC_L2, false, q, rows, m, dots, out); break;
        default: combine_block(VEC_IP, false, q, rows, m, dots, out); break;
        }
        rows += m;
        out += m;
        n -= m;
    }
}

/* ---- the types ---- */

static uint32_t payload_q4(uint32_t dim)
{
    return (uint32_t)vec_u4_bytes(dim);
}

static uint32_t query_payload_q4(uint32_t dim)
{
    return (uint32_t)vec_u4_query_bytes(dim);
}

static uint32_t payload_bin(uint32_t dim)
{
    return (dim + 7) / 8;
}

static uint32_t query_payload_bin(uint32_t dim)
{
    return dim;
}

const struct codec_type codec_q4 = {
    .name = "q4",
    .rerank_min = 40,
    .rerank_times = 4,
    .row_payload = payload_q4,
    .query_payload = query_payload_q4,
    .encode = encode_rotated,
    .decode = decode_rotated,
    .query_from_vector = query_rotated,
    .query_from_row = query_from_row_rotated,
    .distances = distances_rotated,
};

const struct codec_type codec_bin = {
    .name = "bin",
    .rerank_min = 100,
    .rerank_times = 10,
    .row_payload = payload_bin,
    .query_payload = query_payload_bin,
    .encode = encode_rotated,
    .decode = decode_rotated,
    .query_from_vector = query_rotated,
    .query_from_row = query_from_row_rotated,
    .distances = distances_rotated,
};
