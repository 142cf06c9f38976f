/* The embedded engine through its public functions: keys, elements, attributes, partitions, searches, memory, and every
 * allocation that may fail made to fail in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pages.h"
#include "base/rng.h"
#include "lib/wait.h"
#include "store/store_int.h"

#define DIM 6

static struct vs_store *open_store(unsigned threads)
{
    struct vs_store *store;
    assert_int_equal(vs_open(&(struct vs_options){.threads = threads, .databases = 3}, &store), VS_OK);
    return store;
}

static struct vs_index *create(struct vs_store *store, const char *key, const struct vs_index_options *o)
{
    struct vs_index *index;
    assert_int_equal(vs_create(store, 0, key, strlen(key), o, &index), VS_OK);
    return index;
}

static void numbered(struct rng *rng, float *out, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++)
        out[i] = (float)(rng_unit(rng) * 2 - 1);
}

static enum vs_status put(struct vs_index *index, const void *id, size_t len, const float *vector)
{
    enum vs_status status;
    while ((status = vs_add(index, &(struct vs_element){.id = id, .id_len = len, .vector = vector}, VS_ADD_ANY, NULL)) == VS_BACKLOG)
        vs_poll(index->store, 1000);
    return status;
}

static void fill(struct vs_index *index, uint32_t from, uint32_t to)
{
    uint32_t dim = vs_index_options(index)->dim;
    for (uint32_t i = from; i < to; i++) {
        struct rng rng = {i};
        float vector[64];
        numbered(&rng, vector, dim);
        assert_int_equal(put(index, &i, sizeof(i), vector), VS_OK);
    }
}

static void drain(struct vs_index *index, uint32_t from, uint32_t to, uint32_t step)
{
    for (uint32_t i = from; i < to; i += step)
        assert_int_equal(vs_delete(index, &i, sizeof(i)), VS_OK);
}

static uint32_t number_of(const struct vs_hit *hit)
{
    size_t len;
    uint32_t n;
    const void *id = vs_hit_id(hit, &len);
    assert_int_equal(len, sizeof(n));
    memcpy(&n, id, sizeof(n));
    return n;
}

static void settle(struct vs_store *store)
{
    assert_int_equal(vs_settle(store, 60000), VS_OK);
    const char *wrong = store_check(store);
    if (wrong)
        print_error("%s\n", wrong);
    assert_null(wrong);
}

/* ---- keys ---- */

static void count_key(void *arg, struct vs_index *index)
{
    size_t len;
    assert_non_null(vs_index_key(index, &len));
    ++*(size_t *)arg;
}

static void test_keyspace(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index_options o = {.dim = DIM};
    struct vs_index *index, *same = NULL;
    assert_int_equal(vs_databases(store), 3);
    assert_null(vs_random(store, 0));
    assert_null(vs_find(store, 0, "", 0));
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(vs_create(store, 0, &i, sizeof(i), &o, &index), VS_OK);
    uint32_t five = 5, six = 6, other = 12345;
    assert_int_equal(vs_create(store, 0, &five, sizeof(five), &o, &same), VS_EXISTS);
    assert_null(same);
    index = vs_find(store, 0, &five, sizeof(five));
    uint64_t uid = vs_index_uid(index);
    assert_int_equal(vs_rename(store, 0, &five, sizeof(five), &other, sizeof(other)), VS_OK);
    assert_int_equal(vs_rename(store, 0, &five, sizeof(five), &other, sizeof(other)), VS_NOTFOUND);
    assert_ptr_equal(vs_find(store, 0, &other, sizeof(other)), index);
    assert_int_equal(vs_rename(store, 0, &other, sizeof(other), &other, sizeof(other)), VS_OK);
    assert_int_equal(vs_rename(store, 0, &other, sizeof(other), &six, sizeof(six)), VS_OK);
    assert_int_equal(vs_index_uid(vs_find(store, 0, &six, sizeof(six))), uid);
    assert_int_equal(vs_count(store, 0), 999);
    size_t seen = 0;
    uint64_t cursor = 0;
    do {
        cursor = vs_scan(store, 0, cursor, count_key, &seen);
    } while (cursor);
    assert_int_equal(seen, 999);
    assert_non_null(vs_random(store, 0));
    assert_true(vs_remove(store, 0, &six, sizeof(six)));
    assert_false(vs_remove(store, 0, &six, sizeof(six)));
    vs_flush(store, 0);
    assert_int_equal(vs_count(store, 0), 0);
    assert_int_equal(vs_create(store, 0, &five, sizeof(five), &o, &index), VS_OK);
    assert_int_equal(vs_create(store, 2, &five, sizeof(five), &o, &index), VS_OK);
    settle(store);
    assert_int_equal(vs_count(store, 0), 1);
    vs_flush(store, 1);
    vs_close(store);
}

