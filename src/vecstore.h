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
 * Fallible functions return enum vs_status and leave their out-parameters untouched when they fail. */
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

struct vs_store;
struct vs_index;
struct vs_reader;
struct vs_search;
struct pool;

/* ---- a store ---- */

struct vs_options {
    unsigned threads;         /* workers; 0: linking runs inside the owner's calls */
    unsigned databases;       /* 0 means 16 */
    size_t link_backlog_max;  /* per partition, vectors; 0: as many as a search scans in about the time of its graph search;
                                 fewer than 256, one batch, count as 256 */
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
    bool keep_empty;          /* the key stays when its last element goes (VPARTITION CREATE) */
    bool strict;              /* attributes must be valid JSON (refused by the command layer) */
};

struct vs_index *vs_find(struct vs_store *store, unsigned db, const void *key, size_t key_len);
/* VS_EXISTS when the key is there, VS_INVALID / VS_LIMIT for options out of range. */
enum vs_status vs_create(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                         const struct vs_index_options *options, struct vs_index **out);
/* False when there is no such key. Constant time; memory is freed behind, on workers. */
bool vs_remove(struct vs_store *store, unsigned db, const void *key, size_t key_len);
/* Renames within a database, replacing `to`. VS_NOTFOUND without `from`. */
enum vs_status vs_rename(struct vs_store *store, unsigned db, const void *from, size_t from_len, const void *to,
                         size_t to_len);
void vs_flush(struct vs_store *store, unsigned db);
size_t vs_count(const struct vs_store *store, unsigned db);
unsigned vs_databases(const struct vs_store *store);
/* One step of a scan: calls `each` for some keys and returns the next cursor, 0 at the end. What is
 * there during the whole scan is returned exactly once. `each` must not change the keyspace. */
uint64_t vs_scan(struct vs_store *store, unsigned db, uint64_t cursor, void (*each)(void *arg, struct vs_index *index), void *arg);
struct vs_index *vs_random(struct vs_store *store, unsigned db);

/* ---- an index [owner] ---- */

const char *vs_index_key(const struct vs_index *index, size_t *len);
const struct vs_index_options *vs_index_options(const struct vs_index *index); /* with defaults filled in */
uint64_t vs_index_uid(const struct vs_index *index);  /* unique in this process */
size_t vs_index_count(const struct vs_index *index);  /* elements */

struct vs_element {
    const void *id;
    size_t id_len;             /* 0..VS_ID_MAX */
    const float *vector;       /* options.dim floats */
    const void *attributes;    /* NULL: as they are (none on an insert); length 0: removed on an update, the empty string on an insert */
    size_t attributes_len;
    bool past_backlog;         /* take it whatever the backlog: the rest of a batch that must not be torn apart */
};
enum vs_add_mode { VS_ADD_ANY, VS_ADD_NX, VS_ADD_XX };

/* What vs_add reports. */
struct vs_added {
    bool created;              /* else replaced */
    size_t bad_component;      /* with VS_NONFINITE: its position */
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
    size_t elements;           /* alive */
    size_t linked;             /* nodes in the graph, dead ones not yet repaired included */
    size_t unlinked;           /* records waiting to be linked, scanned exactly */
    size_t dead;               /* dead nodes waiting for repair */
    size_t free_slots;
    int max_level;             /* -1 without a graph */
    uint64_t sequence;         /* of the last entry */
    uint64_t linked_sequence;  /* the batch closing that the graph stands at */
    uint64_t graph_digest;     /* of the graph at linked_sequence */
    uint64_t records_digest;   /* of the elements alive now: ids, vectors, attributes */
    struct vs_memory memory;
};
size_t vs_partition_count(const struct vs_index *index);
/* Partition `i` in 0..count-1. */
void vs_partition_info(const struct vs_index *index, size_t i, struct vs_partition_info *out);
/* Position of the partition of this name, or -1. */
long vs_partition_find(const struct vs_index *index, const void *name, size_t len);
/* The partition that holds, or would hold, this id. */
size_t vs_partition_of(const struct vs_index *index, const void *id, size_t id_len);
/* Removes a partition with its elements; the ring sends their ids to the others from now on. Not
 * the first one (VS_INVALID). */
enum vs_status vs_partition_drop(struct vs_index *index, size_t i);
void vs_index_memory(const struct vs_index *index, struct vs_memory *out);
size_t vs_attributes_count(const struct vs_index *index);

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
    uint64_t sequence;          /* highest of the partitions', as of which the search saw them */
    uint32_t partitions_asked, partitions_answered;
    bool partial;               /* stopped by deadline or cancellation */
    const char *plan;           /* "graph", "scan", "graph+scan" */
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
const struct vs_hit *vs_search_hits(const struct vs_search *search, size_t *n);
const struct vs_search_stats *vs_search_stats(const struct vs_search *search);
/* [any] Asks a submitted search to stop soon; `done` still runs. */
void vs_search_cancel(struct vs_search *search);
void vs_search_free(struct vs_search *search);

/* What a hit names; valid as long as the hit. [any] */
const void *vs_hit_id(const struct vs_hit *hit, size_t *len);
const void *vs_hit_attributes(const struct vs_hit *hit, size_t *len);  /* NULL: none */
void vs_hit_vector(const struct vs_hit *hit, float *out);

#endif
