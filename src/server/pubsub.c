#include "server/pubsub.h"

#include <string.h>

#include "base/clock.h"
#include "base/glob.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "server/commands.h"
#include "server/replication.h"

#define SEGMENT_CELLS 256
#define HELLO_CHANNEL "__sentinel__:hello" /* where sentinels tell each other, and us, who is the primary */

struct topic;

struct subscription {
    struct topic *topic;
    struct cmd_client *client;
    TAILQ_ENTRY(subscription) of_topic, of_client;
};
TAILQ_HEAD(subscriptions, subscription);

struct topic {
    enum pubsub_kind kind;
    uint64_t hash;
    struct subscriptions all;
    size_t n;
    TAILQ_ENTRY(topic) link; /* patterns */
    size_t len;
    char name[];
};
TAILQ_HEAD(topic_list, topic);

struct pubsub {
    struct htable *topics[PUBSUB_KINDS]; /* by name */
    struct htable *pairs;                /* subscriptions by topic and client */
    struct topic_list patterns;
    size_t clients;
};

/* Of a client that listens to anything. */
struct pubsub_client {
    struct subscriptions all[PUBSUB_KINDS];
    size_t n[PUBSUB_KINDS];
    struct buf aside;
};

/* ---- tables ---- */

static uint64_t topic_hash(void *arg, uint64_t cell)
{
    (void)arg;
    return ((const struct topic *)(uintptr_t)cell)->hash;
}

static bool topic_equal(void *arg, uint64_t cell, const void *key, size_t len)
{
    (void)arg;
    const struct topic *t = (const struct topic *)(uintptr_t)cell;
    return t->len == len && memcmp(t->name, key, len) == 0;
}

static uint64_t pair_of(const struct topic *t, const struct cmd_client *c)
{
    return hash_mix((uintptr_t)t ^ hash_mix(c->id));
}

static uint64_t pair_hash(void *arg, uint64_t cell)
{
    (void)arg;
    const struct subscription *s = (const struct subscription *)(uintptr_t)cell;
    return pair_of(s->topic, s->client);
}

static bool pair_equal(void *arg, uint64_t cell, const void *key, size_t len)
{
    (void)arg;
    (void)len;
    const struct subscription *s = (const struct subscription *)(uintptr_t)cell, *sought = key;
    return s->topic == sought->topic && s->client == sought->client;
}

static const struct htable_ops topic_ops = {topic_hash, topic_equal};
static const struct htable_ops pair_ops = {pair_hash, pair_equal};

struct pubsub *pubsub_new(void)
{
    struct pubsub *p = mem_zalloc(sizeof(*p));
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        p->topics[kind] = htable_new(8, SEGMENT_CELLS, &topic_ops, NULL);
    p->pairs = htable_new(8, SEGMENT_CELLS, &pair_ops, NULL);
    TAILQ_INIT(&p->patterns);
    return p;
}

void pubsub_free(struct pubsub *p)
{
    if (!p)
        return;
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        htable_free(p->topics[kind]);
    htable_free(p->pairs);
    mem_free(p);
}

bool pubsub_heard(const struct pubsub *p)
{
    return p->clients > 0;
}

size_t pubsub_topics(const struct pubsub *p, enum pubsub_kind kind)
{
    return htable_count(p->topics[kind]);
}

size_t pubsub_clients(const struct pubsub *p)
{
    return p->clients;
}

size_t pubsub_count(const struct cmd_client *c, enum pubsub_kind kind)
{
    return c->pubsub ? c->pubsub->n[kind] : 0;
}

static struct topic *topic_find(const struct pubsub *p, enum pubsub_kind kind, const void *name,
                                size_t len)
{
    return (struct topic *)(uintptr_t)htable_find(p->topics[kind], hash_bytes(name, len, 0), name,
                                                  len);
}

static struct subscription *pair_find(const struct pubsub *p, struct topic *t,
                                      struct cmd_client *c)
{
    struct subscription key = {.topic = t, .client = c};
    return (struct subscription *)(uintptr_t)htable_find(p->pairs, pair_of(t, c), &key,
                                                         sizeof(key));
}

