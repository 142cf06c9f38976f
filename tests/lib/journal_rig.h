/* A store with a journal that random commands are run on, for the tests of the journal and its
 * drills: what the data were after each record is kept, so that what a recovery brings back can be
 * compared. One thread. */
#ifndef LIB_JOURNAL_RIG_H
#define LIB_JOURNAL_RIG_H

#include "base/rng.h"
#include "persist/journal.h"

#define RIG_NAME "appendonly.aof"

struct rig {
    struct vs_store *store;
    struct hlc hlc;
    struct journal *journal;
    struct journal_manifest manifest;
    struct rng rng;
    size_t vector_dim;    /* of new indexes */
    unsigned threads;     /* of the store, for srig_open */
    uint64_t *digest;     /* by LSN: of all data after that record */
    size_t digest_cap;
    uint64_t known;       /* LSNs 0..known have a digest */
    struct rng history;   /* see rig_histories */
};

/* An empty store and a journal that is not open yet, in the directory `dir`. */
void rig_init(struct rig *r, const struct vfs *v, const char *dir, enum journal_fsync fsync,
              uint64_t seed);
/* From now on most records count in some history, which changes, ends and begins anew at random; `track` is what a load
 * has found (NULL: nothing). Whatever a load of this process claims afterwards must have been so (rig_load): of the
 * data behind that record, in some life. */
void rig_histories(struct rig *r, const struct journal_track *track);
/* Ends the program when it was not so. */
void rig_check_claim(uint64_t lsn, const struct journal_track *claim);
/* Closes the journal (its result) and the store; digests stay until rig_release. */
enum vs_status rig_close(struct rig *r);
void rig_release(struct rig *r);
/* One command, which changes something: VS_OK, or what the journal refused it with. */
enum vs_status rig_step(struct rig *r);
/* Keeps the digest of the data as they are now, as those after the last record. */
void rig_note(struct rig *r);
/* journal_turn, then waits until all records may be acknowledged. False after `deadline_ms`. */
bool rig_settle(struct rig *r, int deadline_ms);

/* Keys, options, elements, vectors, attributes, sequence numbers of everything in the store. */
uint64_t rig_digest(struct vs_store *store);
/* What recovery does: manifest, all records, into a new store. Ends the program when it claims a history that is not that of the data. `out` and `m` (zeroed) are filled on
 * VS_OK, the store is the caller's. VS_NOTFOUND: there is no journal. */
enum vs_status rig_load(const struct vfs *v, const char *dir, bool truncated_ok,
                        struct vs_store **out, struct journal_manifest *m,
                        struct journal_loaded *loaded, struct buf *why);
/* The system's files, without the wait of a sync. */
struct vfs rig_vfs_unsynced(void);
/* Empties or makes a directory; ends the program when it cannot. */
void rig_clear(const char *dir);

#endif
