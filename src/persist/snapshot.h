/* Snapshots: the store as of one moment, in files.
 *
 *     dump.rdb                 the manifest (snapshot_manifest.h)
 *     dump.rdb.d/<id>-<k>.seg  segment files (segment.h): for a partition of 1024 slots or more
 *                                G  its graph, sequence numbers, attributes: one file
 *                                V  vectors and ids of up to 64 chunks: a file each
 *                              small partitions share packs
 *
 * SAVING needs no fork: the store hands out its partitions as they stood at the cut (vs_cut_begin),
 * one thread of ours reads and writes them. What has not changed since an earlier snapshot is not
 * written again: a whole partition without a change, or a V file none of whose chunks got a record.
 * Everything is written under new names, synced, read back; then the manifest takes the place of the
 * older one, in one rename. Links go first: while they are not written, linking copies aside what it
 * changes, or waits.
 *
 * LOADING runs on a thread of its own, too, so that its caller can answer meanwhile. It checks
 * headers, tables and all blocks but those of vectors and links, which are checked when first
 * touched; then partitions are built over the mapped files.
 *
 * Threads: all functions [owner] of the store. */
#ifndef PERSIST_SNAPSHOT_H
#define PERSIST_SNAPSHOT_H

#include "persist/scrub.h"
#include "persist/snapshot_manifest.h"
#include "persist/snapshot_only.h"

/* Behind `dbfilename`: the directory of segment files. */
#define SNAPSHOT_DIR_SUFFIX ".d"
#define SNAPSHOT_SEGMENT_SUFFIX ".seg"

/* ---- saving ---- */

struct snapshot_save;

struct snapshot_save_options {
    const struct vfs *vfs;      /* borrowed until snapshot_save_end */
    const char *segments;       /* directory; made when missing */
    const char *manifest;       /* file; replaced */
    uint64_t id;                /* that no other snapshot has; 0: a random one */
    uint64_t lsn, epoch, hlc;   /* of the last record before the cut, which is now */
    struct journal_track track; /* the history that the data are of; zeroed: it is not said */
    /* On the thread, when the manifest is durable: the last step. May be NULL. When it fails the
     * manifest is removed, so it must be one whose name is new. */
    enum vs_status (*commit)(void *arg, struct vfs_error *err);
    void *commit_arg;
    void (*wake)(void *arg);    /* any thread: it has ended; may be NULL */
    void *wake_arg;
    /* When all is durable the written vectors are mapped, and stand in for the store's memory
     * (vs_map_part). NULL: they are not; else it gets references. */
    struct segment_set *set;
    struct scrub *scrub;        /* small partitions in files that it has found bad are written anew; may be NULL */
    /* A copy for somebody else: `vfs` cannot be read from (stream.h), all of the store is written, and nothing of
     * it is told to the store. Files of partitions that are not open are copied from here; NULL: an
     * ordinary snapshot. */
    const struct vfs *copy_from;
    const char *copy_segments;  /* their directory */
    const struct snapshot_only *only; /* of a copy: one partition alone; NULL: all. Borrowed */
};
/* The cut is this moment; everything else follows in vs_poll and on the thread. VS_EXISTS: a cut
 * is running, or is not over yet. VS_NOMEM. */
enum vs_status snapshot_save_start(const struct snapshot_save_options *o, struct vs_store *store,
                                   struct snapshot_save **out);
/* Gives it up; it ends soon. */
void snapshot_save_abort(struct snapshot_save *s);
/* True when it has ended. To be called every turn: it ends a cut that has gone wrong. */
bool snapshot_save_poll(struct snapshot_save *s);

struct snapshot_progress {
    uint64_t parts, parts_total;  /* total: 0 while not known */
    uint64_t written;             /* bytes */
};
void snapshot_save_progress(struct snapshot_save *s, struct snapshot_progress *out);
/* When it has ended and failed: whether its manifest may be found all the same after a power cut
 * (a directory could not be synced). Its files are left then. */
bool snapshot_save_uncertain(const struct snapshot_save *s);
/* When it has ended: the result, and *manifest (zeroed) what was stored, or `why` (may be NULL)
 * not. What has been saved of each partition is told to the store. Frees `s`. */
enum vs_status snapshot_save_end(struct snapshot_save *s, struct snapshot_manifest *manifest,
                                 struct buf *why);

/* ---- loading ---- */

struct snapshot_load;

struct snapshot_load_options {
    const struct vfs *vfs;      /* its context must outlive the store */
    const char *segments, *manifest;
    struct segment_set *set;    /* gets a reference */
    bool verify;                /* check every block and every digest first */
    size_t open_max;            /* so many partitions are opened, and the pinned ones; 0, verify: all */
    bool passing;               /* the files will not be there any more: the store is not told what they hold; needs open_max 0 */
};
/* VS_NOTFOUND: no such manifest. VS_CORRUPT, VS_IO, VS_NOMEM: `why` says what and where. */
enum vs_status snapshot_load_start(const struct snapshot_load_options *o, struct vs_store *store,
                                   struct snapshot_load **out, struct buf *why);
/* Goes on until `until_ns` or the end. A failure leaves a part of the indexes in the store. */
enum vs_status snapshot_load_step(struct snapshot_load *l, uint64_t until_ns, bool *done,
                                  struct buf *why);
const struct snapshot_manifest *snapshot_load_manifest(const struct snapshot_load *l);
/* Bytes gone through, of how many. */
uint64_t snapshot_load_bytes(const struct snapshot_load *l, uint64_t *total);
/* NULL is fine. Stops it when it runs. */
void snapshot_load_free(struct snapshot_load *l);

/* Reads a copy of the one partition `only`, of an index of these options, and calls `build` with it as vs_opener.open does.
 * The files may go then. VS_CORRUPT, VS_IO, VS_NOMEM, or what `build` answers. Any thread. */
enum vs_status snapshot_read_part(const struct vfs *v, const char *segments, const char *manifest,
                                  const struct snapshot_only *only, const struct vs_index_options *options,
                                  enum vs_status (*build)(void *arg, const struct vs_part_image *image,
                                                          struct buf *why),
                                  void *arg, struct buf *why);
/* Reads everything a snapshot consists of and checks sums and structure of every file, without a
 * store. */
enum vs_status snapshot_verify(const struct vfs *v, const char *segments,
                               const struct snapshot_manifest *m, struct buf *why);

/* ---- partitions that are not open: what persist gives the store as its vs_opener ---- */

enum vs_status snapshot_open_part(const struct vfs *v, const char *segments,
                                  struct segment_set *set, const struct vs_opening *o,
                                  enum vs_status (*build)(void *arg,
                                                          const struct vs_part_image *image,
                                                          struct buf *why),
                                  void *arg, struct buf *why);
struct vs_saved *snapshot_saved_copy(const struct vs_saved *saved);
bool snapshot_saved_sound(const struct vs_saved *saved, struct scrub *scrub);

/* ---- files ---- */

/* Removes segment files in `segments` that none of the manifests names (an entry may be NULL); what
 * cannot be removed is logged and left. */
void snapshot_collect(const struct vfs *v, const char *segments,
                      const struct snapshot_manifest *const *keep, size_t n);
/* "<manifest>.d" */
char *snapshot_segments_path(const char *dir, const char *dbfilename);

#endif
