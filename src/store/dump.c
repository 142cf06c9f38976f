/* An index as one block of bytes, and back: DUMP, RESTORE, COPY.
 *
 *   | at | size | field
 *   |  0 |    8 | VSDUMP and version 1 in two bytes
 *   |  8 |   56 | struct header: the options an index is made with
 *   | 64 | 16 P | of each partition: u32 number, u32 pinned, u64 elements
 *   |    |      | the elements of each: u32 length, id; u32 length or NONE, attributes; u64 deadline; vector
 *   | end|    8 | the sum
 *
 * The vector is 4 bytes a component where the index keeps it as it was given (F32 originals, NOQUANT), else row and
 * original as they stand: a code need not come out the same twice. Elements stand in order of the hash of their ids,
 * so that equal indexes give equal bytes whatever their slots, and one that is made of them links in the same order in every process
 * that makes it. The sum is a chain over blocks of 64 KiB, so that it can be made and checked in slices.
 *
 * RESTORE builds an index that nobody sees, by ordinary records and with its linking running behind; what cannot be
 * right is found on the way, and the index dropped. Only a whole one becomes a key, by one effect that carries all the
 * bytes.
 *
 * An index that changes while it is dumped is begun again; after a few times the rest is done in one go, so that a busy
 * index can be dumped at all. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

#define MAGIC     "VSDUMP\1\0"
#define BLOCK     ((size_t)65536)
#define NONE      0xFFFFFFFFu
#define BEGIN_MAX 4   /* times that a changing index is begun */
#define ID_CELLS  1024 /* of a step of a scan, hardly ever more */
#define SLICE     16  /* elements between looks at the clock */

struct header {
    uint32_t dim, m, ef, vnodes, partitions, input_dim, present;
    uint8_t metric, type, originals, structure, strategy, map, keep_empty, strict;
    uint32_t reserved;
    uint64_t seed, reserved2;
};
_Static_assert(sizeof(struct header) == 56, "the header of a dump");
#define HEADER_BYTES (8 + sizeof(struct header))

struct part_head {
    uint32_t number, pinned;
    uint64_t elements;
};

/* Where the elements begin. */
static size_t heads_end(uint32_t parts)
{
    return HEADER_BYTES + parts * sizeof(struct part_head);
}

/* ---- the sum ---- */

static uint64_t sum_block(uint64_t sum, const char *data, size_t len)
{
    return hash_bytes(data, len, sum + len);
}

/* Of all whole blocks so far; false: time is up. */
static bool sum_some(uint64_t *sum, size_t *at, const char *data, size_t len, uint64_t until_ns)
{
    while (len - *at >= BLOCK) {
        *sum = sum_block(*sum, data + *at, BLOCK);
        *at += BLOCK;
        if (clock_mono_ns() > until_ns)
            return false;
    }
    return true;
}

/* ---- writing ---- */

/* Does an element stand as its vector? */
static bool as_vector(const struct vs_index_options *o)
{
    return o->type == VEC_F32 || o->originals == VEC_ORIG_F32;
}

static size_t vector_bytes(const struct vs_index_options *o, const struct columns_shape *shape)
{
    return as_vector(o) ? o->dim * sizeof(float) : shape->codec.row_bytes + shape->original_bytes;
}

/* Changes with every change. */
static uint64_t stamp_of(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    uint64_t sum = t->n;
    for (uint32_t i = 0; i < t->n; i++)
        sum += hash_mix(t->part[i]->sequence + ((uint64_t)t->part[i]->number << 40) + t->part[i]->pinned);
    return sum;
}

static bool put_header(const struct vs_index *index, struct buf *out)
{
    const struct vs_index_options *o = &index->options;
    struct header h = {.dim = o->dim,
                       .m = o->m,
                       .ef = o->ef_construction,
                       .vnodes = o->vnodes,
                       .partitions = o->partitions,
                       .input_dim = o->input_dim,
                       .present = index_table(index)->n,
                       .metric = (uint8_t)o->metric,
                       .type = (uint8_t)o->type,
                       .originals = (uint8_t)o->originals,
                       .structure = (uint8_t)o->structure,
                       .strategy = (uint8_t)o->strategy,
                       .map = (uint8_t)o->map,
                       .keep_empty = o->keep_empty,
                       .strict = o->strict,
                       .seed = o->seed};
    bool ok = buf_try_append(out, MAGIC, 8) && buf_try_append(out, &h, sizeof(h));
    for (uint32_t i = 0; i < h.present && ok; i++) {
        const struct partition *p = index_table(index)->part[i];
        ok = buf_try_append(out, &(struct part_head){p->number, p->pinned, 0}, sizeof(struct part_head));
    }
    return ok;
}

