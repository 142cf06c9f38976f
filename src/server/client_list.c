/* CLIENT LIST, INFO and KILL. The two that go through all clients work in slices: a cursor is an
 * id, and clients are kept in order of ids, so that what comes and goes between slices does no
 * harm. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/client.h"
#include "server/commands.h"
#include "server/multi.h"
#include "server/pubsub.h"

#define STRIDE 32 /* clients between two looks at the clock */

size_t client_memory(const struct cmd_client *c)
{
    struct net_conn_memory m;
    net_conn_memory(c->conn, &m);
    return sizeof(*c) + m.input_bytes + m.output_bytes + c->muted.cap + multi_memory(c) +
           c->slots_n * sizeof(struct slot) + (c->name ? strlen(c->name) : 0);
}

void client_describe(const struct cmd_client *c, struct buf *out)
{
    const struct server *s = c->server;
    struct net_conn_memory m;
    net_conn_memory(c->conn, &m);
    char cmd[128] = "NULL", flags[12];
    if (c->last)
        cmd_full_name(s->commands, c->last, cmd, sizeof(cmd));
    size_t n = 0;
    if (c->replica)
        flags[n++] = 'S';
    if (c->flags & CLIENT_MONITOR)
        flags[n++] = 'O';
    if (c->pubsub)
        flags[n++] = 'P';
    if (c->multi)
        flags[n++] = 'x';
    if (c->wait == CLIENT_WAITS_BACKLOG)
        flags[n++] = 'b';
    if (net_conn_is_unix(c->conn))
        flags[n++] = 'U';
    if (c->closing)
        flags[n++] = 'c';
    if (c->flags & CLIENT_NO_EVICT)
        flags[n++] = 'e';
    if (c->flags & CLIENT_NO_TOUCH)
        flags[n++] = 'T';
    if (n == 0)
        flags[n++] = 'N';
    flags[n] = 0;
    size_t args = 0;
    for (size_t i = 0; c->call.spec && c->call.argv && i < c->call.argc && i < 64; i++)
        args += c->call.argv[i].len;
    buf_printf(out,
               "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=%u sub=%zu "
               "psub=%zu ssub=0 multi=%ld watch=%zu ",
               (unsigned long long)c->id, net_conn_peer(c->conn), net_conn_local(c->conn),
               net_conn_fd(c->conn), c->name ? c->name : "",
               (unsigned long long)(s->now_ms - c->created_ms) / 1000,
               (unsigned long long)(s->now_ms - c->active_ms) / 1000, flags, c->db,
               pubsub_count(c, PUBSUB_CHANNEL), pubsub_count(c, PUBSUB_PATTERN), multi_length(c), multi_watched(c));
    buf_printf(out,
               "qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu obl=%zu oll=%zu omem=%zu "
               "tot-mem=%zu events=%s cmd=%s user=default redir=-1 resp=%d "
               "lib-name=%s lib-ver=%s pending=%zu",
               m.query, m.query_free, args, multi_memory(c), m.output_len, m.output_blocks, m.output_bytes,
               client_memory(c), net_conn_unsent(c->conn) ? "rw" : "r", cmd, c->resp,
               c->lib_name ? c->lib_name : "", c->lib_version ? c->lib_version : "", c->slots_n);
}

enum cmd_result client_info_command(struct cmd_call *call)
{
    struct buf out = {0};
    client_describe(call->client, &out);
    buf_puts(&out, "\n");
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}

enum filter_type { TYPE_ANY, TYPE_NORMAL, TYPE_MASTER, TYPE_REPLICA, TYPE_PUBSUB };

static bool is_type(const struct cmd_client *c, enum filter_type type)
{
    return type == TYPE_ANY || type == (c->replica  ? TYPE_REPLICA
                                         : c->pubsub ? TYPE_PUBSUB
                                                     : TYPE_NORMAL);
}

static bool parse_type(struct cmd_call *call, const struct resp_arg *word, enum filter_type *out)
{
    if (resp_is(word, "normal"))
        *out = TYPE_NORMAL;
    else if (resp_is(word, "master"))
        *out = TYPE_MASTER;
    else if (resp_is(word, "replica") || resp_is(word, "slave"))
        *out = TYPE_REPLICA;
    else if (resp_is(word, "pubsub"))
        *out = TYPE_PUBSUB;
    else {
        resp_error(call->reply, "ERR Unknown client type '%.*s'",
                   (int)(word->len < 128 ? word->len : 128), word->data);
        return false;
    }
    return true;
}

/* ---- LIST ---- */

struct listing {
    uint64_t next; /* id to go on from */
    enum filter_type type;
    size_t first_id, ids; /* arguments that are ids; 0: all clients */
    struct buf text;
};

static void listing_free(void *state)
{
    struct listing *l = state;
    buf_release(&l->text);
    mem_free(l);
}

static bool list_parse(struct cmd_call *call, struct listing *l)
{
    long long id;
    if (call->argc == 4 && resp_is(&call->argv[2], "type"))
        return parse_type(call, &call->argv[3], &l->type);
    if (call->argc > 3 && resp_is(&call->argv[2], "id")) {
        for (size_t i = 3; i < call->argc; i++) {
            if (!resp_to_int(&call->argv[i], &id) || id <= 0) {
                resp_error(call->reply, "ERR Invalid client ID");
                return false;
            }
        }
        l->first_id = 3;
        l->ids = call->argc - 3;
        return true;
    }
    if (call->argc == 2)
        return true;
    resp_error(call->reply, "ERR syntax error");
    return false;
}

