// SPDX-License-Identifier: MIT
#include "deploy/alert_watch.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "deploy/alert_delivery.h"
#include "deploy/alerts.h"
#include "deploy/error_budget.h"
#include "deploy/log_writer.h"
#include "deploy/rise.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct alert_watch {
    struct alert_watch_options options;
    struct alerts alerts;
    struct alert_delivery *delivery;
    struct error_budget errors, latency; // requests that failed; those that took long
    int64_t now_ms, wall_ms;             // of the round
    struct {
        pid_t pid;
        struct rise rises[READING_COUNTER_COUNT];
    } counters[FLEET_SLOTS];
    struct {
        char group[READING_GROUP_NAME]; // "": free
        struct rise rise;
    } skipped[READING_MAX_GROUPS];
    struct metric pages, tickets, dropped, disk_free, disk_size;
    struct metric deliveries[ALERT_DELIVERY_RESULTS];
    struct delivery_source {
        struct alert_watch *watch;
        enum alert_delivery_result result;
    } sources[ALERT_DELIVERY_RESULTS];
};

// --- Conditions

static void report(struct alert_watch *w, enum alert_condition condition, const char *subject,
                   int64_t value)
{
    alerts_report(&w->alerts, condition, subject, value, w->now_ms, w->wall_ms);
}

static void look_at_store(struct alert_watch *w, const char *name, const struct reading *r)
{
    if (r->store_trouble) {
        report(w, ALERT_STORE_TROUBLE, name, 1);
    }
    if (r->outbox_rows * 100 > r->outbox_max_rows * ALERT_OUTBOX_PERCENT) {
        report(w, ALERT_OUTBOX_FILLS, name, r->outbox_rows);
    }
    if (r->outbox_oldest_s > ALERT_OUTBOX_OLD_S) {
        report(w, ALERT_OUTBOX_OLD, name, r->outbox_oldest_s);
    }
    if (r->backup_age_s > ALERT_BACKUP_OLD_S) {
        report(w, ALERT_BACKUP_OLD, name, r->backup_age_s);
    }
}

static void look_at_rise(struct alert_watch *w, struct rise *rise, int64_t value, int64_t window_ms,
                         enum alert_condition condition, const char *subject)
{
    rise_note(rise, value, w->now_ms);
    int64_t by = rise_within(rise, window_ms, w->now_ms);
    if (by > 0) {
        report(w, condition, subject, by);
    }
}

// Counters of a process that have risen.
static void look_at_counters(struct alert_watch *w, const struct fleet_member *m,
                             const struct reading *r)
{
    static const struct {
        enum alert_condition condition;
        int64_t window_ms;
    } told[READING_COUNTER_COUNT] = {
        [READING_LOST_RECORDS] = { ALERT_LOST_RECORDS, ALERT_RISE_MS },
        [READING_DISK_FULL] = { ALERT_QUEUE_FULL, ALERT_RISE_MS },
        [READING_IDENTITY] = { ALERT_QUEUE_IDENTITY, ALERT_RISE_MS },
        [READING_LINK_KEY] = { ALERT_LINK_KEY, ALERT_RISE_MS },
        [READING_FOREIGN_WORKER] = { ALERT_FOREIGN_WORKER, ALERT_RISE_MS },
        [READING_STUCK_WORKER] = { ALERT_WORKER_STUCK, ALERT_STUCK_MS },
        [READING_CONNECTION_LIMIT] = { ALERT_CONNECTIONS_FULL, ALERT_RISE_MS },
        [READING_WAIT_QUEUE_FULL] = { ALERT_WAIT_QUEUE_FULL, ALERT_RISE_MS },
        [READING_GATEWAY_TOKEN_KEY] = { ALERT_TOKEN_KEY, ALERT_RISE_MS },
        [READING_USERS_TOKEN_KEY] = { ALERT_TOKEN_KEY, ALERT_RISE_MS },
        [READING_OUTBOX_REFUSED] = { ALERT_OUTBOX_FULL, ALERT_RISE_MS },
    };
    bool restarted = w->counters[m->slot].pid != m->pid;
    w->counters[m->slot].pid = m->pid;
    for (int i = 0; i < READING_COUNTER_COUNT; i++) {
        struct rise *rise = &w->counters[m->slot].rises[i];
        if (restarted) {
            rise_restart(rise);
        }
        look_at_rise(w, rise, r->counters[i], told[i].window_ms, told[i].condition, m->name);
    }
}

