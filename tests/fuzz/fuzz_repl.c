/* What comes over the replication port: frames as they come, frames whose sums have been made good, and hellos of
 * sentinels. A frame that passes must be what it says it is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "persist/effect.h"
#include "persist/journal_read.h"
#include "repl/fence.h"
#include "repl/wire.h"

static void judge(const uint8_t *frame, size_t size, struct wire_place *at)
{
    struct journal_frame f;
    if (size < WIRE_FRAME || wire_head(frame, at->nonce, &f) || size - WIRE_FRAME < f.bytes)
        return;
    if (wire_check(&f, frame + WIRE_FRAME, at))
        return;
    if (f.durable != at->offset || f.bytes > JOURNAL_PAYLOAD_MAX)
        abort();
    if (!wire_is_data(f.type))
        return;
    /* As a replica does: every command, or an error. */
    struct journal_commands commands = {0};
    struct effect_scratch x = {0};
    struct vs_effect e;
    struct buf why = {0};
    enum vs_status status;
    journal_commands_begin(&commands, &f, (const char *)frame + WIRE_FRAME);
    while ((status = journal_commands_next(&commands, 16, &x, &e, &why)) == VS_OK)
        ;
    if (status == VS_CORRUPT && !why.len)
        abort();
    journal_commands_end(&commands);
    effect_scratch_release(&x);
    buf_release(&why);
}

/* What both sides say of partitions: entries that are whole, and the same when they are written again. */
static void entries(const uint8_t *data, size_t size)
{
    struct digest_entry e;
    for (; digest_read(data, size, &e); data += e.bytes, size -= e.bytes) {
        struct buf again = {0};
        if (e.bytes > size || e.bytes != WIRE_ENTRY + e.part.key_len)
            abort();
        digest_put(&again, &e);
        if (again.len != e.bytes || memcmp(again.data + 16, data + 16, again.len - 16) != 0)
            abort();
        buf_release(&again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_place at = {.nonce = 42, .offset = 1000, .lsn = 6};
    const char *const self[] = {"127.0.0.1:6379"};
    judge(data, size, &at);
    struct fence *fence = fence_new();
    for (uint64_t i = 0; i < 3; i++)
        fence_hello(fence, (const char *)data, size, self, 1, 1000 * i);
    if (fence_sentinels(fence) > 1)
        abort();
    fence_free(fence);
    wire_name_good((const char *)data, size);
    entries(data, size);
    if (size < WIRE_FRAME || size > 1u << 20)
        return 0;
    uint8_t *copy = malloc(size);
    memcpy(copy, data, size);
    memcpy(copy, JOURNAL_MAGIC, 4);
    copy[4] = (uint8_t)(size - WIRE_FRAME);
    copy[5] = (uint8_t)((size - WIRE_FRAME) >> 8);
    copy[6] = (uint8_t)((size - WIRE_FRAME) >> 16);
    copy[7] = 0;
    copy[9] = 0;
    memset(copy + 24, 0, 8);
    copy[24] = 6 + (copy[8] <= 2);
    wire_seal(copy, at.nonce, at.offset);
    judge(copy, size, &at);
    free(copy);
    return 0;
}
