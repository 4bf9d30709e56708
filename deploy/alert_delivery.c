// SPDX-License-Identifier: MIT
// What is secret (the webhook's address may have a token in it) goes to curl by its standard input:
// arguments can be seen by every process of the machine.
#include "deploy/alert_delivery.h"

#include "common/clock.h"
#include "common/log.h"
#include "deploy/runner.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST_SIZE 256
#define LINK_BYTES 1200

enum target { WEBHOOK, COMMAND, TARGETS };

static const char *const target_names[TARGETS] = { "SLUICE_ALERT_WEBHOOK", "SLUICE_ALERT_COMMAND" };

// What is to be told.
struct item {
    struct alert alert;
    bool firing;
    int64_t at_ms;     // wall
    unsigned targets;  // bits of those that are still to be told
    unsigned attempts; // at the next of them
};

struct alert_delivery {
    struct alert_delivery_options options;
    char host[HOST_SIZE];
    struct item queue[ALERT_DELIVERY_QUEUE];
    size_t n;
    bool running;  // the first of the queue is being told
    bool replaced; // it was pushed out meanwhile
    enum target target;
    struct runner *runner;
    uv_timer_t retry;
    uv_timer_t last; // until what is still queued is lost
    int open_handles;
    void (*on_finished)(void *data); // NULL: no end is near
    void *finished_data;
    int64_t counts[ALERT_DELIVERY_RESULTS];
};

static void next(struct alert_delivery *d);

// --- What is told

void alert_delivery_runbook(struct buf *out, const char *runbook, enum alert_condition condition)
{
    buf_append_z(out, runbook);
    buf_append_char(out, '#');
    for (const char *p = alert_name(condition); *p; p++) {
        buf_append_char(out, (char)tolower((unsigned char)*p)); // as renderers of Markdown do it
    }
}

static void append_member(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s\"%s\":\"", b->len > 1 ? "," : "", name);
    buf_append_json(b, str_of(value));
    buf_append_char(b, '"');
}

// The texts of an item that both ways need.
struct texts {
    char since[TIMESTAMP_SIZE], at[TIMESTAMP_SIZE], value[24], summary[ALERTS_TEXT];
    char runbook[LINK_BYTES];
};

static void make_texts(const struct alert_delivery *d, const struct item *i, struct texts *t)
{
    struct buf link;
    buf_init(&link, LINK_BYTES - 1);
    alert_delivery_runbook(&link, d->options.runbook, i->alert.condition);
    snprintf(t->runbook, sizeof t->runbook, "%.*s", STR_ARG(buf_str(&link)));
    buf_fini(&link);
    (void)timestamp_format(i->alert.since_ms, t->since);
    (void)timestamp_format(i->at_ms, t->at);
    snprintf(t->value, sizeof t->value, "%" PRId64, i->alert.value);
    alert_summary(&i->alert, t->summary);
}

static const char *status_of(const struct item *i)
{
    return i->firing ? "firing" : "resolved";
}

static void append_json(const struct alert_delivery *d, const struct item *i, const struct texts *t,
                        struct buf *b)
{
    buf_append_z(b, "{");
    append_member(b, "status", status_of(i));
    append_member(b, "alert", alert_name(i->alert.condition));
    append_member(b, "severity", alert_severity(i->alert.condition));
    append_member(b, "subject", i->alert.subject);
    append_member(b, "since", t->since);
    append_member(b, "at", t->at);
    append_member(b, "unit", alert_unit(i->alert.condition));
    append_member(b, "summary", t->summary);
    append_member(b, "runbook", t->runbook);
    append_member(b, "host", d->host);
    append_member(b, "home", d->options.home);
    buf_printf(b, ",\"version\":1,\"value\":%s}", t->value);
}

// A value of curl's configuration file, within its quotes.
static void append_quoted(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\') {
            buf_append_char(b, '\\');
        }
        buf_append_char(b, s.p[i]);
    }
}

