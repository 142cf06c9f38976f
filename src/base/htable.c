/* The extendible hash table, see htable.h.
 *
 * A segment is one block:   | count, cells, depth | cell[cells] | tag[cells] |
 * Inside it a cell's home is its share of the hash's low half (hash32 * cells >> 32), probing is linear, and eight other
 * bits of the hash stand as a tag beside every cell: looking past a foreign cell then rarely asks its owner, which would
 * touch the entry's memory. Segments have one of two sizes, chosen to fill the allocator's size classes: a full normal one
 * becomes large, a full large one splits into two normal ones. So between a half and 7/8 of all cells are used.
 *
 * Invariants:
 *   - a segment of local depth d is pointed to by the 2^(depth - d) neighbouring directory places of its hash prefix;
 *   - a segment always has a free cell, so every probe ends;
 *   - before the first split there is one segment of 8 cells or more; after it segments are normal or large, and larger only
 *     where the hashes are so lopsided that splitting would blow up the directory (see may_split) or leave one side full.
 * Nothing is changed before all memory for a change is there. */
#include "base/htable.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define FIRST_CELLS 8
#define DEPTH_MAX 48

struct segment {
    uint32_t count;
    uint32_t cells;
    uint32_t depth;     /* bits of the hash that all its entries share */
    uint32_t unused;
    /* cells, then tags */
};

struct htable {
    const struct htable_ops *ops;
    void *arg;
    struct segment **dir;
    unsigned cell_bytes;
    uint32_t normal, large;               /* cells of the two sizes of segments */
    unsigned depth;                       /* the directory has 2^depth places */
    size_t count, segments, bytes;
    size_t expected;                      /* entries, see htable_expect */
    size_t at_depth[DEPTH_MAX + 1];       /* segments of each local depth */
    size_t freed;                         /* directory places that htable_free_some is past */
};

/* ---- segments ---- */

static size_t segment_bytes(const struct htable *t, uint32_t cells)
{
    return sizeof(struct segment) + (size_t)cells * (t->cell_bytes + 1);
}

static struct segment *segment_new(struct htable *t, uint32_t cells, uint32_t depth)
{
    struct segment *s = mem_try_zalloc(segment_bytes(t, cells));
    if (s) {
        s->cells = cells;
        s->depth = depth;
    }
    return s;
}

/* Counts a segment that enters the table, or (sign -1) leaves it. */
static void account(struct htable *t, const struct segment *s, int sign)
{
    size_t bytes = segment_bytes(t, s->cells);
    t->segments += (size_t)sign;
    t->at_depth[s->depth] += (size_t)sign;
    t->bytes = sign > 0 ? t->bytes + bytes : t->bytes - bytes;
}

static uint64_t cell_at(const struct htable *t, const struct segment *s, uint32_t i)
{
    if (t->cell_bytes == 4)
        return ((const uint32_t *)(s + 1))[i];
    return ((const uint64_t *)(s + 1))[i];
}

static uint8_t *tags_of(const struct htable *t, const struct segment *s)
{
    return (uint8_t *)(s + 1) + (size_t)s->cells * t->cell_bytes;
}

static uint8_t tag_of(uint64_t hash)
{
    return (uint8_t)hash;
}

static uint32_t home_of(const struct segment *s, uint64_t hash)
{
    return (uint32_t)((hash & UINT32_MAX) * s->cells >> 32);
}

static uint32_t after(const struct segment *s, uint32_t i)
{
    return i + 1 < s->cells ? i + 1 : 0;
}

/* Steps of probing from cell a to cell b. */
static uint32_t steps(const struct segment *s, uint32_t a, uint32_t b)
{
    return b >= a ? b - a : b + s->cells - a;
}

static void set_cell(const struct htable *t, struct segment *s, uint32_t i, uint64_t cell, uint8_t tag)
{
    if (t->cell_bytes == 4)
        ((uint32_t *)(s + 1))[i] = (uint32_t)cell;
    else
        ((uint64_t *)(s + 1))[i] = cell;
    tags_of(t, s)[i] = tag;
}

static uint32_t most(uint32_t cells)
{
    return cells - cells / 8;
}

static void put(const struct htable *t, struct segment *s, uint64_t hash, uint64_t cell)
{
    uint32_t i = home_of(s, hash);
    while (cell_at(t, s, i) != 0)
        i = after(s, i);
    set_cell(t, s, i, cell, tag_of(hash));
    s->count++;
}

