/* Nodes that end and come back: what lies on their disk says which history it is of and how far, so they go on from
 * there; and where that is not certain they get all data. */
#include <glob.h>
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

#include "base/rng.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/run.h"
#include "lib/wait.h"

static const char *const journaled[] = {"--appendonly", "yes", "--appendfsync", "everysec", NULL};
static const char *const unjournaled[] = {"--appendonly", "no", NULL};

struct node {
    struct test_server *server;
    redisContext *c;
};

static struct node start(const char *const *args)
{
    struct test_server *s = server_start(args);
    return (struct node){s, server_connect(s)};
}

static void stop(struct node *n)
{
    redisFree(n->c);
    server_stop(n->server);
}

static void end(struct node *n, int signal)
{
    redisFree(n->c);
    server_end(n->server, signal);
}

/* Starts again; as a replica of `primary`, unless that is NULL. */
static void again(struct node *n, const struct node *primary)
{
    char of[32];
    const char *const more[] = {"--replicaof", of, NULL};
    if (primary)
        snprintf(of, sizeof(of), "127.0.0.1 %d", server_port(primary->server));
    server_again(n->server, primary ? more : NULL);
    n->c = server_connect(n->server);
}

static int number(const struct node *n, const char *field)
{
    return (int)reply_info(n->c, "replication", field);
}

struct syncs {
    int full, partial;
};

static struct syncs syncs(const struct node *n)
{
    return (struct syncs){number(n, "sync_full"), number(n, "sync_partial_ok")};
}

/* In step and the same; and that took so many synchronisations since. */
static void expect(const struct node *primary, const struct node *replica, struct syncs before, int full, int partial)
{
    repl_same(primary->c, replica->c);
    struct syncs now = syncs(primary);
    if (now.full - before.full == full && now.partial - before.partial == partial)
        return;
    char *log = server_output(replica->server);
    fail_msg("%d full and %d partial synchronisations, not %d and %d:\n%s", now.full - before.full,
             now.partial - before.partial, full, partial, log);
}

/* Everything that it holds is in its journal. */
static void wait_complete(const struct node *n)
{
    for (int64_t until = wait_now_ms() + 30000; reply_info(n->c, "persistence", "journal_complete") != 1;)
        assert_true(wait_now_ms() < until);
}

static void restart_replica(unsigned seed, int signal)
{
    struct node p = start(NULL), r = start(journaled);
    repl_write(p.c, seed, 0, 1000);
    repl_follow(r.c, p.server);
    wait_complete(&r);
    for (unsigned i = 0; i < 3; i++) {
        unsigned at = 1000 + 300 * i;
        repl_write(p.c, seed, at, at + 150);
        repl_same(p.c, r.c);
        struct syncs before = syncs(&p);
        end(&r, signal);
        repl_write(p.c, seed, at + 150, at + 300);
        again(&r, &p);
        expect(&p, &r, before, 0, 1);
    }
    stop(&r);
    stop(&p);
}

static void test_replica(void **state)
{
    (void)state;
    restart_replica(21, SIGTERM);
    restart_replica(22, SIGKILL);
}

/* More than goes into one block, by an io-thread. */
static void test_replica_io_threads(void **state)
{
    (void)state;
    static const char *const io_threads[] = {"--io-threads", "3", NULL};
    struct node p = start(io_threads), r = start(journaled);
    repl_write(p.c, 24, 0, 500);
    repl_follow(r.c, p.server);
    wait_complete(&r);
    repl_same(p.c, r.c);
    struct syncs before = syncs(&p);
    end(&r, SIGTERM);
    repl_write(p.c, 24, 500, 5500);
    again(&r, &p);
    expect(&p, &r, before, 0, 1);
    stop(&r);
    stop(&p);
}

/* Without a journal the snapshot is what it goes on from, however much has come since. */
static void test_replica_snapshot(void **state)
{
    (void)state;
    struct node p = start(NULL), r = start(unjournaled);
    repl_write(p.c, 23, 0, 1000);
    repl_follow(r.c, p.server);
    repl_same(p.c, r.c);
    saves_ask(r.c, "SAVE");
    repl_write(p.c, 23, 1000, 1300);
    repl_same(p.c, r.c);
    struct syncs before = syncs(&p);
    end(&r, SIGKILL);
    again(&r, &p);
    expect(&p, &r, before, 0, 1);
    saves_ask(r.c, "SAVE");
    before = syncs(&p);
    end(&r, SIGTERM);
    again(&r, &p);
    expect(&p, &r, before, 0, 1);
    /* A rewrite of a journal that begins is a snapshot, too. */
    reply_status(r.c, "OK", "CONFIG SET appendonly yes");
    wait_complete(&r);
    repl_write(p.c, 23, 1300, 1400);
    repl_same(p.c, r.c);
    before = syncs(&p);
    static const char *const on[] = {"--appendonly", "yes", NULL};
    end(&r, SIGKILL);
    server_again(r.server, on);
    r.c = server_connect(r.server);
    repl_follow(r.c, p.server);
    expect(&p, &r, before, 0, 1);
    stop(&r);
    stop(&p);
}

