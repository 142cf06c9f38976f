/* The owner's side of a graph: records come and go, batches close, views are published. See
 * graph.h. */
#include "index/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_int.h"
#include "index/graph_touch.h"

/* ---- views ---- */

static void reclaim_view(struct epoch_item *item, void *arg)
{
    (void)arg;
    mem_free((char *)item - offsetof(struct graph_view, item));
}

void graph_retire_view(struct graph *g, struct graph_view *v)
{
    if (v && g->building)
        mem_free(v);
    else if (v)
        epoch_retire(g->env->epoch, &v->item, reclaim_view, NULL);
}

enum vs_status graph_publish(struct graph *g)
{
    uint32_t nbatches = g->nwaiting + (g->open ? 1 : 0);
    size_t pointers = 3 * (size_t)g->nchunks + g->nupper + nbatches;
    struct graph_view *v = mem_try_alloc(sizeof(*v) + pointers * sizeof(void *));
    if (!v)
        return VS_NOMEM;
    v->nchunks = g->nchunks;
    v->slots = g->slots;
    v->nupper = g->nupper;
    v->entry = g->entry;
    v->entry_level = g->entry_level;
    v->scanned = !g->graphed;
    v->unchecked = g->scrub != NULL;
    v->nbatches = nbatches;
    v->records = g->linked + (size_t)nbatches * BATCH_SIZE;
    void **p = (void **)(v + 1);
    v->chunks = (struct chunk **)p;
    v->rows = (uint8_t **)(p += g->nchunks);
    v->links = (_Atomic uint32_t **)(p += g->nchunks);
    v->upper = (_Atomic uint32_t **)(p += g->nchunks);
    v->batches = (struct batch **)(p + g->nupper);
    for (uint32_t i = 0; i < g->nchunks; i++) {
        v->chunks[i] = g->chunks[i];
        v->rows[i] = chunk_rows(g->chunks[i]);
        v->links[i] = g->chunks[i]->links;
    }
    for (uint32_t i = 0; i < g->nupper; i++)
        v->upper[i] = g->upper[i];
    for (uint32_t i = 0; i < g->nwaiting; i++)
        v->batches[i] = g->waiting[i];
    if (g->open)
        v->batches[g->nwaiting] = g->open;
    graph_retire_view(g, atomic_exchange_explicit(&g->view, v, memory_order_acq_rel));
    map_retire(g);
    return VS_OK;
}

struct graph_view *graph_view(const struct graph *g)
{
    return atomic_load_explicit(&g->view, memory_order_acquire);
}

uint64_t graph_sequence(const struct graph *g)
{
    return atomic_load_explicit(&g->sequence, memory_order_acquire);
}

void graph_notify(struct graph *g)
{
    if (!atomic_exchange(&g->ready, true))
        g->env->ready(g->env, g);
}

bool graph_has_news(const struct graph *g)
{
    return atomic_load_explicit(&g->ready, memory_order_relaxed);
}

/* ---- life ---- */

struct graph *graph_new(struct graph_env *env, const struct graph_options *o,
                        const struct graph_owner *owner)
{
    struct graph *g = mem_aligned(64, sizeof(*g));
    g->env = env;
    g->owner = *owner;
    g->options = *o;
    vec_codec_init(&g->shape.codec, o->type, o->metric, o->dim);
    g->shape.originals = vec_type_holds(o->type, o->originals) ? VEC_ORIG_NONE : o->originals;
    g->shape.original_bytes = vec_original_bytes(g->shape.originals, o->dim);
    g->shape.m = o->m;
    g->entry = SLOT_NONE;
    g->entry_level = -1;
    g->queue_tail = &g->queue;
    g->finished_tail = &g->finished;
    pthread_mutex_init(&g->lock, NULL);
    if (!searcher_reserve(env->scratch, &g->shape, 0, 1) || graph_publish(g) != VS_OK) {
        pthread_mutex_destroy(&g->lock);
        mem_free(g);
        return NULL;
    }
    return g;
}

void graph_retire(struct graph *g)
{
    g->retired = true;
    atomic_store_explicit(&g->stop, true, memory_order_relaxed);
}

bool graph_idle(const struct graph *g)
{
    int scrub = atomic_load_explicit(&g->scrub_state, memory_order_acquire);
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_RUNNING ||
        scrub == SCRUB_RUNNING || scrub == SCRUB_ENDING)
        return false;
    return !g->job || atomic_load_explicit(&g->job_state, memory_order_acquire) == JOB_ENDED;
}

