/* Splitting a line into arguments by the quoting rules that Redis uses for inline commands and
 * configuration files, and reading numbers out of arguments.
 *
 *   SET key "a\x00b\n" 'it\'s' ""      ->  SET | key | a NUL b LF | it's | (empty)
 *
 * A quote may open inside a word (a"b c" is one argument); a closing one must be followed by a
 * blank or the end. A NUL is a byte like any other. */
#include "resp/resp.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define NUMBER_TEXT_MAX 1024

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that the escape at *p (behind its backslash) stands for; *p moves behind it. */
static char unescape(const char **p, const char *end)
{
    char c = *(*p)++;
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    case 'x':
        if (end - *p >= 2 && hex_digit((*p)[0]) >= 0 && hex_digit((*p)[1]) >= 0) {
            c = (char)(hex_digit((*p)[0]) * 16 + hex_digit((*p)[1]));
            *p += 2;
        }
        return c;
    default: return c;
    }
}

/* The quoted part that begins at *p, behind its opening quote, to *out. False: it does not close,
 * or not before a blank. */
static bool split_quoted(const char **p, const char *end, char quote, char **out)
{
    while (*p < end) {
        char c = *(*p)++;
        if (c == quote)
            return *p == end || blank(**p);
        if (c == '\\' && *p < end && quote == '"')
            c = unescape(p, end);
        else if (c == '\\' && *p < end && **p == '\'')
            c = *(*p)++;
        *(*out)++ = c;
    }
    return false;
}

static bool split_word(const char **p, const char *end, char **out)
{
    while (*p < end && !blank(**p)) {
        char c = *(*p)++;
        if (c == '"' || c == '\'')
            return split_quoted(p, end, c, out);
        *(*out)++ = c;
    }
    return true;
}

long resp_split_line(const char *line, size_t len, struct buf *store, struct resp_arg **argv,
                     size_t *argv_cap)
{
    /* What is unescaped is never longer than the line, so the slices stay where they are. */
    char *out = buf_reserve(store, len + 1);
    const char *p = line, *end = line + len;
    size_t argc = 0;
    for (;;) {
        while (p < end && blank(*p))
            p++;
        if (p == end)
            break;
        char *begin = out;
        if (!split_word(&p, end, &out))
            return -1;
        if (argc == *argv_cap) {
            size_t cap = *argv_cap ? *argv_cap * 2 : 16;
            *argv = mem_realloc(*argv, cap * sizeof **argv);
            *argv_cap = cap;
        }
        (*argv)[argc++] = (struct resp_arg){ begin, (size_t)(out - begin) };
    }
    store->len = (size_t)(out - store->data);
    return (long)argc;
}

bool resp_is(const struct resp_arg *a, const char *word)
{
    size_t len = strlen(word);
    return a->len == len && strncasecmp(a->data, word, len) == 0;
}

bool resp_to_int(const struct resp_arg *a, long long *out)
{
    const char *p = a->data, *end = p + a->len;
    bool negative = a->len > 1 && *p == '-';
    unsigned long long value = 0;
    if (negative)
        p++;
    if (p == end || (*p == '0' && (end - p > 1 || negative)))
        return false;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    if (value > (unsigned long long)INT64_MAX + negative)
        return false;
    *out = negative ? (long long)(0 - value) : (long long)value;
    return true;
}

/* Plain decimals of up to 15 digits and 22 places: both the digits and the power of ten are exact
 * doubles then, so that one division rounds correctly (Clinger, "How to read floating point numbers
 * accurately", 1990). False: not of that form. */
static bool read_short_decimal(const char *p, const char *end, double *out)
{
    static const double power[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    bool negative = p < end && *p == '-';
    uint64_t digits = 0;
    int places = -1, count = 0;
    for (p += negative; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (*p == '.' && places < 0) {
            places = 0;
            continue;
        }
        if (digit > 9 || digits >= 100000000000000ull || places == 22)
            return false;
        digits = digits * 10 + digit;
        count++;
        places += places >= 0;
    }
    if (!count)
        return false;
    double value = (double)digits / power[places > 0 ? places : 0];
    *out = negative ? -value : value;
    return true;
}

bool resp_to_double(const struct resp_arg *a, double *out)
{
    char text[NUMBER_TEXT_MAX];
    if (read_short_decimal(a->data, a->data + a->len, out))
        return true;
    if (a->len == 0 || a->len >= sizeof text || blank(a->data[0]))
        return false;
    memcpy(text, a->data, a->len);
    text[a->len] = '\0';
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end != text + a->len || isnan(value))
        return false;
    if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
        return false;
    *out = value;
    return true;
}
