// SPDX-License-Identifier: MIT
// A process that does one thing for another one: forked at the start, before the sandbox is entered and while there is
// one thread, it gives up everything but its links to the process that it belongs to. Its memory is its own, so that
// what it does with a low priority holds no lock that others wait for.
//
// It ends with its process, however that ends. When it ends first, its process ends with EXIT_FAILED, and whoever started
// that starts both again. SIGTERM and SIGINT are for its process alone. Only process.c starts one.
#ifndef COMMON_COMPANION_H
#define COMMON_COMPANION_H

#include "common/config.h"

#include <sys/types.h>

#define COMPANION_MAX_LINKS 4

struct companion {
    const char *name; // as ps shows it, and log lines: at most 15 bytes
    size_t n_links;   // 1..COMPANION_MAX_LINKS
    // In the companion, in a thread for each link: answers what comes until the link is at its end.
    void (*serve)(int link);
    // In the process: the other ends, which are its own to close. Messages keep their borders (SOCK_SEQPACKET).
    void (*on_links)(const int links[], size_t n);
};

// Forks. sandbox is SLUICE_SANDBOX. config is the program's, read by the table; the companion forgets it, secrets
// first. Returns 0 with *ret_pid set, or a negative errno with a line in error.
__attribute__((warn_unused_result)) int
companion_start(const struct companion *c, const char *sandbox, const struct config_option *table,
                void *config, pid_t *ret_pid, char error[CONFIG_ERROR_SIZE]);

#endif
