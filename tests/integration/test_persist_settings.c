/* Durability through the server, its commands and settings: the journal switched on and off, snapshots and rewrites, save
 * points, what INFO says of all that. run: beside */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/docs.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define DEADLINE_MS 20000

static const char *const no_journal[] = {"--appendonly", "no", NULL};

/* ---- the journal switched on and off ---- */

static void test_appendonly_at_run_time(void **state)
{
    (void)state;
    struct test_server *s = server_start(no_journal);
    const char *yes[] = {"--appendonly", "yes", NULL};
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 400);
    reply_status(c, "OK", "CONFIG SET appendonly yes");
    assert_true(reply_info(c, "persistence", "aof_enabled") == 1);
    docs_add(c, "docs", 400, 500);
    assert_true(wait_until(saves_idle, c, DEADLINE_MS));
    reply_contains(c, "aof_last_bgrewrite_status:ok", "INFO persistence");
    docs_add(c, "docs", 500, 600);
    redisFree(c);
    server_end(s, SIGKILL);
    server_again(s, yes);
    c = server_connect(s);
    docs_check(c, "docs", 600);
    reply_status(c, "OK", "CONFIG SET appendonly no");
    docs_add(c, "docs", 600, 700);
    redisFree(c);
    server_end(s, SIGKILL);
    server_again(s, yes);
    c = server_connect(s);
    docs_check(c, "docs", 600);
    redisFree(c);
    server_stop(s);
}

static bool complete(void *arg)
{
    return reply_info(arg, "persistence", "journal_complete") == 1;
}

static void expect_in_file(const struct test_server *s, const char *name, const char *line)
{
    char path[1024], text[4096];
    snprintf(path, sizeof path, "%s/%s", server_dir(s), name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    assert_non_null(strstr(text, line));
}

/* Killed while the journal that was switched on has no base yet: what no file holds is lost, as without
 * a journal; what joins on to the snapshot is there. */
static void test_killed_without_base(void **state)
{
    (void)state;
    static const char *const yes[] = {"--appendonly", "yes", NULL};
    const char *args[] = {"--save", "", "--appendonly", "no", "--enable-debug-command", "yes", NULL};
    for (int joins = 0; joins < 2; joins++) {
        struct test_server *s = server_start_conf("# mine\n", args);
        redisContext *c = server_connect(s);
        docs_add(c, "docs", 0, 400);
        saves_ask(c, "SAVE");
        if (!joins)
            docs_add(c, "docs", 400, 450);
        /* The directory of the base's files cannot be made. */
        reply_status(c, "OK", "DEBUG VFS-FAULT mkdir:2:eio:sticky");
        reply_status(c, "OK", "CONFIG SET appendonly yes appendfsync always");
        reply_status(c, "OK", "CONFIG REWRITE");
        expect_in_file(s, "vecstore.conf", "\nappendonly yes\n");
        docs_add(c, "docs", joins ? 400 : 450, 500);
        assert_false(complete(c));
        redisFree(c);
        server_end(s, SIGKILL);
        server_again(s, yes);
        c = server_connect(s);
        docs_check(c, "docs", joins ? 500 : 400);
        if (!joins)
            server_wait_output(s, "cannot be applied", DEADLINE_MS);
        assert_true(wait_until(complete, c, DEADLINE_MS));
        docs_add(c, "docs", joins ? 500 : 400, 600);
        redisFree(c);
        server_end(s, SIGKILL);
        server_again(s, yes);
        c = server_connect(s);
        docs_check(c, "docs", 600);
        assert_true(complete(c));
        redisFree(c);
        server_stop(s);
    }
}

/* Off, then killed: a snapshot made since goes before the journal; without one the journal is there. */
static void test_killed_switched_off(void **state)
{
    (void)state;
    const char *args[] = {"--save", "", "--appendonly", "yes", "--enable-debug-command", "yes", NULL};
    for (int snapshot = 0; snapshot < 2; snapshot++) {
        struct test_server *s = server_start(args);
        redisContext *c = server_connect(s);
        docs_add(c, "docs", 0, 300);
        reply_status(c, "OK", "CONFIG SET appendonly no");
        docs_add(c, "docs", 300, 400);
        if (snapshot)
            saves_ask(c, "SAVE");
        reply_status(c, "OK", "DEBUG VFS-FAULT mkdir:2:eio:sticky");
        reply_status(c, "OK", "CONFIG SET appendonly yes");
        docs_add(c, "docs", 400, 450);
        assert_false(complete(c));
        redisFree(c);
        server_restart(s, SIGKILL);
        c = server_connect(s);
        docs_check(c, "docs", snapshot ? 450 : 300);
        assert_true(wait_until(complete, c, DEADLINE_MS));
        assert_true(wait_until(saves_idle, c, SAVES_DEADLINE_MS)); /* the rewrite that made it complete is counted at its end */
        /* Off and on without a write between: no rewrite is needed. */
        long long rewrites = (long long)reply_info(c, "persistence", "aof_rewrites");
        reply_status(c, "OK", "CONFIG SET appendonly no");
        reply_status(c, "OK", "CONFIG SET appendonly yes");
        assert_true(complete(c));
        docs_add(c, "docs", snapshot ? 450 : 300, 500);
        assert_true(reply_info(c, "persistence", "aof_rewrites") == (double)rewrites);
        redisFree(c);
        server_restart(s, SIGKILL);
        c = server_connect(s);
        docs_check(c, "docs", 500);
        redisFree(c);
        server_stop(s);
    }
}

/* ---- snapshots and rewrites ---- */

static void test_rewrite(void **state)
{
    (void)state;
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 1500);
    for (int i = 0; i < 3; i++) {
        reply_contains(c, "Background append only file rewriting", "BGREWRITEAOF");
        docs_add(c, "docs", 1500 + i * 100, 1600 + i * 100);
        assert_true(wait_until(saves_idle, c, DEADLINE_MS));
        reply_contains(c, "aof_last_bgrewrite_status:ok", "INFO persistence");
    }
    assert_true(reply_info(c, "persistence", "aof_rewrites") == 3);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    docs_check(c, "docs", 1800);
    redisFree(c);
    server_stop(s);
}

