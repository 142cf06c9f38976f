/* Checking a graph's invariants, for tests: walks every slot and every link and counts again what
 * is kept up to date elsewhere.
 *
 * What a slot is follows from four sources: the bitmap of used slots, the word `born`, the lists of
 * deaths (waiting for a batch's closing, or for repair), and the sequence number of the last batch
 * linked. A used slot with a record is
 *
 *   linked      alive and born by then, or dead and in one of the lists of deaths
 *   waiting     in exactly one batch, born later
 *   on its way  dead and in no list: its release waits for readers (or, in a scanned partition, for a compaction's end)
 *
 * Call it while no job runs and all that is finished has been published. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph_int.h"

struct check {
    const struct graph *g;
    uint8_t *linked; /* a byte a slot */
    uint8_t *waiting;
    uint32_t *sorted; /* one list of links */
    size_t nlinked, ndead;
    uint64_t digest;
    int entry_level; /* the highest */
};

static uint64_t word_at(const struct graph *g, uint32_t slot)
{
    return atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)],
                                memory_order_acquire);
}

static bool is_used(const struct graph *g, uint32_t slot)
{
    return g->used[slot / 64] >> (slot & 63) & 1;
}

/* ---- slots ---- */

static const char *check_slots(const struct graph *g)
{
    size_t slots = 0, used = 0, alive = 0;
    for (uint32_t i = 0; i < g->nchunks; i++) {
        if (g->chunks[i]->slots != CHUNK_SLOTS && g->nchunks > 1)
            return "a small chunk beside others";
        if (g->graphed && (!g->chunks[i]->links || g->chunks[i]->slots != CHUNK_SLOTS))
            return "a chunk of a graph without links, or smaller than whole";
        slots += g->chunks[i]->slots;
    }
    if (slots != g->slots)
        return "the number of slots is not that of the chunks";
    for (uint32_t slot = 0; slot < g->slots; slot++) {
        uint64_t word = word_at(g, slot);
        bool target = g->compact.step != COMPACT_OFF && slot < g->compact.end;
        used += is_used(g, slot);
        if (word && !is_used(g, slot))
            return "a free slot holds a record";
        if (!word && is_used(g, slot) && !target)
            return "a used slot holds no record";
        if (!is_used(g, slot) && slot < g->free_hint)
            return "a free slot before the hint";
        if (word && !(word & TOMB) &&
            (compact_alias(g, slot) == SLOT_NONE || slot < g->compact.end))
            alive++;
    }
    if (used != g->nused)
        return "the number of used slots is wrong";
    return alive == g->alive ? NULL : "the number of records alive is wrong";
}

/* ---- batches and deaths ---- */

static const char *mark_batch(struct check *c, const struct batch *b, uint64_t after)
{
    const struct graph *g = c->g;
    uint32_t n = atomic_load_explicit(&b->count, memory_order_acquire);
    uint64_t last = 0;
    if (n > BATCH_SIZE || b->ndeaths > BATCH_SIZE)
        return "a batch is too full";
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = atomic_load_explicit(&b->slots[i], memory_order_relaxed);
        if (slot >= g->slots || !word_at(g, slot))
            return "a batch holds a slot without a record";
        uint64_t born = born_of(word_at(g, slot));
        if (born <= after || born <= last)
            return "a batch's records are out of order, or linked already";
        if (c->waiting[slot]++)
            return "a record is in two batches";
        last = born;
    }
    return NULL;
}

static const char *mark_dead_node(struct check *c, uint32_t slot)
{
    const struct graph *g = c->g;
    if (slot >= g->slots || !(word_at(g, slot) & TOMB))
        return "a list of deaths holds a slot whose record is not dead";
    if (born_of(word_at(g, slot)) > g->closed_sequence)
        return NULL; /* it died before it was linked */
    if (c->linked[slot]++)
        return "a record died twice";
    return NULL;
}

static const char *check_batches(struct check *c)
{
    const struct graph *g = c->g;
    const char *wrong = NULL;
    size_t unlinked = 0;
    if (g->queue == NULL && g->nwaiting)
        return "a batch waits outside the queue";
    const struct batch *queued = g->queue;
    for (uint32_t i = 0; i <= g->nwaiting && !wrong; i++) {
        const struct batch *b = i < g->nwaiting ? g->waiting[i] : g->open;
        if (!b)
            continue;
        if (i < g->nwaiting) {
            if (b != queued)
                return "the queue is not the list of waiting batches";
            queued = b->next;
        }
        wrong = mark_batch(c, b, g->closed_sequence);
        for (uint32_t k = 0; k < b->ndeaths && !wrong; k++)
            wrong = mark_dead_node(c, b->deaths[k]);
        unlinked += atomic_load_explicit(&b->count, memory_order_relaxed);
        c->ndead += b->ndeaths;
    }
    for (size_t i = 0; i < g->ndead_nodes && !wrong; i++)
        wrong = mark_dead_node(c, g->dead_nodes[i]);
    c->ndead += g->ndead_nodes;
    if (!wrong && unlinked != g->unlinked)
        wrong = "the number of records not linked is wrong";
    return wrong;
}

