// SPDX-License-Identifier: MIT
// The table is what RFC 9457 and the gateway need of it: unique slugs that fit in a URL, error statuses, texts.
#include "proto/problems.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_every_entry_is_complete(void **state)
{
    (void)state;
    for (int p = 0; p < PROBLEM_COUNT; p++) {
        const struct problem_type *t = problem_type((enum problem)p);
        assert_true(t->status >= 400 && t->status <= 599);
        assert_true(t->title.n > 0 && t->meaning.n > 0);
        assert_true(t->slug.n > 0);
        assert_int_equal(strspn(t->slug.p, "abcdefghijklmnopqrstuvwxyz-"), t->slug.n);
        assert_int_equal(t->slug.p[t->slug.n], '\0'); // the log and printf may use it as it is
        assert_true(t->meaning.p[t->meaning.n - 1] == '.');
    }
}

static void test_a_slug_finds_its_own_entry(void **state)
{
    (void)state;
    for (int p = 0; p < PROBLEM_COUNT; p++) {
        const struct problem_type *t = problem_type((enum problem)p);
        assert_ptr_equal(problem_find(t->slug), t); // a slug used twice would find the first
    }
    assert_null(problem_find(STR("")));
    assert_null(problem_find((struct str){ NULL, 0 }));
    assert_null(problem_find(STR("not-foun")));
    assert_null(problem_find(STR("not-found ")));
    assert_null(problem_find(STR("Not-Found")));
}

static void test_statuses_that_clients_rely_on(void **state)
{
    (void)state;
    assert_int_equal(PROBLEM_MALFORMED_REQUEST, 0); // routes leave it out: see PROBLEMS() in common/worker.h
    assert_int_equal(problem_type(PROBLEM_NOT_FOUND)->status, 404);
    assert_int_equal(problem_type(PROBLEM_INVALID_FIELDS)->status, 422);
    assert_int_equal(problem_type(PROBLEM_OUTCOME_UNKNOWN)->status, 502);
    assert_int_equal(problem_type(PROBLEM_DEADLINE_EXCEEDED)->status, 504);
    assert_true(str_eq(problem_type(PROBLEM_OUT_OF_STOCK)->slug, STR("out-of-stock")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_entry_is_complete),
        cmocka_unit_test(test_a_slug_finds_its_own_entry),
        cmocka_unit_test(test_statuses_that_clients_rely_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
