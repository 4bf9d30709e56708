// SPDX-License-Identifier: MIT
// What outlives a process: the disk, the queue (which keeps all that it acknowledged), the clock,
// and the clients, who remember what they asked for and what they were answered.
#ifndef STORE_SIM_WORLD_H
#define STORE_SIM_WORLD_H

#include "common/worker.h"
#include "tests/fault/store_sim/disk.h"

#define WORLD_REQUESTS 512
#define WORLD_EVENTS 2048
#define WORLD_ID 37 // bytes of an id with a NUL

// A request that a client makes until it has an answer, and some again after that.
struct request {
    int kind;           // the model's
    int of;             // the request that made what it is about; -1: none
    int what, quantity; // the model's
    int asked;          // how often; above 1 an earlier one may have been done
    uint32_t status;    // of the answer that settled it; 0: not known
    uint32_t n_body;    // of that answer
    char body[1024];
    char id[WORLD_ID];    // of what it made
    char secret[128];     // that the answer alone told
    int64_t version;      // that it made
    char inner[WORLD_ID]; // the model's: another id that goes with it
};

struct seen_event {
    uint64_t producer_seq;
    int kind;               // the model's
    char subject[WORLD_ID]; // "": none that matters
    int64_t version;
    char inner[WORLD_ID]; // the model's
};

struct counts {
    uint64_t lives, killed, power_lost, closed, failed_syncs;
    uint64_t requests, acknowledged, repeated, unclear, replayed, events, duplicates, checkpoints;
};

struct world {
    struct disk *disk;
    struct chance chance;
    int64_t now_us; // of both clocks
    struct request requests[WORLD_REQUESTS];
    int n_requests;
    char producer[128];
    uint64_t highest; // producer sequence
    struct seen_event events[WORLD_EVENTS];
    int n_events;
    struct counts counts;
    char broken[512]; // the promise that was; "": none
};

// Says which promise is broken and ends the process.
_Noreturn __attribute__((format(printf, 2, 3))) void world_broken(struct world *w,
                                                                  const char *format, ...);

// The service under test, whose main() was linked.
const struct service *world_service(void);

#endif
