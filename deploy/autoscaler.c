// SPDX-License-Identifier: MIT
#include "deploy/autoscaler.h"

#include "common/clock.h"
#include "common/home.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/watched_file.h"
#include "deploy/rundir.h"
#include "deploy/scaling_file.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

// What is known of one service.
struct scaled {
    struct scaling_state state;
    struct scaling_decision last;   // of the last survey
    struct scaling_decision change; // the last one that changed the number
    int64_t from;                   // of that change
    int64_t changed_wall_ms;        // 0: there was none
    bool demanded;                  // and not yet decided about
    bool orphaned;                  // without a process by a rule that is no more
    char label[64];
    char labels[SCALING_REASON_COUNT][96];
    struct metric decisions[SCALING_REASON_COUNT];
    struct metric wanted, at_max, min, max;
};

struct autoscaler {
    struct autoscaler_options options;
    char path[RUNDIR_PATH_SIZE + 1024];
    struct watched_file file;
    bool stale; // the file has mistakes, and older rules are in use
    struct scaling_rules rules;
    struct scaled services[SERVICES];
    struct metric used, refused, stale_gauge;
    uv_timer_t look;
    uv_timer_t soon; // a decision is due
    int open_handles;
};

// --- Metrics

static void add(struct metric *m, enum metric_type type, const char *name, const char *help,
                const char *labels)
{
    *m = (struct metric){ .type = type, .name = name, .help = help, .labels = labels };
    metrics_register(m);
}

static bool changes(enum scaling_reason reason)
{
    return reason != SCALING_STEADY && reason != SCALING_UNKNOWN && reason != SCALING_COOLING &&
           reason != SCALING_AT_MAX;
}

static void register_service(struct scaled *s, const char *name)
{
    snprintf(s->label, sizeof s->label, "service=\"%s\"", name);
    add(&s->wanted, METRIC_GAUGE, "sluice_supervisor_processes_wanted",
        "Processes that there should be.", s->label);
    add(&s->at_max, METRIC_GAUGE, "sluice_supervisor_scaling_at_maximum",
        "1 while a service needs more processes than its rule allows.", s->label);
    add(&s->min, METRIC_GAUGE, "sluice_supervisor_scaling_min_processes",
        "Processes that the rule wants at least.", s->label);
    add(&s->max, METRIC_GAUGE, "sluice_supervisor_scaling_max_processes",
        "Processes that the rule allows at most; 0: there is no rule.", s->label);
    for (int i = 0; i < SCALING_REASON_COUNT; i++) {
        if (changes((enum scaling_reason)i)) {
            snprintf(s->labels[i], sizeof s->labels[i], "%s,reason=\"%s\"", s->label,
                     scaling_reason_name((enum scaling_reason)i));
            add(&s->decisions[i], METRIC_COUNTER, "sluice_supervisor_scaling_decisions_total",
                "Changes of the number of processes by the rules, by reason.", s->labels[i]);
        }
    }
}

static void register_metrics(struct autoscaler *a)
{
    static const char loads[] = "Files with scaling rules read, by what became of them.";
    add(&a->used, METRIC_COUNTER, "sluice_supervisor_scaling_loads_total", loads,
        "result=\"used\"");
    add(&a->refused, METRIC_COUNTER, "sluice_supervisor_scaling_loads_total", loads,
        "result=\"refused\"");
    add(&a->stale_gauge, METRIC_GAUGE, "sluice_supervisor_scaling_stale",
        "1 when the file with the scaling rules has mistakes and older rules are in use.", NULL);
    for (int i = 0; i < SERVICES; i++) {
        register_service(&a->services[i], services[i].name);
    }
}

static void unregister_metrics(struct autoscaler *a)
{
    metrics_unregister(&a->used);
    metrics_unregister(&a->refused);
    metrics_unregister(&a->stale_gauge);
    for (int i = 0; i < SERVICES; i++) {
        struct scaled *s = &a->services[i];
        struct metric *gauges[] = { &s->wanted, &s->at_max, &s->min, &s->max };
        for (size_t k = 0; k < sizeof gauges / sizeof *gauges; k++) {
            metrics_unregister(gauges[k]);
        }
        for (int k = 0; k < SCALING_REASON_COUNT; k++) {
            if (changes((enum scaling_reason)k)) {
                metrics_unregister(&s->decisions[k]);
            }
        }
    }
}

// --- Files for gateways

