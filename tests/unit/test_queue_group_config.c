// SPDX-License-Identifier: MIT
// The arguments of group-set: each wrong one is named with what is allowed, what is not given keeps its value, and what is
// written is read as the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/group_config.h"

#include <errno.h>
#include <string.h>

#include "proto/writer.h"

static struct buf map;
static struct group_config config;
static struct group_start start;
static char error[GROUP_ERROR_SIZE];

static void begin(uint32_t members)
{
    buf_fini(&map);
    buf_init(&map, 10000);
    writer_map(&map, members);
    writer_key(&map, "group");
    writer_str(&map, STR("g.1"));
}

static int read_map(bool stored)
{
    error[0] = 0;
    return group_config_read(buf_str(&map), stored, &config, &start, error);
}

static void test_defaults_and_changes(void **state)
{
    (void)state;
    group_config_init(&config);
    begin(1);
    assert_int_equal(read_map(false), 0);
    assert_string_equal(config.name, "g.1");
    assert_int_equal(config.ack_wait_ms, GROUP_DEFAULT_ACK_WAIT_MS);
    assert_int_equal(config.max_deliveries, GROUP_DEFAULT_MAX_DELIVERIES);
    begin(3);
    writer_key(&map, "ack_wait_ms");
    writer_uint(&map, 500);
    writer_key(&map, "order");
    writer_nil(&map); // as good as left out
    assert_int_equal(read_map(false), 0);
    assert_int_equal(config.ack_wait_ms, 500);
    assert_int_equal(config.order, GROUP_ORDER_KEY);
    assert_int_equal(config.backoff_ms, GROUP_DEFAULT_BACKOFF_MS);
}

static void test_filters(void **state)
{
    (void)state;
    group_config_init(&config);
    assert_true(group_config_wants(&config, STR("a")));
    assert_false(group_config_wants(&config, STR("$dead.g"))); // nobody asked for those
    begin(2);
    writer_key(&map, "filters");
    writer_array(&map, 2);
    writer_str(&map, STR("a.*"));
    writer_str(&map, STR("$dead.other"));
    assert_int_equal(read_map(false), 0);
    assert_true(group_config_wants(&config, STR("a.b")));
    assert_false(group_config_wants(&config, STR("a.b.c")));
    assert_true(group_config_wants(&config, STR("$dead.other")));
}

static void test_around(void **state)
{
    struct group_config again;
    (void)state;
    test_filters(NULL);
    config.order = GROUP_ORDER_ALL;
    config.paused = true;
    config.created_ms = 77;
    config.max_pending = 9;
    buf_fini(&map);
    buf_init(&map, 10000);
    writer_map(&map, GROUP_CONFIG_MEMBERS);
    group_config_write(&config, &map);
    group_config_init(&again);
    assert_int_equal(group_config_read(buf_str(&map), true, &again, &start, error), 0);
    assert_true(group_config_equal(&config, &again));
    assert_int_equal(again.created_ms, 77);
    again.max_pending = 10;
    assert_false(group_config_equal(&config, &again));
    for (size_t n = 0; n < map.len; n++) {
        assert_int_equal(
            group_config_read((struct str){ map.data, n }, true, &again, &start, error), -EINVAL);
    }
    // A client may not say what only the log says.
    assert_int_equal(read_map(false), -EINVAL);
    assert_non_null(strstr(error, "paused"));
}

static void wrong_number(const char *name, uint64_t value)
{
    begin(2);
    writer_key(&map, name);
    writer_uint(&map, value);
    group_config_init(&config);
    assert_int_equal(read_map(false), -EINVAL);
    assert_memory_equal(error, name, strlen(name));
    assert_non_null(strstr(error, "allowed"));
}

static void wrong_word(const char *name, const char *value)
{
    begin(2);
    writer_key(&map, name);
    writer_str(&map, str_of(value));
    group_config_init(&config);
    assert_int_equal(read_map(false), -EINVAL);
    assert_non_null(strstr(error, name));
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    wrong_number("ack_wait_ms", 99);
    wrong_number("ack_wait_ms", GROUP_LONGEST_MS + UINT64_C(1));
    wrong_number("max_deliveries", 0);
    wrong_number("max_deliveries", GROUP_MOST_DELIVERIES + UINT64_C(1));
    wrong_number("backoff_ms", 0);
    wrong_number("backoff_max_ms", UINT64_MAX);
    wrong_number("max_pending", 0);
    wrong_number("max_pending", 65537);
    wrong_word("order", "random");
    wrong_word("from", "last");
    wrong_word("filters", "a.b");
    wrong_word("ack_wait_ms", "1000");
    wrong_word("acc_wait_ms", "1000");
    begin(2);
    writer_key(&map, "filters");
    writer_array(&map, 1);
    writer_str(&map, STR("a..b"));
    group_config_init(&config);
    assert_int_equal(read_map(false), -EINVAL);
    assert_non_null(strstr(error, "number 1"));
    buf_fini(&map);
    buf_init(&map, 100);
    writer_map(&map, 0);
    group_config_init(&config);
    assert_int_equal(read_map(false), -EINVAL); // no name
    assert_non_null(strstr(error, "group"));
    assert_int_equal(group_config_read(STR("\x01"), false, &config, &start, error), -EINVAL);
    buf_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_changes),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_around),
        cmocka_unit_test(test_what_is_wrong_is_named),
    };
    buf_init(&map, 10000);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
