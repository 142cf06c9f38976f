/* A partition: its graph, its map of ids, and the entries of its stream.
 *
 * An id is stored as its length (one byte; 255 and four more from 255 bytes on) and its bytes;
 * attributes as attr_doc.h has them. The map holds slots only: an id is compared where the record
 * keeps it. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

#define ID_SEGMENT 512 /* cells of a segment of the map */

/* ---- stored forms ---- */

static void *id_new(const void *id, size_t len)
{
    size_t head = len < 255 ? 1 : 5;
    uint8_t *p = mem_try_alloc(head + len);
    if (!p)
        return NULL;
    p[0] = len < 255 ? (uint8_t)len : 255;
    if (head == 5) {
        uint32_t n = (uint32_t)len;
        memcpy(p + 1, &n, sizeof(n));
    }
    if (len)
        memcpy(p + head, id, len);
    return p;
}

const void *record_id(const void *user, size_t *len)
{
    const uint8_t *p = user;
    uint32_t n = p[0];
    if (n < 255) {
        *len = n;
        return p + 1;
    }
    memcpy(&n, p + 1, sizeof(n));
    *len = n;
    return p + 5;
}

/* ---- life ---- */

static uint64_t cell_hash(void *arg, uint64_t cell)
{
    const struct partition *p = arg;
    size_t len;
    const void *id = record_id(graph_user(p->graph, (uint32_t)cell - 1), &len);
    return partition_hash(p, id, len);
}

static bool cell_equal(void *arg, uint64_t cell, const void *key, size_t key_len)
{
    const struct partition *p = arg;
    size_t len;
    const void *id = record_id(graph_user(p->graph, (uint32_t)cell - 1), &len);
    return len == key_len && memcmp(id, key, len) == 0;
}

static const struct htable_ops id_ops = {cell_hash, cell_equal};

static void record_freed(void *arg, void *user, void *extra)
{
    struct partition *p = arg;
    if (user && !partition_maps(p, user)) {
        p->ids_bytes -= mem_size(user);
        mem_free(user);
    }
    if (extra && !partition_maps(p, extra)) {
        size_t bytes = mem_size(extra);
        p->attributes_bytes -= bytes;
        p->dead_attributes -= bytes < p->dead_attributes ? bytes : p->dead_attributes;
        attr_free(extra);
    }
}

static void attributes_dropped(void *arg, void *extra)
{
    struct partition *p = arg;
    record_freed(p, NULL, extra);
    evict_account(p);
}

static void record_moved(void *arg, void *user, uint32_t from, uint32_t to)
{
    struct partition *p = arg;
    size_t len;
    const void *id = record_id(user, &len);
    use_moved(p, from, to);
    htable_replace(p->ids, partition_hash(p, id, len), id, len, (uint64_t)to + 1);
    deadline_moved(p, to);
}

struct partition *partition_new(struct vs_index *index, uint32_t number)
{
    const struct vs_index_options *o = &index->options;
    struct partition *p = mem_try_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->store = index->store;
    p->index = index;
    p->cut = index->store->env.cuts;
    p->seed = o->seed;
    p->number = number;
    struct graph_options go = {.type = o->type,
                               .metric = o->metric,
                               .originals = o->originals,
                               .dim = o->dim,
                               .m = o->m,
                               .ef_construction = o->ef_construction,
                               .seed = o->seed,
                               .flat = o->structure == VS_FLAT};
    struct graph_owner owner = {record_freed, record_moved, p, attributes_dropped};
    p->graph = graph_new(&index->store->env, &go, &owner);
    p->ids = htable_new(4, ID_SEGMENT, &id_ops, p);
    if (!p->graph || !p->ids) {
        partition_free(p);
        return NULL;
    }
    return p;
}

void partition_free(struct partition *p)
{
    if (!p)
        return;
    if (p->ids)
        htable_free(p->ids);
    if (p->graph)
        graph_free(p->graph);
    stub_free(p->stub);
    heap_release(&p->deadlines);
    use_free(p);
    partition_drop_regions(p);
    if (p->saved)
        p->saved->free(p->saved);
    struct vs_store *store = p->store;
    size_t ended = p->ending;
    mem_free(p);
    evict_ended(store, ended);
}

