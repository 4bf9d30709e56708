// SPDX-License-Identifier: MIT
// What the clients of a service want, what they may be answered, and what has to be there then. A
// program has one model, that of the service which is linked with it.
#ifndef STORE_SIM_MODEL_H
#define STORE_SIM_MODEL_H

#include "proto/frames.h"
#include "tests/fault/store_sim/world.h"

struct model {
    const char *store; // the name of its file

    // Before the store is opened. 0, or a negative errno.
    int (*open)(const char *directory);

    // A request that nobody has made yet, added by life_add(), or -1.
    int (*next)(struct world *w);

    // Sends request number, by life_send(); maybe not for the first time.
    void (*ask)(struct world *w, int number);

    // What a request was answered; not 5xx, after which nobody knows. Sets its status.
    void (*answered)(struct world *w, int number, const struct frame_reply *f);

    // What the queue was given.
    void (*event)(struct world *w, const struct event *e, struct seen_event *seen);

    // At the begin of each life: all that was acknowledged is there.
    void (*check)(struct world *w);

    // Adds what everything else needs, if it is not there.
    void (*complete)(struct world *w);

    // Every request has an answer now: the store and the queue have exactly what follows from them.
    void (*check_all)(struct world *w);
};

extern const struct model model;

#endif
