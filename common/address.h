// SPDX-License-Identifier: MIT
// Socket addresses as people write them: "unix:/absolute/path", "HOST:PORT" or "[IPv6]:PORT". Of a
// name with several addresses the first is taken. Blocks while a name is looked up: for start-up
// and command-line tools.
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include "proto/str.h"

#include <sys/socket.h>

struct address {
    struct sockaddr_storage socket; // its ss_family is AF_UNIX, AF_INET or AF_INET6
    socklen_t length;
};

// Returns 0; -EINVAL when text is none of the three forms or the port is not 1..65535;
// -ENAMETOOLONG when the path does not fit in a socket address (107 bytes); -EHOSTUNREACH when the
// name is not known.
__attribute__((warn_unused_result)) int address_parse(struct str text, struct address *ret_address);

// The path of a unix address, with a NUL after it; NULL for others.
const char *address_path(const struct address *a);

// Makes a stream socket (close-on-exec, non-blocking) that is bound to the address, for listen(2).
// A unix socket has mode 0600 from the first moment on, and replaces one that nobody answers at any
// more; a TCP one reuses its port. Returns the descriptor, which the caller closes, or a negative
// errno: -EADDRINUSE when somebody has the address, or the path is no socket.
__attribute__((warn_unused_result)) int address_bind(const struct address *a);

#endif
