/* Evaluating a filter for one element: a stack machine over the document of its attributes, see filter.h. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/filter.h"

#define NUMBER_LEN_MAX 255 /* longer strings are no numbers */

struct machine {
    const struct vs_filter *f;
    const uint8_t *doc;              /* NULL: no field is there */
};

/* ---- values ---- */

/* JSON's true and false are 1 and 0. */
static inline void settle(struct attr_value *v)
{
    if (v->tag == ATTR_TRUE || v->tag == ATTR_FALSE) {
        v->number = v->tag == ATTR_TRUE;
        v->tag = ATTR_NUMBER;
    }
}

static struct attr_value number_of(double x)
{
    return (struct attr_value){.tag = ATTR_NUMBER, .number = x};
}

static __attribute__((noinline)) double parse_number(const struct attr_value *v, double otherwise)
{
    char text[NUMBER_LEN_MAX + 1], *end;
    if (v->len > NUMBER_LEN_MAX || !v->len)
        return otherwise;
    memcpy(text, v->at, v->len);
    text[v->len] = 0;
    double x = strtod(text, &end);
    return end == text + v->len ? x : otherwise;
}

static inline double to_number(const struct attr_value *v, bool rich)
{
    if (__builtin_expect(v->tag == ATTR_NUMBER, 1))
        return v->number;
    double otherwise = rich ? (double)NAN : 0;
    return v->tag == ATTR_STRING ? parse_number(v, otherwise) : otherwise;
}

double filter_number(const struct attr_value *v, bool rich)
{
    return to_number(v, rich);
}

static inline bool truth(const struct attr_value *v, bool rich)
{
    switch (v->tag) {
    case ATTR_NUMBER: return v->number != 0 && !(rich && v->number != v->number);
    case ATTR_STRING: return v->len != 0;
    case ATTR_MISSING:
    case ATTR_NULL: return false;
    default: return true;
    }
}

