#include "cmd/search_options.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define K_DEFAULT 10
#define FIELDS_MAX 256
#define TIMEOUT_MS_MAX 86400000
#define FILTER_EF_MAX 1000000000
#define ALLOWED "K, COUNT, OFFSET, EF, RADIUS, EPSILON, EXACT, FILTER, FILTER-EF, PARTITION, WITHSCORES, WITHATTRIBS, " \
                "WITHVECTORS, RETURN, TIMEOUT or WITHINFO is allowed"

struct given {              /* what changes the meaning of other options */
    bool k, radius, epsilon;
};

void search_options_release(struct search_options *o)
{
    mem_free(o->partitions);
    vs_filter_unref(o->filter);
    *o = (struct search_options){ 0 };
}

static bool take_radius(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o,
                        struct given *given, bool epsilon)
{
    enum vec_metric metric = vs_index_options(index)->metric;
    struct resp_writer *w = call->reply;
    double d;
    bool number = args_double(a, &d) && isfinite(d);
    if (epsilon && (!number || d <= 0)) {
        resp_error(w, "ERR invalid EPSILON");
    } else if (!number || (metric != VEC_IP && d < 0)) {
        resp_error(w, "ERR invalid RADIUS: %s is allowed", metric == VEC_IP ? "a finite number" : "a number from 0");
    } else if (epsilon && metric != VEC_COSINE) {
        resp_error(w, "ERR EPSILON is for COSINE alone: this index is %s, use RADIUS", vec_metric_name(metric));
    } else {
        o->query.has_radius = true;
        o->query.radius = d;
        *(epsilon ? &given->epsilon : &given->radius) = true;
        if (!given->epsilon || !given->radius)
            return true;
        resp_error(w, "ERR RADIUS and EPSILON exclude each other");
    }
    return false;
}

static bool take_partitions(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o)
{
    long long n;
    if (!args_int(a, 1, VS_PARTITIONS_MAX, &n) || args_left(a) < (size_t)n) {
        resp_error(call->reply, "ERR invalid PARTITION: a number of 1 to %d, then so many names, is allowed",
                   VS_PARTITIONS_MAX);
        return false;
    }
    mem_free(o->partitions);
    o->partitions = mem_alloc((size_t)n * sizeof *o->partitions);
    o->npartitions = 0;
    unsigned char seen[(VS_PARTITIONS_MAX + 7) / 8] = { 0 };
    for (; n; n--) {
        const struct resp_arg *name = args_next(a);
        long at = vs_partition_find(index, name->data, name->len);
        if (at < 0) {
            resp_error(call->reply, "ERR no such partition '%.*s'", args_shown(name), name->data);
            return false;
        }
        if (seen[at / 8] & 1u << at % 8)
            continue;
        seen[at / 8] |= (unsigned char)(1u << at % 8);
        o->partitions[o->npartitions++] = (uint32_t)at;
    }
    return true;
}

static bool take_fields(struct cmd_call *call, struct args *a, struct search_options *o)
{
    long long n;
    if (!args_int(a, 1, FIELDS_MAX, &n) || args_left(a) < (size_t)n) {
        resp_error(call->reply, "ERR invalid RETURN: a number of 1 to %d, then so many fields, is allowed", FIELDS_MAX);
        return false;
    }
    o->fields = a->v + a->at;
    o->nfields = (size_t)n;
    a->at += (size_t)n;
    return true;
}

static bool take_timeout(struct cmd_call *call, struct args *a, struct search_options *o)
{
    uint32_t ms;
    if (!args_number(call, a, "TIMEOUT", 1, TIMEOUT_MS_MAX, &ms))
        return false;
    o->query.deadline_ns = clock_mono_ns() + (uint64_t)ms * 1000000;
    return true;
}

bool search_options_filter(struct cmd_call *call, struct args *a, enum vs_filter_mode mode, struct search_options *o)
{
    const struct resp_arg *text = args_next(a);
    struct vs_filter *filter;
    struct vs_filter_error error;
    if (!text) {
        resp_error(call->reply, "ERR FILTER needs an expression");
        return false;
    }
    enum vs_status status = vs_filter_new(text->data, text->len, mode, &filter, &error);
    if (status == VS_OK) {
        vs_filter_unref(o->filter);
        o->filter = filter;
        return true;
    }
    struct resp_arg near = { .data = text->data + error.at, .len = text->len - error.at };
    if (status == VS_INVALID)
        resp_error(call->reply, "ERR syntax error in FILTER expression near: %.*s", args_shown(&near), near.data);
    else if (status == VS_LIMIT)
        resp_error(call->reply, "ERR FILTER: %s", error.what);
    else
        args_status_error(call->reply, status);
    return false;
}

bool search_options_filter_ef(struct cmd_call *call, struct args *a, struct search_options *o)
{
    long long n;
    if (!args_int(a, 0, FILTER_EF_MAX, &n)) {
        resp_error(call->reply, "ERR invalid FILTER-EF");
        return false;
    }
    o->query.filter_effort = (size_t)n;
    return true;
}

/* One option; false: the error is written. */
static bool take_one(struct cmd_call *call, struct args *a, const char *command, const struct vs_index *index,
                     struct search_options *o, struct given *given)
{
    if (args_word(a, "WITHSCORES"))
        return o->with_scores = true;
    if (args_word(a, "WITHATTRIBS"))
        return o->with_attributes = true;
    if (args_word(a, "WITHVECTORS"))
        return o->with_vectors = true;
    if (args_word(a, "WITHINFO"))
        return o->with_info = true;
    if (args_word(a, "EXACT"))
        return o->query.exact = true;
    if (args_word(a, "K")) {
        given->k = true;
        return args_number(call, a, "K", 1, VS_K_MAX, &o->query.k);
    }
    if (args_word(a, "COUNT")) {
        given->k = true;
        return args_number(call, a, "COUNT", 1, VS_K_MAX, &o->query.k);
    }
    if (args_word(a, "OFFSET"))
        return args_number(call, a, "OFFSET", 0, VS_K_MAX, &o->query.offset);
    if (args_word(a, "EF"))
        return args_number(call, a, "EF", 1, VS_EF_MAX, &o->query.ef);
    if (args_word(a, "RADIUS"))
        return take_radius(call, a, index, o, given, false);
    if (args_word(a, "EPSILON"))
        return take_radius(call, a, index, o, given, true);
    if (args_word(a, "PARTITION"))
        return take_partitions(call, a, index, o);
    if (args_word(a, "FILTER"))
        return search_options_filter(call, a, VS_FILTER_RICH, o);
    if (args_word(a, "FILTER-EF"))
        return search_options_filter_ef(call, a, o);
    if (args_word(a, "RETURN"))
        return take_fields(call, a, o);
    if (args_word(a, "TIMEOUT"))
        return take_timeout(call, a, o);
    resp_error(call->reply, "ERR syntax error in %s command near '%.*s': " ALLOWED, command, args_shown(args_peek(a)),
               args_peek(a)->data);
    return false;
}

bool search_options_take(struct cmd_call *call, struct args *a, const char *command, const struct vs_index *index,
                         struct search_options *o)
{
    struct given given = { 0 };
    while (args_left(a)) {
        if (!take_one(call, a, command, index, o, &given))
            return false;
    }
    if (!given.k)
        o->query.k = given.radius ? 0 : K_DEFAULT;
    o->query.partitions = o->partitions;
    o->query.npartitions = o->npartitions;
    o->query.filter = o->filter;
    return true;
}
