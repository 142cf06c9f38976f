#include <string.h>

#include "persist/effect.h"
#include "persist/effect_words.h"

/* What one command takes beside key, id, vector and attributes. CREATE is the longest: 30 words of
 * up to 10 digits or letters (the seed: 20), each with its header. */
#define FIXED_BYTES  700
#define HEADER_BYTES 24

size_t effect_size(const struct vs_effect *e)
{
    return FIXED_BYTES + 4 * HEADER_BYTES + e->key_len + e->id_len + (size_t)e->dim * sizeof(float) +
           (e->attributes ? e->attributes_len : 0);
}

/* "<mark><n>\r\n" */
static void put_header(struct buf *out, char mark, size_t n)
{
    char text[HEADER_BYTES], *at = text + sizeof(text);
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    *--at = mark;
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static void put_bulk(struct buf *out, const void *data, size_t len)
{
    put_header(out, '$', len);
    buf_append(out, data, len);
    buf_append(out, "\r\n", 2);
}

static void put_word(struct buf *out, const char *word)
{
    put_bulk(out, word, strlen(word));
}

static void put_number(struct buf *out, uint64_t n)
{
    char digits[20], *at = digits + sizeof(digits);
    do {
        *--at = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    put_bulk(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_words(struct buf *out, size_t n, const char *a, const char *b)
{
    put_header(out, '*', n);
    put_word(out, a);
    if (b)
        put_word(out, b);
}

static void put_named_number(struct buf *out, const char *word, uint64_t n)
{
    put_word(out, word);
    put_number(out, n);
}

static void put_named_word(struct buf *out, const char *word, const char *value)
{
    put_word(out, word);
    put_word(out, value);
}

static void put_create(struct buf *out, const struct vs_effect *e)
{
    const struct vs_index_options *o = e->options;
    put_words(out, EFFECT_CREATE_ARGS + (o->input_dim ? 2 : 0) + o->strict + !o->keep_empty, "VPARTITION", "CREATE");
    put_bulk(out, e->key, e->key_len);
    put_named_number(out, "DIM", o->dim);
    put_named_word(out, "METRIC", effect_metrics[o->metric]);
    put_named_word(out, "TYPE", effect_structures[o->structure]);
    put_named_number(out, "M", o->m);
    put_named_number(out, "EF", o->ef_construction);
    put_word(out, effect_types[o->type]);
    put_named_word(out, "ORIGINALS", effect_originals[o->originals]);
    put_named_number(out, "PARTITIONS", o->partitions);
    put_named_word(out, "STRATEGY", effect_strategies[o->strategy]);
    put_named_number(out, "VNODES", o->vnodes);
    put_named_number(out, "SEED", o->seed);
    put_named_word(out, "MAP", effect_maps[o->map]);
    if (o->input_dim)
        put_named_number(out, "REDUCE", o->input_dim);
    if (o->strict)
        put_word(out, "STRICT");
    if (!o->keep_empty)
        put_word(out, "TRANSIENT");
}

/* Floats stand in the file as they stand in memory: hosts are little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blobs of floats are little-endian");

static void put_add(struct buf *out, const struct vs_effect *e)
{
    put_words(out, 5 + (e->attributes ? 2 : 0) + (e->deadline_ms ? 2 : 0), "VADD", NULL);
    put_bulk(out, e->key, e->key_len);
    put_word(out, "FP32");
    put_bulk(out, e->vector, (size_t)e->dim * sizeof(float));
    put_bulk(out, e->id, e->id_len);
    if (e->attributes) {
        put_word(out, "SETATTR");
        put_bulk(out, e->attributes, e->attributes_len);
    }
    if (e->deadline_ms)
        put_named_number(out, "PXAT", e->deadline_ms);
}

static void put_deadline(struct buf *out, const struct vs_effect *e)
{
    put_words(out, e->deadline_ms ? 4 : 3, e->deadline_ms ? "VPEXPIREAT" : "VPERSIST", NULL);
    put_bulk(out, e->key, e->key_len);
    if (e->deadline_ms)
        put_number(out, e->deadline_ms);
    put_bulk(out, e->id, e->id_len);
}

static void put_key_deadline(struct buf *out, const struct vs_effect *e)
{
    put_words(out, e->deadline_ms ? 3 : 2, e->deadline_ms ? "PEXPIREAT" : "PERSIST", NULL);
    put_bulk(out, e->key, e->key_len);
    if (e->deadline_ms)
        put_number(out, e->deadline_ms);
}

void effect_encode(const struct vs_effect *e, struct buf *out)
{
    switch (e->kind) {
    case VS_CREATE:
        put_create(out, e);
        return;
    case VS_ADD:
        put_add(out, e);
        return;
    case VS_FLUSH:
        put_words(out, 1, "FLUSHDB", NULL);
        return;
    case VS_SWAP:
        put_words(out, 3, "SWAPDB", NULL);
        put_number(out, e->db);
        put_number(out, e->other);
        return;
    case VS_REMOVE:
        put_words(out, 2, "DEL", NULL);
        put_bulk(out, e->key, e->key_len);
        return;
    case VS_DEADLINE:
        put_deadline(out, e);
        return;
    case VS_RESTORE:
        put_words(out, 5, "RESTORE", NULL);
        put_bulk(out, e->key, e->key_len);
        put_number(out, e->deadline_ms);
        put_bulk(out, e->attributes, e->attributes_len);
        put_word(out, "ABSTTL");
        return;
    case VS_PIECE:
        put_words(out, 5, "PIECE", NULL);
        put_bulk(out, e->key, e->key_len);
        put_number(out, e->offset);
        put_number(out, e->total);
        put_bulk(out, e->attributes, e->attributes_len);
        return;
    case VS_KEY_DEADLINE:
        put_key_deadline(out, e);
        return;
    case VS_RENAME:
        put_words(out, 3, "RENAME", NULL);
        break;
    case VS_DELETE:
        put_words(out, 3, "VREM", NULL);
        break;
    case VS_ATTRIBUTES:
        put_words(out, 4, "VSETATTR", NULL);
        break;
    case VS_DROP:
        put_words(out, 4, "VPARTITION", "DROP");
        break;
    case VS_PIN:
        put_words(out, 4, "VPARTITION", e->on ? "PIN" : "UNPIN");
        break;
    }
    put_bulk(out, e->key, e->key_len);
    put_bulk(out, e->id, e->id_len);
    if (e->kind == VS_ATTRIBUTES)
        put_bulk(out, e->attributes, e->attributes_len);
}

void effect_encode_select(unsigned db, struct buf *out)
{
    put_words(out, 2, "SELECT", NULL);
    put_number(out, db);
}
