/* Files of a snapshot that change under a server: a byte that is another, with and without
 * verify-on-load; a file cut short while it is mapped; and who saves when. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define DIM 32
#define ONES "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"
#define DEADLINE_MS 30000

static void add(redisContext *c, const char *key, int n)
{
    for (int i = 0; i < n; i++) {
        float v[DIM];
        for (int k = 0; k < DIM; k++)
            v[k] = (float)((i * 7 + k * k * 3 + (i ^ k)) % 97);
        redisAppendCommand(c, "VADD %s FP32 %b e%d", key, v, sizeof(v), i);
    }
    for (int i = 0; i < n; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        freeReplyObject(r);
    }
}

/* The largest of the segment files: vectors. */
static long largest(const struct test_server *s, char path[800])
{
    char dir[600];
    long size = -1;
    snprintf(dir, sizeof dir, "%s/dump.rdb.d", server_dir(s));
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char file[800];
        struct stat st;
        snprintf(file, sizeof file, "%s/%.100s", dir, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > size) {
            size = st.st_size;
            memcpy(path, file, sizeof file);
        }
    }
    closedir(d);
    assert_true(size > 100000);
    return size;
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 4, f);
    fclose(f);
}

static bool damage_found(void *arg)
{
    return reply_info(arg, "persistence", "damaged_partitions") == 1;
}

/* What is loaded must be the snapshot. */
static const char *const unjournalled[] = {"--appendonly", "no", NULL};

static struct test_server *saved(const char *const *args)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    add(c, "docs", 3000);
    add(c, "small", 20);
    saves_ask(c, "SAVE");
    redisFree(c);
    return s;
}

static const char *dump_of(const struct test_server *s, char dir[600])
{
    snprintf(dir, 600, "%s", server_dir(s));
    return dir;
}

static void test_verify_on_load(void **state)
{
    (void)state;
    char path[800], dir[600], *output;
    struct test_server *s = saved(unjournalled);
    server_end(s, SIGKILL);
    long size = largest(s, path);
    flip(path, size / 2);
    const char *verify[] = {"--dir", dump_of(s, dir), "--verify-on-load", "yes", "--port", "0",
                            "--unixsocket", "sock", NULL};
    assert_int_equal(server_run(verify, DEADLINE_MS, &output), 1);
    if (!strstr(output, strrchr(path, '/') + 1) || !strstr(output, "offset"))
        print_error("%s\n", output);
    assert_non_null(strstr(output, strrchr(path, '/') + 1));
    assert_non_null(strstr(output, "offset"));
    assert_non_null(strstr(output, "vecstore-check-rdb"));
    free(output);

    /* Without it the server starts, and that partition alone is stopped. */
    server_again(s, NULL);
    redisContext *c = server_connect(s);
    assert_true(wait_until(damage_found, c, DEADLINE_MS));
    reply_error(c, "CORRUPT", "VSEARCH docs ELE e1 K 3");
    reply_error(c, "CORRUPT", "VEMB docs e1");
    redisReply *r = reply_array(c, 3, "VSEARCH small ELE e1 K 3");
    freeReplyObject(r);
    redisFree(c);
    server_end(s, SIGKILL);

    flip(path, size / 2); /* as it was */
    server_again(s, (const char *[]){"--verify-on-load", "yes", NULL});
    c = server_connect(s);
    r = reply_array(c, 3, "VSEARCH docs ELE e1 K 3");
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

/* What was mapped is not there any more: SIGBUS, and the server lives. */
static void test_cut_short(void **state)
{
    (void)state;
    char path[800];
    struct test_server *s = saved(unjournalled);
    server_restart(s, SIGKILL);
    redisContext *c = server_connect(s);
    redisReply *r = reply_array(c, 3, "VSEARCH docs ELE e1 K 3 EXACT");
    freeReplyObject(r);
    assert_true(reply_info(c, "persistence", "mapped_bytes") > 0);
    largest(s, path);
    assert_int_equal(truncate(path, 8192), 0);
    reply_error(c, "CORRUPT", "VSEARCH docs ELE e2999 K 3 EXACT");
    assert_true(wait_until(damage_found, c, DEADLINE_MS));
    reply_status(c, "PONG", "PING");
    reply_error(c, "CORRUPT", "VEMB docs e2999"); /* and not that there is no such element */
    reply_error(c, "CORRUPT", "VISMEMBER docs e2998");
    reply_error(c, "CORRUPT", "VREM docs e2997");
    reply_error(c, "CORRUPT", "VADD docs VALUES 32 " ONES " e2996 XX");
    r = reply_array(c, 3, "VSEARCH small ELE e1 K 3");
    freeReplyObject(r);
    reply_int(c, 1, "DEL docs");
    add(c, "docs", 100);
    saves_ask(c, "SAVE");
    server_restart(s, SIGKILL);
    redisFree(c);
    c = server_connect(s);
    reply_int(c, 100, "VCARD docs");
    redisFree(c);
    server_stop(s);
}

static bool saved_behind(void *arg)
{
    return reply_info(arg, "persistence", "rdb_saves") >= 2;
}

/* Behind a rewrite that runs, a snapshot is taken when it was asked for so. */
static void test_schedule(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", NULL};
    struct test_server *s = saved(args);
    redisContext *c = server_connect(s);
    redisReply *r;
    add(c, "more", 2000);
    assert_true(reply_info(c, "persistence", "rdb_saves") == 1);
    redisAppendCommand(c, "BGREWRITEAOF");
    redisAppendCommand(c, "BGSAVE");
    redisAppendCommand(c, "BGSAVE SCHEDULE");
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    freeReplyObject(r);
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, REDIS_REPLY_ERROR);
    freeReplyObject(r);
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    assert_string_equal(r->str, "Background saving scheduled");
    freeReplyObject(r);
    assert_true(wait_until(saved_behind, c, DEADLINE_MS));
    reply_contains(c, "rdb_last_bgsave_status:ok", "INFO persistence");
    reply_contains(c, "aof_last_bgrewrite_status:ok", "INFO persistence");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_on_load),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
