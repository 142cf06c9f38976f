/* Cuts under changes: what they hold is the partition as it stood, and what is restored from them goes
 * on as the original does. */
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

#include "lib/graph_bed.h"
#include "lib/run.h"
#include "lib/wait.h"

static uint64_t base_seed;
static bool quick;
/* What the cuts of this run met, so that it is known to be met at all. */
static struct { unsigned cuts, graphed, batches, open, tombs, moved; } met;

struct taking {
    struct graph_cut *cut;
    enum vs_status status;
    unsigned calls;
};

static void on_taken(void *arg, struct graph_cut *cut, enum vs_status status)
{
    struct taking *t = arg;
    t->cut = cut;
    t->status = status;
    t->calls++;
}

struct reading {
    struct graph_cut *cut;
    struct image *image;
    pthread_t thread;
    _Atomic bool done;
};

static void *reader(void *arg)
{
    struct reading *r = arg;
    r->image = image_read(r->cut, NULL, NULL);
    atomic_store(&r->done, true);
    return NULL;
}

/* Reads the cut at once, in pieces between entries, or on a thread of its own. */
struct interleave {
    struct bed *b;
    const struct stream *s;
    uint64_t most;
};

static void between_parts(void *arg)
{
    struct interleave *x = arg;
    uint64_t until = x->b->sequence + rng_next(&x->b->rng) % 200;
    bed_run(x->b, x->s, until < x->most ? until : x->most);
    bed_poll(x->b);
}

struct plan {
    struct bed_options o;
    size_t entries, size;
    uint64_t stamp_after;            /* entries between T and the wish */
    int way;                         /* 0: at once, 1: interleaved, 2: a thread */
};

/* Links lead from nodes to nodes, whatever has been linked since. */
static void check_links(const struct image *im)
{
    size_t list = 2 * im->shape.m;
    const uint64_t *born = (const uint64_t *)(im->g + im->born);
    for (uint32_t slot = 0; im->state.graphed && slot < im->state.slots; slot++) {
        const uint32_t *links = (const uint32_t *)(im->g + im->links) + slot * list; /* parts have no gaps at this m */
        bool node = born[slot] && born[slot] <= im->state.closed_sequence;
        for (size_t i = 0; i < list && links[i] != SLOT_NONE; i++) {
            assert_true(node && links[i] < im->state.slots);
            assert_true(born[links[i]] && born[links[i]] <= im->state.closed_sequence);
        }
    }
}

