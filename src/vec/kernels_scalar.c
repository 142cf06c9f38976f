/* The kernels in plain C: the definition that the other sets are tested against, and what runs where they cannot. The
 * compiler is free to use what vectors the platform guarantees: lanes are independent, so it cannot change a bit. */
#include "vec/kernels_impl.h"

#define TARGET
#include "vec/kernels_shared.h"

#define LANES 32

static float sum_lanes(float *lane)
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

static void dot_u8s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *row = rows[i];
        int32_t sum = 0;
        for (size_t j = 0; j < dim; j++)
            sum += (int32_t)row[j] * q[j];
        out[i] = sum;
    }
}

static void dot_f32_many(const float *q, const float *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = rows[i];
        float lane[LANES] = {0};
        size_t at = 0;
        for (; at + LANES <= dim; at += LANES)
            for (size_t j = 0; j < LANES; j++)
                lane[j] += q[at + j] * row[at + j];
        for (size_t j = 0; at + j < dim; j++)
            lane[j] += q[at + j] * row[at + j];
        out[i] = sum_lanes(lane);
    }
}

static void l2_f32_many(const float *q, const float *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = rows[i];
        float lane[LANES] = {0};
        size_t at = 0;
        for (; at + LANES <= dim; at += LANES)
            for (size_t j = 0; j < LANES; j++) {
                float d = q[at + j] - row[at + j];
                lane[j] += d * d;
            }
        for (size_t j = 0; at + j < dim; j++) {
            float d = q[at + j] - row[at + j];
            lane[j] += d * d;
        }
        out[i] = sum_lanes(lane);
    }
}

static inline float widened(enum width w, uint16_t x)
{
    return w == WIDTH_F16 ? float_of_half(x) : float_of_bfloat(x);
}

static inline __attribute__((always_inline)) void dot_16_many(enum width w, const float *q, const uint16_t *const *rows,
                                                              size_t n, size_t dim, float *out)
{
    for (size_t i = 0; i < n; i++) {
        float lane[LANES] = {0};
        for (size_t at = 0; at < dim; at++)
            lane[at % LANES] += q[at] * widened(w, rows[i][at]);
        out[i] = sum_lanes(lane);
    }
}

static inline __attribute__((always_inline)) void l2_16_many(enum width w, const float *q, const uint16_t *const *rows,
                                                             size_t n, size_t dim, float *out)
{
    for (size_t i = 0; i < n; i++) {
        float lane[LANES] = {0};
        for (size_t at = 0; at < dim; at++) {
            float d = q[at] - widened(w, rows[i][at]);
            lane[at % LANES] += d * d;
        }
        out[i] = sum_lanes(lane);
    }
}

static void dot_f16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    dot_16_many(WIDTH_F16, q, rows, n, dim, out);
}

static void l2_f16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    l2_16_many(WIDTH_F16, q, rows, n, dim, out);
}

static void dot_bf16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    dot_16_many(WIDTH_BF16, q, rows, n, dim, out);
}

static void l2_bf16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    l2_16_many(WIDTH_BF16, q, rows, n, dim, out);
}

static void dot_u4s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t bytes, int32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        int32_t sum = 0;
        for (size_t at = 0; at < bytes; at += 64) {
            size_t width = vec_u4_piece(bytes, at);
            const int8_t *low = q + 2 * at, *high = low + 64;
            for (size_t b = 0; b < width; b++)
                sum += (rows[i][at + b] & 15) * low[b] + (rows[i][at + b] >> 4) * high[b];
        }
        out[i] = sum;
    }
}

static void dot_u1s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        int32_t sum = 0;
        for (size_t at = 0; at < dim; at += 8)   /* q is zero past dim */
            for (int j = 0; j < 8; j++)
                sum += -(rows[i][at / 8] >> j & 1) & q[at + (size_t)j];
        out[i] = sum;
    }
}

static void minmax_f32(const float *x, size_t dim, float *min, float *max)
{
    float lo = x[0], hi = x[0];
    for (size_t j = 1; j < dim; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    *min = lo + 0.0f;   /* -0 becomes +0: which of two zeros is met first must not show */
    *max = hi + 0.0f;
}

static uint32_t quantize_u8(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes)
{
    uint32_t sum = 0;
    for (size_t j = 0; j < dim; j++) {
        codes[j] = code_of(x[j], lo, inv_step);
        sum += codes[j];
    }
    return sum;
}

static void center_u8(const uint8_t *codes, size_t dim, int8_t *out)
{
    for (size_t j = 0; j < dim; j++)
        out[j] = (int8_t)(codes[j] ^ 0x80);
}

static void f32_to_f16(const float *x, size_t dim, uint16_t *out)
{
    for (size_t j = 0; j < dim; j++)
        out[j] = half_of_float(x[j]);
}

static void f16_to_f32(const uint16_t *x, size_t dim, float *out)
{
    for (size_t j = 0; j < dim; j++)
        out[j] = float_of_half(x[j]);
}

static size_t first_nonfinite(const float *x, size_t dim)
{
    size_t j = 0;
    while (j < dim && float_is_finite(x[j]))
        j++;
    return j;
}

const struct vec_kernels vec_kernels_scalar = {
    .name = "scalar",
    .dot_u8s8_many = dot_u8s8_many,
    .dot_f32_many = dot_f32_many,
    .l2_f32_many = l2_f32_many,
    .dot_f16_many = dot_f16_many,
    .l2_f16_many = l2_f16_many,
    .dot_bf16_many = dot_bf16_many,
    .l2_bf16_many = l2_bf16_many,
    .dot_u4s8_many = dot_u4s8_many,
    .dot_u1s8_many = dot_u1s8_many,
    .minmax_f32 = minmax_f32,
    .quantize_u8 = quantize_u8,
    .center_u8 = center_u8,
    .f32_to_f16 = f32_to_f16,
    .f16_to_f32 = f16_to_f32,
    .first_nonfinite = first_nonfinite,
    SHARED_KERNELS,
};
