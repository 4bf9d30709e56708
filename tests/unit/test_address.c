// SPDX-License-Identifier: MIT
// Addresses that people write are read in one way only, or refused.
#include "common/address.h"

#include "tests/unit/temp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_unix(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_parse(STR("unix:/run/x.sock"), &a), 0);
    assert_string_equal(address_path(&a), "/run/x.sock");
    char longest[5 + 107 + 2];
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "unix:/", 6);
    assert_int_equal(address_parse((struct str){ longest, 5 + 107 }, &a), 0);
    assert_int_equal(strlen(address_path(&a)), 107);
    assert_int_equal(address_parse((struct str){ longest, 5 + 108 }, &a), -ENAMETOOLONG);
}

static void test_ipv4(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_parse(STR("127.0.0.1:65535"), &a), 0);
    assert_null(address_path(&a));
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a.socket;
    assert_int_equal(a.length, sizeof(*in));
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(ntohs(in->sin_port), 65535);
    assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
}

static void test_ipv6(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_parse(STR("[::1]:1"), &a), 0);
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&a.socket;
    assert_int_equal(a.length, sizeof(*in));
    assert_int_equal(in->sin6_family, AF_INET6);
    assert_int_equal(ntohs(in->sin6_port), 1);
    assert_memory_equal(&in->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
}

static void test_refused(void **state)
{
    (void)state;
    static const struct str wrong[] = {
        { NULL, 0 },
        { "unix:", 5 },
        { "unix:relative", 13 },
        { "unix:/a\0b", 9 },
        { "9090", 4 },
        { ":9090", 5 },
        { "127.0.0.1", 9 },
        { "127.0.0.1:", 10 },
        { "127.0.0.1:0", 11 },
        { "127.0.0.1:65536", 15 },
        { "127.0.0.1:-1", 12 },
        { "127.0.0.1:+80", 13 },
        { "127.0.0.1: 80", 13 },
        { "127.0.0.1:http", 14 },
        { "127.0.0.1:000080", 16 }, // more digits than a port has
        { "::1:80", 6 },
        { "[::1]", 5 },
        { "[]:80", 5 },
        { "[127.0.0.1]:80", 14 },
        { "a\0b:80", 6 },
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct address a = { .length = 7 };
        assert_int_equal(address_parse(wrong[i], &a), -EINVAL);
        assert_int_equal(a.length, 7);
    }
    char host[300];
    int n = snprintf(host, sizeof(host), "%0256d:80", 0);
    struct address a;
    assert_int_equal(address_parse((struct str){ host, (size_t)n }, &a), -EINVAL);
}

static void test_unknown_host(void **state)
{
    (void)state;
    struct address a;
    // An empty label: no resolver needs to be asked to know that there is no such name.
    assert_int_equal(address_parse(STR("a..b:80"), &a), -EHOSTUNREACH);
}

static struct address local_address(void)
{
    char text[100];
    struct address a;
    int n = snprintf(text, sizeof(text), "unix:%s/socket", temp_dir());
    assert_int_equal(address_parse((struct str){ text, (size_t)n }, &a), 0);
    return a;
}

static void test_bind_is_private_and_replaces_what_is_stale(void **state)
{
    (void)state;
    struct address a = local_address();
    for (int i = 0; i < 2; i++) { // the second one finds the first one's leavings
        int fd = address_bind(&a);
        assert_true(fd >= 0);
        struct stat st;
        assert_int_equal(stat("socket", &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        close(fd);
    }
}

static void test_bind_leaves_a_busy_listener_alone(void **state)
{
    (void)state;
    struct address a = local_address();
    int listener = address_bind(&a);
    assert_int_equal(listen(listener, 1), 0);
    int peers[16], n = 0;
    do { // until it takes no more, as a listener that hangs
        peers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(address_bind(&a), -EADDRINUSE);
    } while (connect(peers[n++], (struct sockaddr *)&a.socket, a.length) == 0 && n < 16);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(address_bind(&a), -EADDRINUSE);
    while (n > 0) {
        close(peers[--n]);
    }
    close(listener);
}

static void test_bind_leaves_files_alone(void **state)
{
    (void)state;
    struct address a = local_address();
    close(open("socket", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(address_bind(&a), -EADDRINUSE);
    assert_int_equal(unlink("socket"), 0);
    assert_int_equal(symlink("elsewhere", "socket"), 0);
    assert_int_equal(address_bind(&a), -EADDRINUSE);
    assert_int_equal(unlink("socket"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_host),
        TEMP_DIR_CASE(test_bind_is_private_and_replaces_what_is_stale),
        TEMP_DIR_CASE(test_bind_leaves_a_busy_listener_alone),
        TEMP_DIR_CASE(test_bind_leaves_files_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
