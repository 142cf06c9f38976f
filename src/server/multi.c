#include "server/multi.h"

#include <string.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/vector_cmd.h"
#include "server/commands.h"
#include "server/monitor.h"

#define SEGMENT_CELLS 256

struct watched_key {
    uint64_t hash, version;
    size_t watchers;
    unsigned db;
    size_t len;
    char name[];
};

struct watches {
    struct htable *keys;
    size_t n;
};

/* What a client remembers of a key. */
struct watch {
    struct watched_key *key;
    uint64_t version;
    uint64_t uid; /* of the index; 0: there was none */
};

struct watch_list {
    struct watch *at;
    size_t n, cap;
};

struct queued {
    struct queued *next;
    const struct cmd_spec *spec;
    size_t argc;
    struct resp_arg argv[]; /* and their bytes behind */
};

struct multi {
    struct queued *first, **tail;
    size_t n, bytes;
    unsigned any, all; /* flags of what is queued: of one of them, of all of them */
    bool failed;
};

/* ---- watched keys ---- */

struct key_name {
    unsigned db;
    const char *data;
    size_t len;
};

static uint64_t key_hash(void *arg, uint64_t cell)
{
    (void)arg;
    return ((const struct watched_key *)(uintptr_t)cell)->hash;
}

static bool key_equal(void *arg, uint64_t cell, const void *key, size_t len)
{
    (void)arg;
    (void)len;
    const struct watched_key *k = (const struct watched_key *)(uintptr_t)cell;
    const struct key_name *name = key;
    return k->db == name->db && k->len == name->len && memcmp(k->name, name->data, k->len) == 0;
}

static const struct htable_ops key_ops = {key_hash, key_equal};

struct watches *watches_new(void)
{
    struct watches *w = mem_zalloc(sizeof(*w));
    w->keys = htable_new(8, SEGMENT_CELLS, &key_ops, NULL);
    return w;
}

void watches_free(struct watches *w)
{
    if (!w)
        return;
    htable_free(w->keys);
    mem_free(w);
}

size_t watches_count(const struct watches *w)
{
    return w->n;
}

static struct watched_key *key_find(const struct watches *w, unsigned db, const char *data,
                                    size_t len)
{
    struct key_name name = {db, data, len};
    return (struct watched_key *)(uintptr_t)htable_find(w->keys, hash_bytes(data, len, db), &name,
                                                        sizeof(name));
}

void watches_touch(struct watches *w, unsigned db, const char *key, size_t len)
{
    if (!w->n || !key)
        return;
    struct watched_key *k = key_find(w, db, key, len);
    if (k)
        k->version++;
}

static struct watched_key *key_watch(struct watches *w, unsigned db, const struct resp_arg *name)
{
    struct watched_key *k = key_find(w, db, name->data, name->len);
    if (!k) {
        k = mem_try_zalloc(sizeof(*k) + name->len);
        if (!k)
            return NULL;
        k->hash = hash_bytes(name->data, name->len, db);
        k->db = db;
        k->len = name->len;
        memcpy(k->name, name->data, name->len);
        if (!htable_insert(w->keys, k->hash, (uintptr_t)k)) {
            mem_free(k);
            return NULL;
        }
        w->n++;
    }
    k->watchers++;
    return k;
}

static void key_unwatch(struct watches *w, struct watched_key *k)
{
    if (--k->watchers > 0)
        return;
    struct key_name name = {k->db, k->name, k->len};
    htable_remove(w->keys, k->hash, &name, sizeof(name));
    w->n--;
    mem_free(k);
}

/* ---- what a client watches ---- */

static uint64_t uid_of(const struct server *s, unsigned db, const char *key, size_t len)
{
    const struct vs_index *index = vs_find(s->store, db, key, len);
    return index ? vs_index_uid(index) : 0;
}

static void unwatch_all(struct cmd_client *c)
{
    struct watch_list *l = c->watched;
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        key_unwatch(c->server->watches, l->at[i].key);
    mem_free(l->at);
    mem_free(l);
    c->watched = NULL;
}

