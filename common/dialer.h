// SPDX-License-Identifier: MIT
// One encrypted connection to a server that is made again until it succeeds. libzmq does that for a
// connection that breaks; not for one that the server refused because it does not know the key
// (it may know it later), and not with another key of the server (its keys are changed while it
// runs). So after each loss the server's key is read again, after a failed handshake its other key
// is tried, and after both failed it is tried anew every second.
#ifndef COMMON_DIALER_H
#define COMMON_DIALER_H

#include "common/handshakes.h"

#include <stdbool.h>
#include <uv.h>

#define DIALER_RETRY_MS 1000 // after a handshake failed with every key
#define DIALER_NEXT_MS 20    // before the next key is tried

struct dialer;
struct curve;

// Connects the libzmq socket, which is borrowed until dialer_close(). 0 or -errno (-ENOENT: the
// server's public key is missing).
__attribute__((warn_unused_result)) int dialer_open(uv_loop_t *loop, void *zmq_socket,
                                                    const char *endpoint, struct curve *curve,
                                                    const char *server_name,
                                                    struct dialer **ret_dialer);
void dialer_close(struct dialer **dialer);

// Told by the socket's monitor: a handshake failed; a connection is up, or lost.
void dialer_failed(struct dialer *d, enum handshake_failure failure);
void dialer_event(struct dialer *d, bool up);

#endif
