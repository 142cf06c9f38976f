/* CLIENT: what a connection says of itself, and what holds clients back. LIST and KILL are in
 * client_list.c. */
#include <string.h>

#include "base/mem.h"
#include "cmd/args.h"
#include "server/client.h"
#include "server/commands.h"

static enum cmd_result ok(struct cmd_call *call)
{
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

static enum cmd_result syntax(struct cmd_call *call)
{
    resp_error(call->reply, "ERR syntax error");
    return CMD_DONE;
}

static bool plain_text(const struct resp_arg *a)
{
    for (size_t i = 0; i < a->len; i++)
        if (a->data[i] < '!' || a->data[i] > '~')
            return false;
    return true;
}

enum cmd_result client_id_command(struct cmd_call *call)
{
    resp_int(call->reply, (long long)call->client->id);
    return CMD_DONE;
}

static enum cmd_result set_text(struct cmd_call *call, char **field, const struct resp_arg *text)
{
    if (client_set_text(field, text))
        return ok(call);
    args_status_error(call->reply, VS_NOMEM);
    return CMD_DONE;
}

enum cmd_result client_setname_command(struct cmd_call *call)
{
    if (!plain_text(&call->argv[2])) {
        resp_error(call->reply,
                   "ERR Client names cannot contain spaces, newlines or special characters.");
        return CMD_DONE;
    }
    return set_text(call, &call->client->name, &call->argv[2]);
}

enum cmd_result client_getname_command(struct cmd_call *call)
{
    if (call->client->name)
        resp_bulk_text(call->reply, call->client->name);
    else
        resp_null(call->reply);
    return CMD_DONE;
}

enum cmd_result client_setinfo_command(struct cmd_call *call)
{
    const struct resp_arg *attr = &call->argv[2], *value = &call->argv[3];
    char **field = resp_is(attr, "lib-name")  ? &call->client->lib_name
                   : resp_is(attr, "lib-ver") ? &call->client->lib_version
                                              : NULL;
    if (!field) {
        resp_error(call->reply, "ERR Unrecognized option '%.*s'",
                   (int)(attr->len < 128 ? attr->len : 128), attr->data);
        return CMD_DONE;
    }
    if (!plain_text(value)) {
        resp_error(call->reply, "ERR %.*s cannot contain spaces, newlines or special characters.",
                   (int)attr->len, attr->data);
        return CMD_DONE;
    }
    return set_text(call, field, value);
}

static enum cmd_result set_flag(struct cmd_call *call, unsigned flag)
{
    if (resp_is(&call->argv[2], "on"))
        call->client->flags |= flag;
    else if (resp_is(&call->argv[2], "off"))
        call->client->flags &= ~flag;
    else
        return syntax(call);
    return ok(call);
}

enum cmd_result client_noevict_command(struct cmd_call *call)
{
    return set_flag(call, CLIENT_NO_EVICT);
}

enum cmd_result client_notouch_command(struct cmd_call *call)
{
    return set_flag(call, CLIENT_NO_TOUCH);
}

enum cmd_result client_reply_command(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    const struct resp_arg *action = &call->argv[2];
    if (resp_is(action, "on")) {
        c->flags &= ~(unsigned)(CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT);
        /* The writer was set for a client that gets no replies. */
        call->reply->out = reply_target(c);
        return ok(call);
    }
    if (resp_is(action, "off"))
        c->flags |= CLIENT_REPLY_OFF;
    else if (resp_is(action, "skip")) {
        if (!(c->flags & CLIENT_REPLY_OFF))
            c->flags |= CLIENT_REPLY_SKIP_NEXT;
    } else
        return syntax(call);
    return CMD_DONE;
}

enum cmd_result client_pause_command(struct cmd_call *call)
{
    struct clients *cs = call->client->server->clients;
    long long ms;
    bool all = true;
    if (call->argc > 4)
        return syntax(call);
    if (call->argc == 4) {
        all = resp_is(&call->argv[3], "all");
        if (!all && !resp_is(&call->argv[3], "write"))
            return syntax(call);
    }
    if (!resp_to_int(&call->argv[2], &ms) || ms > INT64_MAX / 2) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
        return CMD_DONE;
    }
    if (ms < 0) {
        resp_error(call->reply, "ERR timeout is negative");
        return CMD_DONE;
    }
    uint64_t until = call->now_ms + (uint64_t)ms;
    bool active = cs->pause_until_ms > call->now_ms;
    cs->pause_all = all || (active && cs->pause_all);
    if (!active || until > cs->pause_until_ms)
        cs->pause_until_ms = until;
    return ok(call);
}

enum cmd_result client_unpause_command(struct cmd_call *call)
{
    struct server *s = call->client->server;
    s->clients->pause_until_ms = 0;
    clients_resume(s, CLIENT_WAITS_PAUSE);
    return ok(call);
}

enum cmd_result client_unblock_command(struct cmd_call *call)
{
    long long id;
    bool error = false;
    if (call->argc > 4)
        return syntax(call);
    if (call->argc == 4) {
        error = resp_is(&call->argv[3], "error");
        if (!error && !resp_is(&call->argv[3], "timeout"))
            return syntax(call);
    }
    if (!resp_to_int(&call->argv[2], &id)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return CMD_DONE;
    }
    struct cmd_client *c =
        id > 0 ? client_by_id(call->client->server->clients, (uint64_t)id) : NULL;
    bool blocked = c && !c->closing && c->wait == CLIENT_WAITS_BACKLOG && !c->wrote;
    if (blocked)
        exec_unblock(c, error);
    resp_int(call->reply, blocked);
    return CMD_DONE;
}
