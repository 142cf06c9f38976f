/* Glob patterns against a table of cases and against a naive recursive twin. tsan: skip (one
 * thread). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/glob.h"
#include "base/rng.h"
#include "lib/run.h"

static bool match(const char *pattern, const char *text, bool fold)
{
    return glob_match(pattern, strlen(pattern), text, strlen(text), fold);
}

static void test_cases(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool want;
    } cases[] = {
        { "", "", true },
        { "", "a", false },
        { "*", "", true },
        { "*", "anything", true },
        { "?", "", false },
        { "?", "a", true },
        { "a*", "abc", true },
        { "*c", "abc", true },
        { "a*c", "abbbc", true },
        { "a*c", "abbb", false },
        { "a**c", "ac", true },
        { "h?llo", "hello", true },
        { "h[ae]llo", "hallo", true },
        { "h[ae]llo", "hillo", false },
        { "h[^e]llo", "hello", false },
        { "h[^e]llo", "hbllo", true },
        { "[a-c]", "b", true },
        { "[c-a]", "b", true },
        { "[a-c]", "d", false },
        { "\\*", "*", true },
        { "\\*", "a", false },
        { "a\\", "a\\", true },
        { "[\\]]", "]", true },
        { "[]a]", "a", false },
        { "[^]", "x", true },
        { "[", "[", false },
        { "[a", "a", true },
        { "[a-", "-", true },
        { "[^a", "b", true },
        { "*[0-9]*", "ab7c", true },
        { "*.conf", "a.conf.conf", true },
        { "a*b*c", "aXbYc", true },
        { "a*b*c", "acb", false },
        { "max*", "maxclients", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (match(cases[i].pattern, cases[i].text, false) != cases[i].want)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
    }
    assert_true(match("MAX*", "maxclients", true));
    assert_false(match("MAX*", "maxclients", false));
    assert_true(match("[A-C]x", "bX", true));
    assert_true(glob_match("a\0b", 3, "a\0b", 3, false));
    assert_false(glob_match("a\0b", 3, "a\0c", 3, false));
}

/* The patterns on which a backtracking matcher never ends. */
static void test_no_blowup(void **state)
{
    (void)state;
    char text[20001], pattern[2002];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        pattern[i] = i % 2 ? '*' : 'a';
    pattern[sizeof pattern - 2] = 'b';
    pattern[sizeof pattern - 1] = '\0';
    assert_false(match(pattern, text, false));
    assert_false(match("a*a*a*a*a*a*a*a*a*a*b", text, false));
}

/* Tries everything; the sets are read by the same rules, in other words. */
static bool naive(const char *p, size_t pn, const char *t, size_t tn)
{
    if (pn == 0)
        return tn == 0;
    if (*p == '*')
        return naive(p + 1, pn - 1, t, tn) || (tn && naive(p, pn, t + 1, tn - 1));
    if (tn == 0)
        return false;
    if (*p == '?')
        return naive(p + 1, pn - 1, t + 1, tn - 1);
    if (*p == '[') {
        bool inside[256] = { false };
        size_t i = 1;
        bool negated = pn > 1 && p[1] == '^';
        i += negated;
        while (i < pn && p[i] != ']') {
            int low = (unsigned char)p[i], high = low;
            if (p[i] == '\\' && i + 1 < pn) {
                low = high = (unsigned char)p[i + 1];
                i += 2;
            } else if (i + 2 < pn && p[i + 1] == '-') {
                high = (unsigned char)p[i + 2];
                i += 3;
            } else {
                i++;
            }
            for (int c = 0; c < 256; c++)
                inside[c] |= (c >= low && c <= high) || (c >= high && c <= low);
        }
        i += i < pn;
        return inside[(unsigned char)*t] != negated && naive(p + i, pn - i, t + 1, tn - 1);
    }
    size_t step = *p == '\\' && pn > 1 ? 2 : 1;
    return p[step - 1] == *t && naive(p + step, pn - step, t + 1, tn - 1);
}

static void test_random(void **state)
{
    (void)state;
    struct rng rng = {.state = run_seed()};
    static const char alphabet[] = "aab**?[]^-\\c";
    size_t matched = 0;
    for (int round = 0; round < 300000; round++) {
        char pattern[12], text[10];
        size_t pn = rng_below(&rng, sizeof pattern), tn = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < pn; i++)
            pattern[i] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        for (size_t i = 0; i < tn; i++)
            text[i] = rng_below(&rng, 4) ? "abc"[rng_below(&rng, 3)]
                                         : alphabet[rng_below(&rng, sizeof alphabet - 1)];
        bool want = naive(pattern, pn, text, tn);
        matched += want;
        if (glob_match(pattern, pn, text, tn, false) != want)
            fail_msg("'%.*s' and '%.*s'", (int)pn, pattern, (int)tn, text);
    }
    assert_true(matched > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_no_blowup),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
