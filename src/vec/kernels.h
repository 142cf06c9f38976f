/* Kernels: the inner loops over vectors, one set per instruction set, chosen once at run time.
 *
 * Every set gives the same bits: integer sums are exact; float sums follow one order, that of 32 lanes -
 *     lane[j] += a[i] * b[i]   for i = j, j + 32, j + 64, ...   (missing components count as +0)
 *     then lane[j] += lane[j + 16] (j < 16), lane[j] += lane[j + 8] (j < 8), + 4, + 2, + 1 -
 * with separate multiplications and additions (never fused). So graphs, scores and digests agree between machines.
 *
 * The "many" kernels measure one query against n rows and are what a search spends its time in: rows are pointers,
 * already prefetched by the caller. */
#ifndef VEC_KERNELS_H
#define VEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

struct vec_kernels {
    const char *name; /* "avx512vnni", "avx2", "neondot", "neon", "scalar" */

    /* out[i] = sum over j < dim of rows[i][j] * q[j]: rows hold unsigned, q signed bytes. `q` is padded with zeros to a multiple of
     * 64 bytes and 64-byte aligned; rows need no alignment but must be readable up to dim rounded up to 16 (what
     * lies past dim is multiplied by the query's zeros). Exact for dim <= 65,536. */
    void (*dot_u8s8_many)(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out);
    /* out[i] = sum of q[j] * rows[i][j], f32. No alignment. */
    void (*dot_f32_many)(const float *q, const float *const *rows, size_t n, size_t dim, float *out);
    /* out[i] = sum of (q[j] - rows[i][j])^2. */
    void (*l2_f32_many)(const float *q, const float *const *rows, size_t n, size_t dim, float *out);
    /* The same against rows of IEEE half floats (each is widened to f32 first). */
    void (*dot_f16_many)(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out);
    void (*l2_f16_many)(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out);
    /* The same against rows of bfloat16. */
    void (*dot_bf16_many)(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out);
    void (*l2_bf16_many)(const float *q, const uint16_t *const *rows, size_t n, size_t dim, float *out);
    /* Rows of 4-bit codes, `bytes` long (a multiple of 16), in pieces of 64 bytes: a piece's low nibbles stand for its first
     * components, its high nibbles for the next as many. `q` has 128 bytes for each piece, aligned to 64: 64 for
     * the low nibbles, 64 for the high ones (a last, shorter piece uses the first bytes of either, the others are zero). */
    void (*dot_u4s8_many)(const int8_t *q, const uint8_t *const *rows, size_t n, size_t bytes, int32_t *out);
    /* Rows of bits, lowest first: out[i] = sum of q[j] where bit j is set. `q` as for dot_u8s8_many; rows are readable up to dim
     * rounded up to 128. */
    void (*dot_u1s8_many)(const int8_t *q, const uint8_t *const *rows, size_t n, size_t dim, int32_t *out);

    /* Smallest and largest component (dim >= 1; all finite). */
    void (*minmax_f32)(const float *x, size_t dim, float *min, float *max);
    /* codes[j] = round half to even((x[j] - lo) * inv_step), clamped to 0..255; returns the sum of the codes. Writes dim bytes. */
    uint32_t (*quantize_u8)(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes);
    /* out[j] = (int8_t)(codes[j] - 128) for j < dim. */
    void (*center_u8)(const uint8_t *codes, size_t dim, int8_t *out);
    /* The sum of codes[j]^2. */
    uint64_t (*squares_u8)(const uint8_t *codes, size_t dim);
    /* f32 <-> IEEE half and bfloat16, round to nearest even. */
    void (*f32_to_f16)(const float *x, size_t dim, uint16_t *out);
    void (*f16_to_f32)(const uint16_t *x, size_t dim, float *out);
    void (*f32_to_bf16)(const float *x, size_t dim, uint16_t *out);
    void (*bf16_to_f32)(const uint16_t *x, size_t dim, float *out);
    /* Position of the first NaN or infinity, or dim. */
    size_t (*first_nonfinite)(const float *x, size_t dim);

    /* ---- what Q4 and BIN are made of: kernels_shared.h ---- */
    /* A fixed pseudo-random rotation of x (dim floats whose squares' sum is far from overflowing), and its inverse. */
    void (*rotate)(float *x, size_t dim);
    void (*unrotate)(float *x, size_t dim);
    /* With levels l_j = c_j - 7.5 for codes c_j = x[j] * inv_step + 7.5 rounded and clamped to 0..15: the sums of x[j] * l_j and of
     * l_j^2. */
    void (*fit_u4)(const float *x, size_t dim, float inv_step, float *dot, float *squares);
    /* The codes, packed as dot_u4s8_many reads them; what lies past dim is zero. */
    void (*quantize_u4)(const float *x, size_t dim, float inv_step, uint8_t *out);
    /* out = 2 c - 15, a query's layout, zero past dim; returns the sum. */
    int32_t (*expand_u4)(const uint8_t *codes, size_t dim, int8_t *out);
    /* Bit j is x[j] >= 0; whole 16 bytes, zero past dim. */
    void (*quantize_u1)(const float *x, size_t dim, uint8_t *out);
    /* out = 1 or -1, zero past dim up to a multiple of 64; returns the sum. */
    int32_t (*expand_u1)(const uint8_t *bits, size_t dim, int8_t *out);
    /* out[j] = x[j] * inv_step rounded, |out[j]| <= 127; returns the sum. Writes dim bytes. */
    int32_t (*quantize_s8)(const float *x, size_t dim, float inv_step, int8_t *out);
};

/* Bytes of a row of 4-bit codes, and of its query. */
static inline size_t vec_u4_bytes(size_t dim)
{
    return ((dim + 1) / 2 + 15) / 16 * 16;
}
static inline size_t vec_u4_query_bytes(size_t dim)
{
    return (vec_u4_bytes(dim) + 63) / 64 * 128;
}
/* Bytes that the piece at `at` of such a row has. */
static inline size_t vec_u4_piece(size_t bytes, size_t at)
{
    return bytes - at < 64 ? bytes - at : 64;
}

/* The sets compiled in, best first, ending with "scalar"; `i` from 0, NULL past the end. Includes sets this processor
 * cannot run: see vec_kernels_usable. */
const struct vec_kernels *vec_kernels_at(size_t i);
int vec_kernels_usable(const struct vec_kernels *k);
/* The best set this processor runs, or the one named in the environment variable VECSTORE_KERNELS (for tests and
 * measurements; ignored when unknown or unusable). Chosen at the first call; any thread. */
const struct vec_kernels *vec_kernels(void);

#endif
