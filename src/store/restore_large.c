/* Restoring a partition that lies in files of its own: what is in them is used where it lies. restore.c says how. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/region.h"
#include "store/attr_doc.h"
#include "store/restore_int.h"

/* ---- regions of a partition ---- */

static int compare_regions(const void *x, const void *y)
{
    const struct region *const *a = x, *const *b = y;
    return (*a)->base < (*b)->base ? -1 : (*a)->base > (*b)->base;
}

static bool hold_regions(struct restore *r)
{
    struct partition *p = r->p;
    const struct vs_part_image *im = r->image;
    p->regions = mem_try_alloc((r->ngroups + 1) * sizeof(struct region *));
    if (!p->regions)
        return false;
    p->regions[p->nregions++] = region_ref(im->g);
    for (uint32_t i = 0; i < r->ngroups; i++)
        if (!i || im->groups[i].v != im->groups[i - 1].v)
            p->regions[p->nregions++] = region_ref(im->groups[i].v);
    qsort(p->regions, p->nregions, sizeof(struct region *), compare_regions);
    return true;
}

void partition_drop_regions(struct partition *p)
{
    for (uint32_t i = 0; i < p->nregions; i++)
        region_unref(p->regions[i]);
    mem_free(p->regions);
    p->regions = NULL;
    p->nregions = 0;
}

