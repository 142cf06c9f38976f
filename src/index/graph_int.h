/* Insides of a graph, shared by the files graph_*.c alone.
 *
 * LOCK  g->lock ("graph"): the queue of closed batches and the list of finished ones, between owner and workers. Nothing is called under it.
 *
 * INVARIANTS
 *  1. A slot is in exactly one state: free (bit clear in g->used), or used. It becomes free only
 * after a grace period that
 *     began when nothing published led to it any more.
 *  2. Every link of a linked node leads to a linked node (alive or dead-not-repaired).
 *  3. view->batches are the batches not yet linked, in stream order; a record alive is in the graph
 * or in one of them, and in both only between the
 *     end of its batch's linking and the next publication.
 *  4. Workers change links, and `upper` links; all else of a record is written by the owner before
 * it is published (compaction copies into slots that nobody sees).
 *  5. What linking does depends on the stream alone: on sequence numbers, rows and levels, never on
 * slots or on deaths after
 *     the closing. */
#ifndef INDEX_GRAPH_INT_H
#define INDEX_GRAPH_INT_H

#include <pthread.h>

#include "base/hash.h"
#include "index/graph.h"

#define UPPER_BLOCKS 1024            /* of m words each: one chunk of the pool of upper links */

struct batch {
    struct epoch_item item;
    struct batch *next;              /* in the queue, then in the list of finished ones */
    _Atomic uint32_t count;          /* records; stored after the slot (release) */
    _Atomic uint32_t slots[BATCH_SIZE];
    uint32_t ndeaths;
    uint32_t deaths[BATCH_SIZE];     /* slots that died since the last closing, in order */
    uint32_t ninserts;               /* as the closing rule counts them */
    uint64_t sequence;               /* of the closing entry */
    /* what linking it left: filled by the job */
    uint32_t entry;                  /* entry point after it */
    int entry_level;
    uint64_t digest;
    size_t linked;                   /* nodes in the graph after it */
    uint32_t *repaired;              /* slots of dead nodes that are out of the graph now */
    size_t nrepaired;
};

struct graph_view {
    struct epoch_item item;
    uint32_t nchunks, slots;
    uint32_t nupper;                 /* chunks of upper blocks */
    uint32_t entry;                  /* SLOT_NONE: no graph yet */
    int entry_level;
    bool scanned;                    /* no batches: searches scan all chunks */
    uint32_t nbatches;
    size_t records;                  /* about; of the stream alone, since the plan of a search depends on it */
    /* arrays behind the struct */
    struct chunk **chunks;
    uint8_t **rows;
    _Atomic uint32_t **links;
    _Atomic uint32_t **upper;
    struct batch **batches;
};

enum compact_step { COMPACT_OFF, COMPACT_PLAN, COMPACT_COPY, COMPACT_SWITCH, COMPACT_RELINK, COMPACT_LEAVE,
                    COMPACT_HIDE, COMPACT_GRACE };
struct compaction {
    enum compact_step step;
    uint32_t end;                    /* slots from here on are to be emptied */
    uint32_t from_cursor, to_cursor; /* of the plan */
    uint32_t *from, *to;             /* pairs, both rising */
    size_t n, cap, switched;         /* pairs; those whose record has changed over */
    size_t hidden;                   /* pairs whose old slot scans pass over */
    uint32_t *target;                /* target[slot - end]: where it went, or SLOT_NONE */
    size_t ntarget;
    uint32_t *late;                  /* scanned partitions: slots that died meanwhile, released at the end */
    size_t nlate, late_cap;
    bool relinked;                   /* the relinking has run */
};

struct link_job;
/* A job that ends tells the owner first and lets go of the graph after: so the owner may see it
 * ending, and looks again. */
enum job_state { JOB_RUNNING, JOB_ENDING, JOB_ENDED };

/* The next chunk is made and its pages touched by a worker: tens of page faults are not for the
 * owner. */
enum spare_state { SPARE_NONE, SPARE_RUNNING, SPARE_READY };

struct graph {
    struct graph_env *env;
    struct graph_owner owner;
    struct graph_options options;
    struct columns_shape shape;
    _Atomic(struct graph_view *) view;

