/* Keys: what Redis calls generic commands, over a keyspace in which every key is an index.
 *
 * Whatever walks many keys or many arguments does so in slices. KEYS collects whole replies in a buffer of its own, since
 * their number must stand before them; handing that over is sliced as well. */
#include <stdio.h>
#include <string.h>

#include "base/glob.h"
#include "base/mem.h"
#include "cmd/keyspace_cmd.h"

#define TYPE_NAME "vectorset"

/* ---- DEL, UNLINK, EXISTS, TOUCH ---- */

struct each_state {
    size_t next;    /* argument */
    long long hits;
};

/* Applies `one` to every key of the arguments, and answers how many times it was VS_OK rather than VS_NOTFOUND. */
static enum cmd_result each_key(struct cmd_call *call, enum vs_status (*one)(struct cmd_call *call, size_t at))
{
    struct each_state begun = { .next = 1 }, *s = call->state ? call->state : &begun;
    while (s->next < call->argc) {
        enum vs_status status = one(call, s->next++);
        if (status != VS_OK && status != VS_NOTFOUND) {
            args_status_error(call->reply, status);
            return CMD_DONE;
        }
        s->hits += status == VS_OK;
        if (s->next < call->argc && args_slice_over(call)) {
            if (s == &begun) {
                call->state = s = mem_alloc(sizeof *s);
                call->state_free = mem_free;
                *s = begun;
            }
            return CMD_AGAIN;
        }
    }
    resp_int(call->reply, s->hits);
    return CMD_DONE;
}

static enum vs_status remove_one(struct cmd_call *call, size_t at)
{
    enum vs_status status = vs_remove(call->store, call->db, call->argv[at].data, call->argv[at].len);
    if (status == VS_OK) {
        args_changed(call, at);
        args_event(call, EVENT_GENERIC, "del", at);
    }
    return status;
}

static enum vs_status exists_one(struct cmd_call *call, size_t at)
{
    return args_look(call, at) ? VS_OK : VS_NOTFOUND;
}

static enum vs_status touch_one(struct cmd_call *call, size_t at)
{
    return args_index(call, at) ? VS_OK : VS_NOTFOUND;
}

enum cmd_result keyspace_touch(struct cmd_call *call)
{
    return each_key(call, touch_one);
}

enum cmd_result keyspace_del(struct cmd_call *call)
{
    return each_key(call, remove_one);
}

enum cmd_result keyspace_exists(struct cmd_call *call)
{
    return each_key(call, exists_one);
}

/* ---- TYPE, RANDOMKEY, DBSIZE ---- */

enum cmd_result keyspace_type(struct cmd_call *call)
{
    resp_status(call->reply, args_look(call, 1) ? TYPE_NAME : "none");
    return CMD_DONE;
}

enum cmd_result keyspace_randomkey(struct cmd_call *call)
{
    struct vs_index *index = vs_random(call->store, call->db);
    size_t len;
    if (index) {
        const char *key = vs_index_key(index, &len);
        resp_bulk(call->reply, key, len);
    } else {
        resp_null(call->reply);
    }
    return CMD_DONE;
}

enum cmd_result keyspace_dbsize(struct cmd_call *call)
{
    resp_int(call->reply, (long long)vs_count(call->store, call->db));
    return CMD_DONE;
}

/* ---- RENAME, RENAMENX ---- */

/* False: the error is written. */
static bool rename_key(struct cmd_call *call)
{
    const struct resp_arg *from = &call->argv[1], *to = &call->argv[2];
    enum vs_status status = vs_rename(call->store, call->db, from->data, from->len, to->data, to->len);
    if (status) {
        args_status_error(call->reply, status);
        return false;
    }
    args_changed(call, 1);
    args_changed(call, 2);
    args_event(call, EVENT_GENERIC, "rename_from", 1);
    args_event(call, EVENT_GENERIC, "rename_to", 2);
    return true;
}

