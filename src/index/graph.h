/* A partition's records and graph.
 *
 * Records arrive with dense sequence numbers (graph_insert), die (graph_kill), and are found
 * (graph_search). What arrived is searchable at once, by an exact scan; workers link it into an
 * HNSW graph behind (Malkov, Yashunin, arXiv 1603.09320), in batches, so that the graph is a pure
 * function of the stream of entries (the scheme of ParlayANN, arXiv 2305.04359):
 *
 *   stream   ... insert insert death insert ... | insert ...   a batch closes at 256 inserts or
 *                                                              256 deaths
 *   batch k: [1] if dead nodes are many, unlink them and mend their neighbours (graph_repair.c)
 *            [2] every new record searches the graph as it stood and the batch before it, and
 *                chooses its links
 *            [3] reverse links are applied in order of (target, sequence), in parallel over
 *                targets (graph_link.c)
 *
 * A partition has no graph until 1024 records are alive at a closing (then all of them are linked,
 * in order of their sequence numbers); below that, and always for FLAT, searches scan it; a graph
 * it has had it keeps. Slots, free lists and compaction (graph_compact.c) are local: ties are
 * broken, levels drawn and digests made by sequence numbers and ids only.
 *
 * Dead nodes stay in the graph, walked through but never returned, until there are 256 of them and
 * 1/32 of the graph at a closing: repairing means one pass over all links, so it is done for many
 * at once. While batches hold nothing but deaths of records that had a deadline, repairs wait for
 * more, up to 1/4 of the graph, the later ones for 1/8: where a whole generation ends, there are few repairs instead of many.
 *
 * THREADS. Owner: everything not marked [any]. [any]: with a view taken inside an epoch. Workers
 * run the jobs; what they finished is published by graph_poll. `link` jobs and compactions of one
 * graph exclude each other. */
#ifndef INDEX_GRAPH_H
#define INDEX_GRAPH_H

#include "base/epoch.h"
#include "base/pool.h"
#include "base/status.h"
#include "index/columns.h"
#include "index/searcher.h"

#define BATCH_SIZE 256
#define GRAPH_MIN 1024               /* alive records that are worth a graph */
#define GRAPH_LEVEL_MAX 15

struct graph;
struct graph_view;

/* What all graphs of a store share. */
struct graph_env {
    struct epoch *epoch;
    struct pool *pool;
    struct searcher *searchers;      /* one a worker of the pool (at least one) */
    struct searcher *scratch;        /* the owner's */
    /* Any thread: graph_poll(g) has something to do. Called once for each time it was polled at
     * most. */
    void (*ready)(struct graph_env *env, struct graph *g);
    /* Any thread: something that the owner may wait for has come. Touches no graph. */
    void (*wake)(struct graph_env *env);
    void *arg;
    uint64_t cuts;                   /* begun so far: the next cut's number less one. [owner] */
    /* Bytes of links that all graphs together may hold copied aside for cuts; 0: none, linking waits
     * until a cut's links are written. Set before the cuts are wanted. */
    _Atomic size_t aside_max;
    _Atomic size_t aside;            /* those held now */
    _Atomic size_t working;          /* bytes that jobs hold until they end */
    _Atomic size_t leaving;          /* of chunks given up, that readers and workers have not let go of yet */
    bool shrink;                     /* [owner] memory is wanted back */
    size_t headroom;                 /* [owner] bytes that chunks made ahead may take; SIZE_MAX: no bound */
};

struct graph_owner {                 /* callbacks on the owner thread */
    /* A record's slot has become free; nobody can see it any more. `user` and `extra` are the
     * owner's to free. */
    void (*freed)(void *arg, void *user, void *extra);
    /* Compaction moved a living record: its slot is `to` from now on. */
    void (*moved)(void *arg, void *user, uint32_t from, uint32_t to);
    void *arg;
    /* The extra of a dead record is the owner's to free (graph_drop_extra); its slot is not free yet. */
    void (*dropped)(void *arg, void *extra);
};

struct graph_options {
    enum vec_type type;
    enum vec_metric metric;
    enum vec_originals originals;
    uint32_t dim, m, ef_construction;
    uint64_t seed;
    bool flat;
};

struct graph *graph_new(struct graph_env *env, const struct graph_options *o, const struct graph_owner *owner);
/* Starts the end of a graph that no new search can reach: running jobs stop soon. Then poll until
 * graph_idle, and graph_free (any thread, once no reader is left). */
