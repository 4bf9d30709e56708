// SPDX-License-Identifier: MIT
// See fleet.h. Children report changes of state at any depth of the stack; what follows from them is decided in
// on_advance(), once per loop turn.
#include "deploy/fleet.h"

#include "common/log.h"
#include "common/process.h"
#include "deploy/child.h"
#include "deploy/notifications.h"
#include "deploy/secrets.h"
#include "deploy/rundir.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTEN_FD 3 // where an inherited socket is, by the convention of sd_listen_fds(3)
#define SLOTS FLEET_SLOTS
#define WANTED "WANTED=" // what a gateway says of a service that it has no worker of

enum operation_kind { OPERATION_NONE, OPERATION_SCALE, OPERATION_RESTART };

struct operation {
    enum operation_kind kind;
    bool services[SERVICES]; // it is about these
    int next;                // RESTART: slot to look at next
    struct child *current;   // RESTART: the one that is on its way; NULL: none
    fleet_done_fn *done;
    void *data;
};

struct fleet {
    struct fleet_options options;
    char notify_path[RUNDIR_PATH_SIZE];
    char binaries[SERVICES][PATH_MAX];
    struct child_callbacks callbacks;
    struct child children[SLOTS];  // slot = service * SERVICES_MAX_PROCESSES + number - 1
    int64_t counts[SERVICES];      // wanted now
    bool expected[SERVICES];       // by gateways, whatever the count
    const char *log_levels[SLOTS]; // NULL: what the environment says
    struct operation operation;
    bool was_ready;      // once
    bool was_in_trouble; // reported
    bool stopping;
    bool killing;
    int tier;        // stopping: tiers before this one are gone
    int tiers_asked; // stopping: tiers before this one were told to drain
    struct notifications notifications;
    uv_signal_t sigchld;
    uv_idle_t advance;
    uv_timer_t step; // of the operation
    uv_timer_t watch;
    uint64_t watched_ms; // loop time of the last look
};

static struct child *child_at(struct fleet *f, int service, int64_t i)
{
    assert(i >= 0 && i < SERVICES_MAX_PROCESSES);
    return &f->children[service * SERVICES_MAX_PROCESSES + i];
}

// --- What a child sees

static void set_or_exit(const char *name, const char *value)
{
    if (setenv(name, value, 1) < 0) {
        log_error("cannot set %s: %s", name, strerror(errno));
        _exit(EXIT_FAILURE);
    }
}

// The services that a gateway may wait for before it opens the port.
static void set_expected(const struct fleet *f)
{
    char expected[SERVICES_TEXT];
    services_expected(f->counts, f->expected, expected);
    set_or_exit("SLUICE_EXPECT", expected);
}

static void hand_over_listener(const struct fleet *f)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    set_or_exit("LISTEN_PID", pid);
    set_or_exit("LISTEN_FDS", "1");
    set_or_exit("LISTEN_FDNAMES", "http");
    set_or_exit("SLUICE_LISTEN", f->options.listen_address);
    assert(f->options.listen_fd != LISTEN_FD); // dup2() then clears close-on-exec
    if (dup2(f->options.listen_fd, LISTEN_FD) < 0) {
        log_error("cannot hand the listening socket over: %s", strerror(errno));
        _exit(EXIT_FAILURE);
    }
}

// What the supervisor itself was told by systemd is not the child's.
static void set_watchdog(const struct fleet *f)
{
    char limit_us[32];
    snprintf(limit_us, sizeof limit_us, "%lld", 1000LL * f->options.watchdog_ms);
    set_or_exit("WATCHDOG_USEC", limit_us);
    (void)unsetenv("WATCHDOG_PID"); // fails for impossible names only
}

static void on_exec(struct child *c, void *data)
{
    struct fleet *f = data;
    char admin[SERVICES_TEXT];
    services_admin(c->name, strcmp(c->name, "gateway-1") == 0 ? f->options.admin_address : NULL,
                   admin);
    set_or_exit("SLUICE_ADMIN", admin);
    set_or_exit("SLUICE_HOME", f->options.home);
    set_or_exit("SLUICE_INSTANCE", c->name);
    set_or_exit("NOTIFY_SOCKET", f->notify_path);
    set_watchdog(f);
    const char *log_level = f->log_levels[c - f->children];
    if (log_level) {
        set_or_exit("SLUICE_LOG_LEVEL", log_level);
    }
    if (secrets_give(c->service) < 0) {
        log_error("no memory for the secrets of %s", c->name);
        _exit(EXIT_FAILURE);
    }
    if (c->service == SERVICES_GATEWAY) {
        hand_over_listener(f);
        set_expected(f);
    }
}

