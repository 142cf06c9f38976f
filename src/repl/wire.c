#include "repl/wire.h"

#include <string.h>

#include "base/hash.h"
#include "persist/le.h"

void wire_control(struct buf *out, enum wire_type type, const struct wire_place *at,
                  const void *payload, size_t len)
{
    struct journal_frame f = {.bytes = (uint32_t)len, .type = (uint8_t)type, .lsn = at->lsn};
    uint8_t *frame = (uint8_t *)buf_reserve(out, WIRE_FRAME + len);
    journal_frame_put(&f, frame);
    if (len)
        memcpy(frame + WIRE_FRAME, payload, len);
    wire_seal(frame, at->nonce, at->offset);
    out->len += WIRE_FRAME + len;
}

void wire_data_head(uint8_t out[WIRE_FRAME], const struct wire_place *at, size_t len, uint64_t seed,
                    uint64_t sum)
{
    struct journal_frame f = {
        .bytes = (uint32_t)len, .type = WIRE_SNAP_DATA, .lsn = at->lsn, .hlc = seed};
    journal_frame_put(&f, out);
    le64_put(out + JOURNAL_FRAME_DURABLE, at->offset);
    le64_put(out + JOURNAL_FRAME_SUM, hash_bytes(out, JOURNAL_FRAME_SUM, at->nonce));
    le64_put(out + JOURNAL_FRAME_PAYLOAD, sum);
}

const char *wire_head(const uint8_t in[WIRE_FRAME], uint64_t nonce, struct journal_frame *out)
{
    if (memcmp(in, JOURNAL_MAGIC, 4) != 0)
        return "there is no frame where one should begin";
    if (le64(in + JOURNAL_FRAME_SUM) != hash_bytes(in, JOURNAL_FRAME_SUM, nonce))
        return "the checksum of a frame's head does not match";
    struct journal_frame f = journal_frame_fields(in);
    if (in[9] || !(wire_is_data(f.type) || (f.type >= WIRE_PING && f.type < WIRE_TYPES)))
        return "a frame's type is not known";
    if (f.bytes > (wire_is_data(f.type) ? JOURNAL_PAYLOAD_MAX : WIRE_CONTROL_MAX))
        return "a frame is longer than a frame may be";
    if (wire_is_data(f.type) ? !f.bytes || !f.commands || (f.type == WIRE_DATA && f.commands != 1)
                             : f.commands || f.db)
        return "a frame's head does not fit its type";
    *out = f;
    return NULL;
}

const char *wire_check(const struct journal_frame *f, const uint8_t *payload,
                       const struct wire_place *at)
{
    if (f->type == WIRE_SNAP_DATA ? hash_bytes(payload, f->bytes, f->hlc) != f->payload_sum
                                  : !journal_payload_good(f, at->nonce, payload))
        return "the checksum of a frame's payload does not match";
    if (f->durable != at->offset)
        return "a frame is not at its offset";
    if (f->lsn != at->lsn + wire_is_data(f->type))
        return "a frame's number does not follow the one before";
    return NULL;
}

bool wire_name_good(const char *name, size_t len)
{
    if (len == 0 || len > WIRE_NAME_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return true;
}

bool digest_read(const uint8_t *payload, size_t len, struct digest_entry *out)
{
    if (len < WIRE_ENTRY || le32(payload + 8) > len - WIRE_ENTRY)
        return false;
    *out = (struct digest_entry){.part = {.db = le32(payload),
                                          .number = le32(payload + 4),
                                          .key_len = le32(payload + 8),
                                          .key = (char *)payload + WIRE_ENTRY},
                                 .sequence = le64(payload + 16),
                                 .records = le64(payload + 24),
                                 .linked = le64(payload + 32),
                                 .graph = le64(payload + 40),
                                 .bytes = WIRE_ENTRY + le32(payload + 8)};
    return true;
}

void digest_put(struct buf *out, const struct digest_entry *e)
{
    uint8_t head[WIRE_ENTRY] = {0};
    le32_put(head, e->part.db);
    le32_put(head + 4, e->part.number);
    le32_put(head + 8, (uint32_t)e->part.key_len);
    le64_put(head + 16, e->sequence);
    le64_put(head + 24, e->records);
    le64_put(head + 32, e->linked);
    le64_put(head + 40, e->graph);
    buf_append(out, head, sizeof(head));
    if (e->part.key_len)
        buf_append(out, e->part.key, e->part.key_len);
}
