#include "lib/cut_image.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "index/graph.h"
#include "index/graph_cut.h"
#include "index/region.h"

#define S CHUNK_SLOTS
#define UPPER_WORDS(m) ((size_t)1024 * (m)) /* blocks of a chunk of upper links */

struct cut_image {
    struct vs_store *store;
    uint32_t group_chunks;
    pthread_t thread;
    pthread_mutex_t lock;
    bool held;
    pthread_cond_t more;
    struct vs_cut_part *ready;       /* under lock, as the next ones */
    size_t nready, nread, nparts;
    bool walked, failed, stop, joined;
    struct cut_image_part *parts;    /* the thread's until it is joined */
    bool unread;                     /* the thread met damage or no memory */
};

/* ---- regions on the heap ---- */

static _Atomic size_t regions;

static bool always(struct region *r, size_t at, size_t len)
{
    (void)r, (void)at, (void)len;
    return true;
}

static void describe(struct region *r, struct buf *out)
{
    (void)r;
    buf_puts(out, "a region of the test");
}

static void release(struct region *r)
{
    free(r->base);
    free(r);
    atomic_fetch_sub(&regions, 1);
}

size_t cut_image_regions(void)
{
    return atomic_load(&regions);
}

static size_t padded(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

static struct region *region_new(size_t size)
{
    struct region *r = calloc(1, sizeof(*r));
    r->size = padded(size ? size : 1);
    r->base = aligned_alloc(4096, r->size);
    memset(r->base, 0, r->size);
    atomic_init(&r->refs, 1);
    r->check = always;
    r->describe = describe;
    r->release = release;
    atomic_fetch_add(&regions, 1);
    return r;
}

static void *copy(const void *from, size_t size)
{
    void *p = malloc(size ? size : 1);
    if (size)
        memcpy(p, from, size);
    return p;
}

/* ---- one part, by the thread ---- */

static struct graph_state *copy_state(const struct graph_state *s)
{
    struct graph_state *out = copy(s, sizeof(*s));
    struct graph_batch *batches = copy(s->batches, s->nbatches * sizeof(*batches));
    for (uint32_t i = 0; i < s->nbatches; i++) {
        batches[i].slots = copy(s->batches[i].slots, s->batches[i].count * sizeof(uint32_t));
        batches[i].deaths = copy(s->batches[i].deaths, s->batches[i].ndeaths * sizeof(uint32_t));
    }
    out->batches = batches;
    out->open.slots = copy(s->open.slots, s->open.count * sizeof(uint32_t));
    out->open.deaths = copy(s->open.deaths, s->open.ndeaths * sizeof(uint32_t));
    out->dead_nodes = copy(s->dead_nodes, s->ndead * sizeof(uint32_t));
    out->tombs = copy(s->tombs, s->ntombs * sizeof(struct graph_tomb));
    return out;
}

static void free_state(const struct graph_state *s)
{
    for (uint32_t i = 0; i < s->nbatches; i++) {
        free((void *)(uintptr_t)s->batches[i].slots);
        free((void *)(uintptr_t)s->batches[i].deaths);
    }
    free((void *)(uintptr_t)s->batches);
    free((void *)(uintptr_t)s->open.slots);
    free((void *)(uintptr_t)s->open.deaths);
    free((void *)(uintptr_t)s->dead_nodes);
    free((void *)(uintptr_t)s->tombs);
    free((void *)(uintptr_t)s);
}

struct cell {
    uint64_t hash;
    uint32_t slot, zero;
};

static int compare_cells(const void *x, const void *y)
{
    const struct cell *a = x, *b = y;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

struct records { /* of all chunks */
    uint64_t *born, *deadline;
    uint8_t *level;
    uint32_t *upper;
    void **user, **extra;
    uint32_t n;
};

static void read_records(const struct graph_cut *c, struct records *r)
{
    uint32_t chunks = graph_cut_chunks(c);
    r->n = chunks * S;
    r->born = calloc(r->n + 1, sizeof(*r->born));
    r->level = calloc(r->n + 1, 1);
    r->upper = calloc(r->n + 1, sizeof(*r->upper));
    r->user = calloc(r->n + 1, sizeof(*r->user));
    r->extra = calloc(r->n + 1, sizeof(*r->extra));
    r->deadline = calloc(r->n + 1, sizeof(*r->deadline));
    for (uint32_t k = 0; k < chunks; k++) {
        graph_cut_records(c, k, r->born + k * S, r->level + k * S, r->upper + k * S, r->user + k * S, r->extra + k * S);
        graph_cut_deadlines(c, k, r->deadline + k * S);
    }
}

static void free_records(struct records *r)
{
    free(r->born);
    free(r->level);
    free(r->upper);
    free(r->user);
    free(r->extra);
    free(r->deadline);
}

static bool is_tomb(const struct graph_state *s, uint32_t slot)
{
    for (uint32_t i = 0; i < s->ntombs; i++)
        if (s->tombs[i].slot == slot)
            return true;
    return false;
}

static size_t stored_id(const void *user)
{
    size_t len;
    vs_cut_id(user, &len);
    return len + (len < 255 ? 1 : 5);
}

static void read_small(struct vs_cut_part *p, const struct records *r, struct cut_image_part *out)
{
    const struct columns_shape *shape = graph_cut_shape(p->cut);
    struct vs_part_image *im = &out->image;
    struct buf b = {0}, ids = {0}, attributes = {0};
    uint32_t n = 0, slots[S];
    for (uint32_t i = 0; i < r->n; i++)
        if (r->born[i])
            slots[n++] = i;
    uint32_t head[2] = {n, 0}, none = UINT32_MAX;
    buf_append(&b, head, sizeof(head));
    for (uint32_t i = 0; i < n; i++)
        buf_append(&b, &r->born[slots[i]], 8);
    for (uint32_t i = 0; i < n; i++)
        buf_append(&b, &r->level[slots[i]], 1);
    while (b.len % 16)
        buf_append(&b, "", 1);
    uint8_t *rows = malloc((size_t)S * shape->codec.row_bytes), *originals = malloc((size_t)S * shape->original_bytes + 1);
    if (r->n && !graph_cut_rows(p->cut, 0, rows, shape->original_bytes ? originals : NULL))
        abort();
    for (uint32_t i = 0; i < n; i++)
        buf_append(&b, rows + (size_t)slots[i] * shape->codec.row_bytes, shape->codec.row_bytes);
    for (uint32_t i = 0; i < n; i++)
        buf_append(&b, originals + (size_t)slots[i] * shape->original_bytes, shape->original_bytes);
    for (uint32_t i = 0; i < n; i++) {
        size_t len;
        const void *data = vs_cut_attributes(p, r->user[slots[i]], r->extra[slots[i]], &len);
        uint32_t len32 = (uint32_t)len;
        buf_append(&ids, r->user[slots[i]], stored_id(r->user[slots[i]]));
        buf_append(&attributes, data ? &len32 : &none, 4);
        if (data)
            buf_append(&attributes, data, len);
    }
    buf_append(&b, ids.data, ids.len);
    buf_append(&b, attributes.data, attributes.len);
    for (uint32_t i = 0; i < n && p->deadlines; i++) {
        uint64_t at = vs_cut_deadline(p, r->user[slots[i]], r->deadline[slots[i]]);
        buf_append(&b, &at, 8);
    }
    im->pack = region_new(b.len);
    memcpy(im->pack->base, b.data, b.len);
    im->small_bytes = b.len;
    im->alive = n;
    buf_release(&b);
    buf_release(&ids);
    buf_release(&attributes);
    free(rows);
    free(originals);
}

static struct vs_part_group read_group(struct vs_cut_part *p, const struct records *r, uint32_t first, uint32_t chunks)
{
    const struct columns_shape *shape = graph_cut_shape(p->cut);
    size_t row_bytes = padded((size_t)S * shape->codec.row_bytes), original_bytes = padded((size_t)S * shape->original_bytes);
    uint64_t *offsets = calloc((size_t)chunks * S, sizeof(*offsets));
    struct buf ids = {0};
    size_t table = (size_t)chunks * S * 8;
    for (uint32_t i = 0; i < chunks * S; i++) {
        const void *user = r->user[first * S + i];
        if (!user)
            continue;
        offsets[i] = table + ids.len;
        buf_append(&ids, user, stored_id(user));
    }
    struct vs_part_group g = {.rows = 0, .originals = chunks * row_bytes, .ids = chunks * (row_bytes + original_bytes),
                              .ids_bytes = table + ids.len};
    g.v = region_new(g.ids + g.ids_bytes);
    for (uint32_t k = 0; k < chunks; k++)
        if (!graph_cut_rows(p->cut, first + k, g.v->base + k * row_bytes,
                            shape->original_bytes ? g.v->base + g.originals + k * original_bytes : NULL))
            abort();
    memcpy(g.v->base + g.ids, offsets, table);
    if (ids.len)
        memcpy(g.v->base + g.ids + table, ids.data, ids.len);
    free(offsets);
    buf_release(&ids);
    return g;
}

/* Into `b`: the list of attributes as it stands in a file. */
static void read_attributes(struct vs_cut_part *p, const struct records *r, struct buf *b)
{
    struct buf entries = {0};
    uint64_t n = 0, at = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        size_t len;
        n += r->user[i] && vs_cut_attributes(p, r->user[i], r->extra[i], &len);
    }
    if (!n)
        return;
    buf_append(b, &n, 8);
    for (uint32_t i = 0; i < r->n && at < n; i++) {
        size_t bytes;
        const void *data = r->user[i] ? vs_cut_stored_attributes(p, r->user[i], r->extra[i], &bytes) : NULL;
        if (!data)
            continue;
        uint32_t row[2] = {i, 0};
        uint64_t offset = 8 + n * 16 + entries.len;
        buf_append(b, row, 8);
        buf_append(b, &offset, 8);
        buf_append(&entries, data, bytes);
        while (entries.len % 8)
            buf_append(&entries, "", 1);
        at++;
    }
    buf_append(b, entries.data, entries.len);
    buf_release(&entries);
}

/* The same of deadlines: their number. */
static size_t read_deadlines(struct vs_cut_part *p, const struct graph_state *s, const struct records *r, struct buf *b)
{
    size_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        bool tomb = r->user[i] && is_tomb(s, i);
        uint64_t at = r->user[i] && !tomb ? vs_cut_deadline(p, r->user[i], r->deadline[i]) : r->user[i] ? r->deadline[i] : 0;
        uint32_t row[2] = {i, 0};
        if (!at)
            continue;
        buf_append(b, row, 8);
        buf_append(b, &at, 8);
        n += !tomb;
    }
    return n;
}

