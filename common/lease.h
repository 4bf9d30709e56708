// SPDX-License-Identifier: MIT
// The right to write a store: flock(2) on a file, waited for by a thread that is blocked in the
// kernel, so that the hand-over after a crash needs nobody's coordination. It ends only with the
// process (or lease_close): a stopped process keeps it, so there are never two writers.
#ifndef COMMON_LEASE_H
#define COMMON_LEASE_H

#include <stdbool.h>
#include <uv.h>

struct lease;

// Waits for the lock on path (made if missing, 0600) in the background. on_acquired runs on the
// loop, once.
__attribute__((warn_unused_result)) int lease_open(uv_loop_t *loop, const char *path,
                                                   void (*on_acquired)(void *data), void *data,
                                                   struct lease **ret_lease);

bool lease_held(const struct lease *l);

// Gives the lease up, or stops waiting for it.
void lease_close(struct lease **l);

// Frees the lease, but a lock that is held stays until the process exits: for those whose last
// traces (sockets) go away after the loop has ended.
void lease_leave(struct lease **l);

// Tries once, without waiting and without a loop: 0 and an fd to close(2) for giving it up,
// -EWOULDBLOCK when somebody holds it, or another negative errno. For tools and tests.
__attribute__((warn_unused_result)) int lease_try(const char *path, int *ret_fd);

#endif
