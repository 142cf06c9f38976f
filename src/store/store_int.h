/* Insides of the store, shared by the files of this folder.
 *
 *   vs_store --databases--> htable of keys --> vs_index --table--> partition --> graph (index/graph.h)
 *                                                                      +-> htable of ids: hash -> slot
 *
 * LOCK  store->lock ("store"): the list of partitions whose graphs have news, and the searches kept for reuse. Ranks below
 * the graphs' locks (neither is ever taken inside the other).
 *
 *       cut.lock ("kept"), see cut_keep.c. A leaf.
 *
 * Removal: what is unlinked (an index, a partition) goes to `dying`; vs_poll waits until its jobs
 * have ended, then for a grace period, then a worker frees it. So removing is constant time on the
 * owner and readers keep what they saw. */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/epoch.h"
#include "base/heap.h"
#include "base/htable.h"
#include "base/pool.h"
#include "base/rng.h"
#include "index/graph.h"
#include "vecstore.h"

/* Vectors: one batch being linked and one being filled. A search scans so many in less than the time of its graph
 * search, and more would not link faster. */
#define BACKLOG_AUTO (2 * BATCH_SIZE)
/* While a compaction holds linking up, so many times the bound: it waits for every search begun before it, and whoever
 * waits in a loop for the backlog may hold one of them. */
#define BACKLOG_COMPACTING 8

struct cells;
struct cut_index;
struct cut_part;
struct kept_map;

struct partition_at {                /* what a partition's numbers were at a cut */
    uint64_t sequence, digest;
    size_t attributes, deadlines;
    uint64_t first_deadline_ms;
    bool pinned;
};

/* Of a partition that is not open: see open.c. */
struct opening;
struct stub {
    size_t alive, linked, unlinked, dead, deadlines;
    uint64_t first_deadline_ms;
    int max_level;
    uint64_t linked_sequence, graph_digest;
    struct opening *opening;         /* under way */
    enum vs_status failed;           /* how the last opening ended */
    uint64_t retry_ns;               /* not before, after a failure */
    bool told;
    char *reason;
};

/* Marks of use, see use.c: a word a slot, in chunks that are made when they are first written to. */
struct use_column {
    uint32_t **chunk;
    uint32_t nchunks, first_slots;   /* those that the first chunk has */
    uint8_t kind;                    /* enum use_kind that they mean */
    size_t bytes;
};

struct partition {
    struct epoch_item item;
    struct vs_store *store;
    struct vs_index *index;          /* [owner] while it is in its table */
    struct stub *stub;               /* not open: it has no graph and no ids. NULL: open */
    struct graph *graph;
    struct htable *ids;              /* of slots + 1 */
    uint64_t seed;                   /* the index's */
    uint64_t sequence;
    uint64_t digest;                 /* sum over the elements alive */
    uint32_t number;                 /* its name */
    size_t ids_bytes, attributes_bytes, attributes;
    size_t dead_attributes;          /* of attributes_bytes: what belongs to the dead */
    struct heap deadlines;           /* of slots, by their deadlines */
    _Atomic bool expiring;           /* one that sees this false sees no record that has a deadline */
    uint32_t expiry_place;           /* in expiry.parts; 0: not in it */
    uint64_t expiry_retry_ms;        /* not before: the last removal failed, or it is being opened */
    bool pinned;
    uint64_t cut;                    /* number of the last cut that it was stamped for, or made after */
    bool in_cut;                     /* from the stamp until its part is given back */
    bool killed;                     /* removed meanwhile: ends when it is */
    struct partition_at at;
    struct cut_part *part;
    struct kept_map *kept;           /* attributes as of the cut; changes under cut.lock */
    struct partition *stamped_next, **stamped_at;
    struct region **regions;         /* in which ids and attributes of its records lie, by address */
    uint32_t nregions;
    struct vs_saved *saved;          /* what a snapshot's files hold of it; may be NULL */
    TAILQ_ENTRY(partition) used_link; /* among those open, if `listed` */
    bool listed;                     /* in the keyspace, and counted */
    uint64_t held_until_ns;          /* opened for somebody who has not come yet */
    struct use_column use;           /* marks of use, by slot */
    size_t coming;                   /* bytes that will be free without more evictions (evict.c) */
    bool returning;                  /* and they are being fetched */
    size_t ending;                   /* bytes that go with it */
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
    size_t dumps;                    /* for whose sake nothing is added */
    uint64_t deadline_ms;            /* of the key; 0: none */
    uint32_t deadline_place;         /* in expiry.keys; 0: not in it */
    uint64_t used_ns;                /* last */
    uint32_t use;                    /* its mark of frequency */
    bool large;                      /* loses elements, not itself: in store->evict.large */
    uint64_t cut;                    /* number of the last cut that has noted it */
    struct cut_index *cut_index;     /* while that has not come to all of its partitions */
};

