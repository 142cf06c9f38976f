/* OBJECT and TOUCH: what is known of a key's use. */
#include <string.h>

#include "cmd/keyspace_cmd.h"

enum cmd_result keyspace_object_encoding(struct cmd_call *call)
{
    if (args_look(call, 2))
        resp_bulk_text(call->reply, "raw");
    else
        resp_null(call->reply);
    return CMD_DONE;
}

enum cmd_result keyspace_object_refcount(struct cmd_call *call)
{
    if (args_look(call, 2))
        resp_int(call->reply, 1);
    else
        resp_null(call->reply);
    return CMD_DONE;
}

#define SWITCHED                                                                                          \
    "Please note that when switching between policies at runtime LRU and LFU data will take some time to " \
    "adjust."

enum cmd_result keyspace_object_idletime(struct cmd_call *call)
{
    const struct vs_index *index = args_look(call, 2);
    if (!index)
        resp_null(call->reply);
    else if (vs_counts_uses(call->store))
        resp_error(call->reply, "ERR An LFU maxmemory policy is selected, idle time not tracked. " SWITCHED);
    else
        resp_int(call->reply, (long long)(vs_index_idle_ms(index) / 1000));
    return CMD_DONE;
}

enum cmd_result keyspace_object_freq(struct cmd_call *call)
{
    const struct vs_index *index = args_look(call, 2);
    if (!index)
        resp_null(call->reply);
    else if (!vs_counts_uses(call->store))
        resp_error(call->reply,
                   "ERR An LFU maxmemory policy is not selected, access frequency not tracked. " SWITCHED);
    else
        resp_int(call->reply, vs_index_frequency(index));
    return CMD_DONE;
}

enum cmd_result keyspace_object_help(struct cmd_call *call)
{
    static const char *const lines[] = {
        "OBJECT <subcommand> <key>. Subcommands are:",
        "ENCODING <key>",
        "    How the key's value is stored: raw, whatever the index.",
        "FREQ <key>",
        "    The logarithmic counter of its uses, under an LFU policy.",
        "IDLETIME <key>",
        "    Seconds since it was used last, under any other policy.",
        "REFCOUNT <key>",
        "    1.",
        "HELP",
        "    Prints this text.",
    };
    size_t n = sizeof lines / sizeof *lines;
    resp_array(call->reply, n);
    for (size_t i = 0; i < n; i++)
        resp_status(call->reply, lines[i]);
    return CMD_DONE;
}
