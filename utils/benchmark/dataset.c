/* See dataset.h. Where no queries are given, the last rows of the base are held back for them:
 * queries that are base rows would find themselves. A truth file speaks of the whole base, so it is
 * set aside when --rows cuts the base short. */
#include "benchmark/dataset.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "benchmark/generate.h"
#include "benchmark/truth.h"

#define EXPORT_NEIGHBOURS 100
#define IP_LONGEST 10 /* inner product: made vectors' lengths are spread tenfold */

static bool complain(const char *message)
{
    fprintf(stderr, "vecstore-benchmark: %s\n", message);
    return false;
}

/* Three quarters of the machine's memory: what a file may decode to. */
static size_t memory_limit(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    return pages > 0 && page > 0 ? (size_t)pages / 4 * 3 * (size_t)page : 0;
}

static bool generate_floats(const struct generate_model *model, enum generate_stream stream,
                            size_t rows, size_t dim, unsigned threads, struct vecfile_floats *out)
{
    size_t cells, bytes;

    if (!mem_mul(rows, dim, &cells) || !mem_mul(cells, sizeof(float), &bytes) ||
        !(out->data = mem_try_alloc(bytes)))
        return complain("no memory for so many vectors");
    generate_rows_parallel(model, stream, 0, rows, threads, out->data);
    out->rows = rows;
    out->cols = dim;
    return true;
}

static bool make(const struct options *o, struct dataset *d)
{
    struct generate_options g;
    struct generate_model *model;
    bool good;

    generate_defaults(o->dim, o->metric != VEC_L2, &g);
    g.seed = o->seed;
    if (o->metric == VEC_IP)
        g.longest = IP_LONGEST;
    if (o->intrinsic)
        g.intrinsic = o->intrinsic;
    if (o->clusters)
        g.clusters = o->clusters;
    model = generate_model_new(&g);
    if (!model)
        return complain(
            "no memory for the maps of the clusters (fewer --clusters, or less --intrinsic)");
    good = generate_floats(model, GENERATE_BASE, o->generate, o->dim, o->threads, &d->base) &&
           generate_floats(model, GENERATE_QUERY, o->queries, o->dim, o->threads, &d->query);
    generate_model_free(model);
    snprintf(d->name, sizeof d->name,
             "generated-%u (%u clusters, intrinsic dimension %u, seed %llu)", o->dim, g.clusters,
             g.intrinsic, (unsigned long long)o->seed);
    return good;
}

/* The last rows become the queries. */
static bool hold_back(const struct options *o, struct dataset *d)
{
    size_t n = o->queries, cols = d->base.cols;

    if (d->base.rows < 2)
        return complain("the base has one row, and no --query is given");
    if (n > d->base.rows / 2)
        n = d->base.rows / 2;
    d->query.data = mem_try_alloc(n * cols * sizeof(float));
    if (!d->query.data)
        return complain("no memory for the queries");
    d->base.rows -= n;
    d->query.rows = n;
    d->query.cols = cols;
    memcpy(d->query.data, d->base.data + d->base.rows * cols, n * cols * sizeof(float));
    return true;
}

static bool read_files(const struct options *o, struct dataset *d)
{
    char message[VECFILE_MESSAGE_MAX];
    struct vecfile_limits limits = {.max_rows = o->rows, .max_bytes = memory_limit()};
    const char *slash = strrchr(o->base, '/');

    snprintf(d->name, sizeof d->name, "%s", slash ? slash + 1 : o->base);
    if (vecfile_read_floats(o->base, &limits, &d->base, message) != VS_OK)
        return complain(message);
    limits.max_rows = o->queries;
    if (!o->query)
        return hold_back(o, d);
    if (vecfile_read_floats(o->query, &limits, &d->query, message) != VS_OK)
        return complain(message);
    if (d->query.cols != d->base.cols) {
        fprintf(stderr, "vecstore-benchmark: %s has %zu dimensions and %s has %zu\n", o->base,
                d->base.cols, o->query, d->query.cols);
        return false;
    }
    return true;
}

static bool read_truth(const struct options *o, struct dataset *d)
{
    char message[VECFILE_MESSAGE_MAX];
    struct vecfile_limits limits = {.max_rows = d->query.rows, .max_bytes = memory_limit()};

    if (vecfile_read_ints(o->truth, &limits, &d->truth, message) != VS_OK)
        return complain(message);
    if (d->truth.rows < d->query.rows || d->truth.cols < o->k) {
        fprintf(stderr,
                "vecstore-benchmark: %s has %zu rows of %zu neighbours, needed are %zu of %u\n",
                o->truth, d->truth.rows, d->truth.cols, d->query.rows, o->k);
        return false;
    }
    for (size_t i = 0; i < d->truth.rows * d->truth.cols; i++)
        if (d->truth.data[i] < 0 || (size_t)d->truth.data[i] >= d->base.rows) {
            fprintf(stderr,
                    "vecstore-benchmark: %s: row %zu names neighbour %d, the base has %zu rows\n",
                    o->truth, i / d->truth.cols, d->truth.data[i], d->base.rows);
            return false;
        }
    return true;
}

bool dataset_prepare(const struct options *o, struct dataset *d)
{
    size_t k = o->export_prefix && o->k < EXPORT_NEIGHBOURS ? EXPORT_NEIGHBOURS : o->k;
    bool talk = !o->quiet && isatty(STDERR_FILENO);

    *d = (struct dataset){0};
    if (talk)
        fprintf(stderr, "%s the vectors ...\n", o->base ? "Reading" : "Making");
    if (!(o->base ? read_files(o, d) : make(o, d)))
        return false;
    if (d->base.rows > INT32_MAX)
        return complain("more than 2147483647 vectors");
    if (o->load_only)
        return true;
    if (o->truth && o->query && !o->rows)
        return read_truth(o, d);
    if (talk)
        fprintf(stderr, "Computing the exact neighbours of %zu queries ...\n", d->query.rows);
    if (truth_compute(&d->base, &d->query, o->metric, k, o->threads, &d->truth) != VS_OK)
        return complain("no memory for the exact neighbours");
    return true;
}

bool dataset_export(const struct options *o, const struct dataset *d)
{
    char path[4096], message[VECFILE_MESSAGE_MAX];

    snprintf(path, sizeof path, "%s.base.fvecs", o->export_prefix);
    if (vecfile_write_fvecs(path, d->base.data, d->base.rows, d->base.cols, message) != VS_OK)
        return complain(message);
    snprintf(path, sizeof path, "%s.query.fvecs", o->export_prefix);
    if (vecfile_write_fvecs(path, d->query.data, d->query.rows, d->query.cols, message) != VS_OK)
        return complain(message);
    snprintf(path, sizeof path, "%s.truth.ivecs", o->export_prefix);
    if (vecfile_write_ivecs(path, d->truth.data, d->truth.rows, d->truth.cols, message) != VS_OK)
        return complain(message);
    return true;
}

void dataset_release(struct dataset *d)
{
    vecfile_floats_release(&d->base);
    vecfile_floats_release(&d->query);
    vecfile_ints_release(&d->truth);
}
