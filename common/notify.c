// SPDX-License-Identifier: MIT
// The datagram of sd_notify(3), sent by hand: it is the whole of what libsystemd would be needed
// for.
#include "common/notify.h"

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

void notify_send(const char *state)
{
    struct sockaddr_un address;
    socklen_t n = notify_address(&address);
    if (n == 0) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    // When many children speak at once the parent's queue (10 datagrams by default) is full for a
    // moment: what is said here must not be lost for that. A parent that does not read at all must
    // not stop its child, though: it is waited for once, and again only after it has read.
    static atomic_bool is_deaf;
    const struct timeval patience = { .tv_sec = 1 };
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); // a valid option
    int flags = MSG_NOSIGNAL | (atomic_load(&is_deaf) ? MSG_DONTWAIT : 0);
    ssize_t sent = sendto(fd, state, strlen(state), flags, (struct sockaddr *)&address, n);
    atomic_store(&is_deaf, sent < 0 && errno == EAGAIN);
    close(fd);
}
