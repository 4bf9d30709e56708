// SPDX-License-Identifier: MIT
// All processes of a suite: how many of each service, in what order they are drained, and the
// operations that take a while (scale, rolling restart), of which one runs at a time. Processes are
// started all at once and find each other; they are stopped by tiers (services.h), so that what was
// accepted is also finished.
#ifndef DEPLOY_FLEET_H
#define DEPLOY_FLEET_H

#include "common/log.h"
#include "deploy/services.h"
#include "proto/buf.h"

#include <uv.h>

#define FLEET_STEP_MS 60000 // one step of an operation (a process drained or ready) may take this long

struct fleet;

// An operation is over: error is NULL, or says what went wrong.
typedef void fleet_done_fn(const char *error, void *data);

struct fleet_options {
    const char *home;             // these four are borrowed for the life of the fleet
    const char *bin_dir;          // where the programs are
    const char *listen_address;   // of listen_fd, for the gateways' logs
    const char *admin_address;    // TCP admin listener of gateway-1; NULL: none
    int listen_fd;                // given to every gateway
    int64_t watchdog_ms;          // a process that gives no sign of life for this long is replaced; 0: none is
    int64_t counts[SERVICES];     // processes to start with
    void (*on_ready)(void *data); // everything is ready for the first time
    // Before that, at most once: an instance does not stay up. It exited with exit_status (-1: by a
    // signal).
    void (*on_trouble)(const char *instance, int exit_status, void *data);
    void (*on_stopped)(void *data); // after fleet_stop(): no process is left
    // A gateway has a request for a service, and no worker. NULL: nobody asks.
    void (*on_wanted)(int service, void *data);
    // A process of this service was started. At any depth of the stack: decide later. May be NULL.
    void (*on_started)(int service, void *data);
    void *data;
};

// Opens the notification socket and starts everything. 0, or a negative errno: then the program
// must end.
__attribute__((warn_unused_result)) int fleet_open(uv_loop_t *loop, const struct fleet_options *options,
                                                   struct fleet **ret_fleet);

// counts has -1 for services that stay as they are; the others are within their limits. done is
// called once, later. Returns 0, -EBUSY while another operation runs, or -ECANCELED while the fleet
// stops.
__attribute__((warn_unused_result)) int fleet_scale(struct fleet *f, const int64_t counts[SERVICES],
                                                    fleet_done_fn *done, void *data);

// Changes the number of one service's processes, at once and without waiting for them. count is
// within the service's limits. Returns 0, -EBUSY while an operation about this service runs, or
// -ECANCELED while the fleet stops.
__attribute__((warn_unused_result)) int fleet_adjust(struct fleet *f, int service, int64_t count);

// Processes that are wanted of a service now.
int64_t fleet_count(const struct fleet *f, int service);

// How often a process of a service ended though nobody had asked for it, or could not be started,
// since the fleet was opened.
int64_t fleet_unexpected_exits(const struct fleet *f, int service);

// Gateways that are started from now on wait for this service, even if it has no process yet.
void fleet_expect(struct fleet *f, int service, bool expected);

// The log level of the processes of a service that are started from now on, one at a slot among them
// that had its own; or, with a slot (fleet_each()), of that one only. What runs is not told.
void fleet_set_log_level(struct fleet *f, int service, enum log_level level);
void fleet_set_slot_log_level(struct fleet *f, int slot, enum log_level level);

// A process that is there, or should be.
struct fleet_member {
    const char *name;
    int service, slot; // slot: below FLEET_SLOTS, of its own for ever
    pid_t pid;         // 0: none
    bool wanted, ready, crash_loop;
    unsigned unexpected_exits; // ends that nobody asked for, and starts that failed, ever
    int64_t exit_age_ms;       // how long ago the last of those was; -1: there was none
    const char *note;
};

#define FLEET_SLOTS (SERVICES * SERVICES_MAX_PROCESSES)

void fleet_each(struct fleet *f, void (*each)(const struct fleet_member *member, void *data),
                void *data);

// Restarts the processes of one service, or of all (-1), one after the other, each only when the
// one before it is ready. done and the return value are as with fleet_scale().
__attribute__((warn_unused_result)) int fleet_restart(struct fleet *f, int service, fleet_done_fn *done,
                                                      void *data);

// Drains everything in good order, or kills it, then calls on_stopped. May be called again, to kill
// after all.
void fleet_stop(struct fleet *f, bool kill);

// Appends the members "state" ("ready", "starting" or "stopping") and "instances" of a JSON object.
void fleet_status(struct fleet *f, struct buf *out);

// Closes the handles of a fleet that has stopped; free it with fleet_free() when the loop has
// closed them.
void fleet_close(struct fleet *f);
void fleet_free(struct fleet **f);

#endif
