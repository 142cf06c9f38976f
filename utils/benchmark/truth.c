/* Queries are dealt to threads in blocks of eight: a base row is read once for the eight, which
 * keeps the comparison bound by arithmetic and not by memory. The inner loop is compiled for
 * AVX-512, AVX2 and whatever the compiler's default is. */
#include "benchmark/truth.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "benchmark/parallel.h"

#define BLOCK 8
#define LANES 16

typedef float lanes __attribute__((vector_size(LANES * 4)));

struct neighbour {
    float distance;
    int32_t row;
};

struct truth_job {
    const struct vecfile_floats *base, *query;
    enum vec_metric metric;
    size_t k;
    const float *base_inverse; /* COSINE: 1 / length of each base row */
    int32_t *out;
    atomic_bool failed;
};

/* The inner product; each of 16 lanes sums every sixteenth product. */
static inline __attribute__((always_inline)) float dot_body(const float *a, const float *b,
                                                            size_t dim)
{
    lanes sum = {0};
    float total = 0;
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        lanes x, y;

        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        sum += x * y;
    }
    for (size_t j = 0; j < LANES; j++)
        total += sum[j];
    for (; i < dim; i++)
        total += a[i] * b[i];
    return total;
}

static inline __attribute__((always_inline)) float l2_body(const float *a, const float *b,
                                                           size_t dim)
{
    lanes sum = {0};
    float total = 0;
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        lanes x, y;

        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        x -= y;
        sum += x * x;
    }
    for (size_t j = 0; j < LANES; j++)
        total += sum[j];
    for (; i < dim; i++)
        total += (a[i] - b[i]) * (a[i] - b[i]);
    return total;
}

typedef float (*measure)(const float *a, const float *b, size_t dim);

static float dot_default(const float *a, const float *b, size_t dim)
{
    return dot_body(a, b, dim);
}
static float l2_default(const float *a, const float *b, size_t dim)
{
    return l2_body(a, b, dim);
}
#ifdef __x86_64__
static __attribute__((target("avx2"))) float dot_avx2(const float *a, const float *b, size_t dim)
{
    return dot_body(a, b, dim);
}
static __attribute__((target("avx2"))) float l2_avx2(const float *a, const float *b, size_t dim)
{
    return l2_body(a, b, dim);
}
static __attribute__((target("avx512f"))) float dot_avx512(const float *a, const float *b,
                                                           size_t dim)
{
    return dot_body(a, b, dim);
}
static __attribute__((target("avx512f"))) float l2_avx512(const float *a, const float *b,
                                                          size_t dim)
{
    return l2_body(a, b, dim);
}
#endif

static measure measure_for(enum vec_metric metric)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return metric == VEC_L2 ? l2_avx512 : dot_avx512;
    if (__builtin_cpu_supports("avx2"))
        return metric == VEC_L2 ? l2_avx2 : dot_avx2;
#endif
    return metric == VEC_L2 ? l2_default : dot_default;
}

static int farther(struct neighbour a, struct neighbour b)
{
    return a.distance > b.distance || (a.distance == b.distance && a.row > b.row);
}

/* A max-heap of the k best so far. */
static void sift_down(struct neighbour *heap, size_t n, size_t i)
{
    struct neighbour x = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && farther(heap[child + 1], heap[child]))
            child++;
        if (!farther(heap[child], x))
            break;
        heap[i] = heap[child];
    }
    heap[i] = x;
}

static void offer(struct neighbour *heap, size_t *n, size_t k, struct neighbour x)
{
    if (*n < k) {
        heap[(*n)++] = x;
        if (*n == k)
            for (size_t i = k / 2 + 1; i-- > 0;)
                sift_down(heap, k, i);
    } else if (farther(heap[0], x)) {
        heap[0] = x;
        sift_down(heap, k, 0);
    }
}

/* Heap sort in place: nearest first. */
static void write_sorted(struct neighbour *heap, size_t n, int32_t *out)
{
    for (size_t left = n; left > 0; left--) {
        out[left - 1] = heap[0].row;
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
    }
}

static void truth_block(void *arg, size_t first, size_t count)
{
    struct truth_job *job = arg;
    size_t dim = job->base->cols, k = job->k, filled[BLOCK] = {0};
    measure distance = measure_for(job->metric);
    struct neighbour *heaps = mem_try_alloc(BLOCK * k * sizeof *heaps);

    if (!heaps) {
        atomic_store(&job->failed, true);
        return;
    }
    for (size_t row = 0; row < job->base->rows; row++) {
        const float *x = job->base->data + row * dim;

        for (size_t q = 0; q < count; q++) {
            float d = distance(job->query->data + (first + q) * dim, x, dim);

            if (job->metric == VEC_COSINE)
                d *= job->base_inverse[row];
            if (job->metric != VEC_L2)
                d = -d;
            offer(heaps + q * k, &filled[q], k, (struct neighbour){d, (int32_t)row});
        }
    }
    for (size_t q = 0; q < count; q++)
        write_sorted(heaps + q * k, k, job->out + (first + q) * k);
    mem_free(heaps);
}

static float *inverse_lengths(const struct vecfile_floats *base)
{
    measure dot = measure_for(VEC_IP);
    float *out = mem_try_alloc(base->rows * sizeof *out);

    for (size_t i = 0; out && i < base->rows; i++) {
        float length =
            sqrtf(dot(base->data + i * base->cols, base->data + i * base->cols, base->cols));

        out[i] = length > 0 ? 1 / length : 0;
    }
    return out;
}

enum vs_status truth_compute(const struct vecfile_floats *base, const struct vecfile_floats *query,
                             enum vec_metric metric, size_t k, unsigned threads,
                             struct vecfile_ints *out)
{
    struct truth_job job = {.base = base, .query = query, .metric = metric};
    float *inverse = NULL;
    enum vs_status status = VS_NOMEM;

    job.k = k < base->rows ? k : base->rows;
    job.out = mem_try_alloc(query->rows * job.k * sizeof *job.out);
    if (metric == VEC_COSINE)
        inverse = inverse_lengths(base);
    job.base_inverse = inverse;
    if (job.out && (inverse || metric != VEC_COSINE)) {
        parallel_for(query->rows, BLOCK, threads, truth_block, &job);
        status = atomic_load(&job.failed) ? VS_NOMEM : VS_OK;
    }
    mem_free(inverse);
    if (status != VS_OK) {
        mem_free(job.out);
        return status;
    }
    *out = (struct vecfile_ints){.rows = query->rows, .cols = job.k, .data = job.out};
    return VS_OK;
}

size_t truth_hits(const struct vecfile_ints *truth, size_t q, size_t k, const int32_t *ids,
                  size_t n)
{
    const int32_t *row = truth->data + q * truth->cols;
    size_t hits = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k && j < truth->cols; j++)
            if (row[j] == ids[i]) {
                hits++;
                break;
            }
    return hits;
}
