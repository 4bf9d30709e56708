// SPDX-License-Identifier: MIT
// See services.h. To add a service: a line in the tables here, its number in deploy/env/*.env, itself
// and its volume in docker-compose.yml.
#include "deploy/services.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ADMIN_PORT_OFFSET 1010 // 8080 -> 9090

const struct service_entry services[SERVICES] = {
    [SERVICES_QUEUE] = { "queue", "sluice-queue", 1, 1, 2, false },
    [SERVICES_USERS] = { "users", "sluice-users", 0, SERVICES_MAX_PROCESSES, 1, true },
    [SERVICES_ORDERS] = { "orders", "sluice-orders", 0, SERVICES_MAX_PROCESSES, 1, true },
    [SERVICES_SEARCH] = { "search", "sluice-search", 0, SERVICES_MAX_PROCESSES, 1, true },
    [SERVICES_GATEWAY] = { "gateway", "sluice-gateway", 0, SERVICES_MAX_PROCESSES, 0, false },
};

const struct service_secret services_secrets[SERVICES_SECRETS] = {
    { "SLUICE_TOKEN_KEY", SERVICES_USERS },
    { "SLUICE_ADMIN_PASSWORD", SERVICES_USERS },
    { "SLUICE_ADMIN_TOKEN", SERVICES_GATEWAY },
};

#define OPTION(name_, kind_, field_, ...)                                                          \
    {                                                                                              \
        .name = name_, .kind = kind_, .offset = offsetof(struct supervisor_config, field_),        \
        __VA_ARGS__                                                                                \
    }
#define COUNT(name_, service_)                                                                     \
    OPTION(name_, CONFIG_INTEGER, counts[service_], .fallback = "1",                               \
           .max = SERVICES_MAX_PROCESSES,                                                          \
           .help = "processes to start; `sluice scale` changes it while running")

