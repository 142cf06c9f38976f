/* tsan: skip (one thread) */
/* What the reference of Redis' vector sets says about FILTER, statement by statement, in VSIM's mode: each with expressions that show
 * it, asked of the engine's evaluator and of the naive one. (test_filter.c compares the two on random expressions; what differs on
 * purpose is listed in docs/vector-sets.md.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lib/naive_filter.h"
#include "store/filter.h"

#define DOC                                                                                                                         \
    "{\"year\":1984,\"rating\":8.5,\"genre\":\"action\",\"zero\":0,\"empty\":\"\",\"five\":\"5\",\"yes\":true,\"no\":false,\"nil\":null," \
    "\"tags\":[\"a\",\"b\",7],\"mixed\":[1,{\"k\":1}],\"deep\":[[1]],\"obj\":{\"q\":1,\"year\":1984},\"a-b\":3,\"_x9\":4,\"none\":[]}"

enum answer { NO, YES, ERROR };

static const struct statement {
    const char *says;
    const char *expression;
    enum answer answer;
} statements[] = {
    {"comparisons", ".year > 1983 and .year >= 1984 and .year < 1985 and .year <= 1984 and .year == 1984 and .year != 1", YES},
    {"a range", ".year >= 1980 and .year < 1990", YES},
    {"a range that it is outside of", ".year >= 1990 and .year < 2000", NO},
    {"and, &&", ".year == 1984 && .rating == 8.5 and .genre == 'action'", YES},
    {"or, ||", ".year == 1 || .rating == 1 or .genre == 'action'", YES},
    {"not, !", "!(.year == 1) and not (.rating == 1)", YES},
    {"arithmetic", "(.year - 2000) ** 2 == 256 and .rating / 2 > 4 and .year % 4 == 0 and .year + 1 == 1985 and .rating * 2 == 17", YES},
    {"strings in single or double quotes", ".genre == 'action' and .genre == \"action\"", YES},
    /* precedence */
    {"parentheses first", "(2 + 3) * 4 == 20", YES},
    {"not binds more tightly than **", "!2 ** 0 == 1", YES},
    {"not binds more tightly than a comparison", "not .zero == 1", YES},
    {"** binds more tightly than *", "2 * 3 ** 2 == 18", YES},
    {"** is right associative", "2 ** 3 ** 2 == 512", YES},
    {"* / % bind more tightly than + -", "1 + 2 * 3 == 7 and 10 - 6 / 2 == 7 and 5 + 7 % 4 == 8", YES},
    {"+ - bind more tightly than comparisons", "1 + 1 > 1", YES},
    {"comparisons and in are of one level, from the left", "3 > 2 > 1", NO},
    {"comparisons and in are of one level, from the left", "2 in [1,2] == 1", YES},
    {"comparisons bind more tightly than and", "1 == 1 and 2 == 2", YES},
    {"and binds more tightly than or", "1 or 0 and 0", YES},
    {"and binds more tightly than or", "0 && 0 || 1", YES},
    /* words and literals */
    {"words in lower case only", ".year AND 1", ERROR},
    {"words in lower case only", "NOT .year", ERROR},
    {"words in lower case only", ".year IN [1]", ERROR},
    {"words in lower case only", ".year OR 1", ERROR},
    {"numbers with an exponent", "1e0 == 1 and 1.5e2 == 150 and 1E-1 == 0.1", YES},
    {"a minus in front of a number, at the start", "-1 < 0", YES},
    {"a minus in front of a number, behind an operator", "5 - -3 == 8 and 3 * -2 == -6 and (-1) < 0 and -1 in [-1]", YES},
    {"a minus elsewhere is an operator", "5-3 == 2", YES},
    {"escapes in strings", "'a\\'b' == \"a'b\" and 'x\\ny' == 'x\ny' and 'a\\\\b' != 'ab'", YES},
    {"null", ".nil == null", YES},
    {"tuples of numbers and strings", ".genre in [1, \"action\", 'drama', -2]", YES},
    {"tuples are flat", "1 in [[1]]", ERROR},
    {"tuples hold no null", "1 in [null]", ERROR},
    {"tuples hold no selectors", "1 in [.year]", ERROR},
    {"no true", "true", ERROR},
    {"no false", "false == 0", ERROR},
    {"no functions", "len(.genre) == 6", ERROR},
    /* selectors */
    {"names of letters, digits, _ and -", "._x9 == 4 and .a-b == 3", YES},
    {".a-b is one selector", ".year-3 == 1981", NO},
    {"a difference has a space", ".year -3 == 1981 and .year - 3 == 1981", YES},
    {"top-level keys only", ".obj.q == 1", ERROR},
    {"top-level keys only", ".movie.year", ERROR},
    {"top-level keys only", ".q", NO},
    /* what makes the whole false */
    {"a field that is missing: false", ".absent == 1", NO},
    {"a field that is missing: false within or", ".absent or .year == 1984", NO},
    {"a field that is missing: false within or, behind what is true", ".year == 1984 or .absent", NO},
    {"a field that is missing: false within not", "not .absent", NO},
    {"a field that is missing: false in !=", ".absent != 1", NO},
    {"an object: false", ".obj", NO},
    {"an object: false within or", "1 or .obj", NO},
    {"an object: false within not", "not .obj", NO},
    {"an array with other things than plain ones: false", "1 in .mixed", NO},
    {"an array with other things than plain ones: false within not", "not (2 in .deep)", NO},
    /* values of JSON */
    {"booleans are 1 and 0", ".yes == 1 and .no == 0 and .yes + .yes == 2", YES},
    {"arrays are tuples", "'a' in .tags and 7 in .tags", YES},
    {"arrays are tuples", "'c' in .tags", NO},
    {"an empty array has nothing", "0 in .none", NO},
    /* equality */
    {"== of strings: their bytes", ".genre == 'Action'", NO},
    {"== of numbers", ".rating == 8.50", YES},
    {"null equals null alone", ".zero == null or .empty == null or .no == null", NO},
    {"null equals null alone", "null != 0 and null != ''", YES},
    {"== of a string and a number: as numbers", ".five == 5 and '8.5' == .rating", YES},
    {"a string that is no number is 0", ".genre == 0 and .empty == 0", YES},
    {"arrays are equal, as 0 and 0", ".tags == .none and .tags == 0", YES},
    /* order */
    {"< > by numbers: strings are 0", "\"abc\" > \"a\"", NO},
    {"< > by numbers: strings are 0", "'a' < 'abc'", NO},
    {"< > by numbers", ".five > 4 and .five < 6", YES},
    /* in */
    {"in a tuple, by ==", "5 in [1, 2, 3]", NO},
    {"in a tuple, by ==", "\"foo\" in [1, \"foo\", \"bar\"] and .five in [5] and 5 in ['5']", YES},
    {"in a string: a part of it", "\"foo\" in \"barfoobar\" and 'act' in .genre", YES},
    {"in a string: a part of it", "\"zap\" in \"foobar\"", NO},
    {"else in is 0", "1 in 5 or 1 in '12345' or 'a' in null", NO},
    {"not in is written not (in)", "not (.genre in ['war'])", YES},
    /* results */
    {"a division by 0 is infinite", "1 / 0 > 1e308 and -1 / 0 < -1e308", YES},
    {"0 is false", ".zero", NO},
    {"an empty string is false", ".empty", NO},
    {"null is false", ".nil", NO},
    {"everything else is true", "1 and -1 and '0' and .tags and .none and .genre and 0.1", YES},
    {"!! and not not", "!!.year and not not .year and !not .year", YES},
    {"and, or and not give 1 or 0", "('a' and 'b') == 1 and (0 or 'b') == 1 and !'a' == 0", YES},
};

