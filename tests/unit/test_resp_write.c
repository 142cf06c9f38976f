/* Replies in both versions, the forms of numbers, the splitting of lines. tsan: skip (one
 * thread). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "resp/resp.h"

static void everything(struct resp_writer *w)
{
    resp_status(w, "OK");
    resp_error(w, "ERR a%sb %d", "\r\n", 7);
    resp_int(w, INT64_MIN);
    resp_int(w, 0);
    resp_bulk(w, "a\0b", 3);
    resp_bulk(w, NULL, 0);
    resp_bulk_text(w, "text");
    resp_null(w);
    resp_null_array(w);
    resp_array(w, 2);
    resp_map(w, 2);
    resp_set(w, 3);
    resp_push(w, 4);
    resp_bool(w, true);
    resp_bool(w, false);
    resp_double(w, 0.5);
    resp_double(w, -INFINITY);
    resp_verbatim(w, "txt", "hi", 2);
}

static void expect_written(int version, const char *want, size_t len)
{
    struct buf out = { 0 };
    struct resp_writer w = { .out = &out, .version = version };
    everything(&w);
    if (out.len != len || memcmp(out.data, want, len) != 0)
        fail_msg("wrote %.*s", (int)out.len, out.data);
    buf_release(&out);
}

static void test_versions(void **state)
{
    (void)state;
    static const char two[] =
        "+OK\r\n-ERR a  b "
        "7\r\n:-9223372036854775808\r\n:0\r\n$3\r\na\0b\r\n$0\r\n\r\n$4\r\ntext\r\n"
        "$-1\r\n*-1\r\n*2\r\n*4\r\n*3\r\n*4\r\n:1\r\n:0\r\n$3\r\n0.5\r\n$4\r\n-inf\r\n$2\r\nhi\r\n";
    static const char three[] =
        "+OK\r\n-ERR a  b "
        "7\r\n:-9223372036854775808\r\n:0\r\n$3\r\na\0b\r\n$0\r\n\r\n$4\r\ntext\r\n"
        "_\r\n_\r\n*2\r\n%2\r\n~3\r\n>4\r\n#t\r\n#f\r\n,0.5\r\n,-inf\r\n=6\r\ntxt:hi\r\n";
    expect_written(2, two, sizeof two - 1);
    expect_written(3, three, sizeof three - 1);
}

static void expect_double(double d, const char *want)
{
    char text[RESP_DOUBLE_MAX + 1];
    text[resp_format_double(d, text)] = '\0';
    assert_string_equal(text, want);
}

static void test_doubles(void **state)
{
    (void)state;
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(1, "1");
    expect_double(-1.5, "-1.5");
    expect_double(0.1, "0.1");
    expect_double(0.3, "0.3");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(0.9992150366306305, "0.9992150366306305");
    expect_double(2.0 / 3, "0.6666666666666666");
    expect_double(123456.789, "123456.789");
    expect_double(1e-7, "1e-07");
    expect_double(0.0001, "0.0001");
    expect_double(1e15 + 0.5, "1000000000000000.5");
    expect_double(1e16, "1e+16");
    expect_double(9007199254740991, "9007199254740991");
    expect_double(DBL_MAX, "1.7976931348623157e+308");
    expect_double(DBL_MIN, "2.2250738585072014e-308");
    expect_double(5e-324, "5e-324");
    expect_double(INFINITY, "inf");
    expect_double(-INFINITY, "-inf");
    expect_double(NAN, "nan");
    expect_double(-NAN, "nan");
}

/* The fewest digits of printf that read back. */
static void naive_double(double d, char *out)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, RESP_DOUBLE_MAX, "%.*g", digits, d);
        if (strtod(out, NULL) == d)
            return;
    }
}

static void test_random_doubles(void **state)
{
    (void)state;
    struct rng rng = {.state = run_seed()};
    int rounds = run_quick() ? 20000 : 200000;
    for (int i = 0; i < rounds; i++) {
        uint64_t bits = rng_next(&rng);
        double d, back;
        memcpy(&d, &bits, sizeof d);
        switch (rng_below(&rng, 5)) {
        case 0: d = rng_unit(&rng); break;
        case 1: d = (float)rng_unit(&rng); break;
        case 2: d = rng_unit(&rng) * pow(10, (double)rng_below(&rng, 24) - 6); break;
        case 3: d = (double)rng_below(&rng, 1000000) / pow(10, (double)rng_below(&rng, 8)); break;
        default: break;
        }
        if (!isfinite(d))
            continue;
        char text[RESP_DOUBLE_MAX + 1], want[RESP_DOUBLE_MAX];
        size_t len = resp_format_double(d, text);
        text[len] = '\0';
        naive_double(d, want);
        /* Whole numbers below 2^53 never go to an exponent here. */
        if (strcmp(text, want) != 0 && !(fabs(d) < 0x1p53 && d == trunc(d)))
            fail_msg("%s instead of %s", text, want);
        struct resp_arg a = { text, len };
        if (fpclassify(d) == FP_SUBNORMAL)
            continue;
        assert_true(resp_to_double(&a, &back));
        assert_true(back == d);
    }
}

