/* The rows of transactions. Summaries and versions are facts about Redis' commands; texts are
 * ours. */
#include "server/commands.h"
#include "server/server.h"

#define TRANSACTION (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)

#define END {.name = NULL}

static const struct cmd_arg keys[] = {{"key", ARG_KEY, NULL, ARG_MULTIPLE, NULL}, END};

static const struct cmd_error_doc multi_errors[] = {
    {"ERR MULTI calls can not be nested", "the connection is in MULTI; the transaction goes on"},
    {"ERR Command not allowed inside a transaction",
     "of a command between MULTI and EXEC: SAVE, SHUTDOWN, MONITOR, CLIENT REPLY, DEBUG RELOAD and "
     "LOADAOF, and the SUBSCRIBE family"},
    {"ERR the transaction is larger than client-query-buffer-limit",
     "of a command between MULTI and EXEC: all of them together take more memory"},
    {NULL, NULL}};
static const struct cmd_error_doc exec_errors[] = {
    {"ERR EXEC without MULTI", "the connection is not in MULTI"},
    {"EXECABORT Transaction discarded because of previous errors.",
     "a command was refused when it was queued"},
    {"EXECABORT Transaction discarded because of: ...",
     "nothing can be written now; the rest is the error that a write would get"},
    {NULL, NULL}};
static const struct cmd_error_doc discard_errors[] = {
    {"ERR DISCARD without MULTI", "the connection is not in MULTI"}, {NULL, NULL}};
static const struct cmd_error_doc watch_errors[] = {
    {"ERR WATCH inside MULTI is not allowed", "the connection is in MULTI; the transaction goes on"},
    {NULL, NULL}};

const struct cmd_spec server_multi_specs[] = {
    {.name = "multi",
     .summary = "Starts a transaction.",
     .group = "transactions",
     .since = "1.2.0",
     .complexity = "O(1)",
     .arity = 1,
     .flags = TRANSACTION | CMD_FAST | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_TRANSACTION,
     .handler = multi_multi_command,
     .errors = multi_errors,
     .reply = "`OK`. The commands that follow answer `QUEUED` and run at EXEC.",
     .notes = "EXEC, DISCARD, WATCH, QUIT and RESET are not queued.",
     .example = "> MULTI\nOK\n> VADD docs VALUES 2 1 0 a\nQUEUED\n> VSEARCH docs VALUES 2 1 0\n"
                "QUEUED\n> EXEC\n1) (integer) 1\n2) 1) \"a\""},
    {.name = "exec",
     .summary = "Executes all commands in a transaction.",
     .group = "transactions",
     .since = "1.2.0",
     .complexity = "Depends on commands in the transaction",
     .arity = 1,
     .flags = TRANSACTION | CMD_SKIP_SLOWLOG,
     .acl = ACL_SLOW | ACL_TRANSACTION,
     .handler = multi_exec_command,
     .errors = exec_errors,
     .reply = "Array: the reply of each command, errors among them. Null when a watched key has "
              "changed: then nothing was run.",
     .notes =
         "No command of another connection comes between. All writes are one record of the "
         "journal: after a crash all of them are there or none. A search sees what stands before "
         "it; it is computed by the workers, and the array leaves when all its replies are in. A "
         "command that fails does not stop the others, and nothing is rolled back.\n\n"
         "EXEC waits as a whole, as VADD does, while an index that it adds to is at the bound of "
         "its link backlog; what it adds is then taken whatever the bound. Nobody else is served "
         "while it runs, so a transaction should be short. A use of a partition that is not open "
         "waits for it inside, for ten seconds at most. BGSAVE and BGREWRITEAOF are put off until "
         "EXEC has ended, and `appendonly` cannot be changed by it."},
    {.name = "discard",
     .summary = "Discards a transaction.",
     .group = "transactions",
     .since = "2.0.0",
     .complexity = "O(N), when N is the number of queued commands",
     .arity = 1,
     .flags = TRANSACTION | CMD_FAST | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_TRANSACTION,
     .handler = multi_discard_command,
     .errors = discard_errors,
     .reply = "`OK`. Watched keys are watched no longer."},
    {.name = "watch",
     .summary = "Monitors changes to keys to determine the execution of a transaction.",
     .group = "transactions",
     .since = "2.2.0",
     .complexity = "O(1) for every key.",
     .arity = -2,
     .flags = TRANSACTION | CMD_FAST | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_TRANSACTION,
     .first_key = 1,
     .last_key = -1,
     .key_step = 1,
     .args = keys,
     .handler = multi_watch_command,
     .errors = watch_errors,
     .reply = "`OK`",
     .notes = "EXEC answers null when any of the keys has been written to since, created, removed, "
              "renamed or replaced, by whichever connection. A key that is not there can be "
              "watched. EXEC, DISCARD, UNWATCH and RESET end it."},
    {.name = "unwatch",
     .summary = "Forgets about watched keys of a transaction.",
     .group = "transactions",
     .since = "2.2.0",
     .complexity = "O(1)",
     .arity = 1,
     .flags = TRANSACTION | CMD_FAST | CMD_ALLOW_BUSY,
     .acl = ACL_FAST | ACL_TRANSACTION,
     .handler = multi_unwatch_command,
     .reply = "`OK`"},
    END};