static void test_options(void **state)
{
    (void)state;
    struct vs_store *store = open_store(0);
    struct vs_index *index = NULL;
    const struct vs_index_options wrong[] = {
        {.dim = 0}, {.dim = VEC_DIM_MAX + 1}, {.dim = 3, .metric = (enum vec_metric)7}, {.dim = 3, .type = (enum vec_type)9},
        {.dim = 3, .originals = (enum vec_originals)8}, {.dim = 3, .m = 3}, {.dim = 3, .m = VS_M_MAX + 1},
        {.dim = 3, .ef_construction = VS_EF_MAX + 1}, {.dim = 3, .partitions = VS_PARTITIONS_MAX + 1},
        {.dim = 3, .vnodes = VS_VNODES_MAX + 1}, {.dim = 3, .structure = (enum vs_structure)5},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        enum vs_status status = vs_create(store, 0, "k", 1, &wrong[i], &index);
        assert_true(status == VS_INVALID || status == VS_LIMIT);
        assert_null(index);
    }
    index = create(store, "k", &(struct vs_index_options){.dim = 3});
    assert_int_equal(vs_index_options(index)->m, VS_M_DEFAULT);
    assert_int_equal(vs_index_options(index)->ef_construction, VS_EF_CONSTRUCTION_DEFAULT);
    assert_int_equal(vs_index_options(index)->partitions, 1);
    assert_true(vs_index_options(index)->seed != 0);
    vs_close(store);
}

/* ---- elements ---- */

static void test_ids(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .partitions = 3});
    static const size_t lengths[] = {0, 1, 2, 253, 254, 255, 256, 257, 4096, VS_ID_MAX - 1, VS_ID_MAX};
    size_t n = sizeof(lengths) / sizeof(lengths[0]), len;
    uint8_t *id = malloc(VS_ID_MAX + 1);
    float vector[DIM], out[DIM];
    for (size_t k = 0; k < n; k++) {
        struct rng rng = {k};
        for (size_t i = 0; i < lengths[k]; i++)
            id[i] = (uint8_t)rng_next(&rng);
        numbered(&rng, vector, DIM);
        assert_int_equal(put(index, id, lengths[k], vector), VS_OK);
        assert_int_equal(vs_get_vector(index, id, lengths[k], out), VS_OK);
        assert_memory_equal(vector, out, sizeof(out));
        struct vs_reader *reader = vs_reader_new(store);
        struct vs_hit hit;
        size_t found;
        assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 1}, &hit, 1, &found), VS_OK);
        assert_int_equal(found, 1);
        const void *name = vs_hit_id(&hit, &len);
        assert_int_equal(len, lengths[k]);
        assert_memory_equal(name, id, len);
        vs_reader_free(reader);
    }
    assert_int_equal(put(index, id, VS_ID_MAX + 1, vector), VS_LIMIT);
    assert_int_equal(vs_index_count(index), n);
    for (size_t k = 0; k < n; k++) {
        struct rng rng = {k};
        for (size_t i = 0; i < lengths[k]; i++)
            id[i] = (uint8_t)rng_next(&rng);
        assert_true(vs_contains(index, id, lengths[k]));
        assert_int_equal(vs_delete(index, id, lengths[k]), VS_OK);
        assert_int_equal(vs_delete(index, id, lengths[k]), VS_NOTFOUND);
    }
    assert_int_equal(vs_index_count(index), 0);
    free(id);
    settle(store);
    vs_close(store);
}

