/* An index whose vectors, codes and graph (MAP ALL) are several times the memory that the server may
 * have: searches by graph and exact ones answer right, pages come from the files and go again; and
 * what VPARTITION INFO says of it.
 *
 * The server starts in a memory group of its own that is smaller than the files. Where no group can be
 * made (it takes a writable group of the first version, below the test's own), that test is skipped;
 * the other one takes the pages away from outside while searches run, and bounds what the server
 * itself allocates. tsan: skip (one client) asan: skip (memory is what it measures) */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define DIM      1500
#define ELEMENTS 12000               /* 72 MB */
#define MEMORY   (28 << 20)
#define SEARCHES 20
#define DEADLINE_MS 60000

/* Curves of six numbers: high in dimension, but with neighbours that a small graph finds. */
static void vector_of(uint32_t i, float *v)
{
    struct rng rng = {i + 1};
    double p[6];
    for (int k = 0; k < 6; k++)
        p[k] = rng_unit(&rng) * 2 - 1;
    for (int k = 0; k < DIM; k++)
        v[k] = (float)(p[0] * sin(k * 0.01) + p[1] * cos(k * 0.013) + p[2] * sin(k * 0.029) + p[3] * cos(k * 0.041) +
                       p[4] * sin(k * 0.057) + p[5] * cos(k * 0.083));
}

static void fill(redisContext *c)
{
    static float v[DIM];
    reply_status(c, "OK", "VPARTITION CREATE k DIM %d METRIC L2 NOQUANT M 8 EF 40 MAP ALL", DIM);
    for (uint32_t i = 0, taken = 0; i < ELEMENTS || taken < ELEMENTS;) {
        if (i < ELEMENTS) {
            vector_of(i, v);
            redisAppendCommand(c, "VADD k FP32 %b e%u", v, sizeof(v), i);
            i++;
        }
        if (i - taken >= 64 || i == ELEMENTS) {
            redisReply *r;
            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            assert_int_equal(r->type, REDIS_REPLY_INTEGER);
            freeReplyObject(r);
            taken++;
        }
    }
}

static long long of_partition(redisContext *c, const char *name)
{
    redisReply *r = reply_array(c, -1, "VPARTITION INFO k 0");
    long long n = -1;
    for (size_t i = 0; i + 1 < r->elements; i += 2)
        if (strcmp(r->element[i]->str, name) == 0)
            n = r->element[i + 1]->integer;
    freeReplyObject(r);
    return n;
}

static bool linked(void *arg)
{
    return of_partition(arg, "unlinked") < 256;
}

/* The nearest to an element's own vector is the element. */
static void search(redisContext *c, uint32_t e, const char *how)
{
    static float v[DIM];
    char name[16];
    vector_of(e, v);
    snprintf(name, sizeof name, "e%u", e);
    redisReply *r = redisCommand(c, "VSEARCH k FP32 %b K 3 %s", v, sizeof(v), how);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        print_error("%s\n", r->str);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, 3);
    assert_string_equal(r->element[0]->str, name);
    freeReplyObject(r);
}

static void search_some(redisContext *c, void (*between)(const struct test_server *s), const struct test_server *s)
{
    struct rng rng = {7};
    unsigned found = 0;
    for (int i = 0; i < SEARCHES; i++) {
        uint32_t e = (uint32_t)rng_below(&rng, ELEMENTS);
        char name[16];
        if (between && i % 10 == 0)
            between(s);
        if (i % 10 == 0)
            search(c, e, "EXACT");
        snprintf(name, sizeof name, "e%u", e);
        redisReply *r = reply_array(c, 1, "VSEARCH k ELE %s K 1 EF 100", name);
        found += strcmp(r->element[0]->str, name) == 0;
        freeReplyObject(r);
    }
    print_message("%u of %d found by the graph\n", found, SEARCHES);
    assert_true(found * 10 >= SEARCHES * 8);
}

/* Bytes that it has read from the disk; -1: the system does not say. */
static long long bytes_read(const struct test_server *s)
{
    char path[64], line[200];
    long long n = -1;
    snprintf(path, sizeof path, "/proc/%d/io", (int)server_pid(s));
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "read_bytes: %lld", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

/* Memory of the server that no file stands behind. */
static long anonymous_kb(const struct test_server *s)
{
    char path[64], line[200];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server_pid(s));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kb) == 1)
            break;
    fclose(f);
    return kb;
}

/* Out of the page cache, so that whoever reads them next is charged with them. */
static long long forget_files(const struct test_server *s)
{
    char path[512];
    long long sum = 0;
    snprintf(path, sizeof path, "%s/dump.rdb.d", server_dir(s));
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char file[800];
        struct stat st;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        int fd = open(file, O_RDONLY);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            sum += st.st_size;
        }
        if (fd >= 0)
            close(fd);
    }
    closedir(d);
    return sum;
}