void partition_kill(struct partition *p)
{
    open_detach(p);
    expiry_forget_part(p);
    evict_ending(p);
    p->index = NULL;
    if (cut_must_wait(p))
        p->killed = true;
    else
        partition_end(p);
}

void partition_end(struct partition *p)
{
    if (p->graph)
        graph_retire(p->graph);
    p->next_dying = p->store->dying;
    p->store->dying = p;
}

uint64_t partition_hash(const struct partition *p, const void *id, size_t len)
{
    return hash_bytes(id, len, p->seed);
}

bool partition_find(const struct partition *p, uint64_t hash, const void *id, size_t len,
                    uint32_t *slot)
{
    uint64_t cell = htable_find(p->ids, hash, id, len);
    if (!cell)
        return false;
    *slot = (uint32_t)cell - 1;
    return true;
}

/* ---- the digest of elements ---- */

static uint64_t attributes_digest(uint64_t hash, const void *extra)
{
    size_t len;
    const void *data = attr_text(extra, &len);
    return data ? hash_bytes(data, len, hash) : 0;
}

static uint64_t vector_digest(const struct partition *p, uint64_t hash, uint32_t slot)
{
    const struct columns_shape *shape = graph_shape(p->graph);
    const void *original = graph_original(p->graph, slot);
    if (original)
        return hash_bytes(original, shape->original_bytes, ~hash);
    return hash_bytes(graph_row(p->graph, slot), shape->codec.row_bytes, ~hash);
}

uint64_t partition_record_digest(const struct partition *p, uint64_t hash, uint32_t slot)
{
    return vector_digest(p, hash, slot) + attributes_digest(hash, graph_extra(p->graph, slot)) +
           deadline_digest(hash, graph_deadline(p->graph, slot));
}

/* ---- entries ---- */

/* Can the record be used? Its vector, which a change will read, is checked if it lies in a file and has not been. */
static bool sound(const struct partition *p, uint32_t slot)
{
    if (!graph_original(p->graph, slot))
        graph_row(p->graph, slot);
    return !graph_damaged(p->graph);
}

void partition_entry_done(struct partition *p)
{
    graph_entry_done(p->graph, p->sequence);
    heap_trim(&p->deadlines);
    if (!p->deadlines.n && atomic_load_explicit(&p->expiring, memory_order_relaxed))
        atomic_store_explicit(&p->expiring, false, memory_order_release);
    expiry_touch(p);
    evict_account(p);
    if (pool_threads(p->store->pool) == 0) {
        pool_drain(p->store->pool);
        vs_poll(p->store, 1000);
    } else if (graph_has_news(p->graph) && !p->store->expiry.runs) {
        vs_poll(p->store, 200);
    }
}

static bool same_vector(const struct partition *p, uint32_t slot, const float *vector)
{
    const struct columns_shape *shape = graph_shape(p->graph);
    const void *original = graph_original(p->graph, slot);
    struct searcher *s = &p->store->scratch;
    size_t size = original ? shape->original_bytes : shape->codec.row_bytes;
    void *mine = mem_try_zalloc(size);
    if (!mine)
        return false;
    if (original)
        vec_original_store(shape->originals, vector, shape->codec.dim, mine);
    else
        vec_encode(&shape->codec, vector, s->tmp, mine);
    bool same = memcmp(mine, original ? original : graph_row(p->graph, slot), size) == 0;
    mem_free(mine);
    return same;
}

