// SPDX-License-Identifier: MIT
// Threads beside the loop. Signals are for the loop's thread: the others block all of them.
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>

// 0 or -errno. The caller joins it.
__attribute__((warn_unused_result)) int thread_start(void *(*run)(void *data), void *data,
                                                     pthread_t *ret_thread);

#endif
