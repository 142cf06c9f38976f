#include "integration/lib/failover.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "lib/wait.h"

#define ANSWER_MS  500   /* of one that follows: then it asks Sentinel */
#define PATIENT_MS 30000 /* of one that stays */

/* ---- nodes ---- */

int failover_port(const struct failover_bed *b, int node)
{
    return b->proxy[node] ? proxy_port(b->proxy[node]) : server_port(b->node[node]);
}

int failover_node(const struct failover_bed *b, int port)
{
    for (int i = 0; i < FAILOVER_NODES; i++)
        if (port == failover_port(b, i) || port == server_port(b->node[i]))
            return i;
    return -1;
}

static bool says(const struct failover_bed *b, int node, const char *line)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", server_port(b->node[node]), (struct timeval){.tv_sec = 1});
    if (c && !c->err)
        redisSetTimeout(c, (struct timeval){.tv_sec = 1});
    redisReply *r = c && !c->err ? redisCommand(c, "INFO replication") : NULL;
    bool yes = r && r->type == REDIS_REPLY_STRING && strstr(r->str, line);
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return yes;
}

int failover_primary(const struct failover_bed *b)
{
    int node = failover_node(b, sentinels_primary(b->sentinels));
    return node >= 0 && says(b, node, "role:master") ? node : -1;
}

struct standing {
    const struct failover_bed *b;
    int node;
};

static bool follows(const struct failover_bed *b, int i, int primary)
{
    char line[64];
    snprintf(line, sizeof line, "master_port:%d\r", failover_port(b, primary));
    return says(b, i, line) && says(b, i, "master_link_status:up");
}

static bool is_replica(void *arg)
{
    const struct standing *s = arg;
    int primary = failover_primary(s->b);
    return primary >= 0 && primary != s->node && follows(s->b, s->node, primary);
}

bool failover_wait_replica(const struct failover_bed *b, int i, int deadline_ms)
{
    struct standing s = {b, i};
    return wait_until(is_replica, &s, deadline_ms);
}

static bool takes_writes(const struct failover_bed *b, int node)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", server_port(b->node[node]), (struct timeval){.tv_sec = 1});
    redisReply *r = c && !c->err ? redisCommand(c, "DEL nothing") : NULL;
    bool yes = r && r->type == REDIS_REPLY_INTEGER;
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return yes;
}

static bool is_settled(void *arg)
{
    struct standing *s = arg;
    s->node = failover_primary(s->b);
    if (s->node < 0 || !takes_writes(s->b, s->node))
        return false;
    for (int i = 0; i < FAILOVER_NODES; i++)
        if (i != s->node && !follows(s->b, i, s->node))
            return false;
    return true;
}

int failover_settle(const struct failover_bed *b, int deadline_ms)
{
    struct standing s = {b, -1};
    if (!wait_until(is_settled, &s, deadline_ms))
        fail_msg("no primary with %d replicas after %d ms", FAILOVER_NODES - 1, deadline_ms);
    sentinels_wait(b->sentinels, FAILOVER_NODES - 1, deadline_ms);
    return s.node;
}

void failover_start(struct failover_bed *b, const char *const *args, bool proxies, int down_after_ms)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < FAILOVER_NODES; i++) {
        b->node[i] = server_start_conf("", args);
        if (!proxies)
            continue;
        b->proxy[i] = proxy_start(server_port(b->node[i]));
        assert_non_null(b->proxy[i]);
        redisContext *c = server_connect(b->node[i]);
        reply_status(c, "OK", "CONFIG SET replica-announce-ip 127.0.0.1 replica-announce-port %d",
                     proxy_port(b->proxy[i]));
        redisFree(c);
    }
    for (int i = 1; i < FAILOVER_NODES; i++) {
        redisContext *c = server_connect(b->node[i]);
        reply_status(c, "OK", "REPLICAOF 127.0.0.1 %d", failover_port(b, 0));
        redisFree(c);
    }
    if (!down_after_ms) {
        redisContext *primary = server_connect(b->node[0]);
        for (int i = 1; i < FAILOVER_NODES; i++) {
            redisContext *c = server_connect(b->node[i]);
            repl_in_step(primary, c);
            redisFree(c);
        }
        redisFree(primary);
        return;
    }
    b->sentinels = sentinels_start(FAILOVER_SENTINELS, "127.0.0.1", failover_port(b, 0), down_after_ms);
    assert_int_equal(failover_settle(b, 40000), 0);
}

