/* Replies in the order of commands; see client.h for the picture.
 *
 * HOLDING. A client that pipelines searches gets its replies in as few writes as possible: while
 * more of its replies are owed and workers have enough to do, what is ready waits for them, at most HOLD_NS and
 * HOLD_BYTES. Each write() costs the kernel's whole TCP path and the waking of the client, several times the
 * hand-over between threads, so this is worth about a tenth of the throughput. The loop dozes meanwhile (net/loop.c): such replies
 * do not wake it. When no search waits any more it is woken, and all leave, so that the clients send while workers end the last. */
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "server/client.h"
#include "server/stats.h"

#define HOLD_NS    1000000
#define HOLD_BYTES ((size_t)16 * 1024)

struct buf *reply_target(struct cmd_client *c)
{
    return c->last_slot ? &c->last_slot->after : net_conn_out(c->conn);
}

static void on_finished(struct net_post *post);

struct slot *reply_slot_take(struct cmd_client *c)
{
    struct slot *slot = mem_zalloc(sizeof(*slot));
    slot->pending.resp_version = c->resp;
    slot->server = c->server;
    slot->client = c;
    slot->mute = (c->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP)) != 0;
    *c->slots_tail = slot;
    c->slots_tail = &slot->next;
    c->last_slot = slot;
    c->slots_n++;
    return slot;
}

struct cmd_pending *reply_defer(struct cmd_call *call)
{
    struct slot *slot = reply_slot_take(call->client);
    struct server *s = slot->server;
    slot->post.run = on_finished;
    slot->spec = call->spec;
    slot->follows = call->client->slots != slot;
    slot->began_ns = clock_mono_ns();
    if (s->config->slowlog_log_slower_than >= 0 && !(call->spec->flags & CMD_SKIP_SLOWLOG))
        slot->args = slowlog_args_new(call->argv, call->argc, false);
    s->pending++;
    return &slot->pending;
}

void reply_finish(struct cmd_pending *p)
{
    struct slot *slot = (struct slot *)p;
    /* The slot may be gone after posting. A loop that waits for a processor gets this one. */
    struct net *n = slot->server->net;
    if (slot->follows && p->pool && pool_has_waiting(p->pool, POOL_SEARCH))
        net_post_more(n, &slot->post);
    else
        net_post(n, &slot->post);
    if (net_is_behind(n))
        sched_yield();
}

void reply_mute(struct cmd_pending *p)
{
    ((struct slot *)p)->mute = true;
}

void reply_slot_free(struct slot *slot)
{
    if (!slot->is_gate)
        slot->server->pending--;
    buf_release(&slot->pending.reply);
    buf_release(&slot->after);
    slowlog_args_free(slot->args);
    mem_free(slot->pending.used);
    mem_free(slot);
}

/* Counts the command as it ended, from its arrival to its reply. */
static void account(struct slot *slot)
{
    struct server *s = slot->server;
    struct cmd_client *c = slot->client;
    uint64_t us = (clock_mono_ns() - slot->began_ns) / 1000;
    const struct buf *reply = &slot->pending.reply;
    bool failed = reply->len > 0 && reply->data[0] == '-';
    if (failed)
        stats_error(s->stats, reply->data + 1, reply->len - 1);
    stats_command(s->stats, cmd_id(s->commands, slot->spec), us, failed,
                  s->config->latency_tracking);
    s->stats->searches++;
    lone_took(s, us);
    if (slot->args && us >= (uint64_t)s->config->slowlog_log_slower_than) {
        slowlog_add(s->slowlog, slot->args, s->now_ms, us, net_conn_peer(c->conn),
                    c->name ? c->name : "", (size_t)s->config->slowlog_max_len);
        slot->args = NULL;
    }
}

static void hold(struct cmd_client *c)
{
    if (c->held_listed)
        return;
    c->held_listed = true;
    c->held_since_ns = clock_mono_ns();
    TAILQ_INSERT_TAIL(&c->server->clients->held, c, held_link);
}

static void unhold(struct cmd_client *c)
{
    if (!c->held_listed)
        return;
    c->held_listed = false;
    TAILQ_REMOVE(&c->server->clients->held, c, held_link);
}

/* Do workers have more searches before them than those that they run? */
static bool workers_go_on(const struct server *s)
{
    return pool_has_waiting(vs_pool(s->store), POOL_SEARCH);
}

void reply_send(struct cmd_client *c)
{
    if (c->slots_n > 0 && net_conn_unsent(c->conn) < HOLD_BYTES && workers_go_on(c->server)) {
        if (net_conn_unsent(c->conn) > 0)
            hold(c);
        return;
    }
    unhold(c);
    net_conn_send(c->conn);
}

uint64_t reply_release_held(struct server *s)
{
    struct cmd_client *c;
    uint64_t now = clock_mono_ns();
    while ((c = TAILQ_FIRST(&s->clients->held))) {
        if (now - c->held_since_ns < HOLD_NS && workers_go_on(s))
            return c->held_since_ns + HOLD_NS - now;
        unhold(c);
        net_conn_send(c->conn);
    }
    return 0;
}

/* Moves what is finished, from the front, to the output. */
static void deliver(struct cmd_client *c)
{
    struct slot *slot;
    while ((slot = c->slots) && slot->done) {
        c->slots = slot->next;
        if (!c->slots) {
            c->slots_tail = &c->slots;
            c->last_slot = NULL;
        }
        c->slots_n--;
        if (!slot->mute)
            net_conn_append(c->conn, &slot->pending.reply);
        net_conn_append(c->conn, &slot->after);
        reply_slot_free(slot);
    }
    if (client_check_output(c))
        return;
    reply_send(c);
    if (c->wait == CLIENT_WAITS_SLOTS && c->slots_n <= (c->called ? 0 : CLIENT_SLOTS_MAX / 2)) {
        client_unwait(c);
        c->writer.out = reply_target(c);
    }
    if (c->slots_n == 0 && c->closing && !net_conn_closing(c->conn))
        net_conn_close_flushed(c->conn);
}

void reply_slot_done(struct slot *slot)
{
    slot->done = true;
    if (slot->client->slots->done)
        deliver(slot->client);
}

static void on_finished(struct net_post *post)
{
    struct slot *slot = (struct slot *)((char *)post - offsetof(struct slot, post));
    if (!slot->client) {
        reply_slot_free(slot);
        return;
    }
    account(slot);
    const struct cmd_used *used = slot->pending.used;
    if (used)
        vs_mark(slot->server->store, used->index_uid, used->marks, used->n);
    reply_slot_done(slot);
}

void reply_cancel_all(struct cmd_client *c)
{
    unhold(c);
    struct slot *next;
    for (struct slot *slot = c->slots; slot; slot = next) {
        next = slot->next;
        if (slot->done || (slot->is_gate && !slot->queued)) {
            reply_slot_free(slot);
            continue;
        }
        slot->client = NULL;
        slot->next = NULL;
        buf_release(&slot->after);
        atomic_store(&slot->pending.cancelled, true);
        if (slot->pending.on_cancel)
            slot->pending.on_cancel(&slot->pending);
    }
    c->gate = NULL;
    c->slots = c->last_slot = NULL;
    c->slots_tail = &c->slots;
    c->slots_n = 0;
}

void reply_push(struct cmd_client *c, const char *text, size_t len)
{
    buf_append(reply_target(c), text, len);
    if (!client_check_output(c))
        reply_send(c);
}
