/* The parts of replication that need no network: frames, the backlog (against a naive twin). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/hash.h"
#include "lib/run.h"
#include "repl/backlog.h"
#include "repl/wire.h"

/* ---- frames ---- */

static void make_data(uint8_t *out, const char *payload, const struct wire_place *at)
{
    struct journal_frame f = {
        .bytes = (uint32_t)strlen(payload), .type = WIRE_DATA, .commands = 1, .lsn = at->lsn + 1, .hlc = 7};
    journal_frame_put(&f, out);
    memcpy(out + WIRE_FRAME, payload, f.bytes);
    wire_seal(out, at->nonce, at->offset);
}

static const char *judge(const uint8_t *frame, const struct wire_place *at)
{
    struct journal_frame f;
    const char *why = wire_head(frame, at->nonce, &f);
    return why ? why : wire_check(&f, frame + WIRE_FRAME, at);
}

static void test_frames(void **state)
{
    (void)state;
    uint8_t frame[WIRE_FRAME + 64], copy[sizeof(frame)];
    struct wire_place at = {.nonce = 0x1122334455667788, .offset = 1000, .lsn = 41}, other;
    make_data(frame, "*1\r\n$7\r\nFLUSHDB\r\n", &at);
    assert_null(judge(frame, &at));
    /* Every bit matters. */
    size_t len = WIRE_FRAME + strlen("*1\r\n$7\r\nFLUSHDB\r\n");
    for (size_t bit = 0; bit < len * 8; bit++) {
        memcpy(copy, frame, len);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_non_null(judge(copy, &at));
    }
    /* At another place, again, after a gap, in another history. */
    other = at, other.offset++;
    assert_non_null(judge(frame, &other));
    other = at, other.lsn++;
    assert_non_null(judge(frame, &other));
    other = at, other.lsn--;
    assert_non_null(judge(frame, &other));
    other = at, other.nonce++;
    assert_non_null(judge(frame, &other));
    struct buf b = {0};
    wire_control(&b, WIRE_PING, &at, NULL, 0);
    assert_int_equal(b.len, WIRE_FRAME);
    assert_null(judge((uint8_t *)b.data, &at));
    assert_non_null(judge((uint8_t *)b.data, &other));
    b.len = 0;
    wire_control(&b, WIRE_SNAP_FAILED, &at, "why", 3);
    assert_null(judge((uint8_t *)b.data, &at));
    buf_release(&b);
}

/* A block's own sum stands in its frame: every bit matters as well, and the sum is of that seed. */
static void test_blocks(void **state)
{
    (void)state;
    static const char bytes[] = "a block of a segment";
    size_t len = sizeof(bytes);
    uint8_t frame[WIRE_FRAME + sizeof(bytes)], copy[sizeof(frame)];
    struct wire_place at = {.nonce = 0x1122334455667788, .offset = 1000, .lsn = 41}, other = at;
    wire_data_head(frame, &at, len, 99, hash_bytes(bytes, len, 99));
    memcpy(frame + WIRE_FRAME, bytes, len);
    assert_null(judge(frame, &at));
    for (size_t bit = 0; bit < sizeof(frame) * 8; bit++) {
        memcpy(copy, frame, sizeof(frame));
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_non_null(judge(copy, &at));
    }
    other.nonce++;
    assert_non_null(judge(frame, &other));
    other = at, other.offset++;
    assert_non_null(judge(frame, &other));
    wire_data_head(frame, &at, len, 99, hash_bytes(bytes, len, 98));
    assert_non_null(judge(frame, &at));
}

static void test_names(void **state)
{
    (void)state;
    assert_true(wire_name_good("manifest", 8));
    assert_true(wire_name_good("00aa11bb22cc33dd-17.seg", 23));
    assert_false(wire_name_good("", 0));
    assert_false(wire_name_good("../x", 4));
    assert_false(wire_name_good("a/b", 3));
    assert_false(wire_name_good(".x", 2));
    assert_false(wire_name_good("a\0b", 3));
    char longer[WIRE_NAME_MAX + 1];
    memset(longer, 'a', sizeof(longer));
    assert_false(wire_name_good(longer, sizeof(longer)));
}

/* ---- the backlog ---- */

#define TWIN (4u << 20)

struct twin {
    uint8_t *data;           /* from offset `base` on */
    uint64_t base, end;
    bool *begins;
};

static void check_reader(const struct backlog *b, struct backlog_cursor *c, const struct twin *t, struct rng *rng)
{
    const uint8_t *data;
    size_t n = backlog_peek(b, c, &data);
    if (c->offset == t->end) {
        assert_int_equal(n, 0);
        return;
    }
    assert_true(n > 0);
    size_t some = 1 + (size_t)rng_below(rng, n);
    assert_memory_equal(data, t->data + (c->offset - t->base), some);
    backlog_advance(c, some);
}

static void test_backlog(void **state)
{
    (void)state;
    struct rng rng = {.state = run_seed()};
    uint64_t base = rng_below(&rng, 1000000);
    struct twin t = {mem_zalloc(TWIN), base, base, mem_zalloc(TWIN + 1)};
    struct backlog b;
    struct backlog_cursor reader[3];
    backlog_init(&b, base);
    for (int i = 0; i < 3; i++)
        reader[i] = (struct backlog_cursor){.offset = base};
    for (uint64_t now = 1; t.end - base < TWIN - 200000; now++) {
        size_t len = rng_below(&rng, 50) ? 1 + (size_t)rng_below(&rng, 900) : 60000 + (size_t)rng_below(&rng, 90000);
        uint8_t *room = backlog_reserve(&b, WIRE_FRAME + len);
        struct journal_frame f = {.bytes = (uint32_t)len, .type = WIRE_DATA, .commands = 1, .lsn = now};
        journal_frame_put(&f, room);
        for (size_t i = 0; i < len; i++)
            room[WIRE_FRAME + i] = (uint8_t)rng_next(&rng);
        memcpy(t.data + (t.end - base), room, WIRE_FRAME + len);
        t.begins[t.end - base] = true;
        t.end += WIRE_FRAME + len;
        backlog_commit(&b, WIRE_FRAME + len, now);
        assert_true(b.end == t.end);
        for (int i = 0; i < 3; i++)
            for (uint64_t k = rng_below(&rng, (uint64_t)i + 3); k > 0; k--)
                check_reader(&b, &reader[i], &t, &rng);
        uint64_t keep = UINT64_MAX;
        for (int i = 0; i < 3; i++)
            keep = reader[i].offset < keep ? reader[i].offset : keep;
        backlog_trim(&b, 300000, now > 2000 ? now - 2000 : 0, keep);
        assert_true(b.first <= keep && b.first <= b.end);
        uint64_t probe = base + rng_below(&rng, t.end - base + 2);
        bool place = probe == t.end || (probe >= b.first && probe < t.end && t.begins[probe - base]);
        assert_int_equal(backlog_is_place(&b, probe), place);
    }
    for (int i = 0; i < 3; i++)
        while (reader[i].offset < t.end)
            check_reader(&b, &reader[i], &t, &rng);
    backlog_trim(&b, 300000, 0, UINT64_MAX);
    assert_true(b.end - b.first <= 300000 + 150000);
    backlog_clear(&b, 5);
    assert_true(b.first == 5 && b.end == 5 && b.memory == 0);
    mem_free(t.data);
    mem_free(t.begins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames), cmocka_unit_test(test_blocks),  cmocka_unit_test(test_names), cmocka_unit_test(test_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
