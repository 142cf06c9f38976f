/* Restoring from mapped files: what is damaged is found when it is first touched or by the scrub, and
 * stops its partition alone; what a file says is checked before it is used; columns change over to a
 * file's copy while they are in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/pages.h"
#include "index/graph_int.h"
#include "lib/graph_bed.h"
#include "lib/run.h"
#include "lib/wait.h"

static uint64_t base_seed;
static bool quick;

static void on_taken(void *arg, struct graph_cut *cut, enum vs_status status)
{
    struct graph_cut **to = arg;
    assert_int_equal(status, VS_OK);
    *to = cut;
}

static struct image *take_image(struct bed *b)
{
    struct graph_cut *cut = NULL;
    b->env.cuts++;
    graph_cut_want(b->graph, on_taken, &cut);
    for (int64_t end = wait_now_ms() + 10000; !cut && wait_now_ms() < end;)
        bed_poll(b);
    assert_non_null(cut);
    struct image *im = image_read(cut, NULL, NULL);
    graph_cut_release(b->graph, cut);
    return im;
}

/* An image of a stream's first `n` entries. */
static struct image *image_of(const struct bed_options *o, const struct stream *s, uint64_t n)
{
    struct bed *b = bed_new(o, s->records);
    bed_run(b, s, n);
    struct image *im = take_image(b);
    bed_free(b);
    return im;
}

static enum vs_status search(struct bed *b, bool exact)
{
    struct searcher s;
    struct epoch_reader *reader = epoch_reader_new(b->env.epoch);
    float vector[BED_DIM];
    struct graph_result result;
    searcher_init(&s);
    epoch_enter(b->env.epoch, reader);
    bed_vector((uint32_t)(rng_next(&b->rng) % 100000), vector);
    struct graph_query q = {.vector = vector, .keep = 10, .ef = 20, .exact = exact, .as_of = graph_sequence(b->graph)};
    enum vs_status status = graph_search(b->graph, graph_view(b->graph), &s, &q, &result);
    if (status != VS_OK)
        assert_int_equal(s.ntop, 0);
    epoch_exit(reader);
    epoch_reader_free(b->env.epoch, reader);
    searcher_release(&s);
    return status;
}

static bool is_found(void *arg)
{
    struct bed *b = arg;
    bed_poll(b);
    return graph_damaged(b->graph);
}

static bool is_checked(void *arg)
{
    struct bed *b = arg;
    bed_poll(b);
    return !graph_unchecked(b->graph);
}

/* Whatever way it is used, a damaged partition says so, with the reason, and gives nothing. */
static void expect_bad(struct bed *b, int way, const char *reason)
{
    if (way == 0) {
        assert_true(wait_until(is_found, b, 10000));
    } else {
        enum vs_status status = VS_OK;
        for (int i = 0; i < 100000 && status == VS_OK; i++) {
            status = search(b, way == 1);
            if (way == 3)
                bed_poll(b);
        }
        assert_int_equal(status, VS_CORRUPT);
    }
    assert_int_equal(search(b, true), VS_CORRUPT);
    assert_int_equal(search(b, false), VS_CORRUPT);
    struct buf why = {0};
    assert_true(graph_is_bad(b->graph, &why));
    buf_append(&why, "", 1);
    if (!strstr(why.data, reason))
        print_error("%s\n", why.data);
    assert_non_null(strstr(why.data, reason));
    buf_release(&why);
    assert_true(wait_until(is_checked, b, 10000)); /* the scrub ends all the same */
    assert_false(graph_busy(b->graph));
}

/* A byte that its block's sum does not fit, in each column that is checked late. */
static void test_damage(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 6000, 4000);
    struct bed_options o = {.seed = base_seed};
    struct image *im = image_of(&o, &s, s.n);
    struct rng r = {base_seed};
    assert_true(im->ngroups >= 2 && im->state.graphed);
    for (int i = RUN_RACES; i < (quick ? 12 : 48); i += 1 + RUN_RACES) {
        enum vs_status status;
        struct buf why = {0};
        unsigned file = i % 3 == 0 ? 0 : 1 + (unsigned)(rng_next(&r) % 2);
        const struct image_group *g = file ? &im->groups[file - 1] : NULL;
        size_t S = CHUNK_SLOTS, at = file == 0     ? im->links + rng_next(&r) % (S * 2 * im->shape.m * 4)
                                     : i % 3 == 1 ? g->rows + rng_next(&r) % (S * im->shape.codec.row_bytes)
                                                  : g->originals + rng_next(&r) % (S * im->shape.original_bytes);
        o.threads = i % 2 ? 2 : 0;
        struct bed *b = image_restore(im, &o, s.records, file, at, &status, &why);
        assert_int_equal(status, VS_OK);
        expect_bad(b, i / 3 % 4, "offset");
        bed_free(b);
        buf_release(&why);
        assert_int_equal(memory_regions, 0);
    }
    image_free(im);
    stream_free(&s);
}

