/* An extendible hash table of small cells, for maps that must never pause.
 *
 *   directory (2^depth pointers)        segments (open addressing inside)
 *   hash's top bits -> [ 00 ] ------>   [ . x . x x . ]   local depth 2
 *                      [ 01 ] ------>   [ x x . x . . ]   local depth 2
 *                      [ 10 ] --+--->   [ . . x . . x ]   local depth 1
 *                      [ 11 ] --+
 *
 * A cell is 4 or 8 bytes, non-zero when used (a record's slot + 1, a pointer): the table asks its
 * owner for a cell's hash and whether it is the one sought. A segment that is full grows once, then
 * splits, alone (a few hundred cells: microseconds), two light buddies merge, so no insert ever
 * rehashes the whole. A new table starts with one segment of 8 cells that doubles up to its size
 * before it ever splits, so that a map of a few entries is small. Deletion shifts cells back: no
 * tombstones.
 *
 * SCAN: a segment holds a contiguous range of hashes, so a cursor is a hash: one step returns the
 * cells of the segment at the cursor whose hash is not below it, and the next cursor is the
 * segment's end (0: done). Whatever splits or merges between calls, what stays in the table for the
 * whole scan is returned exactly once.
 *
 * Beside every cell stands a byte of its hash, so a search hardly ever asks the owner about a
 * foreign cell.
 *
 * Fagin, Nievergelt, Pippenger, Strong, "Extendible hashing", TODS 1979. One thread. Rejected: one
 * big table with incremental rehash (twice the memory while it moves, and a pause to allocate it). */
#ifndef BASE_HTABLE_H
#define BASE_HTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct htable;

struct htable_ops {
    uint64_t (*hash)(void *arg, uint64_t cell);                        /* hash of a stored cell */
    bool (*equal)(void *arg, uint64_t cell, const void *key, size_t len); /* is it the entry with this key? */
};

/* `cell_bytes` 4 or 8; `segment_cells` a power of two of 16..4096. `ops` is borrowed for the
 * table's life; `arg` goes to it. NULL: out of memory. */
struct htable *htable_new(unsigned cell_bytes, unsigned segment_cells, const struct htable_ops *ops, void *arg);
void htable_free(struct htable *t);
/* The same, in pieces of about `cells`; true when all is freed. Afterwards only this or nothing may
 * be called. */
bool htable_free_some(struct htable *t, size_t cells);

/* The cell, or 0. */
uint64_t htable_find(const struct htable *t, uint64_t hash, const void *key, size_t len);
/* Adds a cell that must not be there yet; `cell` is not 0. False: out of memory, nothing changed. */
bool htable_insert(struct htable *t, uint64_t hash, uint64_t cell);
/* Makes room, so that the next call, an insert with this hash, does not fail. False: out of memory. */
bool htable_reserve(struct htable *t, uint64_t hash);
/* So many entries will be there in the end. Needed where they come in the order of their hashes: the directory may then grow ahead of
 * them, and no segment becomes larger than others. Takes no memory yet; 32 bytes for each segment's worth of entries at most. */
void htable_expect(struct htable *t, size_t n);
/* Fills an empty table with `n` cells at once: `next` gives them one by one, in rising order of their
 * hashes (equal ones may follow each other), and need not be asked for hashes by ops->hash. False: out of memory,
 * or the hashes do not rise; the table may then only be freed. */
bool htable_build(struct htable *t, size_t n, void (*next)(void *arg, uint64_t *hash, uint64_t *cell), void *arg);
/* Puts `cell` in place of the entry with this key, hash unchanged; the old cell, or 0 (and nothing
 * done) when absent. */
uint64_t htable_replace(struct htable *t, uint64_t hash, const void *key, size_t len, uint64_t cell);
/* Removes and returns the cell, or 0. */
uint64_t htable_remove(struct htable *t, uint64_t hash, const void *key, size_t len);

size_t htable_count(const struct htable *t);
size_t htable_bytes(const struct htable *t);   /* all memory it holds */

/* One step of a scan, see above. Calls `each` for every cell; returns the next cursor, 0 at the
 * end. Any cursor is legal. `each` must not change the table. */
uint64_t htable_scan(const struct htable *t, uint64_t cursor, void (*each)(void *arg, uint64_t cell), void *arg);
/* A cell chosen nearly uniformly at random by the 64 random bits of successive `random()` calls; 0
 * when empty. */
uint64_t htable_random(const struct htable *t, uint64_t (*random)(void *arg), void *arg);

#endif
