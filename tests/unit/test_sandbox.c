// SPDX-License-Identifier: MIT
// Sandboxes in child processes: what was allowed works, the rest does not. Where the kernel lacks a
// part, what that part refuses is not looked at. tests/fault/test_sandbox.py looks from inside the
// programs.
#include "common/sandbox.h"

#include "tests/unit/temp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// In the child, a check that fails ends it with the line's number.
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, strerror(errno));          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void run_apart(void (*body)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static unsigned enter(struct sandbox *s, enum sandbox_kind kind)
{
    unsigned parts = 0;
    CHECK(sandbox_enter(s, kind, &parts) == 0);
    sandbox_fini(s);
    return parts;
}

static bool opens(const char *path, int flags)
{
    errno = 0;
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static void make_file(const char *path)
{
    assert_true(opens(path, O_WRONLY | O_CREAT));
}

static int bind_socket(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int rc = bind(fd, (struct sockaddr *)&at, sizeof at);
    close(fd);
    return rc;
}

// --- Files

static void use_files(void)
{
    struct sandbox s;
    sandbox_init(&s);
    CHECK(sandbox_allow_path(&s, "written", SANDBOX_WRITE) == 0);
    CHECK(sandbox_allow_path(&s, "read", SANDBOX_READ) == 0);
    CHECK(sandbox_allow_path(&s, "sockets", SANDBOX_SOCKETS) == 0);
    CHECK(sandbox_allow_path(&s, "other/one", SANDBOX_READ) == 0);
    CHECK(sandbox_allow_path(&s, "not-there", SANDBOX_READ) == 0);
    unsigned parts = enter(&s, SANDBOX_SERVICE);
    CHECK(opens("written/new", O_WRONLY | O_CREAT | O_TRUNC));
    CHECK(rename("written/new", "written/newer") == 0 && unlink("written/newer") == 0);
    CHECK(mkdir("written/below", 0700) == 0 && opens("written/below", O_RDONLY | O_DIRECTORY));
    CHECK(opens("read/file", O_RDONLY) && opens("other/one", O_RDONLY));
    CHECK(bind_socket("sockets/s") == 0 && unlink("sockets/s") == 0);
    if (!(parts & SANDBOX_FILES)) {
        return;
    }
    CHECK(!opens("read/file", O_WRONLY) && errno == EACCES);
    CHECK(!opens("read/new", O_WRONLY | O_CREAT) && errno == EACCES);
    CHECK(unlink("read/file") < 0 && errno == EACCES);
    CHECK(!opens("sockets/file", O_RDONLY) && errno == EACCES);
    CHECK(!opens("sockets/new", O_WRONLY | O_CREAT) && errno == EACCES);
    CHECK(!opens("other/two", O_RDONLY) && errno == EACCES);
    CHECK(!opens("other", O_RDONLY | O_DIRECTORY) && errno == EACCES);
    CHECK(bind_socket("written/s") < 0 && errno == EACCES);
    CHECK(rename("read/file", "written/file") < 0);
}

static void test_files(void **state)
{
    (void)state;
    static const char *const directories[] = { "written", "read", "sockets", "other" };
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(mkdir(directories[i], 0700), 0);
    }
    make_file("read/file");
    make_file("sockets/file");
    make_file("other/one");
    make_file("other/two");
    run_apart(use_files);
}

// --- Ports

static int use_port(int port, bool binds)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = binds ? bind(fd, (struct sockaddr *)&at, sizeof at)
                   : connect(fd, (struct sockaddr *)&at, sizeof at);
    int error = rc ? errno : 0;
    close(fd);
    return error;
}

static void use_ports(void)
{
    struct sandbox s;
    sandbox_init(&s);
    CHECK(sandbox_allow_port(&s, 0, true) == 0); // any that is free
    CHECK(sandbox_allow_port(&s, 1, false) == 0);
    unsigned parts = enter(&s, SANDBOX_SERVICE);
    CHECK(use_port(0, true) == 0 && use_port(1, false) == ECONNREFUSED);
    if (parts & SANDBOX_PORTS) {
        CHECK(use_port(2, true) == EACCES && use_port(2, false) == EACCES);
    }
}

static void test_ports(void **state)
{
    (void)state;
    run_apart(use_ports);
}

// --- Limits of the rules

static void test_limits(void **state)
{
    (void)state;
    struct sandbox s;
    sandbox_init(&s);
    for (int i = 0; i < SANDBOX_MAX_PATHS; i++) {
        assert_int_equal(sandbox_allow_path(&s, ".", SANDBOX_LIST), 0);
    }
    assert_int_equal(sandbox_allow_path(&s, ".", SANDBOX_LIST), -ENOSPC);
    for (int i = 0; i < SANDBOX_MAX_PORTS; i++) {
        assert_int_equal(sandbox_allow_port(&s, 1, i % 2), 0);
    }
    assert_int_equal(sandbox_allow_port(&s, 1, true), -ENOSPC);
    sandbox_fini(&s);
    assert_int_equal(s.n_paths, 0);
}

// --- Kinds

static void enter_as_supervisor(void)
{
    struct sandbox s;
    sandbox_init(&s);
    unsigned parts = enter(&s, SANDBOX_SUPERVISOR);
    CHECK(!(parts & (SANDBOX_FILES | SANDBOX_PORTS | SANDBOX_SIGNALS)));
    CHECK(opens("/etc/hosts", O_RDONLY));
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void test_a_supervisor_starts_programs(void **state)
{
    (void)state;
    run_apart(enter_as_supervisor);
}

static void enter_twice(void)
{
    struct sandbox s;
    sandbox_init(&s);
    unsigned parts = enter(&s, SANDBOX_SUPERVISOR);
    CHECK((enter(&s, SANDBOX_SERVICE) & parts) == parts); // as a program does that it starts
}

static void test_a_sandbox_in_a_sandbox(void **state)
{
    (void)state;
    run_apart(enter_twice);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, temp_dir_enter, temp_dir_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_files),
        CASE(test_ports),
        CASE(test_limits),
        CASE(test_a_supervisor_starts_programs),
        CASE(test_a_sandbox_in_a_sandbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
