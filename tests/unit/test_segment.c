/* Segment files: what is written is read; whatever is changed in them is found; pages that cannot be
 * read become a bad file and no signal. And the manifest of a snapshot. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
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
#include "base/rng.h"
#include "lib/run.h"
#include "persist/region_fault.h"
#include "persist/segment.h"
#include "persist/snapshot_manifest.h"
#include "persist/vfs_fault.h"
#include "persist/vfs_path.h"

static char dir[128];

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_NOTHING);
    return run_make_directory("test_segment", dir, sizeof(dir));
}

static int tear_down(void **state)
{
    (void)state;
    return run_remove_directory(dir);
}

/* Byte `at` of the section that begins at 4096. */
static uint8_t byte_at(size_t at)
{
    return (uint8_t)hash_mix(at);
}

/* A file of one section of `len` bytes, in pieces of different sizes. */
static struct segment_sums write_file(const char *path, size_t len, uint64_t expect)
{
    struct segment_writer *w;
    struct segment_sums sums;
    uint8_t piece[1000];
    assert_int_equal(segment_create(&vfs_posix, path, 7, 3, expect, &w, NULL), VS_OK);
    assert_int_equal(segment_begin(w), SEGMENT_ALIGN);
    for (size_t at = 0, n; at < len; at += n) {
        n = at % 997 + 1 < len - at ? at % 997 + 1 : len - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_at(at + i);
        assert_true(segment_put(w, piece, n));
    }
    assert_int_equal(segment_at(w), SEGMENT_ALIGN + len);
    assert_int_equal(segment_finish(w, &sums, NULL), VS_OK);
    return sums;
}

static struct region *map_file(const char *path, const struct segment_sums *sums,
                               struct segment_set *set)
{
    struct region *r = NULL;
    struct buf why = {0};
    if (segment_map(&vfs_posix, path, sums, set, &r, &why) != VS_OK)
        r = NULL;
    buf_release(&why);
    return r;
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t sizes[] = {1, 4096, SEGMENT_BLOCK_SMALL - SEGMENT_ALIGN, SEGMENT_BLOCK_SMALL, 700000};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
        for (int large = 0; large < 2; large++) {
            struct buf why = {0};
            struct segment_set *set = segment_set_new();
            char name[32];
            snprintf(name, sizeof(name), "f%zu-%d", k, large);
            struct segment_sums sums = write_file(in_dir(name), sizes[k], large ? 1u << 30 : 0);
            assert_int_equal(segment_verify(&vfs_posix, in_dir(name), &sums, &why), VS_OK);
            struct region *r = map_file(in_dir(name), &sums, set);
            assert_non_null(r);
            assert_int_equal(segment_end(r), SEGMENT_ALIGN + sizes[k]);
            assert_int_equal(segment_block(r), large ? SEGMENT_BLOCK : SEGMENT_BLOCK_SMALL);
            assert_true(r->check(r, 0, r->size));
            assert_false(r->check(r, r->size, 1)); /* beyond the end */
            for (size_t i = 0; i < sizes[k]; i++)
                assert_int_equal(r->base[SEGMENT_ALIGN + i], byte_at(i));
            struct segment_set_bytes count;
            segment_set_count(set, &count);
            assert_int_equal(count.files, 1);
            assert_int_equal(count.checked, count.mapped);
            segment_set_unref(set); /* the region has one of its own */
            region_unref(r);
            buf_release(&why);
        }
}

/* A block is checked once: what is written into the mapping afterwards is nobody's damage. */
static void test_written_after_check(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    struct segment_sums sums = write_file(in_dir("w"), 300000, 0);
    struct region *r = map_file(in_dir("w"), &sums, set);
    assert_true(r->check(r, SEGMENT_ALIGN, 10));
    memset(r->base + SEGMENT_ALIGN, 0x55, 100);
    assert_true(r->check(r, SEGMENT_ALIGN, 10));
    assert_true(r->check(r, SEGMENT_ALIGN, SEGMENT_BLOCK_SMALL)); /* with its neighbour */
    struct buf why = {0};
    assert_int_equal(segment_verify(&vfs_posix, in_dir("w"), &sums, &why), VS_OK);
    buf_release(&why);
    region_unref(r);
    segment_set_unref(set);
}

