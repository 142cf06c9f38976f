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
    if (!journal_payload_good(f, at->nonce, payload))
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
