/* Transactions: MULTI queues commands, EXEC runs them in one go.
 *
 *   MULTI    +OK
 *   VADD ..  +QUEUED      checked as it would be (name, arity, password, disk); an error here and
 *                         EXEC answers EXECABORT
 *   VSEARCH  +QUEUED
 *   EXEC     *2           nothing of another client comes between, all writes are one record of the
 *            :1           journal; a search sees the writes before it, and is computed by the
 *            *1 $1 a      workers: its reply has its place in the array, as among pipelined ones
 *
 * EXEC is one call of a handler, and so one turn of the loop: what its commands would do in slices
 * they do at once. What would have to wait inside waits before: while an index that a queued VADD
 * or VMADD adds to is at the bound of its backlog, EXEC as a whole waits; then its vectors are taken
 * whatever the backlog. The wait for a partition that is being opened happens inside.
 *
 * WATCH notes, of each key, the number of its last change and which index it is. A key that has
 * watchers has a counter that every write to it counts up; so a write costs one comparison while
 * nobody watches anything, and one look-up otherwise, however many watch. Removal with a whole
 * database shows in the index being another. Loop thread only. */
#ifndef SERVER_MULTI_H
#define SERVER_MULTI_H

#include "server/client.h"

/* Keys that somebody watches. */
struct watches *watches_new(void);
void watches_free(struct watches *w);
size_t watches_count(const struct watches *w);
/* A key was written to; NULL: all of the database. */
void watches_touch(struct watches *w, unsigned db, const char *key, size_t len);

/* Queues a command of a client that is in MULTI, and answers. */
void multi_queue(struct cmd_client *c, const struct cmd_spec *spec, const struct resp_arg *argv,
                 size_t argc);
/* Does it run at once, though a transaction is being queued? */
bool multi_runs_at_once(const struct cmd_spec *spec);
/* A command was refused: EXEC will be, too. */
void multi_fail(struct cmd_client *c);
/* The flags of what is queued: CMD_LOADING when all have it, the others when one has. */
unsigned multi_flags(const struct cmd_client *c);
/* Drops queue and watches, if there are any. */
void multi_forget(struct cmd_client *c);
/* Commands queued, or -1; memory that takes. */
long multi_length(const struct cmd_client *c);
size_t multi_memory(const struct cmd_client *c);
size_t multi_watched(const struct cmd_client *c);

#endif
