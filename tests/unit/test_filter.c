/* tsan: skip (one thread) */
/* Filter expressions: every statement about the language as a case, errors and where they are found, limits; the engine's
 * evaluator against a naive one on random expressions and documents; stored documents, sound and spoiled.
 * VECSTORE_SEED=n repeats a random run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lib/naive_filter.h"
#include "lib/run.h"
#include "store/filter.h"

static struct vs_filter *compiled(const char *text, size_t len, enum vs_filter_mode mode)
{
    struct vs_filter *f;
    struct vs_filter_error error;
    enum vs_status status = vs_filter_new(text, len, mode, &f, &error);
    if (status != VS_OK)
        fail_msg("%.*s: %s at %zu", (int)len, text, error.what, error.at);
    return f;
}

static bool evaluated(const char *text, const char *json, size_t json_len, enum vs_filter_mode mode)
{
    struct vs_filter *f = compiled(text, strlen(text), mode);
    struct filter_scratch scratch = {0};
    void *stored = json ? attr_new(json, json_len) : NULL;
    bool yes = filter_match(f, stored, &scratch);
    filter_scratch_release(&scratch);
    mem_free(stored);
    vs_filter_unref(f);
    return yes;
}

#define DOC                                                                                                     \
    "{\"y\":5,\"z\":0,\"s\":\"abc\",\"five\":\"5\",\"e\":\"\",\"t\":true,\"f\":false,\"n\":null,\"a\":[1,\"x\",true,null]," \
    "\"b\":[1,\"x\"],\"o\":{\"q\":7,\"p\":{\"r\":\"deep\"}},\"a-b\":1,\"_u\":2,\"7\":3,\"l\":[],\"nest\":[[1],{\"k\":1}]}"

struct statement {
    const char *text;
    bool yes;
};

static void check_all(const struct statement *c, size_t n, enum vs_filter_mode mode)
{
    for (size_t i = 0; i < n; i++) {
        if (evaluated(c[i].text, DOC, strlen(DOC), mode) != c[i].yes)
            fail_msg("%s (mode %d): not %d", c[i].text, mode, c[i].yes);
        if (naive_filter(c[i].text, DOC, mode == VS_FILTER_RICH) != c[i].yes)
            fail_msg("%s (mode %d): naively not %d", c[i].text, mode, c[i].yes);
    }
}

/* What holds in both modes. */
static const struct statement common[] = {
    /* precedence, from high to low */
    {"2 + 3 * 2 == 8", true}, {"(2 + 3) * 2 == 10", true}, {"2 * 3 ** 2 == 18", true}, {"2 ** 3 ** 2 == 512", true},
    {"-2 ** 2 == 4", true}, {"2 ** -1 == 0.5", true}, {"!0 ** 0 == 1", true}, {"!2 ** 0 == 1", true}, {"not .z == 1", true},
    {"not .y == 5", false}, {"not (.y == 4)", true}, {"10 - 3 - 2 == 5", true}, {"2 / 2 / 2 == 0.5", true},
    {"7 % 4 == 3", true}, {"7 % 4 * 2 == 6", true}, {"1 + 1 > 1", true}, {"3 > 2 > 1", false}, {"3 > 2 == 1", true},
    {"1 == 2 < 1", true}, {"1 or 0 and 0", true}, {"(1 or 0) and 0", false}, {"0 and 0 or 1", true},
    {"1 || 0 && 0", true}, {"!!.y", true}, {"not not .y", true}, {"!not .y", true}, {"2 in [1,2] == 1", true},
    /* literals and selectors */
    {"1e0 == 1", true}, {"1.5e+2 == 150", true}, {"1. == 1", true}, {"-1 < 0", true}, {"123456789012345 == 1.23456789012345e14", true}, {"1234567890123456789 > 1e18", true}, {"-0 == 0", true}, {"1E2 == 100", true},
    {"007 == 7", true}, {".y -3 == 2", true},
    {".y - 3 == 2", true}, {".y--3 == 8", false}, {"(-1) < 0 and 0 > (-1)", true}, {"3 * -2 == -6", true}, {"5 -3 == 2", true}, {"5-3 == 2", true}, {"(5)-3 == 2", true}, {"[-1] == 2 or -1 in [-1]", true},
    {".a-b == 1", true}, {"._u == 2", true}, {".7 == 3", true}, {".s == 'abc'", true}, {".s == \"abc\"", true},
    {".s=='abc'and 1", true}, {".y==5and 1", true}, {"\t.y\n== \r5 ", true}, {"'a\\'b' == \"a'b\"", true},
    {"'a\\\\b' == \"a\\\\b\"", true}, {"'a\\tb\\nc\\rd' == 'a\tb\nc\rd'", true}, {"'\\q' == 'q'", true}, {"'' == ''", true},
    /* equality */
    {".y == 5", true}, {".y != 5", false}, {".s != 'abd'", true}, {".s == 'ab'", false}, {".n == null", true},
    {"null == null", true}, {".y == null", false}, {".z == null", false}, {"null != 0", true}, {".five == 5", true}, {"5 == .five", true},
    {".t == 1", true}, {".f == 0", true}, {".t", true}, {".f", false},
    /* order */
    {".y > 4", true}, {".y >= 5", true}, {".y < 5", false}, {".y <= 5", true}, {".five > 4", true}, {".five >= 5", true},
    /* in */
    {"1 in .a", true}, {"'x' in .a", true}, {".y in [1,5]", true}, {".y in [1,'5']", true}, {".y in []", false},
    {"'b' in .s", true}, {"'' in .s", true}, {"'bc' in 'abc'", true}, {"'cb' in .s", false}, {"1 in 'abc'", false}, {".y in 5", false},
    {"null in .a", true}, {"null in .b", false}, {"2 in .nest", false}, {"'abc' in ['abc', 1]", true}, {".s in ['x']", false},
    {"0 in .l", false}, {".y in [1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,18]", false},
    {".y in [1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,5]", true}, {".s in [1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,'abc']", true},
    {".s in [1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,'ab']", false}, {".five in [1,2,3,4,5,7,8,9,10,11,12,13,14,15,16,17,18]", true},
    {".y in [1,2,3,4,'5',7,8,9,10,11,12,13,14,15,16,17,18]", true}, {".n in [1,2,3,4,'5',7,8,9,10,11,12,13,14,15,16,17,18]", false},
    /* truth */
    {".z", false}, {".e", false}, {".n", false}, {".s", true}, {".a", true}, {".l", true}, {"[]", true}, {"1", true}, {"0", false},
    {"'0'", true}, {"null", false}, {"!.e", true},
    /* arithmetic */
    {"1 / 0 > 1e300", true}, {"-1 / 0 < -1e300", true}, {".y + .t == 6", true}, {".five * 2 == 10", true}, {"7.5 % 2 == 1.5", true},
};

