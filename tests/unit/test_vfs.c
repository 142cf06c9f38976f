/* File operations: the real ones, the helpers above them, and calls that go wrong. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "lib/run.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_path.h"

static char dir[128];

/* "dir/name", in one of a few buffers. */
static const char *in_dir(const char *name)
{
    static char path[8][256];
    static unsigned next;
    char *out = path[next++ % 8];
    snprintf(out, sizeof path[0], "%s/%s", dir, name);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    return run_make_directory("test_vfs", dir, sizeof dir);
}

static int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

static void assert_holds(const char *path, const char *text)
{
    struct buf b = {0};
    struct vfs_error err;
    assert_int_equal(vfs_path_load(&vfs_posix, path, 1 << 20, &b, &err), VS_OK);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.data, text, b.len);
    buf_release(&b);
}

static void test_file(void **state)
{
    (void)state;
    struct vfs_file f = {0}, again = {0};
    struct vfs_error err;
    char got[16];
    void *map;
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("a"), VFS_RDWR, &err), VS_NOTFOUND);
    assert_int_equal(err.number, ENOENT);
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("a"), VFS_RDWR | VFS_CREATE, &err),
                     VS_OK);
    assert_int_equal(vfs_file_append(&f, "hello ", 6, &err), VS_OK);
    assert_int_equal(vfs_file_append(&f, "world", 5, &err), VS_OK);
    assert_int_equal(vfs_file_write(&f, 0, "J", 1, &err), VS_OK);
    assert_int_equal(f.end, 11);
    assert_int_equal(vfs_file_read(&f, 0, got, 11, &err), VS_OK);
    assert_memory_equal(got, "Jello world", 11);
    assert_int_equal(vfs_file_read(&f, 5, got, 10, &err), VS_CORRUPT);
    assert_int_equal(err.at, 11);
    assert_non_null(strstr(err.text, "/a ends at offset 11, 4 more bytes"));
    assert_int_equal(vfs_file_sync(&f, true, &err), VS_OK);
    assert_int_equal(vfs_file_sync(&f, false, &err), VS_OK);
    assert_int_equal(vfs_file_truncate(&f, 5, &err), VS_OK);
    assert_int_equal(vfs_file_allocate(&f, 0, 8192, true, &err), VS_OK);
    assert_int_equal(f.end, 5);
    assert_int_equal(vfs_file_open(&again, &vfs_posix, in_dir("a"), VFS_RDONLY, &err), VS_OK);
    assert_int_equal(again.end, 5);
    assert_int_equal(vfs_file_lock(&f, &err), VS_OK);
    assert_int_equal(vfs_file_lock(&again, &err), VS_EXISTS);
    assert_int_equal(vfs_file_write(&again, 0, "x", 1, &err), VS_IO);
    assert_int_equal(err.number, EBADF);
    assert_int_equal(vfs_file_map(&again, 0, 5, VFS_MAP_READ, &map, &err), VS_OK);
    assert_memory_equal(map, "Jello", 5);
    assert_int_equal(vfs_unmap(&vfs_posix, map, 5), 0);
    assert_int_equal(vfs_file_map(&again, 0, 5, VFS_MAP_COPY, &map, &err), VS_OK);
    *(char *)map = 'C';
    vfs_file_close(&f);
    assert_int_equal(vfs_file_lock(&again, &err), VS_OK);
    vfs_file_close(&again);
    vfs_file_close(&again);
    assert_memory_equal(map, "Cello", 5);
    assert_int_equal(vfs_unmap(&vfs_posix, map, 5), 0);
    assert_holds(in_dir("a"), "Jello");
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("a"), VFS_RDWR | VFS_CREATE | VFS_EXCL,
                                   &err), VS_EXISTS);
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("a"), VFS_RDWR | VFS_TRUNC, NULL), VS_OK);
    assert_int_equal(f.end, 0);
    vfs_file_close(&f);
}

