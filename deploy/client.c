// SPDX-License-Identifier: MIT
// See client.h. Plain blocking code: it talks to one local process and does one thing.
#include "deploy/client.h"

#include "common/process.h"
#include "deploy/complaint.h"
#include "deploy/control.h"
#include "deploy/rundir.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

// A supervisor that holds its lock opens its socket a moment later.
#define CONNECT_TRIES 100
#define CONNECT_WAIT_NS 20000000

static int connect_once(const char *home)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char path[RUNDIR_PATH_SIZE];
    rundir_path(home, CONTROL_SOCKET, path);
    if (strlen(path) >= sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        return fd < 0 ? -errno : fd;
    }
    int r = -errno;
    (void)close(fd); // nothing was sent
    return r;
}

// Returns a connection, or a negative errno: -ESRCH when no supervisor runs.
static int connect_supervisor(const char *home)
{
    for (int i = 0; i < CONNECT_TRIES; i++) {
        int fd = connect_once(home);
        if (fd >= 0 || (fd != -ENOENT && fd != -ECONNREFUSED)) {
            return fd;
        }
        if (!rundir_is_locked(home)) {
            return -ESRCH;
        }
        nanosleep(&(struct timespec){ .tv_nsec = CONNECT_WAIT_NS }, NULL);
    }
    return -ETIMEDOUT;
}

static int send_all(int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0) {
            return -errno;
        }
        s = (struct str){ s.p + n, s.n - (size_t)n };
    }
    return 0;
}

// Reads until the other side closes.
static int receive_all(int fd, struct buf *b)
{
    for (;;) {
        char *p = buf_reserve(b, 4096);
        ssize_t n = p ? recv(fd, p, 4096, 0) : -1;
        if (n <= 0) {
            return n == 0 ? 0 : !p ? buf_error(b) : -errno;
        }
        b->len += (size_t)n;
    }
}

// One command. Returns the answer (free it with yyjson_doc_free()), or NULL with the error printed and the exit
// status set. Without a supervisor that is CLIENT_NOT_RUNNING and nothing is printed. ret_home is the absolute home,
// or empty if there is none.
static yyjson_doc *ask(const char *home, const char *request, char ret_home[RUNDIR_PATH_SIZE],
                       int *ret_status)
{
    char error[CONFIG_ERROR_SIZE] = "the supervisor ended before it answered";
    struct buf answer;
    buf_init(&answer, CONTROL_REPLY_BYTES);
    *ret_home = '\0';
    int fd = -1, r = rundir_open(home, false, ret_home, error);
    if (r == 0) {
        r = fd = connect_supervisor(ret_home);
        r = r < 0 ? r : send_all(fd, str_of(request));
        r = r < 0 ? r : receive_all(fd, &answer);
        if (r < 0) {
            snprintf(error, sizeof error, "cannot talk to the supervisor: %s", strerror(-r));
        }
        if (fd >= 0) {
            (void)close(fd); // the exchange is over
        }
    }
    bool is_running = r != -ESRCH && r != -ENOENT;
    *ret_status = is_running ? EXIT_FAILED : CLIENT_NOT_RUNNING;
    yyjson_doc *doc = r < 0 || answer.len == 0 ? NULL : yyjson_read(answer.data, answer.len, 0);
    buf_fini(&answer);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (yyjson_get_bool(yyjson_obj_get(root, "ok"))) {
        *ret_status = EXIT_OK;
        return doc;
    }
    const char *refusal = yyjson_get_str(yyjson_obj_get(root, "error"));
    if (is_running) {
        fprintf(stderr, "sluice: %s\n", refusal ? refusal : error);
    }
    yyjson_doc_free(doc);
    return NULL;
}

static void say_not_running(const char *home)
{
    fprintf(stderr, "sluice: nothing is running in %s: start it with `sluice up`\n", home);
}

// For commands that need a supervisor and have nothing to print.
static int command(const char *home, struct buf *request)
{
    char absolute[RUNDIR_PATH_SIZE];
    int status = EXIT_FAILED;
    buf_append(request, "\n", 2); // with its NUL
    assert(buf_ok(request));
    yyjson_doc_free(ask(home, request->data, absolute, &status));
    if (status == CLIENT_NOT_RUNNING) {
        say_not_running(home);
    }
    buf_fini(request);
    return status;
}

// --- status

static void format_duration(int64_t ms, char out[32])
{
    int64_t s = ms / 1000;
    if (s < 60) {
        snprintf(out, 32, "%" PRId64 ".%" PRId64 "s", s, ms % 1000 / 100);
    } else if (s < 3600) {
        snprintf(out, 32, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    } else if (s < 48 * 3600) {
        snprintf(out, 32, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    } else {
        snprintf(out, 32, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
    }
}

// A member's text; empty when it has none.
static const char *text_of(yyjson_val *object, const char *member)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, member));
    return text ? text : "";
}

