// SPDX-License-Identifier: MIT
#include "tests/unit/own_memory.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char block[1 << 20];

static bool is_at(const char *at, const char *masked, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((at[i] ^ OWN_MEMORY_MASK) != masked[i]) {
            return false;
        }
    }
    return true;
}

static bool block_has(size_t size, const char *masked, size_t n)
{
    const char *at = block, *end = block + size;
    while (at + n <= end && (at = memchr(at, masked[0] ^ OWN_MEMORY_MASK, (size_t)(end - at)))) {
        if (at + n <= end && is_at(at, masked, n)) {
            return true;
        }
        at++;
    }
    return false;
}

static bool range_has(int mem, unsigned long at, unsigned long end, const char *masked, size_t n)
{
    for (; at < end; at += sizeof block - n) {
        size_t size = end - at < sizeof block ? end - at : sizeof block;
        ssize_t got = pread(mem, block, size, (off_t)at);
        if (got > 0 && block_has((size_t)got, masked, n)) {
            return true;
        }
    }
    return false;
}

bool own_memory_has(const char *masked, size_t n)
{
    char line[PATH_MAX + 200];
    int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    bool found = false;
    assert_true(mem >= 0 && maps && n <= OWN_MEMORY_MAX);
    while (!found && fgets(line, sizeof line, maps)) {
        unsigned long at, end;
        bool writable = sscanf(line, "%lx-%lx rw", &at, &end) == 2 && strstr(line, " rw");
        if (writable && !strstr(line, "[stack]") && end - at <= 1UL << 30) {
            found = range_has(mem, at, end, masked, n);
        }
    }
    explicit_bzero(block, sizeof block); // which is part of the memory that is looked through next
    (void)fclose(maps);
    assert_int_equal(close(mem), 0);
    return found;
}
