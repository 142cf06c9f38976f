/* What the kernel sets share among themselves; private to vec/kernels*.c. */
#ifndef VEC_KERNELS_IMPL_H
#define VEC_KERNELS_IMPL_H

#include <stdint.h>
#include <string.h>

#include "vec/kernels.h"

/* Belt and braces: the build says -ffp-contract=off, gcc does not know the pragma. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

extern const struct vec_kernels vec_kernels_scalar;
#ifdef __x86_64__
extern const struct vec_kernels vec_kernels_avx2;
extern const struct vec_kernels vec_kernels_avx512vnni;
#endif
#ifdef __aarch64__
extern const struct vec_kernels vec_kernels_neon;
extern const struct vec_kernels vec_kernels_neondot;
#endif

/* How a float row's components are stored. */
enum width { WIDTH_F32, WIDTH_F16, WIDTH_BF16 };

static inline uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static inline float float_of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

/* IEEE binary16 from binary32, nearest even, as VCVTPS2PH does it. */
static inline uint16_t half_of_float(float x)
{
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000)   /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000)    /* below 2^-14: 0.5 has the last bit that a subnormal half has, so this addition rounds */
        return (uint16_t)(sign | (float_bits(float_of_bits(a) + 0.5f) - 0x3f000000));
    a += 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | (a - 0x38000000) >> 13);
}

static inline float float_of_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, a = h & 0x7fff;
    if (a >= 0x7c00)
        return float_of_bits(sign | 0x7f800000 | (a & 0x3ff) << 13 | (a > 0x7c00 ? 0x400000 : 0));
    if (a < 0x400)
        return float_of_bits(sign | float_bits((float)a * 0x1p-24f));
    return float_of_bits(sign | ((a << 13) + 0x38000000));
}

static inline uint16_t bfloat_of_float(float x)
{
    uint32_t u = float_bits(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float float_of_bfloat(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

static inline int float_is_finite(float x)
{
    return (float_bits(x) & 0x7f800000) != 0x7f800000;
}

/* The code of a component: clamped before it is rounded, which gives the same. Adding 1.5 * 2^23 leaves no bits after
 * the point, and rounds to even. */
static inline uint8_t code_of(float x, float lo, float inv_step)
{
    float t = (x - lo) * inv_step;
    t = t > 0 ? t : 0;
    t = t < 255 ? t : 255;
    return (uint8_t)(float_bits(t + 0x1.8p23f) & 0xff);
}

#endif