/* Adds the entries of `from` to `to`. */
static void pour(const struct htable *t, const struct segment *from, struct segment *to)
{
    for (uint32_t i = 0; i < from->cells; i++) {
        uint64_t cell = cell_at(t, from, i);
        if (cell != 0)
            put(t, to, t->ops->hash(t->arg, cell), cell);
    }
}

/* Position of the entry, or -1. */
static int64_t find_in(const struct htable *t, const struct segment *s, uint64_t hash, const void *key, size_t len)
{
    const uint8_t *tags = tags_of(t, s);
    uint8_t tag = tag_of(hash);
    for (uint32_t i = home_of(s, hash);; i = after(s, i)) {
        uint64_t cell = cell_at(t, s, i);
        if (cell == 0)
            return -1;
        if (tags[i] == tag && t->ops->equal(t->arg, cell, key, len))
            return i;
    }
}

/* ---- the directory ---- */

static size_t place_of(const struct htable *t, uint64_t hash)
{
    return t->depth ? (size_t)(hash >> (64 - t->depth)) : 0;
}

/* Lets the places of prefix `hash`, `depth` bits long, point to `s`. */
static void point(struct htable *t, uint64_t hash, uint32_t depth, struct segment *s)
{
    size_t span = (size_t)1 << (t->depth - depth);
    size_t first = place_of(t, hash) & ~(span - 1);
    for (size_t i = 0; i < span; i++)
        t->dir[first + i] = s;
}

static bool double_directory(struct htable *t)
{
    size_t places = (size_t)1 << t->depth;
    struct segment **dir = mem_try_realloc(t->dir, 2 * places * sizeof(*dir));
    if (!dir)
        return false;
    for (size_t i = places; i-- > 0;)
        dir[2 * i] = dir[2 * i + 1] = dir[i];
    t->dir = dir;
    t->depth++;
    t->bytes += places * sizeof(*dir);
    return true;
}

/* Halves the directory while its two deepest levels are unused: one is kept, so that a table that swings around a
 * boundary does not double and halve all the time. */
static void shrink_directory(struct htable *t)
{
    while (t->depth > 1 && t->at_depth[t->depth] == 0 && t->at_depth[t->depth - 1] == 0) {
        size_t places = (size_t)1 << (t->depth - 1);
        for (size_t i = 0; i < places; i++)
            t->dir[i] = t->dir[2 * i];
        struct segment **dir = mem_try_realloc(t->dir, places * sizeof(*dir));
        if (dir)
            t->dir = dir;
        t->depth--;
        t->bytes -= places * sizeof(*dir);
    }
}

/* ---- growing and shrinking ---- */

static void replace_segment(struct htable *t, uint64_t hash, struct segment *old, struct segment *s)
{
    point(t, hash, s->depth, s);
    account(t, old, -1);
    account(t, s, 1);
    mem_free(old);
}

static bool resize(struct htable *t, uint64_t hash, struct segment *old, uint32_t cells)
{
    struct segment *s = segment_new(t, cells, old->depth);
    if (!s)
        return false;
    pour(t, old, s);
    replace_segment(t, hash, old, s);
    return true;
}

/* Hashes worth the name fill segments evenly, and the directory stays within a small multiple of their number, or of that
 * which is expected: of entries that come in the order of their hashes the first few need a directory for all. */
static bool may_split(const struct htable *t, const struct segment *s)
{
    if (s->depth < t->depth)
        return true;
    size_t places = (size_t)2 << t->depth;
    return t->depth < DEPTH_MAX && (places <= 64 * (t->segments + 1) || places <= 4 * (t->expected / t->normal));
}

/* The smallest size of segment that holds `count` entries and one more. */
static uint32_t cells_for(const struct htable *t, uint32_t count)
{
    uint32_t cells = t->normal;
    while (count >= most(cells))
        cells = cells < t->large ? t->large : 2 * cells;
    return cells;
}

/* All entries of a segment, one of which has the hash `some`, go to one side: they stay where they are. */
static bool deepen(struct htable *t, uint64_t some, struct segment *s)
{
    struct segment *other = segment_new(t, t->normal, s->depth + 1);
    if (!other || (s->depth == t->depth && !double_directory(t))) {
        mem_free(other);
        return false;
    }
    account(t, s, -1);
    some ^= (uint64_t)1 << (63 - s->depth++);
    account(t, s, 1);
    account(t, other, 1);
    point(t, some, other->depth, other);
    return true;
}

