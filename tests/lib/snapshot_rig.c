#include "lib/snapshot_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/store_int.h"

#define DIM 4
#define SAVE_MS 60000
#define HITS 10

static void must(enum vs_status status)
{
    if (status != VS_OK)
        abort();
}

enum vs_status srig_open(struct snapshot_rig *s, const struct persist_options *o, struct buf *why)
{
    struct vs_options vo = {.threads = s->rig.threads, .databases = 4};
    bool done = false;
    struct persist *p = NULL;
    struct vs_store *store;
    enum vs_status status = vs_open(&vo, &store);
    if (status != VS_OK) {
        buf_puts(why, "no store");
        return status;
    }
    status = persist_open(o, store, &p, why);
    while (status == VS_OK && !done) {
        status = persist_load_step(p, clock_mono_ns() + 50000000, &done, why);
        vs_poll(store, 100);
    }
    if (status != VS_OK) {
        persist_close(p);
        vs_close(store);
        return status;
    }
    s->persist = p;
    s->rig.store = store;
    s->rig.journal = persist_journal(p);
    struct journal_track track = journal_known(s->rig.journal);
    rig_check_claim(journal_lsn(s->rig.journal), &track);
    rig_histories(&s->rig, track.known ? &track : NULL);
    return VS_OK;
}

enum vs_status srig_close(struct snapshot_rig *s)
{
    enum vs_status status = persist_close(s->persist);
    vs_close(s->rig.store);
    s->persist = NULL;
    s->rig.store = NULL;
    s->rig.journal = NULL;
    return status;
}

void srig_turn(struct snapshot_rig *s)
{
    journal_turn(s->rig.journal);
    vs_poll(s->rig.store, 200);
    persist_poll(s->persist);
}

static void on_done(void *arg, bool ok)
{
    *(int *)arg = ok ? 1 : -1;
}

enum vs_status srig_save(struct snapshot_rig *s, bool rewrite, void (*between)(void *arg), void *arg)
{
    int result = 0;
    uint64_t until = clock_mono_ns() + SAVE_MS * 1000000ull;
    enum vs_status status = persist_save(s->persist, rewrite, on_done, &result);
    while (status == VS_OK && !result) {
        struct timespec t = {0, 50000};
        if (between)
            between(arg);
        srig_turn(s);
        nanosleep(&t, NULL);
        if (clock_mono_ns() > until)
            abort();
    }
    return status != VS_OK ? status : result == 1 ? VS_OK : VS_IO;
}

/* ---- a store to look at ---- */

#define IDS 1200

static size_t name_of(unsigned id, char name[16])
{
    return (size_t)snprintf(name, 16, "e%u", id);
}

static void put(struct vs_store *store, const char *key, const struct vs_index_options *o,
                unsigned id, struct rng *r)
{
    struct vs_index *index = vs_find(store, 0, key, strlen(key));
    float v[DIM];
    char name[16], attributes[24];
    if (!index)
        must(vs_create(store, 0, key, strlen(key), o, &index));
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)rng_unit(r) - 0.5f;
    struct vs_element e = {.id = name, .id_len = name_of(id, name), .vector = v, .past_backlog = true};
    if (id % 7 == 0) {
        e.attributes = attributes;
        e.attributes_len = (size_t)snprintf(attributes, sizeof(attributes), "{\"a\":%u}", id);
    }
    if (id % 5 == 0)
        e.deadline_ms = 4102444800000u + id;
    must(vs_add(index, &e, VS_ADD_ANY, NULL));
}

static void drop(struct vs_store *store, unsigned id)
{
    char name[16];
    size_t len = name_of(id, name);
    must(vs_delete(vs_find(store, 0, "graph", 5), name, len));
}

static const struct vs_index_options graph_options = {
    .dim = DIM, .metric = VEC_L2, .m = 4, .seed = 3, .ef_construction = 16, .type = VEC_F32};

static void fill_small(struct vs_store *store, struct rng *r)
{
    struct vs_index_options small = {.dim = DIM, .seed = 5, .partitions = 3, .keep_empty = true};
    for (unsigned i = 0; i < 30; i++)
        put(store, "small", &small, i, r);
    must(vs_settle(store, 60000));
}

/* Linked nodes, dead ones among them, and records that wait to be linked: what drills are about. */
static void must_be_graph(struct vs_store *store, size_t slots)
{
    struct graph_info g;
    graph_info(index_table(vs_find(store, 0, "graph", 5))->part[0]->graph, &g);
    if (!g.linked || !g.unlinked || !g.dead || g.alive + g.dead + g.free_slots != slots)
        abort();
}

void srig_fill(struct vs_store *store, uint64_t seed)
{
    struct rng r = {seed};
    for (unsigned i = 0; i < 1180; i++) {
        put(store, "graph", &graph_options, i, &r);
        if (i >= GRAPH_MIN && i % 11 == 0) /* with fewer alive there would be no graph */
            drop(store, i);
    }
    fill_small(store, &r);
    for (unsigned i = 1; i < 40; i++)
        put(store, "graph", &graph_options, i, &r);
    must_be_graph(store, 2 * CHUNK_SLOTS);
}

