/* Snapshots through persist.h: a store is saved while it changes, loaded again, and compared with what
 * it was at the cut; both go on with the same entries and stay equal, links and all. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/effects.h"
#include "lib/journal_rig.h"
#include "lib/run.h"
#include "persist/persist.h"
#include "persist/snapshot.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_path.h"

#define DIM 12

static char dir[128];
static uint64_t seed;

static int set_up(void **state)
{
    (void)state;
    return run_make_directory("test_snapshot", dir, sizeof(dir));
}

static int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

/* ---- a store on disk ---- */

struct node {
    struct vs_store *store;
    struct persist *persist;
};

static const struct vfs *vfs = &vfs_posix;
static struct vfs unsynced;
static bool appendonly;
static bool verify;
static unsigned threads = 2;

/* Opens and loads; the reason in `why` (may be NULL) when it does not. */
static enum vs_status node_try(struct node *n, struct buf *why)
{
    struct buf text = {0};
    struct vs_options vo = {.threads = threads};
    struct persist_options o = {.vfs = vfs, .dir = dir, .appendonly = appendonly,
                                .load_truncated = true, .verify = verify,
                                .fsync = JOURNAL_EVERYSEC};
    bool done = false;
    memset(n, 0, sizeof(*n));
    assert_int_equal(vs_open(&vo, &n->store), VS_OK);
    enum vs_status status = persist_open(&o, n->store, &n->persist, &text);
    while (status == VS_OK && !done) {
        status = persist_load_step(n->persist, clock_mono_ns() + 5000000, &done, &text);
        vs_poll(n->store, 100);
    }
    if (why)
        buf_append(why, text.data, text.len);
    else if (status != VS_OK)
        print_message("%.*s\n", (int)text.len, text.data);
    buf_release(&text);
    return status;
}

static void node_open(struct node *n)
{
    assert_int_equal(node_try(n, NULL), VS_OK);
}

static void node_close(struct node *n)
{
    assert_int_equal(persist_close(n->persist), VS_OK);
    vs_close(n->store);
}

static void turn(struct node *n)
{
    struct journal *j = persist_journal(n->persist);
    if (j)
        journal_turn(j);
    vs_poll(n->store, 200);
    persist_poll(n->persist);
}

struct wait {
    bool ended, ok;
};

static void on_done(void *arg, bool ok)
{
    struct wait *w = arg;
    w->ended = true;
    w->ok = ok;
}

static bool save(struct node *n, bool rewrite, void (*meanwhile)(struct node *n))
{
    struct wait w = {false, false};
    uint64_t deadline = clock_mono_ns() + 60000000000ull;
    assert_int_equal(persist_save(n->persist, rewrite, on_done, &w), VS_OK);
    while (!w.ended) {
        if (meanwhile)
            meanwhile(n);
        turn(n);
        if (!meanwhile) {
            struct timespec t = {0, 200000};
            nanosleep(&t, NULL);
        }
        assert_true(clock_mono_ns() < deadline);
    }
    return w.ok;
}

/* ---- commands ---- */

#define BEAM 40 /* of insertions where an index does not say: graphs that are built fast */

static struct vs_index *index_of(struct vs_store *store, const char *key,
                                 const struct vs_index_options *o)
{
    struct vs_index *index = vs_find(store, 0, key, strlen(key));
    struct vs_index_options with = *o;
    if (!with.ef_construction)
        with.ef_construction = BEAM;
    if (!index)
        assert_int_equal(vs_create(store, 0, key, strlen(key), &with, &index), VS_OK);
    return index;
}

static void change(struct vs_store *store, const char *key, const struct vs_index_options *o,
                   struct rng *r, unsigned ids)
{
    struct vs_index *index = index_of(store, key, o);
    float v[DIM];
    char id[32], attributes[32];
    int len = snprintf(id, sizeof(id), "element:%u", (unsigned)rng_below(r, ids));
    int alen = snprintf(attributes, sizeof(attributes), "{\"n\":%u}", (unsigned)rng_below(r, 1000));
    uint64_t what = rng_below(r, 100);
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)rng_unit(r) * 2 - 1;
    if (what < 80) {
        struct vs_element e = {.id = id, .id_len = (size_t)len, .vector = v,
                               .attributes = what < 10 ? attributes : NULL,
                               .attributes_len = (size_t)alen, .past_backlog = true};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    } else if (what < 92) {
        vs_delete(index, id, (size_t)len);
    } else {
        vs_set_attributes(index, id, (size_t)len, attributes, what < 95 ? 0 : (size_t)alen);
    }
}

