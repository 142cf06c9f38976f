/* A store with everything persistence has, in a directory: what the drills of snapshots share.
 * One thread. */
#ifndef LIB_SNAPSHOT_RIG_H
#define LIB_SNAPSHOT_RIG_H

#include "lib/journal_rig.h"
#include "persist/persist.h"

struct snapshot_rig {
    struct rig rig;            /* its store and journal are the persistence's: for rig_step */
    struct persist *persist;
};

/* Opens and loads, until all is there. `why` gets the reason. */
enum vs_status srig_open(struct snapshot_rig *s, const struct persist_options *o, struct buf *why);
/* Closes all; the digests stay in `rig` until rig_release. */
enum vs_status srig_close(struct snapshot_rig *s);
/* A snapshot (or a rewrite) and waits for it. VS_IO: it failed, or could not begin. `between` (may be
 * NULL) is called every turn meanwhile. */
enum vs_status srig_save(struct snapshot_rig *s, bool rewrite, void (*between)(void *arg), void *arg);
/* One turn of what a server does. */
void srig_turn(struct snapshot_rig *s);

/* A store of a graph, a flat partition and small ones, some 250 KiB on disk, with dead nodes and a
 * tail that is not linked. The same for the same seed. */
void srig_fill(struct vs_store *store, uint64_t seed);
/* The same with a graph of one chunk, whose slots were in use before: half as much on disk. */
void srig_fill_chunk(struct vs_store *store, uint64_t seed);
/* Empties o->dir and leaves a snapshot of a store filled by `fill` there; ends the program when it cannot. */
void srig_make(const struct persist_options *o, void (*fill)(struct vs_store *store, uint64_t seed),
               uint64_t seed);
/* Reads all of a store: what of it is as srig_fill made it. `*damaged`: partitions that answered
 * VS_CORRUPT. False: something else than what was put in was answered. */
bool srig_compare(struct vs_store *store, struct vs_store *expected, size_t *damaged);

#endif
