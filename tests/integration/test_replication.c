/* Replicas: all data, the stream, interruptions, roles, chains, what is refused. Nodes are compared by the
 * digests of everything they hold. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

struct nodes {
    struct test_server *server[3];
    redisContext *c[3];
};

static struct nodes start(int n, const char *const *args)
{
    struct nodes x = {0};
    for (int i = 0; i < n; i++) {
        x.server[i] = server_start(args);
        x.c[i] = server_connect(x.server[i]);
    }
    return x;
}

static void stop(struct nodes *x)
{
    for (int i = 2; i >= 0; i--) {
        if (!x->server[i])
            continue;
        redisFree(x->c[i]);
        server_stop(x->server[i]);
    }
}

static double number(redisContext *c, const char *field)
{
    return reply_info(c, "replication", field);
}

/* All data, then the stream, then writes meanwhile. */
static void test_full(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    repl_write(x.c[0], 1, 0, 3000);
    reply_int(x.c[1], 1, "VADD mine VALUES 2 1 2 a");
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    reply_int(x.c[1], 0, "EXISTS mine");
    /* Its records will be behind the primary's in time, too. */
    assert_true(reply_info(x.c[1], "persistence", "hlc") == reply_info(x.c[0], "persistence", "hlc"));
    repl_write(x.c[0], 1, 3000, 6000);
    repl_same(x.c[0], x.c[1]);
    assert_true(number(x.c[0], "sync_full") == 1);
    reply_error(x.c[1], "READONLY You can't write against a read only replica.", "VADD k VALUES 2 1 2 a");
    char *role = repl_line(x.c[1], "role");
    assert_string_equal(role, "slave");
    free(role);
    stop(&x);
}

static void test_empty(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    repl_write(x.c[0], 2, 0, 500);
    reply_status(x.c[0], "OK", "FLUSHALL");
    repl_same(x.c[0], x.c[1]);
    reply_int(x.c[1], 0, "DBSIZE");
    repl_write(x.c[0], 2, 500, 1000);
    repl_same(x.c[0], x.c[1]);
    stop(&x);
}

/* The link breaks, writes go on, the replica goes on where it was. */
static void test_partial(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    repl_write(x.c[0], 3, 0, 1000);
    repl_follow(x.c[1], x.server[0]);
    for (int i = 0; i < 5; i++) {
        assert_true(reply_get_int(x.c[0], "CLIENT KILL TYPE replica") == 1);
        repl_write(x.c[0], 3, 1000 + 300 * (unsigned)i, 1300 + 300 * (unsigned)i);
        repl_same(x.c[0], x.c[1]);
        assert_true(number(x.c[0], "sync_full") == 1);
        assert_true(number(x.c[0], "sync_partial_ok") == i + 1);
    }
    stop(&x);
}

/* A primary, its replica, the replica's replica; then the middle becomes the primary of both. */
static void test_chain_and_promotion(void **state)
{
    (void)state;
    struct nodes x = start(3, NULL);
    repl_write(x.c[0], 4, 0, 1500);
    repl_follow(x.c[1], x.server[0]);
    repl_follow(x.c[2], x.server[1]);
    repl_same(x.c[1], x.c[2]);
    repl_write(x.c[0], 4, 1500, 2500);
    repl_same(x.c[0], x.c[1]);
    repl_same(x.c[1], x.c[2]);
    reply_status(x.c[1], "OK", "REPLICAOF NO ONE");
    reply_contains(x.c[1], "role:master", "INFO replication");
    /* The old primary has written nothing since: both go on without all data. */
    repl_follow(x.c[0], x.server[1]);
    repl_write(x.c[1], 4, 2500, 3500);
    repl_same(x.c[1], x.c[0]);
    repl_same(x.c[1], x.c[2]);
    assert_true(number(x.c[1], "sync_full") == 1);
    assert_true(number(x.c[1], "sync_partial_ok") >= 2);
    /* One that has written what its primary does not have begins anew. */
    reply_status(x.c[0], "OK", "SLAVEOF NO ONE");
    repl_write(x.c[0], 5, 0, 100);
    repl_write(x.c[1], 4, 3500, 3600);
    repl_follow(x.c[0], x.server[1]);
    repl_same(x.c[1], x.c[0]);
    assert_true(number(x.c[1], "sync_full") == 2);
    stop(&x);
}

