/* An index as bytes and back: what comes back is the same, in any slices; what is altered is refused, and nothing stays
 * of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "lib/driver.h"
#include "lib/stores.h"

static struct buf dump(struct vs_store *store, struct vs_index *index, uint64_t until_ns)
{
    struct vs_dump d = {.uid = vs_index_uid(index)};
    struct buf out = {0};
    enum vs_status status;
    do
        status = vs_dump_some(store, &d, &out, until_ns);
    while (status == VS_TIMEOUT);
    assert_int_equal(status, VS_OK);
    return out;
}

static enum vs_status load(struct vs_store *store, const char *key, const void *data, size_t len, uint64_t until_ns)
{
    struct vs_loading *l;
    assert_int_equal(vs_loading_new(store, 0, key, strlen(key), &l), VS_OK);
    enum vs_status status;
    do
        status = vs_loading_some(l, data, len, until_ns);
    while (status == VS_TIMEOUT);
    if (status == VS_OK)
        status = vs_loading_attach(l, data, len, 0, NULL);
    vs_loading_free(l);
    return status;
}

static struct vs_index *fill(struct vs_store *store, const char *key, const struct vs_index_options *o, uint32_t n,
                             struct rng *rng)
{
    struct vs_index *index;
    float v[64];
    assert_int_equal(vs_create(store, 0, key, strlen(key), o, &index), VS_OK);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < o->dim; k++)
            v[k] = (float)(rng_unit(rng) * 4 - 2);
        struct vs_element e = {.id = &i,
                               .id_len = i ? sizeof(i) : 0,
                               .vector = v,
                               .attributes = i % 3 ? NULL : "{\"a\":1}",
                               .attributes_len = 7,
                               .past_backlog = true,
                               .deadline_ms = i % 5 ? 0 : 4000000000000 + i};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    for (uint32_t i = 3; i < n; i += 7)
        assert_int_equal(vs_delete(index, &i, sizeof(i)), VS_OK);
    return index;
}

static void assert_equal(struct vs_index *a, struct vs_index *b)
{
    assert_int_equal(vs_index_count(a), vs_index_count(b));
    assert_int_equal(vs_partition_count(a), vs_partition_count(b));
    for (size_t i = 0; i < vs_partition_count(a); i++) {
        struct vs_partition_info x, y;
        vs_partition_info(a, i, &x);
        vs_partition_info(b, i, &y);
        assert_string_equal(x.name, y.name);
        assert_int_equal(x.elements, y.elements);
        assert_int_equal(x.records_digest, y.records_digest);
        assert_int_equal(x.pinned, y.pinned);
    }
    assert_int_equal(vs_attributes_count(a), vs_attributes_count(b));
}

static void test_round(void **state)
{
    (void)state;
    uint64_t seed = (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng rng = {seed};
    struct vs_store *store = stores_open(2);
    for (int type = 0; type < VEC_TYPES; type++)
        for (int kept = VEC_ORIG_F32; kept <= VEC_ORIG_NONE; kept++) {
            struct vs_index_options o = {.dim = 1 + (uint32_t)rng_below(&rng, 40),
                                         .type = (enum vec_type)type,
                                         .originals = (enum vec_originals)kept,
                                         .metric = (enum vec_metric)rng_below(&rng, VEC_METRICS),
                                         .partitions = 1 + (uint32_t)rng_below(&rng, 3),
                                         .m = 4,
                                         .ef_construction = 16,
                                         .strict = rng_below(&rng, 2)};
            struct vs_index *a = fill(store, "a", &o, 2500, &rng), *b;
            if (vs_partition_count(a) > 1) {
                assert_int_equal(vs_partition_pin(a, 1, true), VS_OK);
                assert_int_equal(vs_partition_drop(a, vs_partition_count(a) - 1), VS_OK);
            }
            struct buf whole = dump(store, a, UINT64_MAX), slices = dump(store, a, 0);
            assert_int_equal(whole.len, slices.len);
            assert_memory_equal(whole.data, slices.data, whole.len);
            assert_int_equal(load(store, "b", whole.data, whole.len, 0), VS_OK);
            assert_int_equal(load(store, "b", whole.data, whole.len, 0), VS_EXISTS);
            b = vs_find(store, 0, "b", 1);
            assert_equal(a, b);
            struct buf again = dump(store, b, UINT64_MAX);
            assert_int_equal(again.len, whole.len);
            assert_memory_equal(again.data, whole.data, whole.len);
            stores_settle(store);
            assert_equal(a, b);
            buf_release(&whole);
            buf_release(&slices);
            buf_release(&again);
            assert_int_equal(vs_remove(store, 0, "a", 1), VS_OK);
            assert_int_equal(vs_remove(store, 0, "b", 1), VS_OK);
        }
    vs_close(store);
}

/* An index that changes is begun again, and comes out as of one moment. */
static void test_changing(void **state)
{
    (void)state;
    struct rng rng = {7};
    struct vs_store *store = stores_open(2);
    struct vs_index *index = fill(store, "a", &(struct vs_index_options){.dim = 8, .m = 4, .ef_construction = 16}, 3000, &rng);
    struct vs_dump d = {.uid = vs_index_uid(index)};
    struct buf out = {0};
    float v[8] = {1};
    uint32_t id = 900000;
    enum vs_status status;
    while ((status = vs_dump_some(store, &d, &out, 0)) == VS_TIMEOUT && !d.whole) {
        id++;
        struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = v, .past_backlog = true};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    while (status == VS_TIMEOUT)
        status = vs_dump_some(store, &d, &out, 0);
    assert_int_equal(status, VS_OK);
    assert_int_equal(load(store, "b", out.data, out.len, UINT64_MAX), VS_OK);
    assert_int_equal(vs_index_count(vs_find(store, 0, "b", 1)), vs_index_count(index));
    struct vs_dump gone = {.uid = vs_index_uid(index)};
    assert_int_equal(vs_dump_some(store, &gone, &out, 0), VS_TIMEOUT);
    assert_int_equal(vs_remove(store, 0, "a", 1), VS_OK);
    assert_int_equal(vs_dump_some(store, &gone, &out, 0), VS_NOTFOUND);
    buf_release(&out);
    vs_close(store);
}

