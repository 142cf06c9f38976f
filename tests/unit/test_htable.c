/* tsan: skip (one thread) */
/* The hash table against a naive twin: random insertions, removals, replacements and look-ups, with scans under way meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/htable.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"

#define SCANS 3

static struct rng rng;
static bool quick;

/* Entries are numbers 0 .. n-1; the cell of entry e is e + 1, or e + 1 + n after a replacement. */
struct twin {
    struct htable *table;
    uint32_t n, present;
    unsigned kind;         /* of hash */
    uint8_t *in;           /* 0: absent, 1: cell e + 1, 2: cell e + 1 + n */
    struct scan {
        uint64_t cursor;
        bool started;
        uint8_t *stayed, *seen;
    } scans[SCANS];
    struct scan *current;
};

static uint64_t hash_of(unsigned kind, uint64_t e)
{
    switch (kind) {
    case 0: return hash_mix(e);
    case 1: return hash_mix(e) >> 20;                    /* all in one corner of the directory */
    case 2: return hash_mix(e % 37);                     /* many equal hashes */
    case 3: return e;                                    /* no mixing at all */
    default: return hash_mix(e) & 0xff00000000000fffull; /* lumps */
    }
}

static uint64_t hash_cell(void *arg, uint64_t cell)
{
    struct twin *t = arg;
    return hash_of(t->kind, (cell - 1) % t->n);
}

static bool equal_cell(void *arg, uint64_t cell, const void *key, size_t len)
{
    struct twin *t = arg;
    uint32_t e;
    assert_int_equal(len, sizeof(e));
    memcpy(&e, key, sizeof(e));
    return (cell - 1) % t->n == e;
}

static const struct htable_ops ops = {hash_cell, equal_cell};

static void see(void *arg, uint64_t cell)
{
    struct twin *t = arg;
    uint32_t e = (uint32_t)((cell - 1) % t->n);
    assert_true(t->in[e] != 0);
    assert_int_equal(cell, e + 1 + (t->in[e] == 2 ? t->n : 0));
    assert_int_equal(t->current->seen[e], 0);
    t->current->seen[e] = 1;
}

static void scan_step(struct twin *t, struct scan *s)
{
    if (!s->started) {
        s->started = true;
        memset(s->seen, 0, t->n);
        for (uint32_t e = 0; e < t->n; e++)
            s->stayed[e] = t->in[e] != 0;
    }
    t->current = s;
    s->cursor = htable_scan(t->table, s->cursor, see, t);
    if (s->cursor != 0)
        return;
    s->started = false;
    for (uint32_t e = 0; e < t->n; e++)
        assert_true(!s->stayed[e] || s->seen[e]);
}

static void change(struct twin *t, unsigned percent_add)
{
    uint32_t e = (uint32_t)rng_below(&rng, t->n);
    uint64_t hash = hash_of(t->kind, e), cell = e + 1 + (t->in[e] == 2 ? t->n : 0);
    assert_int_equal(htable_find(t->table, hash, &e, sizeof(e)), t->in[e] ? cell : 0);
    bool add = rng_below(&rng, 100) < percent_add;
    if (add && !t->in[e]) {
        assert_true(htable_insert(t->table, hash, e + 1));
        t->in[e] = 1;
        t->present++;
    } else if (!add) {
        assert_int_equal(htable_remove(t->table, hash, &e, sizeof(e)), t->in[e] ? cell : 0);
        t->present -= t->in[e] != 0;
        t->in[e] = 0;
        for (size_t i = 0; i < SCANS; i++)
            t->scans[i].stayed[e] = 0;
    } else {
        uint64_t next = cell > t->n ? e + 1 : e + 1 + t->n;
        assert_int_equal(htable_replace(t->table, hash, &e, sizeof(e), next), cell);
        t->in[e] = 3 - t->in[e];
    }
    assert_int_equal(htable_count(t->table), t->present);
}

static uint64_t draw(void *arg)
{
    return rng_next(arg);
}

