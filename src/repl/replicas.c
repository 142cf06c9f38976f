/* The replicas of this node: what they have said, what they are sent, what they have acknowledged. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "repl/repl_int.h"

#define UNSENT_MAX ((size_t)256 << 10) /* of a connection; the rest waits in the backlog */

struct replica *replica_get(struct repl *r, struct cmd_client *c)
{
    if (!c->replica) {
        c->replica = mem_zalloc(sizeof(*c->replica));
        c->replica->c = c;
        c->replica->alive_ms = r->s->now_ms;
        TAILQ_INSERT_TAIL(&r->replicas, c->replica, link);
    }
    return c->replica;
}

void replica_gone(struct repl *r, struct cmd_client *c)
{
    struct replica *p = c->replica;
    if (p->state != REPLICA_HANDSHAKE) {
        r->nreplicas--;
        log_notice("The replica %s is gone", net_conn_peer(c->conn));
    }
    TAILQ_REMOVE(&r->replicas, p, link);
    sync_replica_gone(r, p);
    part_name_drop(&p->want);
    part_name_drop(&p->recheck);
    c->replica = NULL;
    mem_free(p);
}

void replicas_close(struct repl *r)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        if (p->state != REPLICA_HANDSHAKE)
            client_close(p->c);
}

const char *replica_state_text(const struct replica *p)
{
    return p->state == REPLICA_ONLINE    ? "online"
           : p->state == REPLICA_SENDING ? "send_bulk"
                                         : "wait_bgsave";
}

void replica_address(const struct replica *p, char ip[256], unsigned *port)
{
    *port = p->port;
    if (*p->ip) {
        memcpy(ip, p->ip, 256);
        return;
    }
    /* "127.0.0.1:5000", "[::1]:5000" */
    const char *peer = net_conn_peer(p->c->conn), *colon = strrchr(peer, ':');
    size_t len = colon ? (size_t)(colon - peer) : strlen(peer);
    if (len > 2 && peer[0] == '[') {
        peer++;
        len -= 2;
    }
    snprintf(ip, 256, "%.*s", (int)len, peer);
}

size_t replicas_online(const struct repl *r)
{
    size_t n = 0;
    const struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        n += p->state == REPLICA_ONLINE;
    return n;
}

uint64_t replicas_lowest(const struct repl *r)
{
    uint64_t lowest = REPL_NO_OFFSET;
    const struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        if ((p->state == REPLICA_SENDING || p->state == REPLICA_ONLINE) && p->cursor.offset < lowest)
            lowest = p->cursor.offset;
    return lowest;
}

size_t repl_acked(const struct repl *r, uint64_t offset, bool synced)
{
    size_t n = 0;
    const struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        n += p->state == REPLICA_ONLINE && (synced ? p->synced : p->acked) >= offset;
    return n;
}

size_t repl_good(const struct repl *r)
{
    const struct config *c = r->c;
    uint64_t lag = c->min_replicas_max_lag_ms ? (uint64_t)c->min_replicas_max_lag_ms
                                              : (uint64_t)c->min_replicas_max_lag * 1000;
    size_t n = 0;
    const struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        n += p->state == REPLICA_ONLINE && (!lag || r->s->now_ms <= p->ack_ms + lag);
    return n;
}

/* ---- sending ---- */

/* Between two data frames: only there is it possible. */
static void send_control(struct repl *r, struct replica *p, enum wire_type type)
{
    if (p->cursor.offset != r->at.offset)
        return; /* what it is being sent is sign enough */
    wire_control(net_conn_out(p->c->conn), type, &r->at, NULL, 0);
    net_conn_send(p->c->conn);
}

void replica_feed(struct repl *r, struct replica *p)
{
    struct net_conn *conn = p->c->conn;
    size_t unsent = net_conn_unsent(conn), n;
    const uint8_t *data;
    bool any = false;
    while (unsent < UNSENT_MAX && (n = backlog_peek(&r->backlog, &p->cursor, &data)) > 0) {
        size_t piece = n < UNSENT_MAX ? n : UNSENT_MAX;
        buf_append(net_conn_out(conn), data, piece);
        backlog_advance(&p->cursor, piece);
        unsent += piece;
        any = true;
        if (unsent >= UNSENT_MAX)
            net_conn_seal(conn);
    }
    /* Before the replies of this turn: what is acknowledged is on its way, though the process may end. */
    if (any)
        net_conn_send_first(conn);
}

void replicas_turn(struct repl *r)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (p->state != REPLICA_ONLINE || p->c->closing || p->mending)
            continue;
        replica_feed(r, p);
        p->asks |= r->ask;
        if (p->asks && p->cursor.offset == r->at.offset) {
            p->asks = false;
            send_control(r, p, WIRE_GETACK);
        }
    }
    r->ask = false;
}

/* ---- looking after them ---- */

/* What it has not read counts as its output. */
static bool is_over_limit(struct repl *r, struct replica *p)
{
    const struct config_output_limit *limit = &r->c->client_output_buffer_limit.of[CONFIG_REPLICA];
    uint64_t lag = r->at.offset - p->cursor.offset + net_conn_unsent(p->c->conn);
    bool soft = limit->soft > 0 && lag > (uint64_t)limit->soft;
    if (!soft)
        p->full_since_ms = 0;
    else if (!p->full_since_ms)
        p->full_since_ms = r->s->now_ms;
    return (limit->hard > 0 && lag > (uint64_t)limit->hard) ||
           (soft && r->s->now_ms - p->full_since_ms >= (uint64_t)limit->seconds * 1000);
}