/* False: out of memory. */
static bool watch_one(struct cmd_client *c, const struct resp_arg *name)
{
    if (!c->watched)
        c->watched = mem_zalloc(sizeof(*c->watched));
    struct watch_list *l = c->watched;
    if (!mem_try_grow(&l->at, &l->cap, l->n + 1, sizeof(*l->at)))
        return false;
    struct watched_key *k = key_watch(c->server->watches, c->db, name);
    if (!k)
        return false;
    l->at[l->n++] = (struct watch){k, k->version, uid_of(c->server, c->db, name->data, name->len)};
    return true;
}

/* Has any of its keys been written to, or gone, or come? */
static bool watch_changed(const struct cmd_client *c)
{
    const struct watch_list *l = c->watched;
    for (size_t i = 0; l && i < l->n; i++) {
        const struct watch *w = &l->at[i];
        if (w->version != w->key->version ||
            w->uid != uid_of(c->server, w->key->db, w->key->name, w->key->len))
            return true;
    }
    return false;
}

size_t multi_watched(const struct cmd_client *c)
{
    return c->watched ? c->watched->n : 0;
}

/* ---- the queue ---- */

static void queue_free(struct multi *m)
{
    struct queued *q, *next;
    for (q = m->first; q; q = next) {
        next = q->next;
        mem_free(q);
    }
    mem_free(m);
}

void multi_forget(struct cmd_client *c)
{
    if (c->multi)
        queue_free(c->multi);
    c->multi = NULL;
    unwatch_all(c);
}

void multi_fail(struct cmd_client *c)
{
    c->multi->failed = true;
}

unsigned multi_flags(const struct cmd_client *c)
{
    const struct multi *m = c->multi;
    return (m->any & ~(unsigned)CMD_LOADING) | (m->all & CMD_LOADING);
}

long multi_length(const struct cmd_client *c)
{
    return c->multi ? (long)c->multi->n : -1;
}

size_t multi_memory(const struct cmd_client *c)
{
    return (c->multi ? c->multi->bytes : 0) +
           (c->watched ? c->watched->cap * sizeof(*c->watched->at) : 0);
}

bool multi_runs_at_once(const struct cmd_spec *spec)
{
    cmd_handler h = spec->handler;
    return h == multi_exec_command || h == multi_discard_command || h == multi_multi_command ||
           h == multi_watch_command || h == connection_quit || h == connection_reset;
}

/* A copy that outlives the input buffer; NULL: out of memory. */
static struct queued *queued_new(const struct cmd_spec *spec, const struct resp_arg *argv,
                                 size_t argc, size_t *bytes)
{
    *bytes = sizeof(struct queued) + argc * sizeof(*argv);
    size_t head = *bytes;
    for (size_t i = 0; i < argc; i++)
        *bytes += argv[i].len;
    struct queued *q = mem_try_alloc(*bytes);
    if (!q)
        return NULL;
    *q = (struct queued){.spec = spec, .argc = argc};
    char *to = (char *)q + head;
    for (size_t i = 0; i < argc; i++) {
        memcpy(to, argv[i].data, argv[i].len);
        q->argv[i] = (struct resp_arg){to, argv[i].len};
        to += argv[i].len;
    }
    return q;
}

void multi_queue(struct cmd_client *c, const struct cmd_spec *spec, const struct resp_arg *argv,
                 size_t argc)
{
    struct multi *m = c->multi;
    size_t bytes;
    if (m->failed) { /* it will not be run */
        resp_status(&c->writer, "QUEUED");
        return;
    }
    struct queued *q = queued_new(spec, argv, argc, &bytes);
    if (!q || m->bytes + bytes > (size_t)c->server->config->client_query_buffer_limit) {
        mem_free(q);
        m->failed = true;
        if (!q)
            args_status_error(&c->writer, VS_NOMEM);
        else
            resp_error(&c->writer, "ERR the transaction is larger than client-query-buffer-limit");
        return;
    }
    *m->tail = q;
    m->tail = &q->next;
    m->n++;
    m->bytes += bytes;
    m->any |= spec->flags;
    m->all &= spec->flags;
    resp_status(&c->writer, "QUEUED");
}

