/* Files in memory: what is received where it stays, and mappings that are the memory itself. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/pages.h"
#include "persist/memory_files.h"
#include "persist/vfs_file.h"

#define PIECE ((size_t)100000)

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 131 >> 7);
}

static void receive(struct memory_files *m, struct vfs_file *f, size_t pieces)
{
    for (size_t i = 0; i < pieces; i++) {
        uint8_t *room = memory_files_room(m, f->fd, PIECE);
        assert_non_null(room);
        for (size_t k = 0; k < PIECE; k++)
            room[k] = byte_at(i * PIECE + k);
        assert_true(memory_files_filled(m, f->fd, PIECE, i, hash_bytes(room, PIECE, i)));
    }
}

static void test_given(void **state)
{
    (void)state;
    struct memory_files *m = memory_files_new();
    struct vfs v = memory_files_vfs(m);
    struct vfs_file f;
    struct vfs_error err;
    size_t before = pages_used();
    uint8_t data[64];
    void *at, *again;
    assert_int_equal(vfs_file_open(&f, &v, "d/a", VFS_RDWR | VFS_CREATE | VFS_EXCL, &err), VS_OK);
    receive(m, &f, 100);
    assert_int_equal(memory_files_bytes(m), 100 * PIECE);
    assert_int_equal(vfs_file_read(&f, 5 * PIECE - 32, data, 64, &err), VS_OK);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(data[i], byte_at(5 * PIECE - 32 + i));

    /* A sum is known for what has come in one piece, with that seed, and for nothing else. */
    for (uint64_t i = 0; i < 100; i++) {
        uint8_t piece[PIECE];
        assert_int_equal(vfs_file_read(&f, i * PIECE, piece, PIECE, &err), VS_OK);
        uint64_t sum = hash_bytes(piece, PIECE, i);
        assert_true(vfs_came_with(&v, f.fd, i * PIECE, PIECE, i, sum));
        assert_false(vfs_came_with(&v, f.fd, i * PIECE, PIECE, i + 1, sum));
        assert_false(vfs_came_with(&v, f.fd, i * PIECE, PIECE, i, sum + 1));
        assert_false(vfs_came_with(&v, f.fd, i * PIECE, PIECE - 1, i, sum));
        assert_false(vfs_came_with(&v, f.fd, i * PIECE + 1, PIECE, i, sum));
    }
    assert_int_equal(vfs_write(&v, f.fd, data, 1, 0), -1); /* it would not be true any more */
    assert_int_equal(errno, EINVAL);

    /* The memory goes to the mapping, counted, and outlives the files. */
    assert_int_equal(vfs_file_map(&f, 0, 99 * PIECE, VFS_MAP_COPY, &at, &err), VS_OK);
    assert_int_equal(pages_used() - before, pages_round(99 * PIECE));
    assert_int_not_equal(vfs_file_map(&f, 0, PIECE, VFS_MAP_COPY, &again, &err), VS_OK);
    assert_int_not_equal(vfs_file_read(&f, 0, data, 1, &err), VS_OK);
    assert_null(memory_files_room(m, f.fd, 1));
    vfs_file_close(&f);
    memory_files_free(m);
    for (size_t i = 0; i < 99 * PIECE; i += 1000)
        assert_int_equal(((uint8_t *)at)[i], byte_at(i));
    memset(at, 1, 99 * PIECE);
    assert_int_equal(vfs_unmap(&v, at, 99 * PIECE), 0);
    assert_int_equal(pages_used(), before);
}

/* Past what was reserved for it first it moves, with what it has. */
static void test_grows(void **state)
{
    (void)state;
    struct memory_files *m = memory_files_new();
    struct vfs v = memory_files_vfs(m);
    struct vfs_file f;
    struct vfs_error err;
    static const uint64_t far = (uint64_t)700 << 20;
    char data[8];
    void *at;
    assert_int_equal(vfs_file_open(&f, &v, "b", VFS_RDWR | VFS_CREATE, &err), VS_OK);
    assert_int_equal(vfs_file_append(&f, "first", 5, &err), VS_OK);
    assert_int_equal(vfs_file_write(&f, far, "last", 4, &err), VS_OK);
    assert_int_equal(vfs_file_read(&f, 0, data, 8, &err), VS_OK);
    assert_memory_equal(data, "first\0\0\0", 8);
    assert_int_equal(vfs_file_map(&f, 0, (size_t)far + 4, VFS_MAP_READ, &at, &err), VS_OK);
    assert_memory_equal(at, "first", 5);
    assert_memory_equal((char *)at + far, "last", 4);
    assert_int_equal(vfs_unmap(&v, at, (size_t)far + 4), 0);
    vfs_file_close(&f);
    memory_files_free(m);
}

static void test_names(void **state)
{
    (void)state;
    struct memory_files *m = memory_files_new();
    struct vfs v = memory_files_vfs(m);
    struct vfs_file f;
    struct vfs_error err;
    assert_int_equal(vfs_file_open(&f, &v, "x", VFS_RDONLY, &err), VS_NOTFOUND);
    assert_int_equal(vfs_file_open(&f, &v, "x", VFS_RDWR | VFS_CREATE, &err), VS_OK);
    assert_int_equal(vfs_file_append(&f, "one", 3, &err), VS_OK);
    vfs_file_close(&f);
    assert_int_equal(vfs_file_open(&f, &v, "x", VFS_RDWR | VFS_CREATE | VFS_EXCL, &err), VS_EXISTS);
    assert_int_equal(vfs_rename(&v, "x", "y"), 0);
    assert_int_equal(vfs_file_open(&f, &v, "y", VFS_RDWR | VFS_TRUNC, &err), VS_OK);
    assert_int_equal(f.end, 0);
    vfs_file_close(&f);
    assert_int_equal(vfs_unlink(&v, "y"), 0);
    assert_int_equal(vfs_unlink(&v, "y"), -1);
    memory_files_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_given), cmocka_unit_test(test_grows),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
