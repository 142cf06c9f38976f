/* maxmemory: what is refused and what is evicted, how well the limit is held under a stream of inserts, and how near the
 * hits of a Zipf-distributed workload come to those of exact LRU, which is simulated beside it. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/run.h"

#define DIM 64
#define OOM "OOM command not allowed when used memory > 'maxmemory'."

static void make_vector(float *v, uint64_t seed)
{
    struct rng r = {seed + 1};
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(rng_unit(&r) - 0.5);
}

static void send_add(redisContext *c, const char *key, long id)
{
    float v[DIM];
    make_vector(v, (uint64_t)id);
    redisAppendCommand(c, "VADD %s FP32 %b e%ld", key, v, sizeof(v), id);
}

/* The reply of something sent; its integer, or -1: an error, which must be OOM. */
static long long take(redisContext *c)
{
    redisReply *r;
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    long long n = r->integer;
    if (r->type == REDIS_REPLY_ERROR) {
        assert_string_equal(r->str, OOM);
        n = -1;
    }
    freeReplyObject(r);
    return n;
}

static long long add(redisContext *c, const char *key, long id)
{
    send_add(c, key, id);
    return take(c);
}

/* What maxmemory is about. */
static double counted(redisContext *c)
{
    return reply_info(c, "memory", "used_memory") - reply_info(c, "memory", "mem_not_counted_for_evict");
}

static void set_limit(redisContext *c, long long bytes, const char *policy)
{
    reply_status(c, "OK", "CONFIG SET maxmemory %lld maxmemory-policy %s", bytes, policy);
}

static void test_noeviction(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    long long limit = (long long)counted(c) + (3 << 20);
    long n = 0;
    set_limit(c, limit, "noeviction");
    reply_contains(c, "maxmemory_policy:noeviction", "INFO memory");
    assert_true((long long)reply_info(c, "memory", "maxmemory") == limit);
    while (add(c, "k", n) == 1)
        n++;
    assert_in_range(n, 1000, 20000);
    assert_true(counted(c) <= 1.02 * (double)limit);
    /* Reading and deleting go on, and so does what adds nothing. */
    reply_int(c, n, "VCARD k");
    reply_int(c, 1, "VISMEMBER k e1");
    reply_int(c, 1, "EXISTS k");
    set_limit(c, 1, "noeviction");
    reply_error(c, OOM, "VADD other VALUES 2 1 0 x");
    reply_status(c, "OK", "MULTI");
    reply_error(c, OOM, "VADD other VALUES 2 1 0 x");
    reply_error(c, "EXECABORT", "EXEC");
    reply_int(c, n, "VCARD k");
    for (long i = 0; i < n; i++)
        redisAppendCommand(c, "VREM k e%ld", i);
    for (long i = 0; i < n; i++)
        assert_int_equal(take(c), 1);
    reply_int(c, 0, "EXISTS k");
    set_limit(c, 0, "noeviction");
    assert_int_equal(add(c, "k", 1), 1);
    assert_int_equal((int)reply_info(c, "stats", "evicted_elements"), 0);
    assert_int_equal((int)reply_info(c, "stats", "evicted_keys"), 0);
    reply_error(c, "ERR CONFIG SET failed", "CONFIG SET maxmemory-policy allkeys");
    redisFree(c);
    server_stop(s);
}

/* ---- Zipf against exact LRU ---- */

#define UNIVERSE 40000
#define DRAWS    120000
#define ROUND    48
#define LIMIT    (8ll << 20)

struct zipf {
    double *sum;
    uint32_t *name;
    struct rng r;
};

static struct zipf zipf_new(double s, uint64_t seed)
{
    struct zipf z = {calloc(UNIVERSE, sizeof(double)), calloc(UNIVERSE, sizeof(uint32_t)), {seed}};
    double total = 0;
    for (uint32_t i = 0; i < UNIVERSE; i++) {
        z.sum[i] = total += 1 / pow(i + 1, s);
        uint32_t j = (uint32_t)rng_below(&z.r, i + 1);
        z.name[i] = z.name[j];
        z.name[j] = i;
    }
    return z;
}

