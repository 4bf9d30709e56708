// SPDX-License-Identifier: MIT
// Landlock by its system calls, because no library wraps them. Only sandbox.c uses it. Source: the
// kernel's documentation, userspace-api/landlock.
#ifndef COMMON_LANDLOCK_H
#define COMMON_LANDLOCK_H

#include "common/sandbox.h"

// The version of the interface, from 1; 0: the kernel has none, or it is not enabled.
int landlock_version(void);

// Restricts the calling thread to the rules; needs no_new_privs. Returns the parts that are in
// force (SANDBOX_FILES, _PORTS, _SIGNALS), 0 when the kernel has none, or a negative errno.
__attribute__((warn_unused_result)) int landlock_enter(const struct sandbox *rules);

#endif
