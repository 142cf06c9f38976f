/* A disk that is really full: a small file system is filled by the writes of a client, and by a file that is somebody else's.
 *
 *     fill     the client writes until PING says MISCONF; that takes less than a second from the last acknowledgement on
 *     full     writes are refused, searches answered, snapshots and rewrites fail and leave no file behind
 *     free     somebody else's file is removed: within two seconds all is taken again, without a restart
 *              or, in every third round, kill -9 first, and a start that is refused while the disk is full
 *     rewrite  of the journal, which makes room for the next round; in every tenth round kill -9
 *
 * After each kill an element is what the last acknowledged write made of it, or one that had no reply yet; nothing that was
 * refused is there. Rounds: 3, or 100 with VECSTORE_DRILL=full; appendfsync changes by round.
 *
 * What a failing call does in any other place is the matter of drill_fault_server. Where nothing can be mounted, all of it is
 * skipped. tsan: skip */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "integration/lib/small_disk.h"
#include "lib/drill.h"
#include "lib/run.h"
#include "lib/wait.h"

#define DIM         256
#define IDS         1000               /* elements, replaced again and again */
#define DISK        ((size_t)16 << 20)
#define OTHERS      ((size_t)5 << 20)  /* the other file */
#define WINDOW      32
#define NOTICES_MS  1000
#define RESUMES_MS  2000
#define DEADLINE_MS 30000
#define OTHER_FILE  "other"

/* ---- a client that writes ---- */

struct writer {
    redisContext *c;
    int sent, answered;
    int taken[IDS];          /* of each element the last version that was acknowledged; 0: none */
    int64_t last_ms;         /* when it was last told that something had been taken */
};

/* Version v is of element v % IDS. */
static void vector_of(int version, float v[DIM])
{
    v[0] = (float)version;
    for (int k = 1; k < DIM; k++)
        v[k] = (float)((version * 31 + k * 17) % 101) - 50.0f;
}

static void connect_writer(struct writer *w, const struct test_server *s)
{
    w->c = server_connect(s);
    w->answered = w->sent;
}

static void send_one(struct writer *w)
{
    float v[DIM];
    vector_of(++w->sent, v);
    redisAppendCommand(w->c, "VADD docs FP32 %b e%d", v, sizeof v, w->sent % IDS);
}

static void flush(struct writer *w)
{
    for (int done = 0; !done;)
        assert_int_equal(redisBufferWrite(w->c, &done), REDIS_OK);
}

/* Takes what has come within `patience_ms`. */
static void take_replies(struct writer *w, int patience_ms)
{
    struct pollfd p = {.fd = w->c->fd, .events = POLLIN};
    if (poll(&p, 1, patience_ms) <= 0)
        return;
    assert_int_equal(redisBufferRead(w->c), REDIS_OK);
    for (;;) {
        redisReply *r = NULL;
        assert_int_equal(redisGetReplyFromReader(w->c, (void **)&r), REDIS_OK);
        if (!r)
            return;
        w->answered++;
        if (r->type == REDIS_REPLY_INTEGER) {
            w->taken[w->answered % IDS] = w->answered;
            w->last_ms = wait_now_ms();
        } else if (strncmp(r->str, "MISCONF", 7) != 0) {
            fail_msg("a write was answered: %s", r->str);
        }
        freeReplyObject(r);
    }
}

static bool all_answered(void *arg)
{
    struct writer *w = arg;
    take_replies(w, 5);
    return w->answered == w->sent;
}

static void write_some(struct writer *w, int n)
{
    for (int i = 0; i < n; i++) {
        send_one(w);
        flush(w);
        while (w->sent - w->answered >= WINDOW)
            take_replies(w, 5);
    }
    assert_true(wait_until(all_answered, w, DEADLINE_MS));
    assert_int_equal(w->taken[w->sent % IDS], w->sent);
}

static bool answers(redisContext *c, const char *start)
{
    redisReply *r = reply_any(c, "PING");
    bool ok = strncmp(r->str, start, strlen(start)) == 0;
    freeReplyObject(r);
    return ok;
}

static bool answers_misconf(void *arg)
{
    return answers(arg, "MISCONF");
}

static bool answers_pong(void *arg)
{
    return answers(arg, "PONG");
}

/* Writes until the server says that it cannot; in how many milliseconds it said so. */
static int64_t write_until_full(struct writer *w, redisContext *control)
{
    w->last_ms = wait_now_ms();
    while (!answers_misconf(control)) {
        while (w->sent - w->answered < WINDOW)
            send_one(w);
        flush(w);
        take_replies(w, 5);
        if (wait_now_ms() - w->last_ms > DEADLINE_MS)
            fail_msg("no write is answered, and PING says that all is well");
    }
    int64_t now = wait_now_ms();
    take_replies(w, 0);
    return now > w->last_ms ? now - w->last_ms : 0;
}

