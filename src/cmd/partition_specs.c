/* The rows of VPARTITION and its subcommands. */
#include "cmd/partition_cmd.h"

#define KEYS .first_key = 2, .last_key = 2, .key_step = 1
#define SINCE "0.1.0"
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word }
#define ONEOF(n, word, list) { .name = n, .type = ARG_ONEOF, .token = word, .flags = ARG_OPTIONAL, .children = list }
#define INT_OPTION(n, word) { .name = n, .type = ARG_INTEGER, .token = word, .flags = ARG_OPTIONAL }
#define KEY { .name = "key", .type = ARG_KEY }
#define END { .name = NULL }

static const struct cmd_arg metrics[] = { WORD("cosine", "COSINE"), WORD("l2", "L2"), WORD("ip", "IP"), END };
static const struct cmd_arg structures[] = { WORD("hnsw", "HNSW"), WORD("flat", "FLAT"), END };
static const struct cmd_arg types[] = { WORD("noquant", "NOQUANT"), WORD("q8", "Q8"), WORD("f16", "F16"), WORD("bf16", "BF16"),
                                        WORD("q4", "Q4"), WORD("bin", "BIN"), END };
static const struct cmd_arg originals[] = { WORD("f32", "F32"), WORD("f16", "F16"), WORD("none", "NONE"), END };
static const struct cmd_arg strategies[] = { WORD("hash", "HASH"), END };
static const struct cmd_arg maps[] = { WORD("originals", "ORIGINALS"), WORD("codes", "CODES"), WORD("all", "ALL"), END };

static const struct cmd_arg create_args[] = {
    KEY,
    { .name = "dimension", .type = ARG_INTEGER, .token = "DIM" },
    ONEOF("metric", "METRIC", metrics),
    ONEOF("type", "TYPE", structures),
    INT_OPTION("links", "M"),
    INT_OPTION("ef", "EF"),
    ONEOF("element-type", NULL, types),
    ONEOF("originals", "ORIGINALS", originals),
    { .name = "strict", .type = ARG_TOKEN, .token = "STRICT", .flags = ARG_OPTIONAL },
    { .name = "transient", .type = ARG_TOKEN, .token = "TRANSIENT", .flags = ARG_OPTIONAL },
    INT_OPTION("partitions", "PARTITIONS"),
    ONEOF("strategy", "STRATEGY", strategies),
    INT_OPTION("vnodes", "VNODES"),
    ONEOF("map", "MAP", maps),
    INT_OPTION("seed", "SEED"),
    INT_OPTION("input-dimension", "REDUCE"),
    END,
};
static const struct cmd_arg list_args[] = { KEY, INT_OPTION("cursor", "CURSOR"), INT_OPTION("count", "COUNT"), END };
static const struct cmd_arg info_args[] = { KEY, { .name = "partition", .type = ARG_STRING, .flags = ARG_OPTIONAL }, END };
static const struct cmd_arg key_args[] = { KEY, END };
static const struct cmd_arg drop_args[] = { KEY, { .name = "partition", .type = ARG_STRING }, END };

#define NO_KEY { "ERR key does not exist", "There is no such key." }
#define NO_PARTITION { "ERR no such partition 'x'", "The index has no partition of this name." }
#define END_ERRORS { NULL, NULL }