static const struct statement vsim[] = {
    /* a field that is missing or an object makes all false */
    {".missing or .y == 5", false}, {"not .missing", false}, {".y == 5 or .missing", false}, {"1 or .o", false}, {".o", false},
    {".missing == null", false}, {".missing != 1", false}, {".y == 5 and not .missing", false}, {".missing || 1", false}, {"(1 or .missing)", false},
    {".o == 1", false}, {"not .o", false}, {"1 in .missing", false}, {"not (1 in .missing)", false}, {".missing in [1]", false},
    {".y-3 == 2", false}, {".y-3 or 1", false}, /* the field "y-3" */
    /* so does an array that holds arrays or objects */
    {".nest", false}, {"1 or .nest", false}, {"not (2 in .nest)", false}, {".a", true}, {"not (2 in .a)", true},
    /* what is no number is 0 */
    {".s == 0", true}, {"'abc' > 'a'", false}, {"'a' < 'abc'", false}, {".a == .b", true}, {".a == 0", true}, {"null < 1", true},
    {".s + 1 == 1", true}, {".e == 0", true}, {".a == .s", true}, {"[1] == [2]", true}, {"null + 1 == 1", true},
    {"0 in .nest", false}, {".s in [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", true}, {".a in [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", true},
};

static const struct statement rich[] = {
    {".missing or .y == 5", true}, {"not .missing", true}, {".missing == 1", false}, {".missing != 1", false}, {"not (.missing == 1)", true},
    {".missing == null", false}, {"not (.missing in [1])", true}, {".missing + 1 > 0", false}, {"not (.missing + 1 > 0)", true},
    {".o.q == 7", true}, {".o.p.r == 'deep'", true}, {".o.x == 7", false}, {".y.q == 7", false}, {".o == 1", false}, {".o != 1", false},
    {".o", true}, {"exists(.o)", true}, {"exists(.o.q)", true}, {"exists(.o.x)", false}, {"exists ( .n )", true}, {"exists(.missing)", false},
    {"not exists(.missing) and .y == 5", true}, {"true", true}, {"false", false}, {".t == true", true}, {".f == false", true},
    {".t == false", false}, {"true in .a", true}, {"'abc' > 'a'", true}, {"'a' < 'abc'", true}, {"'b' > 'abc'", true}, {".s >= 'abc'", true},
    {".s < 'abd'", true}, {"'' < 'a'", true}, {".s == 0", false}, {".s != 0", true}, {".s < 1", false}, {".a == .b", false},
    {".b == [1,'x']", true}, {".b == [1,'y']", false}, {".a == 0", false}, {".a != 0", true}, {"null < 1", false}, {".s + 1 == 1", false},
    {".n in [1,2,3,4,'5',7,8,9,10,11,12,13,14,15,16,17,null]", true}, {".missing in [1,2,3,4,'5',7,8,9,10,11,12,13,14,15,16,17,null]", false},
    {".s in [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", false}, {".s + 1", false}, {"null in [null]", true}, {".nest == .nest", false}, {"0 and .missing", false}, {"1 and 'x'", true},
    {"'x' and 0 or 'y'", true}, {"0 or 0 or 0 or .y", true}, {"1 and 1 and 1 and .z", false}, {"(0 or 1) and (1 or 0)", true},
    {"0 or (1 and (0 or (1 and .y == 5)))", true},
};

