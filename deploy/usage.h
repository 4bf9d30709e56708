// SPDX-License-Identifier: MIT
// `sluice` explained: its help, its manual page and the completion of shells, from the tables of
// commands and options. All of it goes to standard output.
#ifndef DEPLOY_USAGE_H
#define DEPLOY_USAGE_H

#include "deploy/command_line.h"

// All commands in short.
void usage_help(void);

// One command with its options.
void usage_command_help(const struct command *c);

// The manual page, as roff.
void usage_manual(void);

// A script for the shell: bash or zsh. Returns the exit status: EXIT_USAGE, after a line on stderr, for
// another one or none (NULL).
int usage_completion(const char *shell);

#endif