static void free_batches(struct batch *b)
{
    while (b) {
        struct batch *next = b->next;
        mem_free(b->repaired);
        mem_free(b);
        b = next;
    }
}

static void free_records(struct graph *g)
{
    for (uint32_t slot = 0; slot < g->slots; slot++) {
        if (!(g->used[slot / 64] >> (slot & 63) & 1))
            continue;
        struct chunk *c = graph_chunk(g, slot);
        uint32_t i = slot_place(slot);
        uint64_t word = atomic_load_explicit(&c->born[i], memory_order_relaxed);
        _Atomic(void *) *extra = atomic_load_explicit(&c->extra, memory_order_relaxed);
        uint32_t alias = compact_alias(g, slot);
        if (!word || (alias != SLOT_NONE && alias < slot))
            continue; /* a target not filled yet, or the second copy of a moved record */
        void *x = extra && !tomb_dropped(word) ? atomic_load_explicit(&extra[i], memory_order_relaxed) : NULL;
        if (word & TOMB)
            mem_free((void *)(uintptr_t)(word & ~TOMB));
        g->owner.freed(g->owner.arg, atomic_load_explicit(&c->user[i], memory_order_relaxed), x);
    }
}

static void free_released(struct released *r)
{
    while (r) {
        struct released *next = r->next;
        mem_free(r->slots);
        mem_free(r);
        r = next;
    }
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    job_free(g);
    free_released(g->released);
    free_released(g->held);
    free_records(g);
    scrub_free(g);
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_READY)
        chunk_free(g->spare);
    free_batches(g->queue);
    free_batches(g->finished);
    free_batches(g->unpublished);
    if (g->open)
        mem_free(g->open);
    compact_release(g);
    for (uint32_t i = 0; i < g->nchunks; i++)
        chunk_free(g->chunks[i]);
    for (uint32_t i = g->upper_mapped; i < g->nupper; i++)
        mem_free((void *)g->upper[i]);
    map_free(g);
    mem_free(g->reason);
    for (int l = 0; l <= GRAPH_LEVEL_MAX; l++)
        mem_free(g->upper_free[l]);
    mem_free(g->chunks);
    mem_free(g->upper);
    mem_free(g->used);
    mem_free(g->waiting);
    mem_free(g->dead_nodes);
    mem_free(graph_view(g));
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* ---- batches ---- */

struct batch *graph_batch_new(void)
{
    return mem_try_zalloc(sizeof(struct batch));
}

/* Makes sure that a batch is open and there is room to close it later. */
static enum vs_status open_batch(struct graph *g)
{
    if (g->open)
        return VS_OK;
    if (g->nwaiting == g->waiting_cap) {
        uint32_t cap = g->waiting_cap ? 2 * g->waiting_cap : 8;
        struct batch **waiting = mem_try_realloc(g->waiting, cap * sizeof(struct batch *));
        if (!waiting)
            return VS_NOMEM;
        g->waiting = waiting;
        g->waiting_cap = cap;
    }
    g->open = graph_batch_new();
    if (!g->open)
        return VS_NOMEM;
    enum vs_status status = graph_publish(g);
    if (status != VS_OK) {
        mem_free(g->open);
        g->open = NULL;
    }
    return status;
}

void graph_enqueue(struct graph *g, struct batch *b)
{
    pthread_mutex_lock(&g->lock);
    *g->queue_tail = b;
    g->queue_tail = &b->next;
    pthread_mutex_unlock(&g->lock);
}

/* ---- entries ---- */

static int draw_level(const struct graph *g, uint64_t hash)
{
    int level = 0;
    uint64_t h = hash_mix(hash ^ g->options.seed);
    while (level < GRAPH_LEVEL_MAX && h % g->shape.m == 0) {
        h = hash_mix(h);
        level++;
    }
    return level;
}

static void fill_slot(struct graph *g, uint32_t slot, const float *vector, float *tmp)
{
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot);
    vec_encode(&g->shape.codec, vector, tmp, chunk_rows(c) + (size_t)i * g->shape.codec.row_bytes);
    if (chunk_originals(c))
        vec_original_store(g->shape.originals, vector, g->shape.codec.dim,
                           chunk_originals(c) + (size_t)i * g->shape.original_bytes);
    atomic_store_explicit(&c->filled, g->env->cuts + 1, memory_order_relaxed);
}

