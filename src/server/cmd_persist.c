/* SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF, SHUTDOWN. */
#include "base/log.h"
#include "persist/persist.h"
#include "server/client.h"
#include "server/commands.h"
#include "server/persistence.h"

static void refuse(struct cmd_call *call, const char *what, enum vs_status status)
{
    if (status == VS_CORRUPT)
        resp_error(call->reply, "ERR %s is refused while a partition is damaged: what the journal "
                                "holds of it would go. INFO persistence and the log say which.",
                   what);
    else
        resp_error(call->reply, "ERR %s cannot begin: %s. The log says why.", what,
                   vs_status_text(status));
}

enum cmd_result persist_save_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    if (s->saving.runs) {
        resp_error(call->reply, "ERR Background save already in progress");
        return CMD_DONE;
    }
    struct cmd_pending *reply = cmd_defer(call);
    enum vs_status status = saving_begin(s, false, reply);
    if (status == VS_OK)
        return CMD_PENDING;
    struct resp_writer w = {.out = &reply->reply, .version = reply->resp_version};
    struct cmd_call as = *call;
    as.reply = &w;
    if (status == VS_EXISTS)
        resp_error(&w, "ERR Background save already in progress");
    else
        refuse(&as, "SAVE", status);
    reply_finish(reply);
    return CMD_PENDING;
}

enum cmd_result persist_bgsave_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    bool schedule = call->argc == 2 && resp_is(&call->argv[1], "schedule");
    if (call->argc > 2 || (call->argc == 2 && !schedule)) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    if (s->saving.runs && !s->saving.rewrite) {
        resp_error(call->reply, "ERR Background save already in progress");
        return CMD_DONE;
    }
    enum vs_status status = s->saving.runs || s->in_exec ? VS_EXISTS : saving_begin(s, false, NULL);
    if (status == VS_OK) {
        resp_status(call->reply, "Background saving started");
    } else if (status != VS_EXISTS) {
        refuse(call, "BGSAVE", status);
    } else if (schedule || s->in_exec) { /* no snapshot holds half a transaction */
        s->saving.save_scheduled = true;
        resp_status(call->reply, "Background saving scheduled");
    } else {
        resp_error(call->reply, "ERR The journal is being rewritten: can't BGSAVE right now. Use "
                                "BGSAVE SCHEDULE to schedule a BGSAVE for when that has ended.");
    }
    return CMD_DONE;
}

enum cmd_result persist_lastsave_command(struct cmd_call *call)
{
    resp_int(call->reply, (long long)server_of(call)->saving.saved_s);
    return CMD_DONE;
}

enum cmd_result persist_bgrewriteaof_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    if (!s->config->appendonly) {
        resp_error(call->reply, "ERR There is no journal to rewrite: appendonly is no");
        return CMD_DONE;
    }
    if (s->saving.runs && s->saving.rewrite) {
        resp_error(call->reply,
                   "ERR Background append only file rewriting already in progress");
        return CMD_DONE;
    }
    enum vs_status status = s->saving.runs || s->in_exec ? VS_EXISTS : saving_begin(s, true, NULL);
    if (status == VS_OK) {
        resp_status(call->reply, "Background append only file rewriting started");
    } else if (status == VS_EXISTS) {
        s->saving.rewrite_scheduled = true;
        resp_status(call->reply, "Background append only file rewriting scheduled");
    } else {
        refuse(call, "BGREWRITEAOF", status);
    }
    return CMD_DONE;
}

/* False: the words do not fit together. */
static bool parse_shutdown(const struct cmd_call *call, struct shutdown_options *how, bool *stop)
{
    bool bad = false;
    for (size_t i = 1; i < call->argc; i++) {
        const struct resp_arg *a = &call->argv[i];
        bool *which = resp_is(a, "save")     ? &how->save
                      : resp_is(a, "nosave") ? &how->nosave
                      : resp_is(a, "now")    ? &how->now
                      : resp_is(a, "force")  ? &how->force
                      : resp_is(a, "abort")  ? stop
                                             : &bad;
        *which = true;
    }
    return !bad && !(how->save && how->nosave) && !(*stop && call->argc > 2);
}

enum cmd_result persist_shutdown_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    struct shutdown_options how = {0};
    bool stop = false;
    if (!parse_shutdown(call, &how, &stop)) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    if (stop) {
        if (shutdown_abort(s))
            resp_status(call->reply, "OK");
        else
            resp_error(call->reply, "ERR No shutdown in progress.");
        return CMD_DONE;
    }
    if (s->shutdown == SHUTDOWN_SAVING && !how.nosave) {
        resp_error(call->reply, "ERR The server is shutting down already: SHUTDOWN NOSAVE does not "
                                "wait for the snapshot, SHUTDOWN ABORT calls it off.");
        return CMD_DONE;
    }
    log_warning("User requested shutdown...");
    switch (shutdown_begin(s, how)) {
    case SHUTDOWN_STAYS:
        resp_error(call->reply, "ERR Errors trying to SHUTDOWN. Check logs.");
        return CMD_DONE;
    case SHUTDOWN_SAVES: s->shutdown_reply = cmd_defer(call); return CMD_PENDING;
    case SHUTDOWN_GOES: break;
    }
    call->client->flags |= CLIENT_CLOSE_AFTER;
    return CMD_DONE;
}
