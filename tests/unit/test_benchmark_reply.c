/* tsan: skip (one thread) */
/* The benchmark's reading of replies, and its figures. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "benchmark/reply.h"
#include "benchmark/report.h"

static void test_length(void **state)
{
    static const char *const whole[] = {
        "+OK\r\n",
        "-ERR no\r\n",
        ":12\r\n",
        "$3\r\nabc\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "_\r\n",
        ",1.5\r\n",
        "#t\r\n",
        "*2\r\n:1\r\n-ERR x\r\n",
        "*2\r\n*1\r\n$0\r\n\r\n*0\r\n",
        "%1\r\n+a\r\n*1\r\n:1\r\n",
        "~1\r\n:3\r\n",
        "$4\r\n\r\n\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        size_t len = strlen(whole[i]);

        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(reply_length(whole[i], cut), 0);
        assert_int_equal(reply_length(whole[i], len), len);
    }
    assert_int_equal(reply_length("+a\r\n+b\r\n", 8), 4);
    assert_int_equal(reply_length("hello\r\n", 7), -1);
    assert_int_equal(reply_length("$-2\r\n", 5), -1);
    assert_int_equal(reply_length("*99999999999\r\n", 14), -1);
    assert_int_equal(reply_length("+a\rb\n", 5), -1);
    assert_int_equal(reply_length("*9999999999\r\n", 13), -1);
}

static void test_rows(void **state)
{
    static const char good[] = "*2\r\n$12\r\nid0000000007\r\n$12\r\nid2147483647\r\n";
    static const char alien[] = "*1\r\n$12\r\nid00000x0007\r\n",
                      big[] = "*1\r\n$12\r\nid2147483648\r\n";
    char id[ID_BYTES + 1];
    int32_t rows[4];

    (void)state;
    assert_int_equal(reply_rows(good, sizeof good - 1, rows, 4), 2);
    assert_int_equal(rows[0], 7);
    assert_int_equal(rows[1], 2147483647);
    assert_int_equal(reply_rows(good, sizeof good - 1, rows, 1), 1);
    assert_int_equal(reply_rows(alien, sizeof alien - 1, rows, 4), -1);
    assert_int_equal(reply_rows(big, sizeof big - 1, rows, 4), -1);
    assert_int_equal(reply_rows("*0\r\n", 4, rows, 4), 0);
    assert_int_equal(reply_rows("-ERR\r\n", 6, rows, 4), -1);
    id_format(1234567, id);
    assert_string_equal(id, "id0001234567");
    assert_true(id_parse(id, ID_BYTES, rows));
    assert_int_equal(rows[0], 1234567);
}

static void test_error(void **state)
{
    const char *text = NULL;
    size_t len = 0;

    (void)state;
    assert_false(reply_error(":1\r\n", 4, &text, &len));
    assert_false(reply_error("*2\r\n:1\r\n:0\r\n", 12, &text, &len));
    assert_true(reply_error("*2\r\n:1\r\n-ERR a\r\n", 16, &text, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(text, "ERR a", 5);
    assert_true(reply_error("-ERR bad\r\n", 10, &text, &len));
}

static void test_qps_at(void **state)
{
    static const struct search_result s[] = {
        {.ef = 10, .threads = 1, .recall = 0.80, .qps = 8000},
        {.ef = 20, .threads = 1, .recall = 0.90, .qps = 4000},
        {.ef = 10, .threads = 2, .recall = 0.80, .qps = 16000},
        {.ef = 40, .threads = 1, .recall = 1, .qps = 2000},
    };

    (void)state;
    assert_true(report_qps_at(s, 4, 1, 0.70) == 8000);
    assert_true(fabs(report_qps_at(s, 4, 1, 0.90) - 4000) < 1e-6);
    assert_true(report_qps_at(s, 4, 2, 0.90) == 0);
    /* Half way from 0.8 to 0.9 in log (1 - recall). */
    assert_true(fabs(report_qps_at(s, 4, 1, 1 - sqrt(0.02)) - sqrt(8000.0 * 4000.0)) < 1e-3);
    assert_true(report_qps_at(s, 4, 1, 0.99) < 4000 && report_qps_at(s, 4, 1, 0.99) > 2000);
}

static void test_medians(void **state)
{
    static const struct search_result runs[] = {
        {.ef = 10, .qps = 1, .max_us = 9}, {.ef = 20, .qps = 10},
        {.ef = 10, .qps = 5, .max_us = 2}, {.ef = 20, .qps = 30},
        {.ef = 10, .qps = 3, .max_us = 4}, {.ef = 20, .qps = 20},
    };
    struct report r = {0};

    (void)state;
    report_add_medians(&r, runs, 3, 2);
    assert_int_equal(r.nsearches, 2);
    assert_true(r.searches[0].qps == 3 && r.searches[0].max_us == 9 && r.searches[0].ef == 10);
    assert_true(r.searches[1].qps == 20);
    report_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length), cmocka_unit_test(test_rows),    cmocka_unit_test(test_error),
        cmocka_unit_test(test_qps_at), cmocka_unit_test(test_medians),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
