/* How fast an empty node becomes a replica.
 *
 *     load    vectors are added by VMADD, linked
 *     sync    REPLICAOF -> until a search on the replica answers as the primary's does
 *     copy    as many bytes between two processes over a connection of the loopback, into memory that the receiver
 *             gets for it: what the synchronisation is compared with
 *     file    as many bytes from one file to another, for comparison
 *
 * Full: 1,000,000 generated vectors of 128 components, three turns of each, alternating; the best of each count, and
 * the synchronisation may take 1.5 times as long as the copy. Otherwise 20,000, where the answers must be right and the
 * times are printed. drill: alone tsan: skip asan: skip */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define DIM          128
#define VECTORS      20000
#define VECTORS_FULL 1000000
#define CLUSTERS     1000
#define BATCH        200     /* vectors of a VMADD */
#define TURNS        3
#define PIECE        ((size_t)1 << 20)
#define SETTLE_MS    900000
#define DEADLINE_MS  60000
#define MOST         1.5

static size_t vectors;

/* Clusters, so that graphs are as on real data. */
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
    static float vector[BATCH][DIM];
    static char id[BATCH][24], count[24];
    static const char *argv[4 + 2 * BATCH];
    static size_t len[4 + 2 * BATCH];
    for (size_t i = 0; i < vectors;) {
        size_t n = 0;
        for (; n < BATCH && i < vectors; n++, i++) {
            make_vector(i, vector[n]);
            argv[4 + 2 * n] = id[n];
            len[4 + 2 * n] = (size_t)snprintf(id[n], sizeof(id[n]), "v%zu", i);
            argv[5 + 2 * n] = (const char *)vector[n];
            len[5 + 2 * n] = sizeof(vector[n]);
        }
        argv[0] = "VMADD", argv[1] = "docs", argv[2] = "FP32", argv[3] = count;
        len[0] = 5, len[1] = 4, len[2] = 4, len[3] = (size_t)snprintf(count, sizeof(count), "%zu", n);
        redisReply *r = redisCommandArgv(c, (int)(4 + 2 * n), argv, len);
        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        freeReplyObject(r);
    }
    assert_true(wait_until(linked, c, SETTLE_MS));
}

/* The ten best for a vector with their scores, as one text; NULL: no answer of that kind. */
static char *search(redisContext *c)
{
    float vector[DIM];
    make_vector(vectors + 12345, vector);
    redisReply *r = redisCommand(c, "VSEARCH docs FP32 %b K 10 WITHSCORES", vector, sizeof(vector));
    char *text = NULL;
    size_t len = 0;
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 20) {
        FILE *f = open_memstream(&text, &len);
        for (size_t i = 0; i < r->elements; i++)
            fprintf(f, "%s ", r->element[i]->str);
        fclose(f);
    }
    if (r)
        freeReplyObject(r);
    return text;
}

/* Seconds from REPLICAOF to the first right answer; nothing else may come before it. */
static double sync_once(const struct test_server *primary, const char *expected)
{
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    uint64_t began = clock_mono_ns();
    freeReplyObject(reply_any(c, "REPLICAOF 127.0.0.1 %d", server_port(primary)));
    for (char *found = NULL; !found;) {
        found = search(c);
        if (found && strcmp(found, expected) != 0)
            fail_msg("the first answer of the replica is wrong");
        if (seconds_since(began) * 1000 > DEADLINE_MS)
            fail_msg("no answer");
        if (!found)
            usleep(1000);
        free(found);
    }
    double took = seconds_since(began);
    redisFree(c);
    server_kill(s);
    return took;
}

/* ---- what it is compared with ---- */

static void *memory(size_t bytes, bool touch)
{
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    for (size_t i = 0; touch && i < bytes; i += 4096)
        at[i] = (char)(i >> 12);
    return at;
}