static int post(struct alert_delivery *d, struct str json)
{
    static const char *const arguments[] = { "curl", "--disable", "--config", "-", NULL };
    static const char *const environment[] = { NULL };
    struct buf config;
    buf_init(&config, 4 * ALERT_DELIVERY_BYTES);
    buf_append_z(&config, "silent\nshow-error\nfail\nmax-time = 10\nproto = \"=http,https\"\n"
                          "output = \"/dev/null\"\n"
                          "header = \"Content-Type: application/json\"\nurl = \"");
    append_quoted(&config, str_of(d->options.webhook));
    buf_append_z(&config, "\"\ndata-raw = \"");
    append_quoted(&config, json);
    buf_append_z(&config, "\"\n");
    int r = buf_error(&config);
    r = r < 0 ? r : runner_start(d->runner, arguments, environment, buf_str(&config));
    buf_fini(&config);
    return r;
}

static int run_command(struct alert_delivery *d, const struct item *i, const struct texts *t,
                       struct str json)
{
    const char *const arguments[] = { d->options.command, NULL };
    const char *const environment[] = { "SLUICE_ALERT_STATUS",
                                        status_of(i),
                                        "SLUICE_ALERT_NAME",
                                        alert_name(i->alert.condition),
                                        "SLUICE_ALERT_SEVERITY",
                                        alert_severity(i->alert.condition),
                                        "SLUICE_ALERT_SUBJECT",
                                        i->alert.subject,
                                        "SLUICE_ALERT_SINCE",
                                        t->since,
                                        "SLUICE_ALERT_VALUE",
                                        t->value,
                                        "SLUICE_ALERT_SUMMARY",
                                        t->summary,
                                        "SLUICE_ALERT_RUNBOOK",
                                        t->runbook,
                                        NULL };
    return runner_start(d->runner, arguments, environment, json);
}

static int start(struct alert_delivery *d, const struct item *i)
{
    struct buf json;
    struct texts t;
    buf_init(&json, ALERT_DELIVERY_BYTES);
    make_texts(d, i, &t);
    append_json(d, i, &t, &json);
    int r = buf_error(&json);
    if (r == 0) {
        r = d->target == WEBHOOK ? post(d, buf_str(&json)) : run_command(d, i, &t, buf_str(&json));
    }
    buf_fini(&json);
    return r;
}

// --- The queue

static void remove_first(struct alert_delivery *d)
{
    assert(d->n > 0);
    d->n--;
    memmove(&d->queue[0], &d->queue[1], d->n * sizeof d->queue[0]);
}

static void on_retry(uv_timer_t *timer)
{
    next(timer->data);
}

// The first item's target was told, or will never be.
static void settle(struct alert_delivery *d, enum alert_delivery_result result)
{
    struct item *i = &d->queue[0];
    d->counts[result]++;
    i->targets &= ~(1u << d->target);
    i->attempts = 0;
    if (i->targets == 0) {
        remove_first(d);
    }
    next(d);
}

static void fail(struct alert_delivery *d, int status)
{
    struct item *i = &d->queue[0];
    if (++i->attempts >= ALERT_DELIVERY_ATTEMPTS || d->on_finished) {
        log_error("%s: giving up to tell of %s: status %d", target_names[d->target],
                  alert_name(i->alert.condition), status);
        settle(d, ALERT_FAILED);
        return;
    }
    uint64_t delay_ms = (uint64_t)ALERT_DELIVERY_RETRY_MS << (i->attempts - 1);
    log_warn("%s: cannot tell of %s: status %d; trying again in %d ms", target_names[d->target],
             alert_name(i->alert.condition), status, (int)delay_ms);
    (void)uv_timer_start(&d->retry, on_retry, delay_ms, 0); // fails only for a closing handle
}

static void on_done(int status, void *data)
{
    struct alert_delivery *d = data;
    d->running = false;
    if (d->replaced) {
        d->replaced = false;
        next(d);
    } else if (status == 0) {
        settle(d, ALERT_DELIVERED);
    } else {
        fail(d, status);
    }
}

