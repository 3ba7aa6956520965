/* A set's order: places, and what the cursor of a place is made of. */
#include "eventgate/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_config_channel channel;

static void assert_cursor(const struct eg_order *order, uint64_t place, const char *expected)
{
    char text[EG_CURSOR_SIZE], with_epoch[EG_CURSOR_SIZE];
    struct eg_cursor cursor = eg_order_cursor(order, place);
    eg_cursor_format(&cursor, text);
    snprintf(with_epoch, sizeof(with_epoch), expected, order->epoch.text);
    assert_string_equal(text, with_epoch);
}

static void make(struct eg_order *order, struct eg_set_status *status, size_t live, size_t durable)
{
    const struct eg_config_set set = {
        .live = &channel, .live_count = live, .durable = &channel, .durable_count = durable};
    assert_int_equal(eg_set_status_init(status), 0);
    eg_order_init(order, &set, status);
}

static void a_set_of_live_channels_has_only_the_live_half(void **state)
{
    (void)state;
    struct eg_set_status status;
    struct eg_order order;
    make(&order, &status, 1, 0);
    eg_order_begin_epoch(&order);
    assert_int_equal(order.head, 1);
    assert_cursor(&order, 2, "0~%s-2");
    eg_set_status_done(&status);
}

static void a_set_of_durable_channels_has_only_the_position(void **state)
{
    (void)state;
    struct eg_set_status status;
    struct eg_order order;
    make(&order, &status, 0, 1);
    eg_order_set_log(&order, "abc123", 17);
    assert_cursor(&order, 2, "abc123.17");
    struct eg_set_facts facts = eg_set_status_read(&status);
    assert_string_equal(facts.tag, "abc123");
    assert_int_equal(facts.position, 17);
    eg_set_status_done(&status);
}

static void a_mixed_set_has_each_half_from_its_first_session_on(void **state)
{
    (void)state;
    struct eg_set_status status;
    struct eg_order order;
    make(&order, &status, 1, 1);
    assert_false(eg_order_cursor(&order, 1).has_live);
    assert_false(eg_order_cursor(&order, 1).has_position);
    eg_order_set_log(&order, "abc123", 17);
    assert_cursor(&order, 1, "abc123.17");
    eg_order_begin_epoch(&order);
    assert_cursor(&order, 2, "abc123.17~%s-2");
    struct eg_epoch first = order.epoch, epoch;
    uint64_t head;
    eg_order_begin_epoch(&order);
    assert_string_not_equal(first.text, order.epoch.text);
    eg_set_status_head(&status, &epoch, &head);
    assert_string_equal(epoch.text, order.epoch.text);
    assert_int_equal(head, 2); /* the break took a place */
    eg_set_status_done(&status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_of_live_channels_has_only_the_live_half),
        cmocka_unit_test(a_set_of_durable_channels_has_only_the_position),
        cmocka_unit_test(a_mixed_set_has_each_half_from_its_first_session_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
