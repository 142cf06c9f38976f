#include "lib/effects.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/attr_doc.h"
#include "store/store_int.h"

struct effects_item {
    struct vs_effect effect;         /* its pointers lead to blocks of its own */
    struct vs_index_options options;
};

static void *copy(const void *data, size_t len)
{
    void *p = malloc(len ? len : 1); /* exact, so that a sanitizer sees who reads on */
    if (len)
        memcpy(p, data, len);
    return p;
}

static void die(const char *why)
{
    fprintf(stderr, "effects: %s\n", why);
    abort();
}

static enum vs_status prepare(void *arg, const struct vs_effect *e)
{
    struct effects *log = arg;
    log->prepared = *e;
    log->is_prepared = false;
    if (log->refuse_after && --log->refuse_after == 0)
        return log->refusal;
    log->is_prepared = true;
    return VS_OK;
}

static bool same(const struct vs_effect *a, const struct vs_effect *b)
{
    return a->kind == b->kind && a->db == b->db && a->key_len == b->key_len && a->id_len == b->id_len && a->dim == b->dim &&
           a->attributes_len == b->attributes_len && !a->attributes == !b->attributes && !a->options == !b->options &&
           a->on == b->on && a->other == b->other && a->deadline_ms == b->deadline_ms;
}

static void append(void *arg, const struct vs_effect *e)
{
    struct effects *log = arg;
    if (!log->is_prepared || !same(&log->prepared, e))
        die("an effect was not prepared");
    log->is_prepared = false;
    if (log->n == log->cap) {
        log->cap = log->cap ? 2 * log->cap : 1024;
        log->items = realloc(log->items, log->cap * sizeof(*log->items));
    }
    struct effects_item *item = &log->items[log->n++];
    struct vs_effect *to = &item->effect;
    *item = (struct effects_item){.effect = *e};
    if (e->key)
        to->key = copy(e->key, e->key_len);
    if (e->id)
        to->id = copy(e->id, e->id_len);
    if (e->vector)
        to->vector = copy(e->vector, e->dim * sizeof(float));
    if (e->attributes)
        to->attributes = copy(e->attributes, e->attributes_len);
    if (e->options)
        item->options = *e->options;
}

void effects_init(struct effects *log)
{
    *log = (struct effects){.journal = {.prepare = prepare, .append = append, .arg = log}};
}

void effects_release(struct effects *log)
{
    for (size_t i = 0; i < log->n; i++) {
        struct vs_effect *e = &log->items[i].effect;
        free((void *)(uintptr_t)e->key);
        free((void *)(uintptr_t)e->id);
        free((void *)(uintptr_t)e->vector);
        free((void *)(uintptr_t)e->attributes);
    }
    free(log->items);
    *log = (struct effects){0};
}

const struct vs_effect *effects_at(const struct effects *log, size_t i)
{
    struct effects_item *item = &log->items[i];
    if (item->effect.options)
        item->effect.options = &item->options; /* the array may have moved */
    return &item->effect;
}

enum vs_status effects_apply(const struct effects *log, size_t from, size_t to, struct vs_store *store, size_t *at)
{
    for (size_t i = from; i < to; i++) {
        enum vs_status status = vs_apply(store, effects_at(log, i));
        if (status != VS_OK) {
            if (at)
                *at = i;
            return status;
        }
        if (i % 64 == 63)
            vs_poll(store, 100);
    }
    return VS_OK;
}

/* ---- comparing ---- */

#define SHOWN 3 /* elements that differ */
#define BYTES 48 /* of an id, of attributes */

static char difference[4096];

struct compare {
    struct vs_store *other;
    unsigned db;
    bool differs;
    size_t len;                      /* of `difference` */
};

__attribute__((format(printf, 2, 3)))
static void say(struct compare *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(difference + c->len, sizeof(difference) - c->len, fmt, args);
    va_end(args);
    if (n > 0)
        c->len += (size_t)n;
    if (c->len >= sizeof(difference))
        c->len = sizeof(difference) - 1;
    c->differs = true;
}

static void say_bytes(struct compare *c, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len && i < BYTES; i++)
        say(c, p[i] > 31 && p[i] < 127 ? "%c" : "\\x%02x", p[i]);
    if (len > BYTES)
        say(c, ".. (%zu bytes)", len);
}

static bool same_options(const struct vs_index_options *a, const struct vs_index_options *b)
{
    return a->dim == b->dim && a->metric == b->metric && a->type == b->type && a->originals == b->originals &&
           a->structure == b->structure && a->m == b->m && a->ef_construction == b->ef_construction &&
           a->partitions == b->partitions && a->strategy == b->strategy && a->vnodes == b->vnodes && a->seed == b->seed &&
           a->keep_empty == b->keep_empty && a->strict == b->strict && a->map == b->map &&
           a->input_dim == b->input_dim;
}

static void same_number(struct compare *c, const char *what, uint64_t a, uint64_t b)
{
    if (a != b)
        say(c, strstr(what, "digest") ? "; %s %016llx and %016llx" : "; %s %llu and %llu", what, (unsigned long long)a,
            (unsigned long long)b);
}

/* ---- the elements that differ ---- */

