// SPDX-License-Identifier: MIT
#include "gateway/address_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct address_table table;

static int take(const char *text, uint32_t max, struct address_entry **ret_entry)
{
    struct sockaddr_storage address = { 0 };
    bool v6 = strchr(text, ':');
    address.ss_family = v6 ? AF_INET6 : AF_INET;
    void *to = v6 ? (void *)&((struct sockaddr_in6 *)&address)->sin6_addr
                  : (void *)&((struct sockaddr_in *)&address)->sin_addr;
    assert_int_equal(inet_pton(address.ss_family, text, to), 1);
    return address_table_take(&table, (struct sockaddr *)&address, max, ret_entry);
}

static void test_limit(void **state)
{
    (void)state;
    struct address_entry *a, *b, *c, *d;
    assert_int_equal(take("10.0.0.1", 2, &a), 0);
    assert_int_equal(take("10.0.0.1", 2, &b), 0);
    assert_int_equal(take("10.0.0.1", 2, &c), -EDQUOT);
    assert_int_equal(take("10.0.0.2", 2, &d), 0);
    address_table_give(&table, &a);
    assert_null(a);
    assert_int_equal(take("10.0.0.1", 2, &c), 0);
    address_table_give(&table, &b);
    address_table_give(&table, &c);
    address_table_give(&table, &d);
    address_table_give(&table, &d); // NULL is allowed
}

static void test_families(void **state)
{
    (void)state;
    struct address_entry *v4, *mapped, *v6, *same, *other;
    assert_int_equal(take("1.2.3.4", 1, &v4), 0);
    assert_int_equal(take("::ffff:1.2.3.4", 1, &mapped), -EDQUOT); // the same client
    assert_int_equal(take("2001:db8::1", 1, &v6), 0);
    assert_int_equal(take("2001:db8::ffff:2", 1, &same), -EDQUOT); // the same /64
    assert_int_equal(take("2001:db8:0:1::1", 1, &other), 0);
    address_table_give(&table, &v4);
    address_table_give(&table, &v6);
    address_table_give(&table, &other);
}

// Nothing is left when all connections are gone, in whatever order they go.
static void test_forgets(void **state)
{
    (void)state;
    enum { N = 20000 }; // more than buckets, so that some share one
    struct address_entry **entries = calloc(N, sizeof(struct address_entry *));
    assert_non_null(entries);
    for (unsigned i = 0; i < N; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(take(text, 1, &entries[i]), 0);
    }
    for (unsigned i = 0; i < N; i++) {
        address_table_give(&table, &entries[i * 7 % N]); // 7 and N have no common divisor
    }
    for (size_t i = 0; i < ADDRESS_BUCKETS; i++) {
        assert_null(table.buckets[i]);
    }
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
