/* DEBUG RELOAD and LOADAOF: the data leave memory and are loaded again, as a restart would, while
 * the connections stay.
 *
 *   RELOAD --snapshot--> drain: searches end, commands are told LOADING --> store closed, opened,
 *   LOADAOF, RELOAD NOSAVE ---^                                             loading as at a start */
#include "base/log.h"
#include "server/client.h"
#include "server/persistence.h"

static void answer(struct server *s, const char *text)
{
    struct cmd_pending *reply = s->reload_reply;
    s->reload = RELOAD_NONE;
    s->reload_reply = NULL;
    buf_puts(&reply->reply, text);
    reply_finish(reply);
}

void reload_begin(struct server *s, bool save, struct cmd_pending *reply)
{
    s->reload_reply = reply;
    s->reload = save ? RELOAD_SAVES : RELOAD_DRAINS;
    if (save && saving_begin(s, false, NULL) != VS_OK)
        answer(s, "-ERR The snapshot cannot begin. The log says why.\r\n");
    else if (!save)
        s->loading = true;
}

void reload_saved(struct server *s, bool ok)
{
    if (s->reload != RELOAD_SAVES)
        return;
    if (!ok) {
        answer(s, "-ERR The snapshot failed. The log says why.\r\n");
        return;
    }
    s->reload = RELOAD_DRAINS;
    s->loading = true;
}

/* Does a command hold on to the store, or a worker? */
static bool store_in_use(const struct server *s)
{
    if (s->pending > 1) /* one is ours */
        return true;
    for (size_t i = 0; i < s->clients->n; i++)
        if (s->clients->at[i]->called)
            return true;
    return false;
}

void reload_turn(struct server *s)
{
    if (s->reload != RELOAD_DRAINS || store_in_use(s))
        return;
    struct buf why = {0};
    log_notice("Loading the data again.");
    s->reload = RELOAD_LOADS;
    persistence_close(s);
    vs_close(s->store);
    s->store = NULL;
    s->census = (struct census){0};
    if (!server_open_store(s, &why) || !persistence_start(s, &why)) {
        log_warning("Cannot load the data again: %.*s", (int)why.len, why.len ? why.data : "");
        s->failed = true;
        s->shutdown = SHUTDOWN_NOW;
    }
    buf_release(&why);
}

void reload_done(struct server *s)
{
    if (s->reload == RELOAD_LOADS)
        answer(s, "+OK\r\n");
}
