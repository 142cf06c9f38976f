/* The commands that take elements away or change their attributes. */
#include "base/mem.h"
#include "cmd/add_options.h"
#include "cmd/vector_cmd.h"

struct vdel_state {
    size_t next;        /* argument */
    long long removed;
};

enum cmd_result vector_del_vdel(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    struct vdel_state *s = call->state;
    if (!s) {
        s = mem_zalloc(sizeof *s);
        s->next = 2;
        call->state = s;
        call->state_free = mem_free;
    }
    long long before = s->removed;
    enum cmd_result result = CMD_DONE;
    enum vs_status status = VS_OK;
    while (index && s->next < call->argc) {
        const struct resp_arg *id = &call->argv[s->next];
        status = vs_delete(index, id->data, id->len);
        if (status == VS_BACKLOG) {
            status = VS_OK;
            result = CMD_BACKLOG;
            break;
        }
        s->next++;
        if (status != VS_OK && status != VS_NOTFOUND)
            break;
        s->removed += status == VS_OK;
        status = VS_OK;
        if (s->next < call->argc && args_slice_over(call)) {
            result = CMD_AGAIN;
            break;
        }
    }
    if (s->removed > before) {
        args_event(call, EVENT_VECTOR, "vdel", 1);
        args_remove_if_empty(call, 1, index);
        args_changed(call, 1);
    }
    if (status != VS_OK)
        args_index_error(call->reply, index, status);
    else if (result == CMD_DONE)
        resp_int(call->reply, s->removed);
    return result;
}

enum cmd_result vector_del_vrem(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    enum vs_status status = index ? vs_delete(index, call->argv[2].data, call->argv[2].len) : VS_NOTFOUND;
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    if (status != VS_OK && status != VS_NOTFOUND) {
        args_index_error(call->reply, index, status);
        return CMD_DONE;
    }
    if (status == VS_OK) {
        args_event(call, EVENT_VECTOR, "vdel", 1);
        args_remove_if_empty(call, 1, index);
        args_changed(call, 1);
    }
    resp_bool(call->reply, status == VS_OK);
    return CMD_DONE;
}

enum cmd_result vector_del_vsetattr(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, 1);
    const struct resp_arg *id = &call->argv[2], *attributes = &call->argv[3];
    const void *data;
    size_t len;
    enum vs_status status = index ? vs_get_attributes(index, id->data, id->len, &data, &len) : VS_NOTFOUND;
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    if (status == VS_NOTFOUND) {
        resp_bool(call->reply, false);
        return CMD_DONE;
    }
    if (!add_options_element(call->reply, index, id, attributes))
        return CMD_DONE;
    if (status == VS_OK)
        status = vs_set_attributes(index, id->data, id->len, attributes->data, attributes->len);
    if (status) {
        args_index_error(call->reply, index, status);
        return CMD_DONE;
    }
    args_changed(call, 1);
    args_event(call, EVENT_VECTOR, "vsetattr", 1);
    resp_bool(call->reply, true);
    return CMD_DONE;
}
