// SPDX-License-Identifier: MIT
// How long to wait before a process that died is started again: doubling from BACKOFF_FIRST_MS, so
// that a process that cannot run does not eat the machine, and forgiving, so that one that was
// killed is back at once.
#ifndef DEPLOY_BACKOFF_H
#define DEPLOY_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 5000        // for a process that died before it was ready
#define BACKOFF_MAX_READY_MS 1000  // for one that was: it serves in between, so longer waits only cost service
#define BACKOFF_FORGIVE_MS 1000    // each second of being ready takes back one failure
#define BACKOFF_MAX_FAILURES 10    // counted at most: ten seconds of being ready are always a fresh start
#define BACKOFF_CRASH_LOOP 5       // failures that are not forgiven from which on it is called a crash loop

struct backoff {
    unsigned failures; // that are not forgiven; zero-initialised is a fresh start
};

// The process died after being ready for ready_ms (-1: it never was). Returns how long to wait.
int64_t backoff_failed(struct backoff *b, int64_t ready_ms);

// Whether it keeps dying. ready_ms is how long it has been ready by now (-1: it is not).
bool backoff_is_crash_loop(const struct backoff *b, int64_t ready_ms);

#endif
