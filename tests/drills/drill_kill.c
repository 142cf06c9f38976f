/* kill -9 at random moments: nothing that was acknowledged is lost.
 *
 * Four clients write without a pause, pipelined, elements and keys, some with REDUCE, some of it in
 * transactions, which must be there whole or not at all (lib/oracle.h). The server is
 * killed; what it kept is copied, and started twice. Elements have times to end at, far ones, which must be there again, and in
 * rounds without snapshots near ones, in a key of their own, which must go after a start as before:
 *
 *     killed server's directory --copy--> second server (another process, another loading)
 *               |                                |
 *          first server: every client's data = its oracle's, at some command between the
 *               |        last acknowledged and the last sent
 *               +--- records and graph digests of every partition equal ---+
 *
 * In every fourth round the clients stop before the kill, so that the digests of the running server
 * are known and must come back. In every second round snapshots and rewrites run meanwhile; every
 * journal segment there ever was is kept aside (a second name for it), and all of them together,
 * without any snapshot, are replayed by a third server, which must come to the same digests, too. The
 * next round goes on with the first server, for ten rounds. appendfsync changes by round.
 *
 * Rounds: 20, or 250 with VECSTORE_DRILL=full. VECSTORE_SEED repeats a run's commands (the
 * moments of the kills are the machine's). run: beside tsan: skip */
#include <inttypes.h>
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
#include "integration/lib/reply.h"
#include "integration/lib/segment_keeper.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/oracle.h"
#include "lib/run.h"
#include "lib/wait.h"

#define CLIENTS       4
#define ROUNDS        20
#define ROUNDS_FULL   250
#define ROUNDS_QUICK  4 /* under sanitizers */
#define RUN_MS_MIN    20
#define RUN_MS_MAX    400
#define GENERATION    10 /* rounds, then a new directory: each starts from all that its journal has */
#define WINDOW_MAX    32
#define SETTLE_MS     60000
#define PARTITIONS    2 /* of the indexes that are created by VPARTITION CREATE */

struct client {
    struct oracle oracle;
    const struct test_server *server;
    redisContext *context;
    pthread_t thread;
    char error[512]; /* what went wrong other than the server's end; "" */
};

static struct client clients[CLIENTS];
/* In rounds without snapshots: elements that end by themselves, in a key that nobody compares: it is only to be gone soon. */
#define FLEETING    "fleeting"
#define FLEETING_MS 100
static double snapshots_made, rewrites_made;
static unsigned replayed_whole;
static atomic_bool stopping;
static atomic_ullong transactions_done;

/* ---- a client ---- */

struct command {
    const char *argv[16 + 3 * ORACLE_BATCH];
    size_t lens[16 + 3 * ORACLE_BATCH];
    int argc;
};

static void put(struct command *x, const void *data, size_t len)
{
    x->argv[x->argc] = data;
    x->lens[x->argc++] = len;
}

static void put_word(struct command *x, const char *word)
{
    put(x, word, strlen(word));
}

static void put_deadline(struct command *x, const struct oracle_op *op, char text[24])
{
    if (!op->deadline)
        return;
    snprintf(text, 24, "%llu", ORACLE_ENDS + op->deadline);
    put_word(x, "PXAT");
    put_word(x, text);
}

