/* The fence: a primary that may have been replaced takes no writes until it knows that it was not.
 *
 * Sentinel gives its primary no token, but every sentinel publishes a hello to it every two seconds that
 * names the primary and its epoch. From these, and from its own clock, a node finds out on its own:
 *
 *     stalled      more than stall_ms have passed since the last turn of the loop: the process was stopped,
 *                  or its machine was. Nothing may be said before it is known what happened meanwhile.
 *     silent       fewer than a quorum of the sentinels were heard within hello_ms: they, too, cannot hear
 *                  this node, and may be choosing another.
 *     superseded   a quorum of sentinels names another node, of a higher epoch than ours.
 *
 *              a quorum names us, of the highest epoch heard, in hellos that count
 *              +---------------------------------------------------------------+
 *              v                                                               |
 *            OPEN ---- stall, silence, supersession ----> closed: writes and PING are refused
 *              ^                                                               |
 *              +------------------- REPLICAOF (either way) --------------------+
 *
 * HELLOS THAT COUNT. What a socket held while the process slept was sent by sentinels that knew nothing
 * yet. Hellos are counted only SETTLE_MS after the loop turns again, or after the first one that breaks a
 * silence; and FENCE_ELECTION_MS after one that shows a newer epoch than any before: then sentinels have
 * been voting, and who won is in their next ones.
 *
 * WHO WE ARE. A hello that arrived at the address that it names, or that names what replica-announce-ip
 * and replica-announce-port say, names us.
 *
 * The fence is passive until a quorum has been heard once, and on a replica. It forgets a sentinel after an hour
 * of silence, but not while it is closed: an hour in a partition is no licence to write.
 *
 * It narrows the window of a replaced primary, and closes it for a paused one; it is no proof where messages are
 * late one way only. WAIT is.
 *
 * Pure: times are arguments, in milliseconds of CLOCK_BOOTTIME. One thread. */
#ifndef REPL_FENCE_H
#define REPL_FENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define FENCE_SENTINELS   64
#define FENCE_SETTLE_MS   1000
#define FENCE_ELECTION_MS 3000
#define FENCE_RECENT_MS   10000
#define FENCE_FORGET_MS   (3600u * 1000)

enum fence_state { FENCE_OPEN, FENCE_STALLED, FENCE_SILENT, FENCE_SUPERSEDED };

struct fence_options {
    unsigned quorum;             /* 0: a majority of the sentinels heard in the last hour */
    uint64_t stall_ms, hello_ms; /* 0: off */
};

struct fence;

struct fence *fence_new(void);
void fence_free(struct fence *f);
/* A rule that is switched off does not hold it closed. */
void fence_set_options(struct fence *f, const struct fence_options *o);

/* Has any sentinel been heard? If not, fence_turn need not be called. */
bool fence_is_watching(const struct fence *f);
/* The loop turns, or is about to let replies leave. True: it has closed just now. */
bool fence_turn(struct fence *f, uint64_t now_ms);
/* A message to the channel of hellos. `self`: `n` texts "address:port" or "[address]:port", each of which is
 * us; NULLs are skipped. False: it is no hello. Fence_state may have changed. */
bool fence_hello(struct fence *f, const char *message, size_t len, const char *const *self, size_t n,
                 uint64_t now_ms);
/* This node was made a primary, or told that it is one: opens. */
void fence_lead(struct fence *f, uint64_t now_ms);
/* It is a replica: opens, and stays open. */
void fence_follow(struct fence *f);

enum fence_state fence_state(const struct fence *f);
/* "open", "stalled", .. */
const char *fence_state_name(enum fence_state state);
/* What writes and PING are answered while it is closed; NULL: it is open. */
const char *fence_error(const struct fence *f);
/* Sentinels known, and how many of them make a quorum. */
size_t fence_sentinels(const struct fence *f);
size_t fence_quorum(const struct fence *f);
/* Times it has closed. */
uint64_t fence_closings(const struct fence *f);
/* Lines of INFO replication; nothing before a sentinel was heard. */
void fence_info(const struct fence *f, struct buf *out);

#endif