static const char *why_not(struct repl *r, struct replica *p)
{
    uint64_t timeout = (uint64_t)r->c->repl_timeout * 1000;
    if (p->state == REPLICA_HANDSHAKE || p->state == REPLICA_WAITS)
        return NULL;
    if (is_over_limit(r, p))
        return "it is so far behind that it passes its output buffer limit";
    return r->s->now_ms > p->alive_ms + timeout ? "nothing was heard of it for repl-timeout" : NULL;
}

void replicas_tick(struct repl *r)
{
    struct replica *p;
    digests_tick(r);
    /* A lag that is counted in milliseconds is asked for as often. */
    r->ask |= r->c->min_replicas_to_write && r->c->min_replicas_max_lag_ms;
    bool ping = r->s->now_ms - r->ping_ms >= (uint64_t)r->c->repl_ping_replica_period * 1000;
    TAILQ_FOREACH(p, &r->replicas, link) {
        const char *why = p->c->closing ? NULL : why_not(r, p);
        if (why) {
            log_warning("The replica %s is closed: %s", net_conn_peer(p->c->conn), why);
            client_close(p->c);
        } else if (ping && p->state == REPLICA_ONLINE) {
            send_control(r, p, WIRE_PING);
        } else if (p->state == REPLICA_WAITS && r->s->ticks % 10 == 0) {
            /* The line that it waits for is not there yet. */
            buf_append(net_conn_out(p->c->conn), "\n", 1);
            net_conn_send(p->c->conn);
        }
    }
    if (ping)
        r->ping_ms = r->s->now_ms;
}

/* ---- PSYNC ---- */

static bool can_go_on(const struct repl *r, const struct resp_arg *id, uint64_t offset)
{
    if (id->len != 40 || !r->active || r->strayed)
        return false;
    bool first = !memcmp(id->data, r->replid, 40);
    bool second = r->second != REPL_NO_OFFSET && offset <= r->second &&
                  !memcmp(id->data, r->replid2, 40);
    return (first || second) && backlog_is_place(&r->backlog, offset);
}

/* Up to where a history of this id is ours. */
static uint64_t common_offset(const struct repl *r, const struct resp_arg *id)
{
    if (id->len == 40 && !memcmp(id->data, r->replid, 40))
        return r->at.offset;
    if (id->len == 40 && r->second != REPL_NO_OFFSET && !memcmp(id->data, r->replid2, 40))
        return r->second;
    return REPL_NO_OFFSET;
}

/* Our primary hands over: to us who follow its history, or have taken over from it when it asked before and did not get
 * our answer. */
static bool may_take_over(const struct repl *r, const struct resp_arg *id)
{
    if (id->len != 40 || (!r->replica && r->second == REPL_NO_OFFSET))
        return false;
    return memcmp(id->data, r->replica ? r->replid : r->replid2, 40) == 0;
}

enum cmd_result replica_psync(struct repl *r, struct cmd_call *call)
{
    struct cmd_client *c = call->client;
    struct replica *p = c->replica;
    long long asked;
    if (p && p->state != REPLICA_HANDSHAKE)
        return CMD_DONE; /* it is one already */
    if (!p || !p->knows) {
        resp_error(call->reply, "ERR the stream of this server is for replicas that speak " WIRE_CAPA
                                " (REPLCONF capa " WIRE_CAPA ")");
        return CMD_DONE;
    }
    if (call->argc > 3 && (call->argc > 4 || !resp_is(&call->argv[3], "failover"))) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    if (call->argc == 4) {
        if (!may_take_over(r, &call->argv[1])) {
            resp_error(call->reply, "ERR PSYNC FAILOVER replid must match my replid.");
            return CMD_DONE;
        }
        if (r->replica) {
            log_notice("Failover: the primary hands over to this node");
            repl_set_primary(r, NULL, 0);
        }
    }
    if (r->replica && (!apply_link_is_up(r) || !r->in_sync)) {
        resp_error(call->reply, "NOMASTERLINK Can't SYNC while not connected with my master");
        return CMD_DONE;
    }
    if (!resp_to_int(&call->argv[2], &asked)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return CMD_DONE;
    }
    if (c->slots_n) {
        resp_error(call->reply, "ERR PSYNC with replies still to come");
        return CMD_DONE;
    }
    repl_own_history(r);
    repl_activate(r);
    r->nreplicas++;
    p->alive_ms = p->ack_ms = p->began_ms = r->s->now_ms;
    p->acked = p->synced = 0;
    c->flags &= ~(unsigned)(CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP);
    if (asked > 0 && can_go_on(r, &call->argv[1], (uint64_t)asked - 1)) {
        char line[128];
        int n = snprintf(line, sizeof(line), "+CONTINUE %s %016" PRIx64 "\r\n", r->replid, r->at.nonce);
        resp_raw(call->reply, line, (size_t)n);
        p->cursor = (struct backlog_cursor){.offset = (uint64_t)asked - 1};
        p->acked = p->cursor.offset;
        p->state = REPLICA_ONLINE;
        r->partial_syncs++;
        log_notice("The replica %s goes on from offset %llu, %llu bytes are sent", net_conn_peer(c->conn),
                   asked - 1, (unsigned long long)(r->at.offset - p->cursor.offset));
        return CMD_DONE;
    }
    p->common = common_offset(r, &call->argv[1]);
    r->partial_refused += call->argv[1].len == 40;
    p->state = REPLICA_WAITS;
    log_notice("The replica %s needs all data", net_conn_peer(c->conn));
    return CMD_DONE;
}
