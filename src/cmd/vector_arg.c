#include "cmd/vector_arg.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "vec/kernels.h"

#define SPEC_ERROR "ERR invalid vector specification"
/* So many VALUES are read at once; more are read in slices. */
#define VALUES_AT_ONCE 2048
#define VALUES_STEP 256

void vector_arg_release(struct vector_arg *v)
{
    mem_free(v->scratch);
    *v = (struct vector_arg){ 0 };
}

bool vector_arg_format(struct args *a, enum vector_format *out)
{
    static const char *const words[] = { "FP32", "FP16", "BF16", "I8" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (args_word(a, words[i])) {
            *out = (enum vector_format)i;
            return true;
        }
    }
    return false;
}

size_t vector_arg_width(enum vector_format f)
{
    return f == VECTOR_FP32 ? 4 : f == VECTOR_I8 ? 1 : 2;
}

/* False: out of memory. */
static bool reserve(struct vector_arg *v, size_t floats)
{
    if (floats <= v->scratch_cap)
        return true;
    float *grown = mem_try_realloc(v->scratch, floats * sizeof *grown);
    if (!grown)
        return false;
    v->scratch = grown;
    v->scratch_cap = floats;
    return true;
}

static void nonfinite_error(struct resp_writer *w, size_t at)
{
    resp_error(w, SPEC_ERROR ": component %zu (counted from 0) is not a finite number", at);
}

/* `out` has room for dim floats and as many halves. */
static void convert(enum vector_format f, const char *from, size_t dim, float *out)
{
    if (f == VECTOR_FP32) {
        memcpy(out, from, dim * 4);
    } else if (f == VECTOR_I8) {
        for (size_t i = 0; i < dim; i++)
            out[i] = (float)(signed char)from[i];
    } else {
        uint16_t *halves = (uint16_t *)(void *)(out + dim);   /* aligned, unlike `from` */
        memcpy(halves, from, dim * 2);
        if (f == VECTOR_FP16) {
            vec_kernels()->f16_to_f32(halves, dim, out);
            return;
        }
        for (size_t i = 0; i < dim; i++) {
            uint32_t bits = (uint32_t)halves[i] << 16;
            memcpy(&out[i], &bits, 4);
        }
    }
}

bool vector_arg_blob(struct resp_writer *w, enum vector_format f, const struct resp_arg *blob, struct vector_arg *v)
{
    size_t width = vector_arg_width(f), dim = blob->len / width;
    if (!dim || blob->len % width) {
        resp_error(w, SPEC_ERROR);
        return false;
    }
    if (dim > VEC_DIM_MAX) {
        resp_error(w, SPEC_ERROR ": %zu components, at most %d are allowed", dim, VEC_DIM_MAX);
        return false;
    }
    const float *data;
    if (f == VECTOR_FP32 && (uintptr_t)blob->data % sizeof(float) == 0) {
        data = (const float *)(const void *)blob->data;
    } else {
        if (!reserve(v, dim + (dim + 1) / 2)) {
            args_status_error(w, VS_NOMEM);
            return false;
        }
        convert(f, blob->data, dim, v->scratch);
        data = v->scratch;
    }
    size_t bad = f == VECTOR_I8 ? dim : vec_kernels()->first_nonfinite(data, dim);
    if (bad < dim) {
        nonfinite_error(w, bad);
        return false;
    }
    v->data = data;
    v->dim = (uint32_t)dim;
    return true;
}

bool vector_arg_reduce(struct resp_writer *w, const struct vs_index *index, struct vector_arg *v)
{
    const struct vs_index_options *o = vs_index_options(index);
    if (!o->input_dim || v->dim != o->input_dim)
        return true;
    float *reduced = mem_try_alloc(o->input_dim * sizeof *reduced);
    if (!reduced) {
        args_status_error(w, VS_NOMEM);
        return false;
    }
    vs_project(index, v->data, reduced, reduced);
    mem_free(v->scratch);
    v->scratch = reduced;
    v->scratch_cap = o->input_dim;
    v->data = reduced;
    v->dim = o->dim;
    size_t bad = vec_kernels()->first_nonfinite(reduced, v->dim);
    if (bad == v->dim)
        return true;
    nonfinite_error(w, bad);
    return false;
}

/* ---- VALUES ---- */

struct values_state {
    size_t done;
    float data[];
};

/* Reads values[from..to). False: the error is written. */
static bool read_values(struct resp_writer *w, const struct resp_arg *values, size_t from, size_t to, float *out)
{
    for (size_t i = from; i < to; i++) {
        double d;
        if (!resp_to_double(&values[i], &d)) {
            /* NaN is no number to resp_to_double; it gets the message of what is not finite. */
            const char *s = values[i].data;
            size_t len = values[i].len;
            if (len && (*s == '-' || *s == '+'))
                s++, len--;
            if (len == 3 && !strncasecmp(s, "nan", 3))
                nonfinite_error(w, i);
            else
                resp_error(w, SPEC_ERROR);
            return false;
        }
        out[i] = (float)d;
        if (!isfinite(out[i])) {
            nonfinite_error(w, i);
            return false;
        }
    }
    return true;
}

static enum vector_result take_many(struct cmd_call *call, const struct resp_arg *values, size_t n, struct vector_arg *v)
{
    struct values_state *s = call->state;
    if (!s) {
        s = mem_try_alloc(sizeof *s + n * sizeof *s->data);
        if (!s) {
            args_status_error(call->reply, VS_NOMEM);
            return VECTOR_ERROR;
        }
        s->done = 0;
        call->state = s;
        call->state_free = mem_free;
    }
    while (s->done < n) {
        size_t to = n - s->done > VALUES_STEP ? s->done + VALUES_STEP : n;
        if (!read_values(call->reply, values, s->done, to, s->data))
            return VECTOR_ERROR;
        s->done = to;
        if (to < n && args_slice_over(call))
            return VECTOR_AGAIN;
    }
    v->data = s->data;
    v->dim = (uint32_t)n;
    return VECTOR_OK;
}

static enum vector_result take_values(struct cmd_call *call, struct args *a, struct vector_arg *v)
{
    long long n;
    if (!args_int(a, 1, VEC_DIM_MAX, &n) || args_left(a) < (size_t)n) {
        resp_error(call->reply, SPEC_ERROR);
        return VECTOR_ERROR;
    }
    const struct resp_arg *values = a->v + a->at;
    a->at += (size_t)n;
    if (n > VALUES_AT_ONCE)
        return take_many(call, values, (size_t)n, v);
    if (!reserve(v, (size_t)n)) {
        args_status_error(call->reply, VS_NOMEM);
        return VECTOR_ERROR;
    }
    if (!read_values(call->reply, values, 0, (size_t)n, v->scratch))
        return VECTOR_ERROR;
    v->data = v->scratch;
    v->dim = (uint32_t)n;
    return VECTOR_OK;
}

enum vector_result vector_arg_take(struct cmd_call *call, struct args *a, struct vector_arg *v)
{
    enum vector_format f;
    if (args_word(a, "VALUES"))
        return take_values(call, a, v);
    const struct resp_arg *blob;
    if (!vector_arg_format(a, &f) || !(blob = args_next(a))) {
        resp_error(call->reply, SPEC_ERROR);
        return VECTOR_ERROR;
    }
    return vector_arg_blob(call->reply, f, blob, v) ? VECTOR_OK : VECTOR_ERROR;
}
