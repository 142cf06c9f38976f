/* Clients: their life, what they may use, and the work on one that is ready. */
#include "server/client.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/multi.h"
#include "server/pubsub.h"
#include "server/replication.h"
#include "server/stats.h"

#define COMMANDS_PER_VISIT 16   /* then the next client has its turn */
#define CRON_CLIENTS       64   /* looked at per tick, or a tenth of all */
#define IDLE_TRIM_MS       2000 /* unused buffers are given back after */
#define CLOSING_MAX_MS     5000 /* a client that does not read its last reply */

struct clients *clients_new(void)
{
    struct clients *cs = mem_zalloc(sizeof(*cs));
    cs->next_id = 1;
    TAILQ_INIT(&cs->held);
    TAILQ_INIT(&cs->waiting);
    TAILQ_INIT(&cs->monitors);
    return cs;
}

void clients_free(struct clients *cs)
{
    if (!cs)
        return;
    mem_free(cs->at);
    mem_free(cs);
}

size_t client_position(const struct clients *cs, uint64_t id)
{
    size_t low = 0, high = cs->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (cs->at[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct cmd_client *client_by_id(const struct clients *cs, uint64_t id)
{
    size_t at = client_position(cs, id);
    return at < cs->n && cs->at[at]->id == id ? cs->at[at] : NULL;
}

void client_apply_limits(struct cmd_client *c)
{
    const struct config *config = c->server->config;
    struct resp_limits limits = {
        .bulk_max = (size_t)config->proto_max_bulk_len,
        .inline_max = 64 * 1024,
        .args_max = 1024 * 1024,
        .unauth_bulk_max = 16 * 1024,
    };
    net_conn_set_limits(c->conn, &limits, (size_t)config->client_query_buffer_limit,
                        c->authenticated);
}

static bool refuse(struct server *s, struct net_conn *conn, const char *text)
{
    s->stats->rejected_connections++;
    buf_puts(net_conn_out(conn), text);
    return false;
}

bool client_open(void *server, struct net_conn *conn)
{
    struct server *s = server;
    struct clients *cs = s->clients;
    if (cs->n >= (size_t)s->config->maxclients)
        return refuse(s, conn, "-ERR max number of clients reached\r\n");
    if (s->config->protected_mode && !*s->config->requirepass && !net_conn_is_local(conn))
        return refuse(
            s, conn,
            "-DENIED protected mode: no password is set, so only clients of this machine are "
            "served. "
            "To let others in, set one (CONFIG SET requirepass, or requirepass in vecstore.conf), "
            "or turn protected-mode off where the network is trusted.\r\n");
    struct cmd_client *c = mem_zalloc(sizeof(*c));
    c->server = s;
    c->conn = conn;
    c->id = cs->next_id++;
    c->resp = 2;
    c->authenticated = !*s->config->requirepass;
    c->created_ms = c->active_ms = s->now_ms;
    c->slots_tail = &c->slots;
    if (cs->n == cs->cap) {
        cs->cap = cs->cap ? cs->cap * 2 : 64;
        cs->at = mem_realloc(cs->at, cs->cap * sizeof(*cs->at));
    }
    cs->at[cs->n++] = c;
    net_conn_set_user(conn, c);
    client_apply_limits(c);
    s->stats->connections++;
    log_verbose("Accepted %s", net_conn_peer(conn));
    return true;
}

/* From now on nothing of the server refers to it but its connection. */
static void unlist(struct cmd_client *c)
{
    struct clients *cs = c->server->clients;
    size_t at = client_position(cs, c->id);
    memmove(cs->at + at, cs->at + at + 1, (cs->n - at - 1) * sizeof(*cs->at));
    cs->n--;
    client_unwait(c);
    if (c->flags & CLIENT_MONITOR)
        TAILQ_REMOVE(&cs->monitors, c, monitor_link);
    c->flags &= ~(unsigned)CLIENT_MONITOR;
    pubsub_leave(c);
    multi_forget(c);
    if (c->replica || c->waits_for)
        c->server->repl_hooks->gone(c->server, c);
    reply_cancel_all(c);
    exec_abandon(c);
}

static void client_free(struct cmd_client *c)
{
    mem_free(c->name);
    mem_free(c->lib_name);
    mem_free(c->lib_version);
    buf_release(&c->muted);
    mem_free(c);
}

void client_close(struct cmd_client *c)
{
    if (c->closing && net_conn_closing(c->conn)) {
        net_conn_close(c->conn);
        return;
    }
    c->closing = true;
    log_verbose("Client closed connection id=%llu addr=%s", (unsigned long long)c->id,
                net_conn_peer(c->conn));
    net_conn_close(c->conn);
}

void client_gone(void *server, struct net_conn *conn)
{
    (void)server;
    struct cmd_client *c = net_conn_user(conn);
    if (!c)
        return;
    unlist(c);
    client_free(c);
}

void client_close_after(struct cmd_client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    c->closing_ms = c->server->now_ms;
    if (c->slots_n == 0)
        net_conn_close_flushed(c->conn);
    else
        net_conn_pause(c->conn, true);
}

/* ---- waiting ---- */

void client_wait(struct cmd_client *c, enum client_wait why)
{
    c->wait = why;
    if (why == CLIENT_WAITS_AGAIN) {
        net_conn_ready(c->conn);
        return;
    }
    net_conn_pause(c->conn, true);
    if (!c->wait_listed) {
        c->wait_listed = true;
        TAILQ_INSERT_TAIL(&c->server->clients->waiting, c, wait_link);
    }
}

void client_unwait(struct cmd_client *c)
{
    if (c->wait == CLIENT_RUNS)
        return;
    c->wait = CLIENT_RUNS;
    if (c->wait_listed) {
        c->wait_listed = false;
        TAILQ_REMOVE(&c->server->clients->waiting, c, wait_link);
    }
    net_conn_pause(c->conn, false);
    net_conn_ready(c->conn);
}

bool clients_resume(struct server *s, enum client_wait why)
{
    bool any = false;
    struct cmd_client *c, *next;
    for (c = TAILQ_FIRST(&s->clients->waiting); c; c = next) {
        next = TAILQ_NEXT(c, wait_link);
        if (c->wait != why)
            continue;
        if (why == CLIENT_WAITS_OUTPUT && net_conn_unsent(c->conn) > CLIENT_OUTPUT_STOP / 2 &&
            !net_conn_broken(c->conn))
            continue;
        client_unwait(c);
        any = true;
    }
    return any;
}

/* ---- work ---- */

bool client_check_output(struct cmd_client *c)
{
    struct server *s = c->server;
    const struct config_output_limit *limit =
        &s->config->client_output_buffer_limit.of[c->replica  ? CONFIG_REPLICA
                                                   : c->pubsub ? CONFIG_PUBSUB
                                                               : CONFIG_NORMAL];
    size_t unsent = net_conn_unsent(c->conn);
    if (unsent < 65536 && !c->soft_since_ms)
        return false;
    if (unsent > s->stats->client_output_max)
        s->stats->client_output_max = unsent;
    bool soft = limit->soft > 0 && unsent > (size_t)limit->soft;
    if (!soft)
        c->soft_since_ms = 0;
    else if (!c->soft_since_ms)
        c->soft_since_ms = s->now_ms ? s->now_ms : 1;
    bool over = (limit->hard > 0 && unsent > (size_t)limit->hard) ||
                (soft && s->now_ms - c->soft_since_ms >= (uint64_t)limit->seconds * 1000);
    if (!over)
        return false;
    struct buf text = {0};
    client_describe(c, &text);
    log_warning("Client closed for passing its output buffer limit: %.*s", (int)text.len,
                text.data);
    buf_release(&text);
    s->stats->output_limit_closes++;
    client_close(c);
    return true;
}

static void on_end(struct cmd_client *c, enum net_got got)
{
    struct server *s = c->server;
    struct buf text = {0};
    switch (got) {
    case NET_PROTOCOL:
        stats_error(s->stats, net_conn_error(c->conn), strlen(net_conn_error(c->conn)));
        if (!(c->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP)))
            buf_printf(reply_target(c), "-%s\r\n", net_conn_error(c->conn));
        log_verbose("Protocol error (%s) from client %s", net_conn_error(c->conn),
                    net_conn_peer(c->conn));
        client_close_after(c);
        break;
    case NET_TOO_BIG:
        client_describe(c, &text);
        log_warning("Closing client that reached max query buffer length: %.*s", (int)text.len,
                    text.data);
        buf_release(&text);
        s->stats->query_limit_closes++;
        client_close(c);
        break;
    default: client_close(c); break;
    }
}

/* Is there anything before its next command? */
static bool must_wait(struct cmd_client *c)
{
    if (c->wait != CLIENT_RUNS)
        return true;
    if (c->slots_n >= CLIENT_SLOTS_MAX)
        client_wait(c, CLIENT_WAITS_SLOTS);
    else if (net_conn_unsent(c->conn) > CLIENT_OUTPUT_STOP)
        client_wait(c, CLIENT_WAITS_OUTPUT);
    return c->wait != CLIENT_RUNS;
}

void client_work(struct cmd_client *c)
{
    struct server *s = c->server;
    if (c->closing)
        return;
    if (net_conn_broken(c->conn)) {
        client_close(c);
        return;
    }
    c->active_ms = s->now_ms;
    if (c->wait == CLIENT_WAITS_AGAIN)
        c->wait = CLIENT_RUNS;
    unsigned done = 0;
    while (!must_wait(c)) {
        if (c->call.spec) {
            exec_resume(c);
        } else {
            const struct resp_arg *argv;
            size_t argc;
            if (done == COMMANDS_PER_VISIT || (done > 0 && s->now_ns >= s->turn_end_ns)) {
                net_conn_ready(c->conn);
                break;
            }
            enum net_got got = net_conn_next(c->conn, &argv, &argc);
            if (got == NET_NONE)
                break;
            if (got != NET_COMMAND) {
                on_end(c, got);
                return;
            }
            exec_command(c, argv, argc);
        }
        done++;
        if (c->closing || (c->flags & CLIENT_CLOSE_AFTER) || client_check_output(c))
            break;
    }
    if (c->closing) {
        if (!net_conn_closing(c->conn))
            net_conn_send(c->conn);
        return;
    }
    if (c->flags & CLIENT_CLOSE_AFTER) {
        client_close_after(c);
        return;
    }
    if (net_conn_unsent(c->conn) > 0)
        reply_send(c);
}

/* ---- looking after them ---- */

static void look_after(struct cmd_client *c)
{
    struct server *s = c->server;
    uint64_t idle = s->now_ms - c->active_ms;
    if (c->closing) {
        if (c->closing_ms && s->now_ms - c->closing_ms > CLOSING_MAX_MS)
            client_close(c);
        return;
    }
    if (client_check_output(c))
        return;
    struct net_conn_memory m;
    net_conn_memory(c->conn, &m);
    if (m.input_bytes > s->stats->client_input_max)
        s->stats->client_input_max = m.input_bytes;
    if (s->config->timeout > 0 && idle / 1000 > (uint64_t)s->config->timeout &&
        c->wait == CLIENT_RUNS && c->slots_n == 0 && !(c->flags & CLIENT_MONITOR) && !c->replica && !c->pubsub) {
        log_verbose("Closing idle client %s", net_conn_peer(c->conn));
        client_close(c);
        return;
    }
    if (idle >= IDLE_TRIM_MS && c->wait == CLIENT_RUNS && !c->call.spec)
        net_conn_trim(c->conn);
}

void clients_cron(struct server *s)
{
    struct clients *cs = s->clients;
    size_t n = cs->n / 10 > CRON_CLIENTS ? cs->n / 10 : CRON_CLIENTS;
    if (n > cs->n)
        n = cs->n;
    for (size_t i = 0; i < n; i++) {
        if (cs->cron_at >= cs->n)
            cs->cron_at = 0;
        look_after(cs->at[cs->cron_at++]);
    }
    if (cs->pause_until_ms && cs->pause_until_ms <= s->now_ms) {
        cs->pause_until_ms = 0;
        clients_resume(s, CLIENT_WAITS_PAUSE);
    }
}

bool client_set_text(char **field, const struct resp_arg *text)
{
    char *copy = text->len ? mem_try_strndup(text->data, text->len) : NULL;
    if (text->len && !copy)
        return false;
    mem_free(*field);
    *field = copy;
    return true;
}

void client_reset(struct cmd_client *c)
{
    struct clients *cs = c->server->clients;
    pubsub_leave(c);
    multi_forget(c);
    if (c->flags & CLIENT_MONITOR)
        TAILQ_REMOVE(&cs->monitors, c, monitor_link);
    c->flags &= ~(unsigned)(CLIENT_MONITOR | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP |
                            CLIENT_REPLY_SKIP_NEXT | CLIENT_NO_EVICT | CLIENT_NO_TOUCH);
    c->db = 0;
    c->resp = 2;
    mem_free(c->name);
    c->name = NULL;
    c->authenticated = !*c->server->config->requirepass;
    client_apply_limits(c);
}
