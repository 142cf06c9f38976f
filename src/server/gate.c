#include "server/gate.h"

#include "base/clock.h"

void gate_take(struct cmd_client *c)
{
    struct slot *slot = reply_slot_take(c);
    slot->is_gate = true;
    c->gate = slot;
}

void gate_note(struct cmd_client *c, uint64_t lsn)
{
    c->gate->lsn = lsn;
}

void gate_end(struct cmd_client *c)
{
    struct slot *slot = c->gate;
    struct gates *gates = &c->server->gates;
    c->gate = NULL;
    if (!slot->lsn) {
        reply_slot_done(slot);
        return;
    }
    slot->queued = true;
    *gates->tail = slot;
    gates->tail = &slot->next_gate;
    gates->n++;
}

static struct slot *take_first(struct gates *gates)
{
    struct slot *slot = gates->first;
    gates->first = slot->next_gate;
    if (!gates->first)
        gates->tail = &gates->first;
    gates->n--;
    slot->queued = false;
    return slot;
}

static bool may_leave(const struct gates *gates, uint64_t lsn)
{
    return gates->first && gates->first->lsn <= lsn;
}

static void let_out(struct gates *gates, uint64_t lsn)
{
    while (may_leave(gates, lsn)) {
        struct slot *slot = take_first(gates);
        if (!slot->client) {
            reply_slot_free(slot);
            continue;
        }
        /* Replies of one client that come together are delivered together. */
        slot->done = true;
        if (!may_leave(gates, lsn) || gates->first->client != slot->client)
            reply_slot_done(slot);
    }
}

void gates_release(struct server *s)
{
    if (s->gates.first)
        let_out(&s->gates, journal_releasable(s->journal, clock_mono_ns()));
}

void gates_open(struct server *s)
{
    let_out(&s->gates, UINT64_MAX);
}

void gates_drop(struct server *s)
{
    while (s->gates.first) {
        struct slot *slot = take_first(&s->gates);
        if (!slot->client)
            reply_slot_free(slot);
    }
}
