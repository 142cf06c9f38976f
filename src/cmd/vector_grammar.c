/* The argument trees and error tables of the vector commands. What both VADD and VMADD, or both search commands, take is
 * written once. */
#include "cmd/vector_cmd.h"

#define KEY { .name = "key", .type = ARG_KEY }
#define ELEMENT { .name = "element", .type = ARG_STRING }
#define FLAG(n, word) { .name = n, .type = ARG_TOKEN, .token = word, .flags = ARG_OPTIONAL }
#define WORD(n, word) { .name = n, .type = ARG_TOKEN, .token = word }
#define INT_OPTION(n, word) { .name = n, .type = ARG_INTEGER, .token = word, .flags = ARG_OPTIONAL }
#define NUMBER_OPTION(n, word) { .name = n, .type = ARG_DOUBLE, .token = word, .flags = ARG_OPTIONAL }
#define END { .name = NULL }
#define END_ERRORS { NULL, NULL }

/* ---- vectors ---- */

static const struct cmd_arg values[] = {
    { .name = "n", .type = ARG_INTEGER, .token = "VALUES" },
    { .name = "component", .type = ARG_DOUBLE, .flags = ARG_MULTIPLE },
    END,
};

#define VECTOR_FORMS                                                  \
    { .name = "blob", .type = ARG_STRING, .token = "FP32" },          \
    { .name = "blob", .type = ARG_STRING, .token = "FP16" },          \
    { .name = "blob", .type = ARG_STRING, .token = "BF16" },          \
    { .name = "blob", .type = ARG_STRING, .token = "I8" },              \
    { .name = "values", .type = ARG_BLOCK, .children = values }, END

static const struct cmd_arg vector_forms[] = { VECTOR_FORMS };
static const struct cmd_arg query_forms[] = { { .name = "element", .type = ARG_STRING, .token = "ELE" }, VECTOR_FORMS };
static const struct cmd_arg blob_formats[] = {
    WORD("fp32", "FP32"), WORD("fp16", "FP16"), WORD("bf16", "BF16"), WORD("i8", "I8"), END,
};

/* ---- VADD, VMADD ---- */

static const struct cmd_arg types[] = {
    WORD("noquant", "NOQUANT"), WORD("q8", "Q8"), WORD("f16", "F16"), WORD("bf16", "BF16"), WORD("q4", "Q4"), WORD("bin", "BIN"), END,
};
static const struct cmd_arg originals[] = { WORD("f32", "F32"), WORD("f16", "F16"), WORD("none", "NONE"), END };
static const struct cmd_arg conditions[] = { WORD("nx", "NX"), WORD("xx", "XX"), END };
static const struct cmd_arg times[] = {
    { .name = "seconds", .type = ARG_INTEGER, .token = "EX" },
    { .name = "milliseconds", .type = ARG_INTEGER, .token = "PX" },
    { .name = "unix-time-seconds", .type = ARG_UNIX_TIME, .token = "EXAT" },
    { .name = "unix-time-milliseconds", .type = ARG_UNIX_TIME, .token = "PXAT" },
    WORD("keepttl", "KEEPTTL"),
    END,
};
static const struct cmd_arg ack_levels[] = { WORD("one", "ONE"), WORD("quorum", "QUORUM"), WORD("all", "ALL"), END };
static const struct cmd_arg ack[] = {
    { .name = "level", .type = ARG_ONEOF, .token = "ACK", .children = ack_levels },
    { .name = "milliseconds", .type = ARG_INTEGER, .flags = ARG_OPTIONAL },
    END,
};

#define ADD_OPTIONS                                                                                             \
    { .name = "element-type", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = types },                    \
    { .name = "originals", .type = ARG_ONEOF, .token = "ORIGINALS", .flags = ARG_OPTIONAL, .children = originals }, \
    INT_OPTION("ef", "EF"), INT_OPTION("links", "M"),                                                           \
    { .name = "partition", .type = ARG_STRING, .token = "PARTITION", .flags = ARG_OPTIONAL },                   \
    { .name = "condition", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = conditions },                  \
    { .name = "expiration", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = times },                      \
    { .name = "ack", .type = ARG_BLOCK, .flags = ARG_OPTIONAL, .children = ack }

const struct cmd_arg vector_grammar_vadd[] = {
    KEY,
    INT_OPTION("dimension", "REDUCE"),
    { .name = "vector", .type = ARG_ONEOF, .children = vector_forms },
    ELEMENT,
    FLAG("cas", "CAS"),
    { .name = "attributes", .type = ARG_STRING, .token = "SETATTR", .flags = ARG_OPTIONAL },
    ADD_OPTIONS,
    END,
};

