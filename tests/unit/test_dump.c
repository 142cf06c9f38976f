/* An index as bytes and back: what comes back is the same, in any slices; what is altered is refused, and nothing stays
 * of it. tsan: skip (one thread) */
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
#include "lib/effects.h"
#include "lib/stores.h"
#include "store/store_int.h"

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

/* Elements of many bytes: when its time is up a step ends with the first. */
static void test_wide(void **state)
{
    enum { N = 40, WIDE = 2048 };
    (void)state;
    struct vs_store *store = stores_open(2);
    struct vs_index_options o = {.dim = WIDE, .structure = VS_FLAT};
    struct vs_index *index;
    assert_int_equal(vs_create(store, 0, "a", 1, &o, &index), VS_OK);
    float *v = calloc(WIDE, sizeof(*v));
    for (uint32_t i = 0; i < N; i++) {
        v[i] = 1;
        struct vs_element e = {.id = &i, .id_len = sizeof(i), .vector = v, .past_backlog = true};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    free(v);
    struct vs_dump d = {.uid = vs_index_uid(index)};
    struct buf out = {0};
    enum vs_status status;
    for (size_t before = 0; (status = vs_dump_some(store, &d, &out, 0)) == VS_TIMEOUT && !d.whole; before = out.len)
        assert_true(out.len - before < 2 * WIDE * sizeof(float));
    while (status == VS_TIMEOUT)
        status = vs_dump_some(store, &d, &out, 0);
    assert_int_equal(status, VS_OK);
    struct vs_loading *l;
    int steps = 0;
    assert_int_equal(vs_loading_new(store, 0, "b", 1, &l), VS_OK);
    while ((status = vs_loading_some(l, out.data, out.len, 0)) == VS_TIMEOUT)
        steps++;
    assert_int_equal(status, VS_OK);
    assert_true(steps >= N);
    assert_int_equal(vs_loading_attach(l, out.data, out.len, 0, NULL), VS_OK);
    vs_loading_free(l);
    assert_equal(index, vs_find(store, 0, "b", 1));
    buf_release(&out);
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

/* Who adds all the time has to wait after a while, until the dump is whole or given up. */
static void test_adding(void **state)
{
    (void)state;
    struct rng rng = {13};
    struct vs_store *store = stores_open(2);
    struct vs_index *index = fill(store, "a", &(struct vs_index_options){.dim = 8, .m = 4, .ef_construction = 16}, 3000, &rng);
    stores_settle(store);
    float v[8] = {1};
    for (int round = 0; round < 2; round++) {
        struct vs_dump d = {.uid = vs_index_uid(index)};
        struct buf out = {0};
        uint32_t id = 500000, waited = 0;
        enum vs_status status, added = VS_OK;
        struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = v};
        while ((status = vs_dump_some(store, &d, &out, 0)) == VS_TIMEOUT && !d.whole && (!round || waited < 10)) {
            v[0] += 1;
            added = vs_add(index, &e, VS_ADD_ANY, NULL);
            assert_true(added == VS_OK || (added == VS_BACKLOG && d.holding));
            waited += added == VS_BACKLOG;
        }
        assert_int_equal(added, VS_BACKLOG);
        while (!round && status == VS_TIMEOUT)
            status = vs_dump_some(store, &d, &out, 0);
        assert_int_equal(status, round ? VS_TIMEOUT : VS_OK);
        assert_int_equal(d.begun, 3);
        if (round)
            vs_dump_end(store, &d);
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
        vs_dump_end(store, &d);
        buf_release(&out);
    }
    vs_close(store);
}

/* Two at a time, each in the midst of a step when the other goes on: each is what it is alone. */
static void test_two(void **state)
{
    (void)state;
    struct rng rng = {11};
    struct vs_store *store = stores_open(2);
    const struct vs_index_options o = {.dim = 8, .m = 4, .ef_construction = 16};
    struct vs_index *index[2] = {fill(store, "a", &o, 3000, &rng), fill(store, "b", &o, 2000, &rng)};
    struct vs_dump d[2] = {{.uid = vs_index_uid(index[0])}, {.uid = vs_index_uid(index[1])}};
    struct buf out[2] = {{0}, {0}};
    bool whole[2] = {false, false};
    for (int i = 0; !whole[0] || !whole[1]; i = !i) {
        if (whole[i])
            continue;
        enum vs_status status = vs_dump_some(store, &d[i], &out[i], 0);
        whole[i] = status == VS_OK;
        assert_true(whole[i] || status == VS_TIMEOUT);
    }
    for (int i = 0; i < 2; i++) {
        struct buf alone = dump(store, index[i], UINT64_MAX);
        assert_int_equal(out[i].len, alone.len);
        assert_memory_equal(out[i].data, alone.data, alone.len);
        buf_release(&alone);
        buf_release(&out[i]);
    }
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

/* ---- in pieces ---- */

#define PIECE 1000

/* Tells until so many bytes are told; all, and makes it a key, with SIZE_MAX. */
static void tell(struct vs_loading *l, const struct buf *b, size_t until)
{
    enum vs_status status = VS_TIMEOUT;
    for (size_t told = 0; status == VS_TIMEOUT && told < until; told += PIECE)
        status = vs_loading_tell_some(l, b->data, b->len, 0);
    assert_int_equal(status, until == SIZE_MAX ? VS_OK : VS_TIMEOUT);
    if (until == SIZE_MAX)
        assert_int_equal(vs_loading_attach(l, b->data, b->len, 0, NULL), VS_OK);
}

static struct vs_loading *loaded(struct vs_store *store, const char *key, const struct buf *b)
{
    struct vs_loading *l;
    assert_int_equal(vs_loading_new(store, 0, key, strlen(key), &l), VS_OK);
    assert_int_equal(vs_loading_some(l, b->data, b->len, UINT64_MAX), VS_OK);
    return l;
}

static size_t count_kind(const struct effects *log, size_t from, enum vs_effect_kind kind)
{
    size_t n = 0;
    for (size_t i = from; i < log->n; i++)
        n += effects_at(log, i)->kind == kind;
    return n;
}

static struct vs_store *follow(const struct effects *log, size_t from, struct effects *own)
{
    struct vs_store *store = stores_open(0);
    if (own) {
        effects_init(own);
        vs_set_journal(store, &own->journal);
    }
    assert_int_equal(effects_apply(log, from, log->n, store, NULL), VS_OK);
    return store;
}

struct told {
    struct vs_store *store;
    struct vs_index *index;
    struct buf block;
    struct effects log;
};

static void told_init(struct told *t, enum vec_originals originals)
{
    struct rng rng = {11};
    *t = (struct told){.store = stores_open(0)};
    t->store->piece_bytes = PIECE;
    effects_init(&t->log);
    vs_set_journal(t->store, &t->log.journal);
    t->index = fill(t->store, "a",
                    &(struct vs_index_options){
                        .dim = 8, .m = 4, .ef_construction = 16, .originals = originals, .partitions = 2},
                    2000, &rng);
    t->block = dump(t->store, t->index, UINT64_MAX);
}

static void told_release(struct told *t)
{
    buf_release(&t->block);
    vs_close(t->store);
    effects_release(&t->log);
}

/* A large block is in the journal before it becomes a key, in pieces; who replays them has the same, and the same journal. */
static void test_pieces(void **state)
{
    (void)state;
    for (int originals = VEC_ORIG_F32; originals <= VEC_ORIG_NONE; originals++) {
        struct told t;
        told_init(&t, (enum vec_originals)originals);
        struct effects own;
        struct vs_loading *l = loaded(t.store, "b", &t.block);
        size_t from = t.log.n;
        tell(l, &t.block, SIZE_MAX);
        vs_loading_free(l);
        assert_int_equal(count_kind(&t.log, from, VS_PIECE), (t.block.len + PIECE - 1) / PIECE);
        assert_int_equal(effects_at(&t.log, t.log.n - 1)->kind, VS_RESTORE);
        assert_int_equal(effects_at(&t.log, t.log.n - 1)->attributes_len, 0);
        struct vs_store *b = follow(&t.log, 0, &own);
        stores_assert_same(t.store, b, "the store and its replay");
        assert_int_equal(own.n, t.log.n);
        struct vs_store *c = follow(&own, 0, NULL);
        stores_assert_same(t.store, c, "the store and the replay of a replay");
        vs_close(c);
        vs_close(b);
        effects_release(&own);
        told_release(&t);
    }
}

/* A cut between two pieces: those who begin with it get all of them. */
static void test_pieces_cut(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, VEC_ORIG_F32);
    struct vs_loading *l = loaded(t.store, "b", &t.block);
    size_t begin = t.log.n, cut;
    tell(l, &t.block, t.block.len / 2);
    cut = t.log.n;
    assert_true(cut > begin);
    t.store->env.cuts++;
    tell(l, &t.block, SIZE_MAX);
    vs_loading_free(l);
    assert_int_equal(count_kind(&t.log, cut, VS_PIECE), (t.block.len + PIECE - 1) / PIECE);
    assert_int_equal(vs_remove(t.store, 0, "a", 1), VS_OK);
    struct vs_store *since = stores_open(0);
    assert_int_equal(effects_apply(&t.log, cut, t.log.n - 1, since, NULL), VS_OK); /* all but the end of a, which it has not */
    stores_assert_same(t.store, since, "the store and what came since the cut");
    vs_close(since);

    /* One who follows cannot begin again. */
    struct effects own;
    struct vs_store *b = stores_open(0);
    effects_init(&own);
    vs_set_journal(b, &own.journal);
    assert_int_equal(effects_apply(&t.log, cut, cut + 5, b, NULL), VS_OK);
    b->env.cuts++;
    size_t own_cut = own.n;
    assert_int_equal(effects_apply(&t.log, cut + 5, t.log.n - 1, b, NULL), VS_OK);
    struct vs_store *c = follow(&own, own_cut, NULL);
    stores_assert_same(t.store, c, "the store and what a follower kept since its cut");
    vs_close(c);
    vs_close(b);
    effects_release(&own);
    told_release(&t);
}

/* One block after the other: the second waits. What is begun and not ended is nothing. */
static void test_pieces_two(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, VEC_ORIG_F32);
    struct vs_loading *first = loaded(t.store, "b", &t.block), *second = loaded(t.store, "c", &t.block);
    tell(first, &t.block, t.block.len / 2);
    size_t n = t.log.n;
    assert_int_equal(vs_loading_tell_some(second, t.block.data, t.block.len, 0), VS_TIMEOUT);
    assert_int_equal(t.log.n, n);
    vs_loading_free(first);
    tell(second, &t.block, SIZE_MAX);
    vs_loading_free(second);
    first = loaded(t.store, "d", &t.block);
    tell(first, &t.block, t.block.len / 2);
    vs_loading_free(first);
    struct vs_store *b = follow(&t.log, 0, NULL);
    assert_non_null(b->pending);
    vs_apply_end(b);
    assert_null(b->pending);
    stores_assert_same(t.store, b, "the store and its replay");
    vs_close(b);
    told_release(&t);
}