    /* owner only */
    struct chunk **chunks;
    uint32_t nchunks, chunks_cap;
    uint64_t *used;                  /* a bit a slot */
    uint32_t slots, nused, free_hint;
    _Atomic uint32_t **upper;        /* chunks of UPPER_BLOCKS * m words */
    uint32_t nupper, upper_cap, upper_next;
    uint32_t *upper_free[GRAPH_LEVEL_MAX + 1]; /* first blocks of free runs, by length */
    uint32_t nupper_free[GRAPH_LEVEL_MAX + 1], upper_free_cap[GRAPH_LEVEL_MAX + 1];
    struct batch *open;              /* NULL while scanned (then the counters below decide closings) */
    struct batch **waiting;          /* closed, not published as linked: the view's batches less the open one */
    uint32_t nwaiting, waiting_cap;
    uint32_t flat_inserts, flat_deaths; /* entries since the last closing, while scanned */
    _Atomic uint64_t sequence;       /* of the last entry that readers may see */
    size_t alive, unlinked;
    size_t linked, dead;             /* as published */
    uint64_t linked_sequence, digest;
    uint32_t entry;
    int entry_level;
    bool graphed;                    /* batches are linked; false: scanned. Once true it stays, so that it depends on the stream alone */
    bool retired;
    struct compaction compact;
    struct released *released;       /* slots past their grace, freed in slices */
    size_t nreleasing;               /* slots on their way to being free */
    _Atomic bool doubled;            /* records stand in two slots: a compaction is between switch and grace */
    /* the running job's; the owner's while none runs */
    uint32_t *dead_nodes;            /* of the graph, not repaired yet */
    size_t ndead_nodes, dead_cap;
    uint64_t closed_sequence;        /* of the last batch linked: a record born later is not in the graph */
    _Alignas(64) pthread_mutex_t lock;
    struct batch *queue, **queue_tail;    /* closed, not linked yet */
    struct batch *finished, **finished_tail;
    struct link_job *job;            /* running, or NULL; owner creates and frees */
    struct pool_task spare_task;     /* prepares the next chunk before it is needed */
    struct chunk *spare;             /* valid when SPARE_READY */
    _Atomic int spare_state;         /* enum spare_state */
    _Atomic int job_state;           /* enum job_state */
    _Atomic bool ready;              /* env->ready called since the last poll */
    _Atomic bool stop;
};

/* ---- records by slot ---- */
static inline struct chunk *view_chunk(const struct graph_view *v, uint32_t slot)
{
    return v->chunks[slot >> CHUNK_BITS];
}
static inline const uint8_t *view_row(const struct graph_view *v, uint32_t slot, size_t row_bytes)
{
    return v->rows[slot >> CHUNK_BITS] + (size_t)(slot & (CHUNK_SLOTS - 1)) * row_bytes;
}
static inline _Atomic uint32_t *view_links(const struct graph_view *v, uint32_t slot, uint32_t m)
{
    return v->links[slot >> CHUNK_BITS] + (size_t)(slot & (CHUNK_SLOTS - 1)) * 2 * m;
}
static inline uint64_t view_born(const struct graph_view *v, uint32_t slot)
{
    return atomic_load_explicit(&view_chunk(v, slot)->born[slot & (CHUNK_SLOTS - 1)], memory_order_acquire);
}
/* Links of a node at a level >= 1. */
static inline _Atomic uint32_t *view_upper(const struct graph_view *v, uint32_t slot, int level, uint32_t m)
{
    uint32_t block = view_chunk(v, slot)->upper[slot & (CHUNK_SLOTS - 1)] + (uint32_t)level - 1;
    return v->upper[block / UPPER_BLOCKS] + (size_t)(block % UPPER_BLOCKS) * m;
}
static inline _Atomic uint32_t *view_links_at(const struct graph_view *v, uint32_t slot, int level, uint32_t m)
{
    return level ? view_upper(v, slot, level, m) : view_links(v, slot, m);
}
static inline int view_level(const struct graph_view *v, uint32_t slot)
{
    return view_chunk(v, slot)->level[slot & (CHUNK_SLOTS - 1)];
}
static inline uint32_t links_max(uint32_t m, int level)
{
    return level ? m : 2 * m;
}
static inline uint32_t link_load(const _Atomic uint32_t *links, uint32_t i)
{
    return atomic_load_explicit(&links[i], memory_order_acquire);
}

