// SPDX-License-Identifier: MIT
#include "gateway/field_edits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void test_refusals(void **state)
{
    (void)state;
    static const char *const both[] = { "connection",          "transfer-encoding",
                                        "content-length",      "te",
                                        "proxy-authorization", "access-control-allow-origin",
                                        "x-request-id",        "upgrade",
                                        "keep-alive" };
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        assert_non_null(field_edits_refusal(str_of(both[i]), false));
        assert_non_null(field_edits_refusal(str_of(both[i]), true));
    }
    assert_non_null(field_edits_refusal(STR("authorization"), false));
    assert_non_null(field_edits_refusal(STR("idempotency-key"), false));
    assert_non_null(field_edits_refusal(STR("x-forwarded-for"), false));
    assert_null(field_edits_refusal(STR("x-tenant"), false));
    assert_null(field_edits_refusal(STR("ten"), false)); // only begins like "te"
    assert_non_null(field_edits_refusal(STR("etag"), true));
    assert_non_null(field_edits_refusal(STR("vary"), true));
    assert_null(field_edits_refusal(STR("etag"), false));
    assert_null(field_edits_refusal(STR("cache-control"), true));
}

static void test_applying(void **state)
{
    (void)state;
    struct field_edit list[] = { { FIELD_RENAME, STR_INIT("a"), STR_INIT("b") },
                                 { FIELD_REMOVE, STR_INIT("c"), { NULL, 0 } },
                                 { FIELD_SET, STR_INIT("d"), STR_INIT("1") } };
    struct field_edits e = { list, 3 };
    struct str name = STR("a");
    assert_int_equal(field_edits_apply(&e, 0, &name), 0);
    assert_true(str_eq(name, STR("b")));
    name = STR("c");
    assert_int_not_equal(field_edits_apply(&e, 0, &name), 0);
    assert_int_equal(field_edits_apply(&e, 2, &name), 0);
    name = STR("d");
    assert_int_not_equal(field_edits_apply(&e, 0, &name), 0); // another value is set
    name = STR("x");
    assert_int_equal(field_edits_apply(&e, 0, &name), 0);
    assert_true(field_edits_set(&e, STR("d")));
    assert_false(field_edits_set(&e, STR("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_applying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
