/* Effects as commands: what is written is read again as the same, and nothing else is read. Also the
 * clock that stamps them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "lib/run.h"
#include "persist/effect.h"

static const struct resp_limits limits = {.bulk_max = 1u << 30, .inline_max = 64, .args_max = 64};

/* Parses the one command in `b`. */
static enum vs_status parse(const struct buf *b, unsigned *db, struct effect_scratch *x,
                            struct vs_effect *e, struct buf *why)
{
    struct resp_reader r = {0};
    size_t used;
    assert_int_equal(resp_read(&r, b->data, b->len, &limits, true, &used), RESP_COMMAND);
    assert_int_equal(used, b->len);
    enum vs_status status = effect_parse(r.argv, r.argc, 16, db, x, e, why);
    resp_reader_release(&r);
    return status;
}

static void assert_bytes(const void *a, size_t alen, const void *b, size_t blen)
{
    assert_int_equal(alen, blen);
    if (alen)
        assert_memory_equal(a, b, alen);
}

/* Through bytes and back. */
static void round_trip(const struct vs_effect *e, const char *text)
{
    struct buf b = {0}, again = {0};
    struct effect_scratch x = {0};
    struct vs_effect got;
    struct resp_reader r = {0};
    size_t used;
    unsigned db = e->db;
    effect_encode(e, &b);
    assert_true(b.len <= effect_size(e));
    if (text)
        assert_bytes(b.data, b.len, text, strlen(text));
    assert_int_equal(resp_read(&r, b.data, b.len, &limits, true, &used), RESP_COMMAND);
    assert_true(r.argc <= EFFECT_ARGS_MAX);
    assert_int_equal(effect_parse(r.argv, r.argc, 16, &db, &x, &got, NULL), VS_OK);
    assert_int_equal(got.kind, e->kind);
    assert_int_equal(got.db, e->db);
    assert_bytes(got.key, got.key_len, e->key, e->key_len);
    assert_bytes(got.id, got.id_len, e->id, e->id_len);
    assert_int_equal(got.dim, e->dim);
    assert_int_equal(got.attributes != NULL, e->attributes != NULL);
    assert_bytes(got.attributes, got.attributes_len, e->attributes, e->attributes_len);
    if (e->dim)
        assert_memory_equal(got.vector, e->vector, e->dim * sizeof(float));
    assert_int_equal(got.on, e->on);
    assert_int_equal(got.deadline_ms, e->deadline_ms);
    assert_int_equal(got.offset, e->offset);
    assert_int_equal(got.total, e->total);
    effect_encode(&got, &again);
    assert_bytes(again.data, again.len, b.data, b.len);
    resp_reader_release(&r);
    effect_scratch_release(&x);
    buf_release(&b);
    buf_release(&again);
}

#define KEY(k) .key = k, .key_len = sizeof(k) - 1
#define ID(k) .id = k, .id_len = sizeof(k) - 1

