/* Manifests of snapshots: what is written is read again, and one that says what cannot be is refused
 * with its name and a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "index/columns.h"
#include "persist/le.h"
#include "persist/snapshot_manifest.h"

#define SECTIONS 2

/* Two files, and an index of two flat partitions with two sections each. */
struct sample {
    char name[2][8], key[4];
    struct snapshot_file file[2];
    struct snapshot_section section[2][SECTIONS];
    struct snapshot_part part[2];
    struct snapshot_index index;
    struct snapshot_manifest m;
};

static void sample(struct sample *s)
{
    *s = (struct sample){.name = {"a.seg", "b.seg"}, .key = "key"};
    for (uint32_t i = 0; i < 2; i++)
        s->file[i] = (struct snapshot_file){{1 << 20, 7 + i}, 1, s->name[i]};
    for (uint32_t p = 0; p < 2; p++) {
        for (uint32_t i = 0; i < SECTIONS; i++)
            s->section[p][i] = (struct snapshot_section){i ? SECTION_LEVELS : SECTION_BORN, 0, 0,
                                                         4096 + (2 * p + i) * 8192, 8192};
        s->part[p] = (struct snapshot_part){.number = p,
                                            .sequence = 9,
                                            .alive = 5,
                                            .slots = CHUNK_SLOTS,
                                            .entry = SLOT_NONE,
                                            .entry_level = -1,
                                            .group_chunks = 1,
                                            .nsections = SECTIONS,
                                            .section = s->section[p]};
    }
    s->index = (struct snapshot_index){.key = s->key,
                                       .key_len = 3,
                                       .options = {.dim = 4, .type = VEC_F32, .originals = VEC_ORIG_F32, .m = 16, .ef_construction = 200,
                                                   .vnodes = 4, .partitions = 2, .seed = 1},
                                       .nparts = 2,
                                       .part = s->part};
    s->m = (struct snapshot_manifest){.id = 3,
                                      .lsn = 44,
                                      .cut = 2,
                                      .track = {true, {.id = {7}, .second = UINT64_MAX, .nonce = 5, .offset = 1234}},
                                      .databases = 16,
                                      .nfiles = 2,
                                      .nindexes = 1,
                                      .file = s->file,
                                      .index = &s->index};
}

/* What the reader makes of it; `reason` (NULL: none) must be in what it says. */
static void reads(const struct sample *s, const char *reason)
{
    struct snapshot_manifest m = {0};
    struct buf b = {0}, why = {0};
    assert_true(snapshot_manifest_encode(&s->m, &b));
    enum vs_status status = snapshot_manifest_decode(b.data, b.len, "dump", &m, &why);
    assert_int_equal(status, reason ? VS_CORRUPT : VS_OK);
    buf_append(&why, "", 1);
    if (reason && (strncmp(why.data, "dump, offset ", 13) != 0 || !strstr(why.data, reason)))
        fail_msg("'%s' instead of '%s'", why.data, reason);
    if (!reason) {
        assert_int_equal(m.lsn, 44);
        assert_int_equal(m.elements, 10);
        assert_int_equal(m.track.known, s->m.track.known);
        assert_memory_equal(&m.track.at, &s->m.track.at, sizeof(m.track.at));
        assert_int_equal(m.index[0].nparts, 2);
        assert_int_equal(m.index[0].options.input_dim, s->index.options.input_dim);
        assert_int_equal(m.index[0].deadline_ms, s->index.deadline_ms);
        assert_int_equal(m.index[0].part[1].deadlines, s->part[1].deadlines);
        assert_int_equal(m.index[0].part[1].first_deadline_ms, s->part[1].first_deadline_ms);
        assert_int_equal(m.index[0].part[1].section[1].offset, s->section[1][1].offset);
    }
    snapshot_manifest_release(&m);
    buf_release(&b);
    buf_release(&why);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct sample s;
    sample(&s);
    reads(&s, NULL);
}

/* Of which history it is may be unknown; manifests from before that could be said are read; and it is said once. */
static void test_history(void **state)
{
    (void)state;
    struct sample s;
    sample(&s);
    s.m.track = (struct journal_track){0};
    reads(&s, NULL);
    struct snapshot_manifest m = {0};
    struct buf b = {0}, why = {0};
    assert_true(snapshot_manifest_encode(&s.m, &b));
    le32_put(b.data + 8, 3);
    le64_put(b.data + 120, hash_bytes(b.data, 120, 0));
    assert_int_equal(snapshot_manifest_decode(b.data, b.len, "dump", &m, &why), VS_OK);
    assert_false(m.track.known);
    snapshot_manifest_release(&m);
    buf_release(&b);
    buf_release(&why);
    sample(&s);
    memset(&s.m.track.at.id, 0, sizeof(s.m.track.at.id));
    reads(&s, "the entry of the history names none");
}

static void test_reduced(void **state)
{
    (void)state;
    static const uint32_t from[] = {4, 5, 65536};
    struct sample s;
    for (size_t i = 0; i < 3; i++) {
        sample(&s);
        s.index.options.input_dim = from[i];
        reads(&s, NULL);
    }
    sample(&s);
    s.index.options.input_dim = 3;
    reads(&s, "an index has an option that is out of range");
}

