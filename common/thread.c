// SPDX-License-Identifier: MIT
#include "common/thread.h"

#include <signal.h>

int thread_start(void *(*run)(void *data), void *data, pthread_t *ret_thread)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = rc ? rc : pthread_create(ret_thread, NULL, run, data);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL); // what it was is valid
    return -rc;
}