enum vs_status partition_set_attributes(struct partition *p, uint32_t slot, const void *data,
                                        size_t len)
{
    void *extra = NULL, *old = graph_extra(p->graph, slot);
    struct vs_effect effect = index_effect(p->index, VS_ATTRIBUTES);
    effect.id = record_id(graph_user(p->graph, slot), &effect.id_len);
    effect.attributes = data ? data : "";
    effect.attributes_len = data ? len : 0;
    if (graph_damaged(p->graph))
        return VS_CORRUPT;
    cut_mutating(p);
    if (p->in_cut && !cut_keep_room(p))
        return VS_NOMEM;
    if (data && !(extra = attr_new(data, len)))
        return VS_NOMEM;
    enum vs_status status = journal_prepare(p->store, &effect);
    if (status == VS_OK && (extra || old) && !graph_extra_room(p->graph, slot))
        status = VS_NOMEM;
    if (status != VS_OK) {
        attr_free(extra);
        return status;
    }
    /* Kept first: a reader of the cut that meets the new ones finds the old ones kept. */
    bool heap = old && !partition_maps(p, old), kept = p->in_cut && cut_keep(p, slot, old, heap);
    if (extra || old)
        graph_set_extra(p->graph, slot, extra);
    uint64_t hash = partition_hash(p, effect.id, effect.id_len);
    p->digest += attributes_digest(hash, extra) - attributes_digest(hash, old);
    p->attributes += (extra != NULL) - (old != NULL);
    if (extra)
        p->attributes_bytes += mem_size(extra);
    if (heap)
        p->attributes_bytes -= mem_size(old);
    if (heap && !kept)
        epoch_retire_with(p->store->epoch, old, attr_free);
    p->sequence++;
    journal_append(p->store, &effect);
    partition_entry_done(p);
    return VS_OK;
}

/* The attributes that the new record of an element begins with. */
static bool next_attributes(const struct partition *p, const struct vs_element *e, bool exists,
                            uint32_t slot, void **extra)
{
    size_t len = e->attributes_len;
    const void *data = e->attributes;
    *extra = NULL;
    if (!data && exists)
        data = attr_text(graph_extra(p->graph, slot), &len);
    else if (data && !len && exists)
        data = NULL; /* the empty string removes them */
    if (data)
        *extra = attr_new(data, len);
    return !data || *extra;
}

static void count_record(struct partition *p, uint64_t hash, uint32_t slot, bool in)
{
    void *extra = graph_extra(p->graph, slot);
    uint64_t d = partition_record_digest(p, hash, slot);
    p->digest += in ? d : -d;
    p->attributes += in ? extra != NULL : -(size_t)(extra != NULL);
    if (in) {
        p->ids_bytes += mem_size(graph_user(p->graph, slot));
        p->attributes_bytes += extra ? mem_size(extra) : 0;
    }
}

/* A record dies. Its attributes, which may be most of it, do not wait for its slot, unless a cut shows them. */
static void kill_record(struct partition *p, uint32_t slot, uint64_t sequence)
{
    const void *extra = graph_extra(p->graph, slot);
    graph_kill(p->graph, slot, sequence);
    if (!extra || partition_maps(p, extra))
        return;
    p->dead_attributes += mem_size(extra);
    if (!p->in_cut)
        graph_drop_extra(p->graph, slot);
}

/* What can fail before the journal is asked: the id, the attributes, a place in the map of ids. */
static enum vs_status make_record(struct partition *p, const struct vs_element *e, uint64_t hash,
                                  bool exists, uint32_t old, void **id, void **extra)
{
    if (e->deadline_ms && !deadline_room(p))
        return VS_NOMEM;
    *id = id_new(e->id, e->id_len);
    if (!*id)
        return VS_NOMEM;
    *extra = NULL;
    if (next_attributes(p, e, exists, old, extra) && (exists || htable_reserve(p->ids, hash)))
        return VS_OK;
    mem_free(*id);
    attr_free(*extra);
    return VS_NOMEM;
}