static const struct cmd_arg entry[] = { ELEMENT, { .name = "blob", .type = ARG_STRING }, END };

const struct cmd_arg vector_grammar_vmadd[] = {
    KEY,
    { .name = "format", .type = ARG_ONEOF, .children = blob_formats },
    { .name = "n", .type = ARG_INTEGER },
    { .name = "entry", .type = ARG_BLOCK, .flags = ARG_MULTIPLE, .children = entry },
    { .name = "attributes", .type = ARG_STRING, .token = "WITHATTRS", .flags = ARG_OPTIONAL | ARG_MULTIPLE },
    FLAG("atomic", "ATOMIC"),
    ADD_OPTIONS,
    END,
};

#define ADD_ERRORS                                                                                                   \
    { "ERR invalid vector specification",                                                                            \
      "The vector's keyword is unknown, a blob's length does not fit its type, a component is no number, or the vector has none." }, \
    { "ERR invalid vector specification: component 3 (counted from 0) is not a finite number",                       \
      "A component is NaN or infinite, or too large for a single-precision float." },                                \
    { "ERR invalid vector specification: component 3 (counted from 0) does not fit the element type",                \
      "The index keeps its originals as half floats, and the component is beyond 65504 in size." },                  \
    { "ERR Vector dimension mismatch - got 3 but set has 4", "The vector's length is not the index's." },            \
    { "ERR invalid EF", "EF is not a number of 1 to 1000000." },                                                     \
    { "ERR invalid M", "M is not a number of 4 to 4096." },                                                          \
    { "ERR invalid ORIGINALS: F32, F16 or NONE is allowed", "Another word follows ORIGINALS." },                     \
    { "ERR invalid ACK: ONE, QUORUM or ALL, then optionally milliseconds, is allowed", "Another word follows ACK." }, \
    { "ERR invalid ACK: the time-out is negative", "The milliseconds after the level are below 0." },                \
    { "ERR NX and XX exclude each other", "Both are given." },                                                       \
    { "ERR EX, PX, EXAT, PXAT and KEEPTTL exclude each other", "More than one is given." },                          \
    { "ERR EX needs a time", "The option is the last argument." },                                                   \
    { "ERR value is not an integer or out of range", "The time is not a whole number of 64 bits." },                 \
    { "ERR invalid expire time in 'vadd' command", "The time is not above 0, or too far away to be counted in milliseconds." }, \
    { "ERR PARTITION needs the name of a partition", "PARTITION is the last argument." },                            \
    { "ERR no such partition 'x': this element belongs to partition '0'", "The index has no partition of this name." }, \
    { "ERR this index places elements by hash: this one belongs to partition '1'",                                   \
      "PARTITION names another partition than the ring gives for the element." },                                    \
    { "ERR the option TEXT is not offered by this server", "An option that other versions of the command have." },   \
    { "ERR asked quantization mismatch with existing vector set", "An element type is given, and the index has another." }, \
    { "ERR asked M value mismatch with existing vector set", "M is given, and the index has another." },             \
    { "ERR asked ORIGINALS mismatch with existing vector set", "ORIGINALS is given, and the index keeps its own otherwise." }, \
    { "ERR no such index 'docs': create it with VPARTITION CREATE (index-autocreate is no)",                         \
      "The key does not exist and may not be created by its first element." },                                       \
    { "ERR element too long - got 65537 bytes but at most 65536 are allowed", "The element's name is too long." },   \
    { "ERR attributes too long - got 16777217 bytes but at most 16777216 are allowed", "The attributes are too long." }, \
    { "ERR invalid JSON in attributes: this index was created STRICT", "The attributes are not JSON." },             \
    { "OOM command not allowed: not enough memory for what it asks", "The system gives no more memory." }

const struct cmd_error_doc vector_errors_vadd[] = {
    ADD_ERRORS,
    { "ERR invalid option after element", "An option is unknown, or SETATTR lacks its value." },
    { "ERR cannot add projection to existing set without projection", "REDUCE is given, and the index does not reduce." },
    { "ERR projection dimension mismatch with existing set", "REDUCE is given, and the index reduces to another length." },
    { "ERR Input dimension mismatch for projection - got 3 but projection expects 4",
      "The vector's length is neither that which the index reduces nor, without REDUCE, that of the index." },
    END_ERRORS,
};

