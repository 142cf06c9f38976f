/* Which partitions are open. With a limit, the ones used longest ago are unloaded: what is left of such a one is
 * a stub, a struct partition with its numbers, its digests and where a snapshot's files hold it, without graph and map of
 * ids. The first use opens it again.
 *
 *   open --unload--> stub        a copy of the table with the stub in its place is published; the partition ends as a
 *                                removed one does: its jobs, a grace period, a worker frees it
 *   stub --use--> opening        a worker maps and checks (persist's vs_opener), restores aside
 *   opening --> open             the owner puts the new partition into a copy of the table, in vs_poll
 *           --> stub, failed     what is asked of it answers why; a later use tries again
 *
 * Only what a snapshot holds as it is can be unloaded: saved at this sequence number, linked as far as then, nothing
 * under way, not damaged, not pinned; and none while a cut runs, so that a part of it is either a stub or a graph for
 * the whole of it. A partition that came in changed, or that has not been saved, stays open beyond the limit, and is counted:
 * whoever takes snapshots sees that one is wanted (vs_open_status).
 *
 * The last used stand first in a list. A round of unloading looks at as many from its end as there are too many, in
 * slices; those just opened for somebody, or waiting for the others of a search, are passed over for a second. */
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "index/graph_restore.h"
#include "store/store_int.h"

#define HOLD_NS  1000000000ull  /* what was opened stays for its first use */
#define ROUND_NS 100000000ull   /* between rounds that found too little */
#define RETRY_NS 1000000000ull  /* after an opening that failed */

struct opening {
    struct pool_task task;
    struct opening *next;            /* among those that have ended, under store->lock */
    struct vs_store *store;
    uint64_t uid;
    uint32_t number;
    struct partition *p;             /* what is being built */
    struct vs_saved *saved;          /* a copy, so that a snapshot may end meanwhile */
    struct vs_opening request;
    char *key;
    struct vs_index_options options;
    enum vs_status status;
    struct buf why;
};

/* ---- the list ---- */

void open_attach(struct partition *p)
{
    struct open_set *set = &p->store->open;
    p->listed = true;
    if (p->stub) {
        set->closed++;
        return;
    }
    TAILQ_INSERT_HEAD(&set->used, p, used_link);
    set->n++;
}

void open_detach(struct partition *p)
{
    struct open_set *set = &p->store->open;
    if (!p->listed)
        return;
    p->listed = false;
    if (p->stub) {
        set->closed--;
        return;
    }
    if (set->cursor == p)
        set->cursor = TAILQ_PREV(p, used_list, used_link);
    TAILQ_REMOVE(&set->used, p, used_link);
    set->n--;
}

static void used_now(struct partition *p, uint64_t held_until_ns)
{
    struct open_set *set = &p->store->open;
    p->held_until_ns = held_until_ns;
    if (!p->listed || TAILQ_FIRST(&set->used) == p)
        return;
    if (set->cursor == p)
        set->cursor = TAILQ_PREV(p, used_list, used_link);
    TAILQ_REMOVE(&set->used, p, used_link);
    TAILQ_INSERT_HEAD(&set->used, p, used_link);
}

/* ---- stubs ---- */

struct partition *stub_new(struct vs_index *index, uint32_t number)
{
    struct partition *p = mem_try_zalloc(sizeof(*p));
    struct stub *stub = mem_try_zalloc(sizeof(*stub));
    if (!p || !stub) {
        mem_free(p);
        mem_free(stub);
        return NULL;
    }
    p->store = index->store;
    p->index = index;
    p->cut = index->store->env.cuts;
    p->seed = index->options.seed;
    p->number = number;
    p->stub = stub;
    stub->max_level = -1;
    return p;
}

void stub_free(struct stub *stub)
{
    if (!stub)
        return;
    mem_free(stub->reason);
    mem_free(stub);
}

enum vs_status stub_restore(struct partition *p, const struct vs_part_image *image)
{
    const struct graph_state *s = image->state;
    if (s->sequence != image->sequence)
        return VS_CORRUPT;
    p->sequence = image->sequence;
    p->digest = image->records_digest;
    p->attributes = image->attributes;
    p->pinned = image->pinned;
    p->stub->alive = image->alive;
    p->stub->deadlines = image->deadlines;
    p->stub->first_deadline_ms = image->first_deadline_ms;
    p->stub->linked = s->linked;
    p->stub->unlinked = s->graphed && image->alive > s->linked ? image->alive - s->linked : 0;
    p->stub->max_level = s->linked ? s->entry_level : -1;
    p->stub->linked_sequence = s->linked_sequence;
    p->stub->graph_digest = s->digest;
    return VS_OK;
}

