/* The table of element types, and what does not depend on them, see codec.h. Distances are float arithmetic in the order written,
 * never fused; where components are so extreme that it overflows into a NaN, the distance is +infinity, so that an
 * order always exists. */
#include <assert.h>
#include <float.h>

#include "vec/codec_int.h"

static const struct codec_type *const types[VEC_TYPES] = {
    [VEC_Q8] = &codec_q8,     [VEC_F32] = &codec_f32, [VEC_F16] = &codec_f16,
    [VEC_BF16] = &codec_bf16, [VEC_Q4] = &codec_q4,   [VEC_BIN] = &codec_bin,
};

const char *vec_type_name(enum vec_type t)
{
    return types[t]->name;
}

bool vec_type_rounds(enum vec_type t)
{
    return t == VEC_Q8 || t == VEC_Q4 || t == VEC_BIN;
}

bool vec_type_holds(enum vec_type t, enum vec_originals o)
{
    return t == VEC_F32 || (t == VEC_F16 && o == VEC_ORIG_F16);
}

enum vec_originals vec_type_originals(enum vec_type t, enum vec_originals o)
{
    if (t == VEC_F32)
        return VEC_ORIG_F32;
    if (o == VEC_ORIG_DEFAULT)
        return vec_type_rounds(t) ? VEC_ORIG_F32 : VEC_ORIG_NONE;
    return o;
}

size_t vec_rerank_count(enum vec_type t, size_t keep)
{
    const struct codec_type *type = types[t];
    size_t min = type->rerank_min, times = type->rerank_times;
    return keep > min / times ? times * keep : min;
}

void vec_codec_init(struct vec_codec *c, enum vec_type type, enum vec_metric metric, uint32_t dim)
{
    assert(dim >= 1 && dim <= VEC_DIM_MAX);
    *c = (struct vec_codec){
        .type = type,
        .metric = metric,
        .dim = dim,
        .row_bytes = VEC_HEADER + codec_round_up(types[type]->row_payload(dim), 16),
        .query_bytes = codec_round_up(types[type]->query_payload(dim), 64),
        .kernels = vec_kernels(),
    };
}

/* ---- lengths ---- */

float codec_dot_self(const float *x, uint32_t dim)
{
    float sum;
    vec_kernels()->dot_f32_many(x, &x, 1, dim, &sum);
    return sum;
}

float vec_norm(const float *x, uint32_t dim)
{
    float sum = codec_dot_self(x, dim);
    if (sum > 0x1p-90f && sum < 0x1p126f)
        return sqrtf(sum);
    /* Squares of such components leave the range of a float, or lose their bits: once more in double. */
    double wide = 0;
    for (uint32_t j = 0; j < dim; j++)
        wide += (double)x[j] * x[j];
    wide = sqrt(wide);
    return wide < (double)FLT_MAX ? (float)wide : FLT_MAX;
}

float codec_inverse(float norm)
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
    return header[vec_type_rounds(t) ? 3 : 0];
}

const float *codec_to_unit(const float *x, uint32_t dim, float norm, float *tmp)
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

/* ---- by type ---- */

void vec_encode(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    types[c->type]->encode(c, x, tmp, row);
}

void vec_decode(const struct vec_codec *c, const void *row, float *out)
{
    types[c->type]->decode(c, row, out);
}

void vec_query_from_vector(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    types[c->type]->query_from_vector(c, x, tmp, q);
}

void vec_query_from_row(const struct vec_codec *c, const void *row, struct vec_query *q)
{
    types[c->type]->query_from_row(c, row, q);
}

void vec_distances(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n, float *out)
{
    types[c->type]->distances(c, q, rows, n, out);
}
