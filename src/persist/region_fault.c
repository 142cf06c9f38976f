/* SIGBUS in mapped files, see region_fault.h. */
#include "persist/region_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "index/region.h"

#define RANGES 256 /* in a block of the table */

/* base 0: free. The handler reads base last written and first cleared, so what it finds is whole. */
struct range {
    _Atomic uintptr_t base;
    _Atomic size_t size;
    _Atomic(_Atomic bool *) bad;
};
struct block {
    struct block *next; /* older; never changes */
    struct range range[RANGES];
};

static _Atomic(struct block *) blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* between threads that add and remove */

bool region_fault_add(const void *base, size_t size, _Atomic bool *bad)
{
    pthread_mutex_lock(&lock);
    struct block *b = atomic_load_explicit(&blocks, memory_order_relaxed);
    struct range *r = NULL;
    for (; b && !r; b = b->next)
        for (unsigned i = 0; i < RANGES && !r; i++)
            if (!atomic_load_explicit(&b->range[i].base, memory_order_relaxed))
                r = &b->range[i];
    if (!r && (b = mem_try_zalloc(sizeof(*b)))) {
        b->next = atomic_load_explicit(&blocks, memory_order_relaxed);
        atomic_store_explicit(&blocks, b, memory_order_release);
        r = &b->range[0];
    }
    if (r) {
        atomic_store_explicit(&r->size, size, memory_order_relaxed);
        atomic_store_explicit(&r->bad, bad, memory_order_relaxed);
        atomic_store_explicit(&r->base, (uintptr_t)base, memory_order_release);
    }
    pthread_mutex_unlock(&lock);
    return r != NULL;
}

void region_fault_remove(const void *base)
{
    pthread_mutex_lock(&lock);
    for (struct block *b = atomic_load_explicit(&blocks, memory_order_relaxed); b; b = b->next)
        for (unsigned i = 0; i < RANGES; i++)
            if (atomic_load_explicit(&b->range[i].base, memory_order_relaxed) == (uintptr_t)base)
                atomic_store_explicit(&b->range[i].base, 0, memory_order_release);
    pthread_mutex_unlock(&lock);
}

bool region_fault_handle(void *addr)
{
    uintptr_t at = (uintptr_t)addr;
    for (struct block *b = atomic_load_explicit(&blocks, memory_order_acquire); b; b = b->next)
        for (unsigned i = 0; i < RANGES; i++) {
            uintptr_t base = atomic_load_explicit(&b->range[i].base, memory_order_acquire);
            size_t size = atomic_load_explicit(&b->range[i].size, memory_order_relaxed);
            if (!base || at < base || at - base >= size)
                continue;
            int saved = errno;
            uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
            void *fresh = mmap((void *)(at & ~(page - 1)), page, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            errno = saved;
            if (fresh == MAP_FAILED)
                return false;
            _Atomic bool *bad = atomic_load_explicit(&b->range[i].bad, memory_order_relaxed);
            atomic_store_explicit(bad, true, memory_order_release);
            atomic_fetch_add_explicit(&region_faults, 1, memory_order_release);
            return true;
        }
    return false;
}

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code > 0 && region_fault_handle(info->si_addr))
        return;
    signal(number, SIG_DFL); /* the instruction runs again, and ends the process */
    if (info->si_code <= 0)
        raise(number);
}

void region_fault_install(void)
{
    struct sigaction now, ours;
    if (sigaction(SIGBUS, NULL, &now) != 0 || (now.sa_flags & SA_SIGINFO) ||
        now.sa_handler != SIG_DFL)
        return;
    memset(&ours, 0, sizeof(ours));
    ours.sa_sigaction = on_bus;
    ours.sa_flags = SA_SIGINFO;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, NULL);
}
