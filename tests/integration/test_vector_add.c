/* VADD, VMADD, VDEL, VREM, VSETATTR: replies in RESP2 and RESP3, every error, and what they leave behind. */
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

/* 1,0 and 0,1 as FP32 within an inline command */
#define X "\"\\x00\\x00\\x80\\x3f\\x00\\x00\\x00\\x00\""
#define Y "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x3f\""
#define NAN_Y "\"\\x00\\x00\\xc0\\x7f\\x00\\x00\\x80\\x3f\""

static void test_replies(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_talk(&b, "VADD k VALUES 2 1 0 a", ":1\r\n", "#f\r\n");
    both_talk(&b, "vadd k values 2 0 1 b", ":1\r\n", "#f\r\n");
    both_three(&b, "VADD k FP32 " X " c", "#t\r\n");
    both_two(&b, "VADD k FP32 " X " c", ":0\r\n");
    both_null(&b, "VADD k VALUES 2 1 0 a NX");
    both_null(&b, "VADD k VALUES 2 1 0 nobody XX");
    both_null(&b, "VADD nokey VALUES 2 1 0 nobody XX");
    both_no(&b, "VADD k VALUES 2 1 0 a XX");
    both_two(&b, "VADD k VALUES 2 1 0 d NX", ":1\r\n");
    both_same(&b, "EXISTS nokey", ":0\r\n");
    both_same(&b, "VCARD k", ":4\r\n");
    /* Options that the index agrees with, and those without effect. */
    both_no(&b, "VADD k VALUES 2 1 0 a CAS Q8 M 16 EF 300 ORIGINALS F32 PARTITION 0 ACK ONE");
    both_no(&b, "VADD k VALUES 2 1 0 a ACK QUORUM 100");
    both_no(&b, "VADD k VALUES 2 1 0 a ack all 0 cas");
    both_stop(&b);
}

