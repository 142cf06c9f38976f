/* VecStore's engine, embeddable in a C program: partitioned vector indexes in a keyspace.
 *
 *     struct vs_options opt = {.threads = 2};
 *     struct vs_store *store;
 *     vs_open(&opt, &store);
 *     struct vs_index *index;
 *     vs_create(store, 0, "docs", 4, &(struct vs_index_options){.dim = 3}, &index);
 *     vs_add(index, &(struct vs_element){.id = "a", .id_len = 1, .vector = (float[]){1, 0, 0}},
 *            VS_ADD_ANY, NULL);
 *     struct vs_reader *reader = vs_reader_new(store);
 *     struct vs_hit hits[10];
 *     size_t n;
 *     vs_search_now(reader, index, &(struct vs_query){.vector = (float[]){1, 1, 0}, .k = 10},
 *                   hits, 10, &n);
 *
 * THREADS. A store has one owner thread: everything that changes it, and everything marked [owner],
 * is called from there. [any] may be called from any thread at any time, beside the owner. The
 * pool's workers link vectors into graphs behind the owner's back and publish what they did when
 * the owner calls vs_poll (every call that changes an index does so, too).
 *
 * Fallible functions return enum vs_status and leave their out-parameters untouched when they fail.
 * With a journal (below) every function that changes the store may also answer VS_IO or VS_NOMEM
 * because the journal cannot take the change; then nothing has changed. */
#ifndef VECSTORE_H
#define VECSTORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "vec/codec.h"

#define VS_ID_MAX 65536          /* bytes of an element's id, at most */
#define VS_ATTRIBUTES_MAX (16u << 20)
#define VS_K_MAX 1000000
#define VS_EF_MAX 1000000
#define VS_EF_DEFAULT 100        /* of a search */
#define VS_EF_CONSTRUCTION_DEFAULT 200
#define VS_M_DEFAULT 16
#define VS_M_MIN 4
#define VS_M_MAX 4096
#define VS_PARTITIONS_MAX 4096
#define VS_VNODES_DEFAULT 150
#define VS_VNODES_MAX 1024
#define VS_FILTER_LEN_MAX (32u << 10) /* bytes of an expression */
#define VS_FILTER_DEPTH_MAX 256 /* operators and parentheses of it that wait for their right side */

struct vs_store;
struct vs_index;
struct vs_reader;
struct vs_search;
struct pool;
struct buf;

/* ---- a store ---- */

struct vs_options {
    unsigned threads;         /* workers; 0: linking runs inside the owner's calls */
    unsigned databases;       /* 0 means 16 */
    size_t link_backlog_max;  /* per partition, vectors; 0: as many as a search scans in less than the time of its graph search, 512;
                                 fewer than 256, one batch, count as 256 */
    size_t open_max;          /* partitions that may be open at a time; 0: all. See vs_set_open_max */
    void (*wake)(void *arg);  /* called by a worker when vs_poll has something to do; may be NULL */
    void *wake_arg;
};

enum vs_status vs_open(const struct vs_options *options, struct vs_store **out);
/* [owner] Waits for the workers and frees everything. No search may be left. */
void vs_close(struct vs_store *store);
/* [owner] Publishes finished background work, starts new, frees what no reader holds, at most about
 * `budget_us` of CPU time. True when it stopped for the budget: call again soon. */
bool vs_poll(struct vs_store *store, unsigned budget_us);
/* [owner] Waits until all that can be linked is linked, repaired and compacted and its memory is
 * freed (or `timeout_ms` passes: VS_TIMEOUT). */
enum vs_status vs_settle(struct vs_store *store, unsigned timeout_ms);
/* [owner] Changes the bound of the backlog at run time. */
void vs_set_link_backlog_max(struct vs_store *store, size_t max);
/* The worker pool: what the server looks at for its statistics. */
struct pool *vs_pool(struct vs_store *store);

/* ---- the keyspace [owner] ---- */

enum vs_structure { VS_HNSW, VS_FLAT };
enum vs_strategy { VS_STRATEGY_HASH };
enum vs_map { VS_MAP_ORIGINALS, VS_MAP_CODES, VS_MAP_ALL }; /* originals; and codes; and links */

struct vs_index_options {     /* zeros mean the default in brackets */
    uint32_t dim;             /* 1..VEC_DIM_MAX; required */
    enum vec_metric metric;   /* [VEC_COSINE] */
    enum vec_type type;       /* [VEC_Q8] of the rows that searches run on */
    enum vec_originals originals; /* [VEC_ORIG_F32 beside VEC_Q8, VEC_Q4, VEC_BIN, else VEC_ORIG_NONE]; with VEC_F32 ignored */
    enum vs_structure structure;  /* [VS_HNSW] */
    uint32_t m;               /* links a node chooses on insertion; level 0 holds 2 m [16] */
    uint32_t ef_construction; /* beam of an insertion [200] */
    uint32_t partitions;      /* [1] */
    enum vs_strategy strategy;/* [HASH: a consistent-hash ring of virtual nodes] */
    uint32_t vnodes;          /* virtual nodes a partition [150] */
    uint64_t seed;            /* of levels and placement; 0: random */
    enum vs_map map;          /* [VS_MAP_ORIGINALS] what a snapshot's file may stand in for memory */
    uint32_t input_dim;       /* [0: none] dim..VEC_DIM_MAX: vectors of so many components can be projected to dim, see vs_project */
    bool keep_empty;          /* the key stays when its last element goes (VPARTITION CREATE) */
    bool strict;              /* attributes must be valid JSON (refused by the command layer) */
};