/* A replica keeps what it gets, as a primary does. */
static void test_with_journals(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "everysec", NULL};
    struct nodes x = start(2, args);
    repl_write(x.c[0], 6, 0, 2000);
    repl_follow(x.c[1], x.server[0]);
    repl_write(x.c[0], 6, 2000, 3000);
    repl_same(x.c[0], x.c[1]);
    freeReplyObject(reply_any(x.c[0], "PERSIST k2")); /* a restarted one decides what ends by itself */
    repl_same(x.c[0], x.c[1]);
    redisFree(x.c[1]);
    server_restart(x.server[1], SIGTERM);
    x.c[1] = server_connect(x.server[1]);
    for (int64_t end = wait_now_ms() + 60000;;) {
        char *kept = repl_facts(x.c[1]), *theirs = repl_facts(x.c[0]);
        bool so = !strcmp(kept, theirs);
        if (!so && wait_now_ms() > end)
            fail_msg("kept:\n%sthe primary has:\n%s", kept, theirs);
        free(kept);
        free(theirs);
        if (so)
            break;
    }
    repl_write(x.c[0], 6, 3000, 3500);
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    stop(&x);
}

static void test_password(void **state)
{
    (void)state;
    static const char *const args[] = {"--requirepass", "secret", NULL};
    struct nodes x = start(0, NULL);
    x.server[0] = server_start(NULL);
    x.c[0] = server_connect(x.server[0]);
    reply_status(x.c[0], "OK", "CONFIG SET requirepass secret");
    repl_write(x.c[0], 7, 0, 200);
    x.server[1] = server_start(NULL);
    x.c[1] = server_connect(x.server[1]);
    (void)args;
    reply_status(x.c[1], "OK", "REPLICAOF 127.0.0.1 %d", server_port(x.server[0]));
    server_wait_output(x.server[1], "NOAUTH", 20000);
    reply_status(x.c[1], "OK", "CONFIG SET masterauth secret");
    repl_wait_line(x.c[1], "master_link_status", "up");
    repl_same(x.c[0], x.c[1]);
    stop(&x);
}

/* What stands in the configuration, and what CONFIG REWRITE writes there. */
static void test_conf(void **state)
{
    (void)state;
    char conf[256];
    struct test_server *p = server_start(NULL);
    redisContext *pc = server_connect(p);
    repl_write(pc, 8, 0, 300);
    snprintf(conf, sizeof(conf), "replicaof 127.0.0.1 %d\n", server_port(p));
    struct test_server *s = server_start_conf(conf, NULL);
    redisContext *c = server_connect(s);
    repl_same(pc, c);
    reply_status(c, "OK", "REPLICAOF NO ONE");
    reply_status(c, "OK", "CONFIG REWRITE");
    redisFree(c);
    server_restart(s, SIGTERM);
    c = server_connect(s);
    reply_contains(c, "role:master", "INFO replication");
    freeReplyObject(reply_any(c, "SLAVEOF 127.0.0.1 %d", server_port(p)));
    reply_status(c, "OK", "CONFIG REWRITE");
    redisFree(c);
    server_restart(s, SIGTERM);
    c = server_connect(s);
    repl_same(pc, c);
    redisFree(c);
    server_stop(s);
    redisFree(pc);
    server_stop(p);
}