/* Entries on both sides of the next bit are poured into two new segments. */
static bool part(struct htable *t, uint64_t hash, struct segment *old, const uint64_t *hashes)
{
    uint32_t depth = old->depth, above = 0;
    uint64_t bit = (uint64_t)1 << (63 - depth);
    for (uint32_t i = 0; i < old->cells; i++)
        above += cell_at(t, old, i) != 0 && (hashes[i] & bit) != 0;
    bool room = depth < t->depth || double_directory(t);
    struct segment *lo = segment_new(t, cells_for(t, old->count - above), depth + 1);
    struct segment *hi = segment_new(t, cells_for(t, above), depth + 1);
    if (!room || !lo || !hi) {
        mem_free(lo);
        mem_free(hi);
        return false;
    }
    for (uint32_t i = 0; i < old->cells; i++)
        if (cell_at(t, old, i) != 0)
            put(t, hashes[i] & bit ? hi : lo, hashes[i], cell_at(t, old, i));
    point(t, hash & ~bit, depth + 1, lo);
    point(t, hash | bit, depth + 1, hi);
    account(t, old, -1);
    account(t, lo, 1);
    account(t, hi, 1);
    mem_free(old);
    return true;
}

/* A full segment: bits that all its entries share are passed over first, as many as may be. Where they come in the order of
 * their hashes those are most. */
static bool split(struct htable *t, uint64_t hash, struct segment *s)
{
    uint64_t *hashes = mem_try_alloc(s->cells * sizeof(*hashes));
    if (!hashes)
        return false;
    uint64_t some = 0, differ = 0;
    for (uint32_t i = 0, n = 0; i < s->cells; i++)
        if (cell_at(t, s, i) != 0) {
            hashes[i] = t->ops->hash(t->arg, cell_at(t, s, i));
            some = n++ ? some : hashes[i];
            differ |= hashes[i] ^ some;
        }
    uint32_t before = s->depth;
    bool ok = true, here = true; /* is it the segment of `hash`? */
    while (ok && here && may_split(t, s) && !(differ >> (63 - s->depth) & 1)) {
        here = !((hash ^ some) >> (63 - s->depth) & 1);
        ok = deepen(t, some, s);
    }
    if (ok && here && may_split(t, s))
        ok = part(t, hash, s, hashes);
    else
        ok = ok && s->depth > before;
    mem_free(hashes);
    return ok;
}

/* Makes room for one more in the segment of `hash`. */
static bool grow(struct htable *t, uint64_t hash, struct segment *s)
{
    if (s->cells < t->normal)
        return resize(t, hash, s, s->cells * 2 < t->normal ? s->cells * 2 : t->normal);
    if (s->cells < t->large)
        return resize(t, hash, s, t->large);
    if (!may_split(t, s))
        return s->cells <= UINT32_MAX / 4 && resize(t, hash, s, s->cells * 2);
    return split(t, hash, s);
}

/* After a removal: light segments join their buddies, or become smaller. Without memory for that all stays as it is. */
static void settle(struct htable *t, uint64_t hash, struct segment *s)
{
    while (s->depth > 0) {
        uint64_t bit = (uint64_t)1 << (64 - s->depth);
        struct segment *buddy = t->dir[place_of(t, hash ^ bit)];
        if (buddy->depth != s->depth || s->count + buddy->count > t->normal * 3 / 8)
            break;
        struct segment *both = segment_new(t, t->normal, s->depth - 1);
        if (!both)
            return;
        pour(t, s, both);
        pour(t, buddy, both);
        account(t, buddy, -1);
        mem_free(buddy);
        replace_segment(t, hash, s, both);
        shrink_directory(t);
        s = both;
    }
    uint32_t least = s->depth > 0 ? t->normal : FIRST_CELLS;
    uint32_t smaller = s->cells > t->large ? s->cells / 2 : s->cells > t->normal ? t->normal : s->cells / 2;
    if (s->cells > least && s->count <= s->cells / (s->cells == t->large ? 4 : 8))
        resize(t, hash, s, smaller > least ? smaller : least);
}

/* ---- building ---- */

struct sorted {
    uint64_t hash, cell;
};

/* How many bits of the hash segments share, so that the average one is three quarters full. */
static unsigned build_depth(const struct htable *t, size_t n)
{
    unsigned depth = 0;
    if (n <= most(t->large))
        return 0;
    while (depth < DEPTH_MAX && (n >> depth) > t->large / 4 * 3)
        depth++;
    return depth;
}

