/* OBJECT, TOUCH, DUMP, RESTORE and COPY: replies in RESP2 and RESP3, errors, and what a restart finds. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/both.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/run.h"

static void test_object(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_null(&b, "OBJECT ENCODING k");
    both_null(&b, "OBJECT REFCOUNT k");
    both_null(&b, "OBJECT IDLETIME k");
    both_null(&b, "OBJECT FREQ k");
    both_two(&b, "VADD k VALUES 2 1 0 a", ":1\r\n");
    both_same(&b, "OBJECT ENCODING k", "$3\r\nraw\r\n");
    both_same(&b, "OBJECT REFCOUNT k", ":1\r\n");
    both_same(&b, "OBJECT IDLETIME k", ":0\r\n");
    both_error(&b, "OBJECT FREQ k",
               "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
               "between policies at runtime LRU and LFU data will take some time to adjust.");
    both_same(&b, "CONFIG SET maxmemory-policy allkeys-lfu", "+OK\r\n");
    both_error(&b, "OBJECT IDLETIME k",
               "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between "
               "policies at runtime LRU and LFU data will take some time to adjust.");
    both_two(&b, "VADD l VALUES 2 1 0 a", ":1\r\n");
    both_same(&b, "OBJECT FREQ l", ":5\r\n");
    both_two(&b, "VCARD l", ":1\r\n");
    both_same(&b, "OBJECT FREQ l", ":6\r\n");
    both_same(&b, "EXISTS l", ":1\r\n");
    both_same(&b, "OBJECT FREQ l", ":6\r\n");
    both_error(&b, "OBJECT FREQ", "ERR wrong number of arguments for 'object|freq' command");
    both_same(&b, "TOUCH k l m", ":2\r\n");
    both_stop(&b);
}

static void fill(redisContext *c, const char *key, int n)
{
    for (int i = 0; i < n; i++)
        reply_int(c, 1, "VADD %s VALUES 3 %d %d 1 e%d SETATTR {\"n\":%d} EF 40", key, i % 17, i % 5, i, i);
}

static void same(redisContext *c, const char *a, const char *b)
{
    redisReply *x = reply_any(c, "DUMP %s", a), *y = reply_any(c, "DUMP %s", b);
    assert_int_equal(x->type, REDIS_REPLY_STRING);
    assert_int_equal(y->type, REDIS_REPLY_STRING);
    assert_int_equal(x->len, y->len);
    assert_memory_equal(x->str, y->str, x->len);
    freeReplyObject(x);
    freeReplyObject(y);
}

static void test_dump(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    int n = RUN_RACES ? 1500 : 3000; /* enough for a graph */
    reply_null(c, "DUMP k");
    fill(c, "k", n);
    reply_int(c, 1, "VEXPIRE k 5000 e7");
    redisReply *d = reply_any(c, "DUMP k");
    assert_int_equal(d->type, REDIS_REPLY_STRING);
    reply_status(c, "OK", "RESTORE l 0 %b", d->str, d->len);
    same(c, "k", "l");
    reply_int(c, -1, "TTL l");
    reply_error(c, "BUSYKEY Target key name already exists.", "RESTORE l 0 %b", d->str, d->len);
    reply_status(c, "OK", "RESTORE l 100000 %b REPLACE IDLETIME 77", d->str, d->len);
    reply_int(c, 77, "OBJECT IDLETIME l");
    assert_in_range(reply_get_int(c, "PTTL l"), 90000, 100000);
    assert_in_range(reply_get_int(c, "VTTL l e7"), 4900, 5000);
    reply_status(c, "OK", "RESTORE m 4000000000000 %b ABSTTL FREQ 9", d->str, d->len);
    reply_int(c, 4000000000, "EXPIRETIME m");
    reply_status(c, "OK", "RESTORE m 1000 %b ABSTTL REPLACE", d->str, d->len);
    reply_int(c, 0, "EXISTS m");
    d->str[d->len / 2] ^= 1;
    reply_error(c, "ERR DUMP payload version or checksum are wrong", "RESTORE m 0 %b", d->str, d->len);
    d->str[d->len / 2] ^= 1;
    reply_error(c, "ERR DUMP payload version or checksum are wrong", "RESTORE m 0 x");
    reply_error(c, "ERR Invalid TTL value, must be >= 0", "RESTORE m -1 %b", d->str, d->len);
    reply_error(c, "ERR value is not an integer", "RESTORE m x %b", d->str, d->len);
    reply_error(c, "ERR Invalid FREQ value, must be >= 0 and <= 255", "RESTORE m 0 %b FREQ 256", d->str, d->len);
    reply_error(c, "ERR Invalid IDLETIME value, must be >= 0", "RESTORE m 0 %b IDLETIME -1", d->str, d->len);
    reply_error(c, "ERR syntax error", "RESTORE m 0 %b IDLETIME 1 FREQ 2", d->str, d->len);
    reply_int(c, 0, "EXISTS m");

    reply_int(c, 1, "PEXPIREAT k 4000000000000");
    reply_int(c, 1, "COPY k copy");
    reply_int(c, 0, "COPY k copy");
    reply_int(c, 0, "COPY none copy REPLACE");
    reply_int(c, 1, "COPY k copy REPLACE");
    reply_int(c, 1, "COPY k k DB 3");
    reply_error(c, "ERR source and destination objects are the same", "COPY k k");
    reply_error(c, "ERR DB index is out of range", "COPY k k DB 99");
    reply_error(c, "ERR syntax error", "COPY k l DB");
    same(c, "k", "copy");
    reply_int(c, 4000000000, "EXPIRETIME copy");
    reply_int(c, 1, "VADD copy VALUES 3 9 9 9 more");
    reply_int(c, n + 1, "VCARD copy");
    reply_int(c, n, "VCARD k");
    reply_int(c, 1, "VREM copy more");

    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "COPY k in");
    reply_status(c, "QUEUED", "VCARD in");
    redisReply *r = reply_array(c, 2, "EXEC");
    assert_int_equal(r->element[1]->integer, n);
    freeReplyObject(r);

    /* From the journal, and from a snapshot. */
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    same(c, "k", "copy");
    same(c, "k", "l");
    same(c, "k", "in");
    saves_ask(c, "SAVE");
    reply_status(c, "OK", "DEBUG RELOAD");
    same(c, "k", "copy");
    reply_status(c, "OK", "RESTORE k 0 %b REPLACE", d->str, d->len);
    same(c, "k", "l");
    reply_status(c, "OK", "SELECT 3");
    reply_int(c, n, "VCARD k");
    freeReplyObject(d);
    redisFree(c);
    server_stop(s);
}

