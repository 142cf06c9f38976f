/* kill -9 amid what becomes of whole keys, and amid what the server does by itself.
 *
 * Two clients copy, restore, rename, remove and fill keys, of which some are large enough to stand in the journal in pieces, and
 * exchange databases; each has two databases of its own. A third fills a cache that a limit of memory empties again, element by
 * element, and a fourth adds elements that end within milliseconds. Snapshots and rewrites run in every second round.
 *
 *     killed server's directory --copy--> second server
 *               |                              |
 *          first server: the clients' keys = their model's, after some command between the last answered and the last sent
 *               |        every element of the cache has the vector that its id says
 *               +--- records and graph digests of every key equal (of what ends by the clock: records) ---+
 *
 * In every third round the clients stop before the kill, and the digests of the running server must come back: what was
 * evicted stays away, what was not is there. The limit is lifted while digests are compared, since how much memory a start takes is
 * not the same twice.
 *
 * Rounds: 6, or 120 with VECSTORE_DRILL=full. VECSTORE_SEED repeats a run's commands. run: beside tsan: skip */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/wait.h"

#define CLIENTS     2
#define DATABASES   2 /* of a client */
#define KEYS        3 /* of a database */
#define IDS         90
#define DIM         64
#define SENT        8 /* commands without an answer, at most */
#define ROUNDS      6
#define ROUNDS_FULL 120
#define GENERATION  12 /* rounds, then a new directory */
#define SETTLE_MS   60000
#define CACHE_BYTES (8 << 20) /* of memory above what a server has at its start */
#define CACHE_BATCH 50

/* ---- what a client's keys hold ---- */

struct model {
    struct key {
        uint32_t n;            /* elements; 0: it is not there */
        uint32_t version[IDS]; /* of the elements' vectors; 0: not there */
    } key[DATABASES][KEYS];
};

struct client {
    unsigned number;
    struct rng rng;
    uint32_t next_version;
    struct model state[SENT + 1]; /* after the last command answered, and after each of those sent since */
    unsigned sent;
    redisContext *context;
    pthread_t thread;
    unsigned long answered, pieces;
    char error[256];
};

static struct client clients[CLIENTS];
static atomic_bool stopping;

static void vector_of(uint32_t version, float v[DIM])
{
    struct rng r = {version};
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(rng_unit(&r) - 0.5);
    v[0] = (float)(version % 4096);
    v[1] = (float)(version / 4096);
}

static uint32_t version_of(const redisReply *blob)
{
    float found[DIM], right[DIM];
    if (blob->len != sizeof(found))
        return 0;
    memcpy(found, blob->str, sizeof(found));
    uint32_t version = (uint32_t)found[0] + 4096 * (uint32_t)found[1];
    vector_of(version, right);
    return memcmp(found, right, sizeof(found)) == 0 ? version : 0;
}

static unsigned database(const struct client *c, unsigned d)
{
    return 1 + c->number * DATABASES + d;
}

static void wrong(struct client *c, const char *what, const redisReply *r)
{
    snprintf(c->error, sizeof(c->error), "client %u: %s: %.100s", c->number, what, r && r->str ? r->str : "no reply");
}

static struct model *next_state(struct client *c)
{
    c->state[c->sent + 1] = c->state[c->sent];
    return &c->state[++c->sent];
}

/* Its reply is what it must be; the state before it is no longer possible. False: the server has gone, or something is wrong. */
static bool take(struct client *c, int type, long long n)
{
    redisReply *r = NULL;
    if (redisGetReply(c->context, (void **)&r) != REDIS_OK)
        return false;
    bool ok = r->type == type && (type != REDIS_REPLY_INTEGER || r->integer == n);
    if (!ok)
        wrong(c, "a wrong reply", r);
    freeReplyObject(r);
    if (!ok)
        return false;
    memmove(c->state, c->state + 1, c->sent * sizeof(c->state[0]));
    c->sent--;
    c->answered++;
    return true;
}

/* One that changes nothing. */
static redisReply *ask(struct client *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    redisReply *r = redisvCommand(c->context, fmt, ap);
    va_end(ap);
    return r;
}

static bool in_database(struct client *c, unsigned d)
{
    redisReply *r = ask(c, "SELECT %u", database(c, d));
    bool ok = r && r->type == REDIS_REPLY_STATUS;
    if (r && !ok)
        wrong(c, "SELECT", r);
    if (r)
        freeReplyObject(r);
    return ok;
}

/* ---- commands ---- */

