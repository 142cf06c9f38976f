/* Documents, see attr_doc.h: measured, then written into memory of just that size. */
#include "store/attr_doc.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"

#define FEW 16 /* fields that are looked at one by one, or sorted on the stack */

static uint32_t load32(const uint8_t *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof(n));
    return n;
}

static uint8_t *put32(uint8_t *to, size_t n)
{
    uint32_t word = (uint32_t)n;
    memcpy(to, &word, sizeof(word));
    return to + sizeof(word);
}

static size_t length_bytes(size_t len)
{
    return len < 255 ? 1 : 5;
}

static uint8_t *length_put(uint8_t *to, size_t len)
{
    *to++ = len < 255 ? (uint8_t)len : 255;
    return len < 255 ? to : put32(to, len);
}

static const uint8_t *length_take(const uint8_t *at, uint32_t *len)
{
    *len = *at++;
    if (*len < 255)
        return at;
    *len = load32(at);
    return at + 4;
}

struct attr_key attr_key(const char *name, size_t len)
{
    return (struct attr_key){name, (uint32_t)len, (uint32_t)hash_bytes(name, len, 0)};
}

/* ---- reading ---- */

const uint8_t *attr_next(const uint8_t *at, struct attr_value *out)
{
    int32_t small;
    out->tag = *at++;
    out->len = 0;
    switch (out->tag) {
    case ATTR_INTEGER:
        memcpy(&small, at, sizeof(small));
        out->tag = ATTR_NUMBER;
        out->number = small;
        return at + sizeof(small);
    case ATTR_NUMBER:
        memcpy(&out->number, at, sizeof(out->number));
        return at + sizeof(out->number);
    case ATTR_STRING:
        out->at = length_take(at, &out->len);
        return out->at + out->len;
    case ATTR_ARRAY:
        out->len = load32(at);
        out->at = at + 8;
        return out->at + load32(at + 4);
    default:
        out->at = at;
        return at;
    }
}

/* The first entry whose hash is not below `hash`. */
static uint32_t first_entry(const uint8_t *object, uint32_t n, uint32_t hash)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (load32(object + 4 + 8 * (size_t)mid) < hash)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool attr_find(const uint8_t *object, const struct attr_key *key, struct attr_value *out)
{
    uint32_t n = load32(object), i = n > FEW ? first_entry(object, n, key->hash) : 0;
    for (const uint8_t *entry = object + 4 + 8 * (size_t)i; i < n; i++, entry += 8) {
        uint32_t hash = load32(entry), len;
        if (hash < key->hash)
            continue;
        if (hash > key->hash)
            return false;
        const uint8_t *name = length_take(object + load32(entry + 4), &len);
        if (len != key->len || memcmp(name, key->name, len) != 0)
            continue;
        attr_next(name + len, out);
        return true;
    }
    return false;
}

/* ---- writing ---- */

static bool is_small(double x, int32_t *small)
{
    if (!(x >= INT32_MIN && x <= INT32_MAX) || (x == 0 && signbit(x)))
        return false;
    *small = (int32_t)x;
    return *small == x;
}

size_t attr_value_bytes(const struct attr_value *v)
{
    int32_t small;
    if (v->tag == ATTR_NUMBER)
        return 1 + (is_small(v->number, &small) ? sizeof(small) : sizeof(v->number));
    return v->tag == ATTR_STRING ? 1 + length_bytes(v->len) + v->len : 1;
}

uint8_t *attr_value_put(uint8_t *to, const struct attr_value *v)
{
    int32_t small;
    if (v->tag == ATTR_NUMBER && is_small(v->number, &small)) {
        *to++ = ATTR_INTEGER;
        memcpy(to, &small, sizeof(small));
        return to + sizeof(small);
    }
    *to++ = (uint8_t)v->tag;
    if (v->tag == ATTR_NUMBER) {
        memcpy(to, &v->number, sizeof(v->number));
        return to + sizeof(v->number);
    }
    if (v->tag != ATTR_STRING)
        return to;
    to = length_put(to, v->len);
    if (v->len)
        memcpy(to, v->at, v->len);
    return to + v->len;
}

static struct attr_value plain_value(const json_t *v)
{
    struct attr_value out = {.tag = ATTR_OTHER};
    switch (json_typeof(v)) {
    case JSON_NULL: out.tag = ATTR_NULL; break;
    case JSON_FALSE: out.tag = ATTR_FALSE; break;
    case JSON_TRUE: out.tag = ATTR_TRUE; break;
    case JSON_INTEGER:
    case JSON_REAL:
        out.tag = ATTR_NUMBER;
        out.number = json_number_value(v);
        break;
    case JSON_STRING:
        out.tag = ATTR_STRING;
        out.len = (uint32_t)json_string_length(v);
        out.at = (const uint8_t *)json_string_value(v);
        break;
    default: break;
    }
    return out;
}

