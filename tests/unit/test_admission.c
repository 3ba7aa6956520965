/* The bounded queue in front of a connection that publishes. */
#include "eventgate/admission.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct eg_config_set set = {.publish_queue = 2, .publish_queue_bytes = 100};

static void items_and_bytes_are_bounded_and_given_back(void **state)
{
    (void)state;
    struct eg_admission admission = {.up = true};
    eg_admission_bound(&admission, &set);
    assert_int_equal(eg_admission_take(&admission, 2, 10), 0);
    assert_int_equal(eg_admission_take(&admission, 1, 10), -EAGAIN);
    eg_admission_give_back(&admission, 2, 10);
    assert_int_equal(eg_admission_take(&admission, 1, 101), -E2BIG); /* however long it waits */
    assert_int_equal(eg_admission_take(&admission, 3, 1), -E2BIG);
    assert_int_equal(eg_admission_take(&admission, 1, 100), 0);
    eg_admission_give_back(&admission, 1, 100);
    assert_int_equal(admission.items, 0);
    assert_int_equal(admission.bytes, 0);
}

static void nothing_is_taken_while_the_database_is_away(void **state)
{
    (void)state;
    struct eg_admission admission = {.up = false};
    eg_admission_bound(&admission, &set);
    assert_int_equal(eg_admission_take(&admission, 1, 1), -ENOTCONN);
    assert_int_equal(admission.items, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_and_bytes_are_bounded_and_given_back),
        cmocka_unit_test(nothing_is_taken_while_the_database_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
