// SPDX-License-Identifier: MIT
// One client connection: bytes in, bytes out, and the clock that bounds each phase. What a request
// means is the exchange's business. One request at a time: bytes that come while one is in flight
// wait, and when they are more than a few the socket is not read until the answer is out.
//
//     IDLE --first byte--> READING --complete--> BUSY --answer--> IDLE
//                             |                    |
//                             +--broken: answer----+--last answer--> LINGERING --> CLOSED
//
// The first request has its head's time from the connection's begin on; later ones from their first
// byte on, and the time before is the idle time. Too late: 408, or nothing before the first byte.
// An answer that the client reads slowly is WRITING in between. When the client goes away, or a
// phase takes too long, any state ends in CLOSED.
#ifndef GATEWAY_CONNECTION_H
#define GATEWAY_CONNECTION_H

#include "gateway/gateway.h"

// Takes over the next connection of the listening socket.
void connection_accept(struct gateway *g);

// Sends the answer in g->response to the exchange at hand, which is over with that: the connection
// forgets it. close: this is the last answer on the connection.
void connection_answer(struct connection *c, bool close);

// From now on the exchange at hand must be answered before due_ms (loop time).
void connection_expect_answer(struct connection *c, uint64_t due_ms);

// Address of the peer: the client, or a proxy.
const struct client_address *connection_client(const struct connection *c);

// Whether this answer has to be the last one, whatever the client wants.
bool connection_must_close(const struct connection *c);

// Draining: connections that owe nothing get a last moment, all others close with their answer.
void connection_drain_all(struct gateway *g);

// Closes every connection now.
void connection_close_all(struct gateway *g);

#endif
