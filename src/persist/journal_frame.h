/* Segments of a journal, byte by byte. All integers are little-endian, all sums XXH3-64.
 *
 *     header, 64 bytes                     record: frame, 64 bytes, then the payload
 *      0  8  "VSJOURN1"                     0  4  "VSR1"
 *      8  u32  version, 2                   4  u32  bytes of the payload, at most 1 GiB
 *     12  u32  bytes of the header, 64      8  u8   type
 *     16  u64  number of the segment        9  u8   flags: 1 it counts in the history
 *     24  u64  LSN of its first record     10  u16  database that the payload begins in
 *     32  u64  epoch                       12  u32  commands in the payload
 *     40  u64  HLC when it was made        16  u64  epoch
 *     48  u64  nonce, random               24  u64  LSN (others than records: that of the one before)
 *     56  u64  sum of 0..55                32  u64  HLC
 *                                          40  u64  durable: the highest LSN known to be synced
 *                                                   when this was written
 *                                          48  u64  sum of 0..47, seed: nonce
 *                                          56  u64  sum of the payload, seed: nonce ^ LSN
 *                                          64       payload: commands, see effect.h
 *
 * Every bit lies under a sum. The nonce keeps bytes of another file, or of this place's former
 * life, from verifying. The frame has a sum of its own so that a length is believed before it is
 * used.
 *
 * HISTORY. Replication (src/repl) counts the bytes of records in a line that several nodes share. A
 * frame of that type says which line the data are of, and at which offset they stand there; each
 * record behind it that counts (the flag) moves that by its frame and payload. Behind a record that
 * does not count nothing is known before the next such frame. So whatever prefix of a journal is left
 * says what may be claimed of it. (Version 1 had neither.)
 *
 * Pure functions; any thread. */
#ifndef PERSIST_JOURNAL_FRAME_H
#define PERSIST_JOURNAL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_HEADER      64
#define JOURNAL_FRAME       64
#define JOURNAL_MAGIC       "VSR1"
#define JOURNAL_PAYLOAD_MAX (1u << 30)
/* Where the fields are that the writer fills in. */
#define JOURNAL_FRAME_DURABLE 40
#define JOURNAL_FRAME_SUM     48
#define JOURNAL_FRAME_PAYLOAD 56

enum journal_type {
    JOURNAL_DATA = 1,  /* one command */
    JOURNAL_BATCH,     /* several, all or none */
    JOURNAL_SEAL,      /* the end of a segment, written at rotation and shutdown */
    JOURNAL_HISTORY    /* a struct journal_history */
};

#define JOURNAL_COUNTED 1u  /* a flag of records */
#define JOURNAL_HISTORY_BYTES 64

/* Payload: 0 id, 20 second id, 40 second, 48 nonce, 56 offset. */
struct journal_history {
    uint8_t id[20], id2[20];  /* zeros: none */
    uint64_t second;          /* up to this offset the line is also id2; UINT64_MAX: there is none */
    uint64_t nonce, offset;
};

struct journal_header {
    uint64_t seq, first, epoch, hlc, nonce;
};

struct journal_frame {
    uint32_t bytes;
    uint8_t type, flags;
    uint16_t db;
    uint32_t commands;
    uint64_t epoch, lsn, hlc, durable, payload_sum;
};

void journal_header_put(const struct journal_header *h, uint8_t out[JOURNAL_HEADER]);
/* NULL, or what is wrong with it. */
const char *journal_header_get(const uint8_t in[JOURNAL_HEADER], struct journal_header *out);

/* Everything but durable and the sums. */
void journal_frame_put(const struct journal_frame *f, uint8_t out[JOURNAL_FRAME]);
/* The rest, of a frame with its payload behind it. */
void journal_frame_seal(uint8_t *frame, uint64_t nonce, uint64_t durable);
/* The fields as they stand there; nothing is checked. */
struct journal_frame journal_frame_fields(const uint8_t in[JOURNAL_FRAME]);
/* NULL, or what is wrong with the frame; the payload is not looked at. */
const char *journal_frame_get(const uint8_t in[JOURNAL_FRAME], uint64_t nonce,
                              struct journal_frame *out);
bool journal_payload_good(const struct journal_frame *f, uint64_t nonce, const void *payload);

void journal_history_put(const struct journal_history *h, uint8_t out[JOURNAL_HISTORY_BYTES]);
/* False: it says that none is known. */
bool journal_history_get(const uint8_t in[JOURNAL_HISTORY_BYTES], struct journal_history *out);

/* What is known of the data while records are gone through. Zeroed: nothing. */
struct journal_track {
    bool known;
    struct journal_history at;  /* offset: behind the last record */
};
/* A frame that has been read, and (of a history's) its payload. */
void journal_track_frame(struct journal_track *t, const struct journal_frame *f, const void *payload);

#endif