static void test_path(void **state)
{
    (void)state;
    struct vfs_error err;
    struct vfs_stat st;
    struct vfs_names names = {0};
    struct buf b = {0};
    assert_int_equal(vfs_path_mkdir(&vfs_posix, in_dir("sub"), &err), VS_OK);
    assert_int_equal(vfs_path_mkdir(&vfs_posix, in_dir("sub"), &err), VS_OK);
    assert_int_equal(vfs_path_store(&vfs_posix, in_dir("sub/c"), "one", 3, true, &err), VS_OK);
    assert_int_equal(vfs_path_store(&vfs_posix, in_dir("sub/c"), "two", 3, true, &err), VS_OK);
    assert_int_equal(vfs_path_store(&vfs_posix, in_dir("sub/a"), "", 0, true, &err), VS_OK);
    assert_int_equal(vfs_path_link(&vfs_posix, in_dir("sub/c"), in_dir("sub/b"), &err), VS_OK);
    assert_int_equal(vfs_path_link(&vfs_posix, in_dir("sub/c"), in_dir("sub/b"), &err), VS_EXISTS);
    assert_int_equal(vfs_path_mkdir(&vfs_posix, in_dir("sub/c"), &err), VS_EXISTS);
    assert_int_equal(vfs_path_list(&vfs_posix, in_dir("sub"), &names, &err), VS_OK);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.name[0], "a");
    assert_string_equal(names.name[1], "b");
    assert_string_equal(names.name[2], "c");
    vfs_names_release(&names);
    assert_int_equal(vfs_path_rename(&vfs_posix, in_dir("sub/b"), in_dir("b"), &err), VS_OK);
    assert_holds(in_dir("b"), "two");
    assert_int_equal(vfs_path_unlink(&vfs_posix, in_dir("sub/c"), &err), VS_OK);
    assert_int_equal(vfs_path_unlink(&vfs_posix, in_dir("sub/c"), &err), VS_NOTFOUND);
    assert_int_equal(vfs_path_stat(&vfs_posix, in_dir("b"), &st, &err), VS_OK);
    assert_true(st.size == 3 && !st.is_dir && st.inode && st.mtime_ms);
    assert_int_equal(vfs_path_stat(&vfs_posix, dir, &st, &err), VS_OK);
    assert_true(st.is_dir);
    assert_int_equal(vfs_path_load(&vfs_posix, in_dir("b"), 2, &b, &err), VS_LIMIT);
    assert_int_equal(vfs_path_load(&vfs_posix, in_dir("none"), 2, &b, &err), VS_NOTFOUND);
    assert_int_equal(vfs_path_list(&vfs_posix, in_dir("none"), &names, &err), VS_NOTFOUND);
    assert_non_null(strstr(err.text, "list of "));
    assert_non_null(strstr(err.text, dir));
    buf_release(&b);
    char path[4096];
    memset(path, 'x', sizeof path);
    memcpy(path + sizeof path - 5, "/end", 5);
    assert_int_equal(vfs_path_stat(&vfs_posix, path, &st, &err), VS_IO);
    assert_non_null(strstr(err.text, "/end: File name too long"));
}

/* What is no file is not opened, nor waited for. */
static void test_not_files(void **state)
{
    (void)state;
    struct vfs_file f = {0};
    struct vfs_error err;
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("fifo"), VFS_RDONLY, &err), VS_IO);
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("fifo"), VFS_RDWR, &err), VS_IO);
    assert_non_null(strstr(err.text, "fifo"));
    assert_int_equal(vfs_file_open(&f, &vfs_posix, in_dir("folder"), VFS_RDONLY, &err), VS_IO);
    assert_int_equal(err.number, EISDIR);
}

