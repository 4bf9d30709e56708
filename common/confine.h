// SPDX-License-Identifier: MIT
// Which rights a process keeps: what its configuration names (the column `names` of its option
// table), what its program asks for, and the few paths of the system that every process reads.
// sandbox.h says what becomes of the rest. Only process.c uses it, and companion.c.
#ifndef COMMON_CONFINE_H
#define COMMON_CONFINE_H

#include "common/config.h"
#include "common/sandbox.h"

// What is wanted of a service, and of a program without files of its own; nothing by "off".
#define CONFINE_SERVICE ((1u << SANDBOX_PARTS) - 1)
#define CONFINE_SUPERVISOR (SANDBOX_SYSTEM_CALLS | SANDBOX_MEMORY)

struct process_config;
struct process_right;

// config is the program's, read by the table, with an absolute home. rights may be NULL.
// SLUICE_SANDBOX=off does nothing. Call it with one thread. Returns 0 with *ret_parts set, or a
// negative errno with a line in error: -ENOTSUP when SLUICE_SANDBOX=require and a part cannot be
// had.
__attribute__((warn_unused_result)) int confine_enter(const struct config_option *table,
                                                      const struct process_config *config,
                                                      const struct process_right *rights,
                                                      unsigned *ret_parts,
                                                      char error[CONFIG_ERROR_SIZE]);

// The same for SLUICE_SANDBOX=mode of a program that has no files of its own: system calls and
// memory only.
__attribute__((warn_unused_result)) int confine_supervisor(const char *mode, unsigned *ret_parts,
                                                           char error[CONFIG_ERROR_SIZE]);

// The same for the log writer, which has the files below directory and nothing else.
__attribute__((warn_unused_result)) int confine_log_writer(const char *mode, const char *directory,
                                                           unsigned *ret_parts,
                                                           char error[CONFIG_ERROR_SIZE]);

// The same for a companion, which has its links and nothing else.
__attribute__((warn_unused_result)) int confine_companion(const char *mode, unsigned *ret_parts,
                                                          char error[CONFIG_ERROR_SIZE]);

// For a log line: names of the parts that are in force, or "none"; then, unless SLUICE_SANDBOX=mode
// is off, those of wanted that are not: "memory; not on this kernel or in this build: files ports".
#define CONFINE_TEXT_SIZE 128
void confine_text(const char *mode, unsigned wanted, unsigned parts, char text[CONFINE_TEXT_SIZE]);

#endif