static bool same_key(const struct cmd_call *call)
{
    const struct resp_arg *a = &call->argv[1], *b = &call->argv[2];
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

enum cmd_result keyspace_rename(struct cmd_call *call)
{
    if (!args_index(call, 1))
        resp_error(call->reply, "ERR no such key");
    else if (same_key(call) || rename_key(call))
        resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result keyspace_renamenx(struct cmd_call *call)
{
    if (!args_index(call, 1))
        resp_error(call->reply, "ERR no such key");
    else if (args_index(call, 2))
        resp_int(call->reply, 0);
    else if (rename_key(call))
        resp_int(call->reply, 1);
    return CMD_DONE;
}

/* ---- FLUSHDB, FLUSHALL ---- */

/* [ASYNC|SYNC]: memory is freed behind either way. False: the error is written. */
static bool flush_options(struct cmd_call *call)
{
    if (call->argc == 1 || (call->argc == 2 && (resp_is(&call->argv[1], "ASYNC") || resp_is(&call->argv[1], "SYNC"))))
        return true;
    resp_error(call->reply, "ERR syntax error");
    return false;
}

/* False: the error is written. */
static bool flush(struct cmd_call *call, unsigned db)
{
    if (!vs_count(call->store, db))
        return true;
    enum vs_status status = vs_flush(call->store, db);
    if (status != VS_OK) {
        args_status_error(call->reply, status);
        return false;
    }
    if (call->host->key_changed)
        call->host->key_changed(call->host, db, NULL, 0);   /* all of them */
    return true;
}

enum cmd_result keyspace_flushdb(struct cmd_call *call)
{
    if (flush_options(call) && flush(call, call->db))
        resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result keyspace_flushall(struct cmd_call *call)
{
    if (!flush_options(call))
        return CMD_DONE;
    for (unsigned db = 0; db < vs_databases(call->store); db++) {
        if (!flush(call, db))
            return CMD_DONE;
    }
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

/* ---- SWAPDB ---- */

/* False: the error is written. */
static bool database(struct cmd_call *call, size_t at, const char *which, unsigned *out)
{
    long long n;
    if (!resp_to_int(&call->argv[at], &n))
        resp_error(call->reply, "ERR invalid %s DB index", which);
    else if (n < 0 || n >= (long long)vs_databases(call->store))
        resp_error(call->reply, "ERR DB index is out of range");
    else
        return *out = (unsigned)n, true;
    return false;
}

enum cmd_result keyspace_swapdb(struct cmd_call *call)
{
    unsigned a, b;
    if (!database(call, 1, "first", &a) || !database(call, 2, "second", &b))
        return CMD_DONE;
    enum vs_status status = vs_swap(call->store, a, b);
    if (status != VS_OK) {
        args_status_error(call->reply, status);
        return CMD_DONE;
    }
    if (call->host->key_changed && a != b) {
        call->host->key_changed(call->host, a, NULL, 0);
        call->host->key_changed(call->host, b, NULL, 0);
    }
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

/* ---- KEYS ---- */

#define HAND_OVER_STEP 65536

struct matching {               /* what a scan collects: bulk strings */
    const struct resp_arg *pattern; /* NULL: all */
    bool none;                  /* nothing matches */
    struct buf found;
    size_t n, seen;
    bool no_memory;
};

static void match_one(void *arg, struct vs_index *index)
{
    struct matching *m = arg;
    size_t len;
    const char *key = vs_index_key(index, &len);
    m->seen++;
    if (m->none || (m->pattern && !glob_match(m->pattern->data, m->pattern->len, key, len, false)))
        return;
    if (!buf_try_reserve(&m->found, len + 32)) {
        m->no_memory = true;
        return;
    }
    struct resp_writer w = { .out = &m->found, .version = 2 };
    resp_bulk(&w, key, len);
    m->n++;
}

struct keys_state {
    uint64_t cursor;
    bool scanned;
    size_t handed;              /* bytes of found that the reply has */
    struct matching matching;
};

static void keys_state_free(void *arg)
{
    struct keys_state *s = arg;
    buf_release(&s->matching.found);
    mem_free(s);
}

enum cmd_result keyspace_keys(struct cmd_call *call)
{
    struct keys_state *s = call->state;
    if (!s) {
        call->state = s = mem_zalloc(sizeof *s);
        call->state_free = keys_state_free;
    }
    s->matching.pattern = &call->argv[1];
    while (!s->scanned) {
        s->cursor = vs_scan(call->store, call->db, s->cursor, match_one, &s->matching);
        s->scanned = !s->cursor;
        if (s->matching.no_memory) {
            args_status_error(call->reply, VS_NOMEM);
            return CMD_DONE;
        }
        if (s->scanned)
            resp_array(call->reply, s->matching.n);
        if (args_slice_over(call))
            return CMD_AGAIN;
    }
    while (s->handed < s->matching.found.len) {
        size_t step = s->matching.found.len - s->handed;
        step = step > HAND_OVER_STEP ? HAND_OVER_STEP : step;
        resp_raw(call->reply, s->matching.found.data + s->handed, step);
        s->handed += step;
        if (s->handed < s->matching.found.len && args_slice_over(call))
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

/* ---- SCAN ---- */

static bool parse_cursor(const struct resp_arg *a, uint64_t *out)
{
    uint64_t n = 0;
    if (!a->len || a->len > 20)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        unsigned digit = (unsigned)(a->data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    *out = n;
    return true;
}

enum cmd_result keyspace_scan(struct cmd_call *call)
{
    struct args a = args_from(call, 2);
    struct matching m = { 0 };
    uint64_t cursor;
    long long count = 10;
    if (!parse_cursor(&call->argv[1], &cursor)) {
        resp_error(call->reply, "ERR invalid cursor");
        return CMD_DONE;
    }
    while (args_left(&a)) {
        if (args_left(&a) >= 2 && args_word(&a, "COUNT")) {
            if (!resp_to_int(args_next(&a), &count)) {
                resp_error(call->reply, "ERR value is not an integer or out of range");
                return CMD_DONE;
            }
            if (count < 1) {
                resp_error(call->reply, "ERR syntax error");
                return CMD_DONE;
            }
        } else if (args_left(&a) >= 2 && args_word(&a, "MATCH")) {
            m.pattern = args_next(&a);
        } else if (args_left(&a) >= 2 && args_word(&a, "TYPE")) {
            m.none = !resp_is(args_next(&a), TYPE_NAME);
        } else {
            resp_error(call->reply, "ERR syntax error");
            return CMD_DONE;
        }
    }
    /* COUNT is a hint: the slice of time bounds a step as well. */
    do {
        cursor = vs_scan(call->store, call->db, cursor, match_one, &m);
    } while (cursor && m.seen < (size_t)count && !args_slice_over(call));
    if (m.no_memory) {
        args_status_error(call->reply, VS_NOMEM);
        buf_release(&m.found);
        return CMD_DONE;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)cursor);
    resp_array(call->reply, 2);
    resp_bulk(call->reply, text, (size_t)len);
    resp_array(call->reply, m.n);
    resp_raw(call->reply, m.found.data, m.found.len);
    buf_release(&m.found);
    return CMD_DONE;
}