/* Some elements more, new ones and others again. */
static bool add(struct client *c, unsigned d, unsigned k)
{
    unsigned n = 1 + (unsigned)rng_below(&c->rng, SENT);
    int created[SENT];
    for (unsigned i = 0; i < n; i++) {
        unsigned id = (unsigned)rng_below(&c->rng, IDS);
        float v[DIM];
        struct key *key = &next_state(c)->key[d][k];
        created[i] = !key->version[id];
        key->n += !key->version[id];
        key->version[id] = c->next_version++;
        vector_of(key->version[id], v);
        redisAppendCommand(c->context, "VADD k%u FP32 %b e%u M 4 EF 16", k, v, sizeof(v), id);
    }
    for (unsigned i = 0; i < n; i++)
        if (!take(c, REDIS_REPLY_INTEGER, created[i]))
            return false;
    return true;
}

/* All that it can have, in one command. */
static bool fill(struct client *c, unsigned d, unsigned k)
{
    static _Thread_local float v[IDS][DIM];
    char id[IDS][8];
    const char *argv[4 + 2 * IDS + 4] = {"VMADD", NULL, "FP32", NULL};
    size_t lens[4 + 2 * IDS + 4];
    char name[8], count[8];
    int argc = 4;
    struct key *key = &next_state(c)->key[d][k];
    snprintf(name, sizeof(name), "k%u", k);
    snprintf(count, sizeof(count), "%d", IDS);
    argv[1] = name;
    argv[3] = count;
    for (unsigned i = 0; i < IDS; i++) {
        snprintf(id[i], sizeof(id[i]), "e%u", i);
        key->version[i] = c->next_version++;
        vector_of(key->version[i], v[i]);
        argv[argc++] = id[i];
        argv[argc++] = (const char *)v[i];
    }
    key->n = IDS;
    argv[argc++] = "M";
    argv[argc++] = "4";
    argv[argc++] = "ATOMIC";
    for (int i = 0; i < argc; i++)
        lens[i] = i >= 4 && i < 4 + 2 * IDS && i % 2 ? sizeof(v[0]) : strlen(argv[i]);
    redisAppendCommandArgv(c->context, argc, argv, lens);
    return take(c, REDIS_REPLY_ARRAY, 0);
}

static bool copy(struct client *c, unsigned d, unsigned k)
{
    unsigned to_d = (unsigned)rng_below(&c->rng, DATABASES), to = (unsigned)rng_below(&c->rng, KEYS);
    if (to_d == d && to == k)
        return true;
    struct model *m = next_state(c);
    bool there = m->key[d][k].n;
    if (there)
        m->key[to_d][to] = m->key[d][k];
    c->pieces += m->key[d][k].n * DIM * sizeof(float) > 16384;
    redisAppendCommand(c->context, "COPY k%u k%u DB %u REPLACE", k, to, database(c, to_d));
    return take(c, REDIS_REPLY_INTEGER, there);
}

static bool restore(struct client *c, unsigned d, unsigned k)
{
    unsigned to = (unsigned)rng_below(&c->rng, KEYS);
    redisReply *r = ask(c, "DUMP k%u", k);
    if (!r)
        return false;
    if (r->type == REDIS_REPLY_NIL) {
        freeReplyObject(r);
        return true;
    }
    struct model *m = next_state(c);
    m->key[d][to] = m->key[d][k];
    c->pieces += r->len > 16384;
    redisAppendCommand(c->context, "RESTORE k%u 0 %b REPLACE", to, r->str, r->len);
    freeReplyObject(r);
    return take(c, REDIS_REPLY_STATUS, 0);
}

static bool swap(struct client *c)
{
    struct model *m = next_state(c);
    for (unsigned k = 0; k < KEYS; k++) {
        struct key key = m->key[0][k];
        m->key[0][k] = m->key[1][k];
        m->key[1][k] = key;
    }
    redisAppendCommand(c->context, "SWAPDB %u %u", database(c, 0), database(c, 1));
    return take(c, REDIS_REPLY_STATUS, 0);
}

static bool rename_or_remove(struct client *c, unsigned d, unsigned k)
{
    unsigned to = (unsigned)rng_below(&c->rng, KEYS);
    bool renames = rng_below(&c->rng, 2) && to != k;
    struct model *m = next_state(c);
    bool there = m->key[d][k].n;
    if (!there && renames) {
        c->sent--;
        return true;
    }
    if (renames)
        m->key[d][to] = m->key[d][k];
    memset(&m->key[d][k], 0, sizeof(m->key[d][k]));
    if (renames)
        redisAppendCommand(c->context, "RENAME k%u k%u", k, to);
    else
        redisAppendCommand(c->context, "DEL k%u", k);
    return take(c, renames ? REDIS_REPLY_STATUS : REDIS_REPLY_INTEGER, there);
}

