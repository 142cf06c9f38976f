/* An index: its options, its partitions, and which of them an id belongs to.
 *
 * HASH placement is consistent hashing (Karger et al., STOC 1997): every partition stands at
 * `vnodes` points of a ring of 64-bit hashes, drawn from the index's seed and the partition's
 * number; an id belongs to the first point at or after its hash. A partition more or less moves
 * only the ids of its own arcs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/attr_doc.h"
#include "store/store_int.h"
#include "vec/project.h"

#define RING_SALT 0x52494E47ull /* keeps points and ids apart from levels */
#define CALM_PARTITIONS 8
#define CALM_DEAD 256 /* what may be dead before a repair is due */

/* ---- options ---- */

static enum vs_status check_options(struct vs_index_options *o, struct rng *rng)
{
    if (!o->m)
        o->m = VS_M_DEFAULT;
    if (!o->ef_construction)
        o->ef_construction = VS_EF_CONSTRUCTION_DEFAULT;
    if (!o->partitions)
        o->partitions = 1;
    if (!o->vnodes)
        o->vnodes = VS_VNODES_DEFAULT;
    while (!o->seed)
        o->seed = rng_next(rng);
    if (o->dim < 1 || o->dim > VEC_DIM_MAX || (unsigned)o->metric >= VEC_METRICS ||
        (unsigned)o->type >= VEC_TYPES || (unsigned)o->originals > VEC_ORIG_NONE ||
        (unsigned)o->structure > VS_FLAT || o->strategy != VS_STRATEGY_HASH ||
        (unsigned)o->map > VS_MAP_ALL || (o->input_dim && (o->input_dim < o->dim || o->input_dim > VEC_DIM_MAX)))
        return VS_INVALID;
    o->originals = vec_type_originals(o->type, o->originals);
    if (o->m < VS_M_MIN || o->m > VS_M_MAX || o->ef_construction > VS_EF_MAX ||
        o->partitions > VS_PARTITIONS_MAX || o->vnodes > VS_VNODES_MAX)
        return VS_LIMIT;
    return VS_OK;
}

/* ---- the ring ---- */

