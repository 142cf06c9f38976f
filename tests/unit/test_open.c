/* A limit on open partitions: what is unloaded and opened again by use is the same as what never left memory, over
 * snapshots, rewrites, restarts and removals; a file that is damaged stops its partition alone. run: beside */
#include <dirent.h>
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

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/driver.h"
#include "lib/effects.h"
#include "lib/run.h"
#include "persist/persist.h"
#include "store/store_int.h"

#define DIM 8
#define DEADLINE_NS 60000000000ull

static char dir[128];
static uint64_t seed;

static int set_up(void **state)
{
    (void)state;
    return run_make_directory("test_open", dir, sizeof(dir));
}

static int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

/* ---- a store on disk, with all its effects kept beside ---- */

struct node {
    struct vs_store *store;
    struct persist *persist;
    struct effects log;
    struct vs_journal journal;       /* both: the persistence's and the log */
    const struct vs_journal *below;
    unsigned threads;
    size_t max;
    bool appendonly;
    long slow_ns;                    /* an opening while data are loaded takes so long; 0: as long as it takes */
    const struct vs_opener *opener;
    uint64_t longest_ns;             /* step of loading */
};

static enum vs_status open_slowly(void *arg, const struct vs_opening *o,
                                  enum vs_status (*build)(void *build_arg, const struct vs_part_image *image,
                                                          struct buf *why),
                                  void *build_arg, struct buf *why)
{
    struct node *n = arg;
    nanosleep(&(struct timespec){0, n->slow_ns}, NULL);
    return n->opener->open(n->opener->arg, o, build, build_arg, why);
}

static bool sound_below(void *arg, const struct vs_saved *saved)
{
    struct node *n = arg;
    return n->opener->sound(n->opener->arg, saved);
}

static enum vs_status prepare(void *arg, const struct vs_effect *e)
{
    struct node *n = arg;
    enum vs_status status = n->below->prepare(n->below->arg, e);
    return status == VS_OK ? n->log.journal.prepare(n->log.journal.arg, e) : status;
}

static void append(void *arg, const struct vs_effect *e)
{
    struct node *n = arg;
    n->below->append(n->below->arg, e);
    n->log.journal.append(n->log.journal.arg, e);
}

static void node_open(struct node *n)
{
    struct buf why = {0};
    struct vs_options vo = {.threads = n->threads, .open_max = n->max};
    struct persist_options o = {.vfs = &vfs_posix, .dir = dir, .appendonly = n->appendonly,
                                .load_truncated = true, .fsync = JOURNAL_EVERYSEC};
    bool done = false;
    assert_int_equal(vs_open(&vo, &n->store), VS_OK);
    enum vs_status status = persist_open(&o, n->store, &n->persist, &why);
    n->opener = n->store->open.opener;
    struct vs_opener slow = {open_slowly, n->opener ? n->opener->copy : NULL, sound_below, n};
    if (n->slow_ns)
        vs_set_opener(n->store, &slow);
    while (status == VS_OK && !done) {
        uint64_t began = clock_mono_ns();
        status = persist_load_step(n->persist, began + 5000000, &done, &why);
        if (clock_mono_ns() - began > n->longest_ns)
            n->longest_ns = clock_mono_ns() - began;
        vs_poll(n->store, 100);
    }
    if (status != VS_OK)
        print_message("%.*s\n", (int)why.len, why.data);
    assert_int_equal(status, VS_OK);
    buf_release(&why);
    if (n->slow_ns)
        vs_set_opener(n->store, n->opener);
    n->below = journal_hook(persist_journal(n->persist));
    n->journal = (struct vs_journal){.prepare = prepare, .append = append, .arg = n};
    vs_set_journal(n->store, &n->journal);
}

static void node_close(struct node *n)
{
    assert_int_equal(persist_close(n->persist), VS_OK);
    vs_close(n->store);
}

static void turn(struct node *n)
{
    journal_turn(persist_journal(n->persist));
    vs_poll(n->store, 200);
    persist_poll(n->persist);
}

static void pause_a_little(void)
{
    struct timespec t = {0, 100000};
    nanosleep(&t, NULL);
}

static void on_done(void *arg, bool ok)
{
    *(int *)arg = ok ? 1 : -1;
}

