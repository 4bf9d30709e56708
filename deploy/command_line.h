// SPDX-License-Identifier: MIT
// The command line of `sluice`: what a command is, which options there are, and reading them. What the
// commands do is in commands.c; how they are explained to people and shells in usage.c.
#ifndef DEPLOY_COMMAND_LINE_H
#define DEPLOY_COMMAND_LINE_H

#include <getopt.h>
#include <stdbool.h>

#define COMMAND_LINE_WORDS 8 // after a command, for those that take several

struct arguments {
    const char *home, *port, *env, *env_file, *output; // NULL: not given
    bool detach, json, secrets, force;
    int n_words;
    char **words; // what follows the options
};

struct command {
    const char *name;
    const char *options; // letters of those it takes, besides --help
    int max_words;
    // Returns the exit status.
    int (*run)(const struct command *self, const struct arguments *a);
    const char *synopsis, *summary, *help;
    const char *completes; // words that may follow it, for the shell, each with a blank; NULL: none
    bool takes_services;   // and names of services
    bool takes_settings;   // --help has the environment variables
};

// All options of all commands, by their letters; ended by a NULL name.
extern const struct option command_line_options[];

// Says on stderr what is wrong and where the help is; c NULL: of no command. Returns EXIT_USAGE.
__attribute__((format(printf, 2, 3))) int command_line_error(const struct command *c,
                                                             const char *format, ...);

// Reads the options and words that follow the command, which is argv[0]. 0; 1 when help is asked for;
// or -EINVAL after command_line_error().
__attribute__((warn_unused_result)) int command_line_parse(const struct command *c, int argc,
                                                           char **argv, struct arguments *a);

#endif