// --- What children say

static void on_sigchld(uv_signal_t *handle, int signum)
{
    struct fleet *f = handle->data;
    (void)signum;
    notifications_read(&f->notifications); // why they ended, from those who said so
    for (int i = 0; i < SLOTS; i++) {
        struct child *c = &f->children[i];
        int status;
        if (c->pid > 0 && waitpid(c->pid, &status, WNOHANG) == c->pid) {
            child_exited(c, status);
        }
    }
}

static uint64_t watch_every_ms(const struct fleet *f)
{
    return (uint64_t)f->options.watchdog_ms / 10 + 1;
}

// What was stopped itself (the machine slept, somebody debugs it) must not blame its children for the silence.
static void on_watch(uv_timer_t *handle)
{
    struct fleet *f = handle->data;
    uint64_t now_ms = uv_now(handle->loop), every_ms = watch_every_ms(f);
    uint64_t passed_ms = now_ms - f->watched_ms;
    f->watched_ms = now_ms;
    for (int i = 0; i < SLOTS; i++) {
        child_watch(&f->children[i], passed_ms > 2 * every_ms ? passed_ms - every_ms : 0);
    }
}

static void want(struct fleet *f, const struct child *from, const char *name)
{
    int s = services_find(name);
    log_debug("%s has no worker of %s, and wants one", from->name, name);
    if (s >= 0 && f->options.on_wanted && !f->stopping && from->service == SERVICES_GATEWAY) {
        f->options.on_wanted(s, f->options.data);
    }
}

static void on_notification(pid_t from, char *text, void *data)
{
    struct fleet *f = data;
    for (int i = 0; from > 0 && i < SLOTS; i++) { // 0: from another pid namespace; not one of ours
        if (f->children[i].pid == from) {
            if (strncmp(text, WANTED, strlen(WANTED)) == 0) {
                want(f, &f->children[i], text + strlen(WANTED));
            } else {
                child_notified(&f->children[i], text);
            }
            return;
        }
    }
}

// --- Operations

static void finish_operation(struct fleet *f, const char *error)
{
    struct operation o = f->operation;
    f->operation = (struct operation){ 0 };
    (void)uv_timer_stop(&f->step); // cannot fail
    if (o.done) {
        o.done(error, o.data);
    }
}

static void on_step_over(uv_timer_t *handle)
{
    finish_operation(handle->data,
                     "a process is not where it should be after 60 s: see `sluice status`");
}

static void begin_step(struct fleet *f)
{
    int r = uv_timer_start(&f->step, on_step_over, FLEET_STEP_MS, 0);
    assert(r == 0); // fails only for a closing handle
    (void)r;
}

// Whether a child is where the operation wants it. Ends the operation when it will not get there.
static bool is_settled(struct fleet *f, struct child *c, bool wanted)
{
    if (c->state == (wanted ? CHILD_READY : CHILD_STOPPED)) {
        return true;
    }
    if (wanted && child_is_crash_loop(c)) {
        char error[CHILD_NAME + CHILD_NOTE + 64];
        snprintf(error, sizeof error, "%s does not stay up: it %s", c->name, c->note);
        finish_operation(f, error);
    }
    return false;
}

static void advance_scale(struct fleet *f)
{
    for (int i = 0; i < SLOTS; i++) {
        struct child *c = &f->children[i];
        if (f->operation.services[c->service] &&
            !is_settled(f, c, c->number <= f->counts[c->service])) {
            return;
        }
    }
    finish_operation(f, NULL);
}

