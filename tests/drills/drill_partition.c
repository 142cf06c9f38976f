/* A primary is cut off from its sentinels and replicas for twenty seconds, while clients still reach it.
 *
 *      sentinels, replicas --- proxy --X-- primary <--- clients that stay with it
 *              |
 *              +--> another primary <--- clients that follow
 *
 * With min-replicas-to-write 1. In every round: at most 3 seconds after the cut it acknowledges no more; nothing that
 * WAIT confirmed is lost; when the proxy lets bytes through again, with all that had been sent before, it
 * acknowledges nothing either, and becomes a replica; all nodes hold the same, to the graph. What it had to
 * discard is in a file, and is what was acknowledged without a replica having it, and no more.
 *
 * Rounds: 1, or 20 with VECSTORE_DRILL=full. run: beside, asan: skip, tsan: skip, drill: alone (of the clock of others it is) */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/failover.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/wait.h"

#define DOWN_AFTER_MS 3000
#define CUT_MS        20000
#define STOPS_MS      3000
#define WARM_MS       2000
#define HELLO_MS      2000 /* between two of a sentinel: the cut may come anywhere between */
#define FOLLOW        4
#define STAY          4
#define PER_SECOND    2000

static void sleep_ms(int ms)
{
    for (int64_t end = wait_now_ms() + ms; wait_now_ms() < end;)
        poll(NULL, 0, 10);
}

/* Of `node`, from a time on: how many, and when the last came. */
static size_t acked_from(const struct writers *w, int node, uint64_t from_ms, uint64_t *last)
{
    size_t n, count = 0;
    const struct acked *a = writers_acked(w, &n);
    *last = from_ms;
    for (size_t i = 0; i < n; i++) {
        if (a[i].node != node || a[i].at_ms < from_ms)
            continue;
        count++;
        *last = a[i].at_ms;
    }
    return count;
}

static void one_round(struct failover_bed *b, int round, struct rng *rng)
{
    char key[32];
    uint64_t last, after;
    size_t n, waited, others;
    int old = failover_settle(b, 60000);
    snprintf(key, sizeof key, "cut-%d", round);
    /* Those that stay reach it directly. */
    struct writers *w = writers_start(b, key, FOLLOW, STAY, server_port(b->node[old]), PER_SECOND);
    sleep_ms(WARM_MS + (int)rng_below(rng, HELLO_MS));
    proxy_hold(b->proxy[old], true);
    uint64_t cut = (uint64_t)wait_now_ms();
    sleep_ms(CUT_MS);
    uint64_t mended = (uint64_t)wait_now_ms();
    proxy_hold(b->proxy[old], false);
    if (!failover_wait_replica(b, old, 40000))
        fail_msg("round %d: the old primary is no replica 40 s after the partition", round);
    writers_end(w);
    int primary = failover_settle(b, 30000);
    assert_true(primary != old);

    redisContext *c = server_connect(b->node[primary]);
    writers_acked(w, &n);
    writers_lost(w, c, &waited, &others);
    size_t in_cut = acked_from(w, old, cut, &last), woke = acked_from(w, old, mended, &after);
    print_message("round %d: %zu acknowledged; behind the cut %zu, the last after %llu ms; after it %zu; lost: %zu of "
                  "those that WAIT confirmed, %zu of the others\n",
                  round, n, in_cut, (unsigned long long)(last - cut), woke, waited, others);
    assert_int_equal(waited, 0);
    assert_int_equal(woke, 0);
    assert_true(last - cut <= STOPS_MS);
    for (int i = 0; i < FAILOVER_NODES; i++) {
        if (i == primary)
            continue;
        redisContext *other = server_connect(b->node[i]);
        repl_same(c, other);
        failover_same_answers(c, other, key);
        if (i == old && others)
            assert_true(reply_info(other, "replication", "discarded_records") >= (double)others);
        redisFree(other);
    }
    freeReplyObject(redisCommand(c, "DEL %s", key));
    redisFree(c);
    writers_free(w);
}

static void test_partition(void **state)
{
    (void)state;
    static const char *const args[] = {"--min-replicas-to-write", "1", NULL};
    struct failover_bed b;
    int rounds = (int)drill_count(20, 1);
    struct rng rng = {run_seed()};
    if (!sentinels_available())
        skip();
    failover_start(&b, args, true, DOWN_AFTER_MS);
    for (int round = 0; round < rounds; round++)
        one_round(&b, round, &rng);
    failover_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_partition)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