void failover_stop(struct failover_bed *b)
{
    if (b->sentinels)
        sentinels_stop(b->sentinels);
    for (int i = 0; i < FAILOVER_NODES; i++) {
        server_stop(b->node[i]);
        if (b->proxy[i])
            proxy_stop(b->proxy[i]);
    }
}

static void put_reply(const redisReply *r, FILE *out)
{
    if (r->str)
        fprintf(out, "%s\n", r->str);
    for (size_t i = 0; i < r->elements; i++)
        put_reply(r->element[i], out);
}

static char *answer(redisContext *c, const char *key, int n)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    redisReply *r = reply_any(c, "VSIM %s VALUES 4 %d %d %d 1 COUNT 20 WITHSCORES", key, n * 7 % 97, n * 131 % 1009, n % 8);
    put_reply(r, out);
    freeReplyObject(r);
    fclose(out);
    return text;
}

void failover_same_answers(redisContext *a, redisContext *b, const char *key)
{
    for (int n = 0; n < 50; n++) {
        char *one = answer(a, key, n), *other = answer(b, key, n);
        assert_string_equal(one, other);
        assert_true(*one != 0);
        free(one);
        free(other);
    }
}

/* ---- writers ---- */

struct writer {
    struct writers *all;
    pthread_t thread;
    int number;
    bool follows;
    int port;            /* 0: to be asked for */
    redisContext *c;
    struct acked *acked;
    size_t n, cap;
};

struct writers {
    const struct failover_bed *b;
    atomic_bool stop;
    char key[32];
    int n, every_us;
    int sentinel[FAILOVER_SENTINELS];
    struct writer *writer;
    struct acked *acked;
    size_t acked_n;
};

static void leave(struct writer *w)
{
    if (w->c)
        redisFree(w->c);
    w->c = NULL;
    if (w->follows)
        w->port = 0;
}

static bool reach(struct writer *w)
{
    if (w->c)
        return true;
    for (int i = 0; w->follows && !w->port && i < FAILOVER_SENTINELS; i++)
        w->port = sentinels_primary_of(w->all->sentinel[(w->number + i) % FAILOVER_SENTINELS]);
    if (!w->port)
        return false;
    int ms = w->follows ? ANSWER_MS : PATIENT_MS;
    struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    w->c = redisConnectWithTimeout("127.0.0.1", w->port, patience);
    if (!w->c || w->c->err) {
        leave(w);
        return false;
    }
    redisSetTimeout(w->c, patience);
    return true;
}

static void note(struct writer *w, uint64_t at_ms, const char *id, bool waited)
{
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 1024;
        w->acked = realloc(w->acked, w->cap * sizeof *w->acked);
    }
    struct acked *a = &w->acked[w->n++];
    *a = (struct acked){.at_ms = at_ms, .node = failover_node(w->all->b, w->port), .waited = waited};
    snprintf(a->id, sizeof a->id, "%s", id);
}

/* False: it was not acknowledged. */
static bool write_one(struct writer *w, unsigned seq)
{
    redisReply *r = NULL;
    char id[24];
    snprintf(id, sizeof id, "w%d-%u", w->number, seq);
    redisAppendCommand(w->c, "VADD %s VALUES 4 %u %u %d 1 %s", w->all->key, seq % 97 + 1, seq % 1009, w->number, id);
    redisAppendCommand(w->c, "WAIT 1 500");
    if (redisGetReply(w->c, (void **)&r) != REDIS_OK || !r) {
        leave(w);
        return false;
    }
    uint64_t at = (uint64_t)wait_now_ms();
    bool done = r->type == REDIS_REPLY_INTEGER;
    freeReplyObject(r);
    r = NULL;
    bool answered = redisGetReply(w->c, (void **)&r) == REDIS_OK && r;
    bool waited = answered && r->type == REDIS_REPLY_INTEGER && r->integer >= 1;
    if (r)
        freeReplyObject(r);
    if (done)
        note(w, at, id, waited);
    if (!answered || (!done && w->follows))
        leave(w);
    return done;
}

