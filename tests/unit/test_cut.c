/* Cuts and restoring: a store is cut while random commands change it; what was read is restored into another store. That must
 * be what replaying the effects up to the cut leaves, graph and all; and after the rest of the effects, all three must be alike.
 *
 * VECSTORE_TEST_QUICK=1 shortens, VECSTORE_SEED=n repeats. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "index/graph_cut.h"
#include "index/region.h"
#include "lib/cut_image.h"
#include "lib/driver.h"
#include "lib/effects.h"
#include "lib/run.h"
#include "lib/stores.h"
#include "lib/wait.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

#define DIM 8

static uint64_t seed;
static bool quick;

struct waiting {
    struct vs_store *store;
    struct cut_image *image;
};

static bool image_done(void *arg)
{
    struct waiting *w = arg;
    vs_poll(w->store, 1000);
    return cut_image_done(w->image);
}

static void finish(struct vs_store *store, struct cut_image *image)
{
    struct waiting w = {store, image};
    assert_true(wait_until(image_done, &w, 60000));
    stores_settle(store); /* parts are given back, what waited goes on */
    assert_false(store->cut.active);
}

/* ---- against a replay ---- */

static void cut_and_restore(unsigned threads, unsigned other_threads, bool busy)
{
    struct effects log;
    struct driver d = {.store = stores_open(threads), .rng = {seed ^ threads}, .no_flush = true};
    struct vs_store *clean = stores_open(other_threads);
    size_t applied = 0;
    effects_init(&log);
    vs_set_journal(d.store, &log.journal);
    driver_run(&d, RUN_RACES ? 5000 : quick ? 8000 : 20000);
    for (int round = 0; round < (RUN_RACES ? 2 : quick ? 4 : 12); round++) {
        if (rng_below(&d.rng, 2))
            stores_settle(d.store);
        size_t at = log.n;
        struct cut_image *image = cut_image_begin(d.store, 1 + (uint32_t)rng_below(&d.rng, 3));
        if (busy) {
            for (size_t i = 0; !cut_image_done(image) && i < 200000; i++) {
                driver_step(&d);
                if (rng_below(&d.rng, 300) == 0 && vs_find(d.store, 0, "key-1", 5))
                    driver_rare(&d, vs_find(d.store, 0, "key-1", 5), (unsigned)rng_below(&d.rng, 8));
            }
        }
        finish(d.store, image);
        assert_false(cut_image_failed(image));
        assert_int_equal(effects_apply(&log, applied, at, clean, NULL), VS_OK);
        struct vs_store *restored = stores_open(other_threads);
        const char *wrong = cut_image_restore(image, restored);
        if (wrong)
            print_error("seed %llu: %s\n", (unsigned long long)seed, wrong);
        assert_null(wrong);
        stores_assert_same(clean, restored, "a replay and what was restored");
        if (rng_below(&d.rng, 2))
            cut_image_map(image, d.store);
        driver_run(&d, 3000);
        assert_int_equal(effects_apply(&log, at, log.n, restored, NULL), VS_OK);
        assert_int_equal(effects_apply(&log, at, log.n, clean, NULL), VS_OK);
        applied = log.n;
        stores_assert_same(clean, restored, "a replay and what was restored, some changes later");
        stores_assert_same(clean, d.store, "a replay and the store that was cut");
        vs_close(restored);
        cut_image_free(image);
    }
    vs_close(d.store);
    vs_close(clean);
    effects_release(&log);
    assert_int_equal(cut_image_regions(), 0);
}

static void test_quiet(void **state)
{
    (void)state;
    if (!RUN_RACES)
        cut_and_restore(0, 0, false);
    cut_and_restore(2, 2, false);
}

static void test_under_changes(void **state)
{
    (void)state;
    if (!RUN_RACES) {
        cut_and_restore(0, 2, true);
        cut_and_restore(2, 0, true);
    }
    cut_and_restore(3, 2, true);
}

/* ---- ends that are not good ones ---- */