static void test_role(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    int fd = server_socket(x.server[0]);
    raw_talk(fd, "ROLE\r\n", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    close(fd);
    repl_follow(x.c[1], x.server[0]);
    reply_int(x.c[0], 1, "VADD k VALUES 2 1 2 a");
    repl_in_step(x.c[0], x.c[1]);
    redisReply *r = reply_array(x.c[1], 5, "ROLE");
    assert_string_equal(r->element[0]->str, "slave");
    assert_string_equal(r->element[1]->str, "127.0.0.1");
    assert_int_equal(r->element[2]->integer, server_port(x.server[0]));
    assert_string_equal(r->element[3]->str, "connected");
    assert_true(r->element[4]->integer > 0);
    freeReplyObject(r);
    r = reply_array(x.c[0], 3, "ROLE");
    assert_string_equal(r->element[0]->str, "master");
    assert_int_equal(r->element[2]->elements, 1);
    assert_int_equal(r->element[2]->element[0]->elements, 3);
    freeReplyObject(r);
    reply_error(x.c[0], "ERR Invalid master port", "REPLICAOF host 0");
    reply_error(x.c[0], "ERR Invalid master port", "REPLICAOF host x");
    reply_status(x.c[1], "OK Already connected to specified master", "REPLICAOF 127.0.0.1 %d",
                 server_port(x.server[0]));
    stop(&x);
}

static void test_min_replicas(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    reply_status(x.c[0], "OK", "CONFIG SET min-replicas-to-write 1");
    reply_error(x.c[0], "NOREPLICAS Not enough good replicas to write.", "VADD k VALUES 2 1 2 a");
    repl_follow(x.c[1], x.server[0]);
    for (int64_t end = wait_now_ms() + 20000;;) {
        redisReply *r = reply_any(x.c[0], "VADD k VALUES 2 1 2 a");
        bool ok = r->type == REDIS_REPLY_INTEGER;
        freeReplyObject(r);
        if (ok)
            break;
        assert_true(wait_now_ms() < end);
    }
    reply_contains(x.c[0], "min_slaves_good_slaves:1", "INFO replication");
    stop(&x);
}

/* The replica's own clock removes nothing; the primary's does. */
static void test_expiry(void **state)
{
    (void)state;
    struct nodes x = start(2, NULL);
    repl_follow(x.c[1], x.server[0]);
    reply_int(x.c[0], 1, "VADD k VALUES 2 1 2 a");
    reply_int(x.c[0], 1, "PEXPIRE k 300");
    repl_in_step(x.c[0], x.c[1]);
    for (int64_t end = wait_now_ms() + 20000; reply_get_int(x.c[0], "EXISTS k");)
        assert_true(wait_now_ms() < end);
    reply_int(x.c[1], 0, "EXISTS k");
    repl_same(x.c[0], x.c[1]);
    stop(&x);
}

/* A replica that holds something else finds out, and gets all data. */
static void test_digests(void **state)
{
    (void)state;
    static const char *const args[] = {"--repl-compression", "yes", NULL};
    struct nodes x = start(2, args);
    repl_write(x.c[0], 12, 0, 1500);
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    for (int64_t end = wait_now_ms() + 20000; number(x.c[1], "digests_compared") < 10;)
        assert_true(wait_now_ms() < end);
    assert_true(number(x.c[1], "digests_different") == 0);
    reply_status(x.c[1], "OK", "CONFIG SET replica-read-only no");
    reply_int(x.c[1], 1, "VADD k0 VALUES 8 1 2 3 4 5 6 7 8 other");
    for (int64_t end = wait_now_ms() + 20000; number(x.c[1], "partitions_mended") < 1;)
        assert_true(wait_now_ms() < end);
    repl_same(x.c[0], x.c[1]);
    assert_true(number(x.c[1], "digests_different") >= 1);
    assert_true(number(x.c[0], "sync_full") == 1);
    server_wait_output(x.server[0], "does not hold what this node holds", 20000);
    stop(&x);
}

static void test_wait(void **state)
{
    (void)state;
    static const char *const without[] = {"--appendonly", "no", NULL};
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "everysec", NULL};
    struct nodes x = start(2, without);
    x.server[2] = server_start(args);
    x.c[2] = server_connect(x.server[2]);
    reply_int(x.c[0], 0, "WAIT 0 0");
    reply_int(x.c[0], 1, "VADD k VALUES 2 1 2 a");
    reply_int(x.c[0], 0, "WAIT 1 20");
    repl_follow(x.c[1], x.server[0]);
    reply_int(x.c[0], 1, "WAIT 1 10000");
    repl_follow(x.c[2], x.server[0]);
    for (int i = 0; i < 20; i++) {
        reply_int(x.c[0], 1, "VADD k VALUES 2 1 2 b%d", i);
        reply_int(x.c[0], 2, "WAIT 2 10000");
        reply_int(x.c[1], i + 2, "VCARD k");
        reply_int(x.c[2], i + 2, "VCARD k");
    }
    /* Of two replicas one has a journal. */
    redisReply *r = reply_array(x.c[0], 2, "WAITAOF 0 1 10000");
    assert_int_equal(r->element[0]->integer, 0);
    assert_int_equal(r->element[1]->integer, 1);
    freeReplyObject(r);
    r = reply_array(x.c[0], 2, "WAITAOF 0 2 20");
    assert_int_equal(r->element[1]->integer, 1);
    freeReplyObject(r);
    reply_error(x.c[0], "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
                "WAITAOF 1 0 0");
    reply_error(x.c[1], "ERR WAIT cannot be used with replica instances.", "WAIT 1 0");
    reply_error(x.c[0], "ERR timeout is negative", "WAIT 1 -1");
    /* What waits when the role changes is told. */
    int fd = server_socket(x.server[0]);
    raw_puts(fd, "VADD k VALUES 2 1 2 z\r\nWAIT 5 0\r\n");
    raw_expect(fd, ":1\r\n");
    freeReplyObject(reply_any(x.c[0], "REPLICAOF 127.0.0.1 1"));
    raw_expect(fd, "-UNBLOCKED");
    close(fd);
    stop(&x);
}

