/* Marks of use: when, or how often, an element has been used, for eviction to choose by.
 *
 *   USE_CLOCK   the time of the last use, in units of 4.2 ms (2^22 ns): a distance of times is right for 208 days
 *   USE_COUNT   | minutes of the last decay, 24 bits | counter, 8 bits |, a counter that grows with the logarithm of the
 *               uses and falls by one every so many minutes without any, as in Redis
 *
 * A mark is a word a slot in a column of the partition's own, which exists only under a policy that asks for it. 0: not
 * used since there are marks. Compaction takes marks along. The owner alone reads and writes them: searches only note
 * which slots they found and what sequence numbers were there, so that a mark never lands on a slot's next record.
 *
 * Marks are not kept in files. A cache that starts again has all of its elements equally old, and finds out within one
 * round which of them are used: writing marks into every snapshot would cost more than that. */
#include <string.h>

#include "base/mem.h"
#include "store/store_int.h"

#define CLOCK_BITS    22
#define COUNT_FIRST   5 /* of something new, so that it is not evicted before it can be used */
#define FIRST_MIN     16
#define MINUTE_NS     60000000000ull
#define RANDOM_FOLD   (1ull << 32)
#define SCORE_UNKNOWN ((uint64_t)1 << 40)

static uint32_t clock_mark(const struct vs_store *store)
{
    uint32_t mark = (uint32_t)(store->use.now_ns >> CLOCK_BITS);
    return mark ? mark : 1;
}

/* ---- the logarithmic counter ---- */

static uint32_t minutes_now(const struct vs_store *store)
{
    return (uint32_t)(store->use.now_ns / MINUTE_NS) & 0xFFFFFF;
}

static uint32_t count_mark(const struct vs_store *store, unsigned counter)
{
    return minutes_now(store) << 8 | counter;
}

/* The counter as the time since its last decay leaves it. */
static unsigned decayed(const struct vs_store *store, uint32_t mark)
{
    unsigned counter = mark & 0xFF, every = store->evict.limit.lfu_decay_minutes;
    uint32_t passed = (minutes_now(store) - (mark >> 8)) & 0xFFFFFF;
    uint32_t periods = every ? passed / every : 0;
    return periods > counter ? 0 : counter - periods;
}

static uint32_t count_again(struct vs_store *store, uint32_t mark)
{
    unsigned counter = decayed(store, mark);
    if (counter < 255) {
        double base = counter > COUNT_FIRST ? counter - COUNT_FIRST : 0;
        double p = 1.0 / (base * store->evict.limit.lfu_log_factor + 1);
        counter += (double)(rng_next(&store->rng) % RANDOM_FOLD) < p * (double)RANDOM_FOLD;
    }
    return count_mark(store, counter);
}

/* ---- the column ---- */

void use_free(struct partition *p)
{
    for (uint32_t i = 0; i < p->use.nchunks; i++)
        mem_free(p->use.chunk[i]);
    mem_free(p->use.chunk);
    memset(&p->use, 0, sizeof(p->use));
}

/* The word of a slot, or NULL: there is none yet. */
static uint32_t *word_at(const struct partition *p, uint32_t slot)
{
    const struct use_column *u = &p->use;
    uint32_t chunk = slot / CHUNK_SLOTS;
    if (u->kind != p->store->use.kind || chunk >= u->nchunks || !u->chunk[chunk] ||
        (!chunk && slot >= u->first_slots))
        return NULL;
    return &u->chunk[chunk][slot % CHUNK_SLOTS];
}

/* The first chunk is no larger than the partition's. */
static bool grow_first(struct use_column *u, uint32_t slot)
{
    uint32_t slots = u->first_slots ? u->first_slots : FIRST_MIN;
    while (slots <= slot)
        slots *= 4;
    uint32_t *words = mem_try_realloc(u->chunk[0], slots * sizeof(*words));
    if (!words)
        return false;
    memset(words + u->first_slots, 0, (slots - u->first_slots) * sizeof(*words));
    u->bytes += (slots - u->first_slots) * sizeof(*words);
    u->chunk[0] = words;
    u->first_slots = slots;
    return true;
}

