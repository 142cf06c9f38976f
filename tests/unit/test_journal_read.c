/* What is read back from a journal's files: ends that are torn or damaged, records in the wrong place, manifests. */
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

#include "lib/journal_bed.h"
#include "persist/effect.h"
#include "persist/journal_frame.h"
#include "persist/journal_read.h"

/* ---- broken ends ---- */

/* A segment of records 1..n, of which those up to `synced[i]` were durable when record i + 1 was
 * written. Returns its bytes; at[i] is where record i + 1 begins, at[n] the end. */
static struct buf make_segment(size_t n, const uint64_t *synced, size_t *at)
{
    struct buf b = {0}, payload = {0};
    uint64_t nonce = 77;
    journal_header_put(&(struct journal_header){1, 1, 0, 0, nonce},
                       (uint8_t *)buf_reserve(&b, JOURNAL_HEADER));
    b.len = JOURNAL_HEADER;
    effect_encode(&(struct vs_effect){.kind = VS_FLUSH}, &payload);
    for (size_t i = 0; i < n; i++) {
        at[i] = b.len;
        uint8_t *frame = (uint8_t *)buf_reserve(&b, JOURNAL_FRAME + payload.len);
        journal_frame_put(&(struct journal_frame){.bytes = (uint32_t)payload.len, .type = JOURNAL_DATA,
                                                  .commands = 1, .lsn = i + 1},
                          frame);
        memcpy(frame + JOURNAL_FRAME, payload.data, payload.len);
        journal_frame_seal(frame, nonce, synced[i]);
        b.len += JOURNAL_FRAME + payload.len;
    }
    at[n] = b.len;
    buf_release(&payload);
    return b;
}

/* Reads the bytes as an open (or closed) segment; how many records come before what ends it. */
static enum journal_found read_all(const struct buf *b, bool closed, uint64_t last, size_t *records)
{
    char *path = journal_path(dir, "segment");
    struct journal_file f = {.seq = 1, .first = 1, .end = b->len, .last = last, .closed = closed};
    struct journal_reader r = {0};
    struct buf why = {0};
    enum journal_found found = JOURNAL_FOUND_DAMAGED;
    write_file(path, b->data, b->len);
    *records = 0;
    if (journal_reader_open(&r, &vfs_posix, path, &f, &why) == VS_OK)
        while ((found = journal_reader_next(&r)) == JOURNAL_FOUND_RECORD)
            ++*records;
    journal_reader_close(&r);
    buf_release(&why);
    mem_free(path);
    return found;
}

static void test_torn_or_damaged(void **state)
{
    (void)state;
    static const uint64_t synced[] = {0, 1, 1, 1, 4, 5};
    size_t at[7], n;
    struct buf b = make_segment(6, synced, at);
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_END);
    assert_int_equal(n, 6);
    assert_int_equal(read_all(&b, true, 6, &n), JOURNAL_FOUND_END);
    assert_int_equal(read_all(&b, true, 7, &n), JOURNAL_FOUND_DAMAGED);
    for (size_t bad = 0; bad < 6; bad++)
        for (size_t place = at[bad]; place < at[bad + 1]; place++) {
            b.data[place] ^= 4;
            /* Record 5 says that 4 was synced, record 6 says it of 5: only 6 may be torn. */
            assert_int_equal(read_all(&b, false, 0, &n),
                             bad == 5 ? JOURNAL_FOUND_TORN : JOURNAL_FOUND_DAMAGED);
            assert_int_equal(n, bad);
            assert_int_equal(read_all(&b, true, 6, &n), JOURNAL_FOUND_DAMAGED);
            b.data[place] ^= 4;
        }
    /* Without the fifth and sixth, nothing says that 2 to 4 were. */
    b.len = at[4];
    for (size_t bad = 0; bad < 4; bad++) {
        b.data[at[bad] + 70] ^= 1;
        assert_int_equal(read_all(&b, false, 0, &n),
                         bad ? JOURNAL_FOUND_TORN : JOURNAL_FOUND_DAMAGED);
        assert_int_equal(n, bad);
        b.data[at[bad] + 70] ^= 1;
    }
    /* Holes and a size that came before its data. */
    memset(b.data + at[1], 0, at[2] - at[1]);
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_TORN);
    assert_int_equal(n, 1);
    memset(b.data + at[1], 0, at[4] - at[1]);
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_TORN);
    buf_release(&b);
}

/* Epochs do not fall from record to record. */
static void test_epoch_order(void **state)
{
    (void)state;
    static const uint64_t synced[] = {0, 0, 0};
    size_t at[4], n;
    struct buf b = make_segment(3, synced, at);
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t *frame = (uint8_t *)b.data + at[i];
        frame[16] = i == 1 ? 5 : 4;
        journal_frame_seal(frame, 77, 0);
    }
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_DAMAGED);
    assert_int_equal(n, 2);
    buf_release(&b);
}