static const struct cmd_error_doc create_errors[] = {
    { "ERR key already exists", "There is an index of this name." },
    { "ERR DIM is missing: give the number of components, of 1 to 65536", "DIM is not given." },
    { "ERR invalid DIM: a number of 1 to 65536 is allowed", "Another value of DIM." },
    { "ERR invalid REDUCE: a number of 1 to 65536 is allowed", "Another value of REDUCE." },
    { "ERR REDUCE to more components: DIM is at most the number after REDUCE", "DIM is greater." },
    { "ERR invalid METRIC: COSINE, L2 or IP is allowed", "Another word follows METRIC." },
    { "ERR invalid TYPE: HNSW or FLAT is allowed", "Another word follows TYPE." },
    { "ERR invalid M: a number of 4 to 4096 is allowed", "Another value of M." },
    { "ERR invalid EF: a number of 1 to 1000000 is allowed", "Another value of EF." },
    { "ERR invalid ORIGINALS: F32, F16 or NONE is allowed", "Another word follows ORIGINALS." },
    { "ERR invalid PARTITIONS: a number of 1 to 4096 is allowed", "Another value of PARTITIONS." },
    { "ERR invalid STRATEGY: HASH is allowed", "Another word follows STRATEGY." },
    { "ERR invalid VNODES: a number of 1 to 1024 is allowed", "Another value of VNODES." },
    { "ERR invalid MAP: ORIGINALS, CODES or ALL is allowed", "Another word follows MAP." },
    { "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed", "Another value of SEED." },
    { "ERR syntax error in VPARTITION CREATE command near 'x': DIM, METRIC, TYPE, M, EF, NOQUANT, Q8, F16, BF16, Q4, "
      "BIN, ORIGINALS, STRICT, TRANSIENT, PARTITIONS, STRATEGY, VNODES, MAP, REDUCE or SEED is allowed", "An option is unknown." },
    { "OOM command not allowed: not enough memory for what it asks", "The system gives no more memory." },
    END_ERRORS,
};
static const struct cmd_error_doc list_errors[] = {
    NO_KEY,
    { "ERR invalid cursor", "The cursor is not a number that LIST gave." },
    { "ERR invalid COUNT: a number of 1 to 1000 is allowed", "Another value of COUNT." },
    { "ERR syntax error in VPARTITION LIST command near 'x': CURSOR or COUNT is allowed", "An option is unknown." },
    END_ERRORS,
};
static const struct cmd_error_doc info_errors[] = {
    NO_KEY,
    NO_PARTITION,
    { "ERR syntax error in VPARTITION INFO command near 'x': a key, then the name of a partition, is allowed",
      "There are more arguments." },
    END_ERRORS,
};
static const struct cmd_error_doc balance_errors[] = { NO_KEY, END_ERRORS };
static const struct cmd_error_doc pin_errors[] = { NO_KEY, NO_PARTITION, END_ERRORS };
static const struct cmd_error_doc drop_errors[] = {
    NO_KEY,
    NO_PARTITION,
    { "ERR the first partition cannot be dropped: DEL removes the whole index", "The partition is the index's first." },
    END_ERRORS,
};

