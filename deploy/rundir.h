// SPDX-License-Identifier: MIT
// $SLUICE_HOME/run as the supervisor keeps it: two locks, and the log file of --detach.
//
//     supervisor.lock   flock of the running supervisor, its pid as text; a stale file blocks nobody
//     children.lock     held by the supervisor and, inherited, by everything it started: locked as long as one
//                       process of a supervisor lives. When a supervisor is killed its processes get SIGTERM
//                       (child.h); the next one waits here until the last of them has drained.
//     sluice.log        what all processes write with --detach; log_writer.h says what becomes of it
#ifndef DEPLOY_RUNDIR_H
#define DEPLOY_RUNDIR_H

#include "common/address.h"
#include "common/config.h"

#include <stdbool.h>
#include <sys/types.h>

// Unix socket addresses take 107 bytes: what remains for the home beside
// /run/gateway/gateway-64.sock.
#define RUNDIR_HOME_BYTES 78
#define RUNDIR_PATH_SIZE 128
#define RUNDIR_WAIT_MS 13000 // processes of an earlier supervisor drain for at most 10 s

// Writes the absolute path of home, which is made with its run/ (0700) if make is set. Returns 0,
// or a negative errno with one line in error.
__attribute__((warn_unused_result)) int rundir_open(const char *home, bool make, char ret_home[RUNDIR_PATH_SIZE],
                                                    char error[CONFIG_ERROR_SIZE]);

// Writes home/relative into out. home comes from rundir_open(), relative is a literal of ours.
void rundir_path(const char *home, const char *relative, char out[RUNDIR_PATH_SIZE]);

// The address of an instance's admin listener. Returns 0, or -EINVAL when its path is too long for one.
__attribute__((warn_unused_result)) int rundir_admin_address(const char *home, const char *instance,
                                                             struct address *ret_address);

// Removes an instance's admin socket, if it is there. One that was killed leaves it behind, and would
// count as a process that does not answer (gateway/suite.h) long after nobody wants it any more.
void rundir_forget(const char *home, const char *instance);

// Takes the supervisor's lock. Returns a descriptor, or a negative errno: -EWOULDBLOCK when a
// supervisor runs, with its pid (0: it has not written it yet).
__attribute__((warn_unused_result)) int rundir_lock(const char *home, pid_t *ret_pid);
__attribute__((warn_unused_result)) int rundir_write_pid(int lock_fd);

// Whether a supervisor runs.
bool rundir_is_locked(const char *home);

// Takes the children's lock; waits for RUNDIR_WAIT_MS, which it announces by calling on_wait (may
// be NULL) once. Returns a descriptor that children inherit, or a negative errno: -EWOULDBLOCK when
// there still are some.
__attribute__((warn_unused_result)) int rundir_lock_children(const char *home, void (*on_wait)(void));

// Opens sluice.log for appending. Returns a descriptor or a negative errno: -ELOOP when it is a link,
// which cannot be moved away with its content.
__attribute__((warn_unused_result)) int rundir_open_log(const char *home);

#endif