static void set_on_demand(const struct autoscaler *a, int service, bool on)
{
    char path[RUNDIR_PATH_SIZE], relative[64];
    snprintf(relative, sizeof relative, "run/on-demand/%.32s", services[service].name);
    rundir_path(a->options.home, relative, path);
    if (!on) {
        (void)unlink(path); // it need not be there
        return;
    }
    int r = home_make_parents(path);
    int fd = r < 0 ? r : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_error("%s: %s; requests for %s are refused while it has no process", path,
                  strerror(r < 0 ? -r : errno), services[service].name);
        return;
    }
    (void)close(fd); // nothing was written
}

// --- Rules

static bool any_rule(const struct autoscaler *a)
{
    for (int i = 0; i < SERVICES; i++) {
        if (a->rules.services[i].on) {
            return true;
        }
    }
    return false;
}

static bool is_on_demand(const struct scaling_rule *rule)
{
    return rule->on && rule->min == 0;
}

static void use_rule(struct autoscaler *a, int service, const struct scaling_rule *rule)
{
    struct scaled *s = &a->services[service];
    struct scaling_rule *in_use = &a->rules.services[service];
    bool slept = is_on_demand(in_use) && fleet_count(a->options.fleet, service) == 0;
    *in_use = *rule;
    s->state = (struct scaling_state){ .began = false };
    s->last = (struct scaling_decision){ .count = 0 };
    s->orphaned = slept && !rule->on;
    metric_set(&s->at_max, 0);
    metric_set(&s->min, rule->on ? rule->min : 0);
    metric_set(&s->max, rule->on ? rule->max : 0);
    set_on_demand(a, service, is_on_demand(rule));
    fleet_expect(a->options.fleet, service, is_on_demand(rule));
}

// A service whose rule is the same goes on with it: files are also written again as they were.
static void use(struct autoscaler *a, const struct scaling_rules *rules)
{
    for (int i = 0; i < SERVICES; i++) {
        if (!scaling_rule_equal(&a->rules.services[i], &rules->services[i])) {
            use_rule(a, i, &rules->services[i]);
        }
    }
    a->rules.interval_ms = rules->interval_ms;
    survey_interval(a->options.survey,
                    any_rule(a) ? a->rules.interval_ms : a->options.idle_interval_ms);
    a->stale = false;
    metric_set(&a->stale_gauge, 0);
}

static int load(struct autoscaler *a)
{
    struct scaling_rules rules;
    struct buf mistakes;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = scaling_file_read(a->path, &mistakes, &rules);
    log_lines(LEVEL_ERROR, buf_str(&mistakes));
    buf_fini(&mistakes);
    metric_add(rc ? &a->refused : &a->used, 1);
    if (rc == 0) {
        use(a, &rules);
        log_info("scaling by the rules of %s", a->path);
    }
    return rc;
}

static void on_look(uv_timer_t *timer)
{
    struct autoscaler *a = timer->data;
    int rc = watched_file_changed(&a->file) ? load(a) : 0;
    if (rc < 0) {
        log_error("%s changed, but cannot be used; keeping the rules from before", a->path);
        a->stale = true;
        metric_set(&a->stale_gauge, 1);
    }
    if (rc == -ENOMEM) {
        watched_file_again(&a->file, 0); // the timer has its pace
    }
}

// --- Decisions

static void tell(const char *service, int64_t from, const struct scaling_decision *d)
{
    char text[160], numbers[4][24];
    const int64_t values[4] = { from, d->count, d->value, d->target };
    for (int i = 0; i < 4; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%" PRId64, values[i]);
    }
    const char *unit = scaling_reason_unit(d->reason);
    int n = snprintf(text, sizeof text, "scaling %s from %s to %s: %s", service, numbers[0],
                     numbers[1], scaling_reason_name(d->reason));
    if (*unit && n > 0 && (size_t)n < sizeof text) {
        snprintf(text + n, sizeof text - (size_t)n, " is %s %s, its target %s", numbers[2], unit,
                 numbers[3]);
    }
    const char *const fields[] = {
        "event.name", "scaling",  "service",  service,    "#from",
        numbers[0],   "#to",      numbers[1], "reason",   scaling_reason_name(d->reason),
        "#value",     numbers[2], "#target",  numbers[3], NULL
    };
    log_fields_at(NULL, LEVEL_INFO, NULL, text, fields); // cool-downs limit these
}