static void test_statements(void **state)
{
    (void)state;
    check_all(common, sizeof common / sizeof *common, VS_FILTER_VSIM);
    check_all(common, sizeof common / sizeof *common, VS_FILTER_RICH);
    check_all(vsim, sizeof vsim / sizeof *vsim, VS_FILTER_VSIM);
    check_all(rich, sizeof rich / sizeof *rich, VS_FILTER_RICH);
}

/* Elements without attributes, with a text that is no JSON, or no object. */
static void test_without_fields(void **state)
{
    (void)state;
    assert_false(evaluated("1", NULL, 0, VS_FILTER_VSIM));
    assert_false(evaluated("not .x", NULL, 0, VS_FILTER_VSIM));
    assert_true(evaluated("1", NULL, 0, VS_FILTER_RICH));
    assert_true(evaluated("not .x", NULL, 0, VS_FILTER_RICH));
    assert_true(evaluated("not (.x == 1)", NULL, 0, VS_FILTER_RICH));
    assert_false(evaluated(".x == 1 or exists(.x)", NULL, 0, VS_FILTER_RICH));
    static const char *const texts[] = {"", "not json", "5", "[1]", "\"x\"", "{\"x\":1", "{\"x\":1}}", "{\"x\":\"\xff\"}",
                                        "{\"x\":1,}", "{\"x\":\"\\ud800\"}", "{\"x\":1e999}", "{\"x\":nan}", "{x:1}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len = strlen(texts[i]);
        assert_true(evaluated("1", texts[i], len, VS_FILTER_VSIM));
        assert_false(evaluated(".x == 1 or 1", texts[i], len, VS_FILTER_VSIM));
        assert_true(evaluated("not exists(.x)", texts[i], len, VS_FILTER_RICH));
    }
    /* the last of two of a name; escapes in names and strings; big numbers; a zero byte */
    static const char odd[] = "{\"x\":1,\"x\":2,\"\\u0061\":\"\\u00e9\\\"\",\"big\":123456789012345678901234567890,\"z\":\"a\\u0000b\"}";
    assert_true(evaluated(".x == 2", odd, strlen(odd), VS_FILTER_VSIM));
    assert_true(evaluated(".a == '\xc3\xa9\"'", odd, strlen(odd), VS_FILTER_VSIM));
    assert_true(evaluated(".big > 1e29 and .big < 2e29", odd, strlen(odd), VS_FILTER_VSIM));
    assert_true(evaluated("'b' in .z and .z != 'a'", odd, strlen(odd), VS_FILTER_VSIM));
}

