/* Administering a server: CLIENT, CONFIG, COMMAND, INFO, SLOWLOG, LATENCY, MEMORY, MONITOR, DEBUG,
 * SHUTDOWN, signals, the crash report, and the
 * real redis-cli and redis-benchmark. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

static char output[1 << 20];

/* Runs a program of redis-tools on the server; what it writes stands in `output`. */
static void tool(struct test_server *s, const char *program, const char *args)
{
    char line[512];
    snprintf(line, sizeof(line), "timeout 30 %s -p %d %s 2>&1 </dev/null", program, server_port(s),
             args);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n = fread(output, 1, sizeof(output) - 1, f);
    output[n] = 0;
    pclose(f);
}

static void says(const char *part)
{
    if (!strstr(output, part))
        fail_msg("'%s' is not in:\n%.2000s", part, output);
}

static void test_client(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *a = server_connect(s), *b = server_connect(s);
    long long ida = reply_get_int(a, "CLIENT ID"), idb = reply_get_int(b, "CLIENT ID");
    assert_true(idb > ida);
    reply_null(a, "CLIENT GETNAME");
    reply_status(a, "OK", "CLIENT SETNAME first");
    reply_bulk(a, "first", "CLIENT GETNAME");
    reply_error(a, "ERR Client names cannot contain", "CLIENT SETNAME %s", "a b");
    reply_status(a, "OK", "CLIENT SETINFO LIB-NAME lib");
    reply_status(a, "OK", "CLIENT SETINFO lib-ver 1.2");
    reply_error(a, "ERR Unrecognized option 'x'", "CLIENT SETINFO x y");
    reply_status(a, "OK", "CLIENT NO-EVICT ON");
    reply_status(a, "OK", "CLIENT NO-TOUCH ON");
    reply_error(a, "ERR syntax error", "CLIENT NO-TOUCH MAYBE");
    reply_contains(a, "name=first", "CLIENT INFO");
    reply_contains(a, "flags=eT", "CLIENT INFO");
    reply_contains(a, "lib-name=lib lib-ver=1.2", "CLIENT INFO");
    reply_contains(a, "cmd=client|id", "CLIENT LIST");
    reply_contains(a, "name=first", "CLIENT LIST TYPE normal");
    reply_contains(a, "name=first", "CLIENT LIST ID %lld", ida);
    reply_bulk(a, "", "CLIENT LIST TYPE pubsub");
    reply_error(a, "ERR Unknown client type 'x'", "CLIENT LIST TYPE x");
    reply_error(a, "ERR Invalid client ID", "CLIENT LIST ID x");
    reply_error(a, "ERR syntax error", "CLIENT LIST x");
    reply_int(a, 0, "CLIENT UNBLOCK %lld", idb);
    reply_error(a, "ERR No such client", "CLIENT KILL 1.2.3.4:5");
    reply_error(a, "ERR client-id should be greater than 0", "CLIENT KILL ID 0");
    reply_error(a, "ERR No such user 'x'", "CLIENT KILL USER x");
    reply_error(a, "ERR syntax error", "CLIENT KILL ID 1 x");
    reply_int(a, 0, "CLIENT KILL MAXAGE 1000");
    reply_int(a, 0, "CLIENT KILL TYPE pubsub");
    reply_int(a, 1, "CLIENT KILL ID %lld", idb);
    assert_null(redisCommand(b, "PING"));
    redisFree(b);
    b = server_connect(s);
    reply_int(a, 1, "CLIENT KILL LADDR 127.0.0.1:%d SKIPME yes USER default", server_port(s));
    assert_null(redisCommand(b, "PING"));
    redisFree(b);
    freeReplyObject(reply_array(a, -1, "CLIENT HELP"));
    reply_int(a, 1, "CLIENT KILL TYPE normal SKIPME no");
    assert_null(redisCommand(a, "PING"));
    redisFree(a);
    server_stop(s);
}

