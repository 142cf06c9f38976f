/* What a restored partition's state must fulfil, see graph_restore.h. The files' sums have been
 * checked, so whoever comes here with nonsense has computed its sums, too: everything that is used as
 * a place, a level or a count is looked at, and whatever linking counts on (graph_int.h). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph_restore_int.h"

bool restore_wrong(struct restore *r, const char *fmt, ...)
{
    char text[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_puts(r->why, text);
    return false;
}

/* ---- before anything is made ---- */

bool restore_check_state(struct restore *r)
{
    const struct graph_state *s = r->state;
    const struct graph_options *o = &r->g->options;
    if (s->slots > SLOT_MAX || s->slots % CHUNK_SLOTS || (s->graphed && !s->slots))
        return restore_wrong(r, "%u slots", s->slots);
    if (s->nupper > SLOT_MAX / UPPER_BLOCKS || (s->nupper && !s->graphed))
        return restore_wrong(r, "%u chunks of upper links", s->nupper);
    if (s->sequence >= TOMB || s->closed_sequence > s->sequence ||
        s->linked_sequence != s->closed_sequence)
        return restore_wrong(
            r, "sequence %llu, linked %llu, closed %llu", (unsigned long long)s->sequence,
            (unsigned long long)s->linked_sequence, (unsigned long long)s->closed_sequence);
    if (s->graphed && o->flat)
        return restore_wrong(r, "a graph in a FLAT index");
    if (!s->graphed && (s->nbatches || s->open.count || s->open.ndeaths || s->ndead || s->ntombs ||
                        s->linked || s->closed_sequence || s->digest))
        return restore_wrong(r, "batches or nodes without a graph");
    if (s->flat_inserts >= BATCH_SIZE || s->flat_deaths >= BATCH_SIZE ||
        (s->graphed && (s->flat_inserts || s->flat_deaths)) || s->mended > (s->graphed ? MENDED_MAX : 0))
        return restore_wrong(r, "%u inserts and %u deaths since a closing", s->flat_inserts,
                             s->flat_deaths);
    if (s->nbatches > s->slots || s->ndead > s->slots || s->ntombs > s->slots ||
        s->alive > s->slots)
        return restore_wrong(r, "more batches or records than slots");
    return true;
}

/* `n` parts of `part` bytes, each padded, from an offset. */
static bool inside(struct restore *r, const struct region *in, size_t at, size_t n, size_t part,
                   const char *what)
{
    size_t bytes;
    if (!in || at % 4096 || !mem_mul(n, padded(part), &bytes) || at > in->size ||
        bytes > in->size - at)
        return restore_wrong(r, "%s do not lie in their file", what);
    return true;
}

struct range {
    size_t at, size;
};

/* What is written into one column must not change another: a word of `born` is an address once its
 * record has died. */
static bool disjoint(const struct range *range, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 1; k < n; k++)
            if (range[i].at < range[k].at + range[k].size &&
                range[k].at < range[i].at + range[i].size)
                return false;
    return true;
}

static bool check_graph_places(struct restore *r, size_t n)
{
    const struct graph_image *im = r->image;
    uint32_t m = r->g->shape.m;
    size_t S = CHUNK_SLOTS, links = S * 2 * m * sizeof(uint32_t),
           upper = (size_t)UPPER_BLOCKS * m * sizeof(uint32_t);
    if (!inside(r, im->g, im->born, n, S * sizeof(uint64_t), "sequence numbers") ||
        !inside(r, im->g, im->levels, 2 * n, S * sizeof(uint32_t), "levels"))
        return false;
    if (r->state->graphed && (!inside(r, im->g, im->links, n, links, "links") ||
                              !inside(r, im->g, im->upper, r->state->nupper, upper, "upper links")))
        return false;
    const struct range ranges[] = {
        {im->born, n * S * sizeof(uint64_t)},
        {im->levels, 2 * n * S * sizeof(uint32_t)},
        {im->links, n * padded(links)},
        {im->upper, r->state->nupper * padded(upper)},
    };
    return disjoint(ranges, r->state->graphed ? 4 : 2) ||
           restore_wrong(r, "columns lie on each other");
}

bool restore_check_places(struct restore *r)
{
    const struct graph_image *im = r->image;
    const struct columns_shape *shape = &r->g->shape;
    size_t n = r->state->slots / CHUNK_SLOTS, S = CHUNK_SLOTS;
    if (!n)
        return true;
    if (!im->group_chunks || !im->groups)
        return restore_wrong(r, "no groups of chunks");
    for (size_t at = 0, k = 0; at < n; at += im->group_chunks, k++) {
        size_t count = n - at < im->group_chunks ? n - at : im->group_chunks;
        const struct graph_image_group *group = &im->groups[k];
        size_t rows = S * shape->codec.row_bytes, originals = S * shape->original_bytes;
        if (!inside(r, group->v, group->rows, count, rows, "rows") ||
            (originals && !inside(r, group->v, group->originals, count, originals, "originals")))
            return false;
        const struct range ranges[] = {{group->rows, count * padded(rows)},
                                       {group->originals, count * padded(originals)}};
        if (originals && !disjoint(ranges, 2))
            return restore_wrong(r, "columns lie on each other");
    }
    return check_graph_places(r, n);
}

/* ---- batches and deaths ---- */

static bool claim(struct restore *r, uint32_t slot)
{
    uint64_t bit = (uint64_t)1 << (slot & 63);
    if (r->named[slot / 64] & bit)
        return false;
    r->named[slot / 64] |= bit;
    return true;
}

