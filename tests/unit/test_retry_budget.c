// SPDX-License-Identifier: MIT
#include "gateway/retry_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int take_all(struct retry_budget *b, int64_t now_ms)
{
    int n = 0;
    while (retry_budget_take(b, now_ms)) {
        n++;
    }
    return n;
}

static void test_floor(void **state)
{
    (void)state;
    struct retry_budget b = { 0 };
    assert_int_equal(take_all(&b, 1000), RETRY_FLOOR);
}

static void test_share(void **state)
{
    (void)state;
    struct retry_budget b = { 0 };
    for (int i = 0; i < 5000; i++) {
        retry_budget_request(&b, 1000);
    }
    assert_int_equal(take_all(&b, 1000), 500);
    assert_false(retry_budget_take(&b, RETRY_WINDOW_MS + 1)); // the last window still counts
    assert_int_equal(take_all(&b, 2 * RETRY_WINDOW_MS + 1), RETRY_FLOOR);
}

static void test_after_silence(void **state)
{
    (void)state;
    struct retry_budget b = { 0 };
    for (int i = 0; i < 5000; i++) {
        retry_budget_request(&b, 1000);
    }
    assert_int_equal(take_all(&b, 50 * RETRY_WINDOW_MS), RETRY_FLOOR); // long ago is not recent
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_after_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