const struct cmd_error_doc vector_errors_vmadd[] = {
    ADD_ERRORS,
    { "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed", "Another word stands after the key." },
    { "ERR invalid number of entries: a number from 1 is allowed", "n is not a number, or below 1." },
    { "ERR number of entries mismatch: 3 pairs of element and blob are announced, 4 arguments follow",
      "Fewer than 2 n arguments follow n." },
    { "ERR WITHATTRS needs one argument for each of the 3 entries", "Fewer than n arguments follow WITHATTRS." },
    { "ERR syntax error in VMADD command near 'x': WITHATTRS, PARTITION, ATOMIC, NOQUANT, Q8, F16, BF16, Q4, "
      "BIN, ORIGINALS, EF, M, NX, XX or ACK is allowed", "An option is unknown." },
    { "ERR ATOMIC takes at most 256 entries and 262144 components in all", "There are more." },
    { "ERR entry 2 (counted from 0): Vector dimension mismatch - got 3 but set has 4",
      "With ATOMIC: this entry cannot be added, so none was." },
    { "ERR entry 2 (counted from 0): the element exists (NX)", "With ATOMIC and NX." },
    { "ERR entry 2 (counted from 0): the element does not exist (XX)", "With ATOMIC and XX." },
    { "ERR the index was removed while the command ran", "The entries from here on were not added." },
    END_ERRORS,
};

/* ---- VSEARCH, VMSEARCH ---- */

static const struct cmd_arg k_words[] = {
    { .name = "k", .type = ARG_INTEGER, .token = "K" },
    { .name = "count", .type = ARG_INTEGER, .token = "COUNT" },
    END,
};
static const struct cmd_arg radius_words[] = {
    { .name = "radius", .type = ARG_DOUBLE, .token = "RADIUS" },
    { .name = "epsilon", .type = ARG_DOUBLE, .token = "EPSILON" },
    END,
};
static const struct cmd_arg partitions[] = {
    { .name = "n", .type = ARG_INTEGER, .token = "PARTITION" },
    { .name = "name", .type = ARG_STRING, .flags = ARG_MULTIPLE },
    END,
};
static const struct cmd_arg fields[] = {
    { .name = "n", .type = ARG_INTEGER, .token = "RETURN" },
    { .name = "field", .type = ARG_STRING, .flags = ARG_MULTIPLE },
    END,
};

#define SEARCH_OPTIONS                                                                          \
    { .name = "results", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = k_words },       \
    INT_OPTION("offset", "OFFSET"), INT_OPTION("ef", "EF"),                                     \
    { .name = "within", .type = ARG_ONEOF, .flags = ARG_OPTIONAL, .children = radius_words },   \
    FLAG("exact", "EXACT"),                                                                     \
    { .name = "expression", .type = ARG_STRING, .token = "FILTER", .flags = ARG_OPTIONAL },     \
    INT_OPTION("effort", "FILTER-EF"),                                                          \
    { .name = "partitions", .type = ARG_BLOCK, .flags = ARG_OPTIONAL, .children = partitions }, \
    FLAG("withscores", "WITHSCORES"), FLAG("withattribs", "WITHATTRIBS"),                       \
    FLAG("withvectors", "WITHVECTORS"),                                                         \
    { .name = "fields", .type = ARG_BLOCK, .flags = ARG_OPTIONAL, .children = fields },         \
    INT_OPTION("milliseconds", "TIMEOUT"), FLAG("withinfo", "WITHINFO")

const struct cmd_arg vector_grammar_vsearch[] = {
    KEY,
    { .name = "query", .type = ARG_ONEOF, .children = query_forms },
    SEARCH_OPTIONS,
    END,
};

const struct cmd_arg vector_grammar_vmsearch[] = {
    KEY,
    { .name = "format", .type = ARG_ONEOF, .children = blob_formats },
    { .name = "n", .type = ARG_INTEGER },
    { .name = "blob", .type = ARG_STRING, .flags = ARG_MULTIPLE },
    SEARCH_OPTIONS,
    END,
};

#define ALLOWED "K, COUNT, OFFSET, EF, RADIUS, EPSILON, EXACT, FILTER, FILTER-EF, PARTITION, WITHSCORES, WITHATTRIBS, " \
                "WITHVECTORS, RETURN, TIMEOUT or WITHINFO is allowed"
#define FILTER_ERRORS                                                                                              \
    { "ERR syntax error in FILTER expression near: == 3", "The expression cannot be understood from there on." },  \
    { "ERR FILTER: the expression is longer than 32768 bytes", "It is; or it is nested more than 256 deep, or a path has more than 32 names." }, \
    { "ERR invalid FILTER-EF", "FILTER-EF is not a number from 0." }
