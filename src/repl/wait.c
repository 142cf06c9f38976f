/* WAIT and WAITAOF: a client waits until so many replicas have what it wrote. Its reply has its place among
 * its replies; its connection goes on meanwhile.
 *
 * Replicas are asked to acknowledge at once, behind what the turn sends them, so that an answer takes a
 * round trip and not a second. */
#include <stdlib.h>

#include "base/mem.h"
#include "persist/journal.h"
#include "repl/repl_int.h"
#include "server/client.h"

struct repl_wait {
    TAILQ_ENTRY(repl_wait) link;
    struct repl *r;
    struct cmd_pending *reply;
    uint64_t offset, lsn;       /* behind the client's last write */
    size_t replicas;            /* so many are waited for */
    bool aof, local;            /* WAITAOF; of it: our own disk, too */
    uint64_t until_ms;          /* 0: for ever */
};

static bool local_synced(const struct repl *r, uint64_t lsn)
{
    struct journal_status now;
    if (!r->s->journal || !journal_is_open(r->s->journal))
        return false;
    journal_read_status(r->s->journal, &now);
    return now.synced >= lsn;
}

static void write_answer(const struct repl *r, const struct repl_wait *w, struct resp_writer *out)
{
    size_t n = repl_acked(r, w->offset, w->aof);
    if (!w->aof) {
        resp_int(out, (long long)n);
        return;
    }
    resp_array(out, 2);
    resp_int(out, local_synced(r, w->lsn));
    resp_int(out, (long long)n);
}

static bool is_met(const struct repl *r, const struct repl_wait *w)
{
    return repl_acked(r, w->offset, w->aof) >= w->replicas && (!w->local || local_synced(r, w->lsn));
}

static void end(struct repl *r, struct repl_wait *w)
{
    TAILQ_REMOVE(&r->waits, w, link);
    r->s->pending_idle--;
    reply_finish(w->reply);
    mem_free(w);
}

static void on_cancel(struct cmd_pending *p)
{
    struct repl_wait *w = p->arg;
    p->on_cancel = NULL;
    end(w->r, w);
}

void waits_turn(struct repl *r)
{
    struct repl_wait *w, *next;
    for (w = TAILQ_FIRST(&r->waits); w; w = next) {
        next = TAILQ_NEXT(w, link);
        if (!is_met(r, w) && (!w->until_ms || r->s->now_ms < w->until_ms))
            continue;
        struct resp_writer out = {.out = &w->reply->reply, .version = w->reply->resp_version};
        write_answer(r, w, &out);
        w->reply->on_cancel = NULL;
        end(r, w);
    }
}

void waits_give_up(struct repl *r)
{
    struct repl_wait *w;
    while ((w = TAILQ_FIRST(&r->waits))) {
        struct resp_writer out = {.out = &w->reply->reply, .version = w->reply->resp_version};
        resp_error(&out, "UNBLOCKED force unblock from blocking operation, instance state changed "
                         "(master -> replica?)");
        w->reply->on_cancel = NULL;
        end(r, w);
    }
}

static bool number(struct cmd_call *call, size_t at, long long max, long long *out)
{
    if (!resp_to_int(&call->argv[at], out)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return false;
    }
    if (*out < 0 || *out > max) {
        if (max == 1)
            resp_error(call->reply, "ERR value is out of range, value must between 0 and 1");
        else
            resp_error(call->reply, "ERR value is out of range, must be positive");
        return false;
    }
    return true;
}

static enum cmd_result wait_for(struct cmd_call *call, struct repl_wait *w, long long timeout)
{
    struct repl *r = w->r;
    struct cmd_client *c = call->client;
    /* What was written before there was a stream has whoever is in step. */
    w->offset = c->repl_offset || !c->write_lsn ? c->repl_offset : 1;
    w->lsn = c->write_lsn;
    if (is_met(r, w) || call->transaction) {
        write_answer(r, w, call->reply);
        return CMD_DONE;
    }
    struct repl_wait *kept = mem_zalloc(sizeof(*kept));
    *kept = *w;
    kept->until_ms = timeout ? r->s->now_ms + (uint64_t)timeout : 0;
    kept->reply = cmd_defer(call);
    kept->reply->arg = kept;
    kept->reply->on_cancel = on_cancel;
    r->s->pending_idle++;
    TAILQ_INSERT_TAIL(&r->waits, kept, link);
    repl_ask_acks(r);
    return CMD_PENDING;
}

enum cmd_result repl_wait_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    long long replicas, timeout;
    if (r->replica) {
        resp_error(call->reply, "ERR WAIT cannot be used with replica instances. Please also note that "
                                "since Redis 4.0 if a replica is configured to be writable (which is not "
                                "the default) writes to replicas are just local and are not propagated.");
        return CMD_DONE;
    }
    if (!resp_to_int(&call->argv[1], &replicas)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
        return CMD_DONE;
    }
    if (!resp_to_int(&call->argv[2], &timeout)) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
        return CMD_DONE;
    }
    if (timeout < 0) {
        resp_error(call->reply, "ERR timeout is negative");
        return CMD_DONE;
    }
    struct repl_wait w = {.r = r, .replicas = replicas > 0 ? (size_t)replicas : 0};
    return wait_for(call, &w, timeout);
}

enum cmd_result repl_waitaof_command(struct cmd_call *call)
{
    struct repl *r = repl_of(server_of(call));
    long long local, replicas, timeout;
    if (!number(call, 1, 1, &local) || !number(call, 2, INT32_MAX, &replicas))
        return CMD_DONE;
    if (!resp_to_int(&call->argv[3], &timeout)) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
        return CMD_DONE;
    }
    if (timeout < 0) {
        resp_error(call->reply, "ERR timeout is negative");
        return CMD_DONE;
    }
    if (r->replica) {
        resp_error(call->reply, "ERR WAITAOF cannot be used with replica instances. Please also note that "
                                "writes to replicas are just local and are not propagated.");
        return CMD_DONE;
    }
    if (local && !r->c->appendonly) {
        resp_error(call->reply, "ERR WAITAOF cannot be used when numlocal is set but appendonly is "
                                "disabled.");
        return CMD_DONE;
    }
    struct repl_wait w = {.r = r, .replicas = (size_t)replicas, .aof = true, .local = local};
    return wait_for(call, &w, timeout);
}
