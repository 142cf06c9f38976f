/* Transactions: queueing, EXEC, what makes it refuse, WATCH, and what the journal has of one; in
 * RESP2 and RESP3. */
#include <math.h>
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

#include "base/rng.h"
#include "integration/lib/both.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "lib/run.h"

static void test_replies(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    both_same(&b, "MULTI", "+OK\r\n");
    both_error(&b, "MULTI", "ERR MULTI calls can not be nested");
    both_error(&b, "WATCH k", "ERR WATCH inside MULTI is not allowed");
    both_same(&b, "DEL k", "+QUEUED\r\n");
    both_same(&b, "VADD k VALUES 2 1 0 a", "+QUEUED\r\n");
    both_same(&b, "VSEARCH k VALUES 2 1 0", "+QUEUED\r\n");
    both_same(&b, "VADD k VALUES 2 0 1 b", "+QUEUED\r\n");
    both_same(&b, "VSEARCH k VALUES 2 0 1 WITHSCORES", "+QUEUED\r\n");
    both_same(&b, "VADD k VALUES 3 0 1 2 c", "+QUEUED\r\n"); /* will fail; the others do not */
    both_same(&b, "VGETATTR k a", "+QUEUED\r\n");
    both_same(&b, "PING", "+QUEUED\r\n");
#define MISMATCH "-ERR Vector dimension mismatch - got 3 but set has 2\r\n"
    both_two(&b, "EXEC", "*8\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n:1\r\n*4\r\n$1\r\nb\r\n$1\r\n1\r\n"
                         "$1\r\na\r\n$3\r\n0.5\r\n" MISMATCH "$-1\r\n+PONG\r\n");
    both_three(&b, "EXEC", "*8\r\n:1\r\n#t\r\n*1\r\n$1\r\na\r\n#t\r\n%2\r\n$1\r\nb\r\n,1\r\n"
                           "$1\r\na\r\n,0.5\r\n" MISMATCH "_\r\n+PONG\r\n");
    both_error(&b, "EXEC", "ERR EXEC without MULTI");
    both_error(&b, "DISCARD", "ERR DISCARD without MULTI");
    both_same(&b, "MULTI", "+OK\r\n");
    both_same(&b, "EXEC", "*0\r\n");
    both_same(&b, "MULTI", "+OK\r\n");
    both_same(&b, "DEL k", "+QUEUED\r\n");
    both_same(&b, "DISCARD", "+OK\r\n");
    both_same(&b, "EXISTS k", ":1\r\n");
    both_error(&b, "WATCH", "ERR wrong number of arguments for 'watch' command");
    both_same(&b, "UNWATCH", "+OK\r\n");
    both_stop(&b);
}

static void test_refused(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
#define ABORTED "EXECABORT Transaction discarded because of previous errors."
    static const char *const never[] = {"SAVE\r\n", "SHUTDOWN\r\n", "MONITOR\r\n", "CLIENT REPLY OFF\r\n",
                                        "SUBSCRIBE a\r\n", "PUNSUBSCRIBE\r\n"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        raw_talk(b.two, "MULTI\r\n", "+OK\r\n");
        raw_talk(b.two, never[i], "-ERR Command not allowed inside a transaction\r\n");
        raw_talk(b.two, "EXEC\r\n", "-" ABORTED "\r\n");
    }
    both_same(&b, "MULTI", "+OK\r\n");
    both_error(&b, "nosuch", "ERR unknown command 'nosuch', with args beginning with: ");
    both_same(&b, "VADD k VALUES 2 1 0 a", "+QUEUED\r\n");
    both_error(&b, "EXEC", ABORTED);
    both_same(&b, "MULTI", "+OK\r\n");
    both_error(&b, "DEL", "ERR wrong number of arguments for 'del' command");
    both_error(&b, "EXEC", ABORTED);
    both_same(&b, "EXISTS k", ":0\r\n");
    both_error(&b, "EXEC", "ERR EXEC without MULTI");
    /* RESET leaves it, and a client that goes takes it along. */
    both_same(&b, "MULTI", "+OK\r\n");
    both_same(&b, "RESET", "+RESET\r\n");
    both_error(&b, "EXEC", "ERR EXEC without MULTI");
    int fd = server_socket(b.server);
    raw_talk(fd, "WATCH a b a\r\nMULTI\r\nPING\r\nQUIT\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n+OK\r\n");
    raw_expect_closed(fd);
    close(fd);
    /* A transaction is bounded. */
    redisContext *c = server_connect(b.server);
    reply_status(c, "OK", "CONFIG SET client-query-buffer-limit 1mb");
    reply_status(c, "OK", "MULTI");
    char *text = malloc(400000);
    memset(text, 'x', 400000);
    reply_status(c, "QUEUED", "ECHO %b", text, (size_t)400000);
    reply_status(c, "QUEUED", "ECHO %b", text, (size_t)400000);
    reply_error(c, "ERR the transaction is larger than client-query-buffer-limit", "ECHO %b", text,
                (size_t)400000);
    reply_error(c, ABORTED, "EXEC");
    free(text);
    redisFree(c);
    both_stop(&b);
}

