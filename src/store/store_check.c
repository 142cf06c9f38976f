/* Checking a store's invariants, for tests: every partition's graph, and that its map of ids and
 * its counters agree with it. */
#include "index/graph.h"
#include "store/store_int.h"

struct check {
    const struct partition *part;
    const char *wrong;
    size_t elements, attributes, deadlines;
};

static void check_cell(void *arg, uint64_t cell)
{
    struct check *c = arg;
    uint32_t slot = (uint32_t)cell - 1, found;
    const void *user = graph_user(c->part->graph, slot);
    size_t len;
    if (!user) {
        c->wrong = "an id leads to a slot without a record";
        return;
    }
    const void *id = record_id(user, &len);
    if (!partition_find(c->part, partition_hash(c->part, id, len), id, len, &found) ||
        found != slot)
        c->wrong = "an id leads to another's record";
    c->elements++;
    c->attributes += graph_extra(c->part->graph, slot) != NULL;
    uint64_t deadline = graph_deadline(c->part->graph, slot);
    c->deadlines += deadline != 0;
    if (deadline && !heap_has(&c->part->deadlines, *graph_deadline_place(c->part->graph, slot), deadline, slot))
        c->wrong = "a deadline does not stand in the heap";
}

static const char *check_partition(const struct partition *p)
{
    struct check c = {.part = p, .wrong = graph_check(p->graph)};
    uint64_t cursor = 0;
    if (c.wrong)
        return c.wrong;
    do {
        cursor = htable_scan(p->ids, cursor, check_cell, &c);
    } while (cursor && !c.wrong);
    if (c.wrong)
        return c.wrong;
    if (c.elements != htable_count(p->ids) || c.elements != graph_alive(p->graph))
        return "the map of ids and the records alive differ in number";
    if (c.deadlines != p->deadlines.n || (p->deadlines.n && !p->expiring))
        return "the number of deadlines is wrong";
    return c.attributes == p->attributes ? NULL : "the number of attributes is wrong";
}

static void check_index(void *arg, struct vs_index *index)
{
    const char **wrong = arg;
    const struct partition_table *t = index_table(index);
    size_t count = 0;
    for (uint32_t i = 0; i < t->n && !*wrong; i++) {
        if (!t->part[i]->stub)
            *wrong = check_partition(t->part[i]);
        count += partition_alive(t->part[i]);
    }
    if (!*wrong && count != index->count)
        *wrong = "an index's number of elements is wrong";
}

const char *store_check(struct vs_store *store)
{
    const char *wrong = NULL;
    for (unsigned db = 0; db < store->options.databases && !wrong; db++) {
        uint64_t cursor = 0;
        do {
            cursor = keyspace_raw_scan(store, db, cursor, check_index, &wrong);
        } while (cursor && !wrong);
    }
    return wrong;
}
