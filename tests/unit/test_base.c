/* The small parts of base: buffers, hashes, random numbers, clocks, status texts, memory, the log. */
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

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pages.h"
#include "base/rng.h"
#include "base/status.h"

/* Sanitized builds shall refuse like the others instead of ending the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void buffers_grow_and_shrink(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_append(&b, NULL, 0);
    assert_int_equal(b.len, 0);
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%05d,", i);
    assert_int_equal(b.len, 60000);
    buf_consume(&b, 6 * 1234);
    assert_memory_equal(b.data, "01234,01235,", 12);
    buf_consume(&b, SIZE_MAX);
    assert_int_equal(b.len, 0);
    buf_printf(&b, "%5000d", 7);
    assert_int_equal(b.len, 5000);
    buf_reserve(&b, 1 << 20);
    buf_reset(&b);
    assert_true(b.len == 0 && b.cap <= 65536);
    buf_puts(&b, "text");
    assert_null(buf_try_reserve(&b, SIZE_MAX - 2));
    assert_null(buf_try_reserve(&b, SIZE_MAX / 2));
    assert_memory_equal(b.data, "text", 4);
    buf_release(&b);
    buf_release(&b);
}

static void hashes_are_those_of_the_formats(void **state)
{
    (void)state;
    assert_true(hash_bytes("", 0, 0) == 0x2d06800538d394c2ull);
    assert_true(hash_bytes("abc", 3, 0) == 0x78af5f94892f3950ull);
    assert_true(hash_bytes("abc", 3, 1) != hash_bytes("abc", 3, 0));
    assert_true(hash_mix(0) == 0xe220a8397b1dcdafull);
    struct rng r = {.state = 0};
    assert_true(rng_next(&r) == 0xe220a8397b1dcdafull && rng_next(&r) == 0x6e789e6aa1b965f4ull);
}

static void random_numbers_stay_in_range(void **state)
{
    struct rng r;
    (void)state;
    rng_system(&r.state, sizeof(r.state));
    printf("SEED=%llu\n", (unsigned long long)r.state);
    unsigned met = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t v = rng_below(&r, 7);
        double u = rng_unit(&r);
        assert_true(v < 7 && u >= 0 && u < 1);
        met |= 1u << v;
    }
    assert_int_equal(met, 127);
}

static void clocks_go_forward(void **state)
{
    (void)state;
    uint64_t a = clock_mono_ns(), cpu = clock_thread_cpu_ns();
    assert_true(clock_mono_ns() >= a && clock_thread_cpu_ns() >= cpu);
    assert_true(clock_wall_ms() > 1600000000000ull);
    assert_true(clock_wall_us() / 1000 - clock_wall_ms() + 10000 < 20000);
}

static void every_status_has_a_text(void **state)
{
    (void)state;
    for (int s = VS_OK; s <= VS_CORRUPT; s++) {
        const char *text = vs_status_text((enum vs_status)s);
        assert_string_not_equal(text, "unknown status");
        assert_true(text[strlen(text) - 1] != '.');
    }
    assert_string_equal(vs_status_text((enum vs_status)999), "unknown status");
}

static void memory_is_counted(void **state)
{
    enum { SIZE = 32 << 20 };
    struct mem_stats before, with, after;
    (void)state;
    mem_stats_read(&before);
    char *heap = mem_zalloc(SIZE), *pages = pages_alloc(PAGES_PLAIN, SIZE);
    memset(heap, 1, SIZE);
    mem_stats_read(&with);
    assert_true(mem_size(heap) >= SIZE);
    assert_in_range(with.heap - before.heap, SIZE, SIZE + (1 << 20));
    assert_int_equal(with.pages - before.pages, SIZE);
    assert_int_equal(with.used, with.heap + with.pages);
    assert_true(with.peak >= with.used && with.rss > SIZE / 2);
    mem_free(heap);
    pages_free(PAGES_PLAIN, pages, SIZE);
    mem_purge();
    mem_stats_read(&after);
    assert_true(after.used < before.used + (1 << 20) && after.peak >= with.used);
    assert_true(strlen(mem_allocator_name()) > 0);
}

static void memory_that_cannot_be_had_is_refused(void **state)
{
    volatile size_t huge = (size_t)1 << 60;   /* more than any address space */
    size_t out = 7;
    (void)state;
    assert_null(mem_try_alloc(huge));
    assert_null(mem_try_zalloc(huge));
    char *p = mem_alloc(10);
    assert_null(mem_try_realloc(p, huge));
    mem_free(p);
    assert_null(pages_alloc(PAGES_HUGE, huge));
    assert_null(pages_alloc(PAGES_HUGE, SIZE_MAX));
    assert_false(mem_mul(huge, 16, &out));
    assert_false(mem_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(mem_mul(6, 7, &out) && out == 42);
}

static void blocks_are_aligned_and_copied(void **state)
{
    (void)state;
    for (size_t a = 16; a <= 4096; a *= 2) {
        char *p = mem_aligned(a, 3 * a + 1);
        assert_int_equal((uintptr_t)p % a, 0);
        for (size_t i = 0; i < 3 * a + 1; i++)
            assert_int_equal(p[i], 0);
        mem_free(p);
    }
    char *copy = mem_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    mem_free(copy);
    mem_free(mem_alloc(0));
    mem_free(NULL);
}

static void log_lines_cannot_be_forged(void **state)
{
    char path[] = "/tmp/vecstore-test-log-XXXXXX", text[4096];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_false(log_open("/nonexistent/directory/log"));
    assert_true(log_open(path));
    log_notice("one %s", "a\nb\rc");
    log_debug("unseen");
    log_set_level(LOG_DEBUG);
    log_debug("two");
    log_set_level(LOG_NOTICE);
    char *wide = mem_zalloc(10000);
    memset(wide, 'x', 9999);
    log_warning("%s", wide);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = 0;
    assert_non_null(strstr(text, " * one a?b?c\n"));
    assert_null(strstr(text, "unseen"));
    assert_non_null(strstr(text, " . two\n"));
    assert_non_null(strstr(text, " # xxx"));
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3);
    assert_int_equal(text[n - 1], '\n');
    assert_true(log_open(NULL));
    log_notice("back on standard output");
    mem_free(wide);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_grow_and_shrink),
        cmocka_unit_test(hashes_are_those_of_the_formats),
        cmocka_unit_test(random_numbers_stay_in_range),
        cmocka_unit_test(clocks_go_forward),
        cmocka_unit_test(every_status_has_a_text),
        cmocka_unit_test(memory_is_counted),
        cmocka_unit_test(memory_that_cannot_be_had_is_refused),
        cmocka_unit_test(blocks_are_aligned_and_copied),
        cmocka_unit_test(log_lines_cannot_be_forged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
