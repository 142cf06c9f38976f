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
#include "base/mem.h"
#include "store/restore_int.h"

bool restore_refuse(struct restore *r, const char *what, uint64_t at)
{
    buf_printf(r->why, "partition %u: ", r->p->number);
    buf_printf(r->why, what, (unsigned long long)at);
    return false;
}

size_t restore_id_bytes(const uint8_t *at, const uint8_t *end)
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

bool restore_check_deadlines(struct restore *r)
{
    const struct partition *p = r->p;
    if (p->deadlines.n == r->image->deadlines && deadline_first(p) == r->image->first_deadline_ms)
        return true;
    return restore_refuse(r, "%llu elements have deadlines, which is not what was said", p->deadlines.n);
}

/* ---- an index ---- */

enum vs_status partition_restore(struct partition *p, const struct vs_part_image *image, struct buf *why)
{
    if (p->stub)
        return stub_restore(p, image);
    struct restore r = {.p = p, .image = image, .why = why};
    if (image->state->sequence != image->sequence)
        return restore_refuse(&r, "its sequence number %llu is not that of its graph", image->sequence), VS_CORRUPT;
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
