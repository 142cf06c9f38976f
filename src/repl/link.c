#include "repl/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "persist/le.h"
#include "repl/link_int.h"

#define ITEM_BYTES ((size_t)256 << 10) /* frames that are handed over together */

bool link_fail(struct link *l, const char *fmt, ...)
{
    va_list ap;
    if (*l->error)
        return false;
    va_start(ap, fmt);
    vsnprintf(l->error, sizeof(l->error), fmt, ap);
    va_end(ap);
    return false;
}

bool link_stopped(const struct link *l)
{
    return atomic_load_explicit(&l->stop, memory_order_relaxed);
}

/* ---- the queue ---- */

static size_t item_bytes(const struct link_item *item)
{
    return item->bytes.cap + sizeof(*item);
}

void link_push(struct link *l, struct link_item *item)
{
    item->next = NULL;
    pthread_mutex_lock(&l->lock);
    l->queued += item_bytes(item);
    *l->tail = item;
    l->tail = &item->next;
    pthread_mutex_unlock(&l->lock);
    l->wake(l->arg);
}

struct link_item *link_take(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    struct link_item *item = l->first;
    if (item) {
        l->first = item->next;
        if (!l->first)
            l->tail = &l->first;
    }
    pthread_mutex_unlock(&l->lock);
    return item;
}

void link_item_free(struct link *l, struct link_item *item)
{
    pthread_mutex_lock(&l->lock);
    l->queued -= item_bytes(item);
    pthread_cond_signal(&l->room);
    pthread_mutex_unlock(&l->lock);
    if (item->store)
        vs_close(item->store);
    memory_files_free(item->files);
    buf_release(&item->bytes);
    mem_free(item);
}

/* ---- frames ---- */

static bool hand_over(struct link *l)
{
    struct link_item *item = l->frames;
    if (!item)
        return true;
    l->frames = NULL;
    link_push(l, item);
    /* The loop is behind: reading stops, but not the signs of life. */
    pthread_mutex_lock(&l->lock);
    while (l->queued > LINK_QUEUE_MAX && !link_stopped(l)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&l->room, &l->lock, &until);
        pthread_mutex_unlock(&l->lock);
        if (!link_send_ack(l, false))
            return false;
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return true;
}

static bool gather(struct link *l, const uint8_t *frame, size_t len)
{
    if (!l->frames) {
        l->frames = mem_zalloc(sizeof(*l->frames));
        l->frames->kind = LINK_FRAMES;
    }
    if (!buf_try_append(&l->frames->bytes, frame, len))
        return link_fail(l, "out of memory for the stream");
    return l->frames->bytes.len < ITEM_BYTES || hand_over(l);
}

bool link_spoil(struct link *l, const char *why)
{
    atomic_store_explicit(&l->spoilt, true, memory_order_relaxed);
    return link_fail(l, "the stream is not what it should be: %s", why);
}

static bool take_frame(struct link *l, const struct journal_frame *f, const uint8_t *frame)
{
    const char *why = wire_check(f, frame + WIRE_FRAME, &l->at);
    if (why)
        return link_spoil(l, why);
    if (f->type >= WIRE_SNAP_FILE && f->type <= WIRE_SNAP_FAILED)
        return link_snapshot_frame(l, f, frame + WIRE_FRAME);
    if (f->type == WIRE_PART)
        return hand_over(l) && link_part_begin(l, frame + WIRE_FRAME, f->bytes);
    if (!wire_is_data(f->type) && f->type != WIRE_GETACK && f->type != WIRE_DIGEST)
        return true;
    if (l->full || (l->part && wire_is_data(f->type)))
        return link_spoil(l, "a record comes before the snapshot has ended");
    if (f->type == WIRE_GETACK)
        l->asked_ns = clock_mono_ns();
    if (wire_is_data(f->type)) {
        l->at.offset += WIRE_FRAME + f->bytes;
        l->at.lsn = f->lsn;
    }
    return gather(l, frame, WIRE_FRAME + f->bytes);
}

/* Frames until the connection ends. */
static bool stream(struct link *l)
{
    for (;;) {
        struct journal_frame f;
        if (l->in.len - l->used < WIRE_FRAME && !hand_over(l))
            return false;
        if (!link_have(l, WIRE_FRAME))
            return false;
        const char *why = wire_head((const uint8_t *)l->in.data + l->used, l->at.nonce, &f);
        if (why)
            return link_spoil(l, why);
        if (f.type == WIRE_SNAP_DATA) {
            l->used += WIRE_FRAME;
            if (!link_snapshot_data(l, &f))
                return false;
            continue;
        }
        if (l->in.len - l->used < WIRE_FRAME + f.bytes && !hand_over(l))
            return false;
        if (!link_have(l, WIRE_FRAME + f.bytes) ||
            !take_frame(l, &f, (const uint8_t *)l->in.data + l->used))
            return false;
        l->used += WIRE_FRAME + f.bytes;
    }
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct link *l = arg;
    if (link_connect(l)) {
        atomic_store(&l->state, LINK_HANDSHAKE);
        if (link_handshake(l)) {
            l->streams = true;
            atomic_store(&l->connected, true);
            atomic_store(&l->state, l->full ? LINK_SYNC : LINK_CONNECTED);
            l->wake(l->arg);
            stream(l);
        }
    }
    link_snapshot_drop(l);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->frames && !link_stopped(l))
        link_push(l, l->frames); /* they came whole */
    else if (l->frames)
        mem_free((buf_release(&l->frames->bytes), l->frames));
    l->frames = NULL;
    atomic_store(&l->state, LINK_ENDED);
    l->wake(l->arg);
    return NULL;
}