static struct vs_index *filled(struct vs_store *store, const char *key, uint32_t n, struct vs_index_options o)
{
    struct vs_index *index;
    float vector[DIM];
    struct rng rng = {seed};
    o.dim = DIM;
    o.seed = 7;
    assert_int_equal(vs_create(store, 0, key, strlen(key), &o, &index), VS_OK);
    for (uint32_t i = 0; i < n; i++) {
        for (int k = 0; k < DIM; k++)
            vector[k] = (float)rng_unit(&rng);
        struct vs_element e = {.id = &i, .id_len = sizeof(i), .vector = vector, .past_backlog = true};
        if (i % 5 == 0)
            e.attributes = "{\"five\":1}", e.attributes_len = 10;
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    return index;
}

/* FLUSHDB and an abort end a cut; the store goes on and another cut can be made. */
static void test_abort(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct vs_store *store = stores_open(how % 2 * 2);
        struct vs_index *index = filled(store, "k", 3000, (struct vs_index_options){.m = 6, .ef_construction = 20, .partitions = 2});
        filled(store, "l", 100, (struct vs_index_options){.m = 6});
        struct cut_image *image = cut_image_begin(store, 1);
        assert_int_equal(vs_cut_begin(store, &(struct vs_cut_hooks){0}), VS_EXISTS);
        uint32_t id = 3;
        assert_int_equal(vs_delete(index, &id, sizeof(id)), VS_OK); /* stamped */
        if (how < 2)
            vs_cut_abort(store);
        else
            assert_int_equal(vs_flush(store, 0), VS_OK);
        finish(store, image);
        assert_true(cut_image_failed(image));
        cut_image_free(image);
        if (how < 2)
            assert_int_equal(vs_index_count(index), 2999);
        filled(store, "m", 2000, (struct vs_index_options){.m = 6, .ef_construction = 20});
        image = cut_image_begin(store, 1);
        finish(store, image);
        assert_false(cut_image_failed(image));
        assert_int_equal(cut_image_parts(image), how < 2 ? 4 : 1);
        cut_image_free(image);
        image = cut_image_begin(store, 1);
        vs_close(store); /* with a cut under way */
        assert_true(cut_image_done(image));
        cut_image_free(image);
    }
    assert_int_equal(cut_image_regions(), 0);
}

/* No memory for the cut: it fails, no change does. */
static void test_no_memory(void **state)
{
    (void)state;
    size_t failures = 0;
    for (long n = 1; n < 60; n++) {
        struct vs_store *store = stores_open(0);
        struct vs_index *index = filled(store, "k", 1500, (struct vs_index_options){.m = 6, .ef_construction = 20, .partitions = 2});
        filled(store, "l", 10, (struct vs_index_options){.m = 6});
        stores_settle(store);
        struct cut_image *image = cut_image_begin(store, 1);
        cut_image_hold(image, true);
        mem_fault_after(n);
        vs_poll(store, 100000);
        mem_fault_after(0);
        cut_image_hold(image, false);
        finish(store, image);
        failures += cut_image_failed(image);
        assert_int_equal(vs_index_count(index), 1500);
        cut_image_free(image);
        vs_close(store);
    }
    assert_true(failures > 5);
    assert_int_equal(cut_image_regions(), 0);
}

/* ---- attributes change while they are read ---- */

struct changed {                     /* by a thread that is the owner meanwhile */
    struct vs_index *index;
    uint32_t id;
    const char *attributes;
    _Atomic long tid;
    struct graph_cut *cut;
    uint32_t slot;
    void *before;                    /* the pointer that the record had */
};

static void *change_thread(void *arg)
{
    struct changed *c = arg;
    atomic_store(&c->tid, syscall(SYS_gettid));
    if (vs_set_attributes(c->index, &c->id, sizeof(c->id), c->attributes, strlen(c->attributes)) != VS_OK)
        abort();
    return NULL;
}

static void *extra_of(struct graph_cut *cut, uint32_t slot, void **user)
{
    static void *users[CHUNK_SLOTS], *extras[CHUNK_SLOTS];
    graph_cut_records(cut, slot >> CHUNK_BITS, NULL, NULL, NULL, users, extras);
    if (user)
        *user = users[slot & (CHUNK_SLOTS - 1)];
    return extras[slot & (CHUNK_SLOTS - 1)];
}

/* Does the thread sleep, waiting for the lock, or has it already done what it may do only behind it? */
static bool is_at_lock(void *arg)
{
    struct changed *c = arg;
    char path[64], text[256] = "";
    long tid = atomic_load(&c->tid);
    if (extra_of(c->cut, c->slot, NULL) != c->before)
        return true;
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
    FILE *f = tid ? fopen(path, "r") : NULL;
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    const char *state = strrchr(text, ')');
    return state && state[1] == ' ' && state[2] == 'S';
}

static void keep_ready(void *arg, struct vs_cut_part *part)
{
    *(struct vs_cut_part **)arg = part;
}

static void keep_walked(void *arg, size_t indexes, size_t parts)
{
    (void)arg;
    assert_int_equal(indexes, 1);
    assert_int_equal(parts, 1);
}