struct vs_index *vs_find(struct vs_store *store, unsigned db, const void *key, size_t key_len);
/* VS_EXISTS when the key is there, VS_INVALID / VS_LIMIT for options out of range. */
enum vs_status vs_create(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                         const struct vs_index_options *options, struct vs_index **out);
/* VS_NOTFOUND when there is no such key. Constant time; memory is freed behind, on workers. */
enum vs_status vs_remove(struct vs_store *store, unsigned db, const void *key, size_t key_len);
/* Renames within a database, replacing `to`. VS_NOTFOUND without `from`. */
enum vs_status vs_rename(struct vs_store *store, unsigned db, const void *from, size_t from_len, const void *to,
                         size_t to_len);
/* What two databases hold changes places. Looks at every key of both; a cut that is running fails. */
enum vs_status vs_swap(struct vs_store *store, unsigned a, unsigned b);
/* Empties a database, memory behind. */
enum vs_status vs_flush(struct vs_store *store, unsigned db);
size_t vs_count(const struct vs_store *store, unsigned db);
unsigned vs_databases(const struct vs_store *store);
/* One step of a scan: calls `each` for some keys and returns the next cursor, 0 at the end. What is
 * there during the whole scan is returned exactly once. `each` must not change the keyspace. */
uint64_t vs_scan(struct vs_store *store, unsigned db, uint64_t cursor, void (*each)(void *arg, struct vs_index *index), void *arg);
struct vs_index *vs_random(struct vs_store *store, unsigned db);

/* ---- what ends by itself [owner] ----
 *
 * A key, and an element, may have a deadline, in milliseconds of the wall clock. Whose deadline has come, by the clock that the
 * store was told last, nothing shows any more: it is as if it were not there. It goes by vs_expire, as an effect like any other removal; or when
 * its name is wanted for something new. Who follows another's effects (a replica, a journal that is loaded) does not call vs_expire: only
 * effects take away there. Without vs_set_clock nothing ever ends. vs_count and vs_index_count count what has not gone yet. */

#define VS_DEADLINE_MAX INT64_MAX

/* Milliseconds since 1970; what the clock shows to commands and searches that begin from now on. */
void vs_set_clock(struct vs_store *store, uint64_t now_ms);
/* 0: none. */
uint64_t vs_index_deadline(const struct vs_index *index);
/* 0 takes it away. One that has passed already hides the key at once. VS_INVALID: beyond VS_DEADLINE_MAX. */
enum vs_status vs_set_index_deadline(struct vs_index *index, uint64_t deadline_ms);
/* Keys with a deadline in a database; `average_ms` (may be NULL): how long they have on average. */
size_t vs_expiring(const struct vs_store *store, unsigned db, uint64_t *average_ms);
struct vs_expiry_hooks {
    /* A key has ended; its name is valid for the call. Must not change the store. */
    void (*key)(void *arg, unsigned db, const char *key, size_t len);
    /* So many elements of a key have, and, `emptied`, the key with the last of them. */
    void (*elements)(void *arg, unsigned db, const char *key, size_t len, size_t n, bool emptied);
    void *arg;
};
/* Copied; NULL: none. */
void vs_set_expiry_hooks(struct vs_store *store, const struct vs_expiry_hooks *hooks);
/* Removes what has ended, for about `budget_us`. True: there is more to do now. */
bool vs_expire(struct vs_store *store, unsigned budget_us);
/* When vs_expire has something to do, as a time of the clock; UINT64_MAX: nothing has a deadline. */
uint64_t vs_next_deadline(const struct vs_store *store);

/* ---- an index [owner] ---- */

const char *vs_index_key(const struct vs_index *index, size_t *len);
const struct vs_index_options *vs_index_options(const struct vs_index *index); /* with defaults filled in */
uint64_t vs_index_uid(const struct vs_index *index);  /* unique in this process */
size_t vs_index_count(const struct vs_index *index);  /* elements */
/* Does the next search cost about what those before did? Not while many are dead in a graph or end by themselves: searches then
 * look beyond them. [owner] */
bool vs_index_is_calm(const struct vs_index *index);

/* Of an index with an input_dim: makes `dim` floats of `input_dim`, by its seed. The engine itself takes vectors of `dim`. `tmp`:
 * input_dim floats; `out` may be `tmp`. */
void vs_project(const struct vs_index *index, const float *vector, float *tmp, float *out);

struct vs_element {
    const void *id;
    size_t id_len;             /* 0..VS_ID_MAX */
    const float *vector;       /* options.dim floats */
    const void *attributes;    /* NULL: as they are (none on an insert); length 0: removed on an update, the empty string on an insert */
    size_t attributes_len;
    uint64_t deadline_ms;      /* when it ends, see vs_set_clock; 0: never, whatever it had .. */
    bool keep_deadline;        /* .. or as it had (never on an insert) */
    bool past_backlog;         /* take it whatever the backlog: the rest of a batch that must not be torn apart */
};
enum vs_add_mode { VS_ADD_ANY, VS_ADD_NX, VS_ADD_XX };

/* What vs_add reports. */
struct vs_added {
    bool created;              /* else replaced */
    size_t bad_component;      /* with VS_NONFINITE: its position */
    bool in_place;             /* created, in the place of one that had ended and was there still */
};
/* Adds or replaces an element. When it returns VS_OK the element is searchable. VS_EXISTS under NX,
 * VS_NOTFOUND under XX, VS_NONFINITE, VS_LIMIT, VS_NOMEM, VS_BACKLOG (nothing changed: linking is
 * behind, or memory is being made ready; `wake` is called when there may be room, try again then).
 * `added` may be NULL. */
