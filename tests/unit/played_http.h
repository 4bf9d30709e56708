// SPDX-License-Identifier: MIT
// An HTTP server on a loopback port that plays answers, one for each connection, and keeps the last
// request.
#ifndef TESTS_UNIT_PLAYED_HTTP_H
#define TESTS_UNIT_PLAYED_HTTP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#define PLAYED_REQUEST_BYTES (1 << 20)

struct played_http {
    const char *const *answers; // ended by NULL; "" is silence until the client goes
    char request[PLAYED_REQUEST_BYTES];
    _Atomic int connections; // that were answered, or begin to be silent
    int listener, port;
    pthread_t thread;
};

// Begins to listen, and to play.
void played_http_start(struct played_http *s, const char *const *answers);

// Waits for the answer that is being given, and closes the port.
void played_http_end(struct played_http *s);

// A port of 127.0.0.1 at which nobody listens.
int played_http_nobody(void);

#endif