static void test_client_reply_and_pause(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    int fd = server_socket(s);
    raw_talk(fd, "CLIENT REPLY OFF\r\nPING\r\nNOSUCH\r\nCLIENT REPLY ON\r\n", "+OK\r\n");
    raw_talk(fd, "CLIENT REPLY SKIP\r\nECHO lost\r\nECHO kept\r\n", "$4\r\nkept\r\n");
    raw_talk(fd, "CLIENT REPLY x\r\n", "-ERR syntax error\r\n");
    raw_talk(fd, "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nECHO lost\r\nECHO kept\r\n", "$4\r\nkept\r\n");
    raw_talk(fd, "CLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\n", "+OK\r\n");
    raw_talk(fd, "CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\n", "+OK\r\n");
    /* A whole transaction, and searches, whose replies come from workers. */
    raw_talk(fd, "VADD t VALUES 2 1 0 a\r\n", ":1\r\n");
    raw_talk(fd, "CLIENT REPLY OFF\r\nMULTI\r\nVSEARCH t VALUES 2 1 0\r\nVADD t VALUES 2 0 1 b\r\nEXEC\r\n"
                 "VSEARCH t VALUES 2 1 0\r\nCLIENT REPLY ON\r\nVCARD t\r\n", "+OK\r\n:2\r\n");
    raw_talk(fd, "CLIENT REPLY SKIP\r\nVSEARCH t VALUES 2 1 0\r\nECHO kept\r\n", "$4\r\nkept\r\n");
    raw_talk(fd, "CLIENT REPLY SKIP\r\nMULTI\r\nPING\r\nEXEC\r\n", "+QUEUED\r\n*1\r\n+PONG\r\n");
    raw_talk(fd, "CLIENT REPLY OFF\r\nHELLO 3\r\nPING\r\nCLIENT REPLY ON\r\nCLIENT GETNAME\r\n", "+OK\r\n_\r\n");
    raw_talk(fd, "CLIENT NO-EVICT ON\r\nCLIENT NO-EVICT MAYBE\r\n", "+OK\r\n-ERR syntax error\r\n");
    raw_talk(fd, "MULTI\r\nCLIENT NO-EVICT OFF\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    /* RESET is heard, and ends it; a broken protocol is not answered. */
    raw_talk(fd, "CLIENT REPLY OFF\r\nPING\r\nRESET\r\nPING\r\n", "+RESET\r\n+PONG\r\n");
    int broken = server_socket(s);
    raw_talk(broken, "PING\r\nCLIENT REPLY OFF\r\n*x\r\n", "+PONG\r\n");
    char rest;
    assert_int_equal(read(broken, &rest, 1), 0);
    close(broken);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "DEL t");
    reply_error(c, "ERR timeout is negative", "CLIENT PAUSE -1");
    reply_error(c, "ERR timeout is not an integer", "CLIENT PAUSE x");
    reply_status(c, "OK", "CLIENT PAUSE 60000 WRITE");
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    raw_puts(fd, "VADD k VALUES 1 1 a\r\n");
    reply_int(c, 0, "DBSIZE");
    reply_status(c, "OK", "CLIENT UNPAUSE");
    raw_expect(fd, ":1\r\n");
    reply_status(c, "OK", "CLIENT PAUSE 50 ALL");
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    close(fd);
    redisFree(c);
    server_stop(s);
}

static void test_config(void **state)
{
    (void)state;
    struct test_server *s = server_start_conf("# mine\nmaxclients 500\nslowlog-max-len 7\n", NULL);
    redisContext *c = server_connect(s);
    redisReply *r = reply_array(c, 2, "CONFIG GET maxclients");
    assert_string_equal(r->element[1]->str, "500");
    freeReplyObject(r);
    freeReplyObject(reply_array(c, 4, "CONFIG GET maxclients slowlog-max-len"));
    reply_status(c, "OK", "CONFIG SET maxclients 600 slowlog-max-len 8");
    reply_status(c, "OK", "CONFIG SET loop-budget-us 300 link-backlog-max 1000");
    reply_error(c, "ERR ", "CONFIG SET maxclients 700 slowlog-max-len x");
    reply_error(c, "ERR ", "CONFIG SET nosuch 1");
    reply_error(c, "ERR ", "CONFIG SET io-threads 4");
    reply_error(c, "ERR wrong number of arguments", "CONFIG SET maxclients");
    reply_status(c, "OK", "CONFIG REWRITE");
    reply_status(c, "OK", "CONFIG RESETSTAT");
    assert_true(reply_info(c, "stats", "total_commands_processed") <= 1);
    redisFree(c);
    server_restart(s, SIGTERM);
    c = server_connect(s);
    r = reply_array(c, 4, "CONFIG GET maxclients slowlog-max-len");
    assert_string_equal(r->element[1]->str, "600");
    freeReplyObject(r);
    /* Another port, and back; the old one stays while the new one cannot be had. */
    reply_error(c, "ERR CONFIG SET failed", "CONFIG SET bind 203.0.113.77");
    redisContext *d = server_connect(s);
    reply_status(d, "PONG", "PING");
    redisFree(d);
    redisFree(c);
    server_stop(s);
}

