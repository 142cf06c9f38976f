/* The owner's side of a graph: records come and go, batches close, views are published. See
 * graph.h. */
#include "index/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "index/graph_int.h"

/* ---- views ---- */

static void reclaim_view(struct epoch_item *item, void *arg)
{
    (void)arg;
    mem_free((char *)item - offsetof(struct graph_view, item));
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
        v->rows[i] = g->chunks[i]->rows;
        v->links[i] = g->chunks[i]->links;
    }
    for (uint32_t i = 0; i < g->nupper; i++)
        v->upper[i] = g->upper[i];
    for (uint32_t i = 0; i < g->nwaiting; i++)
        v->batches[i] = g->waiting[i];
    if (g->open)
        v->batches[g->nwaiting] = g->open;
    struct graph_view *old = atomic_exchange_explicit(&g->view, v, memory_order_acq_rel);
    if (old)
        epoch_retire(g->env->epoch, &old->item, reclaim_view, NULL);
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
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_RUNNING)
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
        if (word & TOMB)
            mem_free((void *)(uintptr_t)(word & ~TOMB));
        g->owner.freed(g->owner.arg, atomic_load_explicit(&c->user[i], memory_order_relaxed),
                       extra ? atomic_load_explicit(&extra[i], memory_order_relaxed) : NULL);
    }
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    job_free(g);
    while (g->released) {
        struct released *r = g->released;
        g->released = r->next;
        mem_free(r->slots);
        mem_free(r);
    }
    free_records(g);
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_READY)
        chunk_free(g->spare);
    free_batches(g->queue);
    free_batches(g->finished);
    if (g->open)
        mem_free(g->open);
    compact_release(g);
    for (uint32_t i = 0; i < g->nchunks; i++)
        chunk_free(g->chunks[i]);
    for (uint32_t i = 0; i < g->nupper; i++)
        mem_free((void *)g->upper[i]);
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

static struct batch *batch_new(void)
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
    g->open = batch_new();
    if (!g->open)
        return VS_NOMEM;
    enum vs_status status = graph_publish(g);
    if (status != VS_OK) {
        mem_free(g->open);
        g->open = NULL;
    }
    return status;
}

static void batch_append(struct batch *b, uint32_t slot)
{
    uint32_t n = atomic_load_explicit(&b->count, memory_order_relaxed);
    atomic_store_explicit(&b->slots[n], slot, memory_order_relaxed);
    atomic_store_explicit(&b->count, n + 1, memory_order_release);
}

/* Hands a closed batch to the linker. */
static void enqueue(struct graph *g, struct batch *b)
{
    pthread_mutex_lock(&g->lock);
    *g->queue_tail = b;
    g->queue_tail = &b->next;
    pthread_mutex_unlock(&g->lock);
}

/* ---- the first graph ---- */

struct by_born {
    uint64_t born;
    uint32_t slot;
};

static int compare_born(const void *x, const void *y)
{
    const struct by_born *a = x, *b = y;
    return a->born < b->born ? -1 : a->born > b->born;
}

static bool prepare_links(struct graph *g, const struct by_born *all, size_t n)
{
    for (uint32_t i = 0; i < g->nchunks; i++)
        if (!chunk_add_links(g->chunks[i]))
            return false;
    for (size_t i = 0; i < n; i++) {
        struct chunk *c = graph_chunk(g, all[i].slot);
        uint32_t at = slot_place(all[i].slot);
        if (c->level[at] && c->upper[at] == SLOT_NONE &&
            !graph_alloc_upper(g, c->level[at], &c->upper[at]))
            return false;
    }
    return true;
}