/* NULL: out of memory. */
static struct topic *topic_new(struct pubsub *p, enum pubsub_kind kind, const struct resp_arg *name)
{
    struct topic *t = mem_try_zalloc(sizeof(*t) + name->len);
    if (!t)
        return NULL;
    t->kind = kind;
    t->hash = hash_bytes(name->data, name->len, 0);
    t->len = name->len;
    memcpy(t->name, name->data, name->len);
    TAILQ_INIT(&t->all);
    if (!htable_insert(p->topics[kind], t->hash, (uintptr_t)t)) {
        mem_free(t);
        return NULL;
    }
    if (kind == PUBSUB_PATTERN)
        TAILQ_INSERT_TAIL(&p->patterns, t, link);
    return t;
}

static void topic_drop_unused(struct pubsub *p, struct topic *t)
{
    if (t->n > 0)
        return;
    htable_remove(p->topics[t->kind], t->hash, t->name, t->len);
    if (t->kind == PUBSUB_PATTERN)
        TAILQ_REMOVE(&p->patterns, t, link);
    mem_free(t);
}

/* ---- one client and its topics ---- */

static void listen_begin(struct cmd_client *c)
{
    c->pubsub = mem_zalloc(sizeof(*c->pubsub));
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        TAILQ_INIT(&c->pubsub->all[kind]);
    c->server->pubsub->clients++;
}

static void listen_end(struct cmd_client *c)
{
    buf_release(&c->pubsub->aside);
    mem_free(c->pubsub);
    c->pubsub = NULL;
    c->server->pubsub->clients--;
}

/* False: out of memory, nothing changed. */
static bool subscribe(struct cmd_client *c, enum pubsub_kind kind, const struct resp_arg *name)
{
    struct pubsub *p = c->server->pubsub;
    struct topic *t = topic_find(p, kind, name->data, name->len);
    if (t && pair_find(p, t, c))
        return true;
    if (!t && !(t = topic_new(p, kind, name)))
        return false;
    struct subscription *s = mem_try_zalloc(sizeof(*s));
    if (s) {
        s->topic = t;
        s->client = c;
    }
    if (!s || !htable_insert(p->pairs, pair_of(t, c), (uintptr_t)s)) {
        mem_free(s);
        topic_drop_unused(p, t);
        return false;
    }
    if (!c->pubsub)
        listen_begin(c);
    TAILQ_INSERT_TAIL(&t->all, s, of_topic);
    t->n++;
    TAILQ_INSERT_TAIL(&c->pubsub->all[kind], s, of_client);
    c->pubsub->n[kind]++;
    return true;
}

/* The client's own part stays, even when it has become empty: see settle. */
static void unsubscribe(struct subscription *s)
{
    struct cmd_client *c = s->client;
    struct topic *t = s->topic;
    struct pubsub *p = c->server->pubsub;
    htable_remove(p->pairs, pair_of(t, c), s, sizeof(*s));
    TAILQ_REMOVE(&t->all, s, of_topic);
    t->n--;
    TAILQ_REMOVE(&c->pubsub->all[t->kind], s, of_client);
    c->pubsub->n[t->kind]--;
    mem_free(s);
    topic_drop_unused(p, t);
}

/* A client without subscriptions is like any other. */
static void settle(struct cmd_client *c)
{
    if (c->pubsub && c->pubsub->n[PUBSUB_CHANNEL] + c->pubsub->n[PUBSUB_PATTERN] == 0 &&
        c->pubsub->aside.len == 0)
        listen_end(c);
}

void pubsub_leave(struct cmd_client *c)
{
    if (!c->pubsub)
        return;
    for (int kind = 0; kind < PUBSUB_KINDS; kind++) {
        struct subscription *s;
        while ((s = TAILQ_FIRST(&c->pubsub->all[kind])))
            unsubscribe(s);
    }
    listen_end(c);
}

/* ---- messages ---- */

void pubsub_flush(struct cmd_client *c)
{
    struct buf *aside = &c->pubsub->aside;
    if (aside->len > 0) {
        buf_append(reply_target(c), aside->data, aside->len);
        buf_reset(aside);
        /* Who works on the client sends, too; but a command may end elsewhere. */
        if (!client_check_output(c))
            reply_send(c);
    }
    settle(c);
}

static void deliver(struct cmd_client *c, const struct buf *text)
{
    if (c->closing)
        return;
    if (!c->called || (c->gate && c->last_slot == c->gate)) {
        reply_push(c, text->data, text->len);
        return;
    }
    if (!buf_try_append(&c->pubsub->aside, text->data, text->len))
        client_close(c);
}

