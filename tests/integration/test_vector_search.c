/* VSEARCH and VMSEARCH: replies in RESP2 and RESP3, every option, every error. */
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
#include "lib/wait.h"

#define X "\"\\x00\\x00\\x80\\x3f\\x00\\x00\\x00\\x00\""
#define Y "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x3f\""

/* a (1,0), b (0,1), c (-1,0); a has attributes. */
static struct both filled(void)
{
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a SETATTR '{\"n\":1,\"s\":\"text\",\"o\":{\"x\":[1,true]},\"r\":0.1}'", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 b", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 -1 0 c SETATTR nojson", ":1\r\n");
    return b;
}

#define ATTRS "$45\r\n{\"n\":1,\"s\":\"text\",\"o\":{\"x\":[1,true]},\"r\":0.1}\r\n"

static void test_shapes(void **state)
{
    (void)state;
    struct both b = filled();
    both_same(&b, "VSEARCH k VALUES 2 1 0", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSEARCH k ELE c K 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k FP32 " Y " COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k FP16 \"\\x00\\x00\\x00\\x3c\" COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k BF16 \"\\x00\\x00\\x80\\x3f\" COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k I8 \"\\x00\\x01\" COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_talk(&b, "VSEARCH k VALUES 2 1 0 WITHSCORES",
              "*6\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n0.5\r\n$1\r\nc\r\n$1\r\n0\r\n",
              "%3\r\n$1\r\na\r\n,1\r\n$1\r\nb\r\n,0.5\r\n$1\r\nc\r\n,0\r\n");
    both_talk(&b, "VSEARCH k VALUES 2 1 0 WITHATTRIBS",
              "*6\r\n$1\r\na\r\n" ATTRS "$1\r\nb\r\n$-1\r\n$1\r\nc\r\n$6\r\nnojson\r\n",
              "%3\r\n$1\r\na\r\n" ATTRS "$1\r\nb\r\n_\r\n$1\r\nc\r\n$6\r\nnojson\r\n");
    both_talk(&b, "VSEARCH k VALUES 2 1 0 WITHATTRIBS WITHSCORES K 2",
              "*6\r\n$1\r\na\r\n$1\r\n1\r\n" ATTRS "$1\r\nb\r\n$3\r\n0.5\r\n$-1\r\n",
              "%2\r\n$1\r\na\r\n*2\r\n,1\r\n" ATTRS "$1\r\nb\r\n*2\r\n,0.5\r\n_\r\n");
    both_stop(&b);
}

static void test_fields(void **state)
{
    (void)state;
    struct both b = filled();
    both_talk(&b, "VSEARCH k VALUES 2 1 0 K 1 RETURN 5 n s o r missing",
              "*2\r\n$1\r\na\r\n*5\r\n$1\r\n1\r\n$4\r\ntext\r\n$14\r\n{\"x\":[1,true]}\r\n$3\r\n0.1\r\n$-1\r\n",
              "%1\r\n$1\r\na\r\n*5\r\n$1\r\n1\r\n$4\r\ntext\r\n$14\r\n{\"x\":[1,true]}\r\n$3\r\n0.1\r\n_\r\n");
    both_talk(&b, "VSEARCH k VALUES 2 1 0 WITHSCORES RETURN 1 n",
              "*9\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n0.5\r\n*1\r\n$-1\r\n$1\r\nc\r\n$1\r\n0\r\n*1\r\n$-1\r\n",
              "%3\r\n$1\r\na\r\n*2\r\n,1\r\n*1\r\n$1\r\n1\r\n$1\r\nb\r\n*2\r\n,0.5\r\n*1\r\n_\r\n$1\r\nc\r\n*2\r\n,0\r\n*1\r\n_\r\n");
    both_stop(&b);
}

/* In the order: score, attributes, vector, fields. */
static void test_vectors(void **state)
{
    (void)state;
    struct both b = filled();
    char bytes[128];
    static const char two[] = "*5\r\n$1\r\nb\r\n$1\r\n1\r\n$-1\r\n$8\r\n\0\0\0\0\0\0\200\077\r\n*1\r\n$-1\r\n";
    static const char three[] = "%1\r\n$1\r\nb\r\n*4\r\n,1\r\n_\r\n$8\r\n\0\0\0\0\0\0\200\077\r\n*1\r\n_\r\n";
    raw_puts(b.two, "VSEARCH k VALUES 2 0 1 RETURN 1 n WITHVECTORS WITHATTRIBS WITHSCORES K 1\r\n");
    raw_read(b.two, bytes, sizeof two - 1);
    assert_memory_equal(bytes, two, sizeof two - 1);
    raw_puts(b.three, "VSEARCH k VALUES 2 0 1 RETURN 1 n WITHVECTORS WITHATTRIBS WITHSCORES K 1\r\n");
    raw_read(b.three, bytes, sizeof three - 1);
    assert_memory_equal(bytes, three, sizeof three - 1);
    both_stop(&b);
}

