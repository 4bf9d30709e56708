// SPDX-License-Identifier: MIT
// The metrics of the whole suite, for one scrape: /metrics/suite at the admin listener. They are
// fetched when they are asked for, from all processes at once, each with a time limit of its own:
//
//   - processes of this home, by their admin sockets: $SLUICE_HOME/run/*.admin.sock. One that a
//     killed process left behind is a process that is not up.
//   - processes elsewhere, by SLUICE_SUITE: HOST:PORT of admin listeners; each address of a name is
//     a process.
//   - workers that are connected to this gateway and are none of those count as not up: it is known
//     that they live, but not where to ask them.
//
// Nothing is done while nobody asks. Those who ask while a scrape is on get its result.
#ifndef GATEWAY_SUITE_H
#define GATEWAY_SUITE_H

#include "gateway/gateway.h"
#include "gateway/suite_text.h"

#define SUITE_MAX_PROCESSES 128  // asked at once, each a descriptor -> left out, and counted
#define SUITE_MAX_NAMES 16       // in SLUICE_SUITE -> refused at the start
#define SUITE_MAX_ADDRESSES 64   // of those names -> the others are not asked
#define SUITE_MAX_WAITERS 40     // for one scrape: every admin connection, and the console -> 503
#define SUITE_TEXT_BYTES 1048576 // of one process -> it counts as not up
#define SUITE_TOTAL_BYTES (16 * 1048576) // of all -> likewise
#define SUITE_TIMEOUT_MS 2000            // for one process -> likewise
#define SUITE_RESOLVE_MS 5000            // names are looked up again after so long

struct suite;

// The processes, sorted by job and instance, and how many were left out; borrowed for the call. n is
// 0 when there is no memory.
typedef void suite_done_fn(struct suite_process *processes, size_t n, size_t left_out, void *data);

// The home is scanned and names are looked up from now on when somebody asks. Adds the admin page.
// Returns 0; -EINVAL: SLUICE_SUITE is not as it should be; or another negative errno.
__attribute__((warn_unused_result)) int suite_open(struct gateway *g, struct suite **ret_suite);
void suite_close(struct suite **s);

// Gathers once. done runs once, never from within this, unless suite_forget() or suite_close() comes
// first. 0, -EBUSY over SUITE_MAX_WAITERS, or -ENOMEM.
__attribute__((warn_unused_result)) int suite_gather(struct suite *s, enum metrics_format format,
                                                     suite_done_fn *done, void *data);

// What was asked for with this data is not wanted any more.
void suite_forget(struct suite *s, const void *data);

#endif