/* To all of a topic; encoded once for each version of the protocol. */
static size_t deliver_all(struct topic *t, const void *channel, size_t channel_len,
                          const void *message, size_t len)
{
    struct buf text[2] = {{0}, {0}};
    struct subscription *s;
    TAILQ_FOREACH(s, &t->all, of_topic)
    {
        struct buf *b = &text[s->client->resp == 3];
        if (b->len == 0) {
            struct resp_writer w = {.out = b, .version = s->client->resp};
            bool pattern = t->kind == PUBSUB_PATTERN;
            resp_push(&w, pattern ? 4 : 3);
            resp_bulk_text(&w, pattern ? "pmessage" : "message");
            if (pattern)
                resp_bulk(&w, t->name, t->len);
            resp_bulk(&w, channel, channel_len);
            resp_bulk(&w, message, len);
            if (w.lost)
                break;
        }
        deliver(s->client, b);
    }
    buf_release(&text[0]);
    buf_release(&text[1]);
    return t->n;
}

size_t pubsub_publish(struct server *s, const void *channel, size_t channel_len,
                      const void *message, size_t len)
{
    struct pubsub *p = s->pubsub;
    size_t heard = 0;
    if (!p->clients)
        return 0;
    struct topic *t = topic_find(p, PUBSUB_CHANNEL, channel, channel_len);
    if (t)
        heard += deliver_all(t, channel, channel_len, message, len);
    TAILQ_FOREACH(t, &p->patterns, link)
    if (glob_match(t->name, t->len, channel, channel_len, false))
        heard += deliver_all(t, channel, channel_len, message, len);
    return heard;
}

/* ---- SUBSCRIBE and its family ---- */

bool pubsub_allows(const struct cmd_spec *spec)
{
    cmd_handler h = spec->handler;
    return h == pubsub_subscribe_command || h == pubsub_psubscribe_command ||
           h == pubsub_unsubscribe_command || h == pubsub_punsubscribe_command ||
           h == connection_ping || h == connection_quit || h == connection_reset;
}

/* `name` NULL: there was nothing to leave. */
static void confirm(struct cmd_call *call, const char *what, const void *name, size_t len)
{
    struct cmd_client *c = call->client;
    resp_push(call->reply, 3);
    resp_bulk_text(call->reply, what);
    if (name)
        resp_bulk(call->reply, name, len);
    else
        resp_null(call->reply);
    resp_int(call->reply,
             (long long)(pubsub_count(c, PUBSUB_CHANNEL) + pubsub_count(c, PUBSUB_PATTERN)));
}

struct walk {
    size_t next; /* argument */
};

static struct walk *walk_begin(struct cmd_call *call)
{
    /* Confirmations are no replies: CLIENT REPLY does not silence them. */
    call->reply->out = reply_target(call->client);
    if (!call->state) {
        struct walk *w = mem_alloc(sizeof(*w));
        w->next = 1;
        call->state = w;
        call->state_free = mem_free;
    }
    return call->state;
}

