/* The rows of the commands about elements that end by themselves. */
#include "cmd/vector_cmd.h"

#define ONE_KEY .first_key = 1, .last_key = 1, .key_step = 1
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word }
#define KEY { .name = "key", .type = ARG_KEY }
#define ELEMENT { .name = "element", .type = ARG_STRING }
#define END { .name = NULL }

static const struct cmd_arg conditions[] = { WORD("nx", "NX"), WORD("xx", "XX"), WORD("gt", "GT"), WORD("lt", "LT"), END };
#define CONDITION { .name = "condition", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = conditions }

static const struct cmd_arg vexpire_args[] = { KEY, { .name = "seconds", .type = ARG_INTEGER }, ELEMENT, CONDITION, END };
static const struct cmd_arg vpexpire_args[] = { KEY, { .name = "milliseconds", .type = ARG_INTEGER }, ELEMENT, CONDITION, END };
static const struct cmd_arg vexpireat_args[] = {
    KEY, { .name = "unix-time-seconds", .type = ARG_UNIX_TIME }, ELEMENT, CONDITION, END,
};
static const struct cmd_arg vpexpireat_args[] = {
    KEY, { .name = "unix-time-milliseconds", .type = ARG_UNIX_TIME }, ELEMENT, CONDITION, END,
};

static const struct cmd_error_doc vexpire_errors[] = {
    { "ERR value is not an integer or out of range", "The time is not a whole number of 64 bits." },
    { "ERR invalid expire time in 'vexpire' command", "The time lies too far away to be counted in milliseconds." },
    { "ERR Unsupported option x", "Another word than NX, XX, GT and LT behind the element." },
    { "ERR NX and XX, GT or LT options at the same time are not compatible", "NX goes with no other." },
    { "ERR GT and LT options at the same time are not compatible", "Both are given." },
    { NULL, NULL },
};

const struct cmd_spec cmd_vexpire_specs[] = {
    {
        .name = "vexpire",
        .summary = "Lets an element end in so many seconds.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(log N) for N elements with a time",
        .arity = -4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = vexpire_args,
        .handler = vector_expire_vexpire,
        .reply = "1 when the time was set (or the element removed, where it is past), 0 when there is no such element or a "
                 "condition does not hold.",
        .notes = "An element whose time has come is as if it were not there, to searches and to all other commands, from that moment "
                 "on; the server removes it in the background, in slices, and each removal is an entry of the partition's stream and of the "
                 "journal. VCARD and VINFO count it until then. The key goes with its last element unless VPARTITION CREATE made it. "
                 "A time that is past removes the element at once.\n\n"
                 "A vector that replaces the element's (VADD) has the time that VADD gives it, or none; KEEPTTL keeps it, and VSETATTR does "
                 "not touch it.\n\n"
                 "NX: only if the element has no time yet; XX: only if it has one; GT: only if the new one is later; LT: only if it is "
                 "earlier. An element without one counts as ending never.",
        .example = "> VEXPIRE docs 60 first\n(integer) 1\n> VTTL docs first\n(integer) 60",
        .errors = vexpire_errors,
    },
    {
        .name = "vpexpire",
        .summary = "Lets an element end in so many milliseconds.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(log N) for N elements with a time",
        .arity = -4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = vpexpire_args,
        .handler = vector_expire_vpexpire,
        .reply = "1 when the time was set (or the element removed, where it is past), 0 when there is no such element or a "
                 "condition does not hold.",
        .notes = "As VEXPIRE in all else.",
        .example = "> VPEXPIRE docs 1500 first\n(integer) 1",
        .errors = vexpire_errors,
    },
    {
        .name = "vexpireat",
        .summary = "Lets an element end at a time, in seconds since 1970.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(log N) for N elements with a time",
        .arity = -4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = vexpireat_args,
        .handler = vector_expire_vexpireat,
        .reply = "1 when the time was set (or the element removed, where it is past), 0 when there is no such element or a "
                 "condition does not hold.",
        .notes = "As VEXPIRE in all else.",
        .example = "> VEXPIREAT docs 4102444800 first\n(integer) 1",
        .errors = vexpire_errors,
    },
    {
        .name = "vpexpireat",
        .summary = "Lets an element end at a time, in milliseconds since 1970.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(log N) for N elements with a time",
        .arity = -4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = vpexpireat_args,
        .handler = vector_expire_vpexpireat,
        .reply = "1 when the time was set (or the element removed, where it is past), 0 when there is no such element or a "
                 "condition does not hold.",
        .notes = "As VEXPIRE in all else.",
        .example = "> VPEXPIREAT docs 4102444800000 first\n(integer) 1",
        .errors = vexpire_errors,
    },
    {
        .name = "vttl",
        .summary = "Tells how many seconds an element has left.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = vector_grammar_key_element,
        .handler = vector_expire_vttl,
        .reply = "Seconds, rounded; -1 when the element has no time, -2 when there is no such element.",
        .example = "> VTTL docs first\n(integer) 60",
    },
    {
        .name = "vpttl",
        .summary = "Tells how many milliseconds an element has left.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = vector_grammar_key_element,
        .handler = vector_expire_vpttl,
        .reply = "Milliseconds; -1 when the element has no time, -2 when there is no such element.",
        .example = "> VPTTL docs first\n(integer) 59873",
    },
    {
        .name = "vexpiretime",
        .summary = "Tells when an element ends, in seconds since 1970.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = vector_grammar_key_element,
        .handler = vector_expire_vexpiretime,
        .reply = "Seconds, rounded; -1 when the element has no time, -2 when there is no such element.",
        .example = "> VEXPIRETIME docs first\n(integer) 4102444800",
    },
    {
        .name = "vpexpiretime",
        .summary = "Tells when an element ends, in milliseconds since 1970.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_READ | ACL_FAST,
        ONE_KEY,
        .args = vector_grammar_key_element,
        .handler = vector_expire_vpexpiretime,
        .reply = "Milliseconds; -1 when the element has no time, -2 when there is no such element.",
        .example = "> VPEXPIRETIME docs first\n(integer) 4102444800000",
    },
    {
        .name = "vpersist",
        .summary = "Lets an element end no more by itself.",
        .group = "vector_set",
        .since = "0.1.0",
        .complexity = "O(log N) for N elements with a time",
        .arity = 3,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_VECTORSET | ACL_WRITE | ACL_FAST,
        ONE_KEY,
        .args = vector_grammar_key_element,
        .handler = vector_expire_vpersist,
        .reply = "1 when the element had a time, 0 when it had none or does not exist.",
        .example = "> VPERSIST docs first\n(integer) 1",
    },
    { .name = NULL },
};
