#include "persist/journal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal_int.h"

struct journal *journal_new(const struct journal_options *o, struct hlc *hlc, uint64_t next_lsn)
{
    struct journal *j = mem_zalloc(sizeof(*j));
    pthread_condattr_t monotonic;
    j->vfs = o->vfs;
    j->dir = mem_strndup(o->dir, strlen(o->dir));
    j->name = mem_strndup(o->name, strlen(o->name));
    j->progress = o->progress;
    j->progress_arg = o->arg;
    j->fsync = o->fsync;
    j->hold_max = j->full_max = SIZE_MAX;
    j->epoch = o->epoch;
    j->hlc = hlc;
    j->lsn = next_lsn - 1;
    j->next_seq = 1;
    journal_hook_init(j);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->manifest_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->work, &monotonic);
    pthread_cond_init(&j->sync, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return j;
}

bool journal_is_open(const struct journal *j)
{
    return atomic_load_explicit(&j->open, memory_order_relaxed);
}

bool journal_failed(const struct journal *j)
{
    return atomic_load_explicit(&j->failed, memory_order_relaxed);
}

const struct vs_journal *journal_hook(struct journal *j)
{
    return &j->hook;
}

/* ---- opening ---- */

static bool is_named(const struct journal_manifest *m, uint64_t seq, bool base)
{
    if (base)
        return m->has_base && m->base_seq == seq;
    for (size_t i = 0; i < m->count; i++)
        if (m->segment[i].seq == seq)
            return true;
    return false;
}

/* Looks for files that `m` does not name and no reader could want: from before what it names, or
 * without a record. They go with the next manifest stored. *top: the highest number a file has. With
 * manifest_lock held. */
static enum vs_status find_leftovers(struct journal *j, const struct journal_manifest *m,
                                     bool at_start, uint64_t *top, struct vfs_error *err)
{
    struct vfs_names names = {0};
    enum vs_status status = vfs_path_list(j->vfs, j->dir, &names, err);
    for (size_t i = 0; !status && i < names.count; i++) {
        uint64_t seq = journal_name_seq(j->name, names.name[i], JOURNAL_SEGMENT_SUFFIX);
        bool base = !seq;
        struct vfs_stat st = {0};
        if (base)
            seq = journal_name_seq(j->name, names.name[i], JOURNAL_BASE_SUFFIX);
        if (seq > *top)
            *top = seq;
        if (!seq || is_named(m, seq, base))
            continue;
        char *path = journal_path(j->dir, names.name[i]);
        bool empty = at_start && !base && vfs_path_stat(j->vfs, path, &st, NULL) == VS_OK &&
                     st.size <= JOURNAL_HEADER;
        bool older = base ? m->has_base && seq < m->base_seq
                          : m->count && seq < m->segment[0].seq;
        if (empty || older)
            journal_remember(j, seq, base);
        else if (at_start)
            log_warning("%s is not part of the journal; it is left as it is", path);
        mem_free(path);
    }
    vfs_names_release(&names);
    return status;
}

static enum vs_status look_around(struct journal *j, const struct journal_manifest *m,
                                  struct vfs_error *err)
{
    uint64_t top = journal_manifest_last_seq(m);
    enum vs_status status = find_leftovers(j, m, true, &top, err);
    if (j->next_seq <= top)
        j->next_seq = top + 1;
    return status;
}

/* Segments of no record are not carried along. */
static void leave_out_empty(struct journal *j, struct journal_manifest *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (m->segment[i].last < m->segment[i].first)
            journal_remember(j, m->segment[i].seq, false);
        else
            m->segment[n++] = m->segment[i];
    }
    m->count = n;
}

/* Signals are for other threads; but a fault is reported from where it happens. */
static int start_thread(pthread_t *thread, void *(*run)(void *), struct journal *j, const char *name)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t mask, old;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&mask, faults[i]);
    pthread_sigmask(SIG_BLOCK, &mask, &old);
    int rc = pthread_create(thread, NULL, run, j);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc)
        pthread_setname_np(*thread, name);
    return rc;
}

