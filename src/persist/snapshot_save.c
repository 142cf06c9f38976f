/* Saving a snapshot: the owner's side, and the thread's order of work.
 *
 *     owner                                   thread
 *     vs_cut_begin
 *     hooks->ready  --- ready parts -------->  G file at once: linking waits for it
 *                                             V files when no part wants its G file
 *                   <-- vs_cut_part_done ---
 *     hooks->walked --- how many ----------->  all seen: packs of small ones
 *                                             sync directory, manifest aside, rename, commit
 *     snapshot_save_poll <-- ended ----------
 *
 * A failure on either side ends the other: the thread notes it and gives back what it holds, the
 * owner then ends the cut; the cut's own failure arrives as `cancelled`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/snapshot_int.h"
#include "persist/vfs_path.h"

#define SNAPSHOT_NICE 10

/* ---- failures, buffers, files ---- */

bool save_fail(struct snapshot_save *s, enum vs_status status, const char *text)
{
    if (s->status == VS_OK) {
        s->status = status;
        snprintf(s->error, sizeof(s->error), "%s", text);
    }
    return false;
}

bool save_fail_errno(struct snapshot_save *s, enum vs_status status, const struct vfs_error *err)
{
    return save_fail(s, status, err->text);
}

bool save_cancelled(struct snapshot_save *s)
{
    pthread_mutex_lock(&s->lock);
    bool cancelled = s->cancelled;
    pthread_mutex_unlock(&s->lock);
    return cancelled;
}

bool save_stopped(struct snapshot_save *s)
{
    struct vfs_error err;
    enum vs_status status = s->writer ? segment_status(s->writer, &err) : VS_OK;
    if (status != VS_OK)
        save_fail_errno(s, status, &err);
    if (save_cancelled(s))
        save_fail(s, VS_CANCELLED, s->cancel_why);
    return s->status != VS_OK;
}

void *save_buffer(struct snapshot_save *s, size_t size)
{
    if (size > s->buffer_size) {
        mem_free(s->buffer);
        s->buffer = mem_try_alloc(size);
        s->buffer_size = s->buffer ? size : 0;
        if (!s->buffer)
            save_fail(s, VS_NOMEM, "out of memory for a chunk");
    }
    return s->buffer;
}

static void segment_name(const struct snapshot_save *s, size_t k, struct buf *out)
{
    buf_printf(out, "%016" PRIx64 "-%zu" SNAPSHOT_SEGMENT_SUFFIX, s->id, k);
    buf_append(out, "", 1);
}

char *save_segment_path(const struct snapshot_save *s, const char *name)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s", s->o.segments, name);
    char *path = mem_strndup(b.data, b.len);
    buf_release(&b);
    return path;
}

bool save_file_begin(struct snapshot_save *s, uint64_t expect)
{
    struct vfs_error err;
    struct buf name = {0};
    if (!mem_try_grow(&s->made, &s->made_cap, s->nmade + 1, sizeof(struct saved_file *)))
        return save_fail(s, VS_NOMEM, "out of memory");
    segment_name(s, s->nmade, &name);
    char *path = save_segment_path(s, name.data);
    buf_release(&name);
    enum vs_status status =
        segment_create(s->o.vfs, path, s->id, s->cut_number, expect, &s->writer, &err);
    mem_free(path);
    return status == VS_OK || save_fail_errno(s, status, &err);
}

struct saved_file *save_file_end(struct snapshot_save *s)
{
    struct vfs_error err;
    struct segment_sums sums;
    struct buf name = {0}, why = {0};
    enum vs_status status = segment_finish(s->writer, &sums, &err);
    s->writer = NULL;
    if (status != VS_OK) {
        save_fail_errno(s, status, &err);
        return NULL;
    }
    segment_name(s, s->nmade, &name);
    struct saved_file *f = saved_file_new(&sums, s->cut_number, name.data);
    char *path = save_segment_path(s, name.data);
    buf_release(&name);
    s->made[s->nmade++] = f;
    atomic_fetch_add_explicit(&s->written, sums.size, memory_order_relaxed);
    if (!save_is_copy(s))
        status = segment_verify(s->o.vfs, path, &sums, &why);
    mem_free(path);
    if (status != VS_OK) {
        buf_append(&why, "", 1);
        save_fail(s, status, why.data);
    }
    buf_release(&why);
    return status == VS_OK ? saved_file_ref(f) : NULL;
}

