// SPDX-License-Identifier: MIT
// `sluice config`: the options of every process that `sluice up` would start with the same command
// line and environment, and where each value is from. The programs tell themselves (print-config):
// the supervisor does not know their tables.
#ifndef DEPLOY_CONFIG_COMMAND_H
#define DEPLOY_CONFIG_COMMAND_H

#include "deploy/services.h"

#include <stdbool.h>

// Notes where a variable of the environment was set: by the command line, or a file. name is
// copied; source is borrowed until the end.
void config_command_source(const char *name, const char *source);

// Prints them: of all processes, or of one service (supervisor is one here). The environment is
// that of `sluice up`. Returns the exit status.
int config_command(const struct supervisor_config *config, const char *bin_dir, const char *service,
                   bool json);

#endif
