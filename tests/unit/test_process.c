// SPDX-License-Identifier: MIT
// Programs in child processes, watched from outside as an operator sees them: exit status, standard
// output and error, signals, readiness, the admin listener, and what they tell whoever started
// them.
#include "common/process.h"

#include "common/admin.h"
#include "common/log.h"
#include "tests/unit/temp_dir.h"

#include <czmq.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// --- The program, in the child

struct config {
    struct process_config common;
    int64_t number;
    int64_t loud;
};

// clang-format off
static const struct config_option table[] = {
    CONFIG_COMMON(struct config, "test-1", NULL),
    { .name = "SLUICE_TEST_NUMBER", .kind = CONFIG_INTEGER,
      .offset = offsetof(struct config, number), .fallback = "5", .min = 1, .max = 9,
      .help = "a number of its own" },
    { .name = "SLUICE_TEST_LOUD", .kind = CONFIG_BOOLEAN,
      .offset = offsetof(struct config, loud), .help = "says more", .flag = "--loud" },
    CONFIG_END
};
// clang-format on

struct program {
    struct process *process;
    uv_timer_t timer;   // open in every program: on_close has something to do
    uv_signal_t usr1;   // the test's way to say: go on
    int n_closed;       // calls of on_close
    bool forgets_timer; // does not close its handles
    bool ignores_drain;
};

static void on_drain(struct process *p, void *data)
{
    (void)p;
    struct program *program = data;
    assert(process_is_draining(p) && !process_is_ready(p));
    if (!program->ignores_drain) {
        process_stop(p);
        process_stop(p); // twice is once
    }
}

static void on_close(struct process *p, void *data)
{
    (void)p;
    struct program *program = data;
    program->n_closed++;
    if (!program->forgets_timer) {
        uv_close((uv_handle_t *)&program->timer, NULL);
    }
    uv_close((uv_handle_t *)&program->usr1, NULL);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

// What the test tells a program to do with SIGUSR1; the first call is the first signal.
typedef void step_fn(struct program *program);
static step_fn *on_step;

static void on_usr1(uv_signal_t *handle, int number)
{
    (void)number;
    on_step(handle->data);
}

static int print_number(const struct process_config *common, void *own)
{
    const struct config *config = own;
    printf("%d in %s\n", (int)config->number, common->home);
    fflush(stdout);
    return 7;
}

static const struct process_command commands[] = {
    { .name = "number", .help = "prints the number", .run = print_number },
    { .name = "home",
      .help = "prints where it is at home",
      .needs_home = true,
      .run = print_number },
    { .name = NULL },
};

static const struct process_right rights[] = { { "own", SANDBOX_WRITE }, { NULL, 0 } };

static int run_program(int argc, char **argv, step_fn *set_up, struct program *program)
{
    struct config config = { 0 };
    struct process_callbacks callbacks = { .on_drain = on_drain,
                                           .on_close = on_close,
                                           .data = program,
                                           .commands = commands,
                                           .command_config = &config,
                                           .rights = rights };
    struct process *p = NULL;
    int exit_status = -1;
    int r = process_open("sluice-test", "A program for tests.", table, &config, argc, argv,
                         &callbacks, &p, &exit_status);
    if (r != 0) {
        assert(!p && exit_status >= 0 && (r > 0 || exit_status != 0));
        return exit_status;
    }
    program->process = p;
    uv_timer_init(process_loop(p), &program->timer);
    uv_timer_start(&program->timer, on_tick, 1000, 1000);
    uv_signal_init(process_loop(p), &program->usr1);
    uv_signal_start(&program->usr1, on_usr1, SIGUSR1);
    program->usr1.data = program;
    if (set_up) {
        set_up(program);
    }
    int status = process_run(&p);
    assert(!p && program->n_closed == 1);
    return status;
}

// --- The test's side

struct child {
    pid_t pid;
    int notify; // its NOTIFY_SOCKET
};

static const char *variables[] = { "SLUICE_HOME",       "SLUICE_INSTANCE",  "SLUICE_ADMIN",
                                   "SLUICE_LOG_FORMAT", "SLUICE_LOG_LEVEL", "SLUICE_TEST_NUMBER" };

static int enter(void **state)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    on_step = NULL;
    return temp_dir_enter(state);
}