static const struct cmd_spec subcommands[] = {
    {
        .name = "create",
        .summary = "Creates an empty index.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(P*V) for P partitions of V virtual nodes",
        .arity = -5,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_WRITE | ACL_VECTORSET | ACL_SLOW,
        KEYS,
        .args = create_args,
        .handler = partition_create,
        .reply = "OK.",
        .notes =
            "The index stays when its last element goes, until DEL; with TRANSIENT it goes with it.\n\n"
            "METRIC is COSINE (the default), L2 or IP. TYPE is HNSW (the default), a graph, or FLAT, which "
            "compares a query with every "
            "element. M is the number of links that a node chooses (16), EF the effort of linking (200).\n\n"
            "The element type is what searches run on. Q8 (the default) has 8-bit codes, Q4 4-bit codes, made "
            "for many dimensions, and BIN one bit a "
            "component; with these three the best are ranked again on the originals, which ORIGINALS keeps as "
            "F32 (the default), F16 or NONE. F16 and "
            "BF16 round to 16-bit floats and keep no originals unless ORIGINALS asks for them. NOQUANT has "
            "32-bit floats, which are the originals "
            "then. STRICT refuses attributes that are not JSON.\n\n"
            "PARTITIONS (1) divides the index; each partition has a graph of its own, and a search runs in "
            "all of them in parallel. STRATEGY HASH "
            "places an element by a consistent-hash ring with VNODES (150) virtual nodes for each partition.\n\n"
            "MAP says what the files of a snapshot stand in for once it is written, so that the index needs less "
            "memory: the ORIGINALS (the default), with CODES the codes as well, with ALL also the links of level 0, where "
            "linking has not changed them since. What changes later is copied, a page at a time. After a restart all columns "
            "are used where they lie in the files, whatever MAP says.\n\n"
            "REDUCE lets VADD and searches take vectors of n components, which a pseudo-random projection makes DIM of, as REDUCE of "
            "VADD does.\n\n"
            "SEED fixes what is random otherwise, the levels of the graph and the places of virtual nodes: the "
            "same commands then build the same index. A journal prints with it.",
        .example = "> VPARTITION CREATE docs DIM 768 METRIC IP PARTITIONS 4\nOK",
        .errors = create_errors,
    },
    {
        .name = "list",
        .summary = "Lists the partitions of an index.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(N) for N partitions returned",
        .arity = -3,
        .flags = CMD_READONLY,
        .acl = ACL_READ | ACL_VECTORSET | ACL_SLOW,
        KEYS,
        .args = list_args,
        .handler = partition_list,
        .reply = "An array of two: the cursor for the next call, 0 at the end, and an array with the name, "
                 "the number of elements, the state (open, unloaded, opening or damaged) and 1 or 0 for pinned of "
                 "each partition.",
        .notes = "COUNT is the number of partitions returned at once, 100 by default. A partition dropped "
                 "between two calls moves those "
                 "behind it.",
        .example = "> VPARTITION LIST docs\n1) \"0\"\n2) 1) 1) \"0\"\n      2) (integer) 2\n      3) \"open\"\n      4) (integer) 0",
        .errors = list_errors,
    },
    {
        .name = "info",
        .summary = "Describes an index or one of its partitions.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(P) for P partitions; O(1) for one",
        .arity = -3,
        .flags = CMD_READONLY,
        .acl = ACL_READ | ACL_VECTORSET | ACL_SLOW,
        KEYS,
        .args = info_args,
        .handler = partition_info,
        .reply = "A map (RESP2: a flat array).",
        .notes =
            "Of an index: how it was made (dim, metric, type, element_type, originals, m, ef_construction, "
            "strict, keep_empty, strategy, "
            "vnodes, map, seed), what it holds (partitions, elements, linked, unlinked, dead, attributes, expiring), its uid, and "
            "its memory.\n\n"
            "Of a partition:\n\n| field | meaning |\n| --- | --- |\n"
            "| name | |\n"
            "| state | open; unloaded: it lies in a snapshot's files, the next use opens it; opening; damaged: what a file "
            "should hold of it does not match, and it answers with errors |\n"
            "| reason | file, offset and what is wrong when it is damaged |\n"
            "| pinned | kept open by VPARTITION PIN |\n"
            "| saved | the last snapshot holds all of it |\n"
            "| elements | alive |\n"
            "| linked | nodes in the graph |\n"
            "| unlinked | elements that wait to be linked; searches scan them |\n"
            "| dead | removed nodes that wait for repair |\n"
            "| expiring | elements that have a time to end at |\n"
            "| free_slots | places for coming elements |\n"
            "| max_level | highest level of the graph, -1 without one |\n"
            "| sequence | number of the last change |\n"
            "| waiting_batches | batches of changes that are complete and not in the graph yet; at 0 it stands at the last of them |\n"
            "| linked_sequence | the change up to which the graph stands |\n"
            "| graph_digest | of the graph at linked_sequence |\n"
            "| records_digest | of the elements: names, vectors, attributes |\n"
            "| mapped_codes, mapped_originals, mapped_graph | bytes of columns that lie in files; the rest is in memory |\n"
            "| mapped_bytes | their sum |\n"
            "| resident_bytes | of them, in the page cache; an estimate from 1 GiB on |\n"
            "| memory_... | bytes of each part, and memory_total |\n\n"
            "Of an unloaded partition the numbers are those that it had when it was unloaded; memory_total is what it takes "
            "still. INFO opens nothing.\n\n"
            "The same changes give the same digests, on any machine and with any number of threads.",
        .example = "> VPARTITION INFO docs 0\n 1) \"name\"\n 2) \"0\"\n 3) \"elements\"\n 4) (integer) "
                   "2\n...",
        .errors = info_errors,
    },
    {
        .name = "balance",
        .summary = "Tells how evenly the elements of an index lie in its partitions.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(P) for P partitions",
        .arity = 3,
        .flags = CMD_READONLY,
        .acl = ACL_READ | ACL_VECTORSET | ACL_SLOW,
        KEYS,
        .args = key_args,
        .handler = partition_balance,
        .reply = "A map of elements, bytes, imbalance, and partitions: an array with a map of name, "
                 "elements, bytes, share, slot and node for each.",
        .notes = "imbalance is the largest partition's number of elements divided by the mean. share is a "
                 "partition's part of all elements. "
                 "slot is its hash slot; node is `self`.",
        .example = "> VPARTITION BALANCE docs\n1) \"elements\"\n2) (integer) 2\n3) \"bytes\"\n4) (integer) "
                   "10240\n5) \"imbalance\"\n6) \"1\"\n"
                   "7) \"partitions\"\n8) 1)  1) \"name\"\n       2) \"0\"\n...",
        .errors = balance_errors,
    },
    {
        .name = "drop",
        .summary = "Removes a partition with its elements.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(P*V) for P partitions of V virtual nodes; memory is freed behind the reply",
        .arity = 4,
        .flags = CMD_WRITE,
        .acl = ACL_WRITE | ACL_VECTORSET | ACL_SLOW,
        KEYS,
        .args = drop_args,
        .handler = partition_drop,
        .reply = "OK.",
        .notes = "Elements that come later are placed in the partitions that are left. The first partition "
                 "cannot be dropped.",
        .example = "> VPARTITION DROP docs 3\nOK",
        .errors = drop_errors,
    },
    {
        .name = "pin",
        .summary = "Keeps a partition open, whatever max-open-partitions says.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(1)",
        .arity = 4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_WRITE | ACL_VECTORSET | ACL_FAST,
        KEYS,
        .args = drop_args,
        .handler = partition_pin,
        .reply = "OK.",
        .notes = "It is opened if it is not, behind the reply, and never unloaded while it is pinned; it counts among the "
                 "open ones. The mark is kept by the journal and by snapshots. Partition 0 stands for an index of one "
                 "partition as a whole.",
        .example = "> VPARTITION PIN docs 0\nOK",
        .errors = pin_errors,
    },
    {
        .name = "unpin",
        .summary = "Lets a pinned partition be unloaded again.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(1)",
        .arity = 4,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_WRITE | ACL_VECTORSET | ACL_FAST,
        KEYS,
        .args = drop_args,
        .handler = partition_unpin,
        .reply = "OK.",
        .example = "> VPARTITION UNPIN docs 0\nOK",
        .errors = pin_errors,
    },
    {
        .name = "help",
        .summary = "Returns helpful text about the subcommands.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_LOADING | CMD_STALE,
        .acl = ACL_VECTORSET | ACL_SLOW,
        .handler = partition_help,
        .reply = "An array of simple strings.",
    },
    { .name = NULL },
};

const struct cmd_spec cmd_partition_specs[] = {
    {
        .name = "vpartition",
        .summary = "A container for the commands that make and inspect the partitions of an index.",
        .group = "vector_set",
        .since = SINCE,
        .complexity = "Depends on the subcommand",
        .arity = -2,
        .acl = ACL_VECTORSET | ACL_SLOW,
        .subcommands = subcommands,
    },
    { .name = NULL },
};