static void test_modes_and_attributes(void **state)
{
    (void)state;
    struct vs_store *store = open_store(0);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = 2});
    struct vs_element e = {.id = "a", .id_len = 1, .vector = (float[]){1, 2}};
    struct vs_added added = {true, 77};
    const void *data;
    size_t len;
    assert_int_equal(vs_add(index, &e, VS_ADD_XX, &added), VS_NOTFOUND);
    assert_true(added.created);
    e.attributes = "x";
    e.attributes_len = 1;
    assert_int_equal(vs_add(index, &e, VS_ADD_NX, &added), VS_OK);
    assert_true(added.created);
    added.created = true;
    assert_int_equal(vs_add(index, &e, VS_ADD_NX, &added), VS_EXISTS);
    assert_true(added.created);      /* untouched */
    /* an update carries attributes over */
    e.attributes = NULL;
    e.vector = (float[]){3, 4};
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_OK);
    assert_false(added.created);
    assert_int_equal(vs_get_attributes(index, "a", 1, &data, &len), VS_OK);
    assert_int_equal(len, 1);
    assert_memory_equal(data, "x", 1);
    assert_int_equal(vs_attributes_count(index), 1);
    /* an unchanged vector makes no new record, and nothing at all without attributes */
    struct vs_partition_info before, after;
    vs_partition_info(index, 0, &before);
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_OK);
    vs_partition_info(index, 0, &after);
    assert_int_equal(before.sequence, after.sequence);
    e.attributes = "yy";
    e.attributes_len = 2;
    uint32_t slot = 0, slot_after = 1;
    struct partition *p = index_partition(index, "a", 1);
    partition_find(p, partition_hash(p, "a", 1), "a", 1, &slot);
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_OK);
    partition_find(p, partition_hash(p, "a", 1), "a", 1, &slot_after);
    assert_int_equal(slot, slot_after);
    vs_partition_info(index, 0, &after);
    assert_int_equal(before.sequence + 1, after.sequence);
    assert_true(before.records_digest != after.records_digest);
    /* length 0 removes on an update, is the empty string on an insert */
    e.attributes_len = 0;
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_OK);
    assert_int_equal(vs_get_attributes(index, "a", 1, &data, &len), VS_OK);
    assert_null(data);
    e.id = "b";
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_OK);
    assert_int_equal(vs_get_attributes(index, "b", 1, &data, &len), VS_OK);
    assert_non_null(data);
    assert_int_equal(len, 0);
    assert_int_equal(vs_set_attributes(index, "b", 1, "z", 1), VS_OK);
    assert_int_equal(vs_set_attributes(index, "b", 1, NULL, 0), VS_OK);
    assert_int_equal(vs_set_attributes(index, "c", 1, "z", 1), VS_NOTFOUND);
    assert_int_equal(vs_set_attributes(index, "b", 1, "z", (size_t)VS_ATTRIBUTES_MAX + 1), VS_LIMIT);
    assert_int_equal(vs_get_attributes(index, "c", 1, &data, &len), VS_NOTFOUND);
    assert_int_equal(vs_attributes_count(index), 0);
    /* components that cannot be */
    e.vector = (float[]){1, NAN};
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_NONFINITE);
    assert_int_equal(added.bad_component, 1);
    e.vector = (float[]){INFINITY, 0};
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, &added), VS_NONFINITE);
    assert_int_equal(added.bad_component, 0);
    settle(store);
    vs_close(store);
}

/* ---- partitions ---- */

