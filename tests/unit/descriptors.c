// SPDX-License-Identifier: MIT
#include "tests/unit/descriptors.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static struct rlimit before;

void descriptors_take_all(void)
{
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = { (rlim_t)lowest, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

void descriptors_give_back(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}
