/* PING, ECHO, HELLO, AUTH, RESET, QUIT, SELECT. */
#include <string.h>

#include "base/log.h"
#include "cmd/args.h"
#include "server/auth.h"
#include "server/client.h"
#include "server/commands.h"

enum cmd_result connection_ping(struct cmd_call *call)
{
    if (call->argc > 2)
        resp_error(call->reply, "ERR wrong number of arguments for 'ping' command");
    else if (call->client->pubsub && call->client->resp == 2) {
        /* One that listens takes everything for a message. */
        resp_array(call->reply, 2);
        resp_bulk_text(call->reply, "pong");
        resp_bulk(call->reply, call->argc == 2 ? call->argv[1].data : "",
                  call->argc == 2 ? call->argv[1].len : 0);
    } else if (call->argc == 2)
        resp_bulk(call->reply, call->argv[1].data, call->argv[1].len);
    else
        resp_status(call->reply, "PONG");
    return CMD_DONE;
}

enum cmd_result connection_echo(struct cmd_call *call)
{
    resp_bulk(call->reply, call->argv[1].data, call->argv[1].len);
    return CMD_DONE;
}

static void let_in(struct cmd_client *c)
{
    c->authenticated = true;
    client_apply_limits(c);
}

static bool good_name(const struct resp_arg *name)
{
    for (size_t i = 0; i < name->len; i++)
        if (name->data[i] < '!' || name->data[i] > '~')
            return false;
    return true;
}

struct hello {
    long long version;
    const struct resp_arg *user, *password, *name;
};

/* False: the error is written. */
static bool parse_hello(struct cmd_call *call, struct hello *h)
{
    if (call->argc > 1 && !resp_to_int(&call->argv[1], &h->version)) {
        resp_error(call->reply, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (h->version != 2 && h->version != 3) {
        resp_error(call->reply, "NOPROTO unsupported protocol version");
        return false;
    }
    for (size_t i = 2; i < call->argc; i++) {
        size_t left = call->argc - 1 - i;
        if (resp_is(&call->argv[i], "auth") && left >= 2) {
            h->user = &call->argv[i + 1];
            h->password = &call->argv[i + 2];
            i += 2;
        } else if (resp_is(&call->argv[i], "setname") && left >= 1) {
            h->name = &call->argv[++i];
        } else {
            resp_error(call->reply, "ERR Syntax error in HELLO option '%.*s'",
                       (int)(call->argv[i].len < 128 ? call->argv[i].len : 128),
                       call->argv[i].data);
            return false;
        }
    }
    return true;
}

static void greet(struct cmd_call *call)
{
    struct resp_writer *w = call->reply;
    w->version = call->client->resp;
    resp_map(w, 7);
    resp_bulk_text(w, "server");
    resp_bulk_text(w, "redis");
    resp_bulk_text(w, "version");
    resp_bulk_text(w, REDIS_VERSION);
    resp_bulk_text(w, "proto");
    resp_int(w, call->client->resp);
    resp_bulk_text(w, "id");
    resp_int(w, (long long)call->client->id);
    resp_bulk_text(w, "mode");
    resp_bulk_text(w, "standalone");
    resp_bulk_text(w, "role");
    resp_bulk_text(w, call->client->server->follows ? "replica" : "master");
    resp_bulk_text(w, "modules");
    resp_array(w, 0);
}

enum cmd_result connection_hello(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    struct hello h = {.version = c->resp};
    if (!parse_hello(call, &h))
        return CMD_DONE;
    if (h.password) {
        if (!auth_check(c->server, h.user, h.password)) {
            auth_refuse(call->reply);
            return CMD_DONE;
        }
        let_in(c);
    }
    if (!c->authenticated) {
        resp_error(call->reply, "NOAUTH HELLO must be called with the client already "
                                "authenticated, otherwise the HELLO <proto> AUTH "
                                "<user> <pass> option can be used to authenticate the client and "
                                "select the RESP protocol version at the same time");
        return CMD_DONE;
    }
    if (h.name) {
        if (!good_name(h.name)) {
            resp_error(call->reply,
                       "ERR Client names cannot contain spaces, newlines or special characters.");
            return CMD_DONE;
        }
        if (!client_set_text(&c->name, h.name)) {
            args_status_error(call->reply, VS_NOMEM);
            return CMD_DONE;
        }
    }
    c->resp = (int)h.version;
    greet(call);
    return CMD_DONE;
}

enum cmd_result connection_auth(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    if (call->argc > 3) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    if (call->argc == 2 && !*c->server->config->requirepass) {
        resp_error(call->reply, "ERR AUTH <password> called without any password configured for "
                                "the default user. Are you sure "
                                "your configuration is correct?");
        return CMD_DONE;
    }
    const struct resp_arg *user = call->argc == 3 ? &call->argv[1] : NULL;
    if (!auth_check(c->server, user, &call->argv[call->argc - 1])) {
        log_verbose("Failed AUTH from %s", net_conn_peer(c->conn));
        auth_refuse(call->reply);
        return CMD_DONE;
    }
    let_in(c);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result connection_reset(struct cmd_call *call)
{
    bool off = (call->client->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP)) == CLIENT_REPLY_OFF;
    client_reset(call->client);
    if (off) /* the writer was set for a client that gets no replies */
        call->reply->out = reply_target(call->client);
    call->reply->version = call->client->resp;
    resp_status(call->reply, "RESET");
    return CMD_DONE;
}

enum cmd_result connection_quit(struct cmd_call *call)
{
    resp_status(call->reply, "OK");
    call->client->flags |= CLIENT_CLOSE_AFTER;
    return CMD_DONE;
}

enum cmd_result connection_select(struct cmd_call *call)
{
    long long db;
    if (!resp_to_int(&call->argv[1], &db))
        resp_error(call->reply, "ERR value is not an integer or out of range");
    else if (db < 0 || db >= (long long)vs_databases(call->store))
        resp_error(call->reply, "ERR DB index is out of range");
    else {
        call->client->db = (unsigned)db;
        resp_status(call->reply, "OK");
    }
    return CMD_DONE;
}