static void check_whole(struct twin *t)
{
    for (uint32_t e = 0; e < t->n; e++) {
        uint64_t cell = e + 1 + (t->in[e] == 2 ? t->n : 0);
        assert_int_equal(htable_find(t->table, hash_of(t->kind, e), &e, sizeof(e)), t->in[e] ? cell : 0);
    }
    for (int i = 0; i < 50; i++) {
        uint64_t cell = htable_random(t->table, draw, &rng);
        assert_int_equal(cell != 0, t->present != 0);
        if (cell)
            assert_true(t->in[(cell - 1) % t->n] != 0);
    }
}

/* ---- building at once ---- */

struct list {
    struct entry {
        uint64_t hash, cell;
    } *all;
    size_t n, at;
};

static int compare_entries(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

static void next_entry(void *arg, uint64_t *hash, uint64_t *cell)
{
    struct list *l = arg;
    *hash = l->all[l->at].hash;
    *cell = l->all[l->at++].cell;
}

/* Two thirds of all entries, built at once; before that with every allocation failing in turn. */
static void build(struct twin *t, unsigned cell_bytes, unsigned segment_cells)
{
    struct list l = {.all = mem_alloc(t->n * sizeof(struct entry))};
    for (uint32_t e = 0; e < t->n; e++)
        if (rng_below(&rng, 3)) {
            l.all[l.n++] = (struct entry){hash_of(t->kind, e), e + 1};
            t->in[e] = 1;
        }
    qsort(l.all, l.n, sizeof(struct entry), compare_entries);
    for (long fault = 1;; fault++) {
        l.at = 0;
        mem_fault_after(fault);
        bool built = htable_build(t->table, l.n, next_entry, &l);
        bool hit = mem_fault_hit();
        mem_fault_after(0);
        if (built)
            break;
        assert_true(hit);
        htable_free(t->table);
        t->table = htable_new(cell_bytes, segment_cells, &ops, t);
    }
    t->present = (uint32_t)l.n;
    assert_int_equal(htable_count(t->table), t->present);
    if (t->kind == 0 && l.n > 3000 && segment_cells > 100)
        assert_true(htable_bytes(t->table) < l.n * (cell_bytes + 1) * 2);
    if (l.n > 2 && l.all[0].hash != l.all[l.n - 1].hash) { /* in falling order it is refused */
        struct entry first = l.all[0];
        l.all[0] = l.all[l.n - 1];
        l.all[l.n - 1] = first;
        l.at = 0;
        struct htable *other = htable_new(cell_bytes, segment_cells, &ops, t);
        assert_false(htable_build(other, l.n, next_entry, &l));
        htable_free(other);
    }
    mem_free(l.all);
}

static void live(unsigned cell_bytes, unsigned segment_cells, unsigned kind, uint32_t n, bool built)
{
    static const unsigned phases[] = {95, 55, 5, 50, 90, 10, 0};
    struct twin t = {.n = n, .kind = kind, .in = mem_zalloc(n)};
    t.table = htable_new(cell_bytes, segment_cells, &ops, &t);
    if (kind % 2)
        htable_expect(t.table, n);
    size_t empty = htable_bytes(t.table);
    for (size_t i = 0; i < SCANS; i++) {
        t.scans[i].stayed = mem_zalloc(n);
        t.scans[i].seen = mem_zalloc(n);
    }
    if (built) {
        build(&t, cell_bytes, segment_cells);
        check_whole(&t);
    }
    for (size_t p = 0; p < sizeof(phases) / sizeof(*phases); p++) {
        for (uint32_t i = 0; i < 3 * n; i++) {
            change(&t, phases[p]);
            for (size_t s = 0; s < SCANS; s++)
                if (rng_below(&rng, 1 + n / 8 * (s + 1) / (segment_cells / 8)) == 0)
                    scan_step(&t, &t.scans[s]);
        }
        check_whole(&t);
    }
    for (uint32_t e = 0; e < n; e++)
        htable_remove(t.table, hash_of(kind, e), &e, sizeof(e));
    assert_int_equal(htable_count(t.table), 0);
    assert_int_equal(htable_random(t.table, draw, &rng), 0);
    if (kind == 0)
        assert_true(htable_bytes(t.table) <= 2 * empty + 3 * segment_cells * (cell_bytes + 1));
    htable_free(t.table);
    for (size_t i = 0; i < SCANS; i++) {
        mem_free(t.scans[i].stayed);
        mem_free(t.scans[i].seen);
    }
    mem_free(t.in);
}

static void agrees_with_its_twin(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 5; kind++) {
        uint32_t scale = kind == 2 || quick ? 1 : 2;
        for (int built = 0; built < 2; built++) {
            if (quick && built != (int)kind % 2)
                continue;
            live(4, 16, kind, 1000 * scale, built);
            live(8, 64, kind, 1500 * scale, built);
            live(4, 1024, kind, 2500 * scale, built);
            live(8, 16, kind, 10, built);
        }
    }
}

