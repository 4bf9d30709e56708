// SPDX-License-Identifier: MIT
// One life of the service, from opening its store to its end: the real routes, dispatcher, store
// and outbox, asked as a gateway asks.
#ifndef STORE_SIM_LIFE_H
#define STORE_SIM_LIFE_H

#include "tests/fault/store_sim/world.h"

// What one life does before its end.
struct plan {
    int turns;      // with requests
    bool close;     // in good order, at the end
    bool verify;    // asks for everything, and looks whether all of it is as it was answered
    int wal_factor; // pages of the log count so many times: how often there is a checkpoint
};

// Lives in this process, which must have been forked for it, and ends it: with 0, or 1 with
// w->broken, or DISK_EXIT. LIFE_FAILED: the store failed, as a disk that failed made it.
_Noreturn void life(struct world *w, const struct plan *plan, const char *directory, bool trace);

#define LIFE_FAILED 2

// --- For the models (model.h)

extern const struct frame_principal life_nobody;

// Sends a request of the operation of that name. f may have params, query and headers; json NULL: no
// body. Its answer goes to model.answered(number).
void life_send(struct frame_request *f, const char *operation, const char *json,
               const struct frame_principal *who, int number);

// A read, which is answered at once. Returns the status; *ret_body is good until the next look.
uint32_t life_look(struct frame_request *f, const char *operation, const char *json,
                   const struct frame_principal *who, struct str *ret_body);

// Notes a request that is to be made; returns its number.
int life_add(int kind, int of);
bool life_in_flight(int number);

// The number that a query answers; -1 when there is none. sql is constant; id is its ?1, or NULL.
int64_t life_number(const char *sql, const char *id);

#endif
