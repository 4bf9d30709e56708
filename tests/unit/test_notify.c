// SPDX-License-Identifier: MIT
// Whoever started us hears it, on a path or an abstract name; nobody else is disturbed and nothing
// blocks.
#include "common/notify.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

// A datagram socket that listens at name; '@' stands for the NUL of an abstract one.
static int listen_at(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t n = strlen(name);
    memcpy(address.sun_path, name, n);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void assert_heard(int fd, const char *expected)
{
    char text[64] = "";
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(text, expected);
    assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_signs_of_life(void **state)
{
    (void)state;
    char name[64], pid[16];
    (void)unsetenv("WATCHDOG_PID");
    (void)unsetenv("WATCHDOG_USEC");
    assert_int_equal(notify_watchdog_ms(), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "10000000", 1), 0);
    assert_int_equal(notify_watchdog_ms(), 10000);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); // somebody else's
    assert_int_equal(notify_watchdog_ms(), 0);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
    assert_int_equal(notify_watchdog_ms(), 10000);
    assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
    assert_int_equal(notify_watchdog_ms(), 0);
    snprintf(name, sizeof(name), "%s/notify", temp_dir());
    int fd = listen_at(name);
    notify_alive();
    assert_heard(fd, "WATCHDOG=1");
    notify_stuck();
    assert_heard(fd, "WATCHDOG=trigger");
    for (int i = 0; i < 10000; i++) {
        notify_alive(); // a full queue is not waited for, or this would take hours
    }
    close(fd);
}

static void test_path(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof(name), "%s/notify", temp_dir());
    int fd = listen_at(name);
    notify_send("READY=1\nSTATUS=ready");
    assert_heard(fd, "READY=1\nSTATUS=ready");
    close(fd);
    notify_send("READY=1"); // the listener is gone
}

static void test_abstract(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof(name), "@sluice-unit-%d", getpid());
    int fd = listen_at(name);
    notify_send("STOPPING=1");
    assert_heard(fd, "STOPPING=1");
    close(fd);
}

static void test_a_deaf_parent_does_not_block(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof(name), "%s/notify", temp_dir());
    int fd = listen_at(name);
    for (int i = 0; i < 2000; i++) { // far over net.unix.max_dgram_qlen
        notify_send("STATUS=again");
    }
    close(fd);
}

static void test_names_that_are_none(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'x', sizeof(name));
    name[0] = '/';
    name[sizeof(name) - 1] = '\0';
    const char *const names[] = { "", "/", "@", "relative", name };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
        notify_send("READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    notify_send("READY=1");
    char byte;
    int fd = listen_at("relative");
    notify_send("READY=1");
    assert_int_equal(recv(fd, &byte, 1, 0),
                     -1); // there is one, but a relative path is none of ours
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_path),
        TEMP_DIR_CASE(test_signs_of_life),
        TEMP_DIR_CASE(test_abstract),
        TEMP_DIR_CASE(test_a_deaf_parent_does_not_block),
        TEMP_DIR_CASE(test_names_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
