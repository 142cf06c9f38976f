/* Sums over the partitions of an index, taken in slices: an index may have thousands of them. Loop thread only. */
#ifndef CMD_INDEX_SUMS_H
#define CMD_INDEX_SUMS_H

#include "cmd/args.h"

/* One partition, as much as BALANCE needs of it. */
struct index_sums_row {
    char name[24];
    size_t elements, bytes;
};

struct index_sums {
    uint64_t uid;               /* of the index */
    size_t n, next;             /* partitions, and the next to look at */
    size_t elements, bytes, linked, unlinked, dead, expiring;
    size_t elements_max;
    int max_level;              /* -1: no graph */
    uint64_t sequence_max;
    struct index_sums_row rows[];
};

/* The sums of the whole index, in call->state; NULL: answer CMD_AGAIN. Starts over when partitions come or go meanwhile. */
struct index_sums *index_sums_take(struct cmd_call *call, const struct vs_index *index);

#endif
