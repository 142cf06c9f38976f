/* FAILOVER again and again while clients write to all nodes: whatever was acknowledged, by whichever of them, is there.
 *
 *   clients of 0, 1, 2 ---> each writes to its own node all the time; those that are replicas refuse
 *   FAILOVER, FAILOVER TO ..      the primary hands over; no node gets all data again
 *
 * Without Sentinel, which has ideas of its own. Rounds: 6, or 60 with VECSTORE_DRILL=full. tsan: skip drill: alone */
#include <poll.h>
#include <setjmp.h>
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

#define CLIENTS    3 /* of each node */
#define PER_SECOND 600
#define WARM_MS    300

struct nodes {
    struct failover_bed b;
    redisContext *c[FAILOVER_NODES];
    int old;
};

static bool is_primary(redisContext *c)
{
    char *role = repl_line(c, "role");
    bool yes = strcmp(role, "master") == 0;
    free(role);
    return yes;
}

static int find_primary(struct nodes *x)
{
    for (int i = 0; i < FAILOVER_NODES; i++)
        if (i != x->old && is_primary(x->c[i]))
            return i;
    return -1;
}

static bool has_moved(void *arg)
{
    struct nodes *x = arg;
    return find_primary(x) >= 0 && !is_primary(x->c[x->old]);
}

static void run_for(int ms)
{
    for (int64_t end = wait_now_ms() + ms; wait_now_ms() < end;)
        poll(NULL, 0, 10);
}

static int one_round(struct nodes *x, int round, int primary, struct rng *rng)
{
    struct writers *w[FAILOVER_NODES];
    size_t total = 0;
    char key[FAILOVER_NODES][32];
    for (int i = 0; i < FAILOVER_NODES; i++) {
        snprintf(key[i], sizeof key[i], "round-%d-%d", round, i);
        w[i] = writers_start(&x->b, key[i], 0, CLIENTS, server_port(x->b.node[i]), PER_SECOND);
    }
    run_for(WARM_MS);
    x->old = primary;
    if (rng_below(rng, 2)) {
        int to = (primary + 1 + (int)rng_below(rng, FAILOVER_NODES - 1)) % FAILOVER_NODES;
        reply_status(x->c[primary], "OK", "FAILOVER TO 127.0.0.1 %d TIMEOUT 20000", server_port(x->b.node[to]));
    } else {
        reply_status(x->c[primary], "OK", "FAILOVER");
    }
    if (!wait_until(has_moved, x, 20000))
        fail_msg("round %d: the primary is still node %d", round, primary);
    int now = find_primary(x);
    run_for(WARM_MS);
    for (int i = 0; i < FAILOVER_NODES; i++)
        if (i != now && i != primary)
            freeReplyObject(reply_any(x->c[i], "REPLICAOF 127.0.0.1 %d", server_port(x->b.node[now])));
    for (int i = 0; i < FAILOVER_NODES; i++) {
        size_t n, waited, others;
        writers_end(w[i]);
        writers_acked(w[i], &n);
        writers_lost(w[i], x->c[now], &waited, &others);
        if (waited + others)
            fail_msg("round %d: of %zu that node %d acknowledged %zu are lost", round, n, i, waited + others);
        total += n;
        if (i == primary || i == now)
            assert_true(n > 0);
        writers_free(w[i]);
    }
    for (int i = 0; i < FAILOVER_NODES; i++) {
        if (i != now)
            repl_same(x->c[now], x->c[i]);
        freeReplyObject(redisCommand(x->c[now], "DEL %s", key[i]));
    }
    print_message("round %d: node %d to node %d, %zu acknowledged, none lost\n", round, primary, now, total);
    return now;
}

static void test_handover(void **state)
{
    (void)state;
    struct nodes x = {0};
    int rounds = (int)drill_count(60, 6), primary = 0;
    struct rng rng = {run_seed()};
    failover_start(&x.b, NULL, false, 0);
    for (int i = 0; i < FAILOVER_NODES; i++)
        x.c[i] = server_connect(x.b.node[i]);
    double full = 0;
    for (int round = 0; round < rounds; round++)
        primary = one_round(&x, round, primary, &rng);
    for (int i = 0; i < FAILOVER_NODES; i++) {
        full += reply_info(x.c[i], "replication", "sync_full");
        redisFree(x.c[i]);
    }
    assert_true(full == FAILOVER_NODES - 1);
    failover_stop(&x.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_handover)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