bool partition_maps(const struct partition *p, const void *ptr)
{
    uint32_t lo = 0, hi = p->nregions;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (p->regions[mid]->base <= (const uint8_t *)ptr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && (size_t)((const uint8_t *)ptr - p->regions[lo - 1]->base) < p->regions[lo - 1]->size;
}

/* ---- ids and attributes ---- */

static bool take_id(struct restore *r, uint32_t slot, void **user)
{
    const struct vs_part_image *im = r->image;
    uint32_t chunk = slot >> CHUNK_BITS, group = chunk / im->group_chunks;
    const struct vs_part_group *g = &im->groups[group];
    uint32_t first = group * im->group_chunks, left = r->nchunks - first;
    size_t chunks = left < im->group_chunks ? left : im->group_chunks;
    size_t places = chunks * CHUNK_SLOTS, at = slot - (size_t)first * CHUNK_SLOTS;
    uint8_t *base = g->v->base + g->ids;
    if (g->ids_bytes < places * sizeof(uint64_t))
        return restore_refuse(r, "the ids from slot %llu on have no table", (uint64_t)first * CHUNK_SLOTS);
    uint64_t offset = load64(base + at * sizeof(uint64_t));
    if (offset < places * sizeof(uint64_t) || offset >= g->ids_bytes ||
        !restore_id_bytes(base + offset, base + g->ids_bytes))
        return restore_refuse(r, "slot %llu has no id", slot);
    *user = base + offset;
    return true;
}

static bool begin_attributes(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    if (!im->attrs_bytes)
        return true;
    if (im->attrs_bytes < sizeof(uint64_t))
        return restore_refuse(r, "%llu bytes of attributes", im->attrs_bytes);
    r->nattrs = load64(im->g->base + im->attrs);
    r->attrs_end = sizeof(uint64_t) + r->nattrs * 16;
    return r->nattrs <= (im->attrs_bytes - sizeof(uint64_t)) / 16 ||
           restore_refuse(r, "%llu attributes", r->nattrs);
}

/* Attributes that an older version saved without their document get one, on the heap. */
static bool parsed_by_now(struct restore *r, void **extra)
{
    const uint8_t *doc;
    size_t len;
    const void *text = attr_text(*extra, &len);
    if (attr_doc(*extra, &doc) || len > ATTR_PARSE_MAX)
        return true;
    void *made = mem_try_grow(&r->parsed, &r->parsed_cap, r->nparsed + 1, sizeof(*r->parsed)) ? attr_new(text, len)
                                                                                          : NULL;
    if (!made)
        return false; /* without a reason: out of memory */
    r->parsed[r->nparsed++] = made;
    r->p->attributes_bytes += mem_size(made);
    *extra = made;
    return true;
}

/* The list of attributes is in order of the slots, and so are the calls; the entries stand behind it in the same order, without
 * gaps: none is another's, whatever goes wrong when they are written. */
static bool take_extra(struct restore *r, uint32_t slot, void **extra)
{
    const struct vs_part_image *im = r->image;
    uint8_t *base = im->g->base + im->attrs;
    *extra = NULL;
    if (r->attr == r->nattrs)
        return true;
    const uint8_t *row = base + sizeof(uint64_t) + r->attr * 16;
    uint32_t at = load32(row);
    if (at > slot)
        return true;
    uint64_t offset = load64(row + 8);
    if (at < slot || offset != r->attrs_end || offset >= im->attrs_bytes)
        return restore_refuse(r, "the attributes of slot %llu are out of place", at);
    size_t len, bytes = attr_stored_bytes(base + offset, im->attrs_bytes - offset);
    if (bytes)
        attr_text(base + offset, &len);
    if (!bytes || len > VS_ATTRIBUTES_MAX)
        return restore_refuse(r, "the attributes of slot %llu do not fit", slot);
    *extra = base + offset;
    r->attr++;
    r->attrs_end = offset + ((bytes + 7) & ~(uint64_t)7);
    return parsed_by_now(r, extra);
}

static uint64_t pair_sum(uint64_t hash, uint32_t slot)
{
    return hash_mix(hash ^ hash_mix(slot));
}

static bool record(void *arg, uint32_t slot, void **user, void **extra, struct buf *why)
{
    struct restore *r = arg;
    const struct graph_state *s = r->image->state;
    size_t len;
    (void)why;
    if (!take_id(r, slot, user) || !take_extra(r, slot, extra))
        return false;
    while (r->tomb < s->ntombs && s->tombs[r->tomb].slot < slot)
        r->tomb++;
    if (r->tomb < s->ntombs && s->tombs[r->tomb].slot == slot)
        return true; /* dead */
    const void *id = record_id(*user, &len);
    r->sum += pair_sum(partition_hash(r->p, id, len), slot);
    r->attributes += *extra != NULL;
    return true;
}

/* ---- the map of ids ---- */

struct id_cells {
    const uint8_t *at;
    uint64_t sum;
};

static void next_cell(void *arg, uint64_t *hash, uint64_t *cell)
{
    struct id_cells *c = arg;
    uint32_t slot = load32(c->at + 8);
    *hash = load64(c->at);
    *cell = (uint64_t)slot + 1;
    c->sum += pair_sum(*hash, slot);
    c->at += 16;
}

/* Slots in range, each once, and with a living record: what must hold before a cell is followed. */
static bool check_cells(struct restore *r, const uint8_t *cells, bool *memory)
{
    const struct graph_state *s = r->image->state;
    uint64_t *seen = mem_try_zalloc(((size_t)s->slots / 64 + 1) * sizeof(*seen));
    bool good = true;
    *memory = seen != NULL;
    if (!seen)
        return false;
    for (uint32_t i = 0; i < s->ntombs; i++) /* the graph has found them in range */
        seen[s->tombs[i].slot / 64] |= (uint64_t)1 << (s->tombs[i].slot & 63);
    for (size_t i = 0; i < r->image->alive && good; i++) {
        uint32_t slot = load32(cells + i * 16 + 8);
        good = slot < s->slots && !(seen[slot / 64] >> (slot & 63) & 1) &&
               graph_user(r->p->graph, slot) != NULL;
        if (good)
            seen[slot / 64] |= (uint64_t)1 << (slot & 63);
        else
            restore_refuse(r, "entry %llu of the table of ids leads to no record of its own", i);
    }
    mem_free(seen);
    return good;
}

/* Entries of one hash stand together: of 64 bits, so that there are hardly ever two. */
#define SAME_HASH_MAX 64

static bool same_id(const struct restore *r, const uint8_t *cell, const uint8_t *other)
{
    size_t len, other_len;
    const void *id = record_id(graph_user(r->p->graph, load32(cell + 8)), &len);
    const void *second = record_id(graph_user(r->p->graph, load32(other + 8)), &other_len);
    return len == other_len && memcmp(id, second, len) == 0;
}

/* In the order of the hashes, and no id twice. */
static bool check_order(struct restore *r, const uint8_t *cells)
{
    size_t first = 0; /* of those with this hash */
    for (size_t i = 1; i < r->image->alive; i++) {
        uint64_t hash = load64(cells + i * 16), before = load64(cells + (i - 1) * 16);
        if (hash < before)
            return restore_refuse(r, "entry %llu of the table of ids is out of order", i);
        if (hash > before)
            first = i;
        if (i - first >= SAME_HASH_MAX)
            return restore_refuse(r, "too many ids up to entry %llu have the same hash", i);
        for (size_t k = first; k < i; k++)
            if (same_id(r, cells + i * 16, cells + k * 16))
                return restore_refuse(r, "the id of entry %llu of the table of ids is there twice", i);
    }
    return true;
}

static enum vs_status build_ids(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    struct id_cells cells = {.at = im->g->base + im->idtable};
    bool memory;
    if (!check_cells(r, cells.at, &memory))
        return memory ? VS_CORRUPT : VS_NOMEM;
    if (!check_order(r, cells.at))
        return VS_CORRUPT;
    if (!htable_build(r->p->ids, im->alive, next_cell, &cells))
        return VS_NOMEM;
    if (cells.sum != r->sum)
        return restore_refuse(r, "the table of %llu ids is not that of the records", im->alive), VS_CORRUPT;
    return VS_OK;
}

/* ---- deadlines ---- */

/* Is there a record in this slot, and a dead one? Slots come in rising order. */
static bool stands(struct restore *r, uint32_t slot, uint32_t *tomb, bool *dead)
{
    const struct graph_state *s = r->image->state;
    while (*tomb < s->ntombs && s->tombs[*tomb].slot < slot)
        ++*tomb;
    *dead = *tomb < s->ntombs && s->tombs[*tomb].slot == slot;
    return slot < s->slots && graph_user(r->p->graph, slot);
}

/* A dead record's is looked at when its batch is linked. */
static bool restore_dead(struct restore *r, uint32_t slot, uint64_t deadline_ms)
{
    if (!graph_deadline_room(r->p->graph, slot))
        return false;
    graph_set_deadline(r->p->graph, slot, deadline_ms);
    return true;
}

static enum vs_status take_deadlines(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    const uint8_t *row = im->nends ? im->g->base + im->ends : NULL;
    uint32_t tomb = 0, slot, last = 0;
    for (size_t i = 0; i < im->nends; i++, row += 16) {
        uint64_t deadline_ms = load64(row + 8);
        bool dead;
        slot = load32(row);
        if (!deadline_ms || deadline_ms > VS_DEADLINE_MAX || (i && slot <= last) || !stands(r, slot, &tomb, &dead))
            return restore_refuse(r, "the deadline of slot %llu is out of place", slot), VS_CORRUPT;
        last = slot;
        if (!(dead ? restore_dead(r, slot, deadline_ms) : partition_restore_deadline(r->p, slot, deadline_ms)))
            return VS_NOMEM;
    }
    return restore_check_deadlines(r) ? VS_OK : VS_CORRUPT;
}

/* ---- a partition of its own ---- */

enum vs_status restore_large(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    struct partition *p = r->p;
    r->nchunks = im->state->slots / CHUNK_SLOTS;
    if (!im->group_chunks || im->alive != im->state->alive || im->alive > im->state->slots)
        return restore_refuse(r, "%llu elements cannot be", im->alive), VS_CORRUPT;
    r->ngroups = (r->nchunks + im->group_chunks - 1) / im->group_chunks;
    r->groups = mem_try_alloc((r->ngroups + 1) * sizeof(*r->groups));
    if (!r->groups || !hold_regions(r))
        return VS_NOMEM;
    for (uint32_t i = 0; i < r->ngroups; i++)
        r->groups[i] = (struct graph_image_group){.v = im->groups[i].v,
                                                  .rows = im->groups[i].rows,
                                                  .originals = im->groups[i].originals,
                                                  .filled = im->groups[i].filled};
    if (!begin_attributes(r))
        return VS_CORRUPT;
    struct graph_image image = {.state = im->state,
                                .g = im->g,
                                .links = im->links,
                                .upper = im->upper,
                                .born = im->born,
                                .levels = im->levels,
                                .group_chunks = im->group_chunks,
                                .groups = r->groups,
                                .record = record,
                                .arg = r};
    enum vs_status status = graph_restore(p->graph, &image, r->why);
    while (status != VS_OK && r->nparsed) /* it gives no record back */
        attr_free(r->parsed[--r->nparsed]);
    mem_free(r->parsed);
    if (status != VS_OK)
        return status;
    if (r->attr != r->nattrs || r->attributes != im->attributes)
        return restore_refuse(r, "%llu elements have attributes, which is not what was said", r->attributes), VS_CORRUPT;
    if (r->attrs_end != im->attrs_bytes)
        return restore_refuse(r, "the attributes go on behind offset %llu", r->attrs_end), VS_CORRUPT;
    status = build_ids(r);
    return status == VS_OK ? take_deadlines(r) : status;
}