static bool check_slots_of(struct restore *r, const struct graph_batch *b, uint64_t after,
                           uint64_t until)
{
    uint64_t last = after;
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t slot = b->slots[i];
        uint64_t word = slot < r->state->slots ? restore_word(r, slot) : 0;
        if (!word || born_of(word) <= last || born_of(word) > until || !claim(r, slot))
            return restore_wrong(r, "slot %u does not belong into its batch", slot);
        last = born_of(word);
    }
    return true;
}

static bool check_deaths_of(struct restore *r, const uint32_t *slots, uint32_t n, uint64_t after,
                            uint64_t until)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = slots[i] < r->state->slots ? restore_word(r, slots[i]) : 0;
        if (!(word & TOMB) || born_visible(word, until) || !claim(r, slots[i]) ||
            (!born_visible(word, after) && born_of(word) <= after))
            return restore_wrong(r, "slot %u does not belong into its list of deaths", slots[i]);
    }
    return true;
}

/* Once for the records of batches, once for their deaths. */
static bool walk_batches(struct restore *r, bool deaths)
{
    const struct graph_state *s = r->state;
    uint64_t after = s->closed_sequence;
    for (uint32_t i = 0; i <= s->nbatches; i++) {
        bool last = i == s->nbatches;
        const struct graph_batch *b = last ? &s->open : &s->batches[i];
        uint64_t until = last ? s->sequence : b->sequence;
        uint32_t max = last ? BATCH_SIZE - 1 : BATCH_SIZE;
        if (b->count > max || b->ndeaths > max || until < after || until > s->sequence ||
            (!last && until == after))
            return restore_wrong(r, "batch %u of %u records, %u deaths, closed at %llu", i,
                                 b->count, b->ndeaths, (unsigned long long)b->sequence);
        if (!(deaths ? check_deaths_of(r, b->deaths, b->ndeaths, after, until)
                     : check_slots_of(r, b, after, until)))
            return false;
        after = until;
    }
    return true;
}

bool restore_check_lists(struct restore *r)
{
    const struct graph_state *s = r->state;
    size_t waiting = s->open.count, deaths = (size_t)s->ndead + s->open.ndeaths;
    if (!walk_batches(r, false))
        return false;
    memset(r->named, 0, ((size_t)s->slots / 64 + 1) * sizeof(*r->named));
    if (!walk_batches(r, true) ||
        !check_deaths_of(r, s->dead_nodes, s->ndead, 0, s->closed_sequence))
        return false;
    for (uint32_t i = 0; i < s->nbatches; i++) {
        waiting += s->batches[i].count;
        deaths += s->batches[i].ndeaths;
    }
    if (deaths != s->ntombs)
        return restore_wrong(r, "%u dead records, %zu deaths", s->ntombs, deaths);
    if (s->graphed && r->used - r->nodes != waiting)
        return restore_wrong(r, "%zu records not linked, %zu in batches", r->used - r->nodes,
                             waiting);
    return true;
}

/* ---- the graph ---- */

static bool check_upper_list(struct restore *r, uint32_t slot, uint32_t block, int level, bool node)
{
    const struct graph *g = r->g;
    const _Atomic uint32_t *links =
        g->upper[block / UPPER_BLOCKS] + (size_t)(block % UPPER_BLOCKS) * g->shape.m;
    for (uint32_t i = 0; i < g->shape.m; i++) {
        uint32_t to = link_load(links, i);
        if (to == SLOT_NONE)
            break;
        uint64_t word = to < r->state->slots ? restore_word(r, to) : 0;
        if (!node || !word || to == slot || born_of(word) > r->state->closed_sequence ||
            graph_chunk(g, to)->level[slot_place(to)] < level)
            return restore_wrong(r, "slot %u has a link to %u on level %d", slot, to, level);
    }
    return true;
}

bool restore_check_upper(struct restore *r)
{
    const struct graph *g = r->g;
    for (uint32_t slot = 0; r->state->graphed && slot < r->state->slots; slot++) {
        const struct chunk *c = graph_chunk(g, slot);
        int level = c->level[slot_place(slot)];
        uint64_t word = level ? restore_word(r, slot) : 0;
        bool node = born_of(word) <= r->state->closed_sequence;
        for (int l = 1; word && l <= level; l++)
            if (!check_upper_list(r, slot, c->upper[slot_place(slot)] + (uint32_t)l - 1, l, node))
                return false;
    }
    return true;
}

bool restore_check_counts(struct restore *r)
{
    const struct graph_state *s = r->state;
    if (r->used - s->ntombs != s->alive)
        return restore_wrong(r, "%zu records alive, %zu expected", r->used - s->ntombs, s->alive);
    if (!s->graphed)
        return true;
    if (r->nodes != s->linked)
        return restore_wrong(r, "%zu records linked, %zu expected", r->nodes, s->linked);
    if (!r->nodes)
        return s->entry == SLOT_NONE ? true : restore_wrong(r, "an entry point without nodes");
    uint64_t word = s->entry < s->slots ? restore_word(r, s->entry) : 0;
    if (!word || born_of(word) > s->closed_sequence || s->entry_level != r->top ||
        graph_chunk(r->g, s->entry)->level[slot_place(s->entry)] != s->entry_level)
        return restore_wrong(r, "entry point %u of level %d", s->entry, s->entry_level);
    return true;
}
