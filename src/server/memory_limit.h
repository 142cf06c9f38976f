/* maxmemory: what must be evicted before a command may add data, and which commands must wait or are refused.
 *
 * The engine chooses and evicts (store/evict.c), in slices: before a command that may add data, and, while something is left to
 * do, in every turn. What counts is used_memory less the buffers of clients, the journal's, and what is held aside
 * for a snapshot. Loop thread only. A replica evicts nothing by itself. */
#ifndef SERVER_MEMORY_LIMIT_H
#define SERVER_MEMORY_LIMIT_H

#include "server/client.h"

/* Follows the settings. */
void memory_limit_apply(struct server *s);
/* The same for a journal that has just been opened. */
void memory_limit_journal(const struct server *s);
/* Before a command that may add data. */
enum vs_memory_state memory_limit_check(struct server *s);
/* Every turn; true: clients that wait for memory may try again. */
bool memory_limit_turn(struct server *s);
/* Bytes in use that do not count. */
size_t memory_limit_apart(const struct server *s);
/* The name of a policy (enum vs_evict). */
const char *memory_limit_policy(int policy);

#endif