struct flushed {                     /* a database's old table of keys, being emptied in slices */
    struct flushed *next;
    struct htable *keys;
    uint64_t cursor;
    bool scanned;
};

struct cut {
    bool active, failed, walked;
    uint64_t stamping;               /* the number of the running cut; 0: none, or it has failed */
    uint64_t last_uid;               /* of the indexes that have a part in it */
    struct vs_cut_hooks hooks;
    unsigned db;                     /* where the walk is */
    uint64_t cursor;
    struct cut_index *first, *last;  /* noted, their partitions not yet */
    size_t indexes, parts;
    size_t held;                     /* parts ready and not given back */
    struct partition *stamped;       /* those whose cut is not taken yet */
    struct cut_part *given;          /* back, by whatever thread; under store->lock */
    struct kept_map *emptying;
    size_t kept_bytes;
    pthread_mutex_t lock;
};

TAILQ_HEAD(used_list, partition);
struct open_set {
    size_t max;                      /* partitions that may be open; 0: no limit */
    struct used_list used;           /* those open, the last used first */
    size_t n, closed;                /* how many are, and are not */
    size_t opening;
    struct partition *cursor;        /* of a round of unloading */
    size_t left, dirty;              /* to be looked at; found that no snapshot holds as they are */
    size_t wanting;                  /* the latter, of the last whole round */
    uint64_t again_ns;               /* no round before */
    const struct vs_opener *opener;  /* may be NULL */
    struct opening *ended;           /* under store->lock */
    uint64_t unloads, reloads, failures;
};

struct expiring {                    /* the keys of a database that have a deadline */
    size_t n;
    unsigned __int128 sum_ms;
};
struct expiry {
    _Atomic uint64_t now_ms;         /* the store's clock; 0: it has none */
    struct heap keys;                /* indexes, those of emptied databases too for a while */
    struct heap parts;               /* partitions with elements that have a deadline, by the least; likewise */
    struct expiring *databases;
    uint64_t retry_ms;               /* no removal before: the last one failed */
    bool runs;                       /* vs_expire: who calls it has its time measured, and calls vs_poll besides */
    struct vs_expiry_hooks hooks;
};

enum use_kind { USE_NONE, USE_CLOCK, USE_COUNT };
struct use {
    enum use_kind kind;              /* what elements' marks mean */
    bool off;
    _Atomic uint64_t now_ns;         /* the loading thread reads it, too */
};

#define LARGE_MAX 32
#define VICTIMS   16
struct victim {                      /* a candidate for eviction */
    uint64_t uid, born, score;       /* the highest score goes first */
    uint32_t number, slot;           /* SLOT_NONE: the key */
};
struct evict {
    struct vs_memory_limit limit;
    size_t used, apart;              /* as last measured */
    size_t beside;                   /* what does not count takes so much, at most, of late */
    uint64_t measured_ns;            /* when the allocator was asked last; then: */
    size_t working, ended_then, leaving;
    unsigned over;                   /* so many times in a row it was too much */
    bool going;                      /* and therefore something goes */
    size_t mend;                     /* bytes that mending the largest graph takes for a while */
    size_t coming;                   /* the partitions' sum */
    size_t returning;                /* partitions of which some is being fetched */
    size_t ending;                   /* of partitions that have been removed so far */
    _Atomic size_t ended;            /* of those that have been freed */
    struct partition *pressing;      /* wants a slot where none is to be had; NULL */
    bool starved;                    /* and a writer waits for it */
    size_t need;                     /* bytes that a small partition has to grow by, and waits for; 0 */
    size_t retry_room;               /* bytes that have to be free beside them before it tries again */
    uint64_t asked_ns;               /* when a writer was told to wait last */
    bool full;                       /* nothing was left to evict when last tried */
    bool wanted;
    _Atomic bool awaited;            /* memory that workers free is waited for */
    uint64_t stalled_ns;             /* since when nothing has come back; 0 */
    size_t stalled_at;               /* memory in use then */
    uint64_t large[LARGE_MAX];       /* uids */
    unsigned nlarge;
    unsigned reviewed;
    bool scanning;                   /* looking for large ones among all */
    unsigned scan_db;
    uint64_t scan_cursor;
    struct victim victims[VICTIMS];  /* the best of the samples, the highest score last */
    unsigned nvictims;
    uint64_t keys, elements;         /* evicted */
};