static void read_large(struct cut_image *image, struct vs_cut_part *p, const struct graph_state *s, const struct records *r,
                       struct cut_image_part *out)
{
    const struct columns_shape *shape = graph_cut_shape(p->cut);
    struct vs_part_image *im = &out->image;
    uint32_t chunks = graph_cut_chunks(p->cut), m = shape->m;
    size_t links = padded((size_t)S * 2 * m * 4), upper = padded(UPPER_WORDS(m) * 4);
    struct cell *cells = malloc((r->n + 1) * sizeof(*cells));
    size_t ncells = 0;
    struct buf attributes = {0}, deadlines = {0};
    for (uint32_t i = 0; i < r->n; i++) {
        size_t len;
        if (!r->user[i] || is_tomb(s, i))
            continue;
        const void *id = vs_cut_id(r->user[i], &len);
        cells[ncells++] = (struct cell){hash_bytes(id, len, p->options->seed), i, 0};
    }
    qsort(cells, ncells, sizeof(*cells), compare_cells);
    read_attributes(p, r, &attributes);
    im->alive = ncells;
    im->links = 0;
    im->upper = s->graphed ? chunks * links : 0;
    im->born = im->upper + (s->graphed ? s->nupper * upper : 0);
    im->levels = im->born + (size_t)chunks * S * 8;
    im->idtable = im->levels + chunks * (padded(S) + (size_t)S * 4);
    im->attrs = padded(im->idtable + ncells * sizeof(*cells));
    im->attrs_bytes = attributes.len;
    if (read_deadlines(p, s, r, &deadlines) != p->deadlines)
        abort();
    im->nends = deadlines.len / 16;
    im->ends = padded(im->attrs + attributes.len);
    im->g = region_new(im->ends + deadlines.len);
    uint8_t *base = im->g->base;
    for (uint32_t k = 0; s->graphed && k < chunks; k++)
        image->unread |= !graph_cut_links(p->cut, k, (uint32_t *)(base + im->links + k * links));
    for (uint32_t k = 0; s->graphed && k < s->nupper; k++)
        image->unread |= !graph_cut_upper(p->cut, k, (uint32_t *)(base + im->upper + k * upper));
    graph_cut_links_done(p->cut);
    memcpy(base + im->born, r->born, (size_t)r->n * 8);
    for (uint32_t k = 0; k < chunks; k++) {
        memcpy(base + im->levels + k * padded(S), r->level + k * S, S);
        memcpy(base + im->levels + chunks * padded(S) + (size_t)k * S * 4, r->upper + k * S, (size_t)S * 4);
    }
    memcpy(base + im->idtable, cells, ncells * sizeof(*cells));
    if (attributes.len)
        memcpy(base + im->attrs, attributes.data, attributes.len);
    if (deadlines.len)
        memcpy(base + im->ends, deadlines.data, deadlines.len);
    buf_release(&deadlines);
    free(cells);
    buf_release(&attributes);
    im->group_chunks = image->group_chunks;
    uint32_t ngroups = (chunks + im->group_chunks - 1) / im->group_chunks;
    struct vs_part_group *groups = calloc(ngroups, sizeof(*groups));
    for (uint32_t i = 0; i < ngroups; i++) {
        uint32_t first = i * im->group_chunks, left = chunks - first;
        groups[i] = read_group(p, r, first, left < im->group_chunks ? left : im->group_chunks);
        groups[i].filled = vs_cut_number(image->store);
    }
    im->groups = groups;
}