static enum vs_status add_record(struct partition *p, const struct vs_element *e, uint64_t hash,
                                 bool exists, uint32_t old)
{
    void *extra, *id;
    uint32_t slot;
    uint64_t sequence = p->sequence + 1;
    struct vs_effect effect = index_effect(p->index, VS_ADD);
    effect.id = e->id;
    effect.id_len = e->id_len;
    effect.vector = e->vector;
    effect.dim = p->index->options.dim;
    effect.attributes = e->attributes;
    effect.attributes_len = e->attributes_len;
    effect.deadline_ms = e->deadline_ms;
    if (exists ? !sound(p, old) : graph_damaged(p->graph))
        return VS_CORRUPT;
    enum vs_status status = make_record(p, e, hash, exists, old, &id, &extra);
    if (status != VS_OK)
        return status;
    status = exists ? graph_kill_room(p->graph) : VS_OK;
    if (status == VS_OK)
        status = journal_prepare(p->store, &effect);
    cut_mutating(p);
    if (status == VS_OK)
        status = graph_insert(p->graph, e->vector, hash, sequence, id, extra, e->deadline_ms, &slot);
    if (status != VS_OK) {
        mem_free(id);
        attr_free(extra);
        return status;
    }
    if (exists) {
        htable_replace(p->ids, hash, e->id, e->id_len, (uint64_t)slot + 1);
        count_record(p, hash, old, false);
        deadline_leave(p, old);
        kill_record(p, old, sequence);
    } else {
        htable_insert(p->ids, hash, (uint64_t)slot + 1); /* there is room */
    }
    count_record(p, hash, slot, true);
    deadline_enter(p, slot);
    p->sequence = sequence;
    use_born(p, slot);
    evict_added(p);
    journal_append(p->store, &effect);
    partition_entry_done(p);
    return VS_OK;
}

enum vs_status partition_restore_record(struct partition *p, uint64_t born, int level,
                                        const void *row, const void *original, const void *id,
                                        size_t id_len, const void *attributes,
                                        size_t attributes_len, uint64_t deadline_ms)
{
    uint64_t hash = partition_hash(p, id, id_len);
    void *user = id_new(id, id_len), *extra = NULL;
    uint32_t slot;
    enum vs_status status = VS_NOMEM;
    if (user && (!attributes || (extra = attr_new(attributes, attributes_len))) &&
        htable_reserve(p->ids, hash))
        status = graph_restore_add(p->graph, born, level, row, original, user, extra, &slot);
    if (status != VS_OK) {
        mem_free(user);
        attr_free(extra);
        return status;
    }
    htable_insert(p->ids, hash, (uint64_t)slot + 1);
    status = deadline_ms && !partition_restore_deadline(p, slot, deadline_ms) ? VS_NOMEM : VS_OK;
    count_record(p, hash, slot, true);
    return status;
}

enum vs_status partition_load(struct partition *p, const struct vs_element *e, const void *row, const void *original)
{
    uint64_t hash = partition_hash(p, e->id, e->id_len);
    uint32_t slot;
    void *id, *extra;
    if (partition_find(p, hash, e->id, e->id_len, &slot))
        return VS_CORRUPT;
    enum vs_status status = make_record(p, e, hash, false, 0, &id, &extra);
    if (status != VS_OK)
        return status;
    status = graph_insert(p->graph, e->vector, hash, p->sequence + 1, id, extra, e->deadline_ms, &slot);
    if (status != VS_OK) {
        mem_free(id);
        attr_free(extra);
        return status;
    }
    if (row)
        graph_set_row(p->graph, slot, row, original);
    htable_insert(p->ids, hash, (uint64_t)slot + 1); /* there is room */
    count_record(p, hash, slot, true);
    deadline_enter(p, slot);
    p->sequence++;
    use_born(p, slot);
    graph_entry_done(p->graph, p->sequence);
    return VS_OK;
}

enum vs_status partition_missing(const struct partition *p)
{
    return graph_damaged(p->graph) ? VS_CORRUPT : VS_NOTFOUND;
}

bool partition_full(const struct partition *p)
{
    if (p->index->dumps)
        return true;
    if (p->stub)
        return stub_status(p) == VS_BACKLOG;
    size_t max = backlog_max(p->store);
    if (graph_compacting(p->graph)) /* it may wait for a long search, and linking waits for it */
        max *= BACKLOG_COMPACTING;
    return graph_backlog(p->graph) >= max || !graph_room(p->graph, 1);
}

/* The vector is the one that stands there: entries for the rest of it, where that differs. */
static enum vs_status update(struct partition *p, const struct vs_element *e, uint32_t slot)
{
    enum vs_status status = VS_OK;
    if (!e->keep_deadline && e->deadline_ms != graph_deadline(p->graph, slot))
        status = partition_set_deadline(p, slot, e->deadline_ms);
    if (status == VS_OK && e->attributes)
        status = partition_set_attributes(p, slot, e->attributes_len ? e->attributes : NULL, e->attributes_len);
    return status;
}