/* The other process: sends when it is told to. */
static pid_t sender(struct sockaddr_in *a, size_t bytes)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*a);
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(listener, (struct sockaddr *)a, sizeof(*a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)a, &len), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char go, *from = memory(bytes, true);
        int fd = accept(listener, NULL, NULL);
        bool ok = fd >= 0 && read(fd, &go, 1) == 1;
        for (size_t at = 0; ok && at < bytes;) {
            ssize_t n = send(fd, from + at, bytes - at < PIECE ? bytes - at : PIECE, 0);
            ok = n > 0;
            at += ok ? (size_t)n : 0;
        }
        _exit(!ok);
    }
    close(listener);
    return pid;
}

static double copy_once(size_t bytes, bool huge)
{
    struct sockaddr_in a;
    pid_t pid = sender(&a, bytes);
    int status, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    usleep(300000 + (useconds_t)(bytes >> 10)); /* until the sender has its memory; being late is not wrong */
    uint64_t began = clock_mono_ns();
    assert_int_equal(write(fd, "!", 1), 1);
    char *to = memory(bytes, false);
    if (huge)
        madvise(to, bytes, MADV_HUGEPAGE);
    for (size_t at = 0; at < bytes;) {
        ssize_t n = recv(fd, to + at, bytes - at < PIECE ? bytes - at : PIECE, 0);
        assert_true(n > 0);
        at += (size_t)n;
    }
    double took = seconds_since(began);
    close(fd);
    munmap(to, bytes);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return took;
}

static double file_once(const char *dir, size_t bytes)
{
    char path[2][512], *piece = memory(PIECE, true);
    int fd[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/copy-%d", dir, i);
        fd[i] = open(path[i], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd[i] >= 0);
    }
    for (size_t at = 0; at < bytes; at += PIECE)
        assert_int_equal(pwrite(fd[0], piece, PIECE, (off_t)at), PIECE);
    uint64_t began = clock_mono_ns();
    for (size_t at = 0; at < bytes; at += PIECE) {
        assert_int_equal(pread(fd[0], piece, PIECE, (off_t)at), PIECE);
        assert_int_equal(pwrite(fd[1], piece, PIECE, (off_t)at), PIECE);
    }
    double took = seconds_since(began);
    for (int i = 0; i < 2; i++) {
        close(fd[i]);
        unlink(path[i]);
    }
    munmap(piece, PIECE);
    return took;
}

/* ---- the drill ---- */

static void least(double *best, double took)
{
    *best = *best == 0 || took < *best ? took : *best;
}

static void test_sync(void **state)
{
    (void)state;
    static const char *const args[] = {"--link-backlog-max", "100000", NULL};
    struct test_server *primary = server_start(args);
    redisContext *c = server_connect(primary);
    double sync = 0, copy = 0, huge = 0, file = 0;
    size_t bytes = 0;
    load(c);
    char *expected = search(c);
    assert_non_null(expected);
    for (unsigned turn = 0; turn < (drill_full() ? TURNS : 1); turn++) {
        double took = sync_once(primary, expected);
        least(&sync, took);
        bytes = (size_t)reply_info(c, "replication", "sync_bytes_last");
        assert_true(bytes > vectors * DIM);
        double copied = copy_once(bytes, false);
        least(&copy, copied);
        least(&huge, copy_once(bytes, true));
        least(&file, file_once(server_dir(primary), bytes));
        print_message("turn %u: %.3f s, copied in %.3f s: %.2f times\n", turn + 1, took, copied, took / copied);
    }
    print_message("%zu vectors of %d components, %.1f MB: the replica's first right answer after %.3f s, %.2f times "
                  "copying the bytes over the loopback (%.3f s; into huge pages %.3f s; from file to file %.3f s)\n",
                  vectors, DIM, (double)bytes / 1e6, sync, sync / copy, copy, huge, file);
    free(expected);
    redisFree(c);
    server_stop(primary);
    if (drill_full())
        assert_true(sync <= MOST * copy);
}

int main(void)
{
    vectors = drill_count(VECTORS_FULL, VECTORS);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sync)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
