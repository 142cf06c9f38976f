#include "server/persistence.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "persist/persist.h"
#include "persist/vfs_fault.h"
#include "server/gate.h"
#include "server/memory_limit.h"
#include "server/replication.h"
#include "server/settings.h"

#define LOAD_SLICE_NS 5000000

/* Called by the journal's and the snapshot's threads. */
static void wake(void *arg)
{
    net_wake(((struct server *)arg)->net);
}

/* ---- settings ---- */

static bool on_appendonly(void *arg, const char *name, const char **why)
{
    static struct buf reason;
    (void)name;
    struct server *s = arg;
    if (!s->journal) {
        *why = "the data set is being loaded";
        return false;
    }
    buf_reset(&reason);
    if (s->in_exec) {
        *why = "a transaction is one record of the journal: not inside one";
        return false;
    }
    bool ok = persist_set_appendonly(s->persist, s->config->appendonly, &reason);
    buf_append(&reason, "", 1);
    *why = reason.data;
    return ok;
}

static bool on_journal_settings(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    struct server *s = arg;
    const struct config *c = s->config;
    persist_set_fsync(s->persist, (enum journal_fsync)c->appendfsync);
    persist_set_rewrite(s->persist, (unsigned)c->auto_aof_rewrite_percentage,
                        (uint64_t)c->auto_aof_rewrite_min_size);
    persist_set_load_truncated(s->persist, c->aof_load_truncated);
    persist_set_scrub(s->persist, (uint64_t)c->scrub_period);
    return true;
}

/* ---- start ---- */

static bool start(struct server *s, bool adopt, uint64_t lsn, uint64_t hlc, struct buf *error)
{
    const struct config *c = s->config;
    struct persist_options o = {
        .vfs = &s->vfs,
        .dir = ".",
        .dbfilename = c->dbfilename,
        .appenddirname = c->appenddirname,
        .appendfilename = c->appendfilename,
        .appendonly = c->appendonly,
        .load_truncated = c->aof_load_truncated,
        .verify = c->verify_on_load,
        .fsync = (enum journal_fsync)c->appendfsync,
        .rewrite_percentage = (unsigned)c->auto_aof_rewrite_percentage,
        .rewrite_min_size = (uint64_t)c->auto_aof_rewrite_min_size,
        .scrub_period = (uint64_t)c->scrub_period,
        .adopt = adopt,
        .lsn = lsn,
        .hlc = hlc,
        .wake = wake,
        .arg = s,
    };
    struct buf why = {0};
    enum vs_status status = persist_open(&o, s->store, &s->persist, &why);
    if (status != VS_OK) {
        config_error(error, "%.*s", (int)why.len, why.len ? why.data : "");
        buf_release(&why);
        return false;
    }
    buf_release(&why);
    s->loading = true;
    s->load_began_ns = clock_mono_ns();
    s->saving.ok = true;
    return true;
}

bool persistence_start(struct server *s, struct buf *error)
{
    return start(s, false, 0, 0, error);
}

bool persistence_adopt(struct server *s, uint64_t lsn, uint64_t hlc, struct buf *error)
{
    return start(s, true, lsn, hlc, error);
}

bool persistence_open(struct server *s, struct buf *error)
{
    struct config *c = s->config;
    s->vfs = vfs_posix;
    if (c->enable_debug_command != CONFIG_DEBUG_NO) {
        s->faults = vfs_fault_new(&vfs_posix);
        s->vfs = vfs_fault_vfs(s->faults);
    }
    config_on_change(c, "appendonly", on_appendonly, s);
    config_on_change(c, "appendfsync", on_journal_settings, s);
    config_on_change(c, "auto-aof-rewrite-percentage", on_journal_settings, s);
    config_on_change(c, "auto-aof-rewrite-min-size", on_journal_settings, s);
    config_on_change(c, "aof-load-truncated", on_journal_settings, s);
    config_on_change(c, "scrub-period", on_journal_settings, s);
    return persistence_start(s, error);
}

static void loaded(struct server *s)
{
    struct persist_status status;
    persist_status(s->persist, &status);
    s->loading = false;
    if (s->repl_hooks)
        s->repl_hooks->loaded(s);
    s->saving.saved_s = status.last_save;
    s->saving.dirty_saved = s->dirty;
    log_notice("Data loaded: %llu keys in %.3f seconds", (unsigned long long)status.keys_loaded,
               (double)(clock_mono_ns() - s->load_began_ns) / 1e9);
    if (s->reload)
        reload_done(s);
    else if (s->on_ready)
        s->on_ready(s);
}

void persistence_load(struct server *s)
{
    if (s->reload == RELOAD_DRAINS)
        return;
    if (!s->journal) {
        struct buf why = {0};
        bool done = false;
        if (persist_load_step(s->persist, clock_mono_ns() + LOAD_SLICE_NS, &done, &why) != VS_OK) {
            char *dir = realpath(".", NULL); /* what the files' names are relative to */
            log_warning("Cannot load the data in %s: %.*s", dir ? dir : ".", (int)why.len,
                        why.len ? why.data : "");
            free(dir);
            s->failed = true;
            s->shutdown = SHUTDOWN_NOW;
        } else if (done) {
            s->journal = persist_journal(s->persist);
            memory_limit_journal(s);
        }
        buf_release(&why);
    }
    /* Until its links are near enough every search would scan a backlog. */
    if (s->journal && !vs_backlog_over(s->store))
        loaded(s);
}

/* ---- while it runs ---- */

void persistence_turn(struct server *s)
{
    if (s->reload)
        reload_turn(s);
    if (s->journal) {
        journal_turn(s->journal);
        persist_poll(s->persist);
        if (!s->fenced)
            gates_release(s);
        if (s->journal_was_full && !journal_full(s->journal)) {
            s->journal_was_full = false;
            clients_resume(s, CLIENT_WAITS_JOURNAL);
        }
    }
}

void persistence_tick(struct server *s)
{
    if (!s->loading)
        saving_tick(s);
}

const char *persistence_error(struct server *s)
{
    if (!s->journal)
        return NULL;
    const char *why = persist_write_error(s->persist);
    if (why)
        return why;
    if (s->saving.ok || !s->config->stop_writes_on_bgsave_error || s->config->save.n == 0)
        return NULL;
    return "MISCONF The last snapshot could not be written, and there are save points: commands "
           "that change data are refused until one succeeds (stop-writes-on-bgsave-error). The "
           "log says what is wrong.";
}

bool persistence_full(struct server *s)
{
    if (!s->journal || !journal_full(s->journal))
        return false;
    s->journal_was_full = true;
    return true;
}

/* ---- end ---- */

void persistence_close(struct server *s)
{
    if (s->persist) {
        if (s->journal)
            journal_turn(s->journal);
        if (persist_close(s->persist) != VS_OK) {
            log_warning("The journal could not be written to its end: what was not acknowledged "
                        "may be lost.");
            s->failed = true;
        } else {
            gates_open(s);
        }
        s->persist = NULL;
        s->journal = NULL;
    }
}
