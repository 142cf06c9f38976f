/* The server's life: parts are made, the network is opened, the loop turns, everything ends in
 * reverse. */
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/vfs_fault.h"
#include "server/expire.h"
#include "server/gate.h"
#include "server/latency.h"
#include "server/memory_limit.h"
#include "server/multi.h"
#include "server/notify.h"
#include "server/persistence.h"
#include "server/pubsub.h"
#include "server/replication.h"
#include "server/settings.h"
#include "server/slowlog.h"
#include "server/stats.h"

#define TICK_MS         100
#define CENSUS_NS       50000 /* of a tick, for counting what the indexes hold */
#define FLUSH_AT_END_MS 1000  /* for replies under way when the server ends */

static void random_hex(char out[41])
{
    unsigned char bytes[20];
    rng_system(bytes, sizeof(bytes));
    for (int i = 0; i < 20; i++)
        snprintf(out + i * 2, 3, "%02x", bytes[i]);
}

static void key_changed(struct cmd_host *host, unsigned db, const char *key, size_t len)
{
    struct server *s = host->server;
    s->dirty++;
    if (watches_count(s->watches))
        watches_touch(s->watches, db, key, len);
}

static bool autocreate(struct cmd_host *host)
{
    return ((struct server *)host->server)->config->index_autocreate;
}

struct server *server_new(struct config *config, struct cmd_table *commands)
{
    struct server *s = mem_zalloc(sizeof(*s));
    s->config = config;
    s->commands = commands;
    s->host = (struct cmd_host){.defer = reply_defer,
                                .at_once = lone_at_once,
                                .finish = reply_finish,
                                .key_changed = key_changed,
                                .autocreate = autocreate,
                                .event = notify_event,
                                .server = s};
    s->clients = clients_new();
    s->stats = stats_new(cmd_rows(commands));
    s->slowlog = slowlog_new();
    s->latency = latency_new();
    s->pubsub = pubsub_new();
    s->watches = watches_new();
    s->program = "";
    s->gates.tail = &s->gates.first;
    s->started_ms = s->now_ms = clock_wall_ms();
    s->now_ns = clock_mono_ns();
    random_hex(s->run_id);
    random_hex(s->replication_id);
    return s;
}

static void tick(void *arg)
{
    struct server *s = arg;
    struct net_stats net;
    struct mem_stats memory;
    s->now_ms = clock_wall_ms();
    clients_cron(s);
    clients_resume(s, CLIENT_WAITS_BACKLOG); /* should no worker have anything to say */
    persistence_tick(s);
    if (s->repl_hooks)
        s->repl_hooks->tick(s);
    census_run(&s->census, s->store, clock_mono_ns() + CENSUS_NS);
    if (++s->ticks % 10 == 0)
        mem_stats_read(&memory); /* notes the peak */
    net_stats_read(s->net, &net);
    uint64_t now[STAT_RATES] = {s->stats->processed, net.bytes_in, net.bytes_out};
    stats_sample(s->stats, s->now_ms, now);
}

static void on_signal(void *arg, int signum)
{
    struct server *s = arg;
    const char *name = signum == SIGINT ? "SIGINT" : "SIGTERM";
    /* A second one means that somebody is in a hurry. */
    if (s->shutdown != SHUTDOWN_NO) {
        log_warning("Received %s again, exiting now", name);
        s->shutdown = SHUTDOWN_NOW;
        return;
    }
    log_warning("Received %s, shutting down...", name);
    shutdown_begin(s, shutdown_words(signum == SIGINT ? &s->config->shutdown_on_sigint
                                                      : &s->config->shutdown_on_sigterm));
}

/* Called by workers. */
static void wake(void *arg)
{
    struct server *s = arg;
    atomic_store_explicit(&s->engine_woke, true, memory_order_release);
    net_wake(s->net);
}

struct vs_options server_store_options(struct server *s)
{
    const struct config *c = s->config;
    return (struct vs_options){.threads = s->workers,
                               .databases = (unsigned)c->databases,
                               .link_backlog_max = (size_t)c->link_backlog_max,
                               .open_max = (size_t)c->max_open_partitions,
                               .wake = wake,
                               .wake_arg = s};
}

