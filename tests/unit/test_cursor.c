/* The grammar of cursors, and that what is written is read back. */
#include "eventgate/cursor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_cursor parsed(const char *text)
{
    struct eg_cursor cursor;
    assert_int_equal(eg_cursor_parse(text, strlen(text), &cursor), 0);
    return cursor;
}

static void reads_each_part(void **state)
{
    (void)state;
    struct eg_cursor cursor = parsed("0~mzxw6ytboi-42");
    assert_string_equal(cursor.tag, "");
    assert_true(cursor.has_position);
    assert_int_equal(cursor.position, 0);
    assert_true(cursor.has_live);
    assert_string_equal(cursor.epoch.text, "mzxw6ytboi");
    assert_int_equal(cursor.place, 42);

    cursor = parsed("a1b2c3d4.9007199254740991~aaaaaaaaaa-9007199254740991");
    assert_string_equal(cursor.tag, "a1b2c3d4");
    assert_int_equal(cursor.position, EG_CURSOR_NUMBER_BOUND - 1);
    assert_int_equal(cursor.place, EG_CURSOR_NUMBER_BOUND - 1);

    cursor = parsed("x.17");
    assert_string_equal(cursor.tag, "x");
    assert_int_equal(cursor.position, 17);
    assert_false(cursor.has_live);
}

static void reads_the_id_of_a_live_event(void **state)
{
    (void)state;
    struct eg_cursor cursor = parsed("mzxw6ytboi-42");
    assert_false(cursor.has_position);
    assert_true(cursor.has_live);
    assert_string_equal(cursor.epoch.text, "mzxw6ytboi");
    assert_int_equal(cursor.place, 42);
}

static void refuses_everything_else(void **state)
{
    static const char *const texts[] = {
        "",
        "now",
        "-1",
        "+1",
        " 1",
        "1 ",
        "01",
        "00",
        "1~",
        "1~mzxw6ytboi",
        "1~mzxw6ytboi-",
        "1~mzxw6ytboi-01",
        "1~mzxw6ytboi-1x",
        "1~mzxw6ytbo-1",
        "1~mzxw6ytboia-1",
        "1~mzxw6ytbo1-1", /* 1 is not among the letters */
        "1~MZXW6YTBOI-1",
        "1~mzxw6ytboi-9007199254740992",
        "9007199254740992",
        "99999999999999999999999999999999999999",
        ".1",
        "A.1",
        "a_b.1",
        "abcdefghi.1",
        "a.b.1",
        "a.",
        "~mzxw6ytboi-1",
        "a.mzxw6ytboi-1",
        "mzxw6ytboi-",
        "1~mzxw6ytboi-1~mzxw6ytboi-1",
    };
    struct eg_cursor cursor = {.position = 7};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_int_equal(eg_cursor_parse(texts[i], strlen(texts[i]), &cursor), -EINVAL);
    assert_int_equal(eg_cursor_parse("1\0", 2, &cursor), -EINVAL);
    assert_int_equal(eg_cursor_parse("1~\0zxw6ytboi-1", 14, &cursor), -EINVAL);
    assert_int_equal(cursor.position, 7); /* untouched */
}

static void reads_no_further_than_the_length(void **state)
{
    struct eg_cursor cursor;
    (void)state;
    assert_int_equal(eg_cursor_parse("123", 2, &cursor), 0);
    assert_int_equal(cursor.position, 12);
}

static void what_is_written_is_read_back(void **state)
{
    static const char *const texts[] = {"0", "0~mzxw6ytboi-0", "log1.9007199254740991~aaaaaaaaaa-9007199254740991"};
    char text[EG_CURSOR_SIZE];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++) {
        struct eg_cursor cursor = parsed(texts[i]);
        assert_int_equal(eg_cursor_format(&cursor, text), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
    }
}

static void the_longest_cursor_fits(void **state)
{
    struct eg_cursor cursor = {.tag = "abcdefgh", .position = UINT64_MAX, .has_live = true, .place = UINT64_MAX};
    char text[EG_CURSOR_SIZE];
    (void)state;
    cursor.epoch = eg_epoch_new();
    size_t length = eg_cursor_format(&cursor, text);
    assert_true(length < EG_CURSOR_SIZE);
    assert_int_equal(length, strlen(text));
}

static void epochs_differ_and_can_be_read(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct eg_epoch one = eg_epoch_new(), other = eg_epoch_new();
        struct eg_cursor cursor = {.has_live = true, .epoch = one, .place = 1};
        char text[EG_CURSOR_SIZE];
        eg_cursor_format(&cursor, text);
        assert_string_equal(parsed(text).epoch.text, one.text);
        assert_string_not_equal(one.text, other.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each_part),
        cmocka_unit_test(reads_the_id_of_a_live_event),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(reads_no_further_than_the_length),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_longest_cursor_fits),
        cmocka_unit_test(epochs_differ_and_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