static void list_one(struct listing *l, const struct cmd_client *c)
{
    if (c->closing || !is_type(c, l->type))
        return;
    client_describe(c, &l->text);
    buf_puts(&l->text, "\n");
}

/* The client at the cursor, and the cursor one further; NULL at the end. */
static struct cmd_client *list_next(const struct cmd_call *call, struct listing *l, bool *end)
{
    const struct clients *cs = call->client->server->clients;
    *end = false;
    if (l->ids) {
        long long id = 0;
        *end = l->next >= l->ids;
        if (!*end)
            resp_to_int(&call->argv[l->first_id + l->next++], &id);
        return *end ? NULL : client_by_id(cs, (uint64_t)id);
    }
    size_t at = client_position(cs, l->next);
    *end = at == cs->n;
    if (*end)
        return NULL;
    l->next = cs->at[at]->id + 1;
    return cs->at[at];
}

enum cmd_result client_list_command(struct cmd_call *call)
{
    struct listing *l = call->state;
    if (!l) {
        struct listing fresh = {0};
        if (!list_parse(call, &fresh))
            return CMD_DONE;
        l = mem_alloc(sizeof(*l));
        *l = fresh;
        call->state = l;
        call->state_free = listing_free;
    }
    for (unsigned i = 1;; i++) {
        bool end;
        struct cmd_client *c = list_next(call, l, &end);
        if (end)
            break;
        if (c)
            list_one(l, c);
        if (i % STRIDE == 0 && clock_mono_ns() >= call->slice_end_ns)
            return CMD_AGAIN;
    }
    resp_verbatim(call->reply, "txt", l->text.data, l->text.len);
    return CMD_DONE;
}

/* ---- KILL ---- */

struct killing {
    uint64_t next, killed;
    long long id, max_age;
    enum filter_type type;
    const struct resp_arg *addr, *laddr; /* arguments of the call, which stand as long as it */
    bool skip_me, old_form;
};

static bool kill_parse_option(struct cmd_call *call, struct killing *k, const struct resp_arg *word,
                              const struct resp_arg *value)
{
    if (resp_is(word, "id")) {
        if (resp_to_int(value, &k->id) && k->id > 0)
            return true;
        resp_error(call->reply, "ERR client-id should be greater than 0");
        return false;
    }
    if (resp_is(word, "maxage")) {
        if (resp_to_int(value, &k->max_age) && k->max_age > 0)
            return true;
        resp_error(call->reply, "ERR maxage is not an integer or out of range");
        return false;
    }
    if (resp_is(word, "type"))
        return parse_type(call, value, &k->type);
    if (resp_is(word, "user")) {
        if (value->len == 7 && memcmp(value->data, "default", 7) == 0)
            return true;
        resp_error(call->reply, "ERR No such user '%.*s'",
                   (int)(value->len < 128 ? value->len : 128), value->data);
        return false;
    }
    if (resp_is(word, "addr")) {
        k->addr = value;
        return true;
    }
    if (resp_is(word, "laddr")) {
        k->laddr = value;
        return true;
    }
    if (resp_is(word, "skipme") && (resp_is(value, "yes") || resp_is(value, "no"))) {
        k->skip_me = resp_is(value, "yes");
        return true;
    }
    resp_error(call->reply, "ERR syntax error");
    return false;
}

static bool kill_parse(struct cmd_call *call, struct killing *k)
{
    if (call->argc == 3) {
        *k = (struct killing){.addr = &call->argv[2], .old_form = true};
        return true;
    }
    k->skip_me = true;
    if (call->argc % 2 != 0) {
        resp_error(call->reply, "ERR syntax error");
        return false;
    }
    for (size_t i = 2; i < call->argc; i += 2)
        if (!kill_parse_option(call, k, &call->argv[i], &call->argv[i + 1]))
            return false;
    return true;
}

static bool is_text(const struct resp_arg *a, const char *text)
{
    return a->len == strlen(text) && memcmp(a->data, text, a->len) == 0;
}

static bool kill_matches(const struct cmd_call *call, const struct killing *k,
                         const struct cmd_client *c)
{
    return !c->closing && !(k->skip_me && c == call->client) &&
           (!k->id || c->id == (uint64_t)k->id) &&
           is_type(c, k->type) &&
           (!k->addr || is_text(k->addr, net_conn_peer(c->conn))) &&
           (!k->laddr || is_text(k->laddr, net_conn_local(c->conn))) &&
           (!k->max_age || (call->now_ms - c->created_ms) / 1000 >= (uint64_t)k->max_age);
}

enum cmd_result client_kill_command(struct cmd_call *call)
{
    const struct clients *cs = call->client->server->clients;
    struct killing *k = call->state;
    if (!k) {
        struct killing fresh = {0};
        if (!kill_parse(call, &fresh))
            return CMD_DONE;
        k = mem_alloc(sizeof(*k));
        *k = fresh;
        call->state = k;
        call->state_free = mem_free;
    }
    for (unsigned i = 1;; i++) {
        size_t at = client_position(cs, k->next);
        if (at == cs->n)
            break;
        struct cmd_client *c = cs->at[at];
        k->next = c->id + 1;
        if (kill_matches(call, k, c)) {
            k->killed++;
            if (c == call->client)
                c->flags |= CLIENT_CLOSE_AFTER;
            else
                client_close(c);
        }
        if (i % STRIDE == 0 && clock_mono_ns() >= call->slice_end_ns)
            return CMD_AGAIN;
    }
    if (!k->old_form)
        resp_int(call->reply, (long long)k->killed);
    else if (k->killed)
        resp_status(call->reply, "OK");
    else
        resp_error(call->reply, "ERR No such client");
    return CMD_DONE;
}
