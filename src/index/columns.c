/* Columns, see columns.h. Whole chunks come from the page allocator (nothing rounded up to a size
 * class); the first, small one of a partition from the heap. */
#include "index/columns.h"

#include <string.h>

#include "base/mem.h"
#include "base/pages.h"

static void *column_new(uint32_t slots, enum pages_kind kind, size_t size)
{
    if (slots == CHUNK_SLOTS)
        return pages_alloc(kind, size);
    return mem_try_zalloc(size);
}

static void column_free(uint32_t slots, enum pages_kind kind, void *column, size_t size)
{
    if (slots == CHUNK_SLOTS)
        pages_free(kind, column, size);
    else
        mem_free(column);
}

bool chunk_add_links(struct chunk *c)
{
    if (c->links)
        return true;
    size_t size = chunk_links_bytes(c);
    _Atomic uint32_t *links = column_new(c->slots, PAGES_HUGE, size);
    if (!links)
        return false;
    memset((void *)links, 0xFF, size);
    c->links = links;
    return true;
}

bool chunk_add_extra(struct chunk *c)
{
    if (atomic_load_explicit(&c->extra, memory_order_relaxed))
        return true;
    _Atomic(void *) *extra = mem_try_zalloc(c->slots * sizeof(*extra));
    if (!extra)
        return false;
    atomic_store_explicit(&c->extra, extra, memory_order_release);
    return true;
}

#define DEADLINE_BYTES (sizeof(uint64_t) + sizeof(uint32_t))

bool chunk_add_deadlines(struct chunk *c)
{
    if (atomic_load_explicit(&c->deadline, memory_order_relaxed))
        return true;
    _Atomic uint64_t *deadline = mem_try_zalloc(c->slots * DEADLINE_BYTES);
    if (!deadline)
        return false;
    atomic_store_explicit(&c->deadline, deadline, memory_order_release);
    return true;
}

struct chunk *chunk_new(const struct columns_shape *s, uint32_t slots, bool with_links)
{
    struct chunk *c = mem_try_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->slots = slots;
    c->row_bytes = s->codec.row_bytes;
    c->original_bytes = s->original_bytes;
    c->m = s->m;
    atomic_init(&c->rows, column_new(slots, PAGES_HUGE, (size_t)slots * s->codec.row_bytes));
    if (s->original_bytes)
        atomic_init(&c->originals,
                    column_new(slots, PAGES_PLAIN, (size_t)slots * s->original_bytes));
    c->born = mem_try_zalloc(slots * sizeof(*c->born));
    c->level = mem_try_zalloc(slots);
    c->upper = mem_try_alloc(slots * sizeof(*c->upper));
    c->user = mem_try_zalloc(slots * sizeof(*c->user));
    if (!chunk_rows(c) || (s->original_bytes && !chunk_originals(c)) || !c->born || !c->level ||
        !c->upper || !c->user || (with_links && !chunk_add_links(c))) {
        chunk_free(c);
        return NULL;
    }
    memset(c->upper, 0xFF, slots * sizeof(*c->upper));
    return c;
}

/* The part of a column at an offset; its bit, when there is one, joins `mapped`. */
static void *part(struct chunk *c, enum column bit, const struct region *r, size_t at)
{
    if (at == SIZE_MAX)
        return NULL;
    c->mapped |= (uint8_t)bit;
    return r->base + at;
}

struct chunk *chunk_over(const struct columns_shape *s, const struct chunk_map *m)
{
    struct chunk *c = mem_try_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->slots = CHUNK_SLOTS;
    c->row_bytes = s->codec.row_bytes;
    c->original_bytes = s->original_bytes;
    c->m = s->m;
    c->user = mem_try_zalloc(CHUNK_SLOTS * sizeof(*c->user));
    if (!c->user) {
        mem_free(c);
        return NULL;
    }
    atomic_init(&c->rows, part(c, COLUMN_ROWS, m->v, m->rows));
    atomic_init(&c->originals, part(c, COLUMN_ORIGINALS, m->v, m->originals));
    c->links = part(c, COLUMN_LINKS, m->g, m->links);
    c->born = part(c, COLUMN_BORN, m->g, m->born);
    c->level = part(c, COLUMN_LEVEL, m->g, m->level);
    c->upper = part(c, COLUMN_UPPER, m->g, m->upper);
    c->rows_in = region_ref(m->v);
    c->originals_in = region_ref(m->originals == SIZE_MAX ? NULL : m->v);
    c->graph_in = region_ref(m->g);
    return c;
}

