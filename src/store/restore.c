/* Restoring an index from mapped files, see vecstore.h.
 *
 *   IDS     u64 offset[chunks of the group * 1024], then entries in the stored form      records' `user`: in place
 *   ATTRS   u64 n, n x {u32 slot, u32 0, u64 offset}, then the stored form (attr_doc.h)   records' `extra`: in place
 *   IDTABLE alive x {u64 hash, u32 slot, u32 0}, in order of the hashes                   the map of ids, built at once
 *   SMALL   a whole partition of fewer than 1,024 records                                 copied
 *
 * What lies in a file is used where it lies: nothing is allocated for an id or (but in files of older versions) an
 * attribute, and a partition holds its regions as long as it lives, since records move between chunks while their ids stay.
 *
 * Nothing in a file is believed. Offsets and lengths are looked at before they are followed. That the map of ids
 * leads from every hash to a record with an id of that hash is checked by a sum over both, in the order in which
 * each lies in memory: a look-up of every id would take longer than all the rest. The digest of records is taken from the
 * file; vs_verify_index computes it anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "index/region.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

struct restore {
    struct partition *p;
    const struct vs_part_image *image;
    struct buf *why;
    struct graph_image_group *groups;
    uint32_t ngroups, nchunks;
    uint32_t tomb;                   /* the next of image->state->tombs */
    uint64_t attr, nattrs;           /* the next of ATTRS, and how many there are */
    uint64_t attrs_end;              /* of the entries taken: where the next one stands */
    void **parsed;                   /* attributes that were made on the heap, until the graph has them */
    size_t nparsed, parsed_cap;
    uint64_t sum;                    /* over (hash of id, slot) of the living */
    size_t attributes;               /* of the living */
};

static bool wrong(struct restore *r, const char *what, uint64_t at)
{
    buf_printf(r->why, "partition %u: ", r->p->number);
    buf_printf(r->why, what, (unsigned long long)at);
    return false;
}

static uint64_t load64(const void *from)
{
    uint64_t n;
    memcpy(&n, from, sizeof(n));
    return n;
}

static uint32_t load32(const void *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof(n));
    return n;
}

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

/* Does an id in the stored form begin here and end before `end`? Its bytes with its length, or 0. */
static size_t id_bytes(const uint8_t *at, const uint8_t *end)
{
    size_t room = (size_t)(end - at), head = 1, len;
    if (room < 1)
        return 0;
    len = at[0];
    if (len == 255) {
        head = 5;
        if (room < head)
            return 0;
        len = load32(at + 1);
        if (len < 255 || len > VS_ID_MAX)
            return 0;
    }
    return room - head < len ? 0 : head + len;
}

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
        return wrong(r, "the ids from slot %llu on have no table", (uint64_t)first * CHUNK_SLOTS);
    uint64_t offset = load64(base + at * sizeof(uint64_t));
    if (offset < places * sizeof(uint64_t) || offset >= g->ids_bytes ||
        !id_bytes(base + offset, base + g->ids_bytes))
        return wrong(r, "slot %llu has no id", slot);
    *user = base + offset;
    return true;
}

static bool begin_attributes(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    if (!im->attrs_bytes)
        return true;
    if (im->attrs_bytes < sizeof(uint64_t))
        return wrong(r, "%llu bytes of attributes", im->attrs_bytes);
    r->nattrs = load64(im->g->base + im->attrs);
    r->attrs_end = sizeof(uint64_t) + r->nattrs * 16;
    return r->nattrs <= (im->attrs_bytes - sizeof(uint64_t)) / 16 ||
           wrong(r, "%llu attributes", r->nattrs);
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
        return wrong(r, "the attributes of slot %llu are out of place", at);
    size_t len, bytes = attr_stored_bytes(base + offset, im->attrs_bytes - offset);
    if (bytes)
        attr_text(base + offset, &len);
    if (!bytes || len > VS_ATTRIBUTES_MAX)
        return wrong(r, "the attributes of slot %llu do not fit", slot);
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
            wrong(r, "entry %llu of the table of ids leads to no record of its own", i);
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
            return wrong(r, "entry %llu of the table of ids is out of order", i);
        if (hash > before)
            first = i;
        if (i - first >= SAME_HASH_MAX)
            return wrong(r, "too many ids up to entry %llu have the same hash", i);
        for (size_t k = first; k < i; k++)
            if (same_id(r, cells + i * 16, cells + k * 16))
                return wrong(r, "the id of entry %llu of the table of ids is there twice", i);
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
        return wrong(r, "the table of %llu ids is not that of the records", im->alive), VS_CORRUPT;
    return VS_OK;
}

/* ---- deadlines ---- */

