// SPDX-License-Identifier: MIT
// What the suite consists of, for the supervisor. It knows programs and numbers, nothing of what
// they do.
#ifndef DEPLOY_SERVICES_H
#define DEPLOY_SERVICES_H

#include "common/config.h"

#include <stdbool.h>

#define SERVICES 5
#define SERVICES_MAX_PROCESSES 64 // of one service: more than the cores of one machine are good for
#define SERVICES_TIERS 3

// Indices of the services.
enum { SERVICES_QUEUE, SERVICES_USERS, SERVICES_ORDERS, SERVICES_SEARCH, SERVICES_GATEWAY };

struct service_entry {
    const char *name;   // instances are NAME-1, NAME-2 ...
    const char *binary; // next to the supervisor
    int min, max;       // processes
    int tier;       // stopped in this order: gateways first, so that what was accepted is finished
    bool registers; // at the gateways, which may wait for it
};

#define SERVICES_SECRETS 3

// A variable of the environment that is a secret, and the one service that gets it: every
// CONFIG_SECRET of the programs' own tables. What all of them read (common/process.h) they all get.
struct service_secret {
    const char *name;
    int service;
};

extern const struct service_secret services_secrets[SERVICES_SECRETS];

// In the order of a rolling restart.
extern const struct service_entry services[SERVICES];

// Index of a service; -1: there is none of that name.
int services_find(const char *name);

// Configuration of `sluice up`.
struct supervisor_config {
    char *home;
    char *listen;
    char *admin_listen; // NULL: by the port of listen
    char *log_level;
    char *log_format;
    int64_t log_rotate_bytes, log_rotate_age_ms, log_keep_files, log_keep_bytes;
    char *sandbox;
    int64_t watchdog_ms;
    char *scaling;          // file with the rules; NULL: the one in the home, if there is one
    char *supervisor_admin; // HOST:PORT; NULL: the unix socket only
    int64_t survey_ms;      // between looks at all processes
    char *alert_webhook, *alert_command, *alert_runbook; // NULL: none
    int64_t alert_after_ms;    // no condition must hold for longer than this
    int64_t alert_exit_age_ms; // for so long an end that nobody asked for is an alert
    int64_t alert_lag_age_ms;  // of the oldest event that a group has not settled
    int64_t alert_error_budget, alert_latency_budget; // of a million requests
    int64_t alert_disk_free;                          // percent
    int64_t counts[SERVICES];                         // processes to start with
};

extern const struct config_option services_options[];

// What the supervisor tells its processes by their environment.
#define SERVICES_TEXT 256

// SLUICE_ADMIN of an instance: its unix socket, and HOST:PORT besides ("" or NULL: none).
void services_admin(const char *instance, const char *host_port, char out[SERVICES_TEXT]);

// That HOST:PORT of gateway-1, if it is free: as configured, or by the port of listen; "": none.
void services_admin_listen(const struct supervisor_config *config, char out[SERVICES_TEXT]);

// SLUICE_EXPECT of gateways: those that register and have processes, or get them on demand (NULL:
// none does).
void services_expected(const int64_t counts[SERVICES], const bool on_demand[SERVICES],
                       char out[SERVICES_TEXT]);

#endif
