/* Memory of the embedded engine: what it takes and gives back; and every allocation that may fail made to fail in turn.
 * tsan: skip (the model of the engine deletes as much, with more threads) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/pages.h"
#include "base/rng.h"
#include "lib/run.h"
#include "lib/store_bed.h"
#include "lib/wait.h"

/* ---- memory ---- */

struct memory_at {
    size_t pages;
    struct mem_stats stats;
};

static struct memory_at start;

static bool back_at_start(void *arg)
{
    struct mem_stats now;
    (void)arg;
    mem_purge();                     /* what this thread's cache holds counts as allocated */
    mem_stats_read(&now);
    return pages_used() == start.pages && now.heap <= start.stats.heap + 65536;
}

static void test_memory(void **state)
{
    (void)state;
    bool quick = run_quick(); /* one case of four */
    for (unsigned threads = quick ? 2 : 0; threads <= 2; threads += 2)
        for (int structure = VS_HNSW; structure <= (quick ? VS_HNSW : VS_FLAT); structure++) {
            start.pages = pages_used();
            mem_stats_read(&start.stats);
            struct vs_store *store = open_store(threads);
            struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = 16, .m = 6, .ef_construction = 30,
                                                                                   .structure = (enum vs_structure)structure});
            struct vs_memory empty, half, whole, now;
            vs_index_memory(index, &empty);
            fill(index, 0, 10000);
            settle(store);
            vs_index_memory(index, &half);
            fill(index, 10000, 20000);
            settle(store);
            vs_index_memory(index, &whole);
            assert_true(whole.total > half.total);
            assert_int_equal(whole.total, whole.codes + whole.originals + whole.links + whole.records + whole.ids + whole.id_map +
                             whole.attributes + whole.other);
            drain(index, 0, 20000, 2);
            settle(store);
            vs_index_memory(index, &now);
            if (now.total > half.total * 11 / 10)
                print_error("structure %d threads %u: half %zu now %zu\n", structure, threads, half.total, now.total);
            assert_true(now.total <= half.total * 11 / 10);
            fill(index, 0, 20000);
            settle(store);
            vs_index_memory(index, &now);
            assert_true(now.total <= whole.total * 21 / 20 + 65536);
            drain(index, 0, 20000, 1);
            settle(store);
            vs_index_memory(index, &now);
            if (now.total > empty.total + 600000)
                print_error("structure %d threads %u: empty %zu now %zu\n", structure, threads, empty.total, now.total);
            assert_true(now.total <= empty.total + 600000); /* up to two batches of dead nodes wait for more */
            fill(index, 0, 3000);
            vs_close(store);
            assert_true(wait_until(back_at_start, NULL, 5000));
        }
}

/* ---- every allocation fails in turn ---- */

static enum vs_status step_of(struct vs_index *index, struct vs_reader *reader, uint32_t i, bool *changed)
{
    struct rng rng = {i * 7919};
    float vector[DIM];
    struct vs_hit hits[20];
    size_t n;
    uint32_t id = (uint32_t)rng_below(&rng, 2500);
    numbered(&rng, vector, DIM);
    *changed = true;
    switch (rng_below(&rng, 8)) {
    case 0: return vs_delete(index, &id, sizeof(id));
    case 1: return vs_set_attributes(index, &id, sizeof(id), "some text", rng_below(&rng, 2) ? 9 : 0);
    case 2:
        *changed = false;
        return vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 10, .exact = rng_below(&rng, 2)}, hits, 20, &n);
    default:
        return vs_add(index, &(struct vs_element){.id = &id, .id_len = sizeof(id), .vector = vector,
                                                  .attributes = rng_below(&rng, 4) ? NULL : "attributes", .attributes_len = 10},
                      VS_ADD_ANY, NULL);
    }
}