static bool check_deadlines(struct restore *r)
{
    const struct partition *p = r->p;
    if (p->deadlines.n == r->image->deadlines && deadline_first(p) == r->image->first_deadline_ms)
        return true;
    return wrong(r, "%llu elements have deadlines, which is not what was said", p->deadlines.n);
}

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
            return wrong(r, "the deadline of slot %llu is out of place", slot), VS_CORRUPT;
        last = slot;
        if (!(dead ? restore_dead(r, slot, deadline_ms) : partition_restore_deadline(r->p, slot, deadline_ms)))
            return VS_NOMEM;
    }
    return check_deadlines(r) ? VS_OK : VS_CORRUPT;
}

/* ---- a partition of its own ---- */

static enum vs_status restore_large(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    struct partition *p = r->p;
    r->nchunks = im->state->slots / CHUNK_SLOTS;
    if (!im->group_chunks || im->alive != im->state->alive || im->alive > im->state->slots)
        return wrong(r, "%llu elements cannot be", im->alive), VS_CORRUPT;
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
        mem_free(r->parsed[--r->nparsed]);
    mem_free(r->parsed);
    if (status != VS_OK)
        return status;
    if (r->attr != r->nattrs || r->attributes != im->attributes)
        return wrong(r, "%llu elements have attributes, which is not what was said", r->attributes), VS_CORRUPT;
    if (r->attrs_end != im->attrs_bytes)
        return wrong(r, "the attributes go on behind offset %llu", r->attrs_end), VS_CORRUPT;
    status = build_ids(r);
    return status == VS_OK ? take_deadlines(r) : status;
}

/* ---- a small one ---- */

struct small {                       /* where its parts begin */
    size_t n;
    const uint8_t *born, *level, *rows, *originals, *ids, *attributes, *end;
    const uint8_t *deadlines;        /* u64 each, or NULL: none has one */
};

static bool small_parts(struct restore *r, const struct columns_shape *shape, struct small *s)
{
    const struct vs_part_image *im = r->image;
    const uint8_t *base = im->pack->base + im->small;
    s->end = base + im->small_bytes;
    if (im->small_bytes < 8)
        return wrong(r, "%llu bytes are no partition", im->small_bytes);
    s->n = load32(base);
    size_t levels = 8 + s->n * 8, rows = (levels + s->n + 15) & ~(size_t)15;
    size_t originals = rows + s->n * shape->codec.row_bytes;
    size_t ids = originals + s->n * shape->original_bytes;
    if (s->n >= CHUNK_SLOTS || s->n != im->alive || ids > im->small_bytes)
        return wrong(r, "%llu elements do not fit in its section", s->n);
    s->born = base + 8;
    s->level = base + levels;
    s->rows = base + rows;
    s->originals = base + originals;
    if (im->deadlines) { /* behind all else */
        if (im->small_bytes - ids < s->n * 8)
            return wrong(r, "the deadlines of %llu elements do not fit", s->n);
        s->end -= s->n * 8;
        s->deadlines = s->end;
    }
    s->ids = s->attributes = base + ids;
    for (size_t i = 0; i < s->n; i++) {
        size_t bytes = id_bytes(s->attributes, s->end);
        if (!bytes)
            return wrong(r, "element %llu has no id", i);
        s->attributes += bytes;
    }
    return true;
}

static bool finite_vector(const struct partition *p, const uint8_t *row, const uint8_t *original, float *out)
{
    const struct columns_shape *shape = graph_shape(p->graph);
    uint32_t dim = shape->codec.dim;
    vec_decode(&shape->codec, row, out);
    for (uint32_t i = 0; i < dim; i++)
        if (!isfinite(out[i]))
            return false;
    if (!shape->original_bytes)
        return true;
    vec_original_load(shape->originals, original, dim, out);
    for (uint32_t i = 0; i < dim; i++)
        if (!isfinite(out[i]))
            return false;
    return true;
}

/* One element; `s` moves on. */
static enum vs_status small_element(struct restore *r, struct small *s, size_t i, float *vector)
{
    struct partition *p = r->p;
    const struct columns_shape *shape = graph_shape(p->graph);
    const uint8_t *row = s->rows + i * shape->codec.row_bytes;
    const uint8_t *original = s->originals + i * shape->original_bytes;
    size_t len, room = (size_t)(s->end - s->attributes);
    uint32_t slot, attributes_len = UINT32_MAX;
    const void *id = record_id(s->ids, &len);
    uint64_t hash = partition_hash(p, id, len);
    if (room >= sizeof(attributes_len))
        attributes_len = load32(s->attributes);
    bool has = attributes_len != UINT32_MAX;
    if (room < sizeof(attributes_len) ||
        (has && (attributes_len > VS_ATTRIBUTES_MAX || attributes_len > room - sizeof(attributes_len))))
        return wrong(r, "the attributes of element %llu do not fit", i), VS_CORRUPT;
    if (partition_find(p, hash, id, len, &slot) || !finite_vector(p, row, original, vector))
        return wrong(r, "element %llu is there twice, or is no vector", i), VS_CORRUPT;
    uint64_t deadline_ms = s->deadlines ? load64(s->deadlines + i * 8) : 0;
    if (deadline_ms > VS_DEADLINE_MAX)
        return wrong(r, "element %llu has an impossible deadline", i), VS_CORRUPT;
    enum vs_status status = partition_restore_record(
        p, load64(s->born + i * 8), s->level[i], row, original, id, len,
        has ? s->attributes + sizeof(attributes_len) : NULL, has ? attributes_len : 0, deadline_ms);
    if (status == VS_CORRUPT)
        wrong(r, "element %llu was born at an impossible time", i);
    s->ids += id_bytes(s->ids, s->end);
    s->attributes += sizeof(attributes_len) + (has ? attributes_len : 0);
    return status;
}

