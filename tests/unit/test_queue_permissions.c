// SPDX-License-Identifier: MIT
// The table of PROTOCOL.md 3.11, and names that are nearly allowed.
#include "services/queue/permissions.h"

#include "proto/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool reads(const char *identity, const char *filter)
{
    struct queue_subscribe f = { .n_filters = filter ? 1 : 0 };
    f.filters[0] = filter ? str_of(filter) : (struct str){ NULL, 0 };
    return permissions_read(identity, &f);
}

static void test_publishing(void **state)
{
    (void)state;
    static const struct {
        const char *identity, *topic;
        bool allowed;
    } cases[] = {
        { NULL, "orders.order.placed", true },
        { "orders", "orders.order.placed", true },
        { "orders", "users.user.deleted", false },
        { "orders", "ordersx.order.placed", false },
        { "orders", "orders", false },
        { "orders", "orders.", false },
        { "order", "orders.order.placed", false },
        { "tap", "orders.order.placed", true },
        { "client", "orders.order.placed", true },
        { "gateway", "gateway.x", false },
        { "queue", "queue.x", false },
        { "", "orders.order.placed", false },
        { "", ".x", false },
        { "guests", "guests.guest.came", true },
        { "guests", "$dead.guests", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (permissions_publish(cases[i].identity, str_of(cases[i].topic)) != cases[i].allowed) {
            fail_msg("%s, %s", cases[i].identity, cases[i].topic);
        }
    }
}

static void test_producers(void **state)
{
    (void)state;
    static const struct str none = { NULL, 0 };
    assert_true(permissions_producer("orders", STR("orders.0190")));
    assert_true(permissions_producer("orders", none) && permissions_producer(NULL, STR("x")));
    assert_true(permissions_producer("tap", STR("orders.0190")));
    assert_true(permissions_producer("client", STR("0190")));
    assert_false(permissions_producer("orders", STR("users.0190")));
    assert_false(permissions_producer("orders", STR("ordersx.0190")));
    assert_false(permissions_producer("orders", STR("orders.")));
    assert_false(permissions_producer("orders", STR("orders")));
    assert_false(permissions_producer("orders", STR("")));
    assert_false(permissions_producer("gateway", STR("gateway.0190")));
}

static void test_reading(void **state)
{
    (void)state;
    assert_true(reads(NULL, NULL));
    assert_true(reads("search", NULL));
    assert_true(reads("search", "users.>"));
    assert_true(reads("gateway", "users.session.revoked"));
    assert_false(reads("gateway", NULL)); // that would be all
    assert_false(reads("gateway", ">"));
    assert_false(reads("gateway", "*.session.revoked"));
    assert_false(reads("gateway", "orders.>"));
    assert_false(reads("queue", "users.>"));
    struct queue_subscribe two = { .filters = { STR("users.>"), STR("orders.>") }, .n_filters = 2 };
    assert_false(permissions_read("gateway", &two));
}

static void test_groups(void **state)
{
    (void)state;
    assert_true(permissions_group("orders", STR("orders")));
    assert_true(permissions_group("orders", STR("orders.mail")));
    assert_false(permissions_group("orders", STR("orders-mail")));
    assert_false(permissions_group("orders", STR("search")));
    assert_false(permissions_group("orders", STR("")));
    assert_false(permissions_group("gateway", STR("gateway")));
    assert_true(permissions_group("tap", STR("search")));
    assert_true(permissions_admin(NULL) && permissions_admin("tap"));
    assert_false(permissions_admin("users") || permissions_admin("") ||
                 permissions_admin("gateway"));
}

static struct str group_of(const char *const *pairs, uint32_t n, struct buf *b)
{
    buf_reset(b);
    writer_map(b, n);
    for (uint32_t i = 0; i < n; i++) {
        writer_key(b, pairs[2 * i]);
        writer_str(b, str_of(pairs[2 * i + 1]));
    }
    return permissions_group_of(buf_str(b));
}

static void test_the_group_of_a_call(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    static const char *const one[] = { "from", "end", "group", "orders" };
    static const char *const two[] = { "group", "orders", "group", "search" };
    assert_true(str_eq(group_of(one, 2, &b), STR("orders")));
    assert_int_equal(group_of(two, 2, &b).n, 0);
    assert_int_equal(group_of(one, 1, &b).n, 0);
    assert_int_equal(permissions_group_of(STR("\x81\xa5group")).n, 0);
    assert_int_equal(permissions_group_of(STR("")).n, 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publishing),
        cmocka_unit_test(test_producers),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_the_group_of_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
