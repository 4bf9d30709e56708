// SPDX-License-Identifier: MIT
// A file that is read again when another one was put in its place, or when it was written to; and
// when its owner, group or mode has changed, because it may be that it could not be read before.
#ifndef COMMON_WATCHED_FILE_H
#define COMMON_WATCHED_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct watched_file {
    const char *path; // borrowed
    struct stat seen; // when it was looked at last
    int64_t again_ms; // it is not looked at before; monotonic. 0: at any time
};

// Looks at the file as it is now: read it after that. Whether it is there.
bool watched_file_begin(struct watched_file *w, const char *path);

// Whether it has changed since it was looked at last. One that is away has not: it is being
// replaced.
bool watched_file_changed(struct watched_file *w);

// It could not be read for a reason that passes (no memory, no descriptor): it counts as changed at the
// next look after wait_ms, before which it has not, whatever becomes of it. 0: at the next look.
void watched_file_again(struct watched_file *w, int64_t wait_ms);

#endif