static uint32_t *make_word(struct partition *p, uint32_t slot)
{
    struct use_column *u = &p->use;
    uint32_t chunk = slot / CHUNK_SLOTS;
    if (u->kind != p->store->use.kind)
        use_free(p);
    u->kind = (uint8_t)p->store->use.kind;
    if (chunk >= u->nchunks) {
        uint32_t n = chunk + 1 + chunk / 8;
        uint32_t **chunks = mem_try_realloc(u->chunk, n * sizeof(*chunks));
        if (!chunks)
            return NULL;
        memset(chunks + u->nchunks, 0, (n - u->nchunks) * sizeof(*chunks));
        u->bytes += (n - u->nchunks) * sizeof(*chunks);
        u->chunk = chunks;
        u->nchunks = n;
    }
    if (!chunk) {
        if (slot >= u->first_slots && !grow_first(u, slot))
            return NULL;
    } else if (!u->chunk[chunk]) {
        if (!(u->chunk[chunk] = mem_try_zalloc(CHUNK_SLOTS * sizeof(uint32_t))))
            return NULL;
        u->bytes += CHUNK_SLOTS * sizeof(uint32_t);
    }
    return &u->chunk[chunk][slot % CHUNK_SLOTS];
}

static void set_mark(struct partition *p, uint32_t slot, bool is_new)
{
    struct vs_store *store = p->store;
    uint32_t *word = make_word(p, slot);
    if (!word)
        return; /* it counts as not used: no reason to refuse anything */
    if (store->use.kind == USE_CLOCK)
        *word = clock_mark(store);
    else if (is_new)
        *word = count_mark(store, COUNT_FIRST);
    else
        *word = count_again(store, *word ? *word : count_mark(store, COUNT_FIRST));
}

void use_touch(struct partition *p, uint32_t slot)
{
    if (p->store->use.kind != USE_NONE && !p->store->use.off)
        set_mark(p, slot, false);
}

void use_born(struct partition *p, uint32_t slot)
{
    if (p->store->use.kind != USE_NONE)
        set_mark(p, slot, true);
}

void use_moved(struct partition *p, uint32_t from, uint32_t to)
{
    const uint32_t *old = word_at(p, from);
    uint32_t mark = old ? *old : 0, *word = mark ? make_word(p, to) : NULL;
    if (word)
        *word = mark;
}

uint64_t use_score(const struct partition *p, uint32_t slot)
{
    const uint32_t *word = word_at(p, slot);
    if (!word || !*word)
        return SCORE_UNKNOWN;
    if (p->store->use.kind == USE_COUNT)
        return 255 - decayed(p->store, *word);
    return clock_mark(p->store) - *word;
}

/* ---- keys ---- */

void use_key_born(struct vs_index *index)
{
    index->used_ns = index->store->use.now_ns;
    index->use = count_mark(index->store, COUNT_FIRST);
}

/* In the same units as those of elements. */
uint64_t use_key_score(const struct vs_index *index, enum use_kind kind)
{
    if (kind == USE_COUNT)
        return 255 - decayed(index->store, index->use);
    uint64_t now = index->store->use.now_ns;
    return now > index->used_ns ? (now - index->used_ns) >> CLOCK_BITS : 0;
}

void vs_index_touch(struct vs_index *index)
{
    struct vs_store *store = index->store;
    if (store->use.off)
        return;
    index->used_ns = store->use.now_ns;
    index->use = count_again(store, index->use);
}

uint64_t vs_index_idle_ms(const struct vs_index *index)
{
    uint64_t now = index->store->use.now_ns;
    return now > index->used_ns ? (now - index->used_ns) / 1000000 : 0;
}

unsigned vs_index_frequency(const struct vs_index *index)
{
    return decayed(index->store, index->use);
}

void vs_index_set_idle(struct vs_index *index, uint64_t idle_ms)
{
    uint64_t now = index->store->use.now_ns;
    index->used_ns = now / 1000000 > idle_ms ? now - idle_ms * 1000000 : 0;
}

void vs_index_set_frequency(struct vs_index *index, unsigned frequency)
{
    index->use = count_mark(index->store, frequency > 255 ? 255 : frequency);
}

/* ---- what searches found ---- */

bool vs_marks(const struct vs_store *store)
{
    return store->use.kind != USE_NONE && !store->use.off;
}

void vs_marks_off(struct vs_store *store, bool off)
{
    store->use.off = off;
}

void vs_mark(struct vs_store *store, uint64_t uid, const struct vs_mark *marks, size_t n)
{
    const struct vs_index *index = n ? keyspace_by_uid(store, uid) : NULL;
    struct partition *p = NULL;
    for (size_t i = 0; index && i < n; i++) {
        if (!p || p->number != marks[i].number)
            p = index_numbered(index, marks[i].number);
        if (p && !p->stub && graph_alive_at(p->graph, marks[i].slot) == marks[i].born)
            use_touch(p, marks[i].slot);
    }
}
