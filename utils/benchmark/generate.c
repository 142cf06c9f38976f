/* See generate.h. A normal deviate is a sum of four 16-bit uniforms (Irwin-Hall): bell-shaped,
 * bounded, exact in float arithmetic of any machine. The maps are stored latent-major, so that a
 * row is built by adding scaled rows of `dim` floats, four lanes at a time; every component's sum
 * has one order whatever the lanes. */
#include "benchmark/generate.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "benchmark/parallel.h"

#define CLUSTERS_MAX 65536
#define INTRINSIC_MAX 4096
#define DIM_MAX 65536

typedef float lanes __attribute__((vector_size(16)));

struct generate_model {
    struct generate_options o;
    uint32_t padded; /* dim rounded up to whole lanes */
    float *centres;  /* [clusters][padded] */
    float *maps;     /* [clusters][intrinsic][padded] */
};

/* Four bell-shaped deviates of variance 1 from four words. */
static inline float deviate(uint64_t word)
{
    int sum = (int)(word & 0xFFFF) + (int)(word >> 16 & 0xFFFF) + (int)(word >> 32 & 0xFFFF) +
              (int)(word >> 48);

    return (float)(sum - 131070) * (1.7320508f / 65536.0f);
}

static void fill_deviates(struct rng *rng, float scale, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = deviate(rng_next(rng)) * scale;
}

void generate_defaults(uint32_t dim, bool unit, struct generate_options *out)
{
    *out = (struct generate_options){.dim = dim, .unit = unit, .seed = 1};
    out->intrinsic = unit ? 36 : 12;
    out->clusters = unit ? 20 : 256;
    out->spread = 1.0f;
    out->noise = 0.2f;
    if (out->intrinsic > dim)
        out->intrinsic = dim;
}

/* Each cluster from a generator of its own: the model can be built in parallel, too. */
static void model_cluster(void *arg, size_t first, size_t count)
{
    struct generate_model *m = arg;
    const struct generate_options *o = &m->o;

    for (size_t c = first; c < first + count; c++) {
        struct rng rng = {hash_mix(hash_mix(o->seed) ^ (c + 1))};
        float *map = m->maps + c * o->intrinsic * m->padded;

        fill_deviates(&rng, o->spread / sqrtf((float)o->dim), o->dim, m->centres + c * m->padded);
        for (uint32_t j = 0; j < o->intrinsic; j++)
            fill_deviates(&rng, 1.0f / sqrtf((float)o->dim * (float)o->intrinsic), o->dim,
                          map + (size_t)j * m->padded);
    }
}

struct generate_model *generate_model_new(const struct generate_options *options)
{
    struct generate_model *m;
    size_t floats;

    if (options->dim < 1 || options->dim > DIM_MAX || options->intrinsic < 1 ||
        options->intrinsic > INTRINSIC_MAX || options->clusters < 1 ||
        options->clusters > CLUSTERS_MAX)
        return NULL;
    m = mem_zalloc(sizeof *m);
    m->o = *options;
    m->padded = (options->dim + 3) & ~3u;
    floats = (size_t)options->clusters * m->padded;
    m->centres = mem_try_zalloc(floats * sizeof(float));
    m->maps = floats <= SIZE_MAX / sizeof(float) / options->intrinsic
                  ? mem_try_zalloc(floats * options->intrinsic * sizeof(float))
                  : NULL;
    if (!m->centres || !m->maps) {
        generate_model_free(m);
        return NULL;
    }
    parallel_for(options->clusters, 1, parallel_processors(), model_cluster, m);
    return m;
}

void generate_model_free(struct generate_model *model)
{
    if (!model)
        return;
    mem_free(model->centres);
    mem_free(model->maps);
    mem_free(model);
}

static void add_scaled(float *x, const float *row, float scale, uint32_t padded)
{
    lanes s = {scale, scale, scale, scale};

    for (uint32_t i = 0; i < padded; i += 4) {
        lanes a, b;

        memcpy(&a, x + i, sizeof a);
        memcpy(&b, row + i, sizeof b);
        a = a + b * s;
        memcpy(x + i, &a, sizeof a);
    }
}

static void scale_to_unit(float *x, uint32_t dim)
{
    double sum = 0;
    float scale;

    for (uint32_t i = 0; i < dim; i++)
        sum += (double)x[i] * (double)x[i];
    if (sum == 0)
        return;
    scale = (float)(1.0 / sqrt(sum));
    for (uint32_t i = 0; i < dim; i++)
        x[i] *= scale;
}

/* One row into x[padded]. */
static void generate_row(const struct generate_model *m, enum generate_stream stream, uint64_t row,
                         float *x)
{
    const struct generate_options *o = &m->o;
    struct rng rng = {hash_mix(hash_mix(o->seed + 0x5EEDull * (stream + 1)) + row)};
    double place = rng_unit(&rng);
    size_t cluster = (size_t)(place * place * place * place * o->clusters);
    float stretch = 1.0f + (float)rng_unit(&rng);
    const float *map = m->maps + cluster * o->intrinsic * m->padded;
    float noise = o->noise / sqrtf((float)o->dim);

    memcpy(x, m->centres + cluster * m->padded, m->padded * sizeof(float));
    for (uint32_t j = 0; j < o->intrinsic; j++)
        add_scaled(x, map + (size_t)j * m->padded, deviate(rng_next(&rng)) * stretch, m->padded);
    if (noise != 0)
        for (uint32_t i = 0; i < o->dim; i++)
            x[i] += deviate(rng_next(&rng)) * noise;
    if (o->unit)
        scale_to_unit(x, o->dim);
    if (o->longest > 1) {
        float length = 1 + (o->longest - 1) * (float)rng_unit(&rng);

        for (uint32_t i = 0; i < o->dim; i++)
            x[i] *= length;
    }
}

void generate_rows(const struct generate_model *model, enum generate_stream stream, uint64_t first,
                   size_t count, float *out)
{
    uint32_t dim = model->o.dim;
    float *x = mem_alloc(model->padded * sizeof(float));

    for (size_t i = 0; i < count; i++) {
        generate_row(model, stream, first + i, x);
        memcpy(out + i * dim, x, dim * sizeof(float));
    }
    mem_free(x);
}

struct rows_job {
    const struct generate_model *model;
    enum generate_stream stream;
    uint64_t first;
    float *out;
};

static void rows_block(void *arg, size_t first, size_t count)
{
    const struct rows_job *job = arg;

    generate_rows(job->model, job->stream, job->first + first, count,
                  job->out + first * job->model->o.dim);
}

void generate_rows_parallel(const struct generate_model *model, enum generate_stream stream,
                            uint64_t first, size_t count, unsigned threads, float *out)
{
    struct rows_job job = {.model = model, .stream = stream, .first = first, .out = out};

    parallel_for(count, 256, threads, rows_block, &job);
}