/* ---- nodes and links ---- */

static int compare_slots(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static const char *check_list(struct check *c, uint32_t slot, int level)
{
    const struct graph *g = c->g;
    uint32_t m = g->shape.m, max = links_max(m, level), n = 0;
    const _Atomic uint32_t *links;
    if (level) {
        uint32_t block = graph_chunk(g, slot)->upper[slot_place(slot)];
        if (block == SLOT_NONE || block / UPPER_BLOCKS >= g->nupper ||
            (block + (uint32_t)level - 1) / UPPER_BLOCKS != block / UPPER_BLOCKS)
            return "a node of an upper level has no links there";
        block += (uint32_t)level - 1;
        links = g->upper[block / UPPER_BLOCKS] + (size_t)(block % UPPER_BLOCKS) * m;
    } else {
        links = graph_chunk(g, slot)->links + (size_t)slot_place(slot) * 2 * m;
    }
    uint64_t born = born_of(word_at(g, slot));
    for (; n < max && link_load(links, n) != SLOT_NONE; n++) {
        uint32_t to = c->sorted[n] = link_load(links, n);
        if (to == slot)
            return "a node is linked to itself";
        if (to >= g->slots || !c->linked[to])
            return "a link leads to what is no node";
        if (graph_chunk(g, to)->level[slot_place(to)] < level)
            return "a link of an upper level leads to a node that is not there";
        c->digest += digest_link(born, level, born_of(word_at(g, to)));
    }
    for (uint32_t i = n; i < max; i++)
        if (link_load(links, i) != SLOT_NONE)
            return "a link stands behind the end of its list";
    qsort(c->sorted, n, sizeof(*c->sorted), compare_slots);
    for (uint32_t i = 1; i < n; i++)
        if (c->sorted[i] == c->sorted[i - 1])
            return "a link stands twice";
    return NULL;
}

static const char *check_nodes(struct check *c)
{
    const struct graph *g = c->g;
    for (uint32_t slot = 0; slot < g->slots; slot++) {
        uint64_t word = word_at(g, slot);
        bool alive = word && !(word & TOMB);
        if (alive && word <= g->closed_sequence)
            c->linked[slot]++;
        if (c->linked[slot] && c->waiting[slot])
            return "a record is in the graph and in a batch";
        if (alive && !c->linked[slot] && !c->waiting[slot])
            return "a record is neither in the graph nor in a batch";
        c->nlinked += c->linked[slot] != 0;
    }
    for (uint32_t slot = 0; slot < g->slots; slot++) {
        if (!c->linked[slot])
            continue;
        int level = graph_chunk(g, slot)->level[slot_place(slot)];
        if (level > c->entry_level)
            c->entry_level = level;
        c->digest += digest_node(born_of(word_at(g, slot)), level);
        for (int l = 0; l <= level; l++) {
            const char *wrong = check_list(c, slot, l);
            if (wrong)
                return wrong;
        }
    }
    return NULL;
}

static const char *check_sums(const struct check *c)
{
    const struct graph *g = c->g;
    if (c->nlinked != g->linked)
        return "the number of nodes is wrong";
    if (c->ndead != g->dead)
        return "the number of dead nodes is wrong";
    if (c->digest != g->digest)
        return "the digest is wrong";
    if (c->entry_level != g->entry_level)
        return "the entry point does not have the highest level";
    if ((g->entry == SLOT_NONE) != (c->nlinked == 0))
        return "the entry point is missing, or there without a graph";
    if (g->entry != SLOT_NONE &&
        (g->entry >= g->slots || !c->linked[g->entry] ||
         graph_chunk(g, g->entry)->level[slot_place(g->entry)] != g->entry_level))
        return "the entry point is no node of its level";
    if (g->closed_sequence != g->linked_sequence)
        return "what was linked last has not been published";
    return NULL;
}

const char *graph_check(const struct graph *g)
{
    if (g->job || g->finished)
        return "a job is running";
    const char *wrong = check_slots(g);
    if (wrong || !g->graphed)
        return wrong                                             ? wrong
               : g->open || g->nwaiting || g->entry != SLOT_NONE ? "a scanned partition has a graph"
                                                                 : NULL;
    if (g->compact.step != COMPACT_OFF)
        return NULL; /* records stand in two slots */
    struct check c = {.g = g, .entry_level = -1};
    c.linked = mem_try_zalloc((size_t)g->slots + 1);
    c.waiting = mem_try_zalloc((size_t)g->slots + 1);
    c.sorted = mem_alloc(2 * g->shape.m * sizeof(*c.sorted));
    wrong = c.linked && c.waiting ? check_batches(&c) : "there is no memory to check it";
    if (!wrong)
        wrong = check_nodes(&c);
    if (!wrong)
        wrong = check_sums(&c);
    mem_free(c.linked);
    mem_free(c.waiting);
    mem_free(c.sorted);
    return wrong;
}
