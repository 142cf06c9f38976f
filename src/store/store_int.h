/* Insides of the store, shared by the files of this folder.
 *
 *   vs_store --databases--> htable of keys --> vs_index --table--> partition --> graph
 * (index/graph.h)
 *                                                                     +-> htable of ids: hash ->
 * slot
 *
 * LOCK  store->lock ("store"): the list of partitions whose graphs have news, and the searches kept for reuse. Ranks below
 * the graphs' locks (neither is ever taken inside the other).
 *
 * Removal: what is unlinked (an index, a partition) goes to `dying`; vs_poll waits until its jobs
 * have ended, then for a grace period, then a worker frees it. So removing is constant time on the
 * owner and readers keep what they saw. */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include <pthread.h>

#include "base/epoch.h"
#include "base/htable.h"
#include "base/pool.h"
#include "base/rng.h"
#include "index/graph.h"
#include "vecstore.h"

#define BACKLOG_AUTO 4096            /* vectors: scanning so many takes about as long as a search of the graph */

struct partition {
    struct epoch_item item;
    struct vs_store *store;
    struct graph *graph;
    struct htable *ids;              /* of slots + 1 */
    uint64_t seed;                   /* the index's */
    uint64_t sequence;
    uint64_t digest;                 /* sum over the elements alive */
    uint32_t number;                 /* its name */
    size_t ids_bytes, attributes_bytes, attributes;
    struct partition *next_ready;    /* under store->lock */
    bool is_ready;                   /* under store->lock */
    struct partition *next_dying;
    struct pool_task task;           /* frees it */
};

struct ring_point {
    uint64_t at;
    uint32_t position;               /* in the table */
};
/* The partitions as searches see them: immutable, replaced as a whole. */
struct partition_table {
    uint32_t n;
    struct partition *part[];
};

struct vs_index {
    struct epoch_item item;
    struct vs_store *store;
    char *key;
    size_t key_len;
    unsigned db;
    uint64_t uid;
    struct vs_index_options options;
    _Atomic(struct partition_table *) table;
    struct ring_point *ring;         /* NULL with one partition */
    size_t nring;
    size_t count;
};

struct flushed {                     /* a database's old table of keys, being emptied in slices */
    struct flushed *next;
    struct htable *keys;
    uint64_t cursor;
    bool scanned;
};

struct vs_store {
    struct vs_options options;
    struct epoch *epoch;
    struct pool *pool;
    struct graph_env env;
    struct searcher *searchers;
    struct searcher scratch;
    struct htable **databases;
    struct flushed *flushed;
    struct partition *dying;
    struct rng rng;
    uint64_t next_uid;
    _Atomic size_t freeing;          /* partitions that workers are freeing */
    _Atomic bool closing;            /* nobody is woken any more */
    pthread_mutex_t lock;
    pthread_cond_t news;             /* for vs_settle */
    struct partition *ready;
    struct vs_search *spare;         /* searches kept for reuse */
    unsigned nspare;
};

static inline struct partition_table *index_table(const struct vs_index *index)
{
    return atomic_load_explicit(&index->table, memory_order_acquire);
}

/* Below one batch the bound would never be left: a batch is linked when it is full. */
static inline size_t backlog_max(const struct vs_store *store)
{
    size_t max = store->options.link_backlog_max ? store->options.link_backlog_max : BACKLOG_AUTO;
    return max < BATCH_SIZE ? BATCH_SIZE : max;
}

/* ---- partition.c ---- */
struct partition *partition_new(struct vs_index *index, uint32_t number);
void partition_free(struct partition *p);              /* any thread, once nobody can see it */
void partition_kill(struct partition *p);              /* to `dying` */
uint64_t partition_hash(const struct partition *p, const void *id, size_t len);
bool partition_find(const struct partition *p, uint64_t hash, const void *id, size_t len, uint32_t *slot);
enum vs_status partition_add(struct partition *p, const struct vs_element *e, enum vs_add_mode mode, struct vs_added *added);
/* Must a writer wait: for linking, or for a chunk that is being made? */
bool partition_full(const struct partition *p);
enum vs_status partition_delete(struct partition *p, const void *id, size_t len);
enum vs_status partition_set_attributes(struct partition *p, uint32_t slot, const void *data, size_t len);
/* The stored forms of an id and of attributes. */
const void *record_id(const void *user, size_t *len);
const void *record_attributes(const void *extra, size_t *len);
void partition_memory(const struct partition *p, const struct graph_info *g, struct vs_memory *out);
/* ---- index.c ---- */
struct vs_index *index_new(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                           const struct vs_index_options *o, enum vs_status *status);
void index_kill(struct vs_index *index);               /* no longer in the keyspace */
struct partition *index_partition(const struct vs_index *index, const void *id, size_t id_len);
/* ---- keyspace.c ---- */
bool keyspace_init(struct vs_store *store);
void keyspace_release(struct vs_store *store);
bool keyspace_flush_some(struct vs_store *store, uint64_t until_ns); /* true: more to do */
/* ---- store_check.c ---- */
/* For tests, after vs_settle: NULL, or what is wrong with some index. */
const char *store_check(struct vs_store *store);
/* ---- search.c ---- */
void search_release_spare(struct vs_store *store);

#endif