static bool step(struct client *c)
{
    unsigned d = (unsigned)rng_below(&c->rng, DATABASES), k = (unsigned)rng_below(&c->rng, KEYS);
    if (!in_database(c, d))
        return false;
    switch (rng_below(&c->rng, 10)) {
    case 0:
    case 1:
    case 2: return add(c, d, k);
    case 3: return fill(c, d, k);
    case 4:
    case 5:
    case 6: return copy(c, d, k);
    case 7:
    case 8: return restore(c, d, k);
    default: return rng_below(&c->rng, 2) ? swap(c) : rename_or_remove(c, d, k);
    }
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    while (!atomic_load(&stopping) && step(c))
        ;
    return NULL;
}

/* ---- the cache and what ends ---- */

static struct {
    redisContext *context;
    pthread_t thread;
    uint32_t next;             /* id, and version of its vector */
    long long limit;
    struct rng rng;
    unsigned long added, evicted;
    char error[256];
} filler;

static bool take_number(redisReply **r)
{
    if (redisGetReply(filler.context, (void **)r) != REDIS_OK)
        return false;
    bool ok = (*r)->type == REDIS_REPLY_INTEGER;
    if (!ok)
        snprintf(filler.error, sizeof(filler.error), "VADD: %.100s", (*r)->str ? (*r)->str : "?");
    freeReplyObject(*r);
    return ok;
}

static void *filler_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&stopping)) {
        redisReply *r;
        for (unsigned i = 0; i < CACHE_BATCH; i++) {
            float v[DIM];
            vector_of(filler.next, v);
            if (i % 10)
                redisAppendCommand(filler.context, "VADD cache FP32 %b e%u M 4 EF 16 EX 3600", v, sizeof(v), filler.next++);
            else
                redisAppendCommand(filler.context, "VADD fleeting FP32 %b f%u PX %u", v, sizeof(v),
                                   (unsigned)rng_below(&filler.rng, 1000), 1 + (unsigned)rng_below(&filler.rng, 100));
        }
        for (unsigned i = 0; i < CACHE_BATCH; i++, filler.added++)
            if (!take_number(&r))
                return NULL;
    }
    return NULL;
}

/* ---- looking at a server ---- */

static void read_model(redisContext *r, const struct client *c, struct model *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned d = 0; d < DATABASES; d++) {
        reply_status(r, "OK", "SELECT %u", database(c, d));
        for (unsigned k = 0; k < KEYS; k++) {
            struct key *key = &out->key[d][k];
            for (unsigned i = 0; i < IDS; i++)
                redisAppendCommand(r, "VGET k%u e%u", k, i);
            for (unsigned i = 0; i < IDS; i++) {
                redisReply *reply;
                assert_int_equal(redisGetReply(r, (void **)&reply), REDIS_OK);
                if (reply->type == REDIS_REPLY_ARRAY) {
                    key->version[i] = version_of(reply->element[0]);
                    assert_int_not_equal(key->version[i], 0);
                    key->n++;
                }
                freeReplyObject(reply);
            }
            assert_int_equal(reply_get_int(r, "EXISTS k%u", k), key->n > 0);
            if (key->n)
                assert_int_equal(reply_get_int(r, "VCARD k%u", k), key->n);
        }
    }
    reply_status(r, "OK", "SELECT 0");
}

/* The state that is there becomes the one that commands go on from. */
static void check_models(redisContext *r)
{
    struct model *found = malloc(sizeof(*found));
    for (struct client *c = clients; c < clients + CLIENTS; c++) {
        unsigned i = 0;
        read_model(r, c, found);
        while (i <= c->sent && memcmp(&c->state[i], found, sizeof(*found)) != 0)
            i++;
        if (i > c->sent)
            fail_msg("client %u: what is there is the state after none of the %u commands since the last answer", c->number, c->sent);
        c->state[0] = *found;
        c->sent = 0;
    }
    free(found);
}

/* Every element of the cache is one that was sent, as it was sent. */
static void check_cache(redisContext *r)
{
    long long there = 0;
    for (uint32_t from = 1; from < filler.next; from += 500) {
        uint32_t to = from + 500 < filler.next ? from + 500 : filler.next;
        for (uint32_t i = from; i < to; i++)
            redisAppendCommand(r, "VGET cache e%u", i);
        for (uint32_t i = from; i < to; i++) {
            redisReply *reply;
            assert_int_equal(redisGetReply(r, (void **)&reply), REDIS_OK);
            if (reply->type == REDIS_REPLY_ARRAY)
                assert_int_equal(version_of(reply->element[0]), i);
            there += reply->type == REDIS_REPLY_ARRAY;
            freeReplyObject(reply);
        }
    }
    assert_int_equal(reply_get_int(r, "VCARD cache"), there);
}