static uint32_t zipf_draw(struct zipf *z)
{
    double at = rng_unit(&z->r) * z->sum[UNIVERSE - 1];
    size_t lo = 0, hi = UNIVERSE - 1;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (z->sum[mid] < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return z->name[lo];
}

static void zipf_free(struct zipf *z)
{
    free(z->sum);
    free(z->name);
}

/* Exact LRU: a list in order of use, through the names. */
struct lru {
    uint32_t next[UNIVERSE + 1], before[UNIVERSE + 1]; /* UNIVERSE: the list's head */
    bool in[UNIVERSE];
    size_t n;
};

static void lru_cut(struct lru *l, uint32_t x)
{
    l->next[l->before[x]] = l->next[x];
    l->before[l->next[x]] = l->before[x];
}

static void lru_use(struct lru *l, uint32_t x)
{
    if (l->in[x])
        lru_cut(l, x);
    else
        l->n++;
    l->in[x] = true;
    l->next[x] = l->next[UNIVERSE];
    l->before[x] = UNIVERSE;
    l->before[l->next[UNIVERSE]] = x;
    l->next[UNIVERSE] = x;
}

static void lru_keep(struct lru *l, size_t max)
{
    while (l->n > max) {
        uint32_t last = l->before[UNIVERSE];
        lru_cut(l, last);
        l->in[last] = false;
        l->n--;
    }
}

struct workload {
    uint32_t *draws;
    size_t n;
    long long asked, hits;
    double worst, room, rounds; /* most memory in use; elements in all measured rounds */
};

/* A round asks for so many elements, in one pipeline, and adds those that were not there. */
static void round_of(redisContext *c, struct zipf *z, struct workload *w, bool measured)
{
    uint32_t *draw = w->draws + w->n, missing[ROUND];
    int nmissing = 0;
    for (int i = 0; i < ROUND; i++) {
        draw[i] = zipf_draw(z);
        redisAppendCommand(c, "VISMEMBER cache e%u", draw[i]);
    }
    for (int i = 0; i < ROUND; i++) {
        bool hit = take(c) == 1;
        if (!hit)
            missing[nmissing++] = draw[i];
        w->hits += measured && hit;
    }
    w->asked += measured ? ROUND : 0;
    w->n += ROUND;
    for (int i = 0; i < nmissing; i++)
        send_add(c, "cache", missing[i]);
    for (int i = 0; i < nmissing; i++)
        assert_true(take(c) >= 0);
}

static double lru_rate(const struct workload *w, size_t room)
{
    struct lru *l = calloc(1, sizeof(*l));
    long long asked = 0, hits = 0;
    l->next[UNIVERSE] = l->before[UNIVERSE] = UNIVERSE;
    for (size_t i = 0; i < w->n; i += ROUND) {
        bool hit[ROUND];
        for (size_t k = 0; k < ROUND; k++) {
            hit[k] = l->in[w->draws[i + k]];
            if (hit[k])
                lru_use(l, w->draws[i + k]);
            asked += i >= w->n / 2;
            hits += i >= w->n / 2 && hit[k];
        }
        for (size_t k = 0; k < ROUND; k++)
            if (!hit[k])
                lru_use(l, w->draws[i + k]);
        lru_keep(l, room);
    }
    free(l);
    return (double)hits / (double)asked;
}

/* Of the records of its only partition; the caller frees it. */
static char *records_digest(redisContext *c)
{
    redisReply *r = reply_any(c, "VPARTITION INFO cache 0");
    char *digest = NULL;
    for (size_t i = 0; i + 1 < r->elements && !digest; i += 2)
        if (!strcmp(r->element[i]->str, "records_digest"))
            digest = strdup(r->element[i + 1]->str);
    freeReplyObject(r);
    assert_non_null(digest);
    return digest;
}

static void test_zipf(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "no", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    struct zipf z = zipf_new(1.0, 4711);
    size_t draws = run_quick() ? DRAWS * 2 / 3 : DRAWS;
    struct workload w = {.draws = calloc(draws + ROUND, sizeof(uint32_t))};
    set_limit(c, LIMIT, "allkeys-lru");
    reply_status(c, "OK", "VPARTITION CREATE cache DIM %d M 8 EF 40", DIM);
    for (int i = 0; w.n < draws; i++) {
        bool measured = w.n >= draws / 2;
        round_of(c, &z, &w, measured);
        if (i % 16)
            continue;
        double used = counted(c);
        w.worst = used > w.worst ? used : w.worst;
        w.room += measured ? (double)reply_get_int(c, "VCARD cache") : 0;
        w.rounds += measured;
    }
    double rate = (double)w.hits / (double)w.asked, room = w.room / w.rounds, lru = lru_rate(&w, (size_t)room);
    print_message("hit rate %.4f, exact LRU of %.0f elements %.4f; memory at most %.4f of the limit; %.0f evicted\n",
                  rate, room, lru, w.worst / (double)LIMIT, reply_info(c, "stats", "evicted_elements"));
    assert_true(reply_info(c, "stats", "evicted_elements") > 3000);
    assert_true(reply_info(c, "stats", "evicted_keys") == 0);
    assert_true(room > 5000);
    assert_true(w.worst <= 1.02 * (double)LIMIT);
    assert_true(rate > lru - 0.03);

    /* What was evicted is in the journal: the same elements are there after a crash. */
    char *before = records_digest(c);
    long long n = reply_get_int(c, "VCARD cache");
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    reply_int(c, n, "VCARD cache");
    char *after = records_digest(c);
    assert_string_equal(before, after);
    free(before);
    free(after);
    zipf_free(&z);
    free(w.draws);
    redisFree(c);
    server_stop(s);
}

/* ---- policies ---- */

/* Fills indexes of `each` elements until the limit has made some go; how many there are. */
static int fill_keys(redisContext *c, int each, long long more)
{
    int n = 0;
    set_limit(c, (long long)counted(c) + more, "noeviction");
    for (;; n++)
        for (int i = 0; i < each; i++) {
            char key[32];
            snprintf(key, sizeof(key), "key:%d", n);
            if (add(c, key, i) != 1)
                return n;
        }
}

static void test_keys(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s), *events = server_connect(s);
    int n = fill_keys(c, 20, 4 << 20), kept = 0;
    redisReply *r;
    assert_in_range(n, 30, 1000);
    reply_status(c, "OK", "CONFIG SET notify-keyspace-events Ee maxmemory-samples 10");
    r = reply_any(events, "SUBSCRIBE __keyevent@0__:evicted");
    freeReplyObject(r);
    set_limit(c, (long long)reply_info(c, "memory", "maxmemory"), "allkeys-lru");
    reply_status(c, "OK", "CLIENT NO-TOUCH ON");
    for (int i = n / 2; i < n; i++)
        reply_int(c, 1, "VISMEMBER key:%d e0", i); /* does not count */
    reply_status(c, "OK", "CLIENT NO-TOUCH OFF");
    usleep(20000); /* the clock of uses has a step of 4 ms */
    for (int i = 0; i < n / 2; i++)
        reply_int(c, 1, "VISMEMBER key:%d e0", i);
    usleep(20000);
    for (int i = 0; i < n / 3; i++) {
        char key[32];
        snprintf(key, sizeof(key), "new:%d", i);
        for (int k = 0; k < 20; k++)
            assert_int_equal(add(c, key, k), 1);
    }
    for (int i = 0; i < n / 2; i++)
        kept += (int)reply_get_int(c, "EXISTS key:%d", i);
    print_message("%d of %d keys that were used are kept, %.0f keys evicted\n", kept, n / 2,
                  reply_info(c, "stats", "evicted_keys"));
    assert_true(reply_info(c, "stats", "evicted_keys") > n / 6);
    assert_true(reply_info(c, "stats", "evicted_elements") == 0);
    assert_true(kept >= n / 2 * 9 / 10);
    assert_int_equal(redisGetReply(events, (void **)&r), REDIS_OK);
    assert_string_equal(r->element[1]->str, "__keyevent@0__:evicted");
    freeReplyObject(r);
    redisFree(events);
    redisFree(c);
    server_stop(s);
}

