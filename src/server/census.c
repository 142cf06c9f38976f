#include "server/census.h"

#include "base/clock.h"

static void add(void *arg, struct vs_index *index)
{
    struct census_sums *sums = arg;
    struct vs_memory m;
    vs_index_memory(index, &m);
    sums->memory.codes += m.codes;
    sums->memory.originals += m.originals;
    sums->memory.links += m.links;
    sums->memory.records += m.records;
    sums->memory.ids += m.ids;
    sums->memory.id_map += m.id_map;
    sums->memory.attributes += m.attributes;
    sums->memory.other += m.other;
    sums->memory.total += m.total;
    sums->indexes++;
    sums->elements += vs_index_count(index);
    size_t n = vs_partition_count(index);
    sums->partitions += n;
    for (size_t i = 0; i < n; i++) {
        struct vs_partition_info info;
        vs_partition_info(index, i, &info);
        sums->linked += info.linked;
        sums->unlinked += info.unlinked;
        sums->dead += info.dead;
    }
}

bool census_run(struct census *c, struct vs_store *store, uint64_t deadline_ns)
{
    if (!c->under_way) {
        c->now = (struct census_sums){0};
        c->db = 0;
        c->cursor = 0;
        c->under_way = true;
    }
    do {
        if (vs_count(store, c->db) > 0 || c->cursor)
            c->cursor = vs_scan(store, c->db, c->cursor, add, &c->now);
        if (c->cursor == 0 && ++c->db == vs_databases(store)) {
            c->done = c->now;
            c->under_way = false;
            return true;
        }
    } while (clock_mono_ns() < deadline_ns);
    return false;
}