static void advance_restart(struct fleet *f)
{
    struct operation *o = &f->operation;
    if (o->current && !is_settled(f, o->current, true)) {
        return;
    }
    if (o->current) {
        log_info("%s was restarted", o->current->name);
    }
    o->current = NULL;
    while (o->next < SLOTS) {
        struct child *c = &f->children[o->next++];
        if (!o->services[c->service] || c->state == CHILD_STOPPED) {
            continue;
        }
        o->current = c;
        begin_step(f);
        child_drain(c, true);
        return;
    }
    finish_operation(f, NULL);
}

// --- What follows from changes

// A process that refuses its configuration will do so again: the operator is there, so this is told at once.
static bool is_in_trouble(const struct child *c)
{
    return child_is_crash_loop(c) || (c->state == CHILD_BACKOFF && c->exit_status == EXIT_CONFIG);
}

static void advance_start(struct fleet *f)
{
    bool ready = true;
    const struct child *trouble = NULL;
    for (int i = 0; i < SLOTS; i++) {
        struct child *c = &f->children[i];
        ready = ready && (!c->wanted || c->state == CHILD_READY);
        trouble = is_in_trouble(c) ? c : trouble;
    }
    if (ready) {
        f->was_ready = true;
        f->options.on_ready(f->options.data);
    } else if (trouble && !f->was_in_trouble) {
        f->was_in_trouble = true;
        f->options.on_trouble(trouble->name, trouble->exit_status, f->options.data);
    }
}

// Tells a tier to stop, once, and again to die at once if that is wanted. Returns whether it is gone.
static bool stop_tier(struct fleet *f)
{
    bool gone = true;
    for (int i = 0; i < SLOTS; i++) {
        struct child *c = &f->children[i];
        if (services[c->service].tier != f->tier) {
            continue;
        }
        if (f->killing) {
            child_kill(c);
        } else if (f->tiers_asked == f->tier) {
            child_drain(c, false);
        }
        gone = gone && c->state == CHILD_STOPPED;
    }
    f->tiers_asked = f->tier + 1;
    return gone;
}

static void advance_stop(struct fleet *f)
{
    while (f->tier < SERVICES_TIERS && stop_tier(f)) {
        log_debug("the processes of tier %d are gone", f->tier);
        f->tier++;
    }
    if (f->tier == SERVICES_TIERS) {
        f->options.on_stopped(f->options.data);
    }
}

static void on_advance(uv_idle_t *handle)
{
    struct fleet *f = handle->data;
    (void)uv_idle_stop(handle); // cannot fail
    if (f->stopping) {
        advance_stop(f);
    } else if (!f->was_ready) {
        advance_start(f);
    }
    if (f->operation.kind == OPERATION_SCALE) {
        advance_scale(f);
    } else if (f->operation.kind == OPERATION_RESTART) {
        advance_restart(f);
    }
}

static void advance_soon(struct fleet *f)
{
    int r = uv_idle_start(&f->advance, on_advance);
    assert(r == 0); // fails only without a callback
    (void)r;
}

static void on_child_change(struct child *c, void *data)
{
    const struct fleet *f = data;
    if (c->state == CHILD_STARTING && f->options.on_started) {
        f->options.on_started(c->service, f->options.data);
    }
    if (c->state == CHILD_STOPPED && !c->wanted) {
        rundir_forget(f->options.home, c->name);
    }
    if (c->state == CHILD_READY) {
        log_info("%s is ready (pid %d)", c->name, (int)c->pid);
    }
    advance_soon(data);
}

// --- Opening and closing

static int init_children(struct fleet *f, uv_loop_t *loop)
{
    f->callbacks = (struct child_callbacks){ on_exec, on_child_change, f, f->options.watchdog_ms };
    for (int s = 0; s < SERVICES; s++) {
        snprintf(f->binaries[s], sizeof f->binaries[s], "%s/%s", f->options.bin_dir,
                 services[s].binary);
        for (int i = 0; i < SERVICES_MAX_PROCESSES; i++) {
            int r = child_init(child_at(f, s, i), loop, s, i + 1, f->binaries[s], &f->callbacks);
            if (r < 0) {
                return r;
            }
            rundir_forget(f->options.home, child_at(f, s, i)->name);
        }
    }
    return 0;
}

