// SPDX-License-Identifier: MIT
// The tables of the orders service's messages and events; their fields are in the header.
#include "proto/orders.h"

#define MESSAGE_SELF_ struct money
MESSAGE_DEFINE(money, MONEY_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct product
MESSAGE_DEFINE(product, PRODUCT_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct product_create
MESSAGE_DEFINE(product_create, PRODUCT_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct money_patch
MESSAGE_DEFINE(money_patch, MONEY_PATCH_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct product_patch
MESSAGE_DEFINE(product_patch, PRODUCT_PATCH_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct product_list
MESSAGE_DEFINE(product_list, PRODUCT_LIST_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_line_create
MESSAGE_DEFINE(order_line_create, ORDER_LINE_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_create
MESSAGE_DEFINE(order_create, ORDER_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_line
MESSAGE_DEFINE(order_line, ORDER_LINE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order
MESSAGE_DEFINE(order, ORDER_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_list
MESSAGE_DEFINE(order_list, ORDER_LIST_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_step
MESSAGE_DEFINE(order_step, ORDER_STEP_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct order_history
MESSAGE_DEFINE(order_history, ORDER_HISTORY_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct archived_order
MESSAGE_DEFINE(archived_order, ARCHIVED_ORDER_FIELDS)
#undef MESSAGE_SELF_

const struct event_kind orders_events[ORDERS_EVENT_COUNT] = { ORDERS_EVENTS(EVENT_KIND_ROW) };
