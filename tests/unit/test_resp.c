/* The reader of commands: every split of a stream gives what the whole gives, random streams give
 * what a naive twin gives, and hostile ones are refused in Redis' words. tsan: skip (one
 * thread). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lib/run.h"
#include "resp/resp.h"

static const struct resp_limits limits = { .bulk_max = 1 << 20,
                                           .inline_max = 64 * 1024,
                                           .args_max = 1024 * 1024,
                                           .unauth_bulk_max = 16 * 1024 };

/* ---- a transcript: what was found in a stream, as text ---- */

static void tell_arg(struct buf *out, const char *data, size_t len)
{
    buf_printf(out, "%zu:", len);
    buf_append(out, data, len);
    buf_append(out, " ", 1);
}

/* Feeds stream[0..len) in pieces that end where `cut` says; commands to `out`, and at the end the
 * error or how much is left over. Every piece gets a block of its own, so that a sanitizer sees
 * reads past it and slices into old ones. */
static void feed(const char *stream, size_t len, size_t (*cut)(void *arg, size_t at, size_t total),
                 void *arg, bool auth, struct buf *out)
{
    struct resp_reader r = { 0 };
    size_t begin = 0, have = 0, used = 0;
    enum resp_result got = RESP_MORE;
    while (got != RESP_ERROR) {
        size_t piece = have - begin;
        char *block = malloc(piece ? piece : 1);
        memcpy(block, stream + begin, piece);
        got = resp_read(&r, block, piece, &limits, auth, &used);
        if (got == RESP_COMMAND) {
            assert_true(used > 0 && used <= piece);
            for (size_t i = 0; i < r.argc; i++)
                tell_arg(out, r.argv[i].data, r.argv[i].len);
            buf_append(out, "\n", 1);
            begin += used;
        }
        free(block);
        if (got == RESP_MORE) {
            assert_true(r.need > 0);
            if (have == len)
                break;
            have = cut(arg, have, len);
        }
    }
    if (got == RESP_ERROR)
        buf_printf(out, "%s", r.error);
    resp_reader_release(&r);
}

static size_t cut_whole(void *arg, size_t at, size_t total)
{
    (void)arg;
    (void)at;
    return total;
}

static size_t cut_bytes(void *arg, size_t at, size_t total)
{
    (void)arg;
    (void)total;
    return at + 1;
}

static size_t cut_once(void *arg, size_t at, size_t total)
{
    size_t where = *(size_t *)arg;
    return at < where ? where : total;
}

static size_t cut_random(void *arg, size_t at, size_t total)
{
    return at + 1 + rng_below(arg, total - at);
}

static void expect_same(const struct buf *a, const struct buf *b, size_t where)
{
    if (a->len != b->len || (a->len && memcmp(a->data, b->data, a->len) != 0))
        fail_msg("cut at %zu: '%.*s' instead of '%.*s'", where, (int)b->len, b->data, (int)a->len,
                 a->data);
}

static void expect(const char *stream, size_t len, bool auth, const char *wanted)
{
    struct buf whole = { 0 }, want = { 0 };
    feed(stream, len, cut_whole, NULL, auth, &whole);
    buf_puts(&want, wanted);
    expect_same(&want, &whole, len);
    for (size_t where = 0; where < len && len < 5000; where++) {
        struct buf pieces = { 0 };
        feed(stream, len, cut_once, &where, auth, &pieces);
        expect_same(&whole, &pieces, where);
        buf_release(&pieces);
    }
    struct buf bytes = { 0 };
    if (len < 200000)
        feed(stream, len, cut_bytes, NULL, auth, &bytes);
    if (len < 200000)
        expect_same(&whole, &bytes, 0);
    buf_release(&bytes);
    buf_release(&whole);
    buf_release(&want);
}

#define EXPECT(stream, wanted) expect(stream, sizeof(stream) - 1, true, wanted)
#define EXPECT_UNAUTH(stream, wanted) expect(stream, sizeof(stream) - 1, false, wanted)

static void test_commands(void **state)
{
    (void)state;
    EXPECT("*1\r\n$4\r\nPING\r\n", "4:PING \n");
    EXPECT("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n",
           "3:SET 0: 4:a\r\nb \n4:PING \n");
    EXPECT("PING\r\n", "4:PING \n");
    EXPECT("PING\n", "4:PING \n");
    EXPECT("  SET  a \"b \\x41\\n\" 'it\\'s' x\"y z\"\r\n", "3:SET 1:a 4:b A\n 4:it's 4:xy z \n");
    EXPECT("\r\n\r\n*0\r\n*-1\r\n*-9223372036854775808\r\nPING\r\n   \r\nECHO a\r\n",
           "4:PING \n4:ECHO 1:a \n");
    EXPECT("*2\r\n$3\r\nGET\r\n$5\r\nab", "");
    EXPECT("*2\r\n$3\r\nGET\r\n", "");
    EXPECT("", "");
    EXPECT("SET a \"\"\r\n", "3:SET 1:a 0: \n");
}

