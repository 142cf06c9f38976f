#include "repl/backlog.h"

#include "base/mem.h"
#include "persist/journal_frame.h"
#include "persist/le.h"

#define BLOCK_BYTES ((size_t)64 << 10)

struct backlog_block {
    TAILQ_ENTRY(backlog_block) link;
    uint64_t at;            /* offset of its first byte */
    size_t len, cap;
    uint64_t last_ns;       /* when it was written to last */
    uint8_t data[];
};

void backlog_init(struct backlog *b, uint64_t offset)
{
    *b = (struct backlog){.first = offset, .end = offset};
    TAILQ_INIT(&b->blocks);
}

static void drop_first(struct backlog *b)
{
    struct backlog_block *block = TAILQ_FIRST(&b->blocks);
    TAILQ_REMOVE(&b->blocks, block, link);
    b->first = block->at + block->len;
    b->memory -= sizeof(*block) + block->cap;
    mem_free(block);
}

void backlog_clear(struct backlog *b, uint64_t offset)
{
    while (!TAILQ_EMPTY(&b->blocks))
        drop_first(b);
    b->first = b->end = offset;
}

uint8_t *backlog_reserve(struct backlog *b, size_t len)
{
    struct backlog_block *last = TAILQ_LAST(&b->blocks, backlog_blocks);
    if (!last || last->cap - last->len < len) {
        size_t cap = len > BLOCK_BYTES ? len : BLOCK_BYTES;
        last = mem_try_alloc(sizeof(*last) + cap);
        if (!last)
            return NULL;
        *last = (struct backlog_block){.at = b->end, .cap = cap};
        TAILQ_INSERT_TAIL(&b->blocks, last, link);
        b->memory += sizeof(*last) + cap;
    }
    return last->data + last->len;
}

void backlog_commit(struct backlog *b, size_t len, uint64_t now_ns)
{
    struct backlog_block *last = TAILQ_LAST(&b->blocks, backlog_blocks);
    last->len += len;
    last->last_ns = now_ns;
    b->end += len;
}

static struct backlog_block *find(const struct backlog *b, uint64_t offset)
{
    struct backlog_block *block;
    if (offset < b->first || offset >= b->end)
        return NULL;
    TAILQ_FOREACH_REVERSE(block, &b->blocks, backlog_blocks, link)
        if (block->at <= offset)
            break;
    return block;
}

bool backlog_is_place(const struct backlog *b, uint64_t offset)
{
    if (offset == b->end)
        return true;
    const struct backlog_block *block = find(b, offset);
    if (!block)
        return false;
    size_t at = 0, want = (size_t)(offset - block->at);
    while (at < want)
        at += JOURNAL_FRAME + le32(block->data + at + 4);
    return at == want;
}

void backlog_trim(struct backlog *b, uint64_t max, uint64_t oldest_ns, uint64_t keep)
{
    struct backlog_block *block;
    while ((block = TAILQ_FIRST(&b->blocks)) && block->at + block->len <= keep &&
           block->at + block->len < b->end &&
           (b->end - b->first > max || block->last_ns < oldest_ns))
        drop_first(b);
}

size_t backlog_peek(const struct backlog *b, struct backlog_cursor *c, const uint8_t **data)
{
    if (!c->block)
        c->block = find(b, c->offset);
    if (!c->block)
        return 0;
    size_t at = (size_t)(c->offset - c->block->at);
    *data = c->block->data + at;
    return c->block->len - at;
}

void backlog_advance(struct backlog_cursor *c, size_t len)
{
    c->offset += len;
    /* A block that has been read to its end may go, or grow. */
    if (c->offset >= c->block->at + c->block->len)
        c->block = NULL;
}