static bool build_directory(struct htable *t, unsigned depth)
{
    size_t places = (size_t)1 << depth;
    struct segment **dir = mem_try_zalloc(places * sizeof(*dir));
    if (!dir)
        return false;
    account(t, t->dir[0], -1);
    mem_free(t->dir[0]);
    mem_free(t->dir);
    t->bytes += (places - 1) * sizeof(*dir);
    t->dir = dir;
    t->depth = depth;
    return true;
}

/* The segment of one place of the directory. */
static bool build_segment(struct htable *t, size_t place, const struct sorted *all, size_t n)
{
    uint32_t cells = t->depth ? t->normal : FIRST_CELLS;
    while (n >= most(cells) && cells < t->normal)
        cells = cells * 2 < t->normal ? cells * 2 : t->normal;
    if (n >= most(cells))
        cells = cells_for(t, (uint32_t)n);
    struct segment *s = segment_new(t, cells, t->depth);
    if (!s)
        return false;
    for (size_t i = 0; i < n; i++)
        put(t, s, all[i].hash, all[i].cell);
    t->dir[place] = s;
    t->count += n;
    account(t, s, 1);
    return true;
}

/* A table that was not finished: nothing but the directory is left to free. */
static void build_undo(struct htable *t, size_t place)
{
    while (place > 0)
        mem_free(t->dir[--place]);
    t->freed = (size_t)1 << t->depth;
}

bool htable_build(struct htable *t, size_t n, void (*next)(void *arg, uint64_t *hash, uint64_t *cell), void *arg)
{
    assert(t->count == 0 && t->depth == 0);
    struct sorted *some = NULL;
    size_t cap = 0, held = 0, place = 0;
    uint64_t before = 0;
    bool ok = n <= UINT32_MAX / 4 && build_directory(t, build_depth(t, n));
    if (!ok)
        return false;
    for (size_t i = 0; i < n && ok; i++) {
        struct sorted one;
        next(arg, &one.hash, &one.cell);
        ok = one.hash >= before && one.cell != 0;
        before = one.hash;
        for (; ok && place < place_of(t, one.hash); place++, held = 0)
            ok = build_segment(t, place, some, held);
        ok = ok && (held < cap || mem_try_grow(&some, &cap, cap ? 2 * cap : 1024, sizeof(*some)));
        if (ok)
            some[held++] = one;
    }
    for (; ok && place < (size_t)1 << t->depth; place++, held = 0)
        ok = build_segment(t, place, some, held);
    mem_free(some);
    if (!ok)
        build_undo(t, place);
    return ok;
}

/* ---- the interface ---- */

void htable_expect(struct htable *t, size_t n)
{
    t->expected = n;
}

struct htable *htable_new(unsigned cell_bytes, unsigned segment_cells, const struct htable_ops *ops, void *arg)
{
    assert(cell_bytes == 4 || cell_bytes == 8);
    assert(segment_cells >= 16 && segment_cells <= 4096 && (segment_cells & (segment_cells - 1)) == 0);
    struct htable *t = mem_zalloc(sizeof(*t));
    t->ops = ops;
    t->arg = arg;
    t->cell_bytes = cell_bytes;
    t->normal = segment_cells - (uint32_t)sizeof(struct segment) / (cell_bytes + 1) - 1;
    t->large = t->normal / 5 * 8;
    t->dir = mem_alloc(sizeof(*t->dir));
    t->bytes = sizeof(*t) + sizeof(*t->dir);
    t->dir[0] = segment_new(t, FIRST_CELLS, 0);
    if (!t->dir[0]) {
        mem_free(t->dir);
        mem_free(t);
        return NULL;
    }
    account(t, t->dir[0], 1);
    return t;
}

bool htable_free_some(struct htable *t, size_t cells)
{
    size_t places = (size_t)1 << t->depth, done = 0;
    while (t->freed < places) {
        if (done >= cells)
            return false;
        struct segment *s = t->dir[t->freed];
        t->freed += (size_t)1 << (t->depth - s->depth);
        done += s->cells;
        mem_free(s);
    }
    mem_free(t->dir);
    mem_free(t);
    return true;
}

void htable_free(struct htable *t)
{
    if (t)
        htable_free_some(t, SIZE_MAX);
}

uint64_t htable_find(const struct htable *t, uint64_t hash, const void *key, size_t len)
{
    const struct segment *s = t->dir[place_of(t, hash)];
    int64_t i = find_in(t, s, hash, key, len);
    return i < 0 ? 0 : cell_at(t, s, (uint32_t)i);
}

