// SPDX-License-Identifier: MIT
// A dead letter gives the event back as it was, whatever its data is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/dead_letter.h"

#include <errno.h>
#include <string.h>

static const struct event original = { .id = STR_INIT("01a20aaa-033e-7412-bd0b-43964cbf397e"),
                                       .topic = STR_INIT("a.b"),
                                       .key = STR_INIT("k"),
                                       .subject = STR_INIT("s"),
                                       .source = STR_INIT("/src"),
                                       .time_ms = 5,
                                       .traceparent = STR_INIT("t") };

static void around(struct str data)
{
    struct buf b;
    struct dead_letter again;
    struct dead_letter d = { .group = STR("g"),
                             .reason = STR("terminated"),
                             .error = STR("why"),
                             .attempts = 3,
                             .retries = 1,
                             .seq = 42,
                             .stored_ms = 7,
                             .event = original };
    d.event.data = data;
    buf_init(&b, 3 * QUEUE_MAX_EVENT_BYTES);
    dead_letter_encode(&b, &d, 1000);
    assert_true(buf_ok(&b));
    assert_int_equal(dead_letter_decode(buf_str(&b), &again), 0);
    assert_true(str_eq(again.group, d.group) && str_eq(again.reason, d.reason));
    assert_true(str_eq(again.error, d.error) && again.attempts == 3 && again.retries == 1);
    assert_true(again.seq == 42 && again.stored_ms == 7);
    assert_true(str_eq(again.event.id, original.id) && str_eq(again.event.topic, original.topic));
    assert_true(str_eq(again.event.key, original.key) &&
                str_eq(again.event.source, original.source));
    assert_true(str_eq(again.event.subject, original.subject) && again.event.time_ms == 5);
    assert_true(str_eq(again.event.traceparent, original.traceparent));
    assert_true((again.event.data.p == NULL) == (data.p == NULL) && str_eq(again.event.data, data));
    for (size_t n = 0; n < b.len; n++) { // none of the truncations is one
        assert_int_equal(dead_letter_decode((struct str){ b.data, n }, &again), -EBADMSG);
    }
    buf_fini(&b);
}

static void test_every_kind_of_data(void **state)
{
    (void)state;
    around((struct str){ NULL, 0 });
    around(STR("\x01"));                   // a number
    around(STR("\xc0"));                   // nil, which is not the same as none
    around(STR("\xc4\x02hi"));             // a bin
    around(STR("\x82\xa1x\x01\xa1y\x90")); // a map
    around(STR("\xc1"));                   // no MessagePack
    around(STR("\x01\x02"));               // more than one value
    around(STR(""));
}

static void test_the_largest(void **state)
{
    static char data[QUEUE_MAX_EVENT_BYTES];
    struct buf b;
    struct dead_letter d = { .group = STR("g"), .event = original }, again;
    (void)state;
    memset(data, 1, sizeof data); // a million values: kept as a bin
    d.event.data = (struct str){ data, sizeof data - 200 };
    buf_init(&b, QUEUE_MAX_EVENT_BYTES + 2 * DEAD_LETTER_EXTRA_BYTES);
    dead_letter_encode(&b, &d, 1000);
    assert_true(buf_ok(&b));
    assert_int_equal(dead_letter_decode(buf_str(&b), &again), 0);
    assert_true(str_eq(again.event.data, d.event.data));
    buf_fini(&b);
}

static void test_other_events_are_none(void **state)
{
    struct buf b;
    struct dead_letter d;
    struct event e = original;
    (void)state;
    buf_init(&b, 1000);
    e.data = STR("\x80");
    event_encode(&b, &e); // its topic is another
    assert_int_equal(dead_letter_decode(buf_str(&b), &d), -EBADMSG);
    buf_reset(&b);
    e.topic = STR("$dead.g");
    event_encode(&b, &e); // without an event in it
    assert_int_equal(dead_letter_decode(buf_str(&b), &d), -EBADMSG);
    buf_reset(&b);
    e.data = STR("\x81\xa5"
                 "event\x01");
    event_encode(&b, &e);
    assert_int_equal(dead_letter_decode(buf_str(&b), &d), -EBADMSG);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_data),
        cmocka_unit_test(test_the_largest),
        cmocka_unit_test(test_other_events_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