static void test_volatile(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    int n = fill_keys(c, 20, 4 << 20), half = n / 2, gone = 0;
    for (int i = 0; i < half; i++)
        reply_int(c, 1, "EXPIRE key:%d %d", i, 10000 + i);
    set_limit(c, (long long)reply_info(c, "memory", "maxmemory"), "volatile-ttl");
    long id = 0;
    for (int i = 0; id >= 0 && i < 2 * n; i++) {
        char key[32];
        snprintf(key, sizeof(key), "new:%d", i);
        for (int k = 0; k < 20 && id >= 0; k++)
            id = add(c, key, k);
        /* Those go first that have the least time. */
        int alive = 0;
        for (int k = 0; k < half && i == half / 4; k++) {
            int there = (int)reply_get_int(c, "EXISTS key:%d", k);
            assert_true(!alive || there);
            alive |= there;
            gone += !there;
        }
    }
    assert_in_range(gone, 1, half - 1);
    assert_int_equal(id, -1); /* when none is left that may go */
    for (int k = 0; k < half; k++)
        reply_int(c, 0, "EXISTS key:%d", k);
    for (int k = half; k < n; k++)
        reply_int(c, 1, "EXISTS key:%d", k);
    redisFree(c);
    server_stop(s);
}

/* Elements that are found by searches stay, under the policy that counts uses. */
static void test_lfu(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    long n = 0, kept = 0, used = 200;
    set_limit(c, (long long)counted(c) + (6 << 20), "allkeys-lfu");
    reply_status(c, "OK", "VPARTITION CREATE k DIM %d M 8 EF 40", DIM);
    for (; reply_info(c, "stats", "evicted_elements") == 0; n += 50) {
        for (int i = 0; i < 50; i++)
            send_add(c, "k", n + i);
        for (int i = 0; i < 50; i++)
            assert_true(take(c) >= 0);
        for (int i = 0; i < 25 && n >= used; i++) {
            float v[DIM];
            make_vector(v, (uint64_t)((n / 2 + i) % used));
            redisReply *r = reply_any(c, "VSEARCH k FP32 %b K 1", v, sizeof(v));
            assert_int_equal(r->type, REDIS_REPLY_ARRAY);
            freeReplyObject(r);
        }
    }
    for (long i = n; i < 2 * n; i += 50) {
        for (int k = 0; k < 50; k++)
            send_add(c, "k", i + k);
        for (int k = 0; k < 50; k++)
            assert_true(take(c) >= 0);
    }
    for (long i = 0; i < used; i++)
        kept += (long)reply_get_int(c, "VISMEMBER k e%ld", i);
    print_message("%ld of %ld elements that were found often are kept; %.0f evicted\n", kept, used,
                  reply_info(c, "stats", "evicted_elements"));
    assert_true(kept > used * 9 / 10);
    redisFree(c);
    server_stop(s);
}

