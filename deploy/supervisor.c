// SPDX-License-Identifier: MIT
// See supervisor.h. What can fail for reasons outside (home, locks, port, programs) is done before the process goes
// into the background, so that the reason reaches the terminal.
#include "deploy/supervisor.h"

#include "common/clock.h"
#include "common/confine.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/process.h"
#include "deploy/background.h"
#include "deploy/control.h"
#include "deploy/fleet.h"
#include "deploy/listener.h"
#include "deploy/rundir.h"
#include "deploy/secrets.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_CHECK_MS 5000
#define ADMIN_PORT_OFFSET 1010 // 8080 -> 9090

struct supervisor {
    const struct supervisor_config *config;
    const char *bin_dir;
    char home[RUNDIR_PATH_SIZE];
    char admin_address[128]; // TCP admin listener of gateway-1; empty: none
    char url[320];
    int64_t start_ms;
    bool detached;
    bool signalled; // once: the next signal ends it at once
    int status;     // to exit with
    int tell_fd;    // to --detach's parent; -1: nobody waits
    int lock_fd, children_fd, listen_fd;
    struct fleet *fleet;
    struct control *control;
    uv_loop_t loop;
    uv_signal_t signals[3];
    uv_timer_t log_timer;
};

// --- Preparing: prints one line and returns an exit status other than 0 when something is wrong

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_CONFIG;
}

static int make_keys(const char *home)
{
    char path[RUNDIR_PATH_SIZE], error[KEYS_ERROR_SIZE];
    rundir_path(home, "secrets", path);
    int made = keys_make(path, error);
    if (made < 0) {
        return refuse("%s", error);
    }
    if (made > 0) {
        fprintf(stderr,
                "sluice: made keys in %s; the first admin's password is in admin-password there\n",
                path);
    }
    return EXIT_OK;
}

int supervisor_init(const char *home)
{
    char absolute[RUNDIR_PATH_SIZE], error[CONFIG_ERROR_SIZE];
    (void)umask(077); // returns the old one
    if (rundir_open(home, true, absolute, error) < 0) {
        return refuse("%s", error);
    }
    return make_keys(absolute);
}

static int check_programs(const char *bin_dir)
{
    for (int i = 0; i < SERVICES; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", bin_dir, services[i].binary);
        if (access(path, X_OK) < 0) {
            return refuse("%s: %s", path, strerror(errno));
        }
    }
    return EXIT_OK;
}

static void say_waiting(void)
{
    fputs("sluice: waiting for processes of an earlier supervisor to stop\n", stderr);
}

static int lock_home(struct supervisor *s)
{
    pid_t pid;
    s->lock_fd = rundir_lock(s->home, &pid);
    if (s->lock_fd == -EWOULDBLOCK) {
        fprintf(stderr, "sluice: already running (pid %d) in %s\n", (int)pid, s->home);
        return EXIT_FAILED;
    }
    if (s->lock_fd < 0) {
        return refuse("%s/run/supervisor.lock: %s", s->home, strerror(-s->lock_fd));
    }
    s->children_fd = rundir_lock_children(s->home, say_waiting);
    if (s->children_fd == -EWOULDBLOCK) {
        return refuse("processes of an earlier supervisor do not stop: end those that have "
                      "%s/run/children.lock open",
                      s->home);
    }
    if (s->children_fd < 0) {
        return refuse("%s/run/children.lock: %s", s->home, strerror(-s->children_fd));
    }
    return EXIT_OK;
}

// One that was asked for must be free; the default one is left out if it is not, because two suites on one
// machine are nothing unusual.
static int choose_admin_address(struct supervisor *s)
{
    char error[CONFIG_ERROR_SIZE], other[128];
    const char *given = s->config->admin_listen;
    int64_t port = 0;
    if (config_parse_number(CONFIG_INTEGER, strrchr(s->config->listen, ':') + 1, &port) < 0) {
        port = 65535; // cannot be: the listener is open there
    }
    port += ADMIN_PORT_OFFSET;
    snprintf(other, sizeof other, "127.0.0.1:%" PRId64, port);
    const char *address = given ? given : port <= 65535 ? other : "";
    int fd = *address ? listener_open("SLUICE_ADMIN_LISTEN", address, error) : -ENOENT;
    if (fd < 0) {
        return given && *given ? refuse("%s", error) : EXIT_OK;
    }
    (void)close(fd); // only tried: the gateway binds it itself
    snprintf(s->admin_address, sizeof s->admin_address, "%s", address);
    return EXIT_OK;
}

