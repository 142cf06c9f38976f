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
    const char *name; /* "avx512vnni", "avx2", "scalar" */

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

    /* Smallest and largest component (dim >= 1; all finite). */
    void (*minmax_f32)(const float *x, size_t dim, float *min, float *max);
    /* codes[j] = round half to even((x[j] - lo) * inv_step), clamped to 0..255; returns the sum of the codes. Writes dim bytes. */
    uint32_t (*quantize_u8)(const float *x, size_t dim, float lo, float inv_step, uint8_t *codes);
    /* out[j] = (int8_t)(codes[j] - 128) for j < dim. */
    void (*center_u8)(const uint8_t *codes, size_t dim, int8_t *out);
    /* f32 <-> IEEE half, round to nearest even. */
    void (*f32_to_f16)(const float *x, size_t dim, uint16_t *out);
    void (*f16_to_f32)(const uint16_t *x, size_t dim, float *out);
    /* Position of the first NaN or infinity, or dim. */
    size_t (*first_nonfinite)(const float *x, size_t dim);
};

/* The sets compiled in, best first, ending with "scalar"; `i` from 0, NULL past the end. Includes sets this processor
 * cannot run: see vec_kernels_usable. */
const struct vec_kernels *vec_kernels_at(size_t i);
int vec_kernels_usable(const struct vec_kernels *k);
/* The best set this processor runs, or the one named in the environment variable VECSTORE_KERNELS (for tests and
 * measurements; ignored when unknown or unusable). Chosen at the first call; any thread. */
const struct vec_kernels *vec_kernels(void);

#endif
