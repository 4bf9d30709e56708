// SPDX-License-Identifier: MIT
// A ZeroMQ socket on a libuv loop. ZMQ_FD is edge-triggered and sends eat its edges, so the fd only
// wakes the loop; prepare and check handles look at ZMQ_EVENTS in every turn, and an idle handle
// keeps the loop from sleeping while messages wait (the arrangement is measured in
// tests/unit/test_zsocket.c). At most ZSOCKET_BUDGET messages are handled in one turn, so that HTTP
// and ZeroMQ take turns.
//
// Messages are single frames; ROUTER sockets have the peer's routing id in front. Peers keep
// libzmq's own routing ids (5 bytes), which makes them a uint32_t here; a peer that set another is
// reported as peer 0.
#ifndef COMMON_ZSOCKET_H
#define COMMON_ZSOCKET_H

#include "proto/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define ZSOCKET_BUDGET 128     // messages per socket and loop turn
#define ZSOCKET_HWM 20000      // messages per peer: far above all credit, so that reaching it is a fault
#define ZSOCKET_BATCH_BYTES 65536 // a batch that would grow beyond is sent at once
#define ZSOCKET_BATCH_MAX_BYTES (4 * 1024 * 1024) // that may wait for one peer
#define ZSOCKET_MAX_PEERS 4096 // a ROUTER forgets nobody; this bounds its table
#define ZSOCKET_COPIED_BYTES 8192 // of the beginning and of the end of a message, libzmq may copy so many into buffers

enum zsocket_type { ZSOCKET_ROUTER, ZSOCKET_DEALER };

struct zsocket;
struct curve;

struct zsocket_callbacks {
    // A message. peer and fd are 0 and -1 on a DEALER; on a ROUTER fd is the connection it came by
    // (matches on_disconnect). message is borrowed for the call.
    void (*on_message)(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data);
    // A connection is up (DEALER: say hello now). On a ROUTER always reported before its messages.
    // May be NULL.
    void (*on_connect)(struct zsocket *s, void *data);
    // A connection is gone, or one was refused in its handshake. On a ROUTER always reported before
    // the messages of a later connection that got the same fd. May be NULL.
    void (*on_disconnect)(struct zsocket *s, int fd, void *data);
    void *data;
};

struct zsocket_options {
    enum zsocket_type type;
    size_t max_message_bytes;   // a peer that sends more is disconnected
    struct curve *curve;        // for tcp:// endpoints; NULL: tcp:// is refused with -EACCES
    const char *server_name;    // DEALER over tcp://: the key name of the other side
    bool wipes;                 // messages are overwritten once on_message has returned; what is sent, once libzmq
                                // is through with it. Of what it copies see zsocket_send_padded()
};

__attribute__((warn_unused_result)) int zsocket_open(uv_loop_t *loop, const struct zsocket_options *options,
                                                     const struct zsocket_callbacks *callbacks,
                                                     struct zsocket **ret_socket);

// Endpoints are ipc:///path or tcp://host:port. A stale ipc path is replaced; a live one gives
// -EADDRINUSE. ipc paths are at most 107 bytes: -ENAMETOOLONG.
__attribute__((warn_unused_result)) int zsocket_bind(struct zsocket *s, const char *endpoint);
__attribute__((warn_unused_result)) int zsocket_connect(struct zsocket *s, const char *endpoint);

// Sends a copy of bytes without waiting. -EHOSTUNREACH: the peer is gone (ROUTER); -EAGAIN: the
// peer's queue is full, or nobody is connected (DEALER). peer is 0 on a DEALER; on a ROUTER 0 is,
// during on_message, the sender of that message, which set a routing id of its own. Never queues
// anything when it fails.
__attribute__((warn_unused_result)) int zsocket_send(struct zsocket *s, uint32_t peer, struct str bytes);

// Sends padding, bytes and padding again as one message, on a socket that wipes: so that bytes stay nowhere in this
// process and the other one. libzmq writes and reads large messages from and into their own memory, but for their first and
// last ZSOCKET_COPIED_BYTES, which may go through a buffer that its connection keeps (encoder.hpp and decoder.hpp of 4.3.4).
// padding is at least that long, and something that the receiver skips. Returns as zsocket_send().
__attribute__((warn_unused_result)) int zsocket_send_padded(struct zsocket *s, uint32_t peer, struct str bytes,
                                                            struct str padding);

// Like zsocket_send(), but what is sent to one peer in one turn of the loop goes out as one message
// when the turn ends: one entry in libzmq's queues instead of many. For receivers that take several
// frames in a message. Keeps the order with zsocket_send(). Returns -EAGAIN when
// ZSOCKET_BATCH_MAX_BYTES wait for a peer that does not take them, or -ENOMEM; what waits for a
// peer that is gone is dropped, and its loss is reported by on_disconnect.
__attribute__((warn_unused_result)) int zsocket_queue(struct zsocket *s, uint32_t peer, struct str frame);

// During on_message, on a ROUTER: the identity that the sender has proved to have (common/zap.h). NULL on
// ipc, where the permissions of the directory decide who gets in.
const char *zsocket_identity(const struct zsocket *s);

// Stops calling on_message until started again: back-pressure towards every peer.
void zsocket_pause(struct zsocket *s, bool paused);

// Closes the socket (linger_ms for what was sent) and its handles; memory goes when the loop has
// closed them. No callback runs after this.
void zsocket_close(struct zsocket **s, int linger_ms);

#endif
