/* The journal's manifest: which files make up the journal, in order.
 *
 *     epoch 7
 *     file appendonly.aof.3.base.rdb seq 3 type b lsn 1000
 *     file appendonly.aof.4.incr.aof seq 4 type i first 1001 end 18231 last 1044
 *     file appendonly.aof.5.incr.aof seq 5 type i first 1045
 *     sum 91ab34cd00ef1122
 *
 * At most one base, first: a snapshot's manifest that holds everything up to record `lsn`. Then the
 * segments, whose records follow each other. A closed one says where its trusted bytes end and which
 * record is its last; the last one may be open. `epoch` is that of the process that stored it, `sum`
 * XXH3 of all bytes before its line. The text is exact: what would not be written so is refused.
 *
 * PARTIAL. A journal that was switched off while the process ran, and perhaps on again, is not all
 * there is until it gets its next base:
 *
 *     epoch 8
 *     partial 5f0c1d22a7000000 91ab34cd00000007
 *     file appendonly.aof.4.incr.aof seq 4 type i first 1 end 18231 last 1044
 *     file appendonly.aof.5.incr.aof seq 5 type i first 2001 gap
 *
 * Records 1045 to 2000 were made while it was off: `gap`. Two ids: snapshots whose id begins as the
 * first (JOURNAL_LIFE_BITS) were written by the process that stored this, and the snapshot of the
 * second (zeros: there was none) is one that it had loaded. They are of the same history, so their
 * record numbers can be compared with those of the journal.
 *
 * UNSURE. `end 18231 last 1044 sure 9000 900`: what stands behind byte 9000 of this closed segment,
 * record 900, was written (`appendfsync no`), and then a sync failed. It may not be on disk.
 *
 * Whoever changes a manifest makes and syncs new files first, their directory next, then stores the
 * manifest, then removes the files it no longer names. */
#ifndef PERSIST_JOURNAL_MANIFEST_H
#define PERSIST_JOURNAL_MANIFEST_H

#include "base/buf.h"
#include "persist/vfs_path.h"

#define JOURNAL_BASE_SUFFIX ".base.rdb"
#define JOURNAL_SEGMENT_SUFFIX ".incr.aof"
#define JOURNAL_MANIFEST_SUFFIX ".manifest"
#define JOURNAL_MANIFEST_MAX (16u << 20)  /* bytes */
#define JOURNAL_LIFE_BITS 40  /* of an id, from above, are a process's; the others count */

struct journal_file {
    uint64_t seq;
    uint64_t first;  /* LSN of the first record it holds, or will hold */
    uint64_t end;    /* closed: trusted bytes */
    uint64_t last;   /* closed: LSN of its last record, first - 1 when it holds none */
    bool closed;
    bool unsure;     /* closed: behind sure_end, record sure_last, it may not be on disk */
    uint64_t sure_end, sure_last;
    /* Not in the text. Closed by a load, from bytes that may be in memory alone: */
    bool unsynced;
    uint64_t durable_end, durable_last;  /* up to here it says itself that it was synced */
};

/* Zero-initialised is valid: nothing yet. */
struct journal_manifest {
    uint64_t epoch;
    bool partial;
    uint64_t life, snapshot;  /* partial: ids of snapshots of the same history, see above */
    bool has_base;
    uint64_t base_seq, base_lsn;
    struct journal_file *segment;
    size_t count, cap;
};

void journal_manifest_release(struct journal_manifest *m);
/* `to` is what it was before on failure (VS_NOMEM). */
enum vs_status journal_manifest_copy(const struct journal_manifest *m, struct journal_manifest *to);
enum vs_status journal_manifest_add(struct journal_manifest *m, const struct journal_file *f);
/* The highest number in use, 0: none. */
uint64_t journal_manifest_last_seq(const struct journal_manifest *m);
/* Are records missing before segment i? */
bool journal_manifest_gap(const struct journal_manifest *m, size_t i);
/* Do base and segments hold everything from the first record on, without a gap? False for a journal
 * that was begun at run time and has not got its base yet. */
bool journal_manifest_complete(const struct journal_manifest *m);
/* Is the snapshot of this id of the same history? Of a partial one. */
bool journal_manifest_knows(const struct journal_manifest *m, uint64_t snapshot);
/* How far base and segments reach before the first gap. False: there is nothing before it. Segments
 * that are still open count as empty. */
bool journal_manifest_reach(const struct journal_manifest *m, uint64_t *lsn);
/* So many segments, from the first on, can be applied to data that end with record `lsn`; before the
 * next one there is a gap. */
size_t journal_manifest_joined(const struct journal_manifest *m, uint64_t lsn);

/* Names, relative to the journal's directory; `name` is `appendfilename`. */
void journal_base_name(const char *name, uint64_t seq, struct buf *out);
void journal_segment_name(const char *name, uint64_t seq, struct buf *out);
/* The number in a name of that form, 0: it is none. */
uint64_t journal_name_seq(const char *name, const char *file, const char *suffix);
/* "<dir>/<file>", NUL-terminated, for the caller to free. */
char *journal_path(const char *dir, const char *file);
char *journal_segment_path(const char *dir, const char *name, uint64_t seq);
char *journal_manifest_path(const char *dir, const char *name);

void journal_manifest_write(const struct journal_manifest *m, const char *name, struct buf *out);
/* Into a zeroed `out`. VS_CORRUPT: `why` says in which line what is wrong. */
enum vs_status journal_manifest_parse(const char *text, size_t len, const char *name,
                                      struct journal_manifest *out, struct buf *why);
/* Reads the manifest `name` in `dir` into a zeroed `out`. VS_NOTFOUND: there is no journal. But a
 * directory without a manifest and with a segment that holds more than a header is VS_CORRUPT. `why`
 * names the file and how to repair it. */
enum vs_status journal_manifest_load(const struct vfs *v, const char *dir, const char *name,
                                     struct journal_manifest *out, struct buf *why);
/* Durable on VS_OK. When it fails with err->op VFS_OP_SYNCDIR, either text may be found later. */
enum vs_status journal_manifest_store(const struct vfs *v, const char *dir, const char *name,
                                      const struct journal_manifest *m, struct vfs_error *err);

#endif