static void read_part(struct cut_image *image, struct vs_cut_part *p)
{
    const struct graph_state *s = graph_cut_state(p->cut);
    struct records r;
    if (!s) { /* out of memory */
        image->unread = true;
        return;
    }
    struct cut_image_part *out = calloc(1, sizeof(*out));
    out->key = copy(p->key, p->key_len);
    out->key_len = p->key_len;
    out->db = p->db;
    out->deadline_ms = p->deadline_ms;
    out->index_uid = p->index_uid;
    out->options = *p->options;
    out->position = p->position;
    out->positions = p->positions;
    out->image = (struct vs_part_image){.number = p->number, .pinned = p->pinned, .sequence = p->sequence,
                                        .records_digest = p->records_digest, .attributes = p->attributes,
                                        .deadlines = p->deadlines, .first_deadline_ms = p->first_deadline_ms,
                                        .state = copy_state(s)};
    read_records(p->cut, &r);
    if (s->slots < S)
        read_small(p, &r, out);
    else
        read_large(image, p, s, &r, out);
    graph_cut_links_done(p->cut);
    free_records(&r);
    struct cut_image_part **at = &image->parts; /* by (uid, position) */
    while (*at && ((*at)->index_uid < out->index_uid ||
                   ((*at)->index_uid == out->index_uid && (*at)->position < out->position)))
        at = &(*at)->next;
    out->next = *at;
    *at = out;
}