static void test_formats(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k FP16 \"\\x00\\x3c\\x00\\xc0\" half", ":1\r\n");
    both_two(&b, "VADD k BF16 \"\\x80\\x3f\\x00\\xc0\" brain", ":1\r\n");
    both_two(&b, "VADD k I8 \"\\x01\\xfe\" bytes", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 1 -2 numbers", ":1\r\n");
    both_talk(&b, "VEMB k half", "*2\r\n$1\r\n1\r\n$2\r\n-2\r\n", "*2\r\n,1\r\n,-2\r\n");
    both_talk(&b, "VEMB k brain", "*2\r\n$1\r\n1\r\n$2\r\n-2\r\n", "*2\r\n,1\r\n,-2\r\n");
    both_talk(&b, "VEMB k bytes", "*2\r\n$1\r\n1\r\n$2\r\n-2\r\n", "*2\r\n,1\r\n,-2\r\n");
    both_talk(&b, "VEMB k numbers", "*2\r\n$1\r\n1\r\n$2\r\n-2\r\n", "*2\r\n,1\r\n,-2\r\n");
    both_stop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    for (int there = 0; there < 2; there++) {
#define SPEC "ERR invalid vector specification"
#define EACH(rest, error) (there ? both_error(&b, "VADD k " rest, error) : both_error(&b, "VADD new " rest, error))
        EACH("VALUES 0 a b", SPEC);
        EACH("VALUES x 1 a", SPEC);
        EACH("VALUES -1 1 a", SPEC);
        EACH("VALUES 3 1 2", SPEC);
        EACH("VALUES 99999999999 1 2", SPEC);
        EACH("VALUES 2 1 zwei a", SPEC);
        EACH("VALUES 2 1 \"\" a", SPEC);
        EACH("VALUES 2 1 nan a", SPEC ": component 1 (counted from 0) is not a finite number");
        EACH("VALUES 2 -inf 1 a", SPEC ": component 0 (counted from 0) is not a finite number");
        EACH("VALUES 2 1e39 1 a", SPEC ": component 0 (counted from 0) is not a finite number");
        EACH("FP32 " NAN_Y " a", SPEC ": component 0 (counted from 0) is not a finite number");
        EACH("FP16 \"\\x00\\x3c\\x00\\x7c\" a", SPEC ": component 1 (counted from 0) is not a finite number");
        EACH("FP32 abc a", SPEC);
        EACH("FP32 \"\" a", SPEC);
        EACH("FP16 abc a", SPEC);
        EACH("WHAT abc a", SPEC);
        EACH("VALUES 2 1 2 a EF 0", "ERR invalid EF");
        EACH("VALUES 2 1 2 a EF 1000001", "ERR invalid EF");
        EACH("VALUES 2 1 2 a EF x", "ERR invalid EF");
        EACH("VALUES 2 1 2 a EF", "ERR invalid EF");
        EACH("VALUES 2 1 2 a M 3", "ERR invalid M");
        EACH("VALUES 2 1 2 a M 4097", "ERR invalid M");
        EACH("VALUES 2 1 2 a WHAT", "ERR invalid option after element");
        EACH("VALUES 2 1 2 a SETATTR", "ERR invalid option after element");
        EACH("VALUES 2 1 2 a ORIGINALS F64", "ERR invalid ORIGINALS: F32, F16 or NONE is allowed");
        EACH("VALUES 2 1 2 a NX XX", "ERR NX and XX exclude each other");
        EACH("VALUES 2 1 2 a ACK", "ERR invalid ACK: ONE, QUORUM or ALL, then optionally milliseconds, is allowed");
        EACH("VALUES 2 1 2 a ACK ONE -1", "ERR invalid ACK: the time-out is negative");
        EACH("VALUES 2 1 2 a PARTITION", "ERR PARTITION needs the name of a partition");
        EACH("VALUES 2 1 2 a PARTITION x", "ERR no such partition 'x': this element belongs to partition '0'");
        EACH("VALUES 2 1 2 a TEXT f t", "ERR the option TEXT is not offered by this server");
        EACH("VALUES 2 1 2 a EX", "ERR EX needs a time");
        EACH("VALUES 2 1 2 a EX x", "ERR value is not an integer or out of range");
        EACH("VALUES 2 1 2 a EX 0", "ERR invalid expire time in 'vadd' command");
        EACH("VALUES 2 1 2 a PX -1", "ERR invalid expire time in 'vadd' command");
        EACH("VALUES 2 1 2 a EX 9223372036854775", "ERR invalid expire time in 'vadd' command");
        EACH("VALUES 2 1 2 a EXAT 9223372036854776", "ERR invalid expire time in 'vadd' command");
        EACH("VALUES 2 1 2 a PX 9223372036854775807", "ERR invalid expire time in 'vadd' command");
        EACH("VALUES 2 1 2 a PXAT 9223372036854775808", "ERR value is not an integer or out of range");
        EACH("VALUES 2 1 2 a EX 1 KEEPTTL", "ERR EX, PX, EXAT, PXAT and KEEPTTL exclude each other");
        EACH("VALUES 2 1 2 a KEEPTTL PXAT 4102444800000", "ERR EX, PX, EXAT, PXAT and KEEPTTL exclude each other");
        EACH("REDUCE 0 VALUES 2 1 2 a", "ERR invalid vector specification");
        EACH("REDUCE x VALUES 2 1 2 a", "ERR invalid vector specification");
        EACH("REDUCE 3 VALUES 2 1 2 a", "ERR invalid vector specification");
        EACH("VALUES 2 1 2", "ERR wrong number of arguments for 'vadd' command");
    }
    both_error(&b, "VADD k VALUES 1 1", "ERR wrong number of arguments for 'vadd' command");
    both_error(&b, "VADD k FP32 " X, "ERR wrong number of arguments for 'vadd' command");
    both_error(&b, "VADD k VALUES 3 1 2 3 a", "ERR Vector dimension mismatch - got 3 but set has 2");
    both_error(&b, "VADD k VALUES 2 1 2 a NOQUANT", "ERR asked quantization mismatch with existing vector set");
    both_error(&b, "VADD k VALUES 2 1 2 a M 8", "ERR asked M value mismatch with existing vector set");
    both_error(&b, "VADD k VALUES 2 1 2 a ORIGINALS F16", "ERR asked ORIGINALS mismatch with existing vector set");
    /* Nothing changed, no index stayed behind. */
    both_same(&b, "DBSIZE", ":1\r\n");
    both_same(&b, "VCARD k", ":1\r\n");
    both_talk(&b, "VEMB k a", "*2\r\n$1\r\n1\r\n$1\r\n0\r\n", "*2\r\n,1\r\n,0\r\n");
    both_stop(&b);
}

