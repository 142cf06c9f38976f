/* The backlog: the end of the stream, kept for replicas that are behind and for those that come back.
 *
 *     first                                                    end
 *       | block | block | block (a long frame alone) | block -->|
 *                   ^ cursor of a replica
 *
 * Frames are kept as they are sent, whole in a block, so every block begins with a frame. Offsets count
 * data frames since the history began. One copy serves all replicas: each reads from here at its own
 * pace. Loop thread (no locks). */
#ifndef REPL_BACKLOG_H
#define REPL_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct backlog_block;
TAILQ_HEAD(backlog_blocks, backlog_block);

struct backlog {
    struct backlog_blocks blocks;
    uint64_t first, end;    /* offsets of its first byte, and behind its last */
    size_t memory;          /* bytes that the blocks take */
};

void backlog_init(struct backlog *b, uint64_t offset);
/* Forgets everything; the stream goes on at `offset`. */
void backlog_clear(struct backlog *b, uint64_t offset);
/* Room for a frame of so many bytes, where it will stand; NULL: out of memory. */
uint8_t *backlog_reserve(struct backlog *b, size_t len);
/* It stands there. */
void backlog_commit(struct backlog *b, size_t len, uint64_t now_ns);
/* Does a frame begin at this offset, or will the next one? */
bool backlog_is_place(const struct backlog *b, uint64_t offset);
/* Drops from the front what is beyond `max` bytes or has not been written to since `oldest_ns`, but
 * nothing from `keep` on. */
void backlog_trim(struct backlog *b, uint64_t max, uint64_t oldest_ns, uint64_t keep);

/* Where a reader is. */
struct backlog_cursor {
    uint64_t offset;
    struct backlog_block *block; /* that the offset lies in; NULL: to be found */
};
/* The bytes that follow in one piece; 0 at the end. */
size_t backlog_peek(const struct backlog *b, struct backlog_cursor *c, const uint8_t **data);
/* So many of them have been read. */
void backlog_advance(struct backlog_cursor *c, size_t len);

#endif
