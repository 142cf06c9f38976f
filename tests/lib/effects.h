/* A journal in memory for tests: keeps every effect of a store, and applies them to another. It checks that each append was
 * prepared with the same effect. Owner thread. */
#ifndef LIB_EFFECTS_H
#define LIB_EFFECTS_H

#include "vecstore.h"

struct effects_item;

struct effects {
    struct vs_journal journal;       /* for vs_set_journal */
    struct effects_item *items;
    size_t n, cap;
    struct vs_effect prepared;       /* of the last prepare */
    bool is_prepared;
    size_t refuse_after;             /* this many prepares from now (1: the next) answers `refusal`; 0: none */
    enum vs_status refusal;
};

void effects_init(struct effects *log);
void effects_release(struct effects *log);
/* Effect `i`, borrowed from the log. */
const struct vs_effect *effects_at(const struct effects *log, size_t i);
/* Applies effects from..to-1 to a store. The first status that is not VS_OK, with its number in *at (may be NULL). */
enum vs_status effects_apply(const struct effects *log, size_t from, size_t to, struct vs_store *store, size_t *at);

/* What differs between two settled stores: keys, options, counts, sequence numbers, digests of records and of graphs; of the
 * first key that differs all of it, and the first elements whose records do, with their attributes. NULL: nothing. The text is
 * good until the next call. */
const char *effects_compare(struct vs_store *a, struct vs_store *b);

#endif
