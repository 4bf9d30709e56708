// SPDX-License-Identifier: MIT
// The filter of system calls. Only sandbox.c uses it.
#ifndef COMMON_SECCOMP_H
#define COMMON_SECCOMP_H

#include "common/sandbox.h"

// Refuses, from now on and in all threads, the system calls that no process of this kind makes;
// needs no_new_privs. Returns 0; -ENOSYS when the kernel has no filters; or another negative errno.
__attribute__((warn_unused_result)) int seccomp_enter(enum sandbox_kind kind);

#endif
