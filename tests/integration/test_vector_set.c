/* The commands of Redis' vector sets that search, sample, list and show links: replies in RESP2 and RESP3, every option,
 * every error. */
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
#include "integration/lib/saves.h"

#define Y "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x3f\""

/* a (1,0), b (0,1), c (-1,0); a and c have attributes. */
static struct both filled(void)
{
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a SETATTR '{\"n\":1}'", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 b", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 -1 0 c SETATTR nojson", ":1\r\n");
    return b;
}

#define ATTRS "$7\r\n{\"n\":1}\r\n"

/* ---- VSIM ---- */

static void test_sim_shapes(void **state)
{
    (void)state;
    struct both b = filled();
    both_same(&b, "VSIM k VALUES 2 1 0", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSIM k ELE c COUNT 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
    both_same(&b, "vsim k fp32 " Y " count 1", "*1\r\n$1\r\nb\r\n");
    both_talk(&b, "VSIM k VALUES 2 1 0 WITHSCORES",
              "*6\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n0.5\r\n$1\r\nc\r\n$1\r\n0\r\n",
              "%3\r\n$1\r\na\r\n,1\r\n$1\r\nb\r\n,0.5\r\n$1\r\nc\r\n,0\r\n");
    both_talk(&b, "VSIM k VALUES 2 1 0 WITHATTRIBS",
              "*6\r\n$1\r\na\r\n" ATTRS "$1\r\nb\r\n$-1\r\n$1\r\nc\r\n$6\r\nnojson\r\n",
              "%3\r\n$1\r\na\r\n" ATTRS "$1\r\nb\r\n_\r\n$1\r\nc\r\n$6\r\nnojson\r\n");
    both_talk(&b, "VSIM k VALUES 2 1 0 WITHATTRIBS WITHSCORES COUNT 2",
              "*6\r\n$1\r\na\r\n$1\r\n1\r\n" ATTRS "$1\r\nb\r\n$3\r\n0.5\r\n$-1\r\n",
              "%2\r\n$1\r\na\r\n*2\r\n,1\r\n" ATTRS "$1\r\nb\r\n*2\r\n,0.5\r\n_\r\n");
    both_stop(&b);
}

static void test_sim_options(void **state)
{
    (void)state;
    struct both b = filled();
    both_same(&b, "VSIM k VALUES 2 1 0 COUNT 1 COUNT 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");   /* the last counts */
    both_same(&b, "VSIM k VALUES 2 1 0 COUNT 9223372036854775807 EF 1000000 TRUTH NOTHREAD",
              "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSIM k VALUES 2 1 0 FILTER .absent FILTER '.n == 1'", "*1\r\n$1\r\na\r\n");
    both_same(&b, "VSIM k VALUES 2 1 0 EPSILON 0.5", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    both_same(&b, "VSIM k VALUES 2 1 0 EPSILON 0.4", "*1\r\n$1\r\na\r\n");
    both_same(&b, "VSIM k VALUES 2 1 0 EPSILON 0.4 EPSILON 7", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_same(&b, "VSIM k VALUES 2 1 0 EPSILON 0.4 EPSILON inf", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    /* Whatever the rounding of 1 - cos: 1 - score <= epsilon. */
    both_two(&b, "VADD round VALUES 2 1 1 same", ":1\r\n");
    both_two(&b, "VADD round VALUES 2 -0.3 -0.3 opposite", ":1\r\n");
    both_same(&b, "VSIM round VALUES 2 1 1 EPSILON 1e-9", "*1\r\n$4\r\nsame\r\n");
    both_same(&b, "VSIM round VALUES 2 1 1 EPSILON 0.999", "*1\r\n$4\r\nsame\r\n");
    both_same(&b, "VSIM round VALUES 2 1 1 EPSILON 1", "*2\r\n$4\r\nsame\r\n$8\r\nopposite\r\n");
    both_talk(&b, "VSIM round VALUES 2 1 1 WITHSCORES", "*4\r\n$4\r\nsame\r\n$1\r\n1\r\n$8\r\nopposite\r\n$1\r\n0\r\n",
              "%2\r\n$4\r\nsame\r\n,1\r\n$8\r\nopposite\r\n,0\r\n");
    both_two(&b, "VADD zero VALUES 2 0 0 z", ":1\r\n");
    both_talk(&b, "VSIM zero VALUES 2 1 0 WITHSCORES", "*2\r\n$1\r\nz\r\n$3\r\n0.5\r\n", "%1\r\n$1\r\nz\r\n,0.5\r\n");
    /* No key: an empty array, before anything else is looked at. */
    both_same(&b, "VSIM nokey ELE x", "*0\r\n");
    both_same(&b, "VSIM nokey VALUES 2 1 0 WITHSCORES", "*0\r\n");
    both_same(&b, "VSIM nokey WHAT 0 COUNT -1", "*0\r\n");
    /* An index that is empty and stays: nothing, in the shape asked for. */
    both_two(&b, "VPARTITION CREATE e DIM 2", "+OK\r\n");
    both_same(&b, "VSIM e VALUES 2 1 0 COUNT 5", "*0\r\n");
    both_talk(&b, "VSIM e VALUES 2 1 0 WITHSCORES", "*0\r\n", "%0\r\n");
    both_stop(&b);
}

/* Ten by default, however many there are. */
static void test_sim_default_count(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    for (int i = 0; i < 12; i++)
        reply_int(c, 1, "VADD k VALUES 2 1 %d e%d", i, i);
    freeReplyObject(reply_array(c, 10, "VSIM k ELE e3"));
    freeReplyObject(reply_array(c, 12, "VSIM k ELE e3 COUNT 100"));
    redisFree(c);
    both_stop(&b);
}

static void test_sim_errors(void **state)
{
    (void)state;
    struct both b = filled();
    both_error(&b, "VSIM", "ERR wrong number of arguments for 'vsim' command");
    both_error(&b, "VSIM k ELE", "ERR wrong number of arguments for 'vsim' command");
    both_error(&b, "VSIM k ELE nobody", "ERR element not found in set");
    both_error(&b, "VSIM k WHAT x", "ERR invalid vector specification");
    both_error(&b, "VSIM k VALUES 2 1", "ERR invalid vector specification");
    both_error(&b, "VSIM k FP32 abc", "ERR invalid vector specification");
    both_error(&b, "VSIM k VALUES 3 1 2 3", "ERR Vector dimension mismatch - got 3 but set has 2");
    both_error(&b, "VSIM k VALUES 2 1 nan", "ERR invalid vector specification: component 1 (counted from 0) is not a finite number");
    both_error(&b, "VSIM k ELE a COUNT 0", "ERR invalid COUNT");
    both_error(&b, "VSIM k ELE a COUNT x", "ERR invalid COUNT");
    both_error(&b, "VSIM k ELE a EF 0", "ERR invalid EF");
    both_error(&b, "VSIM k ELE a EF 1000001", "ERR invalid EF");
    both_error(&b, "VSIM k ELE a EPSILON 0", "ERR invalid EPSILON");
    both_error(&b, "VSIM k ELE a EPSILON -1", "ERR invalid EPSILON");
    both_error(&b, "VSIM k ELE a EPSILON nan", "ERR invalid EPSILON");
    both_error(&b, "VSIM k ELE a EPSILON x", "ERR invalid EPSILON");
    both_error(&b, "VSIM k ELE a COUNT", "ERR syntax error in VSIM command");
    both_error(&b, "VSIM k ELE a WHAT", "ERR syntax error in VSIM command");
    both_error(&b, "VSIM k ELE a WHAT 1", "ERR syntax error in VSIM command");
    both_error(&b, "VSIM k ELE a K 1", "ERR syntax error in VSIM command");   /* VSEARCH's */
    both_two(&b, "VPARTITION CREATE l DIM 2 METRIC L2", "+OK\r\n");
    both_two(&b, "VADD l VALUES 2 3 4 a", ":1\r\n");
    both_talk(&b, "VSIM l VALUES 2 0 0 WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n5\r\n", "%1\r\n$1\r\na\r\n,5\r\n");
    both_error(&b, "VSIM l ELE a EPSILON 1", "ERR EPSILON is for COSINE alone: this index is l2, use VSEARCH with RADIUS");
    both_stop(&b);
}

/* ---- VRANGE ---- */

static void test_range(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    static const char *const ids[] = { "b", "a", "ab", "B", "\"\"", "\"\\xff\"", "abcdefghij", "abcdefghi", "\"a\\x00\"" };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char line[128];
        snprintf(line, sizeof line, "VADD k VALUES 2 1 1 %s\r\n", ids[i]);
        raw_talk(b.two, line, ":1\r\n");
    }
    raw_puts(b.two, "VRANGE k - +\r\n");
    static const char all[] = "*9\r\n$0\r\n\r\n$1\r\nB\r\n$1\r\na\r\n$2\r\na\0\r\n$2\r\nab\r\n$9\r\nabcdefghi\r\n$10\r\nabcdefghij\r\n"
                              "$1\r\nb\r\n$1\r\n\xff\r\n";
    char bytes[sizeof all];
    raw_read(b.two, bytes, sizeof all - 1);
    assert_memory_equal(bytes, all, sizeof all - 1);
    both_same(&b, "VRANGE k - + 2", "*2\r\n$0\r\n\r\n$1\r\nB\r\n");
    both_same(&b, "VRANGE k [ab (b", "*3\r\n$2\r\nab\r\n$9\r\nabcdefghi\r\n$10\r\nabcdefghij\r\n");
    both_same(&b, "VRANGE k (ab [b 2", "*2\r\n$9\r\nabcdefghi\r\n$10\r\nabcdefghij\r\n");
    both_same(&b, "VRANGE k (abcdefghi [b -1", "*2\r\n$10\r\nabcdefghij\r\n$1\r\nb\r\n");
    both_same(&b, "VRANGE k [b [a", "*0\r\n");
    both_same(&b, "VRANGE k - + 0", "*0\r\n");
    both_same(&b, "VRANGE nokey - +", "*0\r\n");
    both_same(&b, "VRANGE k [abc [abc", "*0\r\n");
    /* Errors come before the key is looked at. */
    static const char *const keys[] = { "k", "nokey" };
    for (size_t i = 0; i < 2; i++) {
        char line[128];
        static const char *const rest[][2] = {
            { "x +", "-ERR invalid start range format\r\n" },
            { "[ +", "-ERR invalid start range format\r\n" },
            { "- x", "-ERR invalid end range format\r\n" },
            { "- (", "-ERR invalid end range format\r\n" },
            { "+ -", "-ERR '-' can only be used as first argument, '+' only as second\r\n" },
            { "- -", "-ERR '-' can only be used as first argument, '+' only as second\r\n" },
            { "- + x", "-ERR invalid COUNT value\r\n" },
            { "- + 1 2", "-ERR wrong number of arguments for 'vrange' command\r\n" },
        };
        for (size_t r = 0; r < sizeof rest / sizeof *rest; r++) {
            snprintf(line, sizeof line, "VRANGE %s %s\r\n", keys[i], rest[r][0]);
            raw_talk(b.two, line, rest[r][1]);
            raw_talk(b.three, line, rest[r][1]);
        }
    }
    both_stop(&b);
}

/* ---- VRANDMEMBER ---- */

static void test_random(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_null(&b, "VRANDMEMBER nokey");
    both_same(&b, "VRANDMEMBER nokey 3", "*0\r\n");
    both_same(&b, "VRANDMEMBER nokey -3", "*0\r\n");
    both_error(&b, "VRANDMEMBER nokey x", "ERR COUNT value is not an integer");
    both_error(&b, "VRANDMEMBER nokey -9223372036854775808", "ERR COUNT value is out of range: a number from -1000000 is allowed");
    both_error(&b, "VRANDMEMBER k 1 2", "ERR wrong number of arguments for 'vrandmember' command");
    both_two(&b, "VADD k VALUES 2 1 1 a", ":1\r\n");
    both_same(&b, "VRANDMEMBER k", "$1\r\na\r\n");
    both_same(&b, "VRANDMEMBER k 0", "*0\r\n");
    both_same(&b, "VRANDMEMBER k 9223372036854775807", "*1\r\n$1\r\na\r\n");
    both_same(&b, "VRANDMEMBER k -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n");
    both_stop(&b);
}

static void count_all(redisReply *r, int *seen, int n)
{
    for (size_t i = 0; i < r->elements; i++) {
        int at = atoi(r->element[i]->str + 1);
        assert_in_range(at, 0, n - 1);
        seen[at]++;
    }
    freeReplyObject(r);
}

/* Each as often as the others: ten standard deviations off would be a defect, or luck of one in 10^22. */
static void test_random_uniform(void **state)
{
    (void)state;
    static const char *const create[] = { "VPARTITION CREATE k DIM 2", "VPARTITION CREATE k DIM 2 PARTITIONS 5" };
    for (size_t with = 0; with < 2; with++) {
        struct test_server *server = server_start(NULL);
        redisContext *c = server_connect(server);
        reply_status(c, "OK", create[with]);
        for (int i = 0; i < 300; i++)
            reply_int(c, 1, "VADD k VALUES 2 1 %d e%d", i, i);
        for (int i = 200; i < 300; i++)
            reply_int(c, 1, "VREM k e%d", i);
        int drawn[200] = { 0 }, few[200] = { 0 }, sampled[200] = { 0 }, many[200] = { 0 };
        count_all(reply_array(c, 200000, "VRANDMEMBER k -200000"), drawn, 200);
        for (int i = 0; i < 1000; i++) {
            count_all(reply_array(c, 50, "VRANDMEMBER k -50"), few, 200);
            count_all(reply_array(c, 60, "VRANDMEMBER k 60"), sampled, 200);
            count_all(reply_array(c, 150, "VRANDMEMBER k 150"), many, 200);
        }
        for (int i = 0; i < 200; i++) {
            assert_in_range(drawn[i], 1000 - 320, 1000 + 320);
            assert_in_range(few[i], 250 - 160, 250 + 160);
            assert_in_range(sampled[i], 300 - 150, 300 + 150);
            assert_in_range(many[i], 750 - 140, 750 + 140);
        }
        static const int sizes[] = { 60, 199, 200, 1000 };      /* none twice */
        for (size_t i = 0; i < 4; i++) {
            int once[200] = { 0 };
            count_all(reply_array(c, sizes[i] < 200 ? sizes[i] : 200, "VRANDMEMBER k %d", sizes[i]), once, 200);
            for (int e = 0; e < 200; e++)
                assert_in_range(once[e], 0, 1);
        }
        redisFree(c);
        server_stop(server);
    }
}

/* ---- VLINKS ---- */

static void test_links(void **state)
{
    (void)state;
    struct both b = filled();
    both_null(&b, "VLINKS nokey a");
    both_null(&b, "VLINKS k nobody");
    both_error(&b, "VLINKS k a WHAT", "ERR wrong number of arguments for 'vlinks' command");
    both_error(&b, "VLINKS k a WITHSCORES 1", "ERR wrong number of arguments for 'vlinks' command");
    both_same(&b, "VLINKS k a", "*1\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n");
    both_talk(&b, "VLINKS k a WITHSCORES", "*1\r\n*4\r\n$1\r\nb\r\n$3\r\n0.5\r\n$1\r\nc\r\n$1\r\n0\r\n",
              "*1\r\n%2\r\n$1\r\nb\r\n,0.5\r\n$1\r\nc\r\n,0\r\n");
    both_two(&b, "VADD one VALUES 2 1 0 a", ":1\r\n");
    both_same(&b, "VLINKS one a", "*1\r\n*0\r\n");
    both_talk(&b, "VLINKS one a WITHSCORES", "*1\r\n*0\r\n", "*1\r\n%0\r\n");
    both_stop(&b);
}

#define MANY 4000

/* A graph, with deaths: links lead to living elements, none to itself, none twice, the nearest first; ranges page through all. */
static void test_graph(void **state)
{
    (void)state;
    struct test_server *server = server_start(NULL);
    redisContext *c = server_connect(server);
    for (int i = 0; i < MANY; i++)
        redisAppendCommand(c, "VADD k VALUES 3 %d %d %d e%04d M 8", i * 7919 % 1009 - 500, i * 104729 % 997 - 500, i % 613 - 300, i);
    for (int i = 0; i < MANY; i += 4)
        redisAppendCommand(c, "VREM k e%04d", i);
    redisReply *r;
    for (int i = 0; i < MANY + MANY / 4; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->integer, 1);
        freeReplyObject(r);
    }
    size_t levels_max = 0;
    for (int i = 1; i < MANY; i += i % 4 == 3 ? 2 : 1) {
        r = reply_array(c, -1, "VLINKS k e%04d WITHSCORES", i);
        levels_max = r->elements > levels_max ? r->elements : levels_max;
        assert_in_range(r->elements, 1, 16);
        for (size_t l = 0; l < r->elements; l++) {
            const redisReply *level = r->element[l];
            assert_in_range(level->elements, 0, 2 * (l + 1 == r->elements ? 16 : 8));
            int seen[16], n = 0;
            double before = 2;
            for (size_t e = 0; e < level->elements; e += 2) {
                int to = atoi(level->element[e]->str + 1);
                double score = strtod(level->element[e + 1]->str, NULL);
                assert_true(to % 4 != 0 && to != i && score <= before);
                for (int s = 0; s < n; s++)
                    assert_int_not_equal(seen[s], to);
                seen[n++] = to;
                before = score;
            }
        }
        freeReplyObject(r);
    }
    assert_true(levels_max > 1);
    char last[16] = "";
    int next = 1;
    for (;;) {
        r = *last ? reply_array(c, -1, "VRANGE k (%s + 777", last) : reply_array(c, 777, "VRANGE k - + 777");
        for (size_t i = 0; i < r->elements; i++, next += next % 4 == 3 ? 2 : 1) {
            snprintf(last, sizeof last, "e%04d", next);
            assert_string_equal(r->element[i]->str, last);
        }
        size_t n = r->elements;
        freeReplyObject(r);
        if (n < 777)
            break;
    }
    assert_int_equal(next, MANY + 1);
    freeReplyObject(reply_array(c, MANY / 4 * 3, "VRANGE k - +"));
    redisFree(c);
    server_stop(server);
}

/* ---- REDUCE ---- */

static void test_reduce(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k REDUCE 2 VALUES 4 1 2 3 4 a", ":1\r\n");
    both_same(&b, "VDIM k", ":2\r\n");
    both_two(&b, "VADD k VALUES 4 -1 -2 -3 -4 b NOQUANT", "-ERR asked quantization mismatch with existing vector set\r\n");
    both_two(&b, "VADD k VALUES 4 -1 -2 -3 -4 b", ":1\r\n");             /* left out: the index's own */
    both_two(&b, "VADD k reduce 2 VALUES 4 2 4 6 8 c", ":1\r\n");
    both_same(&b, "VSIM k VALUES 4 -1 -2 -3 -4 COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSEARCH k VALUES 4 -1 -2 -3 -4 K 1", "*1\r\n$1\r\nb\r\n");
    both_same(&b, "VSIM k ELE b COUNT 1", "*1\r\n$1\r\nb\r\n");
    both_two(&b, "VADD k VALUES 2 7.123 -3.77 d", ":1\r\n");                      /* reduced already */
    both_same(&b, "VSIM k VALUES 2 7.123 -3.77 COUNT 1", "*1\r\n$1\r\nd\r\n");
    both_error(&b, "VADD k REDUCE 2 VALUES 2 5 6 d", "ERR Input dimension mismatch for projection - got 2 but projection expects 4");
    both_error(&b, "VADD k VALUES 3 5 6 7 d", "ERR Input dimension mismatch for projection - got 3 but projection expects 4");
    both_error(&b, "VADD k REDUCE 3 VALUES 4 1 2 3 4 d", "ERR projection dimension mismatch with existing set");
    both_error(&b, "VSIM k VALUES 3 5 6 7", "ERR Input dimension mismatch for projection - got 3 but projection expects 4");
    both_error(&b, "VSEARCH k VALUES 5 5 6 7 8 9", "ERR Input dimension mismatch for projection - got 5 but projection expects 4");
    both_two(&b, "VADD plain VALUES 2 1 2 a", ":1\r\n");
    both_error(&b, "VADD plain REDUCE 1 VALUES 2 1 2 b", "ERR cannot add projection to existing set without projection");
    both_error(&b, "VPARTITION CREATE p DIM 3 REDUCE 2", "ERR REDUCE to more components: DIM is at most the number after REDUCE");
    both_error(&b, "VPARTITION CREATE p DIM 3 REDUCE 0", "ERR invalid REDUCE: a number of 1 to 65536 is allowed");
    both_two(&b, "VPARTITION CREATE p DIM 3 REDUCE 5 METRIC L2", "+OK\r\n");
    both_two(&b, "VADD p VALUES 5 1 2 3 4 5 a", ":1\r\n");
    both_same(&b, "VDIM p", ":3\r\n");
    both_two(&b, "VMADD k I8 1 m \"\\x01\\x02\\x03\\x04\"", "*1\r\n:1\r\n");
    both_stop(&b);
}

/* Angles stay about as they are, the projection is the index's for ever, and a rotation alone keeps them exactly. */
static void test_reduce_keeps(void **state)
{
    (void)state;
    static const char *const args[] = { "--appendonly", "yes", "--appendfsync", "always", NULL };
    struct test_server *server = server_start(args);
    redisContext *c = server_connect(server);
    float x[512], y[512];
    unsigned seed = 7;
    for (int i = 0; i < 512; i++) {
        seed = seed * 1103515245 + 12345;
        x[i] = (float)(seed >> 16 & 0xFFFF) / 65536 - 0.5f;
        seed = seed * 1103515245 + 12345;
        y[i] = x[i] + 0.5f * ((float)(seed >> 16 & 0xFFFF) / 65536 - 0.5f);
    }
    static const char *const keys[] = { "full", "same", "half" };
    static const char *const adds[] = { "VADD full FP32 %b x", "VADD same REDUCE 512 FP32 %b x", "VADD half REDUCE 256 FP32 %b x" };
    double scores[3];
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < 3; k++) {
            if (!round)
                reply_int(c, 1, adds[k], x, sizeof x);
            char command[64];
            snprintf(command, sizeof command, "VSIM %s FP32 %%b WITHSCORES", keys[k]);
            redisReply *r = reply_array(c, 2, command, y, sizeof y);
            double score = strtod(r->element[1]->str, NULL);
            freeReplyObject(r);
            if (round)
                assert_true(score == scores[k]);
            scores[k] = score;
        }
        assert_true(scores[1] - scores[0] < 1e-5 && scores[0] - scores[1] < 1e-5);
        assert_true(scores[2] - scores[0] < 0.05 && scores[0] - scores[2] < 0.05);
        redisFree(c);
        server_restart(server, 15);
        c = server_connect(server);
        if (round == 0)
            saves_ask(c, "SAVE");
        redisReply *r = reply_array(c, -1, "VINFO half");
        assert_string_equal(r->element[6]->str, "projection-input-dim");
        assert_int_equal(r->element[7]->integer, 512);
        freeReplyObject(r);
    }
    redisFree(c);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_shapes),
        cmocka_unit_test(test_sim_options),
        cmocka_unit_test(test_sim_default_count),
        cmocka_unit_test(test_sim_errors),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_uniform),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_reduce_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
