/* Snapshots and rewrites of the journal, of which one runs at a time. A server begins some by itself: for save points,
 * when more partitions are open than may be, when its journal has no base yet. Until such a one has ended it refuses
 * others, so a test that asks for one asks here. One thread. */
#ifndef INTEGRATION_LIB_SAVES_H
#define INTEGRATION_LIB_SAVES_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

#define SAVES_DEADLINE_MS 30000

/* Neither a snapshot nor a rewrite runs, or waits for its turn. For wait_until; `connection` is a redisContext. */
bool saves_idle(void *connection);

/* SAVE, BGSAVE or BGREWRITEAOF: asked again while it is refused because of another one that runs; fails the running test
 * on any other error, and past the deadline. */
#define saves_ask(c, command) saves_ask_at(__FILE__, __LINE__, c, command)
void saves_ask_at(const char *file, int line, redisContext *c, const char *command);

#endif
