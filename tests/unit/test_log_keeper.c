/* Looking after a real log. */
#include "eventgate/log_keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"

static bool asked(const char *sql)
{
    char *value = postgres_ask("postgres", sql);
    bool yes = strcmp(value, "t") == 0;
    free(value);
    return yes;
}

static void it_has_the_next_partition_made(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.publish('a', '1')");
    struct eg_config *config = postgres_config("postgres", "live", "durable = a\n");
    struct eg_loop *loop = eg_loop_new();
    struct eg_metrics *metrics = eg_metrics_new("unit");
    struct eg_set_status status;
    struct eg_order order;
    assert_int_equal(eg_set_status_init(&status), 0);
    eg_order_init(&order, &config->sets[0], &status);
    struct eg_log_keeper *keeper = eg_log_keeper_new(loop, &config->sets[0], &order, metrics);
    assert_non_null(keeper);
    uint64_t end_ms = eg_monotonic_ms() + 20000;
    while (!asked("SELECT count(*) >= 2 FROM pg_inherits WHERE inhparent = 'eventgate.log'::regclass")) {
        eg_loop_turn(loop, 50);
        assert_true(eg_monotonic_ms() < end_ms);
    }
    while (eg_metrics_sum(EG_METRIC_LOG_PARTITIONS) == 0)
        eg_loop_turn(loop, 50);
    assert_true(eg_metrics_sum(EG_METRIC_LOG_MAINTAINED) > eg_wall_us() - 60000000);
    assert_int_equal(eg_metrics_sum(EG_METRIC_LOG_MADE), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_PG_UP_KEEP), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_LOG_HEAD), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_LOG_OLDEST), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_LOG_PARTITIONS), 2);
    assert_true(eg_metrics_sum(EG_METRIC_LOG_SIZE) >= 8192);
    assert_true(eg_metrics_sum(EG_METRIC_LOG_OLDEST_TIME) > eg_wall_us() - 60000000);
    eg_log_keeper_free(keeper);
    eg_set_status_done(&status);
    eg_metrics_free(metrics);
    eg_loop_free(loop);
    eg_config_free(config);
}

/* What the look at the log finds, as the reader of `order` would see it. */
static int64_t lag_us(const struct eg_order *order)
{
    struct eg_config *config = postgres_config("postgres", "live", "durable = a\n");
    struct eg_loop *loop = eg_loop_new();
    struct eg_metrics *metrics = eg_metrics_new("unit");
    struct eg_log_keeper *keeper = eg_log_keeper_new(loop, &config->sets[0], order, metrics);
    assert_non_null(keeper);
    while (eg_metrics_sum(EG_METRIC_LOG_PARTITIONS) == 0)
        eg_loop_turn(loop, 50);
    int64_t found = eg_metrics_sum(EG_METRIC_LOG_LAG);
    eg_log_keeper_free(keeper);
    eg_metrics_free(metrics);
    eg_loop_free(loop);
    eg_config_free(config);
    return found;
}

static void lag_is_how_much_newer_the_head_is_than_what_was_read(void **state)
{
    struct eg_order order = {.position = 0};
    (void)state;
    char *text =
        postgres_ask("postgres", "SELECT (date_part('epoch', max(\"time\")) * 1000000)::int8 FROM eventgate.log");
    int64_t head_us = strtoll(text, NULL, 10);
    free(text);
    assert_int_equal(lag_us(&order), 0); /* nothing was read yet, so it isn't known */
    order.appended_us = head_us - 7000000;
    int64_t found = lag_us(&order);
    assert_true(found >= 6999990 && found <= 7000010); /* a double has the time to the µs, more or less */
    order.position = 1;
    assert_int_equal(lag_us(&order), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_the_next_partition_made),
        cmocka_unit_test(lag_is_how_much_newer_the_head_is_than_what_was_read),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}
