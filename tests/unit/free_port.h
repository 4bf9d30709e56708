// SPDX-License-Identifier: MIT
// A TCP port of this test program's own, so that several can run at once.
#ifndef TESTS_UNIT_FREE_PORT_H
#define TESTS_UNIT_FREE_PORT_H

#include <stdint.h>

// A port of 127.0.0.1, the same one at each call. Until the program ends the kernel gives it to nobody
// else; who sets SO_REUSEADDR, as libzmq does, can listen there. Fails the case when there is none.
uint16_t free_port(void);

// "tcp://127.0.0.1:PORT" of it, for libzmq.
const char *free_port_endpoint(void);

#endif
