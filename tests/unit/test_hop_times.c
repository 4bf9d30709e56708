// SPDX-License-Identifier: MIT
// Whatever became of a request, the times of its hops add up to the whole, and only hops that it
// reached have one.
#include "gateway/hop_times.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// What Server-Timing says of a request that was complete at 1000 us.
static void assert_says(const struct job *job, const struct frame_reply *reply, int64_t now_us,
                        const char *expected)
{
    struct hop_times h;
    struct buf b;
    buf_init(&b, 200);
    hop_times_of(&h, 1000, job, reply, now_us);
    hop_times_write(&h, &b);
    buf_append_char(&b, '\0');
    assert_true(buf_ok(&b));
    assert_string_equal(b.data, expected);
    buf_fini(&b);
    int64_t sum = 0;
    for (int i = 0; i < HOPS_COUNT; i++) {
        sum += h.us[i] == HOP_NOT_REACHED ? 0 : h.us[i];
    }
    assert_int_equal(sum, now_us - 1000);
}

static void test_the_gateway_alone(void **state)
{
    (void)state;
    const struct job job = { 0 };
    assert_says(&job, NULL, 1000, "gateway;dur=0.000");
    assert_says(&job, NULL, 13456, "gateway;dur=12.456");
}

static void test_an_answer(void **state)
{
    (void)state;
    const struct job job = { .submitted_us = 1100, .sent_us = 1300 };
    const struct frame_reply reply = { .queue_us = 50, .handler_us = 2000, .store_us = 1000000 };
    assert_says(
        &job, &reply, 1300 + 1002050 + 75 + 5,
        "gateway;dur=0.100, queue;dur=0.250, wire;dur=0.080, worker;dur=2.000, store;dur=1000.000");
}

static void test_no_answer(void **state)
{
    (void)state;
    const struct job waited = { .submitted_us = 1100 };
    assert_says(&waited, NULL, 2100, "gateway;dur=0.100, queue;dur=1.000, wire;dur=0.000");
    const struct job sent = { .submitted_us = 1100, .sent_us = 1200 };
    assert_says(&sent, NULL, 2200, "gateway;dur=0.100, queue;dur=0.100, wire;dur=1.000");
}

// A worker in another language may say anything of itself.
static void test_a_worker_that_boasts(void **state)
{
    (void)state;
    struct hop_times h;
    const struct job job = { .submitted_us = 1000, .sent_us = 1000 };
    const struct frame_reply reply = { .handler_us = UINT32_MAX, .store_us = UINT32_MAX };
    hop_times_of(&h, 1000, &job, &reply, 2000);
    assert_int_equal(h.us[HOP_WIRE], 0);
    assert_int_equal(h.us[HOP_STORE], UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_gateway_alone),
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_a_worker_that_boasts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
