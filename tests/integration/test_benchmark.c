/* vecstore-benchmark against a real server: it loads and searches as it says, and its complaints
 * are clear. tsan: skip (a tool, and few clients) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/run.h"

#define OUTPUT_MAX 65536

static char output[OUTPUT_MAX];
static int vectors = 3000; /* enough for a graph */

/* Runs the benchmark, which lies beside the server, with these arguments; both its outputs stand in
 * `output`. */
static int benchmark(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int benchmark(const char *fmt, ...)
{
    const char *server = getenv("VECSTORE_SERVER");
    char command[4096];
    const char *slash;
    size_t n;
    int used, status;
    FILE *pipe;
    va_list args;

    server = server ? server : "build/vecstore-server";
    slash = strrchr(server, '/');
    used = snprintf(command, sizeof command, "%.*svecstore-benchmark ",
                    slash ? (int)(slash - server + 1) : 0, server);
    va_start(args, fmt);
    used += vsnprintf(command + used, sizeof command - (size_t)used, fmt, args);
    va_end(args);
    assert_true(used + 6 < (int)sizeof command);
    strcat(command, " 2>&1");
    pipe = popen(command, "r");
    assert_non_null(pipe);
    n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = 0;
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void says(const char *part)
{
    if (!strstr(output, part))
        fail_msg("'%s' is not in:\n%s", part, output);
}

/* The number after the last `"name":` of the JSON. */
static double last_number(const char *name)
{
    char quoted[64];
    const char *at = output, *found = NULL;

    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    while ((at = strstr(at, quoted)) != NULL)
        found = at += strlen(quoted);
    if (!found)
        fail_msg("no %s in:\n%s", name, output);
    return strtod(found, NULL);
}

static void test_load_and_search(void **state)
{
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    char there[64];

    (void)state;
    assert_int_equal(
        benchmark(
            "-p %d --generate %d --dim 24 --queries 50 --ef 10,200 -n 200 -q --json - --keep",
            server_port(s), vectors),
        0);
    assert_true(last_number("recall") > 0.99);
    assert_true(last_number("linked_rate") > 0);
    assert_true(last_number("total") > vectors * 24);
    assert_true(last_number("process_rss") > 0);
    reply_int(c, vectors, "VCARD vecstore-benchmark");
    reply_int(c, 24, "VDIM vecstore-benchmark");

    /* What is there is not overwritten, unless asked. */
    assert_int_equal(benchmark("-p %d --generate %d --dim 24", server_port(s), vectors), 1);
    says("--flush");
    assert_int_equal(benchmark("-p %d --generate %d --dim 24 --queries 50 --ef 200 -n 100 -q -c "
                               "9 -P 1 --search-only",
                               server_port(s), vectors),
                     0);
    says("QPS at recall@10");
    assert_int_equal(benchmark("-p %d --generate %d --dim 24 --search-only -q", server_port(s), vectors + 1),
                     1);
    snprintf(there, sizeof there, "%d elements of 24 dimensions", vectors);
    says(there);

    /* By VMADD, several partitions, another metric; the key is gone afterwards. */
    assert_int_equal(
        benchmark(
            "-p %d --generate %d --dim 24 --queries 50 --ef 200 -n 100 -q --flush --vmadd 77 "
            "--partitions 3 --metric l2 --type f32 --json -",
            server_port(s), vectors * 2 / 3),
        0);
    assert_true(last_number("recall") > 0.99);
    reply_int(c, 0, "EXISTS vecstore-benchmark");
    redisFree(c);
    server_stop(s);
}

static void test_password_and_socket(void **state)
{
    static const char *const args[] = {"--requirepass", "sesame", "--unixsocket", "bench.sock",
                                       NULL};
    struct test_server *s = server_start(args);

    (void)state;
    assert_int_equal(benchmark("-p %d --generate 300 -q", server_port(s)), 1);
    says("NOAUTH");
    assert_int_equal(benchmark("-p %d -a wrong --generate 300 -q", server_port(s)), 1);
    says("WRONGPASS");
    assert_int_equal(
        benchmark(
            "-s %s/bench.sock -a sesame --dbnum 1 --generate 300 --queries 10 --ef 300 -n 20 -q "
            "--json -",
            server_dir(s)),
        0);
    assert_true(last_number("recall") == 1);
    server_kill(s);
}

static void test_nobody_there(void **state)
{
    (void)state;
    assert_int_equal(benchmark("-p 1 --generate 300 -q"), 1);
    says("cannot connect");
    assert_int_equal(benchmark("-s /nowhere/at/all.sock --generate 300 -q"), 1);
    says("cannot connect");
    assert_int_equal(benchmark("--base /nowhere.fvecs -q"), 1);
    says("/nowhere.fvecs: No such file");
    assert_int_equal(benchmark("--bogus"), 2);
    says("unknown option '--bogus'");
    assert_int_equal(benchmark("--help"), 0);
    says("--in-process");
}

static void test_in_process(void **state)
{
    char digest[2][32];

    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *at;

        assert_int_equal(benchmark("--in-process --generate %d --dim 24 --queries 50 --ef 10,200 "
                                   "--ms 10 -q --json - "
                                   "--build-once --threads %d",
                                   vectors, i ? 3 : 1),
                         0);
        assert_true(last_number("recall") > 0.99);
        at = strstr(output, "\"graph_digest\":\"");
        assert_non_null(at);
        snprintf(digest[i], sizeof digest[i], "%.16s", at + 16);
    }
    assert_string_equal(digest[0], digest[1]);
    assert_string_not_equal(digest[0], "0000000000000000");
}

/* The probes measure what they should; how fast it was is no matter of a test. */
static void test_probes(void **state)
{
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);

    (void)state;
    assert_int_equal(benchmark("-p %d --generate %d --dim 24 --queries 50 -q --probe-single "
                               "--probe-ping --pings 200 --probe-mixed --ms 50 --repeat 2 "
                               "--at-recall 0.9 --json -",
                               server_port(s), 2 * vectors),
                     0);
    says("\"probes\":{\"ef\":");
    assert_true(last_number("search_us") > 0);
    assert_true(last_number("inside_us") > 0);
    assert_true(last_number("ping_us") > 0);
    assert_true(last_number("p999_us") > 0);
    assert_true(last_number("build_rate") > 0);
    assert_true(last_number("alone_qps") > 0);
    assert_true(last_number("acknowledged") > 0);
    reply_int(c, 0, "DBSIZE");
    assert_int_equal(benchmark("-p %d --generate %d --dim 24 --queries 50 -q --probe-ping "
                               "--pings 100 -c 2 -P 4",
                               server_port(s), 2 * vectors),
                     0);
    says("PING beside 2 x 4 searches");
    assert_int_equal(benchmark("-p %d --generate 300 -q --probe-ping --in-process", server_port(s)),
                     2);
    says("need a server");
    assert_int_equal(benchmark("--at-recall 1.5"), 2);
    says("between 0 and 1");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_and_search),
        cmocka_unit_test(test_password_and_socket),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_in_process),
        cmocka_unit_test(test_probes),
    };

    vectors = run_quick() ? 1200 : vectors;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
