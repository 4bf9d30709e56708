// SPDX-License-Identifier: MIT
// The pages that every process has: the log level is shown to everybody, and set by the owner alone.
#include "common/admin_pages.h"

#include "common/address.h"
#include "common/admin.h"
#include "common/admin_fetch.h"
#include "common/log.h"
#include "common/log_metrics.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT "21093"
#define LIMIT_MS 3000
#define ANSWER_BYTES 65536

static struct admin *admin;
static char here[128];
static const char there[] = "127.0.0.1:" PORT;
static int fetched;
static char body[ANSWER_BYTES];
static int stdout_copy;

static int enter(void **state)
{
    char addresses[256];
    int rc = loop_enter(state);
    (void)snprintf(here, sizeof here, "unix:%s/a.sock", temp_dir());
    (void)snprintf(addresses, sizeof addresses, "%s,%s", here, there);
    rc = rc ? rc : admin_open(&loop, addresses, &admin);
    log_metrics_open();
    // Lines of the log are not for the test's own output.
    fflush(stdout);
    stdout_copy = dup(STDOUT_FILENO);
    int log = open("log", O_CREAT | O_RDWR | O_APPEND, 0600);
    dup2(log, STDOUT_FILENO);
    close(log);
    log_init("sluice-test", "test-1", LEVEL_INFO, LOG_FORMAT_JSON);
    return rc ? rc : admin_pages_add(admin);
}

static int leave(void **state)
{
    dup2(stdout_copy, STDOUT_FILENO);
    close(stdout_copy);
    log_metrics_close();
    admin_close(&admin);
    return loop_leave(state);
}

static void on_fetched(int status, struct str text, void *data)
{
    (void)data;
    fetched = status;
    (void)snprintf(body, sizeof body, "%.*s", STR_ARG(text));
}

static int ask(const char *at, const char *method, const char *path)
{
    struct address address;
    struct admin_fetch *f;
    assert_int_equal(address_parse(str_of(at), &address), 0);
    struct admin_fetch_options options = { .loop = &loop,
                                           .to = &address,
                                           .method = method,
                                           .path = path,
                                           .accept = "*/*",
                                           .timeout_ms = LIMIT_MS,
                                           .max_bytes = sizeof body - 1,
                                           .on_done = on_fetched };
    fetched = 0;
    assert_int_equal(admin_fetch(&options, &f), 0);
    LOOP_UNTIL(fetched != 0, LIMIT_MS);
    return fetched;
}

static void assert_logged(const char *text, bool expected)
{
    static char log[65536];
    int fd = open("log", O_RDONLY);
    ssize_t n = read(fd, log, sizeof log - 1);
    close(fd);
    assert_true(n >= 0);
    log[n] = '\0';
    assert_int_equal(strstr(log, text) != NULL, expected);
}

static void test_a_level_is_shown_and_set(void **state)
{
    (void)state;
    assert_int_equal(ask(here, NULL, "/log-level"), 200);
    assert_string_equal(body, "info\n");
    log_debug("not yet");
    assert_int_equal(ask(here, "PUT", "/log-level?level=debug"), 200);
    assert_string_equal(body, "debug\n");
    log_debug("but now");
    assert_logged("not yet", false);
    assert_logged("but now", true);
    assert_logged("\"log.level\":\"debug\",\"log.level.before\":\"info\"", true);
    assert_int_equal(ask(here, NULL, "/metrics"), 200);
    assert_non_null(strstr(body, "\nsluice_log_level{level=\"debug\"} 1\n"));
    assert_non_null(strstr(body, "\nsluice_log_level{level=\"info\"} 0\n"));
    // Where nothing but errors is written, the change is, too.
    assert_int_equal(ask(here, "PUT", "/log-level?level=error"), 200);
    assert_logged("\"log.level\":\"error\",\"log.level.before\":\"debug\"", true);
    log_warn("a warning");
    assert_logged("a warning", false);
    assert_int_equal(ask(here, "PUT", "/log-level?level=warn"), 200);
    assert_logged("\"log.level\":\"warn\",\"log.level.before\":\"error\"", true);
}

static void test_what_is_no_level_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "/log-level",
                                         "/log-level?level=",
                                         "/log-level?level=loud",
                                         "/log-level?debug",
                                         "/log-level?level=fatal",
                                         "/log-level?level=INFO",
                                         "/log-level?level=debug&x",
                                         "/log-level?x&level=debug" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(ask(here, "PUT", wrong[i]), 400);
        assert_non_null(strstr(body, "debug, info, warn and error"));
    }
    assert_int_equal(ask(here, "GET", "/log-level?level=debug"), 200); // a GET sets nothing
    assert_string_equal(body, "info\n");
    assert_int_equal(log_level(), LEVEL_INFO);
}

static void test_only_the_owner_sets_it(void **state)
{
    (void)state;
    assert_int_equal(ask(there, "GET", "/log-level"), 200);
    assert_string_equal(body, "info\n");
    assert_int_equal(ask(there, "PUT", "/log-level?level=debug"), 403);
    assert_int_equal(log_level(), LEVEL_INFO);
}

static void test_other_methods(void **state)
{
    (void)state;
    assert_int_equal(ask(here, "POST", "/log-level?level=debug"), 405);
    assert_string_equal(body, "GET, HEAD and PUT only\n");
    assert_int_equal(ask(here, "DELETE", "/log-level"), 405);
    assert_int_equal(ask(here, "PUT", "/metrics"), 405);
    assert_string_equal(body, "GET and HEAD only\n");
    assert_int_equal(ask(here, "PUT", "/none"), 405);
    assert_int_equal(log_level(), LEVEL_INFO);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_level_is_shown_and_set),
        CASE(test_what_is_no_level_is_refused),
        CASE(test_only_the_owner_sets_it),
        CASE(test_other_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