static void test_fault_rules(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    char why[128], got[8];
    int fd = vfs_open(&v, in_dir("a"), VFS_RDWR | VFS_CREATE);
    assert_true(fd >= 0);
    assert_true(vfs_fault_parse(f, "write:2:enospc:sticky,fsync:1:eio", why, sizeof why));
    assert_int_equal(vfs_write(&v, fd, "abcd", 4, 0), 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vfs_write(&v, fd, "x", 1, 0), -1);
        assert_int_equal(errno, ENOSPC);
    }
    assert_int_equal(vfs_fsync(&v, fd), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(vfs_fsync(&v, fd), 0);
    assert_int_equal(vfs_fault_calls(f, VFS_OP_WRITE), 4);
    assert_int_equal(vfs_fault_hits(f), 4);
    assert_true(vfs_fault_parse(f, "off", why, sizeof why));
    assert_int_equal(vfs_write(&v, fd, "A", 1, 0), 1);
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_SHORT, false);
    assert_int_equal(vfs_write(&v, fd, "wxyz", 4, 4), 2);
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_TORN, false);
    assert_int_equal(vfs_write(&v, fd, "YZ", 2, 6), -1);
    assert_int_equal(errno, EIO);
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_FORGET, false);
    assert_int_equal(vfs_write(&v, fd, "!!!!", 4, 0), 4);
    vfs_fault_set(f, VFS_OP_READ, 1, VFS_FAULT_SHORT, false);
    assert_int_equal(vfs_read(&v, fd, got, 8, 0), 4);
    assert_int_equal(vfs_read(&v, fd, got, 8, 0), 7);
    assert_memory_equal(got, "AbcdwxY", 7);
    vfs_fault_set(f, VFS_FAULT_ANY, 2, VFS_FAULT_EINTR, false);
    assert_int_equal(vfs_fdatasync(&v, fd), 0);
    assert_int_equal(vfs_truncate(&v, fd, 0), -1);
    assert_int_equal(errno, EINTR);
    uint64_t begin = clock_mono_ns();
    vfs_fault_set(f, VFS_OP_FSYNC, 1, VFS_FAULT_SLOW, false);
    assert_int_equal(vfs_fsync(&v, fd), 0);
    assert_true(clock_mono_ns() - begin >= VFS_FAULT_SLOW_MS * 1000000ull);
    vfs_fault_set(f, VFS_OP_CLOSE, 1, VFS_FAULT_EIO, false);
    assert_int_equal(vfs_close(&v, fd), -1);
    assert_int_equal(vfs_close(&v, fd), -1);
    assert_int_equal(errno, EBADF);
    static const char *const wrong[] = {
        "", "write", "write:1", "write:0:eio", "write:x:eio", "write:1:e", "wr:1:eio", "any",
        "write:1:eio:", "write:1:eio:sticky:", "write:1:eio,", "write:-1:eio", "write: 1:eio",
        "write:99999999999999999999:eio", "write:1:eio,off", "any:1:", "?:1:eio",
    };
    uint64_t hits = vfs_fault_hits(f);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        *why = '\0';
        assert_false(vfs_fault_parse(f, wrong[i], why, sizeof why));
        assert_true(*why);
    }
    struct vfs_stat st;
    assert_int_equal(vfs_stat(&v, dir, &st), 0);
    assert_int_equal(vfs_fault_hits(f), hits);
    assert_true(vfs_fault_parse(f, "any:1:eio", why, sizeof why));
    assert_int_equal(vfs_stat(&v, dir, &st), -1);
    vfs_fault_free(f);
}

/* Each call in turn fails, in each way: the file is the old one or the new one, and what the result
 * says. */
