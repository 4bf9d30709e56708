// SPDX-License-Identifier: MIT
// See services.h. To add a service: a line in the tables here, its number in deploy/env/*.env, itself
// and its volume in docker-compose.yml.
#include "deploy/services.h"

#include <string.h>

enum { QUEUE, USERS, ORDERS, SEARCH, GATEWAY };

const struct service_entry services[SERVICES] = {
    [QUEUE] = { "queue", "sluice-queue", 1, 1, 2, false },
    [USERS] = { "users", "sluice-users", 0, SERVICES_MAX_PROCESSES, 1, true },
    [ORDERS] = { "orders", "sluice-orders", 0, SERVICES_MAX_PROCESSES, 1, true },
    [SEARCH] = { "search", "sluice-search", 0, SERVICES_MAX_PROCESSES, 1, true },
    [GATEWAY] = { "gateway", "sluice-gateway", 0, SERVICES_MAX_PROCESSES, 0, false },
};

const struct service_secret services_secrets[SERVICES_SECRETS] = {
    { "SLUICE_TOKEN_KEY", USERS },
    { "SLUICE_ADMIN_PASSWORD", USERS },
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
    OPTION("SLUICE_SANDBOX", CONFIG_CHOICE, sandbox, .fallback = "on", .choices = "on|off|require",
           .help = "on: every process gives up what it does not need, as far as the kernel can; "
                   "require: none starts where a part of that is missing"),
    OPTION("SLUICE_WATCHDOG", CONFIG_DURATION, watchdog_ms, .fallback = "10s", .max = 3600000,
           .help = "a process that gives no sign of life for this long is killed and replaced; 0s: "
                   "none is"),
    COUNT("SLUICE_SCALE_USERS", USERS),
    COUNT("SLUICE_SCALE_ORDERS", ORDERS),
    COUNT("SLUICE_SCALE_SEARCH", SEARCH),
    COUNT("SLUICE_SCALE_GATEWAY", GATEWAY),
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
