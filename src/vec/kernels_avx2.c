/* Kernels for AVX2 with F16C; without FMA, whose single rounding would give other bits. The byte product widens to 16 bits
 * first: VPMADDUBSW would saturate, since 255 * 128 * 2 does not fit. Floats take two rows at a time: four registers of
 * lanes each leave room for the query's pieces. */
#include "vec/kernels_impl.h"

#ifdef __x86_64__

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,f16c")))
#define HELPER TARGET static inline __attribute__((always_inline))

#include "vec/kernels_shared.h"

/* ---- integers ---- */

HELPER void store_sums(const int nr, const __m256i *acc, int32_t *out)
{
    __m256i c = _mm256_hadd_epi32(_mm256_hadd_epi32(acc[0], acc[1]), _mm256_hadd_epi32(acc[2], acc[3]));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    int32_t all[4];
    _mm_storeu_si128((__m128i *)all, sums);
    memcpy(out, all, (size_t)nr * sizeof(*out));
}

HELPER void dot_u8s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t dim, int32_t *out)
{
    __m256i acc[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        acc[r] = _mm256_setzero_si256();
    /* The last piece may reach past dim, up to a multiple of 16: readable, and the query is zero there. */
    for (size_t at = 0; at < dim; at += 16) {
        __m256i piece = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(q + at)));
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(rows[r] + at)));
            acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(x, piece));
        }
    }
    store_sums(nr, acc, out);
}

TARGET static void dot_u8s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        dot_u8s8_rows(4, q, rows + i, dim, out + i);
    switch (n - i) {
    case 3: dot_u8s8_rows(3, q, rows + i, dim, out + i); break;
    case 2: dot_u8s8_rows(2, q, rows + i, dim, out + i); break;
    case 1: dot_u8s8_rows(1, q, rows + i, dim, out + i); break;
    default: break;
    }
}

/* Products of nibbles stay below 2 * 15 * 128 a pair, so that VPMADDUBSW does not saturate, nor a sum of eight pairs. */
HELPER void dot_u4s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t bytes, int32_t *out)
{
    __m256i acc[4], nibble = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        acc[r] = _mm256_setzero_si256();
    size_t at = 0;
    for (; at + 32 <= bytes; at += 32) {
        const int8_t *piece = q + 2 * (at & ~(size_t)63) + (at & 63);
        __m256i q0 = _mm256_load_si256((const __m256i *)piece), q1 = _mm256_load_si256((const __m256i *)(piece + 64));
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(rows[r] + at));
            __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(x, nibble), q0);
            __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(x, 4), nibble), q1);
            acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(_mm256_add_epi16(low, high), one));
        }
    }
    if (at < bytes) {   /* 16 bytes more */
        const int8_t *piece = q + 2 * (at & ~(size_t)63) + (at & 63);
        __m128i q0 = _mm_load_si128((const __m128i *)piece), q1 = _mm_load_si128((const __m128i *)(piece + 64));
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            __m128i x = _mm_loadu_si128((const __m128i *)(rows[r] + at)), mask = _mm256_castsi256_si128(nibble);
            __m128i low = _mm_maddubs_epi16(_mm_and_si128(x, mask), q0);
            __m128i high = _mm_maddubs_epi16(_mm_and_si128(_mm_srli_epi16(x, 4), mask), q1);
            __m128i sum = _mm_madd_epi16(_mm_add_epi16(low, high), _mm256_castsi256_si128(one));
            acc[r] = _mm256_add_epi32(acc[r], _mm256_zextsi128_si256(sum));
        }
    }
    store_sums(nr, acc, out);
}

HELPER void dot_u1s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t dim, int32_t *out)
{
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i one8 = _mm256_set1_epi8(1), one16 = _mm256_set1_epi16(1);
    __m256i acc[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        acc[r] = _mm256_setzero_si256();
    for (size_t at = 0; at < dim; at += 32) {
        __m256i piece = _mm256_load_si256((const __m256i *)(q + at));
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            int32_t word;
            memcpy(&word, rows[r] + at / 8, sizeof(word));
            __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), spread), bit);
            __m256i set = _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), piece);
            acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(_mm256_maddubs_epi16(one8, set), one16));
        }
    }
    store_sums(nr, acc, out);
}