#define SEARCH_ERRORS                                                                                              \
    { "ERR invalid vector specification", "The query's keyword is unknown, its value is missing, or it is no vector." }, \
    { "ERR invalid vector specification: component 3 (counted from 0) is not a finite number",                     \
      "A component is NaN or infinite, or too large for a single-precision float." },                              \
    { "ERR Vector dimension mismatch - got 3 but set has 4", "The query's length is not the index's." },           \
    { "ERR Input dimension mismatch for projection - got 3 but projection expects 4",                              \
      "The same, of an index with REDUCE: the query has neither the length before nor that after it." },           \
    { "ERR invalid K: a number of 1 to 1000000 is allowed", "Another value of K." },                               \
    { "ERR invalid COUNT: a number of 1 to 1000000 is allowed", "Another value of COUNT." },                       \
    { "ERR invalid OFFSET: a number of 0 to 1000000 is allowed", "Another value of OFFSET." },                     \
    { "ERR invalid EF: a number of 1 to 1000000 is allowed", "Another value of EF." },                             \
    { "ERR invalid RADIUS: a number from 0 is allowed", "Another value of RADIUS (under IP: any finite number is allowed)." }, \
    { "ERR invalid EPSILON", "EPSILON is not a finite number above 0." },                                          \
    { "ERR EPSILON is for COSINE alone: this index is l2, use RADIUS", "The index has another metric." },          \
    { "ERR RADIUS and EPSILON exclude each other", "Both are given." },                                            \
    { "ERR FILTER needs an expression", "FILTER is the last argument." },                                          \
    FILTER_ERRORS,                                                                                                 \
    { "ERR invalid PARTITION: a number of 1 to 4096, then so many names, is allowed", "The number, or a name, is missing." }, \
    { "ERR no such partition 'x'", "The index has no partition of this name." },                                   \
    { "ERR invalid RETURN: a number of 1 to 256, then so many fields, is allowed", "The number, or a field, is missing." }, \
    { "ERR invalid TIMEOUT: a number of 1 to 86400000 is allowed", "Another value of TIMEOUT." },                  \
    { "OOM command not allowed: not enough memory for what it asks", "The system gives no more memory." }

const struct cmd_error_doc vector_errors_vsearch[] = {
    SEARCH_ERRORS,
    { "ERR element not found in set", "ELE names an element that is not in the index." },
    { "ERR syntax error in VSEARCH command near 'x': " ALLOWED, "An option is unknown." },
    END_ERRORS,
};

const struct cmd_error_doc vector_errors_vmsearch[] = {
    SEARCH_ERRORS,
    { "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed", "Another word stands after the key." },
    { "ERR invalid number of queries: a number of 1 to 1024 is allowed", "Another value of n." },
    { "ERR number of queries mismatch: 3 blobs are announced, 2 arguments follow", "Fewer than n arguments follow n." },
    { "ERR syntax error in VMSEARCH command near 'x': " ALLOWED, "An option is unknown." },
    END_ERRORS,
};

/* ---- VSIM ---- */

const struct cmd_arg vector_grammar_vsim[] = {
    KEY,
    { .name = "query", .type = ARG_ONEOF, .children = query_forms },
    FLAG("withscores", "WITHSCORES"), FLAG("withattribs", "WITHATTRIBS"),
    INT_OPTION("count", "COUNT"), NUMBER_OPTION("epsilon", "EPSILON"), INT_OPTION("ef", "EF"),
    { .name = "expression", .type = ARG_STRING, .token = "FILTER", .flags = ARG_OPTIONAL },
    INT_OPTION("effort", "FILTER-EF"),
    FLAG("truth", "TRUTH"), FLAG("nothread", "NOTHREAD"),
    END,
};

const struct cmd_error_doc vector_errors_vsim[] = {
    { "ERR invalid vector specification", "The query's keyword is unknown, its value is missing, or it is no vector." },
    { "ERR invalid vector specification: component 3 (counted from 0) is not a finite number",
      "A component is NaN or infinite, or too large for a single-precision float." },
    { "ERR Vector dimension mismatch - got 3 but set has 4", "The query's length is not the index's." },
    { "ERR Input dimension mismatch for projection - got 3 but projection expects 4",
      "The same, of an index with REDUCE: the query has neither the length before nor that after it." },
    { "ERR element not found in set", "ELE names an element that is not in the index." },
    { "ERR invalid COUNT", "COUNT is not a number from 1, or more than 1,000,000 elements are asked for and there." },
    { "ERR invalid EF", "EF is not a number of 1 to 1,000,000." },
    { "ERR invalid EPSILON", "EPSILON is not a number above 0." },
    { "ERR EPSILON is for COSINE alone: this index is l2, use VSEARCH with RADIUS", "The index has another metric." },
    FILTER_ERRORS,
    { "ERR syntax error in VSIM command", "An option is unknown, or lacks its value." },
    { "OOM command not allowed: not enough memory for what it asks", "The system gives no more memory." },
    END_ERRORS,
};

