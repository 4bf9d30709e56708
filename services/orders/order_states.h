// SPDX-License-Identifier: MIT
// The life of an order, as one table: which step leads from which states to which, who may take it,
// and the event that tells of it. Knows nothing of stores or requests.
//
//     placed --pay--> paid --ship--> shipped --deliver--> delivered
//        |             |
//        +---cancel----+--> cancelled
//
// To add a state: add it to the enum and to STATES below in order_states.c, raise the CHECK on
// orders.status by a migration, and give the step that leads to it a line in the table. Finished
// states stay last: the index of finished orders and ORDER_FIRST_FINISHED say "from here on".
#ifndef ORDERS_ORDER_STATES_H
#define ORDERS_ORDER_STATES_H

#include "proto/orders.h"

// The numbers are stored: they never change their meaning.
enum order_status {
    ORDER_PLACED = 0,
    ORDER_PAID = 1,
    ORDER_SHIPPED = 2,
    ORDER_DELIVERED = 3,
    ORDER_CANCELLED = 4
};

#define ORDER_STATUS_COUNT 5
#define ORDER_FIRST_FINISHED ORDER_DELIVERED

enum order_move { ORDER_PAY, ORDER_SHIP, ORDER_DELIVER, ORDER_CANCEL };

#define ORDER_MOVE_COUNT 4

// What somebody is to an order; a set.
enum order_actor { ORDER_OWNER = 1, ORDER_ADMIN = 2 };

struct order_rule {
    const char *verb;     // last segment of the step's path
    unsigned from;        // set of states, bit 1 << enum order_status
    enum order_status to; // state it leads to
    unsigned actors;      // set of enum order_actor that may take it
};

const struct order_rule *order_rule(enum order_move move);

// Whether the rule leads on from this state.
bool order_rule_fits(const struct order_rule *rule, enum order_status from);

// Name of a state, as the API and events show it; and the event that tells of reaching it.
const char *order_status_name(enum order_status status);
const struct event_kind *order_status_event(enum order_status status);

// The state with this name: 0, or -EINVAL.
__attribute__((warn_unused_result)) int order_status_parse(struct str name,
                                                           enum order_status *ret_status);

#endif
