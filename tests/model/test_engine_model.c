/* The engine against a naive twin: random streams of additions, updates, deletions (single, clustered, of a half), attributes,
 * with searches from the owner and from other threads under way. At sizes at which batches close, dead nodes are repaired and
 * chunks are compacted many times.
 *
 * Other threads cannot know what exactly a search of theirs sees; but what did not change from before the search until
 * after it must be found, or must not. For that every element has a word that the owner makes odd while it changes it.
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

#include "base/rng.h"
#include "lib/run.h"
#include "lib/wait.h"
#include "store/store_int.h"
#include "vec/codec.h"

#define DIM 8
#define IDS_MAX 8192
#define CLUSTERS 16
#define READERS_MAX 2

static uint64_t seed;
static bool quick;

struct item {
    bool present;
    float vector[DIM];
    uint64_t age;                    /* number of the change that made its vector */
    int attributes;                  /* -1: none; else the number that they hold */
};

struct world {
    struct vs_store *store;
    struct vs_index *index;
    struct vs_index_options options;
    struct rng rng;
    uint32_t nids;
    struct item items[IDS_MAX];
    size_t count;
    uint64_t changes;
    _Atomic uint64_t state[IDS_MAX]; /* changes begun << 1 | present; odd number of changes: under way */
    _Atomic bool stop, failed;
    _Atomic size_t searches;
    const char *why;
};

static void make_id(uint32_t n, char *out)
{
    snprintf(out, 16, "element-%05u", n % 100000);
}

static uint32_t id_number(const struct vs_hit *hit)
{
    size_t len;
    const char *id = vs_hit_id(hit, &len);
    assert_int_equal(len, 13);
    char text[14] = {0};
    memcpy(text, id, 13);
    return (uint32_t)strtoul(text + 8, NULL, 10);
}

static void random_vector(struct rng *rng, uint32_t cluster, float *out)
{
    struct rng centre;
    centre.state = 77 + cluster;
    for (int i = 0; i < DIM; i++)
        out[i] = (float)(rng_unit(&centre) * 10 - 5 + rng_unit(rng) * 2 - 1);
    if (rng_below(rng, 40) == 0)
        memset(out, 0, DIM * sizeof(*out));
    if (rng_below(rng, 10) == 0)     /* many equal ones */
        for (int i = 0; i < DIM; i++)
            out[i] = (float)(int)out[i];
}

/* ---- changing both ---- */

static void begin_change(struct world *w, uint32_t id)
{
    atomic_fetch_add(&w->state[id], 2);
}

static void end_change(struct world *w, uint32_t id)
{
    uint64_t next = ((atomic_load(&w->state[id]) >> 1) + 1) << 1 | w->items[id].present;
    atomic_store(&w->state[id], next);
}

static void add(struct world *w, uint32_t id, uint32_t cluster)
{
    struct item *it = &w->items[id];
    char name[16], attributes[32];
    float vector[DIM];
    struct vs_added added = {0};
    enum vs_add_mode mode = (enum vs_add_mode)rng_below(&w->rng, 12);
    if (mode > VS_ADD_XX)
        mode = VS_ADD_ANY;
    make_id(id, name);
    if (it->present && rng_below(&w->rng, 8) == 0)
        memcpy(vector, it->vector, sizeof(vector));
    else
        random_vector(&w->rng, cluster, vector);
    struct vs_element e = {.id = name, .id_len = 13, .vector = vector};
    int number = -1;
    unsigned kind = (unsigned)rng_below(&w->rng, 6);
    if (kind == 0) {
        number = (int)rng_below(&w->rng, 100000);
        e.attributes_len = (size_t)snprintf(attributes, sizeof(attributes), "{\"n\":%d}", number);
        e.attributes = attributes;
    } else if (kind == 1 && it->present) {
        e.attributes = "";
    } else if (it->present) {
        number = it->attributes;
    }
    begin_change(w, id);
    enum vs_status status;
    while ((status = vs_add(w->index, &e, mode, &added)) == VS_BACKLOG)
        vs_poll(w->store, 1000);
    if (mode == VS_ADD_NX && it->present) {
        assert_int_equal(status, VS_EXISTS);
    } else if (mode == VS_ADD_XX && !it->present) {
        assert_int_equal(status, VS_NOTFOUND);
    } else {
        assert_int_equal(status, VS_OK);
        assert_int_equal(added.created, !it->present);
        w->count += !it->present;
        if (!it->present || memcmp(vector, it->vector, sizeof(vector)) != 0)
            it->age = ++w->changes;
        it->present = true;
        it->attributes = number;
        memcpy(it->vector, vector, sizeof(vector));
    }
    end_change(w, id);
}

