/* Kernels for AVX-512 with VNNI. Rows are taken four at a time, so that a piece of the query is loaded once for four
 * and four chains of additions are under way; the last piece of a row is loaded under a mask, which reads nothing past it.
 * Helpers take the number of rows as a constant and unroll on it. */
#include "vec/kernels_impl.h"

#ifdef __x86_64__

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")))
#define HELPER TARGET static inline __attribute__((always_inline))

#include "vec/kernels_shared.h"

/* ---- integers ---- */

HELPER __m256i fold(__m512i v)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

HELPER void store_sums(const int nr, const __m512i *acc, int32_t *out)
{
    __m256i a = _mm256_hadd_epi32(fold(acc[0]), fold(acc[1]));
    __m256i b = _mm256_hadd_epi32(fold(acc[2]), fold(acc[3]));
    __m256i c = _mm256_hadd_epi32(a, b);
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    _mm_mask_storeu_epi32(out, (__mmask8)((1 << nr) - 1), sums);
}

HELPER void dot_u8s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t dim, int32_t *out)
{
    __m512i acc[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        acc[r] = _mm512_setzero_si512();
    size_t at = 0;
    for (; at + 64 <= dim; at += 64) {
        __m512i piece = _mm512_load_si512(q + at);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++)
            acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_loadu_si512(rows[r] + at), piece);
    }
    if (at < dim) {
        __mmask64 mask = ~(__mmask64)0 >> (64 - (dim - at));
        __m512i piece = _mm512_load_si512(q + at);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++)
            acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_maskz_loadu_epi8(mask, rows[r] + at), piece);
    }
    store_sums(nr, acc, out);
}

/* One row alone: two chains of its own. */
HELPER int32_t dot_u8s8_row(const int8_t *q, const uint8_t *row, size_t dim)
{
    __m512i a = _mm512_setzero_si512(), b = a;
    size_t at = 0;
    for (; at + 128 <= dim; at += 128) {
        a = _mm512_dpbusd_epi32(a, _mm512_loadu_si512(row + at), _mm512_load_si512(q + at));
        b = _mm512_dpbusd_epi32(b, _mm512_loadu_si512(row + at + 64), _mm512_load_si512(q + at + 64));
    }
    if (at + 64 <= dim) {
        a = _mm512_dpbusd_epi32(a, _mm512_loadu_si512(row + at), _mm512_load_si512(q + at));
        at += 64;
    }
    if (at < dim) {
        __mmask64 mask = ~(__mmask64)0 >> (64 - (dim - at));
        b = _mm512_dpbusd_epi32(b, _mm512_maskz_loadu_epi8(mask, row + at), _mm512_load_si512(q + at));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

TARGET static void dot_u8s8_many(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        dot_u8s8_rows(4, q, rows + i, dim, out + i);
    switch (n - i) {
    case 3: dot_u8s8_rows(3, q, rows + i, dim, out + i); break;
    case 2: dot_u8s8_rows(2, q, rows + i, dim, out + i); break;
    case 1: out[i] = dot_u8s8_row(q, rows[i], dim); break;
    default: break;
    }
}

/* Two chains a row: low nibbles, and high ones sixteenfold, which saves the shift of each piece. */
HELPER void dot_u4s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t bytes, int32_t *out)
{
    __m512i low[4], high[4], low_bits = _mm512_set1_epi8(15), high_bits = _mm512_set1_epi8((char)0xf0);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        low[r] = high[r] = _mm512_setzero_si512();
    size_t at = 0;
    for (; at + 64 <= bytes; at += 64) {
        __m512i q0 = _mm512_load_si512(q + 2 * at), q1 = _mm512_load_si512(q + 2 * at + 64);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            __m512i x = _mm512_loadu_si512(rows[r] + at);
            low[r] = _mm512_dpbusd_epi32(low[r], _mm512_and_si512(x, low_bits), q0);
            high[r] = _mm512_dpbusd_epi32(high[r], _mm512_and_si512(x, high_bits), q1);
        }
    }
    if (at < bytes) {
        __mmask64 mask = ~(__mmask64)0 >> (64 - (bytes - at));
        __m512i q0 = _mm512_load_si512(q + 2 * at), q1 = _mm512_load_si512(q + 2 * at + 64);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            __m512i x = _mm512_maskz_loadu_epi8(mask, rows[r] + at);
            low[r] = _mm512_dpbusd_epi32(low[r], _mm512_and_si512(x, low_bits), q0);
            high[r] = _mm512_dpbusd_epi32(high[r], _mm512_and_si512(x, high_bits), q1);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        low[r] = _mm512_add_epi32(low[r], _mm512_srai_epi32(high[r], 4));
    store_sums(nr, low, out);
}

HELPER void dot_u1s8_rows(const int nr, const int8_t *q, const uint8_t *const *rows, size_t dim, int32_t *out)
{
    __m512i acc[4], one = _mm512_set1_epi8(1);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        acc[r] = _mm512_setzero_si512();
    for (size_t at = 0; at < dim; at += 64) {
        __m512i piece = _mm512_load_si512(q + at);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            uint64_t bits;
            memcpy(&bits, rows[r] + at / 8, sizeof(bits));
            acc[r] = _mm512_dpbusd_epi32(acc[r], one, _mm512_maskz_mov_epi8(bits, piece));
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

HELPER __m128 quarter(__m512 even, __m512 odd)
{
    __m512 s = _mm512_add_ps(even, odd);                                     /* lane j + lane j + 16 */
    __m256 t = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));      /* + 8 */
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));              /* + 4 */
}

