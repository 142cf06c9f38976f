/* vecstore-check-aof: checks a journal, prints it as commands, mends it.
 *
 *     vecstore-check-aof [--print] [--stats] [--files] FILE
 *     vecstore-check-aof --fix [--yes] FILE
 *
 * FILE is a journal's manifest (appendonly.aof.manifest), or one of its segments. Exit 0: all is well
 * (with --fix: now), 1: it is not, 2: wrong use.
 *
 *   --print  the commands, for redis-cli --pipe; what is said about the files goes to standard error
 *   --stats  what the segments hold
 *   --files  the files a backup of the journal consists of, the manifest last
 *   --fix    cuts off a torn end, or with --yes everything from the first damage on; the bytes are
 *            kept beside. Makes a manifest where there is none that can be read. No server may be
 *            running on the directory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hlc.h"
#include "base/mem.h"
#include "persist/journal_check.h"
#include "persist/effect.h"
#include "persist/persist.h"

struct check {
    bool print, stats, files, fix, yes;
    const char *path;
    char *dir, *name;   /* of the journal, when the file is a manifest */
    int db;             /* of what is printed */
    struct buf pieces;
    struct resp_reader reader;
    FILE *say;
};

static void usage(void)
{
    fputs("usage: vecstore-check-aof [--print] [--stats] [--files] [--fix [--yes]] FILE\n"
          "FILE is a journal's .manifest, or one of its segments\n",
          stderr);
    exit(2);
}

static void put(const void *data, size_t len)
{
    if (len && fwrite(data, 1, len, stdout) != len) {
        perror("standard output");
        exit(1);
    }
}

/* A server takes a dumped index as a whole: its pieces are kept until the RESTORE that is about them. */
static bool keep_piece(struct check *c, const struct resp_arg *argv, size_t argc)
{
    if (argc != 5 || !resp_is(&argv[0], "piece"))
        return false;
    if (argv[2].len == 1 && argv[2].data[0] == '0')
        c->pieces.len = 0;
    if (!buf_try_append(&c->pieces, argv[4].data, argv[4].len)) {
        fputs("out of memory for a dumped index\n", stderr);
        exit(1);
    }
    return true;
}

static bool put_restore(struct check *c, const struct resp_arg *argv, size_t argc)
{
    if (argc != 5 || !resp_is(&argv[0], "restore") || argv[3].len)
        return false;
    printf("*5\r\n$7\r\nRESTORE\r\n$%zu\r\n", argv[1].len);
    put(argv[1].data, argv[1].len);
    printf("\r\n$%zu\r\n%.*s\r\n$%zu\r\n", argv[2].len, (int)argv[2].len, argv[2].data, c->pieces.len);
    put(c->pieces.data, c->pieces.len);
    printf("\r\n$6\r\nABSTTL\r\n");
    buf_release(&c->pieces);
    return true;
}

static void print(void *arg, const void *data, size_t len)
{
    static const struct resp_limits limits = {.bulk_max = (size_t)1 << 30, .inline_max = 64, .args_max = EFFECT_ARGS_MAX};
    struct check *c = arg;
    size_t used;
    for (const char *at = data; len; at += used, len -= used) {
        if (resp_read(&c->reader, at, len, &limits, true, &used) != RESP_COMMAND)
            used = len; /* it has been found good */
        else if (keep_piece(c, c->reader.argv, c->reader.argc) || put_restore(c, c->reader.argv, c->reader.argc))
            continue;
        put(at, used);
    }
}

static void say_time(struct check *c, const char *what, uint64_t hlc)
{
    char text[32];
    struct tm tm;
    time_t seconds = (time_t)(hlc_ms(hlc) / 1000);
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(c->say, "  %s %s.%03u UTC\n", what, text, (unsigned)(hlc_ms(hlc) % 1000));
}

