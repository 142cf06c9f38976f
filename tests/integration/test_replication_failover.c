/* FAILOVER that does not go smoothly: a replica that is behind and forced, one that hangs, an operator who changes his
 * mind, an answer that is lost. test_failover in test_replication.c is the smooth one. run: beside */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/proxy.h"
#include "repl/wire.h"

struct two {
    struct test_server *server[2];
    redisContext *c[2];
};

static struct two start(void)
{
    struct two x;
    for (int i = 0; i < 2; i++) {
        x.server[i] = server_start(NULL);
        x.c[i] = server_connect(x.server[i]);
    }
    repl_write(x.c[0], 7, 0, 200);
    return x;
}

static void stop(struct two *x)
{
    for (int i = 1; i >= 0; i--) {
        redisFree(x->c[i]);
        server_stop(x->server[i]);
    }
}

static void set_hanging(struct test_server *s, bool hangs)
{
    kill(server_pid(s), hangs ? SIGSTOP : SIGCONT);
}

/* What the replica has not got when time is up is given up; both nodes hold the same afterwards. */
static void test_force(void **state)
{
    (void)state;
    struct two x = start();
    struct proxy *net = proxy_start(server_port(x.server[0]));
    int to = server_port(x.server[1]);
    reply_status(x.c[1], "OK", "REPLICAOF 127.0.0.1 %d", proxy_port(net));
    repl_wait_line(x.c[1], "master_link_status", "up");
    repl_same(x.c[0], x.c[1]);
    proxy_hold(net, true);
    reply_int(x.c[0], 1, "VADD behind VALUES 2 1 1 a");
    reply_error(x.c[0], "ERR FAILOVER with force option requires both", "FAILOVER TO 127.0.0.1 %d FORCE", to);
    reply_error(x.c[0], "ERR FAILOVER with force option requires both", "FAILOVER FORCE TIMEOUT 100");
    reply_error(x.c[0], "ERR FAILOVER timeout must be greater than 0", "FAILOVER TIMEOUT 0");
    reply_error(x.c[0], "ERR syntax error", "FAILOVER ABORT TIMEOUT 100");
    reply_status(x.c[0], "OK", "FAILOVER TO 127.0.0.1 %d FORCE TIMEOUT 200", to);
    reply_contains(x.c[0], "master_failover_state:waiting-for-sync", "INFO replication");
    /* It waits, and learns who takes it no more. */
    int writer = server_socket(x.server[0]);
    raw_puts(writer, "VADD behind VALUES 2 1 2 b\r\n");
    raw_expect(writer, "-READONLY");
    close(writer);
    repl_wait_line(x.c[1], "role", "master");
    repl_wait_line(x.c[0], "role", "slave");
    repl_wait_line(x.c[0], "master_link_status", "up");
    reply_contains(x.c[0], "master_failover_state:no-failover", "INFO replication");
    repl_same(x.c[1], x.c[0]);
    reply_int(x.c[0], 0, "EXISTS behind");
    reply_int(x.c[1], 1, "VADD behind VALUES 2 1 1 c");
    repl_same(x.c[1], x.c[0]);
    assert_true(reply_info(x.c[0], "replication", "discarded_records") == 1);
    proxy_stop(net);
    stop(&x);
}

/* Whatever ends it: this node is the primary, takes writes, and the other follows. */
static void check_back(struct two *x, const char *id)
{
    repl_wait_line(x->c[0], "master_failover_state", "no-failover");
    reply_contains(x->c[0], "role:master", "INFO replication");
    reply_int(x->c[0], 1, "VADD w VALUES 2 1 2 %s", id);
    set_hanging(x->server[1], false);
    repl_same(x->c[0], x->c[1]);
    reply_contains(x->c[1], "role:slave", "INFO replication");
}

