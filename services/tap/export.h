// SPDX-License-Identifier: MIT
// Where an export goes: standard output, or a file that gets its name when it is complete.
#ifndef TAP_EXPORT_H
#define TAP_EXPORT_H

#include "services/tap/progress.h"
#include "services/tap/tap.h"

#define EXPORT_PATH 4096

struct export {
    const char *path;  // NULL: standard output
    char part[EXPORT_PATH];
    void *file;        // FILE; NULL: standard output
    uint64_t n;        // events
    struct progress progress;
};

// TAP_OK, or TAP_USAGE after a message.
__attribute__((warn_unused_result)) int export_open(struct export *x, struct tap *t, const char *path);

// Writes what is in t->out. TAP_OK, LOG_STOP when nobody reads any more, or the exit status.
__attribute__((warn_unused_result)) int export_flush(struct export *x, struct tap *t);

// Completes the file if status is TAP_OK, else removes it. Returns the exit status.
__attribute__((warn_unused_result)) int export_close(struct export *x, struct tap *t, int status);

#endif