static void send_op(struct client *c, const struct oracle_op *op)
{
    redisContext *r = c->context;
    char key[16], to[16], id[ORACLE_BATCH][16], attributes[24], deadline[24];
    struct command x = {.argc = 0};
    float vector[ORACLE_BATCH][ORACLE_DIM];
    oracle_key_name(&c->oracle, op->key, key);
    for (unsigned i = 0; i < op->n; i++) {
        oracle_id_name(&c->oracle, op->id[i], id[i]);
        oracle_vector(&c->oracle, op->version + i, vector[i]);
    }
    oracle_attributes(op->attributes, attributes);
    switch (op->kind) {
    case ORACLE_ADD:
        put_word(&x, "VADD");
        put_word(&x, key);
        put_word(&x, "FP32");
        put(&x, vector[0], sizeof vector[0]);
        put_word(&x, id[0]);
        if (op->attributes) {
            put_word(&x, "SETATTR");
            put_word(&x, attributes);
        }
        if (op->keep)
            put_word(&x, "KEEPTTL");
        put_deadline(&x, op, deadline);
        redisAppendCommandArgv(r, x.argc, x.argv, x.lens);
        break;
    case ORACLE_DEADLINE:
        if (op->deadline)
            redisAppendCommand(r, "VPEXPIREAT %s %llu %s", key, ORACLE_ENDS + op->deadline, id[0]);
        else
            redisAppendCommand(r, "VPERSIST %s %s", key, id[0]);
        break;
    case ORACLE_REMOVE: redisAppendCommand(r, "VREM %s %s", key, id[0]); break;
    case ORACLE_ATTRIBUTES:
        redisAppendCommand(r, "VSETATTR %s %s %s", key, id[0], op->attributes ? attributes : "");
        break;
    case ORACLE_CREATE:
        if (op->reduce)
            redisAppendCommand(r, "VPARTITION CREATE %s DIM %d METRIC L2 PARTITIONS %d REDUCE %d SEED %d", key,
                               ORACLE_DIM, PARTITIONS, ORACLE_DIM, ORACLE_SEED);
        else
            redisAppendCommand(r, "VPARTITION CREATE %s DIM %d METRIC L2 PARTITIONS %d", key,
                               ORACLE_DIM, PARTITIONS);
        break;
    case ORACLE_DELETE: redisAppendCommand(r, "DEL %s", key); break;
    case ORACLE_RENAME:
        oracle_key_name(&c->oracle, op->to, to);
        redisAppendCommand(r, "RENAME %s %s", key, to);
        break;
    case ORACLE_ATOMIC: {
        char n[8];
        snprintf(n, sizeof n, "%u", op->n);
        put_word(&x, "VMADD");
        put_word(&x, key);
        put_word(&x, "FP32");
        put_word(&x, n);
        for (unsigned i = 0; i < op->n; i++) {
            put_word(&x, id[i]);
            put(&x, vector[i], sizeof vector[i]);
        }
        if (op->attributes) {
            put_word(&x, "WITHATTRS");
            for (unsigned i = 0; i < op->n; i++)
                put_word(&x, attributes);
        }
        put_word(&x, "ATOMIC");
        put_deadline(&x, op, deadline);
        redisAppendCommandArgv(r, x.argc, x.argv, x.lens);
        break;
    }
    }
}

static bool right_answer(struct client *c, const struct oracle_op *op, const redisReply *r)
{
    const struct oracle *o = &c->oracle;
    switch (op->kind) {
    case ORACLE_CREATE:
    case ORACLE_RENAME: return r->type == REDIS_REPLY_STATUS;
    case ORACLE_ATOMIC:
        if (r->type != REDIS_REPLY_ARRAY || r->elements != op->n)
            return false;
        for (unsigned i = 0; i < op->n; i++)
            if (r->element[i]->integer != oracle_expected(o, op, i))
                return false;
        return true;
    default:
        return r->type == REDIS_REPLY_INTEGER && r->integer == oracle_expected(o, op, 0);
    }
}

/* The answer to the oldest command. False: it is not what it must be. */
static bool settle_answer(struct client *c, const redisReply *r)
{
    const struct oracle_op *op = oracle_oldest(&c->oracle);
    bool ok = right_answer(c, op, r);
    if (ok)
        oracle_answer(&c->oracle);
    else
        snprintf(c->error, sizeof c->error,
                 "client %u, command of kind %d on key %u, element %u: reply of type %d, %lld, %s",
                 c->oracle.client, (int)op->kind, op->key, op->id[0], r->type, r->integer,
                 r->str ? r->str : "");
    return ok;
}

/* MULTI, and each of the transaction's commands: +OK, +QUEUED. */
static bool take_queued(struct client *c)
{
    const struct oracle_op *op = oracle_oldest(&c->oracle);
    for (bool last = false, begun = false; !last; begun = true) {
        redisReply *r;
        if (redisGetReply(c->context, (void **)&r) != REDIS_OK)
            return false;
        bool ok = r->type == REDIS_REPLY_STATUS && strcmp(r->str, begun ? "QUEUED" : "OK") == 0;
        if (!ok)
            snprintf(c->error, sizeof c->error, "client %u, in MULTI: %s", c->oracle.client, r->str ? r->str : "?");
        freeReplyObject(r);
        if (!ok)
            return false;
        last = begun && op++->last;
    }
    return true;
}