struct cell {
    uint64_t hash;
    uint32_t slot;
};
struct cells {               /* of a step of a scan: a segment of the map, however large */
    const struct partition *p;
    struct cell *at;
    size_t n, cap;
    bool no_memory;
};

static void take_cell(void *arg, uint64_t cell)
{
    struct cells *c = arg;
    size_t len;
    const void *id = record_id(graph_user(c->p->graph, (uint32_t)cell - 1), &len);
    c->no_memory |= c->n == c->cap && !mem_try_grow(&c->at, &c->cap, c->cap ? 2 * c->cap : ID_CELLS, sizeof(*c->at));
    if (!c->no_memory)
        c->at[c->n++] = (struct cell){partition_hash(c->p, id, len), (uint32_t)cell - 1};
}

/* Equal hashes are next to impossible, and then the ids decide. */
static int compare_cells(const void *a, const void *b, void *arg)
{
    const struct cell *x = a, *y = b;
    const struct cells *c = arg;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    size_t m, n;
    const void *i = record_id(graph_user(c->p->graph, x->slot), &m);
    const void *k = record_id(graph_user(c->p->graph, y->slot), &n);
    int order = memcmp(i, k, m < n ? m : n);
    return order ? order : m < n ? -1 : m > n;
}

static bool put_sized(struct buf *out, const void *data, size_t len)
{
    uint32_t n = data ? (uint32_t)len : NONE;
    return buf_try_append(out, &n, sizeof(n)) && (!len || buf_try_append(out, data, len));
}

static enum vs_status put_element(const struct vs_index *index, const struct partition *p, uint32_t slot,
                                  struct buf *out)
{
    const struct columns_shape *shape = graph_shape(p->graph);
    size_t id_len, attributes_len, bytes = vector_bytes(&index->options, shape);
    const void *id = record_id(graph_user(p->graph, slot), &id_len);
    const void *attributes = attr_text(graph_extra(p->graph, slot), &attributes_len);
    uint64_t deadline = p->deadlines.n ? graph_deadline(p->graph, slot) : 0;
    if (out->len + id_len + attributes_len + bytes > VS_DUMP_MAX - BLOCK)
        return VS_LIMIT;
    if (!put_sized(out, id, id_len) || !put_sized(out, attributes, attributes_len) ||
        !buf_try_append(out, &deadline, sizeof(deadline)) || !buf_try_reserve(out, bytes))
        return VS_NOMEM;
    char *to = out->data + out->len;
    if (as_vector(&index->options)) {
        float *vector = index->store->scratch.tmp;
        graph_vector(p->graph, slot, vector);
        memcpy(to, vector, bytes);
    } else {
        const void *original = graph_original(p->graph, slot);
        memcpy(to, graph_row(p->graph, slot), shape->codec.row_bytes);
        if (original)
            memcpy(to + shape->codec.row_bytes, original, shape->original_bytes);
    }
    out->len += bytes;
    return graph_damaged(p->graph) ? VS_CORRUPT : VS_OK;
}

/* One step of the scan of a partition's ids. */
static enum vs_status put_step(const struct vs_index *index, struct partition *p, struct vs_dump *d, struct buf *out)
{
    struct cells *c = index->store->cells;
    c->p = p;
    c->n = 0;
    c->no_memory = false;
    d->cursor = htable_scan(p->ids, d->cursor, take_cell, c);
    if (c->n > 1)
        qsort_r(c->at, c->n, sizeof(c->at[0]), compare_cells, c);
    enum vs_status status = c->no_memory ? VS_NOMEM : VS_OK;
    for (size_t i = 0; i < c->n && status == VS_OK; i++) {
        if (partition_ended(p, c->at[i].slot))
            continue;
        status = put_element(index, p, c->at[i].slot, out);
        d->count++;
    }
    return status;
}

static enum vs_status put_partition(const struct vs_index *index, struct vs_dump *d, struct buf *out,
                                    uint64_t until_ns)
{
    struct partition *p = index_table(index)->part[d->at];
    if (p->stub && !partition_use(p))
        return VS_BACKLOG;
    p = index_table(index)->part[d->at]; /* it may have been opened */
    if (p->stub)
        return stub_status(p);
    do {
        enum vs_status status = put_step(index, p, d, out);
        if (status != VS_OK)
            return status;
        if (d->cursor && clock_mono_ns() > until_ns)
            return VS_TIMEOUT;
    } while (d->cursor);
    struct part_head head = {p->number, p->pinned, d->count};
    memcpy(out->data + heads_end(d->at), &head, sizeof(head));
    d->count = 0;
    d->at++;
    return VS_OK;
}

