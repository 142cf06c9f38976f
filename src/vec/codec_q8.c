/* q8: a byte a component, with a minimum and a step of the vector's own. With x_j = lo_x + step_x * c_j and the query's
 * y_j = lo_q + step_q * (k_j + 128), k_j its centred code:
 *
 *   sum x_j y_j = step_x step_q * sum c_j k_j  +  step_x sum c_j * (lo_q + 128 step_q)  +  lo_x * sum y_j
 *                 ~~~~~~~ scale   ~ kernel ~      row header       sum_scale               lo_scale
 *
 * so a distance is one integer dot product and three multiply-adds on the four floats before the codes. */
#include <float.h>

#include "vec/codec_int.h"

#define STEP_MIN 0x1p-120f   /* below it 1 / step nears overflow: such a vector counts as constant */

/* Codes of `x` and what they mean; the sum of the codes. `tmp` may be `x`. */
static uint32_t quantize(const struct vec_codec *c, const float *x, float *tmp, struct code_header *h, uint8_t *codes)
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
static float decoded_square(const struct vec_codec *c, const struct code_header *h, const uint8_t *codes, uint32_t sum)
{
    uint64_t squares = c->kernels->squares_u8(codes, c->dim);
    double lo = h->lo, step = h->step;
    double square = (lo * lo * c->dim + 2 * lo * step * sum) + step * step * (double)squares;
    return square > 0 ? (float)square : 0;
}

static void encode_q8(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    struct code_header h;
    uint8_t *codes = (uint8_t *)row + VEC_HEADER;
    float norm = 0;
    if (c->metric == VEC_COSINE) {
        norm = vec_norm(x, c->dim);
        x = codec_to_unit(x, c->dim, norm, tmp);
    }
    uint32_t sum = quantize(c, x, tmp, &h, codes);
    if (c->metric == VEC_L2)
        norm = decoded_square(c, &h, codes, sum);
    h.norm = norm;
    memcpy(row, &h, sizeof(h));
    memset(codes + c->dim, 0, c->row_bytes - VEC_HEADER - c->dim);
}

static void query_factors(const struct vec_codec *c, const struct code_header *h, struct vec_query *q)
{
    q->scale = h->step;
    q->sum_scale = h->lo + 128.0f * h->step;
    q->lo_scale = (float)((double)h->lo * c->dim + (double)h->step_sum);
    q->norm = c->metric == VEC_L2 ? h->norm : 0;
}

static void query_q8(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    struct code_header h;
    uint8_t *codes = q->data;
    if (c->metric == VEC_COSINE)
        x = codec_to_unit(x, c->dim, vec_norm(x, c->dim), tmp);
    uint32_t sum = quantize(c, x, tmp, &h, codes);
    if (c->metric == VEC_L2)
        h.norm = decoded_square(c, &h, codes, sum);
    query_factors(c, &h, q);
    c->kernels->center_u8(codes, c->dim, q->data);   /* in place: byte for byte */
    memset(codes + c->dim, 0, c->query_bytes - c->dim);
}

static void decode_q8(const struct vec_codec *c, const void *row, float *out)
{
    struct code_header h;
    memcpy(&h, row, sizeof(h));
    const uint8_t *codes = (const uint8_t *)row + VEC_HEADER;
    double length = c->metric == VEC_COSINE ? h.norm : 1;
    /* In double: 255 steps of a wide vector may pass what a float holds. */
    for (uint32_t j = 0; j < c->dim; j++)
        out[j] = (float)(((double)h.lo + (double)h.step * codes[j]) * length);
}

static void query_from_row_q8(const struct vec_codec *c, const void *row, struct vec_query *q)
{
    struct code_header h;
    memcpy(&h, row, sizeof(h));
    query_factors(c, &h, q);
    c->kernels->center_u8((const uint8_t *)row + VEC_HEADER, c->dim, q->data);
    memset((char *)q->data + c->dim, 0, c->query_bytes - c->dim);
}

static void distances_q8(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n,
                         float *out)
{
    const uint8_t *codes[VEC_BLOCK];
    int32_t dots[VEC_BLOCK];
    while (n > 0) {
        size_t m = n < VEC_BLOCK ? n : VEC_BLOCK;
        for (size_t i = 0; i < m; i++)
            codes[i] = (const uint8_t *)rows[i] + VEC_HEADER;
        c->kernels->dot_u8s8_many(q->data, codes, m, c->dim, dots);
        switch (c->metric) {
        case VEC_COSINE: combine_block(VEC_COSINE, true, q, rows, m, dots, out); break;
        case VEC_L2: combine_block(VEC_L2, true, q, rows, m, dots, out); break;
        default: combine_block(VEC_IP, true, q, rows, m, dots, out); break;
        }
        rows += m;
        out += m;
        n -= m;
    }
}

static uint32_t payload_q8(uint32_t dim)
{
    return dim;
}

const struct codec_type codec_q8 = {
    .name = "q8",
    .rerank_min = 20,
    .rerank_times = 2,
    .row_payload = payload_q8,
    .query_payload = payload_q8,
    .encode = encode_q8,
    .decode = decode_q8,
    .query_from_vector = query_q8,
    .query_from_row = query_from_row_q8,
    .distances = distances_q8,
};