static void test_options(void **state)
{
    (void)state;
    struct both b = filled();
    both_same(&b, "VSEARCH k VALUES 2 1 0 OFFSET 1", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 OFFSET 1 K 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 OFFSET 3", "*0\r\n");
    both_talk(&b, "VSEARCH k VALUES 2 1 0 OFFSET 3 WITHSCORES", "*0\r\n", "%0\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 K 1 K 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");  /* the last counts */
    both_same(&b, "VSEARCH k VALUES 2 1 0 EF 1 EXACT TIMEOUT 10000", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 EPSILON 0.5", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 EPSILON 0.4", "*1\r\n$1\r\na\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 RADIUS 0.5", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 RADIUS 0.5 K 1", "*1\r\n$1\r\na\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0 PARTITION 2 0 0", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    /* No key: an empty array before anything else is looked at. */
    both_same(&b, "VSEARCH nokey VALUES 0 WHAT", "*0\r\n");
    both_same(&b, "VSEARCH nokey VALUES 2 1 0 WITHSCORES WITHINFO", "*0\r\n");
    both_stop(&b);
}

static void test_metrics(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VPARTITION CREATE l DIM 2 METRIC L2", "+OK\r\n");
    both_two(&b, "VADD l VALUES 2 0 0 a", ":1\r\n");
    both_two(&b, "VADD l VALUES 2 3 4 b", ":1\r\n");
    both_talk(&b, "VSEARCH l VALUES 2 0 0 WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nb\r\n$1\r\n5\r\n",
              "%2\r\n$1\r\na\r\n,0\r\n$1\r\nb\r\n,5\r\n");
    both_same(&b, "VSEARCH l VALUES 2 0 0 RADIUS 5", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH l VALUES 2 0 0 RADIUS 4.9", "*1\r\n$1\r\na\r\n");
    both_error(&b, "VSEARCH l VALUES 2 0 0 EPSILON 1", "ERR EPSILON is for COSINE alone: this index is l2, use RADIUS");
    both_two(&b, "VPARTITION CREATE i DIM 2 METRIC IP TYPE FLAT NOQUANT", "+OK\r\n");
    both_two(&b, "VADD i VALUES 2 1 1 a", ":1\r\n");
    both_two(&b, "VADD i VALUES 2 -2 0 b", ":1\r\n");
    both_talk(&b, "VSEARCH i VALUES 2 2 0 WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$2\r\n-4\r\n",
              "%2\r\n$1\r\na\r\n,2\r\n$1\r\nb\r\n,-4\r\n");
    both_same(&b, "VSEARCH i VALUES 2 2 0 RADIUS -3", "*1\r\n$1\r\na\r\n");
    both_error(&b, "VSEARCH i VALUES 2 2 0 RADIUS inf", "ERR invalid RADIUS: a finite number is allowed");
    both_stop(&b);
}

static void test_info(void **state)
{
    (void)state;
    struct both b = filled();
    redisContext *c = server_connect(b.server);
    redisReply *r = reply_array(c, 2, "VSEARCH k VALUES 2 1 0 K 1 WITHINFO");
    assert_int_equal(r->element[0]->elements, 1);
    redisReply *info = r->element[1];
    assert_int_equal(info->elements, 16);
    static const char *const names[] = { "partitions_asked", "partitions_answered", "partial", "plan", "distances", "nodes",
                                         "time_us", "version" };
    for (size_t i = 0; i < 8; i++)
        assert_string_equal(info->element[2 * i]->str, names[i]);
    assert_int_equal(info->element[1]->integer, 1);
    assert_int_equal(info->element[3]->integer, 1);
    assert_int_equal(info->element[5]->integer, 0);
    assert_string_equal(info->element[7]->str, "scan");
    assert_true(info->element[9]->integer >= 3);
    assert_true(info->element[15]->integer >= 3);
    freeReplyObject(r);
    redisFree(c);
    char line[64];
    raw_puts(b.three, "VSEARCH k VALUES 2 1 0 K 1 WITHINFO\r\n");
    raw_expect(b.three, "*2\r\n*1\r\n$1\r\na\r\n%8\r\n$16\r\npartitions_asked\r\n:1\r\n$19\r\npartitions_answered\r\n:1\r\n"
                        "$7\r\npartial\r\n#f\r\n$4\r\nplan\r\n$4\r\nscan\r\n$9\r\ndistances\r\n");
    for (int i = 0; i < 10; i++)
        raw_line(b.three, line, sizeof line);
    both_same(&b, "PING", "+PONG\r\n");
    both_stop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    struct both b = filled();
#define ALLOWED "K, COUNT, OFFSET, EF, RADIUS, EPSILON, EXACT, FILTER, FILTER-EF, PARTITION, WITHSCORES, WITHATTRIBS, " \
                "WITHVECTORS, RETURN, TIMEOUT or WITHINFO is allowed"
#define Q "VSEARCH k VALUES 2 1 0 "
    both_error(&b, "VSEARCH k WHAT 1", "ERR invalid vector specification");
    both_error(&b, "VSEARCH k VALUES 2 1", "ERR invalid vector specification");
    both_error(&b, "VSEARCH k FP32 abc", "ERR invalid vector specification");
    both_error(&b, "VSEARCH k VALUES 2 1 nan",
               "ERR invalid vector specification: component 1 (counted from 0) is not a finite number");
    both_error(&b, "VSEARCH k VALUES 1 1", "ERR Vector dimension mismatch - got 1 but set has 2");
    both_error(&b, "VSEARCH k ELE nobody", "ERR element not found in set");
    both_error(&b, "VSEARCH k ELE", "ERR wrong number of arguments for 'vsearch' command");
    both_error(&b, Q "K 0", "ERR invalid K: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "K", "ERR invalid K: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "COUNT -1", "ERR invalid COUNT: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "COUNT 1000001", "ERR invalid COUNT: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "OFFSET -1", "ERR invalid OFFSET: a number of 0 to 1000000 is allowed");
    both_error(&b, Q "EF 0", "ERR invalid EF: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "EF 1000001", "ERR invalid EF: a number of 1 to 1000000 is allowed");
    both_error(&b, Q "RADIUS -1", "ERR invalid RADIUS: a number from 0 is allowed");
    both_error(&b, Q "RADIUS x", "ERR invalid RADIUS: a number from 0 is allowed");
    both_error(&b, Q "EPSILON 0", "ERR invalid EPSILON");
    both_error(&b, Q "EPSILON", "ERR invalid EPSILON");
    both_error(&b, Q "EPSILON 1 RADIUS 1", "ERR RADIUS and EPSILON exclude each other");
    both_error(&b, Q "PARTITION", "ERR invalid PARTITION: a number of 1 to 4096, then so many names, is allowed");
    both_error(&b, Q "PARTITION 2 0", "ERR invalid PARTITION: a number of 1 to 4096, then so many names, is allowed");
    both_error(&b, Q "PARTITION 1 x", "ERR no such partition 'x'");
    both_error(&b, Q "RETURN 0", "ERR invalid RETURN: a number of 1 to 256, then so many fields, is allowed");
    both_error(&b, Q "RETURN 2 a", "ERR invalid RETURN: a number of 1 to 256, then so many fields, is allowed");
    both_error(&b, Q "TIMEOUT 0", "ERR invalid TIMEOUT: a number of 1 to 86400000 is allowed");
    both_error(&b, Q "WHAT", "ERR syntax error in VSEARCH command near 'WHAT': " ALLOWED);
    both_error(&b, Q "RECALL 0.9", "ERR syntax error in VSEARCH command near 'RECALL': " ALLOWED);
    both_error(&b, "VMSEARCH k VALUES 1 x", "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed");
    both_error(&b, "VMSEARCH k FP32 0 x", "ERR invalid number of queries: a number of 1 to 1024 is allowed");
    both_error(&b, "VMSEARCH k FP32 1025 x", "ERR invalid number of queries: a number of 1 to 1024 is allowed");
    both_error(&b, "VMSEARCH k FP32 2 x", "ERR number of queries mismatch: 2 blobs are announced, 1 arguments follow");
    both_error(&b, "VMSEARCH k FP32 2 " X " abc", "ERR invalid vector specification");
    both_error(&b, "VMSEARCH k FP32 1 \"\\x00\\x00\\x80\\x3f\"", "ERR Vector dimension mismatch - got 1 but set has 2");
    both_error(&b, "VMSEARCH k FP32 1 " X " WHAT", "ERR syntax error in VMSEARCH command near 'WHAT': " ALLOWED);
    both_stop(&b);
}

static void test_vmsearch(void **state)
{
    (void)state;
    struct both b = filled();
    both_same(&b, "VMSEARCH k FP32 2 " X " " Y " K 1", "*2\r\n*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n");
    both_talk(&b, "VMSEARCH k FP32 1 " X " K 1 WITHSCORES", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n", "*1\r\n%1\r\n$1\r\na\r\n,1\r\n");
    both_same(&b, "VMSEARCH nokey FP32 9 x", "*0\r\n");
    redisContext *c = server_connect(b.server);
    float x[2] = { 1, 0 }, y[2] = { 0, 1 };
    redisReply *r = reply_array(c, 2, "VMSEARCH k FP32 2 %b %b WITHINFO", x, sizeof x, y, sizeof y);
    assert_int_equal(r->element[0]->elements, 2);
    assert_int_equal(r->element[1]->elements, 2);
    assert_int_equal(r->element[1]->element[1]->elements, 16);
    freeReplyObject(r);
    redisFree(c);
    both_stop(&b);
}

/* Several partitions, more elements than one batch, pipelined: the order of replies is that of the commands, and every element
 * finds itself. */
static void test_pipelined(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    enum { N = 2000, DIM = 8 };
    static float vectors[N][DIM];
    unsigned seed = 7;
    reply_status(c, "OK", "VPARTITION CREATE k DIM 8 PARTITIONS 3");
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < DIM; j++)
            vectors[i][j] = (float)(rand_r(&seed) % 2000) / 1000 - 1;
        redisAppendCommand(c, "VADD k FP32 %b e%d", vectors[i], sizeof vectors[i], i);
    }
    redisReply *r;
    for (int i = 0; i < N; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->integer, 1);
        freeReplyObject(r);
    }
    for (int i = 0; i < N; i++) {
        redisAppendCommand(c, "VSEARCH k FP32 %b K 1", vectors[i], sizeof vectors[i]);
        if (i % 10 == 0)
            redisAppendCommand(c, "ECHO %d", i);
    }
    for (int i = 0; i < N; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->elements, 1);
        assert_string_equal(r->element[0]->str, id);
        freeReplyObject(r);
        if (i % 10 == 0) {
            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            assert_int_equal(atoi(r->str), i);
            freeReplyObject(r);
        }
    }
    /* A client that leaves before its answers come. */
    redisContext *gone = server_connect(s);
    for (int i = 0; i < N; i++)
        redisAppendCommand(gone, "VSEARCH k FP32 %b K 100 EXACT", vectors[i], sizeof vectors[i]);
    int written = 0;
    while (!written)
        assert_int_equal(redisBufferWrite(gone, &written), REDIS_OK);
    redisFree(gone);
    reply_int(c, N, "VCARD k");
    reply_status(c, "OK", "FLUSHALL");
    redisFree(c);
    server_stop(s);
}

/* Does the loop run this search itself? */
static bool on_loop(redisContext *info, redisContext *c, const char *options)
{
    char command[128];
    snprintf(command, sizeof command, "VSEARCH k VALUES 2 1 0 %s", options);
    double before = reply_info(info, "vecstore", "searches_on_loop");
    freeReplyObject(reply_array(c, -1, command));
    return reply_info(info, "vecstore", "searches_on_loop") > before;
}

static void until_loop_searches(redisContext *info, redisContext *c, const char *options)
{
    int64_t end = wait_now_ms() + 20000;
    while (!on_loop(info, c, options))
        assert_true(wait_now_ms() < end);
}

/* The loop itself runs the searches of a client that is alone and sends one at a time; whatever may take longer, and searches of
 * two, workers do. */
static void test_lone_client(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s), *other = server_connect(s), *info = server_connect(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    reply_int(c, 1, "VADD k VALUES 2 0 1 b");
    until_loop_searches(info, c, "K 2 EF 100");
    assert_false(on_loop(info, c, "K 2 EF 101"));
    assert_false(on_loop(info, c, "K 3 EF 100"));
    until_loop_searches(info, c, "K 1 EF 10");
    assert_false(on_loop(info, c, "K 1 EF 10 EXACT"));
    assert_false(on_loop(info, c, "K 1 EF 10 WITHVECTORS"));
    for (int i = 0; i < 40; i++)
        assert_false(on_loop(info, i % 2 ? c : other, "K 1 EF 10"));
    /* Where elements end by themselves a search may have to look beyond many that have. */
    until_loop_searches(info, c, "K 2 EF 100");
    reply_int(other, 1, "VEXPIRE k 1000 b");
    for (int i = 0; i < 40; i++)
        assert_false(on_loop(info, c, "K 2 EF 100"));
    reply_int(other, 1, "VPERSIST k b");
    /* A pipeline is not one at a time. */
    until_loop_searches(info, c, "K 2 EF 100");
    for (int i = 0; i < 100; i++)
        redisAppendCommand(c, "VSEARCH k VALUES 2 %d 1 K 1 EF 10", i);
    double before = reply_info(info, "vecstore", "searches_on_loop");
    for (int i = 0; i < 100; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->elements, 1);
        assert_string_equal(r->element[0]->str, i > 1 ? "a" : i ? r->element[0]->str : "b");
        freeReplyObject(r);
    }
    assert_true(reply_info(info, "vecstore", "searches_on_loop") - before < 50);
    redisFree(c);
    redisFree(other);
    redisFree(info);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_fields), cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_options), cmocka_unit_test(test_metrics), cmocka_unit_test(test_info),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_vmsearch), cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_lone_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
