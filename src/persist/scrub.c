#include "persist/scrub.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal_manifest.h"
#include "persist/segment_int.h"
#include "persist/snapshot.h"

#define BYTES_A_SECOND (64u << 20)
#define IDLE_S 60              /* between cycles, at most */

struct scrub {
    struct scrub_options o;
    pthread_t thread;
    pthread_mutex_t lock;      /* "scrub": guards the next ones */
    pthread_cond_t news;
    bool stop;
    uint64_t period;           /* seconds */
    struct scrub_status status;
    char **bad;                /* names of files */
    size_t bad_cap;
    _Atomic size_t nbad;       /* changes under the lock */
    /* the thread's */
    uint64_t began_ns, not_before_ns;
    uint64_t found;            /* in this cycle */
};

/* ---- waiting ---- */

/* Under the lock: until `until_ns` of the monotonic clock, or news. */
static void wait_until(struct scrub *s, uint64_t until_ns)
{
    struct timespec t = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    pthread_cond_timedwait(&s->news, &s->lock, &t);
}

static uint64_t due_ns(const struct scrub *s, uint64_t bytes)
{
    double part = s->status.total ? (double)bytes / (double)s->status.total : 1;
    uint64_t due = s->began_ns + (uint64_t)((double)s->period * 1e9 * part);
    return due > s->not_before_ns ? due : s->not_before_ns;
}

/* Waits until `bytes` more may be read. False: the end. */
static bool take_time(struct scrub *s, uint64_t bytes)
{
    pthread_mutex_lock(&s->lock);
    s->status.checked += bytes;
    while (!s->stop) {
        uint64_t now = clock_mono_ns();
        if (!s->period) {
            pthread_cond_wait(&s->news, &s->lock);
            continue;
        }
        uint64_t due = due_ns(s, s->status.checked);
        if (now >= due)
            break;
        wait_until(s, due);
    }
    s->not_before_ns = clock_mono_ns() + bytes * 1000 / (BYTES_A_SECOND / 1000000);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return !stop;
}

/* ---- what is found ---- */

static void remember(struct scrub *s, const char *name)
{
    size_t n = s->nbad;
    for (size_t i = 0; i < n; i++)
        if (strcmp(s->bad[i], name) == 0)
            return;
    if (!mem_try_grow(&s->bad, &s->bad_cap, n + 1, sizeof(char *)))
        return;
    s->bad[n] = mem_strndup(name, strlen(name));
    s->nbad = n + 1;
}

/* `name` NULL: it is no segment file. */
static void report(struct scrub *s, const char *name, const char *text)
{
    log_warning("The scrub found damage: %s", text);
    pthread_mutex_lock(&s->lock);
    s->found++;
    s->status.bad++;
    snprintf(s->status.error, sizeof(s->status.error), "%s", text);
    if (name)
        remember(s, name);
    pthread_mutex_unlock(&s->lock);
}

bool scrub_is_bad(struct scrub *s, const char *name)
{
    bool bad = false;
    if (!s || !atomic_load_explicit(&s->nbad, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->nbad && !bad; i++)
        bad = strcmp(s->bad[i], name) == 0;
    pthread_mutex_unlock(&s->lock);
    return bad;
}

/* ---- a file ---- */

static bool check_blocks(struct scrub *s, const struct vfs_file *f, const char *name,
                         const struct segment_layout *l, const uint64_t *table, uint8_t *data)
{
    for (uint64_t i = 0; i < l->blocks; i++) {
        struct vfs_error err;
        char text[512];
        size_t n = (size_t)segment_block_bytes(l, i);
        if (!take_time(s, n))
            return false;
        bool read = vfs_file_read(f, i * l->block, data, n, &err) == VS_OK;
        if (read && hash_bytes(data, n, l->file_id ^ i) == table[i])
            continue;
        snprintf(text, sizeof(text), "%s, offset %" PRIu64 ": %s", f->path, i * l->block,
                 read ? "a block's checksum is wrong" : err.text);
        report(s, name, text);
        segment_set_spoil(s->o.set, f->path, i * l->block);
    }
    return true;
}

/* False: the end. A file that is gone belongs to a snapshot that has been replaced meanwhile. */
static bool check_file(struct scrub *s, const struct snapshot_file *file)
{
    struct vfs_file f;
    struct vfs_error err;
    struct segment_layout l;
    struct buf path = {0}, why = {0};
    uint64_t *table = NULL;
    uint8_t *data = mem_try_alloc(SEGMENT_BLOCK);
    bool go_on = take_time(s, 0);
    buf_printf(&path, "%s/%s", s->o.segments, file->name);
    buf_append(&path, "", 1);
    if (go_on && data && vfs_file_open(&f, s->o.vfs, path.data, VFS_RDONLY, &err) == VS_OK) {
        enum vs_status status = segment_read_layout(&f, &file->sums, &l, &table, &why);
        if (status == VS_OK) {
            go_on = check_blocks(s, &f, file->name, &l, table, data);
        } else if (status != VS_NOMEM) {
            buf_append(&why, "", 1);
            report(s, file->name, why.data);
            segment_set_spoil(s->o.set, path.data, 0);
        }
        vfs_file_close(&f);
    }
    mem_free(table);
    mem_free(data);
    buf_release(&path);
    buf_release(&why);
    return go_on;
}

/* ---- a cycle ---- */

static void read_manifest(struct scrub *s, const char *path, struct snapshot_manifest *out)
{
    struct buf why = {0};
    enum vs_status status = snapshot_manifest_load(s->o.vfs, path, out, &why);
    if (status == VS_CORRUPT || status == VS_IO) {
        buf_append(&why, "", 1);
        report(s, NULL, why.data);
    }
    buf_release(&why);
}

static void read_base(struct scrub *s, struct snapshot_manifest *out)
{
    struct journal_manifest m = {0};
    struct buf why = {0}, path = {0};
    if (journal_manifest_load(s->o.vfs, s->o.journal_dir, s->o.appendfilename, &m, &why) == VS_OK &&
        m.has_base) {
        buf_printf(&path, "%s/", s->o.journal_dir);
        journal_base_name(s->o.appendfilename, m.base_seq, &path);
        buf_append(&path, "", 1);
        read_manifest(s, path.data, out);
    }
    journal_manifest_release(&m);
    buf_release(&why);
    buf_release(&path);
}

static bool named(const struct snapshot_manifest *m, const char *name)
{
    for (uint32_t i = 0; i < m->nfiles; i++)
        if (strcmp(m->file[i].name, name) == 0)
            return true;
    return false;
}

/* Files that the base shares with the snapshot are checked once. True when there is any. */
static bool leave_out_shared(struct snapshot_manifest *dump, struct snapshot_manifest *base,
                             uint64_t *total)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < base->nfiles; i++) {
        struct snapshot_file f = base->file[i];
        if (dump->nfiles < 4096 && named(dump, f.name)) {
            mem_free(f.name);
            continue;
        }
        base->file[n++] = f;
        *total += f.sums.size;
    }
    base->nfiles = n;
    for (uint32_t i = 0; i < dump->nfiles; i++)
        *total += dump->file[i].sums.size;
    return *total != 0;
}