/* `n` records, by age, in as many batches as they need. NULL: out of memory. */
static struct batch **make_batches(const struct graph *g, const struct by_born *all, size_t n,
                                   size_t nbatches)
{
    struct batch **list = mem_try_alloc((nbatches + 8) * sizeof(struct batch *));
    if (!list)
        return NULL;
    for (size_t i = 0; i < nbatches; i++) {
        struct batch *b = list[i] = batch_new();
        if (!b) {
            while (i--)
                mem_free(list[i]);
            mem_free(list);
            return NULL;
        }
        for (size_t k = i * BATCH_SIZE; k < n && k < (i + 1) * BATCH_SIZE; k++)
            batch_append(b, all[k].slot);
        b->sequence = i + 1 < nbatches ? all[(i + 1) * BATCH_SIZE - 1].born : graph_sequence(g);
    }
    return list;
}

/* From scanned to linked: all alive records become batches, in order of their sequence numbers.
 * When memory is short the partition stays scanned, and the next closing tries again. */
static void convert(struct graph *g)
{
    struct by_born *all = mem_try_alloc(g->alive * sizeof(*all));
    size_t n = 0, nbatches = (g->alive + BATCH_SIZE - 1) / BATCH_SIZE;
    if (!all)
        return;
    for (uint32_t slot = 0; slot < g->slots && n < g->alive; slot++) {
        uint64_t word = atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)],
                                             memory_order_relaxed);
        if (word && !(word & TOMB))
            all[n++] = (struct by_born){word, slot};
    }
    qsort(all, n, sizeof(*all), compare_born);
    struct batch **list = prepare_links(g, all, n) ? make_batches(g, all, n, nbatches) : NULL;
    mem_free(all);
    if (!list)
        return;
    struct batch **before = g->waiting;
    uint32_t cap = g->waiting_cap;
    g->waiting = list;
    g->waiting_cap = (uint32_t)nbatches + 8;
    g->nwaiting = (uint32_t)nbatches;
    g->graphed = true;
    if (graph_publish(g) != VS_OK) { /* workers need the links that the new view shows */
        g->graphed = false;
        g->nwaiting = 0;
        g->waiting = before;
        g->waiting_cap = cap;
        for (size_t i = 0; i < nbatches; i++)
            mem_free(list[i]);
        mem_free(list);
        return;
    }
    mem_free(before);
    g->unlinked = n;
    for (size_t i = 0; i < nbatches; i++)
        enqueue(g, list[i]);
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
    vec_encode(&g->shape.codec, vector, tmp, c->rows + (size_t)i * g->shape.codec.row_bytes);
    if (c->originals)
        vec_original_store(g->shape.originals, vector, g->shape.codec.dim,
                           c->originals + (size_t)i * g->shape.original_bytes);
}