static void redirect(int fd, const char *path)
{
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    assert(file >= 0);
    dup2(file, fd);
    close(file);
}

// A case that fails leaves its child behind.
static void end_with_the_test(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int open_notify(void)
{
    static int n;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/notify-%d", temp_dir(), n++);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    struct timeval patience = { .tv_sec = 20 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(setenv("NOTIFY_SOCKET", at.sun_path, 1), 0);
    return fd;
}

// Starts the program with stdout and stderr in files `out` and `err`.
static struct child start_with(const char *argument, step_fn *set_up, struct program program)
{
    struct child c = { .notify = open_notify() };
    fflush(stdout);
    fflush(stderr);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        end_with_the_test();
        redirect(STDOUT_FILENO, "out");
        redirect(STDERR_FILENO, "err");
        char *argv[] = { (char *)"sluice-test", (char *)argument, NULL };
        exit(run_program(argument ? 2 : 1, argv, set_up, &program));
    }
    return c;
}

static struct child start(step_fn *set_up)
{
    return start_with(NULL, set_up, (struct program){ 0 });
}

static int wait_for_end(struct child *c)
{
    int status;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->notify);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int run_with(const char *argument)
{
    struct child c = start_with(argument, NULL, (struct program){ 0 });
    return wait_for_end(&c);
}

static void assert_told(const struct child *c, const char *expected)
{
    char text[512];
    ssize_t n = recv(c->notify, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, expected);
}

static char *content_of(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    return text;
}

static void assert_in(const char *path, const char *part)
{
    char *text = content_of(path);
    if (!strstr(text, part)) {
        fail_msg("%s lacks \"%s\":\n%s", path, part, text);
    }
}

// One line, exactly.
static void assert_line(const char *path, const char *line)
{
    char *text = content_of(path);
    size_t n = strlen(text);
    assert_true(n > 0 && text[n - 1] == '\n');
    text[n - 1] = '\0';
    assert_string_equal(text, line);
}

static char page[65536]; // that get() got last

// GETs a page from the program's default admin socket.
static int get(const char *path, const char *expected_part)
{
    char address[200];
    struct buf body;
    buf_init(&body, sizeof(page));
    snprintf(address, sizeof(address), "unix:%s/var/run/test-1.admin.sock", temp_dir());
    int status = admin_get(address, path, 5000, &body);
    buf_append_char(&body, '\0');
    assert_true(buf_ok(&body));
    memcpy(page, body.data, body.len);
    if (!strstr(page, expected_part)) {
        fail_msg("%s lacks \"%s\":\n%s", path, expected_part, page);
    }
    buf_fini(&body);
    return status;
}

// --- Cases: from start to end

static void be_ready(struct program *program)
{
    process_ready(program->process, true, NULL);
}

static void test_start_to_end(void **state)
{
    (void)state;
    struct child c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(get("/livez", "ok\n"), 200);
    assert_int_equal(get("/readyz", "ready\n"), 200);
    assert_int_equal(get("/readyz?verbose",
                         "[+]sluice-test " SLUICE_VERSION ", instance test-1, up 0 s\n[+]ready\n"),
                     200);
    assert_int_equal(get("/metrics", "\nsluice_ready 1\n"), 200);
    assert_int_equal(get("/metrics", "sluice_build_info{version=\"" SLUICE_VERSION "\"} 1\n"), 200);
    assert_int_equal(get("/metrics", "sluice_log_messages_total{level=\"info\"} 2\n"), 200);
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    assert_told(&c, "STOPPING=1\nSTATUS=draining");
    assert_int_equal(wait_for_end(&c), 0);
    assert_int_equal(access("var/run/test-1.admin.sock", F_OK), -1);
    assert_string_equal(content_of("err"), "");
    assert_in("out", "\"body\":\"draining: Terminated\"");
    assert_in("out", "\"body\":\"stopped with status 0 after ");
}