static bool save(struct node *n, bool rewrite)
{
    int result = 0;
    uint64_t deadline = clock_mono_ns() + DEADLINE_NS;
    enum vs_status status;
    while ((status = persist_save(n->persist, rewrite, on_done, &result)) == VS_EXISTS)
        turn(n);
    assert_int_equal(status, VS_OK);
    while (!result) {
        turn(n);
        pause_a_little();
        assert_true(clock_mono_ns() < deadline);
    }
    return result == 1;
}

static struct vs_open_status status_of(struct node *n)
{
    struct vs_open_status s;
    vs_open_status(n->store, &s);
    return s;
}

/* Until so many are open at most. */
static void wait_unloaded(struct node *n, size_t open)
{
    uint64_t deadline = clock_mono_ns() + DEADLINE_NS;
    while (status_of(n).open > open) {
        turn(n);
        pause_a_little();
        assert_true(clock_mono_ns() < deadline);
    }
}

/* ---- everything opened, to be compared ---- */

static void search_done(struct vs_search *s, void *arg)
{
    (void)s;
    atomic_store((atomic_bool *)arg, true);
}

static enum vs_status search_all(struct node *n, struct vs_index *index)
{
    float v[64] = {1};
    struct vs_query q = {.vector = v, .k = 3};
    struct vs_search *s;
    enum vs_status status;
    atomic_bool done = false;
    uint64_t deadline = clock_mono_ns() + DEADLINE_NS;
    while ((status = vs_search_begin(index, &q, &s)) == VS_BACKLOG) {
        turn(n);
        pause_a_little();
        assert_true(clock_mono_ns() < deadline);
    }
    if (status != VS_OK)
        return status;
    vs_search_submit(s, search_done, &done);
    while (!atomic_load(&done))
        pause_a_little();
    status = vs_search_status(s, NULL);
    vs_search_free(s);
    return status;
}

struct keys {
    struct vs_index *at[1024];
    size_t n;
};

static void note_key(void *arg, struct vs_index *index)
{
    struct keys *k = arg;
    assert_true(k->n < 1024);
    k->at[k->n++] = index;
}

static void all_keys(struct vs_store *store, struct keys *k)
{
    k->n = 0;
    for (unsigned db = 0; db < vs_databases(store); db++) {
        uint64_t cursor = 0;
        do {
            cursor = vs_scan(store, db, cursor, note_key, k);
        } while (cursor);
    }
}

/* Opens all and compares with a replay of all effects. */
static void compare(struct node *n)
{
    struct vs_store *replay;
    struct vs_options vo = {.threads = n->threads};
    static struct keys k;
    assert_int_equal(vs_open(&vo, &replay), VS_OK);
    assert_int_equal(effects_apply(&n->log, 0, n->log.n, replay, NULL), VS_OK);
    vs_set_open_max(n->store, 0);
    all_keys(n->store, &k);
    for (size_t i = 0; i < k.n; i++)
        assert_int_equal(search_all(n, k.at[i]), VS_OK);
    assert_int_equal(status_of(n).unloaded, 0);
    assert_int_equal(vs_settle(n->store, 60000), VS_OK);
    assert_int_equal(vs_settle(replay, 60000), VS_OK);
    const char *differs = effects_compare(n->store, replay);
    if (differs)
        print_message("seed %" PRIu64 ": %s\n", seed, differs);
    assert_null(differs);
    vs_close(replay);
    vs_set_open_max(n->store, n->max);
}

/* ---- random commands under a limit ---- */

struct sum {
    uint64_t records, graphs;
    size_t elements;
};

static struct sum sum_of(struct vs_store *store)
{
    static struct keys k;
    struct sum sum = {0};
    all_keys(store, &k);
    for (size_t i = 0; i < k.n; i++)
        for (size_t p = 0; p < vs_partition_count(k.at[i]); p++) {
            struct vs_partition_info info;
            vs_partition_info(k.at[i], p, &info);
            sum.records += info.records_digest;
            sum.graphs += info.graph_digest;
            sum.elements += info.elements;
        }
    return sum;
}

/* The digests of what is unloaded can be read, and are what they were. */
static void unload_all(struct node *n)
{
    assert_int_equal(vs_settle(n->store, 60000), VS_OK);
    if (!save(n, rand() % 2 && n->appendonly))
        return;
    struct sum before = sum_of(n->store);
    uint64_t deadline = clock_mono_ns() + 300000000;
    while (status_of(n).open > n->max && clock_mono_ns() < deadline) { /* pinned ones stay */
        turn(n);
        pause_a_little();
    }
    struct sum after = sum_of(n->store);
    assert_int_equal(before.records, after.records);
    assert_int_equal(before.graphs, after.graphs);
    assert_int_equal(before.elements, after.elements);
}

