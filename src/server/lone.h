/* Searches that the loop runs itself.
 *
 * To hand a search to a worker and to hear of its end wakes two threads. That takes microseconds while processors poll
 * before they halt, and some fifty each when they have halted meanwhile, as they do during a longer search. A client that sends
 * one search at a time, with nobody beside it, has nothing of the second thread: its searches run on the loop, once LONE_AFTER in
 * turn were alone, and while they are short. After somebody else's search, or one that asks for more, the count begins anew.
 *
 * Loop thread only. */
#ifndef SERVER_LONE_H
#define SERVER_LONE_H

#include "cmd/command.h"

#define LONE_AFTER  8
#define LONE_MAX_US 600   /* searches that take longer are the workers': nothing may hold the loop for a millisecond */

struct server;

struct lone {
    uint64_t client;
    struct cmd_effort effort; /* of its search with the most */
    uint64_t n;               /* its searches since, that have ended, */
    uint64_t average_us;      /* and how long the last ones took */
};

/* For cmd_host.at_once: the search has taken its place among the replies. */
bool lone_at_once(struct cmd_call *call, const struct cmd_effort *effort);
/* A deferred command has ended, so many microseconds after it came. */
void lone_took(struct server *s, uint64_t us);

#endif
