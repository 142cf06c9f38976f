/* A full synchronisation at the primary: a snapshot that is sent instead of written.
 *
 *   snapshot's thread --frames--> queue (SYNC_QUEUE_MAX, then it waits) --loop--> connections
 *
 * All replicas that wait when it begins get the same bytes, at the pace of the slowest. What is written
 * meanwhile waits for each in the backlog, from the offset of the cut on.
 *
 * One partition goes the same way to a replica that asked for it (mend.c), between two records of its stream. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal.h"
#include "persist/le.h"
#include "persist/persist.h"
#include "persist/stream.h"
#include "repl/repl_int.h"

#define ZSTD_LEVEL 1
#define SYNC_QUEUE_MAX ((size_t)4 << 20)
#define MEND_EVERY_MS 200
#define SYNC_UNSENT_MAX ((size_t)4 << 20) /* of a connection, at which the others wait for it */

struct chunk {
    struct chunk *next;
    struct buf bytes;
};

struct sync {
    struct repl *r;
    struct net *net;
    struct stream stream;
    struct wire_place at;      /* of all its frames */
    ZSTD_CCtx *zstd;           /* the thread's; NULL: blocks are sent as they are */
    struct buf packed;
    pthread_mutex_t lock;      /* "sync": guards the next ones */
    pthread_cond_t room;
    struct chunk *first, **tail;
    size_t queued;
    bool cancelled;
    /* the loop's */
    bool part;                 /* one partition alone, to `mends`; NULL: that replica is gone */
    struct replica *mends;
    struct part_name name;
    struct snapshot_only only;
    bool over, ok;
    uint64_t sent;
};

bool sync_runs(const struct repl *r)
{
    return r->sync != NULL;
}

/* ---- the snapshot's thread ---- */

static struct chunk *chunk_new(size_t len)
{
    struct chunk *chunk = mem_try_zalloc(sizeof(*chunk));
    if (!chunk || !buf_try_reserve(&chunk->bytes, WIRE_FRAME + len)) {
        mem_free(chunk);
        return NULL;
    }
    return chunk;
}

/* Takes `chunk`. */
static bool queue(struct sync *y, struct chunk *chunk)
{
    pthread_mutex_lock(&y->lock);
    while (y->queued > SYNC_QUEUE_MAX && !y->cancelled)
        pthread_cond_wait(&y->room, &y->lock);
    bool ok = !y->cancelled, first = !y->first;
    if (ok) {
        y->queued += chunk->bytes.len;
        *y->tail = chunk;
        y->tail = &chunk->next;
    }
    pthread_mutex_unlock(&y->lock);
    if (!ok) {
        buf_release(&chunk->bytes);
        mem_free(chunk);
    } else if (first) {
        net_wake(y->net);
    }
    return ok;
}

static bool push(struct sync *y, enum wire_type type, const void *data, size_t len)
{
    struct chunk *chunk = chunk_new(len);
    if (!chunk)
        return false;
    wire_control(&chunk->bytes, type, &y->at, data, len);
    return queue(y, chunk);
}

/* A block of a segment comes with its sum, which the replica compares instead of one of the frame's own. */
static bool push_plain(struct sync *y, const uint8_t *data, size_t len, const struct stream_sum *sum)
{
    struct chunk *chunk = chunk_new(len);
    if (!chunk)
        return false;
    uint8_t *frame = (uint8_t *)chunk->bytes.data;
    if (sum)
        wire_data_head(frame, &y->at, len, sum->seed, sum->sum);
    else
        wire_data_head(frame, &y->at, len, 0, hash_bytes(data, len, 0));
    memcpy(frame + WIRE_FRAME, data, len);
    chunk->bytes.len = WIRE_FRAME + len;
    return queue(y, chunk);
}

static bool on_file(void *arg, const char *name)
{
    return push(arg, WIRE_SNAP_FILE, name, strlen(name));
}

/* Compressed where that saves a sixteenth at least. */
static bool push_block(struct sync *y, const uint8_t *data, size_t len, const struct stream_sum *sum)
{
    size_t room = ZSTD_compressBound(len), n;
    y->packed.len = 0;
    if (!y->zstd || !buf_try_reserve(&y->packed, 4 + room))
        return push_plain(y, data, len, sum);
    n = ZSTD_compressCCtx(y->zstd, y->packed.data + 4, room, data, len, ZSTD_LEVEL);
    if (ZSTD_isError(n) || n > len - len / 16)
        return push_plain(y, data, len, sum);
    le32_put(y->packed.data, (uint32_t)len);
    return push(y, WIRE_SNAP_ZSTD, y->packed.data, 4 + n);
}

static bool on_data(void *arg, const void *data, size_t len, const struct stream_sum *sum)
{
    const uint8_t *from = data;
    if (len > WIRE_BLOCK)
        sum = NULL;
    while (len) {
        size_t n = len < WIRE_BLOCK ? len : WIRE_BLOCK;
        if (!push_block(arg, from, n, sum))
            return false;
        from += n;
        len -= n;
    }
    return true;
}

