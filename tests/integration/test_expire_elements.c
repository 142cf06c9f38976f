/* Elements that end by themselves: replies of the VEXPIRE and VTTL families and of VADD's options, that nothing shows an element whose
 * time has come, that it goes, and that its time outlives restarts, replacement and unloading. run: beside */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "integration/lib/both.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "lib/wait.h"

#define WAIT_MS 20000

static void wait_past(uint64_t wall_ms)
{
    while (clock_wall_ms() <= wall_ms)
        usleep(1000);
}

static void test_replies(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    both_same(&b, "VTTL nokey a", ":-2\r\n");
    both_same(&b, "VTTL k noelement", ":-2\r\n");
    both_same(&b, "VPTTL k noelement", ":-2\r\n");
    both_same(&b, "VTTL k a", ":-1\r\n");
    both_same(&b, "VPTTL k a", ":-1\r\n");
    both_same(&b, "VEXPIRETIME k a", ":-1\r\n");
    both_same(&b, "VPEXPIRETIME k a", ":-1\r\n");
    both_same(&b, "VPERSIST k a", ":0\r\n");
    both_same(&b, "VPERSIST nokey a", ":0\r\n");
    both_same(&b, "VPERSIST k noelement", ":0\r\n");
    both_same(&b, "VEXPIRE nokey 10 a", ":0\r\n");
    both_same(&b, "VEXPIRE k 10 noelement", ":0\r\n");
    both_same(&b, "VEXPIRE k 1000 a", ":1\r\n");
    both_same(&b, "VTTL k a", ":1000\r\n");
    both_two(&b, "VPERSIST k a", ":1\r\n");
    both_same(&b, "VTTL k a", ":-1\r\n");
    both_same(&b, "VEXPIREAT k 4102444800 a", ":1\r\n");
    both_same(&b, "VEXPIRETIME k a", ":4102444800\r\n");
    both_same(&b, "VPEXPIREAT k 4102444800999 a", ":1\r\n");
    both_same(&b, "VPEXPIRETIME k a", ":4102444800999\r\n");
    both_same(&b, "VPEXPIRE k 100000000 a", ":1\r\n");
    both_same(&b, "VPEXPIREAT k 9223372036854775807 a", ":1\r\n");
    both_same(&b, "VPEXPIRETIME k a", ":9223372036854775807\r\n");
    both_same(&b, "VEXPIRE k 5 a GT", ":0\r\n");
    both_same(&b, "VEXPIRE k 5 a NX", ":0\r\n");
    both_two(&b, "VEXPIRE k 500 a XX LT", ":1\r\n");
    both_same(&b, "VEXPIRE k 600 a LT", ":0\r\n");
    both_same(&b, "VTTL k a", ":500\r\n");
    /* the id stands where it stands, whatever it looks like */
    both_two(&b, "VADD k VALUES 2 1 1 NX", ":1\r\n");
    both_same(&b, "VEXPIRE k 700 NX", ":1\r\n");
    both_same(&b, "VTTL k NX", ":700\r\n");
    both_stop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    both_error(&b, "VEXPIRE k 1", "ERR wrong number of arguments for 'vexpire' command");
    both_error(&b, "VTTL k", "ERR wrong number of arguments for 'vttl' command");
    both_error(&b, "VPERSIST k a a", "ERR wrong number of arguments for 'vpersist' command");
    both_error(&b, "VEXPIRE k x a", "ERR value is not an integer or out of range");
    both_error(&b, "VEXPIRE k 1 a b", "ERR Unsupported option b");
    both_error(&b, "VEXPIRE k 1 a NX GT", "ERR NX and XX, GT or LT options at the same time are not compatible");
    both_error(&b, "VEXPIRE k 1 a GT LT", "ERR GT and LT options at the same time are not compatible");
    both_error(&b, "VEXPIRE k 9223372036854775807 a", "ERR invalid expire time in 'vexpire' command");
    both_error(&b, "VEXPIRE k -9223372036854775808 a", "ERR invalid expire time in 'vexpire' command");
    both_error(&b, "VPEXPIRE k 9223372036854775807 a", "ERR invalid expire time in 'vpexpire' command");
    both_error(&b, "VEXPIREAT k 9223372036854776 a", "ERR invalid expire time in 'vexpireat' command");
    both_same(&b, "VTTL k a", ":-1\r\n");
    both_stop(&b);
}

/* One that is past removes the element at once, and the key with the last. */
static void test_past(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 b", ":1\r\n");
    both_two(&b, "VEXPIRE k 0 a", ":1\r\n");
    both_no(&b, "VISMEMBER k a");
    both_same(&b, "VCARD k", ":1\r\n");
    both_two(&b, "VPEXPIREAT k -9223372036854775808 b", ":1\r\n");
    both_same(&b, "EXISTS k", ":0\r\n");
    both_stop(&b);
}

