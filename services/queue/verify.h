// SPDX-License-Identifier: MIT
// `sluice-queue --verify DIR [ARCHIVE]`: reads every byte of a log that may be in use or not, changes and locks
// nothing, and prints what it found as NDJSON: a line for each segment, for each range that is lost, and
// one for the whole.
#ifndef QUEUE_VERIFY_H
#define QUEUE_VERIFY_H

#include <stdio.h>

#define VERIFY_CLEAN 0
#define VERIFY_UNREADABLE                                                                          \
    3 // a directory or a file in it cannot be read, or is of no log or another one
#define VERIFY_DAMAGED                                                                             \
    4 // something is not as it was written; an unfinished write at the end is no damage

// archive: the directory of archived segments, or NULL; one that has none is told of on standard error. Returns one
// of these.
int verify_log(const char *dir, const char *archive, FILE *out);

#endif
