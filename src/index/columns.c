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

static size_t links_bytes(uint32_t m, uint32_t slots)
{
    return (size_t)slots * 2 * m * sizeof(uint32_t);
}

bool chunk_add_links(struct chunk *c)
{
    if (c->links)
        return true;
    size_t size = links_bytes(c->m, c->slots);
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

struct chunk *chunk_new(const struct columns_shape *s, uint32_t slots, bool with_links)
{
    struct chunk *c = mem_try_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    c->slots = slots;
    c->row_bytes = s->codec.row_bytes;
    c->original_bytes = s->original_bytes;
    c->m = s->m;
    c->rows = column_new(slots, PAGES_HUGE, (size_t)slots * s->codec.row_bytes);
    if (s->original_bytes)
        c->originals = column_new(slots, PAGES_PLAIN, (size_t)slots * s->original_bytes);
    c->born = mem_try_zalloc(slots * sizeof(*c->born));
    c->level = mem_try_zalloc(slots);
    c->upper = mem_try_alloc(slots * sizeof(*c->upper));
    c->user = mem_try_zalloc(slots * sizeof(*c->user));
    if (!c->rows || (s->original_bytes && !c->originals) || !c->born || !c->level || !c->upper ||
        !c->user || (with_links && !chunk_add_links(c))) {
        chunk_free(c);
        return NULL;
    }
    memset(c->upper, 0xFF, slots * sizeof(*c->upper));
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
    memcpy(to->rows, from->rows, (size_t)n * from->row_bytes);
    if (to->originals)
        memcpy(to->originals, from->originals, (size_t)n * from->original_bytes);
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
    touch(c->rows, (size_t)c->slots * c->row_bytes);
    touch(c->originals, (size_t)c->slots * c->original_bytes);
}

void chunk_free(struct chunk *c)
{
    if (!c)
        return;
    column_free(c->slots, PAGES_HUGE, c->rows, (size_t)c->slots * c->row_bytes);
    column_free(c->slots, PAGES_PLAIN, c->originals, (size_t)c->slots * c->original_bytes);
    column_free(c->slots, PAGES_HUGE, (void *)c->links, links_bytes(c->m, c->slots));
    mem_free((void *)c->born);
    mem_free(c->level);
    mem_free(c->upper);
    mem_free((void *)c->user);
    mem_free((void *)atomic_load_explicit(&c->extra, memory_order_relaxed));
    mem_free(c);
}

void chunk_bytes(const struct columns_shape *s, const struct chunk *c, struct columns_bytes *sum)
{
    size_t n = c->slots;
    sum->rows += n * s->codec.row_bytes;
    sum->originals += n * s->original_bytes;
    sum->links += c->links ? links_bytes(c->m, c->slots) : 0;
    sum->records += sizeof(*c) + n * (sizeof(*c->born) + sizeof(*c->level) + sizeof(*c->upper) +
                                      sizeof(*c->user));
    if (atomic_load_explicit(&c->extra, memory_order_relaxed))
        sum->extra += n * sizeof(void *);
}
