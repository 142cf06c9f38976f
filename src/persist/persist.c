/* Durability as a whole: opening, closing, settings, status. See persist.h.
 *
 *   FIND -> SNAPSHOT -> REPLAY -> START -> RUNNING      persist_load.c, then persist_save.c
 *     \__________\_________\________\----> FAILED
 *
 * SNAPSHOT and REPLAY are left out when there is nothing of the kind. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/persist_int.h"
#include "persist/region_fault.h"

char *persist_path(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s", dir, name);
    char *path = mem_strndup(b.data, b.len);
    buf_release(&b);
    return path;
}

char *persist_base_path(const struct persist *p, uint64_t seq)
{
    struct buf b = {0};
    buf_printf(&b, "%s/", p->journal_dir);
    journal_base_name(p->appendfilename, seq, &b);
    char *path = mem_strndup(b.data, b.len);
    buf_release(&b);
    return path;
}

static char *text(const char *given, const char *otherwise)
{
    const char *t = given ? given : otherwise;
    return mem_strndup(t, strlen(t));
}

static void free_persist(struct persist *p)
{
    vfs_file_close(&p->lock);
    mem_free(p->dir);
    mem_free(p->dbfilename);
    mem_free(p->appenddirname);
    mem_free(p->appendfilename);
    mem_free(p->journal_dir);
    mem_free(p->dump);
    mem_free(p->segments);
    segment_set_unref(p->set);
    mem_free(p);
}

/* The lock holds for as long as the file is open; what it says is for people. */
static enum vs_status take_lock(struct persist *p, struct buf *why)
{
    struct vfs_error err;
    char *path = persist_path(p->dir, PERSIST_LOCK);
    enum vs_status status = vfs_file_open(&p->lock, &p->vfs, path, VFS_RDWR | VFS_CREATE, &err);
    if (status == VS_OK)
        status = vfs_file_lock(&p->lock, &err);
    if (status == VS_EXISTS)
        buf_printf(why, "%s is locked: another process uses this directory", path);
    else if (status != VS_OK)
        buf_puts(why, err.text);
    mem_free(path);
    return status;
}

static enum vs_status open_part(void *arg, const struct vs_opening *o,
                                enum vs_status (*build)(void *build_arg,
                                                        const struct vs_part_image *image,
                                                        struct buf *why),
                                void *build_arg, struct buf *why)
{
    struct persist *p = arg;
    return snapshot_open_part(&p->vfs, p->segments, p->set, o, build, build_arg, why);
}

static bool saved_is_sound(void *arg, const struct vs_saved *saved)
{
    return snapshot_saved_sound(saved, ((struct persist *)arg)->scrub);
}

enum vs_status persist_open(const struct persist_options *o, struct vs_store *store,
                            struct persist **out, struct buf *why)
{
    struct persist *p = mem_zalloc(sizeof(*p));
    p->vfs = *o->vfs;
    p->store = store;
    p->dir = text(o->dir, ".");
    p->dbfilename = text(o->dbfilename, "dump.rdb");
    p->appenddirname = text(o->appenddirname, "appendonlydir");
    p->appendfilename = text(o->appendfilename, "appendonly.aof");
    p->journal_dir = persist_path(p->dir, p->appenddirname);
    p->dump = persist_path(p->dir, p->dbfilename);
    p->segments = snapshot_segments_path(p->dir, p->dbfilename);
    p->set = segment_set_new();
    p->appendonly = o->appendonly;
    p->load_truncated = o->load_truncated;
    p->verify = o->verify;
    p->fsync = o->fsync;
    p->rewrite_percentage = o->rewrite_percentage;
    p->rewrite_min_size = o->rewrite_min_size;
    p->scrub_period = o->scrub_period;
    p->wake = o->wake;
    p->wake_arg = o->arg;
    rng_system(&p->life, sizeof(p->life));
    p->life &= ~(UINT64_MAX >> JOURNAL_LIFE_BITS);
    if (o->adopt) {
        p->adopted = true;
        p->state = PERSIST_START;
        p->lsn = o->lsn;
        hlc_observe(&p->hlc, o->hlc, clock_wall_ms());
    }
    p->start_s = clock_wall_ms() / 1000;
    p->start_ns = clock_mono_ns();
    p->counts = (struct persist_status){.save_ok = true,
                                        .rewrite_ok = true,
                                        .last_save = p->start_s,
                                        .save_seconds = -1,
                                        .rewrite_seconds = -1};
    enum vs_status status = take_lock(p, why);
    if (status != VS_OK) {
        free_persist(p);
        return status;
    }
    region_fault_install();
    p->opener = (struct vs_opener){open_part, snapshot_saved_copy, saved_is_sound, p};
    vs_set_opener(store, &p->opener);
    *out = p;
    return VS_OK;
}

