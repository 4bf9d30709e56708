// SPDX-License-Identifier: MIT
// `sluice config` asks programs that are scripts of the test's: what they are told, what becomes of what they say, and
// that one that fails, says nonsense or far too much is not taken for one without options. Secrets are never shown.
#include "deploy/config_command.h"

#include "common/file.h"
#include "common/process.h"
#include "deploy/envfile.h"
#include "proto/buf.h"
#include "tests/unit/printed.h"
#include "tests/unit/temp_dir.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

static struct supervisor_config config;
static char listen_address[] = "127.0.0.1:1", none[] = "";

#define SAYS(options) "printf '%s' '[" options "]'"
#define HOME(source) "{\"name\":\"SLUICE_HOME\",\"value\":\"/h\",\"source\":\"" source "\"}"

static void put(int service, const char *script)
{
    struct buf b;
    buf_init(&b, 65536);
    buf_printf(&b, "#!/bin/sh\n[ \"$1\" = print-config ] || exit 99\n%s\n", script);
    assert_int_equal(file_replace(services[service].binary, buf_str(&b), 0700), 0);
    buf_fini(&b);
}

static int enter(void **state)
{
    int r = temp_dir_enter(state);
    config = (struct supervisor_config){ .listen = listen_address, .admin_listen = none };
    for (int s = 0; s < SERVICES; s++) {
        config.counts[s] = 1;
        put(s, SAYS(HOME("default")));
    }
    return r;
}

static const char *printed;

static int show(const char *service, bool as_json)
{
    printed_begin();
    int status = config_command(&config, temp_dir(), service, as_json);
    printed = printed_end();
    return status;
}

static void assert_printed(const char *text)
{
    if (!strstr(printed, text)) {
        fail_msg("\"%s\" is not in: %s", text, printed);
    }
}

// --- Asking

static void test_all_of_them_in_order(void **state)
{
    (void)state;
    static const char *const names[] = { "supervisor\n", "queue\n",  "users\n",
                                         "orders\n",     "search\n", "gateway\n" };
    assert_int_equal(show(NULL, false), EXIT_OK);
    const char *at = printed;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        at = strstr(at, names[i]);
        assert_non_null(at);
    }
}

static void test_one_of_them_asks_no_other(void **state)
{
    (void)state;
    for (int s = 0; s < SERVICES; s++) {
        put(s, s == SERVICES_USERS ? SAYS(HOME("default")) : "exit 7");
    }
    assert_int_equal(show("users", false), EXIT_OK);
    assert_null(strstr(printed, "queue"));
    assert_null(strstr(printed, "supervisor"));
    assert_int_equal(show("supervisor", false), EXIT_OK);
    assert_printed("SLUICE_SCALE_USERS");
    assert_null(strstr(printed, "users\n"));
}

static void test_asked_as_sluice_up_starts_them(void **state)
{
    (void)state;
    for (int s = 0; s < SERVICES; s++) {
        put(s, "printf '[{\"name\":\"X\",\"value\":\"%s %s %s\",\"source\":\"default\"}]' "
               "$SLUICE_INSTANCE $SLUICE_ADMIN $SLUICE_EXPECT");
    }
    config.counts[SERVICES_SEARCH] = 0; // nobody waits for it
    assert_int_equal(show(NULL, false), EXIT_OK);
    assert_printed("users-1 unix:users-1.admin.sock users,orders");
    assert_printed("gateway-1 unix:gateway-1.admin.sock users,orders");
    assert_null(getenv("SLUICE_INSTANCE")); // of the child alone
}

// --- Sources

static void test_the_last_source_counts_and_only_for_the_environment(void **state)
{
    (void)state;
    config_command_source("TEST_BOTH", "file.env");
    config_command_source("TEST_BOTH", "--port");
    config_command_source("TEST_DEFAULT", "file.env"); // set, and then unset by whoever started it
    put(SERVICES_QUEUE,
        SAYS("{\"name\":\"TEST_BOTH\",\"value\":\"a\",\"source\":\"environment\"},"
             "{\"name\":\"TEST_DEFAULT\",\"value\":\"b\",\"source\":\"default\"},"
             "{\"name\":\"TEST_OTHER\",\"value\":\"c\",\"source\":\"environment\"},"
             "{\"name\":\"SLUICE_INSTANCE\",\"value\":\"queue-1\",\"source\":\"environment\"}"));
    assert_int_equal(show("queue", true), EXIT_OK);
    assert_printed("{\"name\":\"TEST_BOTH\",\"value\":\"a\",\"source\":\"--port\"}");
    assert_printed("{\"name\":\"TEST_DEFAULT\",\"value\":\"b\",\"source\":\"default\"}");
    assert_printed("{\"name\":\"TEST_OTHER\",\"value\":\"c\",\"source\":\"environment\"}");
    assert_printed(
        "{\"name\":\"SLUICE_INSTANCE\",\"value\":\"queue-1\",\"source\":\"supervisor\"}");
}