static uint32_t slot_of(struct graph_cut *cut, uint32_t id)
{
    for (uint32_t slot = 0; slot < graph_cut_chunks(cut) * CHUNK_SLOTS; slot++) {
        void *user;
        size_t len;
        extra_of(cut, slot, &user);
        if (user && memcmp(vs_cut_id(user, &len), &id, sizeof(id)) == 0)
            return slot;
    }
    fail_msg("element %u has no slot", id);
    return 0;
}

static void assert_attributes(const void *data, size_t len, const char *expected)
{
    assert_int_equal(data != NULL, expected != NULL);
    if (expected)
        assert_int_equal(len, strlen(expected));
    if (expected && len)
        assert_memory_equal(data, expected, len);
}

/* Whoever reads a cut looks at a record's attributes first and then, under the lock, whether older ones are kept. So while the
 * lock is held and they are not kept yet, the record must have them. */
static void test_attributes_kept_first(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *to, *was;
        bool again; /* what it was is kept already */
    } step[] = {
        {5, "other", "{\"five\":1}", false}, {6, "new", NULL, false}, {10, "", "{\"five\":1}", false},
        {6, "newer", NULL, true},            {5, "", "{\"five\":1}", true},
    };
    struct vs_store *store = stores_open(0);
    struct vs_index *index = filled(store, "k", 1300, (struct vs_index_options){.m = 6, .ef_construction = 20});
    stores_settle(store);
    struct vs_cut_part *part = NULL;
    assert_int_equal(vs_cut_begin(store, &(struct vs_cut_hooks){keep_ready, keep_walked, NULL, &part}), VS_OK);
    while (!part)
        vs_poll(store, 1000);
    assert_non_null(graph_cut_state(part->cut));
    uint32_t first = 0;
    assert_int_equal(vs_set_attributes(index, &first, sizeof(first), "x", 1), VS_OK); /* now the map has room */
    for (size_t i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
        struct changed c = {.index = index, .id = step[i].id, .attributes = step[i].to, .cut = part->cut};
        pthread_t thread;
        size_t len;
        void *user;
        c.slot = slot_of(part->cut, c.id);
        c.before = extra_of(part->cut, c.slot, &user);
        pthread_mutex_lock(&store->cut.lock);
        assert_int_equal(pthread_create(&thread, NULL, change_thread, &c), 0);
        bool there = step[i].again || wait_until(is_at_lock, &c, 10000);
        const void *data = attr_text(extra_of(part->cut, c.slot, NULL), &len);
        if (!step[i].again)
            assert_attributes(data, len, step[i].was);
        pthread_mutex_unlock(&store->cut.lock);
        pthread_join(thread, NULL);
        assert_true(there);
        data = vs_cut_attributes(part, user, extra_of(part->cut, c.slot, NULL), &len);
        assert_attributes(data, len, step[i].was);
        assert_int_equal(vs_get_attributes(index, &c.id, sizeof(c.id), &data, &len), VS_OK);
        assert_attributes(data, len, *step[i].to ? step[i].to : NULL);
    }
    vs_cut_part_done(part);
    stores_settle(store);
    assert_false(store->cut.active);
    vs_close(store);
}

/* ---- images that are not what they should be ---- */

static void put32(struct region *r, size_t at, uint32_t n)
{
    memcpy(r->base + at, &n, sizeof(n));
}

static void put64(struct region *r, size_t at, uint64_t n)
{
    memcpy(r->base + at, &n, sizeof(n));
}

static uint32_t get32(const struct region *r, size_t at)
{
    uint32_t n;
    memcpy(&n, r->base + at, sizeof(n));
    return n;
}

static uint64_t get64(const struct region *r, size_t at)
{
    uint64_t n;
    memcpy(&n, r->base + at, sizeof(n));
    return n;
}

/* Where the parsed form of the first attributes begins. */
static size_t document(const struct vs_part_image *im)
{
    size_t at = im->attrs + get64(im->g, im->attrs + 16);
    return at + 8 + (get32(im->g, at) & ~ATTR_PARSED);
}

/* A row more than there are entries for, as if attributes had been set between counting and writing: the last row is not read, and
 * the entries all stand one row further than their offsets say. */
static void shift_attributes(struct vs_part_image *im)
{
    uint8_t *entries = im->g->base + im->attrs + get64(im->g, im->attrs + 16);
    memmove(entries + 16, entries, im->attrs_bytes - get64(im->g, im->attrs + 16) - 16);
    memcpy(entries, entries - 16, 16);
}

