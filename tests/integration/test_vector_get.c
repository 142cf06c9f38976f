/* The commands that read elements and describe an index: replies in RESP2 and RESP3, every error. */
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

static void test_small_ones(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 3 1 2 3 a", ":1\r\n");
    both_same(&b, "VCARD k", ":1\r\n");
    both_same(&b, "VCARD nokey", ":0\r\n");
    both_same(&b, "VDIM k", ":3\r\n");
    both_error(&b, "VDIM nokey", "ERR key does not exist");
    both_yes(&b, "VISMEMBER k a");
    both_no(&b, "VISMEMBER k b");
    both_no(&b, "VISMEMBER nokey a");
    both_same(&b, "TYPE k", "+vectorset\r\n");
    both_error(&b, "VCARD", "ERR wrong number of arguments for 'vcard' command");
    both_error(&b, "VDIM k k", "ERR wrong number of arguments for 'vdim' command");
    both_error(&b, "VISMEMBER k", "ERR wrong number of arguments for 'vismember' command");
    both_error(&b, "VGETATTR k", "ERR wrong number of arguments for 'vgetattr' command");
    both_stop(&b);
}

static void test_vget(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    float x[3] = { 1, -2, 0.3f };
    reply_int(c, 1, "VADD k FP32 %b a SETATTR {}", x, sizeof x);
    reply_int(c, 1, "VADD k FP32 %b b", x, sizeof x);
    redisReply *r = reply_array(c, 2, "VGET k a");
    assert_int_equal(r->element[0]->len, sizeof x);
    assert_memory_equal(r->element[0]->str, x, sizeof x);
    assert_string_equal(r->element[1]->str, "{}");
    freeReplyObject(r);
    r = reply_array(c, 1, "VGET k a WITHATTRIBS");
    assert_string_equal(r->element[0]->str, "{}");
    freeReplyObject(r);
    r = reply_array(c, 1, "VGET k b WITHVECTORS");
    assert_memory_equal(r->element[0]->str, x, sizeof x);
    freeReplyObject(r);
    r = reply_array(c, 2, "VGET k b WITHVECTORS WITHATTRIBS");
    assert_int_equal(r->element[1]->type, REDIS_REPLY_NIL);
    freeReplyObject(r);
    reply_null(c, "VGET k nobody");
    reply_null(c, "VGET nokey a");
    r = reply_array(c, 3, "VMGET k 3 a nobody b WITHATTRIBS");
    assert_string_equal(r->element[0]->element[0]->str, "{}");
    assert_int_equal(r->element[1]->type, REDIS_REPLY_NIL);
    assert_int_equal(r->element[2]->element[0]->type, REDIS_REPLY_NIL);
    freeReplyObject(r);
    r = reply_array(c, 1, "VMGET nokey 1 a");
    assert_int_equal(r->element[0]->type, REDIS_REPLY_NIL);
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

static void test_vget_raw(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 1 1 WITHATTRIBS SETATTR {}", ":1\r\n");
    both_same(&b, "VGET k WITHATTRIBS WITHATTRIBS", "*1\r\n$2\r\n{}\r\n");
    both_null(&b, "VGET k nobody");
    both_talk(&b, "VMGET k 2 nobody WITHATTRIBS WITHATTRIBS", "*2\r\n$-1\r\n*1\r\n$2\r\n{}\r\n", "*2\r\n_\r\n*1\r\n$2\r\n{}\r\n");
    both_error(&b, "VGET k a WHAT", "ERR syntax error in VGET command near 'WHAT': WITHVECTORS or WITHATTRIBS is allowed");
    both_error(&b, "VMGET k 1 a WHAT", "ERR syntax error in VMGET command near 'WHAT': WITHVECTORS or WITHATTRIBS is allowed");
    both_error(&b, "VMGET k 0 a", "ERR number of elements mismatch: a number from 1, then so many elements, is allowed");
    both_error(&b, "VMGET k 2 a", "ERR number of elements mismatch: a number from 1, then so many elements, is allowed");
    both_error(&b, "VMGET k x a", "ERR number of elements mismatch: a number from 1, then so many elements, is allowed");
    both_error(&b, "VGET k", "ERR wrong number of arguments for 'vget' command");
    both_error(&b, "VMGET k 1", "ERR wrong number of arguments for 'vmget' command");
    both_stop(&b);
}

static void test_vemb(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 0.1 3 a", ":1\r\n");
    both_talk(&b, "VEMB k a", "*2\r\n$19\r\n0.10000000149011612\r\n$1\r\n3\r\n", "*2\r\n,0.10000000149011612\r\n,3\r\n");
    both_null(&b, "VEMB k nobody");
    both_null(&b, "VEMB nokey a");
    both_null(&b, "VEMB k nobody RAW");
    both_error(&b, "VEMB k a WHAT", "ERR invalid option");
    both_error(&b, "VEMB k a RAW WHAT", "ERR invalid option");
    both_error(&b, "VEMB k", "ERR wrong number of arguments for 'vemb' command");
    both_two(&b, "VADD bits VALUES 3 0.1 -7 0 a BIN", ":1\r\n");
    both_talk(&b, "VEMB bits a", "*3\r\n$1\r\n1\r\n$2\r\n-1\r\n$2\r\n-1\r\n", "*3\r\n,1\r\n,-1\r\n,-1\r\n");
    both_two(&b, "VADD zero VALUES 2 0 0 a", ":1\r\n");
    both_talk(&b, "VEMB zero a", "*2\r\n$1\r\n0\r\n$1\r\n0\r\n", "*2\r\n,0\r\n,0\r\n");
    both_stop(&b);
}

/* The components that RAW stands for are those of VEMB. */
static void test_vemb_raw(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD q VALUES 3 1 -2 0.5 a");
    reply_int(c, 1, "VADD f VALUES 3 1 -2 0.5 a NOQUANT");
    static const double x[3] = { 1, -2, 0.5 };
    redisReply *r = reply_array(c, 4, "VEMB q a RAW");
    assert_int_equal(r->element[0]->type, REDIS_REPLY_STATUS);
    assert_string_equal(r->element[0]->str, "int8");
    assert_int_equal(r->element[1]->len, 3);
    double norm = atof(r->element[2]->str), range = atof(r->element[3]->str);
    for (int i = 0; i < 3; i++) {
        double value = (signed char)r->element[1]->str[i] * range / 127 * norm;
        assert_true(value - x[i] < 0.01 && x[i] - value < 0.01);
    }
    freeReplyObject(r);
    r = reply_array(c, 3, "VEMB f a RAW");
    assert_string_equal(r->element[0]->str, "f32");
    assert_int_equal(r->element[1]->len, 12);
    float unit[3];
    memcpy(unit, r->element[1]->str, sizeof unit);
    norm = atof(r->element[2]->str);
    for (int i = 0; i < 3; i++) {
        double value = unit[i] * norm;
        assert_true(value - x[i] < 1e-6 && x[i] - value < 1e-6);
    }
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

/* As many components as there may be: read and written in slices. */
static void test_widest(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    enum { DIM = 65536 };
    static const char *argv[5 + DIM];
    static char text[DIM][8];
    argv[0] = "VADD", argv[1] = "k", argv[2] = "VALUES", argv[3] = "65536";
    for (int i = 0; i < DIM; i++) {
        snprintf(text[i], sizeof text[i], "%d", i % 1000 - 500);
        argv[4 + i] = text[i];
    }
    argv[4 + DIM] = "a";
    redisReply *r = reply_argv(c, 5 + DIM, argv, NULL);
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
    r = reply_array(c, DIM, "VEMB k a");
    for (int i = 0; i < DIM; i++)
        assert_string_equal(r->element[i]->str, text[i]);
    freeReplyObject(r);
    argv[0] = "VSEARCH";
    r = reply_argv(c, 4 + DIM, argv, NULL);
    assert_int_equal(r->elements, 1);
    freeReplyObject(r);
    strcpy(text[DIM - 1], "nan");
    argv[0] = "VADD";
    r = reply_argv(c, 5 + DIM, argv, NULL);
    assert_string_equal(r->str, "ERR invalid vector specification: component 65535 (counted from 0) is not a finite number");
    freeReplyObject(r);
    reply_error(c, "ERR invalid vector specification", "VADD k VALUES 65537 1 a");
    redisFree(c);
    server_stop(s);
}

static void test_vinfo(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a SETATTR x", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 b", ":1\r\n");
    both_talk(&b, "VINFO nokey", "*-1\r\n", "_\r\n");
    both_error(&b, "VINFO", "ERR wrong number of arguments for 'vinfo' command");
    static const char head[] = "+quant-type\r\n+int8\r\n+hnsw-m\r\n:16\r\n+vector-dim\r\n:2\r\n+projection-input-dim\r\n:0\r\n"
                               "+size\r\n:2\r\n+max-level\r\n:0\r\n+attributes-count\r\n:1\r\n+vset-uid\r\n";
    char line[64];
    raw_talk(b.two, "VINFO k\r\n", "*36\r\n");
    raw_expect(b.two, head);
    raw_talk(b.three, "VINFO k\r\n", "%18\r\n");
    raw_expect(b.three, head);
    for (int i = 0; i < 36 - 15; i++) {
        raw_line(b.two, line, sizeof line);
        raw_line(b.three, line, sizeof line);
    }
    both_same(&b, "PING", "+PONG\r\n");
    both_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_ones), cmocka_unit_test(test_vget), cmocka_unit_test(test_vget_raw),
        cmocka_unit_test(test_vemb), cmocka_unit_test(test_vemb_raw), cmocka_unit_test(test_widest),
        cmocka_unit_test(test_vinfo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
