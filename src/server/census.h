/* What all indexes hold together: summed up a few keys at a time, so that it never stalls the
 * loop, and shown as of the last whole pass. Loop thread. */
#ifndef SERVER_CENSUS_H
#define SERVER_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "vecstore.h"

struct census_sums {
    size_t indexes, partitions, elements, linked, unlinked, dead;
    struct vs_memory memory;
};

struct census {
    struct census_sums done; /* of the last pass */
    struct census_sums now;  /* of the pass under way */
    unsigned db;
    uint64_t cursor;
    bool under_way;
};

/* Goes on until the pass ends (true) or the time is up. */
bool census_run(struct census *c, struct vs_store *store, uint64_t deadline_ns);

#endif
