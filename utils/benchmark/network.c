/* See network.h. */
#include "benchmark/network.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "benchmark/network_in.h"
#include "benchmark/probe.h"
#include "benchmark/traffic.h"

#define PINGS 501

bool network_complain(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("vecstore-benchmark: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

/* A reply that is no error, or NULL and the reason printed. */
redisReply *network_ask(struct bench *b, const char *fmt, ...)
{
    redisReply *reply;
    va_list args;

    va_start(args, fmt);
    reply = redisvCommand(b->control, fmt, args);
    va_end(args);
    if (!reply) {
        network_complain("the server closed the connection: %s", b->control->errstr);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        network_complain("the server says: %s", reply->str);
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

/* The same where only a number counts, -1 on failure. */
static long long ask_number(struct bench *b, const char *command)
{
    redisReply *reply = network_ask(b, "%s %s", command, b->o->key);
    long long n = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;

    if (reply)
        freeReplyObject(reply);
    return n;
}

static bool ask_done(redisReply *reply)
{
    if (reply)
        freeReplyObject(reply);
    return reply != NULL;
}

void network_put_argument(struct buf *b, const char *text)
{
    buf_printf(b, "$%zu\r\n%s\r\n", strlen(text), text);
}

/* ---- what the server tells about itself ---- */

/* The value of `name` in a flat map, NULL when it is not there. */
static const redisReply *map_find(const redisReply *map, const char *name)
{
    for (size_t i = 0; map->type == REDIS_REPLY_ARRAY && i + 1 < map->elements; i += 2)
        if (map->element[i]->type == REDIS_REPLY_STRING && strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    return NULL;
}

uint64_t network_map_number(const redisReply *map, const char *name)
{
    const redisReply *value = map_find(map, name);

    return value && value->type == REDIS_REPLY_INTEGER && value->integer > 0
               ? (uint64_t)value->integer
               : 0;
}

static uint64_t info_number(const char *info, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = info; (at = strstr(at, name)) != NULL; at += len)
        if ((at == info || at[-1] == '\n') && at[len] == ':')
            return strtoull(at + len + 1, NULL, 10);
    return 0;
}

static bool read_info(struct bench *b)
{
    redisReply *reply = network_ask(b, "INFO all");

    if (!reply)
        return false;
    if (reply->type == REDIS_REPLY_STRING) {
        b->r->memory.used = info_number(reply->str, "used_memory");
        b->r->memory.rss = info_number(reply->str, "used_memory_rss");
        b->r->loop_turn_max_us = info_number(reply->str, "loop_turn_max_us");
    }
    freeReplyObject(reply);
    return true;
}

static bool read_index_memory(struct bench *b)
{
    struct memory_result *m = &b->r->memory;
    redisReply *reply = network_ask(b, "VPARTITION INFO %s", b->o->key);

    if (!reply)
        return false;
    m->codes = network_map_number(reply, "memory_codes");
    m->originals = network_map_number(reply, "memory_originals");
    m->links = network_map_number(reply, "memory_links");
    m->records = network_map_number(reply, "memory_records");
    m->ids = network_map_number(reply, "memory_ids");
    m->id_map = network_map_number(reply, "memory_id_map");
    m->other = network_map_number(reply, "memory_other");
    m->total = network_map_number(reply, "memory_total");
    freeReplyObject(reply);
    return true;
}

/* One digest of all partitions' graphs: of a single partition its own. */
static bool read_digest(struct bench *b)
{
    redisReply *list = network_ask(b, "VPARTITION LIST %s COUNT 1000", b->o->key);
    uint64_t digest = 0;

    if (!list)
        return false;
    for (size_t i = 0; list->elements == 2 && i < list->element[1]->elements; i++) {
        const redisReply *entry = list->element[1]->element[i],
                         *name = entry->elements > 0 ? entry->element[0] : NULL, *hex;
        redisReply *info = name && name->str ? network_ask(b, "VPARTITION INFO %s %b", b->o->key,
                                                           name->str, (size_t)name->len)
                                             : NULL;

        if (!info)
            break;
        hex = map_find(info, "graph_digest");
        if (hex && hex->str)
            digest = (i ? hash_mix(digest) : 0) ^ strtoull(hex->str, NULL, 16);
        freeReplyObject(info);
    }
    freeReplyObject(list);
    b->r->graph_digest = digest;
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool measure_ping(struct bench *b)
{
    uint64_t ns[PINGS];

    for (size_t i = 0; i < PINGS; i++) {
        uint64_t begin = clock_mono_ns();

        if (!ask_done(network_ask(b, "PING")))
            return false;
        ns[i] = clock_mono_ns() - begin;
    }
    qsort(ns, PINGS, sizeof *ns, compare_u64);
    b->r->ping_ns = ns[PINGS / 2];
    return true;
}

/* ---- all of it ---- */

static const char *const metric_words[] = {
    [VEC_COSINE] = "COSINE", [VEC_L2] = "L2", [VEC_IP] = "IP"};

bool network_create(struct bench *b)
{
    long long there = ask_number(b, "EXISTS");

    if (there < 0)
        return false;
    if (there && !b->o->flush)
        return network_complain("the key '%s' exists: --flush deletes it first, --key names "
                                "another, --search-only searches it",
                                b->o->key);
    if (there && !ask_done(network_ask(b, "DEL %s", b->o->key)))
        return false;
    return ask_done(
        network_ask(b, "VPARTITION CREATE %s DIM %u METRIC %s TYPE %s M %u EF %u %s PARTITIONS %u",
                    b->o->key, (unsigned)b->d->base.cols, metric_words[b->o->metric],
                    b->o->flat ? "FLAT" : "HNSW", b->o->m, b->o->ef_construction,
                    b->o->type == VEC_F32 ? "NOQUANT" : vec_type_name(b->o->type), b->o->partitions));
}

bool network_delete(struct bench *b)
{
    return ask_done(network_ask(b, "DEL %s", b->o->key));
}

static bool check_index(struct bench *b)
{
    long long count = ask_number(b, "VCARD"), dim;

    if (count < 0 || (dim = count ? ask_number(b, "VDIM") : 0) < 0)
        return false;
    if (count == 0)
        return network_complain("there is no index under the key '%s'", b->o->key);
    if ((size_t)count != b->d->base.rows || (size_t)dim != b->d->base.cols)
        return network_complain(
            "the index '%s' has %lld elements of %lld dimensions, the vectors given are %zu of %zu",
            b->o->key, count, dim, b->d->base.rows, b->d->base.cols);
    return true;
}

bool network_run(struct report *r)
{
    struct bench b = {.r = r, .o = r->o, .d = r->d};
    bool good = false, created = false;

    b.control = traffic_control(b.o);
    if (!b.control)
        return false;
    b.traffic = traffic_open(b.o);
    if (!b.traffic)
        goto out;
    if (b.o->search_only) {
        if (!check_index(&b))
            goto out;
    } else {
        if (!network_create(&b))
            goto out;
        created = true;
        if (!read_info(&b))
            goto out;
        r->memory.used_before = r->memory.used;
        r->memory.rss_before = r->memory.rss;
        if (!network_load(&b))
            goto out;
    }
    if (!read_index_memory(&b) || !read_digest(&b))
        goto out;
    if (b.o->probe_single || b.o->probe_ping || b.o->probe_mixed)
        good = probe_run(&b);
    else
        good = b.o->load_only || network_search(&b);
    good = good && read_info(&b) && measure_ping(&b);
out:
    if (created && !b.o->keep && !b.control->err)
        good = network_delete(&b) && good;
    if (b.traffic)
        traffic_close(b.traffic);
    redisFree(b.control);
    return good;
}