static const char *const args[] = {"--search-threads", "2", "--link-backlog-max", "4096", NULL};

/* A server that has ended, and its files' size. */
static struct test_server *server;

static int setup(void **state)
{
    (void)state;
    server = server_start(args);
    redisContext *c = server_connect(server);
    fill(c);
    assert_true(wait_until(linked, c, DEADLINE_MS));
    saves_ask(c, "SAVE");
    redisFree(c);
    server_end(server, SIGKILL);
    return 0;
}

/* ---- a group with a limit ---- */

static char group[400];

static bool write_to(const char *dir, const char *name, const char *text)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

static long long read_from(const char *dir, const char *name)
{
    char path[500];
    long long n = -1;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n;
}

/* Below the group that the test is in: its limits hold, too. */
static bool make_group(char *own, size_t size)
{
    char line[300], limit[24], path[280] = "";
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%*d:memory:%270s", path) == 1)
            break;
    if (f)
        fclose(f);
    snprintf(own, size, "/sys/fs/cgroup/memory%s", path);
    snprintf(group, sizeof group, "%s/vecstore-test-%d", own, (int)getpid());
    if (!path[0] || mkdir(group, 0755) != 0)
        return false;
    snprintf(limit, sizeof limit, "%d", MEMORY);
    if (write_to(group, "memory.limit_in_bytes", limit))
        return true;
    rmdir(group);
    return false;
}

static bool group_gone(void *arg)
{
    (void)arg;
    return rmdir(group) == 0;
}

static void test_limited(void **state)
{
    (void)state;
    char own[300];
    long long bytes;
    if (!make_group(own, sizeof own)) {
        print_message("no memory group can be made here\n");
        skip();
    }
    struct test_server *s = server;
    bytes = forget_files(s);
    assert_true(write_to(group, "cgroup.procs", "0")); /* what is started next is born there */
    server_again(s, NULL);
    assert_true(write_to(own, "cgroup.procs", "0"));
    redisContext *c = server_connect(s);
    search_some(c, NULL, s);
    print_message("%lld bytes on disk, at most %lld in memory, %lld of %lld mapped resident, %lld refusals of pages\n", bytes,
                  read_from(group, "memory.max_usage_in_bytes"), of_partition(c, "resident_bytes"),
                  of_partition(c, "mapped_bytes"), read_from(group, "memory.failcnt"));
    print_message("%lld bytes read\n", bytes_read(s));
    assert_true(bytes > 2LL * MEMORY);
    assert_true(bytes_read(s) < 30 * bytes); /* no more than a few pages for each row that is looked at */
    assert_true(read_from(group, "memory.max_usage_in_bytes") <= MEMORY);
    assert_true(read_from(group, "memory.failcnt") > 0); /* it would have liked more */
    assert_true(of_partition(c, "mapped_bytes") > 2LL * MEMORY);
    assert_true(of_partition(c, "resident_bytes") < MEMORY);
    reply_int(c, ELEMENTS, "VCARD k");
    redisFree(c);
    server_end(s, SIGKILL);
    assert_true(wait_until(group_gone, NULL, 5000));
}

/* ---- pages taken away ---- */

static bool supported = true;

static void page_out(const struct test_server *s)
{
    char path[64], line[1000];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)server_pid(s));
    FILE *f = fopen(path, "r");
    int fd = (int)syscall(SYS_pidfd_open, server_pid(s), 0);
    supported = f && fd >= 0;
    while (supported && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (!strstr(line, "dump.rdb.d/") || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        struct iovec range = {(void *)from, to - from};
        supported = syscall(SYS_process_madvise, fd, &range, 1, MADV_PAGEOUT, 0) >= 0;
    }
    if (f)
        fclose(f);
    if (fd >= 0)
        close(fd);
    forget_files(s);
}

static void test_taken_away(void **state)
{
    (void)state;
    struct test_server *s = server;
    long long bytes = forget_files(s);
    server_again(s, NULL);
    redisContext *c = server_connect(s);
    search_some(c, page_out, s);
    print_message("%lld bytes on disk, %ld KiB of memory without a file\n", bytes, anonymous_kb(s));
    assert_true(anonymous_kb(s) * 1024LL * 2 < bytes);
    if (supported) {
        page_out(s);
        long long left = of_partition(c, "resident_bytes");
        print_message("%lld resident after the pages have gone\n", left);
        assert_true(left < of_partition(c, "mapped_bytes") / 4);
        search_some(c, NULL, s);
        assert_true(of_partition(c, "resident_bytes") > left);
    }
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limited),
        cmocka_unit_test(test_taken_away),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