/* A good record in the wrong place is no torn end. */
static void test_misplaced(void **state)
{
    (void)state;
    static const uint64_t synced[] = {0, 0, 0};
    size_t at[4], n;
    struct buf b = make_segment(3, synced, at);
    size_t record = at[1] - at[0];
    char *copy = malloc(record);
    memcpy(copy, b.data + at[1], record);
    memcpy(b.data + at[1], b.data + at[2], record);
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_DAMAGED);
    assert_int_equal(n, 1);
    memcpy(b.data + at[1], copy, record);
    memcpy(b.data + at[2], copy, record);
    assert_int_equal(read_all(&b, false, 0, &n), JOURNAL_FOUND_DAMAGED);
    assert_int_equal(n, 2);
    free(copy);
    buf_release(&b);
}

/* With `aof-load-truncated no` a torn end refuses; with yes it is kept beside. */
static void test_truncated(void **state)
{
    (void)state;
    struct rig r;
    struct vs_store *store;
    struct journal_manifest m = {0};
    struct journal_loaded loaded;
    struct buf why = {0};
    begin(&r, &vfs_posix, JOURNAL_NO);
    steps(&r, 30);
    assert_int_equal(rig_close(&r), VS_OK);
    char *path = journal_segment_path(journal_dir, RIG_NAME, 1);
    size_t len, kept_len;
    char *bytes = slurp(path, &len);
    write_file(path, bytes, len - JOURNAL_FRAME - 5);
    assert_int_equal(rig_load(&vfs_posix, journal_dir, false, &store, &m, &loaded, &why), VS_CORRUPT);
    assert_non_null(memmem(why.data, why.len, "aof-load-truncated", 18));
    assert_non_null(memmem(why.data, why.len, path, strlen(path)));
    assert_non_null(memmem(why.data, why.len, "vecstore-check-aof --fix", 24));
    journal_manifest_release(&m);
    loaded = check_load(&r);
    assert_true(loaded.cut);
    assert_int_equal(loaded.lsn, 29);
    assert_int_equal(loaded.cut_at + loaded.cut_bytes, len - JOURNAL_FRAME - 5);
    char *kept = slurp(loaded.cut_file, &kept_len);
    assert_int_equal(kept_len, loaded.cut_bytes);
    assert_memory_equal(kept, bytes + loaded.cut_at, kept_len);
    mem_free(kept);
    mem_free(bytes);
    mem_free(path);
    buf_release(&why);
    rig_release(&r);
}

/* ---- the manifest ---- */

static enum vs_status parse(const char *text, size_t len)
{
    struct journal_manifest m = {0};
    struct buf why = {0};
    enum vs_status status = journal_manifest_parse(text, len, "a b.aof", &m, &why);
    assert_int_equal(status != VS_OK, why.len > 0);
    journal_manifest_release(&m);
    buf_release(&why);
    return status;
}

