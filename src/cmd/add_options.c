#include "cmd/add_options.h"

#include "cmd/deadline.h"
#include "cmd/json.h"

/* Words of VADD's grammar that this server does not offer. */
static const char *const not_offered[] = { "TEXT" };

static enum add_taken take_originals(struct cmd_call *call, struct args *a, struct add_options *o)
{
    static const char *const words[] = { "F32", "F16", "NONE" };
    for (size_t i = 0; i < 3; i++) {
        if (args_word(a, words[i])) {
            o->originals = (enum vec_originals)(VEC_ORIG_F32 + i);
            o->has_originals = true;
            return ADD_TAKEN;
        }
    }
    resp_error(call->reply, "ERR invalid ORIGINALS: F32, F16 or NONE is allowed");
    return ADD_ERROR;
}

static enum add_taken take_ack(struct cmd_call *call, struct args *a)
{
    long long ms;
    /* One node is its own quorum: what it has taken is acknowledged by all. */
    if (!args_word(a, "ONE") && !args_word(a, "QUORUM") && !args_word(a, "ALL")) {
        resp_error(call->reply, "ERR invalid ACK: ONE, QUORUM or ALL, then optionally milliseconds, is allowed");
        return ADD_ERROR;
    }
    if (args_left(a) && resp_to_int(args_peek(a), &ms)) {
        if (ms < 0) {
            resp_error(call->reply, "ERR invalid ACK: the time-out is negative");
            return ADD_ERROR;
        }
        a->at++;
    }
    return ADD_TAKEN;
}

static enum add_taken take_mode(struct cmd_call *call, struct add_options *o, enum vs_add_mode mode)
{
    if (o->mode != VS_ADD_ANY && o->mode != mode) {
        resp_error(call->reply, "ERR NX and XX exclude each other");
        return ADD_ERROR;
    }
    o->mode = mode;
    return ADD_TAKEN;
}

static const struct {
    const char *word;
    unsigned form;
} times[] = {
    { "EX", DEADLINE_SECONDS },
    { "PX", 0 },
    { "EXAT", DEADLINE_SECONDS | DEADLINE_ABSOLUTE },
    { "PXAT", DEADLINE_ABSOLUTE },
};

/* One of the options that say when the element ends; ADD_UNKNOWN: none of them. */
static enum add_taken take_time(struct cmd_call *call, struct args *a, struct add_options *o)
{
    bool given = o->deadline_ms || o->keep_deadline;
    size_t i = 0, n = sizeof times / sizeof *times;
    while (i < n && !args_word(a, times[i].word))
        i++;
    if (i == n && !args_word(a, "KEEPTTL"))
        return ADD_UNKNOWN;
    if (given) {
        resp_error(call->reply, "ERR EX, PX, EXAT, PXAT and KEEPTTL exclude each other");
        return ADD_ERROR;
    }
    if (i == n) {
        o->keep_deadline = true;
        return ADD_TAKEN;
    }
    const struct resp_arg *when = args_next(a);
    if (!when)
        resp_error(call->reply, "ERR %s needs a time", times[i].word);
    else if (deadline_parse_option(call, when, times[i].form, &o->deadline_ms))
        return ADD_TAKEN;
    return ADD_ERROR;
}

enum add_taken add_options_take(struct cmd_call *call, struct args *a, struct add_options *o)
{
    long long n;
    if (args_vec_type(a, &o->type)) {
        o->has_type = true;
        return ADD_TAKEN;
    }
    if (args_word(a, "ORIGINALS"))
        return take_originals(call, a, o);
    if (args_word(a, "EF")) {
        if (!args_int(a, 1, VS_EF_MAX, &n)) {
            resp_error(call->reply, "ERR invalid EF");
            return ADD_ERROR;
        }
        o->has_ef = true;
        o->ef = (uint32_t)n;
        return ADD_TAKEN;
    }
    if (args_word(a, "M")) {
        if (!args_int(a, VS_M_MIN, VS_M_MAX, &n)) {
            resp_error(call->reply, "ERR invalid M");
            return ADD_ERROR;
        }
        o->has_m = true;
        o->m = (uint32_t)n;
        return ADD_TAKEN;
    }
    if (args_word(a, "PARTITION")) {
        if (!(o->partition = args_next(a))) {
            resp_error(call->reply, "ERR PARTITION needs the name of a partition");
            return ADD_ERROR;
        }
        return ADD_TAKEN;
    }
    if (args_word(a, "NX"))
        return take_mode(call, o, VS_ADD_NX);
    if (args_word(a, "XX"))
        return take_mode(call, o, VS_ADD_XX);
    if (args_word(a, "ACK"))
        return take_ack(call, a);
    enum add_taken taken = take_time(call, a, o);
    if (taken != ADD_UNKNOWN)
        return taken;
    for (size_t i = 0; i < sizeof not_offered / sizeof *not_offered; i++) {
        if (args_left(a) && resp_is(args_peek(a), not_offered[i])) {
            resp_error(call->reply, "ERR the option %s is not offered by this server", not_offered[i]);
            return ADD_ERROR;
        }
    }
    return ADD_UNKNOWN;
}

