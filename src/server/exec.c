/* One command: from its arguments to its reply, in one go or in slices.
 *
 *   look up -> allowed? -> paused? -> MONITOR -> handler -> DONE            count, slow log
 *                                                       |-> AGAIN, BACKLOG  exec_resume goes on
 *                                                       |-> PENDING         reply.c counts it
 *                 |-> in MULTI: queued (multi.h); EXEC's handler runs it by exec_queued
 *
 * What one call of a write command's handler changes is one record of the journal; its reply goes
 * through the gate (gate.h). */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/args.h"
#include "server/commands.h"
#include "server/gate.h"
#include "server/latency.h"
#include "server/memory_limit.h"
#include "server/monitor.h"
#include "server/multi.h"
#include "server/persistence.h"
#include "server/pubsub.h"
#include "server/replication.h"
#include "server/stats.h"

#define OPENING_NS 10000000000ull /* for which a transaction waits for a partition */

/* What a command may do: EXEC what those may that are queued. */
static unsigned flags_of(const struct cmd_client *c, const struct cmd_spec *spec)
{
    if (!c->multi || spec->handler != multi_exec_command)
        return spec->flags;
    return (spec->flags & ~(unsigned)CMD_LOADING) | multi_flags(c);
}

static bool wants_reply(const struct cmd_client *c)
{
    return !(c->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP));
}

static void set_writer(struct cmd_client *c)
{
    c->writer.lost = false;
    c->writer.version = c->resp;
    /* Behind a search of a transaction the gate is not the last. */
    c->writer.out = c->gate && c->last_slot == c->gate ? &c->gate->pending.reply
                    : wants_reply(c)                   ? reply_target(c)
                                                       : &c->muted;
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
    if (c->gate)
        gate_end(c);
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
    if (c->pubsub)
        pubsub_flush(c);
}

void exec_abandon(struct cmd_client *c)
{
    if (c->call.spec)
        end_command(c);
}

static void record(struct cmd_client *c, const struct cmd_call *call, uint64_t ns, bool failed)
{
    struct server *s = c->server;
    const struct cmd_spec *spec = call->spec;
    uint64_t us = ns / 1000;
    stats_command(s->stats, cmd_id(s->commands, spec), us, failed, s->config->latency_tracking);
    if (s->config->latency_monitor_threshold > 0 &&
        us / 1000 >= (uint64_t)s->config->latency_monitor_threshold)
        latency_add(s->latency, spec->flags & CMD_FAST ? "fast-command" : "command",
                    s->now_ms / 1000, us / 1000);
    long long slow = s->config->slowlog_log_slower_than;
    if (slow >= 0 && us >= (uint64_t)slow && !(spec->flags & CMD_SKIP_SLOWLOG))
        slowlog_add(s->slowlog,
                    slowlog_args_new(call->argv, call->argc, monitor_is_secret(spec)),
                    s->now_ms, us, net_conn_peer(c->conn), c->name ? c->name : "",
                    (size_t)s->config->slowlog_max_len);
}

/* Calls the handler; a write's effects are one record. */
static enum cmd_result call_handler(struct cmd_client *c)
{
    struct journal *j = c->server->journal;
    vs_marks_off(c->server->store, (c->flags & CLIENT_NO_TOUCH) != 0);
    if (!(flags_of(c, c->call.spec) & CMD_WRITE) || !j)
        return c->call.spec->handler(&c->call);
    uint64_t before = journal_lsn(j);
    journal_group_begin(j);
    c->inside = true;
    enum cmd_result result = c->call.spec->handler(&c->call);
    c->inside = false;
    journal_group_end(j);
    uint64_t after = journal_lsn(j);
    if (after != before) {
        c->repl_offset = c->server->repl_offset;
        c->write_lsn = after;
    }
    if (c->gate && after != before)
        gate_note(c, after);
    return result;
}

/* A reply that memory has run out for becomes an error. When a part of it has left already, there is
 * nothing more to be said on this connection: false. */
static bool mend_reply(struct cmd_client *c, size_t from)
{
    if (c->wrote)
        return false;
    c->writer.out->len = from;
    args_status_error(&c->writer, VS_NOMEM);
    return true;
}