enum vs_status graph_insert(struct graph *g, const float *vector, uint64_t level_hash,
                            uint64_t sequence, void *user, void *extra, uint32_t *slot)
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
    if ((extra && !chunk_add_extra(c)) ||
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

void graph_kill(struct graph *g, uint32_t slot, uint64_t sequence)
{
    struct chunk *c = graph_chunk(g, slot);
    uint32_t i = slot_place(slot), alias = compact_alias(g, slot);
    struct tomb *t = mem_alloc(sizeof(*t));
    t->born = atomic_load_explicit(&c->born[i], memory_order_relaxed);
    t->died = sequence;
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
    /* A death cannot be refused: give readers' memory back and try again. */
    while (open_batch(g) != VS_OK)
        epoch_reclaim(g->env->epoch, SIZE_MAX);
    g->open->deaths[g->open->ndeaths++] = slot;
    g->dead++;
}

void graph_entry_done(struct graph *g, uint64_t sequence)
{
    atomic_store_explicit(&g->sequence, sequence, memory_order_release);
    if (!g->graphed) {
        if (g->flat_inserts >= BATCH_SIZE || g->flat_deaths >= BATCH_SIZE) {
            g->flat_inserts = g->flat_deaths = 0;
            if (!g->options.flat && g->alive >= GRAPH_MIN)
                convert(g);
        }
    } else if (g->open && (g->open->ninserts >= BATCH_SIZE || g->open->ndeaths >= BATCH_SIZE)) {
        struct batch *b = g->open;
        b->sequence = sequence;
        g->open = NULL;
        g->waiting[g->nwaiting++] = b; /* the view's list of batches is the same */
        enqueue(g, b);
    } else {
        return;
    }
    if (!g->job && g->compact.step == COMPACT_OFF && g->nwaiting)
        job_start_link(g);
}

/* ---- publishing what workers finished ---- */

static void reclaim_batch(struct epoch_item *item, void *arg)
{
    (void)arg;
    mem_free((char *)item - offsetof(struct batch, item));
}

static void take_finished(struct graph *g)
{
    pthread_mutex_lock(&g->lock);
    struct batch *b = g->finished;
    g->finished = NULL;
    g->finished_tail = &g->finished;
    pthread_mutex_unlock(&g->lock);
    if (!b)
        return;
    uint32_t n = 0;
    struct batch *first = b;
    for (; b; b = b->next, n++) {
        g->entry = b->entry;
        g->entry_level = b->entry_level;
        g->digest = b->digest;
        g->linked = b->linked;
        g->linked_sequence = b->sequence;
        g->unlinked -= atomic_load_explicit(&b->count, memory_order_relaxed);
        g->dead -= b->nrepaired;
    }
    g->nwaiting -= n;
    memmove(g->waiting, g->waiting + n, g->nwaiting * sizeof(struct batch *));
    /* The old view names these batches: all stays until there is memory for another. */
    if (graph_publish(g) != VS_OK) {
        while (graph_publish(g) != VS_OK)
            epoch_reclaim(g->env->epoch, SIZE_MAX);
    }
    for (b = first; b;) {
        struct batch *next = b->next;
        if (b->repaired)
            graph_release_later(g, b->repaired, b->nrepaired, false);
        epoch_retire(g->env->epoch, &b->item, reclaim_batch, NULL);
        b = next;
    }
}

bool graph_poll(struct graph *g, uint64_t until_ns)
{
    atomic_exchange(&g->ready, false); /* whoever found it true is seen below */
    if (g->retired)
        return false;
    take_finished(g);
    bool more = graph_release_some(g, until_ns);
    if (g->slots - g->nused > CHUNK_SLOTS)
        graph_drop_spare(g);
    if (!g->graphed && g->slots - g->nused >= CHUNK_SLOTS && g->compact.step == COMPACT_OFF &&
        !g->nreleasing)
        graph_drop_tail(g);
    if (g->job) {
        int state = atomic_load_explicit(&g->job_state, memory_order_acquire);
        if (state != JOB_ENDED)
            return more || state == JOB_ENDING;
        take_finished(g);
        job_free(g);
    }
    if (g->compact.step != COMPACT_OFF)
        return compact_step(g, until_ns) || more;
    pthread_mutex_lock(&g->lock);
    bool queued = g->queue != NULL;
    pthread_mutex_unlock(&g->lock);
    if (queued)
        job_start_link(g);
    else if (!more && compact_due(g))
        more = compact_begin(g);
    return more;
}

/* ---- looking at records ---- */

size_t graph_backlog(const struct graph *g)
{
    return g->unlinked;
}

size_t graph_alive(const struct graph *g)
{
    return g->alive;
}

const struct columns_shape *graph_shape(const struct graph *g)
{
    return &g->shape;
}

const void *graph_row(const struct graph *g, uint32_t slot)
{
    return graph_chunk(g, slot)->rows + (size_t)slot_place(slot) * g->shape.codec.row_bytes;
}

const void *graph_original(const struct graph *g, uint32_t slot)
{
    const struct chunk *c = graph_chunk(g, slot);
    return c->originals ? c->originals + (size_t)slot_place(slot) * g->shape.original_bytes : NULL;
}

void *graph_user(const struct graph *g, uint32_t slot)
{
    return atomic_load_explicit(&graph_chunk(g, slot)->user[slot_place(slot)],
                                memory_order_relaxed);
}

static void *chunk_extra(const struct chunk *c, uint32_t i)
{
    _Atomic(void *) *extra = atomic_load_explicit(&c->extra, memory_order_acquire);
    return extra ? atomic_load_explicit(&extra[i], memory_order_acquire) : NULL;
}

void *graph_extra(const struct graph *g, uint32_t slot)
{
    return chunk_extra(graph_chunk(g, slot), slot_place(slot));
}

static bool set_extra(struct graph *g, uint32_t slot, void *extra)
{
    struct chunk *c = graph_chunk(g, slot);
    if (!chunk_add_extra(c))
        return false;
    _Atomic(void *) *array = atomic_load_explicit(&c->extra, memory_order_relaxed);
    atomic_store_explicit(&array[slot_place(slot)], extra, memory_order_release);
    return true;
}

bool graph_set_extra(struct graph *g, uint32_t slot, void *extra)
{
    uint32_t alias = compact_alias(g, slot);
    if (alias != SLOT_NONE && !set_extra(g, alias, extra))
        return false;
    return set_extra(g, slot, extra);
}

uint64_t graph_born(const struct graph *g, uint32_t slot)
{
    return born_of(
        atomic_load_explicit(&graph_chunk(g, slot)->born[slot_place(slot)], memory_order_relaxed));
}

static void load_vector(const struct graph *g, const struct chunk *c, uint32_t i, float *out)
{
    if (c->originals)
        vec_original_load(g->shape.originals, c->originals + (size_t)i * g->shape.original_bytes,
                          g->shape.codec.dim, out);
    else
        vec_decode(&g->shape.codec, c->rows + (size_t)i * g->shape.codec.row_bytes, out);
}

void graph_vector(const struct graph *g, uint32_t slot, float *out)
{
    load_vector(g, graph_chunk(g, slot), slot_place(slot), out);
}

void *graph_view_user(const struct graph_view *v, uint32_t slot)
{
    return atomic_load_explicit(&view_chunk(v, slot)->user[slot_place(slot)], memory_order_acquire);
}

void *graph_view_extra(const struct graph_view *v, uint32_t slot)
{
    return chunk_extra(view_chunk(v, slot), slot_place(slot));
}

void graph_view_vector(const struct graph *g, const struct graph_view *v, uint32_t slot, float *out)
{
    load_vector(g, view_chunk(v, slot), slot_place(slot), out);
}

void graph_info(const struct graph *g, struct graph_info *out)
{
    memset(out, 0, sizeof(*out));
    out->alive = g->alive;
    out->linked = g->linked;
    out->unlinked = g->unlinked;
    out->dead = g->dead;
    out->free_slots = g->slots - g->nused;
    out->max_level = g->entry_level;
    out->linked_sequence = g->linked_sequence;
    out->digest = g->digest;
    for (uint32_t i = 0; i < g->nchunks; i++)
        chunk_bytes(&g->shape, g->chunks[i], &out->bytes);
    if (atomic_load_explicit(&g->spare_state, memory_order_acquire) == SPARE_READY)
        chunk_bytes(&g->shape, g->spare, &out->bytes);
    out->upper_bytes = (size_t)g->nupper * UPPER_BLOCKS * g->shape.m * sizeof(uint32_t);
    out->other_bytes = sizeof(*g) + g->slots / 8 + g->chunks_cap * sizeof(void *) +
                       (g->nwaiting + 1) * (g->open || g->nwaiting ? sizeof(struct batch) : 0) +
                       sizeof(struct graph_view) + 4 * g->nchunks * sizeof(void *);
}

bool graph_busy(const struct graph *g)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&g->lock;
    pthread_mutex_lock(lock);
    bool queued = g->queue != NULL || g->finished != NULL;
    pthread_mutex_unlock(lock);
    return queued || g->job || g->compact.step != COMPACT_OFF || g->nreleasing || compact_due(g);
}

void *graph_owner_arg(const struct graph *g)
{
    return g->owner.arg;
}