/* ---- digest: a sum over nodes and links, so that it follows changes ---- */
static inline uint64_t digest_node(uint64_t born, int level)
{
    return hash_mix(hash_mix(born) + (uint64_t)level);
}
static inline uint64_t digest_link(uint64_t from, int level, uint64_t to)
{
    return hash_mix(hash_mix(from * 31 + (uint64_t)level) ^ (to * 0x9E3779B97F4A7C15ull));
}

/* ---- graph.c ---- */
enum vs_status graph_publish(struct graph *g);       /* makes and swaps the view; VS_NOMEM leaves the old one */
void graph_notify(struct graph *g);                  /* graph_poll is wanted; any thread */
/* ---- graph_slots.c: the owner's bookkeeping of slots, chunks and upper blocks ---- */
struct released {                    /* slots that become free after a grace period */
    struct epoch_item item;
    struct released *next;
    struct graph *g;
    uint32_t *slots;
    size_t n, done;
    bool vacated;                    /* their records live on elsewhere: nothing to give back to the owner */
};
/* The lowest free slot below `below`; grows the chunks when `below` is SLOT_NONE and none is free.
 * VS_NOMEM, VS_LIMIT, VS_NOTFOUND. */
enum vs_status graph_alloc_slot(struct graph *g, uint32_t below, uint32_t *slot);
void graph_unalloc_slot(struct graph *g, uint32_t slot);                /* one just taken and not used */
/* Frees slots after a grace period; takes the array. */
void graph_release_later(struct graph *g, uint32_t *slots, size_t n, bool vacated);
bool graph_release_some(struct graph *g, uint64_t until_ns);            /* true: more to do */
void graph_drop_chunks(struct graph *g, uint32_t nchunks);              /* keeps so many (all slots beyond are free); publishes */
void graph_drop_tail(struct graph *g);                                  /* the last chunks, as far as all their slots are free */
void graph_drop_spare(struct graph *g);                                 /* gives a prepared chunk back, on a worker */
bool graph_alloc_upper(struct graph *g, int level, uint32_t *block);
static inline struct chunk *graph_chunk(const struct graph *g, uint32_t slot)
{
    return g->chunks[slot >> CHUNK_BITS];
}
static inline uint32_t slot_place(uint32_t slot)
{
    return slot & (CHUNK_SLOTS - 1);
}
/* ---- graph_beam.c ---- */
struct beam_limits {
    uint64_t deadline_ns;
    const _Atomic bool *cancelled;
    uint64_t as_of;
    bool *stopped;
};
/* The nearest node to s->query found by greedy descent from the entry point down to above `level`;
 * its distance in *d. */
uint32_t beam_descend(const struct graph *g, const struct graph_view *v, struct searcher *s, uint32_t entry,
                      int from_level, int to_level, float *d);
/* Beam search of one level from `start` (which, and whatever is in s->beam already, must be marked
 * visited); the result is s->beam, sorted. `limits` NULL: linking (nothing is hidden, nothing stops
 * it). */
void beam_search(const struct graph *g, const struct graph_view *v, struct searcher *s, int level, size_t ef,
                 const struct beam_limits *limits, bool hide);
/* Puts a measured slot into the sorted beam of at most `cap` entries; its place, or SIZE_MAX when
 * it is too far or there already. */
size_t beam_insert(const struct graph_view *v, struct searcher *s, uint64_t key, size_t cap);
/* ---- graph_job.c: work in phases on the pool's workers ---- */

/* What a job keeps for one worker. */
struct edge {
    uint32_t target, source;
    float distance;
    uint32_t level;
    uint64_t order;                  /* of the source in the stream: edges to one target are applied in this order */
};
#define EDGE_PARTS 64                /* lists by target: the units of a reverse phase */
struct edges {
    struct edge *e;
    size_t n, cap;
};
struct job_worker {
    struct edges parts[EDGE_PARTS];
    struct edges merged;
    uint32_t *lists;                 /* new lists of links: slot, level, count, slots ... */
    size_t nlists, lists_cap;
    uint32_t *flagged;               /* nodes that lost more than half of their links */
    size_t nflagged, flagged_cap;
    uint64_t digest;                 /* change of the sum */
    uint32_t entry;                  /* best living node seen, when the entry point has died */
    int entry_level;
    uint64_t entry_born;
};

