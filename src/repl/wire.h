/* The stream between primary and replica: frames, byte for byte those of the journal (journal_frame.h),
 * sealed with the history's nonce. Their field `durable` is the offset of the frame's first byte.
 *
 *     data:     1 DATA, 2 BATCH    records; they alone count in the offset
 *     control:  16 and above       between them; their offset is that of the data frame to come
 *
 * Whoever reads compares offset and LSN with its own: a frame that is altered, left out, sent twice or
 * moved is none. Pure functions; any thread. The tables are in docs/replication.md. */
#ifndef REPL_WIRE_H
#define REPL_WIRE_H

#include "base/buf.h"
#include "persist/journal_frame.h"

#define WIRE_FRAME JOURNAL_FRAME
#define WIRE_CAPA "vecstore-1"         /* the version of the stream, as the handshake names it */
#define WIRE_CONTROL_MAX (2u << 20)    /* bytes of a control frame's payload */
#define WIRE_BLOCK (1u << 20)          /* of a file, in a frame, at most */
#define WIRE_NAME_MAX 64               /* of a file's name */

enum wire_type {
    WIRE_DATA = JOURNAL_DATA,
    WIRE_BATCH = JOURNAL_BATCH,
    WIRE_PING = 16,     /* a sign of life */
    WIRE_GETACK,        /* acknowledge when all before it is applied */
    WIRE_SNAP_FILE,     /* a file of the snapshot begins: its name */
    WIRE_SNAP_DATA,     /* bytes of it. Their sum is seeded with the field HLC: a block has the sum of its file */
    WIRE_SNAP_ZSTD,     /* u32 how many bytes, then these compressed */
    WIRE_SNAP_CLOSE,    /* u64 how many bytes the file has. Of the one named "manifest": the end */
    WIRE_SNAP_FAILED,   /* why the snapshot cannot go on; the last frame */
    WIRE_DIGEST,        /* of some partitions, as of this offset (digests.c) */
    WIRE_PART,          /* one partition follows as a snapshot does: what it is at this offset (digests.c) */
    WIRE_TYPES
};

static inline bool wire_is_data(uint8_t type)
{
    return type == WIRE_DATA || type == WIRE_BATCH;
}

/* Fills in what is left of a frame with its payload behind it. */
static inline void wire_seal(uint8_t *frame, uint64_t nonce, uint64_t offset)
{
    journal_frame_seal(frame, nonce, offset);
}

struct wire_place {        /* where in the stream */
    uint64_t nonce, offset, lsn;
};

/* Appends a control frame. */
void wire_control(struct buf *out, enum wire_type type, const struct wire_place *at,
                  const void *payload, size_t len);
/* The head alone of a SNAP_DATA frame, of bytes whose sum (hash_bytes with this seed) is known. */
void wire_data_head(uint8_t out[WIRE_FRAME], const struct wire_place *at, size_t len, uint64_t seed,
                    uint64_t sum);
/* Looks at a frame's first 64 bytes. NULL, or what is wrong with it; with NULL out->bytes may be
 * believed. `durable` of `out` is the offset. */
const char *wire_head(const uint8_t in[WIRE_FRAME], uint64_t nonce, struct journal_frame *out);
/* The whole of it, at its place: NULL, or what is wrong. */
const char *wire_check(const struct journal_frame *f, const uint8_t *payload,
                       const struct wire_place *at);
/* Which partition. */
struct part_name {
    unsigned db;
    uint32_t number;
    size_t key_len;
    char *key;                     /* NULL: none */
};
/* What a partition is at some moment: an entry of digests, both ways (digests.c). */
#define WIRE_ENTRY 48              /* bytes before the key */
struct digest_entry {
    struct part_name part;         /* borrows the key */
    uint64_t sequence, records, linked, graph;
    size_t bytes;                  /* of it */
};
/* False: there is none of these bytes. */
bool digest_read(const uint8_t *payload, size_t len, struct digest_entry *out);
void digest_put(struct buf *out, const struct digest_entry *e);

/* May a file of a snapshot be called so? */
bool wire_name_good(const char *name, size_t len);

#endif