static inline bool same_bytes(const struct attr_value *a, const struct attr_value *b)
{
    return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

static bool plain_equal(const struct attr_value *a, const struct attr_value *b, bool rich)
{
    if (a->tag == ATTR_STRING && b->tag == ATTR_STRING)
        return same_bytes(a, b);
    if (a->tag == ATTR_NULL || b->tag == ATTR_NULL)
        return a->tag == b->tag;
    if (a->tag == ATTR_OTHER || b->tag == ATTR_OTHER)
        return false;
    return to_number(a, rich) == to_number(b, rich);
}

static bool equal_arrays(const struct attr_value *a, const struct attr_value *b)
{
    const uint8_t *p = a->at, *q = b->at;
    for (uint32_t i = 0; i < a->len; i++) {
        struct attr_value x, y;
        p = attr_next(p, &x);
        q = attr_next(q, &y);
        settle(&x);
        settle(&y);
        if (!plain_equal(&x, &y, true))
            return false;
    }
    return true;
}

static inline bool equal(const struct attr_value *a, const struct attr_value *b, bool rich)
{
    if (rich && (a->tag == ATTR_ARRAY || b->tag == ATTR_ARRAY))
        return a->tag == b->tag && a->len == b->len && equal_arrays(a, b);
    return plain_equal(a, b, rich);
}

/* Strings among themselves in the order of their bytes, in VSIM mode as numbers. */
static inline bool ordered(enum filter_op op, const struct attr_value *a, const struct attr_value *b, bool rich)
{
    double x, y;
    if (rich && a->tag == ATTR_STRING && b->tag == ATTR_STRING) {
        uint32_t n = a->len < b->len ? a->len : b->len;
        int c = n ? memcmp(a->at, b->at, n) : 0;
        x = c ? c : a->len < b->len ? -1 : a->len > b->len;
        y = 0;
    } else {
        x = to_number(a, rich);
        y = to_number(b, rich);
    }
    switch (op) {
    case OP_GT: return x > y;
    case OP_GE: return x >= y;
    case OP_LT: return x < y;
    default: return x <= y;
    }
}

static bool contains(const struct attr_value *needle, const struct attr_value *in, bool rich)
{
    if (in->tag == ATTR_STRING)
        return needle->tag == ATTR_STRING && memmem(in->at, in->len, needle->at, needle->len) != NULL;
    if (in->tag != ATTR_ARRAY)
        return false;
    const uint8_t *at = in->at;
    for (uint32_t i = 0; i < in->len; i++) {
        struct attr_value v;
        at = attr_next(at, &v);
        settle(&v);
        if (equal(needle, &v, rich))
            return true;
    }
    return false;
}

static inline bool comparable(const struct attr_value *v)
{
    return v->tag != ATTR_MISSING && v->tag != ATTR_OBJECT;
}

static inline bool compare(enum filter_op op, const struct attr_value *a, const struct attr_value *b, bool rich)
{
    if (rich && (!comparable(a) || !comparable(b)))
        return false;
    switch (op) {
    case OP_EQ: return equal(a, b, rich);
    case OP_NE: return !equal(a, b, rich);
    case OP_IN: return contains(a, b, rich);
    default: return ordered(op, a, b, rich);
    }
}

static struct attr_value calculate(enum filter_op op, const struct attr_value *a, const struct attr_value *b, bool rich)
{
    double x = to_number(a, rich), y = to_number(b, rich);
    if (rich && (!comparable(a) || !comparable(b)))
        return (struct attr_value){.tag = ATTR_MISSING};
    switch (op) {
    case OP_ADD: return number_of(x + y);
    case OP_SUB: return number_of(x - y);
    case OP_MUL: return number_of(x * y);
    case OP_DIV: return number_of(x / y);
    case OP_MOD: return number_of(fmod(x, y));
    default: return number_of(pow(x, y));
    }
}

/* ---- fields ---- */

static inline void find(const struct machine *m, uint32_t at, struct attr_value *out)
{
    const struct filter_path *path = &m->f->paths[at];
    const struct attr_key *key = m->f->keys + path->first;
    out->tag = ATTR_OBJECT;
    out->at = m->doc;
    for (uint32_t i = 0; i < path->n; i++)
        if (out->tag != ATTR_OBJECT || !out->at || !attr_find(out->at, &key[i], out)) {
            out->tag = ATTR_MISSING;
            return;
        }
    settle(out);
}

/* What VSIM's language has values for: fields that are there, no objects, no arrays that hold arrays or objects. */
static inline bool plain(const struct attr_value *v)
{
    if (__builtin_expect(v->tag != ATTR_ARRAY, 1))
        return comparable(v);
    const uint8_t *at = v->at;
    for (uint32_t i = 0; i < v->len; i++) {
        struct attr_value element;
        at = attr_next(at, &element);
        if (element.tag == ATTR_OTHER)
            return false;
    }
    return true;
}

/* ---- the machine ---- */

static inline __attribute__((always_inline)) bool run(const struct machine *m, const bool rich)
{
    struct attr_value stack[VS_FILTER_DEPTH_MAX + 2], *top = stack; /* the first is nobody's */
    const struct vs_filter *f = m->f;
    for (size_t i = 0; i < f->ncode; i++) {
        struct filter_code c = f->code[i];
        switch ((enum filter_op)c.op) {
        case OP_CONST: *++top = f->consts[c.arg]; break;
        case OP_FIELD:
            find(m, c.arg, ++top);
            if (!rich && !plain(top))
                return false;
            break;
        case OP_EXISTS:
            find(m, c.arg, ++top);
            *top = number_of(top->tag != ATTR_MISSING);
            break;
        case OP_SKIP_FALSE:
        case OP_SKIP_TRUE:
            if (truth(top, rich) == (c.op == OP_SKIP_TRUE)) {
                *top = number_of(c.op == OP_SKIP_TRUE);
                i = c.arg - 1u;
            } else { /* the right side decides: AND and OR find the left in their favour */
                *top = number_of(c.op == OP_SKIP_FALSE);
            }
            break;
        case OP_OR:
            top--;
            *top = number_of(truth(top, rich) || truth(top + 1, rich));
            break;
        case OP_AND:
            top--;
            *top = number_of(truth(top, rich) && truth(top + 1, rich));
            break;
        case OP_NOT: *top = number_of(!truth(top, rich)); break;
        case OP_IN_SET:
            *top = number_of((!rich || comparable(top)) && filter_set_has(f->sets[c.arg], top, rich));
            break;
        case OP_GT:
        case OP_GE:
        case OP_LT:
        case OP_LE:
        case OP_EQ:
        case OP_NE:
        case OP_IN:
            top--;
            *top = number_of(compare(c.op, top, top + 1, rich));
            break;
        default:
            top--;
            *top = calculate(c.op, top, top + 1, rich);
            break;
        }
    }
    return truth(top, rich);
}

void filter_scratch_release(struct filter_scratch *scratch)
{
    mem_free(scratch->doc);
    scratch->doc = NULL;
}

bool filter_match(const struct vs_filter *f, const void *stored, struct filter_scratch *scratch)
{
    struct machine m = {f, NULL};
    if (!stored && !f->rich)
        return false;
    if (stored && __builtin_expect(!attr_doc(stored, &m.doc), 0)) {
        size_t len;
        const void *text = attr_text(stored, &len);
        filter_scratch_release(scratch);
        attr_parse(text, len, &scratch->doc);
        m.doc = scratch->doc;
    }
    return f->rich ? run(&m, true) : run(&m, false);
}
