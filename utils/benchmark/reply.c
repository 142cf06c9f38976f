/* See reply.h. A reply is walked token by token with a count of what is still to come: no
 * recursion, so no depth of nesting can hurt. */
#include "benchmark/reply.h"

#include <string.h>

#define PENDING_MAX ((int64_t)1 << 32)

struct token {
    char type;
    int64_t value; /* the number after the type, where one stands there */
    const char *line;
    size_t line_len;
    size_t bytes; /* of the whole token: header, and payload of a bulk */
};

/* The number in a line, -1 for null, -2 for nonsense. */
static int64_t number(const char *p, size_t len)
{
    int64_t value = 0;

    if (len == 2 && p[0] == '-' && p[1] == '1')
        return -1;
    if (len == 0 || len > 10)
        return -2;
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -2;
        value = value * 10 + (p[i] - '0');
    }
    return value;
}

/* 1: a whole token; 0: more bytes are needed; -1: nonsense. */
static int read_token(const char *p, size_t len, struct token *out)
{
    const char *end;

    if (len == 0)
        return 0;
    if (!strchr("+-:,#_($=!*~>%|", p[0]))
        return -1;
    end = memchr(p, '\r', len);
    if (!end || (size_t)(end - p) + 2 > len)
        return len > (64u << 10) && !end ? -1 : 0;
    if (end[1] != '\n')
        return -1;
    *out = (struct token){.type = p[0],
                          .line = p + 1,
                          .line_len = (size_t)(end - p) - 1,
                          .bytes = (size_t)(end - p) + 2};
    if (!strchr("$=!*~>%|", p[0]))
        return 1;
    out->value = number(out->line, out->line_len);
    if (out->value == -2)
        return -1;
    if (strchr("$=!", p[0]) && out->value >= 0) {
        out->line = p + out->bytes;
        out->line_len = (size_t)out->value;
        out->bytes += (size_t)out->value + 2;
        if (out->bytes > len)
            return 0;
    }
    return 1;
}

/* Replies that must follow before this one is whole. */
static int64_t children(const struct token *t)
{
    if (t->value <= 0 || !strchr("*~>%|", t->type))
        return 0;
    return t->type == '%' || t->type == '|' ? 2 * t->value : t->value;
}

long reply_length(const char *p, size_t len)
{
    int64_t pending = 1;
    size_t at = 0;

    while (pending > 0) {
        struct token t;
        int got = read_token(p + at, len - at, &t);

        if (got <= 0)
            return got;
        at += t.bytes;
        pending += children(&t) - (t.type == '|' ? 0 : 1);
        if (pending > PENDING_MAX)
            return -1;
    }
    return (long)at;
}

long reply_rows(const char *p, size_t len, int32_t *rows, size_t max)
{
    struct token t;
    size_t at, n;

    if (read_token(p, len, &t) != 1 || t.type != '*' || t.value < 0)
        return -1;
    n = (size_t)t.value < max ? (size_t)t.value : max;
    at = t.bytes;
    for (size_t i = 0; i < n; i++) {
        if (read_token(p + at, len - at, &t) != 1 || t.type != '$' || t.value < 0 ||
            !id_parse(t.line, t.line_len, &rows[i]))
            return -1;
        at += t.bytes;
    }
    return (long)n;
}

bool reply_error(const char *p, size_t len, const char **text, size_t *text_len)
{
    int64_t pending = 1;
    size_t at = 0;

    if (len && p[0] != '*' && p[0] != '-')
        return false;
    while (pending > 0) {
        struct token t;

        if (read_token(p + at, len - at, &t) != 1)
            return false;
        if (t.type == '-' || t.type == '!') {
            *text = t.line;
            *text_len = t.line_len;
            return true;
        }
        at += t.bytes;
        pending += children(&t) - 1;
    }
    return false;
}

void id_format(uint32_t row, char out[ID_BYTES + 1])
{
    memcpy(out, "id", 2);
    for (int i = ID_BYTES - 1; i >= 2; i--, row /= 10)
        out[i] = (char)('0' + row % 10);
    out[ID_BYTES] = 0;
}

bool id_parse(const void *id, size_t len, int32_t *row)
{
    const char *p = id;
    uint64_t value = 0;

    if (len != ID_BYTES || p[0] != 'i' || p[1] != 'd')
        return false;
    for (size_t i = 2; i < ID_BYTES; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(p[i] - '0');
    }
    if (value > INT32_MAX)
        return false;
    *row = (int32_t)value;
    return true;
}
