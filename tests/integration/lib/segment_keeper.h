/* Keeps every journal segment that a server makes, beside its directory, so that all of them together can be replayed when
 * rewrites have removed most. A thread watches the directory and gives each segment a second name. One server at a time;
 * called by one thread; failures fail the running test. */
#ifndef INTEGRATION_LIB_SEGMENT_KEEPER_H
#define INTEGRATION_LIB_SEGMENT_KEEPER_H

#include "integration/lib/server.h"

/* From now on; the server runs and has its first segment. */
void segment_keeper_start(const struct test_server *s);
/* Removes what was kept. */
void segment_keeper_stop(void);
/* Makes a journal without a base in the directory `dir`, of all segments but the newest, which the running server has
 * begun and not written to. False: they do not join on, since a server was killed when a rewrite had ended and not all that it
 * held was in the segment before; nothing is made. */
bool segment_keeper_journal(const char *dir);

#endif
