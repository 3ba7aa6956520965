/* How many sends cost how many readings of the clock, and what is counted. */
#include "eventgate/delivery_times.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "eventgate/loop.h"

static struct eg_metrics *metrics;

static int64_t observed(void)
{
    int64_t count = 0;
    for (unsigned i = 0; i <= EG_HISTOGRAM_BOUNDS; i++)
        count += eg_metrics_sum(EG_METRIC_DELIVERY + (enum eg_metric)i);
    return count;
}

static int64_t observed_us(void)
{
    return eg_metrics_sum(EG_METRIC_DELIVERY_LAST);
}

static void nothing_is_counted_before_it_is_time_to(void **state)
{
    struct eg_delivery_times times = {0};
    uint64_t now_us = eg_monotonic_us();
    (void)state;
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 0);
    for (unsigned i = 0; i < EG_DELIVERY_SENDS - 1; i++)
        eg_delivery_times_note(&times, metrics, now_us - 3000000, 2);
    assert_int_equal(observed(), 0);
    eg_delivery_times_note(&times, metrics, now_us - 3000000, 2);
    assert_int_equal(observed(), 2 * EG_DELIVERY_SENDS);
    assert_true(observed_us() >= (int64_t)(2 * EG_DELIVERY_SENDS * 3000000));
    eg_delivery_times_note(&times, metrics, now_us, 1);
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 2 * EG_DELIVERY_SENDS + 1);
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 2 * EG_DELIVERY_SENDS + 1);
}

static void each_arrival_has_its_own_time(void **state)
{
    struct eg_delivery_times times = {0};
    uint64_t now_us = eg_monotonic_us();
    int64_t due_us = 0;
    (void)state;
    for (unsigned i = 0; i < 3 * EG_DELIVERY_ARRIVALS; i++) { /* more than it remembers */
        eg_delivery_times_note(&times, metrics, now_us - i * 1000, 1);
        due_us += i * 1000;
    }
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 3 * EG_DELIVERY_ARRIVALS);
    assert_true(observed_us() >= due_us);
}

static void what_is_not_known_is_not_counted(void **state)
{
    struct eg_delivery_times times = {0};
    (void)state;
    eg_delivery_times_note(&times, metrics, 0, 5);
    eg_delivery_times_note(&times, metrics, eg_monotonic_us(), 0);
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 0);
    eg_delivery_times_note(&times, metrics, eg_monotonic_us() + 1000000, 1); /* another processor's clock */
    eg_delivery_times_settle(&times, metrics);
    assert_int_equal(observed(), 1);
    assert_int_equal(observed_us(), 0);
}

static int setup(void **state)
{
    (void)state;
    metrics = eg_metrics_new("a");
    return metrics ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    eg_metrics_free(metrics);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_counted_before_it_is_time_to, setup, teardown),
        cmocka_unit_test_setup_teardown(each_arrival_has_its_own_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_known_is_not_counted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
