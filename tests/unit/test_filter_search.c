/* Searches with a filter: what a search must return is known from a scan of all elements by the naive evaluator. At every
 * selectivity as many as there are, up to K; in graphs, flat partitions, the tail that is not linked, several partitions;
 * under changes of attributes; with bounded effort; within a radius. VECSTORE_SEED=n repeats a run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "lib/naive_filter.h"
#include "lib/run.h"
#include "vecstore.h"

#define DIM 16

struct bed {
    struct vs_store *store;
    struct vs_index *index;
    struct vs_reader *reader;
    struct rng rng;
    size_t n;
    float (*vector)[DIM];
    char **json;            /* NULL: none */
    const char *shown;      /* the expression that `matches` is of; NULL: attributes have changed since */
    bool *matches, shown_rich;
};

static void random_vector(struct rng *rng, float *out)
{
    for (int i = 0; i < DIM; i++)
        out[i] = (float)rng_unit(rng) - 0.5f;
}

/* One in twenty has none; n counts up, m is random of a thousand. */
static char *attributes(struct bed *b, size_t i)
{
    char text[96];
    if (!rng_below(&b->rng, 20))
        return NULL;
    snprintf(text, sizeof text, "{\"n\":%zu,\"m\":%u,\"half\":%s,\"tag\":\"t%u\"}", i, (unsigned)rng_below(&b->rng, 1000),
             rng_below(&b->rng, 2) ? "true" : "false", (unsigned)rng_below(&b->rng, 5));
    return strdup(text);
}

static void new_attributes(struct bed *b, size_t i)
{
    free(b->json[i]);
    b->json[i] = attributes(b, i);
    b->shown = NULL;
}

/* Asks the naive evaluator, which is slow, once about an expression. */
static const bool *matches(struct bed *b, const char *expression, bool is_rich)
{
    if (b->shown == expression && b->shown_rich == is_rich)
        return b->matches;
    for (size_t i = 0; i < b->n; i++)
        b->matches[i] = naive_filter(expression, b->json[i], is_rich);
    b->shown = expression;
    b->shown_rich = is_rich;
    return b->matches;
}

static void put(struct bed *b, size_t i)
{
    char id[16];
    struct vs_element e = {.id = id, .id_len = (size_t)snprintf(id, sizeof id, "e%zu", i), .vector = b->vector[i],
                           .attributes = b->json[i] ? b->json[i] : "", .attributes_len = b->json[i] ? strlen(b->json[i]) : 0};
    enum vs_status status;
    if (!b->json[i] && !vs_contains(b->index, id, e.id_len))
        e.attributes = NULL;
    while ((status = vs_add(b->index, &e, VS_ADD_ANY, NULL)) == VS_BACKLOG)
        vs_poll(b->store, 1000);
    assert_int_equal(status, VS_OK);
}

/* Fewer under sanitizers, but enough for a graph. */
static size_t so_many(size_t n)
{
    return run_quick() ? n / 4 : n;
}

static void make(struct bed *b, size_t n, const struct vs_index_options *options, unsigned threads)
{
    struct vs_options opt = {.threads = threads};
    struct vs_index_options o = *options;
    *b = (struct bed){.n = n};
    b->rng.state = run_seed();
    o.dim = DIM;
    o.seed = rng_next(&b->rng) | 1;
    assert_int_equal(vs_open(&opt, &b->store), VS_OK);
    assert_int_equal(vs_create(b->store, 0, "k", 1, &o, &b->index), VS_OK);
    b->vector = calloc(n, sizeof *b->vector);
    b->json = calloc(n, sizeof *b->json);
    b->matches = calloc(n, sizeof *b->matches);
    b->reader = vs_reader_new(b->store);
    for (size_t i = 0; i < n; i++) {
        random_vector(&b->rng, b->vector[i]);
        new_attributes(b, i);
        put(b, i);
    }
}

static void unmake(struct bed *b)
{
    vs_reader_free(b->reader);
    vs_close(b->store);
    for (size_t i = 0; i < b->n; i++)
        free(b->json[i]);
    free(b->json);
    free(b->matches);
    free(b->vector);
}

/* What must come: distances of all that match, the nearest first. */
struct truth {
    size_t n;
    struct near {
        double distance;
        size_t at;
    } *near;
};

static int compare(const void *x, const void *y)
{
    const struct near *a = x, *b = y;
    return a->distance < b->distance ? -1 : a->distance > b->distance;
}

static double cosine_distance(const float *a, const float *b)
{
    double dot = 0, aa = 0, bb = 0;
    for (int i = 0; i < DIM; i++)
        dot += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
    return 1 - dot / sqrt(aa * bb);
}