const struct config_option services_options[] = {
    OPTION("SLUICE_HOME", CONFIG_STRING, home, .fallback = "./var", .min = 1, .max = 1000,
           .help = "where run/, db/, queue/ and secrets/ are"),
    OPTION("SLUICE_LISTEN", CONFIG_STRING, listen, .fallback = "127.0.0.1:8080", .min = 3,
           .max = 300, .help = "HOST:PORT of the public listening socket"),
    OPTION("SLUICE_ADMIN_LISTEN", CONFIG_STRING, admin_listen, .min = 0, .max = 100,
           .help =
               "HOST:PORT of gateway-1's admin listener, empty for none; without it: 127.0.0.1 and "
               "the public port + 1010 (9090 for 8080) if that is free"),
    OPTION("SLUICE_LOG_LEVEL", CONFIG_CHOICE, log_level, .fallback = "info",
           .choices = "debug|info|warn|error", .help = "lines below this are not written"),
    OPTION("SLUICE_LOG_FORMAT", CONFIG_CHOICE, log_format, .fallback = "auto",
           .choices = "auto|json|text", .help = "auto: text on a terminal, else JSON"),
    OPTION("SLUICE_LOG_ROTATE_BYTES", CONFIG_BYTES, log_rotate_bytes, .fallback = "64MiB",
           .min = 65536, .max = INT64_C(1) << 40,
           .help =
               "with --detach: run/sluice.log is moved away and compressed when it is this large"),
    OPTION("SLUICE_LOG_ROTATE_AGE", CONFIG_DURATION, log_rotate_age_ms, .fallback = "24h",
           .max = 86400000 * INT64_C(366), .help = "or this old; 0s: whatever its age"),
    OPTION("SLUICE_LOG_KEEP_FILES", CONFIG_INTEGER, log_keep_files, .fallback = "1000", .min = 1,
           .max = 10000, .help = "older logs that are kept; the oldest are removed"),
    OPTION("SLUICE_LOG_KEEP_BYTES", CONFIG_BYTES, log_keep_bytes, .fallback = "1GiB", .min = 65536,
           .max = INT64_C(1) << 50,
           .help = "bytes of older logs that are kept, compressed as they are"),
    OPTION("SLUICE_SANDBOX", CONFIG_CHOICE, sandbox, .fallback = "on", .choices = "on|off|require",
           .help = "on: every process gives up what it does not need, as far as the kernel can; "
                   "require: none starts where a part of that is missing"),
    OPTION("SLUICE_WATCHDOG", CONFIG_DURATION, watchdog_ms, .fallback = "10s", .max = 3600000,
           .help = "a process that gives no sign of life for this long is killed and replaced; 0s: "
                   "none is"),
    OPTION("SLUICE_SCALING", CONFIG_STRING, scaling, .min = 1, .max = 1000,
           .help = "file with scaling rules (docs/scaling.md); read again when it changes; without "
                   "it: scaling.json in the home, if there is one"),
    OPTION("SLUICE_SUPERVISOR_ADMIN", CONFIG_STRING, supervisor_admin, .min = 3, .max = 100,
           .help = "HOST:PORT of the supervisor's own admin listener, besides "
                   "run/supervisor.admin.sock"),
    OPTION("SLUICE_SURVEY_INTERVAL", CONFIG_DURATION, survey_ms, .fallback = "5s", .min = 100,
           .max = 600000,
           .help = "between looks at the metrics of all processes; scaling rules may want it more "
                   "often"),
    OPTION("SLUICE_ALERT_WEBHOOK", CONFIG_SECRET, alert_webhook, .min = 8, .max = 2000,
           .help =
               "http:// or https:// address that alerts are POSTed to as JSON (docs/alerts.md); "
               "needs curl"),
    OPTION("SLUICE_ALERT_COMMAND", CONFIG_STRING, alert_command, .min = 1, .max = 1000,
           .help = "program that is run for every alert and its end"),
    OPTION("SLUICE_ALERT_RUNBOOK", CONFIG_STRING, alert_runbook, .fallback = "docs/runbook.md",
           .min = 1, .max = 1000,
           .help = "where the runbook is: links to it are this, # and the alert's name"),
    OPTION("SLUICE_ALERT_AFTER", CONFIG_DURATION, alert_after_ms, .fallback = "1h", .max = 86400000,
           .help = "no condition must hold for longer than this until it is an alert"),
    OPTION("SLUICE_ALERT_EXIT_AGE", CONFIG_DURATION, alert_exit_age_ms, .fallback = "15m",
           .min = 1000, .max = 86400000,
           .help =
               "for so long it is an alert that a process ended though nobody had asked for it"),
    OPTION("SLUICE_ALERT_LAG_AGE", CONFIG_DURATION, alert_lag_age_ms, .fallback = "5m", .min = 1000,
           .max = 86400000 * INT64_C(30),
           .help = "age of a group's oldest event from which on it is behind"),
    OPTION("SLUICE_ALERT_ERROR_BUDGET", CONFIG_INTEGER, alert_error_budget, .fallback = "1000",
           .min = 1, .max = 1000000,
           .help = "of a million requests so many may fail with 5xx; how fast that is used up is "
                   "alerted on"),
    OPTION("SLUICE_ALERT_LATENCY_BUDGET", CONFIG_INTEGER, alert_latency_budget, .fallback = "10000",
           .min = 1, .max = 1000000,
           .help = "of a million answers other than 5xx so many may take longer than 500 ms"),
    OPTION("SLUICE_ALERT_DISK_FREE", CONFIG_INTEGER, alert_disk_free, .fallback = "10", .min = 1,
           .max = 100, .help = "percent of the home's disk below which it is nearly full"),
    COUNT("SLUICE_SCALE_USERS", SERVICES_USERS),
    COUNT("SLUICE_SCALE_ORDERS", SERVICES_ORDERS),
    COUNT("SLUICE_SCALE_SEARCH", SERVICES_SEARCH),
    COUNT("SLUICE_SCALE_GATEWAY", SERVICES_GATEWAY),
    CONFIG_END,
};

int services_find(const char *name)
{
    for (int i = 0; i < SERVICES; i++) {
        if (strcmp(services[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

void services_admin(const char *instance, const char *host_port, char out[SERVICES_TEXT])
{
    bool more = host_port && *host_port;
    (void)snprintf(out, SERVICES_TEXT, "unix:%s.admin.sock%s%s", instance, more ? "," : "",
                   more ? host_port : "");
}

void services_admin_listen(const struct supervisor_config *config, char out[SERVICES_TEXT])
{
    const char *colon = strrchr(config->listen, ':');
    int64_t port;
    if (config->admin_listen) {
        (void)snprintf(out, SERVICES_TEXT, "%s", config->admin_listen);
    } else if (!colon || config_parse_number(CONFIG_INTEGER, colon + 1, &port) < 0 || port < 1 ||
               port > 65535 - ADMIN_PORT_OFFSET) {
        *out = '\0';
    } else {
        (void)snprintf(out, SERVICES_TEXT, "127.0.0.1:%" PRId64, port + ADMIN_PORT_OFFSET);
    }
}

void services_expected(const int64_t counts[SERVICES], const bool on_demand[SERVICES],
                       char out[SERVICES_TEXT])
{
    size_t n = 0;
    *out = '\0';
    for (int s = 0; s < SERVICES; s++) {
        if (services[s].registers && (counts[s] > 0 || (on_demand && on_demand[s]))) {
            n += (size_t)snprintf(out + n, SERVICES_TEXT - n, "%s%s", n ? "," : "",
                                  services[s].name);
            assert(n < SERVICES_TEXT);
        }
    }
}
