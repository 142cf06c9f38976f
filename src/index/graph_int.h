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
#include "index/graph_cut.h"

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
    /* a cut's hold: the owner's */
    bool held;                       /* a cut shows its lists: it is not freed before the cut */
    bool reclaimed;                  /* it would have been */
};

struct graph_view {
    struct epoch_item item;
    uint32_t nchunks, slots;
    uint32_t nupper;                 /* chunks of upper blocks */
    uint32_t entry;                  /* SLOT_NONE: no graph yet */
    int entry_level;
    bool scanned;                    /* no batches: searches scan all chunks */
    bool unchecked;                  /* some chunks are mapped and were not checked when it was made */
    uint32_t nbatches;
    size_t records;                  /* about; of the stream alone, since the plan of a search depends on it */
    /* arrays behind the struct */
    struct chunk **chunks;
    uint8_t **rows;
    _Atomic uint32_t **links;
    _Atomic uint32_t **upper;
    struct batch **batches;
};

/* What is kept from a cut's moment on, see graph_cut.h. Changed by the owner under g->lock, since the
 * linker asks it between batches. */
enum cut_step { CUT_NONE, CUT_STAMPED, CUT_WANTED, CUT_TAKEN };
struct cut_stamp {
    enum cut_step step;
    bool graphed;                    /* then */
    uint64_t at;
    size_t alive;
    uint32_t flat_inserts, flat_deaths;
    void (*taken)(void *arg, struct graph_cut *cut, enum vs_status s);
    void *arg;
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
    size_t keep_free;                /* free slots that compaction leaves alone */
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
    struct released *held;           /* the same, that a cut needs: not before its end */
    struct cut_stamp stamp;
    _Atomic(struct graph_cut *) cut; /* taken; for the linker within an epoch or under the lock */
    struct region *upper_in;         /* a reference: the first chunks of upper blocks lie in it */
    uint32_t upper_mapped;           /* so many */
    bool building;                   /* being restored: nobody else has seen it */
    uint32_t restored_slots;         /* links in files lead to slots below */
    struct outmoded *outmoded;       /* columns that mapped ones have replaced, until the next view */
    struct region **regions;         /* all that columns lie in, referenced; under the lock */
    size_t nregions, regions_cap;
    size_t restored_regions;         /* the first of them: ids lie there, too, and they stay */
    struct scrub *scrub;             /* runs until all is checked; NULL: nothing is unchecked */
    struct bring *bring;             /* copies that it makes of mapped columns; NULL: none */
    _Atomic int scrub_state;         /* enum scrub_state */
    _Atomic bool bad;                /* damaged: see graph_touch.h */
    char *reason;                    /* why, under the lock */
    _Atomic uint32_t faults_seen;    /* region_faults when its regions were last looked at */
    struct batch *unpublished;       /* finished and taken; the view names them still, for want of memory */
    size_t nreleasing;               /* slots on their way to being free */
    size_t ndropping;                /* extras of dead records that are */
    _Atomic bool doubled;            /* records stand in two slots: a compaction is between switch and grace */
    /* the running job's; the owner's while none runs */
    uint32_t *dead_nodes;            /* of the graph, not repaired yet */
    size_t ndead_nodes, dead_cap;
    uint64_t closed_sequence;        /* of the last batch linked: a record born later is not in the graph */
    _Atomic uint32_t mended;         /* repairs since the last batch of another kind, while a generation ends, MENDED_MAX at most */
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
/* May a search return the record? `now_ms` 0: none has a deadline. */
static inline bool view_visible(const struct graph_view *v, uint32_t slot, uint64_t as_of, uint64_t now_ms)
{
    return born_visible(view_born(v, slot), as_of) &&
           (__builtin_expect(!now_ms, 1) || !chunk_ended(view_chunk(v, slot), slot & (CHUNK_SLOTS - 1), now_ms));
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
void graph_retire_view(struct graph *g, struct graph_view *v);
struct batch *graph_batch_new(void);                 /* NULL: out of memory */
static inline void batch_append(struct batch *b, uint32_t slot)
{
    uint32_t n = atomic_load_explicit(&b->count, memory_order_relaxed);
    atomic_store_explicit(&b->slots[n], slot, memory_order_relaxed);
    atomic_store_explicit(&b->count, n + 1, memory_order_release);
}
void graph_enqueue(struct graph *g, struct batch *b); /* hands a closed batch to the linker */
void graph_notify(struct graph *g);                  /* graph_poll is wanted; any thread */
/* ---- graph_first.c ---- */
void graph_first(struct graph *g);                   /* at a closing with enough records alive */
/* ---- graph_slots.c: the owner's bookkeeping of slots, chunks and upper blocks ---- */
struct released {                    /* slots that become free after a grace period */
    struct epoch_item item;
    struct released *next;
    struct graph *g;
    uint32_t *slots;
    size_t n, done;
    bool vacated;                    /* their records live on elsewhere: nothing to give back to the owner */
    bool held;                       /* a cut may need their records */
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
void graph_retire_chunk(struct graph *g, struct chunk *c);              /* freed when no reader has it */
bool graph_reserve_slots(struct graph *g, uint32_t slots);              /* bits of g->used */
bool graph_alloc_upper(struct graph *g, int level, uint32_t *block);
void graph_free_upper(struct graph *g, uint32_t block, int level);
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
    uint64_t as_of, now_ms;
    bool *stopped;
};
/* Greedy descent to s->query from the entry point through the levels above `to_level`: the nearest node found is s->beam, and
 * marked visited: where the search of the next level begins. */
void beam_descend(const struct graph *g, const struct graph_view *v, struct searcher *s, uint32_t entry,
                  int from_level, int to_level);
/* Beam search of one level from what is in s->beam (and marked visited); the result is s->beam, sorted. `limits` NULL: linking
 * (nothing is hidden, nothing stops it, and only the nearer half of the beam is expanded). */
void beam_search(const struct graph *g, const struct graph_view *v, struct searcher *s, int level, size_t ef,
                 const struct beam_limits *limits, bool hide);
/* The same on level 0 for what a filter lets pass: walks through all, and s->beam holds the nearest visible records that match.
 * `patience`: expansions that are worth while; where more are to be expected to find ef of them, it gives up early. */
enum filtered_end { FILTERED_ALL, FILTERED_EFFORT, FILTERED_GAVE_UP, FILTERED_STOPPED, FILTERED_NOMEM };
enum filtered_end beam_filtered(const struct graph *g, const struct graph_view *v, struct searcher *s, size_t ef,
                                const struct beam_limits *limits, const struct graph_filter *filter, size_t patience);
/* Does a record match? Counts. */
static inline bool filter_asks(const struct graph_filter *filter, const struct graph_view *v, struct searcher *s,
                               uint32_t slot)
{
    s->examined++;
    return filter->match(filter->arg, graph_view_extra(v, slot));
}
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
    struct graph_env *env;
    size_t bytes;                    /* of all that, counted in env->working */
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
    struct graph_cut *cut;           /* whose links must be copied aside before they change; NULL mostly */
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
/* Starts linking when a batch waits and may be begun now. [owner] */
void job_link_if_due(struct graph *g);
/* Dead nodes of a graph of so many that are taken out at a closing, after so many repairs while a generation ends. */
size_t job_repair_min(size_t nodes, uint32_t mended);
bool job_start_phase(struct graph *g, enum job_phase phase); /* COPY or RELINK */
void job_free(struct graph *g);                      /* once JOB_ENDED; without a job nothing */
/* A block made larger (NULL: a new one). A job cannot end in the middle, so that it waits for memory
 * when there is none. */
void *job_memory(void *ptr, size_t size);
/* Room in a searcher in the same way: `beam` entries and `top` of its collector. */
void job_reserve(const struct link_job *job, struct searcher *s, size_t beam, size_t top);
void job_edge(struct job_worker *w, const struct edge *e);
/* As job_memory, for what a worker holds: its bytes count in env->working. */
void *job_block(struct job_worker *w, void *ptr, size_t size);
void job_block_free(struct job_worker *w, void *ptr);
/* A node that lost more than half of its links. */
void job_flag(struct job_worker *w, uint32_t slot);
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
/* ---- graph_cut.c ---- */
/* May a batch that closed at `sequence` be begun? Under g->lock. */
bool cut_lets_link(struct graph *g, uint64_t sequence);
/* Takes the cut that is wanted; no job runs, nothing is being compacted, what is finished is taken. [owner] */
void cut_take(struct graph *g);
/* Before the first change of a node's links at a level: the part they lie in is safe with the cut. */
void cut_guard(struct graph_cut *c, const struct graph_view *v, uint32_t slot, int level);
/* A small chunk has been replaced while a cut shows it: true, and it is freed with the cut. [owner] */
bool cut_keep_chunk(struct graph *g, struct chunk *chunk);
/* ---- graph_map.c ---- */
void map_retire(struct graph *g);                    /* columns that the view before the present one showed last */
void map_free(struct graph *g);
/* Columns that searches read at random where they are mapped; and the word about it to the system. */
uint8_t map_random(const struct graph *g);
void map_advise(const void *column, size_t size);
/* A reference that readers of views before the next one may still need. */
void map_outmoded(struct graph *g, struct region *in);
/* Keeps a region in the graph's list, once. False: out of memory. */
bool map_region(struct graph *g, struct region *r);
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
/* Is it an old slot, which still shows a record that is in another by now? */
bool compact_has_moved(const struct graph *g, uint32_t slot);
/* A scanned partition's record died while records stand in two slots; room has been made. */
bool compact_late_room(struct graph *g);             /* false: out of memory */
void compact_late(struct graph *g, uint32_t slot);

#endif
