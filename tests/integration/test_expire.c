/* Keys that end by themselves: replies of the EXPIRE and TTL families, what becomes of a key whose time has come, and that its
 * time outlives a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "integration/lib/both.h"
#include "integration/lib/reply.h"
#include "lib/wait.h"

#define WAIT_MS 20000

static const char *const journal[] = {"--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes", NULL};
static const char *const snapshot[] = {"--save", "3600 1", "--enable-debug-command", "yes", NULL};

static void add(struct both *b, const char *key)
{
    char command[128];
    snprintf(command, sizeof command, "VADD %s VALUES 2 1 0 a\r\n", key);
    raw_puts(b->two, command);
    raw_expect(b->two, ":1\r\n");
}

static void test_replies(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "k");
    both_same(&b, "TTL nokey", ":-2\r\n");
    both_same(&b, "PTTL nokey", ":-2\r\n");
    both_same(&b, "EXPIRETIME nokey", ":-2\r\n");
    both_same(&b, "PEXPIRETIME nokey", ":-2\r\n");
    both_same(&b, "TTL k", ":-1\r\n");
    both_same(&b, "PTTL k", ":-1\r\n");
    both_same(&b, "EXPIRETIME k", ":-1\r\n");
    both_same(&b, "PEXPIRETIME k", ":-1\r\n");
    both_same(&b, "PERSIST k", ":0\r\n");
    both_same(&b, "PERSIST nokey", ":0\r\n");
    both_same(&b, "EXPIRE nokey 10", ":0\r\n");
    both_same(&b, "EXPIRE k 1000", ":1\r\n");
    both_same(&b, "TTL k", ":1000\r\n");
    both_two(&b, "PERSIST k", ":1\r\n");
    both_same(&b, "TTL k", ":-1\r\n");
    both_same(&b, "EXPIREAT k 4102444800", ":1\r\n");
    both_same(&b, "EXPIRETIME k", ":4102444800\r\n");
    both_same(&b, "PEXPIRETIME k", ":4102444800000\r\n");
    both_same(&b, "PEXPIREAT k 4102444800999", ":1\r\n");
    both_same(&b, "PEXPIRETIME k", ":4102444800999\r\n");
    both_same(&b, "EXPIRETIME k", ":4102444801\r\n"); /* rounded, as in Redis */
    both_same(&b, "PEXPIRE k 100000000", ":1\r\n");
    both_same(&b, "EXPIREAT k 9223372036854775", ":1\r\n"); /* the last second there is */
    both_same(&b, "EXPIRETIME k", ":9223372036854775\r\n");
    both_same(&b, "PEXPIREAT k 9223372036854775807", ":1\r\n");
    both_same(&b, "PEXPIRETIME k", ":9223372036854775807\r\n");
    both_stop(&b);
}

static void test_conditions(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "k");
    both_same(&b, "EXPIRE k 100 XX", ":0\r\n");
    both_same(&b, "EXPIRE k 100 GT", ":0\r\n"); /* to have none is to last for ever */
    both_same(&b, "TTL k", ":-1\r\n");
    both_two(&b, "EXPIRE k 100 NX", ":1\r\n");
    both_same(&b, "EXPIRE k 200 nx", ":0\r\n");
    both_same(&b, "EXPIRE k 50 GT", ":0\r\n");
    both_same(&b, "EXPIRE k 200 LT", ":0\r\n");
    both_same(&b, "TTL k", ":100\r\n");
    both_same(&b, "EXPIRE k 300 XX", ":1\r\n");
    both_two(&b, "PEXPIREAT k 4102444800000 GT", ":1\r\n");
    both_same(&b, "PEXPIREAT k 4102444800000 GT", ":0\r\n");
    both_same(&b, "PEXPIREAT k 4102444800000 LT", ":0\r\n");
    both_two(&b, "PEXPIREAT k 4102444799999 XX LT", ":1\r\n");
    both_two(&b, "PERSIST k", ":1\r\n");
    both_two(&b, "EXPIRE k 100 LT", ":1\r\n");
    both_error(&b, "EXPIRE k 1 FT", "ERR Unsupported option FT");
    both_error(&b, "EXPIRE k x FT", "ERR Unsupported option FT");
    both_error(&b, "EXPIRE k 1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible");
    both_error(&b, "EXPIRE k 1 GT NX", "ERR NX and XX, GT or LT options at the same time are not compatible");
    both_error(&b, "EXPIRE k 1 LT GT", "ERR GT and LT options at the same time are not compatible");
    both_stop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "k");
    both_error(&b, "EXPIRE k", "ERR wrong number of arguments for 'expire' command");
    both_error(&b, "TTL", "ERR wrong number of arguments for 'ttl' command");
    both_error(&b, "PERSIST k k", "ERR wrong number of arguments for 'persist' command");
    both_error(&b, "EXPIRE k 1.5", "ERR value is not an integer or out of range");
    both_error(&b, "EXPIRE k ''", "ERR value is not an integer or out of range");
    both_error(&b, "PEXPIRE k 9223372036854775808", "ERR value is not an integer or out of range");
    both_error(&b, "EXPIRE k 9223372036854775", "ERR invalid expire time in 'expire' command");
    both_error(&b, "EXPIRE k 9223372036854775807", "ERR invalid expire time in 'expire' command");
    both_error(&b, "EXPIRE k -9223372036854775808", "ERR invalid expire time in 'expire' command");
    both_error(&b, "PEXPIRE k 9223372036854775807", "ERR invalid expire time in 'pexpire' command");
    both_error(&b, "EXPIREAT k 9223372036854776", "ERR invalid expire time in 'expireat' command");
    both_error(&b, "EXPIRE nokey 9223372036854775807", "ERR invalid expire time in 'expire' command");
    both_same(&b, "TTL k", ":-1\r\n");
    both_stop(&b);
}

