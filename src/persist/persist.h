/* Durability as a whole: what a program that keeps a store on disk uses, the server first.
 *
 *     persist_open        takes the directory, decides which data to load, checks its headers
 *     persist_load_step   in slices: maps the snapshot, applies the journal; then writing begins
 *     every turn          journal_turn(persist_journal(p)) after the commands, persist_poll(p)
 *     persist_save        a snapshot, or (rewrite) one that takes the journal's place
 *     persist_close       writes and syncs what is left, gives the directory back
 *
 * Which data: with `appendonly` and a journal's manifest, its base and its segments; with
 * `appendonly` and no such manifest, the snapshot `dbfilename` if it is there, and a rewrite begins
 * at once; without `appendonly`, the snapshot. Nothing at all is an empty store. A journal that was
 * switched off, or on, at run time and has got no base since is not all there is: persist_load.c.
 *
 * Threads: all functions [owner], the thread that owns the store. `wake` is called from any thread
 * when persist_poll (or the journal's gates) has something to do. */
#ifndef PERSIST_PERSIST_H
#define PERSIST_PERSIST_H

#include "base/buf.h"
#include "persist/journal.h"
#include "persist/scrub.h"
#include "persist/snapshot_only.h"
#include "persist/vfs.h"
#include "vecstore.h"

/* The file in `dir` that a process holds a lock on while it uses the directory. */
#define PERSIST_LOCK "vecstore.lock"

struct persist;

struct persist_options {        /* texts are copied */
    const struct vfs *vfs;      /* borrowed until persist_close */
    const char *dir;            /* "." when NULL; must be there */
    const char *dbfilename;     /* "dump.rdb" when NULL */
    const char *appenddirname;  /* "appendonlydir" when NULL */
    const char *appendfilename; /* "appendonly.aof" when NULL */
    bool appendonly;
    bool load_truncated;        /* a torn tail of the journal is cut aside instead of refused */
    bool verify;                /* check every block of the snapshot before anything is served */
    enum journal_fsync fsync;
    unsigned rewrite_percentage;  /* of auto rewrite; 0: never */
    uint64_t rewrite_min_size;
    uint64_t scrub_period;      /* seconds in which all files are read and checked; 0: never */
    /* The store holds data of another origin, as of record `lsn` and `hlc`: nothing is loaded. What files
     * there are is of another history; with appendonly a rewrite begins at once. */
    bool adopt;
    uint64_t lsn, hlc;
    void (*wake)(void *arg);    /* may be NULL */
    void *arg;
};

/* VS_EXISTS: another process uses the directory. VS_CORRUPT, VS_IO, VS_NOMEM. `why` says which file,
 * where, what, and the command that mends it. The store must be empty (unless adopted) and must outlive the
 * handle. */
enum vs_status persist_open(const struct persist_options *o, struct vs_store *store,
                            struct persist **out, struct buf *why);
/* Goes on loading until `until_ns` of the monotonic clock or the end (*done). When done the
 * store has its journal hook, and with appendonly a new segment is open. After a failure only
 * persist_close may follow: the store holds a part of the data. */
enum vs_status persist_load_step(struct persist *p, uint64_t until_ns, bool *done,
                                 struct buf *why);
/* Never NULL once persist_load_step is done (before: NULL). While appendonly is off it counts
 * LSNs and keeps nothing: groups, journal_turn and journal_releasable may be called all the same. */
struct journal *persist_journal(struct persist *p);

/* Starts a snapshot, or with `rewrite` one that becomes the base of the journal. VS_EXISTS: one
 * runs. `done` (may be NULL) is called from persist_poll or persist_close. VS_INVALID: a rewrite
 * without appendonly; VS_CORRUPT: a partition is damaged (a rewrite would lose its journal). */
enum vs_status persist_save(struct persist *p, bool rewrite, void (*done)(void *arg, bool ok),
                            void *arg);
/* Starts a snapshot as of now that goes to `out` (stream.h; copied) and nowhere else: the data of another
 * node; `only` (borrowed; NULL: all) one partition alone. VS_EXISTS: a snapshot or rewrite runs, or one before is not over yet: to be tried again. */
enum vs_status persist_send(struct persist *p, const struct vfs *out, const struct snapshot_only *only,
                            void (*done)(void *arg, bool ok), void *arg);
/* One that runs is given up: its `done` says false, the files it made go. */
void persist_save_abort(struct persist *p);
/* A rewrite as soon as nothing runs. */
void persist_schedule_rewrite(struct persist *p);
/* Every turn and at least every 100 ms: finished snapshots, their files, automatic rewrites. */
void persist_poll(struct persist *p);

/* At run time. On: a new segment and, unless the journal goes on where it was switched off, a rewrite
 * begin; the journal's promises hold when that has ended (persist_status: journal.complete). `why` says
 * what is wrong when it cannot (the answer is false, nothing has changed). Off: the journal is closed
 * and marked as one that others may have outrun; its files stay. */
bool persist_set_appendonly(struct persist *p, bool on, struct buf *why);
void persist_set_fsync(struct persist *p, enum journal_fsync f);
void persist_set_rewrite(struct persist *p, unsigned percentage, uint64_t min_size);
void persist_set_load_truncated(struct persist *p, bool yes);
void persist_set_scrub(struct persist *p, uint64_t period);

struct persist_status {         /* times in wall-clock seconds; durations in seconds, -1: none yet */
    bool loading;
    uint64_t loading_start, loading_total, loading_loaded;  /* bytes */
    uint64_t keys_loaded;

    uint64_t changes;           /* groups of effects since the last snapshot's cut */
    bool saving, rewriting, rewrite_scheduled;
    bool sending;               /* persist_send */
    bool save_ok, rewrite_ok;   /* how the last of each ended; true before the first */
    uint64_t last_save;         /* when the last good one was cut; at start: when the process began */
    uint64_t saves, rewrites, rewrite_failures;  /* the last: in a row */
    int64_t save_seconds, rewrite_seconds;  /* of the last one */
    int64_t current_save_seconds, current_rewrite_seconds;
    uint64_t parts_done, parts_total;       /* of the one that runs */
    size_t cow_bytes, cow_peak, last_cow;   /* held aside for the one that runs */

    bool appendonly;
    uint64_t epoch;
    struct journal_status journal;
    unsigned damaged;           /* partitions */
    uint64_t scrubbed, scrub_total;         /* bytes mapped: checked since, and all */
    struct scrub_status scrub;
    uint64_t mapped;            /* bytes */
    char error[VFS_ERROR_TEXT]; /* of the last failed snapshot; "" */
};
void persist_status(struct persist *p, struct persist_status *out);
/* NULL, or why the journal cannot be written now. Borrowed until the next call. */
const char *persist_write_error(const struct persist *p);

/* Waits for a running snapshot to give up, seals the journal and frees `p`; NULL is fine. What
 * went wrong with the journal's last records is the result. The store stays, without a journal;
 * mapped files stay mapped for as long as it uses them. */
enum vs_status persist_close(struct persist *p);

#endif