static void test_swap(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s), *other = server_connect(s);
    reply_int(c, 1, "VADD zero VALUES 2 1 0 a");
    reply_int(c, 1, "EXPIRE zero 1000");
    reply_status(other, "OK", "SELECT 2");
    reply_int(other, 1, "VADD two VALUES 2 1 0 a");
    reply_int(other, 1, "VADD both VALUES 2 1 0 a");
    reply_int(c, 1, "VADD both VALUES 3 1 0 0 a");
    reply_status(c, "OK", "WATCH both");
    reply_status(other, "OK", "SWAPDB 0 2");
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "DBSIZE");
    reply_null(c, "EXEC");
    for (int i = 0; i < 2; i++) {
        reply_int(c, 2, "VDIM both");
        reply_int(c, 2, "DBSIZE");
        reply_int(c, 0, "EXISTS zero");
        reply_int(other, 3, "VDIM both");
        reply_int(other, 1, "EXISTS zero");
        assert_in_range(reply_get_int(other, "TTL zero"), 900, 1000);
        redisFree(c);
        redisFree(other);
        server_restart(s, SIGKILL);
        c = server_connect(s);
        other = server_connect(s);
        reply_status(other, "OK", "SELECT 2");
    }
    reply_int(c, 1, "DEL two");
    reply_status(c, "OK", "SWAPDB 5 5");
    reply_error(c, "ERR invalid first DB index", "SWAPDB x 1");
    reply_error(c, "ERR invalid second DB index", "SWAPDB 1 x");
    reply_error(c, "ERR DB index is out of range", "SWAPDB 1 99");
    redisFree(c);
    redisFree(other);
    server_stop(s);
}

/* ---- a large one ---- */

#define LARGE_DIM 64
#define BATCH     200
#define TURN_US   1000

