/* The protocol and what a client may do to the server: inline and pipelined commands, order of
 * replies, RESP3, authentication, and
 * the limits on what an ill-behaved client can hold. run: beside */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

static void test_inline_and_split(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    int fd = server_socket(s);
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    raw_talk(fd, "echo \"a\\x41b\"\n", "$3\r\naAb\r\n");
    raw_talk(fd, "\r\n\r\nPING\r\n", "+PONG\r\n");
    raw_talk(fd, "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPING\r\n",
             "+PONG\r\n$2\r\nhi\r\n+PONG\r\n");
    /* One byte a write. */
    const char *text = "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n";
    for (const char *p = text; *p; p++)
        raw_send(fd, p, 1);
    raw_expect(fd, "$5\r\nhello\r\n");
    raw_talk(fd, "ECHO \"open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n");
    raw_expect_closed(fd);
    close(fd);
    server_stop(s);
}

static void protocol_error(struct test_server *s, const char *send, const char *expected)
{
    int fd = server_socket(s);
    raw_talk(fd, send, expected);
    raw_expect_closed(fd);
    close(fd);
}

static void test_protocol_errors(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    protocol_error(s, "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    protocol_error(s, "*1000000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n");
    protocol_error(s, "*1\r\n!4\r\n", "-ERR Protocol error: expected '$', got '!'\r\n");
    protocol_error(s, "*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    protocol_error(s, "*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n");
    /* The replies of what came before leave first. */
    protocol_error(s, "PING\r\n*1\r\n!\r\n",
                   "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    /* A web page in somebody's browser. */
    int fd = server_socket(s);
    raw_puts(fd, "POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n");
    raw_expect_closed(fd);
    close(fd);
    fd = server_socket(s);
    raw_talk(fd, "nosuch a b\r\n",
             "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n");
    raw_talk(fd, "client nosuch\r\n", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n");
    raw_talk(fd, "echo\r\n", "-ERR wrong number of arguments for 'echo' command\r\n");
    raw_talk(fd, "client id x\r\n", "-ERR wrong number of arguments for 'client|id' command\r\n");
    raw_talk(fd, "ping a b\r\n", "-ERR wrong number of arguments for 'ping' command\r\n");
    close(fd);
    server_stop(s);
}

static void test_resp3(void **state)
{
    (void)state;
    static const char *const args[] = {"--enable-debug-command", "yes", NULL};
    struct test_server *s = server_start(args);
    int fd = server_socket(s);
    char line[256];
    raw_talk(fd, "HELLO 4\r\n", "-NOPROTO unsupported protocol version\r\n");
    raw_talk(fd, "HELLO x\r\n", "-ERR Protocol version is not an integer or out of range\r\n");
    raw_talk(fd, "HELLO 3 SETNAME me\r\n",
             "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:"
             "3\r\n$2\r\nid\r\n");
    raw_line(fd, line, sizeof(line));
    raw_expect(
        fd,
        "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
    raw_talk(fd, "CLIENT GETNAME\r\n", "$2\r\nme\r\n");
    raw_talk(fd, "CLIENT SETNAME \"\"\r\n", "+OK\r\n");
    raw_talk(fd, "CLIENT GETNAME\r\n", "_\r\n");
    raw_talk(fd, "DEBUG PROTOCOL map\r\n", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n");
    raw_talk(fd, "DEBUG PROTOCOL double\r\n", ",3.141\r\n");
    raw_talk(fd, "DEBUG PROTOCOL verbatim\r\n", "=29\r\ntxt:This is a verbatim\nstring\r\n");
    raw_talk(fd, "CONFIG GET port-nothing\r\n", "%0\r\n");
    raw_talk(fd, "RESET\r\n", "+RESET\r\n");
    raw_talk(fd, "DEBUG PROTOCOL map\r\n", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n");
    raw_talk(fd, "DEBUG PROTOCOL null\r\n", "$-1\r\n");
    raw_talk(fd, "QUIT\r\n", "+OK\r\n");
    raw_expect_closed(fd);
    close(fd);
    server_stop(s);
}

/* Searches are answered by workers, PING at once: the replies still come in the order of the
 * commands. */
static void order_of_replies(const char *const *args)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD k VALUES 2 1 0 a");
    reply_int(c, 1, "VADD k VALUES 2 0 1 b");
    enum { ROUNDS = 300 };
    for (int i = 0; i < ROUNDS; i++) {
        redisAppendCommand(c, "VSEARCH k VALUES 2 1 0.%d K 1", i % 10);
        redisAppendCommand(c, "ECHO %d", i);
        redisAppendCommand(c, "VSEARCH k VALUES 2 0.%d 1 K 1", i % 10);
        redisAppendCommand(c, "VSEARCH k VALUES 3 1 2 3");
    }
    for (int i = 0; i < ROUNDS; i++) {
        redisReply *r;
        char text[16];
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_string_equal(r->element[0]->str, "a");
        freeReplyObject(r);
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        snprintf(text, sizeof(text), "%d", i);
        assert_string_equal(r->str, text);
        freeReplyObject(r);
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_string_equal(r->element[0]->str, "b");
        freeReplyObject(r);
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_ERROR);
        freeReplyObject(r);
    }
    /* Clients that leave with searches under way. */
    for (int i = 0; i < 20; i++) {
        int fd = server_socket(s);
        for (int k = 0; k < 20; k++)
            raw_puts(fd, "VSEARCH k VALUES 2 1 1\r\n");
        close(fd);
    }
    reply_status(c, "PONG", "PING");
    redisFree(c);
    server_stop(s);
}

static void test_order(void **state)
{
    (void)state;
    static const char *const args[] = {"--search-threads", "2", NULL};
    order_of_replies(args);
}

static void test_order_io_threads(void **state)
{
    (void)state;
    static const char *const args[] = {"--search-threads", "2", "--io-threads", "4", NULL};
    order_of_replies(args);
}

static void test_large_values(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    size_t len = (size_t)24 << 20;
    char *text = malloc(len);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i * 2654435761u >> 13);
    for (int round = 0; round < 2; round++) {
        redisReply *r = redisCommand(c, "ECHO %b", text, len);
        assert_non_null(r);
        assert_int_equal(r->len, len);
        assert_memory_equal(r->str, text, len);
        freeReplyObject(r);
    }
    free(text);
    redisFree(c);
    server_stop(s);
}

/* A reply that comes later, and is long, and the last of its turn, is written by an io-thread, too. */
static void test_long_replies_io_threads(void **state)
{
    (void)state;
    static const char *const args[] = {"--io-threads", "3", NULL};
    enum { N = 4000 };
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    for (int i = 0; i < N; i++)
        redisAppendCommand(c, "VADD k VALUES 2 %d 1 an_element_%d EF 10 M 4", i % 61 - 30, i);
    for (int i = 0; i < N; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    for (int n = 100; n <= N; n *= 2) {
        freeReplyObject(reply_array(c, n, "VSIM k VALUES 2 1 1 COUNT %d EF 10", n));
        freeReplyObject(reply_array(c, n, "VRANGE k - + %d", n));
        freeReplyObject(reply_array(c, n, "VRANDMEMBER k %d", n));
    }
    redisReply *r = reply_any(c, "DUMP k");
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    assert_true(r->len > 100000);
    freeReplyObject(r);
    redisFree(c);
    server_stop(s);
}

static void test_auth(void **state)
{
    (void)state;
    static const char *const args[] = {"--requirepass", "secret", NULL};
    struct test_server *s = server_start(args);
    int fd = server_socket(s);
    raw_talk(fd, "PING\r\n", "-NOAUTH Authentication required.\r\n");
    raw_talk(fd, "NOSUCH\r\n", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
    raw_talk(fd, "AUTH wrong\r\n",
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    raw_talk(fd, "AUTH secre\r\n",
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    raw_talk(fd, "AUTH secretsecret\r\n",
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    raw_talk(fd, "AUTH other secret\r\n",
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    raw_talk(fd, "HELLO 3 AUTH default wrong\r\n",
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    raw_talk(fd, "PING\r\n", "-NOAUTH Authentication required.\r\n");
    raw_talk(fd, "AUTH default secret\r\n", "+OK\r\n");
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    raw_talk(fd, "RESET\r\n", "+RESET\r\n");
    raw_talk(fd, "PING\r\n", "-NOAUTH Authentication required.\r\n");
    raw_talk(fd, "AUTH secret\r\nCONFIG SET requirepass \"\"\r\nRESET\r\nPING\r\n",
             "+OK\r\n+OK\r\n+RESET\r\n+PONG\r\n");
    raw_talk(fd, "CONFIG SET requirepass again\r\n", "+OK\r\n");
    close(fd);
    /* What somebody without a password may send is small. */
    fd = server_socket(s);
    raw_talk(fd, "*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n");
    raw_expect_closed(fd);
    close(fd);
    fd = server_socket(s);
    raw_talk(fd, "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
             "-ERR Protocol error: unauthenticated bulk length\r\n");
    raw_expect_closed(fd);
    close(fd);
    fd = server_socket(s);
    raw_talk(fd, "AUTH again\r\nCONFIG SET requirepass secret\r\n", "+OK\r\n+OK\r\n");
    close(fd);
    server_stop(s);
}

static void test_maxclients(void **state)
{
    (void)state;
    static const char *const args[] = {"--maxclients", "3", NULL};
    struct test_server *s = server_start(args);
    int fd[4];
    /* The connection that server_start asked on may still be closing. */
    redisContext *c = server_connect(s);
    int64_t end = wait_now_ms() + 10000;
    while (reply_info(c, "clients", "connected_clients") > 1 && wait_now_ms() < end)
        ;
    for (int i = 0; i < 2; i++) {
        fd[i] = server_socket(s);
        raw_talk(fd[i], "PING\r\n", "+PONG\r\n");
    }
    fd[2] = server_socket(s);
    raw_expect(fd[2], "-ERR max number of clients reached\r\n");
    raw_expect_closed(fd[2]);
    close(fd[2]);
    close(fd[0]);
    end = wait_now_ms() + 10000;
    while (reply_info(c, "clients", "connected_clients") > 2 && wait_now_ms() < end)
        ;
    fd[0] = server_socket(s);
    raw_talk(fd[0], "PING\r\n", "+PONG\r\n");
    assert_true(reply_info(c, "stats", "rejected_connections") >= 1);
    close(fd[0]);
    close(fd[1]);
    redisFree(c);
    server_stop(s);
}

static void test_idle_timeout(void **state)
{
    (void)state;
    static const char *const args[] = {"--timeout", "1", NULL};
    struct test_server *s = server_start(args);
    int fd = server_socket(s);
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    raw_expect_closed(fd);
    close(fd);
    server_stop(s);
}

static void test_query_buffer_limit(void **state)
{
    (void)state;
    static const char *const args[] = {"--client-query-buffer-limit", "1mb", NULL};
    struct test_server *s = server_start(args);
    int fd = server_socket(s);
    raw_puts(fd, "*2\r\n$4\r\nECHO\r\n$4194304\r\n");
    char *block = calloc(1, 65536);
    /* It is closed while we still send. */
    for (int i = 0; i < 64; i++)
        if (send(fd, block, 65536, MSG_NOSIGNAL) < 0)
            break;
    free(block);
    server_wait_output(s, "max query buffer", 10000);
    close(fd);
    redisContext *c = server_connect(s);
    assert_int_equal((int)reply_info(c, "stats", "client_query_buffer_limit_disconnections"), 1);
    redisFree(c);
    server_stop(s);
}

/* A header that promises much and then silence: only what has arrived is held. */
static void test_half_command(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    double before = reply_info(c, "memory", "mem_clients_normal");
    int fd[50];
    for (int i = 0; i < 50; i++) {
        fd[i] = server_socket(s);
        raw_puts(fd[i], "*3\r\n$4\r\nVADD\r\n$536870912\r\nhalf");
    }
    int64_t end = wait_now_ms() + 10000;
    while (reply_info(c, "clients", "connected_clients") < 51 && wait_now_ms() < end)
        ;
    double after = reply_info(c, "memory", "mem_clients_normal");
    assert_true(after - before < 50 * 320 * 1024);
    for (int i = 0; i < 50; i++)
        close(fd[i]);
    end = wait_now_ms() + 10000;
    while (reply_info(c, "clients", "connected_clients") > 1 && wait_now_ms() < end)
        ;
    assert_true(reply_info(c, "memory", "mem_clients_normal") <= before + 65536);
    redisFree(c);
    server_stop(s);
}

/* A client that sends and never reads is closed at the hard limit, and without one its commands
 * wait. */
static void never_reads(const char *const *args, bool limited)
{
    struct test_server *s = server_start(args);
    int fd = server_socket(s), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    char head[64];
    size_t len = 1 << 20;
    char *blob = calloc(1, len);
    snprintf(head, sizeof(head), "*2\r\n$4\r\nECHO\r\n$%zu\r\n", len);
    size_t sent = 0;
    struct timeval wait = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    /* Until the server takes no more, or has closed. */
    bool stuck = false;
    for (int i = 0; i < 300 && !stuck; i++) {
        if (send(fd, head, strlen(head), MSG_NOSIGNAL) < 0)
            break;
        for (size_t at = 0; at < len && !stuck;) {
            ssize_t n = send(fd, blob + at, len - at, MSG_NOSIGNAL);
            stuck = n <= 0;
            at += n > 0 ? (size_t)n : 0;
        }
        if (!stuck && send(fd, "\r\n", 2, MSG_NOSIGNAL) < 0)
            break;
        sent += len;
    }
    free(blob);
    redisContext *c = server_connect(s);
    if (limited) {
        server_wait_output(s, "output buffer limit", 10000);
        assert_true(reply_info(c, "stats", "client_output_buffer_limit_disconnections") >= 1);
    } else {
        assert_true(stuck);
        assert_true(sent < (size_t)200 << 20);
        assert_true(reply_info(c, "memory", "mem_clients_normal") < 100e6);
    }
    reply_status(c, "PONG", "PING");
    close(fd);
    redisFree(c);
    server_stop(s);
}

static void test_never_reads(void **state)
{
    (void)state;
    static const char *const args[] = {"--client-output-buffer-limit", "normal 8mb 0 0", NULL};
    never_reads(args, true);
    never_reads(NULL, false);
}

static void test_never_reads_io_threads(void **state)
{
    (void)state;
    static const char *const args[] = {"--io-threads", "3", "--client-output-buffer-limit",
                                       "normal 8mb 0 0", NULL};
    static const char *const no_limit[] = {"--io-threads", "3", NULL};
    never_reads(args, true);
    never_reads(no_limit, false);
}

static void test_unix_socket(void **state)
{
    (void)state;
    static const char *const args[] = {"--port", "0", "--unixsocket", "s.sock", "--unixsocketperm",
                                       "700",    NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_status(c, "PONG", "PING");
    reply_contains(c, "s.sock:0", "CLIENT INFO");
    reply_contains(c, "flags=U", "CLIENT INFO");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline_and_split),
        cmocka_unit_test(test_protocol_errors),
        cmocka_unit_test(test_resp3),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_io_threads),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_long_replies_io_threads),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_maxclients),
        cmocka_unit_test(test_idle_timeout),
        cmocka_unit_test(test_query_buffer_limit),
        cmocka_unit_test(test_half_command),
        cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_never_reads_io_threads),
        cmocka_unit_test(test_unix_socket),
    };
    return cmocka_run_group_tests_name("server_protocol", tests, NULL, NULL);
}
