/* A primary, two replicas, three real sentinels, and clients that write all the time: the bed of the drills of
 * failover.
 *
 * Clients write elements of their own, each once, and after each say WAIT 1. What was acknowledged, when, by
 * which node, and whether a replica had it, is noted. Some clients follow Sentinel, others stay with one
 * address whatever happens, as clients do that were not told.
 *
 * Everything fails the running test (cmocka). One thread. */
#ifndef INTEGRATION_LIB_FAILOVER_H
#define INTEGRATION_LIB_FAILOVER_H

#include <stdint.h>

#include "integration/lib/sentinel.h"
#include "integration/lib/server.h"
#include "lib/proxy.h"

#define FAILOVER_NODES     3
#define FAILOVER_SENTINELS 3

struct failover_bed {
    struct test_server *node[FAILOVER_NODES];
    struct proxy *proxy[FAILOVER_NODES]; /* NULL: it is reached directly */
    struct test_sentinels *sentinels;
};

/* Node 0 is the primary. `args` are for every node. With `proxies` nodes and sentinels reach a node through its proxy
 * alone, and clients that follow do, too. Without sentinels with `down_after_ms` 0. Returns when the sentinels know all, and the replicas are in step. */
void failover_start(struct failover_bed *b, const char *const *args, bool proxies, int down_after_ms);
void failover_stop(struct failover_bed *b);
/* The port at which others know a node. */
int failover_port(const struct failover_bed *b, int node);
/* Which node has this port, its own or its proxy's; -1. */
int failover_node(const struct failover_bed *b, int port);
/* The node that the sentinels name, when it says so itself; -1: none. */
int failover_primary(const struct failover_bed *b);
/* Until node `i` is a replica of the primary, in step; false at the deadline. */
bool failover_wait_replica(const struct failover_bed *b, int i, int deadline_ms);
/* Until all replicas are in step with the primary, and it takes writes; the primary. Fails at the deadline. */
int failover_settle(const struct failover_bed *b, int deadline_ms);

/* Both answer searches of `key` alike: ids and scores, to the last digit. */
void failover_same_answers(redisContext *a, redisContext *b, const char *key);

/* Clients that write to `key`, `per_second` together: `follow` that ask Sentinel where to, `stay` that stay at port
 * `pinned`. */
struct writers;
struct writers *writers_start(const struct failover_bed *b, const char *key, int follow, int stay, int pinned,
                              int per_second);
void writers_end(struct writers *w);

struct acked {
    uint64_t at_ms;    /* wait_now_ms when the answer came */
    int node;
    bool waited;       /* WAIT answered 1 or more */
    char id[24];
};
/* After writers_end: all that was acknowledged, in order of time. */
const struct acked *writers_acked(const struct writers *w, size_t *n);
/* How many of those acknowledged are not on the primary (connection `c`): of those that WAIT confirmed, and of the
 * others. */
void writers_lost(const struct writers *w, redisContext *c, size_t *waited, size_t *others);
void writers_free(struct writers *w);

#endif