/* ---- parts ---- */

static void part_done(struct vs_cut_part *cut)
{
    if (cut->cut)
        graph_cut_links_done(cut->cut);
    vs_cut_part_done(cut);
}

static void give_back(struct save_part *sp)
{
    if (!sp->cut)
        return;
    part_done(sp->cut);
    sp->cut = NULL;
    sp->state = NULL;
}

static struct save_part *new_part(struct snapshot_save *s, struct vs_cut_part *cut)
{
    struct save_part *sp = mem_zalloc(sizeof(*sp));
    sp->cut = cut;
    sp->uid = cut->index_uid;
    sp->number = cut->number;
    sp->db = cut->db;
    sp->key = mem_try_strndup(cut->key, cut->key_len);
    sp->key_len = cut->key_len;
    sp->deadline_ms = cut->deadline_ms;
    sp->options = *cut->options;
    sp->next = s->parts;
    s->parts = sp;
    return sp;
}

static void append(struct save_part ***tail, struct save_part *sp)
{
    sp->next_todo = NULL;
    **tail = sp;
    *tail = &sp->next_todo;
}

/* A partition that is not open stays where it is; small ones may get another pack. */
static bool begin_stub(struct snapshot_save *s, struct save_part *sp)
{
    if (!save_is_copy(s) && saved_part_of(sp->cut->saved)->part.flags & SNAPSHOT_SMALL) {
        append(&s->small_tail, sp);
        return true;
    }
    if (!save_kept(s, sp))
        return false;
    give_back(sp);
    atomic_fetch_add_explicit(&s->done, 1, memory_order_relaxed);
    return true;
}

/* What is done with a part as soon as it is there. */
static bool begin_part(struct snapshot_save *s, struct save_part *sp)
{
    if (!sp->key)
        return save_fail(s, VS_NOMEM, "out of memory");
    if (!sp->cut->cut)
        return begin_stub(s, sp);
    sp->state = graph_cut_state(sp->cut->cut);
    if (!sp->state)
        return save_fail(s, VS_NOMEM, "out of memory");
    if (!sp->state->graphed && sp->state->slots < CHUNK_SLOTS) {
        append(&s->small_tail, sp);
        return true;
    }
    if (!save_is_copy(s) && save_unchanged(s, sp)) {
        give_back(sp);
        atomic_fetch_add_explicit(&s->done, 1, memory_order_relaxed);
        return true;
    }
    if (s->status != VS_OK || !save_graph(s, sp))
        return false;
    append(&s->vectors_tail, sp);
    return true;
}

static bool end_part(struct snapshot_save *s)
{
    struct save_part *sp = s->vectors;
    s->vectors = sp->next_todo;
    if (!s->vectors)
        s->vectors_tail = &s->vectors;
    if (!save_vectors(s, sp))
        return false;
    give_back(sp);
    atomic_fetch_add_explicit(&s->done, 1, memory_order_relaxed);
    return true;
}

/* The next part; waits for one unless there is other work. NULL and *all: there are no more. */
static struct vs_cut_part *take(struct snapshot_save *s, bool wait, bool *all)
{
    pthread_mutex_lock(&s->lock);
    for (;;) {
        *all = s->walked && s->nready == s->total && !s->ready;
        if (s->ready || *all || s->cancelled || !wait)
            break;
        pthread_cond_wait(&s->news, &s->lock);
    }
    struct vs_cut_part *cut = s->ready;
    if (cut) {
        s->ready = cut->next;
        if (!s->ready)
            s->ready_tail = &s->ready;
    }
    pthread_mutex_unlock(&s->lock);
    return cut;
}

