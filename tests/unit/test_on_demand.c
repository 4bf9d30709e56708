// SPDX-License-Identifier: MIT
// Who may wait for a service that sleeps, and how often the supervisor hears of it. Clock and notification are played.
#include "gateway/on_demand.h"

#include "common/file.h"
#include "gateway/router.h"
#include "tests/unit/temp_dir.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t now_ms;
static char sent[4096]; // what the supervisor was told, each followed by ';'

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
    return now_ms;
}

void __wrap_notify_send(const char *state);
void __wrap_notify_send(const char *state)
{
    size_t n = strlen(sent);
    snprintf(sent + n, sizeof sent - n, "%s;", state);
}

static const struct service search = { .name = "search", .index = 3 };
static const struct service orders = { .name = "orders", .index = SERVICES_MAX - 1 };
static struct on_demand o;

static int enter(void **state)
{
    int r = temp_dir_enter(state);
    o = (struct on_demand){ .dir = temp_dir() };
    now_ms = 1000;
    sent[0] = '\0';
    return r;
}

static void put(const char *name)
{
    assert_int_equal(file_replace(name, STR(""), 0600), 0);
}

static void assert_sent(const char *expected)
{
    assert_string_equal(sent, expected);
    sent[0] = '\0';
}

static void test_without_a_file_nobody_is_told(void **state)
{
    (void)state;
    assert_false(on_demand_ask(&o, &search));
    assert_false(on_demand_is(&o, &search));
    put("searching"); // of another one
    put("searc");
    now_ms += ON_DEMAND_ASK_MS;
    assert_false(on_demand_ask(&o, &search));
    assert_sent("");
}

static void test_without_a_supervisor(void **state)
{
    (void)state;
    put("search");
    o.dir = NULL;
    assert_false(on_demand_ask(&o, &search));
    assert_false(on_demand_is(&o, &search));
    assert_sent("");
}

static void test_asked_once_in_a_while(void **state)
{
    (void)state;
    put("search");
    for (int64_t ms = 0; ms < ON_DEMAND_ASK_MS; ms++) {
        now_ms = 1000 + ms;
        assert_true(on_demand_ask(&o, &search));
    }
    assert_sent("WANTED=search;");
    now_ms = 1000 + ON_DEMAND_ASK_MS;
    assert_true(on_demand_ask(&o, &search));
    assert_sent("WANTED=search;");
}

static void test_the_answer_of_then_stands_for_a_while(void **state)
{
    (void)state;
    assert_false(on_demand_ask(&o, &search));
    put("search");
    now_ms += ON_DEMAND_ASK_MS - 1;
    assert_false(on_demand_ask(&o, &search));
    assert_true(on_demand_is(&o, &search)); // which looks
    now_ms++;
    assert_true(on_demand_ask(&o, &search));
    assert_sent("WANTED=search;");
    assert_int_equal(unlink("search"), 0);
    now_ms += ON_DEMAND_ASK_MS - 1;
    assert_true(on_demand_ask(&o, &search));
    assert_false(on_demand_is(&o, &search));
    now_ms++;
    assert_false(on_demand_ask(&o, &search));
    assert_sent("");
}

static void test_services_are_apart(void **state)
{
    (void)state;
    put("search");
    put("orders");
    assert_true(on_demand_ask(&o, &search));
    now_ms += ON_DEMAND_ASK_MS / 2;
    assert_true(on_demand_ask(&o, &orders));
    assert_sent("WANTED=search;WANTED=orders;");
    now_ms += ON_DEMAND_ASK_MS / 2;
    assert_true(on_demand_ask(&o, &search));
    assert_true(on_demand_ask(&o, &orders));
    assert_sent("WANTED=search;");
}

static void test_the_longest_name(void **state)
{
    (void)state;
    struct service s = { .index = 0 };
    memset(s.name, 'n', sizeof s.name - 1);
    put(s.name);
    char expected[64];
    snprintf(expected, sizeof expected, "WANTED=%s;", s.name);
    assert_true(on_demand_ask(&o, &s));
    assert_sent(expected);
}

static void test_a_path_that_is_too_long_is_none(void **state)
{
    (void)state;
    static char dir[PATH_MAX];
    memset(dir, '/', sizeof dir - 1); // the root, whatever of it fits
    o.dir = dir;
    struct service s = { .name = "tmp" };
    assert_false(on_demand_is(&o, &s));
    dir[PATH_MAX - sizeof "/tmp"] = '\0';
    assert_true(on_demand_is(&o, &s)); // and this one just fits
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, temp_dir_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_without_a_file_nobody_is_told),
        CASE(test_without_a_supervisor),
        CASE(test_asked_once_in_a_while),
        CASE(test_the_answer_of_then_stands_for_a_while),
        CASE(test_services_are_apart),
        CASE(test_the_longest_name),
        CASE(test_a_path_that_is_too_long_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