static void test_partitions(void **state)
{
    (void)state;
    struct vs_store *store = open_store(2);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .partitions = 5, .seed = 4});
    uint32_t n = 5000;
    uint8_t where[5000];
    size_t sum = 0, share[5] = {0};
    fill(index, 0, n);
    for (uint32_t i = 0; i < n; i++)
        share[where[i] = (uint8_t)vs_partition_of(index, &i, sizeof(i))]++;
    for (size_t i = 0; i < 5; i++) {
        struct vs_partition_info info;
        vs_partition_info(index, i, &info);
        assert_int_equal(info.elements, share[i]);
        assert_in_range(share[i], n / 5 * 7 / 10, n / 5 * 13 / 10);
        assert_int_equal(vs_partition_find(index, info.name, strlen(info.name)), (long)i);
        sum += info.elements;
    }
    assert_int_equal(sum, n);
    assert_int_equal(vs_partition_find(index, "x", 1), -1);
    assert_int_equal(vs_partition_drop(index, 0), VS_INVALID);
    assert_int_equal(vs_partition_drop(index, 5), VS_INVALID);
    assert_int_equal(vs_partition_drop(index, 2), VS_OK);
    assert_int_equal(vs_partition_count(index), 4);
    assert_int_equal(vs_index_count(index), n - share[2]);
    for (uint32_t i = 0; i < n; i++) {
        size_t now = vs_partition_of(index, &i, sizeof(i));
        assert_int_equal(vs_contains(index, &i, sizeof(i)), where[i] != 2);
        if (where[i] != 2)
            assert_int_equal(now, where[i] > 2 ? where[i] - 1 : where[i]);
    }
    fill(index, 0, n);               /* those dropped come to the others */
    assert_int_equal(vs_index_count(index), n);
    for (int i = 0; i < 3; i++)
        assert_int_equal(vs_partition_drop(index, 1), VS_OK);
    assert_int_equal(vs_partition_count(index), 1);
    fill(index, 0, 100);
    settle(store);
    vs_close(store);
}

/* A partition named twice is searched once; one that is not there is refused. */
static void test_chosen_partitions(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .partitions = 3});
    struct vs_reader *reader = vs_reader_new(store);
    struct vs_hit hits[400];
    float vector[DIM] = {1};
    size_t n = 99;
    fill(index, 0, 300);
    struct vs_partition_info info;
    vs_partition_info(index, 1, &info);
    struct vs_query q = {.vector = vector, .k = 400, .partitions = (uint32_t[]){1, 1, 1}, .npartitions = 3};
    assert_int_equal(vs_search_now(reader, index, &q, hits, 400, &n), VS_OK);
    assert_int_equal(n, info.elements);
    assert_int_equal(vs_reader_stats(reader)->partitions_asked, 1);
    q.partitions = (uint32_t[]){0, 3};
    q.npartitions = 2;
    assert_int_equal(vs_search_now(reader, index, &q, hits, 400, &n), VS_INVALID);
    vs_reader_free(reader);
    vs_close(store);
}

/* ---- searches ---- */

struct want {
    float distance;
    uint32_t id;
};

