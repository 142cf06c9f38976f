/* An index as one block of bytes, and back: DUMP, RESTORE, COPY.
 *
 *   | at | size | field
 *   |  0 |    8 | VSDUMP and version 1 in two bytes
 *   |  8 |   56 | struct dump_header: the options an index is made with
 *   | 64 | 16 P | of each partition: u32 number, u32 pinned, u64 elements
 *   |    |      | the elements of each: u32 length, id; u32 length or NONE, attributes; u64 deadline; vector
 *   | end|    8 | the sum
 *
 * The vector is 4 bytes a component where the index keeps it as it was given (F32 originals, NOQUANT), else row and
 * original as they stand: a code need not come out the same twice. Elements stand in order of the hash of their ids,
 * so that equal indexes give equal bytes whatever their slots, and one that is made of them links in the same order in every process
 * that makes it. The sum is a chain over blocks of 64 KiB, so that it can be made and checked in slices.
 *
 * What is made of such a block is in dump_load.c.
 *
 * An index that changes while it is dumped is begun again. From the third time on who adds to it has to wait, as for linking;
 * who deletes, or sets attributes, has not. Where that goes on, too, the rest is done in one go in the end, so that a busy
 * index can be dumped at all. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/attr_doc.h"
#include "store/dump_int.h"

#define HOLD_FROM 3    /* times that a changing index is begun, until nothing is added to it */
#define BEGIN_MAX 6    /* and until it is done at once */
#define ID_CELLS  1024 /* of a step of a scan, hardly ever more */

/* ---- the sum ---- */

/* Of all whole blocks so far; false: time is up. */
bool dump_sum_some(uint64_t *sum, size_t *at, const char *data, size_t len, uint64_t until_ns)
{
    while (len - *at >= DUMP_BLOCK) {
        *sum = dump_sum(*sum, data + *at, DUMP_BLOCK);
        *at += DUMP_BLOCK;
        if (clock_mono_ns() > until_ns)
            return false;
    }
    return true;
}

/* ---- writing ---- */

/* Changes with every change. */
static uint64_t stamp_of(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    uint64_t sum = t->n;
    for (uint32_t i = 0; i < t->n; i++)
        sum += hash_mix(t->part[i]->sequence + ((uint64_t)t->part[i]->number << 40) + t->part[i]->pinned);
    return sum;
}

/* What it will take, about: a block that grew on the way would be copied, and that takes longer than there is. */
static size_t size_of(const struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    size_t sum = dump_heads_end(t->n) + DUMP_BLOCK;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct partition *p = t->part[i];
        if (!p->stub)
            sum += graph_alive(p->graph) * (dump_vector_bytes(&index->options, graph_shape(p->graph)) + 16) +
                   p->ids_bytes + p->attributes_bytes;
    }
    return sum;
}

