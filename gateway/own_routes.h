// SPDX-License-Identifier: MIT
// What the gateway answers itself: health, the OpenAPI document, the keys, and the pages of problem
// types.
#ifndef GATEWAY_OWN_ROUTES_H
#define GATEWAY_OWN_ROUTES_H

#include "gateway/gateway.h"

// Adds them to the router. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int own_routes_add(struct router *r);

#endif
