/* The server's side of durability: what it does with persist.h.
 *
 *   start    persistence_open: the directory's lock, headers; then LOADING, in slices, until the
 *            data are there and the links are near enough; clients are told so meanwhile
 *   a turn   persistence_turn: the turn's records go to the journal's thread, replies leave
 *   a tick   persistence_tick: save points, the last snapshot of a shutdown
 *   end      persistence_close: everything that waits reaches the disk
 *
 * Loop thread only. */
#ifndef SERVER_PERSISTENCE_H
#define SERVER_PERSISTENCE_H

#include "server/server.h"

/* Registers for changes of its settings, and takes the directory. False: `error` says why. */
bool persistence_open(struct server *s, struct buf *error);
/* Takes the directory and begins to load, at the start and for DEBUG RELOAD. */
bool persistence_start(struct server *s, struct buf *error);
/* The same for a store that holds data as of this record already. */
bool persistence_adopt(struct server *s, uint64_t lsn, uint64_t hlc, struct buf *error);
/* Goes on loading. A failure ends the server: s->failed. */
void persistence_load(struct server *s);
/* After the turn's commands. */
void persistence_turn(struct server *s);
void persistence_tick(struct server *s);
/* Nothing more will be written: syncs, lets the replies out, gives the directory back. */
void persistence_close(struct server *s);

/* Why writes (and PING) must be refused now: the text of the error; NULL: they need not. */
const char *persistence_error(struct server *s);
/* Must writes wait because the disk is behind? They are resumed when it is not. */
bool persistence_full(struct server *s);

/* ---- saving.c: snapshots, asked for by commands, save points, or the end ---- */

/* Starts a snapshot or a rewrite of the journal; `reply` (NULL: none) is answered and finished at
 * its end. VS_OK, or as persist_save; then `reply` is the caller's still. */
enum vs_status saving_begin(struct server *s, bool rewrite, struct cmd_pending *reply);
/* A save point has come, or one was put off. */
void saving_tick(struct server *s);
enum shutdown_began {
    SHUTDOWN_STAYS, /* it cannot end now; the log says why */
    SHUTDOWN_GOES,
    SHUTDOWN_SAVES  /* s->shutdown_reply (the caller may set it) gets an error should it fail */
};
enum shutdown_began shutdown_begin(struct server *s, struct shutdown_options how);
/* Calls off an end that is saving; false: there is none. */
bool shutdown_abort(struct server *s);
/* What the words of shutdown-on-sigterm say. */
struct shutdown_options shutdown_words(const struct config_list *words);

/* ---- reload.c: DEBUG RELOAD ---- */

/* Takes `reply`. */
void reload_begin(struct server *s, bool save, struct cmd_pending *reply);
void reload_saved(struct server *s, bool ok);
void reload_turn(struct server *s);
void reload_done(struct server *s);

#endif