static struct truth truth(const struct bed *b, const bool *matching, const float *q)
{
    struct truth t = {.near = calloc(b->n + 1, sizeof *t.near)};
    for (size_t i = 0; i < b->n; i++)
        if (matching[i])
            t.near[t.n++] = (struct near){cosine_distance(q, b->vector[i]), i};
    qsort(t.near, t.n, sizeof *t.near, compare);
    return t;
}

static struct vs_filter *filter(const char *text, bool is_rich)
{
    struct vs_filter *f;
    struct vs_filter_error error;
    assert_int_equal(vs_filter_new(text, strlen(text), is_rich ? VS_FILTER_RICH : VS_FILTER_VSIM, &f, &error), VS_OK);
    return f;
}

static size_t number_of(const struct vs_hit *hit)
{
    size_t len;
    const char *id = vs_hit_id(hit, &len);
    char text[16] = "";
    memcpy(text, id + 1, len - 1);
    return strtoul(text, NULL, 10);
}

/* Searches; every hit matches, their number is right, none comes twice. The share of the true ones among them. */
static double search(struct bed *b, const char *expression, bool is_rich, struct vs_query q, struct vs_search_stats *stats)
{
    static struct vs_hit hits[4096];
    float v[DIM];
    random_vector(&b->rng, v);
    q.vector = v;
    q.filter = filter(expression, is_rich);
    const bool *matching = matches(b, expression, is_rich);
    struct truth t = truth(b, matching, v);
    size_t want = t.n, n, right = 0;
    if (q.has_radius)
        for (want = 0; want < t.n && t.near[want].distance <= 2 * q.radius; want++)
            ;
    want = q.k && want > q.k ? q.k : want;
    assert_int_equal(vs_search_now(b->reader, b->index, &q, hits, 4096, &n), VS_OK);
    vs_filter_unref(q.filter);
    *stats = *vs_reader_stats(b->reader);
    if (q.filter_effort ? n > want : q.has_radius ? n + 1 + want / 20 < want || n > want + 1 : n != want)
        fail_msg("%s: %zu results, not %zu (%s)", expression, n, want, stats->plan);
    for (size_t i = 0; i < n; i++) {
        size_t at = number_of(&hits[i]);
        assert_true(at < b->n && matching[at]);
        for (size_t k = 0; k < i; k++)
            assert_false(hits[k].slot == hits[i].slot && hits[k].part == hits[i].part);
        assert_true(!i || hits[i - 1].distance <= hits[i].distance);
        for (size_t k = 0; k < want; k++)
            right += t.near[k].at == at;
    }
    vs_reader_idle(b->reader);
    free(t.near);
    return want ? (double)right / (double)want : 1;
}

static const char *const expressions[] = {
    ".m < 1000", ".half == true", ".half and .tag == 't3'", ".m < 50", ".m < 10", ".m < 2", ".n == 77", ".m > 5000",
    "not exists(.n)", ".tag in ['t1','t2'] or .n < 10", "1",
};

static void all_selectivities(struct bed *b, double least)
{
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        double recall = 0;
        struct vs_search_stats stats;
        for (int k = 0; k < 5; k++)
            recall += search(b, expressions[i], true, (struct vs_query){.k = 10, .ef = 100}, &stats) / 5;
        print_message("  %-32s recall %.2f, %s, examined %llu, distances %llu\n", expressions[i], recall, stats.plan,
                      (unsigned long long)stats.examined, (unsigned long long)stats.distances);
        assert_true(recall >= least);
        assert_true(search(b, expressions[i], true, (struct vs_query){.k = 25, .exact = true}, &stats) == 1);
        search(b, expressions[i], true, (struct vs_query){.k = 500}, &stats);
        search(b, expressions[i], true, (struct vs_query){.has_radius = true, .radius = 0.2}, &stats);
    }
    struct vs_search_stats stats;
    search(b, ".m < 100", false, (struct vs_query){.k = 10}, &stats);
    search(b, "not .m", false, (struct vs_query){.k = 10}, &stats);
    search(b, "1", false, (struct vs_query){.k = 4000}, &stats);
}

static void test_graph(void **state)
{
    (void)state;
    struct bed b;
    make(&b, so_many(20000), &(struct vs_index_options){0}, 2);
    all_selectivities(&b, 0.8); /* with a tail that is being linked */
    assert_int_equal(vs_settle(b.store, 60000), VS_OK);
    all_selectivities(&b, 0.8);
    struct vs_search_stats stats;
    search(&b, ".half == true", true, (struct vs_query){.k = 10}, &stats);
    assert_true(b.n < 20000 || strstr(stats.plan, "filter+graph"));
    search(&b, ".n == 77", true, (struct vs_query){.k = 10}, &stats);
    assert_string_equal(stats.plan, "filter+scan");
    /* attributes change: the next search knows */
    for (size_t i = 0; i < b.n; i += 7) {
        char id[16];
        size_t len = (size_t)snprintf(id, sizeof id, "e%zu", i);
        new_attributes(&b, i);
        assert_int_equal(vs_set_attributes(b.index, id, len, b.json[i], b.json[i] ? strlen(b.json[i]) : 0), VS_OK);
    }
    for (size_t i = 3; i < b.n; i += 11) {
        new_attributes(&b, i);
        random_vector(&b.rng, b.vector[i]);
        put(&b, i);
    }
    all_selectivities(&b, 0.8);
    unmake(&b);
}

