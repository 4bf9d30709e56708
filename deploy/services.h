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

struct service_entry {
    const char *name;   // instances are NAME-1, NAME-2 ...
    const char *binary; // next to the supervisor
    int min, max;       // processes
    int tier;           // stopped in this order: gateways first, so that what was accepted is finished
    bool registers;     // at the gateways, which may wait for it
};

#define SERVICES_SECRETS 2

// A variable of the environment that is a secret, and the one service that gets it: every
// CONFIG_SECRET of the programs' tables.
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
    char *sandbox;
    int64_t watchdog_ms;
    int64_t counts[SERVICES]; // processes to start with
};

extern const struct config_option services_options[];

#endif
