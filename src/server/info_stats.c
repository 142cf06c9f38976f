/* INFO: what was counted. */
#include "base/clock.h"
#include "base/pool.h"
#include "base/version.h"
#include "server/client.h"
#include "server/info.h"
#include "server/pubsub.h"
#include "server/stats.h"

#define CENSUS_NS 200000 /* INFO vecstore counts afresh when that takes no longer */

typedef unsigned long long ull;

void info_stats(struct server *s, struct buf *out)
{
    const struct stats *t = s->stats;
    struct net_stats net;
    struct vs_memory_status memory;
    net_stats_read(s->net, &net);
    vs_memory_status(s->store, &memory);
    buf_printf(out,
               "total_connections_received:%llu\r\ntotal_commands_processed:%llu\r\ninstantaneous_"
               "ops_per_sec:%llu\r\n"
               "total_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\ninstantaneous_input_"
               "kbps:%.2f\r\n"
               "instantaneous_output_kbps:%.2f\r\nrejected_connections:%llu\r\n",
               (ull)t->connections, (ull)t->processed, (ull)stats_rate(t, STAT_COMMANDS),
               (ull)net.bytes_in, (ull)net.bytes_out, (double)stats_rate(t, STAT_BYTES_IN) / 1024,
               (double)stats_rate(t, STAT_BYTES_OUT) / 1024, (ull)t->rejected_connections);
    buf_printf(
        out,
        "expired_keys:%llu\r\nexpired_elements:%llu\r\nexpired_stale_perc:0.00\r\nexpired_time_cap_reached_count:%llu\r\n"
        "evicted_keys:%llu\r\nevicted_elements:%llu\r\nevicted_clients:0\r\npubsub_channels:%zu\r\n"
        "pubsub_patterns:%zu\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n"
        "total_error_replies:%llu\r\n",
        (ull)t->expired_keys, (ull)t->expired_elements, (ull)t->expire_slices_cut, (ull)memory.evicted_keys,
        (ull)memory.evicted_elements, pubsub_topics(s->pubsub, PUBSUB_CHANNEL),
        pubsub_topics(s->pubsub, PUBSUB_PATTERN),
        (ull)t->error_replies);
    buf_printf(
        out,
        "total_reads_processed:%llu\r\ntotal_writes_processed:%llu\r\nio_threaded_reads_processed:%"
        "llu\r\n"
        "io_threaded_writes_processed:%llu\r\nclient_query_buffer_limit_disconnections:%llu\r\n"
        "client_output_buffer_limit_disconnections:%llu\r\n",
        (ull)net.reads, (ull)net.writes, (ull)net.io_reads, (ull)net.io_writes,
        (ull)t->query_limit_closes, (ull)t->output_limit_closes);
    buf_printf(out,
               "eventloop_cycles:%llu\r\neventloop_duration_sum:%llu\r\ninstantaneous_eventloop_"
               "duration_usec:%llu\r\n"
               "loop_turns:%llu\r\nloop_turns_over_1ms:%llu\r\nloop_turn_max_us:%llu\r\nloop_turn_"
               "max_command:%s\r\nloop_cpu_us:%llu\r\n"
               "loop_turn_max_parts:events=%u,posts=%u,work=%u,engine=%u,flush=%u\r\nloop_commands_"
               "per_turn_max:%llu\r\n",
               (ull)t->turns, (ull)(t->turn_cpu_ns / 1000),
               (ull)(t->turns ? t->turn_cpu_ns / t->turns / 1000 : 0), (ull)t->turns,
               (ull)t->turns_over_1ms, (ull)(t->turn_max_ns / 1000),
               t->slowest ? t->slowest->name : "", (ull)(t->turn_cpu_ns / 1000),
               t->phase_us[STAT_EVENTS], t->phase_us[STAT_POSTS], t->phase_us[STAT_WORK],
               t->phase_us[STAT_ENGINE], t->phase_us[STAT_FLUSH], (ull)t->commands_in_turn_max);
}

/* "cmdstat_client|kill": a dot or colon never stands in a name. */
static void row_name(struct server *s, size_t id, char *out, size_t size)
{
    const struct cmd_spec *parent, *spec = cmd_row(s->commands, id, &parent);
    cmd_full_name(s->commands, spec, out, size);
}

