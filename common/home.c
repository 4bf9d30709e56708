// SPDX-License-Identifier: MIT
#include "common/home.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_MODE 0700 // stores, sockets and keys are nobody else's business

static int make_directory(const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) == 0 || errno == EEXIST) {
        return 0; // something else than a directory is found out by whoever goes on into it
    }
    return -errno;
}

int home_make_parents(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof(part)) {
        return -ENAMETOOLONG;
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] != '/') {
            continue;
        }
        part[i] = '\0';
        int r = make_directory(part);
        if (r < 0) {
            return r;
        }
        part[i] = '/';
    }
    return 0;
}

int home_find(const char *path, char **ret_path)
{
    char *absolute = realpath(path, NULL);
    if (!absolute) {
        return -errno;
    }
    struct stat st;
    int r = stat(absolute, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    if (r == 0 && faccessat(AT_FDCWD, absolute, R_OK | W_OK | X_OK, AT_EACCESS) < 0) {
        r = -errno;
    }
    if (r < 0) {
        free(absolute);
        return r;
    }
    *ret_path = absolute;
    return 0;
}

int home_open(const char *path, char **ret_path)
{
    // What is there needs no right to make it: in a container the directories above may be
    // read-only.
    if (access(path, F_OK) < 0) {
        int r = home_make_parents(path);
        if (r == 0) {
            r = make_directory(path);
        }
        if (r < 0) {
            return r;
        }
    }
    return home_find(path, ret_path);
}
