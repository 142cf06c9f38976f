/* First touch, the scrub, and partitions that are damaged: see graph_touch.h and graph_restore.h.
 *
 * What a block's sum does not say is looked at here, too: a link must lead to a slot there is, or the
 * search that follows it reads beyond its arrays; a component must be a number. Both are one pass over
 * memory that has just been read. */
#include "index/graph_touch.h"

#include <sched.h>
#include <string.h>

#include "base/mem.h"
#include "index/graph_restore.h"

/* ---- damage ---- */

void touch_fail(struct graph *g, const char *text, size_t len)
{
    pthread_mutex_lock(&g->lock);
    if (!g->reason)
        g->reason = mem_strndup(text, len);
    atomic_store_explicit(&g->bad, true, memory_order_release);
    pthread_mutex_unlock(&g->lock);
    graph_notify(g);
}

static void fail_of_region(struct graph *g, struct region *r)
{
    struct buf text = {0};
    r->describe(r, &text);
    if (!text.len)
        buf_puts(&text, "a mapped file could not be read");
    touch_fail(g, text.data, text.len);
    buf_release(&text);
}

bool graph_damaged(const struct graph *g)
{
    return !touch_sound(g);
}

bool graph_is_bad(const struct graph *g, struct buf *why)
{
    if (!graph_damaged(g))
        return false;
    pthread_mutex_t *lock = (pthread_mutex_t *)&g->lock;
    pthread_mutex_lock(lock);
    buf_puts(why, g->reason ? g->reason : "");
    pthread_mutex_unlock(lock);
    return true;
}

/* A fault has been met somewhere: in a region of this graph? */
bool touch_faults(struct graph *g)
{
    uint32_t seen = atomic_load_explicit(&region_faults, memory_order_acquire);
    struct region *bad = NULL;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->nregions && !bad; i++)
        if (region_is_bad(g->regions[i]))
            bad = region_ref(g->regions[i]);
    if (!bad)
        atomic_store_explicit(&g->faults_seen, seen, memory_order_relaxed);
    pthread_mutex_unlock(&g->lock);
    if (!bad)
        return true;
    fail_of_region(g, bad);
    region_unref(bad);
    return false;
}

/* ---- one chunk ---- */

static bool check_part(struct graph *g, struct region *r, const void *part, size_t size)
{
    if (r->check(r, (size_t)((const uint8_t *)part - r->base), size) && !region_is_bad(r))
        return true;
    fail_of_region(g, r);
    return false;
}

static bool words_finite(const void *data, size_t n)
{
    const uint32_t *w = data;
    uint32_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= (w[i] & 0x7F800000u) == 0x7F800000u;
    return !any;
}

static bool halves_finite(const void *data, size_t n, uint16_t exponent)
{
    const uint16_t *w = data;
    uint16_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= (w[i] & exponent) == exponent;
    return !any;
}

#define ROW_HEADER 16 /* of vec/codec.h: factors, which may be infinite for extreme vectors */

static bool row_finite(const struct columns_shape *s, const uint8_t *row)
{
    const uint8_t *components = row + ROW_HEADER;
    switch (s->codec.type) {
    case VEC_F32: return words_finite(components, s->codec.dim);
    case VEC_F16: return halves_finite(components, s->codec.dim, 0x7C00);
    case VEC_BF16: return halves_finite(components, s->codec.dim, 0x7F80);
    default: return true; /* codes: any byte is one */
    }
}

static bool rows_finite(const struct columns_shape *s, const struct chunk *c)
{
    for (uint32_t i = 0; i < c->slots; i++)
        if (!row_finite(s, chunk_rows(c) + (size_t)i * c->row_bytes))
            return false;
    return true;
}

static bool originals_finite(const struct columns_shape *s, const struct chunk *c)
{
    size_t bytes = (size_t)c->slots * c->original_bytes;
    return s->originals == VEC_ORIG_F32
               ? words_finite(chunk_originals(c), bytes / sizeof(uint32_t))
               : halves_finite(chunk_originals(c), bytes / sizeof(uint16_t), 0x7C00);
}

