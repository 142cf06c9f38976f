#include "vec/project.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "vec/kernels.h"

/* Components beyond LARGE are made smaller first, so that the rotation's sums do not overflow. */
#define LARGE  0x1p60f
#define SHRINK 0x1p-70f

static void turn_signs(struct rng *rng, float *x, uint32_t dim)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < dim; i++) {
        if (i % 64 == 0)
            bits = rng_next(rng);
        uint32_t word;
        memcpy(&word, &x[i], sizeof(word));
        word ^= (uint32_t)(bits >> (i % 64) & 1) << 31;
        memcpy(&x[i], &word, sizeof(word));
    }
}

void vec_project(uint64_t seed, const float *x, uint32_t dim, float *tmp, uint32_t out_dim, float *out)
{
    struct rng rng = {hash_mix(seed ^ 0x70726f6a656374ull)};
    float scale = sqrtf((float)dim / (float)out_dim), max = 0;
    if (tmp != x)
        memcpy(tmp, x, dim * sizeof(*tmp));
    for (uint32_t i = 0; i < dim; i++)
        max = fmaxf(max, fabsf(tmp[i]));
    if (max > LARGE) {
        for (uint32_t i = 0; i < dim; i++)
            tmp[i] *= SHRINK;
    }
    turn_signs(&rng, tmp, dim);
    vec_kernels()->rotate(tmp, dim);
    /* Each set of out_dim coordinates is as likely as any other; they stay in order. */
    for (uint32_t i = 0, n = 0; n < out_dim; i++)
        if (rng_below(&rng, dim - i) < out_dim - n)
            out[n++] = max > LARGE ? tmp[i] * scale / SHRINK : tmp[i] * scale;
}
