/* Filters: expressions over an element's attributes, compiled once and evaluated per candidate. The language is in
 * docs/filters.md; vs_filter_new and its kin, in vecstore.h, are the doors.
 *
 *     text --filter_lex.c--> tokens --filter_parse.c--> program --filter_eval.c, filter_set.c--> yes or no
 *
 *   (.year >= 2000 and .genre in ["war"]) or exists(.x)
 *
 *   FIELD year | CONST 2000 | GE | SKIP_FALSE -> * | FIELD genre | CONST [..] | IN | * AND | SKIP_TRUE -> + | EXISTS x | + OR
 *
 * A program is flat, in postfix order. The parser is Dijkstra's shunting-yard: no recursion, so that depth costs entries of
 * an array of FILTER_DEPTH_MAX and nothing else. Operands wait on the evaluator's stack only while their operators wait on
 * the parser's, so that bound is the evaluator's, too, and evaluating allocates nothing.
 *
 * MODES. VSIM is the language of Redis 8 vector sets: a field that is missing or an object makes the whole false, whatever
 * stands around it, so both sides of `and` and `or` are always evaluated; what is no number counts as 0 where a number is
 * wanted. RICH has paths, true, false, exists() and the order of strings; what is no number is NaN, which equals nothing; a
 * comparison with a missing field is false; `and` and `or` look at their right side only where it matters.
 *
 * A filter is immutable. Any thread. */
#ifndef STORE_FILTER_H
#define STORE_FILTER_H

#include "store/attr_doc.h"
#include "vecstore.h"

#define FILTER_PATH_MAX ATTR_DEPTH_MAX /* names in a path */
#define FILTER_SET_MIN 16              /* elements of a tuple that is made a set */

enum filter_op {
    OP_CONST, OP_FIELD, OP_EXISTS,     /* push; arg: of consts, of paths */
    OP_SKIP_FALSE, OP_SKIP_TRUE,       /* the top decides: go to arg with it, made 0 or 1, or drop it */
    OP_OPEN,                           /* a parenthesis; the parser's alone */
    OP_OR, OP_AND,
    OP_GT, OP_GE, OP_LT, OP_LE, OP_EQ, OP_NE, OP_IN,
    OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_POW,
    OP_NOT,
    OP_IN_SET                          /* the top, in a long tuple; arg: of sets */
};

struct filter_code {
    uint32_t op : 8, arg : 24;
};
struct filter_path {
    uint32_t first, n;                 /* of keys */
};
struct filter_set;

struct vs_filter {
    _Atomic size_t refs;
    bool rich;
    char *text;                        /* strings and names point into it */
    struct filter_code *code;
    struct attr_value *consts;         /* tuples: arrays, in `tuples` */
    struct filter_path *paths;
    struct attr_key *keys;
    uint8_t *tuples;
    struct filter_set **sets;
    size_t ncode, nconsts, npaths, nkeys, ntuples, nsets;
    size_t code_cap, consts_cap, paths_cap, keys_cap, tuples_cap, sets_cap;
};

/* ---- filter_lex.c ---- */
enum filter_token_kind {
    TOKEN_END, TOKEN_NUMBER, TOKEN_STRING, TOKEN_NULL, TOKEN_FIELD, TOKEN_EXISTS, TOKEN_OPEN, TOKEN_CLOSE,
    TOKEN_TUPLE, TOKEN_TUPLE_END, TOKEN_COMMA, TOKEN_OPERATOR, TOKEN_BAD
};
struct filter_token {
    enum filter_token_kind kind;
    enum filter_op op;
    size_t at;                         /* where it begins */
    double number;
    const char *text;                  /* STRING: unescaped, in place; FIELD: behind its first dot */
    size_t len;
};
struct filter_lexer {
    char *text;
    size_t len, at;
    bool rich;
};
/* The next token. `operand`: one is expected, so that a sign belongs to a number. */
struct filter_token filter_lex(struct filter_lexer *lexer, bool operand);

/* ---- filter_set.c ---- */
/* Borrows the tuple's bytes. NULL: out of memory. */
struct filter_set *filter_set_new(const struct attr_value *tuple, bool rich);
void filter_set_free(struct filter_set *set);
bool filter_set_has(const struct filter_set *set, const struct attr_value *v, bool rich);

/* ---- filter_eval.c ---- */
/* What a value is where a number is wanted. */
double filter_number(const struct attr_value *v, bool rich);
/* What evaluating needs beside the filter: the document of a text too long to be kept parsed. Zero-initialised is valid. */
struct filter_scratch {
    uint8_t *doc;
};
void filter_scratch_release(struct filter_scratch *scratch);
/* Do these attributes, in their stored form or NULL, match? */
bool filter_match(const struct vs_filter *f, const void *stored, struct filter_scratch *scratch);

#endif