static const struct vs_index_options plain = {.dim = DIM, .metric = VEC_L2, .seed = 5, .m = 8,
                                              .keep_empty = true};
static const struct vs_index_options parts = {.dim = DIM, .metric = VEC_COSINE, .seed = 6, .m = 8,
                                              .partitions = 3, .type = VEC_F32};
static const struct vs_index_options empty = {.dim = DIM, .seed = 8, .partitions = 3,
                                              .keep_empty = true};
static const struct vs_index_options flat = {.dim = DIM, .metric = VEC_L2, .seed = 7,
                                             .structure = VS_FLAT, .type = VEC_F16};

static void change_all(struct vs_store *store, struct rng *r, int n)
{
    index_of(store, "nothing", &empty); /* and stays so */
    for (int i = 0; i < n; i++) {
        uint64_t which = rng_below(r, 20);
        if (which < 10)
            change(store, "plain", &plain, r, 9000);
        else if (which < 15)
            change(store, "parts", &parts, r, 6000);
        else if (which < 18)
            change(store, "flat", &flat, r, 2500);
        else
            change(store, which == 18 ? "small" : "tiny", &plain, r, which == 18 ? 300 : 12);
    }
}

static struct rng meanwhile_rng;
static int meanwhile_left;

static void meanwhile_change(struct node *n)
{
    int k = meanwhile_left < 20 ? meanwhile_left : 20;
    change_all(n->store, &meanwhile_rng, k);
    meanwhile_left -= k;
}

static void settle(struct vs_store *store)
{
    assert_int_equal(vs_settle(store, 60000), VS_OK);
}

static void assert_same(struct vs_store *a, struct vs_store *b)
{
    settle(a);
    settle(b);
    const char *differs = effects_compare(a, b);
    if (differs)
        fail_msg("stores differ: %s", differs);
}

/* A store without files that has had the same entries. */
static struct vs_store *twin(void)
{
    struct vs_store *store;
    struct vs_options vo = {.threads = threads};
    assert_int_equal(vs_open(&vo, &store), VS_OK);
    return store;
}

/* ---- tests ---- */

static void test_empty(void **state)
{
    (void)state;
    struct node n;
    node_open(&n);
    assert_true(save(&n, false, NULL));
    node_close(&n);
    node_open(&n);
    assert_int_equal(vs_count(n.store, 0), 0);
    node_close(&n);
}

/* Saved at rest, loaded, equal; then both go on. */
static void test_round_trip(void **state)
{
    (void)state;
    int steps[] = {30, 900, RUN_RACES ? 4000 : 6000, run_quick() ? 9000 : 30000};
    for (size_t k = 0; k < sizeof(steps) / sizeof(*steps) - RUN_RACES; k++) {
        struct node n;
        struct vs_store *other = twin();
        struct rng a = {seed + k}, b = {seed + k};
        node_open(&n);
        change_all(n.store, &a, steps[k]);
        assert_true(save(&n, false, NULL));
        node_close(&n);
        node_open(&n);
        change_all(other, &b, steps[k]);
        assert_same(n.store, other);
        change_all(n.store, &a, 3000);
        change_all(other, &b, 3000);
        assert_same(n.store, other);
        assert_true(save(&n, false, NULL));
        node_close(&n);
        verify = k % 2;
        node_open(&n);
        assert_same(n.store, other);
        verify = false;
        node_close(&n);
        vs_close(other);
        tear_down(NULL);
        set_up(NULL);
    }
}

/* Changes go on while it is saved: what is loaded is the store as of the cut. */
static void test_meanwhile(void **state)
{
    (void)state;
    int rounds = run_quick() ? 1 : 6;
    for (int round = 0; round < rounds; round++) {
        struct node n;
        struct vs_store *other = twin();
        struct rng a = {seed + 100}, b = {seed + 100};
        int before = 4000 + round * 3000;
        node_open(&n);
        change_all(n.store, &a, before);
        change_all(other, &b, before);
        for (int again = 0; again < (RUN_RACES ? 1 : 3); again++) {
            meanwhile_rng = a;
            meanwhile_left = 2500;
            assert_true(save(&n, false, meanwhile_change));
            struct node m;
            assert_int_equal(persist_close(n.persist), VS_OK);
            node_open(&m);
            assert_same(m.store, other);
            /* The rest of what came during the snapshot, on both; then the loaded one goes on. */
            int came = 2500 - meanwhile_left;
            change_all(m.store, &a, came);
            change_all(other, &b, came);
            assert_same(m.store, other);
            assert_same(n.store, other);
            vs_close(n.store);
            n = m;
        }
        node_close(&n);
        vs_close(other);
        tear_down(NULL);
        set_up(NULL);
    }
}

