/* The keyspace: a table of keys per database. */
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/store_int.h"

#define KEY_SEGMENT 64 /* cells of a segment: what one step of a scan returns */
#define KEY_SEED    0x4B455953ull

static struct vs_index *cell_index(uint64_t cell)
{
    return (struct vs_index *)(uintptr_t)cell;
}

static uint64_t key_hash(const void *key, size_t len)
{
    return hash_bytes(key, len, KEY_SEED);
}

static uint64_t cell_hash(void *arg, uint64_t cell)
{
    (void)arg;
    return key_hash(cell_index(cell)->key, cell_index(cell)->key_len);
}

static bool cell_equal(void *arg, uint64_t cell, const void *key, size_t len)
{
    const struct vs_index *index = cell_index(cell);
    (void)arg;
    return index->key_len == len && memcmp(index->key, key, len) == 0;
}

static const struct htable_ops key_ops = {cell_hash, cell_equal};

static uint64_t uid_hash(void *arg, uint64_t cell)
{
    (void)arg;
    return hash_mix(cell_index(cell)->uid);
}

static bool uid_equal(void *arg, uint64_t cell, const void *uid, size_t len)
{
    (void)arg;
    return memcmp(&cell_index(cell)->uid, uid, len) == 0;
}

static const struct htable_ops uid_ops = {uid_hash, uid_equal};

static struct htable *table_new(void)
{
    return htable_new(8, KEY_SEGMENT, &key_ops, NULL);
}

bool keyspace_init(struct vs_store *store)
{
    store->databases = mem_zalloc(store->options.databases * sizeof(struct htable *));
    store->by_uid = htable_new(8, KEY_SEGMENT, &uid_ops, NULL);
    if (!store->by_uid)
        return false;
    for (unsigned i = 0; i < store->options.databases; i++)
        if (!(store->databases[i] = table_new()))
            return false;
    return true;
}

struct vs_index *keyspace_raw_find(const struct vs_store *store, unsigned db, const void *key, size_t len)
{
    return cell_index(htable_find(store->databases[db], key_hash(key, len), key, len));
}

struct vs_index *vs_find(struct vs_store *store, unsigned db, const void *key, size_t len)
{
    struct vs_index *index = keyspace_raw_find(store, db, key, len);
    return index && !index_ended(index) ? index : NULL;
}

struct vs_index *keyspace_by_uid(const struct vs_store *store, uint64_t uid)
{
    return cell_index(htable_find(store->by_uid, hash_mix(uid), &uid, sizeof(uid)));
}

/* Makes room for a new index in all tables. */
static bool reserve(struct vs_index *index)
{
    struct vs_store *store = index->store;
    index->uid = ++store->next_uid;
    return htable_reserve(store->databases[index->db], key_hash(index->key, index->key_len)) &&
           htable_reserve(store->by_uid, hash_mix(index->uid)) && expiry_reserve(index);
}

static void attach(struct vs_index *index)
{
    struct vs_store *store = index->store;
    uint64_t cell = (uint64_t)(uintptr_t)index;
    htable_insert(store->databases[index->db], key_hash(index->key, index->key_len), cell);
    htable_insert(store->by_uid, hash_mix(index->uid), cell);
    expiry_attach(index);
    const struct partition_table *t = index_table(index);
    for (uint32_t i = 0; i < t->n; i++)
        open_attach(t->part[i]);
}

enum vs_status keyspace_attach(struct vs_index *index)
{
    if (keyspace_raw_find(index->store, index->db, index->key, index->key_len))
        return VS_EXISTS;
    if (!reserve(index))
        return VS_NOMEM;
    attach(index);
    return VS_OK;
}

