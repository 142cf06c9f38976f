/* First touch: mapped columns are checked before they are used, once, and a partition whose files do
 * not hold what they should stops alone.
 *
 *   unchecked bits of a chunk --touch--> region->check, then links < slots, floats finite --> bits cleared
 *                                                      +--> the graph is bad: its reason is kept
 *
 * A view says whether any chunk had such bits when it was made (view->unchecked), so that searches ask
 * chunk by chunk only until the scrub has been through. THREADS. Any, unless said. */
#ifndef INDEX_GRAPH_TOUCH_H
#define INDEX_GRAPH_TOUCH_H

#include "index/graph_int.h"

/* Checks those columns of a chunk that are not checked yet. False: the graph is bad. */
bool touch_columns(struct graph *g, struct chunk *c, uint8_t columns);
static inline bool touch(const struct graph *g, struct chunk *c, uint8_t columns)
{
    if (__builtin_expect(!(atomic_load_explicit(&c->unchecked, memory_order_acquire) & columns), 1))
        return true;
    return touch_columns((struct graph *)g, c, columns);
}
/* Is all well with what has been read so far? Looks at the regions when a fault has been met. */
bool touch_faults(struct graph *g);
static inline bool touch_sound(const struct graph *g)
{
    if (__builtin_expect(atomic_load_explicit(&g->bad, memory_order_acquire), 0))
        return false;
    return __builtin_expect(atomic_load_explicit(&region_faults, memory_order_acquire) ==
                                atomic_load_explicit(&g->faults_seen, memory_order_relaxed), 1) ||
           touch_faults((struct graph *)g);
}
/* What `g->bad` is to say; the first reason stays. */
void touch_fail(struct graph *g, const char *text, size_t len);
/* Prepares the scrub of all chunks there are; until it has ended they stay. False: out of memory. */
bool scrub_make(struct graph *g);
/* Any worker, in the scrub: copies what is wanted in memory of a chunk that has been checked. */
void bring_chunk(struct graph *g, const struct chunk *c, uint32_t chunk);
void bring_end(struct graph *g);     /* [owner] The copies take their places, or are given back. */
void bring_free(struct graph *g);
/* [owner] The scrub has ended, or will not: a new view, and linking may begin. */
void scrub_end(struct graph *g);
enum scrub_state { SCRUB_NONE, SCRUB_RUNNING, SCRUB_ENDING, SCRUB_ENDED };
void scrub_free(struct graph *g);

#endif