static void print_instance(yyjson_val *v)
{
    char uptime[32], pid[16] = "-", rss[32] = "-";
    format_duration(yyjson_get_sint(yyjson_obj_get(v, "uptime_ms")), uptime);
    if (yyjson_get_int(yyjson_obj_get(v, "pid")) > 0) {
        snprintf(pid, sizeof pid, "%d", yyjson_get_int(yyjson_obj_get(v, "pid")));
        snprintf(rss, sizeof rss, "%.1f MiB",
                 (double)yyjson_get_sint(yyjson_obj_get(v, "rss_bytes")) / (1024 * 1024));
    }
    const char *note = text_of(v, "note");
    bool crash_loop = yyjson_get_bool(yyjson_obj_get(v, "crash_loop"));
    printf("%-12s %8s %-9s %8s %9d %11s%s%s%s\n", text_of(v, "instance"), pid, text_of(v, "state"),
           uptime, yyjson_get_int(yyjson_obj_get(v, "restarts")), rss,
           crash_loop ? "  keeps dying" : "", *note ? "  " : "", note);
}

// "utilisation 90 % (target 60)", "idle"
static void print_reason(yyjson_val *decision)
{
    const char *unit = text_of(decision, "unit");
    printf("%s", text_of(decision, "reason"));
    if (yyjson_get_sint(yyjson_obj_get(decision, "target")) > 0) {
        printf(" %" PRId64 " %s (target %" PRId64 ")",
               yyjson_get_sint(yyjson_obj_get(decision, "value")), unit,
               yyjson_get_sint(yyjson_obj_get(decision, "target")));
    }
}

static void print_scaling(yyjson_val *scaling)
{
    yyjson_val *list = yyjson_obj_get(scaling, "services"), *v;
    size_t i, n;
    if (yyjson_arr_size(list) > 0) {
        printf("\n%-12s %8s %9s  %s\n", "SCALED", "ALLOWED", "PROCESSES", "NOW, AND LAST CHANGE");
    }
    yyjson_arr_foreach(list, i, n, v)
    {
        char range[32];
        yyjson_val *last = yyjson_obj_get(v, "last");
        snprintf(range, sizeof range, "%d..%d", yyjson_get_int(yyjson_obj_get(v, "min")),
                 yyjson_get_int(yyjson_obj_get(v, "max")));
        printf("%-12s %8s %9d  ", text_of(v, "service"), range,
               yyjson_get_int(yyjson_obj_get(v, "count")));
        print_reason(yyjson_obj_get(v, "now"));
        if (last) {
            printf("; %s from %d to %d: ", text_of(last, "at"),
                   yyjson_get_int(yyjson_obj_get(last, "from")),
                   yyjson_get_int(yyjson_obj_get(last, "to")));
            print_reason(last);
        }
        putchar('\n');
    }
    if (yyjson_get_bool(yyjson_obj_get(scaling, "stale"))) {
        printf("\n%s has mistakes, and the rules from before are in use: see `sluice "
               "check-config`\n",
               text_of(scaling, "file"));
    }
}

static void print_json(const yyjson_doc *doc)
{
    char *text = yyjson_write(doc, YYJSON_WRITE_PRETTY, NULL);
    if (text) {
        puts(text);
    }
    free(text);
}

int client_status(const char *home, bool json)
{
    char absolute[RUNDIR_PATH_SIZE];
    int status;
    yyjson_doc *doc = ask(home, "{\"command\":\"status\"}\n", absolute, &status);
    if (!doc) {
        if (status == CLIENT_NOT_RUNNING && json) {
            puts("{\"ok\":true,\"state\":\"stopped\",\"instances\":[]}");
        } else if (status == CLIENT_NOT_RUNNING) {
            printf("stopped: nothing is running in %s\n", home);
        }
        return status;
    }
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    yyjson_val *instances = yyjson_obj_get(root, "instances");
    const char *state = text_of(root, "state");
    if (json) {
        print_json(doc);
    } else {
        printf("%s at %s (supervisor %d, %s)\n\n", state, text_of(root, "url"),
               yyjson_get_int(yyjson_obj_get(root, "pid")), text_of(root, "home"));
        printf("%-12s %8s %-9s %8s %9s %11s\n", "INSTANCE", "PID", "STATE", "UPTIME", "RESTARTS",
               "RSS");
        size_t i, n;
        yyjson_arr_foreach(instances, i, n, v) print_instance(v);
        print_scaling(yyjson_obj_get(root, "scaling"));
        if (yyjson_get_int(yyjson_obj_get(root, "alerts_firing")) > 0) {
            printf("\n%d alerts: see `sluice alerts`\n",
                   yyjson_get_int(yyjson_obj_get(root, "alerts_firing")));
        }
    }
    status = strcmp(state, "ready") == 0 ? EXIT_OK : EXIT_FAILED;
    yyjson_doc_free(doc);
    return status;
}

// --- alerts