static void say_stats(struct check *c, const struct journal_census *s)
{
    static const char *const names[] = {
        "indexes created", "keys removed", "keys renamed", "databases emptied", "partitions dropped",
        "vectors added", "elements removed", "attributes set", "partitions pinned or unpinned", "keys' ends set", "elements' ends set",
        "keys restored", "databases swapped", "pieces of keys restored"};
    _Static_assert(sizeof(names) / sizeof(*names) == JOURNAL_CHECK_KINDS, "a name for each kind of effect");
    if (!c->stats)
        return;
    for (size_t i = 0; i < JOURNAL_CHECK_KINDS; i++)
        if (s->by_kind[i])
            fprintf(c->say, "  %" PRIu64 " %s\n", s->by_kind[i], names[i]);
    if (s->records) {
        say_time(c, "from", s->first_hlc);
        say_time(c, "to  ", s->last_hlc);
        fprintf(c->say, "  epoch %" PRIu64 "\n", s->epoch);
    }
}

/* False when something is wrong with it. */
static bool check_segment(struct check *c, const char *path, const struct journal_file *f)
{
    struct journal_census s;
    enum vs_status status = journal_check_segment(&vfs_posix, path, f, c->print ? print : NULL, c,
                                                  &c->db, &s);
    bool good = !status && s.found == JOURNAL_FOUND_END;
    fprintf(c->say, "%s: %" PRIu64 " bytes, ", path, s.bytes);
    if (s.records)
        fprintf(c->say, "records %" PRIu64 " to %" PRIu64 ", %" PRIu64 " commands%s\n", s.first, s.last,
                s.effects, s.sealed ? ", sealed" : "");
    else
        fprintf(c->say, "no records%s\n", s.sealed ? ", sealed" : "");
    say_stats(c, &s);
    if (good)
        return true;
    if (status || s.found == JOURNAL_FOUND_FAILED)
        fprintf(c->say, "  cannot be read: %s\n", s.reason[0] ? s.reason : vs_status_text(status));
    else
        fprintf(c->say,
                "  %s at offset %" PRIu64 ": %s; from there %" PRIu64 " bytes, %" PRIu64
                " records in them can be read\n",
                s.found == JOURNAL_FOUND_TORN ? "a torn end" : "DAMAGED", s.at, s.reason, s.lost_bytes,
                s.lost_records);
    return false;
}

static int check_manifest(struct check *c)
{
    struct journal_manifest m = {0};
    struct buf why = {0}, base = {0};
    enum vs_status status = journal_manifest_load(&vfs_posix, c->dir, c->name, &m, &why);
    bool good = status == VS_OK;
    if (!good)
        fprintf(c->say, "%.*s\n", (int)why.len, why.len ? why.data : "");
    if (good && m.has_base) {
        struct vfs_stat st;
        journal_base_name(c->name, m.base_seq, &base);
        buf_append(&base, "", 1);
        char *path = journal_path(c->dir, base.data);
        good = vfs_path_stat(&vfs_posix, path, &st, NULL) == VS_OK;
        if (c->files)
            printf("%s\n", path);
        fprintf(c->say, "%s: %s record %" PRIu64 ", see vecstore-check-rdb\n", path,
                good ? "a snapshot of everything up to" : "IS NOT THERE; it held everything up to",
                m.base_lsn);
        if (c->print)
            fputs("The commands begin after it: print it first, with vecstore-check-rdb --print\n",
                  stderr);
        mem_free(path);
    }
    if (good && m.partial)
        fprintf(c->say, "It is partial: it was switched off or on at run time, and has had no rewrite "
                        "since. A snapshot may hold more\n");
    for (size_t i = 0; i < m.count; i++) {
        char *path = journal_segment_path(c->dir, c->name, m.segment[i].seq);
        if (journal_manifest_gap(&m, i))
            fprintf(c->say, "Records are missing before record %" PRIu64 "\n", m.segment[i].first);
        if (c->files)
            printf("%s\n", path);
        good &= check_segment(c, path, &m.segment[i]);
        mem_free(path);
    }
    if (c->files)
        printf("%s\n", c->path);
    fprintf(c->say, good ? "The journal is good.\n"
                         : "The journal is NOT good. vecstore-check-aof --fix %s would mend it\n",
            c->path);
    journal_manifest_release(&m);
    buf_release(&why);
    buf_release(&base);
    return !good;
}

