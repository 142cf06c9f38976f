/* Checking a journal without a store, printing it, and mending it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/journal_rig.h"
#include "lib/run.h"
#include "persist/journal_check.h"

static char dir[128], journal_dir[160];
static struct rig rig;
static struct vfs v;

/* A journal of three segments: records 1 to 40, 41 to 80, 81 to 100, sealed. */
static int set_up(void **state)
{
    struct vfs_error err;
    uint64_t lsn;
    (void)state;
    log_set_level(LOG_NOTHING);
    v = rig_vfs_unsynced();
    if (run_make_directory("test_check", dir, sizeof(dir)) != 0)
        return -1;
    snprintf(journal_dir, sizeof(journal_dir), "%s/appendonlydir", dir);
    rig_init(&rig, &v, journal_dir, JOURNAL_ALWAYS, 11);
    assert_int_equal(journal_open(rig.journal, &rig.manifest, &err), VS_OK);
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(rig_step(&rig), VS_OK);
        assert_true(rig_settle(&rig, 5000));
        if (i == 40 || i == 80)
            assert_int_equal(journal_rotate(rig.journal, &lsn), VS_OK);
    }
    assert_int_equal(rig_close(&rig), VS_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_release(&rig);
    return run_remove_directory(dir);
}

static void change(uint64_t seq, long at, long cut_to)
{
    char *path = journal_segment_path(journal_dir, RIG_NAME, seq);
    struct vfs_file f = {0};
    struct vfs_error err;
    char byte;
    assert_int_equal(vfs_file_open(&f, &v, path, VFS_RDWR, &err), VS_OK);
    if (at >= 0) {
        assert_int_equal(vfs_file_read(&f, (uint64_t)at, &byte, 1, &err), VS_OK);
        byte ^= 1;
        assert_int_equal(vfs_file_write(&f, (uint64_t)at, &byte, 1, &err), VS_OK);
    }
    if (cut_to >= 0)
        assert_int_equal(vfs_file_truncate(&f, (uint64_t)cut_to, &err), VS_OK);
    vfs_file_close(&f);
    mem_free(path);
}

static uint64_t size_of(uint64_t seq)
{
    char *path = journal_segment_path(journal_dir, RIG_NAME, seq);
    struct vfs_stat st;
    assert_int_equal(vfs_path_stat(&v, path, &st, NULL), VS_OK);
    mem_free(path);
    return st.size;
}

/* The last record that a start loads, with torn ends refused; 0: it refuses. */
static uint64_t loads(void)
{
    struct vs_store *store = NULL;
    struct journal_manifest m = {0};
    struct journal_loaded loaded = {0};
    struct buf why = {0};
    if (rig_load(&v, journal_dir, false, &store, &m, &loaded, &why) == VS_OK) {
        assert_int_equal(rig_digest(store), rig.digest[loaded.lsn]);
        vs_close(store);
    }
    journal_manifest_release(&m);
    buf_release(&why);
    return loaded.lsn;
}

/* Mends it; `expect` must be in the report. */
static enum vs_status fix(bool drop, const char *expect)
{
    struct buf report = {0};
    enum vs_status status = journal_fix(&v, journal_dir, RIG_NAME, drop, &report);
    if (expect && !memmem(report.data, report.len, expect, strlen(expect)))
        fail_msg("not in the report: %s\n%.*s", expect, (int)report.len, report.data);
    buf_release(&report);
    return status;
}

static void collect(void *arg, const void *data, size_t len)
{
    buf_append(arg, data, len);
}

/* Sent to a store, what is printed makes the same data. */
static void test_print(void **state)
{
    (void)state;
    struct buf out = {0};
    struct journal_census c;
    int db = -1;
    uint64_t records = 0;
    for (uint64_t seq = 1; seq <= 3; seq++) {
        char *path = journal_segment_path(journal_dir, RIG_NAME, seq);
        assert_int_equal(journal_check_segment(&v, path, NULL, collect, &out, &db, &c), VS_OK);
        assert_int_equal(c.found, JOURNAL_FOUND_END);
        assert_true(c.sealed);
        assert_int_equal(c.first, records + 1);
        records += c.records;
        assert_int_equal(c.last, records);
        mem_free(path);
    }
    assert_int_equal(records, 100);

    static const struct resp_limits limits = {.bulk_max = 1 << 20, .inline_max = 64, .args_max = 64};
    struct vs_options o = {.databases = 4};
    struct vs_store *store;
    struct resp_reader r = {0};
    struct effect_scratch x = {0};
    struct vs_effect e;
    unsigned to = 0;
    size_t used;
    assert_int_equal(vs_open(&o, &store), VS_OK);
    for (size_t at = 0; at < out.len; at += used) {
        assert_int_equal(resp_read(&r, out.data + at, out.len - at, &limits, true, &used), RESP_COMMAND);
        enum vs_status status = effect_parse(r.argv, r.argc, 4, &to, &x, &e, NULL);
        assert_true(status == VS_OK || status == VS_NOTFOUND);
        if (status == VS_OK)
            assert_int_equal(vs_apply(store, &e), VS_OK);
    }
    assert_int_equal(rig_digest(store), rig.digest[100]);
    vs_close(store);
    resp_reader_release(&r);
    effect_scratch_release(&x);
    buf_release(&out);
}

