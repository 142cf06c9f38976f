/* See graph_bed.h: streams, beds and what is compared. Images are in graph_image.c. */
#include "lib/graph_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "lib/wait.h"

/* ---- streams ---- */

struct stream stream_make(uint64_t seed, size_t n, size_t size)
{
    struct stream s = {.entries = calloc(n, sizeof(*s.entries)), .n = n};
    uint32_t *alive = calloc(n + 1, sizeof(*alive));
    size_t nalive = 0, dying = 0;
    struct rng r = {seed};
    for (size_t i = 0; i < n; i++) {
        struct entry *e = &s.entries[i];
        unsigned dice = (unsigned)(rng_next(&r) % 1000);
        if (!dying && nalive >= size && dice == 0)
            dying = size / 2 + rng_next(&r) % size;
        unsigned deaths = dying ? 900 : nalive >= size ? 300 : nalive > size / 2 ? 100 : 20;
        dying -= dying != 0;
        if (nalive && dice < deaths) {
            size_t k = rng_next(&r) % nalive;
            e->kill = alive[k];
            alive[k] = alive[--nalive];
        }
        if (!e->kill || (!dying && dice % 3 == 0)) {
            e->insert = ++s.records;
            alive[nalive++] = e->insert;
        }
    }
    free(alive);
    return s;
}

void stream_free(struct stream *s)
{
    free(s->entries);
}

void bed_vector(uint32_t record, float *out)
{
    uint64_t h = hash_mix(record + 1);
    for (int i = 0; i < BED_DIM; i++, h = hash_mix(h))
        out[i] = (float)(h % 2001) / 100 - 10;
}

void *bed_extra(uint32_t record)
{
    return record % 3 ? NULL : (void *)(uintptr_t)(16 * (size_t)record + 8);
}

/* ---- the owner ---- */

static void on_ready(struct graph_env *env, struct graph *g)
{
    (void)env;
    (void)g;
}

static void on_wake(struct graph_env *env)
{
    (void)env;
}

static void on_freed(void *arg, void *user, void *extra)
{
    struct bed *b = arg;
    uintptr_t n = (uintptr_t)user - 1;
    assert_true(n < b->nrecords);
    assert_ptr_equal(extra, bed_extra((uint32_t)n));
    assert_false(b->records[n].freed);
    b->records[n].freed = true;
    b->nfreed++;
}

static void on_moved(void *arg, void *user, uint32_t from, uint32_t to)
{
    struct bed *b = arg;
    struct bed_record *r = &b->records[(uintptr_t)user - 1];
    assert_int_equal(r->slot, from);
    r->slot = to;
    b->moved++;
}

struct bed *bed_new(const struct bed_options *o, uint32_t records)
{
    struct bed *b = calloc(1, sizeof(*b));
    searcher_init(&b->scratch);
    for (int i = 0; i < 4; i++)
        searcher_init(&b->searcher[i]);
    b->rng.state = o->seed;
    b->slice_ns = rng_next(&b->rng) % 2 ? 20000 : 0;
    b->patience = rng_next(&b->rng) % 2 ? 24 : 900; /* the linker keeps up, or is behind */
    b->records = calloc(records + 1, sizeof(*b->records));
    b->nrecords = records;
    b->env = (struct graph_env){.epoch = epoch_new(), .pool = pool_new(o->threads, "test"), .searchers = b->searcher,
                                .scratch = &b->scratch, .ready = on_ready, .wake = on_wake, .arg = b};
    static const size_t aside[] = {0, 100000, 1 << 30}; /* linking waits for a cut's reader, or does not */
    b->env.aside_max = aside[rng_next(&b->rng) % 3];
    struct graph_options go = {.type = o->type, .metric = VEC_L2, .originals = vec_type_originals(o->type, o->originals),
                               .dim = BED_DIM, .m = 4, .ef_construction = 20, .seed = 2, .flat = o->flat};
    struct graph_owner owner = {on_freed, on_moved, b, NULL};
    b->graph = graph_new(&b->env, &go, &owner);
    assert_non_null(b->graph);
    return b;
}

static bool is_idle(void *arg)
{
    struct bed *b = arg;
    return graph_idle(b->graph);
}

void bed_free(struct bed *b)
{
    assert_int_equal(b->env.aside, 0);
    graph_retire(b->graph);
    pool_drain(b->env.pool);
    assert_true(wait_until(is_idle, b, 10000));
    while (epoch_reclaim(b->env.epoch, SIZE_MAX))
        pool_drain(b->env.pool);
    graph_free(b->graph);
    pool_free(b->env.pool);
    epoch_free(b->env.epoch);
    searcher_release(&b->scratch);
    for (int i = 0; i < 4; i++)
        searcher_release(&b->searcher[i]);
    free(b->records);
    free(b);
}

static void apply(struct bed *b, const struct entry *e)
{
    uint64_t sequence = ++b->sequence;
    if (e->insert) {
        uint32_t n = e->insert - 1;
        float vector[BED_DIM];
        bed_vector(n, vector);
        assert_int_equal(graph_insert(b->graph, vector, hash_mix(n), sequence, (void *)(uintptr_t)(n + 1), bed_extra(n), 0,
                                      &b->records[n].slot), VS_OK);
        b->records[n].alive = true;
    }
    if (e->kill) {
        assert_int_equal(graph_kill_room(b->graph), VS_OK);
        graph_kill(b->graph, b->records[e->kill - 1].slot, sequence);
        b->records[e->kill - 1].alive = false;
    }
    graph_entry_done(b->graph, sequence);
}

