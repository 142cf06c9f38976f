/* A dump read: RESTORE, COPY, and what journals and primaries say of them. The layout is in dump.c.
 *
 * An index is built that nobody sees, by ordinary records and with its linking running behind; what cannot be right is
 * found on the way, and the index dropped. Only a whole one becomes a key, by one effect, RESTORE.
 *
 * IN PIECES. That effect carries all bytes where they are few. Many are told before, in effects of `piece_bytes` each (PIECE), a few
 * in a turn: so neither the loop that writes them nor one that follows stands still for hundreds of megabytes.
 *
 *   PIECE 0..n  PIECE n..2n  ...  PIECE ..total   RESTORE without bytes
 *
 * Whoever does them again builds the index on the way, aside, and it becomes a key with RESTORE. One block at a time is told; the
 * first piece of another ends it, so that nothing is to be said where a client goes away in between. Between the pieces
 * stand other effects, which have nothing to do with them.
 *
 * A CUT between the first piece and RESTORE: what is replayed from it on has not seen the first ones. Whoever tells them
 * begins again; whoever follows cannot, and writes down all bytes with RESTORE, in one piece. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/dump_int.h"

#define ELEMENT_MIN 16 /* bytes that an element takes beside its vector */
#define ROOM  256 /* elements that a piece may have, mostly */
#define TELL  131072 /* bytes of pieces in a turn: the journal's buffer that grows beyond takes as long to grow */

/* ---- reading ---- */

struct vs_loading {
    struct vs_store *store;
    unsigned db;
    char *key;
    size_t key_len;
    struct vs_index *index;  /* being built, aside */
    size_t at, summed;       /* bytes that have been read, summed */
    uint64_t sum, left;      /* elements of the partition that are still to come */
    uint32_t part;
    bool summed_all, opened; /* of the partition the head is read */
    bool bad_sum, attached;
    float *vector;
    struct part_head *heads;
    uint64_t cuts;           /* begun so far, when its first piece was told, or came */
    size_t told;             /* bytes of the block that the journal has as pieces */
    /* Of one that comes in pieces: */
    struct buf in;           /* those not read or not summed yet, */
    size_t base, end, total; /* from `base` to `end`, of so many */
};

/* Bytes of a block: from `base` to `end`, the sum at its end not among them. */
struct bytes {
    const char *data;
    size_t base, end;
    bool last; /* no more will come */
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
    if (l->store->telling == l)
        l->store->telling = NULL;
    if (l->index && !l->attached)
        index_kill(l->index);
    buf_release(&l->in);
    mem_free(l->heads);
    mem_free(l->vector);
    mem_free(l->key);
    mem_free(l);
}

bool vs_loading_bad_sum(const struct vs_loading *l)
{
    return l->bad_sum;
}

static bool take(struct vs_loading *l, const struct bytes *b, void *out, size_t n)
{
    if (b->end - l->at < n)
        return false;
    memcpy(out, b->data + (l->at - b->base), n);
    l->at += n;
    return true;
}

/* Bytes with their length before them; *out NULL: none. VS_BACKLOG: they have not all come. */
static enum vs_status take_sized(struct vs_loading *l, const struct bytes *b, const char **out, size_t *len, size_t max)
{
    uint32_t n;
    if (!take(l, b, &n, sizeof(n)))
        return VS_BACKLOG;
    *out = NULL;
    *len = 0;
    if (n == DUMP_NONE)
        return VS_OK;
    if (n > max)
        return VS_CORRUPT;
    if (b->end - l->at < n)
        return VS_BACKLOG;
    *out = b->data + (l->at - b->base);
    *len = n;
    l->at += n;
    return VS_OK;
}

static bool sound_header(const struct dump_header *h)
{
    return h->metric <= VEC_IP && h->type < VEC_TYPES && h->originals >= VEC_ORIG_F32 &&
           h->originals <= VEC_ORIG_NONE && h->structure <= VS_FLAT && h->strategy == VS_STRATEGY_HASH &&
           h->map <= VS_MAP_ALL && h->keep_empty <= 1 && h->strict <= 1 && h->seed && h->dim && h->dim <= VEC_DIM_MAX &&
           h->m && h->ef && h->vnodes && h->partitions && h->partitions <= VS_PARTITIONS_MAX && h->present &&
           h->present <= h->partitions && !h->reserved && !h->reserved2 &&
           (!h->input_dim || (h->input_dim >= h->dim && h->input_dim <= VEC_DIM_MAX));
}