static void look_at_fullness(struct alert_watch *w, const char *name, const struct reading *r)
{
    if (r->max_fds > 0 && 100 * r->open_fds / r->max_fds >= ALERT_DESCRIPTORS_PERCENT) {
        report(w, ALERT_DESCRIPTORS, name, r->open_fds);
    }
    if (r->resident_bytes > ALERT_MEMORY_BYTES) {
        report(w, ALERT_MEMORY, name, r->resident_bytes);
    }
    if (r->wal_bytes > ALERT_WAL_BYTES) {
        report(w, ALERT_WAL, name, r->wal_bytes);
    }
}

static void look_at_times(struct alert_watch *w, const char *name, const struct reading *r)
{
    if (r->behind_s > ALERT_BEHIND_S) {
        report(w, ALERT_SEARCH_BEHIND, name, r->behind_s);
    }
    if (r->revocation_lag_s > ALERT_REVOCATION_LAG_S) {
        report(w, ALERT_REVOCATIONS, name, r->revocation_lag_s);
    }
    if (r->token_key_age_s > ALERT_TOKEN_KEY_OLD_S) { // every process of users says the same
        report(w, ALERT_TOKEN_KEY_OLD, services[SERVICES_USERS].name, r->token_key_age_s);
    }
}

// What a gateway says of the services behind it. One that has no process by its rule is started
// when somebody asks.
static void look_at_services(struct alert_watch *w, const struct reading *r)
{
    for (int i = 0; i < SERVICES; i++) {
        if (r->no_worker[i] && fleet_count(w->options.fleet, i) > 0) {
            report(w, ALERT_NO_WORKER, services[i].name, 1);
        }
        if (r->overloaded[i] > 0) {
            report(w, ALERT_OVERLOADED, services[i].name, r->overloaded[i]);
        }
    }
}

static void look_at_member(const struct fleet_member *m, void *data)
{
    struct alert_watch *w = data;
    const struct survey_process *p = survey_process(w->options.survey, m->slot);
    if (m->wanted && m->crash_loop) {
        report(w, ALERT_CRASH_LOOP, m->name, 1);
    }
    // A process that was killed is back before anybody looks: what is told of is that it happened.
    if (m->exit_age_ms >= 0 && m->exit_age_ms < w->options.config->alert_exit_age_ms) {
        report(w, ALERT_UNEXPECTED_EXIT, m->name, m->unexpected_exits);
    }
    if (m->wanted && !m->ready) {
        report(w, ALERT_NOT_READY, m->name, 1);
    }
    // What was known of a process that is silent now still counts: silence mends nothing.
    if (p && p->pid == m->pid && p->now_ms > 0) {
        look_at_store(w, m->name, &p->now);
        if (p->now.sandbox_off) {
            report(w, ALERT_SANDBOX, m->name, 1);
        }
        look_at_counters(w, m, &p->now);
        look_at_fullness(w, m->name, &p->now);
        look_at_times(w, m->name, &p->now);
        look_at_services(w, &p->now);
    }
}

// Where the counter of a group is kept; of a group that was not there before, whose beginning was not
// seen (it may have had this name before), it begins as it is. There is a place for each that is read.
static struct rise *skipped_of(struct alert_watch *w, const struct group_reading *g)
{
    size_t place = READING_MAX_GROUPS;
    for (size_t i = 0; i < READING_MAX_GROUPS; i++) {
        if (strcmp(w->skipped[i].group, g->name) == 0) {
            return &w->skipped[i].rise;
        }
        place = *w->skipped[i].group == '\0' && place == READING_MAX_GROUPS ? i : place;
    }
    assert(place < READING_MAX_GROUPS);
    (void)snprintf(w->skipped[place].group, READING_GROUP_NAME, "%s", g->name);
    rise_begin_at(&w->skipped[place].rise, g->skipped);
    return &w->skipped[place].rise;
}

// Places of groups that are no more.
static void forget_groups(struct alert_watch *w, const struct group_reading *groups, size_t n)
{
    for (size_t i = 0; i < READING_MAX_GROUPS; i++) {
        bool there = false;
        for (size_t k = 0; k < n && !there; k++) {
            there = strcmp(w->skipped[i].group, groups[k].name) == 0;
        }
        if (!there) {
            *w->skipped[i].group = '\0';
        }
    }
}