static int init_handles(struct fleet *f, uv_loop_t *loop)
{
    rundir_path(f->options.home, "run/notify.sock", f->notify_path);
    int r = notifications_open(&f->notifications, loop, f->notify_path, on_notification, f);
    r = r < 0 ? r : uv_signal_init(loop, &f->sigchld);
    r = r < 0 ? r : uv_idle_init(loop, &f->advance);
    r = r < 0 ? r : uv_timer_init(loop, &f->step);
    r = r < 0 ? r : uv_timer_init(loop, &f->watch);
    f->sigchld.data = f->advance.data = f->step.data = f->watch.data = f;
    if (r == 0 && f->options.watchdog_ms) {
        f->watched_ms = uv_now(loop);
        r = uv_timer_start(&f->watch, on_watch, watch_every_ms(f), watch_every_ms(f));
    }
    return r < 0 ? r : uv_signal_start(&f->sigchld, on_sigchld, SIGCHLD);
}

int fleet_open(uv_loop_t *loop, const struct fleet_options *options, struct fleet **ret_fleet)
{
    struct fleet *f = calloc(1, sizeof *f);
    if (!f) {
        return -ENOMEM;
    }
    f->options = *options;
    int r = init_handles(f, loop);
    r = r < 0 ? r : init_children(f, loop);
    if (r < 0) {
        return r; // the program ends: handles that are on the loop keep f alive
    }
    for (int s = 0; s < SERVICES; s++) {
        f->counts[s] = options->counts[s] > services[s].min ? options->counts[s] : services[s].min;
        for (int64_t i = 0; i < f->counts[s]; i++) {
            child_start(child_at(f, s, i));
        }
    }
    advance_soon(f); // there may be nothing to wait for
    *ret_fleet = f;
    return 0;
}

void fleet_close(struct fleet *f)
{
    for (int i = 0; i < SLOTS; i++) {
        child_fini(&f->children[i]);
    }
    notifications_close(&f->notifications);
    uv_close((uv_handle_t *)&f->sigchld, NULL);
    uv_close((uv_handle_t *)&f->advance, NULL);
    uv_close((uv_handle_t *)&f->step, NULL);
    uv_close((uv_handle_t *)&f->watch, NULL);
}

void fleet_free(struct fleet **f)
{
    free(*f);
    *f = NULL;
}

// --- Commands

static int begin_operation(struct fleet *f, const struct operation *o)
{
    if (f->stopping) {
        return -ECANCELED;
    }
    if (f->operation.kind != OPERATION_NONE) {
        return -EBUSY;
    }
    f->operation = *o;
    begin_step(f);
    advance_soon(f); // there may be nothing to do
    return 0;
}

static void set_count(struct fleet *f, int service, int64_t count)
{
    assert(count >= services[service].min && count <= services[service].max);
    f->counts[service] = count;
    for (int64_t i = 0; i < SERVICES_MAX_PROCESSES; i++) {
        if (i < count) {
            child_start(child_at(f, service, i));
        } else {
            child_drain(child_at(f, service, i), false);
        }
    }
}

int fleet_adjust(struct fleet *f, int service, int64_t count)
{
    if (f->stopping) {
        return -ECANCELED;
    }
    if (f->operation.kind != OPERATION_NONE && f->operation.services[service]) {
        return -EBUSY;
    }
    set_count(f, service, count);
    return 0;
}

int64_t fleet_count(const struct fleet *f, int service)
{
    return f->counts[service];
}

int64_t fleet_unexpected_exits(const struct fleet *f, int service)
{
    int64_t n = 0;
    for (int i = 0; i < SERVICES_MAX_PROCESSES; i++) {
        n += f->children[service * SERVICES_MAX_PROCESSES + i].exits;
    }
    return n;
}

void fleet_expect(struct fleet *f, int service, bool expected)
{
    f->expected[service] = expected;
}

void fleet_set_slot_log_level(struct fleet *f, int slot, enum log_level level)
{
    assert(slot >= 0 && slot < SLOTS);
    f->log_levels[slot] = log_level_name(level);
}

void fleet_set_log_level(struct fleet *f, int service, enum log_level level)
{
    for (int i = 0; i < SERVICES_MAX_PROCESSES; i++) {
        fleet_set_slot_log_level(f, service * SERVICES_MAX_PROCESSES + i, level);
    }
}

