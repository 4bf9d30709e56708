// SPDX-License-Identifier: MIT
// How many processes a service should have: a rule, what was measured, and what was decided before
// give a number and its reason. Nothing here asks a clock, a file or a process, so that every
// decision can be tested. docs/scaling.md explains it to operators.
//
//     too much work (a target exceeded) for SCALING_OVER_SAMPLES samples
//         -> up to `step` more at once, once per cool-down, at most `max`
//     so little that one less would still be below SCALING_CALM of the target, for the whole cool-down
//         -> one less, at least `min` (and 1)
//     `min` is 0, and nothing at all to do for the idle time
//         -> none; the first request brings one back
#ifndef DEPLOY_SCALING_H
#define DEPLOY_SCALING_H

#include <stdbool.h>
#include <stdint.h>

#define SCALING_OVER_SAMPLES 2 // in a row: one alone may be a burst that is over already
#define SCALING_CALM_PERCENT                                                                       \
    70 // of a target: the gap between up and down that keeps it from flapping

// Targets of 0 are not looked at.
struct scaling_rule {
    bool on;
    int64_t min, max;         // processes
    int64_t utilisation;      // percent of what the workers take at once that is there
    int64_t cpu;              // percent of one core that a process uses
    int64_t wait_ms;          // that the oldest request waits at a gateway
    int64_t latency_ms;       // 95 % of requests are answered within
    int64_t lag;              // events that the service's groups have before them
    int64_t step;             // processes added at once, at most
    int64_t cooldown_up_ms;   // after a change, before more are added
    int64_t cooldown_down_ms; // that a service must be calm before one is taken away
    int64_t idle_ms;          // without anything to do, before the last one is taken away
};

// Whether both say the same.
bool scaling_rule_equal(const struct scaling_rule *a, const struct scaling_rule *b);

// What was measured of one service. Sums are over its processes, or over all gateways.
struct scaling_input {
    int64_t now_ms;  // monotonic
    int64_t count;   // processes wanted now
    int64_t sampled; // of those, processes that answered; without any there is nothing to decide by
    int64_t in_flight;  // requests at workers, of the class that is busiest at each
    int64_t capacity;   // as many of it they take at once, together
    int64_t cpu;        // percent of one core, mean of the processes
    int64_t waiting;    // requests at gateways that no worker has
    int64_t wait_ms;    // the oldest of them
    int64_t latency_ms; // 95th percentile since the last sample; 0: no request was answered
    int64_t lag;        // events
    bool active; // requests were answered since the last sample, or something has yet to be sent
    bool
        demanded; // a request came while there was no process, or a gateway has to learn its routes
};

#define SCALING_REASONS(X)                                                                         \
    X(STEADY, "steady")           /* within its targets */                                         \
    X(UNKNOWN, "unknown")         /* no process answered: nothing is changed */                    \
    X(COOLING, "cooling-down")    /* it would, but a change was made just now */                   \
    X(AT_MAX, "at-maximum")       /* it would, but max is reached */                               \
    X(MINIMUM, "minimum")         /* below min */                                                  \
    X(MAXIMUM, "maximum")         /* above max */                                                  \
    X(UTILISATION, "utilisation") /* over its target; the next four likewise */                    \
    X(CPU, "cpu")                                                                                  \
    X(WAIT, "wait")                                                                                \
    X(LATENCY, "latency")                                                                          \
    X(LAG, "lag")                                                                                  \
    X(CALM, "calm")     /* fewer are enough */                                                     \
    X(IDLE, "idle")     /* none is needed */                                                       \
    X(DEMAND, "demand") /* one is needed again */

enum scaling_reason {
#define X(symbol, name) SCALING_##symbol,
    SCALING_REASONS(X)
#undef X
        SCALING_REASON_COUNT
};

struct scaling_decision {
    int64_t count; // processes that there should be
    enum scaling_reason reason;
    int64_t value, target; // of the reason, in its unit; 0, 0: it has none
};

// Between decisions about one service; zero-initialised at first, and when its rule has changed.
struct scaling_state {
    bool began;
    unsigned over;      // samples in a row with a target exceeded
    int64_t changed_ms; // last change of the number
    int64_t calm_ms;    // calm since; -1: it is not
    int64_t idle_ms;    // nothing to do since; -1: it has
};

struct scaling_decision scaling_decide(const struct scaling_rule *rule, struct scaling_state *state,
                                       const struct scaling_input *input);

const char *scaling_reason_name(enum scaling_reason reason);

// "%", "ms", "events" or "": of value and target.
const char *scaling_reason_unit(enum scaling_reason reason);

#endif