enum vs_status vs_add(struct vs_index *index, const struct vs_element *element, enum vs_add_mode mode, struct vs_added *added);
/* Would vs_add of this id answer VS_BACKLOG now? */
bool vs_backlogged(const struct vs_index *index, const void *id, size_t id_len);
/* VS_NOTFOUND when absent. The key itself stays: see vs_index_count and keep_empty. */
enum vs_status vs_delete(struct vs_index *index, const void *id, size_t id_len);
bool vs_contains(const struct vs_index *index, const void *id, size_t id_len);
/* 0: none. */
enum vs_status vs_get_deadline(const struct vs_index *index, const void *id, size_t id_len, uint64_t *deadline_ms);
/* 0 takes it away. One that has passed already hides the element at once. VS_NOTFOUND, VS_INVALID: beyond VS_DEADLINE_MAX. */
enum vs_status vs_set_deadline(struct vs_index *index, const void *id, size_t id_len, uint64_t deadline_ms);
/* The vector as it was given where originals are kept, else as decoded. `out`: options.dim floats. */
enum vs_status vs_get_vector(const struct vs_index *index, const void *id, size_t id_len, float *out);
/* The code's row (see vec/codec.h), borrowed until the next call that changes the index. */
enum vs_status vs_get_row(const struct vs_index *index, const void *id, size_t id_len, const void **row);
/* Borrowed until the next change. VS_NOTFOUND without the element; *data NULL without attributes. */
enum vs_status vs_get_attributes(const struct vs_index *index, const void *id, size_t id_len, const void **data, size_t *len);
/* `len` 0 removes them. VS_NOTFOUND without the element. */
enum vs_status vs_set_attributes(struct vs_index *index, const void *id, size_t id_len, const void *data, size_t len);

/* ---- partitions [owner] ---- */

struct vs_memory {             /* bytes, as allocated */
    size_t codes, originals, links, records, ids, id_map, attributes, other;
    size_t total;              /* of all parts */
};
struct vs_partition_info {
    char name[24];
    bool pinned;
    size_t elements;           /* alive */
    size_t linked;             /* nodes in the graph, dead ones not yet repaired included */
    size_t unlinked;           /* records waiting to be linked, scanned exactly */
    size_t dead;               /* dead nodes waiting for repair */
    size_t deadlines;          /* elements that have one */
    size_t free_slots;
    int max_level;             /* -1 without a graph */
    uint64_t sequence;         /* of the last entry */
    size_t waiting_batches;    /* closed, but not in the graph yet; at 0 the graph stands at the last closing */
    uint64_t linked_sequence;  /* the batch closing that the graph stands at */
    uint64_t graph_digest;     /* of the graph at linked_sequence */
    uint64_t records_digest;   /* of the elements alive now: ids, vectors, attributes */
    bool saved;                /* a snapshot holds it as it is */
    size_t mapped_codes, mapped_originals, mapped_graph; /* bytes of columns in files, not among `memory` */
    size_t mapped_bytes;       /* their sum */
    bool open, opening;        /* not open: of the rest, what was when it was unloaded */
    struct vs_memory memory;
};
size_t vs_partition_count(const struct vs_index *index);
/* Partition `i` in 0..count-1. */
void vs_partition_info(const struct vs_index *index, size_t i, struct vs_partition_info *out);
/* Bytes of mapped columns that are in memory at the moment; an estimate from 1 GiB on. */
size_t vs_partition_resident(const struct vs_index *index, size_t i);
/* Is the partition damaged: does a file not hold what it should? Appends the reason to `why` (may be NULL). Every use
 * of a damaged partition answers VS_CORRUPT, but removing it. */
bool vs_partition_damage(const struct vs_index *index, size_t i, struct buf *why);
/* The same of the first such partition of an index, as "partition 2 of 'docs': REASON". */
bool vs_index_damage(const struct vs_index *index, struct buf *why);
/* Position of the partition of this name, or -1. */
long vs_partition_find(const struct vs_index *index, const void *name, size_t len);
/* The partition that holds, or would hold, this id. */
size_t vs_partition_of(const struct vs_index *index, const void *id, size_t id_len);
/* Removes a partition with its elements; the ring sends their ids to the others from now on. Not
 * the first one (VS_INVALID). */
enum vs_status vs_partition_drop(struct vs_index *index, size_t i);
/* Keeps a partition open whatever the limit (it is opened if it is not), or no longer. The mark is journalled. */
enum vs_status vs_partition_pin(struct vs_index *index, size_t i, bool on);
void vs_index_memory(const struct vs_index *index, struct vs_memory *out);
size_t vs_attributes_count(const struct vs_index *index);

/* ---- filters: expressions over attributes (docs/filters.md) [any] ---- */

enum vs_filter_mode {
    VS_FILTER_RICH,             /* paths, true and false, exists(), order of strings; missing fields compare as false */
    VS_FILTER_VSIM              /* as vector sets of Redis have it: missing fields make the whole false */
};
struct vs_filter;
struct vs_filter_error {
    const char *what;           /* a sentence without a full stop; static */
    size_t at;                  /* byte of the expression where it was found */
};
/* Compiles an expression. VS_INVALID: it is none; VS_LIMIT: too long, too deep; VS_NOMEM; `error` says more. */
enum vs_status vs_filter_new(const char *text, size_t len, enum vs_filter_mode mode, struct vs_filter **out,
                             struct vs_filter_error *error);
