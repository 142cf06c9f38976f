/* The rows of the commands of durability. Summaries and versions are facts about Redis' commands;
 * texts are ours. */
#include "server/commands.h"
#include "server/server.h"

#define ADMIN      (CMD_ADMIN | CMD_NOSCRIPT)
#define ACL_ADMINS (ACL_ADMIN | ACL_SLOW | ACL_DANGEROUS)

#define END {.name = NULL}

static const struct cmd_error_doc save_errors[] = {
    {"ERR Background save already in progress", "a snapshot or a rewrite is under way"},
    {"ERR The snapshot failed: ...", "file and reason; the previous snapshot stands"},
    {NULL, NULL}};

static const struct cmd_arg bgsave_args[] = {
    {"schedule", ARG_TOKEN, "SCHEDULE", ARG_OPTIONAL, NULL}, END};
static const struct cmd_error_doc bgsave_errors[] = {
    {"ERR Background save already in progress", "a snapshot is under way"},
    {"ERR The journal is being rewritten: ...", "without SCHEDULE"},
    {NULL, NULL}};

static const struct cmd_error_doc rewrite_errors[] = {
    {"ERR There is no journal to rewrite: appendonly is no", "there is none"},
    {"ERR Background append only file rewriting already in progress", "it is under way"},
    {"ERR BGREWRITEAOF is refused while a partition is damaged: ...",
     "the journal may hold the only good copy of it"},
    {NULL, NULL}};

static const struct cmd_arg shutdown_save[] = {
    {"nosave", ARG_TOKEN, "NOSAVE", 0, NULL}, {"save", ARG_TOKEN, "SAVE", 0, NULL}, END};
static const struct cmd_arg shutdown_args[] = {
    {"save-selector", ARG_ONEOF, NULL, ARG_OPTIONAL, shutdown_save},
    {"now", ARG_TOKEN, "NOW", ARG_OPTIONAL, NULL},
    {"force", ARG_TOKEN, "FORCE", ARG_OPTIONAL, NULL},
    {"abort", ARG_TOKEN, "ABORT", ARG_OPTIONAL, NULL},
    END};
static const struct cmd_error_doc shutdown_errors[] = {
    {"ERR syntax error", "another word, SAVE with NOSAVE, or ABORT with anything"},
    {"ERR No shutdown in progress.", "ABORT, and none is"},
    {"ERR Errors trying to SHUTDOWN. Check logs.",
     "the last snapshot failed or was called off, or the journal cannot be written; the server "
     "goes on"},
    {"ERR The server is shutting down already: ...", "its last snapshot is under way"},
    {NULL, NULL}};

const struct cmd_spec server_persist_specs[] = {
    {.name = "save",
     .summary = "Synchronously saves the database(s) to disk.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of keys in all databases",
     .arity = 1,
     .flags = ADMIN | CMD_NO_MULTI,
     .acl = ACL_ADMINS,
     .handler = persist_save_command,
     .errors = save_errors,
     .reply = "`OK` when the snapshot is on the disk.",
     .notes = "Only the client that asks waits; others are served meanwhile. What has not changed "
              "since the last snapshot is not written again."},
    {.name = "bgsave",
     .summary = "Asynchronously saves the database(s) to disk.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = -1,
     .flags = ADMIN,
     .acl = ACL_ADMINS,
     .args = bgsave_args,
     .handler = persist_bgsave_command,
     .errors = bgsave_errors,
     .reply = "`Background saving started`, or `Background saving scheduled`.",
     .notes = "The snapshot holds what there is when the command is answered. No process is "
              "forked. INFO persistence shows its progress and how it ended."},
    {.name = "lastsave",
     .summary = "Returns the Unix timestamp of the last successful save to disk.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = 1,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST,
     .acl = ACL_ADMIN | ACL_FAST | ACL_DANGEROUS,
     .handler = persist_lastsave_command,
     .reply = "Integer: Unix time in seconds; before the first snapshot, that of the start."},
    {.name = "bgrewriteaof",
     .summary = "Asynchronously rewrites the append-only file to disk.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .arity = 1,
     .flags = ADMIN,
     .acl = ACL_ADMINS,
     .handler = persist_bgrewriteaof_command,
     .errors = rewrite_errors,
     .reply = "`Background append only file rewriting started`, or `... scheduled` when a snapshot "
              "is under way.",
     .notes = "A rewrite is a snapshot that becomes the journal's base, and a new segment behind "
              "it."},
    {.name = "shutdown",
     .summary = "Synchronously saves the database(s) to disk and shuts down the server.",
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(N) when saving, where N is the total number of keys in all databases when "
                   "saving data, otherwise O(1)",
     .arity = -1,
     .flags = ADMIN | CMD_LOADING | CMD_STALE | CMD_ALLOW_BUSY | CMD_NO_MULTI,
     .acl = ACL_ADMINS,
     .args = shutdown_args,
     .handler = persist_shutdown_command,
     .errors = shutdown_errors,
     .reply = "None when it works: the connection closes.",
     .notes = "A last snapshot is taken when there are save points or with SAVE, not with NOSAVE; "
              "meanwhile searches are answered and writes wait. The journal is synced and sealed "
              "in any case. NOW does not wait for replies under way; FORCE ends the server even "
              "when the snapshot fails or the journal cannot be written."},
    END};