static char *text(const char *from)
{
    return mem_strndup(from, strlen(from));
}

struct link *link_start(const struct link_options *o)
{
    struct link *l = mem_zalloc(sizeof(*l));
    l->host = text(o->host);
    l->user = text(o->user);
    l->password = text(o->password);
    l->announce_ip = text(o->announce_ip);
    l->port = o->port;
    l->announce_port = o->announce_port;
    l->timeout_ms = o->timeout_ms;
    l->failover = o->failover;
    if (o->replid)
        memcpy(l->replid, o->replid, sizeof(l->replid));
    l->at = o->at;
    l->store = o->store;
    l->wake = o->wake;
    l->arg = o->arg;
    l->fd = -1;
    l->tail = &l->first;
    atomic_store(&l->last_ns, clock_mono_ns());
    if (o->replid)
        atomic_store(&l->acked, o->at.offset);
    l->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    if (l->wakeup >= 0 && pthread_create(&l->thread, NULL, run, l) == 0) {
        pthread_setname_np(l->thread, "replication");
        return l;
    }
    atomic_store(&l->state, LINK_ENDED);
    l->stop = true;
    l->thread = pthread_self();
    link_free(l);
    return NULL;
}

static void wake_thread(struct link *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wakeup, &one, sizeof(one));
    (void)n; /* a full counter wakes, too */
}

void link_stop(struct link *l)
{
    atomic_store(&l->stop, true);
    wake_thread(l);
    pthread_mutex_lock(&l->lock);
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
}

void link_free(struct link *l)
{
    struct link_item *item;
    if (!l)
        return;
    link_stop(l);
    if (!pthread_equal(l->thread, pthread_self()))
        pthread_join(l->thread, NULL);
    while ((item = link_take(l)))
        link_item_free(l, item);
    if (l->wakeup >= 0)
        close(l->wakeup);
    buf_release(&l->in);
    buf_release(&l->unpacked);
    buf_release(&l->said);
    buf_release(&l->digests);
    buf_release(&l->commands);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->room);
    mem_free(l->host);
    mem_free(l->user);
    mem_free(l->password);
    mem_free(l->announce_ip);
    mem_free(l);
}

/* ---- what the loop asks ---- */

enum link_state link_state(const struct link *l)
{
    return (enum link_state)atomic_load(&l->state);
}

uint64_t link_silence_ms(const struct link *l)
{
    uint64_t now = clock_mono_ns(), last = atomic_load(&l->last_ns);
    return now > last ? (now - last) / 1000000 : 0;
}

uint64_t link_received(const struct link *l)
{
    return atomic_load_explicit(&l->received, memory_order_relaxed);
}

const char *link_error(const struct link *l)
{
    return *l->error ? l->error : "it was ended";
}

bool link_was_connected(const struct link *l)
{
    return atomic_load(&l->connected);
}

bool link_was_refused(const struct link *l)
{
    return atomic_load(&l->refused);
}

bool link_ask_no_more(struct link *l)
{
    int is = LINK_ASK_MAY;
    return atomic_compare_exchange_strong(&l->ask, &is, LINK_ASK_NEVER) || is == LINK_ASK_NEVER;
}

bool link_is_spoilt(const struct link *l)
{
    return atomic_load(&l->spoilt);
}

void link_acknowledge(struct link *l, uint64_t offset, uint64_t synced, uint64_t different, bool now)
{
    atomic_store(&l->different, different);
    atomic_store(&l->acked, offset);
    atomic_store(&l->synced, synced);
    if (now && !atomic_exchange(&l->ack_now, true))
        wake_thread(l);
}

void link_tell_digests(struct link *l, struct buf *entries)
{
    pthread_mutex_lock(&l->lock);
    buf_release(&l->digests);
    l->digests = *entries;
    pthread_mutex_unlock(&l->lock);
    *entries = (struct buf){0};
}

bool link_digests_told(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    bool told = !l->digests.len;
    pthread_mutex_unlock(&l->lock);
    return told;
}

void link_say(struct link *l, const struct buf *command)
{
    pthread_mutex_lock(&l->lock);
    buf_append(&l->commands, command->data, command->len);
    pthread_mutex_unlock(&l->lock);
    if (!atomic_exchange(&l->ack_now, true))
        wake_thread(l);
}
