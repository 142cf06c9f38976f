#include "cmd/index_sums.h"

#include <string.h>

#include "base/mem.h"

static void add(struct index_sums *s, const struct vs_partition_info *p)
{
    struct index_sums_row *row = &s->rows[s->next++];
    memcpy(row->name, p->name, sizeof row->name);
    row->elements = p->elements;
    row->bytes = p->memory.total;
    s->elements += p->elements;
    s->bytes += p->memory.total;
    s->linked += p->linked;
    s->unlinked += p->unlinked;
    s->dead += p->dead;
    s->expiring += p->deadlines;
    if (p->elements > s->elements_max)
        s->elements_max = p->elements;
    if (p->max_level > s->max_level)
        s->max_level = p->max_level;
    if (p->sequence > s->sequence_max)
        s->sequence_max = p->sequence;
}

struct index_sums *index_sums_take(struct cmd_call *call, const struct vs_index *index)
{
    struct index_sums *s = call->state;
    size_t n = vs_partition_count(index);
    if (s && (s->uid != vs_index_uid(index) || s->n != n)) {
        mem_free(s);
        s = NULL;
    }
    if (!s) {
        s = mem_zalloc(sizeof *s + n * sizeof *s->rows);
        s->uid = vs_index_uid(index);
        s->n = n;
        s->max_level = -1;
        call->state = s;
        call->state_free = mem_free;
    }
    while (s->next < n) {
        struct vs_partition_info info;
        vs_partition_info(index, s->next, &info);
        add(s, &info);
        if (s->next < n && args_slice_over(call))
            return NULL;
    }
    return s;
}
