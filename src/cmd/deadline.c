#include "cmd/deadline.h"

#include <limits.h>

static bool invalid(struct cmd_call *call)
{
    resp_error(call->reply, "ERR invalid expire time in '%s' command", call->spec->name);
    return false;
}

static bool parse(struct cmd_call *call, const struct resp_arg *a, unsigned form, bool option, long long *out)
{
    long long n, now = form & DEADLINE_ABSOLUTE ? 0 : (long long)call->now_ms;
    if (!resp_to_int(a, &n)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return false;
    }
    if (option && n <= 0)
        return invalid(call);
    if ((form & DEADLINE_SECONDS) && __builtin_mul_overflow(n, 1000LL, &n))
        return invalid(call);
    if (__builtin_add_overflow(n, now, &n))
        return invalid(call);
    *out = n;
    return true;
}

bool deadline_parse(struct cmd_call *call, const struct resp_arg *a, unsigned form, long long *out)
{
    return parse(call, a, form, false, out);
}

bool deadline_parse_option(struct cmd_call *call, const struct resp_arg *a, unsigned form, uint64_t *out)
{
    long long n;
    if (!parse(call, a, form, true, &n))
        return false;
    *out = (uint64_t)n;
    return true;
}

bool deadline_take_condition(struct cmd_call *call, struct args *a, struct deadline_condition *out)
{
    struct deadline_condition c = { 0 };
    while (args_left(a)) {
        if (args_word(a, "NX")) {
            c.nx = true;
        } else if (args_word(a, "XX")) {
            c.xx = true;
        } else if (args_word(a, "GT")) {
            c.gt = true;
        } else if (args_word(a, "LT")) {
            c.lt = true;
        } else {
            resp_error(call->reply, "ERR Unsupported option %.*s", args_shown(args_peek(a)), args_peek(a)->data);
            return false;
        }
    }
    if (c.nx && (c.xx || c.gt || c.lt)) {
        resp_error(call->reply, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (c.gt && c.lt) {
        resp_error(call->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *out = c;
    return true;
}

/* To have no deadline is to last for ever. */
bool deadline_meets(const struct deadline_condition *c, uint64_t has, long long when)
{
    if ((c->nx && has) || (c->xx && !has))
        return false;
    if (c->gt && (!has || when <= (long long)has))
        return false;
    return !(c->lt && has && when >= (long long)has);
}

long long deadline_answer(const struct cmd_call *call, uint64_t deadline_ms, unsigned form)
{
    if (!deadline_ms)
        return -1;
    uint64_t ms = deadline_ms;
    if (!(form & DEADLINE_ABSOLUTE))
        ms = ms > call->now_ms ? ms - call->now_ms : 0;
    return form & DEADLINE_SECONDS ? (long long)((ms + 500) / 1000) : (long long)ms;
}
