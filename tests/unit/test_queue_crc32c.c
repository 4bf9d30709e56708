// SPDX-License-Identifier: MIT
// The checksum against published values (RFC 3720 B.4), and the two implementations against each other.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/crc32c.h"

#include <string.h>

static void assert_both(const void *bytes, size_t n, uint32_t expected)
{
    assert_int_equal(crc32c(0, bytes, n), expected);
    assert_int_equal(crc32c_by_tables(0, bytes, n), expected);
}

static void test_published_values(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_both(bytes, sizeof bytes, 0x8A9136AA);
    memset(bytes, 0xFF, sizeof bytes);
    assert_both(bytes, sizeof bytes, 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    assert_both(bytes, sizeof bytes, 0x46DD794E);
    assert_both("123456789", 9, 0xE3069283);
    assert_both("", 0, 0);
}

static void test_every_length_and_split(void **state)
{
    (void)state;
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint32_t whole = crc32c(0, bytes, n);
        assert_int_equal(crc32c_by_tables(0, bytes, n), whole);
        for (size_t split = 0; split <= n; split++) {
            assert_int_equal(crc32c(crc32c(0, bytes, split), bytes + split, n - split), whole);
            assert_int_equal(crc32c_by_tables(crc32c(0, bytes, split), bytes + split, n - split),
                             whole);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_every_length_and_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
