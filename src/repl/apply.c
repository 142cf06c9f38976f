/* What a replica does with what its link hands over: records go into the store by the way that the
 * journal's replay takes, a store that was received takes the place of the one there is.
 *
 *   none --tick--> link --CONTINUE or LOADED--> in sync --ended--> none, and again
 *
 * An attempt begins from what the store stands at when all that the last link handed over has been
 * applied. Loop thread. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "persist/journal.h"
#include "persist/journal_read.h"
#include "persist/le.h"
#include "repl/repl_int.h"
#include "server/client.h"

#define RETRY_MS      1000 /* between two attempts that fail */
#define IO_RETRY_MS   100  /* the journal's disk fails */
#define CLOCK_EVERY   8    /* records between two looks at the clock */
#define ACK_EVERY_MS  10

struct journal_applier {
    struct journal_commands commands;
    struct effect_scratch scratch;
    uint64_t acked_ms;
    /* Records that may not be on disk yet: offset and number of some. */
    struct {
        uint64_t lsn, offset;
    } mark[64];
    unsigned marks;
    uint64_t synced;           /* offset */
};

/* ---- the store before ---- */

struct closer {
    pthread_t thread;
    struct vs_store *store;
};

static void *close_store(void *arg)
{
    vs_close(((struct closer *)arg)->store);
    return NULL;
}

static void wait_closer(struct repl *r)
{
    if (!r->closer)
        return;
    pthread_join(r->closer->thread, NULL);
    mem_free(r->closer);
    r->closer = NULL;
}

static void close_aside(struct repl *r, struct vs_store *store)
{
    wait_closer(r);
    r->closer = mem_zalloc(sizeof(*r->closer));
    r->closer->store = store;
    if (pthread_create(&r->closer->thread, NULL, close_store, r->closer) == 0)
        return;
    vs_close(store);
    mem_free(r->closer);
    r->closer = NULL;
}

/* ---- the link's life ---- */

static void wake(void *arg)
{
    net_wake(((struct server *)arg)->net);
}

bool apply_link_is_up(const struct repl *r)
{
    return r->link && r->in_sync && link_state(r->link) == LINK_CONNECTED;
}

static void start_link(struct repl *r)
{
    const struct config *c = r->c;
    struct link_options o = {.host = r->host,
                             .port = r->port,
                             .user = c->masteruser,
                             .password = c->masterauth,
                             .announce_ip = c->replica_announce_ip,
                             .announce_port = (unsigned)(c->replica_announce_port
                                                             ? c->replica_announce_port
                                                             : c->port),
                             .timeout_ms = (unsigned)c->repl_timeout * 1000,
                             .failover = r->failover.state == FAILOVER_GOES,
                             .replid = r->everything || r->strayed ? NULL : r->replid,
                             .at = r->at,
                             .store = server_store_options(r->s),
                             .wake = wake,
                             .arg = r->s};
    if (!r->applier)
        r->applier = mem_zalloc(sizeof(*r->applier));
    log_verbose("Connecting to the primary %s:%u", r->host, r->port);
    r->link = link_start(&o);
    r->retry_ms = r->s->now_ms + RETRY_MS;
}

static void drop_item(struct repl *r)
{
    if (r->item)
        link_item_free(r->link, r->item);
    r->item = NULL;
    r->item_at = 0;
}

/* Ends soon; it is freed when it has. */
static void retire(struct repl *r)
{
    size_t n = sizeof(r->old) / sizeof(r->old[0]), i = 0;
    if (!r->link)
        return;
    mend_stop(r);
    drop_item(r);
    link_stop(r->link);
    while (i < n && r->old[i])
        i++;
    if (i == n)
        link_free(r->old[--i]); /* waits */
    r->old[i] = r->link;
    r->link = NULL;
}

static void free_retired(struct repl *r, bool wait)
{
    for (size_t i = 0; i < sizeof(r->old) / sizeof(r->old[0]); i++) {
        if (!r->old[i] || (!wait && link_state(r->old[i]) != LINK_ENDED))
            continue;
        link_free(r->old[i]);
        r->old[i] = NULL;
    }
}

static void lost(struct repl *r)
{
    if (r->in_sync)
        r->down_since_ms = r->s->now_ms;
    r->in_sync = false;
    mend_stop(r);
}

void apply_stop(struct repl *r)
{
    retire(r);
    lost(r);
    r->last_error[0] = 0;
    if (r->s->swapping)
        persistence_swap_end(r->s);
}

void apply_free(struct repl *r)
{
    free_retired(r, true);
    wait_closer(r);
    if (r->applier) {
        journal_commands_end(&r->applier->commands);
        effect_scratch_release(&r->applier->scratch);
    }
    mem_free(r->applier);
    r->applier = NULL;
}