static bool put_header(const struct vs_index *index, struct buf *out)
{
    const struct vs_index_options *o = &index->options;
    struct dump_header h = {.dim = o->dim,
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
    bool ok = buf_try_append(out, DUMP_MAGIC, 8) && buf_try_append(out, &h, sizeof(h));
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
    const struct vs_dump *of;    /* whose step it is; NULL: nobody's */
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
    uint32_t n = data ? (uint32_t)len : DUMP_NONE;
    return buf_try_append(out, &n, sizeof(n)) && (!len || buf_try_append(out, data, len));
}

static enum vs_status put_element(const struct vs_index *index, const struct partition *p, uint32_t slot, size_t max,
                                  struct buf *out)
{
    const struct columns_shape *shape = graph_shape(p->graph);
    size_t id_len, attributes_len, bytes = dump_vector_bytes(&index->options, shape);
    const void *id = record_id(graph_user(p->graph, slot), &id_len);
    const void *attributes = attr_text(graph_extra(p->graph, slot), &attributes_len);
    uint64_t deadline = p->deadlines.n ? graph_deadline(p->graph, slot) : 0;
    if (out->len + id_len + attributes_len + bytes > max - DUMP_BLOCK)
        return VS_LIMIT;
    if (!put_sized(out, id, id_len) || !put_sized(out, attributes, attributes_len) ||
        !buf_try_append(out, &deadline, sizeof(deadline)) || !buf_try_reserve(out, bytes))
        return VS_NOMEM;
    char *to = out->data + out->len;
    if (dump_as_vector(&index->options)) {
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

/* The cells of the step that the dump is in; another dump may have taken their place. */
static struct cells *step_cells(const struct vs_index *index, const struct partition *p, struct vs_dump *d)
{
    struct cells *c = index->store->cells;
    if (c->of == d && c->p == p)
        return c;
    c->p = p;
    c->of = d;
    c->n = 0;
    c->no_memory = false;
    d->next = htable_scan(p->ids, d->cursor, take_cell, c);
    if (c->n > 1)
        qsort_r(c->at, c->n, sizeof(c->at[0]), compare_cells, c);
    return c;
}

/* One step of the scan of a partition's ids, which has some hundred elements. */
static enum vs_status put_step(const struct vs_index *index, struct partition *p, struct vs_dump *d, struct buf *out,
                               uint64_t until_ns)
{
    struct cells *c = step_cells(index, p, d);
    enum vs_status status = c->no_memory ? VS_NOMEM : VS_OK;
    if (d->placed && c->n != d->step) { /* it was unloaded and opened in between: other steps */
        d->stamp = ~d->stamp;
        return VS_TIMEOUT;
    }
    d->step = c->n;
    size_t looked = out->len;
    while (d->placed < c->n && status == VS_OK) {
        uint32_t slot = c->at[d->placed++].slot;
        if (partition_ended(p, slot))
            continue;
        status = put_element(index, p, slot, d->max ? d->max : VS_DUMP_MAX, out);
        d->count++;
        if (d->count % DUMP_LOOK_ELEMENTS && out->len - looked < DUMP_LOOK_BYTES)
            continue;
        looked = out->len;
        if (status == VS_OK && clock_mono_ns() > until_ns)
            return VS_TIMEOUT;
    }
    c->of = NULL;
    d->cursor = d->next;
    d->placed = 0;
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
        enum vs_status status = put_step(index, p, d, out, until_ns);
        if (status != VS_OK)
            return status;
        if (d->cursor && clock_mono_ns() > until_ns)
            return VS_TIMEOUT;
    } while (d->cursor);
    struct part_head head = {p->number, p->pinned, d->count};
    memcpy(out->data + dump_heads_end(d->at), &head, sizeof(head));
    d->count = 0;
    d->at++;
    return VS_OK;
}

static enum vs_status begin(const struct vs_index *index, struct vs_dump *d, struct buf *out)
{
    size_t max = d->max ? d->max : VS_DUMP_MAX, size = size_of(index);
    d->begun++;
    d->stamp = stamp_of(index);
    d->at = 0;
    d->count = 0;
    d->cursor = 0;
    d->placed = 0;
    index->store->cells->of = NULL;
    if (size > max)
        size = max;
    if (out->cap < size) { /* exactly so much: it counts as in use */
        buf_release(out);
        if (!(out->data = mem_try_alloc(size)))
            return VS_NOMEM;
        out->cap = size;
    }
    out->len = 0;
    return put_header(index, out) ? VS_OK : VS_NOMEM;
}

static enum vs_status put_sum(struct vs_dump *d, struct buf *out, uint64_t until_ns)
{
    if (!dump_sum_some(&d->sum, &d->summed, out->data, out->len, until_ns))
        return VS_TIMEOUT;
    uint64_t sum = dump_sum(d->sum, out->data + d->summed, out->len - d->summed);
    return buf_try_append(out, &sum, sizeof(sum)) ? VS_OK : VS_NOMEM;
}

static bool cells_ready(struct vs_store *store)
{
    return store->cells || (store->cells = mem_try_zalloc(sizeof(*store->cells)));
}

enum vs_status vs_dump_some(struct vs_store *store, struct vs_dump *d, struct buf *out, uint64_t until_ns)
{
    struct vs_index *index = keyspace_by_uid(store, d->uid);
    if (d->whole)
        return put_sum(d, out, until_ns);
    if (!index)
        return VS_NOTFOUND;
    if (!cells_ready(store))
        return VS_NOMEM;
    enum vs_status status = VS_OK;
    if (!d->begun || d->stamp != stamp_of(index))
        status = begin(index, d, out);
    if (d->begun >= HOLD_FROM && !d->holding) {
        d->holding = true;
        index->dumps++;
    }
    while (status == VS_OK && d->at < index_table(index)->n)
        status = put_partition(index, d, out, d->begun < BEGIN_MAX ? until_ns : UINT64_MAX);
    if (status != VS_TIMEOUT && status != VS_BACKLOG)
        vs_dump_end(store, d);
    if (status != VS_OK)
        return status;
    d->whole = true;
    return put_sum(d, out, until_ns);
}

void vs_dump_end(struct vs_store *store, struct vs_dump *d)
{
    struct vs_index *index = d->holding ? keyspace_by_uid(store, d->uid) : NULL;
    d->holding = false;
    if (!index)
        return;
    index->dumps--;
    if (store->options.wake) /* who waits tries again */
        store->options.wake(store->options.wake_arg);
}

enum vs_status dump_at_once(const struct vs_index *index, struct buf *out)
{
    struct vs_dump d = {.max = SIZE_MAX};
    enum vs_status status = cells_ready(index->store) ? begin(index, &d, out) : VS_NOMEM;
    while (status == VS_OK && d.at < index_table(index)->n)
        status = put_partition(index, &d, out, UINT64_MAX);
    return status == VS_OK ? put_sum(&d, out, UINT64_MAX) : status;
}

void dump_release(struct vs_store *store)
{
    if (store->cells)
        mem_free(store->cells->at);
    mem_free(store->cells);
}
