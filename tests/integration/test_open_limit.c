/* max-open-partitions on a server: several hundred indexes of tenants under a limit, kept over kill -9 and restarts with
 * the same digests and answers, in bounded memory; and the scrub. run: beside */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define TENANTS  400
#define ELEMENTS 60
#define LIMIT    40
#define FEW      4
#define DIM      64
#define DEADLINE_MS 30000

static void send_add(redisContext *c, int tenant, int i)
{
    float v[DIM];
    for (int k = 0; k < DIM; k++)
        v[k] = (float)((tenant * 31 + i * 7 + k * k) % 97);
    redisAppendCommand(c, "VADD tenant:%d FP32 %b e%d SETATTR {\"n\":%d}", tenant, v, sizeof(v), i, i);
}

static void take_ints(redisContext *c, int n)
{
    for (int i = 0; i < n; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        if (r->type != REDIS_REPLY_INTEGER)
            print_error("%s\n", r->type == REDIS_REPLY_ERROR ? r->str : "another reply");
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        freeReplyObject(r);
    }
}

static void fill(redisContext *c, int from, int to)
{
    for (int t = from; t < to; t++) {
        for (int i = 0; i < ELEMENTS; i++)
            send_add(c, t, i);
        take_ints(c, ELEMENTS);
    }
}

struct facts {
    char records[TENANTS][20], graph[TENANTS][20];
    long long elements[TENANTS];
};

static const redisReply *field(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    fail_msg("no field %s", name);
    return NULL;
}

/* Without opening anything. */
static void read_facts(redisContext *c, struct facts *f)
{
    for (int t = 0; t < TENANTS; t++) {
        redisReply *r = reply_array(c, -1, "VPARTITION INFO tenant:%d 0", t);
        snprintf(f->records[t], 20, "%.19s", field(r, "records_digest")->str);
        snprintf(f->graph[t], 20, "%.19s", field(r, "graph_digest")->str);
        f->elements[t] = field(r, "elements")->integer;
        freeReplyObject(r);
    }
}

static void same_facts(const struct facts *a, const struct facts *b)
{
    for (int t = 0; t < TENANTS; t++) {
        if (strcmp(a->records[t], b->records[t]) != 0 || strcmp(a->graph[t], b->graph[t]) != 0 ||
            a->elements[t] != b->elements[t])
            print_error("tenant %d: %s %s %lld, %s %s %lld\n", t, a->records[t], a->graph[t], a->elements[t],
                        b->records[t], b->graph[t], b->elements[t]);
        assert_string_equal(a->records[t], b->records[t]);
        assert_string_equal(a->graph[t], b->graph[t]);
        assert_int_equal(a->elements[t], b->elements[t]);
    }
}

static bool within_limit(void *arg)
{
    return reply_info(arg, "persistence", "open_partitions") <= LIMIT;
}

static bool within_few(void *arg)
{
    return reply_info(arg, "persistence", "open_partitions") <= FEW;
}

