/* The journal: every change of the store, in order, on disk.
 *
 *     owner         effects -> the turn's chunk -> journal_turn ----+
 *                                                                   v queue
 *     writer        sums, one write a hand-over, (always: sync) <---+--> retained until synced
 *     syncer        everysec: a sync when the oldest record is half a second old
 *     owner         journal_releasable: the replies up to this record may leave
 *
 * A group of effects (a command, an ATOMIC batch) is one record, with a dense number, its LSN, and
 * a time. Records are counted also while no journal is open, so that a snapshot's cut means the
 * same with and without one.
 *
 * FAILURE. After a failed write or sync the file is never written to again. After a failed write it is
 * synced once more, and trusted as far as was written when that succeeds; after a failed sync, as far as
 * was synced before. All later records, which are still in memory, go to a new segment, tried every
 * 250 ms until it works. Until then every prepare answers VS_IO and no reply leaves.
 *
 * Threads: [owner] or [any] as said. No function waits for a disk but journal_open, journal_close,
 * journal_free and journal_set_base.
 *
 * File formats: docs/durability.md. */
#ifndef PERSIST_JOURNAL_H
#define PERSIST_JOURNAL_H

#include "base/hlc.h"
#include "persist/journal_frame.h"
#include "persist/journal_manifest.h"
#include "vecstore.h"

struct journal;

enum journal_fsync { JOURNAL_NO, JOURNAL_EVERYSEC, JOURNAL_ALWAYS };

struct journal_options {
    const struct vfs *vfs;     /* borrowed until journal_free */
    const char *dir, *name;    /* the journal's own directory, and `appendfilename`; copied */
    enum journal_fsync fsync;
    uint64_t epoch;
    /* Written, synced or failed has changed. From any thread, with no lock held; may be NULL. */
    void (*progress)(void *arg);
    void *arg;
};

struct journal_status {
    uint64_t lsn;              /* of the last record made */
    uint64_t written, synced;  /* LSNs; with no journal open both are `lsn` */
    uint64_t size;             /* bytes of base manifest and segments */
    uint64_t base_size;        /* of it, when the base was set: what growth is measured against */
    size_t buffered;           /* bytes held in memory until they are durable */
    size_t held;               /* memory that they take */
    uint64_t oldest_unsynced_ns;  /* monotonic; 0: all is synced */
    uint64_t delayed_fsyncs;   /* syncs that took over a second */
    bool complete;             /* open, and base and segments hold everything there is */
    bool unsure;               /* records in closed segments may not be on disk: a base is wanted */
    bool open, failed, sync_pending;
    char error[VFS_ERROR_TEXT];  /* of the failure that lasts; else of the last one, "" */
};

/* [owner] One that counts and keeps nothing until it is opened. The first record gets `next_lsn`
 * (1 for an empty store). `hlc` is borrowed. */
struct journal *journal_new(const struct journal_options *o, struct hlc *hlc, uint64_t next_lsn);
/* [owner] Begins a new segment behind those of `m`, stores the manifest, starts the threads. Makes
 * the directory. Of a segment of `m` that a load has closed, what it is not known to have on disk is
 * written to the new one. `m` is copied. When records have been made that are not in `m`, there is a
 * gap: the manifest is partial, m->life and m->snapshot say which snapshots are of the same history, and the
 * journal is complete with the next journal_set_base only. VS_INVALID: the last segment of `m` is open,
 * or ends behind the last record made. On failure it is as before. */
enum vs_status journal_open(struct journal *j, const struct journal_manifest *m,
                            struct vfs_error *err);
/* [any] */
bool journal_is_open(const struct journal *j);
/* For vs_set_journal; also while it is not open. */
const struct vs_journal *journal_hook(struct journal *j);

/* [owner] Effects between are one record. They nest. With none appended there is no record. */
void journal_group_begin(struct journal *j);
void journal_group_end(struct journal *j);
/* [owner] Of the last record made. */
uint64_t journal_lsn(const struct journal *j);
/* [owner] Its time. */
uint64_t journal_hlc(const struct journal *j);
void journal_set_epoch(struct journal *j, uint64_t epoch);
/* [owner] Every record from now on is shown to `tap` as it ends: its frame, of which only `durable` and
 * the sums are not filled in, and the payload behind it; borrowed for the call. Records are encoded for
 * that also while the journal is not open. Outside groups; NULL: no more. True: the record counts in the
 * history that was set; else the tap has set what holds behind the record. */
typedef bool (*journal_tap)(void *arg, const struct journal_frame *f, const uint8_t *bytes);
void journal_set_tap(struct journal *j, journal_tap tap, void *arg);
/* [owner] Before a group that does again what a record of another node says: it gets that record's
 * time, and the tap does not see it. In the history it counts `bytes`, frame and payload; 0: what is done is
 * not that record, or not all of it (also within the group). */
void journal_follow(struct journal *j, uint64_t hlc, uint64_t bytes);
/* [owner] Outside records, or in the tap: which history the data are of as they stand, and at which offset
 * (NULL: none). It is written before the next record that counts, and at the next turn; snapshots take it
 * along. A record that does not count ends it, as with a tap that is not there. */
