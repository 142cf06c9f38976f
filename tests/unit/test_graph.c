/* A graph without a store above it: what its owner is told, when batches close, what readers of an earlier moment see, and
 * slots that come free. The store's tests and the models do the rest.
 * tsan: skip (one thread) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "index/graph.h"
#include "lib/run.h"

#define DIM 4
#define MAX 20000

struct bed {
    struct graph_env env;
    struct searcher scratch, searcher;
    struct graph *graph;
    uint64_t sequence;
    uint32_t slot[MAX];              /* of record i */
    uint8_t freed[MAX];
    size_t nfreed, moved;
    struct rng rng;
};

static void on_ready(struct graph_env *env, struct graph *g)
{
    (void)env;
    (void)g;
}

/* `user` is the record's number + 1. */
static void on_freed(void *arg, void *user, void *extra)
{
    struct bed *b = arg;
    uintptr_t n = (uintptr_t)user - 1;
    assert_null(extra);
    assert_int_equal(b->freed[n], 0);
    b->freed[n] = 1;
    b->nfreed++;
}

static void on_moved(void *arg, void *user, uint32_t from, uint32_t to)
{
    struct bed *b = arg;
    uintptr_t n = (uintptr_t)user - 1;
    assert_int_equal(b->slot[n], from);
    assert_true(to < from);
    b->slot[n] = to;
    b->moved++;
}

static struct bed *bed_new(bool flat)
{
    struct bed *b = calloc(1, sizeof(*b));
    searcher_init(&b->scratch);
    searcher_init(&b->searcher);
    b->env = (struct graph_env){.epoch = epoch_new(), .pool = pool_new(0, "test"), .searchers = &b->searcher,
                                .scratch = &b->scratch, .ready = on_ready, .arg = b};
    struct graph_options o = {.type = VEC_Q8, .metric = VEC_L2, .dim = DIM, .m = 4, .ef_construction = 20, .seed = 2, .flat = flat};
    struct graph_owner owner = {on_freed, on_moved, b, NULL};
    b->graph = graph_new(&b->env, &o, &owner);
    assert_non_null(b->graph);
    return b;
}

/* Until nothing is left to do, if no reader holds anything. */
static void work(struct bed *b)
{
    for (int idle = 0; idle < 4; idle++) {
        pool_drain(b->env.pool);
        if (graph_poll(b->graph, UINT64_MAX) || epoch_reclaim(b->env.epoch, SIZE_MAX))
            idle = 0;
    }
    pool_drain(b->env.pool);
    assert_false(graph_busy(b->graph));
    assert_null(graph_check(b->graph));
}

static void bed_free(struct bed *b, size_t records)
{
    graph_retire(b->graph);
    pool_drain(b->env.pool);
    while (epoch_reclaim(b->env.epoch, SIZE_MAX))
        pool_drain(b->env.pool);
    assert_true(graph_idle(b->graph));
    graph_free(b->graph);
    assert_int_equal(b->nfreed, records);
    pool_free(b->env.pool);
    epoch_free(b->env.epoch);
    searcher_release(&b->scratch);
    searcher_release(&b->searcher);
    free(b);
}

static void insert(struct bed *b, uint32_t n)
{
    float vector[DIM];
    for (int i = 0; i < DIM; i++)
        vector[i] = (float)rng_unit(&b->rng);
    assert_int_equal(graph_insert(b->graph, vector, hash_mix(n), ++b->sequence, (void *)(uintptr_t)(n + 1), NULL, 0, &b->slot[n]), VS_OK);
    assert_int_equal(graph_born(b->graph, b->slot[n]), b->sequence);
    assert_ptr_equal(graph_user(b->graph, b->slot[n]), (void *)(uintptr_t)(n + 1));
    graph_entry_done(b->graph, b->sequence);
}

static void kill_record(struct bed *b, uint32_t n)
{
    assert_int_equal(graph_kill_room(b->graph), VS_OK);
    graph_kill(b->graph, b->slot[n], ++b->sequence);
    graph_entry_done(b->graph, b->sequence);
}

static struct graph_info info_of(const struct bed *b)
{
    struct graph_info info;
    graph_info(b->graph, &info);
    return info;
}

/* Scanned up to GRAPH_MIN, linked from there, in batches that close by inserts or by deaths. */
static void test_closings(void **state)
{
    (void)state;
    struct bed *b = bed_new(false);
    uint32_t n = 0;
    for (; n < GRAPH_MIN - 1; n++)
        insert(b, n);
    work(b);
    assert_int_equal(info_of(b).max_level, -1);
    assert_int_equal(graph_backlog(b->graph), 0);
    insert(b, n++);
    assert_int_equal(graph_backlog(b->graph), GRAPH_MIN);
    work(b);
    struct graph_info info = info_of(b);
    assert_int_equal(info.linked, GRAPH_MIN);
    assert_int_equal(info.linked_sequence, GRAPH_MIN);
    assert_true(info.digest != 0);
    for (int i = 0; i < BATCH_SIZE - 1; i++)
        insert(b, n++);
    work(b);
    assert_int_equal(info_of(b).linked, GRAPH_MIN);
    assert_int_equal(graph_backlog(b->graph), BATCH_SIZE - 1);
    insert(b, n++);
    work(b);
    assert_int_equal(info_of(b).linked, GRAPH_MIN + BATCH_SIZE);
    /* deaths close, and are repaired when they are many */
    for (uint32_t i = 0; i < BATCH_SIZE - 1; i++)
        kill_record(b, i * 3);
    work(b);
    assert_int_equal(info_of(b).dead, BATCH_SIZE - 1);
    assert_int_equal(b->nfreed, 0);
    kill_record(b, 1);
    work(b);
    info = info_of(b);
    assert_int_equal(info.dead, 0);
    assert_int_equal(info.linked, GRAPH_MIN);
    assert_int_equal(info.alive, GRAPH_MIN);
    assert_int_equal(b->nfreed, BATCH_SIZE);
    assert_int_equal(info.linked_sequence, b->sequence);
    bed_free(b, n);
}

