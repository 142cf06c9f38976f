#include "repl/repl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "persist/journal.h"
#include "repl/repl_int.h"

/* ---- histories ---- */

static void random_id(char out[41])
{
    unsigned char bytes[20];
    rng_system(bytes, sizeof(bytes));
    for (int i = 0; i < 20; i++)
        snprintf(out + i * 2, 3, "%02x", bytes[i]);
}

static void forget_second(struct repl *r)
{
    memset(r->replid2, '0', 40);
    r->second = REPL_NO_OFFSET;
}

static void id_put(const char text[41], uint8_t out[20])
{
    for (int i = 0; i < 20; i++) {
        unsigned byte = 0;
        sscanf(text + i * 2, "%2x", &byte);
        out[i] = (uint8_t)byte;
    }
}

static void id_get(const uint8_t in[20], char out[41])
{
    for (int i = 0; i < 20; i++)
        snprintf(out + i * 2, 3, "%02x", in[i]);
}

/* Nothing may be claimed of data that are not, record for record, what the history says. */
static bool is_exact(const struct repl *r)
{
    return r->active && !r->strayed && !r->everything && !r->mends.unsettled && journal_lsn(r->s->journal) == r->at.lsn;
}

void repl_note_history(struct repl *r)
{
    if (!r->s->journal)
        return;
    struct journal_history h = {.second = r->second, .nonce = r->at.nonce, .offset = r->at.offset};
    id_put(r->replid, h.id);
    if (r->second != REPL_NO_OFFSET)
        id_put(r->replid2, h.id2);
    journal_set_history(r->s->journal, is_exact(r) ? &h : NULL);
}

void repl_want_everything(struct repl *r)
{
    r->everything = true;
    repl_note_history(r);
}

void repl_begin_history(struct repl *r)
{
    random_id(r->replid);
    forget_second(r);
    rng_system(&r->at.nonce, sizeof(r->at.nonce));
    backlog_clear(&r->backlog, r->at.offset);
    replicas_close(r);
    r->resumed = false;
    repl_note_history(r);
}

/* The same line under a new name: we are its primary now. */
static void rename_history(struct repl *r)
{
    memcpy(r->replid2, r->replid, sizeof(r->replid));
    r->second = r->at.offset;
    random_id(r->replid);
    r->resumed = false;
    repl_note_history(r);
    log_notice("The history goes on as %s; up to offset %llu it is also %s", r->replid,
               (unsigned long long)r->second, r->replid2);
}

void repl_own_history(struct repl *r)
{
    if (r->resumed)
        rename_history(r);
}

/* What the files say: the data end where a history stood at that offset. A replica asks for what follows; a
 * primary keeps the name until it adds to the line, for others may have gone further under it. */
static void resume_history(struct repl *r, const struct journal_history *h)
{
    id_get(h->id, r->replid);
    forget_second(r);
    if (h->second != REPL_NO_OFFSET)
        id_get(h->id2, r->replid2);
    r->second = h->second;
    r->at = (struct wire_place){h->nonce, h->offset, journal_lsn(r->s->journal)};
    r->active = true;
    r->everything = false;
    r->resumed = !r->replica;
    backlog_clear(&r->backlog, r->at.offset);
    r->s->repl_offset = r->at.offset;
    log_notice("The data are those of the history %s at offset %llu", r->replid,
               (unsigned long long)r->at.offset);
}

/* ---- records ---- */

static bool on_record(void *arg, const struct journal_frame *f, const uint8_t *bytes)
{
    struct repl *r = arg;
    size_t len = WIRE_FRAME + f->bytes;
    if (r->replica) {
        r->strayed = true;
        repl_note_history(r);
        return false;
    }
    bool goes_on = f->lsn == r->at.lsn + 1 && !r->resumed;
    if (f->lsn != r->at.lsn + 1)
        repl_begin_history(r);
    repl_own_history(r);
    uint8_t *room = backlog_reserve(&r->backlog, len);
    if (room) {
        memcpy(room, bytes, len);
        wire_seal(room, r->at.nonce, r->at.offset);
        backlog_commit(&r->backlog, len, r->s->now_ns);
    }
    r->at.offset += len;
    r->at.lsn = f->lsn;
    if (!room) {
        log_warning("Out of memory for a record of the stream: replicas have to begin anew");
        repl_begin_history(r);
        goes_on = false;
    }
    r->s->repl_offset = r->at.offset;
    if (!goes_on)
        repl_note_history(r);
    return goes_on;
}

/* The journal may be another one since. */
static void tap(struct repl *r)
{
    struct journal *j = r->s->journal;
    if (!r->active || r->tapped == j)
        return;
    journal_set_tap(j, on_record, r);
    r->tapped = j;
    if (journal_lsn(j) != r->at.lsn && !r->replica) {
        /* Records have been made that nobody saw. */
        r->at.lsn = journal_lsn(j);
        repl_begin_history(r);
    } else if (journal_lsn(j) != r->at.lsn) {
        r->strayed = true;
    }
    repl_note_history(r);
}

