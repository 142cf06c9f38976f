/* The store's place is taken by another store: what a replica does when it has received all of its
 * primary's data and built them aside.
 *
 *   commands wait -> those under way end -> persist closes its files -> stores change places ->
 *   persist opens them again, around the new store -> commands go on
 *
 * Connections stay. What clients watch counts as changed. */
#include "base/clock.h"
#include "base/log.h"
#include "persist/persist.h"
#include "server/client.h"
#include "server/expire.h"
#include "server/memory_limit.h"
#include "server/multi.h"
#include "server/persistence.h"
#include "server/replication.h"

/* Does a command hold on to the store, or a worker? */
static bool store_in_use(const struct server *s)
{
    if (s->pending > s->pending_idle)
        return true;
    for (size_t i = 0; i < s->clients->n; i++)
        if (s->clients->at[i]->called)
            return true;
    return false;
}

bool persistence_swap_ready(struct server *s)
{
    if (s->loading || s->reload || !s->journal)
        return false;
    s->swapping = true;
    if (s->saving.runs)
        persist_save_abort(s->persist);
    return !store_in_use(s) && !s->saving.runs;
}

static bool take_files(struct server *s, uint64_t lsn, uint64_t hlc)
{
    struct buf why = {0};
    bool done = false;
    bool ok = persistence_adopt(s, lsn, hlc, &why);
    while (ok && !done)
        ok = persist_load_step(s->persist, clock_mono_ns() + 1000000000, &done, &why) == VS_OK;
    if (!ok) {
        log_warning("The data of the primary cannot be taken over: %.*s", (int)why.len,
                    why.len ? why.data : "");
        s->failed = true;
        s->shutdown = SHUTDOWN_NOW;
    }
    buf_release(&why);
    return ok;
}

bool persistence_swap(struct server *s, struct vs_store *fresh, uint64_t lsn, uint64_t hlc,
                      struct vs_store **old)
{
    persistence_close(s);
    *old = s->store;
    s->store = fresh;
    expire_open(s);
    expire_clock(s);
    memory_limit_apply(s);
    s->census = (struct census){0};
    for (unsigned db = 0; db < vs_databases(fresh); db++)
        watches_touch(s->watches, db, NULL, 0);
    if (!take_files(s, lsn, hlc))
        return false;
    s->journal = persist_journal(s->persist);
    memory_limit_journal(s);
    s->loading = false;
    s->dirty++; /* no snapshot holds it */
    return true;
}

void persistence_swap_end(struct server *s)
{
    s->swapping = false;
    clients_resume(s, CLIENT_WAITS_PAUSE);
}
