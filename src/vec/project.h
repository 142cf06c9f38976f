/* Random projection: fewer components that keep angles and distances about as they were.
 *
 * The signs of some components, drawn from the seed, are turned round, the vector is rotated (kernels.h), and as many
 * coordinates as are wanted, drawn from the seed as well, are kept and scaled so that lengths stay the same on average: a subsampled
 * randomized Hadamard transform (Ailon, Chazelle, "The fast Johnson-Lindenstrauss transform", SIAM J. Comput. 2009). It takes
 * n log n and no memory, where a matrix of random numbers would take n times m of both.
 *
 * The result is of the seed and the vector alone, equal to the bit on all machines. Pure; any thread. */
#ifndef VEC_PROJECT_H
#define VEC_PROJECT_H

#include <stdint.h>

/* `dim` finite floats become `out_dim` <= dim. `tmp`: dim floats; `out` may be `tmp`, and so may be `x`. */
void vec_project(uint64_t seed, const float *x, uint32_t dim, float *tmp, uint32_t out_dim, float *out);

#endif