/* Immutable and counted; NULL is fine. */
struct vs_filter *vs_filter_ref(struct vs_filter *filter);
void vs_filter_unref(struct vs_filter *filter);

/* ---- searching ---- */

struct vs_query {
    const float *vector;        /* options.dim floats, finite; copied */
    uint32_t k;                 /* 1..VS_K_MAX; 0: no limit (with radius only) */
    uint32_t offset;            /* skip so many of the best */
    uint32_t ef;                /* 0: VS_EF_DEFAULT */
    bool exact;                 /* scan everything on the originals */
    bool has_radius;
    double radius;              /* COSINE: keep 1 - score <= radius; L2: score <= radius; IP: score >= radius */
    const uint32_t *partitions; /* NULL: all; else positions, copied */
    size_t npartitions;
    uint64_t deadline_ns;       /* of CLOCK_MONOTONIC; 0: none */
    struct vs_filter *filter;   /* only elements that match; a reference is taken. NULL: all */
    size_t filter_effort;       /* elements that it is evaluated for at most, a partition; 0: as many as it takes to find k */
};
struct vs_hit {
    double score;
    float distance;             /* metric.h */
    uint32_t slot;              /* with `part`: names the record to the functions below */
    void *part;
};
struct vs_search_stats {
    uint64_t distances;         /* computed */
    uint64_t nodes;             /* expanded */
    uint64_t examined;          /* elements that the filter was evaluated for */
    uint64_t sequence;          /* highest of the partitions', as of which the search saw them */
    uint32_t partitions_asked, partitions_answered;
    bool partial;               /* stopped by deadline or cancellation */
    const char *plan;           /* "graph", "scan", "graph+scan"; "filter+" before it where there is a filter */
    uint64_t search_ns;         /* wall time from begin to end */
};

/* [any] One a thread. Searches through it see the store as of the moment they begin, take no lock
 * and write nothing shared. The index must not be removed before the search has returned. */
struct vs_reader *vs_reader_new(struct vs_store *store);
void vs_reader_free(struct vs_reader *reader);
/* [any] Searches on the calling thread. `hits`: room for `max`; *n are filled, best first. Hits
 * stay valid until the next search of this reader, or vs_reader_idle. VS_TIMEOUT: partial results
 * stand in hits. */
enum vs_status vs_search_now(struct vs_reader *reader, struct vs_index *index, const struct vs_query *query,
                             struct vs_hit *hits, size_t max, size_t *n);
void vs_reader_idle(struct vs_reader *reader);
const struct vs_search_stats *vs_reader_stats(const struct vs_reader *reader);

/* [owner] A search on the workers, its partitions in parallel: what it sees is fixed here, whatever
 * changes later. `done` runs on a worker (with no workers: inside vs_search_submit) when the hits
 * are merged; it may use the hit functions. Then, on any thread, vs_search_free. VS_NOTFOUND,
 * VS_INVALID, VS_NOMEM. */
enum vs_status vs_search_begin(struct vs_index *index, const struct vs_query *query, struct vs_search **out);
void vs_search_submit(struct vs_search *search, void (*done)(struct vs_search *search, void *arg), void *arg);
/* [owner] The same without workers: when it returns, `done` has run. */
void vs_search_run(struct vs_search *search, void (*done)(struct vs_search *search, void *arg), void *arg);
const struct vs_hit *vs_search_hits(const struct vs_search *search, size_t *n);
const struct vs_search_stats *vs_search_stats(const struct vs_search *search);
/* [any] Asks a submitted search to stop soon; `done` still runs. */
void vs_search_cancel(struct vs_search *search);
/* When it has ended: VS_CORRUPT, with the reason appended to `why`, when a partition was found damaged (there are no hits
 * then), else VS_OK. */
enum vs_status vs_search_status(const struct vs_search *search, struct buf *why);
void vs_search_free(struct vs_search *search);

/* ---- ids: ranges and samples, links ---- */

/* [owner] Calls `each` with the ids of `n` elements, each drawn uniformly from all, whatever was drawn before. VS_NOTFOUND: there
 * are none. VS_BACKLOG. `each` must not change the store. Constant time for each, but for a look at every partition. */
enum vs_status vs_random_ids(struct vs_index *index, size_t n, void (*each)(void *arg, const void *id, size_t len), void *arg);

enum vs_ids_kind {
    VS_IDS_RANGE,               /* those within the bounds, in byte order, the first `max` */
    VS_IDS_SAMPLE,              /* `max` of all, none twice, uniformly */
    VS_IDS_DRAW                 /* `max`, each uniformly from all */
};
struct vs_ids_query {
    enum vs_ids_kind kind;
    size_t max;                 /* SIZE_MAX: all; not of DRAW */
    const void *from, *to;      /* of RANGE: the bounds, copied; NULL: none */
    size_t from_len, to_len;
    bool from_open, to_open;    /* the bound itself is not within */
};
struct vs_ids;
/* [owner] Ids of an index as it is now, chosen by a worker: it looks at all of them. VS_BACKLOG, VS_NOMEM, or why a partition cannot
 * be opened. */
enum vs_status vs_ids_begin(struct vs_index *index, const struct vs_ids_query *query, struct vs_ids **out);
/* `done` runs on a worker (with no workers: inside this). Then, on any thread, vs_ids_free. When *cancelled (may be NULL) is set the
 * work stops soon. */
void vs_ids_submit(struct vs_ids *ids, const _Atomic bool *cancelled, void (*done)(struct vs_ids *ids, void *arg), void *arg);
enum vs_status vs_ids_status(const struct vs_ids *ids); /* VS_OK, VS_NOMEM, VS_CANCELLED */
size_t vs_ids_count(const struct vs_ids *ids);
const void *vs_ids_at(const struct vs_ids *ids, size_t i, size_t *len);
void vs_ids_free(struct vs_ids *ids);

