/* The server's part in what ends by itself: the clock, the turns in which it goes, and who is told.
 *
 * Only who decides removes: not while data are loaded, nor while clients' writes are paused or the journal
 * cannot take any. What has ended is hidden all the same. Loop thread only. */
#ifndef SERVER_EXPIRE_H
#define SERVER_EXPIRE_H

#include "server/server.h"

/* A store has been opened. */
void expire_open(struct server *s);
/* The turn's clock. */
void expire_clock(struct server *s);
/* After the turn's commands, before its records go to the journal. True: there is more to do now. */
bool expire_turn(struct server *s);
/* Microseconds until there is something to do; -1: not by the clock. */
int64_t expire_wait(const struct server *s);

#endif
