// SPDX-License-Identifier: MIT
#include "deploy/oversight.h"

#include "common/admin.h"
#include "common/admin_pages.h"
#include "common/log.h"
#include "common/log_metrics.h"
#include "common/loop_lag.h"
#include "common/metrics.h"
#include "deploy/alert_delivery.h"
#include "deploy/alert_watch.h"
#include "deploy/autoscaler.h"
#include "deploy/rundir.h"
#include "deploy/survey.h"

#include <errno.h>
#include <stdlib.h>

#define ADDRESSES_BYTES 512

// Processes of one service, by what they do.
enum { READY, NOT_READY, CRASH_LOOP, KINDS };

struct oversight {
    struct oversight_options options;
    struct admin *admin;
    struct survey *survey;
    struct autoscaler *autoscaler;
    struct alert_watch *alerts;
    struct loop_lag *lag;
    bool ready;
    bool stopping; // what is not there any more is not missing
    char labels[SERVICES][KINDS][80], service_labels[SERVICES][40];
    struct metric processes[SERVICES][KINDS], exits[SERVICES];
    struct metric build, rounds, failures;
};

// --- Pages

static int write_readyz(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    const struct oversight *o = data;
    (void)query;
    (void)ret_media_type;
    buf_append_z(body, o->ready ? "ready\n" : "not ready: see `sluice status`\n");
    return o->ready ? 200 : 503;
}

static int write_alerts(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    const struct oversight *o = data;
    (void)query;
    *ret_media_type = "application/json";
    buf_append_char(body, '{');
    oversight_alerts(o, body);
    buf_append_char(body, '}');
    return 200;
}

static int open_admin(struct oversight *o, uv_loop_t *loop)
{
    char path[RUNDIR_PATH_SIZE], addresses[ADDRESSES_BYTES];
    const char *more = o->options.config->supervisor_admin;
    rundir_path(o->options.home, OVERSIGHT_SOCKET, path);
    snprintf(addresses, sizeof addresses, "unix:%s%s%s", path, more && *more ? "," : "",
             more ? more : "");
    int r = admin_open(loop, addresses, &o->admin);
    r = r < 0 ? r : admin_pages_add(o->admin);
    r = r < 0 ? r : admin_page(o->admin, "/readyz", write_readyz, o);
    r = r < 0 ? r : admin_page(o->admin, "/alerts", write_alerts, o);
    if (r < 0) {
        log_error("SLUICE_SUPERVISOR_ADMIN is \"%s\", which cannot be used with %s: %s; allowed: "
                  "HOST:PORT that nobody listens at",
                  more ? more : "", path, strerror(-r));
    }
    return r;
}

// --- Metrics

static int64_t read_rounds(void *data)
{
    return survey_rounds(data);
}

static int64_t read_failures(void *data)
{
    return survey_failures(data);
}

static void register_metrics(struct oversight *o)
{
    static const char *const states[KINDS] = { "ready", "not-ready", "crash-loop" };
    o->build = (struct metric)METRIC_GAUGE_INIT("sluice_build_info",
                                                "The running version, as a label; always 1.",
                                                "version=\"" SLUICE_VERSION "\"");
    metric_set(&o->build, 1);
    o->rounds = (struct metric)METRIC_COUNTER_INIT(
        "sluice_supervisor_surveys_total", "Times that all processes were looked at.", NULL);
    o->failures = (struct metric)METRIC_COUNTER_INIT("sluice_supervisor_survey_failures_total",
                                                     "Admin pages that were not answered.", NULL);
    o->rounds.read = read_rounds;
    o->failures.read = read_failures;
    o->rounds.data = o->failures.data = o->survey;
    log_metrics_open();
    metrics_register(&o->build);
    metrics_register(&o->rounds);
    metrics_register(&o->failures);
    for (int s = 0; s < SERVICES; s++) {
        for (int k = 0; k < KINDS; k++) {
            snprintf(o->labels[s][k], sizeof o->labels[s][k], "service=\"%s\",state=\"%s\"",
                     services[s].name, states[k]);
            o->processes[s][k] = (struct metric)METRIC_GAUGE_INIT(
                "sluice_supervisor_processes",
                "Processes that are wanted, by whether they are ready; those that keep dying are "
                "counted once more.",
                o->labels[s][k]);
            metrics_register(&o->processes[s][k]);
        }
        snprintf(o->service_labels[s], sizeof o->service_labels[s], "service=\"%s\"",
                 services[s].name);
        o->exits[s] = (struct metric)METRIC_COUNTER_INIT(
            "sluice_supervisor_unexpected_exits_total",
            "Times that a process ended though nobody had asked for it, or could not be started.",
            o->service_labels[s]);
        metrics_register(&o->exits[s]);
    }
}

