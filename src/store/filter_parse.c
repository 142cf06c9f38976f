/* Filter expressions into programs, see filter.h. */
#include <stdlib.h>

#include "base/mem.h"
#include "store/filter.h"

struct waiting {                     /* an operator or parenthesis on the parser's stack */
    enum filter_op op;
    size_t at;                       /* where it stands in the text */
    size_t skip;                     /* AND, OR: its skip, to be led behind it; SIZE_MAX: none */
};

struct parser {
    struct vs_filter *f;
    struct filter_lexer lexer;
    struct filter_token token;
    struct waiting stack[VS_FILTER_DEPTH_MAX];
    size_t nstack, last;             /* of the last token before the end */
    enum vs_status status;
    struct vs_filter_error *error;
};

static bool fail(struct parser *p, enum vs_status status, size_t at, const char *what)
{
    p->status = status;
    *p->error = (struct vs_filter_error){what, at};
    return false;
}

static bool no_memory(struct parser *p)
{
    return fail(p, VS_NOMEM, 0, "out of memory");
}

static bool unexpected(struct parser *p)
{
    bool end = p->token.kind == TOKEN_END;
    return fail(p, VS_INVALID, end ? p->last : p->token.at, end ? "the expression ends too early" : "syntax error");
}

static void next(struct parser *p, bool operand)
{
    p->token = filter_lex(&p->lexer, operand);
    if (p->token.kind != TOKEN_END)
        p->last = p->token.at;
}

/* ---- the program ---- */

/* Room for `want` entries of an array; it grows by doubling. */
static bool room(struct parser *p, void *array, size_t *cap, size_t want, size_t size)
{
    if (want <= *cap)
        return true;
    if (want < 2 * *cap)
        want = 2 * *cap;
    return mem_try_grow(array, cap, want < 8 ? 8 : want, size) || no_memory(p);
}

static bool emit(struct parser *p, enum filter_op op, size_t arg)
{
    struct vs_filter *f = p->f;
    if (!room(p, &f->code, &f->code_cap, f->ncode + 1, sizeof(*f->code)))
        return false;
    f->code[f->ncode++] = (struct filter_code){op, (uint32_t)arg & 0xFFFFFF};
    return true;
}

static bool emit_const(struct parser *p, struct attr_value v)
{
    struct vs_filter *f = p->f;
    if (!room(p, &f->consts, &f->consts_cap, f->nconsts + 1, sizeof(*f->consts)))
        return false;
    f->consts[f->nconsts] = v;
    return emit(p, OP_CONST, f->nconsts++);
}

static bool emit_path(struct parser *p, enum filter_op op)
{
    struct vs_filter *f = p->f;
    const char *at = p->token.text, *end = at + p->token.len;
    struct filter_path path = {(uint32_t)f->nkeys, 0};
    if (!room(p, &f->paths, &f->paths_cap, f->npaths + 1, sizeof(*f->paths)))
        return false;
    while (at < end) {
        const char *dot = memchr(at, '.', (size_t)(end - at)), *stop = dot ? dot : end;
        if (path.n == FILTER_PATH_MAX)
            return fail(p, VS_LIMIT, p->token.at, "a path has more than 32 names");
        if (!room(p, &f->keys, &f->keys_cap, f->nkeys + 1, sizeof(*f->keys)))
            return false;
        f->keys[f->nkeys++] = attr_key(at, (size_t)(stop - at));
        path.n++;
        at = stop + 1;
    }
    f->paths[f->npaths] = path;
    return emit(p, op, f->npaths++);
}

/* ---- operands ---- */

/* The literal that the token is, if it is one that tuples may hold. */
static bool literal(const struct filter_token *t, bool rich, struct attr_value *v)
{
    *v = (struct attr_value){.tag = ATTR_NULL};
    if (t->kind == TOKEN_NUMBER) {
        v->tag = ATTR_NUMBER;
        v->number = t->number;
    } else if (t->kind == TOKEN_STRING) {
        v->tag = ATTR_STRING;
        v->len = (uint32_t)t->len;
        v->at = (const uint8_t *)t->text;
    } else {
        return t->kind == TOKEN_NULL && rich;
    }
    return true;
}

