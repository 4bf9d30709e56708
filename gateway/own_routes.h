// SPDX-License-Identifier: MIT
// What the gateway answers itself: health, the OpenAPI and AsyncAPI documents and the page that shows
// them, the keys, and the pages of problem types.
#ifndef GATEWAY_OWN_ROUTES_H
#define GATEWAY_OWN_ROUTES_H

#include "gateway/gateway.h"

// Adds them to the router; of what describes the API, what docs (SLUICE_DOCS) allows. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int own_routes_add(struct router *r, const char *docs);

#endif
