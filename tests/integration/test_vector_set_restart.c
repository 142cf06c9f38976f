/* What vector sets hold survives kill -9, by the journal and by a snapshot: indexes of every form (Q8, NOQUANT, BIN, REDUCE,
 * partitions), updates, removals, attributes sound and broken, transactions. After the start every answer is what it was, with
 * scores to the last digit, and the digests of records and graphs are equal.
 * tsan: skip (files are what it is about; the threads are those of test_persist and test_vector_set) */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define INPUT 12
#define ADDED 1500 /* elements of each index: enough for a graph */

struct form {
    const char *key, *create;   /* NULL: by the first VADD */
    const char *head, *tail;    /* of VADD's options */
};
static const struct form forms[] = {
    {"q8", NULL, "", ""},
    {"noquant", NULL, "", "NOQUANT M 8"},
    {"bin", NULL, "", "BIN"},
    {"reduced", NULL, "REDUCE 5 ", ""},
    {"parts", "VPARTITION CREATE parts DIM 12 PARTITIONS 3 METRIC L2", "", ""},
    {"both", "VPARTITION CREATE both DIM 7 REDUCE 12 PARTITIONS 2 SEED 99", "", ""},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void vector_of(int i, float out[INPUT])
{
    unsigned seed = (unsigned)i * 2654435761u + 1;
    for (int k = 0; k < INPUT; k++)
        out[k] = (float)(rand_r(&seed) % 2001 - 1000) / 100;
}

static void expect_all(redisContext *c, int n)
{
    for (int i = 0; i < n; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        if (r->type == REDIS_REPLY_ERROR)
            fail_msg("%s", r->str);
        freeReplyObject(r);
    }
}

static void add(redisContext *c, const struct form *f, int i)
{
    static const char *const attributes[] = {"SETATTR {\"i\":%d,\"even\":true}", "SETATTR {\"i\":%d}", "SETATTR {\"i\":%d,", ""};
    char command[256], options[64];
    float v[INPUT];
    vector_of(i, v);
    snprintf(options, sizeof options, attributes[i % 4], i);
    snprintf(command, sizeof command, "VADD %s %sFP32 %%b e%d %s %s", f->key, f->head, i % ADDED, f->tail, options);
    redisAppendCommand(c, command, v, sizeof v);
}

/* Of each index: elements, replaced ones, removed ones, attributes that change; a third of it in transactions. */
static void fill(redisContext *c)
{
    for (int f = 0; f < FORMS; f++) {
        if (forms[f].create)
            reply_status(c, "OK", forms[f].create);
        int sent = 0;
        for (int i = 0; i < ADDED + 200; i++, sent++)
            add(c, &forms[f], i);
        for (int round = 0; round < 100; round++) {
            redisAppendCommand(c, "MULTI");
            for (int i = 0; i < 3; i++)
                add(c, &forms[f], 7 * round + i + 2 * ADDED);
            redisAppendCommand(c, "VREM %s e%d", forms[f].key, 5 * round);
            redisAppendCommand(c, "VSETATTR %s e%d {\"i\":%d,\"tx\":1}", forms[f].key, 5 * round + 1, round);
            redisAppendCommand(c, "VSETATTR %s e%d %s", forms[f].key, 5 * round + 2, "");
            redisAppendCommand(c, "EXEC");
            sent += 8;
        }
        expect_all(c, sent);
    }
}

/* ---- what is there ---- */

static void put(char **at, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_ARRAY:
        *at += sprintf(*at, "[%zu", r->elements);
        for (size_t i = 0; i < r->elements; i++)
            put(at, r->element[i]);
        break;
    case REDIS_REPLY_INTEGER: *at += sprintf(*at, " %lld", r->integer); break;
    case REDIS_REPLY_NIL: *at += sprintf(*at, " nil"); break;
    default: *at += sprintf(*at, " %s", r->str); break;
    }
}