void bed_poll(struct bed *b)
{
    pool_drain(b->env.pool);
    graph_poll(b->graph, clock_mono_ns() + b->slice_ns);
    epoch_reclaim(b->env.epoch, 64);
}

void bed_run(struct bed *b, const struct stream *s, uint64_t until)
{
    while (b->sequence < until) {
        apply(b, &s->entries[b->sequence]);
        if (rng_next(&b->rng) % b->patience == 0)
            bed_poll(b);
    }
}

/* True when it has been idle a few times in a row. */
static bool is_settled(void *arg)
{
    struct bed *b = arg;
    for (int i = 0; i < 64; i++) {
        pool_drain(b->env.pool);
        bool more = graph_poll(b->graph, clock_mono_ns() + 1000000);
        if (!epoch_reclaim(b->env.epoch, SIZE_MAX) && !more && !graph_busy(b->graph) && graph_idle(b->graph))
            return true;
    }
    return false;
}

void bed_settle(struct bed *b)
{
    assert_true(wait_until(is_settled, b, 60000));
    assert_true(is_settled(b));
    const char *wrong = graph_check(b->graph);
    if (wrong)
        print_error("entry %llu: %s\n", (unsigned long long)b->sequence, wrong);
    assert_null(wrong);
}

/* ---- comparing ---- */

static size_t search(struct bed *b, struct searcher *s, const float *vector, bool exact, size_t keep, uintptr_t *found,
                     float *distances)
{
    struct epoch_reader *reader = epoch_reader_new(b->env.epoch);
    epoch_enter(b->env.epoch, reader);
    struct graph_query q = {.vector = vector, .keep = keep, .ef = 30, .exact = exact, .as_of = graph_sequence(b->graph)};
    struct graph_view *v = graph_view(b->graph);
    struct graph_result result;
    assert_int_equal(graph_search(b->graph, v, s, &q, &result), VS_OK);
    size_t n = s->ntop;
    for (size_t i = 0; i < n; i++) {
        found[i] = (uintptr_t)graph_view_user(v, s->top[i].slot);
        distances[i] = s->top[i].distance;
        assert_ptr_equal(graph_view_extra(v, s->top[i].slot), bed_extra((uint32_t)found[i] - 1));
    }
    epoch_exit(reader);
    epoch_reader_free(b->env.epoch, reader);
    return n;
}

void bed_same(struct bed *a, struct bed *b)
{
    struct graph_info x, y;
    graph_info(a->graph, &x);
    graph_info(b->graph, &y);
    assert_int_equal(x.alive, y.alive);
    assert_int_equal(x.linked, y.linked);
    assert_int_equal(x.unlinked, y.unlinked);
    assert_int_equal(x.dead, y.dead);
    assert_int_equal(x.max_level, y.max_level);
    assert_int_equal(x.linked_sequence, y.linked_sequence);
    assert_true(x.digest == y.digest);
    struct searcher s;
    searcher_init(&s);
    for (uint32_t i = 0; i < 40; i++) {
        uintptr_t found[2][20];
        float vector[BED_DIM], distances[2][20];
        bed_vector(i * 7919 + 1000000, vector);
        size_t n = search(a, &s, vector, i % 4 == 0, 20, found[0], distances[0]);
        assert_int_equal(search(b, &s, vector, i % 4 == 0, 20, found[1], distances[1]), n);
        assert_memory_equal(found[0], found[1], n * sizeof(found[0][0]));
        assert_memory_equal(distances[0], distances[1], n * sizeof(distances[0][0]));
    }
    searcher_release(&s);
}

void bed_holds(struct bed *b, const struct stream *s, uint64_t at)
{
    uint8_t *alive = calloc(s->records + 1, 1);
    size_t n = 0;
    for (uint64_t i = 0; i < at; i++) {
        n += s->entries[i].insert != 0;
        n -= s->entries[i].kill != 0;
        alive[s->entries[i].insert] = 1;
        alive[s->entries[i].kill] = 0;
    }
    assert_int_equal(graph_alive(b->graph), n);
    struct searcher x;
    searcher_init(&x);
    uintptr_t *found = calloc(n + 1, sizeof(*found));
    float *distances = calloc(n + 1, sizeof(*distances)), vector[BED_DIM] = {0}, got[BED_DIM], want[BED_DIM];
    assert_int_equal(search(b, &x, vector, true, n + 1, found, distances), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(alive[found[i]], 1);
        alive[found[i]] = 2;
    }
    bool exact = graph_shape(b->graph)->originals == VEC_ORIG_F32;
    for (uint32_t i = 0; i < s->records && exact; i++) {
        if (!alive[i + 1])
            continue;
        bed_vector(i, want);
        graph_vector(b->graph, b->records[i].slot, got);
        assert_memory_equal(got, want, sizeof(got));
    }
    searcher_release(&x);
    free(found);
    free(distances);
    free(alive);
}
