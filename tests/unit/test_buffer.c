/* The growable buffer: growth, the sticky failure, and JSON strings. */
#include "eventgate/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_content(const struct eg_buffer *buffer, const char *expected)
{
    assert_false(buffer->failed);
    assert_int_equal(buffer->length, strlen(expected));
    assert_memory_equal(buffer->data, expected, buffer->length);
}

static void an_empty_buffer_owns_nothing(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_buffer_add(&buffer, NULL, 0);
    eg_buffer_add_string(&buffer, "");
    assert_null(buffer.data);
    assert_int_equal(buffer.length, 0);
    eg_buffer_done(&buffer);
    eg_buffer_done(&buffer);
}

static void it_grows_and_keeps_its_content(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    for (int i = 0; i < 10000; i++)
        eg_buffer_add(&buffer, &"0123456789"[i % 10], 1);
    assert_int_equal(buffer.length, 10000);
    for (size_t i = 0; i < buffer.length; i++)
        assert_int_equal(buffer.data[i], '0' + (int)(i % 10));
    eg_buffer_done(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.capacity, 0);
}

static void reserved_bytes_belong_to_the_caller(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_buffer_add_string(&buffer, "head ");
    char *room = eg_buffer_reserve(&buffer, 4096);
    assert_non_null(room);
    assert_int_equal(buffer.length, 5);
    memset(room, 'x', 4096);
    buffer.length += 4096;
    assert_memory_equal(buffer.data, "head xxx", 8);
    assert_true(buffer.capacity >= buffer.length);
    eg_buffer_done(&buffer);
}

static void a_failure_stays_until_cleared(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    size_t length = 7;
    (void)state;
    eg_buffer_add_string(&buffer, "kept");
    assert_null(eg_buffer_reserve(&buffer, SIZE_MAX));
    assert_true(buffer.failed);
    eg_buffer_add_string(&buffer, "lost");
    eg_buffer_add_format(&buffer, "%d", 1);
    eg_buffer_add_unsigned(&buffer, 1);
    eg_buffer_add_json_string(&buffer, "x", 1);
    assert_null(eg_buffer_reserve(&buffer, 1));
    assert_int_equal(buffer.length, 4);
    assert_null(eg_buffer_take(&buffer, &length));
    assert_int_equal(length, 7);

    eg_buffer_add_string(&buffer, "first");
    assert_null(eg_buffer_reserve(&buffer, SIZE_MAX - 4));
    eg_buffer_clear(&buffer);
    eg_buffer_add_string(&buffer, "again");
    assert_content(&buffer, "again");
    eg_buffer_done(&buffer);
}

static void formats_of_any_length(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_buffer_add_format(&buffer, "%s", "");
    eg_buffer_add_format(&buffer, "%d-%s", -5, "x");
    assert_content(&buffer, "-5-x");
    eg_buffer_clear(&buffer);
    for (int width = 250; width < 260; width++) { /* around the first capacity, with its terminator */
        eg_buffer_done(&buffer);
        eg_buffer_add_format(&buffer, "%*d", width, 7);
        assert_false(buffer.failed);
        assert_int_equal(buffer.length, width);
        assert_int_equal(buffer.data[width - 1], '7');
    }
    eg_buffer_done(&buffer);
}

static void unsigned_numbers(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_buffer_add_unsigned(&buffer, 0);
    eg_buffer_add_string(&buffer, " ");
    eg_buffer_add_unsigned(&buffer, 10);
    eg_buffer_add_string(&buffer, " ");
    eg_buffer_add_unsigned(&buffer, UINT64_MAX);
    assert_content(&buffer, "0 10 18446744073709551615");
    eg_buffer_done(&buffer);
}

static void json_strings(void **state)
{
    static const struct {
        struct eg_bytes text;
        const char *json;
    } cases[] = {
        {{"", 0}, "\"\""},
        {{"plain", 5}, "\"plain\""},
        {{"\"\\", 2}, "\"\\\"\\\\\""},
        {{"\b\f\n\r\t", 5}, "\"\\b\\f\\n\\r\\t\""},
        {{"a\0b", 3}, "\"a\\u0000b\""},
        {{"\x01\x0b\x1f\x7f", 4}, "\"\\u0001\\u000b\\u001f\x7f\""},
        {{"/</\xe2\x80\xa8\xf0\x9f\x90\x98", 10}, "\"/</\xe2\x80\xa8\xf0\x9f\x90\x98\""},
        {{"\nx\n", 3}, "\"\\nx\\n\""},
        {{"\xff", 1}, "\"\xef\xbf\xbd\""},
        {{"\n\xed\xa0\x80\"", 5}, "\"\\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\\"\""},
        {{"caf\xc3\xa9\xe6\x97\xa5", 7}, "\"caf\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\""}, /* cut short */
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(cases); i++) {
        struct eg_buffer buffer = EG_BUFFER_INIT;
        eg_buffer_add_json_string(&buffer, cases[i].text.data, cases[i].text.length);
        assert_content(&buffer, cases[i].json);
        eg_buffer_done(&buffer);
    }
}

static void a_json_string_of_escapes_outgrows_its_first_guess(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    char zeros[5000] = {0};
    (void)state;
    eg_buffer_add_json_string(&buffer, zeros, sizeof(zeros));
    assert_false(buffer.failed);
    assert_int_equal(buffer.length, 6 * sizeof(zeros) + 2);
    assert_memory_equal(buffer.data + buffer.length - 7, "\\u0000\"", 7);
    eg_buffer_done(&buffer);
}

static void taking_gives_a_terminated_string_away(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    size_t length;
    (void)state;
    char *text = eg_buffer_take(&buffer, &length);
    assert_string_equal(text, "");
    assert_int_equal(length, 0);
    free(text);

    char *room = eg_buffer_reserve(&buffer, 256);
    memset(room, 'y', 256);
    buffer.length = buffer.capacity; /* no byte left for the terminator */
    memset(buffer.data, 'y', buffer.length);
    size_t full = buffer.length;
    text = eg_buffer_take(&buffer, &length);
    assert_non_null(text);
    assert_int_equal(length, full);
    assert_int_equal(strlen(text), full);
    assert_null(buffer.data);
    assert_int_equal(buffer.length, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_nothing),
        cmocka_unit_test(it_grows_and_keeps_its_content),
        cmocka_unit_test(reserved_bytes_belong_to_the_caller),
        cmocka_unit_test(a_failure_stays_until_cleared),
        cmocka_unit_test(formats_of_any_length),
        cmocka_unit_test(unsigned_numbers),
        cmocka_unit_test(json_strings),
        cmocka_unit_test(a_json_string_of_escapes_outgrows_its_first_guess),
        cmocka_unit_test(taking_gives_a_terminated_string_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
