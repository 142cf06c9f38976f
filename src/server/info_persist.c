/* INFO persistence: Redis' fields, and ours. */
#include "base/clock.h"
#include "persist/persist.h"
#include "server/info.h"

typedef unsigned long long ull;
typedef long long ll;

static void put_loading(struct server *s, const struct persist_status *p, struct buf *out)
{
    uint64_t now = s->now_ms / 1000;
    uint64_t passed = now > p->loading_start ? now - p->loading_start : 0;
    double part = p->loading_total ? (double)p->loading_loaded / (double)p->loading_total : 0;
    buf_printf(out,
               "loading_start_time:%llu\r\nloading_total_bytes:%llu\r\nloading_rdb_used_mem:0\r\n"
               "loading_loaded_bytes:%llu\r\nloading_loaded_perc:%.2f\r\nloading_eta_seconds:%"
               "llu\r\n",
               (ull)p->loading_start, (ull)p->loading_total, (ull)p->loading_loaded, part * 100,
               part > 0 ? (ull)((double)passed / part * (1 - part)) : 1ull);
}

static void put_snapshot(struct server *s, const struct persist_status *p, struct buf *out)
{
    buf_printf(out,
               "current_cow_peak:%zu\r\ncurrent_cow_size:%zu\r\ncurrent_cow_size_age:0\r\n"
               "current_fork_perc:0.00\r\ncurrent_save_keys_processed:%llu\r\n"
               "current_save_keys_total:%llu\r\n",
               p->cow_peak, p->cow_bytes, (ull)p->parts_done, (ull)p->parts_total);
    buf_printf(out,
               "rdb_changes_since_last_save:%llu\r\nrdb_bgsave_in_progress:%d\r\n"
               "rdb_last_save_time:%llu\r\nrdb_last_bgsave_status:%s\r\n"
               "rdb_last_bgsave_time_sec:%lld\r\nrdb_current_bgsave_time_sec:%lld\r\n"
               "rdb_saves:%llu\r\nrdb_last_cow_size:%zu\r\nrdb_last_load_keys_expired:0\r\n"
               "rdb_last_load_keys_loaded:%llu\r\n",
               (ull)(s->dirty - s->saving.dirty_saved), p->saving, (ull)s->saving.saved_s,
               s->saving.ok ? "ok" : "err", (ll)p->save_seconds, (ll)p->current_save_seconds,
               (ull)p->saves, p->last_cow, (ull)p->keys_loaded);
}

static void put_journal(struct server *s, const struct persist_status *p, struct buf *out)
{
    buf_printf(out,
               "aof_enabled:%d\r\naof_rewrite_in_progress:%d\r\naof_rewrite_scheduled:%d\r\n"
               "aof_last_rewrite_time_sec:%lld\r\naof_current_rewrite_time_sec:%lld\r\n"
               "aof_last_bgrewrite_status:%s\r\naof_rewrites:%llu\r\n"
               "aof_rewrites_consecutive_failures:%llu\r\naof_last_write_status:%s\r\n"
               "aof_last_cow_size:%zu\r\nmodule_fork_in_progress:0\r\n"
               "module_fork_last_cow_size:0\r\n",
               s->config->appendonly, p->rewriting,
               p->rewrite_scheduled || s->saving.rewrite_scheduled, (ll)p->rewrite_seconds,
               (ll)p->current_rewrite_seconds, p->rewrite_ok ? "ok" : "err", (ull)p->rewrites,
               (ull)p->rewrite_failures, p->journal.failed ? "err" : "ok", p->last_cow);
    if (s->config->appendonly)
        buf_printf(out,
                   "aof_current_size:%llu\r\naof_base_size:%llu\r\naof_pending_rewrite:%d\r\n"
                   "aof_buffer_length:%zu\r\naof_pending_bio_fsync:%d\r\n"
                   "aof_delayed_fsync:%llu\r\n",
                   (ull)p->journal.size, (ull)p->journal.base_size, p->rewrite_scheduled,
                   p->journal.buffered, p->journal.sync_pending,
                   (ull)p->journal.delayed_fsyncs);
}

void info_persistence(struct server *s, struct buf *out)
{
    struct persist_status p;
    persist_status(s->persist, &p);
    buf_printf(out, "loading:%d\r\nasync_loading:0\r\n", s->loading);
    put_snapshot(s, &p, out);
    put_journal(s, &p, out);
    if (s->loading)
        put_loading(s, &p, out);
    buf_printf(out,
               "journal_sequence:%llu\r\njournal_written:%llu\r\njournal_synced:%llu\r\n"
               "journal_waiting_replies:%zu\r\njournal_complete:%d\r\njournal_epoch:%llu\r\n"
               "hlc:%llu\r\n",
               (ull)p.journal.lsn, (ull)p.journal.written, (ull)p.journal.synced, s->gates.n,
               p.journal.complete, (ull)p.epoch,
               s->journal ? (ull)journal_hlc(s->journal) : 0);
    struct vs_open_status open;
    vs_open_status(s->store, &open);
    buf_printf(out,
               "open_partitions:%zu\r\nunloaded_partitions:%zu\r\nopening_partitions:%zu\r\n"
               "unsaved_partitions_over_limit:%zu\r\npartition_unloads:%llu\r\n"
               "partition_reloads:%llu\r\npartition_reload_failures:%llu\r\n",
               open.open, open.unloaded, open.opening, open.unsaved, (ull)open.unloads,
               (ull)open.reloads, (ull)open.failures);
    buf_printf(out,
               "damaged_partitions:%u\r\nscrub_checked_bytes:%llu\r\nscrub_total_bytes:%llu\r\n"
               "mapped_bytes:%llu\r\n",
               p.damaged, (ull)p.scrubbed, (ull)p.scrub_total, (ull)p.mapped);
    buf_printf(out,
               "scrub_period:%llu\r\nscrub_cycle_checked_bytes:%llu\r\n"
               "scrub_cycle_total_bytes:%llu\r\nscrub_cycles:%llu\r\nscrub_last_time:%llu\r\n"
               "scrub_last_time_sec:%llu\r\nscrub_last_status:%s\r\nscrub_bad_blocks:%llu\r\n"
               "scrub_last_error:%s\r\n",
               (ull)p.scrub.period, (ull)p.scrub.checked, (ull)p.scrub.total, (ull)p.scrub.cycles,
               (ull)p.scrub.last_s, (ull)p.scrub.last_took_s, p.scrub.last_bad ? "damaged" : "ok",
               (ull)p.scrub.bad, p.scrub.error);
}