void srig_fill_chunk(struct vs_store *store, uint64_t seed)
{
    struct rng r = {seed};
    for (unsigned i = 0; i < GRAPH_MIN; i++)
        put(store, "graph", &graph_options, i, &r);
    must(vs_settle(store, 60000));
    for (unsigned i = 0; i < BATCH_SIZE; i++)
        drop(store, i);
    fill_small(store, &r); /* they are repaired, and their slots are free */
    for (unsigned i = GRAPH_MIN; i < GRAPH_MIN + 60; i++)
        put(store, "graph", &graph_options, i, &r);
    for (unsigned i = 300; i < 320; i++)
        drop(store, i);
    must_be_graph(store, CHUNK_SLOTS);
}

void srig_make(const struct persist_options *o, void (*fill)(struct vs_store *store, uint64_t seed),
               uint64_t seed)
{
    struct snapshot_rig s = {0};
    struct buf why = {0};
    rig_clear(o->dir);
    must(srig_open(&s, o, &why));
    fill(s.rig.store, seed);
    must(srig_save(&s, false, NULL, NULL));
    must(srig_close(&s));
    buf_release(&why);
}

struct compare {
    struct vs_store *store, *expected;
    unsigned db;
    size_t damaged;
    bool good;
};

/* VS_CORRUPT is an answer; everything else must be the same. */
static bool same_element(struct compare *c, struct vs_index *a, struct vs_index *b, const char *id,
                         size_t len)
{
    float x[DIM], y[DIM];
    const void *p, *q;
    size_t n = 0, k = 0;
    enum vs_status s = vs_get_vector(a, id, len, x), t = vs_get_vector(b, id, len, y);
    if (s == VS_CORRUPT) {
        c->damaged++;
        return true;
    }
    if (s != t || (s == VS_OK && memcmp(x, y, sizeof(x)) != 0))
        return false;
    if (s != VS_OK)
        return true;
    uint64_t ends = 0, expected = 0;
    if (vs_get_deadline(a, id, len, &ends) != vs_get_deadline(b, id, len, &expected) || ends != expected)
        return false;
    s = vs_get_attributes(a, id, len, &p, &n);
    t = vs_get_attributes(b, id, len, &q, &k);
    return s == t && (!p == !q) && (!p || (n == k && memcmp(p, q, n) == 0));
}

static size_t search(struct vs_reader *r, struct vs_index *index, bool exact, struct vs_hit *hits,
                     enum vs_status *status)
{
    float v[DIM] = {0.1f, -0.2f, 0.3f, 0.05f};
    struct vs_query q = {.vector = v, .k = HITS, .exact = exact};
    size_t n = 0;
    *status = vs_search_now(r, index, &q, hits, HITS, &n);
    return n;
}

/* Exact searches agree; the hits of a walk through the graph are elements that there are. */
static bool same_hits(struct compare *c, struct vs_index *a, struct vs_index *b)
{
    struct vs_hit x[HITS], y[HITS];
    enum vs_status s, t;
    struct vs_reader *r = vs_reader_new(c->store), *o = vs_reader_new(c->expected);
    size_t n = search(r, a, true, x, &s), k = search(o, b, true, y, &t), len, other;
    bool good = s == VS_CORRUPT || (s == t && n == k);
    for (size_t i = 0; i < n && s == VS_OK && good; i++) {
        const void *p = vs_hit_id(&x[i], &len), *q = vs_hit_id(&y[i], &other);
        good = len == other && memcmp(p, q, len) == 0 && x[i].score == y[i].score;
    }
    c->damaged += s == VS_CORRUPT;
    n = search(r, a, false, x, &s);
    for (size_t i = 0; i < n && s == VS_OK && good; i++) {
        const void *p = vs_hit_id(&x[i], &len);
        good = vs_contains(b, p, len);
    }
    c->damaged += s == VS_CORRUPT;
    vs_reader_idle(r);
    vs_reader_free(r);
    vs_reader_idle(o);
    vs_reader_free(o);
    return good && (s == VS_OK || s == VS_CORRUPT);
}

static void compare_index(void *arg, struct vs_index *expected)
{
    struct compare *c = arg;
    size_t len;
    const char *key = vs_index_key(expected, &len);
    struct vs_index *index = vs_find(c->store, c->db, key, len);
    if (!index || vs_index_count(index) != vs_index_count(expected)) {
        c->good = false;
        return;
    }
    if (!same_hits(c, index, expected))
        c->good = false;
    for (unsigned id = 0; id < (len == 5 && key[0] == 'g' ? IDS : 40); id++) {
        char name[16];
        size_t n = name_of(id, name);
        if (!same_element(c, index, expected, name, n))
            c->good = false;
    }
}

bool srig_compare(struct vs_store *store, struct vs_store *expected, size_t *damaged)
{
    struct compare c = {store, expected, 0, 0, true};
    for (; c.db < vs_databases(store); c.db++) {
        uint64_t cursor = 0;
        if (vs_count(store, c.db) != vs_count(expected, c.db))
            c.good = false;
        do {
            cursor = vs_scan(expected, c.db, cursor, compare_index, &c);
        } while (cursor);
    }
    *damaged = c.damaged;
    return c.good;
}