static struct partition *stub_of(const struct partition *p, const struct graph_info *g)
{
    struct partition *s = stub_new(p->index, p->number);
    if (!s)
        return NULL;
    s->sequence = p->sequence;
    s->digest = p->digest;
    s->attributes = p->attributes;
    s->cut = p->cut;
    *s->stub = (struct stub){.alive = g->alive,
                             .deadlines = deadline_count(p),
                             .first_deadline_ms = deadline_first(p),
                             .linked = g->linked,
                             .unlinked = g->unlinked,
                             .dead = g->dead,
                             .max_level = g->max_level,
                             .linked_sequence = g->linked_sequence,
                             .graph_digest = g->digest};
    return s;
}

bool partition_exchange(struct partition *from, struct partition *to)
{
    struct vs_index *index = from->index;
    struct partition_table *old = index_table(index);
    struct partition_table *t = mem_try_alloc(sizeof(*t) + old->n * sizeof(t->part[0]));
    if (!t)
        return false;
    t->n = old->n;
    for (uint32_t i = 0; i < old->n; i++)
        t->part[i] = old->part[i] == from ? to : old->part[i];
    open_detach(from);
    open_attach(to);
    expiry_exchange(from, to);
    atomic_store_explicit(&index->table, t, memory_order_release);
    epoch_retire_free(index->store->epoch, old);
    partition_kill(from);
    return true;
}

/* ---- opening ---- */

static enum vs_status build(void *arg, const struct vs_part_image *image, struct buf *why)
{
    struct opening *o = arg;
    return partition_restore(o->p, image, why);
}

static void opening_task(struct pool_task *task, unsigned worker)
{
    struct opening *o = (struct opening *)((char *)task - offsetof(struct opening, task));
    struct vs_store *store = o->store;
    (void)worker;
    o->status = store->open.opener->open(store->open.opener->arg, &o->request, build, o, &o->why);
    pthread_mutex_lock(&store->lock);
    o->next = store->open.ended;
    store->open.ended = o;
    pthread_cond_signal(&store->news);
    void (*wake)(void *) = store->options.wake;
    void *wake_arg = store->options.wake_arg;
    bool tell = wake && !atomic_load_explicit(&store->closing, memory_order_relaxed);
    pthread_mutex_unlock(&store->lock);
    if (tell)
        wake(wake_arg);
}

static void opening_free(struct opening *o)
{
    if (o->saved)
        o->saved->free(o->saved);
    buf_release(&o->why);
    mem_free(o->key);
    mem_free(o);
}

static void failed(struct partition *p, enum vs_status status, const char *why)
{
    struct stub *stub = p->stub;
    mem_free(stub->reason);
    stub->reason = mem_strndup(why, strlen(why));
    stub->failed = status == VS_NOMEM ? VS_NOMEM : VS_CORRUPT;
    stub->retry_ns = clock_mono_ns() + RETRY_NS;
    p->store->open.failures++;
    if (!stub->told)
        log_warning("Partition %u of '%.*s' cannot be opened: %s", p->number,
                    (int)(p->index->key_len < 200 ? p->index->key_len : 200), p->index->key, why);
    stub->told = true;
}

static enum vs_status open_begin(struct partition *p)
{
    struct vs_store *store = p->store;
    const struct vs_opener *opener = store->open.opener;
    if (!opener || !p->saved)
        return VS_IO;
    struct opening *o = mem_try_zalloc(sizeof(*o));
    if (!o)
        return VS_NOMEM;
    o->saved = opener->copy(p->saved);
    o->p = partition_new(p->index, p->number);
    o->key = mem_try_strndup(p->index->key, p->index->key_len);
    if (!o->saved || !o->p || !o->key) {
        partition_free(o->p);
        opening_free(o);
        return VS_NOMEM;
    }
    o->store = store;
    o->uid = p->index->uid;
    o->number = p->number;
    o->options = p->index->options;
    o->request = (struct vs_opening){.saved = o->saved,
                                     .options = &o->options,
                                     .key = o->key,
                                     .key_len = p->index->key_len,
                                     .db = p->index->db};
    o->task.run = opening_task;
    p->stub->opening = o;
    store->open.opening++;
    pool_submit(store->pool, POOL_SEARCH, &o->task);
    pool_drain(store->pool);
    return VS_OK;
}

