/* What the server asks of replication, which lies above it (src/repl): a table of functions that main.c
 * hands to boot. Without one the server stands alone.
 *
 * All are called on the loop thread. */
#ifndef SERVER_REPLICATION_H
#define SERVER_REPLICATION_H

#include "server/client.h"

struct server_repl {
    /* The settings are read, the store is empty, nobody is connected. */
    void (*open)(struct server *s);
    /* The data are loaded. */
    void (*loaded)(struct server *s);
    /* Before the commands of a turn. */
    void (*turn_begins)(struct server *s);
    /* Before its replies are sent. */
    void (*turn_ends)(struct server *s);
    /* A message to the channel __sentinel__:hello. */
    void (*hello)(struct server *s, struct cmd_client *c, const char *message, size_t len);
    /* Behind the commands, outside any group of the journal, before replies leave. True: there is more to do, the
     * loop must not sleep. */
    bool (*turn)(struct server *s);
    void (*tick)(struct server *s);
    /* A client goes that has c->replica or c->waits_for. */
    void (*gone)(struct server *s, struct cmd_client *c);
    /* While s->repl_refuses is set: NULL, or the error with which a command of these flags is refused. */
    const char *(*refuses)(struct server *s, const struct cmd_client *c, unsigned flags, bool ping);
    /* INFO replication. */
    void (*info)(struct server *s, struct buf *out);
    /* Before the store goes. */
    void (*close)(struct server *s);
};

/* Takes the data of another node in place of one's own. Begun by the first: commands wait, and when none is
 * under way (true) the second puts `fresh` in the store's place, as of record `lsn` and `hlc`; the old
 * store is the caller's to close. False: the files could not be opened, the server ends. */
bool persistence_swap_ready(struct server *s);
bool persistence_swap(struct server *s, struct vs_store *fresh, uint64_t lsn, uint64_t hlc,
                      struct vs_store **old);
/* Commands go on; also when nothing was swapped. */
void persistence_swap_end(struct server *s);

#endif
