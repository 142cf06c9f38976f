/* Elements that end by themselves: the VEXPIRE and VTTL families, VPERSIST. */
#include "cmd/deadline.h"
#include "cmd/vector_cmd.h"

/* The element's deadline, 0: none. VS_NOTFOUND: no key, or no such element. */
static enum vs_status get(const struct vs_index *index, const struct resp_arg *id, uint64_t *deadline_ms)
{
    return index ? vs_get_deadline(index, id->data, id->len, deadline_ms) : VS_NOTFOUND;
}

/* What is neither done nor "not found" is answered here. */
static enum cmd_result failed(struct cmd_call *call, const struct vs_index *index, enum vs_status status)
{
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    args_index_error(call->reply, index, status);
    return CMD_DONE;
}

/* A time that is past already removes the element. */
static enum vs_status set(struct cmd_call *call, struct vs_index *index, const struct resp_arg *id, long long when)
{
    bool past = when <= (long long)call->now_ms;
    enum vs_status status = past ? vs_delete(index, id->data, id->len)
                                 : vs_set_deadline(index, id->data, id->len, (uint64_t)when);
    if (status != VS_OK)
        return status;
    args_event(call, EVENT_VECTOR, past ? "vdel" : "vexpire", 1);
    if (past)
        args_remove_if_empty(call, 1, index);
    args_changed(call, 1);
    return VS_OK;
}

static enum cmd_result expire(struct cmd_call *call, unsigned form)
{
    struct args a = args_from(call, 4);
    const struct resp_arg *id = &call->argv[3];
    struct deadline_condition condition;
    uint64_t has;
    long long when;
    if (!deadline_take_condition(call, &a, &condition) || !deadline_parse(call, &call->argv[2], form, &when))
        return CMD_DONE;
    struct vs_index *index = args_index(call, 1);
    enum vs_status status = get(index, id, &has);
    if (status == VS_OK && !deadline_meets(&condition, has, when))
        status = VS_NOTFOUND;
    if (status == VS_OK)
        status = set(call, index, id, when);
    if (status != VS_OK && status != VS_NOTFOUND)
        return failed(call, index, status);
    resp_int(call->reply, status == VS_OK);
    return CMD_DONE;
}

enum cmd_result vector_expire_vexpire(struct cmd_call *call)
{
    return expire(call, DEADLINE_SECONDS);
}

enum cmd_result vector_expire_vpexpire(struct cmd_call *call)
{
    return expire(call, 0);
}

enum cmd_result vector_expire_vexpireat(struct cmd_call *call)
{
    return expire(call, DEADLINE_SECONDS | DEADLINE_ABSOLUTE);
}

enum cmd_result vector_expire_vpexpireat(struct cmd_call *call)
{
    return expire(call, DEADLINE_ABSOLUTE);
}

static enum cmd_result ttl(struct cmd_call *call, unsigned form)
{
    const struct vs_index *index = args_look(call, 1);
    uint64_t has = 0;
    enum vs_status status = get(index, &call->argv[2], &has);
    if (status != VS_OK && status != VS_NOTFOUND)
        return failed(call, index, status);
    resp_int(call->reply, status == VS_OK ? deadline_answer(call, has, form) : -2);
    return CMD_DONE;
}

enum cmd_result vector_expire_vttl(struct cmd_call *call)
{
    return ttl(call, DEADLINE_SECONDS);
}

enum cmd_result vector_expire_vpttl(struct cmd_call *call)
{
    return ttl(call, 0);
}

enum cmd_result vector_expire_vexpiretime(struct cmd_call *call)
{
    return ttl(call, DEADLINE_SECONDS | DEADLINE_ABSOLUTE);
}

enum cmd_result vector_expire_vpexpiretime(struct cmd_call *call)
{
    return ttl(call, DEADLINE_ABSOLUTE);
}

enum cmd_result vector_expire_vpersist(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    const struct resp_arg *id = &call->argv[2];
    uint64_t has = 0;
    enum vs_status status = get(index, id, &has);
    if (status == VS_OK && has) {
        status = vs_set_deadline(index, id->data, id->len, 0);
        if (status == VS_OK) {
            args_changed(call, 1);
            args_event(call, EVENT_VECTOR, "vpersist", 1);
        }
    }
    if (status != VS_OK && status != VS_NOTFOUND)
        return failed(call, index, status);
    resp_int(call->reply, status == VS_OK && has);
    return CMD_DONE;
}
