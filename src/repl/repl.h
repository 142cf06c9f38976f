/* Replication: a node as primary of others and as replica of another.
 *
 *   commands --records--> journal --tap--> backlog --cursors--> replicas (clients that take the stream)
 *   primary --link (thread)--> apply --> store, journal; the same bytes --> backlog --> replicas of ours
 *
 * HISTORY. A line of records has an id, the replid, and offsets that count its bytes. Whoever has the id and
 * an offset can go on from there. A replica that becomes a primary draws a new id and keeps the old one
 * with the offset up to which it holds: both are the same line until there. The nonce, with which all sums are
 * seeded, stays: it is the line's.
 *
 * A primary without replicas keeps no backlog and encodes nothing for it: the first replica begins a
 * history. docs/replication.md says what is promised; the byte tables are there, too.
 *
 * Loop thread, all of it. */
#ifndef REPL_REPL_H
#define REPL_REPL_H

#include "cmd/command.h"
#include "server/replication.h"

struct repl;

/* For boot_run. */
extern const struct server_repl repl_hooks;
/* REPLICAOF, PSYNC, ROLE, ... */
extern const struct cmd_spec repl_specs[];

struct repl *repl_of(const struct server *s);
bool repl_is_replica(const struct repl *r);
/* Of everything in the store. */
uint64_t repl_offset(const struct repl *r);
/* Replicas that have acknowledged so much; `synced`: as being on their disk. */
size_t repl_acked(const struct repl *r, uint64_t offset, bool synced);
/* Replicas whose last acknowledgement is not older than min-replicas-max-lag. */
size_t repl_good(const struct repl *r);
/* All replicas are to acknowledge at once, behind what this turn sends them. */
void repl_ask_acks(struct repl *r);
/* Replica of this one from now on; NULL: primary. The configuration says so afterwards. */
void repl_set_primary(struct repl *r, const char *host, unsigned port);

#endif
