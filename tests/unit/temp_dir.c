// SPDX-License-Identifier: MIT
#include "tests/unit/temp_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/sluice-unit-XXXXXX";

int temp_dir_enter(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/sluice-unit-XXXXXX");
    return mkdtemp(path) && chdir(path) == 0 ? 0 : -1;
}

static int on_entry(const char *entry, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(entry);
}

int temp_dir_leave(void **state)
{
    (void)state;
    if (chdir("/") < 0) {
        return -1;
    }
    return nftw(path, on_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temp_dir(void)
{
    return path;
}