static size_t object_bytes(json_t *object, unsigned depth);

static size_t elements_bytes(const json_t *array)
{
    size_t bytes = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct attr_value v = plain_value(json_array_get(array, i));
        bytes += attr_value_bytes(&v);
    }
    return bytes;
}

static size_t field_bytes(size_t name, json_t *value, unsigned depth)
{
    size_t bytes = length_bytes(name) + name;
    if (json_is_object(value))
        return bytes + 1 + object_bytes(value, depth + 1);
    if (json_is_array(value))
        return bytes + 9 + elements_bytes(value);
    struct attr_value v = plain_value(value);
    return bytes + attr_value_bytes(&v);
}

static size_t object_bytes(json_t *object, unsigned depth)
{
    const char *name;
    json_t *value;
    size_t bytes = 4, len;
    if (depth < ATTR_DEPTH_MAX)
        json_object_keylen_foreach(object, name, len, value)
            bytes += 8 + field_bytes(len, value, depth);
    return bytes;
}

struct field {
    struct attr_key key;
    json_t *value;
};

static int compare_fields(const void *x, const void *y)
{
    const struct field *a = x, *b = y;
    return a->key.hash < b->key.hash ? -1 : a->key.hash > b->key.hash;
}

static uint8_t *object_put(uint8_t *to, json_t *object, unsigned depth);

static uint8_t *value_put(uint8_t *to, json_t *value, unsigned depth)
{
    if (json_is_object(value)) {
        *to++ = ATTR_OBJECT;
        return object_put(to, value, depth + 1);
    }
    if (json_is_array(value)) {
        *to++ = ATTR_ARRAY;
        to = put32(put32(to, json_array_size(value)), elements_bytes(value));
        for (size_t i = 0; i < json_array_size(value); i++) {
            struct attr_value v = plain_value(json_array_get(value, i));
            to = attr_value_put(to, &v);
        }
        return to;
    }
    struct attr_value v = plain_value(value);
    return attr_value_put(to, &v);
}

static uint8_t *fields_put(uint8_t *object, struct field *field, size_t n, unsigned depth)
{
    uint8_t *entry = put32(object, n), *to = entry + 8 * n;
    qsort(field, n, sizeof(*field), compare_fields);
    for (size_t i = 0; i < n && to; i++) {
        entry = put32(put32(entry, field[i].key.hash), (size_t)(to - object));
        to = length_put(to, field[i].key.len);
        memcpy(to, field[i].key.name, field[i].key.len);
        to = value_put(to + field[i].key.len, field[i].value, depth);
    }
    return to;
}

/* Where it ends; NULL: out of memory. */
static uint8_t *object_put(uint8_t *to, json_t *object, unsigned depth)
{
    struct field few[FEW], *field = few;
    const char *name;
    json_t *value;
    size_t n = depth < ATTR_DEPTH_MAX ? json_object_size(object) : 0, len, i = 0;
    if (n > FEW && !(field = mem_try_alloc(n * sizeof(*field))))
        return NULL;
    if (n)
        json_object_keylen_foreach(object, name, len, value)
            field[i++] = (struct field){attr_key(name, len), value};
    to = fields_put(to, field, n, depth);
    if (field != few)
        mem_free(field);
    return to;
}

