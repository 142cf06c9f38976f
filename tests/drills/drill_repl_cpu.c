/* What replication costs in processor time, a write: an inserted vector of 128 components, until it is linked, or attributes
 * of an element, which nothing is linked for:
 *
 *     alone     a server without replicas
 *     primary   one with a replica
 *     replica   that replica
 *
 * with and without a journal; inserts that come in a pipeline, one by one at 2,000 a second, and in batches (VMADD);
 * attributes in a pipeline. Of an insert nearly all is linking, which is the same work on both, and differs by a few
 * hundredths from process to process; so it is by the attributes that the replica is held to what the primary needs.
 * It is the process's own time as the system counts it, so that what else the two do to each other does not show.
 *
 * Full: 50,000 inserts (10,000 one by one), 200,000 attributes, three turns; in the middle one the primary may need 1.15
 * times what it needs alone of an insert, the replica as much as the primary of attributes. Otherwise a few hundred, once,
 * whose figures are printed. drill: alone tsan: skip asan: skip */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define DIM         128
#define DEPTH       64
#define BATCH       100
#define RATE        2000
#define ELEMENTS    200 /* that get attributes */
#define MOST        1.15
#define TURNS_MAX   3
#define DEADLINE_MS 120000

enum way { PIPELINED, ONE_BY_ONE, BATCHES, ATTRIBUTES, WAYS };

static const char *const way_name[WAYS] = {"pipelined", "one by one", "VMADD", "attributes"};

static double cpu_seconds(const struct test_server *s)
{
    clockid_t clock;
    struct timespec t;
    assert_int_equal(clock_getcpuclockid(server_pid(s), &clock), 0);
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_vector(struct rng *rng, float out[DIM])
{
    for (int d = 0; d < DIM; d++)
        out[d] = (float)rng_unit(rng) - 0.5f;
}

static void take(redisContext *c, unsigned n)
{
    while (n--) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_not_equal(r->type, REDIS_REPLY_ERROR);
        freeReplyObject(r);
    }
}

static void insert_batches(redisContext *c, unsigned n, struct rng *rng)
{
    static float vector[BATCH][DIM];
    static char id[BATCH][24];
    const char *argv[4 + 2 * BATCH] = {"VMADD", "docs", "FP32", "100"};
    size_t len[4 + 2 * BATCH] = {5, 4, 4, 3};
    for (unsigned i = 0; i < n; i += BATCH) {
        for (unsigned k = 0; k < BATCH; k++) {
            make_vector(rng, vector[k]);
            argv[4 + 2 * k] = id[k];
            len[4 + 2 * k] = (size_t)snprintf(id[k], sizeof(id[k]), "e%u", i + k);
            argv[5 + 2 * k] = (const char *)vector[k];
            len[5 + 2 * k] = sizeof(vector[k]);
        }
        redisAppendCommandArgv(c, 4 + 2 * BATCH, argv, len);
        take(c, 1);
    }
}

static void insert_singly(redisContext *c, unsigned n, unsigned depth, unsigned rate, struct rng *rng)
{
    uint64_t began = clock_mono_ns();
    for (unsigned i = 0; i < n; i += depth) {
        unsigned k = 0;
        for (; k < depth && i + k < n; k++) {
            float vector[DIM];
            make_vector(rng, vector);
            redisAppendCommand(c, "VADD docs FP32 %b e%u", vector, sizeof(vector), i + k);
        }
        take(c, k);
        uint64_t due = began + (rate ? (uint64_t)(i + k) * 1000000000 / rate : 0), now = clock_mono_ns();
        if (due > now)
            nanosleep(&(struct timespec){.tv_nsec = (long)(due - now)}, NULL);
    }
}

static void set_attributes(redisContext *c, unsigned n)
{
    for (unsigned i = 0; i < n; i += DEPTH) {
        unsigned k = 0;
        for (; k < DEPTH && i + k < n; k++)
            redisAppendCommand(c, "VSETATTR docs e%u {\"n\":%u,\"text\":\"a_few_words\"}", (i + k) % ELEMENTS, i + k);
        take(c, k);
    }
}

static void write_all(redisContext *c, enum way way, unsigned n)
{
    struct rng rng = {1};
    if (way == BATCHES)
        insert_batches(c, n, &rng);
    else if (way == ATTRIBUTES)
        set_attributes(c, n);
    else
        insert_singly(c, n, way == PIPELINED ? DEPTH : 1, way == PIPELINED ? 0 : RATE, &rng);
}

static bool linked(void *arg)
{
    return reply_info(arg, "vecstore", "link_backlog") < 256;
}

/* Microseconds a write, of one server, and of a replica of it when there is to be one. */
static void one(enum way way, const char *journal, unsigned n, double *own, double *replica)
{
    const char *args[] = {"--appendonly", journal, NULL};
    struct test_server *p = server_start(args), *r = replica ? server_start(args) : NULL;
    redisContext *pc = server_connect(p), *rc = r ? server_connect(r) : NULL;
    if (r)
        repl_follow(rc, p);
    if (way == ATTRIBUTES) {
        write_all(pc, PIPELINED, ELEMENTS);
        if (r)
            repl_in_step(pc, rc);
    }
    double began = cpu_seconds(p), r_began = r ? cpu_seconds(r) : 0;
    write_all(pc, way, n);
    assert_true(wait_until(linked, pc, DEADLINE_MS));
    if (r) {
        repl_in_step(pc, rc);
        assert_true(wait_until(linked, rc, DEADLINE_MS));
        *replica = (cpu_seconds(r) - r_began) * 1e6 / n;
    }
    *own = (cpu_seconds(p) - began) * 1e6 / n;
    if (r) {
        redisFree(rc);
        server_stop(r);
    }
    redisFree(pc);
    server_stop(p);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Turn by turn, alone and with a replica; ratios are of one turn. */
static void compare(enum way way, const char *journal, unsigned n, double *of_alone, double *of_primary)
{
    size_t turns = drill_count(TURNS_MAX, 1);
    double primary_of_alone[TURNS_MAX], replica_of_primary[TURNS_MAX];
    for (size_t t = 0; t < turns; t++) {
        double alone, primary, replica;
        one(way, journal, n, &alone, NULL);
        one(way, journal, n, &primary, &replica);
        primary_of_alone[t] = primary / alone;
        replica_of_primary[t] = replica / primary;
        print_message("appendonly %s, %s: %.1f us of processor time a write alone; the primary %.1f (%.2f of that), "
                      "the replica %.1f (%.2f of the primary's)\n",
                      journal, way_name[way], alone, primary, primary_of_alone[t], replica, replica_of_primary[t]);
    }
    qsort(primary_of_alone, turns, sizeof(double), by_value);
    qsort(replica_of_primary, turns, sizeof(double), by_value);
    *of_alone = primary_of_alone[turns / 2];
    *of_primary = replica_of_primary[turns / 2];
}

static void test_cpu(void **state)
{
    (void)state;
    static const char *const journal[] = {"no", "yes"};
    int too_much = 0;
    for (unsigned j = 0; j < 2; j++) {
        for (int way = 0; way < WAYS; way++) {
            unsigned n = (unsigned)(way == ONE_BY_ONE   ? drill_count(10000, 300)
                                    : way == ATTRIBUTES ? drill_count(200000, 1000)
                                                        : drill_count(50000, 1000));
            double of_alone, of_primary;
            compare((enum way)way, journal[j], n, &of_alone, &of_primary);
            too_much += way == ATTRIBUTES ? of_primary > 1 : of_alone > MOST;
        }
    }
    if (drill_full())
        assert_int_equal(too_much, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
