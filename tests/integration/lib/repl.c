#include "integration/lib/repl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "integration/lib/reply.h"
#include "lib/wait.h"

#define DEADLINE_MS 60000
#define DIM 8

char *repl_line(redisContext *c, const char *field)
{
    redisReply *r = reply_any(c, "INFO replication");
    char name[64];
    snprintf(name, sizeof(name), "\n%s:", field);
    const char *at = r->str ? strstr(r->str, name) : NULL;
    at = at ? at + strlen(name) : "";
    char *value = strndup(at, strcspn(at, "\r\n"));
    freeReplyObject(r);
    return value;
}

struct wanted {
    redisContext *c;
    const char *field, *value;
};

static bool is_so(void *arg)
{
    const struct wanted *w = arg;
    char *value = repl_line(w->c, w->field);
    bool so = !strcmp(value, w->value);
    free(value);
    return so;
}

void repl_wait_line(redisContext *c, const char *field, const char *value)
{
    struct wanted w = {c, field, value};
    if (!wait_until(is_so, &w, DEADLINE_MS)) {
        char *is = repl_line(c, field);
        fail_msg("%s is %s, not %s", field, is, value);
    }
}

void repl_follow(redisContext *replica, const struct test_server *primary)
{
    freeReplyObject(reply_any(replica, "REPLICAOF 127.0.0.1 %d", server_port(primary)));
    repl_wait_line(replica, "master_link_status", "up");
}

struct pair {
    redisContext *primary, *replica;
};

/* A replica may have loaded everything some moments before its primary knows that all has been sent. */
static bool has_online(redisContext *primary)
{
    redisReply *r = reply_any(primary, "INFO replication");
    bool so = strstr(r->str, "state=online") != NULL;
    freeReplyObject(r);
    return so;
}

static bool in_step(void *arg)
{
    const struct pair *p = arg;
    char *status = repl_line(p->replica, "master_link_status");
    char *a = repl_line(p->primary, "master_repl_offset");
    char *b = repl_line(p->replica, "master_repl_offset");
    char *x = repl_line(p->primary, "master_replid"), *y = repl_line(p->replica, "master_replid");
    bool so = !strcmp(status, "up") && !strcmp(a, b) && !strcmp(x, y) && has_online(p->primary);
    free(status), free(a), free(b), free(x), free(y);
    return so;
}

void repl_in_step(redisContext *primary, redisContext *replica)
{
    struct pair p = {primary, replica};
    if (!wait_until(in_step, &p, DEADLINE_MS)) {
        redisReply *a = reply_any(primary, "INFO replication"), *b = reply_any(replica, "INFO replication");
        fail_msg("not in step:\n%s\n%s", a->str, b->str);
    }
}

static const redisReply *field(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (!strcmp(map->element[i]->str, name))
            return map->element[i + 1];
    fail_msg("no field %s", name);
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp((*(redisReply *const *)a)->str, (*(redisReply *const *)b)->str);
}

char *repl_facts(redisContext *c)
{
    struct buf out = {0};
    redisReply *keys = reply_array(c, -1, "KEYS *");
    if (keys->elements)
        qsort(keys->element, keys->elements, sizeof(redisReply *), by_text);
    for (size_t k = 0; k < keys->elements; k++) {
        const char *key = keys->element[k]->str;
        redisReply *index = reply_any(c, "VPARTITION INFO %s", key);
        long long n = index->type == REDIS_REPLY_ARRAY ? field(index, "partitions")->integer : 0;
        for (long long i = 0; i < n; i++) {
            redisReply *r = reply_any(c, "VPARTITION INFO %s %lld", key, i);
            if (r->type == REDIS_REPLY_ARRAY) /* it may have been dropped */
                buf_printf(&out, "%s %lld elements %lld sequence %lld linked %lld records %s graph %s\n", key,
                           i, field(r, "elements")->integer, field(r, "sequence")->integer,
                           field(r, "linked_sequence")->integer, field(r, "records_digest")->str,
                           field(r, "graph_digest")->str);
            freeReplyObject(r);
        }
        freeReplyObject(index);
    }
    freeReplyObject(keys);
    buf_append(&out, "", 1);
    char *text = strdup(out.data);
    buf_release(&out);
    return text;
}

static bool same(void *arg)
{
    const struct pair *p = arg;
    char *a = repl_facts(p->primary), *b = repl_facts(p->replica);
    bool so = !strcmp(a, b);
    free(a), free(b);
    return so;
}

void repl_same(redisContext *primary, redisContext *replica)
{
    struct pair p = {primary, replica};
    repl_in_step(primary, replica);
    if (wait_until(same, &p, DEADLINE_MS))
        return;
    char *a = repl_facts(primary), *b = repl_facts(replica);
    fail_msg("not the same:\n%s---\n%s", a, b);
}

/* ---- writing ---- */

static void add(redisContext *c, uint64_t x, const char *key)
{
    float vector[DIM];
    char id[32], attributes[32];
    for (int i = 0; i < DIM; i++)
        vector[i] = (float)((hash_mix(x + (uint64_t)i) >> 40) & 0xFFFF) / 65536.0f - 0.5f;
    snprintf(id, sizeof(id), "e%u", (unsigned)(x >> 8) % 3000);
    snprintf(attributes, sizeof(attributes), "{\"n\":%u}", (unsigned)x % 100);
    if (x & 64)
        redisAppendCommand(c, "VADD %s FP32 %b %s SETATTR %s", key, vector, sizeof(vector), id, attributes);
    else
        redisAppendCommand(c, "VADD %s FP32 %b %s", key, vector, sizeof(vector), id);
}

static void one(redisContext *c, uint64_t x)
{
    char key[16], id[32];
    snprintf(key, sizeof(key), "k%u", x % 10 < 8 ? 0u : (unsigned)(x >> 48) % 4);
    snprintf(id, sizeof(id), "e%u", (unsigned)(x >> 8) % 3000);
    switch ((x >> 32) % 100) {
    case 0: redisAppendCommand(c, "RENAME k1 k2"); break;
    case 1: redisAppendCommand(c, "DEL k3"); break;
    case 2: redisAppendCommand(c, "VPARTITION CREATE p%u DIM 8 PARTITIONS 3 SEED 7", (unsigned)(x >> 50) % 3); break;
    case 3: redisAppendCommand(c, "VPARTITION DROP p0 2"); break;
    case 4: case 5: case 6: case 7: case 8: case 9: redisAppendCommand(c, "VREM %s %s", key, id); break;
    case 10: case 11: case 12: redisAppendCommand(c, "VSETATTR %s %s {\"a\":%u}", key, id, (unsigned)x % 1000); break;
    case 13: redisAppendCommand(c, "PEXPIRE k2 %u", 100 + (unsigned)x % 1000); break;
    case 14: case 15: case 16: case 17: snprintf(key, sizeof(key), "p%u", (unsigned)(x >> 50) % 3); add(c, x, key); break;
    default: add(c, x, key);
    }
}

void repl_write(redisContext *c, unsigned seed, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to;) {
        unsigned n = 0;
        for (; n < 64 && i < to; n++, i++)
            one(c, hash_mix((uint64_t)seed << 32 | i));
        while (n--) {
            redisReply *r = NULL;
            if (redisGetReply(c, (void **)&r) != REDIS_OK)
                fail_msg("writing: %s", c->errstr);
            freeReplyObject(r); /* many are errors: a key that is not there */
        }
    }
}
