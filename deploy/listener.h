// SPDX-License-Identifier: MIT
// The public listening socket. The supervisor opens it once and hands it to each gateway, so that
// gateways can be restarted, added and taken away while clients always find an open port.
#ifndef DEPLOY_LISTENER_H
#define DEPLOY_LISTENER_H

#include "common/config.h"

#define LISTENER_BACKLOG 4096 // connections that wait while a gateway restarts; the kernel's somaxconn caps it

// Opens, binds and listens at "HOST:PORT" or "[HOST]:PORT". Returns the descriptor (close-on-exec,
// non-blocking), or a negative errno with one line in error that begins with the variable's name.
__attribute__((warn_unused_result)) int listener_open(const char *variable, const char *address,
                                                      char error[CONFIG_ERROR_SIZE]);

#endif