/* One stream, a cut in the middle of it, the rest on both. */
static void one_cut(uint64_t seed, const struct plan *p)
{
    struct stream s = stream_make(seed, p->entries, p->size);
    struct rng r = {seed ^ 77};
    struct bed *a = bed_new(&p->o, s.records);
    uint64_t at = 1 + rng_next(&r) % (s.n - 1);
    uint64_t wish = at + (p->stamp_after ? rng_next(&r) % p->stamp_after : 0);
    if (wish > s.n)
        wish = s.n;
    bed_run(a, &s, at);
    if (wish > at)
        graph_stamp(a->graph, at);
    bed_run(a, &s, wish);
    struct taking t = {0};
    graph_cut_want(a->graph, on_taken, &t);
    for (uint64_t k = wish; !t.calls; k = k < s.n ? k + 1 : k) {
        bed_run(a, &s, k < s.n ? k + 1 : k);
        bed_poll(a);
    }
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.status, VS_OK);
    struct interleave x = {a, &s, s.n};
    struct reading reading = {.cut = t.cut};
    if (p->way == 2) {
        pthread_create(&reading.thread, NULL, reader, &reading);
        while (!atomic_load(&reading.done)) {
            if (a->sequence < s.n)
                bed_run(a, &s, a->sequence + 1);
            bed_poll(a);
        }
        pthread_join(reading.thread, NULL);
    } else {
        reading.image = image_read(t.cut, p->way ? between_parts : NULL, &x);
    }
    struct image *im = reading.image;
    assert_int_equal(im->state.sequence, at);
    check_links(im);
    met.cuts++;
    met.graphed += im->state.graphed;
    met.batches += im->state.nbatches > 0;
    met.open += im->state.open.count > 0;
    met.tombs += im->state.ntombs > 0;
    met.moved += a->moved > 0;
    if (p->way != 2)
        bed_run(a, &s, a->sequence + (s.n - a->sequence) / 2);
    graph_cut_release(a->graph, t.cut);
    bed_run(a, &s, s.n);
    bed_settle(a);

    enum vs_status status;
    struct buf why = {0};
    struct bed_options o = p->o;
    o.bring = (uint8_t)(rng_next(&r) % 8);
    struct bed *b = image_restore(im, &o, s.records, 0, SIZE_MAX, &status, &why);
    if (status != VS_OK)
        print_error("seed %llu: %.*s\n", (unsigned long long)seed, (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    bed_holds(b, &s, at);
    if (seed % 2)
        bed_settle(b);               /* else entries come while it is being checked */
    bed_run(b, &s, s.n);
    bed_settle(b);
    struct graph_mapped mapped;
    graph_mapped(b->graph, &mapped);
    assert_true(!(o.bring & COLUMN_ROWS) || !mapped.rows);
    assert_true(!(o.bring & COLUMN_ORIGINALS) || !mapped.originals);
    bed_same(a, b);
    bed_holds(b, &s, s.n);
    image_free(im);
    bed_free(a);
    bed_free(b);
    assert_int_equal(memory_regions, 0);
    stream_free(&s);
    buf_release(&why);
}

static void many(struct plan p, unsigned rounds)
{
    for (unsigned i = 0; i < (RUN_RACES ? rounds / 12 + 1 : quick ? rounds / 6 + 1 : rounds); i++) {
        p.o.seed = base_seed + i;
        p.way = p.o.threads ? 2 : (int)(i % 2);
        one_cut(base_seed + i, &p);
    }
}

/* Streams alone, at every pace: compactions whose old slots come free a few at a time and are taken by
 * new records while others of theirs die. */
static void test_no_cut(void **state)
{
    (void)state;
    for (uint64_t seed = base_seed; seed < base_seed + (quick ? 4 : 20); seed++) {
        struct stream s = stream_make(seed, 12000, 3000);
        struct bed_options o = {.seed = seed};
        struct bed *b = bed_new(&o, s.records);
        bed_run(b, &s, s.n);
        bed_settle(b);
        bed_holds(b, &s, s.n);
        bed_free(b);
        stream_free(&s);
    }
}

static void test_graph(void **state)
{
    (void)state;
    many((struct plan){.entries = 12000, .size = 3000, .stamp_after = 1500}, 30);
}

/* Around the first graph: scanned at T, linked since. */
static void test_first_graph(void **state)
{
    (void)state;
    many((struct plan){.entries = 3000, .size = 2500, .stamp_after = 1500}, 30);
}

static void test_small(void **state)
{
    (void)state;
    many((struct plan){.entries = 700, .size = 300, .stamp_after = 200}, 30);
}

static void test_flat(void **state)
{
    (void)state;
    many((struct plan){.o.flat = true, .entries = 12000, .size = 3000, .stamp_after = 1500}, 20);
}

/* Rows as originals, halves, no originals. */
static void test_types(void **state)
{
    (void)state;
    many((struct plan){.o.type = VEC_F32, .entries = 6000, .size = 3000, .stamp_after = 500}, 6);
    many((struct plan){.o.type = VEC_F16, .entries = 6000, .size = 3000, .stamp_after = 500}, 6);
    many((struct plan){.o.type = VEC_BIN, .o.originals = VEC_ORIG_F16, .entries = 6000, .size = 3000, .stamp_after = 500}, 6);
}

static void test_threads(void **state)
{
    (void)state;
    many((struct plan){.o.threads = 2, .entries = 12000, .size = 4000, .stamp_after = 1500}, 14);
    many((struct plan){.o.threads = 2, .entries = 3000, .size = 2500, .stamp_after = 1000}, 12);
    many((struct plan){.o.threads = 2, .o.flat = true, .entries = 8000, .size = 2000, .stamp_after = 1000}, 8);
}

static void test_met(void **state)
{
    (void)state;
    printf("%u cuts: %u with a graph, %u closed batches, %u open ones, %u dead records, %u after compactions\n", met.cuts,
           met.graphed, met.batches, met.open, met.tombs, met.moved);
    assert_true(met.graphed && met.batches && met.open && met.tombs && met.moved && met.graphed < met.cuts);
}

/* A stamp that is given up, a wish that is: the partition goes on. */
static void test_cancel(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 9000, 2500);
    struct bed_options o = {.seed = base_seed};
    struct bed *a = bed_new(&o, s.records), *b = bed_new(&o, s.records);
    for (uint64_t at = 300; at <= s.n; at += 300) {
        struct taking t = {0};
        bed_run(a, &s, at - 150);
        graph_stamp(a->graph, a->sequence);
        bed_run(a, &s, at);
        if (at % 600 == 0)
            graph_cut_want(a->graph, on_taken, &t);
        if (t.cut)
            graph_cut_release(a->graph, t.cut);
        else
            graph_cut_cancel(a->graph);
        graph_cut_cancel(a->graph);  /* nothing, the second time */
    }
    bed_run(b, &s, s.n);
    bed_settle(a);
    bed_settle(b);
    bed_same(a, b);
    bed_free(a);
    bed_free(b);
    stream_free(&s);
}

/* The end of a partition while a stamp, or a wish, is on it. */
static void test_freed_midway(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 6000, 2500);
    for (uint64_t at = 500; at <= s.n; at += 500) {
        struct bed_options o = {.seed = base_seed + at};
        struct bed *a = bed_new(&o, s.records);
        struct taking t = {0};
        bed_run(a, &s, at - 200);
        graph_stamp(a->graph, a->sequence);
        bed_run(a, &s, at);
        graph_cut_want(a->graph, on_taken, &t);
        if (t.cut && at % 1000) {
            image_free(image_read(t.cut, NULL, NULL));
            bed_run(a, &s, at < s.n - 300 ? at + 300 : s.n);
        }
        if (t.cut)
            graph_cut_release(a->graph, t.cut);
        bed_free(a);
    }
    stream_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_cut),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_first_graph),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_met),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_freed_midway),
    };
    const struct CMUnitTest threaded[] = {cmocka_unit_test(test_threads)};
    const char *seed = getenv("VECSTORE_SEED");
    quick = run_quick();
    base_seed = seed ? strtoull(seed, NULL, 10) : 1;
    printf("seed %llu\n", (unsigned long long)base_seed);
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