struct wrong {
    const char *text;
    size_t at;
    int vsim;               /* wrong in VSIM mode alone */
};
static const struct wrong wrongs[] = {
    {"", 0, 0}, {"   ", 0, 0}, {".y ==", 3, 0}, {"== 3", 0, 0}, {".y == == 3", 6, 0}, {"(.y == 3", 0, 0}, {".y == 3)", 7, 0}, {"1 2", 2, 0},
    {".y .z", 3, 0}, {"'abc", 0, 0}, {"'abc\\", 0, 0}, {"\"abc'", 0, 0}, {"'abc\\'", 0, 0}, {".", 0, 0}, {"..y", 0, 0}, {".y == .", 6, 0}, {".y & 1", 3, 0},
    {".y = 1", 3, 0}, {"-.y", 0, 0}, {"- 3", 0, 0}, {"+3", 0, 0}, {"AND", 0, 0}, {".y AND 1", 3, 0}, {".y OR 1", 3, 0}, {".y IN [1]", 3, 0}, {"NOT .y", 0, 0}, {"NULL == 1", 0, 0}, {"abs(.y)", 0, 0}, {".y == abc", 6, 0}, {"[1", 1, 0}, {"[1,", 2, 0},
    {"[1,]", 3, 0}, {"[,1]", 1, 0}, {"[1 2]", 3, 0}, {"[.y]", 1, 0}, {"[[1]]", 1, 0}, {"[(1)]", 1, 0}, {".y in", 3, 0}, {".y in [1)", 8, 0}, {"not", 0, 0}, {"!", 0, 0}, {"()", 1, 0},
    {".y == 5 and", 8, 0}, {".y not in [1]", 3, 0}, {".y\xc3\xa9 == 1", 2, 0}, {".y == 1 #", 8, 0}, {"1 == 1 ]", 7, 0}, {",", 0, 0}, {".o .q", 3, 0}, {"nulll", 0, 0}, {"5 = 5", 2, 0},
    {".o.q", 2, 1}, {"true", 0, 1}, {"false", 0, 1}, {"exists(.x)", 0, 1}, {"[null]", 1, 1},
    {"exists .x", 7, 0}, {"exists(5)", 7, 0}, {"exists(.x", 7, 0}, {"exists()", 7, 0},
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++)
        for (int mode = VS_FILTER_RICH; mode <= VS_FILTER_VSIM; mode++) {
            const struct wrong *w = &wrongs[i];
            struct vs_filter *f = NULL;
            struct vs_filter_error error = {"", SIZE_MAX};
            enum vs_status status = vs_filter_new(w->text, strlen(w->text), mode, &f, &error);
            vs_filter_unref(f);
            if (w->vsim && mode == VS_FILTER_RICH) {
                assert_int_equal(status, VS_OK);
                continue;
            }
            if (status != VS_INVALID)
                fail_msg("%s (mode %d) is taken", w->text, mode);
            if (error.at != w->at && !strstr(w->text, "exists"))
                fail_msg("%s (mode %d): wrong at %zu, not %zu", w->text, mode, error.at, w->at);
            assert_true(error.at <= strlen(w->text));
        }
}

static char *repeated(const char *what, size_t n, const char *middle, const char *after)
{
    size_t len = strlen(what), end = strlen(after), at = 0;
    char *text = malloc(n * (len + end) + strlen(middle) + 1);
    for (size_t i = 0; i < n; i++, at += len)
        memcpy(text + at, what, len);
    at += strlen(strcpy(text + at, middle));
    for (size_t i = 0; i < n; i++, at += end)
        memcpy(text + at, after, end);
    text[at] = 0;
    return text;
}

