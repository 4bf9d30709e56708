// SPDX-License-Identifier: MIT
#include "deploy/log_levels.h"

#include "common/address.h"
#include "common/admin_fetch.h"
#include "deploy/rundir.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define NAME_SIZE 32
#define ANSWER_BYTES 512                // a level, or a refusal
#define JSON_BYTES (FLEET_SLOTS * 1024) // of all processes there can be
#define ALL "all"
#define SUPERVISOR "supervisor"

struct target {
    struct log_levels *levels;
    char name[NAME_SIZE];
    struct address address;
    struct admin_fetch *fetch; // NULL: it is not on its way
    bool answered;
    int status; // of the last answer
    char text[ANSWER_BYTES];
};

struct log_levels {
    struct fleet *fleet;
    const char *home;
    uv_timer_t timer; // to ask again
    const char *of;   // of the question that is being asked
    int of_service;   // -1: not one
    int level;        // to set; -1: none
    char path[48];
    bool busy;
    bool with_supervisor;
    uint64_t deadline_ms; // loop time
    void (*done)(struct str json, void *data);
    void *data;
    size_t n_targets, on_their_way;
    struct target targets[FLEET_SLOTS];
};

// --- The answers

static void append_supervisor(const struct log_levels *l, struct buf *out)
{
    if (l->with_supervisor) {
        buf_printf(out, "{\"instance\":\"" SUPERVISOR "\",\"level\":\"%s\"}%s",
                   log_level_name(log_level()), l->n_targets ? "," : "");
    }
}

static void append_target(const struct target *t, struct buf *out)
{
    buf_printf(out, "{\"instance\":\"%s\",\"%s\":\"", t->name,
               t->status == 200 ? "level" : "error");
    if (t->status < 0) {
        buf_printf(out, "does not answer: %s", strerror(-t->status));
    } else {
        buf_append_json(out, str_of(t->text));
    }
    buf_append_z(out, "\"}");
}

static void finish(struct log_levels *l)
{
    struct buf json;
    buf_init(&json, JSON_BYTES);
    buf_append_z(&json, "\"levels\":[");
    append_supervisor(l, &json);
    for (size_t i = 0; i < l->n_targets; i++) {
        buf_append_z(&json, i ? "," : "");
        append_target(&l->targets[i], &json);
    }
    buf_append_char(&json, ']');
    l->busy = false;
    l->done(buf_ok(&json) ? buf_str(&json) : STR("\"levels\":[]"), l->data);
    buf_fini(&json);
}

static void ask_next(struct log_levels *l);

static void on_again(uv_timer_t *timer)
{
    ask_next(timer->data);
}

static void on_answer(int status, struct str body, void *data)
{
    struct target *t = data;
    t->fetch = NULL;
    t->levels->on_their_way--;
    t->status = status;
    while (body.n > 0 && body.p[body.n - 1] == '\n') {
        body.n--;
    }
    snprintf(t->text, sizeof t->text, "%.*s", STR_ARG(body));
    // Who refuses will do so again; who is not there may be starting.
    t->answered = status > 0;
    if (t->answered) {
        ask_next(t->levels);
    } else if (!uv_is_active((uv_handle_t *)&t->levels->timer)) {
        int r = uv_timer_start(&t->levels->timer, on_again, LOG_LEVELS_AGAIN_MS, 0);
        assert(r == 0); // fails only for a closing handle
        (void)r;
    }
}

// --- The questions

static void ask(struct log_levels *l, struct target *t)
{
    struct admin_fetch_options options = { .loop = l->timer.loop,
                                           .to = &t->address,
                                           .method = l->level < 0 ? "GET" : "PUT",
                                           .path = l->path,
                                           .accept = "text/plain",
                                           .timeout_ms = LOG_LEVELS_FETCH_MS,
                                           .max_bytes = ANSWER_BYTES - 1,
                                           .on_done = on_answer,
                                           .data = t };
    int r = admin_fetch(&options, &t->fetch);
    t->status = r;
    t->answered = r < 0; // no memory: not to be asked for again
    l->on_their_way += r == 0;
}

static void ask_next(struct log_levels *l)
{
    bool open = false;
    for (size_t i = 0; i < l->n_targets; i++) {
        struct target *t = &l->targets[i];
        bool late = uv_now(l->timer.loop) >= l->deadline_ms;
        if (!t->answered && !t->fetch && !late && l->on_their_way < LOG_LEVELS_PARALLEL) {
            ask(l, t);
        }
        open = open || t->fetch || (!t->answered && !late);
    }
    if (!open) {
        (void)uv_timer_stop(&l->timer); // cannot fail
        finish(l);
    }
}

