/* VPARTITION: replies in RESP2 and RESP3, every error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/both.h"
#include "integration/lib/reply.h"

/* The value of a name in a flat array of names and values. */
static redisReply *field(redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (!strcmp(map->element[i]->str, name))
            return map->element[i + 1];
    }
    fail_msg("no field %s", name);
    return NULL;
}

static void test_create(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VPARTITION CREATE a DIM 4", "+OK\r\n");
    both_three(&b, "vpartition create b dim 4 metric ip type flat noquant", "+OK\r\n");
    both_error(&b, "VPARTITION CREATE a DIM 4", "ERR key already exists");
    both_same(&b, "VDIM b", ":4\r\n");
    both_same(&b, "VCARD b", ":0\r\n");
    both_same(&b, "VSEARCH b VALUES 4 1 2 3 4", "*0\r\n");
    both_two(&b, "DEL b", ":1\r\n");
    both_stop(&b);
}

static void test_create_types(void **state)
{
    (void)state;
    static const struct {
        const char *option, *info, *quant, *originals;
    } cases[] = {
        { "Q8", "q8", "int8", "f32" },   { "NOQUANT", "f32", "f32", "f32" }, { "F16", "f16", "f16", "none" },
        { "BF16", "bf16", "bf16", "none" }, { "Q4", "q4", "q4", "f32" },     { "BIN", "bin", "bin", "f32" },
        { "F16 ORIGINALS F32", "f16", "f16", "f32" }, { "Q4 ORIGINALS F16", "q4", "q4", "f16" },
        { "BIN ORIGINALS NONE", "bin", "bin", "none" },
    };
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[100];
        snprintf(line, sizeof line, "VPARTITION CREATE k%zu DIM 3 %s", i, cases[i].option);
        reply_status(c, "OK", line);
        redisReply *r = redisCommand(c, "VPARTITION INFO k%d", (int)i);
        assert_string_equal(field(r, "element_type")->str, cases[i].info);
        assert_string_equal(field(r, "originals")->str, cases[i].originals);
        freeReplyObject(r);
        r = redisCommand(c, "VINFO k%d", (int)i);
        assert_string_equal(field(r, "quant-type")->str, cases[i].quant);
        assert_string_equal(field(r, "originals")->str, cases[i].originals);
        freeReplyObject(r);
        /* by VADD, the same; the nearest of a few is found */
        snprintf(line, sizeof line, "VADD a%zu VALUES 3 1 2 3 x %s", i, cases[i].option);
        reply_int(c, 1, line);
        snprintf(line, sizeof line, "VADD a%zu VALUES 3 -1 2 -3 y %s", i, cases[i].option);
        reply_int(c, 1, line);
        r = redisCommand(c, "VINFO a%d", (int)i);
        assert_string_equal(field(r, "quant-type")->str, cases[i].quant);
        assert_string_equal(field(r, "originals")->str, cases[i].originals);
        freeReplyObject(r);
        r = redisCommand(c, "VSEARCH a%d VALUES 3 -1 2 -2.5 K 1", (int)i);
        assert_int_equal(r->elements, 1);
        assert_string_equal(r->element[0]->str, "y");
        freeReplyObject(r);
        snprintf(line, sizeof line, "VADD a%zu VALUES 3 1 2 3 x %s", i, i == 0 ? "Q4" : "Q8");
        reply_error(c, "ERR asked quantization mismatch with existing vector set", line);
    }
    redisReply *r = redisCommand(c, "VEMB a5 y RAW");
    assert_int_equal(r->elements, 3);
    assert_string_equal(r->element[0]->str, "bin");
    assert_int_equal(r->element[1]->len, 8);
    assert_memory_equal(r->element[1]->str, "\2\0\0\0\0\0\0", 8);
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