/* Every answer, as text; the caller frees it. */
static char *picture(redisContext *c)
{
    static const char *const questions[] = {
        "VSIM %s ELE e7 COUNT 50 WITHSCORES WITHATTRIBS",
        "VSIM %s ELE e11 COUNT 30 TRUTH WITHSCORES",
        "VSIM %s ELE e7 COUNT 40 WITHSCORES FILTER .i>100&&.i<900",
        "VSIM %s ELE e7 COUNT 40 FILTER .tx==1",
        "VSIM %s ELE e7 COUNT 40 FILTER .even",
        "VRANGE %s [e1 (e3",
        "VEMB %s e7",
        "VEMB %s e7 RAW",
        "VLINKS %s e7 WITHSCORES",
        "VCARD %s",
        "VDIM %s",
        "VGETATTR %s e6",
        "VGETATTR %s e7",
    };
    static const char *const fields[] = {"sequence", "records_digest", "linked_sequence", "graph_digest", "elements"};
    char *text = malloc(4 << 20), *at = text;
    for (int f = 0; f < FORMS; f++) {
        for (size_t q = 0; q < sizeof questions / sizeof *questions; q++) {
            redisReply *r = reply_any(c, questions[q], forms[f].key);
            at += sprintf(at, "\n%s %s:", forms[f].key, questions[q]);
            put(&at, r);
            if (r->type == REDIS_REPLY_ERROR)
                fail_msg("%s: %s", questions[q], r->str);
            freeReplyObject(r);
        }
        for (int p = 0; p < 3; p++) {
            redisReply *r = reply_any(c, "VPARTITION INFO %s %d", forms[f].key, p);
            for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
                for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
                    if (!strcmp(r->element[i]->str, fields[k])) {
                        at += sprintf(at, "\n%s/%d %s:", forms[f].key, p, fields[k]);
                        put(&at, r->element[i + 1]);
                    }
            freeReplyObject(r);
        }
    }
    return text;
}

/* What has been closed is linked: only records of a batch that is still open, 256 at most, are not. */
static bool linked(void *arg)
{
    bool open = false;
    for (int f = 0; f < FORMS && !open; f++)
        for (int p = 0; p < 3 && !open; p++) {
            redisReply *r = reply_any(arg, "VPARTITION INFO %s %d", forms[f].key, p);
            for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
                open |= !strcmp(r->element[i]->str, "waiting_batches") && r->element[i + 1]->integer > 0;
            freeReplyObject(r);
        }
    return !open;
}

struct wanted {
    redisContext *c;
    const char *before;
    char *after;
};

static bool same_now(void *arg)
{
    struct wanted *w = arg;
    free(w->after);
    w->after = picture(w->c);
    return strcmp(w->before, w->after) == 0;
}

/* Linking goes on behind, and comes to the same end. */
static void expect_picture(redisContext *c, const char *before)
{
    struct wanted w = {c, before, NULL};
    if (!wait_until(same_now, &w, 30000)) {
        size_t line = 0, i = 0;
        for (; before[i] == w.after[i]; i++)
            if (before[i] == '\n')
                line = i + 1;
        fail_msg("before:\n%.300s\nafter:\n%.300s", before + line, w.after + line);
    }
    free(w.after);
}

static void survives(const char *const *args, bool save)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    fill(c);
    assert_true(wait_until(linked, c, 30000));
    char *before = picture(c);
    if (save)
        saves_ask(c, "SAVE");
    for (int round = 0; round < 2; round++) {
        redisFree(c);
        server_restart(s, SIGKILL);
        c = server_connect(s);
        expect_picture(c, before);
    }
    free(before);
    redisFree(c);
    server_stop(s);
}

static void test_journal(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    survives(args, false);
}

static void test_snapshot(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "no", NULL};
    survives(args, true);
}

/* A base of the journal, with more behind it. */
static void test_rewritten(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    fill(c);
    freeReplyObject(reply_any(c, "BGREWRITEAOF"));
    for (int f = 0; f < FORMS; f++) {
        for (int i = 0; i < 300; i++)
            add(c, &forms[f], 3 * ADDED + i);
        expect_all(c, 300);
    }
    assert_true(wait_until(linked, c, 30000));
    char *before = picture(c);
    redisFree(c);
    server_restart(s, SIGKILL);
    c = server_connect(s);
    expect_picture(c, before);
    free(before);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journal),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
