/* Page runs, see pages.h. The bookkeeping lives beside the arenas, not in them, so an arena is all payload. Arenas of a
 * kind stand in an array sorted by address: freeing finds its arena by bisection, allocating walks on from where the
 * last one succeeded. `longest` is an upper bound of an arena's longest free run; it lets a full arena be passed by in
 * one comparison. */
#include "base/pages.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 * 1024 * 1024)
#define ARENA_BYTES ((size_t)32 * 1024 * 1024)
#define ARENA_PAGES (ARENA_BYTES / PAGE)
#define WORDS (ARENA_PAGES / 64)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#define poison(p, n) __asan_poison_memory_region(p, n)
#define unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

struct arena {
    char *base;
    size_t used;             /* pages in runs */
    size_t longest;          /* no free run is longer */
    size_t hint;             /* where the last search ended */
    uint64_t taken[WORDS];   /* one bit a page */
};

struct arenas {
    struct arena **at;       /* sorted by base */
    size_t count, cap;
    size_t hint;             /* index of the arena to try first */
    struct arena *spare;     /* an arena without runs that stays mapped; it stands in `at`, too */
};

static struct {
    pthread_mutex_t lock;
    struct arenas kinds[PAGES_KINDS];
} pages = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_size_t used_bytes;

/* `size` bytes at a multiple of 2 MiB. */
static void *map_aligned(enum pages_kind kind, size_t size)
{
    size_t whole;
    if (!mem_add(size, HUGE_PAGE, &whole))
        return NULL;
    char *raw = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *base = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (base > raw)
        munmap(raw, (size_t)(base - raw));
    if (base + size < raw + whole)
        munmap(base + size, (size_t)(raw + whole - (base + size)));
    if (kind == PAGES_HUGE)
        madvise(base, size, MADV_HUGEPAGE);   /* an advice: a kernel without it serves as well */
    return base;
}

static bool bit(const struct arena *a, size_t page)
{
    return a->taken[page / 64] >> (page % 64) & 1;
}

static void set_bits(struct arena *a, size_t from, size_t n, bool on)
{
    for (size_t end = from + n; from < end;) {
        size_t off = from % 64, len = 64 - off < end - from ? 64 - off : end - from;
        uint64_t mask = (len == 64 ? ~(uint64_t)0 : ((uint64_t)1 << len) - 1) << off;
        if (on)
            a->taken[from / 64] |= mask;
        else
            a->taken[from / 64] &= ~mask;
        from += len;
    }
}

/* First page at or after `from` whose bit is `on`, or `end`. */
static size_t next_page(const struct arena *a, size_t from, size_t end, bool on)
{
    while (from < end) {
        uint64_t word = on ? a->taken[from / 64] : ~a->taken[from / 64];
        word >>= from % 64;
        if (word) {
            from += (size_t)__builtin_ctzll(word);
            return from < end ? from : end;
        }
        from = (from / 64 + 1) * 64;
    }
    return end;
}

/* First run of `n` free pages that begins in [from, to), or ARENA_PAGES; *longest is raised to the longest run met. */
static size_t find_run(const struct arena *a, size_t from, size_t to, size_t n, size_t *longest)
{
    while (from < to) {
        size_t start = next_page(a, from, to, false);
        if (start == to)
            break;
        size_t end = next_page(a, start, ARENA_PAGES, true);
        if (end - start > *longest)
            *longest = end - start;
        if (end - start >= n)
            return start;
        from = end;
    }
    return ARENA_PAGES;
}

static void *take_run(struct arena *a, size_t n)
{
    if (a->longest < n)
        return NULL;
    size_t longest = 0;
    /* The hint may stand inside a free run; begin where that run does. */
    size_t from = a->hint;
    while (from > 0 && from < ARENA_PAGES && !bit(a, from - 1))
        from--;
    size_t at = find_run(a, from, ARENA_PAGES, n, &longest);
    if (at == ARENA_PAGES)
        at = find_run(a, 0, from, n, &longest);
    if (at == ARENA_PAGES) {
        a->longest = longest;
        return NULL;
    }
    set_bits(a, at, n, true);
    a->used += n;
    a->hint = at + n;
    return a->base + at * PAGE;
}

