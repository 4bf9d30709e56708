// SPDX-License-Identifier: MIT
// Preloaded into all processes of a suite: one thread of one process stops getting anywhere, as it
// would in an endless loop or on a disk that does not answer. The test says which in a file that is
// mapped here. It happens once, so the process that comes in its place is well; a test may let the thread
// go on, and hang again at once, so that it only creeps.
//
//     HANG_PROGRAM   the program, as "sluice-orders"; in others nothing happens
//     HANG_CONTROL   the file, with a struct control in it
#include "tests/fault/preload_control.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

struct sqlite3_stmt;
int sqlite3_step(struct sqlite3_stmt *statement);

enum place {
    NOWHERE,
    LOOP,      // the first thread, in a query: it computes for ever
    STATEMENT, // another thread, before it runs a statement
    SYNC,      // another thread, when a sync is done and nobody knows
};

struct control {
    _Atomic uint32_t place;
    uint32_t pid; // of the process that is meant
    _Atomic uint32_t hung;
};

static struct control *control; // NULL: not this program

__attribute__((constructor)) static void begin(void)
{
    control = preload_control("HANG_PROGRAM", "HANG_CONTROL", sizeof *control);
}

static void hang_at(enum place place)
{
    uint32_t expected = (uint32_t)place;
    if (!control || control->place != expected || control->pid != (uint32_t)getpid() ||
        (gettid() == getpid()) != (place == LOOP) ||
        !atomic_compare_exchange_strong(&control->place, &expected, NOWHERE)) {
        return;
    }
    control->hung = 1;
    while (control->hung) {
        if (place != LOOP) {
            (void)usleep(1000); // until the test lets it go on, if it does
        }
    }
}

#define NEXT(name)                                                                                 \
    static __typeof__(&(name)) next;                                                               \
    if (!next) {                                                                                   \
        *(void **)&next = dlsym(RTLD_NEXT, #name);                                                 \
    }

int sqlite3_step(struct sqlite3_stmt *statement)
{
    NEXT(sqlite3_step)
    hang_at(LOOP);
    hang_at(STATEMENT);
    return next(statement);
}

int fdatasync(int fd)
{
    NEXT(fdatasync)
    int rc = next(fd);
    hang_at(SYNC);
    return rc;
}
