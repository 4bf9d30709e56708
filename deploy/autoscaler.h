// SPDX-License-Identifier: MIT
// Keeps the number of each service's processes where the rules of the scaling file say
// (docs/scaling.md): reads the file and takes a changed one over, asks scaling_decide() after every
// survey, and does what it says. Every change is a log line, a metric, and what `sluice status`
// shows.
//
// A service whose rule has `min` 0 has a file run/on-demand/NAME, by which gateways know that its
// requests may wait (gateway/on_demand.h).
#ifndef DEPLOY_AUTOSCALER_H
#define DEPLOY_AUTOSCALER_H

#include "deploy/fleet.h"
#include "deploy/survey.h"

#define AUTOSCALER_FILE "scaling.json" // in the home; SLUICE_SCALING names another one
#define AUTOSCALER_LOOK_MS 1000        // how often the file is looked at

struct autoscaler;

struct autoscaler_options {
    struct fleet *fleet;
    struct survey *survey;
    const char *home;         // borrowed
    const char *path;         // of the file; NULL: the one in the home, which need not be there
    int64_t idle_interval_ms; // between surveys while there are no rules
};

// Prints the mistakes of the file on stderr, one a line, and with `summary` on stdout what is in it
// when there are none. path is NULL for the one in the home, which need not be there. Returns 0 or
// a negative errno.
__attribute__((warn_unused_result)) int autoscaler_check(const char *home, const char *path,
                                                         bool summary);

// Reads the file and begins. Returns 0; or a negative errno, with the file's mistakes logged.
__attribute__((warn_unused_result)) int autoscaler_open(uv_loop_t *loop,
                                                        const struct autoscaler_options *options,
                                                        struct autoscaler **ret_autoscaler);

// A survey is complete.
void autoscaler_round(struct autoscaler *a);

// A gateway has a request for a service without a worker.
void autoscaler_wanted(struct autoscaler *a, int service);

// A process of a service was started: a gateway that is new has to learn the routes of every
// service. Decides later.
void autoscaler_started(struct autoscaler *a, int service);

// Whether a service is at its maximum and would need more.
bool autoscaler_at_maximum(const struct autoscaler *a, int service);

// Whether the file has mistakes, so that older rules are in use.
bool autoscaler_is_stale(const struct autoscaler *a);

// Appends the member "scaling" of a JSON object.
void autoscaler_status(const struct autoscaler *a, struct buf *out);

// Stops; memory goes when the loop has closed the handles.
void autoscaler_close(struct autoscaler **autoscaler);

#endif