// The order matters: run/supervisor.lock takes the lowest free descriptor, so that none of the later ones is the
// one that a gateway finds its socket at (fleet.c).
static int prepare(struct supervisor *s)
{
    char error[CONFIG_ERROR_SIZE];
    (void)umask(077); // returns the old one
    if (rundir_open(s->config->home, true, s->home, error) < 0) {
        return refuse("%s", error);
    }
    int status = check_programs(s->bin_dir);
    status = status ? status : lock_home(s);
    status = status ? status : make_keys(s->home);
    if (status != EXIT_OK) {
        return status;
    }
    s->listen_fd = listener_open("SLUICE_LISTEN", s->config->listen, error);
    if (s->listen_fd < 0) {
        return refuse("%s", error);
    }
    snprintf(s->url, sizeof s->url, "http://%s", s->config->listen);
    return choose_admin_address(s);
}

// --- Running

static void say_ready(const struct supervisor *s)
{
    const char *url = s->url, *home = s->home;
    fprintf(stderr, "\nSluice is ready at %s\n", url);
    fprintf(stderr,
            "The first admin is admin@sluice.local, the password is in %s/secrets/admin-password\n",
            home);
    fprintf(stderr, "\nTry:\n");
    fprintf(stderr, "  curl -s %s/v1/users -H 'Content-Type: application/json' \\\n", url);
    fputs("    -d '{\"email\":\"ada@example.com\",\"password\":\"correct "
          "horse\",\"name\":\"Ada\"}'\n",
          stderr);
    fprintf(stderr, "  curl -s '%s/v1/search?q=postgres+backup'\n", url);
    fprintf(stderr, "  SLUICE_HOME=%s %s/sluice-tap tail -f\n\n", home, s->bin_dir);
}

static void tell_parent(struct supervisor *s, char what)
{
    if (s->tell_fd < 0) {
        return;
    }
    (void)!write(s->tell_fd, &what, 1); // it may have given up waiting
    (void)close(s->tell_fd);            // nobody else reads it
    s->tell_fd = -1;
}

static void on_ready(void *data)
{
    struct supervisor *s = data;
    log_info("everything is ready after %lld ms: %s", (long long)(clock_mono_ms() - s->start_ms),
             s->url);
    notify_send("READY=1");
    tell_parent(s, BACKGROUND_READY);
    if (!s->detached) {
        say_ready(s);
    }
}

static void stop(struct supervisor *s, bool kill)
{
    notify_send("STOPPING=1");
    fleet_stop(s->fleet, kill);
}

static void on_trouble(const char *instance, int exit_status, void *data)
{
    struct supervisor *s = data;
    if (exit_status == EXIT_CONFIG) {
        log_error("%s refuses its configuration: stopping", instance);
        s->status = EXIT_CONFIG;
        stop(s, false);
    } else {
        tell_parent(s, BACKGROUND_TROUBLE); // the others serve: it goes on trying
    }
}

static void on_down(void *data)
{
    log_info("stopping, as asked by `sluice down`");
    stop(data, false);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct supervisor *s = handle->data;
    if (s->signalled) {
        log_warn("stopping at once: %s again", strsignal(signum));
    } else {
        log_info("stopping: %s", strsignal(signum));
    }
    stop(s, s->signalled);
    s->signalled = true;
}

static void on_log_check(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;
    int r = rundir_rotate_log(s->home);
    if (r < 0) {
        log_warn("cannot rotate run/sluice.log: %s; ignoring", strerror(-r));
    }
}

static void on_stopped(void *data)
{
    struct supervisor *s = data;
    log_info("stopped");
    control_close(&s->control);
    fleet_close(s->fleet);
    for (size_t i = 0; i < sizeof s->signals / sizeof s->signals[0]; i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&s->log_timer, NULL);
}

