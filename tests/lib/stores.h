/* Stores of the engine's tests, that random commands (driver.h) are run on. What is wrong fails the
 * running test (cmocka) and names the seed. Owner thread. */
#ifndef LIB_STORES_H
#define LIB_STORES_H

#include "vecstore.h"

struct vs_store *stores_open(unsigned threads);
/* Waits until all is linked, then checks its invariants. */
void stores_settle(struct vs_store *store);
/* Settles both; they must hold the same, graph and all. `what` says what they are. */
void stores_assert_same(struct vs_store *a, struct vs_store *b, const char *what);

#endif