static bool to_int(const char *text, long long *n)
{
    struct resp_arg a = { text, strlen(text) };
    return resp_to_int(&a, n);
}

static void test_ints(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "-",
                                         "+1",
                                         " 1",
                                         "1 ",
                                         "01",
                                         "-0",
                                         "00",
                                         "1a",
                                         "0x10",
                                         "1.0",
                                         "9223372036854775808",
                                         "-9223372036854775809",
                                         "18446744073709551616",
                                         "99999999999999999999999" };
    long long n = 42;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(to_int(wrong[i], &n));
        assert_int_equal(n, 42);
    }
    assert_true(to_int("0", &n) && n == 0);
    assert_true(to_int("-1", &n) && n == -1);
    assert_true(to_int("9223372036854775807", &n) && n == INT64_MAX);
    assert_true(to_int("-9223372036854775808", &n) && n == INT64_MIN);
}

static bool to_double(const char *text, double *d)
{
    struct resp_arg a = { text, strlen(text) };
    return resp_to_double(&a, d);
}

static void test_to_double(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",   "-",   ".",     "nan",   "NaN",    "-nan",
                                         " 1", "1 ",  "1e",    "1e999", "-1e999", "1e-999",
                                         "a",  "1,5", "1.2.3", "--1" };
    double d = 42;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(to_double(wrong[i], &d) && !isnan(d));
    assert_true(to_double("0.1", &d) && d == 0.1);
    assert_true(to_double("-.5", &d) && d == -0.5);
    assert_true(to_double("1.", &d) && d == 1);
    assert_true(to_double("-0", &d) && d == 0 && signbit(d));
    assert_true(to_double("1e-3", &d) && d == 1e-3);
    assert_true(to_double("0.00000000000000000000000001", &d) && d == 1e-26);
    assert_true(to_double("123456789012345678901234567890", &d) &&
                d == 123456789012345678901234567890.0);
    assert_true(to_double("inf", &d) && isinf(d) && d > 0);
    assert_true(to_double("-inf", &d) && isinf(d) && d < 0);
    assert_true(to_double("+inf", &d) && isinf(d) && d > 0);
    struct resp_arg nul = { "1\0", 2 };
    assert_false(resp_to_double(&nul, &d));
}

static void test_is(void **state)
{
    (void)state;
    struct resp_arg a = { "WithScores!", 10 };
    assert_true(resp_is(&a, "withscores"));
    assert_true(resp_is(&a, "WITHSCORES"));
    assert_false(resp_is(&a, "withscore"));
    assert_false(resp_is(&a, "withscores!"));
}

static void expect_split(const char *line, size_t len, const char *want)
{
    struct buf store = { 0 }, got = { 0 };
    struct resp_arg *argv = NULL;
    size_t cap = 0;
    buf_puts(&store, "before");
    long n = resp_split_line(line, len, &store, &argv, &cap);
    if (n < 0)
        buf_puts(&got, "unbalanced");
    for (long i = 0; i < n; i++) {
        buf_append(&got, argv[i].data, argv[i].len);
        buf_puts(&got, "|");
    }
    buf_append(&got, "", 1);
    if (strcmp(got.data, want) != 0)
        fail_msg("%.*s gave %s, not %s", (int)len, line, got.data, want);
    assert_memory_equal(store.data, "before", 6);
    buf_release(&store);
    buf_release(&got);
    mem_free(argv);
}

#define EXPECT_SPLIT(line, want) expect_split(line, sizeof(line) - 1, want)

static void test_split(void **state)
{
    (void)state;
    EXPECT_SPLIT("", "");
    EXPECT_SPLIT("  \t ", "");
    EXPECT_SPLIT("a b\tc", "a|b|c|");
    EXPECT_SPLIT(" \"\" '' x", "||x|");
    EXPECT_SPLIT("\"a b\" 'c d'", "a b|c d|");
    EXPECT_SPLIT("\"\\x41\\x4\\xzz\\q\\\"\\\\\"", "Ax4xzzq\"\\|");
    EXPECT_SPLIT("\"\\n\\r\\t\\b\\a\"", "\n\r\t\b\a|");
    EXPECT_SPLIT("'\\n\\'\\\\x'", "\\n'\\\\x|");
    EXPECT_SPLIT("'a\\\\'", "unbalanced");
    EXPECT_SPLIT("a\"b c\"", "ab c|");
    EXPECT_SPLIT("\\a \\\"b\"", "\\a|\\b|");
    EXPECT_SPLIT("\"a", "unbalanced");
    EXPECT_SPLIT("\"a\\\"", "unbalanced");
    EXPECT_SPLIT("'a", "unbalanced");
    EXPECT_SPLIT("\"a\"b", "unbalanced");
    EXPECT_SPLIT("'a''b'", "unbalanced");
    EXPECT_SPLIT("\"\\", "unbalanced");
    EXPECT_SPLIT("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
                 "1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),       cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_random_doubles), cmocka_unit_test(test_ints),
        cmocka_unit_test(test_to_double),      cmocka_unit_test(test_is),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