static void expect_status(enum vs_status expected, char *text)
{
    for (int mode = VS_FILTER_RICH; mode <= VS_FILTER_VSIM; mode++) {
        struct vs_filter *f = NULL;
        struct vs_filter_error error;
        uint64_t began = clock_mono_ns();
        enum vs_status status = vs_filter_new(text, strlen(text), mode, &f, &error);
        if (clock_mono_ns() - began > 100000000)
            print_message("%.20s... of %zu bytes took %.1f ms\n", text, strlen(text), (double)(clock_mono_ns() - began) / 1e6);
        vs_filter_unref(f);
        if (status != expected)
            fail_msg("%.40s...: %d, not %d", text, status, expected);
    }
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    expect_status(VS_LIMIT, repeated("(", 10000, "1", ")"));
    expect_status(VS_LIMIT, repeated("!", 10000, "1", ""));
    expect_status(VS_LIMIT, repeated("not ", 8000, "1", ""));
    expect_status(VS_LIMIT, repeated("2**", 10000, "1", ""));
    expect_status(VS_LIMIT, repeated("(1+", 5000, "1", ")"));
    expect_status(VS_INVALID, repeated("[", 10000, "1", "]"));
    expect_status(VS_LIMIT, repeated("1+", (1 << 20) / 2, "1", ""));
    expect_status(VS_LIMIT, repeated("(", 1 << 20, "", ""));
    expect_status(VS_OK, repeated("(", VS_FILTER_DEPTH_MAX, "1", ")"));
    expect_status(VS_LIMIT, repeated("(", VS_FILTER_DEPTH_MAX + 1, "1", ")"));
    expect_status(VS_OK, repeated("2**", VS_FILTER_DEPTH_MAX, "1", ""));
    expect_status(VS_OK, repeated("1+", (VS_FILTER_LEN_MAX - 2) / 2, "1", ""));
    expect_status(VS_OK, repeated(".a or ", (VS_FILTER_LEN_MAX - 2) / 6, "1", ""));
    /* in VSIM mode the second name stands where an operator is due */
    struct vs_filter *f;
    struct vs_filter_error error;
    char *path = repeated(".a", 33, "", ""), *fits = repeated(".a", 32, "", "");
    assert_int_equal(vs_filter_new(path, strlen(path), VS_FILTER_RICH, &f, &error), VS_LIMIT);
    assert_int_equal(vs_filter_new(fits, strlen(fits), VS_FILTER_RICH, &f, &error), VS_OK);
    char *deep = repeated("{\"a\":", 100, "1", "}");
    struct filter_scratch scratch = {0};
    void *stored = attr_new(deep, strlen(deep));
    assert_true(filter_match(f, stored, &scratch)); /* there is an object yet */
    mem_free(stored);
    vs_filter_unref(f);
    free(path);
    free(fits);
    free(deep);
    /* nested at the limit, evaluated: the stack is used to its end */
    char *powers = repeated("1**", VS_FILTER_DEPTH_MAX, "1", ""), *sums = repeated("(1+", VS_FILTER_DEPTH_MAX / 2, "1", ")");
    assert_true(evaluated(powers, "{}", 2, VS_FILTER_VSIM));
    assert_true(evaluated(sums, "{}", 2, VS_FILTER_RICH));
    free(powers);
    free(sums);
}

/* ---- long texts ---- */

static void test_long_texts(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, ATTR_PARSE_MAX - 100, ATTR_PARSE_MAX + 100, ATTR_TEXT_MAX - 1000, ATTR_TEXT_MAX + 100};
    for (size_t i = 0; i < 5; i++) {
        char *text = malloc(sizes[i] + 100);
        size_t len = (size_t)sprintf(text, "{\"pad\":\"");
        memset(text + len, 'x', sizes[i]);
        len += sizes[i];
        len += (size_t)sprintf(text + len, "\",\"y\":5}");
        assert_int_equal(evaluated(".y == 5", text, len, VS_FILTER_VSIM), i < 4);
        assert_int_equal(evaluated("exists(.y)", text, len, VS_FILTER_RICH), i < 4);
        void *stored = attr_new(text, len);
        const uint8_t *doc;
        assert_int_equal(attr_doc(stored, &doc), i < 2);
        size_t n;
        assert_memory_equal(attr_text(stored, &n), text, len);
        assert_int_equal(n, len);
        assert_int_equal(attr_stored_bytes(stored, attr_bytes(stored)), attr_bytes(stored));
        mem_free(stored);
        free(text);
    }
    /* many fields, found by halving */
    char *text = malloc(1 << 16);
    size_t len = (size_t)sprintf(text, "{");
    for (int i = 0; i < 600; i++)
        len += (size_t)sprintf(text + len, "%s\"f%d\":%d", i ? "," : "", i, i);
    len += (size_t)sprintf(text + len, "}");
    assert_true(len <= ATTR_PARSE_MAX);
    void *stored = attr_new(text, len);
    const uint8_t *doc;
    assert_true(attr_doc(stored, &doc) && doc);
    for (int i = 0; i < 610; i++) {
        char name[16];
        struct attr_key key = attr_key(name, (size_t)sprintf(name, "f%d", i));
        struct attr_value v;
        assert_int_equal(attr_find(doc, &key, &v), i < 600);
        if (i < 600)
            assert_true(v.tag == ATTR_NUMBER && v.number == i);
    }
    assert_int_equal(attr_stored_bytes(stored, attr_bytes(stored)), attr_bytes(stored));
    mem_free(stored);
    free(text);
}