struct vs_links;
/* [owner] What an element is linked to, as it is now, measured by a worker. An element that is not linked yet, or in a partition
 * without a graph, has one level: the nearest elements, as many as level 0 has links. VS_NOTFOUND, VS_BACKLOG, VS_NOMEM, VS_CORRUPT. */
enum vs_status vs_links_begin(struct vs_index *index, const void *id, size_t id_len, struct vs_links **out);
/* As vs_ids_submit. */
void vs_links_submit(struct vs_links *links, void (*done)(struct vs_links *links, void *arg), void *arg);
enum vs_status vs_links_status(const struct vs_links *links); /* VS_OK, VS_NOMEM, VS_CORRUPT */
int vs_links_levels(const struct vs_links *links);
/* Of a level, the nearest first. */
size_t vs_links_count(const struct vs_links *links, int level);
const void *vs_links_at(const struct vs_links *links, int level, size_t i, size_t *len, double *score);
void vs_links_free(struct vs_links *links);

/* ---- partitions that are open, and those that are not [owner] ----
 *
 * With a limit the partitions used longest ago are unloaded, as far as a snapshot holds them as they are: name, counts and digests
 * stay at hand, the rest is opened again by the first use. A use that has to wait for that answers VS_BACKLOG, as when linking is
 * behind: vs_add, vs_delete, vs_get_*, vs_set_attributes, vs_search_begin; `wake` is called when there may be news. vs_search_now
 * answers it, too, but opens nothing. vs_contains and vs_apply wait. A partition that cannot be opened answers
 * VS_CORRUPT (vs_partition_damage says why) or VS_NOMEM, and is tried again after a second. */

/* Is the partition that holds, or would hold, this id open? If not it is opened from now on, and this is false: try again. True, too,
 * when it cannot be opened: what is asked of it answers why. */
bool vs_ready(const struct vs_index *index, const void *id, size_t id_len);
/* At run time; 0: no limit. What is beyond it is unloaded in slices of vs_poll. */
void vs_set_open_max(struct vs_store *store, size_t max);
struct vs_open_status {
    size_t max, open, unloaded, opening;
    size_t unsaved;            /* beyond the limit, but no snapshot holds them as they are: one is wanted */
    uint64_t unloads, reloads, failures; /* so far */
};
void vs_open_status(const struct vs_store *store, struct vs_open_status *out);

/* What a hit names; valid as long as the hit. [any] */
const void *vs_hit_id(const struct vs_hit *hit, size_t *len);
const void *vs_hit_attributes(const struct vs_hit *hit, size_t *len);  /* NULL: none */
void vs_hit_vector(const struct vs_hit *hit, float *out);

/* ---- a limit of memory [owner] ----
 *
 * Over the limit memory is made by evicting what the policy says: indexes that take less than a sixteenth of the limit as a
 * whole, of larger ones single elements. What is evicted is an effect like any other. Slots of evicted elements are used again, or
 * compaction gives their memory back, once the graph has been mended: until then vs_add answers VS_BACKLOG where an index would have
 * to grow beyond the limit. Where nothing may be evicted it answers VS_FULL. vs_apply and `past_backlog` do not ask. */

enum vs_evict { VS_EVICT_NOTHING, VS_EVICT_ALL_LRU, VS_EVICT_ALL_LFU, VS_EVICT_ALL_RANDOM, VS_EVICT_TTL_LRU, VS_EVICT_TTL_LFU,
                VS_EVICT_TTL_RANDOM, VS_EVICT_TTL };
enum vs_evicted { VS_EVICTED_KEY, VS_EVICTED_ELEMENT, VS_EVICTED_LAST }; /* LAST: with its last element the key has gone */
struct vs_memory_limit {
    size_t max;                /* bytes; 0: none */
    enum vs_evict policy;
    unsigned samples;          /* looked at for one that goes */
    unsigned lfu_log_factor, lfu_decay_minutes;
    void (*evicted)(void *arg, enum vs_evicted what, unsigned db, const char *key, size_t key_len);
    void *arg;
};
void vs_set_memory_limit(struct vs_store *store, const struct vs_memory_limit *limit);
enum vs_memory_state {
    VS_MEMORY_OK,
    VS_MEMORY_TIGHT,           /* over the limit; it is being made, or is on its way: call again soon */
    VS_MEMORY_FULL             /* over the limit, and nothing may be evicted */
};
/* Evicts what has to be, until about `until_ns` of CLOCK_MONOTONIC. `apart`: bytes in use that do not count. Between commands
 * only: indexes may go. */
enum vs_memory_state vs_memory_check(struct vs_store *store, size_t apart, uint64_t until_ns);
/* Is vs_memory_check to be called again, though nobody adds anything? */
bool vs_memory_wanted(struct vs_store *store);
struct vs_memory_status {
    size_t used, max;          /* as last measured */
    uint64_t evicted_keys, evicted_elements;
};
void vs_memory_status(const struct vs_store *store, struct vs_memory_status *out);
void vs_memory_status_reset(struct vs_store *store);

/* Marks of use. A key is marked by whoever says so, an element by being added, read or changed by its id, or found: the marks of a
 * search are taken when it has ended, by its thread, and set when its reply leaves. Elements are marked only under a policy that
 * asks for it. Marks are not kept in files: after a start everything is as old. */