static bool sound_heads(const struct dump_header *h, const struct part_head *heads, size_t bytes,
                        struct vs_part_image *parts)
{
    for (uint32_t i = 0; i < h->present; i++) {
        struct part_head head = heads[i];
        if (head.pinned > 1 || head.number >= h->partitions || head.elements > bytes / ELEMENT_MIN ||
            (i ? head.number <= parts[i - 1].number : head.number != 0))
            return false;
        parts[i].number = head.number;
    }
    return true;
}

/* VS_BACKLOG: too little has come. */
static enum vs_status make_index(struct vs_loading *l, const struct bytes *b, size_t bytes_max)
{
    struct dump_header h;
    if (b->end < DUMP_HEADER)
        return VS_BACKLOG;
    memcpy(&h, b->data + 8, sizeof(h));
    if (memcmp(b->data, DUMP_MAGIC, 8) != 0 || !sound_header(&h))
        return VS_CORRUPT;
    if (b->end < dump_heads_end(h.present))
        return VS_BACKLOG;
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
    l->heads = mem_try_alloc(h.present * sizeof(*l->heads));
    enum vs_status status = VS_NOMEM;
    if (parts && l->vector && l->heads) {
        status = VS_CORRUPT;
        memcpy(l->heads, b->data + DUMP_HEADER, h.present * sizeof(*l->heads));
        if (sound_heads(&h, l->heads, bytes_max, parts))
            l->index = index_new(l->store, l->db, l->key, l->key_len, &o, parts, h.present, &status);
        if (l->index)
            status = VS_OK;
        else if (status != VS_NOMEM)
            status = VS_CORRUPT;
    }
    mem_free(parts);
    l->at = dump_heads_end(h.present);
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

/* What stands before an element's vector. */
static enum vs_status take_head(struct vs_loading *l, const struct bytes *b, struct vs_element *e)
{
    const char *id, *attributes;
    enum vs_status status = take_sized(l, b, &id, &e->id_len, VS_ID_MAX);
    if (status == VS_OK)
        status = take_sized(l, b, &attributes, &e->attributes_len, VS_ATTRIBUTES_MAX);
    if (status != VS_OK)
        return status;
    if (!take(l, b, &e->deadline_ms, sizeof(e->deadline_ms)))
        return VS_BACKLOG;
    e->id = id;
    e->attributes = attributes;
    return id && e->deadline_ms <= VS_DEADLINE_MAX ? VS_OK : VS_CORRUPT;
}

static enum vs_status load_element(struct vs_loading *l, struct partition *p, const struct bytes *b)
{
    const struct vs_index_options *o = &l->index->options;
    const struct columns_shape *shape = graph_shape(p->graph);
    struct vs_element e = {.vector = l->vector};
    enum vs_status status = take_head(l, b, &e);
    if (status != VS_OK)
        return status;
    if (b->end - l->at < dump_vector_bytes(o, shape))
        return VS_BACKLOG;
    if (index_partition(l->index, e.id, e.id_len) != p)
        return VS_CORRUPT;
    const char *at = b->data + (l->at - b->base);
    l->at += dump_vector_bytes(o, shape);
    if (dump_as_vector(o)) {
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
    status = VS_CORRUPT;
    if (sound_row(shape, row, row + row_bytes, l->vector)) {
        memset(l->vector, 0, o->dim * sizeof(float));
        status = partition_load(p, &e, row, row + row_bytes);
    }
    mem_free(row);
    return status;
}

/* VS_BACKLOG: more has to come. */
static enum vs_status load_elements(struct vs_loading *l, const struct bytes *b, uint64_t until_ns)
{
    const struct partition_table *t = index_table(l->index);
    for (; l->part < t->n; l->part++, l->opened = false) {
        struct partition *p = t->part[l->part];
        if (!l->opened) {
            p->pinned = l->heads[l->part].pinned != 0;
            l->left = l->heads[l->part].elements;
            l->opened = true;
            htable_expect(p->ids, l->left); /* in the order of their hashes */
        }
        for (size_t n = 0, looked = l->at; l->left; n++) {
            size_t from = l->at;
            if (until_ns != UINT64_MAX && !graph_room(p->graph, 1)) /* a worker makes a chunk: that takes too long here */
                return VS_TIMEOUT;
            enum vs_status status = load_element(l, p, b);
            if (status == VS_BACKLOG)
                l->at = from;
            if (status != VS_OK)
                return status;
            l->index->count++;
            l->left--;
            if (n % DUMP_LOOK_ELEMENTS != DUMP_LOOK_ELEMENTS - 1 && l->at - looked < DUMP_LOOK_BYTES)
                continue;
            looked = l->at;
            if (clock_mono_ns() > until_ns)
                return VS_TIMEOUT;
        }
    }
    return l->at == b->end ? VS_OK : VS_CORRUPT;
}

static enum vs_status load(struct vs_loading *l, const struct bytes *b, size_t bytes_max, uint64_t until_ns)
{
    enum vs_status status = l->index ? VS_OK : make_index(l, b, bytes_max);
    if (status == VS_OK)
        status = load_elements(l, b, until_ns);
    return status == VS_BACKLOG && b->last ? VS_CORRUPT : status;
}

enum vs_status vs_loading_some(struct vs_loading *l, const void *bytes, size_t len, uint64_t until_ns)
{
    const char *data = bytes;
    size_t end = len - sizeof(uint64_t);
    if (len < DUMP_HEADER + sizeof(uint64_t) || memcmp(data, DUMP_MAGIC, 8) != 0) {
        l->bad_sum = true;
        return VS_CORRUPT;
    }
    if (!l->summed_all) {
        uint64_t said;
        if (!dump_sum_some(&l->sum, &l->summed, data, end, until_ns))
            return VS_TIMEOUT;
        memcpy(&said, data + end, sizeof(said));
        if (said != dump_sum(l->sum, data + l->summed, end - l->summed)) {
            l->bad_sum = true;
            return VS_CORRUPT;
        }
        l->summed_all = true;
    }
    return load(l, &(struct bytes){data, 0, end, true}, end, until_ns);
}

/* ---- in pieces: into the journal ---- */

enum vs_status vs_loading_tell_some(struct vs_loading *l, const void *data, size_t len, uint64_t until_ns)
{
    struct vs_store *store = l->store;
    if (!store->journal || len <= store->piece_bytes || until_ns == UINT64_MAX)
        return VS_OK; /* all of it with the effect that makes it a key */
    if (store->telling && store->telling != l)
        return VS_TIMEOUT;
    store->telling = l;
    if (l->cuts != store->env.cuts) /* what is kept from there on has not seen those before */
        l->told = 0;
    l->cuts = store->env.cuts;
    size_t most = len - l->told < TELL ? len : l->told + TELL;
    while (l->told < len) {
        size_t n = len - l->told < store->piece_bytes ? len - l->told : store->piece_bytes;
        struct vs_effect effect = {.kind = VS_PIECE,
                                   .db = l->db,
                                   .key = l->key,
                                   .key_len = l->key_len,
                                   .attributes = (const char *)data + l->told,
                                   .attributes_len = n,
                                   .offset = l->told,
                                   .total = len};
        if (store->journal->full && store->journal->full(store->journal->arg))
            return VS_TIMEOUT;
        enum vs_status status = journal_prepare(store, &effect);
        if (status != VS_OK)
            return status;
        journal_append(store, &effect);
        l->told += n;
        if (l->told < len && (l->told >= most || clock_mono_ns() > until_ns))
            return VS_TIMEOUT;
    }
    return VS_OK;
}

/* ---- becoming a key ---- */

/* `data` NULL: the journal has all of it as pieces. */
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
    bool told = l->told == len && l->cuts == l->store->env.cuts;
    return status == VS_OK ? attach(l, told ? NULL : data, told ? 0 : len, deadline_ms, out) : status;
}

/* ---- effects done again ---- */

static bool is_for(const struct vs_loading *l, const struct vs_effect *e)
{
    return l && l->db == e->db && l->key_len == e->key_len && !memcmp(l->key, e->key, e->key_len);
}

static enum vs_status sum_pieces(struct vs_loading *l)
{
    size_t end = l->total - sizeof(uint64_t), come = l->end < end ? l->end : end;
    uint64_t said;
    const char *from = l->in.data + (l->summed - l->base);
    for (; come - l->summed >= DUMP_BLOCK; l->summed += DUMP_BLOCK, from += DUMP_BLOCK)
        l->sum = dump_sum(l->sum, from, DUMP_BLOCK);
    if (l->end < l->total)
        return VS_OK;
    memcpy(&said, from + (end - l->summed), sizeof(said));
    return said == dump_sum(l->sum, from, end - l->summed) ? VS_OK : VS_CORRUPT;
}

/* Bytes that nobody needs any more go, when they are as many as the others. */
static void drop_read(struct vs_loading *l)
{
    size_t done = (l->at < l->summed ? l->at : l->summed) - l->base;
    if (done < l->in.len - done)
        return;
    l->in.len -= done;
    memmove(l->in.data, l->in.data + done, l->in.len);
    l->base += done;
}

static enum vs_status take_piece(struct vs_loading *l, const void *data, size_t len)
{
    if (!buf_try_append(&l->in, data, len))
        return VS_NOMEM;
    l->end += len;
    size_t end = l->total - sizeof(uint64_t);
    struct bytes b = {l->in.data, l->base, l->end < end ? l->end : end, l->end == l->total};
    enum vs_status status = sum_pieces(l);
    if (status == VS_OK)
        status = load(l, &b, end, UINT64_MAX);
    if (status == VS_BACKLOG)
        status = VS_OK;
    if (status == VS_OK)
        drop_read(l);
    return status;
}

bool vs_apply_waits(struct vs_store *store)
{
    struct vs_loading *l = store->pending;
    if (!l || !l->index || l->part == index_table(l->index)->n)
        return false;
    return !graph_room(index_table(l->index)->part[l->part]->graph, ROOM);
}

void vs_apply_end(struct vs_store *store)
{
    vs_loading_free(store->pending);
    store->pending = NULL;
}

/* The first of others ends those before. One of which the first has not been seen is part of nothing. */
static enum vs_status apply_piece(struct vs_store *store, const struct vs_effect *e)
{
    struct vs_loading *l = NULL;
    if (e->total < DUMP_HEADER + sizeof(uint64_t) || e->attributes_len > e->total ||
        e->offset > e->total - e->attributes_len)
        return VS_CORRUPT;
    enum vs_status status = journal_prepare(store, e);
    if (status != VS_OK)
        return status;
    if (!e->offset) {
        status = vs_loading_new(store, e->db, e->key, e->key_len, &l);
        if (status != VS_OK)
            return status;
        vs_apply_end(store);
        l->total = e->total;
        l->cuts = store->env.cuts;
        store->pending = l;
    } else if (is_for(store->pending, e) && store->pending->end == e->offset && store->pending->total == e->total) {
        l = store->pending;
    }
    status = l ? take_piece(l, e->attributes, e->attributes_len) : VS_OK;
    if (status != VS_OK)
        vs_apply_end(store);
    else
        journal_append(store, e);
    return status;
}

static enum vs_status apply_pending(struct vs_store *store, const struct vs_effect *e)
{
    struct vs_loading *l = store->pending;
    struct buf whole = {0};
    if (!is_for(l, e) || l->end != l->total)
        return VS_CORRUPT;
    enum vs_status status = VS_OK;
    if (store->journal && l->cuts != store->env.cuts) /* what is kept since has not all pieces */
        status = dump_at_once(l->index, &whole);
    if (status == VS_OK)
        status = attach(l, whole.data, whole.len, e->deadline_ms, NULL);
    if (status == VS_OK)
        vs_apply_end(store);
    buf_release(&whole);
    return status;
}

enum vs_status dump_apply(struct vs_store *store, const struct vs_effect *e)
{
    struct vs_loading *l;
    if (e->kind == VS_PIECE)
        return apply_piece(store, e);
    if (keyspace_raw_find(store, e->db, e->key, e->key_len))
        return VS_EXISTS;
    if (!e->attributes_len)
        return apply_pending(store, e);
    enum vs_status status = vs_loading_new(store, e->db, e->key, e->key_len, &l);
    if (status != VS_OK)
        return status;
    status = vs_loading_some(l, e->attributes, e->attributes_len, UINT64_MAX);
    if (status == VS_OK)
        status = attach(l, e->attributes, e->attributes_len, e->deadline_ms, NULL);
    vs_loading_free(l);
    return status;
}