/* Index of the last arena whose base is not above `ptr`, plus one. */
static size_t position(const struct arenas *s, const char *ptr)
{
    size_t lo = 0, hi = s->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->at[mid]->base <= ptr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct arena *add_arena(enum pages_kind kind, struct arenas *s)
{
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        struct arena **at = mem_try_realloc(s->at, cap * sizeof(*at));
        if (!at)
            return NULL;
        s->at = at;
        s->cap = cap;
    }
    struct arena *a = mem_try_zalloc(sizeof(*a));
    char *base = a ? map_aligned(kind, ARENA_BYTES) : NULL;
    if (!base) {
        mem_free(a);
        return NULL;
    }
    a->base = base;
    a->longest = ARENA_PAGES;
    size_t i = position(s, base);
    memmove(s->at + i + 1, s->at + i, (s->count - i) * sizeof(*s->at));
    s->at[i] = a;
    s->count++;
    s->hint = i;
    poison(base, ARENA_BYTES);
    return a;
}

static void drop_arena(struct arenas *s, struct arena *a)
{
    size_t i = position(s, a->base) - 1;
    memmove(s->at + i, s->at + i + 1, (s->count - i - 1) * sizeof(*s->at));
    s->count--;
    if (s->hint > i)
        s->hint--;
    if (s->hint >= s->count)
        s->hint = 0;
    unpoison(a->base, ARENA_BYTES);
    munmap(a->base, ARENA_BYTES);
    mem_free(a);
}

static void *alloc_in_arenas(enum pages_kind kind, size_t size)
{
    struct arenas *s = &pages.kinds[kind];
    size_t n = size / PAGE;
    for (size_t step = 0; step < s->count; step++) {
        size_t i = s->hint + step;
        if (i >= s->count)
            i -= s->count;
        void *run = take_run(s->at[i], n);
        if (run) {
            s->hint = i;
            if (s->spare == s->at[i])
                s->spare = NULL;
            return run;
        }
    }
    struct arena *a = add_arena(kind, s);
    return a ? take_run(a, n) : NULL;
}

void *pages_alloc(enum pages_kind kind, size_t size)
{
    if (size > SIZE_MAX / 2 || mem_fault_now())
        return NULL;
    size = size ? pages_round(size) : PAGE;
    void *run;
    if (size > ARENA_BYTES) {
        run = map_aligned(kind, size);
    } else {
        pthread_mutex_lock(&pages.lock);
        run = alloc_in_arenas(kind, size);
        pthread_mutex_unlock(&pages.lock);
    }
    if (run) {
        unpoison(run, size);
        atomic_fetch_add_explicit(&used_bytes, size, memory_order_relaxed);
    }
    return run;
}

void pages_free(enum pages_kind kind, void *ptr, size_t size)
{
    if (!ptr)
        return;
    size = size ? pages_round(size) : PAGE;
    atomic_fetch_sub_explicit(&used_bytes, size, memory_order_relaxed);
    if (size > ARENA_BYTES) {
        munmap(ptr, size);
        return;
    }
    /* Given back before the run is marked free, so that whoever gets it next finds zeros. */
    if (madvise(ptr, size, MADV_DONTNEED) != 0)
        memset(ptr, 0, size);
    poison(ptr, size);
    pthread_mutex_lock(&pages.lock);
    struct arenas *s = &pages.kinds[kind];
    size_t i = position(s, ptr);
    assert(i > 0);
    struct arena *a = s->at[i - 1];
    size_t first = (size_t)((char *)ptr - a->base) / PAGE, n = size / PAGE;
    assert(first + n <= ARENA_PAGES && bit(a, first) && bit(a, first + n - 1));
    set_bits(a, first, n, false);
    a->used -= n;
    a->longest = ARENA_PAGES - a->used;
    if (first < a->hint)
        a->hint = first;
    if (a->used == 0) {
        if (!s->spare)
            s->spare = a;
        else if (s->spare != a)
            drop_arena(s, a);
    }
    pthread_mutex_unlock(&pages.lock);
}

void pages_note(long long bytes)
{
    atomic_fetch_add_explicit(&used_bytes, (size_t)bytes, memory_order_relaxed);
}

size_t pages_used(void)
{
    return atomic_load_explicit(&used_bytes, memory_order_relaxed);
}