static void test_sigint_is_the_same(void **state)
{
    (void)state;
    struct child c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(wait_for_end(&c), 0);
}

static void change_readiness(struct program *program)
{
    static int step;
    switch (step++) {
    case 0:
        process_ready(program->process, false, "waiting for the store\nand more");
        break;
    case 1:
        process_ready(program->process, true, NULL);
        process_ready(program->process, true, NULL); // no news
        break;
    case 2:
        process_ready(program->process, false, NULL);
        break;
    }
}

static void test_readiness_comes_and_goes(void **state)
{
    (void)state;
    on_step = change_readiness;
    struct child c = start(change_readiness);
    assert_told(&c, "READY=0\nSTATUS=not ready: waiting for the store");
    assert_int_equal(get("/readyz", "not ready: waiting for the store\n"), 503);
    assert_int_equal(get("/readyz?x&verbose=1", "\n[-]not ready: waiting for the store\n"), 503);
    assert_int_equal(get("/metrics", "\nsluice_ready 0\n"), 200);
    assert_int_equal(get("/livez", "ok\n"), 200);
    kill(c.pid, SIGUSR1);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(get("/readyz?verbosely&averbose", "ready\n"), 200);
    assert_null(strstr(page, "[+]"));
    kill(c.pid, SIGUSR1);
    assert_told(&c, "READY=0\nSTATUS=not ready: no reason given");
    assert_int_equal(get("/readyz", "not ready: no reason given\n"), 503);
    kill(c.pid, SIGTERM);
    assert_told(&c, "STOPPING=1\nSTATUS=draining");
    assert_int_equal(wait_for_end(&c), 0);
}

static void stop_now(struct program *program)
{
    process_ready(program->process, true, NULL); // too late: it drains
    process_stop(program->process);
}

static void test_draining_takes_its_time(void **state)
{
    (void)state;
    on_step = stop_now;
    struct child c = start_with(NULL, be_ready, (struct program){ .ignores_drain = true });
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_told(&c, "STOPPING=1\nSTATUS=draining");
    assert_int_equal(get("/readyz", "not ready: draining\n"), 503);
    assert_int_equal(get("/livez", "ok\n"), 200);
    assert_int_equal(get("/metrics", "\nsluice_ready 0\n"), 200);
    kill(c.pid, SIGUSR1);
    assert_int_equal(wait_for_end(&c), 0);
}

static void test_a_second_signal_stops_at_once(void **state)
{
    (void)state;
    struct child c = start_with(NULL, be_ready, (struct program){ .ignores_drain = true });
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_told(&c, "STOPPING=1\nSTATUS=draining");
    kill(c.pid, SIGINT);
    assert_int_equal(wait_for_end(&c), EXIT_FAILED);
    assert_in("out", "second signal (Interrupt): stopping without draining");
}

static void test_the_drain_deadline(void **state)
{
    (void)state;
    struct child c = start_with(NULL, be_ready, (struct program){ .ignores_drain = true });
    assert_told(&c, "READY=1\nSTATUS=ready");
    time_t start_s = time(NULL);
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), EXIT_OK);
    assert_true(time(NULL) - start_s >= PROCESS_DRAIN_MS / 1000 - 1);
    assert_in("out", "\"severity_text\":\"WARN\"");
    assert_in("out", "not drained after 9000 ms: stopping anyway");
}

static void test_a_forgotten_handle_is_named(void **state)
{
    (void)state;
    struct child c = start_with(NULL, be_ready, (struct program){ .forgets_timer = true });
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), -SIGABRT);
    assert_in("out", "\"body\":\"a handle was not closed: timer\"");
    assert_in("err", "busy == 0");
}

static void fail_at_once(struct program *program)
{
    process_fail(program->process, 70, "the store %s", "burns\nbrightly");
    process_fail(program->process, 71, "and so on"); // the first one counts
    process_stop(program->process);
}