static void test_deadlines(void **state)
{
    (void)state;
    struct sample s;
    sample(&s);
    s.index.deadline_ms = VS_DEADLINE_MAX;
    s.part[1].deadlines = 5;
    s.part[1].first_deadline_ms = 1;
    reads(&s, NULL);
    s.part[1].deadlines = 6;
    reads(&s, "a partition's deadlines do not fit together");
    s.part[1].deadlines = 0;
    reads(&s, "a partition's deadlines do not fit together");
    s.part[1].first_deadline_ms = 0;
    s.index.deadline_ms++;
    reads(&s, "a key's deadline is out of range");
}

static void test_sections_on_each_other(void **state)
{
    (void)state;
    static const char *const reason = "two sections lie on each other";
    struct sample s;
    sample(&s); /* of one partition */
    s.section[0][1].offset = s.section[0][0].offset + 4096;
    reads(&s, reason);
    sample(&s); /* of two, the very same */
    s.section[1][0].offset = s.section[0][0].offset;
    reads(&s, reason);
    sample(&s); /* one in the other */
    s.section[1][1].bytes = 1;
    s.section[1][1].offset = s.section[0][1].offset + 4096;
    reads(&s, reason);
    sample(&s); /* in another file is another place */
    s.section[1][0].offset = s.section[0][0].offset;
    s.section[1][0].file = 1;
    reads(&s, NULL);
    sample(&s); /* nothing lies on nothing */
    s.section[1][0].offset = s.section[0][0].offset;
    s.section[1][0].bytes = 0;
    reads(&s, NULL);
}

static void test_out_of_range(void **state)
{
    (void)state;
    struct sample s;
    sample(&s);
    s.section[0][0].bytes = (1 << 20) - 4095;
    reads(&s, "a section does not lie in its file");
    sample(&s);
    s.section[0][0].offset = UINT64_MAX - 4095;
    reads(&s, "a section does not lie in its file");
    sample(&s);
    s.section[0][0].offset += 8;
    reads(&s, "a section does not lie in its file");
    sample(&s);
    s.section[0][0].file = 2;
    reads(&s, "a section does not lie in its file");
    sample(&s);
    s.section[0][0].kind = SECTION_SMALL;
    reads(&s, "a section of a kind that does not belong there");
    sample(&s);
    s.section[0][0].group = 1;
    reads(&s, "group is out of range");
    sample(&s);
    s.part[1].number = 0;
    reads(&s, "a partition's number is out of order or of range");
    sample(&s);
    s.part[1].number = 2;
    reads(&s, "a partition's number is out of order or of range");
    sample(&s);
    s.part[0].alive = CHUNK_SLOTS + 1;
    reads(&s, "counts do not fit together");
    sample(&s);
    s.part[0].slots = CHUNK_SLOTS + 1;
    reads(&s, "counts do not fit together");
    sample(&s);
    s.part[0].entry = 3;
    reads(&s, "without a graph");
    sample(&s);
    s.part[0].sequence = (uint64_t)1 << 62;
    reads(&s, "sequence numbers do not fit together");
    sample(&s);
    s.index.db = 16;
    reads(&s, "a database that does not exist");
    sample(&s);
    memcpy(s.name[1], "../a", 5);
    reads(&s, "a file name that is not allowed");
}

/* Every prefix, and every byte changed: the sums tell. */
static void test_sums(void **state)
{
    (void)state;
    struct sample s;
    struct buf b = {0}, why = {0};
    sample(&s);
    assert_true(snapshot_manifest_encode(&s.m, &b));
    for (size_t i = 0; i < b.len; i++) {
        struct snapshot_manifest m = {0};
        why.len = 0;
        assert_int_equal(snapshot_manifest_decode(b.data, i, "dump", &m, &why), VS_CORRUPT);
        b.data[i] ^= 4;
        assert_int_equal(snapshot_manifest_decode(b.data, b.len, "dump", &m, &why), VS_CORRUPT);
        b.data[i] ^= 4;
        assert_true(why.len > 0);
    }
    buf_release(&b);
    buf_release(&why);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct sample s;
    struct buf b = {0}, why = {0};
    sample(&s);
    assert_true(snapshot_manifest_encode(&s.m, &b));
    enum vs_status status = VS_NOMEM;
    for (long n = 1; status != VS_OK; n++) {
        struct snapshot_manifest m = {0};
        why.len = 0;
        mem_fault_after(n);
        status = snapshot_manifest_decode(b.data, b.len, "dump", &m, &why);
        bool hit = mem_fault_hit();
        mem_fault_after(0);
        assert_int_equal(status, hit ? VS_NOMEM : VS_OK);
        assert_true(n < 100 && (status == VS_OK || why.len));
        snapshot_manifest_release(&m);
    }
    buf_release(&b);
    buf_release(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_history),
        cmocka_unit_test(test_reduced), cmocka_unit_test(test_deadlines), cmocka_unit_test(test_sections_on_each_other),
        cmocka_unit_test(test_out_of_range), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
