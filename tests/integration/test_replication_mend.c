/* Nodes that do not hold the same: found out by digests, both ways, and mended partition by partition. And what the
 * replication port is told that is not so. */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "integration/lib/raw.h"
#include "integration/lib/repl.h"
#include "integration/lib/reply.h"
#include "integration/lib/server.h"
#include "lib/wait.h"
#include "persist/le.h"
#include "repl/wire.h"

#define PARTITIONS 4
#define ELEMENTS 6000
#define DIM 8

static int number(redisContext *c, const char *field)
{
    return (int)reply_info(c, "replication", field);
}

struct field {
    redisContext *c;
    const char *name;
    int least;
};

static bool has(void *arg)
{
    const struct field *f = arg;
    return number(f->c, f->name) >= f->least;
}

static void wait_field(redisContext *c, const char *name, int least)
{
    struct field f = {c, name, least};
    if (!wait_until(has, &f, 30000))
        fail_msg("%s is %d, not %d", name, number(c, name), least);
}

static void add(redisContext *c, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        redisAppendCommand(c, "VADD k VALUES 8 %u %u %u %u %u %u %u %u e%u", i % 7, i % 11, i % 13, i % 17, i % 19,
                           i % 23, i % 29, i + 1, i);
    for (unsigned i = from; i < to; i++) {
        void *reply = NULL;
        assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

struct two {
    struct test_server *primary, *replica;
    redisContext *p, *r;
};

static struct two start(const char *const *args)
{
    struct two x = {server_start(NULL), server_start(args), NULL, NULL};
    x.p = server_connect(x.primary);
    x.r = server_connect(x.replica);
    reply_status(x.p, "OK", "VPARTITION CREATE k DIM 8 METRIC L2 PARTITIONS %d", PARTITIONS);
    add(x.p, 0, ELEMENTS);
    repl_follow(x.r, x.primary);
    repl_same(x.p, x.r);
    reply_status(x.r, "OK", "CONFIG SET replica-read-only no");
    return x;
}

static void stop(struct two *x)
{
    redisFree(x->p);
    redisFree(x->r);
    server_stop(x->replica);
    server_stop(x->primary);
}

/* In which partition the primary keeps an id. */
static int owner(redisContext *c, const char *id)
{
    long long elements[PARTITIONS];
    int found = -1;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < PARTITIONS; i++) {
            redisReply *r = reply_any(c, "VPARTITION INFO k %d", i);
            long long now = 0;
            for (size_t k = 0; k + 1 < r->elements; k += 2)
                if (!strcmp(r->element[k]->str, "elements"))
                    now = r->element[k + 1]->integer;
            if (pass && now != elements[i])
                found = i;
            elements[i] = now;
            freeReplyObject(r);
        }
        if (!pass)
            reply_int(c, 1, "VADD k VALUES 8 1 2 3 4 5 6 7 8 %s", id);
    }
    reply_int(c, 1, "VREM k %s", id);
    return found;
}

/* Every element of some is found, whole, whatever goes on. */
static void search_some(redisContext *c, unsigned from)
{
    for (unsigned i = from; i < from + 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "e%u", i % ELEMENTS);
        redisReply *r = reply_array(c, 1, "VSEARCH k ELE %s K 1", id);
        assert_string_equal(r->element[0]->str, id);
        freeReplyObject(r);
    }
}

/* One partition differs: it is fetched, and nothing else; writes and searches go on. */
static void mend(const char *const *args)
{
    struct two x = start(args);
    int full = number(x.p, "sync_full"), partial = number(x.p, "sync_partial_ok");
    double all = reply_info(x.p, "replication", "sync_bytes_last");
    char stray[2][16] = {"stray"};
    for (int i = 0; i == 0 || owner(x.p, stray[1]) == owner(x.p, stray[0]); i++)
        snprintf(stray[1], sizeof(stray[1]), "stray%d", i);
    repl_same(x.p, x.r);
    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        reply_int(x.r, 1, "VADD k VALUES 8 1 2 3 4 5 6 7 8 %s", stray[round]);
        for (; number(x.r, "partitions_mended") + number(x.r, "partitions_mend_failed") <= (int)round; n++) {
            assert_true(n < 2000);
            add(x.p, ELEMENTS + round * 100000 + n * 20, ELEMENTS + round * 100000 + n * 20 + 20);
            search_some(x.r, n * 50);
        }
        repl_same(x.p, x.r);
        assert_int_equal(reply_get_int(x.r, "VCARD k"), reply_get_int(x.p, "VCARD k"));
        redisReply *gone = reply_any(x.r, "VEMB k %s", stray[round]);
        assert_int_equal(gone->type, REDIS_REPLY_NIL);
        freeReplyObject(gone);
    }
    assert_int_equal(number(x.r, "partitions_mended"), 2);
    assert_int_equal(number(x.r, "partitions_mend_failed"), 0);
    assert_int_equal(number(x.p, "partitions_sent"), 2);
    assert_true(reply_info(x.p, "replication", "partitions_sent_bytes") > 0);
    assert_true(reply_info(x.p, "replication", "partitions_sent_bytes") < all * 2);
    assert_int_equal(number(x.p, "sync_full"), full);
    assert_int_equal(number(x.p, "sync_partial_ok"), partial);
    repl_wait_line(x.r, "master_link_status", "up");
    stop(&x);
}