static void run_random(unsigned threads, bool appendonly, uint64_t s)
{
    struct node n = {.threads = threads, .max = 2, .appendonly = appendonly};
    struct rng r = {s};
    effects_init(&n.log);
    node_open(&n);
    struct driver d = {.store = n.store, .rng = {s + 1}};
    uint64_t unloads = 0, reloads = 0;
    int rounds = run_quick() ? 8 : 20;
    for (int round = 0; round < rounds; round++) {
        if (rng_below(&r, 2)) /* beside the commands */
            persist_save(n.persist, appendonly && rng_below(&r, 2), NULL, NULL);
        for (int i = 0; i < 20; i++) {
            driver_run(&d, 10 + rng_below(&r, 40));
            turn(&n);
        }
        while (status_of(&n).opening) /* the driver does not wait for what it asks */
            turn(&n);
        if (rng_below(&r, 3) == 0)
            unload_all(&n);
        unloads = status_of(&n).unloads > unloads ? status_of(&n).unloads : unloads;
        reloads = status_of(&n).reloads > reloads ? status_of(&n).reloads : reloads;
        if (rng_below(&r, 4) == 0)
            compare(&n);
        if (rng_below(&r, 4) == 0) {
            persist_save_abort(n.persist);
            if (!appendonly)
                while (!save(&n, false))
                    ;
            node_close(&n);
            node_open(&n);
            d.store = n.store;
            assert_true(status_of(&n).failures == 0);
        }
    }
    persist_save_abort(n.persist);
    compare(&n);
    assert_int_equal(status_of(&n).failures, 0);
    print_message("%zu changes, %" PRIu64 " unloads, %" PRIu64 " reloads\n", d.done, unloads, reloads);
    if (rounds == 20) /* with fewer it may happen that there are never more than two */
        assert_true(unloads > 0 && reloads > 0);
    node_close(&n);
    effects_release(&n.log);
}

static void test_random(void **state)
{
    (void)state;
    run_random(2, true, seed);
}

static void test_random_without_workers(void **state)
{
    (void)state;
    run_random(0, true, seed + 10);
}

static void test_random_without_journal(void **state)
{
    (void)state;
    run_random(2, false, seed + 20);
}

/* ---- one by one ---- */

static struct vs_index *make(struct node *n, const char *key, uint32_t partitions, unsigned elements)
{
    struct vs_index *index;
    struct vs_index_options o = {.dim = DIM, .metric = VEC_L2, .m = 4, .ef_construction = 16,
                                 .partitions = partitions, .keep_empty = true};
    struct rng r = {seed};
    assert_int_equal(vs_create(n->store, 0, key, strlen(key), &o, &index), VS_OK);
    for (unsigned i = 0; i < elements; i++) {
        float v[DIM];
        for (unsigned k = 0; k < DIM; k++)
            v[k] = (float)rng_unit(&r);
        struct vs_element e = {.id = &i, .id_len = sizeof(i), .vector = v, .past_backlog = true,
                               .attributes = i % 3 ? NULL : "x", .attributes_len = 1};
        assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
    }
    assert_int_equal(vs_settle(n->store, 60000), VS_OK);
    return index;
}

static struct vs_partition_info info_of(struct vs_index *index, size_t i)
{
    struct vs_partition_info info;
    vs_partition_info(index, i, &info);
    return info;
}

