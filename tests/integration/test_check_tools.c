/* vecstore-check-rdb and vecstore-check-aof on what a real server has written: they verify it, and
 * what they print makes the same data in another server; they name what is damaged, and --fix leaves
 * that out, after which a server starts. tsan: skip (files are what it is about) */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "integration/lib/reply.h"
#include "integration/lib/saves.h"
#include "integration/lib/server.h"
#include "lib/wait.h"

#define OUTPUT_MAX  (256 << 10)
#define LINES_MAX   64
#define DEADLINE_MS 20000

static char output[OUTPUT_MAX];

/* ---- running them ---- */

/* Runs a shell command; both its outputs stand in `output`. */
static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *fmt, ...)
{
    char command[4096];
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(command, sizeof command - 16, fmt, args);
    va_end(args);
    assert_true(used > 0 && used < (int)sizeof command - 16);
    strcat(command, " 2>&1");
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = 0;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Where the programs lie: beside the server. */
static const char *tools(void)
{
    static char dir[1024];
    const char *server = getenv("VECSTORE_SERVER"), *slash;
    server = server ? server : "build/vecstore-server";
    slash = strrchr(server, '/');
    char relative[1024], *absolute;
    snprintf(relative, sizeof relative, "%.*s", slash ? (int)(slash - server) : 1,
             slash ? server : ".");
    absolute = realpath(relative, NULL);
    assert_non_null(absolute);
    snprintf(dir, sizeof dir, "%s", absolute);
    free(absolute);
    return dir;
}

static void says(const char *part)
{
    if (!strstr(output, part))
        fail_msg("'%s' is not in:\n%s", part, output);
}

static void first_line(char *out, size_t size)
{
    size_t len = strcspn(output, "\n");
    assert_true(len < size);
    memcpy(out, output, len);
    out[len] = 0;
}

static void ends(int expected, int status)
{
    if (status != expected)
        fail_msg("exit status %d instead of %d:\n%s", status, expected, output);
}

static bool has_redis_cli(void)
{
    return shell("command -v redis-cli") == 0;
}

/* Sends a file of commands to a server. */
static void pipe_to(const struct test_server *s, const char *file)
{
    ends(0, shell("redis-cli -p %d --pipe < '%s'", server_port(s), file));
    says("errors: 0");
}

/* ---- what a server holds ---- */

static const char *field(const redisReply *info, const char *name)
{
    for (size_t i = 0; i + 1 < info->elements; i += 2)
        if (strcmp(info->element[i]->str, name) == 0)
            return info->element[i + 1]->str;
    return NULL;
}

static long long number(const redisReply *info, const char *name)
{
    for (size_t i = 0; i + 1 < info->elements; i += 2)
        if (strcmp(info->element[i]->str, name) == 0)
            return info->element[i + 1]->integer;
    return -1;
}

struct lines {
    char *line[LINES_MAX];
    size_t n;
};

static int compare_lines(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static void describe_key(redisContext *c, int db, const char *key, struct lines *out)
{
    redisReply *parts = reply_array(c, 2, "VPARTITION LIST %s COUNT 1000", key);
    const redisReply *list = parts->element[1];
    for (size_t k = 0; k < list->elements; k++) {
        const char *name = list->element[k]->element[0]->str;
        redisReply *info = reply_array(c, -1, "VPARTITION INFO %s %s", key, name);
        char text[256];
        snprintf(text, sizeof text, "%d %s %s: %lld elements, %s, pinned %lld\n", db, key, name,
                 number(info, "elements"), field(info, "records_digest"), number(info, "pinned"));
        assert_true(out->n < LINES_MAX);
        out->line[out->n++] = strdup(text);
        freeReplyObject(info);
    }
    freeReplyObject(parts);
}

/* A line for each partition, with the digest of its elements. The caller frees it. */
static char *describe(redisContext *c)
{
    struct lines lines = {0};
    for (int db = 0; db < 2; db++) {
        reply_status(c, "OK", "SELECT %d", db);
        redisReply *keys = reply_array(c, -1, "KEYS *");
        for (size_t i = 0; i < keys->elements; i++)
            describe_key(c, db, keys->element[i]->str, &lines);
        freeReplyObject(keys);
    }
    reply_status(c, "OK", "SELECT 0");
    qsort(lines.line, lines.n, sizeof lines.line[0], compare_lines);
    char *text = calloc(lines.n + 1, 256);
    for (size_t i = 0; i < lines.n; i++) {
        strcat(text, lines.line[i]);
        free(lines.line[i]);
    }
    return text;
}

static void same(redisContext *a, redisContext *b)
{
    char *x = describe(a), *y = describe(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

static void add(redisContext *c, const char *key, int from, int to)
{
    for (int i = from; i < to; i++)
        redisAppendCommand(c, i % 3 ? "VADD %s VALUES 4 %d %d %d 1 e%d"
                                    : "VADD %s VALUES 4 %d %d %d 1 e%d SETATTR {\"n\":%d}",
                           key, i % 7, i % 11, i % 13, i, i);
    for (int i = from; i < to; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        freeReplyObject(r);
    }
}

static void fill(redisContext *c)
{
    char id[400];
    reply_status(c, "OK", "VPARTITION CREATE graph DIM 4 METRIC L2 M 6");
    reply_status(c, "OK", "VPARTITION CREATE flat DIM 4 METRIC IP TYPE FLAT NOQUANT");
    reply_status(c, "OK", "VPARTITION CREATE half DIM 4 BF16 ORIGINALS F16 PARTITIONS 3");
    add(c, "graph", 0, 2500);
    add(c, "flat", 0, 1100);
    add(c, "half", 0, 50);
    add(c, "plain", 0, 20);
    for (int i = 0; i < 600; i += 7)
        reply_int(c, 1, "VREM graph e%d", i);
    reply_status(c, "OK", "VPARTITION DROP half 1");
    reply_status(c, "OK", "VPARTITION PIN half 2");
    add(c, "half", 20, 80);
    memset(id, 'x', sizeof id);
    memcpy(id, "\r\n \0$", 5);
    reply_int(c, 1, "VADD plain VALUES 4 1 2 3 4 %b", id, sizeof id);
    reply_int(c, 1, "VADD plain VALUES 4 1 2 3 4 %b", "", (size_t)0);
    reply_status(c, "OK", "SELECT 1");
    add(c, "other", 0, 5);
    reply_status(c, "OK", "VPARTITION CREATE empty DIM 3");
    reply_status(c, "OK", "SELECT 0");
}

/* ---- snapshots ---- */

static const char *const no_journal[] = {"--appendonly", "no", NULL};

static void test_rdb(void **state)
{
    (void)state;
    struct test_server *s = server_start(no_journal), *t = server_start(no_journal);
    redisContext *c = server_connect(s), *d = server_connect(t);
    char rdb[512], copy[512];
    fill(c);
    saves_ask(c, "SAVE");
    snprintf(rdb, sizeof rdb, "%s/dump.rdb", server_dir(s));
    snprintf(copy, sizeof copy, "%s/copy", server_dir(s));

    ends(0, shell("%s/vecstore-check-rdb '%s'", tools(), rdb));
    says("is good: ");
    says(" elements in 6 indexes, ");
    ends(0, shell("%s/vecstore-check-rdb --stats '%s'", tools(), rdb));
    says("database 0 'graph': dim 4, ");
    says("database 1 'other': dim 4, ");
    says("partition 2: ");

    /* The files it names are all that a copy needs; the copy has the same digest. */
    ends(0, shell("%s/vecstore-check-rdb --digest '%s' > '%s/digest'", tools(), rdb, server_dir(s)));
    ends(0, shell("mkdir -p '%s/dump.rdb.d' && for f in $(%s/vecstore-check-rdb --files '%s'); do "
                  "case $f in *.seg) cp \"$f\" '%s/dump.rdb.d';; *) cp \"$f\" '%s';; esac; done",
                  copy, tools(), rdb, copy, copy));
    ends(0, shell("%s/vecstore-check-rdb --digest '%s/dump.rdb' | cmp - '%s/digest'", tools(), copy,
                  server_dir(s)));

    /* Pinning alone changes a snapshot, too. */
    reply_status(c, "OK", "VPARTITION PIN graph 0");
    reply_status(c, "OK", "VPARTITION UNPIN half 2");
    saves_ask(c, "SAVE");
    if (has_redis_cli()) {
        ends(0, shell("%s/vecstore-check-rdb --print '%s' > '%s/commands'", tools(), rdb,
                      server_dir(s)));
        snprintf(copy, sizeof copy, "%s/commands", server_dir(s));
        pipe_to(t, copy);
        same(c, d);
    }
    redisFree(c);
    redisFree(d);
    server_stop(s);
    server_stop(t);
}

/* Changes a byte of the file, or (at < 0) takes so many from its end. */
static void damage(const char *path, long at)
{
    int fd = open(path, O_RDWR);
    struct stat st;
    char byte;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    if (at < 0) {
        assert_int_equal(ftruncate(fd, st.st_size + at), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* The largest of the segment files. */
static void largest(const char *dir, char *path, size_t size)
{
    ends(0, shell("ls -S '%s'/*.seg | head -n 1", dir));
    first_line(path, size);
}

/* One partition of several is damaged: it is named, left out, and all others are served. */
static void damaged_rdb(long at)
{
    struct test_server *s = server_start(no_journal);
    redisContext *c = server_connect(s);
    char rdb[512], dir[512], segment[1024];
    snprintf(rdb, sizeof rdb, "%s/dump.rdb", server_dir(s));
    snprintf(dir, sizeof dir, "%s/dump.rdb.d", server_dir(s));
    reply_status(c, "OK", "VPARTITION CREATE graph DIM 4 METRIC L2 M 6");
    add(c, "graph", 0, 2500);
    add(c, "plain", 0, 20);
    saves_ask(c, "SAVE");
    redisFree(c);
    server_end(s, SIGKILL);
    largest(dir, segment, sizeof segment);
    damage(segment, at);

    ends(1, shell("%s/vecstore-check-rdb '%s'", tools(), rdb));
    says("partition 0 of 'graph' (database 0): ");
    says(strrchr(segment, '/') + 1);
    says("1 partitions of ");
    says("'vecstore-check-rdb --fix ");
    ends(0, shell("%s/vecstore-check-rdb --fix '%s'", tools(), rdb));
    says("1 damaged partitions are left out of ");
    says("dump.rdb.damaged");
    ends(0, shell("%s/vecstore-check-rdb '%s'", tools(), rdb));
    says("is good: 20 elements in 2 indexes");
    ends(1, shell("%s/vecstore-check-rdb --segments '%s' '%s.damaged'", tools(), dir, rdb));

    server_again(s, NULL);
    c = server_connect(s);
    reply_int(c, 20, "VCARD plain");
    reply_int(c, 0, "VCARD graph");
    add(c, "graph", 0, 30);
    saves_ask(c, "SAVE");
    reply_int(c, 30, "VCARD graph");
    redisFree(c);
    server_stop(s);
}

static void test_rdb_damaged(void **state)
{
    (void)state;
    damaged_rdb(4096 + 100);
    damaged_rdb(-5000);
}

static void test_rdb_refused(void **state)
{
    (void)state;
    struct test_server *s = server_start(no_journal);
    redisContext *c = server_connect(s);
    char rdb[512];
    snprintf(rdb, sizeof rdb, "%s/dump.rdb", server_dir(s));
    add(c, "plain", 0, 20);
    saves_ask(c, "SAVE");
    redisFree(c);
    damage(rdb, 200);
    ends(1, shell("%s/vecstore-check-rdb '%s'", tools(), rdb));
    says("dump.rdb, offset 128: ");
    says("cannot be repaired");
    ends(1, shell("%s/vecstore-check-rdb --fix '%s'", tools(), rdb));
    says("cannot be repaired");
    damage(rdb, -1);
    ends(1, shell("%s/vecstore-check-rdb '%s'", tools(), rdb));
    ends(1, shell("%s/vecstore-check-rdb '%s.nothing'", tools(), rdb));
    ends(2, shell("%s/vecstore-check-rdb", tools()));
    ends(2, shell("%s/vecstore-check-rdb --what '%s'", tools(), rdb));
    server_stop(s);
}

/* ---- the journal ---- */

/* A journal alone, and then a base with what came after it: printed one after the other. */
static void test_aof(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    char manifest[512], commands[512];
    snprintf(manifest, sizeof manifest, "%s/appendonlydir/appendonly.aof.manifest", server_dir(s));
    snprintf(commands, sizeof commands, "%s/commands", server_dir(s));
    fill(c);
    for (int rewritten = 0; rewritten < 2; rewritten++) {
        if (rewritten) {
            saves_ask(c, "BGREWRITEAOF");
            assert_true(wait_until(saves_idle, c, DEADLINE_MS));
            add(c, "plain", 10, 40);
            reply_int(c, 1, "VREM plain e3");
        }
        reply_int(c, 1, "COPY graph copy:%d", rewritten);
        ends(0, shell("%s/vecstore-check-aof '%s'", tools(), manifest));
        ends(0, shell("%s/vecstore-check-aof --stats '%s'", tools(), manifest));
        says("vectors added");
        says("pieces of keys restored");
        ends(0, shell("> '%s'; cd '%s/appendonlydir' && for b in *.base.rdb; do test ! -e \"$b\" || "
                      "'%s/vecstore-check-rdb' --print \"$b\" >> '%s'; done",
                      commands, server_dir(s), tools(), commands));
        ends(0, shell("(echo SELECT 0; %s/vecstore-check-aof --print '%s' 2> /dev/null) >> '%s'",
                      tools(), manifest, commands));
        if (!has_redis_cli())
            continue;
        struct test_server *t = server_start(no_journal);
        redisContext *d = server_connect(t);
        pipe_to(t, commands);
        same(c, d);
        redisFree(d);
        server_stop(t);
    }
    redisFree(c);
    server_stop(s);
}

/* A server of these arguments whose journal has 40 vectors and is damaged so when it has ended by
 * `signal`: the journal's manifest and the segment. */
static struct test_server *damaged_aof(const char *const *args, int signal, long at, char *manifest,
                                       char *segment, size_t size)
{
    struct test_server *s = server_start(args);
    redisContext *c = server_connect(s);
    snprintf(manifest, size, "%s/appendonlydir/appendonly.aof.manifest", server_dir(s));
    add(c, "plain", 0, 40);
    redisFree(c);
    server_end(s, signal);
    ends(0, shell("ls '%s'/appendonlydir/*.incr.aof | tail -n 1", server_dir(s)));
    first_line(segment, size);
    damage(segment, at);
    return s;
}

static void test_aof_torn(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "no",
                                       "--aof-load-truncated", "no", NULL};
    char manifest[1024], segment[1024];
    struct test_server *s = damaged_aof(args, SIGKILL, -10, manifest, segment, sizeof segment);

    ends(1, shell("%s/vecstore-check-aof '%s'", tools(), manifest));
    says("offset ");
    says("--fix");
    ends(0, shell("%s/vecstore-check-aof --fix '%s'", tools(), manifest));
    says(".cut-");
    ends(0, shell("%s/vecstore-check-aof '%s'", tools(), manifest));
    ends(0, shell("ls '%s'.cut-*", segment));
    server_again(s, NULL);
    redisContext *c = server_connect(s);
    reply_int(c, 39, "VCARD plain");
    redisFree(c);
    server_stop(s);
}

/* In the middle, behind what was synced: only with --yes, and everything from there on goes. */
static void test_aof_damaged(void **state)
{
    (void)state;
    static const char *const args[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    char manifest[1024], segment[1024];
    struct test_server *s = damaged_aof(args, SIGTERM, 2000, manifest, segment, sizeof segment);

    ends(1, shell("%s/vecstore-check-aof '%s'", tools(), manifest));
    says("offset ");
    ends(1, shell("%s/vecstore-check-aof --fix '%s' < /dev/null", tools(), manifest));
    ends(0, shell("%s/vecstore-check-aof --fix --yes '%s'", tools(), manifest));
    says("records");
    ends(0, shell("%s/vecstore-check-aof '%s'", tools(), manifest));
    server_again(s, NULL);
    redisContext *c = server_connect(s);
    long long left = reply_get_int(c, "VCARD plain");
    assert_true(left > 0 && left < 40);
    redisFree(c);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdb),      cmocka_unit_test(test_rdb_damaged),
        cmocka_unit_test(test_rdb_refused), cmocka_unit_test(test_aof),
        cmocka_unit_test(test_aof_torn), cmocka_unit_test(test_aof_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
