/* Insides of restoring, shared by graph_restore.c and graph_restore_check.c. */
#ifndef INDEX_GRAPH_RESTORE_INT_H
#define INDEX_GRAPH_RESTORE_INT_H

#include "index/graph_int.h"
#include "index/graph_restore.h"

struct restore {
    struct graph *g;
    const struct graph_image *image;
    const struct graph_state *state;
    struct buf *why;
    uint64_t *blocks;                /* a bit an upper block: some node has it */
    uint64_t *named;                 /* a bit a slot: in a batch; then, dead and in a list of deaths */
    size_t used, nodes;              /* records; of them those that are linked, dead ones too */
    int top;                         /* the highest level of a node */
    uint32_t tombs;                  /* made so far */
};

/* Says what is wrong: false. */
bool restore_wrong(struct restore *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Are the numbers of the state possible, before anything is made of them? */
bool restore_check_state(struct restore *r);
/* Do all offsets lie in their regions? */
bool restore_check_places(struct restore *r);
/* With the chunks in place and the deaths marked: do batches, lists, upper links, entry point and
 * counts agree with the records? */
bool restore_check_lists(struct restore *r);
bool restore_check_upper(struct restore *r);
bool restore_check_counts(struct restore *r);

static inline size_t padded(size_t bytes)
{
    return (bytes + 4095) & ~(size_t)4095;
}
static inline uint64_t restore_word(const struct restore *r, uint32_t slot)
{
    return atomic_load_explicit(&graph_chunk(r->g, slot)->born[slot_place(slot)],
                                memory_order_relaxed);
}

#endif
