#include "server/memory_limit.h"

#include "base/clock.h"
#include "server/persistence.h"

#define SLICE_NS   150000
#define HOLD_SHARE 32 /* of the limit, what the journal may hold unsynced before it syncs earlier, .. */
#define HOLD_MIN   ((size_t)256 << 10) /* .. and at least */
#define FULL_SHARE 8                   /* the same, before writers wait; that has its place below the limit, too */
#define FULL_MIN   ((size_t)1 << 20)

const char *memory_limit_policy(int policy)
{
    static const char *const names[] = {"noeviction",   "allkeys-lru",     "allkeys-lfu",
                                        "allkeys-random", "volatile-lru", "volatile-lfu",
                                        "volatile-random", "volatile-ttl"};
    return names[policy];
}

static void on_evicted(void *arg, enum vs_evicted what, unsigned db, const char *key, size_t len)
{
    struct server *s = arg;
    s->host.key_changed(&s->host, db, key, len);
    switch (what) {
    case VS_EVICTED_KEY: cmd_event(&s->host, EVENT_EVICTED, db, "evicted", key, len); break;
    case VS_EVICTED_ELEMENT: cmd_event(&s->host, EVENT_EVICTED, db, "vevicted", key, len); break;
    case VS_EVICTED_LAST: cmd_event(&s->host, EVENT_GENERIC, db, "del", key, len); break;
    }
}

static size_t share(size_t max, size_t part, size_t least)
{
    return !max ? SIZE_MAX : max / part < least ? least : max / part;
}

/* A small limit leaves the journal little to hold. */
void memory_limit_journal(const struct server *s)
{
    size_t max = (size_t)s->config->maxmemory;
    if (s->journal)
        journal_set_hold(s->journal, share(max, HOLD_SHARE, HOLD_MIN), share(max, FULL_SHARE, FULL_MIN));
}

void memory_limit_apply(struct server *s)
{
    const struct config *c = s->config;
    struct vs_memory_limit limit = {.max = (size_t)c->maxmemory,
                                    .policy = (enum vs_evict)c->maxmemory_policy,
                                    .samples = (unsigned)c->maxmemory_samples,
                                    .lfu_log_factor = (unsigned)c->lfu_log_factor,
                                    .lfu_decay_minutes = (unsigned)c->lfu_decay_time,
                                    .evicted = on_evicted,
                                    .arg = s};
    vs_set_memory_limit(s->store, &limit);
    s->memory_state = VS_MEMORY_OK; /* who waits asks again */
    memory_limit_journal(s);
}

size_t memory_limit_apart(const struct server *s)
{
    struct net_stats net;
    struct journal_status j = {0};
    net_stats_read(s->net, &net);
    if (s->journal)
        journal_read_status(s->journal, &j);
    /* An io-thread may have changed one of the two and not yet the other. */
    size_t input = net.input_bytes > net.input_mapped ? net.input_bytes - net.input_mapped : 0;
    return input + net.output_bytes + j.held + vs_cut_aside(s->store);
}

static enum vs_memory_state check(struct server *s)
{
    if (s->loading || !server_decides(s)) /* a replica is told what goes */
        return s->memory_state = VS_MEMORY_OK;
    if (s->journal)
        journal_group_begin(s->journal);
    s->memory_state = vs_memory_check(s->store, s->memory_apart, clock_mono_ns() + SLICE_NS);
    if (s->journal)
        journal_group_end(s->journal);
    return s->memory_state;
}

enum vs_memory_state memory_limit_check(struct server *s)
{
    return s->config->maxmemory ? check(s) : VS_MEMORY_OK;
}

bool memory_limit_turn(struct server *s)
{
    if (!s->config->maxmemory)
        return false;
    s->memory_apart = memory_limit_apart(s);
    if (!vs_memory_wanted(s->store) && s->memory_state == VS_MEMORY_OK)
        return false;
    struct vs_memory_status before, after;
    vs_memory_status(s->store, &before);
    check(s);
    vs_memory_status(s->store, &after);
    bool went = after.evicted_keys != before.evicted_keys ||
                after.evicted_elements != before.evicted_elements;
    s->poll_again |= went;
    /* Whoever waits, tries: what it waits for may have come from a worker. */
    return true;
}