static void test_errors(void **state)
{
    (void)state;
    EXPECT("*a\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*1048577\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*9223372036854775808\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*9223372036854775807\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*18446744073709551617\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*01\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("* 1\r\n", "ERR Protocol error: invalid multibulk length");
    EXPECT("*1\r\nPING\r\n", "ERR Protocol error: expected '$', got 'P'");
    EXPECT("*1\r\n\r\n", "ERR Protocol error: expected '$', got '?'");
    EXPECT("*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$1048577\r\n", "ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$9223372036854775808\r\n", "ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$9223372036854775807\r\n", "ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length");
    EXPECT("*1\r\n$4\r\nPING\r\n*x\r\n", "4:PING \nERR Protocol error: invalid multibulk length");
    EXPECT("SET a \"b\r\n", "ERR Protocol error: unbalanced quotes in request");
    EXPECT("SET a \"b\"c\r\n", "ERR Protocol error: unbalanced quotes in request");
    EXPECT("SET a 'b\r\n", "ERR Protocol error: unbalanced quotes in request");
    EXPECT_UNAUTH("*10\r\n$1\r\na\r\n", "");
    EXPECT_UNAUTH("*11\r\n", "ERR Protocol error: unauthenticated multibulk length");
    EXPECT_UNAUTH("*1\r\n$16384\r\n", "");
    EXPECT_UNAUTH("*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length");
    EXPECT("*11\r\n$16385\r\n", "");
}

static void test_long_lines(void **state)
{
    static const struct {
        const char *head;
        const char *error;
    } cases[] = {
        { "*", "ERR Protocol error: too big mbulk count string" },
        { "*1\r\n$", "ERR Protocol error: too big bulk count string" },
        { "SET ", "ERR Protocol error: too big inline request" },
    };
    (void)state;
    size_t len = 70 * 1024;
    char *stream = malloc(len);
    for (size_t i = 0; i < 3; i++) {
        memset(stream, '1', len);
        memcpy(stream, cases[i].head, strlen(cases[i].head));
        expect(stream, len, true, cases[i].error);
        /* The end of the line behind the maximum changes nothing. */
        memcpy(stream + len - 2, "\r\n", 2);
        expect(stream, len, true, cases[i].error);
    }
    for (size_t i = 0; i < len; i++)
        stream[i] = i % 2 ? '\n' : '\r';
    expect(stream, len, true, "ERR Protocol error: too big inline request");
    free(stream);
}

/* A claimed count must cost nothing: memory follows what has arrived. */
static void test_claims_cost_nothing(void **state)
{
    (void)state;
    struct resp_reader r = { 0 };
    size_t used;
    const char *stream = "*1048576\r\n$1048576\r\n";
    assert_int_equal(resp_read(&r, stream, strlen(stream), &limits, true, &used), RESP_MORE);
    assert_true(r.argv_cap == 0);
    assert_int_equal(r.need, 1048576 + 2);
    resp_reader_release(&r);
    /* And memory of a large command goes with it. */
    struct buf big = { 0 };
    buf_puts(&big, "*100000\r\n");
    for (int i = 0; i < 100000; i++)
        buf_puts(&big, "$1\r\na\r\n");
    assert_int_equal(resp_read(&r, big.data, big.len, &limits, true, &used), RESP_COMMAND);
    assert_int_equal(r.argc, 100000);
    assert_true(used == big.len);
    assert_int_equal(resp_read(&r, big.data, 0, &limits, true, &used), RESP_MORE);
    assert_true(r.argv_cap == 0);
    resp_reader_release(&r);
    buf_release(&big);
}

/* After an error the reader stays with it. */
static void test_error_stays(void **state)
{
    (void)state;
    struct resp_reader r = { 0 };
    size_t used;
    assert_int_equal(resp_read(&r, "*x\r\n", 4, &limits, true, &used), RESP_ERROR);
    assert_int_equal(resp_read(&r, "PING\r\n", 6, &limits, true, &used), RESP_ERROR);
    assert_string_equal(r.error, "ERR Protocol error: invalid multibulk length");
    resp_reader_release(&r);
}

/* ---- the naive twin: the whole stream at once, with no state ---- */

static bool naive_number(const char *s, size_t len, long long *n)
{
    char text[32], back[32];
    if (len == 0 || len > 20)
        return false;
    memcpy(text, s, len);
    text[len] = '\0';
    *n = strtoll(text, NULL, 10);
    snprintf(back, sizeof back, "%lld", *n);
    return strcmp(text, back) == 0;
}

static void naive(const char *s, size_t len, struct buf *out)
{
    for (size_t at = 0;;) {
        struct buf command = { 0 };
        long long count, bulk;
        const char *error = NULL, *cr;
        if (at == len)
            return;
        if (s[at] != '*') {
            const char *lf = memchr(s + at, '\n', len - at);
            if (!lf)
                return;
            struct resp_arg *argv = NULL;
            struct buf store = { 0 };
            size_t cap = 0, line = (size_t)(lf - s) - at;
            long argc = resp_split_line(s + at, line, &store, &argv, &cap);
            for (long i = 0; i < argc; i++)
                tell_arg(out, argv[i].data, argv[i].len);
            if (argc > 0)
                buf_puts(out, "\n");
            if (argc < 0)
                buf_puts(out, "ERR Protocol error: unbalanced quotes in request");
            mem_free(argv);
            buf_release(&store);
            if (argc < 0)
                return;
            at += line + 1;
            continue;
        }
        cr = memchr(s + at, '\r', len - at);
        if (!cr || cr + 2 > s + len)
            return;
        if (!naive_number(s + at + 1, (size_t)(cr - s) - at - 1, &count) || count > 1024 * 1024) {
            buf_puts(out, "ERR Protocol error: invalid multibulk length");
            return;
        }
        at = (size_t)(cr - s) + 2;
        bool whole = true;
        for (long long i = 0; i < count && whole && !error; i++) {
            whole = at < len;
            if (whole && s[at] != '$') {
                buf_printf(out, "ERR Protocol error: expected '$', got '%c'",
                           s[at] >= ' ' && s[at] < 127 ? s[at] : '?');
                buf_release(&command);
                return;
            }
            cr = whole ? memchr(s + at, '\r', len - at) : NULL;
            whole = cr && cr + 2 <= s + len;
            if (whole && (!naive_number(s + at + 1, (size_t)(cr - s) - at - 1, &bulk) || bulk < 0 ||
                          bulk > 1 << 20))
                error = "ERR Protocol error: invalid bulk length";
            if (!whole || error)
                break;
            at = (size_t)(cr - s) + 2;
            whole = len - at >= (size_t)bulk + 2;
            if (whole)
                tell_arg(&command, s + at, (size_t)bulk);
            at += (size_t)bulk + 2;
        }
        if (whole && !error && count > 0) {
            buf_append(out, command.data, command.len);
            buf_puts(out, "\n");
        }
        buf_release(&command);
        if (error)
            buf_puts(out, error);
        if (error || !whole)
            return;
    }
}

static void random_stream(struct rng *rng, struct buf *s)
{
    static const char alphabet[] = "*$0123-\r\n\"'\\x aZ";
    s->len = 0;
    for (size_t commands = 1 + rng_below(rng, 6); commands; commands--) {
        if (rng_below(rng, 3) == 0) {
            for (size_t n = rng_below(rng, 20); n; n--)
                buf_append(s, &alphabet[rng_below(rng, sizeof alphabet - 1)], 1);
            buf_puts(s, "\r\n");
            continue;
        }
        size_t args = rng_below(rng, 5);
        buf_printf(s, "*%zu\r\n", args);
        for (; args; args--) {
            size_t n = rng_below(rng, 12);
            buf_printf(s, "$%zu\r\n", n);
            for (; n; n--)
                buf_append(s, &alphabet[rng_below(rng, sizeof alphabet - 1)], 1);
            buf_puts(s, "\r\n");
        }
    }
    if (s->len && rng_below(rng, 2))
        s->data[rng_below(rng, s->len)] = alphabet[rng_below(rng, sizeof alphabet - 1)];
}

static void test_random_streams(void **state)
{
    (void)state;
    struct rng rng = {.state = run_seed()};
    struct buf stream = { 0 };
    int rounds = run_quick() ? 2000 : 20000;
    for (int round = 0; round < rounds; round++) {
        struct buf want = { 0 }, whole = { 0 }, pieces = { 0 };
        random_stream(&rng, &stream);
        naive(stream.data, stream.len, &want);
        feed(stream.data, stream.len, cut_whole, NULL, true, &whole);
        expect_same(&want, &whole, stream.len);
        feed(stream.data, stream.len, cut_random, &rng, true, &pieces);
        expect_same(&want, &pieces, 0);
        buf_release(&want);
        buf_release(&whole);
        buf_release(&pieces);
    }
    buf_release(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_long_lines),  cmocka_unit_test(test_claims_cost_nothing),
        cmocka_unit_test(test_error_stays), cmocka_unit_test(test_random_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
