/* Tokens of a filter expression, see filter.h. The text is the filter's own copy: strings are unescaped where they stand. */
#include <stdlib.h>

#include "store/filter.h"

#define INTEGER_LEN_MAX 15

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The character `ahead` of the next; 0 behind the end. */
static char peek(const struct filter_lexer *x, size_t ahead)
{
    return x->at + ahead < x->len ? x->text[x->at + ahead] : 0;
}

/* Digits alone, and few enough: exact in a double, and eight times as fast as strtod. */
static double integer(const char *text, size_t n)
{
    int64_t x = 0;
    for (size_t i = *text == '-'; i < n; i++)
        x = 10 * x + (text[i] - '0');
    return *text == '-' ? -(double)x : (double)x;
}

/* digits [. digits] [e [sign] digits] */
static struct filter_token number(struct filter_lexer *x)
{
    struct filter_token t = {.kind = TOKEN_NUMBER, .at = x->at};
    size_t n = peek(x, 0) == '-';
    while (is_digit(peek(x, n)))
        n++;
    if (n <= INTEGER_LEN_MAX && peek(x, n) != '.' && (peek(x, n) | 32) != 'e') {
        t.number = integer(x->text + x->at, n);
        x->at += n;
        return t;
    }
    if (peek(x, n) == '.')
        for (n++; is_digit(peek(x, n)); n++)
            ;
    if (peek(x, n) == 'e' || peek(x, n) == 'E') {
        size_t e = n + 1 + (peek(x, n + 1) == '-' || peek(x, n + 1) == '+');
        if (is_digit(peek(x, e))) {
            for (n = e; is_digit(peek(x, n)); n++)
                ;
        }
    }
    char *end = x->text + x->at + n, after = *end; /* the copy ends with a zero */
    *end = 0;
    t.number = strtod(x->text + x->at, NULL);
    *end = after;
    x->at += n;
    return t;
}

static char unescaped(char c)
{
    return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
}

static struct filter_token string(struct filter_lexer *x)
{
    struct filter_token t = {.kind = TOKEN_STRING, .at = x->at};
    char quote = x->text[x->at++], *to = x->text + x->at;
    t.text = to;
    while (x->at < x->len && x->text[x->at] != quote) {
        char c = x->text[x->at++];
        if (c == '\\') {
            if (x->at == x->len)
                break;
            c = unescaped(x->text[x->at++]);
        }
        *to++ = c;
    }
    if (x->at >= x->len) {
        t.kind = TOKEN_BAD;
        return t;
    }
    x->at++;
    t.len = (size_t)(to - t.text);
    return t;
}

static size_t name_len(const struct filter_lexer *x, size_t from)
{
    size_t n = from;
    while (is_word(peek(x, n)) || peek(x, n) == '-')
        n++;
    return n - from;
}

static struct filter_token field(struct filter_lexer *x)
{
    struct filter_token t = {.kind = TOKEN_FIELD, .at = x->at, .text = x->text + x->at + 1};
    size_t n = name_len(x, 1), end = 1 + n;
    while (n && x->rich && peek(x, end) == '.' && (n = name_len(x, end + 1)) > 0)
        end += 1 + n;
    t.len = end - 1;
    if (!t.len)
        t.kind = TOKEN_BAD;
    x->at += end;
    return t;
}

struct word {
    char text[7];
    uint8_t kind, op;
    bool rich;
    double number;
};
static const struct word words[] = {
    {"and", TOKEN_OPERATOR, OP_AND, false, 0}, {"or", TOKEN_OPERATOR, OP_OR, false, 0},
    {"not", TOKEN_OPERATOR, OP_NOT, false, 0}, {"in", TOKEN_OPERATOR, OP_IN, false, 0},
    {"null", TOKEN_NULL, 0, false, 0},         {"true", TOKEN_NUMBER, 0, true, 1},
    {"false", TOKEN_NUMBER, 0, true, 0},       {"exists", TOKEN_EXISTS, 0, true, 0},
};

static struct filter_token word(struct filter_lexer *x)
{
    struct filter_token t = {.kind = TOKEN_BAD, .at = x->at};
    size_t n = 0;
    while (is_word(peek(x, n)))
        n++;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].text) == n && memcmp(words[i].text, x->text + x->at, n) == 0 &&
            (x->rich || !words[i].rich)) {
            t.kind = words[i].kind;
            t.op = words[i].op;
            t.number = words[i].number;
        }
    x->at += n;
    return t;
}

struct sign {
    char text[3];
    uint8_t kind, op;
};
static const struct sign signs[] = { /* longer ones first */
    {"**", TOKEN_OPERATOR, OP_POW}, {"==", TOKEN_OPERATOR, OP_EQ}, {"!=", TOKEN_OPERATOR, OP_NE},
    {">=", TOKEN_OPERATOR, OP_GE},  {"<=", TOKEN_OPERATOR, OP_LE}, {"&&", TOKEN_OPERATOR, OP_AND},
    {"||", TOKEN_OPERATOR, OP_OR},  {"!", TOKEN_OPERATOR, OP_NOT}, {">", TOKEN_OPERATOR, OP_GT},
    {"<", TOKEN_OPERATOR, OP_LT},   {"*", TOKEN_OPERATOR, OP_MUL}, {"/", TOKEN_OPERATOR, OP_DIV},
    {"%", TOKEN_OPERATOR, OP_MOD},  {"+", TOKEN_OPERATOR, OP_ADD}, {"-", TOKEN_OPERATOR, OP_SUB},
    {"(", TOKEN_OPEN, 0},           {")", TOKEN_CLOSE, 0},         {"[", TOKEN_TUPLE, 0},
    {"]", TOKEN_TUPLE_END, 0},      {",", TOKEN_COMMA, 0},
};

static struct filter_token sign(struct filter_lexer *x)
{
    struct filter_token t = {.kind = TOKEN_BAD, .at = x->at};
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        const char *text = signs[i].text;
        if (text[0] != x->text[x->at] || (text[1] && text[1] != peek(x, 1)))
            continue;
        t.kind = signs[i].kind;
        t.op = signs[i].op;
        x->at += text[1] ? 2 : 1;
        return t;
    }
    x->at++;
    return t;
}

struct filter_token filter_lex(struct filter_lexer *x, bool operand)
{
    while (x->at < x->len && is_space(x->text[x->at]))
        x->at++;
    if (x->at >= x->len)
        return (struct filter_token){.kind = TOKEN_END, .at = x->len};
    char c = x->text[x->at];
    if (is_digit(c) || (operand && c == '-' && is_digit(peek(x, 1))))
        return number(x);
    if (c == '\'' || c == '"')
        return string(x);
    if (c == '.')
        return field(x);
    return is_word(c) ? word(x) : sign(x);
}
