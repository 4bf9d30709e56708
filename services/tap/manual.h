// SPDX-License-Identifier: MIT
// What the tables of commands.h say, as texts: for people at a terminal, as a manual page, and for
// the shells that complete.
#ifndef TAP_MANUAL_H
#define TAP_MANUAL_H

#include <stdio.h>

#include "services/tap/commands.h"

// The overview of all commands and options.
void manual_help(FILE *out);

// One command with the options that it takes.
void manual_command(const struct command *command, FILE *out);

// roff, for man(7).
void manual_page(FILE *out);

// A script for "bash" or "zsh". -EINVAL: another shell.
__attribute__((warn_unused_result)) int completion_print(const char *shell, FILE *out);

#endif
