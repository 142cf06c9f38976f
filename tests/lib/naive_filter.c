#include "lib/naive_filter.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { MISSING, NOTHING, NUMBER, STRING, LIST, OBJECT, OTHER };
struct value {
    enum kind kind;
    double number;
    const char *text;
    size_t n;               /* of text, of items */
    struct value *items;
};

struct block {
    struct block *next;
    max_align_t bytes[];
};

struct state {
    const char *at;
    json_t *root;
    bool rich, spoiled;     /* VSIM: a field was missing */
    struct block *blocks;
};

static void *take(struct state *s, size_t bytes)
{
    struct block *b = malloc(sizeof *b + bytes + 1);
    b->next = s->blocks;
    s->blocks = b;
    return b->bytes;
}

static struct value number(double x)
{
    return (struct value){ .kind = NUMBER, .number = x };
}

/* ---- meaning ---- */

static double as_number(const struct state *s, struct value v)
{
    if (v.kind == NUMBER)
        return v.number;
    if (v.kind == STRING && v.n > 0 && v.n < 256 && !memchr(v.text, 0, v.n)) {
        char text[256], *end;
        memcpy(text, v.text, v.n);
        text[v.n] = 0;
        double x = strtod(text, &end);
        if (!*end)
            return x;
    }
    return s->rich ? NAN : 0;
}

static bool as_bool(const struct state *s, struct value v)
{
    if (v.kind == NUMBER)
        return s->rich && isnan(v.number) ? false : v.number != 0;
    return v.kind == STRING ? v.n > 0 : v.kind != MISSING && v.kind != NOTHING;
}

static bool equals(const struct state *s, struct value a, struct value b)
{
    if (s->rich && (a.kind == LIST || b.kind == LIST)) {
        if (a.kind != b.kind || a.n != b.n)
            return false;
        for (size_t i = 0; i < a.n; i++)
            if (!equals(s, a.items[i], b.items[i]))
                return false;
        return true;
    }
    if (a.kind == OTHER || b.kind == OTHER)
        return false;
    if (a.kind == STRING && b.kind == STRING)
        return a.n == b.n && !memcmp(a.text, b.text, a.n);
    if (a.kind == NOTHING && b.kind == NOTHING)
        return true;
    if (a.kind == NOTHING || b.kind == NOTHING)
        return false;
    return as_number(s, a) == as_number(s, b);
}

static bool within(const struct state *s, struct value a, struct value b)
{
    if (b.kind == LIST) {
        for (size_t i = 0; i < b.n; i++)
            if (equals(s, a, b.items[i]))
                return true;
        return false;
    }
    if (a.kind != STRING || b.kind != STRING)
        return false;
    for (size_t i = 0; i + a.n <= b.n; i++)
        if (!memcmp(b.text + i, a.text, a.n))
            return true;
    return false;
}

static int byte_order(struct value a, struct value b)
{
    for (size_t i = 0; i < a.n && i < b.n; i++)
        if (a.text[i] != b.text[i])
            return (unsigned char)a.text[i] < (unsigned char)b.text[i] ? -1 : 1;
    return a.n < b.n ? -1 : a.n > b.n;
}

static bool comparison(const struct state *s, const char *op, struct value a, struct value b)
{
    if (s->rich && (a.kind == MISSING || b.kind == MISSING || a.kind == OBJECT || b.kind == OBJECT))
        return false;
    if (!strcmp(op, "=="))
        return equals(s, a, b);
    if (!strcmp(op, "!="))
        return !equals(s, a, b);
    if (!strcmp(op, "in"))
        return within(s, a, b);
    double x = as_number(s, a), y = as_number(s, b);
    if (s->rich && a.kind == STRING && b.kind == STRING) {
        x = byte_order(a, b);
        y = 0;
    }
    if (!strcmp(op, "<"))
        return x < y;
    if (!strcmp(op, "<="))
        return x <= y;
    return !strcmp(op, ">") ? x > y : x >= y;
}

static struct value arithmetic(const struct state *s, const char *op, struct value a, struct value b)
{
    if (s->rich && (a.kind == MISSING || b.kind == MISSING || a.kind == OBJECT || b.kind == OBJECT))
        return (struct value){ .kind = MISSING };
    double x = as_number(s, a), y = as_number(s, b);
    if (!strcmp(op, "**"))
        return number(pow(x, y));
    switch (*op) {
    case '+': return number(x + y);
    case '-': return number(x - y);
    case '*': return number(x * y);
    case '/': return number(x / y);
    default: return number(fmod(x, y));
    }
}

/* ---- documents ---- */

static struct value of_json(struct state *s, json_t *j, bool element)
{
    struct value v = { .kind = MISSING };
    if (!j)
        return v;
    if (json_is_null(j)) {
        v.kind = NOTHING;
    } else if (json_is_boolean(j)) {
        v = number(json_is_true(j));
    } else if (json_is_number(j)) {
        v = number(json_number_value(j));
    } else if (json_is_string(j)) {
        v = (struct value){ .kind = STRING, .text = json_string_value(j), .n = json_string_length(j) };
    } else if (element) {
        v.kind = OTHER;
    } else if (json_is_object(j)) {
        v.kind = OBJECT;
    } else {
        v.kind = LIST;
        v.n = json_array_size(j);
        v.items = take(s, v.n * sizeof *v.items);
        for (size_t i = 0; i < v.n; i++)
            v.items[i] = of_json(s, json_array_get(j, i), true);
    }
    return v;
}

