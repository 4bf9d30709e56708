// SPDX-License-Identifier: MIT
// What became of every request: counts, percentiles and a timeline as JSON, and, if wanted, one line
// for each request.
#ifndef TESTS_LOAD_LEDGER_H
#define TESTS_LOAD_LEDGER_H

#include "tests/load/plan.h"

// How an attempt ended when not with a status: below every status.
enum { END_TIMEOUT = 1, END_CLOSED = 2, END_UNCONNECTED = 3 };

#define LEDGER_STATUSES 600
#define LEDGER_SLICE_US 250000 // of the timeline

struct samples {
    uint32_t *us; // owned
    size_t n, cap;
};

// One kind of request in one phase.
struct ledger_cell {
    uint64_t planned;
    uint64_t outcomes[LEDGER_STATUSES]; // of requests, in the end
    uint64_t attempts[LEDGER_STATUSES]; // of every single attempt
    struct samples good;                // 2xx, from the planned time of the request
    struct samples admitted;            // attempts with 2xx, from the planned time of the attempt
    struct samples refused;             // attempts with 429 or 503, likewise
};

struct ledger_slice {
    uint32_t planned[PLAN_MAX_REQUESTS]; // that were to begin in this slice
    uint32_t good[PLAN_MAX_REQUESTS];    // 2xx that came in this slice
};

struct ledger {
    const struct plan *plan;
    struct ledger_cell *cells;   // owned; phase by phase
    struct ledger_slice *slices; // owned
    size_t n_slices;
    FILE *lines;           // one for each request; NULL: none
    uint64_t sent_late_us; // the longest that the generator itself was behind its plan
    uint64_t
        unasked; // answers, or more behind one, that no request was waiting for; none is allowed
};

struct ledger_request {
    size_t phase, kind;
    uint64_t number; // names its key
    int attempts;
    int64_t planned_us; // from the begin
    int64_t ended_us;
    int end;              // a status, or END_*
    const char *location; // of the answer; "" without
};

__attribute__((warn_unused_result)) int ledger_init(struct ledger *l, const struct plan *plan,
                                                    FILE *lines);
void ledger_fini(struct ledger *l);

void ledger_planned(struct ledger *l, size_t phase, size_t kind, int64_t planned_us);
void ledger_attempt(struct ledger *l, size_t phase, size_t kind, int end, int64_t took_us);
void ledger_request(struct ledger *l, const struct ledger_request *r);

void ledger_print(const struct ledger *l, FILE *out);

#endif
