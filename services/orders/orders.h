// SPDX-License-Identifier: MIT
// Handlers of /v1/orders. An order shows itself to its owner and to admins; to everybody else it is
// not there.
#ifndef ORDERS_ORDERS_H
#define ORDERS_ORDERS_H

#include "common/call.h"

int orders_place(struct call *c);   // write
int orders_list(struct call *c);    // read
int orders_get(struct call *c);     // read
int orders_history(struct call *c); // read

// Steps of the state machine; write.
int orders_pay(struct call *c);
int orders_ship(struct call *c);
int orders_deliver(struct call *c);
int orders_cancel(struct call *c);

#endif
