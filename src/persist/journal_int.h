/* The journal's inside, for journal*.c.
 *
 *     cur --journal_turn--> queue --writer--> retained --synced (JOURNAL_NO: written)--> free
 *
 * A chunk holds the records of one turn, whole. The writer takes chunks from the queue and puts them
 * at the end of `retained` before it writes them, so whatever fails, everything that is not safe is
 * in that list, in order. What has left it is the trusted part: `trusted_lsn`, which in the current
 * segment ends at `trusted_bytes`.
 *
 * Threads. `cur`, the group and what counts records belong to the owner. What stands under `lock` is
 * held for moments, never during I/O or a callback. The writer alone replaces the current segment
 * and makes new files; the syncer holds a reference while it syncs one, and the last reference
 * closes it. `manifest` is changed by the writer and by journal_set_base, under `manifest_lock`, held
 * while the manifest is stored; `lock` may be taken under it, not the other way round. */
#ifndef PERSIST_JOURNAL_INT_H
#define PERSIST_JOURNAL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "persist/journal.h"
#include "persist/journal_frame.h"

#define JOURNAL_RETRY_NS   250000000ull   /* between two attempts to begin a new segment */
#define JOURNAL_SYNC_AGE   500000000ull   /* everysec: a record this old is to be synced */
#define JOURNAL_HOLD_AGE  1000000000ull   /* everysec: replies wait while one is older */
#define JOURNAL_FULL       ((size_t)64 << 20)
#define JOURNAL_CHUNK_KEEP ((size_t)256 << 10)  /* buffer of a spare chunk */

struct journal_chunk {
    struct journal_chunk *next;
    struct buf bytes;
    uint64_t first, last;  /* LSNs; first 0: it holds no record, but what is said of a history */
    uint64_t since_ns;     /* when its first record was made */
    uint64_t end;          /* once written: where it ends in its segment */
    bool rotate;           /* the segment ends behind it; it may be empty */
    bool awaited;          /* it holds a record of this node's own: a reply may wait for it */
    size_t held;           /* memory that has been counted for it */
};

struct journal_chunks {
    struct journal_chunk *head, *tail;
};

struct journal_segment {
    struct vfs_file file;
    struct journal_file f;
    uint64_t nonce;
    uint64_t last;         /* LSN of the last record written to it */
    bool named;            /* a manifest that names it may be on disk already */
    bool distrusted;       /* under lock: a sync of it has failed, a later one says nothing */
    bool told;             /* that records of it may be lost */
    unsigned refs;         /* under lock */
};

struct journal {
    const struct vfs *vfs;
    char *dir, *name;
    void (*progress)(void *arg);
    void *progress_arg;
    struct vs_journal hook;

    /* owner */
    struct hlc *hlc;
    uint64_t lsn;
    unsigned depth;
    uint32_t effects;              /* in the group under way */
    size_t frame_at;               /* where its frame begins in cur */
    struct journal_frame frame;
    unsigned db;                   /* that the payload stands in */
    struct journal_chunk *cur;
    journal_tap tap;               /* NULL: none */
    void *tap_arg;
    bool follows;                  /* the group is that of another node's record .. */
    uint64_t follow_hlc;           /* .. of this time .. */
    uint64_t follow_bytes;         /* .. and size; 0: it is not all of it */
    /* Of which history the data are (as of `lsn`). `due`: the next record that counts has it written before
     * it, in its own chunk. `untold`: it is written at the next turn, too, should no record come; that
     * may get lost when the segment fails, and is of no consequence then. */
    struct journal_track history;
    bool history_due, history_untold;

    _Atomic bool open, failed;
    _Atomic size_t buffered;       /* bytes of the chunks handed over */
    _Atomic size_t held;           /* memory that they take */
    size_t full_max;               /* held, from where on it is full; owner */
    _Atomic uint64_t epoch;