// Returns whether one fires.
static bool print_alerts(yyjson_val *list, bool json)
{
    size_t i, n;
    yyjson_val *v;
    bool fires = false;
    yyjson_arr_foreach(list, i, n, v)
    {
        fires = fires || strcmp(text_of(v, "status"), "firing") == 0;
        if (!json) {
            printf("%-8s %-7s %-30s since %s: %s (%" PRId64 "%s%s)\n         %s\n",
                   text_of(v, "status"), text_of(v, "severity"), text_of(v, "alert"),
                   text_of(v, "since"), text_of(v, "summary"),
                   yyjson_get_sint(yyjson_obj_get(v, "value")), *text_of(v, "unit") ? " " : "",
                   text_of(v, "unit"), text_of(v, "runbook"));
        }
    }
    return fires;
}

int client_alerts(const char *home, bool json)
{
    char absolute[RUNDIR_PATH_SIZE];
    int status;
    yyjson_doc *doc = ask(home, "{\"command\":\"alerts\"}\n", absolute, &status);
    if (!doc) {
        if (status == CLIENT_NOT_RUNNING) {
            fprintf(stderr, "sluice: nothing is running in %s\n", home);
        }
        return status;
    }
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "alerts");
    if (json) {
        print_json(doc);
    } else if (yyjson_arr_size(list) == 0) {
        puts("no alerts");
    }
    status = print_alerts(list, json) ? EXIT_FAILED : EXIT_OK;
    yyjson_doc_free(doc);
    return status;
}

// --- The others

int client_scale(const char *home, const int64_t counts[SERVICES])
{
    struct buf request;
    const char *separator = "";
    buf_init(&request, CONTROL_REQUEST_BYTES);
    buf_append_z(&request, "{\"command\":\"scale\",\"services\":{");
    for (int s = 0; s < SERVICES; s++) {
        if (counts[s] < 0) {
            continue;
        }
        buf_printf(&request, "%s\"%s\":%" PRId64, separator, services[s].name, counts[s]);
        separator = ",";
    }
    buf_append_z(&request, "}}\n");
    return command(home, &request);
}

int client_restart(const char *home, const char *service)
{
    struct buf request;
    buf_init(&request, CONTROL_REQUEST_BYTES);
    buf_append_z(&request, "{\"command\":\"restart\"");
    if (service) {
        buf_printf(&request, ",\"service\":\"%s\"", service);
    }
    buf_append_z(&request, "}\n");
    return command(home, &request);
}

static int print_levels(yyjson_val *list, bool json)
{
    size_t i, n;
    yyjson_val *v;
    int status = EXIT_OK;
    yyjson_arr_foreach(list, i, n, v)
    {
        const char *error = text_of(v, "error");
        status = *error ? EXIT_FAILED : status;
        if (!json) {
            printf("%-12s %s\n", text_of(v, "instance"), *error ? error : text_of(v, "level"));
        }
    }
    return status;
}

static void append_member(struct buf *b, const char *name, const char *text)
{
    if (text) {
        buf_printf(b, ",\"%s\":\"", name);
        buf_append_json(b, str_of(text));
        buf_append_char(b, '"');
    }
}

int client_log_level(const char *home, const char *of, const char *level, bool json)
{
    char absolute[RUNDIR_PATH_SIZE];
    int status = EXIT_FAILED;
    struct buf request;
    buf_init(&request, CONTROL_REQUEST_BYTES);
    buf_append_z(&request, "{\"command\":\"log-level\"");
    append_member(&request, "of", of);
    append_member(&request, "level", level);
    buf_append(&request, "}\n", 3); // with its NUL
    if (!buf_ok(&request)) {
        buf_fini(&request);
        return complain("sluice", EXIT_USAGE, "the names are too long");
    }
    yyjson_doc *doc = ask(home, request.data, absolute, &status);
    buf_fini(&request);
    if (status == CLIENT_NOT_RUNNING) {
        say_not_running(home);
    }
    if (doc && json) {
        print_json(doc);
    }
    if (doc) {
        status = print_levels(yyjson_obj_get(yyjson_doc_get_root(doc), "levels"), json);
    }
    yyjson_doc_free(doc);
    return status;
}

int client_down(const char *home)
{
    char absolute[RUNDIR_PATH_SIZE], lock[RUNDIR_PATH_SIZE];
    int status;
    // The answer ends when the supervisor has closed its side, which is its last act.
    yyjson_doc_free(ask(home, "{\"command\":\"down\"}\n", absolute, &status));
    if (status == EXIT_FAILED) {
        return status;
    }
    rundir_path(absolute, "run/children.lock", lock);
    // Processes of a supervisor that was killed may be draining.
    if (*absolute && access(lock, F_OK) == 0) {
        int fd = rundir_lock_children(absolute, NULL);
        if (fd < 0) {
            fprintf(stderr, "sluice: processes that have %s open do not stop: %s\n", lock,
                    strerror(-fd));
            return EXIT_FAILED;
        }
        (void)close(fd); // gives the lock back
    }
    if (status == EXIT_OK) {
        puts("stopped");
    } else {
        printf("stopped: nothing was running in %s\n", home);
    }
    return EXIT_OK;
}
