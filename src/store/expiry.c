/* What ends by itself: keys with a deadline, and elements.
 *
 *   keys    a heap of all indexes that have a deadline, the next one on top
 *   parts   a heap of all partitions with elements that have one, by the least of them; each has a heap of its
 *           own of those (deadline.c), and one that is not open remembers the least
 *
 * Ended by the clock, a key is hidden by whoever looks for it (vs_find, vs_scan, vs_random), an element likewise, and stays until
 * vs_expire comes to it, or until its name is wanted: its removal is an effect like any other, so that a
 * journal, and whoever follows it, knows of no clock. The heaps know the order exactly, so nothing is sampled, and
 * nothing due is left behind.
 *
 * A partition that is not open is opened when its first element ends. One that cannot be opened, or is damaged, is
 * tried again after a while; the others go on.
 *
 * The clock is what the owner says it is (vs_set_clock): it stands still within a turn of the loop. */
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_int.h"

#define RETRY_MS  100  /* after a removal that the journal or memory refused */
#define OPENING_MS 5   /* between looks at a partition that is being opened */
#define BROKEN_MS 1000 /* at one that cannot be */

bool expiry_init(struct vs_store *store)
{
    store->expiry.databases = mem_zalloc(store->options.databases * sizeof(struct expiring));
    return true;
}

void expiry_release(struct vs_store *store)
{
    heap_release(&store->expiry.keys);
    heap_release(&store->expiry.parts);
    mem_free(store->expiry.databases);
}

/* ---- keys ---- */

static void key_placed(void *arg, uint64_t what, uint32_t place)
{
    (void)arg;
    ((struct vs_index *)(uintptr_t)what)->deadline_place = place;
}

static void count(struct vs_index *index, bool in)
{
    struct expiring *e = &index->store->expiry.databases[index->db];
    if (!index->deadline_ms)
        return;
    e->n += in ? 1 : (size_t)-1;
    e->sum_ms += in ? index->deadline_ms : -(unsigned __int128)index->deadline_ms;
}

static void enter(struct vs_index *index)
{
    if (index->deadline_ms)
        heap_insert(&index->store->expiry.keys, index->deadline_ms, (uint64_t)(uintptr_t)index, key_placed, NULL);
}

bool expiry_reserve(struct vs_index *index)
{
    struct expiry *x = &index->store->expiry;
    const struct partition_table *t = index_table(index);
    size_t parts = 0;
    for (uint32_t i = 0; i < t->n; i++)
        parts += deadline_first(t->part[i]) != 0;
    return (!index->deadline_ms || heap_reserve(&x->keys, 1)) && (!parts || heap_reserve(&x->parts, parts));
}

void expiry_attach(struct vs_index *index)
{
    const struct partition_table *t = index_table(index);
    count(index, true);
    enter(index);
    for (uint32_t i = 0; i < t->n; i++)
        expiry_touch(t->part[i]);
}

void expiry_forget(struct vs_index *index)
{
    struct heap *keys = &index->store->expiry.keys;
    if (!index->deadline_place)
        return;
    heap_remove(keys, index->deadline_place, key_placed, NULL);
    heap_trim(keys);
}

void expiry_detach(struct vs_index *index)
{
    count(index, false);
    expiry_forget(index);
}

void expiry_flush(struct vs_store *store, unsigned db)
{
    store->expiry.databases[db] = (struct expiring){0};
}

uint64_t vs_index_deadline(const struct vs_index *index)
{
    return index->deadline_ms;
}

enum vs_status vs_set_index_deadline(struct vs_index *index, uint64_t deadline_ms)
{
    struct vs_store *store = index->store;
    struct heap *keys = &store->expiry.keys;
    if (deadline_ms > VS_DEADLINE_MAX)
        return VS_INVALID;
    if (deadline_ms == index->deadline_ms)
        return VS_OK;
    struct vs_effect effect = index_effect(index, VS_KEY_DEADLINE);
    effect.deadline_ms = deadline_ms;
    enum vs_status status = index->deadline_place || heap_reserve(keys, 1) ? journal_prepare(store, &effect) : VS_NOMEM;
    if (status != VS_OK)
        return status;
    cut_touch(index);
    count(index, false);
    index->deadline_ms = deadline_ms;
    count(index, true);
    if (!deadline_ms)
        expiry_forget(index);
    else if (index->deadline_place)
        heap_change(keys, index->deadline_place, deadline_ms, key_placed, NULL);
    else
        enter(index);
    journal_append(store, &effect);
    return VS_OK;
}

