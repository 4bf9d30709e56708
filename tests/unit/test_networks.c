// SPDX-License-Identifier: MIT
#include "gateway/networks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static bool has(const char *network, const char *address)
{
    struct network n;
    uint8_t bytes[16];
    bool is_v4;
    assert_int_equal(network_parse(str_of(network), &n), 0);
    return network_address_parse(str_of(address), bytes, &is_v4) == 0 &&
           networks_have(&n, 1, bytes);
}

static void test_matching(void **state)
{
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.1.2"));
    assert_false(has("10.0.0.0/8", "11.0.0.1"));
    assert_true(has("192.168.1.128/25", "192.168.1.129"));
    assert_false(has("192.168.1.128/25", "192.168.1.127"));
    assert_true(has("127.0.0.1", "127.0.0.1"));
    assert_false(has("127.0.0.1", "127.0.0.2"));
    assert_true(has("::1", "::1"));
    assert_true(has("fd00::/8", "fdff::9"));
    assert_false(has("fd00::/8", "fe80::1"));
    assert_true(has("0.0.0.0/0", "8.8.8.8"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "8.8.8.8"));
    assert_true(has("10.0.0.0/8", "::ffff:10.0.0.1"));
    assert_false(has("10.0.0.0/8", "no address"));
    static const uint8_t address[16] = { [10] = 0xFF, [11] = 0xFF, 10, 0, 0, 1 };
    assert_false(networks_have(NULL, 0, address));
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/8x",
        "10.0.0/8",
        "10.1.0.0/8", // bits behind the prefix
        "::1/129",
        "fd00::1/8",
        "localhost",
        "10.0.0.0/8 ",
        "1.2.3.4.5",
    };
    struct network n;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (network_parse(str_of(wrong[i]), &n) == 0) {
            fail_msg("%s is taken", wrong[i]);
        }
    }
    assert_int_not_equal(network_parse((struct str){ "10.0.0.1\0x", 10 }, &n), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