void repl_activate(struct repl *r)
{
    if (!r->active && !r->replica) {
        /* Whoever has nothing is at 0: nobody who has something is. */
        r->at.offset++;
        backlog_clear(&r->backlog, r->at.offset);
        r->s->repl_offset = r->at.offset;
    }
    r->active = true;
    tap(r);
    repl_note_history(r);
}

static void deactivate(struct repl *r)
{
    log_notice("No replica for %lld seconds: the backlog is freed", r->c->repl_backlog_ttl);
    journal_set_tap(r->s->journal, NULL, NULL);
    r->tapped = NULL;
    r->active = false;
    backlog_clear(&r->backlog, r->at.offset);
    repl_note_history(r);
}

static void trim(struct repl *r)
{
    uint64_t keep = replicas_lowest(r), age = (uint64_t)r->c->repl_backlog_seconds * 1000000000;
    backlog_trim(&r->backlog, (uint64_t)r->c->repl_backlog_size,
                 age && r->s->now_ns > age ? r->s->now_ns - age : 0, keep);
    if (r->nreplicas || r->replica || !r->active) {
        r->alone_since_ms = 0;
    } else if (!r->alone_since_ms) {
        r->alone_since_ms = r->s->now_ms;
    } else if (r->c->repl_backlog_ttl &&
               r->s->now_ms - r->alone_since_ms >= (uint64_t)r->c->repl_backlog_ttl * 1000) {
        deactivate(r);
    }
}

/* ---- roles ---- */

void repl_look_at_refusals(struct repl *r)
{
    r->s->repl_refuses = r->replica || r->c->min_replicas_to_write > 0 || r->s->fenced;
}

static void become_replica(struct repl *r, const char *host, unsigned port)
{
    if (r->replica && !strcasecmp(r->host, host) && r->port == port)
        return;
    char *copy = mem_strndup(host, strlen(host));
    /* Ours is nobody's history as long as nobody followed it. */
    if (!r->replica && !r->active)
        r->everything = true;
    apply_stop(r);
    replicas_close(r);
    waits_give_up(r);
    exec_end_writes(r->s, "UNBLOCKED force unblock from blocking operation, instance state changed "
                          "(master -> replica?)");
    mem_free(r->host);
    r->host = copy;
    r->port = port;
    r->doubtful |= !r->replica;
    r->replica = r->s->follows = true;
    r->active = true;
    r->resumed = false;
    repl_note_history(r);
    r->down_since_ms = r->s->now_ms;
    r->retry_ms = 0;
    repl_look_at_refusals(r);
    guard_role_changed(r);
    log_notice("Replica of %s:%u from now on", host, port);
    net_wake(r->s->net);
}

static void become_primary(struct repl *r)
{
    if (!r->replica) {
        guard_role_changed(r); /* it is said that it is one */
        return;
    }
    failover_abort(r, "the role was changed meanwhile");
    if (!r->replica)
        return;
    apply_stop(r);
    replicas_close(r);
    r->replica = r->s->follows = false;
    mem_free(r->host);
    r->host = NULL;
    bool whole = !r->strayed && !r->everything &&
                 (!r->s->journal || journal_lsn(r->s->journal) == r->at.lsn);
    if (whole) {
        rename_history(r);
    } else {
        if (r->s->journal)
            r->at.lsn = journal_lsn(r->s->journal);
        repl_begin_history(r);
    }
    r->strayed = r->everything = false;
    repl_note_history(r);
    vs_apply_end(r->s->store);
    repl_look_at_refusals(r);
    guard_role_changed(r);
    log_notice("Primary from now on");
}

static bool is_no_one(const struct config_list *list)
{
    return list->n != 2 || (!strcasecmp(list->items[0], "no") && !strcasecmp(list->items[1], "one"));
}

static bool follow_setting(void *arg, const char *name, const char **why)
{
    struct repl *r = arg;
    const struct config_list *list = &r->c->replicaof;
    long long port;
    (void)name;
    if (is_no_one(list)) {
        if (list->n == 1) {
            *why = "it takes a host and a port";
            return false;
        }
        become_primary(r);
        return true;
    }
    struct resp_arg word = {list->items[1], strlen(list->items[1])};
    if (!resp_to_int(&word, &port) || port < 1 || port > 65535) {
        *why = "Invalid master port";
        return false;
    }
    become_replica(r, list->items[0], (unsigned)port);
    return true;
}

void repl_set_primary(struct repl *r, const char *host, unsigned port)
{
    char value[320];
    struct buf error = {0};
    int len = host ? snprintf(value, sizeof(value), "%s %u", host, port) : 0;
    struct resp_arg args[2] = {{"replicaof", 9}, {value, (size_t)len}};
    if (!config_set(r->c, args, 1, &error))
        log_warning("REPLICAOF: %s", error.data);
    buf_release(&error);
}