static void test_vadd(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_two(&b, "VADD k VALUES 2 1 0 a EX 1000", ":1\r\n");
    both_same(&b, "VTTL k a", ":1000\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 a KEEPTTL", ":0\r\n"); /* the same vector */
    both_same(&b, "VTTL k a", ":1000\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 a KEEPTTL", ":0\r\n"); /* another */
    both_same(&b, "VTTL k a", ":1000\r\n");
    both_two(&b, "VSETATTR k a {}", ":1\r\n");
    both_same(&b, "VTTL k a", ":1000\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 a", ":0\r\n"); /* as SET: without is without */
    both_same(&b, "VTTL k a", ":-1\r\n");
    both_two(&b, "VADD k VALUES 2 0 1 a PX 2000000", ":0\r\n");
    both_same(&b, "VTTL k a", ":2000\r\n");
    both_two(&b, "VADD k VALUES 2 1 1 a", ":0\r\n");
    both_same(&b, "VTTL k a", ":-1\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 a exat 4102444800 SETATTR '{\"x\":1}'", ":0\r\n");
    both_same(&b, "VEXPIRETIME k a", ":4102444800\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 a PXAT 4102444800001", ":0\r\n");
    both_same(&b, "VPEXPIRETIME k a", ":4102444800001\r\n");
    both_same(&b, "VGETATTR k a", "$7\r\n{\"x\":1}\r\n");
    both_null(&b, "VADD k VALUES 2 1 0 a NX EX 5");
    both_same(&b, "VPEXPIRETIME k a", ":4102444800001\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 new KEEPTTL", ":1\r\n");
    both_same(&b, "VTTL k new", ":-1\r\n");
    redisContext *c = server_connect(b.server);
    freeReplyObject(reply_array(c, 2, "VMADD k FP32 2 x %b y %b EX 3000", "\0\0\200?\0\0\0\0", (size_t)8,
                                "\0\0\200?\0\0\200?", (size_t)8));
    both_same(&b, "VTTL k x", ":3000\r\n");
    both_same(&b, "VTTL k y", ":3000\r\n");
    freeReplyObject(reply_array(c, 2, "VMADD k FP32 2 x %b y %b KEEPTTL ATOMIC", "\0\0\200?\0\0\0\0", (size_t)8,
                                "\0\0\200?\0\0\0\0", (size_t)8));
    both_same(&b, "VTTL k x", ":3000\r\n");
    both_same(&b, "VTTL k y", ":3000\r\n");
    /* A key that is there for a moment only. */
    both_two(&b, "VADD gone VALUES 2 1 0 a EXAT 1", ":1\r\n");
    both_no(&b, "VISMEMBER gone a");
    redisFree(c);
    both_stop(&b);
}

/* While writes are paused what has ended is still there: no command may show it. */
static void hidden(struct both *b, redisContext *c)
{
    both_no(b, "VISMEMBER k a");
    both_null(b, "VEMB k a");
    both_null(b, "VGETATTR k a");
    both_same(b, "VTTL k a", ":-2\r\n");
    both_error(b, "VSIM k ELE a", "ERR element not found in set");
    both_error(b, "VSEARCH k ELE a", "ERR element not found in set");
    both_null(b, "VLINKS k a");
    both_same(b, "VSIM k VALUES 2 1 0", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VSEARCH k VALUES 2 1 0", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VSEARCH k VALUES 2 1 0 EXACT", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VSEARCH k VALUES 2 1 0 RADIUS 3", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VSEARCH k VALUES 2 1 0 FILTER .n>0", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VRANGE k - +", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VRANDMEMBER k", "$1\r\nb\r\n");
    both_same(b, "VRANDMEMBER k 5", "*1\r\n$1\r\nb\r\n");
    both_same(b, "VRANDMEMBER k -2", "*2\r\n$1\r\nb\r\n$1\r\nb\r\n");
    redisReply *r = reply_any(c, "VLINKS k b");
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->element[0]->elements, 0);
    freeReplyObject(r);
    r = reply_any(c, "VMGET k 2 a b");
    assert_int_equal(r->elements, 2);
    assert_int_equal(r->element[0]->type, REDIS_REPLY_NIL);
    assert_int_equal(r->element[1]->type, REDIS_REPLY_ARRAY);
    freeReplyObject(r);
    r = reply_any(c, "VMSEARCH k FP32 1 %b", "\0\0\200?\0\0\0\0", (size_t)8);
    assert_int_equal(r->element[0]->elements, 1);
    freeReplyObject(r);
}

