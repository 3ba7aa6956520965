/* Reading JSON documents. */
#include "eventgate/json_value.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void look(void *context, const struct eg_json_value *value)
{
    int *called = context;
    ++*called;
    assert_string_equal(eg_json_string(eg_json_member(value, "type")), "urn:a");
    assert_true(eg_json_number(eg_json_member(value, "status")) == 404);
    const struct eg_json_value *rows = eg_json_member(value, "rows");
    assert_int_equal(eg_json_count(rows), 2);
    assert_true(eg_json_is_true(eg_json_member(eg_json_item(rows, 0), "good")));
    assert_false(eg_json_is_true(eg_json_member(eg_json_item(rows, 1), "good")));
    /* what isn't there, or is of another kind */
    assert_null(eg_json_member(value, "none"));
    assert_null(eg_json_item(rows, 2));
    assert_null(eg_json_member(rows, "type"));
    assert_int_equal(eg_json_count(value), 0);
    assert_string_equal(eg_json_string(rows), "");
    assert_true(eg_json_number(NULL) == 0);
    assert_string_equal(eg_json_string(eg_json_member(eg_json_member(NULL, "a"), "b")), "");
}

static void members_and_items(void **state)
{
    static const char text[] = "{\"type\":\"urn:a\",\"status\":404,\"rows\":[{\"good\":true},{\"good\":1}]}";
    int called = 0;
    (void)state;
    assert_int_equal(eg_json_read(text, strlen(text), look, &called), 0);
    assert_int_equal(called, 1);
}

static void what_is_no_json_is_not_read(void **state)
{
    static const char *const texts[] = {"", "{", "<html>", "{\"a\":1} x"};
    int called = 0;
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_int_equal(eg_json_read(texts[i], strlen(texts[i]), look, &called), -EINVAL);
    assert_int_equal(called, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_and_items),
        cmocka_unit_test(what_is_no_json_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
