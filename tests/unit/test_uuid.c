// SPDX-License-Identifier: MIT
// Ids have the layout of RFC 9562 version 7 and grow strictly, whatever the clock and however many
// threads.
#include "common/uuid.h"

#include "common/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_THREADS 4
#define PER_THREAD 20000

typedef char id_text[UUID_TEXT + 1];

static int64_t time_of(const char *id)
{
    char digits[13];
    memcpy(digits, id, 8);
    memcpy(digits + 8, id + 9, 4);
    digits[12] = '\0';
    return (int64_t)strtoull(digits, NULL, 16);
}

static void test_layout(void **state)
{
    (void)state;
    int64_t now_ms = clock_wall_ms();
    for (int i = 0; i < 1000; i++) {
        id_text id;
        uuid_v7(now_ms, id);
        assert_int_equal(id[UUID_TEXT], 0);
        assert_true(uuid_valid(str_of(id)));
        assert_int_equal(id[14], '7');
        assert_non_null(strchr("89ab", id[19]));
        assert_true(time_of(id) == now_ms ||
                    time_of(id) == now_ms + 1); // + 1: the counter ran over
    }
}

static void test_same_millisecond_grows(void **state)
{
    (void)state;
    int64_t now_ms = clock_wall_ms();
    id_text last, id;
    uuid_v7(now_ms, last);
    for (int i = 0; i < 100000; i++) { // far more than the counter holds
        uuid_v7(now_ms, id);
        assert_true(strcmp(last, id) < 0);
        memcpy(last, id, sizeof(id));
    }
}

static void test_a_clock_that_goes_back(void **state)
{
    (void)state;
    static const int64_t steps[] = { -1, -1000, -86400000, 0, 5, -5, INT64_MIN / 2 };
    int64_t now_ms = clock_wall_ms() + 1000;
    id_text last, id;
    uuid_v7(now_ms, last);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uuid_v7(now_ms + steps[i], id);
        assert_true(strcmp(last, id) < 0);
        assert_true(time_of(id) >= now_ms && time_of(id) <= now_ms + 6);
        memcpy(last, id, sizeof(id));
    }
    uuid_v7(-1, id); // before 1970
    assert_true(strcmp(last, id) < 0 && time_of(id) <= now_ms + 6);
}

static void *make_ids(void *data)
{
    id_text *ids = data;
    for (int i = 0; i < PER_THREAD; i++) {
        uuid_v7(clock_wall_ms(), ids[i]);
        if (i > 0 && strcmp(ids[i - 1], ids[i]) >= 0) {
            return ids[i];
        }
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, UUID_TEXT);
}

static void test_threads(void **state)
{
    (void)state;
    static id_text ids[N_THREADS * PER_THREAD];
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids + i * PER_THREAD), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    qsort(ids, N_THREADS * PER_THREAD, sizeof(ids[0]), compare);
    for (int i = 1; i < N_THREADS * PER_THREAD; i++) {
        // Time and counter alone already differ: 12 + 1 + 1 + 4 characters.
        assert_int_not_equal(memcmp(ids[i - 1], ids[i], 18), 0);
    }
}

static void test_valid(void **state)
{
    (void)state;
    assert_true(uuid_valid(STR("00000000-0000-0000-0000-000000000000")));
    assert_true(uuid_valid(STR("0190163d-8694-739b-aea5-966c26f8ad91")));
    static const struct str wrong[] = {
        { NULL, 0 },
        { "0190163d-8694-739b-aea5-966c26f8ad9", 35 },
        { "0190163d-8694-739b-aea5-966c26f8ad911", 37 },
        { "0190163D-8694-739b-aea5-966c26f8ad91", 36 }, // upper case
        { "0190163d08694-739b-aea5-966c26f8ad91", 36 },
        { "0190163d-8694-739b-aea5-966c26f8ad-1", 36 },
        { "g190163d-8694-739b-aea5-966c26f8ad91", 36 },
        { "0190163d-8694-739b-aea5-966c26f8ad9\0", 36 },
        { "{190163d-8694-739b-aea5-966c26f8ad9}", 36 },
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(uuid_valid(wrong[i]));
    }
}

// Last: from here on this process's ids stand at the end of time.
static void test_the_largest_time(void **state)
{
    (void)state;
    id_text id;
    uuid_v7((INT64_C(1) << 48) + 5, id);
    assert_true(uuid_valid(str_of(id)));
    assert_memory_equal(id, "ffffffff-ffff-7", 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_same_millisecond_grows),
        cmocka_unit_test(test_a_clock_that_goes_back),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_the_largest_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
