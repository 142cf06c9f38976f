/* The header of an npy file: a Python dictionary in text, for example
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (1000, 128), }
 * Keys come in any order and each exactly once; white space is free between tokens. NumPy's format,
 * versions 1 to 3 (NEP 1). Nothing else of Python is understood, on purpose. */
#include <string.h>

#include "base/mem.h"
#include "benchmark/vecfile_in.h"

#define HEADER_MAX 65536

struct cursor {
    const char *at, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool take(struct cursor *c, char wanted)
{
    skip_space(c);
    if (c->at >= c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t len = strlen(word);

    skip_space(c);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
        return false;
    c->at += len;
    return true;
}

/* A quoted string without escapes into out[size]. */
static bool take_string(struct cursor *c, char *out, size_t size)
{
    char quote;
    size_t n = 0;

    skip_space(c);
    if (c->at >= c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    quote = *c->at++;
    while (c->at < c->end && *c->at != quote && n + 1 < size)
        out[n++] = *c->at++;
    out[n] = 0;
    return take(c, quote);
}

static bool take_number(struct cursor *c, size_t *out)
{
    size_t value = 0;
    const char *begin;

    skip_space(c);
    for (begin = c->at; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(value, (size_t)10, &value) ||
            __builtin_add_overflow(value, (size_t)(*c->at - '0'), &value))
            return false;
    *out = value;
    return c->at > begin;
}

static bool component_of(const char *descr, enum component *out)
{
    static const struct {
        const char *descr;
        enum component component;
    } known[] = {
        {"<f4", COMPONENT_F32}, {"<f2", COMPONENT_F16}, {"|u1", COMPONENT_U8},
        {"<u1", COMPONENT_U8},  {"|i1", COMPONENT_I8},  {"<i1", COMPONENT_I8},
        {"<i4", COMPONENT_I32},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].descr, descr) == 0) {
            *out = known[i].component;
            return true;
        }
    return false;
}

/* NULL, or what is wrong. */
static const char *parse_shape(struct cursor *c, struct npy_shape *out)
{
    if (!take(c, '(') || !take_number(c, &out->rows) || !take(c, ','))
        return "the shape is not a tuple of numbers";
    if (take(c, ')'))
        return "the array has one dimension; a matrix of two is needed";
    if (!take_number(c, &out->cols))
        return "the shape is not a tuple of numbers";
    (void)take(c, ',');
    if (!take(c, ')'))
        return "the array has more than two dimensions; a matrix of two is needed";
    return NULL;
}

static const char *parse_dictionary(struct cursor *c, struct npy_shape *out)
{
    bool seen_descr = false, seen_order = false, seen_shape = false;
    char key[32], descr[32];
    const char *wrong;

    if (!take(c, '{'))
        return "the header is not a dictionary";
    while (!take(c, '}')) {
        if (!take_string(c, key, sizeof key) || !take(c, ':'))
            return "the header is not a dictionary of quoted names";
        if (strcmp(key, "descr") == 0 && !seen_descr) {
            if (!take_string(c, descr, sizeof descr) || !component_of(descr, &out->component))
                return "the element type is none of <f4, <f2, |u1, |i1, <i4";
            seen_descr = true;
        } else if (strcmp(key, "fortran_order") == 0 && !seen_order) {
            if (!take_word(c, "False"))
                return "the array is in Fortran order; C order is needed";
            seen_order = true;
        } else if (strcmp(key, "shape") == 0 && !seen_shape) {
            if ((wrong = parse_shape(c, out)) != NULL)
                return wrong;
            seen_shape = true;
        } else {
            return "the header names something unknown, or the same twice";
        }
        if (!take(c, ',')) {
            if (!take(c, '}'))
                return "the header's dictionary does not end";
            break;
        }
    }
    return seen_descr && seen_order && seen_shape
               ? NULL
               : "the header lacks descr, fortran_order or shape";
}

enum vs_status npy_read_header(const struct reading *r, struct npy_shape *out)
{
    unsigned char fixed[12];
    size_t len;
    char *text;
    const char *wrong;
    struct cursor c;
    enum vs_status status = reading_exact(r, fixed, 10, "the npy magic");

    if (status != VS_OK)
        return status;
    if (memcmp(fixed, "\x93NUMPY", 6) != 0)
        return reading_refuse(r, VS_CORRUPT, 0, "not an npy file: the magic bytes are missing");
    if (fixed[6] < 1 || fixed[6] > 3)
        return reading_refuse(r, VS_CORRUPT, 6, "npy version %u is not known (1 to 3 are)",
                              fixed[6]);
    len = fixed[8] | (size_t)fixed[9] << 8;
    if (fixed[6] >= 2) {
        if ((status = reading_exact(r, fixed + 10, 2, "the npy header's length")) != VS_OK)
            return status;
        len |= (size_t)fixed[10] << 16 | (size_t)fixed[11] << 24;
    }
    if (len < 2 || len > HEADER_MAX)
        return reading_refuse(r, VS_CORRUPT, 8,
                              "an npy header of %zu bytes (at most %d are accepted)", len,
                              HEADER_MAX);
    text = mem_try_alloc(len);
    if (!text)
        return reading_refuse(r, VS_NOMEM, 8, "no memory for the header");
    if ((status = reading_exact(r, text, len, "the npy header")) == VS_OK) {
        c = (struct cursor){text, text + len};
        if ((wrong = parse_dictionary(&c, out)) != NULL)
            status = reading_refuse(r, VS_CORRUPT,
                                    vecstream_offset(r->stream) - len + (size_t)(c.at - text), "%s",
                                    wrong);
    }
    mem_free(text);
    return status;
}
