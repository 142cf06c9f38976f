/* The rows of OBJECT, DUMP, RESTORE and COPY. */
#include "cmd/keyspace_cmd.h"

#define ONE_KEY .first_key = 1, .last_key = 1, .key_step = 1
#define SUB_KEY .first_key = 2, .last_key = 2, .key_step = 1
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word, .flags = ARG_OPTIONAL }
#define KEY { .name = "key", .type = ARG_KEY }
#define END { .name = NULL }
#define END_ERRORS { NULL, NULL }

static const struct cmd_arg key_args[] = { KEY, END };
static const struct cmd_arg restore_args[] = {
    KEY,
    { .name = "ttl", .type = ARG_INTEGER },
    { .name = "serialized-value", .type = ARG_STRING },
    WORD("replace", "REPLACE"),
    WORD("absttl", "ABSTTL"),
    { .name = "seconds", .type = ARG_INTEGER, .token = "IDLETIME", .flags = ARG_OPTIONAL },
    { .name = "frequency", .type = ARG_INTEGER, .token = "FREQ", .flags = ARG_OPTIONAL },
    END,
};
static const struct cmd_arg copy_args[] = {
    { .name = "source", .type = ARG_KEY },
    { .name = "destination", .type = ARG_KEY },
    { .name = "destination-db", .type = ARG_INTEGER, .token = "DB", .flags = ARG_OPTIONAL },
    WORD("replace", "REPLACE"),
    END,
};

static const struct cmd_error_doc idle_errors[] = {
    { "ERR An LFU maxmemory policy is selected, idle time not tracked. ...", "maxmemory-policy counts uses." }, END_ERRORS,
};
static const struct cmd_error_doc freq_errors[] = {
    { "ERR An LFU maxmemory policy is not selected, access frequency not tracked. ...",
      "maxmemory-policy is not one of the lfu policies." },
    END_ERRORS,
};
static const struct cmd_error_doc dump_errors[] = {
    { "ERR the index is too large to be dumped: more than 512 MiB", "It does not fit into one string." }, END_ERRORS,
};
static const struct cmd_error_doc restore_errors[] = {
    { "BUSYKEY Target key name already exists.", "The key is there, and REPLACE is not given." },
    { "ERR DUMP payload version or checksum are wrong", "The bytes are not what DUMP gave, or of another version." },
    { "ERR Bad data format", "The sum is right, and what stands there cannot be." },
    { "ERR Invalid TTL value, must be >= 0", "The time is below 0, or too far away." },
    { "ERR Invalid IDLETIME value, must be >= 0", "It is below 0." },
    { "ERR Invalid FREQ value, must be >= 0 and <= 255", "It is not." },
    { "ERR value is not an integer or out of range", "A number is none." },
    { "ERR syntax error", "An option is unknown or lacks its value, or IDLETIME and FREQ are both given." },
    END_ERRORS,
};
static const struct cmd_error_doc copy_errors[] = {
    { "ERR source and destination objects are the same", "They are the same key of the same database." },
    { "ERR DB index is out of range", "There is no such database." },
    { "ERR value is not an integer or out of range", "DB is followed by no number." },
    { "ERR syntax error", "An option is unknown or lacks its value." },
    END_ERRORS,
};

#define LOOKS .flags = CMD_READONLY, .acl = ACL_KEYSPACE | ACL_READ | ACL_SLOW