enum vs_status keyspace_raw_create(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                               const struct vs_index_options *options, struct vs_index **out)
{
    enum vs_status status;
    if (keyspace_raw_find(store, db, key, key_len))
        return VS_EXISTS;
    struct vs_index *index = index_new(store, db, key, key_len, options, NULL, 0, &status);
    if (!index)
        return status;
    struct vs_effect effect = index_effect(index, VS_CREATE);
    effect.options = &index->options;
    status = reserve(index) ? journal_prepare(store, &effect) : VS_NOMEM;
    if (status != VS_OK) {
        index_kill(index);
        return status;
    }
    attach(index);
    journal_append(store, &effect);
    *out = index;
    return VS_OK;
}

enum vs_status vs_create(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                         const struct vs_index_options *options, struct vs_index **out)
{
    enum vs_status status = expiry_clear_name(store, db, key, key_len);
    return status == VS_OK ? keyspace_raw_create(store, db, key, key_len, options, out) : status;
}

static void unlink_index(struct vs_index *index)
{
    struct htable *t = index->store->databases[index->db];
    htable_remove(t, key_hash(index->key, index->key_len), index->key, index->key_len);
}

enum vs_status keyspace_raw_remove(struct vs_index *index)
{
    struct vs_effect effect = index_effect(index, VS_REMOVE);
    enum vs_status status = journal_prepare(index->store, &effect);
    if (status != VS_OK)
        return status;
    cut_touch_all(index);
    unlink_index(index);
    expiry_detach(index);
    journal_append(index->store, &effect);
    index_kill(index);
    return VS_OK;
}

enum vs_status vs_remove(struct vs_store *store, unsigned db, const void *key, size_t len)
{
    struct vs_index *index = vs_find(store, db, key, len);
    return index ? keyspace_raw_remove(index) : VS_NOTFOUND;
}

enum vs_status keyspace_raw_rename(struct vs_index *index, const void *to, size_t to_len)
{
    struct vs_store *store = index->store;
    struct htable *t = store->databases[index->db];
    if (index->key_len == to_len && memcmp(index->key, to, to_len) == 0)
        return VS_OK;
    struct vs_effect effect = index_effect(index, VS_RENAME);
    effect.id = to;
    effect.id_len = to_len;
    char *old = index->key, *key = mem_try_strndup(to, to_len);
    /* What goes only makes more room: segments that get light keep places free. */
    enum vs_status status =
        key && htable_reserve(t, key_hash(to, to_len)) ? journal_prepare(store, &effect) : VS_NOMEM;
    if (status != VS_OK) {
        mem_free(key);
        return status;
    }
    effect.id = key; /* `to` may be the replaced one's own */
    struct vs_index *replaced = keyspace_raw_find(store, index->db, to, to_len);
    cut_touch(index);
    unlink_index(index);
    if (replaced) {
        cut_touch_all(replaced);
        unlink_index(replaced);
        expiry_detach(replaced);
        index_kill(replaced);
    }
    index->key = key;
    index->key_len = to_len;
    htable_insert(t, key_hash(to, to_len), (uint64_t)(uintptr_t)index); /* there is room */
    journal_append(store, &effect);
    mem_free(old);
    return VS_OK;
}

enum vs_status vs_rename(struct vs_store *store, unsigned db, const void *from, size_t from_len,
                         const void *to, size_t to_len)
{
    struct vs_index *index = vs_find(store, db, from, from_len);
    return index ? keyspace_raw_rename(index, to, to_len) : VS_NOTFOUND;
}

size_t vs_count(const struct vs_store *store, unsigned db)
{
    return htable_count(store->databases[db]);
}

unsigned vs_databases(const struct vs_store *store)
{
    return store->options.databases;
}

struct each_key {
    void (*each)(void *arg, struct vs_index *index);
    void *arg;
    bool ended;                      /* those, too */
};

static void scan_cell(void *arg, uint64_t cell)
{
    struct each_key *e = arg;
    if (e->ended || !index_ended(cell_index(cell)))
        e->each(e->arg, cell_index(cell));
}

uint64_t keyspace_raw_scan(struct vs_store *store, unsigned db, uint64_t cursor,
                       void (*each)(void *arg, struct vs_index *index), void *arg)
{
    struct each_key e = {each, arg, true};
    return htable_scan(store->databases[db], cursor, scan_cell, &e);
}

