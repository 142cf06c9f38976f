/* Elements that end, in the engine: no search and no look shows one whose time has come, whether it has been removed or not; what is
 * asked for is found all the same; and the heaps of times agree with the records through replacement, deletion and compaction.
 * tsan: skip (the threads are those of test_expire_elements) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "lib/run.h"
#include "lib/stores.h"
#include "store/store_int.h"

#define DIM 8
#define IDS 6000
#define K 20

struct world {
    struct vs_store *store;
    struct vs_index *index;
    struct rng rng;
    uint64_t now;
    bool in[IDS];
    uint64_t deadline[IDS];          /* 0: none */
    float vector[IDS][DIM];
};

static bool alive(const struct world *w, uint32_t id)
{
    return w->in[id] && (!w->deadline[id] || w->deadline[id] > w->now);
}

static size_t count_alive(const struct world *w)
{
    size_t n = 0;
    for (uint32_t i = 0; i < IDS; i++)
        n += alive(w, i);
    return n;
}

static void random_vector(struct rng *rng, float *out)
{
    for (int i = 0; i < DIM; i++)
        out[i] = (float)rng_unit(rng) - 0.5f;
}

static uint64_t random_deadline(struct world *w)
{
    return rng_below(&w->rng, 3) ? w->now + 1 + rng_below(&w->rng, 1000) : 0;
}

static void add(struct world *w, uint32_t id)
{
    random_vector(&w->rng, w->vector[id]);
    bool keep = rng_below(&w->rng, 4) == 0, was = alive(w, id);
    struct vs_added added = {0};
    struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = w->vector[id], .past_backlog = true,
                           .deadline_ms = keep ? 0 : random_deadline(w), .keep_deadline = keep};
    assert_int_equal(vs_add(w->index, &e, VS_ADD_ANY, &added), VS_OK);
    assert_int_equal(added.created, !was);
    w->deadline[id] = keep ? was ? w->deadline[id] : 0 : e.deadline_ms;
    w->in[id] = true;
}

static void world_init(struct world *w, unsigned threads, enum vs_structure structure, uint64_t seed)
{
    struct vs_index_options o = {.dim = DIM, .metric = VEC_L2, .structure = structure, .m = 8, .ef_construction = 40, .keep_empty = true,
                                 .partitions = 2};
    *w = (struct world){.store = stores_open(threads), .rng = {seed}, .now = 1000};
    vs_set_clock(w->store, w->now);
    assert_int_equal(vs_create(w->store, 0, "k", 1, &o, &w->index), VS_OK);
}

/* ---- searches ---- */

static int compare_floats(const void *x, const void *y)
{
    const float *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static float naive_worst(const struct world *w, const float *query, size_t k)
{
    static float distance[IDS];
    size_t n = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        if (!alive(w, i))
            continue;
        float sum = 0;
        for (int d = 0; d < DIM; d++)
            sum += (query[d] - w->vector[i][d]) * (query[d] - w->vector[i][d]);
        distance[n++] = sum;
    }
    qsort(distance, n, sizeof(*distance), compare_floats);
    return distance[k - 1];
}

static void check_hits(const struct world *w, const struct vs_hit *hits, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        size_t len;
        memcpy(&id, vs_hit_id(&hits[i], &len), sizeof(id));
        if (!alive(w, id))
            fail_msg("element %u, deadline %llu, is shown at %llu", id, (unsigned long long)w->deadline[id],
                     (unsigned long long)w->now);
    }
}

static void on_done(struct vs_search *s, void *arg)
{
    (void)s;
    atomic_store((atomic_bool *)arg, true);
}

static void search(struct world *w, struct vs_reader *r)
{
    float vector[DIM];
    struct vs_hit hits[K];
    size_t n, living = count_alive(w), want = living < K ? living : K;
    random_vector(&w->rng, vector);
    struct vs_query q = {.vector = vector, .k = K, .exact = rng_below(&w->rng, 2)};
    assert_int_equal(vs_search_now(r, w->index, &q, hits, K, &n), VS_OK);
    assert_int_equal(n, want);
    check_hits(w, hits, n);
    if (q.exact && n)
        assert_true(hits[n - 1].distance <= naive_worst(w, vector, n) * 1.0001f + 1e-6f);
    vs_reader_idle(r);
    atomic_bool done = false;
    struct vs_search *s;
    q.has_radius = rng_below(&w->rng, 4) == 0;
    q.radius = 0.5;
    assert_int_equal(vs_search_begin(w->index, &q, &s), VS_OK);
    vs_search_submit(s, on_done, &done);
    while (!atomic_load(&done))
        vs_poll(w->store, 100);
    const struct vs_hit *found = vs_search_hits(s, &n);
    check_hits(w, found, n);
    if (!q.has_radius)
        assert_int_equal(n, want);
    vs_search_free(s);
}

