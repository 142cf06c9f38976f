/* Loading a snapshot: the thread that maps files and builds indexes over them, and the owner that
 * takes the indexes into the store.
 *
 *     thread   for each file:  size, header, footer, table; map
 *              for each index: sections against the manifest's counts; all blocks that will be used
 *                              without another look; state; vs_restore_new  ---> built
 *     owner    snapshot_load_step: vs_restore_attach, a few at a time
 *
 * Rows, originals and links of level 0 are most of the bytes and not looked at here (unless `verify`):
 * whoever touches a chunk first checks it. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/snapshot_int.h"
#include "persist/snapshot_restore.h"

struct built {
    struct built *next;
    struct vs_index *index;
};

struct snapshot_load {
    struct snapshot_load_options o;
    char *segments, *path;
    struct vs_store *store;
    struct snapshot_manifest manifest;
    struct restore_files files;
    pthread_t thread;
    pthread_mutex_t lock;            /* "load": guards the next ones */
    pthread_cond_t news;
    struct built *built, **built_tail;
    bool ended, stop;
    enum vs_status status;
    struct buf why;
    bool joined;
    _Atomic uint64_t bytes;
    uint64_t total;
};

/* ---- the thread ---- */

static bool stopped(struct snapshot_load *l)
{
    pthread_mutex_lock(&l->lock);
    bool stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return stop;
}

static enum vs_status map_files(struct snapshot_load *l, struct buf *why)
{
    struct snapshot_manifest *m = &l->manifest;
    for (uint32_t i = 0; i < m->nfiles && !stopped(l); i++) {
        enum vs_status status = restore_map(&l->files, i, why);
        struct region *r = l->files.region[i];
        if (status == VS_OK && l->o.verify && !r->check(r, 0, r->size)) {
            r->describe(r, why);
            status = VS_CORRUPT;
        }
        if (status != VS_OK)
            return status;
        if (l->o.open_max) /* there may be more files than can be mapped */
            restore_unmap(&l->files, i);
    }
    return VS_OK;
}

static void hand_over(struct snapshot_load *l, struct vs_index *index)
{
    struct built *b = mem_zalloc(sizeof(*b));
    b->index = index;
    pthread_mutex_lock(&l->lock);
    *l->built_tail = b;
    l->built_tail = &b->next;
    pthread_cond_signal(&l->news);
    pthread_mutex_unlock(&l->lock);
}

static void *load_thread(void *arg)
{
    struct snapshot_load *l = arg;
    struct buf why = {0};
    size_t open = l->o.open_max;
    enum vs_status status = map_files(l, &why);
    for (uint32_t i = 0; i < l->manifest.nindexes && status == VS_OK && !stopped(l); i++) {
        struct vs_index *index;
        status = restore_index(&l->files, l->store, i, l->o.open_max && !l->o.verify ? &open : NULL,
                               &l->bytes, &index, &why);
        if (status != VS_OK)
            break;
        if (l->o.verify)
            status = vs_verify_index(index, &why);
        hand_over(l, index); /* in any case: it is the owner's to discard */
    }
    if (status != VS_OK && !why.len)
        buf_printf(&why, "%s: %s", l->path, vs_status_text(status));
    pthread_mutex_lock(&l->lock);
    l->status = status;
    l->why = why;
    l->ended = true;
    pthread_cond_signal(&l->news);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the owner ---- */

static enum vs_status start_thread(struct snapshot_load *l, struct buf *why)
{
    for (uint32_t i = 0; i < l->manifest.nfiles; i++)
        l->total += l->manifest.file[i].sums.size;
    if (l->manifest.databases > vs_databases(l->store)) {
        buf_printf(why, "%s was written with %u databases; there are %u now", l->path,
                   l->manifest.databases, vs_databases(l->store));
        return VS_INVALID;
    }
    enum vs_status status = restore_files_init(&l->files, l->o.vfs, l->segments, &l->manifest,
                                               l->o.set);
    l->files.passing = l->o.passing;
    if (status == VS_OK && pthread_create(&l->thread, NULL, load_thread, l) != 0)
        status = VS_NOMEM;
    if (status != VS_OK) {
        buf_printf(why, "%s: out of memory", l->path);
        return status;
    }
    pthread_setname_np(l->thread, "snapshot-load");
    l->joined = false;
    return VS_OK;
}

enum vs_status snapshot_load_start(const struct snapshot_load_options *o, struct vs_store *store,
                                   struct snapshot_load **out, struct buf *why)
{
    struct snapshot_load *l = mem_zalloc(sizeof(*l));
    l->o = *o;
    l->segments = mem_strndup(o->segments, strlen(o->segments));
    l->path = mem_strndup(o->manifest, strlen(o->manifest));
    l->store = store;
    l->joined = true;
    l->built_tail = &l->built;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->news, NULL);
    enum vs_status status = snapshot_manifest_load(o->vfs, o->manifest, &l->manifest, why);
    if (status == VS_OK) {
        vs_set_cut_number(store, l->manifest.cut); /* which the thread reads */
        status = start_thread(l, why);
    }
    if (status != VS_OK) {
        snapshot_load_free(l);
        return status;
    }
    *out = l;
    return VS_OK;
}