static void test_effort(void **state)
{
    (void)state;
    struct bed b;
    make(&b, so_many(10000), &(struct vs_index_options){0}, 2);
    assert_int_equal(vs_settle(b.store, 60000), VS_OK);
    struct vs_search_stats stats;
    static const size_t efforts[] = {1, 10, 300, 2000};
    for (size_t i = 0; i < 4; i++) {
        search(&b, ".m < 10", true, (struct vs_query){.k = 10, .filter_effort = efforts[i]}, &stats);
        assert_true(stats.examined <= efforts[i] + 512); /* what is not linked is always looked at */
    }
    /* a radius around everything: every beam is full of what matches, so that it is the effort that ends the search */
    search(&b, ".m < 100", true, (struct vs_query){.has_radius = true, .radius = 1, .filter_effort = so_many(3000)}, &stats);
    assert_true(stats.examined >= so_many(3000));
    /* more than there are: no bound */
    assert_true(search(&b, ".n == 77", true, (struct vs_query){.k = 10, .filter_effort = 1000000}, &stats) == 1);
    unmake(&b);
}

static void test_flat_and_small(void **state)
{
    (void)state;
    struct bed b;
    make(&b, so_many(3000), &(struct vs_index_options){.structure = VS_FLAT, .type = VEC_F32}, 0);
    all_selectivities(&b, 1);
    unmake(&b);
    make(&b, 100, &(struct vs_index_options){0}, 0);
    all_selectivities(&b, 0.9);
    unmake(&b);
    make(&b, 1, &(struct vs_index_options){0}, 0);
    all_selectivities(&b, 1);
    unmake(&b);
}

static void test_partitions(void **state)
{
    (void)state;
    struct bed b;
    make(&b, so_many(12000), &(struct vs_index_options){.partitions = 3}, 2);
    all_selectivities(&b, 0.8);
    assert_int_equal(vs_settle(b.store, 60000), VS_OK);
    all_selectivities(&b, 0.8);
    unmake(&b);
}

/* ---- on the workers, beside a writer ---- */

struct waiting {
    _Atomic int left;
    _Atomic size_t bad;
};

static void done(struct vs_search *s, void *arg)
{
    struct waiting *w = arg;
    size_t n;
    vs_search_hits(s, &n);
    if (n > 10 || vs_search_stats(s)->partial)
        atomic_fetch_add(&w->bad, 1);
    vs_search_free(s);
    atomic_fetch_sub(&w->left, 1);
}

static void test_beside_writer(void **state)
{
    (void)state;
    struct bed b;
    make(&b, RUN_RACES ? 2000 : 4000, &(struct vs_index_options){0}, 2);
    struct vs_filter *f = filter(".m < 300 and .tag != 't1'", true);
    struct waiting w = {0};
    for (int round = 0; round < (int)so_many(300); round++) {
        float v[DIM];
        random_vector(&b.rng, v);
        struct vs_search *s;
        struct vs_query q = {.vector = v, .k = 10, .filter = f};
        assert_int_equal(vs_search_begin(b.index, &q, &s), VS_OK);
        atomic_fetch_add(&w.left, 1);
        vs_search_submit(s, done, &w);
        for (int k = 0; k < 20; k++) {
            size_t i = rng_below(&b.rng, b.n);
            new_attributes(&b, i);
            if (rng_below(&b.rng, 3))
                random_vector(&b.rng, b.vector[i]);
            put(&b, i);
        }
        vs_poll(b.store, 200);
    }
    uint64_t deadline = clock_mono_ns() + 60000000000ull;
    while (atomic_load(&w.left)) {
        vs_poll(b.store, 200);
        assert_true(clock_mono_ns() < deadline);
    }
    vs_filter_unref(f);
    assert_int_equal(atomic_load(&w.bad), 0);
    all_selectivities(&b, 0.7);
    unmake(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph), cmocka_unit_test(test_effort), cmocka_unit_test(test_flat_and_small),
        cmocka_unit_test(test_partitions), cmocka_unit_test(test_beside_writer),
    };
    const struct CMUnitTest threaded[] = {cmocka_unit_test(test_beside_writer)};
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
