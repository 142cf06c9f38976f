/* The graph is a function of the stream: one stream of additions, updates, deletions and attributes gives the same digests and the
 * same answers with any number of workers, whenever the owner polls, whatever keeps the workers busy, and wherever the records
 * happen to lie. And digests tell streams apart.
 *
 * VECSTORE_TEST_QUICK=1 shortens, VECSTORE_SEED=n repeats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/rng.h"
#include "lib/run.h"
#include "store/store_int.h"

#define DIM 8
#define SCALE (RUN_RACES ? 2 : 1) /* the sizes are divided by it */
#define IDS (7000 / SCALE)
#define QUERIES 40
#define K 10
#define MARKS 64                     /* digests remembered of one run */

static uint64_t seed;
static bool quick;

struct answer {
    uint64_t id;
    double score;
};
struct outcome {
    size_t nmarks;
    struct {
        uint64_t sequence, digest;
    } marks[MARKS];                  /* at the ends of the stream's parts */
    uint64_t records;
    struct answer answers[QUERIES][K];
};

struct run {
    struct vs_store *store;
    struct vs_index *index;
    struct rng stream;               /* decides the entries */
    struct rng local;                /* decides everything else */
    bool disturbed;
    bool swapped;                    /* two entries change places */
    _Atomic bool stop;
};

/* ---- what disturbs ---- */

struct spin {
    struct pool_task task;
    uint64_t ns;
    _Atomic bool *busy;
};

static void spin_task(struct pool_task *task, unsigned worker)
{
    struct spin *s = (struct spin *)((char *)task - offsetof(struct spin, task));
    uint64_t until = clock_mono_ns() + s->ns;
    (void)worker;
    while (clock_mono_ns() < until)
        ;
    free(s);
}

static void delay_worker(struct run *r)
{
    struct spin *s = calloc(1, sizeof(*s));
    s->task.run = spin_task;
    s->ns = rng_below(&r->local, 300000);
    pool_submit(vs_pool(r->store), rng_below(&r->local, 2) ? POOL_SEARCH : POOL_LINK, &s->task);
}

static void *searching(void *arg)
{
    struct run *r = arg;
    struct vs_reader *reader = vs_reader_new(r->store);
    struct rng rng = {seed ^ 5};
    while (!atomic_load(&r->stop)) {
        struct vs_hit hits[K];
        float query[DIM];
        size_t n;
        for (int i = 0; i < DIM; i++)
            query[i] = (float)rng_unit(&rng) - 0.5f;
        vs_search_now(reader, r->index, &(struct vs_query){.vector = query, .k = K}, hits, K, &n);
        if (rng_below(&rng, 4) == 0) {   /* hold what was found a while, so that slots come free at other times */
            uint64_t until = clock_mono_ns() + rng_below(&rng, 20000000);
            while (clock_mono_ns() < until && !atomic_load(&r->stop))
                sched_yield();
        }
        vs_reader_idle(reader);
    }
    vs_reader_free(reader);
    return NULL;
}

static void disturb(struct run *r)
{
    if (!r->disturbed)
        return;
    if (rng_below(&r->local, 30) == 0)
        vs_poll(r->store, (unsigned)rng_below(&r->local, 200));
    if (rng_below(&r->local, 200) == 0)
        delay_worker(r);
    if (rng_below(&r->local, 4000) == 0)
        assert_int_equal(vs_settle(r->store, 60000), VS_OK);
}

/* ---- the stream ---- */

static void make_vector(struct rng *rng, float *out)
{
    struct rng centre = {seed + rng_below(rng, 20)};
    for (int i = 0; i < DIM; i++)
        out[i] = (float)(rng_unit(&centre) * 4 - 2 + rng_unit(rng) - 0.5);
    if (rng_below(rng, 5) == 0)      /* equal ones: ties */
        for (int i = 0; i < DIM; i++)
            out[i] = (float)(int)out[i];
}

static void put(struct run *r, uint64_t id, const float *vector)
{
    assert_int_equal(vs_add(r->index, &(struct vs_element){.id = &id, .id_len = sizeof(id), .vector = vector, .past_backlog = true}, VS_ADD_ANY, NULL),
                     VS_OK);
    disturb(r);
}

static void put_random(struct run *r)
{
    uint64_t id = rng_below(&r->stream, IDS);
    float vector[DIM];
    make_vector(&r->stream, vector);
    put(r, id, vector);
}

static void remove_one(struct run *r, uint64_t id)
{
    vs_delete(r->index, &id, sizeof(id));
    disturb(r);
}

static void play(struct run *r, size_t n, unsigned adds, unsigned dels)
{
    for (size_t i = 0; i < n; i++) {
        unsigned what = (unsigned)rng_below(&r->stream, adds + dels + 1);
        uint64_t id = rng_below(&r->stream, IDS);
        if (what < adds) {
            put_random(r);
        } else if (what < adds + dels) {
            remove_one(r, id);
        } else {
            vs_set_attributes(r->index, &id, sizeof(id), "x", rng_below(&r->stream, 2));
            disturb(r);
        }
    }
}

