/* MEMORY. */

#include "base/mem.h"
#include "base/pool.h"
#include "server/census.h"
#include "server/client.h"
#include "server/commands.h"

enum cmd_result memory_usage_command(struct cmd_call *call)
{
    long long samples;
    if (call->argc != 3 && (call->argc != 5 || !resp_is(&call->argv[3], "samples") ||
                            !resp_to_int(&call->argv[4], &samples) || samples < 0)) {
        resp_error(call->reply, "ERR syntax error");
        return CMD_DONE;
    }
    struct vs_index *index = vs_find(call->store, call->db, call->argv[2].data, call->argv[2].len);
    if (!index) {
        resp_null(call->reply);
        return CMD_DONE;
    }
    struct vs_memory m;
    vs_index_memory(index, &m);
    resp_int(call->reply, (long long)m.total);
    return CMD_DONE;
}

static void number(struct resp_writer *w, const char *name, size_t value)
{
    resp_bulk_text(w, name);
    resp_int(w, (long long)value);
}

static void ratio(struct resp_writer *w, const char *name, double value)
{
    resp_bulk_text(w, name);
    resp_double(w, value);
}

enum cmd_result memory_stats_command(struct cmd_call *call)
{
    struct server *s = server_of(call);
    struct resp_writer *w = call->reply;
    struct mem_stats m;
    struct net_stats net;
    mem_stats_read(&m);
    net_stats_read(s->net, &net);
    const struct census_sums *sums = &s->census.done;
    size_t clients = net.input_bytes + net.output_bytes + s->clients->n * sizeof(struct cmd_client),
           keys = 0;
    for (unsigned db = 0; db < vs_databases(s->store); db++)
        keys += vs_count(s->store, db);
    size_t overhead = m.used > sums->memory.total ? m.used - sums->memory.total : 0;
    resp_map(w, 24);
    number(w, "peak.allocated", m.peak);
    number(w, "total.allocated", m.used);
    number(w, "startup.allocated", s->startup_memory);
    number(w, "clients.normal", clients);
    number(w, "overhead.total", overhead);
    number(w, "keys.count", keys);
    number(w, "keys.bytes-per-key", keys ? sums->memory.total / keys : 0);
    number(w, "dataset.bytes", sums->memory.total);
    ratio(w, "dataset.percentage",
          m.used ? 100.0 * (double)sums->memory.total / (double)m.used : 0);
    ratio(w, "peak.percentage", m.peak ? 100.0 * (double)m.used / (double)m.peak : 100);
    number(w, "allocator.allocated", m.heap);
    number(w, "allocator.active", m.active);
    number(w, "allocator.resident", m.resident);
    number(w, "pages.allocated", m.pages);
    number(w, "vectors.codes", sums->memory.codes);
    number(w, "vectors.originals", sums->memory.originals);
    number(w, "vectors.links", sums->memory.links);
    number(w, "vectors.records", sums->memory.records);
    number(w, "vectors.ids", sums->memory.ids);
    number(w, "vectors.id-map", sums->memory.id_map);
    number(w, "vectors.attributes", sums->memory.attributes);
    number(w, "vectors.other", sums->memory.other);
    ratio(w, "fragmentation", m.used ? (double)m.rss / (double)m.used : 0);
    number(w, "fragmentation.bytes", m.rss > m.used ? m.rss - m.used : 0);
    return CMD_DONE;
}

enum cmd_result memory_doctor_command(struct cmd_call *call)
{
    struct mem_stats m;
    struct buf out = {0};
    struct net_stats net;
    mem_stats_read(&m);
    net_stats_read(server_of(call)->net, &net);
    if (m.used < (size_t)5 << 20)
        buf_puts(&out, "The server holds so little that there is nothing to be said.\n");
    else {
        if (m.peak > m.used + m.used / 2)
            buf_puts(&out, " * Peak: the server held much more than it does now; pages that the "
                           "allocator keeps may go back with MEMORY PURGE.\n");
        if (m.rss > m.used + m.used * 2 / 5 && m.rss > m.used + ((size_t)16 << 20))
            buf_puts(&out,
                     " * Fragmentation: the resident set is over 1.4 times what is in use.\n");
        if (net.input_bytes + net.output_bytes > m.used / 4)
            buf_puts(&out, " * Clients: their buffers hold a quarter of the memory. CLIENT LIST "
                           "shows whose (tot-mem).\n");
        if (out.len == 0)
            buf_puts(&out, "No problem was found.\n");
    }
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}

enum cmd_result memory_malloc_stats_command(struct cmd_call *call)
{
    struct mem_stats m;
    struct buf out = {0};
    mem_stats_read(&m);
    buf_printf(&out,
               "allocator: %s\nin use: %zu bytes, of it %zu on the heap and %zu in page "
               "runs\npeak: %zu\nactive pages: %zu\n"
               "resident: %zu\nretained address space: %zu\nresident set of the process: %zu\n",
               mem_allocator_name(), m.used, m.heap, m.pages, m.peak, m.active, m.resident,
               m.retained, m.rss);
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}

static void purge(struct pool_task *task, unsigned worker)
{
    (void)worker;
    mem_purge();
    mem_free(task);
}

/* Purging walks all arenas: a worker does it. */
enum cmd_result memory_purge_command(struct cmd_call *call)
{
    struct pool_task *task = mem_zalloc(sizeof(*task));
    task->run = purge;
    pool_submit(vs_pool(call->store), POOL_LINK, task);
    resp_status(call->reply, "OK");
    return CMD_DONE;
}
