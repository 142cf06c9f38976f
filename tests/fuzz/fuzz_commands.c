/* Commands of arbitrary arguments against the real handlers and a real store without threads. Each must answer exactly one
 * well-formed reply in the version asked for, in slices of no length as well as at once, and leave nothing behind.
 *
 * The input is a program: its first byte chooses RESP2 or RESP3 and whether slices are used up at once; then commands, each
 * a byte that chooses its name and bytes for arguments, ended by 0xff. An argument is a word from the list below, or
 * (0xfe, length, bytes) as it stands. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cmd/command.h"

#define COMMANDS_MAX 48
#define ARGS_MAX 24
#define CALLS_MAX 10000

struct word {
    const char *data;
    size_t len;
};
#define W(text) { text, sizeof(text) - 1 }

static const struct word words[] = {
    W("k"), W("k2"), W("a"), W("b"), W("c"), W(""), W("0"), W("1"), W("2"), W("3"), W("4"), W("-1"), W("16"), W("100"), W("1000000"),
    W("65536"), W("65537"), W("9223372036854775807"), W("0.5"), W("nan"), W("-inf"), W("1e39"), W("x"), W("*"), W("[a-"),
    W("FP32"), W("FP16"), W("BF16"), W("I8"), W("VALUES"), W("ELE"), W("CAS"), W("NOQUANT"), W("Q8"), W("BIN"), W("ORIGINALS"),
    W("F32"), W("F16"), W("NONE"), W("EF"), W("M"), W("SETATTR"), W("PARTITION"), W("NX"), W("XX"), W("ACK"), W("ONE"), W("QUORUM"),
    W("ALL"), W("WITHATTRS"), W("ATOMIC"), W("K"), W("COUNT"), W("OFFSET"), W("RADIUS"), W("EPSILON"), W("EXACT"), W("WITHSCORES"),
    W("WITHATTRIBS"), W("WITHVECTORS"), W("RETURN"), W("TIMEOUT"), W("WITHINFO"), W("RAW"), W("FILTER"), W("REDUCE"),
    W("CREATE"), W("LIST"), W("INFO"), W("BALANCE"), W("DROP"), W("HELP"), W("DIM"), W("METRIC"), W("COSINE"), W("L2"), W("IP"),
    W("TYPE"), W("HNSW"), W("FLAT"), W("STRICT"), W("PARTITIONS"), W("STRATEGY"), W("HASH"), W("VNODES"), W("CURSOR"),
    W("MATCH"), W("vectorset"), W("ASYNC"), W("SYNC"), W("{\"f\":1,\"g\":\"s\"}"), W("{\"f\":[1.5,{}]}"), W("not json"), W("f"), W("g"),
    W("\0\0\200?\0\0\0\0"), W("\0\0\0\0\0\0\200?"), W("\0\0\200?\0\0\200?"), W("\0\0\0\0\0\0\0\0"), W("\0\0\300\177\0\0\200?"),
    W("\0\0\200?"), W("\0\074\0\0"), W("\001\377"), W("\0\0\200?\0\0\200?\0\0\200?"),
};

static const char *const names[] = {
    "VADD", "VADD", "VADD", "VMADD", "VSEARCH", "VSEARCH", "VMSEARCH", "VDEL", "VREM", "VGET", "VMGET", "VCARD", "VDIM", "VINFO",
    "VISMEMBER", "VEMB", "VSETATTR", "VGETATTR", "VPARTITION", "VPARTITION", "DEL", "UNLINK", "EXISTS", "TYPE", "KEYS", "SCAN",
    "RANDOMKEY", "RENAME", "RENAMENX", "DBSIZE", "FLUSHDB", "FLUSHALL", "TOUCH", "NOSUCH",
};

/* ---- the server's part ---- */

struct place {
    struct cmd_pending pending;
    bool finished;
};

static struct cmd_pending *host_defer(struct cmd_call *call)
{
    struct place *place = calloc(1, sizeof *place);
    place->pending.resp_version = call->reply->version;
    *(struct place **)call->host->server = place;
    return &place->pending;
}

static void host_finish(struct cmd_pending *p)
{
    struct place *place = (struct place *)(void *)p;
    assert(!place->finished);
    place->finished = true;
}

static void host_changed(struct cmd_host *host, unsigned db, const char *key, size_t len)
{
    (void)host, (void)db, (void)key, (void)len;
}

static bool host_autocreate(struct cmd_host *host)
{
    (void)host;
    return true;
}

/* ---- is it one reply? ---- */