bool server_open_store(struct server *s, struct buf *error)
{
    struct vs_options engine = server_store_options(s);
    if (vs_open(&engine, &s->store) == VS_OK) {
        expire_open(s);
        memory_limit_apply(s);
        return true;
    }
    config_error(error, "cannot start the engine with %u threads", s->workers);
    return false;
}

bool server_open(struct server *s, struct buf *error)
{
    const struct config *c = s->config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    s->workers =
        c->search_threads ? (unsigned)c->search_threads : (unsigned)(cores > 0 ? cores : 1);
    struct net_options net = {
        .io_threads = (unsigned)c->io_threads, .open = client_open, .gone = client_gone, .arg = s};
    s->net = net_new(&net);
    if (!s->net) {
        config_error(error, "cannot start the event loop");
        return false;
    }
    if (!server_open_store(s, error))
        return false;
    if (!net_every(s->net, TICK_MS, tick, s) || !net_on_signal(s->net, SIGTERM, on_signal, s) ||
        !net_on_signal(s->net, SIGINT, on_signal, s)) {
        config_error(error, "cannot register timers and signals");
        return false;
    }
    if (!persistence_open(s, error))
        return false;
    struct mem_stats memory;
    mem_stats_read(&memory);
    s->startup_memory = memory.used;
    settings_listen(s);
    if (s->repl_hooks)
        s->repl_hooks->open(s);
    if (!notify_apply(s)) {
        config_error(error, "notify-keyspace-events: invalid event class character. Use "
                            "'Ag$lshzxeKEtmdn'.");
        return false;
    }
    return settings_open_listeners(s, error);
}

void server_run(struct server *s)
{
    s->cpu_ns = clock_thread_cpu_ns();
    while (s->shutdown == SHUTDOWN_NO || s->shutdown == SHUTDOWN_SAVING)
        server_turn(s);
}

/* Replies that are ready leave; work that clients wait for is cancelled. */
static void finish(struct server *s)
{
    struct clients *cs = s->clients;
    uint64_t end = clock_mono_ns() + (uint64_t)FLUSH_AT_END_MS * 1000000;
    for (size_t i = 0; i < cs->n; i++)
        client_close_after(cs->at[i]);
    while (cs->n > 0 && s->shutdown != SHUTDOWN_NOW && clock_mono_ns() < end) {
        net_run_posts(s->net, UINT64_MAX);
        vs_poll(s->store, 1000);
        net_flush(s->net, UINT64_MAX);
        net_poll(s->net, 10000);
    }
}

bool server_free(struct server *s)
{
    if (!s)
        return true;
    if (s->net) {
        net_unlisten(s->net);
        if (s->repl)
            s->repl_hooks->close(s);
        persistence_close(s);
        if (s->shutdown_reply) {
            reply_mute(s->shutdown_reply);
            reply_finish(s->shutdown_reply);
        }
        if (s->reload_reply) {
            reply_mute(s->reload_reply);
            reply_finish(s->reload_reply);
        }
        if (s->store)
            finish(s);
        for (size_t i = 0; i < s->clients->n; i++) {
            reply_cancel_all(s->clients->at[i]);
            exec_abandon(s->clients->at[i]);
        }
        gates_drop(s);
        /* The engine is closed when no search is left; workers still end those that were
         * cancelled. */
        while (s->pending > 0) {
            net_run_posts(s->net, UINT64_MAX);
            if (s->store)
                vs_poll(s->store, 1000);
            if (s->pending > 0)
                net_poll(s->net, 10000);
        }
    }
    if (s->store)
        vs_close(s->store);
    vfs_fault_free(s->faults);
    net_free(s->net);
    clients_free(s->clients);
    stats_free(s->stats);
    slowlog_free(s->slowlog);
    latency_free(s->latency);
    pubsub_free(s->pubsub);
    watches_free(s->watches);
    mem_free(s->pidfile);
    bool ok = !s->failed;
    mem_free(s);
    return ok;
}