void graph_retire(struct graph *g);
bool graph_idle(const struct graph *g);
/* Calls owner->freed for every record; frees all. */
void graph_free(struct graph *g);

/* Adds a record: vector of dim finite floats; `level_hash` draws its level; `user` as owner->freed
 * gives it back; `deadline` 0: none. Sequence numbers rise strictly with every insert and kill. VS_NOMEM, VS_LIMIT. On
 * success the record is visible to whoever reads as of `sequence` or later. */
enum vs_status graph_insert(struct graph *g, const float *vector, uint64_t level_hash, uint64_t sequence, void *user,
                            void *extra, uint64_t deadline, uint32_t *slot);
/* Gives the record just inserted this row and original (where it has one) in place of its vector's. Before its entry is done,
 * and while nobody searches. */
void graph_set_row(struct graph *g, uint32_t slot, const void *row, const void *original);
/* Room for one death, which cannot be refused any more once the journal has it. VS_NOMEM, and then
 * nothing has changed. It holds until the entry is done, also past a graph_insert. */
enum vs_status graph_kill_room(struct graph *g);
/* The record dies at `sequence` (an update: the sequence of its successor). There is room. */
void graph_kill(struct graph *g, uint32_t slot, uint64_t sequence);
/* The extra of a record that has just been killed comes back when no reader can see it, and not with its slot, for which
 * the dead have to be taken out of the graph first. No cut may have seen it alive. Where slots come back as soon: nothing. */
void graph_drop_extra(struct graph *g, uint32_t slot);
/* Closes the batch if the entry just recorded filled it. Call once an entry, after its insert and
 * kill: only then do readers see either. */
void graph_entry_done(struct graph *g, uint64_t sequence);
/* [any] The sequence number that readers may ask for: load it before the view. */
uint64_t graph_sequence(const struct graph *g);
/* Has graph_poll something to do? [any] */
bool graph_has_news(const struct graph *g);
/* Publishes finished work, starts what is due, in slices: true when there is more to do now. */
bool graph_poll(struct graph *g, uint64_t until_ns);

/* Can so many records be added without the owner having to make a chunk? If not, workers make one:
 * env->wake tells when. Making and first touching a chunk takes milliseconds; without workers, or
 * where graph_insert is called all the same, the owner does it. */
bool graph_room(struct graph *g, uint32_t records);
/* Bytes of memory that the next record needs beyond what the graph has: a chunk's, or 0. */
size_t graph_growth(const struct graph *g);
/* Where slots stand. Those neither alive nor free are on their way to being free. */
struct graph_slack {
    size_t slots, alive, free;
    size_t slot_bytes;               /* of columns */
    size_t chunk_bytes;              /* of a whole chunk */
    size_t repair_min;               /* so many dead ones are taken out at a closing */
    bool held;                       /* a cut keeps them from becoming free */
    bool returning;                  /* the dead are being taken out, or slots and chunks given back */
};
struct graph_slack graph_slack(const struct graph *g);
/* What env->working will be while so many dead are taken out, about. */
size_t graph_mend_bytes(const struct graph *g, size_t dead);
/* So many free slots are no reason to compact. */
void graph_keep_free(struct graph *g, size_t slots);
/* The record of a slot that is alive: its sequence number, else 0. */
uint64_t graph_alive_at(const struct graph *g, uint32_t slot);
/* Records that wait to be linked; 0 without a graph. */
size_t graph_backlog(const struct graph *g);
/* Is a compaction under way, which linking waits for? */
bool graph_compacting(const struct graph *g);
size_t graph_alive(const struct graph *g);
const struct columns_shape *graph_shape(const struct graph *g);
/* The record's row, original (NULL without), and owner's pointers. */
const void *graph_row(const struct graph *g, uint32_t slot);
const void *graph_original(const struct graph *g, uint32_t slot);
void *graph_user(const struct graph *g, uint32_t slot);
void *graph_extra(const struct graph *g, uint32_t slot);
/* Makes room for an extra pointer. False: out of memory. */
bool graph_extra_room(struct graph *g, uint32_t slot);
/* Sets the extra pointer, for which there is room; the old one is the caller's to retire. */
void graph_set_extra(struct graph *g, uint32_t slot, void *extra);
/* When the record ends, in milliseconds of the wall clock; 0: never. */
uint64_t graph_deadline(const struct graph *g, uint32_t slot);
/* Makes graph_set_deadline possible for this slot; false: out of memory. */
bool graph_deadline_room(struct graph *g, uint32_t slot);
void graph_set_deadline(struct graph *g, uint32_t slot, uint64_t deadline);
/* A number that the owner keeps with the deadline; where there is room for one. It moves with the record. */
uint32_t *graph_deadline_place(const struct graph *g, uint32_t slot);
uint64_t graph_born(const struct graph *g, uint32_t slot);
/* The vector as given, or as the code has it where no original is kept. */
void graph_vector(const struct graph *g, uint32_t slot, float *out);