/* Blocks whose sums are right and whose contents are not. */
static void test_contents(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 6000, 4000);
    for (int kind = 0; kind < 5; kind++) {
        struct bed_options o = {.seed = base_seed,
                                .type = kind == 1 ? VEC_F32 : kind == 2 ? VEC_BF16 : VEC_Q8,
                                .originals = kind == 4 ? VEC_ORIG_F16 : VEC_ORIG_DEFAULT};
        struct image *im = image_of(&o, &s, s.n);
        enum vs_status status;
        struct buf why = {0};
        uint32_t nan = kind == 2 || kind == 4 ? 0x7FC07C01 : 0x7F800001, out = im->state.slots;
        uint8_t *first = im->groups[0].v;
        switch (kind) {
        case 0: memcpy(im->g + im->links + 40, &out, 4); break;
        case 1:
        case 2: memcpy(first + im->groups[0].rows + 5 * im->shape.codec.row_bytes + 16, &nan, 4); break;
        default: memcpy(first + im->groups[0].originals + 5 * im->shape.original_bytes, &nan, 4); break;
        }
        struct bed *b = image_restore(im, &o, s.records, 0, SIZE_MAX, &status, &why);
        assert_int_equal(status, VS_OK);
        expect_bad(b, kind % 4, kind ? "not a number" : "out of the partition");
        bed_free(b);
        buf_release(&why);
        image_free(im);
    }
    stream_free(&s);
}

/* A fault in a mapping stops the partition that it belongs to, and no other. */
static void test_fault(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 5000, 3000);
    struct bed_options o = {.seed = base_seed};
    struct image *im = image_of(&o, &s, s.n);
    enum vs_status status;
    struct buf why = {0};
    struct bed *a = image_restore(im, &o, s.records, 0, SIZE_MAX, &status, &why);
    struct bed *b = image_restore(im, &o, s.records, 0, SIZE_MAX, &status, &why);
    assert_true(wait_until(is_checked, a, 10000));
    assert_int_equal(search(a, false), VS_OK);
    assert_int_equal(search(b, false), VS_OK);
    assert_true(a->graph->nregions >= 2);
    atomic_store(&a->graph->regions[1]->bad, true);
    atomic_fetch_add(&region_faults, 1);
    assert_int_equal(search(a, false), VS_CORRUPT);
    assert_int_equal(search(b, false), VS_OK);
    assert_true(graph_damaged(a->graph));
    assert_false(graph_damaged(b->graph));
    bed_free(a);
    bed_settle(b);
    bed_free(b);
    image_free(im);
    buf_release(&why);
    stream_free(&s);
}

/* ---- files of somebody who computes sums ---- */

static uint32_t odd_number(struct rng *r, uint32_t near)
{
    static const uint32_t odd[] = {0, 1, 15, 16, 255, 256, 257, 1023, 1024, SLOT_NONE, SLOT_MAX, 0x7FFFFFFF, 0x80000000};
    switch (rng_next(r) % 4) {
    case 0: return odd[rng_next(r) % (sizeof(odd) / sizeof(odd[0]))];
    case 1: return near + 1;
    case 2: return near - 1;
    default: return (uint32_t)(rng_next(r) % ((uint64_t)near * 2 + 2));
    }
}

static void mutate_batch(struct rng *r, struct graph_batch *b)
{
    switch (rng_next(r) % 4) {
    case 0: b->sequence += rng_next(r) % 3 ? 1 : rng_next(r); break;
    case 1: b->count = b->count ? b->count - 1 : 0; break;
    case 2: b->ndeaths = b->ndeaths ? b->ndeaths - 1 : 0; break;
    default:
        if (b->count)
            ((uint32_t *)b->slots)[rng_next(r) % b->count] = odd_number(r, b->slots[0]);
        if (b->ndeaths)
            ((uint32_t *)b->deaths)[rng_next(r) % b->ndeaths] = odd_number(r, b->deaths[0]);
        break;
    }
}

