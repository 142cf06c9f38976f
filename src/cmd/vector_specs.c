/* The rows of the vector commands. Their grammars and errors stand in vector_grammar.c. */
#include "cmd/vector_cmd.h"

#define KEYS .first_key = 1, .last_key = 1, .key_step = 1
#define ACL_V_READ (ACL_READ | ACL_VECTORSET)
#define ACL_V_WRITE (ACL_WRITE | ACL_VECTORSET)
#define OWN_SINCE "0.1.0"

/* What a reply of elements looks like, for both search commands. */
#define ELEMENT_REPLY                                                                                                 \
    "An array of elements, best first. With WITHSCORES, WITHATTRIBS, WITHVECTORS or RETURN each element is followed by what was " \
    "asked for, in this order: its score, its attributes (null when it has none), its vector (a blob of little-endian 32-bit " \
    "floats), and an array with the value of each field. RESP2 has all in one flat array, scores as bulk strings. RESP3 has a map " \
    "from each element to the one thing asked for, or to an array of them; scores are doubles. "

const struct cmd_spec cmd_vector_specs[] = {
    {
        .name = "vadd",
        .summary = "Adds an element with its vector to an index, or replaces it. The index is created with "
                   "its first element.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(D) for D components; linking into the graph is O(log N) and happens behind the "
                      "reply",
        .arity = -5,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_V_WRITE | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vadd,
        .handler = vector_add_vadd,
        .reply = "1 when the element is new, 0 when it was replaced (RESP3: true or false). Null when NX or "
                 "XX kept it from being done.",
        .notes =
            "A vector is FP32, FP16 or BF16 (little-endian floats of 4, 2 and 2 bytes), I8 (signed bytes, "
            "each the value of a "
            "component) or VALUES with a count and numbers. It must be finite; all zeros are allowed. An "
            "element's name is any 0 to "
            "65536 bytes.\n\n"
            "A new index is of metric COSINE, type HNSW and one partition; use VPARTITION CREATE for "
            "another. The element type is what searches run on. Q8 (the default) has 8-bit codes, Q4 "
            "4-bit codes and BIN one bit a component; with "
            "these three the best are ranked again on the originals, which ORIGINALS keeps as F32 (the "
            "default), F16 or NONE. F16 and BF16 round to "
            "16-bit floats and keep no originals unless ORIGINALS asks for them. NOQUANT has 32-bit floats. "
            "M is the number of links of a node (16), EF the effort of linking (200). For an "
            "index that is there, "
            "the element type, M and ORIGINALS must agree with it when given, and EF is accepted without effect: "
            "one index links all with the same "
            "effort.\n\n"
            "REDUCE, of a new index, has every vector projected to so many components, which keeps angles about as they are: the "
            "projection is pseudo-random, of the index's seed. Later it may be left out, and must agree when it is "
            "given; vectors have the full length, or, without REDUCE, may be reduced already. VPARTITION CREATE has REDUCE, too.\n\n"
            "SETATTR gives the element JSON attributes. Without it a replaced element keeps its own; an "
            "empty string removes "
            "them. NX adds only a new element, XX only replaces one. CAS is accepted for clients that send "
            "it. PARTITION checks that the "
            "element belongs to that partition. ACK waits for ONE, a QUORUM or ALL of the copies; one node "
            "is its own quorum.\n\n"
            "When the command has been answered, every search finds the element. When too many elements wait "
            "to be linked, the "
            "command waits for its turn.",
        .example = "> VADD docs VALUES 3 0.1 0.2 0.3 first SETATTR '{\"lang\":\"en\"}'\n(integer) 1\n"
                   "> VADD docs VALUES 3 0.1 0.2 0.4 first\n(integer) 0",
        .errors = vector_errors_vadd,
    },
    {
        .name = "vmadd",
        .summary = "Adds or replaces many elements at once.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(N*D) for N elements of D components",
        .arity = -6,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_V_WRITE | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vmadd,
        .handler = vector_madd_vmadd,
        .reply = "An array with one reply for each entry, as VADD would give it: 1 or 0 (RESP3: true or "
                 "false), null under NX or XX, or an "
                 "error for that entry alone.",
        .notes =
            "After the format of the blobs and the number n stand n pairs of an element and its blob. "
            "WITHATTRS is followed by exactly "
            "n JSON attributes, in the order of the entries; an empty string removes those that the element "
            "has. As the counts "
            "come first, elements and blobs may hold any bytes and look like any option. The other options "
            "are VADD's and hold for all "
            "entries.\n\n"
            "With ATOMIC every entry is checked before the first is added: when one cannot be, the command "
            "answers one error that names "
            "it, and nothing is changed. NX and XX then are conditions for all entries. No other command "
            "runs in between. ATOMIC takes at most 256 entries and 262,144 components. "
            "Without it there is no such bound, and other clients' commands run in between.",
        .example = "> VMADD docs FP32 2 a \"\\x00\\x00\\x80?\\x00\\x00\\x00\\x00\" b "
                   "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80?\" WITHATTRS "
                   "'{\"n\":1}' ''\n1) (integer) 1\n2) (integer) 1",
        .errors = vector_errors_vmadd,
    },
    {
        .name = "vsearch",
        .summary = "Finds the elements nearest to a vector or to another element.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(log N) for N elements; EXACT: O(N)",
        .arity = -4,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vsearch,
        .handler = vector_search_vsearch,
        .reply = ELEMENT_REPLY
            "With WITHINFO, an array of two: this reply, and a map of partitions_asked, partitions_answered, "
            "partial, plan, distances, "
            "nodes, time_us and version. A key that does not exist: an empty array.",
        .notes =
            "The score is (1 + cos) / 2 for COSINE, the inner product for IP, and the Euclidean distance for "
            "L2.\n\n"
            "K (or COUNT) results are returned, 10 by default, after skipping OFFSET of them. EF is the "
            "effort of the search, 100 by default: "
            "more finds more of the true neighbours. EXACT compares with every element.\n\n"
            "RADIUS returns all elements within d, without a bound on their number unless K is given. Under "
            "COSINE those with 1 - score <= d, "
            "under L2 score <= d, under IP score >= d. EPSILON, for COSINE, filters the K best by 1 - score "
            "<= d.\n\n"
            "FILTER returns only elements whose JSON attributes match an [expression](../filters.md): as many as "
            "there are, up to K. FILTER-EF ends the search after the expression has been evaluated for so "
            "many elements of a partition, with what was found; 0, the default, sets no such bound.\n\n"
            "PARTITION searches only the partitions named. RETURN gives top-level fields of the JSON "
            "attributes: the text of "
            "strings, other values as JSON, null where there is none. TIMEOUT ends the search after so many "
            "milliseconds with the best "
            "found so far; the map of WITHINFO then says partial. In that map, version is the highest "
            "sequence number of the partitions "
            "that the search saw, plan is `graph`, `scan` or `graph+scan`, with FILTER `filter+` before it, and "
            "distances and nodes count "
            "what was computed and visited; with FILTER there is also examined, the elements that it was evaluated "
            "for.\n\n"
            "Searches run on the worker threads; those that one connection sends without waiting run in "
            "parallel. A search whose client has "
            "gone is stopped.",
        .example = "> VSEARCH docs VALUES 3 0.1 0.2 0.3 K 2 WITHSCORES\n1) \"first\"\n2) \"1\"\n3) "
                   "\"second\"\n4) \"0.9914163947105408\"",
        .errors = vector_errors_vsearch,
    },
    {
        .name = "vsim",
        .summary = "Finds the elements nearest to a vector or to another element, as in Redis' vector sets.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(log N) for N elements; TRUTH: O(N)",
        .arity = -4,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vsim,
        .handler = vector_search_vsim,
        .reply = "An array of elements, best first. With WITHSCORES or WITHATTRIBS each element is followed by what was asked "
                 "for: its score, then its attributes (null when it has none). RESP2 has all in one flat array, scores as bulk "
                 "strings. RESP3 has a map from each element to the one thing asked for, or to an array of the two; scores are "
                 "doubles. A key that does not exist: an empty array, whatever the other arguments.",
        .notes =
            "The search is that of [VSEARCH](vsearch.md), which takes more options; this command is for clients of vector "
            "sets. The score is 1 - distance / 2 with distance 1 - cos: 1 for the same direction, 0.5 at right angles, 0 for "
            "the opposite. (An index of another metric gives the scores that VSEARCH gives.)\n\n"
            "COUNT results are returned, 10 by default. EF is the effort of the search, 100 by default: more finds more of the "
            "true neighbours. EPSILON keeps those with 1 - score <= epsilon. TRUTH compares with every element. FILTER returns "
            "only elements whose JSON attributes match an [expression](../filters.md) of vector sets: COUNT of them where there "
            "are so many, unless FILTER-EF n ends the search after the expression was evaluated for n elements of a "
            "partition. NOTHREAD is accepted and has no effect: searches run on the worker threads, and hold nobody up.",
        .example = "> VSIM docs VALUES 3 0.1 0.2 0.3 COUNT 2 WITHSCORES\n1) \"first\"\n2) \"1\"\n3) "
                   "\"second\"\n4) \"0.9914163947105408\"",
        .errors = vector_errors_vsim,
    },
    {
        .name = "vmsearch",
        .summary = "Finds the elements nearest to each of several vectors, in parallel.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(Q*log N) for Q vectors and N elements",
        .arity = -5,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vmsearch,
        .handler = vector_search_vmsearch,
        .reply = "An array with one reply for each vector, in their order. Each is: " ELEMENT_REPLY
            "With WITHINFO, an array of two: this array, and an array with the map of VSEARCH for each "
            "vector. A key that does not exist: an "
            "empty array.",
        .notes = "After the format of the blobs stand their number n, of 1 to 1024, and the blobs. The "
                 "options are VSEARCH's and hold for "
                 "all.",
        .example = "> VMSEARCH docs FP32 2 \"\\x00\\x00\\x80?\\x00\\x00\\x00\\x00\" "
                   "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x80?\" K 1\n"
                   "1) 1) \"a\"\n2) 1) \"b\"",
        .errors = vector_errors_vmsearch,
    },
    {
        .name = "vdel",
        .summary = "Removes elements from an index.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(N) for N elements named",
        .arity = -3,
        .flags = CMD_WRITE,
        .acl = ACL_V_WRITE | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vdel,
        .handler = vector_del_vdel,
        .reply = "The number of elements removed.",
        .notes = "No search that begins later finds them; the graph is repaired behind the reply. The key "
                 "goes with its last element, "
                 "unless it was made by VPARTITION CREATE.",
        .example = "> VDEL docs first second\n(integer) 2",
    },
    {
        .name = "vrem",
        .summary = "Removes one element from an index.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1); the graph is repaired behind the reply",
        .arity = 3,
        .flags = CMD_WRITE,
        .acl = ACL_V_WRITE | ACL_SLOW,
        KEYS,
        .args = vector_grammar_key_element,
        .handler = vector_del_vrem,
        .reply = "1 when it was removed, 0 when there was no such element or key (RESP3: true or false).",
        .notes = "VDEL removes many at once.",
        .example = "> VREM docs first\n(integer) 1",
    },
    {
        .name = "vget",
        .summary = "Returns the vector and the attributes of an element.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(D) for D components",
        .arity = -3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_vget,
        .handler = vector_get_vget,
        .reply = "An array of the vector, a blob of little-endian 32-bit floats, and the attributes (null "
                 "when there are none): those asked "
                 "for, both when neither is. Null when there is no such element or key.",
        .notes = "The vector is as it was given where the index keeps originals, else as its code stands "
                 "for it. VEMB gives it as numbers.",
        .example = "> VGET docs first WITHATTRIBS\n1) \"{\\\"lang\\\":\\\"en\\\"}\"",
        .errors = vector_errors_vget,
    },
    {
        .name = "vmget",
        .summary = "Returns the vectors and the attributes of several elements.",
        .group = "vector_set",
        .since = OWN_SINCE,
        .complexity = "O(N*D) for N elements of D components",
        .arity = -4,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vmget,
        .handler = vector_get_vmget,
        .reply = "An array with the reply of VGET for each element: an array, or null when it is not there.",
        .notes = "Other clients' commands may run between the first element and the last when there are "
                 "many.",
        .example = "> VMGET docs 2 first nobody WITHATTRIBS\n1) 1) \"{\\\"lang\\\":\\\"en\\\"}\"\n2) (nil)",
        .errors = vector_errors_vmget,
    },
    {
        .name = "vcard",
        .summary = "Returns the number of elements of an index.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_key,
        .handler = vector_get_vcard,
        .reply = "The number of elements, 0 when there is no such key.",
        .example = "> VCARD docs\n(integer) 2",
    },
    {
        .name = "vdim",
        .summary = "Returns the dimension of the vectors of an index.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1)",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_key,
        .handler = vector_get_vdim,
        .reply = "The number of components of each vector.",
        .example = "> VDIM docs\n(integer) 3",
        .errors = vector_errors_vdim,
    },
    {
        .name = "vinfo",
        .summary = "Describes an index.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(P) for P partitions",
        .arity = 2,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_key,
        .handler = vector_get_vinfo,
        .reply = "A map (RESP2: a flat array). A key that does not exist: null.",
        .notes =
            "| field | meaning |\n| --- | --- |\n"
            "| quant-type | type of the codes: int8 or f32 |\n"
            "| hnsw-m | links that a node chooses |\n"
            "| vector-dim | components of a vector |\n"
            "| projection-input-dim | components that vectors are projected from (REDUCE); 0: they are not |\n"
            "| size | elements |\n"
            "| max-level | highest level of the graphs |\n"
            "| attributes-count | elements with attributes |\n"
            "| vset-uid | number of the index, unique while the server runs |\n"
            "| hnsw-max-node-uid | highest sequence number of its partitions |\n"
            "| metric | cosine, l2 or ip |\n"
            "| structure | hnsw or flat |\n"
            "| originals | f32, f16 or none |\n"
            "| ef-construction | effort of linking |\n"
            "| partitions | their number |\n"
            "| linked | nodes in the graphs |\n"
            "| unlinked | elements that wait to be linked; searches scan them |\n"
            "| dead | removed nodes that wait for repair |\n"
            "| memory-bytes | memory of the index |",
        .example = "> VINFO docs\n 1) quant-type\n 2) int8\n 3) hnsw-m\n 4) (integer) 16\n...",
    },
    {
        .name = "vismember",
        .summary = "Tells whether an element is in an index.",
        .group = "vector_set",
        .since = "8.2.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_key_element,
        .handler = vector_get_vismember,
        .reply = "1 or 0 (RESP3: true or false).",
        .example = "> VISMEMBER docs first\n(integer) 1",
    },
    {
        .name = "vemb",
        .summary = "Returns the vector of an element as numbers.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(D) for D components",
        .arity = -3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_vemb,
        .handler = vector_get_vemb,
        .reply = "An array of the components (RESP3: doubles), null when there is no such element or key. "
                 "RAW: an array of the type, `f32` or "
                 "`int8` or `bin`, a blob, the vector's length, and for int8 the range.",
        .notes = "RAW: for f32 a component is the blob's 32-bit float times the length; for int8 the blob's "
                 "signed byte times the range, "
                 "divided by 127, times the length; for bin bit i of the blob, from the lowest, is set where "
                 "component i is above 0, in whole 8 bytes. "
                 "Q8 and Q4 are answered as int8, BIN as bin, the others as f32; these blobs are made for the "
                 "reply, in the form that clients of vector sets "
                 "know. Without RAW an element of type BIN has 1 and -1, the signs of its components. "
                 "VGET returns the vector as it was given, as one blob.",
        .example = "> VEMB docs first\n1) \"0.10000000149011612\"\n2) \"0.20000000298023224\"\n3) "
                   "\"0.30000001192092896\"",
        .errors = vector_errors_vemb,
    },
    {
        .name = "vrange",
        .summary = "Lists elements in the order of their bytes.",
        .group = "vector_set",
        .since = "8.4.0",
        .complexity = "O(N + R*log R) for N elements of which R are returned, on a worker thread",
        .arity = -4,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vrange,
        .handler = vector_ids_vrange,
        .reply = "An array of elements. A key that does not exist: an empty array.",
        .notes = "The start is `-` (from the first), `[x` (from x on) or `(x` (after x); the end is `+`, `[x` or `(x`. Elements "
                 "compare byte by byte, a shorter one before a longer one that begins with it. At most count elements are "
                 "returned; without a count, or with a negative one, all.\n\n"
                 "To go through an index in steps, begin with `-` and go on with `(` and the last element returned. The reply "
                 "is of one moment. A worker looks at all elements for it, since none keeps them in order; nothing else "
                 "waits for it.",
        .example = "> VRANGE docs - + 10\n1) \"first\"\n2) \"second\"\n> VRANGE docs (first +\n1) \"second\"",
        .errors = vector_errors_vrange,
    },
    {
        .name = "vrandmember",
        .summary = "Returns elements at random.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1) for one; O(N) for N elements, on a worker thread, for more than 64, or more than half of them",
        .arity = -2,
        .flags = CMD_READONLY,
        .acl = ACL_V_READ | ACL_SLOW,
        KEYS,
        .args = vector_grammar_vrandmember,
        .handler = vector_ids_vrandmember,
        .reply = "Without a count one element; null when there is no such key. With a count an array; an empty one when there "
                 "is no such key.",
        .notes = "With a count above 0 so many different elements are returned, or all that there are; with one below 0 "
                 "exactly so many, among which the same may stand several times. Each element is as likely as any other.",
        .example = "> VRANDMEMBER docs\n\"second\"\n> VRANDMEMBER docs -3\n1) \"first\"\n2) \"first\"\n3) \"second\"",
        .errors = vector_errors_vrandmember,
    },
    {
        .name = "vlinks",
        .summary = "Returns the elements that one is linked to in the graph.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(M) for M links",
        .arity = -3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_vlinks,
        .handler = vector_ids_vlinks,
        .reply = "An array of the graph's levels, the top one of the element first, each an array of elements, the nearest "
                 "first. WITHSCORES: each element has its score, in RESP2 behind it in a flat array, in RESP3 in a map. "
                 "Null when there is no such element or key.",
        .notes = "Scores are those of VSIM, measured on the vectors as they were given where they are kept. An element that is "
                 "not linked has one level, with the nearest elements, as many as it might be linked to: elements are "
                 "linked shortly after they were added, and a partition has no graph before it holds 1,024.",
        .example = "> VLINKS docs first WITHSCORES\n1) 1) \"second\"\n   2) \"0.9914163947105408\"",
        .errors = vector_errors_vlinks,
    },
    {
        .name = "vsetattr",
        .summary = "Sets or removes the JSON attributes of an element.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1)",
        .arity = 4,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_V_WRITE | ACL_FAST,
        KEYS,
        .args = vector_grammar_vsetattr,
        .handler = vector_del_vsetattr,
        .reply = "1, or 0 when there is no such element or key (RESP3: true or false).",
        .notes = "An empty string removes the attributes. What is not JSON is stored as it is, unless the "
                 "index was created STRICT.",
        .example = "> VSETATTR docs first '{\"lang\":\"fr\"}'\n(integer) 1",
        .errors = vector_errors_vsetattr,
    },
    {
        .name = "vgetattr",
        .summary = "Returns the attributes of an element.",
        .group = "vector_set",
        .since = "8.0.0",
        .complexity = "O(1)",
        .arity = 3,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_V_READ | ACL_FAST,
        KEYS,
        .args = vector_grammar_key_element,
        .handler = vector_get_vgetattr,
        .reply = "A bulk string; null when there is no such key or element, or it has no attributes.",
        .example = "> VGETATTR docs first\n\"{\\\"lang\\\":\\\"fr\\\"}\"",
    },
    { .name = NULL },
};
