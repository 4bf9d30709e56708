// SPDX-License-Identifier: MIT
// The operator's commands: each asks the running supervisor over its control socket (control.h),
// prints the answer and returns the exit status. Errors are one line on stderr.
#ifndef DEPLOY_CLIENT_H
#define DEPLOY_CLIENT_H

#include "deploy/services.h"

#include <stdbool.h>

#define CLIENT_NOT_RUNNING 3 // exit status of status when there is no supervisor

// Prints the state of every process, as a table or as JSON. 0: all ready; 1: not; 3: no supervisor
// runs.
int client_status(const char *home, bool json);

// Prints the alerts that fire or may soon. 0: none fires; 1: some do; 3: no supervisor runs.
int client_alerts(const char *home, bool json);

// counts has -1 for services that stay as they are. Returns when the processes are ready or gone.
int client_scale(const char *home, const int64_t counts[SERVICES]);

// Restarts one service, or all when service is NULL. Returns when all are ready again.
int client_restart(const char *home, const char *service);

// Prints the log levels of the processes that `of` names (control.h; NULL: all), after setting level
// if that is not NULL. 0, or 1 when one does not answer.
int client_log_level(const char *home, const char *of, const char *level, bool json);

// Returns when everything has stopped; fine when nothing runs.
int client_down(const char *home);

#endif
