// SPDX-License-Identifier: MIT
// The table against the drawing: every pair of state and step, who may take it, and every name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/queue_frames.h"
#include "services/orders/order_states.h"

#include <errno.h>

static void only_the_drawn_moves_exist(void **state)
{
    (void)state;
    static const bool drawn[ORDER_MOVE_COUNT][ORDER_STATUS_COUNT] = {
        [ORDER_PAY] = { [ORDER_PLACED] = true },
        [ORDER_SHIP] = { [ORDER_PAID] = true },
        [ORDER_DELIVER] = { [ORDER_SHIPPED] = true },
        [ORDER_CANCEL] = { [ORDER_PLACED] = true, [ORDER_PAID] = true },
    };
    for (unsigned move = 0; move < ORDER_MOVE_COUNT; move++) {
        for (unsigned from = 0; from < ORDER_STATUS_COUNT; from++) {
            assert_int_equal(
                order_rule_fits(order_rule((enum order_move)move), (enum order_status)from),
                drawn[move][from]);
        }
    }
}

static void moves_lead_where_they_say(void **state)
{
    (void)state;
    static const struct {
        enum order_move move;
        const char *verb;
        enum order_status to;
        unsigned actors;
    } expected[] = {
        { ORDER_PAY, "pay", ORDER_PAID, ORDER_OWNER },
        { ORDER_SHIP, "ship", ORDER_SHIPPED, ORDER_ADMIN },
        { ORDER_DELIVER, "deliver", ORDER_DELIVERED, ORDER_ADMIN },
        { ORDER_CANCEL, "cancel", ORDER_CANCELLED, ORDER_OWNER | ORDER_ADMIN },
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct order_rule *rule = order_rule(expected[i].move);
        assert_string_equal(rule->verb, expected[i].verb);
        assert_int_equal(rule->to, expected[i].to);
        assert_int_equal(rule->actors, expected[i].actors);
    }
}

static void nothing_leads_out_of_a_finished_state(void **state)
{
    (void)state;
    for (unsigned from = ORDER_FIRST_FINISHED; from < ORDER_STATUS_COUNT; from++) {
        for (unsigned move = 0; move < ORDER_MOVE_COUNT; move++) {
            assert_false(
                order_rule_fits(order_rule((enum order_move)move), (enum order_status)from));
        }
    }
}

static void every_name_reads_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ORDER_STATUS_COUNT; i++) {
        enum order_status status = ORDER_STATUS_COUNT;
        assert_int_equal(
            order_status_parse(str_of(order_status_name((enum order_status)i)), &status), 0);
        assert_int_equal(status, i);
        assert_true(topic_valid(str_of(order_status_event((enum order_status)i)->topic)));
    }
}

static void other_names_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "place", "placedx", "Placed", "unpaid", "placed,paid"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        enum order_status status = ORDER_SHIPPED;
        assert_int_equal(order_status_parse(str_of(wrong[i]), &status), -EINVAL);
        assert_int_equal(status, ORDER_SHIPPED);
    }
    enum order_status status;
    assert_int_equal(order_status_parse((struct str){ NULL, 0 }, &status), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_drawn_moves_exist),
        cmocka_unit_test(moves_lead_where_they_say),
        cmocka_unit_test(nothing_leads_out_of_a_finished_state),
        cmocka_unit_test(every_name_reads_back),
        cmocka_unit_test(other_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
