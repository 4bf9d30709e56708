// SPDX-License-Identifier: MIT
// The beginning of every process that the supervisor starts: a fork that has nothing of its
// signals, and ends with it.
#ifndef DEPLOY_SPAWN_H
#define DEPLOY_SPAWN_H

#include <sys/types.h>

// Forks. Returns the child's pid, or a negative errno. In the child, which is to call exec, it
// returns 0: signal dispositions and the mask are as a fresh process has them, it leads a process
// group of its own, and the kernel sends it death_signal when the supervisor dies. The supervisor
// has one thread, so everything is allowed before exec. Descriptors are the caller's to close.
__attribute__((warn_unused_result)) pid_t spawn_fork(int death_signal);

#endif
