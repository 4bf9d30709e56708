// SPDX-License-Identifier: MIT
// How many requests of one class a worker takes at once, learned from how long they take
// (docs/adr/0007-overload.md). A request that is alone takes its service time; with others around it
// waits as well. When the whole takes longer than what is allowed, the limit falls to what fits; when
// it does not and the limit was reached, the limit grows. A limit that is not reached goes back to where
// it began, step by step: a hiccup is forgotten, and a flood finds no more room than is needed. No clock
// and no timer: times are given.
//
// Work that is done one after the other in the loop is seen only when the loop has read it, so whether
// its limit was reached is not known: most of it may be in the socket. But what fits is, from the
// service time alone, and the limit grows that far.
//
//     allowed = the larger of LIMITER_TARGET_US and LIMITER_FACTOR times the service time
#ifndef COMMON_LIMITER_H
#define COMMON_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#define LIMITER_TARGET_US 20000  // so long a request may take without anything being done about it
#define LIMITER_FACTOR 3         // waiting twice the service time fills every gap and no more
#define LIMITER_WINDOW_US 100000 // the limit is thought about so often
#define LIMITER_MIN 2            // one that is worked on, and the next one
#define LIMITER_START 32         // keeps a fast worker busy; slow work has not too much to finish

enum limiter_kind {
    LIMITER_SERIAL,   // one after the other
    LIMITER_BATCHED,  // many are worked on as one: the service time is that of the fastest
    LIMITER_PARALLEL, // some at once
};

struct limiter {
    uint32_t limit, max;
    enum limiter_kind kind;
    uint32_t sharers;   // who divide the limit among them; each can reach its own share only
    int64_t begin_us;   // of the window
    uint32_t n, peak;   // requests finished in it; most at once
    int64_t whole_us;   // sums
    int64_t service_us; // sum, or the least when batched
};

void limiter_init(struct limiter *l, uint32_t max, enum limiter_kind kind);

// So many are there now, the new one included.
static inline void limiter_enter(struct limiter *l, uint32_t n)
{
    l->peak = n > l->peak ? n : l->peak;
}

// One is finished: it took whole_us from its arrival, service_us of them for itself. True: the limit
// is another one now.
bool limiter_finish(struct limiter *l, int64_t whole_us, int64_t service_us, int64_t now_us);

#endif
