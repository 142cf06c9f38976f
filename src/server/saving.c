/* Snapshots: asked for by commands, by save points, by the end of the server; and that end.
 *
 * One snapshot or rewrite runs at a time. What comes meanwhile is refused (SAVE, BGSAVE), or put
 * off until it has ended (BGSAVE SCHEDULE, BGREWRITEAOF, save points).
 *
 *   shutdown_begin --no snapshot wanted----------------------------------> SHUTDOWN_ASKED
 *        +--snapshot--> SHUTDOWN_SAVING (writes wait, all else goes on) --ok--> SHUTDOWN_ASKED
 *                            +--failed, or SHUTDOWN ABORT--> SHUTDOWN_NO, an error to who asked */
#include <strings.h>

#include "base/log.h"
#include "persist/persist.h"
#include "server/client.h"
#include "server/persistence.h"

#define RETRY_S 1 /* a save point after a failed snapshot */
/* Between two snapshots that are taken so that partitions can be unloaded; and so many times what the last
 * one took. */
#define PAUSE_MS    1000
#define PAUSE_SHARE 3

static void answer(struct cmd_pending *reply, const char *text)
{
    buf_puts(&reply->reply, text);
    reply_finish(reply);
}

static void answer_failed(struct server *s, struct cmd_pending *reply)
{
    struct persist_status status;
    struct resp_writer w = {.out = &reply->reply, .version = reply->resp_version};
    persist_status(s->persist, &status);
    resp_error(&w, "ERR The snapshot failed: %s", status.error);
    reply_finish(reply);
}

static void shutdown_saved(struct server *s, bool ok);

static void on_done(void *arg, bool ok)
{
    struct server *s = arg;
    struct saving *saving = &s->saving;
    struct cmd_pending *reply = saving->reply;
    uint64_t took_ms = s->now_ms > saving->began_ms ? s->now_ms - saving->began_ms : 0;
    saving->runs = false;
    saving->reply = NULL;
    saving->pause_until_ms = s->now_ms + PAUSE_MS + PAUSE_SHARE * took_ms;
    if (!saving->rewrite && !saving->aborted) {
        saving->ok = ok;
        if (ok) {
            saving->saved_s = s->now_ms / 1000;
            saving->dirty_saved = saving->dirty_at_cut;
        }
    }
    if (reply && ok)
        answer(reply, "+OK\r\n");
    else if (reply)
        answer_failed(s, reply);
    if (!saving->rewrite)
        reload_saved(s, ok);
    if (s->shutdown == SHUTDOWN_SAVING && !saving->aborted && !saving->rewrite)
        shutdown_saved(s, ok);
}

enum vs_status saving_begin(struct server *s, bool rewrite, struct cmd_pending *reply)
{
    struct saving *saving = &s->saving;
    struct saving before = *saving;
    saving->rewrite = rewrite;
    saving->aborted = false;
    saving->runs = true;
    saving->reply = reply;
    saving->dirty_at_cut = s->dirty;
    saving->tried_s = s->now_ms / 1000;
    saving->began_ms = s->now_ms;
    enum vs_status status = persist_save(s->persist, rewrite, on_done, s);
    if (status == VS_EXISTS) {
        *saving = before;
        return status;
    }
    if (status != VS_OK) {
        saving->runs = false;
        saving->reply = NULL;
        if (!rewrite)
            saving->ok = false;
        log_warning("%s cannot begin: %s", rewrite ? "The rewrite of the journal" : "The snapshot",
                    vs_status_text(status));
    } else if (!rewrite) {
        saving->save_scheduled = false;
    } else {
        saving->rewrite_scheduled = false;
    }
    return status;
}

static bool save_point_reached(const struct server *s)
{
    const struct saving *saving = &s->saving;
    const struct config_saves *saves = &s->config->save;
    uint64_t now = s->now_ms / 1000, changes = s->dirty - saving->dirty_saved;
    for (size_t i = 0; i < saves->n; i++) {
        if (changes >= (uint64_t)saves->at[i].changes && changes > 0 &&
            now > saving->saved_s + (uint64_t)saves->at[i].seconds &&
            (saving->ok || now > saving->tried_s + RETRY_S)) {
            log_notice("%llu changes in %lld seconds: taking a snapshot",
                       (unsigned long long)changes, saves->at[i].seconds);
            return true;
        }
    }
    return false;
}

