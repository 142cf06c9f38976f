/* The commands that read elements and describe an index. Ids stand at fixed places or after a count: they are never looked at as
 * options. What may take longer than a slice (many elements, many components as numbers) goes on in the next turn. */
#include <limits.h>
#include <math.h>

#include "base/mem.h"
#include "cmd/index_sums.h"
#include "cmd/vector_cmd.h"

/* ---- VGET, VMGET ---- */

struct get_options {
    bool vectors, attributes;
};

/* [WITHVECTORS] [WITHATTRIBS]; both without either. False: the error is written. */
static bool get_options(struct cmd_call *call, struct args *a, const char *command, struct get_options *o)
{
    while (args_left(a)) {
        if (args_word(a, "WITHVECTORS")) {
            o->vectors = true;
        } else if (args_word(a, "WITHATTRIBS")) {
            o->attributes = true;
        } else {
            resp_error(call->reply, "ERR syntax error in %s command near '%.*s': WITHVECTORS or WITHATTRIBS is allowed",
                       command, args_shown(args_peek(a)), args_peek(a)->data);
            return false;
        }
    }
    if (!o->vectors && !o->attributes)
        o->vectors = o->attributes = true;
    return true;
}

static void write_attributes(struct resp_writer *w, const struct vs_index *index, const struct resp_arg *id)
{
    const void *data;
    size_t len;
    enum vs_status status = vs_get_attributes(index, id->data, id->len, &data, &len);
    if (status && status != VS_NOTFOUND)
        args_index_error(w, index, status);
    else if (status || !data)
        resp_null(w);
    else
        resp_bulk(w, data, len);
}

/* `tmp`: room for a vector. */
static void write_element(struct resp_writer *w, const struct vs_index *index, const struct resp_arg *id,
                          const struct get_options *o, float *tmp)
{
    const void *data;
    size_t len;
    enum vs_status status = VS_NOTFOUND;
    if (index)
        status = o->vectors ? vs_get_vector(index, id->data, id->len, tmp)
                            : vs_get_attributes(index, id->data, id->len, &data, &len);
    if (status == VS_NOTFOUND) {
        resp_null(w);
        return;
    }
    if (status) {
        args_index_error(w, index, status);
        return;
    }
    resp_array(w, (size_t)o->vectors + o->attributes);
    if (o->vectors)
        resp_bulk(w, tmp, vs_index_options(index)->dim * sizeof *tmp);
    if (o->attributes)
        write_attributes(w, index, id);
}

/* Room for a vector of the index. False: the error is written. */
static bool vector_room(struct resp_writer *w, const struct vs_index *index, float **out)
{
    *out = NULL;
    if (index && !(*out = mem_try_alloc(vs_index_options(index)->dim * sizeof **out))) {
        args_status_error(w, VS_NOMEM);
        return false;
    }
    return true;
}

enum cmd_result vector_get_vget(struct cmd_call *call)
{
    struct args a = args_from(call, 3);
    struct get_options o = { 0 };
    float *tmp = NULL;
    struct vs_index *index = args_index(call, 1);
    if (!args_ready(index, &call->argv[2]))
        return CMD_BACKLOG;
    if (get_options(call, &a, "VGET", &o) && vector_room(call->reply, index, &tmp))
        write_element(call->reply, index, &call->argv[2], &o, tmp);
    mem_free(tmp);
    return CMD_DONE;
}