/* A lower limit at run time: what is over goes, in slices, and the memory comes back. */
static void test_lowered(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    long long limit = (long long)counted(c) + (12 << 20);
    set_limit(c, limit, "allkeys-random");
    reply_status(c, "OK", "VPARTITION CREATE k DIM %d M 8 EF 40 PARTITIONS 3", DIM);
    long most = run_quick() ? 17500 : 26000; /* the limit holds about 15,000 */
    for (long n = 0; n < most; n += 50) {
        for (int i = 0; i < 50; i++)
            send_add(c, "k", n + i);
        for (int i = 0; i < 50; i++)
            assert_true(take(c) >= 0);
        if (n % 1000 == 0)
            assert_true(counted(c) <= 1.02 * (double)limit);
    }
    limit /= 2;
    set_limit(c, limit, "allkeys-random");
    for (int i = 0; i < 600 && counted(c) > 1.02 * (double)limit; i++)
        usleep(50000);
    print_message("%lld elements in %.4f of half the limit\n", reply_get_int(c, "VCARD k"),
                  counted(c) / (double)limit);
    assert_true(counted(c) <= 1.02 * (double)limit);
    assert_true(reply_get_int(c, "VCARD k") > 1500);
    redisFree(c);
    server_stop(s);
}

/* A new index whose first element has to wait for memory has an answer for each of its elements all the same. */
static void test_first_waits(void **state)
{
    (void)state;
    enum { TEXT = 1 << 20 };
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    long long limit = (long long)counted(c) + (12 << 20);
    set_limit(c, limit, "allkeys-random");
    reply_status(c, "OK", "VPARTITION CREATE k DIM %d M 8 EF 40", DIM);
    for (long n = 0; n < 20000 && !(int)reply_info(c, "stats", "evicted_elements"); n += 50) {
        for (int i = 0; i < 50; i++)
            send_add(c, "k", n + i);
        for (int i = 0; i < 50; i++)
            assert_true(take(c) >= 0);
    }
    char *text = malloc(TEXT);
    memset(text, 'a', TEXT);
    float v[DIM];
    make_vector(v, 1);
    for (int i = 0; i < 4; i++) {
        redisReply *r = redisCommand(c, "VMADD new%d FP32 2 a %b b %b WITHATTRS %b %b", i, v, sizeof(v), v, sizeof(v),
                                     text, (size_t)TEXT, text, (size_t)TEXT);
        if (!r)
            fail_msg("no reply: %s", c->errstr);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_int_equal(r->elements, 2);
        assert_int_equal(r->element[0]->integer, 1);
        freeReplyObject(r);
        reply_status(c, "PONG", "PING");
    }
    free(text);
    redisFree(c);
    server_stop(s);
}

