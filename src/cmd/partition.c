/* VPARTITION: making an index as one wants it, and looking into its partitions.
 *
 * On one node partitions are not keys; each has the hash slot that it would have in a cluster: the first that of the key itself,
 * partition p of `docs` that of `{docs#p}`. */
#include <stdio.h>

#include "base/crc16.h"
#include "cmd/index_sums.h"
#include "cmd/partition_cmd.h"

#define KEY 2       /* its place among the arguments */
#define COUNT_DEFAULT 100
#define COUNT_MAX 1000

/* The index, or NULL and the error written. */
static struct vs_index *find(struct cmd_call *call)
{
    struct vs_index *index = args_index(call, KEY);
    if (!index)
        resp_error(call->reply, "ERR key does not exist");
    return index;
}

/* The position of the named partition, or -1 and the error written. */
static long find_partition(struct cmd_call *call, const struct vs_index *index, const struct resp_arg *name)
{
    long at = vs_partition_find(index, name->data, name->len);
    if (at < 0)
        resp_error(call->reply, "ERR no such partition '%.*s'", args_shown(name), name->data);
    return at;
}

/* ---- CREATE ---- */

/* Takes one of `words`; its position, or -1 and the error written. */
static int take_word(struct cmd_call *call, struct args *a, const char *what, const char *const *words, int n)
{
    for (int i = 0; i < n; i++) {
        if (args_word(a, words[i]))
            return i;
    }
    struct buf allowed = { 0 };
    for (int i = 0; i < n; i++)
        buf_printf(&allowed, "%s%s", i == 0 ? "" : i == n - 1 ? " or " : ", ", words[i]);
    resp_error(call->reply, "ERR invalid %s: %.*s is allowed", what, (int)allowed.len, allowed.data);
    buf_release(&allowed);
    return -1;
}

/* Takes one of `words` as an enum whose values count from 0. */
#define TAKE_ENUM(call, a, what, words, out)                                                           \
    __extension__({                                                                                     \
        int at_ = take_word(call, a, what, words, (int)(sizeof(words) / sizeof *(words)));               \
        if (at_ >= 0)                                                                                   \
            *(out) = (__typeof__(*(out)))at_;                                                           \
        at_ >= 0;                                                                                       \
    })

/* A whole number of 64 bits, not 0. */
static bool take_seed(struct cmd_call *call, struct args *a, uint64_t *out)
{
    const struct resp_arg *arg = args_peek(a);
    uint64_t n = 0;
    bool good = arg && arg->len > 0 && arg->len <= 20;
    for (size_t i = 0; good && i < arg->len; i++) {
        unsigned digit = (unsigned)(arg->data[i] - '0');
        good = digit <= 9 && !__builtin_mul_overflow(n, 10, &n) && !__builtin_add_overflow(n, digit, &n);
    }
    if (!good || !n) {
        resp_error(call->reply, "ERR invalid SEED: a number of 1 to 18446744073709551615 is allowed");
        return false;
    }
    args_next(a);
    *out = n;
    return true;
}

