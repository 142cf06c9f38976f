/* tsan: skip (one thread) */
/* The heap of times against a naive twin: random insertions, removals and changes; places are those it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"

#define ITEMS 6000

struct twin {
    struct heap heap;
    uint64_t at[ITEMS];              /* 0: not in it */
    uint32_t place[ITEMS];
    size_t n;
};

static void placed(void *arg, uint64_t what, uint32_t place)
{
    ((struct twin *)arg)->place[what] = place;
}

static void check(const struct twin *t)
{
    const struct heap_cell *top = heap_top(&t->heap);
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(t->at[i] == 0, t->place[i] == 0);
        if (t->at[i] && t->at[i] < least)
            least = t->at[i];
    }
    assert_int_equal(t->heap.n, t->n);
    assert_int_equal(top ? top->at : UINT64_MAX, least);
    assert_int_equal(heap_bytes(&t->heap) == 0, t->n == 0);
}

static void step(struct twin *t, struct rng *rng, bool grow)
{
    size_t i = rng_below(rng, ITEMS);
    uint64_t at = 1 + rng_below(rng, 500); /* many equal ones */
    if (!t->at[i] && (grow || rng_below(rng, 3) == 0)) {
        assert_true(heap_reserve(&t->heap, 1));
        heap_insert(&t->heap, at, i, placed, t);
        t->at[i] = at;
        t->n++;
    } else if (t->at[i] && rng_below(rng, 2)) {
        heap_change(&t->heap, t->place[i], at, placed, t);
        t->at[i] = at;
    } else if (t->at[i] && (!grow || rng_below(rng, 4) == 0)) {
        heap_remove(&t->heap, t->place[i], placed, t);
        if (rng_below(rng, 2) || t->heap.n == 0)
            heap_trim(&t->heap);
        t->at[i] = 0;
        t->n--;
    }
}

static void test_against_a_twin(void **state)
{
    (void)state;
    struct rng rng = {run_seed()};
    struct twin *t = calloc(1, sizeof(*t));
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 2000; i++)
            step(t, &rng, round % 8 < 4);
        check(t);
    }
    uint64_t last = 0;
    while (t->n) { /* in order of their times */
        const struct heap_cell top = *heap_top(&t->heap);
        assert_true(top.at >= last && t->at[top.what] == top.at && t->place[top.what] == 1);
        last = top.at;
        heap_remove(&t->heap, 1, placed, t);
        heap_trim(&t->heap);
        t->at[top.what] = 0;
        t->n--;
    }
    check(t);
    heap_release(&t->heap);
    free(t);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct twin *t = calloc(1, sizeof(*t));
    for (uint64_t i = 0; i < ITEMS; i++) {
        bool room = false;
        for (long k = 1; !room; k++) {
            mem_fault_after(k);
            room = heap_reserve(&t->heap, 1 + i % 3);
            mem_fault_after(0);
        }
        heap_insert(&t->heap, ITEMS - i, i, placed, t);
        t->at[i] = ITEMS - i;
        t->n++;
    }
    check(t);
    heap_release(&t->heap);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_twin),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