static void decide(struct autoscaler *a, int service)
{
    struct scaled *s = &a->services[service];
    struct scaling_input in;
    survey_service(a->options.survey, service, &in);
    in.demanded = s->demanded;
    struct scaling_decision d = scaling_decide(&a->rules.services[service], &s->state, &in);
    s->last = d;
    metric_set(&s->at_max, d.reason == SCALING_AT_MAX);
    log_debug("%s has %" PRId64 " processes and should have %" PRId64 ": %s; %" PRId64
              " of %" PRId64 " requests in flight, %" PRId64 " %% CPU, %" PRId64
              " wait for %" PRId64 " ms, latency %" PRId64 " ms, lag %" PRId64,
              services[service].name, in.count, d.count, scaling_reason_name(d.reason),
              in.in_flight, in.capacity, in.cpu, in.waiting, in.wait_ms, in.latency_ms, in.lag);
    if (d.count != in.count && fleet_adjust(a->options.fleet, service, d.count) < 0) {
        s->state.began = false; // an operation of the operator's runs: look again when it is over
        return;
    }
    s->demanded = false;
    if (d.count == in.count) {
        return;
    }
    tell(services[service].name, in.count, &d);
    s->change = d;
    s->from = in.count;
    s->changed_wall_ms = clock_wall_ms();
    metric_add(&s->decisions[d.reason], 1);
}

// Nobody would start it any more. Again in the next round while an operation of the operator's runs,
// who may start it, too.
static void wake_orphan(struct autoscaler *a, int service)
{
    struct scaled *s = &a->services[service];
    if (fleet_count(a->options.fleet, service) > 0) {
        s->orphaned = false;
    } else if (fleet_adjust(a->options.fleet, service, 1) == 0) {
        s->orphaned = false;
        log_info("%s has no rule any more, by which it had no process: starting one",
                 services[service].name);
    }
}

void autoscaler_round(struct autoscaler *a)
{
    for (int i = 0; i < SERVICES; i++) {
        if (a->rules.services[i].on) {
            decide(a, i);
        } else if (a->services[i].orphaned) {
            wake_orphan(a, i);
        }
        metric_set(&a->services[i].wanted, fleet_count(a->options.fleet, i));
    }
}

static void on_soon(uv_timer_t *timer)
{
    struct autoscaler *a = timer->data;
    for (int i = 0; i < SERVICES; i++) {
        if (a->services[i].demanded && fleet_count(a->options.fleet, i) == 0) {
            decide(a, i);
        }
    }
}

void autoscaler_wanted(struct autoscaler *a, int service)
{
    if (a->rules.services[service].on && fleet_count(a->options.fleet, service) == 0) {
        a->services[service].demanded = true;
        (void)uv_timer_start(&a->soon, on_soon, 0, 0); // fails only for a closing handle
    }
}

void autoscaler_started(struct autoscaler *a, int service)
{
    for (int i = 0; i < SERVICES && service == SERVICES_GATEWAY; i++) {
        if (services[i].registers) {
            autoscaler_wanted(a, i);
        }
    }
}

bool autoscaler_at_maximum(const struct autoscaler *a, int service)
{
    return a->rules.services[service].on && a->services[service].last.reason == SCALING_AT_MAX;
}

bool autoscaler_is_stale(const struct autoscaler *a)
{
    return a->stale;
}

// --- Status

static void append_decision(struct buf *out, const struct scaling_decision *d)
{
    buf_printf(out,
               "\"reason\":\"%s\",\"value\":%" PRId64 ",\"target\":%" PRId64 ",\"unit\":\"%s\"",
               scaling_reason_name(d->reason), d->value, d->target, scaling_reason_unit(d->reason));
}

static void append_service(const struct autoscaler *a, int service, struct buf *out)
{
    const struct scaling_rule *r = &a->rules.services[service];
    const struct scaled *s = &a->services[service];
    buf_printf(out,
               "{\"service\":\"%s\",\"min\":%" PRId64 ",\"max\":%" PRId64 ",\"count\":%" PRId64,
               services[service].name, r->min, r->max, fleet_count(a->options.fleet, service));
    const struct {
        const char *name;
        int64_t value;
    } targets[] = { { "utilisation_percent", r->utilisation },
                    { "cpu_percent", r->cpu },
                    { "wait_ms", r->wait_ms },
                    { "latency_ms", r->latency_ms },
                    { "lag_events", r->lag } };
    const char *separator = "";
    buf_append_z(out, ",\"targets\":{");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (targets[i].value) {
            buf_printf(out, "%s\"%s\":%" PRId64, separator, targets[i].name, targets[i].value);
            separator = ",";
        }
    }
    buf_append_z(out, "},\"now\":{");
    append_decision(out, &s->last);
    buf_append_char(out, '}');
    if (s->changed_wall_ms) {
        char at[TIMESTAMP_SIZE];
        (void)timestamp_format(s->changed_wall_ms, at);
        buf_printf(out, ",\"last\":{\"at\":\"%s\",\"from\":%" PRId64 ",\"to\":%" PRId64 ",", at,
                   s->from, s->change.count);
        append_decision(out, &s->change);
        buf_append_char(out, '}');
    }
    buf_append_char(out, '}');
}