static void test_limit(void **state)
{
    (void)state;
    struct node n = {.threads = 2, .max = 0};
    effects_init(&n.log);
    node_open(&n);
    struct vs_index *a = make(&n, "a", 1, 1500), *b = make(&n, "b", 8, 200);
    assert_int_equal(status_of(&n).open, 9);
    vs_set_open_max(n.store, 2);
    for (int i = 0; i < 20; i++)
        turn(&n);
    assert_int_equal(status_of(&n).unloads, 0); /* no snapshot has them */
    assert_int_equal(status_of(&n).unsaved, 7);
    assert_int_equal(vs_partition_pin(b, 3, true), VS_OK);
    assert_true(save(&n, false));
    wait_unloaded(&n, 2);
    assert_true(info_of(b, 3).open && info_of(b, 3).pinned);
    assert_false(info_of(a, 0).open); /* used before b was */
    assert_int_equal(info_of(a, 0).elements, 1500);
    assert_true(info_of(a, 0).memory.total < 1024);
    assert_int_equal(vs_index_count(a), 1500);
    assert_int_equal(vs_partition_resident(a, 0), 0);

    /* the first use answers that it waits */
    uint32_t id = 7;
    float v[DIM];
    assert_int_equal(vs_get_vector(a, &id, sizeof(id), v), VS_BACKLOG);
    assert_true(info_of(a, 0).opening);
    while (vs_get_vector(a, &id, sizeof(id), v) == VS_BACKLOG)
        turn(&n);
    assert_true(info_of(a, 0).open);
    assert_int_equal(status_of(&n).reloads, 1);
    assert_int_equal(search_all(&n, b), VS_OK); /* more than the limit at a time */
    wait_unloaded(&n, 2);

    /* a reader opens nothing; pinning does; unpinning lets go */
    struct vs_reader *reader = vs_reader_new(n.store);
    struct vs_query q = {.vector = v, .k = 1};
    struct vs_hit hit;
    size_t found;
    assert_int_equal(vs_search_now(reader, b, &q, &hit, 1, &found), VS_BACKLOG);
    vs_reader_free(reader);
    assert_int_equal(vs_partition_pin(a, 0, true), VS_OK);
    while (!info_of(a, 0).open)
        turn(&n);
    vs_set_open_max(n.store, 1);
    for (int i = 0; i < 100; i++) {
        turn(&n);
        pause_a_little();
    }
    assert_true(info_of(a, 0).open && info_of(b, 3).open);
    assert_int_equal(vs_partition_pin(a, 0, false), VS_OK);
    wait_unloaded(&n, 1);
    assert_false(info_of(a, 0).open);

    /* a snapshot while they are unloaded keeps them, and so does a start, which opens as many as may be */
    assert_true(save(&n, false));
    uint64_t digest = info_of(a, 0).records_digest;
    n.max = 2;
    node_close(&n);
    node_open(&n);
    a = vs_find(n.store, 0, "a", 1);
    b = vs_find(n.store, 0, "b", 1);
    assert_true(status_of(&n).open <= 3 && status_of(&n).unloaded >= 6);
    assert_true(info_of(b, 3).open && info_of(b, 3).pinned);
    assert_int_equal(info_of(a, 0).records_digest, digest);

    /* what is unloaded can be dropped, renamed, removed; and while it is being opened */
    size_t drop = info_of(b, 5).open ? 6 : 5;
    size_t left = vs_index_count(b) - info_of(b, drop).elements;
    assert_int_equal(vs_partition_drop(b, drop), VS_OK);
    assert_int_equal(vs_index_count(b), left);
    assert_int_equal(vs_rename(n.store, 0, "a", 1, "c", 1), VS_OK);
    vs_ready(a, &id, sizeof(id));
    assert_int_equal(vs_remove(n.store, 0, "c", 1), VS_OK);
    assert_int_equal(vs_settle(n.store, 60000), VS_OK);
    compare(&n);
    node_close(&n);
    effects_release(&n.log);
}

/* Records that change what is not open: the owner, which answers PING meanwhile, does not wait for a
 * partition to be opened. */
static void test_replay(void **state)
{
    (void)state;
    struct node n = {.threads = 2, .appendonly = true};
    effects_init(&n.log);
    node_open(&n);
    struct vs_index *a = make(&n, "a", 1, 1500), *b = make(&n, "b", 8, 200);
    assert_true(save(&n, true));
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(vs_set_attributes(b, &i, sizeof(i), "later", 5), VS_OK);
        assert_int_equal(vs_set_attributes(a, &i, sizeof(i), "later", 5), VS_OK);
    }
    node_close(&n);
    n.max = 1;
    n.slow_ns = 300000000;
    n.longest_ns = 0;
    node_open(&n);
    print_message("longest step %.1f ms\n", (double)n.longest_ns / 1e6);
    assert_true(n.longest_ns < 150000000);
    assert_true(status_of(&n).reloads >= 8);
    n.slow_ns = 0;
    compare(&n);
    node_close(&n);
    effects_release(&n.log);
}

/* Snapshots again and again while small ones change in turn: what is unloaded moves to new packs, and the
 * old ones go. */
