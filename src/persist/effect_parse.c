#include <string.h>

#include "base/mem.h"
#include "persist/effect.h"
#include "persist/effect_words.h"

void effect_scratch_release(struct effect_scratch *x)
{
    mem_free(x->vector);
    *x = (struct effect_scratch){0};
}

/* The arguments, in the order they are taken in. `bad` once one was not what it must be. */
struct taker {
    const struct resp_arg *argv;
    size_t argc, at;
    const char *bad;  /* what was expected */
};

static bool is_word(const struct resp_arg *a, const char *word)
{
    size_t len = strlen(word);
    return a->len == len && memcmp(a->data, word, len) == 0;
}

static const struct resp_arg *take(struct taker *t, const char *what)
{
    static const struct resp_arg none = {"", 0};
    if (t->bad)
        return &none;
    if (t->at == t->argc) {
        t->bad = what;
        return &none;
    }
    return &t->argv[t->at++];
}

static bool take_word(struct taker *t, const char *word)
{
    if (t->bad || t->at == t->argc || !is_word(&t->argv[t->at], word))
        return false;
    t->at++;
    return true;
}

static void expect(struct taker *t, const char *word)
{
    if (!take_word(t, word) && !t->bad)
        t->bad = word;
}

/* A decimal number as it is written: no sign, no zero in front. */
static uint64_t take_number(struct taker *t, const char *word, uint64_t min, uint64_t max)
{
    const struct resp_arg *a = take(t, word);
    uint64_t n = 0;
    bool good = a->len > 0 && a->len <= 20 && (a->len == 1 || a->data[0] != '0');
    for (size_t i = 0; good && i < a->len; i++) {
        unsigned digit = (unsigned)(unsigned char)a->data[i] - '0';
        good = digit <= 9 && !__builtin_mul_overflow(n, 10, &n) &&
               !__builtin_add_overflow(n, digit, &n);
    }
    if (!t->bad && (!good || n < min || n > max))
        t->bad = word;
    return t->bad ? 0 : n;
}

static uint32_t take_named_number(struct taker *t, const char *word, uint32_t min, uint32_t max)
{
    expect(t, word);
    return (uint32_t)take_number(t, word, min, max);
}

/* The position of the next argument among the words from..n-1. */
static unsigned take_one(struct taker *t, const char *what, const char *const *words, unsigned from,
                         unsigned n)
{
    const struct resp_arg *a = take(t, what);
    for (unsigned i = from; !t->bad && i < n; i++)
        if (is_word(a, words[i]))
            return i;
    if (!t->bad)
        t->bad = what;
    return 0;
}

#define TAKE_NAMED(t, what, words, from) \
    (expect(t, what), take_one(t, what, words, from, sizeof(words) / sizeof *(words)))

static void take_key(struct taker *t, struct vs_effect *e)
{
    const struct resp_arg *a = take(t, "a key");
    e->key = a->data;
    e->key_len = a->len;
}

/* Of an element when `max` says so; keys and partitions' names have none but the frame's. */
static void take_id(struct taker *t, struct vs_effect *e, const char *what, size_t max)
{
    const struct resp_arg *a = take(t, what);
    e->id = a->data;
    e->id_len = a->len;
    if (!t->bad && a->len > max)
        t->bad = "a shorter element";
}

static void take_attributes(struct taker *t, struct vs_effect *e)
{
    const struct resp_arg *a = take(t, "attributes");
    e->attributes = a->data;
    e->attributes_len = a->len;
    if (!t->bad && a->len > VS_ATTRIBUTES_MAX)
        t->bad = "shorter attributes";
}

static void take_deadline(struct taker *t, struct vs_effect *e)
{
    e->deadline_ms = take_number(t, "a time in milliseconds", 1, VS_DEADLINE_MAX);
}