/* ---- the others ---- */

#define GET_OPTIONS FLAG("withvectors", "WITHVECTORS"), FLAG("withattribs", "WITHATTRIBS"), END

const struct cmd_arg vector_grammar_vget[] = { KEY, ELEMENT, GET_OPTIONS };
const struct cmd_arg vector_grammar_vmget[] = {
    KEY,
    { .name = "n", .type = ARG_INTEGER },
    { .name = "element", .type = ARG_STRING, .flags = ARG_MULTIPLE },
    GET_OPTIONS,
};
const struct cmd_arg vector_grammar_vemb[] = { KEY, ELEMENT, FLAG("raw", "RAW"), END };
const struct cmd_arg vector_grammar_key[] = { KEY, END };
const struct cmd_arg vector_grammar_key_element[] = { KEY, ELEMENT, END };
const struct cmd_arg vector_grammar_vdel[] = {
    KEY,
    { .name = "element", .type = ARG_STRING, .flags = ARG_MULTIPLE },
    END,
};
const struct cmd_arg vector_grammar_vsetattr[] = { KEY, ELEMENT, { .name = "json", .type = ARG_STRING }, END };

#define NO_MEMORY { "OOM command not allowed: not enough memory for what it asks", "The system gives no more memory." }

const struct cmd_error_doc vector_errors_vget[] = {
    { "ERR syntax error in VGET command near 'x': WITHVECTORS or WITHATTRIBS is allowed", "An option is unknown." },
    NO_MEMORY,
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vmget[] = {
    { "ERR number of elements mismatch: a number from 1, then so many elements, is allowed",
      "n is not a number from 1, or fewer than n arguments follow." },
    { "ERR syntax error in VMGET command near 'x': WITHVECTORS or WITHATTRIBS is allowed", "An option is unknown." },
    NO_MEMORY,
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vemb[] = {
    { "ERR invalid option", "The fourth argument is not RAW." },
    NO_MEMORY,
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vdim[] = {
    { "ERR key does not exist", "There is no such key." },
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vsetattr[] = {
    { "ERR attributes too long - got 16777217 bytes but at most 16777216 are allowed", "The attributes are too long." },
    { "ERR invalid JSON in attributes: this index was created STRICT", "The attributes are not JSON." },
    NO_MEMORY,
    END_ERRORS,
};

/* ---- ids and links ---- */

const struct cmd_arg vector_grammar_vrange[] = {
    KEY,
    { .name = "start", .type = ARG_STRING },
    { .name = "end", .type = ARG_STRING },
    { .name = "count", .type = ARG_INTEGER, .flags = ARG_OPTIONAL },
    END,
};
const struct cmd_arg vector_grammar_vrandmember[] = {
    KEY,
    { .name = "count", .type = ARG_INTEGER, .flags = ARG_OPTIONAL },
    END,
};
const struct cmd_arg vector_grammar_vlinks[] = { KEY, ELEMENT, FLAG("withscores", "WITHSCORES"), END };

const struct cmd_error_doc vector_errors_vrange[] = {
    { "ERR invalid start range format", "The start is none of -, [element and (element." },
    { "ERR invalid end range format", "The end is none of +, [element and (element." },
    { "ERR '-' can only be used as first argument, '+' only as second", "They stand the other way round." },
    { "ERR invalid COUNT value", "The count is not a number." },
    NO_MEMORY,
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vrandmember[] = {
    { "ERR COUNT value is not an integer", "The count is not a number." },
    { "ERR COUNT value is out of range: a number from -1000000 is allowed", "The count is lower." },
    NO_MEMORY,
    END_ERRORS,
};
const struct cmd_error_doc vector_errors_vlinks[] = {
    { "ERR wrong number of arguments for 'vlinks' command", "The fourth argument is not WITHSCORES." },
    { "CORRUPT the partition of this element is damaged", "A file of a snapshot does not hold what it should." },
    NO_MEMORY,
    END_ERRORS,
};