static void look_at_groups(struct alert_watch *w)
{
    size_t n;
    const struct group_reading *groups = survey_groups(w->options.survey, &n);
    forget_groups(w, groups, n);
    for (size_t i = 0; i < n; i++) {
        const struct group_reading *g = &groups[i];
        if (g->oldest_s * 1000 > w->options.config->alert_lag_age_ms) {
            report(w, ALERT_GROUP_BEHIND, g->name, g->oldest_s);
        }
        if (g->members == 0 && g->lag > 0 && !g->paused) {
            report(w, ALERT_GROUP_ALONE, g->name, g->lag);
        }
        if (g->dead_letters > 0) {
            report(w, ALERT_DEAD_LETTERS, g->name, g->dead_letters);
        }
        look_at_rise(w, skipped_of(w, g), g->skipped, ALERT_RISE_MS, ALERT_EVENTS_SKIPPED, g->name);
    }
}

static void look_at_budget(struct alert_watch *w, const struct error_budget *budget,
                           int64_t size_per_million,
                           const enum alert_condition conditions[ERROR_BUDGET_BURN_COUNT])
{
    for (int i = 0; i < ERROR_BUDGET_BURN_COUNT; i++) {
        int64_t per_million;
        if (error_budget_burns(budget, (enum error_budget_burn)i, size_per_million, w->now_ms,
                               &per_million)) {
            report(w, conditions[i], "gateway", per_million);
        }
    }
}

static void look_at_answers(struct alert_watch *w)
{
    static const enum alert_condition errors[ERROR_BUDGET_BURN_COUNT] = {
#define X(symbol, tenths, short_ms, long_ms, wait) [ERROR_BUDGET_##symbol] = ALERT_ERRORS_##symbol,
        ERROR_BUDGET_BURNS(X)
#undef X
    };
    static const enum alert_condition latency[ERROR_BUDGET_BURN_COUNT] = {
#define X(symbol, tenths, short_ms, long_ms, wait) [ERROR_BUDGET_##symbol] = ALERT_LATENCY_##symbol,
        ERROR_BUDGET_BURNS(X)
#undef X
    };
    struct survey_answers answers = survey_answers(w->options.survey);
    error_budget_add(&w->errors, w->now_ms, answers.requests, answers.errors);
    error_budget_add(&w->latency, w->now_ms, answers.served, answers.slow);
    look_at_budget(w, &w->errors, w->options.config->alert_error_budget, errors);
    look_at_budget(w, &w->latency, w->options.config->alert_latency_budget, latency);
}

static void look_at_disk(struct alert_watch *w)
{
    struct statvfs disk;
    if (statvfs(w->options.home, &disk) < 0 || disk.f_blocks == 0) {
        return;
    }
    metric_set(&w->disk_free, (int64_t)(disk.f_bavail * disk.f_frsize));
    metric_set(&w->disk_size, (int64_t)(disk.f_blocks * disk.f_frsize));
    int64_t free_percent = (int64_t)(disk.f_bavail * 100 / disk.f_blocks);
    if (free_percent < w->options.config->alert_disk_free) {
        report(w, ALERT_DISK, w->options.home, free_percent);
    }
}

static void look_at_scaling(struct alert_watch *w)
{
    for (int s = 0; s < SERVICES; s++) {
        if (autoscaler_at_maximum(w->options.autoscaler, s)) {
            report(w, ALERT_AT_MAXIMUM, services[s].name, fleet_count(w->options.fleet, s));
        }
    }
    if (autoscaler_is_stale(w->options.autoscaler)) {
        report(w, ALERT_RULES_STALE, "supervisor", 1);
    }
}

void alert_watch_round(struct alert_watch *w)
{
    w->now_ms = clock_mono_ms();
    w->wall_ms = clock_wall_ms();
    fleet_each(w->options.fleet, look_at_member, w);
    look_at_groups(w);
    look_at_answers(w);
    look_at_disk(w);
    look_at_scaling(w);
    if (log_writer_trouble(w->options.log_writer)) {
        report(w, ALERT_LOG, "sluice.log", log_writer_trouble(w->options.log_writer));
    }
    alerts_end_round(&w->alerts, w->now_ms);
    int64_t pages = 0, firing = (int64_t)alerts_firing(&w->alerts);
    for (size_t i = 0; i < w->alerts.n; i++) {
        const struct alert *a = &w->alerts.active[i];
        pages += a->firing && strcmp(alert_severity(a->condition), "page") == 0;
    }
    metric_set(&w->pages, pages);
    metric_set(&w->tickets, firing - pages);
    metric_set(&w->dropped, (int64_t)w->alerts.dropped);
}

