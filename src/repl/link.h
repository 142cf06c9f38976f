/* A replica's link to its primary: one connection, from connecting to its end, on a thread of its own.
 *
 *     thread   connect, handshake, PSYNC
 *              +FULLRESYNC: files of a snapshot -> memory -> a new store        --- LOADED --> loop
 *              +CONTINUE                                                        -- CONTINUE -> loop
 *              frames: sums, offsets, numbers are checked                       --- FRAMES --> loop
 *     loop     takes items in their order, applies them                         --- ACK -----> thread
 *
 * What the thread hands over has been checked; what it holds is bounded (LINK_QUEUE_MAX), then it stops
 * reading. When the connection has failed the link has ended: another attempt is another link.
 *
 * Threads: all functions are the loop's. The thread touches the link alone. */
#ifndef REPL_LINK_H
#define REPL_LINK_H

#include "base/buf.h"
#include "repl/wire.h"
#include "vecstore.h"

#define LINK_QUEUE_MAX ((size_t)16 << 20)

enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_SYNC, LINK_CONNECTED, LINK_ENDED };

struct link;

struct link_options {             /* texts are copied */
    const char *host;
    unsigned port;
    const char *user, *password;  /* "": none */
    const char *announce_ip;      /* "": none */
    unsigned announce_port;
    unsigned timeout_ms;
    bool failover;                /* the other is to be the primary from now on */
    const char *replid;           /* NULL: everything is wanted */
    struct wire_place at;         /* what the store stands at */
    struct vs_options store;      /* for one to be built aside */
    void (*wake)(void *arg);      /* any thread: there is something to be taken */
    void *arg;
};

enum link_item_kind { LINK_CONTINUE, LINK_LOADED, LINK_FRAMES, LINK_PART };

struct memory_files;

struct link_item {
    struct link_item *next;
    enum link_item_kind kind;
    char replid[41];              /* CONTINUE, LOADED */
    struct wire_place at;         /* of these: where the stream goes on */
    uint64_t hlc, common;         /* LOADED: its time; up to which offset what we have is in it */
    struct vs_store *store;       /* LOADED: the taker's */
    struct buf bytes;             /* FRAMES: whole data frames, GETACKs and DIGESTs; PART: what was said of it */
    struct memory_files *files;   /* PART: a snapshot of it, LINK_SEGMENTS and LINK_MANIFEST; NULL: it could not be sent */
};

#define LINK_SEGMENTS "received"
#define LINK_MANIFEST "manifest"

/* NULL: no thread could be started. */
struct link *link_start(const struct link_options *o);
/* Asks it to end; it does so soon. */
void link_stop(struct link *l);
/* When its state is LINK_ENDED, or to wait for that: frees it and what was not taken. */
void link_free(struct link *l);

enum link_state link_state(const struct link *l);
/* Did the last bytes come within so many milliseconds? */
uint64_t link_silence_ms(const struct link *l);
/* Of a full synchronisation: bytes received so far; of how many is not known. */
uint64_t link_received(const struct link *l);
/* When it has ended: why. */
const char *link_error(const struct link *l);
/* Should the next attempt come at once? It had been connected. */
bool link_was_connected(const struct link *l);
/* The other has answered PSYNC by an error. */
bool link_was_refused(const struct link *l);
/* With `failover`: false when the other has been asked to be the primary, which cannot be taken back; true: it has
 * not been, and will not be. */
bool link_ask_no_more(struct link *l);
/* Must the next attempt ask for everything? What was sent did not fit. */
bool link_is_spoilt(const struct link *l);

/* The first item, or NULL. The caller's, to be given to link_item_free when it has been used. */
struct link_item *link_take(struct link *l);
void link_item_free(struct link *l, struct link_item *item);
/* All up to `offset` is applied, up to `synced` on disk as well; `different` partitions were found to differ
 * from the primary's so far. Sent at times, and `now` at once. */
void link_acknowledge(struct link *l, uint64_t offset, uint64_t synced, uint64_t different, bool now);
/* What the next acknowledgement says of partitions (digests.c); takes the bytes. Room for it: has the last been sent? */
void link_tell_digests(struct link *l, struct buf *entries);
bool link_digests_told(struct link *l);
/* A command for the primary, behind the next acknowledgement, which goes at once; it has no reply. */
void link_say(struct link *l, const struct buf *command);

#endif