enum cmd_result vector_get_vmget(struct cmd_call *call)
{
    struct args a = args_from(call, 2);
    struct get_options o = { 0 };
    long long n;
    if (!args_int(&a, 1, LLONG_MAX, &n) || args_left(&a) < (size_t)n) {
        resp_error(call->reply, "ERR number of elements mismatch: a number from 1, then so many elements, is allowed");
        return CMD_DONE;
    }
    const struct resp_arg *ids = a.v + a.at;
    a.at += (size_t)n;
    struct vs_index *index = args_index(call, 1);
    float *tmp;
    if (!get_options(call, &a, "VMGET", &o) || !vector_room(call->reply, index, &tmp))
        return CMD_DONE;
    size_t *next = call->state;
    if (!next) {
        next = call->state = mem_zalloc(sizeof *next);
        call->state_free = mem_free;
        resp_array(call->reply, (size_t)n);
    }
    enum cmd_result result = CMD_DONE;
    while (*next < (size_t)n) {
        if (!args_ready(index, &ids[*next])) {
            result = CMD_BACKLOG;
            break;
        }
        write_element(call->reply, index, &ids[(*next)++], &o, tmp);
        if (*next < (size_t)n && args_slice_over(call)) {
            result = CMD_AGAIN;
            break;
        }
    }
    mem_free(tmp);
    return result;
}

/* ---- VEMB ---- */

#define COMPONENTS_STEP 256

struct vemb_state {
    size_t dim, next;
    float vector[];
};

static void write_raw_q8(struct resp_writer *w, const float *x, uint32_t dim, float norm)
{
    signed char *codes = mem_alloc(dim);
    float max = 0;
    for (uint32_t i = 0; i < dim; i++)
        max = fmaxf(max, fabsf(x[i]));
    for (uint32_t i = 0; i < dim; i++)
        codes[i] = max > 0 ? (signed char)lrintf(x[i] / max * 127) : 0;
    resp_array(w, 4);
    resp_status(w, "int8");
    resp_bulk(w, codes, dim);
    resp_double(w, norm);
    resp_double(w, norm > 0 ? max / norm : 0);
    mem_free(codes);
}

static void write_raw_f32(struct resp_writer *w, float *x, uint32_t dim, float norm)
{
    for (uint32_t i = 0; norm > 0 && i < dim; i++)
        x[i] /= norm;
    resp_array(w, 3);
    resp_status(w, "f32");
    resp_bulk(w, x, dim * sizeof *x);
    resp_double(w, norm);
}

static void write_raw_bin(struct resp_writer *w, const float *x, uint32_t dim, float norm)
{
    size_t bytes = ((size_t)dim + 63) / 64 * 8;
    unsigned char *bits = mem_zalloc(bytes);
    for (uint32_t i = 0; i < dim; i++)
        bits[i / 8] |= (unsigned char)((x[i] > 0) << i % 8);
    resp_array(w, 3);
    resp_status(w, "bin");
    resp_bulk(w, bits, bytes);
    resp_double(w, norm);
    mem_free(bits);
}

/* Starts the array of components. False: the command is answered. */
static bool vemb_begin(struct cmd_call *call, bool raw)
{
    struct vs_index *index = args_index(call, 1);
    const struct resp_arg *id = &call->argv[2];
    if (!index) {
        resp_null(call->reply);
        return false;
    }
    uint32_t dim = vs_index_options(index)->dim;
    struct vemb_state *s = mem_try_zalloc(sizeof *s + dim * sizeof *s->vector);
    if (!s) {
        args_status_error(call->reply, VS_NOMEM);
        return false;
    }
    s->dim = dim;
    call->state = s;
    call->state_free = mem_free;
    enum vs_status status = vs_get_vector(index, id->data, id->len, s->vector);
    if (status) {
        if (status != VS_NOTFOUND)
            args_index_error(call->reply, index, status);
        else
            resp_null(call->reply);
        return false;
    }
    if (raw) {
        float norm = vec_norm(s->vector, dim);
        switch (vs_index_options(index)->type) {
        case VEC_Q8:
        case VEC_Q4: write_raw_q8(call->reply, s->vector, dim, norm); break;
        case VEC_BIN: write_raw_bin(call->reply, s->vector, dim, norm); break;
        default: write_raw_f32(call->reply, s->vector, dim, norm); break;
        }
        return false;
    }
    if (vs_index_options(index)->type == VEC_BIN)   /* as in the original; VGET gives what was given */
        for (uint32_t i = 0; i < dim; i++)
            s->vector[i] = s->vector[i] > 0 ? 1 : -1;
    resp_array(call->reply, dim);
    return true;
}