struct elements {
    struct compare *compare;
    struct partition *p, *other;
    size_t n;
    bool missing;                    /* only those that the other has not */
};

static void say_attributes(struct compare *c, const struct partition *p, uint32_t slot)
{
    size_t len;
    const void *data = attr_text(graph_extra(p->graph, slot), &len);
    say(c, " (born %llu, deadline %llu, ", (unsigned long long)graph_born(p->graph, slot),
        (unsigned long long)graph_deadline(p->graph, slot));
    if (data) {
        say(c, "attributes '");
        say_bytes(c, data, len);
        say(c, "')");
    } else {
        say(c, "no attributes)");
    }
}

static void compare_element(void *arg, uint64_t cell)
{
    struct elements *e = arg;
    struct compare *c = e->compare;
    uint32_t slot = (uint32_t)cell - 1, there;
    size_t len;
    const void *id = record_id(graph_user(e->p->graph, slot), &len);
    uint64_t hash = partition_hash(e->p, id, len);
    bool found = partition_find(e->other, hash, id, len, &there);
    if (found && (e->missing || (graph_born(e->p->graph, slot) == graph_born(e->other->graph, there) &&
                                 partition_record_digest(e->p, hash, slot) ==
                                     partition_record_digest(e->other, hash, there))))
        return;
    if (e->n++ >= SHOWN)
        return;
    say(c, "; element '");
    say_bytes(c, id, len);
    say(c, e->missing ? "' is only in the second" : found ? "' is" : "' is only in the first");
    say_attributes(c, e->p, slot);
    if (found) {
        say(c, " and");
        say_attributes(c, e->other, there);
    }
}

static size_t compare_elements(struct compare *c, struct partition *p, struct partition *other, bool missing)
{
    struct elements e = {c, p, other, 0, missing};
    uint64_t cursor = 0;
    do {
        cursor = htable_scan(p->ids, cursor, compare_element, &e);
    } while (cursor);
    return e.n;
}

static void compare_partition(struct compare *c, const struct vs_index *a, const struct vs_index *b, size_t i)
{
    struct vs_partition_info x, y;
    struct partition *p = index_table(a)->part[i], *other = index_table(b)->part[i];
    vs_partition_info(a, i, &x);
    vs_partition_info(b, i, &y);
    size_t before = c->len;
    same_number(c, "name", strtoul(x.name, NULL, 10), strtoul(y.name, NULL, 10));
    same_number(c, "pinned", x.pinned, y.pinned);
    same_number(c, "elements", x.elements, y.elements);
    same_number(c, "attributes", p->attributes, other->attributes);
    same_number(c, "deadlines", x.deadlines, y.deadlines);
    same_number(c, "sequence", x.sequence, y.sequence);
    same_number(c, "records digest", x.records_digest, y.records_digest);
    same_number(c, "linked sequence", x.linked_sequence, y.linked_sequence);
    same_number(c, "linked", x.linked, y.linked);
    same_number(c, "unlinked", x.unlinked, y.unlinked);
    same_number(c, "dead", x.dead, y.dead);
    same_number(c, "max level", (uint64_t)x.max_level, (uint64_t)y.max_level);
    same_number(c, "graph digest", x.graph_digest, y.graph_digest);
    if (c->len == before || p->stub || other->stub)
        return;
    size_t n = compare_elements(c, p, other, false) + compare_elements(c, other, p, true);
    say(c, "; in partition %s, of sequence %llu and %llu, %zu elements differ", x.name, (unsigned long long)x.sequence,
        (unsigned long long)y.sequence, n);
}

static void compare_index(void *arg, struct vs_index *index)
{
    struct compare *c = arg;
    size_t len, n = vs_partition_count(index);
    const char *key = vs_index_key(index, &len);
    struct vs_index *other = vs_find(c->other, c->db, key, len);
    if (c->differs)
        return;
    int head = snprintf(difference, sizeof(difference), "database %u, key '%.*s'", c->db, (int)(len > 64 ? 64 : len), key);
    c->len = (size_t)head;
    if (!other) {
        say(c, "; only in the first");
        return;
    }
    if (!same_options(vs_index_options(index), vs_index_options(other)))
        say(c, "; an option");
    same_number(c, "deadline", (uint64_t)vs_index_deadline(index), (uint64_t)vs_index_deadline(other));
    same_number(c, "count", vs_index_count(index), vs_index_count(other));
    same_number(c, "partitions", n, vs_partition_count(other));
    for (size_t i = 0; i < n && n == vs_partition_count(other); i++)
        compare_partition(c, index, other, i);
}

const char *effects_compare(struct vs_store *a, struct vs_store *b)
{
    struct compare c = {.other = b};
    for (c.db = 0; c.db < vs_databases(a) && !c.differs; c.db++) {
        uint64_t cursor = 0;
        c.len = 0;
        if (vs_count(a, c.db) != vs_count(b, c.db))
            say(&c, "database %u: %zu and %zu keys", c.db, vs_count(a, c.db), vs_count(b, c.db));
        do {
            cursor = vs_scan(a, c.db, cursor, compare_index, &c);
        } while (cursor && !c.differs);
    }
    return c.differs ? difference : NULL;
}