/* One way in which an image can be wrong. False: there is no such one. */
static bool spoil(struct cut_image_part *p, unsigned how)
{
    struct vs_part_image *im = &p->image;
    struct vs_part_group *g = im->g ? (struct vs_part_group *)(uintptr_t)&im->groups[0] : NULL;
    switch (how) {
    case 0: p->options.seed = 0; return true;
    case 1: p->options.dim = VEC_DIM_MAX + 1; return true;
    case 2: im->number = 5; return true;
    case 3: im->sequence++; return true;
    case 4: im->alive++; return true;
    case 5: im->attributes++; return true;
    case 6: p->db = 99; return true;
    default: break;
    }
    if (im->g)
        switch (how) {
        case 7: put64(im->g, im->idtable, UINT64_MAX); return true;
        case 8: put32(im->g, im->idtable + 8, 0x7fffffff); return true;
        case 9: memcpy(im->g->base + im->idtable + 8, im->g->base + im->idtable + 24, 4); return true;
        case 10: put64(im->g, im->idtable, get64(im->g, im->idtable) - 1); return true;
        case 11: put64(im->g, im->attrs, UINT64_MAX / 16); return true;
        case 12: put32(im->g, im->attrs + 8, 0x7fffffff); return true;
        case 13: put64(im->g, im->attrs + 16, UINT64_MAX - 2); return true;
        case 14: put64(im->g, im->attrs + 16, 8); return true;
        case 15: put32(im->g, im->attrs + get64(im->g, im->attrs + 16), UINT32_MAX); return true;
        case 16: put64(g->v, g->ids, 0); return true;
        case 17: put64(g->v, g->ids, UINT64_MAX); return true;
        case 18: put64(g->v, g->ids, g->ids_bytes - 1); return true;
        case 19: g->v->base[g->ids + get64(g->v, g->ids)] = 254; g->ids_bytes = get64(g->v, g->ids) + 20; return true;
        case 20: g->v->base[g->ids + get64(g->v, g->ids)] = 255; return true;
        case 21: g->v->base[g->ids + get64(g->v, g->ids) + 1] ^= 1; return true;
        case 22: im->attrs_bytes = 4; return true;
        case 23: im->group_chunks = 0; return true;
        case 24: put64(im->g, im->born, UINT64_MAX); return true;
        case 25: put32(im->g, document(im) - 4, UINT32_MAX); return true;
        case 26: put32(im->g, document(im), 0x7fffffff); return true;
        case 27: put32(im->g, document(im) + 8, 11); return true;
        case 28: put64(im->g, im->attrs + 32, get64(im->g, im->attrs + 16)); return true; /* the entry before */
        case 29: put64(im->g, im->attrs + 16, get64(im->g, im->attrs + 32)); return true;
        case 30: shift_attributes(im); return true;
        case 31: im->attrs_bytes += 8; return true;
        default: return false;
        }
    switch (how) {
    case 7: im->small_bytes = 3; return true;
    case 8: put32(im->pack, im->small, 0x7fffffff); return true;
    case 9: put32(im->pack, im->small, 1023); return true;
    case 10: im->small_bytes -= 3; return true;
    case 11: put64(im->pack, im->small + 8, 0); return true;
    case 12: put64(im->pack, im->small + 8, UINT64_MAX); return true;
    case 13: im->pack->base[im->small + 8 + 8 * im->alive] = 77; return true;
    case 14: im->small_bytes /= 2; return true;
    default: return false;
    }
}

static void test_spoilt_images(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        unsigned how = 0;
        for (bool any = true; any; how++) {
            struct vs_store *store = stores_open(0), *other = stores_open(0);
            filled(store, "k", large ? 1300 : 60, (struct vs_index_options){.m = 6, .ef_construction = 20});
            stores_settle(store);
            struct cut_image *image = cut_image_begin(store, 2);
            finish(store, image);
            struct cut_image_part *p = cut_image_first(image);
            assert_int_equal(p->image.g != NULL, large);
            uint32_t groups = p->image.group_chunks;
            any = spoil(p, how);
            struct buf why = {0};
            struct vs_index *index = NULL;
            enum vs_status status = cut_image_restore_index(p, other, &index, &why);
            if (any && status != VS_CORRUPT)
                print_error("large %d, how %u: status %d\n", large, how, status);
            assert_int_equal(status, any ? VS_CORRUPT : VS_OK);
            assert_int_equal(why.len > 0, any);
            if (!any) {
                vs_restore_discard(index);
                assert_int_equal(cut_image_restore_index(p, other, &index, &why), VS_OK);
                assert_int_equal(vs_restore_attach(index), VS_OK);
                stores_assert_same(store, other, "restored after being discarded");
                assert_int_equal(cut_image_restore_index(p, other, &index, &why), VS_OK);
                assert_int_equal(vs_restore_attach(index), VS_EXISTS);
                vs_restore_discard(index);
            }
            buf_release(&why);
            p->image.group_chunks = groups;
            vs_close(other);
            vs_close(store);
            cut_image_free(image);
        }
        assert_true(how > 10);
        print_message("%u ways to be wrong\n", how - 1);
    }
    assert_int_equal(cut_image_regions(), 0);
}