static json_t *load(const void *text, size_t len)
{
    if (len > ATTR_TEXT_MAX)
        return NULL;
    json_t *root = json_loadb(text, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

size_t attr_parse(const void *text, size_t len, uint8_t **doc)
{
    json_t *root = load(text, len);
    size_t bytes = root ? object_bytes(root, 0) : 0;
    uint8_t *made = root ? mem_try_alloc(bytes) : NULL;
    *doc = NULL;
    if (made && object_put(made, root, 0))
        *doc = made;
    else
        mem_free(made);
    json_decref(root);
    return *doc ? bytes : 0;
}

void *attr_new(const void *text, size_t len)
{
    bool parsed = len <= ATTR_PARSE_MAX;
    json_t *root = parsed ? load(text, len) : NULL;
    size_t bytes = root ? object_bytes(root, 0) : 0;
    size_t size = 4 + len + (parsed ? 4 + bytes : 0);
    uint8_t *p = size > ATTR_CACHED ? mem_try_realloc_now(NULL, size) : mem_try_alloc(size);
    if (p) {
        put32(p, len | (parsed ? ATTR_PARSED : 0));
        if (len)
            memcpy(p + 4, text, len);
        if (parsed)
            put32(p + 4 + len, bytes);
        if (root && !object_put(p + 8 + len, root, 0)) {
            attr_free(p);
            p = NULL;
        }
    }
    json_decref(root);
    return p;
}

void attr_free(void *stored)
{
    if (stored && mem_size(stored) > ATTR_CACHED)
        mem_free_now(stored);
    else
        mem_free(stored);
}

/* ---- the stored form ---- */

const void *attr_text(const void *stored, size_t *len)
{
    *len = stored ? load32(stored) & ~ATTR_PARSED : 0;
    return stored ? (const uint8_t *)stored + 4 : NULL;
}

bool attr_doc(const void *stored, const uint8_t **doc)
{
    const uint8_t *p = stored;
    uint32_t head = load32(p), len = head & ~ATTR_PARSED;
    *doc = NULL;
    if (head & ATTR_PARSED && load32(p + 4 + len))
        *doc = p + 8 + len;
    return head & ATTR_PARSED;
}

size_t attr_bytes(const void *stored)
{
    const uint8_t *p = stored;
    uint32_t head = load32(p);
    size_t bytes = 4 + (size_t)(head & ~ATTR_PARSED);
    return head & ATTR_PARSED ? bytes + 4 + load32(p + bytes) : bytes;
}

/* ---- what stands in a file ---- */

struct walk {
    const uint8_t *at, *end;
};

static bool has(const struct walk *w, size_t bytes)
{
    return (size_t)(w->end - w->at) >= bytes;
}

static bool check_length(struct walk *w, uint32_t *len)
{
    if (!has(w, 1) || (*w->at == 255 && !has(w, 5)))
        return false;
    w->at = length_take(w->at, len);
    return has(w, *len);
}

static bool check_object(struct walk *w, unsigned depth);
static bool check_value(struct walk *w, unsigned depth, bool element);

static bool check_array(struct walk *w)
{
    if (!has(w, 8))
        return false;
    uint32_t n = load32(w->at), bytes = load32(w->at + 4);
    w->at += 8;
    if (!has(w, bytes))
        return false;
    struct walk in = {w->at, w->at + bytes};
    for (; n; n--)
        if (!check_value(&in, 0, true))
            return false;
    w->at += bytes;
    return in.at == in.end;
}

static bool check_value(struct walk *w, unsigned depth, bool element)
{
    uint32_t len;
    if (!has(w, 1))
        return false;
    switch (*w->at++) {
    case ATTR_NULL:
    case ATTR_FALSE:
    case ATTR_TRUE: return true;
    case ATTR_NUMBER:
        if (!has(w, sizeof(double)))
            return false;
        w->at += sizeof(double);
        return true;
    case ATTR_INTEGER:
        if (!has(w, sizeof(int32_t)))
            return false;
        w->at += sizeof(int32_t);
        return true;
    case ATTR_STRING:
        if (!check_length(w, &len))
            return false;
        w->at += len;
        return true;
    case ATTR_ARRAY: return !element && check_array(w);
    case ATTR_OBJECT: return !element && check_object(w, depth + 1);
    case ATTR_OTHER: return element;
    default: return false;
    }
}

/* One pass: every field begins where the one before it ended. */
static bool check_object(struct walk *w, unsigned depth)
{
    const uint8_t *object = w->at;
    if (depth > ATTR_DEPTH_MAX || !has(w, 4))
        return false;
    size_t n = load32(object);
    if (((size_t)(w->end - object) - 4) / 8 < n)
        return false;
    w->at += 4 + 8 * n;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *entry = object + 4 + 8 * i;
        uint32_t len;
        if (load32(entry + 4) != (size_t)(w->at - object) || (i && load32(entry) < load32(entry - 8)) ||
            !check_length(w, &len) || load32(entry) != attr_key((const char *)w->at, len).hash)
            return false;
        w->at += len;
        if (!check_value(w, depth, false))
            return false;
    }
    return true;
}

size_t attr_stored_bytes(const void *at, size_t room)
{
    const uint8_t *p = at;
    if (room < 4)
        return 0;
    size_t head = load32(p), len = head & ~(size_t)ATTR_PARSED;
    if (room - 4 < len)
        return 0;
    if (!(head & ATTR_PARSED))
        return 4 + len;
    if (room - 4 - len < 4)
        return 0;
    size_t bytes = load32(p + 4 + len);
    if (room - 8 - len < bytes)
        return 0;
    struct walk w = {p + 8 + len, p + 8 + len + bytes};
    if (bytes && (!check_object(&w, 0) || w.at != w.end))
        return 0;
    return 8 + len + bytes;
}