static enum vs_status restore_small(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    struct partition *p = r->p;
    const struct columns_shape *shape = graph_shape(p->graph);
    struct small s = {0};
    enum vs_status status = VS_OK;
    if (!im->pack && (im->alive || im->attributes))
        return wrong(r, "%llu elements have no section", im->alive), VS_CORRUPT;
    if (!im->pack)
        return graph_restore_end(p->graph, im->state, r->why);
    if (!small_parts(r, shape, &s))
        return VS_CORRUPT;
    float *vector = mem_try_alloc((shape->codec.dim + 64) * sizeof(*vector));
    if (!vector)
        return VS_NOMEM;
    for (size_t i = 0; i < s.n && status == VS_OK; i++)
        status = small_element(r, &s, i, vector);
    mem_free(vector);
    if (status != VS_OK)
        return status;
    if (p->attributes != im->attributes)
        return wrong(r, "%llu elements have attributes, which is not what was said", p->attributes), VS_CORRUPT;
    if (!check_deadlines(r))
        return VS_CORRUPT;
    return graph_restore_end(p->graph, im->state, r->why);
}

/* ---- an index ---- */

enum vs_status partition_restore(struct partition *p, const struct vs_part_image *image, struct buf *why)
{
    if (p->stub)
        return stub_restore(p, image);
    struct restore r = {.p = p, .image = image, .why = why};
    if (image->state->sequence != image->sequence)
        return wrong(&r, "its sequence number %llu is not that of its graph", image->sequence), VS_CORRUPT;
    enum vs_status status = image->g ? restore_large(&r) : restore_small(&r);
    mem_free(r.groups);
    if (status != VS_OK)
        return status;
    p->sequence = image->sequence;
    p->digest = image->records_digest;
    p->attributes = image->attributes;
    p->pinned = image->pinned;
    return VS_OK;
}

enum vs_status vs_restore_new(struct vs_store *store, unsigned db, const char *key, size_t key_len,
                              const struct vs_index_options *options, const struct vs_part_image *parts, size_t n,
                              struct vs_index **out, struct buf *why)
{
    enum vs_status status;
    bool good = db < store->options.databases && options->seed && n >= 1 && n <= VS_PARTITIONS_MAX &&
                parts[0].number == 0;
    for (size_t i = 0; i < n && good; i++) {
        good = (!parts[i].closed || parts[i].saved) && parts[i].number < (options->partitions ? options->partitions : 1) &&
               (!i || parts[i].number > parts[i - 1].number);
    }
    if (!good) {
        buf_printf(why, "an index of database %u with %zu partitions cannot be", db, n);
        return VS_CORRUPT;
    }
    struct vs_index *index = index_new(store, db, key, key_len, options, parts, (uint32_t)n, &status);
    if (!index) {
        if (status == VS_NOMEM)
            return status;
        buf_puts(why, "an option of the index is out of range");
        return VS_CORRUPT;
    }
    struct partition_table *t = index_table(index);
    for (size_t i = 0; i < n; i++) {
        size_t before = why->len;
        status = partition_restore(t->part[i], &parts[i], why);
        if (status != VS_OK) {
            if (status == VS_CORRUPT && why->len == before)
                buf_puts(why, "a partition does not agree with itself");
            index_free(index);
            return status;
        }
        index->count += parts[i].alive;
    }
    for (size_t i = 0; i < n; i++)
        t->part[i]->saved = parts[i].saved;
    *out = index;
    return VS_OK;
}

void vs_restore_deadline(struct vs_index *index, uint64_t deadline_ms)
{
    index->deadline_ms = deadline_ms;
}

enum vs_status vs_restore_attach(struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    enum vs_status status = keyspace_attach(index);
    if (status != VS_OK)
        return status;
    for (uint32_t i = 0; i < t->n; i++) {
        t->part[i]->cut = index->store->env.cuts;
        if (!t->part[i]->stub)
            partition_settle_in(t->part[i]);
    }
    return VS_OK;
}

void vs_restore_discard(struct vs_index *index)
{
    index_kill(index);
}
