/* How fast a server is back.
 *
 *     build    vectors are added, linked            seconds, all cores
 *     snapshot SAVE, end, start                      milliseconds from exec to the first search whose
 *                                                    answer is that of before
 *     journal  kill, start                           seconds until all is applied and linked again
 *
 * With VECSTORE_DRILL=full 1,000,000 generated vectors of 128 components: the first search within
 * 300 ms (the files are in the page cache), and the journal no slower than building. Otherwise
 * 20,000, where the answers must be right and the times are printed. tsan: skip asan: skip drill: alone */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define DIM          128
#define VECTORS      20000
#define VECTORS_FULL 1000000
#define CLUSTERS     1000
#define PIPELINE     256
#define SETTLE_MS    900000
#define FIRST_MS     300.0
#define NOISE        1.05 /* two runs of the same differ by as much */

static size_t vectors;

/* Gaussian-like clusters, so that graphs are as on real data. */
static void make_vector(size_t i, float out[DIM])
{
    struct rng centre = {i % CLUSTERS * 7919}, own = {i + 1000003};
    for (int d = 0; d < DIM; d++)
        out[d] = (float)(rng_unit(&centre) + 0.3 * (rng_unit(&own) + rng_unit(&own) - 1));
}

static double seconds_since(uint64_t began)
{
    return (double)(clock_mono_ns() - began) / 1e9;
}

static bool linked(void *arg)
{
    return reply_info(arg, "vecstore", "link_backlog") < 256;
}

static void load(redisContext *c)
{
    float vector[DIM];
    char id[24];
    for (size_t i = 0; i < vectors; i += PIPELINE) {
        size_t n = vectors - i < PIPELINE ? vectors - i : PIPELINE;
        for (size_t j = 0; j < n; j++) {
            make_vector(i + j, vector);
            snprintf(id, sizeof id, "v%zu", i + j);
            redisAppendCommand(c, "VADD docs FP32 %b %s", vector, sizeof vector, id);
        }
        for (size_t j = 0; j < n; j++) {
            redisReply *r;
            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            assert_int_equal(r->type, REDIS_REPLY_INTEGER);
            freeReplyObject(r);
        }
    }
    assert_true(wait_until(linked, c, SETTLE_MS));
}

/* The ten best for a vector, as one text; NULL: no answer of that kind. */
static char *search(redisContext *c)
{
    float vector[DIM];
    make_vector(vectors + 12345, vector);
    redisReply *r = redisCommand(c, "VSEARCH docs FP32 %b K 10", vector, sizeof vector);
    char *text = NULL;
    size_t len = 0;
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 10) {
        FILE *f = open_memstream(&text, &len);
        for (size_t i = 0; i < r->elements; i++)
            fprintf(f, "%s ", r->element[i]->str);
        fclose(f);
    }
    if (r)
        freeReplyObject(r);
    return text;
}

/* Asks from before the server is there; in a process of its own, since server_again waits for PING.
 * Its exit is the time in units of 2 ms. */
static pid_t first_search(const char *sock, const char *expected, uint64_t began)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    double ms = 0;
    for (bool right = false; !right && ms < 60000; ms = seconds_since(began) * 1000) {
        redisContext *c = redisConnectUnix(sock);
        while (c && !c->err && !right && ms < 60000) {
            char *found = search(c);
            right = found && strcmp(found, expected) == 0;
            if (!right && found)
                _exit(1);
            free(found);
            if (!right)
                usleep(500);
            ms = seconds_since(began) * 1000;
        }
        if (c)
            redisFree(c);
        if (!right)
            usleep(500);
    }
    char path[600];
    snprintf(path, sizeof path, "%s.ms", sock);
    FILE *f = fopen(path, "w");
    if (f) {
        fprintf(f, "%.1f\n", ms);
        fclose(f);
    }
    _exit(0);
}

static double wait_first(pid_t pid, const char *sock)
{
    int status;
    double ms = 0;
    char path[600];
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the first search after the start has a wrong answer");
    snprintf(path, sizeof path, "%s.ms", sock);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lf", &ms), 1);
    fclose(f);
    return ms;
}

static double start_again(struct test_server *s, const char *expected)
{
    char sock[512];
    snprintf(sock, sizeof sock, "%s/sock", server_dir(s));
    unlink(sock);
    pid_t pid = first_search(sock, expected, clock_mono_ns());
    server_again(s, NULL);
    return wait_first(pid, sock);
}

static void test_snapshot(void **state)
{
    (void)state;
    const char *args[] = {"--unixsocket", "sock", "--link-backlog-max", "100000", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    load(c);
    char *expected = search(c);
    assert_non_null(expected);
    uint64_t began = clock_mono_ns();
    reply_status(c, "OK", "SAVE");
    double save = seconds_since(began), best = 1e9;
    redisFree(c);
    for (int i = 0; i < 3; i++) {
        server_end(s, SIGKILL);
        double ms = start_again(s, expected);
        best = ms < best ? ms : best;
    }
    print_message("%zu vectors of %d components: snapshot in %.2f s, then %.0f ms from the start to "
                  "the first right answer\n",
                  vectors, DIM, save, best);
    c = server_connect(s);
    reply_int(c, (long long)vectors, "VCARD docs");
    redisFree(c);
    server_stop(s);
    free(expected);
    if (drill_full())
        assert_true(best < FIRST_MS);
}

static void test_journal(void **state)
{
    (void)state;
    const char *args[] = {"--unixsocket", "sock", "--link-backlog-max", "100000", "--appendonly",
                          "yes", "--auto-aof-rewrite-percentage", "0", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    uint64_t began = clock_mono_ns();
    load(c);
    double build = seconds_since(began);
    char *expected = search(c);
    assert_non_null(expected);
    redisFree(c);
    server_end(s, SIGKILL);
    began = clock_mono_ns();
    server_again(s, NULL);
    c = server_connect(s);
    double loaded = seconds_since(began);
    assert_true(wait_until(linked, c, SETTLE_MS));
    double replay = seconds_since(began);
    char *found = search(c);
    assert_string_equal(found, expected);
    print_message("%zu vectors of %d components: built in %.2f s; their journal is served after %.2f s "
                  "and linked after %.2f s\n",
                  vectors, DIM, build, loaded, replay);
    redisFree(c);
    server_stop(s);
    free(expected);
    free(found);
    if (drill_full())
        assert_true(replay <= NOISE * build);
}

int main(void)
{
    vectors = drill_count(VECTORS_FULL, VECTORS);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_snapshot),
                                       cmocka_unit_test(test_journal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