static void del(struct world *w, uint32_t id)
{
    struct item *it = &w->items[id];
    char name[16];
    make_id(id, name);
    begin_change(w, id);
    assert_int_equal(vs_delete(w->index, name, 13), it->present ? VS_OK : VS_NOTFOUND);
    w->count -= it->present;
    it->present = false;
    end_change(w, id);
}

static void set_attributes(struct world *w, uint32_t id)
{
    struct item *it = &w->items[id];
    char name[16], text[32];
    make_id(id, name);
    int number = rng_below(&w->rng, 3) ? (int)rng_below(&w->rng, 100000) : -1;
    size_t len = number < 0 ? 0 : (size_t)snprintf(text, sizeof(text), "{\"n\":%d}", number);
    enum vs_status status = vs_set_attributes(w->index, name, 13, text, len);
    assert_int_equal(status, it->present ? VS_OK : VS_NOTFOUND);
    if (it->present)
        it->attributes = number;
}

/* ---- what should be found ---- */

struct wanted {
    float distance;
    uint32_t id;
    uint64_t age;
};

static int compare_wanted(const void *x, const void *y)
{
    const struct wanted *a = x, *b = y;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->age < b->age ? -1 : a->age > b->age;
}

static float true_distance(const struct vs_index_options *o, const float *query, const float *vector)
{
    const void *one = vector;
    float norm = vec_norm(vector, DIM), d;
    vec_original_distances(VEC_ORIG_F32, o->metric, DIM, query, vec_norm(query, DIM), &one, &norm, 1, &d);
    return d;
}

static size_t brute_force(const struct world *w, const float *query, struct wanted *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < w->nids; i++)
        if (w->items[i].present)
            out[n++] = (struct wanted){true_distance(&w->options, query, w->items[i].vector), i, w->items[i].age};
    qsort(out, n, sizeof(*out), compare_wanted);
    return n;
}

/* ---- searches of the owner: what they see is fixed when they begin ---- */

struct pending {
    struct vs_search *search;
    struct wanted *wanted;
    size_t nwanted;
    uint32_t k, offset;
    bool exact;
    _Atomic bool done;
};

static void search_done(struct vs_search *search, void *arg)
{
    struct pending *p = arg;
    (void)search;
    atomic_store(&p->done, true);
}

static void begin_search(struct world *w, struct pending *p)
{
    float query[DIM];
    random_vector(&w->rng, (uint32_t)rng_below(&w->rng, CLUSTERS), query);
    *p = (struct pending){.k = 1 + (uint32_t)rng_below(&w->rng, 50), .offset = (uint32_t)rng_below(&w->rng, 3) * 5,
                          .exact = rng_below(&w->rng, 2)};
    p->wanted = malloc((w->count + 1) * sizeof(*p->wanted));
    p->nwanted = brute_force(w, query, p->wanted);
    struct vs_query q = {.vector = query, .k = p->k, .offset = p->offset, .exact = p->exact, .ef = p->exact ? 0 : 64};
    assert_int_equal(vs_search_begin(w->index, &q, &p->search), VS_OK);
    vs_search_submit(p->search, search_done, p);
}

static bool is_done(void *arg)
{
    return atomic_load(&((struct pending *)arg)->done);
}

