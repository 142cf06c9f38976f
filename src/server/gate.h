/* The gate: replies to writes wait until the journal says that they may leave.
 *
 *   command       effects            journal           gates (oldest first)      client
 *   VADD  ------> record 7 --------> buffer             [slot, 7]                 waits
 *   VADD  ------> record 8                              [slot, 8]
 *   end of turn:  journal_turn ----> written, synced
 *   next turn:    journal_releasable = 7 ----------->   [slot, 7] done ---------> :1
 *
 * A write command takes a slot among its client's replies (client.h), as a search does, and writes
 * its reply there. When it ends, the slot waits for the last record that the command made; without
 * a record (nothing was changed, or an error) it is done at once. So replies keep their order, a
 * client goes on with its next command meanwhile, and one sync lets all replies out that it covers.
 *
 * Without a journal (appendonly no) no slot is taken. Loop thread only. */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include "server/client.h"

/* Before the first call of a write command: takes the slot, c->gate. */
void gate_take(struct cmd_client *c);
/* The handler has run: its reply waits for this record, too. */
void gate_note(struct cmd_client *c, uint64_t lsn);
/* The command has ended; c->gate is free for the next. */
void gate_end(struct cmd_client *c);
/* Lets out what the journal allows. Every turn. */
void gates_release(struct server *s);
/* Everything is durable: lets all out. */
void gates_open(struct server *s);
/* The server ends: replies that were never let out are dropped. */
void gates_drop(struct server *s);

#endif
