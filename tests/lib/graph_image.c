/* See graph_bed.h: a cut read into memory, and restored from there. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/graph_bed.h"

#define GROUP_CHUNKS 3
#define BLOCK 8192                   /* of a memory region */
#define UPPER_CHUNK 1024             /* blocks of m words */

static size_t padded(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

static void *pages(size_t size)
{
    void *p = aligned_alloc(4096, padded(size ? size : 1));
    memset(p, 0, padded(size ? size : 1));
    return p;
}

/* ---- regions of memory ---- */

_Atomic int memory_regions;

struct memory_region {
    struct region r;
    uint8_t *pristine;
    size_t damaged;
    _Atomic uint8_t *good;           /* blocks */
    pthread_mutex_t lock;
};

static bool check(struct region *region, size_t at, size_t len)
{
    struct memory_region *m = (struct memory_region *)region;
    bool fine = true;
    assert_true(at <= region->size && len <= region->size - at);
    pthread_mutex_lock(&m->lock);    /* nobody writes into a block before it is good */
    for (size_t b = at / BLOCK; fine && len && b <= (at + len - 1) / BLOCK; b++) {
        if (m->good[b])
            continue;
        size_t end = (b + 1) * BLOCK < region->size ? (b + 1) * BLOCK : region->size;
        fine = memcmp(region->base + b * BLOCK, m->pristine + b * BLOCK, end - b * BLOCK) == 0;
        m->good[b] = fine;
    }
    if (!fine)
        atomic_store(&region->bad, true);
    pthread_mutex_unlock(&m->lock);
    return fine;
}

static void describe(struct region *region, struct buf *out)
{
    struct memory_region *m = (struct memory_region *)region;
    if (region_is_bad(region))
        buf_printf(out, "memory, offset %zu: damaged", m->damaged);
    else
        buf_puts(out, "memory");
}

static void release(struct region *region)
{
    struct memory_region *m = (struct memory_region *)region;
    free(region->base);
    free(m->pristine);
    free((void *)m->good);
    pthread_mutex_destroy(&m->lock);
    free(m);
    memory_regions--;
}

struct region *memory_region(const uint8_t *bytes, size_t size, size_t damaged)
{
    struct memory_region *m = calloc(1, sizeof(*m));
    m->r = (struct region){.base = pages(size), .size = size, .refs = 1, .check = check, .describe = describe,
                           .release = release};
    m->pristine = pages(size);
    m->good = calloc(size / BLOCK + 1, 1);
    m->damaged = damaged;
    pthread_mutex_init(&m->lock, NULL);
    memcpy(m->r.base, bytes, size);
    memcpy(m->pristine, bytes, size);
    if (damaged < size)
        m->r.base[damaged] ^= 0x10;
    memory_regions++;
    return &m->r;
}

/* ---- reading a cut ---- */

static void *dup(const void *p, size_t size)
{
    void *copy = malloc(size + 1);
    memcpy(copy, p ? p : "", size);
    return copy;
}

static struct graph_batch dup_batch(const struct graph_batch *b)
{
    return (struct graph_batch){b->sequence, b->count, b->ndeaths, dup(b->slots, b->count * sizeof(uint32_t)),
                                dup(b->deaths, b->ndeaths * sizeof(uint32_t))};
}

static void dup_state(struct graph_state *to, const struct graph_state *from)
{
    *to = *from;
    struct graph_batch *batches = calloc(from->nbatches + 1, sizeof(*batches));
    for (uint32_t i = 0; i < from->nbatches; i++)
        batches[i] = dup_batch(&from->batches[i]);
    to->batches = batches;
    to->open = dup_batch(&from->open);
    to->dead_nodes = dup(from->dead_nodes, from->ndead * sizeof(uint32_t));
    to->tombs = dup(from->tombs, from->ntombs * sizeof(struct graph_tomb));
}

static void lay_out(struct image *im, uint32_t n)
{
    const struct columns_shape *s = &im->shape;
    size_t S = CHUNK_SLOTS;
    im->links = 4096;
    im->upper = im->links + n * padded(S * 2 * s->m * 4);
    im->born = im->upper + im->state.nupper * padded((size_t)UPPER_CHUNK * s->m * 4);
    im->levels = im->born + n * S * 8;
    im->g_size = im->levels + 2 * n * 4096;
    im->g = pages(im->g_size);
    im->group_chunks = GROUP_CHUNKS;
    im->ngroups = (n + GROUP_CHUNKS - 1) / GROUP_CHUNKS;
    im->groups = calloc(im->ngroups + 1, sizeof(*im->groups));
    for (uint32_t k = 0; k < im->ngroups; k++) {
        struct image_group *g = &im->groups[k];
        g->rows = 4096;
        g->originals = g->rows + GROUP_CHUNKS * padded(S * s->codec.row_bytes);
        g->size = g->originals + GROUP_CHUNKS * padded(S * s->original_bytes);
        g->v = pages(g->size);
    }
    im->user = calloc(n * S + 1, sizeof(void *));
    im->extra = calloc(n * S + 1, sizeof(void *));
}

struct image *image_read(struct graph_cut *c, void (*pause)(void *arg), void *arg)
{
    struct image *im = calloc(1, sizeof(*im));
    const struct graph_state *state = graph_cut_state(c);
    assert_non_null(state);
    dup_state(&im->state, state);
    im->nbatches = state->nbatches;
    im->slots = state->slots;
    im->nupper = state->nupper;
    im->shape = *graph_cut_shape(c);
    uint32_t n = graph_cut_chunks(c);
    size_t S = CHUNK_SLOTS, m = im->shape.m;
    lay_out(im, n);
    for (uint32_t k = 0; k < n; k++) {
        if (pause)
            pause(arg);
        assert_true(graph_cut_links(c, k, (uint32_t *)(im->g + im->links + k * padded(S * 2 * m * 4))));
    }
    for (uint32_t k = 0; k < state->nupper; k++) {
        if (pause)
            pause(arg);
        assert_true(graph_cut_upper(c, k, (uint32_t *)(im->g + im->upper + k * padded(UPPER_CHUNK * m * 4))));
    }
    graph_cut_links_done(c);
    for (uint32_t k = 0; k < n; k++) {
        struct image_group *g = &im->groups[k / GROUP_CHUNKS];
        size_t i = k % GROUP_CHUNKS;
        if (pause)
            pause(arg);
        graph_cut_records(c, k, (uint64_t *)(im->g + im->born + k * S * 8), im->g + im->levels + k * 4096,
                          (uint32_t *)(im->g + im->levels + (n + k) * 4096), im->user + k * S, im->extra + k * S);
        assert_true(graph_cut_rows(c, k, g->v + g->rows + i * padded(S * im->shape.codec.row_bytes),
                                   im->shape.original_bytes ? g->v + g->originals + i * padded(S * im->shape.original_bytes) : NULL));
        uint64_t filled = graph_cut_filled(c, k);
        g->filled = filled > g->filled ? filled : g->filled;
    }
    assert_int_equal(graph_cut_aside(c), 0);
    return im;
}

static void free_batch(const struct graph_batch *b)
{
    free((void *)b->slots);
    free((void *)b->deaths);
}

void image_free(struct image *im)
{
    for (uint32_t i = 0; i < im->nbatches; i++)
        free_batch(&im->state.batches[i]);
    free_batch(&im->state.open);
    free((void *)im->state.batches);
    free((void *)im->state.dead_nodes);
    free((void *)im->state.tombs);
    for (uint32_t k = 0; k < im->ngroups; k++)
        free(im->groups[k].v);
    free(im->groups);
    free(im->g);
    free(im->user);
    free(im->extra);
    free(im);
}

/* ---- restoring ---- */

struct loading {
    const struct image *im;
    struct bed *b;
};

static bool on_record(void *arg, uint32_t slot, void **user, void **extra, struct buf *why)
{
    struct loading *x = arg;
    uintptr_t n = (uintptr_t)x->im->user[slot];
    if (n == 0 || n > x->b->nrecords) {
        buf_printf(why, "slot %u has no id", slot);
        return false;
    }
    x->b->records[n - 1].slot = slot;
    x->b->records[n - 1].alive = true;
    *user = x->im->user[slot];
    *extra = x->im->extra[slot];
    return true;
}

static enum vs_status restore_small(struct loading *x, struct buf *why)
{
    const struct image *im = x->im;
    size_t row_bytes = im->shape.codec.row_bytes, original_bytes = im->shape.original_bytes;
    enum vs_status status = VS_OK;
    for (uint32_t i = 0; i < im->state.slots && status == VS_OK; i++) {
        uint64_t born = ((uint64_t *)(im->g + im->born))[i];
        if (!born)
            continue;
        uint32_t slot;
        status = graph_restore_add(x->b->graph, born, im->g[im->levels + i], im->groups[0].v + im->groups[0].rows + i * row_bytes,
                                   im->groups[0].v + im->groups[0].originals + i * original_bytes, im->user[i], im->extra[i], &slot);
        if (status == VS_OK)
            x->b->records[(uintptr_t)im->user[i] - 1] = (struct bed_record){slot, true, false};
    }
    return status == VS_OK ? graph_restore_end(x->b->graph, &im->state, why) : status;
}

struct bed *image_restore(const struct image *im, const struct bed_options *o, uint32_t records, unsigned file,
                          size_t damage, enum vs_status *status, struct buf *why)
{
    struct bed *b = bed_new(o, records);
    struct loading x = {im, b};
    b->sequence = im->state.sequence;
    if (im->state.slots < CHUNK_SLOTS) {
        *status = restore_small(&x, why);
        graph_scrub(b->graph);
        return b;
    }
    struct region *g = memory_region(im->g, im->g_size, file == 0 ? damage : SIZE_MAX);
    g->check(g, im->upper, im->g_size - im->upper);
    struct graph_image_group *groups = calloc(im->ngroups + 1, sizeof(*groups));
    for (uint32_t k = 0; k < im->ngroups; k++)
        groups[k] = (struct graph_image_group){memory_region(im->groups[k].v, im->groups[k].size, file == k + 1 ? damage : SIZE_MAX),
                                               im->groups[k].rows, im->groups[k].originals, im->groups[k].filled};
    struct graph_image image = {.state = &im->state, .g = g, .links = im->links, .upper = im->upper, .born = im->born,
                                .levels = im->levels, .group_chunks = im->group_chunks, .groups = groups,
                                .record = on_record, .arg = &x};
    *status = graph_restore(b->graph, &image, why);
    region_unref(g);
    for (uint32_t k = 0; k < im->ngroups; k++)
        region_unref(groups[k].v);
    free(groups);
    if (*status == VS_OK) {
        graph_bring(b->graph, o->bring);
        graph_scrub(b->graph);
    }
    return b;
}

struct region *image_group_region(const struct image *im, uint32_t group)
{
    return memory_region(im->groups[group].v, im->groups[group].size, SIZE_MAX);
}