static bool take_create_option(struct cmd_call *call, struct args *a, struct vs_index_options *o)
{
    static const char *const metrics[] = { "COSINE", "L2", "IP" }, *const structures[] = { "HNSW", "FLAT" },
                      *const originals[] = { "F32", "F16", "NONE" }, *const strategies[] = { "HASH" },
                      *const maps[] = { "ORIGINALS", "CODES", "ALL" };
    if (args_word(a, "DIM"))
        return args_number(call, a, "DIM", 1, VEC_DIM_MAX, &o->dim);
    if (args_word(a, "METRIC"))
        return TAKE_ENUM(call, a, "METRIC", metrics, &o->metric);
    if (args_word(a, "TYPE"))
        return TAKE_ENUM(call, a, "TYPE", structures, &o->structure);
    if (args_word(a, "M"))
        return args_number(call, a, "M", VS_M_MIN, VS_M_MAX, &o->m);
    if (args_word(a, "EF"))
        return args_number(call, a, "EF", 1, VS_EF_MAX, &o->ef_construction);
    if (args_word(a, "ORIGINALS")) {
        int at = take_word(call, a, "ORIGINALS", originals, 3);
        if (at >= 0)
            o->originals = (enum vec_originals)(VEC_ORIG_F32 + at);
        return at >= 0;
    }
    if (args_word(a, "PARTITIONS"))
        return args_number(call, a, "PARTITIONS", 1, VS_PARTITIONS_MAX, &o->partitions);
    if (args_word(a, "STRATEGY"))
        return TAKE_ENUM(call, a, "STRATEGY", strategies, &o->strategy);
    if (args_word(a, "VNODES"))
        return args_number(call, a, "VNODES", 1, VS_VNODES_MAX, &o->vnodes);
    if (args_word(a, "SEED"))
        return take_seed(call, a, &o->seed);
    if (args_word(a, "REDUCE"))
        return args_number(call, a, "REDUCE", 1, VEC_DIM_MAX, &o->input_dim);
    if (args_word(a, "MAP"))
        return TAKE_ENUM(call, a, "MAP", maps, &o->map);
    if (args_word(a, "STRICT"))
        return o->strict = true;
    if (args_word(a, "TRANSIENT")) {
        o->keep_empty = false;
        return true;
    }
    if (args_vec_type(a, &o->type))
        return true;
    resp_error(call->reply, "ERR syntax error in VPARTITION CREATE command near '%.*s': DIM, METRIC, TYPE, M, EF, NOQUANT, "
                            "Q8, F16, BF16, Q4, BIN, ORIGINALS, STRICT, TRANSIENT, PARTITIONS, STRATEGY, VNODES, MAP, REDUCE or SEED is allowed",
               args_shown(args_peek(a)), args_peek(a)->data);
    return false;
}

enum cmd_result partition_create(struct cmd_call *call)
{
    struct args a = args_from(call, KEY + 1);
    struct vs_index_options o = { .keep_empty = true };
    while (args_left(&a)) {
        if (!take_create_option(call, &a, &o))
            return CMD_DONE;
    }
    if (!o.dim) {
        resp_error(call->reply, "ERR DIM is missing: give the number of components, of 1 to %d", VEC_DIM_MAX);
        return CMD_DONE;
    }
    if (o.input_dim && o.input_dim < o.dim) {
        resp_error(call->reply, "ERR REDUCE to more components: DIM is at most the number after REDUCE");
        return CMD_DONE;
    }
    struct vs_index *index;
    const struct resp_arg *key = &call->argv[KEY];
    enum vs_status status = vs_create(call->store, call->db, key->data, key->len, &o, &index);
    if (status == VS_EXISTS) {
        resp_error(call->reply, "ERR key already exists");
    } else if (status) {
        args_status_error(call->reply, status);
    } else {
        args_changed(call, KEY);
        args_event(call, EVENT_NEW, "new", KEY);
        args_event(call, EVENT_VECTOR, "vcreate", KEY);
        resp_status(call->reply, "OK");
    }
    return CMD_DONE;
}

/* ---- LIST ---- */

static const char *state_of(const struct vs_index *index, size_t i, const struct vs_partition_info *info,
                            struct buf *reason)
{
    if (vs_partition_damage(index, i, reason))
        return "damaged";
    return info->open ? "open" : info->opening ? "opening" : "unloaded";
}