/* The link has ended, and all it had is applied. */
static void end_link(struct repl *r)
{
    const char *why = link_error(r->link);
    if (strcmp(why, r->last_error) != 0)
        log_warning("The link to the primary %s:%u is down: %s", r->host, r->port, why);
    snprintf(r->last_error, sizeof(r->last_error), "%s", why);
    if (link_is_spoilt(r->link))
        repl_want_everything(r);
    if (r->failover.state == FAILOVER_GOES && failover_link_ended(r))
        return; /* the link is gone with it */
    if (link_was_connected(r->link)) {
        r->retry_ms = r->s->now_ms; /* the first attempt after a good link comes at once */
        r->last_error[0] = 0;
    }
    link_free(r->link);
    r->link = NULL;
    lost(r);
}

static void start_when_due(struct repl *r)
{
    if (!r->link && r->s->now_ms >= r->retry_ms && r->s->shutdown == SHUTDOWN_NO)
        start_link(r);
}

void apply_tick(struct repl *r)
{
    free_retired(r, false);
    start_when_due(r);
    mend_tick(r);
    digests_to_tell(r);
}

/* ---- records ---- */

/* A record of several commands is gone through twice: nothing of one that is damaged is applied. */
static enum vs_status apply_commands(struct repl *r, const struct journal_frame *f,
                                     const uint8_t *payload, struct buf *why)
{
    struct server *s = r->s;
    struct journal_applier *a = r->applier;
    struct vs_effect e;
    enum vs_status status = VS_OK;
    bool begun = false;
    for (int pass = f->type == WIRE_BATCH ? 0 : 1; pass < 2; pass++) {
        journal_commands_begin(&a->commands, f, (const char *)payload);
        while ((status = journal_commands_next(&a->commands, vs_databases(s->store), &a->scratch, &e,
                                               why)) == VS_OK) {
            if (!pass)
                continue;
            status = vs_apply(s->store, &e);
            if (status != VS_OK) {
                /* Where nothing of it has been done it can be tried again. */
                return status == VS_IO && begun ? VS_CORRUPT : status;
            }
            begun = true;
            s->host.key_changed(&s->host, e.db, e.key, e.key_len);
        }
        if (status != VS_NOTFOUND)
            return status;
    }
    return VS_OK;
}

static enum vs_status apply_record(struct repl *r, const struct journal_frame *f,
                                   const uint8_t *frame, struct buf *why)
{
    struct journal *j = r->s->journal;
    journal_follow(j, f->hlc, WIRE_FRAME + (uint64_t)f->bytes);
    journal_group_begin(j);
    enum vs_status status = apply_commands(r, f, frame + WIRE_FRAME, why);
    if (status != VS_OK)
        journal_follow(j, f->hlc, 0);
    journal_group_end(j);
    return status;
}

/* The same bytes are for replicas of ours, and for those that come should we be the primary one day. */
static void keep(struct repl *r, const struct journal_frame *f, const uint8_t *frame)
{
    size_t len = WIRE_FRAME + f->bytes;
    uint8_t *room = backlog_reserve(&r->backlog, len);
    r->at.offset += len;
    r->at.lsn = f->lsn;
    r->s->repl_offset = r->at.offset;
    if (room) {
        memcpy(room, frame, len);
        backlog_commit(&r->backlog, len, r->s->now_ns);
    } else {
        log_warning("Out of memory for a record of the stream: replicas have to begin anew");
        backlog_clear(&r->backlog, r->at.offset);
        replicas_close(r);
    }
}

void apply_begin_anew(struct repl *r)
{
    repl_want_everything(r);
    r->retry_ms = r->s->now_ms + RETRY_MS;
    retire(r);
    lost(r);
}

/* What was sent does not fit what is there: all data are asked for. */
static void give_up(struct repl *r, const struct journal_frame *f, enum vs_status status,
                    const struct buf *why)
{
    log_warning("Record %" PRIu64 " of the primary cannot be applied (%s%s%.*s): all data are asked for",
                f->lsn, vs_status_text(status), why->len ? ": " : "", (int)why->len,
                why->len ? why->data : "");
    apply_begin_anew(r);
}

/* False: the link is no more, or has to wait. */
static bool apply_frames(struct repl *r, bool *more)
{
    struct link_item *item = r->item;
    struct buf why = {0};
    enum vs_status status = VS_OK;
    unsigned n = 0;
    if (r->io_retry_ms > r->s->now_ms)
        return false;
    while (r->item_at < item->bytes.len) {
        if (vs_apply_waits(r->s->store))
            break;
        const uint8_t *frame = (const uint8_t *)item->bytes.data + r->item_at;
        struct journal_frame f = journal_frame_fields(frame);
        if (wire_is_data(f.type)) {
            if (f.durable != r->at.offset || f.lsn != r->at.lsn + 1)
                status = VS_CORRUPT;
            else
                status = apply_record(r, &f, frame, &why);
            if (status != VS_OK)
                break;
            keep(r, &f, frame);
        } else if (f.type == WIRE_GETACK) {
            r->asked = true;
        } else if (f.type == WIRE_DIGEST && f.durable == r->at.offset &&
                   !digests_compare(r, frame + WIRE_FRAME, f.bytes)) {
            status = VS_CORRUPT;
            buf_puts(&why, "what is there differs");
            break;
        }
        r->item_at += WIRE_FRAME + f.bytes;
        if (++n % CLOCK_EVERY == 0 && clock_mono_ns() >= r->s->turn_end_ns) {
            *more = true;
            break;
        }
    }
    if (status == VS_IO) {
        r->io_retry_ms = r->s->now_ms + IO_RETRY_MS;
    } else if (status != VS_OK) {
        struct journal_frame f = journal_frame_fields((const uint8_t *)item->bytes.data + r->item_at);
        give_up(r, &f, status, &why);
    }
    buf_release(&why);
    return status == VS_OK && r->item_at == item->bytes.len;
}