static void check_manifest(struct journal_manifest m)
{
    struct journal_manifest got = {0};
    struct buf text = {0}, again = {0}, why = {0};
    const struct journal_file files[] = {
        {.seq = 4, .first = 900, .end = 18231, .last = 1044, .closed = true},
        {.seq = 5, .first = 1045, .end = 64, .last = 1044, .closed = true},
        {.seq = 7, .first = m.partial ? 1051 : 1045, .end = 999, .last = 1100, .closed = true,
         .unsure = true, .sure_end = 90, .sure_last = 1060},
        {.seq = 9, .first = 1101},
    };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(journal_manifest_add(&m, &files[i]), VS_OK);
    journal_manifest_write(&m, "a b.aof", &text);
    assert_int_equal(journal_manifest_parse(text.data, text.len, "a b.aof", &got, &why), VS_OK);
    assert_int_equal(journal_manifest_last_seq(&got), 9);
    journal_manifest_write(&got, "a b.aof", &again);
    assert_int_equal(again.len, text.len);
    assert_memory_equal(again.data, text.data, text.len);
    assert_int_equal(parse(text.data, text.len), VS_OK);
    assert_int_equal(journal_manifest_parse(text.data, text.len, "other", &got, &why), VS_CORRUPT);
    for (size_t i = 0; i < text.len; i++)
        assert_int_equal(parse(text.data, i), VS_CORRUPT);
    for (size_t bit = 0; bit < text.len * 8; bit++) {
        text.data[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(parse(text.data, text.len), VS_CORRUPT);
        text.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    journal_manifest_release(&m);
    journal_manifest_release(&got);
    buf_release(&text);
    buf_release(&again);
    buf_release(&why);
}

static void test_manifest(void **state)
{
    (void)state;
    check_manifest((struct journal_manifest){.has_base = true, .base_seq = 6, .base_lsn = 1000});
    check_manifest((struct journal_manifest){.epoch = 12, .partial = true, .life = 0x77, .snapshot = 0xfedcba9876543210,
                                             .has_base = true, .base_seq = 6, .base_lsn = 1000});
}

/* What can be applied to what. */
static void test_gaps(void **state)
{
    (void)state;
    struct journal_file f[] = {
        {.seq = 1, .first = 51, .last = 100, .end = 99, .closed = true},
        {.seq = 2, .first = 201, .last = 250, .end = 99, .closed = true},
        {.seq = 3, .first = 251},
    };
    struct journal_manifest m = {.has_base = true, .base_lsn = 50, .segment = f, .count = 3};
    uint64_t reach;
    assert_false(journal_manifest_gap(&m, 0));
    assert_true(journal_manifest_gap(&m, 1));
    assert_false(journal_manifest_gap(&m, 2));
    assert_false(journal_manifest_complete(&m));
    assert_true(journal_manifest_reach(&m, &reach));
    assert_int_equal(reach, 100);
    assert_int_equal(journal_manifest_joined(&m, 0), 0);
    assert_int_equal(journal_manifest_joined(&m, 50), 1);
    assert_int_equal(journal_manifest_joined(&m, 199), 1);
    assert_int_equal(journal_manifest_joined(&m, 200), 3);
    assert_int_equal(journal_manifest_joined(&m, 900), 3);
    m.base_lsn = 200;
    assert_true(journal_manifest_complete(&m));
    m.has_base = false;
    assert_false(journal_manifest_reach(&m, &reach));
    f[0].first = 1;
    assert_true(journal_manifest_reach(&m, &reach));
    assert_int_equal(reach, 100);
}

static void test_manifest_rules(void **state)
{
    (void)state;
    static const struct {
        struct journal_file f[2];
        bool base;
        uint64_t base_lsn;
    } bad[] = {
        {{{.seq = 1, .first = 1}, {.seq = 2, .first = 1}}, false, 0},  /* one open before the last */
        {{{.seq = 1, .first = 1, .end = 100, .last = 5, .closed = true}, {.seq = 2, .first = 7}}, false, 0},
        {{{.seq = 2, .first = 1, .end = 100, .last = 5, .closed = true}, {.seq = 1, .first = 6}}, false, 0},
        {{{.seq = 1, .first = 1, .end = 63, .last = 5, .closed = true}, {.seq = 2, .first = 6}}, false, 0},
        {{{.seq = 1, .first = 9, .end = 64, .last = 7, .closed = true}, {.seq = 2, .first = 8}}, false, 0},
        {{{.seq = 1, .first = 9, .end = 99, .last = 9, .closed = true}, {.seq = 2, .first = 10}}, true, 7},
        {{{.seq = 3, .first = 9, .end = 99, .last = 9, .closed = true}, {.seq = 4, .first = 10}}, true, 9},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct journal_manifest m = {.has_base = bad[i].base, .base_seq = 3, .base_lsn = bad[i].base_lsn};
        struct buf text = {0};
        for (size_t k = 0; k < 2; k++)
            assert_int_equal(journal_manifest_add(&m, &bad[i].f[k]), VS_OK);
        journal_manifest_write(&m, "a b.aof", &text);
        assert_int_equal(parse(text.data, text.len), VS_CORRUPT);
        journal_manifest_release(&m);
        buf_release(&text);
    }
}

/* Segments with records and no manifest are not an empty journal. */
static void test_manifest_missing(void **state)
{
    (void)state;
    struct rig r;
    struct journal_manifest m = {0};
    struct buf why = {0};
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_NOTFOUND);
    begin(&r, &vfs_posix, JOURNAL_ALWAYS);
    char *path = journal_manifest_path(journal_dir, RIG_NAME);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_NOTFOUND);
    steps(&r, 3);
    assert_int_equal(rig_close(&r), VS_OK);
    assert_int_equal(journal_manifest_load(&vfs_posix, journal_dir, RIG_NAME, &m, &why), VS_CORRUPT);
    assert_non_null(memmem(why.data, why.len, "is missing", 10));
    mem_free(path);
    buf_release(&why);
    rig_release(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_torn_or_damaged),
        TEST(test_epoch_order),
        TEST(test_misplaced),
        TEST(test_truncated),
        TEST(test_manifest),
        TEST(test_gaps),
        TEST(test_manifest_rules),
        TEST(test_manifest_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