void autoscaler_status(const struct autoscaler *a, struct buf *out)
{
    const char *separator = "";
    buf_append_z(out, "\"scaling\":{\"file\":\"");
    buf_append_json(out, str_of(a->path));
    buf_printf(out, "\",\"stale\":%s,\"services\":[", a->stale ? "true" : "false");
    for (int i = 0; i < SERVICES; i++) {
        if (a->rules.services[i].on) {
            buf_append_z(out, separator);
            append_service(a, i, out);
            separator = ",";
        }
    }
    buf_append_z(out, "]}");
}

// --- Opening and closing

static void choose_path(const char *home, const char *path, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", path ? path : home, path ? "" : "/", path ? "" : AUTOSCALER_FILE);
}

static void print_rules(const char *path, const struct scaling_rules *rules)
{
    printf("%s:", path);
    const char *separator = " ";
    for (int i = 0; i < SERVICES; i++) {
        const struct scaling_rule *r = &rules->services[i];
        if (r->on) {
            printf("%s%s %" PRId64 " to %" PRId64, separator, services[i].name, r->min, r->max);
            separator = ", ";
        }
    }
    printf("%s\n", *separator == ',' ? "" : " no rules");
}

int autoscaler_check(const char *home, const char *path, bool summary)
{
    char file[RUNDIR_PATH_SIZE + 1024];
    struct scaling_rules rules;
    struct buf mistakes;
    choose_path(home, path, file, sizeof file);
    if (!path && access(file, F_OK) < 0) {
        return summary ? printf("there is no %s: nothing scales by itself\n", file) < 0 : 0;
    }
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = scaling_file_read(file, &mistakes, &rules);
    fprintf(stderr, "%.*s%s", STR_ARG(buf_str(&mistakes)), rc == -ENOMEM ? "out of memory\n" : "");
    buf_fini(&mistakes);
    if (rc == 0 && summary) {
        print_rules(file, &rules);
    }
    return rc;
}

int autoscaler_open(uv_loop_t *loop, const struct autoscaler_options *options,
                    struct autoscaler **ret_autoscaler)
{
    struct autoscaler *a = calloc(1, sizeof *a);
    if (!a) {
        return -ENOMEM;
    }
    const struct scaling_rules none = { .interval_ms = options->idle_interval_ms };
    a->options = *options;
    choose_path(options->home, options->path, a->path, sizeof a->path);
    register_metrics(a);
    (void)uv_timer_init(loop, &a->look); // cannot fail
    (void)uv_timer_init(loop, &a->soon);
    a->look.data = a->soon.data = a;
    a->open_handles = 2;
    for (int i = 0; i < SERVICES; i++) { // a supervisor that was killed left its files for gateways
        use_rule(a, i, &none.services[i]);
    }
    use(a, &none);
    int rc = watched_file_begin(&a->file, a->path) || options->path ? load(a) : 0;
    *ret_autoscaler = a; // on failure the program ends
    return rc < 0 ? rc : uv_timer_start(&a->look, on_look, AUTOSCALER_LOOK_MS, AUTOSCALER_LOOK_MS);
}

static void on_closed(uv_handle_t *handle)
{
    struct autoscaler *a = handle->data;
    if (--a->open_handles == 0) {
        free(a);
    }
}

void autoscaler_close(struct autoscaler **autoscaler)
{
    struct autoscaler *a = *autoscaler;
    *autoscaler = NULL;
    if (!a) {
        return;
    }
    unregister_metrics(a);
    for (int i = 0; i < SERVICES; i++) {
        set_on_demand(a, i, false);
    }
    uv_close((uv_handle_t *)&a->look, on_closed);
    uv_close((uv_handle_t *)&a->soon, on_closed);
}
