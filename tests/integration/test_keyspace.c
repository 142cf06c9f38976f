/* Keys: replies in RESP2 and RESP3, every error, and that walking many of them is whole. */
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

static void add(struct both *b, const char *key)
{
    char command[128];
    snprintf(command, sizeof command, "VADD %s VALUES 2 1 0 a\r\n", key);
    raw_puts(b->two, command);
    raw_expect(b->two, ":1\r\n");
}

static void test_del(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "a");
    add(&b, "b");
    add(&b, "c");
    both_same(&b, "EXISTS a b a nokey", ":3\r\n");
    both_same(&b, "TOUCH a nokey", ":1\r\n");
    both_two(&b, "DEL a a nokey", ":1\r\n");
    both_three(&b, "UNLINK b c", ":2\r\n");
    both_same(&b, "DBSIZE", ":0\r\n");
    both_error(&b, "DEL", "ERR wrong number of arguments for 'del' command");
    both_error(&b, "UNLINK", "ERR wrong number of arguments for 'unlink' command");
    both_error(&b, "EXISTS", "ERR wrong number of arguments for 'exists' command");
    both_error(&b, "TOUCH", "ERR wrong number of arguments for 'touch' command");
    both_stop(&b);
}

static void test_type_randomkey(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_null(&b, "RANDOMKEY");
    add(&b, "k");
    both_same(&b, "RANDOMKEY", "$1\r\nk\r\n");
    both_same(&b, "TYPE k", "+vectorset\r\n");
    both_same(&b, "TYPE nokey", "+none\r\n");
    both_error(&b, "TYPE", "ERR wrong number of arguments for 'type' command");
    both_error(&b, "RANDOMKEY x", "ERR wrong number of arguments for 'randomkey' command");
    both_error(&b, "DBSIZE x", "ERR wrong number of arguments for 'dbsize' command");
    both_stop(&b);
}

static void test_rename(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "a");
    add(&b, "b");
    both_error(&b, "RENAME nokey x", "ERR no such key");
    both_error(&b, "RENAMENX nokey x", "ERR no such key");
    both_same(&b, "RENAME a a", "+OK\r\n");
    both_same(&b, "RENAMENX a a", ":0\r\n");
    both_same(&b, "RENAMENX a b", ":0\r\n");
    both_two(&b, "RENAME a b", "+OK\r\n");
    both_same(&b, "KEYS *", "*1\r\n$1\r\nb\r\n");
    both_two(&b, "RENAMENX b c", ":1\r\n");
    both_same(&b, "KEYS *", "*1\r\n$1\r\nc\r\n");
    both_yes(&b, "VISMEMBER c a");
    both_error(&b, "RENAME a", "ERR wrong number of arguments for 'rename' command");
    both_error(&b, "RENAMENX a", "ERR wrong number of arguments for 'renamenx' command");
    both_stop(&b);
}

static void test_flush(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "a");
    both_two(&b, "SELECT 1", "+OK\r\n");
    add(&b, "a");
    add(&b, "b");
    both_two(&b, "DBSIZE", ":2\r\n");
    both_three(&b, "DBSIZE", ":1\r\n");
    both_error(&b, "FLUSHDB WHAT", "ERR syntax error");
    both_error(&b, "FLUSHALL WHAT", "ERR syntax error");
    both_error(&b, "FLUSHALL ASYNC SYNC", "ERR syntax error");
    both_two(&b, "FLUSHDB", "+OK\r\n");
    both_two(&b, "DBSIZE", ":0\r\n");
    both_three(&b, "DBSIZE", ":1\r\n");
    both_two(&b, "FLUSHALL ASYNC", "+OK\r\n");
    both_three(&b, "DBSIZE", ":0\r\n");
    both_same(&b, "FLUSHDB SYNC", "+OK\r\n");
    both_stop(&b);
}

static void test_keys_scan(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_same(&b, "KEYS *", "*0\r\n");
    both_same(&b, "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    add(&b, "one");
    both_same(&b, "KEYS o?[d-f]", "*1\r\n$3\r\none\r\n");
    both_same(&b, "KEYS x*", "*0\r\n");
    both_same(&b, "SCAN 0 MATCH o* COUNT 5 TYPE vectorset", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\none\r\n");
    both_same(&b, "SCAN 0 MATCH x*", "*2\r\n$1\r\n0\r\n*0\r\n");
    both_same(&b, "SCAN 0 TYPE string", "*2\r\n$1\r\n0\r\n*0\r\n");
    both_error(&b, "SCAN x", "ERR invalid cursor");
    both_error(&b, "SCAN -1", "ERR invalid cursor");
    both_error(&b, "SCAN 18446744073709551616", "ERR invalid cursor");
    both_error(&b, "SCAN 0 COUNT x", "ERR value is not an integer or out of range");
    both_error(&b, "SCAN 0 COUNT 0", "ERR syntax error");
    both_error(&b, "SCAN 0 COUNT", "ERR syntax error");
    both_error(&b, "SCAN 0 WHAT 1", "ERR syntax error");
    both_error(&b, "SCAN", "ERR wrong number of arguments for 'scan' command");
    both_error(&b, "KEYS", "ERR wrong number of arguments for 'keys' command");
    both_stop(&b);
}

/* Thousands of keys: KEYS returns each once, so does SCAN to its end. */
static void test_many(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    enum { N = 3000 };
    redisReply *r;
    for (int i = 0; i < N; i++)
        redisAppendCommand(c, "VADD key:%d VALUES 1 1 a", i);
    for (int i = 0; i < N; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->integer, 1);
        freeReplyObject(r);
    }
    static unsigned char seen[N];
    r = reply_array(c, N, "KEYS key:*");
    for (size_t i = 0; i < N; i++)
        assert_int_equal(seen[atoi(r->element[i]->str + 4)]++, 0);
    freeReplyObject(r);
    char cursor[32] = "0";
    int steps = 0;
    do {
        r = reply_array(c, 2, "SCAN %s COUNT 100", cursor);
        for (size_t i = 0; i < r->element[1]->elements; i++)
            assert_int_equal(seen[atoi(r->element[1]->element[i]->str + 4)]++, 1);
        snprintf(cursor, sizeof cursor, "%s", r->element[0]->str);
        freeReplyObject(r);
        steps++;
    } while (strcmp(cursor, "0"));
    assert_true(steps > 1);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(seen[i], 2);
    reply_status(c, "OK", "FLUSHALL");
    reply_int(c, 0, "DBSIZE");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_del), cmocka_unit_test(test_type_randomkey), cmocka_unit_test(test_rename),
        cmocka_unit_test(test_flush), cmocka_unit_test(test_keys_scan), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
