// SPDX-License-Identifier: MIT
// The datagram of sd_notify(3), sent by hand: it is the whole of what libsystemd would be needed
// for.
#include "common/notify.h"

#include "common/config.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// Fills the address of $NOTIFY_SOCKET ("/path" or "@abstract"). Returns its length, or 0 when there
// is none.
static socklen_t notify_address(struct sockaddr_un *address)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || (path[0] != '/' && path[0] != '@')) {
        return 0;
    }
    size_t n = strlen(path);
    if (n < 2 || n >= sizeof(address->sun_path)) {
        return 0;
    }
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(address->sun_path, path, n);
    if (path[0] == '@') {
        address->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

// Sends the datagram, with flags for sendto(). Returns 0 or a negative errno.
static int send_state(const char *state, int flags)
{
    struct sockaddr_un address;
    socklen_t n = notify_address(&address);
    if (n == 0) {
        return 0;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    const struct timeval patience = { .tv_sec = 1 };
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); // a valid option
    ssize_t sent =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL | flags, (struct sockaddr *)&address, n);
    int rc = sent < 0 ? -errno : 0;
    (void)close(fd); // nothing is left to be written
    return rc;
}

void notify_send(const char *state)
{
    // When many children speak at once the parent's queue (10 datagrams by default) is full for a
    // moment: what is said here must not be lost for that. A parent that does not read at all must
    // not stop its child, though: it is waited for once, and again only after it has read.
    static atomic_bool is_deaf;
    int rc = send_state(state, atomic_load(&is_deaf) ? MSG_DONTWAIT : 0);
    atomic_store(&is_deaf, rc == -EAGAIN);
}

void notify_alive(void)
{
    int rc = send_state("WATCHDOG=1", MSG_DONTWAIT);
    (void)rc; // it does not read now, or is gone: the next sign of life may reach it
}

void notify_stuck(void)
{
    int rc = send_state("WATCHDOG=trigger", MSG_DONTWAIT);
    (void)rc; // should it never arrive, the silence tells the same, later
}

int64_t notify_watchdog_ms(void)
{
    const char *limit = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t us = 0, whose = 0;
    if (!limit || config_parse_number(CONFIG_INTEGER, limit, &us) < 0 || us < 0) {
        return 0;
    }
    bool ours =
        !pid || (config_parse_number(CONFIG_INTEGER, pid, &whose) == 0 && whose == getpid());
    return ours ? us / 1000 : 0;
}
