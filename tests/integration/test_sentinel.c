/* Under Sentinel: the fence with hellos of the test's own, then the real redis-sentinel, and clients that follow it. run: beside tsan: skip
 * (the sentinels have a clock, too) */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/failover.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "lib/wait.h"

/* Sentinel `n` says to `c` that the primary is at `port`, of `epoch`. */
static void hello(redisContext *c, int n, int port, int epoch)
{
    reply_get_int(c, "PUBLISH __sentinel__:hello 127.0.0.1,%d,%040d,%d,mymaster,127.0.0.1,%d,%d", 26000 + n, n, epoch,
                  port, epoch);
}

static void all_say(redisContext *c, int port, int epoch)
{
    for (int n = 1; n <= 3; n++)
        hello(c, n, port, epoch);
}

static void test_superseded(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    int own = server_port(s);
    reply_int(c, 1, "VADD k VALUES 2 1 1 a");
    all_say(c, own, 3);
    reply_contains(c, "fence:open", "INFO replication");
    hello(c, 1, 1, 4);
    reply_int(c, 1, "VADD k VALUES 2 1 2 b");
    hello(c, 2, 1, 4);
    reply_error(c, "READONLY This primary is fenced", "VADD k VALUES 2 1 3 c");
    /* For Sentinel only PONG, LOADING and MASTERDOWN are signs of life. */
    reply_error(c, "READONLY ", "PING");
    reply_int(c, 2, "VCARD k");
    reply_contains(c, "fence:superseded", "INFO replication");
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "ECHO hello");
    reply_error(c, "READONLY ", "DEL k");
    reply_error(c, "EXECABORT", "EXEC");
    /* What Sentinel sends works all the same. */
    reply_status(c, "OK", "MULTI");
    reply_status(c, "QUEUED", "SLAVEOF NO ONE");
    reply_status(c, "QUEUED", "CONFIG REWRITE");
    reply_status(c, "QUEUED", "CLIENT KILL TYPE normal");
    reply_status(c, "QUEUED", "CLIENT KILL TYPE pubsub");
    freeReplyObject(reply_array(c, 4, "EXEC"));
    reply_status(c, "PONG", "PING");
    reply_int(c, 1, "VADD k VALUES 2 1 3 c");
    redisFree(c);
    server_stop(s);
}

static bool has_some(void *arg)
{
    redisReply *r = redisCommand(arg, "VCARD k");
    bool yes = r->type == REDIS_REPLY_INTEGER && r->integer > 0;
    freeReplyObject(r);
    return yes;
}

/* A write that has begun and waits for links is not gone on with, nor acknowledged: what became of it is not known. When
 * the loop has stood still its turn has come at the moment when the fence closes. */