struct vs_store {
    struct vs_options options;
    struct epoch *epoch;
    struct pool *pool;
    struct graph_env env;
    const struct vs_journal *journal; /* may be NULL */
    struct htable *by_uid;           /* all indexes in the keyspace */
    struct cut cut;
    struct open_set open;
    struct expiry expiry;
    struct use use;
    struct evict evict;
    struct cells *cells;             /* scratch of dumps; NULL before the first */
    size_t piece_bytes;              /* of a dump, in the journal */
    const struct vs_loading *telling; /* whose pieces are being written; NULL */
    struct vs_loading *pending;      /* of which pieces have been applied; NULL */
    struct map_work *mapping;        /* chunks to be exchanged for a snapshot's */
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

/* ---- effects: every change is  validate -> make room -> journal_prepare -> change -> journal_append ---- */
static inline enum vs_status journal_prepare(const struct vs_store *store, const struct vs_effect *e)
{
    return store->journal ? store->journal->prepare(store->journal->arg, e) : VS_OK;
}
static inline void journal_append(const struct vs_store *store, const struct vs_effect *e)
{
    if (store->journal)
        store->journal->append(store->journal->arg, e);
}
/* An effect on an index, its kind and key filled in. */
static inline struct vs_effect index_effect(const struct vs_index *index, enum vs_effect_kind kind)
{
    return (struct vs_effect){
        .kind = kind, .db = index->db, .key = index->key, .key_len = index->key_len};
}

/* ---- partition.c ---- */
struct partition *partition_new(struct vs_index *index, uint32_t number);
void partition_free(struct partition *p);              /* any thread, once nobody can see it */
void partition_kill(struct partition *p);              /* to `dying`, when no cut needs it any more */
void partition_end(struct partition *p);               /* now */
uint64_t partition_hash(const struct partition *p, const void *id, size_t len);
bool partition_find(const struct partition *p, uint64_t hash, const void *id, size_t len, uint32_t *slot);
/* What to answer where it finds nothing: VS_NOTFOUND; or VS_CORRUPT, since ids may lie in a file that cannot be read. */
enum vs_status partition_missing(const struct partition *p);
enum vs_status partition_add(struct partition *p, const struct vs_element *e, enum vs_add_mode mode, struct vs_added *added);
/* Adds a record, whatever stands there and however long the backlog is: what an effect ADD says. */
enum vs_status partition_put(struct partition *p, const struct vs_element *e, struct vs_added *added);
/* A record as it was, in a partition that is being restored. VS_NOMEM, VS_CORRUPT. */
enum vs_status partition_restore_record(struct partition *p, uint64_t born, int level, const void *row,
                                        const void *original, const void *id, size_t id_len, const void *attributes,
                                        size_t attributes_len, uint64_t deadline_ms);
/* The same of a deadline alone. */
bool partition_restore_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms);
/* Adds a record to a partition that is in no keyspace yet. With `row` (and `original`, where there are any) these stand for what the
 * vector would become. VS_CORRUPT: its id is there already. */
enum vs_status partition_load(struct partition *p, const struct vs_element *e, const void *row, const void *original);
/* Must a writer wait: for linking, or for a chunk that is being made? */
bool partition_full(const struct partition *p);
enum vs_status partition_delete(struct partition *p, uint32_t slot);
/* In the partition of an id, whether it has ended or not, as all index_ functions. */
enum vs_status index_delete(struct vs_index *index, const void *id, size_t len);
enum vs_status index_set_attributes(struct vs_index *index, const void *id, size_t id_len, const void *data, size_t len);
enum vs_status index_set_deadline(struct vs_index *index, const void *id, size_t id_len, uint64_t deadline_ms);
enum vs_status partition_set_attributes(struct partition *p, uint32_t slot, const void *data, size_t len);
/* At the end of every entry. */
void partition_entry_done(struct partition *p);
/* What an element adds to its partition's digest. */
uint64_t partition_record_digest(const struct partition *p, uint64_t hash, uint32_t slot);
/* The stored form of an id; that of attributes is attr_doc.h's. */
const void *record_id(const void *user, size_t *len);
void partition_memory(const struct partition *p, const struct graph_info *g, struct vs_memory *out);
/* ---- index.c ---- */
struct vs_index *index_new(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                           const struct vs_index_options *o, const struct vs_part_image *parts, uint32_t n,
                           enum vs_status *status); /* partitions as in `parts`, rising; NULL: all, open */
