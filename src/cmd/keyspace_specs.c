/* The rows of the keyspace commands. */
#include "cmd/keyspace_cmd.h"

#define ONE_KEY .first_key = 1, .last_key = 1, .key_step = 1
#define ALL_KEYS .first_key = 1, .last_key = -1, .key_step = 1
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word }
#define KEY { .name = "key", .type = ARG_KEY }
#define END { .name = NULL }
#define END_ERRORS { NULL, NULL }

static const struct cmd_arg keys_args[] = { { .name = "key", .type = ARG_KEY, .flags = ARG_MULTIPLE }, END };
static const struct cmd_arg key_args[] = { KEY, END };
static const struct cmd_arg pattern_args[] = { { .name = "pattern", .type = ARG_PATTERN }, END };
static const struct cmd_arg rename_args[] = { KEY, { .name = "newkey", .type = ARG_KEY }, END };
static const struct cmd_arg scan_args[] = {
    { .name = "cursor", .type = ARG_INTEGER },
    { .name = "pattern", .type = ARG_PATTERN, .token = "MATCH", .flags = ARG_OPTIONAL },
    { .name = "count", .type = ARG_INTEGER, .token = "COUNT", .flags = ARG_OPTIONAL },
    { .name = "type", .type = ARG_STRING, .token = "TYPE", .flags = ARG_OPTIONAL },
    END,
};
static const struct cmd_arg flush_words[] = { WORD("async", "ASYNC"), WORD("sync", "SYNC"), END };
static const struct cmd_arg flush_args[] = {
    { .name = "flush-type", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = flush_words },
    END,
};

static const struct cmd_arg swap_args[] = {
    { .name = "index1", .type = ARG_INTEGER }, { .name = "index2", .type = ARG_INTEGER }, END,
};

static const struct cmd_error_doc swap_errors[] = {
    { "ERR invalid first DB index", "It is no number; `second` likewise." },
    { "ERR DB index is out of range", "There is no such database." },
    END_ERRORS,
};
static const struct cmd_error_doc rename_errors[] = { { "ERR no such key", "The key does not exist." }, END_ERRORS };
static const struct cmd_error_doc scan_errors[] = {
    { "ERR invalid cursor", "The cursor is not a number that SCAN gave." },
    { "ERR value is not an integer or out of range", "COUNT is not a number." },
    { "ERR syntax error", "An option is unknown or lacks its value, or COUNT is below 1." },
    END_ERRORS,
};
static const struct cmd_error_doc flush_errors[] = {
    { "ERR syntax error", "There is another argument than one ASYNC or SYNC." },
    END_ERRORS,
};