static void *run(void *arg)
{
    struct writer *w = arg;
    unsigned seq = 0;
    int64_t next_us = wait_now_ms() * 1000;
    while (!atomic_load(&w->all->stop)) {
        bool ok = reach(w) && write_one(w, seq++);
        int64_t now_us = wait_now_ms() * 1000;
        if (!ok) {
            poll(NULL, 0, 20);
            next_us = now_us;
            continue;
        }
        next_us += w->all->every_us;
        if (next_us < now_us - 100000)
            next_us = now_us; /* what was missed is not made up for */
        if (next_us > now_us)
            poll(NULL, 0, (int)((next_us - now_us) / 1000));
    }
    leave(w);
    return NULL;
}

struct writers *writers_start(const struct failover_bed *b, const char *key, int follow, int stay, int pinned,
                              int per_second)
{
    struct writers *w = calloc(1, sizeof *w);
    w->b = b;
    w->n = follow + stay;
    w->every_us = 1000000 / per_second * w->n;
    snprintf(w->key, sizeof w->key, "%s", key);
    for (int i = 0; b->sentinels && i < FAILOVER_SENTINELS; i++)
        w->sentinel[i] = sentinels_port(b->sentinels, i);
    w->writer = calloc((size_t)w->n, sizeof *w->writer);
    for (int i = 0; i < w->n; i++) {
        struct writer *one = &w->writer[i];
        one->all = w;
        one->number = i;
        one->follows = i < follow;
        one->port = one->follows ? 0 : pinned;
        if (pthread_create(&one->thread, NULL, run, one) != 0)
            fail_msg("no thread for a client");
    }
    return w;
}

static int by_time(const void *a, const void *b)
{
    const struct acked *x = a, *y = b;
    return x->at_ms < y->at_ms ? -1 : x->at_ms > y->at_ms;
}

void writers_end(struct writers *w)
{
    atomic_store(&w->stop, true);
    for (int i = 0; i < w->n; i++) {
        pthread_join(w->writer[i].thread, NULL);
        w->acked_n += w->writer[i].n;
    }
    w->acked = calloc(w->acked_n + 1, sizeof *w->acked);
    size_t n = 0;
    for (int i = 0; i < w->n; i++) {
        if (w->writer[i].n)
            memcpy(w->acked + n, w->writer[i].acked, w->writer[i].n * sizeof *w->acked);
        n += w->writer[i].n;
        free(w->writer[i].acked);
    }
    qsort(w->acked, w->acked_n, sizeof *w->acked, by_time);
}

const struct acked *writers_acked(const struct writers *w, size_t *n)
{
    *n = w->acked_n;
    return w->acked;
}

void writers_lost(const struct writers *w, redisContext *c, size_t *waited, size_t *others)
{
    *waited = *others = 0;
    for (size_t from = 0; from < w->acked_n; from += 500) {
        size_t to = from + 500 < w->acked_n ? from + 500 : w->acked_n;
        for (size_t i = from; i < to; i++)
            redisAppendCommand(c, "VISMEMBER %s %s", w->key, w->acked[i].id);
        for (size_t i = from; i < to; i++) {
            redisReply *r = NULL;
            if (redisGetReply(c, (void **)&r) != REDIS_OK || r->type != REDIS_REPLY_INTEGER)
                fail_msg("VISMEMBER: %s", r ? r->str : c->errstr);
            if (r->integer != 1)
                ++*(w->acked[i].waited ? waited : others);
            freeReplyObject(r);
        }
    }
}

void writers_free(struct writers *w)
{
    free(w->writer);
    free(w->acked);
    free(w);
}