void journal_set_history(struct journal *j, const struct journal_history *h);
/* [owner] What is known of it; at first what a load has found. */
struct journal_track journal_known(const struct journal *j);
/* [owner] At the end of a turn's work, outside groups: hands over what it made. */
void journal_turn(struct journal *j);
/* [owner] Replies to records up to this LSN may leave; UINT64_MAX while no journal is open. */
uint64_t journal_releasable(struct journal *j, uint64_t now_ns);
/* [owner] Over 64 MiB, or more memory than journal_set_hold says, are not durable (not written, with JOURNAL_NO): writers should
 * wait. */
bool journal_full(const struct journal *j);
/* [any] Cheap. */
bool journal_failed(const struct journal *j);
/* [owner] Records made so far end their segment, with a seal; later ones go to a new one. *lsn: the
 * last of the former. Asynchronous. Should it fail, the boundary may fall elsewhere: a reader skips
 * what its base holds by LSN. VS_INVALID when not open. */
enum vs_status journal_rotate(struct journal *j, uint64_t *lsn);
/* [owner] `everysec`: what is not synced takes so much memory before it is synced earlier; and so much before journal_full.
 * SIZE_MAX, as at first: any. */
void journal_set_hold(struct journal *j, size_t bytes, size_t full);
void journal_set_fsync(struct journal *j, enum journal_fsync f);
void journal_read_status(struct journal *j, struct journal_status *out);

/* [any] A number for a new base's file that no file has, see journal_base_name. Each call gives
 * another. */
uint64_t journal_next_seq(struct journal *j);
/* [any, one at a time; waits for the disk] The base file `seq`, which is in the journal's directory
 * and durable with all that it names, holds everything up to record `lsn`: the manifest names it,
 * and drops the older base and the segments it covers, whose files are removed. After VS_IO with
 * err->op VFS_OP_SYNCDIR the manifest on disk may name either base: both must be kept until a later
 * call succeeds. VS_CANCELLED: the journal is not open, nothing has changed. */
enum vs_status journal_set_base(struct journal *j, uint64_t seq, uint64_t lsn, struct vfs_error *err);

/* [owner] Writes, syncs and seals what there is, ends the threads. VS_IO when not all of it could
 * be: what is missing is lost then. It counts on as one that is not open, and may be opened again:
 * with the manifest that this leaves in `*m` (may be NULL; else released first) as long as no record
 * has been made since, later with an empty one. */
enum vs_status journal_close(struct journal *j, struct journal_manifest *m);
/* Closes. NULL is fine. */
void journal_free(struct journal *j);

/* ---- loading ---- */

/* Applies a journal's records to a store, in slices, verifying every byte of them. */
struct journal_loader;

struct journal_loaded {
    uint64_t lsn, hlc, epoch;    /* of the last record, applied or skipped; lsn at least after_lsn */
    uint64_t records, commands;  /* applied */
    uint64_t bytes, total;       /* read, of how many */
    bool sealed;                 /* it ended with a clean shutdown */
    size_t left_out;             /* segments behind a gap, or behind what is lost: not applied */
    uint64_t left_first;         /* LSN of their first record */
    struct journal_track track;  /* the history of the data */
    bool cut;                    /* a torn tail was cut aside: */
    uint64_t cut_at, cut_bytes;
    char cut_file[256];
    char cut_why[256];
};

/* [owner] `m` is borrowed and changed: when loading is done its last segment is closed where the
 * records end, as journal_open wants it. Records up to `after_lsn` are in the store already, which is of the
 * history `track`.
 * VS_CORRUPT: a file is not there, or records between are missing. Of a partial journal the segments
 * behind a gap are left out instead. */
enum vs_status journal_loader_open(const struct vfs *v, const char *dir, const char *name,
                                   struct journal_manifest *m, uint64_t after_lsn,
                                   const struct journal_track *track, bool truncated_ok,
                                   struct journal_loader **out, struct buf *why);
/* [owner] Applies records until `until_ns` of the monotonic clock, or all (*done). VS_CORRUPT, VS_IO,
 * VS_NOMEM: the store holds a part, `why` says file, offset, reason and what repairs it. */
enum vs_status journal_loader_step(struct journal_loader *l, struct vs_store *s, uint64_t until_ns,
                                   bool *done, struct buf *why);
const struct journal_loaded *journal_loader_result(const struct journal_loader *l);
/* The segments left out, for journal_put_aside; borrowed. */
const struct journal_manifest *journal_loader_left(const struct journal_loader *l);
/* Segments that the stored manifest does not name get other names, "<segment>.cut-0", so that nothing
 * takes them for a part of it, or for rubbish. */
void journal_put_aside(const struct vfs *v, const char *dir, const char *name,
                       const struct journal_manifest *m);
/* Bytes read; *total of how many. */
uint64_t journal_loader_bytes(const struct journal_loader *l, uint64_t *total);
void journal_loader_free(struct journal_loader *l);

#endif