/* A client that waits for memory goes on when the limit is lifted. */
static void test_lifted(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s), *other = server_connect(s);
    long n = 0;
    for (; n < 3000; n += 50) {
        for (int i = 0; i < 50; i++)
            send_add(c, "k", n + i);
        for (int i = 0; i < 50; i++)
            assert_int_equal(take(c), 1);
    }
    set_limit(other, (long long)counted(c) * 3 / 4, "allkeys-random"); /* tight: writers wait until some has gone */
    send_add(c, "k", n);
    assert_int_equal(redisBufferWrite(c, &(int){0}), REDIS_OK);
    set_limit(other, 0, "allkeys-random");
    assert_int_equal(take(c), 1);
    redisFree(c);
    redisFree(other);
    server_stop(s);
}

/* ---- a small limit, many elements a command ---- */

#define WIDE  768
#define BATCH 100
#define SMALL (20ll << 20)

struct watcher {
    redisContext *c;
    pthread_t thread;
    atomic_bool stop;
    bool all; /* what does not count, too */
    double worst;
    long looks;
};

static void *watch(void *arg)
{
    struct watcher *w = arg;
    while (!atomic_load(&w->stop)) {
        double used = w->all ? reply_info(w->c, "memory", "used_memory") : counted(w->c);
        w->worst = used > w->worst ? used : w->worst;
        w->looks++;
        usleep(500);
    }
    return NULL;
}

/* Each of `dim` components, with so many bytes of attributes, if any. */
static void add_batch(redisContext *c, long from, int dim, size_t attributes)
{
    static float v[BATCH][WIDE];
    static char id[BATCH][16], text[8192];
    const char *argv[5 + 3 * BATCH] = {"VMADD", "k", "FP32", "100"};
    size_t lens[5 + 3 * BATCH] = {5, 1, 4, 3};
    int argc = 4;
    for (int i = 0; i < BATCH; i++) {
        struct rng r = {(uint64_t)(from + i) * 31 + 7};
        for (int d = 0; d < dim; d++)
            v[i][d] = (float)(rng_unit(&r) - 0.5);
        argv[argc] = id[i];
        lens[argc++] = (size_t)snprintf(id[i], sizeof(id[i]), "e%ld", from + i);
        argv[argc] = (const char *)v[i];
        lens[argc++] = (size_t)dim * sizeof(float);
    }
    if (attributes) {
        memset(text, 'x', attributes);
        argv[argc] = "WITHATTRS";
        lens[argc++] = 9;
    }
    for (int i = 0; i < BATCH && attributes; i++) {
        argv[argc] = text;
        lens[argc++] = attributes;
    }
    redisReply *r = reply_argv(c, argc, argv, lens);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < r->elements; i++)
        assert_int_equal(r->element[i]->type, REDIS_REPLY_INTEGER);
    freeReplyObject(r);
}

static void run_batches(int dim, size_t attributes, bool all)
{
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    struct watcher w = {.c = server_connect(s), .all = all};
    long n = run_quick() ? 4000 : 8000;
    set_limit(c, SMALL, "allkeys-lru");
    assert_int_equal(pthread_create(&w.thread, NULL, watch, &w), 0);
    for (long i = 0; i < n; i += BATCH)
        add_batch(c, i, dim, attributes);
    atomic_store(&w.stop, true);
    pthread_join(w.thread, NULL);
    print_message("memory at most %.4f of the limit in %ld looks; %lld elements, %.0f evicted\n", w.worst / (double)SMALL,
                  w.looks, reply_get_int(c, "VCARD k"), reply_info(c, "stats", "evicted_elements"));
    assert_true(w.worst <= 1.02 * (double)SMALL);
    assert_true(reply_info(c, "stats", "evicted_elements") > 0);
    redisFree(w.c);
    redisFree(c);
    server_stop(s);
}

/* What a command is about to take counts before it is taken: in the midst of a VMADD, too. */
static void test_batches(void **state)
{
    (void)state;
    run_batches(WIDE, 0, false);
}

/* Where most is attributes: these come back at once, and buffers have their place below the limit. */
static void test_attributes(void **state)
{
    (void)state;
    run_batches(128, 4096, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noeviction), cmocka_unit_test(test_keys), cmocka_unit_test(test_volatile),
        cmocka_unit_test(test_lfu),        cmocka_unit_test(test_zipf), cmocka_unit_test(test_lowered),
        cmocka_unit_test(test_batches),    cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_first_waits), cmocka_unit_test(test_lifted),
    };
    const struct CMUnitTest threaded[] = {cmocka_unit_test(test_lowered)};
    return RUN_RACES ? cmocka_run_group_tests(threaded, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
