/* Exact neighbours, and recall against them. */
#ifndef BENCHMARK_TRUTH_H
#define BENCHMARK_TRUTH_H

#include <stddef.h>
#include <stdint.h>

#include "benchmark/vecfile.h"
#include "vec/metric.h"

/* For each query its `k` nearest base rows, nearest first (ties by row number), by comparing with
 * every one, in float arithmetic of this program's own: the engine under measurement has no part in
 * it. k is lowered to the number of rows. VS_NOMEM. */
enum vs_status truth_compute(const struct vecfile_floats *base, const struct vecfile_floats *query,
                             enum vec_metric metric, size_t k, unsigned threads,
                             struct vecfile_ints *out);
/* How many of `ids[0..n-1]` are among the first k of query row q's neighbours. */
size_t truth_hits(const struct vecfile_ints *truth, size_t q, size_t k, const int32_t *ids,
                  size_t n);

#endif
