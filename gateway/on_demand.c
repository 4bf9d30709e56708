// SPDX-License-Identifier: MIT
#include "gateway/on_demand.h"

#include "common/clock.h"
#include "common/notify.h"
#include "gateway/router.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

bool on_demand_is(const struct on_demand *o, const struct service *service)
{
    char path[PATH_MAX];
    int n = o->dir ? snprintf(path, sizeof path, "%s/%s", o->dir, service->name) : 0;
    return n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

bool on_demand_ask(struct on_demand *o, const struct service *service)
{
    size_t i = service->index;
    int64_t now_ms = clock_mono_ms();
    if (o->asked_ms[i] && now_ms - o->asked_ms[i] < ON_DEMAND_ASK_MS) {
        return o->starts[i];
    }
    o->asked_ms[i] = now_ms;
    o->starts[i] = on_demand_is(o, service);
    if (o->starts[i]) {
        char text[128];
        snprintf(text, sizeof text, "WANTED=%s", service->name);
        notify_send(text);
    }
    return o->starts[i];
}
