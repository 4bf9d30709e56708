// SPDX-License-Identifier: MIT
// Preloaded into a process under test: its fdatasync number FAIL_SYNC_AT (from 1) fails with EIO, as a disk that
// gives up does. The one after would succeed, which is the trap: what the failed one had to write is lost.
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

int fdatasync(int fd)
{
    static atomic_long calls;
    static int (*next)(int fd);
    const char *at = getenv("FAIL_SYNC_AT");
    if (at && atomic_fetch_add(&calls, 1) + 1 == strtol(at, NULL, 10)) {
        errno = EIO;
        return -1;
    }
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    }
    return next(fd);
}
