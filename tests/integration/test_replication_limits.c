/* What bounds replication, and what ends it: backlog, buffers, silence, lag; and primaries that say what cannot be. run: beside */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/raw.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"
#include "repl/wire.h"

struct two {
    struct test_server *primary, *replica;
    redisContext *p, *r;
};

static struct two start(void)
{
    struct two x = {server_start(NULL), server_start(NULL), NULL, NULL};
    x.p = server_connect(x.primary);
    x.r = server_connect(x.replica);
    repl_write(x.p, 41, 0, 500);
    repl_follow(x.r, x.primary);
    repl_same(x.p, x.r);
    return x;
}

static void stop(struct two *x)
{
    redisFree(x->p);
    redisFree(x->r);
    server_stop(x->replica);
    server_stop(x->primary);
}

static int number(redisContext *c, const char *field)
{
    return (int)reply_info(c, "replication", field);
}

static void settings(redisContext *c, const char *name, const char *value)
{
    redisReply *r = redisCommand(c, "CONFIG SET %s %s", name, value);
    assert_non_null(r);
    assert_string_equal(r->str, "OK");
    freeReplyObject(r);
}

/* One that has left its primary for nobody comes back: the backlog's size and age decide how. */
static void test_backlog(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.p, "repl-backlog-size", "200000");
    freeReplyObject(reply_any(x.r, "REPLICAOF 127.0.0.1 1"));
    repl_write(x.p, 41, 500, 700);
    repl_follow(x.r, x.primary);
    repl_same(x.p, x.r);
    assert_int_equal(number(x.p, "sync_full"), 1);
    assert_int_equal(number(x.p, "sync_partial_ok"), 1);
    freeReplyObject(reply_any(x.r, "REPLICAOF 127.0.0.1 1"));
    for (unsigned at = 700; number(x.p, "repl_backlog_histlen") >= number(x.p, "master_repl_offset") - 1 && at < 20000; at += 300)
        repl_write(x.p, 41, at, at + 300);
    assert_true(number(x.p, "repl_backlog_histlen") < 400000);
    repl_follow(x.r, x.primary);
    repl_same(x.p, x.r);
    assert_int_equal(number(x.p, "sync_full"), 2);
    /* By age: the last block stays. */
    settings(x.p, "repl-backlog-size", "100mb");
    settings(x.p, "repl-backlog-seconds", "1");
    freeReplyObject(reply_any(x.r, "REPLICAOF 127.0.0.1 1"));
    int before = number(x.p, "master_repl_offset");
    int64_t until = wait_now_ms() + 30000;
    for (unsigned at = 30000; number(x.p, "repl_backlog_first_byte_offset") <= before + 1; at += 20) {
        assert_true(wait_now_ms() < until);
        repl_write(x.p, 41, at, at + 20);
    }
    repl_follow(x.r, x.primary);
    repl_same(x.p, x.r);
    assert_int_equal(number(x.p, "sync_full"), 3);
    stop(&x);
}

static void test_stale(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.r, "replica-serve-stale-data", "no");
    reply_int(x.r, reply_get_int(x.p, "DBSIZE"), "DBSIZE");
    server_end(x.primary, SIGTERM);
    repl_wait_line(x.r, "master_link_status", "down");
    reply_error(x.r, "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "DBSIZE");
    reply_contains(x.r, "role:slave", "INFO replication");
    settings(x.r, "replica-serve-stale-data", "yes");
    assert_true(reply_get_int(x.r, "DBSIZE") > 0);
    server_again(x.primary, NULL);
    stop(&x);
}

/* Records of four kilobytes, a hundred of them. */
static void write_large(redisContext *c, unsigned from)
{
    static float x[1024];
    for (unsigned i = from; i < from + 100; i++) {
        x[i % 1024] = (float)(i + 1);
        redisAppendCommand(c, "VADD large FP32 %b e%u", x, sizeof(x), i % 500);
    }
    for (unsigned i = 0; i < 100; i++) {
        void *reply = NULL;
        assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
        assert_int_equal(((redisReply *)reply)->type, REDIS_REPLY_INTEGER);
        freeReplyObject(reply);
    }
}

/* It stops reading, and what waits for it passes the limit. */
static void test_output_limit(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.p, "client-output-buffer-limit", "replica 300kb 0 0");
    kill(server_pid(x.replica), SIGSTOP);
    for (unsigned at = 0; number(x.p, "connected_slaves") > 0 && at < 20000; at += 100)
        write_large(x.p, at);
    server_wait_output(x.primary, " its output buffer limit", 10000);
    settings(x.p, "client-output-buffer-limit", "replica 100mb 0 0");
    kill(server_pid(x.replica), SIGCONT);
    repl_same(x.p, x.r);
    stop(&x);
}

static void test_silence(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.p, "repl-timeout", "2");
    settings(x.r, "repl-timeout", "2");
    settings(x.p, "repl-ping-replica-period", "1");
    kill(server_pid(x.replica), SIGSTOP);
    server_wait_output(x.primary, "nothing was heard of it for repl-timeout", 20000);
    kill(server_pid(x.replica), SIGCONT);
    repl_same(x.p, x.r);
    kill(server_pid(x.primary), SIGSTOP);
    server_wait_output(x.replica, "nothing has come for 2 seconds", 20000);
    kill(server_pid(x.primary), SIGCONT);
    repl_same(x.p, x.r);
    assert_int_equal(number(x.p, "sync_full"), 1);
    stop(&x);
}

