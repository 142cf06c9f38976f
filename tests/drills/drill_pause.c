/* The primary is paused for ten seconds while clients write, and wakes up when another has taken its place.
 *
 *   SIGSTOP primary ---- 10 s ----> SIGCONT ---------> it is a replica
 *        |   sentinels: down after 3 s, a replica is made primary    |
 *        +-- clients that follow go on there; others wait for the old one, and get no acknowledgement --+
 *
 * Three real sentinels, 2,000 writes a second, WAIT 1 behind each. In every round: nothing that WAIT confirmed is lost;
 * the primary that woke up acknowledges nothing; it comes back by a partial synchronisation (but where records
 * were made in the very turn in which it was stopped, which nobody has); all three nodes hold the same,
 * to the graph, and answer alike. In nine of ten rounds writes stand still for at most 5.5 seconds.
 *
 * Rounds: 2, or 20 with VECSTORE_DRILL=full. run: beside, asan: skip, tsan: skip, drill: alone (of the clock of others it is) */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/failover.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define DOWN_AFTER_MS 3000
#define PAUSE_MS      10000
#define GAP_MAX_MS    (DOWN_AFTER_MS + 2500)
#define WARM_MS       2000
#define FOLLOW        6
#define STAY          2
#define PER_SECOND    2000

static unsigned long long acknowledged, lost_waited, lost_others, by_woken;
static int partial, slow;

/* Between the last acknowledgement of the old primary and the first of another. */
static long long gap_of(const struct writers *w, int old, uint64_t from_ms)
{
    size_t n;
    const struct acked *a = writers_acked(w, &n);
    uint64_t last = from_ms, first = 0;
    for (size_t i = 0; i < n; i++) {
        if (a[i].node == old && a[i].at_ms <= from_ms)
            last = a[i].at_ms;
        if (a[i].node != old && !first)
            first = a[i].at_ms;
    }
    return first ? (long long)(first - last) : -1;
}

static size_t acked_by(const struct writers *w, int node, uint64_t from_ms)
{
    size_t n, count = 0;
    const struct acked *a = writers_acked(w, &n);
    for (size_t i = 0; i < n; i++)
        count += a[i].node == node && a[i].at_ms >= from_ms;
    return count;
}

static void sleep_ms(int ms)
{
    for (int64_t end = wait_now_ms() + ms; wait_now_ms() < end;)
        poll(NULL, 0, 10);
}

static void one_round(struct failover_bed *b, int round)
{
    char key[32], last_key[32];
    int old = failover_settle(b, 60000);
    snprintf(key, sizeof key, "round-%d", round);
    snprintf(last_key, sizeof last_key, "round-%d", round - 1);
    struct writers *w = writers_start(b, key, FOLLOW, STAY, failover_port(b, old), PER_SECOND);
    sleep_ms(WARM_MS);
    kill(server_pid(b->node[old]), SIGSTOP);
    uint64_t stopped = (uint64_t)wait_now_ms();
    sleep_ms(PAUSE_MS);
    uint64_t woken = (uint64_t)wait_now_ms();
    kill(server_pid(b->node[old]), SIGCONT);
    int primary = failover_primary(b);
    if (primary < 0 || primary == old)
        fail_msg("round %d: there is no new primary after %d ms", round, PAUSE_MS);
    redisContext *c = server_connect(b->node[primary]);
    double full = reply_info(c, "replication", "sync_full");
    if (!failover_wait_replica(b, old, 40000))
        fail_msg("round %d: the old primary is no replica 40 s after it woke up", round);
    writers_end(w);
    failover_settle(b, 30000);

    size_t n, waited, others, woke = acked_by(w, old, woken);
    writers_acked(w, &n);
    writers_lost(w, c, &waited, &others);
    long long gap = gap_of(w, old, stopped);
    bool was_partial = reply_info(c, "replication", "sync_full") == full;
    print_message("round %d: %zu acknowledged; lost: %zu of those that WAIT confirmed, %zu of the others; by the "
                  "woken primary: %zu; no writes for %lld ms; %s synchronisation\n",
                  round, n, waited, others, woke, gap, was_partial ? "partial" : "FULL");
    for (int i = 0; i < FAILOVER_NODES; i++) {
        if (i == primary)
            continue;
        redisContext *other = server_connect(b->node[i]);
        repl_same(c, other);
        failover_same_answers(c, other, key);
        redisFree(other);
    }
    assert_true(n > PER_SECOND);
    acknowledged += n;
    lost_waited += waited;
    lost_others += others;
    by_woken += woke;
    partial += was_partial;
    slow += gap < 0 || gap > GAP_MAX_MS;
    if (round > 0)
        freeReplyObject(redisCommand(c, "DEL %s", last_key));
    redisFree(c);
    writers_free(w);
}

static void test_pause(void **state)
{
    (void)state;
    struct failover_bed b;
    int rounds = (int)drill_count(20, 2);
    if (!sentinels_available())
        skip();
    failover_start(&b, NULL, false, DOWN_AFTER_MS);
    for (int round = 0; round < rounds; round++)
        one_round(&b, round);
    print_message("%d rounds, %llu acknowledged; lost: %llu that WAIT confirmed, %llu others; acknowledged by woken "
                  "primaries: %llu; %d of the returns were partial; %d of the gaps were over %d ms\n",
                  rounds, acknowledged, lost_waited, lost_others, by_woken, partial, slow, GAP_MAX_MS);
    assert_int_equal(lost_waited, 0);
    assert_int_equal(by_woken, 0);
    assert_true(slow <= (rounds + 9) / 10);
    assert_true(partial * 2 >= rounds);
    failover_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pause)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