#define TEXT 160
#define WAITING ", batches waiting: "
struct digests {
    char text[2 + CLIENTS * DATABASES * KEYS][TEXT];
};

static const redisReply *field(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (!strcmp(map->element[i]->str, name))
            return map->element[i + 1];
    fail_msg("no field %s", name);
    return NULL;
}

static const char *text_of(const redisReply *map, const char *name)
{
    return field(map, name)->str;
}

static long long number_of(const redisReply *map, const char *name)
{
    return field(map, name)->integer;
}

static void read_key(redisContext *r, const char *key, bool graph, char text[TEXT])
{
    redisReply *map = reply_any(r, "VPARTITION INFO %s 0", key);
    snprintf(text, TEXT, "%s: ", key);
    int n = 0;
    if (map->type == REDIS_REPLY_ARRAY)
        n = snprintf(text, TEXT, "%s: %lld records %.40s", key, reply_get_int(r, "VCARD %s", key), text_of(map, "records_digest"));
    if (n && graph)
        snprintf(text + n, (size_t)(TEXT - n), " graph %.40s at %lld" WAITING "%lld", text_of(map, "graph_digest"),
                 number_of(map, "linked_sequence"), number_of(map, "waiting_batches"));
    freeReplyObject(map);
}

static void read_digests(redisContext *r, struct digests *out)
{
    size_t n = 0;
    memset(out, 0, sizeof(*out));
    read_key(r, "cache", true, out->text[n++]);
    read_key(r, "fleeting", false, out->text[n++]);
    for (const struct client *c = clients; c < clients + CLIENTS; c++)
        for (unsigned d = 0; d < DATABASES; d++) {
            reply_status(r, "OK", "SELECT %u", database(c, d));
            for (unsigned k = 0; k < KEYS; k++) {
                char key[8];
                snprintf(key, sizeof(key), "k%u", k);
                read_key(r, key, true, out->text[n++]);
            }
        }
    reply_status(r, "OK", "SELECT 0");
}

struct comparison {
    redisContext *a, *b; /* `a` NULL: `of` is what it was */
    struct digests of, found;
};

static bool equal_now(void *arg)
{
    struct comparison *c = arg;
    if (c->a)
        read_digests(c->a, &c->of);
    read_digests(c->b, &c->found);
    return memcmp(&c->of, &c->found, sizeof(c->of)) == 0;
}

static void check_equal(struct comparison *c, const char *what)
{
    if (wait_until(equal_now, c, SETTLE_MS))
        return;
    for (size_t i = 0; i < sizeof(c->of.text) / TEXT; i++)
        if (strcmp(c->of.text[i], c->found.text[i]) != 0)
            print_error("'%s', and '%s'\n", c->of.text[i], c->found.text[i]);
    fail_msg("the digests differ: %s", what);
}

static bool fleeting_gone(void *arg)
{
    return reply_get_int(arg, "EXISTS fleeting") == 0;
}

/* Every graph of `b` stands at its last closing: `of` is what it will be after a start. */
static bool settled(void *arg)
{
    struct comparison *c = arg;
    read_digests(c->b, &c->of);
    for (size_t i = 0; i < sizeof(c->of.text) / TEXT; i++) {
        const char *waiting = strstr(c->of.text[i], WAITING);
        if (waiting && strcmp(waiting, WAITING "0") != 0)
            return false;
    }
    return true;
}

/* ---- rounds ---- */

static void start(const struct test_server *s)
{
    atomic_store(&stopping, false);
    for (struct client *c = clients; c < clients + CLIENTS; c++) {
        c->context = server_connect(s);
        assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
    }
    filler.context = server_connect(s);
    assert_int_equal(pthread_create(&filler.thread, NULL, filler_main, NULL), 0);
}

static void join(void)
{
    for (struct client *c = clients; c < clients + CLIENTS; c++) {
        pthread_join(c->thread, NULL);
        redisFree(c->context);
        if (c->error[0])
            fail_msg("%s", c->error);
    }
    pthread_join(filler.thread, NULL);
    redisFree(filler.context);
    if (filler.error[0])
        fail_msg("%s", filler.error);
}

