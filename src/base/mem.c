/* The heap, see mem.h. With jemalloc its own statistics say how much is held, so nothing is counted per call; without it
 * a counter is kept, which is slower but only met in sanitizer builds. */
#include "base/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pages.h"

#ifndef VS_NO_JEMALLOC
#include <jemalloc/jemalloc.h>

/* Read by jemalloc before main(). A background thread returns unused pages, so that no thread of ours pays for it. What threads
 * cache counts as in use: of blocks above 4 KiB that would be up to a megabyte a thread. */
const char *malloc_conf = "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0,metadata_thp:auto,tcache_max:4096";
#else
static atomic_size_t counted;
#endif

static atomic_size_t peak;

/* 0: no fault is set; else allocations to go until it. -1: it has come. */
static atomic_long fault;
static atomic_bool fault_lasts;

void mem_fault_after(long n)
{
    atomic_store(&fault_lasts, false);
    atomic_store(&fault, n);
}

void mem_fault_from(long n)
{
    atomic_store(&fault, n);
    atomic_store(&fault_lasts, true);
}

bool mem_fault_hit(void)
{
    return atomic_load(&fault) < 0;
}

bool mem_fault_now(void)
{
    long left = atomic_load_explicit(&fault, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&fault, &left, left > 1 ? left - 1 : -1))
            return left == 1;
    return left < 0 && atomic_load_explicit(&fault_lasts, memory_order_relaxed);
}

static void __attribute__((noreturn)) out_of_memory(size_t size)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "vecstore: out of memory (%zu bytes were asked for)\n", size);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        abort();
    abort();
}

#ifndef VS_NO_JEMALLOC

static void *heap_alloc(size_t size)
{
    return malloc(size ? size : 1);
}

static void *heap_zalloc(size_t size)
{
    return calloc(1, size ? size : 1);
}

static void *heap_realloc(void *ptr, size_t size)
{
    return realloc(ptr, size ? size : 1);
}

void mem_free(void *ptr)
{
    free(ptr);
}

static void *heap_realloc_now(void *ptr, size_t size)
{
    size = size ? size : 1;
    return ptr ? rallocx(ptr, size, MALLOCX_TCACHE_NONE) : mallocx(size, MALLOCX_TCACHE_NONE);
}

void mem_free_now(void *ptr)
{
    if (ptr)
        dallocx(ptr, MALLOCX_TCACHE_NONE);
}

size_t mem_size(const void *ptr)
{
    return ptr ? sallocx(ptr, 0) : 0;
}