bool add_options_check(struct resp_writer *w, const struct add_options *o, const struct vs_index *index)
{
    const struct vs_index_options *has = vs_index_options(index);
    if (o->has_type && o->type != has->type)
        resp_error(w, "ERR asked quantization mismatch with existing vector set");
    else if (o->has_m && o->m != has->m)
        resp_error(w, "ERR asked M value mismatch with existing vector set");
    else if (o->has_originals && has->type != VEC_F32 && o->originals != has->originals)
        resp_error(w, "ERR asked ORIGINALS mismatch with existing vector set");
    else
        return true;
    return false;
}

bool add_options_reduce(struct resp_writer *w, const struct vs_index *index, uint32_t reduce, uint32_t got)
{
    const struct vs_index_options *has = vs_index_options(index);
    if (reduce && !has->input_dim)
        resp_error(w, "ERR cannot add projection to existing set without projection");
    else if (reduce && reduce != has->dim)
        resp_error(w, "ERR projection dimension mismatch with existing set");
    else if (has->input_dim && got != has->input_dim && (reduce || got != has->dim))
        resp_error(w, "ERR Input dimension mismatch for projection - got %u but projection expects %u", got,
                   has->input_dim);
    else
        return true;
    return false;
}

bool add_options_may_create(struct cmd_call *call)
{
    const struct resp_arg *key = &call->argv[1];
    if (!call->host->autocreate || call->host->autocreate(call->host))
        return true;
    resp_error(call->reply, "ERR no such index '%.*s': create it with VPARTITION CREATE (index-autocreate is no)",
               args_shown(key), key->data);
    return false;
}

struct vs_index *add_options_create(struct cmd_call *call, const struct add_options *o, uint32_t dim)
{
    const struct resp_arg *key = &call->argv[1];
    if (!add_options_may_create(call))
        return NULL;
    struct vs_index_options options = {
        .dim = dim,
        .input_dim = o->input_dim,
        .type = o->has_type ? o->type : VEC_Q8,
        .originals = o->has_originals ? o->originals : VEC_ORIG_DEFAULT,
        .m = o->m,
        .ef_construction = o->ef,
    };
    struct vs_index *index;
    enum vs_status status = vs_create(call->store, call->db, key->data, key->len, &options, &index);
    if (status) {
        args_status_error(call->reply, status);
        return NULL;
    }
    return index;
}

bool add_options_place(struct resp_writer *w, const struct add_options *o, const struct vs_index *index,
                       const struct resp_arg *id)
{
    if (!o->partition)
        return true;
    long asked = vs_partition_find(index, o->partition->data, o->partition->len);
    size_t place = vs_partition_of(index, id->data, id->len);
    if (asked >= 0 && (size_t)asked == place)
        return true;
    struct vs_partition_info info;
    vs_partition_info(index, place, &info);
    if (asked < 0)
        resp_error(w, "ERR no such partition '%.*s': this element belongs to partition '%s'", args_shown(o->partition),
                   o->partition->data, info.name);
    else
        resp_error(w, "ERR this index places elements by hash: this one belongs to partition '%s'", info.name);
    return false;
}

void add_options_dim_error(struct resp_writer *w, uint32_t got, uint32_t has)
{
    resp_error(w, "ERR Vector dimension mismatch - got %u but set has %u", got, has);
}

bool add_options_element(struct resp_writer *w, const struct vs_index *index, const struct resp_arg *id,
                         const struct resp_arg *attributes)
{
    if (id->len > VS_ID_MAX)
        resp_error(w, "ERR element too long - got %zu bytes but at most %d are allowed", id->len, VS_ID_MAX);
    else if (attributes && attributes->len > VS_ATTRIBUTES_MAX)
        resp_error(w, "ERR attributes too long - got %zu bytes but at most %u are allowed", attributes->len,
                   VS_ATTRIBUTES_MAX);
    else if (attributes && attributes->len && index && vs_index_options(index)->strict &&
             !json_valid(attributes->data, attributes->len))
        resp_error(w, "ERR invalid JSON in attributes: this index was created STRICT");
    else
        return true;
    return false;
}

void add_options_failed(struct resp_writer *w, const struct vs_index *index, enum vs_status status,
                        const struct vs_added *added)
{
    if (status == VS_NONFINITE)
        resp_error(w, "ERR invalid vector specification: component %zu (counted from 0) does not fit the element type",
                   added->bad_component);
    else
        args_index_error(w, index, status);
}