/* ---- what begins a link's stream ---- */

static void go_on(struct repl *r, const struct link_item *item)
{
    if (memcmp(r->replid, item->replid, sizeof(r->replid)) != 0) {
        /* Another node is the primary of the same line now. */
        memcpy(r->replid2, r->replid, sizeof(r->replid));
        r->second = r->at.offset;
        memcpy(r->replid, item->replid, sizeof(r->replid));
        replicas_close(r);
    }
    r->in_sync = true;
    r->doubtful = false;
    repl_note_history(r);
    failover_done(r);
    log_notice("In step with the primary %s:%u, from offset %" PRIu64 " on", r->host, r->port,
               r->at.offset);
}

/* False: it has to wait. */
static bool take_store(struct repl *r, struct link_item *item)
{
    struct vs_store *old = NULL;
    if (!persistence_swap_ready(r->s))
        return false;
    discard_from(r, item->common);
    replicas_close(r);
    r->tapped = NULL;
    bool ok = persistence_swap(r->s, item->store, item->at.lsn, item->hlc, &old);
    item->store = NULL;
    close_aside(r, old);
    persistence_swap_end(r->s);
    if (!ok)
        return true;
    r->at = item->at;
    memcpy(r->replid, item->replid, sizeof(r->replid));
    memset(r->replid2, '0', 40);
    r->second = REPL_NO_OFFSET;
    backlog_clear(&r->backlog, r->at.offset);
    r->s->repl_offset = r->at.offset;
    r->strayed = r->everything = r->mends.unsettled = r->mends.tainted = false;
    r->in_sync = true;
    r->doubtful = false;
    r->applier->marks = 0;
    r->applier->synced = 0;
    repl_activate(r);
    log_notice("All data of the primary %s:%u have been taken over, as of offset %" PRIu64, r->host,
               r->port, r->at.offset);
    return true;
}

/* ---- acknowledgements ---- */

static void note_synced(struct repl *r)
{
    struct journal_applier *a = r->applier;
    struct journal_status now;
    unsigned done = 0;
    if (!journal_is_open(r->s->journal)) {
        a->marks = 0;
        return;
    }
    journal_read_status(r->s->journal, &now);
    while (done < a->marks && a->mark[done].lsn <= now.synced)
        a->synced = a->mark[done++].offset;
    a->marks -= done;
    memmove(a->mark, a->mark + done, a->marks * sizeof(a->mark[0]));
    if (a->marks < sizeof(a->mark) / sizeof(a->mark[0]) &&
        (!a->marks ? a->synced < r->at.offset : a->mark[a->marks - 1].offset < r->at.offset)) {
        a->mark[a->marks].lsn = now.lsn;
        a->mark[a->marks++].offset = r->at.offset;
    }
}

static void acknowledge(struct repl *r)
{
    struct journal_applier *a = r->applier;
    if (!r->link || !r->in_sync)
        return;
    note_synced(r);
    bool due = r->s->now_ms >= a->acked_ms + ACK_EVERY_MS &&
               (r->acked != r->at.offset || r->acked_synced != a->synced);
    bool now = r->asked || due;
    if (now) {
        a->acked_ms = r->s->now_ms;
        r->acked = r->at.offset;
        r->acked_synced = a->synced;
        r->asked = false;
    }
    link_acknowledge(r->link, r->at.offset, a->synced, r->digests.different, now);
}

/* ---- a turn ---- */

static bool next_item(struct repl *r)
{
    if (!r->item) {
        r->item = link_take(r->link);
        r->item_at = 0;
    }
    return r->item != NULL;
}

bool apply_turn(struct repl *r)
{
    bool more = false;
    start_when_due(r);
    while (r->link && next_item(r)) {
        bool done = true;
        if (r->item->kind == LINK_FRAMES)
            done = apply_frames(r, &more);
        else if (r->item->kind == LINK_CONTINUE)
            go_on(r, r->item);
        else if (r->item->kind == LINK_PART)
            done = mend_take(r, r->item);
        else
            done = take_store(r, r->item);
        if (!done || !r->link)
            break;
        drop_item(r);
        if (clock_mono_ns() >= r->s->turn_end_ns) {
            more = true;
            break;
        }
    }
    acknowledge(r);
    if (r->link && !r->item && link_state(r->link) == LINK_ENDED) {
        /* What it handed over last may have come after the last look. */
        if (next_item(r))
            return true;
        end_link(r);
    }
    return more;
}
