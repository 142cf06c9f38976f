/* tsan: skip (one thread) */
/* CRC16 against its check value and the slots that Redis Cluster documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc16.h"

static unsigned slot(const char *key)
{
    return crc16_slot(key, strlen(key));
}

/* Bit by bit, as the polynomial is defined. */
static uint16_t naive(const unsigned char *p, size_t len)
{
    unsigned crc = 0;
    while (len--) {
        crc ^= (unsigned)*p++ << 8;
        for (int i = 0; i < 8; i++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return (uint16_t)crc;
}

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(crc16("123456789", 9), 0x31C3);
    assert_int_equal(crc16("", 0), 0);
    unsigned char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    for (size_t len = 0; len <= sizeof bytes; len++)
        assert_int_equal(crc16(bytes, len), naive(bytes, len));
}

static void test_slots(void **state)
{
    (void)state;
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("bar"), 5061);
    assert_int_equal(slot("{user1000}.following"), slot("user1000"));
    assert_int_equal(slot("a{foo}b{bar}"), slot("foo"));
    assert_int_equal(slot("foo{}{bar}"), naive((const unsigned char *)"foo{}{bar}", 10) % 16384);
    assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
    assert_int_equal(slot("{foo"), naive((const unsigned char *)"{foo", 4) % 16384);
    assert_int_equal(slot(""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_crc), cmocka_unit_test(test_slots) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
