/* Links between primary and replica that are cut at random bytes.
 *
 *     primary <---- proxy, cuts after n bytes ---- replica
 *
 * Full: the replica has to get all data; the link is cut after a random part of them, up to three times,
 * while writes go on. Meanwhile an index of a known size is looked at: it is not there, or whole, nothing
 * between. In the end both nodes hold the same.
 * Partial: the stream is cut after a random number of bytes, again and again, while writes go on: no
 * interruption costs a full synchronisation, and in the end both hold the same.
 *
 * Cuts: 10 of each kind, or 200 with VECSTORE_DRILL=full. VECSTORE_SEED repeats the positions. tsan: skip */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/proxy.h"
#include "lib/wait.h"

#define FIXED 12000 /* elements of the index that is looked at */
#define DIM   24
#define DEADLINE_MS 60000

static struct rng rng;
static struct test_server *primary, *replica;
static redisContext *pc, *rc;
static struct proxy *proxy;
static unsigned written;

static uint64_t below(uint64_t n)
{
    return rng_below(&rng, n);
}

static void some_writes(unsigned n)
{
    repl_write(pc, 77, written, written + n);
    written += n;
}

static void fixed_index(void)
{
    float v[DIM];
    for (int i = 0; i < FIXED;) {
        int n = 0;
        for (; n < 200 && i < FIXED; n++, i++) {
            for (int k = 0; k < DIM; k++)
                v[k] = (float)(int)(rng_next(&rng) % 2001) / 1000.0f - 1.0f;
            redisAppendCommand(pc, "VADD fixed FP32 %b f%d", v, sizeof(v), i);
        }
        while (n--) {
            redisReply *r;
            assert_int_equal(redisGetReply(pc, (void **)&r), REDIS_OK);
            freeReplyObject(r);
        }
    }
}

/* Nothing between nothing and all. */
static long long look(void)
{
    long long n = reply_get_int(rc, "VCARD fixed");
    if (n != 0 && n != FIXED)
        fail_msg("a half-loaded index is served: %lld of %d elements", n, FIXED);
    return n;
}

static void give_up(const char *what, unsigned long round)
{
    char *a = server_output(primary), *b = server_output(replica);
    printf("primary:\n%s\nreplica:\n%s\n", a, b);
    free(a);
    free(b);
    fail_msg("round %lu: %s", round, what);
}

static void full(unsigned long rounds)
{
    for (unsigned long i = 0; i < rounds; i++) {
        double before = reply_info(pc, "replication", "sync_full");
        uint64_t all;
        /* What it has written itself makes it ask for everything. */
        reply_status(rc, "OK", "REPLICAOF NO ONE");
        reply_status(rc, "OK", "FLUSHALL");
        reply_int(rc, 1, "VADD own VALUES 2 1 2 a");
        all = (uint64_t)reply_info(pc, "replication", "sync_bytes_last");
        unsigned times = 1 + (unsigned)below(3), cuts = proxy_cuts(proxy);
        uint64_t at = 1 + below(all ? all + all / 20 : 4000000);
        proxy_cut_after(proxy, at, times);
        freeReplyObject(reply_any(rc, "REPLICAOF 127.0.0.1 %d", proxy_port(proxy)));
        for (int64_t end = wait_now_ms() + DEADLINE_MS; look() == 0;) {
            some_writes(20);
            if (wait_now_ms() > end)
                give_up("no convergence", i);
        }
        some_writes(50);
        repl_same(pc, rc);
        proxy_cut_after(proxy, 0, 0);
        assert_int_equal(look(), FIXED);
        assert_true(reply_info(pc, "replication", "sync_full") > before);
        if (drill_full())
            printf("full %lu: cut after %llu of %llu bytes, %u times\n", i, (unsigned long long)at,
                   (unsigned long long)all, proxy_cuts(proxy) - cuts);
    }
}

static void partial(unsigned long rounds)
{
    proxy_cut_after(proxy, 0, 0);
    proxy_cut(proxy); /* the next connection is one of the counted */
    repl_wait_line(rc, "master_link_status", "up");
    repl_in_step(pc, rc);
    double before = reply_info(pc, "replication", "sync_full");
    for (unsigned long i = 0; i < rounds; i++) {
        unsigned cuts = proxy_cuts(proxy);
        uint64_t at = 1 + below(60000);
        int64_t again = 0;
        for (int64_t end = wait_now_ms() + DEADLINE_MS; proxy_cuts(proxy) == cuts;) {
            if (wait_now_ms() >= again) { /* the connection that was to be cut may have ended before */
                proxy_cut_after(proxy, at, 1);
                proxy_cut(proxy);
                again = wait_now_ms() + 5000;
            }
            some_writes(50);
            if (wait_now_ms() > end)
                give_up("the link is not made again", i);
        }
        some_writes((unsigned)below(200));
        if (i % 5 == 4)
            repl_same(pc, rc);
    }
    repl_same(pc, rc);
    if (reply_info(pc, "replication", "sync_full") != before)
        fail_msg("%.0f interruptions have cost a full synchronisation",
                 reply_info(pc, "replication", "sync_full") - before);
}

static void test_cuts(void **state)
{
    (void)state;
    unsigned long n = drill_count(200, getenv("VECSTORE_TEST_QUICK") ? 3 : 10);
    rng = (struct rng){run_seed()};
    primary = server_start(NULL);
    replica = server_start(NULL);
    pc = server_connect(primary);
    rc = server_connect(replica);
    proxy = proxy_start(server_port(primary));
    assert_non_null(proxy);
    fixed_index();
    some_writes(500);
    full(n);
    partial(n);
    redisFree(rc);
    server_stop(replica);
    proxy_stop(proxy);
    redisFree(pc);
    server_stop(primary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