static void test_half_originals(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_error(&b, "VADD k VALUES 2 1 70000 a ORIGINALS F16",
               "ERR invalid vector specification: component 1 (counted from 0) does not fit the element type");
    both_same(&b, "EXISTS k", ":0\r\n");
    both_two(&b, "VADD k VALUES 2 1 65504 a ORIGINALS F16", ":1\r\n");
    both_stop(&b);
}

static void test_no_autocreate(void **state)
{
    (void)state;
    static const char *const args[] = { "--index-autocreate", "no", NULL };
    struct both b = both_start(args);
    both_error(&b, "VADD k VALUES 2 1 0 a",
               "ERR no such index 'k': create it with VPARTITION CREATE (index-autocreate is no)");
    both_error(&b, "VMADD k FP32 1 a " X,
               "ERR no such index 'k': create it with VPARTITION CREATE (index-autocreate is no)");
    both_two(&b, "VPARTITION CREATE k DIM 2", "+OK\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    both_stop(&b);
}

/* Ids that look like options, that are empty, that hold any bytes, that are as long as may be. */
static void test_ids(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    static const char *const words[] = { "NX", "XX", "EF", "SETATTR", "WITHSCORES", "VALUES", "FP32", "PARTITION", "", "K" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        reply_int(c, 1, "VADD k VALUES 2 1 %d %b", (int)i, words[i], strlen(words[i]));
        reply_int(c, 1, "VISMEMBER k %b", words[i], strlen(words[i]));
    }
    reply_int(c, 10, "VCARD k");
    freeReplyObject(reply_array(c, 10, "VSEARCH k ELE %s", "K"));
    freeReplyObject(reply_array(c, 2, "VGET k %s", "WITHSCORES"));
    reply_int(c, 10, "VDEL k NX XX EF SETATTR WITHSCORES VALUES FP32 PARTITION %b K", "", (size_t)0);
    reply_int(c, 0, "EXISTS k");

    reply_int(c, 1, "VADD k VALUES 2 1 0 %b", "a\0\r\n\xff", (size_t)5);
    reply_int(c, 1, "VISMEMBER k %b", "a\0\r\n\xff", (size_t)5);
    reply_int(c, 0, "VISMEMBER k a");
    char *id = malloc(65537);
    memset(id, 'x', 65537);
    reply_int(c, 1, "VADD k VALUES 2 1 0 %b", id, (size_t)65536);
    reply_error(c, "ERR element too long - got 65537 bytes but at most 65536 are allowed", "VADD k VALUES 2 1 0 %b", id,
                (size_t)65537);
    reply_int(c, 1, "VREM k %b", id, (size_t)65536);
    free(id);
    redisFree(c);
    server_stop(s);
}

static void test_attributes(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a SETATTR '{\"n\":1}'", ":1\r\n");
    both_same(&b, "VGETATTR k a", "$7\r\n{\"n\":1}\r\n");
    both_no(&b, "VADD k VALUES 2 0 1 a");             /* keeps them */
    both_same(&b, "VGETATTR k a", "$7\r\n{\"n\":1}\r\n");
    both_no(&b, "VADD k VALUES 2 0 1 a SETATTR ''");  /* removes them */
    both_null(&b, "VGETATTR k a");
    both_two(&b, "VADD k VALUES 2 0 1 b SETATTR ''", ":1\r\n");     /* stores the empty string */
    both_same(&b, "VGETATTR k b", "$0\r\n\r\n");
    both_yes(&b, "VSETATTR k a 'not json'");
    both_same(&b, "VGETATTR k a", "$8\r\nnot json\r\n");
    both_yes(&b, "VSETATTR k a ''");
    both_null(&b, "VGETATTR k a");
    both_no(&b, "VSETATTR k nobody x");
    both_no(&b, "VSETATTR nokey a x");
    both_null(&b, "VGETATTR k nobody");
    both_null(&b, "VGETATTR nokey a");
    both_two(&b, "VPARTITION CREATE s DIM 2 STRICT", "+OK\r\n");
    both_error(&b, "VADD s VALUES 2 1 0 a SETATTR {", "ERR invalid JSON in attributes: this index was created STRICT");
    both_same(&b, "VCARD s", ":0\r\n");
    both_two(&b, "VADD s VALUES 2 1 0 a SETATTR '[1]'", ":1\r\n");
    both_error(&b, "VSETATTR s a '1 2'", "ERR invalid JSON in attributes: this index was created STRICT");
    both_same(&b, "VGETATTR s a", "$3\r\n[1]\r\n");
    both_yes(&b, "VSETATTR s a '\"text\"'");
    both_error(&b, "VSETATTR s a", "ERR wrong number of arguments for 'vsetattr' command");
    both_stop(&b);
}

static void test_long_attributes(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    size_t len = 16u << 20;
    char *text = malloc(len + 1);
    memset(text, 'x', len + 1);
    reply_error(c, "ERR attributes too long - got 16777217 bytes but at most 16777216 are allowed",
                "VADD k VALUES 2 1 0 a SETATTR %b", text, len + 1);
    reply_int(c, 0, "EXISTS k");
    reply_int(c, 1, "VADD k VALUES 2 1 0 a SETATTR %b", text, len);
    reply_error(c, "ERR attributes too long", "VSETATTR k a %b", text, len + 1);
    free(text);
    redisFree(c);
    server_stop(s);
}

static void test_vmadd(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VMADD k FP32 2 a " X " b " Y, "*2\r\n:1\r\n:1\r\n");
    both_three(&b, "VMADD k FP32 2 a " X " c " Y " WITHATTRS '' '{\"n\":1}'", "*2\r\n#f\r\n#t\r\n");
    both_same(&b, "VGETATTR k c", "$7\r\n{\"n\":1}\r\n");
    both_null(&b, "VGETATTR k a");
    both_talk(&b, "VMADD k FP32 1 c " Y " WITHATTRS ''", "*1\r\n:0\r\n", "*1\r\n#f\r\n");
    both_null(&b, "VGETATTR k c");
    both_talk(&b, "VMADD k I8 2 a \"\\x01\\x02\" b \"\\x03\\x04\" NX", "*2\r\n$-1\r\n$-1\r\n", "*2\r\n_\r\n_\r\n");
    both_two(&b, "VMADD k FP16 2 a \"\\x00\\x3c\\x00\\x3c\" n \"\\x00\\x3c\\x00\\x3c\" XX", "*2\r\n:0\r\n$-1\r\n");
    both_talk(&b, "VMADD nokey FP32 1 a " X " XX", "*1\r\n$-1\r\n", "*1\r\n_\r\n");
    both_same(&b, "EXISTS nokey", ":0\r\n");
    /* An error is its entry's alone. */
    both_two(&b, "VMADD k FP32 4 d " X " e abc f " NAN_Y " g \"\\x00\\x00\\x80\\x3f\"",
             "*4\r\n:1\r\n-ERR invalid vector specification\r\n"
             "-ERR invalid vector specification: component 0 (counted from 0) is not a finite number\r\n"
             "-ERR Vector dimension mismatch - got 1 but set has 2\r\n");
    both_same(&b, "VCARD k", ":4\r\n");
    /* The first entry that can be added makes the index. */
    both_two(&b, "VMADD new FP32 3 a abc b " X " c " Y,
             "*3\r\n-ERR invalid vector specification\r\n:1\r\n:1\r\n");
    both_same(&b, "VCARD new", ":2\r\n");
    both_same(&b, "VMADD none FP32 1 a abc", "*1\r\n-ERR invalid vector specification\r\n");
    both_same(&b, "EXISTS none", ":0\r\n");
    both_stop(&b);
}

static void test_vmadd_errors(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VMADD k FP32 2 a " X " b " Y, "*2\r\n:1\r\n:1\r\n");
    both_error(&b, "VMADD k VALUES 1 a " X, "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed");
    both_error(&b, "VMADD k FP32 0 a " X, "ERR invalid number of entries: a number from 1 is allowed");
    both_error(&b, "VMADD k FP32 x a " X, "ERR invalid number of entries: a number from 1 is allowed");
    both_error(&b, "VMADD k FP32 2 a " X " b",
               "ERR number of entries mismatch: 2 pairs of element and blob are announced, 3 arguments follow");
    both_error(&b, "VMADD k FP32 9223372036854775807 a " X " b",
               "ERR number of entries mismatch: 9223372036854775807 pairs of element and blob are announced, 3 arguments follow");
    both_error(&b, "VMADD k FP32 2 a " X " b " Y " WITHATTRS 1", "ERR WITHATTRS needs one argument for each of the 2 entries");
    both_error(&b, "VMADD k FP32 1 a " X " WHAT",
               "ERR syntax error in VMADD command near 'WHAT': WITHATTRS, PARTITION, ATOMIC, NOQUANT, Q8, F16, BF16, Q4, BIN, ORIGINALS, EF, M, NX, "
               "XX, EX, PX, EXAT, PXAT, KEEPTTL or ACK is allowed");
    both_error(&b, "VMADD k FP32 1 a " X " NOQUANT", "ERR asked quantization mismatch with existing vector set");
    both_error(&b, "VMADD k FP32 1 a " X " M 1", "ERR invalid M");
    both_same(&b, "VMADD k FP32 1 a " X " PARTITION x",
              "*1\r\n-ERR no such partition 'x': this element belongs to partition '0'\r\n");
    both_same(&b, "VMADD new FP32 1 a " X " PARTITION x",
              "*1\r\n-ERR no such partition 'x': this element belongs to partition '0'\r\n");
    both_error(&b, "VMADD k FP32 1 a", "ERR wrong number of arguments for 'vmadd' command");
    both_same(&b, "DBSIZE", ":1\r\n");
    both_stop(&b);
}

static void test_vmadd_atomic(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VMADD k FP32 2 a " X " b " Y " ATOMIC", "*2\r\n:1\r\n:1\r\n");
    both_error(&b, "VMADD k FP32 2 c " X " d abc ATOMIC", "ERR entry 1 (counted from 0): invalid vector specification");
    both_error(&b, "VMADD k FP32 2 c " X " d \"\\x00\\x00\\x80\\x3f\" ATOMIC",
               "ERR entry 1 (counted from 0): Vector dimension mismatch - got 1 but set has 2");
    both_error(&b, "VMADD k FP32 2 c " X " a " X " NX ATOMIC", "ERR entry 1 (counted from 0): the element exists (NX)");
    both_error(&b, "VMADD k FP32 2 a " X " c " X " XX ATOMIC", "ERR entry 1 (counted from 0): the element does not exist (XX)");
    both_error(&b, "VMADD new FP32 2 a " X " c " NAN_Y " ATOMIC",
               "ERR entry 1 (counted from 0): invalid vector specification: component 0 (counted from 0) is not a finite number");
    both_error(&b, "VMADD new FP32 1 a " X " ATOMIC PARTITION x",
               "ERR no such partition 'x': this element belongs to partition '0'");
    both_same(&b, "VCARD k", ":2\r\n");
    both_same(&b, "DBSIZE", ":1\r\n");

    redisContext *c = server_connect(b.server);
    const char *argv[4 + 2 * 257 + 1] = { "VMADD", "k", "I8", "257" };
    for (int i = 0; i < 257; i++) {
        argv[4 + 2 * i] = "a";
        argv[5 + 2 * i] = "xy";
    }
    argv[4 + 2 * 257] = "ATOMIC";
    redisReply *r = reply_argv(c, 4 + 2 * 257 + 1, argv, NULL);
    assert_string_equal(r->str, "ERR ATOMIC takes at most 256 entries and 262144 components in all");
    freeReplyObject(r);
    redisFree(c);
    both_stop(&b);
}

#define MANY 3000
#define MANY_DIM 16

/* Sends a VMADD of many elements, without waiting for its answer. */
static void send_many(redisContext *c)
{
    static const char *argv[4 + 2 * MANY];
    static size_t lens[4 + 2 * MANY];
    static char ids[MANY][8];
    static float vectors[MANY][MANY_DIM];
    argv[0] = "VMADD", argv[1] = "k", argv[2] = "FP32", argv[3] = "3000";
    for (int i = 0; i < 4; i++)
        lens[i] = strlen(argv[i]);
    unsigned seed = 1;
    for (int i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "e%d", i);
        for (int j = 0; j < MANY_DIM; j++)
            vectors[i][j] = (float)(rand_r(&seed) % 2000) / 1000 - 1;
        argv[4 + 2 * i] = ids[i];
        lens[4 + 2 * i] = strlen(ids[i]);
        argv[5 + 2 * i] = (const char *)vectors[i];
        lens[5 + 2 * i] = sizeof vectors[i];
    }
    assert_int_equal(redisAppendCommandArgv(c, 4 + 2 * MANY, argv, lens), REDIS_OK);
    int written = 0;
    while (!written)
        assert_int_equal(redisBufferWrite(c, &written), REDIS_OK);
}

