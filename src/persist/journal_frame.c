#include "persist/journal_frame.h"

#include <string.h>

#include "base/hash.h"
#include "persist/le.h"

#define HEADER_MAGIC "VSJOURN1"
#define VERSION      2

void journal_header_put(const struct journal_header *h, uint8_t out[JOURNAL_HEADER])
{
    memcpy(out, HEADER_MAGIC, 8);
    le32_put(out + 8, VERSION);
    le32_put(out + 12, JOURNAL_HEADER);
    le64_put(out + 16, h->seq);
    le64_put(out + 24, h->first);
    le64_put(out + 32, h->epoch);
    le64_put(out + 40, h->hlc);
    le64_put(out + 48, h->nonce);
    le64_put(out + 56, hash_bytes(out, 56, 0));
}

const char *journal_header_get(const uint8_t in[JOURNAL_HEADER], struct journal_header *out)
{
    if (memcmp(in, HEADER_MAGIC, 8) != 0)
        return "it does not begin as a segment of a journal does";
    if (le64(in + 56) != hash_bytes(in, 56, 0))
        return "the header's checksum does not match";
    if (le32(in + 8) < 1 || le32(in + 8) > VERSION)
        return "its format is of a version that is not known";
    if (le32(in + 12) != JOURNAL_HEADER)
        return "its header is not 64 bytes long";
    *out = (struct journal_header){le64(in + 16), le64(in + 24), le64(in + 32), le64(in + 40),
                                   le64(in + 48)};
    return NULL;
}

void journal_frame_put(const struct journal_frame *f, uint8_t out[JOURNAL_FRAME])
{
    memset(out, 0, JOURNAL_FRAME);
    memcpy(out, JOURNAL_MAGIC, 4);
    le32_put(out + 4, f->bytes);
    out[8] = f->type;
    out[9] = f->flags;
    le16_put(out + 10, f->db);
    le32_put(out + 12, f->commands);
    le64_put(out + 16, f->epoch);
    le64_put(out + 24, f->lsn);
    le64_put(out + 32, f->hlc);
}

void journal_frame_seal(uint8_t *frame, uint64_t nonce, uint64_t durable)
{
    le64_put(frame + JOURNAL_FRAME_DURABLE, durable);
    le64_put(frame + JOURNAL_FRAME_SUM, hash_bytes(frame, JOURNAL_FRAME_SUM, nonce));
    le64_put(frame + JOURNAL_FRAME_PAYLOAD,
             hash_bytes(frame + JOURNAL_FRAME, le32(frame + 4), nonce ^ le64(frame + 24)));
}

struct journal_frame journal_frame_fields(const uint8_t in[JOURNAL_FRAME])
{
    return (struct journal_frame){
        .bytes = le32(in + 4),
        .type = in[8],
        .flags = in[9],
        .db = le16(in + 10),
        .commands = le32(in + 12),
        .epoch = le64(in + 16),
        .lsn = le64(in + 24),
        .hlc = le64(in + 32),
        .durable = le64(in + JOURNAL_FRAME_DURABLE),
        .payload_sum = le64(in + JOURNAL_FRAME_PAYLOAD),
    };
}

const char *journal_frame_get(const uint8_t in[JOURNAL_FRAME], uint64_t nonce,
                              struct journal_frame *out)
{
    if (memcmp(in, JOURNAL_MAGIC, 4) != 0)
        return "there is no record where one should begin";
    if (le64(in + JOURNAL_FRAME_SUM) != hash_bytes(in, JOURNAL_FRAME_SUM, nonce))
        return "the checksum of a record's frame does not match";
    struct journal_frame f = journal_frame_fields(in);
    bool data = f.type == JOURNAL_DATA || f.type == JOURNAL_BATCH;
    if (f.type < JOURNAL_DATA || f.type > JOURNAL_HISTORY || f.flags > (data ? JOURNAL_COUNTED : 0))
        return "the record's type is not known";
    if (f.bytes > JOURNAL_PAYLOAD_MAX)
        return "the record is longer than a record may be";
    if ((f.type == JOURNAL_SEAL) != (f.bytes == 0) || data != (f.commands != 0) ||
        (f.type == JOURNAL_DATA && f.commands != 1) ||
        (f.type == JOURNAL_HISTORY && f.bytes != JOURNAL_HISTORY_BYTES))
        return "the record's length does not fit its type";
    *out = f;
    return NULL;
}

bool journal_payload_good(const struct journal_frame *f, uint64_t nonce, const void *payload)
{
    return hash_bytes(payload, f->bytes, nonce ^ f->lsn) == f->payload_sum;
}

/* ---- histories ---- */

void journal_history_put(const struct journal_history *h, uint8_t out[JOURNAL_HISTORY_BYTES])
{
    memcpy(out, h->id, 20);
    memcpy(out + 20, h->id2, 20);
    le64_put(out + 40, h->second);
    le64_put(out + 48, h->nonce);
    le64_put(out + 56, h->offset);
}

bool journal_history_get(const uint8_t in[JOURNAL_HISTORY_BYTES], struct journal_history *out)
{
    static const uint8_t none[20];
    *out = (struct journal_history){.second = le64(in + 40), .nonce = le64(in + 48), .offset = le64(in + 56)};
    memcpy(out->id, in, 20);
    memcpy(out->id2, in + 20, 20);
    return memcmp(out->id, none, 20) != 0;
}

void journal_track_frame(struct journal_track *t, const struct journal_frame *f, const void *payload)
{
    if (f->type == JOURNAL_HISTORY)
        t->known = journal_history_get(payload, &t->at);
    else if (f->type != JOURNAL_SEAL && !(f->flags & JOURNAL_COUNTED))
        t->known = false;
    else if (f->type != JOURNAL_SEAL)
        t->at.offset += JOURNAL_FRAME + (uint64_t)f->bytes;
}
