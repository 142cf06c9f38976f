/* INFO: the process, its clients and its memory. */
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"
#include "server/client.h"
#include "server/info.h"
#include "server/memory_limit.h"
#include "server/pubsub.h"
#include "server/replication.h"
#include "server/stats.h"

typedef unsigned long long ull;

void info_server(struct server *s, struct buf *out)
{
    struct utsname u = {0};
    uname(&u);
    ull up_s = (s->now_ms - s->started_ms) / 1000;
    buf_printf(out,
               "redis_version:%s\r\nvecstore_version:%s\r\nredis_git_sha1:%s\r\nredis_git_dirty:%"
               "d\r\nredis_mode:standalone\r\n"
               "os:%s %s %s\r\narch_bits:%zu\r\nmonotonic_clock:POSIX "
               "clock_gettime\r\nmultiplexing_api:%s\r\ngcc_version:%d.%d.%d\r\n",
               REDIS_VERSION, version_text(), version_commit(),
               strstr(version_commit(), "-dirty") != NULL, u.sysname, u.release, u.machine,
               sizeof(void *) * 8, net_backend(s->net), __GNUC__, __GNUC_MINOR__,
               __GNUC_PATCHLEVEL__);
    buf_printf(out,
               "process_id:%d\r\nprocess_supervised:%s\r\nrun_id:%s\r\ntcp_port:%lld\r\nserver_"
               "time_usec:%llu\r\n"
               "uptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\nhz:10\r\nconfigured_hz:"
               "10\r\nexecutable:%s\r\nconfig_file:%s\r\n"
               "io_threads_active:%d\r\nsearch_threads:%u\r\n",
               (int)getpid(), s->supervised ? "systemd" : "no", s->run_id, s->config->port,
               (ull)s->now_ms * 1000, up_s, up_s / 86400, s->program,
               config_file(s->config) ? config_file(s->config) : "", s->config->io_threads > 1,
               s->workers);
}

void info_clients(struct server *s, struct buf *out)
{
    size_t blocked = 0;
    struct cmd_client *c;
    TAILQ_FOREACH(c, &s->clients->waiting, wait_link)
    blocked += c->wait == CLIENT_WAITS_BACKLOG;
    struct net_stats net;
    net_stats_read(s->net, &net);
    buf_printf(out,
               "connected_clients:%zu\r\ncluster_connections:0\r\nmaxclients:%lld\r\nclient_recent_"
               "max_input_buffer:%llu\r\n"
               "client_recent_max_output_buffer:%llu\r\nblocked_clients:%zu\r\ntracking_clients:"
               "0\r\npubsub_clients:%zu\r\npending_replies:%zu\r\n",
               s->clients->n, s->config->maxclients, (ull)s->stats->client_input_max,
               (ull)s->stats->client_output_max, blocked, pubsub_clients(s->pubsub), s->pending);
}

static void human_line(struct buf *out, const char *name, size_t bytes)
{
    char human[32];
    info_human(bytes, human);
    buf_printf(out, "%s:%zu\r\n%s_human:%s\r\n", name, bytes, name, human);
}

void info_memory(struct server *s, struct buf *out)
{
    size_t apart = memory_limit_apart(s); /* before: what is given back meanwhile is not in use either */
    struct mem_stats m;
    mem_stats_read(&m);
    struct net_stats net;
    net_stats_read(s->net, &net);
    human_line(out, "used_memory", m.used);
    human_line(out, "used_memory_rss", m.rss);
    human_line(out, "used_memory_peak", m.peak);
    buf_printf(out, "used_memory_peak_perc:%.2f%%\r\n",
               m.peak ? 100.0 * (double)m.used / (double)m.peak : 100.0);
    const struct census_sums *sums = &s->census.done;
    buf_printf(out,
               "used_memory_overhead:%zu\r\nused_memory_startup:%zu\r\nused_memory_dataset:%zu\r\n",
               m.used > sums->memory.total ? m.used - sums->memory.total : 0, s->startup_memory,
               sums->memory.total);
    buf_printf(out, "used_memory_dataset_perc:%.2f%%\r\n",
               m.used ? 100.0 * (double)sums->memory.total / (double)m.used : 0.0);
    buf_printf(out,
               "allocator_allocated:%zu\r\nallocator_active:%zu\r\nallocator_resident:%zu\r\nused_"
               "memory_pages:%zu\r\n",
               m.heap, m.active, m.resident, m.pages);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    human_line(out, "total_system_memory",
               pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0);
    human_line(out, "maxmemory", (size_t)s->config->maxmemory);
    buf_printf(out, "maxmemory_policy:%s\r\nmem_not_counted_for_evict:%zu\r\n",
               memory_limit_policy(s->config->maxmemory_policy), apart);
    buf_printf(out, "mem_fragmentation_ratio:%.2f\r\nmem_fragmentation_bytes:%lld\r\n",
               m.used ? (double)m.rss / (double)m.used : 0.0, (long long)m.rss - (long long)m.used);
    buf_printf(out, "mem_clients_normal:%zu\r\nmem_allocator:%s\r\n",
               net.input_bytes + net.output_bytes + s->clients->n * sizeof(struct cmd_client),
               mem_allocator_name());
}

void info_replication(struct server *s, struct buf *out)
{
    if (s->repl) {
        s->repl_hooks->info(s, out);
        return;
    }
    buf_printf(out,
               "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_"
               "replid:%s\r\n"
               "master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:"
               "0\r\nsecond_repl_offset:-1\r\n"
               "repl_backlog_active:0\r\n",
               s->replication_id);
}

static double seconds(const struct timeval *tv)
{
    return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

void info_cpu(struct server *s, struct buf *out)
{
    (void)s;
    struct rusage self, children, thread;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    getrusage(RUSAGE_THREAD, &thread);
    buf_printf(out,
               "used_cpu_sys:%.6f\r\nused_cpu_user:%.6f\r\nused_cpu_sys_children:%.6f\r\nused_cpu_"
               "user_children:%.6f\r\n"
               "used_cpu_sys_main_thread:%.6f\r\nused_cpu_user_main_thread:%.6f\r\n",
               seconds(&self.ru_stime), seconds(&self.ru_utime), seconds(&children.ru_stime),
               seconds(&children.ru_utime), seconds(&thread.ru_stime), seconds(&thread.ru_utime));
}

void info_cluster(struct server *s, struct buf *out)
{
    (void)s;
    buf_puts(out, "cluster_enabled:0\r\n");
}
