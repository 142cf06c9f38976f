/* Kernels that every set compiles from the same C, for its own instructions; included by each vec/kernels_*.c after it has
 * defined TARGET. What is added up lies in 32 lanes or in integers, and everything else is done component by component, so
 * the compiler may use vectors of any width without changing a bit.
 *
 * THE ROTATION that Q4 and BIN codes are taken after spreads every component over all others, so that what is left to quantise
 * looks Gaussian whatever the data: signs from a fixed hash, then a fast Walsh-Hadamard transform, in n log n additions. Where
 * dim is no power of two, the largest one below it is transformed at the front and at the back, twice, and between the two times
 * the halves are mixed pair by pair, a step of Kac's walk. Every step is orthogonal: lengths and inner products stay. */
#ifndef TARGET
#error "define TARGET first"
#endif

#include "base/hash.h"

#include <math.h>

#define ROTATE_SALT 0x524F5441ull
#define SHARED static inline __attribute__((always_inline))

/* Levels of one Walsh-Hadamard transform within 16 floats: 1, 2, 4, 8. */
typedef float quad __attribute__((vector_size(16)));
typedef uint32_t quad_bits __attribute__((vector_size(16)));

TARGET static void hadamard_16(float *x)
{
    const quad_bits odd = {0, 0x80000000u, 0, 0x80000000u}, upper = {0, 0, 0x80000000u, 0x80000000u};
    quad v[4], w[4];
    memcpy(v, x, sizeof(v));
    for (int i = 0; i < 4; i++)
        v[i] = __builtin_shufflevector(v[i], v[i], 1, 0, 3, 2) + (quad)((quad_bits)v[i] ^ odd);
    for (int i = 0; i < 4; i++)
        v[i] = __builtin_shufflevector(v[i], v[i], 2, 3, 0, 1) + (quad)((quad_bits)v[i] ^ upper);
    w[0] = v[0] + v[1];
    w[1] = v[0] - v[1];
    w[2] = v[2] + v[3];
    w[3] = v[2] - v[3];
    v[0] = w[0] + w[2];
    v[1] = w[1] + w[3];
    v[2] = w[0] - w[2];
    v[3] = w[1] - w[3];
    memcpy(x, v, sizeof(v));
}

TARGET static void butterfly(float *restrict a, float *restrict b, size_t n, float scale)
{
    for (size_t j = 0; j < n; j++) {
        float sum = (a[j] + b[j]) * scale, difference = (a[j] - b[j]) * scale;
        a[j] = sum;
        b[j] = difference;
    }
}

/* Two levels at once. */
TARGET static void butterfly_4(float *restrict a, float *restrict b, float *restrict c, float *restrict d, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        float ab = a[j] + b[j], a_b = a[j] - b[j], cd = c[j] + d[j], c_d = c[j] - d[j];
        a[j] = ab + cd;
        b[j] = a_b + c_d;
        c[j] = ab - cd;
        d[j] = a_b - c_d;
    }
}

