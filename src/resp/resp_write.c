/* Writing replies, in the protocol version that the client speaks.
 *
 * Doubles take the time here: a search returns one a result. For the usual magnitudes the 17, 16 or
 * 15 digits that read back as the same double are found in exact 128-bit integers instead of by
 * printf and strtod, ten times slower:
 *
 *   d = m * 2^-k     digits(p) = round(m * 10^p / 2^k)
 *   they read back as d when |digits * 2^k - m * 10^p| < 10^p / 2
 *
 * that is, when they differ from d by less than half a unit in its last place. Fewest digits first;
 * zeros at the end are dropped. */
#include "resp/resp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;

/* Digits of n, right-aligned before `end`; where they begin. */
static char *format_unsigned(unsigned long long n, char *end)
{
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return end;
}

static char *format_int(long long n, char *end)
{
    char *begin = format_unsigned(n < 0 ? 0 - (unsigned long long)n : (unsigned long long)n, end);
    if (n < 0)
        *--begin = '-';
    return begin;
}

/* mark, number, CR LF */
static void header(struct resp_writer *w, char mark, long long n)
{
    char text[32], *end = text + sizeof text;
    *--end = '\n';
    *--end = '\r';
    char *begin = format_int(n, end);
    *--begin = mark;
    buf_append(w->out, begin, (size_t)(text + sizeof text - begin));
}

void resp_status(struct resp_writer *w, const char *text)
{
    buf_append(w->out, "+", 1);
    buf_puts(w->out, text);
    buf_append(w->out, "\r\n", 2);
}

void resp_error(struct resp_writer *w, const char *fmt, ...)
{
    buf_append(w->out, "-", 1);
    size_t begin = w->out->len;
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (len > 0) {
        char *at = buf_reserve(w->out, (size_t)len + 1);
        vsnprintf(at, (size_t)len + 1, fmt, ap);
        w->out->len += (size_t)len;
    }
    va_end(ap);
    for (size_t i = begin; i < w->out->len; i++) {
        if (w->out->data[i] == '\r' || w->out->data[i] == '\n')
            w->out->data[i] = ' ';
    }
    buf_append(w->out, "\r\n", 2);
}

void resp_int(struct resp_writer *w, long long n)
{
    header(w, ':', n);
}

void resp_bulk(struct resp_writer *w, const void *data, size_t len)
{
    header(w, '$', (long long)len);
    char *at = buf_try_reserve(w->out, len + 2);
    if (!at) {
        w->lost = true;
        return;
    }
    if (len)
        memcpy(at, data, len);
    memcpy(at + len, "\r\n", 2);
    w->out->len += len + 2;
}

void resp_raw(struct resp_writer *w, const void *data, size_t len)
{
    if (!buf_try_append(w->out, data, len))
        w->lost = true;
}

void resp_bulk_text(struct resp_writer *w, const char *text)
{
    resp_bulk(w, text, strlen(text));
}

void resp_null(struct resp_writer *w)
{
    buf_puts(w->out, w->version == 3 ? "_\r\n" : "$-1\r\n");
}

void resp_null_array(struct resp_writer *w)
{
    buf_puts(w->out, w->version == 3 ? "_\r\n" : "*-1\r\n");
}

void resp_array(struct resp_writer *w, size_t n)
{
    header(w, '*', (long long)n);
}

void resp_map(struct resp_writer *w, size_t pairs)
{
    if (w->version == 3)
        header(w, '%', (long long)pairs);
    else
        header(w, '*', (long long)(pairs * 2));
}

void resp_set(struct resp_writer *w, size_t n)
{
    header(w, w->version == 3 ? '~' : '*', (long long)n);
}

void resp_push(struct resp_writer *w, size_t n)
{
    header(w, w->version == 3 ? '>' : '*', (long long)n);
}

void resp_bool(struct resp_writer *w, bool b)
{
    if (w->version == 3)
        buf_append(w->out, b ? "#t\r\n" : "#f\r\n", 4);
    else
        header(w, ':', b);
}

static u128 power10(int n)
{
    u128 power = 1;
    for (; n > 0; n--)
        power *= 10;
    return power;
}