static int compare_points(const void *x, const void *y)
{
    const struct ring_point *a = x, *b = y;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

/* The ring of a table, or NULL: of one partition, or (*status) without memory. */
static struct ring_point *ring_new(const struct vs_index_options *o,
                                   const struct partition_table *t, size_t *n,
                                   enum vs_status *status)
{
    *n = 0;
    *status = VS_OK;
    if (t->n < 2)
        return NULL;
    struct ring_point *ring = mem_try_alloc((size_t)t->n * o->vnodes * sizeof(*ring));
    if (!ring) {
        *status = VS_NOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t k = 0; k < o->vnodes; k++) {
            uint64_t point =
                hash_mix(o->seed ^ RING_SALT) + ((uint64_t)t->part[i]->number << 32 | k);
            ring[(*n)++] = (struct ring_point){hash_mix(point), i};
        }
    qsort(ring, *n, sizeof(*ring), compare_points);
    return ring;
}

static uint32_t ring_find(const struct vs_index *index, uint64_t hash)
{
    uint64_t at = hash_mix(hash ^ RING_SALT);
    size_t lo = 0, hi = index->nring;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (index->ring[mid].at < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return index->ring[lo < index->nring ? lo : 0].position;
}

size_t vs_partition_of(const struct vs_index *index, const void *id, size_t id_len)
{
    return index->ring ? ring_find(index, hash_bytes(id, id_len, index->options.seed)) : 0;
}

struct partition *index_partition(const struct vs_index *index, const void *id, size_t id_len)
{
    return index_table(index)->part[vs_partition_of(index, id, id_len)];
}

/* A table is in order of the numbers. */
struct partition *index_numbered(const struct vs_index *index, uint32_t number)
{
    const struct partition_table *t = index_table(index);
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->part[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n && t->part[lo]->number == number ? t->part[lo] : NULL;
}

/* ---- life ---- */

/* Partitions as in `parts`, or (NULL) all from 0 on. */
static struct partition_table *table_new(struct vs_index *index, const struct vs_part_image *parts,
                                         uint32_t n)
{
    struct partition_table *t = mem_try_zalloc(sizeof(*t) + n * sizeof(t->part[0]));
    if (!t)
        return NULL;
    for (; t->n < n; t->n++) {
        uint32_t number = parts ? parts[t->n].number : t->n;
        t->part[t->n] = parts && parts[t->n].closed ? stub_new(index, number)
                                                    : partition_new(index, number);
        if (!t->part[t->n]) {
            while (t->n--)
                partition_free(t->part[t->n]);
            mem_free(t);
            return NULL;
        }
    }
    return t;
}

struct vs_index *index_new(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                           const struct vs_index_options *o, const struct vs_part_image *parts, uint32_t n,
                           enum vs_status *status)
{
    struct vs_index_options options = *o;
    *status = check_options(&options, &store->rng);
    if (*status != VS_OK)
        return NULL;
    *status = VS_NOMEM;
    struct vs_index *index = mem_try_zalloc(sizeof(*index));
    if (!index)
        return NULL;
    index->store = store;
    index->options = options;
    index->db = db;
    index->key = mem_try_strndup(key, key_len);
    index->key_len = key_len;
    use_key_born(index);
    struct partition_table *t =
        index->key ? table_new(index, parts, parts ? n : options.partitions) : NULL;
    if (t) {
        atomic_init(&index->table, t);
        index->ring = ring_new(&options, t, &index->nring, status);
        if (*status == VS_OK)
            return index;
        for (uint32_t i = 0; i < t->n; i++)
            partition_free(t->part[i]);
        mem_free(t);
    }
    mem_free(index->key);
    mem_free(index);
    return NULL;
}

static void reclaim_index(struct epoch_item *item, void *arg)
{
    struct vs_index *index = arg;
    (void)item;
    mem_free(index_table(index));
    mem_free(index->ring);
    mem_free(index->key);
    mem_free(index);
}

void index_free(struct vs_index *index)
{
    struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n; i++)
        partition_free(t->part[i]);
    reclaim_index(&index->item, index);
}

void index_kill(struct vs_index *index)
{
    struct partition_table *t = index_table(index);
    cut_forget(index);
    expiry_forget(index);
    evict_forget(index);
    htable_remove(index->store->by_uid, hash_mix(index->uid), &index->uid, sizeof(index->uid));
    for (uint32_t i = 0; i < t->n; i++)
        partition_kill(t->part[i]);
    epoch_retire(index->store->epoch, &index->item, reclaim_index, index);
}

/* ---- looking at it ---- */

const char *vs_index_key(const struct vs_index *index, size_t *len)
{
    *len = index->key_len;
    return index->key;
}

const struct vs_index_options *vs_index_options(const struct vs_index *index)
{
    return &index->options;
}

uint64_t vs_index_uid(const struct vs_index *index)
{
    return index->uid;
}

bool vs_index_is_calm(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    if (t->n > CALM_PARTITIONS)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct partition *p = t->part[i];
        if (p->stub || p->deadlines.n)
            return false;
        struct graph_slack s = graph_slack(p->graph);
        if (s.slots - s.alive - s.free > CALM_DEAD)
            return false;
    }
    return true;
}

size_t vs_index_count(const struct vs_index *index)
{
    return index->count;
}

size_t vs_attributes_count(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    size_t n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        n += t->part[i]->attributes;
    return n;
}

/* ---- elements ---- */

void vs_project(const struct vs_index *index, const float *vector, float *tmp, float *out)
{
    const struct vs_index_options *o = &index->options;
    vec_project(o->seed, vector, o->input_dim, tmp, o->dim, out);
}

/* The partition of an id, open; or why it is not. */
static enum vs_status use(const struct vs_index *index, const void *id, size_t id_len,
                          struct partition **out)
{
    if (!vs_ready(index, id, id_len))
        return VS_BACKLOG;
    struct partition *p = index_partition(index, id, id_len);
    *out = p;
    return p->stub ? stub_status(p) : VS_OK;
}

enum vs_status vs_add(struct vs_index *index, const struct vs_element *e, enum vs_add_mode mode,
                      struct vs_added *added)
{
    const struct vs_index_options *o = &index->options;
    struct vs_added local = {0};
    if (!added)
        added = &local;
    if (e->id_len > VS_ID_MAX || (e->attributes && e->attributes_len > VS_ATTRIBUTES_MAX))
        return VS_LIMIT;
    if (e->deadline_ms > VS_DEADLINE_MAX)
        return VS_INVALID;
    size_t bad = vec_unfit(o->type, o->originals, e->vector, o->dim);
    if (bad < o->dim) {
        added->bad_component = bad;
        return VS_NONFINITE;
    }
    struct partition *p;
    enum vs_status status = use(index, e->id, e->id_len, &p);
    if (status == VS_OK)
        status = partition_add(p, e, mode, added);
    if (status == VS_OK && added->created && !added->in_place)
        index->count++;
    if (status == VS_OK && added->in_place)
        expiry_replaced(index);
    return status;
}

bool vs_backlogged(const struct vs_index *index, const void *id, size_t id_len)
{
    if (!vs_ready(index, id, id_len))
        return true;
    struct partition *p = index_partition(index, id, id_len);
    partition_hold(p); /* whoever asks may wait for others to be opened */
    return (!p->stub && evict_room(p, 0) == VS_BACKLOG) || partition_full(p);
}

/* An element, whether it has ended or not; or why it is not at hand. */
static enum vs_status locate_any(const struct vs_index *index, const void *id, size_t id_len,
                                 struct partition **p, uint32_t *slot)
{
    enum vs_status status = use(index, id, id_len, p);
    if (status != VS_OK)
        return status;
    if (!partition_find(*p, partition_hash(*p, id, id_len), id, id_len, slot))
        return partition_missing(*p);
    return VS_OK;
}

static enum vs_status locate(const struct vs_index *index, const void *id, size_t id_len,
                             struct partition **p, uint32_t *slot)
{
    enum vs_status status = locate_any(index, id, id_len, p, slot);
    if (status == VS_OK && partition_ended(*p, *slot))
        return VS_NOTFOUND;
    if (status == VS_OK)
        use_touch(*p, *slot);
    return status;
}

static enum vs_status delete_one(struct vs_index *index, struct partition *p, uint32_t slot, enum vs_status found)
{
    enum vs_status status = found == VS_OK ? partition_delete(p, slot) : found;
    if (status == VS_OK)
        index->count--;
    return status;
}

enum vs_status index_delete(struct vs_index *index, const void *id, size_t id_len)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status found = locate_any(index, id, id_len, &p, &slot);
    return delete_one(index, p, slot, found);
}

