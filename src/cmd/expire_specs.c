/* The rows of the commands about keys that end by themselves. */
#include "cmd/keyspace_cmd.h"

#define ONE_KEY .first_key = 1, .last_key = 1, .key_step = 1
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word }
#define KEY { .name = "key", .type = ARG_KEY }
#define END { .name = NULL }

static const struct cmd_arg conditions[] = { WORD("nx", "NX"), WORD("xx", "XX"), WORD("gt", "GT"), WORD("lt", "LT"), END };
#define CONDITION { .name = "condition", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = conditions }

static const struct cmd_arg key_args[] = { KEY, END };
static const struct cmd_arg expire_args[] = { KEY, { .name = "seconds", .type = ARG_INTEGER }, CONDITION, END };
static const struct cmd_arg pexpire_args[] = { KEY, { .name = "milliseconds", .type = ARG_INTEGER }, CONDITION, END };
static const struct cmd_arg expireat_args[] = { KEY, { .name = "unix-time-seconds", .type = ARG_UNIX_TIME }, CONDITION, END };
static const struct cmd_arg pexpireat_args[] = {
    KEY, { .name = "unix-time-milliseconds", .type = ARG_UNIX_TIME }, CONDITION, END,
};

static const struct cmd_error_doc expire_errors[] = {
    { "ERR value is not an integer or out of range", "The time is not a whole number of 64 bits." },
    { "ERR invalid expire time in 'expire' command", "The time lies too far away to be counted in milliseconds." },
    { "ERR Unsupported option x", "Another word than NX, XX, GT and LT." },
    { "ERR NX and XX, GT or LT options at the same time are not compatible", "NX goes with no other." },
    { "ERR GT and LT options at the same time are not compatible", "Both are given." },
    { NULL, NULL },
};

const struct cmd_spec cmd_expire_specs[] = {
    {
        .name = "expire",
        .summary = "Lets a key end in so many seconds.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(log N) for N keys with a time",
        .arity = -3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = expire_args,
        .handler = keyspace_expire,
        .reply = "1 when the time was set (or the key removed, where it is past), 0 when there is no such key or a "
                 "condition does not hold.",
        .notes = "A key whose time has come is as if it were not there, from that moment on; it is removed within "
                 "a few milliseconds, by the server itself, and that removal stands in the journal. The time goes with the key when "
                 "it is renamed. A time that is past removes the key at once.\n\n"
                 "NX: only if the key has no time yet; XX: only if it has one; GT: only if the new one is later; "
                 "LT: only if it is earlier. A key without one counts as ending never.",
        .example = "> EXPIRE docs 60\n(integer) 1\n> TTL docs\n(integer) 60",
        .errors = expire_errors,
    },
    {
        .name = "pexpire",
        .summary = "Lets a key end in so many milliseconds.",
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(log N) for N keys with a time",
        .arity = -3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = pexpire_args,
        .handler = keyspace_pexpire,
        .reply = "1 when the time was set (or the key removed, where it is past), 0 when there is no such key or a "
                 "condition does not hold.",
        .notes = "As EXPIRE in all else.",
        .example = "> PEXPIRE docs 1500\n(integer) 1",
        .errors = expire_errors,
    },
    {
        .name = "expireat",
        .summary = "Lets a key end at a time, in seconds since 1970.",
        .group = "generic",
        .since = "1.2.0",
        .complexity = "O(log N) for N keys with a time",
        .arity = -3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = expireat_args,
        .handler = keyspace_expireat,
        .reply = "1 when the time was set (or the key removed, where it is past), 0 when there is no such key or a "
                 "condition does not hold.",
        .notes = "As EXPIRE in all else.",
        .example = "> EXPIREAT docs 4102444800\n(integer) 1",
        .errors = expire_errors,
    },
    {
        .name = "pexpireat",
        .summary = "Lets a key end at a time, in milliseconds since 1970.",
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(log N) for N keys with a time",
        .arity = -3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = pexpireat_args,
        .handler = keyspace_pexpireat,
        .reply = "1 when the time was set (or the key removed, where it is past), 0 when there is no such key or a "
                 "condition does not hold.",
        .notes = "As EXPIRE in all else.",
        .example = "> PEXPIREAT docs 4102444800000\n(integer) 1",
        .errors = expire_errors,
    },
    {
        .name = "ttl",
        .summary = "Tells how many seconds a key has left.",
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_ttl,
        .reply = "Seconds, rounded; -1 when the key has no time, -2 when there is no such key.",
        .example = "> TTL docs\n(integer) 60",
    },
    {
        .name = "pttl",
        .summary = "Tells how many milliseconds a key has left.",
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_pttl,
        .reply = "Milliseconds; -1 when the key has no time, -2 when there is no such key.",
        .example = "> PTTL docs\n(integer) 59873",
    },
    {
        .name = "expiretime",
        .summary = "Tells when a key ends, in seconds since 1970.",
        .group = "generic",
        .since = "7.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_expiretime,
        .reply = "Seconds, rounded; -1 when the key has no time, -2 when there is no such key.",
        .example = "> EXPIRETIME docs\n(integer) 4102444800",
    },
    {
        .name = "pexpiretime",
        .summary = "Tells when a key ends, in milliseconds since 1970.",
        .group = "generic",
        .since = "7.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_pexpiretime,
        .reply = "Milliseconds; -1 when the key has no time, -2 when there is no such key.",
        .example = "> PEXPIRETIME docs\n(integer) 4102444800000",
    },
    {
        .name = "persist",
        .summary = "Lets a key end no more by itself.",
        .group = "generic",
        .since = "2.2.0",
        .complexity = "O(log N) for N keys with a time",
        .arity = 2,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_persist,
        .reply = "1 when the key had a time, 0 when it had none or does not exist.",
        .example = "> PERSIST docs\n(integer) 1",
    },
    { .name = NULL },
};
