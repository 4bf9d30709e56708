// SPDX-License-Identifier: MIT
// `sluice keys`: the key pairs of the deployment's identities (common/key_pairs.h) and, for
// containers, the secrets that one process needs. Secrets are never printed. Each command prints what
// it did or what is wrong, and returns an exit status.
#ifndef DEPLOY_KEY_COMMANDS_H
#define DEPLOY_KEY_COMMANDS_H

#include <stdbool.h>

// Runs the command words[0] with the names behind it. json: `show` prints JSON. EXIT_USAGE after
// telling what is wrong with the words.
int key_commands(const char *home, int n_words, char **words, bool json);

extern const char key_commands_help[];

#endif
