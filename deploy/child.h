// SPDX-License-Identifier: MIT
// One supervised process: started, watched, started again when it dies, drained when it is no
// longer wanted. Which processes there are, and in what order things happen to them, is the fleet's
// business (fleet.h).
//
//                    +--------- exit ----------+--> BACKOFF --time is over--> STARTING
//                    |                         |       |
//     STOPPED --> STARTING --READY=1--> READY -+       +--not wanted--> STOPPED
//                    ^  |                |
//                    |  +--drain--+------+
//                    |            v
//                    +--exit-- DRAINING --exit, not wanted--> STOPPED
//
// A child gets SIGTERM when the supervisor itself dies (PR_SET_PDEATHSIG), so nothing is left
// behind; the inherited run/children.lock (home.h) tells the next supervisor when the last of them
// is gone.
#ifndef DEPLOY_CHILD_H
#define DEPLOY_CHILD_H

#include "deploy/backoff.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

// After this long a draining child is killed. A little above the children's own limit
// (common/process.h), so that one that ends by itself at the last moment does so in good order.
#define CHILD_KILL_MS 11000
#define CHILD_NAME 48
#define CHILD_NOTE 512 // what the process said last about itself, or why it ended

enum child_state { CHILD_STOPPED, CHILD_STARTING, CHILD_READY, CHILD_BACKOFF, CHILD_DRAINING };

struct child;

struct child_callbacks {
    // In the forked process, before exec: set what is this child's own in the environment. Ends
    // with _exit() if it cannot.
    void (*on_exec)(struct child *c, void *data);
    // After every change of state.
    void (*on_change)(struct child *c, void *data);
    void *data;
    int64_t watchdog_ms; // a child that was ready and gives no sign of life for this long is killed; 0: none is
};

struct child {
    char name[CHILD_NAME];  // instance: "users-1"
    const char *binary;     // absolute path; borrowed
    int service;            // index into services
    int number;             // from 1
    enum child_state state;
    pid_t pid;              // 0 when no process is there
    bool wanted;            // to be started again when it ends
    bool asked;             // we sent the SIGTERM: its end is no failure
    uint64_t started_ms;    // loop time of the last start
    uint64_t ready_ms;      // loop time since when it is ready
    uint64_t alive_ms;      // loop time of its last sign of life; 0: it is not watched
    unsigned restarts;      // starts after the first one
    unsigned stuck;         // times that it was killed because it gave no sign of life
    unsigned exits;         // ends that we did not ask for, and starts that failed; never set back
    uint64_t exited_ms;     // loop time of the last of those
    int exit_status;        // of the last process that ended by itself; -1: by a signal, or none has
    struct backoff backoff;
    char note[CHILD_NOTE];  // empty when there is nothing to add to the state
    uv_timer_t timer;       // BACKOFF: start again; DRAINING: kill
    const struct child_callbacks *callbacks; // borrowed
};

// Fills in a child in state STOPPED. Its memory must stay until the loop has closed its timer.
__attribute__((warn_unused_result)) int child_init(struct child *c, uv_loop_t *loop, int service, int number,
                                                   const char *binary,
                                                   const struct child_callbacks *callbacks);

// Closes the timer. The child must be STOPPED.
void child_fini(struct child *c);

// Wants it and starts it, if it is STOPPED.
void child_start(struct child *c);

// Drains it; it is started again at once when it has ended (wanted) or stays away.
void child_drain(struct child *c, bool wanted);

// Kills it if it has a process; it stays away.
void child_kill(struct child *c);

// It sent a notification: newline-separated assignments as in sd_notify(3).
void child_notified(struct child *c, char *text);

// Its process has ended with this wait status.
void child_exited(struct child *c, int status);

// Kills it if it has given no sign of life for too long. late_ms: how long the supervisor itself was
// away, which is no silence of the child's.
void child_watch(struct child *c, uint64_t late_ms);

// How long it has been ready; -1 when it is not.
int64_t child_ready_for_ms(const struct child *c);
bool child_is_crash_loop(const struct child *c);

// How long ago it ended last without being asked to, or could not be started; -1: it never did.
int64_t child_unexpected_exit_age_ms(const struct child *c);

const char *child_state_name(enum child_state state);

#endif