/* ---- random expressions and documents ---- */

static const char *const names[] = {"a", "b", "c", "d", "a-b", "_x", "o", "never"};
static const char *const strings[] = {"", "a", "b", "ab", "abc", "5", "2.5", " 1", "0x10", "1e2", "nan", "inf", "\xc3\xa9", "a\\b", "q'q\"q", "x\ny"};
static const double numbers[] = {0, 1, 2, 5, -1, 2.5, 100, 16, 1e300, -3, -0.0, 2147483647, 2147483648, -2147483648.0, 4294967296};
#define BELOW(r, array) rng_below(r, sizeof(array) / sizeof *(array))

static json_t *random_value(struct rng *r, int depth)
{
    switch (rng_below(r, depth > 2 ? 6 : 9)) {
    case 0: return json_null();
    case 1: return json_boolean(rng_below(r, 2));
    case 2: return json_integer((json_int_t)rng_below(r, 7) - 2);
    case 3: return json_real(numbers[BELOW(r, numbers)]);
    case 4:
    case 5: return json_string(strings[BELOW(r, strings)]);
    case 6:
    case 7: {
        json_t *list = json_array();
        for (uint64_t n = rng_below(r, 4); n; n--)
            json_array_append_new(list, random_value(r, rng_below(r, 8) ? 3 : depth + 1));
        return list;
    }
    default: {
        json_t *object = json_object();
        for (uint64_t n = rng_below(r, 4); n; n--)
            json_object_set_new(object, names[rng_below(r, 7)], random_value(r, depth + 1));
        return object;
    }
    }
}

static char *random_document(struct rng *r)
{
    json_t *object = json_object();
    for (uint64_t n = rng_below(r, 3) ? 7 : rng_below(r, 7), i = 0; i < n; i++)
        json_object_set_new(object, names[i], random_value(r, 0));
    char *text = json_dumps(object, rng_below(r, 2) ? JSON_COMPACT : JSON_INDENT(1) | JSON_ENSURE_ASCII);
    json_decref(object);
    return text;
}

struct words {
    char text[4096];
    size_t len;
    struct rng *rng;
    bool rich;
};

static void put(struct words *w, const char *text)
{
    size_t n = strlen(text);
    assert_true(w->len + n < sizeof w->text);
    memcpy(w->text + w->len, text, n + 1);
    w->len += n;
}

static void put_space(struct words *w)
{
    static const char *const spaces[] = {" ", "", "  ", "\t", " ", " "};
    put(w, spaces[BELOW(w->rng, spaces)]);
}

static void put_literal(struct words *w)
{
    char text[64];
    if (rng_below(w->rng, 2)) {
        snprintf(text, sizeof text, rng_below(w->rng, 2) ? "%.17g" : "%g", numbers[BELOW(w->rng, numbers)]);
        put(w, text);
        return;
    }
    char quote[2] = {rng_below(w->rng, 2) ? '\'' : '"', 0};
    put(w, quote);
    for (const char *s = strings[BELOW(w->rng, strings)]; *s; s++) {
        char c[3] = {*s, 0, 0};
        if (*s == *quote || *s == '\\' || (*s == 'b' && !rng_below(w->rng, 8)))
            c[0] = '\\', c[1] = *s;
        else if (*s == '\n' && rng_below(w->rng, 2))
            c[0] = '\\', c[1] = 'n';
        put(w, c);
    }
    put(w, quote);
}

