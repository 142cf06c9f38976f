/* FAILOVER: this primary hands over to one of its replicas, and loses nothing.
 *
 *   none -> WAITS: clients' writes wait; until the replica has acknowledged all there is
 *        -> GOES: we are its replica now, and say PSYNC <replid> <offset> FAILOVER to it: it is the
 *           primary from that moment on, at the very offset
 *        -> none: writes go on, and learn that this node is a replica; or, when it has refused, are done
 *
 * No write is acknowledged by either node between: ours wait, the other takes none before it is asked to.
 *
 * When time is up, a replica that has not been asked is not asked any more: we go on as the primary. With FORCE the one
 * that lacks something is asked then, and has as much time once more; what it lacks is discarded, all data come from it.
 * From the question on only its answer ends this, for it may be the primary: with the connection lost the question is
 * asked anew, to which one that has taken over from this history says yes. ABORT ends it all the same, and there may be
 * two primaries then. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "repl/repl_int.h"
#include "server/client.h"

const char *failover_text(const struct repl *r)
{
    static const char *const text[] = {"no-failover", "waiting-for-sync", "failover-in-progress"};
    return text[r->failover.state];
}

static void end(struct repl *r)
{
    mem_free(r->failover.host);
    r->failover = (struct failover){0};
    r->s->repl_pause = false;
    clients_resume(r->s, CLIENT_WAITS_PAUSE);
}

static struct replica *find(struct repl *r, const char *host, unsigned port)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link) {
        char ip[256];
        unsigned its;
        if (p->state == REPLICA_HANDSHAKE || p->c->closing)
            continue;
        replica_address(p, ip, &its);
        if (!strcasecmp(ip, host) && its == port)
            return p;
    }
    return NULL;
}

/* The one to hand over to: as asked, or the first that has everything. */
static struct replica *chosen(struct repl *r)
{
    struct failover *f = &r->failover;
    struct replica *p;
    if (f->host)
        return find(r, f->host, f->port);
    TAILQ_FOREACH(p, &r->replicas, link)
        if (p->state == REPLICA_ONLINE && !p->c->closing && p->acked == r->at.offset)
            return p;
    return NULL;
}

static void hand_over(struct repl *r, struct replica *p)
{
    struct failover *f = &r->failover;
    char ip[256];
    unsigned port;
    replica_address(p, ip, &port);
    bool whole = p->acked == r->at.offset;
    log_notice("Failover: the replica %s:%u %s, it is asked to be the primary", ip, port,
               whole ? "has everything" : "is forced");
    if (!whole)
        f->until_ms = r->s->now_ms + f->timeout_ms;
    if (!f->host)
        f->host = mem_strndup(ip, strlen(ip));
    f->port = port;
    f->state = FAILOVER_GOES;
    repl_set_primary(r, ip, port);
}

void failover_abort(struct repl *r, const char *why)
{
    bool goes = r->failover.state == FAILOVER_GOES;
    if (!r->failover.state)
        return;
    log_warning("Failover: given up, %s", why);
    r->failover.state = FAILOVER_NONE; /* so that what follows does not come here */
    if (goes)
        repl_set_primary(r, NULL, 0);
    end(r);
}

/* It is not known whether a replica that was asked is the primary: nothing but its answer ends it then, or an operator. */
static bool can_be_taken_back(struct repl *r)
{
    return !r->failover.asked && (!r->link || link_ask_no_more(r->link));
}

bool failover_link_ended(struct repl *r)
{
    struct failover *f = &r->failover;
    if (link_was_connected(r->link)) {
        failover_done(r);
        return false;
    }
    if (link_was_refused(r->link)) {
        failover_abort(r, "the replica refuses");
        return true;
    }
    f->asked |= !link_ask_no_more(r->link);
    return false;
}

/* The one that was asked has answered: it is the primary. */
void failover_done(struct repl *r)
{
    if (r->failover.state != FAILOVER_GOES)
        return;
    log_notice("Failover: done, %s:%u is the primary", r->host, r->port);
    end(r);
}