/* With several partitions the order of equal distances is theirs: then distances alone are compared. */
static void check_exact(const struct world *w, const struct pending *p, const struct vs_hit *hits, size_t n)
{
    size_t after = p->nwanted > p->offset ? p->nwanted - p->offset : 0;
    assert_int_equal(n, after < p->k ? after : p->k);
    for (size_t i = 0; i < n; i++) {
        const struct wanted *want = &p->wanted[p->offset + i];
        assert_true(hits[i].distance == want->distance);
        if (w->options.partitions == 1)
            assert_int_equal(id_number(&hits[i]), want->id);
    }
}

static void end_search(struct world *w, struct pending *p)
{
    size_t n;
    assert_true(wait_until(is_done, p, 60000));
    const struct vs_hit *hits = vs_search_hits(p->search, &n);
    if (p->exact) {
        check_exact(w, p, hits, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            uint32_t id = id_number(&hits[i]);
            size_t at = 0;
            while (at < p->nwanted && p->wanted[at].id != id)
                at++;
            assert_true(at < p->nwanted);  /* alive when the search began */
            assert_true(p->wanted[at].distance == hits[i].distance);
            p->wanted[at].id = UINT32_MAX; /* and not found twice */
        }
    }
    vs_search_free(p->search);
    free(p->wanted);
}

/* ---- searches of other threads ---- */

static void reader_failed(struct world *w, const char *why)
{
    if (!atomic_exchange(&w->failed, true))
        w->why = why;
}

static void check_reader(struct world *w, const uint64_t *before, const struct vs_query *q, const struct vs_hit *hits, size_t n)
{
    static const char *const wrong[] = {"found twice", "dead", "missing", "out of order", "wrong distance"};
    uint8_t *seen = calloc(1, w->nids);
    for (size_t i = 0; i < n; i++) {
        uint32_t id = id_number(&hits[i]);
        float vector[DIM];
        if (id >= w->nids || seen[id]++)
            reader_failed(w, wrong[0]);
        uint64_t after = atomic_load(&w->state[id]);
        if (before[id] == after && !(after & 1) && !(after >> 1 & 1))
            reader_failed(w, wrong[1]);
        if (i && hits[i].distance < hits[i - 1].distance)
            reader_failed(w, wrong[3]);
        vs_hit_vector(&hits[i], vector);
        if (true_distance(&w->options, q->vector, vector) != hits[i].distance)
            reader_failed(w, wrong[4]);
    }
    for (uint32_t id = 0; q->k >= w->nids && id < w->nids; id++)
        if (!seen[id] && (before[id] & 1) && !(before[id] >> 1 & 1) && atomic_load(&w->state[id]) == before[id])
            reader_failed(w, wrong[2]);
    free(seen);
}

static void *reader_main(void *arg)
{
    struct world *w = arg;
    struct vs_reader *reader = vs_reader_new(w->store);
    struct vs_hit *hits = malloc(IDS_MAX * sizeof(*hits));
    uint64_t *before = malloc(IDS_MAX * sizeof(*before));
    struct rng rng;
    rng.state = seed ^ (uint64_t)(uintptr_t)hits;
    while (!atomic_load(&w->stop)) {
        float query[DIM];
        size_t n = 0;
        random_vector(&rng, (uint32_t)rng_below(&rng, CLUSTERS), query);
        bool all = rng_below(&rng, 3) == 0;
        struct vs_query q = {.vector = query, .k = all ? w->nids : 10, .exact = all && rng_below(&rng, 2),
                             .ef = all ? w->nids : 20 + (uint32_t)rng_below(&rng, 100)};
        for (uint32_t i = 0; i < w->nids; i++)
            before[i] = atomic_load(&w->state[i]);
        if (vs_search_now(reader, w->index, &q, hits, IDS_MAX, &n) != VS_OK)
            reader_failed(w, "a search failed");
        check_reader(w, before, &q, hits, n);
        vs_reader_idle(reader);
        atomic_fetch_add(&w->searches, 1);
    }
    vs_reader_free(reader);
    free(hits);
    free(before);
    return NULL;
}

