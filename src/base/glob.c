/* Matching with one step back: when the text stops matching behind a *, only the last * has to take
 * one byte more, for whatever an earlier one could take instead leaves less to the pattern that
 * follows. So two positions are all the memory that is needed, and a*a*a*a*b costs pattern times
 * text where a recursive matcher takes exponential time. */
#include "base/glob.h"

static unsigned char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

static bool same(char a, char b, bool fold)
{
    return fold ? lower(a) == lower(b) : a == b;
}

static bool in_range(char low, char high, char c, bool fold)
{
    unsigned char a = fold ? lower(low) : (unsigned char)low,
                  b = fold ? lower(high) : (unsigned char)high;
    unsigned char x = fold ? lower(c) : (unsigned char)c;
    return a <= b ? x >= a && x <= b : x >= b && x <= a;
}

/* Does the set behind the `[` at p hold c? *p moves behind its `]`, or to the end where there is
 * none. A `]` in first place ends the set. */
static bool in_set(const char **p, const char *end, char c, bool fold)
{
    const char *at = *p;
    bool negated = at < end && *at == '^', found = false;
    at += negated;
    while (at < end && *at != ']') {
        if (*at == '\\' && end - at >= 2) {
            found |= same(at[1], c, fold);
            at += 2;
        } else if (end - at >= 3 && at[1] == '-') {
            found |= in_range(at[0], at[2], c, fold);
            at += 3;
        } else {
            found |= same(*at, c, fold);
            at++;
        }
    }
    *p = at < end ? at + 1 : end;
    return found != negated;
}

/* Does the one-byte item of the pattern at *p match c? *p moves behind the item. */
static bool match_one(const char **p, const char *end, char c, bool fold)
{
    char item = *(*p)++;
    if (item == '?')
        return true;
    if (item == '[')
        return in_set(p, end, c, fold);
    if (item == '\\' && *p < end)
        item = *(*p)++;
    return same(item, c, fold);
}

bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                bool fold)
{
    const char *p = pattern, *p_end = pattern + pattern_len, *t = text, *t_end = text + text_len;
    const char *star_p = NULL, *star_t = NULL;
    while (t < t_end) {
        if (p < p_end && *p == '*') {
            star_p = ++p;
            star_t = t;
            if (p == p_end)
                return true;
            continue;
        }
        if (p < p_end && match_one(&p, p_end, *t, fold)) {
            t++;
            continue;
        }
        if (!star_p)
            return false;
        p = star_p;
        t = ++star_t;
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}
