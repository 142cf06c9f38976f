/* Effects as commands: how a change of the store is written into the journal, and read again.
 *
 *     CREATE      VPARTITION CREATE k DIM d METRIC COSINE|L2|IP TYPE HNSW|FLAT M m EF e <Q8|NOQUANT|F16|BF16|Q4|BIN>
 *                 ORIGINALS F32|F16|NONE PARTITIONS n STRATEGY HASH VNODES v SEED s MAP ORIGINALS|CODES|ALL [REDUCE n] [STRICT] [TRANSIENT]
 *     REMOVE      DEL k
 *     RENAME      RENAME k to
 *     FLUSH       FLUSHDB
 *     DROP        VPARTITION DROP k name
 *     ADD         VADD k FP32 blob id [SETATTR attributes] [PXAT milliseconds]
 *     DELETE      VREM k id
 *     ATTRIBUTES  VSETATTR k id attributes
 *     PIN         VPARTITION PIN|UNPIN k name
 *     DEADLINE    VPEXPIREAT k milliseconds id, or VPERSIST k id
 *     KEY_DEADLINE  PEXPIREAT k milliseconds, or PERSIST k
 *     RESTORE     RESTORE k milliseconds bytes ABSTTL
 *     PIECE       PIECE k offset total bytes: of what a RESTORE without bytes is about, later
 *     SWAP        SWAPDB a b
 *     (database)  SELECT n
 *
 * each as a RESP2 array of bulk strings. They are commands of the server, but for PIECE, so that a journal can be
 * sent to one; but what is read here is exactly what is written here, word for word: anything else
 * is damage. Any thread. */
#ifndef PERSIST_EFFECT_H
#define PERSIST_EFFECT_H

#include "base/buf.h"
#include "resp/resp.h"
#include "vecstore.h"

/* Arguments of the longest command. */
#define EFFECT_ARGS_MAX 32
/* What the encoding of SELECT takes at most. */
#define EFFECT_SELECT_MAX 48

/* What effect_encode appends takes at most so many bytes. */
size_t effect_size(const struct vs_effect *e);
/* Appends the command; `e->db` is not part of it. The buffer grows as buf_reserve does: with room
 * made for effect_size, not at all. */
void effect_encode(const struct vs_effect *e, struct buf *out);
/* Appends SELECT. */
void effect_encode_select(unsigned db, struct buf *out);

/* Memory that a parsed effect points into, beside its arguments. Zero-initialised is valid. */
struct effect_scratch {
    float *vector;
    size_t vector_cap;  /* floats */
    struct vs_index_options options;
};
void effect_scratch_release(struct effect_scratch *x);

/* The effect of one command. `*db` is the database it is in. VS_OK: `out` points into `argv` and
 * `x`, until either changes. VS_NOTFOUND: it was SELECT, *db is the new one (below `databases`) and
 * there is no effect. VS_CORRUPT: not a command as written here, `why` (may be NULL) says what;
 * VS_NOMEM. Numbers are in range, lengths within their maxima; that floats are finite and options
 * agree with each other is the store's to check. */
enum vs_status effect_parse(const struct resp_arg *argv, size_t argc, unsigned databases,
                            unsigned *db, struct effect_scratch *x, struct vs_effect *out,
                            struct buf *why);

#endif