/* A server that runs holds the lock of the directory above. */
static bool take_lock(struct check *c, struct vfs_file *lock)
{
    struct vfs_error err;
    char *above = journal_path(c->dir, ".."), *path = journal_path(above, PERSIST_LOCK);
    enum vs_status status = vfs_file_open(lock, &vfs_posix, path, VFS_RDWR, &err);
    if (status == VS_OK)
        status = vfs_file_lock(lock, &err);
    if (status == VS_EXISTS)
        fprintf(stderr, "%s is locked: a server uses the files. Stop it first\n", path);
    else if (status && status != VS_NOTFOUND)
        fprintf(stderr, "%s\n", err.text);
    mem_free(above);
    mem_free(path);
    return status == VS_OK || status == VS_NOTFOUND;
}

/* Asks where somebody can answer. */
static bool confirmed(const struct check *c)
{
    char line[16];
    if (c->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fputs("Nothing has been changed. Records that were good once would be lost: with --yes it is "
              "done\n",
              stdout);
        return false;
    }
    fputs("Records that were good once are lost by this. Type yes to go on: ", stdout);
    fflush(stdout);
    return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

static int fix(struct check *c)
{
    struct vfs_file lock = {0};
    struct buf report = {0};
    enum vs_status status = VS_EXISTS;
    if (!take_lock(c, &lock))
        return 1;
    status = journal_fix(&vfs_posix, c->dir, c->name, false, &report);
    fwrite(report.data, 1, report.len, stdout);
    if (status == VS_INVALID && confirmed(c)) {
        report.len = 0;
        status = journal_fix(&vfs_posix, c->dir, c->name, true, &report);
        fwrite(report.data, 1, report.len, stdout);
    }
    buf_release(&report);
    vfs_file_close(&lock);
    return status != VS_OK;
}

static bool take_option(struct check *c, const char *word)
{
    if (!strcmp(word, "--print"))
        return c->print = true;
    if (!strcmp(word, "--stats"))
        return c->stats = true;
    if (!strcmp(word, "--files"))
        return c->files = true;
    if (!strcmp(word, "--fix"))
        return c->fix = true;
    if (!strcmp(word, "--yes"))
        return c->yes = true;
    return false;
}

int main(int argc, char **argv)
{
    struct check c = {.db = -1};
    int result;
    for (int i = 1; i < argc; i++) {
        if (take_option(&c, argv[i]))
            continue;
        if (c.path || argv[i][0] == '-')
            usage();
        c.path = argv[i];
    }
    if (!c.path || (c.yes && !c.fix) || (c.fix && (c.print || c.stats || c.files)))
        usage();
    c.say = c.print || c.files ? stderr : stdout;

    const char *slash = strrchr(c.path, '/'), *file = slash ? slash + 1 : c.path;
    size_t len = strlen(file), suffix = strlen(JOURNAL_MANIFEST_SUFFIX);
    if (len > suffix && strcmp(file + len - suffix, JOURNAL_MANIFEST_SUFFIX) == 0) {
        c.dir = slash ? mem_strndup(c.path, (size_t)(slash - c.path)) : mem_strndup(".", 1);
        c.name = mem_strndup(file, len - suffix);
        result = c.fix ? fix(&c) : check_manifest(&c);
    } else if (c.fix || c.files) {
        fputs("--fix and --files want the journal's manifest\n", stderr);
        result = 2;
    } else {
        result = !check_segment(&c, c.path, NULL);
    }
    mem_free(c.dir);
    mem_free(c.name);
    buf_release(&c.pieces);
    resp_reader_release(&c.reader);
    if (fflush(stdout)) {
        perror("standard output");
        result = 1;
    }
    return result;
}