/* One round: `c` watches k, `other` does something, EXEC must answer null or not. */
static void round_of(redisContext *c, redisContext *other, const char *what, bool aborts)
{
    reply_status(c, "OK", "WATCH k");
    freeReplyObject(reply_any(other, what));
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "PING");
    redisReply *r = reply_any(c, "EXEC");
    if (r->type != (aborts ? REDIS_REPLY_NIL : REDIS_REPLY_ARRAY))
        fail_msg("after '%s' EXEC answered type %d", what, r->type);
    freeReplyObject(r);
}

static void test_watch(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s), *o = server_connect(s);
    static const struct {
        const char *what;
        bool aborts;
    } rounds[] = {
        {"EXISTS k", false},           {"DEL k", false}, /* neither is there */
        {"FLUSHALL", false},           {"VADD other VALUES 2 1 0 a", false},
        {"VADD k VALUES 2 1 0 a", true}, {"VADD k VALUES 2 1 0 b", true},
        {"VSETATTR k a {}", true},     {"VREM k nosuch", false},
        {"VREM k b", true},            {"RENAME k l", true},
        {"RENAME l k", true},          {"RENAME other l", false},
        {"RENAME l k", true},          {"VSEARCH k VALUES 2 1 0", false},
        {"FLUSHDB", true},             {"FLUSHDB", false},
        {"VPARTITION CREATE k DIM 2 PARTITIONS 2", true}, {"VPARTITION DROP k 1", true},
        {"UNLINK k", true},            {"SELECT 1", false},
        {"VADD k VALUES 2 1 0 a", false}, {"FLUSHALL", false},
    };
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++)
        round_of(c, o, rounds[i].what, rounds[i].aborts);
    /* One's own write counts, UNWATCH and EXEC end it, RESP3's null is another. */
    reply_status(c, "OK", "WATCH k");
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    reply_status(c, "OK", "MULTI");
    reply_null(c, "EXEC");
    reply_status(c, "OK", "WATCH k");
    reply_int(c, 1, "VADD k VALUES 2 1 0 b");
    reply_status(c, "OK", "UNWATCH");
    reply_status(c, "OK", "MULTI");
    freeReplyObject(reply_array(c, 0, "EXEC"));
    redisFree(c);
    redisFree(o);
    server_stop(s);
    struct both b = both_start(NULL);
    both_same(&b, "WATCH k", "+OK\r\n");
    raw_talk(b.two, "VADD k VALUES 2 1 0 a\r\n", ":1\r\n");
    both_same(&b, "MULTI", "+OK\r\n");
    both_same(&b, "PING", "+QUEUED\r\n");
    both_talk(&b, "EXEC", "*-1\r\n", "_\r\n");
    both_stop(&b);
}

/* Many of both kinds, pipelined, with and without a journal: arrays come whole and in order. */
static void order(const char *const *args)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    enum { ROUNDS = 100 };
    for (int i = 0; i < ROUNDS; i++) {
        /* a quarter of a circle, and its opposite */
        double x = cos(i * M_PI / (2 * ROUNDS)), y = sin(i * M_PI / (2 * ROUNDS));
        redisAppendCommand(c, "MULTI");
        redisAppendCommand(c, "VADD k VALUES 2 %f %f e%d", x, y, i);
        redisAppendCommand(c, "VSEARCH k VALUES 2 %f %f K 1", x, y);
        redisAppendCommand(c, "VADD k VALUES 2 %f %f f%d", -x, -y, i);
        redisAppendCommand(c, "VSEARCH k VALUES 2 %f %f K 1000 EXACT", x, y);
        redisAppendCommand(c, "VCARD k");
        redisAppendCommand(c, "EXEC");
        redisAppendCommand(c, "ECHO %d", i);
    }
    for (int i = 0; i < ROUNDS; i++) {
        redisReply *r;
        for (int k = 0; k < 6; k++) {
            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            freeReplyObject(r);
        }
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_int_equal(r->elements, 5);
        char id[16];
        snprintf(id, sizeof(id), "e%d", i);
        assert_string_equal(r->element[1]->element[0]->str, id);
        /* What each search saw is what stood before it. */
        assert_int_equal(r->element[3]->elements, i * 2 + 2);
        assert_int_equal(r->element[4]->integer, i * 2 + 2);
        freeReplyObject(r);
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(atoi(r->str), i);
        freeReplyObject(r);
    }
    if (args) {
        server_restart(s, SIGKILL);
        redisFree(c);
        c = server_connect(s);
        reply_int(c, ROUNDS * 2, "VCARD k");
    }
    redisFree(c);
    server_stop(s);
}