static void flip(const char *path, size_t bit)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)(bit / 8), SEEK_SET);
    int c = fgetc(f);
    fseek(f, (long)(bit / 8), SEEK_SET);
    fputc(c ^ 1 << bit % 8, f);
    fclose(f);
}

/* Every bit of header, table and footer, and one in each 64 bytes of the rest. */
static void test_flips(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    struct segment_sums sums = write_file(in_dir("flip"), 150000, 0);
    size_t end = SEGMENT_ALIGN + 150000;
    for (size_t bit = 0; bit < sums.size * 8; bit += bit / 8 < 64 || bit / 8 >= end ? 1 : 517) {
        struct buf why = {0};
        flip(in_dir("flip"), bit);
        assert_int_equal(segment_verify(&vfs_posix, in_dir("flip"), &sums, &why), VS_CORRUPT);
        assert_true(why.len > 0);
        buf_release(&why);
        struct region *r = map_file(in_dir("flip"), &sums, set);
        if (r) {
            assert_true(bit / 8 < end);
            assert_false(r->check(r, 0, r->size));
            assert_true(region_is_bad(r));
            r->describe(r, &why);
            assert_non_null(memmem(why.data, why.len, "offset", 6));
            buf_release(&why);
            region_unref(r);
        }
        flip(in_dir("flip"), bit);
    }
    struct buf why = {0};
    assert_int_equal(segment_verify(&vfs_posix, in_dir("flip"), &sums, &why), VS_OK);
    buf_release(&why);
    segment_set_unref(set);
}

static void test_prefixes(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    struct segment_sums sums = write_file(in_dir("cut"), 10000, 0);
    for (long size = (long)sums.size - 1; size >= 0; size -= size > 200 ? 61 : 1) {
        struct buf why = {0};
        assert_int_equal(truncate(in_dir("cut"), size), 0);
        assert_int_equal(segment_verify(&vfs_posix, in_dir("cut"), &sums, &why), VS_CORRUPT);
        assert_int_equal(segment_verify(&vfs_posix, in_dir("cut"), NULL, &why), VS_CORRUPT);
        assert_null(map_file(in_dir("cut"), &sums, set));
        buf_release(&why);
    }
    segment_set_unref(set);
}

/* Another file under the same name, good in itself. */
static void test_other_file(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    struct segment_sums a = write_file(in_dir("a"), 5000, 0), b = write_file(in_dir("b"), 5000, 0);
    assert_int_equal(a.size, b.size);
    assert_null(map_file(in_dir("b"), &a, set));
    struct region *r = map_file(in_dir("b"), NULL, set);
    assert_non_null(r);
    region_unref(r);
    segment_set_unref(set);
}

/* A file cut short under its mapping: reading goes on, the file is bad. */
static void test_sigbus(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    signal(SIGBUS, SIG_DFL); /* cmocka's away */
    region_fault_install();
    struct segment_sums sums = write_file(in_dir("bus"), 500000, 0);
    struct region *r = map_file(in_dir("bus"), &sums, set);
    uint32_t before = atomic_load(&region_faults);
    assert_int_equal(truncate(in_dir("bus"), 8192), 0);
    volatile uint8_t x = r->base[400000];
    (void)x;
    assert_true(region_is_bad(r));
    assert_true(atomic_load(&region_faults) > before);
    assert_false(r->check(r, SEGMENT_ALIGN, 4096));
    struct buf why = {0};
    r->describe(r, &why);
    assert_true(why.len > 0);
    buf_release(&why);
    region_unref(r);
    segment_set_unref(set);
}

struct checker {
    struct region *r;
    _Atomic bool *go;
    uint64_t seed;
    bool good;
};