enum cmd_result partition_list(struct cmd_call *call)
{
    struct args a = args_from(call, KEY + 1);
    long long cursor = 0, count = COUNT_DEFAULT;
    while (args_left(&a)) {
        if (args_word(&a, "CURSOR")) {
            if (!args_int(&a, 0, VS_PARTITIONS_MAX, &cursor)) {
                resp_error(call->reply, "ERR invalid cursor");
                return CMD_DONE;
            }
        } else if (args_word(&a, "COUNT")) {
            if (!args_int(&a, 1, COUNT_MAX, &count)) {
                resp_error(call->reply, "ERR invalid COUNT: a number of 1 to %d is allowed", COUNT_MAX);
                return CMD_DONE;
            }
        } else {
            resp_error(call->reply, "ERR syntax error in VPARTITION LIST command near '%.*s': CURSOR or COUNT is allowed",
                       args_shown(args_peek(&a)), args_peek(&a)->data);
            return CMD_DONE;
        }
    }
    struct vs_index *index = find(call);
    if (!index)
        return CMD_DONE;
    size_t n = vs_partition_count(index), from = (size_t)cursor < n ? (size_t)cursor : n;
    size_t to = n - from > (size_t)count ? from + (size_t)count : n;
    char next[24];
    int len = snprintf(next, sizeof next, "%zu", to < n ? to : 0);
    resp_array(call->reply, 2);
    resp_bulk(call->reply, next, (size_t)len);
    resp_array(call->reply, to - from);
    for (size_t i = from; i < to; i++) {
        struct vs_partition_info info;
        vs_partition_info(index, i, &info);
        resp_array(call->reply, 4);
        resp_bulk_text(call->reply, info.name);
        resp_int(call->reply, (long long)info.elements);
        resp_bulk_text(call->reply, state_of(index, i, &info, NULL));
        resp_int(call->reply, info.pinned);
    }
    return CMD_DONE;
}

/* ---- INFO ---- */

static void pair_int(struct resp_writer *w, const char *name, uint64_t n)
{
    resp_bulk_text(w, name);
    resp_int(w, (long long)n);
}

static void pair_text(struct resp_writer *w, const char *name, const char *text)
{
    resp_bulk_text(w, name);
    resp_bulk_text(w, text);
}

static void pair_hex(struct resp_writer *w, const char *name, uint64_t n)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)n);
    pair_text(w, name, text);
}

#define MEMORY_PAIRS 9

static void memory_pairs(struct resp_writer *w, const struct vs_memory *m)
{
    pair_int(w, "memory_codes", m->codes);
    pair_int(w, "memory_originals", m->originals);
    pair_int(w, "memory_links", m->links);
    pair_int(w, "memory_records", m->records);
    pair_int(w, "memory_ids", m->ids);
    pair_int(w, "memory_id_map", m->id_map);
    pair_int(w, "memory_attributes", m->attributes);
    pair_int(w, "memory_other", m->other);
    pair_int(w, "memory_total", m->total);
}

static const char *const maps[] = { "originals", "codes", "all" };

static enum cmd_result info_of_index(struct cmd_call *call, const struct vs_index *index)
{
    struct resp_writer *w = call->reply;
    const struct index_sums *sums = index_sums_take(call, index);
    if (!sums)
        return CMD_AGAIN;
    const struct vs_index_options *o = vs_index_options(index);
    struct vs_memory memory;
    vs_index_memory(index, &memory);
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    resp_map(w, 21 + MEMORY_PAIRS);
    pair_int(w, "dim", o->dim);
    pair_text(w, "metric", vec_metric_name(o->metric));
    pair_text(w, "type", o->structure == VS_FLAT ? "flat" : "hnsw");
    pair_text(w, "element_type", vec_type_name(o->type));
    pair_text(w, "originals", vec_originals_name(o->originals));
    pair_int(w, "m", o->m);
    pair_int(w, "ef_construction", o->ef_construction);
    resp_bulk_text(w, "strict");
    resp_bool(w, o->strict);
    resp_bulk_text(w, "keep_empty");
    resp_bool(w, o->keep_empty);
    pair_text(w, "strategy", "hash");
    pair_int(w, "vnodes", o->vnodes);
    pair_text(w, "map", maps[o->map]);
    pair_text(w, "seed", seed);
    pair_int(w, "partitions", sums->n);
    pair_int(w, "elements", sums->elements);
    pair_int(w, "linked", sums->linked);
    pair_int(w, "unlinked", sums->unlinked);
    pair_int(w, "dead", sums->dead);
    pair_int(w, "attributes", vs_attributes_count(index));
    pair_int(w, "expiring", sums->expiring);
    pair_int(w, "uid", vs_index_uid(index));
    memory_pairs(w, &memory);
    return CMD_DONE;
}