static void test_round_trips(void **state)
{
    (void)state;
    float v[] = {1, -0.0f, 3.5f};
    round_trip(&(struct vs_effect){.kind = VS_REMOVE, KEY("docs")},
               "*2\r\n$3\r\nDEL\r\n$4\r\ndocs\r\n");
    round_trip(&(struct vs_effect){.kind = VS_RENAME, KEY(""), ID("b")},
               "*3\r\n$6\r\nRENAME\r\n$0\r\n\r\n$1\r\nb\r\n");
    round_trip(&(struct vs_effect){.kind = VS_FLUSH, .db = 3}, "*1\r\n$7\r\nFLUSHDB\r\n");
    round_trip(&(struct vs_effect){.kind = VS_DROP, KEY("docs"), ID("2")},
               "*4\r\n$10\r\nVPARTITION\r\n$4\r\nDROP\r\n$4\r\ndocs\r\n$1\r\n2\r\n");
    round_trip(&(struct vs_effect){.kind = VS_PIN, KEY("docs"), ID("0"), .on = true},
               "*4\r\n$10\r\nVPARTITION\r\n$3\r\nPIN\r\n$4\r\ndocs\r\n$1\r\n0\r\n");
    round_trip(&(struct vs_effect){.kind = VS_PIN, KEY("docs"), ID("0")}, NULL);
    round_trip(&(struct vs_effect){.kind = VS_KEY_DEADLINE, KEY("docs"), .deadline_ms = VS_DEADLINE_MAX},
               "*3\r\n$9\r\nPEXPIREAT\r\n$4\r\ndocs\r\n$19\r\n9223372036854775807\r\n");
    round_trip(&(struct vs_effect){.kind = VS_DEADLINE, KEY("docs"), ID(""), .deadline_ms = 1},
               "*4\r\n$10\r\nVPEXPIREAT\r\n$4\r\ndocs\r\n$1\r\n1\r\n$0\r\n\r\n");
    round_trip(&(struct vs_effect){.kind = VS_DEADLINE, KEY("docs"), ID("a")},
               "*3\r\n$8\r\nVPERSIST\r\n$4\r\ndocs\r\n$1\r\na\r\n");
    round_trip(&(struct vs_effect){.kind = VS_ADD, KEY("k"), ID("i"), .vector = v, .dim = 3, .deadline_ms = 12}, NULL);
    round_trip(&(struct vs_effect){.kind = VS_ADD, KEY("k"), ID("i"), .vector = v, .dim = 3, .attributes = "PXAT",
                                   .attributes_len = 4, .deadline_ms = VS_DEADLINE_MAX},
               NULL);
    round_trip(&(struct vs_effect){.kind = VS_KEY_DEADLINE, KEY("docs")},
               "*2\r\n$7\r\nPERSIST\r\n$4\r\ndocs\r\n");
    round_trip(&(struct vs_effect){.kind = VS_RESTORE, KEY("k"), .attributes = "", .deadline_ms = 7},
               "*5\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n7\r\n$0\r\n\r\n$6\r\nABSTTL\r\n");
    round_trip(&(struct vs_effect){.kind = VS_PIECE, KEY("k"), .attributes = "a\r\n", .attributes_len = 3, .offset = 65536,
                                   .total = 99999999999},
               "*5\r\n$5\r\nPIECE\r\n$1\r\nk\r\n$5\r\n65536\r\n$11\r\n99999999999\r\n$3\r\na\r\n\r\n");
    round_trip(&(struct vs_effect){.kind = VS_DELETE, KEY("a\0b"), ID("\r\n")}, NULL);
    round_trip(&(struct vs_effect){.kind = VS_ATTRIBUTES, KEY("k"), ID("i"), .attributes = "",
                                   .attributes_len = 0},
               "*4\r\n$8\r\nVSETATTR\r\n$1\r\nk\r\n$1\r\ni\r\n$0\r\n\r\n");
    round_trip(&(struct vs_effect){.kind = VS_ADD, KEY("k"), ID("i"), .vector = v, .dim = 3}, NULL);
    round_trip(&(struct vs_effect){.kind = VS_ADD, KEY("k"), ID(""), .vector = v, .dim = 1,
                                   .attributes = "", .attributes_len = 0},
               NULL);
    round_trip(&(struct vs_effect){.kind = VS_ADD, KEY("k"), ID("i"), .vector = v, .dim = 2,
                                   .attributes = "{}", .attributes_len = 2},
               NULL);
}