/* ---- streams ---- */

static void settle_and_check(struct world *w)
{
    assert_int_equal(vs_settle(w->store, 100000), VS_OK);
    const char *wrong = store_check(w->store);
    if (wrong)
        print_error("seed %llu: %s\n", (unsigned long long)seed, wrong);
    assert_null(wrong);
    if (atomic_load(&w->failed))
        print_error("seed %llu: a reader: %s\n", (unsigned long long)seed, w->why);
    assert_false(atomic_load(&w->failed));
    assert_int_equal(vs_index_count(w->index), w->count);
    for (uint32_t i = 0; i < w->nids; i += 7) {
        char name[16], text[32];
        const void *data;
        size_t len;
        float vector[DIM];
        make_id(i, name);
        assert_int_equal(vs_contains(w->index, name, 13), w->items[i].present);
        if (!w->items[i].present)
            continue;
        assert_int_equal(vs_get_vector(w->index, name, 13, vector), VS_OK);
        assert_memory_equal(vector, w->items[i].vector, sizeof(vector));
        assert_int_equal(vs_get_attributes(w->index, name, 13, &data, &len), VS_OK);
        if (w->items[i].attributes < 0) {
            assert_null(data);
        } else {
            snprintf(text, sizeof(text), "{\"n\":%d}", w->items[i].attributes);
            assert_int_equal(len, strlen(text));
            assert_memory_equal(data, text, len);
        }
    }
}

static void random_changes(struct world *w, size_t n, unsigned adds, unsigned dels)
{
    struct pending pending = {0};
    bool searching = false;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)rng_below(&w->rng, w->nids);
        unsigned what = (unsigned)rng_below(&w->rng, adds + dels + 2);
        if (what < adds)
            add(w, id, id % CLUSTERS);
        else if (what < adds + dels)
            del(w, id);
        else
            set_attributes(w, id);
        if (rng_below(&w->rng, 50) == 0)
            vs_poll(w->store, 1 + (unsigned)rng_below(&w->rng, 300));
        if (searching && rng_below(&w->rng, 100) == 0) {
            end_search(w, &pending);
            searching = false;
        } else if (!searching && rng_below(&w->rng, 200) == 0) {
            begin_search(w, &pending);
            searching = true;
        }
    }
    if (searching)
        end_search(w, &pending);
}

static void delete_cluster(struct world *w, uint32_t cluster)
{
    for (uint32_t i = cluster; i < w->nids; i += CLUSTERS)
        if (w->items[i].present)
            del(w, i);
}

/* Another index that comes and goes, with partitions dropped, beside the one under test. */
static void other_index(struct world *w)
{
    struct vs_index *other;
    struct vs_index_options o = w->options;
    o.partitions = 3;
    vs_remove(w->store, 0, "other", 5);
    assert_int_equal(vs_create(w->store, 0, "other", 5, &o, &other), VS_OK);
    for (uint32_t i = 0; i < 1500; i++) {
        char name[16];
        float vector[DIM];
        make_id(i, name);
        random_vector(&w->rng, i % CLUSTERS, vector);
        assert_int_equal(vs_add(other, &(struct vs_element){.id = name, .id_len = 13, .vector = vector, .past_backlog = true}, VS_ADD_ANY, NULL), VS_OK);
    }
    assert_int_equal(vs_partition_drop(other, 1 + rng_below(&w->rng, 2)), VS_OK);
    if (rng_below(&w->rng, 2))
        assert_int_equal(vs_rename(w->store, 0, "other", 5, "another", 7), VS_OK);
    if (rng_below(&w->rng, 4) == 0)
        vs_flush(w->store, 1);
}

