/* The layout of a dump: see dump.c, which writes it; dump_load.c reads it. */
#ifndef STORE_DUMP_INT_H
#define STORE_DUMP_INT_H

#include "base/buf.h"
#include "base/hash.h"
#include "store/store_int.h"

#define DUMP_MAGIC "VSDUMP\1\0"
#define DUMP_BLOCK ((size_t)65536)   /* of the sum */
#define DUMP_NONE  0xFFFFFFFFu
/* Between looks at the clock: elements, and bytes of them. A vector may have 256 KiB, and writing to new pages takes longest. */
#define DUMP_LOOK_ELEMENTS 16
#define DUMP_LOOK_BYTES    4096

struct dump_header {
    uint32_t dim, m, ef, vnodes, partitions, input_dim, present;
    uint8_t metric, type, originals, structure, strategy, map, keep_empty, strict;
    uint32_t reserved;
    uint64_t seed, reserved2;
};
_Static_assert(sizeof(struct dump_header) == 56, "the header of a dump");
#define DUMP_HEADER (8 + sizeof(struct dump_header))

struct part_head {
    uint32_t number, pinned;
    uint64_t elements;
};

/* Where the elements begin. */
static inline size_t dump_heads_end(uint32_t parts)
{
    return DUMP_HEADER + parts * sizeof(struct part_head);
}

static inline uint64_t dump_sum(uint64_t sum, const char *data, size_t len)
{
    return hash_bytes(data, len, sum + len);
}

/* Does an element stand as its vector? */
static inline bool dump_as_vector(const struct vs_index_options *o)
{
    return o->type == VEC_F32 || o->originals == VEC_ORIG_F32;
}

static inline size_t dump_vector_bytes(const struct vs_index_options *o, const struct columns_shape *shape)
{
    return dump_as_vector(o) ? o->dim * sizeof(float) : shape->codec.row_bytes + shape->original_bytes;
}

/* Sums all whole blocks of `data` so far, from *at on; false: time is up. */
bool dump_sum_some(uint64_t *sum, size_t *at, const char *data, size_t len, uint64_t until_ns);
/* All of an index that is open, at once. VS_NOMEM, VS_CORRUPT. */
enum vs_status dump_at_once(const struct vs_index *index, struct buf *out);

#endif
