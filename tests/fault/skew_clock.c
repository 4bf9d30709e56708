// SPDX-License-Identifier: MIT
// Preloaded into all processes of a suite: the wall clock, and it alone, is off by as many seconds as
// the file SKEW_FILE says (an int64_t), which may change at any time.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *skew_s;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SKEW_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *skew_s, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    (void)close(fd);
    skew_s = p;
}

// Others are loaded before us, and may ask what time it is.
static int64_t skew(void)
{
    return skew_s ? *skew_s : 0;
}

int clock_gettime(clockid_t which, struct timespec *ret)
{
    static int (*next)(clockid_t which, struct timespec *ret);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int rc = next(which, ret);
    if (rc == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        ret->tv_sec += skew();
    }
    return rc;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    static int (*next)(struct timeval *ret, void *zone);
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "gettimeofday");
    }
    int rc = next(ret, zone);
    ret->tv_sec += skew();
    return rc;
}

time_t time(time_t *ret)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now); // this clock is always there
    if (ret) {
        *ret = now.tv_sec;
    }
    return now.tv_sec;
}
