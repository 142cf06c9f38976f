/* Searches that the loop runs itself.
 *
 * To hand a search to a worker and to hear of its end wakes two threads. That takes microseconds while processors poll
 * before they halt, and some fifty each when they have halted meanwhile, as they do during a longer search. A client that sends
 * one search at a time, with nobody beside it, has nothing of the second thread: its searches run on the loop, once LONE_AFTER in
 * turn were alone, and while they are short and nothing makes one dear (vs_index_is_calm). After somebody else's search, or one that asks for more, the count begins anew.
 *
 * Between two of them the loop does not sleep for a while, so that its processor does not halt either.
 *
 * Loop thread only. */
#ifndef SERVER_LONE_H
#define SERVER_LONE_H

#include "cmd/command.h"

#define LONE_AFTER      8
#define LONE_MAX_US     450    /* searches that take longer are the workers': nothing may hold the loop for a millisecond */
#define LONE_AWAITED_NS 150000 /* the next one is awaited for so long without sleeping */

struct server;

struct lone {
    uint64_t client;
    struct cmd_effort effort; /* of its search with the most */
    uint64_t n;               /* its searches since, that have ended, */
    uint64_t average_us;      /* and how long the last ones took */
    bool on_loop;             /* one is under way */
    uint64_t ended_ns;        /* when the last one ended, if the loop ran it; 0 */
};

/* For cmd_host.at_once: the search has taken its place among the replies. */
bool lone_at_once(struct cmd_call *call, const struct cmd_effort *effort);
/* A deferred command has ended, so many microseconds after it came. */
void lone_took(struct server *s, uint64_t us);
/* Is the next search so near that the loop should not sleep? */
bool lone_awaited(const struct server *s);

#endif
