/* Parts of the server that need no server: the table of commands, the histogram, the slow log's
 * arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cmd/command.h"
#include "server/histogram.h"
#include "server/server.h"
#include "server/slowlog.h"

static void test_histogram(void **state)
{
    (void)state;
    static struct histogram h;
    assert_true(histogram_percentile(&h, 50) == 0);
    for (uint64_t i = 1; i <= 10000; i++)
        histogram_add(&h, i);
    static const double at[] = {1, 50, 90, 99, 99.9, 100};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        double got = histogram_percentile(&h, at[i]), want = at[i] * 100;
        assert_true(got >= want && got <= want * 1.07);
    }
    uint64_t below = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t now = histogram_up_to(&h, (uint64_t)1 << i);
        assert_true(now >= below);
        below = now;
    }
    assert_int_equal(below, 10000);
    /* Any value has a cell. */
    histogram_add(&h, UINT64_MAX);
    histogram_add(&h, 0);
    struct rng r = {.state = 7};
    for (int i = 0; i < 100000; i++)
        histogram_add(&h, rng_next(&r) >> rng_below(&r, 64));
    assert_int_equal(h.count, 110002);
}

static struct resp_arg arg(const char *text)
{
    return (struct resp_arg){text, strlen(text)};
}

static const struct cmd_spec *resolve(struct cmd_table *t, const char *expected, size_t argc, ...)
{
    struct resp_arg argv[8];
    struct buf out = {0};
    struct resp_writer w = {.out = &out, .version = 2};
    va_list ap;
    va_start(ap, argc);
    for (size_t i = 0; i < argc; i++)
        argv[i] = arg(va_arg(ap, const char *));
    va_end(ap);
    const struct cmd_spec *spec = cmd_resolve(t, argv, argc, &w);
    if (expected) {
        assert_null(spec);
        assert_int_equal(out.len, strlen(expected) + 2);
        assert_memory_equal(out.data, expected, strlen(expected));
    } else {
        assert_non_null(spec);
        assert_int_equal(out.len, 0);
    }
    buf_release(&out);
    return spec;
}

static void test_table(void **state)
{
    (void)state;
    struct cmd_table *t = cmd_table_new();
    assert_null(cmd_find(t, "ping", 4));
    cmd_register(t, server_connection_specs);
    cmd_register(t, server_admin_specs);
    cmd_register(t, server_persist_specs);
    cmd_register(t, server_pubsub_specs);
    cmd_register(t, server_multi_specs);
    assert_string_equal(resolve(t, NULL, 1, "PiNg")->name, "ping");
    assert_string_equal(resolve(t, NULL, 3, "client", "KILL", "x")->name, "kill");
    assert_string_equal(resolve(t, NULL, 1, "command")->name, "command");
    resolve(t, "-ERR unknown command 'x', with args beginning with: 'a' 'b\xc3' ", 3, "x", "a",
            "b\xc3");
    resolve(t, "-ERR unknown command '', with args beginning with: ", 1, "");
    resolve(t, "-ERR unknown subcommand 'x'. Try CLIENT HELP.", 2, "client", "x");
    resolve(t, "-ERR wrong number of arguments for 'client' command", 1, "client");
    resolve(t, "-ERR wrong number of arguments for 'client|id' command", 3, "client", "id", "x");
    for (size_t i = 1; i < cmd_count(t); i++)
        assert_true(strcmp(cmd_at(t, i - 1)->name, cmd_at(t, i)->name) < 0);
    for (size_t i = 0; i < cmd_rows(t); i++) {
        const struct cmd_spec *parent, *spec = cmd_row(t, i, &parent);
        assert_int_equal(cmd_id(t, spec), i);
        /* Every row says what its page needs. */
        assert_non_null(spec->summary);
        assert_non_null(spec->group);
        assert_non_null(spec->since);
        assert_non_null(spec->complexity);
        assert_true(spec->handler || spec->subcommands);
        assert_true(!spec->handler || spec->reply);
    }
    cmd_table_free(t);
}

static void test_slowlog_args(void **state)
{
    (void)state;
    struct resp_arg argv[100];
    char longer[200];
    memset(longer, 'x', sizeof(longer));
    for (size_t i = 0; i < 100; i++)
        argv[i] = arg("word");
    argv[1] = (struct resp_arg){longer, sizeof(longer)};
    struct slowlog_args *a = slowlog_args_new(argv, 100, false);
    assert_int_equal(a->n, 32);
    assert_int_equal(a->at[1].len, 128 + strlen("... (72 more bytes)"));
    assert_memory_equal(a->at[1].data + 128, "... (72 more bytes)", 19);
    assert_memory_equal(a->at[31].data, "... (69 more arguments)", 23);
    slowlog_args_free(a);
    a = slowlog_args_new(argv, 2, true);
    assert_memory_equal(a->at[0].data, "word", 4);
    assert_memory_equal(a->at[1].data, "(redacted)", 10);
    slowlog_args_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_slowlog_args),
    };
    return cmocka_run_group_tests_name("server_parts", tests, NULL, NULL);
}