/* ---- while it is full ---- */

static void expect_failure(redisContext *c, const char *command, const char *field)
{
    saves_ask(c, command);
    assert_true(wait_until(saves_idle, c, DEADLINE_MS));
    reply_contains(c, field, "INFO persistence");
}

static void expect_read_only(redisContext *c)
{
    float v[DIM];
    reply_error(c, "MISCONF", "VADD docs VALUES 1 2 refused");
    reply_error(c, "MISCONF", "VREM docs e1");
    reply_error(c, "MISCONF", "DEL docs");
    vector_of(7, v);
    redisReply *r = reply_array(c, 5, "VSEARCH docs FP32 %b K 5", v, sizeof v);
    freeReplyObject(r);
    reply_int(c, 1, "VISMEMBER docs e1");
    reply_int(c, IDS, "VCARD docs");
    reply_contains(c, "aof_last_write_status:err", "INFO persistence");
    reply_error(c, "ERR Errors trying to SHUTDOWN", "SHUTDOWN");
}

/* The journal's files, and nothing of a snapshot or a rewrite that failed. */
static void expect_no_leftovers(const struct small_disk *disk, const char *before)
{
    char *files = small_disk_list(disk);
    for (char *line = files, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        *end = 0;
        if (!strstr(line, ".incr.aof") && !strstr(before, line))
            fail_msg("%s was left behind", line);
    }
    free(files);
}

/* ---- afterwards ---- */

static int version_of(redisContext *c, int id)
{
    float v[DIM];
    redisReply *r = reply_any(c, "VEMB docs e%d", id);
    if (r->type == REDIS_REPLY_NIL) {
        freeReplyObject(r);
        return 0;
    }
    assert_int_equal(r->elements, DIM);
    int version = atoi(r->element[0]->str);
    vector_of(version, v);
    for (int k = 0; k < DIM; k++)
        assert_true(strtof(r->element[k]->str, NULL) == v[k]);
    freeReplyObject(r);
    return version;
}

/* What had no reply may be there or not; then it is known. */
static void expect_what_was_taken(redisContext *c, struct writer *w)
{
    for (int id = 0; id < IDS; id++) {
        int version = version_of(c, id);
        bool open = version > w->answered && version <= w->sent && version % IDS == id;
        if (version != w->taken[id] && !open)
            fail_msg("e%d is as version %d made it, not as version %d, the last that was acknowledged", id, version,
                     w->taken[id]);
        w->taken[id] = version;
    }
}

/* ---- tests ---- */

struct bed {
    struct small_disk disk;
    struct test_server *server;
    redisContext *c;
    struct writer w;
};

static struct bed bed;

static void begin(const char *appendonly)
{
    memset(&bed, 0, sizeof bed);
    if (!small_disk_mount(&bed.disk, DISK))
        skip();
    const char *args[] = {"--dir", bed.disk.path, "--appendonly", appendonly, "--appendfsync", "always",
                          "--auto-aof-rewrite-percentage", "0", "--save", "", NULL};
    bed.server = server_start(args);
    bed.c = server_connect(bed.server);
    connect_writer(&bed.w, bed.server);
    reply_status(bed.c, "OK", "VPARTITION CREATE docs DIM %d METRIC L2", DIM);
}

static void disconnect(void)
{
    redisFree(bed.w.c);
    redisFree(bed.c);
}

static void connect_again(void)
{
    bed.c = server_connect(bed.server);
    expect_what_was_taken(bed.c, &bed.w);
    connect_writer(&bed.w, bed.server);
}

static void end(void)
{
    disconnect();
    server_stop(bed.server);
    small_disk_unmount(&bed.disk);
}

static void restart(void)
{
    disconnect();
    server_restart(bed.server, SIGKILL);
    connect_again();
}