/* Every tenant is searched, read, and answers what it should; from several connections at once, so that many wait. */
static void use_all(struct test_server *s, int step)
{
    enum { CLIENTS = 4 };
    redisContext *c[CLIENTS];
    for (int k = 0; k < CLIENTS; k++)
        c[k] = server_connect(s);
    for (int t = 0; t < TENANTS; t += step) {
        redisContext *one = c[t / step % CLIENTS];
        int e = t % ELEMENTS;
        redisAppendCommand(one, "VSEARCH tenant:%d ELE e%d K 1", t, e);
        redisAppendCommand(one, "VGETATTR tenant:%d e%d", t, e);
        redisAppendCommand(one, "VISMEMBER tenant:%d nobody", t);
    }
    for (int t = 0; t < TENANTS; t += step) {
        redisContext *one = c[t / step % CLIENTS];
        char text[32];
        redisReply *r;
        assert_int_equal(redisGetReply(one, (void **)&r), REDIS_OK);
        snprintf(text, sizeof text, "e%d", t % ELEMENTS);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_int_equal(r->elements, 1);
        assert_string_equal(r->element[0]->str, text);
        freeReplyObject(r);
        assert_int_equal(redisGetReply(one, (void **)&r), REDIS_OK);
        snprintf(text, sizeof text, "{\"n\":%d}", t % ELEMENTS);
        assert_int_equal(r->type, REDIS_REPLY_STRING);
        assert_string_equal(r->str, text);
        freeReplyObject(r);
        assert_int_equal(redisGetReply(one, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        assert_int_equal(r->integer, 0);
        freeReplyObject(r);
    }
    for (int k = 0; k < CLIENTS; k++)
        redisFree(c[k]);
}

/* Writes that no snapshot holds yet, to every tenth tenant; the last ones in `f`. */
static void write_some(redisContext *c, int round, struct facts *f)
{
    int n = 0;
    for (int t = round % 10; t < TENANTS; t += 10) {
        send_add(c, t, 1000 + round);
        redisAppendCommand(c, "VSETATTR tenant:%d e1 {\"round\":%d}", t, round);
        redisAppendCommand(c, "VREM tenant:%d e%d", t, 59 - round);
        n += 3;
    }
    take_ints(c, n);
    read_facts(c, f);
}

static struct {
    redisContext *c;
    double bytes;
} less;

static bool memory_below(void *arg)
{
    (void)arg;
    return reply_info(less.c, "memory", "used_memory") <= less.bytes;
}

static void test_tenants(void **state)
{
    (void)state;
    static struct facts before, after;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    double empty = reply_info(c, "memory", "used_memory");
    fill(c, 0, TENANTS);
    double all = reply_info(c, "memory", "used_memory") - empty;
    read_facts(c, &before);
    assert_true(reply_info(c, "persistence", "open_partitions") == TENANTS);

    /* The limit comes while all are open and none is saved: the server takes a snapshot by itself. */
    reply_status(c, "OK", "CONFIG SET max-open-partitions %d", LIMIT);
    reply_status(c, "OK", "VPARTITION PIN tenant:7 0");
    assert_true(wait_until(within_limit, c, DEADLINE_MS));
    read_facts(c, &after);
    same_facts(&before, &after);
    use_all(s, 1);
    assert_true(wait_until(within_limit, c, DEADLINE_MS));
    less.c = c;
    less.bytes = empty + all * 0.3;
    bool good = wait_until(memory_below, &less, DEADLINE_MS);
    double few = reply_info(c, "memory", "used_memory") - empty;
    print_message("used_memory beyond %.0f: %.0f with %d open, %.0f with %d; %.0f unloads, %.0f reloads\n", empty, all, TENANTS, few, LIMIT,
                  reply_info(c, "persistence", "partition_unloads"), reply_info(c, "persistence", "partition_reloads"));
    assert_true(good);
    redisReply *r = reply_array(c, -1, "VPARTITION INFO tenant:7 0");
    assert_string_equal(field(r, "state")->str, "open");
    freeReplyObject(r);

    /* Written, killed, started again, snapshots and rewrites between. */
    const char *more[] = {"--max-open-partitions", "40", NULL};
    for (int round = 0; round < 5; round++) {
        write_some(c, round, &before);
        if (round == 1)
            saves_ask(c, "BGREWRITEAOF");
        if (round == 2)
            saves_ask(c, "BGSAVE");
        if (round >= 1 && round <= 3)
            assert_true(wait_until(saves_idle, c, DEADLINE_MS));
        redisFree(c);
        server_end(s, round % 2 ? SIGTERM : SIGKILL);
        server_again(s, more);
        c = server_connect(s);
        read_facts(c, &after);
        same_facts(&before, &after);
        r = reply_array(c, -1, "VPARTITION INFO tenant:7 0");
        assert_string_equal(field(r, "state")->str, "open");
        freeReplyObject(r);
        for (int t = 0; t < TENANTS; t += 37)
            reply_int(c, before.elements[t], "VCARD tenant:%d", t);
        redisReply *e = reply_array(c, 1, "VSEARCH tenant:%d ELE e%d K 1", round, 1000 + round);
        freeReplyObject(e);
        assert_true(wait_until(within_limit, c, DEADLINE_MS));
    }
    assert_true(reply_info(c, "persistence", "partition_reload_failures") == 0);

    /* Removed and renamed while they are unloaded. */
    reply_int(c, 1, "DEL tenant:300");
    reply_status(c, "OK", "RENAME tenant:301 tenant:300");
    r = reply_array(c, 1, "VSEARCH tenant:300 ELE e3 K 1");
    freeReplyObject(r);
    server_restart(s, SIGKILL);
    redisFree(c);
    c = server_connect(s);
    reply_int(c, TENANTS - 1, "DBSIZE");
    r = reply_array(c, 1, "VSEARCH tenant:300 ELE e3 K 1");
    freeReplyObject(r);
    reply_status(c, "OK", "FLUSHALL");
    reply_int(c, 0, "DBSIZE");
    redisFree(c);
    server_stop(s);
}

/* Partitions of one index: a search over all of them opens more than may be open, for its own time. */
static void test_partitions(void **state)
{
    (void)state;
    const char *args[] = {"--max-open-partitions", "4", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_status(c, "OK", "VPARTITION CREATE k DIM 4 PARTITIONS 32");
    for (int i = 0; i < 2000; i++)
        redisAppendCommand(c, "VADD k VALUES 4 %d %d %d 1 e%d", i % 7, i % 11, i % 13, i);
    take_ints(c, 2000);
    saves_ask(c, "SAVE");
    assert_true(wait_until(within_few, c, DEADLINE_MS));
    for (int round = 0; round < 5; round++) {
        redisReply *r = reply_array(c, 50, "VSEARCH k ELE e%d K 50 EXACT", round);
        freeReplyObject(r);
        r = reply_array(c, 3, "VMGET k 3 e1 e2 e%d WITHATTRIBS", 100 + round);
        freeReplyObject(r);
    }
    /* all of one command at once */
    const char *argv[4 + 2 * 64] = {"VMADD", "k", "FP32", "64"};
    size_t lens[4 + 2 * 64] = {5, 1, 4, 2};
    static char ids[64][16];
    float v[4] = {1, 2, 3, 4};
    for (int i = 0; i < 64; i++) {
        lens[4 + 2 * i] = (size_t)snprintf(ids[i], 16, "atomic%d", i);
        argv[4 + 2 * i] = ids[i];
        argv[5 + 2 * i] = (const char *)v;
        lens[5 + 2 * i] = sizeof(v);
    }
    const char *with[133];
    size_t with_lens[133];
    memcpy(with, argv, sizeof(argv));
    memcpy(with_lens, lens, sizeof(lens));
    with[132] = "ATOMIC";
    with_lens[132] = 6;
    redisReply *r = reply_argv(c, 133, with, with_lens);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, 64);
    freeReplyObject(r);
    reply_int(c, 2064, "VCARD k");
    r = reply_array(c, 2, "VPARTITION LIST k");
    assert_int_equal(r->element[1]->elements, 32);
    assert_int_equal(r->element[1]->element[0]->elements, 4);
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

/* ---- the scrub ---- */

static void flip_largest(const char *dir)
{
    char path[512], best[512] = "";
    long size = 0;
    snprintf(path, sizeof path, "%s/dump.rdb.d", dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    struct dirent *entry;
    while ((entry = readdir(d))) {
        char file[800];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        FILE *f = strstr(entry->d_name, ".seg") ? fopen(file, "rb") : NULL;
        if (!f)
            continue;
        fseek(f, 0, SEEK_END);
        if (ftell(f) > size) {
            size = ftell(f);
            snprintf(best, sizeof best, "%.500s", file);
        }
        fclose(f);
    }
    closedir(d);
    FILE *f = fopen(best, "r+b");
    assert_non_null(f);
    fseek(f, 5000, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, 5000, SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

static bool cycled(void *arg)
{
    return reply_info(arg, "persistence", "scrub_cycles") >= 2;
}

static bool found_damage(void *arg)
{
    return reply_info(arg, "persistence", "scrub_bad_blocks") >= 1 &&
           reply_info(arg, "persistence", "damaged_partitions") >= 1;
}

static bool found_more(void *arg)
{
    return reply_info(arg, "persistence", "scrub_bad_blocks") >= 2 &&
           reply_info(arg, "persistence", "scrub_last_time") > 0;
}

static void test_scrub(void **state)
{
    (void)state;
    const char *args[] = {"--scrub-period", "1", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    for (int i = 0; i < 3000; i++)
        send_add(c, 900, i);
    take_ints(c, 3000);
    fill(c, 0, 1);
    saves_ask(c, "SAVE");
    assert_true(wait_until(cycled, c, DEADLINE_MS));
    reply_contains(c, "scrub_last_status:ok", "INFO persistence");
    redisReply *r = reply_array(c, 3, "VSEARCH tenant:900 ELE e1 K 3");
    freeReplyObject(r);
    flip_largest(server_dir(s)); /* vectors, which are used where they lie there */
    assert_true(wait_until(found_damage, c, DEADLINE_MS));
    reply_error(c, "CORRUPT", "VSEARCH tenant:900 ELE e1 K 3");
    r = reply_array(c, 1, "VSEARCH tenant:0 ELE e1 K 1");
    freeReplyObject(r);
    reply_contains(c, "offset", "INFO persistence");
    reply_status(c, "OK", "CONFIG SET scrub-period 0");
    reply_int(c, 1, "DEL tenant:900");

    /* Of what is still in memory the next snapshot has a good copy. */
    saves_ask(c, "SAVE");
    saves_ask(c, "SAVE"); /* the damaged files are gone */
    flip_largest(server_dir(s));
    reply_status(c, "OK", "CONFIG SET scrub-period 1");
    assert_true(wait_until(found_more, c, DEADLINE_MS));
    r = reply_array(c, 1, "VSEARCH tenant:0 ELE e1 K 1");
    freeReplyObject(r);
    saves_ask(c, "SAVE");
    server_restart(s, SIGKILL);
    redisFree(c);
    c = server_connect(s);
    r = reply_array(c, 1, "VSEARCH tenant:0 ELE e1 K 1");
    freeReplyObject(r);
    reply_int(c, ELEMENTS, "VCARD tenant:0");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_scrub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