/* Calls the handler once. */
static void run(struct cmd_client *c)
{
    struct server *s = c->server;
    struct cmd_call *call = &c->call;
    if (!c->called && (flags_of(c, call->spec) & CMD_WRITE) && s->journal && s->config->appendonly)
        gate_take(c);
    set_writer(c);
    call->reply = &c->writer;
    call->store = s->store; /* DEBUG RELOAD makes another */
    call->db = c->db;
    call->now_ms = s->now_ms;
    call->slice_end_ns = s->turn_end_ns;
    size_t from = c->writer.out->len;
    bool first = !c->called;
    c->called = true;
    s->running = s->last_command = call->spec;
    uint64_t began = clock_mono_ns();
    enum cmd_result result = call_handler(c);
    bool lost = c->writer.lost && result != CMD_PENDING, mended = lost && mend_reply(c, from);
    if (lost)
        result = CMD_DONE;
    uint64_t now = clock_mono_ns();
    s->running = NULL;
    s->now_ns = now;
    c->call_ns += now - began;
    if (first)
        c->failed = false;
    /* A slot taken by the handler starts a new buffer: there is no error to be found in the old
     * one. */
    if (result != CMD_PENDING && !c->wrote) /* what goes on may be in the midst of a bulk string */
        c->failed |= count_error(c, from);
    c->wrote |= result != CMD_PENDING && c->writer.out->len != from;
    switch (result) {
    case CMD_DONE:
        record(c, call, c->call_ns, c->failed);
        end_command(c);
        if (lost && !mended) {
            log_warning("A client is disconnected: no memory for the rest of its reply");
            client_close(c);
        }
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
        client_wait(c, c->slots_n && !c->gate ? CLIENT_WAITS_SLOTS
                       : result == CMD_AGAIN  ? CLIENT_WAITS_AGAIN
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

#define OOM_TEXT "OOM command not allowed when used memory > 'maxmemory'."

/* Memory is made by evicting, where something may be. False: the error is written. */
static bool has_memory(struct cmd_client *c, const struct cmd_spec *spec)
{
    if (!(flags_of(c, spec) & CMD_DENYOOM) || memory_limit_check(c->server) != VS_MEMORY_FULL)
        return true;
    if (spec->handler == multi_exec_command) {
        resp_error(&c->writer, "EXECABORT Transaction discarded because of: " OOM_TEXT);
        multi_forget(c);
    } else {
        resp_error(&c->writer, OOM_TEXT);
    }
    return false;
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
    if (c->pubsub && c->resp == 2 && !pubsub_allows(spec)) {
        char name[128];
        cmd_full_name(c->server->commands, spec, name, sizeof(name));
        resp_error(&c->writer,
                   "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                   "RESET are allowed in this context",
                   name);
        return false;
    }
    if (c->multi && (spec->flags & CMD_NO_MULTI)) {
        resp_error(&c->writer, "ERR Command not allowed inside a transaction");
        return false;
    }
    if (c->server->loading && !(flags_of(c, spec) & CMD_LOADING)) {
        resp_error(&c->writer, "LOADING VecStore is loading the dataset in memory");
        return false;
    }
    /* PING fails, too, so that what watches the server takes another. */
    bool asks = (flags_of(c, spec) & CMD_WRITE) || spec->handler == connection_ping;
    const char *why = asks ? persistence_error(c->server) : NULL;
    if (!why && c->server->repl_refuses)
        why = c->server->repl_hooks->refuses(c->server, c, flags_of(c, spec),
                                             spec->handler == connection_ping);
    if (why && spec->handler == multi_exec_command) {
        resp_error(&c->writer, "EXECABORT Transaction discarded because of: %s", why);
        multi_forget(c);
        return false;
    }
    if (why) {
        resp_error(&c->writer, "%s", why);
        return false;
    }
    return has_memory(c, spec);
}

/* What the last snapshot does not hold must not be acknowledged, nor what the node that takes over does not
 * have. */
static bool paused_by_end(const struct cmd_client *c)
{
    return (c->server->shutdown == SHUTDOWN_SAVING || c->server->repl_pause) &&
           (flags_of(c, c->call.spec) & CMD_WRITE);
}

static bool paused(const struct cmd_client *c, const struct cmd_spec *spec)
{
    const struct clients *cs = c->server->clients;
    if (spec->flags & CMD_ALLOW_BUSY)
        return false;
    if (paused_by_end(c) || c->server->swapping)
        return true;
    if (cs->pause_until_ms <= c->server->now_ms)
        return false;
    return cs->pause_all || (flags_of(c, spec) & CMD_WRITE);
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
    if ((flags_of(c, c->call.spec) & CMD_WRITE) && persistence_full(s)) {
        client_wait(c, CLIENT_WAITS_JOURNAL);
        return;
    }
    if ((flags_of(c, c->call.spec) & CMD_DENYOOM) && s->memory_state == VS_MEMORY_TIGHT) {
        client_wait(c, CLIENT_WAITS_BACKLOG);
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

/* The reply says why, from there on. `spec` NULL: there is no such command. */
static void refused(struct cmd_client *c, const struct cmd_spec *spec, size_t from)
{
    struct server *s = c->server;
    if (spec)
        s->stats->commands[cmd_id(s->commands, spec)].rejected++;
    s->stats->processed++;
    count_error(c, from);
    if (c->multi)
        multi_fail(c);
    end_command(c);
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
        refused(c, spec, from);
        return;
    }
    if (c->multi && !multi_runs_at_once(spec)) {
        multi_queue(c, spec, argv, argc);
        count_error(c, from);
        end_command(c);
        return;
    }
    c->call = (struct cmd_call){
        .host = &s->host, .client = c, .spec = spec, .argv = argv, .argc = argc, .store = s->store};
    begin(c);
}

/* ---- inside EXEC ---- */

/* Calls the handler until the command is done: it has no other turn to go on in. */
static enum cmd_result call_to_end(struct server *s, struct cmd_call *call)
{
    uint64_t until = clock_mono_ns() + OPENING_NS;
    enum cmd_result result;
    while ((result = call->spec->handler(call)) == CMD_AGAIN || result == CMD_BACKLOG) {
        if (result == CMD_AGAIN)
            continue;
        if (clock_mono_ns() > until)
            return CMD_BACKLOG;
        if (!vs_poll(s->store, 1000))
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return result;
}

void exec_queued(struct cmd_client *c, const struct cmd_spec *spec, const struct resp_arg *argv,
                 size_t argc)
{
    struct server *s = c->server;
    set_writer(c);
    struct buf *out = c->writer.out;
    size_t from = out->len;
    struct cmd_call call = {.host = &s->host,
                            .client = c,
                            .spec = spec,
                            .argv = argv,
                            .argc = argc,
                            .reply = &c->writer,
                            .store = s->store,
                            .db = c->db,
                            .now_ms = s->now_ms,
                            .slice_end_ns = UINT64_MAX,
                            .transaction = true};
    s->stats->processed++;
    c->commands++;
    c->last = spec;
    s->running = s->last_command = spec;
    uint64_t began = clock_mono_ns();
    enum cmd_result result = call_to_end(s, &call);
    uint64_t took = clock_mono_ns() - began;
    if (call.state_free)
        call.state_free(call.state);
    if (result == CMD_PENDING)
        return; /* reply.c counts it */
    if (result == CMD_BACKLOG) {
        out->len = from;
        resp_error(&c->writer, "ERR the partition could not be opened in time");
    } else if (c->writer.lost) {
        out->len = from;
        args_status_error(&c->writer, VS_NOMEM);
    }
    record(c, &call, took, c->writer.out == out && count_error(c, from));
}

void exec_resume(struct cmd_client *c)
{
    if (!c->called) {
        /* It has waited: what it may do is not what it was. */
        set_writer(c);
        size_t from = c->writer.out->len;
        if (check(c, c->call.spec))
            begin(c);
        else
            refused(c, c->call.spec, from);
    } else if (paused_by_end(c)) {
        client_wait(c, CLIENT_WAITS_PAUSE);
    } else {
        run(c);
    }
}

void exec_end_writes(struct server *s, const char *why)
{
    for (size_t i = 0; i < s->clients->n; i++) {
        struct cmd_client *c = s->clients->at[i];
        /* Also one whose turn has come, and is not there yet. */
        if (!c->called || c->inside || !(flags_of(c, c->call.spec) & CMD_WRITE))
            continue;
        if (c->wrote) {
            client_close(c); /* a part of its reply has left */
            continue;
        }
        set_writer(c);
        resp_error(&c->writer, "%s", why);
        if (c->multi)
            multi_forget(c);
        end_command(c);
        client_unwait(c);
        reply_send(c);
    }
}

void exec_unblock(struct cmd_client *c, bool error)
{
    set_writer(c);
    if (error)
        resp_error(&c->writer, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        resp_null(&c->writer);
    if (c->multi)
        multi_forget(c);
    end_command(c);
    client_unwait(c);
    reply_send(c);
}