/* ---- reading ---- */

static void space(struct state *s)
{
    while (isspace((unsigned char)*s->at))
        s->at++;
}

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static bool symbol(struct state *s, const char *text)
{
    space(s);
    size_t n = strlen(text);
    if (strncmp(s->at, text, n) || (isalpha((unsigned char)*text) && (isalnum((unsigned char)s->at[n]) || s->at[n] == '_')))
        return false;
    s->at += n;
    return true;
}

static struct value field(struct state *s, bool asked)
{
    json_t *j = s->root;
    while (*s->at == '.' && (s->rich || j == s->root)) {
        const char *from = ++s->at;
        while (name_char(*s->at))
            s->at++;
        j = j && json_is_object(j) ? json_object_getn(j, from, (size_t)(s->at - from)) : NULL;
        if (!s->rich)
            break;
    }
    struct value v = of_json(s, j, false);
    if (asked)
        return number(v.kind != MISSING);
    if (!s->rich && (v.kind == MISSING || v.kind == OBJECT))
        s->spoiled = true;
    for (size_t i = 0; !s->rich && v.kind == LIST && i < v.n; i++)
        s->spoiled |= v.items[i].kind == OTHER;
    return v;
}

static struct value quoted(struct state *s)
{
    char quote = *s->at++, *text = take(s, strlen(s->at));
    struct value v = { .kind = STRING, .text = text };
    for (; *s->at != quote; s->at++) {
        char c = *s->at;
        if (c == '\\') {
            c = *++s->at;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        text[v.n++] = c;
    }
    s->at++;
    return v;
}

static struct value any(struct state *s);

static struct value primary(struct state *s)
{
    space(s);
    if (symbol(s, "(")) {
        struct value v = any(s);
        symbol(s, ")");
        return v;
    }
    if (symbol(s, "[")) {
        struct value v = { .kind = LIST, .items = take(s, strlen(s->at) * sizeof v) };
        while (!symbol(s, "]")) {
            v.items[v.n++] = primary(s);
            symbol(s, ",");
        }
        return v;
    }
    if (symbol(s, "exists")) {
        symbol(s, "(");
        space(s);
        struct value v = field(s, true);
        symbol(s, ")");
        return v;
    }
    if (symbol(s, "null"))
        return (struct value){ .kind = NOTHING };
    if (symbol(s, "true"))
        return number(1);
    if (symbol(s, "false"))
        return number(0);
    if (*s->at == '"' || *s->at == '\'')
        return quoted(s);
    if (*s->at == '.')
        return field(s, false);
    char *end;
    double x = strtod(s->at, &end);
    s->at = end;
    return number(x);
}

static struct value inverse(struct state *s)
{
    space(s);
    if ((s->at[0] == '!' && s->at[1] != '=' && symbol(s, "!")) || symbol(s, "not"))
        return number(!as_bool(s, inverse(s)));
    return primary(s);
}

static struct value power(struct state *s)
{
    struct value v = inverse(s);
    return symbol(s, "**") ? arithmetic(s, "**", v, power(s)) : v;
}

static struct value product(struct state *s)
{
    struct value v = power(s);
    for (;;) {
        space(s);
        char op[2] = { *s->at, 0 };
        if (!*op || !strchr("*/%", *op))
            return v;
        s->at++;
        struct value right = power(s);
        v = arithmetic(s, op, v, right);
    }
}

static struct value sum(struct state *s)
{
    struct value v = product(s);
    for (;;) {
        space(s);
        char op[2] = { *s->at, 0 };
        if (*op != '+' && *op != '-')
            return v;
        s->at++;
        struct value right = product(s);
        v = arithmetic(s, op, v, right);
    }
}

static struct value relation(struct state *s)
{
    static const char *const ops[] = { "==", "!=", ">=", "<=", ">", "<", "in" };
    struct value v = sum(s);
    for (size_t i = 0; i < 7; i++)
        if (symbol(s, ops[i])) {
            struct value right = sum(s);
            v = number(comparison(s, ops[i], v, right));
            i = (size_t)-1;
        }
    return v;
}

static struct value both(struct state *s)
{
    struct value v = relation(s);
    while (symbol(s, "and") || symbol(s, "&&")) {
        struct value right = relation(s);
        v = number(as_bool(s, v) && as_bool(s, right));
    }
    return v;
}

static struct value any(struct state *s)
{
    struct value v = both(s);
    while (symbol(s, "or") || symbol(s, "||")) {
        struct value right = both(s);
        v = number(as_bool(s, v) || as_bool(s, right));
    }
    return v;
}

bool naive_filter(const char *expression, const char *json, bool rich)
{
    struct state s = { .at = expression, .rich = rich };
    if (!json && !rich)
        return false;
    s.root = json ? json_loads(json, JSON_ALLOW_NUL, NULL) : NULL;
    struct value v = any(&s);
    bool yes = as_bool(&s, v) && !s.spoiled;
    while (s.blocks) {
        struct block *next = s.blocks->next;
        free(s.blocks);
        s.blocks = next;
    }
    json_decref(s.root);
    return yes;
}
