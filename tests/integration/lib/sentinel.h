/* Real sentinels (Debian's redis-sentinel) that watch a primary on the loopback.
 *
 *   struct test_sentinels *t = sentinels_start(3, "127.0.0.1", port, 3000);   quorum 2, down after 3 s
 *   sentinels_wait(t, 2, 20000);                    they know each other and both replicas
 *   int port = sentinels_primary(t);
 *   sentinels_stop(t);
 *
 * The primary's name is "mymaster". Everything fails the running test (cmocka) when it cannot do its work.
 * What a failed test leaves behind is cleaned up at exit. One thread, but sentinels_primary_of. */
#ifndef INTEGRATION_LIB_SENTINEL_H
#define INTEGRATION_LIB_SENTINEL_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

struct test_sentinels;

/* Is there a redis-sentinel? */
bool sentinels_available(void);
struct test_sentinels *sentinels_start(int n, const char *host, int port, int down_after_ms);
void sentinels_stop(struct test_sentinels *t);
/* Until each knows all others, so many replicas, and the primary as up; and has said so: hellos are out. */
void sentinels_wait(const struct test_sentinels *t, int replicas, int deadline_ms);
int sentinels_count(const struct test_sentinels *t);
int sentinels_port(const struct test_sentinels *t, int i);
/* To sentinel `i`. */
redisContext *sentinels_connect(const struct test_sentinels *t, int i);
/* The port of the primary as most see it; 0: they differ. */
int sentinels_primary(const struct test_sentinels *t);
/* The same from the sentinel at this port alone; 0: it does not say. Any thread. */
int sentinels_primary_of(int sentinel_port);
/* The lines of the log of sentinel `i` so far; the caller frees them. */
char *sentinels_log(const struct test_sentinels *t, int i);

#endif