static int compare_want(const void *x, const void *y)
{
    const struct want *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Vectors of few values, so that many distances are equal; every twentieth is zero. */
static void coarse(uint32_t i, float *out)
{
    struct rng rng = {i * 31 + 7};
    for (int k = 0; k < DIM; k++)
        out[k] = i % 20 == 0 ? 0 : (float)((int)rng_below(&rng, 5) - 2);
}

static void exact_of(enum vec_metric metric, enum vec_type type, enum vec_originals originals, enum vs_structure structure)
{
    enum { N = 3000 };
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .metric = metric, .type = type,
                                                                           .originals = originals, .structure = structure,
                                                                           .m = 8, .ef_construction = 40});
    static float vectors[N][DIM];
    static struct want want[N];
    static struct vs_hit hits[N];
    for (uint32_t i = 0; i < N; i++) {
        coarse(i, vectors[i]);
        assert_int_equal(put(index, &i, sizeof(i), vectors[i]), VS_OK);
    }
    struct vs_reader *reader = vs_reader_new(store);
    for (uint32_t round = 0; round < 12; round++) {
        float query[DIM];
        size_t n;
        struct rng rng = {round};
        numbered(&rng, query, DIM);
        if (round % 4 == 0)
            coarse(round, query);
        if (round == 6) {
            vs_reader_idle(reader);  /* what it found would be waited for */
            settle(store);
        }
        for (uint32_t i = 0; i < N; i++) {
            const void *one = vectors[i];
            float norm = vec_norm(vectors[i], DIM);
            vec_original_distances(VEC_ORIG_F32, metric, DIM, query, vec_norm(query, DIM), &one, &norm, 1, &want[i].distance);
            want[i].id = i;
        }
        qsort(want, N, sizeof(want[0]), compare_want);
        struct vs_query q = {.vector = query, .k = 100, .offset = round * 3, .exact = true};
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &n), VS_OK);
        assert_int_equal(n, 100);
        assert_string_equal(vs_reader_stats(reader)->plan, "scan");
        for (size_t i = 0; i < n && originals == VEC_ORIG_F32 && type != VEC_F32; i++) {
            assert_true(hits[i].distance == want[i + q.offset].distance);
            assert_int_equal(number_of(&hits[i]), want[i + q.offset].id);
            assert_true(hits[i].score == vec_score(metric, hits[i].distance));
        }
        for (size_t i = 1; i < n; i++)
            assert_true(hits[i].distance >= hits[i - 1].distance);
        /* a radius at a hit's own score keeps that hit and all before it */
        double score = hits[50].score;
        struct vs_query within = {.vector = query, .exact = round % 2 == 0, .has_radius = true,
                                  .radius = metric == VEC_COSINE ? 1 - score : score};
        float last = hits[50].distance;
        size_t count;
        assert_int_equal(vs_search_now(reader, index, &within, hits, N, &count), VS_OK);
        for (size_t i = 0; i < count; i++)
            assert_true(hits[i].distance <= last * (last > 0 ? 1.00001f : 0.99999f) + 1e-6f);
        if (within.exact)
            assert_true(count >= 51);
        /* offset beyond all */
        q.k = 10;
        q.offset = N + 5;
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &count), VS_OK);
        assert_int_equal(count, 0);
        /* all of them, by the graph's way of asking */
        q = (struct vs_query){.vector = query, .k = N, .ef = N};
        assert_int_equal(vs_search_now(reader, index, &q, hits, N, &count), VS_OK);
        assert_int_equal(count, N);
    }
    vs_reader_free(reader);
    settle(store);
    vs_close(store);
}

static void test_exact(void **state)
{
    (void)state;
    for (int metric = 0; metric < VEC_METRICS; metric++) {
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_F32, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F16, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_NONE, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q8, VEC_ORIG_F32, VS_FLAT);
        exact_of((enum vec_metric)metric, VEC_F16, VEC_ORIG_DEFAULT, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q4, VEC_ORIG_F32, VS_HNSW);
        exact_of((enum vec_metric)metric, VEC_Q4, VEC_ORIG_NONE, VS_FLAT);
        exact_of((enum vec_metric)metric, VEC_BIN, VEC_ORIG_F32, VS_HNSW);
    }
}

static void test_originals_of_types(void **state)
{
    (void)state;
    static const struct {
        enum vec_type type;
        enum vec_originals asked, kept;
        size_t bytes;                /* of one, beside the row */
    } cases[] = {
        {VEC_Q8, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},    {VEC_Q8, VEC_ORIG_NONE, VEC_ORIG_NONE, 0},
        {VEC_F32, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 0},         {VEC_F32, VEC_ORIG_NONE, VEC_ORIG_F32, 0},
        {VEC_F16, VEC_ORIG_DEFAULT, VEC_ORIG_NONE, 0},        {VEC_F16, VEC_ORIG_F16, VEC_ORIG_F16, 0},
        {VEC_F16, VEC_ORIG_F32, VEC_ORIG_F32, 4 * DIM},       {VEC_BF16, VEC_ORIG_DEFAULT, VEC_ORIG_NONE, 0},
        {VEC_BF16, VEC_ORIG_F16, VEC_ORIG_F16, 2 * DIM},      {VEC_Q4, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},
        {VEC_BIN, VEC_ORIG_DEFAULT, VEC_ORIG_F32, 4 * DIM},   {VEC_BIN, VEC_ORIG_F16, VEC_ORIG_F16, 2 * DIM},
    };
    struct vs_store *store = open_store(0);
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char key[] = {'k', (char)('a' + i), 0};
        struct vs_index *index = create(store, key, &(struct vs_index_options){.dim = DIM, .metric = VEC_L2, .type = cases[i].type,
                                                                               .originals = cases[i].asked});
        float x[DIM] = {1, -2, 0.5f}, back[DIM];
        struct vs_memory memory;
        assert_int_equal(vs_index_options(index)->originals, cases[i].kept);
        assert_int_equal(put(index, &i, sizeof(i), x), VS_OK);
        vs_index_memory(index, &memory);
        assert_true((memory.originals > 0) == (cases[i].bytes > 0));
        assert_true(memory.originals % (cases[i].bytes ? cases[i].bytes : 1) == 0);
        assert_int_equal(vs_get_vector(index, &i, sizeof(i), back), VS_OK);
        for (int j = 0; j < DIM && cases[i].kept != VEC_ORIG_NONE; j++)
            assert_true(back[j] == x[j]);
        x[3] = 1e5f;
        assert_int_equal(put(index, &i, sizeof(i), x),
                         cases[i].type == VEC_F16 || cases[i].kept == VEC_ORIG_F16 ? VS_NONFINITE : VS_OK);
    }
    vs_close(store);
}