void info_commandstats(struct server *s, struct buf *out)
{
    char name[128];
    for (size_t i = 0; i < s->stats->commands_n; i++) {
        const struct stat_command *k = &s->stats->commands[i];
        if (!k->calls && !k->rejected)
            continue;
        row_name(s, i, name, sizeof(name));
        buf_printf(out,
                   "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_"
                   "calls=%llu\r\n",
                   name, (ull)k->calls, (ull)k->us,
                   k->calls ? (double)k->us / (double)k->calls : 0.0, (ull)k->rejected,
                   (ull)k->failed);
    }
}

void info_errorstats(struct server *s, struct buf *out)
{
    for (size_t i = 0; i < s->stats->errors_n; i++)
        buf_printf(out, "errorstat_%s:count=%llu\r\n", s->stats->errors[i].code,
                   (ull)s->stats->errors[i].count);
}

void info_latencystats(struct server *s, struct buf *out)
{
    char name[128];
    const struct config_percentiles *p = &s->config->latency_tracking_info_percentiles;
    for (size_t i = 0; i < s->stats->commands_n; i++) {
        const struct histogram *h = s->stats->commands[i].times;
        if (!h)
            continue;
        row_name(s, i, name, sizeof(name));
        buf_printf(out, "latency_percentiles_usec_%s:", name);
        for (size_t k = 0; k < p->n; k++)
            buf_printf(out, "%sp%g=%.3f", k ? "," : "", p->at[k],
                       histogram_percentile(h, p->at[k]));
        buf_puts(out, "\r\n");
    }
}

void info_keyspace(struct server *s, struct buf *out)
{
    for (unsigned db = 0; db < vs_databases(s->store); db++) {
        uint64_t average_ms;
        size_t expiring = vs_expiring(s->store, db, &average_ms);
        if (vs_count(s->store, db))
            buf_printf(out, "db%u:keys=%zu,expires=%zu,avg_ttl=%llu\r\n", db, vs_count(s->store, db), expiring,
                       (ull)average_ms);
    }
}

void info_vecstore(struct server *s, struct buf *out)
{
    s->census.under_way = false;
    census_run(&s->census, s->store, clock_mono_ns() + CENSUS_NS);
    const struct census_sums *c = &s->census.done;
    struct pool_stats pool;
    pool_stats_read(vs_pool(s->store), &pool);
    buf_printf(out,
               "vecstore_version_commit:%s\r\nindexes:%zu\r\npartitions:%zu\r\nelements:%"
               "zu\r\nvectors_linked:%zu\r\nvectors_unlinked:%zu\r\n"
               "vectors_dead:%zu\r\nlink_backlog:%zu\r\n",
               version_commit(), c->indexes, c->partitions, c->elements, c->linked, c->unlinked,
               c->dead, c->unlinked);
    size_t parked = 0;
    struct cmd_client *client;
    TAILQ_FOREACH(client, &s->clients->waiting, wait_link)
    parked += client->wait == CLIENT_WAITS_BACKLOG;
    buf_printf(out,
               "backlog_waiting_clients:%zu\r\nsearches:%llu\r\nsearches_on_loop:%llu\r\nsearches_pending:%zu\r\nworkers:%"
               "u\r\nworker_searches:%llu\r\nworker_search_us:%llu\r\n"
               "worker_links:%llu\r\nworker_link_us:%llu\r\nworker_waiting_searches:%zu\r\nworker_"
               "waiting_links:%zu\r\n",
               parked, (ull)s->stats->searches, (ull)s->stats->searches_on_loop, s->pending, s->workers,
               (ull)pool.tasks[POOL_SEARCH], (ull)(pool.busy_ns[POOL_SEARCH] / 1000),
               (ull)pool.tasks[POOL_LINK], (ull)(pool.busy_ns[POOL_LINK] / 1000),
               pool.waiting[POOL_SEARCH], pool.waiting[POOL_LINK]);
    buf_printf(
        out, "loop_turn_max_us:%llu\r\nloop_turn_max_ever_us:%llu\r\nloop_turns_over_1ms:%llu\r\n",
        (ull)(s->stats->turn_max_ns / 1000), (ull)(s->stats->turn_max_ever_ns / 1000),
        (ull)s->stats->turns_over_1ms);
    const struct vs_memory *m = &c->memory;
    buf_printf(out,
               "memory_codes:%zu\r\nmemory_originals:%zu\r\nmemory_links:%zu\r\nmemory_records:%"
               "zu\r\nmemory_ids:%zu\r\nmemory_id_map:%zu\r\n"
               "memory_attributes:%zu\r\nmemory_other:%zu\r\nmemory_total:%zu\r\n",
               m->codes, m->originals, m->links, m->records, m->ids, m->id_map, m->attributes,
               m->other, m->total);
}