/* A command's, or those of a transaction. False: the server has gone, or answered what it must not. */
static bool take_answer(struct client *c)
{
    redisReply *r;
    bool multi = !oracle_oldest(&c->oracle)->last, ok = true;
    if ((multi && !take_queued(c)) || redisGetReply(c->context, (void **)&r) != REDIS_OK)
        return false;
    if (!multi) {
        ok = settle_answer(c, r);
    } else {
        size_t n = 0;
        for (bool last = false; ok && !last && r->type == REDIS_REPLY_ARRAY && n < r->elements; n++) {
            last = oracle_oldest(&c->oracle)->last;
            ok = settle_answer(c, r->element[n]);
        }
        if (ok && (r->type != REDIS_REPLY_ARRAY || !n || n < r->elements)) {
            snprintf(c->error, sizeof c->error, "client %u, EXEC: reply of type %d, %s", c->oracle.client, r->type,
                     r->str ? r->str : "");
            ok = false;
        }
        transactions_done += ok;
    }
    freeReplyObject(r);
    return ok;
}

/* A command, with MULTI before and EXEC behind a transaction. */
static void send_next(struct client *c)
{
    const struct oracle_op *op = oracle_next(&c->oracle);
    if (op->first && !op->last)
        redisAppendCommand(c->context, "MULTI");
    send_op(c, op);
    if (op->last && !op->first)
        redisAppendCommand(c->context, "EXEC");
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    while (!atomic_load(&stopping)) {
        size_t window = 1 + rng_below(&c->oracle.rng, WINDOW_MAX);
        while (c->oracle.ops_n < window || c->oracle.left)
            send_next(c);
        size_t left = rng_below(&c->oracle.rng, c->oracle.ops_n);
        while (c->oracle.ops_n > left)
            if (!take_answer(c))
                return NULL;
    }
    while (c->oracle.ops_n > 0)
        if (!take_answer(c))
            return NULL;
    return NULL;
}

/* ---- what the server holds ---- */

static uint32_t read_attributes(const redisReply *r)
{
    unsigned v = 0;
    return r->type == REDIS_REPLY_STRING && sscanf(r->str, "{\"v\":%u}", &v) == 1 ? v : 0;
}

static bool is_reduced(redisContext *r, const char *key)
{
    redisReply *info = reply_any(r, "VINFO %s", key);
    bool reduced = info->type == REDIS_REPLY_ARRAY && info->element[7]->integer > 0;
    if (info->type == REDIS_REPLY_ARRAY)
        assert_string_equal(info->element[6]->str, "projection-input-dim");
    freeReplyObject(info);
    return reduced;
}

static void read_state(redisContext *r, const struct oracle *o, struct oracle_state *out)
{
    char key[16], id[16];
    memset(out, 0, sizeof *out);
    for (unsigned k = 0; k < ORACLE_KEYS; k++) {
        struct oracle_key *to = &out->key[k];
        oracle_key_name(o, k, key);
        to->reduced = is_reduced(r, key);
        for (uint32_t i = 0; i < ORACLE_IDS; i++) {
            oracle_id_name(o, i, id);
            redisAppendCommand(r, "VGET %s %s", key, id);
            redisAppendCommand(r, "VPEXPIRETIME %s %s", key, id);
        }
        uint32_t count = 0;
        for (uint32_t i = 0; i < ORACLE_IDS; i++) {
            redisReply *reply;
            assert_int_equal(redisGetReply(r, (void **)&reply), REDIS_OK);
            if (reply->type == REDIS_REPLY_ARRAY) {
                float vector[ORACLE_DIM];
                assert_int_equal(reply->elements, 2);
                assert_int_equal(reply->element[0]->len, sizeof vector);
                memcpy(vector, reply->element[0]->str, sizeof vector);
                to->at[i].version = oracle_version(o, vector, to->reduced);
                assert_int_not_equal(to->at[i].version, 0);
                to->at[i].attributes = read_attributes(reply->element[1]);
                count++;
            } else {
                assert_int_equal(reply->type, REDIS_REPLY_NIL);
            }
            freeReplyObject(reply);
            assert_int_equal(redisGetReply(r, (void **)&reply), REDIS_OK);
            if (reply->integer > 0)
                to->at[i].deadline = (uint32_t)(reply->integer - (long long)ORACLE_ENDS);
            assert_true(reply->integer == -2 || to->at[i].version);
            freeReplyObject(reply);
        }
        to->count = count;
        to->exists = reply_get_int(r, "EXISTS %s", key) == 1;
        if (k > 0)
            assert_int_equal(reply_get_int(r, "VCARD %s", key), count);
    }
}

