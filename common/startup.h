// SPDX-License-Identifier: MIT
// What a process does before it has a loop: command line, configuration, home, admin addresses,
// limits. Only process.c uses it. Errors are printed here, one line on stderr each, because logging
// does not run yet.
#ifndef COMMON_STARTUP_H
#define COMMON_STARTUP_H

#include "common/config.h"
#include "proto/buf.h"

#define STARTUP_ADDRESSES_BYTES 16384 // far above two paths

struct process_command;
struct process_config;

enum startup_command {
    STARTUP_RUN,
    STARTUP_HEALTHCHECK,
    STARTUP_PRINT_CONFIG,
    STARTUP_COMMAND, // one of the program's own
    STARTUP_DONE,
    STARTUP_WRONG
};

// Reads the command line; prints help, version, the manual page or a completion for STARTUP_DONE, the error for STARTUP_WRONG. A
// flag of the table goes to the environment, for startup_config(). commands may be NULL;
// *ret_command is set for STARTUP_COMMAND.
enum startup_command startup_command(const char *binary, const char *summary,
                                     const struct config_option *table,
                                     const struct process_command *commands, int argc, char **argv,
                                     const struct process_command **ret_command);

// Runs a command after startup_config(); own is what it gets of its program's. Returns the exit
// status.
int startup_run(const char *binary, const struct process_command *command,
                struct process_config *config, void *own);

// Loads config, takes its secrets out of the environment and checks the instance's name. Every wrong
// option is printed. Returns 0 or a negative errno.
__attribute__((warn_unused_result)) int
startup_config(const char *binary, const struct config_option *table, void *config);

// Loads config and prints it (config_print()). Returns the exit status.
int startup_print_config(const char *binary, const struct config_option *table, void *config);

// Makes config->home absolute. make: it is made when it is missing. Returns 0 or a negative errno.
__attribute__((warn_unused_result)) int startup_home(const char *binary,
                                                     struct process_config *config, bool make);

// Whether SLUICE_ADMIN is "none".
bool startup_admin_is_off(const struct process_config *config);

// Writes SLUICE_ADMIN, or what stands for it when it is not set, as admin_open() wants it, and a
// NUL. Needs an absolute home. Returns 0 or a negative errno; prints nothing.
__attribute__((warn_unused_result)) int startup_admin(const struct process_config *config,
                                                      struct buf *addresses);

// Prints why the admin listener could not be opened.
void startup_admin_error(const char *binary, const struct process_config *config, int error);

// Asks the running process for /readyz. Returns the exit status.
int startup_healthcheck(const char *binary, struct process_config *config);

// Standard descriptors, descriptor and core limits, umask, SIGPIPE, czmq. Before anything opens a
// socket.
void startup_limits(void);

#endif