static void test_create_options(void **state)
{
    (void)state;
    uint64_t seed;
    rng_system(&seed, sizeof(seed));
    print_message("seed %llu\n", (unsigned long long)seed);
    struct rng rng = {seed};
    for (int i = 0; i < 2000; i++) {
        struct vs_index_options o;
        memset(&o, 0, sizeof(o));
        o.dim = 1 + (uint32_t)rng_below(&rng, VEC_DIM_MAX);
        o.metric = (enum vec_metric)rng_below(&rng, VEC_METRICS);
        o.type = (enum vec_type)rng_below(&rng, VEC_TYPES);
        o.originals = (enum vec_originals)(VEC_ORIG_F32 + rng_below(&rng, 3));
        o.structure = (enum vs_structure)rng_below(&rng, 2);
        o.m = VS_M_MIN + (uint32_t)rng_below(&rng, VS_M_MAX - VS_M_MIN + 1);
        o.ef_construction = 1 + (uint32_t)rng_below(&rng, VS_EF_MAX);
        o.partitions = 1 + (uint32_t)rng_below(&rng, VS_PARTITIONS_MAX);
        o.vnodes = 1 + (uint32_t)rng_below(&rng, VS_VNODES_MAX);
        o.seed = i == 0 ? UINT64_MAX : rng_next(&rng) | 1;
        o.map = (enum vs_map)rng_below(&rng, 3);
        o.strict = rng_below(&rng, 2);
        o.input_dim = rng_below(&rng, 2) ? o.dim + (uint32_t)rng_below(&rng, VEC_DIM_MAX - o.dim + 1) : 0;
        o.keep_empty = rng_below(&rng, 2);
        round_trip(&(struct vs_effect){.kind = VS_CREATE, KEY("docs"), .options = &o}, NULL);
    }
}

static void assert_refused(const char *text)
{
    struct buf b = {0}, why = {0};
    struct effect_scratch x = {0};
    struct vs_effect e;
    unsigned db = 0;
    buf_puts(&b, text);
    assert_int_equal(parse(&b, &db, &x, &e, &why), VS_CORRUPT);
    assert_true(why.len > 0);
    assert_int_equal(db, 0);
    effect_scratch_release(&x);
    buf_release(&b);
    buf_release(&why);
}

static void test_refused(void **state)
{
    (void)state;
    assert_refused("*1\r\n$3\r\nDEL\r\n");
    assert_refused("*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_refused("*2\r\n$3\r\ndel\r\n$1\r\na\r\n");
    assert_refused("*1\r\n$4\r\nPING\r\n");
    assert_refused("*2\r\n$6\r\nSELECT\r\n$2\r\n16\r\n");
    assert_refused("*2\r\n$6\r\nSELECT\r\n$2\r\n01\r\n");
    assert_refused("*2\r\n$6\r\nSELECT\r\n$1\r\n-\r\n");
    assert_refused("*2\r\n$6\r\nSELECT\r\n$0\r\n\r\n");
    assert_refused("*2\r\n$6\r\nSELECT\r\n$20\r\n99999999999999999999\r\n");
    /* A blob that is no vector; attributes without their word; one word too many. */
    assert_refused("*5\r\n$4\r\nVADD\r\n$1\r\nk\r\n$4\r\nFP32\r\n$3\r\nabc\r\n$1\r\ni\r\n");
    assert_refused("*5\r\n$4\r\nVADD\r\n$1\r\nk\r\n$4\r\nFP32\r\n$0\r\n\r\n$1\r\ni\r\n");
    assert_refused("*5\r\n$4\r\nVADD\r\n$1\r\nk\r\n$4\r\nFP16\r\n$4\r\nabcd\r\n$1\r\ni\r\n");
    assert_refused("*6\r\n$4\r\nVADD\r\n$1\r\nk\r\n$4\r\nFP32\r\n$4\r\nabcd\r\n$1\r\ni\r\n$2\r\n{}\r\n");
    assert_refused("*6\r\n$4\r\nVADD\r\n$1\r\nk\r\n$4\r\nFP32\r\n$4\r\nabcd\r\n$1\r\ni\r\n"
                   "$7\r\nSETATTR\r\n");
    assert_refused("*3\r\n$10\r\nVPARTITION\r\n$6\r\nCREATE\r\n$1\r\nk\r\n");
    assert_refused("*3\r\n$10\r\nVPARTITION\r\n$4\r\nLIST\r\n$1\r\nk\r\n");
}

static void test_select(void **state)
{
    (void)state;
    struct buf b = {0};
    struct vs_effect e = {.db = 77};
    struct effect_scratch x = {0};
    unsigned db = 2;
    effect_encode_select(15, &b);
    assert_true(b.len <= EFFECT_SELECT_MAX);
    assert_int_equal(parse(&b, &db, &x, &e, NULL), VS_NOTFOUND);
    assert_int_equal(db, 15);
    assert_int_equal(e.db, 77);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_create_options),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