static void mutate_state(struct rng *r, struct graph_state *s)
{
    switch (rng_next(r) % 16) {
    case 0: s->sequence += rng_next(r) % 5 - 2; break;
    case 1: s->slots = odd_number(r, s->slots / CHUNK_SLOTS) * (rng_next(r) % 2 ? CHUNK_SLOTS : 1); break;
    case 2: s->nupper = odd_number(r, s->nupper); break;
    case 3: s->alive += rng_next(r) % 3 - 1; break;
    case 4: s->linked += rng_next(r) % 3 - 1; break;
    case 5: s->linked_sequence += rng_next(r) % 3 - 1; break;
    case 6: s->closed_sequence = s->linked_sequence += rng_next(r) % 600 - 300; break;
    case 7: s->entry = odd_number(r, s->entry); break;
    case 8: s->entry_level = (int)odd_number(r, (uint32_t)s->entry_level); break;
    case 9: s->graphed = !s->graphed; break;
    case 10: s->flat_inserts = odd_number(r, s->flat_inserts); break;
    case 11: s->nbatches -= s->nbatches && rng_next(r) % 2; break;
    case 12: s->ndead -= s->ndead != 0; break;
    case 13: s->ntombs -= s->ntombs != 0; break;
    case 14:
        if (s->ntombs) {
            struct graph_tomb *t = &((struct graph_tomb *)s->tombs)[rng_next(r) % s->ntombs];
            if (rng_next(r) % 2)
                t->slot = odd_number(r, t->slot);
            else
                t->died += rng_next(r) % 2000 - 1000;
        }
        break;
    default:
        if (s->ndead)
            ((uint32_t *)s->dead_nodes)[rng_next(r) % s->ndead] = odd_number(r, s->dead_nodes[0]);
        break;
    }
}

static void mutate(struct rng *r, struct image *im)
{
    uint32_t n = im->slots / CHUNK_SLOTS, m = im->shape.m, slot = (uint32_t)(rng_next(r) % im->slots);
    uint32_t *upper = (uint32_t *)(im->g + im->levels + n * 4096) + slot, *links = (uint32_t *)(im->g + im->links);
    switch (rng_next(r) % 8) {
    case 0: mutate_state(r, &im->state); break;
    case 1: mutate_batch(r, rng_next(r) % 2 || !im->nbatches
                                ? &im->state.open
                                : (struct graph_batch *)&im->state.batches[rng_next(r) % im->nbatches]); break;
    case 2: ((uint64_t *)(im->g + im->born))[slot] += rng_next(r) % 2 ? rng_next(r) : rng_next(r) % 3 - 1; break;
    case 3: im->g[im->levels + slot / CHUNK_SLOTS * 4096 + slot % CHUNK_SLOTS] = (uint8_t)odd_number(r, 1); break;
    case 4: *upper = odd_number(r, *upper == SLOT_NONE ? 3 : *upper); break;
    case 5:
        if (im->nupper) {
            uint32_t *word = (uint32_t *)(im->g + im->upper) + rng_next(r) % (im->nupper * 1024 * m);
            *word = odd_number(r, im->slots);
        }
        break;
    case 6: links[rng_next(r) % (1024 * m)] = odd_number(r, im->slots); break;
    default: links[rng_next(r) % (1024 * m)] = (uint32_t)(rng_next(r) % im->slots); break;
    }
}

/* Entries and searches on what was restored, whatever it is. */
static void use(struct bed *b, uint32_t first)
{
    for (uint32_t k = 0; k < 700; k++) {
        float vector[BED_DIM];
        uint32_t slot, n = first + k;
        bed_vector(k, vector);
        if (graph_insert(b->graph, vector, hash_mix(n), ++b->sequence, (void *)(uintptr_t)(n + 1), bed_extra(n), 0,
                         &slot) == VS_OK) {
            b->records[n].slot = slot;
            if (k % 2 == 0 && graph_kill_room(b->graph) == VS_OK)
                graph_kill(b->graph, slot, b->sequence);
        }
        graph_entry_done(b->graph, b->sequence);
        if (k % 64 == 0)
            bed_poll(b);
    }
    search(b, true);
    search(b, false);
}

