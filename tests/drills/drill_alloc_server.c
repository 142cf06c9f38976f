/* The Nth allocation whose size a client or its data choose fails while a running server handles a
 * command, for each command of a list and N = 1, 2, 3 .. until the command meets no more of them.
 *
 * It answers as always or with an error that says it is for memory; where the reply itself, or the
 * room to read the command into, is what there is no memory for, the connection may end. The server
 * goes on; at the end its data are those that its snapshot and its journal give, and nothing leaks
 * (sanitizer builds). Here each N in steps of up to 4, with VECSTORE_DRILL=full all. tsan: skip */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rng.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/run.h"

#define FIRST_ELEMENTS 300
#define N_MAX 400

static const char *const commands[] = {
    "VADD docs VALUES 4 1 2 3 4 fresh%d",
    "VADD docs VALUES 4 1 2 3 5 e1 SETATTR {\"n\":%d}",
    "VADD new%d VALUES 4 1 2 3 4 a",
    "VADD deep VALUES 4 %d 1 1 1 b",
    "VMADD docs I8 2 x%d abcd y efgh",
    "VMADD docs I8 2 x%d abcd y efgh WITHATTRS {} {\"n\":1} ATOMIC",
    "VSETATTR docs e2 {\"long\":\"%d-%900d\"}",
    "VGETATTR docs e2",
    "VREM docs e%d",
    "VDEL docs e1%d e2%d",
    "VEMB docs e3",
    "VEMB docs e3 RAW",
    "VGET docs e3 WITHATTRIBS WITHVECTORS",
    "VMGET docs 3 e3 e4 nobody WITHATTRIBS",
    "VSEARCH docs ELE e3 K 50 WITHATTRIBS WITHVECTORS WITHSCORES",
    "VSEARCH docs ELE e3 K 20 EXACT",
    "VSEARCH parts VALUES 4 1 2 3 4 K 100 WITHSCORES",
    "VCARD docs",
    "VINFO docs",
    "VPARTITION CREATE made%d DIM 4 PARTITIONS 5",
    "VPARTITION CREATE big%d DIM 4 PARTITIONS 3 VNODES 300",
    "VPARTITION LIST parts",
    "VPARTITION INFO parts",
    "VPARTITION INFO parts 0",
    "VPARTITION BALANCE parts",
    "VPARTITION DROP dropped 1",
    "KEYS *",
    "SCAN 0 COUNT 1000",
    "RANDOMKEY",
    "RENAME other other2",
    "RENAME other2 other",
    "DEL made%d",
    "ECHO %04000d",
    "CLIENT SETNAME name%d",
    "CLIENT LIST",
    "CONFIG GET *",
    "COMMAND",
    "COMMAND INFO vadd",
    "INFO everything",
    "SLOWLOG GET",
    "MEMORY STATS",
    "LATENCY DOCTOR",
    "SAVE",
    "FLUSHDB",
};

static struct test_server *server;
static redisContext *client, *control;
static unsigned long cases, refused, ended;
static struct rng rng;

