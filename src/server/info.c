/* INFO: which sections are asked for, and in which order they come. */
#include "server/info.h"

#include <stdio.h>

#include "server/commands.h"

static void no_lines(struct server *s, struct buf *out)
{
    (void)s;
    (void)out;
}

static const struct section {
    const char *name, *title;
    void (*write)(struct server *s, struct buf *out);
    bool by_default;
} sections[] = {
    {"server", "Server", info_server, true},
    {"clients", "Clients", info_clients, true},
    {"memory", "Memory", info_memory, true},
    {"persistence", "Persistence", info_persistence, true},
    {"stats", "Stats", info_stats, true},
    {"replication", "Replication", info_replication, true},
    {"cpu", "CPU", info_cpu, true},
    {"modules", "Modules", no_lines, true},
    {"commandstats", "Commandstats", info_commandstats, false},
    {"errorstats", "Errorstats", info_errorstats, true},
    {"latencystats", "Latencystats", info_latencystats, false},
    {"cluster", "Cluster", info_cluster, true},
    {"keyspace", "Keyspace", info_keyspace, true},
    {"vecstore", "Vecstore", info_vecstore, true},
};

static bool asked_for(const struct cmd_call *call, const struct section *section)
{
    if (call->argc == 1)
        return section->by_default;
    for (size_t i = 1; i < call->argc; i++) {
        const struct resp_arg *a = &call->argv[i];
        if (resp_is(a, section->name) || resp_is(a, "all") || resp_is(a, "everything") ||
            (resp_is(a, "default") && section->by_default))
            return true;
    }
    return false;
}

void info_human(size_t bytes, char out[32])
{
    static const char units[] = "BKMGTP";
    double n = (double)bytes;
    size_t unit = 0;
    while (n >= 1024 && unit < sizeof(units) - 2) {
        n /= 1024;
        unit++;
    }
    snprintf(out, 32, unit ? "%.2f%c" : "%.0f%c", n, units[unit]);
}

enum cmd_result info_command(struct cmd_call *call)
{
    struct buf out = {0};
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (!asked_for(call, &sections[i]))
            continue;
        buf_printf(&out, "%s# %s\r\n", out.len ? "\r\n" : "", sections[i].title);
        sections[i].write(server_of(call), &out);
    }
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}