static bool save_parts(struct snapshot_save *s)
{
    for (;;) {
        bool all;
        struct vs_cut_part *cut = take(s, !s->vectors, &all);
        if (cut) {
            if (!begin_part(s, new_part(s, cut)))
                return false;
        } else if (s->vectors) {
            if (!end_part(s))
                return false;
        } else if (all) {
            return save_packs(s);
        }
        if (save_stopped(s))
            return false;
    }
}

/* ---- the thread ---- */

static void remove_made(struct snapshot_save *s)
{
    segment_abort(s->writer);
    s->writer = NULL;
    for (size_t i = 0; i < s->nmade && !s->uncertain; i++) {
        char *path = save_segment_path(s, s->made[i]->file.name);
        vfs_path_unlink(s->o.vfs, path, NULL);
        mem_free(path);
    }
}

/* The thread takes no more parts: those that wait and those that come are given back. */
static void go_deaf(struct snapshot_save *s)
{
    pthread_mutex_lock(&s->lock);
    s->deaf = true;
    struct vs_cut_part *cut = s->ready;
    s->ready = NULL;
    s->ready_tail = &s->ready;
    pthread_mutex_unlock(&s->lock);
    while (cut) {
        struct vs_cut_part *next = cut->next;
        part_done(cut);
        cut = next;
    }
}

static void *save_thread(void *arg)
{
    struct snapshot_save *s = arg;
    struct vfs_error err;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), SNAPSHOT_NICE);
    enum vs_status status = vfs_path_mkdir(s->o.vfs, s->o.segments, &err);
    bool ok = status == VS_OK || save_fail_errno(s, status, &err);
    ok = ok && save_parts(s) && (save_is_copy(s) ? save_end_copy(s) : save_end_files(s));
    /* Whatever it was: it must not be taken for a snapshot. */
    if (!ok && !save_stopped(s))
        save_fail(s, VS_INVALID, "it ended before its end");
    if (!ok)
        remove_made(s);
    go_deaf(s);
    for (struct save_part *sp = s->parts; sp; sp = sp->next)
        give_back(sp);
    if (ok && s->o.set)
        save_map(s);
    atomic_store_explicit(&s->failed, !ok, memory_order_relaxed);
    void (*wake)(void *) = s->o.wake;
    void *wake_arg = s->o.wake_arg;
    atomic_store_explicit(&s->ended, true, memory_order_release);
    if (wake)
        wake(wake_arg);
    return NULL;
}

/* ---- the cut's hooks, on the owner ---- */

static bool is_wanted(const struct snapshot_save *s, const struct vs_cut_part *cut)
{
    const struct snapshot_only *o = s->o.only;
    return !o || (cut->number == o->number && cut->db == o->db && cut->key_len == o->key_len &&
                  !memcmp(cut->key, o->key, o->key_len));
}

static void on_ready(void *arg, struct vs_cut_part *cut)
{
    struct snapshot_save *s = arg;
    bool wanted = is_wanted(s, cut);
    pthread_mutex_lock(&s->lock);
    bool takes = !s->deaf && wanted;
    if (takes) {
        cut->next = NULL;
        *s->ready_tail = cut;
        s->ready_tail = &cut->next;
    }
    s->nready += !s->deaf;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    if (!takes)
        part_done(cut);
}