const struct cmd_spec cmd_keyspace_specs[] = {
    {
        .name = "del",
        .summary = "Deletes one or more keys.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) for N keys; memory is freed behind the reply",
        .arity = -2,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_SLOW,
        ALL_KEYS,
        .args = keys_args,
        .handler = keyspace_del,
        .reply = "The number of keys deleted.",
        .notes = "An index goes with all its partitions. Its memory is freed by the workers, so that no "
                 "other client waits.",
        .example = "> DEL docs\n(integer) 1",
    },
    {
        .name = "unlink",
        .summary = "Deletes one or more keys; memory is freed behind.",
        .group = "generic",
        .since = "4.0.0",
        .complexity = "O(N) for N keys; memory is freed behind the reply",
        .arity = -2,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ALL_KEYS,
        .args = keys_args,
        .handler = keyspace_del,
        .reply = "The number of keys deleted.",
        .notes = "The same as DEL.",
        .example = "> UNLINK docs\n(integer) 1",
    },
    {
        .name = "exists",
        .summary = "Counts how many of the keys exist.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) for N keys",
        .arity = -2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ALL_KEYS,
        .args = keys_args,
        .handler = keyspace_exists,
        .reply = "How many of the keys exist; a key named twice counts twice.",
        .example = "> EXISTS docs nothing\n(integer) 1",
    },
    {
        .name = "touch",
        .summary = "Marks keys as used, and counts how many of them exist.",
        .group = "generic",
        .since = "3.2.1",
        .complexity = "O(N) for N keys",
        .arity = -2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ALL_KEYS,
        .args = keys_args,
        .handler = keyspace_touch,
        .reply = "How many of the keys exist; a key named twice counts twice.",
        .notes = "OBJECT IDLETIME and OBJECT FREQ show when and how often a key was used; maxmemory-policy goes by it.",
        .example = "> TOUCH docs\n(integer) 1",
    },
    {
        .name = "type",
        .summary = "Tells the type of the value of a key.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_type,
        .reply = "`vectorset`, or `none` when there is no such key; a simple string.",
        .example = "> TYPE docs\nvectorset",
    },
    {
        .name = "keys",
        .summary = "Returns all keys that match a pattern.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) for N keys of the database",
        .arity = 2,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_DANGEROUS | ACL_SLOW,
        .args = pattern_args,
        .handler = keyspace_keys,
        .reply = "An array of keys, in no order.",
        .notes = "`*` matches any bytes, `?` one, `[abc]`, `[a-z]` and `[^a]` one of a set, and `\\` takes "
                 "the next character as it is.\n\n"
                 "The search is done piece by piece, with other clients' commands in between: a key that is "
                 "there all the time is returned once, "
                 "one that comes or goes meanwhile may be returned or not. The whole reply stands in "
                 "memory; SCAN has none so large.",
        .example = "> KEYS d*\n1) \"docs\"",
    },
    {
        .name = "scan",
        .summary = "Iterates over the keys of the database.",
        .group = "generic",
        .since = "2.8.0",
        .complexity = "O(1) for each call, O(N) for a whole iteration over N keys",
        .arity = -2,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_SLOW,
        .args = scan_args,
        .handler = keyspace_scan,
        .reply = "An array of two: the cursor for the next call, 0 at the end, and an array of keys, which "
                 "may be empty.",
        .notes = "An iteration begins with cursor 0. A key that is there from its beginning to its end is "
                 "returned exactly once. COUNT, 10 by "
                 "default, is about how many keys are looked at in one call. TYPE names the only type that "
                 "is returned.",
        .example = "> SCAN 0 MATCH d*\n1) \"0\"\n2) 1) \"docs\"",
        .errors = scan_errors,
    },
    {
        .name = "randomkey",
        .summary = "Returns a random key of the database.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 1,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_SLOW,
        .handler = keyspace_randomkey,
        .reply = "A key; null when the database is empty.",
        .example = "> RANDOMKEY\n\"docs\"",
    },
    {
        .name = "rename",
        .summary = "Renames a key, replacing the one that has the new name.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_SLOW,
        .first_key = 1,
        .last_key = 2,
        .key_step = 1,
        .args = rename_args,
        .handler = keyspace_rename,
        .reply = "OK.",
        .example = "> RENAME docs texts\nOK",
        .errors = rename_errors,
    },
    {
        .name = "renamenx",
        .summary = "Renames a key unless the new name is taken.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        .first_key = 1,
        .last_key = 2,
        .key_step = 1,
        .args = rename_args,
        .handler = keyspace_renamenx,
        .reply = "1 when the key was renamed, 0 when the new name is taken.",
        .example = "> RENAMENX docs texts\n(integer) 1",
        .errors = rename_errors,
    },
    {
        .name = "dbsize",
        .summary = "Returns the number of keys of the database.",
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 1,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        .handler = keyspace_dbsize,
        .reply = "The number of keys.",
        .example = "> DBSIZE\n(integer) 1",
    },
    {
        .name = "flushdb",
        .summary = "Removes all keys of the database.",
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(N) for N keys; memory is freed behind the reply",
        .arity = -1,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_DANGEROUS | ACL_SLOW,
        .args = flush_args,
        .handler = keyspace_flushdb,
        .reply = "OK.",
        .notes = "Memory is freed by the workers, with SYNC as with ASYNC: no other client waits.",
        .example = "> FLUSHDB\nOK",
        .errors = flush_errors,
    },
    {
        .name = "flushall",
        .summary = "Removes all keys of all databases.",
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(N) for N keys; memory is freed behind the reply",
        .arity = -1,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_DANGEROUS | ACL_SLOW,
        .args = flush_args,
        .handler = keyspace_flushall,
        .reply = "OK.",
        .notes = "Memory is freed by the workers, with SYNC as with ASYNC: no other client waits.",
        .example = "> FLUSHALL\nOK",
        .errors = flush_errors,
    },
    {
        .name = "swapdb",
        .summary = "Lets two databases change places.",
        .group = "server",
        .since = "4.0.0",
        .complexity = "O(N) for N keys of both databases, some nanoseconds each",
        .arity = 3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_DANGEROUS | ACL_FAST,
        .args = swap_args,
        .handler = keyspace_swapdb,
        .reply = "OK.",
        .notes = "Clients that have selected one of them see at once what the other held. A snapshot that is being taken is begun "
                 "again.",
        .example = "> SWAPDB 0 1\nOK",
        .errors = swap_errors,
    },
    { .name = NULL },
};