static enum vs_status begin(const struct vs_index *index, struct vs_dump *d, struct buf *out)
{
    d->begun++;
    d->stamp = stamp_of(index);
    d->at = 0;
    d->count = 0;
    d->cursor = 0;
    out->len = 0;
    return put_header(index, out) ? VS_OK : VS_NOMEM;
}

static enum vs_status put_sum(struct vs_dump *d, struct buf *out, uint64_t until_ns)
{
    if (!sum_some(&d->sum, &d->summed, out->data, out->len, until_ns))
        return VS_TIMEOUT;
    uint64_t sum = sum_block(d->sum, out->data + d->summed, out->len - d->summed);
    return buf_try_append(out, &sum, sizeof(sum)) ? VS_OK : VS_NOMEM;
}

enum vs_status vs_dump_some(struct vs_store *store, struct vs_dump *d, struct buf *out, uint64_t until_ns)
{
    struct vs_index *index = keyspace_by_uid(store, d->uid);
    if (d->whole)
        return put_sum(d, out, until_ns);
    if (!index)
        return VS_NOTFOUND;
    if (!store->cells && !(store->cells = mem_try_zalloc(sizeof(*store->cells))))
        return VS_NOMEM;
    enum vs_status status = VS_OK;
    if (!d->begun || d->stamp != stamp_of(index))
        status = begin(index, d, out);
    while (status == VS_OK && d->at < index_table(index)->n)
        status = put_partition(index, d, out, d->begun < BEGIN_MAX ? until_ns : UINT64_MAX);
    if (status != VS_OK)
        return status;
    d->whole = true;
    return put_sum(d, out, until_ns);
}

void dump_release(struct vs_store *store)
{
    if (store->cells)
        mem_free(store->cells->at);
    mem_free(store->cells);
}

/* ---- reading ---- */

struct vs_loading {
    struct vs_store *store;
    unsigned db;
    char *key;
    size_t key_len;
    struct vs_index *index;  /* being built, aside */
    size_t at, summed;
    uint64_t sum, left;      /* elements of the partition that are still to come */
    uint32_t part;
    bool summed_all, opened; /* of the partition the head is read */
    bool bad_sum, attached;
    float *vector;
};

enum vs_status vs_loading_new(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                              struct vs_loading **out)
{
    struct vs_loading *l = mem_try_zalloc(sizeof(*l));
    if (!l || !(l->key = mem_try_strndup(key, key_len))) {
        mem_free(l);
        return VS_NOMEM;
    }
    l->store = store;
    l->db = db;
    l->key_len = key_len;
    *out = l;
    return VS_OK;
}

void vs_loading_free(struct vs_loading *l)
{
    if (!l)
        return;
    if (l->index && !l->attached)
        index_kill(l->index);
    mem_free(l->vector);
    mem_free(l->key);
    mem_free(l);
}

bool vs_loading_bad_sum(const struct vs_loading *l)
{
    return l->bad_sum;
}

static bool take(struct vs_loading *l, const char *data, size_t end, void *out, size_t n)
{
    if (end - l->at < n)
        return false;
    memcpy(out, data + l->at, n);
    l->at += n;
    return true;
}

/* Bytes with their length before them; *out NULL: none. */
static bool take_sized(struct vs_loading *l, const char *data, size_t end, const char **out, size_t *len, size_t max)
{
    uint32_t n;
    if (!take(l, data, end, &n, sizeof(n)))
        return false;
    *out = NULL;
    *len = 0;
    if (n == NONE)
        return true;
    if (n > max || end - l->at < n)
        return false;
    *out = data + l->at;
    *len = n;
    l->at += n;
    return true;
}

static bool sound_header(const struct header *h)
{
    return h->metric <= VEC_IP && h->type < VEC_TYPES && h->originals >= VEC_ORIG_F32 &&
           h->originals <= VEC_ORIG_NONE && h->structure <= VS_FLAT && h->strategy == VS_STRATEGY_HASH &&
           h->map <= VS_MAP_ALL && h->keep_empty <= 1 && h->strict <= 1 && h->seed && h->dim && h->dim <= VEC_DIM_MAX &&
           h->m && h->ef && h->vnodes && h->partitions && h->partitions <= VS_PARTITIONS_MAX && h->present &&
           h->present <= h->partitions && !h->reserved && !h->reserved2 &&
           (!h->input_dim || (h->input_dim >= h->dim && h->input_dim <= VEC_DIM_MAX));
}

