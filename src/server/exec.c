/* One command: from its arguments to its reply, in one go or in slices.
 *
 *   look up -> allowed? -> paused? -> MONITOR -> handler -> DONE            count, slow log
 *                                                       |-> AGAIN, BACKLOG  exec_resume goes on
 *                                                       |-> PENDING         reply.c counts it */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/client.h"
#include "server/latency.h"
#include "server/monitor.h"
#include "server/stats.h"

static bool wants_reply(const struct cmd_client *c)
{
    return !(c->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP));
}

static void set_writer(struct cmd_client *c)
{
    c->writer.version = c->resp;
    c->writer.out = wants_reply(c) ? reply_target(c) : &c->muted;
}

/* Was an error written at this place? Counts it. */
static bool count_error(struct cmd_client *c, size_t from)
{
    const struct buf *out = c->writer.out;
    if (out->len <= from || out->data[from] != '-')
        return false;
    stats_error(c->server->stats, out->data + from + 1, out->len - from - 1);
    return true;
}

static void end_command(struct cmd_client *c)
{
    if (c->call.state_free)
        c->call.state_free(c->call.state);
    c->call.state = NULL;
    c->call.state_free = NULL;
    c->call.spec = NULL;
    c->call.argv = NULL;
    c->call.argc = 0;
    c->call_ns = 0;
    c->called = c->wrote = false;
    if (c->muted.len)
        buf_reset(&c->muted);
    c->flags &= ~(unsigned)CLIENT_REPLY_SKIP;
    if (c->flags & CLIENT_REPLY_SKIP_NEXT) {
        c->flags &= ~(unsigned)CLIENT_REPLY_SKIP_NEXT;
        c->flags |= CLIENT_REPLY_SKIP;
    }
}

void exec_abandon(struct cmd_client *c)
{
    if (c->call.spec)
        end_command(c);
}

static void record(struct cmd_client *c)
{
    struct server *s = c->server;
    const struct cmd_spec *spec = c->call.spec;
    uint64_t us = c->call_ns / 1000;
    stats_command(s->stats, cmd_id(s->commands, spec), us, c->failed, s->config->latency_tracking);
    if (s->config->latency_monitor_threshold > 0 &&
        us / 1000 >= (uint64_t)s->config->latency_monitor_threshold)
        latency_add(s->latency, spec->flags & CMD_FAST ? "fast-command" : "command",
                    s->now_ms / 1000, us / 1000);
    long long slow = s->config->slowlog_log_slower_than;
    if (slow >= 0 && us >= (uint64_t)slow && !(spec->flags & CMD_SKIP_SLOWLOG))
        slowlog_add(s->slowlog,
                    slowlog_args_new(c->call.argv, c->call.argc, monitor_is_secret(spec)),
                    s->now_ms, us, net_conn_peer(c->conn), c->name ? c->name : "",
                    (size_t)s->config->slowlog_max_len);
}

/* Calls the handler once. */
static void run(struct cmd_client *c)
{
    struct server *s = c->server;
    struct cmd_call *call = &c->call;
    set_writer(c);
    call->reply = &c->writer;
    call->db = c->db;
    call->now_ms = s->now_ms;
    call->slice_end_ns = s->turn_end_ns;
    size_t from = c->writer.out->len;
    bool first = !c->called;
    c->called = true;
    s->running = s->last_command = call->spec;
    uint64_t began = clock_mono_ns();
    enum cmd_result result = call->spec->handler(call);
    uint64_t now = clock_mono_ns();
    s->running = NULL;
    s->now_ns = now;
    c->call_ns += now - began;
    if (first)
        c->failed = false;
    /* A slot taken by the handler starts a new buffer: there is no error to be found in the old
     * one. */
    if (result != CMD_PENDING)
        c->failed |= count_error(c, from);
    c->wrote |= result != CMD_PENDING && c->writer.out->len != from;
    switch (result) {
    case CMD_DONE:
        record(c);
        end_command(c);
        return;
    case CMD_PENDING:
        /* Its arguments go; reply.c counts it when its reply comes. */
        end_command(c);
        return;
    case CMD_AGAIN:
    case CMD_BACKLOG:
        if (c->muted.len)
            buf_reset(&c->muted);
        if (!c->slots_n)
            net_conn_seal(c->conn);
        client_wait(c, c->slots_n            ? CLIENT_WAITS_SLOTS
                       : result == CMD_AGAIN ? CLIENT_WAITS_AGAIN
                                             : CLIENT_WAITS_BACKLOG);
        return;
    }
}

