/* REPLICAOF, REPLCONF, PSYNC, ROLE. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "repl/repl_int.h"
#include "server/client.h"

enum cmd_result repl_replicaof_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    const struct resp_arg *host = &call->argv[1], *word = &call->argv[2];
    char name[256];
    long long port;
    if (resp_is(host, "no") && resp_is(word, "one")) {
        if (r->replica)
            repl_set_primary(r, NULL, 0);
        else
            guard_role_changed(r); /* a fenced one is told so */
        resp_status(call->reply, "OK");
        return CMD_DONE;
    }
    if (!resp_to_int(word, &port) || port < 1 || port > 65535) {
        resp_error(call->reply, "ERR Invalid master port");
        return CMD_DONE;
    }
    /* What is queued in a transaction has no NUL behind it. */
    if (host->len < sizeof(name)) {
        memcpy(name, host->data, host->len);
        name[host->len] = 0;
    }
    if (host->len == 0 || host->len >= sizeof(name) || strcspn(name, " \t\r\n\"'\\") < host->len) {
        resp_error(call->reply, "ERR Invalid master host");
        return CMD_DONE;
    }
    if (r->replica && !strcasecmp(r->host, name) && r->port == port) {
        resp_status(call->reply, "OK Already connected to specified master");
        return CMD_DONE;
    }
    repl_set_primary(r, name, (unsigned)port);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

/* ---- REPLCONF ---- */

/* No reply: MEND <database> <partition> <key>. It is sent when there is a place for it; one at a time. */
static void take_mend(struct replica *p, const struct cmd_call *call)
{
    long long db, number;
    const struct resp_arg *key = &call->argv[4];
    if (p->state != REPLICA_ONLINE || p->mending || !resp_to_int(&call->argv[2], &db) || db < 0 ||
        db > UINT16_MAX || !resp_to_int(&call->argv[3], &number) || number < 0 || number > UINT32_MAX)
        return;
    const struct part_name name = {.db = (unsigned)db,
                                   .number = (uint32_t)number,
                                   .key = (char *)key->data,
                                   .key_len = key->len};
    part_name_set(&p->want, &name);
}

/* No reply: what a replica sends at times. */
static void take_ack(struct repl *r, struct replica *p, const struct cmd_call *call)
{
    long long offset, synced = 0;
    if (p->state != REPLICA_SENDING && p->state != REPLICA_ONLINE)
        return;
    if (!resp_to_int(&call->argv[2], &offset) || offset < 0 ||
        (call->argc >= 5 && (!resp_to_int(&call->argv[4], &synced) || synced < 0)) ||
        (uint64_t)offset > r->at.offset || synced > offset) {
        log_warning("The replica %s acknowledges what it was never sent: it is closed",
                    net_conn_peer(p->c->conn));
        client_close(p->c);
        return;
    }
    long long different;
    p->alive_ms = r->s->now_ms;
    if (call->argc >= 7 && resp_to_int(&call->argv[6], &different) && different >= 0) {
        const struct resp_arg *entries = call->argc >= 9 && resp_is(&call->argv[7], "digests") ? &call->argv[8] : NULL;
        digests_told(r, p, (uint64_t)different, entries ? (const uint8_t *)entries->data : NULL,
                     entries ? entries->len : 0);
    }
    /* Before the first record is applied there is nothing to be acknowledged. */
    if (p->state == REPLICA_ONLINE && (uint64_t)offset >= p->acked) {
        p->acked = (uint64_t)offset;
        p->synced = (uint64_t)synced;
        p->ack_ms = r->s->now_ms;
    }
}

static bool set_one(struct repl *r, struct replica *p, const struct resp_arg *name,
                    const struct resp_arg *value, struct resp_writer *w)
{
    long long port;
    (void)r;
    if (resp_is(name, "listening-port")) {
        if (!resp_to_int(value, &port) || port < 0 || port > 65535) {
            resp_error(w, "ERR value is not an integer or out of range");
            return false;
        }
        p->port = (unsigned)port;
    } else if (resp_is(name, "ip-address")) {
        if (value->len >= sizeof(p->ip)) {
            resp_error(w, "ERR REPLCONF ip-address provided by replica instance is too long: %zu bytes",
                       value->len);
            return false;
        }
        memcpy(p->ip, value->data, value->len);
        p->ip[value->len] = 0;
        for (char *c = p->ip; *c; c++)
            if (*c <= ' ' || *c == ',')
                *c = '_';
    } else if (resp_is(name, "capa")) {
        p->knows |= resp_is(value, WIRE_CAPA);
        p->zstd |= resp_is(value, "zstd");
    } else if (!resp_is(name, "version") && !resp_is(name, "rdb-only") &&
               !resp_is(name, "rdb-filter-only")) {
        resp_error(w, "ERR Unrecognized REPLCONF option: %.*s",
                   (int)(name->len < 128 ? name->len : 128), name->data);
        return false;
    }
    return true;
}

enum cmd_result repl_replconf_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    struct cmd_client *c = call->client;
    if (call->argc >= 3 && resp_is(&call->argv[1], "ack")) {
        if (c->replica)
            take_ack(r, c->replica, call);
        return CMD_DONE;
    }
    if (call->argc == 5 && resp_is(&call->argv[1], "mend")) {
        if (c->replica)
            take_mend(c->replica, call);
        return CMD_DONE;
    }
    if (call->argc >= 3 && resp_is(&call->argv[1], "getack"))
        return CMD_DONE; /* asked of a replica by the stream, not by a client */
    if (call->argc % 2 == 0) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    struct replica *p = replica_get(r, c);
    for (size_t i = 1; i < call->argc; i += 2)
        if (!set_one(r, p, &call->argv[i], &call->argv[i + 1], call->reply))
            return CMD_DONE;
    resp_status(call->reply, "OK");
    return CMD_DONE;
}

enum cmd_result repl_psync_command(struct cmd_call *call)
{
    return replica_psync(repl_of(server_of(call)), call);
}

/* ---- ROLE ---- */

static const char *link_word(const struct repl *r)
{
    if (!r->link)
        return "connect";
    switch (link_state(r->link)) {
    case LINK_CONNECTING:
    case LINK_HANDSHAKE: return "connecting";
    case LINK_SYNC: return "sync";
    case LINK_CONNECTED: return r->in_sync ? "connected" : "sync";
    default: return "connect";
    }
}

enum cmd_result repl_role_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    struct resp_writer *w = call->reply;
    const struct replica *p;
    char text[32];
    if (r->replica) {
        resp_array(w, 5);
        resp_bulk_text(w, "slave");
        resp_bulk_text(w, r->host);
        resp_int(w, r->port);
        resp_bulk_text(w, link_word(r));
        resp_int(w, r->in_sync ? (long long)r->at.offset : -1);
        return CMD_DONE;
    }
    resp_array(w, 3);
    resp_bulk_text(w, "master");
    resp_int(w, (long long)r->at.offset);
    resp_array(w, replicas_online(r));
    TAILQ_FOREACH(p, &r->replicas, link) {
        char ip[256];
        unsigned port;
        if (p->state != REPLICA_ONLINE)
            continue;
        replica_address(p, ip, &port);
        resp_array(w, 3);
        resp_bulk_text(w, ip);
        snprintf(text, sizeof(text), "%u", port);
        resp_bulk_text(w, text);
        snprintf(text, sizeof(text), "%llu", (unsigned long long)p->acked);
        resp_bulk_text(w, text);
    }
    return CMD_DONE;
}