static void test_failing_before_the_loop_runs(void **state)
{
    (void)state;
    struct child c = start(fail_at_once);
    assert_told(&c, "STATUS=failed: the store burns");
    assert_int_equal(wait_for_end(&c), 70);
    assert_in("out", "\"severity_text\":\"FATAL\"");
    assert_in("out", "\"body\":\"the store burns\\nbrightly\"");
}

static void test_failing_while_it_runs(void **state)
{
    (void)state;
    on_step = fail_at_once;
    struct child c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGUSR1);
    assert_int_equal(wait_for_end(&c), 70);
}

static void stop_at_once(struct program *program)
{
    process_stop(program->process);
}

static void test_stopping_before_the_loop_runs(void **state)
{
    (void)state;
    struct child c = start(stop_at_once);
    assert_int_equal(wait_for_end(&c), 0);
}

// --- Cases: command line and configuration

static void test_command_line(void **state)
{
    (void)state;
    assert_int_equal(run_with("--version"), 0);
    assert_line("out", "sluice-test " SLUICE_VERSION);
    assert_int_equal(run_with("--help"), 0);
    assert_in("out", "Usage: sluice-test");
    assert_in("out", "A program for tests.");
    assert_in("out", "SLUICE_TEST_NUMBER\n      a number of its own\n      an integer from 1 to 9; "
                     "default: 5\n");
    assert_in("out", "Usage: sluice-test [--help | --version | --man | --completion SHELL | "
                     "healthcheck | print-config | "
                     "--loud | number | home]\n");
    assert_in("out", "\n`number`: prints the number.\n");
    assert_in("out", "true or false, or --loud for true\n");
    assert_string_equal(content_of("err"), "");
    assert_int_equal(run_with("--man"), 0);
    assert_in("out", ".SH NAME\nsluice\\-test \\- A program for tests\n");
    assert_in("out", ".B number\nprints the number\n");
    assert_in("out", ".B \\-\\-loud\nThe same as SLUICE_TEST_LOUD=true.\n");
    assert_in("out", ".B SLUICE_TEST_NUMBER\na number of its own.\n.br\nan integer from 1 to 9; "
                     "default: 5.\n");
    assert_int_equal(run_with("--halp"), EXIT_USAGE);
    assert_line("err", "sluice-test: unexpected argument \"--halp\"; allowed: --help, --version, "
                       "--man, --completion SHELL, "
                       "healthcheck, print-config, --loud, number, home, or none");
    assert_int_equal(run_with("--completion"), EXIT_USAGE);
    assert_in("err", "sluice-test: --completion \"\": allowed are bash and zsh\n");
    assert_int_equal(access("var", F_OK), -1); // none of this makes a home
}

static void test_command_of_its_own(void **state)
{
    (void)state;
    char home[PATH_MAX + 16], here[PATH_MAX];
    assert_int_equal(run_with("number"), 7);
    assert_line("out", "5 in ./var");
    assert_int_equal(access("var", F_OK), -1);
    assert_int_equal(run_with("home"), EXIT_CONFIG); // there is none
    assert_int_equal(mkdir("var", 0700), 0);
    assert_int_equal(run_with("home"), 7);
    assert_non_null(getcwd(here, sizeof(here)));
    snprintf(home, sizeof(home), "\n5 in %s/var\n", here);
    assert_in("out", home);
    assert_int_equal(setenv("SLUICE_TEST_NUMBER", "10", 1), 0);
    assert_int_equal(run_with("number"), EXIT_CONFIG); // wrong configuration runs nothing
    assert_in("err", "SLUICE_TEST_NUMBER");
}

static void stop_loud(struct program *program)
{
    const struct config *config = (const void *)process_config(program->process); // begins with it
    process_fail(program->process, config->loud ? 42 : 43, "was asked to");
}

static void test_flag_stands_for_true(void **state)
{
    (void)state;
    struct child c = start_with("--loud", stop_loud, (struct program){ 0 });
    assert_int_equal(wait_for_end(&c), 42);
    c = start_with(NULL, stop_loud, (struct program){ 0 });
    assert_int_equal(wait_for_end(&c), 43);
    assert_int_equal(setenv("SLUICE_TEST_LOUD", "no", 1), 0);
    c = start_with("--loud", stop_loud,
                   (struct program){ 0 }); // who runs it is nearer than the environment
    assert_int_equal(wait_for_end(&c), 42);
    unsetenv("SLUICE_TEST_LOUD");
}