static bool evicting(void *arg)
{
    return reply_info(arg, "stats", "evicted_elements") > 0;
}

static void run_for(const struct test_server *s, uint64_t ms, struct rng *rng, bool first, bool snapshots)
{
    redisContext *r = server_connect(s);
    if (first)
        assert_true(wait_until(evicting, r, SETTLE_MS));
    uint64_t end = clock_mono_ns() + ms * 1000000;
    while (clock_mono_ns() < end) {
        usleep((useconds_t)(1000 * (1 + rng_below(rng, 40))));
        if (snapshots && rng_below(rng, 3) == 0)
            freeReplyObject(reply_any(r, rng_below(rng, 2) ? "BGSAVE SCHEDULE" : "BGREWRITEAOF"));
    }
    filler.evicted += (unsigned long)reply_info(r, "stats", "evicted_elements");
    redisFree(r);
}

static void copy_directory(const char *from, const char *to)
{
    char command[2048];
    snprintf(command, sizeof(command), "rm -rf '%s' && cp -r '%s' '%s' && rm -f '%s'/output", to, from, to, to);
    assert_int_equal(system(command), 0);
}

static void round_of(struct test_server *s, int round, struct rng *rng)
{
    static const char *const syncs[] = {"always", "everysec", "no"};
    const char *again[] = {"--appendfsync", syncs[round % 3], "--maxmemory", "0", NULL};
    struct comparison *live = calloc(1, sizeof(*live)), *both = calloc(1, sizeof(*both));
    bool quiet = round % 3 == 2;
    char copied[600];
    redisContext *r = server_connect(s);
    bool first = round % GENERATION == 0;
    if (first)
        filler.limit = (long long)reply_info(r, "memory", "used_memory") + CACHE_BYTES;
    reply_status(r, "OK", "CONFIG SET maxmemory %lld", filler.limit);
    start(s);
    run_for(s, 20 + rng_below(rng, 400), rng, first, round % 2);
    if (quiet) {
        atomic_store(&stopping, true);
        join();
        reply_status(r, "OK", "CONFIG SET maxmemory 0");
        assert_true(wait_until(fleeting_gone, r, SETTLE_MS));
        live->b = r;
        assert_true(wait_until(settled, live, SETTLE_MS));
    }
    redisFree(r);
    server_end(s, SIGKILL);
    if (!quiet)
        join();
    snprintf(copied, sizeof(copied), "%s-copy", server_dir(s));
    copy_directory(server_dir(s), copied);
    server_again(s, again);
    const char *args[] = {"--dir", copied, "--appendonly", "yes", NULL};
    struct test_server *second = server_start(args);
    both->a = server_connect(s);
    both->b = server_connect(second);
    assert_true(wait_until(fleeting_gone, both->a, SETTLE_MS));
    assert_true(wait_until(fleeting_gone, both->b, SETTLE_MS));
    check_equal(both, "two starts from the same files");
    if (quiet) {
        live->b = both->a;
        check_equal(live, "before the kill and after");
    }
    check_models(both->a);
    check_cache(both->a);
    redisFree(both->a);
    redisFree(both->b);
    server_kill(second);
    assert_int_equal(run_remove_directory(copied), 0);
    free(live);
    free(both);
}

static void forget(uint64_t seed)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].number = i;
        clients[i].rng = (struct rng){seed + i};
        clients[i].next_version = 1;
        clients[i].sent = 0;
        memset(&clients[i].state[0], 0, sizeof(clients[i].state[0]));
    }
    filler.next = 1;
    filler.rng = (struct rng){seed + CLIENTS};
}

static void test_kill(void **state)
{
    (void)state;
    int rounds = (int)drill_count(ROUNDS_FULL, run_quick() ? 3 : ROUNDS);
    uint64_t seed = run_seed();
    struct rng rng = {seed};
    struct test_server *s = NULL;
    for (int round = 0; round < rounds; round++) {
        if (round % GENERATION == 0) {
            const char *args[] = {"--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "volatile-lru", NULL};
            if (s)
                server_stop(s);
            s = server_start(args);
            forget(seed + (uint64_t)round);
        }
        round_of(s, round, &rng);
    }
    server_stop(s);
    print_message("%d kills; %lu and %lu commands about keys, %lu and %lu of them in pieces; %lu elements added, %lu evicted\n",
                  rounds, clients[0].answered, clients[1].answered, clients[0].pieces, clients[1].pieces, filler.added,
                  filler.evicted);
    assert_true(run_quick() || (filler.evicted > 0 && clients[0].pieces > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
