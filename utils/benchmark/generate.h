/* Made-up vectors as hard to search as real embeddings, from a seed.
 *
 * A vector is a point of a mixture of clusters. Cluster c has a centre and a random low-rank map of
 * its own, from `intrinsic` latent coordinates into `dim` dimensions; a little noise in every
 * dimension is added, and under cosine the result is scaled to unit length:
 *
 *     x = spread * centre(c) + s * map(c) * z + noise * e
 *     z ~ N(0, I_intrinsic), e ~ N(0, I_dim), s uniform in [1, 2)
 *
 * Two things make it like real data rather than like a textbook's mixture: clusters are of very
 * unequal size (cluster c = clusters * u^4 for a uniform u: with 20 clusters the largest holds 47 %
 * and the smallest 1.3 %), and the stretch s puts some points far outside. So there are easy
 * queries and hard ones, and recall rises slowly with EF, as it does on embeddings. What makes
 * neighbours hard to find is the number of directions in which a neighbourhood extends: `intrinsic`
 * sets the hardness and `dim` hardly does.
 *
 * Row r of stream s is a pure function of (options, s, r): no state runs from row to row, any range
 * can be made by any thread, and base rows and queries (two streams) are different points of one
 * distribution. Only additions, multiplications, divisions and square roots in a written order are
 * used, no libm: the same bits on every machine. */
#ifndef BENCHMARK_GENERATE_H
#define BENCHMARK_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct generate_options {
    uint32_t dim;
    uint32_t intrinsic; /* latent dimensions of a cluster, 1..dim */
    uint32_t clusters;  /* 1..65536 */
    float spread; /* typical distance of centres from the middle; a cluster's own radius is 1 */
    float noise;  /* length of the noise; a cluster's own radius is 1 */
    bool unit;    /* scale to unit length (cosine) */
    float
        longest; /* above 1: lengths spread evenly from 1 to this, after scaling (inner product) */
    uint64_t seed;
};

enum generate_stream { GENERATE_BASE, GENERATE_QUERY };

struct generate_model;

/* What is tuned for `dim` and for unit length or not; seed 1. */
void generate_defaults(uint32_t dim, bool unit, struct generate_options *out);
/* NULL when memory fails or an option is out of range. Immutable: any thread may use it. */
struct generate_model *generate_model_new(const struct generate_options *options);
void generate_model_free(struct generate_model *model);
/* Rows first..first+count-1 of a stream into out[count * dim]. */
void generate_rows(const struct generate_model *model, enum generate_stream stream, uint64_t first,
                   size_t count, float *out);
/* The same with up to `threads` threads; the result does not depend on them. */
void generate_rows_parallel(const struct generate_model *model, enum generate_stream stream,
                            uint64_t first, size_t count, unsigned threads, float *out);

#endif