// The last thing that a caller does: the delivery may be closed by it.
static void finished(struct alert_delivery *d)
{
    void (*on_finished)(void *data) = d->on_finished;
    d->on_finished = NULL;
    (void)uv_timer_stop(&d->last); // cannot fail
    if (on_finished) {
        on_finished(d->finished_data);
    }
}

static void next(struct alert_delivery *d)
{
    if (d->running || uv_is_active((uv_handle_t *)&d->retry)) {
        return;
    }
    if (d->n == 0) {
        finished(d);
        return;
    }
    d->target = d->queue[0].targets & 1u << WEBHOOK ? WEBHOOK : COMMAND;
    int r = start(d, &d->queue[0]);
    if (r < 0) {
        fail(d, r);
        return;
    }
    d->running = true;
}

void alert_delivery_send(struct alert_delivery *d, const struct alert *alert, bool firing)
{
    unsigned targets =
        (d->options.webhook ? 1u << WEBHOOK : 0) | (d->options.command ? 1u << COMMAND : 0);
    if (!targets) {
        return;
    }
    if (d->n == ALERT_DELIVERY_QUEUE) {
        d->counts[ALERT_OUTRUN]++;
        d->replaced = d->running;
        (void)uv_timer_stop(&d->retry); // it was the first one's
        remove_first(d);
    }
    d->queue[d->n++] = (struct item){
        .alert = *alert, .firing = firing, .at_ms = clock_wall_ms(), .targets = targets
    };
    next(d);
}

int64_t alert_delivery_count(const struct alert_delivery *d, enum alert_delivery_result result)
{
    return d->counts[result];
}

// --- The end

static void lose(struct alert_delivery *d, const struct item *i)
{
    for (int t = 0; t < TARGETS; t++) {
        if (i->targets & 1u << t) {
            d->counts[ALERT_FAILED]++;
            log_error("%s: lost, because the supervisor ends: %s of %s is %s", target_names[t],
                      alert_name(i->alert.condition), i->alert.subject, status_of(i));
        }
    }
}

static void on_last(uv_timer_t *timer)
{
    struct alert_delivery *d = timer->data;
    for (size_t i = 0; i < d->n; i++) {
        lose(d, &d->queue[i]);
    }
    d->n = 0;
    d->replaced = d->running; // what runs tells of nothing that is queued
    finished(d);
}

void alert_delivery_finish(struct alert_delivery *d, int64_t limit_ms, void (*done)(void *data),
                           void *data)
{
    assert(done && limit_ms >= 0);
    d->on_finished = done;
    d->finished_data = data;
    if (limit_ms == 0) {
        on_last(&d->last);
        return;
    }
    (void)uv_timer_stop(&d->retry); // no time for pauses
    (void)uv_timer_start(&d->last, on_last, (uint64_t)limit_ms,
                         0); // fails only for a closing handle
    next(d);
}

// --- Opening and closing

int alert_delivery_open(uv_loop_t *loop, const struct alert_delivery_options *options,
                        struct alert_delivery **ret_delivery)
{
    struct alert_delivery *d = calloc(1, sizeof *d);
    if (!d) {
        return -ENOMEM;
    }
    d->options = *options;
    if (gethostname(d->host, sizeof d->host - 1) < 0) {
        d->host[0] = '\0';
    }
    (void)uv_timer_init(loop, &d->retry); // cannot fail
    (void)uv_timer_init(loop, &d->last);  // likewise
    d->retry.data = d->last.data = d;
    d->open_handles = 2;
    *ret_delivery = d; // on failure the program ends
    return runner_open(loop, on_done, d, &d->runner);
}

static void on_closed(uv_handle_t *handle)
{
    struct alert_delivery *d = handle->data;
    if (--d->open_handles == 0) {
        free(d);
    }
}

void alert_delivery_close(struct alert_delivery **delivery)
{
    struct alert_delivery *d = *delivery;
    *delivery = NULL;
    if (d) {
        runner_close(&d->runner);
        uv_close((uv_handle_t *)&d->retry, on_closed);
        uv_close((uv_handle_t *)&d->last, on_closed);
    }
}