static void test_bad_queries(void **state)
{
    (void)state;
    struct vs_store *store = open_store(0);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .metric = VEC_L2});
    struct vs_reader *reader = vs_reader_new(store);
    struct vs_hit hits[10];
    float vector[DIM] = {0};
    size_t n = 42;
    const struct vs_query wrong[] = {
        {.vector = vector}, {.vector = vector, .k = VS_K_MAX + 1}, {.vector = vector, .k = 1, .ef = VS_EF_MAX + 1},
        {.vector = vector, .k = 1, .offset = VS_K_MAX + 1}, {.vector = vector, .k = 1, .has_radius = true, .radius = NAN},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct vs_search *search = NULL;
        assert_int_equal(vs_search_now(reader, index, &wrong[i], hits, 10, &n), VS_INVALID);
        assert_int_equal(vs_search_begin(index, &wrong[i], &search), VS_INVALID);
        assert_null(search);
        assert_int_equal(n, 42);
    }
    assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 5}, hits, 10, &n), VS_OK);
    assert_int_equal(n, 0);          /* an empty index */
    fill(index, 0, 10);
    assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .has_radius = true, .radius = -1}, hits, 10, &n),
                     VS_OK);
    assert_int_equal(n, 0);
    vs_reader_free(reader);
    vs_close(store);
}

static void set_flag(struct vs_search *search, void *arg)
{
    (void)search;
    atomic_store((_Atomic bool *)arg, true);
}

static bool get_flag(void *arg)
{
    return atomic_load((_Atomic bool *)arg);
}

static void test_deadline_and_cancel(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 6, .ef_construction = 30});
    struct vs_reader *reader = vs_reader_new(store);
    struct vs_hit hits[10];
    float vector[DIM] = {1};
    size_t n = 0;
    fill(index, 0, 6000);
    struct vs_query q = {.vector = vector, .k = 10, .exact = true, .deadline_ns = 1};
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_TIMEOUT);
    assert_true(vs_reader_stats(reader)->partial);
    vs_reader_idle(reader);
    settle(store);
    q.exact = false;
    q.ef = 70;                       /* more steps than lie between two looks at the clock */
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_TIMEOUT);
    assert_int_equal(n, 10);         /* the best so far */
    q.deadline_ns = clock_mono_ns() + 60000000000ull;
    assert_int_equal(vs_search_now(reader, index, &q, hits, 10, &n), VS_OK);
    assert_false(vs_reader_stats(reader)->partial);
    vs_reader_free(reader);
    struct vs_search *search;
    _Atomic bool done = false;
    q = (struct vs_query){.vector = vector, .k = 10, .exact = true};
    assert_int_equal(vs_search_begin(index, &q, &search), VS_OK);
    vs_search_cancel(search);
    vs_search_submit(search, set_flag, &done);
    assert_true(wait_until(get_flag, &done, 10000));
    assert_true(vs_search_stats(search)->partial);
    vs_search_free(search);
    vs_close(store);
}