static void *run(void *arg)
{
    struct cut_image *image = arg;
    pthread_mutex_lock(&image->lock);
    for (;;) {
        while ((!image->ready || image->held) && !image->stop)
            pthread_cond_wait(&image->more, &image->lock);
        struct vs_cut_part *p = image->ready;
        if (!p)
            break;
        image->ready = p->next;
        bool failed = image->failed;
        pthread_mutex_unlock(&image->lock);
        if (!failed)
            read_part(image, p);
        vs_cut_part_done(p);
        pthread_mutex_lock(&image->lock);
        image->nread++;
    }
    pthread_mutex_unlock(&image->lock);
    return NULL;
}

/* ---- the owner's side ---- */

static void ready(void *arg, struct vs_cut_part *part)
{
    struct cut_image *image = arg;
    pthread_mutex_lock(&image->lock);
    part->next = image->ready;
    image->ready = part;
    image->nready++;
    pthread_cond_signal(&image->more);
    pthread_mutex_unlock(&image->lock);
}

static void walked(void *arg, size_t indexes, size_t parts)
{
    struct cut_image *image = arg;
    (void)indexes;
    pthread_mutex_lock(&image->lock);
    image->walked = true;
    image->nparts = parts;
    pthread_mutex_unlock(&image->lock);
}

static void failed(void *arg, enum vs_status status, const char *why)
{
    struct cut_image *image = arg;
    (void)status, (void)why;
    pthread_mutex_lock(&image->lock);
    image->failed = true;
    pthread_mutex_unlock(&image->lock);
}