static int open_handles(struct supervisor *s)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    int r = uv_timer_init(&s->loop, &s->log_timer);
    s->log_timer.data = s;
    if (r == 0 && s->detached) {
        r = uv_timer_start(&s->log_timer, on_log_check, LOG_CHECK_MS, LOG_CHECK_MS);
    }
    for (size_t i = 0; r == 0 && i < sizeof signals / sizeof signals[0]; i++) {
        s->signals[i].data = s;
        r = uv_signal_init(&s->loop, &s->signals[i]);
        r = r < 0 ? r : uv_signal_start(&s->signals[i], on_signal, signals[i]);
    }
    return r;
}

static int open_fleet(struct supervisor *s)
{
    struct fleet_options fleet = {
        .home = s->home,
        .bin_dir = s->bin_dir,
        .listen_address = s->config->listen,
        .admin_address = *s->admin_address ? s->admin_address : NULL,
        .listen_fd = s->listen_fd,
        .watchdog_ms = s->config->watchdog_ms,
        .on_ready = on_ready,
        .on_trouble = on_trouble,
        .on_stopped = on_stopped,
        .data = s,
    };
    memcpy(fleet.counts, s->config->counts, sizeof fleet.counts);
    int r = fleet_open(&s->loop, &fleet, &s->fleet);
    struct control_options control = {
        .fleet = s->fleet, .home = s->home, .url = s->url, .on_down = on_down, .data = s
    };
    return r < 0 ? r : control_open(&s->loop, &control, &s->control);
}

// More descriptors for the children than the usual soft limit: 10 000 connections at the gateway need them.
static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); // the gateway checks what it got
    }
}

// What is left to it is inherited by all that it starts.
static int enter_sandbox(const struct supervisor *s)
{
    char error[CONFIG_ERROR_SIZE], text[CONFINE_TEXT_SIZE];
    unsigned parts;
    int r = confine_supervisor(s->config->sandbox, &parts, error);
    if (r < 0) {
        log_error("%s", error);
        return r;
    }
    confine_text(s->config->sandbox, CONFINE_SUPERVISOR, parts, text);
    log_info("sluice " SLUICE_VERSION " starts in %s; sandbox: %s", s->home, text);
    return 0;
}

static int run(struct supervisor *s)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    enum log_level level = LEVEL_DEBUG;
    while (strcmp(levels[level], s->config->log_level) != 0) {
        level++;
    }
    log_init("sluice", "supervisor", level,
             strcmp(s->config->log_format, "json") == 0   ? LOG_FORMAT_JSON
             : strcmp(s->config->log_format, "text") == 0 ? LOG_FORMAT_TEXT
                                                          : LOG_FORMAT_AUTO);
    if (enter_sandbox(s) < 0) {
        return EXIT_CONFIG;
    }
    raise_limits();
    (void)signal(SIGPIPE, SIG_IGN); // SIGPIPE can be ignored
    int r = rundir_write_pid(s->lock_fd);
    r = r < 0 ? r : uv_loop_init(&s->loop);
    r = r < 0 ? r : open_handles(s);
    r = r < 0 ? r : open_fleet(s);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return EXIT_FAILED; // children that were started end with this process
    }
    (void)uv_run(&s->loop, UV_RUN_DEFAULT); // returns when every handle is closed
    r = uv_loop_close(&s->loop);
    assert(r == 0);
    fleet_free(&s->fleet);
    return s->status;
}

// Nobody reads the terminal (Ctrl-C comes as a signal), and none of the three standard descriptors may be missing:
// a lock or a socket would take its place.
static int close_stdin(void)
{
    int null;
    do {
        null = open("/dev/null", O_RDWR);
    } while (null >= 0 && null <= STDERR_FILENO);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0) {
        return refuse("/dev/null: %s", strerror(errno));
    }
    (void)close(null); // nothing was written
    return EXIT_OK;
}

int supervisor_up(const struct supervisor_config *config, const char *bin_dir, bool detach)
{
    static struct supervisor s; // large, and there is one
    s.config = config;
    s.bin_dir = bin_dir;
    s.detached = detach;
    s.tell_fd = -1;
    s.start_ms = clock_mono_ms();
    if (secrets_take() < 0) {
        return refuse("no memory");
    }
    int status = close_stdin();
    status = status ? status : prepare(&s);
    if (status != EXIT_OK || !detach) {
        return status != EXIT_OK ? status : run(&s);
    }
    s.tell_fd = background_enter(s.home, &status);
    if (s.tell_fd >= 0) {
        return run(&s);
    }
    if (status == EXIT_OK) {
        say_ready(&s);
    }
    return status;
}