static bool is_one(void *arg)
{
    return reply_get_int(arg, "VCARD k") == 1;
}

static void test_hidden(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a SETATTR {\"n\":1} PX 60");
    reply_int(c, 1, "VADD k VALUES 2 0 1 b SETATTR {\"n\":2} EX 1000");
    uint64_t end = clock_wall_ms() + 60;
    both_two(&b, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    wait_past(end);
    hidden(&b, c);
    both_same(&b, "VCARD k", ":2\r\n"); /* it is counted until it goes */
    both_two(&b, "CLIENT UNPAUSE", "+OK\r\n");
    assert_true(wait_until(is_one, c, WAIT_MS));
    hidden(&b, c);
    assert_true(reply_info(c, "stats", "expired_elements") == 1);
    redisFree(c);
    both_stop(&b);
}

/* To a write it is not there either; what takes its place has nothing of it. */
static void test_replaced(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server), *other = server_connect(b.server);
    for (int round = 0; round < 6; round++) {
        reply_int(c, 1, "VADD k VALUES 2 0 1 b");
        reply_int(c, 1, "VADD k VALUES 2 1 0 a SETATTR {\"n\":1} PX 30");
        uint64_t end = clock_wall_ms() + 30;
        /* A transaction is one turn: nothing is removed between its beginning and its end. */
        reply_status(c, "OK", "CLIENT PAUSE 100000 WRITE");
        wait_past(end);
        static const char *const commands[] = {"VADD k VALUES 2 1 0 a NX", "VADD k VALUES 2 1 0 a XX", "VADD k VALUES 2 1 0 a",
                                               "VREM k a", "VSETATTR k a {}", "VEXPIRE k 100 a"};
        redisAppendCommand(c, commands[round]); /* waits, and runs before what has ended goes */
        redisReply *r;
        reply_status(other, "OK", "CLIENT UNPAUSE");
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        if (round == 1)
            assert_int_equal(r->type, REDIS_REPLY_NIL);
        else
            assert_int_equal(r->integer, round == 0 || round == 2);
        freeReplyObject(r);
        if (round == 0 || round == 2) {
            reply_null(c, "VGETATTR k a");
            reply_int(c, -1, "VTTL k a");
            reply_int(c, 2, "VCARD k");
        } else {
            assert_true(wait_until(is_one, c, WAIT_MS));
        }
        reply_int(c, 1, "DEL k");
    }
    redisFree(c);
    redisFree(other);
    both_stop(&b);
}

