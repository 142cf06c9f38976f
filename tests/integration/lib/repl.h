/* Primary and replica in a test: waiting until they are in step, and comparing what they hold.
 *
 * Two nodes are the same when, at one offset of the stream, every key of database 0 has the same
 * partitions with the same sequence numbers, linked up to the same place, and the digests of records and
 * graph are equal. Each fails the running test (cmocka) at its deadline. One thread. */
#ifndef INTEGRATION_LIB_REPL_H
#define INTEGRATION_LIB_REPL_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

#include "integration/lib/server.h"

/* Makes `replica` a replica of `primary` and waits until the link is up. */
void repl_follow(redisContext *replica, const struct test_server *primary);
/* Waits until the link is up, for the primary too, and the replica's offset is the primary's. */
void repl_in_step(redisContext *primary, redisContext *replica);
/* In step, and the same; linking is waited for. */
void repl_same(redisContext *primary, redisContext *replica);
/* A line of INFO replication; the caller frees it. */
char *repl_line(redisContext *c, const char *field);
/* Waits until it is so. */
void repl_wait_line(redisContext *c, const char *field, const char *value);
/* What a node holds, as text: a line a partition. The caller frees it. */
char *repl_facts(redisContext *c);

/* Writes that leave nothing out: elements added, changed, removed, attributes, keys, partitions, names,
 * batches. The same numbers from the same `seed` are the same commands. */
void repl_write(redisContext *c, unsigned seed, unsigned from, unsigned to);

#endif