static void test_command(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    long long n = reply_get_int(c, "COMMAND COUNT");
    freeReplyObject(reply_array(c, (long)n, "COMMAND"));
    freeReplyObject(reply_array(c, (long)n, "COMMAND LIST"));
    /* Deeper than this client reads: redis-cli must. */
    tool(s, "redis-cli", "command docs");
    says("maxage");
    says("vsearch");
    redisReply *r = reply_array(c, 2, "COMMAND INFO vadd nosuch");
    assert_int_equal(r->element[0]->elements, 10);
    assert_string_equal(r->element[0]->element[0]->str, "vadd");
    assert_int_equal(r->element[1]->type, REDIS_REPLY_NIL);
    freeReplyObject(r);
    freeReplyObject(reply_array(c, 4, "COMMAND DOCS ping client|id nosuch"));
    redisFree(c);
    server_stop(s);
}

static void test_command_keys(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    redisReply *r = reply_array(c, 2, "COMMAND GETKEYS DEL a b");
    assert_string_equal(r->element[1]->str, "b");
    freeReplyObject(r);
    r = reply_array(c, 1, "COMMAND GETKEYSANDFLAGS VADD k VALUES 1 1 a");
    assert_string_equal(r->element[0]->element[0]->str, "k");
    assert_string_equal(r->element[0]->element[1]->element[0]->str, "RW");
    freeReplyObject(r);
    reply_error(c, "ERR Invalid command specified", "COMMAND GETKEYS nosuch");
    reply_error(c, "ERR The command has no key arguments", "COMMAND GETKEYS PING");
    reply_error(c, "ERR Invalid number of arguments", "COMMAND GETKEYS VADD");
    freeReplyObject(reply_array(c, 1, "COMMAND LIST FILTERBY PATTERN pin*"));
    freeReplyObject(reply_array(c, 0, "COMMAND LIST FILTERBY MODULE x"));
    reply_error(c, "ERR syntax error", "COMMAND LIST FILTERBY x");
    redisFree(c);
    server_stop(s);
}

static void test_info(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    static const char *const fields[] = {
        "redis_version:7.2.4",
        "vecstore_version:",
        "run_id:",
        "tcp_port:",
        "connected_clients:",
        "used_memory:",
        "loading:0",
        "total_commands_processed:",
        "instantaneous_ops_per_sec:",
        "loop_turn_max_us:",
        "role:master",
        "connected_slaves:0",
        "master_replid:",
        "used_cpu_user:",
        "# Modules",
        "cluster_enabled:0",
        "db0:keys=1,expires=0",
        "elements:1",
        "vectors_unlinked:",
        "memory_total:",
    };
    reply_int(c, 1, "VADD k VALUES 1 1 a");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        reply_contains(c, fields[i], "INFO");
    reply_error(c, "ERR unknown command", "NOSUCH");
    reply_contains(c, "errorstat_ERR:count=1", "INFO errorstats");
    reply_contains(c, "cmdstat_vadd:calls=1,usec=", "INFO commandstats");
    reply_contains(c, "latency_percentiles_usec_vadd:p50=", "INFO latencystats");
    reply_contains(c, "cmdstat_vadd", "INFO all");
    freeReplyObject(reply_array(c, 2, "TIME"));
    reply_status(c, "OK", "SELECT 1");
    reply_error(c, "ERR DB index is out of range", "SELECT 16");
    reply_error(c, "ERR value is not an integer", "SELECT x");
    redisFree(c);
    server_stop(s);
}

