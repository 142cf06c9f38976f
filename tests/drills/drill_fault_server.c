/* Every file operation of a running server fails once, the first call, the second, and so on until
 * a run meets no more of them: nothing acknowledged is lost, and service resumes.
 *
 *     for each operation and kind, for N = 1, 2, 3 ..
 *         DEBUG VFS-FAULT op:N:kind; writes, a rewrite, a snapshot, all answered or refused
 *         DEBUG VFS-FAULT off; PING answers PONG within 2 s
 *         a write; kill -9; start: exactly what was acknowledged is there
 *
 * The same in process, for the journal alone and over every N, is drill_journal_fault. Here N ends
 * at 3, or with VECSTORE_DRILL=full at the first run without a fault. tsan: skip */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/drill.h"
#include "lib/wait.h"

#define WRITES     60
#define N_FEW      3
#define RESUMES_MS 2000
#define ENDS_MS    30000

static const char *const operations[] = {"open",  "write",   "fsync",   "fdatasync", "rename",
                                         "unlink", "link",   "read",    "syncdir",   "stat",
                                         "list",   "mkdir",  "truncate", "allocate", "close", "map"};
static const char *const kinds[] = {"eio", "enospc", "short", "eintr", "torn"};

static bool acknowledged[1024]; /* by element; the others were refused */
static int elements;

static int write_one(redisContext *c)
{
    redisReply *r = redisCommand(c, "VADD docs VALUES 3 %d %d 1 e%d", elements % 7, elements % 5,
                                 elements);
    assert_non_null(r);
    bool taken = r->type == REDIS_REPLY_INTEGER;
    assert_true(taken || r->type == REDIS_REPLY_ERROR);
    acknowledged[elements++] = taken;
    freeReplyObject(r);
    return taken;
}

static bool is_up(void *arg)
{
    redisReply *r = redisCommand(arg, "PING");
    bool up = r && r->type == REDIS_REPLY_STATUS;
    if (r)
        freeReplyObject(r);
    return up;
}

static bool is_idle(void *arg)
{
    return reply_info(arg, "persistence", "aof_rewrite_in_progress") == 0 &&
           reply_info(arg, "persistence", "rdb_bgsave_in_progress") == 0;
}

static void check(redisContext *c)
{
    long long present = 0;
    for (int i = 0; i < elements; i++) {
        long long there = reply_get_int(c, "VISMEMBER docs e%d", i);
        if (there != acknowledged[i])
            fail_msg("element %d of %d is %s", i, elements,
                     there ? "there, though it was refused" : "lost, though it was acknowledged");
        present += there;
    }
    reply_int(c, present, "VCARD docs");
}

/* False: the fault was not met. */
static bool one(struct test_server **s, const char *op, const char *kind, int n)
{
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "always",
                                       "--enable-debug-command", "yes", NULL};
    if (!*s || elements > 900) {
        if (*s)
            server_stop(*s);
        *s = server_start(args);
        elements = 0;
    }
    redisContext *c = server_connect(*s);
    long long before = reply_get_int(c, "DEBUG VFS-FAULT hits");
    reply_status(c, "OK", "DEBUG VFS-FAULT %s:%d:%s", op, n, kind);
    for (int i = 0; i < WRITES / 3; i++)
        write_one(c);
    freeReplyObject(reply_any(c, "BGREWRITEAOF"));
    for (int i = 0; i < WRITES / 3; i++)
        write_one(c);
    assert_true(wait_until(is_idle, c, ENDS_MS));
    freeReplyObject(reply_any(c, "SAVE"));
    long long hits = reply_get_int(c, "DEBUG VFS-FAULT hits") - before;
    reply_status(c, "OK", "DEBUG VFS-FAULT off");
    assert_true(wait_until(is_up, c, RESUMES_MS));
    for (int i = 0; i < WRITES / 3; i++)
        assert_true(write_one(c));
    redisFree(c);
    server_restart(*s, SIGKILL);
    c = server_connect(*s);
    check(c);
    redisFree(c);
    return hits > 0;
}

static void test_faults(void **state)
{
    (void)state;
    struct test_server *s = NULL;
    unsigned long cases = 0;
    for (size_t o = 0; o < sizeof operations / sizeof *operations; o++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            int n = 1;
            for (; drill_full() || n <= N_FEW; n++) {
                cases++;
                if (!one(&s, operations[o], kinds[k], n))
                    break;
            }
        }
        print_message("%s: done\n", operations[o]);
    }
    server_stop(s);
    print_message("%lu runs with a failing call, nothing acknowledged lost\n", cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
