// SPDX-License-Identifier: MIT
// The receiving end of sd_notify(3): a datagram socket at which child processes say how they are.
// The kernel vouches for the sender's pid, so nobody can speak for another process.
#ifndef DEPLOY_NOTIFICATIONS_H
#define DEPLOY_NOTIFICATIONS_H

#include <sys/types.h>
#include <uv.h>

#define NOTIFICATIONS_BYTES 1024 // of one; a longer one is cut
#define NOTIFICATIONS_BUDGET 64  // read per loop turn

struct notifications {
    uv_poll_t poll;
    int fd;
    const char *path; // borrowed
    // text: newline-separated assignments; the callee may write into it.
    void (*on_notification)(pid_t from, char *text, void *data);
    void *data;
};

// Binds path, replacing what an earlier supervisor left there. 0 or a negative errno.
__attribute__((warn_unused_result)) int notifications_open(struct notifications *n, uv_loop_t *loop, const char *path,
                                                           void (*on_notification)(pid_t from, char *text, void *data),
                                                           void *data);

// Takes what waits to be read, NOTIFICATIONS_BUDGET at most, without waiting for the loop's turn.
void notifications_read(struct notifications *n);

// Its memory must stay until the loop has closed the handle.
void notifications_close(struct notifications *n);

#endif
