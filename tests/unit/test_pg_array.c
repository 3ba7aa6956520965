/* Arrays in PostgreSQL's binary form. */
#include "eventgate/pg_array.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_array_of_texts_has_lengths_bytes_and_nulls(void **state)
{
    (void)state;
    static const unsigned char expected[] = {0, 0, 0, 1, 0, 0, 0, 1,   0,   0,    0,    25,   0,    0, 0, 3, 0,
                                             0, 0, 1, 0, 0, 0, 2, 'a', 'b', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    struct eg_buffer buffer = EG_BUFFER_INIT;
    eg_pg_array_begin(&buffer, EG_PG_TEXT, 3);
    eg_pg_array_add(&buffer, (struct eg_bytes){"ab", 2});
    eg_pg_array_add(&buffer, (struct eg_bytes){NULL, 0});
    eg_pg_array_add(&buffer, (struct eg_bytes){"", 0});
    assert_int_equal(buffer.length, sizeof(expected));
    assert_memory_equal(buffer.data, expected, sizeof(expected));
    eg_buffer_done(&buffer);
}

static void integers_are_big_endian(void **state)
{
    (void)state;
    static const unsigned char expected[] = {0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1};
    struct eg_buffer buffer = EG_BUFFER_INIT;
    eg_pg_array_add_int4(&buffer, -2);
    eg_pg_add_int4(&buffer, 5);
    eg_pg_add_int8(&buffer, (INT64_C(2) << 32) + 1);
    assert_int_equal(buffer.length, sizeof(expected));
    assert_memory_equal(buffer.data, expected, sizeof(expected));
    eg_buffer_done(&buffer);
}

/* As array_send() would: elements of 8 bytes. */
static void add_int8s(struct eg_buffer *buffer, const int64_t *numbers, size_t count)
{
    eg_pg_array_begin(buffer, (enum eg_pg_type)20, count);
    for (size_t i = 0; i < count; i++) {
        eg_pg_add_int4(buffer, 8);
        eg_pg_add_int8(buffer, numbers[i]);
    }
}

static void arrays_of_int8_are_read(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, -1, INT64_C(9007199254740991)};
    struct eg_buffer buffer = EG_BUFFER_INIT;
    size_t count;
    const char *elements;
    add_int8s(&buffer, numbers, 3);
    assert_int_equal(eg_pg_array_read_int8((struct eg_bytes){buffer.data, buffer.length}, &count, &elements), 0);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(eg_pg_array_int8(elements, i) == numbers[i]);
    for (size_t length = 0; length < buffer.length; length++) /* cut anywhere */
        assert_int_equal(eg_pg_array_read_int8((struct eg_bytes){buffer.data, length}, &count, &elements), -EINVAL);
    eg_buffer_done(&buffer);
}

static void an_empty_array_has_no_dimension(void **state)
{
    (void)state;
    static const char empty[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20};
    size_t count = 7;
    const char *elements;
    assert_int_equal(eg_pg_array_read_int8((struct eg_bytes){empty, sizeof(empty)}, &count, &elements), 0);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_of_texts_has_lengths_bytes_and_nulls),
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(arrays_of_int8_are_read),
        cmocka_unit_test(an_empty_array_has_no_dimension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
