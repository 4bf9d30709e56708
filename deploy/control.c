// SPDX-License-Identifier: MIT
// See control.h.
#include "deploy/control.h"

#include "common/log.h"
#include "deploy/log_levels.h"
#include "deploy/rundir.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

struct client {
    struct client *next;
    struct control *control;
    uv_pipe_t pipe;
    uv_timer_t timer; // until the request is complete
    int open_handles; // of the two above
    struct buf in, out;
    uv_write_t write;
    bool stays; // until all has stopped
};

struct control {
    struct control_options options;
    char path[RUNDIR_PATH_SIZE];
    uv_pipe_t listener;
    struct client *clients;
    int n_clients;
    struct client *waiting; // the one whose operation runs; NULL: none, or it is gone
    struct log_levels *levels;
    struct client *waiting_levels; // the one whose question of log levels is asked; NULL: likewise
    char error[LOG_LEVELS_ERROR_BYTES];
    bool closed; // the listener is
};

// --- Connections

static void free_control_if_done(struct control *control)
{
    if (control->closed && !control->clients) {
        free(control);
    }
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    struct control *control = c->control;
    if (--c->open_handles > 0) {
        return;
    }
    struct client **link = &control->clients;
    while (*link != c) {
        link = &(*link)->next;
    }
    *link = c->next;
    control->n_clients--;
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
    free_control_if_done(control);
}

static void close_client(struct client *c)
{
    if (c->control->waiting == c) {
        c->control->waiting = NULL;
    }
    if (c->control->waiting_levels == c) {
        c->control->waiting_levels = NULL;
    }
    if (!uv_is_closing((uv_handle_t *)&c->pipe)) {
        uv_close((uv_handle_t *)&c->pipe, on_client_closed);
        uv_close((uv_handle_t *)&c->timer, on_client_closed);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct client *c = write->data;
    if (status < 0 || !c->stays) {
        close_client(c);
    }
}

// Sends what is in c->out.
static void reply(struct client *c)
{
    buf_append_char(&c->out, '\n');
    uv_buf_t bytes = uv_buf_init(c->out.data, (unsigned)c->out.len);
    c->write.data = c;
    if (!buf_ok(&c->out) ||
        uv_write(&c->write, (uv_stream_t *)&c->pipe, &bytes, 1, on_written) < 0) {
        close_client(c);
    }
}

static void reply_result(struct client *c, const char *error)
{
    if (error) {
        buf_append_z(&c->out, "{\"ok\":false,\"error\":\"");
        buf_append_json(&c->out, str_of(error));
        buf_append_z(&c->out, "\"}");
    } else {
        buf_append_z(&c->out, "{\"ok\":true}");
    }
    reply(c);
}

// --- Commands: each returns NULL when it has answered or will answer later, or what is wrong

static const char *command_status(struct client *c, yyjson_val *request)
{
    (void)request;
    const struct control_options *o = &c->control->options;
    buf_printf(&c->out, "{\"ok\":true,\"version\":\"%s\",\"pid\":%d,\"url\":\"%s\",\"home\":\"",
               SLUICE_VERSION, (int)getpid(), o->url);
    buf_append_json(&c->out, str_of(o->home));
    buf_append_z(&c->out, "\",");
    fleet_status(o->fleet, &c->out);
    buf_append_char(&c->out, ',');
    oversight_status(o->oversight, &c->out);
    buf_append_char(&c->out, '}');
    reply(c);
    return NULL;
}

static const char *command_alerts(struct client *c, yyjson_val *request)
{
    (void)request;
    buf_append_z(&c->out, "{\"ok\":true,");
    oversight_alerts(c->control->options.oversight, &c->out);
    buf_append_char(&c->out, '}');
    reply(c);
    return NULL;
}

static void on_done(const char *error, void *data)
{
    struct control *control = data;
    if (error) {
        log_warn("operation failed: %s", error);
    }
    if (control->waiting) {
        reply_result(control->waiting, error);
    }
    control->waiting = NULL;
}

// Ends the beginning of an operation: c waits for it if it was accepted.
static const char *begun(struct client *c, int r)
{
    if (r < 0) {
        return r == -EBUSY ? "another operation is running: try again when it is done"
                           : "the suite is being stopped";
    }
    c->control->waiting = c;
    return NULL;
}

static const char *command_scale(struct client *c, yyjson_val *request)
{
    int64_t counts[SERVICES];
    yyjson_val *wanted = yyjson_obj_get(request, "services"), *key;
    yyjson_obj_iter i;
    if (yyjson_obj_size(wanted) == 0 || !yyjson_obj_iter_init(wanted, &i)) {
        return "scale needs \"services\": an object of service and number";
    }
    for (int s = 0; s < SERVICES; s++) {
        counts[s] = -1;
    }
    while ((key = yyjson_obj_iter_next(&i))) {
        int s = services_find(yyjson_get_str(key));
        yyjson_val *n = yyjson_obj_iter_get_val(key);
        if (s < 0) {
            return "unknown service: allowed are users, orders, search and gateway";
        }
        if (!yyjson_is_uint(n) || yyjson_get_uint(n) > (uint64_t)services[s].max ||
            yyjson_get_uint(n) < (uint64_t)services[s].min) {
            return services[s].min == 1 ? "there is always one queue" : "the number must be 0..64";
        }
        counts[s] = (int64_t)yyjson_get_uint(n);
    }
    return begun(c, fleet_scale(c->control->options.fleet, counts, on_done, c->control));
}

static const char *command_restart(struct client *c, yyjson_val *request)
{
    yyjson_val *name = yyjson_obj_get(request, "service");
    int s = yyjson_is_str(name) ? services_find(yyjson_get_str(name)) : -1;
    if (name && s < 0) {
        return "unknown service: allowed are queue, users, orders, search and gateway";
    }
    return begun(c, fleet_restart(c->control->options.fleet, s, on_done, c->control));
}

static void on_levels(struct str json, void *data)
{
    struct control *control = data;
    struct client *c = control->waiting_levels;
    control->waiting_levels = NULL;
    if (c) {
        buf_append_z(&c->out, "{\"ok\":true,");
        buf_append_str(&c->out, json);
        buf_append_char(&c->out, '}');
        reply(c);
    }
}

static const char *command_log_level(struct client *c, yyjson_val *request)
{
    struct control *control = c->control;
    yyjson_val *of = yyjson_obj_get(request, "of"), *level = yyjson_obj_get(request, "level");
    if ((of && !yyjson_is_str(of)) || (level && !yyjson_is_str(level))) {
        return "\"of\" and \"level\" are strings";
    }
    if (log_levels_ask(control->levels, yyjson_get_str(of), yyjson_get_str(level), on_levels,
                       control, control->error) < 0) {
        return control->error;
    }
    control->waiting_levels = c;
    return NULL;
}

static const char *command_down(struct client *c, yyjson_val *request)
{
    (void)request;
    c->stays = true;
    reply_result(c, NULL);
    c->control->options.on_down(c->control->options.data);
    return NULL;
}

static void handle_request(struct client *c)
{
    static const struct {
        const char *name;
        const char *(*run)(struct client *c, yyjson_val *request);
    } commands[] = {
        { "status", command_status },       { "alerts", command_alerts },
        { "scale", command_scale },         { "restart", command_restart },
        { "log-level", command_log_level }, { "down", command_down },
    };
    const char *error = "expected a JSON object with \"command\": status, alerts, scale, restart, "
                        "log-level or down";
    yyjson_doc *doc = yyjson_read(c->in.data, c->in.len, 0);
    yyjson_val *request = yyjson_doc_get_root(doc), *name = yyjson_obj_get(request, "command");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (yyjson_equals_str(name, commands[i].name)) {
            error = commands[i].run(c, request);
            break;
        }
    }
    yyjson_doc_free(doc);
    if (error) {
        reply_result(c, error);
    }
}