/* ---- files ---- */

static struct vfs_names files(void)
{
    struct vfs_names names = {0};
    char path[256];
    snprintf(path, sizeof(path), "%s/dump.rdb.d", dir);
    assert_int_equal(vfs_path_list(&vfs_posix, path, &names, NULL), VS_OK);
    return names;
}

static size_t in_common(const struct vfs_names *a, const struct vfs_names *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            n += strcmp(a->name[i], b->name[k]) == 0;
    return n;
}

/* What has not changed is not written again; what nothing names goes, one snapshot later. */
static void test_kept(void **state)
{
    (void)state;
    struct node n;
    struct rng r = {seed};
    node_open(&n);
    change_all(n.store, &r, run_quick() ? 12000 : 30000);
    settle(n.store);
    assert_true(save(&n, false, NULL));
    struct vfs_names first = files();
    assert_true(save(&n, false, NULL));
    struct vfs_names second = files();
    assert_int_equal(second.count, first.count);
    assert_int_equal(in_common(&first, &second), first.count);
    /* Attributes change no vector: V files stay, one G file is new. */
    struct vs_index *flat_index = vs_find(n.store, 0, "flat", 4);
    char id[32];
    for (unsigned i = 0; i < 2500; i++)
        if (vs_set_attributes(flat_index, id, (size_t)snprintf(id, sizeof(id), "element:%u", i),
                              "x", 1) == VS_OK)
            break;
    assert_true(save(&n, false, NULL));
    struct vfs_names third = files();
    assert_int_equal(third.count, first.count + 1); /* with the one of the snapshot before */
    assert_int_equal(in_common(&first, &third), first.count);
    assert_true(save(&n, false, NULL));
    struct vfs_names fourth = files();
    assert_int_equal(fourth.count, first.count);
    assert_int_equal(in_common(&first, &fourth), first.count - 1);
    node_close(&n);
    node_open(&n); /* and all of that loads */
    assert_int_equal(vs_index_count(vs_find(n.store, 0, "flat", 4)) > 0, 1);
    /* A file that nobody names goes at the next start; one just loaded is kept by the next save. */
    assert_true(save(&n, false, NULL));
    struct vfs_names fifth = files();
    assert_int_equal(in_common(&fourth, &fifth), fourth.count);
    node_close(&n);
    vfs_names_release(&first);
    vfs_names_release(&second);
    vfs_names_release(&third);
    vfs_names_release(&fourth);
    vfs_names_release(&fifth);
}

static void add(struct vs_store *store, const char *key, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        char id[32];
        float v[DIM] = {(float)i, 1};
        struct vs_element e = {.id = id, .id_len = (size_t)snprintf(id, sizeof(id), "element:%u", i), .vector = v,
                               .past_backlog = true};
        assert_int_equal(vs_add(index_of(store, key, &plain), &e, VS_ADD_ANY, NULL), VS_OK);
    }
}

/* Saves; how many files it made. */
static size_t made_by_save(struct node *n)
{
    struct vfs_names before = files();
    assert_true(save(n, false, NULL));
    struct vfs_names after = files();
    size_t made = after.count - in_common(&before, &after);
    vfs_names_release(&before);
    vfs_names_release(&after);
    return made;
}

static size_t files_there(void)
{
    struct vfs_names names = files();
    size_t n = names.count;
    vfs_names_release(&names);
    return n;
}

/* Packs of tiny partitions, which fill less than half of their files: they stay when nothing has changed, and become one when
 * something has. One that is mostly unused is left at once. */