static void test_mend(void **state)
{
    (void)state;
    mend(NULL);
}

/* The journal gets a base that holds what was fetched: a restart brings it back. */
static void test_mend_with_journal(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", NULL};
    struct two x = start(args);
    for (int64_t until = wait_now_ms() + 30000; reply_info(x.r, "persistence", "journal_complete") != 1;)
        assert_true(wait_now_ms() < until);
    reply_int(x.r, 1, "VADD k VALUES 8 1 2 3 4 5 6 7 8 first");
    wait_field(x.r, "partitions_mended", 1);
    repl_same(x.p, x.r);
    for (int64_t until = wait_now_ms() + 30000; reply_info(x.r, "persistence", "aof_rewrite_in_progress") != 0 ||
                                                reply_info(x.r, "persistence", "aof_rewrite_scheduled") != 0;)
        assert_true(wait_now_ms() < until);
    assert_int_equal(number(x.p, "sync_full"), 1);
    char *before = repl_facts(x.r);
    redisFree(x.r);
    server_restart(x.replica, SIGKILL);
    x.r = server_connect(x.replica);
    for (int64_t until = wait_now_ms() + 30000;;) {
        char *after = repl_facts(x.r);
        bool same = !strcmp(before, after);
        if (!same && wait_now_ms() > until)
            fail_msg("before:\n%safter:\n%s", before, after);
        free(after);
        if (same)
            break;
    }
    free(before);
    stop(&x);
}

/* ---- by hand ---- */

static void introduce(int fd)
{
    raw_puts(fd, "REPLCONF listening-port 1\r\nREPLCONF capa vecstore-1\r\n");
    raw_expect(fd, "+OK\r\n+OK\r\n");
}

/* A replica that is one by its words alone; *at: of the stream. */
static int follow(const struct test_server *s, struct wire_place *at)
{
    int fd = server_socket(s);
    char line[256] = "", id[64];
    introduce(fd);
    raw_puts(fd, "PSYNC ? -1\r\n");
    while (!*line)
        raw_line(fd, line, sizeof(line)); /* signs of life come first */
    assert_int_equal(sscanf(line, "+FULLRESYNC %40s %" SCNu64 " %" SCNx64 " %" SCNu64, id, &at->offset, &at->nonce, &at->lsn), 4);
    return fd;
}

static struct journal_frame next_frame(int fd, const struct wire_place *at, uint8_t *payload, size_t room)
{
    uint8_t head[WIRE_FRAME];
    struct journal_frame f;
    raw_read(fd, head, sizeof(head));
    assert_null(wire_head(head, at->nonce, &f));
    assert_true(f.bytes <= room);
    if (f.bytes)
        raw_read(fd, payload, f.bytes);
    assert_null(wire_check(&f, payload, at));
    return f;
}

