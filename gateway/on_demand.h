// SPDX-License-Identifier: MIT
// Services that the supervisor starts when they are needed: for each it keeps an empty file
// $SLUICE_HOME/run/on-demand/NAME. A request for such a service that has no worker waits for one
// like any other, and the supervisor is told of it (WANTED=NAME at $NOTIFY_SOCKET). Without a
// supervisor there is no file, and requests for what is away are refused after a while.
#ifndef GATEWAY_ON_DEMAND_H
#define GATEWAY_ON_DEMAND_H

#include "gateway/limits.h"

#include <stdbool.h>
#include <stdint.h>

// At most so often the file is looked for and the supervisor is told, however many requests come:
// as long as a start takes about.
#define ON_DEMAND_ASK_MS 50

struct service;

struct on_demand {
    const char *dir; // borrowed; NULL: there is none
    int64_t asked_ms[SERVICES_MAX];
    bool starts[SERVICES_MAX]; // the answer of then
};

// Whether the supervisor starts the service, which it is told to do.
bool on_demand_ask(struct on_demand *o, const struct service *service);

// Whether it starts it when somebody asks.
bool on_demand_is(const struct on_demand *o, const struct service *service);

#endif