void failover_turn(struct repl *r)
{
    struct failover *f = &r->failover;
    struct replica *p;
    if (!f->state)
        return;
    bool late = f->until_ms && r->s->now_ms >= f->until_ms;
    if (f->state == FAILOVER_GOES) {
        if (r->link && link_was_connected(r->link))
            failover_done(r); /* though it may have to send all data first */
        else if (late && can_be_taken_back(r))
            failover_abort(r, "the replica could not be asked in time");
        return;
    }
    p = chosen(r);
    if (p && p->state == REPLICA_ONLINE && (p->acked == r->at.offset || (late && f->force)))
        hand_over(r, p);
    else if (late)
        failover_abort(r, "no replica has got everything in time");
    else if (f->host && !p)
        failover_abort(r, "the replica is gone");
}

struct words {
    const struct resp_arg *host, *port, *timeout;
    bool abort, force;
};

static bool parse(struct cmd_call *call, struct words *w)
{
    for (size_t i = 1; i < call->argc; i++) {
        const struct resp_arg *a = &call->argv[i];
        size_t left = call->argc - i - 1;
        if (resp_is(a, "timeout") && left >= 1 && !w->timeout) {
            w->timeout = &call->argv[++i];
        } else if (resp_is(a, "abort") && !w->abort) {
            w->abort = true;
        } else if (resp_is(a, "to") && left >= 2 && !w->host) {
            w->host = &call->argv[++i];
            w->port = &call->argv[++i];
        } else if (resp_is(a, "force") && !w->force) {
            w->force = true;
        } else {
            resp_error(call->reply, "ERR syntax error");
            return false;
        }
    }
    if (w->abort && call->argc > 2) {
        resp_error(call->reply, "ERR syntax error");
        return false;
    }
    return true;
}

static enum cmd_result refuse(struct cmd_call *call, const char *text)
{
    resp_error(call->reply, "%s", text);
    return CMD_DONE;
}

enum cmd_result repl_failover_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    struct words w = {0};
    long long timeout = 0, port = 0;
    char host[256];
    if (!parse(call, &w))
        return CMD_DONE;
    if (w.abort) {
        if (!r->failover.state)
            return refuse(call, "ERR No failover in progress.");
        failover_abort(r, "as asked");
        resp_status(call->reply, "OK");
        return CMD_DONE;
    }
    if (w.timeout && !resp_to_int(w.timeout, &timeout))
        return refuse(call, "ERR value is not an integer or out of range");
    if (w.timeout && timeout <= 0)
        return refuse(call, "ERR FAILOVER timeout must be greater than 0");
    if (r->failover.state)
        return refuse(call, "ERR FAILOVER already in progress.");
    if (r->replica)
        return refuse(call, "ERR FAILOVER is not valid when server is a replica.");
    if (r->nreplicas == 0)
        return refuse(call, "ERR FAILOVER requires connected replicas.");
    if (w.force && (!w.timeout || !w.host))
        return refuse(call, "ERR FAILOVER with force option requires both a timeout and target HOST and "
                            "IP.");
    if (w.host) {
        if (!resp_to_int(w.port, &port) || port < 1 || port > 65535)
            return refuse(call, "ERR value is not an integer or out of range");
        snprintf(host, sizeof(host), "%.*s", (int)(w.host->len < 255 ? w.host->len : 255), w.host->data);
        const struct replica *p = find(r, host, (unsigned)port);
        if (!p)
            return refuse(call, "ERR FAILOVER target HOST and PORT is not a replica.");
        if (p->state != REPLICA_ONLINE)
            return refuse(call, "ERR FAILOVER target replica is not online.");
        r->failover.host = mem_strndup(host, strlen(host));
        r->failover.port = (unsigned)port;
    }
    r->failover.state = FAILOVER_WAITS;
    r->failover.force = w.force;
    r->failover.timeout_ms = (uint64_t)timeout;
    r->failover.until_ms = timeout ? r->s->now_ms + (uint64_t)timeout : 0;
    r->s->repl_pause = true;
    log_notice("Failover: writes wait until a replica has everything");
    repl_ask_acks(r);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}