static void mark(struct run *r, struct outcome *out)
{
    struct vs_partition_info info;
    assert_int_equal(vs_settle(r->store, 60000), VS_OK);
    assert_null(store_check(r->store));
    vs_partition_info(r->index, 0, &info);
    assert_in_range(out->nmarks, 0, MARKS - 1);
    out->marks[out->nmarks].sequence = info.linked_sequence;
    out->marks[out->nmarks++].digest = info.graph_digest;
    out->records = info.records_digest;
}

static void ask(struct run *r, struct outcome *out)
{
    struct vs_reader *reader = vs_reader_new(r->store);
    struct rng rng = {seed ^ 99};
    for (int i = 0; i < QUERIES; i++) {
        struct vs_hit hits[K];
        float query[DIM];
        size_t n, len;
        make_vector(&rng, query);
        assert_int_equal(vs_search_now(reader, r->index, &(struct vs_query){.vector = query, .k = K, .ef = 12}, hits, K, &n), VS_OK);
        for (size_t k = 0; k < n; k++) {
            memcpy(&out->answers[i][k].id, vs_hit_id(&hits[k], &len), sizeof(uint64_t));
            out->answers[i][k].score = hits[k].score;
        }
    }
    vs_reader_free(reader);
}

static void run_stream(unsigned threads, bool disturbed, bool swapped, uint64_t local, struct outcome *out)
{
    struct run r = {.stream = {seed}, .local = {local}, .disturbed = disturbed, .swapped = swapped};
    pthread_t thread;
    memset(out, 0, sizeof(*out));
    assert_int_equal(vs_open(&(struct vs_options){.threads = threads, .link_backlog_max = 1000000}, &r.store), VS_OK);
    struct vs_index_options o = {.dim = DIM, .metric = VEC_L2, .m = 6, .ef_construction = 24, .seed = 3};
    assert_int_equal(vs_create(r.store, 0, "d", 1, &o, &r.index), VS_OK);
    if (disturbed)
        pthread_create(&thread, NULL, searching, &r);
    float a[DIM], b[DIM];
    make_vector(&r.stream, a);
    make_vector(&r.stream, b);
    play(&r, 1000 / SCALE, 10, 2);
    put(&r, swapped ? IDS + 1 : IDS, swapped ? b : a);
    put(&r, swapped ? IDS : IDS + 1, swapped ? a : b);
    int rounds = quick ? 1 : 2;
    for (int round = 0; round < rounds; round++) {
        play(&r, 9000 / SCALE, 10, 1);
        mark(&r, out);
        for (uint64_t id = 0; id < IDS; id++)    /* a half dies, from one end */
            if (rng_below(&r.stream, IDS) > id)
                remove_one(&r, id);
        mark(&r, out);
        play(&r, 4000 / SCALE, 10, 8);
        mark(&r, out);
        ask(&r, out);
        if (round == 0)              /* all die, without a pause before the next come */
            for (uint64_t id = 0; id < IDS + 2; id++)
                remove_one(&r, id);
        play(&r, 700 / SCALE, 10, 0);
        mark(&r, out);
    }
    atomic_store(&r.stop, true);
    if (disturbed)
        pthread_join(thread, NULL);
    vs_close(r.store);
}

static struct outcome reference;

static void assert_same(const struct outcome *o)
{
    assert_int_equal(o->nmarks, reference.nmarks);
    for (size_t i = 0; i < o->nmarks; i++) {
        assert_int_equal(o->marks[i].sequence, reference.marks[i].sequence);
        assert_true(o->marks[i].digest == reference.marks[i].digest);
    }
    assert_true(o->records == reference.records);
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t k = 0; k < K; k++) {
            assert_int_equal(o->answers[i][k].id, reference.answers[i][k].id);
            assert_true(o->answers[i][k].score == reference.answers[i][k].score);
        }
}

static void test_again(void **state)
{
    struct outcome o;
    (void)state;
    run_stream(0, false, false, 1, &o);
    assert_same(&o);
}

static void test_workers(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads *= quick ? 4 : 2) {
        struct outcome o;
        run_stream(threads, false, false, 1, &o);
        assert_same(&o);
    }
}

static void test_disturbed(void **state)
{
    (void)state;
    for (unsigned threads = RUN_RACES ? 4 : 0; threads <= 4; threads = threads ? threads * 2 : quick ? 3 : 1) {
        struct outcome o;
        run_stream(threads, true, false, seed + threads, &o);
        assert_same(&o);
    }
}

static void test_order_matters(void **state)
{
    struct outcome o;
    (void)state;
    run_stream(2, false, true, 1, &o);
    assert_true(o.marks[0].digest != reference.marks[0].digest);
    assert_int_equal(o.marks[0].sequence, reference.marks[0].sequence);
}

static int setup(void **state)
{
    (void)state;
    run_stream(0, false, false, 0, &reference);
    return 0;
}

int main(void)
{
    quick = run_quick();
    seed = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_disturbed),
        cmocka_unit_test(test_order_matters),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test(test_disturbed),
    };
    return RUN_RACES ? cmocka_run_group_tests(threaded, setup, NULL) : cmocka_run_group_tests(tests, setup, NULL);
}
