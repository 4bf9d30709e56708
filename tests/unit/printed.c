// SPDX-License-Identifier: MIT
#include "tests/unit/printed.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static int saved[2], file;
static char text[64 * 1024 + 1];

void printed_begin(void)
{
    fflush(stdout);
    file = open("printed", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    for (int i = 0; i < 2; i++) {
        saved[i] = fcntl(i + 1, F_DUPFD_CLOEXEC, 3);
        assert_true(saved[i] >= 0 && dup2(file, i + 1) >= 0);
    }
}

const char *printed_end(void)
{
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
    }
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    close(file);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}