static struct part_head head_at(const char *data, uint32_t i)
{
    struct part_head head;
    memcpy(&head, data + heads_end(i), sizeof(head));
    return head;
}

static bool sound_heads(const struct header *h, const char *data, size_t end, struct vs_part_image *parts)
{
    if (end < heads_end(h->present))
        return false;
    for (uint32_t i = 0; i < h->present; i++) {
        struct part_head head = head_at(data, i);
        if (head.pinned > 1 || head.number >= h->partitions || head.elements > end ||
            (i ? head.number <= parts[i - 1].number : head.number != 0))
            return false;
        parts[i].number = head.number;
    }
    return true;
}

static enum vs_status make_index(struct vs_loading *l, const char *data, size_t end)
{
    struct header h;
    memcpy(&h, data + 8, sizeof(h));
    if (!sound_header(&h))
        return VS_CORRUPT;
    struct vs_index_options o = {.dim = h.dim,
                                 .metric = (enum vec_metric)h.metric,
                                 .type = (enum vec_type)h.type,
                                 .originals = (enum vec_originals)h.originals,
                                 .structure = (enum vs_structure)h.structure,
                                 .m = h.m,
                                 .ef_construction = h.ef,
                                 .partitions = h.partitions,
                                 .strategy = (enum vs_strategy)h.strategy,
                                 .vnodes = h.vnodes,
                                 .seed = h.seed,
                                 .map = (enum vs_map)h.map,
                                 .input_dim = h.input_dim,
                                 .keep_empty = h.keep_empty,
                                 .strict = h.strict};
    struct vs_part_image *parts = mem_try_zalloc(h.present * sizeof(*parts));
    l->vector = mem_try_zalloc(h.dim * sizeof(float));
    enum vs_status status = VS_NOMEM;
    if (parts && l->vector) {
        status = VS_CORRUPT;
        if (sound_heads(&h, data, end, parts))
            l->index = index_new(l->store, l->db, l->key, l->key_len, &o, parts, h.present, &status);
        if (l->index)
            status = VS_OK;
        else if (status != VS_NOMEM)
            status = VS_CORRUPT;
    }
    mem_free(parts);
    l->at = heads_end(h.present);
    return status;
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0))
            return false;
    return true;
}

/* A row whose factors are no numbers would give distances that are none. */
static bool sound_row(const struct columns_shape *shape, const void *row, const void *original, float *tmp)
{
    float factors[4];
    memcpy(factors, row, sizeof(factors));
    if (!all_finite(factors, 4))
        return false;
    vec_decode(&shape->codec, row, tmp);
    if (!all_finite(tmp, shape->codec.dim))
        return false;
    if (shape->original_bytes)
        vec_original_load(shape->originals, original, shape->codec.dim, tmp);
    return all_finite(tmp, shape->codec.dim);
}

static enum vs_status load_element(struct vs_loading *l, struct partition *p, const char *data, size_t end)
{
    const struct vs_index_options *o = &l->index->options;
    const struct columns_shape *shape = graph_shape(p->graph);
    struct vs_element e = {.vector = l->vector};
    const char *id, *attributes;
    uint64_t deadline;
    if (!take_sized(l, data, end, &id, &e.id_len, VS_ID_MAX) ||
        !take_sized(l, data, end, &attributes, &e.attributes_len, VS_ATTRIBUTES_MAX) ||
        !take(l, data, end, &deadline, sizeof(deadline)) || !id || deadline > VS_DEADLINE_MAX ||
        end - l->at < vector_bytes(o, shape))
        return VS_CORRUPT;
    e.id = id;
    e.attributes = attributes;
    e.deadline_ms = deadline;
    if (index_partition(l->index, id, e.id_len) != p)
        return VS_CORRUPT;
    const char *at = data + l->at;
    l->at += vector_bytes(o, shape);
    if (as_vector(o)) {
        memcpy(l->vector, at, o->dim * sizeof(float));
        if (vec_unfit(o->type, o->originals, l->vector, o->dim) < o->dim)
            return VS_CORRUPT;
        return partition_load(p, &e, NULL, NULL);
    }
    /* At any address in the block: rows are read aligned. */
    size_t row_bytes = shape->codec.row_bytes;
    char *row = mem_try_alloc(row_bytes + shape->original_bytes + 64);
    if (!row)
        return VS_NOMEM;
    memcpy(row, at, row_bytes + shape->original_bytes);
    enum vs_status status = VS_CORRUPT;
    if (sound_row(shape, row, row + row_bytes, l->vector)) {
        memset(l->vector, 0, o->dim * sizeof(float));
        status = partition_load(p, &e, row, row + row_bytes);
    }
    mem_free(row);
    return status;
}

