/* What may follow the vector of a VSIM: the options of Redis' vector sets, with their defaults and their errors, into the
 * same query as VSEARCH's. */
#include <limits.h>
#include <math.h>

#include "cmd/search_options.h"

#define COUNT_DEFAULT 10

static bool refuse(struct cmd_call *call, const char *message)
{
    resp_error(call->reply, "%s", message);
    return false;
}

/* As many as there are, however many are asked for. */
static bool take_count(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o)
{
    long long n;
    if (!args_int(a, 1, LLONG_MAX, &n))
        return refuse(call, "ERR invalid COUNT");
    size_t all = vs_index_count(index);
    unsigned long long k = (unsigned long long)n > all ? all : (unsigned long long)n;
    if (k > VS_K_MAX)
        return refuse(call, "ERR invalid COUNT");
    o->query.k = k ? (uint32_t)k : 1;
    return true;
}

static bool take_ef(struct cmd_call *call, struct args *a, struct search_options *o)
{
    long long n;
    if (!args_int(a, 1, VS_EF_MAX, &n))
        return refuse(call, "ERR invalid EF");
    o->query.ef = (uint32_t)n;
    return true;
}

static bool take_epsilon(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o)
{
    enum vec_metric metric = vs_index_options(index)->metric;
    double d;
    if (!args_double(a, &d) || !(d > 0))
        return refuse(call, "ERR invalid EPSILON");
    if (metric != VEC_COSINE) {
        resp_error(call->reply, "ERR EPSILON is for COSINE alone: this index is %s, use VSEARCH with RADIUS",
                   vec_metric_name(metric));
        return false;
    }
    o->query.has_radius = isfinite(d);
    o->query.radius = d;
    return true;
}

bool search_options_take_sim(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o)
{
    size_t all = vs_index_count(index);
    o->query.k = all && all < COUNT_DEFAULT ? (uint32_t)all : COUNT_DEFAULT;
    while (args_left(a)) {
        if (args_word(a, "WITHSCORES"))
            o->with_scores = true;
        else if (args_word(a, "WITHATTRIBS"))
            o->with_attributes = true;
        else if (args_word(a, "TRUTH"))
            o->query.exact = true;
        else if (args_word(a, "NOTHREAD"))  /* how Redis is to work, not what the result is: no effect here */
            continue;
        else if (args_left(a) < 2)          /* what is left wants a value */
            return refuse(call, "ERR syntax error in VSIM command");
        else if (args_word(a, "COUNT")) {
            if (!take_count(call, a, index, o))
                return false;
        } else if (args_word(a, "EF")) {
            if (!take_ef(call, a, o))
                return false;
        } else if (args_word(a, "EPSILON")) {
            if (!take_epsilon(call, a, index, o))
                return false;
        } else if (args_word(a, "FILTER")) {
            if (!search_options_filter(call, a, VS_FILTER_VSIM, o))
                return false;
        } else if (args_word(a, "FILTER-EF")) {
            if (!search_options_filter_ef(call, a, o))
                return false;
        } else {
            return refuse(call, "ERR syntax error in VSIM command");
        }
    }
    o->query.filter = o->filter;
    return true;
}