static void test_save(void **state)
{
    (void)state;
    const char *args[] = {"--save", "3600 1000000", "--appendonly", "no", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 1500);
    docs_add(c, "small", 0, 10);
    saves_ask(c, "SAVE");
    assert_true(reply_info(c, "persistence", "rdb_changes_since_last_save") == 0);
    reply_contains(c, "rdb_last_bgsave_status:ok", "INFO persistence");
    long long last = reply_get_int(c, "LASTSAVE");
    assert_true(last > 1500000000);
    docs_add(c, "docs", 1500, 1600); /* not in it */
    server_restart(s, SIGKILL);
    redisFree(c);
    c = server_connect(s);
    docs_check(c, "docs", 1500);
    docs_check(c, "small", 10);
    docs_add(c, "docs", 1500, 1600);
    reply_status(c, "Background saving started", "BGSAVE");
    assert_true(wait_until(saves_idle, c, DEADLINE_MS));
    reply_contains(c, "rdb_last_bgsave_status:ok", "INFO persistence");
    docs_add(c, "docs", 1600, 1610);
    server_restart(s, SIGTERM); /* save points: a last snapshot */
    redisFree(c);
    c = server_connect(s);
    docs_check(c, "docs", 1610);
    /* Unless it is not wanted. */
    docs_add(c, "docs", 1610, 1620);
    freeReplyObject(redisCommand(c, "SHUTDOWN NOSAVE"));
    assert_int_equal(server_wait_exit(s, DEADLINE_MS), 0);
    redisFree(c);
    server_again(s, NULL);
    c = server_connect(s);
    docs_check(c, "docs", 1610);
    reply_error(c, "ERR No shutdown in progress.", "SHUTDOWN ABORT");
    reply_error(c, "ERR syntax error", "SHUTDOWN SAVE NOSAVE");
    reply_error(c, "ERR syntax error", "BGSAVE NOW");
    redisFree(c);
    server_stop(s);
}

static bool saved_once(void *arg)
{
    return reply_info(arg, "persistence", "rdb_saves") >= 1;
}

static void test_save_points(void **state)
{
    (void)state;
    struct test_server *s = server_start(no_journal);
    redisContext *c = server_connect(s);
    reply_status(c, "OK", "CONFIG SET save %s", "3600 1 1 10");
    docs_add(c, "docs", 0, 9);
    docs_add(c, "docs", 9, 10);
    assert_true(wait_until(saved_once, c, DEADLINE_MS));
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    docs_check(c, "docs", 10);
    redisFree(c);
    server_stop(s);
}