/* What a finished opening built takes the stub's place. False: out of memory. */
static bool take_place(struct opening *o, struct partition *stub)
{
    struct partition *p = o->p;
    const struct vs_opener *opener = p->store->open.opener;
    if (p->sequence != stub->sequence || p->digest != stub->digest) {
        failed(stub, VS_CORRUPT, "its files hold another state of it");
        return false;
    }
    p->pinned = stub->pinned;
    p->cut = stub->cut;
    /* A part of a cut that is under way goes on using the stub's. */
    struct vs_saved *saved = stub->in_cut ? opener ? opener->copy(stub->saved) : NULL : stub->saved;
    p->held_until_ns = clock_mono_ns() + HOLD_NS;
    if (!partition_exchange(stub, p)) {
        if (stub->in_cut && saved)
            saved->free(saved);
        failed(stub, VS_NOMEM, "not enough memory");
        return false;
    }
    p->saved = saved;
    if (!stub->in_cut)
        stub->saved = NULL;
    p->store->open.reloads++;
    partition_settle_in(p);
    return true;
}

static void opening_end(struct opening *o)
{
    struct vs_store *store = o->store;
    struct vs_index *index = keyspace_by_uid(store, o->uid);
    struct partition *stub = index ? index_numbered(index, o->number) : NULL;
    bool placed = false;
    store->open.opening--;
    if (stub && stub->stub && stub->stub->opening == o) {
        stub->stub->opening = NULL;
        if (o->status == VS_OK) {
            placed = take_place(o, stub);
        } else {
            buf_append(&o->why, "", 1);
            failed(stub, o->status, o->why.len > 1 ? o->why.data : vs_status_text(o->status));
        }
    }
    if (!placed) /* nobody has seen it */
        partition_kill(o->p);
    opening_free(o);
}

static bool end_openings(struct vs_store *store, uint64_t until_ns)
{
    if (!store->open.opening)
        return false;
    pthread_mutex_lock(&store->lock);
    struct opening *list = store->open.ended;
    store->open.ended = NULL;
    pthread_mutex_unlock(&store->lock);
    while (list) {
        struct opening *o = list;
        list = o->next;
        opening_end(o);
        if (!list || clock_mono_ns() <= until_ns)
            continue;
        pthread_mutex_lock(&store->lock);
        struct opening **tail = &store->open.ended;
        while (*tail)
            tail = &(*tail)->next;
        *tail = list;
        pthread_mutex_unlock(&store->lock);
        return true;
    }
    return false;
}

/* ---- use ---- */

enum vs_status stub_status(const struct partition *p)
{
    return p->stub->failed != VS_OK ? p->stub->failed : VS_BACKLOG;
}

static bool use_stub(struct partition *p)
{
    struct stub *stub = p->stub;
    if (stub->opening)
        return false;
    if (stub->failed != VS_OK && clock_mono_ns() < stub->retry_ns)
        return true; /* what is asked of it answers why */
    enum vs_status status = open_begin(p);
    if (status != VS_OK) {
        failed(p, status, status == VS_IO ? "its files are not at hand" : vs_status_text(status));
        return true;
    }
    if (pool_threads(p->store->pool))
        return false;
    end_openings(p->store, UINT64_MAX);
    return true;
}

bool partition_use(struct partition *p)
{
    if (p->stub)
        return use_stub(p);
    if (p->store->open.max)
        used_now(p, 0);
    return true;
}

void partition_hold(struct partition *p)
{
    if (!p->stub && p->store->open.max)
        used_now(p, clock_mono_ns() + HOLD_NS);
}

bool vs_ready(const struct vs_index *index, const void *id, size_t id_len)
{
    const struct open_set *set = &index->store->open;
    if (!set->max && !set->closed)
        return true;
    return partition_use(index_partition(index, id, id_len));
}