static void test_a_name_is_copied(void **state)
{
    (void)state;
    char name[] = "TEST_COPIED";
    config_command_source(name, "copied.env");
    memset(name, 'x', sizeof name - 1);
    put(SERVICES_QUEUE,
        SAYS("{\"name\":\"TEST_COPIED\",\"value\":\"a\",\"source\":\"environment\"}"));
    assert_int_equal(show("queue", true), EXIT_OK);
    assert_printed("\"source\":\"copied.env\"");
}

// --- What they say

static void test_secrets_are_not_shown(void **state)
{
    (void)state;
    // Even if a program said one.
    put(SERVICES_USERS,
        SAYS("{\"name\":\"A\",\"secret\":true,\"set\":true,\"value\":\"hunter2\","
             "\"source\":\"file\"},"
             "{\"name\":\"B\",\"secret\":true,\"set\":false,\"source\":\"default\"}"));
    assert_int_equal(show("users", true), EXIT_OK);
    assert_printed("{\"name\":\"A\",\"secret\":true,\"set\":true,\"source\":\"file\"}");
    assert_printed("{\"name\":\"B\",\"secret\":true,\"set\":false,\"source\":\"default\"}");
    assert_null(strstr(printed, "hunter2"));
    assert_int_equal(show("users", false), EXIT_OK);
    assert_printed("(secret)");
    assert_printed("(not set)");
    assert_null(strstr(printed, "hunter2"));
}

static void test_empty_is_not_unset(void **state)
{
    (void)state;
    put(SERVICES_USERS, SAYS("{\"name\":\"A\",\"value\":\"\",\"source\":\"environment\"},"
                             "{\"name\":\"B\",\"value\":null,\"source\":\"default\"}"));
    assert_int_equal(show("users", false), EXIT_OK);
    assert_printed("(empty)");
    assert_printed("(not set)");
    assert_int_equal(show("users", true), EXIT_OK);
    assert_printed("\"value\":\"\"");
    assert_printed("\"value\":null");
}

static yyjson_doc *parse(void)
{
    yyjson_doc *doc = yyjson_read(printed, strlen(printed), 0);
    if (!doc) {
        fail_msg("no JSON: %.200s", printed);
    }
    return doc;
}

static void test_json_is_json(void **state)
{
    (void)state;
    put(SERVICES_ORDERS, "cat <<'END'\n[{\"name\":\"A\",\"value\":\"\\\"\\\\\\n\\u00e9\","
                         "\"source\":\"default\"}]\nEND");
    put(SERVICES_SEARCH, SAYS("")); // without options
    assert_int_equal(show(NULL, true), EXIT_OK);
    yyjson_doc *doc = parse();
    yyjson_val *all = yyjson_obj_get(yyjson_doc_get_root(doc), "processes");
    assert_int_equal(yyjson_arr_size(all), SERVICES + 1);
    yyjson_val *orders = yyjson_arr_get(all, 1 + SERVICES_ORDERS);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(orders, "process")), "orders");
    assert_string_equal(yyjson_get_str(yyjson_ptr_get(orders, "/options/0/value")), "\"\\\n\u00e9");
    assert_int_equal(yyjson_arr_size(yyjson_ptr_get(all, "/4/options")), 0);
    yyjson_doc_free(doc);
}