uint64_t vs_scan(struct vs_store *store, unsigned db, uint64_t cursor,
                 void (*each)(void *arg, struct vs_index *index), void *arg)
{
    struct each_key e = {each, arg, false};
    return htable_scan(store->databases[db], cursor, scan_cell, &e);
}

static uint64_t random_word(void *arg)
{
    return rng_next(arg);
}

/* So many that have ended are passed over, at most: they go very soon, if they go here at all. */
#define RANDOM_TRIES 100

struct vs_index *vs_random(struct vs_store *store, unsigned db)
{
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        struct vs_index *index = cell_index(htable_random(store->databases[db], random_word, &store->rng));
        if (!index || !index_ended(index))
            return index;
    }
    return NULL;
}

/* ---- emptying a database: a new table at once, the old one in slices ---- */

enum vs_status vs_flush(struct vs_store *store, unsigned db)
{
    struct vs_effect effect = {.kind = VS_FLUSH, .db = db};
    if (!vs_count(store, db))
        return VS_OK;
    struct htable *empty = table_new();
    if (!empty)
        return VS_NOMEM;
    enum vs_status status = journal_prepare(store, &effect);
    if (status != VS_OK) {
        htable_free(empty);
        return status;
    }
    cut_flush(store);
    struct flushed *f = mem_zalloc(sizeof(*f));
    f->keys = store->databases[db];
    f->next = store->flushed;
    store->flushed = f;
    store->databases[db] = empty;
    expiry_flush(store, db);
    journal_append(store, &effect);
    return VS_OK;
}

/* ---- two databases change places ---- */

static void move_cell(void *arg, uint64_t cell)
{
    cell_index(cell)->db = *(const unsigned *)arg;
}

static void move_keys(struct htable *keys, unsigned to)
{
    uint64_t cursor = 0;
    do {
        cursor = htable_scan(keys, cursor, move_cell, &to);
    } while (cursor);
}

enum vs_status vs_swap(struct vs_store *store, unsigned a, unsigned b)
{
    struct vs_effect effect = {.kind = VS_SWAP, .db = a, .other = b};
    if (a == b)
        return VS_OK;
    enum vs_status status = journal_prepare(store, &effect);
    if (status != VS_OK)
        return status;
    cut_flush(store);
    struct htable *keys = store->databases[a];
    struct expiring expiring = store->expiry.databases[a];
    store->databases[a] = store->databases[b];
    store->databases[b] = keys;
    store->expiry.databases[a] = store->expiry.databases[b];
    store->expiry.databases[b] = expiring;
    move_keys(store->databases[a], a);
    move_keys(store->databases[b], b);
    journal_append(store, &effect);
    return VS_OK;
}

static void kill_cell(void *arg, uint64_t cell)
{
    (void)arg;
    index_kill(cell_index(cell));
}

bool keyspace_flush_some(struct vs_store *store, uint64_t until_ns)
{
    while (store->flushed) {
        struct flushed *f = store->flushed;
        while (!f->scanned) {
            f->cursor = htable_scan(f->keys, f->cursor, kill_cell, NULL);
            f->scanned = f->cursor == 0;
            if (clock_mono_ns() > until_ns)
                return true;
        }
        while (!htable_free_some(f->keys, 4096))
            if (clock_mono_ns() > until_ns)
                return true;
        store->flushed = f->next;
        mem_free(f);
    }
    return false;
}

void keyspace_release(struct vs_store *store)
{
    for (unsigned i = 0; i < store->options.databases; i++)
        if (store->databases[i]) {
            uint64_t cursor = 0;
            do {
                cursor = htable_scan(store->databases[i], cursor, kill_cell, NULL);
            } while (cursor);
            htable_free(store->databases[i]);
        }
    keyspace_flush_some(store, UINT64_MAX);
    if (store->by_uid)
        htable_free(store->by_uid);
    mem_free(store->databases);
}