static void test_events(void **state)
{
    (void)state;
    static const char *const args[] = {"--notify-keyspace-events", "EA", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    int fd = server_socket(s);
#define EVENT(name, length) \
    "*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$" length "\r\n__keyevent@0__:" name "\r\n$1\r\nk\r\n"
    raw_talk(fd, "PSUBSCRIBE __key*\r\n", "*3\r\n$10\r\npsubscribe\r\n$6\r\n__key*\r\n:1\r\n");
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    raw_expect(fd, EVENT("vadd", "19"));
    reply_int(c, 1, "VEXPIRE k 100 a");
    raw_expect(fd, EVENT("vexpire", "22"));
    reply_int(c, 1, "VPERSIST k a");
    raw_expect(fd, EVENT("vpersist", "23"));
    reply_int(c, 1, "VADD k VALUES 2 1 0 b");
    raw_expect(fd, EVENT("vadd", "19"));
    reply_int(c, 1, "VPEXPIRE k 1 a");
    raw_expect(fd, EVENT("vexpire", "22") EVENT("vexpired", "23"));
    reply_int(c, 1, "VPEXPIRE k 1 b");
    raw_expect(fd, EVENT("vexpire", "22") EVENT("vexpired", "23") EVENT("del", "18"));
    reply_int(c, 0, "EXISTS k");
#undef EVENT
    close(fd);
    redisFree(c);
    server_stop(s);
}

/* ---- what is kept ---- */

struct digests {
    char text[4096];
};

static void read_digests(redisContext *c, struct digests *out)
{
    size_t n = 0;
    for (int p = 0; p < 2; p++) {
        redisReply *r = reply_any(c, "VPARTITION INFO k %d", p);
        for (size_t i = 0; i + 1 < r->elements; i += 2) {
            const char *name = r->element[i]->str;
            if (strcmp(name, "records_digest") && strcmp(name, "elements") && strcmp(name, "sequence") && strcmp(name, "expiring"))
                continue;
            if (r->element[i + 1]->type == REDIS_REPLY_INTEGER)
                n += (size_t)snprintf(out->text + n, sizeof(out->text) - n, "%s %lld\n", name, r->element[i + 1]->integer);
            else
                n += (size_t)snprintf(out->text + n, sizeof(out->text) - n, "%s %s\n", name, r->element[i + 1]->str);
        }
        freeReplyObject(r);
    }
}

static void fill(redisContext *c, int n)
{
    reply_status(c, "OK", "VPARTITION CREATE k DIM 2 PARTITIONS 2");
    for (int i = 0; i < n; i++) {
        if (i % 3 == 0)
            redisAppendCommand(c, "VADD k VALUES 2 %d 1 e%d", i, i);
        else
            redisAppendCommand(c, "VADD k VALUES 2 %d 1 e%d PXAT %llu SETATTR {\"n\":%d}", i, i, 4102444800000ull + (unsigned)i, i);
    }
    for (int i = 0; i < n; i += 7)
        redisAppendCommand(c, "VEXPIREAT k %llu e%d", 4102444800ull + (unsigned)i, i);
    for (int i = 0; i < n; i += 11)
        redisAppendCommand(c, "VPERSIST k e%d", i);
    for (int i = 0; i < n + (n + 6) / 7 + (n + 10) / 11; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        freeReplyObject(r);
    }
}

static void check_times(redisContext *c, int n)
{
    for (int i = 0; i < n; i += 13) {
        long long want = i % 11 == 0  ? -1
                         : i % 7 == 0 ? (4102444800ll + i) * 1000
                         : i % 3 == 0 ? -1
                                      : 4102444800000ll + i;
        reply_int(c, want, "VPEXPIRETIME k e%d", i);
    }
}

static bool settled(void *arg)
{
    return reply_get_int(arg, "VCARD k") && reply_info(arg, "vecstore", "vectors_unlinked") < 512;
}

/* Small (a pack) and large (a graph) partitions. */
static void restart(const char *const *args, int n)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    struct digests before, after;
    fill(c, n);
    assert_true(wait_until(settled, c, WAIT_MS));
    read_digests(c, &before);
    check_times(c, n);
    for (int round = 0; round < 2; round++) {
        redisFree(c);
        server_restart(s, SIGTERM);
        c = server_connect(s);
        read_digests(c, &after);
        assert_string_equal(before.text, after.text);
        check_times(c, n);
    }
    /* and they end after a restart, too */
    reply_int(c, 1, "VPEXPIRE k 400 e1");
    redisFree(c);
    server_restart(s, SIGTERM);
    c = server_connect(s);
    uint64_t until = clock_mono_ns() + (uint64_t)WAIT_MS * 1000000;
    while (reply_get_int(c, "VCARD k") == n)
        assert_true(clock_mono_ns() < until);
    reply_int(c, 0, "VISMEMBER k e1");
    read_digests(c, &before);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    reply_int(c, 0, "VISMEMBER k e1");
    redisFree(c);
    server_stop(s);
}

static void test_restart(void **state)
{
    (void)state;
    static const char *const journal[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    static const char *const snapshot[] = {"--save", "3600 1", NULL};
    restart(journal, 200);
    restart(snapshot, 200);
    restart(snapshot, 4000);
}

static bool unloaded(void *arg)
{
    return reply_info(arg, "persistence", "unloaded_partitions") >= 3;
}

static bool keys_are_three(void *arg)
{
    return reply_get_int(arg, "DBSIZE") == 3;
}

/* A partition that is not open is opened when its time comes. */
static void test_unloaded(void **state)
{
    (void)state;
    static const char *const args[] = {"--max-open-partitions", "1", "--save", "3600 1", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    for (int i = 0; i < 4; i++) {
        reply_int(c, 1, "VADD t%d VALUES 2 1 0 a", i);
        reply_int(c, 1, "VADD t%d VALUES 2 0 1 b EX 1000", i);
    }
    reply_int(c, 1, "VPEXPIRE t1 2500 a");
    reply_int(c, 1, "VPEXPIRE t2 2500 a");
    reply_int(c, 1, "VPEXPIRE t2 2500 b");
    uint64_t end = clock_wall_ms() + 2500;
    saves_ask(c, "SAVE");
    assert_true(wait_until(unloaded, c, WAIT_MS));
    wait_past(end);
    assert_true(wait_until(keys_are_three, c, WAIT_MS));
    reply_int(c, 0, "EXISTS t2");
    reply_int(c, 0, "VISMEMBER t1 a");
    reply_int(c, 1, "VISMEMBER t1 b");
    reply_int(c, 1, "VCARD t1");
    reply_int(c, 2, "VCARD t0");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),  cmocka_unit_test(test_errors), cmocka_unit_test(test_past),
        cmocka_unit_test(test_vadd),     cmocka_unit_test(test_hidden), cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_events),   cmocka_unit_test(test_restart), cmocka_unit_test(test_unloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
