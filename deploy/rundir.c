// SPDX-License-Identifier: MIT
// See rundir.h.
#include "deploy/rundir.h"

#include "common/clock.h"
#include "common/home.h"
#include "common/lease.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 10   // flock() cannot wait with a deadline
#define LOCK_TRIES 5 // rundir_is_locked() of another command takes the lock for a moment

void rundir_path(const char *home, const char *relative, char out[RUNDIR_PATH_SIZE])
{
    int n = snprintf(out, RUNDIR_PATH_SIZE, "%s/%s", home, relative);
    assert(n > 0 && n < RUNDIR_PATH_SIZE);
}

static void admin_path(const char *home, const char *instance, char out[RUNDIR_PATH_SIZE])
{
    char relative[64];
    snprintf(relative, sizeof relative, "run/%.40s.admin.sock", instance);
    rundir_path(home, relative, out);
}

void rundir_forget(const char *home, const char *instance)
{
    char path[RUNDIR_PATH_SIZE];
    admin_path(home, instance, path);
    (void)unlink(path); // usually there is none
}

int rundir_admin_address(const char *home, const char *instance, struct address *ret_address)
{
    char path[RUNDIR_PATH_SIZE], text[RUNDIR_PATH_SIZE + 8];
    admin_path(home, instance, path);
    snprintf(text, sizeof text, "unix:%s", path);
    return address_parse(str_of(text), ret_address);
}

int rundir_open(const char *home, bool make, char ret_home[RUNDIR_PATH_SIZE],
                char error[CONFIG_ERROR_SIZE])
{
    char *absolute, path[RUNDIR_PATH_SIZE];
    int r = make ? home_open(home, &absolute) : home_find(home, &absolute);
    if (r < 0) {
        snprintf(error, CONFIG_ERROR_SIZE, "SLUICE_HOME is \"%.300s\": %s", home, strerror(-r));
        return r;
    }
    if (strlen(absolute) > RUNDIR_HOME_BYTES) {
        snprintf(
            error, CONFIG_ERROR_SIZE,
            "SLUICE_HOME is \"%.300s\": at most %d bytes are allowed, so that addresses of sockets "
            "below it fit",
            absolute, RUNDIR_HOME_BYTES);
        free(absolute);
        return -ENAMETOOLONG;
    }
    memcpy(ret_home, absolute, strlen(absolute) + 1);
    free(absolute);
    rundir_path(ret_home, "run/lock", path);
    r = make ? home_make_parents(path) : 0;
    if (r < 0) {
        snprintf(error, CONFIG_ERROR_SIZE, "%s/run: %s", ret_home, strerror(-r));
    }
    return r;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

bool rundir_is_locked(const char *home)
{
    char path[RUNDIR_PATH_SIZE];
    int fd = -1;
    rundir_path(home, "run/supervisor.lock", path);
    if (access(path, F_OK) < 0) {
        return false;
    }
    int r = lease_try(path, &fd);
    if (r == 0) {
        (void)close(fd); // gives the lock back
    }
    return r == -EWOULDBLOCK;
}

int rundir_lock(const char *home, pid_t *ret_pid)
{
    char path[RUNDIR_PATH_SIZE], text[16] = "";
    int fd = -1, r = -EWOULDBLOCK;
    rundir_path(home, "run/supervisor.lock", path);
    for (int i = 0; i < LOCK_TRIES && r == -EWOULDBLOCK; i++) {
        if (i > 0) {
            pause_ms(POLL_MS);
        }
        r = lease_try(path, &fd);
    }
    if (r == 0) {
        return fd;
    }
    FILE *f = r == -EWOULDBLOCK ? fopen(path, "re") : NULL;
    if (f) {
        (void)!fgets(text, sizeof text, f); // may be empty yet
        (void)fclose(f);                    // nothing was written
    }
    int64_t pid = 0;
    text[strcspn(text, "\n")] = '\0';
    if (config_parse_number(CONFIG_INTEGER, text, &pid) < 0) {
        pid = 0; // it holds the lock, but has not written its number yet
    }
    *ret_pid = (pid_t)pid;
    return r;
}

int rundir_write_pid(int lock_fd)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(lock_fd, 0) < 0) {
        return -errno;
    }
    ssize_t written = pwrite(lock_fd, text, (size_t)n, 0);
    return written == n ? 0 : written < 0 ? -errno : -ENOSPC;
}

int rundir_lock_children(const char *home, void (*on_wait)(void))
{
    char path[RUNDIR_PATH_SIZE];
    rundir_path(home, "run/children.lock", path);
    int fd = open(path, O_RDWR | O_CREAT, 0600); // not close-on-exec: children hold it
    if (fd < 0) {
        return -errno;
    }
    int64_t deadline_ms = clock_mono_ms() + RUNDIR_WAIT_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        if (r != -EWOULDBLOCK || clock_mono_ms() > deadline_ms) {
            (void)close(fd); // nothing was written
            return r;
        }
        if (on_wait) {
            on_wait();
            on_wait = NULL;
        }
        pause_ms(POLL_MS);
    }
    return fd;
}

int rundir_open_log(const char *home)
{
    char path[RUNDIR_PATH_SIZE];
    rundir_path(home, "run/sluice.log", path);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}
