/* Restoring a small partition, of fewer than 1,024 records, from the section of a pack: it is copied. */
#include <math.h>

#include "base/mem.h"
#include "index/region.h"
#include "store/restore_int.h"

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
        return restore_refuse(r, "%llu bytes are no partition", im->small_bytes);
    s->n = load32(base);
    size_t levels = 8 + s->n * 8, rows = (levels + s->n + 15) & ~(size_t)15;
    size_t originals = rows + s->n * shape->codec.row_bytes;
    size_t ids = originals + s->n * shape->original_bytes;
    if (s->n >= CHUNK_SLOTS || s->n != im->alive || ids > im->small_bytes)
        return restore_refuse(r, "%llu elements do not fit in its section", s->n);
    s->born = base + 8;
    s->level = base + levels;
    s->rows = base + rows;
    s->originals = base + originals;
    if (im->deadlines) { /* behind all else */
        if (im->small_bytes - ids < s->n * 8)
            return restore_refuse(r, "the deadlines of %llu elements do not fit", s->n);
        s->end -= s->n * 8;
        s->deadlines = s->end;
    }
    s->ids = s->attributes = base + ids;
    for (size_t i = 0; i < s->n; i++) {
        size_t bytes = restore_id_bytes(s->attributes, s->end);
        if (!bytes)
            return restore_refuse(r, "element %llu has no id", i);
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
        return restore_refuse(r, "the attributes of element %llu do not fit", i), VS_CORRUPT;
    if (partition_find(p, hash, id, len, &slot) || !finite_vector(p, row, original, vector))
        return restore_refuse(r, "element %llu is there twice, or is no vector", i), VS_CORRUPT;
    uint64_t deadline_ms = s->deadlines ? load64(s->deadlines + i * 8) : 0;
    if (deadline_ms > VS_DEADLINE_MAX)
        return restore_refuse(r, "element %llu has an impossible deadline", i), VS_CORRUPT;
    enum vs_status status = partition_restore_record(
        p, load64(s->born + i * 8), s->level[i], row, original, id, len,
        has ? s->attributes + sizeof(attributes_len) : NULL, has ? attributes_len : 0, deadline_ms);
    if (status == VS_CORRUPT)
        restore_refuse(r, "element %llu was born at an impossible time", i);
    s->ids += restore_id_bytes(s->ids, s->end);
    s->attributes += sizeof(attributes_len) + (has ? attributes_len : 0);
    return status;
}

enum vs_status restore_small(struct restore *r)
{
    const struct vs_part_image *im = r->image;
    struct partition *p = r->p;
    const struct columns_shape *shape = graph_shape(p->graph);
    struct small s = {0};
    enum vs_status status = VS_OK;
    if (!im->pack && (im->alive || im->attributes))
        return restore_refuse(r, "%llu elements have no section", im->alive), VS_CORRUPT;
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
        return restore_refuse(r, "%llu elements have attributes, which is not what was said", p->attributes), VS_CORRUPT;
    if (!restore_check_deadlines(r))
        return VS_CORRUPT;
    return graph_restore_end(p->graph, im->state, r->why);
}