static void assert_refused(const char *variable, const char *value, const char *line)
{
    assert_int_equal(setenv(variable, value, 1), 0);
    unlink("err");
    assert_int_equal(run_with(NULL), EXIT_CONFIG);
    assert_line("err", line);
    unsetenv(variable);
}

#define ADMIN_ALLOWED                                                                              \
    "; allowed: none, or one or two of unix:NAME and HOST:PORT, separated by a comma"

static void test_wrong_configuration(void **state)
{
    (void)state;
    assert_refused(
        "SLUICE_TEST_NUMBER", "10",
        "sluice-test: SLUICE_TEST_NUMBER is \"10\", out of range; allowed: an integer from 1 to 9");
    assert_refused(
        "SLUICE_LOG_LEVEL", "loud",
        "sluice-test: SLUICE_LOG_LEVEL is \"loud\"; allowed: one of debug, info, warn, error");
    const char *instances[] = { "../x", ".x", "-x", "a b", "a/b", "\xC3\xBC" };
    for (size_t i = 0; i < sizeof(instances) / sizeof(instances[0]); i++) {
        char line[200];
        snprintf(line, sizeof(line),
                 "sluice-test: SLUICE_INSTANCE is \"%s\"; allowed: letters, digits, '.', '_' and "
                 "'-', not "
                 "beginning with '.' or '-', and %%H for the host name",
                 instances[i]);
        assert_refused("SLUICE_INSTANCE", instances[i], line);
    }
    assert_refused("SLUICE_HOME", "err/home",
                   "sluice-test: SLUICE_HOME is \"err/home\", which cannot be used: Not a "
                   "directory; allowed: a "
                   "directory that this user can read and write");
}

static void test_wrong_admin_addresses(void **state)
{
    (void)state;
    const char *wrong[] = { "x",         "unix:",   "unix:../x", "unix:a/b",
                            "127.0.0.1", "unix:a,", ",unix:a",   "unix:a,unix:b,unix:c",
                            "None" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char line[300];
        snprintf(line, sizeof(line),
                 "sluice-test: SLUICE_ADMIN is \"%s\": that is no such list" ADMIN_ALLOWED,
                 wrong[i]);
        assert_refused("SLUICE_ADMIN", wrong[i], line);
    }
    char home[160];
    snprintf(home, sizeof(home), "%0100d", 0);
    assert_refused("SLUICE_HOME", home,
                   "sluice-test: SLUICE_ADMIN is not set, so it is unix:test-1.admin.sock: a unix "
                   "socket's path "
                   "has at most 107 bytes (a shorter SLUICE_HOME helps)" ADMIN_ALLOWED);
}

