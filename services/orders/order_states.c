// SPDX-License-Identifier: MIT
#include "services/orders/order_states.h"

#include <assert.h>
#include <errno.h>

struct state {
    const char *name;
    const char *topic;
};

static const struct state states[ORDER_STATUS_COUNT] = {
    [ORDER_PLACED] = { "placed", "orders.order.placed" },
    [ORDER_PAID] = { "paid", "orders.order.paid" },
    [ORDER_SHIPPED] = { "shipped", "orders.order.shipped" },
    [ORDER_DELIVERED] = { "delivered", "orders.order.delivered" },
    [ORDER_CANCELLED] = { "cancelled", "orders.order.cancelled" },
};

#define FROM(status) (1u << (status))

static const struct order_rule rules[ORDER_MOVE_COUNT] = {
    [ORDER_PAY] = { "pay", FROM(ORDER_PLACED), ORDER_PAID, ORDER_OWNER },
    [ORDER_SHIP] = { "ship", FROM(ORDER_PAID), ORDER_SHIPPED, ORDER_ADMIN },
    [ORDER_DELIVER] = { "deliver", FROM(ORDER_SHIPPED), ORDER_DELIVERED, ORDER_ADMIN },
    [ORDER_CANCEL] = { "cancel", FROM(ORDER_PLACED) | FROM(ORDER_PAID), ORDER_CANCELLED,
                       ORDER_OWNER | ORDER_ADMIN },
};

const struct order_rule *order_rule(enum order_move move)
{
    assert((unsigned)move < ORDER_MOVE_COUNT);
    return &rules[move];
}

bool order_rule_fits(const struct order_rule *rule, enum order_status from)
{
    assert((unsigned)from < ORDER_STATUS_COUNT);
    return (rule->from & FROM(from)) != 0;
}

const char *order_status_name(enum order_status status)
{
    assert((unsigned)status < ORDER_STATUS_COUNT);
    return states[status].name;
}

const char *order_status_topic(enum order_status status)
{
    assert((unsigned)status < ORDER_STATUS_COUNT);
    return states[status].topic;
}

int order_status_parse(struct str name, enum order_status *ret_status)
{
    for (unsigned i = 0; i < ORDER_STATUS_COUNT; i++) {
        if (str_eq(name, str_of(states[i].name))) {
            *ret_status = (enum order_status)i;
            return 0;
        }
    }
    return -EINVAL;
}