static const struct cmd_spec object_specs[] = {
    {
        .name = "encoding",
        .summary = "Tells how the value of a key is stored.",
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .arity = 3,
        LOOKS,
        SUB_KEY,
        .args = key_args,
        .handler = keyspace_object_encoding,
        .reply = "`raw`, or null when there is no such key. VINFO tells an index's element type.",
        .example = "> OBJECT ENCODING docs\n\"raw\"",
    },
    {
        .name = "freq",
        .summary = "Tells how often a key is used.",
        .group = "generic",
        .since = "4.0.0",
        .complexity = "O(1)",
        .arity = 3,
        LOOKS,
        SUB_KEY,
        .args = key_args,
        .handler = keyspace_object_freq,
        .reply = "The logarithmic counter of its uses, 0 to 255, or null when there is no such key.",
        .notes = "Under the lfu policies of `maxmemory-policy` only. `lfu-log-factor` and `lfu-decay-time` say how it grows "
                 "and falls.",
        .example = "> OBJECT FREQ docs\n(integer) 5",
        .errors = freq_errors,
    },
    {
        .name = "help",
        .summary = "Describes the subcommands of OBJECT.",
        .group = "generic",
        .since = "6.2.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_LOADING | CMD_STALE,
        .acl = ACL_KEYSPACE | ACL_SLOW,
        .handler = keyspace_object_help,
        .reply = "An array of lines.",
        .example = "> OBJECT HELP\n1) OBJECT <subcommand> <key>. Subcommands are:\n...",
    },
    {
        .name = "idletime",
        .summary = "Tells for how long a key has not been used.",
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .arity = 3,
        LOOKS,
        SUB_KEY,
        .args = key_args,
        .handler = keyspace_object_idletime,
        .reply = "Seconds since a command has read or written it, or null when there is no such key.",
        .notes = "EXISTS, TYPE, OBJECT and the TTL family are no use, nor is anything of a client with `CLIENT NO-TOUCH`. Not "
                 "under the lfu policies of `maxmemory-policy`.",
        .example = "> OBJECT IDLETIME docs\n(integer) 42",
        .errors = idle_errors,
    },
    {
        .name = "refcount",
        .summary = "Tells how many references the value of a key has.",
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .arity = 3,
        LOOKS,
        SUB_KEY,
        .args = key_args,
        .handler = keyspace_object_refcount,
        .reply = "1, or null when there is no such key.",
        .example = "> OBJECT REFCOUNT docs\n(integer) 1",
    },
    { .name = NULL },
};

const struct cmd_spec cmd_dump_specs[] = {
    {
        .name = "object",
        .summary = "A container for what is known of keys.",
        .group = "generic",
        .since = "2.2.3",
        .complexity = "depends on the subcommand",
        .arity = -2,
        .acl = ACL_SLOW,
        .subcommands = object_specs,
    },
    {
        .name = "dump",
        .summary = "Returns an index as one string of bytes.",
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(N) for N bytes of the index; in slices",
        .arity = 2,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE | ACL_READ | ACL_SLOW,
        ONE_KEY,
        .args = key_args,
        .handler = keyspace_dump,
        .reply = "The bytes, for RESTORE; null when there is no such key.",
        .notes = "They hold all of the index but its key and the key's time: options, elements, attributes, the elements' times. "
                 "Equal indexes give equal bytes. The graph is not among them: it is linked anew behind RESTORE. The "
                 "format is VecStore's own, with a version and checksums; Redis cannot read it.\n\n"
                 "An index that is written to while it is dumped is begun again. From the third time on VADD and VMADD wait "
                 "until the bytes are whole; where other writes go on, after the fifth the rest is done at once.",
        .example = "> DUMP docs\n\"VSDUMP\\x01\\x00...\"",
        .errors = dump_errors,
    },
    {
        .name = "restore",
        .summary = "Makes an index of what DUMP returned.",
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(N) for N bytes; in slices",
        .arity = -4,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_SLOW | ACL_DANGEROUS,
        ONE_KEY,
        .args = restore_args,
        .handler = keyspace_restore,
        .reply = "OK.",
        .notes = "`ttl`: milliseconds after which the key ends, 0: never; with ABSTTL as a Unix time. Where that has passed, no key is made, "
                 "and with REPLACE the one that is there goes. Everything is checked before anything is changed: "
                 "sums, then all that stands there. The index is searchable at once and linked behind.",
        .example = "> RESTORE docs:2 0 \"VSDUMP\\x01\\x00...\"\nOK",
        .errors = restore_errors,
    },
    {
        .name = "copy",
        .summary = "Copies an index to another key.",
        .group = "generic",
        .since = "6.2.0",
        .complexity = "O(N) for N bytes of the index; in slices",
        .arity = -3,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_KEYSPACE | ACL_WRITE | ACL_SLOW,
        .first_key = 1,
        .last_key = 2,
        .key_step = 1,
        .args = copy_args,
        .handler = keyspace_copy,
        .reply = "1, or 0 when the source does not exist, or the destination does and REPLACE is not given.",
        .notes = "The copy is an index of its own, with the same options, elements, attributes and times, and equal digests of "
                 "its elements. It is searchable at once and linked behind. It is made through one block of bytes in memory, as "
                 "large as what DUMP returns. What is written to the source meanwhile: see DUMP.",
        .example = "> COPY docs docs:2\n(integer) 1",
        .errors = copy_errors,
    },
    { .name = NULL },
};
