// SPDX-License-Identifier: MIT
// The admin page /topology: which workers there are, what they have to do, and who waits, as JSON.
#ifndef GATEWAY_TOPOLOGY_H
#define GATEWAY_TOPOLOGY_H

#include "gateway/gateway.h"

// An admin_page_fn; data is the gateway.
int topology_page(struct str query, struct buf *body, const char **ret_media_type, void *data);

#endif