static void put_path(struct words *w)
{
    put(w, ".");
    put(w, names[rng_below(w->rng, rng_below(w->rng, 6) ? 7 : 8)]);
    while (w->rich && !rng_below(w->rng, 4)) {
        put(w, ".");
        put(w, names[BELOW(w->rng, names)]);
    }
    put(w, " "); /* or a minus would belong to it */
}

static void put_operand(struct words *w)
{
    switch (rng_below(w->rng, w->rich ? 13 : 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: put_path(w); break;
    case 5:
        put(w, "[");
        for (uint64_t n = rng_below(w->rng, 8) ? rng_below(w->rng, 5) : 16 + rng_below(w->rng, 8); n; n--) {
            put_literal(w);
            put(w, n > 1 ? "," : " ");
        }
        put(w, "]");
        break;
    case 6: put(w, "null "); break;
    case 10: put(w, rng_below(w->rng, 2) ? "true " : "false "); break;
    case 11:
        put(w, "exists(");
        put_path(w);
        put(w, ")");
        break;
    default: put_literal(w); break;
    }
    put_space(w);
}

static void put_expression(struct words *w, int depth)
{
    static const char *const ops[] = {"and ", "or ", "&&", "||", "==", "!=", "<", ">", "<=", ">=", "in ", "+", "- ", "*", "/", "%", "**", "==", "and ", "or "};
    uint64_t n = 1 + rng_below(w->rng, depth > 3 ? 1 : 3);
    for (uint64_t i = 0; i < n; i++) {
        if (i) {
            put(w, " ");
            put(w, ops[BELOW(w->rng, ops)]);
            put_space(w);
        }
        while (!rng_below(w->rng, 6))
            put(w, rng_below(w->rng, 2) ? "!" : "not ");
        if (depth < 4 && rng_below(w->rng, 2)) {
            put(w, "(");
            put_expression(w, depth + 1);
            put(w, ")");
        } else {
            put_operand(w);
        }
    }
}

static void test_against_naive(void **state)
{
    (void)state;
    enum { DOCUMENTS = 4 };
    const int expressions = run_quick() ? 4000 : 30000; /* half of them in each mode */
    struct rng rng;
    rng.state = run_seed();
    size_t yes = 0, asked = 0;
    for (int i = 0; i < expressions; i++) {
        struct words w = {.rng = &rng, .rich = i & 1};
        do {
            w.len = 0;
            put_expression(&w, 0);
        } while (w.len > 2000);
        struct vs_filter *f = compiled(w.text, w.len, w.rich ? VS_FILTER_RICH : VS_FILTER_VSIM);
        for (int k = 0; k < DOCUMENTS; k++) {
            char *json = rng_below(&rng, 30) ? random_document(&rng) : NULL;
            void *stored = json ? attr_new(json, strlen(json)) : NULL;
            struct filter_scratch scratch = {0};
            if (stored)
                assert_int_equal(attr_stored_bytes(stored, attr_bytes(stored)), attr_bytes(stored));
            bool mine = filter_match(f, stored, &scratch);
            if (mine != naive_filter(w.text, json, w.rich))
                fail_msg("mode %d, %s of %s: %d, naively %d", !w.rich, w.text, json ? json : "nothing", mine, !mine);
            yes += mine;
            asked++;
            filter_scratch_release(&scratch);
            mem_free(stored);
            free(json);
        }
        vs_filter_unref(f);
    }
    print_message("%zu of %zu match\n", yes, asked);
    assert_true(yes > asked / 20 && yes < asked - asked / 20);
}

/* ---- stored documents that are not what they should be ---- */

static void touch_all(const void *stored)
{
    static const char *const texts[] = {".a == 1 or 'x' in .b", ".o.a < 3 or exists(.o.o.c) or 1 in .a", ".c == .d"};
    for (size_t i = 0; i < 3; i++) {
        struct vs_filter *f = compiled(texts[i], strlen(texts[i]), VS_FILTER_RICH);
        struct filter_scratch scratch = {0};
        filter_match(f, stored, &scratch);
        filter_scratch_release(&scratch);
        vs_filter_unref(f);
    }
}

static void test_spoiled(void **state)
{
    (void)state;
    struct rng rng;
    rng.state = run_seed();
    size_t sound = 0;
    for (int i = 0; i < 2000; i++) {
        char *json = random_document(&rng);
        void *stored = attr_new(json, strlen(json));
        size_t bytes = attr_bytes(stored), n;
        for (n = 0; n < bytes; n += 1 + n / 4)
            assert_true(attr_stored_bytes(stored, n) == 0);
        for (int k = 0; k < 20; k++) {
            uint8_t *bad = malloc(bytes);
            memcpy(bad, stored, bytes);
            for (uint64_t flips = 1 + rng_below(&rng, 3); flips; flips--)
                bad[rng_below(&rng, bytes)] ^= (uint8_t)(1u << rng_below(&rng, 8));
            if ((n = attr_stored_bytes(bad, bytes)) > 0) {
                assert_true(n <= bytes);
                touch_all(bad);
                sound++;
            }
            free(bad);
        }
        mem_free(stored);
        free(json);
    }
    print_message("%zu spoiled ones are sound in themselves\n", sound);
}

/* ---- memory that is not there ---- */

static void test_no_memory(void **state)
{
    (void)state;
    static const char text[] = "(.a.b in [1,2,'x',1,2,3,4,5,6,7,8,9,0,1,2,3,null] or exists(.c)) and not .d == null and 1 + 2 * 3 ** 4 < .e";
    long n = 0;
    enum vs_status status;
    do {
        struct vs_filter *f = NULL;
        struct vs_filter_error error;
        mem_fault_after(++n);
        status = vs_filter_new(text, strlen(text), VS_FILTER_RICH, &f, &error);
        mem_fault_after(0);
        assert_true(status == VS_NOMEM ? f == NULL : status == VS_OK);
        vs_filter_unref(f);
    } while (status == VS_NOMEM);
    assert_true(n > 5);
    char json[2000];
    size_t len = (size_t)sprintf(json, "{");
    for (int i = 0; i < 50; i++)
        len += (size_t)sprintf(json + len, "%s\"n%d\":{\"i\":%d}", i ? "," : "", i, i);
    len += (size_t)sprintf(json + len, "}");
    void *stored;
    n = 0;
    do {
        mem_fault_after(++n);
        stored = attr_new(json, len);
        mem_fault_after(0);
    } while (!stored);
    assert_int_equal(n, 3); /* the block, and the names of more than a few fields, in order */
    mem_free(stored);
}

/* ---- speed, for the record ---- */

static void test_speed(void **state)
{
    (void)state;
    static const char json[] = "{\"year\":1994,\"genre\":\"drama\",\"rating\":8.9,\"director\":\"Somebody\",\"tags\":[\"a\",\"b\",\"c\"]}";
    static const char *const texts[] = {".year >= 1990", ".genre == 'drama'", ".year >= 1990 and .rating > 8",
                                        ".year >= 1980 and .genre in ['war','drama']", "'b' in .tags"};
    void *stored = attr_new(json, strlen(json));
    struct filter_scratch scratch = {0};
    for (size_t i = 0; i < 5; i++)
        for (int mode = VS_FILTER_RICH; mode <= VS_FILTER_VSIM; mode++) {
            enum { TIMES = 100000 };
            struct vs_filter *f = compiled(texts[i], strlen(texts[i]), mode);
            size_t yes = 0;
            uint64_t began = clock_mono_ns();
            for (int k = 0; k < TIMES; k++)
                yes += filter_match(f, stored, &scratch);
            double ns = (double)(clock_mono_ns() - began) / TIMES;
            print_message("%-45s %s %5.1f ns\n", texts[i], mode == VS_FILTER_RICH ? "rich" : "vsim", ns);
            assert_int_equal(yes, TIMES);
            vs_filter_unref(f);
        }
    uint64_t began = clock_mono_ns();
    for (int k = 0; k < 10000; k++)
        mem_free(attr_new(json, strlen(json)));
    print_message("storing %zu bytes as %zu: %.0f ns\n", strlen(json), attr_bytes(stored), (double)(clock_mono_ns() - began) / 10000);
    mem_free(stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements), cmocka_unit_test(test_without_fields), cmocka_unit_test(test_wrong), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_texts), cmocka_unit_test(test_against_naive), cmocka_unit_test(test_spoiled), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
