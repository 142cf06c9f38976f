/* INFO replication: every line that Sentinel and tools read, in the order and the words of Redis. */
#include <inttypes.h>

#include "persist/journal.h"
#include "repl/fence.h"
#include "repl/repl_int.h"

typedef unsigned long long ull;

static void primary_of_ours(struct repl *r, struct buf *out)
{
    const struct link *l = r->link;
    bool up = apply_link_is_up(r), sync = l && link_state(l) == LINK_SYNC;
    buf_printf(out,
               "master_host:%s\r\nmaster_port:%u\r\nmaster_link_status:%s\r\n"
               "master_last_io_seconds_ago:%lld\r\nmaster_sync_in_progress:%d\r\n"
               "slave_read_repl_offset:%llu\r\nslave_repl_offset:%llu\r\n",
               r->host, r->port, up ? "up" : "down",
               up ? (long long)(link_silence_ms(l) / 1000) : -1LL, sync, (ull)r->at.offset,
               (ull)r->at.offset);
    if (sync)
        buf_printf(out,
                   "master_sync_total_bytes:0\r\nmaster_sync_read_bytes:%llu\r\nmaster_sync_left_bytes:0\r\n"
                   "master_sync_perc:0.00\r\nmaster_sync_last_io_seconds_ago:%llu\r\n",
                   (ull)link_received(l), (ull)(link_silence_ms(l) / 1000));
    if (!up)
        buf_printf(out, "master_link_down_since_seconds:%llu\r\n",
                   (ull)(r->s->now_ms - r->down_since_ms) / 1000);
    buf_printf(out, "slave_priority:%lld\r\nslave_read_only:%d\r\nreplica_announced:%d\r\n",
               r->doubtful ? 0LL : r->c->replica_priority, r->c->replica_read_only, r->c->replica_announced);
}

static void replicas_of_ours(struct repl *r, struct buf *out)
{
    const struct replica *p;
    unsigned n = 0;
    buf_printf(out, "connected_slaves:%zu\r\n", r->nreplicas);
    if (r->c->min_replicas_to_write)
        buf_printf(out, "min_slaves_good_slaves:%zu\r\n", repl_good(r));
    TAILQ_FOREACH(p, &r->replicas, link) {
        char ip[256];
        unsigned port;
        if (p->state == REPLICA_HANDSHAKE)
            continue;
        replica_address(p, ip, &port);
        ull lag = r->s->now_ms > p->ack_ms ? (r->s->now_ms - p->ack_ms) / 1000 : 0;
        buf_printf(out, "slave%u:ip=%s,port=%u,state=%s,offset=%llu,lag=%llu\r\n", n++, ip, port,
                   replica_state_text(p), (ull)p->acked, p->state == REPLICA_ONLINE ? lag : 0);
    }
}

void repl_info(struct server *s, struct buf *out)
{
    struct repl *r = s->repl;
    buf_printf(out, "role:%s\r\n", r->replica ? "slave" : "master");
    if (r->replica)
        primary_of_ours(r, out);
    replicas_of_ours(r, out);
    buf_printf(out,
               "master_failover_state:%s\r\nmaster_replid:%s\r\nmaster_replid2:%s\r\n"
               "master_repl_offset:%llu\r\nsecond_repl_offset:%lld\r\n",
               failover_text(r), r->replid, r->replid2, (ull)r->at.offset,
               r->second == REPL_NO_OFFSET ? -1LL : (long long)r->second + 1);
    buf_printf(out,
               "repl_backlog_active:%d\r\nrepl_backlog_size:%lld\r\nrepl_backlog_first_byte_offset:%llu\r\n"
               "repl_backlog_histlen:%llu\r\n",
               r->active, r->c->repl_backlog_size,
               r->active ? (ull)r->backlog.first + 1 : 0, (ull)(r->backlog.end - r->backlog.first));
    if (!r->replica)
        fence_info(r->fence, out);
    buf_printf(out, "discarded_records:%llu\r\ndiscarded_bytes:%llu\r\n", (ull)r->discarded,
               (ull)r->discarded_bytes);
    buf_printf(out,
               "digests_compared:%llu\r\ndigests_different:%llu\r\n"
               "digests_acknowledged:%llu\r\ndigests_acknowledged_different:%llu\r\n",
               (ull)r->digests.compared, (ull)r->digests.different, (ull)r->digests.acked,
               (ull)r->digests.acked_different);
    buf_printf(out,
               "partitions_mended:%llu\r\npartitions_mended_bytes:%llu\r\npartitions_mend_failed:%llu\r\n"
               "partitions_sent:%llu\r\npartitions_sent_bytes:%llu\r\n",
               (ull)r->mends.done, (ull)r->mends.bytes, (ull)r->mends.failed, (ull)r->parts_sent,
               (ull)r->parts_bytes);
    buf_printf(out, "history_on_disk:%d\r\n", r->s->journal && journal_known(r->s->journal).known);
    buf_printf(out,
               "repl_backlog_memory:%zu\r\nsync_full:%llu\r\nsync_partial_ok:%llu\r\n"
               "sync_partial_err:%llu\r\nsync_bytes_last:%llu\r\n",
               r->backlog.memory, (ull)r->full_syncs, (ull)r->partial_syncs, (ull)r->partial_refused,
               (ull)r->sync_bytes);
}
