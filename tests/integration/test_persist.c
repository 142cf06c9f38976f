/* Durability through the server: what is kept over a restart, what is said when the disk does not
 * do its part. The commands and settings are test_persist_settings.c's matter; what survives a kill at
 * any moment, a power cut or a damaged file is the drills'. run: beside */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/docs.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define DEADLINE_MS 20000

static const char *const no_journal[] = {"--appendonly", "no", NULL};

/* ---- the journal over restarts ---- */

static void test_journal_restart(void **state)
{
    (void)state;
    static const char *const syncs[] = {"always", "everysec", "no"};
    static const int signals[] = {SIGKILL, SIGTERM, SIGKILL};
    for (int i = 0; i < 3; i++) {
        const char *args[] = {"--appendonly", "yes", "--appendfsync", syncs[i], NULL};
        struct test_server *s = server_start(args);
        redisContext *c = server_connect(s);
        docs_add(c, "docs", 0, 600);
        reply_int(c, 1, "VREM docs e599");
        reply_int(c, 1, "VSETATTR docs e598 {\"n\":598}");
        reply_status(c, "OK", "VPARTITION CREATE empty DIM 3 METRIC L2 PARTITIONS 2");
        docs_add(c, "other", 0, 2);
        reply_status(c, "OK", "RENAME other another");
        reply_status(c, "OK", "SELECT 3");
        docs_add(c, "docs", 0, 5);
        server_restart(s, signals[i]);
        redisFree(c);
        c = server_connect(s);
        docs_check(c, "docs", 599);
        docs_check(c, "another", 2);
        reply_int(c, 0, "EXISTS other");
        reply_int(c, 0, "VCARD empty");
        reply_int(c, 1, "EXISTS empty");
        reply_status(c, "OK", "SELECT 3");
        docs_check(c, "docs", 5);
        reply_int(c, 1, "DEL docs");
        server_restart(s, signals[i]);
        redisFree(c);
        c = server_connect(s);
        reply_int(c, 3, "DBSIZE");
        reply_status(c, "OK", "FLUSHALL");
        server_restart(s, signals[i]);
        redisFree(c);
        c = server_connect(s);
        reply_int(c, 0, "DBSIZE");
        redisFree(c);
        server_stop(s);
    }
}

static void test_no_journal(void **state)
{
    (void)state;
    struct test_server *s = server_start(no_journal);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 10);
    assert_true(reply_info(c, "persistence", "aof_enabled") == 0);
    reply_error(c, "ERR There is no journal", "BGREWRITEAOF");
    server_restart(s, SIGTERM);
    redisFree(c);
    c = server_connect(s);
    reply_int(c, 0, "DBSIZE");
    redisFree(c);
    server_stop(s);
}

/* ---- replies in order ---- */

static void expect_next(redisContext *c, int type, const char *text)
{
    redisReply *r;
    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type, type);
    if (text)
        assert_string_equal(r->str, text);
    freeReplyObject(r);
}

static void test_order(void **state)
{
    (void)state;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 300);
    for (int i = 0; i < 200; i++) {
        char text[16];
        redisAppendCommand(c, "VADD docs VALUES 4 1 2 3 %d new%d", i, i);
        redisAppendCommand(c, "ECHO a%d", i);
        redisAppendCommand(c, "VSEARCH docs ELE new%d K 1", i);
        redisAppendCommand(c, "VREM docs new%d", i);
        redisAppendCommand(c, "VREM docs nothing%d", i);
        redisAppendCommand(c, "VADD docs VALUES 2 1 2 wrong");
        redisAppendCommand(c, "ECHO b%d", i);
        if (i % 8 == 7) {
            for (int j = i - 7; j <= i; j++) {
                expect_next(c, REDIS_REPLY_INTEGER, NULL);
                snprintf(text, sizeof text, "a%d", j);
                expect_next(c, REDIS_REPLY_STRING, text);
                expect_next(c, REDIS_REPLY_ARRAY, NULL);
                expect_next(c, REDIS_REPLY_INTEGER, NULL);
                expect_next(c, REDIS_REPLY_INTEGER, NULL);
                expect_next(c, REDIS_REPLY_ERROR, NULL);
                snprintf(text, sizeof text, "b%d", j);
                expect_next(c, REDIS_REPLY_STRING, text);
            }
        }
    }
    /* Replies that nobody wants. */
    redisAppendCommand(c, "CLIENT REPLY OFF");
    redisAppendCommand(c, "VADD docs VALUES 4 1 2 3 4 silent");
    redisAppendCommand(c, "CLIENT REPLY ON");
    expect_next(c, REDIS_REPLY_STATUS, "OK");
    redisAppendCommand(c, "CLIENT REPLY SKIP");
    redisAppendCommand(c, "VADD docs VALUES 4 1 2 3 4 skipped");
    redisAppendCommand(c, "ECHO end");
    expect_next(c, REDIS_REPLY_STRING, "end");
    reply_int(c, 1, "VISMEMBER docs silent");
    reply_int(c, 1, "VISMEMBER docs skipped");
    redisFree(c);
    server_stop(s);
}

