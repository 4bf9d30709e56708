// SPDX-License-Identifier: MIT
// The control socket of a running supervisor, $SLUICE_HOME/run/supervisor.sock (0600): one request
// per connection, a JSON object on one line, answered by one line when it is done:
//
//     {"command":"status"}                          {"ok":true,"pid":..,"url":..,"state":..,"instances":[..],"scaling":{..}}
//     {"command":"alerts"}                          {"ok":true,"alerts":[..]}
//     {"command":"scale","services":{"users":3}}    {"ok":true}
//     {"command":"restart","service":"users"}       {"ok":true}; without service: all
//     {"command":"log-level"}                       {"ok":true,"levels":[{"instance":..,"level":..}]}; with "of" (a
//                                                   service, an instance, "supervisor" or "all") of these; with "level"
//                                                   that one is set. "error" in place of "level": it does not answer
//     {"command":"down"}                            {"ok":true}, and the connection closes when all has stopped
//     anything else                                 {"ok":false,"error":"..."}
#ifndef DEPLOY_CONTROL_H
#define DEPLOY_CONTROL_H

#include "deploy/fleet.h"
#include "deploy/oversight.h"

#include <uv.h>

#define CONTROL_SOCKET "run/supervisor.sock"
#define CONTROL_MAX_CLIENTS 16      // operators and monitoring of one machine; one more is closed at once
#define CONTROL_REQUEST_BYTES 4096
#define CONTROL_REPLY_BYTES (256 * 1024) // status of all processes there can be
#define CONTROL_REQUEST_MS 5000     // a request must be complete within this time

struct control;

struct control_options {
    struct fleet *fleet;         // the rest is borrowed and shown by status
    struct oversight *oversight;
    const char *home;
    const char *url;
    void (*on_down)(void *data);
    void *data;
};

__attribute__((warn_unused_result)) int control_open(uv_loop_t *loop, const struct control_options *options,
                                                     struct control **ret_control);

// Closes the socket and every connection; memory goes when the loop has closed them.
void control_close(struct control **control);

#endif