struct vs_mark {
    uint32_t number, slot;     /* of the partition */
    uint64_t born;
};
/* Are elements marked? */
bool vs_marks(const struct vs_store *store);
/* Do marks count uses (an LFU policy), and not tell their time? */
bool vs_counts_uses(const struct vs_store *store);
/* Nothing is marked until this is taken back (CLIENT NO-TOUCH). */
void vs_marks_off(struct vs_store *store, bool off);
/* [any] Of the search's hits, at most `max`; the number. The store is the one that it searched. */
size_t vs_search_marks(const struct vs_search *search, struct vs_mark *out, size_t max);
void vs_mark(struct vs_store *store, uint64_t index_uid, const struct vs_mark *marks, size_t n);
void vs_index_touch(struct vs_index *index);
uint64_t vs_index_idle_ms(const struct vs_index *index);
/* The logarithmic counter of use, 0..255, as it is now. */
unsigned vs_index_frequency(const struct vs_index *index);
/* As if it had been used last so long ago, or so often. */
void vs_index_set_idle(struct vs_index *index, uint64_t idle_ms);
void vs_index_set_frequency(struct vs_index *index, unsigned frequency);

/* ---- an index as one block of bytes [owner] ----
 *
 * Everything of it but its key and the key's deadline, in an order that depends on the contents alone: equal indexes give equal blocks.
 * With a version and checksums (docs/durability.md); what is read is checked as a whole before it becomes a key. */

#define VS_DUMP_MAX ((size_t)512 << 20)
struct vs_dump {               /* zero-initialised, with `uid`; then the function's */
    uint64_t uid;              /* of the index */
    uint32_t at;               /* partition */
    uint64_t cursor, next, stamp;
    size_t step, placed;       /* elements of the step of the scan, and of them those that are in */
    size_t count, summed;
    uint64_t sum;
    unsigned begun;
    bool whole;                /* all but the sums of the end */
    bool holding;              /* vectors are not added to the index meanwhile */
    size_t max;                /* bytes, from where on it is VS_LIMIT; 0: VS_DUMP_MAX */
};
/* Appends to `out`, until about `until_ns` of CLOCK_MONOTONIC: VS_OK: it is whole; VS_TIMEOUT: call again; VS_BACKLOG: the same, when a
 * partition has been opened. An index that changes meanwhile is begun again. The third time vectors that are to be added to
 * it have to wait (VS_BACKLOG) until it is whole; where other changes go on all the same, the rest is done at once in the end.
 * VS_NOTFOUND: there is no such index any more. VS_NOMEM, VS_LIMIT, VS_CORRUPT. */
enum vs_status vs_dump_some(struct vs_store *store, struct vs_dump *d, struct buf *out, uint64_t until_ns);
/* Gives one up that is not whole, or has failed; nothing where it is. */
void vs_dump_end(struct vs_store *store, struct vs_dump *d);

struct vs_loading;
/* VS_OK, VS_NOMEM. */
enum vs_status vs_loading_new(struct vs_store *store, unsigned db, const void *key, size_t key_len, struct vs_loading **out);
void vs_loading_free(struct vs_loading *l);
/* Builds an index aside from the same bytes each time: VS_OK: it is whole; VS_TIMEOUT: call again. VS_CORRUPT, VS_NOMEM. */
enum vs_status vs_loading_some(struct vs_loading *l, const void *data, size_t len, uint64_t until_ns);
/* Did VS_CORRUPT mean the version or the sums, and not what stands behind them? */
bool vs_loading_bad_sum(const struct vs_loading *l);
/* Gives the journal the bytes of a whole one beforehand, in pieces, so that they are not all written at once: VS_OK: they are;
 * VS_TIMEOUT: call again. Then attach it at once. VS_IO, VS_NOMEM. */
enum vs_status vs_loading_tell_some(struct vs_loading *l, const void *data, size_t len, uint64_t until_ns);
/* It becomes a key, which must not be there, with this deadline (0: none). VS_EXISTS, VS_NOMEM, VS_IO. */
enum vs_status vs_loading_attach(struct vs_loading *l, const void *data, size_t len, uint64_t deadline_ms, struct vs_index **out);

/* ---- what changes: effects, and the journal that keeps them [owner] ---- */

/* Everything that a store holds is the outcome of its effects, in order. Linking, compaction and
 * settings are none. */
enum vs_effect_kind { VS_CREATE, VS_REMOVE, VS_RENAME, VS_FLUSH, VS_DROP, VS_ADD, VS_DELETE, VS_ATTRIBUTES, VS_PIN, VS_KEY_DEADLINE,
                      VS_DEADLINE, VS_RESTORE, VS_SWAP, VS_PIECE };
#define VS_EFFECT_LAST VS_PIECE

struct vs_effect {             /* all pointers are borrowed for the call */
    enum vs_effect_kind kind;
    unsigned db;
    unsigned other;            /* SWAP: the other database */
    const char *key;           /* not of FLUSH and SWAP */
    size_t key_len;
    const void *id;            /* the element's; RENAME: the new key; DROP, PIN: the partition's name */
    size_t id_len;
    const float *vector;       /* ADD: as given */
    uint32_t dim;
    const void *attributes;    /* ADD: NULL when not given; ATTRIBUTES: length 0 removes them; RESTORE: what vs_dump_some wrote,
                                * or nothing: all PIECEs before; PIECE: some bytes of it */
    size_t attributes_len;
    uint64_t offset, total;    /* PIECE: where they stand, and how many there are in all */
    const struct vs_index_options *options; /* CREATE: with defaults filled in, seed and all */
    bool on;                   /* PIN */
    uint64_t deadline_ms;      /* KEY_DEADLINE, DEADLINE, ADD; 0: none any more */
};