size_t vs_expiring(const struct vs_store *store, unsigned db, uint64_t *average_ms)
{
    const struct expiring *e = &store->expiry.databases[db];
    uint64_t average = e->n ? (uint64_t)(e->sum_ms / e->n) : 0, now = expiry_now(store);
    if (average_ms)
        *average_ms = average > now ? average - now : 0;
    return e->n;
}

/* ---- partitions ---- */

static void part_placed(void *arg, uint64_t what, uint32_t place)
{
    (void)arg;
    ((struct partition *)(uintptr_t)what)->expiry_place = place;
}

void expiry_touch(struct partition *p)
{
    struct heap *parts = &p->store->expiry.parts;
    uint64_t first = deadline_first(p);
    if (!first) {
        expiry_forget_part(p);
        return;
    }
    uint64_t at = first > p->expiry_retry_ms ? first : p->expiry_retry_ms;
    if (!p->expiry_place)
        heap_insert(parts, at, (uint64_t)(uintptr_t)p, part_placed, NULL);
    else if (!heap_has(parts, p->expiry_place, at, (uint64_t)(uintptr_t)p))
        heap_change(parts, p->expiry_place, at, part_placed, NULL);
}

void expiry_exchange(struct partition *from, struct partition *to)
{
    to->expiry_place = from->expiry_place;
    from->expiry_place = 0;
    if (!to->expiry_place)
        return;
    heap_rename(&to->store->expiry.parts, to->expiry_place, (uint64_t)(uintptr_t)to);
    expiry_touch(to);
}

void expiry_forget_part(struct partition *p)
{
    struct heap *parts = &p->store->expiry.parts;
    if (!p->expiry_place)
        return;
    heap_remove(parts, p->expiry_place, part_placed, NULL);
    heap_trim(parts);
}

static void put_off(struct partition *p, uint64_t ms)
{
    p->expiry_retry_ms = expiry_now(p->store) + ms;
    expiry_touch(p);
}

/* ---- removal ---- */

/* The name goes with the index, and is told after. */
static enum vs_status end_index(struct vs_index *index, char **key)
{
    size_t len = index->key_len;
    *key = mem_try_strndup(index->key, len);
    enum vs_status status = *key ? keyspace_raw_remove(index) : VS_NOMEM;
    if (status != VS_OK)
        mem_free(*key);
    return status;
}

static enum vs_status end_key(struct vs_index *index)
{
    const struct vs_expiry_hooks *hooks = &index->store->expiry.hooks;
    unsigned db = index->db;
    size_t len = index->key_len;
    char *key;
    enum vs_status status = end_index(index, &key);
    if (status != VS_OK)
        return status;
    if (hooks->key)
        hooks->key(hooks->arg, db, key, len);
    mem_free(key);
    return VS_OK;
}

enum vs_status expiry_clear_name(struct vs_store *store, unsigned db, const void *key, size_t len)
{
    struct vs_index *index = keyspace_raw_find(store, db, key, len);
    return index && index_ended(index) ? end_key(index) : VS_OK;
}

/* Those of emptied databases are on their way out. */
static bool in_keyspace(const struct vs_index *index)
{
    return keyspace_raw_find(index->store, index->db, index->key, index->key_len) == index;
}

/* True: time is up. */
static bool end_keys(struct vs_store *store, uint64_t until_ns)
{
    struct expiry *x = &store->expiry;
    const struct heap_cell *top;
    while ((top = heap_top(&x->keys)) && top->at <= expiry_now(store)) {
        struct vs_index *index = (struct vs_index *)(uintptr_t)top->what;
        enum vs_status status = VS_OK;
        if (in_keyspace(index))
            status = end_key(index);
        else
            expiry_forget(index);
        if (status != VS_OK) {
            x->retry_ms = expiry_now(store) + RETRY_MS;
            return false;
        }
        if (clock_mono_ns() > until_ns)
            return true;
    }
    return false;
}

