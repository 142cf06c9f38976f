/* The embedded engine through its public functions: keys, elements, attributes, partitions, and the backlog. */
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
#include "base/rng.h"
#include "lib/run.h"
#include "lib/store_bed.h"
#include "lib/wait.h"

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
    assert_int_equal(vs_remove(store, 0, &six, sizeof(six)), VS_OK);
    assert_int_equal(vs_remove(store, 0, &six, sizeof(six)), VS_NOTFOUND);
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
    struct vs_added added = {.created = true, .bad_component = 77};
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
    struct vs_index_options o = {.dim = DIM, .partitions = 5, .seed = 4, .m = 4, .ef_construction = 16};
    struct vs_index *index = create(store, "k", &o);
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

/* ---- the backlog ---- */

static void test_backlog(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 8, .ef_construction = RUN_RACES ? 40 : 200});
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keyspace),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_modes_and_attributes),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_chosen_partitions),
        cmocka_unit_test(test_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