/* More vectors than may wait to be linked, in one command: it waits and goes on, others are served meanwhile. */
static void test_vmadd_backlog(void **state)
{
    (void)state;
    static const char *const args[] = { "--link-backlog-max", "600", NULL };
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s), *other = server_connect(s);
    send_many(c);
    reply_status(other, "PONG", "PING");
    redisReply *r;
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(r->element[i]->integer, 1);
    freeReplyObject(r);
    reply_int(c, MANY, "VCARD k");
    redisFree(c);
    redisFree(other);
    server_stop(s);
}

/* The index goes while entries wait for it: those that were answered are answered, the others say why not. */
static void test_vmadd_removed(void **state)
{
    (void)state;
    static const char *const args[] = { "--link-backlog-max", "300", NULL };
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s), *other = server_connect(s);
    send_many(c);
    while (reply_get_int(other, "EXISTS k") == 0)
        continue;
    reply_int(other, 1, "DEL k");
    redisReply *r;
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->elements, MANY);
    size_t added = 0;
    while (added < MANY && r->element[added]->type == REDIS_REPLY_INTEGER)
        added++;
    for (size_t i = added; i < MANY; i++)
        assert_string_equal(r->element[i]->str, "ERR the index was removed while the command ran");
    freeReplyObject(r);
    reply_int(c, 0, "EXISTS k");
    redisFree(c);
    redisFree(other);
    server_stop(s);
}

