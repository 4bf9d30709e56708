// SPDX-License-Identifier: MIT
#include "gateway/worker_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct worker_table table;
static struct worker workers[WORKERS_MAX];

// Peers whose places collide, wrap around the end, and go in an order of their own.
static void test_add_and_remove(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        workers[i].peer = i % 2 ? WORKER_SLOTS * i - 1 : UINT32_MAX - i;
        worker_table_add(&table, &workers[i]);
    }
    assert_int_equal(table.n, WORKERS_MAX);
    for (uint32_t k = 0; k < WORKERS_MAX; k++) {
        uint32_t gone = k * 7 % WORKERS_MAX;
        worker_table_remove(&table, &workers[gone]);
        assert_null(worker_table_find(&table, workers[gone].peer));
        workers[gone].fd = -1;
        for (uint32_t i = 0; i < WORKERS_MAX; i += 13) {
            struct worker *found = worker_table_find(&table, workers[i].peer);
            assert_ptr_equal(found, workers[i].fd == -1 ? NULL : &workers[i]);
        }
    }
    assert_int_equal(table.n, 0);
}

static void test_other_names(void **state)
{
    (void)state;
    struct service service = { .name = "users" };
    struct table routes = { .service = &service };
    struct worker w = { .peer = 5, .fd = 9, .table = &routes, .instance = "users-1" };
    worker_table_add(&table, &w);
    assert_ptr_equal(worker_table_find_fd(&table, 9), &w);
    assert_null(worker_table_find_fd(&table, 8));
    assert_ptr_equal(worker_table_find_instance(&table, STR("users"), STR("users-1")), &w);
    assert_null(worker_table_find_instance(&table, STR("orders"), STR("users-1")));
    assert_null(worker_table_find_instance(&table, STR("users"), STR("users-2")));
    worker_table_remove(&table, &w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_remove),
        cmocka_unit_test(test_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