bool chunk_copy(struct chunk *to, const struct chunk *from)
{
    uint32_t n = from->slots;
    _Atomic(void *) *extra = atomic_load_explicit(&from->extra, memory_order_relaxed);
    if (extra) {
        if (!chunk_add_extra(to))
            return false;
        memcpy((void *)atomic_load_explicit(&to->extra, memory_order_relaxed), (const void *)extra,
               n * sizeof(*extra));
    }
    _Atomic uint64_t *deadline = atomic_load_explicit(&from->deadline, memory_order_relaxed), *other;
    if (deadline) {
        if (!chunk_add_deadlines(to))
            return false;
        other = atomic_load_explicit(&to->deadline, memory_order_relaxed);
        memcpy((void *)other, (const void *)deadline, n * sizeof(*deadline));
        memcpy((void *)(other + to->slots), (const void *)(deadline + n), n * sizeof(uint32_t));
    }
    memcpy(chunk_rows(to), chunk_rows(from), (size_t)n * from->row_bytes);
    if (chunk_originals(to))
        memcpy(chunk_originals(to), chunk_originals(from), (size_t)n * from->original_bytes);
    atomic_store_explicit(&to->filled, atomic_load_explicit(&from->filled, memory_order_relaxed),
                          memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        atomic_init(&to->born[i], atomic_load_explicit(&from->born[i], memory_order_relaxed));
    memcpy(to->level, from->level, n);
    memcpy(to->upper, from->upper, n * sizeof(*to->upper));
    memcpy((void *)to->user, (const void *)from->user, n * sizeof(*to->user));
    return true;
}

static void touch(void *column, size_t size)
{
    for (size_t at = 0; column && at < size; at += 4096)
        ((volatile char *)column)[at] = 0;
}

void chunk_touch(struct chunk *c)
{
    touch(chunk_rows(c), (size_t)c->slots * c->row_bytes);
    touch(chunk_originals(c), (size_t)c->slots * c->original_bytes);
}

void chunk_free(struct chunk *c)
{
    if (!c)
        return;
    if (!(c->mapped & COLUMN_ROWS))
        column_free(c->slots, PAGES_HUGE, chunk_rows(c), (size_t)c->slots * c->row_bytes);
    if (!(c->mapped & COLUMN_ORIGINALS))
        column_free(c->slots, PAGES_PLAIN, chunk_originals(c),
                    (size_t)c->slots * c->original_bytes);
    if (!(c->mapped & COLUMN_LINKS))
        column_free(c->slots, PAGES_HUGE, (void *)c->links, chunk_links_bytes(c));
    if (!(c->mapped & COLUMN_BORN))
        mem_free((void *)c->born);
    if (!(c->mapped & COLUMN_LEVEL))
        mem_free(c->level);
    if (!(c->mapped & COLUMN_UPPER))
        mem_free(c->upper);
    region_unref(c->rows_in);
    region_unref(c->originals_in);
    region_unref(c->graph_in);
    mem_free((void *)c->user);
    mem_free((void *)atomic_load_explicit(&c->extra, memory_order_relaxed));
    mem_free((void *)atomic_load_explicit(&c->deadline, memory_order_relaxed));
    mem_free(c);
}

void chunk_bytes(const struct columns_shape *s, const struct chunk *c, struct columns_bytes *sum)
{
    size_t n = c->slots;
    uint8_t mapped = chunk_in_files(c);
    sum->rows += mapped & COLUMN_ROWS ? 0 : n * s->codec.row_bytes;
    sum->originals += mapped & COLUMN_ORIGINALS ? 0 : n * s->original_bytes;
    sum->links += c->links && !(mapped & COLUMN_LINKS) ? chunk_links_bytes(c) : 0;
    sum->records += sizeof(*c) + n * sizeof(*c->user);
    sum->records += mapped & COLUMN_BORN ? 0 : n * sizeof(*c->born);
    sum->records += mapped & COLUMN_LEVEL ? 0 : n * sizeof(*c->level);
    sum->records += mapped & COLUMN_UPPER ? 0 : n * sizeof(*c->upper);
    if (atomic_load_explicit(&c->extra, memory_order_relaxed))
        sum->extra += n * sizeof(void *);
    if (atomic_load_explicit(&c->deadline, memory_order_relaxed))
        sum->records += n * DEADLINE_BYTES;
}