static void test_create_errors(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
#define CREATE "VPARTITION CREATE k "
    both_error(&b, CREATE "METRIC L2", "ERR DIM is missing: give the number of components, of 1 to 65536");
    both_error(&b, CREATE "DIM 0", "ERR invalid DIM: a number of 1 to 65536 is allowed");
    both_error(&b, CREATE "DIM 65537", "ERR invalid DIM: a number of 1 to 65536 is allowed");
    both_error(&b, CREATE "DIM x", "ERR invalid DIM: a number of 1 to 65536 is allowed");
    both_error(&b, CREATE "DIM 2 METRIC L1", "ERR invalid METRIC: COSINE, L2 or IP is allowed");
    both_error(&b, CREATE "DIM 2 METRIC", "ERR invalid METRIC: COSINE, L2 or IP is allowed");
    both_error(&b, CREATE "DIM 2 TYPE IVF", "ERR invalid TYPE: HNSW or FLAT is allowed");
    both_error(&b, CREATE "DIM 2 M 3", "ERR invalid M: a number of 4 to 4096 is allowed");
    both_error(&b, CREATE "DIM 2 EF 0", "ERR invalid EF: a number of 1 to 1000000 is allowed");
    both_error(&b, CREATE "DIM 2 ORIGINALS F64", "ERR invalid ORIGINALS: F32, F16 or NONE is allowed");
    both_error(&b, CREATE "DIM 2 PARTITIONS 0", "ERR invalid PARTITIONS: a number of 1 to 4096 is allowed");
    both_error(&b, CREATE "DIM 2 PARTITIONS 4097", "ERR invalid PARTITIONS: a number of 1 to 4096 is allowed");
    both_error(&b, CREATE "DIM 2 STRATEGY TENANT", "ERR invalid STRATEGY: HASH is allowed");
    both_error(&b, CREATE "DIM 2 VNODES 1025", "ERR invalid VNODES: a number of 1 to 1024 is allowed");
    both_error(&b, CREATE "DIM 2 Q3",
               "ERR syntax error in VPARTITION CREATE command near 'Q3': DIM, METRIC, TYPE, M, EF, NOQUANT, Q8, F16, BF16, Q4, "
               "BIN, ORIGINALS, STRICT, TRANSIENT, PARTITIONS, STRATEGY, VNODES, MAP, REDUCE or SEED is allowed");
    both_error(&b, CREATE "DIM 2 MAP NOTHING", "ERR invalid MAP: ORIGINALS, CODES or ALL is allowed");
    both_error(&b, CREATE "DIM 2 SEED 0", "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed");
    both_error(&b, CREATE "DIM 2 SEED 18446744073709551616", "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed");
    both_error(&b, CREATE "DIM 2 SEED -1", "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed");
    both_error(&b, CREATE "DIM 2 SEED", "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed");
    both_error(&b, CREATE "DIM", "ERR wrong number of arguments for 'vpartition|create' command");
    both_same(&b, "DBSIZE", ":0\r\n");
    both_error(&b, "VPARTITION WHAT k", "ERR unknown subcommand 'WHAT'. Try VPARTITION HELP.");
    both_stop(&b);
}

static void test_list(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VPARTITION CREATE k DIM 2 PARTITIONS 3", "+OK\r\n");
    #define ROW(name) "*4\r\n$1\r\n" name "\r\n:0\r\n$4\r\nopen\r\n:0\r\n"
    both_same(&b, "VPARTITION LIST k", "*2\r\n$1\r\n0\r\n*3\r\n" ROW("0") ROW("1") ROW("2"));
    both_same(&b, "VPARTITION LIST k COUNT 2", "*2\r\n$1\r\n2\r\n*2\r\n" ROW("0") ROW("1"));
    both_same(&b, "VPARTITION LIST k COUNT 2 CURSOR 2", "*2\r\n$1\r\n0\r\n*1\r\n" ROW("2"));
    both_same(&b, "VPARTITION LIST k CURSOR 9", "*2\r\n$1\r\n0\r\n*0\r\n");
#undef ROW
    both_error(&b, "VPARTITION LIST nokey", "ERR key does not exist");
    both_error(&b, "VPARTITION LIST k CURSOR x", "ERR invalid cursor");
    both_error(&b, "VPARTITION LIST k COUNT 0", "ERR invalid COUNT: a number of 1 to 1000 is allowed");
    both_error(&b, "VPARTITION LIST k WHAT",
               "ERR syntax error in VPARTITION LIST command near 'WHAT': CURSOR or COUNT is allowed");
    both_stop(&b);
}