struct vs_journal {
    /* Makes room for an effect of this size, or answers VS_NOMEM or VS_IO, and nothing is changed.
     * It may be followed by no append: the change was refused for another reason. */
    enum vs_status (*prepare)(void *arg, const struct vs_effect *e);
    /* After the change, before anything else happens; cannot fail. */
    void (*append)(void *arg, const struct vs_effect *e);
    /* Are so many waiting to be written that what can wait should? May be NULL. */
    bool (*full)(void *arg);
    void *arg;
};
/* Borrowed until it is replaced; NULL: none. */
void vs_set_journal(struct vs_store *store, const struct vs_journal *journal);
/* Does again what an effect says, whatever the backlog. An effect that does not fit the store as it
 * is (no such key, a dimension that differs, an element that is not there) is VS_CORRUPT and changes
 * nothing; else VS_NOMEM, or what the journal answers where one is set. */
enum vs_status vs_apply(struct vs_store *store, const struct vs_effect *e);
/* Is a worker making the memory that the next PIECE will want? Who need not stand still waits for it; vs_options.wake tells. */
bool vs_apply_waits(struct vs_store *store);
/* No more effects come from where the last ones did: what was begun by PIECEs and not ended goes. */
void vs_apply_end(struct vs_store *store);
/* Can it be applied without waiting for a partition to be opened? False: it is being opened, and
 * vs_poll takes it in. */
bool vs_apply_ready(struct vs_store *store, const struct vs_effect *e);
/* Vectors that wait to be linked in the partition where they are most, less what the bound of the
 * backlog allows; 0: all are within it. */
size_t vs_backlog_over(struct vs_store *store);

/* ---- cuts: the store as of one moment, for a snapshot [owner unless said] ----
 *
 *     vs_cut_begin     T: constant time. From here on, in slices of vs_poll:
 *     hooks->ready     once for every partition alive at T, in any order: its numbers and its graph_cut
 *                      (index/graph_cut.h), to be read by one other thread
 *     hooks->walked    how many there are in all; comes once, before or after the last `ready`
 *     vs_cut_part_done when that thread has read a part; frees it
 *
 * Until a part is given back, its partition keeps what the cut needs aside. One cut at a time. */

struct partition;
struct graph_cut;

/* What a snapshot already holds of a partition: persist's, kept with the partition. */
struct vs_saved {
    uint64_t sequence, linked_sequence; /* as of when */
    void (*free)(struct vs_saved *saved); /* any thread */
};

struct vs_cut_part {
    struct partition *p;
    const struct vs_index_options *options; /* copies, valid as long as the part */
    const char *key;
    size_t key_len;
    unsigned db;
    uint64_t deadline_ms;            /* the key's; 0: none */
    uint64_t index_uid;
    uint32_t position, positions;    /* in the index's table, and how many there are */
    uint32_t number;
    bool pinned;
    uint64_t sequence, records_digest;
    size_t attributes;
    size_t deadlines;                /* elements that have one */
    uint64_t first_deadline_ms;      /* the least of them; 0: none */
    struct graph_cut *cut;           /* NULL: it is not open, and `saved` is all there is of it */
    struct vs_saved *saved;          /* NULL: nothing; stays as it is as long as the part */
    struct vs_cut_part *next;        /* for whoever holds it */
};
struct vs_cut_hooks {
    void (*ready)(void *arg, struct vs_cut_part *part);
    void (*walked)(void *arg, size_t indexes, size_t parts);
    /* The cut is over: memory, FLUSHDB, vs_cut_abort. No other hook is called any more; parts that
     * were ready stay valid until they are given back. */
    void (*failed)(void *arg, enum vs_status status, const char *why);
    void *arg;
};
/* VS_EXISTS: one is running, or parts of an earlier one have not been given back. */
enum vs_status vs_cut_begin(struct vs_store *store, const struct vs_cut_hooks *hooks);
/* Any thread. */
void vs_cut_part_done(struct vs_cut_part *part);
/* Ends a running cut by hooks->failed. */
void vs_cut_abort(struct vs_store *store);
/* When all parts have been handed out, or the cut has failed: no hook is called any more. */
void vs_cut_detach(struct vs_store *store);
/* The number of the last cut begun: rises by one each time. A loaded snapshot's goes on with its own. */
uint64_t vs_cut_number(const struct vs_store *store);
void vs_set_cut_number(struct vs_store *store, uint64_t number);
/* The thread that reads a part: the attributes that a record had at T, of its user and extra pointers
 * as graph_cut_records gives them; NULL: none. */
const void *vs_cut_attributes(struct vs_cut_part *part, void *user, void *extra, size_t *len);
/* The same in their stored form, parsed JSON and all (store/attr_doc.h), with its bytes. */
const void *vs_cut_stored_attributes(struct vs_cut_part *part, void *user, void *extra, size_t *bytes);
/* The same of a record's deadline: `now`, as graph_cut_deadlines gave it before, or what it was. */
uint64_t vs_cut_deadline(struct vs_cut_part *part, void *user, uint64_t now);
/* The id of a record, of its user pointer. */
const void *vs_cut_id(const void *user, size_t *len);
/* Gives a partition what a finished snapshot holds of it; takes `saved` (where the partition is gone,
 * frees it). The one before is freed: no part may be in use that names it. */
