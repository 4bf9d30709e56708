// SPDX-License-Identifier: MIT
#include "gateway/coding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define BOTH (1U << CODING_GZIP | 1U << CODING_ZSTD)

static void assert_choice(const char *accepted, unsigned offered, enum coding coding, bool identity)
{
    struct str s = accepted ? str_of(accepted) : (struct str){ NULL, 0 };
    struct coding_choice c = coding_accept(s, offered);
    if (c.coding != coding || c.identity != identity) {
        fail_msg("Accept-Encoding: %s gives %s%s", accepted ? accepted : "(none)",
                 coding_name(c.coding).p, c.identity ? "" : " and not identity");
    }
}

static void test_accept(void **state)
{
    (void)state;
    assert_choice(NULL, BOTH, CODING_IDENTITY, true);
    assert_choice("", BOTH, CODING_IDENTITY, true);
    assert_choice("gzip", BOTH, CODING_GZIP, true);
    assert_choice("GZip", BOTH, CODING_GZIP, true);
    assert_choice("x-gzip", BOTH, CODING_GZIP, true);
    assert_choice("gzip, deflate, br, zstd", BOTH, CODING_ZSTD, true); // as browsers say
    assert_choice("gzip, deflate, br, zstd", 1U << CODING_GZIP, CODING_GZIP, true);
    assert_choice("zstd", 1U << CODING_GZIP, CODING_IDENTITY, true);
    assert_choice("gzip;q=1.0, zstd;q=0.9", BOTH, CODING_GZIP, true);
    assert_choice("gzip;q=0", BOTH, CODING_IDENTITY, true);
    assert_choice("*", BOTH, CODING_ZSTD, true);
    assert_choice("*;q=0", BOTH, CODING_IDENTITY, false);
    assert_choice("zstd;q=0, *", BOTH, CODING_GZIP, true);
    assert_choice("*, zstd;q=0", BOTH, CODING_GZIP, true);
    assert_choice("identity;q=0", BOTH, CODING_IDENTITY, false);
    assert_choice("identity;q=0, gzip", BOTH, CODING_GZIP, false);
    assert_choice("gzip, *;q=0", BOTH, CODING_GZIP, false);
    assert_choice("identity, gzip;q=0.5", BOTH, CODING_IDENTITY, true);
    assert_choice("identity;q=0.5, gzip", BOTH, CODING_GZIP, true);
    assert_choice("identity;q=0.5, gzip;q=0.5", BOTH, CODING_GZIP, true);
    assert_choice("deflate, br", BOTH, CODING_IDENTITY, true);
    assert_choice("gzip;q=2, br", BOTH, CODING_IDENTITY, true); // malformed
    assert_choice("gzip;q=", BOTH, CODING_IDENTITY, true);
    assert_choice(",, gzip ,", BOTH, CODING_GZIP, true);
    assert_choice("gzip", 0, CODING_IDENTITY, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