/* Behind '[': its elements one after the other. Its constant knows the place by number until the program is done. */
static bool tuple(struct parser *p)
{
    struct vs_filter *f = p->f;
    struct attr_value v, whole = {.tag = ATTR_ARRAY, .number = (double)f->ntuples};
    next(p, true);
    if (p->token.kind == TOKEN_TUPLE_END)
        return emit_const(p, whole);
    for (;; next(p, true)) {
        if (!literal(&p->token, f->rich, &v))
            return unexpected(p);
        size_t bytes = attr_value_bytes(&v);
        if (!room(p, &f->tuples, &f->tuples_cap, f->ntuples + bytes, 1))
            return false;
        attr_value_put(f->tuples + f->ntuples, &v);
        f->ntuples += bytes;
        whole.len++;
        next(p, false);
        if (p->token.kind == TOKEN_TUPLE_END)
            return emit_const(p, whole);
        if (p->token.kind != TOKEN_COMMA)
            return unexpected(p);
    }
}

static bool exists(struct parser *p)
{
    next(p, true);
    if (p->token.kind != TOKEN_OPEN)
        return unexpected(p);
    next(p, true);
    if (p->token.kind != TOKEN_FIELD)
        return unexpected(p);
    if (!emit_path(p, OP_EXISTS))
        return false;
    next(p, false);
    return p->token.kind == TOKEN_CLOSE || unexpected(p);
}

/* ---- operators ---- */

static unsigned precedence(enum filter_op op)
{
    switch (op) {
    case OP_OR: return 1;
    case OP_AND: return 2;
    case OP_GT:
    case OP_GE:
    case OP_LT:
    case OP_LE:
    case OP_EQ:
    case OP_NE:
    case OP_IN: return 3;
    case OP_ADD:
    case OP_SUB: return 4;
    case OP_MUL:
    case OP_DIV:
    case OP_MOD: return 5;
    case OP_POW: return 6;
    case OP_NOT: return 7;
    default: return 0; /* a parenthesis holds all up */
    }
}

static bool push(struct parser *p, enum filter_op op, size_t skip)
{
    if (p->nstack == VS_FILTER_DEPTH_MAX)
        return fail(p, VS_LIMIT, p->token.at, "the expression is nested more than 256 deep");
    p->stack[p->nstack++] = (struct waiting){op, p->token.at, skip};
    return true;
}

/* `in` with a long tuple, which is the last constant: both become one instruction, whose arg is the constant until the program
 * is done. */
static bool in_set(struct vs_filter *f)
{
    struct filter_code *last = &f->code[f->ncode - 1];
    if (last->op != OP_CONST || f->consts[last->arg].tag != ATTR_ARRAY || f->consts[last->arg].len < FILTER_SET_MIN)
        return false;
    last->op = OP_IN_SET;
    return true;
}

static bool pop(struct parser *p)
{
    struct waiting *w = &p->stack[--p->nstack];
    if (w->skip != SIZE_MAX)
        p->f->code[w->skip].arg = (uint32_t)(p->f->ncode + 1) & 0xFFFFFF;
    if (w->op == OP_IN && in_set(p->f))
        return true;
    return emit(p, w->op, 0);
}

static bool binary(struct parser *p)
{
    enum filter_op op = p->token.op;
    unsigned mine = precedence(op);
    if (op == OP_NOT)
        return unexpected(p);
    while (p->nstack) {
        unsigned other = precedence(p->stack[p->nstack - 1].op);
        if (other < mine || (other == mine && op == OP_POW))
            break;
        if (!pop(p))
            return false;
    }
    size_t skip = SIZE_MAX;
    if (p->f->rich && (op == OP_AND || op == OP_OR)) {
        skip = p->f->ncode;
        if (!emit(p, op == OP_AND ? OP_SKIP_FALSE : OP_SKIP_TRUE, 0))
            return false;
    }
    return push(p, op, skip);
}

static bool close_parenthesis(struct parser *p)
{
    while (p->nstack && p->stack[p->nstack - 1].op != OP_OPEN)
        if (!pop(p))
            return false;
    if (!p->nstack)
        return unexpected(p);
    p->nstack--;
    return true;
}

