/* Delays between attempts: bounds, growth, scatter. */
#include "eventgate/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DRAWS 2000

static void each_attempt_doubles_the_bound_up_to_the_most(void **state)
{
    static const uint32_t bounds[] = {100, 200, 400, 800, 1000, 1000};
    uint32_t greatest[EG_ARRAY_LENGTH(bounds)] = {0};
    (void)state;
    for (int draw = 0; draw < DRAWS; draw++) {
        struct eg_backoff backoff = {.floor_ms = 20, .first_ms = 100, .max_ms = 1000};
        for (size_t i = 0; i < EG_ARRAY_LENGTH(bounds); i++) {
            uint32_t delay_ms = eg_backoff_next_ms(&backoff);
            assert_in_range(delay_ms, 20, bounds[i]);
            if (delay_ms > greatest[i])
                greatest[i] = delay_ms;
        }
        assert_int_equal(backoff.attempt, EG_ARRAY_LENGTH(bounds));
    }
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bounds); i++) /* the chance to miss it is below 10^-90 */
        assert_true(greatest[i] > bounds[i] * 9 / 10);
}

static void a_reset_begins_anew(void **state)
{
    struct eg_backoff backoff = {.floor_ms = 0, .first_ms = 10, .max_ms = 100000};
    (void)state;
    for (int i = 0; i < 20; i++)
        assert_in_range(eg_backoff_next_ms(&backoff), 0, 100000);
    eg_backoff_reset(&backoff);
    assert_int_equal(backoff.attempt, 0);
    assert_in_range(eg_backoff_next_ms(&backoff), 0, 10);
}

static void many_attempts_do_not_overflow(void **state)
{
    struct eg_backoff backoff = {.floor_ms = 1, .first_ms = UINT32_MAX, .max_ms = UINT32_MAX, .attempt = 1000};
    (void)state;
    assert_in_range(eg_backoff_next_ms(&backoff), 1, UINT32_MAX);
    backoff = (struct eg_backoff){.floor_ms = 7, .first_ms = 1, .max_ms = 9, .attempt = UINT32_MAX - 1};
    assert_in_range(eg_backoff_next_ms(&backoff), 7, 9);
}

static void a_floor_above_the_bound_is_the_delay(void **state)
{
    struct eg_backoff backoff = {.floor_ms = 50, .first_ms = 10, .max_ms = 40};
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(eg_backoff_next_ms(&backoff), 50);
}

static void assert_scattered(uint32_t base_ms, uint32_t percent, uint32_t least, uint32_t most)
{
    uint32_t low = UINT32_MAX, high = 0, tenth = (most - least) / 10;
    for (int draw = 0; draw < DRAWS; draw++) {
        uint32_t ms = eg_jitter_ms(base_ms, percent);
        assert_in_range(ms, least, most);
        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    assert_true(low <= least + tenth && high >= most - tenth);
}

static void jitter_scatters_to_both_sides(void **state)
{
    (void)state;
    assert_scattered(1000, 30, 700, 1300);
    assert_scattered(3000, 100, 0, 6000);
    assert_int_equal(eg_jitter_ms(1000, 0), 1000);
    assert_int_equal(eg_jitter_ms(0, 50), 0);
    assert_int_equal(eg_jitter_ms(3, 10), 3); /* a tenth of it is less than 1 ms */
}

static void jitter_of_the_greatest_delays_stays_in_range(void **state)
{
    (void)state;
    assert_scattered(UINT32_MAX, 50, UINT32_MAX - UINT32_MAX / 2, UINT32_MAX);
    assert_scattered(3000000000U, 100, 0, UINT32_MAX);
}

static void random_bytes_fill_the_whole_and_no_more(void **state)
{
    unsigned char bytes[302], any[300] = {0};
    (void)state;
    memset(bytes, 0, sizeof(bytes));
    for (int draw = 0; draw < 10; draw++) {
        eg_random_bytes(bytes + 1, 300);
        for (size_t i = 0; i < sizeof(any); i++)
            any[i] |= bytes[i + 1];
    }
    for (size_t i = 0; i < sizeof(any); i++)
        assert_int_not_equal(any[i], 0); /* ten zeros in a row: once in 2^80 */
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[301], 0);
    eg_random_bytes(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_attempt_doubles_the_bound_up_to_the_most),
        cmocka_unit_test(a_reset_begins_anew),
        cmocka_unit_test(many_attempts_do_not_overflow),
        cmocka_unit_test(a_floor_above_the_bound_is_the_delay),
        cmocka_unit_test(jitter_scatters_to_both_sides),
        cmocka_unit_test(jitter_of_the_greatest_delays_stays_in_range),
        cmocka_unit_test(random_bytes_fill_the_whole_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