// --- News

static void on_change(const struct alert *alert, bool firing, void *data)
{
    struct alert_watch *w = data;
    char summary[ALERTS_TEXT], text[ALERTS_TEXT + 64], value[24];
    alert_summary(alert, summary);
    snprintf(text, sizeof text, "%s: %s%s", alert_name(alert->condition),
             firing ? "" : "resolved, no longer: ", summary);
    snprintf(value, sizeof value, "%" PRId64, alert->value);
    const char *const fields[] = { "event.name", "alert",
                                   "alert",      alert_name(alert->condition),
                                   "severity",   alert_severity(alert->condition),
                                   "subject",    alert->subject,
                                   "status",     firing ? "firing" : "resolved",
                                   "#value",     value,
                                   NULL };
    // Without a limit: each is one of ALERTS_MAX, and comes once in a round at most.
    log_fields_at(NULL, firing ? LEVEL_ERROR : LEVEL_INFO, NULL, text, fields);
    alert_delivery_send(w->delivery, alert, firing);
}

size_t alert_watch_firing(const struct alert_watch *w)
{
    return alerts_firing(&w->alerts);
}

static void append_alert(const struct alert_watch *w, const struct alert *a, struct buf *out)
{
    char since[TIMESTAMP_SIZE], summary[ALERTS_TEXT];
    (void)timestamp_format(a->since_ms, since);
    alert_summary(a, summary);
    buf_printf(out, "{\"alert\":\"%s\",\"severity\":\"%s\",\"status\":\"%s\",\"subject\":\"",
               alert_name(a->condition), alert_severity(a->condition),
               a->firing ? "firing" : "pending");
    buf_append_json(out, str_of(a->subject));
    buf_printf(out, "\",\"since\":\"%s\",\"value\":%" PRId64 ",\"unit\":\"%s\",\"summary\":\"",
               since, a->value, alert_unit(a->condition));
    buf_append_json(out, str_of(summary));
    buf_append_z(out, "\",\"runbook\":\"");
    struct buf link;
    buf_init(&link, 2048);
    alert_delivery_runbook(&link, w->options.config->alert_runbook, a->condition);
    buf_append_json(out, buf_str(&link));
    buf_fini(&link);
    buf_append_z(out, "\"}");
}

void alert_watch_list(const struct alert_watch *w, struct buf *out)
{
    buf_append_z(out, "\"alerts\":[");
    for (size_t i = 0; i < w->alerts.n; i++) {
        buf_append_z(out, i ? "," : "");
        append_alert(w, &w->alerts.active[i], out);
    }
    buf_append_char(out, ']');
}

// --- Metrics

static int64_t read_deliveries(void *data)
{
    const struct delivery_source *source = data;
    return alert_delivery_count(source->watch->delivery, source->result);
}

#define N_PLAIN 5

static void plain_metrics(struct alert_watch *w, struct metric *out[N_PLAIN])
{
    struct metric *all[N_PLAIN] = { &w->pages, &w->tickets, &w->dropped, &w->disk_free,
                                    &w->disk_size };
    memcpy(out, all, sizeof all);
}

static void register_metrics(struct alert_watch *w)
{
    static const char firing[] = "Alerts that fire, by severity.";
    static const char *const labels[ALERT_DELIVERY_RESULTS] = {
        [ALERT_DELIVERED] = "result=\"delivered\"",
        [ALERT_FAILED] = "result=\"failed\"",
        [ALERT_OUTRUN] = "result=\"outrun\"",
    };
    w->pages = (struct metric)METRIC_GAUGE_INIT("sluice_supervisor_alerts_firing", firing,
                                                "severity=\"page\"");
    w->tickets = (struct metric)METRIC_GAUGE_INIT("sluice_supervisor_alerts_firing", firing,
                                                  "severity=\"ticket\"");
    w->dropped = (struct metric)METRIC_COUNTER_INIT(
        "sluice_supervisor_alerts_dropped_total",
        "Reports of conditions for which there was no room.", NULL);
    w->disk_free = (struct metric)METRIC_GAUGE_INIT(
        "sluice_supervisor_disk_free_bytes", "Bytes that may be written to the home's disk.", NULL);
    w->disk_size = (struct metric)METRIC_GAUGE_INIT("sluice_supervisor_disk_size_bytes",
                                                    "Size of the home's disk.", NULL);
    struct metric *plain[N_PLAIN];
    plain_metrics(w, plain);
    for (int i = 0; i < N_PLAIN; i++) {
        metrics_register(plain[i]);
    }
    for (int i = 0; i < ALERT_DELIVERY_RESULTS; i++) {
        w->sources[i] = (struct delivery_source){ w, (enum alert_delivery_result)i };
        w->deliveries[i] = (struct metric)METRIC_COUNTER_INIT(
            "sluice_supervisor_alert_deliveries_total",
            "Alerts and resolutions, by what became of telling them; each target counts.",
            labels[i]);
        w->deliveries[i].read = read_deliveries;
        w->deliveries[i].data = &w->sources[i];
        metrics_register(&w->deliveries[i]);
    }
}

