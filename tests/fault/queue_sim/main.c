// SPDX-License-Identifier: MIT
// queue_sim [--seeds N] [--from S] [--trace]: N runs, with the seeds S, S + 1 and so on. Ends with 0 when every promise
// was kept; else with 1, the seed, and what was broken. The same seed is the same run, on every machine.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/queue_sim/chance.h"
#include "tests/fault/queue_sim/run.h"

// Takes the place of the operating system's (by --wrap, see meson.build), so that salts follow from the seed, too.
static struct chance salts;
void __wrap_random_fill(void *out, size_t n);
void __wrap_random_fill(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)out)[i] = (unsigned char)chance_next(&salts);
    }
}

static int usage(const char *wrong)
{
    fprintf(stderr, "queue_sim: %s; allowed: [--seeds N] [--from S] [--trace]\n", wrong);
    return 64;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, from = 1;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        uint64_t *number = strcmp(argv[i], "--seeds") == 0  ? &seeds
                           : strcmp(argv[i], "--from") == 0 ? &from
                                                            : NULL;
        char *end = NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (!number || i + 1 == argc) {
            return usage(number ? "a number is missing" : "an option is not known");
        } else {
            *number = strtoull(argv[++i], &end, 10);
            if (end == argv[i] || *end) {
                return usage("a number is not one");
            }
        }
    }
    struct run_counts c = { 0 };
    for (uint64_t i = 0; i < seeds; i++) {
        salts.state = from + i;
        run_seed(from + i, trace, &c);
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " frames, %" PRIu64 " events, %" PRIu64
           " duplicates, %" PRIu64 " full, %" PRIu64 " failed, %" PRIu64 " deaths, %" PRIu64
           " opens, %" PRIu64 " refused, %" PRIu64 " bits turned, %" PRIu64 " events lost, %" PRIu64
           " segments removed, %" PRIu64 " out of the middle, %" PRIu64 " dead letters, %" PRIu64
           " calls\n",
           seeds, c.frames, c.events, c.duplicates, c.full, c.failed, c.deaths, c.opens,
           c.refused_opens, c.flips, c.lost, c.removals, c.holes, c.burials, c.calls);
    return 0;
}
