// SPDX-License-Identifier: MIT
// Ranges of removed sequences against a plain table of which sequence is in.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/holes.h"

#include <stdlib.h>

#define SEQS 64

static void check(const struct holes *h, const bool *in)
{
    for (uint64_t seq = 0; seq < SEQS; seq++) {
        const struct record_removed *r = holes_find(h, seq);
        assert_int_equal(r != NULL, in[seq]);
        assert_true(!r || (r->first_seq <= seq && r->last_seq >= seq));
    }
    for (size_t i = 0; i < h->n; i++) {
        assert_true(h->ranges[i].first_seq <= h->ranges[i].last_seq);
        assert_true(i == 0 || h->ranges[i - 1].last_seq + 1 < h->ranges[i].first_seq);
    }
}

static void test_adding_and_cutting(void **state)
{
    (void)state;
    srandom(1);
    for (int round = 0; round < 2000; round++) {
        struct holes h = { 0 };
        bool in[SEQS] = { false };
        for (int step = 0; step < 30; step++) {
            uint64_t first = 1 + (uint64_t)random() % (SEQS - 1),
                     last = first + (uint64_t)random() % 6;
            bool add = random() % 3 > 0;
            last = last < SEQS ? last : SEQS - 1;
            assert_int_equal(add ? holes_add(&h, first, last) : holes_cut(&h, first, last), 0);
            for (uint64_t seq = first; seq <= last; seq++) {
                in[seq] = add;
            }
            check(&h, in);
        }
        holes_fini(&h);
    }
}

static void test_ends_of_the_numbers(void **state)
{
    (void)state;
    struct holes h = { 0 };
    assert_null(holes_find(&h, 1));
    assert_int_equal(holes_add(&h, 1, UINT64_MAX), 0);
    assert_int_equal(holes_add(&h, 5, UINT64_MAX), 0);
    assert_int_equal(h.n, 1);
    assert_non_null(holes_find(&h, UINT64_MAX));
    assert_int_equal(holes_cut(&h, 0, 9), 0);
    assert_int_equal(h.ranges[0].first_seq, 10);
    assert_int_equal(holes_cut(&h, 0, UINT64_MAX), 0);
    assert_int_equal(h.n, 0);
    holes_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adding_and_cutting),
        cmocka_unit_test(test_ends_of_the_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
