/* A snapshot while the server works: nobody is held up.
 *
 * An index is filled; one client replaces elements all the time, another searches. First without,
 * then with a BGSAVE under way:
 *
 *     the longest turn of the loop's own CPU time     at most 2 ms
 *     memory beyond what was in use before            at most 10 %
 *     the searches' 99th percentile                   less than twice that without a snapshot
 *
 * With VECSTORE_DRILL=full the index has 1 GiB and the bounds are held, on a machine that does
 * nothing else; otherwise 64 MiB, where the snapshot must succeed and figures are printed.
 * tsan: skip asan: skip drill: alone */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define DIM          1024 /* a vector takes about 5.3 KB: original, code, links */
#define VECTORS      13000
#define VECTORS_FULL 210000
#define PIPELINE     64
#define SETTLE_MS    900000
#define BASELINE_MS  5000
#define WRITES_A_SECOND 500
#define SAMPLES_MAX  1000000
#define TURN_US_MAX  2000
#define MEMORY_SHARE 1.10
#define P99_FACTOR   2.0

static unsigned long vectors;
static atomic_bool stopping;

static void make_vector(uint64_t i, float out[DIM])
{
    struct rng rng = {i * 7919 + 1};
    for (int d = 0; d < DIM; d++)
        out[d] = (float)rng_unit(&rng) - 0.5f;
}

static void append_add(redisContext *c, uint64_t id, uint64_t version)
{
    float vector[DIM];
    char name[24];
    make_vector(version, vector);
    snprintf(name, sizeof name, "v%llu", (unsigned long long)id);
    redisAppendCommand(c, "VADD docs FP32 %b %s", vector, sizeof vector, name);
}

static bool take_integer(redisContext *c)
{
    redisReply *r;
    if (redisGetReply(c, (void **)&r) != REDIS_OK)
        return false;
    bool ok = r->type == REDIS_REPLY_INTEGER;
    freeReplyObject(r);
    return ok;
}

static void *writer(void *arg)
{
    redisContext *c = arg;
    uint64_t next = clock_mono_ns(), version = vectors;
    struct rng rng = {17};
    while (!atomic_load(&stopping)) {
        append_add(c, rng_below(&rng, vectors), ++version);
        if (!take_integer(c))
            return c;
        next += 1000000000 / WRITES_A_SECOND;
        uint64_t now = clock_mono_ns();
        if (now < next)
            usleep((useconds_t)((next - now) / 1000));
    }
    return NULL;
}

struct searcher {
    redisContext *c;
    uint32_t *us; /* of each search */
    atomic_size_t n;
    bool failed;
};

static void *search(void *arg)
{
    struct searcher *s = arg;
    float vector[DIM];
    for (uint64_t i = 0; !atomic_load(&stopping) && atomic_load(&s->n) < SAMPLES_MAX; i++) {
        make_vector(i + 1000000000, vector);
        uint64_t began = clock_mono_ns();
        redisReply *r = redisCommand(s->c, "VSEARCH docs FP32 %b K 10", vector, sizeof vector);
        s->failed |= !r || r->type != REDIS_REPLY_ARRAY || r->elements != 10;
        if (!r)
            return NULL;
        freeReplyObject(r);
        s->us[atomic_load(&s->n)] = (uint32_t)((clock_mono_ns() - began) / 1000);
        atomic_fetch_add(&s->n, 1);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile_99(const uint32_t *us, size_t n)
{
    uint32_t *sorted = malloc((n ? n : 1) * sizeof *sorted);
    memcpy(sorted, us, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    uint32_t p99 = n ? sorted[n * 99 / 100] : 0;
    free(sorted);
    return p99;
}

static bool linked(void *arg)
{
    return reply_info(arg, "vecstore", "link_backlog") < 256;
}

static void fill(redisContext *c)
{
    for (uint64_t i = 0; i < vectors; i += PIPELINE) {
        uint64_t n = vectors - i < PIPELINE ? vectors - i : PIPELINE;
        for (uint64_t j = 0; j < n; j++)
            append_add(c, i + j, i + j);
        for (uint64_t j = 0; j < n; j++)
            assert_true(take_integer(c));
    }
    assert_true(wait_until(linked, c, SETTLE_MS));
}

struct measured {
    double seconds, memory_max, turn_us;
    uint32_t p99_us;
    size_t searches;
};

static double max(double a, double b)
{
    return a > b ? a : b;
}

/* Watches until the snapshot has ended, or for `ms` without one. */
static void watch(redisContext *c, struct searcher *s, bool saving, struct measured *out)
{
    reply_status(c, "OK", "CONFIG RESETSTAT");
    size_t from = atomic_load(&s->n);
    uint64_t began = clock_mono_ns();
    *out = (struct measured){0};
    if (saving)
        reply_status(c, "Background saving started", "BGSAVE");
    do {
        out->memory_max = max(out->memory_max, reply_info(c, "memory", "used_memory"));
        usleep(5000);
        out->seconds = (double)(clock_mono_ns() - began) / 1e9;
    } while (saving ? reply_info(c, "persistence", "rdb_bgsave_in_progress") == 1
                    : out->seconds * 1000 < BASELINE_MS);
    out->turn_us = reply_info(c, "stats", "loop_turn_max_us");
    out->searches = atomic_load(&s->n) - from;
    out->p99_us = percentile_99(s->us + from, out->searches);
}

static void test_stall(void **state)
{
    (void)state;
    struct measured usual, saving;
    vectors = drill_count(VECTORS_FULL, VECTORS);
    const char *args[] = {"--link-backlog-max", "100000", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_status(c, "OK", "VPARTITION CREATE docs DIM %d M 8 EF 40", DIM); /* links soon */
    fill(c);
    reply_status(c, "OK", "CONFIG SET link-backlog-max 0");
    struct searcher searcher = {.c = server_connect(s),
                                .us = calloc(SAMPLES_MAX, sizeof(uint32_t))};
    redisContext *w = server_connect(s);
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, writer, w), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, search, &searcher), 0);
    watch(c, &searcher, false, &usual);
    watch(c, &searcher, true, &saving);
    double aside = reply_info(c, "persistence", "current_cow_peak");
    atomic_store(&stopping, true);
    void *failed;
    pthread_join(threads[0], &failed);
    pthread_join(threads[1], NULL);
    assert_null(failed);
    assert_false(searcher.failed);
    reply_contains(c, "rdb_last_bgsave_status:ok", "INFO persistence");
    print_message("%lu vectors of %d components, %.0f MiB: without a snapshot p99 %.2f ms (%zu "
                  "searches), longest turn %.0f us\n",
                  vectors, DIM, usual.memory_max / 1048576, usual.p99_us / 1e3, usual.searches,
                  usual.turn_us);
    print_message("with one, of %.2f s: p99 %.2f ms (%zu searches), longest turn %.0f us, memory %+.1f "
                  "%% (%.1f MiB held aside)\n",
                  saving.seconds, saving.p99_us / 1e3, saving.searches, saving.turn_us,
                  100 * (saving.memory_max / usual.memory_max - 1), aside / 1048576);
    redisFree(w);
    redisFree(searcher.c);
    redisFree(c);
    free(searcher.us);
    server_stop(s);
    if (!drill_full())
        return;
    assert_true(saving.turn_us <= TURN_US_MAX);
    assert_true(saving.memory_max <= MEMORY_SHARE * usual.memory_max);
    assert_true(saving.p99_us < P99_FACTOR * usual.p99_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stall)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