/* A primary that comes back as it went: its replicas go on. */
static void restart_primary(unsigned seed, int signal)
{
    struct node p = start(journaled), r = start(NULL);
    repl_write(p.c, seed, 0, 1000);
    repl_follow(r.c, p.server);
    repl_write(p.c, seed, 1000, 1300);
    repl_same(p.c, r.c);
    /* Whatever is in the stream is in the journal, too; and deadlines are left out of it. */
    freeReplyObject(reply_any(p.c, "PERSIST k2"));
    repl_same(p.c, r.c);
    reply_int(p.c, 1, "WAIT 1 10000");
    char *id = repl_line(p.c, "master_replid"), *offset = repl_line(p.c, "master_repl_offset");
    for (int i = 0; i < 2; i++) {
        end(&p, signal);
        again(&p, NULL);
        expect(&p, &r, (struct syncs){0}, 0, 1);
        repl_write(p.c, seed, 1300 + 100 * (unsigned)i, 1400 + 100 * (unsigned)i);
        freeReplyObject(reply_any(p.c, "PERSIST k2"));
        repl_same(p.c, r.c);
        if (i)
            continue;
        repl_wait_line(p.c, "master_replid2", id);
        char *second = repl_line(p.c, "second_repl_offset");
        assert_true(atoll(second) == atoll(offset) + 1);
        free(second);
    }
    free(id);
    free(offset);
    stop(&r);
    stop(&p);
}

static void test_primary(void **state)
{
    (void)state;
    restart_primary(24, SIGTERM);
    restart_primary(25, SIGKILL);
}

/* It comes back with less than its replica has. */
static void test_primary_behind(void **state)
{
    (void)state;
    struct node p = start(unjournaled), r = start(NULL);
    repl_write(p.c, 26, 0, 500);
    repl_follow(r.c, p.server);
    repl_same(p.c, r.c);
    saves_ask(p.c, "SAVE");
    repl_write(p.c, 26, 500, 600);
    repl_same(p.c, r.c);
    end(&p, SIGKILL);
    again(&p, NULL);
    expect(&p, &r, (struct syncs){0}, 1, 0);
    stop(&r);
    stop(&p);
}

/* Its replica has become the primary meanwhile. */
static void test_former_primary(void **state)
{
    (void)state;
    struct node p = start(journaled), r = start(NULL);
    repl_write(p.c, 27, 0, 1000);
    repl_follow(r.c, p.server);
    repl_write(p.c, 27, 1000, 1300);
    freeReplyObject(reply_any(p.c, "PERSIST k2"));
    repl_same(p.c, r.c);
    reply_int(p.c, 1, "WAIT 1 10000");
    end(&p, SIGKILL);
    reply_status(r.c, "OK", "REPLICAOF NO ONE");
    repl_write(r.c, 27, 1300, 1500);
    again(&p, NULL);
    repl_follow(p.c, r.server);
    expect(&r, &p, (struct syncs){0}, 0, 1);
    /* And once more; but it has written something that nobody has. */
    struct syncs before = syncs(&r);
    end(&p, SIGKILL);
    repl_write(r.c, 27, 1500, 1600);
    again(&p, NULL);
    reply_int(p.c, 1, "VADD mine VALUES 2 1 2 a");
    end(&p, SIGTERM);
    again(&p, &r);
    expect(&r, &p, before, 1, 0);
    stop(&r);
    stop(&p);
}

static void test_other_history(void **state)
{
    (void)state;
    struct node p = start(NULL), q = start(NULL), r = start(journaled), x = start(NULL);
    repl_write(p.c, 28, 0, 500);
    repl_write(q.c, 28, 0, 500);
    repl_follow(r.c, p.server);
    repl_follow(x.c, q.server);
    repl_same(p.c, r.c);
    struct syncs before = syncs(&q);
    end(&r, SIGTERM);
    again(&r, &q);
    expect(&q, &r, before, 1, 0);
    /* What a client has written to a replica is in no history, and the journal says so. */
    reply_status(r.c, "OK", "CONFIG SET replica-read-only no");
    assert_int_equal(number(&r, "history_on_disk"), 1);
    reply_int(r.c, 1, "VADD stray VALUES 2 1 2 a");
    assert_int_equal(number(&r, "history_on_disk"), 0);
    before = syncs(&q);
    end(&r, SIGKILL);
    again(&r, &q);
    expect(&q, &r, before, 1, 0);
    stop(&x);
    stop(&r);
    stop(&q);
    stop(&p);
}

/* The last segment of its journal, cut anywhere. */
static void test_cut_journal(void **state)
{
    (void)state;
    struct rng rng = {run_seed()};
    struct node p = start(NULL), r = start(journaled);
    repl_write(p.c, 29, 0, 500);
    repl_follow(r.c, p.server);
    repl_same(p.c, r.c);
    wait_complete(&r);
    for (unsigned i = 0; i < 6; i++) {
        char pattern[512];
        glob_t found;
        struct stat st;
        repl_write(p.c, 29, 500 + 100 * i, 600 + 100 * i);
        repl_same(p.c, r.c);
        struct syncs before = syncs(&p);
        end(&r, SIGKILL);
        snprintf(pattern, sizeof(pattern), "%s/appendonlydir/*.incr.aof", server_dir(r.server));
        assert_int_equal(glob(pattern, 0, NULL, &found), 0);
        const char *last = found.gl_pathv[0];
        for (size_t k = 1; k < found.gl_pathc; k++)
            if (strlen(found.gl_pathv[k]) > strlen(last) ||
                (strlen(found.gl_pathv[k]) == strlen(last) && strcmp(found.gl_pathv[k], last) > 0))
                last = found.gl_pathv[k];
        assert_int_equal(stat(last, &st), 0);
        off_t size = 64 + (off_t)rng_below(&rng, (uint64_t)st.st_size - 63);
        assert_int_equal(truncate(last, size), 0);
        globfree(&found);
        again(&r, &p);
        expect(&p, &r, before, 0, 1);
    }
    stop(&r);
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replica), cmocka_unit_test(test_replica_io_threads),
        cmocka_unit_test(test_replica_snapshot),
        cmocka_unit_test(test_primary),        cmocka_unit_test(test_primary_behind),
        cmocka_unit_test(test_former_primary), cmocka_unit_test(test_other_history),
        cmocka_unit_test(test_cut_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