enum job_phase {
    PHASE_REPAIR_GATHER, PHASE_REPAIR_WRITE, PHASE_REPAIR_REVERSE,
    PHASE_AGAIN_SEARCH, PHASE_AGAIN_WRITE, PHASE_AGAIN_REVERSE,
    PHASE_LINK_SEARCH, PHASE_LINK_REVERSE,
    PHASE_COPY, PHASE_RELINK,
    PHASE_END
};

struct job_task {
    struct pool_task task;
    struct link_job *job;
    _Atomic bool queued;             /* submitted or running */
};

/* The phases of a job are made of units that any worker takes. `state` packs what a taker must read
 * at once:
 *   generation (16 bits) | number of units (24) | next unit (24)
 * The worker that ends the last unit of a phase sets up the next. */
struct link_job {
    struct graph *g;
    _Atomic uint64_t state;
    _Atomic uint32_t done;           /* units ended in this phase */
    _Atomic uint32_t tasks_active;
    enum job_phase phase;
    struct epoch_reader *reader;
    struct graph_view *view;
    struct batch *batch;
    uint64_t *dead;                  /* bit a slot: dead as of the batch's closing and to be repaired now; NULL otherwise */
    size_t dead_words;
    uint32_t members[BATCH_SIZE];    /* of the batch, alive at its closing, in stream order */
    uint32_t nmembers;
    uint32_t entry;
    int entry_level;
    uint32_t *again;                 /* nodes to be searched again, in stream order */
    size_t nagain;
    size_t linked;
    uint64_t digest;
    unsigned nworkers;
    struct job_worker *workers;
    unsigned ntasks;
    struct job_task tasks[];
};

bool job_start_link(struct graph *g);                /* false: out of memory */
bool job_start_phase(struct graph *g, enum job_phase phase); /* COPY or RELINK */
void job_free(struct graph *g);                      /* once JOB_ENDED; without a job nothing */
void job_edge(struct job_worker *w, const struct edge *e);
void job_list(struct job_worker *w, uint32_t slot, int level, const uint32_t *links, uint32_t n);

/* ---- graph_link.c ---- */
/* Chooses at most `max` of the candidates (keys in order) by HNSW's heuristic; the first `forced`
 * are taken as they are. `out` slots, `outd` distances; the number chosen. s->query need not be
 * theirs. */
uint32_t link_choose(const struct graph *g, const struct graph_view *v, struct searcher *s, const uint64_t *candidates,
                     size_t n, size_t forced, uint32_t max, uint32_t *out, float *outd);
/* Keys into order of (distance, sequence number). */
void link_sort(const struct graph_view *v, uint64_t *keys, size_t n);
void link_member(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t unit);
void link_reverse(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t part, bool mending);
/* Writes the lists that `w` gathered. */
void link_write(struct link_job *job, struct job_worker *w);
/* ---- graph_repair.c ---- */
void repair_gather(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t chunk);
void repair_again(struct link_job *job, struct job_worker *w, struct searcher *s, uint32_t unit);
/* ---- graph_compact.c ---- */
bool compact_due(const struct graph *g);
bool compact_begin(struct graph *g);                 /* false: out of memory */
bool compact_step(struct graph *g, uint64_t until_ns); /* true: more to do now */
void compact_release(struct graph *g);
void compact_copy(struct graph *g, uint32_t unit);
void compact_relink(struct graph *g, const struct graph_view *v, uint32_t unit);
uint32_t compact_copy_units(const struct graph *g);
/* The other slot that holds the same record until readers have moved on, or SLOT_NONE. */
uint32_t compact_alias(const struct graph *g, uint32_t slot);
/* A scanned partition's record died while records stand in two slots. */
void compact_late(struct graph *g, uint32_t slot);

#endif
