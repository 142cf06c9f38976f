/* DUMP, RESTORE, COPY: an index as bytes (store/dump.c), and back. All three work in slices.
 *
 * COPY is both halves after one another, through a block in memory; a copy gets what the source is at the moment when its
 * block is whole. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "cmd/keyspace_cmd.h"

#define HAND_OVER_MAX 131072    /* bytes of a reply in a slice: a buffer that grows beyond takes as long to grow */
#define ASIDE_MIN      ((size_t)1 << 20)

/* What a slice that is called again goes by; 0 would be for ever. */
static uint64_t slice_end(const struct cmd_call *call)
{
    return call->slice_end_ns ? call->slice_end_ns : UINT64_MAX;
}

struct dumping {
    struct vs_store *store;
    struct vs_dump dump;
    struct buf block;
    bool whole;
    size_t handed;              /* bytes that the reply has */
    unsigned db;                /* of COPY: where to */
    bool replace;
    uint64_t deadline_ms;
    struct vs_loading *loading;
};

struct aside {
    struct pool_task task;
    struct buf block;
};

static void free_aside(struct pool_task *task, unsigned worker)
{
    struct aside *a = (struct aside *)((char *)task - offsetof(struct aside, task));
    (void)worker;
    buf_release(&a->block);
    mem_free(a);
}

/* Giving many pages back takes longer than the loop has. */
static void free_block(struct dumping *d)
{
    struct aside *a = d->block.cap > ASIDE_MIN ? mem_zalloc(sizeof *a) : NULL;
    if (!a) {
        buf_release(&d->block);
        return;
    }
    a->task.run = free_aside;
    a->block = d->block;
    pool_submit(vs_pool(d->store), POOL_LINK, &a->task);
}

static void dumping_free(void *arg)
{
    struct dumping *d = arg;
    vs_loading_free(d->loading);
    vs_dump_end(d->store, &d->dump);
    free_block(d);
    mem_free(d);
}

static struct dumping *dumping_new(struct cmd_call *call, const struct vs_index *index)
{
    struct dumping *d = mem_zalloc(sizeof *d);
    d->store = call->store;
    d->dump.uid = vs_index_uid(index);
    call->state = d;
    call->state_free = dumping_free;
    return d;
}

/* VS_OK: the block is whole. */
static enum vs_status dump(struct cmd_call *call, struct dumping *d)
{
    if (d->whole)
        return VS_OK;
    enum vs_status status = vs_dump_some(call->store, &d->dump, &d->block, slice_end(call));
    d->whole = status == VS_OK;
    return status;
}

/* A slice that did not end it, or the error. */
static enum cmd_result not_yet(struct cmd_call *call, enum vs_status status)
{
    if (status == VS_TIMEOUT)
        return CMD_AGAIN;
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    if (status == VS_LIMIT)
        resp_error(call->reply, "ERR the index is too large to be dumped: more than 512 MiB");
    else
        args_status_error(call->reply, status);
    return CMD_DONE;
}