/* A graph that has lost all its nodes is a graph still: whether the last were repaired when the next came does not matter. */
static void test_all_die(void **state)
{
    (void)state;
    uint64_t digest[2];
    for (int patient = 0; patient < 2; patient++) {
        struct bed *b = bed_new(false);
        uint32_t n = 0;
        b->rng.state = 3;
        for (; n < 2048; n++)
            insert(b, n);
        for (uint32_t i = 0; i < n; i++)
            kill_record(b, i);
        if (patient)
            work(b);
        for (; n < 2048 + 700; n++)
            insert(b, n);
        work(b);
        digest[patient] = info_of(b).digest;
        assert_int_equal(info_of(b).linked, 512);
        bed_free(b, n);
    }
    assert_true(digest[0] == digest[1]);
}

/* A reader of an earlier moment sees what was alive then, whatever happens to it meanwhile. */
static void test_as_of(void **state)
{
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        struct bed *b = bed_new(flat);
        struct searcher s;
        struct epoch_reader *reader = epoch_reader_new(b->env.epoch);
        uint32_t n = 0;
        searcher_init(&s);
        for (; n < 3000; n++)
            insert(b, n);
        work(b);
        epoch_enter(b->env.epoch, reader);
        uint64_t as_of = graph_sequence(b->graph);
        struct graph_view *view = graph_view(b->graph);
        for (uint32_t i = 0; i < 2500; i++)
            kill_record(b, i);
        for (; n < 4000; n++)
            insert(b, n);
        for (int i = 0; i < 20; i++) {
            pool_drain(b->env.pool);
            graph_poll(b->graph, UINT64_MAX);
            epoch_reclaim(b->env.epoch, SIZE_MAX);
        }
        assert_int_equal(b->nfreed, 0);
        float vector[DIM] = {0};
        struct graph_query q = {.vector = vector, .keep = 10000, .ef = 10, .exact = true, .as_of = as_of};
        struct graph_result result;
        assert_int_equal(graph_search(b->graph, view, &s, &q, &result), VS_OK);
        assert_int_equal(s.ntop, 3000);
        for (size_t i = 0; i < s.ntop; i++)
            assert_true((uintptr_t)graph_view_user(view, s.top[i].slot) <= 3000);
        q.as_of = as_of + 1;         /* one death later */
        assert_int_equal(graph_search(b->graph, graph_view(b->graph), &s, &q, &result), VS_OK);
        assert_int_equal(s.ntop, 2999);
        epoch_exit(reader);
        work(b);
        epoch_reader_free(b->env.epoch, reader);
        assert_in_range(b->nfreed, 2500 - 2 * BATCH_SIZE, 2500);
        searcher_release(&s);
        bed_free(b, n);
    }
}

/* Deaths at the front make compaction move the records of the back; a graph without them is smaller. */
static void test_compaction(void **state)
{
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        struct bed *b = bed_new(flat);
        uint32_t n = 0;
        for (; n < 10000; n++)
            insert(b, n);
        work(b);
        size_t rows = info_of(b).bytes.rows;
        uint64_t digest = 0;
        for (uint32_t i = 0; i < 8000; i++)
            kill_record(b, i);
        work(b);
        digest = info_of(b).digest;
        assert_true(b->moved > 0);
        assert_true(info_of(b).bytes.rows <= rows * 4 / 10);
        work(b);
        assert_true(info_of(b).digest == digest);
        for (; n < 12000; n++)
            insert(b, n);
        work(b);
        for (uint32_t i = 8000; i < n; i++)
            kill_record(b, i);
        work(b);
        assert_int_equal(graph_alive(b->graph), 0);
        bed_free(b, n);
    }
}

/* A record that is being moved is alive in one slot alone. */
static void alive_once(const struct bed *b)
{
    size_t n = 0;
    for (size_t slot = 0; slot < graph_slack(b->graph).slots; slot++)
        n += graph_alive_at(b->graph, (uint32_t)slot) != 0;
    assert_int_equal(n, graph_alive(b->graph));
}

/* Graphs are freed at any point of their work. */
static void test_freed_midway(void **state)
{
    (void)state;
    for (int steps = 0; steps < 40; steps += run_quick() ? 5 : 1) {
        struct bed *b = bed_new(steps % 2);
        uint32_t n = 0;
        for (; n < 5000; n++)
            insert(b, n);
        work(b);
        for (uint32_t i = 0; i < 4000; i++)
            kill_record(b, i);
        for (int i = 0; i < 15 * steps; i++) {
            pool_drain(b->env.pool);
            graph_poll(b->graph, clock_mono_ns());
            epoch_reclaim(b->env.epoch, 2);
            alive_once(b);
            if (b->moved)
                kill_record(b, --n);
        }
        bed_free(b, 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closings),
        cmocka_unit_test(test_all_die),
        cmocka_unit_test(test_as_of),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_freed_midway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
