// SPDX-License-Identifier: MIT
// What a process has used, from /proc: the same yardstick for the queue and its peers.
#ifndef TESTS_BENCH_USAGE_H
#define TESTS_BENCH_USAGE_H

#include <sys/types.h>

struct usage {
    double cpu_s;         // user and system
    double written_bytes; // that it caused to be written to a disk
    double resident_kib;
};

// All zeros when there is no such process.
struct usage usage_of(pid_t pid);

#endif