static bool all_taken(void *arg)
{
    return reply_get_int(arg, "VCARD docs") == 31 &&
           reply_info(arg, "persistence", "journal_waiting_replies") == 0;
}

/* Clients that leave while the disk still has their writes. */
static void test_gone(void **state)
{
    (void)state;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "always",
                          "--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 10);
    reply_status(c, "OK", "DEBUG VFS-FAULT fdatasync:1:slow");
    for (int i = 0; i < 20; i++) {
        redisContext *d = server_connect(s);
        int done = 0;
        redisAppendCommand(d, "VADD docs VALUES 4 1 2 3 4 gone%d", i);
        redisAppendCommand(d, "VSEARCH docs ELE e1 K 1");
        while (!done)
            assert_int_equal(redisBufferWrite(d, &done), REDIS_OK);
        redisFree(d);
    }
    reply_int(c, 1, "VADD docs VALUES 4 1 2 3 4 last");
    assert_true(wait_until(all_taken, c, DEADLINE_MS));
    redisFree(c);
    server_stop(s);
}

/* ---- a disk that fails ---- */

static bool answers_pong(void *arg)
{
    redisReply *r = redisCommand(arg, "PING");
    bool ok = r && r->type == REDIS_REPLY_STATUS;
    if (r)
        freeReplyObject(r);
    return ok;
}

static bool answers_misconf(void *arg)
{
    redisReply *r = redisCommand(arg, "PING");
    bool ok = r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "MISCONF", 7) == 0;
    if (r)
        freeReplyObject(r);
    return ok;
}

static void test_disk_full(void **state)
{
    (void)state;
    static const char *const syncs[] = {"always", "everysec", "no"};
    for (int i = 0; i < 3; i++) {
        const char *args[] = {"--appendonly", "yes", "--appendfsync", syncs[i],
                              "--enable-debug-command", "yes", NULL};
        struct test_server *s = server_start(args);
        redisContext *c = server_connect(s), *d = server_connect(s);
        docs_add(c, "docs", 0, 10);
        reply_status(c, "OK", "DEBUG VFS-FAULT write:1:enospc:sticky");
        int done = 0;
        redisAppendCommand(d, "VADD docs VALUES 4 1 2 3 4 held");
        while (!done)
            assert_int_equal(redisBufferWrite(d, &done), REDIS_OK);
        /* Within a second everybody is told; what was taken before waits. */
        assert_true(wait_until(answers_misconf, c, 1000));
        reply_error(c, "MISCONF", "VADD docs VALUES 4 1 2 3 4 refused");
        reply_error(c, "MISCONF", "DEL docs");
        reply_int(c, 11, "VCARD docs");
        redisReply *r = reply_array(c, -1, "VSEARCH docs ELE e1 K 1");
        freeReplyObject(r);
        reply_contains(c, "aof_last_write_status:err", "INFO persistence");
        reply_error(c, "ERR Errors trying to SHUTDOWN", "SHUTDOWN");
        reply_status(c, "OK", "DEBUG VFS-FAULT off");
        assert_true(wait_until(answers_pong, c, 2000));
        reply_contains(c, "aof_last_write_status:ok", "INFO persistence");
        expect_next(d, REDIS_REPLY_INTEGER, NULL);
        reply_int(c, 1, "VADD docs VALUES 4 1 2 3 4 again");
        redisFree(d);
        server_restart(s, SIGKILL);
        redisFree(c);
        c = server_connect(s);
        reply_int(c, 12, "VCARD docs");
        reply_int(c, 1, "VISMEMBER docs held");
        redisFree(c);
        server_stop(s);
    }
}

/* A disk that takes bytes and does not keep them: the sync fails. */
static void test_sync_fails(void **state)
{
    (void)state;
    static const char *const syncs[] = {"always", "everysec"};
    for (int i = 0; i < 2; i++) {
        const char *args[] = {"--appendonly", "yes", "--appendfsync", syncs[i],
                              "--enable-debug-command", "yes", NULL};
        struct test_server *s = server_start(args);
        redisContext *c = server_connect(s), *d = server_connect(s);
        docs_add(c, "docs", 0, 10);
        reply_status(c, "OK", "DEBUG VFS-FAULT fdatasync:1:eio:sticky,fsync:1:eio:sticky");
        int done = 0;
        redisAppendCommand(d, "VADD docs VALUES 4 1 2 3 4 held");
        while (!done)
            assert_int_equal(redisBufferWrite(d, &done), REDIS_OK);
        assert_true(wait_until(answers_misconf, c, 2000));
        reply_error(c, "MISCONF", "VADD docs VALUES 4 1 2 3 4 refused");
        reply_status(c, "OK", "DEBUG VFS-FAULT off");
        assert_true(wait_until(answers_pong, c, 2000));
        expect_next(d, REDIS_REPLY_INTEGER, NULL);
        redisFree(c);
        redisFree(d);
        server_restart(s, SIGKILL);
        c = server_connect(s);
        reply_int(c, 11, "VCARD docs");
        reply_int(c, 1, "VISMEMBER docs held");
        redisFree(c);
        server_stop(s);
    }
}

