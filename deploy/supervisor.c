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
#include "deploy/alert_watch.h"
#include "deploy/autoscaler.h"
#include "deploy/background.h"
#include "deploy/backup.h"
#include "deploy/complaint.h"
#include "deploy/control.h"
#include "deploy/fleet.h"
#include "deploy/listener.h"
#include "deploy/log_writer.h"
#include "deploy/oversight.h"
#include "deploy/rundir.h"
#include "deploy/secrets.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct supervisor {
    const struct supervisor_config *config;
    const char *bin_dir;
    char home[RUNDIR_PATH_SIZE];
    char admin_address[SERVICES_TEXT]; // TCP admin listener of gateway-1; empty: none
    char url[320];
    int64_t start_ms;
    bool detached;
    bool signalled; // once: the next signal ends it at once
    bool at_once;   // as it did
    bool stopped;   // every process has; who has to know is being told
    int status;     // to exit with
    int tell_fd;    // to --detach's parent; -1: nobody waits
    int lock_fd, children_fd, listen_fd;
    struct fleet *fleet;
    struct oversight *oversight; // NULL while the fleet begins
    struct control *control;
    struct log_writer *log_writer; // NULL: not detached
    uv_loop_t loop;
    uv_signal_t signals[3];
};

// --- Preparing: prints one line and returns an exit status other than 0 when something is wrong

#define refuse(...) complain("sluice", EXIT_CONFIG, __VA_ARGS__)

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
    char error[CONFIG_ERROR_SIZE], address[SERVICES_TEXT];
    const char *given = s->config->admin_listen;
    services_admin_listen(s->config, address);
    int fd = *address ? listener_open("SLUICE_ADMIN_LISTEN", address, error) : -ENOENT;
    if (fd < 0) {
        return given && *given ? refuse("%s", error) : EXIT_OK;
    }
    (void)close(fd); // only tried: the gateway binds it itself
    memcpy(s->admin_address, address, sizeof s->admin_address);
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
    char mark[RUNDIR_PATH_SIZE];
    rundir_path(s->home, BACKUP_UNFINISHED, mark);
    if (access(mark, F_OK) == 0) {
        return refuse("a restore into %s was cut off: repeat it with `sluice restore --force`",
                      s->home);
    }
    int status = check_programs(s->bin_dir);
    if (status == EXIT_OK && (autoscaler_check(s->home, s->config->scaling, false) < 0 ||
                              alert_watch_check(s->config) < 0)) {
        return EXIT_CONFIG;
    }
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
    if (*s->admin_address) {
        fprintf(stderr,
                "The console is at http://%s/console, its token is in %s/secrets/admin-token\n",
                s->admin_address, home);
    }
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
    oversight_ready(s->oversight);
    if (!s->detached) {
        say_ready(s);
    }
}

static void close_all(void *data)
{
    struct supervisor *s = data;
    control_close(&s->control);
    oversight_close(&s->oversight);
    fleet_close(s->fleet);
    for (size_t i = 0; i < sizeof s->signals / sizeof s->signals[0]; i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    log_writer_close(&s->log_writer);
}

static void stop(struct supervisor *s, bool kill)
{
    s->at_once = s->at_once || kill;
    notify_send("STOPPING=1");
    oversight_stop(s->oversight);
    if (!s->stopped) {
        fleet_stop(s->fleet, kill);
    } else if (kill) {
        oversight_finish(s->oversight, true, close_all, s);
    }
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

static void on_wanted(int service, void *data)
{
    const struct supervisor *s = data;
    oversight_wanted(s->oversight, service);
}

static void on_started(int service, void *data)
{
    const struct supervisor *s = data;
    oversight_started(s->oversight, service);
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

static void on_stopped(void *data)
{
    struct supervisor *s = data;
    log_info("stopped");
    s->stopped = true;
    oversight_finish(s->oversight, s->at_once, close_all, s);
}

static int open_handles(struct supervisor *s)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    int r = s->log_writer ? log_writer_watch(s->log_writer, &s->loop) : 0;
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
        .on_wanted = on_wanted,
        .on_started = on_started,
        .data = s,
    };
    memcpy(fleet.counts, s->config->counts, sizeof fleet.counts);
    int r = fleet_open(&s->loop, &fleet, &s->fleet);
    struct oversight_options oversight = {
        .fleet = s->fleet, .home = s->home, .config = s->config, .log_writer = s->log_writer
    };
    r = r < 0 ? r : oversight_open(&s->loop, &oversight, &s->oversight);
    struct control_options control = { .fleet = s->fleet,
                                       .oversight = s->oversight,
                                       .home = s->home,
                                       .url = s->url,
                                       .on_down = on_down,
                                       .data = s };
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

// What --detach puts in the place of run/sluice.log, which is standard output until now.
static int open_log_writer(struct supervisor *s)
{
    const struct log_writer_options options = {
        .home = s->home, .config = s->config, .children_fd = s->children_fd, .tell_fd = s->tell_fd
    };
    int r = log_writer_open(&options, &s->log_writer);
    if (r < 0) {
        log_error("cannot start the log writer: %s", strerror(-r));
    }
    return r;
}

static int run(struct supervisor *s)
{
    int level = log_level_parse(str_of(s->config->log_level));
    assert(level >= 0); // the table has these choices
    log_init("sluice", "supervisor", (enum log_level)level,
             strcmp(s->config->log_format, "json") == 0   ? LOG_FORMAT_JSON
             : strcmp(s->config->log_format, "text") == 0 ? LOG_FORMAT_TEXT
                                                          : LOG_FORMAT_AUTO);
    if (s->detached && open_log_writer(s) < 0) {
        return EXIT_FAILED;
    }
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
    config_forget_secrets(services_options); // nothing that it starts needs them
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
