/* Insides of segment files, shared by segment_*.c alone. */
#ifndef PERSIST_SEGMENT_INT_H
#define PERSIST_SEGMENT_INT_H

#include "persist/segment.h"

/* What header and footer say. */
struct segment_layout {
    uint64_t size, end, blocks, file_id, footer_sum, snapshot_id, cut;
    uint32_t block;
};

/* Reads and checks header, footer and table against each other, and against `expect` unless that is
 * NULL. *table: the sums, host order, to be freed with mem_free. `why` gets a sentence on
 * VS_CORRUPT, VS_IO, VS_NOMEM. */
enum vs_status segment_read_layout(const struct vfs_file *f, const struct segment_sums *expect,
                                   struct segment_layout *out, uint64_t **table,
                                   struct buf *why);
/* Bytes of block i. */
static inline uint64_t segment_block_bytes(const struct segment_layout *l, uint64_t i)
{
    uint64_t at = i * l->block;
    return l->end - at < l->block ? l->end - at : l->block;
}

#endif