static void test_removal(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VMADD k FP32 2 a " X " b " Y, "*2\r\n:1\r\n:1\r\n");
    both_no(&b, "VREM k nobody");
    both_no(&b, "VREM nokey a");
    both_two(&b, "VREM k a", ":1\r\n");
    both_three(&b, "VREM k b", "#t\r\n");
    both_same(&b, "EXISTS k", ":0\r\n");
    both_two(&b, "VMADD k FP32 2 a " X " b " Y, "*2\r\n:1\r\n:1\r\n");
    both_two(&b, "VDEL k a nobody a", ":1\r\n");
    both_three(&b, "VDEL k b a", ":1\r\n");
    both_same(&b, "VDEL k b", ":0\r\n");
    both_same(&b, "EXISTS k", ":0\r\n");
    both_two(&b, "VPARTITION CREATE s DIM 2", "+OK\r\n");
    both_two(&b, "VADD s VALUES 2 1 0 a", ":1\r\n");
    both_two(&b, "VDEL s a", ":1\r\n");
    both_same(&b, "EXISTS s", ":1\r\n");
    both_error(&b, "VDEL k", "ERR wrong number of arguments for 'vdel' command");
    both_error(&b, "VREM k a b", "ERR wrong number of arguments for 'vrem' command");
    both_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies), cmocka_unit_test(test_formats), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_half_originals), cmocka_unit_test(test_no_autocreate), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_attributes), cmocka_unit_test(test_long_attributes), cmocka_unit_test(test_vmadd),
        cmocka_unit_test(test_vmadd_errors), cmocka_unit_test(test_vmadd_atomic), cmocka_unit_test(test_vmadd_backlog),
        cmocka_unit_test(test_vmadd_removed),
        cmocka_unit_test(test_removal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