// --- Reading

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct client *c = handle->data;
    (void)suggested;
    char *p = buf_reserve(&c->in, 512);
    *ret_buf = uv_buf_init(p, p ? 512 : 0); // an empty one ends the connection by UV_ENOBUFS
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct client *c = stream->data;
    if (n < 0) {
        close_client(c);
        return;
    }
    c->in.len += (size_t)n;
    if (n == 0 || !memchr(bytes->base, '\n', (size_t)n) ||
        !uv_is_active((uv_handle_t *)&c->timer)) {
        return; // also what follows a request
    }
    (void)uv_timer_stop(&c->timer); // cannot fail
    handle_request(c);
}

static void on_request_over(uv_timer_t *timer)
{
    close_client(timer->data);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *control = listener->data;
    struct client *c = status < 0 ? NULL : calloc(1, sizeof *c);
    if (!c) {
        return; // the connection waits in the backlog until the next one
    }
    c->control = control;
    buf_init(&c->in, CONTROL_REQUEST_BYTES);
    buf_init(&c->out, CONTROL_REPLY_BYTES);
    int r = uv_pipe_init(listener->loop, &c->pipe, 0);
    r = r < 0 ? r : uv_timer_init(listener->loop, &c->timer);
    assert(r == 0); // neither of them allocates
    c->pipe.data = c->timer.data = c;
    c->open_handles = 2;
    c->next = control->clients;
    control->clients = c;
    control->n_clients++;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) < 0 ||
        control->n_clients > CONTROL_MAX_CLIENTS ||
        uv_timer_start(&c->timer, on_request_over, CONTROL_REQUEST_MS, 0) < 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) < 0) {
        close_client(c);
    }
}

// --- Opening and closing

int control_open(uv_loop_t *loop, const struct control_options *options,
                 struct control **ret_control)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control) {
        return -ENOMEM;
    }
    control->options = *options;
    rundir_path(options->home, CONTROL_SOCKET, control->path);
    (void)unlink(control->path); // of an earlier supervisor: we hold the lock
    int r = log_levels_open(loop, options->fleet, options->home, &control->levels);
    r = r < 0 ? r : uv_pipe_init(loop, &control->listener, 0);
    r = r < 0 ? r : uv_pipe_bind(&control->listener, control->path);
    if (r == 0 && chmod(control->path, 0600) < 0) {
        r = -errno;
    }
    control->listener.data = control;
    *ret_control = control; // on failure the program ends
    return r < 0 ? r
                 : uv_listen((uv_stream_t *)&control->listener, CONTROL_MAX_CLIENTS, on_connection);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control *control = handle->data;
    control->closed = true;
    free_control_if_done(control);
}

void control_close(struct control **p)
{
    struct control *control = *p;
    *p = NULL;
    log_levels_close(&control->levels);
    for (struct client *c = control->clients; c; c = c->next) {
        close_client(c);
    }
    uv_close((uv_handle_t *)&control->listener, on_listener_closed); // libuv removes the path
}
