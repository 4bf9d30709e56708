// SPDX-License-Identifier: MIT
// The commands of `sluice`: which there are, and what each does with its arguments. A command is added
// in the table of commands.c; help, manual and completion come from there.
#ifndef DEPLOY_COMMANDS_H
#define DEPLOY_COMMANDS_H

#include "deploy/command_line.h"

#include <stddef.h>

extern const struct command commands[];
extern const size_t commands_n;

// NULL: there is none of this name.
const struct command *commands_find(const char *name);

// "init, up and down": the names of all, in memory of this function's.
const char *commands_names(const char *last_separator);

#endif
