// SPDX-License-Identifier: MIT
#include "tests/bench/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_BYTES 4096 // of a file of /proc/PID; they are shorter

static size_t read_file(pid_t pid, const char *name, char text[STAT_BYTES])
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, STAT_BYTES - 1, f) : 0;
    text[n] = '\0';
    if (f) {
        (void)fclose(f);
    }
    return n;
}

static double number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

struct usage usage_of(pid_t pid)
{
    struct usage u = { 0 };
    char text[STAT_BYTES];
    if (read_file(pid, "stat", text)) {
        char *at = strrchr(text, ')'); // the name may have anything in it
        unsigned long user = 0, system = 0;
        // utime and stime are fields 14 and 15; the one behind the name is field 3
        for (int field = 3; at && field < 14; field++) {
            at = strchr(at + 1 + (field == 3), ' ');
        }
        if (at) {
            user = strtoul(at, &at, 10);
            system = strtoul(at, NULL, 10);
        }
        u.cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    if (read_file(pid, "io", text)) {
        u.written_bytes = number_after(text, "\nwrite_bytes: ");
    }
    if (read_file(pid, "status", text)) {
        u.resident_kib = number_after(text, "VmRSS:");
    }
    return u;
}