static void test_kept_packs(void **state)
{
    (void)state;
    struct node n;
    node_open(&n);
    assert_true(save(&n, false, NULL)); /* makes the folder */
    add(n.store, "a", 0, 12);
    assert_int_equal(made_by_save(&n), 1);
    assert_int_equal(made_by_save(&n), 0);
    add(n.store, "b", 0, 1);
    assert_int_equal(made_by_save(&n), 1); /* "a" is in it, too */
    assert_int_equal(made_by_save(&n), 0);
    assert_int_equal(files_there(), 1);
    add(n.store, "large", 0, 200);
    assert_int_equal(made_by_save(&n), 1);
    add(n.store, "b", 1, 1); /* "large" stays, and uses most of its file */
    assert_int_equal(made_by_save(&n), 1);
    assert_int_equal(made_by_save(&n), 0);
    assert_int_equal(files_there(), 2);
    assert_int_equal(vs_remove(n.store, 0, "large", 5), VS_OK);
    assert_int_equal(made_by_save(&n), 1);
    assert_int_equal(made_by_save(&n), 0);
    assert_int_equal(files_there(), 1);
    node_close(&n);
    node_open(&n);
    assert_int_equal(made_by_save(&n), 0);
    assert_int_equal(vs_index_count(vs_find(n.store, 0, "a", 1)), 12);
    assert_int_equal(vs_index_count(vs_find(n.store, 0, "b", 1)), 2);
    node_close(&n);
}

static void test_leftovers(void **state)
{
    (void)state;
    struct node n;
    struct rng r = {seed};
    char path[256];
    node_open(&n);
    change_all(n.store, &r, 500);
    assert_true(save(&n, false, NULL));
    node_close(&n);
    snprintf(path, sizeof(path), "%s/dump.rdb.d/0000000000000000-0.seg", dir);
    FILE *f = fopen(path, "w");
    fputs("left", f);
    fclose(f);
    node_open(&n);
    assert_int_equal(access(path, F_OK), -1);
    node_close(&n);
}

static void test_lock(void **state)
{
    (void)state;
    struct node n;
    struct buf why = {0};
    struct persist_options o = {.vfs = vfs, .dir = dir};
    struct persist *other;
    node_open(&n);
    assert_int_equal(persist_open(&o, n.store, &other, &why), VS_EXISTS);
    assert_non_null(memmem(why.data, why.len, PERSIST_LOCK, strlen(PERSIST_LOCK)));
    buf_release(&why);
    node_close(&n);
}

/* ---- with a journal ---- */

static void test_rewrite(void **state)
{
    (void)state;
    struct node n;
    struct vs_store *other = twin();
    struct rng a = {seed + 7}, b = {seed + 7};
    appendonly = true;
    node_open(&n);
    for (int round = 0; round < (run_quick() ? 2 : 4); round++) {
        change_all(n.store, &a, 2000);
        meanwhile_rng = a;
        meanwhile_left = 1500;
        assert_true(save(&n, round != 1, meanwhile_change));
        a = meanwhile_rng;
        int came = 1500 - meanwhile_left;
        change_all(n.store, &a, 500);
        change_all(other, &b, 2000 + came + 500);
        journal_turn(persist_journal(n.persist));
        node_close(&n);
        node_open(&n);
        assert_same(n.store, other);
    }
    node_close(&n);
    vs_close(other);
    appendonly = false;
}

/* Attributes at most elements, changed all the time; now and then most elements go, so that partitions
 * are compacted, or become small ones. */
static void storm_change(struct vs_store *store, const struct vs_index_options *o, struct rng *r,
                         unsigned ids, bool shrinking)
{
    struct vs_index *index = index_of(store, "storm", o);
    float v[DIM];
    char id[32], attributes[64];
    size_t len = (size_t)snprintf(id, sizeof(id), "%u", (unsigned)rng_below(r, ids));
    size_t alen = (size_t)snprintf(attributes, sizeof(attributes), "{\"n\":%u,\"t\":\"%.*s\"}",
                                   (unsigned)rng_below(r, 1000), (int)rng_below(r, 40),
                                   "----------------------------------------");
    uint64_t what = rng_below(r, 100), deletes = shrinking ? 50 : 15;
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)rng_unit(r) * 2 - 1;
    if (what < deletes) {
        vs_delete(index, id, len);
    } else if (what < 60) {
        struct vs_element e = {.id = id, .id_len = len, .vector = v, .past_backlog = true};
        if (shrinking && !vs_contains(index, id, len))
            return;
        if (what % 2) {
            e.attributes = attributes;
            e.attributes_len = alen;
        }
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    } else {
        enum vs_status status = vs_set_attributes(index, id, len, attributes, what < 75 ? 0 : alen);
        assert_true(status == VS_OK || status == VS_NOTFOUND);
    }
}

struct storm {
    const struct vs_index_options *options;
    struct rng rng;
    unsigned ids;
    bool shrinking;
    uint64_t came;
};

static struct storm storm;

static void storm_run(struct vs_store *store, struct storm *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        storm_change(store, s->options, &s->rng, s->ids, s->shrinking);
}

