/* Rows of floats: f32 as they were given, f16 and bf16 rounded to nearest. Queries are f32; kernels widen the rows. */
#include <float.h>

#include "vec/codec_int.h"

struct float_header {
    float norm, inverse, unused[2];
};

_Static_assert(sizeof(struct float_header) == VEC_HEADER, "headers are 16 bytes");

static uint32_t component_bytes(const struct vec_codec *c)
{
    return c->type == VEC_F32 ? 4 : 2;
}

static void narrow(const struct vec_codec *c, const float *x, void *out)
{
    switch (c->type) {
    case VEC_F16: c->kernels->f32_to_f16(x, c->dim, out); break;
    case VEC_BF16: c->kernels->f32_to_bf16(x, c->dim, out); break;
    default: memcpy(out, x, c->dim * sizeof(*x)); break;
    }
}

static void widen(const struct vec_codec *c, const void *components, float *out)
{
    switch (c->type) {
    case VEC_F16: c->kernels->f16_to_f32(components, c->dim, out); break;
    case VEC_BF16: c->kernels->bf16_to_f32(components, c->dim, out); break;
    default: memcpy(out, components, c->dim * sizeof(*out)); break;
    }
}

static void encode_float(const struct vec_codec *c, const float *x, float *tmp, void *row)
{
    struct float_header h = {0};
    char *components = (char *)row + VEC_HEADER;
    size_t bytes = c->dim * component_bytes(c);
    narrow(c, x, components);
    memset(components + bytes, 0, c->row_bytes - VEC_HEADER - bytes);
    if (c->metric == VEC_COSINE) {
        h.norm = vec_norm(x, c->dim);
        h.inverse = codec_inverse(h.norm);
        if (c->type != VEC_F32) {   /* what was rounded may be longer or shorter */
            widen(c, components, tmp);
            h.inverse = codec_inverse(vec_norm(tmp, c->dim));
        }
    }
    memcpy(row, &h, sizeof(h));
}

static void decode_float(const struct vec_codec *c, const void *row, float *out)
{
    widen(c, (const char *)row + VEC_HEADER, out);
}

/* The rest of a query whose components are in place. */
static void finish_query(const struct vec_codec *c, float inverse, struct vec_query *q)
{
    size_t bytes = c->dim * sizeof(float);
    memset((char *)q->data + bytes, 0, c->query_bytes - bytes);
    q->scale = q->sum_scale = q->lo_scale = q->norm = 0;
    if (c->metric == VEC_L2)
        q->norm = codec_dot_self(q->data, c->dim);
    else if (c->metric == VEC_COSINE)
        q->norm = inverse;
}

static void query_float(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q)
{
    (void)tmp;
    memcpy(q->data, x, c->dim * sizeof(*x));
    finish_query(c, c->metric == VEC_COSINE ? codec_inverse(vec_norm(x, c->dim)) : 0, q);
}

static void query_from_row_float(const struct vec_codec *c, const void *row, struct vec_query *q)
{
    struct float_header h;
    memcpy(&h, row, sizeof(h));
    widen(c, (const char *)row + VEC_HEADER, q->data);
    finish_query(c, h.inverse, q);
}

static void measure(const struct vec_codec *c, const float *q, const void *const *components, size_t n, float *out)
{
    const struct vec_kernels *k = c->kernels;
    bool l2 = c->metric == VEC_L2;
    if (c->type == VEC_F32)
        (l2 ? k->l2_f32_many : k->dot_f32_many)(q, (const float *const *)components, n, c->dim, out);
    else if (c->type == VEC_F16)
        (l2 ? k->l2_f16_many : k->dot_f16_many)(q, (const uint16_t *const *)components, n, c->dim, out);
    else
        (l2 ? k->l2_bf16_many : k->dot_bf16_many)(q, (const uint16_t *const *)components, n, c->dim, out);
}

static void distances_float(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n,
                            float *out)
{
    const void *components[VEC_BLOCK];
    while (n > 0) {
        size_t m = n < VEC_BLOCK ? n : VEC_BLOCK;
        for (size_t i = 0; i < m; i++)
            components[i] = (const char *)rows[i] + VEC_HEADER;
        measure(c, q->data, components, m, out);
        for (size_t i = 0; c->metric == VEC_COSINE && i < m; i++)
            out[i] = codec_cosine_distance(out[i], q->norm, ((const struct float_header *)rows[i])->inverse);
        for (size_t i = 0; c->metric == VEC_IP && i < m; i++)
            out[i] = codec_ordered(-out[i]);
        rows += m;
        out += m;
        n -= m;
    }
}

static uint32_t payload_f32(uint32_t dim)
{
    return dim * 4;
}

static uint32_t payload_16(uint32_t dim)
{
    return dim * 2;
}

#define FLOATS(NAME, PAYLOAD)                                                                      \
    {                                                                                              \
        .name = NAME, .rerank_min = 20, .rerank_times = 2, .row_payload = PAYLOAD,                 \
        .query_payload = payload_f32, .encode = encode_float, .decode = decode_float,              \
        .query_from_vector = query_float, .query_from_row = query_from_row_float,                  \
        .distances = distances_float,                                                              \
    }

const struct codec_type codec_f32 = FLOATS("f32", payload_f32);
const struct codec_type codec_f16 = FLOATS("f16", payload_16);
const struct codec_type codec_bf16 = FLOATS("bf16", payload_16);