enum op { DOT, L2 };

HELPER __m512 step(const enum op op, __m512 acc, __m512 q, __m512 x)
{
    if (op == DOT)
        return _mm512_add_ps(acc, _mm512_mul_ps(q, x));
    __m512 d = _mm512_sub_ps(q, x);
    return _mm512_add_ps(acc, _mm512_mul_ps(d, d));
}

HELPER __m512 widen_bf16(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

HELPER __m512 load_16(const enum width width, const void *row, size_t at)
{
    if (width == WIDTH_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)row + at)));
    if (width == WIDTH_BF16)
        return widen_bf16(_mm256_loadu_si256((const __m256i *)((const uint16_t *)row + at)));
    return _mm512_loadu_ps((const float *)row + at);
}

HELPER __m512 load_masked(const enum width width, __mmask16 mask, const void *row, size_t at)
{
    if (width == WIDTH_F16)
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)row + at));
    if (width == WIDTH_BF16)
        return widen_bf16(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)row + at));
    return _mm512_maskz_loadu_ps(mask, (const float *)row + at);
}

HELPER void float_rows(const enum op op, const enum width width, const int nr, const float *q, const void *const *rows,
                       size_t dim, float *out)
{
    __m512 even[4], odd[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        even[r] = odd[r] = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + 32 <= dim; at += 32) {
        __m512 q0 = _mm512_loadu_ps(q + at), q1 = _mm512_loadu_ps(q + at + 16);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            even[r] = step(op, even[r], q0, load_16(width, rows[r], at));
            odd[r] = step(op, odd[r], q1, load_16(width, rows[r], at + 16));
        }
    }
    if (at < dim) {
        uint32_t mask = 0xffffffffu >> (32 - (dim - at));
        __mmask16 m0 = (__mmask16)mask, m1 = (__mmask16)(mask >> 16);
        __m512 q0 = _mm512_maskz_loadu_ps(m0, q + at), q1 = _mm512_maskz_loadu_ps(m1, q + at + 16);
#pragma GCC unroll 4
        for (int r = 0; r < nr; r++) {
            even[r] = step(op, even[r], q0, load_masked(width, m0, rows[r], at));
            odd[r] = step(op, odd[r], q1, load_masked(width, m1, rows[r], at + 16));
        }
    }
    __m128 s0 = quarter(even[0], odd[0]), s1 = quarter(even[1], odd[1]);
    __m128 s2 = quarter(even[2], odd[2]), s3 = quarter(even[3], odd[3]);
    _MM_TRANSPOSE4_PS(s0, s1, s2, s3);
    __m128 sums = _mm_add_ps(_mm_add_ps(s0, s2), _mm_add_ps(s1, s3));        /* + 2, then + 1 */
    _mm_mask_storeu_ps(out, (__mmask8)((1 << nr) - 1), sums);
}

