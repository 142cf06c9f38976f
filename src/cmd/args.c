#include "cmd/args.h"

#include "base/clock.h"

bool args_word(struct args *a, const char *word)
{
    if (a->at >= a->n || !resp_is(&a->v[a->at], word))
        return false;
    a->at++;
    return true;
}

bool args_vec_type(struct args *a, enum vec_type *out)
{
    static const char *const words[VEC_TYPES] = { [VEC_Q8] = "Q8",     [VEC_F32] = "NOQUANT", [VEC_F16] = "F16",
                                                  [VEC_BF16] = "BF16", [VEC_Q4] = "Q4",       [VEC_BIN] = "BIN" };
    for (int t = 0; t < VEC_TYPES; t++) {
        if (args_word(a, words[t])) {
            *out = (enum vec_type)t;
            return true;
        }
    }
    return false;
}

bool args_int(struct args *a, long long min, long long max, long long *out)
{
    long long n;
    if (a->at >= a->n || !resp_to_int(&a->v[a->at], &n) || n < min || n > max)
        return false;
    a->at++;
    *out = n;
    return true;
}

bool args_number(struct cmd_call *call, struct args *a, const char *what, long long min, long long max,
                 uint32_t *out)
{
    long long n;
    if (!args_int(a, min, max, &n)) {
        resp_error(call->reply, "ERR invalid %s: a number of %lld to %lld is allowed", what, min, max);
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

bool args_double(struct args *a, double *out)
{
    if (a->at >= a->n || !resp_to_double(&a->v[a->at], out))
        return false;
    a->at++;
    return true;
}

int args_shown(const struct resp_arg *a)
{
    return a->len > 128 ? 128 : (int)a->len;
}

void args_wrong_number(struct cmd_call *call)
{
    resp_error(call->reply, "ERR wrong number of arguments for '%s' command", call->spec->name);
}

void args_status_error(struct resp_writer *w, enum vs_status status)
{
    if (status == VS_NOMEM)
        resp_error(w, "OOM command not allowed: not enough memory for what it asks");
    else if (status == VS_FULL)
        resp_error(w, "OOM command not allowed when used memory > 'maxmemory'.");
    else if (status == VS_IO)
        resp_error(w, "MISCONF Errors writing to the AOF file: nothing is changed until it can be written");
    else
        resp_error(w, "ERR %s", vs_status_text(status));
}

void args_index_error(struct resp_writer *w, const struct vs_index *index, enum vs_status status)
{
    struct buf why = { 0 };
    if (status == VS_CORRUPT && vs_index_damage(index, &why))
        resp_error(w, "CORRUPT %.*s", (int)why.len, why.data);
    else
        args_status_error(w, status);
    buf_release(&why);
}

struct vs_index *args_index(struct cmd_call *call, size_t at)
{
    struct vs_index *index = args_look(call, at);
    if (index)
        vs_index_touch(index);
    return index;
}

struct vs_index *args_look(struct cmd_call *call, size_t at)
{
    return vs_find(call->store, call->db, call->argv[at].data, call->argv[at].len);
}

bool args_ready(const struct vs_index *index, const struct resp_arg *id)
{
    return !index || vs_ready(index, id->data, id->len);
}

void args_changed(struct cmd_call *call, size_t at)
{
    if (call->host->key_changed)
        call->host->key_changed(call->host, call->db, call->argv[at].data, call->argv[at].len);
}

bool args_remove_if_empty(struct cmd_call *call, size_t at, struct vs_index *index)
{
    if (vs_index_count(index) || vs_index_options(index)->keep_empty)
        return false;
    if (vs_remove(call->store, call->db, call->argv[at].data, call->argv[at].len) != VS_OK)
        return false;
    args_event(call, EVENT_GENERIC, "del", at);
    return true;
}

bool args_slice_over(const struct cmd_call *call)
{
    return call->slice_end_ns && clock_mono_ns() >= call->slice_end_ns;
}