static enum vs_status load_elements(struct vs_loading *l, const char *data, size_t end, uint64_t until_ns)
{
    const struct partition_table *t = index_table(l->index);
    for (; l->part < t->n; l->part++, l->opened = false) {
        struct partition *p = t->part[l->part];
        if (!l->opened) {
            struct part_head head = head_at(data, l->part);
            p->pinned = head.pinned != 0;
            l->left = head.elements;
            l->opened = true;
        }
        for (size_t n = 0; l->left; n++) {
            enum vs_status status = load_element(l, p, data, end);
            if (status != VS_OK)
                return status;
            l->index->count++;
            l->left--;
            if (n % SLICE == SLICE - 1 && clock_mono_ns() > until_ns)
                return VS_TIMEOUT;
        }
    }
    return l->at == end ? VS_OK : VS_CORRUPT;
}

enum vs_status vs_loading_some(struct vs_loading *l, const void *bytes, size_t len, uint64_t until_ns)
{
    const char *data = bytes;
    size_t end = len - sizeof(uint64_t);
    if (len < HEADER_BYTES + sizeof(uint64_t) || memcmp(data, MAGIC, 8) != 0) {
        l->bad_sum = true;
        return VS_CORRUPT;
    }
    if (!l->summed_all) {
        uint64_t said;
        if (!sum_some(&l->sum, &l->summed, data, end, until_ns))
            return VS_TIMEOUT;
        memcpy(&said, data + end, sizeof(said));
        if (said != sum_block(l->sum, data + l->summed, end - l->summed)) {
            l->bad_sum = true;
            return VS_CORRUPT;
        }
        l->summed_all = true;
    }
    if (!l->index) {
        enum vs_status status = make_index(l, data, end);
        if (status != VS_OK)
            return status;
    }
    return load_elements(l, data, end, until_ns);
}

/* ---- becoming a key ---- */

static enum vs_status attach(struct vs_loading *l, const void *data, size_t len, uint64_t deadline_ms,
                             struct vs_index **out)
{
    struct vs_effect effect = {.kind = VS_RESTORE,
                               .db = l->db,
                               .key = l->key,
                               .key_len = l->key_len,
                               .attributes = data,
                               .attributes_len = len,
                               .deadline_ms = deadline_ms};
    if (keyspace_raw_find(l->store, l->db, l->key, l->key_len))
        return VS_EXISTS;
    enum vs_status status = journal_prepare(l->store, &effect);
    if (status != VS_OK)
        return status;
    l->index->deadline_ms = deadline_ms;
    status = keyspace_attach(l->index);
    if (status != VS_OK)
        return status;
    const struct partition_table *t = index_table(l->index);
    for (uint32_t i = 0; i < t->n; i++) {
        t->part[i]->cut = l->store->env.cuts; /* it is younger than any cut */
        evict_account(t->part[i]);
    }
    l->attached = true;
    if (out)
        *out = l->index;
    journal_append(l->store, &effect);
    return VS_OK;
}

enum vs_status vs_loading_attach(struct vs_loading *l, const void *data, size_t len, uint64_t deadline_ms,
                                 struct vs_index **out)
{
    enum vs_status status = expiry_clear_name(l->store, l->db, l->key, l->key_len);
    return status == VS_OK ? attach(l, data, len, deadline_ms, out) : status;
}

enum vs_status dump_apply(struct vs_store *store, const struct vs_effect *e)
{
    struct vs_loading *l;
    if (keyspace_raw_find(store, e->db, e->key, e->key_len))
        return VS_EXISTS;
    enum vs_status status = vs_loading_new(store, e->db, e->key, e->key_len, &l);
    if (status != VS_OK)
        return status;
    status = vs_loading_some(l, e->attributes, e->attributes_len, UINT64_MAX);
    if (status == VS_OK)
        status = attach(l, e->attributes, e->attributes_len, e->deadline_ms, NULL);
    vs_loading_free(l);
    return status;
}
