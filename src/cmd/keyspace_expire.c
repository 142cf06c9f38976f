/* Keys that end by themselves: the EXPIRE and TTL families, PERSIST. */
#include "cmd/deadline.h"
#include "cmd/keyspace_cmd.h"

/* One that is past already removes the key. */
static enum vs_status set(struct cmd_call *call, struct vs_index *index, long long when)
{
    const struct resp_arg *key = &call->argv[1];
    bool past = when <= (long long)call->now_ms;
    enum vs_status status = past ? vs_remove(call->store, call->db, key->data, key->len)
                                 : vs_set_index_deadline(index, (uint64_t)when);
    if (status == VS_OK) {
        args_changed(call, 1);
        args_event(call, EVENT_GENERIC, past ? "del" : "expire", 1);
    }
    return status;
}

static enum cmd_result expire(struct cmd_call *call, unsigned form)
{
    struct args a = args_from(call, 3);
    struct deadline_condition condition;
    long long when;
    if (!deadline_take_condition(call, &a, &condition) || !deadline_parse(call, &call->argv[2], form, &when))
        return CMD_DONE;
    struct vs_index *index = args_index(call, 1);
    if (!index || !deadline_meets(&condition, vs_index_deadline(index), when)) {
        resp_int(call->reply, 0);
        return CMD_DONE;
    }
    enum vs_status status = set(call, index, when);
    if (status == VS_OK)
        resp_int(call->reply, 1);
    else
        args_status_error(call->reply, status);
    return CMD_DONE;
}

enum cmd_result keyspace_expire(struct cmd_call *call)
{
    return expire(call, DEADLINE_SECONDS);
}

enum cmd_result keyspace_pexpire(struct cmd_call *call)
{
    return expire(call, 0);
}

enum cmd_result keyspace_expireat(struct cmd_call *call)
{
    return expire(call, DEADLINE_SECONDS | DEADLINE_ABSOLUTE);
}

enum cmd_result keyspace_pexpireat(struct cmd_call *call)
{
    return expire(call, DEADLINE_ABSOLUTE);
}

static enum cmd_result ttl(struct cmd_call *call, unsigned form)
{
    const struct vs_index *index = args_look(call, 1);
    resp_int(call->reply, index ? deadline_answer(call, vs_index_deadline(index), form) : -2);
    return CMD_DONE;
}

enum cmd_result keyspace_ttl(struct cmd_call *call)
{
    return ttl(call, DEADLINE_SECONDS);
}

enum cmd_result keyspace_pttl(struct cmd_call *call)
{
    return ttl(call, 0);
}

enum cmd_result keyspace_expiretime(struct cmd_call *call)
{
    return ttl(call, DEADLINE_SECONDS | DEADLINE_ABSOLUTE);
}

enum cmd_result keyspace_pexpiretime(struct cmd_call *call)
{
    return ttl(call, DEADLINE_ABSOLUTE);
}

enum cmd_result keyspace_persist(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    bool has = index && vs_index_deadline(index);
    enum vs_status status = has ? vs_set_index_deadline(index, 0) : VS_OK;
    if (status != VS_OK) {
        args_status_error(call->reply, status);
        return CMD_DONE;
    }
    if (has) {
        args_changed(call, 1);
        args_event(call, EVENT_GENERIC, "persist", 1);
    }
    resp_int(call->reply, has);
    return CMD_DONE;
}