enum cmd_result partition_info(struct cmd_call *call)
{
    struct vs_index *index = find(call);
    if (!index)
        return CMD_DONE;
    if (call->argc == KEY + 1)
        return info_of_index(call, index);
    if (call->argc > KEY + 2) {
        resp_error(call->reply, "ERR syntax error in VPARTITION INFO command near '%.*s': a key, then the name of a partition, "
                                "is allowed",
                   args_shown(&call->argv[KEY + 2]), call->argv[KEY + 2].data);
        return CMD_DONE;
    }
    long at = find_partition(call, index, &call->argv[KEY + 1]);
    if (at < 0)
        return CMD_DONE;
    struct resp_writer *w = call->reply;
    struct vs_partition_info p;
    vs_partition_info(index, (size_t)at, &p);
    struct buf reason = { 0 };
    resp_map(w, 22 + MEMORY_PAIRS);
    pair_text(w, "name", p.name);
    pair_text(w, "state", state_of(index, (size_t)at, &p, &reason));
    resp_bulk_text(w, "reason");
    resp_bulk(w, reason.data ? reason.data : "", reason.len);
    buf_release(&reason);
    resp_bulk_text(w, "pinned");
    resp_bool(w, p.pinned);
    resp_bulk_text(w, "saved");
    resp_bool(w, p.saved);
    pair_int(w, "elements", p.elements);
    pair_int(w, "linked", p.linked);
    pair_int(w, "unlinked", p.unlinked);
    pair_int(w, "dead", p.dead);
    pair_int(w, "free_slots", p.free_slots);
    pair_int(w, "expiring", p.deadlines);
    resp_bulk_text(w, "max_level");
    resp_int(w, p.max_level);
    pair_int(w, "sequence", p.sequence);
    pair_int(w, "waiting_batches", p.waiting_batches);
    pair_int(w, "linked_sequence", p.linked_sequence);
    pair_hex(w, "graph_digest", p.graph_digest);
    pair_hex(w, "records_digest", p.records_digest);
    pair_int(w, "mapped_codes", p.mapped_codes);
    pair_int(w, "mapped_originals", p.mapped_originals);
    pair_int(w, "mapped_graph", p.mapped_graph);
    pair_int(w, "mapped_bytes", p.mapped_bytes);
    pair_int(w, "resident_bytes", vs_partition_resident(index, (size_t)at));
    memory_pairs(w, &p.memory);
    return CMD_DONE;
}

/* ---- BALANCE ---- */

/* The hash slot of a partition: of `{key#name}`, with the characters that mark tags escaped; the first is the key itself. */
static unsigned slot_of(const struct resp_arg *key, size_t position, const char *name)
{
    if (position == 0)
        return crc16_slot(key->data, key->len);
    struct buf tag = { 0 };
    for (size_t i = 0; i < key->len; i++) {
        char c = key->data[i];
        if (c == '{' || c == '}' || c == '%')
            buf_printf(&tag, "%%%02X", (unsigned)c);
        else
            buf_append(&tag, &c, 1);
    }
    buf_printf(&tag, "#%s", name);
    unsigned slot = crc16(tag.data, tag.len) % CRC16_SLOTS;
    buf_release(&tag);
    return slot;
}

