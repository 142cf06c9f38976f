/* A turn of the loop. Its parts share a budget (loop-budget-us) so that the whole stays under a
 * millisecond of CPU time:
 *
 *   poll      collect events, sleep when nothing is left to do
 *   posts     replies that workers have finished
 *   ready     clients in order of arrival, a few commands each, until the budget is used up
 *   engine    what has come to its end goes (expire.h); the turn's records go to the journal's thread; vs_poll: publish linked batches, free
 *             what no reader holds; replies leave that the journal has covered
 *   flush     one write a connection, a quarter of a budget at most
 *
 * Deadlines are taken from the monotonic clock, which needs no system call: a loop that was put
 * off the processor ends its turn early and begins another. What the turn really used is
 * measured by its thread's CPU clock. */
#include "base/clock.h"
#include "server/client.h"
#include "server/expire.h"
#include "server/latency.h"
#include "server/memory_limit.h"
#include "server/persistence.h"
#include "server/replication.h"
#include "server/stats.h"

#define ENGINE_BUDGET_US 150

static int64_t sleep_time(struct server *s, bool more)
{
    if (more || s->poll_again || net_ready_count(s->net) > 0 || (s->loading && !s->journal) ||
        s->shutdown > SHUTDOWN_SAVING || lone_awaited(s))
        return 0;
    uint64_t held = reply_release_held(s);
    int64_t wait = expire_wait(s), sleep = held ? (int64_t)(held / 1000) + 1 : -1;
    return wait < 0 || (sleep >= 0 && sleep < wait) ? sleep : wait;
}

static void work(struct server *s)
{
    struct net_conn *conn;
    size_t n = net_ready_count(s->net);
    while (n-- > 0 && (conn = net_take_ready(s->net))) {
        struct cmd_client *c = net_conn_user(conn);
        if (c)
            client_work(c);
        s->now_ns = clock_mono_ns();
        if (s->now_ns >= s->turn_end_ns)
            break;
    }
}

void server_turn(struct server *s)
{
    uint64_t budget = (uint64_t)s->config->loop_budget_us * 1000, at[STAT_PHASES + 1];
    int64_t sleep_us = sleep_time(s, s->more);
    at[STAT_EVENTS] = clock_mono_ns();
    net_poll(s->net, sleep_us);
    s->now_ns = at[STAT_POSTS] = clock_mono_ns();
    s->now_ms = clock_wall_ms();
    expire_clock(s);
    /* What collecting events took is taken off: with a thousand ready sockets it is most of a turn. */
    uint64_t events = clock_thread_cpu_ns() - s->cpu_ns;
    s->turn_end_ns = s->now_ns + budget - (events < budget * 3 / 4 ? events : budget * 3 / 4);

    bool more = net_run_posts(s->net, s->turn_end_ns);
    at[STAT_WORK] = clock_mono_ns();
    if (s->repl_hooks)
        s->repl_hooks->turn_begins(s);
    work(s);
    at[STAT_ENGINE] = clock_mono_ns();
    if (s->loading)
        persistence_load(s);
    more |= expire_turn(s);
    if (s->repl_hooks)
        more |= s->repl_hooks->turn(s);
    persistence_turn(s);
    /* A client that waits for the backlog tries again when the engine has moved, not in every
     * turn: the loop shall sleep meanwhile. */
    bool moved =
        s->poll_again | atomic_exchange_explicit(&s->engine_woke, false, memory_order_acquire);
    s->poll_again = vs_poll(s->store, ENGINE_BUDGET_US);
    moved |= memory_limit_turn(s);
    if (moved)
        clients_resume(s, CLIENT_WAITS_BACKLOG);
    clients_resume(s, CLIENT_WAITS_OUTPUT);
    at[STAT_FLUSH] = clock_mono_ns();
    more |= net_run_posts(s->net, at[STAT_FLUSH] + budget / 4);
    reply_release_held(s);
    if (s->repl)
        s->repl_hooks->turn_ends(s);
    more |= net_flush(s->net, clock_mono_ns() + budget / 4);
    more |= net_sweep(s->net);
    s->more = more;

    at[STAT_PHASES] = clock_mono_ns();
    uint64_t cpu = clock_thread_cpu_ns();
    uint64_t used = cpu - s->cpu_ns;
    s->cpu_ns = cpu;
    stats_turn(s->stats, used, at, s->last_command);
    long long threshold = s->config->latency_monitor_threshold;
    if (threshold > 0 && used / 1000000 >= (uint64_t)threshold)
        latency_add(s->latency, "loop-turn", s->now_ms / 1000, used / 1000000);
}