static void test_pieces_bad(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, VEC_ORIG_NONE);
    struct vs_loading *l = loaded(t.store, "b", &t.block);
    size_t from = t.log.n;
    tell(l, &t.block, SIZE_MAX);
    vs_loading_free(l);
    struct vs_store *b = stores_open(0);
    struct vs_effect e = *effects_at(&t.log, t.log.n - 1);
    assert_int_equal(vs_apply(b, &e), VS_CORRUPT); /* no piece has come */
    for (size_t i = from; i < t.log.n - 1; i += 7) {
        struct vs_effect bad = *effects_at(&t.log, i);
        char *bytes = malloc(bad.attributes_len);
        memcpy(bytes, bad.attributes, bad.attributes_len);
        bytes[i % bad.attributes_len] = (char)(bytes[i % bad.attributes_len] ^ 4);
        assert_int_equal(effects_apply(&t.log, from, i, b, NULL), VS_OK);
        bad.attributes = bytes;
        enum vs_status status = vs_apply(b, &bad);
        if (status == VS_OK) /* then its sum says so */
            status = effects_apply(&t.log, i + 1, t.log.n, b, NULL);
        assert_int_equal(status, VS_CORRUPT);
        /* Without one of them. */
        assert_int_equal(effects_apply(&t.log, from, i, b, NULL), VS_OK);
        assert_int_equal(effects_apply(&t.log, i + 1, t.log.n, b, NULL), VS_CORRUPT);
        free(bytes);
    }
    e = *effects_at(&t.log, from);
    e.offset = e.total;
    assert_int_equal(vs_apply(b, &e), VS_CORRUPT);
    e.offset = UINT64_MAX;
    assert_int_equal(vs_apply(b, &e), VS_CORRUPT);
    e.offset = 0;
    e.total = 5;
    assert_int_equal(vs_apply(b, &e), VS_CORRUPT);
    assert_int_equal(vs_count(b, 0), 0);
    assert_int_equal(effects_apply(&t.log, from, t.log.n, b, NULL), VS_OK);
    assert_int_equal(vs_count(b, 0), 1);
    stores_settle(b);
    vs_close(b);
    told_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_changing),
        cmocka_unit_test(test_adding),
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_altered),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_pieces_cut),
        cmocka_unit_test(test_pieces_two),
        cmocka_unit_test(test_pieces_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