static void check_oracles(const struct test_server *s)
{
    redisContext *r = server_connect(s);
    long long shared = 0;
    struct oracle_state *found = malloc(sizeof *found);
    for (int i = 0; i < CLIENTS; i++) {
        char why[512] = "";
        size_t taken;
        read_state(r, &clients[i].oracle, found);
        if (!oracle_settle(&clients[i].oracle, found, &taken, why, sizeof why))
            fail_msg("acknowledged writes are lost, or others are there: %s", why);
        shared += found->key[0].count;
    }
    assert_int_equal(reply_get_int(r, "VCARD shared"), shared);
    free(found);
    redisFree(r);
}

/* ---- digests ---- */

#define DIGESTS_MAX (CLIENTS * ORACLE_KEYS * PARTITIONS)

struct digests {
    size_t n;
    struct digest {
        char key[16];
        int partition;
        long long sequence, linked_sequence, waiting; /* batches that are not in the graph yet */
        char records[32], graph[32];
    } at[DIGESTS_MAX];
};

static const char *field(const redisReply *map, const char *name)
{
    static char number[32];
    for (size_t i = 0; i + 1 < map->elements; i += 2) {
        if (strcmp(map->element[i]->str, name) != 0)
            continue;
        const redisReply *v = map->element[i + 1];
        if (v->type != REDIS_REPLY_INTEGER)
            return v->str;
        snprintf(number, sizeof number, "%lld", v->integer);
        return number;
    }
    fail_msg("VPARTITION INFO has no field %s", name);
    return "";
}

static void read_key(redisContext *r, const char *key, struct digests *out)
{
    for (int p = 0; p < PARTITIONS; p++) {
        redisReply *map = reply_any(r, "VPARTITION INFO %s %d", key, p);
        if (map->type == REDIS_REPLY_ARRAY) {
            struct digest *d = &out->at[out->n++];
            snprintf(d->key, sizeof d->key, "%s", key);
            d->partition = p;
            d->sequence = atoll(field(map, "sequence"));
            d->linked_sequence = atoll(field(map, "linked_sequence"));
            d->waiting = atoll(field(map, "waiting_batches"));
            snprintf(d->records, sizeof d->records, "%s", field(map, "records_digest"));
            snprintf(d->graph, sizeof d->graph, "%s", field(map, "graph_digest"));
        }
        freeReplyObject(map);
    }
}

static void read_digests(redisContext *r, struct digests *out)
{
    out->n = 0;
    read_key(r, "shared", out);
    for (int i = 0; i < CLIENTS; i++) {
        for (unsigned k = 1; k < ORACLE_KEYS; k++) {
            char key[16];
            oracle_key_name(&clients[i].oracle, k, key);
            read_key(r, key, out);
        }
    }
}

static bool same_digests(const struct digests *a, const struct digests *b)
{
    return a->n == b->n && memcmp(a->at, b->at, a->n * sizeof *a->at) == 0;
}

struct comparison {
    redisContext *of, *and; /* `of` NULL: compare with `expected` as it is */
    struct digests *expected, *found;
};

static bool equal_now(void *arg)
{
    struct comparison *c = arg;
    memset(c->found, 0, sizeof *c->found);
    read_digests(c->and, c->found);
    if (c->of) {
        memset(c->expected, 0, sizeof *c->expected);
        read_digests(c->of, c->expected);
    }
    return same_digests(c->expected, c->found);
}