static void fill_large(redisContext *c, int n)
{
    static float v[BATCH][LARGE_DIM];
    static char id[BATCH][12];
    const char *argv[4 + 2 * BATCH] = {"VMADD", "large", "FP32", "200"};
    size_t lens[4 + 2 * BATCH] = {5, 5, 4, 3};
    struct rng rng = {n};
    reply_status(c, "OK", "VPARTITION CREATE large DIM %d TYPE FLAT", LARGE_DIM);
    for (int from = 0; from < n; from += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            for (int d = 0; d < LARGE_DIM; d++)
                v[i][d] = (float)rng_unit(&rng) - 0.5f;
            argv[4 + 2 * i] = id[i];
            lens[4 + 2 * i] = (size_t)snprintf(id[i], sizeof(id[i]), "e%d", from + i);
            argv[5 + 2 * i] = (const char *)v[i];
            lens[5 + 2 * i] = sizeof(v[i]);
        }
        freeReplyObject(reply_argv(c, 4 + 2 * BATCH, argv, lens));
    }
}

static double longest_turn(redisContext *c, const char *what)
{
    double us = reply_info(c, "stats", "loop_turn_max_us");
    print_message("%s: longest turn %.0f us\n", what, us);
    reply_status(c, "OK", "CONFIG RESETSTAT");
    return us;
}

/* Bytes of a large index go to the journal and to a replica in pieces, so that neither loop stands still. Times are held to on a
 * machine that does nothing else, with VECSTORE_DRILL=full (1,000,000 elements); otherwise they are printed. */
static void test_large(void **state)
{
    (void)state;
    int n = (int)drill_count(1000000, run_quick() ? 8000 : 80000);
    double worst = 0, us;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "no", "--client-query-buffer-limit", "2gb",
                                       "--proto-max-bulk-len", "1gb", NULL};
    struct test_server *s = server_start(args), *follower = server_start(args);
    redisContext *c = server_connect(s), *f = server_connect(follower);
    fill_large(c, n);
    repl_follow(f, s);
    repl_in_step(c, f);
    longest_turn(c, "before");
    longest_turn(f, "before, the replica");
    reply_int(c, 1, "COPY large copy");
    us = longest_turn(c, "COPY");
    worst = us > worst ? us : worst;
    repl_in_step(c, f);
    us = longest_turn(f, "COPY, the replica");
    worst = us > worst ? us : worst;
    redisReply *d = reply_any(c, "DUMP large");
    assert_int_equal(d->type, REDIS_REPLY_STRING);
    longest_turn(c, "DUMP");
    reply_status(c, "OK", "RESTORE restored 0 %b", d->str, d->len);
    us = longest_turn(c, "RESTORE");
    worst = us > worst ? us : worst;
    repl_in_step(c, f);
    us = longest_turn(f, "RESTORE, the replica");
    worst = us > worst ? us : worst;
    freeReplyObject(d);
    repl_same(c, f);
    reply_int(f, n, "VCARD copy");
    if (drill_full())
        assert_true(worst <= TURN_US);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    reply_int(c, n, "VCARD copy");
    repl_wait_line(f, "master_link_status", "up");
    repl_same(c, f);
    redisFree(c);
    redisFree(f);
    server_stop(follower);
    server_stop(s);
}

/* A dump leaves in slices, and one that begins as an error does is none. In a transaction it leaves at once. */
static void test_bytes(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    size_t len = 900000;
    char *dashes = malloc(len);
    memset(dashes, '-', len);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a SETATTR %b", dashes, len);
    redisReply *d = reply_any(c, "DUMP k");
    assert_int_equal(d->type, REDIS_REPLY_STRING);
    assert_true(d->len > len);
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "DUMP k");
    redisReply *all = reply_any(c, "EXEC");
    assert_int_equal(all->elements, 1);
    assert_int_equal(all->element[0]->len, d->len);
    assert_memory_equal(all->element[0]->str, d->str, d->len);
    reply_contains(c, "cmdstat_dump:calls=2", "INFO commandstats");
    reply_contains(c, "total_error_replies:0", "INFO stats");
    freeReplyObject(all);
    freeReplyObject(d);
    free(dashes);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_object), cmocka_unit_test(test_dump),
                                       cmocka_unit_test(test_swap), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