static bool on_file_end(void *arg, uint64_t bytes)
{
    uint8_t size[8];
    le64_put(size, bytes);
    return push(arg, WIRE_SNAP_CLOSE, size, sizeof(size));
}

/* ---- the loop ---- */

static void on_over(void *arg, bool ok)
{
    struct sync *y = arg;
    y->over = true;
    y->ok = ok;
    net_wake(y->net);
}

static struct chunk *take(struct sync *y)
{
    pthread_mutex_lock(&y->lock);
    struct chunk *chunk = y->first;
    if (chunk) {
        y->first = chunk->next;
        if (!y->first)
            y->tail = &y->first;
        y->queued -= chunk->bytes.len;
        pthread_cond_signal(&y->room);
    }
    pthread_mutex_unlock(&y->lock);
    return chunk;
}

static void cancel(struct sync *y)
{
    pthread_mutex_lock(&y->lock);
    bool already = y->cancelled;
    y->cancelled = true;
    pthread_cond_signal(&y->room);
    pthread_mutex_unlock(&y->lock);
    if (!already && !y->over)
        persist_save_abort(y->r->s->persist);
}

static void free_sync(struct sync *y)
{
    struct chunk *chunk;
    while ((chunk = take(y))) {
        buf_release(&chunk->bytes);
        mem_free(chunk);
    }
    pthread_mutex_destroy(&y->lock);
    pthread_cond_destroy(&y->room);
    ZSTD_freeCCtx(y->zstd);
    buf_release(&y->packed);
    part_name_drop(&y->name);
    mem_free(y);
}

/* Is it sent to? */
static bool takes(const struct sync *y, const struct replica *p)
{
    return !p->c->closing && (y->part ? p == y->mends : p->state == REPLICA_SENDING);
}

void sync_replica_gone(struct repl *r, const struct replica *p)
{
    if (r->sync && r->sync->mends == p)
        r->sync->mends = NULL;
}

/* Of those that are sent to: how many, and has each room for more? */
static size_t receivers(struct repl *r, const struct sync *y, bool *room)
{
    struct replica *p;
    size_t n = 0;
    *room = true;
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (!takes(y, p))
            continue;
        n++;
        *room &= net_conn_unsent(p->c->conn) < SYNC_UNSENT_MAX;
    }
    return n;
}

static void send(struct repl *r, const struct sync *y, struct buf *bytes, size_t n)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (!takes(y, p))
            continue;
        if (--n == 0) {
            net_conn_append(p->c->conn, bytes); /* the last takes it */
        } else {
            struct buf copy = {0};
            buf_append(&copy, bytes->data, bytes->len);
            net_conn_append(p->c->conn, &copy);
        }
        net_conn_send(p->c->conn);
        p->alive_ms = r->s->now_ms;
    }
}

static void pump(struct repl *r, struct sync *y)
{
    bool room;
    size_t n;
    struct chunk *chunk;
    while ((n = receivers(r, y, &room)) > 0 && room && (chunk = take(y))) {
        y->sent += chunk->bytes.len;
        send(r, y, &chunk->bytes, n);
        buf_release(&chunk->bytes);
        mem_free(chunk);
    }
    if (n == 0)
        cancel(y);
}

/* All has been sent, or will never be. */
static void end(struct repl *r, struct sync *y)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (!takes(y, p))
            continue;
        p->mending = false;
        if (y->ok) {
            p->state = REPLICA_ONLINE;
            p->ack_ms = p->alive_ms = r->s->now_ms;
            continue;
        }
        static const char why[] = "the snapshot failed; the primary's log says why";
        wire_control(net_conn_out(p->c->conn), WIRE_SNAP_FAILED, &y->at, why, sizeof(why) - 1);
        net_conn_send(p->c->conn);
        if (!y->part)
            client_close_after(p->c);
    }
    if (y->part) {
        r->parts_sent += y->ok && !y->cancelled;
        r->parts_bytes += y->sent;
    } else {
        r->sync_bytes = y->sent;
    }
    if (y->ok && !y->cancelled && !y->part)
        log_notice("All data have been sent: %llu bytes", (unsigned long long)y->sent);
    r->sync = NULL;
    free_sync(y);
}

static bool is_due(struct repl *r)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        if (p->state == REPLICA_WAITS && !p->c->closing &&
            r->s->now_ms >= p->began_ms + (uint64_t)r->c->repl_diskless_sync_delay * 1000)
            return true;
    return false;
}

/* Those that get the same bytes. */
static bool all_take_zstd(const struct repl *r)
{
    const struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        if (p->state == REPLICA_WAITS && !p->zstd)
            return false;
    return true;
}

