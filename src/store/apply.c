/* Effects done again: from a journal, from a primary.
 *
 * An effect says what was done, not what was asked: an ADD makes a record even where the vector is
 * the one that stands there, as the store that it came from did. So the same effects in the same order
 * leave the same sequence numbers, the same batches and the same digests, whatever the store does
 * meanwhile by itself: what has ended by the clock is there until an effect takes it away. What comes from a file is not to be believed: everything is looked at before
 * anything is changed. */
#include <string.h>

#include "store/store_int.h"

/* What cannot be, at this place, is the file's fault. */
static enum vs_status verdict(enum vs_status status)
{
    return status == VS_OK || status == VS_NOMEM || status == VS_IO ? status : VS_CORRUPT;
}

static enum vs_status apply_add(struct vs_index *index, const struct vs_effect *e)
{
    const struct vs_index_options *o = &index->options;
    struct vs_element element = {.id = e->id,
                                 .id_len = e->id_len,
                                 .vector = e->vector,
                                 .attributes = e->attributes,
                                 .attributes_len = e->attributes_len,
                                 .deadline_ms = e->deadline_ms};
    struct vs_added added = {0};
    if (e->dim != o->dim || e->deadline_ms > VS_DEADLINE_MAX || (e->attributes && e->attributes_len > VS_ATTRIBUTES_MAX) ||
        vec_unfit(o->type, o->originals, e->vector, o->dim) < o->dim)
        return VS_CORRUPT;
    enum vs_status status =
        partition_put(index_partition(index, e->id, e->id_len), &element, &added);
    if (status == VS_OK && added.created)
        index->count++;
    return status;
}

static enum vs_status apply_partition(struct vs_index *index, const struct vs_effect *e)
{
    long at = vs_partition_find(index, e->id, e->id_len);
    if (at < 0)
        return VS_NOTFOUND;
    if (e->kind == VS_DROP)
        return vs_partition_drop(index, (size_t)at);
    if (index_table(index)->part[at]->pinned == e->on)
        return VS_EXISTS;
    return vs_partition_pin(index, (size_t)at, e->on);
}

static enum vs_status apply_rename(struct vs_index *index, const struct vs_effect *e)
{
    if (e->key_len == e->id_len && memcmp(e->key, e->id, e->id_len) == 0)
        return VS_CORRUPT;
    return keyspace_raw_rename(index, e->id, e->id_len);
}

static enum vs_status apply_key_deadline(struct vs_index *index, uint64_t deadline_ms)
{
    if (index->deadline_ms == deadline_ms)
        return VS_EXISTS;
    return vs_set_index_deadline(index, deadline_ms);
}

static enum vs_status apply(struct vs_store *store, const struct vs_effect *e)
{
    struct vs_index *index;
    if (e->db >= store->options.databases)
        return VS_CORRUPT;
    switch (e->kind) {
    case VS_CREATE:
        if (!e->options || !e->options->seed)
            return VS_CORRUPT;
        return keyspace_raw_create(store, e->db, e->key, e->key_len, e->options, &index);
    case VS_RESTORE:
    case VS_PIECE: return dump_apply(store, e);
    case VS_SWAP:
        return e->other < store->options.databases && e->other != e->db ? vs_swap(store, e->db, e->other)
                                                                         : VS_CORRUPT;
    case VS_FLUSH: return vs_count(store, e->db) ? vs_flush(store, e->db) : VS_NOTFOUND;
    default: break;
    }
    index = keyspace_raw_find(store, e->db, e->key, e->key_len);
    if (!index)
        return VS_NOTFOUND;
    if (e->kind == VS_ADD || e->kind == VS_DELETE || e->kind == VS_ATTRIBUTES || e->kind == VS_DEADLINE) {
        if (e->id_len > VS_ID_MAX || e->attributes_len > VS_ATTRIBUTES_MAX || e->deadline_ms > VS_DEADLINE_MAX)
            return VS_CORRUPT;
        enum vs_status status = open_wait(index, e->id, e->id_len);
        if (status != VS_OK)
            return status;
    }
    switch (e->kind) {
    case VS_REMOVE: return keyspace_raw_remove(index);
    case VS_RENAME: return apply_rename(index, e);
    case VS_KEY_DEADLINE: return apply_key_deadline(index, e->deadline_ms);
    case VS_ADD: return apply_add(index, e);
    case VS_DELETE: return index_delete(index, e->id, e->id_len);
    case VS_DEADLINE: return index_set_deadline(index, e->id, e->id_len, e->deadline_ms);
    case VS_ATTRIBUTES:
        return index_set_attributes(index, e->id, e->id_len, e->attributes, e->attributes_len);
    case VS_DROP:
    case VS_PIN: return apply_partition(index, e);
    default: return VS_CORRUPT;
    }
}

bool vs_apply_ready(struct vs_store *store, const struct vs_effect *e)
{
    if (!store->open.closed || e->db >= store->options.databases || e->id_len > VS_ID_MAX ||
        (e->kind != VS_ADD && e->kind != VS_DELETE && e->kind != VS_ATTRIBUTES && e->kind != VS_DEADLINE))
        return true;
    const struct vs_index *index = keyspace_raw_find(store, e->db, e->key, e->key_len);
    return !index || vs_ready(index, e->id, e->id_len);
}

enum vs_status vs_apply(struct vs_store *store, const struct vs_effect *e)
{
    return verdict(apply(store, e));
}

void vs_set_journal(struct vs_store *store, const struct vs_journal *journal)
{
    store->journal = journal;
}