static size_t read_stat(const char *name)
{
    size_t value = 0, len = sizeof(value);
    return mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

static void read_heap(struct mem_stats *out)
{
    uint64_t epoch = 1;
    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    out->heap = read_stat("stats.allocated");
    out->active = read_stat("stats.active");
    out->resident = read_stat("stats.resident");
    out->retained = read_stat("stats.retained");
}

void mem_flush(void)
{
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
}

void mem_purge(void)
{
    char name[40];
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    snprintf(name, sizeof(name), "arena.%u.purge", (unsigned)MALLCTL_ARENAS_ALL);
    mallctl(name, NULL, NULL, NULL, 0);
}

const char *mem_allocator_name(void)
{
#define TEXT_OF(x) #x
#define NAME_OF(a, b, c) "jemalloc-" TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)
    return NAME_OF(JEMALLOC_VERSION_MAJOR, JEMALLOC_VERSION_MINOR, JEMALLOC_VERSION_BUGFIX);
}

static struct { /* what mem_used_now knows */
    uint64_t allocated, freed;
    size_t heap;
} recent;

size_t mem_used_now(bool fresh)
{
    static _Thread_local uint64_t *allocated, *freed;
    size_t len = sizeof(allocated);
    if (!allocated && (mallctl("thread.allocatedp", &allocated, &len, NULL, 0) != 0 ||
                       mallctl("thread.deallocatedp", &freed, &len, NULL, 0) != 0))
        allocated = freed = NULL;
    if (fresh || !allocated || !recent.heap) {
        uint64_t epoch = 1;
        mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
        recent.heap = read_stat("stats.allocated");
        recent.allocated = allocated ? *allocated : 0;
        recent.freed = freed ? *freed : 0;
        return recent.heap + pages_used();
    }
    int64_t since = (int64_t)((*allocated - recent.allocated) - (*freed - recent.freed));
    int64_t heap = (int64_t)recent.heap + since;
    return (heap > 0 ? (size_t)heap : 0) + pages_used();
}

#else /* the C library's heap */

size_t mem_used_now(bool fresh)
{
    (void)fresh;
    return atomic_load_explicit(&counted, memory_order_relaxed) + pages_used();
}

static void *count(void *ptr)
{
    if (ptr)
        atomic_fetch_add_explicit(&counted, malloc_usable_size(ptr), memory_order_relaxed);
    return ptr;
}

static void *heap_alloc(size_t size)
{
    return count(malloc(size ? size : 1));
}

static void *heap_zalloc(size_t size)
{
    return count(calloc(1, size ? size : 1));
}

static void *heap_realloc(void *ptr, size_t size)
{
    size_t before = mem_size(ptr);
    void *out = realloc(ptr, size ? size : 1);
    if (out)
        atomic_fetch_sub_explicit(&counted, before, memory_order_relaxed);
    return count(out);
}

void mem_free(void *ptr)
{
    atomic_fetch_sub_explicit(&counted, mem_size(ptr), memory_order_relaxed);
    free(ptr);
}

static void *heap_realloc_now(void *ptr, size_t size)
{
    return heap_realloc(ptr, size);
}

void mem_free_now(void *ptr)
{
    mem_free(ptr);
}

size_t mem_size(const void *ptr)
{
    return ptr ? malloc_usable_size((void *)ptr) : 0;
}

static void read_heap(struct mem_stats *out)
{
    out->heap = atomic_load_explicit(&counted, memory_order_relaxed);
}

void mem_flush(void)
{
}

void mem_purge(void)
{
    malloc_trim(0);
}

const char *mem_allocator_name(void)
{
    return "libc";
}

#endif

void *mem_try_alloc(size_t size)
{
    return mem_fault_now() ? NULL : heap_alloc(size);
}

char *mem_try_strndup(const char *text, size_t len)
{
    size_t size;
    char *out = mem_add(len, 1, &size) ? mem_try_alloc(size) : NULL;
    if (!out)
        return NULL;
    if (len)
        memcpy(out, text, len);
    out[len] = 0;
    return out;
}

void *mem_try_zalloc(size_t size)
{
    return mem_fault_now() ? NULL : heap_zalloc(size);
}

void *mem_try_realloc(void *ptr, size_t size)
{
    return mem_fault_now() ? NULL : heap_realloc(ptr, size);
}

void *mem_try_realloc_now(void *ptr, size_t size)
{
    return mem_fault_now() ? NULL : heap_realloc_now(ptr, size);
}

void *mem_alloc(size_t size)
{
    void *ptr = heap_alloc(size);
    if (!ptr)
        out_of_memory(size);
    return ptr;
}

void *mem_zalloc(size_t size)
{
    void *ptr = heap_zalloc(size);
    if (!ptr)
        out_of_memory(size);
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    void *out = heap_realloc(ptr, size);
    if (!out)
        out_of_memory(size);
    return out;
}

char *mem_strndup(const char *text, size_t len)
{
    size_t size;
    if (!mem_add(len, 1, &size))
        out_of_memory(len);
    char *out = mem_alloc(size);
    if (len)
        memcpy(out, text, len);
    out[len] = 0;
    return out;
}

void *mem_aligned(size_t alignment, size_t size)
{
    void *ptr = NULL;
    if (size == 0)
        size = alignment;
    if (posix_memalign(&ptr, alignment, size) != 0)
        out_of_memory(size);
    memset(ptr, 0, size);
#ifdef VS_NO_JEMALLOC
    count(ptr);
#endif
    return ptr;
}

static size_t read_rss(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    unsigned long total, resident;
    if (sscanf(text, "%lu %lu", &total, &resident) != 2)
        return 0;
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

void mem_stats_read(struct mem_stats *out)
{
    *out = (struct mem_stats){0};
    read_heap(out);
    out->pages = pages_used();
    out->used = out->heap + out->pages;
    out->rss = read_rss();
    size_t top = atomic_load_explicit(&peak, memory_order_relaxed);
    while (out->used > top &&
           !atomic_compare_exchange_weak_explicit(&peak, &top, out->used, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
    out->peak = out->used > top ? out->used : top;
}

bool mem_try_grow(void *array, size_t *cap, size_t want, size_t size)
{
    size_t bytes;
    void *old, *p;
    if (want <= *cap)
        return true;
    memcpy(&old, array, sizeof(old));
    p = mem_mul(want, size, &bytes) ? mem_try_realloc(old, bytes) : NULL;
    if (!p)
        return false;
    memcpy(array, &p, sizeof(p));
    *cap = want;
    return true;
}