bool htable_reserve(struct htable *t, uint64_t hash)
{
    struct segment *s = t->dir[place_of(t, hash)];
    while (s->count >= most(s->cells)) {
        if (!grow(t, hash, s))
            return false;
        s = t->dir[place_of(t, hash)];
    }
    return true;
}

bool htable_insert(struct htable *t, uint64_t hash, uint64_t cell)
{
    assert(cell != 0 && (t->cell_bytes == 8 || cell <= UINT32_MAX));
    if (!htable_reserve(t, hash))
        return false;
    put(t, t->dir[place_of(t, hash)], hash, cell);
    t->count++;
    return true;
}

uint64_t htable_replace(struct htable *t, uint64_t hash, const void *key, size_t len, uint64_t cell)
{
    assert(cell != 0 && (t->cell_bytes == 8 || cell <= UINT32_MAX));
    struct segment *s = t->dir[place_of(t, hash)];
    int64_t i = find_in(t, s, hash, key, len);
    if (i < 0)
        return 0;
    uint64_t old = cell_at(t, s, (uint32_t)i);
    set_cell(t, s, (uint32_t)i, cell, tag_of(hash));
    return old;
}

uint64_t htable_remove(struct htable *t, uint64_t hash, const void *key, size_t len)
{
    struct segment *s = t->dir[place_of(t, hash)];
    int64_t found = find_in(t, s, hash, key, len);
    if (found < 0)
        return 0;
    uint32_t hole = (uint32_t)found;
    uint64_t old = cell_at(t, s, hole), cell;
    uint8_t *tags = tags_of(t, s);
    for (uint32_t i = after(s, hole); (cell = cell_at(t, s, i)) != 0; i = after(s, i)) {
        uint32_t home = home_of(s, t->ops->hash(t->arg, cell));
        /* What is probed for past the hole must move into it. */
        if (steps(s, home, i) >= steps(s, hole, i)) {
            set_cell(t, s, hole, cell, tags[i]);
            hole = i;
        }
    }
    set_cell(t, s, hole, 0, 0);
    s->count--;
    t->count--;
    settle(t, hash, s);
    return old;
}

size_t htable_count(const struct htable *t)
{
    return t->count;
}

size_t htable_bytes(const struct htable *t)
{
    return t->bytes;
}

uint64_t htable_scan(const struct htable *t, uint64_t cursor, void (*each)(void *arg, uint64_t cell), void *arg)
{
    const struct segment *s = t->dir[place_of(t, cursor)];
    uint64_t span = s->depth ? (uint64_t)1 << (64 - s->depth) : 0;   /* 0 stands for 2^64 */
    uint64_t first = cursor & ~(span - 1);
    if (span == 0)
        first = 0;
    for (uint32_t i = 0; i < s->cells; i++) {
        uint64_t cell = cell_at(t, s, i);
        if (cell != 0 && (cursor == first || t->ops->hash(t->arg, cell) >= cursor))
            each(arg, cell);
    }
    return first + span;
}

/* The next entry at or after place `place`, position `i`; the table is not empty. */
static uint64_t walk_on(const struct htable *t, size_t place, uint32_t i)
{
    size_t places = (size_t)1 << t->depth;
    for (;;) {
        const struct segment *s = t->dir[place];
        for (; i < s->cells; i++)
            if (cell_at(t, s, i) != 0)
                return cell_at(t, s, i);
        place = (place + 1) & (places - 1);
        i = 0;
    }
}

uint64_t htable_random(const struct htable *t, uint64_t (*random)(void *arg), void *arg)
{
    if (t->count == 0)
        return 0;
    /* A place and a position are drawn until they hit. A segment of d bits less than the directory is hit by 2^d places,
     * so it is accepted every 2^d-th time; very uneven tables give that up after some attempts. */
    for (int attempt = 0; attempt < 128; attempt++) {
        uint64_t r = random(arg);
        const struct segment *s = t->dir[place_of(t, r)];
        uint64_t cell = cell_at(t, s, home_of(s, r));
        unsigned less = t->depth - s->depth;
        if (cell != 0 && (attempt >= 64 || less == 0 || (random(arg) >> (64 - less)) == 0))
            return cell;
    }
    uint64_t r = random(arg);
    size_t place = place_of(t, r);
    return walk_on(t, place, home_of(t->dir[place], r));
}
