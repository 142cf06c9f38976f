/* Page runs: random allocation and freeing; runs do not overlap, are zeroed, and the memory goes back. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/pages.h"
#include "base/rng.h"
#include "lib/run.h"

#define RUNS 300

static uint64_t seed;

struct run {
    uint64_t *at;
    size_t size;
    uint64_t mark;
};

static size_t random_size(struct rng *rng)
{
    switch (rng_below(rng, 20)) {
    case 0: return 0;
    case 1: return ((size_t)32 << 20) + rng_below(rng, 3 << 20) - (1 << 20);
    case 2: return rng_below(rng, 8 << 20);
    default: return 1 + rng_below(rng, 600000);
    }
}

/* The first and last word of every page carry the run's mark; the rest stays zero. */
static void take(struct run *r, enum pages_kind kind, struct rng *rng)
{
    r->size = random_size(rng);
    r->at = pages_alloc(kind, r->size);
    r->mark = rng_next(rng);
    assert_non_null(r->at);
    assert_int_equal((uintptr_t)r->at % 4096, 0);
    size_t words = pages_round(r->size ? r->size : 1) / 8;
    for (size_t i = 0; i < words; i += 512) {
        assert_true(r->at[i] == 0 && r->at[i + 511] == 0);
        r->at[i] = r->at[i + 511] = r->mark;
    }
}

static void give(struct run *r, enum pages_kind kind)
{
    size_t words = pages_round(r->size ? r->size : 1) / 8;
    for (size_t i = 0; i < words; i += 512)
        assert_true(r->at[i] == r->mark && r->at[i + 511] == r->mark);
    pages_free(kind, r->at, r->size);
    r->at = NULL;
}

static void churn(uint64_t state, size_t runs, size_t steps)
{
    struct rng rng = {.state = state};
    struct run *held = mem_zalloc(runs * sizeof(*held));
    for (size_t step = 0; step < steps; step++) {
        size_t i = rng_below(&rng, runs);
        if (held[i].at)
            give(&held[i], (enum pages_kind)(i % PAGES_KINDS));
        else
            take(&held[i], (enum pages_kind)(i % PAGES_KINDS), &rng);
    }
    for (size_t i = 0; i < runs; i++)
        if (held[i].at)
            give(&held[i], (enum pages_kind)(i % PAGES_KINDS));
    mem_free(held);
}

static void runs_do_not_overlap(void **state)
{
    (void)state;
    size_t before = pages_used();
    churn(seed, RUNS, 3000);
    assert_int_equal(pages_used(), before);
}

static void *churn_thread(void *arg)
{
    churn(seed + (uintptr_t)arg, 40, 400);
    return NULL;
}

static void threads_share_the_arenas(void **state)
{
    pthread_t threads[3];
    (void)state;
    size_t before = pages_used();
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn_thread, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(pages_used(), before);
}

static void freed_memory_leaves_the_process(void **state)
{
    enum { N = 400, SIZE = 300 * 1024 };
    char *runs[N];
    struct mem_stats full, half, empty;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        runs[i] = pages_alloc(PAGES_PLAIN, SIZE);
        assert_non_null(runs[i]);
        memset(runs[i], 1, SIZE);
    }
    assert_int_equal(pages_used(), (size_t)N * SIZE);
    mem_stats_read(&full);
    for (size_t i = 0; i < N; i += 2)
        pages_free(PAGES_PLAIN, runs[i], SIZE);
    mem_stats_read(&half);
    assert_true(full.rss - half.rss > (size_t)N * SIZE / 2 * 8 / 10);
    for (size_t i = 1; i < N; i += 2)
        pages_free(PAGES_PLAIN, runs[i], SIZE);
    mem_stats_read(&empty);
    assert_true(full.rss - empty.rss > (size_t)N * SIZE * 8 / 10);
    assert_int_equal(pages_used(), 0);
}

int main(void)
{
    seed = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_memory_leaves_the_process),
        cmocka_unit_test(runs_do_not_overlap),
        cmocka_unit_test(threads_share_the_arenas),
    };
    const struct CMUnitTest threaded[] = {cmocka_unit_test(threads_share_the_arenas)};
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