static void memory_stays_near_what_is_stored(void **state)
{
    (void)state;
    uint32_t n = quick ? 50000 : 400000;
    struct twin t = {.n = n, .kind = 0};
    t.table = htable_new(4, 1024, &ops, &t);
    for (uint32_t e = 0; e < n; e++) {
        assert_true(htable_insert(t.table, hash_of(0, e), e + 1));
        if (e > 5000)
            assert_true(htable_bytes(t.table) < (size_t)e * 14);
    }
    while (!htable_free_some(t.table, 5000))
        ;
}

static void count_cell(void *arg, uint64_t cell)
{
    (void)cell;
    ++*(uint32_t *)arg;
}

/* What comes in the order of its hashes, as the elements of a dump, makes no larger segments than others do, and needs not more
 * memory; an insertion that finds no memory changes nothing. */
static void rising_hashes_are_as_good_as_others(void **state)
{
    (void)state;
    uint32_t n = quick ? 50000 : 400000;
    struct twin t = {.n = n, .kind = 0};
    struct list l = {.all = mem_alloc(n * sizeof(struct entry)), .n = n};
    for (uint32_t e = 0; e < n; e++)
        l.all[e] = (struct entry){hash_of(0, e), e + 1};
    qsort(l.all, n, sizeof(struct entry), compare_entries);
    t.table = htable_new(4, 512, &ops, &t);
    htable_expect(t.table, n);
    for (uint32_t i = 0; i < n; i++) {
        mem_fault_after(1 + (long)rng_below(&rng, 3));
        bool done = htable_insert(t.table, l.all[i].hash, l.all[i].cell);
        bool hit = mem_fault_hit();
        mem_fault_after(0);
        assert_true(done || hit);
        if (!done)
            assert_true(htable_insert(t.table, l.all[i].hash, l.all[i].cell));
    }
    assert_int_equal(htable_count(t.table), n);
    assert_true(htable_bytes(t.table) < (size_t)n * 14);
    uint32_t counted = 0, in_step;
    uint64_t cursor = 0;
    do {
        in_step = 0;
        cursor = htable_scan(t.table, cursor, count_cell, &in_step);
        assert_true(in_step < 1000);
        counted += in_step;
    } while (cursor);
    assert_int_equal(counted, n);
    for (uint32_t e = 0; e < n; e++)
        assert_int_equal(htable_find(t.table, hash_of(0, e), &e, sizeof(e)), e + 1);
    for (uint32_t i = 0; i < n; i++) { /* and goes in that order */
        uint32_t e = (uint32_t)l.all[i].cell - 1;
        assert_int_equal(htable_remove(t.table, l.all[i].hash, &e, sizeof(e)), e + 1);
    }
    htable_free(t.table);
    mem_free(l.all);
}

static void random_choice_is_nearly_even(void **state)
{
    enum { N = 3000, DRAWS = 60 };
    (void)state;
    struct twin t = {.n = N, .kind = 0};
    uint16_t *hits = mem_zalloc(N * sizeof(*hits));
    t.table = htable_new(8, 64, &ops, &t);
    for (uint32_t e = 0; e < N; e++)
        assert_true(htable_insert(t.table, hash_of(0, e), e + 1));
    for (uint32_t i = 0; i < N * DRAWS; i++)
        hits[htable_random(t.table, draw, &rng) - 1]++;
    for (uint32_t e = 0; e < N; e++)
        assert_in_range(hits[e], DRAWS / 4, DRAWS * 5 / 2);
    htable_free(t.table);
    mem_free(hits);
}

int main(void)
{
    quick = run_quick();
    rng.state = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_its_twin),
        cmocka_unit_test(memory_stays_near_what_is_stored),
        cmocka_unit_test(rising_hashes_are_as_good_as_others),
        cmocka_unit_test(random_choice_is_nearly_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
