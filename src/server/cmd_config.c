/* CONFIG. */
#include "server/commands.h"
#include "server/server.h"
#include "server/stats.h"

static void pair(void *arg, const char *name, const char *value, size_t len)
{
    resp_bulk_text(arg, name);
    resp_bulk(arg, value, len);
}

enum cmd_result config_get_command(struct cmd_call *call)
{
    const struct config *c = server_of(call)->config;
    resp_map(call->reply, config_get(c, call->argv + 2, call->argc - 2, NULL, NULL));
    config_get(c, call->argv + 2, call->argc - 2, pair, call->reply);
    return CMD_DONE;
}

enum cmd_result config_set_command(struct cmd_call *call)
{
    struct buf error = {0};
    if (call->argc % 2 != 0)
        resp_error(call->reply, "ERR wrong number of arguments for 'config|set' command");
    else if (config_set(server_of(call)->config, call->argv + 2, (call->argc - 2) / 2, &error))
        resp_status(call->reply, "OK");
    else
        resp_error(call->reply, "%s", error.data);
    buf_release(&error);
    return CMD_DONE;
}

enum cmd_result config_rewrite_command(struct cmd_call *call)
{
    struct buf error = {0};
    struct config *c = server_of(call)->config;
    if (!config_file(c))
        resp_error(call->reply, "ERR The server is running without a config file");
    else if (config_rewrite(c, &error))
        resp_status(call->reply, "OK");
    else
        resp_error(call->reply, "ERR Rewriting config file: %s", error.data);
    buf_release(&error);
    return CMD_DONE;
}

enum cmd_result config_resetstat_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    stats_reset(s->stats);
    vs_memory_status_reset(s->store);
    net_stats_reset(s->net);
    s->stats->rate_last_ms = s->now_ms;
    resp_status(call->reply, "OK");
    return CMD_DONE;
}
