// SPDX-License-Identifier: MIT
// Handlers of /v1/products. Products are read by anyone and changed by admins; each change is an
// event. Orders change the stock too, and with it the version (ETag) of a product, but tell of it
// by their own event alone: an event for every piece sold would double the events and say nothing
// new.
#ifndef ORDERS_PRODUCTS_H
#define ORDERS_PRODUCTS_H

#include "common/call.h"

int products_admin_only(struct call *c); // read stage of the two below: 403 unless an admin asks
int products_create(struct call *c);     // write
int products_change(struct call *c);     // write

int products_list(struct call *c); // read
int products_get(struct call *c);  // read

#endif