static void storm_meanwhile(struct node *n)
{
    uint64_t k = storm.came < 20000 ? 10 : 0;
    storm_run(n->store, &storm, k);
    storm.came += k;
}

/* Attributes change as fast as they can while bases and snapshots are written; a restart finds what a store
 * without files has. */
static void test_storm(void **state)
{
    (void)state;
    static const struct vs_index_options options[] = {
        {.dim = DIM, .metric = VEC_L2, .seed = 3, .m = 4, .ef_construction = 8, .keep_empty = true},
        {.dim = DIM, .metric = VEC_L2, .seed = 3, .structure = VS_FLAT, .keep_empty = true},
        {.dim = DIM, .metric = VEC_COSINE, .seed = 3, .m = 4, .ef_construction = 8,
         .partitions = 3, .keep_empty = true},
    };
    struct rng r = {seed + 12};
    appendonly = true;
    vfs = &unsynced;
    for (int life = 0; life < (run_quick() ? 3 : 9); life++) {
        struct node n;
        struct vs_store *other = twin();
        struct storm mine = {.options = &options[life % 3], .rng = {rng_next(&r)},
                             .ids = 400 + (unsigned)rng_below(&r, 5000)};
        struct storm theirs = mine;
        set_up(NULL);
        node_open(&n);
        for (int round = 0; round < 4; round++) {
            uint64_t before = rng_below(&r, 4000), after = rng_below(&r, 300);
            mine.shrinking = theirs.shrinking = rng_below(&r, 3) == 0;
            storm_run(n.store, &mine, before);
            storm = mine;
            storm.came = 0;
            assert_true(save(&n, rng_below(&r, 3) != 0, storm_meanwhile));
            mine = storm;
            storm_run(n.store, &mine, after);
            storm_run(other, &theirs, before + mine.came + after);
            node_close(&n);
            node_open(&n);
            assert_same(n.store, other);
        }
        node_close(&n);
        vs_close(other);
        tear_down(NULL);
    }
    vfs = &vfs_posix;
    appendonly = false;
    set_up(NULL);
}

/* Switched on while it runs: a base is made, and a restart finds all. */
static void test_switch_on(void **state)
{
    (void)state;
    struct node n;
    struct buf why = {0};
    struct persist_status s;
    struct vs_store *other = twin();
    struct rng a = {seed + 8}, b = {seed + 8};
    node_open(&n);
    change_all(n.store, &a, 3000);
    assert_true(persist_set_appendonly(n.persist, true, &why));
    change_all(n.store, &a, 100);
    uint64_t deadline = clock_mono_ns() + 30000000000ull;
    do {
        turn(&n);
        persist_status(n.persist, &s);
        assert_true(clock_mono_ns() < deadline);
    } while (s.rewrites == 0);
    change_all(n.store, &a, 100);
    change_all(other, &b, 3200);
    node_close(&n);
    appendonly = true;
    node_open(&n);
    assert_same(n.store, other);
    /* Off and on again: what came between is in the new base. */
    assert_true(persist_set_appendonly(n.persist, false, &why));
    change_all(n.store, &a, 300);
    assert_true(persist_set_appendonly(n.persist, true, &why));
    do {
        turn(&n);
        persist_status(n.persist, &s);
        assert_true(clock_mono_ns() < deadline);
    } while (s.rewrites == 0 || s.rewriting);
    change_all(n.store, &a, 50);
    change_all(other, &b, 350);
    node_close(&n);
    node_open(&n);
    assert_same(n.store, other);
    node_close(&n);
    vs_close(other);
    appendonly = false;
    buf_release(&why);
}

/* ---- what goes wrong ---- */

/* A snapshot that fails leaves the one before; the next one works. */
static void test_full_disk(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs faulty = vfs_fault_vfs(f);
    struct node n;
    struct persist_status s;
    struct vs_store *other = twin();
    struct rng a = {seed + 9}, b = {seed + 9};
    vfs = &faulty;
    node_open(&n);
    change_all(n.store, &a, 5000);
    change_all(other, &b, 5000);
    assert_true(save(&n, false, NULL));
    struct vfs_names before = files();
    change_all(n.store, &a, 1000);
    vfs_fault_set(f, VFS_OP_WRITE, 3, VFS_FAULT_ENOSPC, true);
    assert_false(save(&n, false, NULL));
    persist_status(n.persist, &s);
    assert_false(s.save_ok);
    assert_non_null(strstr(s.error, "No space left"));
    vfs_fault_clear(f);
    struct vfs_names after = files();
    assert_int_equal(after.count, before.count);
    node_close(&n);
    node_open(&n);
    assert_same(n.store, other); /* as of the first */
    assert_true(save(&n, false, NULL));
    node_close(&n);
    vfs_names_release(&before);
    vfs_names_release(&after);
    vfs = &vfs_posix;
    vfs_fault_free(f);
    vs_close(other);
}