/* As of now; `part` NULL: everything. NULL: it cannot be, and is tried again in another turn. */
static struct sync *start(struct repl *r, bool zstd, const struct part_name *part)
{
    struct sync *y = mem_zalloc(sizeof(*y));
    struct stream_sink sink = {on_file, on_data, on_file_end, y};
    y->r = r;
    y->net = r->s->net;
    y->at = r->at;
    y->tail = &y->first;
    y->zstd = r->c->repl_compression && zstd ? ZSTD_createCCtx() : NULL;
    y->part = part != NULL;
    if (part) {
        part_name_set(&y->name, part);
        y->only = (struct snapshot_only){part->db, y->name.key, part->key_len, part->number};
    }
    pthread_mutex_init(&y->lock, NULL);
    pthread_cond_init(&y->room, NULL);
    stream_init(&y->stream, &sink);
    struct vfs vfs = stream_vfs(&y->stream);
    enum vs_status status = persist_send(r->s->persist, &vfs, part ? &y->only : NULL, on_over, y);
    if (status != VS_OK) {
        free_sync(y);
        if (status != VS_EXISTS)
            log_warning("The data cannot be sent now: %s", vs_status_text(status));
        return NULL;
    }
    r->sync = y;
    return y;
}

/* ---- one partition ---- */

static struct replica *wants_part(struct repl *r)
{
    struct replica *p;
    TAILQ_FOREACH(p, &r->replicas, link)
        if (p->want.key && p->state == REPLICA_ONLINE && !p->c->closing &&
            r->s->now_ms >= p->mended_ms + MEND_EVERY_MS)
            return p;
    return NULL;
}

static void begin_part(struct repl *r)
{
    struct replica *p = wants_part(r);
    struct digest_entry e;
    struct buf said = {0};
    if (!p || r->s->swapping || r->s->shutdown != SHUTDOWN_NO || (r->replica && !r->in_sync))
        return;
    replica_feed(r, p);
    if (p->cursor.offset != r->at.offset)
        return; /* a place between two records of its stream comes */
    bool there = digest_of(r, &p->want, &e);
    struct sync *y = there ? start(r, p->zstd, &p->want) : NULL;
    if (there && !y)
        return;
    if (!there)
        e = (struct digest_entry){.part = p->want};
    digest_put(&said, &e);
    wire_control(net_conn_out(p->c->conn), WIRE_PART, &r->at, said.data, said.len);
    if (!there)
        wire_control(net_conn_out(p->c->conn), WIRE_SNAP_FAILED, &r->at, NULL, 0);
    net_conn_send(p->c->conn);
    log_notice("Partition %u of '%.*s' is sent to the replica %s, as of offset %llu", e.part.number,
               (int)(e.part.key_len < 100 ? e.part.key_len : 100), e.part.key, net_conn_peer(p->c->conn),
               (unsigned long long)r->at.offset);
    p->mended_ms = r->s->now_ms;
    p->mending = there;
    if (y)
        y->mends = p;
    part_name_drop(&p->want);
    buf_release(&said);
}

/* ---- everything ---- */

static void begin(struct repl *r)
{
    struct server *s = r->s;
    struct replica *p;
    if (s->swapping || s->shutdown != SHUTDOWN_NO || !is_due(r))
        return;
    if (!start(r, all_take_zstd(r), NULL))
        return;
    TAILQ_FOREACH(p, &r->replicas, link) {
        if (p->state != REPLICA_WAITS || p->c->closing)
            continue;
        char line[192];
        int n = snprintf(line, sizeof(line),
                         "+FULLRESYNC %s %" PRIu64 " %016" PRIx64 " %" PRIu64 "\r\n", r->replid,
                         r->at.offset, r->at.nonce, r->at.lsn);
        if (p->common != REPL_NO_OFFSET)
            n += snprintf(line + n - 2, sizeof(line) - (size_t)n, " %" PRIu64 "\r\n", p->common) - 2;
        buf_append(net_conn_out(p->c->conn), line, (size_t)n);
        net_conn_send(p->c->conn);
        p->cursor = (struct backlog_cursor){.offset = r->at.offset};
        p->state = REPLICA_SENDING;
        p->alive_ms = s->now_ms;
        r->full_syncs++;
        log_notice("All data as of offset %llu are sent to the replica %s",
                   (unsigned long long)r->at.offset, net_conn_peer(p->c->conn));
    }
}

void sync_turn(struct repl *r)
{
    struct sync *y = r->sync;
    if (!y) {
        if (r->nreplicas)
            begin(r);
        if (r->nreplicas && !r->sync)
            begin_part(r);
        return;
    }
    pump(r, y);
    /* What nobody is there to receive goes with it. */
    if (y->over && (!y->first || y->cancelled))
        end(r, y);
}

void sync_stop(struct repl *r)
{
    struct sync *y = r->sync;
    if (!y)
        return;
    cancel(y);
    while (!y->over && r->s->journal) {
        persist_poll(r->s->persist);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    r->sync = NULL;
    free_sync(y);
}