static void say(int fd, const char *const *words, const void *last, size_t len)
{
    struct buf out = {0};
    unsigned n = 0;
    while (words[n])
        n++;
    buf_printf(&out, "*%u\r\n", n + 1);
    for (unsigned i = 0; i < n; i++)
        buf_printf(&out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    buf_printf(&out, "$%zu\r\n", len);
    buf_append(&out, last, len);
    buf_puts(&out, "\r\n");
    raw_send(fd, out.data, out.len);
    buf_release(&out);
}

static void test_acknowledged_digests(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    static uint8_t payload[2 << 20];
    struct wire_place at;
    struct journal_frame f;
    struct buf entries = {0};
    char key[] = "k\0\r\n";
    struct digest_entry e = {.part = {.number = 0, .key = key, .key_len = sizeof(key)}};
    freeReplyObject(redisCommand(c, "VADD %b VALUES 2 1 2 a", key, sizeof(key)));
    int fd = follow(s, &at);
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type != WIRE_SNAP_CLOSE || f.bytes != 8); /* of the pack */
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type != WIRE_SNAP_CLOSE); /* of the manifest */
    /* What the primary says of it, told back, is the same; with a bit changed it is not, and it is said again. */
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type != WIRE_DIGEST);
    assert_true(digest_read(payload, f.bytes, &e));
    assert_int_equal(e.part.key_len, sizeof(key));
    digest_put(&entries, &e);
    static const char *const ack[] = {"REPLCONF", "ACK", "0", "FACK", "0", "DIFFERS", "0", "DIGESTS", NULL};
    say(fd, ack, entries.data, entries.len);
    wait_field(c, "digests_acknowledged", 1);
    assert_int_equal(number(c, "digests_acknowledged_different"), 0);
    entries.data[24] ^= 1;
    say(fd, ack, entries.data, entries.len);
    wait_field(c, "digests_acknowledged_different", 1);
    server_wait_output(s, "acknowledges something else as partition 0", 20000);
    /* Entries that are none, or of what is not there, say nothing. */
    say(fd, ack, entries.data, entries.len - 1);
    say(fd, ack, "x", 1);
    entries.data[4] = 9;
    say(fd, ack, entries.data, entries.len);
    le32_put(entries.data + 8, UINT32_MAX);
    say(fd, ack, entries.data, entries.len);
    /* A partition that is not there. */
    static const char *const none[] = {"REPLCONF", "MEND", "0", "7", NULL};
    static const char *const bad[] = {"REPLCONF", "MEND", "-1", "x", NULL};
    say(fd, bad, key, sizeof(key));
    say(fd, none, key, sizeof(key));
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type != WIRE_PART);
    assert_true(digest_read(payload, f.bytes, &e));
    assert_int_equal(e.part.number, 7);
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type == WIRE_PING || f.type == WIRE_DIGEST);
    assert_int_equal(f.type, WIRE_SNAP_FAILED);
    /* One that is. */
    static const char *const there[] = {"REPLCONF", "MEND", "0", "0", NULL};
    say(fd, there, key, sizeof(key));
    do
        f = next_frame(fd, &at, payload, sizeof(payload));
    while (f.type != WIRE_PART);
    assert_true(digest_read(payload, f.bytes, &e) && e.sequence == 1);
    unsigned files = 0;
    while (files < 2)
        files += (f = next_frame(fd, &at, payload, sizeof(payload))).type == WIRE_SNAP_CLOSE;
    wait_field(c, "partitions_sent", 1);
    close(fd);
    buf_release(&entries);
    redisFree(c);
    server_stop(s);
}

static void test_refused(void **state)
{
    (void)state;
    struct test_server *s = server_start(NULL);
    redisContext *c = server_connect(s);
    struct wire_place at;
    char line[512];
    reply_int(c, 1, "VADD k VALUES 2 1 2 a");
    /* One that does not speak this version. */
    int fd = server_socket(s);
    raw_puts(fd, "REPLCONF capa psync2\r\nPSYNC ? -1\r\n");
    raw_expect(fd, "+OK\r\n");
    raw_line(fd, line, sizeof(line));
    assert_non_null(strstr(line, "for replicas that speak vecstore-1"));
    close(fd);
    /* An acknowledgement of what was never sent, and of more on disk than there is. */
    for (int i = 0; i < 2; i++) {
        fd = follow(s, &at);
        char ack[128];
        snprintf(ack, sizeof(ack), i ? "REPLCONF ACK 1 FACK 2 DIFFERS 0\r\n" : "REPLCONF ACK 1000000 FACK 0 DIFFERS 0\r\n");
        raw_puts(fd, ack);
        raw_expect_closed(fd);
        close(fd);
    }
    server_wait_output(s, "acknowledges what it was never sent", 20000);
    reply_status(c, "PONG", "PING");
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mend),
        cmocka_unit_test(test_mend_with_journal),
        cmocka_unit_test(test_acknowledged_digests),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