/* Attributes as an older version saved them, without their documents: filters find them, and the next image has them whole. */
static void test_old_attributes(void **state)
{
    (void)state;
    struct vs_store *store = stores_open(0), *other = stores_open(0);
    struct vs_index *index = filled(store, "k", 1300, (struct vs_index_options){.m = 6, .ef_construction = 20});
    stores_settle(store);
    struct cut_image *image = cut_image_begin(store, 2);
    finish(store, image);
    struct vs_part_image *im = &cut_image_first(image)->image;
    size_t to = get64(im->g, im->attrs + 16);
    for (uint64_t i = 0; i < get64(im->g, im->attrs); i++) {
        size_t row = im->attrs + 16 + i * 16, at = im->attrs + get64(im->g, row);
        uint32_t len = get32(im->g, at) & ~ATTR_PARSED;
        memmove(im->g->base + im->attrs + to, im->g->base + at, 4 + len);
        put32(im->g, im->attrs + to, len);
        put64(im->g, row, to);
        to += (4 + len + 7) & ~(size_t)7;
    }
    im->attrs_bytes = to;
    struct buf why = {0};
    const struct vs_part_group *g = &im->groups[0];
    uint64_t id = get64(g->v, g->ids + 8 * 1000);
    put64(g->v, g->ids + 8 * 1000, 0); /* found when most have been parsed, which must not stay */
    assert_int_equal(cut_image_restore_index(cut_image_first(image), other, &index, &why), VS_CORRUPT);
    put64(g->v, g->ids + 8 * 1000, id);
    why.len = 0;
    assert_int_equal(cut_image_restore_index(cut_image_first(image), other, &index, &why), VS_OK);
    assert_int_equal(vs_restore_attach(index), VS_OK);
    stores_assert_same(store, other, "restored from an old image");
    struct vs_memory memory;
    vs_index_memory(index, &memory);
    assert_true(memory.attributes > 260 * 18);
    const struct partition *p = index_table(index)->part[0];
    size_t n = 0;
    const uint8_t *doc;
    for (uint32_t slot = 0; slot < 1300; slot++) {
        const void *extra = graph_extra(p->graph, slot);
        n += extra && attr_doc(extra, &doc) && doc;
    }
    assert_int_equal(n, 260);
    vs_close(other);
    vs_close(store);
    cut_image_free(image);
    buf_release(&why);
    assert_int_equal(cut_image_regions(), 0);
}

/* Every allocation of a restore fails in turn. */
static void test_restore_without_memory(void **state)
{
    (void)state;
    struct vs_store *store = stores_open(0), *other = stores_open(0);
    filled(store, "k", 1300, (struct vs_index_options){.m = 6, .ef_construction = 20, .partitions = 2});
    filled(store, "l", 3000, (struct vs_index_options){.m = 6, .ef_construction = 20});
    stores_settle(store);
    struct cut_image *image = cut_image_begin(store, 2);
    finish(store, image);
    for (struct cut_image_part *p = cut_image_first(image); p; p = p->next) {
        if (p->position)
            continue;
        bool hit = true;
        long n = 1;
        for (; hit; n++) {
            struct buf why = {0};
            struct vs_index *index = NULL;
            mem_fault_after(n);
            enum vs_status status = cut_image_restore_index(p, other, &index, &why);
            hit = mem_fault_hit();
            mem_fault_after(0);
            assert_int_equal(status, hit ? VS_NOMEM : VS_OK);
            if (status == VS_OK)
                vs_restore_discard(index);
            buf_release(&why);
        }
        assert_true(n > 5);
    }
    vs_close(store);
    vs_close(other);
    cut_image_free(image);
    assert_int_equal(cut_image_regions(), 0);
}

int main(void)
{
    quick = run_quick();
    seed = run_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_under_changes),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_attributes_kept_first),
        cmocka_unit_test(test_spoilt_images),
        cmocka_unit_test(test_old_attributes),
        cmocka_unit_test(test_restore_without_memory),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_under_changes),
        cmocka_unit_test(test_abort),
    };
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