static void test_nothing_to_mend(void **state)
{
    (void)state;
    assert_int_equal(loads(), 100);
    assert_int_equal(fix(true, "nothing to mend"), VS_OK);
    assert_int_equal(loads(), 100);
}

static void test_torn(void **state)
{
    (void)state;
    change(3, -1, (long)size_of(3) - 70);
    assert_int_equal(loads(), 0);
    assert_int_equal(fix(false, "Cut off behind record 99: "), VS_OK);
    assert_int_equal(loads(), 99);
    assert_int_equal(fix(false, "nothing to mend"), VS_OK);
}

static void test_no_header(void **state)
{
    (void)state;
    change(3, -1, 30);
    assert_int_equal(loads(), 0);
    assert_int_equal(fix(false, "Cut off behind record 80: 30 bytes"), VS_OK);
    assert_int_equal(loads(), 80);
}

static void test_damaged(void **state)
{
    (void)state;
    change(2, (long)size_of(2) / 2, -1);
    assert_int_equal(loads(), 0);
    assert_int_equal(fix(false, "Cut off behind record "), VS_INVALID);
    assert_int_equal(loads(), 0);
    assert_int_equal(fix(true, "The journal can be loaded now"), VS_OK);
    uint64_t lsn = loads();
    assert_true(lsn > 40 && lsn < 80);
    struct vfs_names names = {0};
    assert_int_equal(vfs_path_list(&v, journal_dir, &names, NULL), VS_OK);
    assert_int_equal(names.count, 5);  /* manifest, two segments, two that are kept beside */
    vfs_names_release(&names);
}

static void test_header_damaged(void **state)
{
    (void)state;
    change(2, 20, -1);
    assert_int_equal(fix(false, "checksum"), VS_INVALID);
    assert_int_equal(fix(true, "Cut off behind record 40: "), VS_OK);
    assert_int_equal(loads(), 40);
}

static void test_missing_segment(void **state)
{
    (void)state;
    char *path = journal_segment_path(journal_dir, RIG_NAME, 2);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(loads(), 0);
    assert_int_equal(fix(false, NULL), VS_INVALID);
    assert_int_equal(fix(true, NULL), VS_OK);
    assert_int_equal(loads(), 40);
    mem_free(path);
}

static void test_no_manifest(void **state)
{
    (void)state;
    char *path = journal_manifest_path(journal_dir, RIG_NAME);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fix(false, "3 segments, up to record 100"), VS_OK);
    assert_int_equal(loads(), 100);
    /* One that cannot be read, and a torn end. */
    assert_int_equal(truncate(path, 50), 0);
    change(3, -1, (long)size_of(3) - 70);
    assert_int_equal(fix(false, "up to record 99"), VS_OK);
    assert_int_equal(loads(), 99);
    mem_free(path);
}

/* The newest that hang together are taken; without a base they must begin with record 1. */
static void test_no_manifest_gap(void **state)
{
    (void)state;
    char *manifest = journal_manifest_path(journal_dir, RIG_NAME);
    char *path = journal_segment_path(journal_dir, RIG_NAME, 2);
    assert_int_equal(unlink(manifest), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fix(true, "Records 1 to 80 are in no file"), VS_CORRUPT);
    mem_free(path);
    path = journal_segment_path(journal_dir, RIG_NAME, 3);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fix(true, "1 segments, up to record 40"), VS_OK);
    assert_int_equal(loads(), 40);
    mem_free(path);
    mem_free(manifest);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_print),          TEST(test_nothing_to_mend), TEST(test_torn),
        TEST(test_no_header),      TEST(test_damaged),         TEST(test_header_damaged),
        TEST(test_missing_segment), TEST(test_no_manifest),    TEST(test_no_manifest_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