/* ---- the backlog ---- */

static void test_backlog(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 8, .ef_construction = 200});
    vs_set_link_backlog_max(store, 600);
    bool refused = false;
    for (uint32_t i = 0; i < 20000 && !refused; i++) {
        struct rng rng = {i};
        float vector[DIM];
        numbered(&rng, vector, DIM);
        struct vs_added added = {.created = false};
        enum vs_status status = vs_add(index, &(struct vs_element){.id = &i, .id_len = sizeof(i), .vector = vector}, VS_ADD_ANY, &added);
        refused = status == VS_BACKLOG;
        if (!refused)
            assert_int_equal(status, VS_OK);
        else
            assert_false(added.created || vs_contains(index, &i, sizeof(i)));
    }
    assert_true(refused);
    uint32_t id = 1;
    assert_int_equal(vs_set_attributes(index, &id, sizeof(id), "a", 1), VS_OK); /* these never wait */
    assert_int_equal(vs_delete(index, &id, sizeof(id)), VS_OK);
    settle(store);
    assert_false(vs_backlogged(index, &id, sizeof(id)));
    fill(index, 0, 100);
    /* adding alone makes room: every change polls */
    int64_t until = wait_now_ms() + 60000;
    for (uint32_t i = 100000; i < 103000;) {
        struct rng rng = {i};
        float vector[DIM];
        numbered(&rng, vector, DIM);
        enum vs_status status = vs_add(index, &(struct vs_element){.id = &i, .id_len = sizeof(i), .vector = vector}, VS_ADD_ANY, NULL);
        if (status == VS_OK)
            i++;
        else
            vs_set_attributes(index, &(uint32_t){2}, sizeof(uint32_t), "b", 1);
        assert_true(wait_now_ms() < until);
    }
    settle(store);
    vs_close(store);
}

/* ---- memory ---- */

struct memory_at {
    size_t pages;
    struct mem_stats stats;
};

static struct memory_at start;

static bool back_at_start(void *arg)
{
    struct mem_stats now;
    (void)arg;
    mem_purge();                     /* what this thread's cache holds counts as allocated */
    mem_stats_read(&now);
    return pages_used() == start.pages && now.heap <= start.stats.heap + 65536;
}

static void test_memory(void **state)
{
    (void)state;
    bool quick = getenv("VECSTORE_TEST_QUICK") != NULL; /* one case of four */
    for (unsigned threads = quick ? 2 : 0; threads <= 2; threads += 2)
        for (int structure = VS_HNSW; structure <= (quick ? VS_HNSW : VS_FLAT); structure++) {
            start.pages = pages_used();
            mem_stats_read(&start.stats);
            struct vs_store *store = open_store(threads);
            struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = 16, .m = 6, .ef_construction = 30,
                                                                                   .structure = (enum vs_structure)structure});
            struct vs_memory empty, half, whole, now;
            vs_index_memory(index, &empty);
            fill(index, 0, 10000);
            settle(store);
            vs_index_memory(index, &half);
            fill(index, 10000, 20000);
            settle(store);
            vs_index_memory(index, &whole);
            assert_true(whole.total > half.total);
            assert_int_equal(whole.total, whole.codes + whole.originals + whole.links + whole.records + whole.ids + whole.id_map +
                             whole.attributes + whole.other);
            drain(index, 0, 20000, 2);
            settle(store);
            vs_index_memory(index, &now);
            if (now.total > half.total * 11 / 10)
                print_error("structure %d threads %u: half %zu now %zu\n", structure, threads, half.total, now.total);
            assert_true(now.total <= half.total * 11 / 10);
            fill(index, 0, 20000);
            settle(store);
            vs_index_memory(index, &now);
            assert_true(now.total <= whole.total * 21 / 20 + 65536);
            drain(index, 0, 20000, 1);
            settle(store);
            vs_index_memory(index, &now);
            if (now.total > empty.total + 600000)
                print_error("structure %d threads %u: empty %zu now %zu\n", structure, threads, empty.total, now.total);
            assert_true(now.total <= empty.total + 600000); /* up to two batches of dead nodes wait for more */
            fill(index, 0, 3000);
            vs_close(store);
            assert_true(wait_until(back_at_start, NULL, 5000));
        }
}

