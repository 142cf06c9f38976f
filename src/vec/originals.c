/* Originals: vectors kept as they were given, or as half floats, to measure the best results on. */
#include <assert.h>

#include "vec/codec_int.h"

static const char *const names[] = { "default", "f32", "f16", "none" };

const char *vec_originals_name(enum vec_originals o)
{
    return names[o];
}

uint32_t vec_original_bytes(enum vec_originals o, uint32_t dim)
{
    switch (o) {
    case VEC_ORIG_F32: return dim * 4;
    case VEC_ORIG_F16: return codec_round_up(dim * 2, 4);
    default: return 0;
    }
}

size_t vec_unfit(enum vec_type type, enum vec_originals o, const float *x, uint32_t dim)
{
    float max;
    if (type == VEC_F16 || o == VEC_ORIG_F16)
        max = 65504.0f;
    else if (type == VEC_BF16)
        max = 0x1.fep127f;
    else
        return vec_kernels()->first_nonfinite(x, dim);
    size_t j = 0;
    while (j < dim && fabsf(x[j]) <= max)   /* false for NaN */
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
    assert(o == VEC_ORIG_F32 || o == VEC_ORIG_F16);
    if (o == VEC_ORIG_F16 && metric == VEC_L2)
        k->l2_f16_many(x, (const uint16_t *const *)originals, n, dim, out);
    else if (o == VEC_ORIG_F16)
        k->dot_f16_many(x, (const uint16_t *const *)originals, n, dim, out);
    else if (metric == VEC_L2)
        k->l2_f32_many(x, (const float *const *)originals, n, dim, out);
    else
        k->dot_f32_many(x, (const float *const *)originals, n, dim, out);
    float inverse = metric == VEC_COSINE ? codec_inverse(x_norm) : 0;
    for (size_t i = 0; metric == VEC_COSINE && i < n; i++)
        out[i] = codec_cosine_distance(out[i], inverse, codec_inverse(norms[i]));
    for (size_t i = 0; metric == VEC_IP && i < n; i++)
        out[i] = codec_ordered(-out[i]);
}