void index_free(struct vs_index *index);               /* one that nobody has seen; any thread */
void index_kill(struct vs_index *index);               /* no longer in the keyspace */
/* NULL: there is none of this number. */
struct partition *index_numbered(const struct vs_index *index, uint32_t number);
struct partition *index_partition(const struct vs_index *index, const void *id, size_t id_len);
/* ---- keyspace.c ---- */
bool keyspace_init(struct vs_store *store);
/* Whether it has ended or not, as all keyspace_raw_ functions and vs_apply. */
struct vs_index *keyspace_raw_find(const struct vs_store *store, unsigned db, const void *key, size_t len);
uint64_t keyspace_raw_scan(struct vs_store *store, unsigned db, uint64_t cursor, void (*each)(void *arg, struct vs_index *index),
                       void *arg);
enum vs_status keyspace_raw_create(struct vs_store *store, unsigned db, const void *key, size_t len,
                               const struct vs_index_options *options, struct vs_index **out);
enum vs_status keyspace_raw_remove(struct vs_index *index);
enum vs_status keyspace_raw_rename(struct vs_index *index, const void *to, size_t to_len);
/* A new index becomes a key. VS_EXISTS, VS_NOMEM. */
enum vs_status keyspace_attach(struct vs_index *index);
void keyspace_release(struct vs_store *store);
bool keyspace_flush_some(struct vs_store *store, uint64_t until_ns); /* true: more to do */
struct vs_index *keyspace_by_uid(const struct vs_store *store, uint64_t uid);
/* ---- expiry.c ---- */
bool expiry_init(struct vs_store *store);
void expiry_release(struct vs_store *store);
static inline uint64_t expiry_now(const struct vs_store *store)
{
    return atomic_load_explicit(&store->expiry.now_ms, memory_order_relaxed);
}
static inline bool index_ended(const struct vs_index *index)
{
    return index->deadline_ms && index->deadline_ms <= expiry_now(index->store);
}
/* Room for the deadlines of one more index. */
bool expiry_reserve(struct vs_index *index);
/* An index comes into the keyspace (after expiry_reserve), leaves it, alone or with its database; is no more. */
void expiry_attach(struct vs_index *index);
void expiry_detach(struct vs_index *index);
void expiry_flush(struct vs_store *store, unsigned db);
void expiry_forget(struct vs_index *index);
/* Removes what has ended under this name, if something has. */
enum vs_status expiry_clear_name(struct vs_store *store, unsigned db, const void *key, size_t len);
/* An element that had ended has been replaced. */
void expiry_replaced(struct vs_index *index);
/* ---- deadline.c: deadlines of a partition's elements ---- */
static inline bool partition_ended(const struct partition *p, uint32_t slot)
{
    uint64_t at = p->deadlines.n ? graph_deadline(p->graph, slot) : 0;
    return at && at <= expiry_now(p->store);
}
/* The time by which elements are hidden from one that begins to read now, 0: none has a deadline. Any thread; before the
 * partition's sequence number is read. */
static inline uint64_t partition_now(const struct partition *p)
{
    return atomic_load_explicit(&p->expiring, memory_order_acquire) ? expiry_now(p->store) : 0;
}
size_t deadline_count(const struct partition *p);
uint64_t deadline_first(const struct partition *p);    /* 0: none */
/* Room for one more; before deadline_enter. */
bool deadline_room(struct partition *p);
/* The record in a slot has a deadline, now; or has none any more. Nothing where it has none. */
void deadline_enter(struct partition *p, uint32_t slot);
void deadline_leave(struct partition *p, uint32_t slot);
void deadline_moved(struct partition *p, uint32_t to);
uint64_t deadline_digest(uint64_t hash, uint64_t deadline_ms);
enum vs_status partition_set_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms);
/* A partition's first deadline has changed; it takes the place of another; it is no more. */
void expiry_touch(struct partition *p);
void expiry_exchange(struct partition *from, struct partition *to);
void expiry_forget_part(struct partition *p);
/* ---- cut.c ---- */
/* Before anything of a partition changes. */
void cut_stamp(struct partition *p);
static inline void cut_mutating(struct partition *p)
{
    if (p->cut < p->store->cut.stamping)
        cut_stamp(p);
}
/* Before an index gets another name; before it or some partition of it is removed; when it is no more. */
void cut_touch(struct vs_index *index);
void cut_touch_all(struct vs_index *index);
void cut_forget(struct vs_index *index);
/* Must a partition that is removed wait with its end? partition_end is called then. */
bool cut_must_wait(struct partition *p);
void cut_flush(struct vs_store *store);                /* a database is emptied: a running cut fails */
bool cut_some(struct vs_store *store, uint64_t until_ns); /* the owner's turn; true: more to do */
/* ---- cut_keep.c ---- */
/* A record's attributes change: room for the old ones (false: out of memory), then they are taken, unless older ones are
 * there or the record is younger than the cut (false). Of partitions in a cut only. */
