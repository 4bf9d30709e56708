// SPDX-License-Identifier: MIT
// A pool per thread, filled by getrandom(2). A fork throws the child's copy of the pool away.
#include "common/random.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

// getrandom(2) gives up to 256 bytes at once and without being interrupted.
#define POOL_BYTES 256

static _Atomic unsigned n_forks; // in this process's line of descent
static pthread_once_t once = PTHREAD_ONCE_INIT;

static _Thread_local struct {
    unsigned char bytes[POOL_BYTES];
    size_t left;      // unused bytes, at the end
    unsigned n_forks; // when it was filled
} pool;

static void on_forked(void)
{
    atomic_fetch_add_explicit(&n_forks, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
    int failed = pthread_atfork(NULL, NULL, on_forked);
    assert(failed == 0); // it allocates a few bytes, once, when the process begins
}

static void refill(unsigned forks)
{
    pthread_once(&once, watch_forks);
    ssize_t n;
    do {
        n = getrandom(pool.bytes, sizeof(pool.bytes), 0);
    } while (n < 0 && errno == EINTR);
    assert(n == sizeof(pool.bytes)); // cannot fail for 256 bytes since Linux 3.17
    pool.left = sizeof(pool.bytes);
    pool.n_forks = forks;
}

void random_fill(void *out, size_t n)
{
    unsigned char *to = out;
    while (n > 0) {
        unsigned forks = atomic_load_explicit(&n_forks, memory_order_relaxed);
        if (pool.left == 0 || pool.n_forks != forks) {
            refill(forks);
        }
        size_t part = n < pool.left ? n : pool.left;
        memcpy(to, pool.bytes + sizeof(pool.bytes) - pool.left, part);
        pool.left -= part;
        to += part;
        n -= part;
    }
}