// Each is within its limit, all together are beyond that of one.
static void test_long_lists_are_whole(void **state)
{
    (void)state;
    char script[256];
    snprintf(script, sizeof script,
             "printf '[{\"name\":\"A\",\"source\":\"default\",\"value\":\"'; "
             "head -c 400000 /dev/zero | tr '\\0' x; printf '\"}]'");
    for (int s = 0; s < SERVICES; s++) {
        put(s, script);
    }
    printed_begin();
    int status = config_command(&config, temp_dir(), NULL, true);
    (void)printed_end(); // cut
    assert_int_equal(status, EXIT_OK);
    struct buf b;
    buf_init(&b, 16 << 20);
    assert_int_equal(file_read("printed", 16 << 20, &b), 0);
    yyjson_doc *doc = yyjson_read(b.data, b.len, 0);
    assert_non_null(doc);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "processes")),
                     SERVICES + 1);
    yyjson_doc_free(doc);
    buf_fini(&b);
}

// --- What goes wrong

static void test_nonsense_is_none_of_ours(void **state)
{
    (void)state;
    const char *const scripts[] = { "true", "echo hello", "echo '{\"a\":1}'", "echo '[1,'",
                                    "echo '\"a\"'" };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        put(SERVICES_USERS, scripts[i]);
        assert_int_equal(show("users", false), EXIT_FAILED);
        assert_printed("sluice: users does not say its options: is it of another version?");
        assert_int_equal(show(NULL, true), EXIT_FAILED);
        assert_null(strstr(printed, "{\"processes\"")); // rather none than half of it
    }
}

static void test_the_first_failure_is_the_status(void **state)
{
    (void)state;
    put(SERVICES_USERS, "echo 'SLUICE_CAPACITY is wrong' >&2; exit 78");
    put(SERVICES_ORDERS, "exit 3");
    assert_int_equal(show(NULL, false), 78);
    assert_printed("SLUICE_CAPACITY is wrong");
    assert_printed("gateway\n"); // the others are shown all the same
}

static void test_a_program_that_crashes_has_failed(void **state)
{
    (void)state;
    put(SERVICES_USERS, SAYS(HOME("default")) "; kill -9 $$");
    assert_int_equal(show("users", false), EXIT_FAILED);
}

static void test_a_program_that_is_not_there(void **state)
{
    (void)state;
    assert_int_equal(unlink(services[SERVICES_USERS].binary), 0);
    assert_int_equal(show("users", false), EXIT_FAILED);
    assert_printed("sluice-users: No such file or directory");
}

static void test_a_program_that_goes_on_for_ever(void **state)
{
    (void)state;
    put(SERVICES_USERS, "exec cat /dev/zero");
    assert_int_equal(show("users", false), EXIT_FAILED);
    assert_printed("sluice-users: Message too long");
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void test_nothing_is_left_behind(void **state)
{
    (void)state;
    put(SERVICES_ORDERS, "exit 1");
    assert_int_equal(show(NULL, false), EXIT_FAILED);
    int before = open_descriptors();
    assert_int_equal(show(NULL, false), EXIT_FAILED);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

// The last case: nothing is noted after it.
static void test_more_sources_than_there_is_room_for(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ENVFILE_MAX_ENTRIES; i++) {
        char name[32];
        snprintf(name, sizeof name, "TEST_%d", i);
        config_command_source(name, "many.env");
    }
    config_command_source(
        "TEST_TOO_LONG_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "long.env");
    put(SERVICES_QUEUE, SAYS("{\"name\":\"TEST_0\",\"value\":\"a\",\"source\":\"environment\"},"
                             "{\"name\":\"TEST_511\",\"value\":\"a\",\"source\":\"environment\"}"));
    assert_int_equal(show("queue", true), EXIT_OK);
    assert_printed("{\"name\":\"TEST_0\",\"value\":\"a\",\"source\":\"many.env\"}");
    assert_printed("{\"name\":\"TEST_511\",\"value\":\"a\",\"source\":\"environment\"}");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, temp_dir_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_all_of_them_in_order),
        CASE(test_one_of_them_asks_no_other),
        CASE(test_asked_as_sluice_up_starts_them),
        CASE(test_the_last_source_counts_and_only_for_the_environment),
        CASE(test_a_name_is_copied),
        CASE(test_secrets_are_not_shown),
        CASE(test_empty_is_not_unset),
        CASE(test_json_is_json),
        CASE(test_long_lists_are_whole),
        CASE(test_nonsense_is_none_of_ours),
        CASE(test_the_first_failure_is_the_status),
        CASE(test_a_program_that_crashes_has_failed),
        CASE(test_a_program_that_is_not_there),
        CASE(test_a_program_that_goes_on_for_ever),
        CASE(test_nothing_is_left_behind),
        CASE(test_more_sources_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
