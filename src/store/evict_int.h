/* What the three files of the limit of memory share: evict.c (how much has to go, and when), evict_account.c (what is on its
 * way, and who may grow), evict_choose.c (which element or key goes). Owner. */
#ifndef STORE_EVICT_INT_H
#define STORE_EVICT_INT_H

#include "store/store_int.h"

#define GOAL_SHARE  128              /* the goal lies below the limit by one part in so many */
#define BOUND_SHARE 128              /* by such a part it may be passed for a moment */
#define TIGHT_SHARE 128              /* and the bound by such a part before those who add have to wait */
#define CUT_SHARE   64               /* by such a part partitions may grow past the goal while a cut is taken */
#define NOTE_EVERY  64               /* entries between looks at an index's size */

/* ---- evict_account.c ---- */
/* Up to where partitions grow: what mending the largest graph takes for a while has its place, too. */
size_t evict_goal(const struct vs_store *store);
/* Beyond, for longer than a moment, something must go. */
size_t evict_bound(const struct vs_store *store);
/* The same for who is let in. Where nothing is left that may go, what does not count has no place of its own: writers would
 * be refused for what others send; so records have all of the limit. */
size_t evict_room_goal(const struct vs_store *store);
size_t evict_room_bound(const struct vs_store *store);
/* Bytes that will be free without more evictions. */
size_t evict_on_its_way(const struct evict *e);
/* Is any of it being fetched: mended, compacted, freed? */
bool evict_under_way(const struct vs_store *store);
/* Slots that have to be dead, on their way, or free, for a partition that may not grow not to stand still. */
size_t evict_reserve(const struct graph_slack *s);
/* Those that have shrunk are small again, with some play. */
void evict_review_large(struct vs_store *store);
/* All keys are looked at once when a limit is set. */
void evict_scan_some(struct vs_store *store, uint64_t until_ns);
/* ---- evict_choose.c ---- */
/* One element or key goes. VS_NOTFOUND: there is nothing to be evicted. */
enum vs_status evict_one(struct vs_store *store);

#endif