/* The next index; waits for it until `until_ns`. NULL: none yet, or (*over) no more. */
static struct built *take(struct snapshot_load *l, uint64_t until_ns, bool *over)
{
    pthread_mutex_lock(&l->lock);
    uint64_t now = clock_mono_ns();
    if (!l->built && !l->ended && now < until_ns) {
        uint64_t wait = until_ns - now < 1000000000 ? until_ns - now : 1000000000;
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        wait += (uint64_t)t.tv_nsec;
        t.tv_sec += (time_t)(wait / 1000000000);
        t.tv_nsec = (long)(wait % 1000000000);
        pthread_cond_timedwait(&l->news, &l->lock, &t);
    }
    struct built *b = l->built;
    if (b) {
        l->built = b->next;
        if (!l->built)
            l->built_tail = &l->built;
    }
    *over = !b && l->ended;
    pthread_mutex_unlock(&l->lock);
    return b;
}

static enum vs_status attach(struct snapshot_load *l, struct vs_index *index, struct buf *why)
{
    enum vs_status status = vs_restore_attach(index);
    if (status == VS_OK)
        return VS_OK;
    size_t len;
    const char *key = vs_index_key(index, &len);
    buf_printf(why, "%s: the index '%.*s' ", l->path, (int)(len > 200 ? 200 : len), key);
    buf_puts(why, status == VS_EXISTS ? "is there twice" : "found no memory");
    vs_restore_discard(index);
    return status == VS_EXISTS ? VS_CORRUPT : status;
}

enum vs_status snapshot_load_step(struct snapshot_load *l, uint64_t until_ns, bool *done,
                                  struct buf *why)
{
    *done = false;
    do {
        bool over;
        struct built *b = take(l, until_ns, &over);
        if (over && l->status != VS_OK)
            buf_append(why, l->why.data, l->why.len);
        if (over) {
            *done = l->status == VS_OK;
            return l->status;
        }
        if (!b)
            return VS_OK;
        enum vs_status status = attach(l, b->index, why);
        mem_free(b);
        if (status != VS_OK)
            return status;
    } while (clock_mono_ns() < until_ns);
    return VS_OK;
}

const struct snapshot_manifest *snapshot_load_manifest(const struct snapshot_load *l)
{
    return &l->manifest;
}

uint64_t snapshot_load_bytes(const struct snapshot_load *l, uint64_t *total)
{
    *total = l->total;
    return atomic_load_explicit(&l->bytes, memory_order_relaxed);
}

void snapshot_load_free(struct snapshot_load *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_mutex_unlock(&l->lock);
    if (!l->joined)
        pthread_join(l->thread, NULL);
    while (l->built) {
        struct built *b = l->built;
        l->built = b->next;
        vs_restore_discard(b->index);
        mem_free(b);
    }
    restore_files_release(&l->files);
    snapshot_manifest_release(&l->manifest);
    buf_release(&l->why);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->news);
    mem_free(l->segments);
    mem_free(l->path);
    mem_free(l);
}