HELPER void float_many(const enum op op, const enum width width, const float *q, const void *const *rows, size_t n,
                       size_t dim, float *out)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        float_rows(op, width, 4, q, rows + i, dim, out + i);
    switch (n - i) {
    case 3: float_rows(op, width, 3, q, rows + i, dim, out + i); break;
    case 2: float_rows(op, width, 2, q, rows + i, dim, out + i); break;
    case 1: float_rows(op, width, 1, q, rows + i, dim, out + i); break;
    default: break;
    }
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

HELPER __mmask16 tail_mask(size_t left)
{
    return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

TARGET static void minmax_f32(const float *x, size_t dim, float *min, float *max)
{
    __m512 first = _mm512_set1_ps(x[0]), lo = first, hi = first;
    for (size_t at = 0; at < dim; at += 16) {
        __m512 v = _mm512_mask_loadu_ps(first, tail_mask(dim - at), x + at);
        lo = _mm512_min_ps(lo, v);
        hi = _mm512_max_ps(hi, v);
    }
    *min = _mm512_reduce_min_ps(lo) + 0.0f;
    *max = _mm512_reduce_max_ps(hi) + 0.0f;
}

TARGET static uint32_t quantize_u8(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes)
{
    __m512 vlo = _mm512_set1_ps(lo), scale = _mm512_set1_ps(inv_step);
    __m512 top = _mm512_set1_ps(255), zero = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t at = 0; at < dim; at += 16) {
        __mmask16 mask = tail_mask(dim - at);
        __m512 t = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + at), vlo), scale);
        t = _mm512_min_ps(_mm512_max_ps(t, zero), top);
        __m512i c = _mm512_maskz_cvt_roundps_epi32(mask, t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        sum = _mm512_add_epi32(sum, c);
        _mm_mask_storeu_epi8(codes + at, mask, _mm512_cvtepi32_epi8(c));
    }
    return (uint32_t)_mm512_reduce_add_epi32(sum);
}

TARGET static void center_u8(const uint8_t *codes, size_t dim, int8_t *out)
{
    __m512i flip = _mm512_set1_epi8((char)0x80);
    for (size_t at = 0; at < dim; at += 64) {
        __mmask64 mask = dim - at >= 64 ? ~(__mmask64)0 : ~(__mmask64)0 >> (64 - (dim - at));
        __m512i v = _mm512_maskz_loadu_epi8(mask, codes + at);
        _mm512_mask_storeu_epi8(out + at, mask, _mm512_xor_si512(v, flip));
    }
}

TARGET static void f32_to_f16(const float *x, size_t dim, uint16_t *out)
{
    for (size_t at = 0; at < dim; at += 16) {
        __mmask16 mask = tail_mask(dim - at);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + at);
        _mm256_mask_storeu_epi16(out + at, mask,
                                 _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}

TARGET static void f16_to_f32(const uint16_t *x, size_t dim, float *out)
{
    for (size_t at = 0; at < dim; at += 16) {
        __mmask16 mask = tail_mask(dim - at);
        _mm512_mask_storeu_ps(out + at, mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, x + at)));
    }
}

TARGET static size_t first_nonfinite(const float *x, size_t dim)
{
    __m512i exponent = _mm512_set1_epi32(0x7f800000);
    for (size_t at = 0; at < dim; at += 16) {
        __m512i v = _mm512_maskz_loadu_epi32(tail_mask(dim - at), x + at);
        __mmask16 bad = _mm512_cmpeq_epi32_mask(_mm512_and_si512(v, exponent), exponent);
        if (bad)
            return at + (size_t)__builtin_ctz(bad);
    }
    return dim;
}

const struct vec_kernels vec_kernels_avx512vnni = {
    .name = "avx512vnni",
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
typedef int vec_kernels_avx512_not_on_this_machine;
#endif
