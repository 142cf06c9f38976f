/* See lone.h. */
#include "server/lone.h"

#include "base/clock.h"
#include "server/client.h"
#include "server/stats.h"

/* Is its search all that there is to do? */
static bool is_alone(const struct cmd_client *c)
{
    const struct server *s = c->server;
    return s->pending == 1 && c->slots_n == 1 && net_ready_count(s->net) == 0 && !net_conn_has_input(c->conn);
}

bool lone_at_once(struct cmd_call *call, const struct cmd_effort *effort)
{
    struct cmd_client *c = call->client;
    struct lone *l = &c->server->lone;
    bool same = l->client == c->id && l->effort.index_uid == effort->index_uid && effort->ef <= l->effort.ef &&
                effort->keep <= l->effort.keep;
    if (call->transaction || !same || !is_alone(c)) {
        *l = (struct lone){.client = c->id, .effort = *effort};
        return false;
    }
    if (l->n < LONE_AFTER || l->average_us > LONE_MAX_US)
        return false;
    c->server->stats->searches_on_loop++;
    l->on_loop = true;
    return true;
}

void lone_took(struct server *s, uint64_t us)
{
    struct lone *l = &s->lone;
    l->average_us = l->n ? (l->average_us * (LONE_AFTER - 1) + us) / LONE_AFTER : us;
    l->n++;
    l->ended_ns = l->on_loop ? clock_mono_ns() : 0;
    l->on_loop = false;
}

bool lone_awaited(const struct server *s)
{
    return s->lone.ended_ns && clock_mono_ns() - s->lone.ended_ns < LONE_AWAITED_NS;
}