enum vs_status graph_insert(struct graph *g, const float *vector, uint64_t level_hash,
                            uint64_t sequence, void *user, void *extra, uint64_t deadline, uint32_t *slot)
{
    bool scanned = !g->graphed;
    enum vs_status status = scanned ? VS_OK : open_batch(g);
    uint32_t s;
    if (status == VS_OK)
        status = graph_alloc_slot(g, SLOT_NONE, &s);
    if (status != VS_OK)
        return status;
    struct chunk *c = graph_chunk(g, s);
    uint32_t i = slot_place(s);
    int level = draw_level(g, level_hash);
    if (!touch(g, c, COLUMN_ROWS | COLUMN_ORIGINALS)) {
        graph_unalloc_slot(g, s);
        return VS_CORRUPT;
    }
    if ((extra && !chunk_add_extra(c)) || (deadline && !chunk_add_deadlines(c)) ||
        (!scanned && level && !graph_alloc_upper(g, level, &c->upper[i]))) {
        graph_unalloc_slot(g, s);
        return VS_NOMEM;
    }
    c->level[i] = (uint8_t)level;
    fill_slot(g, s, vector, g->env->scratch->tmp);
    atomic_store_explicit(&c->user[i], user, memory_order_relaxed);
    if (extra)
        atomic_store_explicit(&atomic_load_explicit(&c->extra, memory_order_relaxed)[i], extra,
                              memory_order_relaxed);
    if (deadline)
        atomic_store_explicit(&atomic_load_explicit(&c->deadline, memory_order_relaxed)[i], deadline,
                              memory_order_relaxed);
    atomic_store_explicit(&c->born[i], sequence, memory_order_release);
    g->alive++;
    if (scanned) {
        g->flat_inserts++;
    } else {
        batch_append(g->open, s);
        g->open->ninserts++;
        g->unlinked++;
    }
    *slot = s;
    return VS_OK;
}

enum vs_status graph_kill_room(struct graph *g)
{
    if (g->graphed)
        return open_batch(g);
    return g->compact.step == COMPACT_OFF || compact_late_room(g) ? VS_OK : VS_NOMEM;
}

void graph_set_row(struct graph *g, uint32_t slot, const void *row, const void *original)
{
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot);
    memcpy(chunk_rows(c) + (size_t)i * g->shape.codec.row_bytes, row, g->shape.codec.row_bytes);
    if (chunk_originals(c))
        memcpy(chunk_originals(c) + (size_t)i * g->shape.original_bytes, original, g->shape.original_bytes);
}

void graph_kill(struct graph *g, uint32_t slot, uint64_t sequence)
{
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot), alias = compact_alias(g, slot);
    struct tomb *t = mem_alloc(sizeof(*t));
    t->born = atomic_load_explicit(&c->born[i], memory_order_relaxed);
    t->died = sequence;
    t->extra = NULL;
    t->dropped = false;
    uint64_t word = (uint64_t)(uintptr_t)t | TOMB;
    atomic_store_explicit(&c->born[i], word, memory_order_release);
    if (alias != SLOT_NONE)
        atomic_store_explicit(&graph_chunk(g, alias)->born[slot_place(alias)], word,
                              memory_order_release);
    g->alive--;
    if (!g->graphed && g->compact.step != COMPACT_OFF) {
        g->flat_deaths++;
        compact_late(g, slot);
        return;
    }
    if (!g->graphed) {
        uint32_t *one = mem_alloc(sizeof(*one));
        *one = slot;
        g->flat_deaths++;
        graph_release_later(g, one, 1, false);
        return;
    }
    g->open->deaths[g->open->ndeaths++] = slot;
    g->dead++;
}

static void reclaim_extra(struct epoch_item *item, void *arg)
{
    struct graph *g = arg;
    struct tomb *t = (struct tomb *)((char *)item - offsetof(struct tomb, drop));
    void *extra = t->extra;
    t->extra = NULL;
    g->ndropping--;
    g->owner.dropped(g->owner.arg, extra);
}

void graph_drop_extra(struct graph *g, uint32_t slot)
{
    if (!g->graphed || g->building)
        return;
    uint64_t word = atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)], memory_order_relaxed);
    struct tomb *t = (struct tomb *)(uintptr_t)(word & ~TOMB);
    t->extra = graph_extra(g, slot);
    t->dropped = true;
    g->ndropping++;
    epoch_retire(g->env->epoch, &t->drop, reclaim_extra, g); /* before the tomb, and before the graph */
}