enum cmd_result vector_get_vemb(struct cmd_call *call)
{
    bool raw = call->argc == 4 && resp_is(&call->argv[3], "RAW");
    if (call->argc > 3 && !raw) {
        resp_error(call->reply, "ERR invalid option");
        return CMD_DONE;
    }
    if (!call->state && !args_ready(args_index(call, 1), &call->argv[2]))
        return CMD_BACKLOG;
    if (!call->state && !vemb_begin(call, raw))
        return CMD_DONE;
    struct vemb_state *s = call->state;
    while (s->next < s->dim) {
        size_t to = s->dim - s->next > COMPONENTS_STEP ? s->next + COMPONENTS_STEP : s->dim;
        for (; s->next < to; s->next++)
            resp_double(call->reply, s->vector[s->next]);
        if (to < s->dim && args_slice_over(call))
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

/* ---- single answers ---- */

enum cmd_result vector_get_vgetattr(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    if (!args_ready(index, &call->argv[2]))
        return CMD_BACKLOG;
    if (index)
        write_attributes(call->reply, index, &call->argv[2]);
    else
        resp_null(call->reply);
    return CMD_DONE;
}

enum cmd_result vector_get_vcard(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    resp_int(call->reply, index ? (long long)vs_index_count(index) : 0);
    return CMD_DONE;
}

enum cmd_result vector_get_vdim(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    if (index)
        resp_int(call->reply, vs_index_options(index)->dim);
    else
        resp_error(call->reply, "ERR key does not exist");
    return CMD_DONE;
}

enum cmd_result vector_get_vismember(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    if (!args_ready(index, &call->argv[2]))
        return CMD_BACKLOG;
    const void *data;
    size_t len;
    enum vs_status status =
        index ? vs_get_attributes(index, call->argv[2].data, call->argv[2].len, &data, &len) : VS_NOTFOUND;
    if (status == VS_OK || status == VS_NOTFOUND)
        resp_bool(call->reply, status == VS_OK);
    else
        args_index_error(call->reply, index, status);
    return CMD_DONE;
}

/* ---- VINFO ---- */

static void pair_int(struct resp_writer *w, const char *name, uint64_t n)
{
    resp_status(w, name);
    resp_int(w, (long long)n);
}

static void pair_text(struct resp_writer *w, const char *name, const char *text)
{
    resp_status(w, name);
    resp_status(w, text);
}

enum cmd_result vector_get_vinfo(struct cmd_call *call)
{
    struct resp_writer *w = call->reply;
    struct vs_index *index = args_index(call, 1);
    if (!index) {
        resp_null_array(w);
        return CMD_DONE;
    }
    struct index_sums *sums = index_sums_take(call, index);
    if (!sums)
        return CMD_AGAIN;
    const struct vs_index_options *o = vs_index_options(index);
    resp_map(w, 18);
    pair_text(w, "quant-type", o->type == VEC_Q8 ? "int8" : vec_type_name(o->type));
    pair_int(w, "hnsw-m", o->m);
    pair_int(w, "vector-dim", o->dim);
    pair_int(w, "projection-input-dim", o->input_dim);
    pair_int(w, "size", vs_index_count(index));
    pair_int(w, "max-level", sums->max_level < 0 ? 0 : (uint64_t)sums->max_level);
    pair_int(w, "attributes-count", vs_attributes_count(index));
    pair_int(w, "vset-uid", vs_index_uid(index));
    pair_int(w, "hnsw-max-node-uid", sums->sequence_max);
    pair_text(w, "metric", vec_metric_name(o->metric));
    pair_text(w, "structure", o->structure == VS_FLAT ? "flat" : "hnsw");
    pair_text(w, "originals", vec_originals_name(o->originals));
    pair_int(w, "ef-construction", o->ef_construction);
    pair_int(w, "partitions", sums->n);
    pair_int(w, "linked", sums->linked);
    pair_int(w, "unlinked", sums->unlinked);
    pair_int(w, "dead", sums->dead);
    pair_int(w, "memory-bytes", sums->bytes);
    return CMD_DONE;
}