    pthread_mutex_t lock;
    pthread_cond_t work, sync;     /* for the writer; for the syncer. Monotonic clock */
    enum journal_fsync fsync;
    size_t hold_max;               /* held, before it is synced earlier */
    struct journal_chunks queue, retained;
    struct journal_chunk *spare;
    struct journal_segment *segment;
    uint64_t written, synced;
    uint64_t synced_bytes;         /* where record `synced` ends in the current segment */
    uint64_t trusted_lsn, trusted_bytes;
    bool complete;                 /* base and segments hold everything there is */
    bool unsure;                   /* .. but records from unsure_lsn on may not be on disk */
    uint64_t unsure_lsn;
    uint64_t next_seq;
    uint64_t written_bytes;        /* of the current segment */
    uint64_t closed_bytes;         /* of the others, and the base's manifest */
    uint64_t base_size;
    uint64_t delayed_fsyncs;
    bool syncing, closing, ended;  /* ended: the writer is gone, the syncer shall go */
    bool sync_idle;                /* the syncer waits for something to sync; else it knows when, or is at it */
    uint64_t retry_ns;
    char error[VFS_ERROR_TEXT];
    pthread_t writer, syncer;

    /* writer */
    struct journal_segment *next;  /* one that is being made ready */

    pthread_mutex_t manifest_lock;
    struct journal_manifest manifest;
    struct journal_leftover {
        uint64_t seq;
        bool base;
    } *garbage;                    /* files that no stored manifest names, to be removed */
    size_t ngarbage, garbage_cap;
};

/* journal_group.c */
void journal_hook_init(struct journal *j);

/* journal_write.c */
void *journal_writer(void *arg);
/* [writer, syncer] The current segment is not to be touched again. */
void journal_fail(struct journal *j, const struct vfs_error *err);
/* With lock held: chunks that need not be kept any more go, and `trusted` moves. */
void journal_drop(struct journal *j);
/* The same after a failure, for the writer, which has settled what the file is worth. */
void journal_drop_safe(struct journal *j);
/* [writer] A sync of the current segment up to what is written. */
enum vs_status journal_sync_now(struct journal *j);
void journal_progress(struct journal *j);
void journal_chunk_free(struct journal_chunk *c);
/* One that has been handed over. */
void journal_chunk_let_go(struct journal *j, struct journal_chunk *c);
void journal_chunks_push(struct journal_chunks *list, struct journal_chunk *c);
void journal_wait_ns(struct journal *j, pthread_cond_t *cond, uint64_t until_ns);

/* journal_sync.c */
void *journal_syncer(void *arg);

/* journal_recover.c */
/* [writer, or the owner in journal_open] A new file with a header, its name not yet durable. */
enum vs_status journal_segment_new(struct journal *j, uint64_t first,
                                   struct journal_segment **out, struct vfs_error *err);
/* With lock held. */
void journal_segment_unref(struct journal *j, struct journal_segment *s);
/* [writer] Writes all that is retained to a new segment, which becomes the current one. */
enum vs_status journal_renew(struct journal *j, struct vfs_error *err);
/* [writer] Seals the current segment, all of it synced, and renews. */
enum vs_status journal_seal(struct journal *j, struct vfs_error *err);
/* Appends a chunk's records to a segment, with their sums. */
enum vs_status journal_segment_append(struct journal *j, struct journal_segment *s,
                                      struct journal_chunk *c, struct vfs_error *err);
/* With manifest_lock held: the manifest has been stored; files it does not name any more go. What is
 * known of the journal as a whole follows from it. */
void journal_stored(struct journal *j);
/* With manifest_lock held: this file is to go once a manifest is stored. */
void journal_remember(struct journal *j, uint64_t seq, bool base);
/* journal_begin.c */
/* [owner, in journal_open] A new segment that holds what the last one of `m` is not known to have on
 * disk; that one is closed before it. Not synced. */
enum vs_status journal_take_over(struct journal *j, struct journal_manifest *m,
                                 struct journal_segment **out, struct vfs_error *err);
/* Removes a segment's file, or a base's. */
void journal_discard(struct journal *j, uint64_t seq, bool base);

#endif
