// SPDX-License-Identifier: MIT
// Keeps the policy in use (gateway/policy.h) the one that the file has: reads it at start, looks at
// the file every POLICY_LOOK_MS, and takes a changed one over when it has no mistake. A file with
// mistakes, or none, leaves the policy that is in use; that is logged and counted.
#ifndef GATEWAY_POLICY_WATCH_H
#define GATEWAY_POLICY_WATCH_H

#include "gateway/policy.h"

#include <uv.h>

#define POLICY_LOOK_MS 1000 // as the token keys are looked at

struct policy_watch;

// Reads path and begins to watch it. path, router and *policy outlive the watch; *policy is what is
// in use. Returns 0; -EINVAL after printing the file's mistakes to stderr, one a line; or another
// negative errno.
__attribute__((warn_unused_result)) int policy_watch_open(uv_loop_t *loop, const char *path,
                                                          struct router *router,
                                                          struct policy **policy,
                                                          struct policy_watch **ret_watch);

// The routes may have changed: makes their rules right. Cheap when they have not.
void policy_watch_follow(struct policy_watch *w);

// Stops watching; the policy in use stays with its owner.
void policy_watch_close(struct policy_watch **w);

#endif