static enum vs_status start_threads(struct journal *j, struct vfs_error *err)
{
    errno = start_thread(&j->writer, journal_writer, j, "journal");
    if (errno) {
        vfs_error_set(err, VFS_OP_OPEN, "the journal's writer thread", VFS_NO_OFFSET);
        return VS_NOMEM;
    }
    errno = start_thread(&j->syncer, journal_syncer, j, "journal-sync");
    if (!errno)
        return VS_OK;
    vfs_error_set(err, VFS_OP_OPEN, "the journal's syncer thread", VFS_NO_OFFSET);
    pthread_mutex_lock(&j->lock);
    j->closing = true;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->writer, NULL);
    return VS_NOMEM;
}

/* The first segment of this process, in a manifest. */
static enum vs_status begin(struct journal *j, struct journal_manifest *m, struct vfs_error *err)
{
    struct journal_segment *s = NULL;
    enum vs_status status = journal_take_over(j, m, &s, err);
    if (status)
        return status;
    status = vfs_file_sync(&s->file, false, err);
    if (!status)
        status = vfs_path_sync_parent(j->vfs, s->file.path, err);
    leave_out_empty(j, m);
    if (!status && journal_manifest_add(m, &s->f)) {
        errno = ENOMEM;
        status = vfs_error_set(err, VFS_OP_WRITE, j->name, VFS_NO_OFFSET);
    }
    m->epoch = j->epoch;
    m->partial = !journal_manifest_complete(m);
    if (!status) {
        status = journal_manifest_store(j->vfs, j->dir, j->name, m, err);
        s->named = status && err->op == VFS_OP_SYNCDIR;
    }
    if (status) {
        vfs_file_close(&s->file);
        if (!s->named)
            journal_discard(j, s->f.seq, false);
        mem_free(s);
        return status;
    }
    j->segment = s;
    return VS_OK;
}

enum vs_status journal_open(struct journal *j, const struct journal_manifest *given,
                            struct vfs_error *err)
{
    struct vfs_error unwanted;
    struct journal_manifest m = {0};
    err = err ? err : &unwanted;
    const struct journal_file *end = given->count ? &given->segment[given->count - 1] : NULL;
    enum vs_status status = VS_INVALID;
    if (!end || (end->closed && end->last <= j->lsn))
        status = journal_manifest_copy(given, &m);
    if (status) {
        errno = status == VS_NOMEM ? ENOMEM : EINVAL;
        vfs_error_set(err, VFS_OP_READ, j->name, VFS_NO_OFFSET);
        return status;
    }
    j->ngarbage = 0;
    status = vfs_path_mkdir(j->vfs, j->dir, err);
    if (!status)
        status = look_around(j, &m, err);
    if (!status)
        status = begin(j, &m, err);
    if (status) {
        journal_manifest_release(&m);
        return status;
    }
    journal_manifest_release(&j->manifest);
    j->manifest = m;
    j->written = j->synced = j->trusted_lsn = j->lsn;
    j->written_bytes = j->trusted_bytes = j->synced_bytes = j->segment->file.end;
    j->failed = j->closing = j->ended = false;
    j->history_due = j->history_untold = j->history.known;
    journal_stored(j);
    j->base_size = j->closed_bytes + j->written_bytes;
    status = start_threads(j, err);
    if (status) {
        journal_segment_unref(j, j->segment);
        j->segment = NULL;
        return status;
    }
    atomic_store_explicit(&j->open, true, memory_order_relaxed);
    return VS_OK;
}

/* ---- settings and status ---- */

void journal_set_hold(struct journal *j, size_t bytes, size_t full)
{
    j->full_max = full;
    pthread_mutex_lock(&j->lock);
    j->hold_max = bytes;
    pthread_mutex_unlock(&j->lock);
}

void journal_set_fsync(struct journal *j, enum journal_fsync f)
{
    pthread_mutex_lock(&j->lock);
    j->fsync = f;
    pthread_cond_signal(&j->work);
    pthread_cond_signal(&j->sync);
    pthread_mutex_unlock(&j->lock);
}

void journal_read_status(struct journal *j, struct journal_status *out)
{
    pthread_mutex_lock(&j->lock);
    const struct journal_chunk *oldest = j->retained.head ? j->retained.head : j->queue.head;
    bool open = journal_is_open(j);
    *out = (struct journal_status){
        .lsn = j->lsn,
        .written = open ? j->written : j->lsn,
        .synced = open ? j->synced : j->lsn,
        .size = open ? j->closed_bytes + j->written_bytes : 0,
        .base_size = j->base_size,
        .buffered = j->buffered,
        .held = atomic_load_explicit(&j->held, memory_order_relaxed),
        .oldest_unsynced_ns = oldest ? oldest->since_ns : 0,
        .delayed_fsyncs = j->delayed_fsyncs,
        .complete = open && j->complete,
        .unsure = open && j->unsure,
        .open = open,
        .failed = j->failed,
        .sync_pending = j->syncing,
    };
    memcpy(out->error, j->error, sizeof(out->error));
    pthread_mutex_unlock(&j->lock);
}