TARGET static void dot_u4s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t bytes, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        dot_u4s8_rows(4, q, rows + i, bytes, out + i);
    switch (n - i) {
    case 3: dot_u4s8_rows(3, q, rows + i, bytes, out + i); break;
    case 2: dot_u4s8_rows(2, q, rows + i, bytes, out + i); break;
    case 1: dot_u4s8_rows(1, q, rows + i, bytes, out + i); break;
    default: break;
    }
}

TARGET static void dot_u1s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        dot_u1s8_rows(4, q, rows + i, dim, out + i);
    switch (n - i) {
    case 3: dot_u1s8_rows(3, q, rows + i, dim, out + i); break;
    case 2: dot_u1s8_rows(2, q, rows + i, dim, out + i); break;
    case 1: dot_u1s8_rows(1, q, rows + i, dim, out + i); break;
    default: break;
    }
}

/* ---- floats ---- */

enum op { DOT, L2 };

HELPER __m256 step(const enum op op, __m256 acc, __m256 q, __m256 x)
{
    if (op == DOT)
        return _mm256_add_ps(acc, _mm256_mul_ps(q, x));
    __m256 d = _mm256_sub_ps(q, x);
    return _mm256_add_ps(acc, _mm256_mul_ps(d, d));
}

HELPER __m256 load_8(const enum width width, const void *row, size_t at)
{
    if (width != WIDTH_F32) {
        __m128i x = _mm_loadu_si128((const __m128i *)((const uint16_t *)row + at));
        if (width == WIDTH_F16)
            return _mm256_cvtph_ps(x);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
    }
    return _mm256_loadu_ps((const float *)row + at);
}

/* All ones in the first `left` of eight lanes. */
HELPER __m256i lane_mask(size_t left)
{
    __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < 8 ? (int)left : 8), index);
}

HELPER float sum_lanes(const __m256 *lane)
{
    __m256 s = _mm256_add_ps(_mm256_add_ps(lane[0], lane[2]), _mm256_add_ps(lane[1], lane[3])); /* + 16, + 8 */
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));              /* + 4 */
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));                                                     /* + 2 */
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));                               /* + 1 */
}

HELPER void float_tail(const enum op op, const enum width width, const float *q, const void *row, size_t at, size_t left,
                       __m256 *lane)
{
    uint16_t halves[32] = {0};
    if (width != WIDTH_F32)
        memcpy(halves, (const uint16_t *)row + at, left * sizeof(*halves));
#pragma GCC unroll 4
    for (size_t k = 0; k < 4; k++) {
        __m256i mask = lane_mask(left > 8 * k ? left - 8 * k : 0);
        __m256 x = width != WIDTH_F32 ? load_8(width, halves, 8 * k)
                                      : _mm256_maskload_ps((const float *)row + at + 8 * k, mask);
        lane[k] = step(op, lane[k], _mm256_maskload_ps(q + at + 8 * k, mask), x);
    }
}

HELPER void float_rows(const enum op op, const enum width width, const int nr, const float *q, const void *const *rows,
                       size_t dim, float *out)
{
    __m256 lane[2][4];
#pragma GCC unroll 2
    for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            lane[r][k] = _mm256_setzero_ps();
    size_t at = 0;
    for (; at + 32 <= dim; at += 32)
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) {
            __m256 piece = _mm256_loadu_ps(q + at + 8 * k);
#pragma GCC unroll 2
            for (int r = 0; r < nr; r++)
                lane[r][k] = step(op, lane[r][k], piece, load_8(width, rows[r], at + 8 * k));
        }
#pragma GCC unroll 2
    for (int r = 0; r < nr; r++) {
        if (at < dim)
            float_tail(op, width, q, rows[r], at, dim - at, lane[r]);
        out[r] = sum_lanes(lane[r]);
    }
}

HELPER void float_many(const enum op op, const enum width width, const float *q, const void *const *rows, size_t n,
                       size_t dim, float *out)
{
    size_t i = 0;
    for (; i + 2 <= n; i += 2)
        float_rows(op, width, 2, q, rows + i, dim, out + i);
    if (i < n)
        float_rows(op, width, 1, q, rows + i, dim, out + i);
}

TARGET static void dot_f32_many(const float *q, const float *const *rows, size_t n, size_t dim, float *out)
{
    float_many(DOT, WIDTH_F32, q, (const void *const *)rows, n, dim, out);
}

TARGET static void l2_f32_many(const float *q, const float *const *rows, size_t n, size_t dim, float *out)
{
    float_many(L2, WIDTH_F32, q, (const void *const *)rows, n, dim, out);
}