static void test_stop_writes(void **state)
{
    (void)state;
    const char *args[] = {"--save", "3600 1000000", "--appendonly", "no",
                          "--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 100);
    reply_status(c, "OK", "DEBUG VFS-FAULT write:1:enospc:sticky");
    reply_error(c, "ERR", "SAVE");
    reply_contains(c, "rdb_last_bgsave_status:err", "INFO persistence");
    reply_error(c, "MISCONF", "VADD docs VALUES 4 1 2 3 4 refused");
    reply_error(c, "MISCONF", "PING");
    reply_status(c, "OK", "CONFIG SET stop-writes-on-bgsave-error no");
    reply_int(c, 1, "VADD docs VALUES 4 1 2 3 4 taken");
    reply_status(c, "OK", "CONFIG SET stop-writes-on-bgsave-error yes");
    reply_status(c, "OK", "DEBUG VFS-FAULT off");
    saves_ask(c, "SAVE");
    reply_status(c, "PONG", "PING");
    reply_int(c, 1, "VADD docs VALUES 4 1 2 3 4 again");
    redisFree(c);
    server_stop(s);
}

static void test_reload(void **state)
{
    (void)state;
    const char *args[] = {"--appendonly", "yes", "--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s), *d = server_connect(s);
    docs_add(c, "docs", 0, 700);
    reply_status(c, "OK", "DEBUG LOADAOF");
    docs_check(d, "docs", 700);
    reply_status(c, "OK", "DEBUG RELOAD NOSAVE");
    docs_check(d, "docs", 700);
    docs_add(d, "docs", 700, 800);
    reply_status(c, "OK", "DEBUG RELOAD");
    docs_check(d, "docs", 800);
    /* behind searches, in one write: its reply outlives the store that it was taken up in */
    redisReply *reply;
    for (int i = 0; i < 20; i++)
        redisAppendCommand(c, "VSEARCH docs VALUES 4 1 2 3 4 K 3");
    redisAppendCommand(c, "DEBUG RELOAD");
    for (int i = 0; i < 21; i++) {
        assert_int_equal(redisGetReply(c, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, i < 20 ? REDIS_REPLY_ARRAY : REDIS_REPLY_STATUS);
        freeReplyObject(reply);
    }
    docs_check(d, "docs", 800);
    redisFree(c);
    redisFree(d);
    server_stop(s);
}

static void test_info(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "loading", "async_loading", "current_cow_peak", "current_cow_size", "current_fork_perc",
        "current_save_keys_processed", "current_save_keys_total", "rdb_changes_since_last_save",
        "rdb_bgsave_in_progress", "rdb_last_save_time", "rdb_last_bgsave_time_sec",
        "rdb_current_bgsave_time_sec", "rdb_saves", "rdb_last_cow_size",
        "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded", "aof_enabled",
        "aof_rewrite_in_progress", "aof_rewrite_scheduled", "aof_last_rewrite_time_sec",
        "aof_current_rewrite_time_sec", "aof_rewrites", "aof_rewrites_consecutive_failures",
        "aof_last_cow_size", "module_fork_in_progress", "aof_current_size", "aof_base_size",
        "aof_pending_rewrite", "aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync",
        "journal_sequence", "journal_written", "journal_synced", "damaged_partitions",
        "mapped_bytes"};
    const char *args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    docs_add(c, "docs", 0, 25);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        reply_info(c, "persistence", fields[i]);
    assert_true(reply_info(c, "persistence", "journal_sequence") == 25);
    assert_true(reply_info(c, "persistence", "journal_synced") == 25);
    assert_true(reply_info(c, "persistence", "aof_current_size") > 25 * 64);
    redisReply *r = reply_array(c, 2, "CONFIG GET save");
    assert_string_equal(r->element[1]->str, "");
    freeReplyObject(r);
    reply_error(c, "ERR CONFIG SET failed", "CONFIG SET dbfilename other.rdb");
    reply_error(c, "ERR CONFIG SET failed", "CONFIG SET dir /tmp");
    reply_status(c, "OK", "CONFIG SET appendfsync no auto-aof-rewrite-percentage 50");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appendonly_at_run_time),
        cmocka_unit_test(test_killed_without_base),
        cmocka_unit_test(test_killed_switched_off),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_save_points),
        cmocka_unit_test(test_stop_writes),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
