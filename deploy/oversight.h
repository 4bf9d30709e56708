// SPDX-License-Identifier: MIT
// What the supervisor knows and does beyond keeping processes alive: it surveys them, scales them
// by rule, raises alerts, and serves its own metrics at run/supervisor.admin.sock.
#ifndef DEPLOY_OVERSIGHT_H
#define DEPLOY_OVERSIGHT_H

#include "deploy/fleet.h"

#define OVERSIGHT_SOCKET "run/supervisor.admin.sock"

struct oversight;

struct oversight_options {
    struct fleet *fleet;
    const char *home;                       // borrowed, absolute
    const struct supervisor_config *config; // borrowed
    const struct log_writer *log_writer;    // borrowed; NULL: none
};

// Returns 0, or a negative errno with the reason logged; then the program must end.
__attribute__((warn_unused_result)) int oversight_open(uv_loop_t *loop,
                                                       const struct oversight_options *options,
                                                       struct oversight **ret_oversight);

// The fleet's news (fleet.h). o may be NULL: the fleet began before.
void oversight_wanted(struct oversight *o, int service);
void oversight_started(struct oversight *o, int service);

// Everything is ready: for /readyz.
void oversight_ready(struct oversight *o);

// The suite is being stopped: nothing is ready, scaled or alerted of any more.
void oversight_stop(struct oversight *o);

// Everything has stopped. done is called when what is queued of alerts is told or lost, within the
// call or, unless at_once is set, within ALERT_DELIVERY_LAST_MS. A second call takes the place of
// the first.
void oversight_finish(struct oversight *o, bool at_once, void (*done)(void *data), void *data);

// Appends the members of a JSON object that tell of scaling, and how many alerts fire.
void oversight_status(const struct oversight *o, struct buf *out);

// Appends the member "alerts" of a JSON object.
void oversight_alerts(const struct oversight *o, struct buf *out);

// Stops; memory goes when the loop has closed the handles.
void oversight_close(struct oversight **oversight);

#endif