/* In a stream of changes each allocation that may fail does so, one at a time: nothing is half done, and all goes on. */
static void test_faults(void **state)
{
    (void)state;
    bool quick = run_quick();
    start.pages = pages_used();
    mem_stats_read(&start.stats);
    size_t hit = 0;
    for (int structure = VS_HNSW; structure <= VS_FLAT; structure++) {
        struct vs_store *store = open_store(0);
        struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 4, .ef_construction = 16,
                                                                               .structure = (enum vs_structure)structure});
        struct vs_reader *reader = vs_reader_new(store);
        uint32_t steps = quick ? 6000 : 14000;
        for (uint32_t i = 0; i < steps; i++) {
            bool changed;
            size_t count = vs_index_count(index);
            /* the first, the second ... allocation of each kind of step, as the stream goes on */
            mem_fault_after(1 + (long)(hash_mix(i) % 6));
            enum vs_status status = step_of(index, reader, i, &changed);
            bool faulted = mem_fault_hit();
            hit += faulted;
            mem_fault_after(0);
            if (status == VS_NOMEM)
                assert_true(faulted);
            if (status != VS_OK)
                assert_int_equal(vs_index_count(index), count);
            if (status == VS_NOMEM && !changed) {
                status = step_of(index, reader, i, &changed);
                assert_int_equal(status, VS_OK);
            }
            assert_true(status == VS_OK || status == VS_NOMEM || status == VS_NOTFOUND || status == VS_TIMEOUT);
            if (i % 1000 == 999) {
                vs_reader_idle(reader);
                settle(store);
            }
            if (i == steps / 2)
                for (uint32_t k = 0; k < 2500; k++) {
                    mem_fault_after(1 + (long)(k % 9));
                    vs_delete(index, &k, sizeof(k));
                    mem_fault_after(0);
                }
        }
        vs_reader_free(reader);
        settle(store);
        vs_close(store);
    }
    print_message("%zu allocations failed\n", hit);
    assert_true(hit > 1000);
    /* creating an index */
    for (long n = 1; n < 30; n++) {
        struct vs_store *store = open_store(0);
        struct vs_index *index = NULL;
        mem_fault_after(n);
        enum vs_status status = vs_create(store, 0, "k", 1, &(struct vs_index_options){.dim = DIM, .partitions = 3}, &index);
        mem_fault_after(0);
        assert_true(status == VS_OK || (status == VS_NOMEM && !index));
        vs_close(store);
    }
    assert_true(wait_until(back_at_start, NULL, 5000));
}

/* ---- no memory for long ---- */

#define EXHAUSTED 6000

/* Whatever may fail does, for many commands: none waits for memory, a refused one has changed
 * nothing, and what workers finish meanwhile is shown when there is memory again. */
static void exhausted(enum vs_structure structure, unsigned share, unsigned threads)
{
    struct vs_store *store = open_store(threads);
    struct vs_index *index = create(store, "k", &(struct vs_index_options){.dim = DIM, .m = 4, .ef_construction = 16,
                                                                           .structure = structure});
    size_t refused = 0, count = EXHAUSTED;
    bool renamed = false;
    fill(index, 0, EXHAUSTED);
    if (share > 1) {
        drain(index, 0, EXHAUSTED, share); /* something to compact */
        count -= (EXHAUSTED + share - 1) / share;
    }
    for (uint32_t i = 0; i < EXHAUSTED; i++) {
        if (i % 16 == 0) { /* for so long as another few commands go on */
            mem_fault_after(0);
            vs_poll(store, 100);
            mem_fault_from(1 + (long)(hash_mix(i) % 12));
        }
        struct rng rng = {i + 1};
        float vector[DIM];
        numbered(&rng, vector, DIM);
        struct vs_element e = {.id = &i, .id_len = sizeof(i), .vector = vector};
        enum vs_status status = i % 3 ? vs_delete(index, &i, sizeof(i)) : vs_add(index, &e, VS_ADD_XX, NULL);
        assert_true(status == VS_OK || status == VS_NOMEM || status == VS_NOTFOUND || status == VS_BACKLOG);
        count -= i % 3 && status == VS_OK;
        refused += status == VS_NOMEM;
        assert_int_equal(vs_index_count(index), count);
        vs_poll(store, 100); /* publishes, or leaves it */
        status = vs_rename(store, 0, renamed ? "other" : "k", renamed ? 5 : 1, renamed ? "k" : "other", renamed ? 1 : 5);
        assert_true(status == VS_OK || status == VS_NOMEM);
        renamed ^= status == VS_OK;
        assert_ptr_equal(vs_find(store, 0, renamed ? "other" : "k", renamed ? 5 : 1), index);
    }
    mem_fault_after(0);
    settle(store);
    assert_int_equal(vs_index_count(index), count);
    print_message("%zu refused\n", refused);
    assert_true(refused > 20);
    vs_close(store);
}

static void test_exhausted(void **state)
{
    (void)state;
    alarm(300); /* whoever waits for memory waits for ever */
    start.pages = pages_used();
    mem_stats_read(&start.stats);
    exhausted(VS_HNSW, 1, 2);
    exhausted(VS_HNSW, 3, 2);
    exhausted(VS_FLAT, 2, 2);
    assert_true(wait_until(back_at_start, NULL, 5000));
    alarm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
