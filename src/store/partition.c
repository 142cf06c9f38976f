/* A partition: its graph, its map of ids, and the entries of its stream.
 *
 * An id is stored as its length (one byte; 255 and four more from 255 bytes on) and its bytes;
 * attributes as a length of four bytes and theirs. The map holds slots only: an id is compared
 * where the record keeps it. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
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

static void *attributes_new(const void *data, size_t len)
{
    uint8_t *p = mem_try_alloc(sizeof(uint32_t) + len);
    if (!p)
        return NULL;
    uint32_t n = (uint32_t)len;
    memcpy(p, &n, sizeof(n));
    if (len)
        memcpy(p + sizeof(n), data, len);
    return p;
}

const void *record_attributes(const void *extra, size_t *len)
{
    if (!extra) {
        *len = 0;
        return NULL;
    }
    uint32_t n;
    memcpy(&n, extra, sizeof(n));
    *len = n;
    return (const uint8_t *)extra + sizeof(n);
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
    p->ids_bytes -= mem_size(user);
    if (extra)
        p->attributes_bytes -= mem_size(extra);
    mem_free(user);
    mem_free(extra);
}

static void record_moved(void *arg, void *user, uint32_t from, uint32_t to)
{
    struct partition *p = arg;
    size_t len;
    const void *id = record_id(user, &len);
    (void)from;
    htable_replace(p->ids, partition_hash(p, id, len), id, len, (uint64_t)to + 1);
}

struct partition *partition_new(struct vs_index *index, uint32_t number)
{
    const struct vs_index_options *o = &index->options;
    struct partition *p = mem_try_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->store = index->store;
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
    struct graph_owner owner = {record_freed, record_moved, p};
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
    graph_free(p->graph);
    mem_free(p);
}

void partition_kill(struct partition *p)
{
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
    const void *data = record_attributes(extra, &len);
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

/* ---- entries ---- */

static void entry_done(struct partition *p)
{
    graph_entry_done(p->graph, p->sequence);
    if (pool_threads(p->store->pool) == 0) {
        pool_drain(p->store->pool);
        vs_poll(p->store, 1000);
    } else if (graph_has_news(p->graph)) {
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
    if (data && !(extra = attributes_new(data, len)))
        return VS_NOMEM;
    if ((extra || old) && !graph_set_extra(p->graph, slot, extra)) {
        mem_free(extra);
        return VS_NOMEM;
    }
    size_t id_len;
    const void *id = record_id(graph_user(p->graph, slot), &id_len);
    uint64_t hash = partition_hash(p, id, id_len);
    p->digest += attributes_digest(hash, extra) - attributes_digest(hash, old);
    p->attributes += (extra != NULL) - (old != NULL);
    if (extra)
        p->attributes_bytes += mem_size(extra);
    if (old) {
        p->attributes_bytes -= mem_size(old);
        epoch_retire_free(p->store->epoch, old);
    }
    p->sequence++;
    entry_done(p);
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
        data = record_attributes(graph_extra(p->graph, slot), &len);
    else if (data && !len && exists)
        data = NULL; /* the empty string removes them */
    if (data)
        *extra = attributes_new(data, len);
    return !data || *extra;
}

static void count_record(struct partition *p, uint64_t hash, uint32_t slot, bool in)
{
    void *extra = graph_extra(p->graph, slot);
    uint64_t d = vector_digest(p, hash, slot) + attributes_digest(hash, extra);
    p->digest += in ? d : -d;
    p->attributes += in ? extra != NULL : -(size_t)(extra != NULL);
    if (in) {
        p->ids_bytes += mem_size(graph_user(p->graph, slot));
        p->attributes_bytes += extra ? mem_size(extra) : 0;
    }
}

static enum vs_status add_record(struct partition *p, const struct vs_element *e, uint64_t hash,
                                 bool exists, uint32_t old)
{
    void *extra, *id = id_new(e->id, e->id_len);
    uint32_t slot;
    if (!id)
        return VS_NOMEM;
    if (!next_attributes(p, e, exists, old, &extra)) {
        mem_free(id);
        return VS_NOMEM;
    }
    uint64_t sequence = p->sequence + 1;
    enum vs_status status = graph_insert(p->graph, e->vector, hash, sequence, id, extra, &slot);
    if (status != VS_OK) {
        mem_free(id);
        mem_free(extra);
        return status;
    }
    if (exists) {
        htable_replace(p->ids, hash, e->id, e->id_len, (uint64_t)slot + 1);
        count_record(p, hash, old, false);
        graph_kill(p->graph, old, sequence);
    } else if (!htable_insert(p->ids, hash, (uint64_t)slot + 1)) {
        status = VS_NOMEM; /* the record dies in the entry that it came with: nobody has seen it */
        graph_kill(p->graph, slot, sequence);
        p->ids_bytes += mem_size(id);
        p->attributes_bytes += extra ? mem_size(extra) : 0;
    }
    if (status == VS_OK)
        count_record(p, hash, slot, true);
    p->sequence = sequence;
    entry_done(p);
    return status;
}

bool partition_full(const struct partition *p)
{
    return graph_backlog(p->graph) >= backlog_max(p->store) || !graph_room(p->graph);
}

enum vs_status partition_add(struct partition *p, const struct vs_element *e, enum vs_add_mode mode,
                             struct vs_added *added)
{
    uint64_t hash = partition_hash(p, e->id, e->id_len);
    uint32_t old = 0;
    bool exists = partition_find(p, hash, e->id, e->id_len, &old);
    if (exists && mode == VS_ADD_NX)
        return VS_EXISTS;
    if (!exists && mode == VS_ADD_XX)
        return VS_NOTFOUND;
    if (exists && same_vector(p, old, e->vector)) {
        enum vs_status same = VS_OK;
        if (e->attributes)
            same = partition_set_attributes(p, old, e->attributes_len ? e->attributes : NULL,
                                            e->attributes_len);
        if (same == VS_OK)
            added->created = false;
        return same;
    }
    if (!e->past_backlog && partition_full(p))
        return VS_BACKLOG;
    enum vs_status status = add_record(p, e, hash, exists, old);
    if (status == VS_OK)
        added->created = !exists;
    return status;
}

enum vs_status partition_delete(struct partition *p, const void *id, size_t len)
{
    uint64_t hash = partition_hash(p, id, len);
    uint64_t cell = htable_remove(p->ids, hash, id, len);
    if (!cell)
        return VS_NOTFOUND;
    uint32_t slot = (uint32_t)cell - 1;
    count_record(p, hash, slot, false);
    graph_kill(p->graph, slot, ++p->sequence);
    entry_done(p);
    return VS_OK;
}

void partition_memory(const struct partition *p, const struct graph_info *g, struct vs_memory *out)
{
    memset(out, 0, sizeof(*out));
    out->codes = g->bytes.rows;
    out->originals = g->bytes.originals;
    out->links = g->bytes.links + g->upper_bytes;
    out->records = g->bytes.records;
    out->ids = p->ids_bytes;
    out->id_map = htable_bytes(p->ids);
    out->attributes = p->attributes_bytes + g->bytes.extra;
    out->other = g->other_bytes + sizeof(*p);
    out->total = out->codes + out->originals + out->links + out->records + out->ids + out->id_map +
                 out->attributes + out->other;
}