static void unregister_metrics(struct oversight *o)
{
    log_metrics_close();
    metrics_unregister(&o->build);
    metrics_unregister(&o->rounds);
    metrics_unregister(&o->failures);
    for (int s = 0; s < SERVICES; s++) {
        for (int k = 0; k < KINDS; k++) {
            metrics_unregister(&o->processes[s][k]);
        }
        metrics_unregister(&o->exits[s]);
    }
}

static void count_member(const struct fleet_member *m, void *data)
{
    struct oversight *o = data;
    struct metric *kinds = o->processes[m->service];
    if (m->wanted) {
        metric_add(&kinds[m->ready ? READY : NOT_READY], 1);
        metric_add(&kinds[CRASH_LOOP], m->crash_loop);
    }
}

// --- News

static void on_round(void *data)
{
    struct oversight *o = data;
    log_tell_suppressed();
    if (o->stopping) {
        return;
    }
    for (int s = 0; s < SERVICES; s++) {
        for (int k = 0; k < KINDS; k++) {
            metric_set(&o->processes[s][k], 0);
        }
        metric_set(&o->exits[s], fleet_unexpected_exits(o->options.fleet, s));
    }
    fleet_each(o->options.fleet, count_member, o);
    autoscaler_round(o->autoscaler);
    alert_watch_round(o->alerts);
}

void oversight_wanted(struct oversight *o, int service)
{
    if (o) {
        autoscaler_wanted(o->autoscaler, service);
    }
}

void oversight_started(struct oversight *o, int service)
{
    if (o) {
        autoscaler_started(o->autoscaler, service);
    }
}

void oversight_ready(struct oversight *o)
{
    if (o) {
        o->ready = true;
    }
}

void oversight_stop(struct oversight *o)
{
    if (o) {
        o->ready = false;
        o->stopping = true;
    }
}

void oversight_finish(struct oversight *o, bool at_once, void (*done)(void *data), void *data)
{
    alert_watch_finish(o->alerts, at_once ? 0 : ALERT_DELIVERY_LAST_MS, done, data);
}

void oversight_status(const struct oversight *o, struct buf *out)
{
    autoscaler_status(o->autoscaler, out);
    buf_printf(out, ",\"alerts_firing\":%zu", alert_watch_firing(o->alerts));
}

void oversight_alerts(const struct oversight *o, struct buf *out)
{
    alert_watch_list(o->alerts, out);
}

// --- Opening and closing

static void close_parts(struct oversight *o)
{
    loop_lag_close(&o->lag);
    alert_watch_close(&o->alerts);
    autoscaler_close(&o->autoscaler);
    survey_close(&o->survey);
    admin_close(&o->admin);
}

static int open_parts(struct oversight *o, uv_loop_t *loop)
{
    const struct oversight_options *options = &o->options;
    struct survey_options survey = {
        .fleet = options->fleet, .home = options->home, .on_round = on_round, .data = o
    };
    int r = survey_open(loop, &survey, &o->survey);
    if (r < 0) {
        return r;
    }
    struct autoscaler_options scaling = { .fleet = options->fleet,
                                          .survey = o->survey,
                                          .home = options->home,
                                          .path = options->config->scaling,
                                          .idle_interval_ms = options->config->survey_ms };
    r = autoscaler_open(loop, &scaling, &o->autoscaler);
    if (r < 0) {
        return r;
    }
    struct alert_watch_options alerts = { .fleet = options->fleet,
                                          .survey = o->survey,
                                          .autoscaler = o->autoscaler,
                                          .home = options->home,
                                          .config = options->config,
                                          .log_writer = options->log_writer };
    r = alert_watch_open(loop, &alerts, &o->alerts);
    return r < 0 ? r : loop_lag_open(loop, &o->lag);
}

int oversight_open(uv_loop_t *loop, const struct oversight_options *options,
                   struct oversight **ret_oversight)
{
    struct oversight *o = calloc(1, sizeof *o);
    if (!o) {
        return -ENOMEM;
    }
    o->options = *options;
    int r = open_parts(o, loop);
    if (r < 0) {
        close_parts(o);
        free(o);
        return r;
    }
    register_metrics(o);
    *ret_oversight = o;
    autoscaler_started(o->autoscaler, SERVICES_GATEWAY); // those of the beginning
    return open_admin(o, loop);
}

void oversight_close(struct oversight **oversight)
{
    struct oversight *o = *oversight;
    *oversight = NULL;
    if (o) {
        unregister_metrics(o);
        close_parts(o);
        free(o);
    }
}