/* Linking goes on behind: both come to the same end. */
static void check_digests(redisContext *of, struct digests *expected, redisContext *and,
                          const char *what)
{
    struct digests *found = calloc(1, sizeof *found);
    struct comparison c = {of, and, expected, found};
    if (!wait_until(equal_now, &c, SETTLE_MS)) {
        for (size_t i = 0; i < expected->n && i < found->n; i++) {
            const struct digest *e = &expected->at[i], *f = &found->at[i];
            if (memcmp(e, f, sizeof *e) != 0)
                print_error("%s: %s/%d: sequence %lld linked %lld records %s graph %s; expected %s/%d "
                            "%lld %lld %s %s\n",
                            what, f->key, f->partition, f->sequence, f->linked_sequence, f->records,
                            f->graph, e->key, e->partition, e->sequence, e->linked_sequence,
                            e->records, e->graph);
        }
        fail_msg("%s: the digests differ (%zu and %zu partitions)", what, expected->n, found->n);
    }
    free(found);
}

/* Every graph stands at its last closing; reads the digests on the way. */
static bool settled(void *arg)
{
    struct comparison *c = arg;
    read_digests(c->of, c->expected);
    for (size_t i = 0; i < c->expected->n; i++)
        if (c->expected->at[i].waiting)
            return false;
    return true;
}

/* ---- rounds ---- */

static void copy_directory(const char *from, const char *to)
{
    char command[4096];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s' && rm -f '%s'/output", to,
             from, to, to);
    assert_int_equal(system(command), 0);
}

static void start_clients(const struct test_server *s)
{
    atomic_store(&stopping, false);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].server = s;
        clients[i].context = server_connect(s);
        clients[i].error[0] = 0;
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
}

static void join_clients(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        redisFree(clients[i].context);
    }
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].error[0])
            fail_msg("%s", clients[i].error);
}

static bool fleeting_gone(void *arg)
{
    return reply_get_int(arg, "EXISTS " FLEETING) == 0;
}

static void add_fleeting(redisContext *r, struct rng *rng)
{
    float vector[ORACLE_DIM] = {(float)rng_below(rng, 100)};
    for (int i = 0; i < 20; i++)
        redisAppendCommand(r, "VADD " FLEETING " FP32 %b %d PX %d", vector, sizeof vector, (int)rng_below(rng, 1000),
                           1 + (int)rng_below(rng, FLEETING_MS));
    for (int i = 0; i < 20; i++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(r, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        freeReplyObject(reply);
    }
}

static void run_for(struct test_server *s, uint64_t ms, struct rng *rng, bool snapshots)
{
    uint64_t end = clock_mono_ns() + ms * 1000000;
    redisContext *r = server_connect(s);
    while (clock_mono_ns() < end) {
        usleep((useconds_t)(1000 * (1 + rng_below(rng, 20))));
        if (!snapshots)
            add_fleeting(r, rng);
        else if (rng_below(rng, 3) == 0)
            freeReplyObject(reply_any(r, rng_below(rng, 2) ? "BGSAVE SCHEDULE" : "BGREWRITEAOF"));
    }
    if (snapshots) {
        snapshots_made += reply_info(r, "persistence", "rdb_saves");
        rewrites_made += reply_info(r, "persistence", "aof_rewrites");
    }
    redisFree(r);
}

static uint64_t acknowledged(void)
{
    uint64_t n = 0;
    for (int i = 0; i < CLIENTS; i++)
        n += clients[i].oracle.total;
    return n;
}

/* All records since the first start, without a base: what `a` has come to be, as `expected`. */
static void replay_whole(const struct test_server *s, redisContext *a, struct digests *expected)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s-whole", server_dir(s));
    if (!segment_keeper_journal(whole))
        return;
    const char *from[] = {"--dir", whole, "--appendonly", "yes", NULL};
    struct test_server *server = server_start(from);
    redisContext *w = server_connect(server);
    check_digests(a, expected, w, "a replay of the whole journal");
    redisFree(w);
    server_kill(server);
    assert_int_equal(run_remove_directory(whole), 0);
    replayed_whole++;
}