struct cut_image *cut_image_begin(struct vs_store *store, uint32_t group_chunks)
{
    struct cut_image *image = calloc(1, sizeof(*image));
    struct vs_cut_hooks hooks = {ready, walked, failed, image};
    image->store = store;
    image->group_chunks = group_chunks;
    pthread_mutex_init(&image->lock, NULL);
    pthread_cond_init(&image->more, NULL);
    pthread_create(&image->thread, NULL, run, image);
    if (vs_cut_begin(store, &hooks) != VS_OK)
        abort();
    return image;
}

void cut_image_hold(struct cut_image *image, bool held)
{
    pthread_mutex_lock(&image->lock);
    image->held = held;
    pthread_cond_signal(&image->more);
    pthread_mutex_unlock(&image->lock);
}

bool cut_image_done(struct cut_image *image)
{
    if (image->joined)
        return true;
    pthread_mutex_lock(&image->lock);
    bool done = image->nread == image->nready && (image->failed || (image->walked && image->nread == image->nparts));
    image->stop = done;
    pthread_cond_signal(&image->more);
    pthread_mutex_unlock(&image->lock);
    if (done)
        pthread_join(image->thread, NULL);
    image->joined = done;
    return done;
}

bool cut_image_failed(const struct cut_image *image)
{
    return image->failed || image->unread;
}

size_t cut_image_parts(const struct cut_image *image)
{
    return image->nparts;
}

struct cut_image_part *cut_image_first(struct cut_image *image)
{
    return image->parts;
}

enum vs_status cut_image_restore_index(struct cut_image_part *first, struct vs_store *store, struct vs_index **out,
                                       struct buf *why)
{
    struct vs_part_image *images = calloc(first->positions, sizeof(*images));
    struct cut_image_part *p = first;
    for (uint32_t i = 0; i < first->positions; i++, p = p->next)
        images[i] = p->image;
    enum vs_status status = vs_restore_new(store, first->db, first->key, first->key_len, &first->options, images,
                                           first->positions, out, why);
    if (status == VS_OK)
        vs_restore_deadline(*out, first->deadline_ms);
    free(images);
    return status;
}

const char *cut_image_restore(struct cut_image *image, struct vs_store *store)
{
    static char text[512];
    for (struct cut_image_part *p = image->parts; p;) {
        struct buf why = {0};
        struct vs_index *index;
        if (cut_image_restore_index(p, store, &index, &why) != VS_OK || vs_verify_index(index, &why) != VS_OK ||
            vs_restore_attach(index) != VS_OK) {
            size_t n = why.len < sizeof(text) - 1 ? why.len : sizeof(text) - 1;
            if (n)
                memcpy(text, why.data, n);
            text[n] = 0;
            buf_release(&why);
            return text;
        }
        buf_release(&why);
        for (uint32_t n = p->positions; n; n--)
            p = p->next;
    }
    return NULL;
}

void cut_image_map(struct cut_image *image, struct vs_store *store)
{
    for (struct cut_image_part *p = image->parts; p; p = p->next) {
        if (!p->image.g)
            continue;
        uint32_t n = (p->image.state->slots / S + p->image.group_chunks - 1) / p->image.group_chunks;
        struct vs_part_group *groups = copy(p->image.groups, n * sizeof(*groups));
        for (uint32_t i = 0; i < n; i++) { /* what is mapped is written to: another store has this one */
            groups[i].v = region_new(p->image.groups[i].v->size);
            memcpy(groups[i].v->base, p->image.groups[i].v->base, groups[i].v->size);
        }
        vs_map_part(store, p->index_uid, p->image.number, vs_cut_number(store), p->image.group_chunks, groups, n, NULL, 0);
        for (uint32_t i = 0; i < n; i++)
            region_unref(groups[i].v);
        free(groups);
    }
}

void cut_image_free(struct cut_image *image)
{
    while (image->parts) {
        struct cut_image_part *p = image->parts;
        struct vs_part_image *im = &p->image;
        image->parts = p->next;
        if (im->g)
            for (uint32_t i = 0; i * im->group_chunks * S < im->state->slots; i++)
                region_unref(im->groups[i].v);
        free((void *)(uintptr_t)im->groups);
        region_unref(im->g);
        region_unref(im->pack);
        free_state(im->state);
        free(p->key);
        free(p);
    }
    pthread_mutex_destroy(&image->lock);
    pthread_cond_destroy(&image->more);
    free(image);
}