void fleet_each(struct fleet *f, void (*each)(const struct fleet_member *member, void *data),
                void *data)
{
    for (int i = 0; i < SLOTS; i++) {
        const struct child *c = &f->children[i];
        if (c->state != CHILD_STOPPED) {
            const struct fleet_member m = { .name = c->name,
                                            .service = c->service,
                                            .slot = i,
                                            .pid = c->pid,
                                            .wanted = c->wanted,
                                            .ready = c->state == CHILD_READY,
                                            .crash_loop = child_is_crash_loop(c),
                                            .unexpected_exits = c->exits,
                                            .exit_age_ms = child_unexpected_exit_age_ms(c),
                                            .note = c->note };
            each(&m, data);
        }
    }
}

int fleet_scale(struct fleet *f, const int64_t counts[SERVICES], fleet_done_fn *done, void *data)
{
    struct operation o = { .kind = OPERATION_SCALE, .done = done, .data = data };
    for (int s = 0; s < SERVICES; s++) {
        o.services[s] = counts[s] >= 0;
    }
    int r = begin_operation(f, &o);
    for (int s = 0; r == 0 && s < SERVICES; s++) {
        if (counts[s] < 0) {
            continue;
        }
        assert(counts[s] >= services[s].min && counts[s] <= services[s].max);
        log_info("scaling %s from %d to %d", services[s].name, (int)f->counts[s], (int)counts[s]);
        set_count(f, s, counts[s]);
    }
    return r;
}

int fleet_restart(struct fleet *f, int service, fleet_done_fn *done, void *data)
{
    struct operation o = { .kind = OPERATION_RESTART, .done = done, .data = data };
    for (int s = 0; s < SERVICES; s++) {
        o.services[s] = service < 0 || s == service;
    }
    return begin_operation(f, &o);
}

void fleet_stop(struct fleet *f, bool kill)
{
    f->killing = f->killing || kill;
    f->stopping = true;
    if (f->operation.kind != OPERATION_NONE) {
        finish_operation(f, "the suite is being stopped");
    }
    advance_soon(f);
}

static int64_t rss_bytes(pid_t pid)
{
    char path[32], text[128] = "";
    int64_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f) {
        return 0; // it has just ended
    }
    (void)!fgets(text, sizeof text, f); // empty when the process ends just now
    (void)fclose(f);                    // nothing was written
    char *resident = text + strcspn(text, " ");
    resident += *resident == ' ';
    resident[strcspn(resident, " \n")] = '\0';
    if (config_parse_number(CONFIG_INTEGER, resident, &pages) < 0) {
        pages = 0;
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static void child_status(struct fleet *f, const struct child *c, struct buf *out)
{
    uint64_t up_ms = c->pid > 0 ? uv_now(f->sigchld.loop) - c->started_ms : 0;
    buf_printf(
        out,
        "{\"instance\":\"%s\",\"service\":\"%s\",\"pid\":%d,\"state\":\"%s\",\"uptime_ms\":%llu,"
        "\"restarts\":%u,\"stuck\":%u,\"rss_bytes\":%lld,\"crash_loop\":%s,\"note\":\"",
        c->name, services[c->service].name, (int)c->pid, child_state_name(c->state),
        (unsigned long long)up_ms, c->restarts, c->stuck,
        c->pid > 0 ? (long long)rss_bytes(c->pid) : 0, child_is_crash_loop(c) ? "true" : "false");
    buf_append_json(out, str_of(c->note));
    buf_append_z(out, "\"}");
}

void fleet_status(struct fleet *f, struct buf *out)
{
    bool ready = !f->stopping;
    const char *separator = "";
    buf_append_z(out, "\"instances\":[");
    for (int i = 0; i < SLOTS; i++) {
        struct child *c = &f->children[i];
        ready = ready && (!c->wanted || c->state == CHILD_READY);
        if (c->state == CHILD_STOPPED) {
            continue;
        }
        buf_append_z(out, separator);
        child_status(f, c, out);
        separator = ",";
    }
    buf_printf(out, "],\"state\":\"%s\"", f->stopping ? "stopping" : ready ? "ready" : "starting");
}
