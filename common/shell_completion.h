// SPDX-License-Identifier: MIT
// The completion of bash and zsh for a program whose first argument is a command or a flag. What
// may stand where is said by a function that both shells understand; its body is the program's own,
// printed to standard output between these two: it sets the variable found to words, from $1, the
// first argument when it is not the one being completed, and $2, the word before that one.
#ifndef COMMON_SHELL_COMPLETION_H
#define COMMON_SHELL_COMPLETION_H

#include <stdbool.h>

// shell is "bash" or "zsh"; with anything else, or NULL, nothing is printed and the result is false.
__attribute__((warn_unused_result)) bool shell_completion_begin(const char *program,
                                                                const char *shell);

// files: where no word is found, names of files are offered.
void shell_completion_end(const char *program, const char *shell, bool files);

#endif
