/* Partitions whose files do not hold what they should; and looking for that on purpose. */
#include "base/buf.h"
#include "index/graph_resident.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

static bool damaged(const struct partition *p, struct buf *why)
{
    if (p->stub ? p->stub->failed != VS_CORRUPT : !graph_damaged(p->graph))
        return false;
    if (why && p->stub)
        buf_puts(why, p->stub->reason);
    else if (why)
        graph_is_bad(p->graph, why);
    return true;
}

bool vs_partition_damage(const struct vs_index *index, size_t i, struct buf *why)
{
    return damaged(index_table(index)->part[i], why);
}

bool vs_index_damage(const struct vs_index *index, struct buf *why)
{
    const struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n; i++) {
        if (!damaged(t->part[i], NULL))
            continue;
        if (why) {
            size_t shown = index->key_len < 64 ? index->key_len : 64;
            buf_printf(why, "partition %u of '%.*s': ", t->part[i]->number, (int)shown, index->key);
            damaged(t->part[i], why);
        }
        return true;
    }
    return false;
}

size_t vs_partition_resident(const struct vs_index *index, size_t i)
{
    const struct partition *p = index_table(index)->part[i];
    return p->stub ? 0 : graph_resident(p->graph);
}

/* ---- verifying ---- */

struct verify {
    const struct partition *p;
    uint64_t digest;
    size_t attributes;
};

static void verify_cell(void *arg, uint64_t cell)
{
    struct verify *v = arg;
    uint32_t slot = (uint32_t)cell - 1;
    size_t len;
    const void *id = record_id(graph_user(v->p->graph, slot), &len);
    v->digest += partition_record_digest(v->p, partition_hash(v->p, id, len), slot);
    v->attributes += graph_extra(v->p->graph, slot) != NULL;
}

static bool verify_partition(const struct partition *p, struct buf *why)
{
    struct verify v = {.p = p};
    uint64_t cursor = 0;
    const char *wrong = NULL;
    do {
        cursor = htable_scan(p->ids, cursor, verify_cell, &v);
    } while (cursor);
    if (graph_damaged(p->graph)) {
        graph_is_bad(p->graph, why);
        return false;
    }
    if (v.digest != p->digest || v.attributes != p->attributes)
        wrong = "its elements do not have the digest that was saved with them";
    else
        wrong = graph_check(p->graph);
    if (graph_damaged(p->graph)) {
        graph_is_bad(p->graph, why);
        return false;
    }
    if (wrong)
        buf_printf(why, "partition %u: %s", p->number, wrong);
    return !wrong;
}

enum vs_status vs_verify_index(const struct vs_index *index, struct buf *why)
{
    const struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n; i++)
        if (!verify_partition(t->part[i], why))
            return VS_CORRUPT;
    return VS_OK;
}