static void test_one_instance_at_a_time(void **state)
{
    (void)state;
    struct child c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    struct child second = start(be_ready);
    assert_int_equal(wait_for_end(&second), EXIT_CONFIG);
    assert_line(
        "err",
        "sluice-test: SLUICE_ADMIN is not set, so it is unix:test-1.admin.sock: somebody answers "
        "there already (is this instance running twice?)" ADMIN_ALLOWED);
    assert_int_equal(get("/readyz", "ready\n"), 200); // the first is not disturbed
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

static void test_a_killed_instance_starts_again(void **state)
{
    (void)state;
    struct child c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGKILL);
    assert_int_equal(wait_for_end(&c), -SIGKILL);
    assert_int_equal(access("var/run/test-1.admin.sock", F_OK), 0);
    c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(get("/readyz", "ready\n"), 200);
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

static void have_no_admin(struct program *program)
{
    assert(!process_admin(program->process));
    be_ready(program);
}

static void test_admin_choices(void **state)
{
    (void)state;
    setenv("SLUICE_ADMIN", "none", 1);
    struct child c = start(have_no_admin);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(run_with("healthcheck"), EXIT_FAILED);
    assert_line("err", "sluice-test: SLUICE_ADMIN is none: there is nobody to ask");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
    setenv("SLUICE_ADMIN", "unix:other.sock,127.0.0.1:21090", 1);
    c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    struct buf body;
    buf_init(&body, 1000);
    assert_int_equal(admin_get("127.0.0.1:21090", "/livez", 3000, &body), 200);
    buf_fini(&body);
    assert_int_equal(access("var/run/other.sock", F_OK), 0);
    assert_int_equal(run_with("healthcheck"), 0); // by the first address
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
    unsetenv("SLUICE_ADMIN");
    setenv("SLUICE_INSTANCE", "users-7", 1);
    c = start(be_ready);
    assert_told(&c, "READY=1\nSTATUS=ready");
    assert_int_equal(access("var/run/users-7.admin.sock", F_OK), 0);
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

static void check_instance(struct program *program)
{
    char expected[HOST_NAME_MAX + 3], host[HOST_NAME_MAX + 1];
    assert(gethostname(host, sizeof(host)) == 0);
    snprintf(expected, sizeof(expected), "a%sz", host);
    assert(strcmp(process_config(program->process)->instance, expected) == 0);
    be_ready(program);
}

static void test_the_host_name_in_the_instance(void **state)
{
    (void)state;
    char host[HOST_NAME_MAX + 1], instance[PROCESS_INSTANCE_BYTES + 1];
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    size_t n = strlen(host);
    if (n > PROCESS_INSTANCE_BYTES - 2) {
        return; // a host that this cannot be tested on
    }
    setenv("SLUICE_INSTANCE", "a%Hz", 1);
    struct child c = start(check_instance);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
    if (n > 2) { // then the name is longer than what it replaces, and a full instance gets too long
        memset(instance, 'x', sizeof(instance));
        memcpy(instance + PROCESS_INSTANCE_BYTES - 2, "%H", 3);
        setenv("SLUICE_INSTANCE", instance, 1);
        assert_int_equal(run_with(NULL), EXIT_CONFIG);
        assert_in(
            "err",
            "which cannot be used with this host's name: too long; allowed: up to 40 bytes\n");
    }
}

static void test_healthcheck(void **state)
{
    (void)state;
    assert_int_equal(run_with("healthcheck"), EXIT_FAILED);
    assert_line(
        "err",
        "sluice-test: SLUICE_HOME is \"./var\", which does not exist; make it with `sluice init`");
    assert_int_equal(mkdir("var", 0700), 0);
    unlink("err");
    assert_int_equal(run_with("healthcheck"), EXIT_FAILED);
    assert_in("err", "var/run/test-1.admin.sock: No such file or directory\n");
    on_step = be_ready;
    unlink("err");
    struct child c = start(change_readiness);
    assert_told(&c, "READY=0\nSTATUS=not ready: waiting for the store");
    assert_int_equal(run_with("healthcheck"), EXIT_FAILED);
    assert_line("err", "not ready: waiting for the store");
    kill(c.pid, SIGUSR1);
    assert_told(&c, "READY=1\nSTATUS=ready");
    unlink("out");
    assert_int_equal(run_with("healthcheck"), 0);
    assert_line("out", "ready");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

// --- Cases: surroundings

static void check_surroundings(struct program *program)
{
    struct rlimit limit;
    assert(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == limit.rlim_max);
    assert(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0);
    struct sigaction action;
    assert(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    assert(umask(077) == 077);
    assert(!getenv("ZSYS_LINGER") && !getenv("ZSYS_SNDHWM") && getenv("ZSYSLIKE"));
    struct stat st;
    assert(stat("var", &st) == 0 && (st.st_mode & 0777) == 0700);
    assert(stat("var/run", &st) == 0 && (st.st_mode & 0777) == 0700);
    const char *home = process_config(program->process)->home;
    assert(home[0] == '/' && strstr(home, "/var"));
    be_ready(program);
}

static void test_surroundings(void **state)
{
    (void)state;
    struct rlimit limit, before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    setenv("ZSYS_LINGER", "1", 1);
    setenv("ZSYS_SNDHWM", "1", 1);
    setenv("ZSYSLIKE", "1", 1);
    struct child c = start(check_surroundings);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
    unsetenv("ZSYS_LINGER");
    unsetenv("ZSYS_SNDHWM");
    unsetenv("ZSYSLIKE");
}

// czmq would take SIGTERM for itself as soon as it makes a socket.
static void use_czmq(struct program *program)
{
    zsock_t *socket = zsock_new_pair("@inproc://test");
    assert(socket);
    zsock_destroy(&socket);
    be_ready(program);
}

static void test_signals_are_not_czmqs(void **state)
{
    (void)state;
    struct child c = start(use_czmq);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_told(&c, "STOPPING=1\nSTATUS=draining");
    assert_int_equal(wait_for_end(&c), 0);
    assert_string_equal(content_of("err"), "");
}

static void test_closed_standard_descriptors(void **state)
{
    (void)state;
    struct child c = { .notify = open_notify() };
    fflush(stdout);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        end_with_the_test();
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        char *argv[] = { (char *)"sluice-test", NULL };
        struct program program = { 0 };
        exit(run_program(1, argv, be_ready, &program));
    }
    assert_told(&c, "READY=1\nSTATUS=ready");
    char path[64], target[64] = "";
    for (int fd = 0; fd <= 2; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", c.pid, fd);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        assert_string_equal(target, "/dev/null");
    }
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

static void check_paths(struct program *program)
{
    struct process *p = program->process;
    const char *path = process_path(p, "run/gateway/x.sock", false);
    assert(path && strstr(path, "/var/run/gateway/x.sock") && access("var/run/gateway", F_OK) < 0);
    assert(process_path(p, "run/gateway/x.sock", true) == path); // one path, one string
    assert(access("var/run/gateway", F_OK) == 0);
    FILE *file = fopen("var/own/file", "w");
    assert(file);
    fclose(file);
    assert(!process_path(p, "own/file/below/x", true) && errno == ENOTDIR);
    file = fopen("var/file", "w"); // no right: refused, where the kernel has Landlock
    assert(file || errno == EACCES);
    if (file) {
        fclose(file);
    }
    be_ready(program);
}

static void test_paths(void **state)
{
    (void)state;
    struct child c = start(check_paths);
    assert_told(&c, "READY=1\nSTATUS=ready");
    kill(c.pid, SIGTERM);
    assert_int_equal(wait_for_end(&c), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, temp_dir_leave)

static void test_what_passes_is_no_wrong_configuration(void **state)
{
    (void)state;
    const int passing[] = { ENOMEM, EMFILE, ENFILE, EAGAIN, EIO, ENOSPC, EDQUOT };
    const int staying[] = { EINVAL, ENOENT, EACCES, EADDRINUSE, ENOTDIR, EBADMSG, EROFS };
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        assert_int_equal(process_status_of(-passing[i]), EXIT_FAILED);
        assert_int_equal(process_status_of(-staying[i]), EXIT_CONFIG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_start_to_end),
        CASE(test_sigint_is_the_same),
        CASE(test_readiness_comes_and_goes),
        CASE(test_draining_takes_its_time),
        CASE(test_a_second_signal_stops_at_once),
        CASE(test_the_drain_deadline),
        CASE(test_a_forgotten_handle_is_named),
        CASE(test_failing_before_the_loop_runs),
        CASE(test_failing_while_it_runs),
        CASE(test_stopping_before_the_loop_runs),
        CASE(test_command_line),
        CASE(test_flag_stands_for_true),
        CASE(test_wrong_configuration),
        CASE(test_wrong_admin_addresses),
        CASE(test_one_instance_at_a_time),
        CASE(test_a_killed_instance_starts_again),
        CASE(test_admin_choices),
        CASE(test_the_host_name_in_the_instance),
        CASE(test_command_of_its_own),
        CASE(test_healthcheck),
        CASE(test_surroundings),
        CASE(test_signals_are_not_czmqs),
        CASE(test_closed_standard_descriptors),
        CASE(test_what_passes_is_no_wrong_configuration),
        CASE(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
