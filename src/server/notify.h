/* Keyspace events: what happens to keys, published to whoever listens (setting
 * notify-keyspace-events).
 *
 *   __keyspace@0__:docs  vadd        with K: what happened to this key
 *   __keyevent@0__:vadd  docs        with E: to which key this happened
 *
 * Commands say cmd_event(), which is one comparison while the class is not asked for. Loop thread
 * only. */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include "server/server.h"

/* What the letters of the setting ask for; false: one is unknown. */
bool notify_parse(const char *letters, unsigned *out);
/* Follows the setting; false: it holds an unknown letter. */
bool notify_apply(struct server *s);
/* The host's `event`. */
void notify_event(struct cmd_host *host, unsigned db, const char *event, const char *key,
                  size_t len);

#endif
