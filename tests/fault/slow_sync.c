// SPDX-License-Identifier: MIT
// Preloaded into all processes of a suite: every fdatasync of one program takes longer, as on a disk
// that is worn out or shared with somebody who writes a lot. The test says by how much.
//
//     SLOW_SYNC_PROGRAM   the program, as "sluice-orders"; in others nothing happens
//     SLOW_SYNC_CONTROL   the file, with the milliseconds in it
#include "tests/fault/preload_control.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

static _Atomic uint32_t *delay_ms; // NULL: not this program

__attribute__((constructor)) static void begin(void)
{
    delay_ms = preload_control("SLOW_SYNC_PROGRAM", "SLOW_SYNC_CONTROL", sizeof *delay_ms);
}

int fdatasync(int fd)
{
    static int (*next)(int fd);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    }
    uint32_t ms = delay_ms ? *delay_ms : 0;
    struct timespec delay = { ms / 1000, (long)(ms % 1000) * 1000000 };
    (void)nanosleep(&delay, NULL); // a signal makes it shorter
    return next(fd);
}
