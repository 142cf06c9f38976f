/* The writer: takes what turns have handed over, writes it, and under `always` syncs it. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal_int.h"

/* ---- chunks ---- */

void journal_chunk_free(struct journal_chunk *c)
{
    if (!c)
        return;
    buf_release(&c->bytes);
    mem_free(c);
}

void journal_chunk_let_go(struct journal *j, struct journal_chunk *c)
{
    size_t held = c->held;
    journal_chunk_free(c);
    atomic_fetch_sub_explicit(&j->held, held, memory_order_relaxed); /* not before it is free */
}

/* A buffer grows by doubling, and may stand here until the next sync. */
static void fit(struct journal *j, struct journal_chunk *c)
{
    char *data = c->bytes.len < c->bytes.cap - c->bytes.cap / 8 ? mem_try_realloc(c->bytes.data, c->bytes.len) : NULL;
    if (!data)
        return;
    atomic_fetch_sub_explicit(&j->held, c->held - c->bytes.len, memory_order_relaxed);
    c->bytes.data = data;
    c->bytes.cap = c->held = c->bytes.len;
}

void journal_chunks_push(struct journal_chunks *list, struct journal_chunk *c)
{
    c->next = NULL;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
}

static struct journal_chunk *pop(struct journal_chunks *list)
{
    struct journal_chunk *c = list->head;
    list->head = c->next;
    if (!list->head)
        list->tail = NULL;
    return c;
}

void journal_drop(struct journal *j)
{
    /* What the file is worth is settled when another is begun. */
    if (!j->failed)
        journal_drop_safe(j);
}

void journal_drop_safe(struct journal *j)
{
    uint64_t safe = j->fsync == JOURNAL_NO ? j->written : j->synced;
    /* What holds no record is not known to be written by its number. */
    while (j->retained.head && j->retained.head->last <= safe &&
           (j->retained.head->first || j->retained.head->end)) {
        struct journal_chunk *c = pop(&j->retained);
        j->trusted_lsn = c->last;
        /* Without a record it may have been written after the last sync; nobody misses it then. */
        if (c->first || c->end <= j->synced_bytes || j->fsync == JOURNAL_NO)
            j->trusted_bytes = c->end;
        atomic_fetch_sub_explicit(&j->buffered, c->bytes.len, memory_order_relaxed);
        if (j->spare || c->bytes.cap > JOURNAL_CHUNK_KEEP) {
            journal_chunk_let_go(j, c);
            continue;
        }
        atomic_fetch_sub_explicit(&j->held, c->held, memory_order_relaxed);
        struct buf bytes = c->bytes;
        bytes.len = 0;
        *c = (struct journal_chunk){.bytes = bytes};
        j->spare = c;
    }
}

/* ---- states ---- */

void journal_progress(struct journal *j)
{
    if (j->progress)
        j->progress(j->progress_arg);
}

void journal_fail(struct journal *j, const struct vfs_error *err)
{
    pthread_mutex_lock(&j->lock);
    bool first = !j->failed;
    j->failed = true;
    memcpy(j->error, err->text, sizeof(j->error));
    if (first)
        j->retry_ns = clock_mono_ns();
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    if (first)
        log_warning("The journal cannot be written: %s. Writes are refused until it can",
                    err->text);
    journal_progress(j);
}

void journal_wait_ns(struct journal *j, pthread_cond_t *cond, uint64_t until_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(until_ns / 1000000000u),
                          .tv_nsec = (long)(until_ns % 1000000000u)};
    pthread_cond_timedwait(cond, &j->lock, &ts);
}

/* ---- writing ---- */

/* Two syncs of one file at a time would hide a failure: the system tells it to one of them. */
enum vs_status journal_sync_now(struct journal *j)
{
    struct vfs_error err;
    pthread_mutex_lock(&j->lock);
    while (j->syncing)
        pthread_cond_wait(&j->work, &j->lock);
    uint64_t upto = j->written, bytes = j->written_bytes;
    bool failed = j->failed;
    j->syncing = !failed;
    pthread_mutex_unlock(&j->lock);
    if (failed)
        return VS_IO;
    uint64_t began = clock_mono_ns();
    enum vs_status status = vfs_file_sync(&j->segment->file, true, &err);
    pthread_mutex_lock(&j->lock);
    j->syncing = false;
    if (status == VS_OK) {
        j->delayed_fsyncs += clock_mono_ns() - began > JOURNAL_HOLD_AGE;
        j->synced = upto;
        j->synced_bytes = bytes;
        journal_drop(j);
    } else {
        j->segment->distrusted = true;
    }
    pthread_cond_signal(&j->sync);
    pthread_mutex_unlock(&j->lock);
    if (status)
        journal_fail(j, &err);
    else
        journal_progress(j);
    return status;
}