/* Plain decimals for 1e-4 <= d < 2^53, d no integer: the length, or 0 where the arithmetic above
 * does not apply. */
static size_t format_fraction(double d, char *out)
{
    int exponent;
    uint64_t m = (uint64_t)(frexp(d, &exponent) * 0x1p53);
    int k = 53 - exponent;
    /* The neighbour below a power of two is nearer than half a unit: left to printf. */
    if (k < 1 || m == (uint64_t)1 << 52)
        return 0;
    int first = -4; /* decimal exponent of the first digit */
    static const double bound[] = { 1e-3, 1e-2, 1e-1, 1e0,  1e1,  1e2,  1e3,  1e4,  1e5, 1e6,
                                    1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
    for (size_t i = 0; i < sizeof bound / sizeof *bound && d >= bound[i]; i++)
        first++;
    uint64_t digits = 0;
    int places = 0;
    for (int count = 15; count <= 17; count++) {
        places = count - 1 - first;
        if (places < 0)
            continue;
        u128 scale = power10(places), exact = (u128)m * scale, half = (u128)1 << (k - 1);
        u128 rounded = (exact + half) >> k;
        if ((rounded << k) - half == exact) /* a tie goes to the even digit, as in printf */
            rounded &= ~(u128)1;
        u128 back = rounded << k, off = back > exact ? back - exact : exact - back;
        digits = (uint64_t)rounded;
        if (off * 2 < scale)
            break;
    }
    for (; places > 0 && digits % 10 == 0; places--)
        digits /= 10;
    char text[48], *end = text + sizeof text, *p = format_unsigned(digits, end);
    while (end - p <= places)
        *--p = '0';
    size_t whole = (size_t)(end - p) - (size_t)places;
    memcpy(out, p, whole);
    if (!places)
        return whole;
    out[whole] = '.';
    memcpy(out + whole + 1, p + whole, (size_t)places);
    return whole + 1 + (size_t)places;
}

size_t resp_format_double(double d, char out[RESP_DOUBLE_MAX])
{
    size_t sign = 0, len = 0;
    if (isnan(d)) {
        memcpy(out, "nan", 3);
        return 3;
    }
    if (signbit(d)) {
        out[sign++] = '-';
        d = -d;
    }
    if (isinf(d)) {
        memcpy(out + sign, "inf", 3);
        return sign + 3;
    }
    if (d < 0x1p53 && d == (double)(uint64_t)d) {
        char text[24], *end = text + sizeof text, *begin = format_unsigned((uint64_t)d, end);
        memcpy(out + sign, begin, (size_t)(end - begin));
        return sign + (size_t)(end - begin);
    }
    if (d >= 1e-4 && d < 0x1p53 && (len = format_fraction(d, out + sign)) > 0)
        return sign + len;
    /* Any decimal of 15 digits is told apart by a normal double, so that fewer need not be tried;
     * subnormals have fewer. */
    for (int digits = fpclassify(d) == FP_SUBNORMAL ? 1 : 15; digits <= 17; digits++) {
        len = (size_t)snprintf(out + sign, RESP_DOUBLE_MAX - sign, "%.*g", digits, d);
        if (strtod(out + sign, NULL) == d)
            break;
    }
    return sign + len;
}

void resp_double(struct resp_writer *w, double d)
{
    char text[RESP_DOUBLE_MAX];
    size_t len = resp_format_double(d, text);
    if (w->version != 3) {
        resp_bulk(w, text, len);
        return;
    }
    char *at = buf_reserve(w->out, len + 3);
    at[0] = ',';
    memcpy(at + 1, text, len);
    memcpy(at + 1 + len, "\r\n", 2);
    w->out->len += len + 3;
}

void resp_verbatim(struct resp_writer *w, const char *format3, const void *data, size_t len)
{
    if (w->version != 3) {
        resp_bulk(w, data, len);
        return;
    }
    header(w, '=', (long long)len + 4);
    buf_append(w->out, format3, 3);
    buf_append(w->out, ":", 1);
    resp_raw(w, data, len);
    buf_append(w->out, "\r\n", 2);
}