static void round_of(struct test_server *s, int round, struct rng *rng)
{
    static const char *const syncs[] = {"always", "everysec", "no"};
    const char *again[] = {"--appendfsync", syncs[round % 3], NULL};
    char copy[512];
    struct digests *live = NULL, *expected = calloc(1, sizeof *expected);
    bool quiet = round % 4 == 3;
    uint64_t before = acknowledged();
    start_clients(s);
    run_for(s, RUN_MS_MIN + rng_below(rng, RUN_MS_MAX - RUN_MS_MIN), rng, round % 2 == 1);
    if (quiet) {
        atomic_store(&stopping, true);
        join_clients();
        redisContext *r = server_connect(s);
        live = calloc(1, sizeof *live);
        struct comparison c = {.of = r, .expected = live};
        assert_true(wait_until(settled, &c, SETTLE_MS));
        redisFree(r);
    }
    server_end(s, SIGKILL);
    if (!quiet)
        join_clients();

    snprintf(copy, sizeof copy, "%s-copy", server_dir(s));
    copy_directory(server_dir(s), copy);
    server_again(s, again);
    check_oracles(s);
    const char *args[] = {"--dir", copy, "--appendonly", "yes", NULL};
    struct test_server *second = server_start(args);
    redisContext *a = server_connect(s), *b = server_connect(second);
    check_digests(a, expected, b, "a second start from the same files");
    if (live) {
        /* Linking had come to its end before the kill, or goes on to it now. */
        for (size_t i = 0; i < live->n; i++) {
            assert_string_equal(live->at[i].records, expected->at[i].records);
            if (live->at[i].linked_sequence == expected->at[i].linked_sequence)
                assert_string_equal(live->at[i].graph, expected->at[i].graph);
            else
                fail_msg("%s/%d was linked to %lld, is to %lld", live->at[i].key,
                         live->at[i].partition, live->at[i].linked_sequence,
                         expected->at[i].linked_sequence);
        }
    }
    if (round % 2 == 0) { /* each by its own clock */
        assert_true(wait_until(fleeting_gone, a, SETTLE_MS));
        assert_true(wait_until(fleeting_gone, b, SETTLE_MS));
    }
    if (round % 2 == 1)
        replay_whole(s, a, expected);
    redisFree(a);
    redisFree(b);
    server_kill(second);
    print_message("round %d: appendfsync %s, %llu acknowledged, none lost%s\n", round,
                  round % GENERATION ? syncs[(round - 1) % 3] : "always",
                  (unsigned long long)(acknowledged() - before), quiet ? ", quiet" : "");
    free(live);
    free(expected);
    assert_int_equal(run_remove_directory(copy), 0);
}

static void test_kill(void **state)
{
    (void)state;
    int rounds = drill_full()                    ? ROUNDS_FULL
                 : getenv("VECSTORE_TEST_QUICK") ? ROUNDS_QUICK
                                                 : ROUNDS;
    uint64_t seed = run_seed();
    struct rng rng = {seed};
    uint64_t total = 0;
    struct test_server *s = NULL;
    for (int round = 0; round < rounds; round++) {
        if (round % GENERATION == 0) {
            const char *args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
            total += acknowledged();
            if (s) {
                segment_keeper_stop();
                server_stop(s);
            }
            s = server_start(args);
            segment_keeper_start(s);
            for (int i = 0; i < CLIENTS; i++)
                oracle_init(&clients[i].oracle, (unsigned)i, seed + (uint64_t)round);
        }
        round_of(s, round, &rng);
    }
    print_message("%llu acknowledged writes, %llu transactions, %d kills, 0 lost, none torn\n",
                  (unsigned long long)(total + acknowledged()), (unsigned long long)transactions_done, rounds);
    print_message("%.0f snapshots and %.0f rewrites were made meanwhile, the whole journal replayed %u times\n", snapshots_made,
                  rewrites_made, replayed_whole);
    segment_keeper_stop();
    server_stop(s);
    assert_true(rounds <= ROUNDS_QUICK || (snapshots_made > 0 && rewrites_made > 0 && replayed_whole > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
