/* What a journal costs: inserts a second without one, with everysec, with always.
 *
 * 64 connections, each with a few inserts on the way, into one index: once with the default bound of
 * the link backlog, once with none, a burst. At the default bound, where linking sets the pace as it
 * does in the long run, everysec must reach 0.8 of the rate without a journal; in the burst, which
 * shows the journal alone, always must reach 20,000 acknowledged a second where the disk syncs
 * within a millisecond, which is measured first.
 *
 * The bounds are held with VECSTORE_DRILL=full, on a machine that does nothing else; otherwise the
 * run is short and its figures are printed. tsan: skip asan: skip drill: alone */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
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

#define CONNECTIONS 64
#define DEPTH       16   /* inserts on the way a connection */
#define DIM         128
#define INSERTS_FULL 100000
#define INSERTS      10000
#define TURNS        2    /* of each kind, alternating; the best counts */
#define SYNCS        200
#define SHARE        0.8
#define ALWAYS_RATE  20000.0

/* Milliseconds that an append of 4 KiB and its fdatasync take, the middle of many. */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sync_ms(const char *dir)
{
    char path[512], block[4096] = {1};
    double ms[SYNCS];
    snprintf(path, sizeof path, "%s/sync-test", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (int i = 0; i < SYNCS; i++) {
        uint64_t began = clock_mono_ns();
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
        assert_int_equal(fdatasync(fd), 0);
        ms[i] = (double)(clock_mono_ns() - began) / 1e6;
    }
    close(fd);
    unlink(path);
    qsort(ms, SYNCS, sizeof *ms, by_value);
    return ms[SYNCS / 2];
}

static void send_insert(redisContext *c, struct rng *rng, size_t i)
{
    char id[24];
    float vector[DIM];
    for (int d = 0; d < DIM; d++)
        vector[d] = (float)rng_unit(rng) - 0.5f;
    snprintf(id, sizeof id, "e%zu", i);
    redisAppendCommand(c, "VADD docs FP32 %b %s", vector, sizeof vector, id);
}

static double insert_rate(const char *fsync, const char *backlog, size_t inserts, double *disk_ms)
{
    const char *args[] = {"--link-backlog-max", backlog, "--auto-aof-rewrite-percentage", "0",
                          "--appendonly", fsync ? "yes" : "no", "--appendfsync",
                          fsync ? fsync : "no", NULL};
    struct test_server *s = server_start(args);
    redisContext *c[CONNECTIONS];
    struct rng rng = {1};
    if (disk_ms)
        *disk_ms = sync_ms(server_dir(s));
    for (int i = 0; i < CONNECTIONS; i++)
        c[i] = server_connect(s);
    size_t sent = 0;
    uint64_t began = clock_mono_ns();
    while (sent < inserts) {
        int done;
        for (int i = 0; i < CONNECTIONS; i++) {
            for (int d = 0; d < DEPTH; d++)
                send_insert(c[i], &rng, sent++);
            do
                assert_int_equal(redisBufferWrite(c[i], &done), REDIS_OK);
            while (!done);
        }
        for (int i = 0; i < CONNECTIONS; i++) {
            for (int d = 0; d < DEPTH; d++) {
                redisReply *r;
                assert_int_equal(redisGetReply(c[i], (void **)&r), REDIS_OK);
                assert_int_equal(r->type, REDIS_REPLY_INTEGER);
                freeReplyObject(r);
            }
        }
    }
    double rate = (double)sent / ((double)(clock_mono_ns() - began) / 1e9);
    for (int i = 0; i < CONNECTIONS; i++)
        redisFree(c[i]);
    server_stop(s);
    return rate;
}

static void measure(const char *what, const char *backlog, double share, double always_least)
{
    size_t inserts = drill_full() ? INSERTS_FULL : INSERTS;
    double without = 0, second = 0, each = 0, disk = 0;
    for (int turn = 0; turn < (drill_full() ? TURNS : 1); turn++) {
        double a = insert_rate(NULL, backlog, inserts, &disk);
        double b = insert_rate("everysec", backlog, inserts, NULL);
        double d = insert_rate("always", backlog, inserts, NULL);
        without = a > without ? a : without;
        second = b > second ? b : second;
        each = d > each ? d : each;
    }
    print_message("%s: %zu inserts of %d components: without a journal %.0f/s, everysec %.0f/s (%.2f "
                  "of it), always %.0f/s (%.2f); a sync takes %.2f ms\n",
                  what, inserts, DIM, without, second, second / without, each, each / without,
                  disk);
    if (!drill_full())
        return;
    assert_true(second >= share * without);
    if (disk <= 1)
        assert_true(each >= always_least);
}

static void test_sustained(void **state)
{
    (void)state;
    measure("default backlog", "0", SHARE, 0);
}

static void test_burst(void **state)
{
    (void)state;
    measure("burst", "10000000", 0, ALWAYS_RATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sustained),
                                       cmocka_unit_test(test_burst)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