/* ---- starts that must not be ---- */

static void journal_segment(const struct test_server *s, char out[1024])
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/appendonlydir", server_dir(s));
    DIR *d = opendir(dir);
    assert_non_null(d);
    out[0] = 0;
    off_t best = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (strstr(e->d_name, ".incr.aof") && stat(path, &st) == 0 && st.st_size > best) {
            best = st.st_size;
            snprintf(out, 1024, "%s", path);
        }
    }
    closedir(d);
    assert_true(out[0]);
}

static void flip(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static int run_in(const struct test_server *s, const char *truncated, char **output)
{
    const char *args[] = {"--dir", server_dir(s), "--port", "0", "--unixsocket", "refused",
                          "--appendonly", "yes", "--save", "", "--aof-load-truncated", truncated,
                          NULL};
    return server_run(args, DEADLINE_MS, output);
}

static void test_refuses(void **state)
{
    (void)state;
    char path[1024], *output;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 50);
    /* The directory is taken. */
    assert_int_equal(run_in(s, "yes", &output), 1);
    assert_non_null(strstr(output, "vecstore.lock"));
    free(output);
    redisFree(c);

    server_end(s, SIGTERM);
    journal_segment(s, path);
    flip(path, 1000);
    assert_int_equal(run_in(s, "yes", &output), 1);
    /* File, offset, what repairs it. */
    assert_non_null(strstr(output, strrchr(path, '/') + 1));
    assert_non_null(strstr(output, "offset"));
    assert_non_null(strstr(output, "vecstore-check-aof"));
    free(output);
    flip(path, 1000);
    server_again(s, NULL);
    c = server_connect(s);
    docs_check(c, "docs", 50);
    redisFree(c);
    server_stop(s);
}

static void test_torn_tail(void **state)
{
    (void)state;
    char path[1024], *output;
    struct stat st;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "no", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 50);
    redisFree(c);
    server_end(s, SIGKILL);
    journal_segment(s, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 7), 0);
    assert_int_equal(run_in(s, "no", &output), 1);
    assert_non_null(strstr(output, "vecstore-check-aof"));
    free(output);
    server_again(s, NULL);
    c = server_connect(s);
    docs_check(c, "docs", 49);
    docs_add(c, "docs", 49, 60);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    docs_check(c, "docs", 60);
    redisFree(c);
    server_stop(s);
}

/* While data are loaded: PING says so, INFO shows how far it is, nothing else is served. */
static void test_loading(void **state)
{
    (void)state;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "no", "--unixsocket", "sock",
                          "--link-backlog-max", "1000000", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 20000);
    redisFree(c);
    server_end(s, SIGKILL);

    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* Asks from before the server is there until it answers PONG. */
        char sock[512];
        int loading = 0;
        snprintf(sock, sizeof sock, "%s/sock", server_dir(s));
        for (int64_t end = wait_now_ms() + DEADLINE_MS; wait_now_ms() < end;) {
            redisContext *r = redisConnectUnix(sock);
            redisReply *p = r && !r->err ? redisCommand(r, "PING") : NULL;
            if (p && p->type == REDIS_REPLY_STATUS)
                _exit(loading ? 0 : 10);
            if (p && (p->type != REDIS_REPLY_ERROR || strncmp(p->str, "LOADING", 7) != 0))
                _exit(11);
            if (p) {
                redisReply *v = redisCommand(r, "VCARD docs");
                redisReply *i = redisCommand(r, "INFO persistence");
                if (!v || !i)
                    _exit(12);
                bool over = v->type == REDIS_REPLY_INTEGER;
                if (!over && strncmp(v->str, "LOADING", 7) != 0)
                    _exit(13);
                if (!over && !strstr(i->str, "loading:1") && !strstr(i->str, "loading:0"))
                    _exit(14);
                loading++;
            }
            if (r)
                redisFree(r);
        }
        _exit(15);
    }
    server_again(s, NULL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    /* 10: it was too fast to be seen. */
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10);
    c = server_connect(s);
    docs_check(c, "docs", 20000);
    assert_true(reply_info(c, "persistence", "loading") == 0);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journal_restart),
        cmocka_unit_test(test_no_journal),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_sync_fails),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_torn_tail),
        cmocka_unit_test(test_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