static void under_way(bool stalls)
{
    enum { N = 10000, DIM = 128 };
    static const char *const args[] = {"--fence-stall-ms", "600", "--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(stalls ? args : NULL);
    redisContext *c = server_connect(s), *writer = server_connect(s);
    static float vector[N][DIM];
    static char id[N][8];
    const char **argv = malloc((4 + 2 * N) * sizeof(*argv));
    size_t *len = malloc((4 + 2 * N) * sizeof(*len));
    struct rng rng = {1};
    static const char *const head[] = {"VMADD", "k", "FP32", "10000"};
    for (int i = 0; i < 4; i++) {
        argv[i] = head[i];
        len[i] = strlen(head[i]);
    }
    for (int i = 0; i < N; i++) {
        for (int d = 0; d < DIM; d++)
            vector[i][d] = (float)rng_unit(&rng) - 0.5f;
        argv[4 + 2 * i] = id[i];
        len[4 + 2 * i] = (size_t)snprintf(id[i], sizeof(id[i]), "e%d", i);
        argv[5 + 2 * i] = (const char *)vector[i];
        len[5 + 2 * i] = sizeof(vector[i]);
    }
    all_say(c, server_port(s), 3);
    redisAppendCommandArgv(writer, 4 + 2 * N, argv, len);
    for (int done = 0; !done;)
        assert_int_equal(redisBufferWrite(writer, &done), REDIS_OK);
    assert_true(wait_until(has_some, c, 10000));
    if (stalls) {
        reply_status(c, "OK", "DEBUG SLEEP 0.8");
    } else {
        hello(c, 1, 1, 4);
        hello(c, 2, 1, 4);
    }
    reply_contains(c, stalls ? "fence:stalled" : "fence:superseded", "INFO replication");
    long long some = reply_get_int(c, "VCARD k");
    assert_true(some < N);
    redisReply *r = NULL;
    assert_int_equal(redisGetReply(writer, (void **)&r), REDIS_ERR);
    reply_int(c, some, "VCARD k");
    free(argv);
    free(len);
    redisFree(c);
    redisFree(writer);
    server_stop(s);
}

static void test_under_way(void **state)
{
    (void)state;
    under_way(false);
    under_way(true);
}

/* Stopped for longer than fence-stall-ms; what its socket held when it woke up does not count. */
static void test_stall(void **state)
{
    (void)state;
    static const char *const args[] = {"--fence-stall-ms", "300", "--fence-hello-ms", "0", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s), *writer = server_connect(s);
    int own = server_port(s);
    all_say(c, own, 3);
    reply_int(writer, 1, "VADD k VALUES 2 1 1 a");
    kill(server_pid(s), SIGSTOP);
    for (int n = 1; n <= 3; n++)
        redisAppendCommand(c, "PUBLISH __sentinel__:hello 127.0.0.1,%d,%040d,3,mymaster,127.0.0.1,%d,3", 26000 + n, n,
                           own);
    redisAppendCommand(writer, "VADD k VALUES 2 1 2 b");
    for (int done = 0; !done;)
        assert_int_equal(redisBufferWrite(c, &done), REDIS_OK);
    for (int done = 0; !done;)
        assert_int_equal(redisBufferWrite(writer, &done), REDIS_OK);
    for (int64_t end = wait_now_ms() + 600; wait_now_ms() < end;)
        poll(NULL, 0, 10);
    kill(server_pid(s), SIGCONT);
    redisReply *r = NULL;
    assert_int_equal(redisGetReply(writer, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, REDIS_REPLY_ERROR);
    assert_non_null(strstr(r->str, "READONLY"));
    freeReplyObject(r);
    for (int n = 1; n <= 3; n++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    reply_contains(c, "fence:stalled", "INFO replication");
    int64_t until = wait_now_ms() + 10000;
    for (;;) {
        all_say(c, own, 3);
        r = redisCommand(c, "PING");
        bool open = r->type == REDIS_REPLY_STATUS;
        freeReplyObject(r);
        if (open)
            break;
        assert_true(wait_now_ms() < until);
        poll(NULL, 0, 50);
    }
    reply_int(writer, 1, "VADD k VALUES 2 1 2 b");
    reply_contains(c, "fence_closings:1", "INFO replication");
    redisFree(c);
    redisFree(writer);
    server_stop(s);
}

static bool is_fenced(void *arg)
{
    redisReply *r = redisCommand(arg, "VADD k VALUES 2 1 9 z");
    bool yes = r->type == REDIS_REPLY_ERROR;
    freeReplyObject(r);
    return yes;
}

static void test_silence(void **state)
{
    (void)state;
    static const char *const args[] = {"--fence-hello-ms", "500", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    assert_false(is_fenced(c));
    all_say(c, server_port(s), 3);
    int64_t from = wait_now_ms();
    assert_true(wait_until(is_fenced, c, 10000));
    assert_true(wait_now_ms() - from >= 400);
    reply_contains(c, "fence:silent", "INFO replication");
    /* Whoever runs it may say that it is the primary .. */
    reply_status(c, "OK", "REPLICAOF NO ONE");
    assert_false(is_fenced(c));
    assert_true(wait_until(is_fenced, c, 10000));
    /* .. and that it does not depend on sentinels. */
    reply_status(c, "OK", "CONFIG SET fence-hello-ms 0");
    assert_false(is_fenced(c));
    redisFree(c);
    server_stop(s);
}

/* Keys do not end by themselves on a node that may not decide. */
static void test_fenced_keys_stay(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD k VALUES 2 1 1 a");
    reply_int(c, 1, "PEXPIRE k 300");
    all_say(c, 1, 4);
    double lsn = reply_info(c, "replication", "master_repl_offset");
    for (int64_t end = wait_now_ms() + 700; wait_now_ms() < end;)
        poll(NULL, 0, 10);
    reply_int(c, 0, "EXISTS k");
    assert_true(reply_info(c, "stats", "expired_keys") == 0);
    assert_true(reply_info(c, "replication", "master_repl_offset") == lsn);
    redisFree(c);
    server_stop(s);
}

/* Its offset is of a line of its own: compared with that of others it says nothing. */
static void test_no_candidate(void **state)
{
    (void)state;
    struct test_server *a = server_start(NULL), *b = server_start(NULL);
    redisContext *p = server_connect(a), *c = server_connect(b);
    reply_int(c, 1, "VADD own VALUES 2 1 1 a");
    reply_status(c, "OK", "REPLICAOF 127.0.0.1 1");
    reply_contains(c, "slave_priority:0\r", "INFO replication");
    repl_follow(c, a);
    reply_contains(c, "slave_priority:100\r", "INFO replication");
    reply_status(p, "OK", "CONFIG SET requirepass x");
    reply_int(p, 1, "CLIENT KILL TYPE replica");
    repl_wait_line(c, "master_link_status", "down");
    reply_contains(c, "slave_priority:100\r", "INFO replication");
    redisFree(p);
    redisFree(c);
    server_stop(b);
    server_stop(a);
}

/* ---- the real one ---- */

struct follower {
    FILE *out;
    int first, second;
};

static struct follower follower_start(const char *program, const char *key, const struct failover_bed *b)
{
    char command[512], line[64];
    struct follower f = {0};
    snprintf(command, sizeof command, "%s %s %d %d %d", program, key, sentinels_port(b->sentinels, 0),
             sentinels_port(b->sentinels, 1), sentinels_port(b->sentinels, 2));
    f.out = popen(command, "re");
    assert_non_null(f.out);
    if (!fgets(line, sizeof line, f.out) || sscanf(line, "at %d", &f.first) != 1)
        fail_msg("%s has not written anything", program);
    return f;
}

static void follower_end(struct follower *f)
{
    char line[64];
    while (fgets(line, sizeof line, f->out))
        sscanf(line, "at %d", &f->second);
    int status = pclose(f->out);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static bool has_line(const struct test_server *s, const char *word)
{
    char path[1024], line[512];
    bool found = false;
    snprintf(path, sizeof path, "%s/vecstore.conf", server_dir(s));
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        found |= strncmp(line, word, strlen(word)) == 0;
    if (f)
        fclose(f);
    return found;
}

/* An operator asks Sentinel for a failover; clients follow; roles are in the files; what comes back after a crash is a
 * replica. */
static void test_clients_follow(void **state)
{
    (void)state;
    struct failover_bed b;
    struct follower f[2];
    int n = 0;
    if (!sentinels_available())
        skip();
    failover_start(&b, NULL, false, 3000);
    if (system("/usr/bin/python3 -c 'import redis' 2>/dev/null") == 0)
        f[n++] = follower_start("/usr/bin/python3 tests/clients/sentinel.py", "python", &b);
    if (access("tests/integration/node/node_modules/redis", F_OK) == 0)
        f[n++] = follower_start("node tests/integration/node/sentinel.mjs", "node", &b);
    redisContext *c = sentinels_connect(b.sentinels, 0);
    reply_status(c, "OK", "SENTINEL FAILOVER mymaster");
    for (int i = 0; i < n; i++) {
        follower_end(&f[i]);
        assert_int_equal(f[i].first, server_port(b.node[0]));
        assert_int_not_equal(f[i].second, f[i].first);
    }
    if (!failover_wait_replica(&b, 0, 40000)) {
        char *text = sentinels_log(b.sentinels, 0);
        fprintf(stderr, "%s", text);
        free(text);
        for (int i = 0; i < FAILOVER_NODES; i++) {
            text = server_output(b.node[i]);
            fprintf(stderr, "node %d:\n%s", i, text);
            free(text);
        }
        fail_msg("the old primary is no replica");
    }
    int primary = failover_settle(&b, 20000);
    assert_int_not_equal(primary, 0);
    if (n)
        assert_int_equal(f[0].second, server_port(b.node[primary]));
    assert_true(has_line(b.node[0], "replicaof "));
    assert_false(has_line(b.node[primary], "replicaof "));
    server_restart(b.node[0], SIGKILL);
    assert_true(failover_wait_replica(&b, 0, 20000));
    redisContext *p = server_connect(b.node[primary]), *old = server_connect(b.node[0]);
    repl_same(p, old);
    redisFree(p);
    redisFree(old);
    redisFree(c);
    failover_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_superseded), cmocka_unit_test(test_under_way), cmocka_unit_test(test_stall),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_fenced_keys_stay), cmocka_unit_test(test_no_candidate), cmocka_unit_test(test_clients_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
