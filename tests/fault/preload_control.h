// SPDX-License-Identifier: MIT
// The file by which a test directs a preloaded library, mapped into the one program that is meant.
#ifndef TESTS_FAULT_PRELOAD_CONTROL_H
#define TESTS_FAULT_PRELOAD_CONTROL_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Maps size bytes of the file that the environment names, shared with the test. NULL: this is not the
// program that it names, or it names none. Ends the process when the file cannot be mapped.
static inline void *preload_control(const char *program_variable, const char *path_variable,
                                    size_t size)
{
    const char *program = getenv(program_variable), *path = getenv(path_variable);
    if (!program || !path || strcmp(program, program_invocation_short_name) != 0) {
        return NULL;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    (void)close(fd);
    return p;
}

#endif
