// SPDX-License-Identifier: MIT
// How far a long command is: one line on standard error, rewritten in place, on a terminal only.
#ifndef TAP_PROGRESS_H
#define TAP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; // "exported"
    uint64_t total;   // 0: not known
    int64_t begun_ms, shown_ms;
    bool terminal, shown;
};

void progress_begin(struct progress *p, const char *what, uint64_t total);

// Shows it, at most a few times a second.
void progress_at(struct progress *p, uint64_t done);

// Takes the line away.
void progress_end(struct progress *p);

#endif
