/* VSEARCH, VSIM and VMSEARCH: arguments into searches. What each search sees is fixed on the loop, in the order of the
 * connection's commands; the searching and the writing of the reply are the workers' (search_job.h). */
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/search_job.h"
#include "cmd/vector_arg.h"
#include "cmd/vector_cmd.h"

#define QUERIES_MAX 1024

/* The vector of the element named next. False: the error is written. */
static bool take_element(struct cmd_call *call, struct args *a, const struct vs_index *index, struct vector_arg *v)
{
    const struct resp_arg *id = args_next(a);
    uint32_t dim = vs_index_options(index)->dim;
    if (!id) {
        resp_error(call->reply, "ERR invalid vector specification");
        return false;
    }
    v->scratch = mem_try_realloc(v->scratch, dim * sizeof *v->scratch);
    if (!v->scratch) {
        args_status_error(call->reply, VS_NOMEM);
        return false;
    }
    v->scratch_cap = dim;
    enum vs_status status = vs_get_vector(index, id->data, id->len, v->scratch);
    if (status) {
        if (status == VS_NOTFOUND)
            resp_error(call->reply, "ERR element not found in set");
        else
            args_index_error(call->reply, index, status);
        return false;
    }
    v->data = v->scratch;
    v->dim = dim;
    return true;
}

/* Makes a query of the full length one of the index's, where that reduces. False: the error is written. */
static bool dim_ok(struct cmd_call *call, const struct vs_index *index, struct vector_arg *v)
{
    if (!vector_arg_reduce(call->reply, index, v))
        return false;
    const struct vs_index_options *o = vs_index_options(index);
    if (v->dim == o->dim)
        return true;
    if (o->input_dim)
        resp_error(call->reply, "ERR Input dimension mismatch for projection - got %u but projection expects %u", v->dim,
                   o->input_dim);
    else
        resp_error(call->reply, "ERR Vector dimension mismatch - got %u but set has %u", v->dim, o->dim);
    return false;
}

static enum cmd_result search(struct cmd_call *call, struct vs_index *index, struct search_options *o,
                              const struct vector_arg *v)
{
    struct search_job *job = search_job_new(o, v->dim, 1, false);
    o->query.vector = v->data;
    enum vs_status status = job ? search_job_add(job, index, &o->query) : VS_NOMEM;
    if (status) {
        search_job_free(job);
        if (status == VS_BACKLOG)
            return CMD_BACKLOG;
        args_index_error(call->reply, index, status);
        return CMD_DONE;
    }
    search_job_start(job, call);
    return CMD_PENDING;
}

/* One query: what VSEARCH and VSIM are, but for the options. */
static enum cmd_result search_one(struct cmd_call *call, bool sim)
{
    struct vs_index *index = args_index(call, 1);
    if (!index) {
        resp_array(call->reply, 0);
        return CMD_DONE;
    }
    struct args a = args_from(call, 2);
    struct vector_arg v = { 0 };
    struct search_options o = { 0 };
    enum cmd_result result = CMD_DONE;
    enum vector_result r;
    bool element = args_word(&a, "ELE");
    if (element && args_left(&a) && !args_ready(index, args_peek(&a)))
        return CMD_BACKLOG;
    if (element)
        r = take_element(call, &a, index, &v) ? VECTOR_OK : VECTOR_ERROR;
    else
        r = vector_arg_take(call, &a, &v);
    if (r == VECTOR_AGAIN)
        result = CMD_AGAIN;
    else if (r == VECTOR_OK && (element || dim_ok(call, index, &v)) &&
             (sim ? search_options_take_sim(call, &a, index, &o)
                  : search_options_take(call, &a, "VSEARCH", index, &o)))
        result = search(call, index, &o, &v);
    search_options_release(&o);
    vector_arg_release(&v);
    return result;
}

enum cmd_result vector_search_vsearch(struct cmd_call *call)
{
    return search_one(call, false);
}

enum cmd_result vector_search_vsim(struct cmd_call *call)
{
    return search_one(call, true);
}

/* ---- VMSEARCH ---- */

struct vmsearch_state {
    struct search_job *job;
    uint64_t uid;   /* of the index */
};

static void state_free(void *arg)
{
    struct vmsearch_state *s = arg;
    search_job_free(s->job);
    mem_free(s);
}

struct vmsearch {
    enum vector_format format;
    size_t n;
    const struct resp_arg *blobs;
    struct search_options options;
    struct vector_arg vector;
};

static bool parse_many(struct cmd_call *call, const struct vs_index *index, struct vmsearch *m)
{
    struct args a = args_from(call, 2);
    long long n;
    if (!vector_arg_format(&a, &m->format)) {
        resp_error(call->reply, "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed");
        return false;
    }
    if (!args_int(&a, 1, QUERIES_MAX, &n)) {
        resp_error(call->reply, "ERR invalid number of queries: a number of 1 to %d is allowed", QUERIES_MAX);
        return false;
    }
    if (args_left(&a) < (size_t)n) {
        resp_error(call->reply, "ERR number of queries mismatch: %lld blobs are announced, %zu arguments follow", n,
                   args_left(&a));
        return false;
    }
    m->n = (size_t)n;
    m->blobs = a.v + a.at;
    a.at += m->n;
    return search_options_take(call, &a, "VMSEARCH", index, &m->options);
}

/* Begins the searches that are left of this slice. */
static enum cmd_result begin_many(struct cmd_call *call, struct vs_index *index, struct vmsearch *m,
                                  struct vmsearch_state *s)
{
    size_t first = search_job_count(s->job);
    for (size_t i = first; i < m->n; i++) {
        if (i > first && args_slice_over(call))
            return CMD_AGAIN;
        if (!vector_arg_blob(call->reply, m->format, &m->blobs[i], &m->vector) || !dim_ok(call, index, &m->vector))
            return CMD_DONE;
        m->options.query.vector = m->vector.data;
        enum vs_status status = search_job_add(s->job, index, &m->options.query);
        if (status == VS_BACKLOG)
            return CMD_BACKLOG;
        if (status) {
            args_index_error(call->reply, index, status);
            return CMD_DONE;
        }
    }
    struct search_job *job = s->job;
    s->job = NULL;
    search_job_start(job, call);
    return CMD_PENDING;
}

enum cmd_result vector_search_vmsearch(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    struct vmsearch_state *s = call->state;
    if (!index || (s && vs_index_uid(index) != s->uid)) {
        resp_array(call->reply, 0);
        return CMD_DONE;
    }
    struct vmsearch m = { 0 };
    enum cmd_result result = CMD_DONE;
    if (parse_many(call, index, &m)) {
        if (!s) {
            s = mem_zalloc(sizeof *s);
            s->uid = vs_index_uid(index);
            call->state = s;
            call->state_free = state_free;
            s->job = search_job_new(&m.options, vs_index_options(index)->dim, m.n, true);
        }
        if (s->job)
            result = begin_many(call, index, &m, s);
        else
            args_status_error(call->reply, VS_NOMEM);
    }
    search_options_release(&m.options);
    vector_arg_release(&m.vector);
    return result;
}