static bool matches(const struct vs_filter *f, const char *json)
{
    struct filter_scratch scratch = {0};
    void *stored = json ? attr_new(json, strlen(json)) : NULL;
    bool yes = filter_match(f, stored, &scratch);
    filter_scratch_release(&scratch);
    mem_free(stored);
    return yes;
}

static void test_statements(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        const struct statement *s = &statements[i];
        struct vs_filter *f = NULL;
        struct vs_filter_error error;
        enum vs_status status = vs_filter_new(s->expression, strlen(s->expression), VS_FILTER_VSIM, &f, &error);
        if ((status == VS_INVALID) != (s->answer == ERROR) || (status != VS_OK && s->answer != ERROR))
            fail_msg("%s: %s: status %d", s->says, s->expression, status);
        if (s->answer != ERROR && matches(f, DOC) != (s->answer == YES))
            fail_msg("%s: %s: not %d", s->says, s->expression, s->answer);
        if (s->answer != ERROR && naive_filter(s->expression, DOC, false) != (s->answer == YES))
            fail_msg("%s: %s: naively not %d", s->says, s->expression, s->answer);
        vs_filter_unref(f);
    }
}

/* A constant matches the elements that have attributes, whatever these are; a selector needs JSON. */
static void test_elements(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *json;
        bool yes;
    } cases[] = {
        {"1", NULL, false}, {"not .year", NULL, false}, {"1", "{}", true}, {"1", "not json", true}, {"0", "{}", false},
        {".year == 1984", "{\"year\":1984", false}, {".year or 1", "not json", false}, {"1 or .year", "[1984]", false},
        {".year == 1984", "{\"year\":1984}", true}, {".year == 1984", " { \"year\" : 1984 } ", true}, {".year", "{\"Year\":1984}", false},
        {".s == 'a\"b\\\\c\nd\re\tf'", "{\"s\":\"a\\\"b\\\\c\\nd\\re\\tf\"}", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vs_filter *f;
        struct vs_filter_error error;
        assert_int_equal(vs_filter_new(cases[i].expression, strlen(cases[i].expression), VS_FILTER_VSIM, &f, &error), VS_OK);
        if (matches(f, cases[i].json) != cases[i].yes)
            fail_msg("%s of %s", cases[i].expression, cases[i].json ? cases[i].json : "nothing");
        if (naive_filter(cases[i].expression, cases[i].json, false) != cases[i].yes)
            fail_msg("naively %s of %s", cases[i].expression, cases[i].json ? cases[i].json : "nothing");
        vs_filter_unref(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_statements), cmocka_unit_test(test_elements) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
