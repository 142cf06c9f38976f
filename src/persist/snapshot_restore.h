/* From a manifest and mapped files to indexes: what loading does for one index, and what the check
 * of a snapshot without a store has in common with it.
 *
 * One thread at a time. */
#ifndef PERSIST_SNAPSHOT_RESTORE_H
#define PERSIST_SNAPSHOT_RESTORE_H

#include "index/graph_cut.h"
#include "persist/snapshot_int.h"

/* The files of a manifest, mapped as they are wanted. */
struct restore_files {
    const struct vfs *vfs;           /* borrowed, as the next two */
    const char *segments;
    const struct snapshot_manifest *manifest;
    struct segment_set *set;
    struct region **region;          /* one a file; NULL: not mapped yet */
    struct saved_file **saved;
    bool passing;                    /* they are to be read once: partitions are not told what they hold */
};
enum vs_status restore_files_init(struct restore_files *f, const struct vfs *v,
                                  const char *segments, const struct snapshot_manifest *m,
                                  struct segment_set *set);
void restore_files_release(struct restore_files *f);
/* Maps file `i`; nothing when it is. */
enum vs_status restore_map(struct restore_files *f, uint32_t i, struct buf *why);
/* The mapping goes, what is known of the file stays. */
void restore_unmap(struct restore_files *f, uint32_t i);

/* A partition's parts, checked as far as they can be without a graph. */
struct restore_part {
    struct vs_part_image image;
    struct graph_state state;
    struct graph_batch *batches;
    struct graph_tomb *tombs;
    uint32_t *words;                 /* dead nodes */
    struct vs_part_group *groups;
};
/* `index` gives the shape. VS_CORRUPT, VS_NOMEM, VS_IO. Release in any case. */
enum vs_status restore_part(struct restore_files *f, const struct snapshot_index *index,
                            const struct snapshot_part *p, struct restore_part *out,
                            struct buf *why);
void restore_part_release(struct restore_part *p);

/* Builds index `i` of the manifest aside; *bytes grows by what has been gone through. *open (may be
 * NULL) is how many partitions may be open, and falls: the others are left closed, but pinned ones. */
enum vs_status restore_index(struct restore_files *f, struct vs_store *store, uint32_t i,
                             size_t *open, _Atomic uint64_t *bytes, struct vs_index **out, struct buf *why);

#endif
