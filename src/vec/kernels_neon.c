/* Kernels for 64-bit ARM: with NEON, which every such processor has, and with the dot products of bytes that ARMv8.2 offers and
 * ARMv8.4 requires. Both multiply signed by signed bytes, so a row of unsigned ones is taken less 128, and 128 times the sum of
 * the query's is added in the end; integers may wrap on the way. Floats: lanes j, j + 4, ... in eight registers, never fused. */
#include "vec/kernels_impl.h"

#ifdef __aarch64__

#include <arm_neon.h>

#define TARGET
#define HELPER static inline __attribute__((always_inline))
#ifdef __clang__
#define DOT_TARGET __attribute__((target("dotprod")))
#else
#define DOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

#include "vec/kernels_shared.h"

/* ---- integers ---- */

/* acc += products of 16 bytes, in whichever lanes. */
HELPER int32x4_t plain_dot(int32x4_t acc, int8x16_t a, int8x16_t b)
{
    acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    return vpadalq_s16(acc, vmull_high_s8(a, b));
}

DOT_TARGET HELPER int32x4_t fast_dot(int32x4_t acc, int8x16_t a, int8x16_t b)
{
    /* The instruction itself: not every compiler's header has vdotq_s32 where only a function may use it. */
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(b));
    return acc;
}

/* Bit patterns of 16 bits as 16 bytes of 0 or -1. */
HELPER int8x16_t bit_mask(const uint8_t *bits)
{
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    return vreinterpretq_s8_u8(vtstq_u8(vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1])), bit));
}

/* The integer kernels, written once for either product. */
#define INTEGER_KERNELS(ATTRIBUTES, PRODUCT, SET)                                                                        \
    ATTRIBUTES static void SET##_u8s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out) \
    {                                                                                                                    \
        const uint8x16_t flip_sign = vdupq_n_u8(0x80);                                                                   \
        const int8x16_t ones = vdupq_n_s8(1);                                                                            \
        int32x4_t total = vdupq_n_s32(0);                                                                                \
        for (size_t at = 0; n > 0 && at < dim; at += 16)                                                                 \
            total = PRODUCT(total, vld1q_s8(q + at), ones);                                                              \
        uint32_t shift = 128 * (uint32_t)vaddvq_s32(total);                                                              \
        for (size_t i = 0; i < n; i++) {                                                                                 \
            int32x4_t acc = vdupq_n_s32(0);                                                                              \
            for (size_t at = 0; at < dim; at += 16)                                                                      \
                acc = PRODUCT(acc, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(rows[i] + at), flip_sign)), vld1q_s8(q + at));  \
            out[i] = (int32_t)((uint32_t)vaddvq_s32(acc) + shift);                                                       \
        }                                                                                                                \
    }                                                                                                                    \
                                                                                                                         \
    ATTRIBUTES static void SET##_u4s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t bytes, int32_t *out) \
    {                                                                                                                    \
        const uint8x16_t nibble = vdupq_n_u8(15);                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                                 \
            int32x4_t low = vdupq_n_s32(0), high = low;                                                                  \
            for (size_t at = 0; at < bytes; at += 16) {                                                                  \
                const int8_t *piece = q + 2 * (at & ~(size_t)63) + (at & 63);                                            \
                uint8x16_t x = vld1q_u8(rows[i] + at);                                                                   \
                low = PRODUCT(low, vreinterpretq_s8_u8(vandq_u8(x, nibble)), vld1q_s8(piece));                           \
                high = PRODUCT(high, vreinterpretq_s8_u8(vshrq_n_u8(x, 4)), vld1q_s8(piece + 64));                       \
            }                                                                                                            \
            out[i] = vaddvq_s32(vaddq_s32(low, high));                                                                   \
        }                                                                                                                \
    }                                                                                                                    \
                                                                                                                         \
    ATTRIBUTES static void SET##_u1s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out) \
    {                                                                                                                    \
        const int8x16_t ones = vdupq_n_s8(1);                                                                            \
        for (size_t i = 0; i < n; i++) {                                                                                 \
            int32x4_t acc = vdupq_n_s32(0);                                                                              \
            for (size_t at = 0; at < dim; at += 16)                                                                      \
                acc = PRODUCT(acc, vandq_s8(bit_mask(rows[i] + at / 8), vld1q_s8(q + at)), ones);                        \
            out[i] = vaddvq_s32(acc);                                                                                    \
        }                                                                                                                \
    }

INTEGER_KERNELS(, plain_dot, plain)
INTEGER_KERNELS(DOT_TARGET, fast_dot, fast)

/* ---- floats ---- */

enum op { DOT, L2 };

HELPER float32x4_t load_4(const enum width width, const void *row, size_t at)
{
    if (width == WIDTH_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)row + at)));
    if (width == WIDTH_BF16)
        return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)row + at), 16));
    return vld1q_f32((const float *)row + at);
}

HELPER float32x4_t step(const enum op op, float32x4_t acc, float32x4_t q, float32x4_t x)
{
    if (op == DOT)
        return vaddq_f32(acc, vmulq_f32(q, x));
    float32x4_t d = vsubq_f32(q, x);
    return vaddq_f32(acc, vmulq_f32(d, d));
}