enum cmd_result keyspace_dump(struct cmd_call *call)
{
    struct dumping *d = call->state;
    if (!d) {
        const struct vs_index *index = args_index(call, 1);
        if (!index) {
            resp_null(call->reply);
            return CMD_DONE;
        }
        d = dumping_new(call, index);
    }
    if (!d->whole) {
        enum vs_status status = dump(call, d);
        if (status == VS_NOTFOUND) {
            resp_null(call->reply);
            return CMD_DONE;
        }
        if (status != VS_OK)
            return not_yet(call, status);
        char head[32];
        resp_raw(call->reply, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", d->block.len));
    }
    size_t step = d->block.len - d->handed;
    if (step > HAND_OVER_MAX && slice_end(call) != UINT64_MAX)
        step = HAND_OVER_MAX;
    resp_raw(call->reply, d->block.data + d->handed, step);
    d->handed += step;
    if (d->handed < d->block.len)
        return CMD_AGAIN;
    resp_raw(call->reply, "\r\n", 2);
    return CMD_DONE;
}

/* ---- RESTORE ---- */

struct restore {
    long long ttl, idle_s, frequency; /* -1: not given */
    bool replace, absolute;
};

/* False: the error is written. */
static bool restore_options(struct cmd_call *call, struct restore *r)
{
    struct args a = args_from(call, 4);
    *r = (struct restore){ .idle_s = -1, .frequency = -1 };
    while (args_left(&a)) {
        if (args_word(&a, "REPLACE")) {
            r->replace = true;
        } else if (args_word(&a, "ABSTTL")) {
            r->absolute = true;
        } else if (args_left(&a) >= 2 && r->frequency < 0 && args_word(&a, "IDLETIME")) {
            if (!resp_to_int(args_next(&a), &r->idle_s)) {
                resp_error(call->reply, "ERR value is not an integer or out of range");
                return false;
            }
            if (r->idle_s < 0) {
                resp_error(call->reply, "ERR Invalid IDLETIME value, must be >= 0");
                return false;
            }
        } else if (args_left(&a) >= 2 && r->idle_s < 0 && args_word(&a, "FREQ")) {
            if (!resp_to_int(args_next(&a), &r->frequency)) {
                resp_error(call->reply, "ERR value is not an integer or out of range");
                return false;
            }
            if (r->frequency < 0 || r->frequency > 255) {
                resp_error(call->reply, "ERR Invalid FREQ value, must be >= 0 and <= 255");
                return false;
            }
        } else {
            resp_error(call->reply, "ERR syntax error");
            return false;
        }
    }
    if (!resp_to_int(&call->argv[2], &r->ttl)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return false;
    }
    if (r->ttl < 0 || (uint64_t)r->ttl > VS_DEADLINE_MAX ||
        (!r->absolute && (uint64_t)r->ttl > VS_DEADLINE_MAX - call->now_ms)) {
        resp_error(call->reply, "ERR Invalid TTL value, must be >= 0");
        return false;
    }
    return true;
}

/* The name is made free, where that is asked for, and the index becomes a key. */
static enum vs_status attach(struct cmd_call *call, struct vs_loading *l, unsigned db, const struct resp_arg *key,
                             const void *data, size_t len, uint64_t deadline_ms, bool replace, struct vs_index **out)
{
    if (vs_find(call->store, db, key->data, key->len)) {
        if (!replace)
            return VS_EXISTS;
        enum vs_status status = vs_remove(call->store, db, key->data, key->len);
        if (status != VS_OK)
            return status;
    }
    return vs_loading_attach(l, data, len, deadline_ms, out);
}

static void changed(struct cmd_call *call, unsigned db, const struct resp_arg *key, const char *event)
{
    if (call->host->key_changed)
        call->host->key_changed(call->host, db, key->data, key->len);
    cmd_event(call->host, EVENT_GENERIC, db, event, key->data, key->len);
}

static void loading_free(void *arg)
{
    vs_loading_free(arg);
}

static void restore_error(struct cmd_call *call, const struct vs_loading *l, enum vs_status status)
{
    if (status == VS_CORRUPT && vs_loading_bad_sum(l))
        resp_error(call->reply, "ERR DUMP payload version or checksum are wrong");
    else if (status == VS_CORRUPT)
        resp_error(call->reply, "ERR Bad data format");
    else if (status == VS_EXISTS)
        resp_error(call->reply, "BUSYKEY Target key name already exists.");
    else
        args_status_error(call->reply, status);
}

enum cmd_result keyspace_restore(struct cmd_call *call)
{
    const struct resp_arg *key = &call->argv[1], *block = &call->argv[3];
    struct vs_loading *l = call->state;
    struct vs_index *index = NULL;
    struct restore r;
    if (!restore_options(call, &r))
        return CMD_DONE;
    enum vs_status status = VS_EXISTS;
    if (!r.replace && args_look(call, 1)) {
        restore_error(call, l, status);
        return CMD_DONE;
    }
    if (!l) {
        status = vs_loading_new(call->store, call->db, key->data, key->len, &l);
        if (status != VS_OK) {
            args_status_error(call->reply, status);
            return CMD_DONE;
        }
        call->state = l;
        call->state_free = loading_free;
    }
    status = vs_loading_some(l, block->data, block->len, slice_end(call));
    if (status == VS_TIMEOUT)
        return CMD_AGAIN;
    uint64_t deadline = r.ttl ? (uint64_t)r.ttl + (r.absolute ? 0 : call->now_ms) : 0;
    bool past = deadline && deadline <= call->now_ms;
    if (status == VS_OK && !past)
        status = vs_loading_tell_some(l, block->data, block->len, slice_end(call));
    if (status == VS_TIMEOUT)
        return CMD_AGAIN;
    if (status == VS_OK && past)
        status = args_look(call, 1) ? vs_remove(call->store, call->db, key->data, key->len) : VS_OK;
    else if (status == VS_OK)
        status = attach(call, l, call->db, key, block->data, block->len, deadline, r.replace, &index);
    if (status != VS_OK) {
        restore_error(call, l, status);
        return CMD_DONE;
    }
    if (index && r.idle_s >= 0)
        vs_index_set_idle(index, (uint64_t)r.idle_s * 1000);
    if (index && r.frequency >= 0)
        vs_index_set_frequency(index, (unsigned)r.frequency);
    changed(call, call->db, key, past ? "del" : "restore");
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

/* ---- COPY ---- */

/* False: the error is written. */
static bool copy_options(struct cmd_call *call, unsigned *db, bool *replace)
{
    struct args a = args_from(call, 3);
    *db = call->db;
    *replace = false;
    while (args_left(&a)) {
        long long n;
        if (args_word(&a, "REPLACE")) {
            *replace = true;
        } else if (args_left(&a) >= 2 && args_word(&a, "DB")) {
            if (!resp_to_int(args_next(&a), &n)) {
                resp_error(call->reply, "ERR value is not an integer or out of range");
                return false;
            }
            if (n < 0 || n >= (long long)vs_databases(call->store)) {
                resp_error(call->reply, "ERR DB index is out of range");
                return false;
            }
            *db = (unsigned)n;
        } else {
            resp_error(call->reply, "ERR syntax error");
            return false;
        }
    }
    const struct resp_arg *from = &call->argv[1], *to = &call->argv[2];
    if (*db == call->db && from->len == to->len && !memcmp(from->data, to->data, to->len)) {
        resp_error(call->reply, "ERR source and destination objects are the same");
        return false;
    }
    return true;
}

enum cmd_result keyspace_copy(struct cmd_call *call)
{
    const struct resp_arg *to = &call->argv[2];
    struct dumping *d = call->state;
    unsigned db;
    bool replace;
    if (!copy_options(call, &db, &replace))
        return CMD_DONE;
    const struct vs_index *from = d ? args_look(call, 1) : args_index(call, 1);
    if ((!d && !from) || (!replace && vs_find(call->store, db, to->data, to->len))) {
        resp_int(call->reply, 0);
        return CMD_DONE;
    }
    if (!d) {
        d = dumping_new(call, from);
        d->dump.max = SIZE_MAX;
    }
    bool was = d->whole;
    enum vs_status status = dump(call, d);
    if (status == VS_NOTFOUND) {
        resp_int(call->reply, 0);
        return CMD_DONE;
    }
    if (status != VS_OK)
        return not_yet(call, status);
    if (!was)
        d->deadline_ms = from ? vs_index_deadline(from) : 0;
    status = d->loading ? VS_OK : vs_loading_new(call->store, db, to->data, to->len, &d->loading);
    if (status == VS_OK)
        status = vs_loading_some(d->loading, d->block.data, d->block.len, slice_end(call));
    if (status == VS_OK)
        status = vs_loading_tell_some(d->loading, d->block.data, d->block.len, slice_end(call));
    if (status == VS_TIMEOUT)
        return CMD_AGAIN;
    if (status == VS_OK)
        status = attach(call, d->loading, db, to, d->block.data, d->block.len, d->deadline_ms, replace, NULL);
    if (status == VS_EXISTS) {
        resp_int(call->reply, 0);
    } else if (status != VS_OK) {
        args_status_error(call->reply, status);
    } else {
        changed(call, db, to, "copy_to");
        resp_int(call->reply, 1);
    }
    return CMD_DONE;
}
