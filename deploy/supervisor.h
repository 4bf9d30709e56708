// SPDX-License-Identifier: MIT
// `sluice up`: the process that starts a suite, keeps it running and stops it in good order.
#ifndef DEPLOY_SUPERVISOR_H
#define DEPLOY_SUPERVISOR_H

#include "deploy/services.h"

#include <stdbool.h>

// Runs until it is told to stop; with detach, returns when everything is ready, or is not going to
// be. Prints what it does for people on stderr. bin_dir is where the programs are. Returns the exit
// status.
int supervisor_up(const struct supervisor_config *config, const char *bin_dir, bool detach);

// Makes home, its secrets and the first admin's password. Says on stderr where they are if anything
// was made. Returns the exit status.
int supervisor_init(const char *home);

#endif