/* The clock goes on and nothing is removed: all is hidden. Then all that has ended goes. */
static void hide(unsigned threads, enum vs_structure structure)
{
    struct world *w = calloc(1, sizeof(*w));
    world_init(w, threads, structure, run_seed());
    struct vs_reader *r = vs_reader_new(w->store);
    for (uint32_t i = 0; i < IDS; i++)
        add(w, i);
    stores_settle(w->store);
    for (int step = 0; step < 12; step++) {
        w->now += 100;
        vs_set_clock(w->store, w->now);
        for (int i = 0; i < (run_quick() ? 5 : 20); i++)
            search(w, r);
        for (uint32_t i = 0; i < IDS; i += 17)
            assert_int_equal(vs_contains(w->index, &i, sizeof(i)), alive(w, i));
        assert_int_equal(vs_index_count(w->index), IDS);
    }
    assert_true(vs_next_deadline(w->store) <= w->now);
    while (vs_expire(w->store, 200))
        vs_poll(w->store, 200);
    assert_int_equal(vs_index_count(w->index), count_alive(w));
    assert_int_equal(vs_next_deadline(w->store), UINT64_MAX);
    stores_settle(w->store);
    for (int i = 0; i < 10; i++)
        search(w, r);
    vs_reader_free(r);
    vs_close(w->store);
    free(w);
}

static void test_hidden(void **state)
{
    (void)state;
    hide(2, VS_HNSW);
    hide(0, VS_FLAT);
}

/* ---- everything at once ---- */

static void step(struct world *w)
{
    uint32_t id = (uint32_t)rng_below(&w->rng, IDS);
    uint64_t at;
    enum vs_status status;
    switch (rng_below(&w->rng, 8)) {
    case 0:
        status = vs_delete(w->index, &id, sizeof(id));
        assert_int_equal(status, alive(w, id) ? VS_OK : VS_NOTFOUND);
        w->in[id] &= status != VS_OK;
        break;
    case 1:
    case 2:
        at = random_deadline(w);
        status = vs_set_deadline(w->index, &id, sizeof(id), at);
        assert_int_equal(status, alive(w, id) ? VS_OK : VS_NOTFOUND);
        if (status == VS_OK)
            w->deadline[id] = at;
        break;
    case 3:
        at = 77;
        status = vs_get_deadline(w->index, &id, sizeof(id), &at);
        assert_int_equal(status, alive(w, id) ? VS_OK : VS_NOTFOUND);
        assert_int_equal(at, status == VS_OK ? w->deadline[id] : 77);
        break;
    default: add(w, id);
    }
}

/* Many go at a time, so that what stays moves. */
static void test_changes(void **state)
{
    (void)state;
    struct world *w = calloc(1, sizeof(*w));
    world_init(w, 2, VS_HNSW, run_seed() + 1);
    struct vs_reader *r = vs_reader_new(w->store);
    for (int round = 0; round < (run_quick() ? 6 : 20); round++) {
        for (int i = 0; i < 4000; i++) {
            step(w);
            if (i % 40)
                continue;
            vs_set_clock(w->store, w->now += 1 + rng_below(&w->rng, 6));
            if (rng_below(&w->rng, 2))
                vs_expire(w->store, 100);
            if (rng_below(&w->rng, 4) == 0)
                search(w, r);
            vs_poll(w->store, 200);
        }
        if (round % 3 == 2) { /* a whole generation */
            vs_set_clock(w->store, w->now += 900);
            while (vs_expire(w->store, 200))
                if (rng_below(&w->rng, 8) == 0)
                    search(w, r);
        }
        stores_settle(w->store);
    }
    vs_reader_free(r);
    vs_close(w->store);
    free(w);
}