/* Is there work running, due or waiting for readers? */
bool graph_busy(const struct graph *g);
void *graph_owner_arg(const struct graph *g);

struct graph_info {
    size_t alive, linked, unlinked, dead, free_slots;
    int max_level;
    uint32_t batches;                /* closed, and not in the graph yet */
    uint64_t linked_sequence, digest;
    struct columns_bytes bytes;
    size_t upper_bytes, other_bytes;
};
void graph_info(const struct graph *g, struct graph_info *out);

/* ---- searching ---- */

/* What a search asks of the records it may return: the owner's business. */
struct graph_filter {
    bool (*match)(void *arg, const void *extra);
    void *arg;
    size_t effort;                   /* records asked about at most; 0: as many as it takes to find `keep` */
};
struct graph_query {
    const float *vector;
    float norm;                      /* its length (COSINE) */
    size_t keep;                     /* results wanted: k + offset; 0: all within `radius` */
    size_t ef;
    bool exact;
    bool bounded;                    /* drop what is farther than `radius` (a distance as in vec/metric.h) */
    float radius;
    uint64_t as_of;
    uint64_t now_ms;                 /* records whose deadline has come by then are not returned; 0: none has one */
    uint64_t deadline_ns;            /* of the search; 0: none */
    const _Atomic bool *cancelled;   /* may be NULL */
    const struct graph_filter *filter; /* may be NULL */
};
struct graph_result {
    const char *plan;                /* "graph", "graph+scan", "scan", with a filter "filter+" before it */
    bool partial;
};

/* [any] The published view; stays valid inside the caller's epoch. */
struct graph_view *graph_view(const struct graph *g);
/* [any] The best records of a view as of query->as_of: s->top[0..s->ntop), sorted, distances exact
 * (on originals where there are any). VS_NOMEM. */
enum vs_status graph_search(const struct graph *g, const struct graph_view *v, struct searcher *s,
                            const struct graph_query *query, struct graph_result *result);
/* [any] For what a search found. */
void *graph_view_user(const struct graph_view *v, uint32_t slot);
void *graph_view_extra(const struct graph_view *v, uint32_t slot);
uint64_t graph_view_born(const struct graph_view *v, uint32_t slot);
void graph_view_vector(const struct graph *g, const struct graph_view *v, uint32_t slot, float *out);

/* [any] Calls `each` with the user pointer of every record that the view has as of `as_of` and `now_ms` (as in a query), until it answers false or
 * *cancelled (may be NULL) is set; then false. `begin` comes first, and again each time that all have to be gone through once
 * more, because a compaction began meanwhile; `doubled`: a record may come twice. */
bool graph_each(const struct graph *g, const struct graph_view *v, uint64_t as_of, uint64_t now_ms, const _Atomic bool *cancelled,
                void (*begin)(void *arg, bool doubled), bool (*each)(void *arg, void *user), void *arg);
/* [any] The highest level of a record in the graph; -1: it is not linked. */
int graph_view_level(const struct graph *g, const struct graph_view *v, uint32_t slot);
/* [any] The records alive as of `as_of` that a record links to at a level. `out`: room for 2m; their number. */
size_t graph_view_links(const struct graph *g, const struct graph_view *v, uint32_t slot, int level, uint64_t as_of,
                        uint64_t now_ms, uint32_t *out);

/* Walks everything and checks the invariants (no job may run): links lead to linked nodes, none to
 * itself, none twice; counters and digest agree with a recount. NULL when all is well, else what is
 * wrong (static text). For tests. */
const char *graph_check(const struct graph *g);

#endif
