/* The syncer: under `everysec`, a sync beside the writer once the oldest record that is not synced is half a second old, or,
 * where little memory is to be held for those, when they take too much. So with a disk that syncs in less than half a second, no
 * record waits longer than one; with a slower one, replies do (journal_releasable). */
#include "base/clock.h"
#include "persist/journal_int.h"

/* When to sync, 0: not before something changes. With lock held. */
static uint64_t due(const struct journal *j)
{
    if (j->fsync != JOURNAL_EVERYSEC || j->failed || j->syncing || j->synced >= j->written)
        return 0;
    bool much = atomic_load_explicit(&j->held, memory_order_relaxed) > j->hold_max;
    return j->retained.head && !much ? j->retained.head->since_ns + JOURNAL_SYNC_AGE : 1;
}

/* With lock held, which is given back during the sync. */
static void sync_segment(struct journal *j)
{
    struct vfs_error err;
    struct journal_segment *s = j->segment;
    uint64_t upto = j->written, bytes = j->written_bytes;
    s->refs++;
    j->syncing = true;
    pthread_mutex_unlock(&j->lock);
    uint64_t began = clock_mono_ns();
    enum vs_status status = vfs_file_sync(&s->file, true, &err);
    pthread_mutex_lock(&j->lock);
    j->syncing = false;
    s->distrusted |= status != VS_OK;
    /* A segment that is not the current one any more has been settled without this sync. */
    bool ours = s == j->segment && !j->failed;
    if (ours && status == VS_OK) {
        j->delayed_fsyncs += clock_mono_ns() - began > JOURNAL_HOLD_AGE;
        if (upto > j->synced) {
            j->synced = upto;
            j->synced_bytes = bytes;
        }
        journal_drop(j);
    }
    journal_segment_unref(j, s);
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    if (ours && status)
        journal_fail(j, &err);
    else if (ours)
        journal_progress(j);
    pthread_mutex_lock(&j->lock);
}

void *journal_syncer(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    while (!j->ended) {
        uint64_t at = due(j);
        j->sync_idle = !at;
        if (!at)
            pthread_cond_wait(&j->sync, &j->lock);
        else if (clock_mono_ns() < at)
            journal_wait_ns(j, &j->sync, at);
        else
            sync_segment(j);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}
