// SPDX-License-Identifier: MIT
#include "services/orders/order_states.h"

#include <assert.h>
#include <errno.h>

struct state {
    const char *name;
    enum orders_event event;
};

static const struct state states[ORDER_STATUS_COUNT] = {
    [ORDER_PLACED] = { "placed", EVENT_ORDER_PLACED },
    [ORDER_PAID] = { "paid", EVENT_ORDER_PAID },
    [ORDER_SHIPPED] = { "shipped", EVENT_ORDER_SHIPPED },
    [ORDER_DELIVERED] = { "delivered", EVENT_ORDER_DELIVERED },
    [ORDER_CANCELLED] = { "cancelled", EVENT_ORDER_CANCELLED },
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

const struct event_kind *order_status_event(enum order_status status)
{
    assert((unsigned)status < ORDER_STATUS_COUNT);
    return &orders_events[states[status].event];
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