/* A time that is past removes the key at once. */
static void test_past(void **state)
{
    (void)state;
    static const char *const commands[] = {"EXPIRE k 0", "EXPIRE k -1", "PEXPIRE k 0", "EXPIREAT k 1", "EXPIREAT k 0",
                                           "EXPIREAT k -9223372036854775", "PEXPIREAT k -9223372036854775808",
                                           "PEXPIRE k -9223372036854775808", NULL};
    struct both b = both_start(NULL);
    for (size_t i = 0; commands[i]; i++) {
        add(&b, "k");
        raw_puts(b.two, commands[i]);
        raw_talk(b.two, "\r\n", ":1\r\n");
        both_same(&b, "EXISTS k", ":0\r\n");
        both_same(&b, "DBSIZE", ":0\r\n");
    }
    both_stop(&b);
}

static bool is_zero(void *arg)
{
    return reply_get_int(arg, "DBSIZE") == 0;
}

/* Not seen by any command from then on, gone soon after; counted and told. */
static void test_end(void **state)
{
    (void)state;
    static const char *const args[] = {"--notify-keyspace-events", "KA", NULL};
    struct both b = both_start(args);
    redisContext *c = server_connect(b.server);
    int fd = server_socket(b.server);
    raw_talk(fd, "PSUBSCRIBE __keyspace@0__:k\r\n", "*3\r\n$10\r\npsubscribe\r\n$16\r\n__keyspace@0__:k\r\n:1\r\n");
    add(&b, "k");
    add(&b, "other");
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$16\r\n__keyspace@0__:k\r\n$16\r\n__keyspace@0__:k\r\n$4\r\nvadd\r\n");
    reply_int(c, 1, "PEXPIRE k 60");
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$16\r\n__keyspace@0__:k\r\n$16\r\n__keyspace@0__:k\r\n$6\r\nexpire\r\n");
    uint64_t end = clock_wall_ms() + 61;
    while (clock_wall_ms() <= end)
        usleep(1000);
    reply_int(c, 0, "EXISTS k");
    reply_status(c, "none", "TYPE k");
    reply_int(c, -2, "TTL k");
    reply_int(c, 0, "VCARD k");
    reply_bulk(c, "other", "RANDOMKEY");
    freeReplyObject(reply_array(c, 1, "KEYS *"));
    raw_expect(fd, "*4\r\n$8\r\npmessage\r\n$16\r\n__keyspace@0__:k\r\n$16\r\n__keyspace@0__:k\r\n$7\r\nexpired\r\n");
    assert_true(reply_info(c, "stats", "expired_keys") == 1);
    reply_int(c, 1, "DBSIZE");
    reply_int(c, 1, "PEXPIRE other 1");
    assert_true(wait_until(is_zero, c, WAIT_MS));
    close(fd);
    redisFree(c);
    both_stop(&b);
}

/* A key's time goes with its name, and is not that of what comes after it. */
static void test_names(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "k");
    add(&b, "l");
    both_two(&b, "EXPIRE k 1000", ":1\r\n");
    both_two(&b, "EXPIRE l 50", ":1\r\n");
    both_two(&b, "RENAME k l", "+OK\r\n");
    both_same(&b, "TTL l", ":1000\r\n");
    add(&b, "m");
    both_two(&b, "RENAME m l", "+OK\r\n");
    both_same(&b, "TTL l", ":-1\r\n");
    both_two(&b, "EXPIRE l 1000", ":1\r\n");
    both_two(&b, "VADD l VALUES 2 0 1 b", ":1\r\n"); /* a write is not a new key */
    both_same(&b, "TTL l", ":1000\r\n");
    both_two(&b, "DEL l", ":1\r\n");
    add(&b, "l");
    both_same(&b, "TTL l", ":-1\r\n");
    both_stop(&b);
}

