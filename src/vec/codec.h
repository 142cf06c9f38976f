/* Codecs: how an element type lays a vector out as a row, and how far a query is from rows.
 *
 * A graph is built and searched on rows of one codec alone; it sees only this interface.
 *
 *   q8 row:   | lo f32 | step f32 | step * sum of codes f32 | norm f32 | dim codes u8 | zeros up to a multiple of 16 |
 *             component j is lo + step * code[j]; lo and step are the vector's own (min and (max - min) / 255), so a code depends on
 *             its vector alone. norm: L2 the decoded vector's squared length, COSINE the original's length, IP unused.
 *             COSINE encodes the vector scaled to unit length.
 *   f32 row:  | norm f32 | 1 / norm f32 | 8 bytes zero | dim f32 | zeros up to a multiple of 16 |
 *             the components as they were given. norm: COSINE the length (its inverse is 0 for 0), else both are 0.
 *   f16, bf16 row: the same with components of 2 bytes; the inverse is that of the rounded components' length.
 *   q4 row:   | mean f32 | step f32 | -7.5 * step f32 | norm f32 | (dim + 1) / 2 bytes, up to a multiple of 16 |
 *             4-bit codes of the rotated rest beside the mean, see codec_rotated.c; nibbles lie as kernels.h (dot_u4s8_many) has it
 *   bin row:  | mean f32 | step f32 | -0.5 * step f32 | norm f32 | bits, lowest first, up to a multiple of 16 bytes |
 *             norm of both: L2 the vector's squared length, COSINE its length (the rest is of the vector at unit length)
 *
 * Distances (metric.h) of codes: integer dot products, then float arithmetic in one written order; equal on all machines.
 * Distances of q4 and bin are estimates without bias: under L2 they may be a little below 0.
 * Never NaN: components so extreme that arithmetic on them overflows give +infinity. Rows and originals are aligned to 4.
 * All functions are pure; any thread. */
#ifndef VEC_CODEC_H
#define VEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vec/metric.h"

#define VEC_DIM_MAX 65536

enum vec_type { VEC_Q8, VEC_F32, VEC_F16, VEC_BF16, VEC_Q4, VEC_BIN, VEC_TYPES };     /* of rows; NOQUANT is VEC_F32 */
enum vec_originals { VEC_ORIG_DEFAULT, VEC_ORIG_F32, VEC_ORIG_F16, VEC_ORIG_NONE };

/* A query made ready for rows of one codec. Memory belongs to whoever holds it (a searcher keeps several). */
struct vec_query {
    void *data;       /* 64-byte aligned, vec_query_bytes() long: signed codes or floats */
    float scale;      /* codes: step of the query */
    float sum_scale;  /* codes: factor of a row's third float */
    float lo_scale;   /* codes: factor of a row's lo or mean */
    float norm;       /* L2: squared length of the (decoded) query; COSINE of floats: 1 / length */
};

struct vec_codec {
    enum vec_type type;
    enum vec_metric metric;
    uint32_t dim;
    uint32_t row_bytes;    /* a multiple of 16 */
    uint32_t query_bytes;  /* a multiple of 64 */
    const struct vec_kernels *kernels;
};

/* dim 1..VEC_DIM_MAX. */
void vec_codec_init(struct vec_codec *c, enum vec_type type, enum vec_metric metric, uint32_t dim);
/* "q8", "f32", "f16", "bf16", "q4", "bin". */
const char *vec_type_name(enum vec_type t);
/* Are rows of this type codes, far from what was given (q8, q4, bin)? */
bool vec_type_rounds(enum vec_type t);
/* What keeping originals `o` means for rows of this type: DEFAULT is F32 for codes, NONE for f16 and bf16; f32 rows are F32. */
enum vec_originals vec_type_originals(enum vec_type t, enum vec_originals o);
/* Do the rows themselves hold these originals, so that nothing is kept beside them? */
bool vec_type_holds(enum vec_type t, enum vec_originals o);
/* How many of a search's best are measured on originals when `keep` are asked for. */
size_t vec_rerank_count(enum vec_type t, size_t keep);

/* Writes the row of vector `x` (dim finite floats). `tmp` is dim floats of scratch. */
void vec_encode(const struct vec_codec *c, const float *x, float *tmp, void *row);
/* The components a row stands for, at the original length (COSINE of codes: times norm). */
void vec_decode(const struct vec_codec *c, const void *row, float *out);

/* Makes `q` (q->data set by the caller) the query for vector `x`; `tmp` dim floats of scratch. */
void vec_query_from_vector(const struct vec_codec *c, const float *x, float *tmp, struct vec_query *q);
/* Makes `q` the query that a row's own vector is. Distances from it are symmetric up to rounding; the order that
 * results is what graphs are built on. */
void vec_query_from_row(const struct vec_codec *c, const void *row, struct vec_query *q);

/* out[i] = distance from q to rows[i], n >= 1 (any n). */
void vec_distances(const struct vec_codec *c, const struct vec_query *q, const void *const *rows, size_t n, float *out);

/* ---- originals: what results are re-ranked on ---- */
/* Bytes of one original (a multiple of 4), 0 for NONE. */
uint32_t vec_original_bytes(enum vec_originals o, uint32_t dim);
/* "default", "f32", "f16", "none". */
const char *vec_originals_name(enum vec_originals o);
/* Position of the first component that rows or originals cannot hold (not finite; f16: beyond 65504 in size; bf16: beyond its
 * largest), or dim. */
size_t vec_unfit(enum vec_type type, enum vec_originals o, const float *x, uint32_t dim);
void vec_original_store(enum vec_originals o, const float *x, uint32_t dim, void *out);
void vec_original_load(enum vec_originals o, const void *original, uint32_t dim, float *out);
/* Exact distances of the vector `x` to originals; `x_norm` its length, `norms[i]` that of original i (used by COSINE only).
 * n >= 1. */
void vec_original_distances(enum vec_originals o, enum vec_metric metric, uint32_t dim, const float *x, float x_norm,
                            const void *const *originals, const float *norms, size_t n, float *out);
/* Euclidean length, in the kernels' summation order. */
float vec_norm(const float *x, uint32_t dim);
/* The length stored in a row under COSINE. */
float vec_row_norm(const void *row, enum vec_type t);

#endif