/* ---- bases ---- */

uint64_t journal_next_seq(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    uint64_t seq = j->next_seq++;
    pthread_mutex_unlock(&j->lock);
    return seq;
}

enum vs_status journal_set_base(struct journal *j, uint64_t seq, uint64_t lsn,
                                struct vfs_error *err)
{
    struct vfs_error unwanted;
    struct journal_manifest m = {0};
    size_t covered = 0;
    err = err ? err : &unwanted;
    pthread_mutex_lock(&j->manifest_lock);
    enum vs_status status = journal_is_open(j) ? journal_manifest_copy(&j->manifest, &m)
                                               : VS_CANCELLED;
    if (status) {
        errno = status == VS_NOMEM ? ENOMEM : ECANCELED;
        vfs_error_set(err, VFS_OP_WRITE, j->name, VFS_NO_OFFSET);
        goto done;
    }
    while (covered < m.count && m.segment[covered].closed && m.segment[covered].last <= lsn)
        covered++;
    m.count -= covered;
    memmove(m.segment, m.segment + covered, m.count * sizeof(*m.segment));
    m.has_base = true;
    m.base_seq = seq;
    m.base_lsn = lsn;
    m.epoch = j->epoch;
    m.partial = !journal_manifest_complete(&m);
    status = journal_manifest_store(j->vfs, j->dir, j->name, &m, err);
    if (status)
        goto done;
    for (size_t i = 0; i < covered; i++)
        journal_remember(j, j->manifest.segment[i].seq, false);
    struct journal_manifest before = j->manifest;
    j->manifest = m;
    m = before;
    uint64_t top = 0;
    find_leftovers(j, &j->manifest, false, &top, err);
    journal_stored(j);
    pthread_mutex_lock(&j->lock);
    j->base_size = j->closed_bytes + j->written_bytes;
    pthread_mutex_unlock(&j->lock);
done:
    journal_manifest_release(&m);
    pthread_mutex_unlock(&j->manifest_lock);
    return status;
}

/* ---- closing ---- */

static void empty(struct journal_chunks *list)
{
    while (list->head) {
        struct journal_chunk *c = list->head;
        list->head = c->next;
        journal_chunk_free(c);
    }
    list->tail = NULL;
}

enum vs_status journal_close(struct journal *j, struct journal_manifest *m)
{
    if (!journal_is_open(j))
        return VS_OK;
    journal_turn(j);
    pthread_mutex_lock(&j->lock);
    j->closing = true;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->writer, NULL);
    pthread_join(j->syncer, NULL);

    enum vs_status status = j->failed || j->synced < j->lsn ? VS_IO : VS_OK;
    pthread_mutex_lock(&j->manifest_lock);
    atomic_store_explicit(&j->open, false, memory_order_relaxed);
    struct journal_file *last = &j->manifest.segment[j->manifest.count - 1];
    last->closed = true;
    last->end = j->trusted_bytes;
    last->last = j->trusted_lsn;
    last->unsure = j->trusted_lsn > j->synced;
    last->sure_end = j->synced_bytes;
    last->sure_last = j->synced;
    if (m) {
        journal_manifest_release(m);
        *m = j->manifest;
        j->manifest = (struct journal_manifest){0};
    }
    journal_manifest_release(&j->manifest);
    pthread_mutex_unlock(&j->manifest_lock);
    journal_segment_unref(j, j->segment);
    journal_segment_unref(j, j->next);
    j->segment = j->next = NULL;
    empty(&j->queue);
    empty(&j->retained);
    j->buffered = 0;
    j->held = 0;
    j->failed = false;
    return status;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    journal_close(j, NULL);
    journal_chunk_free(j->cur);
    journal_chunk_free(j->spare);
    journal_manifest_release(&j->manifest);
    mem_free(j->garbage);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->sync);
    pthread_mutex_destroy(&j->lock);
    pthread_mutex_destroy(&j->manifest_lock);
    mem_free(j->dir);
    mem_free(j->name);
    mem_free(j);
}
