/* VADD: one element into an index, which is created by the first.
 *
 * Everything that can be refused is refused before the index is created; where the engine itself refuses the first
 * element, the index goes again. */
#include "cmd/add_options.h"
#include "cmd/vector_arg.h"
#include "cmd/vector_cmd.h"

struct vadd {
    struct vector_arg vector;
    const struct resp_arg *id;
    const struct resp_arg *attributes;  /* NULL: not given */
    struct add_options options;
    uint32_t reduce;                    /* 0: not given */
};

/* The part after the element. False: the error is written. */
static bool take_options(struct cmd_call *call, struct args *a, struct vadd *v)
{
    while (args_left(a)) {
        if (args_word(a, "CAS"))        /* how Redis is to work, not what the result is: no effect here */
            continue;
        if (args_word(a, "SETATTR")) {
            if (!(v->attributes = args_next(a))) {
                resp_error(call->reply, "ERR invalid option after element");
                return false;
            }
            continue;
        }
        enum add_taken taken = add_options_take(call, a, &v->options);
        if (taken == ADD_TAKEN)
            continue;
        if (taken == ADD_UNKNOWN)
            resp_error(call->reply, "ERR invalid option after element");
        return false;
    }
    return true;
}

static enum cmd_result add(struct cmd_call *call, struct vadd *v)
{
    struct resp_writer *w = call->reply;
    struct vs_index *index = args_index(call, 1);
    bool created_index = false;
    if (index) {
        uint32_t dim = vs_index_options(index)->dim;
        if (!add_options_reduce(w, index, v->reduce, v->vector.dim) || !vector_arg_reduce(w, index, &v->vector))
            return CMD_DONE;
        if (v->vector.dim != dim) {
            add_options_dim_error(w, v->vector.dim, dim);
            return CMD_DONE;
        }
        if (!add_options_check(w, &v->options, index) || !add_options_element(w, index, v->id, v->attributes))
            return CMD_DONE;
    } else {
        if (!add_options_element(w, NULL, v->id, v->attributes))
            return CMD_DONE;
        if (v->options.mode == VS_ADD_XX) {
            resp_null(w);
            return CMD_DONE;
        }
        v->options.input_dim = v->reduce ? v->vector.dim : 0;
        index = add_options_create(call, &v->options, v->reduce ? v->reduce : v->vector.dim);
        if (!index)
            return CMD_DONE;
        created_index = true;
        if (!vector_arg_reduce(w, index, &v->vector)) {
            vs_remove(call->store, call->db, call->argv[1].data, call->argv[1].len);
            return CMD_DONE;
        }
    }

    struct vs_element element = {
        .id = v->id->data,
        .id_len = v->id->len,
        .vector = v->vector.data,
        .attributes = v->attributes ? v->attributes->data : NULL,
        .attributes_len = v->attributes ? v->attributes->len : 0,
        .deadline_ms = v->options.deadline_ms,
        .keep_deadline = v->options.keep_deadline,
        .past_backlog = call->transaction,
    };
    struct vs_added added = { 0 };
    bool done = false;
    enum vs_status status = VS_INVALID;
    if (add_options_place(w, &v->options, index, v->id)) {
        status = vs_add(index, &element, v->options.mode, &added);
        if (status == VS_OK) {
            args_changed(call, 1);
            if (created_index)
                args_event(call, EVENT_NEW, "new", 1);
            args_event(call, EVENT_VECTOR, "vadd", 1);
            resp_bool(w, added.created);
            done = true;
        } else if ((status == VS_EXISTS && v->options.mode == VS_ADD_NX) ||
                   (status == VS_NOTFOUND && v->options.mode == VS_ADD_XX)) {
            resp_null(w);
        } else if (status != VS_BACKLOG) {
            add_options_failed(w, index, status, &added);
        }
    }
    if (created_index && !done)
        vs_remove(call->store, call->db, call->argv[1].data, call->argv[1].len);
    return status == VS_BACKLOG ? CMD_BACKLOG : CMD_DONE;
}

enum cmd_result vector_add_vadd(struct cmd_call *call)
{
    struct args a = args_from(call, 2);
    struct vadd v = { 0 };
    enum cmd_result result = CMD_DONE;
    if (args_word(&a, "REDUCE")) {
        long long n;
        if (!args_int(&a, 1, VEC_DIM_MAX, &n)) {
            resp_error(call->reply, "ERR invalid vector specification");
            return CMD_DONE;
        }
        v.reduce = (uint32_t)n;
    }
    enum vector_result r = vector_arg_take(call, &a, &v.vector);
    if (r == VECTOR_AGAIN) {
        result = CMD_AGAIN;
    } else if (r == VECTOR_OK) {
        v.id = args_next(&a);
        if (!v.id)
            args_wrong_number(call);
        else if (v.reduce > v.vector.dim)
            resp_error(call->reply, "ERR invalid vector specification");
        else if (take_options(call, &a, &v))
            result = add(call, &v);
    }
    vector_arg_release(&v.vector);
    return result;
}