enum vs_status vs_delete(struct vs_index *index, const void *id, size_t id_len)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status found = locate(index, id, id_len, &p, &slot);
    return delete_one(index, p, slot, found);
}

bool vs_contains(const struct vs_index *index, const void *id, size_t id_len)
{
    struct partition *p;
    uint32_t slot;
    open_wait(index, id, id_len);
    return locate(index, id, id_len, &p, &slot) == VS_OK;
}

enum vs_status vs_get_vector(const struct vs_index *index, const void *id, size_t id_len,
                             float *out)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    if (status != VS_OK)
        return status;
    graph_vector(p->graph, slot, out);
    return graph_damaged(p->graph) ? VS_CORRUPT : VS_OK;
}

enum vs_status vs_get_row(const struct vs_index *index, const void *id, size_t id_len,
                          const void **row)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    if (status != VS_OK)
        return status;
    const void *found = graph_row(p->graph, slot);
    if (graph_damaged(p->graph))
        return VS_CORRUPT;
    *row = found;
    return VS_OK;
}

enum vs_status vs_get_attributes(const struct vs_index *index, const void *id, size_t id_len,
                                 const void **data, size_t *len)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    if (status != VS_OK)
        return status;
    if (graph_damaged(p->graph))
        return VS_CORRUPT;
    *data = attr_text(graph_extra(p->graph, slot), len);
    return VS_OK;
}