/* Takes chunks from the queue, up to the first that ends a segment. With lock held. */
static struct journal_chunk *take(struct journal *j, bool *rotate)
{
    struct journal_chunk *first = NULL;
    *rotate = false;
    while (j->queue.head && !*rotate) {
        struct journal_chunk *c = pop(&j->queue);
        *rotate = c->rotate;
        if (!c->bytes.len) {
            journal_chunk_let_go(j, c);
            continue;
        }
        journal_chunks_push(&j->retained, c);
        if (!first)
            first = c;
    }
    return first;
}

/* Writes a list of chunks that nobody else changes: the syncer drops only what is written. */
static enum vs_status write_chunks(struct journal *j, struct journal_chunk *c)
{
    struct vfs_error err;
    bool tell = false;
    while (c) {
        /* Once it is written, the syncer may drop it. */
        struct journal_chunk *next = c->next;
        tell |= c->awaited;
        if (c->bytes.cap > JOURNAL_CHUNK_KEEP)
            fit(j, c);
        enum vs_status status = journal_segment_append(j, j->segment, c, &err);
        if (status) {
            journal_fail(j, &err);
            return status;
        }
        pthread_mutex_lock(&j->lock);
        j->written = j->segment->last;
        j->written_bytes = j->segment->file.end;
        if (j->fsync == JOURNAL_NO || c->last <= j->synced)
            journal_drop(j);
        tell |= j->fsync == JOURNAL_NO;
        bool sooner = atomic_load_explicit(&j->held, memory_order_relaxed) > j->hold_max;
        if (j->fsync == JOURNAL_EVERYSEC && (j->sync_idle || sooner))
            pthread_cond_signal(&j->sync);
        pthread_mutex_unlock(&j->lock);
        c = next;
    }
    /* What came from another node nobody waits for before it is synced, or free. */
    if (tell)
        journal_progress(j);
    return VS_OK;
}

static void rotate_now(struct journal *j)
{
    struct vfs_error err;
    if (journal_sync_now(j))
        return;
    if (journal_seal(j, &err) || journal_renew(j, &err))
        journal_fail(j, &err);
}

/* Tries to begin a new segment; when it cannot, the time of the next attempt. */
static void recover(struct journal *j)
{
    struct vfs_error err;
    enum vs_status status = journal_renew(j, &err);
    if (status == VS_OK) {
        log_notice("The journal is written again");
        return;
    }
    pthread_mutex_lock(&j->lock);
    memcpy(j->error, err.text, sizeof(j->error));
    j->retry_ns = clock_mono_ns() + JOURNAL_RETRY_NS;
    pthread_mutex_unlock(&j->lock);
}

static bool must_sync(const struct journal *j)
{
    return j->fsync == JOURNAL_ALWAYS && j->synced < j->written;
}

static bool idle(const struct journal *j)
{
    if (j->closing)
        return false;
    if (j->failed)
        return clock_mono_ns() < j->retry_ns;
    return !j->queue.head && !must_sync(j);
}

static void finish(struct journal *j)
{
    struct vfs_error err;
    if (!j->failed && journal_sync_now(j) == VS_OK && journal_seal(j, &err))
        journal_fail(j, &err);
    pthread_mutex_lock(&j->lock);
    j->ended = true;
    pthread_cond_signal(&j->sync);
    pthread_mutex_unlock(&j->lock);
}

void *journal_writer(void *arg)
{
    struct journal *j = arg;
    bool rotate, tried = false;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (idle(j)) {
            if (j->failed)
                journal_wait_ns(j, &j->work, j->retry_ns);
            else
                pthread_cond_wait(&j->work, &j->lock);
        }
        if (j->failed) {
            if (j->closing && tried)
                break;
            tried = j->closing;
            pthread_mutex_unlock(&j->lock);
            recover(j);
            pthread_mutex_lock(&j->lock);
            continue;
        }
        if (!j->queue.head && j->closing)
            break;
        struct journal_chunk *c = take(j, &rotate);
        pthread_mutex_unlock(&j->lock);
        bool good = !c || write_chunks(j, c) == VS_OK;
        if (good && rotate)
            rotate_now(j);
        pthread_mutex_lock(&j->lock);
        if (good && !rotate && must_sync(j)) {
            pthread_mutex_unlock(&j->lock);
            journal_sync_now(j);
            pthread_mutex_lock(&j->lock);
        }
    }
    pthread_mutex_unlock(&j->lock);
    finish(j);
    return NULL;
}
