// SPDX-License-Identifier: MIT
// What a request of a client is refused for (PROTOCOL.md 3.6), and the answer that says so.
#ifndef QUEUE_REFUSAL_H
#define QUEUE_REFUSAL_H

#include "common/zsocket.h"
#include "proto/buf.h"

// X(symbol, word on the wire)
#define REFUSALS(X)                                                                                \
    X(MALFORMED, "malformed")                                                                      \
    X(INVALID_TOPIC, "invalid-topic")                                                              \
    X(INVALID_FILTER, "invalid-filter")                                                            \
    X(EVENT_TOO_LARGE, "event-too-large")                                                          \
    X(OUT_OF_ORDER, "out-of-order")                                                                \
    X(DISK_FULL, "disk-full")                                                                      \
    X(TOO_MANY_SUBSCRIPTIONS, "too-many-subscriptions")                                            \
    X(TOO_MANY_PRODUCERS, "too-many-producers")                                                    \
    X(TOO_MANY_TOPICS, "too-many-topics")                                                          \
    X(STOPPING, "stopping")                                                                        \
    X(ROUTING_ID, "routing-id")                                                                    \
    X(NO_SUCH_GROUP, "no-such-group")                                                              \
    X(TOO_MANY_GROUPS, "too-many-groups")                                                          \
    X(INVALID_ARGUMENT, "invalid-argument")                                                        \
    X(NO_SUCH_METHOD, "no-such-method")                                                            \
    X(IDENTITY, "identity")

enum refusal {
#define X(name, word) REFUSED_##name,
    REFUSALS(X)
#undef X
        N_REFUSALS
};

// The word for the wire.
const char *refusal_word(enum refusal r);

// Counts the refusal of the request or subscription of that number, and writes the frame that tells peer over
// what was in frame.
void refusal_encode(struct buf *frame, uint32_t peer, uint64_t number, enum refusal reason,
                    const char *detail);

// The same, and sends it; who is gone, or reads nothing, misses it.
void refusal_send(struct zsocket *socket, struct buf *frame, uint32_t peer, uint64_t number,
                  enum refusal reason, const char *detail);

#endif