enum vs_status index_set_attributes(struct vs_index *index, const void *id, size_t id_len,
                                    const void *data, size_t len)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate_any(index, id, id_len, &p, &slot);
    return status == VS_OK ? partition_set_attributes(p, slot, len ? data : NULL, len) : status;
}

enum vs_status vs_set_attributes(struct vs_index *index, const void *id, size_t id_len,
                                 const void *data, size_t len)
{
    struct partition *p;
    uint32_t slot;
    if (len > VS_ATTRIBUTES_MAX)
        return VS_LIMIT;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    return status == VS_OK ? partition_set_attributes(p, slot, len ? data : NULL, len) : status;
}

enum vs_status vs_get_deadline(const struct vs_index *index, const void *id, size_t id_len, uint64_t *deadline_ms)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    if (status == VS_OK)
        *deadline_ms = graph_deadline(p->graph, slot);
    return status;
}

enum vs_status index_set_deadline(struct vs_index *index, const void *id, size_t id_len, uint64_t deadline_ms)
{
    struct partition *p;
    uint32_t slot;
    enum vs_status status = locate_any(index, id, id_len, &p, &slot);
    if (status == VS_OK && graph_deadline(p->graph, slot) == deadline_ms)
        status = VS_EXISTS;
    return status == VS_OK ? partition_set_deadline(p, slot, deadline_ms) : status;
}

enum vs_status vs_set_deadline(struct vs_index *index, const void *id, size_t id_len, uint64_t deadline_ms)
{
    struct partition *p;
    uint32_t slot;
    if (deadline_ms > VS_DEADLINE_MAX)
        return VS_INVALID;
    enum vs_status status = locate(index, id, id_len, &p, &slot);
    if (status != VS_OK || graph_deadline(p->graph, slot) == deadline_ms)
        return status;
    return partition_set_deadline(p, slot, deadline_ms);
}

/* ---- partitions ---- */

size_t vs_partition_count(const struct vs_index *index)
{
    return index_table(index)->n;
}

/* What a stub takes. */
static void stub_memory(const struct partition *p, struct vs_memory *out)
{
    memset(out, 0, sizeof(*out));
    out->other = out->total = sizeof(*p) + sizeof(*p->stub);
}

static void stub_info(const struct partition *p, struct vs_partition_info *out)
{
    const struct stub *s = p->stub;
    out->opening = s->opening != NULL;
    out->elements = s->alive;
    out->linked = s->linked;
    out->unlinked = s->unlinked;
    out->dead = s->dead;
    out->max_level = s->max_level;
    out->linked_sequence = s->linked_sequence;
    out->graph_digest = s->graph_digest;
    stub_memory(p, &out->memory);
}

void vs_partition_info(const struct vs_index *index, size_t i, struct vs_partition_info *out)
{
    const struct partition *p = index_table(index)->part[i];
    struct graph_info g;
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "%u", p->number);
    out->pinned = p->pinned;
    out->sequence = p->sequence;
    out->records_digest = p->digest;
    out->saved = p->saved && p->saved->sequence == p->sequence;
    out->deadlines = deadline_count(p);
    if (p->stub) {
        stub_info(p, out);
        return;
    }
    graph_info(p->graph, &g);
    out->open = true;
    out->elements = g.alive;
    out->linked = g.linked;
    out->unlinked = g.unlinked;
    out->dead = g.dead;
    out->free_slots = g.free_slots;
    out->max_level = g.max_level;
    out->waiting_batches = g.batches;
    out->linked_sequence = g.linked_sequence;
    out->graph_digest = g.digest;
    struct graph_mapped mapped;
    graph_mapped(p->graph, &mapped);
    out->mapped_codes = mapped.rows;
    out->mapped_originals = mapped.originals;
    out->mapped_graph = mapped.graph;
    out->mapped_bytes = mapped.rows + mapped.originals + mapped.graph;
    partition_memory(p, &g, &out->memory);
}