/* ---- the commands ---- */

enum cmd_result multi_multi_command(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    if (c->multi) {
        resp_error(call->reply, "ERR MULTI calls can not be nested");
        return CMD_DONE;
    }
    c->multi = mem_zalloc(sizeof(*c->multi));
    c->multi->tail = &c->multi->first;
    c->multi->all = ~0u;
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result multi_discard_command(struct cmd_call *call)
{
    if (!call->client->multi) {
        resp_error(call->reply, "ERR DISCARD without MULTI");
        return CMD_DONE;
    }
    multi_forget(call->client);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result multi_watch_command(struct cmd_call *call)
{
    if (call->client->multi) {
        resp_error(call->reply, "ERR WATCH inside MULTI is not allowed");
        return CMD_DONE;
    }
    for (size_t i = 1; i < call->argc; i++) {
        if (!watch_one(call->client, &call->argv[i])) {
            args_status_error(call->reply, VS_NOMEM);
            return CMD_DONE;
        }
    }
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result multi_unwatch_command(struct cmd_call *call)
{
    unwatch_all(call->client);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

/* The (first) element that a queued command adds; NULL: it adds none, or is malformed. */
static const struct resp_arg *added_id(const struct queued *q)
{
    size_t at = 2;
    long long n;
    if (q->spec->handler == vector_madd_vmadd)
        return q->argc > 4 ? &q->argv[4] : NULL;
    if (q->spec->handler != vector_add_vadd)
        return NULL;
    if (resp_is(&q->argv[at], "reduce"))
        at += 2;
    if (at + 2 >= q->argc)
        return NULL;
    if (resp_is(&q->argv[at], "values")) {
        if (!resp_to_int(&q->argv[at + 1], &n) || n < 0 || (size_t)n >= q->argc)
            return NULL;
        at += (size_t)n;
    }
    return at + 2 < q->argc ? &q->argv[at + 2] : NULL;
}

/* Would any of it have to wait for the backlog now? */
static bool backlogged(const struct cmd_client *c)
{
    bool any = false;
    if (!(c->multi->any & CMD_DENYOOM))
        return false;
    for (const struct queued *q = c->multi->first; q; q = q->next) {
        const struct resp_arg *id = added_id(q);
        struct vs_index *index =
            id ? vs_find(c->server->store, c->db, q->argv[1].data, q->argv[1].len) : NULL;
        any |= index && vs_backlogged(index, id->data, id->len);
    }
    return any;
}

enum cmd_result multi_exec_command(struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    struct multi *m = c->multi;
    if (!m) {
        resp_error(call->reply, "ERR EXEC without MULTI");
        return CMD_DONE;
    }
    if (m->failed) {
        multi_forget(c);
        resp_error(call->reply, "EXECABORT Transaction discarded because of previous errors.");
        return CMD_DONE;
    }
    if (watch_changed(c)) {
        multi_forget(c);
        resp_null_array(call->reply);
        return CMD_DONE;
    }
    if (backlogged(c))
        return CMD_BACKLOG;
    c->multi = NULL;
    unwatch_all(c);
    struct server *s = c->server;
    /* Before the array begins: one that monitors may run transactions, too. */
    if (!TAILQ_EMPTY(&s->clients->monitors))
        for (const struct queued *q = m->first; q; q = q->next)
            monitor_feed(s, c, q->spec, q->argv, q->argc);
    struct buf *out = call->reply->out;
    resp_array(call->reply, m->n);
    s->in_exec = true;
    for (const struct queued *q = m->first; q; q = q->next)
        exec_queued(c, q->spec, q->argv, q->argc);
    s->in_exec = false;
    call->reply->out = out;
    call->reply->lost = false;
    queue_free(m);
    return CMD_DONE;
}
