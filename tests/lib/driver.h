/* Random commands on a store, for tests: a few keys that come and go, with elements, attributes, partitions and
 * names that change. Most go to key-1 of database 0, so that it has a graph, repairs and compactions. */
#ifndef LIB_DRIVER_H
#define LIB_DRIVER_H

#include "base/rng.h"
#include "vecstore.h"

#define DRIVER_DATABASES 2
#define DRIVER_RARE 9                /* kinds of rare commands */

struct driver {
    struct vs_store *store;
    struct rng rng;
    bool faults;                     /* every now and then an allocation fails. Indexes are FLAT then: that the first graph of a
                                        partition waits for memory is the one thing that does not follow from the effects */
    bool no_flush;
    bool still;                      /* the clock stands still */
    uint64_t now_ms;                 /* a clock that goes on with the steps: what has ended goes */
    size_t done, refused;            /* changes made; changes refused for memory or the journal */
};

void driver_step(struct driver *d);
void driver_run(struct driver *d, size_t steps);
/* A command that is rare otherwise, on this index: 0 removes it, 1 empties its database, 2 and 3 rename, 4 drops a
 * partition, 5 pins one, 6 gives it a deadline or takes it away, 7 copies it to another name; 8 swaps the databases; from 9 on creates. */
enum vs_status driver_rare(struct driver *d, struct vs_index *index, unsigned kind);

#endif