void graph_entry_done(struct graph *g, uint64_t sequence)
{
    atomic_store_explicit(&g->sequence, sequence, memory_order_release);
    if (!g->graphed) {
        if (g->flat_inserts >= BATCH_SIZE || g->flat_deaths >= BATCH_SIZE) {
            g->flat_inserts = g->flat_deaths = 0;
            if (!g->options.flat && g->alive >= GRAPH_MIN)
                graph_first(g);
        }
    } else if (g->open && (g->open->ninserts >= BATCH_SIZE || g->open->ndeaths >= BATCH_SIZE)) {
        struct batch *b = g->open;
        b->sequence = sequence;
        g->open = NULL;
        g->waiting[g->nwaiting++] = b; /* the view's list of batches is the same */
        graph_enqueue(g, b);
    } else {
        return;
    }
    job_link_if_due(g);
}

/* ---- publishing what workers finished ---- */

static void reclaim_batch(struct epoch_item *item, void *arg)
{
    struct batch *b = (struct batch *)((char *)item - offsetof(struct batch, item));
    (void)arg;
    b->reclaimed = true;
    if (!b->held)
        mem_free(b);
}

/* Those that no view names any more. */
static void retire_finished(struct graph *g)
{
    for (struct batch *b = g->unpublished; b;) {
        struct batch *next = b->next;
        if (b->repaired)
            graph_release_later(g, b->repaired, b->nrepaired, false);
        b->repaired = NULL;
        epoch_retire(g->env->epoch, &b->item, reclaim_batch, NULL);
        b = next;
    }
    g->unpublished = NULL;
}

static struct batch *next_finished(struct graph *g)
{
    pthread_mutex_lock(&g->lock);
    struct batch *b = g->finished;
    g->finished = NULL;
    g->finished_tail = &g->finished;
    pthread_mutex_unlock(&g->lock);
    return b;
}

/* False: the view still names batches that are linked, for want of memory for another. Then all that
 * it shows stays, and the next poll tries again; searches meet a record twice meanwhile, which they
 * know as one. */
static bool take_finished(struct graph *g)
{
    struct batch *first = g->unpublished ? NULL : next_finished(g);
    uint32_t n = 0;
    for (struct batch *b = first; b; b = b->next, n++) {
        g->entry = b->entry;
        g->entry_level = b->entry_level;
        g->digest = b->digest;
        g->linked = b->linked;
        g->linked_sequence = b->sequence;
        g->unlinked -= atomic_load_explicit(&b->count, memory_order_relaxed);
        g->dead -= b->nrepaired;
    }
    g->nwaiting -= n;
    if (n > 0)
        memmove(g->waiting, g->waiting + n, g->nwaiting * sizeof(struct batch *));
    if (first)
        g->unpublished = first;
    if (g->unpublished && graph_publish(g) != VS_OK) {
        graph_notify(g);
        return false;
    }
    retire_finished(g);
    return true;
}

bool graph_poll(struct graph *g, uint64_t until_ns)
{
    atomic_exchange(&g->ready, false); /* whoever found it true is seen below */
    if (g->retired)
        return false;
    if (!take_finished(g))
        return false;
    bool more = false;
    if (g->slots - g->nused > CHUNK_SLOTS)
        graph_drop_spare(g);
    if (g->scrub) {
        int state = atomic_load_explicit(&g->scrub_state, memory_order_acquire);
        if (state == SCRUB_ENDED)
            scrub_end(g);
        more |= state == SCRUB_ENDING;
    }
    more |= graph_release_some(g, until_ns); /* behind the scrub's end, which it waits for */
    if (!g->graphed && g->slots - g->nused >= CHUNK_SLOTS && g->compact.step == COMPACT_OFF &&
        !g->nreleasing)
        graph_drop_tail(g);
    if (g->job) {
        int state = atomic_load_explicit(&g->job_state, memory_order_acquire);
        if (state != JOB_ENDED)
            return more || state == JOB_ENDING;
        if (!take_finished(g))
            return false;
        job_free(g);
    }
    if (g->compact.step != COMPACT_OFF)
        return compact_step(g, until_ns) || more;
    if (g->stamp.step == CUT_WANTED)
        cut_take(g);
    job_link_if_due(g);
    if (!g->job && !more && compact_due(g))
        more = compact_begin(g);
    return more;
}