static bool debug_allowed(const struct cmd_client *c)
{
    int allowed = c->server->config->enable_debug_command;
    return allowed == CONFIG_DEBUG_YES ||
           (allowed == CONFIG_DEBUG_LOCAL && net_conn_is_local(c->conn));
}

/* False when the command must not run; the reply is written. */
static bool check(struct cmd_client *c, const struct cmd_spec *spec)
{
    if (!c->authenticated && !(spec->flags & CMD_NO_AUTH)) {
        resp_error(&c->writer, "NOAUTH Authentication required.");
        return false;
    }
    if ((spec->flags & CMD_PROTECTED) && !debug_allowed(c)) {
        resp_error(&c->writer, "ERR DEBUG command not allowed. If the enable-debug-command option "
                               "is set to \"local\", you can run it "
                               "from a local connection, otherwise you need to set this option in "
                               "the configuration file, and then "
                               "restart the server.");
        return false;
    }
    return true;
}

static bool paused(const struct cmd_client *c, const struct cmd_spec *spec)
{
    const struct clients *cs = c->server->clients;
    if (cs->pause_until_ms <= c->server->now_ms)
        return false;
    if (spec->flags & CMD_ALLOW_BUSY)
        return false;
    return cs->pause_all || (spec->flags & CMD_WRITE);
}

/* A web page that was made to post to our port speaks HTTP: its first line or its Host header is
 * taken for an inline command. */
static bool is_http(struct cmd_client *c, const struct resp_arg *name)
{
    if (!(name->len == 4 && resp_is(name, "post")) && !(name->len == 5 && resp_is(name, "host:")))
        return false;
    log_warning("Possible attack: a client sent an HTTP request (POST or Host:). The connection "
                "from %s is closed.",
                net_conn_peer(c->conn));
    client_close(c);
    return true;
}

static void begin(struct cmd_client *c)
{
    struct server *s = c->server;
    if (paused(c, c->call.spec)) {
        client_wait(c, CLIENT_WAITS_PAUSE);
        return;
    }
    s->stats->processed++;
    s->stats->commands_in_turn++;
    c->commands++;
    c->last = c->call.spec;
    if (!TAILQ_EMPTY(&s->clients->monitors))
        monitor_feed(s, c, c->call.spec, c->call.argv, c->call.argc);
    run(c);
}

void exec_command(struct cmd_client *c, const struct resp_arg *argv, size_t argc)
{
    struct server *s = c->server;
    set_writer(c);
    size_t from = c->writer.out->len;
    const struct cmd_spec *spec = cmd_resolve(s->commands, argv, argc, &c->writer);
    if (!spec && is_http(c, &argv[0]))
        return;
    if (!spec || !check(c, spec)) {
        if (spec)
            s->stats->commands[cmd_id(s->commands, spec)].rejected++;
        s->stats->processed++;
        count_error(c, from);
        end_command(c);
        return;
    }
    c->call = (struct cmd_call){
        .host = &s->host, .client = c, .spec = spec, .argv = argv, .argc = argc, .store = s->store};
    begin(c);
}

void exec_resume(struct cmd_client *c)
{
    if (c->called)
        run(c);
    else
        begin(c);
}

void exec_unblock(struct cmd_client *c, bool error)
{
    set_writer(c);
    if (error)
        resp_error(&c->writer, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        resp_null(&c->writer);
    end_command(c);
    client_unwait(c);
    reply_send(c);
}