static void take_create(struct taker *t, struct effect_scratch *x, struct vs_effect *e)
{
    struct vs_index_options *o = &x->options;
    *o = (struct vs_index_options){0};
    e->kind = VS_CREATE;
    take_key(t, e);
    o->dim = take_named_number(t, "DIM", 1, VEC_DIM_MAX);
    o->metric = (enum vec_metric)TAKE_NAMED(t, "METRIC", effect_metrics, 0);
    o->structure = (enum vs_structure)TAKE_NAMED(t, "TYPE", effect_structures, 0);
    o->m = take_named_number(t, "M", VS_M_MIN, VS_M_MAX);
    o->ef_construction = take_named_number(t, "EF", 1, VS_EF_MAX);
    o->type = (enum vec_type)take_one(t, "an element type", effect_types, 0, VEC_TYPES);
    o->originals = (enum vec_originals)TAKE_NAMED(t, "ORIGINALS", effect_originals, VEC_ORIG_F32);
    o->partitions = take_named_number(t, "PARTITIONS", 1, VS_PARTITIONS_MAX);
    o->strategy = (enum vs_strategy)TAKE_NAMED(t, "STRATEGY", effect_strategies, 0);
    o->vnodes = take_named_number(t, "VNODES", 1, VS_VNODES_MAX);
    expect(t, "SEED");
    o->seed = take_number(t, "SEED", 1, UINT64_MAX);
    o->map = (enum vs_map)TAKE_NAMED(t, "MAP", effect_maps, 0);
    o->input_dim = take_word(t, "REDUCE") ? (uint32_t)take_number(t, "REDUCE", o->dim ? o->dim : 1, VEC_DIM_MAX) : 0;
    o->strict = take_word(t, "STRICT");
    o->keep_empty = !take_word(t, "TRANSIENT");
    e->options = o;
}

static void take_partition_command(struct taker *t, struct effect_scratch *x, struct vs_effect *e)
{
    if (take_word(t, "CREATE")) {
        take_create(t, x, e);
        return;
    }
    if (take_word(t, "DROP")) {
        e->kind = VS_DROP;
    } else if (take_word(t, "PIN")) {
        e->kind = VS_PIN;
        e->on = true;
    } else if (take_word(t, "UNPIN")) {
        e->kind = VS_PIN;
    } else {
        t->bad = "CREATE, DROP, PIN or UNPIN";
    }
    take_key(t, e);
    take_id(t, e, "a partition's name", SIZE_MAX);
}

/* The blob is copied: in the file it lies at any address. */
static enum vs_status take_add(struct taker *t, struct effect_scratch *x, struct vs_effect *e)
{
    e->kind = VS_ADD;
    take_key(t, e);
    expect(t, "FP32");
    const struct resp_arg *blob = take(t, "a vector");
    size_t dim = blob->len / sizeof(float);
    if (!t->bad && (blob->len % sizeof(float) || dim < 1 || dim > VEC_DIM_MAX))
        t->bad = "a vector of 1 to 65536 floats";
    take_id(t, e, "an element", VS_ID_MAX);
    if (take_word(t, "SETATTR"))
        take_attributes(t, e);
    if (take_word(t, "PXAT"))
        take_deadline(t, e);
    if (t->bad)
        return VS_OK;
    if (!mem_try_grow(&x->vector, &x->vector_cap, dim, sizeof(float)))
        return VS_NOMEM;
    memcpy(x->vector, blob->data, blob->len);
    e->vector = x->vector;
    e->dim = (uint32_t)dim;
    return VS_OK;
}

