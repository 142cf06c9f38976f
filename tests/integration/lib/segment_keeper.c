#include "integration/lib/segment_keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lib/run.h"
#include "persist/journal_check.h"

#define JOURNAL_DIR  "appendonlydir"
#define JOURNAL_NAME "appendonly.aof"
#define NUMBERS_GONE 100 /* in a row: there are no more segments */

static struct keeper {
    char from[512], to[512]; /* directories */
    int watch;
    pthread_t thread;
    atomic_bool stop;
    char error[256];
} keeper;

/* Gives a segment a second name, so that its content outlives a rewrite. */
static void keep(struct keeper *k, const char *name)
{
    char from[1024], to[1024];
    if (!journal_name_seq(JOURNAL_NAME, name, JOURNAL_SEGMENT_SUFFIX))
        return;
    snprintf(from, sizeof from, "%s/%s", k->from, name);
    snprintf(to, sizeof to, "%s/%s", k->to, name);
    if (link(from, to) < 0 && errno != ENOENT)
        snprintf(k->error, sizeof k->error, "%.200s: %s", name, strerror(errno));
}

static void *keeper_main(void *arg)
{
    struct keeper *k = arg;
    while (!atomic_load(&k->stop)) {
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        struct pollfd p = {.fd = k->watch, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = read(k->watch, events, sizeof events);
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const struct inotify_event *)(events + at);
            if (e->len)
                keep(k, e->name);
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
    return NULL;
}

void segment_keeper_start(const struct test_server *s)
{
    struct keeper *k = &keeper;
    memset(k, 0, sizeof *k);
    snprintf(k->from, sizeof k->from, "%s/%s", server_dir(s), JOURNAL_DIR);
    snprintf(k->to, sizeof k->to, "%s-kept", server_dir(s));
    assert_int_equal(mkdir(k->to, 0700), 0);
    k->watch = inotify_init1(IN_CLOEXEC);
    assert_true(inotify_add_watch(k->watch, k->from, IN_CREATE) >= 0);
    keep(k, JOURNAL_NAME ".1" JOURNAL_SEGMENT_SUFFIX);
    assert_int_equal(pthread_create(&k->thread, NULL, keeper_main, k), 0);
}

void segment_keeper_stop(void)
{
    atomic_store(&keeper.stop, true);
    pthread_join(keeper.thread, NULL);
    close(keeper.watch);
    assert_int_equal(run_remove_directory(keeper.to), 0);
    if (keeper.error[0])
        fail_msg("a segment could not be kept: %s", keeper.error);
}

/* Where record `lsn` begins. */
static uint64_t record_at(const char *journal, const struct journal_file *f, uint64_t lsn)
{
    struct journal_file open = {.seq = f->seq, .first = f->first};
    struct journal_reader r = {0};
    struct buf why = {0};
    char *path = journal_segment_path(journal, JOURNAL_NAME, f->seq);
    uint64_t at = 0;
    assert_int_equal(journal_reader_open(&r, &vfs_posix, path, &open, &why), VS_OK);
    while (!at && journal_reader_next(&r) == JOURNAL_FOUND_RECORD)
        if (r.frame.lsn == lsn)
            at = r.record_at;
    if (!at)
        fail_msg("no record %" PRIu64 " in %s, of %" PRIu64 " to %" PRIu64, lsn, path, f->first, f->last);
    journal_reader_close(&r);
    buf_release(&why);
    mem_free(path);
    return at;
}

bool segment_keeper_journal(const char *dir)
{
    struct journal_manifest m = {0};
    struct vfs_error err;
    char command[4096];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s' && cp -r '%s' '%s/%s'", dir, dir,
             keeper.to, dir, JOURNAL_DIR);
    assert_int_equal(system(command), 0);
    char journal[700];
    snprintf(journal, sizeof journal, "%s/%s", dir, JOURNAL_DIR);
    uint64_t missing = 0; /* numbers that bases took, or nobody yet */
    bool joined = true;
    for (uint64_t seq = 1; joined && missing < NUMBERS_GONE; seq++) {
        struct journal_census c = {0};
        int db = -1;
        char *path = journal_segment_path(journal, JOURNAL_NAME, seq);
        enum vs_status status = journal_check_segment(&vfs_posix, path, NULL, NULL, NULL, &db, &c);
        mem_free(path);
        if (status == VS_NOTFOUND) {
            missing++;
            continue;
        }
        missing = 0;
        /* A start copies records that were not known to be synced: the copies count. */
        while (m.count && m.segment[m.count - 1].first >= c.first)
            m.count--; /* a start that was killed had copied some of them before */
        struct journal_file *before = m.count ? &m.segment[m.count - 1] : NULL;
        if (before && before->last >= c.first) {
            before->end = record_at(journal, before, c.first);
            before->last = c.first - 1;
        }
        joined = c.first == (before ? before->last + 1 : 1);
        struct journal_file f = {.seq = seq,
                                 .first = c.first,
                                 .last = c.last,
                                 .end = c.lost_bytes ? c.at : c.bytes,
                                 .closed = true};
        assert_int_equal(journal_manifest_add(&m, &f), VS_OK);
    }
    if (joined)
        assert_int_equal(journal_manifest_store(&vfs_posix, journal, JOURNAL_NAME, &m, &err), VS_OK);
    else
        assert_int_equal(run_remove_directory(dir), 0);
    journal_manifest_release(&m);
    return joined;
}
