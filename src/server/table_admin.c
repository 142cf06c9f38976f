/* The rows of the server commands. Summaries and versions are facts about Redis' commands; texts are ours. */
#include "server/commands.h"
#include "server/latency.h"
#include "server/monitor.h"
#include "server/server.h"
#include "server/slowlog.h"

#define STATE (CMD_LOADING | CMD_STALE)
#define ADMIN (CMD_ADMIN | CMD_LOADING | CMD_STALE | CMD_NOSCRIPT)
#define ACL_ADMINS (ACL_ADMIN | ACL_SLOW | ACL_DANGEROUS)

#define END {.name = NULL}

/* ---- CONFIG ---- */

static const struct cmd_arg config_get_args[] = {{"parameter", ARG_STRING, NULL, ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg config_pair[] = {{"parameter", ARG_STRING, NULL, 0, NULL}, {"value", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg config_set_args[] = {{"data", ARG_BLOCK, NULL, ARG_MULTIPLE, config_pair}, END};
static const struct cmd_error_doc config_set_errors[] = {
    {"ERR Unknown option or number of arguments for CONFIG SET - '...'", "no such setting"},
    {"ERR CONFIG SET failed (possibly related to argument '...') - ...", "the value is not allowed, or cannot be put into effect; nothing is changed"},
    {NULL, NULL}};
static const struct cmd_error_doc config_rewrite_errors[] = {
    {"ERR The server is running without a config file", "it was started without one"},
    {"ERR Rewriting config file: ...", "the file cannot be written; it stays as it was"}, {NULL, NULL}};

static const struct cmd_spec config_subcommands[] = {
    {.name = "get", .summary = "Returns the effective values of configuration parameters.", .group = "server", .since = "2.0.0",
     .complexity = "O(N) when N is the number of configuration parameters provided", .arity = -3, .flags = ADMIN, .acl = ACL_ADMINS,
     .args = config_get_args, .handler = config_get_command, .reply = "Map: name and value of every setting that a pattern matches.",
     .example = "> CONFIG GET maxclients\n1) \"maxclients\"\n2) \"10000\""},
    {.name = "set", .summary = "Sets configuration parameters in-flight.", .group = "server", .since = "2.0.0",
     .complexity = "O(N) when N is the number of configuration parameters provided", .arity = -4, .flags = ADMIN, .acl = ACL_ADMINS,
     .args = config_set_args, .handler = config_set_command, .errors = config_set_errors, .reply = "`OK`: all are set, or none."},
    {.name = "rewrite", .summary = "Persists the effective configuration to file.", .group = "server", .since = "2.8.0",
     .complexity = "O(N) when N is the number of configuration parameters", .arity = 2, .flags = ADMIN, .acl = ACL_ADMINS,
     .handler = config_rewrite_command, .errors = config_rewrite_errors, .reply = "`OK`"},
    {.name = "resetstat", .summary = "Resets the server's statistics.", .group = "server", .since = "2.0.0", .complexity = "O(1)", .arity = 2,
     .flags = ADMIN, .acl = ACL_ADMINS, .handler = config_resetstat_command, .reply = "`OK`",
     .notes = "Counters of INFO's sections stats, commandstats, errorstats and latencystats, and the longest turn of the loop."},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "5.0.0", .complexity = "O(1)",
     .arity = 2, .flags = STATE, .acl = ACL_SLOW, .handler = help_command, .reply = "Array of simple strings."},
    END};

/* ---- COMMAND ---- */

static const struct cmd_arg names_args[] = {{"command-name", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg filter_words[] = {
    {"module-name", ARG_STRING, "MODULE", 0, NULL}, {"category", ARG_STRING, "ACLCAT", 0, NULL}, {"pattern", ARG_PATTERN, "PATTERN", 0, NULL}, END};
static const struct cmd_arg list_args[] = {{"filterby", ARG_ONEOF, "FILTERBY", ARG_OPTIONAL, filter_words}, END};
static const struct cmd_arg getkeys_args[] = {
    {"command", ARG_STRING, NULL, 0, NULL}, {"arg", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_error_doc getkeys_errors[] = {
    {"ERR Invalid command specified", "no such command"},
    {"ERR Invalid number of arguments specified for command", "the arguments do not fit the command"},
    {"ERR The command has no key arguments", "it has none"}, {NULL, NULL}};

static const struct cmd_spec command_subcommands[] = {
    {.name = "count", .summary = "Returns a count of commands.", .group = "server", .since = "2.8.13", .complexity = "O(1)", .arity = 2,
     .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION, .handler = command_count_command, .reply = "Integer"},
    {.name = "info", .summary = "Returns information about one, multiple or all commands.", .group = "server", .since = "2.8.13",
     .complexity = "O(N) where N is the number of commands to look up", .arity = -2, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .args = names_args, .handler = command_info_command,
     .reply = "Array with an entry per command: name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands; "
              "null for a command that is not there."},
    {.name = "docs", .summary = "Returns documentary information about one, multiple or all commands.", .group = "server", .since = "7.0.0",
     .complexity = "O(N) where N is the number of commands to look up", .arity = -2, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .args = names_args, .handler = command_docs_command,
     .reply = "Map: name to a map of summary, since, group, complexity, arguments, subcommands. redis-cli's hints come from here."},
    {.name = "list", .summary = "Returns a list of command names.", .group = "server", .since = "7.0.0",
     .complexity = "O(N) where N is the total number of commands", .arity = -2, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .args = list_args, .handler = command_list_command, .reply = "Array of names."},
    {.name = "getkeys", .summary = "Extracts the key names from an arbitrary command.", .group = "server", .since = "2.8.13",
     .complexity = "O(N) where N is the number of arguments to the command", .arity = -3, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .args = getkeys_args, .handler = command_getkeys_command, .errors = getkeys_errors, .reply = "Array of keys.",
     .example = "> COMMAND GETKEYS VSEARCH docs ELE a K 5\n1) \"docs\""},
    {.name = "getkeysandflags", .summary = "Extracts the key names and access flags for an arbitrary command.", .group = "server", .since = "7.0.0",
     .complexity = "O(N) where N is the number of arguments to the command", .arity = -3, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .args = getkeys_args, .handler = command_getkeysandflags_command, .errors = getkeys_errors,
     .reply = "Array of arrays: key, and an array of its flags."},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "5.0.0", .complexity = "O(1)",
     .arity = 2, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION, .handler = help_command, .reply = "Array of simple strings."},
    END};

/* ---- SLOWLOG, LATENCY, MEMORY ---- */

static const struct cmd_arg count_args[] = {{"count", ARG_INTEGER, NULL, ARG_OPTIONAL, NULL}, END};
static const struct cmd_error_doc slowlog_errors[] = {
    {"ERR count should be greater than or equal to -1", "`count` is not such a number"}, {NULL, NULL}};
static const struct cmd_spec slowlog_subcommands[] = {
    {.name = "get", .summary = "Returns the slow log's entries.", .group = "server", .since = "2.2.12",
     .complexity = "O(N) where N is the number of entries returned", .arity = -2, .flags = ADMIN & ~(unsigned)CMD_NOSCRIPT, .acl = ACL_ADMINS,
     .args = count_args, .handler = slowlog_get_command, .errors = slowlog_errors,
     .reply = "Array of entries, newest first: id, time (Unix, seconds), microseconds, arguments, client's address, client's name. -1 asks for all."},
    {.name = "len", .summary = "Returns the number of entries in the slow log.", .group = "server", .since = "2.2.12", .complexity = "O(1)",
     .arity = 2, .flags = ADMIN & ~(unsigned)CMD_NOSCRIPT, .acl = ACL_ADMINS, .handler = slowlog_len_command, .reply = "Integer"},
    {.name = "reset", .summary = "Clears all entries from the slow log.", .group = "server", .since = "2.2.12",
     .complexity = "O(N) where N is the number of entries in the slowlog", .arity = 2, .flags = ADMIN & ~(unsigned)CMD_NOSCRIPT, .acl = ACL_ADMINS,
     .handler = slowlog_reset_command, .reply = "`OK`"},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "6.2.0", .complexity = "O(1)",
     .arity = 2, .flags = STATE, .acl = ACL_SLOW, .handler = help_command, .reply = "Array of simple strings."},
    END};

static const struct cmd_arg event_args[] = {{"event", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg events_args[] = {{"event", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg commands_args[] = {{"command", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_error_doc graph_errors[] = {{"ERR No samples available for event '...'", "no such event has happened"}, {NULL, NULL}};
static const struct cmd_spec latency_subcommands[] = {
    {.name = "latest", .summary = "Returns the latest latency samples for all events.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = 2, .flags = ADMIN, .acl = ACL_ADMINS, .handler = latency_latest_command,
     .reply = "Array of events: name, time of the last one (Unix, seconds), its milliseconds, the worst ever.",
     .notes = "Events: `command`, `fast-command`, and `loop-turn` for a turn of the event loop. Only what takes `latency-monitor-threshold` milliseconds counts."},
    {.name = "history", .summary = "Returns timestamp-latency samples for an event.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = 3, .flags = ADMIN, .acl = ACL_ADMINS, .args = event_args, .handler = latency_history_command,
     .reply = "Array of pairs: time, milliseconds; at most 160."},
    {.name = "reset", .summary = "Resets the latency data for one or more events.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = -2, .flags = ADMIN, .acl = ACL_ADMINS, .args = events_args, .handler = latency_reset_command, .reply = "Integer: events reset."},
    {.name = "graph", .summary = "Returns a latency graph for an event.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = 3, .flags = ADMIN, .acl = ACL_ADMINS, .args = event_args, .handler = latency_graph_command, .errors = graph_errors,
     .reply = "Bulk string (RESP3: verbatim string)."},
    {.name = "doctor", .summary = "Returns a human-readable latency analysis report.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = 2, .flags = ADMIN, .acl = ACL_ADMINS, .handler = latency_doctor_command, .reply = "Bulk string (RESP3: verbatim string)."},
    {.name = "histogram", .summary = "Returns the cumulative distribution of latencies of a subset or all commands.", .group = "server",
     .since = "7.0.0", .complexity = "O(N) where N is the number of commands with latency information being retrieved.", .arity = -2,
     .flags = ADMIN, .acl = ACL_ADMINS, .args = commands_args, .handler = latency_histogram_command,
     .reply = "Map: command to a map of `calls` and `histogram_usec`, itself a map from a power of two of microseconds to the calls that took no longer.",
     .notes = "A search is counted from its arrival to its reply."},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .arity = 2, .flags = STATE, .acl = ACL_SLOW, .handler = help_command, .reply = "Array of simple strings."},
    END};

static const struct cmd_arg usage_args[] = {{"key", ARG_KEY, NULL, 0, NULL}, {"count", ARG_INTEGER, "SAMPLES", ARG_OPTIONAL, NULL}, END};
static const struct cmd_error_doc usage_errors[] = {{"ERR syntax error", "anything behind the key but SAMPLES and a number"}, {NULL, NULL}};
static const struct cmd_spec memory_subcommands[] = {
    {.name = "usage", .summary = "Estimates the memory usage of a key.", .group = "server", .since = "4.0.0", .complexity = "O(P) where P is the number of partitions",
     .arity = -3, .flags = CMD_READONLY, .acl = ACL_READ | ACL_SLOW, .first_key = 2, .last_key = 2, .key_step = 1, .args = usage_args,
     .handler = memory_usage_command, .errors = usage_errors, .reply = "Integer: bytes; null when there is no such key.",
     .notes = "Counted, not estimated: SAMPLES is accepted and makes no difference."},
    {.name = "stats", .summary = "Returns details about memory usage.", .group = "server", .since = "4.0.0", .complexity = "O(1)", .arity = 2,
     .flags = 0, .acl = ACL_SLOW, .handler = memory_stats_command, .reply = "Map"},
    {.name = "doctor", .summary = "Outputs a memory problems report.", .group = "server", .since = "4.0.0", .complexity = "O(1)", .arity = 2,
     .flags = 0, .acl = ACL_SLOW, .handler = memory_doctor_command, .reply = "Bulk string (RESP3: verbatim string)."},
    {.name = "malloc-stats", .summary = "Returns the allocator statistics.", .group = "server", .since = "4.0.0", .complexity = "O(1)", .arity = 2,
     .flags = 0, .acl = ACL_SLOW, .handler = memory_malloc_stats_command, .reply = "Bulk string (RESP3: verbatim string)."},
    {.name = "purge", .summary = "Asks the allocator to release memory.", .group = "server", .since = "4.0.0", .complexity = "O(1)", .arity = 2,
     .flags = 0, .acl = ACL_SLOW, .handler = memory_purge_command, .reply = "`OK`. The pages go back behind the reply, on a worker."},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "4.0.0", .complexity = "O(1)",
     .arity = 2, .flags = STATE, .acl = ACL_SLOW, .handler = help_command, .reply = "Array of simple strings."},
    END};

/* ---- DEBUG ---- */

static const struct cmd_arg sleep_args[] = {{"seconds", ARG_DOUBLE, NULL, 0, NULL}, END};
static const struct cmd_arg stringmatch_args[] = {{"length", ARG_INTEGER, NULL, 0, NULL}, {"pattern", ARG_PATTERN, NULL, 0, NULL}, END};
static const struct cmd_arg message_args[] = {{"message", ARG_STRING, NULL, 0, NULL}, END};
static const struct cmd_arg protocol_args[] = {{"type", ARG_STRING, NULL, 0, NULL}, END};
#define DEBUG_FLAGS (ADMIN | CMD_PROTECTED)
static const struct cmd_spec debug_subcommands[] = {
    {.name = "sleep", .summary = "Stops the event loop for so many seconds.", .group = "server", .since = "1.0.0", .complexity = "O(1)", .arity = 3,
     .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .args = sleep_args, .handler = debug_sleep_command, .reply = "`OK`"},
    {.name = "segfault", .summary = "Crashes the server by an access to an invalid address.", .group = "server", .since = "1.0.0", .complexity = "O(1)",
     .arity = 2, .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .handler = debug_segfault_command, .reply = "None: the server ends with a crash report."},
    {.name = "panic", .summary = "Crashes the server as a failed assertion does.", .group = "server", .since = "3.0.0", .complexity = "O(1)",
     .arity = 2, .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .handler = debug_panic_command, .reply = "None: the server ends with a crash report."},
    {.name = "stringmatch-len", .summary = "Matches a string of so many letters with a pattern.", .group = "server", .since = "6.0.0",
     .complexity = "O(length * pattern)", .arity = 4, .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .args = stringmatch_args,
     .handler = debug_stringmatch_len_command, .reply = "Integer: 1 when it matches, else 0."},
    {.name = "error", .summary = "Replies with an error of this text.", .group = "server", .since = "1.0.0", .complexity = "O(1)", .arity = 3,
     .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .args = message_args, .handler = debug_error_command, .reply = "The error."},
    {.name = "protocol", .summary = "Replies with a sample of a type of reply.", .group = "server", .since = "6.0.0", .complexity = "O(1)", .arity = 3,
     .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .args = protocol_args, .handler = debug_protocol_command,
     .reply = "A reply of the type: string, integer, double, null, array, set, map, true, false, verbatim, push."},
    {.name = "help", .summary = "Returns helpful text about the different subcommands.", .group = "server", .since = "1.0.0", .complexity = "O(1)",
     .arity = 2, .flags = STATE | CMD_ADMIN | CMD_PROTECTED, .acl = ACL_ADMINS, .handler = help_command, .reply = "Array of simple strings."},
    END};

/* ---- single commands ---- */

static const struct cmd_arg info_args[] = {{"section", ARG_STRING, NULL, ARG_OPTIONAL | ARG_MULTIPLE, NULL}, END};
static const struct cmd_arg shutdown_save[] = {{"nosave", ARG_TOKEN, "NOSAVE", 0, NULL}, {"save", ARG_TOKEN, "SAVE", 0, NULL}, END};
static const struct cmd_arg shutdown_args[] = {
    {"save-selector", ARG_ONEOF, NULL, ARG_OPTIONAL, shutdown_save}, {"now", ARG_TOKEN, "NOW", ARG_OPTIONAL, NULL},
    {"force", ARG_TOKEN, "FORCE", ARG_OPTIONAL, NULL}, {"abort", ARG_TOKEN, "ABORT", ARG_OPTIONAL, NULL}, END};
static const struct cmd_error_doc shutdown_errors[] = {
    {"ERR syntax error", "another word, SAVE with NOSAVE, or ABORT with anything"},
    {"ERR No shutdown in progress.", "ABORT, and none is"}, {NULL, NULL}};

const struct cmd_spec server_admin_specs[] = {
    {.name = "time", .summary = "Returns the server time.", .group = "server", .since = "2.6.0", .complexity = "O(1)", .arity = 1,
     .flags = STATE | CMD_FAST, .acl = ACL_FAST, .handler = server_time_command, .reply = "Array of two bulk strings: Unix time in seconds, and microseconds."},
    {.name = "info", .summary = "Returns information and statistics about the server.", .group = "server", .since = "1.0.0", .complexity = "O(1)",
     .arity = -1, .flags = STATE, .acl = ACL_SLOW | ACL_DANGEROUS, .args = info_args, .handler = info_command,
     .reply = "Bulk string (RESP3: verbatim string): `field:value` lines under `# Section` headings.",
     .notes = "Sections: server, clients, memory, persistence, stats, replication, cpu, modules, errorstats, cluster, keyspace, vecstore; on demand "
              "(or with `all`, `everything`) commandstats and latencystats.",
     .example = "> INFO vecstore"},
    {.name = "config", .summary = "A container for server configuration commands.", .group = "server", .since = "2.0.0",
     .complexity = "Depends on subcommand.", .arity = -2, .flags = 0, .acl = ACL_SLOW, .subcommands = config_subcommands},
    {.name = "command", .summary = "Returns detailed information about all commands.", .group = "server", .since = "2.8.13",
     .complexity = "O(N) where N is the total number of commands", .arity = -1, .flags = STATE, .acl = ACL_SLOW | ACL_CONNECTION,
     .handler = command_command, .subcommands = command_subcommands, .reply = "Array, an entry per command as in `COMMAND INFO`."},
    {.name = "slowlog", .summary = "A container for slow log commands.", .group = "server", .since = "2.2.12", .complexity = "Depends on subcommand.",
     .arity = -2, .flags = 0, .acl = ACL_SLOW, .subcommands = slowlog_subcommands},
    {.name = "latency", .summary = "A container for latency diagnostics commands.", .group = "server", .since = "2.8.13",
     .complexity = "Depends on subcommand.", .arity = -2, .flags = 0, .acl = ACL_SLOW, .subcommands = latency_subcommands},
    {.name = "memory", .summary = "A container for memory diagnostics commands.", .group = "server", .since = "4.0.0",
     .complexity = "Depends on subcommand.", .arity = -2, .flags = 0, .acl = ACL_SLOW, .subcommands = memory_subcommands},
    {.name = "debug", .summary = "A container for debugging commands.", .group = "server", .since = "1.0.0", .complexity = "Depends on subcommand.",
     .arity = -2, .flags = DEBUG_FLAGS, .acl = ACL_ADMINS, .subcommands = debug_subcommands,
     .notes = "Refused unless `enable-debug-command` allows it."},
    {.name = "monitor", .summary = "Listens for all requests received by the server in real-time.", .group = "server", .since = "1.0.0",
     .complexity = "O(1)", .arity = 1, .flags = ADMIN, .acl = ACL_ADMINS, .handler = monitor_command,
     .reply = "`OK`, then a simple string for every command as it begins.",
     .notes = "Passwords are left out, and so are commands that administer the server. RESET ends it."},
    {.name = "shutdown", .summary = "Shuts down the server.", .group = "server", .since = "1.0.0",
     .complexity = "O(1)", .arity = -1,
     .flags = ADMIN | CMD_ALLOW_BUSY, .acl = ACL_ADMINS, .args = shutdown_args, .handler = server_shutdown_command, .errors = shutdown_errors,
     .reply = "None when it works: the connection closes."},
    END};
