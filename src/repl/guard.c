/* The fence (fence.h) in the server: it gets the loop's time and the hellos that are published, and while it is
 * closed writes and PING are refused, those under way are ended, keys do not expire, and replies to writes that wait for
 * the journal go on waiting. After a stall, and when the node has become a replica, they are dropped with their connections: a client then
 * knows that it does not know. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "repl/fence.h"
#include "repl/repl_int.h"
#include "server/client.h"

static uint64_t now_ms(void)
{
    return clock_boot_ns() / 1000000;
}

void guard_close(struct repl *r)
{
    fence_free(r->fence);
    r->fence = NULL;
    r->s->fenced = false;
}

/* Does a reply to a write wait for the journal? */
static bool waits_for_journal(const struct cmd_client *c)
{
    for (const struct slot *slot = c->slots; slot; slot = slot->next)
        if (slot->queued)
            return true;
    return false;
}

/* Could it be told that something is written? `all`: by whatever stands in its output. */
static bool has_replies(const struct cmd_client *c, bool all)
{
    return !c->closing && !c->replica && c->write_lsn &&
           (waits_for_journal(c) || (all && (net_conn_unsent(c->conn) > 0 || c->slots_n > 0)));
}

static void drop_replies(struct repl *r, bool all)
{
    const struct clients *cs = r->s->clients;
    size_t n = 0;
    for (uint64_t next = 0;;) {
        size_t at = client_position(cs, next);
        if (at == cs->n)
            break;
        struct cmd_client *c = cs->at[at];
        next = c->id + 1;
        if (has_replies(c, all)) {
            client_close(c);
            n++;
        }
    }
    if (n)
        log_warning("%zu clients are disconnected: what they would have been told may not be true any more", n);
}

/* A write that has begun, and waits, is not looked at again before it goes on. */
static void take_state(struct repl *r)
{
    bool was_open = !r->s->fenced;
    r->s->fenced = fence_state(r->fence) != FENCE_OPEN;
    repl_look_at_refusals(r);
    if (was_open && r->s->fenced)
        exec_end_writes(r->s, "UNBLOCKED force unblock from blocking operation, this primary is fenced");
}

static bool on_setting(void *arg, const char *name, const char **why)
{
    struct repl *r = arg;
    (void)name;
    (void)why;
    fence_set_options(r->fence, &(struct fence_options){.quorum = (unsigned)r->c->fence_quorum,
                                                        .stall_ms = (uint64_t)r->c->fence_stall_ms,
                                                        .hello_ms = (uint64_t)r->c->fence_hello_ms});
    take_state(r);
    return true;
}

void guard_open(struct repl *r)
{
    static const char *const settings[] = {"fence-quorum", "fence-stall-ms", "fence-hello-ms"};
    r->fence = fence_new();
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
        config_on_change(r->c, settings[i], on_setting, r);
    on_setting(r, NULL, NULL);
}

void guard_turn(struct repl *r)
{
    if (!fence_is_watching(r->fence) || !fence_turn(r->fence, now_ms()))
        return;
    take_state(r);
    if (fence_state(r->fence) == FENCE_STALLED)
        drop_replies(r, true);
}

void guard_role_changed(struct repl *r)
{
    /* They wait for the fence, too, and it opens for another reason now. */
    if (r->replica && r->s->fenced)
        drop_replies(r, false);
    if (r->replica)
        fence_follow(r->fence);
    else
        fence_lead(r->fence, now_ms());
    take_state(r);
}

const char *guard_error(const struct repl *r)
{
    return fence_error(r->fence);
}

/* The address at which it was said, and the one that we say we have. */
static void own_addresses(const struct repl *r, const struct cmd_client *c, char out[2][320])
{
    const char *local = net_conn_local(c->conn), *colon = strrchr(local, ':');
    const char *ip = r->c->replica_announce_ip;
    long long port = r->c->replica_announce_port;
    bool six = strchr(ip, ':') != NULL;
    snprintf(out[0], 320, "%s", local);
    if (!*ip && !port)
        return;
    if (!port)
        port = r->c->port;
    if (*ip)
        snprintf(out[1], 320, "%s%s%s:%lld", six ? "[" : "", ip, six ? "]" : "", port);
    else
        snprintf(out[1], 320, "%.*s:%lld", (int)(colon ? colon - local : 0), local, port);
}

void guard_hello(struct server *s, struct cmd_client *c, const char *message, size_t len)
{
    struct repl *r = s->repl;
    char own[2][320] = {"", ""};
    own_addresses(r, c, own);
    const char *const self[] = {own[0], *own[1] ? own[1] : NULL};
    if (fence_hello(r->fence, message, len, self, 2, now_ms()))
        take_state(r);
}