static void test_abort(void **state)
{
    (void)state;
    struct node n;
    struct rng r = {seed + 10};
    struct wait w = {false, true};
    node_open(&n);
    change_all(n.store, &r, 8000);
    assert_int_equal(persist_save(n.persist, false, on_done, &w), VS_OK);
    assert_int_equal(persist_save(n.persist, false, on_done, &w), VS_EXISTS);
    persist_save_abort(n.persist);
    uint64_t deadline = clock_mono_ns() + 30000000000ull;
    while (!w.ended) {
        turn(&n);
        assert_true(clock_mono_ns() < deadline);
    }
    assert_false(w.ok);
    assert_true(save(&n, false, NULL));
    /* Closed in the middle of one. */
    change_all(n.store, &r, 100);
    w = (struct wait){false, true};
    assert_int_equal(persist_save(n.persist, false, on_done, &w), VS_OK);
    node_close(&n);
    assert_true(w.ended && !w.ok);
}

/* A flipped bit in vectors stops their partition, no other; with `verify` the start. */
static void test_damage(void **state)
{
    (void)state;
    struct node n;
    struct rng r = {seed + 11};
    struct buf why = {0};
    struct snapshot_manifest m = {0};
    char path[256];
    node_open(&n);
    change_all(n.store, &r, run_quick() ? 12000 : 30000);
    settle(n.store);
    assert_true(save(&n, false, NULL));
    node_close(&n);
    snprintf(path, sizeof(path), "%s/dump.rdb", dir);
    assert_int_equal(snapshot_manifest_load(&vfs_posix, path, &m, &why), VS_OK);
    const struct snapshot_section *s = NULL;
    for (uint32_t i = 0; i < m.nindexes; i++)
        if (m.index[i].key_len == 5 && memcmp(m.index[i].key, "plain", 5) == 0)
            s = snapshot_find(&m.index[i].part[0], SECTION_ORIGINALS, 0);
    assert_non_null(s);
    snprintf(path, sizeof(path), "%s/dump.rdb.d/%s", dir, m.file[s->file].name);
    FILE *f = fopen(path, "r+b");
    fseek(f, (long)s->offset + 5000, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, (long)s->offset + 5000, SEEK_SET);
    fputc(byte ^ 0x5A, f);
    fclose(f);
    verify = true;
    assert_int_equal(node_try(&n, &why), VS_CORRUPT);
    assert_non_null(memmem(why.data, why.len, m.file[s->file].name, strlen(m.file[s->file].name)));
    node_close(&n);
    verify = false;
    node_open(&n);
    uint64_t deadline = clock_mono_ns() + 30000000000ull;
    struct vs_index *bad = vs_find(n.store, 0, "plain", 5);
    while (!vs_partition_damage(bad, 0, NULL)) {
        turn(&n);
        assert_true(clock_mono_ns() < deadline);
    }
    why.len = 0;
    assert_true(vs_index_damage(bad, &why));
    assert_non_null(memmem(why.data, why.len, "offset", 6));
    float v[DIM] = {1};
    struct vs_element e = {.id = "x", .id_len = 1, .vector = v};
    assert_int_equal(vs_add(bad, &e, VS_ADD_ANY, NULL), VS_CORRUPT);
    assert_int_equal(vs_add(vs_find(n.store, 0, "flat", 4), &e, VS_ADD_ANY, NULL), VS_OK);
    struct persist_status status;
    do {
        turn(&n);
        persist_status(n.persist, &status);
        assert_true(clock_mono_ns() < deadline);
    } while (status.damaged != 1);
    /* DEL is the way out. */
    assert_int_equal(vs_remove(n.store, 0, "plain", 5), VS_OK);
    assert_true(save(&n, false, NULL));
    node_close(&n);
    node_open(&n);
    node_close(&n);
    snapshot_manifest_release(&m);
    buf_release(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_packs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leftovers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rewrite, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_storm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_switch_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
    };
    const struct CMUnitTest threaded[] = {
        cmocka_unit_test_setup_teardown(test_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rewrite, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_storm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
    };
    seed = run_seed();
    log_set_level(LOG_NOTHING);
    unsynced = rig_vfs_unsynced();
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