static void test_packs(void **state)
{
    (void)state;
    struct node n = {.threads = 2, .max = 10};
    effects_init(&n.log);
    node_open(&n);
    char key[16];
    for (int i = 0; i < 120; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        make(&n, key, 1, 20);
    }
    assert_true(save(&n, false));
    for (int round = 0; round < 6; round++) {
        for (int i = round % 2; i < 120; i += 2) {
            snprintf(key, sizeof(key), "k%d", round < 4 && i % 5 == 0 ? 1 : i);
            struct vs_index *index = vs_find(n.store, 0, key, strlen(key));
            uint32_t id = 1000 + (uint32_t)round;
            float v[DIM] = {(float)i, (float)round};
            struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = v};
            enum vs_status status;
            while ((status = vs_add(index, &e, VS_ADD_ANY, NULL)) == VS_BACKLOG)
                turn(&n);
            assert_int_equal(status, VS_OK);
        }
        assert_true(save(&n, false));
        wait_unloaded(&n, 10);
    }
    struct dirent *entry;
    char path[256];
    snprintf(path, sizeof(path), "%s/dump.rdb.d", dir);
    DIR *d = opendir(path);
    int files = 0;
    while ((entry = readdir(d)))
        files += strstr(entry->d_name, ".seg") != NULL;
    closedir(d);
    assert_true(files <= 6);
    node_close(&n);
    node_open(&n);
    assert_int_equal(status_of(&n).open, 10);
    compare(&n);
    node_close(&n);
    effects_release(&n.log);
}

/* ---- what the files stand in for ---- */

#define FIRST_MAP (RUN_RACES ? 2 : 0) /* of those of test_map; the last maps all that the others do */

static void more_elements(struct node *n, uint32_t from, uint32_t to)
{
    for (uint32_t id = from; id < to; id++)
        for (int k = FIRST_MAP; k < 3; k++) {
            char key[2] = {(char)('a' + k), 0};
            float v[DIM] = {(float)(id % 47), (float)(id % 29), (float)(id % 13), 1};
            struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = v, .past_backlog = true};
            assert_int_equal(vs_add(vs_find(n->store, 0, key, 1), &e, VS_ADD_ANY, NULL), VS_OK);
        }
}

/* A restart maps everything; behind it, what MAP does not name comes into memory, with all that is
 * written meanwhile. */
static void restart_mapped(struct node *n)
{
    node_open(n);
    size_t mapped = info_of(vs_find(n->store, 0, FIRST_MAP ? "c" : "a", 1), 0).mapped_codes;
    more_elements(n, 100000, 100050);
    assert_int_equal(vs_settle(n->store, 60000), VS_OK);
    for (int k = FIRST_MAP; k < 3; k++) {
        char key[2] = {(char)('a' + k), 0};
        struct vs_partition_info now = info_of(vs_find(n->store, 0, key, 1), 0);
        print_message("MAP %d: mapped %zu originals, %zu codes, %zu graph; in memory %zu codes, %zu links\n", k,
                      now.mapped_originals, now.mapped_codes, now.mapped_graph, now.memory.codes, now.memory.links);
        assert_true(now.mapped_originals > 0);
        assert_int_equal(now.mapped_codes != 0, k >= 1);
        assert_true(k >= 1 || now.memory.codes > 0);
        assert_true(k >= 2 || now.memory.links > 0);
    }
    print_message("%zu of codes were mapped at first\n", mapped);
    more_elements(n, 100050, 101500);
    assert_int_equal(vs_settle(n->store, 60000), VS_OK);
}