static enum cmd_result subscribe_all(struct cmd_call *call, enum pubsub_kind kind, const char *what)
{
    struct walk *w = walk_begin(call);
    while (w->next < call->argc) {
        const struct resp_arg *name = &call->argv[w->next++];
        if (!subscribe(call->client, kind, name)) {
            args_status_error(call->reply, VS_NOMEM);
            return CMD_DONE;
        }
        confirm(call, what, name->data, name->len);
        if (w->next < call->argc && args_slice_over(call))
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

static enum cmd_result unsubscribe_named(struct cmd_call *call, struct walk *w,
                                         enum pubsub_kind kind, const char *what)
{
    struct pubsub *p = call->client->server->pubsub;
    while (w->next < call->argc) {
        const struct resp_arg *name = &call->argv[w->next++];
        struct topic *t = topic_find(p, kind, name->data, name->len);
        struct subscription *s = t ? pair_find(p, t, call->client) : NULL;
        if (s)
            unsubscribe(s);
        confirm(call, what, name->data, name->len);
        if (w->next < call->argc && args_slice_over(call))
            return CMD_AGAIN;
    }
    return CMD_DONE;
}

static enum cmd_result unsubscribe_all(struct cmd_call *call, enum pubsub_kind kind,
                                       const char *what)
{
    struct cmd_client *c = call->client;
    struct walk *w = walk_begin(call);
    if (call->argc > 1)
        return unsubscribe_named(call, w, kind, what);
    if (w->next == 1 && !pubsub_count(c, kind)) {
        confirm(call, what, NULL, 0);
        return CMD_DONE;
    }
    struct buf name = {0};
    enum cmd_result result = CMD_DONE;
    struct subscription *s;
    while (c->pubsub && (s = TAILQ_FIRST(&c->pubsub->all[kind]))) {
        w->next++;
        buf_reset(&name);
        if (!buf_try_append(&name, s->topic->name, s->topic->len)) {
            args_status_error(call->reply, VS_NOMEM);
            break;
        }
        unsubscribe(s);
        confirm(call, what, name.data ? name.data : "", name.len);
        if (pubsub_count(c, kind) && args_slice_over(call)) {
            result = CMD_AGAIN;
            break;
        }
    }
    buf_release(&name);
    return result;
}

enum cmd_result pubsub_subscribe_command(struct cmd_call *call)
{
    return subscribe_all(call, PUBSUB_CHANNEL, "subscribe");
}

enum cmd_result pubsub_psubscribe_command(struct cmd_call *call)
{
    return subscribe_all(call, PUBSUB_PATTERN, "psubscribe");
}

enum cmd_result pubsub_unsubscribe_command(struct cmd_call *call)
{
    return unsubscribe_all(call, PUBSUB_CHANNEL, "unsubscribe");
}

enum cmd_result pubsub_punsubscribe_command(struct cmd_call *call)
{
    return unsubscribe_all(call, PUBSUB_PATTERN, "punsubscribe");
}

/* ---- PUBLISH, PUBSUB ---- */

enum cmd_result pubsub_publish_command(struct cmd_call *call)
{
    const struct resp_arg *channel = &call->argv[1], *message = &call->argv[2];
    struct server *s = server_of(call);
    resp_int(call->reply, (long long)pubsub_publish(s, channel->data, channel->len, message->data,
                                                    message->len));
    if (s->repl && channel->len == sizeof(HELLO_CHANNEL) - 1 &&
        !memcmp(channel->data, HELLO_CHANNEL, channel->len))
        s->repl_hooks->hello(s, call->client, message->data, message->len);
    return CMD_DONE;
}

struct channels {
    uint64_t cursor;
    const struct resp_arg *pattern; /* NULL: all */
    struct buf found;
    size_t n;
    bool no_memory;
};

static void channels_free(void *state)
{
    struct channels *l = state;
    buf_release(&l->found);
    mem_free(l);
}

static void channels_one(void *arg, uint64_t cell)
{
    struct channels *l = arg;
    const struct topic *t = (const struct topic *)(uintptr_t)cell;
    if (l->pattern && !glob_match(l->pattern->data, l->pattern->len, t->name, t->len, false))
        return;
    if (!buf_try_reserve(&l->found, t->len + 32)) {
        l->no_memory = true;
        return;
    }
    struct resp_writer w = {.out = &l->found, .version = 2};
    resp_bulk(&w, t->name, t->len);
    l->n++;
}

enum cmd_result pubsub_channels_command(struct cmd_call *call)
{
    struct channels *l = call->state;
    if (call->argc > 3) {
        resp_error(call->reply, "ERR wrong number of arguments for 'pubsub|channels' command");
        return CMD_DONE;
    }
    if (!l) {
        call->state = l = mem_zalloc(sizeof(*l));
        call->state_free = channels_free;
    }
    l->pattern = call->argc == 3 ? &call->argv[2] : NULL;
    struct htable *all = server_of(call)->pubsub->topics[PUBSUB_CHANNEL];
    do {
        l->cursor = htable_scan(all, l->cursor, channels_one, l);
        if (l->cursor && args_slice_over(call))
            return CMD_AGAIN;
    } while (l->cursor);
    if (l->no_memory) {
        args_status_error(call->reply, VS_NOMEM);
        return CMD_DONE;
    }
    resp_array(call->reply, l->n);
    resp_raw(call->reply, l->found.data, l->found.len);
    return CMD_DONE;
}

enum cmd_result pubsub_numsub_command(struct cmd_call *call)
{
    resp_array(call->reply, (call->argc - 2) * 2);
    for (size_t i = 2; i < call->argc; i++) {
        const struct resp_arg *name = &call->argv[i];
        const struct topic *t =
            topic_find(server_of(call)->pubsub, PUBSUB_CHANNEL, name->data, name->len);
        resp_bulk(call->reply, name->data, name->len);
        resp_int(call->reply, t ? (long long)t->n : 0);
    }
    return CMD_DONE;
}

enum cmd_result pubsub_numpat_command(struct cmd_call *call)
{
    resp_int(call->reply, (long long)pubsub_topics(server_of(call)->pubsub, PUBSUB_PATTERN));
    return CMD_DONE;
}
