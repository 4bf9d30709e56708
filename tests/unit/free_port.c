// SPDX-License-Identifier: MIT
// The port is kept by a socket that is bound to it and never listens.
#include "tests/unit/free_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

uint16_t free_port(void)
{
    static uint16_t port; // 0: not taken yet
    if (!port) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t length = sizeof address;
        int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // open until the end
        assert_true(fd >= 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
        port = ntohs(address.sin_port);
    }
    return port;
}

const char *free_port_endpoint(void)
{
    static char endpoint[32];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", free_port());
    return endpoint;
}