/* Until the replica has been asked, nothing has happened: writes go on here. It is asked through a net that is gone. */
static void test_back(void **state)
{
    (void)state;
    struct two x = start();
    struct proxy *net = proxy_start(server_port(x.server[1]));
    int to = proxy_port(net);
    proxy_hold(net, true);
    reply_status(x.c[1], "OK", "CONFIG SET replica-announce-port %d", to);
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    /* It has not got everything. */
    set_hanging(x.server[1], true);
    reply_int(x.c[0], 1, "VADD w VALUES 2 1 1 a");
    reply_status(x.c[0], "OK", "FAILOVER");
    reply_error(x.c[0], "ERR FAILOVER already in progress.", "FAILOVER TO 127.0.0.1 %d", to);
    int writer = server_socket(x.server[0]);
    raw_puts(writer, "VADD w VALUES 2 1 2 b\r\n");
    reply_contains(x.c[0], "master_failover_state:waiting-for-sync", "INFO replication");
    reply_status(x.c[0], "OK", "FAILOVER ABORT");
    raw_expect(writer, ":1\r\n");
    close(writer);
    reply_error(x.c[0], "ERR No failover in progress.", "FAILOVER ABORT");
    check_back(&x, "c");
    /* It has, but cannot be asked. */
    reply_status(x.c[0], "OK", "FAILOVER TO 127.0.0.1 %d", to);
    repl_wait_line(x.c[0], "master_failover_state", "failover-in-progress");
    reply_contains(x.c[0], "role:slave", "INFO replication");
    reply_status(x.c[0], "OK", "FAILOVER ABORT");
    check_back(&x, "d");
    reply_status(x.c[0], "OK", "FAILOVER TO 127.0.0.1 %d TIMEOUT 200", to);
    check_back(&x, "e");
    /* Neither; it has as much time again to be asked. */
    set_hanging(x.server[1], true);
    reply_int(x.c[0], 1, "VADD w VALUES 2 1 2 f");
    reply_status(x.c[0], "OK", "FAILOVER TO 127.0.0.1 %d FORCE TIMEOUT 200", to);
    check_back(&x, "g");
    assert_true(reply_info(x.c[0], "replication", "sync_full") == 1);
    proxy_stop(net);
    stop(&x);
}

static void ask(const struct test_server *s, const char *id, uint64_t offset, const char *expected)
{
    char line[256];
    int fd = server_socket(s);
    raw_talk(fd, "REPLCONF capa eof capa psync2 capa " WIRE_CAPA "\r\n", "+OK\r\n");
    snprintf(line, sizeof(line), "PSYNC %s %llu FAILOVER\r\n", id, (unsigned long long)offset + 1);
    raw_talk(fd, line, expected);
    close(fd);
}

/* The primary asks again when the answer did not come; a stranger is refused. */
static void test_asked_twice(void **state)
{
    (void)state;
    struct two x = start();
    static const char *const other = "0123456789012345678901234567890123456789";
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    char *id = repl_line(x.c[0], "master_replid");
    uint64_t offset = (uint64_t)reply_info(x.c[0], "replication", "master_repl_offset");
    ask(x.server[0], id, offset, "-ERR PSYNC FAILOVER replid must match my replid.");
    ask(x.server[1], other, offset, "-ERR PSYNC FAILOVER replid must match my replid.");
    reply_contains(x.c[1], "role:slave", "INFO replication");
    ask(x.server[1], id, offset, "+CONTINUE ");
    reply_contains(x.c[1], "role:master", "INFO replication");
    ask(x.server[1], id, offset, "+CONTINUE ");
    ask(x.server[1], other, offset, "-ERR PSYNC FAILOVER replid must match my replid.");
    reply_contains(x.c[1], "role:master", "INFO replication");
    free(id);
    stop(&x);
}

/* The connection breaks when the replica is the primary and has said so: the question comes again, however late. */
static void test_lost_answer(void **state)
{
    (void)state;
    struct two x = start();
    struct proxy *net = proxy_start(server_port(x.server[1]));
    reply_status(x.c[1], "OK", "CONFIG SET replica-announce-port %d", proxy_port(net));
    repl_follow(x.c[1], x.server[0]);
    repl_same(x.c[0], x.c[1]);
    proxy_cut_after(net, strlen("+PONG\r\n+OK\r\n+OK\r\n+CON"), 1);
    reply_status(x.c[0], "OK", "FAILOVER TO 127.0.0.1 %d TIMEOUT 500", proxy_port(net));
    repl_wait_line(x.c[0], "master_failover_state", "no-failover");
    assert_int_equal(proxy_cuts(net), 1);
    repl_wait_line(x.c[0], "role", "slave");
    repl_wait_line(x.c[1], "role", "master");
    reply_int(x.c[1], 1, "VADD w VALUES 2 1 2 b");
    repl_same(x.c[1], x.c[0]);
    assert_true(reply_info(x.c[1], "replication", "sync_full") == 0);
    proxy_stop(net);
    stop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_force),
        cmocka_unit_test(test_back),
        cmocka_unit_test(test_asked_twice),
        cmocka_unit_test(test_lost_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