HELPER float float_row(const enum op op, const enum width width, const float *q, const void *row, size_t dim)
{
    float32x4_t lane[8];
    for (int k = 0; k < 8; k++)
        lane[k] = vdupq_n_f32(0);
    size_t at = 0, size = width == WIDTH_F32 ? 4 : 2;
    for (; at + 32 <= dim; at += 32)
        for (size_t k = 0; k < 8; k++)
            lane[k] = step(op, lane[k], vld1q_f32(q + at + 4 * k), load_4(width, row, at + 4 * k));
    if (at < dim) {
        float last_q[32] = {0}, last[32] = {0};
        memcpy(last_q, q + at, (dim - at) * sizeof(*q));
        memcpy(last, (const char *)row + at * size, (dim - at) * size);
        for (size_t k = 0; k < 8; k++)
            lane[k] = step(op, lane[k], vld1q_f32(last_q + 4 * k), load_4(width, last, 4 * k));
    }
    for (int half = 4; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            lane[k] = vaddq_f32(lane[k], lane[k + half]);                         /* + 16, + 8, + 4 */
    float32x2_t two = vadd_f32(vget_low_f32(lane[0]), vget_high_f32(lane[0]));    /* + 2 */
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);                         /* + 1 */
}

#define FLOAT_KERNEL(NAME, OP, WIDTH, TYPE)                                                             \
    static void NAME(const float *q, const TYPE *const *rows, size_t n, size_t dim, float *out)         \
    {                                                                                                   \
        for (size_t i = 0; i < n; i++)                                                                  \
            out[i] = float_row(OP, WIDTH, q, rows[i], dim);                                             \
    }

FLOAT_KERNEL(dot_f32_many, DOT, WIDTH_F32, float)
FLOAT_KERNEL(l2_f32_many, L2, WIDTH_F32, float)
FLOAT_KERNEL(dot_f16_many, DOT, WIDTH_F16, uint16_t)
FLOAT_KERNEL(l2_f16_many, L2, WIDTH_F16, uint16_t)
FLOAT_KERNEL(dot_bf16_many, DOT, WIDTH_BF16, uint16_t)
FLOAT_KERNEL(l2_bf16_many, L2, WIDTH_BF16, uint16_t)

/* ---- one vector ---- */

static void minmax_f32(const float *x, size_t dim, float *min, float *max)
{
    float32x4_t lo = vdupq_n_f32(x[0]), hi = lo;
    size_t at = 0;
    for (; at + 4 <= dim; at += 4) {
        float32x4_t v = vld1q_f32(x + at);
        lo = vminq_f32(lo, v);
        hi = vmaxq_f32(hi, v);
    }
    float low = vminvq_f32(lo), high = vmaxvq_f32(hi);
    for (; at < dim; at++) {
        low = x[at] < low ? x[at] : low;
        high = x[at] > high ? x[at] : high;
    }
    *min = low + 0.0f;
    *max = high + 0.0f;
}

static uint32_t quantize_u8(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes)
{
    float32x4_t vlo = vdupq_n_f32(lo), scale = vdupq_n_f32(inv_step), top = vdupq_n_f32(255), zero = vdupq_n_f32(0);
    uint32x4_t total = vdupq_n_u32(0);
    size_t at = 0;
    for (; at + 8 <= dim; at += 8) {
        uint32x4_t c[2];
        for (size_t k = 0; k < 2; k++) {
            float32x4_t t = vmulq_f32(vsubq_f32(vld1q_f32(x + at + 4 * k), vlo), scale);
            c[k] = vcvtnq_u32_f32(vminq_f32(vmaxq_f32(t, zero), top));
            total = vaddq_u32(total, c[k]);
        }
        vst1_u8(codes + at, vmovn_u16(vcombine_u16(vmovn_u32(c[0]), vmovn_u32(c[1]))));
    }
    uint32_t sum = vaddvq_u32(total);
    for (; at < dim; at++) {
        codes[at] = code_of(x[at], lo, inv_step);
        sum += codes[at];
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
    size_t at = 0;
    for (; at + 4 <= dim; at += 4)
        vst1_u16(out + at, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + at))));
    for (; at < dim; at++)
        out[at] = half_of_float(x[at]);
}

static void f16_to_f32(const uint16_t *x, size_t dim, float *out)
{
    size_t at = 0;
    for (; at + 4 <= dim; at += 4)
        vst1q_f32(out + at, load_4(WIDTH_F16, x, at));
    for (; at < dim; at++)
        out[at] = float_of_half(x[at]);
}

static size_t first_nonfinite(const float *x, size_t dim)
{
    uint32x4_t exponent = vdupq_n_u32(0x7f800000);
    size_t at = 0;
    for (; at + 4 <= dim; at += 4) {
        uint32x4_t v = vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + at)), exponent);
        if (vmaxvq_u32(vceqq_u32(v, exponent)))
            break;
    }
    while (at < dim && float_is_finite(x[at]))
        at++;
    return at;
}

#define KERNELS(NAME, SET)                                                                                       \
    {                                                                                                            \
        .name = NAME, .dot_u8s8_many = SET##_u8s8_many, .dot_f32_many = dot_f32_many, .l2_f32_many = l2_f32_many, \
        .dot_f16_many = dot_f16_many, .l2_f16_many = l2_f16_many, .dot_bf16_many = dot_bf16_many,                \
        .l2_bf16_many = l2_bf16_many, .dot_u4s8_many = SET##_u4s8_many, .dot_u1s8_many = SET##_u1s8_many,        \
        .minmax_f32 = minmax_f32, .quantize_u8 = quantize_u8, .center_u8 = center_u8, .f32_to_f16 = f32_to_f16,  \
        .f16_to_f32 = f16_to_f32, .first_nonfinite = first_nonfinite, SHARED_KERNELS,                            \
    }

const struct vec_kernels vec_kernels_neon = KERNELS("neon", plain);
const struct vec_kernels vec_kernels_neondot = KERNELS("neondot", fast);

#else
typedef int vec_kernels_neon_not_on_this_machine;
#endif