static const char *line_end(const char *p, const char *end)
{
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    assert(cr && cr + 1 < end && cr[1] == '\n');
    return cr;
}

/* The end of the reply that begins at `p`. */
static const char *one_reply(const char *p, const char *end, int version)
{
    assert(p < end);
    char mark = *p++;
    const char *eol = line_end(p, end);
    long n;
    switch (mark) {
    case '+': case '-': case ':':
        return eol + 2;
    case ',': case '#': case '_':
        assert(version == 3);
        return eol + 2;
    case '$':
        n = strtol(p, NULL, 10);
        if (n < 0)
            return assert(version == 2), eol + 2;
        assert(end - (eol + 2) >= n + 2 && !memcmp(eol + 2 + n, "\r\n", 2));
        return eol + 2 + n + 2;
    case '*': case '%': case '~':
        assert(mark == '*' || version == 3);
        n = strtol(p, NULL, 10) * (mark == '%' ? 2 : 1);
        assert(n >= 0 || version == 2);
        for (p = eol + 2; n > 0; n--)
            p = one_reply(p, end, version);
        return p;
    default:
        abort();
    }
}

static void check_reply(const struct buf *reply, int version)
{
    assert(reply->len);
    assert(one_reply(reply->data, reply->data + reply->len, version) == reply->data + reply->len);
}

/* ---- running ---- */

struct fuzz {
    struct cmd_table *table;
    struct vs_store *store;
    int version;
    bool slices;
};

static void run(struct fuzz *f, const struct resp_arg *argv, size_t argc)
{
    struct place *place = NULL;
    struct cmd_host host = { .defer = host_defer, .finish = host_finish, .key_changed = host_changed,
                             .autocreate = host_autocreate, .server = &place };
    struct buf out = { 0 };
    struct resp_writer w = { .out = &out, .version = f->version };
    const struct cmd_spec *spec = cmd_resolve(f->table, argv, argc, &w);
    if (spec) {
        struct cmd_call call = { .host = &host, .spec = spec, .argv = argv, .argc = argc, .reply = &w, .store = f->store,
                                 .slice_end_ns = f->slices ? 1 : UINT64_MAX };
        enum cmd_result result;
        int calls = 0;
        do {
            assert(calls++ < CALLS_MAX);
            result = spec->handler(&call);
            while (vs_poll(f->store, 1000))
                continue;
        } while (result == CMD_AGAIN || result == CMD_BACKLOG);
        if (call.state)
            call.state_free(call.state);
        if (result == CMD_PENDING) {
            assert(place && place->finished && !out.len);
            check_reply(&place->pending.reply, f->version);
        } else {
            check_reply(&out, f->version);
        }
    } else {
        check_reply(&out, f->version);
    }
    if (place) {
        if (place->pending.on_cancel)
            place->pending.on_cancel(&place->pending);  /* the client goes when all is done: nothing to cancel */
        buf_release(&place->pending.reply);
        free(place);
    }
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cmd_table *table;
    if (!table) {
        table = cmd_table_new();
        cmd_register(table, cmd_vector_specs);
        cmd_register(table, cmd_partition_specs);
        cmd_register(table, cmd_keyspace_specs);
        cmd_register(table, cmd_dump_specs);
        cmd_register(table, cmd_expire_specs);
        cmd_register(table, cmd_vexpire_specs);
    }
    if (size < 2)
        return 0;
    struct fuzz f = { .table = table, .version = data[0] & 1 ? 3 : 2, .slices = data[0] & 2 };
    struct vs_options options = { .threads = 0, .link_backlog_max = data[0] & 4 ? 1 : 0 };
    if (vs_open(&options, &f.store))
        abort();
    size_t at = 1;
    for (int n = 0; n < COMMANDS_MAX && at < size; n++) {
        struct resp_arg argv[ARGS_MAX];
        const char *name = names[data[at++] % (sizeof names / sizeof *names)];
        argv[0] = (struct resp_arg){ .data = name, .len = strlen(name) };
        size_t argc = 1;
        while (at < size && argc < ARGS_MAX) {
            uint8_t b = data[at++];
            if (b == 0xff)
                break;
            if (b == 0xfe) {
                size_t len = at < size ? data[at++] : 0;
                len = len < size - at ? len : size - at;
                argv[argc++] = (struct resp_arg){ .data = (const char *)data + at, .len = len };
                at += len;
            } else {
                const struct word *word = &words[b % (sizeof words / sizeof *words)];
                argv[argc++] = (struct resp_arg){ .data = word->data, .len = word->len };
            }
        }
        run(&f, argv, argc);
    }
    vs_close(f.store);
    return 0;
}