static void add_target(const struct fleet_member *m, void *data)
{
    struct log_levels *l = data;
    bool wanted =
        strcmp(l->of, ALL) == 0 || l->of_service == m->service || strcmp(l->of, m->name) == 0;
    if (!wanted) {
        return;
    }
    if (l->level >= 0 && strcmp(l->of, m->name) == 0) {
        fleet_set_slot_log_level(l->fleet, m->slot, (enum log_level)l->level);
    }
    struct target *t = &l->targets[l->n_targets];
    *t = (struct target){ .levels = l, .status = -ENOENT };
    snprintf(t->name, sizeof t->name, "%s", m->name);
    // A path that does not fit is none that the process could listen at, either.
    l->n_targets += rundir_admin_address(l->home, m->name, &t->address) == 0;
}

struct names {
    char *text;
    size_t n;
};

static void add_name(const struct fleet_member *m, void *data)
{
    struct names *names = data;
    int n = snprintf(names->text + names->n, LOG_LEVELS_ERROR_BYTES - names->n, ", %s", m->name);
    names->n += n > 0 && names->n + (size_t)n < LOG_LEVELS_ERROR_BYTES ? (size_t)n : 0;
}

static int refuse_name(struct log_levels *l, const char *of, char error[LOG_LEVELS_ERROR_BYTES])
{
    int n =
        snprintf(error, LOG_LEVELS_ERROR_BYTES,
                 "there is no service or instance \"%.64s\"; there are " ALL ", " SUPERVISOR, of);
    struct names names = { error, (size_t)n };
    for (int s = 0; s < SERVICES; s++) {
        add_name(&(struct fleet_member){ .name = services[s].name }, &names);
    }
    fleet_each(l->fleet, add_name, &names);
    return -EINVAL;
}

// Has the fleet remember what is set of whole services.
static void remember(struct log_levels *l)
{
    for (int s = 0; s < SERVICES; s++) {
        if (strcmp(l->of, ALL) == 0 || s == l->of_service) {
            fleet_set_log_level(l->fleet, s, (enum log_level)l->level);
        }
    }
}

int log_levels_ask(struct log_levels *l, const char *of, const char *level,
                   void (*done)(struct str json, void *data), void *data,
                   char error[LOG_LEVELS_ERROR_BYTES])
{
    if (l->busy) {
        snprintf(error, LOG_LEVELS_ERROR_BYTES,
                 "log levels are being asked for already: try again when that is done");
        return -EBUSY;
    }
    l->level = level ? log_level_parse(str_of(level)) : -1;
    if (level && l->level < 0) {
        snprintf(error, LOG_LEVELS_ERROR_BYTES,
                 "\"%.64s\" is no log level; allowed are " LOG_LEVEL_NAMES, level);
        return -EINVAL;
    }
    l->of = of ? of : ALL;
    l->of_service = services_find(l->of);
    l->with_supervisor = strcmp(l->of, ALL) == 0 || strcmp(l->of, SUPERVISOR) == 0;
    l->n_targets = 0;
    fleet_each(l->fleet, add_target, l);
    if (l->n_targets == 0 && l->of_service < 0 && !l->with_supervisor) {
        return refuse_name(l, l->of, error);
    }
    if (l->level >= 0) {
        snprintf(l->path, sizeof l->path, "/log-level?level=%s",
                 log_level_name((enum log_level)l->level));
        remember(l);
        log_info("the log level of %s becomes %s, as asked by `sluice log-level`", l->of,
                 log_level_name((enum log_level)l->level));
    } else {
        snprintf(l->path, sizeof l->path, "/log-level");
    }
    if (l->level >= 0 && l->with_supervisor) {
        log_set_level((enum log_level)l->level);
    }
    l->of = NULL;
    l->busy = true;
    l->done = done;
    l->data = data;
    l->deadline_ms = uv_now(l->timer.loop) + LOG_LEVELS_WAIT_MS;
    // Not from within, even if there is nobody to ask. Fails only for a closing handle.
    (void)uv_timer_start(&l->timer, on_again, 0, 0);
    return 0;
}

// --- Opening and closing

int log_levels_open(uv_loop_t *loop, struct fleet *fleet, const char *home,
                    struct log_levels **ret_levels)
{
    struct log_levels *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->fleet = fleet;
    l->home = home;
    (void)uv_timer_init(loop, &l->timer); // cannot fail
    l->timer.data = l;
    *ret_levels = l;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void log_levels_close(struct log_levels **levels)
{
    struct log_levels *l = *levels;
    *levels = NULL;
    if (!l) {
        return;
    }
    for (size_t i = 0; i < l->n_targets; i++) {
        admin_fetch_cancel(&l->targets[i].fetch);
    }
    uv_close((uv_handle_t *)&l->timer, on_closed);
}
