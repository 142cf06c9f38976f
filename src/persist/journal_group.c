/* The owner's side of the journal: effects become records, records wait in the turn's chunk. */
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "persist/effect.h"
#include "persist/journal_int.h"

#define HISTORY_ROOM (JOURNAL_FRAME + JOURNAL_HISTORY_BYTES)

static struct journal_chunk *current(struct journal *j)
{
    if (!j->cur) {
        pthread_mutex_lock(&j->lock);
        j->cur = j->spare;
        j->spare = NULL;
        pthread_mutex_unlock(&j->lock);
        if (!j->cur)
            j->cur = mem_zalloc(sizeof(*j->cur));
    }
    return j->cur;
}

/* Are effects to be encoded? */
static bool is_kept(const struct journal *j)
{
    return journal_is_open(j) || (j->tap && !j->follows);
}

static enum vs_status prepare(void *arg, const struct vs_effect *e)
{
    struct journal *j = arg;
    if (!is_kept(j))
        return VS_OK;
    /* A group that has begun is not torn apart: it stays in memory until it can be written. */
    if (!j->effects && journal_is_open(j) && journal_failed(j))
        return VS_IO;
    struct journal_chunk *c = current(j);
    size_t size = effect_size(e) + EFFECT_SELECT_MAX + HISTORY_ROOM;
    size_t payload = j->effects ? c->bytes.len - j->frame_at - JOURNAL_FRAME : 0;
    if (size > JOURNAL_PAYLOAD_MAX - payload)
        return VS_LIMIT;
    return buf_try_reserve(&c->bytes, size + JOURNAL_FRAME) ? VS_OK : VS_NOMEM;
}

static uint64_t take_time(struct journal *j)
{
    if (!j->follows)
        return hlc_next(j->hlc, clock_wall_ms());
    hlc_observe(j->hlc, j->follow_hlc, clock_wall_ms());
    return j->follow_hlc;
}

/* ---- the history that the data are of ---- */

static void put_history(struct journal *j, struct journal_chunk *c)
{
    static const struct journal_history none;
    uint8_t *frame = (uint8_t *)buf_reserve(&c->bytes, HISTORY_ROOM);
    journal_frame_put(&(struct journal_frame){.type = JOURNAL_HISTORY,
                                              .bytes = JOURNAL_HISTORY_BYTES,
                                              .epoch = j->epoch,
                                              .lsn = j->lsn,
                                              .hlc = j->hlc->last},
                      frame);
    journal_history_put(j->history.known ? &j->history.at : &none, frame + JOURNAL_FRAME);
    c->bytes.len += HISTORY_ROOM;
    j->history_untold = false;
}

void journal_set_history(struct journal *j, const struct journal_history *h)
{
    if (!h && !j->history.known)
        return;
    j->history.known = j->history_due = h != NULL;
    j->history_untold = true;
    if (h)
        j->history.at = *h;
}

struct journal_track journal_known(const struct journal *j)
{
    return j->history;
}

/* The record has been counted by another node as `bytes`, or not at all; `said`: by ours, too. */
static void count(struct journal *j, uint64_t bytes, bool said)
{
    j->history.known &= bytes != 0;
    j->history.at.offset += bytes;
    j->history_due = !said;
}

/* Does the record, which has just ended, say that it counts? */
static bool ends_counted(struct journal *j, struct journal_chunk *c)
{
    uint64_t bytes = JOURNAL_FRAME + (uint64_t)j->frame.bytes;
    bool said = j->follows && j->follow_bytes == bytes;
    if (j->follows)
        count(j, j->follow_bytes, said);
    else if (!j->tap)
        count(j, 0, false);
    else if ((said = j->tap(j->tap_arg, &j->frame, (const uint8_t *)c->bytes.data + j->frame_at)))
        count(j, bytes, true);
    return said && j->history.known;
}

static void show(struct journal *j, struct journal_chunk *c)
{
    if (ends_counted(j, c))
        c->bytes.data[j->frame_at + 9] = JOURNAL_COUNTED;
    if (journal_is_open(j))
        return;
    /* It was made for the tap alone. */
    if (c->bytes.cap > JOURNAL_CHUNK_KEEP)
        buf_release(&c->bytes);
    c->bytes.len = 0;
    c->first = c->last = 0;
    c->awaited = false;
}

static void end_record(struct journal *j)
{
    uint64_t hlc = take_time(j);
    j->lsn++;
    j->effects = 0;
    if (!is_kept(j)) {
        count(j, j->follows ? j->follow_bytes : 0, false);
        j->follows = false;
        return;
    }
    struct journal_chunk *c = j->cur;
    j->frame.bytes = (uint32_t)(c->bytes.len - j->frame_at - JOURNAL_FRAME);
    j->frame.type = j->frame.commands == 1 ? JOURNAL_DATA : JOURNAL_BATCH;
    j->frame.epoch = j->epoch;
    j->frame.lsn = j->lsn;
    j->frame.hlc = hlc;
    journal_frame_put(&j->frame, (uint8_t *)c->bytes.data + j->frame_at);
    if (!c->first) {
        c->first = j->lsn;
        c->since_ns = clock_mono_ns();
    }
    c->last = j->lsn;
    c->awaited |= !j->follows;
    show(j, c);
    j->follows = false;
}

