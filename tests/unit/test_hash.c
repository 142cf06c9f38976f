/* hash_bytes is XXH3-64 at every length, whichever instructions it is made with: compared with the library's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <xxhash.h>

#include "base/hash.h"
#include "base/rng.h"

#define MOST ((size_t)300 << 10)

static void test_same(void **state)
{
    (void)state;
    struct rng rng = {7};
    uint8_t *data = malloc(MOST + 64);
    assert_non_null(data);
    for (size_t i = 0; i < MOST + 64; i++)
        data[i] = (uint8_t)rng_next(&rng);
    for (size_t len = 0; len <= 5000; len++)
        assert_int_equal(hash_bytes(data + len % 64, len, len * 31), XXH3_64bits_withSeed(data + len % 64, len, len * 31));
    for (int i = 0; i < 200; i++) {
        size_t len = rng_below(&rng, MOST), at = rng_below(&rng, 64);
        uint64_t seed = rng_next(&rng);
        assert_int_equal(hash_bytes(data + at, len, seed), XXH3_64bits_withSeed(data + at, len, seed));
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