/* Refused with a reason, or found later, or used without harm. */
static void test_hostile(void **state)
{
    (void)state;
    struct stream s = stream_make(base_seed, 4500, 2000);
    struct rng r = {base_seed};
    struct bed *from[4];
    for (unsigned i = 0; i < 4; i++) {
        from[i] = bed_new(&(struct bed_options){.seed = base_seed + i}, s.records);
        bed_run(from[i], &s, 2300 + 733 * i);
    }
    unsigned refused = 0, bad = 0, rounds = quick ? 300 : 1000;
    for (unsigned i = 0; i < rounds; i++) {
        struct bed_options o = {.seed = base_seed + i};
        struct image *im = take_image(from[i % 4]);
        enum vs_status status;
        struct buf why = {0};
        uint32_t slots = im->state.slots;
        for (uint64_t k = 1 + rng_next(&r) % 2; k > 0; k--)
            mutate(&r, im);
        if (im->state.slots < CHUNK_SLOTS)
            im->state.slots = slots; /* else it would be taken for a small one */
        struct bed *b = image_restore(im, &o, s.records + 700, 0, SIZE_MAX, &status, &why);
        assert_true(status == VS_OK || (status == VS_CORRUPT && why.len > 0));
        refused += status != VS_OK;
        if (status == VS_OK) {
            use(b, s.records);
            bad += graph_damaged(b->graph);
        }
        bed_free(b);
        image_free(im);
        buf_release(&why);
        assert_int_equal(memory_regions, 0);
    }
    printf("%u of %u refused at once, %u found bad later\n", refused, rounds, bad);
    assert_true(refused > rounds / 8 && bad > 0);
    for (unsigned i = 0; i < 4; i++)
        bed_free(from[i]);
    stream_free(&s);
}

/* ---- columns that change over ---- */

static unsigned map_all(struct bed *b, const struct image *im, bool rows)
{
    unsigned n = 0;
    for (uint32_t k = 0; k < im->ngroups; k++) {
        struct region *v = image_group_region(im, k);
        for (uint32_t i = 0; i < im->group_chunks; i++) {
            size_t S = CHUNK_SLOTS, row = pages_round(S * im->shape.codec.row_bytes),
                   original = pages_round(S * im->shape.original_bytes);
            n += graph_map_chunk(b->graph, k * im->group_chunks + i, b->env.cuts, v,
                                 rows ? im->groups[k].rows + i * row : SIZE_MAX, im->groups[k].originals + i * original);
        }
        region_unref(v);
    }
    graph_map_end(b->graph);
    return n;
}

static void one_mapping(uint64_t seed, unsigned threads, bool flat)
{
    struct stream s = stream_make(seed, 16000, 6000);
    struct bed_options o = {.seed = seed, .threads = threads, .flat = flat};
    struct bed *a = bed_new(&o, s.records), *twin = bed_new(&o, s.records);
    unsigned mapped = 0;
    for (uint64_t at = 4000; at <= s.n; at += 4000) {
        bed_run(a, &s, at);
        bed_run(twin, &s, at);
        bed_settle(a);
        struct image *im = take_image(a);
        bed_settle(a);
        struct graph_info before, after;
        struct graph_mapped was, now;
        graph_info(a->graph, &before);
        graph_mapped(a->graph, &was);
        unsigned n = map_all(a, im, at % 8000 == 0);
        bed_settle(a);
        graph_info(a->graph, &after);
        graph_mapped(a->graph, &now);
        assert_int_equal(after.bytes.originals + now.originals, before.bytes.originals + was.originals);
        assert_int_equal(after.bytes.rows + now.rows, before.bytes.rows + was.rows);
        assert_true(now.originals >= was.originals && (n == 0 || now.originals));
        mapped += n;
        bed_settle(twin);
        bed_same(a, twin);
        bed_holds(a, &s, at);
        image_free(im);
    }
    assert_true(mapped > 0);
    bed_free(a);
    bed_free(twin);
    assert_int_equal(memory_regions, 0);
    stream_free(&s);
}

static void test_mapping(void **state)
{
    (void)state;
    for (unsigned i = 0; i < (RUN_RACES ? 1 : quick ? 3 : 12); i++)
        one_mapping(base_seed + i, i % 3 == 0 ? 2 : 0, i % 4 == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_mapping),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_mapping),
    };
    const char *seed = getenv("VECSTORE_SEED");
    quick = run_quick();
    base_seed = seed ? strtoull(seed, NULL, 10) : 1;
    printf("seed %llu\n", (unsigned long long)base_seed);
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