static void test_order(void **state)
{
    (void)state;
    static const char *const journal[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    order(NULL);
    order(journal);
}

/* A transaction is one record, and what would tear it is put off. */
static void test_journal(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    double before = reply_info(c, "persistence", "journal_sequence");
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "VADD k VALUES 2 1 1 b");
    reply_status(c, "QUEUED", "BGSAVE");
    reply_status(c, "QUEUED", "CONFIG SET appendonly no");
    reply_status(c, "QUEUED", "SELECT 1");
    reply_status(c, "QUEUED", "VADD k VALUES 2 1 2 c");
    reply_status(c, "QUEUED", "BGREWRITEAOF");
    redisReply *r = reply_array(c, 6, "EXEC");
    assert_string_equal(r->element[1]->str, "Background saving scheduled");
    assert_int_equal(r->element[2]->type, REDIS_REPLY_ERROR);
    assert_int_equal(r->element[4]->integer, 1);
    assert_string_equal(r->element[5]->str, "Background append only file rewriting scheduled");
    freeReplyObject(r);
    assert_int_equal((int)(reply_info(c, "persistence", "journal_sequence") - before), 1);
    server_restart(s, SIGKILL);
    redisFree(c);
    c = server_connect(s);
    reply_int(c, 2, "VCARD k");
    reply_status(c, "OK", "SELECT 1");
    reply_int(c, 1, "VCARD k");
    redisFree(c);
    server_stop(s);
}

/* More than the backlog takes: taken all the same, and the next one waits. */
static void test_backlog(void **state)
{
    (void)state;
    static const char *const args[] = {"--link-backlog-max", "100", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    enum { EACH = 2000 };
    for (int round = 0; round < 3; round++) {
        redisAppendCommand(c, "MULTI");
        for (int i = 0; i < EACH; i++)
            redisAppendCommand(c, "VADD k VALUES 3 1 %d %d e%d", i, round, round * EACH + i);
        redisAppendCommand(c, "EXEC");
        redisReply *r;
        for (int i = 0; i < EACH + 1; i++) {
            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            freeReplyObject(r);
        }
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->elements, EACH);
        for (size_t i = 0; i < r->elements; i++)
            assert_int_equal(r->element[i]->integer, 1);
        freeReplyObject(r);
    }
    reply_int(c, 3 * EACH, "VCARD k");
    redisFree(c);
    server_stop(s);
}