static void test_map(void **state)
{
    (void)state;
    static const enum vs_map maps[] = {VS_MAP_ORIGINALS, VS_MAP_CODES, VS_MAP_ALL};
    struct node n = {.threads = 2};
    effects_init(&n.log);
    node_open(&n);
    for (int k = FIRST_MAP; k < 3; k++) {
        struct vs_index *index;
        char key[2] = {(char)('a' + k), 0};
        struct vs_index_options o = {.dim = DIM, .metric = VEC_L2, .m = 4, .ef_construction = 16, .map = maps[k]};
        assert_int_equal(vs_create(n.store, 0, key, 1, &o, &index), VS_OK);
        for (uint32_t id = 0, until = 0; until < 3; until++) {
            for (; id < 3000 * (until + 1) / 2; id++) {
                float v[DIM] = {(float)(id % 50), (float)(id % 31), (float)(id % 17), (float)(id % 7)};
                struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = v, .past_backlog = true};
                assert_int_equal(vs_add(index, &e, VS_ADD_ANY, NULL), VS_OK);
                if (id % 16 == 0)
                    vs_delete(index, &id, sizeof(id));
            }
            assert_int_equal(vs_settle(n.store, 60000), VS_OK);
            struct vs_partition_info before = info_of(index, 0), now = before;
            assert_true(save(&n, false));
            uint64_t deadline = clock_mono_ns() + DEADLINE_NS;
            size_t chunks = before.memory.originals / (1024 * DIM * 4);
            while (chunks > 1) { /* the last one is not full */
                turn(&n);
                now = info_of(index, 0);
                if (now.mapped_originals && (k < 1 || now.mapped_codes) && (k < 2 || now.mapped_graph) &&
                    now.memory.originals < before.memory.originals &&
                    (k < 2 || now.memory.links < before.memory.links))
                    break;
                pause_a_little();
                assert_true(clock_mono_ns() < deadline);
            }
            if (chunks > 1) {
                assert_int_equal(now.mapped_codes != 0, k >= 1);
                assert_int_equal(now.mapped_graph != 0, k >= 2);
            }
            assert_int_equal(now.graph_digest, before.graph_digest);
        }
    }
    compare(&n); /* linking went on over them */
    node_close(&n);
    restart_mapped(&n);
    compare(&n);
    node_close(&n);
    effects_release(&n.log);
}

/* ---- damage ---- */

static void for_each_file(void (*each)(const char *path))
{
    char path[256], name[256];
    struct dirent *entry;
    snprintf(name, sizeof(name), "%s/dump.rdb.d", dir);
    DIR *d = opendir(name);
    assert_non_null(d);
    while ((entry = readdir(d)))
        if (strstr(entry->d_name, ".seg")) {
            snprintf(path, sizeof(path), "%.80s/%.60s", name, entry->d_name);
            each(path);
        }
    closedir(d);
}

/* Turns over bytes in the middle of every block; twice is as it was. */
static void flip(const char *path)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (long at = 5000;; at += 65536) {
        fseek(f, at, SEEK_SET);
        int c = fgetc(f);
        if (c == EOF)
            break;
        fseek(f, at, SEEK_SET);
        fputc(c ^ 0x55, f);
        fflush(f);
    }
    fclose(f);
}

static void test_damage(void **state)
{
    (void)state;
    struct node n = {.threads = 2, .max = 1};
    struct buf why = {0};
    effects_init(&n.log);
    node_open(&n);
    struct vs_index *a = make(&n, "a", 1, 1500), *b = make(&n, "b", 1, 50), *c = make(&n, "c", 1, 5);
    assert_true(save(&n, false));
    wait_unloaded(&n, 1);
    assert_true(info_of(c, 0).open);
    for_each_file(flip);
    uint32_t id = 3;
    float v[DIM];
    enum vs_status status;
    while ((status = vs_get_vector(a, &id, sizeof(id), v)) == VS_BACKLOG)
        turn(&n);
    assert_int_equal(status, VS_CORRUPT);
    assert_true(vs_partition_damage(a, 0, &why));
    assert_non_null(memmem(why.data, why.len, "offset", 6));
    assert_int_equal(search_all(&n, b), VS_CORRUPT);
    assert_int_equal(vs_delete(b, &id, sizeof(id)), VS_CORRUPT);
    assert_int_equal(vs_get_vector(c, &id, sizeof(id), v), VS_OK);
    assert_int_equal(info_of(a, 0).elements, 1500);
    assert_true(save(&n, false)); /* what it says of them stays */
    /* the file is mended: a later use opens it */
    for_each_file(flip);
    uint64_t deadline = clock_mono_ns() + DEADLINE_NS;
    while ((status = vs_get_vector(b, &id, sizeof(id), v)) != VS_OK) {
        turn(&n);
        pause_a_little();
        assert_true(clock_mono_ns() < deadline);
    }
    assert_false(vs_partition_damage(b, 0, NULL));
    deadline = clock_mono_ns() + DEADLINE_NS;
    while (vs_get_vector(a, &id, sizeof(id), v) != VS_OK) {
        turn(&n);
        pause_a_little();
        assert_true(clock_mono_ns() < deadline);
    }
    assert_int_equal(vs_remove(n.store, 0, "b", 1), VS_OK);
    buf_release(&why);
    node_close(&n);
    effects_release(&n.log);
}

int main(void)
{
    seed = run_seed();
    srand((unsigned)seed);
    log_set_level(LOG_WARNING);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_packs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_without_workers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_without_journal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