static bool on_setting(void *arg, const char *name, const char **why)
{
    (void)name;
    (void)why;
    repl_look_at_refusals(arg);
    return true;
}

/* ---- hooks ---- */

static void hook_open(struct server *s)
{
    struct repl *r = mem_zalloc(sizeof(*r));
    const char *why = NULL;
    r->s = s;
    r->c = s->config;
    TAILQ_INIT(&r->replicas);
    TAILQ_INIT(&r->waits);
    backlog_init(&r->backlog, 0);
    s->repl = r;
    guard_open(r);
    repl_begin_history(r);
    memcpy(r->replid, s->replication_id, sizeof(r->replid));
    config_on_change(r->c, "replicaof", follow_setting, r);
    config_on_change(r->c, "min-replicas-to-write", on_setting, r);
    if (!is_no_one(&r->c->replicaof) && !follow_setting(r, "replicaof", &why))
        log_warning("replicaof: %s", why);
    repl_look_at_refusals(r);
}

/* At the start, and when DEBUG RELOAD has brought other data. */
static void hook_loaded(struct server *s)
{
    struct repl *r = s->repl;
    struct journal_track found = journal_known(s->journal);
    r->tapped = NULL;
    if (!r->loaded && found.known)
        resume_history(r, &found.at);
    if (r->loaded && r->replica && r->in_sync) {
        r->everything = true;
        apply_stop(r);
    }
    r->loaded = true;
    tap(r);
}

/* Also at its end: it may have been stopped between. */
static void hook_turn_begins(struct server *s)
{
    guard_turn(s->repl);
}

static bool hook_turn(struct server *s)
{
    struct repl *r = s->repl;
    bool more = false;
    if (!TAILQ_EMPTY(&r->waits))
        waits_turn(r);
    if (s->loading && r->mends.replacing)
        apply_stop(r); /* the store goes */
    if (!r->active || !s->journal || s->loading)
        return false;
    tap(r);
    if (r->replica)
        more = apply_turn(r);
    sync_turn(r);
    failover_turn(r);
    replicas_turn(r);
    return more;
}

static void hook_tick(struct server *s)
{
    struct repl *r = s->repl;
    if (!s->journal || s->loading)
        return;
    if (r->replica)
        apply_tick(r);
    replicas_tick(r);
    trim(r);
}

static void hook_gone(struct server *s, struct cmd_client *c)
{
    if (c->replica)
        replica_gone(s->repl, c);
}

static const char *hook_refuses(struct server *s, const struct cmd_client *c, unsigned flags, bool ping)
{
    struct repl *r = s->repl;
    (void)c;
    if (s->fenced && (ping || (flags & CMD_WRITE)))
        return guard_error(r);
    if (!r->replica && (flags & CMD_WRITE) && r->c->min_replicas_to_write > 0 &&
        repl_good(r) < (size_t)r->c->min_replicas_to_write)
        return "NOREPLICAS Not enough good replicas to write.";
    if (r->replica && (flags & CMD_WRITE) && r->c->replica_read_only)
        return "READONLY You can't write against a read only replica.";
    if (r->replica && !(flags & CMD_STALE) && !r->c->replica_serve_stale_data && !apply_link_is_up(r))
        return "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    return NULL;
}

static void hook_close(struct server *s)
{
    struct repl *r = s->repl;
    waits_give_up(r);
    sync_stop(r);
    apply_stop(r);
    apply_free(r);
    if (s->journal && r->tapped == s->journal)
        journal_set_tap(s->journal, NULL, NULL);
    while (!TAILQ_EMPTY(&r->replicas))
        replica_gone(r, TAILQ_FIRST(&r->replicas)->c);
    backlog_clear(&r->backlog, 0);
    guard_close(r);
    mem_free(r->failover.host);
    mem_free(r->host);
    mem_free(r);
    s->repl = NULL;
    s->repl_refuses = false;
    s->repl_hooks = NULL;
}

const struct server_repl repl_hooks = {
    .open = hook_open,
    .loaded = hook_loaded,
    .turn_begins = hook_turn_begins,
    .turn_ends = hook_turn_begins,
    .hello = guard_hello,
    .turn = hook_turn,
    .tick = hook_tick,
    .gone = hook_gone,
    .refuses = hook_refuses,
    .info = repl_info,
    .close = hook_close,
};

/* ---- what others ask ---- */

struct repl *repl_of(const struct server *s)
{
    return s->repl;
}

bool repl_is_replica(const struct repl *r)
{
    return r->replica;
}

uint64_t repl_offset(const struct repl *r)
{
    return r->at.offset;
}

void repl_ask_acks(struct repl *r)
{
    r->ask = true;
}