/* Messages do not get into an array, and a paused EXEC waits. */
static void test_between(void **state)
{
    (void)state;
    struct both b = both_start(NULL);
    redisContext *c = server_connect(b.server);
    both_three(&b, "SUBSCRIBE a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    both_three(&b, "MULTI", "+OK\r\n");
    both_three(&b, "PUBLISH a x", "+QUEUED\r\n");
    both_three(&b, "PING", "+QUEUED\r\n");
    both_three(&b, "EXEC", "*2\r\n:1\r\n+PONG\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    reply_status(c, "OK", "CLIENT PAUSE 60000 WRITE");
    both_two(&b, "MULTI", "+OK\r\n");
    both_two(&b, "VCARD k", "+QUEUED\r\n");
    both_two(&b, "EXEC", "*1\r\n:0\r\n"); /* nothing is written */
    both_two(&b, "MULTI", "+OK\r\n");
    both_two(&b, "VADD k VALUES 2 1 0 a", "+QUEUED\r\n");
    raw_puts(b.two, "EXEC\r\n");
    reply_contains(c, "multi=1 watch=0", "CLIENT LIST");
    reply_int(c, 0, "EXISTS k");
    reply_status(c, "OK", "CLIENT UNPAUSE");
    raw_expect(b.two, "*1\r\n:1\r\n");
    raw_puts(b.two, "MULTI\r\nPING\r\nVSEARCH k VALUES 2 1 0\r\nPING\r\n");
    raw_expect(b.two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    raw_talk(b.two, "EXEC\r\nECHO x\r\n", "*3\r\n+PONG\r\n*1\r\n$1\r\na\r\n+PONG\r\n$1\r\nx\r\n");
    redisFree(c);
    both_stop(&b);
}

/* ---- many elements ---- */

#define WIDE 128
/* These tests are about many bytes, not about a good graph: one that is built fast. */
#define CREATE "VPARTITION CREATE k DIM 128 M 4 EF 20"

/* A VMADD of `n` elements, their ids from `from` on, each with attributes that say whether its number is even. */
static void send_batch(redisContext *c, int from, int n)
{
    const char **argv = calloc((size_t)n * 3 + 5, sizeof(*argv));
    size_t *lens = calloc((size_t)n * 3 + 5, sizeof(*lens));
    float *v = malloc((size_t)n * WIDE * sizeof(*v));
    char(*text)[16] = calloc((size_t)n + 1, sizeof(*text));
    static const char *const even[] = {"{\"even\":1}", "{\"even\":0}"};
    struct rng rng = {(uint64_t)from + 1};
    int argc = 0;
    snprintf(text[n], sizeof(text[n]), "%d", n);
    const char *const head[] = {"VMADD", "k", "FP32", text[n]};
    for (; argc < 4; argc++)
        argv[argc] = head[argc], lens[argc] = strlen(head[argc]);
    for (int i = 0; i < n; i++) {
        for (int d = 0; d < WIDE; d++)
            v[i * WIDE + d] = (float)rng_unit(&rng) - 0.5f;
        argv[argc] = text[i];
        lens[argc++] = (size_t)snprintf(text[i], sizeof(text[i]), "e%d", from + i);
        argv[argc] = (const char *)(v + i * WIDE);
        lens[argc++] = WIDE * sizeof(float);
    }
    argv[argc] = "WITHATTRS", lens[argc++] = 9;
    for (int i = 0; i < n; i++, argc++)
        argv[argc] = even[(from + i) % 2], lens[argc] = strlen(argv[argc]);
    redisAppendCommandArgv(c, argc, argv, lens);
    free(argv), free(lens), free(v), free(text);
}

static redisReply *take(redisContext *c)
{
    redisReply *r;
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    return r;
}

static void take_status(redisContext *c, const char *status)
{
    redisReply *r = take(c);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    assert_string_equal(r->str, status);
    freeReplyObject(r);
}

/* Megabytes in one transaction: one record, which a replica takes and a restart reads. */
static void test_large(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "no", NULL};
    struct test_server *s = server_start(args), *follower = server_start(args);
    redisContext *c = server_connect(s), *f = server_connect(follower);
    int batches = run_quick() ? 4 : 20, each = 1000;
    repl_follow(f, s);
    double before = reply_info(c, "persistence", "journal_sequence");
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", CREATE);
    for (int i = 0; i < batches; i++) {
        send_batch(c, i * each, each);
        take_status(c, "QUEUED");
    }
    redisReply *r = reply_array(c, batches + 1, "EXEC");
    for (int i = 1; i <= batches; i++) {
        assert_int_equal(r->element[i]->elements, each);
        for (int k = 0; k < each; k++)
            assert_int_equal(r->element[i]->element[k]->integer, 1);
    }
    freeReplyObject(r);
    assert_int_equal((int)(reply_info(c, "persistence", "journal_sequence") - before), 1);
    repl_same(c, f);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    reply_int(c, batches * each, "VCARD k");
    repl_wait_line(f, "master_link_status", "up");
    repl_same(c, f);
    redisFree(c);
    redisFree(f);
    server_stop(follower);
    server_stop(s);
}

/* A search between writes finds what is deleted behind it, by attributes that the deleted give back; in a graph, and while the
 * workers have other searches to do. */
static void test_deleted(void **state)
{
    (void)state;
    enum { N = 2000, GONE = 300, ROUNDS = 5, OTHERS = 200 };
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s), *other = server_connect(s);
    reply_status(c, "OK", CREATE);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i += 500) {
            send_batch(c, i, 500);
            freeReplyObject(take(c));
        }
        for (int i = 0; i < OTHERS; i++)
            redisAppendCommand(other, "VSEARCH k ELE e%d K 100 EF 1000", i);
        int done = 0;
        while (!done)
            assert_int_equal(redisBufferWrite(other, &done), REDIS_OK);
        redisAppendCommand(c, "MULTI");
        redisAppendCommand(c, "VSEARCH k ELE e1 K %d EXACT FILTER .even==1", N);
        for (int i = 0; i < GONE; i++)
            redisAppendCommand(c, "VREM k e%d", 2 * i);
        redisAppendCommand(c, "VSEARCH k ELE e1 K %d EXACT FILTER .even==1", N);
        redisAppendCommand(c, "EXEC");
        take_status(c, "OK");
        for (int i = 0; i < GONE + 2; i++)
            take_status(c, "QUEUED");
        redisReply *r = take(c);
        assert_int_equal(r->elements, GONE + 2);
        assert_int_equal(r->element[0]->elements, N / 2);
        assert_int_equal(r->element[GONE + 1]->elements, N / 2 - GONE);
        freeReplyObject(r);
        for (int i = 0; i < OTHERS; i++)
            freeReplyObject(take(other));
    }
    redisFree(other);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_watch),   cmocka_unit_test(test_order),
        cmocka_unit_test(test_journal), cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_between), cmocka_unit_test(test_large),
        cmocka_unit_test(test_deleted),
    };
    return cmocka_run_group_tests_name("multi", tests, NULL, NULL);
}