/* Writes go on while the primary hands over: what it has acknowledged is there, and no node gets all data. */
static void test_failover(void **state)
{
    (void)state;
    struct nodes x = start(3, NULL);
    repl_write(x.c[0], 9, 0, 1000);
    repl_follow(x.c[1], x.server[0]);
    repl_follow(x.c[2], x.server[0]);
    reply_error(x.c[1], "ERR FAILOVER is not valid when server is a replica.", "FAILOVER");
    reply_error(x.c[0], "ERR FAILOVER target HOST and PORT is not a replica.", "FAILOVER TO 127.0.0.1 1");
    reply_error(x.c[0], "ERR No failover in progress.", "FAILOVER ABORT");
    repl_in_step(x.c[0], x.c[1]);
    repl_in_step(x.c[0], x.c[2]);
    redisContext *writer = server_connect(x.server[0]);
    int acknowledged = 0, now = 0;
    for (int round = 0; round < 4; round++) {
        int next = !now;
        int sent = 0;
        for (int i = 0; i < 300; i++, sent++) {
            redisAppendCommand(writer, "VADD w VALUES 2 1 %d w%d", i, round * 1000 + i);
            if (i == 150) {
                int done;
                do
                    redisBufferWrite(writer, &done);
                while (!done);
                redisReply *r; /* they are being done */
                assert_int_equal(redisGetReply(writer, (void **)&r), REDIS_OK);
                assert_int_equal(r->type, REDIS_REPLY_INTEGER);
                freeReplyObject(r);
                acknowledged++;
                sent--;
                reply_status(x.c[now], "OK", "FAILOVER TO 127.0.0.1 %d TIMEOUT 20000",
                             server_port(x.server[next]));
            }
        }
        for (int i = 0; i < sent; i++) {
            redisReply *r;
            assert_int_equal(redisGetReply(writer, (void **)&r), REDIS_OK);
            acknowledged += r->type == REDIS_REPLY_INTEGER;
            if (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "READONLY", 8) &&
                strncmp(r->str, "UNBLOCKED", 9))
                fail_msg("%s", r->str);
            freeReplyObject(r);
        }
        repl_wait_line(x.c[now], "role", "slave");
        repl_wait_line(x.c[now], "master_link_status", "up");
        reply_contains(x.c[now], "master_failover_state:no-failover", "INFO replication");
        reply_contains(x.c[next], "role:master", "INFO replication");
        repl_same(x.c[next], x.c[now]);
        /* A node remembers the history before its own, not two: the third one has to know of each handover. */
        repl_same(x.c[next], x.c[2]);
        reply_int(x.c[next], acknowledged, "VCARD w");
        redisFree(writer);
        writer = server_connect(x.server[next]);
        now = next;
    }
    redisFree(writer);
    assert_true(acknowledged > 0);
    assert_true(number(x.c[0], "sync_full") == 2);
    assert_true(number(x.c[1], "sync_full") == 0);
    /* One that cannot be reached in time: writes go on here. */
    freeReplyObject(reply_any(x.c[2], "REPLICAOF 127.0.0.1 %d", server_port(x.server[now])));
    repl_same(x.c[now], x.c[2]);
    kill(server_pid(x.server[2]), SIGSTOP);
    reply_int(x.c[now], 1, "VADD w VALUES 2 1 1 late");
    reply_status(x.c[now], "OK", "FAILOVER TO 127.0.0.1 %d TIMEOUT 300", server_port(x.server[2]));
    reply_int(x.c[now], 1, "VADD w VALUES 2 1 1 later");
    reply_contains(x.c[now], "role:master", "INFO replication");
    kill(server_pid(x.server[2]), SIGCONT);
    repl_same(x.c[now], x.c[2]);
    stop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_chain_and_promotion),
        cmocka_unit_test(test_with_journals),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_role),
        cmocka_unit_test(test_min_replicas),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_failover),
    };
    if (getenv("T"))
        cmocka_set_test_filter(getenv("T"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