static void say(struct buf *why, const struct taker *t)
{
    if (!why)
        return;
    char name[33] = "";
    for (size_t i = 0; i < t->argv[0].len && i < sizeof(name) - 1; i++) {
        char c = t->argv[0].data[i];
        name[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    if (t->bad)
        buf_printf(why, "no command of a journal: '%s' without %s where it belongs", name, t->bad);
    else
        buf_printf(why, "no command of a journal: '%s' with %zu arguments too many", name,
                   t->argc - t->at);
}

enum vs_status effect_parse(const struct resp_arg *argv, size_t argc, unsigned databases,
                            unsigned *db, struct effect_scratch *x, struct vs_effect *out,
                            struct buf *why)
{
    struct taker t = {argv, argc, 0, NULL};
    struct vs_effect e = {.db = *db};
    enum vs_status status = VS_OK;
    uint64_t selected = 0;
    if (!argc) {
        if (why)
            buf_puts(why, "a command without a word");
        return VS_CORRUPT;
    }
    if (take_word(&t, "VADD")) {
        status = take_add(&t, x, &e);
    } else if (take_word(&t, "VREM")) {
        e.kind = VS_DELETE;
        take_key(&t, &e);
        take_id(&t, &e, "an element", VS_ID_MAX);
    } else if (take_word(&t, "VSETATTR")) {
        e.kind = VS_ATTRIBUTES;
        take_key(&t, &e);
        take_id(&t, &e, "an element", VS_ID_MAX);
        take_attributes(&t, &e);
    } else if (take_word(&t, "VPEXPIREAT")) {
        e.kind = VS_DEADLINE;
        take_key(&t, &e);
        take_deadline(&t, &e);
        take_id(&t, &e, "an element", VS_ID_MAX);
    } else if (take_word(&t, "VPERSIST")) {
        e.kind = VS_DEADLINE;
        take_key(&t, &e);
        take_id(&t, &e, "an element", VS_ID_MAX);
    } else if (take_word(&t, "VPARTITION")) {
        take_partition_command(&t, x, &e);
    } else if (take_word(&t, "DEL")) {
        e.kind = VS_REMOVE;
        take_key(&t, &e);
    } else if (take_word(&t, "RENAME")) {
        e.kind = VS_RENAME;
        take_key(&t, &e);
        take_id(&t, &e, "a key", SIZE_MAX);
    } else if (take_word(&t, "PEXPIREAT")) {
        e.kind = VS_KEY_DEADLINE;
        take_key(&t, &e);
        take_deadline(&t, &e);
    } else if (take_word(&t, "PERSIST")) {
        e.kind = VS_KEY_DEADLINE;
        take_key(&t, &e);
    } else if (take_word(&t, "RESTORE")) {
        e.kind = VS_RESTORE;
        take_key(&t, &e);
        e.deadline_ms = take_number(&t, "a time in milliseconds", 0, VS_DEADLINE_MAX);
        const struct resp_arg *a = take(&t, "a dumped index");
        e.attributes = a->data;
        e.attributes_len = a->len;
        expect(&t, "ABSTTL");
    } else if (take_word(&t, "PIECE")) {
        e.kind = VS_PIECE;
        take_key(&t, &e);
        e.offset = take_number(&t, "an offset", 0, SIZE_MAX / 2);
        e.total = take_number(&t, "a number of bytes", 0, SIZE_MAX / 2);
        const struct resp_arg *a = take(&t, "bytes of a dumped index");
        e.attributes = a->data;
        e.attributes_len = a->len;
    } else if (take_word(&t, "SWAPDB")) {
        e.kind = VS_SWAP;
        e.db = (unsigned)take_number(&t, "a database", 0, databases - 1);
        e.other = (unsigned)take_number(&t, "a database", 0, databases - 1);
    } else if (take_word(&t, "FLUSHDB")) {
        e.kind = VS_FLUSH;
    } else if (take_word(&t, "SELECT")) {
        selected = take_number(&t, "a database", 0, databases - 1);
        status = VS_NOTFOUND;
    } else {
        t.bad = "a name that is one";
    }
    if (t.bad || t.at < argc) {
        say(why, &t);
        return VS_CORRUPT;
    }
    if (status == VS_NOTFOUND)
        *db = (unsigned)selected;
    else if (status == VS_OK)
        *out = e;
    return status;
}