enum cmd_result partition_balance(struct cmd_call *call)
{
    struct vs_index *index = find(call);
    if (!index)
        return CMD_DONE;
    const struct index_sums *sums = index_sums_take(call, index);
    if (!sums)
        return CMD_AGAIN;
    struct resp_writer *w = call->reply;
    double mean = (double)sums->elements / (double)sums->n;
    resp_map(w, 4);
    pair_int(w, "elements", sums->elements);
    pair_int(w, "bytes", sums->bytes);
    resp_bulk_text(w, "imbalance");
    resp_double(w, sums->elements ? (double)sums->elements_max / mean : 1);
    resp_bulk_text(w, "partitions");
    resp_array(w, sums->n);
    for (size_t i = 0; i < sums->n; i++) {
        const struct index_sums_row *row = &sums->rows[i];
        resp_map(w, 6);
        pair_text(w, "name", row->name);
        pair_int(w, "elements", row->elements);
        pair_int(w, "bytes", row->bytes);
        resp_bulk_text(w, "share");
        resp_double(w, sums->elements ? (double)row->elements / (double)sums->elements : 0);
        pair_int(w, "slot", slot_of(&call->argv[KEY], i, row->name));
        pair_text(w, "node", "self");
    }
    return CMD_DONE;
}

/* ---- PIN, UNPIN ---- */

static enum cmd_result pin(struct cmd_call *call, bool on)
{
    struct vs_index *index = find(call);
    if (!index)
        return CMD_DONE;
    long at = find_partition(call, index, &call->argv[KEY + 1]);
    if (at < 0)
        return CMD_DONE;
    enum vs_status status = vs_partition_pin(index, (size_t)at, on);
    if (status) {
        args_status_error(call->reply, status);
        return CMD_DONE;
    }
    args_changed(call, KEY);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result partition_pin(struct cmd_call *call)
{
    return pin(call, true);
}

enum cmd_result partition_unpin(struct cmd_call *call)
{
    return pin(call, false);
}

/* ---- DROP, HELP ---- */

enum cmd_result partition_drop(struct cmd_call *call)
{
    struct vs_index *index = find(call);
    if (!index)
        return CMD_DONE;
    long at = find_partition(call, index, &call->argv[KEY + 1]);
    if (at < 0)
        return CMD_DONE;
    if (at == 0) {
        resp_error(call->reply, "ERR the first partition cannot be dropped: DEL removes the whole index");
        return CMD_DONE;
    }
    enum vs_status status = vs_partition_drop(index, (size_t)at);
    if (status) {
        args_status_error(call->reply, status);
        return CMD_DONE;
    }
    args_event(call, EVENT_VECTOR, "vdrop", KEY);
    args_remove_if_empty(call, KEY, index);
    args_changed(call, KEY);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result partition_help(struct cmd_call *call)
{
    static const char *const lines[] = {
        "VPARTITION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> DIM <n> [METRIC COSINE|L2|IP] [TYPE HNSW|FLAT] [M <n>] [EF <n>]",
        "    [NOQUANT|Q8|F16|BF16|Q4|BIN] [ORIGINALS F32|F16|NONE] [STRICT] [TRANSIENT]",
        "    [PARTITIONS <n>] [STRATEGY HASH] [VNODES <n>] [MAP ORIGINALS|CODES|ALL] [SEED <n>] [REDUCE <n>]",
        "    Create an index. It stays when its last element goes, unless it is TRANSIENT.",
        "LIST <key> [CURSOR <cursor>] [COUNT <n>]",
        "    Names of partitions and how many elements each holds.",
        "INFO <key> [<partition>]",
        "    What is known about an index, or about one of its partitions.",
        "BALANCE <key>",
        "    How evenly the elements lie in the partitions.",
        "DROP <key> <partition>",
        "    Remove a partition with its elements.",
        "PIN <key> <partition>",
        "    Keep a partition open whatever max-open-partitions says.",
        "UNPIN <key> <partition>",
        "    Undo PIN.",
        "HELP",
        "    Print this help.",
    };
    resp_array(call->reply, sizeof lines / sizeof *lines);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        resp_status(call->reply, lines[i]);
    return CMD_DONE;
}