void vs_set_saved(struct vs_store *store, uint64_t index_uid, uint32_t number, struct vs_saved *saved);
/* Bytes kept aside for a cut: attributes of records that changed since, links that the linker changed. */
size_t vs_cut_aside(const struct vs_store *store);

/* ---- restoring: an index from mapped files, in place (index/graph_restore.h, docs/durability.md) ---- */

struct region;
struct graph_state;

struct vs_part_group {         /* of chunks; offsets in v */
    struct region *v;
    size_t rows, originals, ids, ids_bytes; /* originals unused where there are none */
    uint64_t filled;           /* number of the cut that its file was written for */
};
struct vs_part_image {
    uint32_t number;
    bool pinned;
    uint64_t sequence, records_digest;
    size_t attributes, alive, deadlines;
    uint64_t first_deadline_ms;
    const struct graph_state *state;
    struct region *g;          /* NULL: a small one, in `pack`. Offsets in g: */
    size_t links, upper, born, levels; /* links and upper unused without a graph */
    size_t idtable;            /* alive x {u64 hash, u32 slot, u32 0}, rising */
    size_t attrs, attrs_bytes; /* 0 bytes: none */
    size_t ends, nends;        /* nends x {u32 slot, u32 0, u64 milliseconds}, by slot: deadlines, and those of tombs */
    uint32_t group_chunks;     /* chunks in a group, the last may have fewer */
    const struct vs_part_group *groups;
    struct region *pack;
    size_t small, small_bytes;
    struct vs_saved *saved;    /* taken on VS_OK; may be NULL */
    bool closed;               /* not to be opened yet: of `state` only the numbers, of the rest nothing is used. Needs `saved` */
};
/* Builds an index aside. Any one thread at a time, while the owner does no more than vs_poll. The sums
 * of all blocks but those of rows, originals and links have been checked, and that each section lies in
 * its region and is as long as its counts say; what stands in them is checked here. Takes references
 * of the regions. VS_CORRUPT with the reason appended to `why`, VS_NOMEM. */
enum vs_status vs_restore_new(struct vs_store *store, unsigned db, const char *key, size_t key_len,
                              const struct vs_index_options *options, const struct vs_part_image *parts, size_t n,
                              struct vs_index **out, struct buf *why);
/* Before it is attached: the key's deadline; 0: none. */
void vs_restore_deadline(struct vs_index *index, uint64_t deadline_ms);
/* [owner] Puts it into the keyspace, no effect of a journal, and begins to check what has not been and to link.
 * VS_EXISTS, VS_NOMEM: it is still the caller's. */
enum vs_status vs_restore_attach(struct vs_index *index);
/* [owner] */
void vs_restore_discard(struct vs_index *index);
/* Reads all of an index before it is attached, as the thread that has built it: sums of all blocks, digests of
 * elements and graphs. VS_CORRUPT with the reason. */
enum vs_status vs_verify_index(const struct vs_index *index, struct buf *why);
/* Who opens partitions that are not: persist. */
struct vs_opening {
    const struct vs_saved *saved;
    const struct vs_index_options *options;
    const char *key;
    size_t key_len;
    unsigned db;
};
struct vs_opener {
    /* Any worker, several at once. Calls `build` once with what `saved` says, mapped and checked as vs_restore_new asks for, and
     * answers what that did; or why it could not: VS_NOMEM, VS_IO, VS_CORRUPT with the reason. */
    enum vs_status (*open)(void *arg, const struct vs_opening *o,
                           enum vs_status (*build)(void *build_arg, const struct vs_part_image *image, struct buf *why), void *build_arg,
                           struct buf *why);
    struct vs_saved *(*copy)(const struct vs_saved *saved); /* NULL: out of memory */
    bool (*sound)(void *arg, const struct vs_saved *saved); /* can it be relied on, as far as is known? Else nothing is unloaded to it */
    void *arg;
};
/* [owner] Borrowed; NULL: none, nothing is opened or unloaded. Waits for openings under way. */
void vs_set_opener(struct vs_store *store, const struct vs_opener *opener);
/* Another partition in the place of one: what is there goes on being searched while the other is built by a worker,
 * and then they change places, between two entries of the stream. */
struct vs_replacing;
/* [owner] `source` is called once, by a worker, as vs_opener.open is; borrowed with `arg` until vs_replace_end.
 * VS_INVALID: there is no such partition; VS_NOMEM. */
enum vs_status vs_replace_begin(struct vs_index *index, size_t i,
                                enum vs_status (*source)(void *arg,
                                                         enum vs_status (*build)(void *build_arg,
                                                                                 const struct vs_part_image *image,
                                                                                 struct buf *why),
                                                         void *build_arg, struct buf *why),
                                void *arg, struct vs_replacing **out);
/* [owner] The store's wake is called when it is. */
bool vs_replace_ended(const struct vs_replacing *r);
/* [owner] Waits for it to end; with `place`, and when it has been built, what is to stand there stands there. Else
 * all is as it was: VS_CANCELLED, VS_NOTFOUND (the partition has gone meanwhile), or what `source` answered. Frees it.
 * Nothing is told to the journal. */
enum vs_status vs_replace_end(struct vs_replacing *r, bool place, struct buf *why);
/* [owner] The groups of a snapshot's files may stand in for the memory of chunks that have not changed
 * since: originals, and what the index's options allow. `g` (may be NULL): where its links lie, at `links`. Takes references; works
 * in slices of vs_poll. */
void vs_map_part(struct vs_store *store, uint64_t index_uid, uint32_t number, uint64_t cut, uint32_t group_chunks,
                 const struct vs_part_group *groups, uint32_t ngroups, struct region *g, size_t links);

#endif