/* ---- every allocation fails in turn ---- */

static enum vs_status step_of(struct vs_index *index, struct vs_reader *reader, uint32_t i, bool *changed)
{
    struct rng rng = {i * 7919};
    float vector[DIM];
    struct vs_hit hits[20];
    size_t n;
    uint32_t id = (uint32_t)rng_below(&rng, 2500);
    numbered(&rng, vector, DIM);
    *changed = true;
    switch (rng_below(&rng, 8)) {
    case 0: return vs_delete(index, &id, sizeof(id));
    case 1: return vs_set_attributes(index, &id, sizeof(id), "some text", rng_below(&rng, 2) ? 9 : 0);
    case 2:
        *changed = false;
        return vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 10, .exact = rng_below(&rng, 2)}, hits, 20, &n);
    default:
        return vs_add(index, &(struct vs_element){.id = &id, .id_len = sizeof(id), .vector = vector,
                                                  .attributes = rng_below(&rng, 4) ? NULL : "attributes", .attributes_len = 10},
                      VS_ADD_ANY, NULL);
    }
}

/* In a stream of changes each allocation that may fail does so, one at a time: nothing is half done, and all goes on. */
static void test_faults(void **state)
{
    (void)state;
    bool quick = getenv("VECSTORE_TEST_QUICK") != NULL;
    start.pages = pages_used();
    mem_stats_read(&start.stats);
    size_t hit = 0;
    for (int structure = VS_HNSW; structure <= VS_FLAT; structure++) {
        struct vs_store *store = open_store(0);
        struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 4, .ef_construction = 16,
                                                                               .structure = (enum vs_structure)structure});
        struct vs_reader *reader = vs_reader_new(store);
        uint32_t steps = quick ? 6000 : 14000;
        for (uint32_t i = 0; i < steps; i++) {
            bool changed;
            size_t count = vs_index_count(index);
            /* the first, the second ... allocation of each kind of step, as the stream goes on */
            mem_fault_after(1 + (long)(hash_mix(i) % 6));
            enum vs_status status = step_of(index, reader, i, &changed);
            bool faulted = mem_fault_hit();
            hit += faulted;
            mem_fault_after(0);
            if (status == VS_NOMEM)
                assert_true(faulted);
            if (status != VS_OK)
                assert_int_equal(vs_index_count(index), count);
            if (status == VS_NOMEM && !changed) {
                status = step_of(index, reader, i, &changed);
                assert_int_equal(status, VS_OK);
            }
            assert_true(status == VS_OK || status == VS_NOMEM || status == VS_NOTFOUND || status == VS_TIMEOUT);
            if (i % 1000 == 999) {
                vs_reader_idle(reader);
                settle(store);
            }
            if (i == steps / 2)
                for (uint32_t k = 0; k < 2500; k++) {
                    mem_fault_after(1 + (long)(k % 9));
                    vs_delete(index, &k, sizeof(k));
                    mem_fault_after(0);
                }
        }
        vs_reader_free(reader);
        settle(store);
        vs_close(store);
    }
    print_message("%zu allocations failed\n", hit);
    assert_true(hit > 1000);
    /* creating an index */
    for (long n = 1; n < 30; n++) {
        struct vs_store *store = open_store(0);
        struct vs_index *index = NULL;
        mem_fault_after(n);
        enum vs_status status = vs_create(store, 0, "k", 1, &(struct vs_index_options){.dim = DIM, .partitions = 3}, &index);
        mem_fault_after(0);
        assert_true(status == VS_OK || (status == VS_NOMEM && !index));
        vs_close(store);
    }
    assert_true(wait_until(back_at_start, NULL, 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keyspace),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_modes_and_attributes),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_chosen_partitions),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_originals_of_types),
        cmocka_unit_test(test_bad_queries),
        cmocka_unit_test(test_deadline_and_cancel),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
