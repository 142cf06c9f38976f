/* The harness itself, on whatever server VECSTORE_SERVER names: starting, talking, stopping, killing, restarting. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"

static void test_ping(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    reply_status(c, "PONG", "PING");
    reply_bulk(c, "hello", "PING %s", "hello");
    reply_bulk(c, "a\nb", "ECHO %s", "a\nb");
    reply_error(c, "ERR unknown command", "NOSUCHCOMMAND");
    assert_true(reply_info(c, "server", "tcp_port") == server_port(s));
    redisFree(c);
    server_stop(s);
}

static void test_raw_bytes(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    int fd = server_socket(s);
    char line[64];
    raw_talk(fd, "PING\r\n", "+PONG\r\n");
    raw_talk(fd, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    raw_puts(fd, "*1\r\n$x\r\n");
    raw_line(fd, line, sizeof line);
    assert_string_equal(line, "-ERR Protocol error: invalid bulk length");
    raw_expect_closed(fd);
    close(fd);
    server_stop(s);
}

static void test_unix_socket_alone(void **state)
{
    (void)state;
    static const char *const args[] = {"--port", "0", "--unixsocket", "v.sock", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    reply_status(c, "PONG", "PING");
    redisFree(c);
    server_stop(s);
}

static void test_password_from_file(void **state)
{
    (void)state;
    struct test_server *s = server_start_conf("requirepass secret\n", NULL);
    redisContext *c = server_connect(s);
    reply_error(c, "NOAUTH", "PING");
    reply_status(c, "OK", "AUTH secret");
    reply_status(c, "PONG", "PING");
    redisFree(c);
    server_stop(s);
}

static void test_restart_and_kill(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    int port = server_port(s);
    server_restart(s, SIGTERM);
    server_restart(s, SIGKILL);
    assert_int_equal(server_port(s), port);
    redisContext *c = server_connect(s);
    reply_status(c, "PONG", "PING");
    redisFree(c);
    server_kill(s);
}

static void test_start_refused(void **state)
{
    (void)state;
    static const char *const args[] = {"--port", "123456", NULL};
    char *output;
    assert_int_equal(server_run(args, 20000, &output), 1);
    assert_non_null(strstr(output, "port"));
    free(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_raw_bytes),
        cmocka_unit_test(test_unix_socket_alone),
        cmocka_unit_test(test_password_from_file),
        cmocka_unit_test(test_restart_and_kill),
        cmocka_unit_test(test_start_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