/* False: the end. */
static bool cycle(struct scrub *s)
{
    struct snapshot_manifest dump = {0}, base = {0};
    uint64_t total = 0;
    bool go_on = true;
    s->found = 0;
    read_manifest(s, s->o.dump, &dump);
    read_base(s, &base);
    bool any = leave_out_shared(&dump, &base, &total);
    pthread_mutex_lock(&s->lock);
    s->began_ns = clock_mono_ns();
    s->status.checked = 0;
    s->status.total = total;
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < dump.nfiles && go_on; i++)
        go_on = check_file(s, &dump.file[i]);
    for (uint32_t i = 0; i < base.nfiles && go_on; i++)
        go_on = check_file(s, &base.file[i]);
    snapshot_manifest_release(&dump);
    snapshot_manifest_release(&base);
    pthread_mutex_lock(&s->lock);
    if (go_on && (any || s->found)) {
        s->status.cycles++;
        s->status.last_s = clock_wall_ms() / 1000;
        s->status.last_took_s = (clock_mono_ns() - s->began_ns) / 1000000000;
        s->status.last_bad = s->found;
        log_verbose("A cycle of the scrub has ended: %" PRIu64 " bytes, %" PRIu64 " bad", total,
                    s->found);
    }
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* Between two cycles, and before the first: where there is nothing to read a cycle takes no time. */
static bool rest(struct scrub *s)
{
    uint64_t began = clock_mono_ns();
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        uint64_t pause = s->period < IDLE_S ? s->period : IDLE_S;
        if (s->period && clock_mono_ns() >= began + pause * 1000000000)
            break;
        if (s->period)
            wait_until(s, began + pause * 1000000000);
        else
            pthread_cond_wait(&s->news, &s->lock);
    }
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return !stop;
}

static void *scrub_thread(void *arg)
{
    struct scrub *s = arg;
    while (rest(s) && cycle(s))
        ;
    return NULL;
}

/* ---- the owner's ---- */

struct scrub *scrub_start(const struct scrub_options *o, uint64_t period_s)
{
    struct scrub *s = mem_zalloc(sizeof(*s));
    pthread_condattr_t attr;
    s->o = *o;
    s->period = period_s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->news, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&s->thread, NULL, scrub_thread, s) != 0) {
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->news);
        mem_free(s);
        return NULL;
    }
    pthread_setname_np(s->thread, "scrub");
    return s;
}

void scrub_stop(struct scrub *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->news);
    for (size_t i = 0; i < s->nbad; i++)
        mem_free(s->bad[i]);
    mem_free(s->bad);
    mem_free(s);
}

void scrub_set_period(struct scrub *s, uint64_t period_s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->period = period_s;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

void scrub_read_status(struct scrub *s, struct scrub_status *out)
{
    memset(out, 0, sizeof(*out));
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    *out = s->status;
    out->period = s->period;
    pthread_mutex_unlock(&s->lock);
}
