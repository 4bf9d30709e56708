// SPDX-License-Identifier: MIT
// Every process takes the same traces; a parent's word goes before where the name says so.
#include "common/sampler.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool takes(const char *name, const char *argument, const struct trace *parent)
{
    struct sampler s;
    struct trace t;
    assert_int_equal(sampler_parse(name, argument, &s), 0);
    sampler_begin(&s, parent, &t);
    return trace_is_sampled(&t);
}

static void test_names(void **state)
{
    (void)state;
    struct trace yes, no;
    trace_start(&yes, true);
    trace_start(&no, false);
    assert_true(takes("always_on", "0", NULL) && takes("always_on", "0", &no));
    assert_false(takes("always_off", "1", NULL) || takes("always_off", "1", &yes));
    assert_true(takes("traceidratio", "1", &no) && takes("traceidratio", "1.0", NULL));
    assert_false(takes("traceidratio", "0", &yes) || takes("traceidratio", "0", NULL));
    assert_true(takes("parentbased_always_off", "", &yes));
    assert_false(takes("parentbased_always_off", "", NULL));
    assert_false(takes("parentbased_always_on", "", &no));
    assert_true(takes("parentbased_always_on", "", NULL));
    assert_true(takes("parentbased_traceidratio", "0", &yes));
    assert_false(takes("parentbased_traceidratio", "1", &no));
}

static void test_wrong_ratios(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "x", "1.1", "-0.1", "nan", "inf", "0.5x", "1 " };
    struct sampler s;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(sampler_parse("traceidratio", wrong[i], &s), -EINVAL);
    }
    assert_int_equal(sampler_parse("always_on", "x", &s), 0); // has no argument
}

static void test_share(void **state)
{
    (void)state;
    struct sampler s;
    struct trace t;
    int n = 0;
    assert_int_equal(sampler_parse("traceidratio", "0.25", &s), 0);
    for (int i = 0; i < 40000; i++) {
        sampler_begin(&s, NULL, &t);
        assert_true(trace_is_set(&t));
        n += trace_is_sampled(&t);
    }
    assert_in_range(n, 9500, 10500); // five standard deviations are 433
}

// Whoever has the larger share takes all that the smaller one takes.
static void test_consistent(void **state)
{
    (void)state;
    struct sampler few, many;
    struct trace t, a, b;
    int n = 0;
    assert_int_equal(sampler_parse("traceidratio", "0.1", &few), 0);
    assert_int_equal(sampler_parse("traceidratio", "0.2", &many), 0);
    for (int i = 0; i < 5000; i++) {
        trace_start(&t, i % 2);
        sampler_begin(&few, &t, &a);
        sampler_begin(&many, &t, &b);
        assert_memory_equal(a.trace_id, t.trace_id, sizeof t.trace_id);
        assert_memory_not_equal(a.span_id, t.span_id, sizeof t.span_id);
        assert_true(!trace_is_sampled(&a) || trace_is_sampled(&b));
        n += trace_is_sampled(&a) != trace_is_sampled(&b);
    }
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_wrong_ratios),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