long vs_partition_find(const struct vs_index *index, const void *name, size_t len)
{
    const struct partition_table *t = index_table(index);
    char mine[24];
    for (uint32_t i = 0; i < t->n; i++) {
        int n = snprintf(mine, sizeof(mine), "%u", t->part[i]->number);
        if ((size_t)n == len && memcmp(mine, name, len) == 0)
            return (long)i;
    }
    return -1;
}

enum vs_status vs_partition_drop(struct vs_index *index, size_t at)
{
    struct partition_table *old = index_table(index);
    enum vs_status status;
    size_t nring;
    if (at == 0 || at >= old->n)
        return VS_INVALID;
    struct partition_table *t = mem_try_zalloc(sizeof(*t) + old->n * sizeof(t->part[0]));
    if (!t)
        return VS_NOMEM;
    for (uint32_t i = 0; i < old->n; i++)
        if (i != at)
            t->part[t->n++] = old->part[i];
    struct ring_point *ring = ring_new(&index->options, t, &nring, &status);
    if (status != VS_OK) {
        mem_free(t);
        return status;
    }
    struct vs_effect effect = index_effect(index, VS_DROP);
    char name[24];
    effect.id = name;
    effect.id_len = (size_t)snprintf(name, sizeof(name), "%u", old->part[at]->number);
    status = journal_prepare(index->store, &effect);
    if (status != VS_OK) {
        mem_free(ring);
        mem_free(t);
        return status;
    }
    cut_touch_all(index);
    mem_free(index->ring);
    index->ring = ring;
    index->nring = nring;
    index->count -= partition_alive(old->part[at]);
    atomic_store_explicit(&index->table, t, memory_order_release);
    partition_kill(old->part[at]);
    epoch_retire_free(index->store->epoch, old);
    journal_append(index->store, &effect);
    return VS_OK;
}

enum vs_status vs_partition_pin(struct vs_index *index, size_t at, bool on)
{
    const struct partition_table *t = index_table(index);
    if (at >= t->n)
        return VS_INVALID;
    if (t->part[at]->pinned == on)
        return VS_OK;
    struct vs_effect effect = index_effect(index, VS_PIN);
    char name[24];
    effect.id = name;
    effect.id_len = (size_t)snprintf(name, sizeof(name), "%u", t->part[at]->number);
    effect.on = on;
    enum vs_status status = journal_prepare(index->store, &effect);
    if (status != VS_OK)
        return status;
    struct partition *p = t->part[at];
    if (p->stub)
        cut_touch_all(index); /* its part is what it is */
    else
        cut_mutating(p);
    p->pinned = on;
    journal_append(index->store, &effect);
    if (on)
        partition_use(p);
    return VS_OK;
}

void vs_index_memory(const struct vs_index *index, struct vs_memory *out)
{
    const struct partition_table *t = index_table(index);
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < t->n; i++) {
        struct graph_info g;
        struct vs_memory m;
        if (t->part[i]->stub) {
            stub_memory(t->part[i], &m);
        } else {
            graph_info(t->part[i]->graph, &g);
            partition_memory(t->part[i], &g, &m);
        }
        out->codes += m.codes;
        out->originals += m.originals;
        out->links += m.links;
        out->records += m.records;
        out->ids += m.ids;
        out->id_map += m.id_map;
        out->attributes += m.attributes;
        out->other += m.other;
    }
    out->other += sizeof(*index) + index->key_len + index->nring * sizeof(*index->ring) +
                  t->n * sizeof(t->part[0]);
    out->total = out->codes + out->originals + out->links + out->records + out->ids + out->id_map +
                 out->attributes + out->other;
}