/* What takes the place of one that has ended has nothing of it. */
static void start_anew(const struct partition *p, uint32_t old, struct vs_element *e)
{
    if (!e->attributes && graph_extra(p->graph, old)) {
        e->attributes = "";
        e->attributes_len = 0;
    }
}

/* What a record takes beside its columns, about: its id, its attributes and their parsed form. */
static size_t heap_of(const struct vs_element *e)
{
    return 64 + e->id_len + (e->attributes ? 3 * e->attributes_len : 0);
}

enum vs_status partition_add(struct partition *p, const struct vs_element *e, enum vs_add_mode mode,
                             struct vs_added *added)
{
    uint64_t hash = partition_hash(p, e->id, e->id_len);
    uint32_t old = 0;
    bool stands = partition_find(p, hash, e->id, e->id_len, &old);
    bool exists = stands && !partition_ended(p, old);
    struct vs_element element = *e;
    if (exists && mode == VS_ADD_NX)
        return VS_EXISTS;
    if (!exists && mode == VS_ADD_XX)
        return partition_missing(p);
    if (stands && !sound(p, old))
        return VS_CORRUPT;
    bool same = exists && same_vector(p, old, e->vector);
    enum vs_status room = same || e->past_backlog ? VS_OK : evict_room(p, heap_of(e));
    if (room == VS_OK && !same && !e->past_backlog && partition_full(p))
        room = VS_BACKLOG;
    if (room != VS_OK)
        return room;
    if (same)
        use_touch(p, old);
    if (e->keep_deadline)
        element.deadline_ms = exists ? graph_deadline(p->graph, old) : 0;
    if (stands && !exists)
        start_anew(p, old, &element);
    enum vs_status status = same ? update(p, e, old) : add_record(p, &element, hash, stands, old);
    if (status == VS_OK) {
        added->created = !exists;
        added->in_place = stands && !exists;
    }
    return status;
}

enum vs_status partition_put(struct partition *p, const struct vs_element *e,
                             struct vs_added *added)
{
    uint64_t hash = partition_hash(p, e->id, e->id_len);
    uint32_t old = 0;
    bool exists = partition_find(p, hash, e->id, e->id_len, &old);
    enum vs_status status = add_record(p, e, hash, exists, old);
    if (status == VS_OK)
        added->created = !exists;
    return status;
}

enum vs_status partition_delete(struct partition *p, uint32_t slot)
{
    struct vs_effect effect = index_effect(p->index, VS_DELETE);
    if (!sound(p, slot))
        return VS_CORRUPT;
    effect.id = record_id(graph_user(p->graph, slot), &effect.id_len);
    uint64_t hash = partition_hash(p, effect.id, effect.id_len);
    enum vs_status status = graph_kill_room(p->graph);
    if (status == VS_OK)
        status = journal_prepare(p->store, &effect);
    if (status != VS_OK)
        return status;
    cut_mutating(p);
    htable_remove(p->ids, hash, effect.id, effect.id_len);
    count_record(p, hash, slot, false);
    deadline_leave(p, slot);
    kill_record(p, slot, ++p->sequence);
    journal_append(p->store, &effect);
    partition_entry_done(p);
    return VS_OK;
}

void partition_memory(const struct partition *p, const struct graph_info *g, struct vs_memory *out)
{
    memset(out, 0, sizeof(*out));
    out->codes = g->bytes.rows;
    out->originals = g->bytes.originals;
    out->links = g->bytes.links + g->upper_bytes;
    out->records = g->bytes.records + heap_bytes(&p->deadlines);
    out->ids = p->ids_bytes;
    out->id_map = htable_bytes(p->ids);
    out->attributes = p->attributes_bytes + g->bytes.extra;
    out->other = g->other_bytes + p->use.bytes + sizeof(*p);
    out->total = out->codes + out->originals + out->links + out->records + out->ids + out->id_map +
                 out->attributes + out->other;
}