bool cut_keep_room(struct partition *p);
bool cut_keep(struct partition *p, uint32_t slot, void *extra, bool heap);
void cut_keep_deadline(struct partition *p, uint32_t slot, uint64_t deadline_ms);
/* The part has been given back: they are not needed any more, but perhaps by searches, for a while. */
void cut_keep_let_go(struct partition *p);
bool cut_keep_empty_some(struct vs_store *store, uint64_t until_ns); /* true: time is up */
/* ---- open.c ---- */
/* A partition comes into the keyspace, or leaves it. */
/* [owner] A partition that was restored is checked behind; what the index does not want mapped comes into
 * memory, unless the limit may take it away again. */
void partition_settle_in(struct partition *p);
void open_attach(struct partition *p);
void open_detach(struct partition *p);
/* It is about to be used: is it open? If not it is being opened, from now on. True, too, when it cannot be: stub_status
 * then says why. Without workers it is opened here, so look it up again. */
bool partition_use(struct partition *p);
/* It is about to be used together with others that may not be open: it stays for a while. */
void partition_hold(struct partition *p);
/* The same of all that a query asks: VS_OK, VS_BACKLOG while some are being opened, or why one cannot be. */
enum vs_status open_for_query(const struct vs_index *index, const struct vs_query *q);
/* Waits until the partition of an id is open. VS_OK, or why it is not. */
enum vs_status open_wait(const struct vs_index *index, const void *id, size_t id_len);
/* Puts `to` in the place of `from`, which ends. False: out of memory. */
bool partition_exchange(struct partition *from, struct partition *to);
/* VS_BACKLOG, or how the last opening failed. */
enum vs_status stub_status(const struct partition *p);
struct partition *stub_new(struct vs_index *index, uint32_t number);
void stub_free(struct stub *stub);
/* Takes the numbers of an image. */
enum vs_status stub_restore(struct partition *p, const struct vs_part_image *image);
bool open_some(struct vs_store *store, uint64_t until_ns); /* the owner's turn; true: more to do */
bool open_busy(const struct vs_store *store);
static inline size_t partition_alive(const struct partition *p)
{
    return p->stub ? p->stub->alive : graph_alive(p->graph);
}
/* ---- dump.c, dump_load.c ---- */
/* What an effect RESTORE or PIECE says. */
enum vs_status dump_apply(struct vs_store *store, const struct vs_effect *e);
void dump_release(struct vs_store *store);
/* ---- use.c ---- */
void use_touch(struct partition *p, uint32_t slot);
void use_born(struct partition *p, uint32_t slot);     /* a new record */
void use_moved(struct partition *p, uint32_t from, uint32_t to);
void use_free(struct partition *p);
void use_key_born(struct vs_index *index);
/* How well it may go: idle time, or how seldom it is used. */
uint64_t use_score(const struct partition *p, uint32_t slot);
uint64_t use_key_score(const struct vs_index *index, enum use_kind kind);
/* ---- evict.c ---- */
/* Slots of a partition have come or gone. */
void evict_account(struct partition *p);
/* A record has been added. */
void evict_added(struct partition *p);
/* VS_OK, or why it may not take a record, of so many bytes beside its columns, now: VS_BACKLOG, VS_FULL. */
enum vs_status evict_room(struct partition *p, size_t bytes);
/* A partition, an index, is removed; a partition is freed (any thread). */
void evict_ending(struct partition *p);
void evict_ended(struct vs_store *store, size_t bytes);
void evict_forget(struct vs_index *index);
/* ---- restore.c ---- */
/* Fills a new partition. Any thread, while nobody else uses it. */
enum vs_status partition_restore(struct partition *p, const struct vs_part_image *image, struct buf *why);
/* Does this lie in a file, and not on the heap? */
bool partition_maps(const struct partition *p, const void *ptr);
void partition_drop_regions(struct partition *p);
/* ---- map.c ---- */
bool map_some(struct vs_store *store, uint64_t until_ns); /* true: more to do */
void map_release(struct vs_store *store);
/* ---- store_check.c ---- */
/* For tests, after vs_settle: NULL, or what is wrong with some index. */
const char *store_check(struct vs_store *store);
/* ---- search.c ---- */
void search_release_spare(struct vs_store *store);

#endif