/* The sum of a block that was altered, made right again. */
static void sum_again(char *data, size_t len)
{
    uint64_t sum = 0;
    size_t end = len - sizeof(sum), at = 0;
    for (; end - at >= 65536; at += 65536)
        sum = hash_bytes(data + at, 65536, sum + 65536);
    sum = hash_bytes(data + at, end - at, sum + (end - at));
    memcpy(data + end, &sum, sizeof(sum));
}

static void test_altered(void **state)
{
    (void)state;
    uint64_t seed = (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng rng = {seed};
    struct vs_store *store = stores_open(0);
    for (int type = 0; type < VEC_TYPES; type++) {
        struct vs_index_options o = {.dim = 5, .type = (enum vec_type)type, .originals = VEC_ORIG_NONE, .partitions = 2};
        struct vs_index *index = fill(store, "a", &o, 12, &rng);
        struct buf whole = dump(store, index, UINT64_MAX);
        char *copy = malloc(whole.len);
        for (size_t bit = 0; bit < whole.len * 8; bit++) {
            memcpy(copy, whole.data, whole.len);
            copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << (bit & 7));
            assert_int_equal(load(store, "b", copy, whole.len, UINT64_MAX), VS_CORRUPT);
        }
        for (size_t len = 0; len < whole.len; len++) {
            memcpy(copy, whole.data, len);
            assert_int_equal(load(store, "b", copy, len, UINT64_MAX), VS_CORRUPT);
        }
        size_t taken = 0;
        for (size_t i = 0; i < whole.len * 4; i++) { /* with a sum that is right: whatever is taken can be used */
            memcpy(copy, whole.data, whole.len);
            copy[8 + i % (whole.len - 16)] = (char)(rng_below(&rng, 4) ? rng_below(&rng, 256) : 0xFF);
            sum_again(copy, whole.len);
            enum vs_status status = load(store, "b", copy, whole.len, UINT64_MAX);
            assert_true(status == VS_OK || status == VS_CORRUPT);
            taken += status == VS_OK;
            if (status == VS_OK)
                assert_int_equal(vs_remove(store, 0, "b", 1), VS_OK);
        }
        print_message("type %d: %zu of %zu altered ones make an index\n", type, taken, whole.len * 4);
        free(copy);
        buf_release(&whole);
        assert_int_equal(vs_count(store, 0), 1);
        assert_int_equal(vs_remove(store, 0, "a", 1), VS_OK);
        stores_settle(store);
    }
    vs_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_changing),
        cmocka_unit_test(test_altered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