static bool links_inside(const struct graph *g, const struct chunk *c)
{
    size_t n = chunk_links_bytes(c) / sizeof(uint32_t);
    uint32_t out = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t to = atomic_load_explicit(&c->links[i], memory_order_relaxed);
        out |= to >= g->restored_slots && to != SLOT_NONE;
    }
    return !out;
}

static bool fail_of_contents(struct graph *g, struct region *r, const void *part, const char *what)
{
    struct buf text = {0};
    r->describe(r, &text);
    buf_printf(&text, "%soffset %zu: %s", text.len ? ", " : "",
               (size_t)((const uint8_t *)part - r->base), what);
    touch_fail(g, text.data, text.len);
    buf_release(&text);
    return false;
}

static bool check_column(struct graph *g, struct chunk *c, enum column column)
{
    switch (column) {
    case COLUMN_ROWS:
        return check_part(g, c->rows_in, chunk_rows(c), (size_t)c->slots * c->row_bytes) &&
               (rows_finite(&g->shape, c) ||
                fail_of_contents(g, c->rows_in, chunk_rows(c), "a component is not a number"));
    case COLUMN_ORIGINALS:
        return check_part(g, c->originals_in, chunk_originals(c),
                          (size_t)c->slots * c->original_bytes) &&
               (originals_finite(&g->shape, c) ||
                fail_of_contents(g, c->originals_in, chunk_originals(c),
                                 "a component is not a number"));
    default:
        return check_part(g, c->graph_in, c->links, chunk_links_bytes(c)) &&
               (links_inside(g, c) || fail_of_contents(g, c->graph_in, (const void *)c->links,
                                                       "a link leads out of the partition"));
    }
}

/* One thread looks at a column, others wait for it: who comes back from here may write there, and must
 * not while it is still being read. */
static bool touch_column(struct graph *g, struct chunk *c, enum column column)
{
    while (atomic_load_explicit(&c->unchecked, memory_order_acquire) & column) {
        if (atomic_load_explicit(&g->bad, memory_order_acquire))
            return false;
        if (atomic_fetch_or_explicit(&c->checking, (uint8_t)column, memory_order_acq_rel) &
            column) {
            sched_yield();
            continue;
        }
        bool good = !(atomic_load_explicit(&c->unchecked, memory_order_acquire) & column) ||
                    check_column(g, c, column);
        if (good)
            atomic_fetch_and_explicit(&c->unchecked, (uint8_t)~column, memory_order_acq_rel);
        atomic_fetch_and_explicit(&c->checking, (uint8_t)~column, memory_order_acq_rel);
        if (!good)
            return false;
    }
    return true;
}

bool touch_columns(struct graph *g, struct chunk *c, uint8_t columns)
{
    static const enum column late[] = {COLUMN_ROWS, COLUMN_ORIGINALS, COLUMN_LINKS};
    bool good = !atomic_load_explicit(&g->bad, memory_order_acquire);
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]) && good; i++)
        if (columns & late[i])
            good = touch_column(g, c, late[i]);
    return good;
}

/* ---- the scrub ---- */

struct scrub_task {
    struct pool_task task;
    struct scrub *scrub;
};

/* All chunks there were when it was made: none is freed before it ends. */
struct scrub {
    struct graph *g;
    _Atomic uint32_t next;   /* chunk */
    _Atomic uint32_t active; /* tasks */
    uint32_t nchunks;
    struct chunk **chunks;
    unsigned ntasks;
    struct scrub_task tasks[];
};