/* Most of a large index ends at once: few dead ones stay behind, in a graph and a memory that are as small as the rest. */
static void test_generation(void **state)
{
    (void)state;
    enum { ALL = 16000, STAY = 5 };
    struct vs_store *store = stores_open(2);
    struct vs_index *index;
    assert_int_equal(vs_create(store, 0, "k", 1, &(struct vs_index_options){.dim = 4, .m = 4, .ef_construction = 16}, &index), VS_OK);
    struct rng rng = {99};
    for (uint32_t i = 0; i < ALL; i++) {
        float v[4];
        for (int d = 0; d < 4; d++)
            v[d] = (float)(rng_unit(&rng) - 0.5);
        struct vs_element e = {
            .id = &i, .id_len = sizeof(i), .vector = v, .deadline_ms = i % STAY ? 1000 : 0, .past_backlog = true};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    stores_settle(store);
    for (uint32_t i = 0; i < ALL; i++)
        if (i % STAY)
            assert_int_equal(vs_delete(index, &i, sizeof(i)), VS_OK);
    stores_settle(store);
    struct vs_partition_info info;
    vs_partition_info(index, 0, &info);
    print_message("%zu linked, %zu of them dead\n", info.linked, info.dead);
    assert_int_equal(vs_index_count(index), ALL / STAY);
    assert_true(info.dead <= info.linked / 8);
    vs_close(store);
}

/* ---- keys ---- */

static size_t told_keys, told_elements, told_emptied;

static void on_key(void *arg, unsigned db, const char *key, size_t len)
{
    (void)arg;
    assert_int_equal(db, 0);
    assert_memory_equal(key, "k", len);
    told_keys++;
}

static void on_elements(void *arg, unsigned db, const char *key, size_t len, size_t n, bool emptied)
{
    on_key(arg, db, key, len);
    told_keys--;
    told_elements += n;
    told_emptied += emptied;
}

static void test_keys(void **state)
{
    (void)state;
    struct vs_store *store = stores_open(0);
    struct vs_index_options o = {.dim = 2};
    struct vs_expiry_hooks hooks = {.key = on_key, .elements = on_elements};
    struct vs_index *index;
    float v[2] = {1, 0};
    vs_set_expiry_hooks(store, &hooks);
    vs_set_clock(store, 1000);
    assert_int_equal(vs_create(store, 0, "k", 1, &o, &index), VS_OK);
    assert_int_equal(vs_set_index_deadline(index, (uint64_t)VS_DEADLINE_MAX + 1), VS_INVALID);
    assert_int_equal(vs_set_index_deadline(index, 1001), VS_OK);
    assert_ptr_equal(vs_find(store, 0, "k", 1), index);
    vs_set_clock(store, 1001);
    assert_null(vs_find(store, 0, "k", 1));
    assert_int_equal(vs_remove(store, 0, "k", 1), VS_NOTFOUND);
    assert_int_equal(vs_count(store, 0), 1);
    assert_null(vs_random(store, 0));
    assert_int_equal(vs_create(store, 0, "k", 1, &o, &index), VS_OK); /* the name is cleared for it */
    assert_int_equal(told_keys, 1);
    assert_int_equal(vs_index_deadline(index), 0);
    for (int i = 0; i < 3; i++) {
        struct vs_element e = {.id = &i, .id_len = sizeof(i), .vector = v, .deadline_ms = 1500};
        assert_int_equal(vs_add(index, &e, VS_ADD_NX, NULL), VS_OK);
    }
    assert_int_equal(vs_next_deadline(store), 1500);
    vs_set_clock(store, 1500);
    int zero = 0;
    struct vs_element e = {.id = &zero, .id_len = sizeof(zero), .vector = v, .deadline_ms = 1600};
    struct vs_added added = {0};
    assert_int_equal(vs_add(index, &e, VS_ADD_XX, &added), VS_NOTFOUND);
    assert_int_equal(vs_add(index, &e, VS_ADD_NX, &added), VS_OK);
    assert_true(added.created && added.in_place);
    assert_int_equal(told_elements, 1);
    assert_int_equal(vs_index_count(index), 3);
    while (vs_expire(store, 1000))
        ;
    assert_int_equal(told_elements, 3);
    assert_int_equal(vs_index_count(index), 1);
    vs_set_clock(store, 1600);
    while (vs_expire(store, 1000))
        ;
    assert_int_equal(told_elements, 4);
    assert_int_equal(told_emptied, 1); /* the key goes with its last element */
    assert_int_equal(vs_count(store, 0), 0);
    assert_int_equal(told_keys, 1);
    assert_int_equal(vs_next_deadline(store), UINT64_MAX);
    /* a database that is emptied takes its times along */
    assert_int_equal(vs_create(store, 0, "k", 1, &o, &index), VS_OK);
    assert_int_equal(vs_set_index_deadline(index, 1700), VS_OK);
    e.deadline_ms = 1700;
    assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    assert_int_equal(vs_expiring(store, 0, NULL), 1);
    assert_int_equal(vs_flush(store, 0), VS_OK);
    assert_int_equal(vs_expiring(store, 0, NULL), 0);
    vs_set_clock(store, 1800);
    while (vs_expire(store, 1000))
        ;
    assert_int_equal(told_keys, 1);
    stores_settle(store);
    vs_close(store);
}

int main(void)
{
    run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_hidden),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