enum vs_status persist_close(struct persist *p)
{
    enum vs_status status = VS_OK;
    if (!p)
        return VS_OK;
    vs_set_journal(p->store, NULL);
    vs_set_opener(p->store, NULL);
    persist_save_stop(p);
    scrub_stop(p->scrub);
    persist_load_release(p);
    journal_manifest_release(&p->off);
    if (p->journal && journal_is_open(p->journal))
        status = journal_close(p->journal, NULL);
    journal_free(p->journal);
    persist_save_release(p);
    free_persist(p);
    return status;
}

struct journal *persist_journal(struct persist *p)
{
    return p->state == PERSIST_RUNNING ? p->journal : NULL;
}

void persist_set_fsync(struct persist *p, enum journal_fsync f)
{
    p->fsync = f;
    if (p->journal)
        journal_set_fsync(p->journal, f);
}

void persist_set_rewrite(struct persist *p, unsigned percentage, uint64_t min_size)
{
    p->rewrite_percentage = percentage;
    p->rewrite_min_size = min_size;
}

void persist_set_load_truncated(struct persist *p, bool yes)
{
    p->load_truncated = yes;
}

const char *persist_write_error(const struct persist *p)
{
    struct persist *own = (struct persist *)p; /* where the text is kept */
    struct journal_status s;
    if (p->state != PERSIST_RUNNING || !journal_failed(p->journal))
        return NULL;
    journal_read_status(p->journal, &s);
    if (!s.failed)
        return NULL;
    snprintf(own->write_error, sizeof(own->write_error),
             "MISCONF Errors writing to the AOF file: %s", s.error);
    return p->write_error;
}

void persist_set_scrub(struct persist *p, uint64_t period)
{
    p->scrub_period = period;
    if (p->scrub)
        scrub_set_period(p->scrub, period);
    else if (p->state == PERSIST_RUNNING && period)
        persist_start_scrub(p);
}

void persist_start_scrub(struct persist *p)
{
    struct scrub_options o = {.vfs = &p->vfs,
                              .set = p->set,
                              .dump = p->dump,
                              .segments = p->segments,
                              .journal_dir = p->journal_dir,
                              .appendfilename = p->appendfilename};
    if (p->scrub_period)
        p->scrub = scrub_start(&o, p->scrub_period);
}

static void loading_status(struct persist *p, struct persist_status *out)
{
    out->loading = true;
    out->loading_start = p->start_s;
    if (p->load)
        out->loading_loaded = snapshot_load_bytes(p->load, &out->loading_total);
    else if (p->loader)
        out->loading_loaded = journal_loader_bytes(p->loader, &out->loading_total);
}

void persist_status(struct persist *p, struct persist_status *out)
{
    struct segment_set_bytes mapped;
    struct snapshot_progress now = {0};
    int64_t seconds = (int64_t)((clock_mono_ns() - p->save_ns) / 1000000000);
    *out = p->counts;
    out->keys_loaded = p->keys_loaded;
    out->appendonly = p->appendonly;
    out->epoch = p->epoch;
    out->current_save_seconds = out->current_rewrite_seconds = -1;
    segment_set_count(p->set, &mapped);
    out->mapped = mapped.mapped;
    out->scrub_total = mapped.mapped;
    out->scrubbed = mapped.checked;
    scrub_read_status(p->scrub, &out->scrub);
    out->scrub.period = p->scrub_period;
    snprintf(out->error, sizeof(out->error), "%s", p->save_error);
    if (p->state != PERSIST_RUNNING) {
        loading_status(p, out);
        return;
    }
    out->rewrite_scheduled = p->wants_rewrite;
    if (p->save)
        snapshot_save_progress(p->save, &now);
    if (p->save || p->waiting) {
        out->sending = p->sending;
        out->saving = !p->saving_rewrite && !p->sending;
        out->rewriting = p->saving_rewrite;
        if (!p->sending)
            *(p->saving_rewrite ? &out->current_rewrite_seconds : &out->current_save_seconds) = seconds;
    }
    out->parts_done = now.parts;
    out->parts_total = now.parts_total;
    journal_read_status(p->journal, &out->journal);
    out->changes = out->journal.lsn - p->saved_lsn;
}
