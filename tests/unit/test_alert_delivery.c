// SPDX-License-Identifier: MIT
// What is told reaches a command: in order, again when it fails, and at the end as long as there is
// time. What cannot be told is counted.
#include "deploy/alert_delivery.h"

#include "common/file.h"
#include "common/log.h"
#include "tests/unit/loop.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct alert_delivery *delivery;
static char command[PATH_MAX + 16];
static int finished;

static void on_finished(void *data)
{
    (void)data;
    finished++;
}

// A delivery to a script, in the directory of the case.
static void open_delivery(const char *script)
{
    char dir[PATH_MAX], text[512];
    struct alert_delivery_options options = { .home = "/home", .runbook = "book" };
    assert_non_null(getcwd(dir, sizeof dir));
    snprintf(command, sizeof command, "%s/command", dir);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    assert_int_equal(file_replace(command, str_of(text), 0700), 0);
    options.command = command;
    finished = 0;
    log_init("sluice", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    assert_int_equal(alert_delivery_open(&loop, &options, &delivery), 0);
}

static void send_one(const char *subject, bool firing)
{
    struct alert alert = { .condition = ALERT_CRASH_LOOP, .since_ms = 1000, .value = 7 };
    snprintf(alert.subject, sizeof alert.subject, "%s", subject);
    alert_delivery_send(delivery, &alert, firing);
}

static int64_t count(enum alert_delivery_result result)
{
    return alert_delivery_count(delivery, result);
}

static void assert_told(const char *expected)
{
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(file_read("told", 65536, &b), 0);
    buf_append_char(&b, '\0');
    assert_string_equal(b.data, expected);
    buf_fini(&b);
}

#define TELL "echo \"$SLUICE_ALERT_SUBJECT $SLUICE_ALERT_STATUS\" >>told"

static void test_in_order(void **unused)
{
    (void)unused;
    open_delivery(TELL);
    send_one("a", true);
    send_one("b", true);
    send_one("a", false);
    LOOP_UNTIL(count(ALERT_DELIVERED) == 3, 10000);
    assert_told("a firing\nb firing\na resolved\n");
    alert_delivery_close(&delivery);
}

static void test_what_is_told(void **unused)
{
    (void)unused;
    open_delivery("cat >told; test \"$SLUICE_ALERT_RUNBOOK $SLUICE_ALERT_VALUE\" = "
                  "\"book#sluicecrashloop 7\"");
    send_one("q\"\\", true);
    LOOP_UNTIL(count(ALERT_DELIVERED) == 1, 10000);
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(file_read("told", 65536, &b), 0);
    buf_append_char(&b, '\0');
    assert_non_null(strstr(b.data, "{\"status\":\"firing\",\"alert\":\"SluiceCrashLoop\""));
    assert_non_null(strstr(b.data, "\"subject\":\"q\\\"\\\\\""));
    assert_non_null(strstr(b.data, "\"since\":\"1970-01-01T00:00:01.000Z\""));
    assert_non_null(strstr(b.data, "\"home\":\"/home\",\"version\":1,\"value\":7}"));
    buf_fini(&b);
    alert_delivery_close(&delivery);
}

static void test_again_when_it_fails(void **unused)
{
    (void)unused;
    open_delivery("mkdir once 2>/dev/null && exit 1; " TELL);
    send_one("a", true);
    send_one("b", true);
    LOOP_UNTIL(count(ALERT_DELIVERED) == 2, 10000);
    assert_told("a firing\nb firing\n"); // nobody overtakes
    assert_int_equal(count(ALERT_FAILED), 0);
    alert_delivery_close(&delivery);
}

static void test_the_oldest_give_way(void **unused)
{
    (void)unused;
    char subject[16];
    open_delivery("echo $$ >>begun; while ! test -e go; do sleep 0.01; done; " TELL);
    for (int i = 0; i < ALERT_DELIVERY_QUEUE + 2; i++) {
        snprintf(subject, sizeof subject, "%d", i);
        send_one(subject, true);
    }
    assert_int_equal(count(ALERT_OUTRUN), 2);
    LOOP_UNTIL(access("begun", F_OK) == 0, 10000);
    int fd = open("go", O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    LOOP_UNTIL(count(ALERT_DELIVERED) == ALERT_DELIVERY_QUEUE, 30000);
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(file_read("told", 65536, &b), 0);
    buf_append_char(&b, '\0');
    // The one that was being told when it was pushed out, then all that were kept.
    assert_int_equal(strncmp(b.data, "0 firing\n2 firing\n3 firing\n", 27), 0);
    assert_non_null(strstr(b.data, "\n65 firing\n"));
    buf_fini(&b);
    alert_delivery_close(&delivery);
}

static void test_the_end_waits_for_what_is_queued(void **unused)
{
    (void)unused;
    open_delivery("sleep 0.05; " TELL);
    alert_delivery_finish(delivery, 10000, on_finished, NULL);
    assert_int_equal(finished, 1); // nothing was
    send_one("a", true);
    send_one("b", true);
    send_one("c", true);
    alert_delivery_finish(delivery, 10000, on_finished, NULL);
    assert_int_equal(finished, 1);
    LOOP_UNTIL(finished == 2, 10000);
    assert_told("a firing\nb firing\nc firing\n");
    assert_int_equal(count(ALERT_DELIVERED), 3);
    alert_delivery_close(&delivery);
}

static void test_the_end_makes_no_pauses(void **unused)
{
    (void)unused;
    struct stat tried = { .st_size = 0 };
    open_delivery("echo >>tried; exit 1");
    send_one("a", true);
    LOOP_UNTIL(stat("tried", &tried) == 0 && tried.st_size == 2, 10000);
    loop_for(100); // the pause before the third attempt has begun: two seconds
    int64_t begin_ms = loop_now_ms();
    alert_delivery_finish(delivery, 60000, on_finished, NULL);
    LOOP_UNTIL(finished == 1, 10000);
    assert_in_range(loop_now_ms() - begin_ms, 0, 2 * ALERT_DELIVERY_RETRY_MS - 400);
    assert_int_equal(stat("tried", &tried), 0);
    assert_int_equal(tried.st_size, 3);
    assert_int_equal(count(ALERT_FAILED), 1);
    alert_delivery_close(&delivery);
}

static void test_the_end_does_not_wait_for_ever(void **unused)
{
    (void)unused;
    open_delivery("exec sleep 600");
    send_one("a", true);
    send_one("b", true);
    alert_delivery_finish(delivery, 200, on_finished, NULL);
    loop_for(50);
    assert_int_equal(finished, 0);
    LOOP_UNTIL(finished == 1, 5000);
    assert_int_equal(count(ALERT_FAILED), 2);
    alert_delivery_close(&delivery);
}

static void test_the_end_is_now(void **unused)
{
    (void)unused;
    open_delivery("exec sleep 600");
    send_one("a", true);
    alert_delivery_finish(delivery, 60000, on_finished, NULL);
    assert_int_equal(finished, 0);
    alert_delivery_finish(delivery, 0, on_finished, NULL);
    assert_int_equal(finished, 1);
    loop_for(50);
    assert_int_equal(finished, 1);
    assert_int_equal(count(ALERT_FAILED), 1);
    alert_delivery_close(&delivery);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_in_order),
        LOOP_CASE(test_what_is_told),
        LOOP_CASE(test_again_when_it_fails),
        LOOP_CASE(test_the_oldest_give_way),
        LOOP_CASE(test_the_end_waits_for_what_is_queued),
        LOOP_CASE(test_the_end_makes_no_pauses),
        LOOP_CASE(test_the_end_does_not_wait_for_ever),
        LOOP_CASE(test_the_end_is_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