static void test_lag(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.p, "min-replicas-to-write", "1");
    settings(x.p, "min-replicas-max-lag-ms", "500");
    int64_t until = wait_now_ms() + 20000;
    while (number(x.p, "min_slaves_good_slaves") < 1)
        assert_true(wait_now_ms() < until);
    kill(server_pid(x.replica), SIGSTOP);
    until = wait_now_ms() + 10000;
    for (int refused = 0; !refused;) {
        redisReply *r = reply_any(x.p, "VADD lag VALUES 2 1 2 a");
        refused = r->type == REDIS_REPLY_ERROR && !strcmp(r->str, "NOREPLICAS Not enough good replicas to write.");
        freeReplyObject(r);
        assert_true(refused || wait_now_ms() < until);
    }
    kill(server_pid(x.replica), SIGCONT);
    for (until = wait_now_ms() + 20000; number(x.p, "min_slaves_good_slaves") < 1;)
        assert_true(wait_now_ms() < until);
    repl_same(x.p, x.r);
    stop(&x);
}

static void test_user(void **state)
{
    (void)state;
    struct two x = start();
    settings(x.p, "requirepass", "secret");
    settings(x.r, "masterauth", "secret");
    settings(x.r, "masteruser", "nobody");
    assert_true(reply_get_int(x.p, "CLIENT KILL TYPE replica") == 1);
    server_wait_output(x.replica, "WRONGPASS", 20000);
    settings(x.r, "masteruser", "default");
    repl_same(x.p, x.r);
    stop(&x);
}

/* ---- a primary that is none ---- */

struct liar {
    int fd;
    char port[16];
};

static struct liar listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct liar l = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(l.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(l.fd, 4), 0);
    assert_int_equal(getsockname(l.fd, (struct sockaddr *)&a, &len), 0);
    snprintf(l.port, sizeof(l.port), "%u", ntohs(a.sin_port));
    return l;
}

/* Takes a command of words, whatever they are. */
static void take_command(int fd)
{
    char line[256];
    raw_line(fd, line, sizeof(line));
    for (int n = 2 * atoi(line + 1); n; n--)
        raw_line(fd, line, sizeof(line));
}

/* Up to PSYNC, which is answered with `line`. */
static int accept_replica(const struct liar *l, const char *line)
{
    int fd = accept(l->fd, NULL, NULL);
    struct timeval patience = {.tv_sec = 20};
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    take_command(fd);
    raw_puts(fd, "+PONG\r\n");
    for (int i = 0; i < 2; i++) {
        take_command(fd);
        raw_puts(fd, "+OK\r\n");
    }
    take_command(fd);
    raw_puts(fd, line);
    return fd;
}

static const struct wire_place place = {.nonce = 0xabcdef0123456789, .offset = 10, .lsn = 3};
static const char full[] = "+FULLRESYNC 0123456789012345678901234567890123456789 10 abcdef0123456789 3\r\n";

/* Sends a frame, changed by `change`; the replica ends the link and says why. */
static void lie(const struct liar *l, const struct test_server *replica, enum wire_type type, struct wire_place at,
                size_t flip, size_t len, const char *why)
{
    struct buf b = {0};
    int fd = accept_replica(l, full);
    wire_control(&b, type, &at, "manifest", 8);
    if (flip < b.len)
        b.data[flip] ^= 1;
    raw_send(fd, b.data, len < b.len ? len : b.len);
    if (len < b.len)
        shutdown(fd, SHUT_WR);
    server_wait_output(replica, why, 20000);
    close(fd);
    buf_release(&b);
}

static void test_liars(void **state)
{
    (void)state;
    static const char *const others[] = {"+FULLRESYNC 0123456789012345678901234567890123456789 10\r\n",
                                         "+FULLRESYNC 0123456789012345678901234567890123456789 10 xyz 3\r\n"};
    struct liar l = listen_somewhere();
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    reply_int(c, 1, "VADD mine VALUES 2 1 2 a");
    freeReplyObject(reply_any(c, "REPLICAOF 127.0.0.1 %s", l.port));
    for (int i = 0; i < 2; i++)
        close(accept_replica(&l, others[i]));
    server_wait_output(s, "the primary speaks another protocol than this one (vecstore-1)", 20000);
    close(accept_replica(&l, "+CONTINUE 0123456789012345678901234567890123456789 abcdef0123456789\r\n"));
    server_wait_output(s, "would go on with a history that is not ours", 20000);
    close(accept_replica(&l, "-ERR no\r\n"));
    server_wait_output(s, "the primary answers PSYNC with: -ERR no", 20000);
    struct wire_place later = place;
    later.offset++;
    lie(&l, s, WIRE_SNAP_FILE, place, 5, SIZE_MAX, "the checksum of a frame's head does not match");
    lie(&l, s, WIRE_SNAP_FILE, place, 70, SIZE_MAX, "the checksum of a frame's payload does not match");
    lie(&l, s, WIRE_SNAP_FILE, later, SIZE_MAX, SIZE_MAX, "a frame is not at its offset");
    later = place;
    later.lsn++;
    lie(&l, s, WIRE_SNAP_FILE, later, SIZE_MAX, SIZE_MAX, "a frame's number does not follow the one before");
    lie(&l, s, WIRE_PART, place, SIZE_MAX, SIZE_MAX, "a partition begins where none should");
    lie(&l, s, WIRE_SNAP_DATA, place, SIZE_MAX, SIZE_MAX, "bytes of a snapshot that belong to no file");
    lie(&l, s, WIRE_SNAP_FILE, place, SIZE_MAX, 66, "the primary has closed the connection");
    /* Nothing of it was taken. */
    reply_int(c, 1, "VCARD mine");
    close(l.fd);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backlog), cmocka_unit_test(test_stale), cmocka_unit_test(test_output_limit),
        cmocka_unit_test(test_silence), cmocka_unit_test(test_lag),   cmocka_unit_test(test_user),
        cmocka_unit_test(test_liars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
