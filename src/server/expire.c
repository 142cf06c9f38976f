#include "server/expire.h"

#include "base/clock.h"
#include "server/client.h"
#include "server/persistence.h"
#include "server/stats.h"

/* What the turn's commands have left of its time, within these. */
#define BUDGET_US_MIN 75
#define BUDGET_US_MAX 200

static void key_ended(void *arg, unsigned db, const char *key, size_t len)
{
    struct server *s = arg;
    s->stats->expired_keys++;
    s->host.key_changed(&s->host, db, key, len);
    cmd_event(&s->host, EVENT_EXPIRED, db, "expired", key, len);
}

static void elements_ended(void *arg, unsigned db, const char *key, size_t len, size_t n, bool emptied)
{
    struct server *s = arg;
    s->stats->expired_elements += n;
    s->host.key_changed(&s->host, db, key, len);
    cmd_event(&s->host, EVENT_VECTOR, db, "vexpired", key, len);
    if (emptied)
        cmd_event(&s->host, EVENT_GENERIC, db, "del", key, len);
}

void expire_clock(struct server *s)
{
    vs_set_clock(s->store, s->now_ms);
}

void expire_open(struct server *s)
{
    struct vs_expiry_hooks hooks = {.key = key_ended, .elements = elements_ended, .arg = s};
    vs_set_expiry_hooks(s->store, &hooks);
    expire_clock(s);
}

static bool allowed(const struct server *s)
{
    return server_decides(s) && !s->loading && s->journal &&
           s->clients->pause_until_ms <= s->now_ms && !journal_failed(s->journal) &&
           !journal_full(s->journal);
}

bool expire_turn(struct server *s)
{
    if (!allowed(s) || vs_next_deadline(s->store) > s->now_ms)
        return false;
    uint64_t now = clock_mono_ns(), left_us = s->turn_end_ns > now ? (s->turn_end_ns - now) / 1000 : 0;
    unsigned budget = left_us < BUDGET_US_MIN ? BUDGET_US_MIN : left_us > BUDGET_US_MAX ? BUDGET_US_MAX : (unsigned)left_us;
    journal_group_begin(s->journal);
    bool more = vs_expire(s->store, budget);
    journal_group_end(s->journal);
    s->stats->expire_slices_cut += more;
    return more;
}

int64_t expire_wait(const struct server *s)
{
    if (!allowed(s))
        return -1; /* the timer looks again */
    uint64_t next = vs_next_deadline(s->store);
    if (next == UINT64_MAX)
        return -1;
    if (next <= s->now_ms)
        return 0;
    uint64_t ms = next - s->now_ms;
    return ms > 1000 ? 1000000 : (int64_t)ms * 1000;
}