/* A start with a journal needs room for a segment: while there is none it is refused, and leaves all as it was. */
static void expect_refused_start(void)
{
    char *output, *before = small_disk_list(&bed.disk);
    const char *args[] = {"--dir", bed.disk.path, "--appendonly", "yes", "--save", "", "--port", "0",
                          "--unixsocket", "refused", NULL};
    assert_int_equal(server_run(args, DEADLINE_MS, &output), 1);
    if (!strstr(output, bed.disk.path) || !strstr(output, "No space left on device"))
        fail_msg("a start on a full disk says: %s", output);
    free(output);
    char *after = small_disk_list(&bed.disk);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void expect_resumed(const char *fsync)
{
    int64_t freed = wait_now_ms();
    assert_true(wait_until(answers_pong, bed.c, RESUMES_MS));
    assert_true(wait_until(all_answered, &bed.w, RESUMES_MS));
    print_message("%s: goes on within %d ms\n", fsync, (int)(wait_now_ms() - freed));
    reply_contains(bed.c, "aof_last_write_status:ok", "INFO persistence");
    write_some(&bed.w, 1);
}

static void one_round(int round)
{
    const char *fsync = round % 2 ? "everysec" : "always";
    reply_status(bed.c, "OK", "CONFIG SET appendfsync %s", fsync);
    assert_true(small_disk_fill(&bed.disk, OTHER_FILE, OTHERS));
    write_some(&bed.w, IDS); /* there is room for them, and a base to be made from them */
    char *before = small_disk_list(&bed.disk);
    int64_t noticed = write_until_full(&bed.w, bed.c);
    print_message("%s: full after %d writes, noticed within %d ms\n", fsync, bed.w.answered, (int)noticed);
    assert_true(noticed < NOTICES_MS);
    expect_read_only(bed.c);
    expect_failure(bed.c, "BGSAVE", "rdb_last_bgsave_status:err");
    expect_failure(bed.c, "BGREWRITEAOF", "aof_last_bgrewrite_status:err");
    expect_no_leftovers(&bed.disk, before);
    free(before);
    if (round % 3 == 2) {
        disconnect();
        server_end(bed.server, SIGKILL);
        small_disk_fill(&bed.disk, OTHER_FILE, DISK);
        expect_refused_start();
        /* What the journal does not say itself to be synced is copied by a start. */
        small_disk_resize(&bed.disk, 2 * DISK);
        small_disk_remove(&bed.disk, OTHER_FILE);
        server_again(bed.server, NULL);
        connect_again();
        write_some(&bed.w, 1);
    } else {
        small_disk_remove(&bed.disk, OTHER_FILE);
        expect_resumed(fsync);
    }
    saves_ask(bed.c, "BGREWRITEAOF");
    assert_true(wait_until(saves_idle, bed.c, DEADLINE_MS));
    reply_contains(bed.c, "aof_last_bgrewrite_status:ok", "INFO persistence");
    small_disk_resize(&bed.disk, DISK);
    if (round % 10 == 9)
        restart();
}

static void test_rounds(void **state)
{
    (void)state;
    int rounds = (int)drill_count(100, run_quick() ? 1 : 3);
    begin("yes");
    for (int round = 0; round < rounds; round++)
        one_round(round);
    restart();
    print_message("%d rounds, %d writes\n", rounds, bed.w.sent);
    end();
}

/* A snapshot takes the room that the journal needs, and gives it back when it has failed: writes go on by themselves. */
static void test_snapshot_takes_all(void **state)
{
    (void)state;
    begin("yes");
    write_some(&bed.w, IDS);
    small_disk_fill(&bed.disk, OTHER_FILE, DISK);
    small_disk_resize(&bed.disk, DISK + (1 << 20)); /* less than the snapshot takes */
    reply_status(bed.c, "Background saving started", "BGSAVE");
    while (!saves_idle(bed.c)) {
        send_one(&bed.w);
        flush(&bed.w);
        take_replies(&bed.w, 1);
    }
    reply_contains(bed.c, "rdb_last_bgsave_status:err", "INFO persistence");
    assert_true(wait_until(answers_pong, bed.c, RESUMES_MS));
    assert_true(wait_until(all_answered, &bed.w, RESUMES_MS));
    expect_no_leftovers(&bed.disk, "appendonlydir/appendonly.aof.manifest\nvecstore.lock\n" OTHER_FILE "\n");
    write_some(&bed.w, 10);
    restart();
    end();
}

/* Without a journal: the snapshot from before stays what it was. */
static void test_snapshot_stays(void **state)
{
    (void)state;
    begin("no");
    write_some(&bed.w, IDS);
    saves_ask(bed.c, "SAVE");
    char *before = small_disk_list(&bed.disk);
    long long when = reply_get_int(bed.c, "LASTSAVE");
    struct writer saved = bed.w;
    write_some(&bed.w, IDS);
    small_disk_fill(&bed.disk, OTHER_FILE, DISK);
    expect_failure(bed.c, "BGSAVE", "rdb_last_bgsave_status:err");
    redisReply *r = reply_any(bed.c, "SAVE");
    assert_int_equal(r->type, REDIS_REPLY_ERROR);
    if (!strstr(r->str, ".seg") || !strstr(r->str, "No space left on device"))
        fail_msg("SAVE on a full disk says: %s", r->str);
    freeReplyObject(r);
    reply_int(bed.c, when, "LASTSAVE");
    small_disk_remove(&bed.disk, OTHER_FILE);
    char *after = small_disk_list(&bed.disk);
    assert_string_equal(before, after);
    free(before);
    free(after);
    disconnect();
    server_end(bed.server, SIGKILL);
    server_again(bed.server, NULL);
    bed.w = saved;
    connect_again();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_snapshot_takes_all),
        cmocka_unit_test(test_snapshot_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