TARGET static void dot_f16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    float_many(DOT, WIDTH_F16, q, (const void *const *)rows, n, dim, out);
}

TARGET static void l2_f16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    float_many(L2, WIDTH_F16, q, (const void *const *)rows, n, dim, out);
}

TARGET static void dot_bf16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    float_many(DOT, WIDTH_BF16, q, (const void *const *)rows, n, dim, out);
}

TARGET static void l2_bf16_many(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out)
{
    float_many(L2, WIDTH_BF16, q, (const void *const *)rows, n, dim, out);
}

/* ---- one vector ---- */

TARGET static void minmax_f32(const float *x, size_t dim, float *min, float *max)
{
    float lows[8], highs[8];
    __m256 lo = _mm256_set1_ps(x[0]), hi = lo;
    size_t at = 0;
    for (; at + 8 <= dim; at += 8) {
        __m256 v = _mm256_loadu_ps(x + at);
        lo = _mm256_min_ps(lo, v);
        hi = _mm256_max_ps(hi, v);
    }
    _mm256_storeu_ps(lows, lo);
    _mm256_storeu_ps(highs, hi);
    float low = lows[0], high = highs[0];
    for (size_t j = 1; j < 8; j++) {
        low = lows[j] < low ? lows[j] : low;
        high = highs[j] > high ? highs[j] : high;
    }
    for (; at < dim; at++) {
        low = x[at] < low ? x[at] : low;
        high = x[at] > high ? x[at] : high;
    }
    *min = low + 0.0f;
    *max = high + 0.0f;
}

TARGET static uint32_t quantize_u8(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes)
{
    __m256 vlo = _mm256_set1_ps(lo), scale = _mm256_set1_ps(inv_step);
    __m256 top = _mm256_set1_ps(255), zero = _mm256_setzero_ps();
    __m256i total = _mm256_setzero_si256();
    size_t at = 0;
    for (; at + 8 <= dim; at += 8) {
        __m256 t = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + at), vlo), scale);
        t = _mm256_min_ps(_mm256_max_ps(t, zero), top);
        __m256i c = _mm256_cvtps_epi32(t);
        total = _mm256_add_epi32(total, c);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
        _mm_storel_epi64((__m128i *)(codes + at), _mm_packus_epi16(words, words));
    }
    uint32_t lanes[8], sum = 0;
    _mm256_storeu_si256((__m256i *)lanes, total);
    for (size_t j = 0; j < 8; j++)
        sum += lanes[j];
    for (; at < dim; at++) {
        codes[at] = code_of(x[at], lo, inv_step);
        sum += codes[at];
    }
    return sum;
}

TARGET static void center_u8(const uint8_t *codes, size_t dim, int8_t *out)
{
    __m256i flip = _mm256_set1_epi8((char)0x80);
    size_t at = 0;
    for (; at + 32 <= dim; at += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(codes + at));
        _mm256_storeu_si256((__m256i *)(out + at), _mm256_xor_si256(v, flip));
    }
    for (; at < dim; at++)
        out[at] = (int8_t)(codes[at] ^ 0x80);
}

TARGET static void f32_to_f16(const float *x, size_t dim, uint16_t *out)
{
    size_t at = 0;
    for (; at + 8 <= dim; at += 8)
        _mm_storeu_si128((__m128i *)(out + at),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + at), _MM_FROUND_TO_NEAREST_INT));
    for (; at < dim; at++)
        out[at] = half_of_float(x[at]);
}

TARGET static void f16_to_f32(const uint16_t *x, size_t dim, float *out)
{
    size_t at = 0;
    for (; at + 8 <= dim; at += 8)
        _mm256_storeu_ps(out + at, load_8(WIDTH_F16, x, at));
    for (; at < dim; at++)
        out[at] = float_of_half(x[at]);
}

TARGET static size_t first_nonfinite(const float *x, size_t dim)
{
    __m256i exponent = _mm256_set1_epi32(0x7f800000);
    size_t at = 0;
    for (; at + 8 <= dim; at += 8) {
        __m256i v = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + at)), exponent);
        int bad = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(v, exponent)));
        if (bad)
            return at + (size_t)__builtin_ctz((unsigned)bad);
    }
    while (at < dim && float_is_finite(x[at]))
        at++;
    return at;
}

const struct vec_kernels vec_kernels_avx2 = {
    .name = "avx2",
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

#else
typedef int vec_kernels_avx2_not_on_this_machine;
#endif