static void tell_elements(const struct vs_store *store, unsigned db, const char *key, size_t len, size_t n, bool emptied)
{
    const struct vs_expiry_hooks *hooks = &store->expiry.hooks;
    if (n && hooks->elements)
        hooks->elements(hooks->arg, db, key, len, n, emptied);
}

void expiry_replaced(struct vs_index *index)
{
    tell_elements(index->store, index->db, index->key, index->key_len, 1, false);
}

/* The last element of an index that does not stay without: both go in one. `n` went before. */
static enum vs_status end_last(struct vs_index *index, size_t n)
{
    const struct vs_store *store = index->store;
    unsigned db = index->db;
    size_t len = index->key_len;
    char *key;
    enum vs_status status = end_index(index, &key);
    if (status != VS_OK)
        return status;
    tell_elements(store, db, key, len, n + 1, true);
    mem_free(key);
    return VS_OK;
}

/* Those of one open partition. True: time is up. */
static bool end_part(struct partition *p, uint64_t until_ns)
{
    struct vs_index *index = p->index;
    const struct heap_cell *top;
    size_t n = 0;
    bool late = false;
    while (!late && (top = heap_top(&p->deadlines)) && top->at <= expiry_now(p->store)) {
        bool last = index->count == 1 && !index->options.keep_empty;
        enum vs_status status = last ? end_last(index, n) : partition_delete(p, (uint32_t)top->what);
        if (status == VS_OK && last)
            return false;
        if (status != VS_OK) {
            put_off(p, status == VS_CORRUPT ? BROKEN_MS : RETRY_MS);
            break;
        }
        index->count--;
        n++;
        late = clock_mono_ns() > until_ns;
    }
    tell_elements(index->store, index->db, index->key, index->key_len, n, false);
    return late;
}

/* One that is not open. */
static void open_part(struct partition *p)
{
    struct vs_index *index = p->index;
    uint32_t number = p->number;
    bool ready = partition_use(p);
    p = index_numbered(index, number);
    if (p->stub)
        put_off(p, ready ? BROKEN_MS : OPENING_MS);
}

/* True: time is up. */
static bool end_elements(struct vs_store *store, uint64_t until_ns)
{
    struct heap *parts = &store->expiry.parts;
    const struct heap_cell *top;
    while ((top = heap_top(parts)) && top->at <= expiry_now(store)) {
        struct partition *p = (struct partition *)(uintptr_t)top->what;
        bool late = false;
        if (!p->index || !in_keyspace(p->index))
            expiry_forget_part(p);
        else if (!p->stub)
            late = end_part(p, until_ns);
        else
            open_part(p);
        if (late || clock_mono_ns() > until_ns)
            return true;
    }
    return false;
}

void vs_set_clock(struct vs_store *store, uint64_t now_ms)
{
    atomic_store_explicit(&store->expiry.now_ms, now_ms, memory_order_relaxed);
}

void vs_set_expiry_hooks(struct vs_store *store, const struct vs_expiry_hooks *hooks)
{
    store->expiry.hooks = hooks ? *hooks : (struct vs_expiry_hooks){0};
}

uint64_t vs_next_deadline(const struct vs_store *store)
{
    const struct expiry *x = &store->expiry;
    const struct heap_cell *key = heap_top(&x->keys), *part = heap_top(&x->parts);
    uint64_t next = key ? key->at < x->retry_ms ? x->retry_ms : key->at : UINT64_MAX;
    return part && part->at < next ? part->at : next;
}

bool vs_expire(struct vs_store *store, unsigned budget_us)
{
    if (vs_next_deadline(store) > expiry_now(store))
        return false;
    uint64_t until_ns = clock_mono_ns() + (uint64_t)budget_us * 1000;
    store->expiry.runs = true;
    bool more = end_keys(store, until_ns) || end_elements(store, until_ns);
    store->expiry.runs = false;
    return more;
}