/* While writes are paused what has ended stays, hidden, until its name is wanted. */
static void test_paused(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    add(&b, "k");
    both_two(&b, "PEXPIRE k 30", ":1\r\n");
    both_two(&b, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    uint64_t end = clock_wall_ms() + 31;
    while (clock_wall_ms() <= end)
        usleep(1000);
    both_same(&b, "EXISTS k", ":0\r\n");
    both_same(&b, "KEYS *", "*0\r\n");
    both_same(&b, "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    both_null(&b, "RANDOMKEY");
    both_same(&b, "DBSIZE", ":1\r\n");
    assert_true(reply_info(c, "stats", "expired_keys") == 0);
    both_two(&b, "CLIENT UNPAUSE", "+OK\r\n");
    assert_true(wait_until(is_zero, c, WAIT_MS));
    redisFree(c);
    both_stop(&b);
}

static void test_info(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    add(&b, "k");
    add(&b, "l");
    add(&b, "m");
    both_two(&b, "PEXPIRE k 3000000", ":1\r\n");
    both_two(&b, "PEXPIRE l 1000000", ":1\r\n");
    redisReply *r = reply_any(c, "INFO keyspace");
    unsigned long long ttl = 0;
    const char *at = strstr(r->str, "db0:keys=3,expires=2,avg_ttl=");
    assert_non_null(at);
    sscanf(strstr(at, "avg_ttl="), "avg_ttl=%llu", &ttl);
    assert_true(ttl > 1900000 && ttl <= 2000000);
    freeReplyObject(r);
    both_two(&b, "PERSIST k", ":1\r\n");
    reply_contains(c, "db0:keys=3,expires=1,", "INFO keyspace");
    both_two(&b, "DEL l", ":1\r\n");
    reply_contains(c, "db0:keys=2,expires=0,avg_ttl=0", "INFO keyspace");
    both_two(&b, "EXPIRE m 100", ":1\r\n");
    both_two(&b, "FLUSHDB", "+OK\r\n");
    add(&b, "n");
    reply_contains(c, "db0:keys=1,expires=0,avg_ttl=0", "INFO keyspace");
    redisFree(c);
    both_stop(&b);
}

static void test_watch(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    add(&b, "k");
    both_two(&b, "WATCH k", "+OK\r\n");
    both_three(&b, "EXPIRE k 100", ":1\r\n");
    both_two(&b, "MULTI", "+OK\r\n");
    both_two(&b, "TTL k", "+QUEUED\r\n");
    both_two(&b, "EXEC", "*-1\r\n");
    both_two(&b, "MULTI", "+OK\r\n");
    both_two(&b, "EXPIRE k 200", "+QUEUED\r\n");
    both_two(&b, "TTL k", "+QUEUED\r\n");
    both_two(&b, "EXEC", "*2\r\n:1\r\n:200\r\n");
    both_stop(&b);
}

static void restart(const char *const *args, const char *reload)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    reply_int(c, 1, "VADD l VALUES 2 1 0 a");
    reply_int(c, 1, "VADD m VALUES 2 1 0 a");
    reply_int(c, 1, "VADD short VALUES 2 1 0 a");
    reply_int(c, 1, "PEXPIREAT k 4102444800123");
    reply_int(c, 1, "EXPIRE l 1000");
    reply_int(c, 1, "PERSIST l");
    reply_int(c, 1, "PEXPIREAT m 4102444800456");
    reply_int(c, 1, "PEXPIRE short 200");
    reply_status(c, "OK", "RENAME m n");
    for (int round = 0; round < 3; round++) {
        if (round == 1) {
            redisFree(c);
            server_restart(s, SIGTERM);
            c = server_connect(s);
        } else if (round == 2) {
            reply_status(c, "OK", reload);
        }
        redisReply *r = reply_any(c, "PEXPIRETIME k");
        assert_int_equal(r->integer, 4102444800123);
        freeReplyObject(r);
        reply_int(c, -1, "TTL l");
        r = reply_any(c, "PEXPIRETIME n");
        assert_int_equal(r->integer, 4102444800456);
        freeReplyObject(r);
    }
    uint64_t until = clock_mono_ns() + (uint64_t)WAIT_MS * 1000000;
    while (reply_get_int(c, "DBSIZE") > 3)
        assert_true(clock_mono_ns() < until);
    reply_int(c, 0, "EXISTS short");
    redisFree(c);
    server_restart(s, SIGTERM); /* and it does not come back */
    c = server_connect(s);
    reply_int(c, 3, "DBSIZE");
    redisFree(c);
    server_stop(s);
}

static void test_restart(void **state)
{
    (void)state;
    restart(journal, "DEBUG LOADAOF");
    restart(snapshot, "DEBUG RELOAD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies), cmocka_unit_test(test_conditions), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_past),    cmocka_unit_test(test_end),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_paused),  cmocka_unit_test(test_info),       cmocka_unit_test(test_watch),
        cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