/* n is a power of two. */
TARGET static void hadamard(float *x, size_t n)
{
    size_t h = 1;
    if (n >= 16) {
        for (size_t i = 0; i < n; i += 16)
            hadamard_16(x + i);
        h = 16;
        for (; h * 4 <= n; h *= 4)
            for (size_t i = 0; i < n; i += 4 * h)
                butterfly_4(x + i, x + i + h, x + i + 2 * h, x + i + 3 * h, h);
    }
    for (; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            butterfly(x + i, x + i + h, h, 1.0f);
}

/* x[j] = x[j] * scale with signs from a hash. */
TARGET static void flip(float *x, size_t n, uint64_t seed, float scale)
{
    size_t at = 0;
    for (; at + 32 <= n; at += 32) {
        uint32_t signs = (uint32_t)hash_mix(seed + at);
        for (uint32_t j = 0; j < 32; j++)
            x[at + j] = float_of_bits(float_bits(x[at + j]) ^ (signs >> j << 31)) * scale;
    }
    for (uint32_t j = 0, signs = (uint32_t)hash_mix(seed + at); at + j < n; j++)
        x[at + j] = float_of_bits(float_bits(x[at + j]) ^ (signs >> j << 31)) * scale;
}

struct rotation {
    size_t block;        /* largest power of two up to dim */
    unsigned rounds;
    float scale;         /* 1 / sqrt(block) */
};

SHARED struct rotation rotation_of(size_t dim)
{
    size_t block = (size_t)1 << (63 - __builtin_clzll(dim));
    return (struct rotation){block, block == dim ? 2 : 4, 1.0f / sqrtf((float)block)};
}

SHARED uint64_t round_seed(size_t dim, unsigned r)
{
    return hash_mix(ROTATE_SALT + ((uint64_t)dim << 8 | r));
}

/* Pairs of the front and the back half; its own inverse up to rounding. */
SHARED void mix_halves(float *x, size_t dim)
{
    size_t half = (dim + 1) / 2;
    butterfly(x, x + half, dim - half, 0x1.6a09e6p-1f);
}

TARGET static void rotate(float *x, size_t dim)
{
    struct rotation t = rotation_of(dim);
    for (unsigned r = 0; r < t.rounds; r++) {
        float *at = x + (r & 1 ? dim - t.block : 0);
        if (r == 2)
            mix_halves(x, dim);
        flip(at, t.block, round_seed(dim, r), t.scale);
        hadamard(at, t.block);
    }
}

TARGET static void unrotate(float *x, size_t dim)
{
    struct rotation t = rotation_of(dim);
    for (unsigned r = t.rounds; r-- > 0;) {
        float *at = x + (r & 1 ? dim - t.block : 0);
        hadamard(at, t.block);
        flip(at, t.block, round_seed(dim, r), t.scale);
        if (r == 2)
            mix_halves(x, dim);
    }
}

/* ---- codes ---- */

/* c = x * inv_step + 7.5, rounded half to even, 0..15. As float: the integer itself. */
SHARED float level_u4(float x, float inv_step)
{
    float t = x * inv_step + 7.5f;
    t = t > 0 ? t : 0;
    t = t < 15 ? t : 15;
    return (t + 0x1.8p23f) - 0x1.8p23f;
}

SHARED float sum_of_lanes(float *lane)
{
    for (size_t half = 16; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

typedef float oct __attribute__((vector_size(32)));
typedef int32_t oct_bits __attribute__((vector_size(32)));

/* 32 lanes: level_u4 by vectors, since this is most of what encoding q4 costs. */
SHARED void fit_block(const float *x, float inv_step, oct *products, oct *squares)
{
    const oct top = {15, 15, 15, 15, 15, 15, 15, 15};
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        oct v;
        memcpy(&v, x + 8 * k, sizeof(v));
        oct t = v * inv_step + 7.5f;
        t = (oct)((oct_bits)t & (t > 0));
        oct_bits inside = t < top;
        t = (oct)(((oct_bits)t & inside) | ((oct_bits)top & ~inside));
        t = ((t + 0x1.8p23f) - 0x1.8p23f) - 7.5f;
        products[k] += v * t;
        squares[k] += t * t;
    }
}

TARGET static void fit_u4(const float *x, size_t dim, float inv_step, float *dot, float *squares)
{
    oct product[4] = {0}, square[4] = {0};
    float lane[32], square_lane[32];
    size_t at = 0;
    for (; at + 32 <= dim; at += 32)
        fit_block(x + at, inv_step, product, square);
    memcpy(lane, product, sizeof(lane));
    memcpy(square_lane, square, sizeof(square_lane));
    for (size_t j = 0; at + j < dim; j++) {
        float level = level_u4(x[at + j], inv_step) - 7.5f;
        lane[j] += x[at + j] * level;
        square_lane[j] += level * level;
    }
    *dot = sum_of_lanes(lane);
    *squares = sum_of_lanes(square_lane);
}

SHARED uint32_t code_u4(float x, float inv_step)
{
    return float_bits(level_u4(x, inv_step) + 0x1p23f) & 15;
}

TARGET static void quantize_u4(const float *x, size_t dim, float inv_step, uint8_t *out)
{
    size_t at = 0, bytes = vec_u4_bytes(dim);
    for (; 2 * (at + 64) <= dim; at += 64)
        for (size_t b = 0; b < 64; b++)
            out[at + b] = (uint8_t)(code_u4(x[2 * at + b], inv_step) | code_u4(x[2 * at + 64 + b], inv_step) << 4);
    size_t width = vec_u4_piece(bytes, at), left = dim - 2 * at;
    memset(out + at, 0, bytes - at);
    for (size_t b = 0; b < width && b < left; b++)
        out[at + b] = (uint8_t)code_u4(x[2 * at + b], inv_step);
    for (size_t b = width; b < left; b++)
        out[at + b - width] |= (uint8_t)(code_u4(x[2 * at + b], inv_step) << 4);
}

TARGET static int32_t expand_u4(const uint8_t *codes, size_t dim, int8_t *out)
{
    size_t at = 0, bytes = vec_u4_bytes(dim);
    int32_t sum = 0;
    for (; 2 * (at + 64) <= dim; at += 64)
        for (size_t b = 0; b < 64; b++) {
            int8_t low = (int8_t)(2 * (codes[at + b] & 15) - 15), high = (int8_t)(2 * (codes[at + b] >> 4) - 15);
            out[2 * at + b] = low;
            out[2 * at + 64 + b] = high;
            sum += low + high;
        }
    if (at < bytes) {
        size_t width = vec_u4_piece(bytes, at), left = dim - 2 * at;
        memset(out + 2 * at, 0, 128);
        for (size_t j = 0; j < left; j++) {
            int code = j < width ? codes[at + j] & 15 : codes[at + j - width] >> 4;
            out[2 * at + (j < width ? j : 64 + j - width)] = (int8_t)(2 * code - 15);
            sum += 2 * code - 15;
        }
    }
    return sum;
}

TARGET static void quantize_u1(const float *x, size_t dim, uint8_t *out)
{
    size_t at = 0;
    memset(out, 0, (dim + 127) / 128 * 16);
    for (; at + 8 <= dim; at += 8) {
        unsigned byte = 0;
        for (unsigned j = 0; j < 8; j++)
            byte |= (unsigned)(x[at + j] >= 0) << j;
        out[at / 8] = (uint8_t)byte;
    }
    for (; at < dim; at++)
        out[at / 8] |= (uint8_t)((unsigned)(x[at] >= 0) << at % 8);
}

TARGET static int32_t expand_u1(const uint8_t *bits, size_t dim, int8_t *out)
{
    size_t at = 0, ones = 0;
    for (; at + 8 <= dim; at += 8) {
        /* Bit j goes to the top of byte j, then to its bottom; bytes of 0 become -1. */
        uint64_t spread = (bits[at / 8] * 0x0101010101010101ull & 0x8040201008040201ull) + 0x00406070787c7e7full;
        spread = spread >> 7 & 0x0101010101010101ull;
        spread |= (spread ^ 0x0101010101010101ull) * 0xff;
        memcpy(out + at, &spread, sizeof(spread));
        ones += (size_t)__builtin_popcount(bits[at / 8]);
    }
    for (; at < dim; at++) {
        int bit = bits[at / 8] >> at % 8 & 1;
        out[at] = (int8_t)(2 * bit - 1);
        ones += (size_t)bit;
    }
    memset(out + dim, 0, (dim + 63) / 64 * 64 - dim);
    return (int32_t)(2 * ones) - (int32_t)dim;
}

TARGET static int32_t quantize_s8(const float *x, size_t dim, float inv_step, int8_t *out)
{
    int32_t sum = 0;
    for (size_t j = 0; j < dim; j++) {
        float t = x[j] * inv_step;
        t = t > -127 ? t : -127;
        t = t < 127 ? t : 127;
        int32_t code = (int32_t)((float_bits(t + 0x1.8p23f) & 0x7fffff) - 0x400000);
        out[j] = (int8_t)code;
        sum += code;
    }
    return sum;
}

TARGET static uint64_t squares_u8(const uint8_t *codes, size_t dim)
{
    uint64_t sum = 0;
    for (size_t at = 0; at < dim;) {
        size_t end = dim - at > 4096 ? at + 4096 : dim; /* 4096 * 255^2 fits 32 bits */
        uint32_t part = 0;
        for (; at < end; at++) {
            int16_t code = codes[at];
            part += (uint32_t)(code * code);
        }
        sum += part;
    }
    return sum;
}

/* ---- bfloat16 ---- */

TARGET static void f32_to_bf16(const float *x, size_t dim, uint16_t *out)
{
    for (size_t j = 0; j < dim; j++)
        out[j] = bfloat_of_float(x[j]);
}

TARGET static void bf16_to_f32(const uint16_t *x, size_t dim, float *out)
{
    for (size_t j = 0; j < dim; j++)
        out[j] = float_of_bfloat(x[j]);
}

#define SHARED_KERNELS                                                                              \
    .f32_to_bf16 = f32_to_bf16, .bf16_to_f32 = bf16_to_f32, .rotate = rotate, .unrotate = unrotate, \
    .fit_u4 = fit_u4, .quantize_u4 = quantize_u4, .expand_u4 = expand_u4, .quantize_u1 = quantize_u1, \
    .expand_u1 = expand_u1, .quantize_s8 = quantize_s8, .squares_u8 = squares_u8
