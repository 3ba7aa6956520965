/* Inside of a jump, at its ends, and along several that follow each other. */
#include "eventgate/log_jumps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct eg_log_jumps *three(void)
{
    struct eg_log_jumps *jumps = eg_log_jumps_new(3);
    assert_non_null(jumps);
    jumps->jumps[0] = (struct eg_log_jump){10, 100};
    jumps->jumps[1] = (struct eg_log_jump){100, 200}; /* nothing came between the two */
    jumps->jumps[2] = (struct eg_log_jump){250, 300};
    return jumps;
}

static void only_what_is_strictly_inside_is_inside(void **state)
{
    struct eg_log_jumps *jumps = three();
    (void)state;
    const uint64_t outside[] = {0, 10, 100, 200, 201, 250, 300, 301};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(outside); i++)
        assert_null(eg_log_jumps_inside(jumps, outside[i]));
    assert_ptr_equal(eg_log_jumps_inside(jumps, 11), &jumps->jumps[0]);
    assert_ptr_equal(eg_log_jumps_inside(jumps, 99), &jumps->jumps[0]);
    assert_ptr_equal(eg_log_jumps_inside(jumps, 101), &jumps->jumps[1]);
    assert_ptr_equal(eg_log_jumps_inside(jumps, 299), &jumps->jumps[2]);
    assert_null(eg_log_jumps_inside(NULL, 11));
    eg_log_jumps_unref(jumps);
}

static void a_reader_goes_on_at_the_end_of_all_that_begin_there(void **state)
{
    struct eg_log_jumps *jumps = three();
    (void)state;
    const uint64_t from_to[][2] = {{0, 0}, {9, 9}, {10, 200}, {50, 50}, {100, 200}, {200, 200}, {250, 300}, {300, 300}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(from_to); i++)
        assert_int_equal(eg_log_jumps_follow(jumps, from_to[i][0]), from_to[i][1]);
    assert_int_equal(eg_log_jumps_follow(NULL, 10), 10);
    eg_log_jumps_unref(jumps);
}

static void they_are_shared(void **state)
{
    struct eg_log_jumps *jumps = eg_log_jumps_new(0);
    (void)state;
    assert_int_equal(jumps->count, 0);
    assert_null(eg_log_jumps_inside(jumps, 1));
    assert_ptr_equal(eg_log_jumps_ref(jumps), jumps);
    eg_log_jumps_unref(jumps);
    assert_int_equal(jumps->references, 1);
    eg_log_jumps_unref(jumps);
    eg_log_jumps_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_strictly_inside_is_inside),
        cmocka_unit_test(a_reader_goes_on_at_the_end_of_all_that_begin_there),
        cmocka_unit_test(they_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