static void test_info(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_status(c, "OK", "VPARTITION CREATE k DIM 2 METRIC L2 TYPE FLAT M 8 EF 50 ORIGINALS F16 STRICT PARTITIONS 2 STRATEGY HASH VNODES 7");
    for (int i = 0; i < 100; i++)
        reply_int(c, 1, "VADD k VALUES 2 1 %d e%d", i, i);
    redisReply *r = reply_any(c, "VPARTITION INFO k");
    assert_int_equal(field(r, "dim")->integer, 2);
    assert_string_equal(field(r, "metric")->str, "l2");
    assert_string_equal(field(r, "type")->str, "flat");
    assert_string_equal(field(r, "element_type")->str, "q8");
    assert_string_equal(field(r, "originals")->str, "f16");
    assert_int_equal(field(r, "m")->integer, 8);
    assert_int_equal(field(r, "ef_construction")->integer, 50);
    assert_int_equal(field(r, "strict")->integer, 1);
    assert_int_equal(field(r, "keep_empty")->integer, 1);
    assert_int_equal(field(r, "partitions")->integer, 2);
    assert_int_equal(field(r, "vnodes")->integer, 7);
    assert_int_equal(field(r, "elements")->integer, 100);
    assert_true(field(r, "memory_total")->integer > 0);
    freeReplyObject(r);
    long long elements = 0;
    for (int i = 0; i < 2; i++) {
        r = reply_any(c, "VPARTITION INFO k %d", i);
        elements += field(r, "elements")->integer;
        assert_int_equal(field(r, "sequence")->integer, field(r, "elements")->integer);
        assert_int_equal(field(r, "waiting_batches")->integer, 0);
        assert_int_equal(field(r, "graph_digest")->len, 16);
        assert_int_equal(field(r, "records_digest")->len, 16);
        assert_true(field(r, "memory_ids")->integer > 0);
        freeReplyObject(r);
    }
    assert_int_equal(elements, 100);
    redisFree(c);
    raw_talk(b.three, "VPARTITION INFO k 0\r\n", "%31\r\n$4\r\nname\r\n$1\r\n0\r\n$5\r\nstate\r\n$4\r\nopen\r\n");
    char line[64];
    do
        raw_line(b.three, line, sizeof line);
    while (strcmp(line, "memory_total"));
    raw_line(b.three, line, sizeof line);
    both_error(&b, "VPARTITION INFO nokey", "ERR key does not exist");
    both_error(&b, "VPARTITION INFO k x", "ERR no such partition 'x'");
    both_error(&b, "VPARTITION INFO k 0 WHAT",
               "ERR syntax error in VPARTITION INFO command near 'WHAT': a key, then the name of a partition, is allowed");
    both_stop(&b);
}

/* The same seed and the same commands make the same index. */
static void test_seed(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    char digest[2][17];
    for (int k = 0; k < 2; k++) {
        reply_status(c, "OK", "VPARTITION CREATE k%d DIM 2 PARTITIONS 3 MAP CODES SEED 18446744073709551615", k);
        for (int i = 0; i < 50; i++)
            reply_int(c, 1, "VADD k%d VALUES 2 1 %d e%d", k, i, i);
        redisReply *r = reply_any(c, "VPARTITION INFO k%d", k);
        assert_string_equal(field(r, "seed")->str, "18446744073709551615");
        assert_string_equal(field(r, "map")->str, "codes");
        freeReplyObject(r);
        r = reply_any(c, "VPARTITION INFO k%d 2", k);
        assert_string_equal(field(r, "state")->str, "open");
        assert_string_equal(field(r, "reason")->str, "");
        assert_int_equal(field(r, "saved")->integer, 0);
        assert_int_equal(field(r, "mapped_bytes")->integer, 0);
        assert_int_equal(field(r, "resident_bytes")->integer, 0);
        snprintf(digest[k], sizeof digest[k], "%s", field(r, "records_digest")->str);
        freeReplyObject(r);
    }
    assert_string_equal(digest[0], digest[1]);
    /* TRANSIENT: the key goes with its last element. */
    reply_status(c, "OK", "VPARTITION CREATE t DIM 2 TRANSIENT");
    reply_int(c, 1, "VADD t VALUES 2 1 2 e");
    reply_int(c, 1, "VREM t e");
    reply_int(c, 0, "EXISTS t");
    redisFree(c);
    both_stop(&b);
}

static void test_pin(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_status(c, "OK", "VPARTITION CREATE k DIM 2 PARTITIONS 2");
    static const char *const steps[] = { "PIN", "PIN", "UNPIN", "UNPIN" };
    for (int i = 0; i < 4; i++) {
        reply_status(c, "OK", "VPARTITION %s k 1", steps[i]);
        for (int p = 0; p < 2; p++) {
            redisReply *r = reply_any(c, "VPARTITION INFO k %d", p);
            assert_int_equal(field(r, "pinned")->integer, p == 1 && i < 2);
            freeReplyObject(r);
        }
    }
    redisFree(c);
    both_error(&b, "VPARTITION PIN nokey 0", "ERR key does not exist");
    both_error(&b, "VPARTITION PIN k 5", "ERR no such partition '5'");
    both_error(&b, "VPARTITION UNPIN k", "ERR wrong number of arguments for 'vpartition|unpin' command");
    both_stop(&b);
}