static void test_slowlog_latency_memory(void **state)
{
    (void)state;
    static const char *const args[] = {"--enable-debug-command",
                                       "yes",
                                       "--slowlog-log-slower-than",
                                       "0",
                                       "--latency-monitor-threshold",
                                       "5",
                                       NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_status(c, "OK", "SLOWLOG RESET");
    reply_status(c, "OK", "CLIENT SETNAME tester");
    char longer[300];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    freeReplyObject(reply_any(c, "ECHO %s", longer));
    redisReply *r = reply_array(c, 1, "SLOWLOG GET 1");
    assert_int_equal(r->element[0]->elements, 6);
    assert_string_equal(r->element[0]->element[3]->element[0]->str, "ECHO");
    assert_non_null(strstr(r->element[0]->element[3]->element[1]->str, "... (171 more bytes)"));
    assert_string_equal(r->element[0]->element[5]->str, "tester");
    freeReplyObject(r);
    assert_true(reply_get_int(c, "SLOWLOG LEN") >= 3);
    reply_error(c, "ERR count should be greater than or equal to -1", "SLOWLOG GET -2");
    reply_status(c, "OK", "DEBUG SLEEP 0.02");
    r = reply_array(c, -1, "LATENCY LATEST");
    assert_true(r->elements >= 1);
    assert_string_equal(r->element[0]->element[0]->str, "command");
    freeReplyObject(r);
    freeReplyObject(reply_array(c, 1, "LATENCY HISTORY command"));
    reply_contains(c, "command - high", "LATENCY GRAPH command");
    reply_error(c, "ERR No samples available for event 'x'", "LATENCY GRAPH x");
    reply_contains(c, "command", "LATENCY DOCTOR");
    r = reply_array(c, 2, "LATENCY HISTOGRAM echo");
    assert_string_equal(r->element[0]->str, "echo");
    freeReplyObject(r);
    assert_true(reply_get_int(c, "LATENCY RESET") >= 1);
    reply_int(c, 1, "VADD k VALUES 2 1 2 a");
    assert_true(reply_get_int(c, "MEMORY USAGE k") > 0);
    assert_true(reply_get_int(c, "MEMORY USAGE k SAMPLES 5") > 0);
    reply_null(c, "MEMORY USAGE nosuch");
    reply_error(c, "ERR syntax error", "MEMORY USAGE k x");
    freeReplyObject(reply_array(c, -1, "MEMORY STATS"));
    reply_contains(c, "allocator", "MEMORY MALLOC-STATS");
    reply_status(c, "OK", "MEMORY PURGE");
    freeReplyObject(reply_any(c, "MEMORY DOCTOR"));
    reply_int(c, 1, "DEBUG STRINGMATCH-LEN 100 a*a");
    redisFree(c);
    server_stop(s);
}

static void test_monitor(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    int fd = server_socket(s);
    char line[4096];
    raw_talk(fd, "MONITOR\r\n", "+OK\r\n");
    redisContext *c = server_connect(s);
    freeReplyObject(reply_any(c, "ECHO %b", "a\"\n\x01", (size_t)4));
    raw_line(fd, line, sizeof(line));
    assert_non_null(strstr(line, "[0 127.0.0.1:"));
    assert_non_null(strstr(line, "] \"ECHO\" \"a\\\"\\n\\x01\""));
    freeReplyObject(reply_any(c, "AUTH hidden"));
    raw_line(fd, line, sizeof(line));
    assert_null(strstr(line, "hidden"));
    assert_non_null(strstr(line, "\"AUTH\" \"(redacted)\""));
    redisFree(c);
    close(fd);
    server_stop(s);
}

static void test_debug_guard(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    reply_error(c, "ERR DEBUG command not allowed", "DEBUG SLEEP 0");
    reply_error(c, "ERR DEBUG command not allowed", "DEBUG SEGFAULT");
    reply_error(c, "ERR", "CONFIG SET enable-debug-command yes");
    redisFree(c);
    server_stop(s);
    static const char *const local[] = {"--enable-debug-command", "local", NULL};
    s = server_start(local);
    c = server_connect(s);
    reply_status(c, "OK", "DEBUG SLEEP 0");
    redisFree(c);
    server_stop(s);
}

static void crash(const char *command, const char *reason)
{
    static const char *const args[] = {"--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    assert_null(redisCommand(c, command));
    server_wait_output(s, reason, 10000);
    server_wait_output(s, "command under way on the loop: ", 10000);
    server_wait_output(s, "END OF CRASH REPORT", 10000);
    assert_int_equal(server_wait_exit(s, 10000), -1);
    redisFree(c);
    server_kill(s);
}

static void test_crash_report(void **state)
{
    (void)state;
    crash("DEBUG SEGFAULT", "crashed by signal SIGSEGV (11)");
    crash("DEBUG PANIC", "crashed by signal SIGABRT (6)");
}

static void test_shutdown(void **state)
{
    (void)state;
    static const char *const words[] = {"SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE NOW FORCE"};
    for (size_t i = 0; i < 3; i++) {
        struct test_server *s = server_start(NULL);
        redisContext *c = server_connect(s);
        reply_error(c, "ERR syntax error", "SHUTDOWN x");
        reply_error(c, "ERR No shutdown in progress.", "SHUTDOWN ABORT");
        assert_null(redisCommand(c, words[i]));
        assert_int_equal(server_wait_exit(s, 10000), 0);
        redisFree(c);
        server_stop(s);
    }
}

/* SIGTERM while clients search and write: it ends by itself, cleanly. */
static void test_sigterm_under_load(void **state)
{
    (void)state;
    static const char *const args[] = {
        "--pidfile", "s.pid", "--unixsocket", "s.sock", "--io-threads", "2", NULL};
    struct test_server *s = server_start(args);
    char path[512];
    snprintf(path, sizeof(path), "%s/s.pid", server_dir(s));
    assert_int_equal(access(path, F_OK), 0);
    int fd[8];
    for (int i = 0; i < 8; i++) {
        fd[i] = server_socket(s);
        for (int k = 0; k < 200; k++) {
            char text[128];
            snprintf(text, sizeof(text),
                     "VADD k VALUES 2 %d %d e%d-%d\r\nVSEARCH k VALUES 2 1 %d\r\n", i, k, i, k, k);
            raw_puts(fd[i], text);
        }
    }
    /* Limits that io-threads read change meanwhile. */
    redisContext *c = server_connect(s);
    reply_status(c, "OK", "CONFIG SET proto-max-bulk-len 256mb client-query-buffer-limit 512mb");
    reply_status(c, "OK", "CONFIG SET requirepass x");
    redisFree(c);
    kill(server_pid(s), SIGTERM);
    assert_int_equal(server_wait_exit(s, 20000), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof(path), "%s/s.sock", server_dir(s));
    assert_int_not_equal(access(path, F_OK), 0);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
    server_stop(s);
}

static void test_bad_start(void **state)
{
    (void)state;
    static const char *const bad_setting[] = {"--no-such-setting", "1", NULL},
                             *const bad_bind[] = {"--bind", "203.0.113.77", "--port", "7998", NULL},
                             *const version[] = {"--version", NULL},
                             *const dump[] = {"--dump-default-config", NULL};
    char *text;
    assert_int_not_equal(server_run(bad_setting, 10000, &text), 0);
    free(text);
    assert_int_equal(server_run(bad_bind, 10000, &text), 1);
    assert_non_null(strstr(text, "cannot listen on 203.0.113.77:7998"));
    free(text);
    assert_int_equal(server_run(version, 10000, &text), 0);
    assert_non_null(strstr(text, "VecStore server v="));
    free(text);
    assert_int_equal(server_run(dump, 10000, &text), 0);
    assert_non_null(strstr(text, "maxclients"));
    free(text);
}

static void test_tools(const char *const *args)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    for (int i = 0; i < 50; i++)
        reply_int(c, 1, "VADD k%d VALUES 2 1 %d e%d", i % 5, i, i);
    redisFree(c);
    tool(s, "redis-cli", "ping");
    says("PONG");
    tool(s, "redis-cli", "command docs vsearch");
    says("summary");
    tool(s, "redis-cli", "--bigkeys");
    says("-------- summary -------");
    tool(s, "redis-cli", "--memkeys");
    says("-------- summary -------");
    tool(s, "stdbuf -oL timeout 1 redis-cli", "--stat");
    says("keys");
    tool(s, "redis-benchmark", "-t ping -n 20000 -c 30 -q");
    says("PING_MBULK: ");
    tool(s, "redis-benchmark", "-n 2000 -c 10 -P 8 -q VSEARCH k0 VALUES 2 1 1 K 3");
    says("requests per second");
    server_stop(s);
}

static void test_redis_tools(void **state)
{
    (void)state;
    test_tools(NULL);
}

static void test_redis_tools_io_threads(void **state)
{
    (void)state;
    static const char *const args[] = {"--io-threads", "4", NULL};
    test_tools(args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_client_reply_and_pause),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_keys),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_slowlog_latency_memory),
        cmocka_unit_test(test_monitor),
        cmocka_unit_test(test_debug_guard),
        cmocka_unit_test(test_crash_report),
        cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_sigterm_under_load),
        cmocka_unit_test(test_bad_start),
        cmocka_unit_test(test_redis_tools),
        cmocka_unit_test(test_redis_tools_io_threads),
    };
    return cmocka_run_group_tests_name("server_admin", tests, NULL, NULL);
}