/* Checks parts, then writes to them, while others do the same. */
static void *check_and_write(void *arg)
{
    struct checker *c = arg;
    struct rng rng = {c->seed};
    c->good = true;
    while (!atomic_load(c->go))
        ;
    for (int i = 0; i < 400; i++) {
        size_t at = SEGMENT_ALIGN + rng_below(&rng, c->r->size - SEGMENT_ALIGN - 64);
        c->good &= c->r->check(c->r, at, 64);
        atomic_store((_Atomic uint8_t *)(c->r->base + at), 0xAA);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct segment_set *set = segment_set_new();
    struct segment_sums sums = write_file(in_dir("thr"), 900000, 0);
    for (int round = 0; round < 20; round++) {
        struct region *r = map_file(in_dir("thr"), &sums, set);
        _Atomic bool go = false;
        pthread_t t[4];
        struct checker c[4];
        for (int i = 0; i < 4; i++) {
            c[i] = (struct checker){r, &go, (uint64_t)(round * 4 + i), false};
            assert_int_equal(pthread_create(&t[i], NULL, check_and_write, &c[i]), 0);
        }
        atomic_store(&go, true);
        for (int i = 0; i < 4; i++) {
            pthread_join(t[i], NULL);
            assert_true(c[i].good);
        }
        region_unref(r);
    }
    segment_set_unref(set);
}

/* Every operation fails once: nothing is left behind, and nothing half-written passes for whole. */
static void test_faults(void **state)
{
    (void)state;
    enum vfs_fault_kind kinds[] = {VFS_FAULT_EIO, VFS_FAULT_ENOSPC, VFS_FAULT_TORN,
                                   VFS_FAULT_SHORT, VFS_FAULT_EINTR};
    struct vfs_fault *f = vfs_fault_new(&vfs_posix);
    struct vfs v = vfs_fault_vfs(f);
    uint8_t data[5000];
    memset(data, 7, sizeof(data));
    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
        for (unsigned nth = 1;; nth++) {
            struct segment_writer *w;
            struct segment_sums sums;
            struct vfs_error err;
            struct vfs_stat st;
            vfs_fault_clear(f);
            uint64_t hits = vfs_fault_hits(f);
            vfs_fault_set(f, VFS_FAULT_ANY, nth, kinds[k], false);
            enum vs_status status = segment_create(&v, in_dir("x"), 1, 1, 0, &w, &err);
            if (status == VS_OK) {
                for (int i = 0; i < 40; i++)
                    segment_put(w, data, sizeof(data));
                status = segment_finish(w, &sums, &err);
            }
            vfs_fault_clear(f);
            if (status == VS_OK) {
                struct buf why = {0};
                assert_int_equal(segment_verify(&v, in_dir("x"), &sums, &why), VS_OK);
                buf_release(&why);
                vfs_path_unlink(&v, in_dir("x"), NULL);
            } else {
                assert_true(err.text[0] != 0);
                if (status != VS_EXISTS)
                    assert_int_equal(vfs_path_stat(&v, in_dir("x"), &st, NULL), VS_NOTFOUND);
            }
            if (vfs_fault_hits(f) == hits)
                break;
        }
    vfs_fault_free(f);
}

/* ---- the manifest ---- */

static void sample(struct snapshot_manifest *m)
{
    memset(m, 0, sizeof(*m));
    m->id = 0x1122334455667788;
    m->lsn = 1000;
    m->hlc = 77;
    m->wall_ms = 1700000000000;
    m->cut = 5;
    m->databases = 16;
    m->nfiles = 2;
    m->file = mem_zalloc(2 * sizeof(*m->file));
    m->file[0] = (struct snapshot_file){{1 << 20, 11}, 5, mem_strndup("a-0.seg", 7)};
    m->file[1] = (struct snapshot_file){{2 << 20, 12}, 4, mem_strndup("b-1.seg", 7)};
    m->nindexes = 2;
    m->index = mem_zalloc(2 * sizeof(*m->index));
    for (int i = 0; i < 2; i++) {
        struct snapshot_index *x = &m->index[i];
        x->db = (unsigned)i * 3;
        x->key_len = 4;
        x->key = mem_strndup("do\0s", 4);
        x->options = (struct vs_index_options){.dim = 8, .metric = VEC_L2, .type = VEC_Q8,
                                               .originals = VEC_ORIG_F16, .m = 16,
                                               .ef_construction = 200, .partitions = 2,
                                               .vnodes = 150, .seed = 99, .keep_empty = true,
                                               .map = i ? VS_MAP_ALL : VS_MAP_CODES};
        x->nparts = 2;
        x->part = mem_zalloc(2 * sizeof(*x->part));
        x->part[0] = (struct snapshot_part){.number = 0, .flags = SNAPSHOT_GRAPHED,
                                            .sequence = 5000, .alive = 1500, .linked = 1400,
                                            .slots = 2048, .nupper = 1, .entry = 17,
                                            .entry_level = 2, .group_chunks = 64,
                                            .linked_sequence = 4000, .graph_digest = 5,
                                            .records_digest = 6};
        x->part[0].nsections = 1;
        x->part[0].section = mem_zalloc(sizeof(struct snapshot_section));
        x->part[0].section[0] = (struct snapshot_section){SECTION_ROWS, 0, 1, 8192 + (unsigned)i * 65536, 4096};
        x->part[1] = (struct snapshot_part){.number = 1, .flags = SNAPSHOT_SMALL, .sequence = 9,
                                            .alive = 3, .slots = 3, .entry = SLOT_NONE,
                                            .entry_level = -1};
        x->part[1].nsections = 1;
        x->part[1].section = mem_zalloc(sizeof(struct snapshot_section));
        x->part[1].section[0] = (struct snapshot_section){SECTION_SMALL, 0, 0, 4096 + 16 + (unsigned)i * 1024, 500};
    }
}

static void test_manifest(void **state)
{
    (void)state;
    struct snapshot_manifest m, n = {0};
    struct buf a = {0}, b = {0}, why = {0};
    sample(&m);
    assert_true(snapshot_manifest_encode(&m, &a));
    assert_int_equal(snapshot_manifest_decode(a.data, a.len, "m", &n, &why), VS_OK);
    assert_true(snapshot_manifest_encode(&n, &b));
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    assert_int_equal(n.elements, 2 * 1503);
    assert_int_equal(n.index[1].options.map, VS_MAP_ALL);
    assert_int_equal(n.index[0].options.map, VS_MAP_CODES);
    assert_true(n.index[0].options.keep_empty);
    snapshot_manifest_release(&n);
    for (size_t len = 0; len < a.len; len++) {
        assert_int_equal(snapshot_manifest_decode(a.data, len, "m", &n, &why), VS_CORRUPT);
        assert_int_equal(n.nfiles, 0);
    }
    for (size_t bit = 0; bit < a.len * 8; bit++) {
        a.data[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(snapshot_manifest_decode(a.data, a.len, "m", &n, &why), VS_CORRUPT);
        a.data[bit / 8] ^= (char)(1 << bit % 8);
        buf_reset(&why);
    }
    buf_release(&a);
    buf_release(&b);
    buf_release(&why);
    snapshot_manifest_release(&m);
}

/* What is wrong although every sum is right. */
static void test_manifest_refuses(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 16; wrong++) {
        struct snapshot_manifest m, n = {0};
        struct buf a = {0}, why = {0};
        sample(&m);
        struct snapshot_part *p = &m.index[0].part[0];
        switch (wrong) {
        case 0: p->section[0].file = 2; break;
        case 1: p->section[0].offset = (2 << 20) - 4096; p->section[0].bytes = 4097; break;
        case 2: p->section[0].offset = 4097; break;
        case 3: p->section[0].kind = SECTION_SMALL; break;
        case 4: p->section[0].group = 1; break;
        case 5: p->alive = 2049; break;
        case 6: p->linked_sequence = 5001; break;
        case 7: p->entry = 2048; break;
        case 8: p->number = 1; break;
        case 9: p->flags = 8; break;
        case 10: p->slots = 2000; break;
        case 11: m.index[0].db = 16; break;
        case 12: m.index[0].options.dim = 0; break;
        case 13: m.index[0].options.m = 5000; break;
        case 14: m.file[0].name[0] = '/'; break;
        case 15: p->section[0].bytes = UINT64_MAX; break;
        }
        assert_true(snapshot_manifest_encode(&m, &a));
        assert_int_equal(snapshot_manifest_decode(a.data, a.len, "m", &n, &why), VS_CORRUPT);
        assert_true(why.len > 4 && memcmp(why.data, "m, offset ", 10) == 0);
        buf_release(&a);
        buf_release(&why);
        snapshot_manifest_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_written_after_check),
        cmocka_unit_test(test_flips),      cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_other_file), cmocka_unit_test(test_sigbus),
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_faults),
        cmocka_unit_test(test_manifest),   cmocka_unit_test(test_manifest_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