static void fill(void)
{
    for (int i = 0; i < FIRST_ELEMENTS; i++) {
        redisAppendCommand(client, "VADD docs VALUES 4 %d %d %d 1 e%d SETATTR {\"n\":%d}", i % 7,
                           i % 11, i % 13, i, i);
        redisAppendCommand(client, "VADD parts VALUES 4 %d %d %d 1 e%d", i % 5, i % 7, i % 3, i);
    }
    for (int i = 0; i < 2 * FIRST_ELEMENTS; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(client, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    freeReplyObject(reply_any(client, "VADD other VALUES 4 1 2 3 4 a"));
    freeReplyObject(reply_any(client, "VPARTITION CREATE dropped DIM 4 PARTITIONS 3"));
}

/* Until a rewrite or a snapshot that runs behind has ended. */
static void wait_for_saves(void)
{
    while (reply_info(control, "persistence", "aof_rewrite_in_progress") != 0 ||
           reply_info(control, "persistence", "rdb_bgsave_in_progress") != 0 ||
           reply_info(control, "persistence", "loading") != 0)
        continue;
}

static void check_error(const char *command, long n, const redisReply *r)
{
    static const char *const fine[] = {"OOM", "ERR key", "ERR element", "ERR no such", "ERR partition",
                                       "ERR A snapshot", "ERR Background", "ERR", "MISCONF"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (strncmp(r->str, fine[i], strlen(fine[i])) == 0)
            return;
    fail_msg("'%s', allocation %ld: %s", command, n, r->str);
}

/* Has the fault come, in the command or in the very reading of this question? It is over then. */
static bool is_hit(void)
{
    redisReply *r = redisCommand(control, "DEBUG ALLOC-FAULT hit");
    bool hit = !r || r->type != REDIS_REPLY_INTEGER || r->integer;
    if (r) {
        freeReplyObject(r);
    } else {
        redisFree(control);
        control = server_connect(server);
    }
    reply_status(control, "OK", "DEBUG ALLOC-FAULT 0");
    return hit;
}

/* False: the command met no more of them. */
static bool one(const char *command, long n, int number)
{
    reply_status(control, "OK", "DEBUG ALLOC-FAULT %d", (int)n);
    redisReply *r = redisCommand(client, command, number, number);
    if (r && r->type == REDIS_REPLY_ERROR) {
        check_error(command, n, r);
        refused++;
    }
    bool hit = is_hit();
    wait_for_saves();
    if (!hit && drill_full() && r && r->type == REDIS_REPLY_ERROR)
        print_message("%s: %s\n", command, r->str);
    if (!r) {
        if (!hit)
            fail_msg("'%s' ends the connection: %s", command, client->errstr);
        ended++;
        redisFree(client);
        client = server_connect(server);
    }
    if (r)
        freeReplyObject(r);
    reply_status(client, "PONG", "PING");
    return hit;
}

static void each_command(void)
{
    int number = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        long n = 1;
        for (; n < N_MAX; n += drill_full() ? 1 : 1 + (long)rng_below(&rng, 4)) {
            if (!one(commands[i], n, number++))
                break;
            cases++;
        }
        if (drill_full())
            print_message("%-70s %ld\n", commands[i], n - 1);
        if (strcmp(commands[i], "FLUSHDB") == 0)
            reply_int(client, 0, "DBSIZE");
        fill();
    }
}

/* A digest of everything: keys, partitions, their records. */
static unsigned long long digest(void)
{
    unsigned long long sum = 0;
    redisReply *keys = reply_array(client, -1, "KEYS *");
    for (size_t i = 0; i < keys->elements; i++) {
        redisReply *parts = reply_array(client, 2, "VPARTITION LIST %s COUNT 1000", keys->element[i]->str);
        const redisReply *list = parts->element[1];
        for (size_t k = 0; k < list->elements; k++) {
            redisReply *info = reply_any(client, "VPARTITION INFO %s %s", keys->element[i]->str,
                                         list->element[k]->element[0]->str);
            for (size_t f = 0; f + 1 < info->elements; f += 2)
                if (strcmp(info->element[f]->str, "records_digest") == 0)
                    sum += hash_mix(hash_bytes(keys->element[i]->str, keys->element[i]->len, k) +
                                    strtoull(info->element[f + 1]->str, NULL, 16));
            freeReplyObject(info);
        }
        freeReplyObject(parts);
    }
    sum += keys->elements << 56;
    freeReplyObject(keys);
    return sum;
}

static void test_commands(void **state)
{
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "no",
                                       "--enable-debug-command", "yes", NULL};
    (void)state;
    rng.state = run_seed();
    server = server_start(args);
    client = server_connect(server);
    control = server_connect(server);
    reply_status(client, "OK", "VPARTITION CREATE parts DIM 4 PARTITIONS 3");
    fill();
    each_command();
    wait_for_saves();
    unsigned long long before = digest();
    redisFree(client);
    redisFree(control);
    server_restart(server, SIGKILL);
    client = server_connect(server);
    assert_true(digest() == before);
    saves_ask(client, "SAVE");
    redisFree(client);
    server_stop(server);
    print_message("%lu allocations failed: %lu commands refused, %lu connections ended\n", cases,
                  refused, ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_commands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