static void unregister_metrics(struct alert_watch *w)
{
    struct metric *plain[N_PLAIN];
    plain_metrics(w, plain);
    for (int i = 0; i < N_PLAIN; i++) {
        metrics_unregister(plain[i]);
    }
    for (int i = 0; i < ALERT_DELIVERY_RESULTS; i++) {
        metrics_unregister(&w->deliveries[i]);
    }
}

// --- Opening and closing

// A directory has the same right, to be gone through.
static bool can_run(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

// Whether a directory of PATH has the program.
static bool is_in_path(const char *program)
{
    const char *dirs = getenv("PATH");
    for (const char *p = dirs; p && *p;) {
        char path[1024];
        size_t n = strcspn(p, ":");
        int written = snprintf(path, sizeof path, "%.*s/%s", (int)n, p, program);
        if (written > 0 && (size_t)written < sizeof path && can_run(path)) {
            return true;
        }
        p += n + (p[n] == ':');
    }
    return false;
}

int alert_watch_check(const struct supervisor_config *c)
{
    const char *hook = c->alert_webhook;
    if (hook && strncmp(hook, "http://", 7) != 0 && strncmp(hook, "https://", 8) != 0) {
        fputs(
            "sluice: SLUICE_ALERT_WEBHOOK (a secret) is no such address; allowed: one that begins "
            "with http:// or https://\n",
            stderr);
        return -EINVAL;
    }
    if (hook && strpbrk(hook, "\r\n")) {
        fputs("sluice: SLUICE_ALERT_WEBHOOK (a secret) has several lines; allowed: one\n", stderr);
        return -EINVAL;
    }
    if (hook && !is_in_path("curl")) {
        fputs("sluice: SLUICE_ALERT_WEBHOOK needs the program curl, which is not in PATH\n",
              stderr);
        return -EINVAL;
    }
    if (c->alert_command && (*c->alert_command != '/' || !can_run(c->alert_command))) {
        fprintf(
            stderr,
            "sluice: SLUICE_ALERT_COMMAND is \"%s\", which cannot be run; allowed: the absolute "
            "path of a program\n",
            c->alert_command);
        return -EINVAL;
    }
    return 0;
}

int alert_watch_open(uv_loop_t *loop, const struct alert_watch_options *options,
                     struct alert_watch **ret_watch)
{
    struct alert_watch *w = calloc(1, sizeof *w);
    if (!w) {
        return -ENOMEM;
    }
    const struct supervisor_config *config = options->config;
    struct alert_delivery_options delivery = { .home = options->home,
                                               .webhook = config->alert_webhook,
                                               .command = config->alert_command,
                                               .runbook = config->alert_runbook };
    w->options = *options;
    alerts_init(&w->alerts, config->alert_after_ms, on_change, w);
    int r = alert_delivery_open(loop, &delivery, &w->delivery);
    if (r == 0) {
        register_metrics(w);
    }
    *ret_watch = w; // on failure the program ends
    return r;
}

void alert_watch_finish(struct alert_watch *w, int64_t limit_ms, void (*done)(void *data),
                        void *data)
{
    alert_delivery_finish(w->delivery, limit_ms, done, data);
}

void alert_watch_close(struct alert_watch **watch)
{
    struct alert_watch *w = *watch;
    *watch = NULL;
    if (w) {
        unregister_metrics(w);
        alert_delivery_close(&w->delivery);
        free(w);
    }
}