static void sweep_store(enum vfs_fault_kind kind, bool sticky, unsigned *points)
{
    const char *path = in_dir("s");
    char fresh[5000], aside[256];
    memset(fresh, 'n', sizeof fresh - 1);
    fresh[sizeof fresh - 1] = '\0';
    snprintf(aside, sizeof aside, "%s" VFS_ASIDE, path);
    for (uint64_t nth = 1;; nth++) {
        struct vfs_fault *f = vfs_fault_new(&vfs_posix);
        struct vfs v = vfs_fault_vfs(f);
        struct vfs_error err = {0};
        struct vfs_stat st;
        assert_int_equal(vfs_path_store(&vfs_posix, path, "old", 3, false, NULL), VS_OK);
        vfs_fault_set(f, VFS_FAULT_ANY, nth, kind, sticky);
        enum vs_status s = vfs_path_store(&v, path, fresh, sizeof fresh - 1, true, &err);
        bool hit = vfs_fault_hits(f) > 0;
        if (s && err.op != VFS_OP_SYNCDIR) {
            assert_non_null(strstr(err.text, path));
            assert_holds(path, "old");
            if (!sticky)
                assert_int_equal(vfs_path_stat(&vfs_posix, aside, &st, NULL), VS_NOTFOUND);
        } else if (kind != VFS_FAULT_FORGET) {
            assert_holds(path, fresh);
        }
        if (!sticky && (kind == VFS_FAULT_EINTR || kind == VFS_FAULT_SHORT))
            assert_int_equal(s, VS_OK);
        if (sticky && kind != VFS_FAULT_SHORT && nth == 1)
            assert_true(s != VS_OK);
        vfs_fault_free(f);
        ++*points;
        if (!hit && kind != VFS_FAULT_SHORT)
            break;
        if (nth > 30)
            break;
    }
}

static void test_store_sweep(void **state)
{
    (void)state;
    unsigned points = 0;
    for (unsigned kind = 0; kind < VFS_FAULT_SLOW; kind++)
        for (int sticky = 0; sticky < 2; sticky++)
            sweep_store((enum vfs_fault_kind)kind, sticky, &points);
    print_message("%u points\n", points);
}

/* A failed append leaves `end`, and the next one goes over what it left. */
static void test_append_again(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    struct vfs_file file = {0};
    struct vfs_error err;
    assert_int_equal(vfs_file_open(&file, &v, in_dir("j"), VFS_RDWR | VFS_CREATE, &err), VS_OK);
    assert_int_equal(vfs_file_append(&file, "first.", 6, &err), VS_OK);
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_TORN, false);
    assert_int_equal(vfs_file_append(&file, "second", 6, &err), VS_IO);
    assert_int_equal(file.end, 6);
    assert_int_equal(err.at, 6);
    assert_non_null(strstr(err.text, "write of "));
    assert_non_null(strstr(err.text, dir));
    assert_non_null(strstr(err.text, "/j at offset 6: Input/output error"));
    assert_holds(in_dir("j"), "first.sec");
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_SHORT, true);
    assert_int_equal(vfs_file_append(&file, "third", 5, &err), VS_OK);
    assert_holds(in_dir("j"), "first.third");
    vfs_fault_set(f, VFS_OP_WRITE, 1, VFS_FAULT_EINTR, true);
    assert_int_equal(vfs_file_append(&file, "x", 1, &err), VS_IO);
    assert_int_equal(err.number, EINTR);
    vfs_file_close(&file);
    vfs_fault_free(f);
}

static void *write_much(void *arg)
{
    struct vfs *v = arg;
    struct vfs_file f = {0};
    char name[256];
    snprintf(name, sizeof name, "%s/t%lx", dir, (unsigned long)pthread_self());
    assert_int_equal(vfs_file_open(&f, v, name, VFS_RDWR | VFS_CREATE, NULL), VS_OK);
    for (int i = 0; i < 500; i++)
        assert_int_equal(vfs_file_append(&f, "0123456789", 10, NULL), VS_OK);
    vfs_file_close(&f);
    return NULL;
}

static void test_fault_threads(void **state)
{
    (void)state;
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_much, &v), 0);
    for (int i = 0; i < 200; i++)
        vfs_fault_set(f, VFS_OP_WRITE, 3, i & 1 ? VFS_FAULT_SHORT : VFS_FAULT_EINTR, i & 1);
    vfs_fault_clear(f);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_true(vfs_fault_calls(f, VFS_OP_WRITE) >= 2000);
    vfs_fault_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fault_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store_sweep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_append_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fault_threads, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
}
