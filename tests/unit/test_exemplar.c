// SPDX-License-Identifier: MIT
// One exemplar at a time: the newest whole, never parts of two.
#include "common/exemplar.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READS 200000 // while three threads set

static char text[200];

static const char *append(const struct exemplar *e)
{
    struct buf b;
    buf_init(&b, sizeof text - 1);
    exemplar_append(e, &b);
    assert_true(buf_ok(&b));
    memcpy(text, b.len ? b.data : "", b.len);
    text[b.len] = '\0';
    buf_fini(&b);
    return text;
}

static struct trace trace_of(int byte)
{
    struct trace t = { .flags = 1 };
    memset(t.trace_id, byte, sizeof t.trace_id);
    return t;
}

static void test_nothing_yet(void **state)
{
    (void)state;
    struct exemplar e = { 0 };
    assert_string_equal(append(&e), "");
}

static void test_the_newest_stays(void **state)
{
    (void)state;
    struct exemplar e = { 0 };
    struct trace old = trace_of(0x11), new = trace_of(0xab);
    new.trace_id[0] = 0x01;
    exemplar_set(&e, &old, 5, 1000000);
    exemplar_set(&e, &new, 12000345, INT64_C(1520879607078900));
    assert_string_equal(append(&e), " # {trace_id=\"01ababababababababababababababab\"} 12.000345 "
                                    "1520879607.078");
}

static void test_one_that_is_being_set(void **state)
{
    (void)state;
    struct exemplar e = { .version = 7 };
    struct trace t = trace_of(0x22);
    assert_string_equal(append(&e), "");
    exemplar_set(&e, &t, 1, 1); // is left to the other thread, not waited for
    assert_int_equal(e.version, 7);
}

static void test_versions_go_round(void **state)
{
    (void)state;
    struct exemplar e = { .version = UINT32_MAX - 1 };
    struct trace t = trace_of(0x33);
    exemplar_set(&e, &t, 1, 1);
    assert_non_null(strstr(append(&e), "3333"));
}

// Across a border of cache lines, where parts of two writings are met soonest.
static struct {
    _Alignas(64) char before[40];
    struct exemplar exemplar;
} shared;
static atomic_bool ending;

static void *set(void *data)
{
    int digit = *(int *)data;
    while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
        digit = digit % 3 + 1; // each writing differs from the one before
        struct trace t = trace_of(digit * 0x11);
        exemplar_set(&shared.exemplar, &t, digit * INT64_C(1111111),
                     digit * INT64_C(1111111111111));
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    int digits[3] = { 1, 2, 3 };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, set, &digits[i]), 0);
    }
    for (int i = 0; i < READS; i++) {
        char wanted[200];
        int digit = append(&shared.exemplar)[0] ? text[strlen(" # {trace_id=\"")] - '0' : 0;
        if (digit) {
            struct trace t = trace_of(digit * 0x11);
            char id[TRACE_ID_TEXT + 1];
            trace_id_text(&t, id);
            (void)snprintf(wanted, sizeof wanted, " # {trace_id=\"%s\"} %d.%d %d.%d", id, digit,
                           digit * 111111, digit * 1111111, digit * 111);
            assert_string_equal(text, wanted);
        }
    }
    atomic_store(&ending, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_string_not_equal(append(&shared.exemplar), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_yet),
        cmocka_unit_test(test_the_newest_stays),
        cmocka_unit_test(test_one_that_is_being_set),
        cmocka_unit_test(test_versions_go_round),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