/* ---- the whole ---- */

/* Takes the token where an operand is due. *more: it is still due. */
static bool operand(struct parser *p, bool *more)
{
    struct attr_value v;
    *more = false;
    if (literal(&p->token, true, &v))
        return emit_const(p, v);
    switch (p->token.kind) {
    case TOKEN_FIELD: return emit_path(p, OP_FIELD);
    case TOKEN_EXISTS: return exists(p);
    case TOKEN_TUPLE: return tuple(p);
    case TOKEN_OPEN: *more = true; return push(p, OP_OPEN, SIZE_MAX);
    case TOKEN_OPERATOR:
        *more = true;
        if (p->token.op == OP_NOT)
            return push(p, OP_NOT, SIZE_MAX);
        return unexpected(p);
    default: return unexpected(p);
    }
}

static bool parse(struct parser *p)
{
    bool wanted = true;
    for (;;) {
        next(p, wanted);
        if (wanted) {
            if (!operand(p, &wanted))
                return false;
        } else if (p->token.kind == TOKEN_OPERATOR) {
            if (!binary(p))
                return false;
            wanted = true;
        } else if (p->token.kind == TOKEN_CLOSE) {
            if (!close_parenthesis(p))
                return false;
        } else if (p->token.kind == TOKEN_END) {
            break;
        } else {
            return unexpected(p);
        }
    }
    while (p->nstack) {
        if (p->stack[p->nstack - 1].op == OP_OPEN)
            return fail(p, VS_INVALID, p->stack[p->nstack - 1].at, "a parenthesis is not closed");
        if (!pop(p))
            return false;
    }
    return true;
}

/* Puts addresses where the parser had numbers. */
static bool finish(struct parser *p)
{
    struct vs_filter *f = p->f;
    for (size_t i = 0; i < f->nconsts; i++)
        if (f->consts[i].tag == ATTR_ARRAY)
            f->consts[i].at = f->tuples ? f->tuples + (size_t)f->consts[i].number : (const uint8_t *)"";
    for (size_t i = 0; i < f->ncode; i++) {
        if (f->code[i].op != OP_IN_SET)
            continue;
        if (!room(p, &f->sets, &f->sets_cap, f->nsets + 1, sizeof(*f->sets)))
            return false;
        f->sets[f->nsets] = filter_set_new(&f->consts[f->code[i].arg], f->rich);
        if (!f->sets[f->nsets])
            return no_memory(p);
        f->code[i].arg = (uint32_t)f->nsets++ & 0xFFFFFF;
    }
    return true;
}

static void filter_free(struct vs_filter *f)
{
    for (size_t i = 0; i < f->nsets; i++)
        filter_set_free(f->sets[i]);
    mem_free(f->sets);
    mem_free(f->text);
    mem_free(f->code);
    mem_free(f->consts);
    mem_free(f->paths);
    mem_free(f->keys);
    mem_free(f->tuples);
    mem_free(f);
}

enum vs_status vs_filter_new(const char *text, size_t len, enum vs_filter_mode mode, struct vs_filter **out,
                             struct vs_filter_error *error)
{
    struct parser p = {.error = error};
    if (len > VS_FILTER_LEN_MAX) {
        fail(&p, VS_LIMIT, 0, "the expression is longer than 32768 bytes");
        return p.status;
    }
    p.f = mem_try_zalloc(sizeof(*p.f));
    if (!p.f || !(p.f->text = mem_try_alloc(len + 1))) {
        mem_free(p.f);
        no_memory(&p);
        return p.status;
    }
    memcpy(p.f->text, text, len);
    p.f->text[len] = 0;
    p.f->rich = mode == VS_FILTER_RICH;
    atomic_init(&p.f->refs, 1);
    p.lexer = (struct filter_lexer){p.f->text, len, 0, p.f->rich};
    if (!parse(&p) || !finish(&p)) {
        filter_free(p.f);
        return p.status;
    }
    *out = p.f;
    return VS_OK;
}

struct vs_filter *vs_filter_ref(struct vs_filter *f)
{
    if (f)
        atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void vs_filter_unref(struct vs_filter *f)
{
    if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        filter_free(f);
}