enum vs_status open_for_query(const struct vs_index *index, const struct vs_query *q)
{
    const struct open_set *set = &index->store->open;
    if (!set->max && !set->closed)
        return VS_OK;
    const struct partition_table *t = index_table(index);
    size_t n = q->partitions ? q->npartitions : t->n;
    bool all = true;
    for (size_t i = 0; i < n; i++) {
        size_t at = q->partitions ? q->partitions[i] : i;
        if (at < t->n && t->part[at]->stub && t->part[at]->stub->failed == VS_OK)
            all = false;
    }
    uint64_t until_ns = all ? 0 : clock_mono_ns() + HOLD_NS;
    enum vs_status status = VS_OK;
    bool ready = true;
    for (size_t i = 0; i < n; i++) {
        size_t at = q->partitions ? q->partitions[i] : i;
        if (at >= t->n)
            continue;
        if (t->part[at]->stub)
            ready &= use_stub(t->part[at]);
        else if (set->max)
            used_now(t->part[at], until_ns);
        t = index_table(index); /* opening without workers exchanges it */
        if (t->part[at]->stub && status == VS_OK && t->part[at]->stub->failed != VS_OK)
            status = t->part[at]->stub->failed;
    }
    return ready ? status : VS_BACKLOG;
}

enum vs_status open_wait(const struct vs_index *index, const void *id, size_t id_len)
{
    while (!vs_ready(index, id, id_len)) {
        vs_poll(index->store, 1000);
        struct timespec t = {0, 50000};
        nanosleep(&t, NULL);
    }
    const struct partition *p = index_partition(index, id, id_len);
    return p->stub ? stub_status(p) : VS_OK;
}

/* ---- unloading ---- */

static bool clean(const struct partition *p, const struct graph_info *g)
{
    const struct vs_opener *opener = p->store->open.opener;
    return p->saved && p->saved->sequence == p->sequence && p->saved->linked_sequence == g->linked_sequence &&
           opener->sound(opener->arg, p->saved);
}

/* False: it cannot be unloaded now. */
static bool unload(struct partition *p, uint64_t now_ns)
{
    struct open_set *set = &p->store->open;
    struct graph_info g;
    if (p->pinned || !p->index || p->held_until_ns > now_ns || graph_damaged(p->graph))
        return false;
    graph_info(p->graph, &g);
    if (!clean(p, &g)) {
        set->dirty++;
        return false;
    }
    if (graph_busy(p->graph) || p->in_cut)
        return false;
    struct partition *stub = stub_of(p, &g);
    if (!stub)
        return false;
    if (!partition_exchange(p, stub)) {
        partition_free(stub);
        return false;
    }
    stub->saved = p->saved;
    p->saved = NULL;
    set->unloads++;
    return true;
}

static bool unload_some(struct vs_store *store, uint64_t until_ns)
{
    struct open_set *set = &store->open;
    if (!set->max || set->n <= set->max) {
        set->wanting = 0;
        return false;
    }
    uint64_t now = clock_mono_ns();
    if (store->cut.active || !set->opener || now < set->again_ns)
        return false;
    if (!set->cursor) {
        set->cursor = TAILQ_LAST(&set->used, used_list);
        set->left = set->n - set->max;
        set->dirty = 0;
    }
    while (set->cursor && set->left && set->n > set->max) {
        struct partition *p = set->cursor;
        set->cursor = TAILQ_PREV(p, used_list, used_link);
        set->left -= !p->pinned; /* pinned ones count, others go in their place */
        unload(p, now);
        if ((now = clock_mono_ns()) > until_ns && set->cursor && set->left)
            return true;
    }
    set->cursor = NULL;
    set->wanting = set->dirty;
    set->again_ns = now + ROUND_NS;
    return false;
}

bool open_some(struct vs_store *store, uint64_t until_ns)
{
    bool more = end_openings(store, until_ns);
    return unload_some(store, until_ns) || more;
}

bool open_busy(const struct vs_store *store)
{
    return store->open.opening != 0;
}

/* ---- the interface ---- */

void vs_set_opener(struct vs_store *store, const struct vs_opener *opener)
{
    while (store->open.opening) {
        vs_poll(store, 1000);
        struct timespec t = {0, 50000};
        nanosleep(&t, NULL);
    }
    store->open.opener = opener;
}

void vs_set_open_max(struct vs_store *store, size_t max)
{
    store->open.max = max;
    store->open.again_ns = 0;
}

void vs_open_status(const struct vs_store *store, struct vs_open_status *out)
{
    const struct open_set *set = &store->open;
    *out = (struct vs_open_status){.max = set->max,
                                   .open = set->n,
                                   .unloaded = set->closed,
                                   .opening = set->opening,
                                   .unsaved = set->wanting,
                                   .unloads = set->unloads,
                                   .reloads = set->reloads,
                                   .failures = set->failures};
}