static void on_walked(void *arg, size_t indexes, size_t parts)
{
    struct snapshot_save *s = arg;
    (void)indexes;
    pthread_mutex_lock(&s->lock);
    s->walked = true;
    s->total = parts;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void cancel(struct snapshot_save *s, const char *why)
{
    pthread_mutex_lock(&s->lock);
    if (!s->cancelled)
        snprintf(s->cancel_why, sizeof(s->cancel_why), "%s", why);
    s->cancelled = true;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void on_failed(void *arg, enum vs_status status, const char *why)
{
    struct snapshot_save *s = arg;
    s->cut_over = true;
    cancel(s, why ? why : vs_status_text(status));
}

/* ---- the owner's functions ---- */

static void free_save(struct snapshot_save *s)
{
    while (s->parts) {
        struct save_part *sp = s->parts;
        s->parts = sp->next;
        saved_part_free(sp->made);
        save_unmap(sp);
        mem_free(sp->key);
        mem_free(sp);
    }
    for (size_t i = 0; i < s->nmade; i++)
        saved_file_unref(s->made[i]);
    mem_free(s->made);
    mem_free(s->buffer);
    snapshot_manifest_release(&s->manifest);
    mem_free((char *)s->o.segments);
    mem_free((char *)s->o.manifest);
    mem_free((char *)s->o.copy_segments);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->news);
    mem_free(s);
}

enum vs_status snapshot_save_start(const struct snapshot_save_options *o, struct vs_store *store,
                                   struct snapshot_save **out)
{
    struct snapshot_save *s = mem_zalloc(sizeof(*s));
    s->o = *o;
    s->o.segments = mem_strndup(o->segments, strlen(o->segments));
    s->o.manifest = mem_strndup(o->manifest, strlen(o->manifest));
    if (o->copy_from)
        s->o.copy_segments = mem_strndup(o->copy_segments, strlen(o->copy_segments));
    s->store = store;
    s->wall_ms = clock_wall_ms();
    s->id = o->id;
    if (!s->id)
        rng_system(&s->id, sizeof(s->id));
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->news, NULL);
    s->ready_tail = &s->ready;
    s->vectors_tail = &s->vectors;
    s->small_tail = &s->small;
    struct vs_cut_hooks hooks = {on_ready, on_walked, on_failed, s};
    enum vs_status status = vs_cut_begin(store, &hooks);
    if (status != VS_OK) {
        free_save(s);
        return status;
    }
    s->cut_number = vs_cut_number(store);
    if (pthread_create(&s->thread, NULL, save_thread, s) != 0) {
        go_deaf(s);
        vs_cut_abort(store);
        free_save(s);
        return VS_NOMEM;
    }
    pthread_setname_np(s->thread, "snapshot");
    *out = s;
    return VS_OK;
}

void snapshot_save_abort(struct snapshot_save *s)
{
    cancel(s, "given up");
    if (!s->cut_over)
        vs_cut_abort(s->store);
    s->cut_over = true;
}

bool snapshot_save_poll(struct snapshot_save *s)
{
    if (!atomic_load_explicit(&s->ended, memory_order_acquire))
        return false;
    if (atomic_load_explicit(&s->failed, memory_order_relaxed) && !s->cut_over) {
        s->cut_over = true;
        vs_cut_abort(s->store);
    }
    return true;
}

void snapshot_save_progress(struct snapshot_save *s, struct snapshot_progress *out)
{
    pthread_mutex_lock(&s->lock);
    out->parts_total = s->walked ? s->total : 0;
    pthread_mutex_unlock(&s->lock);
    out->parts = atomic_load_explicit(&s->done, memory_order_relaxed);
    out->written = atomic_load_explicit(&s->written, memory_order_relaxed);
}

bool snapshot_save_uncertain(const struct snapshot_save *s)
{
    return s->uncertain;
}

enum vs_status snapshot_save_end(struct snapshot_save *s, struct snapshot_manifest *manifest,
                                 struct buf *why)
{
    pthread_join(s->thread, NULL);
    snapshot_save_poll(s);
    vs_cut_detach(s->store);
    enum vs_status status = s->status;
    for (struct save_part *sp = s->parts; sp && status == VS_OK && !save_is_copy(s); sp = sp->next) {
        vs_set_saved(s->store, sp->uid, sp->number, &sp->made->saved);
        sp->made = NULL;
        if (sp->groups)
            vs_map_part(s->store, sp->uid, sp->number, s->cut_number, sp->group_chunks,
                        sp->groups, sp->ngroups, sp->links_in, sp->links);
    }
    if (status == VS_OK) {
        *manifest = s->manifest;
        memset(&s->manifest, 0, sizeof(s->manifest));
    } else if (why) {
        buf_puts(why, s->error);
    }
    free_save(s);
    return status;
}