/* Are there more partitions open than may be, which cannot be unloaded before a snapshot holds them? */
static bool unloading_waits(const struct server *s)
{
    struct vs_open_status open;
    if (!s->config->max_open_partitions || s->now_ms < s->saving.pause_until_ms)
        return false;
    vs_open_status(s->store, &open);
    if (open.unsaved)
        log_verbose("%zu partitions too many are open and have changed: taking a snapshot",
                    open.unsaved);
    return open.unsaved != 0;
}

static void shutdown_save(struct server *s);

void saving_tick(struct server *s)
{
    struct saving *saving = &s->saving;
    if (s->shutdown == SHUTDOWN_SAVING && s->shutdown_waits)
        shutdown_save(s);
    if (saving->runs || s->shutdown != SHUTDOWN_NO)
        return;
    if (saving->rewrite_scheduled) {
        if (saving_begin(s, true, NULL) != VS_EXISTS)
            saving->rewrite_scheduled = false;
    } else if (saving->save_scheduled) {
        if (saving_begin(s, false, NULL) != VS_EXISTS)
            saving->save_scheduled = false;
    } else if (save_point_reached(s) || unloading_waits(s)) {
        saving_begin(s, false, NULL);
    }
}

/* ---- the end ---- */

static void shutdown_go(struct server *s)
{
    s->shutdown = s->shutdown_how.now ? SHUTDOWN_NOW : SHUTDOWN_ASKED;
    if (s->shutdown_reply) {
        reply_mute(s->shutdown_reply);
        reply_finish(s->shutdown_reply);
        s->shutdown_reply = NULL;
    }
}

static void shutdown_stay(struct server *s)
{
    s->shutdown = SHUTDOWN_NO;
    s->shutdown_waits = false;
    clients_resume(s, CLIENT_WAITS_PAUSE);
    if (s->shutdown_reply)
        answer(s->shutdown_reply, "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    s->shutdown_reply = NULL;
}

static void shutdown_saved(struct server *s, bool ok)
{
    if (!ok)
        log_warning("The last snapshot failed, the server %s.",
                    s->shutdown_how.force ? "ends all the same" : "goes on");
    if (ok || s->shutdown_how.force)
        shutdown_go(s);
    else
        shutdown_stay(s);
}

/* Its own snapshot; a running one, which would not hold the last writes, is given up. */
static void shutdown_save(struct server *s)
{
    s->saving.aborted = true;
    persist_save_abort(s->persist);
    enum vs_status status = saving_begin(s, false, NULL);
    s->shutdown_waits = status == VS_EXISTS;
    if (status != VS_OK && status != VS_EXISTS)
        shutdown_saved(s, false);
}

enum shutdown_began shutdown_begin(struct server *s, struct shutdown_options how)
{
    bool save = s->journal && (how.save || (!how.nosave && s->config->save.n > 0));
    const char *why = s->journal ? persist_write_error(s->persist) : NULL;
    s->shutdown_how = how;
    if (why && !how.force) {
        log_warning("The server goes on, for its journal is not on the disk: %s", why);
        return SHUTDOWN_STAYS;
    }
    if (!save) {
        if (s->saving.runs) {
            s->saving.aborted = true;
            persist_save_abort(s->persist);
        }
        shutdown_go(s);
        return SHUTDOWN_GOES;
    }
    log_notice("Taking the last snapshot before the end.");
    s->shutdown = SHUTDOWN_SAVING;
    shutdown_save(s);
    return s->shutdown == SHUTDOWN_NO       ? SHUTDOWN_STAYS
           : s->shutdown == SHUTDOWN_SAVING ? SHUTDOWN_SAVES
                                            : SHUTDOWN_GOES;
}

bool shutdown_abort(struct server *s)
{
    if (s->shutdown != SHUTDOWN_SAVING)
        return false;
    log_notice("The shutdown was called off.");
    if (s->saving.runs) {
        s->saving.aborted = true;
        persist_save_abort(s->persist);
    }
    shutdown_stay(s);
    return true;
}

struct shutdown_options shutdown_words(const struct config_list *words)
{
    struct shutdown_options how = {0};
    for (size_t i = 0; i < words->n; i++) {
        const char *word = words->items[i];
        how.save |= strcasecmp(word, "save") == 0;
        how.nosave |= strcasecmp(word, "nosave") == 0;
        how.now |= strcasecmp(word, "now") == 0;
        how.force |= strcasecmp(word, "force") == 0;
    }
    return how;
}
