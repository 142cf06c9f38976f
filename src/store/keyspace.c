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

static struct htable *table_new(void)
{
    return htable_new(8, KEY_SEGMENT, &key_ops, NULL);
}

bool keyspace_init(struct vs_store *store)
{
    store->databases = mem_zalloc(store->options.databases * sizeof(struct htable *));
    for (unsigned i = 0; i < store->options.databases; i++)
        if (!(store->databases[i] = table_new()))
            return false;
    return true;
}

struct vs_index *vs_find(struct vs_store *store, unsigned db, const void *key, size_t len)
{
    return cell_index(htable_find(store->databases[db], key_hash(key, len), key, len));
}

enum vs_status vs_create(struct vs_store *store, unsigned db, const void *key, size_t key_len,
                         const struct vs_index_options *options, struct vs_index **out)
{
    enum vs_status status;
    if (vs_find(store, db, key, key_len))
        return VS_EXISTS;
    struct vs_index *index = index_new(store, db, key, key_len, options, &status);
    if (!index)
        return status;
    if (!htable_insert(store->databases[db], key_hash(key, key_len), (uint64_t)(uintptr_t)index)) {
        index_kill(index);
        return VS_NOMEM;
    }
    *out = index;
    return VS_OK;
}

bool vs_remove(struct vs_store *store, unsigned db, const void *key, size_t len)
{
    struct vs_index *index =
        cell_index(htable_remove(store->databases[db], key_hash(key, len), key, len));
    if (!index)
        return false;
    index_kill(index);
    return true;
}

enum vs_status vs_rename(struct vs_store *store, unsigned db, const void *from, size_t from_len,
                         const void *to, size_t to_len)
{
    struct htable *t = store->databases[db];
    struct vs_index *index = vs_find(store, db, from, from_len);
    if (!index)
        return VS_NOTFOUND;
    if (from_len == to_len && memcmp(from, to, to_len) == 0)
        return VS_OK;
    char *key = mem_strndup(to, to_len);
    htable_remove(t, key_hash(from, from_len), from, from_len);
    vs_remove(store, db, to, to_len);
    mem_free(index->key);
    index->key = key;
    index->key_len = to_len;
    while (!htable_insert(t, key_hash(to, to_len), (uint64_t)(uintptr_t)index))
        epoch_reclaim(
            store->epoch,
            SIZE_MAX); /* the place of the old key was just given back: bounded and small */
    return VS_OK;
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
};

static void scan_cell(void *arg, uint64_t cell)
{
    struct each_key *e = arg;
    e->each(e->arg, cell_index(cell));
}

uint64_t vs_scan(struct vs_store *store, unsigned db, uint64_t cursor,
                 void (*each)(void *arg, struct vs_index *index), void *arg)
{
    struct each_key e = {each, arg};
    return htable_scan(store->databases[db], cursor, scan_cell, &e);
}

static uint64_t random_word(void *arg)
{
    return rng_next(arg);
}

struct vs_index *vs_random(struct vs_store *store, unsigned db)
{
    return cell_index(htable_random(store->databases[db], random_word, &store->rng));
}

/* ---- emptying a database: a new table at once, the old one in slices ---- */

void vs_flush(struct vs_store *store, unsigned db)
{
    if (!vs_count(store, db))
        return;
    struct htable *empty = table_new();
    struct flushed *f = mem_zalloc(sizeof(*f));
    while (!empty) { /* a few hundred bytes */
        epoch_reclaim(store->epoch, SIZE_MAX);
        empty = table_new();
    }
    f->keys = store->databases[db];
    f->next = store->flushed;
    store->flushed = f;
    store->databases[db] = empty;
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
    mem_free(store->databases);
}