static void run_stream(unsigned threads, enum vec_metric metric, enum vec_type type, uint32_t partitions,
                       enum vs_structure structure)
{
    struct world *w = calloc(1, sizeof(*w));
    pthread_t readers[READERS_MAX];
    unsigned nreaders = threads ? READERS_MAX : 1;
    int rounds = quick ? 1 : 3;
    w->nids = quick ? 2304 : 6000;
    w->rng.state = seed + threads * 1000 + metric * 100 + type * 10 + partitions;
    struct vs_options o = {.threads = threads, .databases = 2};
    assert_int_equal(vs_open(&o, &w->store), VS_OK);
    w->options = (struct vs_index_options){.dim = DIM, .metric = metric, .type = type, .originals = VEC_ORIG_F32,
                                           .m = 6, .ef_construction = 30,
                                           .partitions = partitions, .seed = 9, .structure = structure};
    assert_int_equal(vs_create(w->store, 0, "index", 5, &w->options, &w->index), VS_OK);
    for (unsigned i = 0; i < nreaders; i++)
        pthread_create(&readers[i], NULL, reader_main, w);
    for (int round = 0; round < rounds; round++) {
        random_changes(w, w->nids * 2, 10, 1);
        settle_and_check(w);
        for (unsigned i = 0; i < 6; i++)
            delete_cluster(w, (uint32_t)rng_below(&w->rng, CLUSTERS));
        random_changes(w, 1000, 5, 5);
        settle_and_check(w);
        other_index(w);
        random_changes(w, w->nids, 10, 5);
        for (uint32_t i = 0; i < w->nids; i += 2)
            del(w, i);
        settle_and_check(w);
        random_changes(w, w->nids, 10, 8);
        if (round % 2 == 1) {
            for (uint32_t i = 0; i < w->nids; i++)
                del(w, i);
            settle_and_check(w);
            random_changes(w, 300, 10, 1);
        }
        settle_and_check(w);
    }
    atomic_store(&w->stop, true);
    for (unsigned i = 0; i < nreaders; i++)
        pthread_join(readers[i], NULL);
    settle_and_check(w);
    print_message("%zu searches of other threads\n", atomic_load(&w->searches));
    vs_close(w->store);
    free(w);
}

static void test_no_workers(void **state)
{
    (void)state;
    run_stream(0, VEC_COSINE, VEC_Q8, 1, VS_HNSW);
}

static void test_one_worker(void **state)
{
    (void)state;
    run_stream(1, VEC_L2, VEC_Q8, 1, VS_HNSW);
}

static void test_two_workers(void **state)
{
    (void)state;
    run_stream(2, VEC_L2, VEC_F32, 1, VS_HNSW);
}

static void test_four_workers(void **state)
{
    (void)state;
    run_stream(4, VEC_IP, VEC_Q8, 1, VS_HNSW);
}

static void test_partitions(void **state)
{
    (void)state;
    run_stream(2, VEC_COSINE, VEC_Q8, 2, VS_HNSW);
}

static void test_short_codes(void **state)
{
    (void)state;
    run_stream(2, VEC_COSINE, VEC_Q4, 1, VS_HNSW);
    run_stream(0, VEC_L2, VEC_BIN, 1, VS_HNSW);
}

static void test_half_floats(void **state)
{
    (void)state;
    run_stream(1, VEC_L2, VEC_F16, 1, VS_HNSW);
}

static void test_flat(void **state)
{
    (void)state;
    run_stream(2, VEC_L2, VEC_Q8, 1, VS_FLAT);
}

int main(void)
{
    quick = run_quick();
    seed = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_workers), cmocka_unit_test(test_one_worker), cmocka_unit_test(test_two_workers),
        cmocka_unit_test(test_four_workers), cmocka_unit_test(test_partitions), cmocka_unit_test(test_short_codes),
        cmocka_unit_test(test_half_floats), cmocka_unit_test(test_flat),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test(test_two_workers),
        cmocka_unit_test(test_four_workers),
        cmocka_unit_test(test_partitions),
    };
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