static void scrub_task(struct pool_task *task, unsigned worker)
{
    struct scrub *s =
        ((struct scrub_task *)((char *)task - offsetof(struct scrub_task, task)))->scrub;
    struct graph *g = s->g;
    while (!atomic_load_explicit(&g->stop, memory_order_relaxed)) {
        uint32_t i = atomic_fetch_add(&s->next, 1);
        if (i >= s->nchunks ||
            !touch(g, s->chunks[i], COLUMN_ROWS | COLUMN_ORIGINALS | COLUMN_LINKS))
            break;
        bring_chunk(g, s->chunks[i], i);
        if (pool_should_yield(g->env->pool, worker)) {
            pool_submit(g->env->pool, POOL_LINK, task);
            return;
        }
    }
    if (atomic_fetch_sub(&s->active, 1) != 1)
        return;
    atomic_store_explicit(&g->scrub_state, SCRUB_ENDING, memory_order_release);
    graph_notify(g);
    atomic_store_explicit(&g->scrub_state, SCRUB_ENDED,
                          memory_order_release); /* the last touch of g */
}

bool scrub_make(struct graph *g)
{
    unsigned threads = pool_threads(g->env->pool), n = threads ? threads : 1;
    struct scrub *s = mem_try_zalloc(sizeof(*s) + n * sizeof(s->tasks[0]));
    struct chunk **chunks = mem_try_alloc(g->nchunks * sizeof(struct chunk *) + 1);
    if (!s || !chunks) {
        mem_free(s);
        mem_free(chunks);
        return false;
    }
    memcpy(chunks, g->chunks, g->nchunks * sizeof(struct chunk *));
    s->g = g;
    s->chunks = chunks;
    s->nchunks = g->nchunks;
    s->ntasks = n;
    for (unsigned i = 0; i < n; i++) {
        s->tasks[i].task.run = scrub_task;
        s->tasks[i].scrub = s;
    }
    g->scrub = s;
    return true;
}

void scrub_free(struct graph *g)
{
    if (g->scrub)
        mem_free(g->scrub->chunks);
    bring_free(g);
    mem_free(g->scrub);
    g->scrub = NULL;
}

void graph_scrub(struct graph *g)
{
    struct scrub *s = g->scrub;
    int state = atomic_load_explicit(&g->scrub_state, memory_order_relaxed);
    if (!s || state != SCRUB_NONE) {
        graph_notify(g);
        return;
    }
    atomic_store_explicit(&g->scrub_state, SCRUB_RUNNING, memory_order_relaxed);
    unsigned n = s->ntasks;
    atomic_store(&s->active, n);
    for (unsigned i = 0; i < n; i++) /* the last may end the scrub: n is ours */
        pool_submit(g->env->pool, POOL_LINK, &s->tasks[i].task);
}

void scrub_end(struct graph *g)
{
    pthread_mutex_lock(&g->lock);
    struct scrub *s = g->scrub;
    g->scrub = NULL;
    pthread_mutex_unlock(&g->lock);
    atomic_store_explicit(&g->scrub_state, SCRUB_NONE, memory_order_relaxed);
    mem_free(s->chunks);
    mem_free(s);
    bring_end(g);
    graph_publish(g); /* without memory for it searches go on asking chunk by chunk */
}

bool graph_unchecked(const struct graph *g)
{
    return g->scrub != NULL;
}

void graph_scrubbed(const struct graph *g, size_t *checked, size_t *all)
{
    *checked = *all = 0;
    for (uint32_t i = 0; i < g->nchunks; i++) {
        const struct chunk *c = g->chunks[i];
        uint8_t left = atomic_load_explicit(&c->unchecked, memory_order_relaxed);
        size_t size = (c->mapped & COLUMN_ROWS ? (size_t)c->slots * c->row_bytes : 0) +
                      (c->mapped & COLUMN_ORIGINALS ? (size_t)c->slots * c->original_bytes : 0) +
                      (c->mapped & COLUMN_LINKS ? chunk_links_bytes(c) : 0);
        *all += size;
        *checked += left ? 0 : size;
    }
}