/* An element goes where the ring says, and only there; dropping a partition takes its elements. */
static void test_placement(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_status(c, "OK", "VPARTITION CREATE k DIM 2 PARTITIONS 4");
    for (int i = 0; i < 400; i++) {
        int homes = 0;
        for (int p = 0; p < 4; p++) {
            redisReply *r = reply_any(c, "VADD k VALUES 2 1 %d e%d PARTITION %d", i, i, p);
            if (r->type == REDIS_REPLY_INTEGER) {
                assert_int_equal(r->integer, 1);
                homes++;
            } else {
                assert_memory_equal(r->str, "ERR this index places elements by hash: this one belongs to partition '", 71);
            }
            freeReplyObject(r);
        }
        assert_int_equal(homes, 1);
    }
    redisReply *r = reply_any(c, "VPARTITION BALANCE k");
    assert_int_equal(field(r, "elements")->integer, 400);
    assert_int_equal(field(r, "partitions")->elements, 4);
    double imbalance = atof(field(r, "imbalance")->str), share = 0;
    long long largest = 0, elements = 0, bytes = 0, third = 0;
    for (size_t i = 0; i < 4; i++) {
        redisReply *p = field(r, "partitions")->element[i];
        long long n = field(p, "elements")->integer;
        assert_true(n > 0);
        largest = n > largest ? n : largest;
        elements += n;
        bytes += field(p, "bytes")->integer;
        share += atof(field(p, "share")->str);
        assert_true(field(p, "slot")->integer >= 0 && field(p, "slot")->integer < 16384);
        assert_string_equal(field(p, "node")->str, "self");
        if (i == 2)
            third = n;
    }
    assert_int_equal(field(field(r, "partitions")->element[0], "slot")->integer, 7629);
    assert_int_equal(field(r, "bytes")->integer, bytes);
    assert_int_equal(elements, 400);
    assert_true(share > 0.999999 && share < 1.000001);
    assert_true(imbalance > largest / 100.0 - 0.000001 && imbalance < largest / 100.0 + 0.000001);
    freeReplyObject(r);
    /* A search of one partition finds its elements alone. */
    r = reply_any(c, "VSEARCH k VALUES 2 1 1 K 1000 PARTITION 1 2");
    assert_int_equal(r->elements, third);
    freeReplyObject(r);
    reply_status(c, "OK", "VPARTITION DROP k 2");
    reply_int(c, 400 - third, "VCARD k");
    for (int i = 0; i < 400; i++)
        freeReplyObject(reply_any(c, "VADD k VALUES 2 1 %d e%d NX", i, i));
    reply_int(c, 400, "VCARD k");
    reply_error(c, "ERR no such partition '2'", "VPARTITION DROP k 2");
    redisFree(c);
    both_error(&b, "VPARTITION DROP k 0", "ERR the first partition cannot be dropped: DEL removes the whole index");
    both_error(&b, "VPARTITION DROP nokey 1", "ERR key does not exist");
    both_error(&b, "VPARTITION BALANCE nokey", "ERR key does not exist");
    both_stop(&b);
}

static void test_balance_of_nothing(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_status(c, "OK", "VPARTITION CREATE k DIM 2 PARTITIONS 2");
    redisReply *r = reply_any(c, "VPARTITION BALANCE k");
    assert_string_equal(field(r, "imbalance")->str, "1");
    freeReplyObject(r);
    redisFree(c);
    raw_talk(b.three, "VPARTITION BALANCE k\r\n", "%4\r\n$8\r\nelements\r\n:0\r\n");
    both_stop(&b);
}

static void test_help(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    redisReply *r = reply_array(c, -1, "VPARTITION HELP");
    assert_true(r->elements > 10);
    assert_int_equal(r->element[0]->type, REDIS_REPLY_STATUS);
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create), cmocka_unit_test(test_create_types), cmocka_unit_test(test_create_errors),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_pin), cmocka_unit_test(test_placement), cmocka_unit_test(test_balance_of_nothing),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