static void append(void *arg, const struct vs_effect *e)
{
    struct journal *j = arg;
    if (is_kept(j)) {
        struct buf *out = &current(j)->bytes;
        if (!j->effects) {
            if (j->history_due && j->history.known && journal_is_open(j))
                put_history(j, j->cur);
            j->frame_at = out->len;
            j->frame = (struct journal_frame){.db = (uint16_t)e->db};
            j->db = e->db;
            buf_reserve(out, JOURNAL_FRAME);
            out->len += JOURNAL_FRAME;
        } else if (e->db != j->db) {
            effect_encode_select(e->db, out);
            j->frame.commands++;
            j->db = e->db;
        }
        effect_encode(e, out);
        j->frame.commands++;
    }
    j->effects++;
    if (!j->depth)
        end_record(j);
}

static bool full(void *arg)
{
    return journal_full(arg);
}

void journal_hook_init(struct journal *j)
{
    j->hook = (struct vs_journal){prepare, append, full, j};
}

void journal_group_begin(struct journal *j)
{
    j->depth++;
}

void journal_group_end(struct journal *j)
{
    assert(j->depth);
    if (--j->depth == 0 && j->effects)
        end_record(j);
    if (!j->depth)
        j->follows = false;
}

void journal_set_tap(struct journal *j, journal_tap tap, void *arg)
{
    assert(!j->effects);
    j->tap = tap;
    j->tap_arg = arg;
}

void journal_follow(struct journal *j, uint64_t hlc, uint64_t bytes)
{
    j->follows = true;
    j->follow_hlc = hlc;
    j->follow_bytes = bytes;
}

uint64_t journal_lsn(const struct journal *j)
{
    return j->lsn;
}

uint64_t journal_hlc(const struct journal *j)
{
    return j->hlc->last;
}

void journal_set_epoch(struct journal *j, uint64_t epoch)
{
    j->epoch = epoch;
}

/* ---- handing over ---- */

static void hand_over(struct journal *j, bool rotate)
{
    struct journal_chunk *c = rotate ? current(j) : j->cur;
    if (!c || (!c->bytes.len && !rotate))
        return;
    assert(!j->effects);
    j->cur = NULL;
    c->rotate = rotate;
    if (!c->first)
        c->last = j->lsn;
    atomic_fetch_add_explicit(&j->buffered, c->bytes.len, memory_order_relaxed);
    c->held = c->bytes.cap;
    atomic_fetch_add_explicit(&j->held, c->held, memory_order_relaxed);
    pthread_mutex_lock(&j->lock);
    journal_chunks_push(&j->queue, c);
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
}

void journal_turn(struct journal *j)
{
    if (!journal_is_open(j))
        return;
    if (j->history_untold && !journal_failed(j)) {
        struct journal_chunk *c = current(j);
        if (!c->bytes.len)
            c->since_ns = clock_mono_ns();
        put_history(j, c);
    }
    hand_over(j, false);
}

enum vs_status journal_rotate(struct journal *j, uint64_t *lsn)
{
    if (!journal_is_open(j))
        return VS_INVALID;
    hand_over(j, true);
    *lsn = j->lsn;
    return VS_OK;
}

/* ---- what has become of it ---- */

uint64_t journal_releasable(struct journal *j, uint64_t now_ns)
{
    if (!journal_is_open(j))
        return UINT64_MAX;
    pthread_mutex_lock(&j->lock);
    uint64_t lsn = j->written;
    const struct journal_chunk *oldest = j->retained.head;
    bool late = oldest && now_ns > oldest->since_ns + JOURNAL_HOLD_AGE;
    if (j->fsync == JOURNAL_ALWAYS || (j->fsync == JOURNAL_EVERYSEC && (late || j->failed)))
        lsn = j->synced;
    /* Behind records that may be lost none can be replayed. */
    if (j->unsure && j->fsync != JOURNAL_NO && lsn >= j->unsure_lsn)
        lsn = j->unsure_lsn - 1;
    pthread_mutex_unlock(&j->lock);
    return lsn;
}

bool journal_full(const struct journal *j)
{
    return journal_is_open(j) &&
           (atomic_load_explicit(&j->buffered, memory_order_relaxed) > JOURNAL_FULL ||
            atomic_load_explicit(&j->held, memory_order_relaxed) > j->full_max);
}
